"""Pearson's chi-square test of directions against a density: cells of the sphere, integrals over them, the p value."""

import math

import numpy as np

ROWS, COLUMNS, ORDER = 40, 48, 6  # cells of the sphere, Gauss's nodes along each side of a cell


def sphere_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Directions [ROWS * COLUMNS, ORDER^2, 3] of Gauss's rule in cells of equal solid angle, and weights [ORDER^2]."""
    x, w = np.polynomial.legendre.leggauss(ORDER)
    z = -1 + 2 * (np.arange(ROWS)[:, None] + (x + 1) / 2) / ROWS
    turn = 2 * np.pi * (np.arange(COLUMNS)[:, None] + (x + 1) / 2) / COLUMNS
    z, turn = z[:, None, :, None], turn[None, :, None, :]
    sine = np.sqrt(1 - z * z)
    nodes = np.stack(np.broadcast_arrays(sine * np.cos(turn), sine * np.sin(turn), z), -1)
    weights = np.outer(w, w) / 4 * 4 * np.pi / (ROWS * COLUMNS)
    return nodes.reshape(ROWS * COLUMNS, ORDER * ORDER, 3), weights.ravel()


def cell_counts(w: np.ndarray) -> np.ndarray:
    """How many of the directions fall into each cell of `sphere_nodes`."""
    line = np.clip(((w[:, 2] + 1) / 2 * ROWS).astype(int), 0, ROWS - 1)
    column = (np.arctan2(w[:, 1], w[:, 0]) / (2 * np.pi) % 1 * COLUMNS).astype(int) % COLUMNS
    return np.bincount(line * COLUMNS + column, minlength=ROWS * COLUMNS).astype(float)


def sidak(tests: int) -> float:
    """Level of each of so many tests for a chance of .01 that any of them fails though all is well."""
    return 1 - (1 - 0.01) ** (1 / tests)


def pearson_p(found: np.ndarray, expected: np.ndarray) -> float:
    """p of Pearson's test; cells that expect fewer than five are counted together."""
    few = expected < 5
    found, expected = (np.append(cells[~few], cells[few].sum()) for cells in (found, expected))
    kept = expected > 1e-3
    assert found[~kept].sum() == 0, "samples where the pdf says that there are none"
    statistic = ((found[kept] - expected[kept]) ** 2 / expected[kept]).sum()
    return chi_square_p(statistic, max(kept.sum() - 1, 1))


def chi_square_p(statistic: float, freedom: int) -> float:
    """Chance that chi-square exceeds `statistic`: the regularised incomplete gamma function Q(freedom / 2, s / 2)."""
    a, x = freedom / 2, statistic / 2
    front = math.exp(a * math.log(max(x, 1e-300)) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for k in range(1, 10000):
            term *= x / (a + k)
            total += term
            if term < total * 1e-15:
                break
        return 1 - front * total
    b, c, d = x + 1 - a, 1e300, 1 / (x + 1 - a)
    fraction = d
    for k in range(1, 10000):
        b += 2
        d, c = 1 / (b - k * (k - a) * d), b - k * (k - a) / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * fraction
