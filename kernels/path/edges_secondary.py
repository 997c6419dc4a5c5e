"""What moves in the light that falls on a path's vertices: outlines of what stands between them and what they see.

At a vertex x a place p of an edge is drawn, and what lies behind it, y, is looked up past it. With w = y - x, the
volume alpha = w . ((a - x) x (b - x)) is 0 where y comes out of hiding. Light from y changes by its density per alpha
times how alpha changes while x, y and the edge's ends a and b move, y as its triangle does (a direction to the
environment stays). By area that density is the BSDF, cosines and |dy / ds| over squared distance and the length of
alpha's gradient, s the place on the edge; it comes to BSDF, cosine at x and 1 / (|y - x| |p - x|^2). Li, Aittala,
Durand and Lehtinen 2018, "Differentiable Monte Carlo Ray Tracing through Edge Sampling". In a medium x and y may be
where it scatters, with the phase function for BSDF and cosine; they stay where they are, and what lies between x and p
dims the light.

The edge is one of CANDIDATES drawn by length, chosen by what it may change (Talbot, Cline and Egbert 2005, "Importance
Resampling for Global Illumination").
"""

from typing import Any, NamedTuple

import taichi as ti

from .. import bvh, rng
from ..accumulate import TASK, add3, load3
from ..compiling import large
from ..transport import bsdf, lights, materials, medium, shading_normal, specular, surface
from ..transport.light_shapes import point_adjoint
from ..transport.mesh_adjoint import scatter_corners
from ..transport.slots import PARAMS, PHASE
from ..transport.tables import Tables
from .edges import HEAD, TAIL, ends, opacity, outline, pick, put_ray
from .replay_kernels import camera_adjoint
from .state import GEOMETRY, SENSOR
from .trace import start
from .vertex import DIMENSIONS, FAR, FLIGHT, PASSES, leave, place, scatterer, stopped

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

CANDIDATES = 16
LIT = 32.0  # how much rather an edge is taken that hides a light
EDGE, ALONG, TAKE, LAMP, NUMBERS = 0, 1, 2, 3, 4  # random numbers of a candidate
NEARLY = 0.9999  # of the way to the edge must be free
# A record: the edge, the vertex's triangle (-1: in a medium), that of what is behind (AFAR: the environment, ADRIFT: in
# a medium), 1 for the path's first hit; then the place on the edge, barycentrics of vertex and what is behind (ADRIFT:
# the distance in place of the first), the direction, what a unit of radiance is worth, and the vertex's place.
VERTEX, BEHIND, FIRST, WHOLES = 1, 2, 3, 4
U, V, BEHIND_U, BEHIND_V, WAY, WORTH, PLACE, REALS = 1, 2, 3, 4, 5, 8, 11, 14
AFAR, ADRIFT = -1, -2
TO_EDGE, BEYOND = 1, 2  # rays that are no path's own


def aside() -> float:
    """How far past an edge a ray passes, as a share of the distance to it."""
    return 1e-7 if bvh.epsilon() < 1e-10 else 3e-5


@ti.func
def hides_light(light_kinds: ti.template(), t: ti.template(), x, way, distance, u):
    """1 where the ray, behind `distance`, would meet a light that u chooses."""
    found = 0
    entry, chance = lights.choose(t, u)
    if chance > 0.0:
        kind = t.entries[lights.HEADER + entry, 0]
        if ti.static(light_kinds >> lights.TRIANGLE & 1):
            if kind == lights.TRIANGLE:
                p0, p1, p2 = surface.corners(t.faces, t.positions, t.entries[lights.HEADER + entry, 1])
                _x, far, b1, b2 = specular.intersect(x, way, p0, p1, p2)
                if far > distance and b1 >= 0.0 and b2 >= 0.0 and b1 + b2 <= 1.0:
                    if (p1 - p0).cross(p2 - p0).dot(way) < 0.0:
                        found = 1
        if ti.static(light_kinds >> lights.SUN & 1):
            if kind == lights.DIRECTIONAL:
                row = t.entries[lights.HEADER + entry, 2]
                if lights.lean(-way, lights.read(t, row, lights.DIRECTION)) < t.light_values[row, lights.CAP]:
                    found = 1
    return found


