"""The warp of a voxel grid as the march reads it: a grid of positions."""

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.voxels import affine_mixture as kernels
from tidr.scene.affine_mixture import AffineMixture
from tidr.scene.transform import rotation_adjoint, rotation_from_quaternion
from tidr.scene.voxels import VoxelGrid


def warp_positions(grid: VoxelGrid) -> Array | None:
    """[d, h, w, 3] where the box's points are read, object space; None is the identity."""
    return _mixed(grid, grid.warp) if isinstance(grid.warp, AffineMixture) else grid.warp


def _mixed(grid: VoxelGrid, mixture: AffineMixture) -> Array:
    depth, height, width = mixture.shape
    cells, count, logs = depth * height * width, mixture.count, mixture.logs
    parts, totals, warp = _parts(mixture), Buffer((cells,)), Array((depth, height, width, 3))
    box = constant([grid.lower, grid.upper])
    common = (count, width, height, depth, parts.value, logs.value, box.value, totals.ndarray, warp.value)

    def forward() -> None:
        kernels.mix(*common)

    def backward() -> None:
        if needs(parts):
            chunks = runtime.reduction_chunks()
            gathered = Buffer((chunks * count * 15,))
            gathered.ndarray.fill(0.0)
            kernels.mix_adjoint_parts(chunks, *common, warp.grad, gathered.ndarray, runtime.chunk_block())
            accumulate.collect(chunks, count, 15, gathered.ndarray, parts.grad)
        if needs(logs):
            chunks = runtime.chunks()
            gathered = Buffer((chunks * logs.rows,))
            gathered.ndarray.fill(0.0)
            kernels.mix_adjoint_logs(chunks, *common, warp.grad, gathered.ndarray, runtime.on_cpu())
            accumulate.collect(chunks, logs.rows, 1, gathered.ndarray, logs.grad)

    run(Operation(forward, backward, [parts, logs], [warp], "affine mixture"))
    return warp


def _parts(mixture: AffineMixture) -> Array:
    """[P, 15] translation, rotation matrix row by row, scale."""
    table = Array((mixture.count, 15))
    inputs = [mixture.translation, mixture.rotation, mixture.scale]

    def forward() -> None:
        turns = [rotation_from_quaternion(q).reshape(9) for q in mixture.rotation.host()]
        table.set(np.column_stack([mixture.translation.host(), turns, mixture.scale.host()]))

    def backward() -> None:
        grad = table.grad_numpy().astype(np.float64)
        turns = zip(mixture.rotation.host(), grad[:, 3:12].reshape(-1, 3, 3), strict=True)
        found = (grad[:, :3], np.stack([rotation_adjoint(q, g) for q, g in turns]), grad[:, 12:])
        for parameter, part in zip(inputs, found, strict=True):
            if needs(parameter):
                parameter.set_grad(parameter.grad_numpy() + part)

    run(Operation(forward, backward, inputs, [table], "affine parts"))
    return table
