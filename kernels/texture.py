"""Textures: bilinear and mipmapped look-ups into a column of the interaction buffer, and their gradients.

Texels are scalar ndarrays [H * W, C], C = 1 or 3, row 0 on top; uv has its origin bottom left, v up; texel centres lie
at +0.5. A mip chain is one such array [T, C], level after level, with a table [L, 3] of (offset, width, height); a
plain texture is a chain of one level. Method and level formula: Laine et al. 2020 (nvdiffrast), trilinear.
"""

import taichi as ti

from .accumulate import TASK
from .mipmap import build_mips, build_mips_adjoint, chain_length, mip_layout

__all__ = [
    "CLAMP",
    "MIRROR",
    "REPEAT",
    "bilinear_weights",
    "build_mips",
    "build_mips_adjoint",
    "chain_length",
    "corners",
    "mip_layout",
    "mip_level",
    "mix_texels",
    "sample",
    "sample_adjoint",
    "scratch_rows",
    "texel_slope",
]

A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

REPEAT, CLAMP, MIRROR = 0, 1, 2
SCRATCH_LIMIT = 1 << 27


def scratch_rows(chunks: int, length: int, channels: int) -> int:
    """Private copies of a chain's gradient for `sample_adjoint` on a CPU: one per thread, fewer if they are big."""
    return max(1, min(chunks, SCRATCH_LIMIT // max(length * channels, 1)))


# Look-ups.


@ti.func
def _fold(u, wrap):
    """u moved by whole periods to where an index fits 32 bits."""
    moved = u
    if wrap == REPEAT:
        moved = u - ti.floor(u)
    elif wrap == MIRROR:
        moved = u - 2.0 * ti.floor(0.5 * u)
    else:
        moved = ti.min(ti.max(u, -1.0), 2.0)
    return moved


@ti.func
def _wrapped(i, size, wrap):
    """Index of texel i, which is at most one period and one texel off; any i stays within the texture."""
    index = i
    if wrap == REPEAT:
        if i < 0:
            index = i + size
        if i >= size:
            index = i - size
    elif wrap == MIRROR and i >= size:
        index = 2 * size - 1 - i
    return ti.min(ti.max(index, 0), size - 1)


@ti.func
def corners(uv, start, width, height, wrap):
    """Rows of the four texels around uv (top left, top right, bottom left, bottom right), and where it is between.

    start: row of the picture's first texel.
    """
    x = _fold(uv[0], wrap) * width - 0.5
    y = _fold(1.0 - uv[1], wrap) * height - 0.5
    left, top = ti.cast(ti.floor(x), ti.i32), ti.cast(ti.floor(y), ti.i32)
    x0, x1 = _wrapped(left, width, wrap), _wrapped(left + 1, width, wrap)
    y0 = start + _wrapped(top, height, wrap) * width
    y1 = start + _wrapped(top + 1, height, wrap) * width
    return ti.Vector([y0 + x0, y0 + x1, y1 + x0, y1 + x1]), ti.Vector([x - ti.floor(x), y - ti.floor(y)])


@ti.func
def bilinear_weights(at):
    """Shares of the four texels of `corners`."""
    return ti.Vector([(1 - at[0]) * (1 - at[1]), at[0] * (1 - at[1]), (1 - at[0]) * at[1], at[0] * at[1]])


@ti.func
def mix_texels(chain: ti.template(), rows, weights, channels: ti.template()):
    """The first `channels` of four rows, mixed."""
    value = ti.Vector.zero(float, channels)
    for k in ti.static(range(4)):
        for c in ti.static(range(channels)):
            value[c] += weights[k] * chain[rows[k], c]
    return value


@ti.func
def _footprint(dx, dy, width, height):
    """Squared lengths of a pixel's two sides in texels, their product, and the squared major axis of the footprint."""
    size = ti.Vector([width * 1.0, height * 1.0])
    sx, sy = dx * size, dy * size
    a, b, c = sx.dot(sx), sy.dot(sy), sx.dot(sy)
    root = ti.sqrt(0.25 * (a - b) * (a - b) + c * c)
    return a, b, c, root


@ti.func
def mip_level(dx, dy, width, height, levels):
    """log2 of the footprint's major axis in texels, clamped to [0, levels - 1]; dx, dy: change of uv per pixel."""
    a, b, _, root = _footprint(dx, dy, width, height)
    major = 0.5 * (a + b) + root
    level = 0.0
    if major > 1.0:
        level = ti.min(0.5 * ti.log(major) / 0.6931471805599453, levels - 1.0)
    return level


@ti.func
def _level(buffer: ti.template(), i, table: ti.template(), levels):
    level = 0.0
    if levels > 1:
        level = mip_level(buffer.uv_dx[i], buffer.uv_dy[i], table[0, 1], table[0, 2], levels)
    return level


@ti.kernel
def _sample(
    column: ti.template(),
    buffer: ti.template(),
    channels: ti.template(),
    n: ti.i32,
    index: ti.i32,
    chain: A2,
    table: A2I,
    levels: ti.i32,
    wrap: ti.i32,
):
    for i in range(n):
        if buffer.material[i] == index:
            uv = buffer.uv[i]
            level = _level(buffer, i, table, levels)
            low = ti.cast(level, ti.i32)
            part = level - low
            rows, at = corners(uv, table[low, 0], table[low, 1], table[low, 2], wrap)
            value = mix_texels(chain, rows, bilinear_weights(at), channels)
            if part > 0.0:
                rows, at = corners(uv, table[low + 1, 0], table[low + 1, 1], table[low + 1, 2], wrap)
                value += part * (mix_texels(chain, rows, bilinear_weights(at), channels) - value)
            if ti.static(channels == 1):
                column[i] = value[0]
            else:
                column[i] = value


def sample(buffer, column: str, n: int, index: int, chain, table, levels: int, wrap: int) -> None:
    """Write the texture at uv into a column of those of the first n entries whose material is `index`.

    Args:
        column: name of a column with as many channels as the texture.
        chain: texels [H * W, C] with levels = 1 (bilinear), or the mip chain [T, C] (trilinear).
        table: int ndarray [levels, 3] of `mip_layout`.
        wrap: REPEAT, CLAMP or MIRROR.
    """
    _sample(getattr(buffer, column), buffer, chain.shape[1], n, index, chain, table, levels, wrap)


# The adjoint. On a CPU each chunk of entries adds into its own copy of the chain; on a GPU by atomics.


@ti.func
def _gradient(column: ti.template(), i, channels: ti.template()):
    g = ti.Vector.zero(float, channels)
    if ti.static(channels == 1):
        g[0] = column.grad[i]
    else:
        g = column.grad[i]
    return g


@ti.func
def texel_slope(chain: ti.template(), width, height, rows, at, g, channels: ti.template()):
    """Gradient of one level's bilinear interpolation with respect to uv."""
    slope = ti.Vector([0.0, 0.0])
    for c in ti.static(range(channels)):
        t00, t10, t01, t11 = chain[rows[0], c], chain[rows[1], c], chain[rows[2], c], chain[rows[3], c]
        slope[0] += g[c] * ((1.0 - at[1]) * (t10 - t00) + at[1] * (t11 - t01))
        slope[1] -= g[c] * ((1.0 - at[0]) * (t01 - t00) + at[0] * (t11 - t10))
    return slope * ti.Vector([width * 1.0, height * 1.0])


@ti.func
def _add_footprint(buffer: ti.template(), i, width, height, to_level):
    """Add to the gradients of uv_dx and uv_dy what comes through the level; only where it is not clamped."""
    size = ti.Vector([width * 1.0, height * 1.0])
    dx, dy = buffer.uv_dx[i], buffer.uv_dy[i]
    a, b, c, root = _footprint(dx, dy, width, height)
    to_major = to_level * 0.5 / (0.6931471805599453 * (0.5 * (a + b) + root))
    lean, twist = 0.0, 0.0
    if root > 0.0:
        lean, twist = 0.25 * (a - b) / root, c / root
    square = size * size
    to_dx = to_major * ((0.5 + lean) * 2.0 * dx + twist * dy) * square
    to_dy = to_major * ((0.5 - lean) * 2.0 * dy + twist * dx) * square
    buffer.uv_dx.grad[i] = buffer.uv_dx.grad[i] + to_dx
    buffer.uv_dy.grad[i] = buffer.uv_dy.grad[i] + to_dy


@ti.func
def _scatter(target: ti.template(), private: ti.template(), p, rows, weights, g, channels: ti.template()):
    """Add weights x g to four texels: plainly in row p of [P, T * C], or by atomics in [T, C]."""
    for k in ti.static(range(4)):
        for c in ti.static(range(channels)):
            if ti.static(private):
                target[p, rows[k] * channels + c] = target[p, rows[k] * channels + c] + weights[k] * g[c]
            else:
                target[rows[k], c] += weights[k] * g[c]


@ti.func
def _entry_adjoint(
    buffer: ti.template(),
    i,
    g,
    channels: ti.template(),
    chain: ti.template(),
    table: ti.template(),
    levels,
    wrap,
    target: ti.template(),
    private: ti.template(),
    p,
):
    """The gradient g of one look-up, to texels (`_scatter`), uv, uv_dx and uv_dy."""
    uv = buffer.uv[i]
    level = _level(buffer, i, table, levels)
    low = ti.cast(level, ti.i32)
    part = level - low
    rows, at = corners(uv, table[low, 0], table[low, 1], table[low, 2], wrap)
    weights = bilinear_weights(at)
    value = mix_texels(chain, rows, weights, channels)
    _scatter(target, private, p, rows, weights, g * (1.0 - part), channels)
    slope = texel_slope(chain, table[low, 1], table[low, 2], rows, at, g * (1.0 - part), channels)
    if part > 0.0:
        rows, at = corners(uv, table[low + 1, 0], table[low + 1, 1], table[low + 1, 2], wrap)
        weights = bilinear_weights(at)
        _scatter(target, private, p, rows, weights, g * part, channels)
        slope += texel_slope(chain, table[low + 1, 1], table[low + 1, 2], rows, at, g * part, channels)
        to_level = g.dot(mix_texels(chain, rows, weights, channels) - value)
        _add_footprint(buffer, i, table[0, 1], table[0, 2], to_level)
    buffer.uv.grad[i] = buffer.uv.grad[i] + slope


@ti.kernel
def _adjoint_private(
    column: ti.template(),
    buffer: ti.template(),
    channels: ti.template(),
    n: ti.i32,
    index: ti.i32,
    chain: A2,
    table: A2I,
    levels: ti.i32,
    wrap: ti.i32,
    part: A2,
):
    rows = part.shape[0]
    for ticket in range(rows * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        for k in range(chain.shape[0] * channels):
            part[p, k] = 0.0
        size = (n + rows - 1) // rows
        for i in range(p * size, ti.min(n, (p + 1) * size)):
            if buffer.material[i] == index:
                g = _gradient(column, i, channels)
                _entry_adjoint(buffer, i, g, channels, chain, table, levels, wrap, part, True, p)


@ti.kernel
def _reduce(channels: ti.template(), part: A2, grad: A2):
    for i in range(grad.shape[0]):
        total = ti.Vector.zero(float, channels)
        for p in range(part.shape[0]):
            for c in ti.static(range(channels)):
                total[c] += part[p, i * channels + c]
        for c in ti.static(range(channels)):
            grad[i, c] = grad[i, c] + total[c]


@ti.kernel
def _adjoint_atomic(
    column: ti.template(),
    buffer: ti.template(),
    channels: ti.template(),
    n: ti.i32,
    index: ti.i32,
    chain: A2,
    table: A2I,
    levels: ti.i32,
    wrap: ti.i32,
    grad: A2,
):
    for i in range(n):
        if buffer.material[i] == index:
            g = _gradient(column, i, channels)
            _entry_adjoint(buffer, i, g, channels, chain, table, levels, wrap, grad, False, 0)


def sample_adjoint(
    buffer, column: str, n: int, index: int, chain, chain_grad, table, levels: int, wrap: int, part=None
) -> None:
    """Take the column's gradient back through `sample`: add to chain_grad [T, C], uv.grad, uv_dx.grad and uv_dy.grad.

    part: scratch [P, at least T * C] with P from `scratch_rows`, on a CPU: equal bits every time. None, for a GPU, adds
    by atomics. The gradient to uv is the slope of the bilinear interpolation, discontinuous at texel centres; to uv_dx
    and uv_dy it is 0 where the level is clamped and with levels = 1.
    """
    field = getattr(buffer, column)
    common = (field, buffer, chain.shape[1], n, index, chain, table, levels, wrap)
    if part is None:
        _adjoint_atomic(*common, chain_grad)
        return
    _adjoint_private(*common, part)
    _reduce(chain.shape[1], part, chain_grad)
