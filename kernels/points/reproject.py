"""Reprojection: pixels with a depth to points, on into other views, and bilinear samples of their pictures; adjoints.

Where pixels land is screen [views * pixels, 4], as kernels/raster/project.py makes it: column * w, row * w, w, depth.
Pictures are [views * height * width, channels] with pixel centres at +0.5.
"""

import taichi as ti

from ..accumulate import TASK, add, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

SLACK = 1e-3  # pixels that rounding may carry a landing over the outermost centres; the sample then goes on straight


@ti.kernel
def lift(pixels: ti.i32, origins: A2, directions: A2, cosines: A2, depth: A2, points: A2):
    """Points on rays at `depth` [pixels, 1] along the viewing axis."""
    for i in range(pixels):
        distance = depth[i, 0] / cosines[i, 0]
        for k in ti.static(range(3)):
            points[i, k] = origins[i, k] + distance * directions[i, k]


@ti.kernel
def lift_adjoint(
    pixels: ti.i32, directions: A2, cosines: A2, depth: A2, grad_points: A2, grad_origins: A2, grad_directions: A2,
    grad_cosines: A2,
):  # fmt: skip
    """To the rays."""
    for i in range(pixels):
        distance = depth[i, 0] / cosines[i, 0]
        to_distance = 0.0
        for k in ti.static(range(3)):
            g = grad_points[i, k]
            grad_origins[i, k] = grad_origins[i, k] + g
            grad_directions[i, k] = grad_directions[i, k] + distance * g
            to_distance += g * directions[i, k]
        grad_cosines[i, 0] = grad_cosines[i, 0] - to_distance * distance / cosines[i, 0]


@ti.kernel
def lift_depth_adjoint(pixels: ti.i32, directions: A2, cosines: A2, grad_points: A2, grad_depth: A2):
    for i in range(pixels):
        grad_depth[i, 0] = grad_depth[i, 0] + load3(grad_points, i).dot(load3(directions, i)) / cosines[i, 0]


@ti.kernel
def land(
    views: ti.i32, pixels: ti.i32, height: ti.i32, width: ti.i32, depth: A2, table: A2, screen: A2, valid: A2
):  # fmt: skip
    """valid: 1 where a pixel has a depth and lands between the outermost pixel centres, beyond the near plane."""
    for view, i in ti.ndrange(views, pixels):
        row = view * pixels + i
        w, seen = screen[row, 2], 0.0
        if depth[i, 0] > 0.0 and w > 0.0 and screen[row, 3] >= table[view, 1]:
            x, y = screen[row, 0] / w - 0.5, screen[row, 1] / w - 0.5
            if x >= -SLACK and x <= width - 1 + SLACK and y >= -SLACK and y <= height - 1 + SLACK:
                seen = 1.0
        valid[row, 0] = seen


@ti.func
def corner(screen: ti.template(), row, view, height, width):
    """Row of the texel to the upper left of a landing, and the landing's place (right, down) from its centre."""
    x, y = screen[row, 0] / screen[row, 2] - 0.5, screen[row, 1] / screen[row, 2] - 0.5
    left = ti.min(ti.max(ti.cast(ti.floor(x), ti.i32), 0), width - 2)
    top = ti.min(ti.max(ti.cast(ti.floor(y), ti.i32), 0), height - 2)
    return (view * height + top) * width + left, x - left, y - top


@ti.func
def mixed(pictures: ti.template(), first, width, right, down, c):
    upper = (1.0 - right) * pictures[first, c] + right * pictures[first + 1, c]
    lower = (1.0 - right) * pictures[first + width, c] + right * pictures[first + width + 1, c]
    return (1.0 - down) * upper + down * lower


@ti.kernel
def sample(
    views: ti.i32, pixels: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, screen: A2, valid: A2,
    pictures: A2, out: A2,
):  # fmt: skip
    """out [views * pixels, channels]: 0 where not valid."""
    for view, i in ti.ndrange(views, pixels):
        row = view * pixels + i
        if valid[row, 0] > 0.0:
            first, right, down = corner(screen, row, view, height, width)
            for c in range(channels):
                out[row, c] = mixed(pictures, first, width, right, down, c)
        else:
            for c in range(channels):
                out[row, c] = 0.0


