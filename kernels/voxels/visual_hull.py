"""The visual hull of PlatonicGAN (Henzler et al. 2019): alpha = 1 - exp(-sum of scale * v); with adjoint.

Colour and depth have no published form here; a sample weighs scale * v.
"""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def weights(first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, scale: float, weights: A1, alpha: A2):
    for lane in range(lanes):
        total = 0.0
        for s in range(counts[lane]):
            weights[lane * steps + s] = scale * values[lane * steps + s]
            total += scale * values[lane * steps + s]
        alpha[first + lane, 0] = 1.0 - ti.exp(-total)


@ti.kernel
def weights_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, scale: float, grad_weights: A1,
    grad_alpha: A2, grad_values: A1,
):  # fmt: skip
    for lane in range(lanes):
        total = 0.0
        for s in range(counts[lane]):
            total += scale * values[lane * steps + s]
        shared = grad_alpha[first + lane, 0] * ti.exp(-total)
        for s in range(counts[lane]):
            grad_values[lane * steps + s] = scale * (grad_weights[lane * steps + s] + shared)
