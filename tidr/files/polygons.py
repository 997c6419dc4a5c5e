"""Polygons into triangles, and positions welded."""

import numpy as np

from tidr.errors import FileError
from tidr.scene.quads import cut_quads

from .guard import at

LARGEST_CONCAVE = 256  # corners; cutting ears takes time with the square of them


def triangulate(where: object, positions: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut polygons into triangles without turning any of them over.

    Args:
        positions: [C, 3] of all corners, polygon after polygon. counts: [P] corners of each polygon, at least 3.

    Returns:
        [F, 3] triangles as indices into the corners, and [F] the polygon of each; in the order of the polygons. Convex
        polygons become fans, concave ones are cut ear by ear.
    """
    starts = np.cumsum(counts) - counts
    triangles, owners = [], []
    for corners in np.unique(counts):
        which = np.flatnonzero(counts == corners)
        polygons = starts[which][:, None] + np.arange(corners)
        fans = np.stack([np.zeros(corners - 2, int), np.arange(1, corners - 1), np.arange(2, corners)], 1)
        if corners == 3:
            triangles.append(polygons)
            owners.append(which)
            continue
        if corners == 4:
            triangles.append(
                np.take_along_axis(polygons[:, None], cut_quads(positions, polygons), axis=2).reshape(-1, 3)
            )
            owners.append(np.repeat(which, 2))
            continue
        concave = _concave(positions[polygons])
        convex = polygons[~concave]
        triangles.append(convex[:, fans].reshape(-1, 3))
        owners.append(np.repeat(which[~concave], corners - 2))
        for polygon, owner in zip(polygons[concave], which[concave], strict=True):
            if corners > LARGEST_CONCAVE:
                raise FileError(at(where, f"face {owner}"), f"concave, {corners} corners", "triangulate it first")
            triangles.append(polygon[_cut_ears(positions[polygon])])
            owners.append(np.full(corners - 2, owner))
    if not triangles:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(triangles)[order], owner[order]


def weld(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge equal rows.

    Returns:
        The index of the first of each set of equal rows, in the order in which they come, and for every row the number
        of its set.
    """
    _, first, inverse = np.unique(rows + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.ravel()]


def _normals(polygons: np.ndarray) -> np.ndarray:
    """[P, 3] area normals (Newell) of polygons [P, n, 3]."""
    centred = polygons - polygons[:, :1]
    return np.cross(centred, np.roll(centred, -1, axis=1)).sum(1)


def _concave(polygons: np.ndarray) -> np.ndarray:
    """[P] whether a corner of the polygons [P, n, 3] turns the other way."""
    ahead = np.roll(polygons, -1, axis=1) - polygons
    turns = np.cross(np.roll(ahead, 1, axis=1), ahead)
    signed = (turns * _normals(polygons)[:, None]).sum(-1)
    return (signed < -1e-9 * np.abs(signed).max(1, keepdims=True)).any(1)


def _cut_ears(polygon: np.ndarray) -> np.ndarray:
    """[n - 2, 3] triangles of one simple polygon [n, 3]; a polygon that crosses itself is closed up by a fan."""
    normal = _normals(polygon[None])[0]
    drop = int(np.abs(normal).argmax())
    flat = np.delete(polygon - polygon[0], drop, axis=1)
    # Dropping x or z keeps the sense of rotation, dropping y turns it round.
    flat[:, 0] *= np.sign(normal[drop]) * (-1 if drop == 1 else 1)
    left, triangles = list(range(len(flat))), []
    while len(left) > 3:
        for slot in range(len(left)):
            ear = [left[slot - 1], left[slot], left[(slot + 1) % len(left)]]
            if _is_ear(flat, ear, left):
                triangles.append(ear)
                del left[slot]
                break
        else:
            return np.array(triangles + [[left[0], left[k], left[k + 1]] for k in range(1, len(left) - 1)])
    return np.array([*triangles, left])


def _is_ear(points: np.ndarray, ear: list[int], left: list[int]) -> bool:
    """Whether the triangle turns the right way and no other corner lies in it."""
    a, b, c = points[ear]

    def side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
        edge, to = end - start, point - start
        return edge[0] * to[..., 1] - edge[1] * to[..., 0]

    if side(a, b, c) <= 0:
        return False
    others = points[[corner for corner in left if corner not in ear]]
    others = others[~((others == a) | (others == b) | (others == c)).all(1)]
    inside = (side(a, b, others) >= 0) & (side(b, c, others) >= 0) & (side(c, a, others) >= 0)
    return not inside.any()
