"""Multiresolution hash encoding of positions, its adjoint to the table and to the positions.

Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding". A level lays a lattice of
`side` corners an axis over the unit cube; position x lies at x * scale + 0.5. One whose side^3 is at most the table's
length numbers its corners one by one, any other by the xor of the coordinates times primes, modulo the length (a power
of two). Each corner has F features, interpolated trilinearly.

levels [L * 4]: first entry of the level in the table, side, scale, length - 1 if hashed and 0 if not.
"""

import taichi as ti

from ..accumulate import TASK, turns
from . import BLOCK

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)

COLUMNS = 4
PRIMES = (1, 2654435761, 805459861)


@ti.func
def lattice(positions: ti.template(), n, scale):
    """Lower corner and place in between for sample n of positions [n * 3], kept to the unit cube."""
    low, at = ti.Vector([0, 0, 0]), ti.Vector([0.0, 0.0, 0.0])
    for a in ti.static(range(3)):
        q = ti.max(ti.min(positions[3 * n + a], 1.0), 0.0) * scale + 0.5
        low[a] = ti.cast(q, ti.i32)
        at[a] = q - low[a]
    return low, at


@ti.func
def strides(low, side, mask):
    """What each axis adds to a corner's number for the lower [0] and the upper [1] neighbour, as unsigned numbers."""
    one, two = ti.Vector([ti.u32(0)] * 3), ti.Vector([ti.u32(0)] * 3)
    step = ti.u32(1)
    for a in ti.static(range(3)):
        factor = step if mask == 0 else ti.u32(PRIMES[a])
        one[a] = ti.cast(low[a], ti.u32) * factor
        two[a] = one[a] + factor
        step *= ti.cast(side, ti.u32)
    return one, two


@ti.func
def entry(first, one, two, mask, corner: ti.template()):
    """Table entry of corner 0..7; bit a says which neighbour along axis a."""
    x = two[0] if ti.static(corner & 1) else one[0]
    y = two[1] if ti.static(corner & 2) else one[1]
    z = two[2] if ti.static(corner & 4) else one[2]
    number = x + y + z if mask == 0 else (x ^ y ^ z) & ti.cast(mask, ti.u32)
    return first + ti.cast(number, ti.i32)


@ti.func
def share(at, corner: ti.template()):
    x = at[0] if ti.static(corner & 1) else 1.0 - at[0]
    y = at[1] if ti.static(corner & 2) else 1.0 - at[1]
    z = at[2] if ti.static(corner & 4) else 1.0 - at[2]
    return x * y * z


@ti.func
def encode_one(
    n, level, rows, levels: ti.template(), positions: ti.template(), table: ti.template(), values: ti.template(),
    features: ti.template(),
):  # fmt: skip
    first, side, mask = levels[COLUMNS * level], levels[COLUMNS * level + 1], levels[COLUMNS * level + 3]
    low, at = lattice(positions, n, levels[COLUMNS * level + 2])
    one, two = strides(low, side, mask)
    total = ti.Vector.zero(float, features)
    for corner in ti.static(range(8)):
        source, weight = entry(first, one, two, mask, corner) * features, share(at, corner)
        for c in ti.static(range(features)):
            total[c] += weight * table[0, source + c]
    block = n // BLOCK
    slot = (block * rows + level * features) * BLOCK + n - block * BLOCK
    for c in ti.static(range(features)):
        values[slot + c * BLOCK] = total[c]


