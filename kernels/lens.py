"""Lens distortion on the device: film points of a lens to those of a pinhole, rays and pictures; with adjoints.

A lens is 12 numbers of a row of a table: fx, fy, cx, cy in pixels, then k1, k2, p1, p2, k3, k4, k5, k6 as in
tidr/scene/distortion.py, where the formula stands. Its inverse is found by Newton's method; its derivative is that of
an implicit function. Where the map folds before it gets to a film point, that stays where the search ended and moves
with nothing.
"""

import taichi as ti

from .accumulate import TASK, load3
from .rays import ray_adjoint, write_ray

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

COLUMNS, STEPS, HALVINGS, FOLD = 12, 30, 8, 1e-6


@ti.func
def factor(lens: ti.template(), view, first: ti.template(), s):
    """The radial factor at r^2 = s, its derivative by s, and its denominator."""
    k1, k2, k3 = lens[view, first + 4], lens[view, first + 5], lens[view, first + 8]
    k4, k5, k6 = lens[view, first + 9], lens[view, first + 10], lens[view, first + 11]
    bottom = 1.0 + s * (k4 + s * (k5 + s * k6))
    value = (1.0 + s * (k1 + s * (k2 + s * k3))) / bottom
    slope = (k1 + s * (2.0 * k2 + 3.0 * s * k3) - value * (k4 + s * (2.0 * k5 + 3.0 * s * k6))) / bottom
    return value, slope, bottom


@ti.func
def shown(lens: ti.template(), view, first: ti.template(), u):
    """Where the lens shows u [2], and the Jacobian's entries [3]: xx, xy, yy."""
    p1, p2, x, y = lens[view, first + 6], lens[view, first + 7], u.x, u.y
    s = x * x + y * y
    value, slope, _bottom = factor(lens, view, first, s)
    at = ti.Vector(
        [
            x * value + 2.0 * p1 * x * y + p2 * (s + 2.0 * x * x),
            y * value + p1 * (s + 2.0 * y * y) + 2.0 * p2 * x * y,
        ]
    )
    jacobian = ti.Vector(
        [
            value + 2.0 * x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x,
            2.0 * (x * y * slope + p1 * x + p2 * y),
            value + 2.0 * y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x,
        ]
    )
    return at, jacobian


@ti.func
def determinant(jacobian):
    return jacobian[0] * jacobian[2] - jacobian[1] * jacobian[1]


@ti.func
def is_open(jacobian):
    """Whether neither direction is turned over."""
    return determinant(jacobian) > FOLD and jacobian[0] > 0.0


@ti.func
def solved(jacobian, g):
    """The inverse of the symmetric Jacobian times g [2]."""
    back = ti.Vector([jacobian[2] * g.x - jacobian[1] * g.y, jacobian[0] * g.y - jacobian[1] * g.x])
    return back / determinant(jacobian)


@ti.func
def undistorted(lens: ti.template(), view, first: ti.template(), x, y):
    """What the lens shows at a film point: u [2] before focal length and principal point, and 1, or 0 in a fold."""
    goal = ti.Vector(
        [(x - lens[view, first + 2]) / lens[view, first], (y - lens[view, first + 3]) / lens[view, first + 1]]
    )
    u, live, inside = goal, 1, 1
    at, jacobian = shown(lens, view, first, u)
    for _ in range(HALVINGS):
        if not is_open(jacobian):
            u *= 0.5
            at, jacobian = shown(lens, view, first, u)
    if not is_open(jacobian):
        live, inside = 0, 0
    for _ in range(STEPS):
        if live == 1:
            step = solved(jacobian, at - goal)
            next_at, next_jacobian = shown(lens, view, first, u - step)
            if not is_open(next_jacobian):
                live, inside = 0, 0
            else:
                u, at, jacobian = u - step, next_at, next_jacobian
                if step.norm_sqr() == 0.0:
                    live = 0
    if (at - goal).norm_sqr() > 1e-10:
        inside = 0
    return u, inside


@ti.func
def pinhole_point(lens: ti.template(), view, first: ti.template(), x, y):
    """Where a pinhole camera of the same focal length sees what the lens shows at the film point x, y."""
    u, _inside = undistorted(lens, view, first, x, y)
    return u.x * lens[view, first] + lens[view, first + 2], u.y * lens[view, first + 1] + lens[view, first + 3]


