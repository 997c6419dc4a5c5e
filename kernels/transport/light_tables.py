"""The tables of lights.py, made on the device: rows of light_values with their adjoint, and the probabilities."""

import taichi as ti

from ..accumulate import load3, turns
from .light_shapes import cap_of
from .lights import (
    ANGLE,
    CAP,
    COLOR,
    DIRECTION,
    DIRECTIONAL,
    ENVIRONMENT,
    HEADER,
    INNER,
    POSITION,
    SPOT,
    TRIANGLE,
    VALUES,
)
from .sampling import PI
from .sky import luminance

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

FLOOR = 0.1  # of the probability is shared out evenly, so that a light that is dark now is still looked at
PARALLEL = 1e-5  # half angle in radians of a sun up to which its light is parallel
WIDEN = 1.001  # of the bounding sphere, for what is rounded


@ti.kernel
def write_light(kind: ti.i32, row: ti.i32, position: A2, direction: A2, color: A2, angle: A2, falloff: A2, values: A2):
    """A row of light_values. angle: a spot's cutoff, a sun's diameter or an environment's rotation, in radians.

    Arguments that a kind does not have are not read.
    """
    for _ in range(1):
        for c in range(VALUES):
            values[row, c] = 0.0
        if kind != ENVIRONMENT:
            for c in ti.static(range(3)):
                values[row, COLOR + c] = color[0, c]
        if kind <= SPOT:
            for c in ti.static(range(3)):
                values[row, POSITION + c] = position[0, c]
        if SPOT <= kind <= DIRECTIONAL:
            way = load3(direction, 0)
            length = way.norm()
            for c in ti.static(range(3)):
                values[row, DIRECTION + c] = way[c] / length if length > 1e-12 else ti.static(1.0 if c == 2 else 0.0)
        if kind == SPOT:
            values[row, CAP] = cap_of(angle[0, 0])
            values[row, INNER] = cap_of(ti.max(angle[0, 0] - falloff[0, 0], 0.0))
        if kind == DIRECTIONAL and angle[0, 0] > 2.0 * PARALLEL:
            values[row, CAP] = cap_of(0.5 * angle[0, 0])
        if kind == ENVIRONMENT:
            values[row, ANGLE] = angle[0, 0]


@ti.kernel
def write_light_adjoint(
    kind: ti.i32, row: ti.i32, direction: A2, angle: A2, falloff: A2, grad: A2, grad_position: A2, grad_direction: A2,
    grad_color: A2, grad_angle: A2, grad_falloff: A2,
):  # fmt: skip
    """From the gradient of a row of light_values, added to those of what it was made of."""
    for _ in range(1):
        if kind != ENVIRONMENT:
            for c in ti.static(range(3)):
                grad_color[0, c] = grad_color[0, c] + grad[row, COLOR + c]
        if kind <= SPOT:
            for c in ti.static(range(3)):
                grad_position[0, c] = grad_position[0, c] + grad[row, POSITION + c]
        if SPOT <= kind <= DIRECTIONAL:
            way, g = load3(direction, 0), ti.Vector([grad[row, DIRECTION + c] for c in ti.static(range(3))])
            length = way.norm()
            if length > 1e-12:
                unit = way / length
                g = (g - unit * unit.dot(g)) / length
                for c in ti.static(range(3)):
                    grad_direction[0, c] = grad_direction[0, c] + g[c]
        if kind == SPOT:
            inner = angle[0, 0] - falloff[0, 0]
            to_inner = 0.0
            if inner > 0.0:
                to_inner = grad[row, INNER] * ti.sin(inner)
            grad_angle[0, 0] = grad_angle[0, 0] + grad[row, CAP] * ti.sin(angle[0, 0]) + to_inner
            grad_falloff[0, 0] = grad_falloff[0, 0] - to_inner
        if kind == DIRECTIONAL and angle[0, 0] > 2.0 * PARALLEL:
            grad_angle[0, 0] = grad_angle[0, 0] + 0.5 * grad[row, CAP] * ti.sin(0.5 * angle[0, 0])
        if kind == ENVIRONMENT:
            grad_angle[0, 0] = grad_angle[0, 0] + grad[row, ANGLE]


@ti.kernel
def mean_luminance(
    rows: ti.i32, channels: ti.i32, colors: A2, index: ti.i32, chunks: ti.i32, size: ti.i32, partial: A1, out: A1
):
    """out[index] = mean luminance of colors [rows, channels of 1 or 3]; partial [chunks], chunks of `size` rows."""
    for ticket in range(chunks * turns(size)):
        p = ticket // turns(size)
        if ticket % turns(size) != 0:
            continue
        total = 0.0
        for k in range(p * size, ti.min((p + 1) * size, rows)):
            color = ti.Vector([colors[k, ti.min(c, channels - 1)] for c in ti.static(range(3))])
            total += ti.max(luminance(color), 0.0)
        partial[p] = total
    for _ in range(1):
        total = 0.0
        for p in range(chunks):
            total += partial[p]
        out[index] = total / rows


