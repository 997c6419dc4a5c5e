"""Blobs of Gaussian density and how much of each a ray sees (Rhodin et al. 2015); with an adjoint.

A blob that takes the share o of a ray through its centre has there the optical depth u = -log(1 - o), which is
c sigma sqrt(2 pi) for a density of c. A ray o + s n that passes it at s = m with distance d finds a Gaussian along s of
optical depth h = u exp(-d^2 / (2 sigma^2)), so that what is left of the ray at s is

    T(s) = exp(-sum over blobs of h / 2 (erf((s - m) / (sqrt(2) sigma)) + erf(m / (sqrt(2) sigma))))

and what is seen of a blob V = h / sqrt(2 pi) sum over k = -4 ... 0 of exp(-k^2 / 2) T(m + k sigma). A blob ends REACH
standard deviations from its centre.

Records of the adjoint (see `SplatLists`): the gradients of centre, radius (sigma), opacity and features.
"""

import math

import taichi as ti

from ..accumulate import load3
from .sphere_blend import HEAD, covers, depth_of, extent

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

REACH = 6.0
SAMPLES = 5
ROOT_2, ROOT_PI = math.sqrt(2), math.sqrt(math.pi)
# Of exp(x^2) erfc(x) / t with t = 4 / (4 + x), by powers of 2 t - 1, from the last: within 4e-13 for erf.
SERIES = (
    -1.1115263266653e-07, -2.7909917872944e-07, 1.007577800956e-06, 4.5828669023532e-06, -7.513904680068e-07,
    -4.4081499261671e-05, -0.00011385241237248, 7.0175760312628e-05, 0.0015280440254713, 0.0065925324365655,
    0.019095372977487, 0.043502731281076, 0.082712897522008, 0.13521345804412, 0.19330217554581, 0.24413718226573,
    0.27399891525025,
)  # fmt: skip


@ti.func
def erf(x):
    """The error function of x, and exp(-x^2)."""
    t, bell = 4.0 / (4.0 + ti.abs(x)), ti.exp(-x * x)
    y, value = 2.0 * t - 1.0, 0.0 * t
    for factor in ti.static(SERIES):
        value = value * y + factor
    value = 1.0 - t * bell * value
    return value if x >= 0.0 else -value, bell


@ti.kernel
def boxes(
    views: ti.i32, count: ti.i32, height: ti.i32, width: ti.i32, positions: A2, radii: A2, places: A2, reach: A2,
    projection: A2, limits: A2, fronts: A2, box: A1,
):  # fmt: skip
    """Pixels that a blob may reach, all where it reaches before the near plane; fronts as in `sphere_blend`."""
    for item in range(views * count):
        view = item // count
        n = item - view * count
        p, r = load3(positions, n), REACH * radii[n, 0]
        front = depth_of(projection, view, p) - r
        fronts[item, 0] = front
        first, last, top, bottom = 1, 0, 1, 0
        if reach[item, 0] > 0.0 and front > limits[view, 1]:
            first, last, top, bottom = extent(
                projection, view, p, r, limits[view, 0] > 0.5, places[item, 0], places[item, 1], width, height
            )
        elif reach[item, 0] > 0.0:
            first, last, top, bottom = 0, width - 1, 0, height - 1
        box[4 * item] = first
        box[4 * item + 1] = last
        box[4 * item + 2] = top
        box[4 * item + 3] = bottom


@ti.func
def along_ray(centre, sigma, opacity, origin, direction):
    """Vector to the centre, place m along the ray, offset of the centre from there, fall-off, h."""
    to_centre = centre - origin
    m = to_centre.dot(direction)
    offset = to_centre - m * direction
    fall = ti.exp(-0.5 * offset.dot(offset) / (sigma * sigma))
    return to_centre, m, offset, fall, -ti.log(1.0 - opacity) * fall