@ti.func
def choose_edge(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), edges: ti.template(), chances: ti.template(),
    count, x, outward, n, wi, kind, p: ti.template(), key,
):  # fmt: skip
    """(edge or -1, place on it, direction past it, distance, f cos over the probability density by place [3])."""
    tangent, bitangent = surface.frame(n)
    edge, at, way, far, value, target, total = -1, 0.0, n, 0.0, ti.Vector([0.0, 0.0, 0.0]), 0.0, 0.0
    for c in range(CANDIDATES):
        this, chance = pick(chances, count, rng.draw(key, NUMBERS * c + EDGE))
        s = rng.draw(key, NUMBERS * c + ALONG)
        a, b = ends(t.positions, edges, this)
        to = a + s * (b - a) - x
        distance = to.norm()
        d = to / ti.max(distance, 1e-30)
        across = d.cross(b - a)
        free = outline(t.positions, edges, this, a, across)
        wo = surface.to_local(tangent, bitangent, n, d)
        if free != 0 and distance > 0.0 and wo.z * outward.dot(d) > 0.0:
            f, _density = bsdf.evaluate(mask, kind, p, wi, wo, True)
            f *= shading_normal.horizon(n, outward, d)
            solid = opacity(mask, t, edges, this, s)
            worth = solid * f.max() * across.norm() / (distance * distance)
            if hides_light(light_kinds, t, x, d, distance, rng.draw(key, NUMBERS * c + LAMP)) == 1:
                worth *= LIT
            total += worth / chance
            if rng.draw(key, NUMBERS * c + TAKE) * total < worth / chance:
                edge, at, far, value, target = this, s, distance, solid * free * f, worth
                way = surface.unit(to + ti.static(aside()) * free * distance * surface.unit(across))
    if edge >= 0:
        value *= total / (CANDIDATES * target)
    return edge, at, way, far, value


@ti.func
def note(
    records: ti.template(), reals: ti.template(), row, edge, at, vertex, vertex_u, vertex_v, x, first, behind, u, v, d,
    worth,
):  # fmt: skip
    records[row, 0], records[row, VERTEX], records[row, BEHIND], records[row, FIRST] = edge, vertex, behind, first
    reals[row, 0], reals[row, U], reals[row, V] = at, vertex_u, vertex_v
    reals[row, BEHIND_U], reals[row, BEHIND_V] = u, v
    for c in ti.static(range(3)):
        reals[row, WAY + c], reals[row, WORTH + c], reals[row, PLACE + c] = d[c], worth[c], x[c]


