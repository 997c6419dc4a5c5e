"""Soft rasterization after Liu et al. 2019: every triangle near a pixel counts, by distance and depth.

`find` lists the triangles within reach of each pixel, nearest in depth first; `probability` turns signed distances into
D = sigmoid(signed squared distance / sigma); `weights` are the depth softmax, `aggregate` sums values under them,
`silhouette` is one minus the product of 1 - D. Each but `find` has an adjoint.
"""

import taichi as ti

from ..accumulate import SPREAD, TASK, add
from .find import edge_terms, edge_value
from .gather import clamped, pixel_place
from .tiles import TILE

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

EUCLIDEAN, BARYCENTRIC, HARD = 0, 1, 2
PRODUCT, SUM, ANY = 0, 1, 2
SIDES = 8  # numbers that `find` lists for each triangle


@ti.func
def segment(ax, ay, dx, dy, inverse):
    """Squared distance of the origin from the segment from a along d, and the place t of the closest point on it.

    inverse: 1 / |d|^2, or 0 where d is.
    """
    t = ti.min(ti.max(-(ax * dx + ay * dy) * inverse, 0.0), 1.0)
    qx, qy = ax + t * dx, ay + t * dy
    return qx * qx + qy * qy, t


@ti.func
def sides(x, y):
    """From each corner to the next, along x and y, and 1 / the squared length, 0 where that is."""
    dx = ti.Vector([x[1] - x[0], x[2] - x[1], x[0] - x[2]])
    dy = ti.Vector([y[1] - y[0], y[2] - y[1], y[0] - y[2]])
    inverse = dx * dx + dy * dy
    for k in ti.static(range(3)):
        if inverse[k] > 0.0:
            inverse[k] = 1.0 / inverse[k]
    return dx, dy, inverse


@ti.func
def closest_of(x, y, dx, dy, inverse):
    """`closest_edge` of a triangle whose sides are known."""
    best, t = segment(x[0], y[0], dx[0], dy[0], inverse[0])
    second, u = segment(x[1], y[1], dx[1], dy[1], inverse[1])
    third, v = segment(x[2], y[2], dx[2], dy[2], inverse[2])
    # No branches: which edge is closest is hard to predict.
    edge = ti.select(second < best, 1, 0)
    t = ti.select(second < best, u, t)
    best = ti.min(second, best)
    edge, t = ti.select(third < best, 2, edge), ti.select(third < best, v, t)
    return ti.min(third, best), t, edge


@ti.func
def closest_edge(x, y):
    """Squared distance of the origin from the triangle's outline, the edge (k to k + 1) and the place on it."""
    dx, dy, inverse = sides(x, y)
    return closest_of(x, y, dx, dy, inverse)


@ti.func
def screen_barycentrics(x, y):
    """Barycentrics of the origin in a screen triangle, and the doubled signed area."""
    a = ti.Vector([x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]])
    total = a.sum()
    if total == 0.0:
        total = 1e-30
    return a / total, total


@ti.func
def inner_distance(x, y):
    """b |b| for the least barycentric b of the origin: positive inside."""
    b, _ = screen_barycentrics(x, y)
    return b.min() * ti.abs(b.min())


@ti.func
def insert(face: ti.template(), key: ti.template(), first, count, limit, f, z):
    """Insert (z, f) into a pixel's list sorted by depth, then id; returns the new count."""
    k = count
    if count == limit:
        k = limit - 1
        last = first + k
        if key[last] < z or (key[last] == z and face[last] < f):
            k = -1
    if k >= 0:
        while k > 0 and (key[first + k - 1] > z or (key[first + k - 1] == z and face[first + k - 1] > f)):
            key[first + k] = key[first + k - 1]
            face[first + k] = face[first + k - 1]
            k -= 1
        key[first + k] = z
        face[first + k] = f
    return ti.min(count + 1, limit)


@ti.func
def outermost(edge, mode, reach):
    """The least value of an edge within reach of a triangle: a line beside it, a little farther out than that."""
    value = -1e30
    if mode == EUCLIDEAN:
        value = -1.0001 * ti.sqrt(reach * (edge[2] * edge[2] + edge[3] * edge[3]))
    return value