@ti.func
def depths_before(
    m, sigma, n_all, most, begin, end, column, row, view, entries: ti.template(), box: ti.template(),
    positions: ti.template(), radii: ti.template(), opacities: ti.template(), origin, direction,
):  # fmt: skip
    """Optical depths of all blobs before the samples m, m - sigma, ... of one."""
    total = ti.Vector.zero(float, SAMPLES)
    for e in range(begin, end):
        item = entries[e]
        if covers(box, item, column, row):
            n = item - view * n_all
            wide = ROOT_2 * radii[n, 0]
            _, place, _, _, h = along_ray(
                load3(positions, n), radii[n, 0], ti.min(opacities[n, 0], most), origin, direction
            )
            whole, _ = erf(place / wide)
            for k in range(SAMPLES):
                part, _ = erf((m - k * sigma - place) / wide)
                total[k] += 0.5 * h * (part + whole)
    return total


@ti.kernel
def blend(
    pixels: ti.i32, height: ti.i32, width: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, box: A1, positions: A2, radii: A2, opacities: A2, origins: A2, directions: A2, features: A2,
    most: float, channels: ti.i32, sums: A2, alpha: A2, seen: A2,
):  # fmt: skip
    """sums [pixels, C] of V * feature, seen [pixels, 1] of V, alpha [pixels, 1] = 1 - T at the end of the ray."""
    count = opacities.shape[0]
    for pixel in range(pixels):
        line = pixel // width
        view = line // height
        row, column = line - view * height, pixel - line * width
        place = (view * tiles_y + row // tile) * tiles_x + column // tile
        origin, direction = load3(origins, pixel), load3(directions, pixel)
        for c in range(channels):
            sums[pixel, c] = 0.0
        whole, visible = 0.0, 0.0
        for e in range(start[place], start[place + 1]):
            item = entries[e]
            if covers(box, item, column, row):
                n = item - view * count
                sigma = radii[n, 0]
                _, m, _, _, h = along_ray(load3(positions, n), sigma, ti.min(opacities[n, 0], most), origin, direction)
                before = depths_before(
                    m, sigma, count, most, start[place], start[place + 1], column, row, view, entries, box, positions,
                    radii, opacities, origin, direction,
                )  # fmt: skip
                share = 0.0
                for k in range(SAMPLES):
                    share += ti.exp(-0.5 * k * k) * ti.exp(-before[k])
                share *= h / (ROOT_2 * ROOT_PI)
                for c in range(channels):
                    sums[pixel, c] = sums[pixel, c] + share * features[item, c]
                visible += share
                part, _ = erf(m / (ROOT_2 * sigma))
                whole += 0.5 * h * (1.0 + part)
        alpha[pixel, 0] = 1.0 - ti.exp(-whole)
        seen[pixel, 0] = visible


@ti.func
def record(records: ti.template(), at, to_h, to_m, to_sigma, h, fall, sigma, own, most, offset, direction):
    """Adds to a blob's record what h, m and sigma get; what its centre gets across the ray, over all."""
    across = -to_h * h / (sigma * sigma) * offset
    for k in ti.static(range(3)):
        records[at + k] = records[at + k] + across[k] + to_m * direction[k]
    records[at + 3] = records[at + 3] + to_sigma + to_h * h * offset.dot(offset) / (sigma * sigma * sigma)
    if own < most:
        records[at + 4] = records[at + 4] + to_h * fall / (1.0 - own)
    return across


@ti.kernel
def blend_adjoint(
    tiles: ti.i32, height: ti.i32, width: ti.i32, tile: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, start: A1,
    entries: A1, slots: A1, box: A1, positions: A2, radii: A2, opacities: A2, origins: A2, directions: A2,
    features: A2, most: float, channels: ti.i32, alpha: A2, grad_sums: A2, grad_alpha: A2, grad_seen: A2, records: A1,
    grad_origins: A2, grad_directions: A2, spread: ti.i32,
):  # fmt: skip
    """records [slots * (HEAD + C)] and the gradients of the rays; a tile is the work of one thread."""
    count, size = opacities.shape[0], HEAD + channels
    for ticket in range(tiles * spread):
        place = ticket // spread
        if ticket % spread != 0:
            continue
        begin, end = start[place], start[place + 1]
        for e in range(begin, end):
            for k in range(size):
                records[slots[e] * size + k] = 0.0
        line = place // tiles_x
        view = line // tiles_y
        top, left = (line - view * tiles_y) * tile, (place - line * tiles_x) * tile
        bottom, right = ti.min(top + tile, height), ti.min(left + tile, width)
        if begin == end:
            bottom = top
        for row, column in ti.ndrange((top, bottom), (left, right)):
            pixel = (view * height + row) * width + column
            origin, direction = load3(origins, pixel), load3(directions, pixel)
            to_origin, to_direction = ti.Vector.zero(float, 3), ti.Vector.zero(float, 3)
            to_whole = grad_alpha[pixel, 0] * (1.0 - alpha[pixel, 0])
            for e in range(begin, end):
                item = entries[e]
                if covers(box, item, column, row):
                    n = item - view * count
                    sigma, own = radii[n, 0], opacities[n, 0]
                    to_centre, m, offset, fall, h = along_ray(
                        load3(positions, n), sigma, ti.min(own, most), origin, direction
                    )
                    before = depths_before(
                        m, sigma, count, most, begin, end, column, row, view, entries, box, positions, radii,
                        opacities, origin, direction,
                    )  # fmt: skip
                    worth, at = grad_seen[pixel, 0], slots[e] * size
                    for c in range(channels):
                        worth += grad_sums[pixel, c] * features[item, c]
                    through, terms = 0.0, ti.Vector.zero(float, SAMPLES)
                    for k in range(SAMPLES):
                        terms[k] = ti.exp(-0.5 * k * k) * ti.exp(-before[k]) / (ROOT_2 * ROOT_PI)
                        through += terms[k]
                    for c in range(channels):
                        records[at + HEAD + c] = records[at + HEAD + c] + h * through * grad_sums[pixel, c]
                    terms *= worth * h
                    part, bell = erf(m / (ROOT_2 * sigma))
                    slope = h * bell / (ROOT_PI * sigma)
                    to_h = worth * through + 0.5 * to_whole * (1.0 + part)
                    to_m = to_whole * slope / ROOT_2
                    to_sigma = -to_whole * slope * m / (ROOT_2 * sigma)
                    for other in range(begin, end):
                        if covers(box, entries[other], column, row):
                            j = entries[other] - view * count
                            sigma_j, own_j = radii[j, 0], opacities[j, 0]
                            to_centre_j, m_j, offset_j, fall_j, h_j = along_ray(
                                load3(positions, j), sigma_j, ti.min(own_j, most), origin, direction
                            )
                            start_j, bell_j = erf(m_j / (ROOT_2 * sigma_j))
                            to_h_j, to_m_j, to_sigma_j = 0.0, 0.0, 0.0
                            for k in range(SAMPLES):
                                z = (m - k * sigma - m_j) / (ROOT_2 * sigma_j)
                                part_j, bell_k = erf(z)
                                density = terms[k] * h_j / (ROOT_PI * sigma_j)
                                to_h_j -= 0.5 * terms[k] * (part_j + start_j)
                                to_m_j += density * (bell_k - bell_j) / ROOT_2
                                to_sigma_j += density * (z * bell_k + m_j / (ROOT_2 * sigma_j) * bell_j)
                                to_m -= density * bell_k / ROOT_2
                                to_sigma += k * density * bell_k / ROOT_2
                            across = record(
                                records, slots[other] * size, to_h_j, to_m_j, to_sigma_j, h_j, fall_j, sigma_j, own_j,
                                most, offset_j, direction,
                            )  # fmt: skip
                            to_origin -= across + to_m_j * direction
                            to_direction += to_m_j * to_centre_j - m_j * across
                    across = record(records, at, to_h, to_m, to_sigma, h, fall, sigma, own, most, offset, direction)
                    to_origin -= across + to_m * direction
                    to_direction += to_m * to_centre - m * across
            for k in ti.static(range(3)):
                grad_origins[pixel, k] = grad_origins[pixel, k] + to_origin[k]
                grad_directions[pixel, k] = grad_directions[pixel, k] + to_direction[k]
