"""Surface splats: discs in the points' tangent planes, projected (EWA), and blended per pixel; with adjoints.

projection [views, 16] takes world to (column w, row w, w, depth). splats [items, 6]: column and row of the point, the
conic a, b, c (inverse of the variance in pixels^2: Q = a dx^2 + 2 b dx dy + c dy^2) and the weight at the point. A
pixel is inside a splat where Q < cutoff. Items are the points of view 0, then those of view 1, and so on.

Per pixel the nearest of the splats that it is inside of count, those up to `last` [pixels] in the order of depth; -1
where there is none. Adjoints gather: each splat goes through the pixels of its box.
"""

import taichi as ti

from ..accumulate import load3, turns
from ..sort import float_key

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

LARGEST = 1e16  # of a variance in pixels^2, whose square 32 bits hold; beyond, nothing is drawn
TWO_PI = 6.283185307179586


@ti.func
def matrix_row(projection: ti.template(), view, r):
    return ti.Vector([projection[view, 4 * r + k] for k in ti.static(range(3))])


@ti.func
def projected(projection: ti.template(), view, p):
    """(column w, row w, w, depth) of a point, and the rows of the Jacobian of its column and row."""
    q = ti.Vector([0.0, 0.0, 0.0, 0.0])
    for r in ti.static(range(4)):
        q[r] = matrix_row(projection, view, r).dot(p) + projection[view, 4 * r + 3]
    third = matrix_row(projection, view, 2)
    to_column = (matrix_row(projection, view, 0) - q[0] / q[2] * third) / q[2]
    to_row = (matrix_row(projection, view, 1) - q[1] / q[2] * third) / q[2]
    return q, to_column, to_row


@ti.func
def variance_of(to_column, to_row, n, spread, low_pass):
    """(xx, xy, yy) of a disc with a unit normal, and det M: area on the screen by area on the disc.

    M = J S^T with S two directions across the normal: J S^T S J^T = J (1 - n n^T) J^T and det M = n . (j0 x j1).
    """
    a, b = n.dot(to_column), n.dot(to_row)
    xx = spread * (to_column.norm_sqr() - a * a) + low_pass
    yy = spread * (to_row.norm_sqr() - b * b) + low_pass
    xy = spread * (to_column.dot(to_row) - a * b)
    return ti.Vector([xx, xy, yy]), n.dot(to_column.cross(to_row))


@ti.func
def conic_of(variance, stretch, spread, low_pass, to_column, to_row):
    """The inverse, and the square root of the determinant, without the loss of digits of xx yy - xy^2.

    With A = J (1 - n n^T) J^T, det A = (det M)^2 and det(h A + s 1) = (h det M)^2 + s (xx + yy) - s^2.
    """
    part = spread * stretch
    root = ti.sqrt(part * part + low_pass * (variance[0] + variance[2] - low_pass))
    return ti.Vector([variance[2], -variance[1], variance[0]]) / root / root, root


@ti.func
def faces(projection: ti.template(), eyes: ti.template(), view, p, n):
    """Whether the side that the normal points to is seen."""
    to_eye = load3(eyes, view) - eyes[view, 3] * p
    return n.dot(to_eye) > 0.0


@ti.kernel
def spread(count: ti.i32, k: ti.i32, found: A1, squares: A1, radii: A2, low: float, high: float, out: A2):
    """out [N, 1]: variance of a point's disc, world^2: its radius squared, or half the largest square to k neighbours.

    found and squares [N * k] are read only where a radius is 0; found is -1 where there is no neighbour.
    """
    for n in range(count):
        out[n, 0] = radii[n, 0] * radii[n, 0]
        if radii[n, 0] == 0.0:
            largest = 0.0
            for e in range(n * k, (n + 1) * k):
                if found[e] >= 0:
                    largest = ti.max(largest, squares[e])
            out[n, 0] = ti.min(ti.max(0.5 * largest, low), high)


@ti.kernel
def spread_adjoint(count: ti.i32, radii: A2, grad_out: A2, grad_radii: A2):
    for n in range(count):
        grad_radii[n, 0] = grad_radii[n, 0] + 2.0 * radii[n, 0] * grad_out[n, 0]


