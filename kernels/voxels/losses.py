"""Energies and clamps of voxel grids; with adjoints."""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def truncate(rows: ti.i32, values: A2, band: float, out: A2):
    """out = values [rows, 1] clamped to +-band."""
    for row in range(rows):
        out[row, 0] = ti.max(ti.min(values[row, 0], band), -band)


@ti.kernel
def truncate_adjoint(rows: ti.i32, values: A2, band: float, grad_out: A2, grad_values: A2):
    """Nothing comes back from where the clamp holds, its ends included."""
    for row in range(rows):
        if ti.abs(values[row, 0]) < band:
            grad_values[row, 0] = grad_values[row, 0] + grad_out[row, 0]


@ti.kernel
def opacity_prior(rows: ti.i32, alpha: A2, offset: float, terms: A1):
    """terms [rows] = log(1/10 + a) + log(1/10 + 1 - a) + offset."""
    for row in range(rows):
        terms[row] = ti.log(0.1 + alpha[row, 0]) + ti.log(1.1 - alpha[row, 0]) + offset


@ti.kernel
def opacity_prior_adjoint(rows: ti.i32, alpha: A2, grad_out: A2, grad_alpha: A2):
    for row in range(rows):
        slope = 1.0 / (0.1 + alpha[row, 0]) - 1.0 / (1.1 - alpha[row, 0])
        grad_alpha[row, 0] = grad_alpha[row, 0] + slope * grad_out[0, 0] / rows
