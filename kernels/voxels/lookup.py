"""What a grid says at the samples of rays, and sums of it along each ray; with adjoints.

The samples of a chunk are those of `layout`. With `nearest` a sample reads the one cell rows[sample], else the grid is
interpolated at q: the sample's position p = o + t d, or where the inverse warp sends it. Colours and classes are called
`attribute`, [cells, channels]. totals [n, 2] holds the sums of a ray's weights and of weight times t.
"""

import taichi as ti

from ..accumulate import TASK, add, load3
from ..volume.grid import cell, gradient, scatter, trilinear

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

VALUES, ATTRIBUTE, WARP = 0, 1, 2


@ti.func
def size_of(box: ti.template(), row: ti.template()):
    return ti.cast(load3(box, row), ti.i32)


@ti.func
def warp_place(p, box: ti.template()):
    return cell(p, load3(box, 0), load3(box, 1), size_of(box, 3))


@ti.func
def read_position(p, box: ti.template(), warp: ti.template(), warped: ti.template()):
    """Where the grid is read for a point p of the box."""
    q = p
    if ti.static(warped):
        row, steps, at, _ = warp_place(p, box)
        q = trilinear(warp, row, steps, at, 0, 3)
    return q


@ti.func
def grid_place(o, d, t, box: ti.template(), warp: ti.template(), warped: ti.template()):
    q = read_position(o + t * d, box, warp, warped)
    return cell(q, load3(box, 0), load3(box, 1), size_of(box, 2))


@ti.kernel
def read(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, t: A1, rows: A1, counts: A1,
    values: A2, warp: A2, nearest: ti.template(), warped: ti.template(), out: A1,
):  # fmt: skip
    """out [lanes * steps] = values [cells, 1] at the samples."""
    for lane in range(lanes):
        o, d = load3(origins, first + lane), load3(directions, first + lane)
        for s in range(counts[lane]):
            sample = lane * steps + s
            if ti.static(nearest):
                out[sample] = values[rows[sample], 0]
            else:
                row, strides, at, _ = grid_place(o, d, t[sample], box, warp, warped)
                out[sample] = trilinear(values, row, strides, at, 0, 1)[0]


@ti.kernel
def sum_totals(first: ti.i32, lanes: ti.i32, steps: ti.i32, t: A1, counts: A1, weights: A1, totals: A2):
    for lane in range(lanes):
        total, time = 0.0, 0.0
        for s in range(counts[lane]):
            weight = weights[lane * steps + s]
            total += weight
            time += weight * t[lane * steps + s]
        totals[first + lane, 0] = total
        totals[first + lane, 1] = time


@ti.kernel
def sum_attribute(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, t: A1, rows: A1, counts: A1,
    weights: A1, attribute: A2, channels: ti.i32, warp: A2, nearest: ti.template(), warped: ti.template(), sums: A2,
):  # fmt: skip
    """sums [n, channels] = sum of weight * attribute along each ray."""
    for lane in range(lanes):
        o, d = load3(origins, first + lane), load3(directions, first + lane)
        for c in range(channels):
            sums[first + lane, c] = 0.0
        for s in range(counts[lane]):
            sample = lane * steps + s
            weight = weights[sample]
            if weight != 0.0:
                if ti.static(nearest):
                    for c in range(channels):
                        sums[first + lane, c] = sums[first + lane, c] + weight * attribute[rows[sample], c]
                else:
                    row, strides, at, _ = grid_place(o, d, t[sample], box, warp, warped)
                    for c in range(channels):
                        found = trilinear(attribute, row, strides, at, c, 1)[0]
                        sums[first + lane, c] = sums[first + lane, c] + weight * found


@ti.kernel
def weight_gradients(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, t: A1, rows: A1, counts: A1,
    attribute: A2, channels: ti.i32, warp: A2, nearest: ti.template(), warped: ti.template(),
    grad_totals: A2, grad_sums: A2, out: A1,
):  # fmt: skip
    """out = dL/dweight of every sample, from the gradients of totals and sums."""
    for lane in range(lanes):
        ray = first + lane
        o, d = load3(origins, ray), load3(directions, ray)
        for s in range(counts[lane]):
            sample = lane * steps + s
            total = grad_totals[ray, 0] + grad_totals[ray, 1] * t[sample]
            if ti.static(nearest):
                for c in range(channels):
                    total += grad_sums[ray, c] * attribute[rows[sample], c]
            else:
                if channels > 0:
                    row, strides, at, _ = grid_place(o, d, t[sample], box, warp, warped)
                    for c in range(channels):
                        total += grad_sums[ray, c] * trilinear(attribute, row, strides, at, c, 1)[0]
            out[sample] = total


