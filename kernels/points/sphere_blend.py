"""Spheres weighed by how near a ray comes to the centre and how near they are (Lassner and Zollhoefer 2021); adjoint.

A ray o + s v, |v| = 1, passes the centre at s = b with distance m; it meets a sphere of radius r > m at
s = b - sqrt(r^2 - m^2), in depth z = s cos(ray, axis). With closeness d = 1 - m / r, opacity o and the nearness
n = (far - z) / (far - near) its weight is

    w = o d e^(o n / gamma) / (e^(BEHIND / gamma) + sum of o d e^(o n / gamma))

A sphere less than a pixel wide is drawn in the one pixel that contains its place, with d = 1 and s = b - r. All sums
are kept relative to the largest exponent so far, so that nothing overflows.

Lists are near to far by the depth of a sphere's nearest point. A pixel ends where all that is left is too little to
count (TINY); `last` remembers where. `level` [pixels, 1] is the logarithm of the whole sum.

Records of the adjoint (see `SplatLists`): the gradients of centre, radius, opacity and features.
"""

import taichi as ti

from ..accumulate import load3
from .tile_lists import tiles_of

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

BEHIND = 1e-3  # nearness of the background
SMALL = 0.5  # radius in pixels below which a sphere has one pixel
TINY = 1e-13
HEAD = 5


@ti.func
def side(across, depth, radius, focal, centre):
    """Least and largest pixel coordinate of a sphere that is wholly ahead; across is its lateral offset."""
    ahead = depth * depth - radius * radius
    spread = radius * ti.sqrt(ti.max(across * across + ahead, 0.0))
    return focal * (across * depth - spread) / ahead + centre, focal * (across * depth + spread) / ahead + centre


@ti.func
def depth_of(projection: ti.template(), view, p):
    """Depth of a point along the camera's axis."""
    row = ti.Vector([projection[view, 12 + k] for k in ti.static(range(4))])
    return row.dot(ti.Vector([p[0], p[1], p[2], 1.0]))


@ti.func
def pixel_range(low, high, size):
    """First and last pixel whose centres may lie between; (1, 0) for none."""
    first, last = 1, 0
    if high > 0.0 and low < size:
        first = ti.cast(ti.ceil(ti.max(low - 0.51, 0.0)), ti.i32)
        last = ti.cast(ti.floor(ti.min(high - 0.49, size - 1.0)), ti.i32)
    return first, last


@ti.func
def extent(projection: ti.template(), view, p, r, perspective, column, row, width, height):
    """First and last column, first and last row of a sphere wholly ahead that is seen at (column, row)."""
    rows = ti.Matrix.zero(float, 4, 4)
    for i, k in ti.static(ti.ndrange(4, 4)):
        rows[i, k] = projection[view, 4 * i + k]
    q = rows @ ti.Vector([p[0], p[1], p[2], 1.0])
    to_column, to_row, ahead = rows[0, :3], rows[1, :3], rows[2, :3]
    cx, cy = to_column.dot(ahead), to_row.dot(ahead)
    fx, fy = (to_column - cx * ahead).norm(), (to_row - cy * ahead).norm()
    low, high = column - r * fx, column + r * fx
    up, down = row - r * fy, row + r * fy
    if perspective:
        low, high = side((q[0] - cx * q[2]) / fx, q[2], r, fx, cx)
        up, down = side((q[1] - cy * q[2]) / fy, q[2], r, fy, cy)
    first, last = pixel_range(low, high, width)
    top, bottom = pixel_range(up, down, height)
    return first, last, top, bottom


@ti.kernel
def boxes(
    views: ti.i32, count: ti.i32, height: ti.i32, width: ti.i32, positions: A2, radii: A2, places: A2, reach: A2,
    projection: A2, limits: A2, fronts: A2, box: A1,
):  # fmt: skip
    """Pixels that a sphere may cover, and fronts, the depth of its nearest point; none where that is before near."""
    for item in range(views * count):
        view = item // count
        n = item - view * count
        p, r = load3(positions, n), radii[n, 0]
        front = depth_of(projection, view, p) - r
        fronts[item, 0] = front
        first, last, top, bottom = 1, 0, 1, 0
        if reach[item, 0] >= SMALL and front > limits[view, 1]:
            first, last, top, bottom = extent(
                projection, view, p, r, limits[view, 0] > 0.5, places[item, 0], places[item, 1], width, height
            )
        elif reach[item, 0] >= 0.0 and front > limits[view, 1] and r > 0.0:
            column, row = ti.floor(places[item, 0]), ti.floor(places[item, 1])
            if column >= 0.0 and column < width and row >= 0.0 and row < height:
                first, top = ti.cast(column, ti.i32), ti.cast(row, ti.i32)
                last, bottom = first, top
        box[4 * item] = first
        box[4 * item + 1] = last
        box[4 * item + 2] = top
        box[4 * item + 3] = bottom


