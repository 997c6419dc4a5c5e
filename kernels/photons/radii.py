"""Radii of density estimates: a first one by how many photons lie near, and how they shrink from pass to pass.

A progressive estimate is the mean of its passes, each with its own radius. That is what Hachisuka, Ogaki and Jensen
2008, "Progressive Photon Mapping", write as tau' = (tau + phi) r'^2 / r^2 and L = tau / (passes pi r^2): divided by
pi r^2 it says that the sum of the passes' radiance grows by phi / (pi r^2). So a pass has the weight 1 / passes also in
the adjoint, where radii are constants.
"""

import taichi as ti

from ..accumulate import load3
from .density import LEAST, near, record
from .grid import ball, belongs, run

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

ROUNDS = 16  # of the search for a radius


@ti.kernel
def shrink(queries: ti.i32, alpha: float, found: A1, held: A1, radii: A1):
    """After a pass that found M photons: N' = N + alpha M and r'^2 = r^2 N' / (N + M), N what `held` [Q] says."""
    for q in range(queries):
        fresh = ti.cast(found[q], float)
        if fresh > 0.0:
            kept = held[q] + alpha * fresh
            radii[q] = radii[q] * ti.sqrt(kept / (held[q] + fresh))
            held[q] = kept


@ti.kernel
def largest(queries: ti.i32, radii: A1, reach: A1):
    """reach [1] = the largest of radii [Q]."""
    for _ in range(1):
        reach[0] = 0.0
    for q in range(queries):
        ti.atomic_max(reach[0], radii[q])


@ti.kernel
def surrounding(
    queries: ti.i32, wanted: float, least: float, most: float, kinds: ti.template(), thickness: float,
    least_cosine: float, inverse: float, mask: ti.i32, bounds: A1, start: A1, records: A1, points: A2, sides: A2,
    radii: A1,
):  # fmt: skip
    """radii [Q] in [least, most] within which about `wanted` photons count (10 % more or less, if so many)."""
    dimension = ti.static(3.0 if kinds < 0 else 2.0)
    for q in range(queries):
        x, side = load3(points, q), load3(sides, q)
        low, high, radius = least, most, most
        for _ in range(ROUNDS):
            count = 0.0
            first, size, runs = ball(x, radius, inverse, bounds, start[mask + 1])
            for turn in range(ti.abs(runs)):
                begin, end, cell = run(turn, runs, first, size, mask, start)
                for place in range(begin, end):
                    at = record(records, place, 0)
                    gap = x - at
                    if gap.norm_sqr() < radius * radius and belongs(at, cell, runs, inverse):
                        if near(gap, radius, side, record(records, place, 3), thickness, least_cosine, kinds):
                            count += 1.0
            if ti.abs(count - wanted) <= 0.1 * wanted or (count < wanted and radius >= most):
                break
            if count < wanted:
                low = radius
            else:
                high = radius
            guess = radius * ti.pow(wanted / ti.max(count, 0.5), 1.0 / dimension)
            radius = guess if guess > low and guess < high else 0.5 * (low + high)
        radii[q] = ti.max(radius, ti.max(least, LEAST))
