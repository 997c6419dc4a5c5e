"""What moves on the film: outlines and creases as the sensor sees them, drawn by their length on the film.

Where an edge passes a film point, the radiance jumps; a pixel's value changes by the jump times how fast the edge moves
across itself there. Li, Aittala, Durand and Lehtinen 2018, "Differentiable Monte Carlo Ray Tracing through Edge
Sampling".
"""

import math

import taichi as ti

from .. import bvh, rng
from ..accumulate import TASK, add3, load3
from ..compiling import large
from ..transport import materials, sensor
from .edges import CREASE, HEAD, JUMP, SEAM, TAIL, ends, fold, outline, pick, put_ray

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

EDGE, PLACE, LENS = 0, 1, 2  # random numbers of a sample
NEAREST = 1e-3  # of the far end's depth: what is nearer to the sensor's plane is left away
NEARLY = 0.9999  # of the way to the edge must be free
ALONG, X, Y, ACROSS_X, ACROSS_Y, FACTOR, LENS_1, LENS_2, REALS = 0, 1, 2, 3, 4, 5, 6, 7, 8  # of a sample


def apart() -> float:
    """How far from an edge the radiance on its sides is looked up, in pixels."""
    return 1e-4 if bvh.epsilon() < 1e-10 else 4e-3


@ti.func
def on_film(sensors: ti.template(), table: ti.template(), view, a, b, u3, u4, width, height, margin):
    """The part of an edge from a to b that falls on the film, seen through the point u3, u4 of the lens.

    Returns:
        film points of its two ends [2] (equal where nothing falls on it), of the ends of the piece before the sensor,
        that piece's share of the edge and its depths: (first, last, shares [2], whole first, whole last, depths [2])
    """
    za, zb = sensor.depth(sensors, table, view, a), sensor.depth(sensors, table, view, b)
    zero = ti.Vector([0.0, 0.0])
    first, last, whole_first, whole_last, shares, depths = zero, zero, zero, zero, zero, zero
    least = NEAREST * ti.max(za, zb)
    if least > 0.0:
        s0, s1 = 0.0, 1.0
        if za < least:
            s0 = (least - za) / (zb - za)
        if zb < least:
            s1 = (least - za) / (zb - za)
        x0, y0, _i0, _w0, _d0 = sensor.project(sensors, table, view, a + s0 * (b - a), u3, u4)
        x1, y1, _i1, _w1, _d1 = sensor.project(sensors, table, view, a + s1 * (b - a), u3, u4)
        whole_first, whole_last = ti.Vector([x0, y0]), ti.Vector([x1, y1])
        shares, depths = ti.Vector([s0, s1]), ti.Vector([za + s0 * (zb - za), za + s1 * (zb - za)])
        size, low, high = ti.Vector([1.0 * width, 1.0 * height]), 0.0, 1.0
        for k in ti.static(range(2)):
            run = whole_last[k] - whole_first[k]
            enter, leave = -margin - whole_first[k], size[k] + margin - whole_first[k]
            if ti.abs(run) > 1e-12:
                low = ti.max(low, ti.min(enter / run, leave / run))
                high = ti.min(high, ti.max(enter / run, leave / run))
            elif enter > 0.0 or leave < 0.0:
                high = -1.0
        if high > low:
            first = whole_first + low * (whole_last - whole_first)
            last = whole_first + high * (whole_last - whole_first)
    return first, last, shares, whole_first, whole_last, depths


@ti.func
def jumps(positions: ti.template(), edges: ti.template(), edge, a, e, d):
    """By how much, 0 to 1, the radiance along the ray d may jump at the edge."""
    found = 1.0
    if outline(positions, edges, edge, a, d.cross(e)) == 0 and edges[edge, JUMP] != SEAM:
        found = fold(positions, edges, edge, a, e)
        if edges[edge, JUMP] == CREASE and found > 0.0:
            found = 1.0
    return found


@ti.kernel
def weigh_on_film(
    sensors: ti.template(), film: ti.template(), table: A2, view: ti.i32, width: ti.i32, height: ti.i32, count: ti.i32,
    positions: A2, edges: A2I, cdf: A1,
):  # fmt: skip
    """cdf[edge + 1] = the length of the edge on the film of a view, in pixels, times how much may jump there."""
    for edge in range(count):
        a, b = ends(positions, edges, edge)
        first, last, _s, _f, _l, _d = on_film(
            sensors, table, view, a, b, 0.0, 0.0, width, height, ti.static(sensor.REACH[film] - 0.5)
        )
        length = (last - first).norm()
        if length > 0.0:
            middle = 0.5 * (first + last)
            _o, d, _cosine, _weight = sensor.primary_ray(sensors, table, view, middle.x, middle.y, 0.0, 0.0)
            length *= jumps(positions, edges, edge, a, b - a, d)
        cdf[edge + 1] = length