@ti.kernel
def bounding_sphere(
    rows: ti.i32, positions: A2, chunks: ti.i32, size: ti.i32, partial: A1, at: ti.i32, out: A1
):  # fmt: skip
    """out[at:at + 4] = centre of the box around positions [rows, 3] and the radius around it; partial [6 chunks]."""
    for ticket in range(chunks * turns(size)):
        p = ticket // turns(size)
        if ticket % turns(size) != 0:
            continue
        low, high = ti.Vector([1e30, 1e30, 1e30]), ti.Vector([-1e30, -1e30, -1e30])
        for row in range(p * size, ti.min((p + 1) * size, rows)):
            x = load3(positions, row)
            low, high = ti.min(low, x), ti.max(high, x)
        for c in ti.static(range(3)):
            partial[6 * p + c] = low[c]
            partial[6 * p + 3 + c] = high[c]
    for _ in range(1):
        for c in ti.static(range(3)):
            low, high = 1e30, -1e30
            for p in range(chunks):
                low, high = ti.min(low, partial[6 * p + c]), ti.max(high, partial[6 * p + 3 + c])
            out[at + c] = 0.5 * (low + high)
    for ticket in range(chunks * turns(size)):
        p = ticket // turns(size)
        if ticket % turns(size) != 0:
            continue
        far = 0.0
        center = ti.Vector([out[at], out[at + 1], out[at + 2]])
        for row in range(p * size, ti.min((p + 1) * size, rows)):
            away = load3(positions, row) - center
            far = ti.max(far, away.dot(away))
        partial[p] = far
    for _ in range(1):
        far = 0.0
        for p in range(chunks):
            far = ti.max(far, partial[p])
        out[at + 3] = WIDEN * ti.sqrt(far)


@ti.kernel
def powers(
    count: ti.i32, entries: A2, values: A2, triangles: A2, positions: A2, materials: A1, brightness: A1, sky: A1,
    cdf: A1,
):  # fmt: skip
    """cdf[e + 1] = about the power of entry e, by luminance.

    triangles [F, 3], materials [F]; brightness: mean luminance of each material's emission. The last number of sky is
    the integral of the environment's luminance.
    """
    for e in range(count):
        kind, triangle, row = entries[HEADER + e, 0], entries[HEADER + e, 1], entries[HEADER + e, 2]
        power = 0.0
        if kind == TRIANGLE:
            p0 = load3(positions, triangles[triangle, 0])
            e1 = load3(positions, triangles[triangle, 1]) - p0
            e2 = load3(positions, triangles[triangle, 2]) - p0
            power = 0.5 * e1.cross(e2).norm() * brightness[materials[triangle]] * PI
        else:
            across = PI * cdf[count + 4] * cdf[count + 4]
            if kind == ENVIRONMENT:
                power = sky[sky.shape[0] - 1] * across
            else:
                power = luminance(ti.Vector([values[row, COLOR + c] for c in ti.static(range(3))]))
                if kind == DIRECTIONAL:
                    power *= across
                elif kind == SPOT:
                    power *= PI * (values[row, CAP] + values[row, INNER])
                else:
                    power *= 4.0 * PI
        cdf[e + 1] = ti.max(power, 0.0)


@ti.kernel
def accumulate(count: ti.i32, chunks: ti.i32, size: ti.i32, partial: A1, cdf: A1):
    """From the powers to cdf [0:count + 1], in chunks of `size` entries; partial [chunks + 1]."""
    for ticket in range(chunks * turns(size)):
        p = ticket // turns(size)
        if ticket % turns(size) != 0:
            continue
        total = 0.0
        for e in range(p * size, ti.min((p + 1) * size, count)):
            total += cdf[e + 1]
        partial[p] = total
    for _ in range(1):
        total = 0.0
        for p in range(chunks):
            before = total
            total += partial[p]
            partial[p] = before
        partial[chunks] = total
    for ticket in range(chunks * turns(size)):
        p = ticket // turns(size)
        if ticket % turns(size) != 0:
            continue
        whole, within = partial[chunks], 0.0
        for e in range(p * size, ti.min((p + 1) * size, count)):
            within += cdf[e + 1]
            even = (e + 1.0) / count
            share = even
            if whole > 0.0:
                share = (1.0 - FLOOR) * ((partial[p] + within) / whole) + FLOOR * even
            cdf[e + 1] = 1.0 if e + 1 == count else ti.min(share, 1.0)
        if p == 0:
            cdf[0] = 0.0