@ti.kernel
def position_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, t: A1, counts: A1,
    values: A2, attribute: A2, channels: ti.i32, warp: A2, warped: ti.template(), weights: A1, grad_values: A1,
    grad_totals: A2, grad_sums: A2, grad_t: A1, grad_read: A1, grad_origins: A2, grad_directions: A2,
):  # fmt: skip
    """Gradients of the positions: grad_t, grad_read [samples * 3] (of q, where warped), and part of the rays'."""
    for lane in range(lanes):
        ray = first + lane
        o, d = load3(origins, ray), load3(directions, ray)
        to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        for s in range(counts[lane]):
            sample = lane * steps + s
            row, strides, at, slope = grid_place(o, d, t[sample], box, warp, warped)
            to_p = grad_values[sample] * gradient(values, row, strides, at, slope, 0)
            weight = weights[sample]
            if weight != 0.0:
                for c in range(channels):
                    to_p += weight * grad_sums[ray, c] * gradient(attribute, row, strides, at, slope, c)
            if ti.static(warped):
                to_q = to_p
                to_p = ti.Vector([0.0, 0.0, 0.0])
                row, strides, at, slope = warp_place(o + t[sample] * d, box)
                for k in ti.static(range(3)):
                    grad_read[3 * sample + k] = to_q[k]
                    to_p += to_q[k] * gradient(warp, row, strides, at, slope, k)
            grad_t[sample] = to_p.dot(d) + weight * grad_totals[ray, 1]
            to_o += to_p
            to_d += t[sample] * to_p
        for k in ti.static(range(3)):
            grad_origins[ray, k] = grad_origins[ray, k] + to_o[k]
            grad_directions[ray, k] = grad_directions[ray, k] + to_d[k]


@ti.kernel
def time_adjoint(first: ti.i32, lanes: ti.i32, steps: ti.i32, counts: A1, weights: A1, grad_totals: A2, grad_t: A1):
    """grad_t where the grid is constant within each cell."""
    for lane in range(lanes):
        for s in range(counts[lane]):
            grad_t[lane * steps + s] = weights[lane * steps + s] * grad_totals[first + lane, 1]


@ti.func
def scatter_column(
    sample, ray, c, what: ti.template(), origins: ti.template(), directions: ti.template(),
    box: ti.template(), t: ti.template(), rows: ti.template(), coefficients: ti.template(), grad_sums: ti.template(),
    channels, warp: ti.template(), nearest: ti.template(), warped: ti.template(),
    part: ti.template(), start, atomic: ti.template(),
):  # fmt: skip
    """What one sample adds to column c of the gradient of a grid."""
    value = 0.0
    if ti.static(what == WARP):
        value = coefficients[3 * sample + c]
    elif ti.static(what == ATTRIBUTE):
        value = coefficients[sample] * grad_sums[ray, c]
    else:
        value = coefficients[sample]
    if value != 0.0:
        if ti.static(nearest):
            add(part, start + rows[sample] * channels + c, value, atomic)
        else:
            o, d = load3(origins, ray), load3(directions, ray)
            if ti.static(what == WARP):
                row, strides, at, _ = warp_place(o + t[sample] * d, box)
                scatter(part, start, row, strides, at, c, ti.Vector([value]), channels, 1, atomic)
            else:
                row, strides, at, _ = grid_place(o, d, t[sample], box, warp, warped)
                scatter(part, start, row, strides, at, c, ti.Vector([value]), channels, 1, atomic)


@ti.kernel
def scatter_private(
    chunks: ti.i32, cells: ti.i32, channels: ti.i32, what: ti.template(), first: ti.i32, lanes: ti.i32, steps: ti.i32,
    origins: A2, directions: A2, box: A2, t: A1, rows: A1, counts: A1, coefficients: A1, grad_sums: A2, warp: A2,
    nearest: ti.template(), warped: ti.template(), part: A1,
):  # fmt: skip
    """part [chunks * cells * channels] += what the samples give to a grid; every chunk of rays has its own part."""
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        for lane in range(p * lanes // chunks, (p + 1) * lanes // chunks):
            for s in range(counts[lane]):
                for c in range(channels):
                    scatter_column(
                        lane * steps + s, first + lane, c, what, origins, directions, box, t, rows, coefficients,
                        grad_sums, channels, warp, nearest, warped, part, p * cells * channels, False,
                    )  # fmt: skip


@ti.kernel
def scatter_atomic(
    channels: ti.i32, what: ti.template(), first: ti.i32, lanes: ti.i32, steps: ti.i32,
    origins: A2, directions: A2, box: A2, t: A1, rows: A1, counts: A1, coefficients: A1, grad_sums: A2, warp: A2,
    nearest: ti.template(), warped: ti.template(), part: A1,
):  # fmt: skip
    """The same with one thread per sample and channel."""
    for item in range(lanes * steps * channels):
        sample = item // channels
        lane = sample // steps
        if sample - lane * steps < counts[lane]:
            scatter_column(
                sample, first + lane, item - sample * channels, what, origins, directions, box, t, rows, coefficients,
                grad_sums, channels, warp, nearest, warped, part, 0, True,
            )  # fmt: skip