@large
@ti.kernel
def walk(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), first: ti.i32,
    places: ti.i32, samples: ti.i32, width: ti.i32, height: ti.i32, seed: ti.i32, max_depth: ti.i32,
    edge_depth: ti.i32, count: ti.i32, table: A2, nodes: A1, leaves: A1I, faces: A2, positions: A2, normals: A2,
    uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2,
    alias: A1, media: A2, media_places: A2, media_values: A2, edges: A2I, chances: A1, rays: A2, wholes: A2I,
    records: A2I, reals: A2,
):  # fmt: skip
    """Rows (path * edge_depth + vertex): an edge past which each of a path's first edge_depth vertices looks."""
    for index in range(places * samples):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        for k in range(edge_depth):
            records[index * edge_depth + k, 0] = -1
            wholes[index * edge_depth + k, 1] = 0
        local = index // samples
        key = rng.key(seed, first + local, index - local * samples)
        o, d, weight = start(sensors, film, table, first + local, width, height, key, 0)
        zero = ti.Vector([0.0, 0.0, 0.0])
        beta, eta, depth, passes, met, going = ti.Vector([1.0, 1.0, 1.0]) * weight, 1.0, 0, 0, 0, 1
        # Rays past an edge come between two of the path, whose next one waits meanwhile: one loop follows all. TO_EDGE
        # goes there; BEYOND finds out where what `arrive` will follow, with the same random numbers, first ends.
        past, edge, at, far, worth, next_o, next_d, hops, other = 0, -1, 0.0, 0.0, zero, o, d, 0, key
        vertex, vertex_u, vertex_v, x = -1, 0.0, 0.0, zero
        while going == 1 or past > 0:
            triangle, distance, u, v = bvh.meet(o, d, FAR, False, t.nodes, t.leaves)
            base, own, row = DIMENSIONS * (1 + depth + passes), key, index * edge_depth + met - 1
            if past > 0:
                base, own = DIMENSIONS * (1 + hops), other
            inside = -1
            if ti.static(mask >> PHASE & 1):
                reach, shaded = ti.select(triangle < 0, FAR, distance), ti.cast(past == TO_EDGE, ti.i32)
                if past == TO_EDGE:
                    reach = ti.min(reach, far)
                through, found, stop = medium.travel(mask, t, o, d, reach, shaded, rng.mix(own, base + FLIGHT + shaded))
                worth *= through
                if found >= 0:
                    inside, distance = found, stop
            scatters, kind, n, outward, p = 0, 0, zero, zero, ti.Vector.zero(float, PARAMS)
            if past == TO_EDGE:
                clear = 1
                if triangle >= 0 and distance < far * NEARLY:
                    clear = 0
                    if ti.static(mask >> materials.OPACITIES & 1):
                        y, e1, e2, uv, _color = place(mask, t, triangle, u, v)
                        worth *= 1.0 - materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t)
                        if worth.norm_sqr() > 0.0:
                            clear, hops = 2, hops + 1
                            o, far = bvh.offset_origin(y, e1.cross(e2), d), far - distance
                if clear == 1:
                    o += far * d
                    put_ray(rays, wholes, row, o, d, rng.mix(key, met), max_depth - depth)
                    if ti.static((mask >> PHASE | mask >> materials.OPACITIES) & 1):
                        past, hops, other = BEYOND, 0, rng.mix(rng.mix(key, met), 0)
                    else:
                        note(
                            records, reals, row, edge, at, vertex, vertex_u, vertex_v, x, ti.cast(met == 1, ti.i32),
                            triangle, u, v, d, worth,
                        )  # fmt: skip
                        past = 0
                elif clear == 0:
                    past = 0
            elif past == BEYOND:
                if ti.static((mask >> PHASE | mask >> materials.OPACITIES) & 1):
                    behind, behind_u, ends_here = triangle, u, 1
                    if inside >= 0:
                        behind, behind_u = ADRIFT, (o + distance * d - x).norm()
                    elif triangle >= 0:
                        y, e1, e2, uv, _color = place(mask, t, triangle, u, v)
                        _solid, ends_here = stopped(mask, t, triangle, uv, own, base)
                        hops, o = hops + 1, bvh.offset_origin(y, e1.cross(e2), d)
                    if ends_here == 1:
                        note(
                            records, reals, row, edge, at, vertex, vertex_u, vertex_v, x, ti.cast(met == 1, ti.i32),
                            behind, behind_u, v, d, worth,
                        )  # fmt: skip
                    if ends_here == 1 or hops > PASSES:
                        past = 0
            elif inside >= 0:
                if ti.static(mask >> PHASE & 1):
                    x, n, outward, kind, vertex, scatters = o + distance * d, -d, -d, PHASE, -1, 1
                    p = medium.gather(t, inside, x)
            elif triangle < 0:
                going = 0
            else:
                x, e1, e2, uv, color = place(mask, t, triangle, u, v)
                cross = e1.cross(e2)
                _solid, scatters = stopped(mask, t, triangle, uv, key, base)
                if scatters == 0:
                    passes, next_o = passes + 1, bvh.offset_origin(x, cross, d)
                    going = ti.cast(passes <= PASSES, ti.i32)
                elif depth + 1 < max_depth:
                    _row, _slope, kind, p, n, _own, turned = scatterer(
                        mask, t, triangle, u, v, uv, color, e1, e2, d, key, base
                    )
                    outward, vertex, vertex_u, vertex_v = turned * cross, triangle, u, v
            if scatters == 1:
                depth, met, going = depth + 1, met + 1, 0
                if depth < max_depth:
                    tangent, bitangent = surface.frame(n)
                    wi = surface.to_local(tangent, bitangent, n, -d)
                    other, hops = rng.mix(key, CANDIDATES + met), 0
                    edge, at, way, far, value = choose_edge(
                        mask, light_kinds, t, edges, chances, count, x, outward, n, wi, kind, p, other
                    )
                    worth = beta * value
                    going, next_o, next_d, beta, _share, _pdf, _delta, eta, _wo = leave(
                        mask, x, outward, n, wi, kind, p, beta, eta, depth, max_depth, 0, key, base
                    )
                    if met >= edge_depth:
                        going = 0
                    if edge >= 0:
                        past, o, d = TO_EDGE, bvh.offset_origin(x, outward, way), way
            if past == 0:
                o, d = next_o, next_d


@ti.func
def read(reals: ti.template(), row, column: ti.template()):
    return ti.Vector([reals[row, column], reals[row, column + 1], reals[row, column + 2]])


