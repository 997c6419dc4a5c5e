"""Light tracing: the path tracer's picture wherever both find the light; what it refuses."""

import numpy as np
import pytest

import tidr
from tests.light_tracing_scenes import agree, hall, loss_of, sensors, views
from tests.nan_values import is_refused
from tests.photon_stage import stage
from tidr.errors import GradientError, SceneError
from tidr.fitting.tape import Tape
from tidr.renderers.light_tracing import LightTracer
from tidr.renderers.path import PathTracer
from tidr.scene.graph import Node
from tidr.scene.meter import RadianceMeter
from tidr.scene.volume import Volume


def pictures(scene, renderers, cameras, size) -> np.ndarray:
    made = [
        tidr.render(scene, camera=cameras, renderer=each, width=size, height=size).rgb.numpy() for each in renderers
    ]
    return np.stack(made).astype(np.float64)


def test_pictures_are_the_path_tracers(f32):
    """Diffuse and glossy surfaces, a caustic, a thin lens, a see-through pane, a sky, a light seen directly."""
    scene, shared = hall(), {"max_depth": 7, "film": "gaussian"}
    traced = [LightTracer(particles=1 << 16, samples=16, seed=seed, **shared) for seed in range(8)]
    expected = [PathTracer(samples=128, roulette_depth=7, seed=seed, **shared) for seed in range(8)]
    drawn = pictures(scene, traced, views(), 12)
    agree(drawn, pictures(scene, expected, views(), 12))
    assert (pictures(scene, traced[:1], views(), 12)[0] == drawn[0]).all()
    image = tidr.render(scene, camera=views(), renderer=traced[0], width=12, height=12)
    seen = tidr.render(scene, camera=views(), renderer=expected[0], width=12, height=12).alpha.numpy()
    assert np.abs(image.alpha.numpy() - seen).max() < 0.3
    assert np.abs(image.alpha.numpy() - seen).mean() < 0.02


def test_a_nan_is_refused(f32):
    scene = hall()
    paths = ["ball.vertices", "floor.uvs", "white.albedo", "glass.ior", "brushed.roughness", "veil.opacity"]
    paths += ["glow.emission", *(path for path in scene.parameters() if path.startswith(("spot.", "sun.", "sky.")))]
    is_refused(scene, views()[0], LightTracer(particles=1000, max_depth=3, samples=2, film="gaussian"), paths)


def test_what_particles_cannot_do_is_refused(f32):
    scene = stage(bulb=1.0)
    with pytest.raises(SceneError, match="radiance meter"):
        tidr.render(scene, camera=RadianceMeter((0, 1, 0), (0, 0, 0)), renderer=LightTracer(), width=2, height=2)
    for wrong in ({"particles": 0}, {"max_depth": 0}, {"aimed": 1.0}, {"film": "lanczos"}, {"samples": 0}):
        with pytest.raises(SceneError, match=next(iter(wrong))):
            LightTracer(**wrong)
    with pytest.raises(GradientError, match="box"), Tape() as tape:
        tape.add(loss_of(scene, sensors()[:1], film="box", particles=1)())
    scene.add_node("fog", Node(Volume(np.full((1, 1, 1), 0.7), albedo=(1, 1, 1))))
    with pytest.raises(SceneError, match="medium"):
        tidr.render(scene, camera=sensors()[0], renderer=LightTracer(), width=2, height=2)
