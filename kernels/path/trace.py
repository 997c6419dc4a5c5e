"""Forward path tracing: what comes along each sample's path, by next-event estimation and multiple importance sampling.

Kajiya 1986; Veach 1997 (power heuristic, Russian roulette). The gradient (replay.py) walks the same paths again.
"""

import taichi as ti

from .. import bvh, rng
from ..compiling import large
from ..transport import lights, materials, medium, sensor, surface
from ..transport.lamp import shining
from ..transport.slots import PARAMS, PHASE
from ..transport.tables import Tables
from .hits import given, keep
from .vertex import (
    DIMENSIONS,
    FAR,
    FILM,
    FLIGHT,
    LENS,
    PASSES,
    beyond,
    glow,
    leave,
    look,
    place,
    power,
    scatterer,
    stopped,
    veils,
)

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)

# A ray to a light that see-through surfaces dim only: the first, which passes all media on the way, and those behind.
VEILED, BEHIND = 2, 3
STOPPED = 2  # in place of `delta`: the path has ended


@ti.func
def sample_key(sensors: ti.template(), seed, place, sample):
    """(what a sample's random numbers start from, 1 if it mirrors the sample before, which has the same ones)."""
    number, mirrored = sample, 0
    if ti.static(sensors >> sensor.PAIRED & 1):
        number = sample // 2
        mirrored = sample - 2 * number
    return rng.key(seed, place, number), mirrored


@ti.func
def film_place(film: ti.template(), column, row, key, mirrored):
    """x, y of a sample's film point."""
    x, y = sensor.film_point(film, column, row, rng.draw(key, FILM), rng.draw(key, FILM + 1))
    if mirrored == 1:
        x, y = 2.0 * column + 1.0 - x, 2.0 * row + 1.0 - y
    return x, y


@ti.func
def start(sensors: ti.template(), film: ti.template(), table: ti.template(), place, width, height, key, mirrored):
    """(origin, direction, weight) of the ray of a sample of pixel `place`, counted over all views in scan order."""
    view = place // (width * height)
    pixel = place - view * width * height
    row = pixel // width
    column = pixel - row * width
    x, y = film_place(film, column, row, key, mirrored)
    origin, direction, _cosine, weight = sensor.primary_ray(
        sensors, table, view, x, y, rng.draw(key, LENS), rng.draw(key, LENS + 1)
    )
    return origin, direction, weight


@ti.func
def follow(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), origin, direction, key, max_depth,
    roulette_depth, mirrored, paths: ti.template(), index,
):  # fmt: skip
    """(radiance [3] that arrives along the path, 1 if the ray met anything); what its rays meet is kept in row `index`
    of `paths`, unless that is None."""
    return walk(mask, light_kinds, t, origin, direction, key, 0, -1, max_depth, roulette_depth, mirrored, paths, index)


@ti.func
def at_surface(mask: ti.template(), t: ti.template(), triangle, u, v, d, distance, pdf, delta, goes_on, key, base):
    """A hit: (1 where the path stops, what shines, place, kind, p, normal, normal of the face); the last four only
    where the path, if it stops, goes on from there."""
    light, n, kind, p, turned = ti.Vector([0.0, 0.0, 0.0]), 0.0 * d, 0, ti.Vector.zero(float, PARAMS), 1.0
    x, e1, e2, uv, color = place(mask, t, triangle, u, v)
    cross = e1.cross(e2)
    _solid, stops = stopped(mask, t, triangle, uv, key, base)
    if stops == 1:
        radiance, weight = glow(mask, t, triangle, uv, color, d, distance, cross, pdf, delta)
        light += weight * radiance
        if goes_on:
            _row, _slope, kind, p, n, _own, turned = scatterer(mask, t, triangle, u, v, uv, color, e1, e2, d, key, base)
    return stops, light, x, kind, p, n, turned * cross


