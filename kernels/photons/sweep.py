"""Gradients back along paths that were written down (paths.py), one vertex at a time, from the last to the first.

Between two vertices `state` [paths, STATE] holds the gradients of the ray that leaves the earlier one: of its origin X,
its unit direction D and its throughput B. The whole path moves: a ray's end follows its origin, its direction and the
triangle that it meets; mirrored and refracted directions follow the incoming one, the normal and the index of
refraction; scattered ones keep their place in the frame of the surface. What random choices were made does not change,
nor do their probabilities.

At a path's last vertex D is the gradient of the arriving direction, B that of the arriving throughput, and BARY and N
those of the barycentrics and of the shading normal. G is the gradient of a camera path's light.

Xing, Li, Luan and Xu 2024, "Differentiable Photon Mapping using Generalized Path Gradients"; Vicini, Speierer and Jakob
2021, "Path Replay Backpropagation".
"""

import taichi as ti

from .. import rng
from ..accumulate import TASK, load3
from ..path import hit
from ..path.mesh_adjoint import Parts, normal_adjoint, paint, scatter_corners
from ..path.vertex import BLEND, DIMENSIONS
from ..transport import bsdf, materials, specular, surface
from ..transport.light_shapes import cross_adjoint, turn_adjoint
from ..transport.slots import ETA, PARAMS
from ..transport.tables import Tables
from . import paths
from .trace import key_of

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

X, D, B, BARY, N, G, STATE = 0, 3, 6, 9, 11, 14, 17


@ti.func
def ratio(a, b):
    """a / b channel by channel; 0 where b is 0."""
    out = ti.Vector([0.0, 0.0, 0.0])
    for c in ti.static(range(3)):
        if b[c] > 0.0:
            out[c] = a[c] / b[c]
    return out


@ti.func
def before(reals: ti.template(), wholes: ti.template(), origins: ti.template(), t: ti.template(), level, stride, i):
    """Where the ray started that arrives at a vertex."""
    out = load3(origins, i)
    if level > 0:
        slot = (level - 1) * stride + i
        out, _e1, _e2 = paths.place(t, wholes[slot, paths.TRIANGLE], reals[slot, paths.U], reals[slot, paths.V])
    return out


@ti.func
def bounce_adjoint(
    mask: ti.template(), camera: ti.template(), t: ti.template(), event, kind, p: ti.template(), d, n, face, wo_world,
    scale, beta, after, to_out, to_after,
):  # fmt: skip
    """From the gradients of a ray that leaves a vertex, of its direction and of its throughput `after`.

    Returns those of (p, arriving direction d, n, face normal, arriving throughput beta).
    """
    s1, s2 = surface.frame(n)
    wi, wo = surface.to_local(s1, s2, n, -d), surface.to_local(s1, s2, n, wo_world)
    correction, to_d, to_n, to_face = 1.0, 0.0 * d, 0.0 * n, 0.0 * n
    if ti.static(not camera):
        correction = paths.arriving(d, n, face) * paths.leaving(wo_world, n, face)
        weight = to_after.dot(after)
        by_d, by_n, by_face = paths.arriving_adjoint(d, n, face, weight)
        to_d, to_n, to_face = by_d, by_n, by_face
        by_d, by_face, by_n = paths.arriving_adjoint(wo_world, face, n, weight)
        to_out += by_d
        to_n += by_n
        to_face += by_face
    g = to_after * beta * (scale * correction)
    to_p, to_wi = ti.Vector.zero(float, PARAMS), 0.0 * d
    if ti.static(not camera):
        if event == paths.SCATTERED:
            by_p, by_wi, _wo = bsdf.evaluate_adjoint(mask, kind, p, wi, wo, g, camera)
            to_p, to_wi = by_p, by_wi
            to_n += turn_adjoint(n, wo, to_out)
    if ti.static(mask & paths.DELTA):
        if event != paths.SCATTERED:
            by_p, by_wi = bsdf.weight_adjoint(mask, kind, p, wi, wo, g, camera)
            to_p, to_wi = by_p, by_wi
            if event == paths.MIRRORED:
                by_d, by_n = specular.reflect_adjoint(d, n, to_out)
                to_d += by_d
                to_n += by_n
            elif event == paths.REFRACTED:
                facing, eta, side = specular.interface(d, n, p[ETA])
                by_d, by_facing, by_eta = specular.refract_adjoint(d, facing, eta, to_out)
                by_n, by_ior = specular.interface_adjoint(p[ETA], side, by_facing, by_eta)
                to_d += by_d
                to_n += by_n
                to_p[ETA] += by_ior
            else:
                to_d += to_out
    to_n += turn_adjoint(n, to_wi, -d)
    to_d -= surface.to_world(s1, s2, n, to_wi)
    return to_p, to_d, to_n, to_face, to_after * ratio(after, beta)


@ti.func
def leaves_as(event, d, n, ior):
    """The direction in which a mirror or a clear boundary sends on the ray d."""
    out = d
    if event == paths.MIRRORED:
        out = specular.reflect(d, n)
    elif event == paths.REFRACTED:
        facing, eta, _side = specular.interface(d, n, ior)
        out, _passes = specular.refract(d, facing, eta)
    return out


