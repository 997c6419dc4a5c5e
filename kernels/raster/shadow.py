"""Shadow maps: what each entry receives of a light, from a picture of depth as the light sees it; with adjoints.

Depth counts in diameters of the scene. A map [views * R * R, C] holds per texel the depth and, with C = 2, its square.
A look-up weighs (n + 1)^2 texels: a box n texels wide, moved smoothly between them, as if the map had been filtered by
the box before and were read bilinearly.
"""

import taichi as ti

from ..accumulate import TASK, add, load3, outer

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

COMPARE, VARIANCE = 1, 2  # what is read of a texel, which is as many channels
LEAST_VARIANCE = 1e-5


@ti.func
def row3(matrices: ti.template(), view, i):
    return ti.Vector([matrices[view, 4 * i + k] for k in ti.static(range(3))])


@ti.kernel
def to_light(
    entries: ti.i32, first: ti.i32, views: ti.i32, lift: float, positions: A2, normals: A2, projection: A2, view: A1,
    out: A2,
):  # fmt: skip
    """out [n, 4]: homogeneous texels (column * w, row * w, w) and depth of entries lifted by lift * w along normals.

    Each is seen by that one of the light's `views` views, from `first` on, which it lies deepest in: view [n].
    """
    for e in range(entries):
        p, best = load3(positions, e), first
        deepest = row3(projection, first, 3).dot(p) + projection[first, 15]
        for k in range(first + 1, first + views):
            depth = row3(projection, k, 3).dot(p) + projection[k, 15]
            if depth > deepest:
                best, deepest = k, depth
        w = row3(projection, best, 2).dot(p) + projection[best, 11]
        lifted = p + load3(normals, e) * (lift * w)
        for i in ti.static(range(4)):
            out[e, i] = row3(projection, best, i).dot(lifted) + projection[best, 4 * i + 3]
        view[e] = best


@ti.func
def lifted_adjoint(e, lift, positions: ti.template(), normals: ti.template(), projection: ti.template(), view, g):
    """The lifted point and the gradients to it and to w, from that of `to_light`'s row."""
    p, n = load3(positions, e), load3(normals, e)
    w = row3(projection, view, 2).dot(p) + projection[view, 11]
    to_lifted = ti.Vector.zero(float, 3)
    for i in ti.static(range(4)):
        to_lifted += g[i] * row3(projection, view, i)
    return p + n * (lift * w), to_lifted, lift * n.dot(to_lifted), lift * w


@ti.func
def load4(array: ti.template(), row):
    return ti.Vector([array[row, k] for k in ti.static(range(4))])


@ti.kernel
def to_light_adjoint(
    entries: ti.i32, lift: float, positions: A2, normals: A2, projection: A2, view: A1, grad_out: A2,
    grad_positions: A2, grad_normals: A2,
):  # fmt: skip
    for e in range(entries):
        g = load4(grad_out, e)
        _lifted, to_lifted, to_w, share = lifted_adjoint(e, lift, positions, normals, projection, view[e], g)
        to_p = to_lifted + to_w * row3(projection, view[e], 2)
        for k in ti.static(range(3)):
            grad_positions[e, k] = grad_positions[e, k] + to_p[k]
            grad_normals[e, k] = grad_normals[e, k] + share * to_lifted[k]


