"""Radiance that media scatter along eye rays, from the photons beside them; with adjoints.

    L = sum over photons p of T(t_p) phase(omega_p, -d) Phi_p K_r(distance from the ray),  0 <= t_p <= length

K_r is a kernel of profiles.py over the disc across the ray, r the ray's radius, t_p the place on the ray nearest to the
photon and T(t) the transmittance up to there. Photons lie in a grid as density.py has it; their powers are those that
the medium scatters, shares of the lights' power. Rays have origins [Q, 3], directions [Q, 3] (unit, from the eye),
lengths [Q] and radii [Q].

With the bit PHASE in `scene` media are those of a scene (../transport/medium.py): T is that of `medium.travel` with the
ray's key of keys [Q], one walk for all photons of a ray; a photon has its g in place of a normal. Else a homogeneous
medium is around each ray, T(t) = exp(-sigma_t t), with extinctions sigma_t [Q, 3] (RGB, per length) and g [Q, 1] of
Henyey and Greenstein.

The search walks the slabs of cells across the ray's longest axis, in each of them the cells that the ray can reach, so
that every photon comes up once. `found` [Q] counts those that count. For the adjoint to photons `pair` lists them, ray
by ray, and the host sorts the list by photon.

The rays' ends are constants to the adjoint: photons that pass them carry a gradient that it lacks. So are radii; what
profiles.py says of profiles that step down at d = r holds here too. In the media of a scene so is what more or less of
a medium stands before a photon that moves. The gradient of densities is that of all T(t_p) of a ray: - the length up to
t_p times the density at a random place there (sweep.py). Of those with the same sign one is drawn by its size (Chao
1982), which is `picks` [2 Q, PICK], as ../path/medium_adjoint.py has it.

Jarosz, Zwicker and Jensen 2008, "The Beam Radiance Estimate for Volumetric Photon Mapping".
"""

import taichi as ti

from .. import rng
from ..accumulate import load3
from ..path.medium_adjoint import PICK, SUM, WHICH
from ..rays import box_interval
from ..transport import medium
from ..transport.slots import PHASE
from ..transport.tables import Tables
from ..volume.phase import henyey_greenstein, henyey_greenstein_slopes
from .density import LEAST, pull, record
from .grid import EDGE, belongs, cell_of, run

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

PADDING, ROUNDING = 1.001, 1e-6  # of radii and of coordinates in the choice of cells
HEARD, CHOICE = 1 << 24, 1 << 20  # beyond all dimensions of a walk through media and of `medium.spot`


@ti.func
def bounds_of(bounds: ti.template()):
    return ti.Vector([bounds[0], bounds[1], bounds[2]]), ti.Vector([bounds[3], bounds[4], bounds[5]])


@ti.func
def slabs(o, d, length, radius, inverse, bounds: ti.template(), points):
    """(axis, first slab, slabs, t0, t1, reach) along the longest axis; -1 slabs where all points are searched at once.

    reach is the radius and what rounding may take off.
    """
    lower, upper = bounds_of(bounds)
    reach = PADDING * radius + ROUNDING * ti.max(ti.abs(lower), ti.abs(upper), ti.abs(o)).max()
    axis, steep = 0, ti.abs(d[0])
    for k in ti.static(range(1, 3)):
        if ti.abs(d[k]) > steep:
            axis = k
            steep = ti.abs(d[k])
    t0, t1, first, count = 0.0, 0.0, 0, 0
    if points > 0 and radius > LEAST and steep > 0.0:
        times, _axes = box_interval(o, d, lower - reach, upper + reach)
        t0 = times[0]
        t1 = ti.min(times[1], length)
        if t0 <= t1:
            low = cell_of(ti.max(ti.min(o + t0 * d, o + t1 * d) - reach, lower), inverse)
            high = cell_of(ti.min(ti.max(o + t0 * d, o + t1 * d) + reach, upper), inverse)
            across = 4.0 * reach * inverse + 3.0
            for k in ti.static(range(3)):
                if k == axis:
                    first = low[k]
                    count = ti.max(high[k] - low[k] + 1, 0)
            if ti.cast(count, float) * across * across > points:
                count = -1
    return axis, first, count, t0, t1, reach


