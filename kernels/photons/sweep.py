"""Gradients back along paths that were written down (paths.py), one vertex at a time, from the last to the first.

Between two vertices `state` [paths, STATE] holds the gradients of the ray that leaves the earlier one: of its origin X,
its unit direction D and its throughput B where it starts. The whole path moves: a ray's end follows its origin, its
direction and the triangle that it meets; mirrored and refracted directions follow the incoming one, the normal and the
index of refraction; scattered ones keep their place in the frame of the surface. What random choices were made does not
change, nor do their probabilities.

In a medium a photon keeps its distance from where its ray started and the angle by which it turned. What changes with
the numbers of the medium, in fixed places, is how much light goes that way: by d(density) / density where a photon was
scattered, less the length of every ray times the mean of d(density) over it, taken at one random place (Zhang, Wu,
Zheng, Gkioulekas, Ramamoorthi and Zhao 2019, "A Differential Theory of Radiative Transfer"). How much more or less of a
medium a ray passes as it moves is left out.

At a path's last vertex D is the gradient of the arriving direction, B that of the arriving throughput, and BARY and N
those of the barycentrics and of the shading normal. G is the gradient of a camera path's light.

Xing, Li, Luan and Xu 2024, "Differentiable Photon Mapping using Generalized Path Gradients"; Vicini, Speierer and Jakob
2021, "Path Replay Backpropagation".
"""

import taichi as ti

from .. import rng
from ..accumulate import TASK, load3
from ..compiling import large
from ..path.vertex import BLEND, DIMENSIONS, HEED
from ..path.vertex_adjoint import ratio
from ..transport import bsdf, bsdf_phase, hit, materials, medium, shading_normal, specular, surface
from ..transport.light_shapes import cross_adjoint, turn_adjoint
from ..transport.mesh_adjoint import Parts, normal_adjoint, paint, scatter_corners
from ..transport.slots import ALBEDO, ANISOTROPY, ETA, PARAMS, PHASE
from ..transport.tables import Tables
from . import paths
from .trace import key_of

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

X, D, B, BARY, N, G, STATE = 0, 3, 6, 9, 11, 14, 17


@ti.func
def leaves_as(event, d, n, ior):
    """The direction in which a mirror, by its shading normal alone, or a clear boundary sends on the ray d."""
    out = d
    if event == paths.MIRRORED:
        out = specular.reflect(d, n)
    elif event == paths.REFRACTED:
        facing, eta, _side = specular.interface(d, n, ior)
        out, _passes = specular.refract(d, facing, eta)
    return out


@ti.func
def turns_adjoint(event, d, n, ior, to_out):
    """To (d, n, ior) from the direction that `leaves_as` gives."""
    to_d, to_n, to_ior = to_out, 0.0 * n, 0.0
    if event == paths.MIRRORED:
        by_d, by_n = specular.reflect_adjoint(d, n, to_out)
        to_d, to_n = by_d, by_n
    elif event == paths.REFRACTED:
        facing, eta, side = specular.interface(d, n, ior)
        by_d, by_facing, by_eta = specular.refract_adjoint(d, facing, eta, to_out)
        by_n, by_ior = specular.interface_adjoint(ior, side, by_facing, by_eta)
        to_d, to_n, to_ior = by_d, by_n, by_ior
    return to_d, to_n, to_ior


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
            if ti.static(camera):
                if event == paths.MIRRORED and wo.z * face.dot(wo_world) < 0.0:  # off the face again, as in eye.py
                    by_out, by_face = specular.reflect_adjoint(wo_world, face, to_out)
                    to_out = by_out
                    to_face += by_face
            more_d, more_n, more_ior = turns_adjoint(event, d, n, p[ETA], to_out)
            to_d += more_d
            to_n += more_n
            to_p[ETA] += more_ior
    to_n += turn_adjoint(n, to_wi, -d)
    to_d -= surface.to_world(s1, s2, n, to_wi)
    return to_p, to_d, to_n, to_face, to_after * ratio(after, beta)