@ti.kernel
def to_light_matrix_adjoint(
    chunks: ti.i32, views: ti.i32, entries: ti.i32, lift: float, positions: A2, normals: A2, projection: A2, view: A1,
    grad_out: A2, part: A1, block: ti.template(),
):  # fmt: skip
    """part [chunks * views * 16] += the gradient to the matrices of all views."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for e in range(p * entries // chunks, (p + 1) * entries // chunks):
            g = load4(grad_out, e)
            lifted, _to_lifted, to_w, _share = lifted_adjoint(e, lift, positions, normals, projection, view[e], g)
            total = outer(g, lifted, 1.0)
            total += outer(ti.Vector([0.0, 0.0, to_w, 0.0]), load3(positions, e), 1.0)
            for i, k in ti.static(ti.ndrange(4, 4)):
                slot = (p * views + view[e]) * 16 + 4 * i + k
                part[slot] = part[slot] + total[i, k]


@ti.kernel
def to_map(
    texels: ti.i32, size: ti.i32, channels: ti.template(), texel_entry: A1, depth: A2, ranges: A2, out: A2
):  # fmt: skip
    """out [texels, C] = depth, and its square, less what ranges [views, 2] begin at; where nothing is, their end."""
    for t in range(texels):
        view = t // (size * size)
        z = ranges[view, 1]
        if texel_entry[t] >= 0:
            z = depth[texel_entry[t], 0] - ranges[view, 0]
        out[t, 0] = z
        if ti.static(channels == VARIANCE):
            out[t, 1] = z * z


@ti.kernel
def to_map_adjoint(
    texels: ti.i32, channels: ti.template(), texel_entry: A1, image: A2, grad_out: A2, grad_depth: A2
):  # fmt: skip
    for t in range(texels):
        e = texel_entry[t]
        if e >= 0:
            g = grad_out[t, 0]
            if ti.static(channels == VARIANCE):
                g += 2.0 * image[t, 0] * grad_out[t, 1]
            grad_depth[e, 0] = grad_depth[e, 0] + g


@ti.func
def chebyshev(z, m1, m2):
    """The most that can lie beyond z of depths with these moments, and its slopes along z, m1 and m2."""
    variance, free = m2 - m1 * m1, 1.0
    if variance < LEAST_VARIANCE:
        variance, free = LEAST_VARIANCE + 0.0 * variance, 0.0
    share, by_d, by_variance = 1.0, 0.0, 0.0
    d = z - m1
    if d > 0.0:
        whole = variance + d * d
        share = variance / whole
        by_d = -2.0 * d * share / whole
        by_variance = free * d * d / (whole * whole)
    return share, by_d, -by_d - 2.0 * m1 * by_variance, by_variance


@ti.func
def passing(m1, z, width):
    """How far a texel of depth m1 lets light through to depth z: a sigmoid `width` wide; and its slope along m1."""
    x = ti.min(ti.max((m1 - z) / width, -60.0), 60.0)
    share = 1.0 / (1.0 + ti.exp(-x))
    return share, share * (1.0 - share) / width


@ti.func
def window(q, size, box):
    """Whether a point falls on the map; the first texel, column and row, of its window, and how far it is past it."""
    inside, start, past = 0, ti.Vector([0, 0]), ti.Vector([0.0, 0.0])
    if q[2] > 0.0:
        at = ti.Vector([q[0], q[1]]) / q[2]
        if at.min() >= 0.0 and at.max() <= size:
            inside = 1
            at -= 0.5 * box
            start = ti.cast(ti.floor(at), ti.i32)
            past = at - ti.floor(at)
    return inside, start, past


@ti.func
def weight(k, box, past):
    """Share of the k-th of box + 1 texels, and its slope along `past`."""
    value, slope = 1.0, 0.0
    if k == 0:
        value, slope = 1.0 - past, -1.0
    if k == box:
        value, slope = past + 0.0, 1.0
    return value / box, slope / box


@ti.func
def texel(view, size, start, i, j):
    row, column = ti.min(ti.max(start[1] + j, 0), size - 1), ti.min(ti.max(start[0] + i, 0), size - 1)
    return (view * size + row) * size + column


@ti.kernel
def look_up(
    mode: ti.template(), entries: ti.i32, size: ti.i32, box: ti.i32, soft: float, ranges: A2, view: A1, points: A2,
    image: A2, out: A2,
):  # fmt: skip
    """out [n, 1]: share of the light that comes to `points` of `to_light`; 1 beside the map.

    COMPARE averages sigmoids soft * w wide; VARIANCE bounds the average moments (Donnelly, Lauritzen 2006).
    """
    for e in range(entries):
        q = load4(points, e)
        inside, start, past = window(q, size, box)
        share = 1.0
        if inside == 1:
            z, m1, m2 = q[3] - ranges[view[e], 0], 0.0, 0.0
            for j in range(box + 1):
                wy, _sy = weight(j, box, past[1])
                for i in range(box + 1):
                    wx, _sx = weight(i, box, past[0])
                    t = texel(view[e], size, start, i, j)
                    if ti.static(mode == COMPARE):
                        passed, _slope = passing(image[t, 0], z, soft * q[2])
                        m1 += wx * wy * passed
                    else:
                        m1 += wx * wy * image[t, 0]
                        m2 += wx * wy * image[t, 1]
            share = m1
            if ti.static(mode == VARIANCE):
                share, _z, _m1, _m2 = chebyshev(z, m1, m2)
        out[e, 0] = share


@ti.kernel
def look_up_adjoint(
    mode: ti.template(), entries: ti.i32, size: ti.i32, box: ti.i32, soft: float, ranges: A2, view: A1, points: A2,
    image: A2, grad_out: A2, grad_points: A2, slopes: A2,
):  # fmt: skip
    """Adds to grad_points [n, 4]; slopes [n, C] = what `spread` weighs and gives to the texels."""
    for e in range(entries):
        q, g = load4(points, e), grad_out[e, 0]
        inside, start, past = window(q, size, box)
        for c in ti.static(range(mode)):
            slopes[e, c] = 0.0
        if inside == 1 and g != 0.0:
            z, m1, m2, to_z, to_w = q[3] - ranges[view[e], 0], 0.0, 0.0, 0.0, 0.0
            slope1, slope2 = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0])
            for j in range(box + 1):
                wy, sy = weight(j, box, past[1])
                for i in range(box + 1):
                    wx, sx = weight(i, box, past[0])
                    t = texel(view[e], size, start, i, j)
                    if ti.static(mode == COMPARE):
                        passed, steep = passing(image[t, 0], z, soft * q[2])
                        slope1 += passed * ti.Vector([sx * wy, wx * sy])
                        to_z -= g * wx * wy * steep
                        to_w -= g * wx * wy * steep * (image[t, 0] - z) / q[2]
                    else:
                        m1 += wx * wy * image[t, 0]
                        m2 += wx * wy * image[t, 1]
                        slope1 += image[t, 0] * ti.Vector([sx * wy, wx * sy])
                        slope2 += image[t, 1] * ti.Vector([sx * wy, wx * sy])
            to_place = g * slope1
            if ti.static(mode == COMPARE):
                slopes[e, 0] = g
            else:
                _share, by_z, by_m1, by_m2 = chebyshev(z, m1, m2)
                to_z, to_place = g * by_z, g * (by_m1 * slope1 + by_m2 * slope2)
                slopes[e, 0], slopes[e, 1] = g * by_m1, g * by_m2
            to_w -= to_place.dot(ti.Vector([q[0], q[1]])) / (q[2] * q[2])
            to_q = ti.Vector([to_place[0] / q[2], to_place[1] / q[2], to_w, to_z])
            for k in ti.static(range(4)):
                grad_points[e, k] = grad_points[e, k] + to_q[k]


@ti.func
def spread_tap(
    mode: ti.template(), e, i, j, offset, first, size, box, soft, q, start, past, ranges: ti.template(),
    view: ti.template(), image: ti.template(), slopes: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    wx, _sx = weight(i, box, past[0])
    wy, _sy = weight(j, box, past[1])
    t = texel(view[e], size, start, i, j)
    share = wx * wy
    if ti.static(mode == COMPARE):
        _passed, steep = passing(image[t, 0], q[3] - ranges[view[e], 0], soft * q[2])
        share *= steep
    for c in ti.static(range(mode)):
        add(part, (offset + t - first * size * size) * mode + c, share * slopes[e, c], atomic)


@ti.kernel
def spread(
    mode: ti.template(), chunks: ti.i32, first: ti.i32, rows: ti.i32, entries: ti.i32, size: ti.i32, box: ti.i32,
    soft: float, ranges: A2, view: A1, points: A2, image: A2, slopes: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """part [chunks * rows * C] += the gradient to the texels of a light's views, rows of the map from `first` on."""
    if ti.static(atomic):
        for e, tap in ti.ndrange(entries, (box + 1) * (box + 1)):
            if slopes[e, 0] != 0.0 or slopes[e, mode - 1] != 0.0:
                q = load4(points, e)
                _inside, start, past = window(q, size, box)
                i, j = tap % (box + 1), tap // (box + 1)
                spread_tap(
                    mode, e, i, j, 0, first, size, box, soft, q, start, past, ranges, view, image, slopes, part, True
                )
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                if slopes[e, 0] != 0.0 or slopes[e, mode - 1] != 0.0:
                    q = load4(points, e)
                    _inside, start, past = window(q, size, box)
                    for j in range(box + 1):
                        for i in range(box + 1):
                            spread_tap(
                                mode, e, i, j, p * rows, first, size, box, soft, q, start, past, ranges, view, image,
                                slopes, part, False,
                            )  # fmt: skip


@ti.kernel
def add_to_map(chunks: ti.i32, rows: ti.i32, channels: ti.i32, start: ti.i32, part: A1, grad: A2):
    """grad[start + row, c] += the sum of part [chunks * rows * C] over chunks."""
    for row in range(rows):
        for c in range(channels):
            total = part[row * channels + c]
            for p in range(1, chunks):
                total += part[(p * rows + row) * channels + c]
            grad[start + row, c] = grad[start + row, c] + total
