"""Adjoint of the march: walks the ray again and keeps one number of what is still to come; nothing is stored per step.

With the pixel's gradient (to_color, to_alpha, to_distance) a sample is worth v_k = to_color . c_k + to_distance t_k,
and the part of the loss behind it is rest_k = sum_{j>k} w_j v_j. The loss then moves with the optical depth
sigma_k delta by T_{k+1} v_k - rest_k + to_alpha T_end, and with c_k by w_k to_color.

On a CPU each thread walks whole rays and adds to its own copy of the packed grid. On a GPU the host walks the steps:
every launch moves all rays by one sample and a second one scatters, so that atomics stand in no inner loop.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import box_interval
from .grid import corner_row, corner_weight
from .march import (
    COLOR,
    DENSITY,
    HARMONICS,
    density_of,
    density_slope,
    gather,
    grid_ray,
    locate,
    radiance,
    row_steps,
    skip_ahead,
    stratum_share,
)

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

RUN = 64  # neighbouring rays that one thread takes in a row


@ti.func
def value_gradient(
    cells: ti.template(), basis: ti.template(), ray, row, strides, at, terms, through, rest, t, delta, shift,
    to_color, to_distance, to_end, kind: ti.template(), activation: ti.template(),
):  # fmt: skip
    """T and rest after a sample, its gradient (r, g, b, density) before the basis, and (to delta, weight).

    to_color has a fourth entry, 0: four columns alike make vector code of the look-up and of the scatter.
    """
    value, toward = ti.Vector([0.0, 0.0, 0.0, 0.0]), to_color
    if ti.static(kind == DENSITY):
        value[3] = gather(cells, row, strides, at, 1, 0)
    elif ti.static(kind == HARMONICS):
        value = radiance(cells, basis, ray, row, strides, at, terms)
        for c in ti.static(range(3)):
            toward[c] = ti.select(value[c] > 0.0, toward[c], 0.0)
    else:
        value = gather(cells, row, strides, at, 1, 0)
    sigma = density_of(value[3], shift, activation)
    left = ti.exp(-sigma * delta)
    weight, worth = through * (1.0 - left), to_distance * t
    if ti.static(kind != DENSITY):
        worth += toward.dot(value)
    rest_after, through_after = rest - weight * worth, through * left
    to_depth = through_after * worth - rest_after + to_end
    to_density = delta * density_slope(value[3], shift, activation) * to_depth
    out = ti.Vector([weight * toward[0], weight * toward[1], weight * toward[2], to_density])
    return through_after, rest_after, out, ti.Vector([sigma * to_depth, weight])


@ti.func
def place_gradient(
    cells: ti.template(), basis: ti.template(), basis_grad: ti.template(), ray, q, size, row, strides, at, scale, terms,
    gradient, kind: ti.template(),
):  # fmt: skip
    """Derivative [3] of gradient . looked-up values by the position; for HARMONICS also adds to basis_grad [n, K]."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for corner in ti.static(range(8)):
        source = corner_row(row, strides, corner)
        height = 0.0
        if ti.static(kind == DENSITY):
            height = gradient[3] * cells[source]
        elif ti.static(kind == COLOR):
            height = gradient.dot(cells[source])
        else:
            height = gradient[3] * cells[source * terms][3]
            for k in range(terms):
                entry = cells[source * terms + k]
                share = gradient[0] * entry[0] + gradient[1] * entry[1] + gradient[2] * entry[2]
                height += basis[ray, k] * share
                basis_grad[ray, k] = basis_grad[ray, k] + corner_weight(at, corner) * share
        for a in ti.static(range(3)):
            weight = 1.0 if ti.static(corner >> a & 1) else -1.0
            for b in ti.static(range(3)):
                if ti.static(a != b):
                    weight *= at[b] if ti.static(corner >> b & 1) else 1.0 - at[b]
            out[a] += weight * height
    for a in ti.static(range(3)):
        if not (q[a] > 0.0 and q[a] < size[a] - 1.0):
            out[a] = 0.0
    return out * scale


