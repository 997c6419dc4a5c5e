"""Mip chains: the levels of a texture, each the box mean of the one before, and the way back.

A chain is a scalar ndarray [T, C], level after level, with a table [L, 3] of (offset in texels, width, height). A texel
of a level is the mean over the area that it covers, whatever the ratio of sides.
"""

import numpy as np
import taichi as ti

A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)


def mip_layout(height: int, width: int, mipmaps: bool = True) -> np.ndarray:
    """Table int32 [L, 3] of (offset in texels, width, height) per level; L = 1 without mipmaps.

    Each side halves, rounded down, until both are 1.
    """
    levels = [(0, width, height)]
    while mipmaps and (width > 1 or height > 1):
        offset = levels[-1][0] + width * height
        width, height = max(width // 2, 1), max(height // 2, 1)
        levels.append((offset, width, height))
    return np.array(levels, np.int32)


def chain_length(layout: np.ndarray) -> int:
    """Number T of texels in all levels."""
    offset, width, height = (int(x) for x in layout[-1])
    return offset + width * height


@ti.func
def _share(target, source, small, large):
    """Share of texel `source` (of `large`) in the mean that is texel `target` (of `small`), along one side."""
    low = ti.max(target * large, source * small)
    high = ti.min((target + 1) * large, (source + 1) * small)
    return ti.max(high - low, 0) / (large * 1.0)


@ti.kernel
def _copy(channels: ti.template(), texels: A2, chain: A2):
    for i in range(texels.shape[0]):
        for c in ti.static(range(channels)):
            chain[i, c] = texels[i, c]


@ti.kernel
def _shrink(channels: ti.template(), chain: A2, table: A2I, level: ti.i32):
    width, height = table[level, 1], table[level, 2]
    wide, tall = table[level - 1, 1], table[level - 1, 2]
    source, target = table[level - 1, 0], table[level, 0]
    for i in range(width * height):
        x, y = i % width, i // width
        first = source + 2 * (y * wide + x)
        for c in ti.static(range(channels)):
            total = 0.0
            if wide == 2 * width and tall == 2 * height:
                total = 0.25 * (chain[first, c] + chain[first + 1, c])
                total += 0.25 * (chain[first + wide, c] + chain[first + wide + 1, c])
            else:
                for row in range(y * tall // height, ((y + 1) * tall + height - 1) // height):
                    for col in range(x * wide // width, ((x + 1) * wide + width - 1) // width):
                        share = _share(x, col, width, wide) * _share(y, row, height, tall)
                        total += share * chain[source + row * wide + col, c]
            chain[target + i, c] = total


@ti.kernel
def _spread(channels: ti.template(), grad: A2, table: A2I, level: ti.i32):
    width, height = table[level, 1], table[level, 2]
    wide, tall = table[level - 1, 1], table[level - 1, 2]
    source, target = table[level - 1, 0], table[level, 0]
    for i in range(wide * tall):
        col, row = i % wide, i // wide
        only = target + row // 2 * width + col // 2
        for c in ti.static(range(channels)):
            total = 0.0
            if wide == 2 * width and tall == 2 * height:
                total = 0.25 * grad[only, c]
            else:
                for y in range(row * height // tall, ((row + 1) * height + tall - 1) // tall):
                    for x in range(col * width // wide, ((col + 1) * width + wide - 1) // wide):
                        share = _share(x, col, width, wide) * _share(y, row, height, tall)
                        total += share * grad[target + y * width + x, c]
            grad[source + i, c] = grad[source + i, c] + total


@ti.kernel
def _add(channels: ti.template(), chain_grad: A2, texels_grad: A2):
    for i in range(texels_grad.shape[0]):
        for c in ti.static(range(channels)):
            texels_grad[i, c] = texels_grad[i, c] + chain_grad[i, c]


def build_mips(texels, chain, table, levels: int) -> None:
    """Fill chain [T, C] from texels [H * W, C]; table: int ndarray [levels, 3] of `mip_layout`."""
    channels = texels.shape[1]
    _copy(channels, texels, chain)
    for level in range(1, levels):
        _shrink(channels, chain, table, level)


def build_mips_adjoint(chain_grad, table, levels: int, texels_grad) -> None:
    """Add the gradient of all levels to texels_grad [H * W, C]; chain_grad [T, C] is overwritten on the way."""
    channels = texels_grad.shape[1]
    for level in range(levels - 1, 0, -1):
        _spread(channels, chain_grad, table, level)
    _add(channels, chain_grad, texels_grad)
