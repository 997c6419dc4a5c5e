"""Normals of points from their neighbours, and which way they face.

A normal is the direction in which a point's neighbourhood spreads least (Hoppe et al. 1992, "Surface reconstruction
from unorganized points"); its sign is free until it is oriented, towards a viewpoint or so that neighbours agree.
"""

import heapq

import numpy as np

from tidr.errors import SceneError

from .neighbors import PointTree, cloud_rows

CHUNK = 1 << 22  # neighbours whose differences are held at once
BEND = 0.5  # |cosine| between normals below which the way from one point to the other decides


def estimate(points, k: int = 12, viewpoint=None, consistent: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals and how curved the surface is, from each point and its k nearest neighbours.

    Args:
        points: [N, 3], N > k.
        k: neighbours; more of them even out noise and round off edges. At least 2.
        viewpoint: [3]; normals are turned to face it.
        consistent: turn normals to agree with their neighbours, `orient`.
        Without either the sign of each normal is chosen so that its largest component is above 0.

    Returns:
        normals [N, 3], and surface variation [N] (Pauly, Gross and Kobbelt 2002): the share of the least spread in all,
        0 on a plane and 1/3 at most. Where neighbours lie on a line or in one place, a normal is any direction across.

    Raises:
        SceneError: wrong shape, not finite, k below 2 or not below N, both a viewpoint and `consistent`.
    """
    rows = cloud_rows("points", points)
    if not 2 <= k < len(rows):
        raise SceneError("normals.k", f"is {k}", f"give 2 to {len(rows) - 1}, one less than there are points")
    if viewpoint is not None and consistent:
        raise SceneError("normals", "has a viewpoint and is consistent", "choose one of them")
    neighbors, _ = PointTree(rows).nearest(k=k)
    normals, variation = np.empty_like(rows), np.empty(len(rows))
    step = max(CHUNK // (k + 1), 1)
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        normals[part], variation[part] = _least_spread(rows[part], rows[neighbors[part]])
    if consistent:
        return _agreeing(rows, normals, neighbors), variation
    if viewpoint is not None:
        return _facing(rows, normals, viewpoint), variation
    largest = np.take_along_axis(normals, np.abs(normals).argmax(1)[:, None], 1)
    return np.where(largest < 0, -normals, normals), variation


def face(points, normals, viewpoint) -> np.ndarray:
    """Normals [N, 3], those that look away from a viewpoint [3] turned around; at right angles they stay."""
    rows = cloud_rows("points", points)
    return _facing(rows, _normals(normals, len(rows)), viewpoint)


def orient(points, normals, k: int = 12) -> np.ndarray:
    """Normals [N, 3] turned so that neighbours agree, after Hoppe et al. 1992.

    The sign goes along a minimum spanning tree of the graph of k nearest neighbours, whose edges cost 1 - |n . m|, so
    it crosses sharp edges last. There, where normals are more than 60 degrees apart, one of them is mirrored along the
    way to the other before they are compared (Xie et al. 2003, "Piecewise C1 continuous surface reconstruction of noisy
    point clouds via local implicit quadric regression"). Each connected part begins with its highest point (largest y,
    the lowest number of equals), whose normal is turned upwards: for a closed surface normals look outwards.
    """
    rows = cloud_rows("points", points)
    if not 1 <= k < len(rows):
        raise SceneError("orient.k", f"is {k}", f"give 1 to {len(rows) - 1}, one less than there are points")
    return _agreeing(rows, _normals(normals, len(rows)), PointTree(rows).nearest(k=k)[0])


def _least_spread(points: np.ndarray, neighbors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(normals [n, 3], surface variation [n]) of points [n, 3] and their neighbours [n, k, 3]."""
    around = np.concatenate([np.zeros_like(points)[:, None], neighbors - points[:, None]], 1)
    around -= around.mean(1, keepdims=True)
    size = np.abs(around).max((1, 2), keepdims=True)
    around /= np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))
    values = np.maximum(values, 0.0)
    return vectors[..., 0], values[:, 0] / np.maximum(values.sum(1), 1e-300)


def _facing(points: np.ndarray, normals: np.ndarray, viewpoint) -> np.ndarray:
    eye = np.asarray(viewpoint, np.float64)
    if eye.shape != (3,) or not np.isfinite(eye).all():
        raise SceneError("viewpoint", f"is {viewpoint}", "give three finite numbers")
    away = ((eye - points) * normals).sum(1, keepdims=True) < 0
    return np.where(away, -normals, normals)


def _agreeing(points: np.ndarray, normals: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """Prim's algorithm, part by part of the graph, from each part's highest point."""
    count, k = neighbors.shape
    ends = np.stack([np.repeat(np.arange(count), k), neighbors.ravel()], 1)
    ends = np.concatenate([ends, ends[:, ::-1]])
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    agreement, bent = _agreement(points, normals, ends)
    start = np.searchsorted(ends[:, 0], np.arange(count + 1)).tolist()
    others, costs, signs = ends[:, 1].tolist(), (1 - np.abs(agreement)).tolist(), (bent < 0).tolist()
    turned: list[bool | None] = [None] * count
    for root in np.argsort(-points[:, 1], kind="stable").tolist():
        if turned[root] is not None:
            continue
        waiting = [(0.0, root, bool(normals[root, 1] < 0))]
        while waiting:
            _, here, turn = heapq.heappop(waiting)
            if turned[here] is not None:
                continue
            turned[here] = turn
            for edge in range(start[here], start[here + 1]):
                if turned[others[edge]] is None:
                    heapq.heappush(waiting, (costs[edge], others[edge], turn != signs[edge]))
    return np.where(np.array(turned, bool)[:, None], -normals, normals)


def _agreement(points: np.ndarray, normals: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per edge n . m, and a number whose sign says whether the two normals lie on the same side."""
    n, m = (normals[ends[:, k]] for k in range(2))
    along = points[ends[:, 1]] - points[ends[:, 0]]
    square = np.maximum((along**2).sum(1), 1e-300)
    agreement = (n * m).sum(1)
    mirrored = agreement - 2 * (n * along).sum(1) * (m * along).sum(1) / square
    return agreement, np.where(np.abs(agreement) > BEND, agreement, mirrored)


def _normals(normals, count: int) -> np.ndarray:
    rows = cloud_rows("normals", normals)
    if len(rows) != count:
        raise SceneError("normals", f"has {len(rows)} rows, expected one per point ({count})")
    return rows
