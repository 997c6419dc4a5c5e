"""The hard rasterizer in numpy: every triangle against every pixel, by the rules of kernels/raster/find.py.

A pixel is covered when its centre lies inside the screen polygon or on its outline; of the covering triangles the
nearest wins, of equally near ones the one with the lower id. No tiles, no boxes, one view.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Raster:
    """ids [H, W] (-1 where empty), depth [H, W] (0 where empty), barycentrics [H, W, 3] (0 where empty)."""

    ids: np.ndarray
    depth: np.ndarray
    barycentrics: np.ndarray


def world_positions(scene) -> tuple[np.ndarray, np.ndarray]:
    """World positions [V, 3] and triangles [F, 3] of all meshes of a scene, in the order of its nodes."""
    worlds, positions, triangles, count = scene.world_matrices(), [np.zeros((0, 3))], [np.zeros((0, 3), int)], 0
    for name, node in scene.nodes.items():
        if node.geometry is not None:
            vertices = node.vertices.numpy().astype(np.float64)
            positions.append(vertices @ worlds[name][:3, :3].T + worlds[name][:3, 3])
            triangles.append(node.faces + count)
            count += len(vertices)
    return np.concatenate(positions), np.concatenate(triangles)


def project(camera, positions: np.ndarray, width: int, height: int) -> np.ndarray:
    """[V, 4]: column * w, row * w, w, depth of world positions."""
    matrix, _ = camera.projection(width, height)
    return positions @ matrix[:, :3].T + matrix[:, 3]


def clipped(screen: np.ndarray, ids: np.ndarray, near: float) -> list[np.ndarray]:
    """Corners of the part of a triangle beyond the near plane; a cut is made from the edge's lower vertex id."""
    corners = []
    for k in range(3):
        a, b = ids[k], ids[(k + 1) % 3]
        if screen[a, 3] >= near:
            corners.append(screen[a])
        if (screen[a, 3] >= near) != (screen[b, 3] >= near):
            p, q = screen[min(a, b)], screen[max(a, b)]
            corners.append(p + (q - p) * ((near - p[3]) / (q[3] - p[3])))
    return corners


def edge_function(a: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positive on the left of edge a-b; evaluated from the lexicographically lower end."""
    sign = 1.0
    if (b[0], b[1]) < (a[0], a[1]):
        a, b, sign = b, a, -1.0
    return (b[0] - a[0]) * sign * (y - a[1]) - (b[1] - a[1]) * sign * (x - a[0])


def nearness_plane(points: np.ndarray, keys: np.ndarray) -> tuple[float, float]:
    """Slope of the affine nearness along x and y, from the larger triangle of the fan."""
    best, slope = 0.0, (0.0, 0.0)
    for k in range(1, len(points) - 1):
        (dx1, dy1), (dx2, dy2) = points[k] - points[0], points[k + 1] - points[0]
        dk1, dk2 = keys[k] - keys[0], keys[k + 1] - keys[0]
        area = dx1 * dy2 - dx2 * dy1
        if abs(area) > abs(best):
            best, slope = area, ((dk1 * dy2 - dk2 * dy1) / area, (dk2 * dx1 - dk1 * dx2) / area)
    return slope


def area(points: np.ndarray) -> float:
    """Twice the signed area of a polygon; rows grow downwards, so fronts (counter-clockwise) are negative."""
    from_first = points - points[0]
    following = np.roll(from_first, -1, 0)
    return float((from_first[:, 0] * following[:, 1] - from_first[:, 1] * following[:, 0]).sum())


def rasterize(
    screen: np.ndarray,
    triangles: np.ndarray,
    width: int,
    height: int,
    near: float,
    far: float,
    perspective: bool,
    cull_back: bool = False,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Raster:
    """Draw triangles [F, 3] of homogeneous screen vertices [V, 4]; `offset` moves the pixel centres (pixels)."""
    x, y = np.meshgrid(np.arange(width) + 0.5 + offset[0], np.arange(height) + 0.5 + offset[1])
    ids, best = np.full((height, width), -1), np.full((height, width), -np.inf)
    farthest = 1 / far if perspective else -far
    for f, corners_of in enumerate(triangles):
        corners = np.array(clipped(screen, corners_of, near))
        if len(corners) < 3:
            continue
        points = corners[:, :2] / corners[:, 2:3]
        keys = 1 / corners[:, 2] if perspective else -corners[:, 3]
        turn = area(points)
        if turn == 0 or (cull_back and turn > 0):
            continue
        inside = np.ones_like(x, bool)
        for k in range(len(points)):
            inside &= edge_function(points[k], points[(k + 1) % len(points)], x, y) * np.sign(turn) >= 0
        sx, sy = nearness_plane(points, keys)
        key = keys[0] + sx * (x - points[0, 0]) + sy * (y - points[0, 1])
        wins = inside & (key >= farthest) & (key > best)
        ids[wins], best[wins] = f, key[wins]
    bary = barycentrics(screen, triangles, ids, x, y)
    hit = ids >= 0
    depth = np.zeros((height, width))
    depth[hit] = (bary[hit] * screen[triangles[ids[hit]], 3]).sum(-1)
    return Raster(ids, depth, bary)


def barycentrics(screen: np.ndarray, triangles: np.ndarray, ids: np.ndarray, x, y) -> np.ndarray:
    """[H, W, 3] perspective-correct barycentrics: the b with sum(b_k c_k) on the pixel's ray and sum(b) = 1."""
    found = np.zeros((*ids.shape, 3))
    hit = ids >= 0
    if hit.any():
        c = screen[triangles[ids[hit]]][..., :3]  # [n, corner, 3]
        px = np.stack([x[hit], y[hit], np.ones(hit.sum())], -1)
        b = np.linalg.solve(np.swapaxes(c, 1, 2), px[..., None])[..., 0]
        found[hit] = b / b.sum(-1, keepdims=True)
    return found


def draw(scene, camera, width: int, height: int, **options) -> Raster:
    """The twin's picture of a scene's meshes from one camera."""
    positions, triangles = world_positions(scene)
    screen = project(camera, positions, width, height)
    perspective = camera.kind == "perspective"
    return rasterize(screen, triangles, width, height, camera.near, camera.far, perspective, **options)
