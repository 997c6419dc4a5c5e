"""Radiance from the density of photons around points that look at them; an operation on the tape.

L = sum over photons f Phi K_r(|x - x_p|) within a radius r of each point: Jensen 1996, "Global Illumination using
Photon Maps"; in a medium Jensen and Christensen 1998. tidr/kernels/photons/density.py says which photons count, and
tidr/kernels/photons/profiles.py what K_r can be. The relative error above a point light at height h is -3/4 r^2 / h^2
with a constant kernel and -1/2 r^2 / h^2 with Epanechnikov's.

Gradients go to the photons' positions, directions and powers and to the queries' points, normals, directions to the eye
and material values. They are those of the estimate for the "biweight" kernel.

What this does not differentiate: radii, and which photons count by their side and height over the disc. With the
"constant", "cone" and "gaussian" kernels, which step down at the radius, gradients by positions lack the photons that
cross it.
"""

from dataclasses import dataclass

import numpy as np

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.photons import density as kernels
from tidr.kernels.photons import radii as radius_kernels
from tidr.kernels.photons.profiles import PROFILES

from .photon_grid import Photons, PointGrid


@dataclass(frozen=True, kw_only=True)
class DensitySettings:
    """profile: "constant", "cone", "epanechnikov", "biweight" or "gaussian".

    A photon counts up to `thickness` radii above and below the surface, where its face's normal and the query's have at
    least a cosine of `least_cosine`. kinds: bit mask of the BSDF kinds that occur (tidr/kernels/transport/slots.py), or
    `MEDIUM`.
    """

    profile: str = "biweight"
    kinds: int = 1
    thickness: float = 0.25
    least_cosine: float = 0.5

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise SceneError("photons", f"unknown kernel {self.profile!r}", f"choose one of {', '.join(PROFILES)}")

    @property
    def limits(self) -> tuple[float, float]:
        return self.thickness, self.least_cosine


MEDIUM = kernels.MEDIUM


@dataclass
class Queries:
    """Points that look at photons, one row each, in world space.

    points, normals (unit, of shading), sides (unit, of the face; without gradient) and eyes (unit, towards the eye) are
    [Q, 3]; normals and sides are on the side of the eye, where the surface transmits light on the outside. params
    [Q, PARAMS] and kind [Q] are the material there; in a medium params [Q, 1] is g of Henyey and Greenstein, and
    normals, sides and kind are not read. radii [Q] are written by the progressive updates.
    """

    points: Array
    normals: Array
    sides: Array
    eyes: Array
    params: Array
    kind: Buffer
    radii: Buffer

    @property
    def inputs(self) -> list[Array]:
        return [self.points, self.normals, self.eyes, self.params]

    def arguments(self) -> tuple:
        """points, normals, sides, eyes, radii, params, kind as the kernels take them."""
        arrays = [array.value for array in (self.points, self.normals, self.sides, self.eyes)]
        return (*arrays, self.radii.ndarray, self.params.value, self.kind.ndarray)


def density(
    photons: Photons, grid: PointGrid, records: Buffer, queries: Queries, settings: DensitySettings
) -> tuple[Array, Buffer]:
    """Radiance [Q, 3] towards the eyes, and how many photons count for each query [Q].

    Args:
        grid: built over `photons.positions`, with the cell that the radii ask for (a little above the largest is best).
        records: `grid.records(photons)`.
    """
    count, profile, kinds = queries.points.rows, PROFILES[settings.profile], settings.kinds
    radiance, found = Array((count, 3)), Buffer((count,), "int")
    fixed = (kinds, profile, *settings.limits)

    def forward() -> None:
        given = (*grid.arguments, records.ndarray, *queries.arguments())
        kernels.gather(count, *fixed, *given, radiance.value, found.ndarray)

    def backward() -> None:
        seen = queries.arguments()
        if any(needs(array) for array in queries.inputs):
            angles = any(needs(array) for array in queries.inputs[1:])
            grads = [array.grad for array in queries.inputs]
            given = (*grid.arguments, records.ndarray, *seen, radiance.grad)
            kernels.gather_adjoint(count, *fixed, *given, *grads, angles)
        wanted = (photons.positions, photons.directions, photons.powers)
        if any(needs(array) for array in wanted):
            reach, around = Buffer((1,)), PointGrid(grid.cell)
            radius_kernels.largest(count, queries.radii.ndarray, reach.ndarray)
            around.build(queries.points)
            places = around.arranged([queries.points])
            own = (grid.buckets, grid.start, grid.order, records.ndarray)
            others = (*around.arguments, around.order, places.ndarray, *seen[1:])
            grads = [array.grad for array in wanted]
            kernels.gather_adjoint_photons(
                grid.room, *fixed, reach.ndarray, *own, *others, radiance.grad, *grads, needs(photons.directions)
            )

    inputs = [photons.positions, photons.directions, photons.powers, *queries.inputs]
    run(Operation(forward, backward, inputs, [radiance], "photon density"))
    return radiance, found


def surrounding_radii(
    grid: PointGrid, records: Buffer, queries: Queries, settings: DensitySettings, wanted: float,
    least: float, most: float,
) -> None:  # fmt: skip
    """Write `queries.radii`: about `wanted` photons count within each, from `least` to `most` world units.

    `most` is what a query gets around which there are fewer. Constant to every gradient.
    """
    with unrecorded():
        radius_kernels.surrounding(
            queries.points.rows, wanted, least, most, settings.kinds, *settings.limits, *grid.arguments,
            records.ndarray, queries.points.value, queries.sides.value, queries.radii.ndarray,
        )  # fmt: skip


def shrink_radii(queries: Queries, found: Buffer, held: Buffer, alpha: float = 0.7) -> None:
    """After a pass: N' = N + alpha M, r'^2 = r^2 N' / (N + M), N what `held` [Q] says (0 at first) and M `found`.

    Hachisuka, Ogaki and Jensen 2008; Hachisuka and Jensen 2009, "Stochastic Progressive Photon Mapping". The picture is
    the mean of the passes' radiance, which is their tau / (passes pi r^2).
    """
    with unrecorded():
        rows = queries.points.rows
        radius_kernels.shrink(rows, alpha, found.ndarray, held.ndarray, queries.radii.ndarray)


def radius_of_pass(first: float, number: int, alpha: float = 0.7) -> float:
    """Radius of pass `number`, counted from 0, where pass 0 has `first`: r_(i+1)^2 = r_i^2 (i + alpha) / (i + 1).

    Knaus and Zwicker 2011, "Progressive Photon Mapping: A Probabilistic Approach", for i = 1, 2, ...
    """
    i = np.arange(1, number + 1)
    return first * float(np.sqrt(np.prod((i + alpha) / (i + 1.0))))
