"""Paths from the camera to where photons are looked for: by mirrors and clear boundaries to the first surface that
scatters, an eye point, and there the light that comes straight from the lights.

With `gathers` (final gathering, Jensen 1996) the path goes on from there in a random direction to the next surface that
scatters, a second point; the photons of the first are then those of mirrors and lenses alone, and those of the second
stand for all other indirect light.

Media weaken what comes along a path, and what comes from the lights; what they scatter into its rays is beams.py's.
"""

import taichi as ti

from .. import bvh, rng
from ..accumulate import load3
from ..compiling import large
from ..path.vertex import BLEND, DIMENSIONS, DIRECTION, FAR, FLIGHT, LENS, NEARLY, OPACITY
from ..transport import bsdf, hit, lights, materials, medium, sensor, shading_normal, surface
from ..transport.lamp import shining
from ..transport.sampling import PI
from ..transport.slots import PARAMS, PHASE, PLASTIC
from ..transport.tables import Tables
from . import lattice, paths

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

LIGHT_SEEN, SHARE, COVERED, COLUMNS = 0, 3, 6, 7  # of `seen`


@ti.func
def film_point(film: ti.template(), seed, place, number, width, height):
    """(view, x, y) of the film point of a pixel's path of pass `number`; passes cover the pixel evenly."""
    shift, view = rng.key(seed, place, -1), place // (width * height)
    pixel = place - view * width * height
    row = pixel // width
    x, y = sensor.film_point(
        film, pixel - row * width, row, lattice.point(shift, number, 0), lattice.point(shift, number, 1)
    )
    return view, x, y


@ti.func
def light_numbers(seed, place, turn, second):
    """Three random numbers for the light at a path's first or second point; passes cover the lights evenly."""
    shift = rng.key(seed, place, -2 - second)
    return lattice.point(shift, turn, 2), lattice.point(shift, turn, 3), lattice.point(shift, turn, 4)


@ti.func
def from_lights(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), kind, p: ti.template(), x, n, cross, s1, s2, wi,
    u1, u2, u3, shade,
):  # fmt: skip
    """Radiance [3] towards wi that one light, chosen at random, makes; shade: key of what media leave of it."""
    light = ti.Vector([0.0, 0.0, 0.0])
    _entry, _kind, other, b1, b2, way, far, value, chance, _sharp = lights.sample(light_kinds, t, x, u1, u2, u3)
    if chance > 0.0:
        wo = surface.to_local(s1, s2, n, way)
        f, _density = bsdf.evaluate(mask, kind, p, wi, wo, True)
        light = f * shading_normal.horizon(n, cross, way) * value / chance
        light *= shining(mask, t, other, b1, b2)
        if light.max() > 0.0 and wo.z * cross.dot(way) > 0.0:
            near = bvh.offset_origin(x, cross, way)
            if bvh.any_hit(near, way, far * NEARLY, t.nodes, t.leaves) == 1:
                light *= 0.0
            elif ti.static(mask >> PHASE & 1):
                through, _met, _far = medium.travel(mask, t, near, way, far * NEARLY, 1, shade)
                light *= through
        else:
            light *= 0.0
    return light


