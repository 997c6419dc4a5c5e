"""Trilinear look-ups in grids of cell-centred values; with adjoints.

A grid [D, H, W, C] is an array of D * H * W rows, x fastest. A scalar grid [D, H, W] is a Parameter whose device array
is [D * H, W], so a flat copy of it is looked up. In the box lower..upper the value of cell (k, j, i) sits at
lower + ((i + .5) / W, (j + .5) / H, (k + .5) / D) * (upper - lower). Outside the outermost centres the nearest ones
count (border clamp), and the value does not change across that border.

A place in a grid is four things: `row`, the first corner's; `steps`, the row distances to the neighbours along x, y and
z (0 along an axis of one cell); `at` in [0, 1], where between the corners; and `slope`, the derivative of `at` by the
position, 0 where clamped.
"""

import taichi as ti

from ..accumulate import add


@ti.func
def cell(p, lower, upper, size):
    """Place (row, steps, at, slope) of a position; size is (W, H, D)."""
    at, slope = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    low, steps = ti.Vector([0, 0, 0]), ti.Vector([1, size[0], size[0] * size[1]])
    for a in ti.static(range(3)):
        slope[a] = size[a] / (upper[a] - lower[a])
        q = (p[a] - lower[a]) * slope[a] - 0.5
        if not (q > 0.0 and q < size[a] - 1):
            slope[a] = 0.0
        q = ti.max(ti.min(q, size[a] - 1.0), 0.0)
        low[a] = ti.max(ti.min(ti.cast(q, ti.i32), size[a] - 2), 0)
        at[a] = q - low[a]
        if size[a] == 1:
            steps[a] = 0
    return (low[2] * size[1] + low[1]) * size[0] + low[0], steps, at, slope


@ti.func
def corner_row(row, steps, corner: ti.template()):
    """Row of a corner 0..7: bit 0 is the neighbour along x, bit 1 along y, bit 2 along z."""
    out = row
    for a in ti.static(range(3)):
        if ti.static(corner >> a & 1):
            out += steps[a]
    return out


@ti.func
def corner_weight(at, corner: ti.template()):
    """Share of a corner in the interpolated value."""
    out = 1.0
    for a in ti.static(range(3)):
        out *= at[a] if ti.static(corner >> a & 1) else 1.0 - at[a]
    return out


@ti.func
def trilinear(values: ti.template(), row, steps, at, first, channels: ti.template()):
    """Vector of the interpolated columns first .. first + channels - 1 of values [rows, C]."""
    out = ti.Vector.zero(float, channels)
    for corner in ti.static(range(8)):
        weight, source = corner_weight(at, corner), corner_row(row, steps, corner)
        for c in ti.static(range(channels)):
            out[c] += weight * values[source, first + c]
    return out


@ti.func
def gradient(values: ti.template(), row, steps, at, slope, channel):
    """Derivative [3] of one interpolated column by the position."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for corner in ti.static(range(8)):
        value = values[corner_row(row, steps, corner), channel]
        for a in ti.static(range(3)):
            weight = 1.0 if ti.static(corner >> a & 1) else -1.0
            for b in ti.static(range(3)):
                if ti.static(a != b):
                    weight *= at[b] if ti.static(corner >> b & 1) else 1.0 - at[b]
            out[a] += weight * value
    return out * slope


@ti.func
def scatter(
    part: ti.template(), start, row, steps, at, first, value, columns, channels: ti.template(), atomic: ti.template()
):
    """Adjoint of `trilinear`: add shares of `value` to part[start + row * columns + first + c], a flat accumulator."""
    for corner in ti.static(range(8)):
        weight = corner_weight(at, corner)
        slot = start + corner_row(row, steps, corner) * columns + first
        for c in ti.static(range(channels)):
            add(part, slot + c, weight * value[c], atomic)


@ti.func
def scatter_gradient(
    part: ti.template(), start, row, steps, at, slope, channel, value, columns, atomic: ti.template()
):  # fmt: skip
    """Adjoint of `gradient` for a 3-vector `value`: add to part[start + row * columns + channel]."""
    for corner in ti.static(range(8)):
        total = 0.0
        for a in ti.static(range(3)):
            weight = value[a] * slope[a] if ti.static(corner >> a & 1) else -value[a] * slope[a]
            for b in ti.static(range(3)):
                if ti.static(a != b):
                    weight *= at[b] if ti.static(corner >> b & 1) else 1.0 - at[b]
            total += weight
        add(part, start + corner_row(row, steps, corner) * columns + channel, total, atomic)
