"""Light tracing: what particles bring to sensors, by connecting each of their vertices with every view.

Particles are photons (photons/trace.py, paths.py): vertex `level` of particle i has the slot level * particles + i. A
light's own surface is level -1, with places of its own, evenly over the lights. Where a connection meets the film it
counts in all pixels whose filter reaches there:

    pixel += density * importance * through * correction * f cos * power

power: what arrives at the vertex; f cos: of the BSDF from there to the sensor; correction: of shading normals, Veach
1997, section 5.3; importance, density: see transport/sensor.py; through: what surfaces between let straight through.
"""

import taichi as ti

from .. import bvh, rng
from ..accumulate import TASK, add3
from ..compiling import large
from ..path.vertex import BLEND, DIMENSIONS, NEARLY, PASSES, place
from ..photons import paths
from ..photons.aim import begin
from ..photons.trace import key_of
from ..transport import bsdf, lights, materials, sensor, surface
from ..transport.slots import PARAMS
from ..transport.tables import Tables

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

# Random numbers of a connection: a film point, a point of the lens; from PICK on which see-through surface is heeded.
CONNECTION, FILM, LENS, PICK, NUMBERS = 1 << 20, 0, 2, 4, 128
SHARE, SEEN_U, SEEN_V, SEEN = 0, 1, 2, 3
PICKED, COUNT, CROSSED = 0, 1, 2


def side(film: int) -> int:
    """Pixels in a row that a film point may count in."""
    return int(2 * sensor.REACH[film])


@ti.func
def through(mask: ti.template(), t: ti.template(), x, cross, toward, distance, key, number):
    """What surfaces let straight through on the way from x to a sensor, and one of those see-through ones: (share,
    triangle or -1, u, v, how many there are)."""
    share, picked, pick_u, pick_v, count = 1.0, -1, 0.0, 0.0, 0
    o, left = bvh.offset_origin(x, cross, toward), distance * NEARLY
    if ti.static(mask >> materials.OPACITIES & 1):
        going = 1
        while going == 1:
            going = 0
            triangle, far, u, v = bvh.closest_hit(o, toward, left, t.nodes, t.leaves)
            if triangle >= 0:
                y, e1, e2, uv, _color = place(mask, t, triangle, u, v)
                share *= 1.0 - materials.opacity(mask, t.faces[triangle, 9], uv, 0.0, t)
                count += 1
                if rng.draw(key, number + count) * count < 1.0:
                    picked, pick_u, pick_v = triangle, u, v
                if share > 0.0 and count < PASSES:
                    going, o, left = 1, bvh.offset_origin(y, e1.cross(e2), toward), left - far
    elif bvh.any_hit(o, toward, left, t.nodes, t.leaves) == 1:
        share = 0.0
    return share, picked, pick_u, pick_v, count


@ti.func
def look(sensors: ti.template(), film: ti.template(), table: ti.template(), view, width, height, point, key, level):
    """(film point x, y, importance, direction to the sensor, distance, lens numbers u3, u4, number of PICK).

    The importance is 0 where nothing counts in the picture.
    """
    number = NUMBERS * (1 + level)
    u3, u4 = rng.draw(key, number + LENS), rng.draw(key, number + LENS + 1)
    margin = ti.static(sensor.REACH[film] - 0.5)
    x, y, importance, toward, distance = sensor.connect(
        sensors, table, view, width, height, margin, point, rng.draw(key, number + FILM),
        rng.draw(key, number + FILM + 1), u3, u4,
    )  # fmt: skip
    if not (-margin < x < width + margin and -margin < y < height + margin):
        importance = 0.0
    return x, y, importance, toward, distance, u3, u4, number + PICK


@ti.func
def pixel_of(film: ti.template(), j: ti.template(), i: ti.template(), x, y):
    """(column, row) of one of the `side` * `side` pixels around a film point."""
    reach = ti.static(sensor.REACH[film] - 0.5)
    return ti.cast(ti.floor(x - reach), ti.i32) + i, ti.cast(ti.floor(y - reach), ti.i32) + j


@ti.func
def splat(film: ti.template(), atomic: ti.template(), part: ti.template(), first, width, height, x, y, value):
    """Add `value` at a film point to the picture that begins at row `first` of part."""
    for j, i in ti.static(ti.ndrange(side(film), side(film))):
        column, row = pixel_of(film, j, i, x, y)
        if 0 <= column < width and 0 <= row < height:
            share = sensor.film_density(film, x - column - 0.5, y - row - 0.5)
            add3(part, first + row * width + column, share * value, atomic)


@ti.func
def light_start(mask: ti.template(), light_kinds: ti.template(), t: ti.template(), i, particles, number, seed):
    """(triangle or -1, b1, b2, position, cross, share, emission): a light sends share * emission * cross . toward."""
    entry, triangle, b1, b2, position, _d, _weight, _factor, glow, _aimed = begin(
        mask, light_kinds, False, t, t.positions, i, particles, 0, number, seed
    )
    cross, share = 0.0 * position, 0.0
    if triangle >= 0:
        p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
        cross = (p1 - p0).cross(p2 - p0)
        share = 0.5 / (lights.chance_of(t, entry) * particles)
    return triangle, b1, b2, position, cross, share, glow


