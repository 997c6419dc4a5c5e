"""Blending of soft triangles in a pixel: silhouette and depth softmax (Liu et al. 2019), with adjoints.

The weight of entry j is D_j exp(n_j / gamma) / Z with nearness n_j = (far - z_j) / (far - near), that of the background
exp(epsilon / gamma) / Z, but at least `least` exp(n / gamma) / Z with the largest n (Ravi et al. 2020; 0: Liu et al.).
"""

import taichi as ti

from ..accumulate import SPREAD
from .soft import ANY, PRODUCT, SUM

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def silhouette(pixels: ti.i32, mode: ti.i32, faces: ti.i32, pixel_start: A1, probability: A2, alpha: A2):
    """alpha [pixels, 1]: 1 - product(1 - D), or the sum of D over the number of faces, or 1 where any D >= 1/2."""
    for p in range(pixels):
        free, total, hit = 1.0, 0.0, 0.0
        for e in range(pixel_start[p], pixel_start[p + 1]):
            d = probability[e, 0]
            free *= 1.0 - d
            total += d
            if d >= 0.5:
                hit = 1.0
        value = 1.0 - free
        if mode == SUM:
            value = total / faces
        if mode == ANY:
            value = hit
        alpha[p, 0] = value


@ti.kernel
def silhouette_adjoint(
    pixels: ti.i32, mode: ti.i32, faces: ti.i32, pixel_start: A1, probability: A2, grad_alpha: A2, grad: A2
):
    """grad [n, 1] += the gradient of D; products without factor j run from both ends, so that D = 1 divides nothing."""
    for p in range(pixels):
        g = grad_alpha[p, 0]
        first, last = pixel_start[p], pixel_start[p + 1]
        if g != 0.0 and mode == SUM:
            for e in range(first, last):
                grad[e, 0] = grad[e, 0] + g / faces
        if g != 0.0 and mode == PRODUCT:
            free = 1.0
            zeros = 0
            for e in range(first, last):
                rest = 1.0 - probability[e, 0]
                if rest == 0.0:
                    zeros += 1
                else:
                    free *= rest
            for e in range(first, last):
                rest = 1.0 - probability[e, 0]
                if zeros == 0:
                    grad[e, 0] = grad[e, 0] + g * free / rest
                elif zeros == 1 and rest == 0.0:
                    grad[e, 0] = grad[e, 0] + g * free


@ti.func
def nearest_depth(first, last, depth: ti.template(), behind):
    """The least depth in a pixel, the background's included, taken off before exp; and its entry, -1 for none."""
    top, entry = behind, -1
    for e in range(first, last):
        if depth[e, 0] < top:
            top, entry = depth[e, 0], e
    return top, entry


@ti.func
def background_share(top, behind, scale, least):
    """The background's weight beside exp((top - depth) * scale) of an entry, and 1 where it is cut off from below."""
    rest, cut = ti.exp((top - behind) * scale), 0
    if rest < least:
        rest, cut = least, 1
    return rest, cut


@ti.kernel
def weights(
    pixels: ti.i32, gamma: float, near: float, far: float, epsilon: float, least: float, pixel_start: A1, source: A1,
    probability: A2, depth: A2, weight: A2, background: A2,
):  # fmt: skip
    """weight [n, 1] and background [pixels, 1] of the depth softmax; source: rows of `probability`, none twice."""
    for p in range(pixels):
        first, last = pixel_start[p], pixel_start[p + 1]
        scale = 1.0 / ((far - near) * gamma)
        behind = far - epsilon * (far - near)
        top, _entry = nearest_depth(first, last, depth, behind)
        rest, _cut = background_share(top, behind, scale, least)
        total = rest
        for e in range(first, last):
            weight[e, 0] = probability[source[e], 0] * ti.exp((top - depth[e, 0]) * scale)
            total += weight[e, 0]
        for e in range(first, last):
            weight[e, 0] = weight[e, 0] / total
        background[p, 0] = rest / total


