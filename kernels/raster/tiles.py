"""Triangles into screen polygons and tiles: near-plane clipping, depth planes, pixel boxes, binning. No gradient."""

import taichi as ti

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

TILE = 16


@ti.func
def nearness(w, depth, perspective):
    """Grows towards the camera and affine over the screen: 1/w; -depth if parallel (0), -depth/w if clip space (2)."""
    key = -depth if perspective == 0 else 1.0 / w
    if perspective == 2:
        key *= -depth
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
    for f in range(faces):
        for view in range(views):
            i, base = view * faces + f, view * vertices
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
                x, y, key = ti.Vector.zero(float, 4), ti.Vector.zero(float, 4), ti.Vector.zero(float, 4)
                for k in ti.static(range(3)):
                    x[k], y[k] = corners[k, 0] / corners[k, 2], corners[k, 1] / corners[k, 2]
                    key[k] = nearness(corners[k, 2], corners[k, 3], perspective)
                x[3], y[3], key[3] = x[2], y[2], key[2]
                if count == 4:
                    x[3], y[3] = corners[3, 0] / corners[3, 2], corners[3, 1] / corners[3, 2]
                    key[3] = nearness(corners[3, 2], corners[3, 3], perspective)
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
    ti.loop_config(serialize=True)
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