@ti.func
def slab(turn, axis, first, count, o, d, t0, t1, reach, inverse, bounds: ti.template()):
    """(first cell, cells along each axis, runs) of one slab that the ray between t0 and t1 can reach."""
    a = first + turn
    lower, upper = bounds_of(bounds)
    low, size, runs = ti.Vector([0, 0, 0]), ti.Vector([1, 1, 1]), -1
    if count >= 0:
        begin, end = t0, t1
        for k in ti.static(range(3)):
            if k == axis and ti.abs(a) < EDGE:
                one, other = (a / inverse - reach - o[k]) / d[k], ((a + 1) / inverse + reach - o[k]) / d[k]
                begin = ti.max(begin, ti.min(one, other))
                end = ti.min(end, ti.max(one, other))
        runs = 0
        if begin <= end:
            low = cell_of(ti.max(ti.min(o + begin * d, o + end * d) - reach, lower), inverse)
            size = cell_of(ti.min(ti.max(o + begin * d, o + end * d) + reach, upper), inverse) - low + 1
            for k in ti.static(range(3)):
                if k == axis:
                    low[k] = a
                    size[k] = 1
            if size.min() > 0:
                runs = size[0] * size[1] * size[2]
    return low, size, runs


@ti.func
def beside(at, o, d, length, radius):
    """(whether a photon counts, t, the way from the ray to it)."""
    gap = at - o
    t = gap.dot(d)
    off = gap - t * d
    return off.norm_sqr() < radius * radius and t >= 0.0 and t <= length, t, off


@ti.func
def around(scene: ti.template(), extinctions: ti.template(), g: ti.template(), q):
    """(extinction [3], g) of the homogeneous medium around a ray."""
    sigma, cosine = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if ti.static(not scene >> PHASE & 1):
        sigma, cosine = load3(extinctions, q), g[q, 0]
    return sigma, cosine


@ti.func
def dimmed(scene: ti.template(), t: ti.template(), records: ti.template(), place, o, d, far, key, sigma, cosine):
    """(T(far) [3], g) for a photon."""
    through, g = ti.exp(-sigma * far), cosine
    if ti.static(scene >> PHASE & 1):
        share, _met, _far = medium.travel(scene, t, o, d, far, 1, key)
        through, g = share + sigma, record(records, place, 3)[0]
    return through, g


@ti.kernel
def gather(
    queries: ti.i32, scene: ti.template(), profile: ti.template(), inverse: float, mask: ti.i32, bounds: A1, start: A1,
    records: A1, origins: A2, directions: A2, lengths: A1, radii: A1, keys: A1, media: A2, media_places: A2,
    media_values: A2, extinctions: A2, g: A2, radiance: A2, found: A1,
):  # fmt: skip
    """radiance [Q, 3] and found [Q]."""
    for q in range(queries):
        tables = ti.static(Tables(*[None] * 15, media, media_places, media_values))
        o, d = load3(origins, q), load3(directions, q)
        length, radius, key = lengths[q], radii[q], ti.cast(keys[q], ti.u32)
        sigma, cosine = around(scene, extinctions, g, q)
        total, held = ti.Vector([0.0, 0.0, 0.0]), 0
        axis, first, count, t0, t1, reach = slabs(o, d, length, radius, inverse, bounds, start[mask + 1])
        for layer in range(ti.abs(count)):
            low, size, runs = slab(layer, axis, first, count, o, d, t0, t1, reach, inverse, bounds)
            for turn in range(ti.abs(runs)):
                begin, end, cell = run(turn, runs, low, size, mask, start)
                for place in range(begin, end):
                    at = record(records, place, 0)
                    counts, t, off = beside(at, o, d, length, radius)
                    if counts and belongs(at, cell, runs, inverse):
                        weight, _slope = pull(off, radius, profile, 2)
                        through, bend = dimmed(scene, tables, records, place, o, d, t, key, sigma, cosine)
                        phase = henyey_greenstein(-d.dot(record(records, place, 1)), bend)
                        total += weight * phase * through * record(records, place, 2)
                        held += 1
        for channel in ti.static(range(3)):
            radiance[q, channel] = total[channel]
        found[q] = held


