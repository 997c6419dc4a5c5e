"""The gradient of path tracing: every path is walked again, with the same random numbers, and what it still brings is
known at every vertex, so that memory does not grow with depth.

Vicini, Speierer and Jakob 2021, "Path Replay Backpropagation". Places on surfaces keep their barycentrics when vertices
move, except where the camera's ray arrives, which moves along that ray; the measure of every step is differentiated
with it (Worchel, Finnendahl and Alexa 2025, "Radiative Backpropagation with Non-Static Geometry"). Densities, weights
of strategies and choices are held fixed; so are directions behind a mirror or a clear boundary.
"""

import taichi as ti

from .. import bvh, rng
from ..transport import bsdf, lights, materials, medium, specular, surface
from ..transport.light_shapes import point_adjoint
from ..transport.slots import PARAMS, PHASE
from . import hit
from .medium_adjoint import PICK, consider, deposit, pass_through
from .mesh_adjoint import normal_adjoint, paint, scatter_corners, seen_adjoint
from .vertex import (
    DIMENSIONS,
    FAR,
    OPACITY,
    PASSES,
    PICKING,
    glow,
    leave,
    look,
    place,
    power,
    scatterer,
    shining,
)

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)

GEOMETRY, SENSOR = 1, 2  # bits of `wants`: gradients to vertices, normals, uvs; to the sensor


@ti.func
def ratio(a, b):
    """a / b channel by channel; 0 where b is 0."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for c in ti.static(range(3)):
        if b[c] > 0.0:
            out[c] = a[c] / b[c]
    return out


# A path's state: where it is in two vectors, so that a kernel can put it aside between two steps.
ORIGIN, WAY, BETA, REST = 0, 3, 6, 9  # ray, throughput, what the path still brings
PDF, ETA, U, V, DISTANCE = 12, 13, 14, 15, 16  # of the last direction; of the hit
LAST, LAST_U, LAST_V = 17, 20, 21  # the vertex before
TO_X, TO_B, TO_D, FIRST_U, FIRST_V, REALS = 22, 25, 27, 30, 31, 32  # gradients of the first hit and the camera's ray
TRIANGLE, DEPTH, PASSED, DELTA, LAST_TRIANGLE, FIRST_TRIANGLE, ALIVE, MET, WHOLES = 0, 1, 2, 3, 4, 5, 6, 7, 8
NOWHERE, INSIDE = -2, -3  # in place of a triangle: the path is still at the camera; INSIDE - medium: in a medium
PICKED = REALS + PICK  # where a medium's gradient is wanted, the picked place comes behind the rest of the state


def reals_of(mask: int) -> int:
    """How many reals a path's state has."""
    return PICKED if mask >> medium.LEARNS & 1 else REALS


@ti.func
def read(s: ti.template(), first: ti.template()):
    return ti.Vector([s[first], s[first + 1], s[first + 2]])


@ti.func
def write(s: ti.template(), first: ti.template(), value):
    for c in ti.static(range(3)):
        s[first + c] = value[c]


@ti.func
def embark(origin, direction, light, s: ti.template(), k: ti.template()):
    """The state of a path that is about to leave the camera and brings `light`."""
    for c in ti.static(range(REALS)):
        s[c] = 0.0
    write(s, ORIGIN, origin)
    write(s, WAY, direction)
    write(s, BETA, ti.Vector([1.0, 1.0, 1.0]))
    write(s, REST, light)
    s[ETA] = 1.0
    k[TRIANGLE], k[DEPTH], k[PASSED], k[DELTA], k[LAST_TRIANGLE], k[FIRST_TRIANGLE], k[ALIVE], k[MET] = (
        NOWHERE, 0, 0, 1, -1, -1, 1, 0,
    )  # fmt: skip


