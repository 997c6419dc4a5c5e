"""Where rays first enter the inside of a field, and the derivative of that by the implicit function theorem.

f(o + t d) = 0 holds whatever moves, so dt = -df / (grad f . d): exact, by what the field holds and by the ray
(Niemeyer et al. 2020, Yariv et al. 2020). SDFDiff (Jiang et al. 2020) differentiates its last step t = t0 + f / |d|
instead, right only where the ray meets the surface at a right angle.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import box_interval
from .field import field_at, field_gradient, scatter_field

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

SPHERE, UNIFORM = 0, 1
EXACT, SDFDIFF = 0, 1


@ti.func
def root(o, d, lower, upper, f_lower, f_upper, values: ti.template(), box: ti.template(), sign, level):
    """The t in lower..upper where f changes sign, by regula falsi with the Illinois rule."""
    a, b, fa, fb = lower, upper, f_lower, f_upper
    best, f_best = upper, ti.abs(f_upper)
    side, turn = 0, 0
    while turn < 24 and f_best > 0.0:
        t = (a * fb - b * fa) / (fb - fa)
        if not (t > a and t < b):
            t = 0.5 * (a + b)
        f = field_at(o + t * d, values, box, sign, level)
        if ti.abs(f) < f_best:
            best = t
            f_best = ti.abs(f)
        if f > 0.0:
            a = t
            fa = f
            if side == 1:
                fb *= 0.5
            side = 1
        else:
            b = t
            fb = f
            if side == -1:
                fa *= 0.5
            side = -1
        turn += 1
    return best


@ti.kernel
def find(
    count: ti.i32, origins: A2, directions: A2, values: A2, box: A2, sign: float, level: float, smallest: float,
    limit: ti.i32, uniform: ti.template(), t: A1, hit: A1,
):  # fmt: skip
    """t [n] where f turns from positive to negative first; hit [n] is 1 there, else 0.

    uniform: `limit` equal steps inside the box; else steps as long as f says (sphere tracing), at least `smallest`, in
    object units, and at most `limit` of them. A ray that starts inside has no hit until it has come out.
    """
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
        hit[ray] = 0
        t[ray] = 0.0
        speed = d.norm()
        if times[0] < times[1] and speed > 0.0:
            before = times[0]
            f_before = field_at(o + before * d, values, box, sign, level)
            turn, going = 0, 1
            while turn < limit and going == 1:
                step = ti.max(ti.abs(f_before), smallest) / speed
                if ti.static(uniform):
                    step = (times[1] - times[0]) / limit
                at = before + step
                if at >= times[1]:
                    at = times[1]
                    going = 0
                f = field_at(o + at * d, values, box, sign, level)
                if f_before > 0.0 and f <= 0.0:
                    hit[ray] = 1
                    t[ray] = root(o, d, before, at, f_before, f, values, box, sign, level)
                    going = 0
                before = at
                f_before = f
                turn += 1


@ti.func
def moved(d, slope, g, mode, least):
    """dL/df at the hit, from dL/dt: -1 / (grad f . d), kept away from 0 where the ray grazes; or SDFDiff's 1 / |d|."""
    out = g / d.norm()
    if mode == EXACT:
        bound = least * slope.norm() * d.norm()
        along = ti.min(slope.dot(d), -bound)
        out = 0.0
        if along < 0.0:
            out = -g / along
    return out


@ti.kernel
def hit_rays_adjoint(
    count: ti.i32, ray_of: A1, origins: A2, directions: A2, values: A2, box: A2, sign: float, mode: ti.i32,
    least: float, t: A2, grad_t: A2, grad_origins: A2, grad_directions: A2,
):  # fmt: skip
    """From the gradients of the hits' t [n, 1] to their rays."""
    for e in range(count):
        ray = ray_of[e]
        o, d = load3(origins, ray), load3(directions, ray)
        slope = field_gradient(o + t[e, 0] * d, values, box, sign)
        share = moved(d, slope, grad_t[e, 0], mode, least)
        for a in ti.static(range(3)):
            grad_origins[ray, a] = grad_origins[ray, a] + share * slope[a]
            grad_directions[ray, a] = grad_directions[ray, a] + share * t[e, 0] * slope[a]


