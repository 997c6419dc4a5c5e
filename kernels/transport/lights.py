"""Light from the lights: sampling one from a point, what shines from far away, densities for both, and the adjoints.

    sample(kinds, t, x, u1, u2, u3) -> (entry, kind, triangle, b1, b2, d, distance, value [3], pdf, delta)
    sample_adjoint(kinds, t, x, entry, b1, b2, d, g_value, g_d, part, first, texel_part, first_texel, atomic)
        -> (to_x [3], to_corners [3, 3])
    pdf_of_hit(t, entry, d, distance, cross) -> pdf
    pdf_of_direction(kinds, t, d, suns) -> pdf
    environment_radiance(kinds, t, d, suns) -> [3]
    environment_radiance_adjoint(kinds, t, d, suns, g, part, first, texel_part, first_texel, atomic) -> to_d [3]
    emission.py: emit, emit_adjoint: where photons start. light_shapes.py: triangle_adjoint for triangles met otherwise.

`kinds` (compile-time): bit 1 << KIND for each kind of light there is, and 1 << SUN if a directional one is a disc.
`t`: tables (tables.py), of which these read entries, light_values, cdf, texels, alias, and faces, positions.

    entries int [HEADER + E, 4]: row 0 (E, entry of the environment or -1, its map's height, width), row 1 (first
        directional entry, how many, 0, 0), row HEADER + e: (kind, triangle or -1, row of light_values or -1, 0).
        In the order triangles, points, spots, directional lights, environment.
    light_values [L, VALUES]: POSITION, DIRECTION (unit: the way the light travels, a spot's axis), COLOR (intensity,
        irradiance), then for a spot CAP and INNER, 1 - cos of the cutoff and of where full intensity ends; for a sun
        CAP, 1 - cos of half its angle (0: parallel light); for an environment ANGLE, by which its map is turned.
    cdf [E + 5]: the probability of all entries before e; from E + 1 on the centre and radius of the scene's sphere.
    texels [H * W, 3]: the environment's map. alias: its table (sky.py).

x: a point. d: unit, towards the light. value: what arrives at a surface facing the light, if nothing is between: 1 for
a triangle (the caller multiplies by the emission at (triangle, b1, b2)), intensity * falloff / distance^2, irradiance
of parallel light; radiance of a sun's disc and of the environment. pdf: with the choice of the entry; per solid angle,
or for delta = 1 (point, spot, parallel) the probability. distance: FAR for what is infinitely far away. pdf = 0: no
sample (no lights, a triangle seen from behind or of no area), whatever else stands there. Triangles emit on their
front. `suns`: 1 to count suns' discs, 0 for the environment alone. Ambient lights are no entries.

What moves with a sample. Choices are never differentiated. A sample sticks to its light: to its place in the triangle
(fixed b1, b2) or in a sun's disc, so that lights' outlines have their gradient. Then 1 / pdf changes too: g_value must
be the gradient of a caller's `value * something / pdf`, the adjoint adds what it needs for pdf. The environment's
directions stay where they are. Sun discs met by a path by chance (suns = 1) have no gradient to their direction, so a
path tracer counts them only from the camera and after delta lobes, and takes `sample` for the rest, without MIS weight.

Gradients go to part[VALUES * row + column + first] for light_values and texel_part[3 * (first_texel + texel) + c].
"""

import taichi as ti

from .. import environment
from ..accumulate import add
from . import sky
from .light_shapes import (
    barycentrics,
    cone,
    cone_adjoint,
    falloff,
    lean,
    triangle_adjoint,
    triangle_pdf,
)
from .sampling import PI
from .surface import corners

TRIANGLE, POINT, SPOT, DIRECTIONAL, ENVIRONMENT, SUN = 0, 1, 2, 3, 4, 5
POSITION, DIRECTION, COLOR, CAP, INNER, ANGLE, VALUES = 0, 3, 6, 9, 10, 9, 16
HEADER = 2
FAR = 1e30
NEAREST = 1e-24  # squared distance to a point light within which it gives no light


