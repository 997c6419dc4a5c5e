"""One level of the edge-avoiding a-trous filter (Dammertz, Sewtz, Hanika, Lensch 2010), forward and adjoint.

out_p = sum_q w(p, q) c_q / sum_q w(p, q) over 5 x 5 pixels q, `step` pixels apart, of the same picture; w is the
B3 spline (1/16, 1/4, 3/8, 1/4, 1/16) each way, times exp(-color_rate |c_p - c_q|^2), times the features' affinity. The
adjoint gathers: what a pixel gives to others is found at that pixel, since the taps lie the same way from both.
"""

import taichi as ti

from .accumulate import load3
from .denoise import add_gradients, affinity, log_affinity_slopes

A2 = ti.types.ndarray(ndim=2)


@ti.func
def _spline(t):
    return ti.select(t == 0, 0.375, ti.select(ti.abs(t) == 1, 0.25, 0.0625))


@ti.kernel
def atrous(
    views: ti.i32, height: ti.i32, width: ti.i32, step: ti.i32, features: ti.i32, power: float, albedo_rate: float,
    sigma_depth: float, color_rate: float, color: A2, normal: A2, albedo: A2, depth: A2, slope: A2, out: A2,
    total: A2,
):  # fmt: skip
    """out [rows, 3], and total [rows, 1], the sum of each pixel's weights."""
    for view, y, x in ti.ndrange(views, height, width):
        rates = ti.Vector([power, albedo_rate, sigma_depth])
        p = (view * height + y) * width + x
        mine = load3(color, p)
        mean, weights = 0.0 * mine, 0.0
        for ty in range(-2, 3):
            for tx in range(-2, 3):
                dx, dy = tx * step, ty * step
                if x + dx >= 0 and x + dx < width and y + dy >= 0 and y + dy < height:
                    q = p + dy * width + dx
                    other = load3(color, q)
                    w = affinity(features, rates, normal, albedo, depth, slope, p, q, dx, dy)
                    w *= _spline(tx) * _spline(ty) * ti.exp(-color_rate * (mine - other).norm_sqr())
                    mean += w * other
                    weights += w
        for c in ti.static(range(3)):
            out[p, c] = mean[c] / weights
        total[p, 0] = weights


@ti.kernel
def atrous_adjoint(
    views: ti.i32, height: ti.i32, width: ti.i32, step: ti.i32, features: ti.i32, power: float, albedo_rate: float,
    sigma_depth: float, color_rate: float, color: A2, normal: A2, albedo: A2, depth: A2, slope: A2, out: A2,
    total: A2, grad_out: A2, detached: ti.i32, wanted: ti.i32, grad_color: A2, grad_normal: A2, grad_albedo: A2,
    grad_depth: A2, grad_slope: A2,
):  # fmt: skip
    """Pixel r is p of each pair once (role 0) and q once (role 1). `wanted`: bits of what has a gradient."""
    for view, y, x in ti.ndrange(views, height, width):
        rates = ti.Vector([power, albedo_rate, sigma_depth])
        r = (view * height + y) * width + x
        to_color, to_normal, to_albedo = ti.Vector([0.0] * 3), ti.Vector([0.0] * 3), ti.Vector([0.0] * 3)
        to_depth, to_slope = 0.0, ti.Vector([0.0, 0.0])
        for ty in range(-2, 3):
            for tx in range(-2, 3):
                dx, dy = tx * step, ty * step
                if x + dx >= 0 and x + dx < width and y + dy >= 0 and y + dy < height:
                    j = r + dy * width + dx
                    apart = load3(color, r) - load3(color, j)
                    spline = _spline(tx) * _spline(ty) * ti.exp(-color_rate * apart.norm_sqr())
                    for role in range(2):
                        p, q = ti.select(role == 0, r, j), ti.select(role == 0, j, r)
                        w = spline * affinity(features, rates, normal, albedo, depth, slope, p, q, dx, dy)
                        seed = w / total[p, 0] * load3(grad_out, p)
                        if role == 1:
                            to_color += seed
                        if detached == 0 and j != r and w > 0.0:
                            t = seed.dot(load3(color, q) - load3(out, p))  # dL / dlog w
                            to_color -= 2.0 * color_rate * t * apart
                            by_normal, by_albedo, by_depth, by_slope = log_affinity_slopes(
                                wanted, rates, normal, albedo, depth, slope, p, q, dx, dy, r, j
                            )
                            to_normal += t * by_normal
                            to_albedo += t * by_albedo
                            to_depth += t * by_depth
                            if role == 0:
                                to_slope += t * by_slope
        add_gradients(
            wanted, r, to_color, to_normal, to_albedo, to_depth, to_slope, grad_color, grad_normal, grad_albedo,
            grad_depth, grad_slope,
        )  # fmt: skip
