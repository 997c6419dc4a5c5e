"""The smallest value of a field along each ray, and its derivative: what silhouette losses push (IDR).

At a minimum inside a cell the place along the ray does not count, by the envelope theorem. At one on the face between
two cells, or on the box's side, the place follows that face.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import box_interval
from ..rng import uniform
from .field import field_at, field_gradient, scatter_field

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

GOLDEN = 0.6180339887498949
TURNS = 64


@ti.kernel
def find(
    count: ti.i32, steps: ti.i32, origins: A2, directions: A2, values: A2, box: A2, sign: float, level: float,
    far: float, flat: float, t: A1, axis: A1, inside: A1, out: A2,
):  # fmt: skip
    """out [n, 1] = min of f over the ray's stretch in the box, `far` where there is none (inside is 0 then).

    The least of steps + 1 samples, refined by golden sections between its neighbours. t [n] is its place; axis [n] that
    of the cell's face or box's side on which it lies, -1 inside a cell, where the slope is below `flat` of its length.
    """
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        times, axes = box_interval(o, d, load3(box, 0), load3(box, 1))
        inside[ray], axis[ray] = 0, -1
        t[ray] = 0.0
        out[ray, 0] = far
        if times[0] < times[1] and d.norm() > 0.0:
            inside[ray] = 1
            step = (times[1] - times[0]) / steps
            best, least = 0, field_at(o + times[0] * d, values, box, sign, level)
            for s in range(1, steps + 1):
                f = field_at(o + (times[0] + s * step) * d, values, box, sign, level)
                if f < least:
                    best = s
                    least = f
            a = times[0] + ti.max(best - 1, 0) * step
            b = times[0] + ti.min(best + 1, steps) * step
            x, y = b - GOLDEN * (b - a), a + GOLDEN * (b - a)
            fx = field_at(o + x * d, values, box, sign, level)
            fy = field_at(o + y * d, values, box, sign, level)
            for _ in range(TURNS):
                if fx <= fy:
                    b = y
                    y = x
                    fy = fx
                    x = b - GOLDEN * (b - a)
                    fx = field_at(o + x * d, values, box, sign, level)
                else:
                    a = x
                    x = y
                    fx = fy
                    y = a + GOLDEN * (b - a)
                    fy = field_at(o + y * d, values, box, sign, level)
            place = 0.5 * (a + b)
            lowest = field_at(o + place * d, values, box, sign, level)
            if least < lowest:
                place = times[0] + best * step
                lowest = least
            t[ray] = place
            out[ray, 0] = lowest
            slope = field_gradient(o + place * d, values, box, sign)
            if ti.abs(slope.dot(d)) > flat * slope.norm() * d.norm():
                axis[ray] = face_axis(o, d, place, times, axes, box)


@ti.func
def face_axis(o, d, t, times, axes, box: ti.template()):
    """The axis of the face, of a cell or of the box, that lies nearest along the ray; -1 at the ray's own start."""
    low, high = load3(box, 0), load3(box, 1)
    found, nearest = -1, 1e30
    for a in ti.static(range(3)):
        if d[a] != 0.0:
            unit = (high[a] - low[a]) / box[2, a]
            q = (o[a] + t * d[a] - low[a]) / unit - 0.5
            away = ti.abs(q - ti.round(q)) * unit / ti.abs(d[a])
            if away < nearest:
                nearest = away
                found = a
    for side in ti.static(range(2)):
        if ti.abs(t - times[side]) <= nearest:
            nearest = ti.abs(t - times[side])
            found = axes[side]
    return found


@ti.func
def ray_slope(o, d, t, axis, values: ti.template(), box: ti.template(), sign):
    """Derivative [3] of the minimum by the ray's origin; t times it is that by the direction."""
    slope = field_gradient(o + t * d, values, box, sign)
    along = slope.dot(d)
    for a in ti.static(range(3)):
        if a == axis:
            slope[a] -= along / d[a]
    return slope


@ti.kernel
def rays_adjoint(
    count: ti.i32, origins: A2, directions: A2, values: A2, box: A2, sign: float, t: A1, axis: A1, inside: A1,
    grad_out: A2, grad_origins: A2, grad_directions: A2,
):  # fmt: skip
    for ray in range(count):
        if inside[ray] == 1:
            o, d = load3(origins, ray), load3(directions, ray)
            slope = ray_slope(o, d, t[ray], axis[ray], values, box, sign) * grad_out[ray, 0]
            for a in ti.static(range(3)):
                grad_origins[ray, a] = grad_origins[ray, a] + slope[a]
                grad_directions[ray, a] = grad_directions[ray, a] + t[ray] * slope[a]


@ti.kernel
def values_adjoint(
    chunks: ti.i32, cells: ti.i32, count: ti.i32, origins: A2, directions: A2, box: A2, sign: float, t: A1,
    inside: A1, grad_out: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """part [chunks * cells] += the gradient of the values around each ray's minimum."""
    if ti.static(atomic):
        for ray in range(count):
            if inside[ray] == 1:
                p = load3(origins, ray) + t[ray] * load3(directions, ray)
                scatter_field(p, sign * grad_out[ray, 0], box, part, 0, True)
    else:
        for ticket in range(chunks * TASK):
            chunk = ticket // TASK
            if ticket % TASK != 0:
                continue
            for ray in range(chunk * count // chunks, (chunk + 1) * count // chunks):
                if inside[ray] == 1:
                    p = load3(origins, ray) + t[ray] * load3(directions, ray)
                    scatter_field(p, sign * grad_out[ray, 0], box, part, chunk * cells, False)


@ti.kernel
def probe_places(
    count: ti.i32, seed: ti.i32, origins: A2, directions: A2, box: A2, found: A1, hit: A1, t: A1, axis: A1, inside: A1
):
    """t [n]: the hit where there is one, else a random place in the box; inside is 0 for rays that miss the box."""
    for ray in range(count):
        times, _ = box_interval(load3(origins, ray), load3(directions, ray), load3(box, 0), load3(box, 1))
        axis[ray], inside[ray] = -1, 0
        t[ray] = times[0] + uniform(seed, ray, 0, 0) * (times[1] - times[0])
        if times[0] < times[1]:
            inside[ray] = 1
        if hit[ray] == 1:
            t[ray] = found[ray]


@ti.kernel
def field_on_rays(
    count: ti.i32, origins: A2, directions: A2, values: A2, box: A2, sign: float, level: float, far: float, t: A1,
    inside: A1, out: A2,
):  # fmt: skip
    """out [n, 1] = f at the places t [n], `far` where a ray has none."""
    for ray in range(count):
        out[ray, 0] = far
        if inside[ray] == 1:
            p = load3(origins, ray) + t[ray] * load3(directions, ray)
            out[ray, 0] = field_at(p, values, box, sign, level)
