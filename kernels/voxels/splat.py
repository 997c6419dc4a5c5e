"""Voxels as splats: each centre projected, blended front to back over the pixels around it; with adjoints.

A splat of footprint s (pixels that the voxel's side covers, h f / z) covers a pixel at distance r from its centre with
opacity scale * v * (s^2 / (pi R^2 / 4)) (1 - r^2 / R^2)^3 inside the radius R, R^2 = 10 (s^2 / 6 + 1 / 12): the
variance of linear interpolation between neighbours and that of a pixel. It integrates to s^2, so that the splats of a
full grid add up to one for every voxel that a ray crosses.

splats [views * n, 5]: column, row, depth, s^2, and 1 where the splat lies between near and far. order [views * n]:
voxels from near to far. A pixel's voxels are entries start[pixel] .. start[pixel + 1] - 1, each the position of a voxel
in `order`, ascending.
"""

import taichi as ti

from ..accumulate import SPREAD

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


@ti.func
def reach(splats: ti.template(), item):
    """R^2 of a splat."""
    return 10.0 * (splats[item, 3] / 6.0 + 1.0 / 12.0)


@ti.func
def span(middle, radius, pixels):
    """First and last pixel whose centre lies within a radius, inside an image."""
    first = ti.ceil(ti.max(middle - radius, -1.0) - 0.5, ti.i32)
    last = ti.floor(ti.min(middle + radius, pixels + 1.0) - 0.5, ti.i32)
    return ti.max(first, 0), ti.min(last, pixels - 1)


@ti.func
def row_span(splats: ti.template(), item, row, width):
    """First and last column of a splat in one row of pixels; none where first > last."""
    first, last = 0, -1
    off = row + 0.5 - splats[item, 1]
    left = reach(splats, item) - off * off
    if splats[item, 4] > 0.0 and left > 0.0:
        first, last = span(splats[item, 0], ti.sqrt(left), width)
    return first, last


@ti.kernel
def count(
    views: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, splats: A2, order: A1, line_start: A1, line_ranks: A1,
    counts: A1,
):  # fmt: skip
    """counts [views * height * width] of voxels over each pixel; line_ranks lists those near each row of pixels."""
    for ticket in range(views * height * SPREAD):
        line = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        view = line // height
        for column in range(width):
            counts[line * width + column] = 0
        for at in range(line_start[line], line_start[line + 1]):
            rank = line_ranks[at]
            first, last = row_span(splats, view * n + order[view * n + rank], line - view * height, width)
            for column in range(first, last + 1):
                counts[line * width + column] = counts[line * width + column] + 1


@ti.kernel
def fill(
    views: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, splats: A2, order: A1, line_start: A1, line_ranks: A1,
    start: A1, cursor: A1, entries: A1,
):  # fmt: skip
    """Entries of every pixel, near to far; one thread fills a row of pixels."""
    for ticket in range(views * height * SPREAD):
        line = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        view = line // height
        for column in range(width):
            cursor[line * width + column] = start[line * width + column]
        for at in range(line_start[line], line_start[line + 1]):
            rank = line_ranks[at]
            first, last = row_span(splats, view * n + order[view * n + rank], line - view * height, width)
            for column in range(first, last + 1):
                place = cursor[line * width + column]
                entries[place] = rank
                cursor[line * width + column] = place + 1


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
    n: ti.i32, height: ti.i32, width: ti.i32, pixels: ti.i32, splats: A2, order: A1, start: A1, entries: A1,
    values: A2, scale: float, attribute: A2, channels: ti.i32, alpha: A2, totals: A2, sums: A2,
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
            voxel = order[view * n + entries[e]]
            if values[voxel, 0] > 0.0:
                opacity, _ = cover(splats, view * n + voxel, x, y)
                a = scale * values[voxel, 0] * opacity
                time += left * a * splats[view * n + voxel, 2]
                for c in range(channels):
                    sums[pixel, c] = sums[pixel, c] + left * a * attribute[voxel, c]
                left *= 1.0 - a
        alpha[pixel, 0] = 1.0 - left
        totals[pixel, 0] = 1.0 - left
        totals[pixel, 1] = time


