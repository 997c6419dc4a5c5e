"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment"), forward and adjoint.

Gaussian window of 11 pixels, sigma 1.5, separable; only windows that lie inside the image count. Images are
[views * height * width, channels]. With m1 = E[x], m2 = E[xx], m3 = E[xy] under the window, the forward keeps dS/dm1,
dS/dm2, dS/dm3 of every window; the adjoint spreads them back through the transposed window.
"""

import math

import taichi as ti

from .accumulate import turns

A2 = ti.types.ndarray(ndim=2)

WINDOW = 11
REACH = WINDOW // 2
_RAW = [math.exp(-((k - REACH) ** 2) / (2 * 1.5**2)) for k in range(WINDOW)]
GAUSSIAN = [weight / sum(_RAW) for weight in _RAW]
C1, C2 = 0.01**2, 0.03**2


@ti.kernel
def blur_rows(image: A2, target: A2, lines: ti.i32, width: ti.i32, channels: ti.i32, blurred: A2):
    """Windowed sums of x, y, xx, yy, xy along each line; blurred is [lines * (width - 10), channels * 5]."""
    for line, left in ti.ndrange(lines, width - 2 * REACH):
        for c in range(channels):
            x1, y1, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0
            for k in ti.static(range(WINDOW)):
                x, y = image[line * width + left + k, c], target[line * width + left + k, c]
                weight = GAUSSIAN[k]
                x1 += weight * x
                y1 += weight * y
                xx += weight * x * x
                yy += weight * y * y
                xy += weight * x * y
            row = line * (width - 2 * REACH) + left
            blurred[row, c * 5] = x1
            blurred[row, c * 5 + 1] = y1
            blurred[row, c * 5 + 2] = xx
            blurred[row, c * 5 + 3] = yy
            blurred[row, c * 5 + 4] = xy


@ti.func
def _similarity(x1, y1, xx, yy, xy):
    """S of one window, and its derivatives by E[x], E[xx], E[xy]."""
    a1, a2 = 2.0 * x1 * y1 + C1, 2.0 * (xy - x1 * y1) + C2
    b1, b2 = x1 * x1 + y1 * y1 + C1, xx - x1 * x1 + yy - y1 * y1 + C2
    s = a1 * a2 / (b1 * b2)
    by_x1 = 2.0 * y1 * (a2 - a1) / (b1 * b2) + 2.0 * x1 * s * (1.0 / b2 - 1.0 / b1)
    return s, by_x1, -s / b2, 2.0 * a1 / (b1 * b2)


@ti.kernel
def similarity(
    blurred: A2,
    mask: A2,  # [views * height * width, 1], read at window centres when masked
    masked: ti.i32,
    views: ti.i32,
    height: ti.i32,
    width: ti.i32,
    channels: ti.i32,
    windows: A2,  # [views * (height - 10) * (width - 10), channels * 4]: S and its derivatives, times the mask
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    partial: A2,  # [chunks, 2]
    weight: A2,  # [1, 1]
    loss: A2,  # [1, 1]
):
    """loss = (1 - mean S) / 2; 0 where the mask is empty."""
    for v, top, left in ti.ndrange(views, height - 2 * REACH, width - 2 * REACH):
        w = 1.0
        if masked != 0:
            w = mask[(v * height + top + REACH) * width + left + REACH, 0]
        for c in range(channels):
            x1, y1, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0
            for k in ti.static(range(WINDOW)):
                row = (v * height + top + k) * (width - 2 * REACH) + left
                weight_k = GAUSSIAN[k]
                x1 += weight_k * blurred[row, c * 5]
                y1 += weight_k * blurred[row, c * 5 + 1]
                xx += weight_k * blurred[row, c * 5 + 2]
                yy += weight_k * blurred[row, c * 5 + 3]
                xy += weight_k * blurred[row, c * 5 + 4]
            s, by_x1, by_xx, by_xy = _similarity(x1, y1, xx, yy, xy)
            window = (v * (height - 2 * REACH) + top) * (width - 2 * REACH) + left
            windows[window, c * 4] = w * s
            windows[window, c * 4 + 1] = w * by_x1
            windows[window, c * 4 + 2] = w * by_xx
            windows[window, c * 4 + 3] = w * by_xy
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        total, count = 0.0, 0.0
        plane = (height - 2 * REACH) * (width - 2 * REACH)
        for k in range(size):
            i = p * across + k * along
            if i < views * plane:
                w = 1.0
                if masked != 0:
                    v, top, left = i // plane, i % plane // (width - 2 * REACH), i % (width - 2 * REACH)
                    w = mask[(v * height + top + REACH) * width + left + REACH, 0]
                for c in range(channels):
                    total += windows[i, c * 4]
                count += w * channels
        partial[p, 0] = total
        partial[p, 1] = count
    for _ in range(1):
        total, count = 0.0, 0.0
        for p in range(chunks):
            total += partial[p, 0]
            count += partial[p, 1]
        weight[0, 0] = count
        loss[0, 0] = 0.0
        if count > 0.0:
            loss[0, 0] = 0.5 * (1.0 - total / count)


@ti.kernel
def similarity_adjoint(
    image: A2,
    target: A2,
    windows: A2,
    views: ti.i32,
    height: ti.i32,
    width: ti.i32,
    channels: ti.i32,
    weight: A2,
    seed: A2,
    blurred: A2,  # overwritten: the forward's sums are no longer needed
    image_grad: A2,
):
    # Columns: from windows up and down to lines
    for v, y, left in ti.ndrange(views, height, width - 2 * REACH):
        row = (v * height + y) * (width - 2 * REACH) + left
        for c in range(channels):
            by_x1, by_xx, by_xy = 0.0, 0.0, 0.0
            for k in ti.static(range(WINDOW)):
                top = y - k
                if top >= 0 and top < height - 2 * REACH:
                    window = (v * (height - 2 * REACH) + top) * (width - 2 * REACH) + left
                    by_x1 += GAUSSIAN[k] * windows[window, c * 4 + 1]
                    by_xx += GAUSSIAN[k] * windows[window, c * 4 + 2]
                    by_xy += GAUSSIAN[k] * windows[window, c * 4 + 3]
            blurred[row, c * 5] = by_x1
            blurred[row, c * 5 + 1] = by_xx
            blurred[row, c * 5 + 2] = by_xy
    # Rows: from lines left and right to pixels
    for line, x in ti.ndrange(views * height, width):
        scale = 0.0
        if weight[0, 0] > 0.0:
            scale = -0.5 * seed[0, 0] / weight[0, 0]
        for c in range(channels):
            by_x1, by_xx, by_xy = 0.0, 0.0, 0.0
            for k in ti.static(range(WINDOW)):
                left = x - k
                if left >= 0 and left < width - 2 * REACH:
                    row = line * (width - 2 * REACH) + left
                    by_x1 += GAUSSIAN[k] * blurred[row, c * 5]
                    by_xx += GAUSSIAN[k] * blurred[row, c * 5 + 1]
                    by_xy += GAUSSIAN[k] * blurred[row, c * 5 + 2]
            pixel = line * width + x
            slope = by_x1 + 2.0 * image[pixel, c] * by_xx + target[pixel, c] * by_xy
            image_grad[pixel, c] = image_grad[pixel, c] + scale * slope
