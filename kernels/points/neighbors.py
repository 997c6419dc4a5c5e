"""Searches among points: nearest neighbours and those within a radius by a k-d tree, farthest-point sampling.

The tree (tidr/scene/neighbors.py) is complete: node 1 is its root, nodes 2n and 2n + 1 are the halves of node n, and
`leaves`, a power of two, is its first leaf. boxes [2 * leaves * 6]: lowest and highest corner of a node's points. Leaf
`leaves` + i holds places i * size .. (i + 1) * size - 1, positions places [leaves * size * 3]. No two are the same:
the points at a place are items[first[place] .. first[place + 1] - 1], in rising order; some places have none.
"""

import taichi as ti

from ..accumulate import turns

A1 = ti.types.ndarray(ndim=1)


@ti.func
def row3(array: ti.template(), row):
    return ti.Vector([array[3 * row], array[3 * row + 1], array[3 * row + 2]])


@ti.func
def box_square(boxes: ti.template(), node, query):
    """Squared distance of a point to a node's box, a little less to make up for rounding."""
    square = 0.0
    for axis in ti.static(range(3)):
        gap = ti.max(boxes[6 * node + axis] - query[axis], query[axis] - boxes[6 * node + 3 + axis])
        gap = ti.max(gap, 0.0)
        square += gap * gap
    return square * (1.0 - 1e-6)


@ti.func
def to_leaf(boxes: ti.template(), leaves, query, node, trail, done, limit):
    """(node, trail) of the next leaf whose box is within `limit`, a squared distance, nearer halves first.

    Where `done`, the search has been in `node`, otherwise it starts there. Bit b of `trail` says that b levels above
    the node the other half still waits. Node 0: there is no such leaf.
    """
    here, waiting, over = node, trail, done
    while here != 0 and (over != 0 or here < leaves):
        if over != 0:
            while waiting != 0 and (waiting & 1) == 0:
                here = here // 2
                waiting = waiting // 2
            if waiting == 0:
                here = 0
            else:
                here = here ^ 1
                waiting = waiting ^ 1
                over = 0 if box_square(boxes, here, query) <= limit else 1
        else:
            left, right = box_square(boxes, 2 * here, query), box_square(boxes, 2 * here + 1, query)
            waiting = 2 * waiting + (1 if ti.max(left, right) <= limit else 0)
            over = 0 if ti.min(left, right) <= limit else 1
            here = 2 * here + (1 if right < left else 0)
    return here, waiting


@ti.kernel
def nearest(
    count: ti.i32, k: ti.i32, itself: ti.i32, far: float, leaves: ti.i32, size: ti.i32, boxes: A1, places: A1,
    first: A1, items: A1, queries: A1, rows: A1, squares: A1, found: A1,
):  # fmt: skip
    """found, squares [rows * k]: the k nearest points of every query, by squared distance, then by number.

    queries [count * 3] belong to rows [count]; with `itself` point `row` is left out. Where there are fewer, found is
    -1 and squares is `far`.
    """
    for q in range(count):
        row = rows[q]
        for j in range(k):
            found[row * k + j] = -1
            squares[row * k + j] = far
        query, last = row3(queries, q), row * k + k - 1
        limit = far
        node, trail = to_leaf(boxes, leaves, query, 1, 0, 0, limit)
        while node != 0:
            for place in range((node - leaves) * size, (node - leaves + 1) * size):
                square = (row3(places, place) - query).norm_sqr()
                for at in range(first[place], first[place + 1]):
                    item = items[at]
                    if square > limit or (square == limit and item > found[last] and found[last] >= 0):
                        break
                    if itself == 0 or item != row:
                        slot = last
                        while slot > row * k:
                            before, other = squares[slot - 1], found[slot - 1]
                            if other >= 0 and (before < square or (before == square and other < item)):
                                break
                            squares[slot] = before
                            found[slot] = other
                            slot -= 1
                        squares[slot] = square
                        found[slot] = item
                        limit = squares[last]
            node, trail = to_leaf(boxes, leaves, query, node, trail, 1, limit)


@ti.kernel
def within(
    count: ti.i32, limit: ti.i32, radius_square: float, far: float, leaves: ti.i32, size: ti.i32, boxes: A1, places: A1,
    first: A1, items: A1, queries: A1, rows: A1, squares: A1, found: A1,
):  # fmt: skip
    """found, squares [rows * limit]: the first points, by number, that are nearer to a query than a radius."""
    for q in range(count):
        row, held = rows[q], 0
        for j in range(limit):
            found[row * limit + j] = -1
            squares[row * limit + j] = far
        query, last = row3(queries, q), row * limit + limit - 1
        node, trail = to_leaf(boxes, leaves, query, 1, 0, 0, radius_square)
        while node != 0:
            for place in range((node - leaves) * size, (node - leaves + 1) * size):
                square = (row3(places, place) - query).norm_sqr()
                end = first[place + 1] if square < radius_square else first[place]
                for at in range(first[place], end):
                    item = items[at]
                    if held == limit and item > found[last]:
                        break
                    held = ti.min(held + 1, limit)
                    slot = row * limit + held - 1
                    while slot > row * limit:
                        if found[slot - 1] < item:
                            break
                        squares[slot] = squares[slot - 1]
                        found[slot] = found[slot - 1]
                        slot -= 1
                    squares[slot] = square
                    found[slot] = item
            node, trail = to_leaf(boxes, leaves, query, node, trail, 1, radius_square)


@ti.kernel
def farthest(
    count: ti.i32, step: ti.i32, points: A1, chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, squares: A1,
    best: A1, which: A1, chosen: A1,
):  # fmt: skip
    """chosen[step + 1] = the point farthest from chosen[0 .. step], the lowest number of equals.

    squares [count]: squared distance of a point to those chosen before, -1 for one of them. best, which [chunks]: the
    farthest of each chunk of kernels/reduce.py.
    """
    spread = turns(size)
    for ticket in range(chunks * spread):
        chunk = ticket // spread
        if ticket % spread != 0:
            continue
        newest = chosen[step]
        center = row3(points, newest)
        top, at = -2.0, count
        for k in range(size):
            i = chunk * across + k * along
            if i < count:
                square = ti.min(squares[i], (row3(points, i) - center).norm_sqr())
                if i == newest:
                    square = -1.0
                squares[i] = square
                if square > top:
                    top = square
                    at = i
        best[chunk] = top
        which[chunk] = at
    for _ in range(1):
        top, at = best[0], which[0]
        for chunk in range(1, chunks):
            if best[chunk] > top or (best[chunk] == top and which[chunk] < at):
                top = best[chunk]
                at = which[chunk]
        chosen[step + 1] = at