@ti.func
def read(t: ti.template(), row, column):
    """Three numbers of light_values."""
    return ti.Vector([t.light_values[row, column], t.light_values[row, column + 1], t.light_values[row, column + 2]])


@ti.func
def write(part: ti.template(), slot, value, atomic: ti.template()):
    """Add three numbers at a slot of the accumulator of light_values."""
    for c in ti.static(range(3)):
        add(part, slot + c, value[c], atomic)


@ti.func
def choose(t: ti.template(), u):
    """The entry whose part of [0, 1) u lies in, and its probability; (0, 0) without lights."""
    low, high = 0, t.entries[0, 0]
    while high - low > 1:
        middle = (low + high) // 2
        if t.cdf[middle] <= u:
            low = middle
        else:
            high = middle
    return low, chance_of(t, low)


@ti.func
def chance_of(t: ti.template(), entry):
    chance = 0.0
    if entry < t.entries[0, 0]:
        chance = t.cdf[entry + 1] - t.cdf[entry]
    return chance


@ti.func
def sharp(kinds: ti.template(), t: ti.template(), entry):
    """1 for a point, a spot and parallel light, which no ray meets by chance."""
    kind, found = t.entries[HEADER + entry, 0], 0
    if POINT <= kind <= SPOT:
        found = 1
    if ti.static(kinds >> DIRECTIONAL & 1):
        if kind == DIRECTIONAL:
            found = ti.cast(t.light_values[t.entries[HEADER + entry, 2], CAP] <= 0.0, ti.i32)
    return found


@ti.func
def disc_radiance(cap):
    """Radiance of a sun's disc for irradiance 1 on a facing surface, and its derivative by the cap."""
    projected = PI * cap * (2.0 - cap)
    return 1.0 / projected, -2.0 * PI * (1.0 - cap) / (projected * projected)


@ti.func
def sample(kinds: ti.template(), t: ti.template(), x, u1, u2, u3):
    entry, chance = choose(t, u1)
    kind, triangle, row = t.entries[HEADER + entry, 0], t.entries[HEADER + entry, 1], t.entries[HEADER + entry, 2]
    b1, b2, distance, pdf, delta = 0.0, 0.0, FAR, 0.0, 0
    d, value = ti.Vector([0.0, 0.0, 1.0]), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(kinds >> TRIANGLE & 1):
        if kind == TRIANGLE:
            p0, p1, p2 = corners(t.faces, t.positions, triangle)
            b1, b2 = barycentrics(u2, u3)
            v = (1.0 - b1 - b2) * p0 + b1 * p1 + b2 * p2 - x
            square = v.dot(v)
            if square > NEAREST:
                distance = ti.sqrt(square)
                d = v / distance
                pdf = triangle_pdf(chance, d, distance, (p1 - p0).cross(p2 - p0))
                value = ti.Vector([1.0, 1.0, 1.0])
    if ti.static((kinds >> POINT | kinds >> SPOT) & 1):
        if POINT <= kind <= SPOT:
            v = read(t, row, POSITION) - x
            square = v.dot(v)
            if square > NEAREST:
                distance, pdf, delta = ti.sqrt(square), chance, 1
                d = v / distance
                value = read(t, row, COLOR) / square
                if ti.static(kinds >> SPOT & 1):
                    if kind == SPOT:
                        h = lean(-d, read(t, row, DIRECTION))
                        share, _h, _cap, _inner = falloff(h, t.light_values[row, CAP], t.light_values[row, INNER])
                        value *= share
    if ti.static(kinds >> DIRECTIONAL & 1):
        if kind == DIRECTIONAL:
            d, value, pdf, delta = -read(t, row, DIRECTION), read(t, row, COLOR), chance, 1
            if ti.static(kinds >> SUN & 1):
                cap = t.light_values[row, CAP]
                if cap > 0.0:
                    radiance, _slope = disc_radiance(cap)
                    d, value, delta = -cone(-d, cap, u2, u3), value * radiance, 0
                    pdf = chance / (2.0 * PI * cap)
    if ti.static(kinds >> ENVIRONMENT & 1):
        if kind == ENVIRONMENT:
            height, width, angle = t.entries[0, 2], t.entries[0, 3], t.light_values[row, ANGLE]
            d, pdf = sky.sample(u2, u3, angle, height, width, t.alias)
            value, pdf = environment.look_up(d, angle, height, width, t.texels), pdf * chance
    return entry, kind, triangle, b1, b2, d, distance, value, pdf, delta


