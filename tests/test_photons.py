"""Photon mapping: against closed forms, against path tracing, and its gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest

import tidr
from tidr.errors import FileError, SceneError
from tidr.kernels.transport import bsdf
from tidr.renderers.path import PathTracer
from tidr.renderers.photon_map import PhotonMap
from tidr.renderers.photons import PhotonMapper
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import PointLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.volume import Volume

from .gradients import directional_check, tape_gradients, weighted
from .photon_kernels import without_weights


def quad(center, one, other) -> Mesh:
    """A parallelogram with the sides 2 one and 2 other, its front towards one x other."""
    center, one, other = (np.asarray(v, np.float64) for v in (center, one, other))
    corners = [center - one - other, center + one - other, center + one + other, center - one + other]
    return Mesh(np.stack(corners), [[0, 1, 2], [0, 2, 3]], shading="flat")


def stage(bulb=0.0, panel=0.0, ior=1.5, ball=(0.0, 0.7, 0.0), radius=0.45) -> Scene:
    """A slightly tilted floor, a red wall behind, a mirror on the left, a glass ball, a panel and a bulb above.

    All scenes of this file hold the same kinds of things, so that kernels are compiled once.
    """
    scene = Scene()
    scene.add_material("white", Material("lambert", albedo=[0.7, 0.6, 0.5]))
    scene.add_material("red", Material("lambert", albedo=[0.6, 0.2, 0.1]))
    scene.add_material("silver", Material("conductor", eta=[0.2, 0.9, 1.1], k=[3.9, 2.4, 2.2]))
    scene.add_material("glass", Material("dielectric", ior=ior))
    scene.add_material("glow", Material("lambert", albedo=0.3, emission=[panel] * 3))
    scene.add_node("floor", Node(quad([0, 0, 0], [0.1, 0.05, 2], [2, 0.07, 0]), ("white",)))
    scene.add_node("wall", Node(quad([0, 1, -1.6], [2, 0.1, 0.1], [0.1, 1.2, -0.1]), ("red",)))
    scene.add_node("mirror", Node(quad([-1.6, 1, 0], [0.1, 0.1, 1.2], [0, -1, 0.1]), ("silver",)))
    scene.add_node("ball", Node(Mesh(*icosphere(2)), ("glass",), translation=ball, scale=radius))
    scene.add_node("panel", Node(quad([0.4, 2.6, 0.3], [0.6, 0, 0.05], [0, 0.02, 0.6]), ("glow",)))
    scene.add_light("bulb", PointLight([0.35, 2.3, 0.25], [bulb, 1.1 * bulb, 1.2 * bulb]))
    return scene


def camera() -> Camera:
    return Camera.look_at([0.3, 2.2, 3.6], [-0.1, 0.5, 0], fov_y_degrees=50)


def picture(scene, renderer, size=16, view=None) -> np.ndarray:
    return tidr.render(scene, camera=view or camera(), renderer=renderer, width=size, height=size).rgb.numpy()


def blocks(image, size=4) -> np.ndarray:
    n = image.shape[0] // size
    return image.reshape(n, size, n, size, 3).mean((1, 3))


def replicates(scene, make, count) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of blocks of pixels over renders with different seeds."""
    images = np.stack([blocks(picture(scene, make(seed))) for seed in range(count)])
    return images.mean(0), images.std(0, ddof=1) / np.sqrt(count)


# ------------------------------------------------------------------------------------------------------- closed forms


def behind_a_pane(height) -> Scene:
    """A bulb over a floor, and between them a clear pane of index 1: all its light arrives as photons."""
    scene = stage(bulb=3.0, ior=1.0)
    for name in ("wall", "mirror", "panel"):
        scene.nodes[name].translation.set([0.0, -80.0, 0.0])
    scene.nodes["floor"].geometry.vertices.set([[-6, 0, -6], [-6, 0, 6], [6, 0, 6], [6, 0, -6]])
    shield = quad([0, 0.5 * height, 0], [0, 0, 6], [6, 0, 0])
    scene.nodes["ball"].geometry = shield
    scene.nodes["ball"].translation.set(np.zeros(3))
    scene.nodes["ball"].scale.set(1.0)
    scene.lights["bulb"].position.set([0.0, height, 0.0])
    return scene


