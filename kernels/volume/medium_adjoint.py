"""Adjoint of `medium.march_medium`: it marches again and keeps one number of what is still to come (`march_adjoint`).

Gradients of the few numbers that all samples share go to `sums` [slots * (13 + 6 L)]: g (1), the one albedo (3), the
metric (9), and every light's row of the table (6). A slot belongs to one thread: to a chunk of rays on a CPU, to a ray
on a GPU.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import box_interval
from .grid import corner_row, corner_weight, scatter
from .march import COLOR, density_of, density_slope, gather, locate, row_steps, stratum_share
from .march_adjoint import RUN, add_ray, ends_gradient, scatter_entry
from .medium import light_value, light_vector, medium_at
from .medium_light import AMBIENT, POINT, cell_place, corner_slope, corners, load_metric, node_place, slope_at
from .phase import henyey_greenstein, henyey_greenstein_slopes

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

ALBEDO, METRIC, LIGHTS = 1, 4, 13
"""First numbers of the parts of a slot, after g."""

TO_CELLS, TO_DEPTHS, TO_SHARED, TO_RAYS = 1, 2, 4, 8
"""Bits of `wanted`."""


@ti.func
def store3(sums: ti.template(), start, value):
    for c in ti.static(range(3)):
        sums[start + c] = sums[start + c] + value[c]


@ti.func
def depth_with_slope(depths: ti.template(), row, strides, at, slope, lights, light):
    """(derivative by the position [3], depth) towards a light."""
    out = ti.Vector([0.0, 0.0, 0.0, 0.0])
    for corner in ti.static(range(8)):
        value = depths[corner_row(row, strides, corner) * lights + light]
        change = corner_slope(at, corner)
        out += value * ti.Vector([change[0], change[1], change[2], corner_weight(at, corner)])
    return ti.Vector([out[0] * slope[0], out[1] * slope[1], out[2] * slope[2], out[3]])


@ti.func
def cells_slope(cells: ti.template(), row, strides, at, slope, gradient, kind: ti.template()):
    """Derivative [3] by the position of gradient . (albedo, density number)."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for corner in ti.static(range(8)):
        source = corner_row(row, strides, corner)
        if ti.static(kind == COLOR):
            out += corner_slope(at, corner) * gradient.dot(cells[source])
        else:
            out += corner_slope(at, corner) * (gradient[3] * cells[source])
    return out * slope


