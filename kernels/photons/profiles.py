"""Radial kernels of density estimates: how much a photon counts by its distance from where it is asked for.

K_r(d) = profile(d^2 / r^2) / (volume of the ball of radius r), 0 from r on. The integral of K_r over a ball is 1: over
a disc, of volume pi r^2, with `dimension` 2, over a sphere, 4/3 pi r^3, with 3.

CONSTANT counts photons. CONE falls as 1 - d / (1.1 r) (Jensen 1996, "Global Illumination using Photon Maps"), GAUSSIAN
as 1 - (1 - exp(-1.953 d^2 / 2 r^2)) / (1 - exp(-1.953)) (Jensen 2001, "Realistic Image Synthesis Using Photon
Mapping"), here with integral 1. EPANECHNIKOV is 1 - d^2 / r^2, BIWEIGHT its square, each times a number.

Only BIWEIGHT has no step and no kink at d = r, so that gradients by positions are those of the estimate; with
EPANECHNIKOV they are too where no photon lies exactly there. The others step down at d = r by a share of their highest
value, CONSTANT by all of it: photons that move across carry a gradient that no derivative of K_r shows, for CONSTANT
the whole of it.
"""

import numpy as np
import taichi as ti

CONSTANT, CONE, EPANECHNIKOV, BIWEIGHT, GAUSSIAN = range(5)
PROFILES = {
    "constant": CONSTANT,
    "cone": CONE,
    "epanechnikov": EPANECHNIKOV,
    "biweight": BIWEIGHT,
    "gaussian": GAUSSIAN,
}
PI = 3.141592653589793
CONE_ENDS, DECAY = 1.1, 1.953
SHAPES = {
    CONSTANT: lambda s: np.ones_like(s),
    CONE: lambda s: 1.0 - np.sqrt(s) / CONE_ENDS,
    EPANECHNIKOV: lambda s: 1.0 - s,
    BIWEIGHT: lambda s: (1.0 - s) ** 2,
    GAUSSIAN: lambda s: 1.0 - (1.0 - np.exp(-DECAY / 2.0 * s)) / (1.0 - np.exp(-DECAY)),
}


def scale(profile: int, dimension: int) -> float:
    """What makes the mean of the profile over a ball 1."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    u = 0.5 * (nodes + 1.0)
    return float(1.0 / (0.5 * weights * SHAPES[profile](u * u) * dimension * u ** (dimension - 1)).sum())


SCALES = {(profile, dimension): scale(profile, dimension) for profile in SHAPES for dimension in (2, 3)}
GAUSSIAN_SPAN = float(1.0 - np.exp(-DECAY))


@ti.func
def ball_volume(radius, dimension: ti.template()):
    volume = PI * radius * radius
    if ti.static(dimension == 3):
        volume *= 4.0 / 3.0 * radius
    return volume


@ti.func
def value(s, profile: ti.template(), dimension: ti.template()):
    """The profile at s = d^2 / r^2 in [0, 1)."""
    shape = 1.0
    if ti.static(profile == CONE):
        shape = 1.0 - ti.sqrt(s) * (1.0 / CONE_ENDS)
    if ti.static(profile == EPANECHNIKOV):
        shape = 1.0 - s
    if ti.static(profile == BIWEIGHT):
        shape = (1.0 - s) * (1.0 - s)
    if ti.static(profile == GAUSSIAN):
        shape = 1.0 - (1.0 - ti.exp(-0.5 * DECAY * s)) / GAUSSIAN_SPAN
    return ti.static(SCALES[profile, dimension]) * shape


@ti.func
def slope(s, profile: ti.template(), dimension: ti.template()):
    """Derivative of the profile by s; 0 at the tip of the cone, which has none."""
    by_s = 0.0
    if ti.static(profile == CONE):
        if s > 0.0:
            by_s = -0.5 / (CONE_ENDS * ti.sqrt(s))
    if ti.static(profile == EPANECHNIKOV):
        by_s = -1.0
    if ti.static(profile == BIWEIGHT):
        by_s = -2.0 * (1.0 - s)
    if ti.static(profile == GAUSSIAN):
        by_s = -0.5 * DECAY / GAUSSIAN_SPAN * ti.exp(-0.5 * DECAY * s)
    return ti.static(SCALES[profile, dimension]) * by_s