@ti.func
def vertex_adjoint(
    mask: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    row, triangle, u, v, uv, cross, x, to_n, to_x, to_wi, to_uv, to_color, s: ti.template(), k: ti.template(),
):  # fmt: skip
    """From a vertex to the mesh, the vertex before and, where it is the first, to the camera's ray."""
    to_b, to_place = ti.Vector([0.0, 0.0]), to_x
    if ti.static(wants):
        to_b, by_uv, to_e1, to_e2 = normal_adjoint(mask, t, parts, copy, row, triangle, u, v, uv, cross, to_n, atomic)
        to_uv += by_uv
        if ti.static(wants & GEOMETRY):
            scatter_corners(t, parts, copy, triangle, ti.Matrix.rows([-to_e1 - to_e2, to_e1, to_e2]), atomic)
        if k[MET] == 0:
            write(s, TO_D, read(s, TO_D) - to_wi)
        elif k[DELTA] == 0:
            back = read(s, LAST) - x
            distance = ti.sqrt(back.dot(back)) + 1e-30
            to_last = surface.direction_adjoint(back / distance, distance, to_wi)
            to_place -= to_last
            if k[MET] == 1:
                write(s, TO_X, read(s, TO_X) + to_last)
            elif ti.static(wants & GEOMETRY):
                if k[LAST_TRIANGLE] >= 0:
                    to_corners = point_adjoint(s[LAST_U], s[LAST_V], to_last)
                    scatter_corners(t, parts, copy, k[LAST_TRIANGLE], to_corners, atomic)
    to_b += paint(mask, t, parts, copy, triangle, u, v, to_uv, to_color, atomic)
    if ti.static(wants):
        if k[MET] == 0:
            write(s, TO_X, read(s, TO_X) + to_place)
            s[TO_B] += to_b.x
            s[TO_B + 1] += to_b.y
        elif ti.static(wants & GEOMETRY):
            scatter_corners(t, parts, copy, triangle, point_adjoint(u, v, to_place), atomic)


@ti.func
def first_hit_adjoint(
    wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, origin, direction,
    s: ti.template(), k: ti.template(),
):  # fmt: skip
    """To the camera's ray (origin, direction), and to the vertices of the triangle that it met first."""
    to_origin, to_direction = 0.0 * origin, read(s, TO_D)
    if k[FIRST_TRIANGLE] >= 0:
        p0, p1, p2 = surface.corners(t.faces, t.positions, k[FIRST_TRIANGLE])
        to_origin, along, to_0, to_1, to_2 = specular.intersect_adjoint(
            origin, direction, p0, p1, p2, read(s, TO_X), 0.0, s[TO_B], s[TO_B + 1]
        )
        to_direction += along
        if ti.static(wants & GEOMETRY):
            scatter_corners(t, parts, copy, k[FIRST_TRIANGLE], ti.Matrix.rows([to_0, to_1, to_2]), atomic)
    return to_origin, to_direction


@ti.func
def arrival_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, triangle, uv, color,
    cross, solid, met, g, s: ti.template(), k: ti.template(),
):  # fmt: skip
    """Opacity of a hit, and emission where the path did meet it; returns the gradients of uv and colour."""
    material, first = t.faces[triangle, 9], copy * t.values.shape[0]
    to_uv, to_color = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(mask >> materials.OPACITIES & 1):
        chance = ti.max(solid, 1e-6)
        if met == 0:
            chance = -ti.max(1.0 - solid, 1e-6)
        to_uv = materials.opacity_scatter(
            mask, material, uv, 0.0, t, g.dot(read(s, REST)) / chance, parts.values, first, atomic
        )
    if met == 1:
        beta = read(s, BETA)
        radiance, weight = glow(
            mask, t, triangle, uv, color, read(s, WAY), s[DISTANCE], cross, s[PDF], k[DELTA]
        )  # fmt: skip
        if radiance.max() > 0.0 or (t.faces[triangle, 11] >= 0 and cross.dot(read(s, WAY)) < 0.0):
            write(s, REST, read(s, REST) - weight * beta * radiance)
            by_uv, by_color = materials.emission_scatter(
                mask, material, uv, color, 0.0, t, weight * g * beta, parts.values, first, atomic
            )
            to_uv += by_uv
            to_color += by_color
    return to_uv, to_color


