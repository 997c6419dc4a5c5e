"""Points that cover a cube more evenly than independent ones: a lattice of irrational steps.

Point `index` has the numbers shift_k + index * phi^-(k + 1) modulo 1 with phi^(NUMBERS + 1) = phi + 1, a golden ratio
generalised to NUMBERS dimensions. The shift is a hash, so that every point alone is evenly distributed, and means
over many hashes are without bias (Cranley and Patterson 1976, "Randomization of Number Theoretic Methods for Multiple
Integration").
"""

import taichi as ti

from .. import rng

NUMBERS = 6


def golden(dimensions: int) -> float:
    """The root of x^(dimensions + 1) = x + 1."""
    x = 1.5
    for _ in range(100):
        x = (x + 1.0) ** (1.0 / (dimensions + 1))
    return x


STEPS = tuple(int(golden(NUMBERS) ** -(k + 1) * (1 << 32)) for k in range(NUMBERS))


@ti.func
def point(shift, index, dimension: ti.template()):
    """Number `dimension` of a point, in [0, 1), of 24 bits."""
    word = rng.mix(shift, dimension) + ti.cast(index, ti.u32) * ti.u32(STEPS[dimension])
    return ti.cast(ti.bit_shr(word, 8), float) * (1.0 / 16777216.0)
