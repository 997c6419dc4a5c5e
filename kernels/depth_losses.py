"""Losses of depth maps and of pictures warped by them: photometric error, smoothness, consistency; adjoints gather.

Pictures are [views * pixels, channels] or, where there is one for all views, [pixels, channels].
"""

import taichi as ti

from .ssim import REACH

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def fill_invalid(
    views: ti.i32, pixels: ti.i32, channels: ti.i32, warped: A2, target: A2, valid: A2, filled: A2, wanted: A2
):
    """wanted: the target once for each view; filled: the warped pictures, with the target where they are not valid."""
    for view, i in ti.ndrange(views, pixels):
        row = view * pixels + i
        for c in range(channels):
            wanted[row, c] = target[i, c]
            filled[row, c] = target[i, c]
            if valid[row, 0] > 0.0:
                filled[row, c] = warped[row, c]


@ti.func
def _window(view, y, x, height, width):
    """The window whose centre is nearest to a pixel, of those that lie inside the picture."""
    high, wide = height - 2 * REACH, width - 2 * REACH
    top = ti.min(ti.max(y - REACH, 0), high - 1)
    left = ti.min(ti.max(x - REACH, 0), wide - 1)
    return (view * high + top) * wide + left


@ti.kernel
def photometric_error(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, share: float, filled: A2, wanted: A2, windows: A2,
    error: A2,
):  # fmt: skip
    """error [views * height * width, 1] = share (1 - S) / 2 + (1 - share) L1, means over channels."""
    for view, y, x in ti.ndrange(views, height, width):
        row, window = (view * height + y) * width + x, _window(view, y, x, height, width)
        alike, apart = 0.0, 0.0
        for c in range(channels):
            alike += windows[window, c * 4]
            apart += ti.abs(filled[row, c] - wanted[row, c])
        error[row, 0] = share * 0.5 * (1.0 - alike / channels) + (1.0 - share) * apart / channels


@ti.func
def _reach(at, last):
    """First and last pixel whose nearest window is number `at` of 0 .. last along an axis."""
    return ti.select(at == 0, 0, at + REACH), ti.select(at == last, at + 2 * REACH, at + REACH)


@ti.kernel
def weigh_windows(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, share: float, grad_error: A2, windows: A2
):
    """The windows' derivatives times the gradient of the pixels that take their similarity from them."""
    high, wide = height - 2 * REACH, width - 2 * REACH
    for view, top, left in ti.ndrange(views, high, wide):
        y0, y1 = _reach(top, high - 1)
        x0, x1 = _reach(left, wide - 1)
        total = 0.0
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                total += grad_error[(view * height + y) * width + x, 0]
        total *= share / channels
        window = (view * high + top) * wide + left
        for c in range(channels):
            for k in range(1, 4):
                windows[window, c * 4 + k] = windows[window, c * 4 + k] * total


@ti.kernel
def photometric_adjoint(
    rows: ti.i32, channels: ti.i32, share: float, filled: A2, wanted: A2, valid: A2, grad_error: A2, grad_filled: A2,
    grad_warped: A2,
):  # fmt: skip
    """The part of L1, and the similarity's gradient (grad_filled) where the warped picture is valid."""
    for row in range(rows):
        if valid[row, 0] > 0.0:
            g = (1.0 - share) * grad_error[row, 0] / channels
            for c in range(channels):
                to, d = grad_filled[row, c], filled[row, c] - wanted[row, c]
                if d > 0.0:
                    to += g
                if d < 0.0:
                    to -= g
                grad_warped[row, c] = grad_warped[row, c] + to


@ti.kernel
def choose(
    views: ti.i32, pixels: ti.i32, least: ti.template(), error: A2, valid: A2, still: A2, masked: ti.template(),
    weight: A2,
):  # fmt: skip
    """weight: 1 for valid errors (with `least` only each pixel's least one), where they are below every still error."""
    for i in range(pixels):
        limit = 1e30
        if ti.static(masked):
            for view in range(views):
                limit = ti.min(limit, still[view * pixels + i, 0])
        best = -1
        for view in range(views):
            row = view * pixels + i
            weight[row, 0] = 0.0
            if valid[row, 0] > 0.0 and error[row, 0] < limit:
                if ti.static(least):
                    limit, best = error[row, 0], row
                else:
                    weight[row, 0] = 1.0
        if best >= 0:
            weight[best, 0] = 1.0


@ti.kernel
def weigh(rows: ti.i32, value: A2, weight: A2, terms: A1, weights: A1):
    for row in range(rows):
        terms[row] = weight[row, 0] * value[row, 0]
        weights[row] = weight[row, 0]


@ti.kernel
def divide(total: A2, weight: A2, out: A2):
    """out = total / weight, all [1, 1]; 0 where the weight is."""
    for _ in range(1):
        out[0, 0] = 0.0
        if weight[0, 0] > 0.0:
            out[0, 0] = total[0, 0] / weight[0, 0]


