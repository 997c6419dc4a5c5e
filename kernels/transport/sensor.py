"""Sensors: from a point of the film to a ray and back, film filters; with adjoints.

A sensor is one row of a table [B, COLUMNS]: two row-major 3 x 3 matrices that take a film point (x, y, 1), in pixels
from the picture's top left corner, to the ray's origin (ORIGIN) and to its direction (DIRECTION), whose length is
1 / cosine to the viewing axis; the lens' two half axes in the world (AXES, aperture radius times right and up; 0 where
there is none), the distance of what is in focus along the viewing axis (FOCUS, not 0), the kind (KIND), and the lens of
kernels/lens.py (BENT), which takes film points to those that the matrices take; only `primary_ray` heeds it. A radiance
meter is a matrix that does not look at (x, y). An irradiance meter's direction is its normal, of unit length.

`sensors` is a compile-time bit mask of the kinds in the table, 1 << PINHOLE | 1 << LENS and so on; what is not in it is
not compiled. A picture's value is the mean of weight * radiance over the filter's film points and the lens.

    x, y = film_point(film, column, row, u1, u2)
    origin, direction, cosine, weight = primary_ray(sensors, table, view, x, y, u3, u4)
    gradient = primary_ray_adjoint(sensors, table, view, x, y, u3, u4, to_origin, to_direction, to_cosine, to_weight)
    add_row(part, slot, gradient, atomic)                          slot: (copy * views + view) * COLUMNS
    x, y, importance, toward, distance = project(sensors, table, view, point, u3, u4)
    to_point, gradient = project_adjoint(sensors, table, view, point, u3, u4, to_x, to_y)
    along = depth(sensors, table, view, point)
    x, y, importance, toward, distance = connect(sensors, table, view, width, height, margin, point, u1, u2, u3, u4)
    to_point, gradient = connect_adjoint(sensors, table, view, point, u3, u4, to_x, to_y, to_log, to_toward)
"""

import taichi as ti

from .. import lens
from ..accumulate import add
from .sampling import PI, cosine_hemisphere, disc
from .surface import frame, to_world

PINHOLE, ORTHOGRAPHIC, LENS, RADIANCE_METER, IRRADIANCE_METER = 0, 1, 2, 3, 4
ORIGIN, DIRECTION, AXES, FOCUS, KIND, BENT, COLUMNS = 0, 9, 18, 24, 25, 26, 26 + lens.COLUMNS
STRAIGHT = BENT  # columns of gradients of sensors without distortion

DISTORTED = 5  # bit of `sensors`: some of them are bent

PAIRED = 8  # bit of `sensors`: samples come in pairs, the second of which mirrors the first

BOX, TENT, GAUSSIAN = 0, 1, 2
REACH = (0.5, 1.0, 2.0)  # of each filter, in pixels from the pixel's centre
SIGMA = 0.5  # of the Gaussian, in pixels
CUT = 0.00033546262790251185  # exp(-8): what a Gaussian of two dimensions has beyond four standard deviations


@ti.func
def film_offset(film: ti.template(), u1, u2):
    """A film point [2] drawn from the filter `film` (BOX, TENT or GAUSSIAN) around (0, 0), in pixels."""
    found = ti.Vector([u1 - 0.5, u2 - 0.5])
    if ti.static(film == TENT):
        found = ti.Vector([_tent(u1), _tent(u2)])
    elif ti.static(film == GAUSSIAN):
        radius = SIGMA * ti.sqrt(-2.0 * ti.log(1.0 - u1 * (1.0 - CUT)))
        found = radius * ti.Vector([ti.cos(2.0 * PI * u2), ti.sin(2.0 * PI * u2)])
    return found


@ti.func
def _tent(u):
    """The inverse of a tent's cumulative distribution, in [-1, 1]."""
    found = 1.0 - ti.sqrt(2.0 - 2.0 * u)
    if u < 0.5:
        found = ti.sqrt(2.0 * u) - 1.0
    return found


