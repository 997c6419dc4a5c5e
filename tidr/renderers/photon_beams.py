"""Radiance that a medium scatters along eye rays, by the photons beside them; an operation on the tape.

L = sum over photons T(t) phase Phi K_r(distance from the ray), with K_r over the disc of radius r across the ray:
Jarosz, Zwicker and Jensen 2008, "The Beam Radiance Estimate for Volumetric Photon Mapping", with a radius given for
each ray. The medium is homogeneous, or those of a scene (photon_media.py).

Gradients go to the photons' positions, directions and powers, and to the rays' origins, directions, extinctions and g.
They are those of the estimate for the "biweight" kernel.

What this does not differentiate: where rays end, radii, and with other kernels what crosses the radius.
"""

from dataclasses import dataclass

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import sort as sorting
from tidr.kernels.photons import beams as kernels
from tidr.kernels.photons.profiles import PROFILES

from .photon_grid import Photons, PointGrid
from .sorting import capacity, prefix_sum, sort_pairs


@dataclass
class EyeRays:
    """Rays in a medium, one row each: origins, directions (unit, from the eye) [Q, 3] in world space, lengths [Q] in
    the medium, radii [Q], extinctions [Q, 3] (linear RGB, per world unit), g [Q, 1] of Henyey and Greenstein.

    keys: in the media of a scene, in place of the last two, the rays' keys [Q]; tables: the media's. pairs: room for
    what the adjoint lists; a number that grows, to be kept from step to step of a fit.
    """

    origins: Array
    directions: Array
    lengths: Buffer
    radii: Buffer
    extinctions: Array | None = None
    g: Array | None = None
    keys: Buffer | None = None
    tables: tuple = ()
    pairs: int = 0

    @property
    def inputs(self) -> list[Array]:
        return [array for array in (self.origins, self.directions, self.extinctions, self.g) if array is not None]

    def geometry(self) -> tuple:
        return self.origins.value, self.directions.value, self.lengths.ndarray, self.radii.ndarray

    def medium(self) -> tuple:
        """keys, media, media_places, media_values, extinctions, g; others' arrays for those that are not read."""
        none = self.origins.value
        if self.extinctions is None or self.g is None:
            assert self.keys is not None
            return self.keys.ndarray, *self.tables, none, none
        return self.radii.ndarray, none, none, none, self.extinctions.value, self.g.value


def beam_radiance(
    photons: Photons, grid: PointGrid, records: Buffer, rays: EyeRays, profile: str = "biweight"
) -> tuple[Array, Buffer]:
    """Radiance [Q, 3] from the medium towards the eye, and how many photons count for each ray [Q].

    Args:
        grid: built over `photons.positions`; cells of about four radii are best.
        records: `grid.records(photons)`. Powers are what the medium scatters where the photon is: of the light that
            collides there the share of the albedo.

    Raises:
        SceneError: 2^30 pairs of a photon and a ray or more, in the adjoint to photons.
    """
    if profile not in PROFILES:
        raise SceneError("photons", f"unknown kernel {profile!r}", f"choose one of {', '.join(PROFILES)}")
    count, shape = rays.origins.rows, PROFILES[profile]
    radiance, found = Array((count, 3)), Buffer((count,), "int")

    def forward() -> None:
        seen = (*grid.arguments, records.ndarray, *rays.geometry(), *rays.medium())
        kernels.gather(count, 0, shape, *seen, radiance.value, found.ndarray)

    def backward() -> None:
        if any(needs(array) for array in rays.inputs):
            grads, none = [array.grad for array in rays.inputs], rays.origins.grad
            seen = (*grid.arguments, records.ndarray, *rays.geometry(), *rays.medium())
            kernels.gather_adjoint(count, 0, shape, *seen, radiance.grad, *grads, none)
        if any(needs(array) for array in (photons.positions, photons.directions, photons.powers)):
            to_photons(0, shape, photons, grid, records, rays, found, radiance)

    inputs = [photons.positions, photons.directions, photons.powers, *rays.inputs]
    run(Operation(forward, backward, inputs, [radiance], "beam radiance"))
    return radiance, found


def to_photons(
    scene: int, profile: int, photons: Photons, grid: PointGrid, records: Buffer, rays: EyeRays, found: Buffer,
    radiance: Array,
) -> None:  # fmt: skip
    """Add to the gradients of photons, in the media of a scene (its mask; else 0) also to those of their g."""
    first, listed = _pairs(grid, records, rays, found)
    own = (grid.buckets, grid.start, grid.order, records.ndarray, first.ndarray, listed.ndarray)
    seen = (rays.origins.value, rays.directions.value, rays.radii.ndarray, *rays.medium())
    grads = [array.grad for array in (photons.positions, photons.directions, photons.powers)]
    to_g = photons.normals.grad if scene else photons.powers.grad
    kernels.gather_adjoint_photons(grid.room, scene, profile, *own, *seen, radiance.grad, *grads, to_g)


def _pairs(grid: PointGrid, records: Buffer, rays: EyeRays, found: Buffer) -> tuple[Buffer, Buffer]:
    """(where each photon's rays begin, rays) by places of the grid."""
    count = rays.origins.rows
    slots = Buffer((count + 1,), "int")
    kernels.copy_counts(count, found.ndarray, slots.ndarray)
    prefix_sum(slots, 1, count)
    total = int(slots.ndarray[count])
    if total >= sorting.LARGEST:
        mend = "take a smaller radius or fewer photons or pixels"
        raise SceneError("photons", "rays meet 2^30 photons or more", mend)
    if total > rays.pairs:
        rays.pairs = capacity(total * 5 // 4)
    room = max(rays.pairs, 1)
    photon, ray = Buffer((room,), "int"), Buffer((room,), "int")
    seen = (*grid.arguments, records.ndarray, *rays.geometry(), slots.ndarray)
    kernels.pair(count, room, grid.room, *seen, photon.ndarray, ray.ndarray)
    photon, ray = sort_pairs(photon, room, grid.room.bit_length(), ray)
    first = Buffer((grid.room + 1,), "int")
    sorting.segment_starts(room, grid.room, photon.ndarray, first.ndarray)
    return first, ray
