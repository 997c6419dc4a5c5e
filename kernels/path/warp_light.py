"""Warped-area sampling of the direct light at the first vertex of every path: shadows that move, and lights half seen.

Both ways of finding light are taken, each with its weight: a light is sampled, and a direction is by the surface. Where
the path's own gradient sticks to a place on a light, V is counted from there: that is what `seen_adjoint` takes off.
"""

import taichi as ti

from .. import bvh, environment, rng
from ..accumulate import TASK, add, load3
from ..compiling import large
from ..transport import bsdf, hit, lights, materials, shading_normal, specular, surface
from ..transport.lamp import shining
from ..transport.light_shapes import cone_adjoint
from ..transport.mesh_adjoint import Parts, scatter_corners, seen_adjoint
from ..transport.sampling import PI
from ..transport.tables import Tables
from .replay_kernels import SLOPES, camera_adjoint
from .state import GEOMETRY, SENSOR
from .trace import start
from .vertex import DIMENSIONS, FAR, OPACITY, PASSES, glow, leave, look, place, power, scatterer
from .warp import direction_warp

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

RAYS = 3  # directions at a vertex that rays are shot around
LIGHTS = 8  # bit of `wants` besides replay's: gradients to suns
NEVER = 1 << 30
SALT = 0x1A55  # makes keys of other random numbers than the path's


@ti.func
def first_hit(mask: ti.template(), t: ti.template(), origin, direction, key):
    """(triangle or -1, u, v, first of the random numbers) where a path from the camera first scatters."""
    o, triangle, u, v, passes, going = origin, -1, 0.0, 0.0, 0, 1
    while going == 1:
        going = 0
        triangle, _distance, u, v = bvh.closest_hit(o, direction, FAR, t.nodes, t.leaves)
        if ti.static(mask >> materials.OPACITIES & 1):
            if triangle >= 0:
                x, e1, e2, uv, _color = place(mask, t, triangle, u, v)
                solid = materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t)
                if rng.draw(key, DIMENSIONS * (1 + passes) + OPACITY) >= solid:
                    triangle = -1
                    if passes < PASSES:
                        passes, going, o = passes + 1, 1, bvh.offset_origin(x, e1.cross(e2), direction)
    return triangle, u, v, DIMENSIONS * (1 + passes)


@ti.func
def emission_slope(mask: ti.template(), t: ti.template(), dump: ti.template(), copy, x, d, triangle, u, v, g):
    """Gradient to d of g . what shines where the ray x + s d meets a triangle. dump: written to, never read."""
    to_d = 0.0 * x
    if ti.static(mask >> materials.EMISSIONS & 1 and varied(mask)):
        uv, color = hit.textured(mask, t, triangle, u, v)
        material, first = t.faces[triangle, 9], copy * t.values.shape[0]
        whole = g.dot(materials.emission(mask, material, uv, color, 0.0, t))
        solid = materials.opacity(mask, material, uv, 0.0, t)
        to_uv = materials.opacity_scatter(mask, material, uv, 0.0, t, whole, dump, first, False)
        by_uv, to_color = materials.emission_scatter(mask, material, uv, color, 0.0, t, solid * g, dump, first, False)
        to_uv += by_uv
        by = ti.Vector([0.0, 0.0])
        if ti.static(mask >> materials.TEXTURED & (1 << materials.SLOTS) - 1):
            d1, d2 = hit.texture_edges(t, triangle)
            by += ti.Vector([to_uv.dot(d1), to_uv.dot(d2)])
        if ti.static(mask >> materials.PAINTED):
            c0 = load3(t.colors, t.faces[triangle, 0])
            by.x += to_color.dot(load3(t.colors, t.faces[triangle, 1]) - c0)
            by.y += to_color.dot(load3(t.colors, t.faces[triangle, 2]) - c0)
        p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
        _o, to_d, _0, _1, _2 = specular.intersect_adjoint(x, d, p0, p1, p2, 0.0 * x, 0.0, by.x, by.y)
    return to_d


def varied(mask: int) -> bool:
    """Whether textures or vertex colours occur in a scene."""
    return bool(mask >> materials.TEXTURED & (1 << materials.SLOTS) - 1 or mask >> materials.PAINTED)


@ti.func
def sky_slope(light_kinds: ti.template(), t: ti.template(), d, g):
    """Gradient to d of g . the environment's radiance."""
    to_d = 0.0 * d
    if ti.static(light_kinds >> lights.ENVIRONMENT & 1):
        angle = t.light_values[t.entries[lights.HEADER + t.entries[0, 1], 2], lights.ANGLE]
        to_d, _angle = environment.look_up_adjoint(d, angle, t.entries[0, 2], t.entries[0, 3], t.texels, g)
    return to_d


