"""Warped-area sampling: the part of a gradient that comes from outlines, as an integral over areas.

Bangaru, Li and Durand 2020, "Unbiased Warped-Area Sampling for Differentiable Rendering". Where an integrand f over the
film or over directions jumps along outlines that move, its integral changes by that of div (f V) besides, for every
continuous field V that is the outlines' velocity on them. V is a mean of the velocities V_k of what rays nearby meet,

    V = sum w_k V_k / sum w_k,    w_k = q_k / (q_k - 1 + B_k)^EXPONENT,

with q_k the inverse of the rays' density, 1 in its middle, and B_k the boundary test: 0 on an outline, 1 on a miss. A
point that is met keeps its barycentrics and misses stand still; beside a sun they move with its disc.

The mean changes by where its rays lie, too. That is counted by the derivative of their density, with the mean of the
other rays as control variate: V is then the exact expectation of a smooth field, and what too few rays cost is only
that it does not quite reach the outline's velocity. A field that is the same for all rays has no variance.
"""

import taichi as ti

from .. import bvh, rng
from ..accumulate import load3
from ..transport import sensor, surface
from ..transport.light_shapes import cone_adjoint, point_adjoint
from ..transport.mesh_adjoint import scatter_corners
from .vertex import FAR

EXPONENT = 3
LEAST = 1e-4  # of the weights' denominators
RISE = 0.3  # of the boundary test, for each deviation of the rays that a hit lies off an outline
U, V, TO_POINT, WEIGHT, BEND, RECORD = 0, 1, 2, 5, 6, 7  # reals of a ray's record; `where` holds its triangle or -1
FLAT = 1e-30


@ti.func
def boundary_test(t: ti.template(), opposite: ti.template(), triangle, u, v, o, d, parallel, size):
    """0 on an outline as the ray o + s d sees it, up to 1; size: in the world, of a deviation of the rays at the hit.

    opposite [F, 3]: the vertex across the edge that faces a corner, or -1. parallel: 1 if all rays go along d.
    """
    p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
    y = p0 + u * (p1 - p0) + v * (p2 - p0)
    found = 1.0
    for c in ti.static(range(3)):
        own, a, b = (p0, p1, p2)[c], (p1, p2, p0)[c], (p2, p0, p1)[c]
        toward = a - o
        if parallel == 1:
            toward = d
        across = toward.cross(b - a)
        vertex, outline = opposite[triangle, c], True
        if vertex >= 0:
            outline = (own - a).dot(across) * (load3(t.positions, vertex) - a).dot(across) >= 0.0
        if outline:
            found = ti.min(found, RISE * ti.abs((y - a).dot(across)) / (across.norm() * size + FLAT))
    m = surface.smooth_normal(t.faces, t.normals, triangle, u, v)
    if m.dot(m) > 0.0:
        found = ti.min(found, ti.abs(surface.unit(m).dot(d)))
    return found


@ti.func
def weigh(u, boundary):
    """(w, -d log w / d log q) of a ray whose density is 1 - u of that in the middle."""
    q = 1.0 / (1.0 - u)
    denominator = q - 1.0 + boundary
    bend = 0.0
    if u < 0.5:
        denominator = u * q + boundary
    if denominator > LEAST:
        bend = EXPONENT * q / denominator
    denominator = ti.max(denominator, LEAST)
    return q / (denominator * denominator * denominator), bend


@ti.func
def keep(where: ti.template(), what: ti.template(), record, triangle, u, v, by, boundary):
    """Writes the record of a ray that met (triangle, u, v); by: its u of `weigh`."""
    weight, bend = weigh(by, boundary)
    where[record] = triangle
    what[record, U], what[record, V], what[record, WEIGHT], what[record, BEND] = u, v, weight, bend


@ti.func
def rank(what: ti.template(), record, rays):
    """(ray of the largest weight, that weight, sum of the others)."""
    leader, most, rest = 0, what[record, WEIGHT], 0.0
    for k in range(1, rays):
        weight = what[record + k, WEIGHT]
        if weight > most:
            rest += most
            leader, most = k, weight
        else:
            rest += weight
    return leader, most, rest


