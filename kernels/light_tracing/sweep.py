"""Gradients of light tracing, back along the particles' paths, one vertex at a time, from the last to the first.

Between two vertices a state [particles, STATE] holds the gradients of the ray that leaves the earlier one: of its
origin X, its unit direction D and its throughput B, as photons/sweep.py has them; what moves and what is held fixed is
written there. At a vertex the ray that goes on and every connection with a view are taken one after the other: each
adds what it says of the vertex to the scene's gradients, and to the state of the ray that arrives. A connection keeps
its vertex and its sensor: its direction, its importance and its place on the film move with both.

Xing, Li, Luan and Xu 2024, "Differentiable Photon Mapping using Generalized Path Gradients".
"""

import taichi as ti

from .. import rng
from ..accumulate import TASK, load3
from ..compiling import large
from ..path.vertex import BLEND, DIMENSIONS
from ..path.vertex_adjoint import ratio
from ..photons import paths
from ..photons.sweep import frame_adjoint, leaves_as, opacity_adjoint, turns_adjoint
from ..photons.trace import key_of
from ..transport import bsdf, hit, materials, sensor, specular, surface
from ..transport.lamp import shining_adjoint
from ..transport.light_shapes import cross_adjoint, point_adjoint, turn_adjoint
from ..transport.mesh_adjoint import Parts, paint, scatter_corners
from ..transport.slots import ETA, PARAMS
from ..transport.tables import Tables
from .connect import CONNECTION, COUNT, PICKED, SEEN_U, SEEN_V, SHARE, light_start, look, pixel_of, side

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

X, D, B, STATE = 0, 3, 6, 9


@ti.func
def film_gradient(film: ti.template(), grad: ti.template(), first, width, height, x, y):
    """What the picture, from row `first` of grad on, wants of light at a film point: (per channel [3], and the
    derivatives of that by x and y)."""
    g, by_x, by_y = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    for j, i in ti.static(ti.ndrange(side(film), side(film))):
        column, row = pixel_of(film, j, i, x, y)
        if 0 <= column < width and 0 <= row < height:
            wanted, dx, dy = load3(grad, first + row * width + column), x - column - 0.5, y - row - 0.5
            slope = sensor.film_slope(film, dx, dy)
            g += sensor.film_density(film, dx, dy) * wanted
            by_x += slope.x * wanted
            by_y += slope.y * wanted
    return g, by_x, by_y


@ti.func
def see_through(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, i, seen: ti.template(),
    crossed: ti.template(), whole,
):  # fmt: skip
    """To the opacity of one surface that a connection went through, for all of them, from its gradient times its
    value."""
    if ti.static(mask >> materials.OPACITIES & 1):
        picked, u, v, count = crossed[i, PICKED], seen[i, SEEN_U], seen[i, SEEN_V], crossed[i, COUNT]
        if picked >= 0:
            uv, _color = hit.textured(mask, t, picked, u, v)
            material = t.faces[picked, 9]
            left = ti.max(1.0 - materials.opacity(mask, material, uv, 0.0, t), 1e-6)
            to_uv = materials.opacity_scatter(
                mask, material, uv, 0.0, t, -count * whole / left, parts.values, copy * t.values.shape[0], atomic
            )
            paint(mask, t, parts, copy, picked, u, v, to_uv, ti.Vector([0.0, 0.0, 0.0]), atomic)


@ti.func
def onwards(
    mask: ti.template(), t: ti.template(), slot, stride, i, last, event, x, d, n, ior, wholes: ti.template(),
    reals: ti.template(), leaving: ti.template(),
):  # fmt: skip
    """The ray that leaves a vertex: (0 if there is none, 1, or 2 where it went straight through; direction, what its
    throughput is more than f cos, throughput, gradients of origin, direction and throughput)."""
    goes, out, scale, after, to_x, to_out, to_after = 0, -d, 0.0, 0.0 * d, 0.0 * d, 0.0 * d, 0.0 * d
    if last == 0:
        following = slot + stride
        goes, scale, after = 1, reals[slot, paths.SCALE], paths.read3(reals, following, paths.THROUGHPUT)
        to_x, to_out = paths.read3(leaving, i, X), paths.read3(leaving, i, D)
        to_after = paths.read3(leaving, i, B)
        out = leaves_as(event, d, n, ior)
        if event == paths.SCATTERED:
            out = surface.unit(paths.vertex(mask, t, wholes, reals, following) - x)
        elif event == paths.PASSED:
            goes, after = 2, paths.read3(reals, slot, paths.THROUGHPUT)
    return goes, out, scale, after, to_x, to_out, to_after