@ti.func
def scattered_adjoint(
    o, d, sigma, through, g, at, flight, power, radius, grad, profile: ti.template()
):  # fmt: skip
    """Gradients of one photon's share to (o and, opposite, its position; d, sigma, g, flight, power).

    That to sigma is by T(t) = exp(-sigma t), which is also why T changes with t.
    """
    gap = at - o
    t = gap.dot(d)
    off = gap - t * d
    weight, slope = pull(off, radius, profile, 2)
    cosine = -d.dot(flight)
    phase = henyey_greenstein(cosine, g)
    by_cosine, by_g = henyey_greenstein_slopes(cosine, g)
    seen = grad * through * power
    to_off = seen.sum() * phase * slope
    to_t = -weight * phase * seen.dot(sigma) - to_off.dot(d)
    to_cosine = weight * seen.sum() * by_cosine
    to_gap = to_off + to_t * d
    to_d = to_t * gap - t * to_off - to_cosine * flight
    return (
        -to_gap, to_d, -t * weight * phase * seen, weight * seen.sum() * by_g, -to_cosine * d,
        weight * phase * through * grad,
    )  # fmt: skip


@ti.func
def choose(t: ti.template(), o, d, far, worth, key, turn, picks: ti.template(), q):
    """Maybe make a place before a photon, whose share of the loss is `worth`, the picked one of its sign."""
    own = rng.mix(key, HEARD + turn)
    which, at, length = medium.spot(t, o, d, far, own)
    size, row, x = ti.abs(worth) * length, 2 * q, o + at * d
    if worth < 0.0:
        row += 1
    if size > 0.0:
        picks[row, SUM] = picks[row, SUM] + size
        if rng.draw(own, CHOICE) * picks[row, SUM] < size:
            picks[row, WHICH] = which
            for c in ti.static(range(3)):
                picks[row, c] = x[c]


@ti.kernel
def gather_adjoint(
    queries: ti.i32, scene: ti.template(), profile: ti.template(), inverse: float, mask: ti.i32, bounds: A1, start: A1,
    records: A1, origins: A2, directions: A2, lengths: A1, radii: A1, keys: A1, media: A2, media_places: A2,
    media_values: A2, extinctions: A2, g: A2, grad: A2, grad_origins: A2, grad_directions: A2, grad_extinctions: A2,
    grad_g: A2, picks: A2,
):  # fmt: skip
    """To rays: homogeneous media's extinctions and g with them; or, where `scene` LEARNS, `picks` of its densities."""
    for q in range(queries):
        tables = ti.static(Tables(*[None] * 15, media, media_places, media_values))
        o, d = load3(origins, q), load3(directions, q)
        length, radius, key, turns = lengths[q], radii[q], ti.cast(keys[q], ti.u32), 0
        sigma, cosine = around(scene, extinctions, g, q)
        to_o, to_d, to_sigma, to_g = o * 0.0, o * 0.0, o * 0.0, 0.0
        if ti.static(scene >> medium.LEARNS & 1):
            for c in range(PICK):
                picks[2 * q, c] = 0.0
                picks[2 * q + 1, c] = 0.0
        axis, first, count, t0, t1, reach = slabs(o, d, length, radius, inverse, bounds, start[mask + 1])
        for layer in range(ti.abs(count)):
            low, size, runs = slab(layer, axis, first, count, o, d, t0, t1, reach, inverse, bounds)
            for turn in range(ti.abs(runs)):
                begin, end, cell = run(turn, runs, low, size, mask, start)
                for place in range(begin, end):
                    at = record(records, place, 0)
                    counts, t, _off = beside(at, o, d, length, radius)
                    if counts and belongs(at, cell, runs, inverse):
                        through, bend = dimmed(scene, tables, records, place, o, d, t, key, sigma, cosine)
                        power = record(records, place, 2)
                        more_o, more_d, more_sigma, more_g, _flight, to_power = scattered_adjoint(
                            o, d, sigma, through, bend, at, record(records, place, 1), power, radius, load3(grad, q),
                            profile,
                        )  # fmt: skip
                        to_o += more_o
                        to_d += more_d
                        to_sigma += more_sigma
                        to_g += more_g
                        if ti.static(scene >> medium.LEARNS & 1):
                            choose(tables, o, d, t, to_power.dot(power), key, turns, picks, q)
                            turns += 1
        for k in ti.static(range(3)):
            grad_origins[q, k] = grad_origins[q, k] + to_o[k]
            grad_directions[q, k] = grad_directions[q, k] + to_d[k]
        if ti.static(not scene >> PHASE & 1):
            for k in ti.static(range(3)):
                grad_extinctions[q, k] = grad_extinctions[q, k] + to_sigma[k]
            grad_g[q, 0] = grad_g[q, 0] + to_g
        if ti.static(scene >> medium.LEARNS & 1):
            picks[2 * q, SUM] = -picks[2 * q, SUM]


