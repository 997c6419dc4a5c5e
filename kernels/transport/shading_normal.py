"""Shading normals that are not their face's: how they are used where the two disagree, with adjoints.

Seen edge on, a face shows places whose interpolated or mapped normal points away from the viewer, where no BSDF
scatters; there the normal leans towards the viewer until it is on that side (`leaning`). Light from below the face is
in the body's own shadow though the shading normal may face it: none of it counts, and light from just above it fades
(`horizon`), so that radiance does not jump where a face turns from a light (as Chiang, Li and Burley 2019, "Taming the
Shadow Terminator", with a narrower band). Both leave alone a normal that is its face's, and have continuous slopes.
"""

import taichi as ti

from .surface import unit

LEAST = 0.02  # cosine to the viewer below which a normal begins to lean, so that half of it is left
FADE = 4.0  # light counts in full above a cosine to the face of 1 / FADE of what the shading normal makes of it


@ti.func
def _shift(n, w, cross):
    """(side, width, how much the cosine is short of it, how far to lean, its slopes by short and by width)."""
    side = 1.0
    if cross.dot(w) < 0.0:
        side = -1.0
    width = ti.min(side * unit(cross).dot(w), LEAST)
    short = width - side * n.dot(w)
    push, by_short, by_width = 0.0, 0.0, 0.0
    if short > 0.0 and width > 0.0:
        push, by_short, by_width = short - 0.5 * width, 1.0, -0.5
        if short < width:
            by_short = short / width
            push, by_width = 0.5 * short * by_short, -0.5 * by_short * by_short
    return side, width, push, by_short, by_width


@ti.func
def leaning(n, w, cross):
    """The unit normal n as seen from the unit direction w, on the side of the face, of normal `cross`, that w is on."""
    side, _width, push, _short, _by_width = _shift(n, w, cross)
    out = n
    if push > 0.0:
        out = unit(n + side * push * w)
    return out


@ti.func
def leaning_adjoint(n, w, cross, g):
    """To (n, w, cross), for the gradient g of `leaning`."""
    side, width, push, by_short, by_width = _shift(n, w, cross)
    to_n, to_w, to_cross = g, 0.0 * g, 0.0 * g
    if push > 0.0:
        sum_of = n + side * push * w
        length = sum_of.norm()
        out = sum_of / length
        to_n = (g - out * out.dot(g)) / length
        to_push = side * w.dot(to_n)
        to_short = to_push * by_short
        to_w = side * (push * to_n - to_short * n)
        to_n -= side * to_short * w
        if width < LEAST:
            to_width, size = side * (to_short + to_push * by_width), cross.norm()
            face = cross / size
            to_w += to_width * face
            to_cross = to_width * (w - face * face.dot(w)) / size
    return to_n, to_w, to_cross


@ti.func
def horizon(n, cross, d):
    """Share of the light along d, on the same side of face and shading normal n, that counts: 0 along the face."""
    above, whole = FADE * ti.abs(d.dot(cross)), ti.abs(d.dot(n) * n.dot(cross))
    share = 1.0
    if above < whole:
        share = above / whole
    return share * (1.0 + share * (1.0 - share))


@ti.func
def horizon_adjoint(n, cross, d, weight):
    """Gradients of weight * log(horizon) to (n, cross, d)."""
    above, along, lean = d.dot(cross), d.dot(n), n.dot(cross)
    to_n, to_cross, to_d = 0.0 * n, 0.0 * n, 0.0 * n
    share = FADE * ti.abs(above)
    if 0.0 < share < ti.abs(along * lean):
        share /= ti.abs(along * lean)
        slope = weight * (1.0 + share * (2.0 - 3.0 * share)) / (1.0 + share * (1.0 - share))
        to_n = -slope * (d / along + cross / lean)
        to_cross = slope * (d / above - n / lean)
        to_d = slope * (cross / above - n / along)
    return to_n, to_cross, to_d
