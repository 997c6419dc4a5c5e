"""The layer of a `Volume` with its own radiance: one march through its packed grid."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.volume import compose, march, normals, sh
from tidr.kernels.volume import march_adjoint as adjoint
from tidr.parameter import Parameter
from tidr.scene.graph import Node, Scene
from tidr.scene.volume import ACTIVATIONS, Volume

from .volume_layers import Layer

if TYPE_CHECKING:
    from .rays import Rays
    from .volume import VolumeRenderer

LARGEST_HALF, LARGEST = 65504.0, 3.4e38  # of 16 and of 32 bits


def grid_layer(settings: VolumeRenderer, scene: Scene, node: Node, world: Rays, local: Rays) -> Layer:
    """What a `Volume` emits; see `VolumeRenderer`."""
    volume = node.geometry
    assert isinstance(volume, Volume)
    walk = _March(settings, volume, local)
    inputs = [volume.density, *([] if walk.radiance is None else [walk.radiance]), local.origins, local.directions]
    run(Operation(walk.forward, walk.backward, inputs, walk.outputs, "march"))
    rgb = walk.rgb if walk.radiance is not None else _tinted(walk.alpha, volume.color)
    to_object = np.linalg.inv(scene.world_matrices()[node.name])[:3, :3]
    return Layer(rgb, walk.alpha, walk.distance, normal=lambda: walk.normals(to_object))


def packed_cells(volume: Volume, radiance: Parameter | None, terms: int, half: bool) -> Buffer:
    """The density, and beside it what has `terms` vectors a cell, as kernels look them up: flat, cell by cell."""
    depth, height, width = volume.shape
    lines, kind, largest = (depth * height, width), "half" if half else "real", LARGEST_HALF if half else LARGEST
    if radiance is None:
        cells = Buffer((lines[0] * width,), kind)
        march.pack_density(*lines, largest, volume.density.value, cells.ndarray)
    else:
        cells = Buffer((lines[0] * width * terms,), kind, vector=4)
        march.pack_color(*lines, terms, largest, volume.density.value, radiance.value, cells.ndarray)
    return cells


class Packed:
    """A volume's grids as the march reads them, and the occupancy of its blocks."""

    def __init__(self, volume: Volume, radiance: Parameter | None, half: bool) -> None:
        depth, height, width = self.shape = volume.shape
        count = depth * height * width
        self.activation = ACTIVATIONS.index(volume.density_activation)
        self.shift = volume.density_shift
        self.kind, self.terms = march.DENSITY, 1
        if radiance is not None:
            self.kind = march.HARMONICS if radiance is volume.sh else march.COLOR
            self.terms = radiance.rows // count
        self.cells = packed_cells(volume, radiance, self.terms, half)
        edge = march.BLOCK
        self.block_count = -(-depth // edge) * -(-height // edge) * -(-width // edge)
        self._density = volume.density.value
        self.no_blocks = Buffer((1,))
        self._blocks: Buffer | None = None
        self._empty: dict[float, int] = {}

    def blocks(self, threshold: float | None) -> Buffer | None:
        """Highest density per block; None when no block lies at or below the threshold."""
        if threshold is None or (threshold == 0 and self.activation == march.SOFTPLUS):
            return None
        if self._blocks is None:
            depth, height, width = self.shape
            self._blocks = Buffer((self.block_count,))
            march.block_densities(
                width, height, depth, self._density, self.shift, self._blocks.ndarray, self.activation
            )
        if threshold not in self._empty:
            self._empty[threshold] = march.count_empty(self._blocks.ndarray, self.block_count, threshold)
        return self._blocks if self._empty[threshold] else None


_packed: weakref.WeakKeyDictionary[Volume, tuple[tuple[int, ...], Packed]] = weakref.WeakKeyDictionary()


def packed_grid(volume: Volume, radiance: Parameter | None, half: bool = False) -> Packed:
    """The volume's packed grids, made again when a parameter has changed."""
    key = (runtime.generation(), volume.density.version, -1 if radiance is None else radiance.version, half)
    held = _packed.get(volume)
    if held is None or held[0] != key:
        held = None
        _packed.pop(volume, None)
        with unrecorded():
            _packed[volume] = (key, Packed(volume, radiance, half))
    return _packed[volume][1]


@dataclass
class _March:
    """One march and its adjoint as an operation on the tape."""

    settings: VolumeRenderer
    volume: Volume
    rays: Rays

    def __post_init__(self) -> None:
        volume, count = self.volume, self.rays.count
        per_cell = volume.color is not None and len(volume.color.shape) > 1
        self.radiance = volume.sh if volume.sh is not None else volume.color if per_cell else None
        self.alpha, self.distance = Array((count, 1)), Array((count, 1))
        self.rgb = Array((count, 3)) if self.radiance is not None else self.alpha
        self.outputs = [self.alpha, self.distance] + ([self.rgb] if self.radiance is not None else [])
        self.box = constant([volume.lower, volume.upper, volume.shape[::-1] / (volume.upper - volume.lower)])

    def forward(self) -> None:
        rays, settings = self.rays, self.settings
        self.packed = packed = packed_grid(self.volume, self.radiance, settings.half)
        self.blocks = packed.blocks(settings.skip)
        self.basis = Array((rays.count, packed.terms)) if packed.kind == march.HARMONICS else self.alpha
        if packed.kind == march.HARMONICS:
            sh.harmonics(rays.count, packed.terms, rays.directions.value, self.basis.value)
        march.march(
            rays.count, settings.steps, int(settings.jitter), settings.seed, settings.stop, *self._grid(),
            *self._look_up(), self.rgb.value, self.alpha.value, self.distance.value, packed.kind, packed.activation,
            self.blocks is not None,
        )  # fmt: skip

    def backward(self) -> None:
        """Cells that are skipped have no gradient under "relu"; without activation they have, so nothing is skipped."""
        rays, packed = self.rays, self.packed
        radiance = self.radiance
        to_density, to_radiance = needs(self.volume.density), radiance is not None and needs(radiance)
        to_rays = needs(rays.origins) or needs(rays.directions)
        harmonic = packed.kind == march.HARMONICS
        if to_rays and harmonic:
            self.basis.zero_grad()
        part = packed.cells
        chunks = runtime.chunks()
        if to_density or to_radiance:
            part = Buffer((chunks * packed.cells.ndarray.shape[0],), vector=4 if radiance is not None else 0)
            part.ndarray.fill(0.0)
        (self._walk if runtime.on_cpu() else self._step)(part, to_density or to_radiance, to_rays)
        depth, height, width = self.volume.shape
        if radiance is not None and (to_density or to_radiance):
            adjoint.unpack_color(
                chunks, depth * height, width, packed.terms, part.ndarray, self.volume.density.grad, radiance.grad,
                to_density, to_radiance,
            )  # fmt: skip
        elif to_density:
            adjoint.unpack_density(chunks, depth * height, width, part.ndarray, self.volume.density.grad)
        if to_rays and harmonic:
            sh.harmonics_adjoint(
                rays.count, packed.terms, rays.directions.value, self.basis.grad, rays.directions.grad
            )  # fmt: skip

    def normals(self, to_object: np.ndarray) -> Array:
        """Weighted unit normals [n, 3] in the world, a constant to the tape."""
        rays, settings, packed = self.rays, self.settings, self.packed
        out = Array((rays.count, 3), needs_grad=False)
        with unrecorded():
            normals.march_normals(
                rays.count, settings.steps, int(settings.jitter), settings.seed, settings.stop, *self._grid(),
                packed.cells.ndarray, packed.terms, constant(to_object).value, out.value, packed.kind,
                packed.activation,
            )  # fmt: skip
        return out

    def _walk(self, part: Buffer, to_cells: bool, to_rays: bool) -> None:
        rays, settings = self.rays, self.settings
        adjoint.march_adjoint(
            runtime.chunks(), 0.0, rays.count, settings.steps, int(settings.jitter), settings.seed, settings.stop,
            *self._grid(), *self._look_up(), self.rgb.value, self.alpha.value, self.distance.value, self.rgb.grad,
            self.alpha.grad, self.distance.grad, part.ndarray, self.basis.grad, rays.origins.grad,
            rays.directions.grad, self.packed.kind, self.packed.activation, self._skips_back(), to_cells, to_rays,
        )  # fmt: skip

    def _step(self, part: Buffer, to_cells: bool, to_rays: bool) -> None:
        rays, settings, packed = self.rays, self.settings, self.packed
        state, sample = Buffer((rays.count, 2)), Buffer((rays.count, 4))
        box, width, height, depth, _shift, origins, directions = self._grid()
        adjoint.begin_steps(
            rays.count, self.rgb.value, self.distance.value, self.rgb.grad, self.distance.grad, state.ndarray,
            packed.kind,
        )  # fmt: skip
        for k in range(settings.steps):
            sampling = (k, rays.count, settings.steps, int(settings.jitter), settings.seed)
            adjoint.step_adjoint(
                *sampling, settings.stop, *self._grid(), *self._look_up(), self.alpha.value, self.rgb.grad,
                self.alpha.grad, self.distance.grad, state.ndarray, sample.ndarray, self.basis.grad, rays.origins.grad,
                rays.directions.grad, packed.kind, packed.activation, self._skips_back(), to_rays,
            )  # fmt: skip
            if to_cells:
                adjoint.scatter_step(
                    *sampling, box, width, height, depth, origins, directions, packed.terms, self.basis.value,
                    sample.ndarray, part.ndarray, packed.kind,
                )  # fmt: skip

    def _skips_back(self) -> bool:
        exact = self.packed.activation == march.RELU or bool(self.settings.skip)
        return self.blocks is not None and exact

    def _grid(self) -> tuple:
        depth, height, width = self.volume.shape
        return (
            self.box.value, width, height, depth, self.packed.shift, self.rays.origins.value,
            self.rays.directions.value,
        )  # fmt: skip

    def _look_up(self) -> tuple:
        packed = self.packed
        blocks = self.blocks or packed.no_blocks
        return packed.cells.ndarray, packed.terms, self.basis.value, blocks.ndarray, self.settings.skip or 0.0


def _tinted(alpha: Array, color: Parameter | None) -> Array:
    """alpha times one color: a volume that emits the same everywhere."""
    assert color is not None
    count = alpha.rows
    rgb = Array((count, 3))

    def forward() -> None:
        compose.tint(count, alpha.value, color.value, rgb.value)

    def backward() -> None:
        if needs(alpha):
            compose.tint_adjoint(count, color.value, rgb.grad, alpha.grad)
        if needs(color):
            chunks = runtime.reduction_chunks()
            part = Buffer((chunks * 3,))
            compose.tint_color_adjoint(chunks, count, alpha.value, rgb.grad, part.ndarray, runtime.chunk_block())
            accumulate.collect(chunks, 1, 3, part.ndarray, color.grad)

    run(Operation(forward, backward, [alpha, color], [rgb], "tint"))
    return rgb