@ti.func
def light_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, triangle, b1, b2, f,
    value, share, g, s: ti.template(),
):  # fmt: skip
    """Takes a sampled light's part off what the path still brings; returns the gradients of f cos and of its value."""
    part = read(s, BETA) * share
    if ti.static(mask >> materials.EMISSIONS & 1):
        if triangle >= 0:
            uv, color = hit.textured(mask, t, triangle, b1, b2)
            to_uv, to_color = materials.emission_scatter(
                mask, t.faces[triangle, 9], uv, color, 0.0, t, g * part * f * value, parts.values,
                copy * t.values.shape[0], atomic,
            )  # fmt: skip
            paint(mask, t, parts, copy, triangle, b1, b2, to_uv, to_color, atomic)
            part *= shining(mask, t, triangle, b1, b2)
    write(s, REST, read(s, REST) - part * f * value)
    return g * part * value, g * part * f


@ti.func
def surface_adjoint(mask: ti.template(), kind, p: ti.template(), n, wi, looking, to_light, g_light, mirror, wo, g_on):
    """Gradients of (p, n, wi, the direction to the light, the path's direction), in the world but for p.

    g_light, g_on: of f cos towards the light and towards wo; behind a mirror or clear boundary of its weight.
    """
    tangent, bitangent = surface.frame(n)
    to_p, to_n, to_wi = ti.Vector.zero(float, PARAMS), 0.0 * n, 0.0 * n
    to_way, to_d = 0.0 * n, 0.0 * n
    for which in range(2):
        out, weight, wanted = to_light, g_light, looking == 1
        if which == 1:
            out, weight, wanted = wo, g_on, mirror == 0
        if wanted:
            by_p, by_wi, by_wo = bsdf.evaluate_adjoint(mask, kind, p, wi, out, weight, True)
            to_p += by_p
            to_wi += by_wi
            to_n += surface.frame_adjoint(tangent, bitangent, n, out, by_wo)
            by_wo = surface.to_world(tangent, bitangent, n, by_wo)
            if which == 0:
                to_way = by_wo
            else:
                to_d = by_wo
    if mirror == 1:
        by_p, by_wi = bsdf.weight_adjoint(mask, kind, p, wi, wo, g_on, True)
        to_p += by_p
        to_wi += by_wi
    to_n += surface.frame_adjoint(tangent, bitangent, n, wi, to_wi)
    return to_p, to_n, surface.to_world(tangent, bitangent, n, to_wi), to_way, to_d