@ti.func
def reach_tile(
    triangles: ti.template(), screen: ti.template(), box: ti.template(), polygon: ti.template(), i, f, base, x0, x1,
    y0, y1, pixel0, width, limit, mode, clip, reach, far, count: ti.template(), face: ti.template(),
    key: ti.template(),
):  # fmt: skip
    """List triangle i for the pixels of a rectangle that lie within it or less than `reach` outside.

    What is listed is SIDES f + 2 k + 1 inside, + 0 outside, k the edge that is closest.
    """
    ids = ti.Vector([triangles[f, 0] + base, triangles[f, 1] + base, triangles[f, 2] + base])
    depth = ti.Vector([screen[ids[k], 3] for k in ti.static(range(3))])
    px = ti.Vector([polygon[11 * i + 0], polygon[11 * i + 2], polygon[11 * i + 4]])
    py = ti.Vector([polygon[11 * i + 1], polygon[11 * i + 3], polygon[11 * i + 5]])
    orientation = -1.0
    if box[5 * i + 0] < 0:
        orientation = 1.0
    e0 = edge_terms(polygon, i, 0, 1, orientation)
    e1 = edge_terms(polygon, i, 1, 2, orientation)
    e2 = edge_terms(polygon, i, 2, 0, orientation)
    o0, o1, o2 = outermost(e0, mode, reach), outermost(e1, mode, reach), outermost(e2, mode, reach)
    dx, dy, inverse = sides(px, py)
    inverse_area = 1.0 / ti.max(ti.abs(dx[0] * dy[1] - dy[0] * dx[1]), 1e-30)
    inverse_w = 1.0 / ti.Vector([screen[ids[k], 2] for k in ti.static(range(3))])
    for row in range(y0, y1 + 1):
        for column in range(x0, x1 + 1):
            cx, cy = column + 0.5, row + 0.5
            v0, v1, v2 = edge_value(e0, cx, cy), edge_value(e1, cx, cy), edge_value(e2, cx, cy)
            inside = (v0 >= 0) & (v1 >= 0) & (v2 >= 0)
            if inside | ((mode != HARD) & (v0 >= o0) & (v1 >= o1) & (v2 >= o2)):
                x, y = px - cx, py - cy
                within, edge = inside, 0
                if mode == EUCLIDEAN:
                    squared, _t, closest = closest_of(x, y, dx, dy, inverse)
                    within, edge = inside | (squared < reach), closest
                elif not inside:
                    within = inner_distance(x, y) > -reach
                if within:
                    s = clamped(ti.Vector([v1, v2, v0]) * inverse_area, clip) * inverse_w
                    z = s.dot(depth) / s.sum()
                    if z <= far:
                        pixel = pixel0 + row * width + column
                        code = SIDES * f + 2 * edge + ti.select(inside, 1, 0)
                        count[pixel] = insert(face, key, pixel * limit, count[pixel], limit, code, z)


@ti.kernel
def find(
    views: ti.i32, vertices: ti.i32, faces: ti.i32, width: ti.i32, height: ti.i32, limit: ti.i32, mode: ti.i32,
    clip: ti.i32, reach: float, cameras: A2, triangles: A2, screen: A2, polygon: A1, box: A1, tile_start: A1,
    tile_faces: A1, count: A1, face: A1, key: A1, by_pixel: ti.template(),
):  # fmt: skip
    """count [pixels] and, per pixel, up to `limit` triangles sorted by depth: face and key [pixels * limit].

    One thread a tile, or a pixel (by_pixel, for GPUs).
    """
    tiles_x = (width + TILE - 1) // TILE
    tiles_y = (height + TILE - 1) // TILE
    if ti.static(by_pixel):
        for view, row, column in ti.ndrange(views, height, width):
            pixel0 = view * height * width
            count[pixel0 + row * width + column] = 0
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
                    reach_tile(
                        triangles, screen, box, polygon, i, f, view * vertices, column, column, row, row, pixel0,
                        width, limit, mode, clip, reach, cameras[view, 2], count, face, key,
                    )  # fmt: skip
    else:
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
                    count[pixel0 + row * width + column] = 0
            # Those facing the camera first: the others then mostly go to the ends of the lists.
            for turned in range(2):
                for k in range(tile_start[t], tile_start[t + 1]):
                    f = tile_faces[k]
                    i = view * faces + f
                    if (box[5 * i] < 0) == (turned == 1):
                        x0, x1 = ti.max(box[5 * i + 1], left), ti.min(box[5 * i + 2], right)
                        y0, y1 = ti.max(box[5 * i + 3], top), ti.min(box[5 * i + 4], bottom)
                        reach_tile(
                            triangles, screen, box, polygon, i, f, view * vertices, x0, x1, y0, y1, pixel0, width,
                            limit, mode, clip, reach, cameras[view, 2], count, face, key,
                        )  # fmt: skip


