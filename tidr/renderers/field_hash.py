"""The layer of a `HashField`: rays in chunks of samples, recomputed on the way back."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.field import BLOCK, composite, hash_grid, occupancy, samples
from tidr.kernels.volume import sh
from tidr.scene.field import HARMONICS, HashField
from tidr.scene.graph import Node, Scene

from .field_network import Evaluator, chunks_of, ray_outputs, start_rays
from .volume_layers import Layer

if TYPE_CHECKING:
    from .rays import Rays
    from .volume import VolumeRenderer

RESOLUTION = 32  # of the occupancy grid
CLEAR = 5e-3  # what is passed over is thinner than a fog of this optical depth along the box's diagonal
PIECES = 8  # parts of the samples that one level is encoded in, per thread


def hash_layer(settings: VolumeRenderer, scene: Scene, node: Node, world: Rays, local: Rays) -> Layer:
    """What a `HashField` emits.

    `settings.steps` samples would fit along the box's diagonal; they lie at equal distances from the ray's origin, so
    they move with the ray, but not with the box's faces. Unless `settings.skip` is None, cells of a 32^3 grid are left
    out where neither the density at their centre nor that at their neighbours' exceeds `skip` or, if that is larger,
    what makes an optical depth of 5e-3 along the box's diagonal; the grid is made from the parameters alone.
    """
    field = node.geometry
    assert isinstance(field, HashField)
    scale = abs(np.linalg.det(scene.world_matrices()[node.name][:3, :3])) ** (1 / 3)
    walk = _March(settings, field, local, scale)
    inputs = [field.table, field.weights, local.origins, local.directions]
    run(Operation(walk.forward, walk.backward, inputs, walk.outputs, "hash field"))
    return Layer(*walk.outputs)


class HashEvaluator(Evaluator):
    """Encodes positions and evaluates the network of a hash field; and its occupancy grid."""

    def __init__(self, field: HashField, least: int) -> None:
        super().__init__(field.network, least)
        self.levels = Buffer((field.levels.size,), "int")
        self.levels.ndarray.from_numpy(field.levels.astype(np.int32).reshape(-1))
        self.depth, self.features = len(field.levels), field.features
        self.grid = Buffer((RESOLUTION**3,), "int")
        self._grid_of: tuple | None = None

    def encode(self, field: HashField, total: int) -> None:
        """Rows of the encoding, for the samples' positions, up to the end of the last block."""
        count = -(-total // BLOCK) * BLOCK
        pieces = PIECES * runtime.chunks() if runtime.on_cpu() else count
        hash_grid.encode(
            pieces, count, self.depth, self.network.rows, self.levels.ndarray, self.samples.positions.ndarray,
            field.table.value, self.values.ndarray, self.features,
        )  # fmt: skip

    def encode_adjoint(self, field: HashField, total: int, to_positions: bool, to_table: bool = True) -> None:
        """From `to_inputs`, where they are wanted, add to the table's gradient and fill `to_positions`."""
        kept, positions = self.network.encoded[1], self.samples.positions.ndarray
        if to_table and needs(field.table):
            scatter = hash_grid.table_adjoint if runtime.on_cpu() else hash_grid.table_adjoint_atomic
            scatter(
                total, self.depth, kept, self.levels.ndarray, positions, self.to_inputs.ndarray, field.table.grad,
                self.features,
            )  # fmt: skip
        if to_positions:
            hash_grid.positions_adjoint(
                total, self.depth, kept, self.levels.ndarray, positions, field.table.value, self.to_inputs.ndarray,
                self.to_positions.ndarray, self.features,
            )  # fmt: skip

    def occupied(self, field: HashField, threshold: float) -> Buffer:
        """[RESOLUTION^3] which cells may exceed a density; made again when a parameter has changed."""
        key = (field.table.version, field.weights.version, threshold)
        if self._grid_of != key:
            self._grid_of, self.holds = key, None
            cells, dense = RESOLUTION**3, Buffer((RESOLUTION**3,), "int")
            for first in range(0, cells, self.capacity):
                total = min(self.capacity, cells - first)
                padded = -(-total // BLOCK) * BLOCK
                occupancy.cell_centres(RESOLUTION, first, total, padded, self.samples.positions.ndarray)
                self.encode(field, total)
                self.forward(field.weights, total, self.network.density_layers)
                occupancy.mark_occupied(
                    total, self.network.rows, self.network.density, first, threshold, self.values.ndarray,
                    dense.ndarray, composite.EXPONENTIAL,
                )  # fmt: skip
            occupancy.dilate(RESOLUTION, dense.ndarray, self.grid.ndarray)
        return self.grid


_evaluators: weakref.WeakKeyDictionary[HashField, tuple[int, HashEvaluator]] = weakref.WeakKeyDictionary()


def evaluator_of(field: HashField, least: int = 1) -> HashEvaluator:
    """The field's evaluator, kept as long as the field; with room for at least `least` samples."""
    held = _evaluators.get(field)
    if held is None or held[0] != runtime.generation() or held[1].capacity < least:
        held = (runtime.generation(), HashEvaluator(field, least))
        _evaluators[field] = held
    return held[1]


class _March:
    """One march and its adjoint as an operation on the tape."""

    def __init__(self, settings: VolumeRenderer, field: HashField, rays: Rays, scale: float) -> None:
        self.settings, self.field, self.rays = settings, field, rays
        self.count = rays.count
        self.box = constant([field.lower, field.upper])
        diagonal = float(np.linalg.norm(field.upper - field.lower))
        self.step, self.threshold = diagonal / settings.steps, max(settings.skip or 0.0, CLEAR / (diagonal * scale))
        self.outputs = ray_outputs(self.count)

    def forward(self) -> None:
        with unrecorded():
            self.evaluator = evaluator_of(self.field, self.settings.steps + 2)
            self.resolution = 0
            self.grid = self.evaluator.grid
            if self.settings.skip is not None:
                self.resolution = RESOLUTION
                self.grid = self.evaluator.occupied(self.field, self.threshold)
            counts, rays = Buffer((self.count,), "int"), self.rays
            samples.count_steps(
                self.count, *self._places(), rays.origins.value, rays.directions.value, self.box.value,
                self.grid.ndarray, counts.ndarray,
            )  # fmt: skip
            self.starts = start_rays(self.count, counts)
            self.basis = Array((self.count, HARMONICS))
            sh.harmonics(self.count, HARMONICS, rays.directions.value, self.basis.value)
            for begin, end, total in self._chunks():
                self._evaluate(begin, end, total)
                self._composite(begin, end)

    def backward(self) -> None:
        rays, evaluator = self.rays, self.evaluator
        to_rays = needs(rays.origins) or needs(rays.directions)
        to_gaps = Buffer((self.count,))
        if to_rays:
            self.basis.zero_grad()
        for begin, end, total in reversed(list(self._chunks())):  # the last one may still be there
            if total == 0:
                continue
            if evaluator.holds != (id(self), begin):
                self._evaluate(begin, end, total)
            self._composite_adjoint(begin, end, to_gaps)
            evaluator.backward(self.field.weights, total)
            evaluator.encode_adjoint(self.field, total, to_rays)
            if to_rays:
                composite.rays_adjoint(
                    begin, end, 1, 1, 1.0, self.starts.ndarray, evaluator.samples.times.ndarray,
                    evaluator.to_positions.ndarray, to_gaps.ndarray, self.box.value, rays.directions.value,
                    rays.origins.grad, rays.directions.grad,
                )  # fmt: skip
                first, kept = evaluator.network.directions, evaluator.network.encoded[1]
                samples.gather(
                    begin, end, HARMONICS, first, kept, self.starts.ndarray, 1, evaluator.to_inputs.ndarray,
                    self.basis.grad,
                )  # fmt: skip
        if to_rays:
            sh.harmonics_adjoint(
                self.count, HARMONICS, rays.directions.value, self.basis.grad, rays.directions.grad
            )  # fmt: skip

    def _chunks(self):
        return chunks_of(self.starts, self.count, self.evaluator.capacity)

    def _places(self) -> tuple:
        settings = self.settings
        return self.step, settings.steps + 2, int(settings.jitter), settings.seed, self.resolution

    def _evaluate(self, begin: int, end: int, total: int) -> None:
        """List the samples of some rays and evaluate the network there."""
        evaluator, rays = self.evaluator, self.rays
        evaluator.holds = (id(self), begin)
        if total == 0:
            return
        padded = -(-total // BLOCK) * BLOCK
        lists = evaluator.samples
        samples.list_steps(
            begin, end, *self._places(), 1.0, 0.0, rays.origins.value, rays.directions.value, self.box.value,
            self.grid.ndarray, self.starts.ndarray, *lists.arrays(),
        )  # fmt: skip
        samples.pad(begin, total, padded, lists.owner.ndarray, lists.widths.ndarray, lists.positions.ndarray)
        evaluator.encode(self.field, total)
        samples.spread(
            padded, HARMONICS, evaluator.network.directions, evaluator.network.rows, lists.owner.ndarray,
            self.basis.value, evaluator.values.ndarray,
        )  # fmt: skip
        evaluator.forward(self.field.weights, total)

    def _composite(self, begin: int, end: int) -> None:
        network, lists = self.evaluator.network, self.evaluator.samples
        composite.composite(
            begin, end, 1, network.rows, network.density, self.settings.stop, self.starts.ndarray,
            lists.times.ndarray, lists.widths.ndarray, self.evaluator.values.ndarray, *(o.value for o in self.outputs),
            lists.weights.ndarray, composite.EXPONENTIAL,
        )  # fmt: skip

    def _composite_adjoint(self, begin: int, end: int, to_gaps: Buffer) -> None:
        network, lists = self.evaluator.network, self.evaluator.samples
        composite.composite_adjoint(
            begin, end, 1, network.rows, network.density, self.settings.stop, self.starts.ndarray,
            lists.times.ndarray, lists.widths.ndarray, self.evaluator.values.ndarray, *(o.value for o in self.outputs),
            *(o.grad for o in self.outputs), self.evaluator.to_outputs.ndarray, to_gaps.ndarray, composite.EXPONENTIAL,
        )  # fmt: skip
