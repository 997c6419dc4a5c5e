"""The layer of a `FrequencyField`: a coarse network tells where on the rays a fine one is looked up."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.field import BLOCK, composite, frequency, samples
from tidr.parameter import Parameter
from tidr.scene.field import FrequencyField
from tidr.scene.graph import Node, Scene

from .field_network import Evaluator, chunks_of, ray_outputs, start_rays
from .volume_layers import Layer

if TYPE_CHECKING:
    from .rays import Rays
    from .volume import VolumeRenderer

SCALE, OFFSET = 2.0, -1.0  # from [0, 1] across the box to the encoding's [-1, 1]


def frequency_layer(settings: VolumeRenderer, scene: Scene, node: Node, world: Rays, local: Rays) -> Layer:
    """What a `FrequencyField` emits; its `coarse` layer is what the coarse network sees.

    A ray's way through the box has `settings.steps` strata with one coarse sample each; `fine_samples` more are drawn
    from the coarse weights + 1e-5, piecewise constant. Where samples lie is held fixed in every derivative, as in the
    paper; so the derivative with respect to the rays lacks what the ends of their way through the box contribute.
    """
    field = node.geometry
    assert isinstance(field, FrequencyField)
    walk = _March(settings, field, local)
    inputs = [field.coarse, field.fine, local.origins, local.directions]
    run(Operation(walk.forward, walk.backward, inputs, [*walk.fine, *walk.coarse], "frequency field"))
    return Layer(*walk.fine, coarse=Layer(*walk.coarse))


class _Evaluators:
    """The two networks' rooms, for chunks of rays that both can hold."""

    def __init__(self, field: FrequencyField, steps: int) -> None:
        self.coarse = Evaluator(field.network, steps)
        self.fine = Evaluator(field.network, steps + field.fine_samples)
        self.places = Buffer((self.fine.capacity,))


_evaluators: weakref.WeakKeyDictionary[FrequencyField, tuple[int, _Evaluators]] = weakref.WeakKeyDictionary()


def evaluators_of(field: FrequencyField, steps: int) -> _Evaluators:
    held = _evaluators.get(field)
    least = steps + field.fine_samples
    if held is None or held[0] != runtime.generation() or held[1].fine.capacity < least:
        held = (runtime.generation(), _Evaluators(field, steps))
        _evaluators[field] = held
    return held[1]


