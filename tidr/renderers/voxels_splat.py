"""Projective voxel splatting: every voxel a round splat as large as its projection, blended in order of depth.

The footprint is that of the projection's Jacobian at the voxel's centre, h f / z (Westover 1990, "Footprint evaluation
for volume rendering"; blending as in Kerbl et al. 2023): it is drawn as a circle of the same area. A picture equals
that of method "absorption" up to the width of the footprint.

What this does not differentiate: the order of depth, which is that of the centres. Splats whose centre is not between
the camera's near and far are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.voxels import splat as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.voxels import VoxelGrid

from .voxels_march import Sums


class Splats:
    """The voxels of a grid as splats in some cameras; `trace` as `March` has it."""

    normalise = False

    def __init__(
        self, settings: Any, scene: Scene, node: Node, grid: VoxelGrid, cameras: Sequence[Camera],
        width: int, height: int,
    ) -> None:  # fmt: skip
        self.grid, self.views, self.width, self.height = grid, len(cameras), width, height
        self.scale = 1.0 if settings.density_scale is None else float(settings.density_scale)
        self.count = grid.values.rows
        self.pixels = self.views * width * height
        self.shape = (self.views, height, width)
        self.splats = self._project(_table(scene, node, grid, cameras, width, height), cameras)
        with unrecorded():
            self._find()

    def trace(self, attribute: Array | None = None) -> Sums:
        """Blend all splats; `attribute` [D, H, W, C] is summed where given."""
        alpha, totals = Array((self.pixels, 1)), Array((self.pixels, 2))
        sums = None if attribute is None else Array((self.pixels, attribute.channels))
        shown, channels = (self.grid.values, 0) if attribute is None else (attribute, attribute.channels)
        summed = totals if sums is None else sums
        lists = (self.order.ndarray, self.start.ndarray, self.entries.ndarray)
        common = (self.count, self.height, self.width, self.pixels, self.splats.value, *lists)
        content = (self.grid.values.value, self.scale, shown.value, channels)

        def forward() -> None:
            kernels.blend(*common, *content, alpha.value, totals.value, summed.value)

        def backward() -> None:
            to_opacity, weights = Buffer((self.capacity,)), Buffer((self.capacity,))
            to_splats = Buffer((self.views * self.count, 4))
            per_entry = (to_opacity.ndarray, weights.ndarray)
            kernels.blend_adjoint(*common, *content, alpha.grad, totals.grad, summed.grad, *per_entry)
            kernels.gather(
                self.views, self.count, self.height, self.width, self.splats.value, self.rank.ndarray, *lists[1:],
                self.grid.values.value, self.scale, channels, totals.grad, summed.grad, *per_entry,
                self.grid.values.grad, shown.grad, to_splats.ndarray,
            )  # fmt: skip
            if needs(self.splats):
                self.splats.set_grad(self.splats.grad_numpy() + np.pad(to_splats.ndarray.to_numpy(), ((0, 0), (0, 1))))

        inputs = [self.grid.values, self.splats, *([attribute] if attribute is not None else [])]
        outputs = [array for array in (alpha, totals, sums) if array is not None]
        run(Operation(forward, backward, inputs, outputs, "voxel splats"))
        return Sums(alpha, totals, sums)

    def _project(self, table: Array, cameras: Sequence[Camera]) -> Array:
        """[B * n, 5] splats of every voxel in every camera."""
        grid, splats = self.grid, Array((self.views * self.count, 5))
        limits = constant([(camera.near, camera.far) for camera in cameras])
        box = constant([grid.lower, grid.spacing, grid.shape[::-1]])

        def forward() -> None:
            kernels.project(self.views, self.count, table.value, limits.value, box.value, splats.value)

        def backward() -> None:
            centers = np.append(grid.centers().reshape(-1, 3), np.ones((self.count, 1)), 1)
            held = splats.numpy().astype(np.float64).reshape(self.views, self.count, 5)
            given = splats.grad_numpy().astype(np.float64).reshape(self.views, self.count, 5)
            found = table.grad_numpy().astype(np.float64)
            for view, (seen, grad, row) in enumerate(zip(held, given, table.numpy(), strict=True)):
                found[view] += _project_adjoint(centers, seen, grad, row.astype(np.float64))
            table.set_grad(found)

        run(Operation(forward, backward, [table], [splats], "project voxels"))
        return splats

    def _find(self) -> None:
        """Order voxels by depth and list those over every pixel."""
        splats = self.splats.numpy().reshape(self.views, self.count, 5)
        order = np.argsort(splats[:, :, 2], axis=1, kind="stable").astype(np.int32)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(self.count, dtype=np.int32)[None], axis=1)
        self.order, self.rank = _uploaded(order), _uploaded(rank)
        counts = Buffer((self.pixels,), "int")
        size = (self.views, self.count, self.height, self.width)
        sorted_splats = np.take_along_axis(splats, order[:, :, None], axis=1)
        lines = [_uploaded(array) for array in _lines(sorted_splats.astype(np.float64), self.height)]
        seen = (self.splats.value, self.order.ndarray, *(buffer.ndarray for buffer in lines))
        kernels.count(*size, *seen, counts.ndarray)
        start = np.concatenate([[0], np.cumsum(counts.ndarray.to_numpy(), dtype=np.int64)])
        self.start = _uploaded(start.astype(np.int32))
        self.capacity = 1 << int(np.ceil(np.log2(max(start[-1], 1024))))  # so that a fit's buffers keep their size
        self.entries = Buffer((self.capacity,), "int")
        kernels.fill(*size, *seen, self.start.ndarray, counts.ndarray, self.entries.ndarray)


def _lines(splats: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row of pixels of each view, the splats [B, n, 5] that may touch it, ascending: starts, and indices."""
    starts, found = [np.zeros(1, np.int64)], []
    for view in splats:
        reach = np.sqrt(10 * (view[:, 3] / 6 + 1 / 12)) + 1e-2  # a little more than the kernels', which decide
        top = np.clip(np.ceil(view[:, 1] - reach - 0.5), 0, height).astype(np.int64)
        bottom = np.clip(np.floor(view[:, 1] + reach - 0.5), -1, height - 1).astype(np.int64)
        counts = np.where(view[:, 4] > 0, np.maximum(bottom - top + 1, 0), 0)
        index = np.repeat(np.arange(len(view), dtype=np.int32), counts)
        within = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(top, counts) + within
        kind = np.uint16 if height <= 1 << 16 else np.int64  # numpy sorts 16 bits by radix
        found.append(index[np.argsort(rows.astype(kind), kind="stable")])
        starts.append(starts[-1][-1] + np.cumsum(np.bincount(rows, minlength=height)))
    return np.concatenate(starts).astype(np.int32), np.concatenate(found)


