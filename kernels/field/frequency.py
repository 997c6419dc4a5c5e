"""Sine and cosine encoding of positions and directions, and its adjoint.

Mildenhall et al. 2020, "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis": x itself, then
sin(2^k pi x) and cos(2^k pi x) for k = 0 .. octaves - 1. Three rows each, of coordinates in [-1, 1].
"""

import taichi as ti

from ..accumulate import load3
from . import BLOCK

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

PI = 3.141592653589793


@ti.kernel
def encode(count: ti.i32, octaves: ti.i32, first: ti.i32, rows: ti.i32, points: A1, values: A1):
    """Rows first .. first + 6 octaves + 2 of values [blocks * rows * BLOCK] from points [n * 3]."""
    for n in range(count):
        block = n // BLOCK
        slot = (block * rows + first) * BLOCK + n - block * BLOCK
        for a in ti.static(range(3)):
            x = points[3 * n + a]
            values[slot + a * BLOCK] = x
            turn = PI
            for k in range(octaves):
                values[slot + (3 + 6 * k + a) * BLOCK] = ti.sin(turn * x)
                values[slot + (6 + 6 * k + a) * BLOCK] = ti.cos(turn * x)
                turn *= 2.0


@ti.kernel
def encode_adjoint(
    count: ti.i32, octaves: ti.i32, first: ti.i32, rows: ti.i32, kept: ti.i32, kept_first: ti.i32, values: A1,
    to_values: A1, to_points: A1,
):  # fmt: skip
    """to_points [n * 3] = their gradient; to_values [blocks * kept * BLOCK] starts the encoding at row kept_first."""
    for n in range(count):
        block = n // BLOCK
        slot = (block * rows + first) * BLOCK + n - block * BLOCK
        source = (block * kept + kept_first) * BLOCK + n - block * BLOCK
        for a in ti.static(range(3)):
            total, turn = to_values[source + a * BLOCK], PI
            for k in range(octaves):
                sine, cosine = values[slot + (3 + 6 * k + a) * BLOCK], values[slot + (6 + 6 * k + a) * BLOCK]
                total += turn * cosine * to_values[source + (3 + 6 * k + a) * BLOCK]
                total -= turn * sine * to_values[source + (6 + 6 * k + a) * BLOCK]
                turn *= 2.0
            to_points[3 * n + a] = total


@ti.kernel
def encode_directions(count: ti.i32, octaves: ti.i32, directions: A2, out: A2):
    """out [n, 6 octaves + 3] of the unit vectors along directions [n, 3]."""
    for ray in range(count):
        u = load3(directions, ray).normalized()
        for a in ti.static(range(3)):
            out[ray, a] = u[a]
            turn = PI
            for k in range(octaves):
                out[ray, 3 + 6 * k + a] = ti.sin(turn * u[a])
                out[ray, 6 + 6 * k + a] = ti.cos(turn * u[a])
                turn *= 2.0


@ti.kernel
def encode_directions_adjoint(count: ti.i32, octaves: ti.i32, directions: A2, out: A2, to_out: A2, to_directions: A2):
    """to_directions += their gradient, through the normalisation."""
    for ray in range(count):
        d = load3(directions, ray)
        u, g = d.normalized(), load3(to_out, ray)
        for a in ti.static(range(3)):
            turn = PI
            for k in range(octaves):
                g[a] += turn * out[ray, 6 + 6 * k + a] * to_out[ray, 3 + 6 * k + a]
                g[a] -= turn * out[ray, 3 + 6 * k + a] * to_out[ray, 6 + 6 * k + a]
                turn *= 2.0
        to_d = (g - u * u.dot(g)) / d.norm()
        for a in ti.static(range(3)):
            to_directions[ray, a] = to_directions[ray, a] + to_d[a]
