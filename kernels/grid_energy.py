"""Energies of grids and their adjoints: total variation, sparsity.

A grid [D, H, W] lies on the device as [D * H, W]; one of C = K c numbers a cell, [D, H, W, ..., c], as
[D * H * W * K, c]. Every adjoint gathers at its own number, so nothing is atomic. Lines of W cells are shared out in
chunks as in kernels/reduce.py.
"""

import taichi as ti

A2 = ti.types.ndarray(ndim=2)


@ti.func
def _number(values: ti.template(), line, x, c, width, channels, scalar: ti.template()):
    """Number c of cell x of a line."""
    out = 0.0
    if ti.static(scalar):
        out = values[line, x]
    else:
        columns = values.shape[1]
        flat = (line * width + x) * channels + c
        row = flat // columns
        out = values[row, flat - row * columns]
    return out


@ti.func
def _steps(values: ti.template(), z, y, x, c, depth, height, width, channels, scalar: ti.template()):
    """Differences [3] to the next cells along x, y and z; 0 beyond the border."""
    line, out = z * height + y, ti.Vector([0.0, 0.0, 0.0])
    here = _number(values, line, x, c, width, channels, scalar)
    if x + 1 < width:
        out[0] = _number(values, line, x + 1, c, width, channels, scalar) - here
    if y + 1 < height:
        out[1] = _number(values, line + 1, x, c, width, channels, scalar) - here
    if z + 1 < depth:
        out[2] = _number(values, line + height, x, c, width, channels, scalar) - here
    return out


@ti.kernel
def total_variation(
    values: A2, depth: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, soft: float, chunks: ti.i32,
    size: ti.i32, across: ti.i32, along: ti.i32, partial: A2, loss: A2, scalar: ti.template(),
):  # fmt: skip
    """loss = mean of sqrt(|steps|^2 + soft)."""
    for p in range(chunks):
        energy = 0.0
        for k in range(size):
            line = p * across + k * along
            if line < depth * height:
                z = line // height
                for x in range(width):
                    for c in range(channels):
                        d = _steps(values, z, line - z * height, x, c, depth, height, width, channels, scalar)
                        energy += ti.sqrt(d.norm_sqr() + soft)
        partial[p, 0] = energy
    for _ in range(1):
        energy = 0.0
        for p in range(chunks):
            energy += partial[p, 0]
        loss[0, 0] = energy / depth / height / width / channels


@ti.kernel
def total_variation_adjoint(
    values: A2, depth: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, soft: float, seed: A2, grad: A2,
    scalar: ti.template(),
):  # fmt: skip
    """A number is in its own steps and in one step of each cell before it."""
    for line in range(depth * height):
        z = line // height
        y = line - z * height
        scale = seed[0, 0] / depth / height / width / channels
        for x in range(width):
            for c in range(channels):
                d = _steps(values, z, y, x, c, depth, height, width, channels, scalar)
                total = 0.0
                if d.norm_sqr() > 0.0:
                    total -= d.sum() / ti.sqrt(d.norm_sqr() + soft)
                for a in ti.static(range(3)):
                    bz, by, bx = z - int(a == 2), y - int(a == 1), x - int(a == 0)
                    if ti.min(bx, by, bz) >= 0:
                        e = _steps(values, bz, by, bx, c, depth, height, width, channels, scalar)
                        if e[a] != 0.0:
                            total += e[a] / ti.sqrt(e.norm_sqr() + soft)
                if ti.static(scalar):
                    grad[line, x] = grad[line, x] + scale * total
                else:
                    flat = (line * width + x) * channels + c
                    row = flat // values.shape[1]
                    column = flat - row * values.shape[1]
                    grad[row, column] = grad[row, column] + scale * total


@ti.kernel
def sparsity(
    values: A2, rows: ti.i32, columns: ti.i32, chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, partial: A2,
    loss: A2,
):  # fmt: skip
    """loss = mean of log(1 + 2 v^2) with v = max(value, 0)."""
    for p in range(chunks):
        energy = 0.0
        for k in range(size):
            row = p * across + k * along
            if row < rows:
                for column in range(columns):
                    v = ti.max(values[row, column], 0.0)
                    energy += ti.log(1.0 + 2.0 * v * v)
        partial[p, 0] = energy
    for _ in range(1):
        energy = 0.0
        for p in range(chunks):
            energy += partial[p, 0]
        loss[0, 0] = energy / rows / columns


@ti.kernel
def sparsity_adjoint(values: A2, rows: ti.i32, columns: ti.i32, seed: A2, grad: A2):
    for row in range(rows):
        for column in range(columns):
            v = ti.max(values[row, column], 0.0)
            slope = 4.0 * v / (1.0 + 2.0 * v * v)
            grad[row, column] = grad[row, column] + seed[0, 0] * slope / rows / columns
