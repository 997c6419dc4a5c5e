"""Energies of grids and their adjoints: total variation, sparsity.

A grid [D, H, W] lies on the device as [D * H, W]; one of C = K c numbers a cell, [D, H, W, ..., c], as
[D * H * W * K, c], K rows a cell. Each energy writes sums, which `accumulate.total` adds. Every adjoint gathers at its
own number, so nothing is atomic.
"""

import taichi as ti

from .accumulate import SPREAD

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def _number(values: ti.template(), line, x, k, c, width, terms, scalar: ti.template()):
    """Number c of row k of cell x of a line."""
    return values[line, x] if ti.static(scalar) else values[(line * width + x) * terms + k, c]


@ti.func
def _steps(
    values: ti.template(), here, line, x, y, z, k, c, depth, height, width, terms, scalar: ti.template()
):  # fmt: skip
    """Differences [3] from `here`, the number of this cell, to the next cells along x, y and z; 0 beyond the border."""
    out = ti.Vector([0.0, 0.0, 0.0])
    if x + 1 < width:
        out[0] = _number(values, line, x + 1, k, c, width, terms, scalar) - here
    if y + 1 < height:
        out[1] = _number(values, line + 1, x, k, c, width, terms, scalar) - here
    if z + 1 < depth:
        out[2] = _number(values, line + height, x, k, c, width, terms, scalar) - here
    return out


@ti.kernel
def total_variation(
    values: A2, depth: ti.i32, height: ti.i32, width: ti.i32, terms: ti.i32, columns: ti.i32, soft: float, sums: A1,
    scalar: ti.template(),
):  # fmt: skip
    """sums [D * H] of sqrt(|steps|^2 + soft) over the numbers of each line."""
    for ticket in range(depth * height * SPREAD):
        line = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        z, energy = line // height, 0.0
        for x in range(width):
            for k in range(terms):
                for c in range(columns):
                    here = _number(values, line, x, k, c, width, terms, scalar)
                    d = _steps(
                        values, here, line, x, line - z * height, z, k, c, depth, height, width, terms, scalar
                    )  # fmt: skip
                    energy += ti.sqrt(d.norm_sqr() + soft)
        sums[line] = energy


@ti.func
def _slope(
    values: ti.template(), line, x, y, z, k, c, depth, height, width, terms, soft, scalar: ti.template()
):  # fmt: skip
    """Derivative of the sum by one number: it is in its own steps and in one step of each cell before it."""
    here = _number(values, line, x, k, c, width, terms, scalar)
    d = _steps(values, here, line, x, y, z, k, c, depth, height, width, terms, scalar)
    square, total = d.norm_sqr(), 0.0
    if square > 0.0:
        total -= d.sum() / ti.sqrt(square + soft)
    for a in ti.static(range(3)):
        bx, by, bz = x - int(a == 0), y - int(a == 1), z - int(a == 2)
        if ti.min(bx, by, bz) >= 0:
            before = bz * height + by
            there = _number(values, before, bx, k, c, width, terms, scalar)
            if there != here:
                e = _steps(values, there, before, bx, by, bz, k, c, depth, height, width, terms, scalar)
                total += e[a] / ti.sqrt(e.norm_sqr() + soft)
    return total


@ti.kernel
def total_variation_adjoint(
    values: A2, depth: ti.i32, height: ti.i32, width: ti.i32, terms: ti.i32, columns: ti.i32, soft: float, seed: A2,
    grad: A2, scalar: ti.template(),
):  # fmt: skip
    for line in range(depth * height):
        z = line // height
        y = line - z * height
        scale = seed[0, 0] / depth / height / width / (terms * columns)
        for x in range(width):
            for k in range(terms):
                for c in range(columns):
                    slope = _slope(values, line, x, y, z, k, c, depth, height, width, terms, soft, scalar)
                    row, column = (line * width + x) * terms + k, c
                    if ti.static(scalar):
                        row, column = line, x
                    grad[row, column] = grad[row, column] + scale * slope


@ti.kernel
def sparsity(values: A2, rows: ti.i32, columns: ti.i32, sums: A1):
    """sums [rows] of log(1 + 2 v^2) with v = max(value, 0)."""
    for row in range(rows):
        energy = 0.0
        for column in range(columns):
            v = ti.max(values[row, column], 0.0)
            energy += ti.log(1.0 + 2.0 * v * v)
        sums[row] = energy


@ti.kernel
def sparsity_adjoint(values: A2, rows: ti.i32, columns: ti.i32, seed: A2, grad: A2):
    for row in range(rows):
        for column in range(columns):
            v = ti.max(values[row, column], 0.0)
            slope = 4.0 * v / (1.0 + 2.0 * v * v)
            grad[row, column] = grad[row, column] + seed[0, 0] * slope / rows / columns
