"""Points with normals into the interaction buffer's columns; with adjoint."""

import taichi as ti

from ..accumulate import load3

A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def fill(
    count: ti.i32, points: A2, normals: A2, views: A2, index: ti.i32, position: ti.template(), normal: ti.template(),
    view: ti.template(), material: ti.template(),
):  # fmt: skip
    """Columns of n points, all of the material `index`."""
    for e in range(count):
        position[e] = load3(points, e)
        normal[e] = load3(normals, e)
        view[e] = load3(views, e)
        material[e] = index


@ti.kernel
def add_gradient(count: ti.i32, column: ti.template(), grad: A2):
    """grad [n, 3] += the column's gradient."""
    for e in range(count):
        for c in ti.static(range(3)):
            grad[e, c] = grad[e, c] + column.grad[e][c]


@ti.kernel
def fill_values(count: ti.i32, values: A2, column: ti.template()):
    for e in range(count):
        column[e] = load3(values, e)
