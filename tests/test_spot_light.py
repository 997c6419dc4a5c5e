"""Spot lights and suns in scenes and files, and in the renderers that know no light transport."""

import math

import numpy as np
import pytest

import tidr
from tidr.errors import FileError, SceneError
from tidr.files.scene_file import load_scene
from tidr.files.scene_write import write_scene

from .conftest import start
from .gradients import directional_check, tape_gradients, weighted

FILE = """
[lights.lamp]
type = "spot"
position = [0, 2, 1]
direction = [0, -2, -1]
intensity = [3, 2, 1]
cutoff_degrees = 40
falloff_degrees = 15
[lights.plain]
type = "spot"
position = [0, 2, 0]
direction = [0, -1, 0]
intensity = 5
cutoff_degrees = 60
[lights.sun]
type = "directional"
direction = [0, -1, 0]
irradiance = 2
angular_diameter_degrees = 0.53
[lights.parallel]
type = "directional"
direction = [0, -1, 0]
irradiance = 2
"""


def plane_scene(light, size: int = 12, curved: bool = False) -> tidr.Scene:
    """A white plane of side 2 at z = 0, seen head on; curved: a smooth wave, no pixel on an edge of a triangle."""
    grid = np.linspace(-1, 1, 9)
    x, y = np.meshgrid(grid, grid)
    z = 0.1 * np.sin(3 * x + y) if curved else 0 * x
    rows = np.arange(81).reshape(9, 9)
    quads = np.stack([rows[:-1, :-1], rows[:-1, 1:], rows[1:, 1:], rows[1:, :-1]], -1).reshape(-1, 4)
    faces = np.vstack([quads[:, :3], quads[:, [0, 2, 3]]])
    scene = tidr.Scene(tidr.Film(size, size))
    scene.add_material("white", tidr.Material("lambert", albedo=1.0))
    mesh = tidr.Mesh(np.stack([x, y, z], -1).reshape(-1, 3), faces, shading="smooth")
    scene.add_node("plane", tidr.Node(mesh, materials=("white",)))
    scene.add_light("lamp", light)
    aside = (0.013, 0.027) if curved else (0, 0)
    scene.add_camera("front", tidr.Camera.look_at((*aside, 3), (*aside, 0), fov_y_degrees=30, width=size, height=size))
    return scene


def spot(falloff: float = 0.25) -> tidr.SpotLight:
    return tidr.SpotLight((0.3, -0.2, 1.5), (-0.1, 0.1, -1), (2, 3, 4), 0.45, falloff)


@pytest.mark.row(144)
def test_rasterized_spot_is_a_point_light_times_its_falloff(backend):
    scene, size = plane_scene(spot()), 24
    picture = tidr.render(scene, "front", tidr.Rasterizer(edges="none"), width=size, height=size)
    half = 3 * math.tan(math.radians(15))
    at = (np.arange(size) + 0.5) / size * 2 - 1
    points = np.stack(np.broadcast_arrays(half * at, -half * at[:, None], 0.0), -1)
    toward = np.array([0.3, -0.2, 1.5]) - points
    square = (toward**2).sum(-1)
    axis = np.array([-0.1, 0.1, -1]) / np.linalg.norm([-0.1, 0.1, -1])
    cosine = -(toward @ axis) / np.sqrt(square)
    x = np.clip((cosine - np.cos(0.45)) / (np.cos(0.2) - np.cos(0.45)), 0, 1)
    share = x * x * (3 - 2 * x) * toward[..., 2] / square**1.5 / np.pi
    assert (x == 0).any()
    assert (x == 1).any()
    np.testing.assert_allclose(np.asarray(picture.rgb), share[..., None] * [2, 3, 4], rtol=2e-4, atol=2e-5)


def loss_of(scene: tidr.Scene):
    weights = np.random.default_rng(0).uniform(0.2, 1, (12, 12, 3))
    return lambda: weighted(tidr.render(scene, "front", tidr.Rasterizer(edges="none")).rgb, weights)


@pytest.mark.row(144)
@pytest.mark.parametrize("falloff", [0.25, 0.9])
def test_rasterized_spot_has_exact_gradients(f64, falloff):
    scene = plane_scene(spot(falloff), curved=True)
    arrays = [*scene.lights["lamp"].parameters().values(), scene["plane"].vertices]
    if falloff > 0.45:  # the inner cone is its axis, whatever the falloff
        assert not tape_gradients(loss_of(scene), arrays)[4].any()
    directional_check(loss_of(scene), arrays, f64, 1)


def gradients() -> list[np.ndarray]:
    scene = plane_scene(spot(), curved=True)
    return tape_gradients(loss_of(scene), [*scene.lights["lamp"].parameters().values(), scene["plane"].vertices])


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return gradients()


@pytest.mark.row(144)
def test_rasterized_spot_on_vulkan_has_the_gradients_of_f64(exact, vulkan):
    for found, wanted in zip(gradients(), exact, strict=True):
        assert np.abs(found - wanted).max() <= 2e-2 * np.abs(wanted).max()


