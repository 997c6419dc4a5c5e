"""The part of a path tracer's gradient that comes from outlines: warped-area sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import needs
from tidr.kernels import accumulate
from tidr.kernels.path import warp, warp_film, warp_light
from tidr.kernels.path.replay_kernels import SLOPES
from tidr.kernels.path.state import GEOMETRY, SENSOR
from tidr.kernels.transport import lights

from .transport_scene import TransportScene
from .transport_sensor import Sensors

if TYPE_CHECKING:
    from .path import PathTracer

COLUMNS = 10
"""Of what is kept of a path: what it brings, and the gradient of its first ray."""
BLOCK = 1 << 16
"""Paths that are under way at a time on a GPU, which take 96 bytes for each ray beside them."""


class WarpedArea:
    """Adds what outlines say of the gradient of one render to what `replay` found.

    Mean and standard deviation (of one sample) for the derivative of the light that a disc of 90 degrees across leaves
    of a constant sky, by kappa, as shares of the exact value:

        kappa        16 rays                  64 rays
        1e2          0.945 +- 0.006, 3.1      0.996 +- 0.010, 3.6
        1e3          0.964 +- 0.009, 4.4      1.013 +- 0.009, 3.2
        1e4          0.974 +- 0.020, 10       1.033 +- 0.024, 8.5
        1e5          0.971 +- 0.033, 17       1.022 +- 0.057, 21

    Rays must be closer together than outlines are: the shadow under a lamp 44 degrees wide loses 6 % with
    1e3, nothing with 1e4.

    static: the frame's first arguments of kernels; background [3]: what stands behind the scene, in linear RGB.
    """

    def __init__(
        self, settings: PathTracer, transport: TransportScene, sensors: Sensors, static: tuple,
        background: tuple[float, float, float],
    ) -> None:  # fmt: skip
        self.settings, self.transport, self.sensors, self.static = settings, transport, sensors, static
        self.background, self.positions = background, transport.world.positions
        self.wants = GEOMETRY if needs(self.positions) else 0
        self.wants |= SENSOR if needs(sensors.table) else 0
        self.wants |= SLOPES if self.wants else 0
        if transport.light_kinds >> lights.SUN & 1 and needs(transport.lights.values):
            self.wants |= warp_light.LIGHTS
        self.copies = runtime.chunks()
        lit = transport.lights.values
        values = transport.materials.values
        self._to_positions = self._zeros(self.positions.rows * 3)
        self._to_lights = self._zeros(lit.rows * lit.channels)
        self._dump = self._zeros(values.rows * values.channels if warp_light.varied(transport.mask) else 1)
        self._to_table = sensors.part()

    def _zeros(self, size: int) -> Buffer:
        made = Buffer((self.copies * size,))
        made.ndarray.fill(0.0)
        return made

    def add(self, shared: tuple, paths: Buffer, rgb: Array) -> None:
        """For a block of pixels: `shared` are its arguments of kernels, paths [n, COLUMNS] what `replay` left."""
        if not self.wants:
            return
        on_gpu, rays = not runtime.on_cpu(), self.settings.warp_rays
        height, depth, rows = shared[4], shared[6], shared[1] * shared[2]
        chunks = rows if on_gpu else self.copies
        opposite = self.transport.world.pack.opposite
        kept = warp_light.RAYS * rays * chunks if on_gpu else rays * chunks
        where, what = Buffer((kept,), "int"), Buffer((kept, warp.RECORD))
        records = (where.ndarray, what.ndarray)
        launch = (self.wants, on_gpu, runtime.chunk_block(), rays, chunks)
        to_positions, to_table = self._to_positions.ndarray, self._to_table.ndarray
        if depth > 1:
            where.ndarray.fill(-1)
            warp_light.warp_light(
                *self.static, *launch, self.settings.warp_kappa, *shared[:6], self.sensors.copies, *shared[8:24],
                opposite, paths.ndarray, rgb.grad, self._to_lights.ndarray, to_positions, to_table,
                self._dump.ndarray, *records,
            )  # fmt: skip
            self._scatter(kept, *records)
        if self.wants & SLOPES:
            where.ndarray.fill(-1)
            deviation = height / math.sqrt(self.settings.warp_kappa)
            warp_film.warp_film(
                *self.static, *launch, self.sensors.copies, deviation, *self.background, *shared[:24], opposite,
                paths.ndarray, rgb.grad, to_positions, to_table, *records,
            )  # fmt: skip
            self._scatter(kept, *records)

    def _scatter(self, kept: int, where, what) -> None:
        if not runtime.on_cpu():
            faces, positions = self.transport.tables[2:4]
            warp_film.scatter_records(kept, faces, positions, where, what, self._to_positions.ndarray)

    def close(self) -> None:
        """Add what was gathered to the gradients."""
        if not self.wants:
            return
        if self.wants & GEOMETRY:
            accumulate.collect(self.copies, self.positions.rows, 3, self._to_positions.ndarray, self.positions.grad)
        if self.wants & SENSOR:
            self.sensors.collect(self._to_table)
        if self.wants & warp_light.LIGHTS:
            lit = self.transport.lights.values
            accumulate.collect(self.copies, lit.rows, lit.channels, self._to_lights.ndarray, lit.grad)
