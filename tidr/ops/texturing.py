"""`texture` and `mipmaps`: pictures and cube maps looked up at the pixels (Laine et al. 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidr import runtime
from tidr.array import Array, constant, integers
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate, mipmap
from tidr.kernels import lookup as kernels
from tidr.kernels.texture import CLAMP, REPEAT, scratch_rows

from .inputs import array

FILTERS = {
    "nearest": kernels.NEAREST,
    "linear": kernels.LINEAR,
    "linear-mipmap-nearest": kernels.MIP_NEAREST,
    "linear-mipmap-linear": kernels.MIP_LINEAR,
}
BOUNDARIES = {"wrap": REPEAT, "clamp": CLAMP, "zero": kernels.ZERO, "cube": -1}


@dataclass(frozen=True, eq=False)
class Mips:
    """The levels of a texture in one array [texels of all levels, C], for as long as the texels stay as they are."""

    texels: Array
    table: Buffer  # int [L, 3]: first texel, width, and height of all pictures together
    levels: int
    pictures: int
    cube: bool


def mipmaps(texels, max_mip_level: int | None = None, cube: bool = False) -> Mips:
    """The mip levels of a texture, made once for several look-ups on the same tape.

    Each texel is the mean of 2 x 2 of the level before (2 x 1 where a side is 1 already).

    Args:
        texels: [H, W, C] or [B, H, W, C]; with `cube` [6, S, S, C] or [B, 6, S, S, C], faces +x -x +y -y +z -z.
        max_mip_level: last level; None goes on until both sides are 1.

    Raises:
        SceneError: wrong shape, or sides that do not halve evenly down to the last level.
    """
    base, pictures, height, width = _texels(texels, cube)
    stacked = pictures * (6 if cube else 1)
    sizes = _sizes(height, width, max_mip_level)
    table = _table(sizes, stacked)
    chain, count = Array((mipmap.chain_length(table), base.channels)), len(sizes)
    layout = integers(table)

    def forward() -> None:
        mipmap.build_mips(base.value, chain.value, layout.ndarray, count)

    def backward() -> None:
        mipmap.build_mips_adjoint(chain.grad, layout.ndarray, count, base.grad)

    run(Operation(forward, backward, [base], [chain], "mipmaps"))
    return Mips(chain, layout, count, pictures, cube)


def texture(
    texels, uv, uv_slopes=None, mip_level_bias=None, mip: Mips | Sequence | None = None, filter_mode: str = "auto",
    boundary_mode: str = "wrap", max_mip_level: int | None = None,
) -> Array:  # fmt: skip
    """A texture looked up at every pixel.

    Args:
        texels: [H, W, C] or [B, H, W, C] with B = 1 or N; for a cube map [6, S, S, C] or [B, 6, S, S, C], faces
            +x -x +y -y +z -z with OpenGL's axes. Row 0 is on top, texel centres lie at +0.5.
        uv: [N, H', W', 2], origin bottom left, v up; for a cube map directions [N, H', W', 3] of any length.
        uv_slopes: [N, H', W', 4 or 6] of `interpolate`, dA/dX and dA/dY of each channel of uv.
        mip_level_bias: [N, H', W', 1] added to the level; without uv_slopes it is the level.
        mip: `mipmaps` of these texels, or levels 1, 2, ... as arrays of your own.
        filter_mode: "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", or "auto": the last one with
            uv_slopes or mip_level_bias, else "linear".
        boundary_mode: "wrap", "clamp", "zero" (texels outside are 0) or "cube" (across the edges of its faces; in a
            corner the mean of three texels stands for the fourth).
        max_mip_level: last level to use.

    The level is log2 of the longer axis, in texels, of the ellipse that a pixel covers, plus the bias, clamped to the
    levels that there are.

    Returns:
        [N, H', W', C]; 0 where a cube map's direction is 0.

    Gradients reach the texels, uv (the slope of the bilinear interpolation; none with "nearest"), and, with
    "linear-mipmap-linear" and where the level is not clamped, uv_slopes and mip_level_bias.

    Raises:
        SceneError: wrong shapes or names, numbers that are not finite, sides that do not halve evenly.
    """
    _choice("boundary_mode", boundary_mode, BOUNDARIES)
    cube = boundary_mode == "cube"
    if filter_mode == "auto":
        plain = uv_slopes is None and mip_level_bias is None
        filter_mode = "linear" if plain else "linear-mipmap-linear"
    _choice("filter_mode", filter_mode, FILTERS)
    mipped = "mipmap" in filter_mode
    if mipped and uv_slopes is None and mip_level_bias is None:
        raise SceneError("texture.filter_mode", f"is {filter_mode!r}", "give uv_slopes or mip_level_bias")
    chain = _chain(texels, mip, max_mip_level, cube, mipped)
    at = array("texture.uv", uv, "N H W 3" if cube else "N H W 2")
    images, _, _, axes = at.shape
    if chain.pictures not in (1, images):
        raise SceneError("texture.texels", f"are {chain.pictures} pictures for {images} images", "give 1 or as many")
    steps = bias = unread = constant([(0.0,) * 6])
    if mipped and uv_slopes is not None:
        steps = _at_pixels("texture.uv_slopes", array("texture.uv_slopes", uv_slopes, f"N H W {2 * axes}"), at)
    if mipped and mip_level_bias is not None:
        bias = _at_pixels("texture.mip_level_bias", array("texture.mip_level_bias", mip_level_bias, "N H W 1"), at)
    return _look_up(chain, at, steps, bias, FILTERS[filter_mode], max(BOUNDARIES[boundary_mode], 0), unread)


def _look_up(chain: Mips, uv: Array, steps: Array, bias: Array, filtering: int, boundary: int, unread: Array) -> Array:
    images, height, width, _ = uv.shape
    texels, table = chain.texels, chain.table
    out = Array((images, height, width, texels.channels))
    size = (uv.rows, height * width, chain.pictures, texels.channels)
    how = (chain.levels, boundary, filtering, int(steps is not unread), int(bias is not unread))

    def forward() -> None:
        kernels.look_up(
            *size, *how, texels.value, table.ndarray, uv.value, steps.value, bias.value, out.value, chain.cube
        )

    def backward() -> None:
        given = (table.ndarray, uv.value, steps.value, bias.value, out.grad)
        if needs(texels):
            chunks = scratch_rows(runtime.chunks(), texels.rows, texels.channels)
            part = Buffer((chunks * texels.rows * texels.channels,))
            part.ndarray.fill(0.0)
            kernels.look_up_texels_adjoint(
                chunks, texels.rows, *size, *how, *given, part.ndarray, chain.cube, not runtime.on_cpu()
            )
            accumulate.collect(chunks, texels.rows, texels.channels, part.ndarray, texels.grad)
        wanted = [needs(one) for one in (uv, steps, bias)]
        if any(wanted):
            grads = [one.grad if want else out.grad for one, want in zip((uv, steps, bias), wanted, strict=True)]
            kernels.look_up_uv_adjoint(*size, *how, texels.value, *given, *map(int, wanted), *grads, chain.cube)

    run(Operation(forward, backward, [texels, uv, steps, bias], [out], "texture"))
    return out


def _chain(texels, mip: Mips | Sequence | None, max_mip_level: int | None, cube: bool, mipped: bool) -> Mips:
    if not mipped:
        base, pictures, height, width = _texels(texels, cube)
        return Mips(base, integers(_table([(height, width)], pictures * (6 if cube else 1))), 1, pictures, cube)
    if mip is None:
        return mipmaps(texels, max_mip_level, cube)
    made = mip if isinstance(mip, Mips) else _stacked(texels, mip, cube)
    if made.cube != cube:
        raise SceneError("texture.mip", "is of a cube map" if made.cube else "is of no cube map")
    last = made.levels if max_mip_level is None else min(max_mip_level + 1, made.levels)
    return Mips(made.texels, made.table, last, made.pictures, cube)


def _stacked(texels, levels: Sequence, cube: bool) -> Mips:
    """Level 0 and the user's others in one array, on the open tape."""
    base, pictures, height, width = _texels(texels, cube)
    sizes = _sizes(height, width, len(levels))
    if len(sizes) <= len(levels):
        raise SceneError("texture.mip", f"has {len(levels)} levels, {height} x {width} has {len(sizes) - 1} below it")
    arrays = [base]
    for k, level in enumerate(levels, 1):
        rows, number, *size = _texels(level, cube, f"texture.mip[{k - 1}]")
        if (number, *size, rows.channels) != (pictures, *sizes[k], base.channels):
            what = f"is {number} of {size} x {rows.channels}, expected {pictures} of {list(sizes[k])} x {base.channels}"
            raise SceneError(f"texture.mip[{k - 1}]", what)
        arrays.append(rows)
    table = _table(sizes, pictures * (6 if cube else 1))
    chain = Array((mipmap.chain_length(table), base.channels))

    def forward() -> None:
        for rows, (start, _, _) in zip(arrays, table.tolist(), strict=True):
            accumulate.copy_rows(rows.rows, rows.channels, rows.value, chain.value, start)

    def backward() -> None:
        for rows, (start, _, _) in zip(arrays, table.tolist(), strict=True):
            if needs(rows):
                accumulate.add_rows(rows.rows, rows.channels, chain.grad, start, rows.grad, 0)

    run(Operation(forward, backward, arrays, [chain], "mip levels"))
    return Mips(chain, integers(table), len(sizes), pictures, cube)


