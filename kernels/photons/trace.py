"""Photons on their way from the lights: they land wherever a surface scatters, from the second surface of a path on.

What arrives at the first surface is the lights' own, and found from there (eye.py). A photon that went straight
through what is not opaque counts from the next surface on, for such things are opaque to the search for lights. Mirrors
and clear boundaries keep no photons; media keep all that they scatter, from the first on (beams.py). A photon lands
whether or not it is let through, and whichever of a blend's materials it goes on by: paths from the camera make that
choice once more. Russian roulette goes by the change of throughput, so that photons have about equal powers. Jensen
1996; Jensen and Christensen 1998; paths.py says what is written down.
"""

import taichi as ti

from .. import bvh, rng
from ..compiling import large
from ..path.vertex import BLEND, DIMENSIONS, DIRECTION, FAR, FLIGHT, OPACITY, ROULETTE
from ..transport import bsdf, bsdf_phase, hit, materials, medium, surface
from ..transport.slots import ALBEDO, ANISOTROPY, PHASE
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


@ti.func
def scattered(t: ti.template(), inside, x, d, power, key, base):
    """(direction, throughput, 1 / density of the direction) of a photon behind a place where a medium scatters it."""
    p = medium.gather(t, inside, x)
    wo, share, pdf = bsdf_phase.phase_sample(p, rng.draw(key, base + DIRECTION), rng.draw(key, base + DIRECTION + 1))
    s1, s2 = surface.frame(-d)
    return surface.unit(surface.to_world(s1, s2, -d, wo)), power * share, 1.0 / ti.max(pdf, 1e-30)


@large
@ti.kernel
def shoot(
    mask: ti.template(), light_kinds: ti.template(), aims: ti.template(), photons: ti.i32, aimed: ti.i32,
    number: ti.i32, seed: ti.i32, max_depth: ti.i32, roulette_depth: ti.i32, spheres: A2, nodes: A1, leaves: A1I,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, media: A2, media_places: A2, media_values: A2, origins: A2,
    counts: A1I, landed: A1I, adrift: A1I, wholes: A2I, reals: A2,
):  # fmt: skip
    """The paths of one pass, in paths.py's slots; landed, adrift [photons + 1]: how many photons each path leaves on
    surfaces and in media, then 0."""
    for i in range(photons):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        key = key_of(seed, i, number)
        _entry, _triangle, _b1, _b2, o, d, weight, factor, glow, is_aimed = begin(
            mask, light_kinds, aims, t, spheres, i, photons, aimed, number, seed
        )
        power = weight * glow * factor
        paths.write3(origins, i, 0, o)
        count, stays, drifts, met, mirrors, alive = 0, 0, 0, 0, 1, 0
        if power.max() > 0.0:
            alive = 1
        while alive == 1 and count < max_depth - 1:
            alive = 0
            base, slot, inside, lands, ours = DIMENSIONS * (1 + count), count * photons + i, -1, 0, 1
            mark, turned, lean, scale, onwards = paths.PASSED, 1.0, 1.0, 1.0, power
            triangle, distance, u, v = bvh.closest_hit(o, d, FAR, t.nodes, t.leaves)
            if ti.static(mask >> PHASE & 1):
                _through, found, far = medium.travel(
                    mask, t, o, d, ti.select(triangle < 0, FAR, distance), 0, rng.mix(key, base + FLIGHT)
                )
                if found >= 0:
                    inside, distance = found, far
            if inside >= 0:
                if ti.static(aims):
                    if met == 0:
                        ours = 1 - is_aimed
                if ti.static(mask >> PHASE & 1):
                    if ours == 1:
                        o += distance * d
                        d, onwards, scale = scattered(t, inside, o, d, power, key, base)
                        triangle, mark, u, v, lean = paths.INSIDE - inside, paths.SCATTERED, o.x, o.y, o.z
                        lands, drifts = 1, drifts + 1
                        if onwards.max() > 0.0:
                            alive = 1
            elif triangle >= 0:
                uv, color = hit.textured(mask, t, triangle, u, v)
                x, e1, e2 = paths.place(t, triangle, u, v)
                row, _slope, kind, p = paths.material_of(mask, t, triangle, uv, color, rng.draw(key, base + BLEND))
                n, cross, turn = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
                face = surface.unit(cross)
                lean, turned = paths.arriving(d, n, face), turn
                if ti.static(aims):
                    if met == 0 and (paths.FOCUSING >> kind & 1) != is_aimed:
                        ours = 0
                if count > 0 and ours == 1 and paths.may_scatter(mask, t, t.faces[triangle, 9]):
                    lands, stays = 1, stays + 1
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
            if triangle != -1 and (ours == 1 or alive == 1):
                landing = (lands << paths.LANDED) | (lands * mirrors << paths.CAUSTIC)
                if mark != paths.PASSED:
                    if alive == 1 and count + 1 >= roulette_depth:
                        going = ti.min(onwards.max() / power.max(), 1.0)
                        if rng.draw(key, base + ROULETTE) < going:
                            onwards /= going
                            scale /= going
                        else:
                            alive = 0
                    if alive == 0:
                        mark = paths.ENDED
                    met += 1
                    if mark == paths.SCATTERED:
                        mirrors = 0
                mark |= landing
                if turned < 0.0:
                    mark |= 1 << paths.TURNED
                paths.note(wholes, reals, slot, triangle, mark, u, v, scale, power, lean)
                count += 1
            power = onwards
        counts[i] = count
        landed[i] = stays
        adrift[i] = drifts
        if i == 0:
            landed[photons] = 0
            adrift[photons] = 0


