"""Numpy twin of the volume renderer: one ray and one sample at a time."""

import numpy as np


def lookup(grid: np.ndarray, position, lower, upper):
    """Trilinear value of a grid [D, H, W, ...] of cell-centred values at a point, clamped at the border."""
    corners, parts = [], []
    for axis in range(3):
        count = grid.shape[2 - axis]
        place = (position[axis] - lower[axis]) / (upper[axis] - lower[axis]) * count - 0.5
        place = min(max(place, 0.0), count - 1.0)
        low = min(int(place), max(count - 2, 0))
        corners.append((low, min(low + 1, count - 1)))
        parts.append(place - low)
    total = 0.0
    for x in (0, 1):
        for y in (0, 1):
            for z in (0, 1):
                weight = np.prod([part if bit else 1 - part for part, bit in zip(parts, (x, y, z), strict=True)])
                total = total + weight * grid[corners[2][z], corners[1][y], corners[0][x]]
    return total


def interval(origin, direction, lower, upper):
    """Times at which a ray enters and leaves a box; None where it misses."""
    near, far = 0.0, np.inf
    for axis in range(3):
        if direction[axis] == 0:
            if not lower[axis] <= origin[axis] <= upper[axis]:
                return None
            continue
        times = sorted((face - origin[axis]) / direction[axis] for face in (lower[axis], upper[axis]))
        near, far = max(near, times[0]), min(far, times[1])
    return (near, far) if far > near else None


def activated(number: float, kind: str, shift: float = 0.0) -> float:
    if kind == "relu":
        return max(number, 0.0)
    return float(np.logaddexp(0.0, number + shift)) if kind == "softplus" else number


def harmonics(direction, terms: int) -> np.ndarray:
    """Real spherical harmonics [K] of degree 0 to 2 from their definition in x, y, z."""
    x, y, z = direction / np.linalg.norm(direction)
    root = np.sqrt(1 / np.pi)
    values = [
        0.5 * root,
        *(np.sqrt(3 / (4 * np.pi)) * np.array([-y, z, -x])),
        0.5 * np.sqrt(15) * root * x * y,
        -0.5 * np.sqrt(15) * root * y * z,
        0.25 * np.sqrt(5) * root * (3 * z * z - 1),
        -0.5 * np.sqrt(15) * root * x * z,
        0.25 * np.sqrt(15) * root * (x * x - y * y),
    ]
    return np.array(values[:terms])


def march(volume, origin, direction, steps: int, stop: float = 0.0):
    """(rgb [3], alpha, sum of w t) of one ray in object space, samples in the middle of their strata."""
    density = volume.density.numpy().astype(np.float64)
    span = interval(origin, direction, volume.lower, volume.upper)
    color, far, through = np.zeros(3), 0.0, 1.0
    if span is None:
        return color, 0.0, 0.0
    delta = (span[1] - span[0]) / steps
    for k in range(steps):
        if through <= stop:
            break
        t = span[0] + (k + 0.5) * delta
        at = np.asarray(origin) + t * np.asarray(direction)
        number = float(lookup(density, at, volume.lower, volume.upper))
        left = np.exp(-activated(number, volume.density_activation, volume.density_shift) * delta)
        weight = through * (1 - left)
        color += weight * emitted(volume, at, direction)
        far += weight * t
        through *= left
    return color, 1 - through, far


def emitted(volume, position, direction) -> np.ndarray:
    if volume.sh is not None:
        sh = lookup(volume.sh.numpy().astype(np.float64), position, volume.lower, volume.upper)
        return np.maximum(0.0, 0.5 + harmonics(np.asarray(direction), len(sh)) @ sh)
    color = volume.color.numpy().astype(np.float64)
    return color if color.ndim == 1 else lookup(color, position, volume.lower, volume.upper)
