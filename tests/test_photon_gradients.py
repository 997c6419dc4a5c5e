"""Gradients of photon mapping: to lights, colours, indices of refraction, meshes and cameras."""

import numpy as np
import pytest

import tidr
from tidr.kernels.transport import bsdf
from tidr.renderers.photons import PhotonMapper
from tidr.scene.mesh import Mesh

from .gradients import directional_check, tape_gradients, weighted
from .photon_kernels import without_weights
from .photon_stage import behind_a_pane, camera, picture, stage, straight_down


@pytest.mark.row(54)
def test_gradients_to_a_lights_power_and_height_are_those_of_the_irradiance(f64):
    height, radius = 1.2, 0.2
    scene = behind_a_pane(height)
    mapper = PhotonMapper(photons=200_000, passes=1, radius=radius, aimed=0.0, max_depth=4, independent_gradient=False)
    bulb = scene.lights["bulb"]
    weights = np.full((2, 2, 3), 0.25)

    def seen():
        return weighted(tidr.render(scene, camera=straight_down(), renderer=mapper, width=2, height=2).rgb, weights)

    to_power, to_place = tape_gradients(seen, [bulb.intensity, bulb.position])
    assert np.isclose(float(to_power @ bulb.intensity.numpy()), float(seen()), rtol=1e-9)
    expected = -2.0 * float(seen()) / height
    assert np.isclose(to_place[1], expected, rtol=0.1)
    assert np.abs(to_place[[0, 2]]).max() < 0.15 * abs(expected)


def gradient_case(scene, **settings):
    made = {"photons": 3000, "passes": 2, "radius": 0.5, "roulette_depth": 99, "aimed": 0.0, "max_depth": 8}
    made["independent_gradient"] = False
    mapper = PhotonMapper(**{**made, **settings})
    weights = np.random.default_rng(0).normal(size=(16, 16, 3))
    view = camera()
    return lambda: weighted(tidr.render(scene, camera=view, renderer=mapper, width=16, height=16).rgb, weights), view


@pytest.mark.row(54)
def test_gradients_to_colours_and_powers_are_those_of_differences(f64):
    lit, shining = stage(bulb=4.0), stage(panel=3.0)
    function, _view = gradient_case(lit)
    colors = [lit.materials[name].sources["albedo"] for name in ("white", "red")]
    directional_check(function, [*colors, lit.lights["bulb"].intensity], f64)
    function, _view = gradient_case(shining, aimed=0.5)
    directional_check(function, [shining.materials["glow"].sources["emission"]], f64)


@pytest.fixture
def same_choices(f64, monkeypatch):
    """Differences with the same random numbers see Fresnel's chance of a reflection only when a choice flips, which
    a small step never makes happen; so the gradient is held against them without that part."""
    tidr.init(arch="cpu", precision=64, threads=2)
    monkeypatch.setattr(bsdf, "weight_adjoint", without_weights)
    yield f64
    tidr.init(arch="cpu", precision=64)


def same_as_differences(function, arrays) -> list[np.ndarray]:
    """Along one direction each, at the best of three steps; returns the gradients."""
    gradients = tape_gradients(function, arrays)
    for array, gradient in zip(arrays, gradients, strict=True):
        direction, start = np.random.default_rng(3).normal(size=array.shape), array.numpy()
        slopes = []
        for step in (1e-7, 2e-8, 4e-9):
            array.set(start + step * direction)
            above = float(function())
            array.set(start - step * direction)
            slopes.append((above - float(function())) / (2 * step))
        array.set(start)
        exact = float((gradient * direction).sum())
        assert min(abs(slope - exact) for slope in slopes) <= 1e-5 * abs(exact), (array.label, exact, slopes)
    return gradients


@pytest.mark.row(54)
def test_gradients_of_whole_paths_are_those_of_differences(same_choices):
    """And the same when repeated, bit for bit, with two threads."""
    scene = stage(bulb=4.0)
    function, view = gradient_case(scene)
    names = ["glass.ior", "bulb.position", "ball.translation", "ball.scale", "floor.vertices", "wall.vertices",
             "mirror.vertices"]  # fmt: skip
    arrays = [scene.parameters(name)[name] for name in names]
    arrays += [view.parameters()[name] for name in ("position", "rotation")]
    gradients = same_as_differences(function, arrays)
    for _ in range(2):
        assert all(map(np.array_equal, tape_gradients(function, arrays), gradients))

    # Normals by which the mirror sends what comes from the camera into itself: off its face again, it sees the stage.
    mirror = scene.nodes["mirror"]
    hidden, vertices = mirror.translation.numpy(), mirror.geometry.vertices.numpy()
    mirror.geometry = Mesh(vertices, mirror.geometry.faces, normals=np.array([[1.0, 0.0, -0.35]] * 4))
    seen = picture(scene, PhotonMapper(photons=10, passes=1, max_depth=8))
    mirror.translation.set([0.0, -80.0, 0.0])
    shown = (picture(scene, PhotonMapper(photons=10, passes=1, max_depth=8)) != seen).any(-1)
    mirror.translation.set(hidden)
    assert shown.sum() > 28
    assert (seen[shown].max(-1) > 0.0).mean() > 0.95
    function, view = gradient_case(scene)
    same_as_differences(function, [mirror.geometry.vertices, mirror.geometry.normals, view.parameters()["position"]])


@pytest.mark.row(54)
def test_gradients_with_fresnels_weights_are_those_of_differences_on_the_mean(f64):
    """The index of a pane between light and floor: what it reflects is a choice, and its mean has the derivative."""
    scene = behind_a_pane(1.2)
    ior = scene.materials["glass"].sources["ior"]
    weights = np.full((2, 2, 3), 0.25)

    def seen(seed):
        mapper = PhotonMapper(photons=20_000, passes=1, radius=0.15, aimed=0.0, max_depth=5, seed=seed)
        return weighted(tidr.render(scene, camera=straight_down(), renderer=mapper, width=2, height=2).rgb, weights)

    ior.set(1.5)
    found = [float(tape_gradients(lambda seed=seed: seen(seed), [ior])[0]) for seed in range(8)]
    images = []
    for index in (1.45, 1.55):
        ior.set(index)
        images.append([float(seen(20 + seed)) for seed in range(8)])
    differences = (np.array(images[1]) - np.array(images[0])) / 0.1
    error = np.hypot(np.std(found, ddof=1), np.std(differences, ddof=1)) / np.sqrt(8)
    assert abs(np.mean(found) - differences.mean()) < 3.3 * error
    assert error < 0.3 * abs(differences.mean())


def test_gradients_of_the_progressive_methods_are_those_of_differences(f64):
    scene = stage(bulb=4.0)
    for method in ("sppm", "ppm"):
        function, _view = gradient_case(scene, method=method, passes=3)
        directional_check(function, [scene.materials["white"].sources["albedo"]], f64)
