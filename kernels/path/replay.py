"""The gradient of path tracing: every path is walked again, with the same random numbers, and what it still brings is
known at every vertex, so that memory does not grow with depth.

Vicini, Speierer and Jakob 2021, "Path Replay Backpropagation". Directions between vertices follow the vertices, and the
measure of every step is differentiated with them (Worchel, Finnendahl and Alexa 2025, "Radiative Backpropagation with
Non-Static Geometry"); vertex_adjoint.py says how vertices move. Densities, weights of strategies and choices are held
fixed; so are directions behind a mirror or a clear boundary.
"""

import taichi as ti

from .. import bvh, rng
from ..transport import lights, materials, medium, shading_normal, surface
from ..transport.mesh_adjoint import scatter_corners
from ..transport.slots import PARAMS, PHASE
from .hits import given, kept
from .medium_adjoint import USUAL, consider, deposit, pass_through
from .state import (
    ALIVE,
    BETA,
    DELTA,
    DEPTH,
    DISTANCE,
    ETA,
    FIRST_TRIANGLE,
    FIXED,
    GEOMETRY,
    INSIDE,
    LAST,
    LAST_TRIANGLE,
    LAST_U,
    LAST_V,
    MET,
    MIRRORED,
    NOWHERE,
    ORIGIN,
    PASSED,
    PDF,
    REALS,
    REST,
    RUN,
    TO_D,
    TRIANGLE,
    WAY,
    U,
    V,
    read,
    write,
)
from .vertex import DIMENSIONS, FAR, PASSES, PICKING, beyond, leave, look, place, power, scatterer, stopped, veils
from .vertex_adjoint import (
    arrival_adjoint,
    light_adjoint,
    passing_adjoint,
    ratio,
    surface_adjoint,
    veil_adjoint,
    vertex_adjoint,
)


@ti.func
def arrive(
    mask: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    key, base, max_depth, g, s: ti.template(), k: ti.template(),
):  # fmt: skip
    """Where the path's ray ended: (1 at a vertex, 1 if it scatters, 1 if the path goes straight on, place, normal of
    the face, uv, vertex colour, their gradients by opacity and emission, and what `scatterer` says)."""
    zero = ti.Vector([0.0, 0.0, 0.0])
    d, triangle, u, v = read(s, WAY), k[TRIANGLE], s[U], s[V]
    stops, scatters, going = 0, 0, ti.cast(triangle == NOWHERE, ti.i32)
    uv, color, x, cross = ti.Vector([0.0, 0.0]), zero, zero, zero
    to_uv, to_color = ti.Vector([0.0, 0.0]), zero
    row, slope, kind, p, n, own, turned = 0, 0.0, 0, ti.Vector.zero(float, PARAMS), zero, zero, 1.0
    inside = INSIDE - triangle
    if inside >= 0:
        if ti.static(mask >> PHASE & 1):
            x, n, cross, kind, stops = read(s, ORIGIN) + s[DISTANCE] * d, -d, -d, PHASE, 1
            p = medium.gather(t, inside, x)
    elif triangle >= 0:
        x, e1, e2, uv, color = place(mask, t, triangle, u, v)
        cross = e1.cross(e2)
        solid, stops = stopped(mask, t, triangle, uv, key, base)
        to_uv, to_color = arrival_adjoint(
            mask, atomic, t, parts, copy, triangle, uv, color, cross, solid, stops, g, s, k
        )
        if ti.static(mask >> materials.OPACITIES & 1):
            if stops == 0:
                passing_adjoint(mask, wants, atomic, t, parts, copy, triangle, u, v, to_uv, s, k)
                if k[PASSED] < PASSES:
                    going, k[PASSED] = 1, k[PASSED] + 1
                    write(s, ORIGIN, bvh.offset_origin(x, cross, d))
        if stops == 1 and k[DEPTH] + 1 < max_depth:
            row, slope, kind, p, n, own, turned = scatterer(mask, t, triangle, u, v, uv, color, e1, e2, d, key, base)
    if stops == 1:
        k[DEPTH] += 1
        if k[DEPTH] < max_depth:
            scatters = 1
    return stops, scatters, going, x, cross, uv, color, to_uv, to_color, row, slope, kind, p, n, own, turned