@ti.kernel
def land(
    inside: ti.template(), photons: ti.i32, room: ti.i32, faces: A2, positions: A2, media: A2, media_places: A2,
    media_values: A2, counts: A1I, landed: A1I, adrift: A1I, origins: A2, wholes: A2I, reals: A2, at: A2, flights: A2,
    powers: A2, normals: A2, flags: A1I, drifting: A1I,
):  # fmt: skip
    """The photons of all paths: path by path from row landed[path] on those on surfaces, and behind all of these, from
    adrift[path] more on, those in media, which have (g, 0, 0) for a normal. flags are of the first kind, drifting
    [room] of the second; each marks the other's rows, and those behind the last, as left out. inside: there are media.
    """
    for row in range(room):
        if row >= landed[photons]:
            flags[row] = LEFT_OUT
        drifting[row] = LEFT_OUT
    for i in range(photons):
        t = ti.static(Tables(faces, faces, faces, positions, *[None] * 11, media, media_places, media_values))
        row, drift = landed[i], landed[photons] + adrift[i]
        last = ti.Vector([origins[i, 0], origins[i, 1], origins[i, 2]])
        for k in range(counts[i]):
            slot = k * photons + i
            triangle, mark, own = wholes[slot, paths.TRIANGLE], wholes[slot, paths.MARK], row
            power, normal = paths.read3(reals, slot, paths.THROUGHPUT), 0.0 * last
            x = ti.Vector([reals[slot, paths.U], reals[slot, paths.V], reals[slot, paths.LEAN]])
            if triangle >= 0:
                power *= x[2]
                x, e1, e2 = paths.place(t, triangle, x[0], x[1])
                normal = surface.unit(e1.cross(e2))
                if mark >> paths.TURNED & 1:
                    normal = -normal
            elif ti.static(inside):
                p = medium.gather(t, paths.INSIDE - triangle, x)
                for c in ti.static(range(3)):
                    power[c] *= p[ALBEDO + c]
                normal[0] = p[ANISOTROPY]
                own = drift
            if mark >> paths.LANDED & 1:
                paths.write3(at, own, 0, x)
                paths.write3(flights, own, 0, surface.unit(x - last))
                paths.write3(powers, own, 0, power)
                paths.write3(normals, own, 0, normal)
                wholes[slot, paths.ROW] = own
                if triangle >= 0:
                    flags[row] = mark >> paths.CAUSTIC & 1
                    row += 1
                else:
                    drifting[drift] = 0
                    drift += 1
            last = x
