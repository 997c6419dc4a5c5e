"""Photons, and points in a hash grid in which a search finds those around a place. Nothing here is on the tape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import unrecorded
from tidr.kernels import sort as sorting
from tidr.kernels.photons import grid as kernels
from tidr.kernels.reduce import split

from .sorting import capacity, sort_pairs

WHICH = {"all": kernels.ALL, "caustic": kernels.CAUSTIC, "global": kernels.GLOBAL}
LEAST_BUCKETS, MOST_BUCKETS = 1 << 10, 1 << 24


@dataclass
class Photons:
    """Where light landed, one row a photon, on the device.

    positions, directions (of flight, unit), powers (linear RGB, shares of the lights' power: divided by the number of
    photons emitted) and normals (of the face, unit; not read in a medium) are [N, 3] in world space. Normals are on the
    side that the light came from; where the surface transmits light on the outside, as the queries' then are too, so
    that photons of both sides count. flags [N]: -1 for a row that holds no photon; else bit 0 says that it came by way
    of a mirror or lens only (a caustic photon), the bits above are free for its maker.
    """

    positions: Array
    directions: Array
    powers: Array
    normals: Array
    flags: Buffer

    @classmethod
    def of(cls, positions, directions, powers, normals, flags=None) -> Photons:
        """Device copies of numpy arrays; all photons are global ones where `flags` is None."""
        held = [Array.of(np.reshape(part, (-1, 3))) for part in (positions, directions, powers, normals)]
        marks = integers(np.zeros(held[0].rows) if flags is None else flags)
        return cls(held[0], held[1], held[2], held[3], marks)

    @property
    def rows(self) -> int:
        return self.positions.rows


def integers(numbers) -> Buffer:
    """[N] integers on the device."""
    numbers = np.asarray(numbers).astype(np.int32).reshape(-1)
    made = Buffer((numbers.size,), "int")
    if numbers.size:
        made.ndarray.from_numpy(numbers)
    return made


class PointGrid:
    """Points in the buckets of a hash grid (tidr/kernels/photons/grid.py); made anew by each `build`.

    Teschner et al. 2003, "Optimized Spatial Hashing for Collision Detection of Deformable Objects", by a stable sort:
    the same order on every backend and for any number of threads. It takes any number of points anywhere; rows without
    a finite position are left out. Buffers keep their size while the number of rows does by a quarter or so, and are
    then used again.

    Args:
        cell: side of a cell, in world units; best a little above the radius that is searched with.

    Raises:
        SceneError: a cell that is not a positive number.
    """

    def __init__(self, cell: float) -> None:
        if not (math.isfinite(cell) and cell > 0.0 and math.isfinite(1.0 / cell)):
            raise SceneError("photons", f"the search radius is {cell}", "give a positive number")
        self.cell = float(cell)
        self.rows = self.room = 0

    def build(self, positions: Array, flags: Buffer | None = None, which: str = "all") -> None:
        """Sort positions [N, 3]; by the flags of `Photons` only those that are "caustic", or "global": the others."""
        with unrecorded():
            self._build(positions, flags, which)

    def _build(self, positions: Array, flags: Buffer | None, which: str) -> None:
        self.rows, self.room = positions.rows, capacity(positions.rows)
        self.buckets = min(max(1 << (self.room - 1).bit_length(), LEAST_BUCKETS), MOST_BUCKETS)
        if flags is None:
            flags = Buffer((self.room,), "int")
            flags.ndarray.fill(0)
        keys, self._bounds = Buffer((self.room,), "int"), Buffer((6,))
        asked = (WHICH[which], positions.value, flags.ndarray)
        kernels.bucket_keys(self.room, self.rows, 1.0 / self.cell, self.buckets - 1, *asked, keys.ndarray)
        keys, self._order = sort_pairs(keys, self.room, self.buckets.bit_length())
        self._start = Buffer((self.buckets + 1,), "int")
        sorting.segment_starts(self.room, self.buckets, keys.ndarray, self._start.ndarray)
        share = split(self.rows, runtime.on_cpu())
        part = Buffer((6 * share.chunks,))
        kernels.bound(self.rows, *asked, *share, part.ndarray, self._bounds.ndarray)

    def arranged(self, sources: list[Array]) -> Buffer:
        """The rows of arrays [N, 3] side by side in the grid's order, flat: 3 * len(sources) numbers a point."""
        stride = 3 * len(sources)
        out = Buffer((stride * self.room,))
        with unrecorded():
            for k, source in enumerate(sources):
                kernels.arrange(self.buckets, self.start, self.order, source.value, 3, stride, 3 * k, out.ndarray)
        return out

    def records(self, photons: Photons) -> Buffer:
        """What the estimates read of each photon (tidr/kernels/photons/density.py)."""
        return self.arranged([photons.positions, photons.directions, photons.powers, photons.normals])

    @property
    def arguments(self) -> tuple[Any, ...]:
        """(1 / cell, buckets - 1, bounds, start), as the kernels take a grid."""
        return 1.0 / self.cell, self.buckets - 1, self._bounds.ndarray, self.start

    @property
    def start(self):
        """[buckets + 1] integers: where each bucket begins, and how many points there are."""
        return self._start.ndarray

    @property
    def order(self):
        """[points] integers: the row of each."""
        return self._order.ndarray

    @property
    def count(self) -> int:
        """How many points the grid holds."""
        return int(self.start[self.buckets])
