"""Stable radix sort of 32-bit keys with 32-bit payloads, and prefix sums. No atomics, so one result on every backend.

The host goes through the digits from the lowest (tidr/renderers/sorting.py). A chunk is `size` neighbouring entries; it
counts its keys by digit in `table` [chunks * digits], prefix sums over digits and then chunks turn the counts into
places, and the chunk moves its entries there in order (Merrill and Grimshaw 2011, "High performance and scalable radix
sorting").
"""

import taichi as ti

from .accumulate import TASK

A1 = ti.types.ndarray(ndim=1)

LARGEST = (1 << 30) - 1  # sums stop here, so that no number of entries overflows


@ti.func
def float_key(x):
    """A key (bits of an unsigned number) that grows with a real number, rounded to 32 bits."""
    bits = ti.bit_cast(ti.cast(x, ti.f32), ti.i32)
    return bits ^ ((bits >> 31) | ti.cast(-2147483648, ti.i32))


@ti.kernel
def histogram(
    chunks: ti.i32, size: ti.i32, count: ti.i32, shift: ti.i32, digits: ti.i32, keys: A1, table: A1,
    block: ti.template(),
):  # fmt: skip
    """table [chunks * digits] = how many keys of each chunk have each digit, the bits of the key from `shift` on."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for digit in range(digits):
            table[p * digits + digit] = 0
        for k in range(p * size, ti.min((p + 1) * size, count)):
            slot = p * digits + ((keys[k] >> shift) & (digits - 1))
            table[slot] = table[slot] + 1


@ti.kernel
def scatter(
    chunks: ti.i32, size: ti.i32, count: ti.i32, shift: ti.i32, digits: ti.i32, keys: A1, values: A1, table: A1,
    sorted_keys: A1, sorted_values: A1, first: ti.template(), block: ti.template(),
):  # fmt: skip
    """Moves entries to the places in `table`, which advance; in the `first` pass values are 0 .. count - 1."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for k in range(p * size, ti.min((p + 1) * size, count)):
            key = keys[k]
            slot = p * digits + ((key >> shift) & (digits - 1))
            place = table[slot]
            table[slot] = place + 1
            sorted_keys[place] = key
            if ti.static(first):
                sorted_values[place] = k
            else:
                sorted_values[place] = values[k]


@ti.kernel
def prefix_sum(
    chunks: ti.i32, size: ti.i32, rows: ti.i32, columns: ti.i32, values: A1, partial: A1, block: ti.template()
):
    """In place: each of values [rows * columns] becomes the sum of those before it, column after column.

    values [rows * columns + 1] has one entry more, which becomes the sum of all. partial [chunks] is scratch; a chunk
    is `size` neighbours in that order. With one row this is the plain exclusive prefix sum. Sums end at LARGEST.
    """
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        begin = p * size
        column = begin // rows
        row, total = begin - column * rows, 0
        for _ in range(begin, ti.min(begin + size, rows * columns)):
            total = ti.min(total + values[row * columns + column], LARGEST)
            row += 1
            if row == rows:
                row = 0
                column += 1
        partial[p] = total
    for _ in range(1):
        total = 0
        for p in range(chunks):
            part = partial[p]
            partial[p] = total
            total = ti.min(total + part, LARGEST)
        values[rows * columns] = total
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        begin = p * size
        column = begin // rows
        row, total = begin - column * rows, partial[p]
        for _ in range(begin, ti.min(begin + size, rows * columns)):
            slot = row * columns + column
            part = values[slot]
            values[slot] = total
            total = ti.min(total + part, LARGEST)
            row += 1
            if row == rows:
                row = 0
                column += 1


@ti.kernel
def segment_starts(count: ti.i32, segments: ti.i32, keys: A1, start: A1):
    """start [segments + 1]: where keys [count], which are sorted and below `segments`, first reach each number."""
    for segment in range(segments + 1):
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if keys[middle] < segment:
                low = middle + 1
            else:
                high = middle
        start[segment] = low