@ti.func
def film_density(film: ti.template(), dx, dy):
    """The filter at (dx, dy) pixels from a pixel's centre, of integral 1.

    It is what share of the light that arrives at a point of the film counts in each pixel within REACH.
    """
    found = 0.0
    if ti.static(film == BOX):
        if ti.max(ti.abs(dx), ti.abs(dy)) <= 0.5:
            found = 1.0
    elif ti.static(film == TENT):
        found = ti.max(1.0 - ti.abs(dx), 0.0) * ti.max(1.0 - ti.abs(dy), 0.0)
    else:
        squared = (dx * dx + dy * dy) / (SIGMA * SIGMA)
        if squared < 16.0:
            found = ti.exp(-0.5 * squared) / (2.0 * PI * SIGMA * SIGMA * (1.0 - CUT))
    return found


@ti.func
def film_slope(film: ti.template(), dx, dy):
    """Derivatives [2] of `film_density` by dx and dy; 0 for a box, whose edges it jumps across."""
    found = ti.Vector([0.0, 0.0])
    if ti.static(film == TENT):
        if ti.max(ti.abs(dx), ti.abs(dy)) < 1.0:
            found.x = (1.0 if dx < 0.0 else -1.0) * (1.0 - ti.abs(dy))
            found.y = (1.0 if dy < 0.0 else -1.0) * (1.0 - ti.abs(dx))
    elif ti.static(film == GAUSSIAN):
        found = ti.Vector([dx, dy]) * (-film_density(film, dx, dy) / (SIGMA * SIGMA))
    return found


@ti.func
def film_point(film: ti.template(), column, row, u1, u2):
    """x, y of a film point that the pixel's filter draws, in pixels from the top left corner."""
    offset = film_offset(film, u1, u2)
    return column + 0.5 + offset.x, row + 0.5 + offset.y


@ti.func
def primary_ray(sensors: ti.template(), table: ti.template(), view, x, y, u3, u4):
    """The ray through the film point x, y and the point u3, u4 of the lens (or of a meter's hemisphere).

    Returns:
        origin [3] and unit direction [3], world; cosine of direction and viewing axis, so that depth is cosine times
        distance (1 for meters); the weight of its radiance, 1, or pi for an irradiance meter.
    """
    if ti.static(sensors >> DISTORTED & 1):
        x, y = lens.pinhole_point(table, view, BENT, x, y)
    origin = _column(table, view, ORIGIN, 0) * x + _column(table, view, ORIGIN, 1) * y + _column(table, view, ORIGIN, 2)
    d = _through(table, view, x, y)
    weight = 1.0
    if ti.static(sensors >> LENS & 1):
        offset = _lens_offset(table, view, disc(u3, u4))
        origin += offset
        d -= offset / table[view, FOCUS]
    if ti.static(sensors >> IRRADIANCE_METER & 1):
        if _kind(table, view) == IRRADIANCE_METER:
            s, t = frame(d)
            d = to_world(s, t, d, cosine_hemisphere(u3, u4))
            weight = PI
    cosine = 1.0 / d.norm()
    return origin, d * cosine, cosine, weight


@ti.func
def primary_ray_adjoint(
    sensors: ti.template(), table: ti.template(), view, x, y, u3, u4, to_origin, to_direction, to_cosine, to_weight
):
    """Gradient of the table's row, [STRAIGHT] or with distortion [COLUMNS], from those of what `primary_ray` returns.

    to_weight: the gradient of the picture's value times the radiance that arrived. An irradiance meter's directions are
    detached: the normal's gradient goes by the cosine in its weight, to_direction does not count.
    """
    found = ti.Vector([0.0] * (COLUMNS if sensors >> DISTORTED & 1 else STRAIGHT))
    film_x, film_y = x, y
    if ti.static(sensors >> DISTORTED & 1):
        x, y = lens.pinhole_point(table, view, BENT, film_x, film_y)
    d, offset = _through(table, view, x, y), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(sensors >> LENS & 1):
        offset = _lens_offset(table, view, disc(u3, u4))
        d -= offset / table[view, FOCUS]
    cosine = 1.0 / d.norm()
    unit = d * cosine
    to_d = (to_direction - unit * unit.dot(to_direction)) * cosine - unit * (to_cosine * cosine * cosine)
    if ti.static(sensors >> LENS & 1):
        focus, point = table[view, FOCUS], disc(u3, u4)
        to_offset = to_origin - to_d / focus
        for k in ti.static(range(3)):
            found[AXES + k], found[AXES + 3 + k] = to_offset[k] * point.x, to_offset[k] * point.y
        found[FOCUS] = to_d.dot(offset) / (focus * focus)
    if ti.static(sensors >> IRRADIANCE_METER & 1):
        if _kind(table, view) == IRRADIANCE_METER:
            s, t = frame(d)
            local = cosine_hemisphere(u3, u4)
            to_d = to_world(s, t, d, local) * (to_weight * PI / local.z)
    for k in ti.static(range(3)):
        found[ORIGIN + 3 * k], found[DIRECTION + 3 * k] = to_origin[k] * x, to_d[k] * x
        found[ORIGIN + 3 * k + 1], found[DIRECTION + 3 * k + 1] = to_origin[k] * y, to_d[k] * y
        found[ORIGIN + 3 * k + 2], found[DIRECTION + 3 * k + 2] = to_origin[k], to_d[k]
    if ti.static(sensors >> DISTORTED & 1):
        to_x = to_origin.dot(_column(table, view, ORIGIN, 0)) + to_d.dot(_column(table, view, DIRECTION, 0))
        to_y = to_origin.dot(_column(table, view, ORIGIN, 1)) + to_d.dot(_column(table, view, DIRECTION, 1))
        bent, _to_place = lens.pinhole_point_adjoint(table, view, BENT, film_x, film_y, to_x, to_y)
        for k in ti.static(range(lens.COLUMNS)):
            found[BENT + k] = bent[k]
    return found


