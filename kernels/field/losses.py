"""The mean of a column as a loss, and its adjoint."""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def terms(rows: ti.i32, values: A2, out: A1):
    """out [rows] = values [rows, 1]."""
    for row in range(rows):
        out[row] = values[row, 0]


@ti.kernel
def terms_adjoint(rows: ti.i32, to_loss: A2, factor: float, to_values: A2):
    for row in range(rows):
        to_values[row, 0] = to_values[row, 0] + factor * to_loss[0, 0]