@ti.func
def sample_adjoint(
    kinds: ti.template(), t: ti.template(), x, entry, b1, b2, d, g_value, g_d, part: ti.template(), first,
    texel_part: ti.template(), first_texel, atomic: ti.template(),
):  # fmt: skip
    """To x, and to the corners of a triangle; adds to the light's parameters.

    entry, b1, b2, d: what `sample` returned with a pdf above 0. g_value: gradient of its value, pdf following (see
    above); g_d: of d, from all that it goes into but the value.
    """
    kind, triangle, row = t.entries[HEADER + entry, 0], t.entries[HEADER + entry, 1], t.entries[HEADER + entry, 2]
    slot = first + VALUES * row
    to_x, to_corners = ti.Vector([0.0, 0.0, 0.0]), ti.Matrix.zero(float, 3, 3)
    if ti.static(kinds >> TRIANGLE & 1):
        if kind == TRIANGLE:
            p0, p1, p2 = corners(t.faces, t.positions, triangle)
            to_x, to_corners = triangle_adjoint(p0, p1, p2, b1, b2, x, g_d, g_value.sum())
    if ti.static((kinds >> POINT | kinds >> SPOT) & 1):
        if POINT <= kind <= SPOT:
            v, color, to_way = read(t, row, POSITION) - x, read(t, row, COLOR), g_d
            square = v.dot(v)
            share = 1.0
            if ti.static(kinds >> SPOT & 1):
                if kind == SPOT:
                    axis, cap, inner = read(t, row, DIRECTION), t.light_values[row, CAP], t.light_values[row, INNER]
                    share, by_h, by_cap, by_inner = falloff(lean(-d, axis), cap, inner)
                    to_share = g_value.dot(color) / square
                    to_way += to_share * by_h * axis
                    write(part, slot + DIRECTION, to_share * by_h * d, atomic)
                    add(part, slot + CAP, to_share * by_cap, atomic)
                    add(part, slot + INNER, to_share * by_inner, atomic)
            to_position = (to_way - d * d.dot(to_way)) / ti.sqrt(square)
            to_position -= 2.0 * share * g_value.dot(color) / (square * square) * v
            to_x = -to_position
            write(part, slot + POSITION, to_position, atomic)
            write(part, slot + COLOR, share / square * g_value, atomic)
    if ti.static(kinds >> DIRECTIONAL & 1):
        if kind == DIRECTIONAL:
            to_color, to_axis = g_value, -g_d
            if ti.static(kinds >> SUN & 1):
                cap, color = t.light_values[row, CAP], read(t, row, COLOR)
                if cap > 0.0:
                    radiance, slope = disc_radiance(cap)
                    to_color = g_value * radiance
                    to_axis, to_cap = cone_adjoint(read(t, row, DIRECTION), cap, -d, -g_d)
                    add(part, slot + CAP, to_cap + g_value.dot(color) * (slope + radiance / cap), atomic)
            write(part, slot + DIRECTION, to_axis, atomic)
            write(part, slot + COLOR, to_color, atomic)
    if ti.static(kinds >> ENVIRONMENT & 1):
        if kind == ENVIRONMENT:
            environment_adjoint(t, d, g_value, part, first, texel_part, first_texel, atomic)
    return to_x, to_corners