@ti.func
def from_afar(light_kinds: ti.template(), t: ti.template(), d, pdf, delta):
    """What shines along the direction d of density pdf from behind everything."""
    weight = 1.0
    if delta == 0:
        weight = power(pdf, lights.pdf_of_direction(light_kinds, t, d, 0))
    return weight * lights.environment_radiance(light_kinds, t, d, delta)


@ti.func
def scatter(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), kind, p: ti.template(), x, n, outward, d, beta,
    eta, depth, roulette_depth, mirrored, key, base,
):  # fmt: skip
    """The two rays from a vertex: (1 if there is one to a light, VEILED if surfaces may only dim it, what it would
    bring, origin, direction, length), and as `leave` says (1 if the path goes on, origin, direction, throughput, pdf,
    delta, eta)."""
    tangent, bitangent = surface.frame(n)
    wi = surface.to_local(tangent, bitangent, n, -d)
    looking, entry, other, b1, b2, way, far, value, f, share, _wo = look(
        mask, light_kinds, t, x, outward, n, wi, kind, p, key, base
    )
    pending = ti.Vector([0.0, 0.0, 0.0])
    if looking == 1:
        pending = beta * f * value * shining(mask, t, other, b1, b2) * share
        if pending.max() <= 0.0:
            looking = 0
        elif ti.static(veils(mask)):
            looking += lights.sharp(light_kinds, t, entry)
    going, next_o, next_d, after, _share, pdf, delta, index, _wo2 = leave(
        mask, x, outward, n, wi, kind, p, beta, eta, depth, roulette_depth, mirrored, key, base
    )
    if going == 0:
        delta = STOPPED
    near = bvh.offset_origin(x, outward, way)
    return looking, pending, near, way, far, going, next_o, next_d, after, pdf, delta, index


@ti.func
def lit(mask: ti.template(), t: ti.template(), triangle, distance, u, v, o, d, reach, shadow, pending):
    """What a ray to a light found: (0 if it ended there, else BEHIND; what it still may bring, what it brings, origin
    and length of the rest of it)."""
    after, brings, still, behind, left = 0, ti.Vector([0.0, 0.0, 0.0]), pending, o, reach
    if triangle < 0:
        brings = pending
    elif ti.static(veils(mask)):
        if shadow >= VEILED:
            through, past = beyond(mask, t, triangle, u, v, d)
            still, behind, left = through * pending, past, reach - distance
            if still.max() > 0.0:
                after = BEHIND
    return after, still, brings, behind, left