def straight_down() -> Camera:
    return Camera.look_at([0, 4, 0], [0, 0, 0], up=(0, 0, -1), fov_y_degrees=0.05)


@pytest.mark.row(50)
@pytest.mark.parametrize(("profile", "lost"), [("constant", 0.75), ("epanechnikov", 0.5)])
def test_a_point_light_over_a_plane_gives_its_irradiance_less_the_bias_of_the_kernel(f64, profile, lost):
    height, radius = 1.2, 0.36
    scene = behind_a_pane(height)
    mapper = PhotonMapper(photons=200_000, passes=1, radius=radius, profile=profile, aimed=0.0, max_depth=4)
    albedo, intensity = np.array([0.7, 0.6, 0.5]), np.array([3.0, 3.3, 3.6])
    exact = albedo / np.pi * intensity / height**2
    biased = exact * (1.0 - lost * (radius / height) ** 2)
    seen = picture(scene, mapper, 2, straight_down()).mean((0, 1))
    assert np.allclose(seen, biased, rtol=8e-3)
    assert not np.allclose(seen, exact, rtol=2e-2)


@pytest.mark.row(51)
def test_radii_shrink_by_the_rule_so_that_bias_goes(f64):
    height, first = 1.2, 0.72
    scene = behind_a_pane(height)
    exact = np.array([0.7, 0.6, 0.5]) / np.pi * np.array([3.0, 3.3, 3.6]) / height**2
    nodes, weights = np.polynomial.legendre.leggauss(24)

    def blurred(radius):
        s = 0.5 * (nodes + 1.0)  # (distance / radius)^2 of a biweight kernel
        return (0.5 * weights * 3.0 * (1.0 - s) ** 2 * (1.0 + s * (radius / height) ** 2) ** -1.5).sum()

    for passes in (1, 24):
        radii2 = first**2 * np.cumprod([1.0, *((i + 0.7) / (i + 1.0) for i in range(1, passes))])
        expected = exact * np.mean([blurred(radius) for radius in np.sqrt(radii2)])
        mapper = PhotonMapper(photons=80_000, passes=passes, radius=first, aimed=0.0, max_depth=4)
        seen = picture(scene, mapper, 2, straight_down()).mean((0, 1))
        assert np.allclose(seen, expected, rtol=6e-3)
        assert (np.abs(1.0 - expected / exact) > 0.025).all()


@pytest.mark.row(54)
def test_gradients_to_a_lights_power_and_height_are_those_of_the_irradiance(f64):
    height, radius = 1.2, 0.2
    scene = behind_a_pane(height)
    mapper = PhotonMapper(photons=200_000, passes=1, radius=radius, aimed=0.0, max_depth=4)
    bulb = scene.lights["bulb"]
    weights = np.full((2, 2, 3), 0.25)

    def seen():
        return weighted(tidr.render(scene, camera=straight_down(), renderer=mapper, width=2, height=2).rgb, weights)

    to_power, to_place = tape_gradients(seen, [bulb.intensity, bulb.position])
    assert np.isclose(float(to_power @ bulb.intensity.numpy()), float(seen()), rtol=1e-9)
    expected = -2.0 * float(seen()) / height
    assert np.isclose(to_place[1], expected, rtol=0.1)
    assert np.abs(to_place[[0, 2]]).max() < 0.15 * abs(expected)


# -------------------------------------------------------------------------------------------------------- path tracing


@pytest.mark.row(51)
def test_photons_and_paths_make_the_same_picture_of_glass_and_mirror(f64):
    scene = stage(panel=6.0)
    seen, error = replicates(
        scene, lambda seed: PhotonMapper(photons=30_000, passes=8, radius=0.08, seed=seed, max_depth=8), 6
    )
    truth, noise = replicates(scene, lambda seed: PathTracer(samples=400, max_depth=16, seed=100 + seed), 6)
    budget = 0.02 * truth + 0.004  # what the kernel blurs
    assert (np.abs(seen - truth) < 3.3 * np.hypot(error, noise) + budget).all()
    assert abs(seen.mean() / truth.mean() - 1.0) < 0.02