@ti.kernel
def blend_adjoint(
    n: ti.i32, height: ti.i32, width: ti.i32, pixels: ti.i32, splats: A2, order: A1, start: A1, entries: A1,
    values: A2, scale: float, attribute: A2, channels: ti.i32, grad_alpha: A2, grad_totals: A2, grad_sums: A2,
    to_opacity: A1, weights: A1,
):  # fmt: skip
    """Per entry: to_opacity = dL / d(its opacity), and its weight. No division: an opaque splat has its own too."""
    for pixel in range(pixels):
        line = pixel // width
        view = line // height
        x, y = pixel - line * width + 0.5, line - view * height + 0.5
        left = 1.0
        for e in range(start[pixel], start[pixel + 1]):
            voxel = order[view * n + entries[e]]
            opacity, _ = cover(splats, view * n + voxel, x, y)
            a = scale * values[voxel, 0] * opacity
            to_opacity[e] = left
            weights[e] = left * a
            left *= 1.0 - a
        behind = -grad_alpha[pixel, 0]
        for back in range(start[pixel + 1] - start[pixel]):
            e = start[pixel + 1] - 1 - back
            voxel = order[view * n + entries[e]]
            opacity, _ = cover(splats, view * n + voxel, x, y)
            a = scale * values[voxel, 0] * opacity
            shown = grad_totals[pixel, 0] + grad_totals[pixel, 1] * splats[view * n + voxel, 2]
            for c in range(channels):
                shown += grad_sums[pixel, c] * attribute[voxel, c]
            to_opacity[e] = to_opacity[e] * (shown - behind)
            behind = shown * a + (1.0 - a) * behind


@ti.func
def entry_of(rank, first, last, entries: ti.template()):
    """The entry in first .. last - 1 that holds `rank`."""
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if entries[middle] < rank:
            low = middle + 1
        else:
            high = middle
    return low


@ti.kernel
def gather(
    views: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, splats: A2, rank_of: A1, start: A1, entries: A1,
    values: A2, scale: float, channels: ti.i32, grad_totals: A2, grad_sums: A2, to_opacity: A1, weights: A1,
    grad_values: A2, grad_attribute: A2, grad_splats: A2,
):  # fmt: skip
    """Adds the gradients of voxels; writes those of splats (column, row, depth, s^2)."""
    for voxel in range(n):
        to_value = 0.0
        for view in range(views):
            item = view * n + voxel
            to_place, to_depth = ti.Vector([0.0, 0.0, 0.0]), 0.0
            if splats[item, 4] > 0.0:
                top, bottom = span(splats[item, 1], ti.sqrt(reach(splats, item)), height)
                for row in range(top, bottom + 1):
                    first, last = row_span(splats, item, row, width)
                    for column in range(first, last + 1):
                        pixel = (view * height + row) * width + column
                        e = entry_of(rank_of[item], start[pixel], start[pixel + 1], entries)
                        opacity, slopes = cover(splats, item, column + 0.5, row + 0.5)
                        to_value += to_opacity[e] * opacity
                        to_place += to_opacity[e] * scale * values[voxel, 0] * slopes
                        to_depth += weights[e] * grad_totals[pixel, 1]
                        for c in range(channels):
                            shared = weights[e] * grad_sums[pixel, c]
                            grad_attribute[voxel, c] = grad_attribute[voxel, c] + shared
            grad_splats[item, 0] = to_place[0]
            grad_splats[item, 1] = to_place[1]
            grad_splats[item, 2] = to_depth
            grad_splats[item, 3] = to_place[2]
        grad_values[voxel, 0] = grad_values[voxel, 0] + scale * to_value