@ti.func
def add_row(part: ti.template(), slot, gradient, atomic: ti.template()):
    """part[slot:slot + COLUMNS] += the gradient of a row of the table; KIND has none."""
    for k in ti.static(range(KIND)):
        add(part, slot + k, gradient[k], atomic)
    if ti.static(gradient.n > STRAIGHT):
        for k in ti.static(range(lens.COLUMNS)):
            add(part, slot + BENT + k, gradient[BENT + k], atomic)


@ti.func
def project(sensors: ti.template(), table: ti.template(), view, point, u3, u4):
    """Where a point in the world is seen, through the point u3, u4 of the lens.

    Returns:
        x, y: film point in pixels. importance: a photon whose power times BSDF times |cosine at the surface| is w adds
        w * importance * film_density to a pixel, if nothing is between; 0 behind the sensor, and for meters. toward:
        unit direction [3] to the sensor, and the distance to it.
    """
    kind = _kind(table, view)
    m0, m1, m2 = _basis(sensors, table, view, kind)
    q = point - _column(table, view, ORIGIN, 2)
    determinant = m0.dot(m1.cross(m2))
    h = _solve(m0, m1, m2, q)
    seen = ti.Vector([0.0, 0.0])
    importance, distance, toward = 0.0, 0.0, -m2
    if h.z > 0.0 and kind != RADIANCE_METER and kind != IRRADIANCE_METER:
        if kind == ORTHOGRAPHIC:
            seen, distance = h.xy, h.z
            importance = 1.0 / ti.abs(determinant)
        else:
            seen = h.xy / h.z
            if ti.static(sensors >> LENS & 1):
                offset = _lens_offset(table, view, disc(u3, u4))
                e = _solve(m0, m1, m2, offset).xy
                seen += e * (1.0 / table[view, FOCUS] - 1.0 / h.z)  # where what is in focus lies on the ray to e
                q -= offset
            distance = q.norm()
            toward = -q / distance
            importance = distance / (ti.abs(determinant) * h.z * h.z * h.z)
    return seen.x, seen.y, importance, toward, distance


@ti.func
def depth(sensors: ti.template(), table: ti.template(), view, point):
    """Distance of a point along the viewing axis, negative behind the sensor; 0 for meters."""
    kind = _kind(table, view)
    m0, m1, m2 = _basis(sensors, table, view, kind)
    along = 0.0
    if kind != RADIANCE_METER and kind != IRRADIANCE_METER:
        along = _solve(m0, m1, m2, point - _column(table, view, ORIGIN, 2)).z
    return along


