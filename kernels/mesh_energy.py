"""Energies of a triangle mesh and their adjoints: Laplacian, edge length, normal consistency.

Vertices are [V, 3]. Tables come from tidr/scene/topology.py: CSR rows (offsets, items) of the neighbours, edges, faces
and face corners at each vertex. Every adjoint gathers at the vertex through them, so nothing is atomic.
"""

import taichi as ti

from .accumulate import turns

I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)
I2 = ti.types.ndarray(dtype=ti.i32, ndim=2)
A2 = ti.types.ndarray(ndim=2)

UNIFORM, COTANGENT, COTANGENT_CURVATURE = range(3)


@ti.func
def _row(a: ti.template(), i):
    return ti.Vector([a[i, 0], a[i, 1], a[i, 2]])


@ti.func
def _add(a: ti.template(), i, v):
    for k in ti.static(range(3)):
        a[i, k] = a[i, k] + v[k]


@ti.func
def _store(a: ti.template(), i, v):
    for k in ti.static(range(3)):
        a[i, k] = v[k]


@ti.func
def _area(vertices: ti.template(), faces: ti.template(), f):
    a, b, c = _row(vertices, faces[f, 0]), _row(vertices, faces[f, 1]), _row(vertices, faces[f, 2])
    return 0.5 * (b - a).cross(c - a).norm()


@ti.kernel
def unit_weights(edge_weights: A2, edges: ti.i32):
    for e in range(edges):
        edge_weights[e, 0] = 1.0


@ti.kernel
def cotangent_weights(vertices: A2, faces: I2, offsets: I1, corners: I1, edge_count: ti.i32, edge_weights: A2):
    """Weight [E, 1] of each edge: the sum of the cotangents of the angles that face it (flat triangles give 0)."""
    for e in range(edge_count):
        total = 0.0 * vertices[0, 0]
        for k in range(offsets[e], offsets[e + 1]):
            f, corner = corners[k] // 3, corners[k] % 3
            at = _row(vertices, faces[f, corner])
            u = _row(vertices, faces[f, (corner + 1) % 3]) - at
            w = _row(vertices, faces[f, (corner + 2) % 3]) - at
            sine = u.cross(w).norm()
            if sine > 1e-12 * (u.norm_sqr() + w.norm_sqr()):
                total += u.dot(w) / sine
        edge_weights[e, 0] = total


@ti.func
def _pull(
    vertices: ti.template(),
    offsets: ti.template(),
    items: ti.template(),
    links: ti.template(),
    edge_weights: ti.template(),
    i,
):
    """sum_j w_ij (v_j - v_i) and sum_j w_ij over the neighbours of vertex i."""
    here = _row(vertices, i)
    pull, total = 0.0 * here, 0.0 * here[0]
    for k in range(offsets[i], offsets[i + 1]):
        w = edge_weights[links[k], 0]
        pull += w * (_row(vertices, items[k]) - here)
        total += w
    return pull, total


@ti.kernel
def laplacian(
    kind: ti.template(),
    vertices: A2,
    faces: I2,
    offsets: I1,
    neighbours: I1,  # of each vertex
    links: I1,  # the edge to each neighbour
    corner_offsets: I1,
    corners: I1,  # face corners at each vertex
    edge_weights: A2,
    vertex_count: ti.i32,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    slopes: A2,  # [V, 4] d|delta_i|/d(pull_i), then the sum of the weights
    partial: A2,  # [chunks, 1]
    loss: A2,
):
    """loss = mean_i |delta_i|, delta_i = scale_i sum_j w_ij (v_j - v_i)."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        energy = 0.0 * vertices[0, 0]
        for k in range(size):
            i = p * across + k * along
            if i < vertex_count:
                pull, total = _pull(vertices, offsets, neighbours, links, edge_weights, i)
                scale = 0.0 * total
                if ti.static(kind == COTANGENT_CURVATURE):
                    area = 0.0 * total
                    for j in range(corner_offsets[i], corner_offsets[i + 1]):
                        area += _area(vertices, faces, corners[j] // 3)
                    if area > 0.0:
                        scale = 0.25 / area
                else:
                    if total > 1e-12:
                        scale = 1.0 / total
                length = pull.norm()
                slope = 0.0 * pull
                if length > 0.0:
                    slope = pull * (scale / length)
                energy += scale * length
                _store(slopes, i, slope)
                slopes[i, 3] = total
        partial[p, 0] = energy
    for _ in range(1):
        energy = 0.0 * vertices[0, 0]
        for p in range(chunks):
            energy += partial[p, 0]
        loss[0, 0] = energy / vertex_count


@ti.kernel
def laplacian_adjoint(
    offsets: I1,
    neighbours: I1,
    links: I1,
    edge_weights: A2,
    slopes: A2,
    vertex_count: ti.i32,
    seed: A2,
    vertex_grad: A2,
):
    """Weights and scales are constants here (they were computed anew by the forward)."""
    for i in range(vertex_count):
        total = -slopes[i, 3] * _row(slopes, i)
        for k in range(offsets[i], offsets[i + 1]):
            total += edge_weights[links[k], 0] * _row(slopes, neighbours[k])
        _add(vertex_grad, i, total * (seed[0, 0] / vertex_count))


@ti.kernel
def edge_length(
    vertices: A2,
    edges: I2,
    edge_count: ti.i32,
    target: float,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    partial: A2,
    loss: A2,
):
    """loss = mean over edges of (length - target)^2."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        energy = 0.0 * vertices[0, 0]
        for k in range(size):
            e = p * across + k * along
            if e < edge_count:
                d = (_row(vertices, edges[e, 0]) - _row(vertices, edges[e, 1])).norm() - target
                energy += d * d
        partial[p, 0] = energy
    for _ in range(1):
        energy = 0.0 * vertices[0, 0]
        for p in range(chunks):
            energy += partial[p, 0]
        loss[0, 0] = energy / ti.max(edge_count, 1)


