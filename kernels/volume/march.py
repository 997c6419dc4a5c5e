"""Emission-absorption along rays through a packed grid (Mildenhall et al. 2020, "NeRF", equations 2 and 3).

The ray's part inside the box, t0..t1, is cut into `steps` strata of length delta with one sample each, in the middle or
jittered. With sigma_k and c_k there, T_k = exp(-sum_{j<k} sigma_j delta) and w_k = T_k (1 - exp(-sigma_k delta)):
color = sum w_k c_k, alpha = 1 - T_end, distance = sum w_k t_k. The march stops where T falls to `stop`.

A packed grid is flat, `terms` entries a cell: for DENSITY numbers, otherwise vectors (r, g, b, density): one for COLOR,
one for each harmonic for HARMONICS, the density in the first.
"""

import taichi as ti

from ..accumulate import load3
from ..rays import box_interval
from ..rng import uniform
from .grid import corner_row, corner_weight

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

DENSITY, COLOR, HARMONICS = range(3)
NONE, RELU, SOFTPLUS = range(3)
BLOCK = 4  # cells along the edge of an occupancy block


@ti.func
def within(value, largest):
    """The value, at most `largest` away from 0: what the packed numbers can hold. NaN stays."""
    out = value
    if value > largest:
        out = largest
    if value < -largest:
        out = -largest
    return out


@ti.kernel
def pack_density(lines: ti.i32, width: ti.i32, largest: float, density: A2, cells: A1):
    """cells [lines * W] from density [lines, W], lines = D * H."""
    for line in range(lines):
        for x in range(width):
            cells[line * width + x] = within(density[line, x], largest)


@ti.kernel
def pack_color(lines: ti.i32, width: ti.i32, terms: ti.i32, largest: float, density: A2, color: A2, cells: A1):
    """cells [lines * W * terms] from density [lines, W] and color [lines * W * terms, 3]."""
    for line in range(lines):
        for x in range(width):
            for k in range(terms):
                at = (line * width + x) * terms + k
                entry = ti.Vector([color[at, 0], color[at, 1], color[at, 2], density[line, x]])
                for c in ti.static(range(4)):
                    entry[c] = within(entry[c], largest)
                cells[at] = entry


@ti.func
def density_of(number, shift, activation: ti.template()):
    out = number
    if ti.static(activation == RELU):
        out = ti.max(number, 0.0)
    if ti.static(activation == SOFTPLUS):
        x = number + shift
        out = ti.max(x, 0.0) + ti.log(1.0 + ti.exp(-ti.abs(x)))
    return out


@ti.func
def density_slope(number, shift, activation: ti.template()):
    """Derivative of `density_of`."""
    out = 1.0
    if ti.static(activation == RELU):
        out = 1.0 if number > 0.0 else 0.0
    if ti.static(activation == SOFTPLUS):
        out = 1.0 / (1.0 + ti.exp(-(number + shift)))
    return out


@ti.func
def gather(cells: ti.template(), row, steps, at, terms, term):
    """Interpolated entry of a packed grid: a number or a vector."""
    out = corner_weight(at, 0) * cells[row * terms + term]
    for corner in ti.static(range(1, 8)):
        out += corner_weight(at, corner) * cells[corner_row(row, steps, corner) * terms + term]
    return out


@ti.func
def radiance(cells: ti.template(), basis: ti.template(), ray, row, steps, at, terms):
    """(r, g, b, density) of a HARMONICS grid; colours before the cut at 0."""
    out = gather(cells, row, steps, at, terms, 0)
    for c in ti.static(range(3)):
        out[c] = 0.5 + basis[ray, 0] * out[c]
    for k in range(1, terms):
        share = gather(cells, row, steps, at, terms, k)
        for c in ti.static(range(3)):
            out[c] += basis[ray, k] * share[c]
    return out


@ti.func
def grid_ray(box: ti.template(), origin, direction):
    """A ray in cells, 0 at the first one's centre: box [3, 3] is lower and upper corner and cells per unit."""
    scale = load3(box, 2)
    return (origin - load3(box, 0)) * scale - 0.5, direction * scale


@ti.func
def row_steps(size):
    """Row distances to the neighbours along x, y and z; 0 along an axis of one cell."""
    steps = ti.Vector([1, size[0], size[0] * size[1]])
    for a in ti.static(range(3)):
        if size[a] == 1:
            steps[a] = 0
    return steps


@ti.func
def locate(q, size):
    """Row of the first corner and `at`, as `grid.cell` has them, from a place in cells.

    Written with select: the hardware's minimum, where ti.min guards against NaN.
    """
    low, at = ti.Vector([0, 0, 0]), ti.Vector([0.0, 0.0, 0.0])
    for a in ti.static(range(3)):
        top, last = size[a] - 1.0, ti.max(size[a] - 2, 0)
        x = ti.select(q[a] > 0.0, q[a], 0.0)
        x = ti.select(x < top, x, top)
        index = ti.cast(x, ti.i32)
        low[a] = ti.select(index < last, index, last)
        at[a] = x - low[a]
    return (low[2] * size[1] + low[1]) * size[0] + low[0], at