@ti.func
def project_adjoint(sensors: ti.template(), table: ti.template(), view, point, u3, u4, to_x, to_y):
    """Gradients of the point [3] and of the table's row [STRAIGHT] from those of x and y of `project`.

    Both are 0 behind the sensor, and for meters.
    """
    found = ti.Vector([0.0 for _ in ti.static(range(STRAIGHT))])
    to_point = ti.Vector([0.0, 0.0, 0.0])
    kind = _kind(table, view)
    m0, m1, m2 = _basis(sensors, table, view, kind)
    h = _solve(m0, m1, m2, point - _column(table, view, ORIGIN, 2))
    if h.z > 0.0 and kind != RADIANCE_METER and kind != IRRADIANCE_METER:
        to_film = ti.Vector([to_x, to_y])
        to_h = ti.Vector([to_x, to_y, 0.0])
        to_0, to_1, to_2 = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
        if kind != ORTHOGRAPHIC:
            to_h = ti.Vector([to_x, to_y, -to_film.dot(h.xy) / h.z]) / h.z
            if ti.static(sensors >> LENS & 1):
                focus, at = table[view, FOCUS], disc(u3, u4)
                e = _solve(m0, m1, m2, _lens_offset(table, view, at)).xy
                to_h.z += to_film.dot(e) / (h.z * h.z)
                to_e = to_film * (1.0 / focus - 1.0 / h.z)
                to_offset = _solve_adjoint(m0, m1, m2, ti.Vector([to_e.x, to_e.y, 0.0]))
                to_0 -= to_offset * e.x
                to_1 -= to_offset * e.y
                for k in ti.static(range(3)):
                    found[AXES + k], found[AXES + 3 + k] = to_offset[k] * at.x, to_offset[k] * at.y
                found[FOCUS] = -to_film.dot(e) / (focus * focus)
        to_point = _solve_adjoint(m0, m1, m2, to_h)
        to_0 -= to_point * h.x
        to_1 -= to_point * h.y
        to_2 -= to_point * h.z
        for k in ti.static(range(3)):
            found[ORIGIN + 3 * k + 2] = -to_point[k]
            found[DIRECTION + 3 * k + 2] = to_2[k]
            if kind == ORTHOGRAPHIC:
                found[ORIGIN + 3 * k], found[ORIGIN + 3 * k + 1] = to_0[k], to_1[k]
            else:
                found[DIRECTION + 3 * k], found[DIRECTION + 3 * k + 1] = to_0[k], to_1[k]
    return to_point, found


@ti.func
def connect(
    sensors: ti.template(), table: ti.template(), view, width, height, margin: ti.template(), point, u1, u2, u3, u4
):
    """As `project`, and for irradiance meters too.

    All pixels of a meter measure the same, so light counts at the film point u1, u2 of the picture, `margin` pixels
    around it included.
    """
    x, y, importance, toward, distance = project(sensors, table, view, point, u3, u4)
    if ti.static(sensors >> IRRADIANCE_METER & 1):
        if _kind(table, view) == IRRADIANCE_METER:
            q = point - _column(table, view, ORIGIN, 2)
            facing, square = q.dot(_column(table, view, DIRECTION, 2)), q.dot(q)
            if facing > 0.0 and square > 0.0:
                distance = ti.sqrt(square)
                toward = -q / distance
                wide, high = width + 2.0 * margin, height + 2.0 * margin
                x, y = u1 * wide - margin, u2 * high - margin
                importance = wide * high * facing / (square * distance)
    return x, y, importance, toward, distance