@ti.func
def connection(
    mask: ti.template(), sensors: ti.template(), film: ti.template(), table: ti.template(), view, width, height, x, d,
    n, face, kind, p: ti.template(), beta, factor, key, level, grad: ti.template(),
):  # fmt: skip
    """A vertex' connection: (direction, what it brings is more than f cos, what it brings, what the picture wants of
    that, the derivatives of this by the film point, lens numbers)."""
    fx, fy, importance, toward, _distance, u3, u4, _pick = look(
        sensors, film, table, view, width, height, x, rng.mix(key, CONNECTION + view), level
    )
    s1, s2 = surface.frame(n)
    wi, wo = surface.to_local(s1, s2, n, -d), surface.to_local(s1, s2, n, toward)
    f, _density = bsdf.evaluate(mask, kind, p, wi, wo, False)
    scale = factor * importance
    after = beta * f * (scale * paths.arriving(d, n, face) * paths.leaving(toward, n, face))
    g, by_x, by_y = film_gradient(film, grad, view * width * height, width, height, fx, fy)
    return toward, scale, after, g, by_x, by_y, u3, u4


@ti.func
def bounce_adjoint(
    mask: ti.template(), event, connected, kind, p: ti.template(), d, n, face, out, scale, beta, after, to_out, to_after
):
    """From the gradients of a ray that leaves, or of a connection, to (p, d, n, face normal, arriving throughput); and
    that of a connection's direction, from all that it goes into."""
    s1, s2 = surface.frame(n)
    wi, wo = surface.to_local(s1, s2, n, -d), surface.to_local(s1, s2, n, out)
    whole, correction = to_after.dot(after), paths.arriving(d, n, face) * paths.leaving(out, n, face)
    to_d, by_n, by_face = paths.arriving_adjoint(d, n, face, whole)
    by_out, other_face, other_n = paths.arriving_adjoint(out, face, n, whole)
    to_n, to_face, to_way = by_n + other_n, by_face + other_face, to_out + by_out
    g, to_wi, to_p = to_after * beta * (scale * correction), 0.0 * d, ti.Vector.zero(float, PARAMS)
    if connected == 1 or event == paths.SCATTERED:
        by_p, by_wi, by_wo = bsdf.evaluate_adjoint(mask, kind, p, wi, wo, g, False)
        to_p, to_wi = by_p, by_wi
        if connected == 1:
            to_way += surface.to_world(s1, s2, n, by_wo)
            to_n += turn_adjoint(n, by_wo, out)
        else:
            to_n += turn_adjoint(n, wo, to_way)
    elif ti.static(mask & paths.DELTA):
        by_p, by_wi = bsdf.weight_adjoint(mask, kind, p, wi, wo, g, False)
        to_p, to_wi = by_p, by_wi
        more_d, more_n, more_ior = turns_adjoint(event, d, n, p[ETA], to_way)
        to_d += more_d
        to_n += more_n
        to_p[ETA] += more_ior
    to_n += turn_adjoint(n, to_wi, -d)
    to_d -= surface.to_world(s1, s2, n, to_wi)
    return to_p, to_d, to_n, to_face, to_after * ratio(after, beta), to_way


@ti.func
def arrival_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, row, triangle, u, v, uv,
    e1, e2, turned, origin, d, to_x, to_d, to_n, to_face, to_uv, to_color,
):  # fmt: skip
    """From a vertex to the mesh, and to (origin, direction) of the ray d that arrives there."""
    to_bary, by_uv = frame_adjoint(mask, atomic, t, parts, copy, row, triangle, u, v, uv, e1, e2, turned, to_n, to_face)
    to_bary += paint(mask, t, parts, copy, triangle, u, v, to_uv + by_uv, to_color, atomic)
    p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
    to_origin, along, to_0, to_1, to_2 = specular.intersect_adjoint(
        origin, d, p0, p1, p2, to_x, 0.0, to_bary.x, to_bary.y
    )
    scatter_corners(t, parts, copy, triangle, ti.Matrix.rows([to_0, to_1, to_2]), atomic)
    return to_origin, to_d + along


@ti.func
def put(arriving: ti.template(), i, view, to_x, to_d, to_b):
    """Write the state of the ray that arrives, or add to it what a connection makes of it."""
    x, d, b = to_x, to_d, to_b
    if view >= 0:
        x += paths.read3(arriving, i, X)
        d += paths.read3(arriving, i, D)
        b += paths.read3(arriving, i, B)
    paths.write3(arriving, i, X, x)
    paths.write3(arriving, i, D, d)
    paths.write3(arriving, i, B, b)


