"""Gradients through a picture of meshes, Gaussians and volumes to each of them, against differences."""

import functools
from typing import Any

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.fitting.tape import Loss
from tidr.renderers import hybrid_walk
from tidr.renderers.hybrid import HybridRenderer
from tidr.renderers.raster import Rasterizer
from tidr.renderers.volume import VolumeRenderer

from .conftest import start
from .gradients import directional_check, tape_gradients
from .hybrid_scenes import medium, mixed, only
from .test_rays import total
from .volume_scenes import noise

NO_JUMPS: dict[str, Any] = {"stop": 0.0, "alpha_skip": 0, "transmittance_stop": 0, "alpha_max": 0.9999, "sigmas": 30}
SMALL: dict[str, Any] = {"steps": 9, "light_nodes": 6, "light_steps": 5}
CHANNELS = ("rgb", "alpha", "depth", "distance")
GLOWING = (3, True, True)


def loss_of(scene: tidr.Scene, renderer: HybridRenderer, channels=CHANNELS, seed: int = 0):
    def loss() -> Loss:
        image = tidr.render(scene, "front", renderer)
        return total([image.channel(name) for name in channels], seed)

    return loss


def of_everything(scene: tidr.Scene) -> dict:
    parameters = scene.parameters("*")
    return {name: p for name, p in parameters.items() if not p.constraint.fixed and name != "sun.angular_diameter"}


@pytest.mark.row(1)
@pytest.mark.row(27)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_member_and_the_camera(f64, seed):
    scene, renderer = mixed(seed), HybridRenderer(**SMALL, **NO_JUMPS)
    directional_check(loss_of(scene, renderer), list(of_everything(scene).values()), f64, seed)


@pytest.mark.row(27)
def test_lights_reach_a_medium_between_the_others(f64):
    scene, renderer = mixed(3, medium(*GLOWING)), HybridRenderer(**SMALL, **NO_JUMPS)
    paths = ("cloud.*", "lamp.*", "sun.irradiance", "sheet.vertices", "beads.means", "front.position")
    directional_check(loss_of(scene, renderer), list(scene.parameters(*paths).values()), f64, 3)


def test_soft_edges_jitter_and_harmonics(f64):
    scene = mixed(4, noise("sh4", 4, "softplus"))
    renderer = HybridRenderer(**SMALL, **NO_JUMPS, edges="soft", sigma=1e-3, gamma=1e-2, jitter=True, seed=5)
    paths = ("sheet.*", "cloud.*", "beads.means", "beads.opacity_logits", "front.*")
    directional_check(loss_of(scene, renderer), list(scene.parameters(*paths).values()), f64, 4)


def test_thresholds_end_what_they_end(f64):
    scene = mixed(5)
    renderer = HybridRenderer(**SMALL, stop=0.2, alpha_skip=0.05, transmittance_stop=0.15, alpha_max=0.7, sigmas=2)
    paths = ("sheet.vertices", "cloud.density", "cloud.color", "beads.sh_dc", "beads.opacity_logits")
    directional_check(loss_of(scene, renderer), list(scene.parameters(*paths).values()), f64, 5)


def test_normals_of_all_turn_with_what_has_them(f64):
    scene, renderer = mixed(6), HybridRenderer(**SMALL, **NO_JUMPS)
    paths = ("sheet.vertices", "beads.rotations", "beads.opacity_logits")
    loss = loss_of(scene, renderer, ("normal",))
    directional_check(loss, list(scene.parameters(*paths).values()), f64, 6)


@pytest.mark.parametrize(
    ("member", "volume", "renderer"),
    [
        ("sheet", None, Rasterizer()),
        ("cloud", None, VolumeRenderer(steps=9)),
        ("cloud", GLOWING, VolumeRenderer(**SMALL)),
    ],
)
def test_a_scene_of_one_kind_has_the_gradients_of_its_own_renderer(f64, member, volume, renderer):
    scene = only(mixed(7, None if volume is None else medium(*volume)), member)
    wanted = list(of_everything(scene).values())
    channels = ("rgb", "alpha") if member == "sheet" else CHANNELS
    hybrid = HybridRenderer(**SMALL)
    for mine, theirs in zip(
        tape_gradients(loss_of(scene, hybrid, channels), wanted),
        tape_gradients(loss_of(scene, renderer, channels), wanted),
        strict=True,
    ):
        assert np.abs(mine - theirs).max() <= 1e-11 * max(np.abs(theirs).max(), 1)


def test_bands_change_nothing(f64, monkeypatch):
    scene, renderer = mixed(8, size=(20, 37)), HybridRenderer(**SMALL)
    wanted = list(scene.parameters("sheet.vertices", "cloud.*", "beads.*", "front.*").values())
    whole, before = tape_gradients(loss_of(scene, renderer), wanted), tidr.render(scene, "front", renderer).rgb.numpy()
    monkeypatch.setattr(hybrid_walk, "ROOM", 1)
    parts, after = tape_gradients(loss_of(scene, renderer), wanted), tidr.render(scene, "front", renderer).rgb.numpy()
    assert np.array_equal(before, after)
    for one, other in zip(whole, parts, strict=True):
        assert np.allclose(one, other, rtol=1e-11, atol=1e-11 * np.abs(one).max())


def test_a_fit_allocates_nothing_after_its_second_step(f64):
    scene, renderer = mixed(9, medium(*GLOWING)), HybridRenderer(**SMALL)
    wanted, counts = list(scene.parameters("cloud.*", "beads.means").values()), []
    for _ in range(4):
        tape_gradients(loss_of(scene, renderer, ("rgb",)), wanted)
        counts.append(buffer.allocations)
    assert counts[1] == counts[3]


def everything_glowing() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Gradients by name, and the picture, on the backend that runs."""
    scene, renderer = mixed(3, medium(*GLOWING), size=(20, 18)), HybridRenderer(**SMALL, **NO_JUMPS)
    parameters = of_everything(scene)
    found = tape_gradients(loss_of(scene, renderer, ("rgb", "alpha")), list(parameters.values()))
    return dict(zip(parameters, found, strict=True)), tidr.render(scene, "front", renderer).rgb.numpy()


@functools.cache
def in_double_precision():
    start("cpu", 64)
    return everything_glowing()


def test_double_precision_is_there_to_compare_with(f64):
    gradients, picture = in_double_precision()
    assert all(np.isfinite(one).all() for one in gradients.values())
    assert all(np.abs(gradients[name]).max() > 0 for name in gradients)
    assert np.isfinite(picture).all()


@pytest.mark.row(27)
@pytest.mark.row(40)
def test_single_precision_on_vulkan_agrees(vulkan):
    exact, picture = in_double_precision()
    start("vulkan", 32)
    gradients, drawn = everything_glowing()
    assert np.abs(drawn - picture).max() < 1e-4
    for name, one in gradients.items():
        assert np.linalg.norm(one - exact[name]) <= 2e-2 * np.linalg.norm(exact[name]), name
