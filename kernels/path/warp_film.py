"""Warped-area sampling on the film: outlines as the camera sees them; and the path replay that it needs.

V moves every point of the film with what is seen there. That changes the light along a ray (its slope, found by
replay), the area that the light covers, and where on the film it falls: pixels take their light by the film's filter,
which has a slope, or for a box a rim at which light is counted by other pixels.
"""

import taichi as ti

from .. import rng
from ..accumulate import TASK, load3
from ..compiling import large
from ..transport import sensor
from ..transport.light_shapes import point_adjoint
from ..transport.mesh_adjoint import Parts, scatter_corners
from ..transport.tables import Tables
from .state import SENSOR
from .trace import follow
from .vertex import FILM, LENS
from .warp import TO_POINT, U, V, film_warp

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

SALT, RIM_SALT = 0x2B7F, 0x3C91  # make keys of other random numbers than the path's
REACH = 2  # pixels around one whose filters may cover its film points


@ti.func
def filter_slope(film: ti.template(), grad: ti.template(), first, width, height, x, y):
    """[3, 2]: slope at (x, y) of the pixels' gradients, blended by their filters, per density of film points."""
    by_x, by_y, density = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0]), 0.0
    column, row = ti.cast(ti.floor(x), ti.i32), ti.cast(ti.floor(y), ti.i32)
    for i, j in ti.ndrange((row - REACH, row + REACH + 1), (column - REACH, column + REACH + 1)):
        if 0 <= i < height and 0 <= j < width:
            dx, dy = x - (j + 0.5), y - (i + 0.5)
            h, h_x, h_y = sensor.film_density(film, dx, dy), 0.0, 0.0
            if ti.static(film == sensor.GAUSSIAN):
                h_x, h_y = -dx * h / (sensor.SIGMA * sensor.SIGMA), -dy * h / (sensor.SIGMA * sensor.SIGMA)
            elif h > 0.0:
                h_x, h_y = -ti.math.sign(dx) * (1.0 - ti.abs(dy)), -ti.math.sign(dy) * (1.0 - ti.abs(dx))
            g = load3(grad, first + i * width + j)
            by_x += h_x * g
            by_y += h_y * g
            density += h
    return ti.Matrix.cols([by_x, by_y]) / ti.max(density, 1e-6)


@ti.func
def within(
    sensors: ti.template(), film: ti.template(), table: ti.template(), spot, width, height, samples, key, light, g,
    grad: ti.template(), to_origin, to_direction,
):  # fmt: skip
    """(film point, gradient of V, gradient of div V) at a path's own place; light [3]: all that is seen there."""
    view = spot // (width * height)
    pixel = spot - view * width * height
    row = pixel // width
    x, y = sensor.film_point(film, pixel - row * width, row, rng.draw(key, FILM), rng.draw(key, FILM + 1))
    to_row = sensor.primary_ray_adjoint(
        sensors, table, view, x, y, rng.draw(key, LENS), rng.draw(key, LENS + 1), to_origin, to_direction, 0.0, 0.0
    )  # fmt: skip
    to_film = ti.Vector([0.0, 0.0])
    for k, c in ti.static(ti.ndrange(3, 2)):
        to_film[c] += to_row[sensor.ORIGIN + 3 * k + 2] * table[view, sensor.ORIGIN + 3 * k + c]
        to_film[c] += to_row[sensor.DIRECTION + 3 * k + 2] * table[view, sensor.DIRECTION + 3 * k + c]
    if ti.static(film != sensor.BOX):
        slope = filter_slope(film, grad, view * width * height, width, height, x, y) / samples
        to_film += slope.transpose() @ light
    return ti.Vector([x, y]), to_film, g.dot(light)


@ti.func
def rim_point(spot, width, height, key, grad: ti.template()):
    """(a point on the rim of a box-filtered pixel, normal, gradient of the light that V carries out there).

    The pixel loses it, and its neighbour, which draws points here as well, gains it.
    """
    pixel = spot % (width * height)
    row = pixel // width
    column = pixel - row * width
    along, side = 4.0 * rng.draw(key, 0), 0
    while along >= 1.0:
        along, side = along - 1.0, side + 1
    across, down = 1 - 2 * (side % 2), 0
    if side >= 2:
        across, down = 0, across
    point = ti.Vector([column + 0.5 + 0.5 * across, row + 0.5 + 0.5 * down])
    if side < 2:
        point.y = row + along
    else:
        point.x = column + along
    g = -load3(grad, spot)
    if 0 <= column + across < width and 0 <= row + down < height:
        g = 0.5 * (g + load3(grad, spot + across + down * width))
    return point, ti.Vector([float(across), float(down)]), 4.0 * g


