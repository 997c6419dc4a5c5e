"""Fits of fields to pictures of a textured ball, and what occupancy leaves out of a fitted field."""

from importlib.resources import files
from shutil import copytree

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.fitting import volume_losses
from tidr.fitting.fit import fit, fit_from_settings
from tidr.fitting.optimizers import Adam
from tidr.fitting.views import Views
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.field import FrequencyField, HashField

SIZE = 24


def ball(camera: tidr.Camera) -> np.ndarray:
    """[H, W, 4] a ball of radius 0.7 whose colour varies smoothly over its surface."""
    table = camera.unprojection(SIZE, SIZE).reshape(2, 3, 3)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1)
    o, d = pixels @ table[0].T, pixels @ table[1].T
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    half = (o * d).sum(-1)
    root = half**2 - (o * o).sum(-1) + 0.49
    hit = root > 0
    at = o + d * (-half - np.sqrt(np.maximum(root, 0)))[..., None]
    color = 0.5 + 0.4 * np.sin(3 * at + np.array([0.0, 1.0, 2.0]))
    return np.concatenate([color * hit[..., None], hit[..., None]], -1)


def ball_views(count: int, turn: float) -> Views:
    cameras = tidr.sphere_views(count, 3.2, turn_degrees=turn, fov_y_degrees=34, width=SIZE, height=SIZE)
    return Views(cameras, [ball(camera) for camera in cameras])


def fitted(field, renderer, steps: int, rays: int, lr: float, losses=("mse",)) -> tidr.Scene:
    scene = tidr.Scene()
    scene.film.background = (0.0, 0.0, 0.0)
    scene.add_node("field", tidr.Node(field))
    params = scene.parameters("field.*").select(*(f"field.{name}" for name in field.parameters()))
    fit(scene, ball_views(12, 0.0), params, losses, Adam(params, lr=lr), steps, rays_per_step=rays, renderer=renderer)
    return scene


def held_out_psnr(scene: tidr.Scene, renderer) -> float:
    views = ball_views(3, 37.0)
    image = renderer.render(scene, views.cameras, SIZE, SIZE).rgb.numpy()
    expected = np.stack([ball(camera)[..., :3] for camera in views.cameras])
    return float(-10 * np.log10(((image - expected) ** 2).mean()))


def hash_fit(*losses) -> tidr.Scene:
    """A hash field after 120 steps."""
    field = HashField(levels=6, log2_entries=12, base_resolution=4, finest_resolution=32, width=32, geometry=7)
    return fitted(field, VolumeRenderer(steps=40, jitter=True), 120, 512, 2e-2, losses)


@pytest.mark.long
@pytest.mark.row(83)
def test_hash_field_learns_a_ball_and_losses_draw_it_together(f32):
    """Occupancy does not change its picture; spread is the mean over rays, and as a loss it falls."""
    scene = hash_fit("mse")
    assert held_out_psnr(scene, VolumeRenderer(steps=80)) > 22
    camera = [ball_views(1, 10.0).cameras[0]]
    with_grid, without = (VolumeRenderer(steps=80, skip=skip).render(scene, camera, SIZE, SIZE) for skip in (0.0, None))
    assert np.abs(with_grid.rgb.numpy() - without.rgb.numpy()).max() < 1e-3

    def spread(scene: tidr.Scene) -> float:
        image = VolumeRenderer(steps=80).render(scene, ball_views(3, 37.0).cameras, SIZE, SIZE)
        loss = float(volume_losses.spread(image).array.numpy())
        assert np.isclose(loss, image.channel("spread").numpy().mean(), rtol=1e-5)
        return loss

    drawn = hash_fit(("mse", 1.0), ("spread", 0.3))
    assert spread(drawn) < 0.5 * spread(scene)
    assert held_out_psnr(drawn, VolumeRenderer(steps=80)) > 22


def test_only_a_field_has_a_spread(f32):
    with pytest.raises(SceneError, match="no channel spread"):
        volume_losses.spread(tidr.render(tidr.load("cube"), width=8, height=8))


@pytest.mark.long
@pytest.mark.row(77)
def test_frequency_field_learns_a_ball_with_both_networks(f32):
    field = FrequencyField(width=32, depth=3, octaves=4, direction_octaves=1, fine_samples=16)
    renderer = VolumeRenderer(steps=16, jitter=True)
    scene = fitted(field, renderer, 150, 512, 5e-3, ["mse", "coarse_mse"])
    assert held_out_psnr(scene, VolumeRenderer(steps=32)) > 21


DUCK = """
[film]
width = 24
height = 24
[nodes.thing]
field = { type = "frequency", width = 32, depth = 4, octaves = 4, direction_octaves = 1, fine_samples = 16 }
[fit]
views = "duck_views/transforms.json"
start = { thing = "box" }
background = "random"
resolution = [24, 24]
rays_per_step = 512
losses = { mse = 1.0, coarse_mse = 1.0 }
renderer = { type = "volume", steps = 16, jitter = true }
steps = 120
hold_out = 4
parameters = { "thing.*" = { lr = 5e-3 } }
"""


@pytest.mark.long
@pytest.mark.row(77)
def test_frequency_field_fits_the_duck_from_its_scene_file(f32, tmp_path):
    copytree(files("tidr.scenes") / "assets" / "duck_views", tmp_path / "duck_views")
    (tmp_path / "duck.toml").write_text(DUCK)
    result = fit_from_settings(tidr.load(tmp_path / "duck.toml"))
    assert result.columns[:4] == ("step", "loss", "mse", "coarse_mse")
    assert np.allclose(result.losses[:, 2] + result.losses[:, 3], result.losses[:, 1])
    for column in (2, 3):  # the background changes each step, so means are compared
        assert result.losses[-20:, column].mean() < 0.4 * result.losses[:10, column].mean()
    assert result.metrics["mean"]["psnr"] > 20


def test_two_fields_keep_the_coarse_picture(f32):
    """Side by side, the coarse picture is what one sees when each field shows its coarse network."""
    scene, renderer = tidr.Scene(), VolumeRenderer(steps=8)
    scene.film.background = (0.2, 0.1, 0.4)
    options = {"width": 8, "depth": 1, "octaves": 2, "fine_samples": 4, "lower": (-0.4,) * 3, "upper": (0.4,) * 3}
    one, two = FrequencyField(**options), FrequencyField(**options, seed=1)
    scene.add_node("one", tidr.Node(one, translation=(-0.5, 0, 0)))
    scene.add_node("two", tidr.Node(two, translation=(0.5, 0, 0)))
    camera = [ball_views(1, 0.0).cameras[0]]
    both = renderer.render(scene, camera, SIZE, SIZE).channel("rgb_coarse").numpy()
    for field in (one, two):
        field.fine.set(field.coarse.numpy())
        field.fine_samples = 1
    again = renderer.render(scene, camera, SIZE, SIZE).channel("rgb_coarse").numpy()
    assert np.allclose(both, again)
    assert (np.abs(both - scene.film.background).max(-1) > 1e-3).mean() > 0.2


def test_coarse_loss_without_a_coarse_picture_is_refused(f32):
    with pytest.raises(SceneError, match="rgb_coarse"):
        fitted(HashField(levels=2, log2_entries=8, width=8), VolumeRenderer(steps=4), 1, 16, 1e-2, ["coarse_mse"])
