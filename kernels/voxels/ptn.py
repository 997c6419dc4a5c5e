"""Perspective transformer nets (Yan et al. 2016): a ray sees the largest occupancy along it; with adjoint.

What this does not differentiate: which sample is the largest; the first of equal ones gets all of the gradient.
"""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def weights(first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, weights: A1, alpha: A2):
    """The largest sample weighs its value, all others 0."""
    for lane in range(lanes):
        best, largest = 0, 0.0
        for s in range(counts[lane]):
            weights[lane * steps + s] = 0.0
            if s == 0 or values[lane * steps + s] > largest:
                best = s
                largest = values[lane * steps + s]
        if counts[lane] > 0:
            weights[lane * steps + best] = largest
        alpha[first + lane, 0] = largest


@ti.kernel
def weights_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, grad_weights: A1, grad_alpha: A2,
    grad_values: A1,
):  # fmt: skip
    for lane in range(lanes):
        best, largest = 0, 0.0
        for s in range(counts[lane]):
            grad_values[lane * steps + s] = 0.0
            if s == 0 or values[lane * steps + s] > largest:
                best = s
                largest = values[lane * steps + s]
        if counts[lane] > 0:
            best += lane * steps
            grad_values[best] = grad_weights[best] + grad_alpha[first + lane, 0]