@ti.func
def scatter_adjoint(
    mask: ti.template(), camera: ti.template(), t: ti.template(), slot, stride, event, kind, p: ti.template(), x, d, n,
    face, beta, wholes: ti.template(), reals: ti.template(), to_out, to_after,
):  # fmt: skip
    """`bounce_adjoint` at a vertex that the path leaves."""
    following, out = slot + stride, leaves_as(event, d, n, p[ETA])
    if event == paths.SCATTERED:
        out = surface.unit(paths.vertex(mask, t, wholes, reals, following) - x)
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
def passage_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, o, d, reach, whole, key
):
    """To the densities on a ray, for the gradient `whole` of the logarithm of what they let through."""
    if ti.static(mask >> medium.LEARNS & 1):
        which, at, length = medium.spot(t, o, d, reach, key)
        if which >= 0:
            first = copy * t.media_values.shape[0]
            medium.density_scatter(mask, t, parts.media, first, which, o + at * d, -length * whole, atomic)


@ti.func
def drift_step(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, slot, stride, last,
    origin, wholes: ti.template(), reals: ti.template(), to_x, to_d, to_b, to_positions: ti.template(),
    to_flights: ti.template(), to_powers: ti.template(), to_g: ti.template(),
):  # fmt: skip
    """Over a vertex in a medium: the gradients of (origin, direction, throughput) of the ray that arrives."""
    which, event = paths.INSIDE - wholes[slot, paths.TRIANGLE], wholes[slot, paths.MARK] & paths.EVENT
    x = ti.Vector([reals[slot, paths.U], reals[slot, paths.V], reals[slot, paths.LEAN]])
    beta, d, p = paths.read3(reals, slot, paths.THROUGHPUT), surface.unit(x - origin), medium.gather(t, which, x)
    to_p, by_d, by_b = ti.Vector.zero(float, PARAMS), 0.0 * d, 0.0 * d
    if event == paths.SCATTERED and last == 0:
        following = slot + stride
        s1, s2 = surface.frame(-d)
        out = surface.unit(paths.vertex(mask, t, wholes, reals, following) - x)
        wo = surface.to_local(s1, s2, -d, out)
        g = to_b * beta * reals[slot, paths.SCALE]
        _wi, _wo = bsdf_phase.phase_adjoint(p, ti.Vector([0.0, 0.0, 1.0]), wo, g, to_p)
        by_d = -turn_adjoint(-d, wo, to_d)
        by_b = to_b * ratio(paths.read3(reals, following, paths.THROUGHPUT), beta)
    row = wholes[slot, paths.ROW]
    if row >= 0:
        to_power = load3(to_powers, row)
        for c in ti.static(range(3)):
            to_p[ALBEDO + c] += to_power[c] * beta[c]
            by_b[c] += to_power[c] * p[ALBEDO + c]
        to_p[ANISOTROPY] += to_g[row, 0]
        by_d += load3(to_flights, row)
        to_x += load3(to_positions, row)
    if ti.static(mask >> medium.LEARNS & 1):
        first = copy * t.media_values.shape[0]
        medium.scatter(t, parts.media, first, which, x, to_p, atomic)
        share = by_b.dot(beta) / ti.max(medium.density(mask, t, which, x), 1e-30)
        medium.density_scatter(mask, t, parts.media, first, which, x, share, atomic)
    return to_x, by_d + (x - origin).norm() * to_x, by_b


@ti.func
def surface_step(
    mask: ti.template(), camera: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    key, level, stride, i, last, origin, wholes: ti.template(), reals: ti.template(), state: ti.template(),
    to_positions: ti.template(), to_flights: ti.template(), to_powers: ti.template(),
):  # fmt: skip
    """Over a vertex on a surface: the gradients of (origin, direction, arriving throughput) of the ray that arrives."""
    slot, first_row = level * stride + i, copy * t.values.shape[0]
    triangle, mark = wholes[slot, paths.TRIANGLE], wholes[slot, paths.MARK]
    event, u, v = mark & paths.EVENT, reals[slot, paths.U], reals[slot, paths.V]
    beta = paths.arrived(mask, camera, reals, slot)
    x, e1, e2 = paths.place(t, triangle, u, v)
    d, cross = surface.unit(x - origin), e1.cross(e2)
    uv, color = hit.textured(mask, t, triangle, u, v)
    to_x, to_d, to_b = paths.read3(state, i, X), paths.read3(state, i, D), paths.read3(state, i, B)
    to_bary, to_uv, to_color = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0]), 0.0 * d
    row, slope, kind, p = paths.material_of(
        mask, t, triangle, uv, color, rng.draw(key, DIMENSIONS * (1 + level) + BLEND)
    )
    own, outward, turned = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
    n = own
    if ti.static(camera):
        n = shading_normal.leaning(own, -d, outward)
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
    if ti.static(camera):
        by_n, by_back, by_face = shading_normal.leaning_adjoint(own, -d, face, to_n)
        to_n, to_d, to_face = by_n, to_d - by_back, to_face + by_face
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
    return to_origin, to_d + along, to_b


