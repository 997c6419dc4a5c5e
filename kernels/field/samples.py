"""Where along rays a field is looked up: counting, prefix sums, and lists of samples, ray by ray.

Sample n of a list belongs to ray owner[n], lies at the ray's parameter times[n] (world distance), stands for the length
widths[n] of the ray and has the coordinates positions [n * 3] = scale * q + offset, with q in [0, 1] across the box.
Rays `begin` to `end` are listed, ray r from (starts[r] - starts[begin]) * share on, where `share` is 1, or, where
`starts` counts the rays that meet the box, the samples of each of these.
"""

import taichi as ti

from ..accumulate import load3
from ..rays import box_interval
from ..rng import uniform
from . import BLOCK

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)

LEAST = 1e-5
"""Added to every coarse weight, so that no part of a ray is never looked at."""


@ti.func
def ray_steps(ray, origins: ti.template(), directions: ti.template(), box: ti.template(), step, limit, jitter, seed):
    """Samples at multiples of `step` (object units) from a ray's origin, shifted alike: first parameter, gap, count.

    The places do not move with the box's faces, so the derivative with respect to the ray holds them fixed exactly.
    """
    o, d = load3(origins, ray), load3(directions, ray)
    gap = step / d.norm()
    times, _ = box_interval(o, d, load3(box, 0), load3(box, 1))
    shift = 0.5
    if jitter != 0:
        shift = uniform(seed, ray + jitter - 1, 0, 0)  # see `stratum_share`
    before = ti.ceil(times[0] / gap - shift)
    count = ti.min(ti.ceil(times[1] / gap - shift) - before, 1.0 * limit)
    return (before + shift) * gap, gap, ti.max(ti.cast(count, ti.i32), 0)


@ti.func
def unit_position(ray, t, origins: ti.template(), directions: ti.template(), box: ti.template()):
    lower = load3(box, 0)
    return (load3(origins, ray) + t * load3(directions, ray) - lower) / (load3(box, 1) - lower)


@ti.func
def occupied(q, resolution, grid: ti.template()):
    """Whether the cell of q in [0, 1]^3 is marked in grid [resolution^3], x fastest; all are where resolution = 0."""
    out = True
    if resolution > 0:
        c = ti.Vector([0, 0, 0])
        for a in ti.static(range(3)):
            c[a] = ti.max(ti.min(ti.cast(q[a] * resolution, ti.i32), resolution - 1), 0)
        out = grid[(c[2] * resolution + c[1]) * resolution + c[0]] != 0
    return out


@ti.func
def put(
    n, ray, t, width, q, scale, offset, owner: ti.template(), times: ti.template(), widths: ti.template(),
    positions: ti.template(),
):  # fmt: skip
    owner[n], times[n], widths[n] = ray, t, width
    for a in ti.static(range(3)):
        positions[3 * n + a] = scale * q[a] + offset


@ti.kernel
def count_steps(
    count: ti.i32, step: float, limit: ti.i32, jitter: ti.i32, seed: ti.i32, resolution: ti.i32, origins: A2,
    directions: A2, box: A2, grid: I1, counts: I1,
):  # fmt: skip
    """counts [n]: occupied samples of every ray."""
    for ray in range(count):
        t, gap, number = ray_steps(ray, origins, directions, box, step, limit, jitter, seed)
        total = 0
        for k in range(number):
            if occupied(unit_position(ray, t + k * gap, origins, directions, box), resolution, grid):
                total += 1
        counts[ray] = total


@ti.kernel
def count_hits(count: ti.i32, origins: A2, directions: A2, box: A2, counts: I1):
    """counts [n]: 1 where the ray meets the box, else 0."""
    for ray in range(count):
        times, _ = box_interval(load3(origins, ray), load3(directions, ray), load3(box, 0), load3(box, 1))
        counts[ray] = 1 if times[1] > times[0] else 0


@ti.kernel
def prefix(count: ti.i32, counts: I1, starts: I1):
    """starts [n + 1]: sums of the counts before each ray."""
    for _ in range(1):
        total = 0
        for ray in range(count):
            starts[ray] = total
            total += counts[ray]
        starts[count] = total


@ti.kernel
def list_steps(
    begin: ti.i32, end: ti.i32, step: float, limit: ti.i32, jitter: ti.i32, seed: ti.i32, resolution: ti.i32,
    scale: float, offset: float, origins: A2, directions: A2, box: A2, grid: I1, starts: I1, owner: I1, times: A1,
    widths: A1, positions: A1,
):  # fmt: skip
    """The samples that `count_steps` counted."""
    for ray in range(begin, end):
        t, gap, number = ray_steps(ray, origins, directions, box, step, limit, jitter, seed)
        slot, last = starts[ray] - starts[begin], starts[ray + 1] - starts[begin]
        for k in range(number):
            q = unit_position(ray, t + k * gap, origins, directions, box)
            if slot < last and occupied(q, resolution, grid):
                put(slot, ray, t + k * gap, gap, q, scale, offset, owner, times, widths, positions)
                slot += 1
        while slot < last:  # the count of another kernel may round differently
            put(slot, ray, t, 0.0, ti.Vector([0.5, 0.5, 0.5]), scale, offset, owner, times, widths, positions)
            slot += 1


