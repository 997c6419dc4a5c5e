"""What a medium scatters towards the camera, added to the colours of its samples (see `samples`); with adjoint.

The density of the samples, and its gradient, are those of `samples`; here is what depends on it by the optical depths
towards the lights.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import box_interval
from ..volume.march import COLOR, locate, row_steps, stratum_share
from ..volume.march_adjoint import RUN, add_ray, ends_gradient, scatter_entry
from ..volume.medium import medium_at, scattered
from ..volume.medium_adjoint import ALBEDO, LIGHTS, TO_CELLS, TO_RAYS, TO_SHARED, cells_slope, scattered_adjoint, store3
from ..volume.medium_light import cell_place, corners, load_metric, node_place, slope_at
from .samples import last_distance

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def medium_samples(
    first: ti.i32, count: ti.i32, begin: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, nearest: float,
    lights: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32, nodes_y: ti.i32, nodes_z: ti.i32,
    origins: A2, directions: A2, box: A2, cells: A1, albedo: A2, g: A2, kinds: A1, table: A2, matrix: A2, depths: A1,
    layer: A2, cosines: A2, samples: A1, kind: ti.template(),
):  # fmt: skip
    for turn in range(count):
        ray, place = first + turn, begin + turn
        lower, upper = corners(box)
        metric, scale, node_scale = load_metric(matrix), load3(box, 2), load3(box, 3)
        size, nodes = ti.Vector([width, height, depth]), ti.Vector([nodes_x, nodes_y, nodes_z])
        o, d = load3(origins, ray), load3(directions, ray)
        ends, _axes = box_interval(o, d, lower, upper)
        if ends[1] > ends[0]:
            delta, last = (ends[1] - ends[0]) / steps, last_distance(layer, cosines, ray)
            for k in range(steps):
                if not ends[0] + (k - 1) * delta < last:
                    break
                sample = samples[place * steps + k]
                if sample[3] != 0.0:
                    x = o + (ends[0] + (k + stratum_share(jitter, seed, ray, k)) * delta) * d
                    row, at = locate(cell_place(x, lower, scale), size)
                    value = medium_at(cells, albedo, row, row_steps(size), at, kind)
                    node, node_at = locate(node_place(x, lower, node_scale), nodes)
                    light = scattered(
                        x, metric @ d, g[0, 0], nearest, metric, lights, kinds, table, depths, node, row_steps(nodes),
                        node_at,
                    )  # fmt: skip
                    for c in ti.static(range(3)):
                        sample[c] += value[c] * light[c]
                    samples[place * steps + k] = sample


@ti.func
def medium_sample_adjoint(
    wanted, copy, slot, x, d, to_color, g, nearest, metric, lower, scale, node_scale, size, nodes, lights,
    cells: ti.template(), albedo: ti.template(), kinds: ti.template(), table: ti.template(), depths: ti.template(),
    sums: ti.template(), part_cells: ti.template(), part_depths: ti.template(), kind: ti.template(),
    atomic: ti.template(),
):  # fmt: skip
    """Gradients of a sample's position and of the ray's direction. copy: which private copy of the grids' gradients."""
    q, node_q = cell_place(x, lower, scale), node_place(x, lower, node_scale)
    row, at = locate(q, size)
    node, node_at = locate(node_q, nodes)
    strides, node_strides = row_steps(size), row_steps(nodes)
    value = medium_at(cells, albedo, row, strides, at, kind)
    reflected = ti.Vector([value[0], value[1], value[2]])
    arriving, to_x, to_d = scattered_adjoint(
        wanted, slot, copy * nodes[0] * nodes[1] * nodes[2] * lights, x, d, metric @ d, to_color * reflected, g,
        nearest, metric, lights, kinds, table, depths, node, node_strides, node_at,
        slope_at(node_q, node_scale, nodes), sums, part_depths, atomic,
    )  # fmt: skip
    to_albedo = to_color * arriving
    if ti.static(kind == COLOR):
        gradient = ti.Vector([to_albedo[0], to_albedo[1], to_albedo[2], 0.0])
        if (wanted & TO_CELLS) != 0:
            scatter_entry(
                part_cells, copy * size[0] * size[1] * size[2], row, strides, at, 1, 0, gradient, kind, atomic
            )  # fmt: skip
        if (wanted & TO_RAYS) != 0:
            to_x += cells_slope(cells, row, strides, at, slope_at(q, scale, size), gradient, kind)
    elif (wanted & TO_SHARED) != 0:
        store3(sums, slot + ALBEDO, to_albedo)
    return to_x, to_d


@ti.kernel
def medium_samples_adjoint(
    chunks: ti.i32, wanted: ti.i32, first_step: ti.i32, last_step: ti.i32, first: ti.i32, count: ti.i32, begin: ti.i32,
    steps: ti.i32, jitter: ti.i32, seed: ti.i32, nearest: float, lights: ti.i32, width: ti.i32, height: ti.i32,
    depth: ti.i32, nodes_x: ti.i32, nodes_y: ti.i32, nodes_z: ti.i32, origins: A2, directions: A2, box: A2, cells: A1,
    albedo: A2, g: A2, kinds: A1, table: A2, matrix: A2, depths: A1, samples_grad: A1, grad_origins: A2,
    grad_directions: A2, sums: A1, part_cells: A1, part_depths: A1, kind: ti.template(), on_cpu: ti.template(),
):  # fmt: skip
    """What steps first_step .. last_step - 1 give. On a CPU a chunk has its own sums and copies; on a GPU every ray is
    a chunk with its own sums, and one step a launch adds to the grids atomically, since inside a march some get lost.
    """
    task = ti.static(TASK if on_cpu else 1)
    together = ti.static(RUN if on_cpu else 1)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        lower, upper = corners(box)
        metric, scale, node_scale = load_metric(matrix), load3(box, 2), load3(box, 3)
        size, nodes = ti.Vector([width, height, depth]), ti.Vector([nodes_x, nodes_y, nodes_z])
        runs, slot = (count + together - 1) // together, p * (LIGHTS + 6 * lights)
        for turn in range((runs - p + chunks - 1) // chunks):
            from_ray = (p + turn * chunks) * together
            for inside in range(from_ray, ti.min(from_ray + together, count)):
                ray, place = first + inside, begin + inside
                o, d = load3(origins, ray), load3(directions, ray)
                ends, axes = box_interval(o, d, lower, upper)
                to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
                to_ends = ti.Vector([0.0, 0.0])
                if ends[1] > ends[0]:
                    for k in range(first_step, last_step):
                        given = samples_grad[place * steps + k]
                        to_color = ti.Vector([given[0], given[1], given[2]])
                        if to_color.norm_sqr() > 0.0:
                            share = (k + stratum_share(jitter, seed, ray, k)) / steps
                            t = ends[0] + share * (ends[1] - ends[0])
                            to_x, by_d = medium_sample_adjoint(
                                wanted, p if ti.static(on_cpu) else 0, slot, o + t * d, d, to_color, g[0, 0], nearest,
                                metric, lower, scale, node_scale, size, nodes, lights, cells, albedo, kinds, table,
                                depths, sums, part_cells, part_depths, kind, not on_cpu,
                            )  # fmt: skip
                            to_o += to_x
                            to_d += by_d + t * to_x
                            to_ends += to_x.dot(d) * ti.Vector([1.0 - share, share])
                    if (wanted & TO_RAYS) != 0:
                        to_o, to_d = ends_gradient(o, d, ends, axes, to_ends, to_o, to_d)
                        add_ray(grad_origins, grad_directions, ray, to_o, to_d)
