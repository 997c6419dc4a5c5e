"""Level sets of fields that are networks: samples of rays, brackets of a hit, and numbers out of and into a network.

f = level - x, where x is the network's row `density` before its activation: negative inside. Layouts of positions,
values, to_outputs and to_positions are those of tidr.kernels.field; positions are scale * q + offset with q in [0, 1]
across the box [2, 3].
"""

import taichi as ti

from ..accumulate import load3
from ..field import BLOCK
from ..field.composite import sample_slot
from .level_set import moved

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)

LOWER, UPPER, F_LOWER, F_UPPER, BEST, F_BEST, SIDE, TRIAL, SLOTS = 0, 1, 2, 3, 4, 5, 6, 7, 8


@ti.func
def put_position(n, p, scale, offset, box: ti.template(), positions: ti.template()):
    for a in ti.static(range(3)):
        positions[3 * n + a] = scale * (p[a] - box[0, a]) / (box[1, a] - box[0, a]) + offset


@ti.func
def position_gradient(n, scale, box: ti.template(), to_positions: ti.template()):
    """Gradient by the point itself, object space."""
    g = ti.Vector([0.0, 0.0, 0.0])
    for a in ti.static(range(3)):
        g[a] = to_positions[3 * n + a] * scale / (box[1, a] - box[0, a])
    return g


@ti.func
def number(n, rows, density, level, values: ti.template()):
    return level - values[sample_slot(n, rows) + density * BLOCK]


@ti.kernel
def place_points(
    begin: ti.i32, total: ti.i32, padded: ti.i32, scale: float, offset: float, points: A2, box: A2, positions: A1
):
    """Rows begin .. begin + total - 1 of points [n, 3]; the last of them again up to the end of the last block."""
    for n in range(padded):
        put_position(n, load3(points, begin + ti.min(n, total - 1)), scale, offset, box, positions)


@ti.kernel
def place_on_rays(
    begin: ti.i32, total: ti.i32, padded: ti.i32, scale: float, offset: float, ray_of: A1, t: A1, origins: A2,
    directions: A2, box: A2, positions: A1,
):  # fmt: skip
    """As `place_points`, for the points at t [rays] of the listed rays."""
    for n in range(padded):
        ray = ray_of[begin + ti.min(n, total - 1)]
        put_position(n, load3(origins, ray) + t[ray] * load3(directions, ray), scale, offset, box, positions)


@ti.kernel
def set_owners(begin: ti.i32, total: ti.i32, padded: ti.i32, ray_of: A1, owner: I1):
    for n in range(padded):
        owner[n] = ray_of[begin + ti.min(n, total - 1)]


@ti.kernel
def first_change(
    begin: ti.i32, end: ti.i32, rows: ti.i32, density: ti.i32, level: float, starts: I1, times: A1, values: A1,
    bracket: A1, hit: A1,
):  # fmt: skip
    """Between which samples f first turns from positive to negative: bracket [rays * SLOTS], hit [rays] 1 or 0."""
    for ray in range(begin, end):
        hit[ray] = 0
        first = starts[ray] - starts[begin]
        base = ray * SLOTS
        before, going = 0.0, 1
        for k in range(starts[ray + 1] - starts[ray]):
            f = number(first + k, rows, density, level, values)
            if going == 1 and k > 0 and before > 0.0 and f <= 0.0:
                hit[ray] = 1
                going = 0
                bracket[base + LOWER], bracket[base + UPPER] = times[first + k - 1], times[first + k]
                bracket[base + F_LOWER], bracket[base + F_UPPER] = before, f
                bracket[base + BEST], bracket[base + F_BEST] = times[first + k], ti.abs(f)
                bracket[base + SIDE] = 0.0
            before = f


@ti.kernel
def propose(count: ti.i32, ray_of: A1, bracket: A1, t: A1):
    """t [rays]: the next place to look at, by regula falsi."""
    for e in range(count):
        ray = ray_of[e]
        base = ray * SLOTS
        a, b, fa, fb = bracket[base + LOWER], bracket[base + UPPER], bracket[base + F_LOWER], bracket[base + F_UPPER]
        at = 0.5 * (a + b)
        if fa > fb:
            at = (a * fb - b * fa) / (fb - fa)
        if not (at > a and at < b):
            at = 0.5 * (a + b)
        bracket[base + TRIAL] = at
        t[ray] = at


