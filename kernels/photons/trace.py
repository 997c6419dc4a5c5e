"""Photons on their way from the lights: they land wherever a surface scatters, from the second surface of a path on.

What arrives at the first surface is the lights' own, and found from there (eye.py). A photon that went straight
through what is not opaque counts from the next surface on, for such things are opaque to the search for lights. Mirrors
and clear boundaries keep no photons. A photon lands whether or not it is let through, and whichever of a blend's
materials it goes on by: paths from the camera make that choice once more. Russian roulette goes by the change of
throughput, so that photons have about equal powers. Jensen 1996; paths.py says what is written down.
"""

import taichi as ti

from .. import bvh, rng
from ..path import hit
from ..path.vertex import BLEND, DIMENSIONS, DIRECTION, FAR, OPACITY, ROULETTE
from ..transport import bsdf, materials, surface
from ..transport.tables import Tables
from . import paths
from .aim import begin
from .grid import LEFT_OUT

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)


@ti.func
def key_of(seed, photon, number):
    """What the random numbers of a photon of pass `number` start from; camera paths have rising third numbers."""
    return rng.key(seed, photon, -1 - number)


@ti.kernel
def shoot(
    mask: ti.template(), light_kinds: ti.template(), aims: ti.template(), photons: ti.i32, aimed: ti.i32,
    number: ti.i32, seed: ti.i32, max_depth: ti.i32, roulette_depth: ti.i32, spheres: A2, nodes: A1, leaves: A1I,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, origins: A2, counts: A1I, landed: A1I, wholes: A2I, reals: A2,
):  # fmt: skip
    """The paths of one pass, in paths.py's slots; landed [photons + 1]: how many photons each path leaves, then 0."""
    for i in range(photons):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias,
            )
        )  # fmt: skip
        key = key_of(seed, i, number)
        _entry, _triangle, _b1, _b2, o, d, weight, factor, glow, is_aimed = begin(
            mask, light_kinds, aims, t, spheres, i, photons, aimed, number, seed
        )
        power = weight * glow * factor
        paths.write3(origins, i, 0, o)
        count, stays, met, mirrors, alive = 0, 0, 0, 1, 0
        if power.max() > 0.0:
            alive = 1
        while alive == 1 and count < max_depth - 1:
            alive = 0
            triangle, _distance, u, v = bvh.closest_hit(o, d, FAR, t.nodes, t.leaves)
            if triangle >= 0:
                base, slot = DIMENSIONS * (1 + count), count * photons + i
                uv, color = hit.textured(mask, t, triangle, u, v)
                x, e1, e2 = paths.place(t, triangle, u, v)
                row, _slope, kind, p = paths.material_of(mask, t, triangle, uv, color, rng.draw(key, base + BLEND))
                n, cross, turned = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
                face = surface.unit(cross)
                lean, mark, scale, onwards, ours = paths.arriving(d, n, face), paths.PASSED, 1.0, power, 1
                if ti.static(aims):
                    if met == 0 and (paths.FOCUSING >> kind & 1) != is_aimed:
                        ours = 0
                if rng.draw(key, base + OPACITY) >= materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t):
                    o, alive = bvh.offset_origin(x, cross, d), 1
                elif ours == 1:
                    s1, s2 = surface.frame(n)
                    wi = surface.to_local(s1, s2, n, -d)
                    wo, share, pdf, delta, _eta = bsdf.sample(
                        mask, kind, p, wi, rng.draw(key, base + DIRECTION), rng.draw(key, base + DIRECTION + 1),
                        rng.draw(key, base + DIRECTION + 2), False,
                    )  # fmt: skip
                    mark = paths.event_of(kind, delta, wi, wo)
                    d = surface.unit(surface.to_world(s1, s2, n, wo))
                    onwards = power * share * (lean * paths.leaving(d, n, face))
                    o = bvh.offset_origin(x, cross, d)
                    if delta == 0:
                        scale = 1.0 / ti.max(pdf, 1e-30)
                    if onwards.max() > 0.0 and wo.z * cross.dot(d) > 0.0:
                        alive = 1
                    if alive == 1 and count + 1 >= roulette_depth:
                        going = ti.min(onwards.max() / power.max(), 1.0)
                        if rng.draw(key, base + ROULETTE) < going:
                            onwards /= going
                            scale /= going
                        else:
                            alive = 0
                    if alive == 0:
                        mark = paths.ENDED
                if ours == 1 or alive == 1:
                    event = mark
                    if turned < 0.0:
                        mark |= 1 << paths.TURNED
                    if count > 0 and ours == 1 and paths.may_scatter(mask, t, t.faces[triangle, 9]):
                        mark |= (1 << paths.LANDED) | (mirrors << paths.CAUSTIC)
                        stays += 1
                    if event != paths.PASSED:
                        met += 1
                        if event == paths.SCATTERED:
                            mirrors = 0
                    paths.note(wholes, reals, slot, triangle, mark, u, v, scale, power, lean)
                    count += 1
                power = onwards
        counts[i] = count
        landed[i] = stays
        if i == 0:
            landed[photons] = 0


@ti.kernel
def land(
    photons: ti.i32, room: ti.i32, faces: A2, positions: A2, counts: A1I, starts: A1I, origins: A2, wholes: A2I,
    reals: A2, at: A2, flights: A2, powers: A2, normals: A2, flags: A1I,
):  # fmt: skip
    """The photons of all paths, path by path from row starts[path] on; rows behind the last are marked as left out."""
    for row in range(room):
        if row >= starts[photons]:
            flags[row] = LEFT_OUT
    for i in range(photons):
        row, last = starts[i], ti.Vector([origins[i, 0], origins[i, 1], origins[i, 2]])
        for k in range(counts[i]):
            slot = k * photons + i
            triangle, mark = wholes[slot, paths.TRIANGLE], wholes[slot, paths.MARK]
            p0, p1, p2 = surface.corners(faces, positions, triangle)
            x = p0 + reals[slot, paths.U] * (p1 - p0) + reals[slot, paths.V] * (p2 - p0)
            if mark >> paths.LANDED & 1:
                face = surface.unit((p1 - p0).cross(p2 - p0))
                if mark >> paths.TURNED & 1:
                    face = -face
                paths.write3(at, row, 0, x)
                paths.write3(flights, row, 0, surface.unit(x - last))
                paths.write3(powers, row, 0, reals[slot, paths.LEAN] * paths.read3(reals, slot, paths.THROUGHPUT))
                paths.write3(normals, row, 0, face)
                flags[row] = mark >> paths.CAUSTIC & 1
                wholes[slot, paths.ROW] = row
                row += 1
            last = x