@ti.func
def coefficient(w, bend, pull, leads, leading, most, rest, slope, others):
    """(V's share of V_k, the gradient of that share) by the mean's place.

    pull: gradient of the log of the ray's density, `leading` that of the leader's. slope: sum of w (bend - 1) pull;
    others: sum of pull w / (sum of the other weights) over all but the leader.
    """
    total = most + rest
    turn = bend * pull - slope / total - others
    gradient = w / total * turn
    if leads == 0:
        gradient += w / total * (w / (total - w)) * pull - w / rest * (most / total) * leading
    return w / total, gradient


@ti.func
def put(
    atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, what: ti.template(), record, triangle, u, v,
    to_point,
):  # fmt: skip
    """The gradient of what a ray met: to the triangle's corners; on a GPU kept for `scatter_records`."""
    if ti.static(atomic):
        for c in ti.static(range(3)):
            what[record, TO_POINT + c] = to_point[c]
    else:
        scatter_corners(t, parts, copy, triangle, point_adjoint(u, v, to_point), False)


@ti.func
def film_offset(key, k, deviation):
    """(a ray's place on the film beside the sample's, u of `weigh`)."""
    u, turn = rng.draw(key, 2 * k), 2.0 * sensor.PI * rng.draw(key, 2 * k + 1)
    radius = deviation * ti.sqrt(-2.0 * ti.log(1.0 - u))
    return ti.Vector([radius * ti.cos(turn), radius * ti.sin(turn)]), u


@ti.func
def film_warp(
    sensors: ti.template(), atomic: ti.template(), rays, t: ti.template(), parts: ti.template(), copy,
    opposite: ti.template(), table: ti.template(), view, x, y, u3, u4, to_film, amount, key, deviation,
    where: ti.template(), what: ti.template(), record,
):  # fmt: skip
    """Adds the gradient of to_film . V + amount * div V at the film point (x, y) to the vertices that V comes from;
    returns that of the sensor's row. deviation: of the rays' places on the film, in pixels."""
    origin, d, _cosine, _weight = sensor.primary_ray(sensors, table, view, x, y, u3, u4)
    parallel = ti.cast(ti.cast(table[view, sensor.KIND], ti.i32) == sensor.ORTHOGRAPHIC, ti.i32)
    for k in range(rays):
        at, u = film_offset(key, k, deviation)
        o_k, d_k, _c, _w = sensor.primary_ray(sensors, table, view, x + at.x, y + at.y, u3, u4)
        triangle, distance, b1, b2 = bvh.closest_hit(o_k, d_k, FAR, t.nodes, t.leaves)
        boundary = 1.0
        if triangle >= 0:
            away = (distance * (d_k - d).norm() + (o_k - origin).norm()) / (at.norm() + FLAT)
            boundary = boundary_test(t, opposite, triangle, b1, b2, o_k, d_k, parallel, deviation * away + FLAT)
        keep(where, what, record + k, triangle, b1, b2, u, boundary)
    leader, most, rest = rank(what, record, rays)
    square = deviation * deviation
    slope, others = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0])
    for k in range(rays):
        at, _u = film_offset(key, k, deviation)
        slope += what[record + k, WEIGHT] * (what[record + k, BEND] - 1.0) / square * at
        if k != leader:
            others += what[record + k, WEIGHT] / (most + rest - what[record + k, WEIGHT]) / square * at
    leading, _u = film_offset(key, leader, deviation)
    to_row = ti.Vector([0.0] * sensor.STRAIGHT)
    for k in range(rays):
        triangle, b1, b2 = where[record + k], what[record + k, U], what[record + k, V]
        if triangle >= 0:
            at, _u = film_offset(key, k, deviation)
            share, turn = coefficient(
                what[record + k, WEIGHT], what[record + k, BEND], at / square, ti.cast(k == leader, ti.i32),
                leading / square, most, rest, slope, others,
            )  # fmt: skip
            to_place = share * to_film + amount * turn
            p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
            point = p0 + b1 * (p1 - p0) + b2 * (p2 - p0)
            to_point, by_row = sensor.project_adjoint(sensors, table, view, point, u3, u4, to_place.x, to_place.y)
            to_row += by_row
            put(atomic, t, parts, copy, what, record + k, triangle, b1, b2, to_point)
    return to_row


