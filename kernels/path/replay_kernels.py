"""The kernels of the gradient of path tracing: all paths of a chunk in a row on a CPU, one step of every path on a GPU.

On a GPU no atomic addition stands in a loop: software Vulkan loses those once threads go different ways.
"""

import taichi as ti

from .. import rng
from ..accumulate import TASK, load3
from ..compiling import large
from ..transport import sensor
from ..transport.mesh_adjoint import Parts
from ..transport.tables import Tables
from .medium_adjoint import USUAL, usual
from .replay import step
from .state import ALIVE, REALS, SENSOR, WHOLES, embark, fetch, put_aside, reals_of
from .trace import film_place, sample_key, start
from .vertex import LENS
from .vertex_adjoint import first_hit_adjoint

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

SLOPES = 4  # bit of `wants` besides replay's


@ti.func
def brought(paths: ti.template(), index, weight):
    """Radiance along a path, from what `trace` wrote."""
    return load3(paths, index) / ti.max(weight, 1e-30)


@ti.func
def wanted(grad: ti.template(), estimates, spot, sample, samples):
    """The gradient of one sample, of a picture, or of the one of two estimates that the sample is in."""
    half = sample * estimates // samples
    return load3(grad, half * (grad.shape[0] // estimates) + spot) * estimates / samples


@ti.func
def keep_slope(wants: ti.template(), paths: ti.template(), index, to_origin, to_direction):
    """For `wants` with SLOPES: the gradient of a path's first ray, behind what the path brings (columns 4 to 9)."""
    if ti.static(wants & SLOPES):
        for c in ti.static(range(3)):
            paths[index, 4 + c], paths[index, 7 + c] = to_origin[c], to_direction[c]


@ti.func
def camera_adjoint(
    sensors: ti.template(), film: ti.template(), table: ti.template(), to_table: ti.template(), copies, turn, spot,
    width, height, key, mirrored, to_origin, to_direction, to_weight, atomic: ti.template(),
):  # fmt: skip
    """From the gradients of a sample's ray to the sensor's row; `turn` chooses the copy."""
    view = spot // (width * height)
    pixel = spot - view * width * height
    row = pixel // width
    x, y = film_place(film, pixel - row * width, row, key, mirrored)
    found = sensor.primary_ray_adjoint(
        sensors, table, view, x, y, rng.draw(key, LENS), rng.draw(key, LENS + 1), to_origin, to_direction, 0.0,
        to_weight,
    )  # fmt: skip
    slot = (turn % copies * table.shape[0] + view) * sensor.COLUMNS
    sensor.add_row(to_table, slot, found, atomic)


@large
@ti.kernel
def replay(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), wants: ti.template(),
    block: ti.template(), chunks: ti.i32, first: ti.i32, places: ti.i32, samples: ti.i32, width: ti.i32,
    height: ti.i32, seed: ti.i32, max_depth: ti.i32, roulette_depth: ti.i32, table: A2, nodes: A1, leaves: A1I,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, media: A2, media_places: A2, media_values: A2, paths: A2,
    estimates: ti.i32, grad: A2, to_values: A1, to_light_values: A1, to_texels: A1, to_positions: A1, to_normals: A1,
    to_uvs: A1, to_colors: A1, to_media: A1, to_table: A1, picks: A2,
):  # fmt: skip
    """For a CPU: adds to copy c of the accumulators what the paths of chunk c say; see `trace` for the rest.

    paths [places * samples, 4 or more]: what `trace` found. grad [estimates * .., 3]: of the picture, or of two
    estimates of it from a half of the samples each. picks [places * samples, PICK]: what
    each path picked, where a medium's gradient is wanted.
    """
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        copy = ticket // task
        if ticket % task != 0:
            continue
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias, media, media_places, media_values,
            )
        )  # fmt: skip
        parts = ti.static(
            Parts(to_values, to_light_values, to_texels, to_positions, to_normals, to_uvs, to_colors, to_media)
        )
        for local in range(copy * places // chunks, (copy + 1) * places // chunks):
            spot = first + local
            for sample in range(samples):
                g = wanted(grad, estimates, spot, sample, samples)
                key, mirrored = sample_key(sensors, seed, spot, sample)
                origin, direction, weight = start(sensors, film, table, spot, width, height, key, mirrored)
                light = brought(paths, local * samples + sample, weight)
                s, k = ti.Vector.zero(float, ti.static(reals_of(mask))), ti.Vector.zero(ti.i32, WHOLES)
                embark(origin, direction, light, mirrored, s, k)
                if ti.static(reals_of(mask) > REALS):
                    expected = usual(paths, local * samples + sample, samples, weight)
                    for c in ti.static(range(3)):
                        s[REALS + USUAL + c] = expected[c]
                while k[ALIVE] == 1:
                    step(
                        mask, light_kinds, wants, False, t, parts, copy, key, max_depth, roulette_depth, weight * g,
                        s, k, paths, local * samples + sample,
                    )  # fmt: skip
                for c in ti.static(range(reals_of(mask) - REALS)):
                    picks[local * samples + sample, c] = s[REALS + c]
                if ti.static(wants):
                    to_origin, to_direction = first_hit_adjoint(wants, False, t, parts, copy, origin, direction, s, k)
                    keep_slope(wants, paths, local * samples + sample, to_origin, to_direction)
                    if ti.static(wants & SENSOR):
                        camera_adjoint(
                            sensors, film, table, to_table, chunks, copy, spot, width, height, key, mirrored,
                            to_origin, to_direction, g.dot(light), False,
                        )  # fmt: skip


# On a GPU: a state for each path, in two arrays.


@ti.kernel
def begin(
    sensors: ti.template(), film: ti.template(), first: ti.i32, rows: ti.i32, samples: ti.i32, width: ti.i32,
    height: ti.i32, seed: ti.i32, table: A2, paths: A2, reals: A2, wholes: A2I,
):  # fmt: skip
    for index in range(rows):
        local = index // samples
        key, mirrored = sample_key(sensors, seed, first + local, index - local * samples)
        origin, direction, weight = start(sensors, film, table, first + local, width, height, key, mirrored)
        s, k = ti.Vector.zero(float, REALS), ti.Vector.zero(ti.i32, WHOLES)
        embark(origin, direction, brought(paths, index, weight), mirrored, s, k)
        put_aside(0, reals, wholes, index, s, k)
        for c in range(REALS, reals.shape[1]):
            reals[index, c] = 0.0
        if reals.shape[1] > REALS:
            expected = usual(paths, index, samples, weight)
            for c in ti.static(range(3)):
                reals[index, REALS + USUAL + c] = expected[c]


@large
@ti.kernel
def advance(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), wants: ti.template(),
    first: ti.i32, rows: ti.i32, samples: ti.i32, width: ti.i32, height: ti.i32, seed: ti.i32, max_depth: ti.i32,
    roulette_depth: ti.i32, table: A2, nodes: A1, leaves: A1I, faces: A2, positions: A2, normals: A2, uvs: A2,
    colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2, cdf: A1, texels: A2, alias: A1,
    media: A2, media_places: A2, media_values: A2, reals: A2, wholes: A2I, estimates: ti.i32, grad: A2, to_values: A1,
    to_light_values: A1, to_texels: A1, to_positions: A1, to_normals: A1, to_uvs: A1, to_colors: A1, to_media: A1,
) -> ti.i32:  # fmt: skip
    """One step of every path; returns how many go on."""
    going = 0
    for index in range(rows):
        if wholes[index, ALIVE] == 1:
            t = ti.static(
                Tables(
                    nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries,
                    light_values, cdf, texels, alias, media, media_places, media_values,
                )
            )  # fmt: skip
            parts = ti.static(
                Parts(to_values, to_light_values, to_texels, to_positions, to_normals, to_uvs, to_colors, to_media)
            )
            local = index // samples
            spot = first + local
            key, mirrored = sample_key(sensors, seed, spot, index - local * samples)
            _origin, _direction, weight = start(sensors, film, table, spot, width, height, key, mirrored)
            s, k = ti.Vector.zero(float, ti.static(reals_of(mask))), ti.Vector.zero(ti.i32, WHOLES)
            fetch(mask, reals, wholes, index, s, k)
            step(
                mask, light_kinds, wants, True, t, parts, 0, key, max_depth, roulette_depth,
                weight * wanted(grad, estimates, spot, index - local * samples, samples), s, k, None, 0,
            )  # fmt: skip
            put_aside(mask, reals, wholes, index, s, k)
            going += k[ALIVE]
    return going


