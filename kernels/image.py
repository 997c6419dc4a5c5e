"""Losses between two images, entry by entry or by overlap, and the 2x2 pyramid; images are [rows, channels].

Every forward sums in a fixed order (kernels/reduce.py); every adjoint gathers, so nothing is atomic.
"""

import taichi as ti

from .accumulate import turns

A2 = ti.types.ndarray(ndim=2)

MSE, L1, CHARBONNIER, RELATIVE_L2 = range(4)
CHARBONNIER_FLOOR = 1e-6
RELATIVE_FLOOR = 1e-2
EMPTY_UNION = 1e-10


@ti.func
def _term(kind: ti.template(), image, target):
    """Value of one entry and its derivative by `image`."""
    d = image - target
    value, slope = 0.0 * d, 0.0 * d
    if ti.static(kind == MSE):
        value, slope = d * d, 2.0 * d
    elif ti.static(kind == L1):
        value = ti.abs(d)
        if d > 0.0:
            slope = 1.0
        if d < 0.0:
            slope = -1.0
    elif ti.static(kind == CHARBONNIER):
        value = ti.sqrt(d * d + CHARBONNIER_FLOOR)
        slope = d / value
    else:
        scale = 1.0 / (target * target + RELATIVE_FLOOR)
        value, slope = d * d * scale, 2.0 * d * scale
    return value, slope


@ti.kernel
def pixel_loss(
    kind: ti.template(),
    image: A2,
    target: A2,
    mask: A2,  # [rows, 1], read when masked
    masked: ti.i32,
    rows: ti.i32,
    channels: ti.i32,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    partial: A2,  # [chunks, 2]
    weight: A2,  # [1, 1] sum of mask * channels
    loss: A2,  # [1, 1]
):
    """loss = sum(mask * term) / sum(mask) over all entries; 0 where the mask is empty."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        total, count = 0.0, 0.0
        for k in range(size):
            i = p * across + k * along
            if i < rows:
                w = 1.0
                if masked != 0:
                    w = mask[i, 0]
                row = 0.0
                for c in range(channels):
                    value, _slope = _term(kind, image[i, c], target[i, c])
                    row += value
                total += w * row
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
            loss[0, 0] = total / count


@ti.func
def _scale(mask: ti.template(), masked, weight: ti.template(), seed: ti.template(), row):
    """The gradient of the loss by one row's term."""
    scale = 0.0
    if weight[0, 0] > 0.0:
        scale = seed[0, 0] / weight[0, 0]
    if masked != 0:
        scale *= mask[row, 0]
    return scale


@ti.kernel
def pixel_loss_adjoint(
    kind: ti.template(),
    image: A2,
    target: A2,
    mask: A2,
    masked: ti.i32,
    rows: ti.i32,
    channels: ti.i32,
    weight: A2,
    seed: A2,  # [1, 1] dL/dloss
    image_grad: A2,
):
    for i in range(rows):
        scale = _scale(mask, masked, weight, seed, i)
        for c in range(channels):
            _value, slope = _term(kind, image[i, c], target[i, c])
            image_grad[i, c] = image_grad[i, c] + scale * slope


@ti.kernel
def halves_adjoint(
    halves: A2,  # [2 * rows, channels] two estimates of the image
    target: A2,
    mask: A2,
    masked: ti.i32,
    rows: ti.i32,
    channels: ti.i32,
    weight: A2,
    seed: A2,
    halves_grad: A2,
):
    """As `pixel_loss_adjoint` of MSE: each estimate's gradient is what the other's difference to the target says."""
    for i in range(rows):
        scale = _scale(mask, masked, weight, seed, i)
        for c in range(channels):
            for half in range(2):
                one, other = half * rows + i, (1 - half) * rows + i
                halves_grad[one, c] = halves_grad[one, c] + scale * (halves[other, c] - target[i, c])


@ti.kernel
def overlap_loss(
    image: A2,  # [views * pixels, 1]
    target: A2,
    mask: A2,
    masked: ti.i32,
    views: ti.i32,
    pixels: ti.i32,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    partial: A2,  # [views * chunks, 2]
    totals: A2,  # [views, 2] intersection and union of each view
    loss: A2,
):
    """loss = mean over views of 1 - sum(ab) / sum(a + b - ab); a view that is empty in both counts 0."""
    spread = turns(size)
    for ticket in range(views * chunks * spread):
        q = ticket // spread
        if ticket % spread != 0:
            continue
        view, p = q // chunks, q % chunks
        both, either = 0.0, 0.0
        for k in range(size):
            i = p * across + k * along
            if i < pixels:
                row = view * pixels + i
                w = 1.0
                if masked != 0:
                    w = mask[row, 0]
                a, b = image[row, 0], target[row, 0]
                both += w * a * b
                either += w * (a + b - a * b)
        partial[q, 0] = both
        partial[q, 1] = either
    for _ in range(1):
        total = 0.0
        for view in range(views):
            both, either = 0.0, 0.0
            for p in range(chunks):
                both += partial[view * chunks + p, 0]
                either += partial[view * chunks + p, 1]
            totals[view, 0] = both
            totals[view, 1] = either
            if either > EMPTY_UNION:
                total += 1.0 - both / either
        loss[0, 0] = total / views


@ti.kernel
def overlap_loss_adjoint(
    target: A2,
    mask: A2,
    masked: ti.i32,
    views: ti.i32,
    pixels: ti.i32,
    totals: A2,
    seed: A2,
    image_grad: A2,
):
    for row in range(views * pixels):
        view = row // pixels
        both, either = totals[view, 0], totals[view, 1]
        if either > EMPTY_UNION:
            w = seed[0, 0] / views
            if masked != 0:
                w *= mask[row, 0]
            b = target[row, 0]
            slope = (both * (1.0 - b) - b * either) / (either * either)
            image_grad[row, 0] = image_grad[row, 0] + w * slope


@ti.kernel
def halve(fine: A2, views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, coarse: A2):
    """Mean of each 2x2 block; an odd last row or column makes blocks of the pixels that are there."""
    low, wide = (height + 1) // 2, (width + 1) // 2
    for v, y, x in ti.ndrange(views, low, wide):
        rows, columns = ti.min(2, height - 2 * y), ti.min(2, width - 2 * x)
        for c in range(channels):
            total = 0.0
            for dy in range(rows):
                for dx in range(columns):
                    total += fine[(v * height + 2 * y + dy) * width + 2 * x + dx, c]
            coarse[(v * low + y) * wide + x, c] = total / (rows * columns)


@ti.kernel
def halve_adjoint(coarse_grad: A2, views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, fine_grad: A2):
    low, wide = (height + 1) // 2, (width + 1) // 2
    for v, y, x in ti.ndrange(views, height, width):
        rows, columns = ti.min(2, height - y // 2 * 2), ti.min(2, width - x // 2 * 2)
        share = 1.0 / (rows * columns)
        for c in range(channels):
            row = (v * height + y) * width + x
            fine_grad[row, c] = fine_grad[row, c] + share * coarse_grad[(v * low + y // 2) * wide + x // 2, c]


@ti.kernel
def add_scaled(source: A2, factor: float, target: A2):
    """target [1, 1] += factor * source [1, 1]."""
    for _ in range(1):
        target[0, 0] = target[0, 0] + factor * source[0, 0]
