"""Making the tables of media (medium.py)."""

import taichi as ti

from ..accumulate import turns
from ..volume.march import density_of
from .medium import LEAST, MOST, SHIFT

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def flatten(rows: ti.i32, channels: ti.i32, source: A2, target: A2, start: ti.i32):
    """target[start + row * channels + channel, 0] = source[row, channel]."""
    for row in range(rows):
        for channel in range(channels):
            target[start + row * channels + channel, 0] = source[row, channel]


@ti.kernel
def flatten_adjoint(rows: ti.i32, channels: ti.i32, target_grad: A2, start: ti.i32, source_grad: A2):
    for row in range(rows):
        for channel in range(channels):
            old = source_grad[row, channel]
            source_grad[row, channel] = old + target_grad[start + row * channels + channel, 0]


@ti.kernel
def bounds(
    medium: ti.i32, numbers: ti.i32, first: ti.i32, values: A2, chunks: ti.i32, size: ti.i32, partial: A1,
    activation: ti.template(), media: A2,
):  # fmt: skip
    """LEAST and MOST of a medium, whose densities are values[first ..]; partial [2 chunks], chunks of `size` numbers.

    Activations grow with the number and the interpolation stays between its corners, so the cells' bounds do.
    """
    for ticket in range(chunks * turns(size)):
        p = ticket // turns(size)
        if ticket % turns(size) != 0:
            continue
        low, high = values[first + p * size, 0], values[first + p * size, 0]
        for k in range(p * size, ti.min((p + 1) * size, numbers)):
            low = ti.min(low, values[first + k, 0])
            high = ti.max(high, values[first + k, 0])
        partial[2 * p] = low
        partial[2 * p + 1] = high
    for _ in range(1):
        low, high = partial[0], partial[1]
        for p in range(chunks):
            low = ti.min(low, partial[2 * p])
            high = ti.max(high, partial[2 * p + 1])
        media[medium, LEAST] = ti.max(density_of(low, media[medium, SHIFT], activation), 0.0)
        media[medium, MOST] = ti.max(density_of(high, media[medium, SHIFT], activation), 0.0)