@large
@ti.kernel
def sample_on_film(
    mask: ti.template(), sensors: ti.template(), film: ti.template(), table: A2, view: ti.i32, width: ti.i32,
    height: ti.i32, first: ti.i32, samples: ti.i32, seed: ti.i32, max_depth: ti.i32, count: ti.i32, nodes: A1,
    leaves: A1I, positions: A2, edges: A2I, cdf: A1, rays: A2, wholes: A2I, reals: A2, chosen: A1I,
):  # fmt: skip
    """Samples first ... of a view: two rays each, rows 2 n and 2 n + 1, past the edge's sides; chosen: the edges."""
    for n in range(samples):
        key = rng.key(seed, view, first + n)
        u3, u4 = rng.draw(key, LENS), rng.draw(key, LENS + 1)
        edge, chance = pick(cdf, count, rng.draw(key, EDGE))
        a, b = ends(positions, edges, edge)
        start, end, shares, whole_start, whole_end, depths = on_film(
            sensors, table, view, a, b, u3, u4, width, height, ti.static(sensor.REACH[film] - 0.5)
        )
        length = (end - start).norm()
        live, at, across, along = 0, start, ti.Vector([0.0, 0.0]), 0.0
        if length > 0.0:
            at = start + rng.draw(key, PLACE) * (end - start)
            across = ti.Vector([start.y - end.y, end.x - start.x]) / length
            share = (at - whole_start).norm() / (whole_end - whole_start).norm()
            o, d, _cosine, _weight = sensor.primary_ray(sensors, table, view, at.x, at.y, u3, u4)
            if ti.cast(table[view, sensor.KIND], ti.i32) != sensor.ORTHOGRAPHIC:  # evenly on film, not in space
                share = share * depths[0] / (depths[1] * (1.0 - share) + depths[0] * share)
            along = shares[0] + share * (shares[1] - shares[0])
            if jumps(positions, edges, edge, a, b - a, d) > 0.0:
                live = 1
                if ti.static(not mask >> materials.OPACITIES & 1):
                    reach = (a + along * (b - a) - o).norm() * NEARLY
                    if bvh.any_hit(o, d, reach, nodes, leaves) == 1:
                        live = 0
        for k in ti.static(range(2)):
            beside = at + ti.static(apart() if k == 0 else -apart()) * across
            o, d, _cosine, _weight = sensor.primary_ray(sensors, table, view, beside.x, beside.y, u3, u4)
            put_ray(rays, wholes, 2 * n + k, o, d, key, max_depth * live)
        chosen[n] = edge if live == 1 else -1
        numbers = ti.Vector([along, at.x, at.y, across.x, across.y, length / ti.max(chance, 1e-30), u3, u4])
        for c in ti.static(range(REALS)):
            reals[n, c] = numbers[c]


@ti.func
def gradient_at(film: ti.template(), grad: ti.template(), view, width, height, x, y):
    """[3] how the loss changes with light at a film point: over the pixels that it counts in."""
    g = ti.Vector([0.0, 0.0, 0.0])
    reach = ti.static(math.ceil(sensor.REACH[film] + 0.5))
    column, row = ti.cast(ti.floor(x), ti.i32), ti.cast(ti.floor(y), ti.i32)
    for j, i in ti.ndrange((1 - reach, reach), (1 - reach, reach)):
        r, c = row + j, column + i
        if 0 <= r < height and 0 <= c < width:
            share = sensor.film_density(film, x - c - 0.5, y - r - 0.5)
            g += share * load3(grad, (view * height + r) * width + c)
    return g


@ti.func
def spread(
    sensors: ti.template(), film: ti.template(), table: ti.template(), view, width, height, n, of,
    positions: ti.template(), edges: ti.template(), reals: ti.template(), chosen: ti.template(), lights: ti.template(),
    grad: ti.template(), copy, to_positions: ti.template(), sensor_copy, to_table: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """Adds what a sample, one `of` so many, says of its edge and of the sensor."""
    edge = chosen[n]
    if edge >= 0:
        g = gradient_at(film, grad, view, width, height, reals[n, X], reals[n, Y])
        jump = g.dot(load3(lights, 2 * n + 1) - load3(lights, 2 * n)) * reals[n, FACTOR] / of
        a, b = ends(positions, edges, edge)
        s = reals[n, ALONG]
        to_point, to_row = sensor.project_adjoint(
            sensors, table, view, a + s * (b - a), reals[n, LENS_1], reals[n, LENS_2], jump * reals[n, ACROSS_X],
            jump * reals[n, ACROSS_Y],
        )  # fmt: skip
        first = copy * positions.shape[0]
        add3(to_positions, first + edges[edge, TAIL], (1.0 - s) * to_point, atomic)
        add3(to_positions, first + edges[edge, HEAD], s * to_point, atomic)
        sensor.add_row(to_table, (sensor_copy * table.shape[0] + view) * sensor.COLUMNS, to_row, atomic)


@ti.kernel
def scatter_on_film(
    sensors: ti.template(), film: ti.template(), atomic: ti.template(), block: ti.template(), copies: ti.i32,
    sensor_copies: ti.i32, table: A2, view: ti.i32, width: ti.i32, height: ti.i32, samples: ti.i32, of: ti.i32,
    positions: A2, edges: A2I, reals: A2, chosen: A1I, lights: A2, grad: A2, to_positions: A1, to_table: A1,
):  # fmt: skip
    """Adds what the samples say, each one `of` so many of the view; on a CPU chunk c to copy c of the accumulators."""
    ti.loop_config(block_dim=block)
    for ticket in range(samples if ti.static(atomic) else copies * TASK):
        if ti.static(atomic):
            spread(
                sensors, film, table, view, width, height, ticket, of, positions, edges, reals, chosen, lights, grad, 0,
                to_positions, ticket % sensor_copies, to_table, True,
            )  # fmt: skip
        else:
            copy = ticket // TASK
            if ticket % TASK == 0:
                for n in range(copy * samples // copies, (copy + 1) * samples // copies):
                    spread(
                        sensors, film, table, view, width, height, n, of, positions, edges, reals, chosen, lights,
                        grad, copy, to_positions, copy, to_table, False,
                    )  # fmt: skip
