"""A flash: a point light at the lens of whatever camera looks."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.problems.figures import lone, quad

from .gradients import directional_check, weighted

SIZE, DRAWER = 8, tidr.Rasterizer(edges="none")
POWER = (5.0, 4.0, 3.0)


def sheet(light, material: str = "metallic_roughness") -> tidr.Scene:
    scene = lone(quad(1.0), materials=("paint",))
    scene.add_material("paint", tidr.Material(material, albedo=(0.8, 0.5, 0.3)))
    scene.add_light("flash", light)
    return scene


def cameras(**lens) -> list[tidr.Camera]:
    places = ((0.6, 0.2, 2.0), (-0.4, 0.5, 1.5))
    return [tidr.Camera.look_at(place, (0, 0, 0), width=SIZE, height=SIZE, **lens) for place in places]


def seen(light, views) -> np.ndarray:
    return tidr.render(sheet(light), views, DRAWER).rgb.numpy()


@pytest.mark.row(186)
def test_each_picture_of_a_batch_is_lit_from_its_own_camera(f64):
    views = cameras(fov_y_degrees=40)
    batch = seen(tidr.FlashLight(POWER), views)
    for picture, view in zip(batch, views, strict=True):
        assert picture == pytest.approx(seen(tidr.PointLight(view.position.numpy(), POWER), view), rel=1e-12)
    assert not np.allclose(batch[0], batch[1], rtol=0.1)


def test_an_orthographic_camera_lights_along_its_axis(f64):
    for view in cameras(height_world=1.5):
        parallel = tidr.DirectionalLight(-view.position.numpy(), POWER)
        assert seen(tidr.FlashLight(POWER), view) == pytest.approx(seen(parallel, view), rel=1e-12)


def check_gradients(backend, material: str) -> None:
    """Through the light's strength, the camera that carries it, and what it lights."""
    scene, views = sheet(tidr.FlashLight(POWER), material), cameras(fov_y_degrees=40)
    weights = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3))
    slots = scene.parameters("flash.intensity", "paint.*", "shape.vertices")
    arrays = [*slots.values(), views[0].position, views[1].rotation]
    directional_check(lambda: weighted(tidr.render(scene, views, DRAWER).rgb, weights), arrays, backend)


def test_gradients(f64):
    check_gradients(f64, "metallic_roughness")


@pytest.mark.long
def test_gradients_on_vulkan(vulkan):
    check_gradients(vulkan, "lambert")


def test_scene_files_hold_it_and_others_refuse_it(f64, tmp_path):
    tidr.write_scene(sheet(tidr.FlashLight(POWER)), tmp_path / "scene.toml")
    scene = tidr.load(tmp_path / "scene.toml")
    assert isinstance(scene["flash"], tidr.FlashLight)
    assert scene["flash"].intensity.numpy() == pytest.approx(POWER)
    ball = tidr.Scene(tidr.Film(SIZE, SIZE))
    ball.add_node("ball", tidr.Node(tidr.VoxelGrid(sdf=np.linalg.norm(np.mgrid[:4, :4, :4] - 1.5, axis=0) - 1)))
    ball.add_light("flash", tidr.FlashLight(POWER))
    for drawn, renderer in ((scene, "path"), (ball, tidr.LevelSetRenderer())):
        with pytest.raises(SceneError, match=r"lights\.flash: is a flash"):
            tidr.render(drawn, cameras(fov_y_degrees=40)[0], renderer).rgb.numpy()
