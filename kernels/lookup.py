"""Texture look-ups at pixel tensors (Laine et al. 2020): pictures and cube maps, with and without mip levels.

Texels [T, C] are level after level, in each level picture after picture; table [L, 3] is (offset, width, height of all
pictures together) per level. `count` pictures, per_image pixels each (count = 1: one picture for all pixels); a cube is
six neighbouring pictures, +x -x +y -y +z -z with OpenGL's axes. A pixel of `uv` is (u, v), v up, or with `cube` a
direction of any length; of `slopes` the change of each of these under a step to the right and down, in turn.
"""

import taichi as ti

from .accumulate import TASK, add
from .texture import _footprint as footprint
from .texture import bilinear_weights, corners

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

ZERO = 3  # boundary, beside REPEAT, CLAMP and MIRROR of kernels/texture.py
NEAREST, LINEAR, MIP_NEAREST, MIP_LINEAR = 0, 1, 2, 3
LN2 = 0.6931471805599453


# Cube maps.


@ti.func
def face_axes(face, v):
    """(s, t, major) of a vector along the axes of a cube's face, t down."""
    sign = 1 - 2 * (face % 2)
    q = ti.Vector([-sign * v[2], -v[1], sign * v[0]])
    if face // 2 == 1:
        q = ti.Vector([v[0], sign * v[2], sign * v[1]])
    elif face // 2 == 2:
        q = ti.Vector([sign * v[0], -v[1], sign * v[2]])
    return q


@ti.func
def from_face(face, q):
    """The way back, which is the transpose."""
    sign = 1 - 2 * (face % 2)
    v = ti.Vector([sign * q[2], -q[1], -sign * q[0]])
    if face // 2 == 1:
        v = ti.Vector([q[0], sign * q[2], sign * q[1]])
    elif face // 2 == 2:
        v = ti.Vector([sign * q[0], -q[1], sign * q[2]])
    return v


@ti.func
def cube_face(v):
    """The face that a vector points through."""
    x, y, z = ti.abs(v[0]), ti.abs(v[1]), ti.abs(v[2])
    face = 0 if v[0] >= 0 else 1
    if z > ti.max(x, y):
        face = 4 if v[2] >= 0 else 5
    elif y > x:
        face = 2 if v[1] >= 0 else 3
    return face


