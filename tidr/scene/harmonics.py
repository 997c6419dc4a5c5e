"""Functions of direction: real spherical harmonics, latitude-longitude pictures and cube maps."""

import math

import numpy as np

ORDERS = 4  # 0 to 3
COSINE = np.array([math.pi, 2 * math.pi / 3, math.pi / 4, 0.0])  # of each order: irradiance over radiance


def basis(directions: np.ndarray, order: int) -> np.ndarray:
    """[n, (order + 1)^2] harmonics of directions [n, 3], of any length above 0."""
    x, y, z = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T
    columns = [0.28209479177387814 + 0 * x]
    columns += [0.4886025119029199 * u for u in (y, z, x)]
    columns += [1.0925484305920792 * x * y, 1.0925484305920792 * y * z, 0.31539156525252005 * (3 * z * z - 1)]
    columns += [1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y)]
    columns += [0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z]
    columns += [0.4570457994644658 * y * (5 * z * z - 1), 0.3731763325901154 * z * (5 * z * z - 3)]
    columns += [0.4570457994644658 * x * (5 * z * z - 1), 1.445305721320277 * z * (x * x - y * y)]
    columns += [0.5900435899266435 * x * (x * x - 3 * y * y)]
    return np.stack(columns[: (order + 1) ** 2], -1)


def texel_directions(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """([n, 3] unit directions of a latitude-longitude picture's texel centres, [n] solid angles, 4 pi in all)."""
    row = np.arange(height + 1) * np.pi / height
    directions = map_directions((np.arange(height) + 0.5) * np.pi / height, width)
    return directions, np.repeat(-np.diff(np.cos(row)) * 2 * np.pi / width, width)


def map_directions(down: np.ndarray, width: int) -> np.ndarray:
    """[n, 3] unit directions of the rows at angles `down` from straight up, `width` columns each."""
    along = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    theta, phi = (grid.ravel() for grid in np.meshgrid(down, along, indexing="ij"))
    return np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), -np.sin(theta) * np.cos(phi)], -1)


def look_up_cube(faces: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """[n, C] bilinear look-ups in a cube map [6, N, N, C] (OpenGL's faces), clamped at the edges of each face."""
    size = faces.shape[1]
    axis = np.abs(directions).argmax(1)
    along = directions[np.arange(len(directions)), axis]
    sign, (x, y, z) = np.sign(along), directions.T
    across = np.choose(axis, [-sign * z, x, sign * x]) / np.abs(along)
    down = np.choose(axis, [-y, sign * z, -y]) / np.abs(along)
    place = np.stack([down, across]) * size / 2 + (size - 1) / 2
    low = np.clip(np.floor(place), 0, size - 1).astype(int)
    high, part = np.minimum(low + 1, size - 1), np.clip(place - low, 0, 1)[..., None]
    face = 2 * axis + (along < 0)
    upper = faces[face, low[0], low[1]] * (1 - part[1]) + faces[face, low[0], high[1]] * part[1]
    lower = faces[face, high[0], low[1]] * (1 - part[1]) + faces[face, high[0], high[1]] * part[1]
    return upper * (1 - part[0]) + lower * part[0]
