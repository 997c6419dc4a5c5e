"""Expected normals along rays: the density's slope, weighted as the march weighs colours."""

import taichi as ti

from ..accumulate import load3
from ..rays import box_interval
from .grid import corner_row, corner_weight
from .march import DENSITY, density_of, grid_ray, locate, row_steps, stratum_share

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

FLAT = 1e-5  # share of the density per cell below which its slope is rounding, and there is no normal


@ti.func
def density_at(cells: ti.template(), entry, kind: ti.template()):
    out = 0.0
    if ti.static(kind == DENSITY):  # noqa: SIM108 (a ternary would compile both sides)
        out = cells[entry]
    else:
        out = cells[entry][3]
    return out


@ti.func
def normal_at(
    cells: ti.template(), row, strides, at, q, size, scale, terms, to_object: ti.template(), kind: ti.template()
):
    """Against the density's slope, unit, in the world, 0 where that is flat; and the density's number."""
    number, up = 0.0, ti.Vector([0.0, 0.0, 0.0])
    for corner in ti.static(range(8)):
        value = density_at(cells, corner_row(row, strides, corner) * terms, kind)
        number += corner_weight(at, corner) * value
        for a in ti.static(range(3)):
            side = 1.0 if ti.static(corner >> a & 1) else -1.0
            for b in ti.static(range(3)):
                if ti.static(a != b):
                    side *= at[b] if ti.static(corner >> b & 1) else 1.0 - at[b]
            up[a] += side * value
    for a in ti.static(range(3)):
        if not (q[a] > 0.0 and q[a] < size[a] - 1.0):
            up[a] = 0.0
    up *= scale
    world = ti.Vector([0.0, 0.0, 0.0])
    for a in ti.static(range(3)):
        world += up[a] * load3(to_object, a)
    length, out = world.norm(), ti.Vector([0.0, 0.0, 0.0])
    if length > FLAT * ti.abs(number) * scale.norm():
        out = -world / length
    return out, number


@ti.kernel
def march_normals(
    count: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float, box: A2, width: ti.i32, height: ti.i32,
    depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32, to_object: A2, normals: A2,
    kind: ti.template(), activation: ti.template(),
):  # fmt: skip
    """normals [n, 3] = sum w_k n_k with n_k against the slope, unit, in the world; to_object [3, 3] is the node's."""
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        size = ti.Vector([width, height, depth])
        strides = row_steps(size)
        times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
        start, slope = grid_ray(box, o, d)
        through, total = 1.0, ti.Vector([0.0, 0.0, 0.0])
        if times[1] > times[0]:
            delta = (times[1] - times[0]) / steps
            for k in range(steps):
                if through > stop:
                    q = start + (times[0] + (k + stratum_share(jitter, seed, ray, k)) * delta) * slope
                    row, at = locate(q, size)
                    normal, number = normal_at(
                        cells, row, strides, at, q, size, load3(box, 2), terms, to_object, kind
                    )  # fmt: skip
                    left = ti.exp(-density_of(number, shift, activation) * delta)
                    total += through * (1.0 - left) * normal
                    through *= left
        for c in ti.static(range(3)):
            normals[ray, c] = total[c]
