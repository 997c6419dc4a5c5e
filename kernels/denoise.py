"""What every denoiser shares: how alike two pixels are by their features, slopes of depth, and division by albedo.

Pictures are [views * height * width, channels]. Besides what colours say, pixel q weighs in the mean of pixel p
cos(n_p, n_q)^power exp(-albedo_rate |a_p - a_q|^2) exp(-|z_p - z_q| / (sigma_depth |s_p . (q - p)| + floor)), where s
is the slope of depth (Dammertz et al. 2010; Schied et al. 2017, SVGF). The bits of `features` say which factors count;
`rates` is (power, albedo_rate, sigma_depth).
"""

import taichi as ti

from .accumulate import load3

A2 = ti.types.ndarray(ndim=2)

NORMAL, ALBEDO, DEPTH, COLOR = 1, 2, 4, 8
DEPTH_FLOOR = 5e-4  # of both depths: a difference as small as this is no edge, in any unit
TINY = 1e-12
ALBEDO_FLOOR = 1e-2


@ti.func
def _cosine(a, b):
    """(cosine of the angle between two normals, product of their lengths); 1 where both are zero, 0 where one is."""
    lengths = ti.sqrt(a.dot(a) * b.dot(b))
    cosine = 0.0 * lengths
    if lengths > 0.0:
        cosine = a.dot(b) / lengths
    elif a.dot(a) + b.dot(b) == 0.0:
        cosine += 1.0
    return cosine, lengths


@ti.func
def _allowed(sigma_depth, depth: ti.template(), slope: ti.template(), p, q, dx, dy):
    """(how much depth may change from p to q, its change along the slope of p)."""
    along = slope[p, 0] * dx + slope[p, 1] * dy
    return sigma_depth * ti.abs(along) + DEPTH_FLOOR * (ti.abs(depth[p, 0]) + ti.abs(depth[q, 0])) + TINY, along


@ti.func
def affinity(
    features, rates, normal: ti.template(), albedo: ti.template(), depth: ti.template(), slope: ti.template(), p, q,
    dx, dy,
):  # fmt: skip
    """The features' weight of pixel q = p + (dx, dy) in the mean of pixel p; 1 where they are the same pixel."""
    cosine, exponent = 1.0, 0.0
    if features & NORMAL != 0:
        cosine, _lengths = _cosine(load3(normal, p), load3(normal, q))
    if features & ALBEDO != 0:
        apart = load3(albedo, p) - load3(albedo, q)
        exponent += rates[1] * apart.dot(apart)
    if features & DEPTH != 0:
        allowed, _along = _allowed(rates[2], depth, slope, p, q, dx, dy)
        exponent += ti.abs(depth[p, 0] - depth[q, 0]) / allowed
    weight = 0.0
    if cosine > 0.0:
        weight = ti.pow(cosine, rates[0]) * ti.exp(-exponent)
    return weight


@ti.func
def log_affinity_slopes(
    wanted, rates, normal: ti.template(), albedo: ti.template(), depth: ti.template(), slope: ti.template(), p, q, dx,
    dy, mine, other,
):  # fmt: skip
    """d log affinity(p, q) by normal, albedo and depth of `mine`, one of p and q (`other` is the other), and by s_p."""
    by_normal, by_albedo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    by_depth, by_slope = 0.0, ti.Vector([0.0, 0.0])
    if wanted & NORMAL != 0:
        a, b = load3(normal, mine), load3(normal, other)
        cosine, lengths = _cosine(a, b)
        if cosine > 0.0 and lengths > 0.0:
            by_normal = rates[0] * (b / (lengths * cosine) - a / a.dot(a))
    if wanted & ALBEDO != 0:
        by_albedo = -2.0 * rates[1] * (load3(albedo, mine) - load3(albedo, other))
    if wanted & DEPTH != 0:
        allowed, along = _allowed(rates[2], depth, slope, p, q, dx, dy)
        apart = depth[mine, 0] - depth[other, 0]
        by_allowed = ti.abs(apart) / (allowed * allowed)
        by_depth = by_allowed * DEPTH_FLOOR * ti.math.sign(depth[mine, 0]) - ti.math.sign(apart) / allowed
        by_slope = by_allowed * rates[2] * ti.math.sign(along) * ti.Vector([dx, dy])
    return by_normal, by_albedo, by_depth, by_slope