@ti.func
def way_beside(key, k, kappa):
    """(a ray's direction by the sample's, in a frame with that along z, u of `weigh`): von Mises and Fisher's."""
    u, turn = rng.draw(key, 2 * k), 2.0 * sensor.PI * rng.draw(key, 2 * k + 1)
    height = -ti.log(1.0 - u) / kappa
    radius = ti.sqrt(ti.max(height * (2.0 - height), 0.0))
    return ti.Vector([radius * ti.cos(turn), radius * ti.sin(turn), 1.0 - height]), u


@ti.func
def direction_warp(
    atomic: ti.template(), rays, t: ti.template(), parts: ti.template(), copy, opposite: ti.template(), x, outward, way,
    to_way, amount, axis, cap, key, kappa, where: ti.template(), what: ti.template(), record,
):  # fmt: skip
    """Adds the gradient of to_way . V + amount * div V at the direction `way` from x to the vertices that V comes from;
    returns those of x and of the axis and the cap of a sun's disc (cap 0: there is none).

    outward: normal of any length of the surface that x lies on, on the side where directions count.
    """
    s, r = surface.frame(way)
    origin, deviation = bvh.offset_origin(x, outward, outward), 1.0 / ti.sqrt(kappa)
    for k in range(rays):
        local, u = way_beside(key, k, kappa)
        d = surface.to_world(s, r, way, local)
        triangle, distance, b1, b2, boundary = -1, FAR, 0.0, 0.0, 1.0
        if d.dot(outward) > 0.0:
            triangle, distance, b1, b2 = bvh.closest_hit(origin, d, FAR, t.nodes, t.leaves)
        if triangle >= 0:
            boundary = boundary_test(t, opposite, triangle, b1, b2, x, d, 0, distance * deviation)
        keep(where, what, record + k, triangle, b1, b2, u, boundary)
    leader, most, rest = rank(what, record, rays)
    slope, others = 0.0 * x, 0.0 * x
    for k in range(rays):
        local, _u = way_beside(key, k, kappa)
        pull = kappa * ti.Vector([local.x, local.y, 0.0])
        slope += what[record + k, WEIGHT] * (what[record + k, BEND] - 1.0) * pull
        if k != leader:
            others += what[record + k, WEIGHT] / (most + rest - what[record + k, WEIGHT]) * pull
    leading, _u = way_beside(key, leader, kappa)
    leading = kappa * ti.Vector([leading.x, leading.y, 0.0])
    along = to_way - way * way.dot(to_way) - 2.0 * amount * way
    to_x, to_axis, to_cap = 0.0 * x, 0.0 * x, 0.0
    for k in range(rays):
        local, _u = way_beside(key, k, kappa)
        share, turn = coefficient(
            what[record + k, WEIGHT], what[record + k, BEND], kappa * ti.Vector([local.x, local.y, 0.0]),
            ti.cast(k == leader, ti.i32), leading, most, rest, slope, others,
        )  # fmt: skip
        to_d = share * along + amount * surface.to_world(s, r, way, turn)
        triangle, b1, b2 = where[record + k], what[record + k, U], what[record + k, V]
        if triangle >= 0:
            p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
            off = p0 + b1 * (p1 - p0) + b2 * (p2 - p0) - x
            distance = off.norm() + FLAT
            to_point = surface.direction_adjoint(off / distance, distance, to_d)
            to_x -= to_point
            put(atomic, t, parts, copy, what, record + k, triangle, b1, b2, to_point)
        elif cap > 0.0:
            by_axis, by_cap = cone_adjoint(axis, cap, -surface.to_world(s, r, way, local), -to_d)
            to_axis += by_axis
            to_cap += by_cap
    return to_x, to_axis, to_cap