@ti.func
def veil(mask: ti.template(), t: ti.template(), start_at, to, reach, key):
    """What see-through surfaces leave of a sharp light: (share, how many they are, and one of them by chance: triangle,
    u, v, the share that it lets through)."""
    o, left, clear, crossed = start_at, reach, 1.0, 0
    triangle, u, v, share = -1, 0.0, 0.0, 1.0
    while left > 0.0:
        met, distance, u_met, v_met = bvh.meet(o, to, left, False, t.nodes, t.leaves)
        left -= distance
        if met < 0:
            left = 0.0
        else:
            through, o = beyond(mask, t, met, u_met, v_met, to)
            clear, crossed = clear * through, crossed + 1
            if rng.draw(key, crossed) * crossed < 1.0:
                triangle, u, v, share = met, u_met, v_met, through
            if clear <= 0.0:
                left = 0.0
    return clear, crossed, triangle, u, v, share


@ti.func
def dimmed(mask: ti.template(), light_kinds: ti.template(), t: ti.template(), looking, entry, near, way, far, key):
    """(1 if a ray must find out whether the light is seen, and as `veil` says): sharp ones are dimmed at once."""
    clear, crossed, triangle, u, v, share, asking = 1.0, 0, -1, 0.0, 0.0, 1.0, looking
    if ti.static(veils(mask)):
        if looking == 1 and lights.sharp(light_kinds, t, entry) == 1:
            clear, crossed, triangle, u, v, share = veil(mask, t, near, way, far, key)
            asking = 0
    return asking, clear, crossed, triangle, u, v, share


@ti.func
def rays(
    mask: ti.template(), t: ti.template(), key, base, looking, asking, near, way, far, going, d, s: ti.template(),
    paths: ti.template(), row, number,
):  # fmt: skip
    """To the light, which surfaces hide if `asking`, and where the path goes next: (1 if the light is seen,
    transmittance, triangle, distance, u, v, and for media three of each: which, where, lengths). The same code follows
    both."""
    following, distance, u, v, clear, free = -1, 0.0, 0.0, 0.0, 1.0, looking
    which, where, lengths = ti.Vector([-1, -1, -1]), ti.Matrix.zero(float, 3, 3), ti.Vector([0.0, 0.0, 0.0])
    for ray in range(2):
        wanted, start_at, to, reach = looking, near, way, far
        if ray == 1:
            wanted, start_at, to, reach = going, read(s, ORIGIN), d, FAR
        if wanted == 1:
            length = ti.select(ray == 1 or asking == 1, reach, 0.0)
            known, triangle_met, distance_met, u_met, v_met = 0, -1, 0.0, 0.0, 0.0
            if ti.static(given(paths)):
                known, triangle_met, distance_met, u_met, v_met = kept(paths, row, number, 1 - ray)
            if known == 0:
                triangle_met, distance_met, u_met, v_met = bvh.meet(start_at, to, length, ray == 0, t.nodes, t.leaves)
            if ti.static(mask >> PHASE & 1):
                if ray == 1 or triangle_met < 0:
                    through, found, stop, seen_in, seen, seen_length = pass_through(
                        mask, t, start_at, to, ti.select(triangle_met < 0, reach, distance_met), 1 - ray, key, base
                    )
                    if ray == 0:
                        clear = through
                    elif found >= 0:
                        triangle_met, distance_met = INSIDE - found, stop
                    for c in ti.static(range(2)):
                        if ray == c:
                            which[c], lengths[c] = seen_in, seen_length
                            for axis in ti.static(range(3)):
                                where[c, axis] = seen[axis]
            if ray == 1:
                following, distance, u, v = triangle_met, distance_met, u_met, v_met
            elif triangle_met >= 0:
                free = 0
    return free, clear, following, distance, u, v, which, where, lengths


