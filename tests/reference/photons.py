"""Density estimates of photons by going through all of them; numpy, f64."""

import numpy as np

JENSEN = 1 - np.exp(-1.953)
GAUSSIAN_MEAN = 1 - (1 + (np.exp(-1.953 / 2) - 1) / (1.953 / 2)) / JENSEN  # over the disc
PROFILES = {
    "constant": lambda s: np.ones_like(s),
    "cone": lambda s: (1 - np.sqrt(s) / 1.1) / (1 - 2 / 3.3),
    "epanechnikov": lambda s: 2 * (1 - s),
    "biweight": lambda s: 3 * (1 - s) ** 2,
    "gaussian": lambda s: (1 - (1 - np.exp(-1.953 * s / 2)) / JENSEN) / GAUSSIAN_MEAN,
}
SPHERE = {"constant": lambda s: np.ones_like(s), "biweight": lambda s: 35 / 8 * (1 - s) ** 2}


def henyey_greenstein(cosine, g):
    return (1 - g * g) / (4 * np.pi * (1 + g * g - 2 * g * cosine) ** 1.5)


def on_surfaces(photons, queries, profile, thickness=0.25, least_cosine=0.5):
    """(radiance [Q, 3], counts [Q]) of ideally diffuse surfaces.

    photons: positions, directions, powers, normals [N, 3]; queries: points, normals, sides, eyes [Q, 3], albedo [Q, 3],
    radii [Q].
    """
    positions, directions, powers, faces = photons
    radiance, counts = [], []
    for x, n, side, eye, albedo, radius in zip(*queries, strict=True):
        gap = x - positions
        square = (gap**2).sum(1)
        inside = (square < radius**2) & (abs(gap @ side) <= thickness * radius) & (faces @ side >= least_cosine)
        lit = inside & (directions @ n < 0) & (eye @ n > 0)
        weights = PROFILES[profile](square[lit] / max(radius, 1e-30) ** 2) / (np.pi * max(radius, 1e-30) ** 2)
        radiance.append(albedo / np.pi * (weights @ powers[lit]))
        counts.append(inside.sum())
    return np.array(radiance), np.array(counts)


def in_medium(photons, points, eyes, g, radii, profile):
    """Radiance [Q, 3] per length that is scattered towards the eyes."""
    positions, directions, powers = photons
    out = []
    for x, eye, one, radius in zip(points, eyes, g, radii, strict=True):
        square = ((x - positions) ** 2).sum(1) / radius**2
        weights = np.where(square < 1, SPHERE[profile](square), 0) / (4 / 3 * np.pi * radius**3)
        out.append((weights * henyey_greenstein(directions @ eye, one)) @ powers)
    return np.array(out)


def beside_rays(photons, rays, profile):
    """(radiance [Q, 3], counts [Q]); rays: origins, directions, lengths, radii, extinctions [Q, 3], g."""
    positions, directions, powers = photons
    radiance, counts = [], []
    for o, d, length, radius, sigma, g in zip(*rays, strict=True):
        gap = positions - o
        t = gap @ d
        square = ((gap - t[:, None] * d) ** 2).sum(1)
        inside = (square < radius**2) & (t >= 0) & (t <= length)
        weights = PROFILES[profile](square[inside] / radius**2) / (np.pi * radius**2)
        weights = weights * henyey_greenstein(-directions[inside] @ d, g)
        seen = np.exp(-sigma * t[inside, None]) * powers[inside]
        radiance.append(weights @ seen)
        counts.append(inside.sum())
    return np.array(radiance), np.array(counts)
