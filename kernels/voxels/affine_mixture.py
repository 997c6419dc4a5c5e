"""An inverse warp mixed from affine parts (Neural Volumes, Lombardi et al. 2019); with adjoint.

Part p takes a point u of the box, in [-1, 1]^3, to v_p = scale * (R (u - translation)). The warp of u is the mean of
all v_p weighed by exp(logs_p(v_p)): a part's weights are read where the part takes the point. parts [P, 15]:
translation, R row by row, scale. logs [P * cells, 1]: a grid of the warp's size (W, H, D) for each part, trilinear.
totals [cells]: sums of weights.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..volume.grid import cell, gradient, scatter, trilinear

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def center(index, width, height, depth):
    """Centre of a cell in [-1, 1]^3."""
    k = index // (width * height)
    j = (index - k * width * height) // width
    i = index - (k * height + j) * width
    return ti.Vector([(2 * i + 1.0) / width - 1.0, (2 * j + 1.0) / height - 1.0, (2 * k + 1.0) / depth - 1.0])


@ti.func
def taken(u, part, parts: ti.template()):
    """R (u - translation), and v."""
    r, v = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    for a in ti.static(range(3)):
        for b in ti.static(range(3)):
            r[a] += parts[part, 3 + 3 * a + b] * (u[b] - parts[part, b])
        v[a] = parts[part, 12 + a] * r[a]
    return r, v


@ti.func
def weight_place(v, part, width, height, depth):
    """Place of v in the grid of a part's weights."""
    size, one = ti.Vector([width, height, depth]), ti.Vector([1.0, 1.0, 1.0])
    row, steps, at, slope = cell(v, -one, one, size)
    return part * width * height * depth + row, steps, at, slope


@ti.kernel
def mix(
    count: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, parts: A2, logs: A2, box: A2, totals: A1, warp: A2
):
    """warp [cells, 3]: where each cell's centre is read, in the object space of box [2, 3] (lower, upper)."""
    for index in range(width * height * depth):
        u = center(index, width, height, depth)
        total, mean = 0.0, ti.Vector([0.0, 0.0, 0.0])
        for part in range(count):
            _r, v = taken(u, part, parts)
            row, steps, at, _ = weight_place(v, part, width, height, depth)
            weight = ti.exp(trilinear(logs, row, steps, at, 0, 1)[0])
            total += weight
            mean += weight * v
        totals[index] = total
        for a in ti.static(range(3)):
            middle, half = 0.5 * (box[0, a] + box[1, a]), 0.5 * (box[1, a] - box[0, a])
            warp[index, a] = middle + half * mean[a] / total


@ti.func
def share(
    index, part, width, height, depth, parts: ti.template(), logs: ti.template(), box: ti.template(),
    totals: ti.template(), warp: ti.template(), grad_warp: ti.template(),
):  # fmt: skip
    """Gradients of one part at one cell: of the logarithm of its weight, and of v."""
    u, g = center(index, width, height, depth), load3(grad_warp, index)
    mean = load3(warp, index)
    for a in ti.static(range(3)):
        half = 0.5 * (box[1, a] - box[0, a])
        mean[a] = (mean[a] - 0.5 * (box[0, a] + box[1, a])) / half
        g[a] *= half
    _, v = taken(u, part, parts)
    row, steps, at, slope = weight_place(v, part, width, height, depth)
    weight = ti.exp(trilinear(logs, row, steps, at, 0, 1)[0]) / totals[index]
    to_log = weight * g.dot(v - mean)
    return to_log, weight * g + to_log * gradient(logs, row, steps, at, slope, 0)


@ti.kernel
def mix_adjoint_parts(
    chunks: ti.i32, count: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, parts: A2, logs: A2, box: A2,
    totals: A1, warp: A2, grad_warp: A2, gathered: A1, block: ti.template(),
):  # fmt: skip
    """gathered [chunks * P * 15] += gradient of the parts."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        chunk = ticket // task
        if ticket % task != 0:
            continue
        cells = width * height * depth
        for index in range(chunk * cells // chunks, (chunk + 1) * cells // chunks):
            u = center(index, width, height, depth)
            for part in range(count):
                _to_log, to_v = share(index, part, width, height, depth, parts, logs, box, totals, warp, grad_warp)
                r, _v = taken(u, part, parts)
                slot = (chunk * count + part) * 15
                for a in ti.static(range(3)):
                    to_r = to_v[a] * parts[part, 12 + a]
                    gathered[slot + 12 + a] = gathered[slot + 12 + a] + to_v[a] * r[a]
                    for b in ti.static(range(3)):
                        place = slot + 3 + 3 * a + b
                        gathered[place] = gathered[place] + to_r * (u[b] - parts[part, b])
                        gathered[slot + b] = gathered[slot + b] - to_r * parts[part, 3 + 3 * a + b]


@ti.kernel
def mix_adjoint_logs(
    chunks: ti.i32, count: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, parts: A2, logs: A2, box: A2,
    totals: A1, warp: A2, grad_warp: A2, gathered: A1, private: ti.template(),
):  # fmt: skip
    """gathered [chunks * P * cells] += gradient of logs; unless `private` by atomics, one thread a cell and part."""
    if ti.static(private):
        for ticket in range(chunks * TASK):
            chunk = ticket // TASK
            if ticket % TASK != 0:
                continue
            cells = width * height * depth
            for item in range(chunk * cells * count // chunks, (chunk + 1) * cells * count // chunks):
                part = item // cells
                index = item - part * cells
                to_log, _to_v = share(index, part, width, height, depth, parts, logs, box, totals, warp, grad_warp)
                _r, v = taken(center(index, width, height, depth), part, parts)
                row, steps, at, _ = weight_place(v, part, width, height, depth)
                scatter(gathered, chunk * cells * count, row, steps, at, 0, ti.Vector([to_log]), 1, 1, False)
    else:
        for item in range(width * height * depth * count):
            cells = width * height * depth
            part = item // cells
            index = item - part * cells
            to_log, _to_v = share(index, part, width, height, depth, parts, logs, box, totals, warp, grad_warp)
            _r, v = taken(center(index, width, height, depth), part, parts)
            row, steps, at, _ = weight_place(v, part, width, height, depth)
            scatter(gathered, 0, row, steps, at, 0, ti.Vector([to_log]), 1, 1, True)
