"""Where a ray ends: cell s stops it with probability d = scale * v if nothing did before; with adjoint.

With P_s = product over j < s of (1 - d_j), the weight of sample s is d_s P_s, as in ray consistency (DRC, Tulsiani et
al. 2017) and in absorption (Henzler et al. 2019). With `inclusive` it is d_s P_{s + 1}, as in the emission-absorption
of Henzler et al. 2019, whose transmission counts the sample itself. alpha = 1 - P_end either way. A factor 1 - d is
kept at `least` or more, and then has no derivative.

The adjoint divides by nothing, so that opaque cells have their exact gradient: with B_s the sum over j > s of
dL/dweight_j weight_j / P_{s + 1}, the derivative by d_s is P_s (dL/dweight_s - B_s), and B comes from the ray's end.
"""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def factor(d, least):
    """Share of the ray that goes on, and its derivative by d."""
    out, slope = 1.0 - d, -1.0
    if out < least:
        out, slope = least, 0.0
    return out, slope


@ti.kernel
def weights(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, scale: float, least: float,
    inclusive: ti.template(), weights: A1, alpha: A2,
):  # fmt: skip
    for lane in range(lanes):
        left = 1.0
        for s in range(counts[lane]):
            d = scale * values[lane * steps + s]
            on, _ = factor(d, least)
            weights[lane * steps + s] = d * left * (on if ti.static(inclusive) else 1.0)
            left *= on
        alpha[first + lane, 0] = 1.0 - left


@ti.kernel
def weights_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, values: A1, scale: float, least: float,
    inclusive: ti.template(), grad_weights: A1, grad_alpha: A2, grad_values: A1,
):  # fmt: skip
    """grad_values first holds P_s, then the gradient."""
    for lane in range(lanes):
        left = 1.0
        for s in range(counts[lane]):
            grad_values[lane * steps + s] = left
            on, _ = factor(scale * values[lane * steps + s], least)
            left *= on
        behind = -grad_alpha[first + lane, 0]
        for back in range(counts[lane]):
            sample = lane * steps + counts[lane] - 1 - back
            d = scale * values[sample]
            on, slope = factor(d, least)
            share, share_slope = d, 1.0
            if ti.static(inclusive):
                share, share_slope = d * on, on + d * slope
            grad_values[sample] = scale * grad_values[sample] * (grad_weights[sample] * share_slope + behind * slope)
            behind = grad_weights[sample] * share + on * behind
