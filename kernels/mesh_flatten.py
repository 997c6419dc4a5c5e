"""The flattening energy of a mesh: the squared bend of pairs of faces that share an edge; with its adjoint."""

import taichi as ti

from .accumulate import load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def face_normals(faces: ti.i32, triangles: A2, vertices: A2, normals: A2):
    """normals [F, 4]: unit normal, then twice the area; 0 for a face without area."""
    for f in range(faces):
        a = load3(vertices, triangles[f, 0])
        normal = (load3(vertices, triangles[f, 1]) - a).cross(load3(vertices, triangles[f, 2]) - a)
        length, inverse = normal.norm(), 0.0
        if length > 0.0:
            inverse = 1.0 / length
        for k in ti.static(range(3)):
            normals[f, k] = normal[k] * inverse
        normals[f, 3] = length


@ti.kernel
def flatten(count: ti.i32, pairs: A2, normals: A2, terms: A1):
    """terms [pairs] = (1 - cos(angle between the normals))^2."""
    for pair in range(count):
        bend = 1.0 - load3(normals, pairs[pair, 0]).dot(load3(normals, pairs[pair, 1]))
        terms[pair] = bend * bend


@ti.kernel
def flatten_adjoint(
    faces: ti.i32, vertices_count: ti.i32, triangles: A2, vertices: A2, normals: A2, pairs: A2, slot_offsets: A1,
    slots: A1, corner_offsets: A1, corners: A1, slopes: A2, grad: A2, grad_vertices: A2,
):  # fmt: skip
    """slots: pair * 2 + side of each face's pairs; corners: face corners at each vertex; slopes [F, 3] scratch."""
    for f in range(faces):
        normal, total = load3(normals, f), ti.Vector([0.0, 0.0, 0.0])
        for k in range(slot_offsets[f], slot_offsets[f + 1]):
            other = load3(normals, pairs[slots[k] // 2, 1 - slots[k] % 2])
            total -= 2.0 * (1.0 - normal.dot(other)) * other
        scale = 0.0
        if normals[f, 3] > 0.0:
            scale = 1.0 / normals[f, 3]
        total = (total - normal * normal.dot(total)) * scale
        for k in ti.static(range(3)):
            slopes[f, k] = total[k]
    for i in range(vertices_count):
        total = ti.Vector([0.0, 0.0, 0.0])
        for k in range(corner_offsets[i], corner_offsets[i + 1]):
            f, corner = corners[k] // 3, corners[k] % 3
            after, before = (
                load3(vertices, triangles[f, (corner + 1) % 3]),
                load3(vertices, triangles[f, (corner + 2) % 3]),
            )
            total += (after - before).cross(load3(slopes, f))
        for k in ti.static(range(3)):
            grad_vertices[i, k] = grad_vertices[i, k] + grad[0, 0] * total[k]