@ti.func
def walk(
    mask: ti.template(), light_kinds: ti.template(), t: ti.template(), origin, direction, key, vertices, within,
    max_depth, roulette_depth, mirrored, paths: ti.template(), index,
):  # fmt: skip
    """As `follow` for a path that has passed so many vertices; within >= 0: its ray is scattered by that medium, at the
    origin. mirrored: 1 for the opposite direction where it first scatters but at a mirror or clear boundary. pdf, delta
    and eta are the direction's; delta: no light was sampled for it. Rays to lights come between the path's own."""
    zero, o, d, reach = ti.Vector([0.0, 0.0, 0.0]), origin, direction, ti.select(within >= 0, 0.0, FAR)
    light, beta = zero, ti.Vector([1.0, 1.0, 1.0])
    depth, passes, covered, inside, turning, pdf, delta, eta = vertices, 0, 0, within, mirrored, 0.0, 1, 1.0
    shadow, pending, next_o, next_d, alive = 0, light, o, d, 1
    while alive == 1:
        base = DIMENSIONS * (1 + depth + passes)
        triangle, distance, u, v = bvh.meet(o, d, reach, shadow == 1, t.nodes, t.leaves)
        if ti.static(given(paths)):
            keep(paths, index, depth + passes, shadow, triangle, distance, u, v)
        if ti.static(mask >> PHASE & 1):
            if shadow == 0 or shadow == VEILED or (shadow == 1 and triangle < 0):
                through, found, far = medium.travel(
                    mask, t, o, d, ti.select(triangle < 0 or shadow == VEILED, reach, distance), ti.min(shadow, 1),
                    rng.mix(key, base + FLIGHT + ti.min(shadow, 1)),
                )  # fmt: skip
                pending *= through
                if found >= 0:
                    inside, distance = found, far
        scatters, kind, x, n, outward, p = 0, 0, zero, zero, zero, ti.Vector.zero(float, PARAMS)
        if shadow >= 1:
            shadow, pending, brings, o, reach = lit(mask, t, triangle, distance, u, v, o, d, reach, shadow, pending)
            light += brings
            if shadow == 0:
                o, d, reach = next_o, next_d, FAR
                alive = ti.cast(delta != STOPPED, ti.i32)
        elif inside >= 0:
            if ti.static(mask >> PHASE & 1):
                if reach == 0.0:
                    reach, distance = FAR, 0.0
                x, n, outward, kind = o + distance * d, -d, -d, PHASE
                p = medium.gather(t, inside, x)
                scatters, inside = 1, -1
        elif triangle < 0:
            alive = 0
            light += beta * from_afar(light_kinds, t, d, pdf, delta)
        else:
            scatters, shone, x, kind, p, n, outward = at_surface(
                mask, t, triangle, u, v, d, distance, pdf, delta, depth + 1 < max_depth, key, base
            )
            light += beta * shone
            if ti.static(mask >> materials.OPACITIES & 1):
                if scatters == 0:
                    passes, delta, o = passes + 1, 1, bvh.offset_origin(x, outward, d)
                    alive = ti.cast(passes <= PASSES, ti.i32)
        if scatters == 1:
            covered, alive, depth = 1, 0, depth + 1
            if depth < max_depth:
                shadow, pending, near, way, far, alive, next_o, next_d, beta, pdf, delta, eta = scatter(
                    mask, light_kinds, t, kind, p, x, n, outward, d, beta, eta, depth, roulette_depth, turning, key,
                    base,
                )  # fmt: skip
                o, d = next_o, next_d
                turning = ti.select(delta == 0, 0, turning)
                if shadow >= 1:
                    alive, o, d, reach = 1, near, way, far
    return light, covered


@large
@ti.kernel
def trace(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), first: ti.i32,
    places: ti.i32, samples: ti.i32, width: ti.i32, height: ti.i32, seed: ti.i32, max_depth: ti.i32,
    roulette_depth: ti.i32, table: A2, nodes: A1, leaves: A1I, faces: A2, positions: A2, normals: A2, uvs: A2,
    colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2, alias: A1,
    media: A2, media_places: A2, media_values: A2, out: A2,
):  # fmt: skip
    """out [places * samples, 4 or more]: radiance along every path of the pixels first ... (counted over all views in
    scan order), 1 where it met something, and what hits.py says, where there is room for it."""
    for index in range(places * samples):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        local = index // samples
        place = first + local
        key, mirrored = sample_key(sensors, seed, place, index - local * samples)
        origin, direction, weight = start(sensors, film, table, place, width, height, key, mirrored)
        light, met = follow(
            mask, light_kinds, t, origin, direction, key, max_depth, roulette_depth, mirrored, out, index
        )  # fmt: skip
        for c in ti.static(range(3)):
            out[index, c] = weight * light[c]
        out[index, 3] = met


@ti.kernel
def develop_halves(
    first: ti.i32, places: ti.i32, samples: ti.i32, red: float, green: float, blue: float, lights: A2, halves: A2
):
    """Rows first ... of both halves of halves [2 .., 3] = as in `develop`, of either half of a pixel's samples."""
    count = samples // 2
    for index in range(places):
        for half in range(2):
            total = ti.Vector([0.0, 0.0, 0.0, 0.0])
            for sample in range(count):
                for c in ti.static(range(4)):
                    total[c] += lights[index * samples + half * count + sample, c]
            behind = ti.Vector([red, green, blue])
            for c in ti.static(range(3)):
                halves[half * (halves.shape[0] // 2) + first + index, c] = (
                    total[c] / count + (1.0 - total[3] / count) * behind[c]
                )


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