@ti.func
def scatter_adjoint(
    mask: ti.template(), light_kinds: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(),
    parts: ti.template(), copy, triangle, uv, color, row, slope, kind, p: ti.template(), x, n, outward, wi, looking,
    entry, other, b1, b2, way, value, f, light_share, to_light, by_near, by_way, mirror, wo, d, share, g,
    s: ti.template(),
):  # fmt: skip
    """To the material, the light and the light's place; returns what light that was looked at brought, by g, and the
    gradients of (place, n, normal of the face, direction to the viewer, of the path, uv, vertex colour).

    by_near, by_way: gradients of the place and of the direction to the light by what lies between.
    """
    to_uv, to_color, to_x = ti.Vector([0.0, 0.0]), 0.0 * x, by_near
    if ti.static(mask >> materials.BLENDS & 1):
        if triangle >= 0:
            to_uv = materials.weight_scatter(
                mask, t.faces[triangle, 9], uv, 0.0, t, slope * g.dot(read(s, REST)), parts.values,
                copy * t.values.shape[0], atomic,
            )  # fmt: skip
    g_light, g_value, lit, f_on = 0.0 * x, 0.0 * x, 0.0, share
    if looking == 1:
        lit = g.dot(read(s, REST))
        g_light, g_value = light_adjoint(mask, atomic, t, parts, copy, other, b1, b2, f, value, light_share, g, s)
        lit -= g.dot(read(s, REST))
    if mirror == 0:
        f_on *= s[PDF]
    to_p, to_n, to_outward, to_wi, to_way, to_d = surface_adjoint(
        mask, kind, p, n, outward, wi, looking, to_light, way, f, g_light, mirror, wo, d, f_on,
        ratio(g * read(s, REST), f_on),
    )  # fmt: skip
    if triangle >= 0:
        by_uv, by_color = materials.scatter(
            mask, row, uv, color, 0.0, t, to_p, parts.values, copy * t.values.shape[0], atomic
        )
        to_uv += by_uv
        to_color += by_color
    elif ti.static(mask >> medium.LEARNS & 1):
        medium.scatter(t, parts.media, copy * t.media_values.shape[0], INSIDE - triangle, x, to_p, atomic)
    if looking == 1:
        first_light, first_texel = copy * t.light_values.shape[0] * lights.VALUES, copy * t.texels.shape[0]
        by_x, by_corners = lights.sample_adjoint(
            light_kinds, t, x, entry, b1, b2, way, g_value, to_way + by_way, parts.light_values, first_light,
            parts.texels, first_texel, atomic,
        )  # fmt: skip
        to_x += by_x
        if ti.static(wants & GEOMETRY):
            if other >= 0:
                scatter_corners(t, parts, copy, other, by_corners, atomic)
    return lit, to_x, to_n, to_outward, to_wi, to_d, to_uv, to_color


@ti.func
def sky_adjoint(
    light_kinds: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, d, mirror, g,
    s: ti.template(), k: ti.template(),
):  # fmt: skip
    """Light from afar, for the gradient g of what comes along d; to the camera's ray, if it is that."""
    first_light, first_texel = copy * t.light_values.shape[0] * lights.VALUES, copy * t.texels.shape[0]
    weight = 1.0
    if mirror == 0:
        weight = power(s[PDF], lights.pdf_of_direction(light_kinds, t, d, 0))
    to_d = lights.environment_radiance_adjoint(
        light_kinds, t, d, mirror, weight * g, parts.light_values, first_light, parts.texels, first_texel, atomic
    )
    if k[MET] == 0:
        write(s, TO_D, read(s, TO_D) + to_d)


@ti.func
def media_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, key, base, max_depth, d,
    following, distance, g, after, lit, which: ti.template(), where: ti.template(), lengths, s: ti.template(),
    k: ti.template(),
):  # fmt: skip
    """To the media that the ray to the light, of gradient `lit`, and the path's next ray passed."""
    if ti.static(mask >> medium.LEARNS & 1):
        expected = after * read(s, REALS + USUAL)
        rest, amounts = g.dot(read(s, REST) - expected), ti.Vector([-lit, 0.0, 0.0]) * lengths
        if following <= INSIDE:
            end = read(s, ORIGIN) + distance * d
            told, _unheard = medium.heed(mask, t, INSIDE - following, end)
            which[2], amounts[2] = INSIDE - following, told * rest
            for axis in ti.static(range(3)):
                where[2, axis] = end[axis]
        if which[1] >= 0:
            amounts[1] = -rest * lengths[1]
            seen = ti.Vector([where[1, 0], where[1, 1], where[1, 2]])
            _told, unheard = medium.heed(mask, t, which[1], seen)
            if k[DEPTH] + 1 < max_depth:
                worth = unheard * lengths[1] * g * after
                consider(s, REALS, which[1], seen, d, worth, k[DEPTH], rng.draw(key, base + PICKING))
            else:
                amounts[1] -= unheard * lengths[1] * g.dot(expected)
        deposit(mask, atomic, t, parts.media, copy, which, where, amounts)


@ti.func
def arrived_adjoint(
    mask: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    triangle, row, turned, own, x, cross, uv, mirror, d, measure, to_x, to_n, to_outward, to_wi, to_d, to_uv, to_color,
    s: ti.template(), k: ti.template(),
):  # fmt: skip
    """To the mesh and to the vertex before, by way of where the path's ray ended; and what the next vertex will want
    to know of this one."""
    u, v = s[U], s[V]
    if triangle >= 0:
        outward = turned * cross
        to_own, by_wi, by_outward = shading_normal.leaning_adjoint(own, -d, outward, to_n)
        vertex_adjoint(
            mask, wants, atomic, t, parts, copy, row, triangle, u, v, uv, cross, measure, turned * to_own,
            turned * (to_outward + by_outward), to_x, to_wi + by_wi, to_uv, to_color, s, k,
        )  # fmt: skip
    if k[MET] == 0:
        k[FIRST_TRIANGLE] = triangle
    k[MET] += 1
    k[LAST_TRIANGLE], s[LAST_U], s[LAST_V], k[FIXED] = triangle, u, v, mirror
    write(s, LAST, x)
    write(s, RUN, to_d)