@ti.func
def scatter_adjoint(
    mask: ti.template(), camera: ti.template(), t: ti.template(), slot, stride, event, kind, p: ti.template(), x, d, n,
    face, beta, wholes: ti.template(), reals: ti.template(), to_out, to_after,
):  # fmt: skip
    """`bounce_adjoint` at a vertex that the path leaves."""
    following, out = slot + stride, leaves_as(event, d, n, p[ETA])
    if event == paths.SCATTERED:
        there, _e1, _e2 = paths.place(
            t, wholes[following, paths.TRIANGLE], reals[following, paths.U], reals[following, paths.V]
        )
        out = surface.unit(there - x)
    return bounce_adjoint(
        mask, camera, t, event, kind, p, d, n, face, out, reals[slot, paths.SCALE], beta,
        paths.read3(reals, following, paths.THROUGHPUT), to_out, to_after,
    )  # fmt: skip


@ti.func
def landing_adjoint(
    slot, d, n, face, beta, wholes: ti.template(), reals: ti.template(), to_positions: ti.template(),
    to_flights: ti.template(), to_powers: ti.template(),
):  # fmt: skip
    """What a photon that landed adds to the gradients of (x, d, n, face normal, throughput)."""
    to_x, to_d, to_n, to_face, to_b = 0.0 * d, 0.0 * d, 0.0 * d, 0.0 * d, 0.0 * d
    row = wholes[slot, paths.ROW]
    if row >= 0:
        lean, to_power = reals[slot, paths.LEAN], load3(to_powers, row)
        to_d, to_n, to_face = paths.arriving_adjoint(d, n, face, lean * to_power.dot(beta))
        to_d += load3(to_flights, row)
        to_x, to_b = load3(to_positions, row), lean * to_power
    return to_x, to_d, to_n, to_face, to_b


@ti.func
def glow_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), first_row, triangle, uv, color,
    cross, d, beta, g,
):  # fmt: skip
    """What light of a surface's own adds to the gradients of (uv, vertex colour, throughput) of a camera path."""
    to_uv, to_color, to_b = ti.Vector([0.0, 0.0]), 0.0 * d, 0.0 * d
    if ti.static(mask >> materials.EMISSIONS & 1):
        if t.faces[triangle, 11] >= 0 and cross.dot(d) < 0.0:
            material = t.faces[triangle, 9]
            to_uv, to_color = materials.emission_scatter(
                mask, material, uv, color, 0.0, t, g * beta, parts.values, first_row, atomic
            )
            to_b = g * materials.emission(mask, material, uv, color, 0.0, t)
    return to_uv, to_color, to_b


@ti.func
def frame_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, row, triangle, u, v, uv,
    e1, e2, turned, to_n, to_face,
):  # fmt: skip
    """From the two normals at a vertex to the mesh; returns the gradients of (barycentrics, uv)."""
    cross = e1.cross(e2)
    to_bary, to_uv, to_e1, to_e2 = normal_adjoint(
        mask, t, parts, copy, row, triangle, u, v, uv, cross, turned * to_n, atomic
    )
    face = surface.unit(cross)
    to_cross = turned * (to_face - face * face.dot(to_face)) / ti.max(ti.sqrt(cross.dot(cross)), 1e-30)
    to_corners = ti.Matrix.rows([-to_e1 - to_e2, to_e1, to_e2]) + cross_adjoint(0.0 * e1, e1, e2, to_cross)
    scatter_corners(t, parts, copy, triangle, to_corners, atomic)
    return to_bary, to_uv


@ti.func
def opacity_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), first_row, event, triangle, uv,
    whole,
):  # fmt: skip
    """From what a path brings from a vertex on, by the chance that it was stopped there or not; returns that of uv."""
    to_uv, material = ti.Vector([0.0, 0.0]), t.faces[triangle, 9]
    if ti.static(mask >> materials.OPACITIES & 1):
        solid = materials.opacity(mask, material, uv, 0.0, t)
        share = 1.0 / ti.max(solid, 1e-6)
        if event == paths.PASSED:
            share = -1.0 / ti.max(1.0 - solid, 1e-6)
        to_uv = materials.opacity_scatter(mask, material, uv, 0.0, t, share * whole, parts.values, first_row, atomic)
    return to_uv


