"""Emission-absorption quadrature over listed samples of rays, and its adjoint.

Of ray samples with density sigma_i over the length delta_i: w_i = T_i (1 - exp(-sigma_i delta_i)), T_i the product of
exp(-sigma_j delta_j) over j < i (Max 1995, "Optical Models for Direct Volume Rendering"). The network's row `density`
makes sigma, its last three rows are the colour. The spread of a ray is sum over i < j of w_i w_j (t_i - t_j)^2.
"""

import taichi as ti

from ..accumulate import load3
from . import BLOCK

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)

EXPONENTIAL, SOFTPLUS = 0, 1
BOUND = 15.0
"""The exponential's derivative is that at the argument clamped to [-BOUND, BOUND], as in instant-NGP."""


@ti.func
def density_of(x, kind: ti.template()):
    out = 0.0
    if ti.static(kind == EXPONENTIAL):
        out = ti.exp(ti.min(x, BOUND))
    else:  # shifted, so that a fresh network is nearly empty
        y = x - 1.0
        out = ti.max(y, 0.0) + ti.log(1.0 + ti.exp(-ti.abs(y)))
    return out


@ti.func
def density_slope(x, kind: ti.template()):
    bounded = ti.max(ti.min(x, BOUND), -BOUND)
    return ti.exp(bounded) if ti.static(kind == EXPONENTIAL) else 1.0 / (1.0 + ti.exp(1.0 - x))


@ti.func
def sample_slot(n, rows):
    """Slot of sample n's entry in row 0."""
    block = n // BLOCK
    return block * rows * BLOCK + n - block * BLOCK


@ti.kernel
def composite(
    begin: ti.i32, end: ti.i32, share: ti.i32, rows: ti.i32, density: ti.i32, stop: float, starts: I1, times: A1,
    widths: A1, values: A1, rgb: A2, alpha: A2, distance: A2, spread: A2, weights: A1, kind: ti.template(),
):  # fmt: skip
    """rgb [n, 3], alpha, distance and spread [n, 1] of rays begin .. end - 1, and the weights w of their samples.

    A ray ends where its transmittance falls below `stop`. Every sample that `starts` counts is `share` listed ones.
    """
    for ray in range(begin, end):
        color = ti.Vector([0.0, 0.0, 0.0])
        left, far, total, wide = 1.0, 0.0, 0.0, 0.0
        for n in range((starts[ray] - starts[begin]) * share, (starts[ray + 1] - starts[begin]) * share):
            w = 0.0
            if left >= stop:
                slot = sample_slot(n, rows)
                keep = ti.exp(-widths[n] * density_of(values[slot + density * BLOCK], kind))
                w = left * (1.0 - keep)
                for c in ti.static(range(3)):
                    color[c] += w * values[slot + (rows - 3 + c) * BLOCK]
                if total > 0.0 and w > 0.0:  # Welford's update of sum of w (t - mean)^2
                    off = times[n] - far / total
                    wide += w * total / (total + w) * off * off
                total += w
                far += w * times[n]
                left *= keep
            weights[n] = w
        for c in ti.static(range(3)):
            rgb[ray, c] = color[c]
        alpha[ray, 0] = 1.0 - left
        distance[ray, 0] = far
        spread[ray, 0] = total * wide


@ti.kernel
def composite_adjoint(
    begin: ti.i32, end: ti.i32, share: ti.i32, rows: ti.i32, density: ti.i32, stop: float, starts: I1, times: A1,
    widths: A1, values: A1, rgb: A2, alpha: A2, distance: A2, spread: A2, to_rgb: A2, to_alpha: A2, to_distance: A2,
    to_spread: A2, to_outputs: A1, to_gaps: A1, kind: ti.template(),
):  # fmt: skip
    """to_outputs [blocks * 4 * BLOCK]: gradient of the density's row, and of the colour's three.

    With v_i the gradient of a sample's weight: dL/dsigma_i = delta_i (T_{i+1} v_i - sum over j > i of w_j v_j). That of
    the spread by w_i is sum over j of w_j (t_i - t_j)^2.
    to_gaps [n]: derivative of the loss by the logarithm of a common factor of a ray's times and widths.
    """
    for ray in range(begin, end):
        g = ti.Vector([to_rgb[ray, 0], to_rgb[ray, 1], to_rgb[ray, 2]])
        g_alpha, g_far, g_spread = to_alpha[ray, 0], to_distance[ray, 0], to_spread[ray, 0]
        rest = g_alpha * alpha[ray, 0] + g_far * distance[ray, 0] + 2.0 * g_spread * spread[ray, 0]
        mean, wide = 0.0, 0.0
        if alpha[ray, 0] > 0.0:
            mean, wide = distance[ray, 0] / alpha[ray, 0], spread[ray, 0] / alpha[ray, 0]
        for c in ti.static(range(3)):
            rest += g[c] * rgb[ray, c]
        left, to_gap = 1.0, 2.0 * g_spread * spread[ray, 0]
        for n in range((starts[ray] - starts[begin]) * share, (starts[ray + 1] - starts[begin]) * share):
            slot, out = sample_slot(n, rows), sample_slot(n, 4)
            to_density, w = 0.0, 0.0
            if left >= stop:
                x = values[slot + density * BLOCK]
                sigma = density_of(x, kind)
                keep = ti.exp(-widths[n] * sigma)
                w = left * (1.0 - keep)
                off = times[n] - mean
                v = g_alpha + g_far * times[n] + g_spread * (wide + alpha[ray, 0] * off * off)
                for c in ti.static(range(3)):
                    v += g[c] * values[slot + (rows - 3 + c) * BLOCK]
                rest -= w * v
                left *= keep
                to_density = widths[n] * (left * v - rest) * density_slope(x, kind)
                to_gap += widths[n] * (left * v - rest) * sigma + g_far * w * times[n]
            to_outputs[out] = to_density
            for c in ti.static(range(3)):
                to_outputs[out + (1 + c) * BLOCK] = w * g[c]
        to_gaps[ray] = to_gap


@ti.kernel
def clear_outputs(total: ti.i32, padded: ti.i32, to_outputs: A1):
    """No gradient for the samples that only fill the last block."""
    for n in range(total, padded):
        for k in ti.static(range(4)):
            to_outputs[sample_slot(n, 4) + k * BLOCK] = 0.0


@ti.kernel
def rays_adjoint(
    begin: ti.i32, end: ti.i32, share: ti.i32, even: ti.i32, scale: float, starts: I1, times: A1, to_positions: A1,
    to_gaps: A1, box: A2, directions: A2, to_origins: A2, to_directions: A2,
):  # fmt: skip
    """Gradient of the rays from that of their samples' coordinates.

    With `even`, times and widths are inverse to a direction's length; else they are held fixed.
    """
    for ray in range(begin, end):
        to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        for n in range((starts[ray] - starts[begin]) * share, (starts[ray + 1] - starts[begin]) * share):
            g = ti.Vector([to_positions[3 * n], to_positions[3 * n + 1], to_positions[3 * n + 2]])
            to_o += g
            to_d += times[n] * g
        for a in ti.static(range(3)):
            to_o[a] *= scale / (box[1, a] - box[0, a])
            to_d[a] *= scale / (box[1, a] - box[0, a])
        if even != 0:
            d = load3(directions, ray)
            to_d -= d * ((to_gaps[ray] + d.dot(to_d)) / d.norm_sqr())
        for a in ti.static(range(3)):
            to_origins[ray, a] = to_origins[ray, a] + to_o[a]
            to_directions[ray, a] = to_directions[ray, a] + to_d[a]
