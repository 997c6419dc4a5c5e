"""Energies of a grid that keep a fit smooth and empty space empty."""

import math

from tidr.kernels import grid_energy as kernels

from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, run
from .totals import Total


def total_variation(grid: Array, softness: float = 1e-8) -> Loss:
    """Mean over cells and channels of sqrt(dx^2 + dy^2 + dz^2 + softness), the steps to the next cell along each axis.

    grid: [D, H, W] or [D, H, W, ...], for example `scene["smoke"].geometry.density` (Rudin, Osher and Fatemi 1992; for
    radiance grids Fridovich-Keil, Yu et al. 2022, "Plenoxels"). A step beyond the border counts 0. Steps are not
    divided by the cell's size.

    Raises:
        SceneError: fewer than three axes, or softness < 0.
    """
    depth, height, width, channels = _extent(grid, "total_variation")
    if not 0 <= softness < math.inf:
        raise SceneError("total_variation", f"softness is {softness}", "give a number >= 0")
    scalar = len(grid.shape) == 3
    total, sums = Total(depth * height, 1.0 / (depth * height * width * channels)), Buffer((depth * height,))
    terms = 1 if scalar else channels // grid.channels
    extent = (depth, height, width, terms, 1 if scalar else grid.channels, float(softness))

    def forward() -> None:
        kernels.total_variation(grid.value, *extent, sums.ndarray, scalar)
        total.of(sums)

    def backward() -> None:
        kernels.total_variation_adjoint(grid.value, *extent, total.loss.grad, grid.grad, scalar)

    run(Operation(forward, backward, [grid], [total.loss], "total_variation"))
    return Loss(total.loss, "total_variation")


def sparsity(density: Array) -> Loss:
    """Mean over the grid of log(1 + 2 v^2), v = max(density, 0): the Cauchy loss of "Plenoxels", on cells.

    It pulls small densities to 0 and hardly minds large ones.

    Raises:
        SceneError: fewer than three axes.
    """
    _extent(density, "sparsity")
    rows, columns = density.rows, density.channels
    total, sums = Total(rows, 1.0 / (rows * columns)), Buffer((rows,))

    def forward() -> None:
        kernels.sparsity(density.value, rows, columns, sums.ndarray)
        total.of(sums)

    def backward() -> None:
        kernels.sparsity_adjoint(density.value, rows, columns, total.loss.grad, density.grad)

    run(Operation(forward, backward, [density], [total.loss], "sparsity"))
    return Loss(total.loss, "sparsity")


def _extent(grid: Array, where: str) -> tuple[int, int, int, int]:
    """(D, H, W, numbers per cell)."""
    if len(grid.shape) < 3 or min(grid.shape) < 1:
        raise SceneError(where, f"got shape {grid.shape}, expected [D, H, W] or [D, H, W, ...]", "give a grid")
    depth, height, width = grid.shape[:3]
    return depth, height, width, math.prod(grid.shape[3:])