@ti.kernel
def narrow(
    begin: ti.i32, total: ti.i32, rows: ti.i32, density: ti.i32, level: float, ray_of: A1, values: A1, bracket: A1
):
    """Take the proposed place as the new end, with the Illinois rule."""
    for n in range(total):
        base = ray_of[begin + n] * SLOTS
        f, at, side = number(n, rows, density, level, values), bracket[base + TRIAL], bracket[base + SIDE]
        if ti.abs(f) < bracket[base + F_BEST]:
            bracket[base + BEST], bracket[base + F_BEST] = at, ti.abs(f)
        if f > 0.0:
            bracket[base + LOWER], bracket[base + F_LOWER] = at, f
            if side > 0.0:
                bracket[base + F_UPPER] = 0.5 * bracket[base + F_UPPER]
            bracket[base + SIDE] = 1.0
        else:
            bracket[base + UPPER], bracket[base + F_UPPER] = at, f
            if side < 0.0:
                bracket[base + F_LOWER] = 0.5 * bracket[base + F_LOWER]
            bracket[base + SIDE] = -1.0


@ti.kernel
def take_best(count: ti.i32, bracket: A1, hit: A1, found: A1):
    """found [rays]: t of the hit, 0 where there is none."""
    for ray in range(count):
        found[ray] = 0.0
        if hit[ray] == 1:
            found[ray] = bracket[ray * SLOTS + BEST]


@ti.kernel
def least_sample(
    begin: ti.i32, end: ti.i32, rows: ti.i32, density: ti.i32, level: float, starts: I1, times: A1, values: A1, t: A1,
    inside: A1,
):  # fmt: skip
    """t [rays] of the sample with the smallest f; inside [rays] is 0 where a ray has no sample."""
    for ray in range(begin, end):
        first, best = starts[ray] - starts[begin], 0.0
        inside[ray] = 0
        t[ray] = 0.0
        for k in range(starts[ray + 1] - starts[ray]):
            f = number(first + k, rows, density, level, values)
            if k == 0 or f < best:
                best = f
                t[ray] = times[first + k]
                inside[ray] = 1


@ti.kernel
def read_numbers(
    begin: ti.i32, total: ti.i32, rows: ti.i32, density: ti.i32, level: float, values: A1, out: A2
):  # fmt: skip
    for n in range(total):
        out[begin + n, 0] = number(n, rows, density, level, values)


@ti.kernel
def read_numbers_of_rays(
    begin: ti.i32, total: ti.i32, rows: ti.i32, density: ti.i32, level: float, ray_of: A1, values: A1, out: A2
):
    for n in range(total):
        out[ray_of[begin + n], 0] = number(n, rows, density, level, values)


@ti.kernel
def read_colors(begin: ti.i32, total: ti.i32, rows: ti.i32, values: A1, out: A2):
    for n in range(total):
        for c in ti.static(range(3)):
            out[begin + n, c] = values[sample_slot(n, rows) + (rows - 3 + c) * BLOCK]


@ti.kernel
def seed(total: ti.i32, to_number: A1, to_outputs: A1):
    """The network's output gradients where f has the gradients to_number [n]; those of the colour are 0."""
    for n in range(total):
        slot = sample_slot(n, 4)
        to_outputs[slot] = -to_number[n]
        for c in ti.static(range(3)):
            to_outputs[slot + (1 + c) * BLOCK] = 0.0


@ti.kernel
def seed_colors(begin: ti.i32, total: ti.i32, grad_out: A2, to_outputs: A1):
    for n in range(total):
        slot = sample_slot(n, 4)
        to_outputs[slot] = 0.0
        for c in ti.static(range(3)):
            to_outputs[slot + (1 + c) * BLOCK] = grad_out[begin + n, c]


@ti.kernel
def rows_of(begin: ti.i32, total: ti.i32, source: A2, out: A1):
    """out [n] = source [rows, 1] from row `begin` on."""
    for n in range(total):
        out[n] = source[begin + n, 0]


