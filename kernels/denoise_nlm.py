"""Non-local means with features (Rousselle, Knaus, Zwicker 2012; Rousselle, Manzi, Zwicker 2013), forward and adjoint.

out_p = sum_o w u_{p+o} / sum_o w over the offsets o of a window, w = exp(-max(0, D)) times the features' affinity. D is
the mean over a patch of pixels r around p, and over channels, of
d_r = ((u_r - u_q)^2 - v_r - min(v_r, v_q)) / (floor + k^2 (v_r + v_q)), q = r + o, where v is the noise's variance:
what noise alone makes different counts as equal. One launch serves one offset, for all pixels; patches are summed
along rows, then along columns. Pixels outside of the picture are in no patch and in no window.
"""

import taichi as ti

from .accumulate import load3
from .denoise import add_gradients, affinity, log_affinity_slopes

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

VARIANCE_FLOOR = 1e-8


@ti.func
def _inside(y, x, dy, dx, height, width):
    return x + dx >= 0 and x + dx < width and y + dy >= 0 and y + dy < height


@ti.func
def _difference(k2, color: ti.template(), variance: ti.template(), r, q):
    """d_r of the pair (r, q), and its derivative by the colour of r; that by q's is its negative."""
    a, b, u, v = load3(color, r), load3(color, q), load3(variance, r), load3(variance, q)
    scale = 1.0 / (3.0 * (VARIANCE_FLOOR + k2 * (u + v)))
    return ((a - b) ** 2 - u - ti.min(u, v)).dot(scale), 2.0 * (a - b) * scale


@ti.func
def _row_sum(terms: ti.template(), row, x, width, reach):
    total = 0.0
    for i in range(ti.max(x - reach, 0), ti.min(x + reach, width - 1) + 1):
        total += terms[row - x + i]
    return total


@ti.func
def _column_sum(terms: ti.template(), row, y, height, width, reach):
    total = 0.0
    for i in range(ti.max(y - reach, 0), ti.min(y + reach, height - 1) + 1):
        total += terms[row + (i - y) * width]
    return total


@ti.func
def _count(at, offset, size, reach):
    """Pixels of a patch along one axis that lie inside, and whose partners do."""
    return ti.min(at + reach, size - 1, size - 1 - offset) - ti.max(at - reach, 0, -offset) + 1


@ti.kernel
def gather_offset(
    views: ti.i32, height: ti.i32, width: ti.i32, dx: ti.i32, dy: ti.i32, reach: ti.i32, k2: float, features: ti.i32,
    power: float, albedo_rate: float, sigma_depth: float, color: A2, variance: A2, normal: A2, albedo: A2, depth: A2,
    slope: A2, terms: A1, sums: A1, mean: A2, total: A2,
):  # fmt: skip
    """mean [rows, 3] += w u_q, total [rows, 1] += w for the pixels q = p + (dx, dy)."""
    for view, y, x in ti.ndrange(views, height, width):
        r = (view * height + y) * width + x
        terms[r] = 0.0
        if _inside(y, x, dy, dx, height, width):
            terms[r], _slope = _difference(k2, color, variance, r, r + dy * width + dx)
    for view, y, x in ti.ndrange(views, height, width):
        r = (view * height + y) * width + x
        sums[r] = _row_sum(terms, r, x, width, reach)
    for view, y, x in ti.ndrange(views, height, width):
        if _inside(y, x, dy, dx, height, width):
            p = (view * height + y) * width + x
            q = p + dy * width + dx
            count = _count(x, dx, width, reach) * _count(y, dy, height, reach)
            distance = _column_sum(sums, p, y, height, width, reach) / count
            rates = ti.Vector([power, albedo_rate, sigma_depth])
            w = ti.exp(-ti.max(distance, 0.0))
            w *= affinity(features, rates, normal, albedo, depth, slope, p, q, dx, dy)
            for c in ti.static(range(3)):
                mean[p, c] = mean[p, c] + w * color[q, c]
            total[p, 0] = total[p, 0] + w


@ti.kernel
def divide(rows: ti.i32, total: A2, mean: A2):
    for row in range(rows):
        for c in ti.static(range(3)):
            mean[row, c] = mean[row, c] / total[row, 0]


@ti.kernel
def gather_offset_adjoint(
    views: ti.i32, height: ti.i32, width: ti.i32, dx: ti.i32, dy: ti.i32, reach: ti.i32, k2: float, features: ti.i32,
    power: float, albedo_rate: float, sigma_depth: float, color: A2, variance: A2, normal: A2, albedo: A2, depth: A2,
    slope: A2, terms: A1, sums: A1, out: A2, total: A2, grad_out: A2, share: A1, change: A1, detached: ti.i32,
    wanted: ti.i32, grad_color: A2, grad_normal: A2, grad_albedo: A2, grad_depth: A2, grad_slope: A2,
):  # fmt: skip
    """Recomputes the weights of one offset, then gathers.

    share: w over the total of each p; change: dL / dlog w; `terms` and `sums` then hold dL / d(patch sum) and its sums.
    """
    for view, y, x in ti.ndrange(views, height, width):
        r = (view * height + y) * width + x
        terms[r] = 0.0
        if _inside(y, x, dy, dx, height, width):
            terms[r], _slope = _difference(k2, color, variance, r, r + dy * width + dx)
    for view, y, x in ti.ndrange(views, height, width):
        r = (view * height + y) * width + x
        sums[r] = _row_sum(terms, r, x, width, reach)
    for view, y, x in ti.ndrange(views, height, width):
        p = (view * height + y) * width + x
        share[p], change[p], terms[p] = 0.0, 0.0, 0.0
        if _inside(y, x, dy, dx, height, width):
            q = p + dy * width + dx
            count = _count(x, dx, width, reach) * _count(y, dy, height, reach)
            distance = _column_sum(sums, p, y, height, width, reach) / count
            rates = ti.Vector([power, albedo_rate, sigma_depth])
            w = ti.exp(-ti.max(distance, 0.0)) / total[p, 0]
            w *= affinity(features, rates, normal, albedo, depth, slope, p, q, dx, dy)
            share[p] = w
            if detached == 0:
                t = w * load3(grad_out, p).dot(load3(color, q) - load3(out, p))
                change[p] = t
                if distance > 0.0:
                    terms[p] = -t / count
    for view, y, x in ti.ndrange(views, height, width):
        r = (view * height + y) * width + x
        sums[r] = _row_sum(terms, r, x, width, reach)
    for view, y, x in ti.ndrange(views, height, width):
        rates = ti.Vector([power, albedo_rate, sigma_depth])
        r = (view * height + y) * width + x
        to_color, to_normal, to_albedo = ti.Vector([0.0] * 3), ti.Vector([0.0] * 3), ti.Vector([0.0] * 3)
        to_depth, to_slope = 0.0, ti.Vector([0.0, 0.0])
        for role in range(2):
            # The pixel is p of one pair, and q of another
            side = 1 - 2 * role
            if _inside(y, x, side * dy, side * dx, height, width):
                j = r + side * (dy * width + dx)
                p, q = ti.select(role == 0, r, j), ti.select(role == 0, j, r)
                if role == 1:
                    to_color += share[p] * load3(grad_out, p)
                if detached == 0:
                    _d, by_color = _difference(k2, color, variance, p, q)
                    around = _column_sum(sums, p, y - role * dy, height, width, reach)
                    to_color += side * around * by_color
                    t = change[p]
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
