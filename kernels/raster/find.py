"""Which triangle does each pixel see: exact nearest depth of the triangles in its tile. No gradient.

Triangles come as convex screen polygons of 3 or 4 corners. A pixel is covered when its centre lies on the inner side of
every edge or on it; edges are evaluated from their lexicographically lower end, so that the two triangles of a shared
edge agree to the last bit and leave no crack. Of several covering triangles the nearest wins, of equally near ones the
one with the lower id, whatever the order in which threads filled the tiles.
"""

import taichi as ti

from ..accumulate import SPREAD
from .tiles import TILE, nearness

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

NOTHING = 2147483647
BEHIND_ALL = -1e30


@ti.func
def edge_terms(polygon: ti.template(), i, a, b, orientation):
    """Start and direction of edge a-b for `inside`, from its lexicographically lower end."""
    ax, ay = polygon[11 * i + 2 * a], polygon[11 * i + 2 * a + 1]
    bx, by = polygon[11 * i + 2 * b], polygon[11 * i + 2 * b + 1]
    sign = orientation
    if bx < ax or (bx == ax and by < ay):
        ax, ay, bx, by = bx, by, ax, ay
        sign = -sign
    return ti.Vector([ax, ay, (bx - ax) * sign, (by - ay) * sign])


@ti.func
def edge_value(edge, x, y):
    return edge[2] * (y - edge[1]) - edge[3] * (x - edge[0])


@ti.func
def highest_key(polygon: ti.template(), i, x0, x1, y0, y1):
    """No pixel centre of the box has triangle i at a greater nearness, whatever the order of rounding."""
    x, y = x0 + 0.5, y0 + 0.5
    if polygon[11 * i + 9] > 0.0:
        x = x1 + 0.5
    if polygon[11 * i + 10] > 0.0:
        y = y1 + 0.5
    key, across = polygon[11 * i + 8], polygon[11 * i + 9] * (x - polygon[11 * i])
    down = polygon[11 * i + 10] * (y - polygon[11 * i + 1])
    return key + across + down + 1e-5 * (ti.abs(key) + ti.abs(across) + ti.abs(down))


@ti.func
def cover_tile(
    polygon: ti.template(),
    box: ti.template(),
    i,
    f,
    x0,
    x1,
    y0,
    y1,
    pixel0,
    width,
    far_key,
    nearest: ti.template(),
    face: ti.template(),
):
    """Draw triangle i into the pixels [y0, y1] x [x0, x1] of the depth and id buffers."""
    orientation = -1.0
    if box[5 * i] < 0:
        orientation = 1.0
    origin_x, origin_y = polygon[11 * i], polygon[11 * i + 1]
    key0, slope_x, slope_y = polygon[11 * i + 8], polygon[11 * i + 9], polygon[11 * i + 10]
    # A clipped triangle of four corners is two, (0, 1, 2) and (0, 2, 3).
    for half in range(ti.abs(box[5 * i]) - 2):
        e0 = edge_terms(polygon, i, 0, half + 1, orientation)
        e1 = edge_terms(polygon, i, half + 1, half + 2, orientation)
        e2 = edge_terms(polygon, i, half + 2, 0, orientation)
        for row in range(y0, y1 + 1):
            y = row + 0.5
            for column in range(x0, x1 + 1):
                x = column + 0.5
                pixel = pixel0 + row * width + column
                key = key0 + slope_y * (y - origin_y) + slope_x * (x - origin_x)
                low = ti.min(edge_value(e0, x, y), edge_value(e1, x, y), edge_value(e2, x, y))
                old, old_face = nearest[pixel], face[pixel]
                # Without a branch: whether a pixel is covered is as hard to predict as a coin.
                wins = (low >= 0.0) & (key >= far_key) & ((key > old) | ((key == old) & (f < old_face)))
                nearest[pixel] = ti.select(wins, key, old)
                face[pixel] = ti.select(wins, f, old_face)


