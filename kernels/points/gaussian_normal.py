"""Normals of 3D Gaussians: the axis of the smallest scale, turned towards the camera; with adjoint."""

import taichi as ti

from ..accumulate import load3, turns
from .gaussian_color import to_eye
from .gaussian_project import rotation_adjoint, rotation_of

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def thinnest(log_scales: ti.template(), n):
    """Unit vector of the axis of the smallest scale, the first of equals."""
    axis = ti.Vector([1.0, 0.0, 0.0])
    least = log_scales[n, 0]
    if log_scales[n, 1] < least:
        axis = ti.Vector([0.0, 1.0, 0.0])
        least = log_scales[n, 1]
    if log_scales[n, 2] < least:
        axis = ti.Vector([0.0, 0.0, 1.0])
    return axis


@ti.func
def toward(normal, means: ti.template(), n, table: ti.template(), view):
    """1, or -1 where the normal is turned away from the camera."""
    sign = 1.0
    if normal.dot(to_eye(table, view, load3(means, n))) < 0.0:
        sign = -1.0
    return sign


@ti.func
def matrix(to_world: ti.template()):
    found = ti.Matrix.zero(float, 3, 3)
    for r, c in ti.static(ti.ndrange(3, 3)):
        found[r, c] = to_world[0, 3 * r + c]
    return found


@ti.kernel
def normals(
    count: ti.i32, start: ti.i32, per_view: ti.i32, views: ti.i32, means: A2, log_scales: A2, rotations: A2,
    table: A2, to_world: A2, out: A2,
):  # fmt: skip
    """out [items, 3], unit, in the world; to_world [1, 9] is what takes normals of object space there."""
    for n in range(count):
        normal = rotation_of(rotations, n) @ thinnest(log_scales, n)
        found = (matrix(to_world) @ normal).normalized()
        for view in range(views):
            sign = toward(normal, means, n, table, view)
            for c in ti.static(range(3)):
                out[view * per_view + start + n, c] = sign * found[c]


@ti.kernel
def normals_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, count: ti.i32, start: ti.i32, per_view: ti.i32,
    views: ti.i32, means: A2, log_scales: A2, rotations: A2, table: A2, to_world: A2, grad_out: A2,
    grad_rotations: A2, part: A1,
):  # fmt: skip
    """part [chunks * 9] = gradient of to_world."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        chunk = ticket // spread
        if ticket % spread != 0:
            continue
        total, taken = ti.Matrix.zero(float, 3, 3), matrix(to_world)
        for k in range(size):
            n = chunk * across + k * along
            if n < count:
                axis = thinnest(log_scales, n)
                normal = rotation_of(rotations, n) @ axis
                g = ti.Vector([0.0, 0.0, 0.0])
                for view in range(views):
                    g += toward(normal, means, n, table, view) * load3(grad_out, view * per_view + start + n)
                world = taken @ normal
                unit = world.normalized()
                to_product = (g - unit * unit.dot(g)) / world.norm()
                total += to_product.outer_product(normal)
                to_normal = taken.transpose() @ to_product
                to_quaternion = rotation_adjoint(rotations, n, to_normal.outer_product(axis))
                for a in ti.static(range(4)):
                    grad_rotations[n, a] = grad_rotations[n, a] + to_quaternion[a]
        for r, c in ti.static(ti.ndrange(3, 3)):
            part[9 * chunk + 3 * r + c] = total[r, c]