@ti.func
def pdf_of_hit(t: ti.template(), entry, d, distance, cross):
    """What `sample` gives for a hit on an emissive triangle: its light entry, d and distance to the hit.

    cross: (p1 - p0) x (p2 - p0) of its corners. 0 from behind.
    """
    return triangle_pdf(chance_of(t, entry), d, distance, cross)


@ti.func
def environment_adjoint(
    t: ti.template(), d, g, part: ti.template(), first, texel_part: ti.template(), first_texel, atomic: ti.template()
):
    """To d, for the gradient g of the environment's radiance; adds to its texels and rotation."""
    height, width = t.entries[0, 2], t.entries[0, 3]
    row = t.entries[HEADER + t.entries[0, 1], 2]
    angle = t.light_values[row, ANGLE]
    to_d, to_angle = environment.look_up_adjoint(d, angle, height, width, t.texels, g)
    add(part, first + VALUES * row + ANGLE, to_angle, atomic)
    environment.scatter(d, angle, height, width, g, texel_part, first_texel, atomic)
    return to_d


@ti.func
def environment_radiance(kinds: ti.template(), t: ti.template(), d, suns):
    """Radiance [3] from far away along the unit direction d."""
    total = ti.Vector([0.0, 0.0, 0.0])
    if ti.static(kinds >> ENVIRONMENT & 1):
        angle = t.light_values[t.entries[HEADER + t.entries[0, 1], 2], ANGLE]
        total = environment.look_up(d, angle, t.entries[0, 2], t.entries[0, 3], t.texels)
    if ti.static(kinds >> SUN & 1):
        for k in range(t.entries[1, 1] * suns):
            row = t.entries[HEADER + t.entries[1, 0] + k, 2]
            cap = t.light_values[row, CAP]
            if lean(-d, read(t, row, DIRECTION)) < cap:
                radiance, _slope = disc_radiance(cap)
                total += radiance * read(t, row, COLOR)
    return total


@ti.func
def environment_radiance_adjoint(
    kinds: ti.template(), t: ti.template(), d, suns, g, part: ti.template(), first, texel_part: ti.template(),
    first_texel, atomic: ti.template(),
):  # fmt: skip
    """To d (of the environment; a disc is even), for the gradient g of the radiance; adds to the lights' parameters."""
    to_d = ti.Vector([0.0, 0.0, 0.0])
    if ti.static(kinds >> ENVIRONMENT & 1):
        to_d = environment_adjoint(t, d, g, part, first, texel_part, first_texel, atomic)
    if ti.static(kinds >> SUN & 1):
        for k in range(t.entries[1, 1] * suns):
            row = t.entries[HEADER + t.entries[1, 0] + k, 2]
            cap = t.light_values[row, CAP]
            if lean(-d, read(t, row, DIRECTION)) < cap:
                radiance, slope = disc_radiance(cap)
                write(part, first + VALUES * row + COLOR, radiance * g, atomic)
                add(part, first + VALUES * row + CAP, slope * g.dot(read(t, row, COLOR)), atomic)
    return to_d


@ti.func
def pdf_of_direction(kinds: ti.template(), t: ti.template(), d, suns):
    """What `sample` gives for the unit direction d, by the environment and suns' discs together."""
    total = 0.0
    if ti.static(kinds >> ENVIRONMENT & 1):
        entry = t.entries[0, 1]
        angle = t.light_values[t.entries[HEADER + entry, 2], ANGLE]
        total = chance_of(t, entry) * sky.pdf(d, angle, t.entries[0, 2], t.entries[0, 3], t.alias)
    if ti.static(kinds >> SUN & 1):
        for k in range(t.entries[1, 1] * suns):
            entry = t.entries[1, 0] + k
            row = t.entries[HEADER + entry, 2]
            cap = t.light_values[row, CAP]
            if lean(-d, read(t, row, DIRECTION)) < cap:
                total += chance_of(t, entry) / (2.0 * PI * cap)
    return total
