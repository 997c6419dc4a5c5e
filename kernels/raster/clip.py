"""Rasterizing clip-space positions into pixel tensors (Laine et al. 2020), with adjoints; and further layers of depth.

rast [pixels, 4] is (u, v, z/w, triangle + 1), 0 where empty; u and v are the weights of corners 0 and 1. slopes
[pixels, 4] is du/dX, du/dY, dv/dX, dv/dY per pixel, X along columns, Y down the rows. `stride` is the number of vertex
rows of an image, 0 where all images share them.
"""

import taichi as ti

from ..accumulate import TASK, add
from .find import BEHIND_ALL, NOTHING, edge_terms, edge_value
from .gather import corner, corner_rows, planes, safe_sum
from .tiles import TILE, nearness

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def to_screen(rows: ti.i32, width: ti.i32, height: ti.i32, positions: A2, screen: A2, bad: A1):
    """screen = column * w, row * w, w, (z + w) / 2; bad [1]: 1 + a row that cannot be clipped, or 0."""
    for _ in range(1):
        bad[0] = 0
    for r in range(rows):
        z, w = positions[r, 2], positions[r, 3]
        screen[r, 0] = 0.5 * width * (positions[r, 0] + w)
        screen[r, 1] = 0.5 * height * (w - positions[r, 1])
        screen[r, 2] = w
        screen[r, 3] = 0.5 * (z + w)
        if w <= 0.0 and z + w >= 0.0:
            bad[0] = r + 1


@ti.kernel
def to_screen_adjoint(rows: ti.i32, width: ti.i32, height: ti.i32, grad_screen: A2, grad_positions: A2):
    """Nothing comes from depth."""
    for r in range(rows):
        gx, gy = 0.5 * width * grad_screen[r, 0], 0.5 * height * grad_screen[r, 1]
        grad_positions[r, 0] = grad_positions[r, 0] + gx
        grad_positions[r, 1] = grad_positions[r, 1] - gy
        grad_positions[r, 3] = grad_positions[r, 3] + gx + gy + grad_screen[r, 2]


@ti.kernel
def store(pixels: ti.i32, first_pixel: ti.i32, first_face: ti.i32, face: A1, nearest: A1, rast: A2):
    """z/w and triangle + 1 of images that were drawn together, from their first pixel on."""
    for k in range(pixels):
        p = first_pixel + k
        rast[p, 2] = 0.0
        rast[p, 3] = 0.0
        if face[k] != NOTHING:
            rast[p, 2] = -2.0 * nearest[k] - 1.0
            rast[p, 3] = face[k] + first_face + 1


@ti.kernel
def load(pixels: ti.i32, rast: A2, face: A1, nearest: A1):
    """The way back from `store`, for kernels/raster/antialias.py."""
    for p in range(pixels):
        face[p] = NOTHING
        nearest[p] = BEHIND_ALL
        if rast[p, 3] > 0.5:
            face[p] = ti.cast(rast[p, 3] + 0.5, ti.i32) - 1
            nearest[p] = -0.5 * (rast[p, 2] + 1.0)


@ti.func
def seen(rast: ti.template(), p, faces):
    """The triangle of a pixel, -1 where there is none."""
    f = ti.cast(rast[p, 3] + 0.5, ti.i32) - 1
    return f if f < faces else -1