@ti.func
def bring(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(),
    atomic: ti.template(), t: ti.template(), copy, level, view, width, height, i, particles, number, seed, factor,
    table: ti.template(), origins: ti.template(), counts: ti.template(), wholes: ti.template(),
    reals: ti.template(), part: ti.template(), seen: ti.template(), crossed: ti.template(),
):  # fmt: skip
    """Connect one vertex of particle i with one view."""
    zero = ti.Vector([0.0, 0.0, 0.0])
    x, outward, n, wi, power, kind, p = zero, zero, zero, zero, zero, 0, ti.Vector.zero(float, PARAMS)
    key = key_of(seed, i, number)
    seen[i, SHARE] = 0.0
    if level < 0:
        if ti.static(light_kinds >> lights.TRIANGLE & 1):
            _triangle, _b1, _b2, at, cross, part_of, glow = light_start(
                mask, light_kinds, t, i, particles, number, seed
            )
            x, outward, power = at, cross, part_of * glow
    elif level < counts[i]:
        slot = level * particles + i
        triangle, u, v = wholes[slot, paths.TRIANGLE], reals[slot, paths.U], reals[slot, paths.V]
        if wholes[slot, paths.MARK] & paths.EVENT != paths.PASSED:
            at, e1, e2, uv, color = place(mask, t, triangle, u, v)
            d = surface.unit(at - paths.before(mask, t, wholes, reals, origins, level, particles, i))
            row, _slope, kind_there, p_there = paths.material_of(
                mask, t, triangle, uv, color, rng.draw(key, DIMENSIONS * (1 + level) + BLEND)
            )
            normal, cross, _turned = paths.normals_of(mask, t, row, triangle, u, v, uv, e1, e2, d)
            s1, s2 = surface.frame(normal)
            x, outward, n, wi = at, cross, normal, surface.to_local(s1, s2, normal, -d)
            kind, p = kind_there, p_there
            power = paths.read3(reals, slot, paths.THROUGHPUT) * reals[slot, paths.LEAN]
    if power.max() > 0.0:
        aside = rng.mix(key, CONNECTION + view)
        fx, fy, importance, toward, distance, _u3, _u4, pick = look(
            sensors, film, table, view, width, height, x, aside, level
        )
        value = power * (factor * importance)
        if level < 0:
            value *= ti.max(outward.dot(toward), 0.0)
        elif importance > 0.0:
            s1, s2 = surface.frame(n)
            wo = surface.to_local(s1, s2, n, toward)
            f, _density = bsdf.evaluate(mask, kind, p, wi, wo, False)
            value *= f * paths.leaving(toward, n, surface.unit(outward))
            if wo.z * outward.dot(toward) <= 0.0:
                value *= 0.0
        if value.max() > 0.0:
            share, picked, pick_u, pick_v, count = through(mask, t, x, outward, toward, distance, aside, pick)
            if share > 0.0:
                seen[i, SHARE], seen[i, SEEN_U], seen[i, SEEN_V] = share, pick_u, pick_v
                crossed[i, PICKED], crossed[i, COUNT] = picked, count
                first = (copy * table.shape[0] + view) * width * height
                splat(film, atomic, part, first, width, height, fx, fy, share * value)


@large
@ti.kernel
def connect(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(),
    atomic: ti.template(), block: ti.template(), chunks: ti.i32, level: ti.i32, view: ti.i32, width: ti.i32,
    height: ti.i32, particles: ti.i32, number: ti.i32, seed: ti.i32, factor: float, table: A2, nodes: A1, leaves: A1I,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, wholes: A2I, reals: A2, counts: A1I, origins: A2, part: A1,
    seen: A2, crossed: A2I,
):  # fmt: skip
    """Vertex `level` of every particle of pass `number` with one view: part [copies * views * height * width * 3].

    On a CPU each chunk of particles has a copy; on a GPU (`atomic`) there is one, and a chunk for each particle. What
    counts is multiplied with `factor`. seen [particles, SEEN] and crossed [particles, CROSSED]: what `through` says of
    each, with a share of 0 where nothing counts.
    """
    task = ti.static(1 if atomic else TASK)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        copy = ticket // task
        if ticket % task != 0:
            continue
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias,
            )
        )  # fmt: skip
        if ti.static(atomic):
            bring(
                mask, light_kinds, sensors, film, True, t, 0, level, view, width, height, copy, particles, number,
                seed, factor, table, origins, counts, wholes, reals, part, seen, crossed,
            )  # fmt: skip
        else:
            for i in range(copy * particles // chunks, (copy + 1) * particles // chunks):
                bring(
                    mask, light_kinds, sensors, film, False, t, copy, level, view, width, height, i, particles, number,
                    seed, factor, table, origins, counts, wholes, reals, part, seen, crossed,
                )  # fmt: skip
