"""Fills the interaction buffer's geometry: position, shading normal, view; and the adjoint that scatters back."""

import taichi as ti

from ..accumulate import TASK, add, add3, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


TURNED, FACETED, UNIT = 1, 2, 4  # bits of `look`


@ti.func
def facing(normal, eye: ti.template(), view, point):
    """+1 where the triangle's geometric normal is on the viewer's side, -1 where it is turned away."""
    sign = 1.0
    if normal.dot(load3(eye, view) - eye[view, 3] * point) < 0.0:
        sign = -1.0
    return sign


@ti.func
def corner_normal(normals: ti.template(), row, look):
    """A corner's normal as `look` has it, and what it was multiplied by."""
    normal, inverse = load3(normals, row), 1.0
    if look & UNIT != 0:
        inverse = 1.0 / ti.sqrt(normal.dot(normal) + 1e-30)
        normal *= inverse
    return normal, inverse


@ti.kernel
def surface(
    entries: ti.i32,
    place: A1,
    face: A1,
    triangles: A2,
    positions: A2,
    normal_corners: A2,
    normals: A2,
    eye: A2,
    face_material: A1,
    bary: A2,
    look: ti.i32,
    position: ti.template(),
    normal: ti.template(),
    view: ti.template(),
    material: ti.template(),
):
    """World position, normal (unnormalised) and vector to the camera of every entry.

    look: TURNED turns normals to the viewer's side; FACETED takes the triangle's centroid and own normal; UNIT makes
    corners' normals length 1 before they are interpolated.

    normal_corners [F, 3] index `normals`; -1 takes the triangle's own normal. eye [views, 4]: point to camera is
    eye[:3] - eye[3] * position.
    """
    for e in range(entries):
        f, camera = face[e], place[3 * e]
        p0 = load3(positions, triangles[f, 0])
        p1 = load3(positions, triangles[f, 1])
        p2 = load3(positions, triangles[f, 2])
        b = load3(bary, e)
        if look & FACETED != 0:
            b = ti.Vector([1.0, 1.0, 1.0]) / 3.0
        point = b[0] * p0 + b[1] * p1 + b[2] * p2
        flat = (p1 - p0).cross(p2 - p0)
        sign = 1.0
        if look & TURNED != 0:
            sign = facing(flat, eye, camera, p0)
        n = flat
        if normal_corners[f, 0] >= 0 and look & FACETED == 0:
            n = ti.Vector.zero(float, 3)
            for k in ti.static(range(3)):
                corner, _inverse = corner_normal(normals, normal_corners[f, k], look)
                n += b[k] * corner
        position[e] = point
        normal[e] = n * sign
        view[e] = load3(eye, camera) - eye[camera, 3] * point
        material[e] = face_material[f]


@ti.kernel
def darken_back(
    entries: ti.i32, place: A1, face: A1, triangles: A2, positions: A2, eye: A2, color: ti.template()
):  # fmt: skip
    """Zero the colour of entries whose triangle is turned away from the viewer."""
    for e in range(entries):
        f = face[e]
        p0 = load3(positions, triangles[f, 0])
        flat = (load3(positions, triangles[f, 1]) - p0).cross(load3(positions, triangles[f, 2]) - p0)
        if facing(flat, eye, place[3 * e], p0) < 0.0:
            color[e] = ti.Vector([0.0, 0.0, 0.0])