@ti.kernel
def weights_adjoint(
    pixels: ti.i32, gamma: float, near: float, far: float, epsilon: float, least: float, pixel_start: A1, source: A1,
    probability: A2, depth: A2, weight: A2, background: A2, grad_weight: A2, grad_background: A2, grad_probability: A2,
    grad_depth: A2,
):  # fmt: skip
    """dw_j/dD_k = (delta_jk - w_j) exp(.)/Z and dw_j/dz_k = -(delta_jk - w_j) w_k / ((far - near) gamma)."""
    for p in range(pixels):
        first, last = pixel_start[p], pixel_start[p + 1]
        scale = 1.0 / ((far - near) * gamma)
        behind = far - epsilon * (far - near)
        top, entry = nearest_depth(first, last, depth, behind)
        total, cut = background_share(top, behind, scale, least)
        mean = grad_background[p, 0] * background[p, 0]
        for e in range(first, last):
            total += probability[source[e], 0] * ti.exp((top - depth[e, 0]) * scale)
            mean += grad_weight[e, 0] * weight[e, 0]
        for e in range(first, last):
            g = grad_weight[e, 0] - mean
            share = ti.exp((top - depth[e, 0]) * scale) / total
            row = source[e]
            grad_probability[row, 0] = grad_probability[row, 0] + g * share
            grad_depth[e, 0] = grad_depth[e, 0] - g * weight[e, 0] * scale
        if cut == 1 and entry >= 0:
            # The background is then cut off at a share of the nearest entry's exponential.
            g = grad_background[p, 0] - mean
            grad_depth[entry, 0] = grad_depth[entry, 0] - g * background[p, 0] * scale


@ti.kernel
def keep(
    pixels: ti.i32, hard: ti.i32, gamma: float, near: float, far: float, epsilon: float, pixel_start: A1,
    probability: A2, depth: A1, kept: A1, count: A1,
):  # fmt: skip
    """kept [n]: 1 for the nearest entry of a pixel and those whose weight is not 0 in the end; count [pixels] of them.

    hard: 1 for the first entry alone whose pixel lies inside the triangle (D >= 1/2).
    """
    for p in range(pixels):
        first, total = pixel_start[p], 0
        scale, top = 1.0 / ((far - near) * gamma), far - epsilon * (far - near)
        for e in range(first, pixel_start[p + 1]):
            d, keeps = probability[e, 0], 0
            if hard == 1:
                if total == 0 and d >= 0.5:
                    keeps = 1
            else:
                top = ti.min(top, depth[e])
                if e == first or d * ti.exp((top - depth[e]) * scale) > 0.0:
                    keeps = 1
            kept[e] = keeps
            total += keeps
        count[p] = total


@ti.kernel
def list_kept(
    rows: ti.i32, width: ti.i32, pixel_start: A1, kept: A1, row_start: A1, place: A1, face: A1, start: A1,
    kept_place: A1, kept_face: A1, source: A1,
):  # fmt: skip
    """The entries kept: start [pixels + 1] delimits each pixel's, source is which they were."""
    for ticket in range(rows * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        entry = row_start[row]
        for p in range(row * width, (row + 1) * width):
            start[p] = entry
            for e in range(pixel_start[p], pixel_start[p + 1]):
                if kept[e] == 1:
                    for k in ti.static(range(3)):
                        kept_place[3 * entry + k] = place[3 * e + k]
                    kept_face[entry], source[entry] = face[e], e
                    entry += 1
        if row == rows - 1:
            start[rows * width] = entry


@ti.kernel
def hard_weights(pixels: ti.i32, pixel_start: A1, weight: A2, background: A2):
    """Weight 1 for the one entry that a pixel may have, or for the background."""
    for p in range(pixels):
        background[p, 0] = 1.0
        for e in range(pixel_start[p], pixel_start[p + 1]):
            weight[e, 0], background[p, 0] = 1.0, 0.0


@ti.kernel
def aggregate(
    pixels: ti.i32, channels: ti.i32, pixel_start: A1, weight: A2, rest: A2, values: A2, background: A2, out: A2
):
    """out [pixels, C] = sum of weight * values + rest * background [1, C]."""
    for p in range(pixels):
        for c in range(channels):
            total = rest[p, 0] * background[0, c]
            for e in range(pixel_start[p], pixel_start[p + 1]):
                total += weight[e, 0] * values[e, c]
            out[p, c] = total


@ti.kernel
def aggregate_adjoint(
    pixels: ti.i32, channels: ti.i32, pixel_start: A1, weight: A2, values: A2, background: A2, grad_out: A2,
    grad_weight: A2, grad_rest: A2, grad_values: A2,
):  # fmt: skip
    for p in range(pixels):
        for c in range(channels):
            g = grad_out[p, c]
            grad_rest[p, 0] = grad_rest[p, 0] + g * background[0, c]
            for e in range(pixel_start[p], pixel_start[p + 1]):
                grad_weight[e, 0] = grad_weight[e, 0] + g * values[e, c]
                grad_values[e, c] = grad_values[e, c] + g * weight[e, 0]
