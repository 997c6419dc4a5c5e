"""Photons: where light starts, and the adjoint for paths that move with the lights.

    emit(kinds, t, u1, u2, u3, u4, u5) -> (entry, kind, triangle, b1, b2, position, direction, weight [3])
    emit_adjoint(kinds, t, entry, b1, b2, position, direction, g_position, g_direction, g_weight, part, first,
        texel_part, first_texel, atomic) -> to_corners [3, 3]

`kinds`, `t`, entries and accumulators as in lights.py. direction: unit, the way the photon flies. weight: power / pdf,
so that the mean of the weights is the power of all lights; for a triangle without its emission at (triangle, b1, b2),
by which the caller multiplies (area * pi / probability: directions are cosine-distributed about the face normal). Spots
send evenly into their cone. Parallel light, suns and the environment start on a disc across the direction that touches
the scene's bounding sphere from outside: what they send is what crosses the sphere. weight = 0: no photon.

What moves: with fixed random numbers position and direction follow the light's place, direction and angles, or the
triangle's corners; the weight follows values, angles and area. The environment's directions, the choice of the entry
and the bounding sphere stay as they are.
"""

import taichi as ti

from .. import environment
from ..accumulate import add
from . import sky
from .light_shapes import (
    barycentrics,
    cone,
    cone_adjoint,
    cross_adjoint,
    falloff,
    lean,
    point_adjoint,
    turn_adjoint,
)
from .lights import (
    ANGLE,
    CAP,
    COLOR,
    DIRECTION,
    DIRECTIONAL,
    ENVIRONMENT,
    HEADER,
    INNER,
    POINT,
    POSITION,
    SPOT,
    SUN,
    TRIANGLE,
    VALUES,
    chance_of,
    choose,
    environment_adjoint,
    read,
    write,
)
from .sampling import PI, cosine_hemisphere, disc, spherical
from .surface import corners, frame, to_local, to_world


@ti.func
def sphere(t: ti.template()):
    """Centre and radius of the scene's bounding sphere."""
    at = t.entries[0, 0] + 1
    return ti.Vector([t.cdf[at], t.cdf[at + 1], t.cdf[at + 2]]), t.cdf[at + 3]


@ti.func
def emit(kinds: ti.template(), t: ti.template(), u1, u2, u3, u4, u5):
    entry, chance = choose(t, u1)
    kind, triangle, row = t.entries[HEADER + entry, 0], t.entries[HEADER + entry, 1], t.entries[HEADER + entry, 2]
    b1, b2 = 0.0, 0.0
    zero = ti.Vector([0.0, 0.0, 0.0])
    position, direction, weight = zero, ti.Vector([0.0, 0.0, 1.0]), zero
    if ti.static(kinds >> TRIANGLE & 1):
        if kind == TRIANGLE:
            p0, p1, p2 = corners(t.faces, t.positions, triangle)
            b1, b2 = barycentrics(u2, u3)
            position = (1.0 - b1 - b2) * p0 + b1 * p1 + b2 * p2
            cross = (p1 - p0).cross(p2 - p0)
            double = cross.norm()
            if double > 0.0:
                n = cross / double
                along, beside = frame(n)
                direction = to_world(along, beside, n, cosine_hemisphere(u4, u5))
                weight += 0.5 * PI * double / chance
    if ti.static(kinds >> POINT & 1):
        if kind == POINT:
            position, direction = read(t, row, POSITION), spherical(1.0 - 2.0 * u2, u3)
            weight = read(t, row, COLOR) * (4.0 * PI / chance)
    if ti.static(kinds >> SPOT & 1):
        if kind == SPOT:
            axis, cap = read(t, row, DIRECTION), t.light_values[row, CAP]
            position, direction = read(t, row, POSITION), cone(axis, cap, u2, u3)
            share, _h, _cap, _inner = falloff(lean(direction, axis), cap, t.light_values[row, INNER])
            weight = read(t, row, COLOR) * (2.0 * PI * cap * share / chance)
    if ti.static((kinds >> DIRECTIONAL | kinds >> ENVIRONMENT) & 1):
        if kind >= DIRECTIONAL:
            if ti.static(kinds >> DIRECTIONAL & 1):
                if kind == DIRECTIONAL:
                    direction, weight = read(t, row, DIRECTION), read(t, row, COLOR) / chance
                    if ti.static(kinds >> SUN & 1):
                        cap = t.light_values[row, CAP]
                        if cap > 0.0:
                            direction = cone(direction, cap, u2, u3)
                            weight *= 2.0 / (2.0 - cap)
            if ti.static(kinds >> ENVIRONMENT & 1):
                if kind == ENVIRONMENT:
                    height, width, angle = t.entries[0, 2], t.entries[0, 3], t.light_values[row, ANGLE]
                    toward, pdf = sky.sample(u2, u3, angle, height, width, t.alias)
                    direction, weight = (
                        -toward,
                        environment.look_up(toward, angle, height, width, t.texels) / (pdf * chance),
                    )
            center, radius = sphere(t)
            along, beside = frame(direction)
            at = disc(u4, u5)
            position = center + radius * (at.x * along + at.y * beside - direction)
            weight *= PI * radius * radius
    return entry, kind, triangle, b1, b2, position, direction, weight