@ti.func
def cube_row(face, column, line, size):
    """Texel of a cube; one beyond an edge is its neighbour on the next face, one beyond a corner is none (-1)."""
    row = -1
    beyond_s, beyond_t = column < 0 or column >= size, line < 0 or line >= size
    if not beyond_s and not beyond_t:
        row = (face * size + line) * size + column
    elif beyond_s != beyond_t:
        v = from_face(face, ti.Vector([2 * column + 1 - size, 2 * line + 1 - size, size]))
        other = cube_face(v)
        q = face_axes(other, v)
        s, t = ti.min((q[0] + size) // 2, size - 1), ti.min((q[1] + size) // 2, size - 1)
        row = (other * size + t) * size + s
    return row


# One look-up.


@ti.func
def aim(uv: ti.template(), p, cube: ti.template()):
    """Face, (s, t) with t down, and the vector along the face's axes; face -1 where there is no direction."""
    face, q = 0, ti.Vector([0.0, 0.0, 1.0])
    st = ti.Vector([0.0, 0.0])
    if ti.static(cube):
        v = ti.Vector([uv[p, 0], uv[p, 1], uv[p, 2]])
        face = cube_face(v)
        q = face_axes(face, v)
        if q[2] > 0.0:
            st = ti.Vector([0.5 * (q[0] / q[2] + 1.0), 0.5 * (q[1] / q[2] + 1.0)])
        else:
            face = -1
    else:
        st = ti.Vector([uv[p, 0], 1.0 - uv[p, 1]])
    return face, st, q


@ti.func
def steps(slopes: ti.template(), p, face, st, q, cube: ti.template()):
    """Change of (s, t) under a step to the right and down."""
    dx, dy = ti.Vector([slopes[p, 0], -slopes[p, 2]]), ti.Vector([slopes[p, 1], -slopes[p, 3]])
    if ti.static(cube):
        for k in ti.static(range(2)):
            along = face_axes(face, ti.Vector([slopes[p, k], slopes[p, 2 + k], slopes[p, 4 + k]]))
            moved = ti.Vector([0.5 * along[c] - (st[c] - 0.5) * along[2] for c in ti.static(range(2))]) / q[2]
            if ti.static(k == 0):
                dx = moved
            else:
                dy = moved
    return dx, dy


@ti.func
def raw_level(
    p, face, st, q, table: ti.template(), count, slopes: ti.template(), bias: ti.template(), has_slopes, has_bias,
    cube: ti.template(),
):  # fmt: skip
    """log2 of the footprint's major axis in texels, plus the bias; before it is clamped."""
    level = 0.0 * st[0]
    if has_slopes == 1:
        dx, dy = steps(slopes, p, face, st, q, cube)
        a, b, _, root = footprint(dx, dy, table[0, 1], table[0, 2] // count)
        level = 0.5 * ti.log(ti.max(0.5 * (a + b) + root, 1e-30)) / LN2
    if has_bias == 1:
        level += bias[p, 0]
    return level


@ti.func
def levels_of(raw, filtering, levels):
    """The lower of the levels that are mixed, and the share of the next one."""
    low, part = 0, 0.0 * raw
    level = ti.min(ti.max(raw, 0.0), levels - 1.0)
    if filtering == MIP_NEAREST:
        low = ti.cast(level + 0.5, ti.i32)
    elif filtering == MIP_LINEAR:
        low = ti.cast(level, ti.i32)
        part = level - low
    return ti.min(ti.max(low, 0), levels - 1), part


@ti.func
def taps(
    table: ti.template(), level, picture, count, face, st, boundary, filtering, cube: ti.template()
):  # fmt: skip
    """Four texels of a level, their weights, and the weights' slopes along s and t."""
    width, height = table[level, 1], table[level, 2] // count
    start = table[level, 0] + picture * width * height
    rows, at, kept = ti.Vector([0, 0, 0, 0]), ti.Vector([0.0, 0.0]), ti.Vector([1.0, 1.0, 1.0, 1.0])
    if ti.static(cube):
        x, y = st[0] * width - 0.5, st[1] * height - 0.5
        left, top = ti.cast(ti.floor(x), ti.i32), ti.cast(ti.floor(y), ti.i32)
        left, top = ti.min(ti.max(left, -1), width - 1), ti.min(ti.max(top, -1), height - 1)
        at = ti.Vector([x - left, y - top])
        for k in ti.static(range(4)):
            rows[k] = cube_row(face, left + k % 2, top + k // 2, width)
            if rows[k] < 0:
                kept[k] = 0.0
            rows[k] = start + ti.max(rows[k], 0)
    else:
        rows, at = corners(ti.Vector([st[0], 1.0 - st[1]]), start, width, height, boundary)
        if boundary == ZERO:
            for k in ti.static(range(4)):
                x = ti.floor(ti.min(ti.max(st[0], -1.0), 2.0) * width - 0.5) + k % 2
                y = ti.floor(ti.min(ti.max(st[1], -1.0), 2.0) * height - 0.5) + k // 2
                if x < 0.0 or x >= width or y < 0.0 or y >= height:
                    kept[k] = 0.0
    if filtering == NEAREST:
        at = ti.floor(at + 0.5)
    w = bilinear_weights(at)
    ws = ti.Vector([at[1] - 1.0, 1.0 - at[1], -at[1], at[1]]) * width
    wt = ti.Vector([at[0] - 1.0, -at[0], 1.0 - at[0], at[0]]) * height
    if ti.static(cube):  # three texels meet in a corner: their mean stands for the fourth
        lost = 1.0 - kept
        w, ws, wt = w + lost.dot(w) / 3.0, ws + lost.dot(ws) / 3.0, wt + lost.dot(wt) / 3.0
    return rows, w * kept, ws * kept, wt * kept


@ti.kernel
def look_up(
    pixels: ti.i32, per_image: ti.i32, pictures: ti.i32, channels: ti.i32, levels: ti.i32, boundary: ti.i32,
    filtering: ti.i32, has_slopes: ti.i32, has_bias: ti.i32, texels: A2, table: A2, uv: A2, slopes: A2, bias: A2,
    out: A2, cube: ti.template(),
):  # fmt: skip
    """out [pixels, C]; zero where a cube is looked up in no direction."""
    for p in range(pixels):
        for c in range(channels):
            out[p, c] = 0.0
        face, st, q = aim(uv, p, cube)
        if face >= 0:
            faces = ti.static(6 if cube else 1)
            picture, count = p // per_image % pictures * faces, pictures * faces
            raw = raw_level(p, face, st, q, table, count, slopes, bias, has_slopes, has_bias, cube)
            low, part = levels_of(raw, filtering, levels)
            for j in range(2):
                share = part if j == 1 else 1.0 - part
                if share > 0.0:
                    rows, w, _ws, _wt = taps(table, low + j, picture, count, face, st, boundary, filtering, cube)
                    for c in range(channels):
                        value = out[p, c]
                        for k in ti.static(range(4)):
                            value += share * w[k] * texels[rows[k], c]
                        out[p, c] = value


@ti.func
def scatter(
    p, j, first, last, offset, per_image, pictures, channels, levels, boundary, filtering, has_slopes, has_bias,
    table: ti.template(), uv: ti.template(), slopes: ti.template(), bias: ti.template(), grad_out: ti.template(),
    part: ti.template(), cube: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """The texels' gradient from channels [first, last) of one pixel through the lower (j = 0) or next level."""
    face, st, q = aim(uv, p, cube)
    if face >= 0:
        faces = ti.static(6 if cube else 1)
        picture, count = p // per_image % pictures * faces, pictures * faces
        raw = raw_level(p, face, st, q, table, count, slopes, bias, has_slopes, has_bias, cube)
        low, share = levels_of(raw, filtering, levels)
        if j == 0:
            share = 1.0 - share
        if share > 0.0:
            rows, w, _ws, _wt = taps(table, low + j, picture, count, face, st, boundary, filtering, cube)
            if ti.static(atomic):
                for k in ti.static(range(4)):
                    ti.atomic_add(part[rows[k] * channels + first], share * w[k] * grad_out[p, first])
            else:
                for c in range(first, last):
                    for k in ti.static(range(4)):
                        add(part, offset + rows[k] * channels + c, share * w[k] * grad_out[p, c], False)


@ti.kernel
def look_up_texels_adjoint(
    chunks: ti.i32, length: ti.i32, pixels: ti.i32, per_image: ti.i32, pictures: ti.i32, channels: ti.i32,
    levels: ti.i32, boundary: ti.i32, filtering: ti.i32, has_slopes: ti.i32, has_bias: ti.i32, table: A2, uv: A2,
    slopes: A2, bias: A2, grad_out: A2, part: A1, cube: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """Scatters into part [chunks * length * channels]."""
    if ti.static(atomic):
        for p, c, j in ti.ndrange(pixels, channels, 2):
            scatter(
                p, j, c, c + 1, 0, per_image, pictures, channels, levels, boundary, filtering, has_slopes, has_bias,
                table, uv, slopes, bias, grad_out, part, cube, True,
            )  # fmt: skip
    else:
        for ticket in range(chunks * TASK):
            n = ticket // TASK
            if ticket % TASK != 0:
                continue
            for p in range(n * pixels // chunks, (n + 1) * pixels // chunks):
                for j in range(2):
                    scatter(
                        p, j, 0, channels, n * length * channels, per_image, pictures, channels, levels, boundary,
                        filtering, has_slopes, has_bias, table, uv, slopes, bias, grad_out, part, cube, False,
                    )  # fmt: skip


@ti.func
def add_level(
    p, g, face, st, q, table: ti.template(), count, slopes: ti.template(), grad_slopes: ti.template(), to_slopes,
    cube: ti.template(),
):  # fmt: skip
    """From the level's gradient to `slopes`; the gradient that reaches (s, t) and, times q[2], the vector's length."""
    dx, dy = steps(slopes, p, face, st, q, cube)
    width, height = table[0, 1], table[0, 2] // count
    a, b, c, root = footprint(dx, dy, width, height)
    to_major = g * 0.5 / (LN2 * ti.max(0.5 * (a + b) + root, 1e-30))
    lean, twist = 0.0 * g, 0.0 * g
    if root > 0.0:
        lean, twist = 0.25 * (a - b) / root, c / root
    square = ti.Vector([width * width * 1.0, height * height * 1.0])
    to_dx = to_major * ((1.0 + 2.0 * lean) * dx + twist * dy) * square
    to_dy = to_major * ((1.0 - 2.0 * lean) * dy + twist * dx) * square
    to_st, to_length = ti.Vector([0.0, 0.0]), 0.0 * g
    if ti.static(cube):
        for k in ti.static(range(2)):
            to, moved = to_dx, dx
            if ti.static(k == 1):
                to, moved = to_dy, dy
            along = face_axes(face, ti.Vector([slopes[p, k], slopes[p, 2 + k], slopes[p, 4 + k]]))
            to_st -= to * along[2] / q[2]
            to_length -= to.dot(moved)
            back = from_face(face, ti.Vector([0.5 * to[0], 0.5 * to[1], 0.5 * (to[0] + to[1]) - to.dot(st)])) / q[2]
            for i in ti.static(range(3)):
                if to_slopes == 1:
                    grad_slopes[p, 2 * i + k] = grad_slopes[p, 2 * i + k] + back[i]
    elif to_slopes == 1:
        for k in ti.static(range(2)):
            grad_slopes[p, 2 * k] = grad_slopes[p, 2 * k] + (1.0 - 2.0 * k) * to_dx[k]
            grad_slopes[p, 2 * k + 1] = grad_slopes[p, 2 * k + 1] + (1.0 - 2.0 * k) * to_dy[k]
    return to_st, to_length


@ti.kernel
def look_up_uv_adjoint(
    pixels: ti.i32, per_image: ti.i32, pictures: ti.i32, channels: ti.i32, levels: ti.i32, boundary: ti.i32,
    filtering: ti.i32, has_slopes: ti.i32, has_bias: ti.i32, texels: A2, table: A2, uv: A2, slopes: A2, bias: A2,
    grad_out: A2, to_uv: ti.i32, to_slopes: ti.i32, to_bias: ti.i32, grad_uv: A2, grad_slopes: A2, grad_bias: A2,
    cube: ti.template(),
):  # fmt: skip
    """Adds to the gradients of uv, slopes and bias [pixels, ...], each where asked for."""
    for p in range(pixels):
        face, st, q = aim(uv, p, cube)
        if face >= 0 and filtering != NEAREST:
            faces = ti.static(6 if cube else 1)
            picture, count = p // per_image % pictures * faces, pictures * faces
            raw = raw_level(p, face, st, q, table, count, slopes, bias, has_slopes, has_bias, cube)
            low, part = levels_of(raw, filtering, levels)
            mixed = filtering == MIP_LINEAR and raw > 0.0 and raw < levels - 1.0
            to_st, to_level, to_length = ti.Vector([0.0, 0.0]), 0.0 * raw, 0.0 * raw
            for j in range(2):
                share = part if j == 1 else 1.0 - part
                if share > 0.0 or mixed:
                    sign = 2.0 * j - 1.0
                    rows, w, ws, wt = taps(table, low + j, picture, count, face, st, boundary, filtering, cube)
                    for c in range(channels):
                        g = grad_out[p, c]
                        for k in ti.static(range(4)):
                            value = g * texels[rows[k], c]
                            to_level += sign * w[k] * value
                            to_st += share * value * ti.Vector([ws[k], wt[k]])
            if mixed:
                if to_bias == 1:
                    grad_bias[p, 0] = grad_bias[p, 0] + to_level
                if has_slopes == 1:
                    more, to_length = add_level(
                        p, to_level, face, st, q, table, count, slopes, grad_slopes, to_slopes, cube
                    )
                    to_st += more
            if to_uv == 1:
                if ti.static(cube):
                    third = 0.5 * (to_st[0] + to_st[1]) - to_st.dot(st) + to_length
                    back = from_face(face, ti.Vector([0.5 * to_st[0], 0.5 * to_st[1], third])) / q[2]
                    for i in ti.static(range(3)):
                        grad_uv[p, i] = grad_uv[p, i] + back[i]
                else:
                    grad_uv[p, 0] = grad_uv[p, 0] + to_st[0]
                    grad_uv[p, 1] = grad_uv[p, 1] - to_st[1]