@ti.func
def step(
    mask: ti.template(), sensors: ti.template(), film: ti.template(), atomic: ti.template(), t: ti.template(),
    parts: ti.template(), copy, key, level, stride, i, view, last, width, height, factor, copies,
    table: ti.template(), wholes: ti.template(), reals: ti.template(), origins: ti.template(), grad: ti.template(),
    leaving: ti.template(), arriving: ti.template(), seen: ti.template(), crossed: ti.template(),
    to_table: ti.template(),
):  # fmt: skip
    """The ray that leaves vertex `level` of path i (view -1), or its connection with a view."""
    slot, first_row, zero = level * stride + i, copy * t.values.shape[0], ti.Vector([0.0, 0.0, 0.0])
    triangle, mark = wholes[slot, paths.TRIANGLE], wholes[slot, paths.MARK]
    event, u, v = mark & paths.EVENT, reals[slot, paths.U], reals[slot, paths.V]
    beta = paths.read3(reals, slot, paths.THROUGHPUT)
    origin = paths.before(mask, t, wholes, reals, origins, level, stride, i)
    x, e1, e2 = paths.place(t, triangle, u, v)
    d = surface.unit(x - origin)
    uv, color = hit.textured(mask, t, triangle, u, v)
    row, slope, kind, p = paths.material_of(
        mask, t, triangle, uv, color, rng.draw(key, DIMENSIONS * (1 + level) + BLEND)
    )
    n, outward, turned = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
    face = surface.unit(outward)
    goes, out, scale, after, to_x, to_out, to_after = onwards(
        mask, t, slot, stride, i, ti.select(view < 0, last, 1), event, x, d, n, p[ETA], wholes, reals, leaving
    )
    u3, u4, by_x, by_y = 0.0, 0.0, zero, zero
    if view >= 0 and event != paths.PASSED:
        if seen[i, SHARE] > 0.0:
            goes = 1
            out, scale, after, to_after, by_x, by_y, u3, u4 = connection(
                mask, sensors, film, table, view, width, height, x, d, n, face, kind, p, beta, factor * seen[i, SHARE],
                key, level, grad,
            )  # fmt: skip
    to_d, to_b, to_n, to_face, to_uv, to_color = to_out, to_after, zero, zero, ti.Vector([0.0, 0.0]), zero
    whole = to_after.dot(after)
    if goes == 1:
        to_p, to_d, to_n, to_face, to_b, to_way = bounce_adjoint(
            mask, event, ti.cast(view >= 0, ti.i32), kind, p, d, n, face, out, scale, beta, after, to_out, to_after
        )
        if view >= 0:
            to_x, to_row = sensor.connect_adjoint(
                sensors, table, view, x, u3, u4, by_x.dot(after), by_y.dot(after), whole, to_way
            )
            held = (i % copies if ti.static(atomic) else copy) * table.shape[0] + view
            sensor.add_row(to_table, held * sensor.COLUMNS, to_row, atomic)
            see_through(mask, atomic, t, parts, copy, i, seen, crossed, whole)
        to_uv, to_color = materials.scatter(mask, row, uv, color, 0.0, t, to_p, parts.values, first_row, atomic)
        if ti.static(mask >> materials.BLENDS & 1):
            to_uv += materials.weight_scatter(
                mask, t.faces[triangle, 9], uv, 0.0, t, slope * whole, parts.values, first_row, atomic
            )
    if goes > 0:
        to_uv += opacity_adjoint(mask, atomic, t, parts, first_row, event, triangle, uv, whole)
        to_x, to_d = arrival_adjoint(
            mask, atomic, t, parts, copy, row, triangle, u, v, uv, e1, e2, turned, origin, d, to_x, to_d, to_n, to_face,
            to_uv, to_color,
        )  # fmt: skip
    put(arriving, i, view, to_x, to_d, to_b)


