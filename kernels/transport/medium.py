"""Media that fill boxes of space: where a ray is scattered, how much light comes through, and the gradients of both.

    travel(mask, t, o, d, reach, shadow, key) -> (transmittance, medium or -1, distance)
    spot(t, o, d, reach, key) -> (medium or -1, distance, length)
    density(mask, t, medium, x) -> number;  density_scatter(mask, t, part, first, medium, x, g, atomic)
    gather(t, medium, x) -> p [PARAMS];  scatter(t, part, first, medium, x, g [PARAMS], atomic)

A medium has an extinction `density`, the same for all colours, an albedo [3] and the mean cosine g of Henyey and
Greenstein; its boundary does nothing. Boxes may overlap: media add up. `mask` has the bit slots.PHASE if there is any
medium, and ACTIVATION + a for each kind a of activation of densities (../volume/march.py) that occurs.

    media [M, COLUMNS]: ROWS, 3 x 4, world to cells (0 at the first one's centre); SHIFT of the activation; LEAST and
        MOST, bounds of the density; SOFT, 1 / diagonal of the box, in the world.
    media_places int [M, 8]: KIND of activation, first row of the densities, WIDTH, HEIGHT, DEPTH, first row of the
        albedo, 1 if there is one for each cell, row of g.
    media_values [N, 1]: all numbers. Gradients are added to part[first + row].

Free flights by null collisions (Woodcock et al. 1965; Galtier et al. 2013), each medium on its own, the nearest
collision counts. Transmittance by residual ratio tracking around LEAST (Novak, Selle and Jarosz 2014), exact where the
density is the same everywhere. Distances stay where they are when densities change. With T the transmittance, f the
light from farther on and s(x) what x scatters towards the ray's origin, d(density) at x changes what comes along the
ray by T(x) s(x) - f: `spot` chooses x with even probability, and as flights that pass x have the probability T(x),

    length * d(density)(x) * (s(x) - f)  averages to the change,  length being that of the flight inside media.

s(x) takes a walk of its own. Where x lies in something dense, the flights that do end there tell the same: they have
the density T(x) density(x). `heed` shares the two out, so that cells of density 0 are heard too (the aim of
Nimier-David, Mueller, Keller and Jakob 2022, "Unbiased Inverse Volume Rendering with Differential Trackers").
"""

import taichi as ti

from .. import rng
from ..accumulate import add
from ..rays import box_interval
from ..volume.grid import corner_row, corner_weight
from ..volume.march import density_of, density_slope, locate, row_steps
from .slots import ALBEDO, ANISOTROPY, PARAMS

ACTIVATION = 20  # bits of the mask: 20-22
LEARNS = 23  # bit of the mask: somebody wants the gradient of a medium
ROWS, SHIFT, LEAST, MOST, SOFT, COLUMNS = 0, 12, 13, 14, 15, 16
KIND, DENSITIES, WIDTH, HEIGHT, DEPTH, ALBEDOS, PER_CELL, G, PLACES = 0, 1, 2, 3, 4, 5, 6, 7, 8
COLLISIONS = 1 << 22  # of one ray in one medium, null ones included: where something is not finite
FAINT = 0.05  # transmittance below which a shadow ray is given up at random


@ti.func
def to_cells(t: ti.template(), medium, x, w: ti.template()):
    """A point (w = 1) or direction (w = 0) in cells."""
    q = ti.Vector([0.0, 0.0, 0.0])
    for i in ti.static(range(3)):
        for k in ti.static(range(3)):
            q[i] += t.media[medium, ROWS + 4 * i + k] * x[k]
        if ti.static(w):
            q[i] += t.media[medium, ROWS + 4 * i + 3]
    return q


@ti.func
def extent(t: ti.template(), medium):
    return ti.Vector([t.media_places[medium, WIDTH + k] for k in ti.static(range(3))])


@ti.func
def inside(t: ti.template(), medium, o, d, reach):
    """(start and direction in cells, distances between which the ray is in the medium's box)."""
    q, w, size = to_cells(t, medium, o, True), to_cells(t, medium, d, False), extent(t, medium)
    times, _axes = box_interval(q, w, ti.Vector([-0.5, -0.5, -0.5]), size - 0.5)
    return q, w, times[0], ti.min(times[1], reach)


@ti.func
def look_up(t: ti.template(), medium, q):
    """The interpolated number of the grid of densities."""
    size = extent(t, medium)
    row, at = locate(q, size)
    steps = row_steps(size)
    row += t.media_places[medium, DENSITIES]
    number = 0.0
    for corner in ti.static(range(8)):
        number += corner_weight(at, corner) * t.media_values[corner_row(row, steps, corner), 0]
    return number


@ti.func
def density_in(mask: ti.template(), t: ti.template(), medium, q):
    """Extinction per length in the world at a place in cells."""
    number, value = look_up(t, medium, q), 0.0
    for a in ti.static(range(3)):
        if ti.static(mask >> (ACTIVATION + a) & 1):
            if t.media_places[medium, KIND] == a:
                value = density_of(number, t.media[medium, SHIFT], a)
    return ti.max(value, 0.0)