def _texels(texels, cube: bool, where: str = "texture.texels") -> tuple[Array, int, int, int]:
    """The array, and its pictures, height and width."""
    shapes = ("6 S S C", "B 6 S S C") if cube else ("H W C", "B H W C")
    made = array(where, texels, *shapes)
    height, width, _ = made.shape[-3:]
    if cube and height != width:
        raise SceneError(where, f"has faces of {height} x {width}", "give square ones")
    return made, made.shape[0] if len(made.shape) == (5 if cube else 4) else 1, height, width


def _sizes(height: int, width: int, last: int | None) -> list[tuple[int, int]]:
    """(height, width) of the levels up to the last."""
    if last is not None and (not isinstance(last, int) or last < 0):
        raise SceneError("texture.max_mip_level", f"is {last!r}", "give a whole number from 0 on")
    sizes = [(height, width)]
    while (height, width) != (1, 1) and (last is None or len(sizes) <= last):
        if any(side > 1 and side % 2 for side in (height, width)):
            mend = f"give max_mip_level={len(sizes) - 1}, or sides that are powers of 2"
            raise SceneError(
                "texture.texels", f"level {len(sizes) - 1} is {height} x {width}, which does not halve", mend
            )
        height, width = max(height // 2, 1), max(width // 2, 1)
        sizes.append((height, width))
    return sizes


def _table(sizes: list[tuple[int, int]], pictures: int) -> np.ndarray:
    rows = [(0, sizes[0][1], sizes[0][0] * pictures)]
    for height, width in sizes[1:]:
        rows.append((rows[-1][0] + rows[-1][1] * rows[-1][2], width, height * pictures))
    return np.array(rows, np.int32)


def _at_pixels(where: str, value: Array, uv: Array) -> Array:
    if value.shape[:3] != uv.shape[:3]:
        raise SceneError(where, f"has pixels {list(value.shape[:3])}, uv has {list(uv.shape[:3])}")
    return value


def _choice(name: str, value: str, choices: dict[str, int]) -> None:
    if value not in choices:
        raise SceneError(f"texture.{name}", f"is {value!r}", f"choose one of {', '.join(choices)}")