@ti.kernel
def sample_screen_adjoint(
    views: ti.i32, pixels: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, screen: A2, valid: A2,
    pictures: A2, grad_out: A2, grad_screen: A2,
):  # fmt: skip
    """The slope of the bilinear picture, times how a landing moves."""
    for view, i in ti.ndrange(views, pixels):
        row = view * pixels + i
        if valid[row, 0] > 0.0:
            first, right, down = corner(screen, row, view, height, width)
            to_x, to_y = 0.0, 0.0
            for c in range(channels):
                a, b = pictures[first, c], pictures[first + 1, c]
                d, e = pictures[first + width, c], pictures[first + width + 1, c]
                to_x += grad_out[row, c] * ((1.0 - down) * (b - a) + down * (e - d))
                to_y += grad_out[row, c] * ((1.0 - right) * (d - a) + right * (e - b))
            w = screen[row, 2]
            to_w = -(to_x * screen[row, 0] + to_y * screen[row, 1]) / (w * w)
            grad_screen[row, 0] = grad_screen[row, 0] + to_x / w
            grad_screen[row, 1] = grad_screen[row, 1] + to_y / w
            grad_screen[row, 2] = grad_screen[row, 2] + to_w


@ti.func
def spread(
    row, view, height, width, channels: ti.template(), screen: ti.template(), grad_out: ti.template(), slot,
    part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """Adds to the four texels of one sample."""
    first, right, down = corner(screen, row, view, height, width)
    for k in ti.static(range(4)):
        weight = (right if k % 2 else 1.0 - right) * (down if k // 2 else 1.0 - down)
        texel = first + k % 2 + k // 2 * width
        for c in ti.static(range(channels)):
            add(part, (slot + texel) * channels + c, weight * grad_out[row, c], atomic)


@ti.kernel
def sample_picture_adjoint(
    chunks: ti.i32, views: ti.i32, pixels: ti.i32, height: ti.i32, width: ti.i32, channels: ti.template(), screen: A2,
    valid: A2, grad_out: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """part [chunks * views * height * width * channels] += gradient of the pictures."""
    if ti.static(atomic):
        for row in range(views * pixels):
            if valid[row, 0] > 0.0:
                spread(row, row // pixels, height, width, channels, screen, grad_out, 0, part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            slot = p * views * height * width
            for row in range(p * views * pixels // chunks, (p + 1) * views * pixels // chunks):
                if valid[row, 0] > 0.0:
                    spread(row, row // pixels, height, width, channels, screen, grad_out, slot, part, False)


@ti.kernel
def visible(
    views: ti.i32, pixels: ti.i32, height: ti.i32, width: ti.i32, limit: float, screen: A2, valid: A2, depths: A2,
    mask: A2,
):  # fmt: skip
    """mask: 1 where all four depths around a valid landing are known and its own is at most `limit` times their mix."""
    for view, i in ti.ndrange(views, pixels):
        row, seen = view * pixels + i, 0.0
        if valid[row, 0] > 0.0:
            first, right, down = corner(screen, row, view, height, width)
            known = True
            for k in ti.static(range(4)):
                known = known and depths[first + k % 2 + k // 2 * width, 0] > 0.0
            if known and screen[row, 3] <= limit * mixed(depths, first, width, right, down, 0):
                seen = 1.0
        mask[row, 0] = seen


@ti.kernel
def depth_of(rows: ti.i32, screen: A2, out: A2):
    for row in range(rows):
        out[row, 0] = screen[row, 3]


@ti.kernel
def depth_of_adjoint(rows: ti.i32, grad_out: A2, grad_screen: A2):
    for row in range(rows):
        grad_screen[row, 3] = grad_screen[row, 3] + grad_out[row, 0]
