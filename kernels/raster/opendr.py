"""OpenDR's derivative of a finished picture (Loper and Black 2014): its own slope moves with the triangles seen there.

A pixel shows a point of its triangle. Where that point moves by v, the pixel changes by -slope * v, with the slope of
the picture by differences between neighbours that see the same object. `fronts` finds the pairs of neighbours that do
not, and which of the two stands before the other. The step between such two moves with the nearer one's triangle. Plain
central differences spread it over both pixels, half each, and so it is here; OpenDR's own code counts it double at the
one of them that its drawn lines mark.
"""

import taichi as ti

from ..accumulate import TASK, add
from .antialias import edge_ends, flags_of
from .find import NOTHING
from .gather import corner, corner_rows, pixel_place, planes, safe_sum

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

ONE_OBJECT, FIRST, SECOND = 0, 1, 2


@ti.func
def outline_between(view, vertices, f, bits, x, y, toward, axis, triangles: ti.template(), screen: ti.template()):
    """Whether an outline of triangle f crosses the way from pixel centre (x, y) one pixel along the axis."""
    crossed = 0
    for k in range(3):
        if bits & (1 << k):
            valid, ends = edge_ends(screen, triangles, f, k, view * vertices, x, y)
            if axis == 1:
                ends = ti.Vector([ends[1], ends[0], ends[3], ends[2]])
            if valid == 1 and (ends[1] < 0.0) != (ends[3] < 0.0):
                distance = toward * (ends[0] * ends[3] - ends[1] * ends[2]) / (ends[3] - ends[1])
                if distance > -0.0625 and distance < 1.0625:
                    crossed = 1
    return crossed


@ti.kernel
def fronts(
    views: ti.i32,
    vertices: ti.i32,
    faces: ti.i32,
    width: ti.i32,
    height: ti.i32,
    face: A1,
    nearest: A1,
    instance: A1,
    triangles: A2,
    screen: A2,
    flags: A1,
    front: A2,
):
    """front [pixels, 2]: which of a pixel (FIRST) and its right (0) or lower (1) neighbour (SECOND) hides the other.

    ONE_OBJECT where neither does: both see nothing, or triangles of one instance without an outline in between.
    """
    for pixel in range(views * height * width):
        column, row, view = pixel % width, pixel // width % height, pixel // (width * height)
        face0 = face[pixel]
        for axis in ti.static(range(2)):
            found = ONE_OBJECT
            other = pixel + (1 if ti.static(axis == 0) else width)
            if column + 1 - axis < width and row + axis < height:
                face1 = face[other]
                if face0 != face1:
                    owner, f, toward, x, y = FIRST, face0, 1.0, column + 0.5, row + 0.5
                    key0, key1 = nearest[pixel], nearest[other]
                    if face0 == NOTHING or (face1 != NOTHING and (key1 > key0 or (key1 == key0 and face1 < face0))):
                        owner, f, toward, x, y = SECOND, face1, -1.0, x + 1.0 - axis, y + axis
                    apart = 1
                    if face0 != NOTHING and face1 != NOTHING and instance[face0] == instance[face1]:
                        bits = flags_of(flags, view * faces, f)
                        apart = outline_between(view, vertices, f, bits, x, y, toward, axis, triangles, screen)
                    if apart == 1:
                        found = owner
            front[pixel, axis] = found


@ti.func
def move_point(
    e, to_x, to_y, offset, vertices, place: ti.template(), face: ti.template(), triangles: ti.template(),
    screen: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """Scatter the gradient (to_x, to_y), in pixels, of where the point that entry e shows lies on the screen.

    The point is sum_k b_k (column_k w_k, row_k w_k, w_k), homogeneous, with the barycentrics b kept.
    """
    view, x, y = pixel_place(place, e)
    ids = corner_rows(triangles, face[e], view * vertices)
    c0, c1, c2 = corner(screen, ids[0], x, y), corner(screen, ids[1], x, y), corner(screen, ids[2], x, y)
    a0, a1, a2 = planes(c0, c1, c2)
    b = ti.Vector([a0[2], a1[2], a2[2]])
    b /= safe_sum(b.sum())
    w = b.dot(ti.Vector([c0[2], c1[2], c2[2]]))
    if w > 0.0:
        for k in ti.static(range(3)):
            slot, share = (offset + ids[k]) * 4, b[k] / w
            add(part, slot, share * to_x, atomic)
            add(part, slot + 1, share * to_y, atomic)
            add(part, slot + 2, -share * (x * to_x + y * to_y), atomic)


@ti.func
def step_gradient(first, second, channels, image: ti.template(), grad_out: ti.template()):
    """The step from one pixel to the next, half of it weighted by the loss's gradient at either."""
    total = 0.0
    for c in range(channels):
        total += 0.5 * (grad_out[first, c] + grad_out[second, c]) * (image[second, c] - image[first, c])
    return total


@ti.func
def slope_entry(
    e, offset, vertices, width, height, channels, place: ti.template(), face: ti.template(), front: ti.template(),
    triangles: ti.template(), screen: ti.template(), image: ti.template(), grad_out: ti.template(),
    part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    row, column = place[3 * e + 1], place[3 * e + 2]
    pixel = (place[3 * e] * height + row) * width + column
    to = ti.Vector.zero(float, 2)
    for axis in ti.static(range(2)):
        here, end, step = column, width, 1
        if ti.static(axis == 1):
            here, end, step = row, height, width
        low, high, steps = pixel, pixel, 0
        if here > 0:
            if front[pixel - step, axis] == ONE_OBJECT:
                low, steps = pixel - step, 1
            elif front[pixel - step, axis] == SECOND:
                to[axis] -= step_gradient(pixel - step, pixel, channels, image, grad_out)
        if here + 1 < end:
            if front[pixel, axis] == ONE_OBJECT:
                high, steps = pixel + step, steps + 1
            elif front[pixel, axis] == FIRST:
                to[axis] -= step_gradient(pixel, pixel + step, channels, image, grad_out)
        for c in range(channels):
            to[axis] -= grad_out[pixel, c] * (image[high, c] - image[low, c]) / ti.max(steps, 1)
    if to[0] != 0.0 or to[1] != 0.0:
        move_point(e, to[0], to[1], offset, vertices, place, face, triangles, screen, part, atomic)


@ti.kernel
def slope_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    entries: ti.i32,
    vertices: ti.i32,
    width: ti.i32,
    height: ti.i32,
    channels: ti.i32,
    place: A1,
    face: A1,
    front: A2,
    triangles: A2,
    screen: A2,
    image: A2,
    grad_out: A2,
    part: A1,
    atomic: ti.template(),
):
    """Scatters -slope * dL/dimage of every seen pixel to its triangle's corners: part [chunks * rows * 4]."""
    if ti.static(atomic):
        for e in range(entries):
            slope_entry(
                e, 0, vertices, width, height, channels, place, face, front, triangles, screen, image, grad_out, part,
                True,
            )  # fmt: skip
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                slope_entry(
                    e, p * rows, vertices, width, height, channels, place, face, front, triangles, screen, image,
                    grad_out, part, False,
                )  # fmt: skip
