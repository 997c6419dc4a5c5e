"""Numpy twins of the point splats: every pixel against every point, in camera space, as the formulas say."""

import numpy as np

EPSILON = 1e-8


def points_of(scene, camera, width: int, height: int):
    """Camera space [N, 3] (x right, y down, z ahead), radii and opacities [N], colours [N, 3], of all clouds."""
    to_camera = np.linalg.inv(camera.camera_to_world)
    worlds, parts = scene.world_matrices(), []
    for node in scene.nodes.values():
        if node.geometry is None:
            continue
        cloud, matrix = node.geometry, to_camera @ worlds[node.name]
        positions = cloud.positions.numpy() @ matrix[:3, :3].T + matrix[:3, 3]
        count = len(positions)
        scale = abs(np.linalg.det(matrix[:3, :3])) ** (1 / 3)
        radii = np.zeros(count) if cloud.radii is None else cloud.radii.numpy()[:, 0] * scale
        opacities = np.ones(count) if cloud.opacities is None else cloud.opacities.numpy()[:, 0]
        colors = np.ones((count, 3)) if cloud.colors is None else cloud.colors.numpy()
        parts.append((positions * (1, -1, -1), radii, opacities, colors))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def lens(camera, width: int, height: int):
    size = np.array([width / camera.width, height / camera.height])
    return camera.focal.numpy().astype(float) * size, camera.principal_point.numpy().astype(float) * size


def on_screen(camera, positions, radii, width: int, height: int):
    """Columns and rows [N, 2], radii in pixels [N], and which points lie between near and far."""
    focal, centre = lens(camera, width, height)
    w = positions[:, 2] if camera.kind == "perspective" else np.ones(len(positions))
    shown = (positions[:, 2] > camera.near) & (positions[:, 2] < camera.far)
    w = np.where(shown, w, 1.0)
    return positions[:, :2] * focal / w[:, None] + centre, radii * np.sqrt(focal.prod()) / w, shown


def finished(scene, sums, alpha, cover, depth_sum):
    behind = (1 - cover)[..., None] * np.array(scene.film.background or (0, 0, 0))
    depth = np.where(cover > 1e-6, depth_sum / np.where(cover > 1e-6, cover, 1), 0)
    return {"rgb": sums + behind, "alpha": alpha[..., None], "depth": depth[..., None]}


def discs(scene, camera, width, height, splat, settings):
    """rgb, alpha and depth of "pixel", "gaussian" and "knn"."""
    positions, radii, opacities, colors = points_of(scene, camera, width, height)
    places, reach, shown = on_screen(camera, positions, radii, width, height)
    sums, depth_sum = np.zeros((height, width, 3)), np.zeros((height, width))
    alpha, cover = np.zeros((height, width)), np.zeros((height, width))
    order = np.argsort(positions[:, 2].astype(np.float32), kind="stable")
    for row in range(height):
        for column in range(width):
            found = []
            for n in order:
                influence = influence_of(places[n] - (column + 0.5, row + 0.5), reach[n], splat, settings)
                if shown[n] and influence is not None:
                    found.append((n, min(opacities[n] * influence, 0.9999 if splat != "pixel" else 1)))
            if splat != "gaussian":
                found = found[: 1 if splat == "pixel" else settings.points_per_pixel]
            if not found:
                continue
            points, w = np.array([n for n, _ in found]), np.array([o for _, o in found])
            z = positions[points, 2]
            through = np.cumprod(1 - w)
            weights, hidden = blended(w, z, through, splat, settings)
            sums[row, column], depth_sum[row, column] = weights @ colors[points], weights @ z
            alpha[row, column], cover[row, column] = 1 - through[-1], hidden
    return finished(scene, sums, alpha, cover, depth_sum)


