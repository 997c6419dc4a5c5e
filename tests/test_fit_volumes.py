"""Fits of grids: random pixels, random backgrounds, coarse to fine, boxes from masks; resumed bit for bit."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.errors import SceneError
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.growth import Growth
from tidr.fitting.settings import FitSettings, ParameterSettings, StartSettings
from tidr.fitting.start_box import begin_even
from tidr.fitting.step import jittered
from tidr.renderers.level_set import LevelSetRenderer
from tidr.scene.volume import Volume

from .test_fit import Ear

SIZE = 16


def ball(cells: int = 8, radius: float = 0.6) -> np.ndarray:
    """Densities [n, n, n] of a soft ball in the box of half extent 1."""
    axis = (np.arange(cells) + 0.5) / cells * 2 - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return 6.0 * np.clip((radius - np.sqrt(x * x + y * y + z * z)) * cells / 2 + 0.5, 0, 1)


def scene_of(density, color=(0.9, 0.3, 0.1), **options) -> tidr.Scene:
    scene = tidr.Scene(tidr.Film(SIZE, SIZE))
    scene.add_node("cloud", tidr.Node(Volume(density, color, **options)))
    for number, camera in enumerate(tidr.sphere_views(6, 4.0, fov_y_degrees=40, width=SIZE, height=SIZE)):
        scene.add_camera(f"view{number}", camera)
    return scene


def start(cells: int = 8) -> tidr.Scene:
    return scene_of(np.full((cells,) * 3, 0.3), np.full((cells, cells, cells, 3), 0.5))


@pytest.fixture
def targets(f32, tmp_path) -> dict[str, str]:
    """Pictures of a ball with alpha, for the cameras of `scene_of`."""
    scene = scene_of(ball())
    files = {}
    for name in scene.cameras:
        files[name] = str(tmp_path / f"{name}.png")
        tidr.render(scene, name).save(files[name], alpha=True)
    return files


def settings(targets: dict[str, str], **changes) -> FitSettings:
    wanted = {
        "targets": targets,
        "parameters": {
            "cloud.density": ParameterSettings(lr=0.3, clamp=(0, 50)),
            "cloud.color": ParameterSettings(lr=0.05, clamp=(0, 1)),
        },
        "losses": {"mse": 1.0},
        "renderer": {"type": "volume", "steps": 24},
        "steps": 60,
        "rays_per_step": 256,
        "background": "random",
        "save_every": 1000,
    }
    return FitSettings(**(wanted | changes))


def values(scene: tidr.Scene) -> list[np.ndarray]:
    return [parameter.numpy() for parameter in scene.parameters("cloud.density", "cloud.color").values()]


@pytest.mark.parametrize("rays", [0, 256])
def test_a_fit_finds_density_and_colour(targets, rays):
    scene = start()
    result = fit_from_settings(scene, settings(targets, rays_per_step=rays, views_per_step=3, hold_out=3))
    assert result.metrics["mean"]["psnr"] > 24
    assert result.metrics["mean"]["iou"] > 0.85


def test_resume_repeats_random_pixels_and_growth_bit_for_bit(targets, tmp_path):
    wanted = settings(targets, steps=24, grow={"cloud": (6, 12)})
    whole = fit_from_settings(start(16), wanted, tmp_path / "whole")
    for stop in (9, 12, 13):
        folder = tmp_path / f"stop{stop}"
        fit_from_settings(start(16), wanted, folder, steps=stop)
        parts = fit_from_settings(start(16), wanted, folder, resume=True)
        for one, other in zip(values(whole.scene), values(parts.scene), strict=True):
            assert one.shape[:3] == (16, 16, 16)
            assert np.array_equal(one, other)


def test_growth_doubles_up_to_the_resolution_of_the_scene(f32):
    scene = start(16)
    density = scene["cloud"].geometry.density
    growth = Growth(scene, {"cloud": (5, 9)})
    shapes = []
    for step in range(12):
        growth.reach(step)
        shapes.append(density.shape[0])
    assert shapes == [4] * 5 + [8] * 4 + [16] * 3
    assert scene.parameters()["cloud.density"] is density


def test_growth_refuses_what_it_cannot_do(f32):
    for when, text in (((5, 5), "increasing"), ((1, 2, 3), "cannot be halved")):
        with pytest.raises(SceneError, match=text):
            Growth(start(16), {"cloud": when})
    with pytest.raises(SceneError, match="no such node"):
        Growth(start(), {"clod": (5,)})


def test_a_box_is_put_around_the_masks(targets):
    scene = start()
    box = {"cloud": StartSettings(shape="box")}
    fit_from_settings(scene, settings(targets, start=box, steps=1))
    lower, upper = scene["cloud"].geometry.bounds()
    assert (np.abs(np.stack([-lower, upper]) - 0.8) < 0.2).all()


def test_an_even_start_forgets_what_the_grid_held(targets):
    scene = scene_of(ball())
    even = {"cloud": StartSettings(shape="even", value=0.4)}
    fit_from_settings(scene, settings(targets, start=even, steps=1))
    assert np.abs(scene["cloud"].geometry.density.numpy() - 0.4).max() < 0.31  # a step of lr 0.3 away
    with pytest.raises(SceneError, match="no densities"):
        begin_even(posed_ball(), "ball", StartSettings(shape="even"))


def posed_ball() -> tidr.Scene:
    scene = tidr.Scene()
    scene.add_node("ball", tidr.Node(tidr.Mesh(*tidr.icosphere(1))))
    return scene


def test_jitter_changes_with_the_step_and_is_off_for_the_report(f32):
    renderer = tidr.VolumeRenderer(jitter=True, seed=3)
    assert jittered(renderer, 4).seed == 4
    assert not jittered(renderer, None).jitter
    plain = tidr.VolumeRenderer()
    assert jittered(plain, 4) is plain
    probing = LevelSetRenderer(seed=3)
    assert jittered(probing, 4).seed == 4
    assert jittered(probing, None) is probing


def test_a_step_with_random_pixels_allocates_nothing(targets):
    seen = []
    fit_from_settings(start(), settings(targets, steps=12), watcher=Ear(lambda step: seen.append(buffer.allocations)))
    assert seen[3:] == [seen[3]] * len(seen[3:])


def test_what_random_pixels_cannot_do_is_refused(targets):
    with pytest.raises(SceneError, match="looks at neighbouring pixels"):
        fit_from_settings(start(), settings(targets, losses={"dssim": 1.0}))
    scene = start()
    with pytest.raises(SceneError, match="Rasterizer draws whole views only"):
        fit_from_settings(scene, settings(targets, renderer={"type": "raster"}))
