"""Numpy twins of the implicit surfaces: trilinear grids, hits by bisection, NeuS, distances to triangles."""

import numpy as np


def trilinear(grid: np.ndarray, points: np.ndarray, lower, upper) -> np.ndarray:
    """[n] values of grid [D, H, W] at points [n, 3], clamped at the border."""
    size = np.array(grid.shape[::-1])
    q = (points - np.asarray(lower)) / (np.asarray(upper) - np.asarray(lower)) * size - 0.5
    q = np.clip(q, 0, size - 1)
    low = np.clip(q.astype(int), 0, np.maximum(size - 2, 0))
    at = q - low
    out = np.zeros(len(points))
    for corner in range(8):
        bits = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        place = np.minimum(low + bits, size - 1)
        weight = np.where(bits == 1, at, 1 - at).prod(1)
        out += weight * grid[place[:, 2], place[:, 1], place[:, 0]]
    return out


def first_hit(grid, origin, direction, lower, upper, times, steps: int = 4000) -> float:
    """The first t in times where the grid turns from positive to negative along a ray; nan where it does not."""
    t = np.linspace(*times, steps)
    values = trilinear(grid, origin + t[:, None] * direction, lower, upper)
    change = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
    if not len(change):
        return np.nan
    a, b = t[change[0]], t[change[0] + 1]
    for _ in range(60):
        middle = (a + b) / 2
        if trilinear(grid, origin + middle * direction[None], lower, upper)[0] > 0:
            a = middle
        else:
            b = middle
    return (a + b) / 2


def neus(values: np.ndarray, colors: np.ndarray, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """(weights [n], colour [3]) of section ends' distances values [n + 1] and section colours [n, 3]."""
    phi = 1 / (1 + np.exp(-sharpness * values))
    alpha = np.maximum((phi[:-1] - phi[1:]) / phi[:-1], 0)
    weights = alpha * np.cumprod(np.concatenate([[1], 1 - alpha[:-1]]))
    return weights, weights @ colors


def point_triangle(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Distance of a point and a triangle, by the nearest of its inside and its three sides."""
    best = min(_segment(p, *ends) for ends in ((a, b), (b, c), (c, a)))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal)
    if length > 0:
        normal = normal / length
        foot = p - normal * ((p - a) @ normal)
        sides = [np.cross(y - x, foot - x) @ normal for x, y in ((a, b), (b, c), (c, a))]
        if min(sides) >= 0:
            best = min(best, abs(float((p - a) @ normal)))
    return best


def _segment(p, a, b) -> float:
    d = b - a
    along = np.clip((p - a) @ d / max(d @ d, 1e-300), 0, 1)
    return float(np.linalg.norm(p - a - along * d))