@ti.kernel
def list_strata(
    begin: ti.i32, end: ti.i32, number: ti.i32, jitter: ti.i32, seed: ti.i32, scale: float, offset: float,
    origins: A2, directions: A2, box: A2, starts: I1, owner: I1, times: A1, widths: A1, positions: A1,
):  # fmt: skip
    """One sample in each of `number` equal parts of a ray's way through the box."""
    for ray in range(begin, end):
        if starts[ray + 1] > starts[ray]:
            ends, _ = box_interval(load3(origins, ray), load3(directions, ray), load3(box, 0), load3(box, 1))
            gap = (ends[1] - ends[0]) / number
            for k in range(number):
                u = 0.5
                if jitter != 0:
                    u = uniform(seed, ray + jitter - 1, k, 1)
                t = ends[0] + (k + u) * gap
                q = unit_position(ray, t, origins, directions, box)
                put(
                    (starts[ray] - starts[begin]) * number + k,
                    ray,
                    t,
                    gap,
                    q,
                    scale,
                    offset,
                    owner,
                    times,
                    widths,
                    positions,
                )


@ti.func
def inverse_cdf(target, first, number, weights: ti.template()):
    """Where in [0, number] the running sum of weights[first ...] + LEAST, linear within an entry, meets `target`."""
    bin, before, chance = 0, 0.0, weights[first] + LEAST
    while bin < number - 1 and before + chance < target:
        before += chance
        bin += 1
        chance = weights[first + bin] + LEAST
    return bin + ti.max(ti.min((target - before) / chance, 1.0), 0.0)


@ti.kernel
def refine(
    begin: ti.i32, end: ti.i32, number: ti.i32, extra: ti.i32, jitter: ti.i32, seed: ti.i32, starts: I1, weights: A1,
    places: A1,
):  # fmt: skip
    """places [rays * extra]: where more samples go, in [0, number], sorted; distributed as the coarse weights.

    weights: those of the `number` samples of every ray that meets the box.
    """
    for ray in range(begin, end):
        if starts[ray + 1] > starts[ray]:
            hit, total = starts[ray] - starts[begin], 0.0
            first = hit * number
            for k in range(number):
                total += weights[first + k] + LEAST
            for k in range(extra):
                u = 0.5
                if jitter != 0:
                    u = uniform(seed, ray + jitter - 1, k, 2)
                places[hit * extra + k] = inverse_cdf((k + u) / extra * total, first, number, weights)


@ti.kernel
def list_fine(
    begin: ti.i32, end: ti.i32, number: ti.i32, extra: ti.i32, scale: float, offset: float, origins: A2,
    directions: A2, box: A2, starts: I1, coarse_times: A1, places: A1, owner: I1, times: A1, widths: A1, positions: A1,
):  # fmt: skip
    """The coarse samples and those of `refine`, merged along every ray; a sample lasts until the next one."""
    for ray in range(begin, end):
        if starts[ray + 1] > starts[ray]:
            ends, _ = box_interval(load3(origins, ray), load3(directions, ray), load3(box, 0), load3(box, 1))
            hit, gap = starts[ray] - starts[begin], (ends[1] - ends[0]) / number
            base = hit * (number + extra)
            i, k = 0, 0
            for m in range(number + extra):
                one, two = ends[1], ends[1]
                if i < number:
                    one = coarse_times[hit * number + i]
                if k < extra:
                    two = ends[0] + places[hit * extra + k] * gap
                t = ti.min(one, two)
                if i < number and (one <= two or k >= extra):
                    i += 1
                else:
                    k += 1
                q = unit_position(ray, t, origins, directions, box)
                put(base + m, ray, t, 0.0, q, scale, offset, owner, times, widths, positions)
            for m in range(number + extra):
                after = ends[1]
                if m + 1 < number + extra:
                    after = times[base + m + 1]
                widths[base + m] = ti.max(after - times[base + m], 0.0)


@ti.kernel
def pad(begin: ti.i32, total: ti.i32, padded: ti.i32, owner: I1, widths: A1, positions: A1):
    """Harmless samples up to the end of the last block."""
    for n in range(total, padded):
        owner[n], widths[n] = begin, 0.0
        for a in ti.static(range(3)):
            positions[3 * n + a] = 0.5


@ti.kernel
def spread(count: ti.i32, columns: ti.i32, first: ti.i32, rows: ti.i32, owner: I1, of_rays: A2, values: A1):
    """Rows first .. first + columns - 1 of values [blocks * rows * BLOCK]: what of_rays [rays, columns] says."""
    for n in range(count):
        block = n // BLOCK
        for k in range(columns):
            values[(block * rows + first + k) * BLOCK + n - block * BLOCK] = of_rays[owner[n], k]


@ti.kernel
def gather(
    begin: ti.i32, end: ti.i32, columns: ti.i32, first: ti.i32, kept: ti.i32, starts: I1, share: ti.i32,
    to_values: A1, to_rays: A2,
):  # fmt: skip
    """Adjoint of `spread`: to_rays += sums over a ray's samples, `share` for each that `starts` counts."""
    for ray in range(begin, end):
        for k in range(columns):
            total = 0.0
            for n in range((starts[ray] - starts[begin]) * share, (starts[ray + 1] - starts[begin]) * share):
                block = n // BLOCK
                total += to_values[(block * kept + first + k) * BLOCK + n - block * BLOCK]
            to_rays[ray, k] = to_rays[ray, k] + total
