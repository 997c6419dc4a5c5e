"""Gaussians that come and go: the noise that moves them, and the means of their opacities and scales."""

import taichi as ti

from ..rng import uniform

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

STEEPNESS, TURN = 100.0, 0.005  # the noise fades where opacity passes TURN


@ti.func
def _normal(seed, row, step, dimension):
    """A standard normal number (Box and Muller 1958)."""
    radius = ti.sqrt(-2.0 * ti.log(1.0 - uniform(seed, row, step, 2 * dimension)))
    return radius * ti.cos(2.0 * ti.math.pi * uniform(seed, row, step, 2 * dimension + 1))


@ti.kernel
def jiggle(seed: ti.i32, step: ti.i32, rows: ti.i32, size: float, means: A2, log_scales: A2, rotations: A2, logits: A2):
    """means += size * gate * covariance * normal, gate = sigmoid(100 (0.005 - opacity)): Kheradmand et al. 2024."""
    for row in range(rows):
        opacity = 1.0 / (1.0 + ti.exp(-logits[row, 0]))
        gate = 1.0 / (1.0 + ti.exp(STEEPNESS * (opacity - TURN)))
        w, x, y, z = rotations[row, 0], rotations[row, 1], rotations[row, 2], rotations[row, 3]
        s = 2.0 / (w * w + x * x + y * y + z * z)
        turn = ti.Matrix(
            [
                [1.0 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
                [s * (x * y + w * z), 1.0 - s * (x * x + z * z), s * (y * z - w * x)],
                [s * (x * z - w * y), s * (y * z + w * x), 1.0 - s * (x * x + y * y)],
            ]
        )
        along = turn.transpose() @ ti.Vector([_normal(seed, row, step, k) for k in range(3)])
        for k in ti.static(range(3)):
            along[k] *= ti.exp(2.0 * log_scales[row, k])
        moved = size * gate * (turn @ along)
        for k in ti.static(range(3)):
            means[row, k] = means[row, k] + moved[k]


@ti.kernel
def sigmoids(rows: ti.i32, logits: A2, terms: A1):
    """terms[row] = sigmoid(logits[row])."""
    for row in range(rows):
        terms[row] = 1.0 / (1.0 + ti.exp(-logits[row, 0]))


@ti.kernel
def sigmoids_adjoint(rows: ti.i32, logits: A2, weight: A2, factor: float, grad: A2):
    """grad += factor * weight * the derivative of `sigmoids`."""
    for row in range(rows):
        share = 1.0 / (1.0 + ti.exp(-logits[row, 0]))
        grad[row, 0] = grad[row, 0] + factor * weight[0, 0] * share * (1.0 - share)


@ti.kernel
def exponentials(rows: ti.i32, columns: ti.i32, logs: A2, terms: A1):
    """terms[row] = the sum of exp(logs[row])."""
    for row in range(rows):
        total = 0.0 * logs[row, 0]
        for c in range(columns):
            total += ti.exp(logs[row, c])
        terms[row] = total


@ti.kernel
def exponentials_adjoint(rows: ti.i32, columns: ti.i32, logs: A2, weight: A2, factor: float, grad: A2):
    """grad += factor * weight * the derivative of `exponentials`."""
    for row in range(rows):
        for c in range(columns):
            grad[row, c] = grad[row, c] + factor * weight[0, 0] * ti.exp(logs[row, c])