@ti.func
def emit_adjoint(
    kinds: ti.template(), t: ti.template(), entry, b1, b2, position, direction, g_position, g_direction, g_weight,
    part: ti.template(), first, texel_part: ti.template(), first_texel, atomic: ti.template(),
):  # fmt: skip
    """To the corners of a triangle, as the rows of a matrix; adds to the light's parameters.

    entry, b1, b2, position, direction: what `emit` returned; gradients of its position, direction and weight.
    """
    kind, triangle, row = t.entries[HEADER + entry, 0], t.entries[HEADER + entry, 1], t.entries[HEADER + entry, 2]
    chance, slot = chance_of(t, entry), first + VALUES * row
    to_corners = ti.Matrix.zero(float, 3, 3)
    if ti.static(kinds >> TRIANGLE & 1):
        if kind == TRIANGLE:
            p0, p1, p2 = corners(t.faces, t.positions, triangle)
            cross = (p1 - p0).cross(p2 - p0)
            double = cross.norm()
            if double > 0.0:
                n = cross / double
                along, beside = frame(n)
                to_n = turn_adjoint(n, to_local(along, beside, n, direction), g_direction)
                to_cross = (to_n - n * n.dot(to_n)) / double + n * (0.5 * PI / chance * g_weight.sum())
                to_corners = point_adjoint(b1, b2, g_position) + cross_adjoint(p0, p1, p2, to_cross)
    if ti.static(kinds >> POINT & 1):
        if kind == POINT:
            write(part, slot + POSITION, g_position, atomic)
            write(part, slot + COLOR, 4.0 * PI / chance * g_weight, atomic)
    if ti.static(kinds >> SPOT & 1):
        if kind == SPOT:
            axis, cap, color = read(t, row, DIRECTION), t.light_values[row, CAP], read(t, row, COLOR)
            h = lean(direction, axis)
            share, by_h, by_cap, by_inner = falloff(h, cap, t.light_values[row, INNER])
            whole = 2.0 * PI / chance * g_weight.dot(color)
            to_axis, to_cap = cone_adjoint(axis, cap, direction, g_direction)
            write(part, slot + POSITION, g_position, atomic)
            write(part, slot + DIRECTION, to_axis, atomic)
            write(part, slot + COLOR, 2.0 * PI * cap * share / chance * g_weight, atomic)
            add(part, slot + CAP, to_cap + whole * (share + cap * by_cap + h * by_h), atomic)
            add(part, slot + INNER, whole * cap * by_inner, atomic)
    if ti.static((kinds >> DIRECTIONAL | kinds >> ENVIRONMENT) & 1):
        if kind >= DIRECTIONAL:
            center, radius = sphere(t)
            factor = PI * radius * radius / chance
            if ti.static(kinds >> DIRECTIONAL & 1):
                if kind == DIRECTIONAL:
                    from_disc_adjoint(
                        kinds, t, row, (position - center) / radius, direction, radius * g_position, g_direction,
                        factor * g_weight, part, slot, atomic,
                    )  # fmt: skip
            if ti.static(kinds >> ENVIRONMENT & 1):
                if kind == ENVIRONMENT:
                    pdf = sky.pdf(-direction, t.light_values[row, ANGLE], t.entries[0, 2], t.entries[0, 3], t.alias)
                    g = factor / pdf * g_weight
                    environment_adjoint(t, -direction, g, part, first, texel_part, first_texel, atomic)
    return to_corners


@ti.func
def from_disc_adjoint(
    kinds: ti.template(), t: ti.template(), row, place, direction, g_place, g_direction, g_color, part: ti.template(),
    slot, atomic: ti.template(),
):  # fmt: skip
    """Of a directional light that starts `place` radii from the sphere's centre; g_color: of the weight, per factor."""
    along, beside = frame(direction)
    to_color, to_axis = g_color, g_direction
    to_axis += turn_adjoint(direction, to_local(along, beside, direction, place), g_place)
    if ti.static(kinds >> SUN & 1):
        cap = t.light_values[row, CAP]
        if cap > 0.0:
            whole = 2.0 / (2.0 - cap)
            to_color = whole * g_color
            to_axis, to_cap = cone_adjoint(read(t, row, DIRECTION), cap, direction, to_axis)
            to_cap += 0.5 * whole * whole * g_color.dot(read(t, row, COLOR))
            add(part, slot + CAP, to_cap, atomic)
    write(part, slot + DIRECTION, to_axis, atomic)
    write(part, slot + COLOR, to_color, atomic)