@ti.func
def scattered_adjoint(
    wanted, slot, start, x, d, across, to_scattered, g, nearest, metric, lights, kinds: ti.template(),
    table: ti.template(), depths: ti.template(), node, strides, at, slope, sums: ti.template(),
    part_depths: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """What `medium.scattered` returns, and the gradients of the position and of the ray's direction.

    slot: start of the thread's sums. start: start of its gradient of the depths.
    """
    total, to_x, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    to_metric, to_g = ti.Matrix.zero(float, 3, 3), 0.0
    for light in range(lights):
        value = light_value(table, light)
        along, share = value.dot(to_scattered), 1.0
        to_v = ti.Vector([0.0, 0.0, 0.0])
        if kinds[light] != AMBIENT:
            v, inverse, free = light_vector(x, light, kinds[light], table, metric, nearest)
            cosine = v.dot(across) * inverse
            fade = ti.exp(-gather(depths, node, strides, at, lights, light)) * inverse * inverse
            share = fade * henyey_greenstein(cosine, g)
            if (wanted & TO_DEPTHS) != 0:
                scatter(part_depths, start, node, strides, at, light, ti.Vector([-along * share]), lights, 1, atomic)
            if (wanted & (TO_SHARED | TO_RAYS)) != 0:
                by_cosine, by_g = henyey_greenstein_slopes(cosine, g)
                to_g += along * fade * by_g
                to_cosine = along * fade * by_cosine * inverse
                beside = metric @ v
                to_v = across * to_cosine
                to_d += beside * to_cosine
                to_metric += v.outer_product(d) * to_cosine
                if free:
                    to_square = -(along * share * inverse + 0.5 * to_cosine * cosine) * inverse
                    to_v += beside * (2.0 * to_square)
                    to_metric += v.outer_product(v) * to_square
                if kinds[light] == POINT:
                    to_x -= to_v
            if (wanted & TO_RAYS) != 0:
                change = depth_with_slope(depths, node, strides, at, slope, lights, light)
                to_x -= ti.Vector([change[0], change[1], change[2]]) * (along * share)
        if (wanted & TO_SHARED) != 0:
            store3(sums, slot + LIGHTS + 6 * light, to_v)
            store3(sums, slot + LIGHTS + 6 * light + 3, to_scattered * share)
        total += value * share
    if (wanted & TO_SHARED) != 0:
        sums[slot] = sums[slot] + to_g
        for i, k in ti.static(ti.ndrange(3, 3)):
            sums[slot + METRIC + 3 * i + k] = sums[slot + METRIC + 3 * i + k] + to_metric[i, k]
    return total, to_x, to_d


@ti.func
def sample_adjoint(
    wanted, copy, slot, t, delta, through, rest, o, d, to_color, to_distance, to_end, g, nearest, metric, lower,
    scale, node_scale, size, nodes, lights, shift, cells: ti.template(), albedo: ti.template(), kinds: ti.template(),
    table: ti.template(), depths: ti.template(), sums: ti.template(), part_cells: ti.template(),
    part_depths: ti.template(), kind: ti.template(), activation: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """One sample at time t: T and rest after it, and gradients of the ray's origin and direction, of t and of delta.

    copy: which private copy of the grids' gradients.
    """
    x = o + t * d
    q, node_q = cell_place(x, lower, scale), node_place(x, lower, node_scale)
    row, at = locate(q, size)
    strides, node_strides = row_steps(size), row_steps(nodes)
    value = medium_at(cells, albedo, row, strides, at, kind)
    extinction = density_of(value[3], shift, activation)
    left = ti.exp(-extinction * delta)
    weight = through * (1.0 - left)
    reflected = ti.Vector([value[0], value[1], value[2]])
    node, node_at = locate(node_q, nodes)
    arriving, to_x, to_d = scattered_adjoint(
        wanted, slot, copy * nodes[0] * nodes[1] * nodes[2] * lights, x, d, metric @ d, to_color * reflected * weight,
        g, nearest, metric, lights, kinds, table, depths, node, node_strides, node_at,
        slope_at(node_q, node_scale, nodes), sums, part_depths, atomic,
    )  # fmt: skip
    to_albedo = to_color * arriving * weight
    worth = to_color.dot(reflected * arriving) + to_distance * t
    rest_after, through_after = rest - weight * worth, through * left
    to_depth = through_after * worth - rest_after + to_end
    gradient = ti.Vector(
        [to_albedo[0], to_albedo[1], to_albedo[2], to_depth * delta * density_slope(value[3], shift, activation)]
    )
    if (wanted & TO_CELLS) != 0:
        scatter_entry(
            part_cells, copy * size[0] * size[1] * size[2], row, strides, at, 1, 0, gradient, kind, atomic
        )  # fmt: skip
    if ti.static(kind != COLOR) and (wanted & TO_SHARED) != 0:
        store3(sums, slot + ALBEDO, to_albedo)
    to_t, to_delta = 0.0, 0.0
    if (wanted & TO_RAYS) != 0:
        to_x += cells_slope(cells, row, strides, at, slope_at(q, scale, size), gradient, kind)
        to_t = to_x.dot(d) + weight * to_distance
        to_delta = extinction * to_depth
        to_d += to_x * t
    return through_after, rest_after, to_x, to_d, to_t, to_delta


@ti.kernel
def march_medium_adjoint(
    chunks: ti.i32, wanted: ti.i32, count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float,
    nearest: float, lights: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32, nodes_y: ti.i32,
    nodes_z: ti.i32, shift: float, origins: A2, directions: A2, box: A2, cells: A1, albedo: A2, g: A2, kinds: A1,
    table: A2, matrix: A2, depths: A1, kind: ti.template(), activation: ti.template(), rgb: A2, alpha: A2,
    distance: A2, grad_rgb: A2, grad_alpha: A2, grad_distance: A2, grad_origins: A2, grad_directions: A2, sums: A1,
    part_cells: A1, part_depths: A1,
):  # fmt: skip
    """For a CPU: adds to private copies of the grids' gradients, one a chunk, to the sums and to the rays."""
    runs = (count + RUN - 1) // RUN
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        lower, upper = corners(box)
        scale, node_scale = load3(box, 2), load3(box, 3)
        metric = load_metric(matrix)
        size, nodes = ti.Vector([width, height, depth]), ti.Vector([nodes_x, nodes_y, nodes_z])
        for turn in range((runs - p + chunks - 1) // chunks):
            first = (p + turn * chunks) * RUN
            for ray in range(first, ti.min(first + RUN, count)):
                o, d = load3(origins, ray), load3(directions, ray)
                times, axes = box_interval(o, d, lower, upper)
                if times[1] > times[0]:
                    delta = (times[1] - times[0]) / steps
                    to_color, to_distance = load3(grad_rgb, ray), grad_distance[ray, 0]
                    to_end = grad_alpha[ray, 0] * (1.0 - alpha[ray, 0])
                    through, rest = 1.0, to_color.dot(load3(rgb, ray)) + to_distance * distance[ray, 0]
                    to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
                    to_times, to_delta = ti.Vector([0.0, 0.0]), 0.0
                    for k in range(steps):
                        if through <= stop:
                            break
                        place = k + stratum_share(jitter, seed, ray, k)
                        through, rest, by_o, by_d, by_t, by_delta = sample_adjoint(
                            wanted, p, p * (LIGHTS + 6 * lights), times[0] + place * delta, delta, through, rest, o, d,
                            to_color, to_distance, to_end, g[0, 0], nearest, metric, lower, scale, node_scale, size,
                            nodes, lights, shift, cells, albedo, kinds, table, depths, sums, part_cells, part_depths,
                            kind, activation, False,
                        )  # fmt: skip
                        to_o += by_o
                        to_d += by_d
                        to_times += by_t * ti.Vector([1.0 - place / steps, place / steps])
                        to_delta += by_delta
                    if (wanted & TO_RAYS) != 0:
                        to_times += to_delta / steps * ti.Vector([-1.0, 1.0])
                        to_o, to_d = ends_gradient(o, d, times, axes, to_times, to_o, to_d)
                        add_ray(grad_origins, grad_directions, ray, to_o, to_d)


@ti.kernel
def begin_medium_steps(count: ti.i32, rgb: A2, distance: A2, grad_rgb: A2, grad_distance: A2, state: A2):
    """state [n, 2]: T and rest before the first sample, for the steps of a GPU."""
    for ray in range(count):
        state[ray, 0] = 1.0
        state[ray, 1] = load3(grad_rgb, ray).dot(load3(rgb, ray)) + grad_distance[ray, 0] * distance[ray, 0]


@ti.kernel
def step_medium_adjoint(
    k: ti.i32, wanted: ti.i32, count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float,
    nearest: float, lights: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32, nodes_y: ti.i32,
    nodes_z: ti.i32, shift: float, origins: A2, directions: A2, box: A2, cells: A1, albedo: A2, g: A2, kinds: A1,
    table: A2, matrix: A2, depths: A1, kind: ti.template(), activation: ti.template(), state: A2, alpha: A2,
    grad_rgb: A2, grad_alpha: A2, grad_distance: A2, grad_origins: A2, grad_directions: A2, sums: A1, part_cells: A1,
    part_depths: A1,
):  # fmt: skip
    """For a GPU: sample k of every ray, with atomics; inside a march they may get lost."""
    for ray in range(count):
        lower, upper = corners(box)
        scale, node_scale = load3(box, 2), load3(box, 3)
        metric = load_metric(matrix)
        size, nodes = ti.Vector([width, height, depth]), ti.Vector([nodes_x, nodes_y, nodes_z])
        o, d = load3(origins, ray), load3(directions, ray)
        times, axes = box_interval(o, d, lower, upper)
        if times[1] > times[0] and state[ray, 0] > stop:
            delta = (times[1] - times[0]) / steps
            place = k + stratum_share(jitter, seed, ray, k)
            to_end = grad_alpha[ray, 0] * (1.0 - alpha[ray, 0])
            through, rest, to_o, to_d, to_t, to_delta = sample_adjoint(
                wanted, 0, ray * (LIGHTS + 6 * lights), times[0] + place * delta, delta, state[ray, 0], state[ray, 1],
                o, d, load3(grad_rgb, ray), grad_distance[ray, 0], to_end, g[0, 0], nearest, metric, lower, scale,
                node_scale, size, nodes, lights, shift, cells, albedo, kinds, table, depths, sums, part_cells,
                part_depths, kind, activation, True,
            )  # fmt: skip
            state[ray, 0] = through
            state[ray, 1] = rest
            if (wanted & TO_RAYS) != 0:
                to_times = to_t * ti.Vector([1.0 - place / steps, place / steps])
                to_times += to_delta / steps * ti.Vector([-1.0, 1.0])
                to_o, to_d = ends_gradient(o, d, times, axes, to_times, to_o, to_d)
                add_ray(grad_origins, grad_directions, ray, to_o, to_d)


@ti.kernel
def collect_slots(chunks: ti.i32, slots: ti.i32, channels: ti.i32, sums: A1, part: A1):
    """part [chunks * channels] = sums over the slots of each chunk."""
    for p, c in ti.ndrange(chunks, channels):
        total = 0.0
        for slot in range(p * slots // chunks, (p + 1) * slots // chunks):
            total += sums[slot * channels + c]
        part[p * channels + c] = total
