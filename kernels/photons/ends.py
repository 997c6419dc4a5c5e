"""Gradients at the ends of paths: at eye points and the sky, where sweep.py begins, and where it arrives, at lights and
cameras.
"""

import taichi as ti

from .. import bvh, rng
from ..accumulate import TASK, load3
from ..compiling import large
from ..path.vertex import BLEND, DIMENSIONS, FAR, FLIGHT, HEED, LENS, NEARLY
from ..transport import bsdf, emission, hit, lights, materials, medium, sensor, shading_normal, surface
from ..transport.lamp import shining, shining_adjoint
from ..transport.light_shapes import cross_adjoint, turn_adjoint
from ..transport.mesh_adjoint import Parts, paint, scatter_corners
from ..transport.slots import PARAMS, PHASE
from ..transport.tables import Tables
from . import paths
from .aim import begin
from .eye import SHARE, film_point, light_numbers
from .sweep import BARY, STATE, B, D, G, N, X, passage_adjoint

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)


@ti.kernel
def weigh(first: ti.i32, places: ti.i32, factor: float, grad: A2, seen: A2, to_radiance: A2):
    """to_radiance [Q, 3]: gradient of what photons make of every query, for the gradient `grad` of the picture."""
    for q in range(places):
        paths.write3(to_radiance, q, 0, factor * load3(grad, first + q) * paths.read3(seen, q, SHARE))


@ti.kernel
def seed_states(
    first: ti.i32, places: ti.i32, factor: float, grad: A2, radii: A1, radiance: A2, to_points: A2, to_normals: A2,
    to_eyes: A2, counts: A1I, reals: A2, state: A2,
):  # fmt: skip
    """state [Q, STATE] at the paths' last vertices, as far as photons have a part in it."""
    for q in range(places):
        for k in ti.static(range(STATE)):
            state[q, k] = 0.0
        g = factor * load3(grad, first + q)
        paths.write3(state, q, G, g)
        if radii[q] > 0.0:
            scale = reals[(counts[q] - 1) * places + q, paths.SCALE]
            paths.write3(state, q, X, load3(to_points, q))
            paths.write3(state, q, D, -load3(to_eyes, q))
            paths.write3(state, q, B, scale * g * load3(radiance, q))
            paths.write3(state, q, N, load3(to_normals, q))


@ti.func
def sky_adjoint(
    mask: ti.template(), light_kinds: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(),
    copy, key, level, stride, q, wholes: ti.template(), reals: ti.template(), origins: ti.template(),
    state: ti.template(),
):  # fmt: skip
    """To the light from afar that a path found behind vertex `level`, and to the path's state."""
    slot = (level + 1) * stride + q
    d, beta, g = paths.read3(reals, slot, paths.EXIT), paths.arrived(mask, True, reals, slot), paths.read3(state, q, G)
    first_light, first_texel = copy * t.light_values.shape[0] * lights.VALUES, copy * t.texels.shape[0]
    to_d = lights.environment_radiance_adjoint(
        light_kinds, t, d, 1, g * beta, parts.light_values, first_light, parts.texels, first_texel, atomic
    )
    to_b = g * lights.environment_radiance(light_kinds, t, d, 1)
    if ti.static(mask >> PHASE & 1):
        o = paths.before(mask, t, wholes, reals, origins, level + 1, stride, q)
        heard = rng.mix(key, DIMENSIONS * (2 + level) + HEED)
        passage_adjoint(mask, atomic, t, parts, copy, o, d, FAR, to_b.dot(beta), heard)
        to_b *= reals[slot, paths.LEAN]
    paths.write3(state, q, D, to_d)
    paths.write3(state, q, B, to_b)


