"""Numpy twins of what light transport reads of a material at one point."""

import numpy as np

import tidr
from tidr.parameter import Parameter
from tidr.scene.texture import Texture


def fold(index: int, size: int, wrap: str) -> int:
    if wrap == "repeat":
        return index % size
    if wrap == "clamp":
        return min(max(index, 0), size - 1)
    return min(index % (2 * size), 2 * size - 1 - index % (2 * size))


def bilinear(texels: np.ndarray, wrap: str, uv) -> np.ndarray:
    height, width, _ = texels.shape
    x, y = uv[0] * width - 0.5, (1 - uv[1]) * height - 0.5
    left, top = int(np.floor(x)), int(np.floor(y))
    total = np.zeros(texels.shape[2])
    for right, down in np.ndindex(2, 2):
        share = (x - left if right else 1 - x + left) * (y - top if down else 1 - y + top)
        total += share * texels[fold(top + down, height, wrap), fold(left + right, width, wrap)]
    return total


def textured(texture: Texture, uv, footprint: float) -> np.ndarray:
    levels = [texture.texels.numpy().astype(np.float64)]
    while texture.filter == "trilinear" and len(levels[-1]) > 1:
        last = levels[-1]
        levels.append((last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2]) / 4)
    level = min(max(np.log2(max(footprint * len(levels[0]), 1e-9)), 0), len(levels) - 1)
    fine = min(int(level), len(levels) - 1)
    coarse = min(fine + 1, len(levels) - 1)
    finer, coarser = (bilinear(levels[k], texture.wrap, uv) for k in (fine, coarse))
    return finer + (level - fine) * (coarser - finer)


def value(material: tidr.Material, slot: str, uv, color, footprint, default):
    source = material.sources.get(slot)
    if source is None:
        return np.asarray(default, float)
    if isinstance(source, Texture):
        return textured(source, uv, footprint)
    return source.numpy() if isinstance(source, Parameter) else color


def bent(m, n, tangent) -> np.ndarray:
    s = tangent - n * (n @ tangent)
    s /= np.linalg.norm(s)
    out = m[0] * s + m[1] * np.cross(n, s) + max(m[2], 0) * n
    return out / np.linalg.norm(out)
