"""Points into a grid of the view frustum, smoothed, and seen along its rays; with adjoints.

places [items, 2] and depths [items, 1]: column and row in pixels, and depth, of the points of view 0, then those of
view 1, and so on; reach [items, 1] is negative for what the camera does not see. A view's grid has side^3 cells: side
across the picture, down it, and from `near` to `far`. Along a ray cells are neighbours, near to far:
cell = ((view * side + j) * side + i) * side + s. Channels lie one after another in grids [channels * cells, 1]: mass,
and with colours mass times colour.
"""

import taichi as ti

from ..accumulate import TASK, add
from ..volume.grid import cell, corner_row, corner_weight

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

FULL = 1.0  # where occupancies are clipped
NOTHING = 1e-30  # mass below which a cell has no colour


@ti.func
def place_in(
    places: ti.template(), depths: ti.template(), reach: ti.template(), item, width, height, near, far, side
):  # fmt: skip
    """Whether a point is in the grid, and its place (row within the view's grid, steps, at, slope), depth first."""
    p = ti.Vector([depths[item, 0], places[item, 0], places[item, 1]])
    lower, upper = ti.Vector([near, 0.0, 0.0]), ti.Vector([far, width, height])
    inside = reach[item, 0] >= 0.0
    for axis in ti.static(range(3)):
        inside = inside and p[axis] >= lower[axis] and p[axis] <= upper[axis]
    row, steps, at, slope = cell(p, lower, upper, ti.Vector([side, side, side]))
    return inside, row, steps, at, slope


@ti.func
def amount(masses: ti.template(), colors: ti.template(), item, point, channel):
    """What a point brings to a channel: its mass, times its colour for channels 1 to 3."""
    out = masses[point, 0]
    if channel > 0:
        out *= colors[item, channel - 1]
    return out