def influence_of(offset, reach, splat, settings):
    """None where the point does not count."""
    if splat == "pixel":
        return 1.0 if (np.abs(offset + 1e-12) < 0.5).all() else None
    if splat == "gaussian":
        sigma = settings.sigma_pixels or reach
        t = offset @ offset / (3 * sigma) ** 2
        return np.exp(-(offset @ offset) / (2 * sigma**2)) if t < 1 else None
    t = offset @ offset / (settings.radius_pixels or reach) ** 2
    if t >= 1:
        return None
    return 1 - t if settings.falloff == "pytorch3d" else (1 - np.sqrt(np.clip(t, 1e-3, 1))) ** settings.tau


def blended(w, z, through, splat, settings):
    """Weights of the points, and how much they hide."""
    alpha, mode = 1 - through[-1], settings.compositing
    if splat == "gaussian" and mode == "alpha":
        return alpha * w / (w.sum() + EPSILON), alpha
    if mode == "normalised" or (splat == "gaussian" and mode == "auto"):
        return w / (w.sum() + EPSILON), w.sum() / (w.sum() + EPSILON)
    if mode == "softmax":
        w = w * np.exp((z[0] - z) / settings.gamma)
        return w / (w.sum() + EPSILON), w.sum() / (w.sum() + EPSILON)
    if mode == "weighted_sum" or splat == "pixel":
        return w, alpha
    return w * np.concatenate([[1], through[:-1]]), alpha


def spheres(scene, camera, width, height, gamma, low, high):
    """rgb, alpha and depth of "sphere" with nearness 1 at the depth `low` and 0 at `high`."""
    positions, radii, opacities, colors = points_of(scene, camera, width, height)
    (fx, fy), (cx, cy) = lens(camera, width, height)
    places, reach, shown = on_screen(camera, positions, radii, width, height)
    shown &= positions[:, 2] - radii > camera.near
    sums, depth_sum, alpha = np.zeros((height, width, 3)), np.zeros((height, width)), np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy
            origin, direction = np.zeros(3), np.array([x, y, 1.0])
            if camera.kind == "orthographic":
                origin, direction = np.array([x, y, 0.0]), np.array([0, 0, 1.0])
            direction = direction / np.linalg.norm(direction)
            logs, hits = [1e-3 / gamma], []
            for n in np.flatnonzero(shown):
                along = (positions[n] - origin) @ direction
                off = np.linalg.norm(positions[n] - origin - along * direction)
                if reach[n] < 0.5:
                    inside = (np.floor(places[n]) == (column, row)).all()
                    closeness, half = float(inside), radii[n]
                else:
                    closeness, half = max(1 - off / radii[n], 0), np.sqrt(max(radii[n] ** 2 - off**2, 0))
                if closeness > 0:
                    depth = (along - half) * direction[2]
                    power = opacities[n] * (high - depth) / (high - low) / gamma
                    logs.append(np.log(opacities[n] * closeness) + power)
                    hits.append((n, depth))
            weights = np.exp(np.array(logs) - max(logs))
            weights = weights[1:] / weights.sum()
            for (n, depth), weight in zip(hits, weights, strict=True):
                sums[row, column] += weight * colors[n]
                depth_sum[row, column] += weight * depth
                alpha[row, column] += weight
    return finished(scene, sums, alpha, alpha, depth_sum)


def pseudo_rendered(positions, camera, width: int, height: int, factor: int):
    """Depth [H, W], 0 in holes: inverse depths drawn at `factor` times the size, then the largest of each block."""
    places, _, shown = on_screen(camera, positions, np.zeros(len(positions)), factor * width, factor * height)
    fine = np.zeros((factor * height, factor * width))
    for (column, row), z, seen in zip(np.floor(places).astype(int), positions[:, 2], shown, strict=True):
        if seen and 0 <= column < factor * width and 0 <= row < factor * height:
            fine[row, column] = max(fine[row, column], 1 / z)
    pooled = fine.reshape(height, factor, width, factor).max((1, 3))
    return np.where(pooled > 0, 1 / np.where(pooled > 0, pooled, 1), 0)