@ti.kernel
def project(
    count: ti.i32, views: ti.i32, width: ti.i32, height: ti.i32, limits: A2, projection: A2, eyes: A2, points: A2,
    normals: A2, spreads: A2, low_pass: float, cutoff: float, culled: ti.i32, splats: A2, depth: A2, box: A1,
):  # fmt: skip
    """spreads [N, 1]: variance on the disc, world^2. limits [views, 3]: perspective, near, far.

    box [items * 4]: first and last column, first and last row, inside the image; (1, 0, 1, 0) where it is empty, as for
    what is outside near and far, seen from behind (with `culled`) or exactly from its side. column, row and weight are
    written also where only the box is empty, weight 0 where nothing can be drawn.
    """
    for item in range(views * count):
        view = item // count
        n = item - view * count
        p, normal = load3(points, n), load3(normals, n)
        q, to_column, to_row = projected(projection, view, p)
        for k in ti.static(range(6)):
            splats[item, k] = 0.0
        depth[item, 0] = q[3]
        left, right, top, bottom = 1, 0, 1, 0
        shown = q[3] > limits[view, 1] and q[3] < limits[view, 2] and q[2] > 0.0 and normal.norm_sqr() > 0.0
        if shown and (culled == 0 or faces(projection, eyes, view, p, normal)):
            variance, stretch = variance_of(to_column, to_row, normal.normalized(), spreads[n, 0], low_pass)
            if variance[0] + variance[2] < LARGEST and stretch != 0.0:
                conic, root = conic_of(variance, stretch, spreads[n, 0], low_pass, to_column, to_row)
                column, row = q[0] / q[2], q[1] / q[2]
                splats[item, 0] = column
                splats[item, 1] = row
                for k in ti.static(range(3)):
                    splats[item, 2 + k] = conic[k]
                splats[item, 5] = ti.abs(stretch) / (TWO_PI * root)
                wide, high = ti.sqrt(cutoff * variance[0]), ti.sqrt(cutoff * variance[2])
                if column - wide < width and column + wide > 0.0 and row - high < height and row + high > 0.0:
                    left = ti.cast(ti.ceil(ti.max(column - wide - 0.5, 0.0)), ti.i32)
                    right = ti.cast(ti.floor(ti.min(column + wide - 0.5, width - 1.0)), ti.i32)
                    top = ti.cast(ti.ceil(ti.max(row - high - 0.5, 0.0)), ti.i32)
                    bottom = ti.cast(ti.floor(ti.min(row + high - 0.5, height - 1.0)), ti.i32)
        inside = left <= right and top <= bottom
        box[4 * item] = left if inside else 1
        box[4 * item + 1] = right if inside else 0
        box[4 * item + 2] = top if inside else 1
        box[4 * item + 3] = bottom if inside else 0


@ti.kernel
def project_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, count: ti.i32, views: ti.i32, projection: A2,
    points: A2, normals: A2, spreads: A2, low_pass: float, splats: A2, grad_splats: A2, grad_depth: A2,
    grad_points: A2, grad_normals: A2, grad_spreads: A2, part: A1, to_points: ti.template(), to_normals: ti.template(),
    to_spreads: ti.template(),
):  # fmt: skip
    """part [chunks * views * 16] = gradient of the projection; points are shared out as in kernels/reduce.py."""
    each = turns(size)
    for ticket in range(chunks * each):
        chunk = ticket // each
        if ticket % each != 0:
            continue
        for view in range(views):
            total = ti.Matrix.zero(float, 4, 4)
            for k in range(size):
                n = chunk * across + k * along
                item = view * count + n
                if n < count and splats[item, 5] > 0.0:
                    p, normal, h = load3(points, n), load3(normals, n), spreads[n, 0]
                    m, length = normal.normalized(), normal.norm()
                    q, j0, j1 = projected(projection, view, p)
                    variance, stretch = variance_of(j0, j1, m, h, low_pass)
                    conic, _ = conic_of(variance, stretch, h, low_pass, j0, j1)

                    # Conic and weight into the variance G (symmetric) and det M: d(V^-1) = -V^-1 dV V^-1.
                    inverse = ti.Matrix([[conic[0], conic[1]], [conic[1], conic[2]]])
                    half, to_weight = 0.5 * grad_splats[item, 3], grad_splats[item, 5] * splats[item, 5]
                    given = ti.Matrix([[grad_splats[item, 2], half], [half, grad_splats[item, 4]]])
                    g = -(inverse @ given @ inverse) - 0.5 * to_weight * inverse
                    to_stretch = to_weight / stretch

                    # Variance and det M into spread, Jacobian and normal.
                    a, b = m.dot(j0), m.dot(j1)
                    to_h = g[0, 0] * (j0.norm_sqr() - a * a) + g[1, 1] * (j1.norm_sqr() - b * b)
                    to_h += 2.0 * g[0, 1] * (j0.dot(j1) - a * b)
                    flat0, flat1 = j0 - a * m, j1 - b * m
                    to_j0 = 2.0 * h * (g[0, 0] * flat0 + g[0, 1] * flat1) + to_stretch * j1.cross(m)
                    to_j1 = 2.0 * h * (g[0, 1] * flat0 + g[1, 1] * flat1) + to_stretch * m.cross(j0)
                    to_m = to_stretch * j0.cross(j1) - 2.0 * h * (
                        g[0, 0] * a * j0 + g[0, 1] * (a * j1 + b * j0) + g[1, 1] * b * j1
                    )

                    # Jacobian, column and row into the homogeneous point and the matrix.
                    third, w = matrix_row(projection, view, 2), q[2]
                    column, row = q[0] / w, q[1] / w
                    g_column = grad_splats[item, 0] - to_j0.dot(third) / w
                    g_row = grad_splats[item, 1] - to_j1.dot(third) / w
                    to_w = -(to_j0.dot(j0) + to_j1.dot(j1) + g_column * column + g_row * row) / w
                    to_q = ti.Vector([g_column / w, g_row / w, to_w, grad_depth[item, 0]])
                    to_p = ti.Vector([0.0, 0.0, 0.0])
                    to_third = -(column * to_j0 + row * to_j1) / w
                    for r in ti.static(range(4)):
                        to_p += to_q[r] * matrix_row(projection, view, r)
                        for axis in ti.static(range(3)):
                            total[r, axis] += to_q[r] * p[axis]
                        total[r, 3] += to_q[r]
                    for axis in ti.static(range(3)):
                        total[0, axis] += to_j0[axis] / w
                        total[1, axis] += to_j1[axis] / w
                        total[2, axis] += to_third[axis]

                    to_n = (to_m - m * m.dot(to_m)) / length
                    for axis in ti.static(range(3)):
                        if ti.static(to_points):
                            grad_points[n, axis] = grad_points[n, axis] + to_p[axis]
                        if ti.static(to_normals):
                            grad_normals[n, axis] = grad_normals[n, axis] + to_n[axis]
                    if ti.static(to_spreads):
                        grad_spreads[n, 0] = grad_spreads[n, 0] + to_h
            for r, axis in ti.static(ti.ndrange(4, 4)):
                part[(chunk * views + view) * 16 + 4 * r + axis] = total[r, axis]