@ti.func
def sample_film(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), wants: ti.template(),
    atomic: ti.template(), rays, t: ti.template(), parts: ti.template(), to_table: ti.template(),
    copies, turn, copy, opposite: ti.template(), table: ti.template(), spot, width, height, samples, key,
    paths: ti.template(), index, behind, grad: ti.template(), max_depth, roulette_depth, deviation,
    where: ti.template(), what: ti.template(), record,
):  # fmt: skip
    """One path, and for a box filter a point on its pixel's rim, whose light is found by another path."""
    view = spot // (width * height)
    to_row = ti.Vector([0.0] * sensor.STRAIGHT)
    for which in range(ti.static(2 if film == sensor.BOX else 1)):
        point, to_film, amount, own = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0]), 0.0, key
        if which == 0:
            to_origin = ti.Vector([paths[index, 4], paths[index, 5], paths[index, 6]])
            to_direction = ti.Vector([paths[index, 7], paths[index, 8], paths[index, 9]])
            point, to_film, amount = within(
                sensors, film, table, spot, width, height, samples, key,
                load3(paths, index) + (1.0 - paths[index, 3]) * behind, load3(grad, spot) / samples, grad, to_origin,
                to_direction,
            )  # fmt: skip
        u3, u4 = rng.draw(own, LENS), rng.draw(own, LENS + 1)
        if ti.static(film == sensor.BOX):
            if which == 1:
                own = rng.mix(key, RIM_SALT)
                point, normal, g = rim_point(spot, width, height, own, grad)
                if g.dot(g) > 0.0:
                    origin, direction, _cosine, _weight = sensor.primary_ray(
                        sensors, table, view, point.x, point.y, u3, u4
                    )
                    light, met = follow(
                        mask, light_kinds, t, origin, direction, own, max_depth, roulette_depth, 0, None, 0
                    )
                    to_film = g.dot(light + (1.0 - met) * behind) / samples * normal
        row = record
        if ti.static(atomic):
            row += which * rays
        if amount != 0.0 or to_film.x != 0.0 or to_film.y != 0.0:
            to_row += film_warp(
                sensors, atomic, rays, t, parts, copy, opposite, table, view, point.x, point.y, u3, u4, to_film,
                amount, rng.mix(own, SALT), deviation, where, what, row,
            )  # fmt: skip
    if ti.static(wants & SENSOR):
        sensor.add_row(to_table, (turn % copies * table.shape[0] + view) * sensor.COLUMNS, to_row, atomic)


@large
@ti.kernel
def warp_film(
    mask: ti.template(), light_kinds: ti.template(), sensors: ti.template(), film: ti.template(), wants: ti.template(),
    atomic: ti.template(), block: ti.template(), rays: ti.i32, chunks: ti.i32, copies: ti.i32, deviation: float,
    red: float, green: float, blue: float, first: ti.i32, places: ti.i32, samples: ti.i32, width: ti.i32,
    height: ti.i32, seed: ti.i32, max_depth: ti.i32, roulette_depth: ti.i32, table: A2, nodes: A1, leaves: A1I,
    faces: A2, positions: A2, normals: A2, uvs: A2, colors: A2, kinds: A2, slots: A2, values: A2, entries: A2,
    light_values: A2, cdf: A1, texels: A2, alias: A1, opposite: A2I, paths: A2, grad: A2, to_positions: A1,
    to_table: A1, where: A1I, what: A2,
):  # fmt: skip
    """What outlines on the film do to the pixels first ..., of gradient grad [.., 3].

    paths [places * samples, 10]: what `trace` found, then the gradients of the paths' first rays. Chunks and records
    are as for `warp_light`, with 2 * `rays` records for each path of a GPU. Meters are left out.
    """
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        if ticket % task == 0:
            t = ti.static(
                Tables(
                    nodes, leaves, faces, positions, normals, uvs, colors, kinds, slots, values, entries,
                    light_values, cdf, texels, alias,
                )
            )  # fmt: skip
            none = ti.static(None)
            parts = ti.static(Parts(none, none, none, to_positions, none, none, none))
            chunk, rows = ticket // task, places * samples
            size = (rows + chunks - 1) // chunks
            copy = chunk
            if ti.static(atomic):
                size, copy = 1, 0
            record = chunk * rays * ti.static(2 if atomic else 1)
            behind = ti.Vector([red, green, blue])
            for turn in range(ti.static(1) if ti.static(atomic) else size):
                index = chunk * size + turn
                if index < rows:
                    spot = first + index // samples
                    key = rng.key(seed, spot, index % samples)
                    sample_film(
                        mask, light_kinds, sensors, film, wants, atomic, rays, t, parts, to_table, copies, chunk, copy,
                        opposite, table, spot, width, height, samples, key, paths, index, behind, grad, max_depth,
                        roulette_depth, deviation, where, what, record,
                    )  # fmt: skip


@ti.kernel
def scatter_records(count: ti.i32, faces: A2, positions: A2, where: A1I, what: A2, to_positions: A1):
    """Adds the points' gradients that a GPU kept to their triangles' corners; a record of triangle -1 holds none."""
    for index in range(count):
        triangle = where[index]
        if triangle >= 0:
            none = ti.static(None)
            t = ti.static(
                Tables(
                    none, none, faces, positions, none, none, none, none, none, none, none, none, none, none, none
                )
            )  # fmt: skip
            parts = ti.static(Parts(none, none, none, to_positions, none, none, none))
            g = ti.Vector([what[index, TO_POINT], what[index, TO_POINT + 1], what[index, TO_POINT + 2]])
            scatter_corners(t, parts, 0, triangle, point_adjoint(what[index, U], what[index, V], g), True)
