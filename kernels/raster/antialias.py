"""Silhouette antialiasing after Laine et al. 2020: a pixel pair that a silhouette edge crosses shares its colours.

`detect` finds, for each pixel and its right and lower neighbour, the edge and the share alpha; `apply` blends; the
adjoints go to the colours and, through alpha, to the edge's two vertices. A pair (0, 1) with alpha > 0 changes pixel 0
by alpha * (I1 - I0), with alpha < 0 pixel 1.
"""

import taichi as ti

from ..accumulate import SPREAD, TASK, add, load3
from .find import NOTHING

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def turn(a, b, c):
    """Sign of the turn a-b-c of homogeneous pixels; with corners behind the camera, of the plane by eye, a and b."""
    result = 0.0
    if a[2] > 0.0 and b[2] > 0.0 and c[2] > 0.0:
        # (b/wb - a/wa) x (c/wc - a/wa), times the positive wa^2 wb wc
        u, v = b * a[2] - a * b[2], c * a[2] - a * c[2]
        result = u[0] * v[1] - u[1] * v[0]
    else:
        result = a.cross(b).dot(c)
    return result


@ti.kernel
def silhouettes(views: ti.i32, vertices: ti.i32, faces: ti.i32, triangles: A2, opposite: A2, screen: A2, flags: A1):
    """flags [views * F]: bit k set where the edge facing corner k is a silhouette or border on the screen.

    opposite [F, 3]: the vertex across that edge, -1 where there is no neighbour.
    """
    for f in range(faces):
        for view in range(views):
            base = view * vertices
            bits = 0
            corners = [load3(screen, triangles[f, k] + base) for k in ti.static(range(3))]
            own = turn(corners[0], corners[1], corners[2])
            for k in ti.static(range(3)):
                o = opposite[f, k]
                other = load3(screen, ti.max(o, 0) + base)
                if o < 0 or own * turn(corners[(k + 1) % 3], corners[(k + 2) % 3], other) > 0.0:
                    bits |= 1 << k
            flags[view * faces + f] = bits


@ti.func
def edge_ends(screen: ti.template(), triangles: ti.template(), f, k, base, x, y):
    """Screen positions of the edge facing corner k, relative to (x, y), and whether both ends are before the camera."""
    a, b = triangles[f, (k + 1) % 3] + base, triangles[f, (k + 2) % 3] + base
    wa, wb = screen[a, 2], screen[b, 2]
    ends = ti.Vector([0.0, 0.0, 0.0, 0.0])
    valid = 0
    if wa > 0.0 and wb > 0.0:
        valid = 1
        ends = ti.Vector([screen[a, 0] / wa - x, screen[a, 1] / wa - y, screen[b, 0] / wb - x, screen[b, 1] / wb - y])
    return valid, ends


@ti.func
def share(
    view, vertices, faces, row0, col0, row1, col1, vertical, bits0, bits1, face0, face1, key0, key1,
    triangles: ti.template(), screen: ti.template(),
):  # fmt: skip
    """Alpha of a pixel pair and its code (face * 4 + edge, -1 where none)."""
    owner = 0
    if face0 == NOTHING or (face1 != NOTHING and (key1 > key0 or (key1 == key0 and face1 < face0))):
        owner = 1
    f, bits, sign = face0, bits0, 1.0
    x, y = col0 + 0.5, row0 + 0.5
    if owner == 1:
        f, bits, sign = face1, bits1, -1.0
        x, y = col1 + 0.5, row1 + 0.5
    best, code = -1.0, -1
    for k in range(3):
        if bits & (1 << k):
            valid, ends = edge_ends(screen, triangles, f, k, view * vertices, x, y)
            if vertical == 1:
                ends = ti.Vector([ends[1], ends[0], ends[3], ends[2]])
            dx, dy = ends[2] - ends[0], ends[3] - ends[1]
            if valid == 1 and ti.abs(dy) >= ti.abs(dx) and (ends[1] < 0.0) != (ends[3] < 0.0):
                distance = sign * (ends[0] * ends[3] - ends[1] * ends[2]) / dy
                if distance > -0.0625 and distance < 1.0625 and distance > best:
                    best, code = distance, f * 4 + k
    alpha = 0.0
    if code >= 0:
        alpha = sign * (0.5 - ti.min(ti.max(best, 0.0), 1.0))
    return alpha, code


