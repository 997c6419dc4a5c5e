"""The Henyey-Greenstein phase function: how light turns when a medium scatters it.

Henyey and Greenstein 1941, "Diffuse radiation in the galaxy". The cosine is between the ways the light travels before
and after; g in (-1, 1) is the mean cosine: 0 scatters evenly, towards 1 straight on. Per steradian; integral 1.
"""

import taichi as ti

EVEN = 0.07957747154594767
"""1 / (4 pi), the value everywhere for g = 0."""

LEAST = 1e-6
"""The base of the power is kept at least this large, so that |g| = 1 stays finite."""


@ti.func
def henyey_greenstein(cosine, g):
    base = ti.max(1.0 + g * g - 2.0 * g * cosine, LEAST)
    return EVEN * (1.0 - g * g) / (base * ti.sqrt(base))


@ti.func
def henyey_greenstein_slopes(cosine, g):
    """Derivatives by the cosine and by g."""
    base = ti.max(1.0 + g * g - 2.0 * g * cosine, LEAST)
    power = EVEN / (base * ti.sqrt(base))
    by_base = -1.5 * (1.0 - g * g) * power / base if base > LEAST else 0.0
    return -2.0 * g * by_base, -2.0 * g * power + 2.0 * (g - cosine) * by_base
