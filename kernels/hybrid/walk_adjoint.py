"""Adjoint of `walk.walk`: walks again, front to back, and keeps one number of what is still to come.

With the pixel's gradient (to_color, to_alpha, to_far) an event or stratum of weight w is worth v = to_color . c +
to_far t, and rest is the sum of w v over what comes later, less to_alpha T_end. What takes the optical depth tau off
the ray moves the loss by T v - rest, with T and rest after it. A stratum's length moves it by its density times that:
the part before a cut by an event and the part behind it pull at the event's distance from both sides, and at the ends
of the volume's box.

A thread owns a tile (where there are no splats, `parts` of them share it): records of its entries are summed without
atomics, as in `gaussian_blend.blend_adjoint`, and read by the same `gather`; the depth of a splat is its fourth
feature.
"""

import taichi as ti

from ..points.gaussian_blend import MOMENTS, TILE, place_of
from ..volume.march import stratum_share
from .walk import box_strata, color_of, event_distance, next_splat, ray_start, stratum_piece

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
I2 = ti.types.ndarray(dtype=ti.i32, ndim=2)

SIZE = MOMENTS + 4
NOBODY, MESHES = -2, -1
"""Whose distance the last cut was, where it is no entry's."""


@ti.func
def add_to(array: ti.template(), row, column: ti.template(), value):
    array[row, column] = array[row, column] + value


@ti.func
def give_distance(
    owner, to_t, t, cosine, pixel, layer: ti.template(), slots: ti.template(), records: ti.template(),
    grad_layer: ti.template(),
):  # fmt: skip
    """Gives the gradient of a distance t = depth / cosine to what is there; returns that of the cosine."""
    to_cosine = 0.0
    if owner >= 0:
        at = slots[owner] * SIZE + (MOMENTS + 3)
        records[at] = records[at] + to_t / cosine
        to_cosine = -to_t * t / cosine
    elif owner == MESHES:
        share = layer[pixel, 3]
        add_to(grad_layer, pixel, 4, to_t / (share * cosine))
        add_to(grad_layer, pixel, 3, -to_t * t / share)
        to_cosine = -to_t * t / cosine
    return to_cosine


@ti.func
def record_splat(records: ti.template(), at, s, dx, dy, weight, to_color):
    """Adds the moments of s, the gradient of the logarithm of an opacity, and the gradient of the colour."""
    moments = ti.Vector([s, s * dx, s * dy, s * dx * dx, s * dx * dy, s * dy * dy])
    for i in ti.static(range(MOMENTS)):
        records[at + i] = records[at + i] + moments[i]
    for c in ti.static(range(3)):
        records[at + MOMENTS + c] = records[at + MOMENTS + c] + weight * to_color[c]


@ti.func
def stratum_back(
    samples_grad: ti.template(), times_grad: ti.template(), at, k, steps, sample, length, share, through, rest, t,
    to_color, to_far, from_cut, to_cut,
):  # fmt: skip
    """T and rest after a piece of a stratum, and the gradients of the cuts that begin and end it."""
    left = ti.exp(-sample[3] * length)
    weight = through * (1.0 - left)
    worth = to_color[0] * sample[0] + to_color[1] * sample[1] + to_color[2] * sample[2] + to_far * t
    rest_after, through_after = rest - weight * worth, through * left
    to_depth = through_after * worth - rest_after
    here = at * steps + k
    given = ti.Vector([weight * to_color[0], weight * to_color[1], weight * to_color[2], length * to_depth])
    samples_grad[here] = samples_grad[here] + given
    to_length, to_near, to_end = sample[3] * to_depth, 0.0, 0.0
    to_times = to_far * weight * ti.Vector([1.0 - (k + share) / steps, (k + share) / steps])
    if from_cut:
        to_near = -to_length
    else:
        to_times -= to_length * ti.Vector([1.0 - k / steps, k / steps])
    if to_cut:
        to_end = to_length
    else:
        to_times += to_length * ti.Vector([1.0 - (k + 1) / steps, (k + 1) / steps])
    for end in ti.static(range(2)):
        add_to(times_grad, at, end, to_times[end])
    return through_after, rest_after, to_near, to_end