@ti.kernel
def edge_length_adjoint(
    vertices: A2,
    offsets: I1,
    neighbours: I1,
    vertex_count: ti.i32,
    edge_count: ti.i32,
    target: float,
    seed: A2,
    vertex_grad: A2,
):
    for i in range(vertex_count):
        here = _row(vertices, i)
        total = 0.0 * here
        for k in range(offsets[i], offsets[i + 1]):
            edge = here - _row(vertices, neighbours[k])
            length = edge.norm()
            if length > 0.0:
                total += edge * (2.0 * (length - target) / length)
        _add(vertex_grad, i, total * (seed[0, 0] / ti.max(edge_count, 1)))


@ti.kernel
def normal_consistency(
    vertices: A2,
    faces: I2,
    pairs: I2,
    face_count: ti.i32,
    pair_count: ti.i32,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    normals: A2,  # [F, 4] unit normal, then twice the area; 0 for a face without area
    partial: A2,
    loss: A2,
):
    """loss = mean over pairs of faces that share an edge of 1 - cos(angle between their normals)."""
    for f in range(face_count):
        a, b, c = _row(vertices, faces[f, 0]), _row(vertices, faces[f, 1]), _row(vertices, faces[f, 2])
        normal = (b - a).cross(c - a)
        length = normal.norm()
        if length > 0.0:
            normal /= length
        _store(normals, f, normal)
        normals[f, 3] = length
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        energy = 0.0 * vertices[0, 0]
        for k in range(size):
            pair = p * across + k * along
            if pair < pair_count:
                energy += 1.0 - _row(normals, pairs[pair, 0]).dot(_row(normals, pairs[pair, 1]))
        partial[p, 0] = energy
    for _ in range(1):
        energy = 0.0 * vertices[0, 0]
        for p in range(chunks):
            energy += partial[p, 0]
        loss[0, 0] = energy / ti.max(pair_count, 1)


@ti.kernel
def normal_consistency_adjoint(
    vertices: A2,
    faces: I2,
    pairs: I2,
    slot_offsets: I1,
    slots: I1,  # pair * 2 + side of each face's pairs
    corner_offsets: I1,
    corners: I1,  # face corners at each vertex
    vertex_count: ti.i32,
    face_count: ti.i32,
    pair_count: ti.i32,
    normals: A2,
    slopes: A2,  # [F, 3] dL/d(unnormalised normal)
    seed: A2,
    vertex_grad: A2,
):
    for f in range(face_count):
        normal = _row(normals, f)
        others = 0.0 * normal
        for k in range(slot_offsets[f], slot_offsets[f + 1]):
            others += _row(normals, pairs[slots[k] // 2, 1 - slots[k] % 2])
        slope = 0.0 * normal
        if normals[f, 3] > 0.0:
            slope = (normal * normal.dot(others) - others) / normals[f, 3]
        _store(slopes, f, slope)
    for i in range(vertex_count):
        total = 0.0 * _row(vertices, i)
        for k in range(corner_offsets[i], corner_offsets[i + 1]):
            f, corner = corners[k] // 3, corners[k] % 3
            after, before = _row(vertices, faces[f, (corner + 1) % 3]), _row(vertices, faces[f, (corner + 2) % 3])
            total += (after - before).cross(_row(slopes, f))
        _add(vertex_grad, i, total * (seed[0, 0] / ti.max(pair_count, 1)))