@ti.func
def pinhole_point_adjoint(lens: ti.template(), view, first: ti.template(), x, y, to_x, to_y):
    """Gradient [12] of the lens and [2] of the film point from those of what `pinhole_point` returns."""
    fx, fy = lens[view, first], lens[view, first + 1]
    found = ti.Vector([0.0 for _ in ti.static(range(COLUMNS))])
    to_place = ti.Vector([0.0, 0.0])
    u, inside = undistorted(lens, view, first, x, y)
    found[0], found[1], found[2], found[3] = to_x * u.x, to_y * u.y, to_x, to_y
    if inside == 1:
        _at, jacobian = shown(lens, view, first, u)
        g = solved(jacobian, ti.Vector([to_x * fx, to_y * fy]))
        s = u.norm_sqr()
        value, _slope, bottom = factor(lens, view, first, s)
        along = g.dot(u) / bottom
        found[4], found[5], found[8] = -along * s, -along * s * s, -along * s * s * s
        found[9], found[10], found[11] = along * value * s, along * value * s * s, along * value * s * s * s
        found[6] = -(g.x * 2.0 * u.x * u.y + g.y * (s + 2.0 * u.y * u.y))
        found[7] = -(g.x * (s + 2.0 * u.x * u.x) + g.y * 2.0 * u.x * u.y)
        to_place = ti.Vector([g.x / fx, g.y / fy])
        found[0] -= to_place.x * (x - lens[view, first + 2]) / fx
        found[1] -= to_place.y * (y - lens[view, first + 3]) / fy
        found[2] -= to_place.x
        found[3] -= to_place.y
    return found, to_place


@ti.kernel
def lens_rays(count: ti.i32, place: A1, table: A2, origins: A2, directions: A2, cosines: A2):
    """Rays of the pixels place [n * 3] (view, row, column); table [B, 30]: as in rays.py, then the lens."""
    for ray in range(count):
        view = place[3 * ray]
        x, y = pinhole_point(table, view, 18, place[3 * ray + 2] + 0.5, place[3 * ray + 1] + 0.5)
        write_ray(ray, view, x, y, table, origins, directions, cosines)


