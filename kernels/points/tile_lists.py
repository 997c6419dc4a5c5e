"""From the pixel boxes of splats to entries (tile, splat), one for every tile that a box touches. No gradient.

box [items * 4]: first column, last column, first row, last row; empty where a last is less than its first. A view's
tiles come in scan order, the views one after another.
"""

import taichi as ti

from ..sort import float_key

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def tiles_of(item, box: ti.template(), tile):
    """First column and row of tiles, and how many across and down."""
    left, right, top, bottom = box[4 * item], box[4 * item + 1], box[4 * item + 2], box[4 * item + 3]
    across, down = right // tile - left // tile + 1, bottom // tile - top // tile + 1
    if right < left or bottom < top:
        across, down = 0, 0
    return left // tile, top // tile, across, down


@ti.kernel
def depth_keys(items: ti.i32, depth: A2, keys: A1):
    for item in range(items):
        keys[item] = float_key(depth[item, 0])


@ti.kernel
def count(items: ti.i32, tile: ti.i32, order: A1, box: A1, slots: A1):
    """slots [items + 1]: how many tiles each splat touches, in their order."""
    for rank in range(items):
        _, _, across, down = tiles_of(order[rank], box, tile)
        slots[rank] = across * down


@ti.kernel
def emit(
    items: ti.i32, per_view: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, order: A1, box: A1, slots: A1,
    first: A1, tiles: A1, owner: A1,
):  # fmt: skip
    """Slot by slot the tile and its splat; the slots of a splat begin at first[item]."""
    for rank in range(items):
        item = order[rank]
        column, row, across, down = tiles_of(item, box, tile)
        slot = slots[rank]
        first[item] = slot
        begin = (item // per_view * tiles_y + row) * tiles_x + column
        for k in range(down):
            for j in range(across):
                tiles[slot] = begin + k * tiles_x + j
                owner[slot] = item
                slot += 1


@ti.kernel
def arrange(size: ti.i32, slots: A1, source: A1, target: A1):
    """What stands by slot in the order of entries."""
    for k in range(size):
        target[k] = source[slots[k]]