@ti.kernel
def encode(
    pieces: ti.i32, count: ti.i32, depth: ti.i32, rows: ti.i32, levels: I1, positions: A1, table: A2, values: A1,
    features: ti.template(),
):  # fmt: skip
    """Rows 0 .. L F - 1 of values [blocks * rows * BLOCK] from positions [n * 3] in the unit cube.

    The samples of a level are done in `pieces`, one level after another, so that a level's table stays in the cache.
    """
    spread = turns(count // pieces)
    for ticket in range(depth * pieces * spread):
        task = ticket // spread
        if ticket % spread != 0:
            continue
        level = task // pieces
        piece = task - level * pieces
        for n in range(piece * count // pieces, (piece + 1) * count // pieces):
            encode_one(n, level, rows, levels, positions, table, values, features)


@ti.func
def load_gradient(n, level, rows, to_values: ti.template(), features: ti.template()):
    block = n // BLOCK
    slot = (block * rows + level * features) * BLOCK + n - block * BLOCK
    return ti.Vector([to_values[slot + c * BLOCK] for c in ti.static(range(features))])


@ti.kernel
def table_adjoint(
    count: ti.i32, depth: ti.i32, rows: ti.i32, levels: I1, positions: A1, to_values: A1, to_table: A2,
    features: ti.template(),
):  # fmt: skip
    """to_table += its gradient from to_values [blocks * rows * BLOCK]. For CPUs: a level belongs to one thread."""
    for ticket in range(depth * TASK):
        level = ticket // TASK
        if ticket % TASK != 0:
            continue
        first, side, mask = levels[COLUMNS * level], levels[COLUMNS * level + 1], levels[COLUMNS * level + 3]
        scale = levels[COLUMNS * level + 2]
        for n in range(count):
            low, at = lattice(positions, n, scale)
            one, two = strides(low, side, mask)
            g = load_gradient(n, level, rows, to_values, features)
            for corner in ti.static(range(8)):
                slot, weight = entry(first, one, two, mask, corner) * features, share(at, corner)
                for c in ti.static(range(features)):
                    to_table[0, slot + c] = to_table[0, slot + c] + weight * g[c]


@ti.kernel
def table_adjoint_atomic(
    count: ti.i32, depth: ti.i32, rows: ti.i32, levels: I1, positions: A1, to_values: A1, to_table: A2,
    features: ti.template(),
):  # fmt: skip
    """As `table_adjoint`, a thread for every level of every sample. For GPUs."""
    for level, n in ti.ndrange(depth, count):
        mask = levels[COLUMNS * level + 3]
        low, at = lattice(positions, n, levels[COLUMNS * level + 2])
        one, two = strides(low, levels[COLUMNS * level + 1], mask)
        g = load_gradient(n, level, rows, to_values, features)
        for corner in ti.static(range(8)):
            slot = entry(levels[COLUMNS * level], one, two, mask, corner) * features
            for c in ti.static(range(features)):
                ti.atomic_add(to_table[0, slot + c], share(at, corner) * g[c])


@ti.kernel
def positions_adjoint(
    count: ti.i32, depth: ti.i32, rows: ti.i32, levels: I1, positions: A1, table: A2, to_values: A1, to_positions: A1,
    features: ti.template(),
):  # fmt: skip
    """to_positions [n * 3] = their gradient; 0 along axes where a position lies beside the unit cube."""
    for n in range(count):
        total = ti.Vector([0.0, 0.0, 0.0])
        for level in range(depth):
            mask, scale = levels[COLUMNS * level + 3], levels[COLUMNS * level + 2]
            low, at = lattice(positions, n, scale)
            one, two = strides(low, levels[COLUMNS * level + 1], mask)
            g = load_gradient(n, level, rows, to_values, features)
            for corner in ti.static(range(8)):
                source, along = entry(levels[COLUMNS * level], one, two, mask, corner) * features, 0.0
                for c in ti.static(range(features)):
                    along += g[c] * table[0, source + c]
                for a in ti.static(range(3)):
                    slope = scale * along if ti.static(corner >> a & 1) else -scale * along
                    for b in ti.static(range(3)):
                        if ti.static(a != b):
                            slope *= at[b] if ti.static(corner >> b & 1) else 1.0 - at[b]
                    total[a] += slope
        for a in ti.static(range(3)):
            inside = positions[3 * n + a] >= 0.0 and positions[3 * n + a] <= 1.0
            to_positions[3 * n + a] = total[a] if inside else 0.0
