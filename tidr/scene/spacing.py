"""How far apart points stand: the size that Gaussians begin with."""

import numpy as np

from .neighbors import nearest

NEIGHBOURS = 3
SMALLEST = 1e-4  # of the diagonal of the points' box, so that points at one place get a size too


def spacing(points) -> np.ndarray:
    """[N] mean distance of each point [N, 3] to its three nearest neighbours, above 0; 1 for a lone point.

    Raises:
        SceneError: wrong shape, no point, not finite.
    """
    _, squares = nearest(points, k=NEIGHBOURS)
    distances = np.sqrt(np.asarray(squares, np.float64))
    found = np.isfinite(distances)
    if not found.any():
        return np.ones(len(distances))
    means = np.where(found, distances, 0).sum(1) / np.maximum(found.sum(1), 1)
    points = np.asarray(points, np.float64)
    diagonal = float(np.linalg.norm(points.max(0) - points.min(0)))
    return np.maximum(means, SMALLEST * diagonal if diagonal > 0 else 1.0)
