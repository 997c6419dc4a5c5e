"""One walk of rays through a voxel grid: weights of samples by the method, sums along each ray, and the way back.

Rays are taken in chunks, and a chunk's samples live in scratch memory of fixed size; the way back makes them again. So
memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.voxels import layout, lookup, neural_volumes, ptn, termination, visual_hull
from tidr.scene.voxels import VoxelGrid

from .rays import Rays
from .voxels_warp import warp_positions

CPU_SAMPLES, GPU_SAMPLES = 1 << 17, 1 << 21  # in one chunk
LEAST = 1e-5  # absorption's published clamp


@dataclass(frozen=True)
class Method:
    """How samples are laid out and weighed.

    weights(first, lanes, steps, counts, values, *constants, weights, alpha), constants of (scale, inclusive); adjoint
    likewise. normalise: colours are averaged by weight and then weigh alpha.
    """

    kind: int | None  # a regular layout, or None: the cells that a ray crosses
    weights: Callable[..., None]
    adjoint: Callable[..., None]
    constants: Callable[[float, bool], tuple]
    scale: float = 1.0
    normalise: bool = False


METHODS = {
    "ptn": Method(layout.INTERVAL, ptn.weights, ptn.weights_adjoint, lambda scale, inclusive: ()),
    "drc": Method(
        None, termination.weights, termination.weights_adjoint, lambda scale, inclusive: (scale, 0.0, False)
    ),
    "visual_hull": Method(
        layout.CENTRE, visual_hull.weights, visual_hull.weights_adjoint, lambda scale, inclusive: (scale,),
        normalise=True,
    ),
    "absorption": Method(
        layout.CENTRE, termination.weights, termination.weights_adjoint,
        lambda scale, inclusive: (scale, LEAST, False), normalise=True,
    ),
    "emission_absorption": Method(
        layout.CENTRE, termination.weights, termination.weights_adjoint,
        lambda scale, inclusive: (scale, 0.0, inclusive), scale=100 / 1024, normalise=True,
    ),
    "neural_volumes": Method(
        layout.ENTRY, neural_volumes.weights, neural_volumes.weights_adjoint, lambda scale, inclusive: (scale,)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Sums:
    """What a walk found: alpha [n, 1], totals [n, 2] (sums of weights, and of weights times t), sums [n, C] or None."""

    alpha: Array
    totals: Array
    sums: Array | None


class March:
    """Rays in the object space of a grid, and where along them its samples lie.

    settings: a VoxelRenderer (samples, density_scale, inclusive, jitter, seed).
    """

    def __init__(self, settings: Any, grid: VoxelGrid, rays: Rays) -> None:
        self.method, self.grid, self.rays = METHODS[settings.method], grid, rays
        self.normalise = self.method.normalise
        self.kind, self.nearest = self.method.kind, self.method.kind is None
        if self.nearest and grid.warp is not None:
            raise SceneError("voxels.warp", "cells crossed one by one are not warped", "choose another method, no warp")
        extent = grid.upper - grid.lower
        size = grid.shape[::-1]
        positions = warp_positions(grid)
        warp_size = (1, 1, 1) if positions is None else positions.shape[2::-1]
        self.box = constant([grid.lower, grid.upper, size, warp_size])
        samples = settings.samples or (128 if self.kind == layout.ENTRY else max(size))
        self.spacing = float(extent.max()) / samples
        self.scale = self.method.scale if settings.density_scale is None else float(settings.density_scale)
        self.jitter, self.seed = int(settings.jitter), settings.seed
        if self.kind == layout.ENTRY:
            if settings.jitter:
                self.spacing *= float(np.exp(0.01 * np.random.default_rng(settings.seed).normal()))
            self.scale *= self.spacing
        self.constants = self.method.constants(self.scale, settings.inclusive)
        self.steps = self._steps(samples, float(np.linalg.norm(extent)), sum(size))
        budget = CPU_SAMPLES if runtime.on_cpu() else GPU_SAMPLES
        self.lanes = max(min(budget // self.steps, rays.count), 1)
        self.warp, self.warped = positions or grid.values, positions is not None

    def trace(self, attribute: Array | None = None) -> Sums:
        """Walk all rays; `attribute` [D, H, W, C] is summed where given."""
        n = self.rays.count
        alpha, totals = Array((n, 1)), Array((n, 2))
        sums = None if attribute is None else Array((n, attribute.channels))
        found = Sums(alpha, totals, sums)

        def forward() -> None:
            scratch = Scratch(self, "t", "values", "weights")
            for first, lanes in self.chunks():
                self.place(scratch, first, lanes)
                self.weigh(scratch, first, lanes, alpha)
                lookup.sum_totals(first, lanes, self.steps, scratch.t, scratch.counts, scratch.weights, totals.value)
                if attribute is not None and sums is not None:
                    lookup.sum_attribute(
                        *self.common(scratch, first, lanes), scratch.weights, attribute.value, attribute.channels,
                        self.warp.value, self.nearest, self.warped, sums.value,
                    )  # fmt: skip

        inputs = [self.grid.values, self.rays.origins, self.rays.directions]
        inputs += [array for array in (attribute, self.warp) if array is not None]
        outputs = [array for array in (alpha, totals, sums) if array is not None]
        run(Operation(forward, lambda: self._back(found, attribute), inputs, outputs, "voxels"))
        return found

    def chunks(self) -> list[tuple[int, int]]:
        """(first ray, number of rays) of each chunk."""
        count = self.rays.count
        return [(first, min(self.lanes, count - first)) for first in range(0, count, self.lanes)]

    def common(self, scratch: Scratch, first: int, lanes: int) -> tuple:
        """The arguments that begin most look-ups."""
        rays = (self.rays.origins.value, self.rays.directions.value, self.box.value)
        return (first, lanes, self.steps, *rays, scratch.t, scratch.rows, scratch.counts)

    def place(self, scratch: Scratch, first: int, lanes: int) -> None:
        """Fill t, rows and counts of a chunk."""
        head = (first, lanes, self.steps, self.rays.origins.value, self.rays.directions.value, self.box.value)
        if self.kind is None:
            layout.cells(*head, scratch.t, scratch.rows, scratch.counts)
        else:
            layout.regular(*head, self.kind, self.spacing, self.jitter, self.seed, scratch.t, scratch.counts)

    def weigh(self, scratch: Scratch, first: int, lanes: int, alpha: Array) -> None:
        """Fill values and weights of a chunk, and the alpha of its rays."""
        values = self.grid.values.value
        lookup.read(
            *self.common(scratch, first, lanes), values, self.warp.value, self.nearest, self.warped, scratch.values
        )
        self.method.weights(
            first, lanes, self.steps, scratch.counts, scratch.values, *self.constants, scratch.weights, alpha.value
        )

    def back_to_values(self, scratch: Scratch, first: int, lanes: int, grad_alpha) -> None:
        """Fill grad_values of a chunk from grad_weights and the gradient of alpha."""
        self.method.adjoint(
            first, lanes, self.steps, scratch.counts, scratch.values, *self.constants, scratch.grad_weights,
            grad_alpha, scratch.grad_values,
        )  # fmt: skip

    def back_to_rays(self, scratch: Scratch, first: int, lanes: int) -> None:
        """Add what grad_t of a chunk gives to the rays."""
        rays = self.rays
        head = (first, lanes, self.steps, rays.origins.value, rays.directions.value, self.box.value)
        ends = (scratch.counts, scratch.grad_t, rays.origins.grad, rays.directions.grad)
        if self.kind is None:
            layout.cells_adjoint(*head, *ends)
        else:
            layout.regular_adjoint(*head, self.kind, scratch.t, *ends)

    def _steps(self, samples: int, diagonal: float, cells: int) -> int:
        """The most samples that a ray can have."""
        if self.kind is None:
            return cells + 1
        if self.kind == layout.INTERVAL:
            return samples
        most = int(np.ceil(diagonal / self.spacing)) + 1
        if self.kind == layout.CENTRE:  # as many before the centre as in slices of the box: on the slices' middles
            most += (most - samples) % 2
        return most

    def _back(self, found: Sums, attribute: Array | None) -> None:
        grid, rays = self.grid, self.rays
        to_rays = needs(rays.origins) or needs(rays.directions)
        to_warp = self.warped and needs(self.warp)
        scratch = Scratch(self, "t", "values", "weights", "grad_weights", "grad_values")
        if (to_rays or to_warp) and not self.nearest:
            scratch.add("grad_read", 3 if self.warped else 1)
        if to_rays or to_warp:
            scratch.add("grad_t")
        wanted = [
            (grid.values, lookup.VALUES, "grad_values"),
            (attribute, lookup.ATTRIBUTE, "weights"),
            (self.warp if self.warped else None, lookup.WARP, "grad_read"),
        ]
        parts = [(GridGradient(array), *how) for array, *how in wanted if array is not None and needs(array)]
        shown, channels = (attribute, attribute.channels) if attribute is not None else (grid.values, 0)
        grad_sums = found.totals.grad if found.sums is None else found.sums.grad
        warp = (self.warp.value, self.nearest, self.warped)
        spare = Array((rays.count, 1), needs_grad=False)
        for first, lanes in self.chunks():
            self.place(scratch, first, lanes)
            self.weigh(scratch, first, lanes, spare)
            common = self.common(scratch, first, lanes)
            if needs(grid.values) or to_rays or to_warp:
                lookup.weight_gradients(
                    *common, shown.value, channels, *warp, found.totals.grad, grad_sums, scratch.grad_weights
                )
                self.back_to_values(scratch, first, lanes, found.alpha.grad)
            if self.nearest and to_rays:
                lookup.time_adjoint(
                    first, lanes, self.steps, scratch.counts, scratch.weights, found.totals.grad, scratch.grad_t
                )
            elif to_rays or to_warp:
                lookup.position_adjoint(
                    *common[:7], scratch.counts, grid.values.value, shown.value, channels, self.warp.value, self.warped,
                    scratch.weights, scratch.grad_values, found.totals.grad, grad_sums, scratch.grad_t,
                    scratch.grad_read, rays.origins.grad, rays.directions.grad,
                )  # fmt: skip
            if to_rays:
                self.back_to_rays(scratch, first, lanes)
            for part, what, column in parts:
                arguments = (what, *common, getattr(scratch, column), grad_sums, *warp)
                part.add(lookup.scatter_private, lookup.scatter_atomic, *arguments)
        for part, *_ in parts:
            part.collect()


class Scratch:
    """Memory for the samples of one chunk: the named columns, and t's companions rows and counts."""

    def __init__(self, march: March, *columns: str) -> None:
        self._size = march.lanes * march.steps
        self._buffers: dict[str, Buffer] = {}
        self._buffers["rows"] = Buffer((self._size if march.nearest else 1,), "int")
        self._buffers["counts"] = Buffer((march.lanes,), "int")
        for column in columns:
            self.add(column)

    def add(self, column: str, channels: int = 1) -> None:
        self._buffers[column] = Buffer((self._size * channels,))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._buffers:
            raise AttributeError(name)
        return self._buffers[name].ndarray


class GridGradient:
    """The gradient of a grid that samples add to: in private parts on a CPU, by atomics elsewhere."""

    def __init__(self, array: Array) -> None:
        self._array, self._part = array, Buffer((runtime.chunks() * array.rows * array.channels,))
        self._part.ndarray.fill(0.0)

    def add(self, private: Callable[..., None], atomic: Callable[..., None], *arguments) -> None:
        """Launch private(chunks, rows, channels, ...) or atomic(channels, ...), each ending in the accumulator."""
        if runtime.on_cpu():
            private(runtime.chunks(), self._array.rows, self._array.channels, *arguments, self._part.ndarray)
        else:
            atomic(self._array.channels, *arguments, self._part.ndarray)

    def collect(self) -> None:
        """Add what was gathered to the array's gradient."""
        array = self._array
        accumulate.collect(runtime.chunks(), array.rows, array.channels, self._part.ndarray, array.grad)
