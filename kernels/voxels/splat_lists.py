"""Which splats lie over which pixels, near to far. No gradient.

Made in turn: box [items * 4], the pixels around a splat: first row, rows, first column, columns. drawn: the splats with
such pixels, near to far, those of view v in drawn[view_start[v] .. view_start[v + 1] - 1]. spans [2 * rows of all
boxes]: first column and the one after the last of a splat in one row of its box; those of a splat begin at
row_start[item]. lines: the splats over each row of pixels of each view. entries: those over each pixel,
entries[start[pixel] .. start[pixel + 1] - 1].

Lists keep the order of `drawn`: whoever fills one goes through it from near to far.
"""

import taichi as ti

from ..accumulate import SPREAD, turns

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def reach(splats: ti.template(), item):
    """R^2 of a splat."""
    return 10.0 * (splats[item, 3] / 6.0 + 1.0 / 12.0)


@ti.func
def span(middle, radius, pixels):
    """First and last pixel whose centre lies within a radius, inside an image."""
    first = ti.ceil(ti.max(middle - radius, -1.0) - 0.5, ti.i32)
    last = ti.floor(ti.min(middle + radius, pixels + 1.0) - 0.5, ti.i32)
    return ti.max(first, 0), ti.min(last, pixels - 1)


@ti.kernel
def boxes(
    items: ti.i32, n: ti.i32, height: ti.i32, width: ti.i32, splats: A2, values: A2, whole: ti.i32, depth: A1, box: A1
):
    """Also depth [items]. Empty are boxes out of the image or of near and far and, unless `whole`, of empty voxels."""
    for item in range(items):
        top, bottom, left, right = 0, -1, 0, -1
        if splats[item, 4] > 0.0 and (whole != 0 or values[item - item // n * n, 0] > 0.0):
            radius = ti.sqrt(reach(splats, item))
            top, bottom = span(splats[item, 1], radius, height)
            left, right = span(splats[item, 0], radius, width)
        inside = top <= bottom and left <= right
        box[4 * item] = top
        box[4 * item + 1] = bottom - top + 1 if inside else 0
        box[4 * item + 2] = left
        box[4 * item + 3] = right - left + 1 if inside else 0
        depth[item] = splats[item, 2]


@ti.kernel
def row_spans(count: ti.i32, width: ti.i32, splats: A2, drawn: A1, box: A1, row_start: A1, spans: A1):
    for at in range(count):
        item = drawn[at]
        whole = reach(splats, item)
        for k in range(box[4 * item + 1]):
            first, last = 0, -1
            off = box[4 * item] + k + 0.5 - splats[item, 1]
            rest = whole - off * off
            if rest > 0.0:
                first, last = span(splats[item, 0], ti.sqrt(rest), width)
            entry = 2 * (row_start[item] + k)
            left = box[4 * item + 2]
            spans[entry] = ti.max(first, left)
            spans[entry + 1] = ti.min(last + 1, left + box[4 * item + 3])


@ti.kernel
def lines(
    views: ti.i32, height: ti.i32, chunks: ti.i32, size: ti.i32, view_start: A1, drawn: A1, box: A1, cursor: A1,
    found: A1, fill: ti.template(),
):  # fmt: skip
    """cursor [chunks * views * height] counts each chunk's splats over each row; or, to fill, is where to put them.

    A chunk is `size` splats of a view, neighbours in `drawn`.
    """
    spread = turns(size)
    for ticket in range(chunks * views * spread):
        q = ticket // spread
        if ticket % spread != 0:
            continue
        view = q - q // views * views
        if ti.static(not fill):
            for row in range(height):
                cursor[q * height + row] = 0
        begin = view_start[view] + q // views * size
        for at in range(begin, ti.min(begin + size, view_start[view + 1])):
            item = drawn[at]
            slot = q * height + box[4 * item]
            for k in range(box[4 * item + 1]):
                if ti.static(fill):
                    found[cursor[slot + k]] = item
                cursor[slot + k] = cursor[slot + k] + 1


@ti.kernel
def count(
    views: ti.i32, height: ti.i32, width: ti.i32, line_start: A1, found: A1, box: A1, row_start: A1, spans: A1,
    counts: A1,
):  # fmt: skip
    """counts [views * height * width] of splats over each pixel; found: the lists of lines."""
    for ticket in range(views * height * SPREAD):
        line = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        base, row = line * width, line - line // height * height
        for column in range(width):
            counts[base + column] = 0
        for at in range(line_start[line], line_start[line + 1]):
            item = found[at]
            entry = 2 * (row_start[item] + row - box[4 * item])
            first, end = spans[entry], spans[entry + 1]
            if first < end:  # the counts' steps from each pixel to the next
                counts[base + first] = counts[base + first] + 1
                if end < width:
                    counts[base + end] = counts[base + end] - 1
        total = 0
        for column in range(width):
            total += counts[base + column]
            counts[base + column] = total


@ti.kernel
def fill(
    views: ti.i32, height: ti.i32, width: ti.i32, line_start: A1, found: A1, box: A1, row_start: A1, spans: A1,
    start: A1, cursor: A1, entries: A1,
):  # fmt: skip
    """Entries of every pixel; one thread fills a row of pixels."""
    for ticket in range(views * height * SPREAD):
        line = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        base, row = line * width, line - line // height * height
        for column in range(width):
            cursor[base + column] = start[base + column]
        for at in range(line_start[line], line_start[line + 1]):
            item = found[at]
            entry = 2 * (row_start[item] + row - box[4 * item])
            for column in range(spans[entry], spans[entry + 1]):
                place = cursor[base + column]
                entries[place] = item
                cursor[base + column] = place + 1
