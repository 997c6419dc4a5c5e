"""Lights: what each visible point sees of one light, and the gradient back to the light."""

import taichi as ti

from ..accumulate import TASK
from .buffer import chunk_block
from .shade import AMBIENT, DIRECTIONAL, POINT

A2 = ti.types.ndarray(ndim=2)


@ti.func
def _row(a: ti.template()):
    return ti.Vector([a[0, 0], a[0, 1], a[0, 2]])


@ti.kernel
def _gather(buffer: ti.template(), n: ti.i32, kind: ti.i32, geometry: A2, value: A2):
    for i in range(n):
        vector = ti.Vector([0.0, 0.0, 0.0])
        if kind == DIRECTIONAL:
            direction = _row(geometry)
            length = direction.norm()
            if length > 1e-12:
                vector = -direction / length
        if kind == POINT:
            vector = _row(geometry) - buffer.position[i]
        buffer.light_vector[i] = vector
        buffer.light_value[i] = _row(value)


@ti.kernel
def _gather_adjoint(buffer: ti.template(), block: ti.template(), n: ti.i32, kind: ti.i32, part: A2):
    rows = part.shape[0]
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(rows * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        size = (n + rows - 1) // rows
        to_vector = ti.Vector([0.0, 0.0, 0.0])
        to_value = ti.Vector([0.0, 0.0, 0.0])
        for i in range(p * size, ti.min(n, (p + 1) * size)):
            g = buffer.light_vector.grad[i]
            to_value += buffer.light_value.grad[i]
            to_vector += g
            if kind == POINT:
                buffer.position.grad[i] = buffer.position.grad[i] - g
            buffer.light_vector.grad[i] = ti.Vector([0.0, 0.0, 0.0])
            buffer.light_value.grad[i] = ti.Vector([0.0, 0.0, 0.0])
        for c in ti.static(range(3)):
            part[p, c] = to_vector[c]
            part[p, 3 + c] = to_value[c]


@ti.kernel
def _reduce(kind: ti.i32, part: A2, geometry: A2, geometry_grad: A2, value_grad: A2):
    for _ in range(1):
        to_vector = ti.Vector([0.0, 0.0, 0.0])
        to_value = ti.Vector([0.0, 0.0, 0.0])
        for p in range(part.shape[0]):
            for c in ti.static(range(3)):
                to_vector[c] += part[p, c]
                to_value[c] += part[p, 3 + c]
        if kind == DIRECTIONAL:
            # vector = -d / |d|: what is along d does not count
            direction = _row(geometry)
            length = direction.norm()
            if length > 1e-12:
                u = direction / length
                to_vector = (u * u.dot(to_vector) - to_vector) / length
            else:
                to_vector = to_vector * 0.0
        for c in ti.static(range(3)):
            if kind != AMBIENT:
                geometry_grad[0, c] = geometry_grad[0, c] + to_vector[c]
            value_grad[0, c] = value_grad[0, c] + to_value[c]


def gather_light(buffer, n: int, kind: int, geometry, value) -> None:
    """Fill columns light_vector and light_value of the first n entries.

    kind: AMBIENT, DIRECTIONAL or POINT. geometry [1, 3]: direction in which the light travels (any length), or
    position, world; None for AMBIENT. value [1, 3]: radiance, irradiance or intensity.
    """
    _gather(buffer, n, kind, value if geometry is None else geometry, value)


def gather_light_adjoint(buffer, n: int, kind: int, geometry, geometry_grad, value_grad, part) -> None:
    """Add the gradient of both columns to the light's (both [1, 3]) and, for POINT, to position.grad.

    Sets light_vector.grad and light_value.grad to 0, ready for the next light. geometry and geometry_grad are None for
    AMBIENT. part: scratch [P, at least 6]; P chunks are summed in parallel (the threads of a CPU, a thousand on a GPU),
    then in order: equal bits every time.
    """
    _gather_adjoint(buffer, chunk_block(), n, kind, part)
    if geometry is None:
        geometry = geometry_grad = value_grad
    _reduce(kind, part, geometry, geometry_grad, value_grad)
