"""The gradient of photon mapping: every pass again with the same random numbers, then back along its paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import needs
from tidr.kernels.photons import density, ends
from tidr.kernels.photons import radii as radius_kernels
from tidr.kernels.photons import sweep as kernels
from tidr.kernels.photons.profiles import PROFILES

from .photon_grid import PointGrid

if TYPE_CHECKING:
    from .photon_shot import Shot
    from .photons import Lit, PhotonFrame, View


class Replay:
    """The gradients of one render while they are made."""

    def __init__(self, frame: PhotonFrame, rgb: Array) -> None:
        self.frame, self.rgb = frame, rgb
        self.on_cpu = runtime.on_cpu()
        self.copies, self.block = runtime.chunks(), runtime.chunk_block()
        self.parts = frame.transport.parts(self.copies)
        self.to_table = frame.sensors.part()
        self.factor = 1.0 / frame.settings.passes
        self.fixed = (frame.density.kinds, PROFILES[frame.settings.profile], *frame.density.limits)
        self.to_media = frame.media.part(self.copies)
        self.lights = any(needs(array) for array in (*frame.transport.arrays.values(), frame.media.values))

    @property
    def targets(self) -> tuple:
        """Accumulators of values, light values, texels, positions, normals, uvs and colours."""
        return tuple(part.ndarray for part in self.parts.values())

    def loop(self, paths: int) -> tuple:
        """atomic, block, chunks of a kernel over so many paths."""
        return not self.on_cpu, self.block, self.copies if self.on_cpu else paths

    def view(self, view: View, shot: Shot, lit: Lit) -> None:
        """Add what a block of camera paths says, and to the gradients of the photons."""
        frame, queries, paths = self.frame, view.queries, view.paths
        ((grid, records),) = lit.grids
        ends.weigh(
            view.first, view.places, self.factor, self.rgb.grad, view.seen.ndarray, view.radiance.grad
        )  # fmt: skip
        for array in queries.inputs:
            array.zero_grad()
        given = queries.arguments()
        density.gather_adjoint(
            view.rows, *self.fixed, *grid.arguments, records.ndarray, *given, view.radiance.grad,
            *(array.grad for array in queries.inputs), True,
        )  # fmt: skip
        if self.lights:
            self.photons(view, shot, grid, records)
        state = Buffer((view.places, kernels.STATE))
        wholes, reals, counts, origins = paths.arguments
        ends.seed_states(
            view.first, view.places, self.factor, self.rgb.grad, queries.radii.ndarray, view.radiance.value,
            queries.points.grad, queries.normals.grad, queries.eyes.grad, counts, reals, state.ndarray,
        )  # fmt: skip
        seeds = (view.first, view.number, frame.settings.seed)
        ends.ends(
            frame.learning, frame.static[1], *self.loop(view.places), view.places, *seeds[:2], view.turn, seeds[2],
            *frame.tables, wholes, reals, counts, origins, state.ndarray, queries.params.grad, *self.targets,
            self.to_media.ndarray,
        )  # fmt: skip
        none = (state.ndarray,) * 4
        for level in reversed(range(paths.depth)):
            self.sweep(True, paths, level, seeds, state, none)
            if view.haze is not None:
                view.haze.add_adjoint(view, level, state, self.to_media, self.lights)
        if needs(frame.sensors.table):
            chunks = self.copies if self.on_cpu else view.places
            ends.cameras(
                *frame.static[2:], not self.on_cpu, self.block, chunks, frame.sensors.copies, view.first, view.places,
                *seeds[1:], frame.width, frame.height, frame.sensors.table.value, state.ndarray, self.to_table.ndarray,
            )  # fmt: skip

    def photons(self, view: View, shot: Shot, grid: PointGrid, records: Buffer) -> None:
        """Add to the gradients of a pass's photons."""
        queries, photons = view.queries, shot.photons
        reach, around = Buffer((1,)), PointGrid(grid.cell)
        radius_kernels.largest(view.rows, queries.radii.ndarray, reach.ndarray)
        around.build(queries.points)
        places = around.arranged([queries.points])
        grads = [array.grad for array in (photons.positions, photons.directions, photons.powers)]
        density.gather_adjoint_photons(
            grid.room, *self.fixed, reach.ndarray, grid.buckets, grid.start, grid.order, records.ndarray,
            *around.arguments, around.order, places.ndarray, *queries.arguments()[1:], view.radiance.grad, *grads, True,
        )  # fmt: skip

    def shot(self, shot: Shot) -> None:
        """Add what the paths of a pass's photons say of their gradients."""
        frame, photons = self.frame, shot.photons
        _aims, emitted, _aimed, number, seed = shot.start
        state = Buffer((emitted, kernels.STATE))
        state.ndarray.fill(0.0)
        grads = [array.grad for array in (photons.positions, photons.directions, photons.powers)]
        grads.append(photons.powers.grad if photons.normals.grad is None else photons.normals.grad)
        for level in reversed(range(shot.paths.depth)):
            self.sweep(False, shot.paths, level, (0, number, seed), state, tuple(grads))
        aims, *rest = shot.start
        ends.starts(
            *frame.static[:2], aims, *self.loop(emitted), *rest, shot.targets.spheres.ndarray,
            *frame.transport.tables[2:], shot.paths.counts.ndarray, state.ndarray, *self.targets,
        )  # fmt: skip

    def sweep(self, camera: bool, paths, level: int, seeds: tuple, state: Buffer, grads: tuple) -> None:
        """Take states over one vertex of paths, towards their starts."""
        targets, frame = self.targets, self.frame
        kernels.sweep(
            frame.learning, camera, *self.loop(paths.count), level, paths.count, *seeds, *frame.transport.tables[2:10],
            *frame.media.tables, *paths.arguments, state.ndarray, *grads, targets[0], *targets[3:],
            self.to_media.ndarray,
        )  # fmt: skip


def replay(frame: PhotonFrame, rgb: Array) -> None:
    """Add to the gradients of everything that the picture was made from."""
    work = Replay(frame, rgb)
    for lit, views in frame.passes(frame.reaches(), grads=True):
        shot = lit.shot
        assert shot is not None  # the method "map" alone takes saved photons, and it has no gradient
        for array in (shot.photons.positions, shot.photons.directions, shot.photons.powers, shot.photons.normals):
            if array.grad is not None:
                array.zero_grad()
        for view in views:
            work.view(view, shot, lit)
        if work.lights:
            work.shot(shot)
    frame.transport.collect(work.parts, work.copies)
    frame.media.collect(work.to_media, work.copies)
    if needs(frame.sensors.table):
        frame.sensors.collect(work.to_table)
