"""Vertices from object space to world space to homogeneous pixels, and vertex normals; with adjoints."""

import taichi as ti

from ..accumulate import TASK, load3, outer

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def to_world(count: ti.i32, vertices: A2, matrices: A2, instance: ti.i32, start: ti.i32, positions: A2):
    """positions[start + v] = matrix * vertices[v]; matrices [I, 16] are row-major object-to-world."""
    for v in range(count):
        p = load3(vertices, v)
        for i in ti.static(range(3)):
            row = ti.Vector([matrices[instance, 4 * i + k] for k in ti.static(range(3))])
            positions[start + v, i] = row.dot(p) + matrices[instance, 4 * i + 3]


@ti.kernel
def to_world_adjoint(
    count: ti.i32, matrices: A2, instance: ti.i32, start: ti.i32, grad_positions: A2, grad_vertices: A2
):
    for v in range(count):
        g = load3(grad_positions, start + v)
        for k in ti.static(range(3)):
            column = ti.Vector([matrices[instance, 4 * i + k] for i in ti.static(range(3))])
            grad_vertices[v, k] = grad_vertices[v, k] + column.dot(g)


@ti.kernel
def to_world_matrix_adjoint(
    chunks: ti.i32,
    instances: ti.i32,
    count: ti.i32,
    vertices: A2,
    start: ti.i32,
    grad_positions: A2,
    part: A1,
    instance: ti.i32,
    block: ti.template(),
):
    """part [chunks * I * 16] += sum of grad_position * (vertex, 1)^T, rows 0 to 2 of 4.

    The last row of an affine matrix stays (0, 0, 0, 1), so that it gets nothing.
    """
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        total = ti.Matrix.zero(float, 3, 4)
        for v in range(p * count // chunks, (p + 1) * count // chunks):
            g = load3(grad_positions, start + v)
            x = load3(vertices, v)
            total += outer(g, x, 1.0)
        for i, k in ti.static(ti.ndrange(3, 4)):
            slot = (p * instances + instance) * 16 + 4 * i + k
            part[slot] = part[slot] + total[i, k]


@ti.func
def columns(matrices: ti.template(), instance):
    """The three columns of a matrix's linear part."""
    m0 = ti.Vector([matrices[instance, 4 * i] for i in ti.static(range(3))])
    m1 = ti.Vector([matrices[instance, 4 * i + 1] for i in ti.static(range(3))])
    m2 = ti.Vector([matrices[instance, 4 * i + 2] for i in ti.static(range(3))])
    return m0, m1, m2


@ti.kernel
def normals_to_world(count: ti.i32, normals: A2, matrices: A2, instance: ti.i32, start: ti.i32, out: A2):
    """out[start + v] = cofactor(matrix) * normals[v], which points as the inverse transpose does."""
    for v in range(count):
        n = load3(normals, v)
        m0, m1, m2 = columns(matrices, instance)
        world = n[0] * m1.cross(m2) + n[1] * m2.cross(m0) + n[2] * m0.cross(m1)
        for i in ti.static(range(3)):
            out[start + v, i] = world[i]


@ti.kernel
def normals_to_world_adjoint(
    count: ti.i32, matrices: A2, instance: ti.i32, start: ti.i32, grad_out: A2, grad_normals: A2
):
    for v in range(count):
        g = load3(grad_out, start + v)
        m0, m1, m2 = columns(matrices, instance)
        grad_normals[v, 0] = grad_normals[v, 0] + g.dot(m1.cross(m2))
        grad_normals[v, 1] = grad_normals[v, 1] + g.dot(m2.cross(m0))
        grad_normals[v, 2] = grad_normals[v, 2] + g.dot(m0.cross(m1))


@ti.kernel
def normals_to_world_matrix_adjoint(
    chunks: ti.i32,
    instances: ti.i32,
    count: ti.i32,
    normals: A2,
    matrices: A2,
    instance: ti.i32,
    start: ti.i32,
    grad_out: A2,
    part: A1,
    block: ti.template(),
):
    """Through the cofactor: d(a x b) with columns a, b of the matrix."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        m0, m1, m2 = columns(matrices, instance)
        total = ti.Matrix.zero(float, 3, 3)
        for v in range(p * count // chunks, (p + 1) * count // chunks):
            g = load3(grad_out, start + v)
            n = load3(normals, v)
            # n0 (m1 x m2) + n1 (m2 x m0) + n2 (m0 x m1), column by column
            to0 = n[2] * m1.cross(g) + n[1] * g.cross(m2)
            to1 = n[0] * m2.cross(g) + n[2] * g.cross(m0)
            to2 = n[1] * m0.cross(g) + n[0] * g.cross(m1)
            for i in ti.static(range(3)):
                total[i, 0] += to0[i]
                total[i, 1] += to1[i]
                total[i, 2] += to2[i]
        for i, k in ti.static(ti.ndrange(3, 3)):
            slot = (p * instances + instance) * 16 + 4 * i + k
            part[slot] = part[slot] + total[i, k]


@ti.kernel
def face_normals(faces: ti.i32, triangles: A2, positions: A2, out: A2):
    """out[f] = (p1 - p0) x (p2 - p0): twice the area along the normal."""
    for f in range(faces):
        p0 = load3(positions, triangles[f, 0])
        n = (load3(positions, triangles[f, 1]) - p0).cross(load3(positions, triangles[f, 2]) - p0)
        for i in ti.static(range(3)):
            out[f, i] = n[i]


@ti.kernel
def vertex_normals(vertices: ti.i32, starts: A1, corners: A1, face_normal: A2, out: A2):
    """Area-weighted vertex normals, not normalised; corners[starts[v]:starts[v + 1]] are 3 * face + corner."""
    for v in range(vertices):
        total = ti.Vector.zero(float, 3)
        for k in range(starts[v], starts[v + 1]):
            total += load3(face_normal, corners[k] // 3)
        for i in ti.static(range(3)):
            out[v, i] = total[i]


@ti.kernel
def vertex_normals_adjoint(faces: ti.i32, triangles: A2, grad_normals: A2, grad_face: A2):
    """grad_face[f] = sum of its corners' normal gradients."""
    for f in range(faces):
        for i in ti.static(range(3)):
            grad_face[f, i] = (
                grad_normals[triangles[f, 0], i] + grad_normals[triangles[f, 1], i] + grad_normals[triangles[f, 2], i]
            )


@ti.kernel
def face_normals_adjoint(
    vertices: ti.i32, starts: A1, corners: A1, triangles: A2, positions: A2, grad_face: A2, grad_positions: A2
):
    """Gathers over a vertex's faces: d((p1 - p0) x (p2 - p0)) / dp_k is a cross product with the opposite edge."""
    for v in range(vertices):
        total = ti.Vector.zero(float, 3)
        for k in range(starts[v], starts[v + 1]):
            f, corner = corners[k] // 3, corners[k] % 3
            a = load3(positions, triangles[f, (corner + 1) % 3])
            b = load3(positions, triangles[f, (corner + 2) % 3])
            total += (a - b).cross(load3(grad_face, f))
        for i in ti.static(range(3)):
            grad_positions[v, i] = grad_positions[v, i] + total[i]


@ti.kernel
def project(views: ti.i32, vertices: ti.i32, positions: A2, projections: A2, screen: A2):
    """screen[view * V + v] = projection * (position, 1): column * w, row * w, w, depth."""
    for v in range(vertices):
        p = load3(positions, v)
        for view in range(views):
            for i in ti.static(range(4)):
                row = ti.Vector([projections[view, 4 * i + k] for k in ti.static(range(3))])
                screen[view * vertices + v, i] = row.dot(p) + projections[view, 4 * i + 3]


@ti.kernel
def project_adjoint(views: ti.i32, vertices: ti.i32, projections: A2, grad_screen: A2, grad_positions: A2):
    for v in range(vertices):
        total = ti.Vector.zero(float, 3)
        for view in range(views):
            for i in ti.static(range(4)):
                g = grad_screen[view * vertices + v, i]
                total += g * ti.Vector([projections[view, 4 * i + k] for k in ti.static(range(3))])
        for i in ti.static(range(3)):
            grad_positions[v, i] = grad_positions[v, i] + total[i]


@ti.kernel
def project_camera_adjoint(
    chunks: ti.i32, views: ti.i32, vertices: ti.i32, positions: A2, grad_screen: A2, part: A1, block: ti.template()
):
    """part [chunks * views * 16] = sum of grad_screen * (position, 1)^T, a row-major 4 x 4."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for view in range(views):
            total = ti.Matrix.zero(float, 4, 4)
            for v in range(p * vertices // chunks, (p + 1) * vertices // chunks):
                x = load3(positions, v)
                g = ti.Vector([grad_screen[view * vertices + v, i] for i in ti.static(range(4))])
                total += outer(g, x, 1.0)
            for i, k in ti.static(ti.ndrange(4, 4)):
                part[(p * views + view) * 16 + 4 * i + k] = total[i, k]
