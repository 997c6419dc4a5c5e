"""Optical depth from the nodes of a coarse grid towards each light, and its adjoint.

Every node (k, j, i) of a grid [Z, Y, X] that spans the medium's box, border included, looks towards every light through
`steps` midpoints, up to the light or to where it leaves the box. In between, the march interpolates the depths (not the
transmittances: depth is linear where the medium is homogeneous). The error is of second order in the node spacing and
in 1 / steps.

A light is a row of `table` [L, 6]: in object space the position of a point light, or the vector towards a directional
one with length 1 in the world; then its RGB value. `metric` [1, 9] (row-major, symmetric) makes world inner products of
object vectors. Nothing is looked up for ambient lights: their depth is 0.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import box_interval
from .grid import corner_row, corner_weight, scatter
from .march import NONE, density_of, density_slope, gather, locate, row_steps

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

AMBIENT, DIRECTIONAL, POINT = 0, 1, 2


@ti.func
def corners(box: ti.template()):
    """Lower and upper corner [3] from box [4, 3]; its other rows are cells, and steps between nodes, per unit."""
    return load3(box, 0), load3(box, 1)


@ti.func
def load_metric(metric: ti.template()):
    return ti.Matrix([[metric[0, 3 * i + k] for k in ti.static(range(3))] for i in ti.static(range(3))])


@ti.func
def corner_slope(at, corner: ti.template()):
    """Derivative [3] of a corner's weight by `at`."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for a in ti.static(range(3)):
        weight = 1.0 if ti.static(corner >> a & 1) else -1.0
        for b in ti.static(range(3)):
            if ti.static(a != b):
                weight *= at[b] if ti.static(corner >> b & 1) else 1.0 - at[b]
        out[a] = weight
    return out


