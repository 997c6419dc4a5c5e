"""The part of a path tracer's gradient that comes from outlines: edge sampling."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import needs
from tidr.kernels import accumulate, reduce
from tidr.kernels.path import edges as kernels
from tidr.kernels.path import edges_primary as on_film
from tidr.kernels.path import edges_secondary as at_vertices
from tidr.kernels.path import state
from tidr.kernels.transport import light_tables

from .geometry import Pack
from .transport_media import Media
from .transport_scene import TransportScene
from .transport_sensor import Sensors

if TYPE_CHECKING:
    from .path import PathTracer

BLOCK = 1 << 16
"""Edge samples that are under way at a time, which take up to 132 bytes each."""
OTHER_NUMBERS = 0x5EED
"""Added to the seed: edges draw other random numbers than the picture."""


class Edges:
    """The edges of packed meshes: `table` as kernels/path/edges.py reads it, and a distribution over them.

    Edges that more than two faces share count once for every face, as a border of each.
    """

    def __init__(self, packed: Pack) -> None:
        of_faces = (packed.triangles, packed.opposite, packed.normal_corners, packed.uv_corners, packed.face_material)
        triangles, opposite, normals, uvs, materials = (part.to_numpy()[: packed.faces] for part in of_faces)
        rows = edge_table(triangles, opposite, normals, uvs, materials)
        self.count = len(rows)
        self.table = Buffer((self.count, kernels.COLUMNS), "int")
        self.chances = Buffer((self.count + 1,))
        if self.count:
            self.table.ndarray.from_numpy(rows)

    def distribute(self) -> None:
        """Make `chances` [E + 1] cumulative, from the weight of edge e at e + 1."""
        parts = reduce.split(self.count, runtime.on_cpu()).chunks
        partial = Buffer((parts + 1,))
        light_tables.accumulate(self.count, parts, -(-self.count // parts), partial.ndarray, self.chances.ndarray)


_edges: weakref.WeakKeyDictionary[Pack, tuple[int, Edges]] = weakref.WeakKeyDictionary()


def edges_of(packed: Pack) -> Edges:
    """The edges of a pack, made when first asked for."""
    held = _edges.get(packed)
    if held is None or held[0] != runtime.generation():
        held = (runtime.generation(), Edges(packed))
        _edges[packed] = held
    return held[1]


def edge_table(
    triangles: np.ndarray, opposite: np.ndarray, normals: np.ndarray, uvs: np.ndarray, materials: np.ndarray
) -> np.ndarray:
    """int [E, COLUMNS] from faces' corner rows [F, 3] and materials [F]; opposite: vertices across edges, or -1."""
    face, corner = np.divmod(np.arange(triangles.size), 3)
    tail, head = np.roll(triangles, -1, 1).ravel(), np.roll(triangles, -2, 1).ravel()
    right = opposite.ravel()
    swap = tail > head
    low, high = np.where(swap, head, tail), np.where(swap, tail, head)

    def along(rows: np.ndarray) -> np.ndarray:
        """[3F, 2] of a table by corner: what stands at the edge's two vertices, smaller first."""
        pair = np.stack([np.roll(rows, -1, 1).ravel(), np.roll(rows, -2, 1).ravel()], 1)
        return np.where(swap[:, None], pair[:, ::-1], pair)

    look = np.column_stack([along(normals), along(uvs), materials[face]])
    shared = np.flatnonzero(right >= 0)
    order = shared[np.lexsort((face[shared], high[shared], low[shared]))]
    first, second = order[0::2], order[1::2]
    jump = np.where(normals[face[first], corner[first]] < 0, kernels.CREASE, kernels.SMOOTH)
    jump = np.where((look[first] != look[second]).any(1), kernels.SEAM, jump)
    border = np.flatnonzero(right < 0)
    chosen = np.concatenate([first, border])
    jump = np.concatenate([jump, np.full(len(border), kernels.SEAM)])
    columns = (low[chosen], high[chosen], triangles.ravel()[chosen], right[chosen], face[chosen], jump)
    return np.ascontiguousarray(np.stack(columns, 1), np.int32)


