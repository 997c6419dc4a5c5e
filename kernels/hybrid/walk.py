"""One walk along every pixel's ray: splats near to far, volumes between them, a layer of meshes at its own distance.

A ray meets events: splats, each at its centre's depth z, so at distance z / cosine from the eye; and at most one layer
of meshes. In between it marches the strata of the volumes' boxes, front to back; an event inside a stratum cuts it in
two with the same sample. The transmittance so depends continuously on where the events are.

Rays are numbered as pixels, [B, H, W] in scan order; a launch walks `count` of them from `first` on (whole rows of
tiles). samples [volumes * count * steps]: vectors (r, g, b, density) of the strata of each volume along each ray, the
volume first; times [volumes * count, 2]: where a ray enters and leaves a volume's box. order [n, volumes]: the volumes
front to back. layer [n, 5] of the meshes: r, g, b and depth multiplied by their alpha, and that: (r, g, b, alpha, z).
features [items, 4] of the splats: (r, g, b, z).
"""

import taichi as ti

from ..points.gaussian_blend import ACROSS, EDGE, TILE, counted, half_conic, log_floor, log_opacity
from ..rays import FAR
from ..volume.march import stratum_share

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
I2 = ti.types.ndarray(dtype=ti.i32, ndim=2)


@ti.func
def color_of(array: ti.template(), row):
    return ti.Vector([array[row, 0], array[row, 1], array[row, 2]])


@ti.func
def pixel_of(pixel, height, width):
    """View, row and column of a pixel."""
    line = pixel // width
    return line // height, line % height, pixel % width


@ti.func
def next_splat(
    begin, end, block, x, y, entries: ti.template(), mask: ti.template(), splats: ti.template(), skip_log,
    sigmas_squared, highest, quick: ti.template(),
):  # fmt: skip
    """First entry from `begin` on whose splat counts at a pixel, `end` where none does; its opacity, and uncut."""
    at, opacity, uncut, searching = begin, 0.0, 0.0, 1
    while at < end and searching == 1:
        if (mask[at] >> block) & 1 != 0:
            item = entries[at]
            power = log_opacity(half_conic(splats, item), x - splats[item, 0], y - splats[item, 1])
            floor = log_floor(splats, item, skip_log, sigmas_squared)
            if not power < floor:
                opacity, uncut = counted(power, floor, highest, quick)
                searching = 0
        if searching == 1:
            at += 1
    return at, opacity, uncut


@ti.func
def mesh_distance(layer: ti.template(), cosines: ti.template(), pixel):
    """Distance of the layer of meshes along a pixel's ray, FAR where it has none."""
    out = FAR
    if layer[pixel, 3] > 0.0:
        out = layer[pixel, 4] / (layer[pixel, 3] * cosines[pixel, 0])
    return out


@ti.func
def ray_start(row, column, layer: ti.template(), cosines: ti.template(), pixel):
    """Block of a pixel within its tile, cosine of its ray, distance of the meshes, and whether there are any (0, 1)."""
    at = mesh_distance(layer, cosines, pixel)
    block = row % TILE // EDGE * ACROSS + column % TILE // EDGE
    return block, cosines[pixel, 0], at, ti.cast(at < FAR, ti.i32)


@ti.func
def event_distance(entry, last, waiting, mesh_at, cosine, entries: ti.template(), features: ti.template()):
    """Distance of what comes next: the splat of `entry`, or the meshes while they wait; FAR where nothing does."""
    out = FAR
    if entry < last:
        out = features[entries[entry], 3] / cosine
    if waiting == 1:
        out = ti.select(out < mesh_at, out, mesh_at)
    return out


@ti.func
def box_strata(times: ti.template(), at, steps):
    """Where a ray enters a box, and the length of a stratum there."""
    return times[at, 0], (times[at, 1] - times[at, 0]) / steps


@ti.func
def stratum_piece(start, delta, k, begun, target):
    """Length of what lies of stratum k between `begun` and `target`, and which of the two cut it."""
    length = delta
    low, high = start + k * delta, start + (k + 1) * delta
    from_cut, to_cut = begun > low, target < high
    if from_cut:
        length -= begun - low
    if to_cut:
        length -= high - target
    return ti.max(length, 0.0), from_cut, to_cut


@ti.kernel
def walk(
    first: ti.i32, count: ti.i32, height: ti.i32, width: ti.i32, tiles_x: ti.i32, tiles_y: ti.i32, volumes: ti.i32,
    steps: ti.i32, jitter: ti.i32, seed: ti.i32, stop: float, splat_stop: float, skip_log: float,
    sigmas_squared: float, highest: float, start: A1, entries: A1, mask: A1, splats: A2, features: A2, layer: A2,
    cosines: A2, order: I2, times: A2, samples: A1, sums: A2, alpha: A2, distance: A2, quick: ti.template(),
):  # fmt: skip
    """sums [n, 3] of weight * feature, alpha [n, 1] and distance [n, 1], the sum of weight * distance."""
    for turn in range(count):
        pixel = first + turn
        view, row, column = pixel_of(pixel, height, width)
        tile = (view * tiles_y + row // TILE) * tiles_x + column // TILE
        block, cosine, mesh_at, waiting = ray_start(row, column, layer, cosines, pixel)
        through, total, far = 1.0, ti.Vector([0.0, 0.0, 0.0]), 0.0
        entry, last = start[tile], start[tile + 1]
        opacity, known, going = 0.0, 0, 1
        rank, k, begun = 0, 0, 0.0
        while going == 1:
            if known == 0:
                entry, opacity, _uncut = next_splat(
                    entry, last, block, column + 0.5, row + 0.5, entries, mask, splats, skip_log, sigmas_squared,
                    highest, quick,
                )  # fmt: skip
                known = 1
            target = event_distance(entry, last, waiting, mesh_at, cosine, entries, features)
            while rank < volumes:
                at, reached = order[pixel, rank] * count + turn, 0
                near, delta = box_strata(times, at, steps)
                if not delta > 0.0 or through <= stop:
                    rank = volumes
                while rank < volumes and reached == 0 and k < steps and through > stop:
                    if target <= near + k * delta:
                        reached = 1
                    else:
                        length, _from_cut, to_cut = stratum_piece(near, delta, k, begun, target)
                        sample = samples[at * steps + k]
                        left = ti.exp(-sample[3] * length)
                        weight = through * (1.0 - left)
                        for c in ti.static(range(3)):
                            total[c] += weight * sample[c]
                        far += weight * (near + (k + stratum_share(jitter, seed, pixel, k)) * delta)
                        through *= left
                        if to_cut:
                            reached = 1
                        else:
                            k += 1
                if reached == 1:
                    break
                rank, k = rank + 1, 0
            begun = target
            if waiting == 1 and not target < mesh_at:
                total += through * color_of(layer, pixel)
                far += through * layer[pixel, 4] / cosine
                through *= ti.max(1.0 - layer[pixel, 3], 0.0)
                waiting = 0
                going = 1 if layer[pixel, 3] < 1.0 else 0
            elif entry < last:
                weight = opacity * through
                if through - weight < splat_stop:
                    last = entry
                else:
                    item = entries[entry]
                    total += weight * color_of(features, item)
                    far += weight * target
                    through -= weight
                    entry += 1
                known = 0
            else:
                going = 0
        for c in ti.static(range(3)):
            sums[pixel, c] = total[c]
        alpha[pixel, 0] = 1.0 - through
        distance[pixel, 0] = far