@ti.func
def node_position(index, lower, upper, nodes):
    """Position of node `index` of a grid of `nodes` (X, Y, Z), x fastest; the outermost lie exactly on the box."""
    place = ti.Vector([0, 0, index // (nodes[0] * nodes[1])])
    rest = index - place[2] * nodes[0] * nodes[1]
    place[1] = rest // nodes[0]
    place[0] = rest - place[1] * nodes[0]
    out = upper
    for a in ti.static(range(3)):
        if place[a] < nodes[a] - 1:
            out[a] = lower[a] + place[a] * (upper[a] - lower[a]) / (nodes[a] - 1)
    return out


@ti.func
def cell_place(x, lower, scale):
    """Position in cells, 0 at the first centre."""
    return (x - lower) * scale - 0.5


@ti.func
def node_place(x, lower, scale):
    """Position in steps between nodes, 0 at the first node."""
    return (x - lower) * scale


@ti.func
def slope_at(q, scale, size):
    """Derivative of a place between corners by the position: 0 along an axis where it is clamped."""
    out = scale
    for a in ti.static(range(3)):
        if not (q[a] > 0.0 and q[a] < size[a] - 1):
            out[a] = 0.0
    return out


@ti.func
def towards(x, light, kind, table: ti.template(), metric, lower, upper):
    """The way to a light: vector v, its length in the world, the part of it inside the box, and the axis of the exit.

    For a directional light the part may exceed 1; the axis is -1 where the way ends at the light.
    """
    v = load3(table, light)
    length, share = 1.0, 0.0
    axis = -1
    if kind == POINT:
        v -= x
        length = ti.sqrt(v.dot(metric @ v))
    if kind != AMBIENT:
        times, axes = box_interval(x, v, lower, upper)
        if times[0] <= times[1] < 1e29:
            share, axis = times[1], axes[1]
        if kind == POINT and share > 1.0:
            share, axis = 1.0, -1
    return v, length, share, axis


@ti.kernel
def light_depths(
    lights: ti.i32, steps: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32, nodes_y: ti.i32,
    nodes_z: ti.i32, shift: float, cells: A1, box: A2, kinds: A1, table: A2, matrix: A2, depths: A1,
    activation: ti.template(),
):  # fmt: skip
    """depths [Z * Y * X * L]: integral of the extinction along the way to each light, in world lengths."""
    for node in range(nodes_x * nodes_y * nodes_z):
        lower, upper = corners(box)
        metric = load_metric(matrix)
        scale = load3(box, 2)
        size = ti.Vector([width, height, depth])
        strides = row_steps(size)
        x = node_position(node, lower, upper, ti.Vector([nodes_x, nodes_y, nodes_z]))
        for light in range(lights):
            v, length, share, _axis = towards(x, light, kinds[light], table, metric, lower, upper)
            total = 0.0
            if share > 0.0:
                q, onward = cell_place(x, lower, scale), v * scale * (share / steps)
                for k in range(steps):
                    row, at = locate(q + onward * (k + 0.5), size)
                    total += density_of(gather(cells, row, strides, at, 1, 0), shift, activation)
            depths[node * lights + light] = total * share * length / steps


@ti.kernel
def sum_copies(chunks: ti.i32, n: ti.i32, part: A1):
    """part [:n] = the sum of part [chunks * n] over chunks."""
    for i in range(n):
        total = part[i]
        for p in range(1, chunks):
            total += part[p * n + i]
        part[i] = total


@ti.func
def scatter_depth(
    part: ti.template(), start, to_depth, cells: ti.template(), shift, q, size, strides, activation: ti.template(),
    atomic: ti.template(),
):  # fmt: skip
    """Add the gradient of one sample, whose share of the depth is `to_depth`, to part [start + D * H * W]."""
    row, at = locate(q, size)
    each = to_depth
    if ti.static(activation != NONE):
        each *= density_slope(gather(cells, row, strides, at, 1, 0), shift, activation)
    scatter(part, start, row, strides, at, 0, ti.Vector([each]), 1, 1, atomic)


@ti.kernel
def light_depths_adjoint(
    chunks: ti.i32, lights: ti.i32, steps: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32,
    nodes_y: ti.i32, nodes_z: ti.i32, shift: float, cells: A1, box: A2, kinds: A1, table: A2, matrix: A2,
    to_depths: A1, part: A1, activation: ti.template(),
):  # fmt: skip
    """For a CPU: part [chunks * D * H * W] += gradient of the density; rows of nodes go to the chunks in turn."""
    lines = nodes_y * nodes_z
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        lower, upper = corners(box)
        metric = load_metric(matrix)
        scale = load3(box, 2)
        size = ti.Vector([width, height, depth])
        strides = row_steps(size)
        for turn in range((lines - p + chunks - 1) // chunks):
            first = (p + turn * chunks) * nodes_x
            for node in range(first, first + nodes_x):
                x = node_position(node, lower, upper, ti.Vector([nodes_x, nodes_y, nodes_z]))
                for light in range(lights):
                    g = to_depths[node * lights + light]
                    if g != 0.0:
                        v, length, share, _axis = towards(x, light, kinds[light], table, metric, lower, upper)
                        if share > 0.0:
                            q, onward = cell_place(x, lower, scale), v * scale * (share / steps)
                            for k in range(steps):
                                scatter_depth(
                                    part, p * width * height * depth, g * share * length / steps, cells, shift,
                                    q + onward * (k + 0.5), size, strides, activation, False,
                                )  # fmt: skip


@ti.kernel
def light_depths_adjoint_samples(
    light: ti.i32, lights: ti.i32, steps: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32,
    nodes_y: ti.i32, nodes_z: ti.i32, shift: float, cells: A1, box: A2, kinds: A1, table: A2, matrix: A2,
    to_depths: A1, part: A1, activation: ti.template(),
):  # fmt: skip
    """For a GPU: part [D * H * W] += what one light adds to it, with a thread for every sample of every node."""
    for node, k in ti.ndrange(nodes_x * nodes_y * nodes_z, steps):
        lower, upper = corners(box)
        x = node_position(node, lower, upper, ti.Vector([nodes_x, nodes_y, nodes_z]))
        v, length, share, _axis = towards(x, light, kinds[light], table, load_metric(matrix), lower, upper)
        each = to_depths[node * lights + light] * share * length / steps
        if each != 0.0:
            scale = load3(box, 2)
            size = ti.Vector([width, height, depth])
            q = cell_place(x + v * (share * (k + 0.5) / steps), lower, scale)
            scatter_depth(part, 0, each, cells, shift, q, size, row_steps(size), activation, True)


@ti.func
def way_sums(
    x, v, share, steps, cells: ti.template(), shift, lower, scale, size, activation: ti.template()
):  # fmt: skip
    """Means over a way's samples: extinction, and its derivative [3] by the position times how far along it is."""
    total, slopes = 0.0, ti.Vector([0.0, 0.0, 0.0])
    for k in range(steps):
        far = (k + 0.5) / steps
        q = cell_place(x + v * (share * far), lower, scale)
        row, at = locate(q, size)
        number, change = 0.0, ti.Vector([0.0, 0.0, 0.0])
        for corner in ti.static(range(8)):
            value = cells[corner_row(row, row_steps(size), corner)]
            number += corner_weight(at, corner) * value
            change += corner_slope(at, corner) * value
        total += density_of(number, shift, activation)
        slopes += change * slope_at(q, scale, size) * (far * density_slope(number, shift, activation))
    return total / steps, slopes / steps


@ti.kernel
def light_depths_geometry_adjoint(
    chunks: ti.i32, lights: ti.i32, steps: ti.i32, width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32,
    nodes_y: ti.i32, nodes_z: ti.i32, shift: float, cells: A1, box: A2, kinds: A1, table: A2, matrix: A2,
    to_depths: A1, part: A1, activation: ti.template(), block: ti.template(),
):  # fmt: skip
    """part [chunks * (9 + 6 L)] = gradient of the metric (9), then of every light's row of the table."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        lower, upper = corners(box)
        metric = load_metric(matrix)
        scale = load3(box, 2)
        size = ti.Vector([width, height, depth])
        nodes = nodes_x * nodes_y * nodes_z
        to_metric = ti.Matrix.zero(float, 3, 3)
        start = p * (9 + 6 * lights)
        for light in range(lights):
            to_light = ti.Vector([0.0, 0.0, 0.0])
            for turn in range((nodes - p + chunks - 1) // chunks):
                node = p + turn * chunks
                g = to_depths[node * lights + light]
                x = node_position(node, lower, upper, ti.Vector([nodes_x, nodes_y, nodes_z]))
                v, length, share, axis = towards(x, light, kinds[light], table, metric, lower, upper)
                if share > 0.0 and length > 0.0 and g != 0.0:
                    total, slopes = way_sums(x, v, share, steps, cells, shift, lower, scale, size, activation)
                    to_light += slopes * (g * share * share * length)
                    for a in ti.static(range(3)):
                        if axis == a:  # share = (face - x[a]) / v[a]
                            to_light[a] -= g * length * (total + share * slopes.dot(v)) * share / v[a]
                    if kinds[light] == POINT:
                        to_length = g * share * total
                        to_light += metric @ v * (to_length / length)
                        to_metric += v.outer_product(v) * (0.5 * to_length / length)
            for a in ti.static(range(3)):
                part[start + 9 + 6 * light + a] = to_light[a]
                part[start + 12 + 6 * light + a] = 0.0
        for i, k in ti.static(ti.ndrange(3, 3)):
            part[start + 3 * i + k] = to_metric[i, k]
