"""Rasterize, then splat (Cole et al. 2021): every shaded sample spreads over the 3 x 3 pixels around its own.

A sample at place x gives the pixel centre p the weight w = scale exp(-|p - x|^2 / (2 VARIANCE)), scaled such that those
of an even surface, nine but at the picture's border, sum to 1 + EXTRA. Samples are gathered by surfaces: that which
both the pixel and the sample's own pixel show first, by the least difference of nearness, what is before it and what is
behind it. With W the sum of weights of one of the three, its alpha is min(W, 1) and its colour sum(w c) / max(W, 1);
they lie over each other.

Samples are those of `soft.list_entries`, nearest first within a pixel; forward x is the centre of a sample's pixel.
"""

import math

import taichi as ti

from ..accumulate import TASK, add
from .gather import corner_rows
from .tiles import nearness

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

VARIANCE, EXTRA = 0.25, 0.05
BESIDE = math.exp(-0.5 / VARIANCE)  # of the next pixel along a row or a column, unscaled


@ti.func
def place_terms(
    e, place: ti.template(), f, vertices, triangles: ti.template(), screen: ti.template(), b: ti.template()
):
    """Vertex rows of an entry, its barycentrics, its place on the screen and its w."""
    ids = corner_rows(triangles, f, place[3 * e] * vertices)
    shares = ti.Vector([b[e, 0], b[e, 1], b[e, 2]])
    sums = ti.Vector.zero(float, 3)
    for k in ti.static(range(3)):
        for i in ti.static(range(3)):
            sums[i] += shares[k] * screen[ids[k], i]
    return ids, shares, sums[0] / sums[2], sums[1] / sums[2], sums[2]


@ti.kernel
def places(entries: ti.i32, vertices: ti.i32, place: A1, face: A1, triangles: A2, screen: A2, bary: A2, out: A2):
    """out [n, 2]: column and row where the points of the surface with these barycentrics are seen."""
    for e in range(entries):
        _, _, x, y, _ = place_terms(e, place, face[e], vertices, triangles, screen, bary)
        out[e, 0], out[e, 1] = x, y


