"""Projective voxel splatting: every voxel a round splat as large as its projection, blended in order of depth.

The footprint is that of the projection's Jacobian at the voxel's centre, h f / z (Westover 1990, "Footprint evaluation
for volume rendering"; blending as in Kerbl et al. 2023): it is drawn as a circle of the same area. A picture equals
that of method "absorption" up to the width of the footprint.

What this does not differentiate: the order of depth, which is that of the centres. Splats whose centre is not between
the camera's near and far are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, recording, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.reduce import split
from tidr.kernels.voxels import splat as kernels
from tidr.kernels.voxels import splat_lists as lists
from tidr.scene.camera import Camera, pinhole_parameters
from tidr.scene.graph import Node, Scene
from tidr.scene.voxels import VoxelGrid

from .sorting import capacity
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
        self._found: Found | None = None

    def trace(self, attribute: Array | None = None) -> Sums:
        """Blend all splats; `attribute` [D, H, W, C] is summed where given."""
        alpha, totals = Array((self.pixels, 1)), Array((self.pixels, 2))
        sums = None if attribute is None else Array((self.pixels, attribute.channels))
        shown, channels = (self.grid.values, 0) if attribute is None else (attribute, attribute.channels)
        summed = totals if sums is None else sums
        found = self._find()
        seen = (found.start.ndarray, found.entries.ndarray)
        content = (self.grid.values.value, self.scale, shown.value, channels)

        def forward() -> None:
            kernels.blend(
                self.count, self.height, self.width, self.pixels, self.splats.value, *seen, *content, alpha.value,
                totals.value, summed.value,
            )  # fmt: skip

        def backward() -> None:
            to_opacity, weights = Buffer((found.slots,)), Buffer((found.slots,))
            slots = (found.slot_start.ndarray, to_opacity.ndarray, weights.ndarray)
            places = (found.box.ndarray, found.row_start.ndarray, found.spans.ndarray, slots[0])
            given = (totals.grad, summed.grad)
            for view in range(self.views):
                size = (view, self.count, self.height, self.width, self.splats.value)
                kernels.blend_adjoint(*size, *seen, *content, alpha.grad, *given, places[0], *slots)
                kernels.gather(
                    *size, *places, self.grid.values.value, self.scale, channels, *given, *slots[1:],
                    self.grid.values.grad, shown.grad, self.splats.grad,
                )  # fmt: skip

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
            chunks = split(self.count, runtime.on_cpu())
            part = Buffer((chunks.chunks * self.views * 17,))
            seen = (table.value, box.value, splats.value, splats.grad)
            kernels.project_adjoint(*chunks, self.views, self.count, *seen, part.ndarray)
            accumulate.collect(chunks.chunks, self.views, 17, part.ndarray, table.grad)

        run(Operation(forward, backward, [table], [splats], "project voxels"))
        return splats

    def _find(self) -> Found:
        """What lies over every pixel; on a tape that counts empty voxels, which have gradients."""
        whole = recording()
        if self._found is None or (whole and not self._found.whole):
            with unrecorded():
                self._found = Found(self, whole)
        return self._found


class Found:
    """The lists of `kernels/voxels/splat_lists.py`, of all voxels (`whole`) or of those that are not empty."""

    def __init__(self, frame: Splats, whole: bool) -> None:
        self.whole = whole
        items = frame.views * frame.count
        depth, self.box = Buffer((items,)), Buffer((4 * items,), "int")
        lists.boxes(
            items, frame.count, frame.height, frame.width, frame.splats.value, frame.grid.values.value, int(whole),
            depth.ndarray, self.box.ndarray,
        )  # fmt: skip
        box = self.box.ndarray.to_numpy()[: 4 * items].reshape(items, 4)
        rows = _starts(box[:, 1])
        slots = np.stack([_starts(areas) for areas in (box[:, 1] * box[:, 3]).reshape(frame.views, -1)])
        self.row_start, self.slot_start = _uploaded(rows[:-1]), _uploaded(slots[:, :-1].reshape(-1))
        self.slots, self.spans = capacity(slots[:, -1].max()), Buffer((2 * capacity(rows[-1]),), "int")
        drawn, view_start = _near_to_far(depth.ndarray.to_numpy()[:items], box[:, 1] > 0, frame.views)
        self._fill(frame, drawn, view_start, Buffer((capacity(rows[-1]),), "int"))

    def _fill(self, frame: Splats, drawn: np.ndarray, view_start: np.ndarray, lines: Buffer) -> None:
        """Make spans, lines and entries of the splats `drawn`."""
        views, height, width = frame.shape
        order = _uploaded(drawn, views * frame.count)
        spread = split(int(np.diff(view_start).max()), runtime.on_cpu(), views)
        shape = (spread.chunks, views * height)
        box, row_start, spans = self.box.ndarray, self.row_start.ndarray, self.spans.ndarray
        lists.row_spans(len(drawn), width, frame.splats.value, order.ndarray, box, row_start, spans)
        cursor = Buffer((shape[0] * shape[1],), "int")
        views_at = _uploaded(view_start)
        sorting = (views, height, spread.chunks, spread.size, views_at.ndarray, order.ndarray, box, cursor.ndarray)
        lists.lines(*sorting, lines.ndarray, False)
        starts = _starts(cursor.ndarray.to_numpy()[: shape[0] * shape[1]].reshape(shape).T)
        cursor.ndarray.from_numpy(np.ascontiguousarray(starts[:-1].reshape(shape[::-1]).T).reshape(-1))
        line_start = _uploaded(starts[:: shape[0]])
        lists.lines(*sorting, lines.ndarray, True)
        counts = Buffer((frame.pixels,), "int")
        seen = (views, height, width, line_start.ndarray, lines.ndarray, box, row_start, spans)
        lists.count(*seen, counts.ndarray)
        start = _starts(counts.ndarray.to_numpy()[: frame.pixels])
        self.start, self.entries = _uploaded(start), Buffer((capacity(start[-1]),), "int")
        lists.fill(*seen, self.start.ndarray, counts.ndarray, self.entries.ndarray)


def _starts(counts: np.ndarray) -> np.ndarray:
    """[size + 1] sums of the counts before each, and of all."""
    sums = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts, out=sums[1:])
    if sums[-1] >= 1 << 30:
        mend = "draw fewer views at once, a smaller picture or a coarser grid"
        raise SceneError("renderer.method", f"splats cover {sums[-1]} pixels, the limit is 2^30", mend)
    return sums.astype(np.int32)


def _near_to_far(depth: np.ndarray, shown: np.ndarray, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Splats that are shown, each view's by depth (above 0) and then by number; and where each view's begin."""
    found, count = [], len(depth) // views
    for view in range(views):
        items = np.flatnonzero(shown[view * count : (view + 1) * count]) + view * count
        digits = depth[items].view(np.uint16).reshape(len(items), depth.itemsize // 2)  # numpy sorts 16 bits by radix
        order = np.arange(len(items))
        for place in range(digits.shape[1]) if sys.byteorder == "little" else reversed(range(digits.shape[1])):
            order = order[np.argsort(digits[order, place], kind="stable")]
        found.append(items[order])
    view_start = np.concatenate([[0], np.cumsum([len(items) for items in found])])
    return np.concatenate(found).astype(np.int32), view_start.astype(np.int32)


def _uploaded(array: np.ndarray, size: int = 0) -> Buffer:
    """The numbers on the device, in a buffer of `size` if that is more."""
    buffer = Buffer((max(array.size, size),), "int")
    if array.size:
        buffer.ndarray.from_numpy(np.pad(array, (0, max(size - array.size, 0))))
    return buffer


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

    inputs = [*transforms, *pinhole_parameters(cameras)]
    run(Operation(forward, backward, inputs, [table], "voxel projection"))
    return table
