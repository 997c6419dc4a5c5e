"""Pictures of a set into a batch, whole or by random pixels, on the device."""

import taichi as ti

from .rng import uniform

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
SHARES = 1 << 24  # what the shares of all views add up to; random numbers have as many values
VIEW, ROW, COLUMN = 1001, 1002, 1003  # dimensions of the random numbers, apart from those of renderers


@ti.kernel
def copy_block(rows: ti.i32, channels: ti.i32, source: A2, source_start: ti.i32, target: A2, target_start: ti.i32):
    """target[target_start + row] = source[source_start + row]; both are [pixels of all pictures, channels]."""
    for row in range(rows):
        for channel in range(channels):
            target[target_start + row, channel] = source[source_start + row, channel]


@ti.kernel
def add_background(rows: ti.i32, red: float, green: float, blue: float, alpha: A2, rgb: A2):
    """rgb [rows, 3] += (1 - alpha [rows, 1]) * colour."""
    for row in range(rows):
        clear = 1.0 - alpha[row, 0]
        rgb[row, 0] += clear * red
        rgb[row, 1] += clear * green
        rgb[row, 2] += clear * blue


@ti.kernel
def choose_pixels(
    seed: ti.i32, step: ti.i32, first: ti.i32, count: ti.i32, views: ti.i32, shares: A1, extents: A1, pixels: A1
):  # fmt: skip
    """Random pixels [count * 3] (view, row, column), every pixel of every view equally likely; they count from `first`.

    shares [views]: running sum of the views' parts of SHARES. extents [views * 2]: height and width.
    """
    for i in range(count):
        number = first + i
        wanted = ti.cast(uniform(seed, step, number, VIEW) * SHARES, ti.i32)
        low, high = 0, views - 1
        while low < high:
            middle = (low + high) // 2
            if wanted < shares[middle]:
                high = middle
            else:
                low = middle + 1
        height, width = extents[low * 2], extents[low * 2 + 1]
        pixels[i * 3] = low
        pixels[i * 3 + 1] = ti.min(ti.cast(uniform(seed, step, number, ROW) * height, ti.i32), height - 1)
        pixels[i * 3 + 2] = ti.min(ti.cast(uniform(seed, step, number, COLUMN) * width, ti.i32), width - 1)


@ti.kernel
def gather_pixels(
    count: ti.i32, pixels: A1, starts: A1, extents: A1, from_rgb: A2, from_alpha: A2, rgb: A2, alpha: A2
):  # fmt: skip
    """rgb [count, 3] and alpha [count, 1] of chosen pixels; starts [views]: first pixel of each view."""
    for i in range(count):
        view = pixels[i * 3]
        row = starts[view] + pixels[i * 3 + 1] * extents[view * 2 + 1] + pixels[i * 3 + 2]
        for channel in range(3):
            rgb[i, channel] = from_rgb[row, channel]
        alpha[i, 0] = from_alpha[row, 0]
