"""Channels of an image into the packed pixels of a window or a PNG."""

import taichi as ti

A2 = ti.types.ndarray(ndim=2)
PACKED = ti.types.ndarray(dtype=ti.u32, ndim=2)

COLOUR, GREY, SIGNED, IDS = range(4)


@ti.func
def _encoded(linear, levels: ti.template()):
    """The level of a linear value; a table is several times faster than the curve's power."""
    last = levels.shape[0] - 1
    return ti.cast(levels[ti.cast(ti.min(ti.max(linear, 0.0), 1.0) * last + 0.5, ti.i32)], ti.u32)


@ti.func
def _level(value):
    return ti.cast(ti.min(ti.max(value, 0.0), 1.0) * 255.0 + 0.5, ti.u32)


@ti.func
def _scattered(n):
    """A colour that differs from that of the next number."""
    h = ti.cast(n + 1, ti.u32) * ti.u32(2654435761)
    h = (h ^ (h >> 15)) * ti.u32(2246822519)
    return h ^ (h >> 13)


@ti.kernel
def show(
    kind: ti.template(),
    channels: ti.template(),  # 1 or 3
    coarse: ti.template(),  # whether the image is smaller
    values: A2,  # [rows * columns, C], row 0 on top
    rows: ti.i32,
    columns: ti.i32,
    low: ti.f32,
    scale: ti.f32,
    levels: ti.types.ndarray(dtype=ti.i32, ndim=1),  # of evenly spaced linear values from 0 to 1
    width: ti.i32,
    height: ti.i32,
    out: PACKED,  # [W, H] red in the lowest byte, row 0 at the bottom
):
    """Fill the lower left `width` x `height` of `out` with the image, repeating pixels where it is smaller.

    COLOUR: scale times the value, by `levels`; GREY: (value - low) * scale, 0 stays black; SIGNED: 0 is mid-grey,
    value * scale = 1 is white; IDS: a colour of each whole number, black where negative.
    """
    for x, y in ti.ndrange(width, height):
        p = (height - 1 - y) * columns + x
        if ti.static(coarse):
            p = ((height - 1 - y) * rows // height) * columns + x * columns // width
        pixel = ti.u32(0xFF000000)
        if ti.static(kind == IDS):
            if values[p, 0] >= 0.0:
                pixel = pixel | (_scattered(ti.cast(values[p, 0], ti.i32)) & ti.u32(0xFFFFFF))
        else:
            for c in ti.static(range(3)):
                value = values[p, ti.min(c, channels - 1)]
                level = ti.u32(0)
                if ti.static(kind == COLOUR):
                    level = _encoded(value * scale, levels)
                elif ti.static(kind == SIGNED):
                    level = _level(0.5 + 0.5 * value * scale)
                elif value != 0.0:
                    level = _level((value - low) * scale)
                pixel = pixel | (level << (8 * c))
        out[x, y] = pixel


@ti.kernel
def difference(entries: ti.i32, channels: ti.template(), plus: A2, minus: A2, factor: ti.f32, out: A2):
    """out = (plus - minus) * factor, entry by entry."""
    for p in range(entries):
        for c in ti.static(range(channels)):
            out[p, c] = (plus[p, c] - minus[p, c]) * factor
