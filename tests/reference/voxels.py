"""Numpy twin of the voxel renderer: one ray at a time, as the formulas say."""

import numpy as np

PER_ENTRY = ("neural_volumes",)


def interpolate(values, q, lower, upper):
    """Trilinear value of [D, H, W, C] at a position, clamped at the border."""
    size = np.array(values.shape[2::-1])
    at = np.clip((q - lower) / (upper - lower) * size - 0.5, 0, size - 1)
    low = np.clip(np.floor(at).astype(int), 0, np.maximum(size - 2, 0))
    out = 0.0
    for corner in range(8):
        step = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        weight = np.prod(np.where(step, at - low, 1 - (at - low)))
        i, j, k = np.minimum(low + step, size - 1)
        out = out + weight * values[k, j, i]
    return out


def interval(o, d, lower, upper):
    with np.errstate(divide="ignore"):
        faces = np.stack([(lower - o) / d, (upper - o) / d])
    return max(faces.min(0).max(), 0.0), faces.max(0).min()


def places(method, o, d, lower, upper, size, samples):
    """t of every sample on a ray."""
    t0, t1 = interval(o, d, lower, upper)
    if t0 >= t1:
        return np.zeros(0)
    length = np.linalg.norm(d)
    if method == "drc":
        faces = [
            (lower[a] + (upper[a] - lower[a]) * np.arange(size[a] + 1) / size[a] - o[a]) / d[a]
            for a in range(3) if d[a] != 0
        ]  # fmt: skip
        cuts = np.unique(np.clip(np.concatenate([[t0, t1], *faces]), t0, t1))
        return ((cuts[1:] + cuts[:-1]) / 2)[np.diff(cuts) > 1e-12]
    if method == "ptn":
        return t0 + (t1 - t0) * (np.arange(samples) + 0.5) / samples
    spacing = (upper - lower).max() / samples
    if method in PER_ENTRY:
        t = t0 + (np.arange(10 * samples) + 0.5) * spacing / length
    else:
        nearest = ((lower + upper) / 2 - o) @ d / length**2
        t = nearest + (np.arange(-10 * samples, 10 * samples) + (0.5 if samples % 2 == 0 else 0)) * spacing / length
    return t[(t > t0) & (t < t1)]


def weights_of(method, v):
    """Weight of each sample and alpha, for values already scaled."""
    if method == "ptn":
        out = np.zeros_like(v)
        if len(v):
            out[v.argmax()] = v.max()
        return out, out.sum()
    if method == "visual_hull":
        return v, 1 - np.exp(-v.sum())
    if method == "neural_volumes":
        total = np.minimum(np.cumsum(v), 1)
        return np.diff(np.concatenate([[0], total])), total[-1] if len(v) else 0.0
    left = np.concatenate([[1], np.cumprod(1 - v)])
    return v * (left[1:] if method == "emission_absorption" else left[:-1]), 1 - left[-1]


def render(scene, node, camera, method, density_scale, background_depth):
    """rgb, alpha and depth [H, W, C] of one node with occupancy and colours."""
    grid, inverse = node.geometry, np.linalg.inv(scene.world_matrices()[node.name])
    values, colors = grid.occupancy.numpy()[..., None], grid.color.numpy()
    size = np.array(grid.shape[::-1])
    samples = 128 if method in PER_ENTRY else size.max()
    scale = 1.0 if method == "ptn" else density_scale
    if method in PER_ENTRY:
        scale *= (grid.upper - grid.lower).max() / samples
    background = np.array(scene.film.background)
    found = {name: np.zeros((camera.height, camera.width, c)) for name, c in (("rgb", 3), ("alpha", 1), ("depth", 1))}
    for row, column in np.ndindex(camera.height, camera.width):
        origin, direction = ray(camera, row, column)
        o, d = inverse[:3, :3] @ origin + inverse[:3, 3], inverse[:3, :3] @ direction
        t = places(method, o, d, grid.lower, grid.upper, size, samples)
        points = o + t[:, None] * d
        if method == "drc":
            cells = np.clip(((points - grid.lower) / (grid.upper - grid.lower) * size).astype(int), 0, size - 1)
            v = np.array([values[k, j, i, 0] for i, j, k in cells])
            c = np.array([colors[k, j, i] for i, j, k in cells]).reshape(-1, 3)
        else:
            v = np.array([interpolate(values, q, grid.lower, grid.upper)[0] for q in points])
            c = np.array([interpolate(colors, q, grid.lower, grid.upper) for q in points]).reshape(-1, 3)
        w, alpha = weights_of(method, scale * v)
        share = alpha / (w.sum() + 1e-8) if method in ("visual_hull", "absorption", "emission_absorption") else 1.0
        found["rgb"][row, column] = share * (w @ c) + (1 - alpha) * background
        found["alpha"][row, column] = alpha
        cosine = direction @ -camera.camera_to_world[:3, 2]
        depth = cosine * (w @ t) / w.sum() if w.sum() > 1e-6 else 0.0
        found["depth"][row, column] = alpha * depth + (1 - alpha) * background_depth
    return found


def ray(camera, row, column):
    """Origin and unit direction of a pixel's centre, world space."""
    (fx, fy), (cx, cy) = camera.focal.numpy(), camera.principal_point.numpy()
    x, y = (column + 0.5 - cx) / fx, -(row + 0.5 - cy) / fy
    pose = camera.camera_to_world
    if camera.kind == "perspective":
        direction = pose[:3, :3] @ np.array([x, y, -1.0])
        return pose[:3, 3], direction / np.linalg.norm(direction)
    return pose[:3, 3] + pose[:3, :3] @ np.array([x, y, 0.0]), -pose[:3, 2]
