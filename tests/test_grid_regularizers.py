"""Energies of grids: numpy twins, gradients, refusals."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.fitting.grid_regularizers import sparsity, total_variation
from tidr.parameter import Parameter

from .gradients import directional_check, tape_gradients

SHAPES = [(4, 5, 6), (3, 4, 5, 3), (3, 2, 4, 4, 3), (1, 1, 3), (1, 1, 1)]


def variation(grid: np.ndarray, soft: float) -> float:
    steps = [np.diff(grid, axis=axis, append=np.take(grid, [-1], axis)) for axis in range(3)]
    return float(np.sqrt(sum(step**2 for step in steps) + soft).mean())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_total_variation(backend, shape):
    grid = Parameter(np.random.default_rng(len(shape)).normal(size=shape))
    soft = 1e-2
    assert float(total_variation(grid, soft)) == pytest.approx(variation(grid.numpy(), soft), rel=1e-5)
    directional_check(lambda: total_variation(grid, soft), [grid], backend)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sparsity(backend, shape):
    values = np.random.default_rng(len(shape)).normal(0.2, 1.0, shape)
    grid = Parameter(np.where(np.abs(values) < 0.05, 0.1, values))
    wanted = np.log1p(2 * np.maximum(grid.numpy(), 0) ** 2).mean()
    assert float(sparsity(grid)) == pytest.approx(wanted, rel=1e-5)
    directional_check(lambda: sparsity(grid), [grid], backend)


def test_flat_grids_have_no_gradient(f64):
    grid = Parameter(np.full((3, 4, 5), 0.7))
    (gradient,) = tape_gradients(lambda: total_variation(grid, 0.0), [grid])
    assert float(total_variation(grid, 0.0)) == 0
    assert not gradient.any()


def test_bad_input_is_refused(f64):
    with pytest.raises(SceneError, match=r"total_variation.*\[D, H, W\]"):
        total_variation(Parameter(np.ones((4, 4))))
    with pytest.raises(SceneError, match=r"sparsity.*\[D, H, W\]"):
        sparsity(Parameter(np.ones(4)))
    with pytest.raises(SceneError, match="softness"):
        total_variation(Parameter(np.ones((2, 2, 2))), -1.0)
