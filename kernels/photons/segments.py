"""The rays of camera paths as beams.py takes them, one for each path at a time: those that arrive at a vertex, or leave
the scene behind the last one.
"""

import taichi as ti

from .. import rng
from ..accumulate import load3
from ..compiling import large
from ..path.vertex import DIMENSIONS, FAR, FLIGHT
from ..transport import surface
from ..transport.tables import Tables
from . import paths
from .sweep import B, D, G, X

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)


@large
@ti.kernel
def load(
    mask: ti.template(), level: ti.i32, places: ti.i32, first: ti.i32, turn: ti.i32, seed: ti.i32, radius: float,
    faces: A2, positions: A2, wholes: A2I, reals: A2, counts: A1I, path_origins: A2, origins: A2, directions: A2,
    lengths: A1, radii: A1, keys: A1I, shares: A2,
):  # fmt: skip
    """origins ... keys [Q]: rays that arrive at vertex `level`, radii 0 where there is none; shares [Q, 3]: throughputs
    where they start."""
    for q in range(places):
        t = ti.static(Tables(faces, faces, faces, positions, *[None] * 14))
        slot, last, leaves = level * places + q, counts[q] - 1, ti.cast(level == counts[q], ti.i32)
        if leaves == 1 and last >= 0:
            leaves = wholes[slot - places, paths.MARK] >> paths.LEFT & 1
        radii[q], lengths[q] = 0.0, 0.0
        keys[q] = ti.cast(rng.mix(rng.key(seed, first + q, turn), DIMENSIONS * (1 + level) + FLIGHT), ti.i32)
        if level <= last or leaves == 1:
            o = paths.before(mask, t, wholes, reals, path_origins, level, places, q)
            d, reach = paths.read3(reals, slot, paths.EXIT), FAR
            if leaves == 0:
                d = paths.vertex(mask, t, wholes, reals, slot) - o
                reach = d.norm()
            paths.write3(origins, q, 0, o)
            paths.write3(directions, q, 0, surface.unit(d))
            paths.write3(shares, q, 0, paths.read3(reals, slot, paths.THROUGHPUT))
            radii[q], lengths[q] = radius, reach


@ti.kernel
def add(places: ti.i32, radii: A1, shares: A2, radiance: A2, seen: A2, column: ti.i32):
    """seen [Q, column ..] += shares * radiance."""
    for q in range(places):
        if radii[q] > 0.0:
            for c in ti.static(range(3)):
                seen[q, column + c] = seen[q, column + c] + shares[q, c] * radiance[q, c]


@ti.kernel
def weigh(places: ti.i32, radii: A1, shares: A2, state: A2, to_radiance: A2):
    """to_radiance [Q, 3]: gradient of what the media scatter into the rays."""
    for q in range(places):
        g = ti.Vector([0.0, 0.0, 0.0])
        if radii[q] > 0.0:
            g = load3(shares, q) * paths.read3(state, q, G)
        paths.write3(to_radiance, q, 0, g)


@ti.kernel
def add_adjoint(places: ti.i32, radii: A1, radiance: A2, to_origins: A2, to_directions: A2, state: A2):
    """To the states of paths at the starts of these rays."""
    for q in range(places):
        if radii[q] > 0.0:
            paths.write3(state, q, X, paths.read3(state, q, X) + load3(to_origins, q))
            paths.write3(state, q, D, paths.read3(state, q, D) + load3(to_directions, q))
            g = paths.read3(state, q, G) * load3(radiance, q)
            paths.write3(state, q, B, paths.read3(state, q, B) + g)
