"""Directions by how bright an environment is there: alias tables over its cells, made on the device.

A cell (r, c) lies between the centres of four neighbouring texels of the map [H, W] (kernels/environment.py), where
look-ups are bilinear; the first and last of the H + 1 rows are half as high and reach the poles. A cell's density over
solid angle is even: in proportion to the mean luminance of its corners, plus `FLOOR` times the mean of the whole map.
So no direction that has radiance, or could have some, is left out, and a constant environment is sampled evenly.

`table` is flat: three numbers for each of the H + 1 rows, then for each of the (H + 1) W cells: what an alias table
(Walker 1977) keeps, threshold and alias, and the weight, which for a cell ends as its density. Behind them stands the
integral of the luminance over the sphere. Rows are chosen first, then a cell in the row. The tables are made by
sweeping (Huebschle-Schneider and Sanders 2019, "Parallel Weighted Random Sampling"), a thread for each row.
"""

import taichi as ti

from ..accumulate import SPREAD, load3
from ..environment import place
from .light_shapes import cap_of
from .sampling import PI

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

FLOOR = 0.05


def size(height: int, width: int) -> int:
    """Numbers in the table of a map."""
    return 3 * (height + 1) * (width + 1) + 1


@ti.func
def luminance(color):
    return 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]


@ti.func
def span(row, height):
    """1 - cos at both ends of a row, from the pole that is nearer (exact near both), and that pole, 1 up or -1 down."""
    low = ti.max(row - 0.5, 0.0) / height
    high = ti.min(row + 0.5, height * 1.0) / height
    pole = 1.0
    if low + high > 1.0:
        low, high = 1.0 - low, 1.0 - high
        pole = -1.0
    return cap_of(PI * low), cap_of(PI * high), pole


@ti.func
def solid_angle(row, height, width):
    """Of a cell of a row."""
    low, high, _pole = span(row, height)
    return 2.0 * PI / width * ti.abs(high - low)


@ti.func
def sweep(table: ti.template(), first, n):
    """Thresholds and aliases of items first to first + n - 1, whose weights are all above 0."""
    total = 0.0
    for k in range(n):
        total += table[3 * (first + k) + 2]
    mean = total / n
    light, heavy = 0, 0
    while light < n and table[3 * (first + light) + 2] > mean:
        light += 1
    while heavy < n and table[3 * (first + heavy) + 2] <= mean:
        heavy += 1
    rest = 0.0
    if heavy < n:
        rest = table[3 * (first + heavy) + 2]
    # Each turn settles one item: what the heavy one has in excess fills a light one, until it is light itself.
    for _ in range(n):
        settled, threshold, alias = -1, 1.0, 0
        if heavy < n and (rest <= mean or light >= n):
            settled, threshold = heavy, rest / mean
            heavy += 1
            while heavy < n and table[3 * (first + heavy) + 2] <= mean:
                heavy += 1
            alias = heavy
            if heavy < n:
                rest += table[3 * (first + heavy) + 2] - mean
            else:
                threshold = 1.0
        elif light < n:
            settled = light
            if heavy < n:
                weight = table[3 * (first + light) + 2]
                threshold, alias = weight / mean, heavy
                rest -= mean - weight
            light += 1
            while light < n and table[3 * (first + light) + 2] > mean:
                light += 1
        if settled >= 0:
            table[3 * (first + settled)] = ti.min(threshold, 1.0)
            table[3 * (first + settled) + 1] = ti.cast(ti.min(alias, n - 1), float)


@ti.kernel
def weigh(height: ti.i32, width: ti.i32, texels: A2, table: A1):
    """Weights of cells and of rows: their luminance alone."""
    for ticket in range((height + 1) * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        total = 0.0
        for column in range(width):
            right = column + 1 if column + 1 < width else 0
            above, below = ti.max(row - 1, 0) * width, ti.min(row, height - 1) * width
            mean = 0.0
            for corner in ti.static(range(4)):
                at = (below if ti.static(corner // 2) else above) + (right if ti.static(corner % 2) else column)
                mean += 0.25 * ti.max(luminance(load3(texels, at)), 0.0)
            table[3 * (height + 1 + row * width + column) + 2] = mean
            total += mean
        table[3 * row + 2] = total * solid_angle(row, height, width)


@ti.kernel
def tabulate(height: ti.i32, width: ti.i32, table: A1):
    """From the weights to the tables and densities."""
    for _ in range(1):
        total = 0.0
        for row in range(height + 1):
            total += table[3 * row + 2]
        table[3 * (height + 1) * (width + 1)] = total
        floor = total * FLOOR / (4.0 * PI)
        if not total > 0.0:
            floor = 1.0
        for row in range(height + 1):
            table[3 * row + 2] = table[3 * row + 2] + floor * width * solid_angle(row, height, width)
        sweep(table, 0, height + 1)
    for ticket in range((height + 1) * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        total = table[3 * (height + 1) * (width + 1)]
        floor, whole = total * FLOOR / (4.0 * PI), total * (1.0 + FLOOR)
        if not total > 0.0:
            floor, whole = 1.0, 4.0 * PI
        first = height + 1 + row * width
        for column in range(width):
            table[3 * (first + column) + 2] = table[3 * (first + column) + 2] + floor
        sweep(table, first, width)
        for column in range(width):
            table[3 * (first + column) + 2] = table[3 * (first + column) + 2] / whole


@ti.func
def pick(table: ti.template(), first, n, u):
    """An item of n from `first` on, and a number in [0, 1) that is left of u."""
    item = ti.min(ti.cast(u * n, ti.i32), n - 1)
    rest = ti.min(ti.max(u * n - item, 0.0), 1.0)
    threshold = table[3 * (first + item)]
    if rest < threshold:
        rest /= threshold
    else:
        rest = (rest - threshold) / ti.max(1.0 - threshold, 1e-30)
        item = ti.min(ti.max(ti.cast(table[3 * (first + item) + 1], ti.i32), 0), n - 1)
    return item, ti.min(ti.max(rest, 0.0), 1.0)


@ti.func
def sample(u1, u2, angle, height, width, table: ti.template()):
    """A unit direction (world) and its density per solid angle, for a map turned by `angle`."""
    row, along = pick(table, 0, height + 1, u1)
    column, across = pick(table, height + 1 + row * width, width, u2)
    low, high, pole = span(row, height)
    h = low + along * (high - low)
    radius = ti.sqrt(ti.max(h * (2.0 - h), 0.0))
    longitude = 2.0 * PI * ((column + across + 0.5) / width - 0.5) - angle
    d = ti.Vector([radius * ti.sin(longitude), pole * (1.0 - h), -radius * ti.cos(longitude)])
    return d, table[3 * (height + 1 + row * width + column) + 2]


@ti.func
def pdf(d, angle, height, width, table: ti.template()):
    """Density per solid angle with which `sample` gives the direction d."""
    x, y = place(d, angle, height, width)
    column, row = ti.cast(ti.floor(x), ti.i32), ti.cast(ti.floor(y), ti.i32) + 1
    if column < 0:
        column += width
    column, row = ti.min(ti.max(column, 0), width - 1), ti.min(ti.max(row, 0), height)
    return table[3 * (height + 1 + row * width + column) + 2]
