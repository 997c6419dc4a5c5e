"""Normal maps on meshes: the interaction buffer's normals bent by a texture in the triangles' tangent frames.

The texture's value, (n + 1) / 2 of a vector in the frame, stands in the column light_value, which lights overwrite.
Frame and bending are those of light transport (kernels/transport/normal_map.py).
"""

import taichi as ti

from ..accumulate import TASK, add, add3, load3
from ..shading.brdf import unit
from ..shading.harmonics import unit_adjoint
from ..transport.normal_map import bend, bend_adjoint, uv_tangent, uv_tangent_adjoint
from .surface import TURNED, facing

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def _edges(f, triangles: ti.template(), positions: ti.template(), corners: ti.template(), uvs: ti.template()):
    """A triangle's edges from corner 0 in the world, and in uv; those are 0 where it has no uv."""
    p0 = load3(positions, triangles[f, 0])
    e1, e2 = load3(positions, triangles[f, 1]) - p0, load3(positions, triangles[f, 2]) - p0
    d1, d2 = ti.Vector.zero(float, 2), ti.Vector.zero(float, 2)
    if corners[f, 0] >= 0:
        for c in ti.static(range(2)):
            d1[c] = uvs[corners[f, 1], c] - uvs[corners[f, 0], c]
            d2[c] = uvs[corners[f, 2], c] - uvs[corners[f, 0], c]
    return p0, e1, e2, d1, d2


@ti.func
def _sign(look, e1, e2, eye: ti.template(), camera, point):
    sign = 1.0
    if look & TURNED != 0:
        sign = facing(e1.cross(e2), eye, camera, point)
    return sign


@ti.kernel
def bend_normals(
    entries: ti.i32, place: A1, face: A1, triangles: A2, positions: A2, corners: A2, uvs: A2, eye: A2, look: ti.i32,
    mapped: A1I, buffer: ti.template(),
):  # fmt: skip
    """Bend the column `normal` of entries whose material is `mapped` [M], to length 1. look: see surface.py."""
    for e in range(entries):
        if mapped[buffer.material[e]] != 0:
            p0, e1, e2, d1, d2 = _edges(face[e], triangles, positions, corners, uvs)
            tangent, side = uv_tangent(e1, e2, d1, d2)
            sign = _sign(look, e1, e2, eye, place[3 * e], p0)
            m = 2.0 * buffer.light_value[e] - 1.0
            buffer.normal[e] = sign * bend(m, sign * unit(buffer.normal[e]), tangent, side)


@ti.func
def _entry(
    e, offset, offset_uvs, place: ti.template(), face: ti.template(), triangles: ti.template(),
    positions: ti.template(), corners: ti.template(), uvs: ti.template(), eye: ti.template(), look,
    buffer: ti.template(), part: ti.template(), part_uvs: ti.template(), atomic: ti.template(),
):  # fmt: skip
    f = face[e]
    p0, e1, e2, d1, d2 = _edges(f, triangles, positions, corners, uvs)
    tangent, side = uv_tangent(e1, e2, d1, d2)
    sign = _sign(look, e1, e2, eye, place[3 * e], p0)
    m, n = 2.0 * buffer.light_value[e] - 1.0, sign * unit(buffer.normal[e])
    to_m, to_n, to_tangent = bend_adjoint(m, n, tangent, side, sign * buffer.normal.grad[e])
    buffer.light_value.grad[e] = 2.0 * to_m
    buffer.normal.grad[e] = unit_adjoint(buffer.normal[e], sign * to_n)
    to_e1, to_e2, to_d1, to_d2 = uv_tangent_adjoint(e1, e2, d1, d2, to_tangent)
    add3(part, offset + triangles[f, 0], -(to_e1 + to_e2), atomic)
    add3(part, offset + triangles[f, 1], to_e1, atomic)
    add3(part, offset + triangles[f, 2], to_e2, atomic)
    if corners[f, 0] >= 0:
        for c in ti.static(range(2)):
            add(part_uvs, 2 * (offset_uvs + corners[f, 0]) + c, -(to_d1[c] + to_d2[c]), atomic)
            add(part_uvs, 2 * (offset_uvs + corners[f, 1]) + c, to_d1[c], atomic)
            add(part_uvs, 2 * (offset_uvs + corners[f, 2]) + c, to_d2[c], atomic)


@ti.kernel
def bend_normals_adjoint(
    chunks: ti.i32, rows: ti.i32, rows_uvs: ti.i32, entries: ti.i32, place: A1, face: A1, triangles: A2,
    positions: A2, corners: A2, uvs: A2, eye: A2, look: ti.i32, mapped: A1I, buffer: ti.template(), part: A1,
    part_uvs: A1, atomic: ti.template(),
):  # fmt: skip
    """With the columns as before `bend_normals`: normal.grad becomes the unbent normal's, light_value.grad that of the
    texture's value; adds to part [chunks * rows * 3] of positions and part_uvs [chunks * rows_uvs * 2].
    """
    if ti.static(atomic):
        for e in range(entries):
            if mapped[buffer.material[e]] != 0:
                _entry(
                    e, 0, 0, place, face, triangles, positions, corners, uvs, eye, look, buffer, part, part_uvs, True
                )
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                if mapped[buffer.material[e]] != 0:
                    _entry(
                        e, p * rows, p * rows_uvs, place, face, triangles, positions, corners, uvs, eye, look, buffer,
                        part, part_uvs, False,
                    )  # fmt: skip
