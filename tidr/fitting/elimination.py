"""In which order to eliminate the vertices of a mesh so that its factor stays sparse (nested dissection).

A. George 1973, "Nested dissection of a regular finite element mesh". Parts are cut by graph distance, so that the order
depends on the connectivity alone and a resumed fit repeats it.
"""

import numpy as np

LEAF = 12  # vertices of a part that is not cut further
BRANCH_LEVELS = 3  # cuts after which the parts are solved in parallel


def nested_dissection(edges: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elimination order and its independent branches.

    Args:
        edges: [E, 2]. distances: [V, K] graph distances of each vertex from K landmarks.

    Returns:
        order [V]: the vertex eliminated k-th. branches [B + 1]: rows branches[b]:branches[b + 1] of different b touch
        only through the rows from branches[B] on.
    """
    count = len(distances)
    part = np.zeros(count, np.int64)  # number of the part in its level; kept by the vertices of a cut
    key = np.zeros(count, np.int64)  # base-3 digits, one per level: 0 left, 1 right, 2 cut
    is_open = np.ones(count, bool)
    level, joins = 0, np.zeros(count, bool)
    branch = np.zeros(count, np.int64)
    while is_open.any():
        side = _sides(part, is_open, distances)
        across = is_open[edges].all(1) & (part[edges[:, 0]] == part[edges[:, 1]])
        across &= side[edges[:, 0]] != side[edges[:, 1]]
        ends = edges[across]
        cut = np.zeros(count, bool)
        cut[np.where(side[ends[:, 0]] == 0, ends[:, 0], ends[:, 1])] = True
        small = np.bincount(part[is_open], minlength=part.max() + 1)[part] <= LEAF
        cut |= is_open & small
        key = key * 3 + np.where(cut, 2, np.where(is_open, side, 0))
        if level < BRANCH_LEVELS:
            joins |= cut
        is_open &= ~cut
        part = part * 2 + side
        level += 1
        if level == BRANCH_LEVELS:
            branch = part.copy()
        _, part = np.unique(part, return_inverse=True)
    order = np.lexsort((key, branch, joins))
    sizes = np.bincount(branch[~joins], minlength=1)
    return order.astype(np.int32), np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int32)


def _sides(part: np.ndarray, is_open: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """0 or 1 for each vertex: the halves of its part along the distance that spreads most in it."""
    count = int(part.max()) + 1
    low = np.full((count, distances.shape[1]), np.iinfo(np.int64).max)
    high = np.full((count, distances.shape[1]), -1)
    np.minimum.at(low, part[is_open], distances[is_open])
    np.maximum.at(high, part[is_open], distances[is_open])
    axis = (high - np.minimum(low, high)).argmax(1)[part]
    along = np.take_along_axis(distances, axis[:, None], 1)[:, 0]
    beside = np.take_along_axis(distances, ((axis + 1) % distances.shape[1])[:, None], 1)[:, 0]
    chosen = np.flatnonzero(is_open)
    ranked = chosen[np.lexsort((beside[chosen], along[chosen], part[chosen]))]
    sizes = np.bincount(part[ranked], minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    side = np.zeros(len(part), np.int64)
    side[ranked] = np.arange(len(ranked)) - starts[part[ranked]] >= sizes[part[ranked]] // 2
    return side
