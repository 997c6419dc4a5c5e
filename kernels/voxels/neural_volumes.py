"""Accumulation to one (Neural Volumes, Lombardi et al. 2019): opacities add up until they reach 1; with adjoint.

The weight of sample s is min(A + scale * v, 1) - A, with A the sum of the weights before it. scale holds the step.
From the sample that reaches 1 on, values have no gradient (the clamp's); what they show still has its weight.
"""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def weights(first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, scale: float, weights: A1, alpha: A2):
    for lane in range(lanes):
        total = 0.0
        for s in range(counts[lane]):
            reached = ti.min(total + scale * values[lane * steps + s], 1.0)
            weights[lane * steps + s] = reached - total
            total = reached
        alpha[first + lane, 0] = total


@ti.kernel
def weights_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, scale: float, grad_weights: A1,
    grad_alpha: A2, grad_values: A1,
):  # fmt: skip
    for lane in range(lanes):
        total, full = 0.0, counts[lane]
        for s in range(counts[lane]):
            total += scale * values[lane * steps + s]
            if total >= 1.0 and full == counts[lane]:
                full = s
        last = -grad_alpha[first + lane, 0]
        if full < counts[lane]:
            last = grad_weights[lane * steps + full]
        for s in range(counts[lane]):
            sample = lane * steps + s
            grad_values[sample] = scale * (grad_weights[sample] - last) if s < full else 0.0
