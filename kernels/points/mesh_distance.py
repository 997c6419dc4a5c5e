"""The place on a mesh nearest to a point, by the hierarchy of kernels/bvh.py, and squared distances to it; adjoints.

The nearest place is sum of weight * corner of one triangle; where it slides to, as points or corners move, does not
change the squared distance to first order, so triangle and weights count as fixed.
"""

import taichi as ti

from .. import bvh
from ..accumulate import load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def nearest_weights(p, a, b, c):
    """Weights [3] of the corners of a triangle at its place nearest to p (Ericson 2005, "Real-Time Collision
    Detection"); one without area is the segment or point that it looks like."""
    ab, ac, ap, bp, cp = b - a, c - a, p - a, p - b, p - c
    d1, d2, d3, d4, d5, d6 = ab.dot(ap), ac.dot(ap), ab.dot(bp), ac.dot(bp), ab.dot(cp), ac.dot(cp)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    weights = ti.Vector([0.0, 0.0, 0.0])
    if d1 <= 0.0 and d2 <= 0.0:
        weights[0] = 1.0
    elif d3 >= 0.0 and d4 <= d3:
        weights[1] = 1.0
    elif d6 >= 0.0 and d5 <= d6:
        weights[2] = 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        share = d1 / (d1 - d3)
        weights[0], weights[1] = 1.0 - share, share
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        share = d2 / (d2 - d6)
        weights[0], weights[2] = 1.0 - share, share
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        share = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        weights[1], weights[2] = 1.0 - share, share
    else:
        total = va + vb + vc
        weights[0], weights[1], weights[2] = va / total, vb / total, vc / total
    return weights


@ti.kernel
def search(count: ti.i32, points: A2, vertices: A2, triangles: A2, nodes: A1, leaves: A1, corners: A1, weights: A2):
    """corners [n * 3] vertices of each point's nearest triangle, and its weights [n, 3]."""
    for row in range(count):
        p = load3(points, row)
        best, stack, near = bvh.FAR, ti.Vector([0] * bvh.STACK), ti.Vector([0.0] * bvh.STACK)
        waiting, reference = 0, ti.cast(nodes[bvh.SPARE][0], ti.i32)
        while reference != bvh.NONE:
            r = ti.abs(reference) * bvh.UNIT
            if reference >= 0:
                for k in range(bvh.WIDTH):
                    off = 0.0
                    for axis in ti.static(range(3)):
                        low, high = nodes[r + 2 * axis][k], nodes[r + 2 * axis + 1][k]
                        side = ti.max(low - p[axis], p[axis] - high, 0.0)
                        off += side * side
                    if off < best:
                        # The nearer ones come out first where they are pushed in order; a swap keeps the last nearest
                        stack[waiting], near[waiting] = ti.cast(nodes[r + bvh.CHILDREN][k], ti.i32), off
                        if waiting > 0 and near[waiting - 1] < off:
                            held, distance = stack[waiting - 1], near[waiting - 1]
                            stack[waiting - 1], near[waiting - 1] = stack[waiting], near[waiting]
                            stack[waiting], near[waiting] = held, distance
                        waiting += 1
            else:
                for k in range(bvh.WIDTH):
                    triangle = leaves[r + k]
                    if triangle >= 0:
                        i, j, l = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]  # noqa: E741
                        a, b, c = load3(vertices, i), load3(vertices, j), load3(vertices, l)
                        share = nearest_weights(p, a, b, c)
                        off = (share[0] * a + share[1] * b + share[2] * c - p).norm_sqr()
                        if off < best:
                            best = off
                            corners[3 * row], corners[3 * row + 1], corners[3 * row + 2] = i, j, l
                            for corner in ti.static(range(3)):
                                weights[row, corner] = share[corner]
            reference = bvh.NONE
            while reference == bvh.NONE and waiting > 0:
                waiting -= 1
                if near[waiting] < best:
                    reference = stack[waiting]


@ti.func
def gap(points: ti.template(), vertices: ti.template(), corners: ti.template(), weights: ti.template(), row):
    """From the nearest place to the point [3]."""
    out = load3(points, row)
    for corner in ti.static(range(3)):
        out -= weights[row, corner] * load3(vertices, corners[3 * row + corner])
    return out


@ti.kernel
def squares(count: ti.i32, points: A2, vertices: A2, corners: A1, weights: A2, terms: A1):
    """terms [n] of squared distances."""
    for row in range(count):
        terms[row] = gap(points, vertices, corners, weights, row).norm_sqr()


@ti.kernel
def squares_adjoint(
    count: ti.i32, points: A2, vertices: A2, corners: A1, weights: A2, share: float, grad: A2, grad_points: A2
):
    for row in range(count):
        g = 2.0 * share * grad[0, 0] * gap(points, vertices, corners, weights, row)
        for axis in ti.static(range(3)):
            grad_points[row, axis] = grad_points[row, axis] + g[axis]


@ti.kernel
def squares_adjoint_vertices(
    count: ti.i32, points: A2, vertices: A2, corners: A1, weights: A2, start: A1, listed: A1, share: float, grad: A2,
    grad_vertices: A2,
):  # fmt: skip
    """To vertices [V, 3]; listed[start[v]:start[v + 1]] are the places 3 * point + corner in `corners` that hold v."""
    for vertex in range(count):
        total = ti.Vector.zero(float, 3)
        for at in range(start[vertex], start[vertex + 1]):
            row = listed[at] // 3
            total -= weights[row, listed[at] - 3 * row] * gap(points, vertices, corners, weights, row)
        for axis in ti.static(range(3)):
            grad_vertices[vertex, axis] = grad_vertices[vertex, axis] + 2.0 * share * grad[0, 0] * total[axis]
