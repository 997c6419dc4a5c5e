"""Gradient checks shared by the tests: the tape against central differences along random directions."""

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


def directional_check(
    function: Callable[[], Loss], arrays: Sequence[Array], backend, seed=0, directions=1
) -> list[np.ndarray]:
    """Assert that the tape's derivative along random directions equals central differences; the tape's gradients.

    The step is relative to an array's scale; in f64 Richardson extrapolation takes off the h^2 term where it has to.
    There all arrays move at once at first, those of a steep slope less than others, and the error of the sum has to be
    within the tolerance of each. Only where it is not do they move one by one.
    """
    rng, gradients = np.random.default_rng(seed), tape_gradients(function, arrays)
    starts = [array.numpy().astype(np.float64) for array in arrays]
    assert all(np.isfinite(gradient).all() for gradient in gradients)

    def change(shifts: dict[int, np.ndarray]) -> float:
        """Half of what the function changes by from -shifts to +shifts."""
        values = []
        for sign in (1, -1):
            for k, shift in shifts.items():
                arrays[k].set(starts[k] + sign * shift)
            values.append(float(function()))
        for k in shifts:
            arrays[k].set(starts[k])
        return (values[0] - values[1]) / 2

    def agree_at_once(moved: list[int]) -> bool:
        least = min(scales[k] for k in moved)
        shares = {k: least / scales[k] for k in moved}
        measured = change({k: shares[k] * shifts[k] for k in moved})
        return abs(sum(shares[k] * exact[k] for k in moved) - measured) <= backend.rtol * least

    for _ in range(directions):
        shifts, exact, scales = {}, {}, {}
        for k, (start, gradient) in enumerate(zip(starts, gradients, strict=True)):
            direction = rng.normal(size=start.shape)
            direction /= max(np.linalg.norm(direction), 1e-30) / np.sqrt(max(direction.size, 1)) ** 0.5
            step = backend.step * max(1.0, float(np.abs(start).max()))
            shifts[k], exact[k] = step * direction, step * float((gradient * direction).sum())
            floor = 1e-3 * np.linalg.norm(gradient) * np.linalg.norm(direction) / max(np.sqrt(direction.size), 1.0)
            scales[k] = max(abs(exact[k]), step * floor, step * 1e-12)
        felt = [k for k, gradient in enumerate(gradients) if gradient.any()]
        known = backend.precision == 64 and len(felt) > 1 and agree_at_once(felt)
        for k in (k for k in shifts if not (known and k in felt)):
            measured = change({k: shifts[k]})
            if backend.precision == 64 and abs(exact[k] - measured) > backend.rtol * scales[k]:
                measured = (8 * change({k: shifts[k] / 2}) - measured) / 3
            assert abs(exact[k] - measured) <= backend.rtol * max(scales[k], abs(measured)), (
                f"{arrays[k].label}: tape {exact[k]:.9g}, differences {measured:.9g} (seed {seed})"
            )
    return gradients