@ti.func
def places_adjoint_entry(
    e, offset, vertices, place: ti.template(), face: ti.template(), triangles: ti.template(), screen: ti.template(),
    bary: ti.template(), grad_out: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    ids, shares, x, y, w = place_terms(e, place, face[e], vertices, triangles, screen, bary)
    gx, gy = grad_out[e, 0] / w, grad_out[e, 1] / w
    for k in ti.static(range(3)):
        slot = (offset + ids[k]) * 4
        add(part, slot, shares[k] * gx, atomic)
        add(part, slot + 1, shares[k] * gy, atomic)
        add(part, slot + 2, -shares[k] * (gx * x + gy * y), atomic)


@ti.kernel
def places_adjoint(
    chunks: ti.i32, rows: ti.i32, entries: ti.i32, vertices: ti.i32, place: A1, face: A1, triangles: A2, screen: A2,
    bary: A2, grad_out: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """Scatters into part [chunks * rows * 4]; barycentrics stay as they are."""
    if ti.static(atomic):
        for e in range(entries):
            places_adjoint_entry(e, 0, vertices, place, face, triangles, screen, bary, grad_out, part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                places_adjoint_entry(e, p * rows, vertices, place, face, triangles, screen, bary, grad_out, part, False)


@ti.func
def neighbor(p, tap, height, width):
    """Pixel number `tap` of the nine around p in its view, -1 outside."""
    row, column = p // width % height + tap // 3 - 1, p % width + tap % 3 - 1
    q = -1
    if row >= 0 and row < height and column >= 0 and column < width:
        q = p + (tap // 3 - 1) * width + tap % 3 - 1
    return q


@ti.func
def layer_key(e, end, depth: ti.template(), perspective, far):
    """Nearness of entry e; of the far plane from `end` on."""
    z = far
    if e < end:
        z = depth[e, 0]
    return nearness(z, z, perspective)


@ti.func
def closest_layer(top, begin, end, limit, depth: ti.template(), perspective, far):
    """Which layer of a pixel is the nearest to nearness `top`, and how near."""
    best, layer = ti.abs(layer_key(begin, end, depth, perspective, far) - top), 0
    for k in range(1, ti.min(end - begin + 1, limit)):
        off = ti.abs(layer_key(begin + k, end, depth, perspective, far) - top)
        if off < best:
            best, layer = off, k
    return best, layer


@ti.func
def first_surface(p, q, limit, start: ti.template(), depth: ti.template(), perspective, far):
    """The layer of q's samples that is the surface which p and q show; below 0 where something hides it in q."""
    layer = 0
    if limit > 1:
        top_p = layer_key(start[p], start[p + 1], depth, perspective, far)
        top_q = layer_key(start[q], start[q + 1], depth, perspective, far)
        off, layer_q = closest_layer(top_p, start[q], start[q + 1], limit, depth, perspective, far)
        other, layer_p = closest_layer(top_q, start[p], start[p + 1], limit, depth, perspective, far)
        layer = -layer_p if other < off else layer_q
    return layer


@ti.func
def rank(layer, surface):
    """0 for samples before the surface, 1 on it, 2 behind."""
    place = 1
    if layer < surface:
        place = 0
    elif layer > surface:
        place = 2
    return place


@ti.func
def weight_of(e, p, height, width, place: ti.template()):
    """Weight of sample e at pixel p, and the way from the sample to the pixel's centre."""
    column, row = p % width, p // width % height
    x, y = column + 0.5 - place[e, 0], row + 0.5 - place[e, 1]
    across = 1.0 + BESIDE * (ti.min(column, 1) + ti.min(width - 1 - column, 1))
    down = 1.0 + BESIDE * (ti.min(row, 1) + ti.min(height - 1 - row, 1))
    return (1.0 + EXTRA) / (across * down) * ti.exp(-0.5 / VARIANCE * (x * x + y * y)), x, y


@ti.func
def shares_of(total):
    """What weights of the three ranks count in the end: 1 / max(W, 1) times what those before leave; and the rest."""
    left, shares = 1.0, ti.Vector.zero(float, 3)
    for k in ti.static(range(3)):
        shares[k] = left / ti.max(total[k], 1.0)
        left *= 1.0 - ti.min(total[k], 1.0)
    return shares, left


@ti.kernel
def splat(
    pixels: ti.i32, height: ti.i32, width: ti.i32, limit: ti.i32, channels: ti.i32, cameras: A2, start: A1, depth: A2,
    place: A2, values: A2, background: A2, totals: A2, out: A2,
):  # fmt: skip
    """out [pixels, C] of values [n, C] before background [1, C]; totals [pixels, 3] of weights."""
    for p in range(pixels):
        view = p // (height * width)
        perspective, far = ti.cast(cameras[view, 0], ti.i32), cameras[view, 2]
        total = ti.Vector.zero(float, 3)
        for tap in range(9):
            q = neighbor(p, tap, height, width)
            if q >= 0:
                surface = first_surface(p, q, limit, start, depth, perspective, far)
                for e in range(start[q], start[q + 1]):
                    weight, _, _ = weight_of(e, p, height, width, place)
                    found = rank(e - start[q], surface)
                    for k in ti.static(range(3)):
                        if found == k:
                            total[k] += weight
        shares, left = shares_of(total)
        for k in ti.static(range(3)):
            totals[p, k] = total[k]
        for c in range(channels):
            out[p, c] = left * background[0, c]
        for tap in range(9):
            q = neighbor(p, tap, height, width)
            if q >= 0:
                surface = first_surface(p, q, limit, start, depth, perspective, far)
                for e in range(start[q], start[q + 1]):
                    weight, _, _ = weight_of(e, p, height, width, place)
                    found, share = rank(e - start[q], surface), 0.0 * weight
                    for k in ti.static(range(3)):
                        if found == k:
                            share = weight * shares[k]
                    for c in range(channels):
                        out[p, c] = out[p, c] + share * values[e, c]


@ti.kernel
def totals_adjoint(
    pixels: ti.i32, height: ti.i32, width: ti.i32, limit: ti.i32, channels: ti.i32, cameras: A2, start: A1, depth: A2,
    place: A2, values: A2, background: A2, totals: A2, grad_out: A2, grad_totals: A2,
):  # fmt: skip
    """grad_totals [pixels, 3] of the sums of weights, but for their part in sum(w c)."""
    for p in range(pixels):
        view = p // (height * width)
        perspective, far = ti.cast(cameras[view, 0], ti.i32), cameras[view, 2]
        to_shares, to_left = ti.Vector.zero(float, 3), 0.0
        for c in range(channels):
            to_left += grad_out[p, c] * background[0, c]
        for tap in range(9):
            q = neighbor(p, tap, height, width)
            if q >= 0:
                surface = first_surface(p, q, limit, start, depth, perspective, far)
                for e in range(start[q], start[q + 1]):
                    weight, _, _ = weight_of(e, p, height, width, place)
                    found, worth = rank(e - start[q], surface), 0.0 * weight
                    for c in range(channels):
                        worth += grad_out[p, c] * values[e, c]
                    for k in ti.static(range(3)):
                        if found == k:
                            to_shares[k] += weight * worth
        total = ti.Vector([totals[p, k] for k in ti.static(range(3))])
        left, before = 1.0, ti.Vector.zero(float, 3)
        for k in ti.static(range(3)):
            before[k] = left
            left *= 1.0 - ti.min(total[k], 1.0)
        for j in ti.static(range(3)):
            k = ti.static(2 - j)
            if total[k] > 1.0:
                grad_totals[p, k] = -to_shares[k] * before[k] / (total[k] * total[k])
            else:
                grad_totals[p, k] = -to_left * before[k]
            to_left = to_left * (1.0 - ti.min(total[k], 1.0)) + to_shares[k] / ti.max(total[k], 1.0)


@ti.kernel
def splat_adjoint(
    pixels: ti.i32, height: ti.i32, width: ti.i32, limit: ti.i32, channels: ti.i32, cameras: A2, start: A1, depth: A2,
    place: A2, values: A2, totals: A2, grad_out: A2, grad_totals: A2, grad_place: A2, grad_values: A2,
):  # fmt: skip
    """Adds to grad_place [n, 2] and grad_values [n, C], sample by sample."""
    for q in range(pixels):
        view = q // (height * width)
        perspective, far = ti.cast(cameras[view, 0], ti.i32), cameras[view, 2]
        for e in range(start[q], start[q + 1]):
            for tap in range(9):
                p = neighbor(q, tap, height, width)
                if p >= 0:
                    weight, x, y = weight_of(e, p, height, width, place)
                    surface = first_surface(p, q, limit, start, depth, perspective, far)
                    found = rank(e - start[q], surface)
                    shares, _ = shares_of(ti.Vector([totals[p, k] for k in ti.static(range(3))]))
                    share, to_weight = 0.0 * weight, 0.0 * weight
                    for k in ti.static(range(3)):
                        if found == k:
                            share, to_weight = shares[k], grad_totals[p, k]
                    for c in range(channels):
                        to_weight += share * grad_out[p, c] * values[e, c]
                        grad_values[e, c] = grad_values[e, c] + weight * share * grad_out[p, c]
                    grad_place[e, 0] = grad_place[e, 0] + to_weight * weight * x / VARIANCE
                    grad_place[e, 1] = grad_place[e, 1] + to_weight * weight * y / VARIANCE
