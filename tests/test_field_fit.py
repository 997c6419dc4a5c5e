"""Fits of fields to pictures of a textured ball, and what occupancy leaves out of a fitted field."""

import numpy as np
import pytest

import tidr
from tidr.fitting.fit import fit
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


@pytest.mark.row(83)
def test_hash_field_learns_a_ball_and_occupancy_does_not_change_it(f32):
    field = HashField(levels=6, log2_entries=12, base_resolution=4, finest_resolution=32, width=32, geometry=7)
    renderer = VolumeRenderer(steps=40, jitter=True)
    scene = fitted(field, renderer, 120, 512, 2e-2)
    assert held_out_psnr(scene, VolumeRenderer(steps=80)) > 22
    camera = [ball_views(1, 10.0).cameras[0]]
    with_grid, without = (VolumeRenderer(steps=80, skip=skip).render(scene, camera, SIZE, SIZE) for skip in (0.0, None))
    assert np.abs(with_grid.rgb.numpy() - without.rgb.numpy()).max() < 1e-3


@pytest.mark.row(77)
def test_frequency_field_learns_a_ball_with_both_networks(f32):
    field = FrequencyField(width=32, depth=3, octaves=4, direction_octaves=1, fine_samples=16)

    def coarse(image, target):
        return tidr.losses.mse(image.channel("rgb_coarse"), target.rgb)

    renderer = VolumeRenderer(steps=16, jitter=True)
    scene = fitted(field, renderer, 150, 512, 5e-3, ["mse", coarse])
    assert held_out_psnr(scene, VolumeRenderer(steps=32)) > 21
