"""From a path's vertex to the mesh: gradients of its position, normal, texture coordinates and colour."""

from typing import Any, NamedTuple

import taichi as ti

from ..accumulate import add, add3, load3
from . import hit, materials, normal_map, surface
from .light_shapes import cross_adjoint, point_adjoint


class Parts(NamedTuple):
    """Accumulators of the gradients of the tables with the same names, flat; a copy for each chunk of paths."""

    values: Any
    light_values: Any
    texels: Any
    positions: Any
    normals: Any
    uvs: Any
    colors: Any
    media: Any = None


@ti.func
def seen_adjoint(t: ti.template(), triangle, u, v, x, to_d, to_measure):
    """To (x, corners) of the point of a triangle that is seen from x.

    to_d: gradient of the unit direction to it; to_measure: of log(area |cos| / distance^2).
    """
    p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
    cross = (p1 - p0).cross(p2 - p0)
    way = (1.0 - u - v) * p0 + u * p1 + v * p2 - x
    facing, square = way.dot(cross), way.dot(way)
    to_way, to_cross = 0.0 * x, 0.0 * x
    if square > 0.0 and facing != 0.0:
        distance = ti.sqrt(square)
        d = way / distance
        to_way = to_measure * (cross / facing - 3.0 * way / square) + surface.direction_adjoint(d, distance, to_d)
        to_cross = to_measure * way / facing
    return -to_way, point_adjoint(u, v, to_way) + cross_adjoint(p0, p1, p2, to_cross)


@ti.func
def scatter_corners(t: ti.template(), parts: ti.template(), copy, triangle, to_corners, atomic: ti.template()):
    """Gradients of a triangle's three vertices, the rows of a matrix."""
    for c in ti.static(range(3)):
        row = ti.Vector([to_corners[c, 0], to_corners[c, 1], to_corners[c, 2]])
        add3(parts.positions, copy * t.positions.shape[0] + t.faces[triangle, c], row, atomic)


@ti.func
def paint(
    mask: ti.template(), t: ti.template(), parts: ti.template(), copy, triangle, u, v, to_uv, to_color,
    atomic: ti.template(),
):  # fmt: skip
    """Gradients of a point's texture coordinates and vertex colour; returns those of u and v."""
    by = ti.Vector([0.0, 0.0])
    weights = ti.Vector([1.0 - u - v, u, v])
    if ti.static(mask >> materials.TEXTURED & (1 << materials.SLOTS) - 1):
        if t.faces[triangle, 6] >= 0:
            d1, d2 = hit.texture_edges(t, triangle)
            by += ti.Vector([to_uv.dot(d1), to_uv.dot(d2)])
            for c in ti.static(range(3)):
                slot = 2 * (copy * t.uvs.shape[0] + t.faces[triangle, 6 + c])
                add(parts.uvs, slot, weights[c] * to_uv.x, atomic)
                add(parts.uvs, slot + 1, weights[c] * to_uv.y, atomic)
    if ti.static(mask >> materials.PAINTED):
        c0 = load3(t.colors, t.faces[triangle, 0])
        by += ti.Vector(
            [
                to_color.dot(load3(t.colors, t.faces[triangle, 1]) - c0),
                to_color.dot(load3(t.colors, t.faces[triangle, 2]) - c0),
            ]
        )
        for c in ti.static(range(3)):
            add3(parts.colors, copy * t.colors.shape[0] + t.faces[triangle, c], weights[c] * to_color, atomic)
    return by


@ti.func
def normal_adjoint(
    mask: ti.template(), t: ti.template(), parts: ti.template(), copy, row, triangle, u, v, uv, cross, to_n,
    atomic: ti.template(),
):  # fmt: skip
    """Gradient of the shading normal on the winding's side; returns those of u, v, of uv and of the two edges."""
    m = surface.smooth_normal(t.faces, t.normals, triangle, u, v)
    smooth = m.dot(m) > 0.0
    by, to_uv, to_e1, to_e2 = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0]), 0.0 * to_n, 0.0 * to_n
    to_own = to_n
    p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
    e1, e2 = p1 - p0, p2 - p0
    if ti.static(mask >> materials.NORMAL_MAPS & 1):
        d1, d2 = hit.texture_edges(t, triangle)
        n = hit.smooth_or_flat(t, triangle, u, v, cross)
        tangent, side = normal_map.uv_tangent(e1, e2, d1, d2)
        to_uv, to_own, to_tangent = normal_map.perturbed_scatter(
            mask, row, uv, 0.0, n, tangent, side, t, to_n, parts.values, copy * t.values.shape[0], atomic
        )
        to_e1, to_e2, to_d1, to_d2 = normal_map.uv_tangent_adjoint(e1, e2, d1, d2, to_tangent)
        if t.faces[triangle, 6] >= 0:
            for c in ti.static(range(2)):
                slot = 2 * copy * t.uvs.shape[0] + c
                add(parts.uvs, slot + 2 * t.faces[triangle, 6], -to_d1[c] - to_d2[c], atomic)
                add(parts.uvs, slot + 2 * t.faces[triangle, 7], to_d1[c], atomic)
                add(parts.uvs, slot + 2 * t.faces[triangle, 8], to_d2[c], atomic)
    if smooth:
        length = ti.sqrt(m.dot(m))
        n = m / length
        to_m = (to_own - n * n.dot(to_own)) / length
        first = copy * t.normals.shape[0]
        n0 = load3(t.normals, t.faces[triangle, 3])
        by = ti.Vector(
            [
                to_m.dot(load3(t.normals, t.faces[triangle, 4]) - n0),
                to_m.dot(load3(t.normals, t.faces[triangle, 5]) - n0),
            ]
        )
        add3(parts.normals, first + t.faces[triangle, 3], (1.0 - u - v) * to_m, atomic)
        add3(parts.normals, first + t.faces[triangle, 4], u * to_m, atomic)
        add3(parts.normals, first + t.faces[triangle, 5], v * to_m, atomic)
    else:
        square = cross.dot(cross)
        if square > 0.0:
            to_cross = (to_own - cross * (cross.dot(to_own) / square)) / ti.sqrt(square)
            to_e1 += e2.cross(to_cross)
            to_e2 += to_cross.cross(e1)
    return by, to_uv, to_e1, to_e2
