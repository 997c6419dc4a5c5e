"""Losses of fits to implicit surfaces: silhouettes that rays alone cannot move, and the shape of a field.

The first two take an image of the `LevelSetRenderer` and a mask, [H, W, 1], [B, H, W, 1] or without the last axis; the
others a `Node` or its geometry.
"""

import numpy as np

from tidr.kernels import accumulate
from tidr.kernels.implicit import losses as kernels
from tidr.renderers.implicit_field import GridField
from tidr.scene.graph import Node
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.voxels import VoxelGrid

from .. import runtime
from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, run
from .totals import Total

__all__ = ["eikonal", "field_laplacian", "free_space", "ray_mask", "sign_changes"]


def ray_mask(image, mask, sharpness: float = 50.0) -> Loss:
    """IDR's mask loss (Yariv et al. 2020) on the smallest f along each ray, over all rays.

    Rays that hit inside the mask do not count; for all others the cross entropy of sigmoid(-sharpness * min f) and the
    mask, over the sharpness. IDR doubles the sharpness (per object unit) from 50 as the fit goes on.
    """
    return _on_rays("ray_mask", kernels.WRONG_OR_EMPTY, image, "min_sdf", mask, sharpness)


def free_space(image, mask, sharpness: float = 50.0) -> Loss:
    """DVR's free-space and occupancy losses (Niemeyer et al. 2020), over all rays.

    A ray that hits outside the mask lowers the occupancy sigmoid(-sharpness * f) at its hit; one that misses inside the
    mask raises it at a random place (the renderer's `seed` says which).
    """
    return _on_rays("free_space", kernels.WRONG, image, "probe", mask, sharpness)


def eikonal(grid) -> Loss:
    """Mean of (|grad f| - 1)^2 over the cells of a grid of signed distances; the gradients are central differences."""
    field = GridField(_voxels("eikonal", grid))
    gradients, rows = field.node_gradients(), field.cells
    total, terms = Total(rows), Buffer((rows,))

    def forward() -> None:
        kernels.eikonal_terms(rows, gradients.value, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.eikonal_terms_adjoint(rows, gradients.value, total.factor, total.loss.grad, gradients.grad)

    run(Operation(forward, backward, [gradients], [total.loss], "eikonal"))
    return Loss(total.loss, "eikonal")


def field_laplacian(grid) -> Loss:
    """Mean over the inner samples of the squared sum of the six neighbours minus six times the value (SDFDiff).

    Of a voxel grid's cells, or of the nodes of tetrahedra.
    """
    geometry = grid.geometry if isinstance(grid, Node) else grid
    values = geometry.sdf if isinstance(geometry, Tetrahedra) else _voxels("field_laplacian", grid).values
    depth, height, width = values.shape
    rows = values.rows
    inner = max(depth - 2, 0) * max(height - 2, 0) * max(width - 2, 0)
    total, rough, terms = Total(rows, 1.0 / max(inner, 1)), Buffer((rows,)), Buffer((rows,))

    def forward() -> None:
        kernels.roughness(width, height, depth, values.value, rough.ndarray)
        kernels.squares(rows, rough.ndarray, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.roughness_adjoint(
            width, height, depth, rough.ndarray, total.factor, total.loss.grad, values.grad
        )  # fmt: skip

    run(Operation(forward, backward, [values], [total.loss], "field_laplacian"))
    return Loss(total.loss, "field_laplacian")


def sign_changes(tetrahedra) -> Loss:
    """DMTet's regulariser: mean over edges that the surface crosses of how far both ends are from the other's sign.

    The cross entropy of sigmoid(-s) at each end and whether the other end is inside (Munkberg et al. 2022): it takes
    away triangles inside the solid that no picture shows.
    """
    grid = tetrahedra.geometry if isinstance(tetrahedra, Node) else tetrahedra
    if not isinstance(grid, Tetrahedra):
        raise SceneError("sign_changes", f"got {type(grid).__name__}", "give tetrahedra or a node that holds them")
    extraction, values = grid.extraction(), grid.sdf
    edges, ends = len(extraction.ends), extraction.device("ends")
    total, terms = Total(edges), Buffer((edges,))

    def forward() -> None:
        kernels.sign_terms(edges, ends, values.value, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        chunks = runtime.chunks()
        part = Buffer((chunks * values.rows,))
        part.ndarray.fill(0.0)
        kernels.sign_terms_adjoint(
            chunks, values.rows, edges, ends, values.value, total.factor, total.loss.grad, part.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        accumulate.collect(chunks, values.rows, 1, part.ndarray, values.grad)

    run(Operation(forward, backward, [values], [total.loss], "sign_changes"))
    return Loss(total.loss, "sign_changes")


def _on_rays(name: str, kind: int, image, channel: str, mask, sharpness: float) -> Loss:
    if not 0 < sharpness < np.inf:
        raise SceneError(f"{name}.sharpness", f"is {sharpness}", "give a number above 0")
    values, hits = image.channel(channel), image.channel("alpha")
    target = mask if isinstance(mask, Array) else Array.of(_shaped(name, mask, values.shape), needs_grad=False)
    if target.rows * target.channels != values.rows or target.channels != 1:
        raise SceneError(name, f"the mask has shape {target.shape}, expected {values.shape}")
    rows = values.rows
    total, terms = Total(rows), Buffer((rows,))
    common = (rows, kind, float(sharpness), values.value, hits.value, target.value)

    def forward() -> None:
        kernels.ray_terms(*common, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.ray_terms_adjoint(*common, total.factor, total.loss.grad, values.grad)

    run(Operation(forward, backward, [values], [total.loss], name))
    return Loss(total.loss, name)


def _shaped(name: str, mask, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.asarray(mask, np.float64)
    mask = mask[..., None] if mask.shape == shape[:-1] else mask
    if mask.shape != shape:
        raise SceneError(name, f"the mask has shape {mask.shape}, expected {shape}")
    return mask


def _voxels(name: str, grid) -> VoxelGrid:
    voxels = grid.geometry if isinstance(grid, Node) else grid
    if not isinstance(voxels, VoxelGrid):
        raise SceneError(name, f"got {type(voxels).__name__}", "give a voxel grid or a node that holds one")
    return voxels
