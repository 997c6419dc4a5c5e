"""Points that gather into a ring: toy problem T4, and the bundled scene."""

import numpy as np
import pytest

import tidr
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.point_losses import chamfer
from tidr.problems.points import RADIUS, ring_mask, ring_points
from tidr.problems.runner import problems, solve


@pytest.mark.row(67, 68, 69, 106)
@pytest.mark.parametrize("treatment", ["gaussian", "knn"])
def test_scattered_points_become_a_ring(f32, treatment):
    (problem,) = problems(["T4-points"])
    result = solve(problem, treatment)
    assert result.solved, result


@pytest.mark.row(65, 106)
def test_points_of_one_pixel_do_not_move(f32):
    (problem,) = problems(["T4-points"])
    result = solve(problem, "pixel")
    assert (result.verdict, round(result.error)) == ("known", 100)


def test_the_mask_covers_the_ring():
    x = (np.arange(400) + 0.5) / 400 * 2.6 - 1.3
    distance = np.abs(np.hypot(x[:, None], x) - RADIUS)
    mask = ring_mask(400)
    assert mask[distance < 0.07].min() == 1
    assert mask[distance > 0.09].max() == 0


@pytest.mark.long
@pytest.mark.row(67)
def test_the_bundled_scene_ends_as_a_ring(f32):
    scene = tidr.load("ring")
    cloud, wanted = scene["cloud"].geometry, ring_points(800)
    start = float(chamfer(cloud.positions.numpy(), wanted))
    result = fit_from_settings(scene, scene.fit)
    assert float(chamfer(cloud.positions.numpy(), wanted)) < 0.05 * start
    assert result.metrics["mean"]["psnr"] > 15
    x, y, z = cloud.positions.numpy().T
    assert (np.abs(np.hypot(x, y) - RADIUS) < 0.02).mean() > 0.97
    np.testing.assert_array_less(np.abs(z), 1.1e-3)  # one parallel view says nothing of depth
