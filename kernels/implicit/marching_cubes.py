"""Marching cubes (Lorensen and Cline 1987): which edges of a grid a level set crosses, and the triangles between them.

The table of 256 cases is derived, not listed. On each face of a cube the crossed edges are joined so that corners that
are inside stay apart: a rule that looks at the face's four corners only, so that two cubes always agree on the face
between them and the surface has no cracks. The segments of a cube's faces close to loops; a loop is cut into triangles
by diagonals that do not lie in a face, so that no edge gets more than two triangles.
"""

from __future__ import annotations

import functools

import numpy as np

# Corner c of a cube lies at (c & 1, c >> 1 & 1, c >> 2 & 1) along x, y, z. Edge (corner, axis) runs from a corner whose
# bit of that axis is 0.
EDGES = [(corner, axis) for axis in range(3) for corner in range(8) if not corner >> axis & 1]


def _edge(a: int, b: int) -> int:
    return EDGES.index((min(a, b), (a ^ b).bit_length() - 1))


def _faces() -> list[list[int]]:
    """The four corners of each face, clockwise seen from outside the cube."""
    found = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        ring = [0, u, u | v, v]
        found += [ring, [corner | 1 << axis for corner in reversed(ring)]]
    return found


def _segments(case: int) -> dict[int, int]:
    """From the edge where a loop of the surface comes to each face, the edge where it leaves it."""
    following = {}
    for ring in _faces():
        inside = [bool(case >> corner & 1) for corner in ring]
        for k in range(4):
            if inside[k] and not inside[k - 1]:
                last = k
                while inside[(last + 1) % 4]:
                    last += 1
                leave = _edge(ring[last % 4], ring[(last + 1) % 4])
                following[leave] = _edge(ring[k - 1], ring[k])
    return following


def _loops(case: int) -> list[list[int]]:
    following, loops = _segments(case), []
    while following:
        loop = [next(iter(following))]
        while following.get(loop[-1], loop[0]) != loop[0]:
            loop.append(following.pop(loop[-1]))
        following.pop(loop[-1])
        loops.append(loop)
    return loops


def _in_one_face(a: int, b: int) -> bool:
    ends = [{corner, corner | 1 << axis} for corner, axis in (EDGES[a], EDGES[b])]
    return any((ends[0] | ends[1]) <= set(ring) for ring in _faces())


def _cut(loop: list[int]) -> list[tuple[int, int, int]] | None:
    """Triangles of a loop without a diagonal in a face; None where there is no such cut."""
    if len(loop) == 3:
        return [(loop[0], loop[1], loop[2])]
    for k in range(1, len(loop) - 1):
        if k > 1 and _in_one_face(loop[0], loop[k]):
            continue
        if k < len(loop) - 2 and _in_one_face(loop[k], loop[-1]):
            continue
        left = _cut(loop[: k + 1]) if k > 1 else []
        right = _cut(loop[k:]) if k < len(loop) - 2 else []
        if left is not None and right is not None:
            return [*left, (loop[0], loop[k], loop[-1]), *right]
    return None


@functools.cache
def table() -> tuple[np.ndarray, np.ndarray]:
    """(triangles [256, T, 3] of edges, -1 beyond their number; their number [256])."""
    cases = []
    for case in range(256):
        cut = [_cut(loop) for loop in _loops(case)]
        cases.append([triangle for part in cut if part is not None for triangle in part])
    counts = np.array([len(case) for case in cases])
    triangles = np.full((256, counts.max(), 3), -1, np.int32)
    for case, found in enumerate(cases):
        triangles[case, : len(found)] = np.reshape(found, (-1, 3))
    return triangles, counts


def find(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the border of a set of grid points lies.

    inside: bool [D, H, W]. Returns ends [V, 2], rows of the two grid points of every crossed edge, and faces [F, 3],
    counter-clockwise seen from outside.
    """
    depth, height, width = inside.shape
    rows = np.arange(inside.size, dtype=np.int32).reshape(inside.shape)
    numbers = np.full((3, inside.size), -1, np.int32)
    ends, count = [], 0
    for axis in range(3):
        low = tuple(slice(None, -1) if 2 - axis == k else slice(None) for k in range(3))
        high = tuple(slice(1, None) if 2 - axis == k else slice(None) for k in range(3))
        crossed = inside[low] != inside[high]
        first, second = rows[low][crossed], rows[high][crossed]
        numbers[axis, first] = np.arange(count, count + len(first), dtype=np.int32)
        ends.append(np.stack([first, second], 1))
        count += len(first)
    if min(inside.shape) < 2 or not count:
        return np.zeros((0, 2), np.int32), np.zeros((0, 3), np.int32)
    case = np.zeros((depth - 1, height - 1, width - 1), np.uint8)
    for corner in range(8):
        x, y, z = corner & 1, corner >> 1 & 1, corner >> 2 & 1
        case |= inside[z : depth - 1 + z, y : height - 1 + y, x : width - 1 + x].astype(np.uint8) << corner
    cells = (case > 0) & (case < 255)
    return np.concatenate(ends), _triangles(case[cells], rows[:-1, :-1, :-1][cells], numbers, width, width * height)


def _triangles(case: np.ndarray, base: np.ndarray, numbers: np.ndarray, line: int, plane: int) -> np.ndarray:
    triangles, counts = table()
    edges = np.array(EDGES)
    step = (edges[:, 0] & 1) + (edges[:, 0] >> 1 & 1) * line + (edges[:, 0] >> 2 & 1) * plane
    found = [np.zeros((0, 3), np.int32)]
    for k in range(triangles.shape[1]):
        chosen = counts[case] > k
        corners = triangles[case[chosen], k]
        found.append(numbers[edges[corners, 1], base[chosen, None] + step[corners]])
    return np.concatenate(found)
