"""Weights of points' neighbours, and energies of pairs of neighbours; with adjoints.

Pair e = i * k + j is point i and its j-th neighbour found[e]; found is -1 where there is none. weights [N * k] sum to 1
over a point's neighbours. planes [N * 3] are unit normals of the planes along which the points' surroundings lie.
"""

import taichi as ti

from ..accumulate import load3
from .chamfer import unit
from .neighbors import row3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

PROJECTION, REPULSION = 0, 1


@ti.kernel
def weigh(count: ti.i32, k: ti.i32, found: A1, squares: A1, normals: A2, turn: float, weights: A1, planes: A1):
    """weights by distance, against the mean square to the neighbours, and by 1 - cos between normals, against `turn`.

    planes: the point's own normal and those of its neighbours, averaged with their weights before they sum to 1.
    """
    for i in range(count):
        own, _ = unit(normals, i)
        size, held = 0.0, 0
        for e in range(i * k, (i + 1) * k):
            if found[e] >= 0:
                size += squares[e]
                held += 1
        mean, total = size / ti.max(held, 1), 0.0
        plane = own
        for e in range(i * k, (i + 1) * k):
            weight = 0.0
            if found[e] >= 0:
                other, _ = unit(normals, found[e])
                apart = (1.0 - own.dot(other)) / turn
                weight = ti.exp(-apart * apart)
                if mean > 0.0:
                    weight *= ti.exp(-squares[e] / mean)
                plane += weight * other
            weights[e] = weight
            total += weight
        for e in range(i * k, (i + 1) * k):
            weights[e] = weights[e] / ti.max(total, 1e-30)
        length = plane.norm()
        if length > 0.0:
            plane /= length
        for axis in ti.static(range(3)):
            planes[3 * i + axis] = plane[axis]


@ti.func
def pair(e, i, other, points: ti.template(), weights: ti.template(), planes: ti.template(), least, kind: ti.template()):
    """Energy of a pair, and its derivative by the first point; that by the second is opposite."""
    gap, plane = load3(points, i) - load3(points, other), row3(planes, i)
    off = plane.dot(gap)
    energy, slope = weights[e] * off * off, 2.0 * weights[e] * off * plane
    if ti.static(kind == REPULSION):
        along = gap - off * plane
        inverse = 1.0 / (along.norm_sqr() + least)
        energy = weights[e] * inverse
        slope = -2.0 * weights[e] * inverse * inverse * along
    return energy, slope


@ti.kernel
def energies(
    count: ti.i32, k: ti.i32, found: A1, points: A2, weights: A1, planes: A1, least: float, kind: ti.template(),
    terms: A1,
):  # fmt: skip
    """terms [N]: of each point's pairs, weight * off^2, or weight / (along^2 + least) for REPULSION.

    off and along are the parts of the way from one point to the other across and along the plane of the first.
    """
    for i in range(count):
        total = 0.0
        for e in range(i * k, (i + 1) * k):
            if found[e] >= 0:
                energy, _ = pair(e, i, found[e], points, weights, planes, least, kind)
                total += energy
        terms[i] = total


@ti.kernel
def energies_adjoint(
    count: ti.i32, k: ti.i32, found: A1, start: A1, listed: A1, points: A2, weights: A1, planes: A1, least: float,
    kind: ti.template(), share: float, grad: A2, grad_points: A2,
):  # fmt: skip
    """To points; the pairs whose second point is i are listed[start[i] .. start[i + 1] - 1]."""
    for i in range(count):
        total = ti.Vector([0.0, 0.0, 0.0])
        for e in range(i * k, (i + 1) * k):
            if found[e] >= 0:
                _, slope = pair(e, i, found[e], points, weights, planes, least, kind)
                total += slope
        for at in range(start[i], start[i + 1]):
            e = listed[at]
            _, slope = pair(e, e // k, i, points, weights, planes, least, kind)
            total -= slope
        for axis in ti.static(range(3)):
            grad_points[i, axis] = grad_points[i, axis] + share * grad[0, 0] * total[axis]