@ti.func
def place_of(pixel, width, height, tile, tiles_x, tiles_y):
    """Centre of a pixel (column, row), and the number of its tile."""
    line = pixel // width
    view, i = line // height, pixel - line * width
    j = line - view * height
    return i + 0.5, j + 0.5, (view * tiles_y + j // tile) * tiles_x + i // tile


@ti.func
def square_at(splats: ti.template(), item, x, y):
    """(Q, dx, dy) of a splat at a place."""
    dx, dy = x - splats[item, 0], y - splats[item, 1]
    return splats[item, 2] * dx * dx + 2.0 * splats[item, 3] * dx * dy + splats[item, 4] * dy * dy, dx, dy


@ti.kernel
def find(
    pixels: ti.i32, width: ti.i32, height: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, splats: A2, depth: A2, cutoff: float, merge: float, most: ti.i32, last: A1, totals: A2,
    occupied: A2,
):  # fmt: skip
    """last, the sum of weights and whether there are any [pixels, 1]: of the nearest splats, `most` at most.

    Those farther than `merge` behind the nearest do not count.
    """
    for pixel in range(pixels):
        x, y, cell = place_of(pixel, width, height, tile, tiles_x, tiles_y)
        total, held, end, nearest = 0.0, 0, -1, 0.0
        for e in range(start[cell], start[cell + 1]):
            item = entries[e]
            if held == most or (held > 0 and depth[item, 0] > nearest + merge):
                break
            square, _, _ = square_at(splats, item, x, y)
            if square < cutoff:
                if held == 0:
                    nearest = depth[item, 0]
                total += splats[item, 5] * ti.exp(-0.5 * square)
                held += 1
                end = item
        last[pixel] = end
        totals[pixel, 0] = total
        occupied[pixel, 0] = 1.0 if held > 0 else 0.0


@ti.kernel
def blend(
    pixels: ti.i32, width: ti.i32, height: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, splats: A2, cutoff: float, last: A1, totals: A2, features: A2, channels: ti.template(), out: A2,
):  # fmt: skip
    """out [pixels, C] = the mean of the features [items, C] by weight; 0 where nothing is."""
    for pixel in range(pixels):
        x, y, cell = place_of(pixel, width, height, tile, tiles_x, tiles_y)
        total = ti.Vector.zero(float, channels)
        if last[pixel] >= 0:
            for e in range(start[cell], start[cell + 1]):
                item = entries[e]
                square, _, _ = square_at(splats, item, x, y)
                if square < cutoff:
                    weight = splats[item, 5] * ti.exp(-0.5 * square) / totals[pixel, 0]
                    for c in ti.static(range(channels)):
                        total[c] += weight * features[item, c]
                if item == last[pixel]:
                    break
        for c in ti.static(range(channels)):
            out[pixel, c] = total[c]


@ti.func
def counts(item, end, depth: ti.template()):
    """Whether a splat is not behind the last one that counts, in the order of the lists."""
    yes = False
    if end >= 0:
        own, other = float_key(depth[item, 0]), float_key(depth[end, 0])  # of depths above 0, so also signed in order
        yes = own < other or (own == other and item <= end)
    return yes


@ti.kernel
def blend_adjoint(
    items: ti.i32, per_view: ti.i32, width: ti.i32, height: ti.i32, box: A1, splats: A2, depth: A2, cutoff: float,
    last: A1, totals: A2, features: A2, channels: ti.template(), out: A2, grad_out: A2, grad_splats: A2,
    grad_features: A2, to_splats: ti.template(), to_features: ti.template(),
):  # fmt: skip
    for item in range(items):
        first = item // per_view * height
        conic = ti.Vector([splats[item, 2], splats[item, 3], splats[item, 4]])
        shape, shown = ti.Vector.zero(float, 6), ti.Vector.zero(float, channels)
        for j in range(box[4 * item + 2], box[4 * item + 3] + 1):
            for i in range(box[4 * item], box[4 * item + 1] + 1):
                pixel = (first + j) * width + i
                square, dx, dy = square_at(splats, item, i + 0.5, j + 0.5)
                if square < cutoff and counts(item, last[pixel], depth):
                    power = ti.exp(-0.5 * square) / totals[pixel, 0]
                    value = 0.0
                    for c in ti.static(range(channels)):
                        g = grad_out[pixel, c]
                        shown[c] += splats[item, 5] * power * g
                        value += g * (features[item, c] - out[pixel, c])
                    shape[5] += power * value
                    s = splats[item, 5] * power * value
                    shape[0] += s * (conic[0] * dx + conic[1] * dy)
                    shape[1] += s * (conic[1] * dx + conic[2] * dy)
                    shape[2] -= 0.5 * s * dx * dx
                    shape[3] -= s * dx * dy
                    shape[4] -= 0.5 * s * dy * dy
        if ti.static(to_splats):
            for k in ti.static(range(6)):
                grad_splats[item, k] = grad_splats[item, k] + shape[k]
        if ti.static(to_features):
            for c in ti.static(range(channels)):
                grad_features[item, c] = grad_features[item, c] + shown[c]


@ti.kernel
def occupancy_adjoint(
    items: ti.i32, per_view: ti.i32, width: ti.i32, height: ti.i32, splats: A2, cutoff: float, enlarged: float,
    unit: float, softening: float, largest: float, grad: A2, grad_splats: A2,
):  # fmt: skip
    """The published rule: to a splat's place p, the sum over pixels x with gradient g of g (x - p) / (|x - p|^2 + eps).

    Where g > 0, the pixel had better be empty, only splats that cover it count; else all whose radius, `enlarged`
    times, reaches it. Places are in units of half the picture's smaller side, `unit` a pixel; the sum's length is cut
    at `largest`.
    """
    for item in range(items):
        if splats[item, 5] > 0.0:
            first, column, row = item // per_view * height, splats[item, 0], splats[item, 1]
            a, b, c = splats[item, 2], splats[item, 3], splats[item, 4]
            widest = ti.sqrt(cutoff * ti.max(a, c) / (a * c - b * b))
            reach = enlarged * widest
            pulled = ti.Vector([0.0, 0.0])
            if column + reach > 0.0 and column - reach < width and row + reach > 0.0 and row - reach < height:
                left = ti.cast(ti.floor(ti.max(column - reach, 0.0)), ti.i32)
                right = ti.cast(ti.floor(ti.min(column + reach, width - 1.0)), ti.i32)
                top = ti.cast(ti.floor(ti.max(row - reach, 0.0)), ti.i32)
                bottom = ti.cast(ti.floor(ti.min(row + reach, height - 1.0)), ti.i32)
                for j in range(top, bottom + 1):
                    for i in range(left, right + 1):
                        g = grad[(first + j) * width + i, 0]
                        if g != 0.0:
                            square, dx, dy = square_at(splats, item, i + 0.5, j + 0.5)
                            apart = dx * dx + dy * dy
                            near = square < cutoff
                            if g < 0.0:
                                near = apart <= reach * reach
                            if near:
                                share = g * unit / (unit * unit * apart + softening)
                                pulled += share * ti.Vector([dx, dy])
            length = pulled.norm()
            if length > largest:
                pulled *= largest / length
            grad_splats[item, 0] = grad_splats[item, 0] + unit * pulled[0]
            grad_splats[item, 1] = grad_splats[item, 1] + unit * pulled[1]
