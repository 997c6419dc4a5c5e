"""How far the uv moves under one step to the next pixel, for mipmaps; with its adjoint (Laine et al. 2020)."""

import taichi as ti

from ..accumulate import TASK, add
from .gather import corner, corner_rows, pixel_place, planes, safe_sum

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def footprint(
    entries: ti.i32,
    vertices: ti.i32,
    place: A1,
    face: A1,
    triangles: A2,
    screen: A2,
    corners: A2,
    uvs: A2,
    out: A2,
):
    """out [n, 4] = du/dx, dv/dx, du/dy, dv/dy of the uv under one pixel's move; zero where a corner is -1."""
    for e in range(entries):
        view, x, y = pixel_place(place, e)
        ids = corner_rows(triangles, face[e], view * vertices)
        c0, c1, c2 = corner(screen, ids[0], x, y), corner(screen, ids[1], x, y), corner(screen, ids[2], x, y)
        a0, a1, a2 = planes(c0, c1, c2)
        total = safe_sum(a0[2] + a1[2] + a2[2])
        for c in ti.static(range(4)):
            out[e, c] = 0.0 * total
        if corners[face[e], 0] >= 0:
            slope = a0 + a1 + a2
            for c in ti.static(range(2)):
                u = ti.Vector([uvs[corners[face[e], k], c] for k in ti.static(range(3))])
                moment = a0 * u[0] + a1 * u[1] + a2 * u[2]
                value = moment[2] / total
                out[e, c] = (moment[0] - value * slope[0]) / total
                out[e, 2 + c] = (moment[1] - value * slope[1]) / total


@ti.func
def footprint_adjoint_entry(
    e,
    offset,
    offset_uvs,
    vertices,
    place: ti.template(),
    face: ti.template(),
    triangles: ti.template(),
    screen: ti.template(),
    corners: ti.template(),
    uvs: ti.template(),
    grad: ti.template(),
    part: ti.template(),
    part_uvs: ti.template(),
    atomic: ti.template(),
):
    view, x, y = pixel_place(place, e)
    ids = corner_rows(triangles, face[e], view * vertices)
    c0, c1, c2 = corner(screen, ids[0], x, y), corner(screen, ids[1], x, y), corner(screen, ids[2], x, y)
    a0, a1, a2 = planes(c0, c1, c2)
    slope = a0 + a1 + a2
    total = safe_sum(slope[2])
    g0, g1, g2 = ti.Vector.zero(float, 3), ti.Vector.zero(float, 3), ti.Vector.zero(float, 3)
    for c in ti.static(range(2)):
        u = ti.Vector([uvs[corners[face[e], k], c] for k in ti.static(range(3))])
        moment = a0 * u[0] + a1 * u[1] + a2 * u[2]
        value = moment[2] / total
        dx, dy = (moment[0] - value * slope[0]) / total, (moment[1] - value * slope[1]) / total
        gx, gy = grad[e, c], grad[e, 2 + c]
        g_value = -(gx * slope[0] + gy * slope[1]) / total
        g_moment = ti.Vector([gx / total, gy / total, g_value / total])
        g_slope = ti.Vector(
            [-gx * value / total, -gy * value / total, -(gx * dx + gy * dy) / total - g_value * value / total]
        )
        g0 += g_moment * u[0] + g_slope
        g1 += g_moment * u[1] + g_slope
        g2 += g_moment * u[2] + g_slope
        add(part_uvs, (offset_uvs + corners[face[e], 0]) * 2 + c, g_moment.dot(a0), atomic)
        add(part_uvs, (offset_uvs + corners[face[e], 1]) * 2 + c, g_moment.dot(a1), atomic)
        add(part_uvs, (offset_uvs + corners[face[e], 2]) * 2 + c, g_moment.dot(a2), atomic)
    h = ti.Matrix.rows([c1.cross(g2) - c2.cross(g1), c2.cross(g0) - c0.cross(g2), c0.cross(g1) - c1.cross(g0)])
    for k in ti.static(range(3)):
        # a_i = c_j x c_k: dL/dc_j = c_k x g_i and dL/dc_k = g_i x c_j.
        slot = (offset + ids[k]) * 4
        add(part, slot, h[k, 0], atomic)
        add(part, slot + 1, h[k, 1], atomic)
        add(part, slot + 2, h[k, 2] - x * h[k, 0] - y * h[k, 1], atomic)


@ti.kernel
def footprint_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    rows_uvs: ti.i32,
    entries: ti.i32,
    vertices: ti.i32,
    place: A1,
    face: A1,
    triangles: A2,
    screen: A2,
    corners: A2,
    uvs: A2,
    grad: A2,
    part: A1,
    part_uvs: A1,
    atomic: ti.template(),
):
    """Scatters the gradient of `footprint` into part [chunks * rows * 4] and part_uvs [chunks * rows_uvs * 2]."""
    if ti.static(atomic):
        for e in range(entries):
            if corners[face[e], 0] >= 0:
                footprint_adjoint_entry(
                    e, 0, 0, vertices, place, face, triangles, screen, corners, uvs, grad, part,
                    part_uvs, True,
                )  # fmt: skip
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                if corners[face[e], 0] >= 0:
                    footprint_adjoint_entry(
                        e, p * rows, p * rows_uvs, vertices, place, face, triangles, screen, corners,
                        uvs, grad, part, part_uvs, False,
                    )  # fmt: skip
