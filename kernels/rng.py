"""Counter-based random numbers: a hash of what they are for, so that a replay sees the same ones on every backend."""

import taichi as ti


@ti.func
def mix(state, value):
    """One round of PCG's output permutation (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering"), u32."""
    word = (state ^ ti.cast(value, ti.u32)) * ti.u32(747796405) + ti.u32(2891336453)
    word = (ti.bit_shr(word, ti.bit_shr(word, 28) + 4) ^ word) * ti.u32(277803737)
    return ti.bit_shr(word, 22) ^ word


@ti.func
def uniform(seed, a, b, c):
    """A number in [0, 1) of 24 bits for four integers: seed, and for example pixel, step and dimension."""
    word = mix(mix(mix(mix(ti.u32(0), seed), a), b), c)
    return ti.cast(ti.bit_shr(word, 8), float) * (1.0 / 16777216.0)


@ti.func
def key(seed, a, b):
    """What `draw` starts from: a hash of three integers, for example seed, pixel and sample."""
    return mix(mix(mix(ti.u32(0), seed), a), b)


@ti.func
def draw(of, dimension):
    """The number in [0, 1) that a key has for a dimension, of 24 bits."""
    return ti.cast(ti.bit_shr(mix(of, dimension), 8), float) * (1.0 / 16777216.0)