@ti.kernel
def mean_adjoint(rows: ti.i32, weight: A2, total: A2, seed: A2, grad: A2):
    """grad += seed * weight / total; total [1, 1] is the sum of all weights."""
    for row in range(rows):
        if total[0, 0] > 0.0:
            grad[row, 0] = grad[row, 0] + seed[0, 0] * weight[row, 0] / total[0, 0]


@ti.kernel
def invert(rows: ti.i32, depth: A2, inverse: A1, known: A1):
    """1 / depth, and 1; both 0 where depth is not above 0."""
    for row in range(rows):
        inverse[row], known[row] = 0.0, 0.0
        if depth[row, 0] > 0.0:
            inverse[row], known[row] = 1.0 / depth[row, 0], 1.0


@ti.func
def _step(height, width, channels, picture: ti.template(), inverse: ti.template(), known: ti.template(), a, b, pairs):
    """Difference of inverse depth from pixel a to pixel b, and what its size counts."""
    weight = known[a] * known[b] / pairs
    if weight > 0.0:
        edge = 0.0
        for c in range(channels):
            edge += ti.abs(picture[b, c] - picture[a, c])
        weight *= ti.exp(-edge / channels)
    return inverse[b] - inverse[a], weight


@ti.kernel
def smoothness(
    height: ti.i32, width: ti.i32, channels: ti.i32, picture: A2, inverse: A1, known: A1, terms: A1
):  # fmt: skip
    """terms: |d| e^-|dI| to the right, over the count of such pairs, and the same downwards."""
    for y, x in ti.ndrange(height, width):
        a, total = y * width + x, 0.0
        if x + 1 < width:
            d, weight = _step(height, width, channels, picture, inverse, known, a, a + 1, height * (width - 1))
            total += weight * ti.abs(d)
        if y + 1 < height:
            d, weight = _step(height, width, channels, picture, inverse, known, a, a + width, (height - 1) * width)
            total += weight * ti.abs(d)
        terms[a] = total


@ti.func
def _sign(d):
    sign = 0.0
    if d > 0.0:
        sign = 1.0
    if d < 0.0:
        sign = -1.0
    return sign


@ti.kernel
def smoothness_adjoint(
    height: ti.i32, width: ti.i32, channels: ti.i32, picture: A2, inverse: A1, known: A1, total: A2, mean: A2,
    count: A2, seed: A2, grad_depth: A2,
):  # fmt: skip
    """Of total / mean, where mean is that of the inverse depths of the `count` known pixels."""
    for y, x in ti.ndrange(height, width):
        i = y * width + x
        if known[i] > 0.0:
            across, down = height * (width - 1), (height - 1) * width
            slope = 0.0
            if x + 1 < width:
                d, weight = _step(height, width, channels, picture, inverse, known, i, i + 1, across)
                slope -= weight * _sign(d)
            if x > 0:
                d, weight = _step(height, width, channels, picture, inverse, known, i - 1, i, across)
                slope += weight * _sign(d)
            if y + 1 < height:
                d, weight = _step(height, width, channels, picture, inverse, known, i, i + width, down)
                slope -= weight * _sign(d)
            if y > 0:
                d, weight = _step(height, width, channels, picture, inverse, known, i - width, i, down)
                slope += weight * _sign(d)
            m = mean[0, 0]
            to_inverse = slope / m - total[0, 0] / (m * m * count[0, 0])
            grad_depth[i, 0] = grad_depth[i, 0] - seed[0, 0] * to_inverse * inverse[i] * inverse[i]


@ti.kernel
def inconsistency(rows: ti.i32, one: A2, other: A2, valid: A2, value: A2, weight: A2):
    """|a - b| / (a + b), counted where valid and both depths are known."""
    for row in range(rows):
        value[row, 0], weight[row, 0] = 0.0, 0.0
        a, b = one[row, 0], other[row, 0]
        if valid[row, 0] > 0.0 and a > 0.0 and b > 0.0:
            value[row, 0], weight[row, 0] = ti.abs(a - b) / (a + b), 1.0


@ti.kernel
def inconsistency_adjoint(rows: ti.i32, one: A2, other: A2, weight: A2, grad: A2, grad_one: A2):
    """To the first depth; with both exchanged, to the second."""
    for row in range(rows):
        if weight[row, 0] > 0.0:
            a, b = one[row, 0], other[row, 0]
            grad_one[row, 0] = grad_one[row, 0] + grad[row, 0] * _sign(a - b) * 2.0 * b / ((a + b) * (a + b))


@ti.kernel
def both_known(rows: ti.i32, one: A2, other: A2, mask: A2):
    for row in range(rows):
        mask[row, 0] = 1.0 if one[row, 0] > 0.0 and other[row, 0] > 0.0 else 0.0