class _March:
    """One march with both networks, and its adjoint, as an operation on the tape."""

    def __init__(self, settings: VolumeRenderer, field: FrequencyField, rays: Rays) -> None:
        self.settings, self.field, self.rays = settings, field, rays
        self.count, self.steps = rays.count, settings.steps
        self.share = settings.steps + field.fine_samples
        self.box = constant([field.lower, field.upper])
        self.fine, self.coarse = ray_outputs(self.count), ray_outputs(self.count)

    def forward(self) -> None:
        field, rays = self.field, self.rays
        with unrecorded():
            self.rooms = evaluators_of(field, self.steps)
            counts = Buffer((self.count,), "int")
            samples.count_hits(
                self.count, rays.origins.value, rays.directions.value, self.box.value, counts.ndarray
            )  # fmt: skip
            self.starts = start_rays(self.count, counts)
            self.basis = Array((self.count, 3 + 6 * field.direction_octaves))
            frequency.encode_directions(
                self.count, field.direction_octaves, rays.directions.value, self.basis.value
            )  # fmt: skip
            for begin, end, hits in self._chunks():
                self._evaluate_coarse(begin, end, hits)
                self._composite(self.rooms.coarse, begin, end, self.steps, self.coarse)
                self._evaluate_fine(begin, end, hits)
                self._composite(self.rooms.fine, begin, end, self.share, self.fine)

    def backward(self) -> None:
        rays, rooms, field = self.rays, self.rooms, self.field
        to_rays = needs(rays.origins) or needs(rays.directions)
        if to_rays:
            self.basis.zero_grad()
        for begin, end, hits in reversed(list(self._chunks())):  # the last one may still be there
            if hits == 0:
                continue
            if rooms.fine.holds != (id(self), begin):
                self._evaluate_coarse(begin, end, hits)
                self._composite(rooms.coarse, begin, end, self.steps, self.coarse)
                self._evaluate_fine(begin, end, hits)
            if needs(field.coarse) or to_rays:
                self._back(rooms.coarse, field.coarse, begin, end, hits, self.steps, self.coarse, to_rays)
            self._back(rooms.fine, field.fine, begin, end, hits, self.share, self.fine, to_rays)
        if to_rays:
            frequency.encode_directions_adjoint(
                self.count, field.direction_octaves, rays.directions.value, self.basis.value, self.basis.grad,
                rays.directions.grad,
            )  # fmt: skip

    def _chunks(self) -> Iterator[tuple[int, int, int]]:
        """First ray, ray after the last, and how many of them meet the box."""
        for begin, end, total in chunks_of(self.starts, self.count, self.rooms.fine.capacity, self.share):
            yield begin, end, total // self.share

    def _seen(self) -> tuple:
        return self.rays.origins.value, self.rays.directions.value, self.box.value, self.starts.ndarray

    def _evaluate_coarse(self, begin: int, end: int, hits: int) -> None:
        settings, room = self.settings, self.rooms.coarse
        samples.list_strata(
            begin, end, self.steps, int(settings.jitter), settings.seed, SCALE, OFFSET, *self._seen(),
            *room.samples.arrays(),
        )  # fmt: skip
        self._evaluate(room, self.field.coarse, begin, hits * self.steps)

    def _evaluate_fine(self, begin: int, end: int, hits: int) -> None:
        settings, extra = self.settings, self.field.fine_samples
        coarse, room = self.rooms.coarse.samples, self.rooms.fine
        samples.refine(
            begin, end, self.steps, extra, int(settings.jitter), settings.seed, self.starts.ndarray,
            coarse.weights.ndarray, self.rooms.places.ndarray,
        )  # fmt: skip
        samples.list_fine(
            begin, end, self.steps, extra, SCALE, OFFSET, *self._seen(), coarse.times.ndarray,
            self.rooms.places.ndarray, *room.samples.arrays(),
        )  # fmt: skip
        self._evaluate(room, self.field.fine, begin, hits * self.share)
        room.holds = (id(self), begin)

    def _evaluate(self, room: Evaluator, weights: Parameter, begin: int, total: int) -> None:
        """Encode the listed samples and evaluate the network there."""
        if total == 0:
            return
        field, network, lists = self.field, room.network, room.samples
        padded = -(-total // BLOCK) * BLOCK
        samples.pad(begin, total, padded, lists.owner.ndarray, lists.widths.ndarray, lists.positions.ndarray)
        frequency.encode(
            padded, field.octaves, network.encoded[0], network.rows, lists.positions.ndarray, room.values.ndarray
        )  # fmt: skip
        samples.spread(
            padded, self.basis.channels, network.directions, network.rows, lists.owner.ndarray, self.basis.value,
            room.values.ndarray,
        )  # fmt: skip
        room.forward(weights, total)

    def _composite(self, room: Evaluator, begin: int, end: int, share: int, outputs: tuple[Array, ...]) -> None:
        network, lists = room.network, room.samples
        composite.composite(
            begin, end, share, network.rows, network.density, self.settings.stop, self.starts.ndarray,
            lists.times.ndarray, lists.widths.ndarray, room.values.ndarray, *(o.value for o in outputs),
            lists.weights.ndarray, composite.SOFTPLUS,
        )  # fmt: skip

    def _back(
        self, room: Evaluator, weights: Parameter, begin: int, end: int, hits: int, share: int,
        outputs: tuple[Array, ...], to_rays: bool,
    ) -> None:  # fmt: skip
        network, lists, starts, total = room.network, room.samples, self.starts.ndarray, hits * share
        to_gaps = Buffer((self.count,))
        composite.composite_adjoint(
            begin, end, share, network.rows, network.density, self.settings.stop, starts, lists.times.ndarray,
            lists.widths.ndarray, room.values.ndarray, *(o.value for o in outputs), *(o.grad for o in outputs),
            room.to_outputs.ndarray, to_gaps.ndarray, composite.SOFTPLUS,
        )  # fmt: skip
        room.backward(weights, total)
        if to_rays:
            first, kept = network.encoded
            frequency.encode_adjoint(
                total, self.field.octaves, first, network.rows, kept, 0, room.values.ndarray, room.to_inputs.ndarray,
                room.to_positions.ndarray,
            )  # fmt: skip
            composite.rays_adjoint(
                begin, end, share, 0, SCALE, starts, lists.times.ndarray, room.to_positions.ndarray, to_gaps.ndarray,
                self.box.value, self.rays.directions.value, self.rays.origins.grad, self.rays.directions.grad,
            )  # fmt: skip
            samples.gather(
                begin, end, self.basis.channels, network.directions - first, kept, starts, share,
                room.to_inputs.ndarray, self.basis.grad,
            )  # fmt: skip
