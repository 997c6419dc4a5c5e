"""A field's network as a function of the position, for level sets: search, and derivatives at what was found."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np

from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.extract import surface_density
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.field import BLOCK, frequency, samples
from tidr.kernels.implicit import level_set, lowest
from tidr.kernels.implicit import network as kernels
from tidr.kernels.volume import sh
from tidr.parameter import Parameter
from tidr.scene.field import HARMONICS, FrequencyField, HashField

from .field_frequency import OFFSET, SCALE, evaluators_of
from .field_hash import evaluator_of
from .field_network import Evaluator, chunks_of, start_rays
from .implicit_field import Hits, RayPlaces
from .rays import Rays

TURNS = 24  # of the search between two samples, as for grids
NORMAL_STEP = 1 / 512  # of the box's diagonal, of central differences


class NetworkField(ABC):
    """f = number - x, negative inside: x is what a field's network says of density before its activation, and `number`
    the x at which the density is `level` (see `surface_density` for None).

    Points are in object space. The network is evaluated in chunks of samples and again on the way back, so that memory
    does not grow with the rays.

    Raises:
        SceneError: a level that is no density above 0.
    """

    sign = 1.0  # `gradients` are those of f
    scale, offset = 1.0, 0.0  # from [0, 1] across the box to what the encoding takes

    def __init__(self, field: HashField | FrequencyField, level: float | None, parameters: list[Parameter]) -> None:
        density = surface_density(field.lower, field.upper) if level is None else level
        if not 0 < density < np.inf:
            raise SceneError("renderer.level", f"is {level}", "give a density above 0")
        self.number = self.number_of(density)
        self.parameters, self.weights, self.network = parameters, parameters[-1], field.network
        self.box = constant([field.lower, field.upper])
        self.diagonal = float(np.linalg.norm(field.upper - field.lower))

    @abstractmethod
    def number_of(self, density: float) -> float:
        """The number that is activated to a density."""

    @abstractmethod
    def room(self, least: int = 1) -> Evaluator:
        """The field's evaluator, with room for `least` samples."""

    @abstractmethod
    def encode(self, total: int) -> None:
        """Fill the encoded rows from the positions, up to the end of the last block."""

    @abstractmethod
    def encode_adjoint(self, total: int, to_positions: bool, to_parameters: bool) -> None:
        """From the room's `to_inputs` fill its `to_positions`, and add to the encoding's parameters, where wanted."""

    @abstractmethod
    def directions(self, rays: Rays) -> tuple[Array, Callable[[], None]]:
        """[rays, k] encoded directions, and what takes their gradient to the rays."""

    def find_hits(self, rays: Rays, search: str | None, steps: int) -> Hits:
        """First change from outside to inside along object-space rays; call it inside `unrecorded`.

        The rays are looked at where `steps` samples would fit along the box's diagonal.
        """
        if search == "sphere":
            raise SceneError("renderer.search", "is 'sphere', but a field holds no distances", 'take "uniform"')
        bracket, hit, found = Buffer((rays.count * kernels.SLOTS,)), Buffer((rays.count,), "int"), Buffer((rays.count,))
        for begin, end, starts, room in self._along(rays, steps):
            kernels.first_change(
                begin, end, *self._row, starts.ndarray, room.samples.times.ndarray, room.values.ndarray,
                bracket.ndarray, hit.ndarray,
            )  # fmt: skip
        hits = Hits(rays, found, hit)
        for _ in range(TURNS):
            kernels.propose(hits.count, hits.ray_of.ndarray, bracket.ndarray, found.ndarray)
            for begin, total in self._at_rays(rays, hits, found):
                values = self.room().values.ndarray
                kernels.narrow(begin, total, *self._row, hits.ray_of.ndarray, values, bracket.ndarray)
        kernels.take_best(rays.count, bracket.ndarray, hit.ndarray, found.ndarray)
        return hits

    def hit_distances(self, rays: Rays, hits: Hits, mode: int, least: float) -> Array:
        """[n, 1] ray parameter of every hit, differentiable to the network and to the rays."""
        out = Array((rays.count, 1))

        def forward() -> None:
            level_set.gather_hits(hits.count, hits.ray_of.ndarray, hits.found.ndarray, out.value)

        def backward() -> None:
            to_rays = needs(rays.origins) or needs(rays.directions)
            for begin, total in self._at_rays(rays, hits, hits.found):
                room, seeds = self.room(), self._seeds()
                seeds.ndarray.fill(1.0)
                self._back(total, seeds, to_positions=True, to_parameters=False)
                kernels.hits_adjoint(
                    begin, total, self.scale, mode, least, hits.ray_of.ndarray, rays.directions.value, self.box.value,
                    room.to_positions.ndarray, out.value, out.grad, seeds.ndarray, rays.origins.grad,
                    rays.directions.grad, to_rays,
                )  # fmt: skip
                self._back(total, seeds, to_positions=False)

        run(Operation(forward, backward, [*self.parameters, rays.origins, rays.directions], [out], "hits"))
        return out

    def gradients(self, points: Array, count: int) -> Array:
        """[n, 3] derivative of f at the first `count` of points [n, 3], by central differences."""
        step, around = NORMAL_STEP * self.diagonal, Array((6 * points.rows, 3))

        def spread() -> None:
            kernels.neighbours(count, step, points.value, around.value)

        def spread_adjoint() -> None:
            kernels.neighbours_adjoint(count, around.grad, points.grad)

        run(Operation(spread, spread_adjoint, [points], [around], "neighbours"))
        numbers, out = self._numbers(around, 6 * count), Array((points.rows, 3))

        def forward() -> None:
            kernels.differences(count, step, numbers.value, out.value)

        def backward() -> None:
            kernels.differences_adjoint(count, step, out.grad, numbers.grad)

        run(Operation(forward, backward, [numbers], [out], "field gradients"))
        return out

    def colors(self, points: Array, rays: Rays, hits: Hits) -> Array:
        """[n, 3] the field's colour at points [n, 3] of the hits, as seen along their rays."""
        out = Array((rays.count, 3))
        basis, to_directions = self.directions(rays)
        with unrecorded():
            starts = start_rays(rays.count, hits.hit)

        def evaluated() -> Iterator[tuple[int, int, int, int]]:
            """First ray, ray after the last, first hit, hits, with the network's values in the room."""
            first = 0
            for begin, end, total in chunks_of(starts, rays.count, self.room().capacity):
                if total > 0:
                    room, owner = self.room(), self.room().samples.owner.ndarray
                    padded = self._place(first, total, points)
                    kernels.set_owners(first, total, padded, hits.ray_of.ndarray, owner)
                    rows = (basis.channels, self.network.directions, self.network.rows)
                    samples.spread(padded, *rows, owner, basis.value, room.values.ndarray)
                    self._evaluate(total, whole=True)
                    yield begin, end, first, total
                first += total

        def forward() -> None:
            for _, _, first, total in evaluated():
                kernels.read_colors(first, total, self.network.rows, self.room().values.ndarray, out.value)

        def backward() -> None:
            basis.zero_grad()
            for begin, end, first, total in evaluated():
                room = self.room()
                kernels.seed_colors(first, total, out.grad, room.to_outputs.ndarray)
                self._back(total, None, to_positions=True)
                kernels.points_adjoint(
                    first, total, self.scale, self.box.value, room.to_positions.ndarray, points.grad
                )  # fmt: skip
                row, kept = self.network.directions - self.network.encoded[0], self.network.encoded[1]
                samples.gather(
                    begin, end, basis.channels, row, kept, starts.ndarray, 1, room.to_inputs.ndarray, basis.grad
                )
            if needs(rays.directions):
                to_directions()

        run(Operation(forward, backward, [*self.parameters, points, rays.directions], [out], "field colours"))
        return out

    def lowest_on_rays(self, rays: Rays, steps: int) -> Array:
        """[n, 1] smallest f of the samples of each ray (see `find_hits`); the box's diagonal, without gradient, where
        there are none. The sample's distance from the ray's origin in object space is held fixed."""
        t, inside = Buffer((rays.count,)), Buffer((rays.count,), "int")
        with unrecorded():
            for begin, end, starts, room in self._along(rays, steps):
                kernels.least_sample(
                    begin, end, *self._row, starts.ndarray, room.samples.times.ndarray, room.values.ndarray, t.ndarray,
                    inside.ndarray,
                )  # fmt: skip
        return self._on_rays(rays, Hits(rays, t, inside), "lowest")

    def probed_on_rays(self, rays: Rays, hits: Hits, seed: int) -> Array:
        """[n, 1] f at each ray's hit, and where it has none at a random place in the box, held fixed likewise."""
        places = RayPlaces(rays.count)
        with unrecorded():
            lowest.probe_places(
                rays.count, seed, rays.origins.value, rays.directions.value, self.box.value, hits.found.ndarray,
                hits.hit.ndarray, places.t.ndarray, places.axis.ndarray, places.inside.ndarray,
            )  # fmt: skip
        return self._on_rays(rays, Hits(rays, places.t, places.inside), "probe")

    def _on_rays(self, rays: Rays, places: Hits, name: str) -> Array:
        """[rays, 1] f at one place on each of the listed rays, the box's diagonal on the others."""
        out, ray_of, t = Array((rays.count, 1)), places.ray_of.ndarray, places.found.ndarray

        def forward() -> None:
            out.value.fill(self.diagonal)
            for begin, total in self._at_rays(rays, places, places.found):
                kernels.read_numbers_of_rays(
                    begin, total, *self._row, ray_of, self.room().values.ndarray, out.value
                )  # fmt: skip

        def backward() -> None:
            to_rays = needs(rays.origins) or needs(rays.directions)
            for begin, total in self._at_rays(rays, places, places.found):
                seeds = self._seeds()
                kernels.rows_of_rays(begin, total, ray_of, out.grad, seeds.ndarray)
                self._back(total, seeds, to_rays)
                if to_rays:
                    kernels.rays_adjoint(
                        begin, total, self.scale, ray_of, t, rays.directions.value, self.box.value,
                        self.room().to_positions.ndarray, rays.origins.grad, rays.directions.grad,
                    )  # fmt: skip

        run(Operation(forward, backward, [*self.parameters, rays.origins, rays.directions], [out], name))
        return out

    def _numbers(self, points: Array, count: int) -> Array:
        """[n, 1] f at the first `count` of points [n, 3]."""
        out = Array((points.rows, 1))

        def evaluated() -> Iterator[tuple[int, int]]:
            for begin, total in self._chunks(count):
                self._place(begin, total, points)
                self._evaluate(total)
                yield begin, total

        def forward() -> None:
            for begin, total in evaluated():
                kernels.read_numbers(begin, total, *self._row, self.room().values.ndarray, out.value)

        def backward() -> None:
            for begin, total in evaluated():
                seeds, room = self._seeds(), self.room()
                kernels.rows_of(begin, total, out.grad, seeds.ndarray)
                self._back(total, seeds, needs(points))
                if needs(points):
                    kernels.points_adjoint(
                        begin, total, self.scale, self.box.value, room.to_positions.ndarray, points.grad
                    )  # fmt: skip

        run(Operation(forward, backward, [*self.parameters, points], [out], "numbers"))
        return out

    @property
    def _row(self) -> tuple[int, int, float]:
        """Where kernels find x, and what it is subtracted from."""
        return self.network.rows, self.network.density, self.number

    def _along(self, rays: Rays, steps: int) -> Iterator[tuple[int, int, Buffer, Evaluator]]:
        """First ray, ray after the last, sums of samples before each ray, and the room with the network's values."""
        room, seen = self.room(steps + 2), (rays.origins.value, rays.directions.value, self.box.value)
        places = (self.diagonal / steps, steps + 2, 0, 0, 0)  # no jitter, no occupancy
        counts, grid, lists = Buffer((rays.count,), "int"), Buffer((1,), "int"), room.samples
        samples.count_steps(rays.count, *places, *seen, grid.ndarray, counts.ndarray)
        starts = start_rays(rays.count, counts)
        for begin, end, total in chunks_of(starts, rays.count, room.capacity):
            if total > 0:
                samples.list_steps(
                    begin, end, *places, self.scale, self.offset, *seen, grid.ndarray, starts.ndarray, *lists.arrays()
                )
                padded = -(-total // BLOCK) * BLOCK
                samples.pad(
                    begin, total, padded, lists.owner.ndarray, lists.widths.ndarray, lists.positions.ndarray
                )  # fmt: skip
                self._evaluate(total)
            yield begin, end, starts, room

    def _at_rays(self, rays: Rays, listed: Hits, t: Buffer) -> Iterator[tuple[int, int]]:
        """First and number of the listed rays of a chunk, with the network's values at their places t."""
        for begin, total in self._chunks(listed.count):
            kernels.place_on_rays(
                begin, total, -(-total // BLOCK) * BLOCK, self.scale, self.offset, listed.ray_of.ndarray, t.ndarray,
                rays.origins.value, rays.directions.value, self.box.value, self.room().samples.positions.ndarray,
            )  # fmt: skip
            self._evaluate(total)
            yield begin, total

    def _chunks(self, count: int) -> Iterator[tuple[int, int]]:
        capacity = self.room().capacity
        return ((begin, min(capacity, count - begin)) for begin in range(0, count, capacity))

    def _place(self, begin: int, total: int, points: Array) -> int:
        """Points from row `begin` on as positions; how many with those that fill the last block."""
        padded = -(-total // BLOCK) * BLOCK
        positions = self.room().samples.positions.ndarray
        kernels.place_points(begin, total, padded, self.scale, self.offset, points.value, self.box.value, positions)
        return padded

    def _evaluate(self, total: int, whole: bool = False) -> None:
        """The network's values at the room's positions: those that make the density, or the `whole` network's."""
        room = self.room()
        room.holds = None
        self.encode(total)
        room.forward(self.weights, total, None if whole else self.network.density_layers)

    def _seeds(self) -> Buffer:
        return Buffer((self.room().capacity,))

    def _back(self, total: int, seeds: Buffer | None, to_positions: bool, to_parameters: bool = True) -> None:
        """From gradients of f (None: from the room's `to_outputs`) to the parameters and positions."""
        room, layers = self.room(), None
        if seeds is not None:
            layers = self.network.density_layers
            kernels.seed(total, seeds.ndarray, room.to_outputs.ndarray)
        room.backward(self.weights, total, layers, to_parameters and needs(self.weights))
        self.encode_adjoint(total, to_positions, to_parameters)


class HashNetwork(NetworkField):
    """Of a `HashField`: x is the logarithm of the density."""

    def __init__(self, field: HashField, level: float | None) -> None:
        super().__init__(field, level, [field.table, field.weights])
        self.field = field

    def number_of(self, density: float) -> float:
        return math.log(density)

    def room(self, least: int = 1) -> Evaluator:
        return evaluator_of(self.field, least)

    def encode(self, total: int) -> None:
        evaluator_of(self.field).encode(self.field, total)

    def encode_adjoint(self, total: int, to_positions: bool, to_parameters: bool) -> None:
        evaluator_of(self.field).encode_adjoint(self.field, total, to_positions, to_parameters)

    def directions(self, rays: Rays) -> tuple[Array, Callable[[], None]]:
        basis, along = Array((rays.count, HARMONICS)), rays.directions
        with unrecorded():
            sh.harmonics(rays.count, HARMONICS, along.value, basis.value)
        return basis, lambda: sh.harmonics_adjoint(rays.count, HARMONICS, along.value, basis.grad, along.grad)


class FrequencyNetwork(NetworkField):
    """Of a `FrequencyField`'s fine network: the density is softplus(x - 1)."""

    scale, offset = SCALE, OFFSET

    def __init__(self, field: FrequencyField, level: float | None) -> None:
        super().__init__(field, level, [field.fine])
        self.field = field

    def number_of(self, density: float) -> float:
        return 1.0 + density + math.log(-math.expm1(-density))

    def room(self, least: int = 1) -> Evaluator:
        return evaluators_of(self.field, least).fine

    def encode(self, total: int) -> None:
        room, network = self.room(), self.network
        frequency.encode(
            -(-total // BLOCK) * BLOCK, self.field.octaves, network.encoded[0], network.rows,
            room.samples.positions.ndarray, room.values.ndarray,
        )  # fmt: skip

    def encode_adjoint(self, total: int, to_positions: bool, to_parameters: bool) -> None:
        if to_positions:
            room, (first, kept) = self.room(), self.network.encoded
            frequency.encode_adjoint(
                total, self.field.octaves, first, self.network.rows, kept, 0, room.values.ndarray,
                room.to_inputs.ndarray, room.to_positions.ndarray,
            )  # fmt: skip

    def directions(self, rays: Rays) -> tuple[Array, Callable[[], None]]:
        octaves, along = self.field.direction_octaves, rays.directions
        basis = Array((rays.count, 3 + 6 * octaves))
        with unrecorded():
            frequency.encode_directions(rays.count, octaves, along.value, basis.value)

        def backward() -> None:
            frequency.encode_directions_adjoint(
                rays.count, octaves, along.value, basis.value, basis.grad, along.grad
            )  # fmt: skip

        return basis, backward