@ti.func
def hit_entry(
    e, start, ray_of: ti.template(), origins: ti.template(), directions: ti.template(), values: ti.template(),
    box: ti.template(), sign, mode, least, t: ti.template(), grad_t: ti.template(), part: ti.template(),
    atomic: ti.template(),
):  # fmt: skip
    ray = ray_of[e]
    o, d = load3(origins, ray), load3(directions, ray)
    p = o + t[e, 0] * d
    slope = field_gradient(p, values, box, sign)
    share = moved(d, slope, grad_t[e, 0], mode, least)
    scatter_field(p, sign * share, box, part, start, atomic)


@ti.kernel
def hit_values_adjoint(
    chunks: ti.i32, cells: ti.i32, count: ti.i32, ray_of: A1, origins: A2, directions: A2, values: A2, box: A2,
    sign: float, mode: ti.i32, least: float, t: A2, grad_t: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """From the gradients of the hits' t [n, 1] to part [chunks * cells]."""
    if ti.static(atomic):
        for e in range(count):
            hit_entry(
                e, 0, ray_of, origins, directions, values, box, sign, mode, least, t, grad_t, part, True
            )  # fmt: skip
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * count // chunks, (p + 1) * count // chunks):
                hit_entry(
                    e, p * cells, ray_of, origins, directions, values, box, sign, mode, least, t, grad_t, part, False
                )  # fmt: skip


@ti.kernel
def gather_hits(count: ti.i32, ray_of: A1, found: A1, t: A2):
    for e in range(count):
        t[e, 0] = found[ray_of[e]]


@ti.kernel
def points(count: ti.i32, ray_of: A1, origins: A2, directions: A2, t: A2, out: A2):
    """out [n, 3] = o + t d of each hit's ray."""
    for e in range(count):
        p = load3(origins, ray_of[e]) + t[e, 0] * load3(directions, ray_of[e])
        for a in ti.static(range(3)):
            out[e, a] = p[a]


@ti.kernel
def points_adjoint(
    count: ti.i32, ray_of: A1, directions: A2, t: A2, grad_out: A2, grad_origins: A2, grad_directions: A2, grad_t: A2
):
    for e in range(count):
        ray, g = ray_of[e], load3(grad_out, e)
        for a in ti.static(range(3)):
            grad_origins[ray, a] = grad_origins[ray, a] + g[a]
            grad_directions[ray, a] = grad_directions[ray, a] + t[e, 0] * g[a]
        grad_t[e, 0] = grad_t[e, 0] + g.dot(load3(directions, ray))


@ti.kernel
def views(count: ti.i32, ray_of: A1, directions: A2, out: A2):
    """out [n, 3]: from the hit towards where the ray came from."""
    for e in range(count):
        for a in ti.static(range(3)):
            out[e, a] = -directions[ray_of[e], a]


@ti.kernel
def views_adjoint(count: ti.i32, ray_of: A1, grad_out: A2, grad_directions: A2):
    for e in range(count):
        for a in ti.static(range(3)):
            grad_directions[ray_of[e], a] = grad_directions[ray_of[e], a] - grad_out[e, a]


@ti.kernel
def depths(count: ti.i32, ray_of: A1, cosines: A2, t: A2, out: A2):
    for e in range(count):
        out[e, 0] = cosines[ray_of[e], 0] * t[e, 0]


@ti.kernel
def depths_adjoint(count: ti.i32, ray_of: A1, cosines: A2, t: A2, grad_out: A2, grad_cosines: A2, grad_t: A2):
    for e in range(count):
        ray = ray_of[e]
        grad_cosines[ray, 0] = grad_cosines[ray, 0] + t[e, 0] * grad_out[e, 0]
        grad_t[e, 0] = grad_t[e, 0] + cosines[ray, 0] * grad_out[e, 0]