@ti.kernel
def count_rows(rows: ti.i32, width: ti.i32, count: A1, row_start: A1):
    """row_start[row + 1] = entries of the row."""
    for row in range(rows):
        total = 0
        for column in range(width):
            total += count[row * width + column]
        row_start[row + 1] = total
        if row == 0:
            row_start[0] = 0


@ti.kernel
def list_entries(
    views: ti.i32, width: ti.i32, height: ti.i32, limit: ti.i32, count: A1, face: A1, key: A1, row_start: A1,
    place: A1, entry_face: A1, entry_side: A1, entry_depth: A1, pixel_start: A1,
):  # fmt: skip
    """Entries in scan order, nearest first within a pixel: pixel_start [pixels + 1] delimits each pixel's.

    entry_side is what of `find`'s numbers is not the face.
    """
    rows = views * height
    for ticket in range(rows * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        entry, view, line = row_start[row], row // height, row % height
        for column in range(width):
            p = row * width + column
            pixel_start[p] = entry
            for k in range(count[p]):
                place[3 * entry], place[3 * entry + 1], place[3 * entry + 2] = view, line, column
                code = face[p * limit + k]
                entry_face[entry], entry_side[entry] = code // SIDES, code % SIDES
                entry_depth[entry] = key[p * limit + k]
                entry += 1
        if row == rows - 1:
            pixel_start[rows * width] = entry


@ti.func
def corners_around(e, place: ti.template(), f, vertices, triangles: ti.template(), screen: ti.template()):
    """Vertex rows, the pixel's centre, and screen corners of triangle f relative to it."""
    view, cx, cy = pixel_place(place, e)
    ids = ti.Vector([triangles[f, k] + view * vertices for k in ti.static(range(3))])
    x = ti.Vector([screen[ids[k], 0] / screen[ids[k], 2] - cx for k in ti.static(range(3))])
    y = ti.Vector([screen[ids[k], 1] / screen[ids[k], 2] - cy for k in ti.static(range(3))])
    return ids, cx, cy, x, y


@ti.func
def edge_around(e, place: ti.template(), f, edge, vertices, triangles: ti.template(), screen: ti.template()):
    """The two ends of an edge of triangle f: vertex rows, 1/w and places (x, y); and t (0 to 1) of what is closest.

    Places are relative to the pixel's centre.
    """
    view, cx, cy = pixel_place(place, e)
    ids = ti.Vector([triangles[f, edge], triangles[f, ti.select(edge == 2, 0, edge + 1)]]) + view * vertices
    inverse_w = ti.Vector([1.0 / screen[ids[0], 2], 1.0 / screen[ids[1], 2]])
    x = ti.Vector([screen[ids[k], 0] for k in ti.static(range(2))]) * inverse_w - cx
    y = ti.Vector([screen[ids[k], 1] for k in ti.static(range(2))]) * inverse_w - cy
    dx, dy = x[1] - x[0], y[1] - y[0]
    length = ti.max(dx * dx + dy * dy, 1e-30)
    t = ti.min(ti.max(-(x[0] * dx + y[0] * dy) / length, 0.0), 1.0)
    return ids, inverse_w, cx, cy, x, y, t


@ti.kernel
def probability(
    entries: ti.i32, vertices: ti.i32, mode: ti.i32, sharpness: float, place: A1, face: A1, side: A1, triangles: A2,
    screen: A2, out: A2,
):  # fmt: skip
    """out [n, 1] = sigmoid(sharpness * signed squared distance); 1 inside and 0 outside where mode is HARD."""
    for e in range(entries):
        value = ti.cast(side[e] & 1, float)
        if mode == EUCLIDEAN:
            _i, _w, _x, _y, x, y, t = edge_around(e, place, face[e], side[e] >> 1, vertices, triangles, screen)
            qx, qy = x[0] + t * (x[1] - x[0]), y[0] + t * (y[1] - y[0])
            distance = (qx * qx + qy * qy) * sharpness
            value = 1.0 / (1.0 + ti.exp(ti.select(value > 0.0, -distance, distance)))
        elif mode == BARYCENTRIC:
            _ids, _cx, _cy, x, y = corners_around(e, place, face[e], vertices, triangles, screen)
            value = 1.0 / (1.0 + ti.exp(-inner_distance(x, y) * sharpness))
        out[e, 0] = value


@ti.func
def probability_adjoint_entry(
    e, offset, vertices, mode, sharpness, place: ti.template(), face: ti.template(), side: ti.template(),
    triangles: ti.template(), screen: ti.template(), out: ti.template(), grad_out: ti.template(), part: ti.template(),
    atomic: ti.template(),
):  # fmt: skip
    value = out[e, 0]
    g = grad_out[e, 0] * value * (1.0 - value) * sharpness
    if g != 0.0 and mode == EUCLIDEAN:
        ids, inverse_w, cx, cy, x, y, t = edge_around(e, place, face[e], side[e] >> 1, vertices, triangles, screen)
        g2 = ti.select(side[e] & 1 == 1, 2.0 * g, -2.0 * g)
        gx, gy = g2 * (x[0] + t * (x[1] - x[0])), g2 * (y[0] + t * (y[1] - y[0]))
        for k in ti.static(range(2)):
            slot, share = (offset + ids[k]) * 4, inverse_w[k] * (t if ti.static(k == 1) else 1.0 - t)
            add(part, slot, gx * share, atomic)
            add(part, slot + 1, gy * share, atomic)
            add(part, slot + 2, -((x[k] + cx) * gx + (y[k] + cy) * gy) * share, atomic)
    elif g != 0.0:
        ids, cx, cy, x, y = corners_around(e, place, face[e], vertices, triangles, screen)
        b, area = screen_barycentrics(x, y)
        low = b.min()
        # d(low |low|) = 2 |low| d(low), and b_i = a_i / sum(a).
        g_low = g * 2.0 * ti.abs(low)
        taken = 0
        ga = ti.Vector.zero(float, 3)
        for k in ti.static(range(3)):
            if taken == 0 and b[k] == low:
                taken = 1
                ga -= g_low * low / area
                ga[k] += g_low / area
        for k in ti.static(range(3)):
            m, n = ti.static((k + 1) % 3, (k + 2) % 3)
            w, slot = screen[ids[k], 2], (offset + ids[k]) * 4
            gx, gy = ga[n] * y[m] - ga[m] * y[n], ga[m] * x[n] - ga[n] * x[m]
            add(part, slot, gx / w, atomic)
            add(part, slot + 1, gy / w, atomic)
            add(part, slot + 2, -((x[k] + cx) * gx + (y[k] + cy) * gy) / w, atomic)


@ti.kernel
def probability_adjoint(
    chunks: ti.i32, rows: ti.i32, entries: ti.i32, vertices: ti.i32, mode: ti.i32, sharpness: float, place: A1,
    face: A1, side: A1, triangles: A2, screen: A2, out: A2, grad_out: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """Scatters into part [chunks * rows * 4], rows = views * V."""
    if ti.static(atomic):
        for e in range(entries):
            probability_adjoint_entry(
                e, 0, vertices, mode, sharpness, place, face, side, triangles, screen, out, grad_out, part, True
            )
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                probability_adjoint_entry(
                    e, p * rows, vertices, mode, sharpness, place, face, side, triangles, screen, out,
                    grad_out, part, False,
                )  # fmt: skip