def _uploaded(array: np.ndarray) -> Buffer:
    buffer = Buffer((array.size,), "int")
    if array.size:
        buffer.ndarray.from_numpy(array.reshape(-1))
    return buffer


def _project_adjoint(centers: np.ndarray, splats: np.ndarray, grad: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Gradient [17] of one view's row of the table."""
    valid = splats[:, 4] > 0
    w = np.where(valid, centers @ row[8:12], 1.0)
    g = np.where(valid[:, None], grad, 0.0)
    to_w = -(g[:, 0] * splats[:, 0] + g[:, 1] * splats[:, 1] + 2 * g[:, 3] * splats[:, 3]) / w
    to_clip = np.stack([g[:, 0] / w, g[:, 1] / w, to_w, g[:, 2]])
    return np.append((to_clip @ centers).reshape(-1), (g[:, 3] / w**2).sum())


def _table(
    scene: Scene, node: Node, grid: VoxelGrid, cameras: Sequence[Camera], width: int, height: int
) -> Array:  # fmt: skip
    """[B, 17] of every camera: object space to (column w, row w, w, depth), and the area of a footprint at w = 1."""
    table = Array((len(cameras), 17))
    transforms = [p for one in scene.ordered_nodes() for p in one.transform_parameters().values()]
    volume = float(np.prod(grid.spacing))

    def focal(camera: Camera) -> np.ndarray:
        return camera.focal.host() * (width / camera.width, height / camera.height)

    def side_squared(world: np.ndarray) -> float:
        return float(volume * abs(np.linalg.det(world[:3, :3]))) ** (2 / 3)

    def forward() -> None:
        world = scene.world_matrices()[node.name]
        matrices = [(camera.projection(width, height)[0] @ world).reshape(-1) for camera in cameras]
        areas = [side_squared(world) * focal(camera).prod() for camera in cameras]
        table.set(np.column_stack([matrices, areas]))

    def backward() -> None:
        world = scene.world_matrices()[node.name]
        to_world = np.zeros((4, 4))
        for camera, row in zip(cameras, table.grad_numpy().astype(np.float64), strict=True):
            matrix, to_area = row[:16].reshape(4, 4), row[16]
            area = side_squared(world) * focal(camera).prod()
            to_world += camera.projection(width, height)[0].T @ matrix
            to_world[:3, :3] += to_area * area * 2 / 3 * np.linalg.inv(world[:3, :3]).T
            found = camera.projection_adjoint(width, height, matrix @ world.T, np.zeros(4))
            found["focal"] = found["focal"] + to_area * area / camera.focal.host()
            for name, parameter in camera.parameters().items():
                if needs(parameter):
                    parameter.set_grad(parameter.grad_numpy() + found[name])
        for name, parts in scene.world_adjoint({node.name: to_world}).items():
            for parameter, part in zip(scene.nodes[name].transform_parameters().values(), parts, strict=True):
                if needs(parameter):
                    parameter.set_grad(parameter.grad_numpy() + part)

    inputs = [*transforms, *(p for camera in cameras for p in camera.parameters().values())]
    run(Operation(forward, backward, inputs, [table], "voxel projection"))
    return table
