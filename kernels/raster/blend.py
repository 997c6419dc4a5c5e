"""Entries into pixels where each pixel sees one surface; with adjoints."""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def values_to_pixels(pixels: ti.i32, channels: ti.template(), pixel_entry: A1, values: A2, background: A2, out: A2):
    """out [pixels, C] = the entry's values, or background [1, C] where nothing was hit."""
    for p in range(pixels):
        e = pixel_entry[p]
        for c in ti.static(range(channels)):
            if e >= 0:
                out[p, c] = values[e, c]
            else:
                out[p, c] = background[0, c]


@ti.kernel
def values_to_pixels_adjoint(pixels: ti.i32, channels: ti.template(), pixel_entry: A1, grad_out: A2, grad_values: A2):
    for p in range(pixels):
        e = pixel_entry[p]
        if e >= 0:
            for c in ti.static(range(channels)):
                grad_values[e, c] = grad_values[e, c] + grad_out[p, c]


@ti.kernel
def coverage(pixels: ti.i32, pixel_entry: A1, alpha: A2):
    """alpha [pixels, 1] = 1 where something was hit, else 0."""
    for p in range(pixels):
        alpha[p, 0] = 0.0
        if pixel_entry[p] >= 0:
            alpha[p, 0] = 1.0