@ti.kernel
def copy_counts(queries: ti.i32, found: A1, slots: A1):
    for q in range(queries):
        slots[q] = found[q]


@ti.kernel
def pair(
    queries: ti.i32, room: ti.i32, last: ti.i32, inverse: float, mask: ti.i32, bounds: A1, start: A1, records: A1,
    origins: A2, directions: A2, lengths: A1, radii: A1, slots: A1, photon: A1, ray: A1,
):  # fmt: skip
    """photon, ray [room]: places of the photons that count for a ray, from slots[ray] on, and that ray; else `last`."""
    for slot in range(room):
        photon[slot] = last
        ray[slot] = -1
    for q in range(queries):
        o, d, length, radius, slot = load3(origins, q), load3(directions, q), lengths[q], radii[q], slots[q]
        axis, first, count, t0, t1, reach = slabs(o, d, length, radius, inverse, bounds, start[mask + 1])
        for layer in range(ti.abs(count)):
            low, size, runs = slab(layer, axis, first, count, o, d, t0, t1, reach, inverse, bounds)
            for turn in range(ti.abs(runs)):
                begin, end, cell = run(turn, runs, low, size, mask, start)
                for place in range(begin, end):
                    at = record(records, place, 0)
                    counts, _t, _off = beside(at, o, d, length, radius)
                    if counts and slot < slots[q + 1] and belongs(at, cell, runs, inverse):
                        photon[slot] = place
                        ray[slot] = q
                        slot += 1


@ti.kernel
def gather_adjoint_photons(
    room: ti.i32, scene: ti.template(), profile: ti.template(), buckets: ti.i32, start: A1, order: A1, records: A1,
    first: A1, ray: A1, origins: A2, directions: A2, radii: A1, keys: A1, media: A2, media_places: A2,
    media_values: A2, extinctions: A2, g: A2, grad: A2, grad_positions: A2, grad_directions: A2, grad_powers: A2,
    grad_normals: A2,
):  # fmt: skip
    """To photons; the rays for which the one at a place counts are ray[first[place] .. first[place + 1] - 1]."""
    for place in range(room):
        if place < start[buckets]:
            tables = ti.static(Tables(*[None] * 15, media, media_places, media_values))
            at, flight, power = record(records, place, 0), record(records, place, 1), record(records, place, 2)
            to_at, to_flight, to_power, to_g = at * 0.0, at * 0.0, at * 0.0, 0.0
            for k in range(first[place], first[place + 1]):
                q = ray[k]
                o, d = load3(origins, q), load3(directions, q)
                sigma, cosine = around(scene, extinctions, g, q)
                key, far = ti.cast(keys[q], ti.u32), d.dot(at - o)
                through, bend = dimmed(scene, tables, records, place, o, d, far, key, sigma, cosine)
                more_o, _d, _sigma, more_g, more_flight, more_power = scattered_adjoint(
                    o, d, sigma, through, bend, at, flight, power, radii[q], load3(grad, q), profile
                )
                to_at -= more_o
                to_flight += more_flight
                to_power += more_power
                to_g += more_g
            row = order[place]
            for k in ti.static(range(3)):
                grad_positions[row, k] = grad_positions[row, k] + to_at[k]
                grad_directions[row, k] = grad_directions[row, k] + to_flight[k]
                grad_powers[row, k] = grad_powers[row, k] + to_power[k]
            if ti.static(scene >> PHASE & 1):
                grad_normals[row, 0] = grad_normals[row, 0] + to_g