@ti.func
def surface_adjoint_entry(
    e,
    offset,
    offset_normals,
    camera,
    f,
    triangles: ti.template(),
    positions: ti.template(),
    normal_corners: ti.template(),
    normals: ti.template(),
    eye: ti.template(),
    bary: ti.template(),
    look,
    g_point,
    g_normal,
    grad_bary: ti.template(),
    part_positions: ti.template(),
    part_normals: ti.template(),
    atomic: ti.template(),
):
    if ti.abs(g_point).sum() + ti.abs(g_normal).sum() > 0.0:
        p0 = load3(positions, triangles[f, 0])
        p1 = load3(positions, triangles[f, 1])
        p2 = load3(positions, triangles[f, 2])
        g_n = g_normal
        if look & TURNED != 0:
            g_n *= facing((p1 - p0).cross(p2 - p0), eye, camera, p0)
        b = load3(bary, e)
        if look & FACETED != 0:
            b = ti.Vector([1.0, 1.0, 1.0]) / 3.0
        g0, g1, g2 = b[0] * g_point, b[1] * g_point, b[2] * g_point
        gb = ti.Vector([g_point.dot(p0), g_point.dot(p1), g_point.dot(p2)])
        if normal_corners[f, 0] >= 0 and look & FACETED == 0:
            for k in ti.static(range(3)):
                row = normal_corners[f, k]
                corner, inverse = corner_normal(normals, row, look)
                gb[k] += g_n.dot(corner)
                g_corner = b[k] * g_n
                if look & UNIT != 0:
                    g_corner = (g_corner - corner * corner.dot(g_corner)) * inverse
                add3(part_normals, offset_normals + row, g_corner, atomic)
        else:
            to1, to2 = (p2 - p0).cross(g_n), g_n.cross(p1 - p0)
            g1 += to1
            g2 += to2
            g0 -= to1 + to2
        add3(part_positions, offset + triangles[f, 0], g0, atomic)
        add3(part_positions, offset + triangles[f, 1], g1, atomic)
        add3(part_positions, offset + triangles[f, 2], g2, atomic)
        if look & FACETED == 0:
            for k in ti.static(range(3)):
                grad_bary[e, k] = grad_bary[e, k] + gb[k]


@ti.kernel
def surface_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    rows_normals: ti.i32,
    entries: ti.i32,
    place: A1,
    face: A1,
    triangles: A2,
    positions: A2,
    normal_corners: A2,
    normals: A2,
    eye: A2,
    bary: A2,
    look: ti.i32,
    position: ti.template(),
    normal: ti.template(),
    view: ti.template(),
    grad_bary: A2,
    part_positions: A1,
    part_normals: A1,
    atomic: ti.template(),
):
    """From the buffer's gradients: adds to grad_bary, part_positions [chunks * rows * 3] and part_normals."""
    if ti.static(atomic):
        for e in range(entries):
            f, camera = face[e], place[3 * e]
            g_point = position.grad[e] - eye[camera, 3] * view.grad[e]
            surface_adjoint_entry(
                e, 0, 0, camera, f, triangles, positions, normal_corners, normals, eye, bary, look,
                g_point, normal.grad[e], grad_bary, part_positions, part_normals, True,
            )  # fmt: skip
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                f, camera = face[e], place[3 * e]
                g_point = position.grad[e] - eye[camera, 3] * view.grad[e]
                surface_adjoint_entry(
                    e, p * rows, p * rows_normals, camera, f, triangles, positions, normal_corners, normals, eye, bary,
                    look, g_point, normal.grad[e], grad_bary, part_positions, part_normals, False,
                )  # fmt: skip


