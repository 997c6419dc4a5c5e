"""Soft rasterization in numpy (Liu et al. 2019): every triangle against every pixel, in normalised device coordinates.

The image's shorter side spans two units. A triangle counts at a pixel that it covers, or that lies less than
ln(1/1e-4 - 1) * sigma (squared distance) outside; all triangles before the near plane, none behind it.
"""

import numpy as np

CUTOFF = np.log(1 / 1e-4 - 1)
BACKGROUND = 1e-3


def squared_distance(px, py, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distance of points from the segment a-b."""
    along = b - a
    length = along @ along
    t = np.clip(((px - a[0]) * along[0] + (py - a[1]) * along[1]) / length, 0, 1) if length > 0 else 0 * px
    return (px - a[0] - t * along[0]) ** 2 + (py - a[1] - t * along[1]) ** 2


def screen_barycentrics(px, py, p: np.ndarray) -> np.ndarray:
    """[3, H, W] affine barycentrics of points in the screen triangle p [3, 2]."""
    matrix = np.concatenate([p.T, np.ones((1, 3))])
    points = np.stack([px, py, np.ones_like(px)])
    return np.einsum("ij,jhw->ihw", np.linalg.inv(matrix), points)


def entries(screen, triangles, width, height, sigma, distance, perspective, near, far):
    """For every triangle drawn: index, probability, reach mask, depth and perspective-correct weights per pixel."""
    unit = min(width, height) / 2
    px, py = np.meshgrid((np.arange(width) + 0.5) / unit, (np.arange(height) + 0.5) / unit)
    for f, corners in enumerate(screen[triangles]):
        if (corners[:, 3] < near).any():
            continue
        p = corners[:, :2] / corners[:, 2:3] / unit
        if abs(np.linalg.det(np.concatenate([p.T, np.ones((1, 3))]))) < 1e-14:
            continue
        b = screen_barycentrics(px, py, p)
        inside = b.min(0) >= 0
        if distance == "euclidean":
            size = np.min([squared_distance(px, py, p[k], p[(k + 1) % 3]) for k in range(3)], 0)
        else:
            size = b.min(0) ** 2
        probability = 1 / (1 + np.exp(np.clip(np.where(inside, -size, size) / sigma, -700, 700)))
        reach = inside | (size < CUTOFF * sigma)
        if distance == "hard":
            probability, reach = inside.astype(float), inside
        clipped = np.clip(b, 0, 1)
        clipped /= clipped.sum(0)
        w, z = corners[:, 2, None, None], corners[:, 3, None, None]
        weights = clipped / w / (clipped / w).sum(0) if perspective else clipped
        depth = (weights * z).sum(0)
        yield f, probability, reach & (depth <= far), depth, weights


def draw(
    screen,  # [V, 4] column * w, row * w, w, depth
    triangles,  # [F, 3]
    values,  # [V, C] at the vertices
    width: int,
    height: int,
    *,
    sigma: float,
    gamma: float,
    depth_range: tuple[float, float],
    distance: str = "euclidean",
    alpha_mode: str = "product",
    color_mode: str = "softmax",
    perspective: bool = True,
    near: float = 1e-2,
    far: float = 1e6,
    background=0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """alpha [H, W] and colours [H, W, C]."""
    free, total, hit = np.ones((height, width)), np.zeros((height, width)), np.zeros((height, width))
    first, last = depth_range
    exponents, shares, colors = [np.full((height, width), BACKGROUND / gamma)], [np.ones((height, width))], []
    colors.append(np.broadcast_to(background, (height, width, values.shape[1])))
    for f, probability, reach, depth, weights in entries(
        screen, triangles, width, height, sigma, distance, perspective, near, far
    ):
        d = np.where(reach, probability, 0.0)
        free, total, hit = free * (1 - d), total + d, np.maximum(hit, d >= 0.5)
        exponents.append((last - depth) / (last - first) / gamma)
        shares.append(d)
        colors.append(np.einsum("khw,kc->hwc", weights, values[triangles[f]]))
    alpha = {"product": 1 - free, "sum": total / max(len(triangles), 1), "hard": hit}[alpha_mode]
    exponents, shares, colors = np.array(exponents), np.array(shares), np.array(colors)
    if color_mode == "softmax":
        # Taking off the largest exponent of the entries that count keeps exp finite.
        top = np.where(shares > 0, exponents, -np.inf).max(0)
        weight = shares * np.exp(np.minimum(exponents - top, 0))
        weight /= weight.sum(0)
    else:
        # The nearest triangle that covers the pixel, else the background.
        order = np.where(shares >= 0.5, exponents, -np.inf)
        order[0] = np.finfo(float).min
        weight = (np.arange(len(order))[:, None, None] == order.argmax(0)).astype(float)
    return alpha, (weight[..., None] * colors).sum(0)
