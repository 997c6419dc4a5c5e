"""Light that goes on under a surface, from what the camera sees of it: a blur in world units, with its adjoint.

d'Eon and Luebke 2007, "Advanced Techniques for Realistic Real-Time Skin Rendering": sums of Gaussians; Jimenez et al.
2009, "Screen-Space Perceptual Rendering of Human Skin": in the picture.

An entry at p takes the mean over pixels in a spiral around its own, of its material only: that at q, r from it in units
of a channel's width, counts exp(-2 r^2) + exp(-r^2 / 2) / 4, two Gaussians of equal volume. The spiral's pixels stand
for areas that grow with their distance from its middle. Nothing jumps but which pixels are looked at.
"""

import taichi as ti

from ..accumulate import TASK, add, load3
from .occlusion import seen_at, spiral_of

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

SAMPLES = 80
SPIRAL = spiral_of(SAMPLES)
REACH = 3.0  # widths of the widest channel that the spiral spans


@ti.func
def profile(square):
    """What r^2 counts, and the slope of that."""
    near, far = ti.exp(-2.0 * square), 0.25 * ti.exp(-0.5 * square)
    return near + far, -2.0 * near - 0.5 * far


@ti.func
def neighbor(
    e, k, width, height, spiral: ti.template(), place: ti.template(), face: ti.template(), pixel_entry: ti.template(),
    projection: ti.template(), material: ti.template(), widths: ti.template(), positions: ti.template(),
):  # fmt: skip
    """The k-th entry that e mixes with, -1 for none; -1 for all where its material has no width."""
    own, found = material[face[e]], -1
    widest = ti.max(widths[own, 0], ti.max(widths[own, 1], widths[own, 2]))
    if widest > 0.0:
        found = seen_at(
            e, k, REACH * widest, width, height, spiral, place, pixel_entry, projection, load3(positions, e)
        )
        if found >= 0 and material[face[ti.max(found, 0)]] != own:
            found = -1
    return found


@ti.kernel
def diffuse(
    entries: ti.i32, width: ti.i32, height: ti.i32, spiral: A2, place: A1, face: A1, pixel_entry: A1, projection: A2,
    material: A1, widths: A2, positions: A2, colors: A2, out: A2, totals: A2,
):  # fmt: skip
    """out [n, 3] = the means, colors where a width is 0; totals [n, 3] = what all neighbours count."""
    for e in range(entries):
        own, p = material[face[e]], load3(positions, e)
        total, color = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        for k in range(SAMPLES):
            q = neighbor(e, k, width, height, spiral, place, face, pixel_entry, projection, material, widths, positions)
            if q >= 0:
                v = load3(positions, q) - p
                for c in ti.static(range(3)):
                    if widths[own, c] > 0.0:
                        weight, _ = profile(v.dot(v) / widths[own, c] ** 2)
                        total[c] += (k + 0.5) * weight
                        color[c] += (k + 0.5) * weight * colors[q, c]
        for c in ti.static(range(3)):
            totals[e, c] = total[c]
            out[e, c] = colors[e, c]
            if total[c] > 0.0:
                out[e, c] = color[c] / total[c]


@ti.kernel
def diffuse_adjoint(
    chunks: ti.i32, rows: ti.i32, kinds: ti.i32, entries: ti.i32, width: ti.i32, height: ti.i32, spiral: A2, place: A1,
    face: A1, pixel_entry: A1, projection: A2, material: A1, widths: A2, positions: A2, colors: A2, out: A2,
    totals: A2, grad_out: A2, part_colors: A1, part_positions: A1, part_widths: A1, atomic: ti.template(),
):  # fmt: skip
    """Adds to part_colors and part_positions [chunks * rows * 3], and part_widths [chunks * kinds * 3]."""
    for ticket in range(entries * SAMPLES if ti.static(atomic) else chunks * TASK):
        chunk, start, end, first, last = 0, ticket // SAMPLES, ticket // SAMPLES + 1, ticket % SAMPLES, ticket % SAMPLES
        if ti.static(not atomic):
            chunk, first, last = ticket // TASK, 0, SAMPLES - 1
            start, end = chunk * entries // chunks, (chunk + 1) * entries // chunks
            if ticket % TASK != 0:
                end = start
        for e in range(start, end):
            own = material[face[e]]
            for k in range(first, last + 1):
                q = neighbor(
                    e, k, width, height, spiral, place, face, pixel_entry, projection, material, widths, positions
                )
                v = ti.Vector([0.0, 0.0, 0.0])
                if q >= 0:
                    v = load3(positions, q) - load3(positions, e)
                for c in ti.static(range(3)):
                    g, to_q = grad_out[e, c], 0.0
                    if totals[e, c] == 0.0:
                        if k == 0:
                            add(part_colors, 3 * (chunk * rows + e) + c, g, atomic)
                    elif q >= 0:
                        inverse = 1.0 / widths[own, c]
                        weight, slope = profile(v.dot(v) * inverse * inverse)
                        share = (k + 0.5) / totals[e, c]
                        add(part_colors, 3 * (chunk * rows + q) + c, g * share * weight, atomic)
                        to_q = 2.0 * g * share * slope * (colors[q, c] - out[e, c]) * inverse * inverse
                        add(part_widths, 3 * (chunk * kinds + own) + c, -to_q * v.dot(v) * inverse, atomic)
                        for d in ti.static(range(3)):
                            add(part_positions, 3 * (chunk * rows + q) + d, to_q * v[d], atomic)
                            add(part_positions, 3 * (chunk * rows + e) + d, -to_q * v[d], atomic)