@ti.func
def density(mask: ti.template(), t: ti.template(), medium, x):
    return density_in(mask, t, medium, to_cells(t, medium, x, True))


@ti.func
def heed(mask: ti.template(), t: ti.template(), medium, x):
    """(a, b): a flight that ended at x tells a times d(density), and one that passed it b times the whole; a density +
    b = 1."""
    soft = t.media[medium, SOFT]
    whole = density(mask, t, medium, x) + soft
    return 1.0 / whole, soft / whole


@ti.func
def travel(mask: ti.template(), t: ti.template(), o, d, reach, shadow, key):
    """A ray of unit direction, `reach` long: with shadow = 1 an unbiased estimate of its transmittance, else the medium
    that scatters it first, if one does, and where."""
    through, met, far = 1.0, -1, reach
    for medium in range(t.media.shape[0]):
        q, w, begin, end = inside(t, medium, o, d, far)
        if begin < end and through > 0.0:
            least, rate = 0.0, t.media[medium, MOST]
            if shadow == 1:
                least = t.media[medium, LEAST]
                rate -= least
                through *= ti.exp(-least * (end - begin))
            rate = ti.max(rate, 1e-30)
            own, turn, at = rng.mix(key, medium), 0, begin
            searching = 1
            while searching == 1 and turn < 2 * COLLISIONS:
                at -= ti.log(1.0 - rng.draw(own, turn)) / rate
                searching = 0
                if at < end:
                    searching = 1
                    share = (density_in(mask, t, medium, q + at * w) - least) / rate
                    chance = rng.draw(own, turn + 1)
                    if shadow == 0:
                        if chance < share:
                            met, far, searching = medium, at, 0
                    else:
                        through *= ti.max(1.0 - share, 0.0)
                        if through < FAINT:
                            through *= 2.0
                            if chance < 0.5:
                                through, searching = 0.0, 0
                turn += 2
    return through, met, far


@ti.func
def spot(t: ti.template(), o, d, reach, key):
    """A place along a ray, all places in media equally likely: (medium, -1 where there is none, its distance, the
    length in media, overlapping ones counted each)."""
    met, far, length = -1, 0.0, 0.0
    for medium in range(t.media.shape[0]):
        _q, _w, begin, end = inside(t, medium, o, d, reach)
        if begin < end:
            length += end - begin
            if rng.draw(key, 2 * medium) * length < end - begin:
                met, far = medium, begin + rng.draw(key, 2 * medium + 1) * (end - begin)
    return met, far, length


@ti.func
def density_scatter(
    mask: ti.template(), t: ti.template(), part: ti.template(), first, medium, x, g, atomic: ti.template()
):
    """Adjoint of `density`."""
    q, size = to_cells(t, medium, x, True), extent(t, medium)
    slope = 0.0
    for a in ti.static(range(3)):
        if ti.static(mask >> (ACTIVATION + a) & 1):
            if t.media_places[medium, KIND] == a:
                slope = density_slope(look_up(t, medium, q), t.media[medium, SHIFT], a)
    row, at = locate(q, size)
    steps = row_steps(size)
    row += first + t.media_places[medium, DENSITIES]
    for corner in ti.static(range(8)):
        add(part, corner_row(row, steps, corner), g * slope * corner_weight(at, corner), atomic)


@ti.func
def albedo_cell(t: ti.template(), medium, x):
    """(first number of the first corner's albedo, distances between numbers of neighbours, place between them)."""
    size = extent(t, medium)
    row, at = locate(to_cells(t, medium, x, True), size)
    wide = 3 * t.media_places[medium, PER_CELL]
    return t.media_places[medium, ALBEDOS] + wide * row, wide * row_steps(size), at


@ti.func
def gather(t: ti.template(), medium, x):
    """What bsdf_phase.py reads."""
    p = ti.Vector.zero(float, PARAMS)
    row, steps, at = albedo_cell(t, medium, x)
    for corner in ti.static(range(8)):
        for c in ti.static(range(3)):
            p[ALBEDO + c] += corner_weight(at, corner) * t.media_values[corner_row(row, steps, corner) + c, 0]
    p[ANISOTROPY] = t.media_values[t.media_places[medium, G], 0]
    return p


@ti.func
def scatter(t: ti.template(), part: ti.template(), first, medium, x, g: ti.template(), atomic: ti.template()):
    """Adjoint of `gather`."""
    row, steps, at = albedo_cell(t, medium, x)
    for corner in ti.static(range(8)):
        for c in ti.static(range(3)):
            add(part, first + corner_row(row, steps, corner) + c, corner_weight(at, corner) * g[ALBEDO + c], atomic)
    add(part, first + t.media_places[medium, G], g[ANISOTROPY], atomic)
