"""The adjoint of a path's vertex: of what shines there, of how it scatters, and of where it is.

A vertex keeps its barycentrics when its triangle moves, except where the camera's ray arrives, which moves along that
ray; so do surfaces that a path goes straight through, along the line between the vertices on their two sides.
"""

import taichi as ti

from ..transport import bsdf, hit, materials, shading_normal, specular, surface
from ..transport.lamp import shining, shining_adjoint
from ..transport.light_shapes import cross_adjoint, point_adjoint
from ..transport.mesh_adjoint import normal_adjoint, paint, scatter_corners, seen_adjoint
from ..transport.slots import PARAMS
from .state import (
    BETA,
    DELTA,
    DISTANCE,
    FIRST_TRIANGLE,
    FIXED,
    GEOMETRY,
    LAST,
    LAST_TRIANGLE,
    LAST_U,
    LAST_V,
    MET,
    PDF,
    REST,
    RUN,
    TO_B,
    TO_D,
    TO_O,
    TO_X,
    WAY,
    read,
    write,
)
from .vertex import glow


@ti.func
def ratio(a, b):
    """a / b channel by channel; 0 where b is 0."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for c in ti.static(range(3)):
        if b[c] > 0.0:
            out[c] = a[c] / b[c]
    return out


@ti.func
def last_adjoint(
    wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, to_last,
    s: ti.template(), k: ti.template(),
):  # fmt: skip
    """To the vertex before."""
    if k[MET] == 1:
        write(s, TO_X, read(s, TO_X) + to_last)
    elif ti.static(wants & GEOMETRY):
        if k[LAST_TRIANGLE] >= 0:
            to_corners = point_adjoint(s[LAST_U], s[LAST_V], to_last)
            scatter_corners(t, parts, copy, k[LAST_TRIANGLE], to_corners, atomic)


@ti.func
def passing_adjoint(
    mask: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    triangle, u, v, to_uv, s: ti.template(), k: ti.template(),
):  # fmt: skip
    """Where a path goes straight through a surface whose opacity varies: to its mesh and to the line's two ends."""
    if ti.static(mask >> (materials.TEXTURED + materials.OPACITY_SLOT) & 1):
        zero = ti.Vector([0.0, 0.0, 0.0])
        to_b = paint(mask, t, parts, copy, triangle, u, v, to_uv, zero, atomic)
        if ti.static(wants):
            if k[FIXED] == 0:
                p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
                to_start, to_way, to_0, to_1, to_2 = specular.intersect_adjoint(
                    read(s, LAST), read(s, WAY), p0, p1, p2, zero, 0.0, to_b.x, to_b.y
                )
                if ti.static(wants & GEOMETRY):
                    scatter_corners(t, parts, copy, triangle, ti.Matrix.rows([to_0, to_1, to_2]), atomic)
                if k[MET] == 0:
                    write(s, TO_O, read(s, TO_O) + to_start)
                    write(s, TO_D, read(s, TO_D) + to_way)
                else:
                    write(s, RUN, read(s, RUN) + to_way)
                    last_adjoint(wants, atomic, t, parts, copy, to_start, s, k)


@ti.func
def vertex_adjoint(
    mask: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    row, triangle, u, v, uv, cross, measure, to_n, to_cross, to_x, to_wi, to_uv, to_color, s: ti.template(),
    k: ti.template(),
):  # fmt: skip
    """From a vertex to the mesh, the vertex before and, where it is the first, to the camera's ray.

    measure: gradient of the log of what a piece of the surface counts for, as the vertex before sees it.
    """
    to_b, to_corners = ti.Vector([0.0, 0.0]), ti.Matrix.zero(float, 3, 3)
    if ti.static(wants):
        to_b, by_uv, to_e1, to_e2 = normal_adjoint(mask, t, parts, copy, row, triangle, u, v, uv, cross, to_n, atomic)
        to_uv += by_uv
        p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
        to_corners = ti.Matrix.rows([-to_e1 - to_e2, to_e1, to_e2]) + cross_adjoint(p0, p1, p2, to_cross)
        if k[MET] == 0:
            write(s, TO_D, read(s, TO_D) - to_wi)
        elif k[FIXED] == 0:
            to_last, by_corners = seen_adjoint(t, triangle, u, v, read(s, LAST), read(s, RUN) - to_wi, measure)
            to_corners += by_corners
            last_adjoint(wants, atomic, t, parts, copy, to_last, s, k)
    to_b += paint(mask, t, parts, copy, triangle, u, v, to_uv, to_color, atomic)
    if ti.static(wants):
        if k[MET] == 0:
            write(s, TO_X, read(s, TO_X) + to_x)
            s[TO_B] += to_b.x
            s[TO_B + 1] += to_b.y
        else:
            to_corners += point_adjoint(u, v, to_x)
        if ti.static(wants & GEOMETRY):
            scatter_corners(t, parts, copy, triangle, to_corners, atomic)