@ti.func
def sun_of(light_kinds: ti.template(), t: ti.template(), entry):
    """(row of light_values or -1, axis, cap) of an entry that is a sun's disc."""
    found, axis, cap = -1, ti.Vector([0.0, 0.0, 1.0]), 0.0
    if ti.static(light_kinds >> lights.SUN & 1):
        if t.entries[lights.HEADER + entry, 0] == lights.DIRECTIONAL:
            row = t.entries[lights.HEADER + entry, 2]
            cap = t.light_values[row, lights.CAP]
            if cap > 0.0:
                found, axis = row, lights.read(t, row, lights.DIRECTION)
    return found, axis, cap


@ti.func
def rim_of(axis, cap, u):
    """(a direction on the rim of a sun's disc, normal of the rim, the rim's length by the disc's area)."""
    height = 1.0 - cap
    sine = ti.sqrt(cap * (2.0 - cap))
    s, r = surface.frame(-axis)
    around = ti.cos(2.0 * PI * u) * s + ti.sin(2.0 * PI * u) * r
    return sine * around - height * axis, height * around + sine * axis, sine / cap


@ti.func
def scatter_sun(
    wants: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, sun, to_axis, to_cap
):
    if ti.static(wants & LIGHTS):
        if sun >= 0:
            slot = (copy * t.light_values.shape[0] + sun) * lights.VALUES
            for c in ti.static(range(3)):
                add(parts.light_values, slot + lights.DIRECTION + c, to_axis[c], atomic)
            add(parts.light_values, slot + lights.CAP, to_cap, atomic)


@ti.func
def from_light(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), dump: ti.template(), copy, x, way, triangle, b1,
    b2, sun, f, value, share, g,
):  # fmt: skip
    """(light [3] that a sampled light sends, the same but for f cos, gradient to its direction but for that of f)."""
    scale, slope = value * share, 0.0 * x
    if triangle >= 0:
        slope = emission_slope(mask, t, dump, copy, x, way, triangle, b1, b2, g * f * scale)
        scale *= shining(mask, t, triangle, b1, b2)
    elif sun < 0:
        slope = sky_slope(light_kinds, t, way, share * g * f)
    return f * scale, scale, slope


@ti.func
def arriving(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), dump: ti.template(), copy, x, d, met, distance,
    u, v, share, pdf, g,
):  # fmt: skip
    """As `from_light`, of what the surface's own direction d finds; share: f cos / pdf."""
    radiance, weight, slope = 0.0 * x, 1.0, 0.0 * x
    if met >= 0:
        _x, e1, e2, uv, color = place(mask, t, met, u, v)
        radiance, weight = glow(mask, t, met, uv, color, d, distance, e1.cross(e2), pdf, 0)
        radiance *= materials.opacity(mask, t.faces[met, 9], uv, 0.0, t)
        if radiance.max() > 0.0:
            slope = emission_slope(mask, t, dump, copy, x, d, met, u, v, weight * g * share)
    else:
        weight = power(pdf, lights.pdf_of_direction(light_kinds, t, d, 0))
        radiance = lights.environment_radiance(light_kinds, t, d, 0)
        slope = sky_slope(light_kinds, t, d, weight * g * share)
    return share * weight * radiance, weight / pdf * radiance, slope


@ti.func
def brought(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), dump: ti.template(), copy, which, x, n, outward,
    wi, toward, local, kind, p: ti.template(), hit_at, distance, u, v, other, b1, b2, sun, f, value, share, on_share,
    pdf, rim, g,
):  # fmt: skip
    """What a ray that ended at hit_at (-1: nowhere), u, v brings: (triangle that shines or -1, its u, v, and as
    `from_light` says)."""
    met, m1, m2, whole, scale, slope = hit_at, u, v, 0.0 * x, 0.0 * x, 0.0 * x
    if which == 1:
        whole, scale, slope = arriving(
            mask, light_kinds, t, dump, copy, x, toward, met, distance, u, v, on_share, pdf, g
        )
    elif hit_at < 0:
        met, m1, m2 = other, b1, b2
        if which == 0:
            whole, scale, slope = from_light(
                mask, light_kinds, t, dump, copy, x, toward, other, b1, b2, sun, f, value, share, g
            )
        else:
            on_rim, _pdf = bsdf.evaluate(mask, kind, p, wi, local, True)
            whole = on_rim * shading_normal.horizon(n, outward, toward) * value * share * rim
    return met, m1, m2, whole, scale, slope


