"""Schedules at their ends and between, and the early stop."""

from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.fitting.fit import fit_from_settings, planned
from tidr.fitting.schedules import Constant, Cosine, EarlyStop, Exponential, Step, Warmup
from tidr.fitting.step import batch_of


def test_constant():
    assert Constant(value=0.3)(7, 10) == 0.3


def test_exponential_goes_by_equal_ratios_and_stays():
    schedule = Exponential(start=1.0, end=0.01)
    values = [schedule(step, 101) for step in range(101)]
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.1)
    assert values[100] == pytest.approx(0.01)
    assert Exponential(start=1.0, end=0.01, steps=11)(5, 101) == pytest.approx(0.1)
    assert Exponential(start=1.0, end=0.01, steps=11)(60, 101) == pytest.approx(0.01)
    with pytest.raises(SceneError, match="above 0"):
        Exponential(end=0.0)


def test_cosine():
    schedule = Cosine(start=1.0, end=0.2)
    assert schedule(0, 101) == 1.0
    assert schedule(50, 101) == pytest.approx(0.6)
    assert schedule(100, 101) == pytest.approx(0.2)


def test_step():
    schedule = Step(factor=0.5, every=10)
    assert [schedule(step, 100) for step in (0, 9, 10, 25)] == [1.0, 1.0, 0.5, 0.25]


def test_warmup():
    schedule = Warmup(steps=4, then=Constant(value=2.0))
    assert [schedule(step, 100) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_a_fit_of_one_step_ends_where_the_schedule_ends():
    assert Exponential()(0, 1) == pytest.approx(0.1)
    assert Cosine()(0, 1) == pytest.approx(0.0)


@pytest.mark.row(204)
def test_early_stop_wants_calm_in_a_row():
    stop = EarlyStop(tolerance=1e-5, patience=3)
    assert [stop.update(loss) for loss in (2.0, 1.0, 1.0, 1.0, 0.9, 0.9, 0.9)] == [False] * 7
    assert stop.update(0.9 * (1 + 5e-6))
    assert not stop.update(0.8)


@pytest.mark.row(204)
def test_early_stop_never_stops_a_steady_descent():
    stop = EarlyStop()
    assert not any(stop.update(0.999**step) for step in range(1000))


@pytest.mark.row(204)
def test_early_stop_resumes():
    first, second = EarlyStop(patience=4), EarlyStop(patience=4)
    for _ in range(3):
        first.update(1.0)
    second.load_state(first.state())
    assert first.update(1.0) == second.update(1.0) is False
    assert first.update(1.0)
    assert second.update(1.0)


FILE = """
[film]
width = 16
height = 12
[cameras.front]
position = [0.2, 0.1, 3]
target = [0, 0, 0]
fov_y_degrees = 50
[nodes.dots]
points = "dots.npz"
[fit]
targets = { front = "front.npy" }
parameters = { "dots.positions" = { lr = 0.05, channels = [0, 1] } }
losses = { alpha_mse = 1.0 }
renderer = { type = "points", splat = "gaussian", sigma_pixels = 0 }
steps = 60
sharpen = [20, 40]
"""


def test_a_scene_file_asks_for_coarse_to_fine_pictures(f32, tmp_path):
    """They begin at a quarter of their size and double twice; the dot gets to its place."""
    np.savez(tmp_path / "dots.npz", positions=np.array([[0.4, 0.0, 0.0]]), radii=np.array([0.4]))
    (tmp_path / "a.toml").write_text(FILE)
    scene = tidr.load(tmp_path / "a.toml")
    right = np.array([[-0.5, 0.1, 0.0]])
    start = scene["dots"].geometry.positions.numpy()
    scene["dots"].geometry.positions.set(right)
    mask = tidr.render(scene, "front", tidr.PointRenderer(splat="gaussian", sigma_pixels=0)).alpha.numpy()
    np.save(tmp_path / "front.npy", np.repeat(mask, 4, -1).astype(np.float32))
    scene["dots"].geometry.positions.set(start)
    plan, _ = planned(scene)
    assert [batch_of(plan, step).sizes[0] for step in (0, 19, 20, 40, 59)] == [
        (3, 4),
        (3, 4),
        (6, 8),
        (12, 16),
        (12, 16),
    ]
    coarse = batch_of(plan, 0).alpha.numpy()[0, ..., 0]
    np.testing.assert_allclose(coarse, mask[..., 0].reshape(3, 4, 4, 4).mean((1, 3)), rtol=1e-5)
    fit_from_settings(scene)
    np.testing.assert_allclose(scene["dots"].geometry.positions.numpy()[:, :2], right[:, :2], atol=0.05)
    with pytest.raises(SceneError, match="sharpen: halves pictures of 16 x 12 pixels 3 times"):
        fit_from_settings(scene, replace(scene.fit, sharpen=(1, 2, 3)))
    with pytest.raises(SceneError, match="give steps above 0 that rise"):
        fit_from_settings(scene, replace(scene.fit, sharpen=(3, 2)))


def test_a_scene_file_asks_for_sharper_edges(f32, tmp_path):
    """sigma and gamma of the soft rasterizer go from what the renderer's table says to what `anneal` says."""
    (tmp_path / "ball.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    soft = 'renderer = { type = "raster", edges = "soft", sigma = 1e-2, gamma = 1e-1 }'
    soft += "\nanneal = { sigma = 1e-4, gamma = 1e-3 }"
    text = FILE.replace('points = "dots.npz"', 'mesh = "ball.obj"').replace("dots.positions", "dots.vertices")
    lines = [
        soft if line.startswith("renderer") else line for line in text.splitlines() if not line.startswith("sharpen")
    ]
    (tmp_path / "a.toml").write_text("\n".join(lines))
    np.save(tmp_path / "front.npy", np.zeros((12, 16, 4), np.float32))
    plan, _ = planned(tidr.load(tmp_path / "a.toml"))
    for step, share in ((0, 0.0), (59, 1.0), (80, 1.0)):
        drawer = plan.drawer(step)
        assert drawer.sigma == pytest.approx(1e-2 + share * (1e-4 - 1e-2))
        assert drawer.gamma == pytest.approx(1e-1 + share * (1e-3 - 1e-1))
    (tmp_path / "a.toml").write_text("\n".join(lines).replace("sigma = 1e-2, ", ""))
    with pytest.raises(SceneError, match=r"fit.anneal.sigma: has nothing to begin from"):
        planned(tidr.load(tmp_path / "a.toml"))
