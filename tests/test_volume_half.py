"""Grids in 16 bits: half the memory, the picture of the rounded grids, gradients in full precision."""

import time
from typing import Any

import numpy as np
import pytest

import tidr
from tidr.renderers.hybrid import HybridRenderer
from tidr.renderers.volume import VolumeRenderer
from tidr.renderers.volume_grid import packed_grid
from tidr.scene.volume import Volume

from .gradients import tape_gradients, weighted
from .volume_scenes import LOWER, UPPER, alone

SHAPE = (5, 6, 7)
pytestmark = pytest.mark.row(173)


def scene_of(kind: str, rounded: bool) -> tidr.Scene:
    """Random numbers under a light; `rounded` to 11 bits, which half precision keeps as they are."""
    rng = np.random.default_rng(3)
    options = {
        "constant": {"color": (0.9, 0.5, 0.1)},
        "sh": {"sh": rng.normal(0.4, 0.6, (*SHAPE, 4, 3))},
        "medium": {"albedo": rng.uniform(0.2, 0.9, (*SHAPE, 3)), "g": 0.3},
    }[kind]
    grids = {"density": rng.uniform(0.1, 2.0, SHAPE), **options}
    if rounded:
        grids = {name: np.float16(grid).astype(float) if np.ndim(grid) > 1 else grid for name, grid in grids.items()}
    scene = alone(Volume(**grids, lower=LOWER, upper=UPPER))
    scene.add_light("sun", tidr.DirectionalLight((0.2, -1, -0.4), 2.0))
    return scene


def seen(scene: tidr.Scene, renderer) -> list[np.ndarray]:
    """rgb, distance and the gradients of the grids and of the node's translation."""
    grids = list(scene["cloud"].geometry.parameters().values())
    parameters = [*grids, scene["cloud"].translation, scene["front"].position]
    gradients = tape_gradients(lambda: weighted(tidr.render(scene, renderer=renderer).rgb, 1.0), parameters)
    image = tidr.render(scene, renderer=renderer)
    return [image.rgb.numpy(), image.channel("distance").numpy(), *gradients]


@pytest.mark.parametrize(
    "kind", ["sh", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("constant", "medium"))]
)
def test_half_precision_draws_and_differentiates_the_rounded_grids(f64, kind):
    options: dict[str, Any] = {"steps": 9, "light_steps": 4, "light_nodes": 4}
    full = VolumeRenderer(**options)
    found = seen(scene_of(kind, False), VolumeRenderer(**options, half=True))
    for name, (one, other) in enumerate(zip(found, seen(scene_of(kind, True), full), strict=True)):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=f"{kind} {name}")
    exact = tidr.render(scene_of(kind, False), renderer=full).rgb.numpy()
    error = np.abs(found[0] - exact).max()
    assert 1e-7 < error < 2**-10, "as far off as 11 bits are, no further"


@pytest.mark.long
def test_hybrid_pictures_take_half_precision_too(f64):
    one = tidr.render(scene_of("constant", False), renderer=HybridRenderer(steps=9, half=True)).rgb.numpy()
    other = tidr.render(scene_of("constant", True), renderer=HybridRenderer(steps=9)).rgb.numpy()
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_grids_take_half_the_memory_and_what_is_too_large_is_opaque(f32):
    volume = Volume(np.full((4, 4, 4), 1e6), np.full((4, 4, 4, 3), 0.5))
    full, half = (packed_grid(volume, volume.color, each).cells.bytes for each in (False, True))
    assert half * 2 == full == 64 * 16
    image = tidr.render(alone(volume, size=(3, 3)), renderer=VolumeRenderer(steps=8, half=True))
    np.testing.assert_allclose(image.rgb.numpy()[1, 1], 0.5, atol=1e-3)


@pytest.mark.long
def test_a_small_picture_on_the_cpu(f32, record_property):
    scene, times, picture = tidr.load("duck"), [], np.zeros(())
    for _ in range(8):
        started = time.perf_counter()
        picture = tidr.render(scene, width=64, height=64).rgb.numpy()
        times.append(1e3 * (time.perf_counter() - started))
    assert picture.shape == (64, 64, 3)
    assert np.ptp(picture) > 0.1
    record_property("milliseconds", min(times))
    print(f"duck, 64 x 64, CPU: {min(times):.1f} ms, the first {times[0]:.0f} ms")


@pytest.mark.long
def test_half_precision_on_vulkan(vulkan):
    found = seen(scene_of("sh", False), VolumeRenderer(steps=9, half=True))
    wanted = seen(scene_of("sh", True), VolumeRenderer(steps=9))
    for name, (half, full) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_allclose(half, full, rtol=2e-4, atol=2e-4 * np.abs(full).max(), err_msg=str(name))
