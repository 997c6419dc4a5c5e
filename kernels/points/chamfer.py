"""Squared distances, and angles between normals, of points and their partners among other points; with adjoints.

partner [rows]: number of each row's partner. Adjoints to the partners gather: those whose partner is row r are
listed[start[r] .. start[r + 1] - 1].
"""

import taichi as ti

from ..accumulate import load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def squares(rows: ti.i32, points: A2, others: A2, partner: A1, share: float, first: ti.i32, terms: A1):
    """terms[first + row] = share |p - q|^2 for points p [rows, 3] and their partners q."""
    for row in range(rows):
        terms[first + row] = share * (load3(points, row) - load3(others, partner[row])).norm_sqr()


@ti.kernel
def squares_adjoint(rows: ti.i32, points: A2, others: A2, partner: A1, share: float, grad: A2, grad_points: A2):
    for row in range(rows):
        gap = load3(points, row) - load3(others, partner[row])
        for axis in ti.static(range(3)):
            grad_points[row, axis] = grad_points[row, axis] + 2.0 * share * grad[0, 0] * gap[axis]


@ti.kernel
def squares_adjoint_partners(
    rows: ti.i32, points: A2, others: A2, start: A1, listed: A1, share: float, grad: A2, grad_others: A2
):
    """To others [rows, 3]."""
    for row in range(rows):
        total = ti.Vector.zero(float, 3)
        for at in range(start[row], start[row + 1]):
            total += load3(others, row) - load3(points, listed[at])
        for axis in ti.static(range(3)):
            grad_others[row, axis] = grad_others[row, axis] + 2.0 * share * grad[0, 0] * total[axis]


@ti.func
def unit(normals: ti.template(), row):
    """(a normal of length 1, 1 / its length); zeros for one without length."""
    normal = load3(normals, row)
    square, inverse = normal.norm_sqr(), 0.0
    if square > 0.0:
        inverse = 1.0 / ti.sqrt(square)
    return normal * inverse, inverse


@ti.func
def slope(normal, inverse, other):
    """Derivative of 1 - cos with respect to a normal, by its direction, 1 / length and the other's direction."""
    return (normal.dot(other) * normal - other) * inverse


@ti.kernel
def angles(rows: ti.i32, normals: A2, others: A2, partner: A1, share: float, first: ti.i32, terms: A1):
    """terms[first + row] = share (1 - cos) of the angle between normals [rows, 3] and those of their partners."""
    for row in range(rows):
        n, _ = unit(normals, row)
        m, _ = unit(others, partner[row])
        terms[first + row] = share * (1.0 - n.dot(m))


@ti.kernel
def angles_adjoint(rows: ti.i32, normals: A2, others: A2, partner: A1, share: float, grad: A2, grad_normals: A2):
    for row in range(rows):
        n, inverse = unit(normals, row)
        m, _ = unit(others, partner[row])
        back = slope(n, inverse, m)
        for axis in ti.static(range(3)):
            grad_normals[row, axis] = grad_normals[row, axis] + share * grad[0, 0] * back[axis]


@ti.kernel
def angles_adjoint_partners(
    rows: ti.i32, normals: A2, others: A2, start: A1, listed: A1, share: float, grad: A2, grad_others: A2
):
    """To others [rows, 3]."""
    for row in range(rows):
        m, inverse = unit(others, row)
        total = ti.Vector.zero(float, 3)
        for at in range(start[row], start[row + 1]):
            n, _ = unit(normals, listed[at])
            total += slope(m, inverse, n)
        for axis in ti.static(range(3)):
            grad_others[row, axis] = grad_others[row, axis] + share * grad[0, 0] * total[axis]
