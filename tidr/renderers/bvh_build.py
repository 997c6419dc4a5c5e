"""Builds a tree of eight children a node over triangles, on the host, a level of all nodes at a time.

A node's triangles are parted seven times: first all, then each time the part with the larger box. The best of
the planes between BINS bins along the three axes is taken, by the surface area heuristic (Wald 2007, "On fast
construction of SAH-based bounding volume hierarchies"), whose price of a part is that of testing its triangles by
eights. Where too few levels are left for that, parts are halved, which always fits (see `_levels_needed`).
"""

from dataclasses import dataclass

import numpy as np

from tidr.kernels.bvh import LEAF_UNITS, LEVELS, NODE_UNITS, OUTSIDE, WIDTH

BINS = 12


@dataclass(frozen=True)
class Tree:
    """Who is whose child: all that stays when the vertices move.

    children: [N, WIDTH] references as in kernels/bvh.py, 0 for none; node 0 is the root, levels follow one another.
    leaves: [WIDTH * L] the triangles of the leaves, -1 for none.
    levels: (first, end) of the nodes of each level.
    """

    children: np.ndarray
    leaves: np.ndarray
    levels: list[tuple[int, int]]


@dataclass
class _Parts:
    """Runs of neighbours in `order` [F], a permutation of the triangles with boxes low, high and centres [F, 3]."""

    order: np.ndarray
    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray

    def split(self, start: np.ndarray, count: np.ndarray, halve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Part the runs (start, count > 1) in two, reordering them: how many come first, areas of both parts [2, n].

        Those of runs that are halved are not to be relied on.
        """
        run = np.repeat(np.arange(len(start)), count)
        offset = np.cumsum(count) - count
        slot = np.arange(len(run)) - offset[run] + start[run]
        triangle = self.order[slot]
        bins = self._bins(triangle, run, offset)
        low, high = self.low[:, triangle], self.high[:, triangle]
        axis, place, areas = _best_planes(bins, run, len(start), low, high)
        first = bins[axis[run], np.arange(len(run))] <= place[run]
        within = np.arange(len(run)) - offset[run]
        middle = halve | ~np.isfinite(areas[0])
        first = np.where(middle[run], within < (count // 2)[run], first)
        ahead = np.cumsum(first) - first
        ahead -= ahead[offset][run]
        taken = np.bincount(run, first, len(start)).astype(np.int64)
        target = start[run] + np.where(first, ahead, taken[run] + within - ahead)
        self.order[target] = triangle
        return taken, np.where(middle, 0.0, areas)

    def _bins(self, triangle: np.ndarray, run: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """[3, n] the bin of each centre along each axis of the box of the centres of its run."""
        centre = self.centre[:, triangle]
        low, high = np.minimum.reduceat(centre, offset, 1), np.maximum.reduceat(centre, offset, 1)
        extent = high - low
        wide = extent > 1e-300  # of a smaller one there is no inverse
        scale = np.where(wide, BINS / np.where(wide, extent, 1), 0)
        return np.minimum(((centre - low[:, run]) * scale[:, run]).astype(np.int64), BINS - 1)


def build(corners: np.ndarray) -> Tree:
    """The tree of triangles with corners [F, 3, 3]; those that are not finite go along, with an empty box."""
    corners = np.asarray(corners, np.float64).reshape(-1, 3, 3)
    good = (np.abs(corners) < OUTSIDE).all((1, 2))
    low = np.where(good, corners.min(1).T, OUTSIDE)
    high = np.where(good, corners.max(1).T, -OUTSIDE)
    centre = np.where(good, 0.5 * (low + high), 0.0)
    parts = _Parts(np.arange(len(corners)), low, high, centre)
    start, count = np.array([0]), np.array([len(corners)])
    nodes, leaves, levels, done = [], [], [], 0
    filled = 0
    while len(start):
        child_start, child_count = _children(parts, start, count, LEVELS - len(levels))
        inner, leaf = child_count > WIDTH, (child_count > 0) & (child_count <= WIDTH)
        below = done + len(start)
        reference = np.zeros(child_count.shape, np.int64)
        reference[inner] = (below + np.arange(inner.sum())) * NODE_UNITS
        reference[leaf] = filled + 1 + np.arange(leaf.sum())  # numbered from 1 until the count of nodes is known
        nodes.append(np.where(leaf, -reference, reference))
        lane = np.arange(WIDTH)
        slot = child_start[leaf][:, None] + np.minimum(lane, child_count[leaf][:, None] - 1)
        leaves.append(np.where(lane < child_count[leaf][:, None], parts.order[slot] if leaf.any() else -1, -1))
        levels.append((done, below))
        filled, done = filled + int(leaf.sum()), below
        start, count = child_start[inner], child_count[inner]
    children = np.concatenate(nodes)
    to_unit = -done * NODE_UNITS - (-children - 1) * LEAF_UNITS
    return Tree(np.where(children < 0, to_unit, children), np.concatenate(leaves).reshape(-1), levels)


def _children(parts: _Parts, start: np.ndarray, count: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and counts [n, WIDTH] of the children of nodes; `levels` of nodes may be used, these included."""
    starts, counts = np.zeros((len(start), WIDTH), np.int64), np.zeros((len(start), WIDTH), np.int64)
    starts[:, 0], counts[:, 0] = start, count
    halve = _levels_needed(count) > levels - 1
    areas = np.zeros(counts.shape)
    for child in range(1, WIDTH):
        price = np.where(counts > WIDTH, np.where(halve[:, None], counts, areas), -1.0)
        widest = price.argmax(1)
        row = np.flatnonzero(counts[np.arange(len(start)), widest] > WIDTH)
        if len(row) == 0:
            break
        old = row, widest[row]
        taken, both = parts.split(starts[old], counts[old], halve[row])
        starts[row, child], counts[row, child] = starts[old] + taken, counts[old] - taken
        counts[old] = taken
        areas[old], areas[row, child] = both
    return starts, counts


def _levels_needed(count: np.ndarray) -> np.ndarray:
    """Levels of nodes over `count` triangles when every node quarters its own."""
    needed, left = np.zeros(count.shape, np.int64), count.copy()
    while (left > WIDTH).any():
        needed += left > WIDTH
        left = -(-left // WIDTH)
    return needed


def _half_area(extent: np.ndarray) -> np.ndarray:
    """Of boxes with edges extent [3, ...]; 0 for those that are inside out."""
    x, y, z = np.maximum(extent, 0)
    return x * y + y * z + z * x


def _best_planes(
    bins: np.ndarray, run: np.ndarray, runs: int, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(axis [runs], last bin before the plane [runs], areas of the parts [2, runs], infinite where no plane is)."""
    best, axis, place = np.full(runs, np.inf), np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    areas, every = np.full((2, runs), np.inf), np.arange(runs)
    for candidate in range(3):
        key = run * BINS + bins[candidate]
        number = np.bincount(key, minlength=runs * BINS).reshape(runs, BINS)
        lower, upper = np.full((3, runs * BINS), OUTSIDE), np.full((3, runs * BINS), -OUTSIDE)
        for i in range(3):
            np.minimum.at(lower[i], key, low[i])
            np.maximum.at(upper[i], key, high[i])
        lower, upper = lower.reshape(3, runs, BINS), upper.reshape(3, runs, BINS)
        before = np.cumsum(number, 1)[:, :-1]
        after = before[:, -1:] + number[:, -1:] - before
        one = _half_area(np.maximum.accumulate(upper, 2) - np.minimum.accumulate(lower, 2))[:, :-1]
        lower, upper = lower[:, :, ::-1], upper[:, :, ::-1]
        two = _half_area(np.maximum.accumulate(upper, 2) - np.minimum.accumulate(lower, 2))[:, ::-1][:, 1:]
        price = one * -(-before // WIDTH) + two * -(-after // WIDTH)
        price = np.where((before > 0) & (after > 0), price, np.inf)
        plane = price.argmin(1)
        least = price[every, plane]
        better = least < best
        best, axis = np.where(better, least, best), np.where(better, candidate, axis)
        place = np.where(better, plane, place)
        areas = np.where(better, np.stack([one[every, plane], two[every, plane]]), areas)
    return axis, place, areas
