"""A grid as a function f of the position, negative inside: its value, its derivatives, and samples at points.

f = sign * (value - level): sign 1 for signed distances, -1 for occupancies. box [3, 3] holds the grid's lower and upper
corner and its size (W, H, D).
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..volume.grid import cell, gradient, scatter, trilinear

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def place(p, box: ti.template()):
    return cell(p, load3(box, 0), load3(box, 1), ti.cast(load3(box, 2), ti.i32))


@ti.func
def field_at(p, values: ti.template(), box: ti.template(), sign, level):
    row, steps, at, _ = place(p, box)
    return sign * (trilinear(values, row, steps, at, 0, 1)[0] - level)


@ti.func
def field_gradient(p, values: ti.template(), box: ti.template(), sign):
    row, steps, at, slope = place(p, box)
    return sign * gradient(values, row, steps, at, slope, 0)


@ti.func
def scatter_field(p, share, box: ti.template(), part: ti.template(), start, atomic: ti.template()):
    """Add share * (corner weight) to the corners' rows of the flat accumulator part, from row `start` on."""
    row, steps, at, _ = place(p, box)
    scatter(part, start, row, steps, at, 0, ti.Vector([share]), 1, 1, atomic)


@ti.kernel
def sample(count: ti.i32, points: A2, values: A2, box: A2, channels: ti.template(), out: A2):
    """out [n, channels] = values [cells, channels] at points [n, 3]."""
    for e in range(count):
        row, steps, at, _ = place(load3(points, e), box)
        value = trilinear(values, row, steps, at, 0, channels)
        for c in ti.static(range(channels)):
            out[e, c] = value[c]


@ti.kernel
def sample_points_adjoint(
    count: ti.i32, points: A2, values: A2, box: A2, channels: ti.template(), grad_out: A2, grad_points: A2
):
    for e in range(count):
        row, steps, at, slope = place(load3(points, e), box)
        total = ti.Vector([0.0, 0.0, 0.0])
        for c in ti.static(range(channels)):
            total += grad_out[e, c] * gradient(values, row, steps, at, slope, c)
        for a in ti.static(range(3)):
            grad_points[e, a] = grad_points[e, a] + total[a]


@ti.func
def sample_entry(
    e, start, points: ti.template(), box: ti.template(), channels: ti.template(), grad_out: ti.template(),
    part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    row, steps, at, _ = place(load3(points, e), box)
    share = ti.Vector([grad_out[e, c] for c in ti.static(range(channels))])
    scatter(part, start * channels, row, steps, at, 0, share, channels, channels, atomic)


@ti.kernel
def sample_values_adjoint(
    chunks: ti.i32, cells: ti.i32, count: ti.i32, points: A2, box: A2, channels: ti.template(), grad_out: A2,
    part: A1, atomic: ti.template(),
):  # fmt: skip
    """part [chunks * cells * channels] += shares of the samples' gradients."""
    if ti.static(atomic):
        for e in range(count):
            sample_entry(e, 0, points, box, channels, grad_out, part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * count // chunks, (p + 1) * count // chunks):
                sample_entry(e, p * cells, points, box, channels, grad_out, part, False)


@ti.func
def difference(i, n, stride):
    """Rows, relative to i's, and factors of three values whose sum is twice the central difference at i of n.

    At a border the value beyond it is extrapolated by a parabola, 3 g_n - 3 g_(n-1) + g_(n-2), as SDFDiff does.
    """
    rows, factors = ti.Vector([-stride, 0, stride]), ti.Vector([-1.0, 0.0, 1.0])
    if n == 1:
        rows, factors = ti.Vector([0, 0, 0]), ti.Vector([0.0, 0.0, 0.0])
    elif n == 2:
        rows, factors = ti.Vector([-i * stride, 0, (1 - i) * stride]), ti.Vector([-2.0, 0.0, 2.0])
    elif i == 0:
        rows, factors = ti.Vector([0, stride, 2 * stride]), ti.Vector([-3.0, 4.0, -1.0])
    elif i == n - 1:
        rows, factors = ti.Vector([0, -stride, -2 * stride]), ti.Vector([3.0, -4.0, 1.0])
    return rows, factors


@ti.kernel
def node_gradients(width: ti.i32, height: ti.i32, depth: ti.i32, values: A2, box: A2, out: A2):
    """out [cells, 3] = the derivative by the position at every cell's centre, from central differences."""
    for line in range(depth * height):
        k = line // height
        j = line - k * height
        extent = load3(box, 1) - load3(box, 0)
        scale = 0.5 * load3(box, 2) / extent
        for i in range(width):
            row = line * width + i
            index, size = ti.Vector([i, j, k]), ti.Vector([width, height, depth])
            strides = ti.Vector([1, width, width * height])
            for a in ti.static(range(3)):
                rows, factors = difference(index[a], size[a], strides[a])
                total = 0.0
                for s in ti.static(range(3)):
                    total += factors[s] * values[row + rows[s], 0]
                out[row, a] = total * scale[a]


@ti.kernel
def node_gradients_adjoint(
    lines: ti.i32, inner: ti.i32, length: ti.i32, stride: ti.i32, outer_stride: ti.i32, axis: ti.i32, box: A2,
    grad_out: A2, grad_values: A2,
):  # fmt: skip
    """The part of one axis; its lines share no cell, so that each adds without conflict.

    Line l starts at row (l // inner) * outer_stride + l % inner.
    """
    for line in range(lines):
        start = (line // inner) * outer_stride + line % inner
        scale = 0.0
        for a in ti.static(range(3)):
            if a == axis:
                scale = 0.5 * box[2, a] / (box[1, a] - box[0, a])
        for i in range(length):
            row = start + i * stride
            rows, factors = difference(i, length, stride)
            g = grad_out[row, axis] * scale
            for s in ti.static(range(3)):
                old = grad_values[row + rows[s], 0]
                grad_values[row + rows[s], 0] = old + factors[s] * g