@ti.func
def ray_warp(
    mask: ti.template(), atomic: ti.template(), rays, t: ti.template(), parts: ti.template(), copy,
    opposite: ti.template(), which, x, n, outward, wi, toward, local, kind, p: ti.template(), axis, cap, normal, met,
    m1, m2, whole, scale, slope, g, key, kappa, where: ti.template(), what: ti.template(), record,
):  # fmt: skip
    """What outlines do to the light that came along `toward`: (gradients of x, of the sun's axis and cap, and of the
    corners of the triangle that it came from)."""
    above, amount, spread, to_axis, to_cap = shading_normal.horizon(n, outward, toward), g.dot(whole), 0.0, 0.0 * x, 0.0
    corners, slopes = ti.Matrix.zero(float, 3, 3), slope
    _p, _wi, by_wo = bsdf.evaluate_adjoint(mask, kind, p, wi, local, above * g * scale, True)
    _n, _face, by_toward = shading_normal.horizon_adjoint(n, outward, toward, amount)
    tangent, bitangent = surface.frame(n)
    slopes += surface.to_world(tangent, bitangent, n, by_wo) + by_toward
    if which != 1:
        spread = cap
    if which == 2:
        slopes, amount = -amount * normal, 0.0
    row = record
    if ti.static(atomic):
        row += which * rays
    to_x, by_axis, by_cap = direction_warp(
        atomic, rays, t, parts, copy, opposite, x, outward, toward, slopes, amount, axis, spread,
        rng.mix(key, SALT + which), kappa, where, what, row,
    )  # fmt: skip
    if spread > 0.0:
        still_axis, still_cap = cone_adjoint(axis, cap, -toward, slopes)
        to_axis, to_cap = by_axis + still_axis, by_cap + still_cap - amount / cap
    if met >= 0:
        by_x, by_corners = seen_adjoint(t, met, m1, m2, x, -slopes, -amount)
        to_x += by_x
        corners += by_corners
    return to_x, to_axis, to_cap, corners


@ti.func
def vertex_warp(
    mask: ti.template(), light_kinds: ti.template(), wants: ti.template(), atomic: ti.template(), rays,
    t: ti.template(), parts: ti.template(), dump: ti.template(), copy, opposite: ti.template(), triangle, u, v,
    direction, g, key, base, kappa, where: ti.template(), what: ti.template(), record,
):  # fmt: skip
    """Adds what outlines do to the direct light at a vertex, of gradient g [3]; returns the gradient of its place."""
    x, e1, e2, uv, color = place(mask, t, triangle, u, v)
    _row, _slope, kind, p, n, _own, turned = scatterer(mask, t, triangle, u, v, uv, color, e1, e2, direction, key, base)
    tangent, bitangent = surface.frame(n)
    wi, outward = surface.to_local(tangent, bitangent, n, -direction), turned * e1.cross(e2)
    looking, entry, other, b1, b2, way, far, value, f, share, to_light = look(
        mask, light_kinds, t, x, outward, n, wi, kind, p, key, base
    )
    zero, one = 0.0 * x, ti.Vector([1.0, 1.0, 1.0])
    sun, axis, cap = -1, zero, 0.0
    if looking == 1:
        sun, axis, cap = sun_of(light_kinds, t, entry)
        if sun < 0 and (lights.POINT <= t.entries[lights.HEADER + entry, 0] <= lights.DIRECTIONAL):
            looking = 0
    near = bvh.offset_origin(x, outward, way)
    going, o, d, _after, on_share, pdf, delta, _eta, wo = leave(
        mask, x, outward, n, wi, kind, p, one, 1.0, 1, NEVER, 0, key, base
    )
    to_x, to_axis, to_cap, emitter = zero, zero, 0.0, -1
    first, second = ti.Matrix.zero(float, 3, 3), ti.Matrix.zero(float, 3, 3)
    for which in range(ti.static(3 if light_kinds >> lights.SUN & 1 else 2)):
        # scale: of g, what light counts beside f cos; whole: f cos times that
        wanted, start_at, toward, reach, local, rim, normal = looking, near, way, far, to_light, 0.0, zero
        if which == 1:
            wanted, start_at, toward, reach, local = going * (1 - delta), o, d, FAR, wo
        elif which == 2:
            # The disc's rim: what V carries over it is no change of the light.
            wanted = 0
            if sun >= 0:
                toward, normal, rim = rim_of(axis, cap, rng.draw(rng.mix(key, SALT - 1), base))
                start_at = bvh.offset_origin(x, outward, toward)
                local = surface.to_local(tangent, bitangent, n, toward)
                wanted = ti.cast(toward.dot(outward) > 0.0 and local.z > 0.0, ti.i32)
        if wanted == 1:
            hit_at, distance, u_met, v_met = bvh.meet(start_at, toward, reach, which != 1, t.nodes, t.leaves)
            met, m1, m2, whole, scale, slope = brought(
                mask, light_kinds, t, dump, copy, which, x, n, outward, wi, toward, local, kind, p, hit_at, distance,
                u_met, v_met, other, b1, b2, sun, f, value, share, on_share, pdf, rim, g,
            )  # fmt: skip
            if whole.max() > 0.0:
                by_x, by_axis, by_cap, corners = ray_warp(
                    mask, atomic, rays, t, parts, copy, opposite, which, x, n, outward, wi, toward, local, kind, p,
                    axis, cap, normal, met, m1, m2, whole, scale, slope, g, key, kappa, where, what, record,
                )  # fmt: skip
                to_x, to_axis, to_cap = to_x + by_x, to_axis + by_axis, to_cap + by_cap
                if which == 0:
                    first = corners
                elif met >= 0:
                    second, emitter = corners, met
    if ti.static(wants & GEOMETRY):
        if other >= 0 and looking == 1:
            scatter_corners(t, parts, copy, other, first, atomic)
        if emitter >= 0:
            scatter_corners(t, parts, copy, emitter, second, atomic)
    scatter_sun(wants, atomic, t, parts, copy, sun, to_axis, to_cap)
    return to_x


