"""Splats of 3D Gaussians blended near to far, tile by tile; with adjoint.

A tile of 16 x 16 pixels is 16 blocks of 4 x 4, whose pixels are the lanes of vectors that stay in registers while the
tile's splats go by: compilers make vector code of that. `masks` tells for every slot which blocks of its tile the splat
touches; in the order of entries it is `mask`. A splat counts at a pixel where its opacity reaches `skip`, within
`sigmas` standard deviations; a pixel ends before the splat that would leave less than `stop` of what is behind.
Comparisons are such that a NaN among a splat's numbers ends up in the picture.

The adjoint walks in the same order and keeps of each pixel what is still to come, in parts of what is left of it, so
that nothing is stored per pixel and splat. Every entry gets its own record of sums over the tile's pixels, in its slot
(see `SplatLists`): those of s, s dx, s dy, s dx^2, s dx dy, s dy^2 with s the gradient of the logarithm of the opacity,
then that of each feature. `gather` adds them up splat by splat, in a fixed order and without atomics.
"""

import taichi as ti

from .gaussian_project import limit_of
from .tile_lists import tiles_of

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

TILE, EDGE = 16, 4
ACROSS = TILE // EDGE
BLOCKS, LANES = ACROSS * ACROSS, EDGE * EDGE
MOMENTS = 6
SLACK = 0.01  # pixels that a mask may be too wide
LARGEST_COLUMN = 1e6  # beyond any image
TERMS = (1.0, 0.6931471805599453, 0.24022650695910072, 0.05550410866482158, 0.009618129107628477, 0.0013333558146428443,
         0.00015403530393381608)  # fmt: skip  # ln(2)^k / k!


@ti.func
def exponential(x, quick: ti.template()):
    """e^x for x <= 0; `quick` as vector code can have it, for 32 bits, with a relative error of 2e-7."""
    found = 0.0
    if ti.static(quick):
        y = ti.select(x < -87.0, -87.0, x) * 1.4426950408889634  # a NaN stays one
        whole = ti.floor(y + 0.5)
        part = y - whole
        power = TERMS[6]
        for k in ti.static(range(5, -1, -1)):
            power = power * part + TERMS[k]
        found = power * ti.bit_cast((ti.cast(whole, ti.i32) + 127) << 23, ti.f32)
    else:
        found = ti.exp(x)
    return found


@ti.func
def place_of(tile, tiles_x, tiles_y):
    """View, first row and first column of a tile."""
    line = tile // tiles_x
    view = line // tiles_y
    return view, (line - view * tiles_y) * TILE, (tile - line * tiles_x) * TILE


@ti.func
def row_reach(slope, bend, full, turn, above, below):
    """How far an ellipse reaches to the left and to the right of its middle between two rows, from its middle too."""
    at_right, at_left = ti.min(ti.max(turn, above), below), ti.min(ti.max(-turn, above), below)
    to_right = ti.sqrt(ti.max(full - bend * at_right * at_right, 0.0)) - slope * at_right
    to_left = ti.sqrt(ti.max(full - bend * at_left * at_left, 0.0)) + slope * at_left
    return to_left, to_right


