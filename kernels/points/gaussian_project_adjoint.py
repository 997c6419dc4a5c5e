"""Adjoint of the projection of 3D Gaussians."""

import taichi as ti

from ..accumulate import load3, turns
from .gaussian_project import (
    GUARD,
    axes_on_screen,
    conic_of,
    jacobian,
    matrix_row,
    projected,
    rotation_adjoint,
    rotation_of,
    scales_of,
)

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

RADIUS_SIGMAS = 3.0  # of the radius that density control reads


@ti.func
def to_axes(u, v, conic, dilation, grad_splats: ti.template(), item, antialiased: ti.template()):
    """Gradients of the axes on the screen: through the covariance, whose differential is -Q dQ Q with Q the conic."""
    q = ti.Matrix([[conic[0], conic[1]], [conic[1], conic[2]]])
    half = 0.5 * grad_splats[item, 3]
    g = ti.Matrix([[grad_splats[item, 2], half], [half, grad_splats[item, 4]]])
    m = -(q @ g @ q)
    if ti.static(antialiased):
        m -= 0.5 * grad_splats[item, 5] * q
    to_u, to_v = 2.0 * (m[0, 0] * u + m[0, 1] * v), 2.0 * (m[0, 1] * u + m[1, 1] * v)
    if ti.static(antialiased):
        over = 1.0 / ti.sqrt(u.norm_sqr() + v.norm_sqr() + 2.0 * dilation)
        area = (u * over).cross(v * over)  # the undilated determinant is its squared length
        size = area.norm_sqr()
        if size > 0.0:
            to_u += grad_splats[item, 5] * over / size * (v * over).cross(area)
            to_v += grad_splats[item, 5] * over / size * area.cross(u * over)
    return to_u, to_v


@ti.kernel
def project_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, count: ti.i32, start: ti.i32, per_view: ti.i32,
    views: ti.i32, width: ti.i32, height: ti.i32, means: A2, log_scales: A2, rotations: A2, opacity_logits: A2,
    table: A2, dilation: float, box: A1, grad_splats: A2, grad_depth: A2, grad_means: A2,
    grad_log_scales: A2, grad_rotations: A2, grad_opacity_logits: A2, part: A1, gradient_sum: A2, seen: A2, radius: A2,
    antialiased: ti.template(), to_table: ti.template(), statistics: ti.template(),
):  # fmt: skip
    """Adds to the gradients of the Gaussians; part [chunks * views * 20] = gradient of the table, with `to_table`.

    With `statistics` it also adds to gradient_sum, seen and radius [N, 1]; see `SplatStatistics`.
    """
    spread = turns(size)
    for ticket in range(chunks * spread):
        chunk = ticket // spread
        if ticket % spread != 0:
            continue
        for view in range(views):
            total = ti.Matrix.zero(float, 4, 4)
            for k in range(size):
                n = chunk * across + k * along
                item = view * per_view + start + n
                if n < count and box[4 * item] <= box[4 * item + 1]:
                    p, turned, scales = load3(means, n), rotation_of(rotations, n), scales_of(log_scales, n)
                    q = projected(table, view, p)
                    to_column, to_row, column, row = jacobian(table, view, q, width, height)
                    u, v = axes_on_screen(to_column, to_row, turned, scales)
                    conic, xx, yy, _ = conic_of(u, v, dilation)
                    to_u, to_v = to_axes(u, v, conic, dilation, grad_splats, item, antialiased)

                    # Axes into Jacobian, rotation and scales.
                    to_j0, to_j1 = turned @ (to_u * scales), turned @ (to_v * scales)
                    to_turned = to_column.outer_product(to_u * scales) + to_row.outer_product(to_v * scales)
                    to_scales = u * to_u + v * to_v
                    to_quaternion = rotation_adjoint(rotations, n, to_turned)

                    # Jacobian and projected mean into the homogeneous point and the matrix.
                    third, w = matrix_row(table, view, 2), q[2]
                    at_column, at_row = q[0] / w, q[1] / w
                    g_column, g_row = grad_splats[item, 0], grad_splats[item, 1]
                    if at_column > -GUARD * width and at_column < (1.0 + GUARD) * width:
                        g_column -= to_j0.dot(third) / w
                    if at_row > -GUARD * height and at_row < (1.0 + GUARD) * height:
                        g_row -= to_j1.dot(third) / w
                    to_w = -(to_j0.dot(to_column) + to_j1.dot(to_row) + g_column * at_column + g_row * at_row) / w
                    to_q = ti.Vector([g_column / w, g_row / w, to_w, grad_depth[item, 0]])
                    to_mean = ti.Vector([0.0, 0.0, 0.0])
                    for r in ti.static(range(4)):
                        to_mean += to_q[r] * matrix_row(table, view, r)

                    if ti.static(to_table):
                        to_third = -(column * to_j0 + row * to_j1) / w
                        for r in ti.static(range(4)):
                            for a in ti.static(range(3)):
                                total[r, a] += to_q[r] * p[a]
                            total[r, 3] += to_q[r]
                        for a in ti.static(range(3)):
                            total[0, a] += to_j0[a] / w
                            total[1, a] += to_j1[a] / w
                            total[2, a] += to_third[a]
                    if ti.static(statistics):
                        across_x, across_y = grad_splats[item, 0] * 0.5 * width, grad_splats[item, 1] * 0.5 * height
                        length = ti.sqrt(across_x * across_x + across_y * across_y)
                        middle, cross = 0.5 * (xx + yy), u.dot(v)
                        longest = middle + ti.sqrt(0.25 * (xx - yy) ** 2 + cross * cross)
                        gradient_sum[n, 0] = gradient_sum[n, 0] + length
                        seen[n, 0] = seen[n, 0] + 1.0
                        radius[n, 0] = ti.max(radius[n, 0], ti.ceil(RADIUS_SIGMAS * ti.sqrt(longest)))

                    for a in ti.static(range(3)):
                        grad_means[n, a] = grad_means[n, a] + to_mean[a]
                        grad_log_scales[n, a] = grad_log_scales[n, a] + to_scales[a]
                    for a in ti.static(range(4)):
                        grad_rotations[n, a] = grad_rotations[n, a] + to_quaternion[a]
                    falling = 1.0 / (1.0 + ti.exp(opacity_logits[n, 0]))  # 1 - opacity
                    grad_opacity_logits[n, 0] = grad_opacity_logits[n, 0] + grad_splats[item, 5] * falling
            if ti.static(to_table):
                slot = (chunk * views + view) * 20
                for r, a in ti.static(ti.ndrange(4, 4)):
                    part[slot + 4 * r + a] = total[r, a]
                for a in ti.static(range(4)):
                    part[slot + 16 + a] = 0.0
