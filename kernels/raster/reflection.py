"""Reflections of what the camera sees: rays marched through its depths, colours fetched where they end; with adjoint.

McGuire and Mara 2014, "Efficient GPU Screen-Space Ray Tracing"; glossy as in Stachowiak 2015, "Stochastic Screen-Space
Reflections", with fixed directions.
"""

import taichi as ti

from ..accumulate import TASK, add3, load3
from ..rng import uniform
from ..shading.brdf import GRAZING, smooth_roughness, unit

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)

RAYS, STEPS, HALVINGS = 4, 32, 6
ENDS = 4 * RAYS  # each ray fetches from four pixels
TURN = 2.399963229728653
LEAST = 1e-3  # reflectance below which no ray is followed, and share of the distance that counts as the surface itself
BORDER = 0.1  # of the picture's sides, where reflections fade out


@ti.kernel
def reflectance(buffer: ti.template(), n: ti.i32, family_of_material: A1I, family: ti.i32):
    """color = Schlick's Fresnel term times (1 - roughness)^2, for materials of a family; Taichi's adjoint."""
    for i in range(n):
        if family_of_material[buffer.material[i]] == family:
            rest = 1.0 - ti.max(unit(buffer.normal[i]).dot(unit(buffer.view[i])), GRAZING)
            base = 0.04 + (buffer.albedo[i] - 0.04) * buffer.metallic[i]
            smooth = 1.0 - buffer.roughness[i]
            rest2 = rest * rest
            buffer.color[i] += (base + (1.0 - base) * (rest2 * rest2 * rest)) * (smooth * smooth)


@ti.func
def entry_at(view, column, row, width, height, pixel_entry: ti.template()):
    """The entry that a pixel sees; -1 for none, or out of the picture."""
    found = -1
    if column >= 0.0 and row >= 0.0 and column < width and row < height:
        found = pixel_entry[(view * height + ti.cast(row, ti.i32)) * width + ti.cast(column, ti.i32)]
    return found


@ti.func
def behind(buffer: ti.template(), view, x, width, height, pixel_entry: ti.template(), projection: ti.template()):
    """(column, row, how far x lies behind what is seen there), and the entry seen; -1 behind nothing."""
    h = ti.Vector([projection[view, 4 * r + 3] for r in ti.static(range(4))])
    for r in ti.static(range(4)):
        for c in ti.static(range(3)):
            h[r] += projection[view, 4 * r + c] * x[c]
    q, column, row, gap = -1, -1.0, -1.0, -1.0
    if h[2] > 1e-12:
        column, row = h[0] / h[2], h[1] / h[2]
        q = entry_at(view, column, row, width, height, pixel_entry)
    if q >= 0:
        there, gap = buffer.position[q], h[3] - projection[view, 15]
        for c in ti.static(range(3)):
            gap -= projection[view, 12 + c] * there[c]
    return ti.Vector([column, row, gap]), q


@ti.func
def mirrored(normal, view, roughness, k, turn):
    """The view, mirrored by the k-th of RAYS microfacets that GGX strews around the normal."""
    alpha = smooth_roughness(roughness) ** 2
    u = (k + 0.5) / RAYS
    slope = alpha * ti.sqrt(u / (1.0 - u))
    axis = ti.Vector([1.0, 0.0, 0.0])
    if ti.abs(normal[0]) > 0.7:
        axis = ti.Vector([0.0, 1.0, 0.0])
    t = unit(normal.cross(axis))
    half = unit(normal + slope * (ti.cos(turn) * t + ti.sin(turn) * normal.cross(t)))
    return 2.0 * view.dot(half) * half - view


