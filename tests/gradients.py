"""Gradient checks shared by the tests: the tape against central differences along random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tidr.array import Array
from tidr.fitting.tape import Loss, Operation, Tape, run


def weighted(array: Array, weights) -> Loss:
    """sum(weights * array), a loss without truncation error in a difference along a straight line."""
    weights, out = np.broadcast_to(weights, array.shape), Array(())

    def forward() -> None:
        out.set((array.numpy().astype(np.float64) * weights).sum())

    def backward() -> None:
        array.set_grad(array.grad_numpy() + weights * float(out.grad_numpy()))

    run(Operation(forward, backward, [array], [out], "weighted sum"))
    return Loss(out, "weighted")


def tape_gradients(function: Callable[[], Loss], arrays: Sequence[Array]) -> list[np.ndarray]:
    """The gradient of `function()` with respect to each array, by the tape, in f64."""
    with Tape() as tape:
        tape.add(function())
    return [array.grad_numpy().astype(np.float64) for array in arrays]


def directional_check(function: Callable[[], Loss], arrays: Sequence[Array], backend, seed=0, directions=1) -> None:
    """Assert that the tape's derivative along random directions equals central differences, array by array.

    The step is relative to the array's scale; in f64 Richardson extrapolation takes off the h^2 term where it has to.
    """
    rng = np.random.default_rng(seed)
    for array, gradient in zip(arrays, tape_gradients(function, arrays), strict=True):
        start = array.numpy().astype(np.float64)
        assert np.isfinite(gradient).all()
        for _ in range(directions):
            direction = rng.normal(size=start.shape)
            direction /= max(np.linalg.norm(direction), 1e-30) / np.sqrt(max(direction.size, 1)) ** 0.5
            exact = float((gradient * direction).sum())

            def slope(step, start=start, direction=direction, array=array):
                array.set(start + step * direction)
                above = float(function())
                array.set(start - step * direction)
                below = float(function())
                return (above - below) / (2 * step)

            floor = 1e-3 * np.linalg.norm(gradient) * np.linalg.norm(direction) / max(np.sqrt(direction.size), 1.0)
            step = backend.step * max(1.0, float(np.abs(start).max()))
            measured, scale = slope(step), max(abs(exact), floor, 1e-12)
            if backend.precision == 64 and abs(exact - measured) > backend.rtol * scale:
                measured = (4 * slope(step / 2) - measured) / 3
            array.set(start)
            assert abs(exact - measured) <= backend.rtol * max(scale, abs(measured)), (
                f"{array.label}: tape {exact:.9g}, differences {measured:.9g} (seed {seed})"
            )