@ti.func
def light_adjoint(
    mask: ti.template(), light_kinds: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(),
    copy, kind, p: ti.template(), x, n, cross, d, u1, u2, u3, shade, heard, weight,
):  # fmt: skip
    """To a light that shines on an eye point, for the gradient of the radiance that this makes, which is `weight`.

    shade, heard: keys of what media leave of it, and of where they are asked.

    Returns the gradients of (p, x, n, normal of the face, arriving direction d), and the radiance by 1 / chance.
    """
    first_light, first_texel = copy * t.light_values.shape[0] * lights.VALUES, copy * t.texels.shape[0]
    to_p, to_x, to_n, to_d, seen = ti.Vector.zero(float, PARAMS), 0.0 * x, 0.0 * x, 0.0 * x, 0.0 * x
    to_cross = 0.0 * x
    s1, s2 = surface.frame(n)
    wi = surface.to_local(s1, s2, n, -d)
    entry, _kind, other, b1, b2, way, far, value, chance, _sharp = lights.sample(light_kinds, t, x, u1, u2, u3)
    wo = surface.to_local(s1, s2, n, way)
    if chance > 0.0 and wo.z * cross.dot(way) > 0.0 and value.max() > 0.0:
        near = bvh.offset_origin(x, cross, way)
        if bvh.any_hit(near, way, far * NEARLY, t.nodes, t.leaves) == 0:
            above = shading_normal.horizon(n, cross, way)
            f, _density = bsdf.evaluate(mask, kind, p, wi, wo, True)
            f *= above
            g, glow, through = weight / chance, shining(mask, t, other, b1, b2), 1.0
            if ti.static(mask >> PHASE & 1):
                through, _met, _far = medium.travel(mask, t, near, way, far * NEARLY, 1, shade)
                g *= through
                whole = g.dot(glow * f * value)
                passage_adjoint(mask, atomic, t, parts, copy, near, way, far * NEARLY, whole, heard)
            shining_adjoint(mask, atomic, t, parts, copy, other, b1, b2, g * f)
            by_p, to_wi, to_wo = bsdf.evaluate_adjoint(mask, kind, p, wi, wo, above * g * glow * value, True)
            by_n, by_cross, by_way = shading_normal.horizon_adjoint(n, cross, way, (g * glow * value).dot(f))
            to_p, seen = by_p, through * glow * f * value / chance
            to_n, to_cross = by_n + turn_adjoint(n, to_wi, -d) + turn_adjoint(n, to_wo, way), by_cross
            to_d = -surface.to_world(s1, s2, n, to_wi)
            by_x, to_corners = lights.sample_adjoint(
                light_kinds, t, x, entry, b1, b2, way, g * glow * f, by_way + surface.to_world(s1, s2, n, to_wo),
                parts.light_values, first_light, parts.texels, first_texel, atomic,
            )  # fmt: skip
            to_x = by_x
            if other >= 0:
                scatter_corners(t, parts, copy, other, to_corners, atomic)
    return to_p, to_x, to_n, to_cross, to_d, seen


@ti.func
def eye_adjoint(
    mask: ti.template(), light_kinds: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(),
    copy, key, haze, u1, u2, u3, level, stride, q, wholes: ti.template(), reals: ti.template(), origins: ti.template(),
    state: ti.template(), to_params: ti.template(),
):  # fmt: skip
    """To material and lights at an eye point, and to the path's state."""
    slot = level * stride + q
    triangle, u, v = wholes[slot, paths.TRIANGLE], reals[slot, paths.U], reals[slot, paths.V]
    uv, color = hit.textured(mask, t, triangle, u, v)
    x, e1, e2 = paths.place(t, triangle, u, v)
    d = surface.unit(x - paths.before(mask, t, wholes, reals, origins, level, stride, q))
    row, _slope, kind, p = paths.material_of(
        mask, t, triangle, uv, color, rng.draw(key, DIMENSIONS * (1 + level) + BLEND)
    )
    own, cross, turned = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
    n = shading_normal.leaning(own, -d, cross)
    g, base = paths.read3(state, q, G) * reals[slot, paths.SCALE], DIMENSIONS * (1 + level)
    to_p, to_x, to_n, to_cross, to_d, seen = light_adjoint(
        mask, light_kinds, atomic, t, parts, copy, kind, p, x, n, cross, d, u1, u2, u3,
        rng.mix(haze, base + FLIGHT + 1), rng.mix(haze, base + HEED + 1), g * paths.arrived(mask, True, reals, slot),
    )  # fmt: skip
    scatter_corners(t, parts, copy, triangle, cross_adjoint(0.0 * e1, e1, e2, turned * to_cross), atomic)
    to_p += ti.Vector([to_params[q, c] for c in ti.static(range(PARAMS))])
    to_uv, to_color = materials.scatter(
        mask, row, uv, color, 0.0, t, to_p, parts.values, copy * t.values.shape[0], atomic
    )
    to_bary = paint(mask, t, parts, copy, triangle, u, v, to_uv, to_color, atomic)
    paths.write3(state, q, X, paths.read3(state, q, X) + to_x)
    paths.write3(state, q, D, paths.read3(state, q, D) + to_d)
    paths.write3(state, q, B, paths.read3(state, q, B) + g * seen)
    paths.write3(state, q, N, paths.read3(state, q, N) + to_n)
    state[q, BARY] = to_bary.x
    state[q, BARY + 1] = to_bary.y