@ti.func
def pixel_corners(p, f, stride, width, height, triangles: ti.template(), screen: ti.template()):
    """Pixel centre, rows of the three vertices and the vertices relative to the centre."""
    x, y = p % width + 0.5, p // width % height + 0.5
    ids = corner_rows(triangles, f, p // (width * height) * stride)
    return x, y, ids, corner(screen, ids[0], x, y), corner(screen, ids[1], x, y), corner(screen, ids[2], x, y)


@ti.kernel
def weights(
    pixels: ti.i32, faces: ti.i32, stride: ti.i32, width: ti.i32, height: ti.i32, triangles: A2, screen: A2, rast: A2,
    slopes: A2,
):  # fmt: skip
    """u, v and their slopes of every pixel whose triangle `store` wrote."""
    for p in range(pixels):
        f = seen(rast, p, faces)
        for c in ti.static(range(2)):
            rast[p, c] = 0.0
            slopes[p, 2 * c] = 0.0
            slopes[p, 2 * c + 1] = 0.0
        if f >= 0:
            _x, _y, _ids, c0, c1, c2 = pixel_corners(p, f, stride, width, height, triangles, screen)
            a0, a1, a2 = planes(c0, c1, c2)
            a, slope = ti.Matrix.rows([a0, a1, a2]), a0 + a1 + a2
            total = safe_sum(slope[2])
            for c in ti.static(range(2)):
                value = a[c, 2] / total
                rast[p, c] = value
                slopes[p, 2 * c] = (a[c, 0] - value * slope[0]) / total
                slopes[p, 2 * c + 1] = (a[c, 1] - value * slope[1]) / total


@ti.func
def row_of(matrix, k: ti.template()):
    return ti.Vector([matrix[k, 0], matrix[k, 1], matrix[k, 2]])


@ti.func
def weights_adjoint_pixel(
    p, offset, faces, stride, width, height, triangles: ti.template(), screen: ti.template(), rast: ti.template(),
    grad_rast: ti.template(), grad_slopes: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    f = seen(rast, p, faces)
    if f >= 0:
        x, y, ids, c0, c1, c2 = pixel_corners(p, f, stride, width, height, triangles, screen)
        a0, a1, a2 = planes(c0, c1, c2)
        a, slope = ti.Matrix.rows([a0, a1, a2]), a0 + a1 + a2
        total = safe_sum(slope[2])
        g = ti.Matrix.zero(float, 3, 3)
        for c in ti.static(range(2)):
            value = a[c, 2] / total
            gx, gy = grad_slopes[p, 2 * c], grad_slopes[p, 2 * c + 1]
            dx, dy = (a[c, 0] - value * slope[0]) / total, (a[c, 1] - value * slope[1]) / total
            g_value = grad_rast[p, c] - (gx * slope[0] + gy * slope[1]) / total
            g_sum = -(gx * dx + gy * dy + g_value * value) / total
            g_slope = ti.Vector([-gx * value / total, -gy * value / total, g_sum])
            for k, i in ti.static(ti.ndrange(3, 3)):
                g[k, i] += g_slope[i]
            g[c, 0] += gx / total
            g[c, 1] += gy / total
            g[c, 2] += g_value / total
        g0, g1, g2 = row_of(g, 0), row_of(g, 1), row_of(g, 2)
        # a_i = c_j x c_k: dL/dc_j = c_k x g_i and dL/dc_k = g_i x c_j.
        h = ti.Matrix.rows([c1.cross(g2) - c2.cross(g1), c2.cross(g0) - c0.cross(g2), c0.cross(g1) - c1.cross(g0)])
        for k in ti.static(range(3)):
            slot = (offset + ids[k]) * 4
            add(part, slot, h[k, 0], atomic)
            add(part, slot + 1, h[k, 1], atomic)
            add(part, slot + 2, h[k, 2] - x * h[k, 0] - y * h[k, 1], atomic)


@ti.kernel
def weights_adjoint(
    chunks: ti.i32, rows: ti.i32, pixels: ti.i32, faces: ti.i32, stride: ti.i32, width: ti.i32, height: ti.i32,
    triangles: A2, screen: A2, rast: A2, grad_rast: A2, grad_slopes: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """Scatters into part [chunks * rows * 4]."""
    if ti.static(atomic):
        for p in range(pixels):
            weights_adjoint_pixel(
                p, 0, faces, stride, width, height, triangles, screen, rast, grad_rast, grad_slopes, part, True
            )
    else:
        for ticket in range(chunks * TASK):
            q = ticket // TASK
            if ticket % TASK != 0:
                continue
            for p in range(q * pixels // chunks, (q + 1) * pixels // chunks):
                weights_adjoint_pixel(
                    p, q * rows, faces, stride, width, height, triangles, screen, rast, grad_rast, grad_slopes, part,
                    False,
                )  # fmt: skip


@ti.kernel
def restart(pixels: ti.i32, nearest: A1, face: A1):
    """Before the first layer."""
    for p in range(pixels):
        nearest[p] = -BEHIND_ALL
        face[p] = -1


@ti.kernel
def next_layer(
    views: ti.i32, faces: ti.i32, width: ti.i32, height: ti.i32, cameras: A2, polygon: A1, box: A1, tile_start: A1,
    tile_faces: A1, nearest: A1, face: A1,
):  # fmt: skip
    """Depth peeling: nearest and face become those of the next triangle behind, equally near ones by their id."""
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for view, row, column in ti.ndrange(views, height, width):
        pixel = (view * height + row) * width + column
        x, y = column + 0.5, row + 0.5
        front, front_face = nearest[pixel], face[pixel]
        best, best_face = BEHIND_ALL, NOTHING
        far_key = nearness(cameras[view, 2], cameras[view, 2], ti.cast(cameras[view, 0], ti.i32))
        t = (view * tiles_y + row // TILE) * tiles_x + column // TILE
        for k in range(tile_start[t], tile_start[t + 1]):
            f = tile_faces[k]
            i = view * faces + f
            orientation = 1.0 if box[5 * i] < 0 else -1.0
            slope_x, slope_y = polygon[11 * i + 9], polygon[11 * i + 10]
            key = polygon[11 * i + 8] + slope_y * (y - polygon[11 * i + 1]) + slope_x * (x - polygon[11 * i])
            behind = key < front or (key == front and f > front_face)
            if behind and key >= far_key and (key > best or (key == best and f < best_face)):
                for half in range(ti.abs(box[5 * i]) - 2):
                    e0 = edge_terms(polygon, i, 0, half + 1, orientation)
                    e1 = edge_terms(polygon, i, half + 1, half + 2, orientation)
                    e2 = edge_terms(polygon, i, half + 2, 0, orientation)
                    if ti.min(edge_value(e0, x, y), edge_value(e1, x, y), edge_value(e2, x, y)) >= 0.0:
                        best, best_face = key, f
        nearest[pixel] = best
        face[pixel] = best_face