@ti.func
def sample_light(
    mask: ti.template(), light_kinds: ti.template(), wants: ti.template(), atomic: ti.template(), rays,
    t: ti.template(), parts: ti.template(), dump: ti.template(), copy, opposite: ti.template(), origin, direction, g,
    key, kappa, where: ti.template(), what: ti.template(), record,
):  # fmt: skip
    """One path; returns the gradient of its first ray (origin, direction)."""
    to_origin, to_direction = 0.0 * origin, 0.0 * origin
    triangle, u, v, base = first_hit(mask, t, origin, direction, key)
    if triangle >= 0:
        to_x = vertex_warp(
            mask, light_kinds, wants, atomic, rays, t, parts, dump, copy, opposite, triangle, u, v, direction, g, key,
            base, kappa, where, what, record,
        )  # fmt: skip
        p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
        to_origin, to_direction, to_0, to_1, to_2 = specular.intersect_adjoint(
            origin, direction, p0, p1, p2, to_x, 0.0, 0.0, 0.0
        )
        if ti.static(wants & GEOMETRY):
            scatter_corners(t, parts, copy, triangle, ti.Matrix.rows([to_0, to_1, to_2]), atomic)
    return to_origin, to_direction


@large
@ti.kernel
def warp_light(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), wants: ti.template(),
    atomic: ti.template(), block: ti.template(), rays: ti.i32, chunks: ti.i32, kappa: float, first: ti.i32,
    places: ti.i32, samples: ti.i32, width: ti.i32, height: ti.i32, seed: ti.i32,
    copies: ti.i32, table: A2, nodes: A1, leaves: A1I,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, opposite: A2I, paths: A2, grad: A2, to_light_values: A1,
    to_positions: A1, to_table: A1, dump: A1, where: A1I, what: A2,
):  # fmt: skip
    """What outlines do to the direct light at the first hits of the pixels first ..., of gradient grad [.., 3].

    paths [places * samples, 10]: what `trace` and `replay` found; gradients of first rays are added to. On a GPU
    (`atomic`) there is a chunk for each path, and where [RAYS * rays * chunks], what [.., RECORD] keep what
    `scatter_records` adds; else a copy of the accumulators and `rays` records for each chunk. dump: as large as the
    accumulator of `values` if materials vary in space.
    """
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        if ticket % task == 0:
            t = ti.static(
                Tables(
                    nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries,
                    light_values, cdf, texels, alias,
                )
            )  # fmt: skip
            none = ti.static(None)
            parts = ti.static(Parts(none, to_light_values, none, to_positions, none, none, none))
            chunk, rows = ticket // task, places * samples
            size = (rows + chunks - 1) // chunks
            copy = chunk
            if ti.static(atomic):
                size, copy = 1, 0
            record = chunk * rays * ti.static(RAYS if atomic else 1)
            for turn in range(ti.static(1) if ti.static(atomic) else size):
                index = chunk * size + turn
                if index < rows:
                    spot = first + index // samples
                    key = rng.key(seed, spot, index % samples)
                    origin, direction, weight = start(sensors, film, table, spot, width, height, key, 0)
                    to_origin, to_direction = sample_light(
                        mask, light_kinds, wants, atomic, rays, t, parts, dump, copy, opposite, origin, direction,
                        weight / samples * load3(grad, spot), key, kappa, where, what, record,
                    )  # fmt: skip
                    if ti.static(wants & SENSOR):
                        camera_adjoint(
                            sensors, film, table, to_table, copies, chunk, spot, width, height, key, 0,
                            to_origin, to_direction, 0.0, atomic,
                        )  # fmt: skip
                    if ti.static(wants & SLOPES):
                        for c in ti.static(range(3)):
                            paths[index, 4 + c] += to_origin[c]
                            paths[index, 7 + c] += to_direction[c]
