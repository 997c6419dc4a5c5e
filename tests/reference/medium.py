"""Single scattering in numpy, in world space: the twin of the medium's march, and the same without its grid of depths.

No kernels, no object-space lights: positions go to the world by the node's matrix, and lights are met there.
"""

from dataclasses import dataclass

import numpy as np

from tidr.scene.light import AmbientLight, PointLight


def henyey_greenstein(cosine, g):
    return (1 - g * g) / (4 * np.pi * (1 + g * g - 2 * g * cosine) ** 1.5)


def interpolate(grid, points, lower, upper):
    """[..., C] trilinear values of a grid [D, H, W, C] of cell-centred values, clamped at the border."""
    size = np.array(grid.shape[2::-1])
    place = np.clip((points - lower) / (upper - lower) * size - 0.5, 0, size - 1)
    low = np.clip(np.floor(place).astype(int), 0, np.maximum(size - 2, 0))
    at, total = place - low, 0.0
    for corner in range(8):
        bit = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        weight = np.where(bit, at, 1 - at).prod(-1)
        i, j, k = np.moveaxis(np.minimum(low + bit, size - 1), -1, 0)
        total = total + weight[..., None] * grid[k, j, i]
    return total


def inside(origin, way, lower, upper):
    """Parameters (first, last) at which origin + t * way, t >= 0, is in the box; first > last where it is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (lower - origin) / way, (upper - origin) / way
    flat = way == 0
    within = (origin >= lower) & (origin <= upper)
    low = np.where(flat, np.where(within, -np.inf, np.inf), np.minimum(a, b)).max(-1)
    high = np.where(flat, np.where(within, np.inf, -np.inf), np.maximum(a, b)).min(-1)
    return np.maximum(low, 0), high


@dataclass
class Medium:
    """density [D, H, W, 1], albedo and color (grids [D, H, W, 3], or [3]), g; box in object space; to_world [4, 4]."""

    density: np.ndarray
    albedo: np.ndarray
    color: np.ndarray | None
    g: float
    lower: np.ndarray
    upper: np.ndarray
    to_world: np.ndarray
    lights: list

    def property(self, values, points):
        return values if values.ndim == 1 else interpolate(values, points, self.lower, self.upper)

    def extinction(self, points):
        return interpolate(self.density, points, self.lower, self.upper)[..., 0]

    def world(self, points):
        return points @ self.to_world[:3, :3].T + self.to_world[:3, 3]

    def towards(self, light, points):
        """World vector and distance to a light, and how far away it is (infinite for parallel light)."""
        if isinstance(light, PointLight):
            vector = light.position.numpy().astype(np.float64) - self.world(points)
            return vector, np.linalg.norm(vector, axis=-1)
        direction = light.direction.numpy().astype(np.float64)
        return np.broadcast_to(-direction / np.linalg.norm(direction), points.shape), np.full(points.shape[:-1], np.inf)

    def depth(self, light, points, steps):
        """Optical depth from points (object) to a light, by midpoints."""
        vector, distance = self.towards(light, points)
        unit = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
        way = unit @ np.linalg.inv(self.to_world[:3, :3]).T
        first, last = inside(points, way, self.lower, self.upper)
        length = np.where(first <= last, np.minimum(last, distance), 0.0)
        places = (np.arange(steps) + 0.5) / steps * length[..., None]
        return self.extinction(points[..., None, :] + places[..., None] * way[..., None, :]).mean(-1) * length

    def node_depths(self, nodes, steps):
        """For each light a grid [Z, Y, X, 1] of optical depths at nodes that span the box; None for ambient light."""
        axes = [np.linspace(self.lower[a], self.upper[a], nodes[a]) for a in range(3)]
        z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
        points = np.stack([x, y, z], -1)
        return [
            None if isinstance(light, AmbientLight) else self.depth(light, points, steps)[..., None]
            for light in self.lights
        ]

    def scattered(self, points, directions, steps, grids=None):
        """Light [..., 3] scattered along world directions; depths from the grids, or marched for every point."""
        total = np.zeros(points.shape)
        for index, light in enumerate(self.lights):
            if isinstance(light, AmbientLight):
                total += light.radiance.numpy()
                continue
            vector, distance = self.towards(light, points)
            if grids is None:
                depth = self.depth(light, points, steps)
            else:
                half = (self.upper - self.lower) / (np.array(grids[index].shape[2::-1]) - 1) / 2
                depth = interpolate(grids[index], points, self.lower - half, self.upper + half)[..., 0]
            unit = vector / np.linalg.norm(vector, axis=-1, keepdims=True)
            share = np.exp(-depth) * henyey_greenstein((unit * directions).sum(-1), self.g)
            if isinstance(light, PointLight):
                share, value = share / distance**2, light.intensity.numpy()
            else:
                value = light.irradiance.numpy()
            total += share[..., None] * value
        return total


def march(medium: Medium, origins, directions, steps, light_steps, nodes=None) -> np.ndarray:
    """[n, 5] rgb, opacity and weighted distance of world rays [n, 3], with midpoints; `nodes` (x, y, z) or none."""
    to_object = np.linalg.inv(medium.to_world)
    o = origins @ to_object[:3, :3].T + to_object[:3, 3]
    d = directions @ to_object[:3, :3].T
    first, last = inside(o, d, medium.lower, medium.upper)
    segment = np.maximum(last - first, 0.0) / steps
    segment = np.where(np.isfinite(segment), segment, 0.0)
    first = np.where(np.isfinite(first), first, 0.0)
    grids = None if nodes is None else medium.node_depths(nodes, light_steps)
    through, out = np.ones(len(o)), np.zeros((len(o), 5))
    for k in range(steps):
        t = first + (k + 0.5) * segment
        points = o + d * t[:, None]
        passed = np.exp(-medium.extinction(points) * segment)
        weight = through * (1 - passed)
        source = medium.property(medium.albedo, points) * medium.scattered(points, directions, light_steps, grids)
        if medium.color is not None:
            source = source + medium.property(medium.color, points)
        out[:, :3] += weight[:, None] * source
        out[:, 4] += weight * t
        through = through * passed
    out[:, 3] = 1 - through
    return out
