"""What a path needs to know of the point that its ray met."""

import taichi as ti

from . import materials, normal_map, surface


@ti.func
def texture_edges(t: ti.template(), triangle):
    """Edges from corner 0 to corners 1 and 2 in uv."""
    uv0 = surface.texture_coordinates(t.faces, t.uvs, triangle, 0.0, 0.0)
    uv1 = surface.texture_coordinates(t.faces, t.uvs, triangle, 1.0, 0.0)
    uv2 = surface.texture_coordinates(t.faces, t.uvs, triangle, 0.0, 1.0)
    return uv1 - uv0, uv2 - uv0


@ti.func
def textured(mask: ti.template(), t: ti.template(), triangle, u, v):
    """(uv, vertex colour) of a point, as far as some material of the scene looks at them; else 0."""
    uv, color = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(mask >> materials.TEXTURED & (1 << materials.SLOTS) - 1):
        uv = surface.texture_coordinates(t.faces, t.uvs, triangle, u, v)
    if ti.static(mask >> materials.PAINTED):
        color = surface.vertex_color(t.faces, t.colors, triangle, u, v)
    return uv, color


@ti.func
def smooth_or_flat(t: ti.template(), triangle, u, v, cross):
    """Unit shading normal on the winding's side, before a normal map."""
    m = surface.smooth_normal(t.faces, t.normals, triangle, u, v)
    n = surface.unit(cross)
    if m.dot(m) > 0.0:
        n = surface.unit(m)
    return n


@ti.func
def bent(mask: ti.template(), t: ti.template(), row, triangle, uv, e1, e2, n):
    """The shading normal that the material's normal map, if it has one, makes of n."""
    out = n
    if ti.static(mask >> materials.NORMAL_MAPS & 1):
        d1, d2 = texture_edges(t, triangle)
        tangent, side = normal_map.uv_tangent(e1, e2, d1, d2)
        out = normal_map.perturbed(mask, row, uv, 0.0, n, tangent, side, t)
    return out


@ti.func
def turn(t: ti.template(), row, n, cross, d):
    """1, or -1 where the normal n of an opaque surface has to be turned to the side that the ray d came from."""
    turned = 1.0
    if t.kinds[row, materials.FLAGS] >> materials.TWO_SIDED & 1:
        if cross.dot(d) > 0.0:
            turned = -1.0
    return turned