@ti.kernel
def masks(items: ti.i32, box: A1, first: A1, splats: A2, skip_log: float, sigmas_squared: float, mask: A1):
    """mask by slot: bits of the blocks of a tile that the splat's ellipse may touch."""
    for item in range(items):
        _, _, across, down = tiles_of(item, box, TILE)
        if across * down > 0:
            a, b, c = splats[item, 2], splats[item, 3], splats[item, 4]
            limit = limit_of(splats[item, 5], skip_log, sigmas_squared)
            slope, bend = b / a, ti.max((c - b * (b / a)) / a, 1e-30)
            turn = -b / c * ti.sqrt(limit * c / bend) / a  # row of the rightmost point; the leftmost is opposite
            x, y, slot = splats[item, 0] - 0.5, splats[item, 1] - 0.5, first[item]
            first_column, last_column = box[4 * item] // EDGE, box[4 * item + 1] // EDGE
            begin = box[4 * item] // TILE * ACROSS
            for tile_row in range(box[4 * item + 2] // TILE, box[4 * item + 3] // TILE + 1):
                low, high = ti.Vector.zero(ti.i32, ACROSS), ti.Vector.zero(ti.i32, ACROSS)
                for k in ti.static(range(ACROSS)):
                    row = tile_row * TILE + EDGE * k
                    low[k], high[k] = 1, 0
                    if row <= box[4 * item + 3] and row + EDGE > box[4 * item + 2]:
                        to_left, to_right = row_reach(slope, bend, limit / a, turn, row - y, row + (EDGE - 1.0) - y)
                        left, right = ti.max(x - to_left - SLACK, -1.0), ti.min(x + to_right + SLACK, LARGEST_COLUMN)
                        if left <= right:
                            low[k] = ti.max(ti.cast(ti.ceil(left), ti.i32) // EDGE, first_column)
                            high[k] = ti.min(ti.cast(ti.floor(right), ti.i32) // EDGE, last_column)
                for column in range(across):
                    bits, from_here = 0, begin + column * ACROSS
                    for k in ti.static(range(ACROSS)):
                        one, last = ti.max(low[k] - from_here, 0), ti.min(high[k] - from_here, ACROSS - 1)
                        if one <= last:
                            bits |= ((2 << last) - (1 << one)) << (ACROSS * k)
                    mask[slot] = bits
                    slot += 1


@ti.func
def half_conic(splats: ti.template(), item):
    """(a / 2, b, c / 2, logarithm of the opacity) of a splat."""
    return ti.Vector([0.5 * splats[item, 2], splats[item, 3], 0.5 * splats[item, 4], splats[item, 5]])


@ti.func
def log_opacity(conic, dx, dy):
    """Logarithm of the opacity so many columns and rows from the mean of a splat with this `half_conic`."""
    return conic[3] - (conic[0] * dx + conic[1] * dy) * dx - conic[2] * dy * dy


@ti.func
def log_floor(splats: ti.template(), item, skip_log, sigmas_squared):
    """Below this logarithm of its opacity a splat counts no more."""
    return splats[item, 5] - 0.5 * limit_of(splats[item, 5], skip_log, sigmas_squared)


@ti.func
def counted(power, floor, highest, quick: ti.template()):
    """Opacity of a splat at a pixel, and what it is before the cut at `highest`."""
    found = exponential(power, quick)
    return ti.select(power < floor, 0.0, ti.select(found > highest, highest, found)), found


@ti.func
def powers(splats: ti.template(), item, x, y):
    """Logarithm of the opacity at each lane."""
    power = ti.Vector.zero(float, LANES)
    column, row, conic = x - splats[item, 0], y - splats[item, 1], half_conic(splats, item)
    for j in ti.static(range(LANES)):
        power[j] = log_opacity(conic, column + ti.static(j % EDGE), row + ti.static(j // EDGE))
    return power


@ti.func
def most(values):
    found = values[0]
    for j in ti.static(range(1, LANES)):
        found = ti.max(found, values[j])
    return found


@ti.kernel
def blend(
    tiles: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, height: ti.i32, width: ti.i32, start: A1, entries: A1, mask: A1,
    splats: A2, features: A2, skip_log: float, sigmas_squared: float, highest: float, stop: float, sums: A2, alpha: A2,
    channels: ti.template(), quick: ti.template(), turns: ti.template(),
):  # fmt: skip
    """sums [pixels, C] of weight * feature, and alpha [pixels, 1]. With BLOCKS turns each block has its own thread."""
    for ticket in range(tiles * turns):
        tile, turn = ticket // turns, ticket % turns
        view, y0, x0 = place_of(tile, tiles_x, tiles_y)
        begin, end = 0, 0
        if ti.static(turns == BLOCKS):
            begin, end = turn, turn + 1
        elif turn == 0:
            end = BLOCKS
        for block in range(begin, end):
            left, top = x0 + block % ACROSS * EDGE, y0 + block // ACROSS * EDGE
            if left >= width or top >= height:
                continue
            through = ti.Vector.one(float, LANES)  # negative once the pixel has ended
            total = ti.Matrix.zero(float, channels, LANES)
            for e in range(start[tile], start[tile + 1]):
                if (mask[e] >> block) & 1 != 0:
                    item = entries[e]
                    power = powers(splats, item, left + 0.5, top + 0.5)
                    floor = log_floor(splats, item, skip_log, sigmas_squared)
                    for j in ti.static(range(LANES)):
                        opacity, _found = counted(power[j], floor, highest, quick)
                        weight = opacity * ti.max(through[j], 0.0)
                        left_over = through[j] - weight
                        ends = left_over < stop
                        weight = ti.select(ends, 0.0, weight)
                        for c in ti.static(range(channels)):
                            total[c, j] += weight * features[item, c]
                        through[j] = ti.select(ends, -ti.abs(through[j]), left_over)
                    if most(through) < 0.0:
                        break
            for j in ti.static(range(LANES)):
                column, row = left + ti.static(j % EDGE), top + ti.static(j // EDGE)
                if column < width and row < height:
                    pixel = (view * height + row) * width + column
                    alpha[pixel, 0] = 1.0 - ti.abs(through[j])
                    for c in ti.static(range(channels)):
                        sums[pixel, c] = total[c, j]


@ti.func
def add_moments(records: ti.template(), at, s, dx, dy):
    """Adds the sums over the lanes to a record; dx and dy are those of the first lane.

    Sums about the first lane come first: their weights are whole numbers, so that rows and columns share work.
    """
    c, d, e = ti.Vector.zero(float, EDGE), ti.Vector.zero(float, EDGE), ti.Vector.zero(float, EDGE)
    for i in ti.static(range(EDGE)):
        for j in ti.static(range(EDGE)):
            c[i] += s[EDGE * j + i]
            d[i] += ti.static(float(j)) * s[EDGE * j + i]
            e[i] += ti.static(float(j * j)) * s[EDGE * j + i]
    whole, x, y, xx, xy, yy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in ti.static(range(EDGE)):
        whole += c[i]
        x += ti.static(float(i)) * c[i]
        xx += ti.static(float(i * i)) * c[i]
        y += d[i]
        xy += ti.static(float(i)) * d[i]
        yy += e[i]
    records[at] = records[at] + whole
    records[at + 1] = records[at + 1] + (dx * whole + x)
    records[at + 2] = records[at + 2] + (dy * whole + y)
    records[at + 3] = records[at + 3] + (dx * (dx * whole + 2.0 * x) + xx)
    records[at + 4] = records[at + 4] + (dx * (dy * whole + y) + dy * x + xy)
    records[at + 5] = records[at + 5] + (dy * (dy * whole + 2.0 * y) + yy)


@ti.kernel
def blend_adjoint(
    begin: ti.i32, end: ti.i32, tiles: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, height: ti.i32, width: ti.i32,
    start: A1, entries: A1, slots: A1, mask: A1, splats: A2, features: A2, skip_log: float, sigmas_squared: float,
    highest: float, stop: float, sums: A2, alpha: A2, grad_sums: A2, grad_alpha: A2, records: A1,
    channels: ti.template(), quick: ti.template(), turns: ti.template(),
):  # fmt: skip
    """Adds to the records [slots * (6 + C)] what blocks begin .. end - 1 of each tile give; block 0 clears them."""
    size = ti.static(MOMENTS + channels)
    for ticket in range(tiles * turns):
        tile = ticket // turns
        if ticket % turns != 0:
            continue
        view, y0, x0 = place_of(tile, tiles_x, tiles_y)
        if begin == 0:
            for e in range(start[tile], start[tile + 1]):
                for k in ti.static(range(size)):
                    records[slots[e] * size + k] = 0.0
        for block in range(begin, end):
            left, top = x0 + block % ACROSS * EDGE, y0 + block // ACROSS * EDGE
            if left >= width or top >= height:
                continue
            through, behind = ti.Vector.one(float, LANES), ti.Vector.zero(float, LANES)
            given = ti.Matrix.zero(float, channels, LANES)
            for j in ti.static(range(LANES)):
                column, row = left + ti.static(j % EDGE), top + ti.static(j // EDGE)
                if column < width and row < height:
                    pixel = (view * height + row) * width + column
                    behind[j] = -grad_alpha[pixel, 0] * (1.0 - alpha[pixel, 0])
                    for c in ti.static(range(channels)):
                        given[c, j] = grad_sums[pixel, c]
                        behind[j] += given[c, j] * sums[pixel, c]
            for e in range(start[tile], start[tile + 1]):
                if (mask[e] >> block) & 1 != 0:
                    item = entries[e]
                    power = powers(splats, item, left + 0.5, top + 0.5)
                    floor = log_floor(splats, item, skip_log, sigmas_squared)
                    s, weights = ti.Vector.zero(float, LANES), ti.Vector.zero(float, LANES)
                    for j in ti.static(range(LANES)):
                        opacity, found = counted(power[j], floor, highest, quick)
                        weight = opacity * ti.max(through[j], 0.0)
                        left_over = through[j] - weight
                        ends = left_over < stop
                        weights[j] = ti.select(ends, 0.0, weight)
                        opacity = ti.select(ends, 0.0, opacity)
                        value = 0.0
                        for c in ti.static(range(channels)):
                            value += given[c, j] * features[item, c]
                        behind[j] = (behind[j] - opacity * value) / (1.0 - opacity)
                        s[j] = ti.select(found > highest, 0.0, weights[j] * (value - behind[j]))
                        through[j] = ti.select(ends, -ti.abs(through[j]), left_over)
                    at = slots[e] * size
                    add_moments(records, at, s, left + 0.5 - splats[item, 0], top + 0.5 - splats[item, 1])
                    for c in ti.static(range(channels)):
                        total = 0.0
                        for j in ti.static(range(LANES)):
                            total += weights[j] * given[c, j]
                        records[at + MOMENTS + c] = records[at + MOMENTS + c] + total
                    if most(through) < 0.0:
                        break


@ti.kernel
def gather(
    items: ti.i32, box: A1, first: A1, records: A1, splats: A2, grad_splats: A2, grad_features: A2,
    channels: ti.template(),
):  # fmt: skip
    """Adds each splat's records to its gradients."""
    size = ti.static(MOMENTS + channels)
    for item in range(items):
        _, _, across, down = tiles_of(item, box, TILE)
        total = ti.Vector.zero(float, size)
        for slot in range(first[item], first[item] + across * down):
            for k in ti.static(range(size)):
                total[k] += records[slot * size + k]
        if across * down > 0:
            a, b, c = splats[item, 2], splats[item, 3], splats[item, 4]
            grad_splats[item, 0] = grad_splats[item, 0] + a * total[1] + b * total[2]
            grad_splats[item, 1] = grad_splats[item, 1] + b * total[1] + c * total[2]
            grad_splats[item, 2] = grad_splats[item, 2] - 0.5 * total[3]
            grad_splats[item, 3] = grad_splats[item, 3] - total[4]
            grad_splats[item, 4] = grad_splats[item, 4] - 0.5 * total[5]
            grad_splats[item, 5] = grad_splats[item, 5] + total[0]
            for k in ti.static(range(channels)):
                grad_features[item, k] = grad_features[item, k] + total[MOMENTS + k]
