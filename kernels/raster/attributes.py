"""Vertex attributes at the pixels of a tensor of kernels/raster/clip.py, and their slopes; with the adjoint.

slot [C] is the place of a channel among those whose slopes are asked for, -1 of the others. slopes_out [pixels, 2 * K]
is dA/dX, dA/dY of each of them in turn. `stride`: attribute rows of an image, 0 where all images share them.
"""

import taichi as ti

from ..accumulate import TASK, add
from .clip import seen
from .gather import corner_rows

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def interpolate(
    pixels: ti.i32, per_image: ti.i32, faces: ti.i32, stride: ti.i32, channels: ti.i32, triangles: A2, slot: A1,
    rast: A2, slopes: A2, attribute: A2, out: A2, slopes_out: A2,
):  # fmt: skip
    """Zero where a pixel is empty."""
    for p in range(pixels):
        f = seen(rast, p, faces)
        ids = ti.Vector([0, 0, 0])
        if f >= 0:
            ids = corner_rows(triangles, f, p // per_image * stride)
        for c in range(channels):
            s = slot[c]
            value, dx, dy = 0.0, 0.0, 0.0
            if f >= 0:
                last = attribute[ids[2], c]
                first, second = attribute[ids[0], c] - last, attribute[ids[1], c] - last
                value = last + rast[p, 0] * first + rast[p, 1] * second
                if s >= 0:
                    dx = slopes[p, 0] * first + slopes[p, 2] * second
                    dy = slopes[p, 1] * first + slopes[p, 3] * second
            out[p, c] = value
            if s >= 0:
                slopes_out[p, 2 * s] = dx
                slopes_out[p, 2 * s + 1] = dy


@ti.func
def adjoint_channel(
    p, c, offset, per_image, faces, stride, channels, triangles: ti.template(), slot: ti.template(),
    rast: ti.template(), slopes: ti.template(), attribute: ti.template(), grad_out: ti.template(),
    grad_slopes_out: ti.template(), to_rast, to_slopes, to_attribute, grad_rast: ti.template(),
    grad_slopes: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    f = seen(rast, p, faces)
    if f >= 0:
        ids = corner_rows(triangles, f, p // per_image * stride)
        g, s = grad_out[p, c], slot[c]
        gx, gy = 0.0, 0.0
        if s >= 0:
            gx, gy = grad_slopes_out[p, 2 * s], grad_slopes_out[p, 2 * s + 1]
        last = attribute[ids[2], c]
        for k in ti.static(range(2)):
            edge = attribute[ids[k], c] - last
            if to_rast == 1:
                add_cell(grad_rast, p, k, g * edge, atomic)
            if to_slopes == 1 and s >= 0:
                add_cell(grad_slopes, p, 2 * k, gx * edge, atomic)
                add_cell(grad_slopes, p, 2 * k + 1, gy * edge, atomic)
        if to_attribute == 1:
            first = g * rast[p, 0]
            second = g * rast[p, 1]
            if s >= 0:
                first += gx * slopes[p, 0] + gy * slopes[p, 1]
                second += gx * slopes[p, 2] + gy * slopes[p, 3]
            add(part, (offset + ids[0]) * channels + c, first, atomic)
            add(part, (offset + ids[1]) * channels + c, second, atomic)
            add(part, (offset + ids[2]) * channels + c, g - first - second, atomic)


@ti.func
def add_cell(target: ti.template(), row, column, value, atomic: ti.template()):
    if ti.static(atomic):
        ti.atomic_add(target[row, column], value)
    else:
        target[row, column] = target[row, column] + value


@ti.kernel
def interpolate_adjoint(
    chunks: ti.i32, rows: ti.i32, pixels: ti.i32, per_image: ti.i32, faces: ti.i32, stride: ti.i32, channels: ti.i32,
    triangles: A2, slot: A1, rast: A2, slopes: A2, attribute: A2, grad_out: A2, grad_slopes_out: A2, to_rast: ti.i32,
    to_slopes: ti.i32, to_attribute: ti.i32, grad_rast: A2, grad_slopes: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """Adds to grad_rast and grad_slopes [pixels, 4], and into part [chunks * rows * channels], each where asked for."""
    if ti.static(atomic):
        for p, c in ti.ndrange(pixels, channels):
            adjoint_channel(
                p, c, 0, per_image, faces, stride, channels, triangles, slot, rast, slopes, attribute, grad_out,
                grad_slopes_out, to_rast, to_slopes, to_attribute, grad_rast, grad_slopes, part, True,
            )  # fmt: skip
    else:
        for ticket in range(chunks * TASK):
            q = ticket // TASK
            if ticket % TASK != 0:
                continue
            for p in range(q * pixels // chunks, (q + 1) * pixels // chunks):
                for c in range(channels):
                    adjoint_channel(
                        p, c, q * rows, per_image, faces, stride, channels, triangles, slot, rast, slopes, attribute,
                        grad_out, grad_slopes_out, to_rast, to_slopes, to_attribute, grad_rast, grad_slopes, part,
                        False,
                    )  # fmt: skip
