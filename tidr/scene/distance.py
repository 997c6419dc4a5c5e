"""Exact Euclidean distances on a grid, one axis after the other (after Felzenszwalb and Huttenlocher 2012)."""

import numpy as np

CHUNK = 1 << 24  # entries of the table of pairs that is made at once


def distance_transform(mask: np.ndarray, spacing) -> np.ndarray:
    """Distance [D, H, W] from every cell's centre to the nearest centre of a True cell; inf where there is none.

    spacing: distance of neighbouring centres along each axis of `mask` (z, y, x).
    """
    squares = np.where(mask, 0.0, np.inf)
    for axis, step in enumerate(spacing):
        squares = np.moveaxis(_lowest_parabola(np.moveaxis(squares, axis, -1), float(step)), -1, axis)
    return np.sqrt(squares)


def _lowest_parabola(values: np.ndarray, step: float) -> np.ndarray:
    """min over j of values[..., j] + (step (i - j))^2 for every i of the last axis."""
    count = values.shape[-1]
    places = np.arange(count) * step
    parabolas = (places[:, None] - places[None, :]) ** 2  # [i, j]
    lines = values.reshape(-1, count)
    found = np.empty_like(lines)
    chunk = max(CHUNK // (count * count), 1)
    for first in range(0, len(lines), chunk):
        found[first : first + chunk] = (lines[first : first + chunk, None, :] + parabolas).min(-1)
    return found.reshape(values.shape)