@ti.kernel
def scatter_private(
    chunks: ti.i32, items: ti.i32, per_view: ti.i32, width: float, height: float, near: float, far: float,
    side: ti.i32, channels: ti.i32, cells: ti.i32, places: A2, depths: A2, reach: A2, masses: A2, colors: A2,
    part: A1,
):  # fmt: skip
    """part [chunks * channels * cells] += the points' amounts, shared out among the eight nearest cell centres."""
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        for item in range(p * items // chunks, (p + 1) * items // chunks):
            inside, row, steps, at, _ = place_in(places, depths, reach, item, width, height, near, far, side)
            if inside:
                view = item // per_view
                base = p * channels * cells + view * side * side * side
                for channel in range(channels):
                    value = amount(masses, colors, item, item - view * per_view, channel)
                    for corner in ti.static(range(8)):
                        slot = base + channel * cells + corner_row(row, steps, corner)
                        add(part, slot, corner_weight(at, corner) * value, False)


@ti.kernel
def scatter_atomic(
    items: ti.i32, per_view: ti.i32, width: float, height: float, near: float, far: float, side: ti.i32,
    channels: ti.i32, cells: ti.i32, places: A2, depths: A2, reach: A2, masses: A2, colors: A2, part: A1,
):  # fmt: skip
    """The same with a thread for every point and corner."""
    for ticket in range(items * 8):
        item, chosen = ticket // 8, ticket % 8
        inside, row, steps, at, _ = place_in(places, depths, reach, item, width, height, near, far, side)
        weight, slot = 0.0, 0
        for corner in ti.static(range(8)):
            if corner == chosen:
                weight = corner_weight(at, corner)
                slot = corner_row(row, steps, corner)
        if inside:
            view = item // per_view
            slot += view * side * side * side
            for channel in range(channels):
                value = amount(masses, colors, item, item - view * per_view, channel)
                add(part, channel * cells + slot, weight * value, True)


@ti.kernel
def scatter_adjoint(
    count: ti.i32, views: ti.i32, width: float, height: float, near: float, far: float, side: ti.i32,
    channels: ti.i32, cells: ti.i32, places: A2, depths: A2, reach: A2, masses: A2, colors: A2, grad_grid: A2,
    grad_places: A2, grad_depths: A2, grad_masses: A2, grad_colors: A2, to_masses: ti.template(),
    to_colors: ti.template(),
):  # fmt: skip
    for n in range(count):
        to_mass = 0.0
        for view in range(views):
            item = view * count + n
            inside, row, steps, at, slope = place_in(places, depths, reach, item, width, height, near, far, side)
            if inside:
                to_at = ti.Vector([0.0, 0.0, 0.0])
                for channel in range(channels):
                    base, read, moved = channel * cells + view * side * side * side, 0.0, ti.Vector([0.0, 0.0, 0.0])
                    for corner in ti.static(range(8)):
                        value = grad_grid[base + corner_row(row, steps, corner), 0]
                        read += corner_weight(at, corner) * value
                        for axis in ti.static(range(3)):
                            share = 1.0 if ti.static(corner >> axis & 1) else -1.0
                            for other in ti.static(range(3)):
                                if ti.static(other != axis):
                                    share *= at[other] if ti.static(corner >> other & 1) else 1.0 - at[other]
                            moved[axis] += share * value
                    to_at += amount(masses, colors, item, n, channel) * moved
                    if channel == 0:
                        to_mass += read
                    else:
                        to_mass += colors[item, channel - 1] * read
                        if ti.static(to_colors):
                            grad_colors[item, channel - 1] = grad_colors[item, channel - 1] + masses[n, 0] * read
                to_at *= slope
                grad_depths[item, 0] = grad_depths[item, 0] + to_at[0]
                grad_places[item, 0] = grad_places[item, 0] + to_at[1]
                grad_places[item, 1] = grad_places[item, 1] + to_at[2]
        if ti.static(to_masses):
            grad_masses[n, 0] = grad_masses[n, 0] + to_mass


@ti.kernel
def smooth(size: ti.i32, side: ti.i32, stride: ti.i32, taps: ti.i32, sigma: float, source: A2, out: A2):
    """Convolve along the axis of a stride with a Gaussian of an odd number of taps that sum to 1; 0 outside the grid.

    It is its own adjoint.
    """
    half = taps // 2
    for at in range(size):
        place = at // stride % side
        total, whole = 0.0, 0.0
        for k in range(-half, half + 1):
            weight = ti.exp(-0.5 * (k / sigma) * (k / sigma))
            whole += weight
            if place + k >= 0 and place + k < side:
                total += weight * source[at + k * stride, 0]
        out[at, 0] = total / whole


@ti.kernel
def clip(cells: ti.i32, grid: A2, out: A1):
    """out = the occupancies: masses, at most 1."""
    for at in range(cells):
        out[at] = ti.min(grid[at, 0], FULL)


@ti.kernel
def clip_adjoint(cells: ti.i32, grid: A2, grad_out: A1, grad_grid: A2):
    for at in range(cells):
        if grid[at, 0] < FULL:
            grad_grid[at, 0] = grad_grid[at, 0] + grad_out[at]


@ti.func
def color_of(grid: ti.template(), cells, at, channel):
    """Mean colour of what is in a cell."""
    out = 0.0
    if grid[at, 0] > NOTHING:
        out = grid[(channel + 1) * cells + at, 0] / grid[at, 0]
    return out


@ti.kernel
def look(
    rays: ti.i32, side: ti.i32, cells: ti.i32, near: float, far: float, weights: A1, grid: A2, channels: ti.i32,
    depths: A2, colors: A2,
):  # fmt: skip
    """Sums along each ray of weight * depth of the cell [rays, 1], and of weight * its colour [rays, C]."""
    step = (far - near) / side
    for ray in range(rays):
        total = 0.0
        for channel in range(channels):
            colors[ray, channel] = 0.0
        for s in range(side):
            weight = weights[ray * side + s]
            total += weight * (near + (s + 0.5) * step)
            for channel in range(channels):
                old = colors[ray, channel]
                colors[ray, channel] = old + weight * color_of(grid, cells, ray * side + s, channel)
        depths[ray, 0] = total


@ti.kernel
def look_adjoint(
    side: ti.i32, cells: ti.i32, near: float, far: float, weights: A1, grid: A2, channels: ti.i32, grad_depths: A2,
    grad_colors: A2, grad_weights: A1, grad_grid: A2,
):  # fmt: skip
    """Writes grad_weights [cells]; adds to grad_grid what comes by the cells' colours."""
    step = (far - near) / side
    for at in range(cells):
        ray = at // side
        s = at - ray * side
        total, to_mass = grad_depths[ray, 0] * (near + (s + 0.5) * step), 0.0
        for channel in range(channels):
            color = color_of(grid, cells, at, channel)
            g = grad_colors[ray, channel]
            total += g * color
            if grid[at, 0] > NOTHING:
                back = weights[at] * g / grid[at, 0]
                slot = (channel + 1) * cells + at
                grad_grid[slot, 0] = grad_grid[slot, 0] + back
                to_mass -= back * color
        grad_grid[at, 0] = grad_grid[at, 0] + to_mass
        grad_weights[at] = total


@ti.func
def bilinear(pixel, width, height, side):
    """First of four rays around a pixel's centre, the steps to its neighbours, and how far it is between them."""
    line = pixel // width
    view, i = line // height, pixel - line * width
    j = line - view * height
    x = ti.max(ti.min((i + 0.5) * side / width - 0.5, side - 1.0), 0.0)
    y = ti.max(ti.min((j + 0.5) * side / height - 0.5, side - 1.0), 0.0)
    left, top = ti.min(ti.cast(x, ti.i32), side - 1), ti.min(ti.cast(y, ti.i32), side - 1)
    right, below = ti.min(left + 1, side - 1) - left, (ti.min(top + 1, side - 1) - top) * side
    return (view * side + top) * side + left, right, below, x - left, y - top


@ti.kernel
def resample(pixels: ti.i32, width: ti.i32, height: ti.i32, side: ti.i32, channels: ti.i32, source: A2, out: A2):
    """From rays [views * side * side, C] to pixels, interpolated where there are more or fewer of them."""
    for pixel in range(pixels):
        ray, right, below, u, v = bilinear(pixel, width, height, side)
        for channel in range(channels):
            upper = (1.0 - u) * source[ray, channel] + u * source[ray + right, channel]
            lower = (1.0 - u) * source[ray + below, channel] + u * source[ray + below + right, channel]
            out[pixel, channel] = (1.0 - v) * upper + v * lower


@ti.kernel
def resample_adjoint(
    rays: ti.i32, width: ti.i32, height: ti.i32, side: ti.i32, channels: ti.i32, grad_out: A2, grad_source: A2
):
    """Gathers: each ray goes through the pixels whose centres lie less than one ray away."""
    for ray in range(rays):
        line = ray // side
        view, i = line // side, ray - line * side
        j = line - view * side
        left, right = neighbours_of(i, width, side)
        top, bottom = neighbours_of(j, height, side)
        for channel in range(channels):
            total = 0.0
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    share = reach_of(x, i, width, side) * reach_of(y, j, height, side)
                    total += share * grad_out[(view * height + y) * width + x, channel]
            grad_source[ray, channel] = grad_source[ray, channel] + total


@ti.func
def neighbours_of(ray, pixels, side):
    """First and last pixel of a line that read a ray; outermost rays serve all beyond."""
    first = ti.cast(ti.floor((ray - 0.5) * pixels / side - 0.5), ti.i32)
    last = ti.cast(ti.ceil((ray + 1.5) * pixels / side - 0.5), ti.i32)
    return ti.max(first, 0), ti.min(last, pixels - 1)


@ti.func
def reach_of(pixel, ray, pixels, side):
    """Share of a ray in a pixel's value, along one axis."""
    x = ti.max(ti.min((pixel + 0.5) * side / pixels - 0.5, side - 1.0), 0.0)
    return ti.max(1.0 - ti.abs(x - ray), 0.0)
