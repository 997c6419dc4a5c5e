"""Quads: each is kept as two triangles, one after the other, and written as a quad again."""

import numpy as np

FAN, OTHER = ((0, 1, 2), (0, 2, 3)), ((0, 1, 3), (1, 2, 3))


def cut_quads(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """[Q, 2, 3] corners (0 to 3) of the two triangles that each of the quads [Q, 4] is cut into.

    The cut goes from corner 0 to 2, or from 1 to 3 where a corner points inwards and the first would turn a triangle
    over.
    """
    p = vertices[quads]
    first, second = (np.cross(p[:, k] - p[:, 0], p[:, k + 1] - p[:, 0]) for k in (1, 2))
    return np.where(((first * second).sum(1) < 0)[:, None, None], OTHER, FAN)


def find_quads(faces: np.ndarray, owner: np.ndarray) -> np.ndarray | None:
    """[Q] the first triangle of each quad of four vertices, or None; owner [F]: the polygon of each triangle."""
    first = np.flatnonzero(np.bincount(owner)[owner] == 2)[::2]
    pairs = np.sort(np.concatenate([faces[first], faces[first + 1]], axis=1), axis=1)
    first = first[(np.diff(pairs, axis=1) != 0).sum(1) == 3]
    return first.astype(np.int32) if len(first) else None


def quad_corners(faces: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """[Q, 4] corners, `triangle * 3 + k`, around each quad, whose triangles are quads [Q] and the next; the way back.

    Begins with the first corner of the first triangle.
    """
    one, two = faces[quads], faces[quads + 1]
    tip, far = ((a[:, :, None] != b[:, None, :]).all(2).argmax(1) for a, b in ((one, two), (two, one)))
    around = np.stack([3 * quads + tip, 3 * quads + (tip + 1) % 3, 3 * quads + 3 + far, 3 * quads + (tip + 2) % 3], 1)
    begin = np.array([0, 3, 1])[tip]
    return np.take_along_axis(around, (begin[:, None] + np.arange(4)) % 4, axis=1)
