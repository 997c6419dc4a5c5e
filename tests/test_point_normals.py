"""Estimated normals: those of planes and spheres within a degree, turned as asked, and how curved a surface is."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.scene.conversions import sample_surface
from tidr.scene.mesh import Mesh
from tidr.scene.point_normals import estimate, face, orient


def degrees(normals, exact, signed=True) -> np.ndarray:
    cosine = (normals * exact).sum(1)
    return np.degrees(np.arccos(np.clip(cosine if signed else np.abs(cosine), -1, 1)))


def ball(n=8000):
    """Even points of the unit sphere, along a spiral."""
    turn, height = np.arange(n) * np.pi * (3 - 5**0.5), 1 - 2 * (np.arange(n) + 0.5) / n
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), height, radius * np.sin(turn)], 1)


@pytest.mark.row(131)
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_normals_of_a_plane_are_within_a_degree(backend, offset):
    """A tilted square of side 2 with noise of a thousandth; f32 keeps that spacing far from the origin too."""
    rng = np.random.default_rng(0)
    exact = np.array([1.0, 2.0, -2.0]) / 3
    across = np.linalg.svd(exact[None])[2][1:]
    points = rng.uniform(-1, 1, (1500, 2)) @ across + rng.normal(size=(1500, 1)) * 1e-3 * exact + offset
    normals, variation = estimate(points, k=30)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert degrees(normals, exact, signed=False).max() < 1
    assert variation.max() < 1e-3


@pytest.mark.row(131)
def test_normals_of_a_sphere_are_its_radii(backend):
    points = ball()
    normals, variation = estimate(points, k=12, consistent=True)
    assert degrees(normals, points).max() < 1  # signed: all look outwards
    assert 0 < variation.max() < 0.02


@pytest.mark.row(131)
def test_a_viewpoint_decides_the_sign(backend):
    points = ball()
    normals, _ = estimate(points + np.array([5, 0, 0]), viewpoint=(5, 0, 0))
    assert degrees(normals, -points).max() < 1
    outside = face(points, normals, (0, 0, 100))
    assert (((np.array([0, 0, 100]) - points) * outside).sum(1) >= 0).all()


@pytest.mark.row(131)
def test_signs_agree_over_sharp_edges_and_in_every_part(backend):
    """Two cubes apart, whose normals had random signs: all end up outwards."""
    corners = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * 0.5
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    faces = np.array([[(a, b, c), (a, c, d)] for a, b, c, d in quads]).reshape(-1, 3)
    points, exact = sample_surface(Mesh(corners, faces), 3000, seed=1)
    points = np.concatenate([points, points + np.array([0, 5, 0])])
    exact = np.concatenate([exact, exact])
    signs = np.random.default_rng(2).choice([-1.0, 1.0], (len(points), 1))
    assert (orient(points, exact * signs, k=10) == exact).all()
    estimated, _ = estimate(points, k=10, consistent=True)
    assert np.mean((estimated * exact).sum(1) > 0.3) > 0.99


@pytest.mark.row(131)
def test_surface_variation_is_high_at_an_edge(backend):
    rng = np.random.default_rng(3)
    u = rng.uniform(-1, 1, (2000, 2))
    points = np.where((u[:, :1] > 0), np.c_[u[:, 0], 0 * u[:, 0], u[:, 1]], np.c_[0 * u[:, 0], -u[:, 0], u[:, 1]])
    _, variation = estimate(points, k=12)
    at_edge, away = np.abs(u[:, 0]) < 0.01, np.abs(u[:, 0]) > 0.3
    assert variation[away].max() < 1e-9
    assert np.median(variation[at_edge]) > 0.02


def test_lines_and_coincident_points_give_directions_across(f64):
    line = np.linspace(0, 1, 20)[:, None] * [1.0, 0, 0]
    normals, variation = estimate(line, k=4)
    assert np.allclose(np.abs(normals[:, 0]), 0)
    assert np.allclose(variation, 0)
    normals, variation = estimate(np.ones((8, 3)), k=4)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert (variation == 0).all()


def test_neighborhoods_of_any_scale_give_the_same(f64):
    points = ball(500)
    normals, variation = estimate(points, consistent=True)
    small, same = estimate(points * 2.0**-30, consistent=True)
    assert np.allclose(small, normals)
    assert np.allclose(same, variation)


def test_faults_are_named(f64):
    points = ball(10)
    for where, call in {
        "normals.k": lambda: estimate(points, k=10),
        "choose one": lambda: estimate(points, k=3, viewpoint=(0, 0, 0), consistent=True),
        "viewpoint": lambda: estimate(points, k=3, viewpoint=(0, 0)),
        "orient.k": lambda: orient(points, points, k=0),
        "normals: has 9": lambda: face(points, points[:9], (0, 0, 0)),
    }.items():
        with pytest.raises(SceneError, match=where):
            call()