def test_blends_and_what_is_half_clear_look_as_paths_see_them(f32):
    scene = stage(panel=6.0)
    scene.add_material("mixed", Material("blend", first="white", second="silver", weight=0.4))
    scene.add_material("gauze", Material("lambert", albedo=0.4, opacity=0.4))
    scene.nodes["wall"].materials = ("mixed",)
    scene.add_node("veil", Node(quad([0.2, 1.6, 0.3], [0, 0, 0.8], [0.8, 0, 0]), ("gauze",)))
    mapper = PhotonMapper(photons=100_000, passes=16, radius=0.08)
    seen, truth = picture(scene, mapper, 32), picture(scene, PathTracer(samples=1024), 32)
    assert abs(seen.mean() / truth.mean() - 1.0) < 0.01
    ratio = blocks(seen, 8) / blocks(truth, 8)
    assert abs(np.median(ratio) - 1.0) < 0.01
    assert np.abs(ratio - 1.0).max() < 0.1


def at_the_caustic(scene) -> Camera:
    """What the camera sees of the floor around the middle of the caustic, from close by."""
    kept = PhotonMapper(photons=5000, max_depth=8).trace(scene).arrays()
    place = kept["positions"][(kept["caustic"] == 1) & (kept["positions"][:, 1] < 0.2)]
    return Camera.look_at([0.6, 0.5, 1.2], np.median(place, axis=0), fov_y_degrees=8)


def test_aimed_photons_are_more_and_weigh_less(f64):
    for scene in (stage(bulb=4.0), stage(panel=4.0)):
        counts, fluxes = [], []
        for share in (0.0, 0.7):
            kept = PhotonMapper(photons=60_000, aimed=share, max_depth=8).trace(scene).arrays()
            counts.append((kept["caustic"] == 1).sum())
            fluxes.append(kept["powers"][kept["caustic"] == 1].sum())
        assert counts[1] > 3 * counts[0] > 300
        assert abs(fluxes[1] / fluxes[0] - 1.0) < 0.04


def test_aimed_photons_make_the_same_picture(f64):
    scene = stage(bulb=4.0)
    view = at_the_caustic(scene)

    def seen(share):
        made = [PhotonMapper(photons=3000, passes=2, radius=0.1, aimed=share, seed=k, max_depth=8) for k in range(12)]
        means = np.stack([picture(scene, each, 16, view).mean((0, 1)) for each in made])
        return means.mean(0), means.std(0, ddof=1) / np.sqrt(12)

    (plain, error), (aimed, other) = seen(0.0), seen(0.7)
    assert (np.abs(plain - aimed) < 3.5 * np.hypot(error, other)).all()
    assert (error < 0.05 * plain).all()


@pytest.mark.row(51, 52)
@pytest.mark.parametrize("method", ["sppm", "ppm", "map"])
def test_the_methods_agree(f64, method):
    scene = stage(panel=6.0, bulb=1.0)
    settings = {"photons": 40_000, "passes": 12, "radius": 0.1, "max_depth": 8}
    seen = blocks(picture(scene, PhotonMapper(**settings), 96), 24)
    other = blocks(picture(scene, PhotonMapper(method=method, **settings), 96), 24)
    assert np.abs(other - seen).max() < 0.08 * seen.max()
    assert np.isclose(other.mean(), seen.mean(), rtol=0.02)


def test_a_caustic_is_seen_in_the_mirror_and_through_the_glass(f64):
    scene = stage(bulb=4.0)
    mirrored = Camera.look_at([1.2, 0.9, 1.6], [-3.1, 0.05, 0.1], fov_y_degrees=20)
    mapper = PhotonMapper(photons=40_000, passes=4, radius=0.06, max_depth=8)
    with_ball = picture(scene, mapper, 16, mirrored)
    scene.materials["glass"].sources["ior"].set(1.0)
    without = picture(scene, mapper, 16, mirrored)
    assert with_ball.max() > 1.5 * without.max()


