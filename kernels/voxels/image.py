"""From sums along rays to channels of an image; with adjoints."""

import taichi as ti

A2 = ti.types.ndarray(ndim=2)

PUBLISHED = 1e-8  # what PlatonicGAN adds to the sum of weights
NOTHING = 1e-6  # a ray whose weights sum to less has no depth


@ti.func
def mean_of(sums: ti.template(), totals: ti.template(), ray, c, white: ti.template()):
    return totals[ray, 0] if ti.static(white) else sums[ray, c]


@ti.kernel
def finish(
    n: ti.i32, channels: ti.i32, sums: A2, totals: A2, alpha: A2, background: A2,
    normalise: ti.template(), white: ti.template(), out: A2,
):  # fmt: skip
    """out [n, C] = sums + (1 - alpha) * background; with `normalise` sums are first made to weigh alpha altogether."""
    for ray in range(n):
        share = 1.0
        if ti.static(normalise):
            share = alpha[ray, 0] / (totals[ray, 0] + PUBLISHED)
        for c in range(channels):
            seen = share * mean_of(sums, totals, ray, c, white)
            out[ray, c] = seen + (1.0 - alpha[ray, 0]) * background[0, c]


@ti.kernel
def finish_adjoint(
    n: ti.i32, channels: ti.i32, sums: A2, totals: A2, alpha: A2, background: A2,
    normalise: ti.template(), white: ti.template(), grad_out: A2, grad_sums: A2, grad_totals: A2, grad_alpha: A2,
):  # fmt: skip
    for ray in range(n):
        share, to_share, to_alpha, to_total = 1.0, 0.0, 0.0, 0.0
        whole = totals[ray, 0] + PUBLISHED
        if ti.static(normalise):
            share = alpha[ray, 0] / whole
        for c in range(channels):
            g = grad_out[ray, c]
            to_share += g * mean_of(sums, totals, ray, c, white)
            to_alpha -= g * background[0, c]
            if ti.static(white):
                to_total += g * share
            else:
                grad_sums[ray, c] = grad_sums[ray, c] + g * share
        if ti.static(normalise):
            to_alpha += to_share / whole
            to_total -= to_share * share / whole
        grad_alpha[ray, 0] = grad_alpha[ray, 0] + to_alpha
        grad_totals[ray, 0] = grad_totals[ray, 0] + to_total


@ti.kernel
def depth(n: ti.i32, totals: A2, alpha: A2, cosines: A2, far: float, distant: ti.template(), out: A2):
    """Expected t over what is hit, times the cosine; with `distant` what is not hit counts as depth `far`."""
    for ray in range(n):
        mean = 0.0
        if totals[ray, 0] > NOTHING:
            mean = cosines[ray, 0] * totals[ray, 1] / totals[ray, 0]
        if ti.static(distant):
            mean = alpha[ray, 0] * mean + (1.0 - alpha[ray, 0]) * far
        out[ray, 0] = mean


@ti.kernel
def depth_adjoint(
    n: ti.i32, totals: A2, alpha: A2, cosines: A2, far: float, distant: ti.template(),
    grad_out: A2, grad_totals: A2, grad_alpha: A2, grad_cosines: A2,
):  # fmt: skip
    for ray in range(n):
        g = grad_out[ray, 0]
        hit = totals[ray, 0] > NOTHING
        if ti.static(distant):
            mean = 0.0
            if hit:
                mean = cosines[ray, 0] * totals[ray, 1] / totals[ray, 0]
            grad_alpha[ray, 0] = grad_alpha[ray, 0] + g * (mean - far)
            g *= alpha[ray, 0]
        if hit:
            time = totals[ray, 1] / totals[ray, 0]
            grad_cosines[ray, 0] = grad_cosines[ray, 0] + g * time
            to_time = g * cosines[ray, 0] / totals[ray, 0]
            grad_totals[ray, 1] = grad_totals[ray, 1] + to_time
            grad_totals[ray, 0] = grad_totals[ray, 0] - to_time * time
