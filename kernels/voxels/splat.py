"""Voxels as splats: each centre projected, blended front to back over the pixels around it; with adjoints.

A splat of footprint s (pixels that the voxel's side covers, h f / z) covers a pixel at distance r from its centre with
opacity scale * v * (s^2 / (pi R^2 / 4)) (1 - r^2 / R^2)^3 inside the radius R, R^2 = 10 (s^2 / 6 + 1 / 12): the
variance of linear interpolation between neighbours and that of a pixel. It integrates to s^2, so that the splats of a
full grid add up to one for every voxel that a ray crosses.

splats [views * n, 5]: column, row, depth, s^2, and 1 where the splat lies between near and far. Which splats a pixel
sees is found in `splat_lists`. What an adjoint knows of a splat at a pixel stands in a slot, one for every pixel of the
splat's box in scan order; those of a splat begin at slot_start[item], counted from the first of its view.
"""

import taichi as ti

from ..accumulate import outer, turns
from .splat_lists import reach

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

PI = 3.141592653589793


@ti.func
def center(voxel, box: ti.template()):
    """Centre of a voxel: box [3, 3] is lower corner, cell size and (W, H, D)."""
    width, height = ti.cast(box[2, 0], ti.i32), ti.cast(box[2, 1], ti.i32)
    k = voxel // (width * height)
    j = (voxel - k * width * height) // width
    i = voxel - (k * height + j) * width
    index = ti.Vector([i, j, k])
    out = ti.Vector([0.0, 0.0, 0.0])
    for a in ti.static(range(3)):
        out[a] = box[0, a] + (index[a] + 0.5) * box[1, a]
    return out


@ti.kernel
def project(views: ti.i32, n: ti.i32, table: A2, limits: A2, box: A2, splats: A2):
    """table [views, 17]: object to (column w, row w, w, depth), row-major, and s^2 w^2; limits [views, 2]."""
    for item in range(views * n):
        view = item // n
        p = center(item - view * n, box)
        q = ti.Vector([0.0, 0.0, 0.0, 0.0])
        for r in ti.static(range(4)):
            q[r] = table[view, 4 * r + 3]
            for a in ti.static(range(3)):
                q[r] += table[view, 4 * r + a] * p[a]
        valid = q[2] > 0.0 and q[3] > limits[view, 0] and q[3] < limits[view, 1]
        w = q[2] if valid else 1.0
        splats[item, 0] = q[0] / w
        splats[item, 1] = q[1] / w
        splats[item, 2] = q[3]
        splats[item, 3] = table[view, 16] / (w * w)
        splats[item, 4] = 1.0 if valid else 0.0


