"""One vertex of a path, as forward tracing and its gradient both meet it: the surface, a light, the next direction.

Every random number is `draw(key, DIMENSIONS * step + one of the names below)`, so that a path is given by its key.
"""

import taichi as ti

from .. import bvh, rng
from ..transport import bsdf, hit, lights, materials, shading_normal, surface

# Random numbers of one step: a light and a place on it, a direction, roulette, opacity, a blend; keys for media, along
# the path and (the next) to the light, and for what their gradient looks at; step 0: film and lens.
LIGHT, DIRECTION, ROULETTE, OPACITY, BLEND, FLIGHT, HEED, PICKING, DIMENSIONS = 0, 3, 6, 7, 8, 9, 11, 13, 16
FILM, LENS = 0, 2
FAR = 1e30
PASSES = 64  # surfaces that a path may go straight through
SURVIVAL = 0.95  # highest probability of going on in Russian roulette
NEARLY = 0.9999  # of the way to a light must be free


@ti.func
def power(a, b):
    """Veach's weight of a sample of density a > 0 where the other strategy has density b; a^2 may be infinite."""
    ratio = b / a
    return 1.0 / (1.0 + ratio * ratio)


@ti.func
def place(mask: ti.template(), t: ti.template(), triangle, u, v):
    """(point, edge 1, edge 2, uv, vertex colour) of a hit."""
    p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
    uv, color = hit.textured(mask, t, triangle, u, v)
    return p0 + u * (p1 - p0) + v * (p2 - p0), p1 - p0, p2 - p0, uv, color


@ti.func
def stopped(mask: ti.template(), t: ti.template(), triangle, uv, key, base):
    """(opacity, 1 where a hit stops the path, 0 where it goes straight on)."""
    solid, met = 1.0, 1
    if ti.static(mask >> materials.OPACITIES & 1):
        solid = materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t)
        if rng.draw(key, base + OPACITY) >= solid:
            met = 0
    return solid, met


@ti.func
def glow(mask: ti.template(), t: ti.template(), triangle, uv, color, d, distance, cross, pdf, delta):
    """(emission towards where the ray d came from, its weight beside light sampling) of a hit."""
    weight, radiance = 1.0, ti.Vector([0.0, 0.0, 0.0])
    if ti.static(mask >> materials.EMISSIONS & 1):
        entry = t.faces[triangle, 11]
        if entry >= 0 and cross.dot(d) < 0.0:
            if delta == 0:
                weight = power(pdf, lights.pdf_of_hit(t, entry, d, distance, cross))
            radiance = materials.emission(mask, t.faces[triangle, 9], uv, color, 0.0, t)
    return radiance, weight


@ti.func
def scatterer(mask: ti.template(), t: ti.template(), triangle, u, v, uv, color, e1, e2, d, key, base):
    """What the surface scatters by: (row of `kinds`, d log(its chance) / d blend weight, kind, p, normal, the same
    before it leaned towards the viewer, turn).

    The unit normal of an opaque surface is turned to the side that the ray d came from; turn is then -1, else 1.
    """
    row, slope = materials.choose(mask, t.faces[triangle, 9], uv, 0.0, rng.draw(key, base + BLEND), t)
    p = materials.gather(mask, row, uv, color, 0.0, t)
    cross = e1.cross(e2)
    n = hit.bent(mask, t, row, triangle, uv, e1, e2, hit.smooth_or_flat(t, triangle, u, v, cross))
    turned = hit.turn(t, row, n, cross, d)
    leaning = shading_normal.leaning(turned * n, -d, turned * cross)
    return row, slope, t.kinds[row, materials.KIND], p, leaning, turned * n, turned


@ti.func
def look(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), x, outward, n, wi, kind, p: ti.template(), key,
    base,
):  # fmt: skip
    """A light, if the surface is no mirror: (1 if it may shine here, entry, triangle or -1, b1, b2, direction to it,
    distance, value, f cos, weight / probability, local direction)."""
    entry, light_kind, triangle, b1, b2, way, far, value, chance, sharp = lights.sample(
        light_kinds, t, x, rng.draw(key, base + LIGHT), rng.draw(key, base + LIGHT + 1), rng.draw(key, base + LIGHT + 2)
    )
    tangent, bitangent = surface.frame(n)
    wo = surface.to_local(tangent, bitangent, n, way)
    f, share, looking = ti.Vector([0.0, 0.0, 0.0]), 0.0, 0
    if chance > 0.0:
        f, density = bsdf.evaluate(mask, kind, p, wi, wo, True)
        f *= shading_normal.horizon(n, outward, way)
        if f.max() > 0.0 and wo.z * outward.dot(way) > 0.0:
            looking, share = 1, 1.0 / chance
            if sharp == 0 and light_kind != lights.DIRECTIONAL:
                share = power(chance, density) / chance
    return looking, entry, triangle, b1, b2, way, far * NEARLY, value, f, share, wo


def veils(mask: int) -> int:
    """1 if rays to sharp lights go on through see-through surfaces; others come by chance to what lies behind them."""
    return mask >> materials.OPACITIES & 1


@ti.func
def beyond(mask: ti.template(), t: ti.template(), triangle, u, v, d):
    """(share of the light that a surface lets straight through, where a ray goes on behind it)."""
    x, e1, e2, uv, _color = place(mask, t, triangle, u, v)
    return 1.0 - materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t), bvh.offset_origin(x, e1.cross(e2), d)


@ti.func
def leave(
    mask: ti.template(), x, outward, n, wi, kind, p: ti.template(), beta, eta, depth, roulette_depth, mirrored, key,
    base,
):  # fmt: skip
    """The path's next direction: (1 if it goes on, origin, direction, throughput, f cos / pdf, pdf, 1 for a mirror or
    clear boundary, product of the relative indices, local direction).

    depth counts the vertices, this one included; mirrored: 1 for the direction opposite to that of these random
    numbers."""
    u1, u2, u3 = (
        rng.draw(key, base + DIRECTION), rng.draw(key, base + DIRECTION + 1), rng.draw(key, base + DIRECTION + 2)
    )  # fmt: skip
    if mirrored == 1:
        u1, u2, u3 = bsdf.opposite(mask, kind, u1, u2, u3)
    wo, share, pdf, delta, bend = bsdf.sample(mask, kind, p, wi, u1, u2, u3, True)
    tangent, bitangent = surface.frame(n)
    d = surface.unit(surface.to_world(tangent, bitangent, n, wo))
    if delta == 0:
        share *= shading_normal.horizon(n, outward, d)
    elif wi.z * wo.z > 0.0 and wo.z * outward.dot(d) < 0.0:  # a mirror sends nothing into its face: off that again
        d -= 2.0 * outward.dot(d) / outward.dot(outward) * outward
    after, index, going = beta * share, eta * bend, 0
    if after.max() > 0.0 and wo.z * outward.dot(d) > 0.0:
        going = 1
        if depth >= roulette_depth:
            survival = ti.min(after.max() * index * index, SURVIVAL)
            after /= survival
            if rng.draw(key, base + ROULETTE) >= survival:
                going = 0
    return going, bvh.offset_origin(x, outward, d), d, after, share, pdf, delta, index, wo
