"""Screened Poisson equation of pictures by cosine transforms: each axis is multiplied by its matrix of cosines.

Pictures are [views * height * width, channels]. With differences to the next pixel and none across the border, the
cosines of DCT-II diagonalise the Laplacian, with eigenvalues 2 - 2 cos(pi j / N) along each axis.
"""

import math

import taichi as ti

A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def right_side(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, screen: float, image: A2, across: A2, down: A2,
    out: A2,
):  # fmt: skip
    """out = screen * image + the transposed differences of (across, down)."""
    for view, y, x in ti.ndrange(views, height, width):
        row = (view * height + y) * width + x
        for c in range(channels):
            total = screen * image[row, c]
            if x + 1 < width:
                total -= across[row, c]
            if x > 0:
                total += across[row - 1, c]
            if y + 1 < height:
                total -= down[row, c]
            if y > 0:
                total += down[row - width, c]
            out[row, c] = total


@ti.kernel
def transform(
    outer: ti.i32, size: ti.i32, inner: ti.i32, channels: ti.i32, matrix: A2, transposed: ti.template(), source: A2,
    out: A2,
):  # fmt: skip
    """Multiply the middle axis of [outer, size, inner] by a matrix [size, size], or by its transpose."""
    for a, j, b in ti.ndrange(outer, size, inner):
        for c in range(channels):
            total = 0.0
            for k in range(size):
                row = (a * size + k) * inner + b
                if ti.static(transposed):
                    total += matrix[k, j] * source[row, c]
                else:
                    total += matrix[j, k] * source[row, c]
            out[(a * size + j) * inner + b, c] = total


@ti.kernel
def divide_eigenvalues(views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, screen: float, spectrum: A2):
    for view, j, i in ti.ndrange(views, height, width):
        row = (view * height + j) * width + i
        # 2 - 2 cos(2 t) = 4 sin(t)^2, which loses no digits near 0
        up = ti.sin(0.5 * math.pi * ti.cast(j, float) / ti.cast(height, float))
        right = ti.sin(0.5 * math.pi * ti.cast(i, float) / ti.cast(width, float))
        value = screen + 4.0 * (up * up + right * right)
        for c in range(channels):
            spectrum[row, c] = spectrum[row, c] / value


@ti.kernel
def add_screened(rows: ti.i32, channels: ti.i32, screen: float, source: A2, target: A2):
    """target += screen * source."""
    for row in range(rows):
        for c in range(channels):
            target[row, c] = target[row, c] + screen * source[row, c]


@ti.kernel
def add_differences(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, down: ti.i32, source: A2, target: A2
):
    """target += the differences of source to the next pixel, to the right or (`down` 1) below."""
    for view, y, x in ti.ndrange(views, height, width):
        row = (view * height + y) * width + x
        step = ti.select(down == 1, width, 1)
        if (down == 0 and x + 1 < width) or (down == 1 and y + 1 < height):
            for c in range(channels):
                target[row, c] = target[row, c] + source[row + step, c] - source[row, c]
