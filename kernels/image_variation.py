"""Total variation of pictures, and its adjoint, which gathers at its own pixel."""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def _steps(image: ti.template(), pixel, column, row, width, height, c):
    """Differences [2] to the next pixel along the row and down the column, 0 beyond the border."""
    out = ti.Vector([0.0, 0.0])
    if column + 1 < width:
        out.x = image[pixel + 1, c] - image[pixel, c]
    if row + 1 < height:
        out.y = image[pixel + width, c] - image[pixel, c]
    return out


@ti.kernel
def total_variation(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, soft: float, image: A2, sums: A1
):  # fmt: skip
    """sums [pixels] of sqrt(|steps|^2 + soft) over channels."""
    for pixel in range(views * height * width):
        line = pixel // width
        column, row, energy = pixel - line * width, line % height, 0.0
        for c in range(channels):
            energy += ti.sqrt(_steps(image, pixel, column, row, width, height, c).norm_sqr() + soft)
        sums[pixel] = energy


@ti.kernel
def total_variation_adjoint(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, soft: float, image: A2, grad: A2, grad_image: A2
):  # fmt: skip
    """To the image, of the mean over all numbers."""
    for pixel in range(views * height * width):
        line = pixel // width
        column, row = pixel - line * width, line % height
        share = grad[0, 0] / (views * height * width * channels)
        for c in range(channels):
            here = _steps(image, pixel, column, row, width, height, c)
            total = -(here.x + here.y) / ti.sqrt(here.norm_sqr() + soft)
            if column > 0:
                left = _steps(image, pixel - 1, column - 1, row, width, height, c)
                total += left.x / ti.sqrt(left.norm_sqr() + soft)
            if row > 0:
                above = _steps(image, pixel - width, column, row - 1, width, height, c)
                total += above.y / ti.sqrt(above.norm_sqr() + soft)
            grad_image[pixel, c] = grad_image[pixel, c] + share * total