@ti.func
def spread(
    sensors: ti.template(), film: ti.template(), wants: ti.template(), table: ti.template(), of, sample, width, height,
    seed, row, t: ti.template(), edges: ti.template(), records: ti.template(), reals: ti.template(), g, copy,
    parts: ti.template(), sensor_copies, to_table: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """Adds what a record says of the edge, of the vertex and of what is behind, for the gradient g of a unit of it."""
    edge, vertex, behind, x = records[row, 0], records[row, VERTEX], records[row, BEHIND], read(reals, row, PLACE)
    p0, p1, p2 = surface.corners(t.faces, t.positions, ti.max(vertex, 0))
    a, b = ends(t.positions, edges, edge)
    w, far = read(reals, row, WAY), 1.0
    if behind == ADRIFT:
        far = reals[row, BEHIND_U]
        w *= far
    elif behind >= 0:
        q0, q1, q2 = surface.corners(t.faces, t.positions, behind)
        w = (1.0 - reals[row, BEHIND_U] - reals[row, BEHIND_V]) * q0 + reals[row, BEHIND_U] * q1
        w += reals[row, BEHIND_V] * q2 - x
        far = w.norm()
    scale = g / (far * (a + reals[row, 0] * (b - a) - x).norm_sqr())
    to_a, to_b, to_w = scale * (b - x).cross(w), scale * w.cross(a - x), scale * (a - x).cross(b - x)
    to_x = -to_a - to_b
    if ti.static(wants & GEOMETRY):
        first = copy * t.positions.shape[0]
        add3(parts.positions, first + edges[edge, TAIL], to_a, atomic)
        add3(parts.positions, first + edges[edge, HEAD], to_b, atomic)
    if behind != AFAR:
        to_x -= to_w
    if behind >= 0:
        if ti.static(wants & GEOMETRY):
            there = point_adjoint(reals[row, BEHIND_U], reals[row, BEHIND_V], to_w)
            scatter_corners(t, parts, copy, behind, there, atomic)
    to_corners = point_adjoint(reals[row, U], reals[row, V], to_x)
    if records[row, FIRST] == 1 and vertex >= 0:
        key = rng.key(seed, of, sample)
        origin, direction, _weight = start(sensors, film, table, of, width, height, key, 0)
        to_o, to_d, to_0, to_1, to_2 = specular.intersect_adjoint(origin, direction, p0, p1, p2, to_x, 0.0, 0.0, 0.0)
        to_corners = ti.Matrix.rows([to_0, to_1, to_2])
        if ti.static(wants & SENSOR):
            camera_adjoint(
                sensors, film, table, to_table, sensor_copies, row if ti.static(atomic) else copy, of, width, height,
                key, 0, to_o, to_d, 0.0, atomic,
            )  # fmt: skip
    if ti.static(wants & GEOMETRY):
        if vertex >= 0:
            scatter_corners(t, parts, copy, vertex, to_corners, atomic)


@ti.kernel
def scatter(
    sensors: ti.template(), film: ti.template(), wants: ti.template(), atomic: ti.template(), block: ti.template(),
    copies: ti.i32, sensor_copies: ti.i32, first: ti.i32, places: ti.i32, samples: ti.i32, width: ti.i32,
    height: ti.i32, seed: ti.i32, edge_depth: ti.i32, table: A2, faces: A2, positions: A2, edges: A2I, records: A2I,
    reals: A2, brought: A2, grad: A2, to_positions: A1, to_table: A1,
):  # fmt: skip
    """Adds what the records say, with the radiance that their rays brought; on a CPU chunk c to copy c."""
    ti.loop_config(block_dim=block)
    for ticket in range(places * samples * edge_depth if ti.static(atomic) else copies * TASK):
        t = ti.static(Placed(faces, positions))
        parts = ti.static(Moved(to_positions))
        rows = places * samples * edge_depth
        if ti.static(atomic):
            if records[ticket, 0] >= 0:
                path = ticket // edge_depth
                local = path // samples
                g = value_of(ticket, reals, brought, load3(grad, first + local)) / samples
                spread(
                    sensors, film, wants, table, first + local, path - local * samples, width, height, seed, ticket, t,
                    edges, records, reals, g, 0, parts, sensor_copies, to_table, True,
                )  # fmt: skip
        else:
            copy = ticket // TASK
            if ticket % TASK == 0:
                for row in range(copy * rows // copies, (copy + 1) * rows // copies):
                    if records[row, 0] >= 0:
                        path = row // edge_depth
                        local = path // samples
                        g = value_of(row, reals, brought, load3(grad, first + local)) / samples
                        spread(
                            sensors, film, wants, table, first + local, path - local * samples, width, height, seed,
                            row, t, edges, records, reals, g, copy, parts, sensor_copies, to_table, False,
                        )  # fmt: skip


@ti.func
def value_of(row, reals: ti.template(), brought: ti.template(), g):
    """How the loss changes with a record's share of light in view."""
    found = 0.0
    for c in ti.static(range(3)):
        found += g[c] * brought[row, c] * reals[row, WORTH + c]
    return found


class Placed(NamedTuple):
    """The two of `Tables` that say where triangles are."""

    faces: Any
    positions: Any


class Moved(NamedTuple):
    """The one of `Parts` that edges add to."""

    positions: Any