@ti.kernel
def end(
    sensors: ti.template(), film: ti.template(), wants: ti.template(), copies: ti.i32, first: ti.i32, rows: ti.i32,
    samples: ti.i32, width: ti.i32, height: ti.i32, seed: ti.i32, table: A2, nodes: A1, leaves: A1I, faces: A2,
    positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2, light_values: A2,
    cdf: A1, texels: A2, alias: A1, paths: A2, reals: A2, wholes: A2I, estimates: ti.i32, grad: A2,
    to_positions: A1, to_table: A1,
):  # fmt: skip
    """From every path's first hit to the mesh and to the sensor."""
    for index in range(rows):
        t = ti.static(
            Tables(
                nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries, light_values,
                cdf, texels, alias,
            )
        )  # fmt: skip
        none = ti.static(None)
        parts = ti.static(Parts(none, none, none, to_positions, none, none, none))
        local = index // samples
        spot = first + local
        key, mirrored = sample_key(sensors, seed, spot, index - local * samples)
        origin, direction, weight = start(sensors, film, table, spot, width, height, key, mirrored)
        s, k = ti.Vector.zero(float, REALS), ti.Vector.zero(ti.i32, WHOLES)
        fetch(0, reals, wholes, index, s, k)
        to_origin, to_direction = first_hit_adjoint(wants, True, t, parts, 0, origin, direction, s, k)
        keep_slope(wants, paths, index, to_origin, to_direction)
        if ti.static(wants & SENSOR):
            g = wanted(grad, estimates, spot, index - local * samples, samples)
            to_weight = g.dot(brought(paths, index, weight))
            camera_adjoint(
                sensors, film, table, to_table, copies, index, spot, width, height, key, mirrored, to_origin,
                to_direction, to_weight, True,
            )  # fmt: skip