class EdgeSampling:
    """Adds what edges say of the gradient of one render to what `replay` found; `static` are the frame's first
    arguments of kernels."""

    def __init__(
        self,
        settings: PathTracer,
        transport: TransportScene,
        sensors: Sensors,
        media: Media,
        static: tuple,
        wants: int,
        background: tuple[float, ...],
    ) -> None:
        self.settings, self.transport, self.sensors, self.media = settings, transport, sensors, media
        self.static, self.wants, self.background = static, wants, background
        self.edges, self.positions = edges_of(transport.world.pack), transport.world.positions
        self.copies, self.seed = runtime.chunks(), settings.seed ^ OTHER_NUMBERS

    def add(self, rgb: Array) -> None:
        """From the gradient of the picture to those of vertices and sensors."""
        if not self.edges.count:
            return
        self._to_positions = Buffer((self.copies * self.positions.rows * 3,))
        self._to_positions.ndarray.fill(0.0)
        self._to_table = self.sensors.part()
        for view in range(self.sensors.count):
            self._on_film(rgb, view)
        kernels.weigh(self.edges.count, self.positions.value, self.edges.table.ndarray, self.edges.chances.ndarray)
        self.edges.distribute()
        self._at_vertices(rgb)
        if needs(self.positions):
            accumulate.collect(self.copies, self.positions.rows, 3, self._to_positions.ndarray, self.positions.grad)
        if self.wants & state.SENSOR:
            self.sensors.collect(self._to_table)

    def _arrive(self, count: int, rays: Buffer, wholes: Buffer, behind: tuple[float, ...]) -> Buffer:
        brought = Buffer((count, 3))
        mask, light_kinds, _sensors, _film = self.static
        kernels.arrive(
            mask, light_kinds, count, self.settings.roulette_depth, *behind, *self.transport.tables,
            *self.media.tables, rays.ndarray, wholes.ndarray, brought.ndarray,
        )  # fmt: skip
        return brought

    def _scattering(self) -> tuple:
        return not runtime.on_cpu(), runtime.chunk_block(), self.copies, self.sensors.copies

    def _on_film(self, rgb: Array, view: int) -> None:
        mask, _light_kinds, sensors, film = self.static
        width, height, edges = self.sensors.width, self.sensors.height, self.edges
        table, positions = self.sensors.table.value, self.positions.value
        on_film.weigh_on_film(
            sensors, film, table, view, width, height, edges.count, positions, edges.table.ndarray,
            edges.chances.ndarray,
        )  # fmt: skip
        edges.distribute()
        nodes, leaves = self.transport.tables[:2]
        total = width * height * self.settings.edge_samples
        for first in range(0, total, BLOCK):
            count = min(BLOCK, total - first)
            rays, wholes = Buffer((2 * count, kernels.RAY)), Buffer((2 * count, kernels.RAY_WHOLES), "int")
            reals, chosen = Buffer((count, on_film.REALS)), Buffer((count,), "int")
            on_film.sample_on_film(
                mask, sensors, film, table, view, width, height, first, count, self.seed, self.settings.max_depth,
                edges.count, nodes, leaves, positions, edges.table.ndarray, edges.chances.ndarray, rays.ndarray,
                wholes.ndarray, reals.ndarray, chosen.ndarray,
            )  # fmt: skip
            brought = self._arrive(2 * count, rays, wholes, self.background)
            on_film.scatter_on_film(
                sensors, film, *self._scattering(), table, view, width, height, count, total, positions,
                edges.table.ndarray, reals.ndarray, chosen.ndarray, brought.ndarray, rgb.grad,
                self._to_positions.ndarray, self._to_table.ndarray,
            )  # fmt: skip

    def _at_vertices(self, rgb: Array) -> None:
        mask, light_kinds, sensors, film = self.static
        samples, depth = self.settings.edge_samples, min(self.settings.edge_depth, self.settings.max_depth - 1)
        table, tables, edges = self.sensors.table.value, self.transport.tables, self.edges
        size = max(BLOCK // (samples * max(depth, 1)), 1)
        total = self.sensors.count * self.sensors.width * self.sensors.height
        for first in range(0, total if depth else 0, size):
            places = min(size, total - first)
            count = places * samples * depth
            rays, wholes = Buffer((count, kernels.RAY)), Buffer((count, kernels.RAY_WHOLES), "int")
            records, reals = Buffer((count, at_vertices.WHOLES), "int"), Buffer((count, at_vertices.REALS))
            sizes = (self.sensors.width, self.sensors.height, self.seed)
            at_vertices.walk(
                mask, light_kinds, sensors, film, first, places, samples, *sizes, self.settings.max_depth, depth,
                edges.count, table, *tables, *self.media.tables, edges.table.ndarray, edges.chances.ndarray,
                rays.ndarray, wholes.ndarray, records.ndarray, reals.ndarray,
            )  # fmt: skip
            brought = self._arrive(count, rays, wholes, (0.0, 0.0, 0.0))
            at_vertices.scatter(
                sensors, film, self.wants, *self._scattering(), first, places, samples, *sizes, depth, table,
                tables[2], tables[3], edges.table.ndarray, records.ndarray, reals.ndarray, brought.ndarray, rgb.grad,
                self._to_positions.ndarray, self._to_table.ndarray,
            )  # fmt: skip
