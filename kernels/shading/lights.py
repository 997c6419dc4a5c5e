"""Lights: what each visible point sees of one light, and the gradient back to the light."""

import taichi as ti

from ..accumulate import TASK
from ..transport.light_shapes import cap_of, falloff, lean
from .buffer import chunk_block
from .shade import AMBIENT, DIRECTIONAL, POINT, UNATTENUATED

A2 = ti.types.ndarray(ndim=2)
LENS = UNATTENUATED + 1  # a point where the camera is, which the column view leads to


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
        if kind == LENS:
            vector = buffer.view[i]
        elif kind >= POINT:
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
            if kind == LENS:
                buffer.view.grad[i] = buffer.view.grad[i] + g
            elif kind >= POINT:
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
            if kind != AMBIENT and kind != LENS:
                geometry_grad[0, c] = geometry_grad[0, c] + to_vector[c]
            value_grad[0, c] = value_grad[0, c] + to_value[c]


@ti.func
def _share(to_light, axis, cutoff, width):
    """`falloff` at a point that sees a spot along to_light, with 1 / |to_light|; all 0 where that is 0."""
    value, by_h, by_cap, by_inner, inverse = 0.0, 0.0, 0.0, 0.0, 0.0
    length = to_light.norm()
    if length > 1e-12:
        inverse = 1.0 / length
        h = lean(-to_light * inverse, axis)
        value, by_h, by_cap, by_inner = falloff(h, cap_of(cutoff), cap_of(ti.max(cutoff - width, 0.0)))
    return value, by_h, by_cap, by_inner, inverse


@ti.func
def _axis(direction: ti.template()):
    """A spot's direction with length 1, and one over its own length; zeros for none."""
    axis, inverse = _row(direction), 0.0
    length = axis.norm()
    if length > 1e-12:
        inverse = 1.0 / length
    return axis * inverse, inverse


@ti.kernel
def narrow(buffer: ti.template(), n: ti.i32, direction: A2, cutoff: A2, width: A2):
    """Make a point light's columns (of the first n entries) a spot's: less light_value off its axis.

    direction [1, 3] of any length; cutoff and width of the falloff [1, 1] in radians.
    """
    for i in range(n):
        axis, _length = _axis(direction)
        share, _h, _cap, _inner, _inverse = _share(buffer.light_vector[i], axis, cutoff[0, 0], width[0, 0])
        buffer.light_value[i] = buffer.light_value[i] * share


@ti.kernel
def _narrow_adjoint(
    buffer: ti.template(), block: ti.template(), n: ti.i32, value: A2, direction: A2, cutoff: A2, width: A2, part: A2
):
    rows = part.shape[0]
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(rows * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        size = (n + rows - 1) // rows
        axis, _length = _axis(direction)
        to_axis, to_cap, to_inner = ti.Vector([0.0, 0.0, 0.0]), 0.0, 0.0
        for i in range(p * size, ti.min(n, (p + 1) * size)):
            g, to_light = buffer.light_value.grad[i], buffer.light_vector[i]
            share, by_h, by_cap, by_inner, inverse = _share(to_light, axis, cutoff[0, 0], width[0, 0])
            to_share = g.dot(_row(value))
            d = to_light * inverse
            to_axis += to_share * by_h * d  # 1 - cos = 1 + d.axis
            to_d = to_share * by_h * axis
            to_cap += to_share * by_cap
            to_inner += to_share * by_inner
            buffer.light_vector.grad[i] = buffer.light_vector.grad[i] + (to_d - d * d.dot(to_d)) * inverse
            buffer.light_value.grad[i] = g * share
        for c in ti.static(range(3)):
            part[p, c] = to_axis[c]
        part[p, 3] = to_cap
        part[p, 4] = to_inner


@ti.kernel
def _reduce_cone(
    part: A2, direction: A2, cutoff: A2, width: A2, direction_grad: A2, cutoff_grad: A2, width_grad: A2
):  # fmt: skip
    for _ in range(1):
        to_axis, to_cap, to_inner = ti.Vector([0.0, 0.0, 0.0]), 0.0, 0.0
        for p in range(part.shape[0]):
            to_axis += ti.Vector([part[p, 0], part[p, 1], part[p, 2]])
            to_cap += part[p, 3]
            to_inner += part[p, 4]
        axis, inverse = _axis(direction)
        to_axis = (to_axis - axis * axis.dot(to_axis)) * inverse
        for c in ti.static(range(3)):
            direction_grad[0, c] = direction_grad[0, c] + to_axis[c]
        inner = cutoff[0, 0] - width[0, 0]
        by_angle = 0.0
        if inner > 0.0:
            by_angle = ti.sin(inner)
        cutoff_grad[0, 0] = cutoff_grad[0, 0] + to_cap * ti.sin(cutoff[0, 0]) + to_inner * by_angle
        width_grad[0, 0] = width_grad[0, 0] - to_inner * by_angle


def narrow_adjoint(
    buffer, n: int, value, direction, cutoff, width, direction_grad, cutoff_grad, width_grad, part
) -> None:
    """Before `gather_light_adjoint`: the gradient of `narrow`, for a spot of intensity value [1, 3].

    Adds to light_vector.grad, makes light_value.grad that of the point light's, and adds to the gradients of direction,
    cutoff and width. part: scratch [P, at least 5], summed in parallel and then in order.
    """
    _narrow_adjoint(buffer, chunk_block(), n, value, direction, cutoff, width, part)
    _reduce_cone(part, direction, cutoff, width, direction_grad, cutoff_grad, width_grad)


def gather_light(buffer, n: int, kind: int, geometry, value) -> None:
    """Fill columns light_vector and light_value of the first n entries.

    kind: AMBIENT, DIRECTIONAL, POINT or UNATTENUATED. geometry [1, 3]: direction in which the light travels (any
    length), or position, world; None for AMBIENT, and for a POINT at every camera's own lens. value [1, 3]: radiance,
    irradiance or intensity.
    """
    kind = LENS if geometry is None and kind == POINT else kind
    _gather(buffer, n, kind, value if geometry is None else geometry, value)


def gather_light_adjoint(buffer, n: int, kind: int, geometry, geometry_grad, value_grad, part) -> None:
    """Add the gradient of both columns to the light's (both [1, 3]) and to position.grad, from a lens to view.grad.

    Sets light_vector.grad and light_value.grad to 0, ready for the next light. geometry and geometry_grad are None as
    in `gather_light`. part: scratch [P, at least 6]; P chunks are summed in parallel (the threads of a CPU, a thousand
    on a GPU), then in order: equal bits every time.
    """
    kind = LENS if geometry is None and kind == POINT else kind
    _gather_adjoint(buffer, chunk_block(), n, kind, part)
    if geometry is None:
        geometry = geometry_grad = value_grad
    _reduce(kind, part, geometry, geometry_grad, value_grad)
