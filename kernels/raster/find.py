"""Which triangle does each pixel see: near-plane clipping, tiles, exact nearest depth. No gradient.

Triangles become convex screen polygons of 3 or 4 corners. A pixel is covered when its centre lies on the inner side of
every edge or on it; edges are evaluated from their lexicographically lower end, so that the two triangles of a shared
edge agree to the last bit and leave no crack. Of several covering triangles the nearest wins, of equally near ones the
one with the lower id, whatever the order in which threads filled the tiles.
"""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

TILE = 16
NOTHING = 2147483647
BEHIND_ALL = -1e30


@ti.func
def nearness(w, depth, perspective):
    """Grows towards the camera and is affine over the screen: 1/w, or -depth where parallel."""
    key = -depth
    if perspective == 1:
        key = 1.0 / w
    return key


@ti.func
def screen_corner(screen: ti.template(), a, b, near):
    """Where edge a-b meets the near plane, homogeneous; computed the same from either side."""
    lo, hi = ti.min(a, b), ti.max(a, b)
    p = ti.Vector([screen[lo, k] for k in ti.static(range(4))])
    q = ti.Vector([screen[hi, k] for k in ti.static(range(4))])
    return p + (q - p) * ((near - p[3]) / (q[3] - p[3]))


@ti.func
def clip_polygon(screen: ti.template(), ids, near):
    """The triangle's part beyond the near plane: corner count and up to 4 homogeneous corners (rows)."""
    corners = ti.Matrix.zero(float, 4, 4)
    count = 0
    for k in range(3):
        a, b = ids[k], ids[(k + 1) % 3]
        if screen[a, 3] >= near:
            for c in ti.static(range(4)):
                corners[count, c] = screen[a, c]
            count += 1
        if (screen[a, 3] >= near) != (screen[b, 3] >= near):
            cut = screen_corner(screen, a, b, near)
            for c in ti.static(range(4)):
                corners[count, c] = cut[c]
            count += 1
    return count, corners