@ti.kernel
def rows_of_rays(begin: ti.i32, total: ti.i32, ray_of: A1, source: A2, out: A1):
    """out [n] = source [rays, 1] of the listed rays."""
    for n in range(total):
        out[n] = source[ray_of[begin + n], 0]


@ti.kernel
def points_adjoint(begin: ti.i32, total: ti.i32, scale: float, box: A2, to_positions: A1, grad_points: A2):
    for n in range(total):
        g = position_gradient(n, scale, box, to_positions)
        for a in ti.static(range(3)):
            grad_points[begin + n, a] = grad_points[begin + n, a] + g[a]


@ti.kernel
def rays_adjoint(
    begin: ti.i32, total: ti.i32, scale: float, ray_of: A1, t: A1, directions: A2, box: A2, to_positions: A1,
    grad_origins: A2, grad_directions: A2,
):  # fmt: skip
    """Of points at a fixed distance t |d| from their ray's origin, in the units of the rays' space."""
    for n in range(total):
        ray = ray_of[begin + n]
        g, d = position_gradient(n, scale, box, to_positions), load3(directions, ray)
        across = g - d * (d.dot(g) / d.norm_sqr())
        for a in ti.static(range(3)):
            grad_origins[ray, a] = grad_origins[ray, a] + g[a]
            grad_directions[ray, a] = grad_directions[ray, a] + t[ray] * across[a]


@ti.kernel
def hits_adjoint(
    begin: ti.i32, total: ti.i32, scale: float, mode: ti.i32, least: float, ray_of: A1, directions: A2, box: A2,
    to_positions: A1, t: A2, grad_t: A2, to_number: A1, grad_origins: A2, grad_directions: A2,
    to_rays: ti.template(),
):  # fmt: skip
    """From the gradients of the hits' t [n, 1], by the slopes of f in to_positions: to f at the hits, to the rays."""
    for n in range(total):
        e = begin + n
        ray = ray_of[e]
        d, slope = load3(directions, ray), position_gradient(n, scale, box, to_positions)
        to_f = moved(d, slope, grad_t[e, 0], mode, least)
        to_number[n] = to_f
        if ti.static(to_rays):
            for a in ti.static(range(3)):
                grad_origins[ray, a] = grad_origins[ray, a] + to_f * slope[a]
                grad_directions[ray, a] = grad_directions[ray, a] + to_f * t[e, 0] * slope[a]


@ti.kernel
def neighbours(count: ti.i32, step: float, points: A2, out: A2):
    """out [6 n, 3]: points [n, 3] moved by `step` forward and back along each axis."""
    for e in range(count):
        p = load3(points, e)
        for k in ti.static(range(6)):
            for a in ti.static(range(3)):
                shift = 0.0
                if ti.static(a == k // 2):
                    shift = step if ti.static(k % 2 == 0) else -step
                out[6 * e + k, a] = p[a] + shift


@ti.kernel
def neighbours_adjoint(count: ti.i32, grad_out: A2, grad_points: A2):
    for e in range(count):
        for a in ti.static(range(3)):
            total = 0.0
            for k in ti.static(range(6)):
                total += grad_out[6 * e + k, a]
            grad_points[e, a] = grad_points[e, a] + total


@ti.kernel
def differences(count: ti.i32, step: float, numbers: A2, out: A2):
    """out [n, 3]: central differences of numbers [6 n, 1] at `neighbours`."""
    for e in range(count):
        for a in ti.static(range(3)):
            out[e, a] = (numbers[6 * e + 2 * a, 0] - numbers[6 * e + 2 * a + 1, 0]) / (2.0 * step)


@ti.kernel
def differences_adjoint(count: ti.i32, step: float, grad_out: A2, grad_numbers: A2):
    for e in range(count):
        for a in ti.static(range(3)):
            share = grad_out[e, a] / (2.0 * step)
            grad_numbers[6 * e + 2 * a, 0] = grad_numbers[6 * e + 2 * a, 0] + share
            grad_numbers[6 * e + 2 * a + 1, 0] = grad_numbers[6 * e + 2 * a + 1, 0] - share
