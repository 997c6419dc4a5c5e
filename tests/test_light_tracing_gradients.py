"""Gradients of light tracing: those of differences with the same random numbers, the same on every backend."""

import numpy as np
import pytest

import tidr
from tests.conftest import start
from tests.gradients import tape_gradients
from tests.light_tracing_scenes import loss_of, moving, sensors
from tests.photon_kernels import without_weights
from tests.photon_stage import stage
from tests.test_path_edges import same_mean
from tidr.kernels.transport import bsdf
from tidr.scene.camera import Camera
from tidr.scene.material import Material
from tidr.scene.meter import IrradianceMeter


def same_as_differences(function, arrays) -> None:
    """With the same random numbers, along one direction each; a smaller step too, where a particle changed its way. And
    the same when repeated, bit for bit."""
    gradients = tape_gradients(function, arrays)
    for _ in range(2):
        assert all(map(np.array_equal, tape_gradients(function, arrays), gradients))
    for array, gradient in zip(arrays, gradients, strict=True):
        direction, start = np.random.default_rng(3).normal(size=array.shape), array.numpy()
        exact, slopes = float((gradient * direction).sum()), []
        for step in (1e-6, 1e-7, 1e-8):
            array.set(start + step * direction)
            above = float(function())
            array.set(start - step * direction)
            slopes.append((above - float(function())) / (2 * step))
            if abs(slopes[-1] - exact) <= 1e-5 * abs(exact):
                break
        else:
            raise AssertionError((array.label, exact, slopes))
        array.set(start)


@pytest.fixture
def same_choices(f64, monkeypatch):
    """Fresnel's chance of a reflection, which differences with the same random numbers do not see, has no gradient."""
    tidr.init(arch="cpu", precision=64, threads=2)
    monkeypatch.setattr(bsdf, "weight_adjoint", without_weights)
    yield f64
    tidr.init(arch="cpu", precision=64)


def test_gradients_are_those_of_differences(same_choices):
    """Of all that particles meet on paths by a mirror and a glass ball, and of cameras and a meter."""
    scene, cameras = moving(bulb=4.0), sensors()
    names = ["white.albedo", "bulb.intensity", "bulb.position", "glass.ior", "ball.translation", "floor.vertices",
             "wall.rotation", "mirror.vertices"]  # fmt: skip
    arrays = [scene.parameters(name)[name] for name in names]
    arrays += [cameras[0].parameters()[name] for name in ("position", "rotation", "aperture_radius", "focus_distance")]
    arrays += [cameras[1].parameters()[name] for name in ("rotation", "focal")]
    arrays += cameras[2].parameters().values()
    same_as_differences(loss_of(scene, cameras), arrays)

    scene = moving(panel=3.0)
    names = ["glow.emission", "glow.albedo", "panel.translation", "panel.rotation", "panel.scale"]
    same_as_differences(loss_of(scene, cameras), [scene.parameters(name)[name] for name in names])

    scene = moving(bulb=4.0, board=0.5)  # straight from the lamp, since where it sends on light moves with it
    names = ["shine.specular", "shine.shininess", "board.vertices", "bulb.position"]
    same_as_differences(loss_of(scene, cameras, max_depth=2), [scene.parameters(name)[name] for name in names])

    scene = moving(panel=3.0)  # seen through a pane whose opacity is a quarter
    eye, ahead = [0.4, 0.5, 0.3], [0.4, 2.6, 0.3]
    camera = Camera.look_at(eye, ahead, up=(0, 0, 1), fov_y_degrees=20, aperture_radius=0.01, focus_distance=2.0)
    scene.nodes["pane"].translation.set([0.4, 81.0, 0.3])
    function, emission = (
        loss_of(scene, [camera, IrradianceMeter(eye, (0, 1, 0))], max_depth=1),
        scene["glow"].sources["emission"],
    )
    to_opacity, to_emission = tape_gradients(function, [scene["veil"].sources["opacity"], emission])
    assert float(function()) != 0.0
    assert float((to_emission * emission.numpy()).sum()) == pytest.approx(float(function()), rel=1e-9)
    assert float(to_opacity.sum()) == pytest.approx(-float(function()) / 0.75, rel=1e-9)

    found = {}  # a lamp with an opacity lights others as one of so much less emission
    for opacity, emission in ((0.4, 5.0), (1.0, 2.0)):
        scene = moving()
        scene.materials["glow"] = Material("lambert", albedo=0.3, emission=emission, opacity=opacity)
        losses = [
            loss_of(scene, cameras, 1.0, max_depth=2, particles=1 << 13, seed=seed, independent_gradient=True)
            for seed in range(8)
        ]
        found[opacity] = np.array([float(loss()) for loss in losses])
        if opacity < 1.0:
            there = [scene["glow"].sources["opacity"]]
            slopes = np.array([tape_gradients(loss, there)[0].item() for loss in losses])
    same_mean(found[0.4], found[1.0])
    same_mean(slopes, found[1.0] / 0.4)


def test_vulkan_has_the_same_gradients(f64):
    """Without glass and mirror: drivers take long to compile."""

    def found():
        scene, cameras = stage(bulb=4.0), sensors()[1:2]
        for name in ("ball", "mirror", "panel"):
            del scene.nodes[name]
        names = ["white.albedo", "bulb.intensity", "bulb.position", "floor.vertices"]
        arrays = [scene.parameters(name)[name] for name in names] + [cameras[0].parameters()["position"]]
        return tape_gradients(loss_of(scene, cameras), arrays)

    expected = found()
    start("vulkan", 32)
    for one, other in zip(found(), expected, strict=True):
        assert np.linalg.norm(one - other) < 2e-2 * np.linalg.norm(other)
