"""Vertices where a level set crosses edges, and how they move with the values and points at their ends; with adjoints.

Vertex v lies on the line between points place[2 v] and place[2 v + 1], at the part w = (level - a) / (b - a) between
the values a, b numbered ends[2 v], ends[2 v + 1], row by row in an array of `channels` columns. |b - a| counts as
`least` or more, so that two values near the level give no infinite derivative. A number of -1 is outside the grid: the
vertex is then midway, and stays.
"""

import taichi as ti

from ..accumulate import TASK, add, add3, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def share(a, b, level, least):
    """w and its derivatives by a and b."""
    span = b - a
    w, to_a, to_b = 0.5, 0.0, 0.0
    if ti.abs(span) > least:
        w = (level - a) / span
        to_a, to_b = -(b - level) / (span * span), -(level - a) / (span * span)
    else:
        span = least if span >= 0.0 else -least
        w = (level - a) / span
        to_a = -1.0 / span
    return w, to_a, to_b


@ti.func
def crossing(v, channels, ends: ti.template(), values: ti.template(), level, least):
    a, b = ends[2 * v], ends[2 * v + 1]
    out = ti.Vector([0.5, 0.0, 0.0])
    if a >= 0 and b >= 0:
        w, to_a, to_b = share(values[a // channels, a % channels], values[b // channels, b % channels], level, least)
        out = ti.Vector([w, to_a, to_b])
    return out


@ti.kernel
def vertices(
    count: ti.i32, channels: ti.i32, ends: A1, place: A1, values: A2, points: A2, level: float, least: float, out: A2
):
    """out [V, 3]; points [M, 3]."""
    for v in range(count):
        w = crossing(v, channels, ends, values, level, least)[0]
        p = (1.0 - w) * load3(points, place[2 * v]) + w * load3(points, place[2 * v + 1])
        for c in ti.static(range(3)):
            out[v, c] = p[c]


@ti.func
def values_entry(
    v, start, channels, ends: ti.template(), place: ti.template(), values: ti.template(), points: ti.template(), level,
    least, grad_out: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    a, b = ends[2 * v], ends[2 * v + 1]
    if a >= 0 and b >= 0:
        slope = crossing(v, channels, ends, values, level, least)
        g = load3(grad_out, v).dot(load3(points, place[2 * v + 1]) - load3(points, place[2 * v]))
        add(part, start + a, g * slope[1], atomic)
        add(part, start + b, g * slope[2], atomic)


@ti.kernel
def values_adjoint(
    chunks: ti.i32, rows: ti.i32, count: ti.i32, channels: ti.i32, ends: A1, place: A1, values: A2, points: A2,
    level: float, least: float, grad_out: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """part [chunks * rows] += the gradient of the values."""
    if ti.static(atomic):
        for v in range(count):
            values_entry(v, 0, channels, ends, place, values, points, level, least, grad_out, part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for v in range(p * count // chunks, (p + 1) * count // chunks):
                values_entry(v, p * rows, channels, ends, place, values, points, level, least, grad_out, part, False)


@ti.func
def points_entry(
    v, start, channels, ends: ti.template(), place: ti.template(), values: ti.template(), level, least,
    grad_out: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    w, g = crossing(v, channels, ends, values, level, least)[0], load3(grad_out, v)
    add3(part, start + place[2 * v], (1.0 - w) * g, atomic)
    add3(part, start + place[2 * v + 1], w * g, atomic)


@ti.kernel
def points_adjoint(
    chunks: ti.i32, rows: ti.i32, count: ti.i32, channels: ti.i32, ends: A1, place: A1, values: A2, level: float,
    least: float, grad_out: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """part [chunks * rows * 3] += the gradient of the points."""
    if ti.static(atomic):
        for v in range(count):
            points_entry(v, 0, channels, ends, place, values, level, least, grad_out, part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for v in range(p * count // chunks, (p + 1) * count // chunks):
                points_entry(v, p * rows, channels, ends, place, values, level, least, grad_out, part, False)


@ti.kernel
def moved(count: ti.i32, points: A2, offsets: A2, reach: A2, out: A2):
    """out [N, 3] = points + reach * tanh(offsets); reach [1, 3]."""
    for v in range(count):
        for c in ti.static(range(3)):
            out[v, c] = points[v, c] + reach[0, c] * ti.tanh(offsets[v, c])


@ti.kernel
def moved_adjoint(count: ti.i32, offsets: A2, reach: A2, grad_out: A2, grad_offsets: A2):
    for v in range(count):
        for c in ti.static(range(3)):
            at = ti.tanh(offsets[v, c])
            grad_offsets[v, c] = grad_offsets[v, c] + grad_out[v, c] * reach[0, c] * (1.0 - at * at)
