"""What the lights of light transport are made of: triangles, cones of directions and falloffs, with their adjoints.

A cone around a unit axis is given by its cap, 1 - cos of the angle between axis and rim: that is exact for narrow cones
too, where the cosine is not. Directions d within are where 1 - cos = |d - axis|^2 / 2 is below the cap.
"""

import taichi as ti

from .sampling import PI
from .surface import frame

LEAST = 1e-30


@ti.func
def cap_of(angle):
    """1 - cos, exact for small angles too."""
    sine = ti.sin(0.5 * angle)
    return 2.0 * sine * sine


@ti.func
def lean(d, axis):
    """1 - cos of the angle between two unit vectors."""
    difference = d - axis
    return 0.5 * difference.dot(difference)


@ti.func
def cone(axis, cap, u1, u2):
    """A direction in the cone, evenly over the solid angle 2 pi cap."""
    h = cap * u1
    radius = ti.sqrt(h * (2.0 - h))
    s, t = frame(axis)
    return (1.0 - h) * axis + radius * (ti.cos(2.0 * PI * u2) * s + ti.sin(2.0 * PI * u2) * t)


@ti.func
def cone_adjoint(axis, cap, d, g):
    """To (axis, cap) of `cone` at fixed random numbers, for the gradient g of d."""
    s, t = frame(axis)
    h, x, y = lean(d, axis), s.dot(d), t.dot(d)
    across = ((1.0 - h) * (x * s + y * t) / (2.0 - h)).dot(g)
    return turn_adjoint(axis, ti.Vector([x, y, 1.0 - h]), g), (across - h * axis.dot(g)) / cap


@ti.func
def turn_adjoint(n, local, g):
    """To n of s x + t y + n z with (s, t) = frame(n) and fixed local (x, y, z), for the gradient g of that sum."""
    sign = 1.0
    if n.z < 0.0:
        sign = -1.0
    a = -1.0 / (sign + n.z)
    p, q = g.x * n.x + g.y * n.y, sign * local.x * n.x + local.y * n.y
    both, beside = a * q + local.z, p * a - g.z
    return ti.Vector(
        [g.x * both + beside * sign * local.x, g.y * both + beside * local.y, p * q * a * a + g.z * local.z]
    )


@ti.func
def falloff(h, cap, inner):
    """A spot's share of its intensity at 1 - cos = h off its axis, and its derivatives by h, cap and inner.

    1 up to `inner`, 0 from `cap` on, in between 3 x^2 - 2 x^3 with x falling linearly in the cosine.
    """
    value, by_h, by_cap, by_inner = 0.0, 0.0, 0.0, 0.0
    if h <= inner:
        value = 1.0
    elif h < cap:
        x = (cap - h) / (cap - inner)
        slope = 6.0 * x * (1.0 - x) / (cap - inner)
        value = x * x * (3.0 - 2.0 * x)
        by_h, by_cap, by_inner = -slope, slope * (1.0 - x), slope * x
    return value, by_h, by_cap, by_inner


@ti.func
def barycentrics(u1, u2):
    """Weights of corners 1 and 2 of a point evenly in a triangle."""
    root = ti.sqrt(u1)
    return 1.0 - root, u2 * root


@ti.func
def triangle_pdf(chance, d, distance, cross):
    """Per solid angle, of a point at `distance` along d, chosen evenly with probability `chance` on a triangle.

    cross: (p1 - p0) x (p2 - p0). 0 from behind, edge on and where there is no area.
    """
    facing, square = -d.dot(cross), distance * distance
    density = 0.0
    if facing > LEAST * square and facing > 0.0:
        density = 2.0 * chance * square / facing
    return density


@ti.func
def cross_adjoint(p0, p1, p2, g):
    """To the corners, as the rows of a matrix, of (p1 - p0) x (p2 - p0)."""
    to_1, to_2 = (p2 - p0).cross(g), g.cross(p1 - p0)
    return ti.Matrix.rows([-to_1 - to_2, to_1, to_2])


@ti.func
def point_adjoint(b1, b2, g):
    """To the corners, as the rows of a matrix, of the point with weights b1, b2 of corners 1 and 2."""
    return ti.Matrix.rows([(1.0 - b1 - b2) * g, b1 * g, b2 * g])


@ti.func
def triangle_adjoint(p0, p1, p2, b1, b2, x, g_d, g_measure):
    """To (x, corners as rows of a matrix) of what a point with fixed barycentrics is as seen from x.

    g_d: gradient of the unit direction d from x to it; g_measure: gradient of log(area cos / distance^2), by which the
    solid angle grows that the triangle takes up (cos: at the triangle). 0 from behind.
    """
    v = (1.0 - b1 - b2) * p0 + b1 * p1 + b2 * p2 - x
    cross = (p1 - p0).cross(p2 - p0)
    facing, square = v.dot(cross), v.dot(v)
    to_v, to_cross = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if facing < 0.0:
        distance = ti.sqrt(square)
        d = v / distance
        to_v = g_measure * (cross / facing - 3.0 * v / square) + (g_d - d * d.dot(g_d)) / distance
        to_cross = g_measure * v / facing
    return -to_v, point_adjoint(b1, b2, to_v) + cross_adjoint(p0, p1, p2, to_cross)