@ti.kernel
def lens_rays_adjoint(
    chunks: ti.i32, views: ti.i32, count: ti.i32, place: A1, table: A2, directions: A2, cosines: A2,
    grad_origins: A2, grad_directions: A2, grad_cosines: A2, part: A1, block: ti.template(),
):  # fmt: skip
    """part [chunks * views * 30] += gradient of the table."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for ray in range(p * count // chunks, (p + 1) * count // chunks):
            view = place[3 * ray]
            x, y = place[3 * ray + 2] + 0.5, place[3 * ray + 1] + 0.5
            slot = (p * views + view) * (18 + COLUMNS)
            pinhole_x, pinhole_y = pinhole_point(table, view, 18, x, y)
            ray_adjoint(
                ray, slot, pinhole_x, pinhole_y, directions, cosines, grad_origins, grad_directions, grad_cosines, part
            )
            u, g, to_x, to_y = load3(directions, ray), load3(grad_directions, ray), 0.0, 0.0
            cosine = cosines[ray, 0]
            to_d = (g - u * u.dot(g)) * cosine - u * (grad_cosines[ray, 0] * cosine * cosine)
            for k in ti.static(range(3)):
                to_x += grad_origins[ray, k] * table[view, 3 * k] + to_d[k] * table[view, 9 + 3 * k]
                to_y += grad_origins[ray, k] * table[view, 3 * k + 1] + to_d[k] * table[view, 10 + 3 * k]
            found, _to_place = pinhole_point_adjoint(table, view, 18, x, y, to_x, to_y)
            for k in ti.static(range(COLUMNS)):
                part[slot + 18 + k] = part[slot + 18 + k] + found[k]


@ti.func
def neighbours(at, size):
    """The two of `size` cells whose centres a place lies between, and its share of the second; at a border one cell."""
    low = ti.min(ti.max(ti.floor(at - 0.5, ti.i32), 0), size - 1)
    return low, ti.min(low + 1, size - 1), ti.min(ti.max(at - 0.5 - low, 0.0), 1.0)


@ti.func
def is_between(at, size):
    """Whether a place lies between cell centres; on one it moves to the next, so that no distortion has a gradient."""
    return at >= 0.5 and at < size - 0.5


@ti.func
def source_of(lens: ti.template(), pixel, height, width, margin_x, margin_y):
    """(view, x, y) in the pinhole's picture, which is larger by the margins, of a pixel of the lens's."""
    view = pixel // (height * width)
    place = pixel - view * height * width
    row = place // width
    x, y = pinhole_point(lens, view, 0, place - row * width + 0.5, row + 0.5)
    return view, x + margin_x, y + margin_y


@ti.kernel
def resample(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, margin_x: ti.i32, margin_y: ti.i32, lens: A2,
    picture: A2, source: ti.i32, smooth: ti.i32, out: A2, start: ti.i32,
):  # fmt: skip
    """out [start + views * height * width, C] from a pinhole's picture that begins at row `source`: between four pixels
    where smooth, else the nearest."""
    for pixel in range(views * height * width):
        wide, high = width + 2 * margin_x, height + 2 * margin_y
        view, x, y = source_of(lens, pixel, height, width, margin_x, margin_y)
        left, right, across = neighbours(x, wide)
        top, bottom, down = neighbours(y, high)
        if smooth == 0:
            across, down = ti.floor(across + 0.5), ti.floor(down + 0.5)
        for c in range(channels):
            first, last = source + (view * high + top) * wide, source + (view * high + bottom) * wide
            above = picture[first + left, c] * (1.0 - across) + picture[first + right, c] * across
            below = picture[last + left, c] * (1.0 - across) + picture[last + right, c] * across
            out[start + pixel, c] = above * (1.0 - down) + below * down


@ti.kernel
def resample_adjoint(
    views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, margin_x: ti.i32, margin_y: ti.i32, lens: A2,
    grad_picture: A2, source: ti.i32, grad_out: A2, start: ti.i32, smooth: ti.i32,
):  # fmt: skip
    """To the pinhole's picture."""
    for pixel in range(views * height * width):
        wide, high = width + 2 * margin_x, height + 2 * margin_y
        view, x, y = source_of(lens, pixel, height, width, margin_x, margin_y)
        left, right, across = neighbours(x, wide)
        top, bottom, down = neighbours(y, high)
        if smooth == 0:
            across, down = ti.floor(across + 0.5), ti.floor(down + 0.5)
        for c in range(channels):
            first, last = source + (view * high + top) * wide, source + (view * high + bottom) * wide
            g = grad_out[start + pixel, c]
            ti.atomic_add(grad_picture[first + left, c], g * (1.0 - across) * (1.0 - down))
            ti.atomic_add(grad_picture[first + right, c], g * across * (1.0 - down))
            ti.atomic_add(grad_picture[last + left, c], g * (1.0 - across) * down)
            ti.atomic_add(grad_picture[last + right, c], g * across * down)


@ti.kernel
def resample_lens_adjoint(
    chunks: ti.i32, views: ti.i32, height: ti.i32, width: ti.i32, channels: ti.i32, margin_x: ti.i32, margin_y: ti.i32,
    lens: A2, picture: A2, source: ti.i32, grad_out: A2, start: ti.i32, part: A1, block: ti.template(),
):  # fmt: skip
    """part [chunks * views * COLUMNS] += gradient of the lenses; of smooth pictures."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for line in range(p * views * height // chunks, (p + 1) * views * height // chunks):
            wide, high = width + 2 * margin_x, height + 2 * margin_y
            for column in range(width):
                pixel = line * width + column
                view, x, y = source_of(lens, pixel, height, width, margin_x, margin_y)
                left, right, across = neighbours(x, wide)
                top, bottom, down = neighbours(y, high)
                first, last = source + (view * high + top) * wide, source + (view * high + bottom) * wide
                to_x, to_y = 0.0, 0.0
                for c in range(channels):
                    a, b = picture[first + left, c], picture[first + right, c]
                    e, f = picture[last + left, c], picture[last + right, c]
                    if is_between(x, wide):
                        to_x += grad_out[start + pixel, c] * ((b - a) * (1.0 - down) + (f - e) * down)
                    if is_between(y, high):
                        to_y += grad_out[start + pixel, c] * ((e - a) * (1.0 - across) + (f - b) * across)
                row = line - view * height
                found, _to_place = pinhole_point_adjoint(lens, view, 0, column + 0.5, row + 0.5, to_x, to_y)
                for k in ti.static(range(COLUMNS)):
                    slot = (p * views + view) * COLUMNS + k
                    part[slot] = part[slot] + found[k]