@ti.func
def step(
    mask: ti.template(), light_kinds: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(),
    parts: ti.template(), copy, key, max_depth, roulette_depth, g, s: ti.template(), k: ti.template(),
    paths: ti.template(), path,
):  # fmt: skip
    """From one vertex to the next: adds to `parts` what the gradient g [3] of the path's light says of this vertex."""
    zero, d, triangle, measure = ti.Vector([0.0, 0.0, 0.0]), read(s, WAY), k[TRIANGLE], g.dot(read(s, REST))
    base, to_light, near = DIMENSIONS * (1 + k[DEPTH] + k[PASSED]), zero, zero
    stops, scatters, going, x, cross, uv, color, to_uv, to_color, row, slope, kind, p, n, own, turned = arrive(
        mask, wants, atomic, t, parts, copy, key, base, max_depth, g, s, k
    )
    looking, entry, other, b1, b2, way, far, value, f, light_share = 0, 0, -1, 0.0, 0.0, zero, FAR, zero, zero, 0.0
    after, share, wo, wi, outward, toward, mirror = read(s, BETA), zero, zero, zero, turned * cross, d, 1
    if scatters == 1:
        tangent, bitangent = surface.frame(n)
        wi = surface.to_local(tangent, bitangent, n, -d)
        looking, entry, other, b1, b2, way, far, value, f, light_share, to_light = look(
            mask, light_kinds, t, x, outward, n, wi, kind, p, key, base
        )
        near = bvh.offset_origin(x, outward, way)
        going, o, toward, after, share, s[PDF], mirror, s[ETA], wo = leave(
            mask, x, outward, n, wi, kind, p, after, s[ETA], k[DEPTH], roulette_depth, k[MIRRORED], key, base
        )
        k[MIRRORED] *= mirror
        write(s, ORIGIN, o)
    base = DIMENSIONS * (1 + k[DEPTH] + k[PASSED])
    asking, dim, crossed, crossing, cross_u, cross_v, let_through = dimmed(
        mask, light_kinds, t, looking, entry, near, way, far, rng.mix(key, base + PICKING)
    )
    free, clear, following, distance, next_u, next_v, which, where, lengths = rays(
        mask, t, key, base, looking, asking, near, way, far, going, toward, s, paths, path, k[DEPTH] + k[PASSED]
    )
    free = ti.select(asking == looking, free, ti.cast(dim > 0.0, ti.i32))
    looking, light_share, lit = looking * free, light_share * clear * dim, 0.0
    to_x, to_n, to_outward, to_wi, to_d, to_near, to_way = zero, zero, zero, zero, zero, zero, zero
    if scatters == 1:
        if ti.static(veils(mask)):
            g_veil = -g.dot(read(s, BETA) * f * value) * light_share * crossed / ti.max(let_through, 1e-6)
            to_near, to_way = veil_adjoint(
                mask, wants, atomic, t, parts, copy, x, way, crossing, cross_u, cross_v, g_veil
            )
        lit, to_x, to_n, to_outward, to_wi, to_d, by_uv, by_color = scatter_adjoint(
            mask, light_kinds, wants, atomic, t, parts, copy, triangle, uv, color, row, slope, kind, p, x, n, outward,
            wi, looking, entry, other, b1, b2, way, value, f, light_share, to_light, to_near, to_way, mirror, wo,
            toward, share, g, s,
        )  # fmt: skip
        to_uv, to_color = to_uv + by_uv, to_color + by_color
    if stops == 1:
        arrived_adjoint(
            mask, wants, atomic, t, parts, copy, triangle, row, turned, own, x, cross, uv, mirror, d, measure, to_x,
            to_n, to_outward, to_wi, to_d, to_uv, to_color, s, k,
        )  # fmt: skip
    if going == 1 and following == -1:
        sky_adjoint(light_kinds, atomic, t, parts, copy, toward, mirror, g * after, s, k)
    media_adjoint(
        mask, atomic, t, parts, copy, key, base, max_depth, toward, following, distance, g, after, lit, which, where,
        lengths, s, k,
    )  # fmt: skip
    write(s, BETA, after)
    write(s, WAY, toward)
    k[TRIANGLE], s[U], s[V], s[DISTANCE] = following, next_u, next_v, distance
    k[DELTA], k[ALIVE] = mirror, ti.cast(following != -1, ti.i32)
