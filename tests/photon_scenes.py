"""Photons, queries and their estimates for the tests of photon maps."""

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.kernels.transport.slots import PARAMS
from tidr.parameter import Parameter
from tidr.renderers.photon_density import DensitySettings, Queries, density
from tidr.renderers.photon_grid import Photons, PointGrid, integers

UP = np.array([0.0, 0.0, 1.0])


def reals(numbers) -> Buffer:
    made = Buffer((len(numbers),))
    fill(made, numbers)
    return made


def fill(target: Buffer, numbers) -> None:
    kind = np.float64 if runtime.current().precision == 64 else np.float32
    target.ndarray.from_numpy(np.ascontiguousarray(numbers, kind))


def directions(rng, n) -> np.ndarray:
    d = rng.normal(size=(n, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def queries_of(points, normals, eyes, radii, albedo=None, **rest) -> Queries:
    q = len(points)
    params = np.zeros((q, PARAMS))
    params[:, :3] = 1.0 if albedo is None else albedo
    normals = np.broadcast_to(normals, (q, 3))
    made = {
        "points": Parameter(points), "normals": Array.of(normals), "sides": Array.of(normals),
        "eyes": Array.of(np.broadcast_to(eyes, (q, 3))), "params": Parameter(params),
        "kind": integers(np.zeros(q)), "radii": reals(np.broadcast_to(radii, q)),
    }  # fmt: skip
    return Queries(**{**made, **rest})


def estimate(photons: Photons, queries: Queries, cell: float, which="all", **settings) -> tuple[Array, np.ndarray]:
    grid = PointGrid(cell)
    grid.build(photons.positions, photons.flags, which)
    radiance, found = density(photons, grid, grid.records(photons), queries, DensitySettings(**settings))
    return radiance, found.ndarray.to_numpy()[: queries.points.rows]


def on_plane(positions, powers, flags=None) -> Photons:
    """Photons that fell straight down on z = 0."""
    down = np.broadcast_to(-UP, np.shape(positions))
    made = Photons.of(positions, down, np.broadcast_to(powers, np.shape(positions)), -down, flags)
    made.positions, made.powers = (Parameter(part.numpy()) for part in (made.positions, made.powers))
    return made
