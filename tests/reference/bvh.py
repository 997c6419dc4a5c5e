"""Rays against all triangles in numpy, f64: the twin of the BVH."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Hits:
    """Nearest hits of rays, [R] each: triangle (-1: none), t, u, v, and whether rounding may decide otherwise."""

    triangle: np.ndarray
    t: np.ndarray
    u: np.ndarray
    v: np.ndarray
    doubtful: np.ndarray


def brute_force(corners: np.ndarray, o: np.ndarray, d: np.ndarray, t_max: np.ndarray, epsilon: float) -> Hits:
    """Of corners [F, 3, 3] by rays o + t d with 0 < t < t_max [R].

    A ray is doubtful where a determinant of some triangle (Moeller and Trumbore 1997) is within 64 rounding errors of
    where its sign, or its comparison with t_max, changes.
    """
    corners, o, d = (np.asarray(array, np.float64) for array in (corners, o, d))
    best, found = np.full(len(o), np.inf), np.full(len(o), -1)
    u, v, doubtful = np.zeros(len(o)), np.zeros(len(o)), np.zeros(len(o), bool)
    for k, (corner, one, two) in enumerate(corners):
        a, b = one - corner, two - corner
        s, p = o - corner, np.cross(d, b)
        q, det = np.cross(s, a), p @ a
        length = max(np.linalg.norm(a), np.linalg.norm(b))
        reach = length * (np.abs(s).sum(1) + length) * 64 * epsilon
        margin, sign = reach * np.linalg.norm(d, axis=1), np.sign(det)
        x, y, z = (s * p).sum(1) * sign, (d * q).sum(1) * sign, q @ b * sign
        area = np.abs(det)
        least = np.minimum(np.minimum(x, y), area - x - y)
        t = z / np.where(area > 0, area, 1)
        ends = np.minimum(t, t_max - t) * area
        hit = (least >= 0) & (area > 0) & (ends > 0)
        off = margin * np.maximum(t, 0) + reach * length
        unsure = (np.abs(least) <= margin) | (area <= margin)
        doubtful |= unsure & (least >= -margin) & (ends >= -off) | hit & (ends <= off)
        doubtful |= (np.abs(ends) <= off) & (least >= -margin)
        nearer = hit & (t < best)
        doubtful |= hit & np.isfinite(best) & (np.abs(t - np.where(np.isfinite(best), best, 0)) * area <= off)
        best, found = np.where(nearer, t, best), np.where(nearer, k, found)
        u = np.where(nearer, x / np.where(area > 0, area, 1), u)
        v = np.where(nearer, y / np.where(area > 0, area, 1), v)
    return Hits(found, best, u, v, doubtful)