@large
@ti.kernel
def look(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(),
    gathers: ti.template(), first: ti.i32, places: ti.i32, number: ti.i32, turn: ti.i32, width: ti.i32, height: ti.i32,
    seed: ti.i32, max_depth: ti.i32, table: A2, nodes: A1, leaves: A1I, faces: A2, positions: A2, normals: A2, uvs: A2,
    colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2, alias: A1,
    media: A2, media_places: A2, media_values: A2, reach: A1, origins: A2, counts: A1I, wholes: A2I, reals: A2,
    seen: A2, points: A2, shading: A2, sides: A2, eyes: A2, radii: A1, params: A2, kind_of: A1I,
):  # fmt: skip
    """One path for each of the pixels first ... (counted over all views in scan order), in paths.py's slots: path
    `number` of the pixel, and sample `turn` of its lights.

    seen [Q, COLUMNS]: light along the path, what the photons' radiance is multiplied by, 1 where the path met
    something, else what media took away. points ... kind_of [Q]: what density.py wants to know; radii are `reach` [Q],
    0 where there is no point. Q is places, or with `gathers` twice that, second points behind the first.
    """
    for q in range(places):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        key, haze = rng.key(seed, first + q, number), rng.key(seed, first + q, turn)
        view, column, line = film_point(film, seed, first + q, number, width, height)
        o, d, _cosine, weight = sensor.primary_ray(
            sensors, table, view, column, line, rng.draw(key, LENS), rng.draw(key, LENS + 1)
        )
        light, beta = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([1.0, 1.0, 1.0]) * weight
        count, found, alive, covered, clear = 0, 0, 1, 0.0, 1.0
        paths.write3(origins, q, 0, o)
        for k in ti.static(range(2 if gathers else 1)):
            radii[k * places + q] = 0.0
            kind_of[k * places + q] = 0
            paths.write3(seen, k * places + q, SHARE, ti.Vector([0.0, 0.0, 0.0]))
        while alive == 1:
            alive = 0
            triangle, distance, u, v = bvh.closest_hit(o, d, FAR, t.nodes, t.leaves)
            base, slot, sent, through = DIMENSIONS * (1 + count), count * places + q, beta, 0.0
            if ti.static(mask >> PHASE & 1):
                through, _met, _far = medium.travel(
                    mask, t, o, d, ti.select(triangle < 0, FAR, distance), 1, rng.mix(haze, base + FLIGHT)
                )
                beta *= through
                clear *= through
            if triangle < 0:
                covered = ti.max(covered, 1.0 - clear)
                if found == 0:
                    light += beta * lights.environment_radiance(light_kinds, t, d, 1)
                    paths.write3(reals, slot, paths.EXIT, d)
                    paths.write3(reals, slot, paths.THROUGHPUT, sent)
                    reals[slot, paths.LEAN] = through
                    if count > 0:
                        # Not by |=, an atomic in a loop: software Vulkan then loses the paths beside this one.
                        mark = wholes[slot - places, paths.MARK]
                        wholes[slot - places, paths.MARK] = mark | 1 << paths.LEFT
            else:
                mark, scale, onwards = paths.PASSED, 1.0, beta
                uv, color = hit.textured(mask, t, triangle, u, v)
                x, e1, e2 = paths.place(t, triangle, u, v)
                if rng.draw(key, base + OPACITY) >= materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t):
                    if count + 1 < max_depth:
                        o, alive = bvh.offset_origin(x, e1.cross(e2), d), 1
                else:
                    covered, mark = 1.0, paths.ENDED
                    if ti.static(mask >> materials.EMISSIONS & 1):
                        if found == 0 and t.faces[triangle, 11] >= 0 and e1.cross(e2).dot(d) < 0.0:
                            light += beta * materials.emission(mask, t.faces[triangle, 9], uv, color, 0.0, t)
                    if count + 1 < max_depth:
                        row, _slope, kind, p = paths.material_of(
                            mask, t, triangle, uv, color, rng.draw(key, base + BLEND)
                        )
                        n, cross, _turned = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
                        n = shading_normal.leaning(n, -d, cross)
                        s1, s2 = surface.frame(n)
                        wi = surface.to_local(s1, s2, n, -d)
                        eye, delta, wo = -d, 0, wi
                        if ti.static(gathers or mask & paths.DELTA):
                            wo, share, pdf, mirror, _eta = bsdf.sample(
                                mask, kind, p, wi, rng.draw(key, base + DIRECTION), rng.draw(key, base + DIRECTION + 1),
                                rng.draw(key, base + DIRECTION + 2), True,
                            )  # fmt: skip
                            delta, onwards = mirror, beta * share
                            d = surface.unit(surface.to_world(s1, s2, n, wo))
                            if delta == 0:
                                onwards *= shading_normal.horizon(n, cross, d)
                            elif wi.z * wo.z > 0.0 and wo.z * cross.dot(d) < 0.0:  # as ../path/vertex.py, `leave`
                                d -= 2.0 * cross.dot(d) / cross.dot(cross) * cross
                            o = bvh.offset_origin(x, cross, d)
                            if onwards.max() > 0.0 and wo.z * cross.dot(d) > 0.0 and (delta == 1 or gathers):
                                mark, alive = paths.event_of(kind, delta, wi, wo), 1
                            if delta == 0 and kind == PLASTIC and pdf > 0.0:
                                scale = wo.z / (PI * pdf)  # the coat was not chosen
                        if delta == 0:
                            at = found * places + q
                            beta *= scale
                            u1, u2, u3 = light_numbers(seed, first + q, turn, found)
                            light += beta * from_lights(
                                mask, light_kinds, t, kind, p, x, n, cross, s1, s2, wi, u1, u2, u3,
                                rng.mix(haze, base + FLIGHT + 1),
                            )  # fmt: skip
                            paths.write3(points, at, 0, x)
                            paths.write3(shading, at, 0, n)
                            paths.write3(sides, at, 0, surface.unit(cross))
                            paths.write3(eyes, at, 0, eye)
                            paths.write3(seen, at, SHARE, beta)
                            radii[at] = reach[at]
                            kind_of[at] = kind
                            for c in ti.static(range(PARAMS)):
                                params[at, c] = p[c]
                            found += 1
                            if found > ti.static(1 if gathers else 0):
                                mark, alive = paths.ENDED, 0
                            beta /= scale
                paths.note(wholes, reals, slot, triangle, mark, u, v, scale, sent, through)
                if mark == paths.ENDED and found > 0:
                    wholes[slot, paths.ROW] = 0
                beta = onwards
                count += 1
                if count >= max_depth:
                    alive = 0
        counts[q] = count
        paths.write3(seen, q, LIGHT_SEEN, light)
        seen[q, COVERED] = covered


@ti.kernel
def develop(
    first: ti.i32, places: ti.i32, gathers: ti.template(), factor: float, seen: A2, radiance: A2, rgb: A2, alpha: A2
):
    """Adds to rows first ... of rgb [.., 3] and alpha [.., 1] the light of a pass, times `factor`."""
    for q in range(places):
        light = paths.read3(seen, q, LIGHT_SEEN)
        for k in ti.static(range(2 if gathers else 1)):
            light += paths.read3(seen, k * places + q, SHARE) * load3(radiance, k * places + q)
        for c in ti.static(range(3)):
            rgb[first + q, c] = rgb[first + q, c] + factor * light[c]
        alpha[first + q, 0] = alpha[first + q, 0] + factor * seen[q, COVERED]


@ti.kernel
def keep_rows(begin: ti.i32, end: ti.i32, source: A1, target: A1):
    """target = source between two rows and 0 elsewhere."""
    for row in range(target.shape[0]):
        target[row] = 0.0
        if begin <= row < end:
            target[row] = source[row]


@ti.kernel
def add_radiance(begin: ti.i32, end: ti.i32, source: A2, target: A2):
    """target [Q, 3] += source, between two rows."""
    for row in range(begin, end):
        for c in ti.static(range(3)):
            target[row, c] = target[row, c] + source[row, c]