@ti.kernel
def march(
    buffer: ti.template(), entries: ti.i32, distance: float, width: ti.i32, height: ti.i32, place: A1, pixel_entry: A1,
    projection: A2, shares: A2, ends: A2, weights: A2,
):  # fmt: skip
    """The entries [n, ENDS] whose colours the rays of each entry fetch, -1 for none, and what each counts."""
    for e, k in ti.ndrange(entries, RAYS):
        view, hit, worth = place[3 * e], ti.Vector([0.0, 0.0, 0.0]), 0.0
        if shares[e, 0] + shares[e, 1] + shares[e, 2] > LEAST:
            p, n = buffer.position[e], unit(buffer.normal[e])
            turn = TURN * k + 6.283185307179586 * uniform(0, place[3 * e + 1], place[3 * e + 2], 0)
            way = mirrored(n, unit(buffer.view[e]), buffer.roughness[e], k, turn)
            for s in range(STEPS):
                far = distance * (s + 1.0) / STEPS
                hit, q = behind(buffer, view, p + far * way, width, height, pixel_entry, projection)
                if hit[2] > 0.0 and way.dot(n) > 0.0:
                    near = distance * s / STEPS
                    for _ in range(HALVINGS):
                        middle = 0.5 * (near + far)
                        there, r = behind(buffer, view, p + middle * way, width, height, pixel_entry, projection)
                        if there[2] > 0.0:
                            far, hit, q = middle, there, r
                        else:
                            near = middle
                    close = 1.0 - hit[2] * STEPS / distance
                    apart = (buffer.position[q] - p).dot(n) > LEAST * distance
                    if close > 0.0 and apart and buffer.normal[q].dot(way) < 0.0:
                        rim = ti.min(ti.min(hit[0], width - hit[0]) / width, ti.min(hit[1], height - hit[1]) / height)
                        worth = close * (1.0 - far / distance) * ti.min(rim / BORDER, 1.0) / RAYS
                        break
        total, left, top = 0.0, ti.floor(hit[0] - 0.5), ti.floor(hit[1] - 0.5)
        for i, j in ti.static(ti.ndrange(2, 2)):
            slot, q = 4 * k + 2 * i + j, -1
            if worth > 0.0:
                q = entry_at(view, left + i, top + j, width, height, pixel_entry)
            ends[e, slot] = q
            weights[e, slot] = (1.0 - ti.abs(hit[0] - 0.5 - left - i)) * (1.0 - ti.abs(hit[1] - 0.5 - top - j))
            if q >= 0:
                total += weights[e, slot]
        for c in ti.static(range(4)):
            weights[e, 4 * k + c] = worth * weights[e, 4 * k + c] / ti.max(total, 1e-6)


@ti.func
def fetched(e, ends: ti.template(), weights: ti.template(), colors: ti.template()):
    """The mean of what the rays of an entry end at."""
    color = ti.Vector([0.0, 0.0, 0.0])
    for k in range(ENDS):
        if ends[e, k] >= 0:
            color += weights[e, k] * load3(colors, ends[e, k])
    return color


@ti.kernel
def reflect(entries: ti.i32, ends: A2, weights: A2, colors: A2, shares: A2, out: A2):
    """out [n, 3] = colors + shares * what the rays of each entry end at."""
    for e in range(entries):
        seen = fetched(e, ends, weights, colors)
        for c in ti.static(range(3)):
            out[e, c] = colors[e, c] + shares[e, c] * seen[c]


@ti.kernel
def reflect_adjoint(
    chunks: ti.i32, rows: ti.i32, entries: ti.i32, ends: A2, weights: A2, colors: A2, shares: A2, grad_out: A2,
    grad_shares: A2, part: A1, atomic: ti.template(),
):  # fmt: skip
    """Adds to the gradient of shares, and of colors to part [chunks * rows * 3]."""
    for ticket in range(entries if ti.static(atomic) else chunks * TASK):
        chunk, start, end = 0, ticket, ticket + 1
        if ti.static(not atomic):
            chunk = ticket // TASK
            start, end = chunk * entries // chunks, (chunk + 1) * entries // chunks
            if ticket % TASK != 0:
                end = start
        for e in range(start, end):
            g, seen = load3(grad_out, e), fetched(e, ends, weights, colors)
            add3(part, chunk * rows + e, g, atomic)
            for c in ti.static(range(3)):
                grad_shares[e, c] = grad_shares[e, c] + g[c] * seen[c]
            for k in range(ENDS):
                if ends[e, k] >= 0:
                    add3(part, chunk * rows + ends[e, k], weights[e, k] * g * load3(shares, e), atomic)
