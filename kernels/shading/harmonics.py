"""Light as spherical harmonics: what each visible point receives by its normal, and the gradient back.

Order as in tidr/scene/harmonics.py. A point's light is E(n) / pi, so each order is scaled by 1, 2 / 3, 1 / 4 and 0
(Ramamoorthi, Hanrahan 2001).
"""

import taichi as ti

from ..accumulate import TASK, add3, load3
from .brdf import unit

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

TERMS = 9
ZERO = 0.28209479177387814
ONE = 2.0 / 3.0 * 0.4886025119029199
TWO = 0.25 * 1.0925484305920792
UP = 0.25 * 0.31539156525252005
SIDE = 0.25 * 0.5462742152960396


@ti.func
def scaled_basis(n):
    """[9] harmonics of a unit vector, times what a diffuse surface makes of their order."""
    x, y, z = n[0], n[1], n[2]
    return ti.Vector(
        [
            ZERO + 0.0 * x, ONE * y, ONE * z, ONE * x, TWO * x * y, TWO * y * z, UP * (3.0 * z * z - 1.0), TWO * x * z,
            SIDE * (x * x - y * y),
        ]
    )  # fmt: skip


@ti.func
def scaled_basis_adjoint(n, g):
    """Gradient [3] of n for the gradient g [9] of `scaled_basis`."""
    x, y, z = n[0], n[1], n[2]
    to_x = ONE * g[3] + TWO * (y * g[4] + z * g[7]) + 2.0 * SIDE * x * g[8]
    to_y = ONE * g[1] + TWO * (x * g[4] + z * g[5]) - 2.0 * SIDE * y * g[8]
    to_z = ONE * g[2] + TWO * (y * g[5] + x * g[7]) + 6.0 * UP * z * g[6]
    return ti.Vector([to_x, to_y, to_z])


@ti.func
def unit_adjoint(v, g):
    """Gradient of v for the gradient g of `unit(v)`."""
    inverse = 1.0 / ti.sqrt(v.dot(v) + 1e-30)
    u = v * inverse
    return (g - u * u.dot(g)) * inverse


@ti.kernel
def gather(buffer: ti.template(), n: ti.i32, coefficients: A2):
    """light_value of the first n entries = E / pi [3], from coefficients [1, 4, 9 or 16, 3]."""
    for i in range(n):
        b, total = scaled_basis(unit(buffer.normal[i])), ti.Vector([0.0, 0.0, 0.0])
        for k in ti.static(range(TERMS)):
            if k < coefficients.shape[0]:
                total += b[k] * load3(coefficients, k)
        buffer.light_value[i] = total


@ti.kernel
def gather_adjoint(
    chunks: ti.i32, buffer: ti.template(), n: ti.i32, coefficients: A2, part: A1, block: ti.template()
):  # fmt: skip
    """From light_value.grad, which becomes 0: adds to normal.grad; part [chunks * K * 3] = the coefficients' gradient.

    K is the number of coefficients.
    """
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        terms = coefficients.shape[0]
        for k in range(3 * p * terms, 3 * (p + 1) * terms):
            part[k] = 0.0
        for i in range(p * n // chunks, (p + 1) * n // chunks):
            g, normal = buffer.light_value.grad[i], unit(buffer.normal[i])
            b, to_basis = scaled_basis(normal), ti.Vector.zero(float, TERMS)
            for k in ti.static(range(TERMS)):
                if k < terms:
                    to_basis[k] = g.dot(load3(coefficients, k))
                    add3(part, p * terms + k, b[k] * g, False)
            to_normal = unit_adjoint(buffer.normal[i], scaled_basis_adjoint(normal, to_basis))
            buffer.normal.grad[i] = buffer.normal.grad[i] + to_normal
            buffer.light_value.grad[i] = ti.Vector([0.0, 0.0, 0.0])