@ti.func
def covers(box: ti.template(), item, column, row):
    return (
        box[4 * item] <= column
        and column <= box[4 * item + 1]
        and box[4 * item + 2] <= row
        and row <= box[4 * item + 3]
    )


@ti.func
def meet(centre, radius, wide, origin, direction):
    """Vector to the centre, distance along the ray to its foot, offset of the centre from the foot, its length, half
    the chord, and closeness (0: no hit)."""
    to_centre = centre - origin
    along = to_centre.dot(direction)
    offset = to_centre - along * direction
    off = offset.norm()
    half, closeness = radius, 1.0
    if wide:
        closeness = ti.max(1.0 - off / radius, 0.0)
        half = ti.sqrt(ti.max((radius - off) * (radius + off), 0.0))
    return to_centre, along, offset, off, half, closeness


@ti.kernel
def blend(
    pixels: ti.i32, height: ti.i32, width: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, box: A1, fronts: A2, reach: A2, ranges: A2, positions: A2, radii: A2, opacities: A2, origins: A2,
    directions: A2, cosines: A2, features: A2, sharpness: float, sums: A2, alpha: A2, level: A2, ends: A1,
    deep: ti.template(), channels: ti.template(),
):  # fmt: skip
    """sums [pixels, C] of weight * feature; `deep` takes the depth of the hit for the one feature."""
    count = opacities.shape[0]
    for pixel in range(pixels):
        line = pixel // width
        view = line // height
        row, column = line - view * height, pixel - line * width
        place = (view * tiles_y + row // tile) * tiles_x + column // tile
        origin, direction, cosine = load3(origins, pixel), load3(directions, pixel), cosines[pixel, 0]
        far = ranges[view, 1]
        over = sharpness / (far - ranges[view, 0])
        most, whole, hits = BEHIND * sharpness, 1.0, 0.0
        total = ti.Vector.zero(float, channels)
        end = start[place + 1]
        last = end
        for e in range(start[place], end):
            item = entries[e]
            n = item - view * count
            bound = ti.max((far - fronts[item, 0]) * over, 0.0) - most
            if bound < -20.0:  # noqa: SIM102  `and` would take the exponential of every entry
                if ti.exp(bound) * (end - e) < TINY * whole:
                    last = e
                    break
            if covers(box, item, column, row):
                own = opacities[n, 0]
                _, along, _, _, half, closeness = meet(
                    load3(positions, n), radii[n, 0], reach[item, 0] >= SMALL, origin, direction
                )
                if closeness > 0.0:
                    depth = (along - half) * cosine
                    power = own * (far - depth) * over
                    if power > most:
                        down = ti.exp(most - power)
                        whole *= down
                        hits *= down
                        total *= down
                        most = power
                    weight = own * closeness * ti.exp(power - most)
                    whole += weight
                    hits += weight
                    for c in ti.static(range(channels)):
                        feature = depth
                        if ti.static(not deep):
                            feature = features[item, c]
                        total[c] += weight * feature
        ends[pixel] = last
        level[pixel, 0] = most + ti.log(whole)
        alpha[pixel, 0] = hits / whole
        for c in ti.static(range(channels)):
            sums[pixel, c] = total[c] / whole


@ti.kernel
def blend_adjoint(
    tiles: ti.i32, height: ti.i32, width: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, slots: A1, box: A1, reach: A2, ranges: A2, positions: A2, radii: A2, opacities: A2, origins: A2,
    directions: A2, cosines: A2, features: A2, sharpness: float, sums: A2, alpha: A2, level: A2, ends: A1,
    grad_sums: A2, grad_alpha: A2, records: A1, grad_origins: A2, grad_directions: A2, grad_cosines: A2,
    deep: ti.template(), to_rays: ti.template(), channels: ti.template(), turns: ti.template(),
):  # fmt: skip
    """records [slots * (HEAD + C)] and, with `to_rays`, the gradients of the rays; a tile is the work of one thread."""
    count = opacities.shape[0]
    size = ti.static(HEAD + channels)
    for ticket in range(tiles * turns):
        place = ticket // turns
        if ticket % turns != 0:
            continue
        begin, end = start[place], start[place + 1]
        for e in range(begin, end):
            for k in ti.static(range(size)):
                records[slots[e] * size + k] = 0.0
        line = place // tiles_x
        view = line // tiles_y
        top, left = (line - view * tiles_y) * tile, (place - line * tiles_x) * tile
        bottom, right = ti.min(top + tile, height), ti.min(left + tile, width)
        if begin == end:
            bottom = top
        far = ranges[view, 1]
        over = sharpness / (far - ranges[view, 0])
        for row, column in ti.ndrange((top, bottom), (left, right)):
            pixel = (view * height + row) * width + column
            origin, direction, cosine = load3(origins, pixel), load3(directions, pixel), cosines[pixel, 0]
            given, mean = ti.Vector.zero(float, channels), grad_alpha[pixel, 0] * alpha[pixel, 0]
            for c in ti.static(range(channels)):
                given[c] = grad_sums[pixel, c]
                mean += given[c] * sums[pixel, c]
            to_origin, to_direction, to_cosine = ti.Vector.zero(float, 3), ti.Vector.zero(float, 3), 0.0
            for e in range(begin, ends[pixel]):
                item = entries[e]
                if covers(box, item, column, row):
                    n, wide = item - view * count, reach[item, 0] >= SMALL
                    own, radius = opacities[n, 0], radii[n, 0]
                    to_centre, along, offset, off, half, closeness = meet(
                        load3(positions, n), radius, wide, origin, direction
                    )
                    if closeness > 0.0:
                        depth, at = (along - half) * cosine, slots[e] * size
                        power = own * (far - depth) * over
                        rise = ti.exp(power - level[pixel, 0])
                        weight, worth = own * closeness * rise, grad_alpha[pixel, 0] - mean
                        for c in ti.static(range(channels)):
                            feature = depth
                            if ti.static(not deep):
                                feature = features[item, c]
                            worth += given[c] * feature
                            records[at + HEAD + c] = records[at + HEAD + c] + weight * given[c]
                        to_depth = -weight * worth * own * over
                        if ti.static(deep):
                            to_depth += weight * given[0]
                        to_along = to_depth * cosine
                        to_radius, to_offset = -to_along, ti.Vector.zero(float, 3)
                        if wide:
                            chord = ti.max(half, 1e-6 * radius)
                            to_closeness = own * rise * worth
                            to_radius = to_closeness * off / (radius * radius) - to_along * radius / chord
                            if off > 0.0:
                                to_offset = offset * (to_along / chord - to_closeness / (radius * off))
                        to_position = to_offset + to_along * direction
                        for k in ti.static(range(3)):
                            records[at + k] = records[at + k] + to_position[k]
                        records[at + 3] = records[at + 3] + to_radius
                        records[at + 4] = records[at + 4] + closeness * rise * worth * (1.0 + power)
                        if ti.static(to_rays):
                            to_origin -= to_position
                            to_direction += to_along * to_centre - along * to_offset
                            to_cosine += to_depth * (along - half)
            if ti.static(to_rays):
                grad_cosines[pixel, 0] = grad_cosines[pixel, 0] + to_cosine
                for k in ti.static(range(3)):
                    grad_origins[pixel, k] = grad_origins[pixel, k] + to_origin[k]
                    grad_directions[pixel, k] = grad_directions[pixel, k] + to_direction[k]


@ti.kernel
def gather(
    views: ti.i32, count: ti.i32, tile: ti.i32, box: A1, first: A1, records: A1, size: ti.i32, grad_positions: A2,
    grad_radii: A2, grad_opacities: A2,
):  # fmt: skip
    """Adds the records' heads to the gradients, point by point."""
    for n in range(count):
        total = ti.Vector.zero(float, HEAD)
        for view in range(views):
            item = view * count + n
            _, _, across, down = tiles_of(item, box, tile)
            for slot in range(first[item], first[item] + across * down):
                for k in ti.static(range(HEAD)):
                    total[k] += records[slot * size + k]
        for k in ti.static(range(3)):
            grad_positions[n, k] = grad_positions[n, k] + total[k]
        grad_radii[n, 0] = grad_radii[n, 0] + total[3]
        grad_opacities[n, 0] = grad_opacities[n, 0] + total[4]
