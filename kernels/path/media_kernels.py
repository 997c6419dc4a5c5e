"""What would have come from the places that replayed paths picked (medium_adjoint.py), and the gradients from there."""

import taichi as ti

from .. import rng
from ..accumulate import TASK
from ..compiling import large
from ..transport import medium
from ..transport.tables import Tables
from .medium_adjoint import SHARE, SUM, USUAL, VERTICES, WAY, WHICH, X
from .trace import walk

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)

AGAIN = 1 << 20  # beyond all dimensions of a path: the key of the walk from its picked place


@ti.func
def three(picks: ti.template(), row, column):
    return ti.Vector([picks[row, column], picks[row, column + 1], picks[row, column + 2]])


@large
@ti.kernel
def scatter_again(
    mask: ti.template(), light_kinds: ti.template(), first: ti.i32, rows: ti.i32, samples: ti.i32, seed: ti.i32,
    max_depth: ti.i32, roulette_depth: ti.i32, nodes: A1, leaves: A1I, faces: A2, positions: A2, normals: A2, uvs: A2,
    colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2, alias: A1,
    media: A2, media_places: A2, media_values: A2, column: ti.i32, picks: A2,
):  # fmt: skip
    """Turns the SUM of each pick, which starts at `column`, into the gradient of the density there."""
    for row in range(rows):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        if picks[row, column + SUM] > 0.0:
            local = row // samples
            key = rng.mix(rng.key(seed, first + local, row - local * samples), AGAIN)
            light, _met = walk(
                mask, light_kinds, t, three(picks, row, column + X), three(picks, row, column + WAY), key,
                ti.cast(picks[row, column + VERTICES], ti.i32), ti.cast(picks[row, column + WHICH], ti.i32), max_depth,
                roulette_depth, 0, None, 0,
            )  # fmt: skip
            light -= three(picks, row, column + USUAL)
            picks[row, column + SUM] *= three(picks, row, column + SHARE).dot(light)


@ti.func
def settle(
    mask: ti.template(), atomic: ti.template(), media: ti.template(), media_places: ti.template(),
    media_values: ti.template(), picks: ti.template(), row, column, part: ti.template(), copy,
):  # fmt: skip
    t = ti.static(Tables(*[None] * 15, media, media_places, media_values))
    which = ti.cast(picks[row, column + WHICH], ti.i32)
    x, g = three(picks, row, column + X), picks[row, column + SUM]
    medium.density_scatter(mask, t, part, copy * media_values.shape[0], which, x, g, atomic)


@large
@ti.kernel
def settle_chunks(
    mask: ti.template(), block: ti.template(), chunks: ti.i32, rows: ti.i32, media: A2, media_places: A2,
    media_values: A2, column: ti.i32, picks: A2, part: A1,
):  # fmt: skip
    """For a CPU: adds the gradients of chunk c of the picks to copy c of `part`."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        copy = ticket // task
        if ticket % task != 0:
            continue
        for row in range(copy * rows // chunks, (copy + 1) * rows // chunks):
            settle(mask, False, media, media_places, media_values, picks, row, column, part, copy)


@large
@ti.kernel
def settle_each(
    mask: ti.template(), rows: ti.i32, media: A2, media_places: A2, media_values: A2, column: ti.i32, picks: A2,
    part: A1,
):  # fmt: skip
    """For a GPU: adds the gradients of the picks to `part`."""
    for row in range(rows):
        settle(mask, True, media, media_places, media_values, picks, row, column, part, 0)
