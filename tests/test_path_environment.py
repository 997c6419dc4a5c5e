"""An environment, found by the path tracer from what it does to a known object."""

import numpy as np
import pytest

import tidr
from tidr.renderers.path import PathTracer
from tidr.scene.mesh import icosphere

ROWS, COLUMNS, SIZE, STEPS = 8, 16, 24, 40


def sky() -> np.ndarray:
    """[ROWS, COLUMNS, 3]: blue above, brown below, and a warm lamp to one side."""
    up, around = np.cos((np.arange(ROWS) + 0.5) * np.pi / ROWS), (np.arange(COLUMNS) + 0.5) * 2 * np.pi / COLUMNS
    above = 1 / (1 + np.exp(-6 * up))[:, None, None]
    lamp = np.exp(3 * (0.5 * up[:, None] + (1 - up[:, None] ** 2) ** 0.5 * np.cos(around - 2.0) - 1))[..., None]
    return above * (0.3, 0.5, 0.9) + (1 - above) * (0.25, 0.2, 0.1) + lamp * (2.0, 1.4, 0.8)


def ball(radiance) -> tidr.Scene:
    """A ball that reflects both dully and sharply; each of three cameras around it sees nothing else."""
    scene = tidr.Scene(tidr.Film(SIZE, SIZE))
    scene.add_material("shell", tidr.Material("metallic_roughness", albedo=0.8, metallic=0.7, roughness=0.25))
    scene.add_node("ball", tidr.Node(tidr.Mesh(*icosphere(4)), materials=("shell",)))
    scene.add_light("sky", tidr.EnvironmentLight(radiance))
    for name, turn in (("front", 0.0), ("left", 2.1), ("right", 4.2)):
        eye = (4 * np.sin(turn), 0.8, 4 * np.cos(turn))
        view = tidr.Camera.look_at(eye, (0, 0, 0), height_world=1.34, width=SIZE, height=SIZE)
        scene.add_camera(name, view)
    return scene


@pytest.mark.long
@pytest.mark.row(100)
@pytest.mark.row(187)
def test_the_sky_is_found_by_what_a_ball_reflects(f32):
    """T12: a map of 16 x 8 texels, grey at first, within 15 % of the truth in L2."""
    truth = sky()
    scene = ball(truth)
    names = list(scene.cameras)
    target = tidr.render(scene, names, PathTracer(samples=512, max_depth=2, seed=99)).rgb.numpy()
    radiance = scene.lights["sky"].radiance
    radiance.set(np.full_like(truth, truth.mean()))

    def off() -> float:
        return float(np.linalg.norm(radiance.numpy() - truth) / np.linalg.norm(truth))

    assert off() > 0.5
    rates = np.geomspace(0.2, 0.02, STEPS)
    optimizer = tidr.Adam(radiance, lr=rates[0])
    for step, rate in enumerate(rates):
        optimizer.lr = rate
        with tidr.Tape() as tape:
            image = tidr.render(scene, names, PathTracer(samples=16, max_depth=2, seed=step))
            tape.add(tidr.losses.mse(image.rgb, target))
        optimizer.step()
    assert off() <= 0.15
