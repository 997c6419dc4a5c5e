"""Scatter and reduce: one private accumulator per chunk of work, summed in a fixed order, or atomics on a GPU.

A CPU adds plain floats several times faster than atomically, and a fixed order makes gradients equal bit for bit.
"""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

# Taichi gives a CPU thread at least 512 neighbouring turns of a parallel loop, whatever block_dim says. A loop of few
# long turns therefore runs this many turns for each, of which one works: chunks one a task, rows and tiles eight.
TASK, SPREAD = 512, 64


@ti.func
def turns(size):
    """Turns of a loop over the chunks of kernels/reduce.py, for each chunk; one where a chunk is a single row."""
    return SPREAD if size > 1 else 1


@ti.func
def add(part: ti.template(), slot, value, atomic: ti.template()):
    """part[slot] += value; atomically where threads share an accumulator.

    Accumulators are flat, [chunks * rows * channels], since a store into an array of more axes reads its shape anew.
    """
    if ti.static(atomic):
        ti.atomic_add(part[slot], value)
    else:
        part[slot] = part[slot] + value


@ti.func
def add3(part: ti.template(), row, value, atomic: ti.template()):
    """part[3 * row:3 * row + 3] += value."""
    for channel in ti.static(range(3)):
        add(part, 3 * row + channel, value[channel], atomic)


@ti.func
def load3(array: ti.template(), row):
    return ti.Vector([array[row, 0], array[row, 1], array[row, 2]])


@ti.kernel
def collect(chunks: ti.i32, rows: ti.i32, channels: ti.i32, part: A1, target: A2):
    """target[row, channel] += the sum of part [chunks * rows * channels] over chunks."""
    for row in range(rows):
        for channel in range(channels):
            total = part[row * channels + channel]
            for p in range(1, chunks):
                total += part[(p * rows + row) * channels + channel]
            target[row, channel] = target[row, channel] + total


@ti.kernel
def add_rows(rows: ti.i32, channels: ti.i32, source: A2, source_start: ti.i32, target: A2, target_start: ti.i32):
    """target[target_start + row] += source[source_start + row]."""
    for row in range(rows):
        for channel in range(channels):
            old = target[target_start + row, channel]
            target[target_start + row, channel] = old + source[source_start + row, channel]


@ti.kernel
def copy_rows(rows: ti.i32, channels: ti.i32, source: A2, target: A2, target_start: ti.i32):
    """target[target_start + row] = source[row]."""
    for row in range(rows):
        for channel in range(channels):
            target[target_start + row, channel] = source[row, channel]


@ti.kernel
def total(
    rows: ti.i32, terms: A1, factor: float, chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, partial: A1,
    out: A2,
):  # fmt: skip
    """out [1, 1] = factor * the sum of terms [rows], shared out as in kernels/reduce.py; partial [chunks]."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        p = ticket // spread
        if ticket % spread != 0:
            continue
        part = 0.0
        for k in range(size):
            row = p * across + k * along
            if row < rows:
                part += terms[row]
        partial[p] = part
    for _ in range(1):
        whole = 0.0
        for p in range(chunks):
            whole += partial[p]
        out[0, 0] = factor * whole


@ti.func
def outer(g, x, w):
    """g (x, w)^T: what the gradient g of a matrix times (x, w) adds to that of the matrix."""
    return g.outer_product(ti.Vector([x[0], x[1], x[2], w]))