@ti.func
def end_adjoint(
    mask: ti.template(), light_kinds: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(),
    copy, seed, first, number, turn, stride, q, wholes: ti.template(), reals: ti.template(), counts: ti.template(),
    origins: ti.template(), state: ti.template(), to_params: ti.template(),
):  # fmt: skip
    """What of these two there is at the end of path q."""
    level, left, seen = counts[q] - 1, 1, 0
    if level >= 0:
        left = wholes[level * stride + q, paths.MARK] >> paths.LEFT & 1
        seen = ti.cast(wholes[level * stride + q, paths.ROW] == 0, ti.i32)
    key, haze = rng.key(seed, first + q, number), rng.key(seed, first + q, turn)
    if left == 1:
        sky_adjoint(mask, light_kinds, atomic, t, parts, copy, haze, level, stride, q, wholes, reals, origins, state)
    elif seen == 1:
        u1, u2, u3 = light_numbers(seed, first + q, turn, 0)
        eye_adjoint(
            mask, light_kinds, atomic, t, parts, copy, key, haze, u1, u2, u3, level, stride, q, wholes, reals, origins,
            state, to_params,
        )  # fmt: skip


@large
@ti.kernel
def ends(
    mask: ti.template(), light_kinds: ti.template(), atomic: ti.template(), block: ti.template(), chunks: ti.i32,
    places: ti.i32, first: ti.i32, number: ti.i32, turn: ti.i32, seed: ti.i32, nodes: A1, leaves: A1I, faces: A2,
    positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, media: A2, media_places: A2, media_values: A2, wholes: A2I,
    reals: A2, counts: A1I, origins: A2, state: A2, to_params: A2, to_values: A1, to_light_values: A1, to_texels: A1,
    to_corners: A1, to_normals: A1, to_uvs: A1, to_colors: A1, to_media: A1,
):  # fmt: skip
    """Fills the states [places, STATE] of camera paths at their last vertices."""
    task = ti.static(1 if atomic else TASK)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        copy = ticket // task
        if ticket % task != 0:
            continue
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        parts = ti.static(
            Parts(to_values, to_light_values, to_texels, to_corners, to_normals, to_uvs, to_colors, to_media)
        )
        if ti.static(atomic):
            end_adjoint(
                mask, light_kinds, True, t, parts, 0, seed, first, number, turn, places, copy, wholes, reals, counts,
                origins, state, to_params,
            )  # fmt: skip
        else:
            for q in range(copy * places // chunks, (copy + 1) * places // chunks):
                end_adjoint(
                    mask, light_kinds, False, t, parts, copy, seed, first, number, turn, places, q, wholes, reals,
                    counts, origins, state, to_params,
                )  # fmt: skip


@ti.func
def start_adjoint(
    mask: ti.template(), light_kinds: ti.template(), aims: ti.template(), atomic: ti.template(), t: ti.template(),
    parts: ti.template(), spheres: ti.template(), copy, i, photons, aimed, number, seed, state: ti.template(),
):  # fmt: skip
    """From the state of a photon where it starts to the light."""
    first_light, first_texel = copy * t.light_values.shape[0] * lights.VALUES, copy * t.texels.shape[0]
    entry, triangle, b1, b2, position, direction, weight, factor, glow, _is_aimed = begin(
        mask, light_kinds, aims, t, spheres, i, photons, aimed, number, seed
    )
    g = paths.read3(state, i, B) * factor
    to_corners = emission.emit_adjoint(
        light_kinds, t, entry, b1, b2, position, direction, paths.read3(state, i, X), paths.read3(state, i, D),
        g * glow, parts.light_values, first_light, parts.texels, first_texel, atomic,
    )  # fmt: skip
    if ti.static(light_kinds >> lights.TRIANGLE & 1):
        if triangle >= 0:
            shining_adjoint(mask, atomic, t, parts, copy, triangle, b1, b2, g * weight)
            scatter_corners(t, parts, copy, triangle, to_corners, atomic)


@large
@ti.kernel
def starts(
    mask: ti.template(), light_kinds: ti.template(), aims: ti.template(), atomic: ti.template(), block: ti.template(),
    chunks: ti.i32, photons: ti.i32, aimed: ti.i32, number: ti.i32, seed: ti.i32, spheres: A2, faces: A2,
    positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, counts: A1I, state: A2, to_values: A1, to_light_values: A1,
    to_texels: A1,
    to_corners: A1, to_normals: A1, to_uvs: A1, to_colors: A1,
):  # fmt: skip
    """From the photons' states to the lights."""
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
        parts = ti.static(Parts(to_values, to_light_values, to_texels, to_corners, to_normals, to_uvs, to_colors))
        if ti.static(atomic):
            if counts[copy] > 0:
                start_adjoint(
                    mask, light_kinds, aims, True, t, parts, spheres, 0, copy, photons, aimed, number, seed, state
                )
        else:
            for i in range(copy * photons // chunks, (copy + 1) * photons // chunks):
                if counts[i] > 0:
                    start_adjoint(
                        mask, light_kinds, aims, False, t, parts, spheres, copy, i, photons, aimed, number, seed, state
                    )


@ti.func
def camera_adjoint(
    sensors: ti.template(), film: ti.template(), atomic: ti.template(), copy, q, first, number, seed, width, height,
    table: ti.template(), state: ti.template(), to_table: ti.template(),
):  # fmt: skip
    """From the state of a camera path where it starts to the sensor."""
    key = rng.key(seed, first + q, number)
    view, x, y = film_point(film, seed, first + q, number, width, height)
    found = sensor.primary_ray_adjoint(
        sensors, table, view, x, y, rng.draw(key, LENS), rng.draw(key, LENS + 1), paths.read3(state, q, X),
        paths.read3(state, q, D), 0.0, paths.read3(state, q, B).sum(),
    )  # fmt: skip
    sensor.add_row(to_table, (copy * table.shape[0] + view) * sensor.COLUMNS, found, atomic)


@ti.kernel
def cameras(
    sensors: ti.template(), film: ti.template(), atomic: ti.template(), block: ti.template(), chunks: ti.i32,
    copies: ti.i32, first: ti.i32, places: ti.i32, number: ti.i32, seed: ti.i32, width: ti.i32, height: ti.i32,
    table: A2, state: A2, to_table: A1,
):  # fmt: skip
    """From the states of camera paths where they start to the sensors."""
    task = ti.static(1 if atomic else TASK)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        chunk = ticket // task
        if ticket % task != 0:
            continue
        if ti.static(atomic):
            camera_adjoint(
                sensors, film, True, chunk % copies, chunk, first, number, seed, width, height, table, state, to_table
            )
        else:
            for q in range(chunk * places // chunks, (chunk + 1) * places // chunks):
                camera_adjoint(
                    sensors, film, False, chunk, q, first, number, seed, width, height, table, state, to_table
                )
