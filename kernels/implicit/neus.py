"""NeuS (Wang et al. 2021): a surface as an opacity that is unbiased in the signed distance f; with adjoint.

A ray is cut into sections between t0, where it enters the box, and t1. With P(x) = sigmoid(s x), section i from f_i to
f_(i+1) is opaque by a = max(1 - P(f_(i+1)) / P(f_i), 0); its weight is a times the transmission up to it. Ratios are
taken in logarithms, so that nothing underflows inside the solid.

The adjoint walks the ray again. With r = 1 - a, v_i what the loss gains from weight in section i, and R_i the sum of
weight times v behind it, dL/da_i = T_i v_i - R_i / r_i, and as da has the factor r, only h = T_(i+1) v_i - R_i is
needed. What it carries along a ray lies in `state` [n * SLOTS], so that one function serves a loop per ray, and a
launch per section where adding to the grid inside a loop is unsafe.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import box_interval
from ..volume.grid import gradient, scatter, trilinear
from .field import field_at, field_gradient, place, scatter_field

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

SLOTS = 13
LEFT, REST, PENDING, BEFORE, TO_ORIGIN, TO_DIRECTION, TO_NEAR, TO_FAR, TO_SHARPNESS = 0, 1, 2, 3, 4, 7, 10, 11, 12


@ti.func
def log_phi(x):
    """ln sigmoid(x)."""
    return ti.min(x, 0.0) - ti.log(1.0 + ti.exp(-ti.abs(x)))


@ti.func
def complement(x):
    """sigmoid(-x), the derivative of ln sigmoid."""
    e = ti.exp(-ti.abs(x))
    return e / (1.0 + e) if x >= 0.0 else 1.0 / (1.0 + e)


@ti.func
def color_at(p, colors: ti.template(), box: ti.template(), colored: ti.template()):
    out = ti.Vector([1.0, 1.0, 1.0])
    if ti.static(colored):
        row, steps, at, _ = place(p, box)
        out = trilinear(colors, row, steps, at, 0, 3)
    return out


@ti.kernel
def march(
    count: ti.i32, steps: ti.i32, origins: A2, directions: A2, values: A2, colors: A2, box: A2, logarithm: A2,
    colored: ti.template(), rgb: A2, alpha: A2, distance: A2,
):  # fmt: skip
    """Sums of weight times colour (white when not `colored`) [n, 3], of weight [n, 1], and of weight times t [n, 1]."""
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
        total, seen, far = ti.Vector([0.0, 0.0, 0.0]), 0.0, 0.0
        if times[0] < times[1]:
            sharpness = ti.exp(logarithm[0, 0])
            step = (times[1] - times[0]) / steps
            left = 1.0
            before = log_phi(sharpness * field_at(o + times[0] * d, values, box, 1.0, 0.0))
            for i in range(steps):
                t = times[0] + i * step
                after = log_phi(sharpness * field_at(o + (t + step) * d, values, box, 1.0, 0.0))
                if after < before:
                    ratio = ti.exp(after - before)
                    weight = left * (1.0 - ratio)
                    total += weight * color_at(o + (t + 0.5 * step) * d, colors, box, colored)
                    seen += weight
                    far += weight * (t + 0.5 * step)
                    left *= ratio
                before = after
        for c in ti.static(range(3)):
            rgb[ray, c] = total[c]
        alpha[ray, 0] = seen
        distance[ray, 0] = far


@ti.kernel
def begin(
    count: ti.i32, origins: A2, directions: A2, values: A2, box: A2, rgb: A2, alpha: A2, distance: A2, grad_rgb: A2,
    grad_alpha: A2, grad_distance: A2, state: A1,
):  # fmt: skip
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
        for slot in ti.static(range(SLOTS)):
            state[ray * SLOTS + slot] = 0.0
        if times[0] < times[1]:
            rest = grad_alpha[ray, 0] * alpha[ray, 0] + grad_distance[ray, 0] * distance[ray, 0]
            rest += load3(grad_rgb, ray).dot(load3(rgb, ray))
            state[ray * SLOTS + LEFT] = 1.0
            state[ray * SLOTS + REST] = rest
            state[ray * SLOTS + BEFORE] = field_at(o + times[0] * d, values, box, 1.0, 0.0)


@ti.func
def move(state: ti.template(), ray, gradient_p, o, d, t, along, part):
    """Add the gradient of a point o + t d, and `along` by t itself; t lies at `part` between t0 and t1."""
    by_t = along + gradient_p.dot(d)
    base = ray * SLOTS
    for a in ti.static(range(3)):
        state[base + TO_ORIGIN + a] = state[base + TO_ORIGIN + a] + gradient_p[a]
        state[base + TO_DIRECTION + a] = state[base + TO_DIRECTION + a] + t * gradient_p[a]
    state[base + TO_NEAR] = state[base + TO_NEAR] + (1.0 - part) * by_t
    state[base + TO_FAR] = state[base + TO_FAR] + part * by_t


@ti.func
def spread(
    ray, i, start, steps, share, origins: ti.template(), directions: ti.template(), values: ti.template(),
    box: ti.template(), state: ti.template(), part: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """The gradient `share` of f at the near end of section i, to the grid and to the ray."""
    o, d = load3(origins, ray), load3(directions, ray)
    times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
    t = times[0] + i * (times[1] - times[0]) / steps
    p = o + t * d
    scatter_field(p, share, box, part, start, atomic)
    move(state, ray, share * field_gradient(p, values, box, 1.0), o, d, t, 0.0, ti.cast(i, float) / steps)


@ti.func
def advance(
    ray, i, start, steps, origins: ti.template(), directions: ti.template(), values: ti.template(),
    colors: ti.template(), box: ti.template(), logarithm: ti.template(), grad_rgb: ti.template(),
    grad_alpha: ti.template(), grad_distance: ti.template(), state: ti.template(), part: ti.template(),
    part_colors: ti.template(), colored: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """Section i of a ray, from its state before to its state behind it."""
    o, d = load3(origins, ray), load3(directions, ray)
    times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
    if times[0] < times[1]:
        base = ray * SLOTS
        sharpness = ti.exp(logarithm[0, 0])
        step = (times[1] - times[0]) / steps
        t = times[0] + (i + 0.5) * step
        f0, f1 = state[base + BEFORE], field_at(o + (times[0] + (i + 1) * step) * d, values, box, 1.0, 0.0)
        to_near, to_far = state[base + PENDING], 0.0
        difference = log_phi(sharpness * f1) - log_phi(sharpness * f0)
        if difference < 0.0:
            ratio, left = ti.exp(difference), state[base + LEFT]
            weight = left * (1.0 - ratio)
            color, g = color_at(o + t * d, colors, box, colored), load3(grad_rgb, ray)
            gain = g.dot(color) + grad_alpha[ray, 0] + grad_distance[ray, 0] * t
            rest = state[base + REST] - weight * gain
            h = left * ratio * gain - rest
            s0, s1 = complement(sharpness * f0), complement(sharpness * f1)
            to_near += h * sharpness * s0
            to_far = -h * sharpness * s1
            state[base + TO_SHARPNESS] = state[base + TO_SHARPNESS] + h * sharpness * (f0 * s0 - f1 * s1)
            state[base + LEFT] = left * ratio
            state[base + REST] = rest
            to_p = ti.Vector([0.0, 0.0, 0.0])
            if ti.static(colored):
                row, strides, at, slope = place(o + t * d, box)
                scatter(part_colors, start * 3, row, strides, at, 0, weight * g, 3, 3, atomic)
                for c in ti.static(range(3)):
                    to_p += weight * g[c] * gradient(colors, row, strides, at, slope, c)
            move(state, ray, to_p, o, d, t, weight * grad_distance[ray, 0], (i + 0.5) / steps)
        if to_near != 0.0:
            spread(ray, i, start, steps, to_near, origins, directions, values, box, state, part, atomic)
        state[base + PENDING] = to_far
        state[base + BEFORE] = f1
        if i == steps - 1 and to_far != 0.0:
            spread(ray, i + 1, start, steps, to_far, origins, directions, values, box, state, part, atomic)


@ti.kernel
def walk(
    chunks: ti.i32, cells: ti.i32, count: ti.i32, steps: ti.i32, origins: A2, directions: A2, values: A2, colors: A2,
    box: A2, logarithm: A2, grad_rgb: A2, grad_alpha: A2, grad_distance: A2, state: A1, part: A1, part_colors: A1,
    colored: ti.template(),
):  # fmt: skip
    """All sections; each chunk of rays adds to its own part [chunks * cells] and part_colors [chunks * cells * 3]."""
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        for ray in range(p * count // chunks, (p + 1) * count // chunks):
            for i in range(steps):
                advance(
                    ray, i, p * cells, steps, origins, directions, values, colors, box, logarithm, grad_rgb,
                    grad_alpha, grad_distance, state, part, part_colors, colored, False,
                )  # fmt: skip


@ti.kernel
def walk_section(
    i: ti.i32, count: ti.i32, steps: ti.i32, origins: A2, directions: A2, values: A2, colors: A2, box: A2,
    logarithm: A2, grad_rgb: A2, grad_alpha: A2, grad_distance: A2, state: A1, part: A1, part_colors: A1,
    colored: ti.template(),
):  # fmt: skip
    for ray in range(count):
        advance(
            ray, i, 0, steps, origins, directions, values, colors, box, logarithm, grad_rgb, grad_alpha, grad_distance,
            state, part, part_colors, colored, True,
        )  # fmt: skip


@ti.kernel
def finish(
    count: ti.i32, origins: A2, directions: A2, box: A2, state: A1, grad_origins: A2, grad_directions: A2,
    to_sharpness: A1,
):  # fmt: skip
    """From the state to the rays, also by where they enter and leave the box, and to_sharpness [n]."""
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        times, axes = box_interval(o, d, load3(box, 0), load3(box, 1))
        base = ray * SLOTS
        for a in ti.static(range(3)):
            to_o, to_d = state[base + TO_ORIGIN + a], state[base + TO_DIRECTION + a]
            for side in ti.static(range(2)):
                if axes[side] == a:
                    share = state[base + TO_NEAR + side] / d[a]
                    to_o -= share
                    to_d -= share * times[side]
            grad_origins[ray, a] = grad_origins[ray, a] + to_o
            grad_directions[ray, a] = grad_directions[ray, a] + to_d
        to_sharpness[ray] = state[base + TO_SHARPNESS]
