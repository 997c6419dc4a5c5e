"""Gradients of the neural mesh renderer (Kato et al. 2018) and of its local variant (Kato and Harada 2019).

Both work on a picture of two samples along each side of a pixel. `sweep` asks of every pixel in line with an edge what
moving the edge there would do to the loss: outside of the triangle the pixel would take the colour inside the edge,
inside that outside of it. Where the loss would fall by delta, and the edge's end has to move by D for that, the end's
gradient is -delta / D. The local variant asks the same of each pixel's own two neighbours.
"""

import taichi as ti

from ..accumulate import SPREAD, TASK
from .opendr import move_point

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

SAMPLES = 2  # along each side of a pixel
SHARE = 1.0 / SAMPLES**2


@ti.func
def coarse(view, row, column, width, height):
    """The pixel that a sample is of, among those of a picture of (width, height) samples."""
    return (view * (height // SAMPLES) + row // SAMPLES) * (width // SAMPLES) + column // SAMPLES


@ti.kernel
def lay_lines(
    views: ti.i32,
    width: ti.i32,
    height: ti.i32,
    channels: ti.template(),
    image: A2,
    grad_out: A2,
    lines: A1,
    extent: A1,
):
    """Every row of samples, then every column, as a line: of each channel all values, then all gradients.

    lines [2 * views * H * W * 2 C]; extent [2 * (views * H + views * W)]: first and last sample with a gradient.
    """
    rows, columns = views * height, views * width
    for ticket in range((rows + columns) * SPREAD):
        line = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        upright = line >= rows
        view, across, length, start = line // height, line % height, width, line * width * (2 * channels)
        if upright:
            view, across, length = (line - rows) // width, (line - rows) % width, height
            start = (rows * width + (line - rows) * height) * (2 * channels)
        first, last = length, -1
        for d in range(length):
            row, column = across, d
            if upright:
                row, column = d, across
            pixel, target = (view * height + row) * width + column, coarse(view, row, column, width, height)
            felt = 0
            for c in ti.static(range(channels)):
                g = SHARE * grad_out[target, c]
                lines[start + 2 * c * length + d] = image[pixel, c]
                lines[start + (2 * c + 1) * length + d] = g
                if g != 0.0:
                    felt = 1
            if felt == 1:
                first, last = ti.min(first, d), d
        extent[2 * line], extent[2 * line + 1] = first, last


@ti.func
def gain(lines: ti.template(), start, length, channels: ti.template(), d, color):
    """How much the loss would fall, to first order, if sample d of a line took a colour; 0 where it would not."""
    fall = 0.0 * color[0]
    for c in ti.static(range(channels)):
        fall += (lines[start + 2 * c * length + d] - color[c]) * lines[start + (2 * c + 1) * length + d]
    return ti.max(fall, 0.0)


@ti.func
def pulls(away, eps, share0, share1, fall):
    """fall / D for both ends, D = away / share: how far an end moves when the edge does by `away` at its share."""
    far0, far1 = away + eps * share0, away + eps * share1
    per = fall / (far0 * far1)
    return ti.Vector([share0 * far1 * per, share1 * far0 * per])


@ti.func
def line_color(lines: ti.template(), start, length, channels: ti.template(), d):
    return ti.Vector([lines[start + 2 * c * length + d] for c in ti.static(range(channels))])


@ti.func
def sweep_line(
    lines: ti.template(), extent: ti.template(), face: ti.template(), line, start, length, pixel0, step, f, outward,
    cross, opposite, share0, share1, eps, channels: ti.template(),
):  # fmt: skip
    """What one line pulls at both ends of an edge that crosses it at `cross`, along the line.

    The triangle f goes on from there to `opposite`, against `outward`.
    """
    total = ti.Vector.zero(float, 2)
    inner = ti.cast(ti.floor(cross), ti.i32)
    if outward < 0:
        inner = ti.cast(ti.ceil(cross), ti.i32)
    outer = inner + outward
    if inner >= 0 and inner < length and outer >= 0 and outer < length:
        first, last = extent[2 * line], extent[2 * line + 1]
        if face[pixel0 + inner * step] == f:
            color = line_color(lines, start, length, channels, inner)
            low, high = ti.max(outer, first), last
            if outward < 0:
                low, high = first, ti.min(outer, last)
            for d in range(low, high + 1):
                fall = gain(lines, start, length, channels, d, color)
                total += outward * pulls(ti.abs(d - cross), eps, share0, share1, fall)
        color = line_color(lines, start, length, channels, outer)
        low, high = ti.max(ti.cast(ti.floor(opposite), ti.i32), first), ti.min(inner, last)
        if outward < 0:
            low, high = ti.max(inner, first), ti.min(ti.cast(ti.ceil(opposite), ti.i32), last)
        for d in range(low, high + 1):
            if face[pixel0 + d * step] == f:
                fall = gain(lines, start, length, channels, d, color)
                total -= outward * pulls(ti.abs(d - cross), eps, share0, share1, fall)
    return total


@ti.func
def placed(screen: ti.template(), row, axis):
    """A vertex across and along the lines of an axis, in samples whose centres are whole numbers."""
    along, across = screen[row, 0] / screen[row, 2] - 0.5, screen[row, 1] / screen[row, 2] - 0.5
    if axis == 1:
        along, across = across, along
    return ti.Vector([across, along])


@ti.func
def crossing(p, q, across):
    """Where the line through p and q stands at `across`; p[0] != q[0]."""
    return p[1] + (q[1] - p[1]) / (q[0] - p[0]) * (across - p[0])


@ti.func
def sweep_edge(
    view, f, k, axis, vertices, width, height, eps, channels: ti.template(), triangles: ti.template(),
    screen: ti.template(), face: ti.template(), lines: ti.template(), extent: ti.template(), views,
):  # fmt: skip
    """The gradient of both ends of the edge from corner k to the next, along one axis of the screen, in samples."""
    base = view * vertices
    p = placed(screen, triangles[f, k] + base, axis)
    q = placed(screen, triangles[f, (k + 1) % 3] + base, axis)
    r = placed(screen, triangles[f, (k + 2) % 3] + base, axis)
    total = ti.Vector.zero(float, 2)
    if p[0] != q[0]:
        count, length, step, line0, start0 = height, width, 1, view * height, 0
        if axis == 1:
            count, length, step, line0, start0 = width, height, width, views * height + view * width, views * height
        outward = 1 if r[1] < crossing(p, q, r[0]) else -1
        low = ti.cast(ti.ceil(ti.max(ti.min(p[0], q[0]), 0.0)), ti.i32)
        high = ti.cast(ti.floor(ti.min(ti.max(p[0], q[0]), count - 1.0)), ti.i32)
        for across in range(low, high + 1):
            cross, share = crossing(p, q, across), (q[0] - across) / (q[0] - p[0])
            opposite = cross
            if (across - p[0]) * (across - r[0]) < 0.0:
                opposite = crossing(p, r, across)
            elif q[0] != r[0]:
                opposite = crossing(q, r, across)
            if cross > -2.0 and cross < length + 1.0:
                opposite = ti.min(ti.max(opposite, -1.0), length + 0.0)
                line, pixel0 = line0 + across, (view * height + across) * width
                start = line * length * (2 * channels)
                if axis == 1:
                    pixel0 = view * height * width + across
                    start = (start0 * width + (line - start0) * length) * (2 * channels)
                total -= sweep_line(
                    lines, extent, face, line, start, length, pixel0, step, f, outward, cross, opposite, share,
                    1.0 - share, eps, channels,
                )  # fmt: skip
    return total


@ti.kernel
def sweep(
    views: ti.i32,
    vertices: ti.i32,
    faces: ti.i32,
    width: ti.i32,
    height: ti.i32,
    eps: float,
    channels: ti.template(),
    triangles: A2,
    screen: A2,
    cameras: A2,
    face: A1,
    lines: A1,
    extent: A1,
    pull: A2,
):
    """pull [views * F * 6, 2]: per triangle, edge and axis the gradient of the edge's first and second end, in samples.

    eps, in samples, keeps D off zero. Triangles that cross the near plane are left out; cameras is that of `Views`.
    """
    for ticket in range(views * faces * 6):
        axis, k, f, view = ticket % 2, ticket // 2 % 3, ticket // 6 % faces, ticket // (6 * faces)
        total = ti.Vector.zero(float, 2)
        beyond = 1
        for j in ti.static(range(3)):
            if screen[view * vertices + triangles[f, j], 3] < cameras[view, 1]:
                beyond = 0
        if beyond == 1:
            total = sweep_edge(
                view, f, k, axis, vertices, width, height, eps, channels, triangles, screen, face, lines, extent, views
            )
        pull[ticket, 0], pull[ticket, 1] = total[0], total[1]


@ti.kernel
def collect_pulls(views: ti.i32, vertices: ti.i32, faces: ti.i32, starts: A1, corners: A1, pull: A2, screen: A2,
                  grad_screen: A2):  # fmt: skip
    """Adds to grad_screen [views * V, 4] what the edges at every vertex pull; starts and corners are the pack's."""
    for v in range(vertices):
        for view in range(views):
            to = ti.Vector.zero(float, 2)
            for i in range(starts[v], starts[v + 1]):
                f, k = corners[i] // 3, corners[i] % 3
                edges = (view * faces + f) * 3
                for axis in ti.static(range(2)):
                    to[axis] += pull[(edges + k) * 2 + axis, 0] + pull[(edges + (k + 2) % 3) * 2 + axis, 1]
            if to[0] != 0.0 or to[1] != 0.0:
                row = view * vertices + v
                w = screen[row, 2]
                grad_screen[row, 0] = grad_screen[row, 0] + to[0] / w
                grad_screen[row, 1] = grad_screen[row, 1] + to[1] / w
                back = (screen[row, 0] * to[0] + screen[row, 1] * to[1]) / (w * w)
                grad_screen[row, 2] = grad_screen[row, 2] - back


@ti.func
def fall_by(taker, giver, target, channels, image: ti.template(), grad_out: ti.template()):
    """How much the loss would fall, to first order, if sample `taker`, of pixel `target`, took another's colour."""
    fall = 0.0
    for c in range(channels):
        fall += SHARE * (image[taker, c] - image[giver, c]) * grad_out[target, c]
    return fall


@ti.func
def local_entry(
    e, offset, vertices, width, height, channels, place: ti.template(), face: ti.template(), triangles: ti.template(),
    screen: ti.template(), image: ti.template(), grad_out: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    view, row, column = place[3 * e], place[3 * e + 1], place[3 * e + 2]
    pixel, own = (view * height + row) * width + column, coarse(view, row, column, width, height)
    to = ti.Vector.zero(float, 2)
    for axis in ti.static(range(2)):
        # What the loss would fall by if this sample and the one behind moved ahead (on), or it and the one ahead back.
        on, back, step, here, end = 0.0 * to[axis], 0.0 * to[axis], 1, column, width
        if ti.static(axis == 1):
            step, here, end = width, row, height
        if here + 1 < end:
            target = coarse(view, row + axis, column + 1 - axis, width, height)
            on += fall_by(pixel + step, pixel, target, channels, image, grad_out)
            back += fall_by(pixel, pixel + step, own, channels, image, grad_out)
        if here > 0:
            target = coarse(view, row - axis, column - 1 + axis, width, height)
            on += fall_by(pixel, pixel - step, own, channels, image, grad_out)
            back += fall_by(pixel - step, pixel, target, channels, image, grad_out)
        if on > 0.0 and on > back:
            to[axis] = -on
        elif back > 0.0 and back > on:
            to[axis] = back
    if to[0] != 0.0 or to[1] != 0.0:
        move_point(e, to[0], to[1], offset, vertices, place, face, triangles, screen, part, atomic)


@ti.kernel
def local_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    entries: ti.i32,
    vertices: ti.i32,
    width: ti.i32,
    height: ti.i32,
    channels: ti.i32,
    place: A1,
    face: A1,
    triangles: A2,
    screen: A2,
    image: A2,
    grad_out: A2,
    part: A1,
    atomic: ti.template(),
):
    """Scatters what every seen sample gains by a step of one sample to its corners: part [chunks * rows * 4]."""
    if ti.static(atomic):
        for e in range(entries):
            local_entry(
                e, 0, vertices, width, height, channels, place, face, triangles, screen, image, grad_out, part, True
            )
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                local_entry(
                    e, p * rows, vertices, width, height, channels, place, face, triangles, screen, image, grad_out,
                    part, False,
                )  # fmt: skip