@ti.func
def flags_of(flags: ti.template(), start, face):
    bits = 0
    if face != NOTHING:
        bits = flags[start + face]
    return bits


@ti.kernel
def detect(
    views: ti.i32,
    vertices: ti.i32,
    faces: ti.i32,
    width: ti.i32,
    height: ti.i32,
    face: A1,
    nearest: A1,
    triangles: A2,
    screen: A2,
    flags: A1,
    alpha: A2,
    code: A2,
):
    """alpha and code [pixels, 2] of every pixel's pair with its right (0) and lower (1) neighbour."""
    for ticket in range(views * height * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        view, own_row = row // height, row % height
        bits = flags_of(flags, view * faces, face[row * width])
        for column in range(width):
            pixel = row * width + column
            face0, bits0 = face[pixel], bits
            for axis in ti.static(range(2)):
                found, which = 0.0, -1
                other = pixel + 1
                if ti.static(axis == 1):
                    other = pixel + width
                if own_row + axis < height and column + 1 - axis < width:
                    face1 = face[other]
                    bits1 = flags_of(flags, view * faces, face1)
                    if face0 != face1 and (bits0 | bits1) != 0:
                        found, which = share(
                            view, vertices, faces, own_row, column, own_row + axis, column + 1 - axis, axis, bits0,
                            bits1, face0, face1, nearest[pixel], nearest[other], triangles, screen,
                        )  # fmt: skip
                    if ti.static(axis == 0):
                        bits = bits1
                alpha[pixel, axis] = found
                code[pixel, axis] = which


@ti.kernel
def apply(views: ti.i32, width: ti.i32, height: ti.i32, channels: ti.i32, alpha: A2, image: A2, out: A2):
    """out [pixels, C] = image with its silhouette pairs blended."""
    for ticket in range(views * height * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        above = row % height > 0
        for column in range(width):
            pixel = row * width + column
            right, down = alpha[pixel, 0], alpha[pixel, 1]
            left, up = 0.0 * right, 0.0 * right
            if column > 0:
                left = alpha[pixel - 1, 0]
            if above:
                up = alpha[pixel - width, 1]
            if right > 0.0 or down > 0.0 or left < 0.0 or up < 0.0:
                for c in range(channels):
                    own = image[pixel, c]
                    value = own
                    if right > 0.0:
                        value += right * (image[pixel + 1, c] - own)
                    if down > 0.0:
                        value += down * (image[pixel + width, c] - own)
                    if left < 0.0:
                        value += left * (own - image[pixel - 1, c])
                    if up < 0.0:
                        value += up * (own - image[pixel - width, c])
                    out[pixel, c] = value
            else:
                for c in range(channels):
                    out[pixel, c] = image[pixel, c]


@ti.func
def pair_adjoint(alpha, channels, p0, p1, image: ti.template(), grad_out: ti.template()):
    """dL/dalpha of one pair."""
    total = 0.0 * alpha
    target = p0
    if alpha < 0.0:
        target = p1
    for c in range(channels):
        total += grad_out[target, c] * (image[p1, c] - image[p0, c])
    return total


@ti.kernel
def apply_adjoint(
    views: ti.i32,
    width: ti.i32,
    height: ti.i32,
    channels: ti.i32,
    alpha: A2,
    image: A2,
    grad_out: A2,
    grad_image: A2,
    grad_alpha: A2,
):
    """Adds to grad_image [pixels, C] and grad_alpha [pixels, 2]."""
    for ticket in range(views * height * SPREAD):
        row = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        above = row % height > 0
        for column in range(width):
            pixel = row * width + column
            right, down = alpha[pixel, 0], alpha[pixel, 1]
            left, up = 0.0 * right, 0.0 * right
            if column > 0:
                left = alpha[pixel - 1, 0]
            if above:
                up = alpha[pixel - width, 1]
            for c in range(channels):
                g = grad_out[pixel, c]
                value = g
                if right > 0.0:
                    value -= right * g
                elif right < 0.0:
                    value -= right * grad_out[pixel + 1, c]
                if down > 0.0:
                    value -= down * g
                elif down < 0.0:
                    value -= down * grad_out[pixel + width, c]
                if left < 0.0:
                    value += left * g
                elif left > 0.0:
                    value += left * grad_out[pixel - 1, c]
                if up < 0.0:
                    value += up * g
                elif up > 0.0:
                    value += up * grad_out[pixel - width, c]
                grad_image[pixel, c] = grad_image[pixel, c] + value
            if right != 0.0:
                g = pair_adjoint(right, channels, pixel, pixel + 1, image, grad_out)
                grad_alpha[pixel, 0] = grad_alpha[pixel, 0] + g
            if down != 0.0:
                g = pair_adjoint(down, channels, pixel, pixel + width, image, grad_out)
                grad_alpha[pixel, 1] = grad_alpha[pixel, 1] + g


@ti.func
def share_adjoint_pixel(
    pixel, offset, vertices, width, height, alpha: ti.template(), code: ti.template(), grad_alpha: ti.template(),
    triangles: ti.template(), screen: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    column, row, view = pixel % width, pixel // width % height, pixel // (width * height)
    for axis in range(2):
        g = grad_alpha[pixel, axis]
        if code[pixel, axis] >= 0 and g != 0.0 and ti.abs(alpha[pixel, axis]) < 0.5:
            f, k = code[pixel, axis] // 4, code[pixel, axis] % 4
            a = triangles[f, (k + 1) % 3] + view * vertices
            b = triangles[f, (k + 2) % 3] + view * vertices
            xa, ya = screen[a, 0] / screen[a, 2], screen[a, 1] / screen[a, 2]
            xb, yb = screen[b, 0] / screen[b, 2], screen[b, 1] / screen[b, 2]
            # The crossing moves alike for either pixel of the pair, so take the line through pixel 0's centre.
            x1, y1, x2, y2 = xa - column - 0.5, ya - row - 0.5, xb - column - 0.5, yb - row - 0.5
            if axis == 1:
                x1, y1, x2, y2 = y1, x1, y2, x2
            d = y2 - y1
            steep = d
            if ti.abs(d) < 1e-3:
                steep = 1e-3 if d >= 0.0 else -1e-3
            cross = (x1 * y2 - y1 * x2) / steep
            gx1, gx2 = -g * y2 / steep, g * y1 / steep
            gy1, gy2 = g * (x2 - cross) / steep, g * (cross - x1) / steep
            if axis == 1:
                gx1, gy1, gx2, gy2 = gy1, gx1, gy2, gx2
            add(part, (offset + a) * 4, gx1 / screen[a, 2], atomic)
            add(part, (offset + a) * 4 + 1, gy1 / screen[a, 2], atomic)
            add(part, (offset + a) * 4 + 2, -(xa * gx1 + ya * gy1) / screen[a, 2], atomic)
            add(part, (offset + b) * 4, gx2 / screen[b, 2], atomic)
            add(part, (offset + b) * 4 + 1, gy2 / screen[b, 2], atomic)
            add(part, (offset + b) * 4 + 2, -(xb * gx2 + yb * gy2) / screen[b, 2], atomic)


@ti.kernel
def share_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    views: ti.i32,
    vertices: ti.i32,
    width: ti.i32,
    height: ti.i32,
    alpha: A2,
    code: A2,
    grad_alpha: A2,
    triangles: A2,
    screen: A2,
    part: A1,
    atomic: ti.template(),
):
    """Scatters grad_alpha to the silhouette edges' ends: part [chunks * rows * 4]."""
    if ti.static(atomic):
        for pixel in range(views * height * width):
            share_adjoint_pixel(
                pixel, 0, vertices, width, height, alpha, code, grad_alpha, triangles, screen, part, True
            )
    else:
        pixels = views * height * width
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for pixel in range(p * pixels // chunks, (p + 1) * pixels // chunks):
                share_adjoint_pixel(
                    pixel, p * rows, vertices, width, height, alpha, code, grad_alpha, triangles, screen, part, False
                )