@ti.kernel
def eye_adjoint(
    chunks: ti.i32,
    views: ti.i32,
    entries: ti.i32,
    place: A1,
    position: ti.template(),
    view: ti.template(),
    part: A1,
    block: ti.template(),
):
    """part [chunks * views * 4] += gradient of `view` with respect to the eye."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for e in range(p * entries // chunks, (p + 1) * entries // chunks):
            camera, g = place[3 * e], view.grad[e]
            slot = (p * views + camera) * 4
            for k in ti.static(range(3)):
                part[slot + k] = part[slot + k] + g[k]
            part[slot + 3] = part[slot + 3] - g.dot(position[e])


@ti.kernel
def unit_normals(entries: ti.i32, normal: ti.template(), out: A2):
    """out [n, 3] = normal / |normal|; zero where the normal is."""
    for e in range(entries):
        n = normal[e]
        length = n.norm()
        if length > 0.0:
            n /= length
        for k in ti.static(range(3)):
            out[e, k] = n[k]


@ti.kernel
def unit_normals_adjoint(entries: ti.i32, normal: ti.template(), grad_out: A2):
    """normal.grad += the gradient through the normalisation."""
    for e in range(entries):
        n = normal[e]
        length = n.norm()
        if length > 0.0:
            unit = n / length
            g = load3(grad_out, e)
            normal.grad[e] = normal.grad[e] + (g - unit * unit.dot(g)) / length


@ti.kernel
def attribute_to_column(
    entries: ti.i32,
    index: ti.i32,
    face: A1,
    corners: A2,
    attribute: A2,
    bary: A2,
    material: ti.template(),
    column: ti.template(),
    channels: ti.template(),
):
    """Interpolates attribute [rows, channels] into a column for the entries of material `index` (-1: all)."""
    for e in range(entries):
        if index < 0 or material[e] == index:
            f = face[e]
            value = ti.Vector.zero(float, channels)
            if corners[f, 0] >= 0:
                for k, c in ti.static(ti.ndrange(3, channels)):
                    value[c] += bary[e, k] * attribute[corners[f, k], c]
            column[e] = value


@ti.func
def column_adjoint_entry(
    e,
    offset,
    face: ti.template(),
    corners: ti.template(),
    attribute: ti.template(),
    bary: ti.template(),
    column: ti.template(),
    channels: ti.template(),
    grad_bary: ti.template(),
    part: ti.template(),
    atomic: ti.template(),
):
    f = face[e]
    if corners[f, 0] >= 0:
        for k in ti.static(range(3)):
            total = 0.0 * bary[e, k]
            for c in ti.static(range(channels)):
                g = column.grad[e][c]
                total += g * attribute[corners[f, k], c]
                add(part, (offset + corners[f, k]) * channels + c, g * bary[e, k], atomic)
            grad_bary[e, k] = grad_bary[e, k] + total


@ti.kernel
def attribute_to_column_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    entries: ti.i32,
    index: ti.i32,
    face: A1,
    corners: A2,
    attribute: A2,
    bary: A2,
    material: ti.template(),
    column: ti.template(),
    channels: ti.template(),
    grad_bary: A2,
    part: A1,
    atomic: ti.template(),
):
    """From column.grad: adds to grad_bary [n, 3] and part [chunks * rows * channels]."""
    if ti.static(atomic):
        for e in range(entries):
            if index < 0 or material[e] == index:
                column_adjoint_entry(e, 0, face, corners, attribute, bary, column, channels, grad_bary, part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                if index < 0 or material[e] == index:
                    column_adjoint_entry(
                        e, p * rows, face, corners, attribute, bary, column, channels, grad_bary, part, False
                    )


@ti.kernel
def footprint_to_columns(entries: ti.i32, footprint: A2, uv_dx: ti.template(), uv_dy: ti.template()):
    """footprint [n, 4] = du/dx, dv/dx, du/dy, dv/dy into the two columns."""
    for e in range(entries):
        uv_dx[e] = ti.Vector([footprint[e, 0], footprint[e, 1]])
        uv_dy[e] = ti.Vector([footprint[e, 2], footprint[e, 3]])


@ti.kernel
def columns_to_footprint(entries: ti.i32, uv_dx: ti.template(), uv_dy: ti.template(), grad: A2):
    """The two columns' gradients into grad [n, 4]."""
    for e in range(entries):
        for c in ti.static(range(2)):
            grad[e, c] = uv_dx.grad[e][c]
            grad[e, 2 + c] = uv_dy.grad[e][c]


@ti.kernel
def color_to_array(entries: ti.i32, color: ti.template(), out: A2):
    for e in range(entries):
        for c in ti.static(range(3)):
            out[e, c] = color[e][c]


@ti.kernel
def array_to_color_grad(entries: ti.i32, grad: A2, color: ti.template()):
    for e in range(entries):
        for c in ti.static(range(3)):
            color.grad[e][c] = grad[e, c]