# --------------------------------------------------------------------------------------------------------------- maps


def test_a_saved_map_makes_the_same_picture(f64, tmp_path):
    scene = stage(panel=6.0, bulb=1.0)
    settings = {"method": "map", "photons": 10_000, "passes": 2, "radius": 0.2, "max_depth": 8}
    kept = PhotonMapper(**settings).trace(scene)
    kept.save(tmp_path / "photons.npz")
    loaded = PhotonMap.load(tmp_path / "photons.npz")
    assert loaded.count == kept.count
    assert loaded.emitted == 10_000
    again = picture(scene, PhotonMapper(saved=loaded, **settings))
    assert np.allclose(again, picture(scene, PhotonMapper(**settings)), rtol=1e-9)


def test_photons_can_be_looked_at_as_points(f64):
    scene = stage(bulb=4.0)
    kept = PhotonMapper(photons=2000, max_depth=8).trace(scene)
    node = kept.points(radius=0.02)
    assert node.geometry.count == kept.count > 500
    assert node.geometry.colors.numpy().max() == 1.0
    caustic = kept.arrays()["caustic"] == 1
    assert 0 < caustic.sum() < kept.count


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("positions", np.full((5, 3), np.nan)),
        ("positions", np.zeros((5, 2))),
        ("powers", -np.ones((5, 3))),
        ("normals", np.zeros((5, 3))),
        ("caustic", np.full(5, 7)),
        ("emitted", np.array([1, 2])),
        ("colour", np.zeros(3)),
        ("directions", None),
    ],
)
def test_a_bad_map_meets_one_error_that_names_the_array(f64, tmp_path, name, value):
    down = np.tile([0.0, -1.0, 0.0], (5, 1))
    arrays = {"positions": np.zeros((5, 3)), "directions": down, "powers": np.ones((5, 3)), "normals": -down}
    arrays.update(caustic=np.zeros(5, np.uint8), emitted=np.int64(9))
    arrays[name] = value
    np.savez(tmp_path / "bad.npz", **{key: each for key, each in arrays.items() if each is not None})
    with pytest.raises(FileError, match=name):
        PhotonMap.load(tmp_path / "bad.npz")


# --------------------------------------------------------------------------------------------------------- degenerate


def test_scenes_without_light_or_surface_are_black(f64):
    mapper = PhotonMapper(photons=500, passes=2, max_depth=8)
    assert (picture(stage(), mapper) == 0.0).all()
    assert (picture(Scene(), mapper) == 0.0).all()
    assert PhotonMapper(photons=500).trace(Scene()).count == 0


def test_flat_triangles_and_light_inside_glass_give_finite_pictures_and_gradients(f64):
    scene = stage(bulb=4.0, panel=1.0)
    scene.nodes["wall"].geometry.vertices.set(np.zeros((4, 3)))
    scene.lights["bulb"].position.set([0.0, 0.7, 0.0])
    mapper = PhotonMapper(photons=3000, passes=2, max_depth=8)
    arrays = [scene.nodes["ball"].vertices, scene.nodes["wall"].vertices, scene.lights["bulb"].position]

    def seen():
        return weighted(tidr.render(scene, camera=camera(), renderer=mapper, width=16, height=16).rgb, 1.0)

    for gradient in tape_gradients(seen, arrays):
        assert np.isfinite(gradient).all()
    assert np.isfinite(picture(scene, mapper)).all()


@pytest.mark.parametrize(
    "given", [{"photons": 0}, {"radius": -1.0}, {"alpha": 1.0}, {"method": "pm"}, {"profile": "box"}, {"aimed": 1.0}]
)
def test_bad_settings_are_named(given):
    with pytest.raises(SceneError, match=next(iter(given))):
        PhotonMapper(**given)