@ti.func
def add_entry(part: ti.template(), slot, value, kind: ti.template(), atomic: ti.template()):
    """part[slot] += the number or vector of a packed grid."""
    if ti.static(kind == DENSITY):
        if ti.static(atomic):
            ti.atomic_add(part[slot], value[3])
        else:
            part[slot] = part[slot] + value[3]
    else:
        if ti.static(atomic):
            for c in ti.static(range(4)):
                ti.atomic_add(part[slot][c], value[c])
        else:
            part[slot] = part[slot] + value


@ti.func
def scatter_entry(
    part: ti.template(), start, row, strides, at, terms, term, value, kind: ti.template(), atomic: ti.template()
):
    for corner in ti.static(range(8)):
        slot = start + corner_row(row, strides, corner) * terms + term
        add_entry(part, slot, corner_weight(at, corner) * value, kind, atomic)


@ti.func
def term_gradient(gradient, basis: ti.template(), ray, term):
    """Gradient of one harmonic's vector: only the first carries the density."""
    b = basis[ray, term]
    out = ti.Vector([gradient[0] * b, gradient[1] * b, gradient[2] * b, 0.0])
    if term == 0:
        out[3] = gradient[3]
    return out


@ti.func
def ends_gradient(o, d, times, axes, to_times, grad_origin, grad_direction):
    """Gradients of origin and direction with those of the box's two times added: faces stand, the ray moves."""
    for a in ti.static(range(3)):
        for end in ti.static(range(2)):
            if axes[end] == a:
                grad_origin[a] -= to_times[end] / d[a]
                grad_direction[a] -= times[end] * to_times[end] / d[a]
    return grad_origin, grad_direction


@ti.func
def add_ray(grad_origins: ti.template(), grad_directions: ti.template(), ray, to_origin, to_direction):
    for a in ti.static(range(3)):
        grad_origins[ray, a] = grad_origins[ray, a] + to_origin[a]
        grad_directions[ray, a] = grad_directions[ray, a] + to_direction[a]


@ti.func
def pixel_gradient(rgb: ti.template(), grad_rgb: ti.template(), zero, ray, kind: ti.template()):
    """to_color [4], and the whole pixel's worth in colour: rest before the first sample, without distance."""
    to_color, rest = ti.Vector([0.0, 0.0, 0.0, zero]), 0.0
    if ti.static(kind != DENSITY):
        for c in ti.static(range(3)):
            to_color[c] = grad_rgb[ray, c]
            rest += grad_rgb[ray, c] * rgb[ray, c]
    return to_color, rest


