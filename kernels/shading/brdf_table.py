"""The split sum's table: what a GGX surface reflects of even light, as F0 scale + bias (Karis 2013).

    scale = integral of f cos (1 - (1 - v.h)^5) / F, bias = integral of f cos (1 - v.h)^5 / F

over all directions of light, for the BRDF of brdf.py: alpha = roughness^2, height-correlated Smith shadowing.
"""

import numpy as np

from .brdf import GRAZING, SHARPEST

COSINES, ROUGHNESSES = 48, 32
DRAWS = 24  # normals in each of two directions


def reflected_shares(cosine, roughness) -> np.ndarray:
    """[n, 2] scale and bias at cosines n.v and roughnesses [n], the latter from 0.08 on.

    A product rule over the density of visible normals, in which a cap of the sphere has even weight (Dupuy, Benyoub
    2023): what is left to sum, Fresnel's term and the light's own shadowing, is smooth.
    """
    cosine, alpha = np.maximum(np.asarray(cosine, float), GRAZING)[:, None], np.asarray(roughness, float)[:, None] ** 2
    nodes, weights = np.polynomial.legendre.leggauss(DRAWS)
    turns = (np.arange(DRAWS) + 0.5) * 2 * np.pi / DRAWS
    u, turn = (grid.ravel()[None] for grid in np.meshgrid(0.5 * (nodes + 1), turns, indexing="ij"))
    weight = np.repeat(0.5 * weights, DRAWS)[None] / DRAWS
    sine = np.sqrt(1 - cosine**2)
    stretched = np.stack([alpha * sine, cosine], -1)
    stretched /= np.linalg.norm(stretched, axis=-1, keepdims=True)
    height = (1 - u) * (1 + stretched[..., 1]) - stretched[..., 1]
    across = np.sqrt(np.maximum(1 - height**2, 0))
    x, y, z = across * np.cos(turn) + stretched[..., 0], across * np.sin(turn), height + stretched[..., 1]
    x, y = alpha * x, alpha * y
    length = np.sqrt(x * x + y * y + z * z)
    slant = np.clip((x * sine + z * cosine) / length, 0, 1)  # v.h
    light = np.clip(2 * slant * z / length - cosine, 0, 1)  # n.l
    square = alpha * alpha
    rough = (np.sqrt(cosine**2 + square * (1 - cosine**2)) / cosine + 1) / 2  # 1 + Smith's lambda of the view
    shadow = np.sqrt(light**2 + square * (1 - light**2))
    passed = rough / (rough + (shadow / np.maximum(light, 1e-30) - 1) / 2)  # both unshadowed, over the view alone
    share, fresnel = weight * np.where(light > 0, passed, 0), (1 - slant) ** 5
    return np.stack([(share * (1 - fresnel)).sum(1), (share * fresnel).sum(1)], -1)


def brdf_table() -> np.ndarray:
    """[ROUGHNESSES * COSINES, 2]: roughness from 0.08 to 1 by rows, cosine from 0 to 1 within each, both even."""
    cosines, roughnesses = np.linspace(0, 1, COSINES), np.linspace(SHARPEST, 1, ROUGHNESSES)
    return reflected_shares(np.tile(cosines, ROUGHNESSES), np.repeat(roughnesses, COSINES))
