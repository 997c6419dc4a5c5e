"""Marching tetrahedra (Doi and Koide 1991): the edges that a level set crosses, and the triangles."""

from __future__ import annotations

import functools
from itertools import permutations

import numpy as np

EDGES = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])


@functools.cache
def table() -> tuple[np.ndarray, np.ndarray]:
    """(triangles [16, 2, 3] of edges, -1 beyond their number; their number [16]) by the corners that are inside.

    The tetrahedron's corners are such that (p1 - p0) x (p2 - p0) . (p3 - p0) > 0; triangles are counter-clockwise seen
    from outside.
    """
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], np.float64)
    triangles, counts = np.full((16, 2, 3), -1, np.int32), np.zeros(16, np.int64)
    for case in range(1, 15):
        inside = [k for k in range(4) if case >> k & 1]
        outside = [k for k in range(4) if not case >> k & 1]
        if len(inside) == 2:
            (i, j), (k, m) = inside, outside
            ring = [(i, k), (i, m), (j, m), (j, k)]
        else:
            ring = [(i, o) for i in inside for o in outside]
        middles = np.array([corners[list(pair)].mean(0) for pair in ring])
        away = corners[outside].mean(0) - corners[inside].mean(0)
        if np.cross(middles[1] - middles[0], middles[2] - middles[0]) @ away < 0:
            ring.reverse()
        numbers = [int(np.flatnonzero((np.sort(pair) == EDGES).all(1))[0]) for pair in ring]
        counts[case] = len(ring) - 2
        for k in range(counts[case]):
            triangles[case, k] = numbers[0], numbers[k + 1], numbers[k + 2]
    return triangles, counts


def find(inside: np.ndarray, tetrahedra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the border of a set of points lies.

    inside: bool [N]; tetrahedra: [T, 4] rows of points. Returns ends [V, 2], the two points of every crossed edge, and
    faces [F, 3].
    """
    corners = inside[tetrahedra]
    case = corners @ np.array([1, 2, 4, 8], np.uint8)
    active = (case > 0) & (case < 15)
    case, tetrahedra = case[active], tetrahedra[active]
    triangles, counts = table()
    used = [np.flatnonzero(counts[case] > k) for k in range(2)]
    edges = np.concatenate([triangles[case[chosen], k] for k, chosen in enumerate(used)])  # [F, 3]
    owner = np.concatenate(used)
    pairs = np.sort(tetrahedra[owner[:, None, None], EDGES[edges]], axis=-1).astype(np.int64)  # [F, 3, 2]
    keys, faces = np.unique(pairs[..., 0] * len(inside) + pairs[..., 1], return_inverse=True)
    ends = np.stack([keys // max(len(inside), 1), keys % max(len(inside), 1)], 1).astype(np.int32)
    return ends, faces.reshape(-1, 3).astype(np.int32)


def grid(resolution: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Points and tetrahedra of a box of cubes, each cut into six around one diagonal (Freudenthal 1942).

    resolution: cubes (D, H, W). Returns points [N, 3] (x, y, z) in [0, 1]^3, x fastest, and tetrahedra [6 D H W, 4] of
    positive volume. Neighbouring cubes agree on the diagonals of the faces between them.
    """
    depth, height, width = resolution
    axes = [np.arange(n + 1) / n for n in (depth, height, width)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    rows = np.arange(x.size, dtype=np.int32).reshape(x.shape)
    base = rows[:-1, :-1, :-1].reshape(-1, 1)
    steps = np.array([1, width + 1, (width + 1) * (height + 1)])
    cut = []
    for a, b, c in permutations(range(3)):
        path = np.cumsum([0, steps[a], steps[b], steps[c]])
        if (a, b, c) not in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            path[[1, 2]] = path[[2, 1]]
        cut.append(base + path)
    return np.stack([x, y, z], -1).reshape(-1, 3), np.stack(cut, 1).reshape(-1, 4).astype(np.int32)