@ti.kernel
def walk_adjoint(
    first: ti.i32, count: ti.i32, first_tile: ti.i32, tiles: ti.i32, parts: ti.i32, spread: ti.i32, height: ti.i32,
    width: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, volumes: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32,
    stop: float, splat_stop: float, skip_log: float, sigmas_squared: float, highest: float, start: A1, entries: A1,
    mask: A1, slots: A1, splats: A2, features: A2, layer: A2, cosines: A2, order: I2, times: A2, samples: A1, sums: A2,
    alpha: A2, distance: A2, grad_sums: A2, grad_alpha: A2, grad_distance: A2, records: A1, grad_layer: A2,
    grad_cosines: A2, times_grad: A2, samples_grad: A1, quick: ti.template(),
):  # fmt: skip
    """records [slots * (6 + 4)] of the tiles = their sums; the other gradients +=."""
    for ticket in range(tiles * parts * spread):
        turn = ticket // spread
        tile, part, pixels = first_tile + turn // parts, turn % parts, TILE * TILE // parts
        if ticket % spread != 0:
            continue
        for e in range(start[tile], start[tile + 1]):
            for i in range(SIZE):
                records[slots[e] * SIZE + i] = 0.0
        view, y0, x0 = place_of(tile, tiles_x, tiles_y)
        for inside in range(part * pixels, (part + 1) * pixels):
            row, column = y0 + inside // TILE, x0 + inside % TILE
            if row >= height or column >= width:
                continue
            pixel = (view * height + row) * width + column
            block, cosine, mesh_at, waiting = ray_start(row, column, layer, cosines, pixel)
            to_color, to_far = color_of(grad_sums, pixel), grad_distance[pixel, 0]
            rest = to_color.dot(color_of(sums, pixel)) + to_far * distance[pixel, 0]
            rest -= grad_alpha[pixel, 0] * (1.0 - alpha[pixel, 0])
            through, to_cosine = 1.0, 0.0
            entry, last = start[tile], start[tile + 1]
            opacity, uncut, known, going = 0.0, 0.0, 0, 1
            rank, k, begun, owner, to_begun = 0, 0, 0.0, NOBODY, 0.0
            while going == 1:
                if known == 0:
                    entry, opacity, uncut = next_splat(
                        entry, last, block, column + 0.5, row + 0.5, entries, mask, splats, skip_log, sigmas_squared,
                        highest, quick,
                    )  # fmt: skip
                    known = 1
                target, to_target = event_distance(entry, last, waiting, mesh_at, cosine, entries, features), 0.0
                while rank < volumes:
                    at, reached = order[pixel, rank] * count + (pixel - first), 0
                    near, delta = box_strata(times, at, steps)
                    if not delta > 0.0 or through <= stop:
                        rank = volumes
                    while rank < volumes and reached == 0 and k < steps and through > stop:
                        if target <= near + k * delta:
                            reached = 1
                        else:
                            length, from_cut, to_cut = stratum_piece(near, delta, k, begun, target)
                            share = stratum_share(jitter, seed, pixel, k)
                            through, rest, to_near, to_end = stratum_back(
                                samples_grad, times_grad, at, k, steps, samples[at * steps + k], length, share,
                                through, rest, near + (k + share) * delta, to_color, to_far, from_cut, to_cut,
                            )  # fmt: skip
                            to_begun += to_near
                            to_target += to_end
                            if to_cut:
                                reached = 1
                            else:
                                k += 1
                    if reached == 1:
                        break
                    rank, k = rank + 1, 0
                to_cosine += give_distance(owner, to_begun, begun, cosine, pixel, layer, slots, records, grad_layer)
                begun, owner, to_begun = target, NOBODY, to_target
                if waiting == 1 and not target < mesh_at:
                    worth = to_color.dot(color_of(layer, pixel)) + to_far * layer[pixel, 4] / cosine
                    share = layer[pixel, 3]
                    rest -= through * worth
                    for c in ti.static(range(3)):
                        add_to(grad_layer, pixel, c, through * to_color[c])
                    add_to(grad_layer, pixel, 4, through * to_far / cosine)
                    to_cosine -= through * to_far * layer[pixel, 4] / (cosine * cosine)
                    if share < 1.0:  # else nothing is behind, and no continuous change can uncover it
                        add_to(grad_layer, pixel, 3, -rest / (1.0 - share))
                    through *= ti.max(1.0 - share, 0.0)
                    owner, waiting = MESHES, 0
                    going = 1 if share < 1.0 else 0
                elif entry < last:
                    weight = opacity * through
                    if through - weight < splat_stop:
                        last = entry
                    else:
                        item = entries[entry]
                        worth = to_color.dot(color_of(features, item)) + to_far * target
                        rest -= weight * worth
                        s = ti.select(uncut > highest, 0.0, weight * worth - opacity / (1.0 - opacity) * rest)
                        dx, dy = column + 0.5 - splats[item, 0], row + 0.5 - splats[item, 1]
                        record_splat(records, slots[entry] * SIZE, s, dx, dy, weight, to_color)
                        to_begun += to_far * weight
                        through -= weight
                        owner = entry
                        entry += 1
                    known = 0
                else:
                    going = 0
            to_cosine += give_distance(owner, to_begun, begun, cosine, pixel, layer, slots, records, grad_layer)
            add_to(grad_cosines, pixel, 0, to_cosine)