@ti.kernel
def cover(
    views: ti.i32,
    faces: ti.i32,
    width: ti.i32,
    height: ti.i32,
    cameras: A2,
    polygon: A1,
    box: A1,
    tile_start: A1,
    tile_faces: A1,
    nearest: A1,
    face: A1,
):
    """One thread a tile: nearest and face, both [views * H * W] (NOTHING where empty)."""
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for ticket in range(views * tiles_x * tiles_y * SPREAD):
        t = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        view, ty, tx = t // (tiles_x * tiles_y), t // tiles_x % tiles_y, t % tiles_x
        pixel0 = view * height * width
        left, right = tx * TILE, ti.min(tx * TILE + TILE, width) - 1
        top, bottom = ty * TILE, ti.min(ty * TILE + TILE, height) - 1
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                nearest[pixel0 + row * width + column] = BEHIND_ALL
                face[pixel0 + row * width + column] = NOTHING
        far_key = nearness(cameras[view, 2], cameras[view, 2], ti.cast(cameras[view, 0], ti.i32))
        # Those facing the camera first: the others then mostly lie behind all that the tile shows already.
        for turned in range(2):
            hidden = BEHIND_ALL
            if turned == 1:
                hidden = -BEHIND_ALL
                for row in range(top, bottom + 1):
                    for column in range(left, right + 1):
                        hidden = ti.min(hidden, nearest[pixel0 + row * width + column])
            for k in range(tile_start[t], tile_start[t + 1]):
                f = tile_faces[k]
                i = view * faces + f
                if (box[5 * i] < 0) == (turned == 1):
                    x0, x1 = ti.max(box[5 * i + 1], left), ti.min(box[5 * i + 2], right)
                    y0, y1 = ti.max(box[5 * i + 3], top), ti.min(box[5 * i + 4], bottom)
                    if highest_key(polygon, i, x0, x1, y0, y1) >= hidden:
                        cover_tile(polygon, box, i, f, x0, x1, y0, y1, pixel0, width, far_key, nearest, face)


@ti.kernel
def cover_by_pixel(
    views: ti.i32,
    faces: ti.i32,
    width: ti.i32,
    height: ti.i32,
    cameras: A2,
    polygon: A1,
    box: A1,
    tile_start: A1,
    tile_faces: A1,
    nearest: A1,
    face: A1,
):
    """`cover` with one thread a pixel, for GPUs."""
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for view, row, column in ti.ndrange(views, height, width):
        pixel0 = view * height * width
        nearest[pixel0 + row * width + column] = BEHIND_ALL
        face[pixel0 + row * width + column] = NOTHING
        far_key = nearness(cameras[view, 2], cameras[view, 2], ti.cast(cameras[view, 0], ti.i32))
        t = (view * tiles_y + row // TILE) * tiles_x + column // TILE
        for k in range(tile_start[t], tile_start[t + 1]):
            f = tile_faces[k]
            i = view * faces + f
            if (
                box[5 * i + 1] <= column
                and column <= box[5 * i + 2]
                and box[5 * i + 3] <= row
                and row <= box[5 * i + 4]
            ):
                cover_tile(polygon, box, i, f, column, column, row, row, pixel0, width, far_key, nearest, face)


@ti.kernel
def count_entries(rows: ti.i32, width: ti.i32, face: A1, row_start: A1):
    """row_start[row + 1] = covered pixels of the row."""
    for ticket in range(rows * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        count = 0
        for column in range(width):
            if face[row * width + column] != NOTHING:
                count += 1
        row_start[row + 1] = count
        if row == 0:
            row_start[0] = 0


@ti.kernel
def list_entries(
    views: ti.i32,
    width: ti.i32,
    height: ti.i32,
    face: A1,
    row_start: A1,
    place: A1,
    entry_face: A1,
    pixel_entry: A1,
):
    """One entry per covered pixel, in scan order: place [n * 3] (view, row, column) and triangle; and back."""
    for ticket in range(views * height * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        entry, view, line = row_start[row], row // height, row % height
        for column in range(width):
            pixel = row * width + column
            pixel_entry[pixel] = -1
            if face[pixel] != NOTHING:
                place[3 * entry], place[3 * entry + 1], place[3 * entry + 2] = view, line, column
                entry_face[entry] = face[pixel]
                pixel_entry[pixel] = entry
                entry += 1
