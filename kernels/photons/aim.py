"""Where photons start: evenly spread over all that lights send out, or aimed at what makes caustics.

The first numbers of a photon are those of a lattice (lattice.py), so that photons cover the lights evenly.

Aimed photons fly towards one of some spheres, around whatever mirrors or refracts, and weigh as much less as they are
more (Jensen 1996's projection maps, without a grid). A photon that is not aimed and meets such a surface first is
dropped, and so is an aimed one that meets something else: both kinds together are all light, once.
"""

import taichi as ti

from .. import rng
from ..accumulate import load3
from ..transport import emission, lights
from ..transport.lamp import shining
from ..transport.light_shapes import cone, falloff, lean
from ..transport.sampling import PI, disc
from ..transport.surface import corners, frame, unit
from .lattice import point

A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)


@ti.func
def cap_of_sphere(position, center, radius):
    """(unit axis, cap) of the cone of directions from a point to a sphere; all directions from within it."""
    away = center - position
    square, axis, cap = away.dot(away), ti.Vector([0.0, 0.0, 1.0]), 2.0
    if square > radius * radius:
        sine2 = radius * radius / square
        axis, cap = away / ti.sqrt(square), sine2 / (1.0 + ti.sqrt(1.0 - sine2))
    return axis, cap


@ti.func
def aim(
    kinds: ti.template(), t: ti.template(), spheres: ti.template(), u1, u2, u3, entry, kind, triangle, at, flight, w
):
    """(position, direction, weight, factor): what `emission.emit` gave, aimed at one of the spheres [S, 4].

    weight is what `emit` would have given it; times `factor` it is what the photon has.
    """
    count = spheres.shape[0]
    chosen = ti.min(ti.cast(u1 * count, ti.i32), count - 1)
    center, radius = load3(spheres, chosen), spheres[chosen, 3]
    position, direction, weight, factor, density = at, flight, w, 0.0, 0.0
    if kind >= lights.DIRECTIONAL:
        middle, reach = emission.sphere(t)
        along, beside = frame(flight)
        off = radius * disc(u2, u3)
        position = center + off.x * along + off.y * beside
        position -= flight * (flight.dot(position - middle) + reach)
        for k in range(count):
            across = position - load3(spheres, k)
            across -= flight * flight.dot(across)
            if across.dot(across) <= spheres[k, 3] * spheres[k, 3] * 1.00001:
                density += 1.0 / (PI * spheres[k, 3] * spheres[k, 3] * count)
        factor = 1.0 / (PI * reach * reach)
    else:
        axis, cap = cap_of_sphere(at, center, radius)
        direction = cone(axis, cap, u2, u3)
        for k in range(count):
            axis, cap = cap_of_sphere(at, load3(spheres, k), spheres[k, 3])
            if lean(direction, axis) <= cap * 1.00001:
                density += 1.0 / (2.0 * PI * cap * count)
        if ti.static(kinds >> lights.TRIANGLE & 1):
            if kind == lights.TRIANGLE:
                p0, p1, p2 = corners(t.faces, t.positions, triangle)
                factor = ti.max(direction.dot(unit((p1 - p0).cross(p2 - p0))), 0.0) / PI
        if ti.static(kinds >> lights.POINT & 1):
            if kind == lights.POINT:
                factor = 0.25 / PI
        if ti.static(kinds >> lights.SPOT & 1):
            if kind == lights.SPOT:
                row = t.entries[lights.HEADER + entry, 2]
                cap, inner = t.light_values[row, lights.CAP], t.light_values[row, lights.INNER]
                share, _h, _cap, _inner = falloff(lean(direction, lights.read(t, row, lights.DIRECTION)), cap, inner)
                weight = lights.read(t, row, lights.COLOR) * (2.0 * PI * cap * share / lights.chance_of(t, entry))
                factor = 0.5 / (PI * cap)
    if density > 0.0:
        factor /= density
    else:
        factor = 0.0
    return position, direction, weight, factor


@ti.func
def begin(
    mask: ti.template(), kinds: ti.template(), aims: ti.template(), t: ti.template(), spheres: ti.template(), photon,
    photons, aimed, number, seed,
):  # fmt: skip
    """(entry, triangle, b1, b2, position, direction, weight, factor, glow, whether it is aimed) of a photon of a pass.

    The first `aimed` of the `photons` of pass `number` are aimed. Its power is weight * factor * glow.
    """
    is_aimed, index, among = 0, number * (photons - aimed) + photon - aimed, photons - aimed
    if ti.static(aims):
        if photon < aimed:
            is_aimed, index, among = 1, number * aimed + photon, aimed
    shift = rng.key(seed, -7, is_aimed)
    u = ti.Vector([point(shift, index, k) for k in ti.static(range(6))])
    entry, kind, triangle, b1, b2, position, direction, weight = emission.emit(kinds, t, u[0], u[1], u[2], u[3], u[4])
    factor = 1.0
    if ti.static(aims):
        if is_aimed == 1 and weight.max() > 0.0:
            position, direction, weight, factor = aim(
                kinds, t, spheres, u[5], u[3], u[4], entry, kind, triangle, position, direction, weight
            )
    glow = shining(mask, t, triangle, b1, b2)
    return entry, triangle, b1, b2, position, direction, weight, factor / among, glow, is_aimed


@ti.kernel
def bounding_spheres(count: ti.i32, ranges: A2I, positions: A2, spheres: A2):
    """spheres [S, 4]: centre of the bounding box and radius around the vertices ranges[s, 0] .. ranges[s, 1] - 1."""
    for s in range(count):
        low, high = load3(positions, ranges[s, 0]), load3(positions, ranges[s, 0])
        for v in range(ranges[s, 0], ranges[s, 1]):
            low, high = ti.min(low, load3(positions, v)), ti.max(high, load3(positions, v))
        center, square = 0.5 * (low + high), 0.0
        for v in range(ranges[s, 0], ranges[s, 1]):
            off = load3(positions, v) - center
            square = ti.max(square, off.dot(off))
        for c in ti.static(range(3)):
            spheres[s, c] = center[c]
        spheres[s, 3] = 1.0001 * ti.sqrt(square) + 1e-12