def test_spot_without_falloff_and_at_the_surface_is_finite(backend):
    for light in (
        tidr.SpotLight((0, 0, 1), (0, 0, -1), 1.0, 0.2, 0.0),
        tidr.SpotLight((0.02, 0.02, 0), (0, 0, 1), 1.0, math.pi, 0.0),
        tidr.SpotLight((0, 0, 1), (0, 0, -1), 1.0, 0.0),
    ):
        scene = plane_scene(light)
        for gradient in tape_gradients(loss_of(scene), [*light.parameters().values(), scene["plane"].vertices]):
            assert np.isfinite(gradient).all()


@pytest.mark.row(140)
def test_rasterizer_draws_a_sun_as_parallel_light(f64):
    light = tidr.DirectionalLight((0.2, 0.1, -1), (1, 2, 3), 0.5)
    sharp = tidr.DirectionalLight((0.2, 0.1, -1), (1, 2, 3))
    pictures = [np.asarray(tidr.render(plane_scene(item), "front").rgb) for item in (light, sharp)]
    assert (pictures[0] == pictures[1]).all()
    found = tape_gradients(loss_of(plane_scene(light)), [light.irradiance, light.angular_diameter])
    assert found[0].all()
    assert not found[1].any()


def test_medium_refuses_a_spot(f32):
    scene = plane_scene(spot())
    scene.add_node("fog", tidr.Node(tidr.Volume(np.ones((3, 3, 3)), albedo=(0.5, 0.5, 0.5))))
    with pytest.raises(SceneError, match=r"lights.lamp.*spot"):
        tidr.render(scene, "front", tidr.VolumeRenderer(steps=4))


@pytest.mark.parametrize("precision", [32, 64])
def test_files_hold_spots_and_suns(tmp_path, precision):
    start("cpu", precision)
    (tmp_path / "a.toml").write_text(FILE)
    first = load_scene(tmp_path / "a.toml")
    lamp, plain, sun, parallel = (first.lights[name] for name in ("lamp", "plain", "sun", "parallel"))
    assert float(lamp.cutoff.numpy()) == pytest.approx(math.radians(40), rel=1e-6)
    assert float(lamp.falloff.numpy()) == pytest.approx(math.radians(15), rel=1e-6)
    np.testing.assert_allclose(lamp.direction.numpy(), np.array([0, -2, -1]) / math.sqrt(5), rtol=1e-6)
    assert float(plain.falloff.numpy()) == pytest.approx(math.radians(15), rel=1e-6)
    assert float(sun.angular_diameter.numpy()) == pytest.approx(math.radians(0.53), rel=1e-6)
    assert float(parallel.angular_diameter.numpy()) == 0
    plain.cutoff.set(math.pi)
    plain.falloff.set(math.pi)
    write_scene(first, tmp_path / "b.toml")
    second = load_scene(tmp_path / "b.toml")
    rtol = 1e-14 if precision == 64 else 1e-7
    for name, light in first.lights.items():
        assert type(light) is type(second.lights[name])
        for key, parameter in light.parameters().items():
            np.testing.assert_allclose(second.lights[name].parameters()[key].numpy(), parameter.numpy(), rtol=rtol)


def test_files_turn_spots_with_the_world(f32, tmp_path):
    (tmp_path / "a.toml").write_text('up = "z"\n' + FILE)
    lamp = load_scene(tmp_path / "a.toml").lights["lamp"]
    np.testing.assert_allclose(lamp.position.numpy(), [0, 1, -2], atol=1e-6)
    np.testing.assert_allclose(lamp.direction.numpy(), np.array([0, -1, 2]) / math.sqrt(5), atol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("cutoff_degrees = 40", "", "cutoff_degrees"),
        ("cutoff_degrees = 40", "cutoff_degrees = 181", "cutoff_degrees"),
        ("falloff_degrees = 15", "falloff_degrees = -1", "falloff_degrees"),
        ("falloff_degrees = 15", "beam = 15", "beam"),
        ("direction = [0, -2, -1]", "direction = [0, 0, 0]", "length 0"),
        ("angular_diameter_degrees = 0.53", "angular_diameter_degrees = 200", "angular_diameter_degrees"),
        ("angular_diameter_degrees = 0.53", 'angular_diameter_degrees = "wide"', "angular_diameter_degrees"),
    ],
)
def test_files_with_bad_lights_are_refused(f32, tmp_path, old, new, told):
    (tmp_path / "a.toml").write_text(FILE.replace(old, new, 1))
    with pytest.raises(FileError, match=told):
        load_scene(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: tidr.SpotLight((0, 0, 0), (0, 0, 0), 1.0, 0.5), "direction"),
        (lambda: tidr.SpotLight((0, 0, 0), (0, 0, 1), 1.0, 4.0), "cutoff"),
        (lambda: tidr.SpotLight((0, 0, 0), (0, 0, 1), 1.0, math.nan), "cutoff"),
        (lambda: tidr.SpotLight((0, 0, 0), (0, 0, 1), 1.0, 0.5, -0.1), "falloff"),
        (lambda: tidr.SpotLight((0, 0, 0), (0, 0, 1), (1, 2), 0.5), "intensity"),
        (lambda: tidr.DirectionalLight((0, 0, 1), 1.0, 3.2), "angular_diameter"),
    ],
)
def test_bad_lights_are_refused(f32, make, told):
    with pytest.raises(SceneError, match=told):
        make()
