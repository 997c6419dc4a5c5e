"""Points in a grid of one camera's frustum by plain loops, and what its rays see."""

import itertools

import numpy as np

from tidr.scene.camera import Camera


def grid(camera: Camera, width, height, points, amounts, side, span, smoothing, taps) -> np.ndarray:
    """[C, side, side, side] (row, column, depth) sums of amounts [N, C], smoothed."""
    matrix = camera.projection(width, height)[0]
    cells = np.zeros((amounts.shape[1], side, side, side))
    for p, amount in zip(points, amounts, strict=True):
        q = matrix @ np.append(p, 1)
        u = np.array([q[1] / q[2] / height, q[0] / q[2] / width, (q[3] - span[0]) / (span[1] - span[0])])
        if not (camera.near < q[3] < camera.far and (u >= 0).all() and (u <= 1).all()):
            continue
        at = np.clip(u * side - 0.5, 0, side - 1)
        low = np.minimum(at.astype(int), side - 2)
        for corner in itertools.product((0, 1), repeat=3):
            share = np.prod(np.where(corner, at - low, 1 - (at - low)))
            cells[(slice(None), *(low + corner))] += share * amount
    kernel = np.exp(-0.5 * ((np.arange(taps) - taps // 2) / smoothing) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2, 3):
        cells = np.apply_along_axis(lambda line: np.convolve(line, kernel)[taps // 2 :][:side], axis, cells)
    return cells


def look(cells: np.ndarray, span) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """alpha [side, side], sums of weight * depth [side, side] and of weight * colour [side, side, 3] of a grid."""
    side = cells.shape[-1]
    occupancy = np.minimum(cells[0], 1)
    on = np.maximum(1 - occupancy, 1e-5)
    through = np.concatenate([np.ones((side, side, 1)), np.cumprod(on, -1)], -1)
    weights = occupancy * through[..., :-1]
    depths = span[0] + (np.arange(side) + 0.5) / side * (span[1] - span[0])
    colors = cells[1:] / np.maximum(cells[0], 1e-30)
    return 1 - through[..., -1], weights @ depths, np.einsum("yxs,cyxs->yxc", weights, colors)
