"""Surface splats of one camera by the formulas: variance by two tangents, all points against all pixels."""

from dataclasses import dataclass

import numpy as np

from tidr.scene.camera import Camera


@dataclass
class Discs:
    """places [N, 2], variances [N, 2, 2], weights [N] at the places, depths [N], shown [N]."""

    places: np.ndarray
    variances: np.ndarray
    weights: np.ndarray
    depths: np.ndarray
    shown: np.ndarray


def discs(camera: Camera, width, height, points, normals, spreads, low_pass=1.0, cull=True) -> Discs:
    matrix, eye = camera.projection(width, height)
    found = Discs(*(np.zeros((len(points), *shape)) for shape in ((2,), (2, 2), (), ())), np.zeros(len(points), bool))
    normals = normals / np.linalg.norm(normals, axis=1)[:, None]
    for k, (p, n, h) in enumerate(zip(points, normals, spreads, strict=True)):
        q = matrix @ np.append(p, 1)
        found.depths[k], found.places[k] = q[3], q[:2] / q[2]
        found.shown[k] = camera.near < q[3] < camera.far and (not cull or n @ (eye[:3] - eye[3] * p) > 0)
        jacobian = (matrix[:2, :3] - np.outer(q[:2] / q[2], matrix[2, :3])) / q[2]
        first = np.cross(n, [1.0, 0, 0] if abs(n[0]) < 0.9 else [0, 1.0, 0])
        first /= np.linalg.norm(first)
        tangents = np.stack([first, np.cross(n, first)])
        found.variances[k] = jacobian @ (h * tangents.T @ tangents) @ jacobian.T + low_pass * np.eye(2)
        stretch = np.linalg.det(jacobian @ tangents.T)
        found.weights[k] = abs(stretch) / (2 * np.pi * np.sqrt(np.linalg.det(found.variances[k])))
    return found


def squares(found: Discs, width, height) -> tuple[np.ndarray, np.ndarray]:
    """(Q [N, H, W], offsets x - p [N, H, W, 2])."""
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    gaps = centres[None] - found.places[:, None, None]
    return np.einsum("nyxi,nij,nyxj->nyx", gaps, np.linalg.inv(found.variances), gaps), gaps


def draw(found: Discs, features, width, height, cutoff=1.0, merge=0.05, most=8) -> tuple[np.ndarray, np.ndarray]:
    """Means of features [N, C] per pixel [H, W, C], and whether it is occupied [H, W]."""
    q, _ = squares(found, width, height)
    out, occupied = np.zeros((height, width, features.shape[1])), np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        inside = np.flatnonzero(found.shown & (q[:, y, x] < cutoff))
        inside = inside[np.argsort(found.depths[inside], kind="stable")][:most]
        if len(inside):
            inside = inside[found.depths[inside] <= found.depths[inside[0]] + merge]
            weights = found.weights[inside] * np.exp(-0.5 * q[inside, y, x])
            out[y, x], occupied[y, x] = weights @ features[inside] / weights.sum(), 1
    return out, occupied


def pulls(found: Discs, gradient, width, height, cutoff=1.0, enlarged=10.0, largest=0.05) -> np.ndarray:
    """[N, 2] what dL/dalpha [H, W] gives to the places in pixels, by the published rule."""
    q, gaps = squares(found, width, height)
    unit, out = 2 / min(width, height), np.zeros((len(q), 2))
    for k in np.flatnonzero(found.shown):
        reach = enlarged * np.sqrt(cutoff * np.diag(found.variances[k]).max())
        apart = (gaps[k] ** 2).sum(-1)
        near = np.where(gradient > 0, q[k] < cutoff, apart <= reach**2)
        gaps_ndc = gaps[k] * unit
        terms = gradient[..., None] * gaps_ndc / ((gaps_ndc**2).sum(-1, keepdims=True) + 1e-10)
        total = terms[near].sum(0)
        out[k] = total * min(1, largest / max(np.linalg.norm(total), 1e-300)) * unit
    return out
