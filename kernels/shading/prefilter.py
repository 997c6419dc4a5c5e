"""Environments blurred for surfaces: latitude-longitude maps convolved with a lobe around each direction.

A map is [h * w, 3] rows of a chain, laid out as in kernels/environment.py. First `pool` brings the environment to a
grid of texel areas, then `convolve` weighs them by solid angle and lobe:

    out(d) = sum K(d.s) L(s) / sum K(d.s), K = max(d.s, 0) for a diffuse surface, D(h) max(d.s, 0) for a GGX one

with h halfway between d and s, which is the light that arrives where normal, view and mirrored view are one (Karis
2013, "Real Shading in Unreal Engine 4"). Both steps are linear in the texels; each adjoint is its transpose, and both
gather: no two threads write to one place.
"""

import taichi as ti

from ..accumulate import SPREAD, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

PI = 3.141592653589793


@ti.func
def _overlap(i, small, k, large):
    """Length that interval i of `small` shares with interval k of `large`, over that of interval i (of 1 in all)."""
    low, high = ti.max(i * large, k * small), ti.min((i + 1) * large, (k + 1) * small)
    return ti.max(high - low, 0) / (large * 1.0)


@ti.kernel
def pool(
    height: ti.i32, width: ti.i32, texels: A2, tall: ti.i32, wide: ti.i32, out: A2, back: ti.i32,
):  # fmt: skip
    """out [tall * wide, 3] = mean of texels [height * width, 3] over each texel's area, whatever the ratio of sides.

    With `back` the transpose: texels [height * width, 3] += what out, a gradient, makes of it.
    """
    if back == 0:
        for i in range(tall * wide):
            row, column, total = i // wide, i % wide, ti.Vector([0.0, 0.0, 0.0])
            for y in range(row * height // tall, ((row + 1) * height + tall - 1) // tall):
                share = _overlap(row, tall, y, height)
                for x in range(column * width // wide, ((column + 1) * width + wide - 1) // wide):
                    total += share * _overlap(column, wide, x, width) * load3(texels, y * width + x)
            for c in ti.static(range(3)):
                out[i, c] = total[c]
    else:
        for i in range(height * width):
            row, column, total = i // width, i % width, ti.Vector([0.0, 0.0, 0.0])
            for y in range(row * tall // height, ((row + 1) * tall + height - 1) // height):
                share = _overlap(y, tall, row, height)
                for x in range(column * wide // width, ((column + 1) * wide + width - 1) // width):
                    total += share * _overlap(x, wide, column, width) * load3(out, y * wide + x)
            for c in ti.static(range(3)):
                texels[i, c] = texels[i, c] + total[c]


@ti.func
def lobe(cosine, alpha):
    """K of a GGX surface, without its constant; alpha 0 stands for a diffuse one."""
    value = cosine
    if alpha > 0.0:
        square = alpha * alpha
        spread = 0.5 * (1.0 - cosine) + square * 0.5 * (1.0 + cosine)  # sin^2 and cos^2 of half the angle
        value = cosine * square * square / (spread * spread)
    return value


@ti.kernel
def convolve(
    alpha: float, reach: float,  # angle from the lobe's axis beyond which it counts as 0
    tall: ti.i32, wide: ti.i32, shift: float, from_grid: A2, weights: A1, values: A2, first_from: ti.i32,
    height: ti.i32, width: ti.i32, to_grid: A2, norm: A1, out: A2, first_to: ti.i32,
    back: ti.i32,
):  # fmt: skip
    """Sum over the map `values` (its rows from first_from on) around every direction of the map `out`.

    from_grid, to_grid: [n, 4] directions of the texels and their solid angles. shift: rows between the pole and the
    first of `values`, 0.5 for texel areas, 0 where it is the pole. Forward, weights are those solid angles: out = sum
    K w values / sum K w, and norm becomes 1 / sum K w. With `back` the two maps have changed places: values is a
    gradient, weights what `norm` was, and out = solid angle * sum K w values.
    """
    for ticket in range(height * width * SPREAD):
        i = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        axis = load3(to_grid, i)
        across = ti.sqrt(axis[0] * axis[0] + axis[2] * axis[2])
        down, rows = ti.atan2(across, axis[1]), tall - 1.0 + 2.0 * shift
        low = ti.max(ti.cast(ti.floor((down - reach) / PI * rows - shift), ti.i32), 0)
        high = ti.min(ti.cast(ti.ceil((down + reach) / PI * rows - shift), ti.i32) + 1, tall)
        first, count = 0, wide
        if down > reach and down + reach < PI and ti.sin(reach) < across:
            half = ti.asin(ti.sin(reach) / across) / (2.0 * PI) * wide
            middle = (i % width + 0.5) / width * wide
            first = ti.cast(ti.floor(middle - half), ti.i32)
            count = ti.min(ti.cast(ti.ceil(middle + half), ti.i32) - first, wide)
        least, total, whole = ti.max(ti.cos(reach), 0.0), ti.Vector([0.0, 0.0, 0.0]), 0.0
        for row in range(low, high):
            for k in range(count):
                column = first + k
                if column < 0:
                    column += wide
                if column >= wide:
                    column -= wide
                s = row * wide + column
                cosine = ti.min(axis.dot(load3(from_grid, s)), 1.0)
                if cosine > least:
                    share = lobe(cosine, alpha) * weights[s]
                    whole += share
                    total += share * load3(values, first_from + s)
        scale = to_grid[i, 3]
        if back == 0:
            scale = 0.0
            if whole > 0.0:
                scale = 1.0 / whole
            norm[i] = scale
        for c in ti.static(range(3)):
            out[first_to + i, c] = scale * total[c]
