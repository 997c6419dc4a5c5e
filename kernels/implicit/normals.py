"""Normals of level sets: object-space gradients into the world, turned to the viewer; with adjoint."""

import taichi as ti

from ..accumulate import TASK, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def to_world(matrix: ti.template(), g):
    """g as a row vector times the linear part of matrix [1, 16], world to object."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for i, k in ti.static(ti.ndrange(3, 3)):
        out[k] += g[i] * matrix[0, 4 * i + k]
    return out


@ti.func
def facing(normal, view):
    return 1.0 if normal.dot(view) >= 0.0 else -1.0


@ti.kernel
def normals(count: ti.i32, matrix: A2, gradients: A2, views: A2, sign: float, out: A2):
    """out [n, 3]: sign * gradient in the world, of any length, on the side that `views` [n, 3] point to."""
    for e in range(count):
        n = sign * to_world(matrix, load3(gradients, e))
        n *= facing(n, load3(views, e))
        for a in ti.static(range(3)):
            out[e, a] = n[a]


@ti.kernel
def normals_adjoint(count: ti.i32, matrix: A2, gradients: A2, views: A2, sign: float, grad_out: A2, grad_gradients: A2):
    for e in range(count):
        n = sign * to_world(matrix, load3(gradients, e))
        g = load3(grad_out, e) * (sign * facing(n, load3(views, e)))
        for i in ti.static(range(3)):
            total = 0.0
            for k in ti.static(range(3)):
                total += matrix[0, 4 * i + k] * g[k]
            grad_gradients[e, i] = grad_gradients[e, i] + total


@ti.kernel
def normals_matrix_adjoint(
    chunks: ti.i32, count: ti.i32, matrix: A2, gradients: A2, views: A2, sign: float, grad_out: A2, part: A1,
    block: ti.template(),
):  # fmt: skip
    """part [chunks * 16] = gradient of the matrix."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        total = ti.Matrix.zero(float, 3, 3)
        for e in range(p * count // chunks, (p + 1) * count // chunks):
            of = load3(gradients, e)
            n = sign * to_world(matrix, of)
            g = load3(grad_out, e) * (sign * facing(n, load3(views, e)))
            for i, k in ti.static(ti.ndrange(3, 3)):
                total[i, k] += of[i] * g[k]
        for slot in ti.static(range(16)):
            part[p * 16 + slot] = 0.0
        for i, k in ti.static(ti.ndrange(3, 3)):
            part[p * 16 + 4 * i + k] = total[i, k]