@ti.kernel
def march_adjoint(
    chunks: ti.i32, zero: float, count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float, box: A2,
    width: ti.i32, height: ti.i32, depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32,
    basis: A2, blocks: A1, threshold: float, rgb: A2, alpha: A2, distance: A2, grad_rgb: A2, grad_alpha: A2,
    grad_distance: A2, part: A1, basis_grad: A2, grad_origins: A2, grad_directions: A2,
    kind: ti.template(), activation: ti.template(), skipping: ti.template(), to_cells: ti.template(),
    to_rays: ti.template(),
):  # fmt: skip
    """For a CPU: part [chunks * cells] and the rays' gradients +=. Runs of rays go to the chunks in turn. zero is 0."""
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        runs = (count + RUN - 1) // RUN
        for turn in range((runs - p + chunks - 1) // chunks):
            first = (p + turn * chunks) * RUN
            for ray in range(first, ti.min(first + RUN, count)):
                o, d = load3(origins, ray), load3(directions, ray)
                size = ti.Vector([width, height, depth])
                strides = row_steps(size)
                times, axes = box_interval(o, d, load3(box, 0), load3(box, 1))
                start, slope = grid_ray(box, o, d)
                if times[1] > times[0]:
                    delta = (times[1] - times[0]) / steps
                    to_distance, to_end = grad_distance[ray, 0], grad_alpha[ray, 0] * (1.0 - alpha[ray, 0])
                    to_color, rest = pixel_gradient(rgb, grad_rgb, zero, ray, kind)
                    rest += to_distance * distance[ray, 0]
                    to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
                    to_times, through, to_delta = ti.Vector([0.0, 0.0]), 1.0, 0.0
                    k = 0
                    while k < steps and through > stop:
                        share = stratum_share(jitter, seed, ray, k)
                        t = times[0] + (k + share) * delta
                        q = start + t * slope
                        onward = k
                        if ti.static(skipping):
                            onward = skip_ahead(blocks, threshold, q, slope, size, t, times[0], delta, k)
                        if onward > k:
                            k = onward
                        else:
                            row, at = locate(q, size)
                            through, rest, gradient, more = value_gradient(
                                cells, basis, ray, row, strides, at, terms, through, rest, t, delta, shift, to_color,
                                to_distance, to_end, kind, activation,
                            )  # fmt: skip
                            if ti.static(to_cells):
                                if ti.static(kind == HARMONICS):
                                    for term in range(terms):
                                        share_of = term_gradient(gradient, basis, ray, term)
                                        first_slot = p * width * height * depth * terms
                                        scatter_entry(
                                            part, first_slot, row, strides, at, terms, term, share_of, kind, False
                                        )  # fmt: skip
                                else:
                                    first_slot = p * width * height * depth
                                    scatter_entry(part, first_slot, row, strides, at, 1, 0, gradient, kind, False)
                            if ti.static(to_rays):
                                to_place = place_gradient(
                                    cells, basis, basis_grad, ray, q, size, row, strides, at, load3(box, 2), terms,
                                    gradient, kind,
                                )  # fmt: skip
                                to_t = to_place.dot(d) + more[1] * to_distance
                                to_o += to_place
                                to_d += t * to_place
                                part_of = (k + share) / steps
                                to_times += to_t * ti.Vector([1.0 - part_of, part_of])
                                to_delta += more[0]
                            k += 1
                    if ti.static(to_rays):
                        to_times += to_delta / steps * ti.Vector([-1.0, 1.0])
                        to_o, to_d = ends_gradient(o, d, times, axes, to_times, to_o, to_d)
                        add_ray(grad_origins, grad_directions, ray, to_o, to_d)


@ti.kernel
def begin_steps(count: ti.i32, rgb: A2, distance: A2, grad_rgb: A2, grad_distance: A2, state: A2, kind: ti.template()):
    """state [n, 2]: T and rest before the first sample, for the steps of a GPU."""
    for ray in range(count):
        _, rest = pixel_gradient(rgb, grad_rgb, 0.0, ray, kind)
        state[ray, 0] = 1.0
        state[ray, 1] = rest + grad_distance[ray, 0] * distance[ray, 0]


@ti.kernel
def step_adjoint(
    k: ti.i32, count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float, box: A2, width: ti.i32,
    height: ti.i32, depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32, basis: A2,
    blocks: A1, threshold: float, alpha: A2, grad_rgb: A2, grad_alpha: A2, grad_distance: A2, state: A2, sample: A2,
    basis_grad: A2, grad_origins: A2, grad_directions: A2,
    kind: ti.template(), activation: ti.template(), skipping: ti.template(), to_rays: ti.template(),
):  # fmt: skip
    """One sample of every ray: state, the rays' gradients +=, and sample [n, 4], its gradient for `scatter_step`."""
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        size = ti.Vector([width, height, depth])
        strides = row_steps(size)
        times, axes = box_interval(o, d, load3(box, 0), load3(box, 1))
        start, slope = grid_ray(box, o, d)
        gradient = ti.Vector([0.0, 0.0, 0.0, 0.0])
        if times[1] > times[0] and state[ray, 0] > stop:
            delta = (times[1] - times[0]) / steps
            share = stratum_share(jitter, seed, ray, k)
            t = times[0] + (k + share) * delta
            q = start + t * slope
            onward = k
            if ti.static(skipping):
                onward = skip_ahead(blocks, threshold, q, slope, size, t, times[0], delta, k)
            if onward == k:
                to_color, _ = pixel_gradient(grad_rgb, grad_rgb, 0.0, ray, kind)
                to_distance, to_end = grad_distance[ray, 0], grad_alpha[ray, 0] * (1.0 - alpha[ray, 0])
                row, at = locate(q, size)
                through, rest, found, more = value_gradient(
                    cells, basis, ray, row, strides, at, terms, state[ray, 0], state[ray, 1], t, delta, shift,
                    to_color, to_distance, to_end, kind, activation,
                )  # fmt: skip
                gradient = found
                state[ray, 0] = through
                state[ray, 1] = rest
                if ti.static(to_rays):
                    to_place = place_gradient(
                        cells, basis, basis_grad, ray, q, size, row, strides, at, load3(box, 2), terms, gradient,
                        kind,
                    )  # fmt: skip
                    to_t = to_place.dot(d) + more[1] * to_distance
                    part_of = (k + share) / steps
                    to_times = to_t * ti.Vector([1.0 - part_of, part_of]) + more[0] / steps * ti.Vector([-1.0, 1.0])
                    to_o, to_d = ends_gradient(o, d, times, axes, to_times, to_place, t * to_place)
                    add_ray(grad_origins, grad_directions, ray, to_o, to_d)
        for c in ti.static(range(4)):
            sample[ray, c] = gradient[c]


@ti.kernel
def scatter_step(
    k: ti.i32, count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, box: A2, width: ti.i32, height: ti.i32,
    depth: ti.i32, origins: A2, directions: A2, terms: ti.i32, basis: A2, sample: A2, part: A1, kind: ti.template(),
):  # fmt: skip
    """part [cells] += sample [n, 4] of step k, one thread per ray and harmonic."""
    for item in range(count * terms):
        ray = item // terms
        gradient = ti.Vector([sample[ray, c] for c in ti.static(range(4))])
        if gradient.norm_sqr() > 0.0:
            o, d = load3(origins, ray), load3(directions, ray)
            size = ti.Vector([width, height, depth])
            times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
            start, slope = grid_ray(box, o, d)
            t = times[0] + (k + stratum_share(jitter, seed, ray, k)) * (times[1] - times[0]) / steps
            row, at = locate(start + t * slope, size)
            term = item - ray * terms
            if ti.static(kind == HARMONICS):
                gradient = term_gradient(gradient, basis, ray, term)
            scatter_entry(part, 0, row, row_steps(size), at, terms, term, gradient, kind, True)


@ti.kernel
def unpack_density(chunks: ti.i32, lines: ti.i32, width: ti.i32, part: A1, grad: A2):
    """grad [lines, W] += part [chunks * lines * W] summed over chunks."""
    for line in range(lines):
        for x in range(width):
            total = part[line * width + x]
            for p in range(1, chunks):
                total += part[(p * lines + line) * width + x]
            grad[line, x] = grad[line, x] + total


@ti.kernel
def unpack_color(
    chunks: ti.i32, lines: ti.i32, width: ti.i32, terms: ti.i32, part: A1, grad_density: A2, grad_color: A2,
    to_density: ti.template(), to_color: ti.template(),
):  # fmt: skip
    """grad_density [lines, W] and grad_color [cells * terms, 3] += part [chunks * cells * terms] summed over chunks."""
    for line in range(lines):
        for x in range(width):
            for k in range(terms):
                at = (line * width + x) * terms + k
                total = part[at]
                for p in range(1, chunks):
                    total += part[p * lines * width * terms + at]
                if ti.static(to_color):
                    for c in ti.static(range(3)):
                        grad_color[at, c] = grad_color[at, c] + total[c]
                if ti.static(to_density) and k == 0:
                    grad_density[line, x] = grad_density[line, x] + total[3]