@ti.func
def connect_adjoint(sensors: ti.template(), table: ti.template(), view, point, u3, u4, to_x, to_y, to_log, to_toward):
    """Gradients of the point [3] and of the table's row [STRAIGHT] from those of what `connect` returns.

    to_log: of log(importance), which is above 0. The distance's does not count.
    """
    kind = _kind(table, view)
    to_point, found = project_adjoint(sensors, table, view, point, u3, u4, to_x, to_y)
    m0, m1, m2 = _basis(sensors, table, view, kind)
    q = point - _column(table, view, ORIGIN, 2)
    to_q, to_0, to_1, to_2 = 0.0 * q, 0.0 * q, 0.0 * q, 0.0 * q
    if kind == IRRADIANCE_METER:
        if ti.static(sensors >> IRRADIANCE_METER & 1):
            distance = q.norm()
            facing = q.dot(m2)
            to_q = to_log * (m2 / facing - 3.0 * q / (distance * distance))
            to_q -= _across(q / distance, to_toward) / distance
            to_2 = to_log / facing * q
    elif kind != RADIANCE_METER:
        determinant = m0.dot(m1.cross(m2))
        to_0, to_1, to_2 = m1.cross(m2), m2.cross(m0), m0.cross(m1)
        to_0, to_1, to_2 = -to_log / determinant * to_0, -to_log / determinant * to_1, -to_log / determinant * to_2
        if kind == ORTHOGRAPHIC:
            to_2 -= to_toward
        else:
            h = _solve(m0, m1, m2, q)
            by_depth = _solve_adjoint(m0, m1, m2, ti.Vector([0.0, 0.0, -3.0 * to_log / h.z]))
            to_0, to_1, to_2 = to_0 - by_depth * h.x, to_1 - by_depth * h.y, to_2 - by_depth * h.z
            way = q
            if ti.static(sensors >> LENS & 1):
                way -= _lens_offset(table, view, disc(u3, u4))
            distance = way.norm()
            to_way = to_log / (distance * distance) * way - _across(way / distance, to_toward) / distance
            to_q = by_depth + to_way
            if ti.static(sensors >> LENS & 1):
                at = disc(u3, u4)
                for k in ti.static(range(3)):
                    found[AXES + k] -= to_way[k] * at.x
                    found[AXES + 3 + k] -= to_way[k] * at.y
    for k in ti.static(range(3)):
        found[ORIGIN + 3 * k + 2] -= to_q[k]
        found[DIRECTION + 3 * k + 2] += to_2[k]
        if kind == ORTHOGRAPHIC:
            found[ORIGIN + 3 * k] += to_0[k]
            found[ORIGIN + 3 * k + 1] += to_1[k]
        elif kind != IRRADIANCE_METER:
            found[DIRECTION + 3 * k] += to_0[k]
            found[DIRECTION + 3 * k + 1] += to_1[k]
    return to_point + to_q, found


@ti.func
def _across(unit, g):
    """The part of g across a unit vector."""
    return g - unit * unit.dot(g)


@ti.func
def _kind(table: ti.template(), view):
    return ti.cast(table[view, KIND], ti.i32)


@ti.func
def _column(table: ti.template(), view, first: ti.template(), j: ti.template()):
    """Column j of the 3 x 3 matrix that begins at `first`."""
    return ti.Vector([table[view, first + j], table[view, first + 3 + j], table[view, first + 6 + j]])


@ti.func
def _through(table: ti.template(), view, x, y):
    """The direction through a film point from the middle of the lens, with 1 along the viewing axis."""
    return (
        _column(table, view, DIRECTION, 0) * x
        + _column(table, view, DIRECTION, 1) * y
        + _column(table, view, DIRECTION, 2)
    )


@ti.func
def _lens_offset(table: ti.template(), view, at):
    """From the middle of the lens to the point `at` [2] of the unit disc on it, world."""
    return ti.Vector([table[view, AXES + k] * at.x + table[view, AXES + 3 + k] * at.y for k in ti.static(range(3))])


@ti.func
def _basis(sensors: ti.template(), table: ti.template(), view, kind):
    """Three vectors m with point - centre = m0 x c + m1 y c + m2 c at depth c; m0 x + m1 y + m2 c where parallel."""
    m0, m1 = _column(table, view, DIRECTION, 0), _column(table, view, DIRECTION, 1)
    if ti.static(sensors >> ORTHOGRAPHIC & 1):
        if kind == ORTHOGRAPHIC:
            m0, m1 = _column(table, view, ORIGIN, 0), _column(table, view, ORIGIN, 1)
    return m0, m1, _column(table, view, DIRECTION, 2)


@ti.func
def _solve(m0, m1, m2, q):
    """h of m0 h.x + m1 h.y + m2 h.z = q."""
    across = m1.cross(m2)
    return ti.Vector([q.dot(across), q.dot(m2.cross(m0)), q.dot(m0.cross(m1))]) / m0.dot(across)


@ti.func
def _solve_adjoint(m0, m1, m2, g):
    """Gradient of q from that of h in `_solve`; that of m_j is minus this times h_j."""
    across = m1.cross(m2)
    return (g.x * across + g.y * m2.cross(m0) + g.z * m0.cross(m1)) / m0.dot(across)
