"""Points in the buckets of a hash grid, and the buckets that a ball or a stretch of a ray can reach.

Space is cut into cubes, cells, of `1 / inverse` a side. A cell's points lie together, in rising order, in a bucket that
a hash of the cell names, perhaps with those of other cells: `start` [buckets + 1] says where a bucket begins, `mask` is
buckets - 1, a power of two less 1. `bounds` [6] are the lowest and the highest corner of a box around the points. The
order depends on nothing but the points' order. Made by tidr/renderers/photon_grid.py.

A search goes through `count` runs of points; run by run `run` says where they begin and end, and `belongs` whether a
point there is one of the cell's. Every point within reach comes up exactly once, others may. Where there would be more
cells than points, the only run is all points.
"""

import taichi as ti

from ..accumulate import load3, turns

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

EDGE = 1 << 29  # cells with larger coordinates are one with the outermost
FAR = 1e30
ALL, CAUSTIC, GLOBAL = 0, 1, 2  # which photons a grid holds
LEFT_OUT = -1  # the flags of a row that holds no photon


@ti.func
def cell_of(x, inverse):
    return ti.cast(ti.floor(ti.math.clamp(x * inverse, -EDGE, EDGE)), ti.i32)


@ti.func
def bucket_of(cell, mask):
    """Teschner et al. 2003, "Optimized Spatial Hashing for Collision Detection of Deformable Objects", mixed once."""
    word = ti.cast(cell[0], ti.u32) * ti.u32(73856093)
    word ^= ti.cast(cell[1], ti.u32) * ti.u32(19349663)
    word ^= ti.cast(cell[2], ti.u32) * ti.u32(83492791)
    word = (word ^ ti.bit_shr(word, 15)) * ti.u32(2246822519)
    return ti.cast(word ^ ti.bit_shr(word, 13), ti.i32) & mask


@ti.func
def held(positions: ti.template(), flags: ti.template(), row, which):
    """Whether a row is a point that the grid is asked to hold; what has no place, for want of a number, is not."""
    x, flag = load3(positions, row), flags[row]
    there = flag >= 0 and (which == ALL or (flag & 1) == 2 - which)
    for axis in ti.static(range(3)):
        there = there and not (ti.math.isnan(x[axis]) or ti.math.isinf(x[axis]))
    return there


@ti.kernel
def bucket_keys(
    room: ti.i32, rows: ti.i32, inverse: float, mask: ti.i32, which: ti.i32, positions: A2, flags: A1, keys: A1
):
    """keys [room] = bucket of each row; one beyond the last for those that the grid does not hold."""
    for row in range(room):
        key = mask + 1
        if row < rows:
            if held(positions, flags, row, which):
                key = bucket_of(cell_of(load3(positions, row), inverse), mask)
        keys[row] = key


@ti.kernel
def bound(
    rows: ti.i32, which: ti.i32, positions: A2, flags: A1, chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32,
    part: A1, bounds: A1,
):  # fmt: skip
    """bounds [6]; FAR and -FAR where there are no points. Rows are shared out as in kernels/reduce.py, part [6 p]."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        chunk = ticket // spread
        if ticket % spread != 0:
            continue
        low, high = ti.Vector([FAR, FAR, FAR]), ti.Vector([-FAR, -FAR, -FAR])
        for k in range(size):
            row = chunk * across + k * along
            if row < rows:
                if held(positions, flags, row, which):
                    low, high = ti.min(low, load3(positions, row)), ti.max(high, load3(positions, row))
        for axis in ti.static(range(3)):
            part[6 * chunk + axis] = low[axis]
            part[6 * chunk + 3 + axis] = high[axis]
    for axis in range(3):
        low, high = FAR, -FAR
        for chunk in range(chunks):
            low = ti.min(low, part[6 * chunk + axis])
            high = ti.max(high, part[6 * chunk + 3 + axis])
        bounds[axis] = low
        bounds[3 + axis] = high


@ti.kernel
def arrange(
    buckets: ti.i32, start: A1, order: A1, source: A2, columns: ti.i32, stride: ti.i32, first: ti.i32, target: A1
):
    """target [points * stride], from column `first` on: the rows of source [rows, columns] in the grid's order."""
    for place in range(start[buckets]):
        for k in range(columns):
            target[place * stride + first + k] = source[order[place], k]


@ti.func
def ball(x, reach, inverse, bounds: ti.template(), points):
    """(first cell, cells along each axis, runs) of what lies within `reach` of x; `points` is how many there are."""
    low, size, runs = ti.Vector([0, 0, 0]), ti.Vector([1, 1, 1]), 0
    lower = ti.max(x - reach, ti.Vector([bounds[0], bounds[1], bounds[2]]))
    upper = ti.min(x + reach, ti.Vector([bounds[3], bounds[4], bounds[5]]))
    if points > 0 and (lower <= upper).all():
        low = cell_of(lower, inverse)
        size = cell_of(upper, inverse) - low + 1
        cells = ti.cast(size[0], float) * size[1] * size[2]
        runs = size[0] * size[1] * size[2] if cells <= points else -1
    return low, size, runs


@ti.func
def run(turn, runs, low, size, mask, start: ti.template()):
    """(begin, end, cell) of one run; where `runs` is -1 that of all points, and the cell means nothing."""
    begin, end, cell = 0, start[mask + 1], low
    if runs >= 0:
        line = turn // size[0]
        cell[0] += turn - line * size[0]
        cell[1] += line % size[1]
        cell[2] += line // size[1]
        bucket = bucket_of(cell, mask)
        begin = start[bucket]
        end = start[bucket + 1]
    return begin, end, cell


@ti.func
def belongs(x, cell, runs, inverse):
    """Whether a point of a run is one of its cell; others share its bucket."""
    return runs < 0 or (cell_of(x, inverse) == cell).all()
