"""Points and directions drawn from two numbers u1, u2 in [0, 1)."""

import taichi as ti

PI = 3.141592653589793
LEAST = 0.1  # a black lobe is sampled too, so that its gradient arrives


@ti.func
def disc(u1, u2):
    """A point [2] of the unit disc, all equally likely."""
    radius, angle = ti.sqrt(u1), 2.0 * PI * u2
    return ti.Vector([radius * ti.cos(angle), radius * ti.sin(angle)])


@ti.func
def cosine_hemisphere(u1, u2):
    """A unit direction [3] around +z with density z / pi per solid angle; z > 0 for every u1 < 1."""
    point = disc(u1, u2)
    return ti.Vector([point.x, point.y, ti.sqrt(1.0 - u1)])


@ti.func
def spherical(cosine, u):
    """The unit direction [3] at a cosine to +z and at azimuth 2 pi u."""
    sine = ti.sqrt(ti.max(1.0 - cosine * cosine, 0.0))
    return ti.Vector([sine * ti.cos(2.0 * PI * u), sine * ti.sin(2.0 * PI * u), cosine])


@ti.func
def share(one, other):
    """Probability of choosing the first of two lobes of these strengths, from LEAST to 1 - LEAST; 1/2 if both are 0."""
    return ti.min(ti.max((one + 1e-6) / (one + other + 2e-6), LEAST), 1.0 - LEAST)
