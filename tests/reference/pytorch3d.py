"""PyTorch3D's mesh renderer in numpy (Ravi et al. 2020): K nearest triangles a pixel, lights, shaders and blends."""

from dataclasses import dataclass

import numpy as np

from .soft import screen_barycentrics, squared_distance


@dataclass
class Fragments:
    """Per pixel and slot [H, W, K]: triangle (-1 for none), depth, barycentrics [H, W, K, 3], signed distance."""

    face: np.ndarray
    depth: np.ndarray
    bary: np.ndarray
    distance: np.ndarray


def rasterize(screen, triangles, width: int, height: int, blur_radius: float = 0.0, k: int = 1) -> Fragments:
    """screen [V, 4]: column * w, row * w, w, depth. Distances are squared, in NDC, negative inside."""
    unit = min(width, height) / 2
    px, py = np.meshgrid((np.arange(width) + 0.5) / unit, (np.arange(height) + 0.5) / unit)
    depths, barys, distances = [], [], []
    for corners in screen[triangles]:
        p, z = corners[:, :2] / corners[:, 2:3] / unit, corners[:, 3, None, None]
        flat = screen_barycentrics(px, py, p)
        top = flat * np.stack([z[1] * z[2], z[0] * z[2], z[0] * z[1]])
        bary = top / np.maximum(top.sum(0), 1e-8)
        inside = (bary > 0).all(0)
        if blur_radius > 0:
            bary = np.maximum(bary, 0)
            bary = bary / np.maximum(bary.sum(0), 1e-5)
        size = np.min([squared_distance(px, py, p[c], p[(c + 1) % 3]) for c in range(3)], 0)
        accepted = inside | (size < blur_radius)
        depths.append(np.where(accepted, (bary * z).sum(0), np.inf))
        barys.append(bary)
        distances.append(np.where(inside, -size, size))
    depth, bary, distance = np.array(depths), np.array(barys), np.array(distances)
    order = np.argsort(depth, axis=0, kind="stable")[:k]
    depth, distance = (np.take_along_axis(array, order, 0) for array in (depth, distance))
    bary = np.take_along_axis(bary, order[:, None], 0)
    face = np.where(np.isfinite(depth), order, -1)
    return Fragments(
        np.moveaxis(face, 0, -1), np.moveaxis(np.where(face >= 0, depth, -1.0), 0, -1),
        np.moveaxis(bary, (0, 1), (2, 3)), np.moveaxis(distance, 0, -1),
    )  # fmt: skip


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def vertex_normals(vertices, triangles) -> np.ndarray:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], np.cross(b - a, c - a))
    return unit(normals)


@dataclass
class Lights:
    """Towards `direction`, or at `location`; the colours are times those of the material."""

    eye: np.ndarray
    location: np.ndarray | None = None
    direction: np.ndarray | None = None
    ambient: float = 0.5
    diffuse: float = 0.3
    specular: float = 0.2
    shininess: float = 64.0

    def lit(self, points, normals, texels) -> np.ndarray:
        n = unit(normals)
        to_light = unit(
            np.broadcast_to(self.direction, points.shape) if self.location is None else self.location - points
        )
        cosine = (n * to_light).sum(-1, keepdims=True)
        mirrored = -to_light + 2 * cosine * n
        lobe = np.maximum((unit(self.eye - points) * mirrored).sum(-1, keepdims=True), 0) * (cosine > 0)
        return texels * (self.ambient + self.diffuse * np.maximum(cosine, 0)) + self.specular * lobe**self.shininess


def shaded(shader: str, fragments: Fragments, lights: Lights, vertices, triangles, colors) -> np.ndarray:
    """[H, W, K, 3] by "phong", "gouraud" or "flat", with colours at the vertices."""

    def interpolated(values):
        return np.einsum("hwkc,hwkcd->hwkd", fragments.bary, values[triangles[fragments.face]])

    normals = vertex_normals(vertices, triangles)
    if shader == "gouraud":
        return interpolated(lights.lit(vertices, normals, colors))
    if shader == "phong":
        return lights.lit(interpolated(vertices), interpolated(normals), interpolated(colors))
    corners = vertices[triangles]
    facets = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    return lights.lit(corners.mean(1)[fragments.face], facets[fragments.face], interpolated(colors))


def hard_blend(fragments: Fragments, colors, background) -> np.ndarray:
    """[H, W, 4]."""
    hit = fragments.face[..., :1] >= 0
    return np.concatenate([np.where(hit, colors[:, :, 0], background), hit], -1)


def softmax_blend(
    fragments: Fragments, colors, background, sigma: float, gamma: float, near: float = 1.0, far: float = 100.0
) -> np.ndarray:
    """[H, W, 4]; alpha is the silhouette's."""
    eps, mask = 1e-10, fragments.face >= 0
    probability = mask / (1 + np.exp(np.clip(fragments.distance / sigma, -700, 700)))
    nearness = (far - fragments.depth) / (far - near) * mask
    top = np.maximum(nearness.max(-1, keepdims=True), eps)
    weight = probability * np.exp((nearness - top) / gamma)
    behind = np.maximum(np.exp((eps - top) / gamma), eps)
    rgb = (weight[..., None] * colors).sum(-2) + behind * background
    alpha = 1 - (1 - probability).prod(-1, keepdims=True)
    return np.concatenate([rgb / (weight.sum(-1, keepdims=True) + behind), alpha], -1)
