"""Points as discs of the screen, blended pixel by pixel from lists of the tiles; with adjoint.

A point has a place, a depth and a reach in pixels: constant + factor * its radius in pixels. At a pixel centre the
share t = distance^2 / reach^2 gives its opacity, the point's own times the influence of the kind:

    PIXEL      1 in the one pixel that contains the place
    GAUSSIAN   e^(-4.5 t): the reach is 3 standard deviations
    SYNSIN     (1 - sqrt(clamp(t, 0.001, 1)))^tau     Wiles et al. 2020
    PYTORCH3D  1 - t

It counts where t < 1, from the nearest in depth on, until a pixel has `limit` points. Modes of blending, with w the
opacity, f a feature and T what goes through all points of the pixel, the product of 1 - w:

    ALPHA        sum w f prod(1 - w before it)
    SUM          sum w f
    NORMALISED   sum w f / (sum w + EPSILON)
    SOFTMAX      NORMALISED with w e^((z0 - z) sharpness) in place of w; z0 is the depth of the pixel's nearest point
    COVERAGE     NORMALISED times 1 - T

alpha is 1 - T. cover, how much of what is behind the pixel hides, is sum w / (sum w + EPSILON) for NORMALISED and
SOFTMAX, else alpha. Each pixel leaves (T, sum w) in totals [pixels, 2].

The adjoint walks the same way. Every entry gets a record of sums over the tile's pixels, in its slot (see
`SplatLists`): the gradients of column, row, depth, reach, opacity and features. Two kernels add them up point by point.
"""

import taichi as ti

from .tile_lists import tiles_of

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

PIXEL, GAUSSIAN, SYNSIN, PYTORCH3D = range(4)
ALPHA, SUM, NORMALISED, SOFTMAX, COVERAGE = range(5)
EPSILON = 1e-8
LARGEST = 0.9999  # of an opacity, so that something goes through (PIXEL: 1)
STEEPEST = 1e-3  # SYNSIN: t counts as no less
HEAD = 5  # numbers of a record before the features


@ti.kernel
def boxes(
    items: ti.i32, height: ti.i32, width: ti.i32, places: A2, reach: A2, constant: float, factor: float, box: A1,
    kind: ti.template(),
):  # fmt: skip
    """Pixels whose centres a point may reach; empty where it is not drawn (a reach in pixels below 0)."""
    for item in range(items):
        column, row, r = places[item, 0], places[item, 1], constant + factor * reach[item, 0]
        first, last, top, bottom = 1, 0, 1, 0
        if ti.static(kind == PIXEL):
            r = 0.5
        seen = column + r > 0.0 and column - r < width and row + r > 0.0 and row - r < height
        if reach[item, 0] >= 0.0 and r > 0.0 and seen:
            first = ti.cast(ti.ceil(ti.max(column - r - 0.5, 0.0)), ti.i32)
            last = ti.cast(ti.floor(ti.min(column + r - 0.5, width - 1.0)), ti.i32)
            top = ti.cast(ti.ceil(ti.max(row - r - 0.5, 0.0)), ti.i32)
            bottom = ti.cast(ti.floor(ti.min(row + r - 0.5, height - 1.0)), ti.i32)
        box[4 * item] = first
        box[4 * item + 1] = last
        box[4 * item + 2] = top
        box[4 * item + 3] = bottom


@ti.func
def share_of(item, x, y, places: ti.template(), reach: ti.template(), constant, factor, kind: ti.template()):
    """t, below 1 where the point counts at the pixel centre (x, y); and the reach in pixels."""
    r, t = constant + factor * reach[item, 0], 2.0
    dx, dy = x - places[item, 0], y - places[item, 1]
    if ti.static(kind == PIXEL):
        if ti.floor(places[item, 0]) + 0.5 == x and ti.floor(places[item, 1]) + 0.5 == y:
            t = 0.0
    else:
        t = (dx * dx + dy * dy) / (r * r)
    return t, r


