"""How much of a light each entry sees: a factor of the column light_value, with its adjoint."""

import taichi as ti

A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def dim(buffer: ti.template(), n: ti.i32, visibility: A2):
    """light_value *= visibility [n, 1]."""
    for i in range(n):
        buffer.light_value[i] = buffer.light_value[i] * visibility[i, 0]


@ti.kernel
def dim_adjoint(buffer: ti.template(), n: ti.i32, visibility: A2, grad_visibility: A2):
    """With light_value as it was before `dim`: makes light_value.grad its gradient and adds to grad_visibility."""
    for i in range(n):
        g = buffer.light_value.grad[i]
        grad_visibility[i, 0] = grad_visibility[i, 0] + g.dot(buffer.light_value[i])
        buffer.light_value.grad[i] = g * visibility[i, 0]
