"""Real spherical harmonics of degree 0 to 3 of ray directions, with the signs used for radiance fields; and adjoint.

In unit (x, y, z): 1; -y, z, -x; xy, -yz, 3z^2 - 1, -xz, x^2 - y^2; and so on, each times its normalisation.
"""

import taichi as ti

from ..accumulate import load3

A2 = ti.types.ndarray(ndim=2)

DEGREE_0 = 0.28209479177387814
DEGREE_1 = 0.4886025119029199
DEGREE_2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
DEGREE_3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154, -0.4570457994644658,
    1.445305721320277, -0.5900435899266435,
)  # fmt: skip


@ti.kernel
def harmonics(count: ti.i32, terms: ti.i32, directions: A2, out: A2):
    """out [n, K] of directions [n, 3] of any length, K = 1, 4, 9 or 16."""
    for ray in range(count):
        u = load3(directions, ray).normalized()
        x, y, z = u[0], u[1], u[2]
        out[ray, 0] = DEGREE_0
        if terms > 1:
            out[ray, 1] = -DEGREE_1 * y
            out[ray, 2] = DEGREE_1 * z
            out[ray, 3] = -DEGREE_1 * x
        if terms > 4:
            out[ray, 4] = DEGREE_2[0] * x * y
            out[ray, 5] = DEGREE_2[1] * y * z
            out[ray, 6] = DEGREE_2[2] * (2.0 * z * z - x * x - y * y)
            out[ray, 7] = DEGREE_2[3] * x * z
            out[ray, 8] = DEGREE_2[4] * (x * x - y * y)
        if terms > 9:
            out[ray, 9] = DEGREE_3[0] * y * (3.0 * x * x - y * y)
            out[ray, 10] = DEGREE_3[1] * x * y * z
            out[ray, 11] = DEGREE_3[2] * y * (4.0 * z * z - x * x - y * y)
            out[ray, 12] = DEGREE_3[3] * z * (2.0 * z * z - 3.0 * x * x - 3.0 * y * y)
            out[ray, 13] = DEGREE_3[4] * x * (4.0 * z * z - x * x - y * y)
            out[ray, 14] = DEGREE_3[5] * z * (x * x - y * y)
            out[ray, 15] = DEGREE_3[6] * x * (x * x - 3.0 * y * y)


@ti.kernel
def harmonics_adjoint(count: ti.i32, terms: ti.i32, directions: A2, grad_out: A2, grad_directions: A2):
    """grad_directions [n, 3] += through the polynomials and the normalisation."""
    for ray in range(count):
        d = load3(directions, ray)
        u = d.normalized()
        x, y, z = u[0], u[1], u[2]
        g = ti.Vector([0.0, 0.0, 0.0])
        if terms > 1:
            g += DEGREE_1 * ti.Vector([-grad_out[ray, 3], -grad_out[ray, 1], grad_out[ray, 2]])
        if terms > 4:
            g += DEGREE_2[0] * grad_out[ray, 4] * ti.Vector([y, x, 0.0])
            g += DEGREE_2[1] * grad_out[ray, 5] * ti.Vector([0.0, z, y])
            g += DEGREE_2[2] * grad_out[ray, 6] * ti.Vector([-2.0 * x, -2.0 * y, 4.0 * z])
            g += DEGREE_2[3] * grad_out[ray, 7] * ti.Vector([z, 0.0, x])
            g += DEGREE_2[4] * grad_out[ray, 8] * ti.Vector([2.0 * x, -2.0 * y, 0.0])
        if terms > 9:
            xx, yy, zz = x * x, y * y, z * z
            g += DEGREE_3[0] * grad_out[ray, 9] * ti.Vector([6.0 * x * y, 3.0 * xx - 3.0 * yy, 0.0])
            g += DEGREE_3[1] * grad_out[ray, 10] * ti.Vector([y * z, x * z, x * y])
            g += DEGREE_3[2] * grad_out[ray, 11] * ti.Vector([-2.0 * x * y, 4.0 * zz - xx - 3.0 * yy, 8.0 * y * z])
            g += DEGREE_3[3] * grad_out[ray, 12] * ti.Vector([-6.0 * x * z, -6.0 * y * z, 6.0 * zz - 3.0 * (xx + yy)])
            g += DEGREE_3[4] * grad_out[ray, 13] * ti.Vector([4.0 * zz - 3.0 * xx - yy, -2.0 * x * y, 8.0 * x * z])
            g += DEGREE_3[5] * grad_out[ray, 14] * ti.Vector([2.0 * x * z, -2.0 * y * z, xx - yy])
            g += DEGREE_3[6] * grad_out[ray, 15] * ti.Vector([3.0 * xx - 3.0 * yy, -6.0 * x * y, 0.0])
        to_d = (g - u * u.dot(g)) / d.norm()
        for k in ti.static(range(3)):
            grad_directions[ray, k] = grad_directions[ray, k] + to_d[k]