@ti.func
def first_hit_adjoint(
    wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, origin, direction,
    s: ti.template(), k: ti.template(),
):  # fmt: skip
    """To the camera's ray (origin, direction), and to the vertices of the triangle where it ended."""
    to_origin, to_direction = read(s, TO_O), read(s, TO_D)
    if k[FIRST_TRIANGLE] >= 0:
        p0, p1, p2 = surface.corners(t.faces, t.positions, k[FIRST_TRIANGLE])
        by_origin, along, to_0, to_1, to_2 = specular.intersect_adjoint(
            origin, direction, p0, p1, p2, read(s, TO_X), 0.0, s[TO_B], s[TO_B + 1]
        )
        to_origin += by_origin
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
    shining_adjoint(mask, atomic, t, parts, copy, triangle, b1, b2, g * part * f * value)
    part *= shining(mask, t, triangle, b1, b2)
    write(s, REST, read(s, REST) - part * f * value)
    return g * part * value, g * part * f


@ti.func
def veil_adjoint(
    mask: ti.template(), wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    x, way, triangle, u, v, g,
):  # fmt: skip
    """From the gradient g of the opacity of a surface between x and a light, to its material and mesh; returns those of
    x and of the direction to the light."""
    to_x, to_way, zero = 0.0 * x, 0.0 * x, ti.Vector([0.0, 0.0, 0.0])
    if triangle >= 0:
        uv, _color = hit.textured(mask, t, triangle, u, v)
        to_uv = materials.opacity_scatter(
            mask, t.faces[triangle, 9], uv, 0.0, t, g, parts.values, copy * t.values.shape[0], atomic
        )
        if ti.static(mask >> (materials.TEXTURED + materials.OPACITY_SLOT) & 1):
            to_b = paint(mask, t, parts, copy, triangle, u, v, to_uv, zero, atomic)
            if ti.static(wants):
                p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
                to_x, to_way, to_0, to_1, to_2 = specular.intersect_adjoint(
                    x, way, p0, p1, p2, zero, 0.0, to_b.x, to_b.y
                )
                if ti.static(wants & GEOMETRY):
                    scatter_corners(t, parts, copy, triangle, ti.Matrix.rows([to_0, to_1, to_2]), atomic)
    return to_x, to_way


@ti.func
def surface_adjoint(
    mask: ti.template(), kind, p: ti.template(), n, outward, wi, looking, to_light, way, f, g_light, mirror, wo, d,
    f_on, g_on,
):  # fmt: skip
    """Gradients of (p, n, outward, wi, the direction to the light, the path's direction), in the world but for p.

    g_light, g_on: of f cos towards the light, f, and towards wo, f_on; behind a mirror or clear boundary of its weight.
    """
    tangent, bitangent = surface.frame(n)
    to_p, to_n, to_outward, to_wi = ti.Vector.zero(float, PARAMS), 0.0 * n, 0.0 * n, 0.0 * n
    to_way, to_d = 0.0 * n, 0.0 * n
    for which in range(2):
        out, toward, value, weight, wanted = to_light, way, f, g_light, looking == 1
        if which == 1:
            out, toward, value, weight, wanted = wo, d, f_on, g_on, mirror == 0
        if wanted:
            above = shading_normal.horizon(n, outward, toward)
            by_p, by_wi, by_wo = bsdf.evaluate_adjoint(mask, kind, p, wi, out, above * weight, True)
            by_n, by_outward, by_toward = shading_normal.horizon_adjoint(n, outward, toward, weight.dot(value))
            to_p += by_p
            to_wi += by_wi
            to_n += by_n + surface.frame_adjoint(tangent, bitangent, n, out, by_wo)
            to_outward += by_outward
            by_toward += surface.to_world(tangent, bitangent, n, by_wo)
            if which == 0:
                to_way = by_toward
            else:
                to_d = by_toward
    if mirror == 1:
        by_p, by_wi = bsdf.weight_adjoint(mask, kind, p, wi, wo, g_on, True)
        to_p += by_p
        to_wi += by_wi
    to_n += surface.frame_adjoint(tangent, bitangent, n, wi, to_wi)
    return to_p, to_n, to_outward, surface.to_world(tangent, bitangent, n, to_wi), to_way, to_d
