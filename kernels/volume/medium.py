"""Single scattering in a medium whose extinction is a grid: the march along camera rays.

As in `march`, a ray's part inside the box is cut into `steps` strata of length delta with one sample each, and

    rgb = sum w_k albedo_k * scattered_k,   scattered = sum over lights exp(-depth) phase(cosine) irradiance,

with the optical depths towards the lights interpolated from those at the nodes of `medium_light.light_depths`. An
ambient light comes from everywhere and is not attenuated: its share is 1. The packed grid holds numbers (kind DENSITY,
one albedo [1, 3] for all) or vectors (albedo, density) (kind COLOR).

Lengths are world lengths: ray directions and vectors to parallel light are in object space and have length 1 in the
world.
"""

import taichi as ti

from ..accumulate import load3
from ..rays import box_interval
from .march import COLOR, density_of, gather, locate, row_steps, stratum_share
from .medium_light import AMBIENT, POINT, cell_place, corners, load_metric, node_place
from .phase import henyey_greenstein

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def medium_at(cells: ti.template(), albedo: ti.template(), row, strides, at, kind: ti.template()):
    """(albedo, number whose activation is the extinction) at a place."""
    out = ti.Vector([albedo[0, 0], albedo[0, 1], albedo[0, 2], 0.0])
    if ti.static(kind == COLOR):
        out = gather(cells, row, strides, at, 1, 0)
    else:
        out[3] = gather(cells, row, strides, at, 1, 0)
    return out


@ti.func
def light_value(table: ti.template(), light):
    return ti.Vector([table[light, 3], table[light, 4], table[light, 5]])


@ti.func
def light_vector(x, light, kind, table: ti.template(), metric, nearest):
    """Vector to the light, one over its length in the world (at least `nearest`), and whether that is its own length.

    Parallel light's has length 1.
    """
    v, inverse, free = load3(table, light), 1.0, False
    if kind == POINT:
        v -= x
        square = v.dot(metric @ v)
        free = square > nearest * nearest
        inverse = 1.0 / ti.sqrt(square) if free else 1.0 / nearest
    return v, inverse, free


@ti.func
def scattered(
    x, across, g, nearest, metric, lights, kinds: ti.template(), table: ti.template(), depths: ti.template(), row,
    strides, at,
):  # fmt: skip
    """Light [3] scattered towards the camera where the albedo is 1; `across` is metric @ ray direction.

    row, strides, at: the place in the grid of optical depths.
    """
    total = ti.Vector([0.0, 0.0, 0.0])
    for light in range(lights):
        share = 1.0
        if kinds[light] != AMBIENT:
            v, inverse, _free = light_vector(x, light, kinds[light], table, metric, nearest)
            fade = ti.exp(-gather(depths, row, strides, at, lights, light)) * inverse * inverse
            share = fade * henyey_greenstein(v.dot(across) * inverse, g)
        total += light_value(table, light) * share
    return total


@ti.kernel
def march_medium(
    count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float, nearest: float, lights: ti.i32,
    width: ti.i32, height: ti.i32, depth: ti.i32, nodes_x: ti.i32, nodes_y: ti.i32, nodes_z: ti.i32, shift: float,
    origins: A2, directions: A2, box: A2, cells: A1, albedo: A2, g: A2, kinds: A1, table: A2, matrix: A2, depths: A1,
    kind: ti.template(), activation: ti.template(), rgb: A2, alpha: A2, distance: A2,
):  # fmt: skip
    """rgb [n, 3], alpha [n, 1] and distance [n, 1] of `count` rays, as `march.march` has them."""
    for ray in range(count):
        lower, upper = corners(box)
        metric = load_metric(matrix)
        scale, node_scale = load3(box, 2), load3(box, 3)
        size, nodes = ti.Vector([width, height, depth]), ti.Vector([nodes_x, nodes_y, nodes_z])
        strides, node_strides = row_steps(size), row_steps(nodes)
        o, d = load3(origins, ray), load3(directions, ray)
        across = metric @ d
        times, _axes = box_interval(o, d, lower, upper)
        color, far, through = ti.Vector([0.0, 0.0, 0.0]), 0.0, 1.0
        if times[1] > times[0]:
            delta = (times[1] - times[0]) / steps
            for k in range(steps):
                if through <= stop:
                    break
                t = times[0] + (k + stratum_share(jitter, seed, ray, k)) * delta
                x = o + t * d
                row, at = locate(cell_place(x, lower, scale), size)
                value = medium_at(cells, albedo, row, strides, at, kind)
                extinction = density_of(value[3], shift, activation)
                left = ti.exp(-extinction * delta)
                weight = through * (1.0 - left)
                light = ti.Vector([0.0, 0.0, 0.0])
                if weight != 0.0:  # what is not a number fails this too, and comes through by the weight
                    node, node_at = locate(node_place(x, lower, node_scale), nodes)
                    light = scattered(
                        x, across, g[0, 0], nearest, metric, lights, kinds, table, depths, node, node_strides, node_at
                    )  # fmt: skip
                for c in ti.static(range(3)):
                    color[c] += weight * value[c] * light[c]
                far += weight * t
                through *= left
        for c in ti.static(range(3)):
            rgb[ray, c] = color[c]
        alpha[ray, 0] = 1.0 - through
        distance[ray, 0] = far