@ti.func
def influence(t, tau, kind: ti.template()):
    """Influence at t < 1, and its derivative."""
    value, slope = 1.0, 0.0
    if ti.static(kind == GAUSSIAN):
        value = ti.exp(-4.5 * t)
        slope = -4.5 * value
    if ti.static(kind == SYNSIN):
        root = ti.sqrt(ti.max(t, STEEPEST))
        power = 1.0
        if tau != 1.0:
            power = (1.0 - root) ** (tau - 1.0)
        value = power * (1.0 - root)
        if t > STEEPEST:
            slope = -0.5 * tau * power / root
    if ti.static(kind == PYTORCH3D):
        value, slope = 1.0 - t, -1.0
    return value, slope


@ti.func
def opacity_of(own, value, kind: ti.template()):
    found = own * value
    if ti.static(kind != PIXEL):
        found = ti.min(found, LARGEST)
    return found


@ti.kernel
def blend(
    pixels: ti.i32, height: ti.i32, width: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, places: A2, depths: A2, reach: A2, opacities: A2, features: A2, constant: float, factor: float,
    tau: float, sharpness: float, limit: ti.i32, sums: A2, alpha: A2, cover: A2, totals: A2, kind: ti.template(),
    mode: ti.template(), channels: ti.template(),
):  # fmt: skip
    """sums [pixels, C], alpha, cover (where it is not alpha) and totals of every pixel."""
    count = opacities.shape[0]
    for pixel in range(pixels):
        line = pixel // width
        view = line // height
        row, column = line - view * height, pixel - line * width
        place = (view * tiles_y + row // tile) * tiles_x + column // tile
        x, y = column + 0.5, row + 0.5
        found, through, covered, whole, nearest = 0, 1.0, 0.0, 0.0, 0.0
        total = ti.Vector.zero(float, channels)
        for e in range(start[place], start[place + 1]):
            item = entries[e]
            t, _ = share_of(item, x, y, places, reach, constant, factor, kind)
            if t < 1.0:
                value, _ = influence(t, tau, kind)
                opacity = opacity_of(opacities[item - view * count, 0], value, kind)
                weight = opacity
                if ti.static(mode == ALPHA):
                    weight *= through
                if ti.static(mode == SOFTMAX):
                    if found == 0:
                        nearest = depths[item, 0]
                    weight *= ti.exp((nearest - depths[item, 0]) * sharpness)
                for c in ti.static(range(channels)):
                    total[c] += weight * features[item, c]
                whole += weight
                covered += opacity * through
                through *= 1.0 - opacity
                found += 1
                if found == limit:
                    break
        alpha[pixel, 0] = covered
        totals[pixel, 0] = through
        totals[pixel, 1] = whole
        scale = 1.0
        if ti.static(mode >= NORMALISED):
            scale = 1.0 / (whole + EPSILON)
        if ti.static(mode == COVERAGE):
            scale *= covered
        if ti.static(mode in (NORMALISED, SOFTMAX)):
            cover[pixel, 0] = whole * scale
        for c in ti.static(range(channels)):
            sums[pixel, c] = scale * total[c]


@ti.kernel
def blend_adjoint(
    tiles: ti.i32, height: ti.i32, width: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, slots: A1, places: A2, depths: A2, reach: A2, opacities: A2, features: A2, constant: float,
    factor: float, tau: float, sharpness: float, limit: ti.i32, sums: A2, alpha: A2, totals: A2, grad_sums: A2,
    grad_alpha: A2, grad_cover: A2, records: A1, kind: ti.template(), mode: ti.template(), channels: ti.template(),
    turns: ti.template(),
):  # fmt: skip
    """records [slots * (HEAD + C)]; a tile is the work of one thread."""
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
        for row, column in ti.ndrange((top, bottom), (left, right)):
            pixel = (view * height + row) * width + column
            x, y = column + 0.5, row + 0.5
            left_over, scale = totals[pixel, 0], 1.0 / (totals[pixel, 1] + EPSILON)
            given, seen = ti.Vector.zero(float, channels), 0.0
            for c in ti.static(range(channels)):
                given[c] = grad_sums[pixel, c]
                seen += given[c] * sums[pixel, c]
            to_alpha = grad_alpha[pixel, 0]
            mean = seen  # what weights are compared with
            if ti.static(mode in (NORMALISED, SOFTMAX)):
                mean -= grad_cover[pixel, 0] * EPSILON * scale
            if ti.static(mode == COVERAGE):
                if alpha[pixel, 0] > 0.0:
                    mean /= alpha[pixel, 0]
                    scale *= alpha[pixel, 0]
                to_alpha += mean
            behind, through = seen - to_alpha * left_over, 1.0
            found, first, nearest, to_nearest = 0, slots[begin] * size, 0.0, 0.0
            for e in range(begin, end):
                item = entries[e]
                t, r = share_of(item, x, y, places, reach, constant, factor, kind)
                if t < 1.0:
                    own = opacities[item - view * count, 0]
                    value, slope = influence(t, tau, kind)
                    opacity, worth = opacity_of(own, value, kind), 0.0
                    for c in ti.static(range(channels)):
                        worth += given[c] * features[item, c]
                    at = slots[e] * size
                    weight, to_opacity = opacity, to_alpha
                    if ti.static(kind != PIXEL):
                        to_opacity *= left_over / (1.0 - opacity)
                    if ti.static(mode == ALPHA):
                        weight = opacity * through
                        behind -= weight * worth
                        to_opacity = through * worth - behind / (1.0 - opacity)
                        through *= 1.0 - opacity
                    if ti.static(mode == SUM):
                        to_opacity += worth
                    if ti.static(mode >= NORMALISED):
                        to_weight, fall = scale * (worth - mean), 1.0
                        if ti.static(mode == SOFTMAX):
                            if found == 0:
                                first, nearest = at, depths[item, 0]
                            fall = ti.exp((nearest - depths[item, 0]) * sharpness)
                            moved = sharpness * to_weight * opacity * fall
                            to_nearest += moved
                            records[at + 2] = records[at + 2] - moved
                        to_opacity += to_weight * fall
                        weight = opacity * fall * scale
                    for c in ti.static(range(channels)):
                        records[at + HEAD + c] = records[at + HEAD + c] + weight * given[c]
                    if ti.static(kind == PIXEL):
                        records[at + 4] = records[at + 4] + to_opacity
                    elif own * value < LARGEST:
                        to_share = to_opacity * own * slope / (r * r)
                        records[at] = records[at] - 2.0 * to_share * (x - places[item, 0])
                        records[at + 1] = records[at + 1] - 2.0 * to_share * (y - places[item, 1])
                        records[at + 3] = records[at + 3] - 2.0 * to_share * t * r
                        records[at + 4] = records[at + 4] + to_opacity * value
                    found += 1
                    if found == limit:
                        break
            if ti.static(mode == SOFTMAX):
                records[first + 2] = records[first + 2] + to_nearest


@ti.kernel
def gather(
    views: ti.i32, count: ti.i32, tile: ti.i32, box: A1, first: A1, records: A1, factor: float, grad_places: A2,
    grad_depths: A2, grad_reach: A2, grad_opacities: A2, size: ti.i32,
):  # fmt: skip
    """Adds the records' heads to the gradients, point by point."""
    for n in range(count):
        to_opacity = 0.0
        for view in range(views):
            item = view * count + n
            _, _, across, down = tiles_of(item, box, tile)
            total = ti.Vector.zero(float, HEAD)
            for slot in range(first[item], first[item] + across * down):
                for k in ti.static(range(HEAD)):
                    total[k] += records[slot * size + k]
            if across * down > 0:
                grad_places[item, 0] = grad_places[item, 0] + total[0]
                grad_places[item, 1] = grad_places[item, 1] + total[1]
                grad_depths[item, 0] = grad_depths[item, 0] + total[2]
                grad_reach[item, 0] = grad_reach[item, 0] + factor * total[3]
                to_opacity += total[4]
        grad_opacities[n, 0] = grad_opacities[n, 0] + to_opacity


@ti.kernel
def gather_features(
    items: ti.i32, tile: ti.i32, box: A1, first: A1, records: A1, head: ti.i32, grad_features: A2,
    channels: ti.template(),
):  # fmt: skip
    """Adds what follows the head of each record to the features' gradients."""
    for item in range(items):
        _, _, across, down = tiles_of(item, box, tile)
        total = ti.Vector.zero(float, channels)
        for slot in range(first[item], first[item] + across * down):
            for c in ti.static(range(channels)):
                total[c] += records[slot * (head + channels) + head + c]
        for c in ti.static(range(channels)):
            grad_features[item, c] = grad_features[item, c] + total[c]