@large
@ti.kernel
def sweep(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(),
    atomic: ti.template(), block: ti.template(), chunks: ti.i32, level: ti.i32, view: ti.i32, width: ti.i32,
    height: ti.i32, particles: ti.i32, number: ti.i32, seed: ti.i32, factor: float, copies: ti.i32, table: A2,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2,
    values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2, alias: A1, wholes: A2I, reals: A2, counts: A1I,
    origins: A2, grad: A2, leaving: A2, arriving: A2, seen: A2, crossed: A2I, to_values: A1,
    to_positions: A1, to_normals: A1, to_uvs: A1,
    to_colors: A1, to_table: A1,
):  # fmt: skip
    """`step` of every path that has the vertex; grad [views * height * width, 3] is the picture's."""
    task = ti.static(1 if atomic else TASK)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        copy = ticket // task
        if ticket % task != 0:
            continue
        t = ti.static(
            Tables(
                faces, faces, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias,
            )
        )  # fmt: skip
        none = ti.static(None)
        parts = ti.static(Parts(to_values, none, none, to_positions, to_normals, to_uvs, to_colors))
        if ti.static(atomic):
            if level < counts[copy]:
                last = ti.cast(level == counts[copy] - 1, ti.i32)
                step(
                    mask, sensors, film, True, t, parts, 0, key_of(seed, copy, number), level, particles, copy, view,
                    last, width, height, factor, copies, table, wholes, reals, origins, grad, leaving, arriving,
                    seen, crossed, to_table,
                )  # fmt: skip
        else:
            for i in range(copy * particles // chunks, (copy + 1) * particles // chunks):
                if level < counts[i]:
                    last = ti.cast(level == counts[i] - 1, ti.i32)
                    step(
                        mask, sensors, film, False, t, parts, copy, key_of(seed, i, number), level, particles, i, view,
                        last, width, height, factor, copies, table, wholes, reals, origins, grad, leaving, arriving,
                        seen, crossed, to_table,
                    )  # fmt: skip


@ti.func
def seen_light(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(),
    atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, view, width, height, i, particles, number,
    seed, factor, copies, table: ti.template(), grad: ti.template(), seen: ti.template(),
    crossed: ti.template(), to_table: ti.template(),
):  # fmt: skip
    """The connection of a place on a light with a view."""
    key = key_of(seed, i, number)
    triangle, b1, b2, x, cross, part_of, glow = light_start(mask, light_kinds, t, i, particles, number, seed)
    if triangle >= 0 and seen[i, SHARE] > 0.0:
        aside = rng.mix(key, CONNECTION + view)
        fx, fy, importance, toward, _distance, u3, u4, _pick = look(
            sensors, film, table, view, width, height, x, aside, -1
        )
        facing = cross.dot(toward)
        scale = part_of * facing * factor * importance * seen[i, SHARE]
        g, by_x, by_y = film_gradient(film, grad, view * width * height, width, height, fx, fy)
        value, whole = scale * glow, scale * g.dot(glow)
        to_x, to_row = sensor.connect_adjoint(
            sensors, table, view, x, u3, u4, by_x.dot(value), by_y.dot(value), whole, whole / facing * cross
        )
        held = (i % copies if ti.static(atomic) else copy) * table.shape[0] + view
        sensor.add_row(to_table, held * sensor.COLUMNS, to_row, atomic)
        see_through(mask, atomic, t, parts, copy, i, seen, crossed, whole)
        p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
        to_corners = point_adjoint(b1, b2, to_x) + cross_adjoint(p0, p1, p2, whole / facing * toward)
        scatter_corners(t, parts, copy, triangle, to_corners, atomic)
        shining_adjoint(mask, atomic, t, parts, copy, triangle, b1, b2, scale * g)


@large
@ti.kernel
def seen_lights(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(),
    atomic: ti.template(), block: ti.template(), chunks: ti.i32, view: ti.i32, width: ti.i32, height: ti.i32,
    particles: ti.i32, number: ti.i32, seed: ti.i32, factor: float, copies: ti.i32, table: A2,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, grad: A2, seen: A2, crossed: A2I, to_values: A1,
    to_positions: A1, to_uvs: A1,
    to_colors: A1, to_table: A1,
):  # fmt: skip
    """The lights' own connections with a view: to emission, places and the sensor."""
    task = ti.static(1 if atomic else TASK)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        copy = ticket // task
        if ticket % task != 0:
            continue
        t = ti.static(
            Tables(
                faces, faces, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias,
            )
        )  # fmt: skip
        none = ti.static(None)
        parts = ti.static(Parts(to_values, none, none, to_positions, none, to_uvs, to_colors))
        if ti.static(atomic):
            seen_light(
                mask, light_kinds, sensors, film, True, t, parts, 0, view, width, height, copy, particles, number, seed,
                factor, copies, table, grad, seen, crossed, to_table,
            )  # fmt: skip
        else:
            for i in range(copy * particles // chunks, (copy + 1) * particles // chunks):
                seen_light(
                    mask, light_kinds, sensors, film, False, t, parts, copy, view, width, height, i, particles, number,
                    seed, factor, copies, table, grad, seen, crossed, to_table,
                )  # fmt: skip
