"""DIB-R's soft silhouette: closed forms, its numpy twin, what counts as near, and gradients."""

import numpy as np
import pytest

import tidr

from .gradients import directional_check, tape_gradients, weighted
from .reference import raster as hard_twin
from .test_raster_antialias import SIDE, flat_scene, rectangle
from .test_raster_soft import small_scene

# Boxes so wide that where they end exp(-d^2 / sigma) is 1e-18.
WIDE = {"sigma": 1e-3, "blur_radius": 0.04}


def dibr(**options) -> tidr.Rasterizer:
    return tidr.Rasterizer(edges="dibr", channels=("alpha",), **options)


def alpha(scene, camera=None, **options) -> np.ndarray:
    return tidr.render(scene, camera, dibr(**options)).alpha.numpy()[..., 0]


@pytest.mark.row(15)
@pytest.mark.row(22)
def test_closed_forms_beside_an_edge(f64):
    unit = SIDE / 2  # pixels of one unit of NDC
    for distance, expected in ((0.01, 0.496585), (0.02 - 1e-9, 0.060810), (0.02 + 1e-9, 0.0), (1e-7, 1.0), (0.0, 1.0)):
        row = alpha(flat_scene(*rectangle(-90, 6.5 - distance * unit, -90, 90)))[5]
        np.testing.assert_allclose(row[6], expected, atol=1e-6)
        assert (row[:6] == 1).all()
        assert not row[7:].any()
    # SoftRas has a half where this has 1.
    soft = tidr.Rasterizer(edges="soft", channels=("alpha",))
    np.testing.assert_allclose(
        tidr.render(flat_scene(*rectangle(-90, 6.5, -90, 90)), renderer=soft).alpha.numpy()[5, 6], 0.5, rtol=1e-6
    )


@pytest.mark.row(15)
def test_covered_pixels_are_those_of_the_hard_picture(f64):
    scene, found = small_scene(0), []
    mesh, weights = scene["soup"].mesh, np.random.default_rng(0).normal(size=(26, 20, 3))
    for edges in ("none", "dibr"):
        renderer = tidr.Rasterizer(edges=edges, channels=(), sigma=1e-3)
        found.append([tidr.render(scene, renderer=renderer).rgb.numpy()])

        def loss(renderer=renderer):
            return weighted(tidr.render(scene, renderer=renderer).channel("paint"), weights)

        found[-1] += tape_gradients(loss, [mesh.vertices, mesh.attributes["paint"]])
    for hard, own in zip(*found, strict=True):
        np.testing.assert_array_equal(own, hard)
    covered = (tidr.render(scene).ids >= 0)[..., None]
    assert (alpha(scene, **WIDE)[covered[..., 0]] == 1).all()
    (gradient,) = tape_gradients(
        lambda: weighted(tidr.render(scene, renderer=dibr(**WIDE)).alpha, covered * 1.0), [scene["soup"].vertices]
    )
    assert not gradient.any()


def twin(scene, sigma: float, width=20, height=26) -> np.ndarray:
    """One minus the product over all triangles, in loops."""
    vertices, faces = scene["soup"].mesh.vertices.numpy(), scene["soup"].mesh.faces
    screen = hard_twin.project(scene["front"], vertices.astype(float), width, height)
    free = np.ones((height, width))
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    for face in faces:
        corners = screen[face]
        if (corners[:, 3] < scene["front"].near).any():
            continue
        points = corners[:, :2] / corners[:, 2:3]
        squared = np.full((height, width), np.inf)
        for k in range(3):
            start, way = points[k], points[(k + 1) % 3] - points[k]
            t = np.clip(((centres - start) @ way) / (way @ way), 0, 1)
            squared = np.minimum(squared, ((start + t[..., None] * way - centres) ** 2).sum(-1))
        free *= 1 - np.exp(-squared / (sigma * (min(width, height) / 2) ** 2))
    return 1 - free


@pytest.mark.row(15)
def test_the_background_equals_brute_force(f64):
    for seed in (0, 1):
        scene = small_scene(seed)
        background = tidr.render(scene).ids < 0
        assert background.sum() > 100
        found = alpha(scene, **WIDE)
        np.testing.assert_allclose(found[background], twin(scene, WIDE["sigma"])[background], atol=1e-9)
        assert (found[background] > 0.05).sum() > 20


@pytest.mark.row(15)
def test_the_first_triangles_count_and_not_the_nearest(f64):
    # Two quads, the first the farther from column 8 and the later in depth too.
    far, near = rectangle(2, 6.5, 0, 16)[0], rectangle(10, 14, 0, 16)[0]
    vertices = np.concatenate([np.array(far) - [0.25, 0], np.array(near) - [0.5, 0]])
    scene = flat_scene(np.concatenate([vertices, np.repeat([[0.0], [1.0]], 4, 0)], 1), [[0, 1, 2], [4, 6, 7]])
    options = {"sigma": 0.1, "blur_radius": 1.0}
    both, first = (alpha(scene, faces_per_pixel=limit, **options)[11] for limit in (2, 1))
    shares = [1 - np.exp(-(((8.5 - edge) / 8) ** 2) / 0.1) for edge in (6.25, 9.5)]
    np.testing.assert_allclose(first[8], 1 - shares[0], rtol=1e-12)
    np.testing.assert_allclose(both[8], 1 - shares[0] * shares[1], rtol=1e-12)


@pytest.mark.row(15)
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_of_the_background(f64, seed):
    scene = small_scene(seed, orthographic=seed == 1)
    cameras = [scene["front"], small_scene(seed)["front"]]
    background = (tidr.render(scene, cameras).ids < 0)[..., None]
    weights = np.random.default_rng(seed).normal(size=background.shape) * background
    camera = [parameter for name, parameter in cameras[0].parameters().items() if name != "rotation"]
    directional_check(
        lambda: weighted(tidr.render(scene, cameras, dibr(**WIDE)).alpha, weights),
        [scene["soup"].vertices, *camera],
        f64,
    )