def test_media_meet_one_error_that_names_the_node(f64):
    scene = stage(bulb=1.0)
    scene.add_node("smoke", Node(Volume(np.ones((2, 2, 2)))))
    with pytest.raises(SceneError, match="smoke"):
        picture(scene, PhotonMapper(photons=10, passes=1))


# ---------------------------------------------------------------------------------------------------------- gradients


def gradient_case(scene, **settings):
    made = {"photons": 3000, "passes": 2, "radius": 0.5, "roulette_depth": 99, "aimed": 0.0, "max_depth": 8}
    mapper = PhotonMapper(**{**made, **settings})
    weights = np.random.default_rng(0).normal(size=(16, 16, 3))
    view = camera()
    return lambda: weighted(tidr.render(scene, camera=view, renderer=mapper, width=16, height=16).rgb, weights), view


@pytest.mark.row(54)
def test_gradients_to_colours_and_powers_are_those_of_differences(f64):
    lit, shining = stage(bulb=4.0), stage(panel=3.0)
    function, _view = gradient_case(lit)
    colors = [lit.materials[name].sources["albedo"] for name in ("white", "red")]
    directional_check(function, [*colors, lit.lights["bulb"].intensity], f64, directions=2)
    function, _view = gradient_case(shining, aimed=0.5)
    directional_check(function, [shining.materials["glow"].sources["emission"]], f64, directions=2)


@pytest.fixture
def same_choices(f64, monkeypatch):
    """Differences with the same random numbers see Fresnel's chance of a reflection only when a choice flips, which
    a small step never makes happen; so the gradient is held against them without that part."""
    tidr.init(arch="cpu", precision=64)
    monkeypatch.setattr(bsdf, "weight_adjoint", without_weights)
    yield f64
    tidr.init(arch="cpu", precision=64)


@pytest.mark.row(54)
def test_gradients_of_whole_paths_are_those_of_differences(same_choices):
    scene = stage(bulb=4.0)
    function, view = gradient_case(scene)
    arrays = [
        scene.materials["glass"].sources["ior"], scene.lights["bulb"].position, scene.nodes["ball"].translation,
        scene.nodes["ball"].scale, scene.nodes["floor"].vertices, scene.nodes["wall"].vertices,
        scene.nodes["mirror"].vertices, view.parameters()["position"],
    ]  # fmt: skip
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


@pytest.mark.row(54)
def test_gradients_with_fresnels_weights_are_those_of_differences_on_the_mean(f64):
    """The index of a pane between light and floor: what it reflects is a choice, and its mean has the derivative."""
    scene = behind_a_pane(1.2)
    ior = scene.materials["glass"].sources["ior"]
    weights = np.full((2, 2, 3), 0.25)

    def seen(seed):
        mapper = PhotonMapper(photons=40_000, passes=1, radius=0.1, aimed=0.0, max_depth=5, seed=seed)
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
        directional_check(function, [scene.materials["white"].sources["albedo"]], f64, directions=1)


def test_vulkan_draws_the_same_picture_and_gradients(vulkan):
    """Without glass and mirror: drivers take long to compile."""

    def drawn():
        scene = stage(bulb=4.0)
        for name in ("ball", "mirror", "panel"):
            del scene.nodes[name]
        mapper = PhotonMapper(photons=2000, passes=1, radius=0.5, max_depth=8)
        weights = np.random.default_rng(0).normal(size=(16, 16, 3))
        arrays = [scene.materials["white"].sources["albedo"], scene.lights["bulb"].intensity,
                  scene.lights["bulb"].position, scene.nodes["floor"].vertices]  # fmt: skip

        def loss():
            return weighted(tidr.render(scene, camera=camera(), renderer=mapper, width=16, height=16).rgb, weights)

        return picture(scene, mapper), tape_gradients(loss, arrays)

    image, gradients = drawn()
    tidr.init(arch="cpu", precision=32)
    expected, exact = drawn()
    assert np.abs(image - expected).mean() < 1e-3 * expected.mean()
    for one, other in zip(gradients, exact, strict=True):
        assert np.linalg.norm(one - other) < 2e-2 * np.linalg.norm(other)
