"""Forward path tracing: what comes along each sample's path, by next-event estimation and multiple importance sampling.

Kajiya 1986; Veach 1997 (power heuristic, Russian roulette). The gradient (replay.py) walks the same paths again.
"""

import taichi as ti

from .. import bvh, rng
from ..transport import lights, materials, medium, sensor, surface
from ..transport.slots import PARAMS, PHASE
from ..transport.tables import Tables
from .vertex import (
    DIMENSIONS,
    FAR,
    FILM,
    FLIGHT,
    LENS,
    OPACITY,
    PASSES,
    glow,
    leave,
    look,
    place,
    power,
    scatterer,
    shining,
)

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)

STOPPED = 2  # in place of `delta`: the path has ended


@ti.func
def start(sensors: ti.template(), film: ti.template(), table: ti.template(), place, width, height, key):
    """(origin, direction, weight) of the ray of a sample of pixel `place`, counted over all views in scan order."""
    view = place // (width * height)
    pixel = place - view * width * height
    row = pixel // width
    column = pixel - row * width
    x, y = sensor.film_point(film, column, row, rng.draw(key, FILM), rng.draw(key, FILM + 1))
    origin, direction, _cosine, weight = sensor.primary_ray(
        sensors, table, view, x, y, rng.draw(key, LENS), rng.draw(key, LENS + 1)
    )
    return origin, direction, weight


@ti.func
def follow(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), origin, direction, key, max_depth, roulette_depth
):
    """(radiance [3] that arrives along the path, 1 if the ray met anything)."""
    return walk(mask, light_kinds, t, origin, direction, key, 0, -1, max_depth, roulette_depth)


@ti.func
def walk(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), origin, direction, key, vertices, within,
    max_depth, roulette_depth,
):  # fmt: skip
    """As `follow` for a path that has passed so many vertices; within >= 0: its ray is scattered by that medium, at the
    origin."""
    zero = ti.Vector([0.0, 0.0, 0.0])
    o, d, reach = origin, direction, FAR
    light, beta = zero, ti.Vector([1.0, 1.0, 1.0])
    depth, passes, covered = vertices, 0, 0
    inside = within
    if inside >= 0:
        reach = 0.0
    pdf, delta, eta = 0.0, 1, 1.0  # of the path's direction; delta: no light was sampled for it
    # A ray to a light comes between two of the path, whose next one waits meanwhile: one loop follows both kinds.
    shadow, pending, next_o, next_d = 0, light, o, d
    alive = 1
    while alive == 1:
        base = DIMENSIONS * (1 + depth + passes)
        triangle, distance, u, v = bvh.meet(o, d, reach, shadow == 1, t.nodes, t.leaves)
        if ti.static(mask >> PHASE & 1):
            if triangle < 0 or shadow == 0:
                through, found, far = medium.travel(
                    mask, t, o, d, ti.select(triangle < 0, reach, distance), shadow,
                    rng.mix(key, base + FLIGHT + shadow),
                )  # fmt: skip
                pending *= through
                if found >= 0:
                    inside, distance = found, far
        scatters, kind, x, n, outward, p = 0, 0, zero, zero, zero, ti.Vector.zero(float, PARAMS)
        if shadow == 1:
            if triangle < 0:
                light += pending
            shadow, o, d, reach = 0, next_o, next_d, FAR
            if delta == STOPPED:
                alive = 0
        elif inside >= 0:
            if ti.static(mask >> PHASE & 1):
                if reach == 0.0:
                    reach, distance = FAR, 0.0
                x, n, outward, kind = o + distance * d, -d, -d, PHASE
                p = medium.gather(t, inside, x)
                covered, inside, alive = 1, -1, 0
                depth += 1
                if depth < max_depth:
                    scatters = 1
        elif triangle < 0:
            alive = 0
            weight = 1.0
            if delta == 0:
                weight = power(pdf, lights.pdf_of_direction(light_kinds, t, d, 0))
            light += weight * beta * lights.environment_radiance(light_kinds, t, d, delta)
        else:
            alive = 0
            x, e1, e2, uv, color = place(mask, t, triangle, u, v)
            cross = e1.cross(e2)
            if rng.draw(key, base + OPACITY) >= materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t):
                if passes < PASSES:
                    passes, delta, alive = passes + 1, 1, 1
                    o = bvh.offset_origin(x, cross, d)
            else:
                covered = 1
                radiance, weight = glow(mask, t, triangle, uv, color, d, distance, cross, pdf, delta)
                light += weight * beta * radiance
                depth += 1
                if depth < max_depth:
                    _row, _slope, kind, p, n, turned = scatterer(
                        mask, t, triangle, u, v, uv, color, e1, e2, d, key, base
                    )
                    outward, scatters = turned * cross, 1
        if scatters == 1:
            tangent, bitangent = surface.frame(n)
            wi = surface.to_local(tangent, bitangent, n, -d)
            shadow, _entry, other, b1, b2, way, far, value, f, share, _wo = look(
                mask, light_kinds, t, x, outward, n, wi, kind, p, key, base
            )
            if shadow == 1:
                pending = beta * f * value * shining(mask, t, other, b1, b2) * share
                if pending.max() <= 0.0:
                    shadow = 0
            alive, next_o, next_d, beta, _share, pdf, delta, eta, _wo = leave(
                mask, x, outward, n, wi, kind, p, beta, eta, depth, roulette_depth, key, base
            )
            o, d = next_o, next_d
            if alive == 0:
                delta = STOPPED
            if shadow == 1:
                alive, o, d, reach = 1, bvh.offset_origin(x, outward, way), way, far
    return light, covered


@ti.kernel
def trace(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), first: ti.i32,
    places: ti.i32, samples: ti.i32, width: ti.i32, height: ti.i32, seed: ti.i32, max_depth: ti.i32,
    roulette_depth: ti.i32, table: A2, nodes: A1, leaves: A1I, faces: A2, positions: A2, normals: A2, uvs: A2,
    colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2, alias: A1,
    media: A2, media_places: A2, media_values: A2, out: A2,
):  # fmt: skip
    """out [places * samples, 4]: radiance along every path of the pixels first ... (counted over all views in scan
    order), and 1 where it met something."""
    for index in range(places * samples):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        local = index // samples
        place = first + local
        key = rng.key(seed, place, index - local * samples)
        origin, direction, weight = start(sensors, film, table, place, width, height, key)
        light, met = follow(mask, light_kinds, t, origin, direction, key, max_depth, roulette_depth)
        for c in ti.static(range(3)):
            out[index, c] = weight * light[c]
        out[index, 3] = met


@ti.kernel
def develop(
    first: ti.i32, places: ti.i32, samples: ti.i32, red: float, green: float, blue: float, lights: A2, rgb: A2,
    alpha: A2,
):  # fmt: skip
    """Rows first ... of rgb [.., 3] and alpha [.., 1] = the means over the samples of each pixel; the colour (red,
    green, blue) stands behind those that met nothing."""
    for index in range(places):
        total = ti.Vector([0.0, 0.0, 0.0, 0.0])
        for sample in range(samples):
            for c in ti.static(range(4)):
                total[c] += lights[index * samples + sample, c]
        covered = total[3] / samples
        behind = ti.Vector([red, green, blue])
        for c in ti.static(range(3)):
            rgb[first + index, c] = total[c] / samples + (1.0 - covered) * behind[c]
        alpha[first + index, 0] = covered
