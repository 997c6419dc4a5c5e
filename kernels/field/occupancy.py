"""A coarse grid that says where a field is dense enough to be looked up at all."""

import taichi as ti

from . import BLOCK
from .composite import density_of, sample_slot

A1 = ti.types.ndarray(ndim=1)
I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)


@ti.kernel
def mark_occupied(
    total: ti.i32, rows: ti.i32, density: ti.i32, first: ti.i32, threshold: float, values: A1,
    dense: I1, kind: ti.template(),
):  # fmt: skip
    """dense[first + n] = 1 where the density of sample n exceeds the threshold, else 0."""
    for n in range(total):
        sigma = density_of(values[sample_slot(n, rows) + density * BLOCK], kind)
        dense[first + n] = 1 if sigma > threshold else 0


@ti.kernel
def dilate(resolution: ti.i32, dense: I1, grid: I1):
    """grid [resolution^3] = 1 where a cell or one of its 26 neighbours is dense."""
    for line in range(resolution * resolution):
        z = line // resolution
        y = line - z * resolution
        for x in range(resolution):
            found = 0
            for k in range(ti.max(z - 1, 0), ti.min(z + 2, resolution)):
                for j in range(ti.max(y - 1, 0), ti.min(y + 2, resolution)):
                    for i in range(ti.max(x - 1, 0), ti.min(x + 2, resolution)):
                        found |= dense[(k * resolution + j) * resolution + i]
            grid[line * resolution + x] = found


@ti.kernel
def cell_centres(resolution: ti.i32, first: ti.i32, total: ti.i32, padded: ti.i32, positions: A1):
    """positions [n * 3] of cells first .. first + total - 1, x fastest, in [0, 1]."""
    for n in range(padded):
        cell = ti.min(first + n, first + total - 1)
        z = cell // (resolution * resolution)
        y = (cell - z * resolution * resolution) // resolution
        positions[3 * n] = (cell % resolution + 0.5) / resolution
        positions[3 * n + 1] = (y + 0.5) / resolution
        positions[3 * n + 2] = (z + 0.5) / resolution
