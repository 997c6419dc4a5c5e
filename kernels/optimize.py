"""One launch per parameter and step: moments, update, constraint.

A parameter is [rows, channels]; its entries are numbered row by row. Work is shared out in chunks as in
kernels/reduce.py.
"""

import taichi as ti

from .accumulate import turns

I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)

FREE_ROWS, UNIT_ROWS, SIMPLEX_ROWS = range(3)


@ti.kernel
def mark_non_finite(
    grad: A2,
    count: ti.i32,
    channels: ti.i32,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    slot: ti.i32,
    marks: I1,
):
    """marks[slot] = 1 where an entry of `grad` is infinite or not a number."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        found = 0
        for k in range(size):
            i = p * across + k * along
            if i < count:
                g = grad[i // channels, i % channels]
                if ti.math.isnan(g) or ti.math.isinf(g):
                    found = 1
        if found != 0:
            marks[slot] = 1


@ti.func
def _bounded(x, limited, low, high):
    kept = x
    if limited != 0:
        kept = ti.min(ti.max(x, low), high)
    return kept


@ti.func
def _settle_row(value: ti.template(), r, channels, mode):
    """Move row r to the nearest point of the unit sphere or of the simplex (Michelot 1986)."""
    if mode == UNIT_ROWS:
        total = 0.0 * value[r, 0]
        for c in range(channels):
            total += value[r, c] * value[r, c]
        for c in range(channels):
            if total > 0.0:
                value[r, c] = value[r, c] / ti.sqrt(total)
            else:
                value[r, c] = 1.0 if c == 0 else 0.0
    if mode == SIMPLEX_ROWS:
        floor, kept, before = value[r, 0], channels, channels + 1
        for c in range(channels):
            floor = ti.min(floor, value[r, c] - 1.0)
        while kept < before and kept > 0:
            before = kept
            total = -1.0 + 0.0 * floor
            for c in range(channels):
                if value[r, c] > floor:
                    total += value[r, c]
            floor, kept = total / before, 0
            for c in range(channels):
                if value[r, c] > floor:
                    kept += 1
        for c in range(channels):
            value[r, c] = ti.max(value[r, c] - floor, 0.0)


@ti.kernel
def sgd(
    value: A2,
    grad: A2,
    velocity: A2,
    rows: ti.i32,
    channels: ti.i32,
    lr: float,
    momentum: float,
    nesterov: ti.i32,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    limited: ti.i32,
    low: float,
    high: float,
    mode: ti.i32,
):
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        for k in range(size):
            i = p * across + k * along
            if i < rows * channels:
                r, c = i // channels, i % channels
                g = grad[r, c]
                moved = momentum * velocity[r, c] + g
                velocity[r, c] = moved
                if nesterov != 0:
                    moved = g + momentum * moved
                value[r, c] = _bounded(value[r, c] - lr * moved, limited, low, high)
    for r in range(rows * ti.min(mode, 1)):
        _settle_row(value, r, channels, mode)


@ti.kernel
def adam(
    value: A2,
    grad: A2,
    mean: A2,
    square: A2,
    rows: ti.i32,
    channels: ti.i32,
    lr: float,
    beta1: float,
    beta2: float,
    correct1: float,
    correct2: float,
    eps: float,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    limited: ti.i32,
    low: float,
    high: float,
    mode: ti.i32,
):
    """correct1 and correct2 are 1 / (1 - beta^t)."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        for k in range(size):
            i = p * across + k * along
            if i < rows * channels:
                r, c = i // channels, i % channels
                g = grad[r, c]
                m = beta1 * mean[r, c] + (1.0 - beta1) * g
                v = beta2 * square[r, c] + (1.0 - beta2) * g * g
                mean[r, c] = m
                square[r, c] = v
                step = lr * (m * correct1) / (ti.sqrt(v * correct2) + eps)
                value[r, c] = _bounded(value[r, c] - step, limited, low, high)
    for r in range(rows * ti.min(mode, 1)):
        _settle_row(value, r, channels, mode)


@ti.kernel
def uniform_adam(
    value: A2,
    grad: A2,
    mean: A2,
    square: A2,
    rows: ti.i32,
    channels: ti.i32,
    lr: float,
    beta1: float,
    beta2: float,
    correct1: float,
    correct2: float,
    eps: float,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    limited: ti.i32,
    low: float,
    high: float,
    mode: ti.i32,
    peaks: A2,  # [chunks + 1, 1] scratch; the last is the largest of all
):
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        peak = 0.0 * lr
        for k in range(size):
            i = p * across + k * along
            if i < rows * channels:
                r, c = i // channels, i % channels
                g = grad[r, c]
                v = beta2 * square[r, c] + (1.0 - beta2) * g * g
                mean[r, c] = beta1 * mean[r, c] + (1.0 - beta1) * g
                square[r, c] = v
                peak = ti.max(peak, v)
        peaks[p, 0] = peak
    for _ in range(1):
        peak = 0.0 * lr
        for p in range(chunks):
            peak = ti.max(peak, peaks[p, 0])
        peaks[chunks, 0] = peak
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        # One length for all entries: the only change to Adam
        scale = lr * correct1 / (ti.sqrt(peaks[chunks, 0] * correct2) + eps)
        for k in range(size):
            i = p * across + k * along
            if i < rows * channels:
                r, c = i // channels, i % channels
                value[r, c] = _bounded(value[r, c] - scale * mean[r, c], limited, low, high)
    for r in range(rows * ti.min(mode, 1)):
        _settle_row(value, r, channels, mode)


@ti.kernel
def vector_adam(
    value: A2,
    grad: A2,
    mean: A2,
    square: A2,
    rows: ti.i32,
    channels: ti.i32,
    lr: float,
    beta1: float,
    beta2: float,
    correct1: float,
    correct2: float,
    eps: float,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
    limited: ti.i32,
    low: float,
    high: float,
    mode: ti.i32,
):
    """`square` is [rows, 1]: one length for each row; the chunks share out rows."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        for k in range(size):
            r = p * across + k * along
            if r < rows:
                length = 0.0 * lr
                for c in range(channels):
                    length += grad[r, c] * grad[r, c]
                v = beta2 * square[r, 0] + (1.0 - beta2) * length
                square[r, 0] = v
                scale = lr * correct1 / (ti.sqrt(v * correct2) + eps)
                for c in range(channels):
                    m = beta1 * mean[r, c] + (1.0 - beta1) * grad[r, c]
                    mean[r, c] = m
                    value[r, c] = _bounded(value[r, c] - scale * m, limited, low, high)
    for r in range(rows * ti.min(mode, 1)):
        _settle_row(value, r, channels, mode)


@ti.kernel
def settle(
    value: A2,
    rows: ti.i32,
    channels: ti.i32,
    limited: ti.i32,
    low: float,
    high: float,
    mode: ti.i32,
):
    """Apply a constraint alone."""
    for r in range(rows):
        for c in range(channels):
            value[r, c] = _bounded(value[r, c], limited, low, high)
        _settle_row(value, r, channels, mode)


@ti.kernel
def hold(rows: ti.i32, channel: ti.i32, value: A2, grad: A2, kept: A2):
    """Before a step: keep a channel, whose gradient shall have no part in it."""
    for r in range(rows):
        kept[r, channel] = value[r, channel]
        grad[r, channel] = 0.0


@ti.kernel
def put_back(rows: ti.i32, channel: ti.i32, kept: A2, value: A2):
    """After a step: the channel as it was."""
    for r in range(rows):
        value[r, channel] = kept[r, channel]
