"""Ambient occlusion from what the camera sees, with its adjoint.

McGuire, Mara, Luebke 2012, "Scalable Ambient Obscurance".

An entry at p with unit normal n looks at SAMPLES pixels in a spiral around its own that is as wide as a sphere of
`radius` would look. A point q seen there, v = q - p, takes away
max(v.n - BIAS radius, 0) max(radius^2 - v.v, 0)^3 / (v.v + EPSILON radius^2) * 2.5 / (SAMPLES radius^5): theirs
with an intensity of radius / 2, so that a scene's scale changes nothing. Nothing jumps in it but which pixels are
looked at.
"""

import math

import taichi as ti

from ..accumulate import TASK, add3, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

SAMPLES = 32
BIAS, EPSILON = 0.01, 0.01
TURN = 2.399963229728653  # the golden angle: neighbours in the spiral look into different directions


def spiral_of(samples: int) -> list[tuple[float, float]]:
    """Places of samples in a spiral, in units of its own radius."""
    return [
        ((k + 0.5) / samples * math.cos(TURN * k), (k + 0.5) / samples * math.sin(TURN * k)) for k in range(samples)
    ]


SPIRAL = spiral_of(SAMPLES)


@ti.func
def seen_at(
    e, k, radius, width, height, spiral: ti.template(), place: ti.template(), pixel_entry: ti.template(),
    projection: ti.template(), p,
):  # fmt: skip
    """The entry of the buffer in the k-th pixel that entry e looks at, -1 where there is none."""
    view, row, column = place[3 * e], place[3 * e + 1], place[3 * e + 2]
    across = ti.Vector([projection[view, c] for c in ti.static(range(3))])
    ahead = ti.Vector([projection[view, 8 + c] for c in ti.static(range(3))])
    w = ahead.dot(p) + projection[view, 11]
    found = -1
    if w > 0.0:
        # A step across the line of sight moves the point over so many pixels.
        reach = radius * (across - ahead * (column + 0.5)).norm() / w
        x, y = ti.floor(column + 0.5 + reach * spiral[k, 0]), ti.floor(row + 0.5 + reach * spiral[k, 1])
        if x >= 0.0 and y >= 0.0 and x < width and y < height:
            found = pixel_entry[(view * height + ti.cast(y, ti.i32)) * width + ti.cast(x, ti.i32)]
    return found


@ti.func
def hides(v, n, radius):
    """What a point at v takes away, and its slopes along v and n."""
    share, by_v, by_n = 0.0, 0.0 * v, 0.0 * v
    rest, above = radius * radius - v.dot(v), v.dot(n) - BIAS * radius
    if rest > 0.0 and above > 0.0:
        inverse = 1.0 / (v.dot(v) + EPSILON * radius * radius)
        scale = 2.5 / SAMPLES / radius**5 * rest * rest * inverse
        share = scale * rest * above
        by_v = scale * (rest * n - (6.0 + 2.0 * rest * inverse) * above * v)
        by_n = scale * rest * v
    return share, by_v, by_n


@ti.kernel
def occlusion(
    entries: ti.i32, radius: float, width: ti.i32, height: ti.i32, spiral: A2, place: A1, pixel_entry: A1,
    projection: A2, positions: A2, normals: A2, points: A2, out: A2,
):  # fmt: skip
    """out [n, 1] = share of the ambient light that is left, from 0 up; points [m, 3] is the buffer's."""
    for e in range(entries):
        p, n, left = load3(positions, e), load3(normals, e), 1.0
        for k in range(SAMPLES):
            q = seen_at(e, k, radius, width, height, spiral, place, pixel_entry, projection, p)
            if q >= 0:
                share, _v, _n = hides(load3(points, q) - p, n, radius)
                left -= share
        out[e, 0] = ti.max(left, 0.0)


@ti.kernel
def occlusion_adjoint(
    chunks: ti.i32, rows: ti.i32, entries: ti.i32, radius: float, width: ti.i32, height: ti.i32, spiral: A2,
    place: A1, pixel_entry: A1, projection: A2, positions: A2, normals: A2, points: A2, out: A2, grad_out: A2,
    grad_positions: A2, grad_normals: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """Adds to the gradients of positions and normals, and of the buffer's points to part [chunks * rows * 3]."""
    if ti.static(atomic):
        for e, k in ti.ndrange(entries, SAMPLES):
            g, p = grad_out[e, 0], load3(positions, e)
            q = seen_at(e, k, radius, width, height, spiral, place, pixel_entry, projection, p)
            if q >= 0 and g != 0.0 and out[e, 0] > 0.0:
                _share, by_v, by_n = hides(load3(points, q) - p, load3(normals, e), radius)
                add3(part, q, -g * by_v, True)
                for c in ti.static(range(3)):
                    ti.atomic_add(grad_positions[e, c], g * by_v[c])
                    ti.atomic_add(grad_normals[e, c], -g * by_n[c])
    else:
        for ticket in range(chunks * TASK):
            chunk = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(chunk * entries // chunks, (chunk + 1) * entries // chunks):
                g, p, n = grad_out[e, 0], load3(positions, e), load3(normals, e)
                if g != 0.0 and out[e, 0] > 0.0:
                    to_p, to_n = ti.Vector.zero(float, 3), ti.Vector.zero(float, 3)
                    for k in range(SAMPLES):
                        q = seen_at(e, k, radius, width, height, spiral, place, pixel_entry, projection, p)
                        if q >= 0:
                            _share, by_v, by_n = hides(load3(points, q) - p, n, radius)
                            to_p += g * by_v
                            to_n -= g * by_n
                            add3(part, chunk * rows + q, -g * by_v, False)
                    for c in ti.static(range(3)):
                        grad_positions[e, c] = grad_positions[e, c] + to_p[c]
                        grad_normals[e, c] = grad_normals[e, c] + to_n[c]