@ti.kernel
def project_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, views: ti.i32, n: ti.i32, table: A2, box: A2,
    splats: A2, grad_splats: A2, part: A1,
):  # fmt: skip
    """part [chunks * views * 17] = gradient of the table."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        for view in range(views):
            total, to_area = ti.Matrix.zero(float, 4, 4), 0.0
            for k in range(size):
                voxel = p * across + k * along
                item = view * n + voxel
                if voxel < n and splats[item, 4] > 0.0:
                    x = center(voxel, box)
                    w = table[view, 11]
                    for a in ti.static(range(3)):
                        w += table[view, 8 + a] * x[a]
                    to_column, to_row = grad_splats[item, 0], grad_splats[item, 1]
                    to_squared = grad_splats[item, 3]
                    to_w = to_column * splats[item, 0] + to_row * splats[item, 1] + 2.0 * to_squared * splats[item, 3]
                    g = ti.Vector([to_column / w, to_row / w, -to_w / w, grad_splats[item, 2]])
                    total += outer(g, x, 1.0)
                    to_area += to_squared / (w * w)
            slot = (p * views + view) * 17
            for r, a in ti.static(ti.ndrange(4, 4)):
                part[slot + 4 * r + a] = total[r, a]
            part[slot + 16] = to_area


@ti.func
def cover(splats: ti.template(), item, x, y):
    """Opacity per unit of v at a point, its derivatives by column and row, and that by s^2."""
    dx, dy = x - splats[item, 0], y - splats[item, 1]
    whole, area = reach(splats, item), splats[item, 3]
    rest = ti.max(1.0 - (dx * dx + dy * dy) / whole, 0.0)
    peak = 4.0 / PI * area / whole
    slope = peak * 6.0 * rest * rest / whole
    by_whole = -peak * rest**3 / whole + 3.0 * peak * rest * rest * (1.0 - rest) / whole
    by_area = 4.0 / PI / whole * rest**3 + by_whole * (10.0 / 6.0)
    return peak * rest**3, ti.Vector([slope * dx, slope * dy, by_area])


@ti.kernel
def blend(
    n: ti.i32, height: ti.i32, width: ti.i32, pixels: ti.i32, splats: A2, start: A1, entries: A1, values: A2,
    scale: float, attribute: A2, channels: ti.i32, alpha: A2, totals: A2, sums: A2,
):  # fmt: skip
    """alpha, totals (sums of weights, and of weight * depth) and sums of an attribute, for every pixel."""
    for pixel in range(pixels):
        line = pixel // width
        view = line // height
        x, y = pixel - line * width + 0.5, line - view * height + 0.5
        left, time = 1.0, 0.0
        for c in range(channels):
            sums[pixel, c] = 0.0
        for e in range(start[pixel], start[pixel + 1]):
            item = entries[e]
            voxel = item - view * n
            if values[voxel, 0] > 0.0:
                opacity, _ = cover(splats, item, x, y)
                a = scale * values[voxel, 0] * opacity
                time += left * a * splats[item, 2]
                for c in range(channels):
                    sums[pixel, c] = sums[pixel, c] + left * a * attribute[voxel, c]
                left *= 1.0 - a
        alpha[pixel, 0] = 1.0 - left
        totals[pixel, 0] = 1.0 - left
        totals[pixel, 1] = time


@ti.func
def slot_of(item, row, column, box: ti.template(), slot_start: ti.template()):
    return slot_start[item] + (row - box[4 * item]) * box[4 * item + 3] + column - box[4 * item + 2]


@ti.kernel
def blend_adjoint(
    view: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, splats: A2, start: A1, entries: A1, values: A2,
    scale: float, attribute: A2, channels: ti.i32, grad_alpha: A2, grad_totals: A2, grad_sums: A2, box: A1,
    slot_start: A1, to_opacity: A1, weights: A1,
):  # fmt: skip
    """Per slot of a view: to_opacity = dL / d(its opacity), and its weight.

    There is no division, so that an opaque splat has its own too.
    """
    for at in range(height * width):
        pixel = view * height * width + at
        row = at // width
        column = at - row * width
        left = 1.0
        for e in range(start[pixel], start[pixel + 1]):
            item = entries[e]
            opacity, _ = cover(splats, item, column + 0.5, row + 0.5)
            a = scale * values[item - view * n, 0] * opacity
            slot = slot_of(item, row, column, box, slot_start)
            to_opacity[slot] = left
            weights[slot] = left * a
            left *= 1.0 - a
        behind = -grad_alpha[pixel, 0]
        for back in range(start[pixel + 1] - start[pixel]):
            item = entries[start[pixel + 1] - 1 - back]
            voxel = item - view * n
            opacity, _ = cover(splats, item, column + 0.5, row + 0.5)
            a = scale * values[voxel, 0] * opacity
            shown = grad_totals[pixel, 0] + grad_totals[pixel, 1] * splats[item, 2]
            for c in range(channels):
                shown += grad_sums[pixel, c] * attribute[voxel, c]
            slot = slot_of(item, row, column, box, slot_start)
            to_opacity[slot] = to_opacity[slot] * (shown - behind)
            behind = shown * a + (1.0 - a) * behind


@ti.kernel
def gather(
    view: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, splats: A2, box: A1, row_start: A1, spans: A1,
    slot_start: A1, values: A2, scale: float, channels: ti.i32, grad_totals: A2, grad_sums: A2, to_opacity: A1,
    weights: A1, grad_values: A2, grad_attribute: A2, grad_splats: A2,
):  # fmt: skip
    """Adds the gradients of voxels and of a view's splats (column, row, depth, s^2)."""
    for voxel in range(n):
        item = view * n + voxel
        to_value, to_place, to_depth = 0.0, ti.Vector([0.0, 0.0, 0.0]), 0.0
        for k in range(box[4 * item + 1]):
            row = box[4 * item] + k
            entry = 2 * (row_start[item] + k)
            for column in range(spans[entry], spans[entry + 1]):
                pixel = (view * height + row) * width + column
                slot = slot_of(item, row, column, box, slot_start)
                opacity, slopes = cover(splats, item, column + 0.5, row + 0.5)
                to_value += to_opacity[slot] * opacity
                to_place += to_opacity[slot] * scale * values[voxel, 0] * slopes
                to_depth += weights[slot] * grad_totals[pixel, 1]
                for c in range(channels):
                    shared = weights[slot] * grad_sums[pixel, c]
                    grad_attribute[voxel, c] = grad_attribute[voxel, c] + shared
        grad_splats[item, 0] = grad_splats[item, 0] + to_place[0]
        grad_splats[item, 1] = grad_splats[item, 1] + to_place[1]
        grad_splats[item, 2] = grad_splats[item, 2] + to_depth
        grad_splats[item, 3] = grad_splats[item, 3] + to_place[2]
        grad_values[voxel, 0] = grad_values[voxel, 0] + scale * to_value
