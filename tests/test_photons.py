"""Photon mapping: against closed forms and against path tracing; maps in files."""

import numpy as np
import pytest

import tidr
from tidr.errors import FileError, SceneError
from tidr.renderers.path import PathTracer
from tidr.renderers.photon_map import PhotonMap
from tidr.renderers.photons import PhotonMapper
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.material import Material
from tidr.scene.volume import Volume

from .gradients import tape_gradients, weighted
from .photon_stage import behind_a_pane, blocks, camera, picture, quad, stage, straight_down


def replicates(scene, make, count) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of blocks of pixels over renders with different seeds."""
    images = np.stack([blocks(picture(scene, make(seed))) for seed in range(count)])
    return images.mean(0), images.std(0, ddof=1) / np.sqrt(count)


# ------------------------------------------------------------------------------------------------------- closed forms


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


@pytest.mark.long
def test_blends_and_what_is_half_clear_look_as_paths_see_them(f64):
    scene = stage(panel=6.0)
    scene.add_material("mixed", Material("blend", first="white", second="silver", weight=0.4))
    scene.add_material("gauze", Material("lambert", albedo=0.4, opacity=0.4))
    scene.nodes["wall"].materials = ("mixed",)
    scene.add_node("veil", Node(quad([0.2, 1.6, 0.3], [0, 0, 0.8], [0.8, 0, 0]), ("gauze",)))
    seen, error = replicates(
        scene, lambda seed: PhotonMapper(photons=30_000, passes=8, radius=0.08, seed=seed, max_depth=8), 6
    )
    truth, noise = replicates(scene, lambda seed: PathTracer(samples=400, max_depth=16, seed=100 + seed), 6)
    assert (np.abs(seen - truth) < 3.3 * np.hypot(error, noise) + 0.02 * truth + 0.004).all()
    assert abs(seen.mean() / truth.mean() - 1.0) < 0.015


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


def test_a_medium_that_shines_meets_one_error_that_names_the_node(f64):
    scene = stage(bulb=1.0)
    scene.add_node("smoke", Node(Volume(np.ones((2, 2, 2)))))
    with pytest.raises(SceneError, match="smoke"):
        picture(scene, PhotonMapper(photons=10, passes=1))