@ti.func
def step(
    mask: ti.template(), camera: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy,
    key, level, stride, i, last, wholes: ti.template(), reals: ti.template(), origins: ti.template(),
    state: ti.template(), to_positions: ti.template(), to_flights: ti.template(), to_powers: ti.template(),
    to_g: ti.template(),
):  # fmt: skip
    """Take the state of path i over its vertex `level`; `last`: there is none behind."""
    slot, origin = level * stride + i, paths.before(mask, t, wholes, reals, origins, level, stride, i)
    to_x, to_d, to_b = paths.read3(state, i, X), paths.read3(state, i, D), paths.read3(state, i, B)
    drifts = 0
    if ti.static(not camera and mask >> PHASE & 1):
        if wholes[slot, paths.TRIANGLE] <= paths.INSIDE:
            drifts = 1
            to_x, to_d, to_b = drift_step(
                mask, atomic, t, parts, copy, slot, stride, last, origin, wholes, reals, to_x, to_d, to_b, to_positions,
                to_flights, to_powers, to_g,
            )  # fmt: skip
    if drifts == 0:
        to_x, to_d, to_b = surface_step(
            mask, camera, atomic, t, parts, copy, key, level, stride, i, last, origin, wholes, reals, state,
            to_positions, to_flights, to_powers,
        )  # fmt: skip
    if ti.static(mask >> PHASE & 1):
        gap = paths.vertex(mask, t, wholes, reals, slot) - origin
        whole = to_b.dot(paths.arrived(mask, camera, reals, slot))
        heard = rng.mix(key, DIMENSIONS * (1 + level) + HEED)
        passage_adjoint(mask, atomic, t, parts, copy, origin, surface.unit(gap), gap.norm(), whole, heard)
        if ti.static(camera):
            to_b *= reals[slot, paths.LEAN]
    paths.write3(state, i, X, to_x)
    paths.write3(state, i, D, to_d)
    paths.write3(state, i, B, to_b)


@ti.func
def path_key(camera: ti.template(), seed, first, i, number):
    """What the random numbers of a path start from."""
    key = key_of(seed, i, number)
    if ti.static(camera):
        key = rng.key(seed, first + i, number)
    return key


@large
@ti.kernel
def sweep(
    mask: ti.template(), camera: ti.template(), atomic: ti.template(), block: ti.template(), chunks: ti.i32,
    level: ti.i32, stride: ti.i32, first: ti.i32, number: ti.i32, seed: ti.i32, faces: A2, positions: A2, normals: A2,
    uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, media: A2, media_places: A2, media_values: A2, wholes: A2I,
    reals: A2, counts: A1I, origins: A2, state: A2, to_positions: A2, to_flights: A2, to_powers: A2, to_g: A2,
    to_values: A1, to_corners: A1, to_normals: A1, to_uvs: A1, to_colors: A1, to_media: A1,
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
                faces, faces, faces, positions, normals, uvs, colors, kinds, slots, values, *[None] * 5, media,
                media_places, media_values,
            )
        )  # fmt: skip
        parts = ti.static(Parts(to_values, None, None, to_corners, to_normals, to_uvs, to_colors, to_media))
        if ti.static(atomic):
            if level < counts[copy]:
                last = ti.cast(level == counts[copy] - 1, ti.i32)
                step(
                    mask, camera, True, t, parts, 0, path_key(camera, seed, first, copy, number), level, stride, copy,
                    last, wholes, reals, origins, state, to_positions, to_flights, to_powers, to_g,
                )  # fmt: skip
        else:
            for i in range(copy * stride // chunks, (copy + 1) * stride // chunks):
                if level < counts[i]:
                    last = ti.cast(level == counts[i] - 1, ti.i32)
                    step(
                        mask, camera, False, t, parts, copy, path_key(camera, seed, first, i, number), level, stride,
                        i, last, wholes, reals, origins, state, to_positions, to_flights, to_powers, to_g,
                    )  # fmt: skip