@ti.func
def add_gradients(
    wanted, r, to_color, to_normal, to_albedo, to_depth, to_slope, grad_color: ti.template(),
    grad_normal: ti.template(), grad_albedo: ti.template(), grad_depth: ti.template(), grad_slope: ti.template(),
):  # fmt: skip
    """Add to the gradients of pixel r, of colour and features whose bits are in `wanted`."""
    for c in ti.static(range(3)):
        if wanted & COLOR != 0:
            grad_color[r, c] = grad_color[r, c] + to_color[c]
        if wanted & NORMAL != 0:
            grad_normal[r, c] = grad_normal[r, c] + to_normal[c]
        if wanted & ALBEDO != 0:
            grad_albedo[r, c] = grad_albedo[r, c] + to_albedo[c]
    if wanted & DEPTH != 0:
        grad_depth[r, 0] = grad_depth[r, 0] + to_depth
        for c in ti.static(range(2)):
            grad_slope[r, c] = grad_slope[r, c] + to_slope[c]


@ti.func
def _lesser_step(depth: ti.template(), row, stride, at, size):
    """(slope of depth along an axis, the neighbour it is taken with): the smaller of the steps to both sides.

    So a pixel beside a silhouette keeps the slope of the surface that it sees.
    """
    slope, neighbor = 0.0 * depth[row, 0], row
    if at + 1 < size:
        slope, neighbor = depth[row + stride, 0] - depth[row, 0], row + stride
    if at > 0:
        back = depth[row, 0] - depth[row - stride, 0]
        if neighbor == row or ti.abs(back) < ti.abs(slope):
            slope, neighbor = back, row - stride
    return slope, neighbor


@ti.kernel
def depth_slopes(views: ti.i32, height: ti.i32, width: ti.i32, depth: A2, slope: A2):
    """slope [rows, 2]: change of depth a pixel to the right, and a pixel down."""
    for view, y, x in ti.ndrange(views, height, width):
        row = (view * height + y) * width + x
        slope[row, 0], _x = _lesser_step(depth, row, 1, x, width)
        slope[row, 1], _y = _lesser_step(depth, row, width, y, height)


@ti.kernel
def depth_slopes_adjoint(views: ti.i32, height: ti.i32, width: ti.i32, depth: A2, grad_slope: A2, grad_depth: A2):
    for view, y, x in ti.ndrange(views, height, width):
        row = (view * height + y) * width + x
        total = 0.0
        for axis in range(2):
            stride = ti.select(axis == 0, 1, width)
            at, size = ti.select(axis == 0, x, y), ti.select(axis == 0, width, height)
            # The slopes of this pixel and of those before and behind it may have been taken with its depth.
            for k in range(-1, 2):
                if at + k >= 0 and at + k < size:
                    p = row + k * stride
                    _slope, neighbor = _lesser_step(depth, p, stride, at + k, size)
                    # slope = (z_neighbor - z_p) where the neighbour lies behind p, (z_p - z_neighbor) where before
                    sign = ti.select(neighbor > p, 1.0, -1.0)
                    if neighbor != p and k == 0:
                        total -= sign * grad_slope[p, axis]
                    if neighbor == row and k != 0:
                        total += sign * grad_slope[p, axis]
        grad_depth[row, 0] = grad_depth[row, 0] + total


@ti.kernel
def divide_albedo(rows: ti.i32, color: A2, albedo: A2, out: A2):
    for row in range(rows):
        for c in ti.static(range(3)):
            out[row, c] = color[row, c] / (albedo[row, c] + ALBEDO_FLOOR)


@ti.kernel
def divide_albedo_adjoint(rows: ti.i32, albedo: A2, grad_out: A2, grad_color: A2):
    for row in range(rows):
        for c in ti.static(range(3)):
            grad_color[row, c] = grad_color[row, c] + grad_out[row, c] / (albedo[row, c] + ALBEDO_FLOOR)


@ti.kernel
def divide_albedo_by_albedo(rows: ti.i32, albedo: A2, out: A2, grad_out: A2, grad_albedo: A2):
    for row in range(rows):
        for c in ti.static(range(3)):
            slope = -out[row, c] / (albedo[row, c] + ALBEDO_FLOOR)
            grad_albedo[row, c] = grad_albedo[row, c] + slope * grad_out[row, c]


@ti.kernel
def multiply_albedo(rows: ti.i32, color: A2, albedo: A2, out: A2):
    for row in range(rows):
        for c in ti.static(range(3)):
            out[row, c] = color[row, c] * (albedo[row, c] + ALBEDO_FLOOR)


@ti.kernel
def multiply_albedo_adjoint(rows: ti.i32, factor: A2, floor: float, grad_out: A2, grad: A2):
    """To the colour by albedo (with its floor), or to the albedo by colour (floor 0)."""
    for row in range(rows):
        for c in ti.static(range(3)):
            grad[row, c] = grad[row, c] + (factor[row, c] + floor) * grad_out[row, c]