@ti.func
def stratum_share(jitter, seed, ray, k):
    """Where in its stratum sample k sits, in [0, 1).

    jitter: 0 takes the middle; else rays count from jitter - 1, so that a part of them sees the numbers of the whole.
    """
    share = 0.5
    if jitter != 0:
        share = uniform(seed, ray + jitter - 1, k, 0)
    return share


@ti.func
def skip_ahead(blocks: ti.template(), threshold, q, slope, size, t, t0, delta, k):
    """k where the block around q is occupied, else the first stratum that may leave the block.

    A block is BLOCK^3 cells of the box; blocks [bz * by * bx] holds the highest density that a look-up in it can see.
    """
    place, count = ti.Vector([0, 0, 0]), (size + BLOCK - 1) // BLOCK
    for a in ti.static(range(3)):
        place[a] = ti.max(ti.min(ti.cast((q[a] + 0.5) / BLOCK, ti.i32), count[a] - 1), 0)
    out = k
    if not blocks[(place[2] * count[1] + place[1]) * count[0] + place[0]] > threshold:
        away = 1e30
        for a in ti.static(range(3)):
            if slope[a] > 0.0:
                away = ti.min(away, (place[a] * BLOCK + (BLOCK - 0.5) - q[a]) / slope[a])
            elif slope[a] < 0.0:
                away = ti.min(away, (place[a] * BLOCK - 0.5 - q[a]) / slope[a])
        out = ti.max(k + 1, ti.cast(ti.min((t + away - t0) / delta, 1e9), ti.i32))
    return out


@ti.kernel
def march(
    count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float, box: A2, width: ti.i32, height: ti.i32,
    depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32, basis: A2, blocks: A1,
    threshold: float, rgb: A2, alpha: A2, distance: A2,
    kind: ti.template(), activation: ti.template(), skipping: ti.template(),
):  # fmt: skip
    """rgb [n, 3] (not for DENSITY), alpha [n, 1] and distance [n, 1] of `count` rays."""
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        size = ti.Vector([width, height, depth])
        strides = row_steps(size)
        times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
        start, slope = grid_ray(box, o, d)
        through, color, far = 1.0, ti.Vector([0.0, 0.0, 0.0]), 0.0
        if times[1] > times[0]:
            delta = (times[1] - times[0]) / steps
            k = 0
            while k < steps and through > stop:
                t = times[0] + (k + stratum_share(jitter, seed, ray, k)) * delta
                q = start + t * slope
                onward = k
                if ti.static(skipping):
                    onward = skip_ahead(blocks, threshold, q, slope, size, t, times[0], delta, k)
                if onward > k:
                    k = onward
                else:
                    row, at = locate(q, size)
                    if ti.static(kind == DENSITY):
                        number = gather(cells, row, strides, at, 1, 0)
                        left = ti.exp(-density_of(number, shift, activation) * delta)
                        far += through * (1.0 - left) * t
                        through *= left
                    else:
                        value = ti.Vector([0.0, 0.0, 0.0, 0.0])
                        if ti.static(kind == HARMONICS):
                            value = radiance(cells, basis, ray, row, strides, at, terms)
                        else:
                            value = gather(cells, row, strides, at, 1, 0)
                        left = ti.exp(-density_of(value[3], shift, activation) * delta)
                        weight = through * (1.0 - left)
                        for c in ti.static(range(3)):
                            if ti.static(kind == HARMONICS):
                                color[c] += weight * ti.max(value[c], 0.0)
                            else:
                                color[c] += weight * value[c]
                        far += weight * t
                        through *= left
                    k += 1
        if ti.static(kind != DENSITY):
            for c in ti.static(range(3)):
                rgb[ray, c] = color[c]
        alpha[ray, 0] = 1.0 - through
        distance[ray, 0] = far


@ti.kernel
def block_densities(
    width: ti.i32, height: ti.i32, depth: ti.i32, density: A2, shift: float, blocks: A1, activation: ti.template()
):
    """blocks [bz * by * bx]: the highest |density| of the cells in and next to each block of BLOCK^3 cells."""
    across, down = (width + BLOCK - 1) // BLOCK, (height + BLOCK - 1) // BLOCK
    for block in range(across * down * ((depth + BLOCK - 1) // BLOCK)):
        bz = block // (across * down)
        by = (block - bz * across * down) // across
        bx = block - (bz * down + by) * across
        highest = 0.0
        for z in range(ti.max(BLOCK * bz - 1, 0), ti.min(BLOCK * (bz + 1) + 1, depth)):
            for y in range(ti.max(BLOCK * by - 1, 0), ti.min(BLOCK * (by + 1) + 1, height)):
                for x in range(ti.max(BLOCK * bx - 1, 0), ti.min(BLOCK * (bx + 1) + 1, width)):
                    number = density[z * height + y, x]
                    highest = ti.max(highest, ti.abs(density_of(number, shift, activation)))
        blocks[block] = highest


@ti.kernel
def count_empty(blocks: A1, number: ti.i32, threshold: float) -> ti.i32:
    """How many of the blocks hold nothing above the threshold."""
    found = 0
    for block in range(number):
        if not blocks[block] > threshold:
            found += 1
    return found
