"""Media in photon mapping: the photons that they scatter, and what of them comes along the rays of camera paths."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.kernels.path import media_kernels, medium_adjoint
from tidr.kernels.photons import beams, segments
from tidr.kernels.photons.profiles import PROFILES
from tidr.kernels.transport import medium

from .photon_beams import EyeRays, to_photons
from .photon_grid import PointGrid

if TYPE_CHECKING:
    from .photon_shot import Shot
    from .photons import PhotonFrame, View

CELLS = 4.0  # radii a cell
BESIDE = 40.0  # photons beside a ray through the middle of a box, were they evenly spread, for the first radius


def first_radius(frame: PhotonFrame) -> float:
    """By the smallest medium's size and the number of photons."""
    softness = float(frame.media.tables[0].to_numpy()[:, medium.SOFT].max())
    size = 1.0 / (softness * math.sqrt(3.0))
    return size * min(math.sqrt(BESIDE / (math.pi * frame.settings.photons)), 0.25)


class Drift:
    """The photons of a pass that media scatter, in their grid. radius: of the rays that look for them."""

    def __init__(self, shot: Shot, radius: float) -> None:
        self.photons, self.radius = shot.photons, radius
        self.grid = PointGrid(CELLS * radius)
        self.grid.build(self.photons.positions, shot.drifting)
        self.records = self.grid.records(self.photons)


class Haze:
    """What media scatter into the rays of a block's camera paths in one pass. It is held by the view, not the reverse,
    for a cycle would keep both in memory."""

    def __init__(self, frame: PhotonFrame, view: View, drift: Drift, grads: bool) -> None:
        self.frame, self.drift, places = frame, drift, view.places
        self.profile = PROFILES[frame.settings.profile]
        self.rays = EyeRays(
            Array((places, 3), needs_grad=grads), Array((places, 3), needs_grad=grads), Buffer((places,)),
            Buffer((places,)), keys=Buffer((places,), "int"), tables=frame.media.tables,
        )  # fmt: skip
        self.shares, self.radiance = Buffer((places, 3)), Array((places, 3), needs_grad=grads)
        self.found = Buffer((places,), "int")
        self.levels = int(view.paths.counts.ndarray.to_numpy()[:places].max(initial=0)) + 1

    def _gather(self, view: View, level: int) -> None:
        """The rays that arrive at the paths' vertices of one level, and what comes along them."""
        rays, frame = self.rays, self.frame
        assert rays.keys is not None
        wholes, reals, counts, origins = view.paths.arguments
        segments.load(
            frame.mask, level, view.places, view.first, view.turn, frame.settings.seed, self.drift.radius,
            *frame.transport.tables[2:4], wholes, reals, counts, origins, *rays.geometry(),
            rays.keys.ndarray, self.shares.ndarray,
        )  # fmt: skip
        beams.gather(
            view.places, frame.mask, self.profile, *self.drift.grid.arguments, self.drift.records.ndarray,
            *rays.geometry(), *rays.medium(), self.radiance.value, self.found.ndarray,
        )  # fmt: skip

    def add(self, view: View, column: int) -> None:
        """Add what is seen along whole paths to columns column ... of what they see."""
        for level in range(self.levels):
            self._gather(view, level)
            segments.add(
                view.places, self.rays.radii.ndarray, self.shares.ndarray, self.radiance.value, view.seen.ndarray,
                column,
            )  # fmt: skip

    def add_adjoint(self, view: View, level: int, state: Buffer, to_media: Buffer, photons: bool) -> None:
        """From the paths' light to their states at the starts of these rays, to media, and maybe to photons."""
        if level >= self.levels:
            return
        self._gather(view, level)
        rays, grid, places, mask = self.rays, self.drift.grid, view.places, self.frame.learning
        segments.weigh(places, rays.radii.ndarray, self.shares.ndarray, state.ndarray, self.radiance.grad)
        picks = Buffer((2 * places if self.frame.media.learns() else 1, medium_adjoint.PICK))
        for array in (rays.origins, rays.directions):
            array.zero_grad()
        none = rays.origins.grad
        beams.gather_adjoint(
            places, mask, self.profile, *grid.arguments, self.drift.records.ndarray, *rays.geometry(), *rays.medium(),
            self.radiance.grad, rays.origins.grad, rays.directions.grad, none, none, picks.ndarray,
        )  # fmt: skip
        segments.add_adjoint(
            places, rays.radii.ndarray, self.radiance.value, rays.origins.grad, rays.directions.grad, state.ndarray
        )
        if self.frame.media.learns():
            tables = (*self.frame.media.tables, 0, picks.ndarray, to_media.ndarray)
            if runtime.on_cpu():
                media_kernels.settle_chunks(mask, runtime.chunk_block(), runtime.chunks(), 2 * places, *tables)
            else:
                media_kernels.settle_each(mask, 2 * places, *tables)
        if photons:
            drift = self.drift
            to_photons(mask, self.profile, drift.photons, grid, drift.records, rays, self.found, self.radiance)