@ti.func
def step(
    mask: ti.template(), camera: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    key, level, stride, i, last, wholes: ti.template(), reals: ti.template(), origins: ti.template(),
    state: ti.template(), to_positions: ti.template(), to_flights: ti.template(), to_powers: ti.template(),
):  # fmt: skip
    """Take the state of path i over its vertex `level`; `last`: there is none behind."""
    slot, first_row = level * stride + i, copy * t.values.shape[0]
    triangle, mark = wholes[slot, paths.TRIANGLE], wholes[slot, paths.MARK]
    event, u, v = mark & paths.EVENT, reals[slot, paths.U], reals[slot, paths.V]
    beta, origin = paths.read3(reals, slot, paths.THROUGHPUT), before(reals, wholes, origins, t, level, stride, i)
    x, e1, e2 = paths.place(t, triangle, u, v)
    d, cross = surface.unit(x - origin), e1.cross(e2)
    uv, color = hit.textured(mask, t, triangle, u, v)
    to_x, to_d, to_b = paths.read3(state, i, X), paths.read3(state, i, D), paths.read3(state, i, B)
    to_bary, to_uv, to_color = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0]), 0.0 * d
    row, slope, kind, p = paths.material_of(
        mask, t, triangle, uv, color, rng.draw(key, DIMENSIONS * (1 + level) + BLEND)
    )
    n, outward, turned = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
    face, to_n, to_face = surface.unit(outward), 0.0 * d, 0.0 * d
    if event != paths.PASSED:
        if last == 1 and not mark >> paths.LEFT & 1:
            to_bary, to_n = ti.Vector([state[i, BARY], state[i, BARY + 1]]), paths.read3(state, i, N)
        else:
            to_p, by_d, by_n, by_face, by_beta = scatter_adjoint(
                mask, camera, t, slot, stride, event, kind, p, x, d, n, face, beta, wholes, reals, to_d, to_b
            )
            to_d, to_n, to_face, to_b = by_d, by_n, by_face, by_beta
            to_uv, to_color = materials.scatter(mask, row, uv, color, 0.0, t, to_p, parts.values, first_row, atomic)
        if ti.static(mask >> materials.BLENDS & 1):
            whole = slope * to_b.dot(beta)
            to_uv += materials.weight_scatter(
                mask, t.faces[triangle, 9], uv, 0.0, t, whole, parts.values, first_row, atomic
            )
        if ti.static(camera):
            by_uv, by_color, by_beta = glow_adjoint(
                mask, atomic, t, parts, first_row, triangle, uv, color, cross, d, beta, paths.read3(state, i, G)
            )
            to_uv, to_color, to_b = to_uv + by_uv, to_color + by_color, to_b + by_beta
    to_uv += opacity_adjoint(mask, atomic, t, parts, first_row, event, triangle, uv, to_b.dot(beta))
    if ti.static(not camera):  # photons land whatever was chosen
        by_x, by_d, by_n, by_face, by_beta = landing_adjoint(
            slot, d, n, face, beta, wholes, reals, to_positions, to_flights, to_powers
        )
        to_x, to_d, to_n, to_face, to_b = to_x + by_x, to_d + by_d, to_n + by_n, to_face + by_face, to_b + by_beta
    by_bary, by_uv = frame_adjoint(mask, atomic, t, parts, copy, row, triangle, u, v, uv, e1, e2, turned, to_n, to_face)
    to_bary, to_uv = to_bary + by_bary, to_uv + by_uv
    to_bary += paint(mask, t, parts, copy, triangle, u, v, to_uv, to_color, atomic)
    p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
    to_origin, along, to_0, to_1, to_2 = specular.intersect_adjoint(
        origin, d, p0, p1, p2, to_x, 0.0, to_bary.x, to_bary.y
    )
    scatter_corners(t, parts, copy, triangle, ti.Matrix.rows([to_0, to_1, to_2]), atomic)
    paths.write3(state, i, X, to_origin)
    paths.write3(state, i, D, to_d + along)
    paths.write3(state, i, B, to_b)


@ti.func
def path_key(camera: ti.template(), seed, first, i, number):
    """What the random numbers of a path start from."""
    key = key_of(seed, i, number)
    if ti.static(camera):
        key = rng.key(seed, first + i, number)
    return key


@ti.kernel
def sweep(
    mask: ti.template(), camera: ti.template(), atomic: ti.template(), block: ti.template(), chunks: ti.i32,
    level: ti.i32, stride: ti.i32, first: ti.i32, number: ti.i32, seed: ti.i32, faces: A2, positions: A2, normals: A2,
    uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2,
    alias: A1, wholes: A2I, reals: A2, counts: A1I, origins: A2, state: A2, to_positions: A2, to_flights: A2,
    to_powers: A2, to_values: A1, to_light_values: A1, to_texels: A1, to_corners: A1, to_normals: A1, to_uvs: A1,
    to_colors: A1,
):  # fmt: skip
    """One vertex of every path that has it. A path's random numbers are those of pixel first + i, or of photon i."""
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
            if level < counts[copy]:
                last = ti.cast(level == counts[copy] - 1, ti.i32)
                step(
                    mask, camera, True, t, parts, 0, path_key(camera, seed, first, copy, number), level, stride, copy,
                    last, wholes, reals, origins, state, to_positions, to_flights, to_powers,
                )  # fmt: skip
        else:
            for i in range(copy * stride // chunks, (copy + 1) * stride // chunks):
                if level < counts[i]:
                    last = ti.cast(level == counts[i] - 1, ti.i32)
                    step(
                        mask, camera, False, t, parts, copy, path_key(camera, seed, first, i, number), level, stride,
                        i, last, wholes, reals, origins, state, to_positions, to_flights, to_powers,
                    )  # fmt: skip