@ti.kernel
def set_up(
    views: ti.i32,
    vertices: ti.i32,
    faces: ti.i32,
    width: ti.i32,
    height: ti.i32,
    margin: float,
    growth: float,
    whole: ti.i32,
    cull_back: ti.i32,
    triangles: A2,
    screen: A2,
    cameras: A2,
    polygon: A1,
    box: A1,
    tile_count: A1,
    count_tiles: ti.template(),
):
    """Screen polygon, depth plane and pixel box of every triangle in every view; clears and counts triangles per tile.

    cameras [views, 3] holds perspective (1 or 0), near, far. polygon [views * F * 11]: x, y of 4 corners, then the
    nearness at corner 0 and its slope along x and y. box [views * F * 5]: corner count (0: not drawn, negative: turned
    away), first and last column, first and last row, grown by `margin` pixels and `growth` of the triangle's extent.
    With whole = 1 triangles that cross the near plane are left out instead of clipped.
    """
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for t in range(views * tiles_x * tiles_y + 1):
        tile_count[t] = 0
    for i in range(views * faces):
        view, f = i // faces, i % faces
        base = view * vertices
        ids = ti.Vector([triangles[f, 0] + base, triangles[f, 1] + base, triangles[f, 2] + base])
        perspective = ti.cast(cameras[view, 0], ti.i32)
        near = cameras[view, 1]
        count = 0
        corners = ti.Matrix.zero(float, 4, 4)
        if screen[ids[0], 3] >= near and screen[ids[1], 3] >= near and screen[ids[2], 3] >= near:
            count = 3
            for k, c in ti.static(ti.ndrange(3, 4)):
                corners[k, c] = screen[ids[k], c]
        elif whole == 0 and (screen[ids[0], 3] >= near or screen[ids[1], 3] >= near or screen[ids[2], 3] >= near):
            count, corners = clip_polygon(screen, ids, near)
        box[5 * i + 0] = 0
        if count >= 3:
            if count == 3:
                for c in ti.static(range(4)):
                    corners[3, c] = corners[2, c]
            x = ti.Vector([corners[k, 0] / corners[k, 2] for k in ti.static(range(4))])
            y = ti.Vector([corners[k, 1] / corners[k, 2] for k in ti.static(range(4))])
            key = ti.Vector([nearness(corners[k, 2], corners[k, 3], perspective) for k in ti.static(range(4))])
            first = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
            second = (x[2] - x[0]) * (y[3] - y[0]) - (x[3] - x[0]) * (y[2] - y[0])
            area = first + second
            wide, high = margin + growth * (x.max() - x.min()), margin + growth * (y.max() - y.min())
            x0 = ti.max(ti.ceil(x.min() - wide - 0.5), 0.0)
            x1 = ti.min(ti.floor(x.max() + wide - 0.5), width - 1.0)
            y0 = ti.max(ti.ceil(y.min() - high - 0.5), 0.0)
            y1 = ti.min(ti.floor(y.max() + high - 0.5), height - 1.0)
            # Rows grow downwards, so a counter-clockwise front has negative area.
            if x0 <= x1 and y0 <= y1 and area != 0.0 and not (cull_back == 1 and area > 0.0):
                fan, signed = 1, first
                if ti.abs(second) > ti.abs(first):
                    fan, signed = 2, second
                dx1, dy1, dk1 = x[1] - x[0], y[1] - y[0], key[1] - key[0]
                dx2, dy2, dk2 = x[2] - x[0], y[2] - y[0], key[2] - key[0]
                if fan == 2:
                    dx1, dy1, dk1 = dx2, dy2, dk2
                    dx2, dy2, dk2 = x[3] - x[0], y[3] - y[0], key[3] - key[0]
                for k in ti.static(range(4)):
                    polygon[11 * i + 2 * k] = x[k]
                    polygon[11 * i + 2 * k + 1] = y[k]
                polygon[11 * i + 8] = key[0]
                polygon[11 * i + 9] = (dk1 * dy2 - dk2 * dy1) / signed
                polygon[11 * i + 10] = (dk2 * dx1 - dk1 * dx2) / signed
                box[5 * i + 0] = count
                if area > 0.0:
                    box[5 * i + 0] = -count
                box[5 * i + 1], box[5 * i + 2] = ti.cast(x0, ti.i32), ti.cast(x1, ti.i32)
                box[5 * i + 3], box[5 * i + 4] = ti.cast(y0, ti.i32), ti.cast(y1, ti.i32)
                if ti.static(count_tiles):
                    for ty in range(box[5 * i + 3] // TILE, box[5 * i + 4] // TILE + 1):
                        for tx in range(box[5 * i + 1] // TILE, box[5 * i + 2] // TILE + 1):
                            tile_count[(view * tiles_y + ty) * tiles_x + tx + 1] += 1


@ti.kernel
def scan(count: ti.i32, values: A1):
    """In place: values[k] becomes the sum of values[0..k]."""
    for _ in range(1):
        total = 0
        for k in range(count):
            total += values[k]
            values[k] = total


@ti.kernel
def fill_tiles(
    views: ti.i32, faces: ti.i32, width: ti.i32, height: ti.i32, box: A1, tile_start: A1, cursor: A1, tile_faces: A1
):
    """tile_faces[tile_start[t]:tile_start[t + 1]] = the triangles that may touch tile t, in any order."""
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for t in range(views * tiles_x * tiles_y):
        cursor[t] = tile_start[t]
    for i in range(views * faces):
        if box[5 * i + 0] != 0:
            view, f = i // faces, i % faces
            for ty in range(box[5 * i + 3] // TILE, box[5 * i + 4] // TILE + 1):
                for tx in range(box[5 * i + 1] // TILE, box[5 * i + 2] // TILE + 1):
                    slot = ti.atomic_add(cursor[(view * tiles_y + ty) * tiles_x + tx], 1)
                    tile_faces[slot] = f


# For GPUs: atomics stand in no inner loop, where Mesa's software Vulkan (22.3) loses them once lanes part ways.


@ti.func
def add_to_tile(t, f, tile_start: ti.template(), cursor: ti.template(), tile_faces: ti.template(), fill: ti.template()):
    if ti.static(fill):
        tile_faces[ti.atomic_add(cursor[t], 1)] = f
    else:
        ti.atomic_add(tile_start[t + 1], 1)


@ti.kernel
def bin_small(
    views: ti.i32, faces: ti.i32, width: ti.i32, height: ti.i32, box: A1, tile_start: A1, cursor: A1, tile_faces: A1,
    big: A1, fill: ti.template(),
):  # fmt: skip
    """Count into tile_start, or fill, the triangles of at most 2 x 2 tiles; counting lists the others in big[1:]."""
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for t in range(views * tiles_x * tiles_y):
        if ti.static(fill):
            cursor[t] = tile_start[t]
        elif t == 0:
            big[0] = 0
    for i in range(views * faces):
        if box[5 * i + 0] != 0:
            x0, x1 = box[5 * i + 1] // TILE, box[5 * i + 2] // TILE
            y0, y1 = box[5 * i + 3] // TILE, box[5 * i + 4] // TILE
            if x1 - x0 < 2 and y1 - y0 < 2:
                for dy, dx in ti.static(ti.ndrange(2, 2)):
                    if y0 + dy <= y1 and x0 + dx <= x1:
                        t = (i // faces * tiles_y + y0 + dy) * tiles_x + x0 + dx
                        add_to_tile(t, i % faces, tile_start, cursor, tile_faces, fill)
            elif ti.static(not fill):
                big[1 + ti.atomic_add(big[0], 1)] = i


@ti.kernel
def bin_big(
    count: ti.i32, faces: ti.i32, width: ti.i32, height: ti.i32, box: A1, tile_start: A1, cursor: A1, tile_faces: A1,
    big: A1, fill: ti.template(),
):  # fmt: skip
    """As `bin_small` for the `count` triangles of more tiles."""
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    for k, t in ti.ndrange(count, tiles_x * tiles_y):
        i, tx, ty = big[1 + k], t % tiles_x, t // tiles_x
        across = box[5 * i + 1] // TILE <= tx and tx <= box[5 * i + 2] // TILE
        if across and box[5 * i + 3] // TILE <= ty and ty <= box[5 * i + 4] // TILE:
            tile = (i // faces * tiles_y + ty) * tiles_x + tx
            add_to_tile(tile, i % faces, tile_start, cursor, tile_faces, fill)


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
    ti.loop_config(block_dim=4)
    for t in range(views * tiles_x * tiles_y):
        view, ty, tx = t // (tiles_x * tiles_y), t // tiles_x % tiles_y, t % tiles_x
        pixel0 = view * height * width
        left, right = tx * TILE, ti.min(tx * TILE + TILE, width) - 1
        top, bottom = ty * TILE, ti.min(ty * TILE + TILE, height) - 1
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                nearest[pixel0 + row * width + column] = BEHIND_ALL
                face[pixel0 + row * width + column] = NOTHING
        far_key = nearness(cameras[view, 2], cameras[view, 2], ti.cast(cameras[view, 0], ti.i32))
        for k in range(tile_start[t], tile_start[t + 1]):
            f = tile_faces[k]
            i = view * faces + f
            x0, x1 = ti.max(box[5 * i + 1], left), ti.min(box[5 * i + 2], right)
            y0, y1 = ti.max(box[5 * i + 3], top), ti.min(box[5 * i + 4], bottom)
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
    for row in range(rows):
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
    for row in range(views * height):
        entry, view, line = row_start[row], row // height, row % height
        for column in range(width):
            pixel = row * width + column
            pixel_entry[pixel] = -1
            if face[pixel] != NOTHING:
                place[3 * entry], place[3 * entry + 1], place[3 * entry + 2] = view, line, column
                entry_face[entry] = face[pixel]
                pixel_entry[pixel] = entry
                entry += 1
