"""The soft silhouette of DIB-R (Chen et al. 2019): a pixel that no triangle covers has

    alpha = 1 - product over the first triangles near it of (1 - exp(-d^2 / sigma)),

d the distance to a triangle. Near are those whose box, grown on every side, holds the pixel's centre; of more than
`limit` the ones of the lowest numbers count. Where a triangle covers the pixel alpha is 1 and has no gradient.
"""

import taichi as ti

from ..accumulate import TASK, add
from .find import NOTHING
from .soft import closest_edge, insert
from .tiles import TILE

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def find(
    views: ti.i32, vertices: ti.i32, faces: ti.i32, width: ti.i32, height: ti.i32, limit: ti.i32, cameras: A2,
    triangles: A2, screen: A2, box: A1, tile_start: A1, tile_faces: A1, covered: A1, count: A1, near: A1, key: A1,
):  # fmt: skip
    """count [pixels] and, per pixel that is not covered, up to `limit` triangles by number: near [pixels * limit].

    Triangles wholly beyond the far plane do not count. key [pixels * limit] is scratch.
    """
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for view, row, column in ti.ndrange(views, height, width):
        pixel = (view * height + row) * width + column
        found = 0
        if covered[pixel] == NOTHING:
            t = (view * tiles_y + row // TILE) * tiles_x + column // TILE
            for k in range(tile_start[t], tile_start[t + 1]):
                f = tile_faces[k]
                i = view * faces + f
                across = box[5 * i + 1] <= column and column <= box[5 * i + 2]
                if across and box[5 * i + 3] <= row and row <= box[5 * i + 4]:
                    depth = cameras[view, 2]
                    for j in ti.static(range(3)):
                        depth = ti.min(depth, screen[view * vertices + triangles[f, j], 3])
                    if depth < cameras[view, 2]:
                        found = insert(near, key, pixel * limit, found, limit, f, 0.0 * depth)
        count[pixel] = found


@ti.func
def corners(p, f, pixels_per_view, width, vertices, triangles: ti.template(), screen: ti.template()):
    """Vertex rows and screen corners of triangle f relative to pixel p's centre, and that centre."""
    view = p // pixels_per_view
    cx, cy = p % width + 0.5, p % pixels_per_view // width + 0.5
    ids = ti.Vector([triangles[f, k] + view * vertices for k in ti.static(range(3))])
    x = ti.Vector([screen[ids[k], 0] / screen[ids[k], 2] - cx for k in ti.static(range(3))])
    y = ti.Vector([screen[ids[k], 1] / screen[ids[k], 2] - cy for k in ti.static(range(3))])
    return ids, x, y, cx, cy


@ti.func
def free_share(
    p, skipped, limit, pixels_per_view, width, vertices, sharpness, triangles: ti.template(), screen: ti.template(),
    count: ti.template(), near: ti.template(),
):  # fmt: skip
    """Product of 1 - exp(-d^2 sharpness) over the triangles near pixel p but the one in place `skipped`."""
    free = 0.0 * sharpness + 1.0
    for k in range(count[p]):
        if k != skipped:
            _, x, y, _, _ = corners(p, near[p * limit + k], pixels_per_view, width, vertices, triangles, screen)
            squared, _, _ = closest_edge(x, y)
            free *= 1.0 - ti.exp(-squared * sharpness)
    return free


@ti.kernel
def alpha(
    pixels: ti.i32, limit: ti.i32, pixels_per_view: ti.i32, width: ti.i32, vertices: ti.i32, sharpness: float,
    triangles: A2, screen: A2, covered: A1, count: A1, near: A1, out: A2,
):  # fmt: skip
    """out [pixels, 1]; sharpness = 1 / sigma in pixels."""
    for p in range(pixels):
        out[p, 0] = 1.0
        if covered[p] == NOTHING:
            out[p, 0] = 1.0 - free_share(
                p, -1, limit, pixels_per_view, width, vertices, sharpness, triangles, screen, count, near
            )


@ti.func
def alpha_adjoint_entry(
    p, k, offset, limit, pixels_per_view, width, vertices, sharpness, triangles: ti.template(), screen: ti.template(),
    count: ti.template(), near: ti.template(), grad_out: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    others = free_share(p, k, limit, pixels_per_view, width, vertices, sharpness, triangles, screen, count, near)
    ids, x, y, cx, cy = corners(p, near[p * limit + k], pixels_per_view, width, vertices, triangles, screen)
    squared, t, edge = closest_edge(x, y)
    g = -2.0 * grad_out[p, 0] * others * sharpness * ti.exp(-squared * sharpness)
    gx, gy = ti.Vector.zero(float, 3), ti.Vector.zero(float, 3)
    for a in ti.static(range(3)):
        c = ti.static((a + 1) % 3)
        if edge == a:
            qx, qy = x[a] + t * (x[c] - x[a]), y[a] + t * (y[c] - y[a])
            gx[a], gy[a] = g * (1.0 - t) * qx, g * (1.0 - t) * qy
            gx[c], gy[c] = g * t * qx, g * t * qy
    for a in ti.static(range(3)):
        w, slot = screen[ids[a], 2], (offset + ids[a]) * 4
        add(part, slot, gx[a] / w, atomic)
        add(part, slot + 1, gy[a] / w, atomic)
        add(part, slot + 2, -((x[a] + cx) * gx[a] + (y[a] + cy) * gy[a]) / w, atomic)


@ti.kernel
def alpha_adjoint(
    chunks: ti.i32, rows: ti.i32, pixels: ti.i32, limit: ti.i32, pixels_per_view: ti.i32, width: ti.i32,
    vertices: ti.i32, sharpness: float, triangles: A2, screen: A2, count: A1, near: A1, grad_out: A2, part: A1,
    atomic: ti.template(),
):  # fmt: skip
    """Scatters into part [chunks * rows * 4], rows = views * V; `near` is empty where a triangle covers the pixel."""
    if ti.static(atomic):
        for p, k in ti.ndrange(pixels, limit):
            if k < count[p] and grad_out[p, 0] != 0.0:
                alpha_adjoint_entry(
                    p, k, 0, limit, pixels_per_view, width, vertices, sharpness, triangles, screen, count, near,
                    grad_out, part, True,
                )  # fmt: skip
    else:
        for ticket in range(chunks * TASK):
            chunk = ticket // TASK
            if ticket % TASK != 0:
                continue
            for p in range(chunk * pixels // chunks, (chunk + 1) * pixels // chunks):
                if grad_out[p, 0] != 0.0:
                    for k in range(count[p]):
                        alpha_adjoint_entry(
                            p, k, chunk * rows, limit, pixels_per_view, width, vertices, sharpness, triangles, screen,
                            count, near, grad_out, part, False,
                        )  # fmt: skip
