"""The gradient of what media do to a path: how far it gets, and what it would have brought from elsewhere in them.

Where a ray looks for changes of density, and how often a flight that passed a place is heeded, says medium.py. One of
the places that a path passed is picked by weighted reservoir sampling (Chao 1982), to be walked on from once the path
has been replayed: for all PICK numbers of it see `consider`.

What a flight brings is compared with USUAL, the mean of what other paths of the pixel bring: a flight's end is likelier
or less likely by just as much as all others together, so that whatever is taken off everywhere costs nothing on average
(Williams 1992, the baseline of REINFORCE), and in fog nearly all that is brought is noise otherwise.
"""

import taichi as ti

from .. import rng
from ..accumulate import load3
from ..transport import medium
from .vertex import FLIGHT, HEED

X, WAY, SHARE, SUM, WHICH, VERTICES, USUAL, PICK = 0, 3, 6, 9, 10, 11, 12, 15
OTHERS = 16  # paths of the pixel that are asked for what is usual


@ti.func
def pass_through(mask: ti.template(), t: ti.template(), o, d, reach, shadow, key, base):
    """`medium.travel` with the path's random numbers, and (medium, place, length) of `medium.spot` on the way."""
    through, met, far = medium.travel(mask, t, o, d, reach, shadow, rng.mix(key, base + FLIGHT + shadow))
    which, at, length = -1, 0.0, 0.0
    if ti.static(mask >> medium.LEARNS & 1):
        which, at, length = medium.spot(t, o, d, far, rng.mix(key, base + HEED + shadow))
    return through, met, far, which, o + at * d, length


@ti.func
def usual(paths: ti.template(), index, samples, weight):
    """The mean radiance along other paths of the pixel of path `index`, from what `trace` wrote; 0 if there are none.

    The path beside it is left out as well: mirrored samples share their random numbers with it."""
    first, count, total = index // samples * samples, ti.min(samples - 2, OTHERS), ti.Vector([0.0, 0.0, 0.0])
    after = (index - first) // 2 * 2 + 2
    for k in range(count):
        total += load3(paths, first + (after + k) % samples)
    return total / (ti.max(count, 1) * ti.max(weight, 1e-30))


@ti.func
def deposit(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), part: ti.template(), copy, which,
    where: ti.template(), amounts,
):  # fmt: skip
    """Gradients of the density of three media (-1: none), each at a place, a row of `where`."""
    first = copy * t.media_values.shape[0]
    if ti.static(atomic):
        for c in ti.static(range(3)):
            if which[c] >= 0:
                x = ti.Vector([where[c, 0], where[c, 1], where[c, 2]])
                medium.density_scatter(mask, t, part, first, which[c], x, amounts[c], True)
    else:
        for c in range(3):
            if which[c] >= 0:
                x = ti.Vector([where[c, 0], where[c, 1], where[c, 2]])
                medium.density_scatter(mask, t, part, first, which[c], x, amounts[c], False)


@ti.func
def consider(s: ti.template(), first: ti.template(), which, x, way, worth, vertices, u):
    """Maybe make this the picked place: the gradient of its density is SUM SHARE . (light scattered at x against
    `way` - USUAL), SUM being that of all weights; worth [3]: what SHARE would be if it were the only place."""
    weight = ti.abs(worth).max()
    if weight > 0.0:
        s[first + SUM] += weight
        if u * s[first + SUM] < weight:
            for c in ti.static(range(3)):
                s[first + X + c] = x[c]
                s[first + WAY + c] = way[c]
                s[first + SHARE + c] = worth[c] / weight
            s[first + WHICH] = which
            s[first + VERTICES] = vertices