@ti.func
def step(
    mask: ti.template(), light_kinds: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(),
    parts: ti.template(), copy, key, max_depth, roulette_depth, g, s: ti.template(), k: ti.template(),
):  # fmt: skip
    """From one vertex to the next: adds to `parts` what the gradient g [3] of the path's light says of this vertex."""
    zero = ti.Vector([0.0, 0.0, 0.0])
    base = DIMENSIONS * (1 + k[DEPTH] + k[PASSED])
    first_light, first_texel = copy * t.light_values.shape[0] * lights.VALUES, copy * t.texels.shape[0]
    d, triangle, u, v = read(s, WAY), k[TRIANGLE], s[U], s[V]
    # What a vertex has, and there is none at the camera.
    going, scatters, mirror = 1, 0, 1
    uv, color, x, e1, e2, cross = ti.Vector([0.0, 0.0]), zero, zero, zero, zero, zero
    to_uv, to_color = ti.Vector([0.0, 0.0]), zero
    row, slope, kind, p, n, turned, wi = 0, 0.0, 0, ti.Vector.zero(float, PARAMS), zero, 1.0, zero
    looking, entry, other, b1, b2, way, far = 0, 0, -1, 0.0, 0.0, zero, FAR
    value, f, light_share, to_light, near = zero, zero, 0.0, zero, zero
    after, share, wo = read(s, BETA), zero, zero
    inside = INSIDE - triangle
    if inside >= 0:
        if ti.static(mask >> PHASE & 1):
            x, n, cross, kind = read(s, ORIGIN) + s[DISTANCE] * d, -d, -d, PHASE
            p = medium.gather(t, inside, x)
            going = 0
            k[DEPTH] += 1
            if k[DEPTH] < max_depth:
                scatters = 1
    elif triangle >= 0:
        x, e1, e2, uv, color = place(mask, t, triangle, u, v)
        cross = e1.cross(e2)
        solid, met = materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t), 1
        if rng.draw(key, base + OPACITY) >= solid:
            met = 0
        to_uv, to_color = arrival_adjoint(mask, atomic, t, parts, copy, triangle, uv, color, cross, solid, met, g, s, k)
        going = 0
        if met == 0:
            if k[PASSED] < PASSES:
                going, k[PASSED] = 1, k[PASSED] + 1
                write(s, ORIGIN, bvh.offset_origin(x, cross, d))
        else:
            k[DEPTH] += 1
            if k[DEPTH] < max_depth:
                scatters = 1
                row, slope, kind, p, n, turned = scatterer(mask, t, triangle, u, v, uv, color, e1, e2, d, key, base)
    if scatters == 1:
        outward = turned * cross
        tangent, bitangent = surface.frame(n)
        wi = surface.to_local(tangent, bitangent, n, -d)
        looking, entry, other, b1, b2, way, far, value, f, light_share, to_light = look(
            mask, light_kinds, t, x, outward, n, wi, kind, p, key, base
        )
        near = bvh.offset_origin(x, outward, way)
        going, o, d, after, share, s[PDF], mirror, s[ETA], wo = leave(
            mask, x, outward, n, wi, kind, p, after, s[ETA], k[DEPTH], roulette_depth, key, base
        )
        write(s, ORIGIN, o)
    # To the light, and where the path goes next: the same code for both rays.
    following, distance, next_u, next_v = -1, 0.0, 0.0, 0.0
    base = DIMENSIONS * (1 + k[DEPTH] + k[PASSED])
    which, where, lengths, lit = ti.Vector([-1, -1, -1]), ti.Matrix.zero(float, 3, 3), zero, 0.0
    for ray in range(2):
        wanted, start_at, to, reach = looking, near, way, far
        if ray == 1:
            wanted, start_at, to, reach = going, read(s, ORIGIN), d, FAR
        if wanted == 1:
            triangle_met, distance_met, u_met, v_met = bvh.meet(start_at, to, reach, ray == 0, t.nodes, t.leaves)
            if ti.static(mask >> PHASE & 1):
                if ray == 1 or triangle_met < 0:
                    through, found, stop, seen_in, seen, length = pass_through(
                        mask, t, start_at, to, ti.select(triangle_met < 0, reach, distance_met), 1 - ray, key, base
                    )
                    if ray == 0:
                        light_share *= through
                    elif found >= 0:
                        triangle_met, distance_met = INSIDE - found, stop
                    for c in ti.static(range(2)):
                        if ray == c:
                            which[c], lengths[c] = seen_in, length
                            for axis in ti.static(range(3)):
                                where[c, axis] = seen[axis]
            if ray == 1:
                following, distance, next_u, next_v = triangle_met, distance_met, u_met, v_met
            elif triangle_met >= 0:
                looking = 0
    if triangle >= 0 or inside >= 0:
        to_x, to_n, to_wi = zero, zero, zero
        if scatters == 1:
            if ti.static(mask >> materials.BLENDS & 1):
                if inside < 0:
                    material, first_row = t.faces[triangle, 9], copy * t.values.shape[0]
                    to_uv += materials.weight_scatter(
                        mask, material, uv, 0.0, t, slope * g.dot(read(s, REST)), parts.values, first_row, atomic
                    )
            g_light, g_value = zero, zero
            if looking == 1:
                lit = g.dot(read(s, REST))
                g_light, g_value = light_adjoint(
                    mask, atomic, t, parts, copy, other, b1, b2, f, value, light_share, g, s
                )
                lit -= g.dot(read(s, REST))
            scale = 1.0
            if mirror == 0:
                scale = s[PDF]
            g_on = ratio(g * read(s, REST), share * scale)
            to_p, to_n, to_wi, to_way, to_d = surface_adjoint(
                mask, kind, p, n, wi, looking, to_light, g_light, mirror, wo, g_on
            )
            if inside < 0:
                by_uv, by_color = materials.scatter(
                    mask, row, uv, color, 0.0, t, to_p, parts.values, copy * t.values.shape[0], atomic
                )
                to_uv += by_uv
                to_color += by_color
            elif ti.static(mask >> medium.LEARNS & 1):
                medium.scatter(t, parts.media, copy * t.media_values.shape[0], inside, x, to_p, atomic)
            if looking == 1:
                by_x, by_corners = lights.sample_adjoint(
                    light_kinds, t, x, entry, b1, b2, way, g_value, to_way, parts.light_values, first_light,
                    parts.texels, first_texel, atomic,
                )  # fmt: skip
                to_x += by_x
                if ti.static(wants & GEOMETRY):
                    if other >= 0:
                        scatter_corners(t, parts, copy, other, by_corners, atomic)
            if ti.static(wants):
                if following >= 0 and mirror == 0:
                    by_x, by_corners = seen_adjoint(t, following, next_u, next_v, x, to_d, g.dot(read(s, REST)))
                    to_x += by_x
                    if ti.static(wants & GEOMETRY):
                        scatter_corners(t, parts, copy, following, by_corners, atomic)
        if inside < 0:
            vertex_adjoint(
                mask, wants, atomic, t, parts, copy, row, triangle, u, v, uv, cross, x, turned * to_n, to_x, to_wi,
                to_uv, to_color, s, k,
            )  # fmt: skip
        k[MET] += 1
        k[LAST_TRIANGLE], s[LAST_U], s[LAST_V] = triangle, u, v
        write(s, LAST, x)
    if going == 1 and following == -1:
        weight = 1.0
        if mirror == 0:
            weight = power(s[PDF], lights.pdf_of_direction(light_kinds, t, d, 0))
        to_d = lights.environment_radiance_adjoint(
            light_kinds, t, d, mirror, weight * g * after, parts.light_values, first_light, parts.texels, first_texel,
            atomic,
        )  # fmt: skip
        if triangle == NOWHERE:
            write(s, TO_D, read(s, TO_D) + to_d)
    if ti.static(mask >> medium.LEARNS & 1):
        rest, amounts = g.dot(read(s, REST)), ti.Vector([-lit, 0.0, 0.0]) * lengths
        if following <= INSIDE:
            end = read(s, ORIGIN) + distance * d
            told, _unheard = medium.heed(mask, t, INSIDE - following, end)
            which[2], amounts[2] = INSIDE - following, told * rest
            for axis in ti.static(range(3)):
                where[2, axis] = end[axis]
        if which[1] >= 0:
            amounts[1] = -rest * lengths[1]
            if k[DEPTH] + 1 < max_depth:
                seen = ti.Vector([where[1, 0], where[1, 1], where[1, 2]])
                _told, unheard = medium.heed(mask, t, which[1], seen)
                worth = unheard * lengths[1] * g * after
                consider(s, REALS, which[1], seen, d, worth, k[DEPTH], rng.draw(key, base + PICKING))
        deposit(mask, atomic, t, parts.media, copy, which, where, amounts)
    write(s, BETA, after)
    write(s, WAY, d)
    if triangle == NOWHERE:
        k[FIRST_TRIANGLE], s[FIRST_U], s[FIRST_V] = following, next_u, next_v
    k[TRIANGLE], s[U], s[V], s[DISTANCE], k[DELTA] = following, next_u, next_v, distance, mirror
    k[ALIVE] = 0
    if following != -1:
        k[ALIVE] = 1
