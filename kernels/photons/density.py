"""Radiance from the density of photons around points that look at them, on surfaces and in media; with adjoints.

    L = sum over photons p of f(omega_p, omega) Phi_p K_r(|x - x_p|)

with f the BSDF, or the phase function (`kinds` MEDIUM), K_r a kernel of profiles.py and r the query's own radius.

Photons lie in a grid (grid.py), place by place as `records` [N * 12]: position, direction of flight, power, and unit
normal of the face where it landed. Powers are shares of the lights' power: divided by the number of photons emitted, in
a medium that part which is scattered. A query has points [Q, 3], normals [Q, 3] (unit, of shading, on the side of the
eye where the surface is opaque), sides [Q, 3] (unit, of the face), eyes [Q, 3] (unit, towards the eye), radii [Q]
(nothing is found where it is below LEAST), and params [Q, PARAMS] with kind [Q] of transport/bsdf.py; in a medium
params [Q, 1] is g, and normals, sides and kind are not read.

A photon on a surface counts where |side . (x - x_p)| <= thickness r and side . (its normal) >= least_cosine, so that
light does not leak around corners and through walls. No photon beyond r is read further than its position.

The adjoints gather: one thread goes through a query's photons, or through the queries around a photon, by a grid of
theirs. Radii are constants, and so is which photons count; with a profile that steps down at d = r (profiles.py says
which) gradients by positions lack what crosses that step.

Jensen 1996, "Global Illumination using Photon Maps"; Jensen and Christensen 1998, "Efficient Simulation of Light
Transport in Scenes with Participating Media using Photon Maps".
"""

import taichi as ti

from ..accumulate import load3
from ..transport import bsdf
from ..transport.microfacet import GRAZING
from ..transport.slots import PARAMS
from ..transport.surface import frame, frame_adjoint, to_local, to_world
from ..volume.phase import henyey_greenstein, henyey_greenstein_slopes
from . import profiles
from .grid import ball, belongs, run

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

MEDIUM = -1  # as `kinds`: queries and photons are in a medium
RECORD = 12
LEAST = 1e-12  # of a radius, whose cube 32 bits hold


@ti.func
def record(records: ti.template(), place, field: ti.template()):
    """One of position 0, direction 1, power 2, normal 3."""
    first = RECORD * place + 3 * field
    return ti.Vector([records[first], records[first + 1], records[first + 2]])


@ti.func
def params_of(params: ti.template(), query, kinds: ti.template()):
    return ti.Vector([params[query, k] for k in ti.static(range(1 if kinds == MEDIUM else PARAMS))])


@ti.func
def near(gap, radius, side, normal, thickness, least_cosine, kinds: ti.template()):
    """Whether a photon within the radius lies in the query's disc and on its side."""
    ok = 1
    if ti.static(kinds != MEDIUM):
        if ti.abs(side.dot(gap)) > thickness * radius or side.dot(normal) < least_cosine:
            ok = 0
    return ok


@ti.func
def scattered(kinds: ti.template(), kind, p: ti.template(), s, t, n, eye, flight):
    """f: the BSDF, without the cosine, or the phase function, from a direction of flight towards the eye."""
    f = ti.Vector([0.0, 0.0, 0.0])
    if ti.static(kinds == MEDIUM):
        f += henyey_greenstein(flight.dot(eye), p[0])
    else:
        wo = to_local(s, t, n, -flight)
        if ti.abs(wo.z) > GRAZING:
            cosined, _pdf = bsdf.evaluate(kinds, kind, p, to_local(s, t, n, eye), wo, 1)
            f = cosined / ti.abs(wo.z)
    return f


@ti.func
def scattered_adjoint(kinds: ti.template(), kind, p: ti.template(), s, t, n, eye, flight, f, g):
    """Gradients of g . f to (p, n, eye, flight); f is what `scattered` gave."""
    to_p, to_n, to_eye, to_flight = p * 0.0, n * 0.0, n * 0.0, n * 0.0
    if ti.static(kinds == MEDIUM):
        by_cosine, by_g = henyey_greenstein_slopes(flight.dot(eye), p[0])
        to_p[0] = g.sum() * by_g
        to_eye = g.sum() * by_cosine * flight
        to_flight = g.sum() * by_cosine * eye
    else:
        wi, wo = to_local(s, t, n, eye), to_local(s, t, n, -flight)
        if ti.abs(wo.z) > GRAZING:
            grad_p, to_wi, to_wo = bsdf.evaluate_adjoint(kinds, kind, p, wi, wo, g / ti.abs(wo.z), 1)
            to_wo.z -= g.dot(f) / wo.z
            to_p = grad_p
            to_n = frame_adjoint(s, t, n, wi, to_wi) + frame_adjoint(s, t, n, wo, to_wo)
            to_eye = to_world(s, t, n, to_wi)
            to_flight = -to_world(s, t, n, to_wo)
    return to_p, to_n, to_eye, to_flight


@ti.kernel
def gather(
    queries: ti.i32, kinds: ti.template(), profile: ti.template(), thickness: float, least_cosine: float,
    inverse: float, mask: ti.i32, bounds: A1, start: A1, records: A1, points: A2, normals: A2, sides: A2, eyes: A2,
    radii: A1, params: A2, kind: A1, radiance: A2, found: A1,
):  # fmt: skip
    """radiance [Q, 3]; found [Q]: how many photons count."""
    for q in range(queries):
        x, n, side, eye = load3(points, q), load3(normals, q), load3(sides, q), load3(eyes, q)
        radius, p = radii[q], params_of(params, q, kinds)
        s, t = frame(n)
        total, count = ti.Vector([0.0, 0.0, 0.0]), 0
        low, size, runs = ball(x, radius, inverse, bounds, start[mask + 1])
        if radius > LEAST:
            for turn in range(ti.abs(runs)):
                begin, end, cell = run(turn, runs, low, size, mask, start)
                for place in range(begin, end):
                    at = record(records, place, 0)
                    gap = x - at
                    square = gap.norm_sqr() / (radius * radius)
                    if square < 1.0 and belongs(at, cell, runs, inverse):
                        if near(gap, radius, side, record(records, place, 3), thickness, least_cosine, kinds):
                            f = scattered(kinds, kind[q], p, s, t, n, eye, record(records, place, 1))
                            weight = profiles.value(square, profile, ti.static(3 if kinds == MEDIUM else 2))
                            total += weight * f * record(records, place, 2)
                            count += 1
            total /= profiles.ball_volume(radius, ti.static(3 if kinds == MEDIUM else 2))
        for channel in ti.static(range(3)):
            radiance[q, channel] = total[channel]
        found[q] = count


@ti.func
def pull(gap, radius, profile: ti.template(), dimension: ti.template()):
    """(K_r, its gradient by x) at x - x_p = gap."""
    square, volume = gap.norm_sqr() / (radius * radius), profiles.ball_volume(radius, dimension)
    by_square = profiles.slope(square, profile, dimension) / volume
    return profiles.value(square, profile, dimension) / volume, 2.0 * by_square / (radius * radius) * gap


@ti.kernel
def gather_adjoint(
    queries: ti.i32, kinds: ti.template(), profile: ti.template(), thickness: float, least_cosine: float,
    inverse: float, mask: ti.i32, bounds: A1, start: A1, records: A1, points: A2, normals: A2, sides: A2, eyes: A2,
    radii: A1, params: A2, kind: A1, grad: A2, grad_points: A2, grad_normals: A2, grad_eyes: A2, grad_params: A2,
    angles: ti.template(),
):  # fmt: skip
    """To queries: points, and with `angles` also normals, eyes and params."""
    for q in range(queries):
        x, n, side, eye, g = load3(points, q), load3(normals, q), load3(sides, q), load3(eyes, q), load3(grad, q)
        radius, p = radii[q], params_of(params, q, kinds)
        s, t = frame(n)
        to_x, to_n, to_eye, to_p = n * 0.0, n * 0.0, n * 0.0, p * 0.0
        low, size, runs = ball(x, radius, inverse, bounds, start[mask + 1])
        if radius <= LEAST:
            runs = 0
        for turn in range(ti.abs(runs)):
            begin, end, cell = run(turn, runs, low, size, mask, start)
            for place in range(begin, end):
                at = record(records, place, 0)
                gap = x - at
                if gap.norm_sqr() < radius * radius and belongs(at, cell, runs, inverse):
                    if near(gap, radius, side, record(records, place, 3), thickness, least_cosine, kinds):
                        flight, power = record(records, place, 1), record(records, place, 2)
                        f = scattered(kinds, kind[q], p, s, t, n, eye, flight)
                        weight, slope = pull(gap, radius, profile, ti.static(3 if kinds == MEDIUM else 2))
                        to_x += g.dot(f * power) * slope
                        if ti.static(angles):
                            more_p, more_n, more_eye, _flight = scattered_adjoint(
                                kinds, kind[q], p, s, t, n, eye, flight, f, weight * power * g
                            )
                            to_p += more_p
                            to_n += more_n
                            to_eye += more_eye
        for k in ti.static(range(3)):
            grad_points[q, k] = grad_points[q, k] + to_x[k]
        if ti.static(angles):
            for k in ti.static(range(3)):
                grad_eyes[q, k] = grad_eyes[q, k] + to_eye[k]
                if ti.static(kinds != MEDIUM):
                    grad_normals[q, k] = grad_normals[q, k] + to_n[k]
            for k in ti.static(range(1 if kinds == MEDIUM else PARAMS)):
                grad_params[q, k] = grad_params[q, k] + to_p[k]


@ti.kernel
def gather_adjoint_photons(
    room: ti.i32, kinds: ti.template(), profile: ti.template(), thickness: float, least_cosine: float, reach: A1,
    photon_buckets: ti.i32, photon_start: A1, photon_order: A1, records: A1, inverse: float, mask: ti.i32, bounds: A1,
    start: A1, order: A1, places: A1, normals: A2, sides: A2, eyes: A2, radii: A1, params: A2, kind: A1, grad: A2,
    grad_positions: A2, grad_directions: A2, grad_powers: A2, angles: ti.template(),
):  # fmt: skip
    """To photons: positions, powers, and with `angles` directions.

    From `inverse` to `places` [Q * 3] the grid is that of the queries; reach [1] is their largest radius.
    """
    for own in range(room):
        to_at, to_flight, to_power = ti.Vector.zero(float, 3), ti.Vector.zero(float, 3), ti.Vector.zero(float, 3)
        if own < photon_start[photon_buckets]:
            at, flight, power = record(records, own, 0), record(records, own, 1), record(records, own, 2)
            normal = record(records, own, 3)
            low, size, runs = ball(at, reach[0], inverse, bounds, start[mask + 1])
            for turn in range(ti.abs(runs)):
                begin, end, cell = run(turn, runs, low, size, mask, start)
                for place in range(begin, end):
                    x = ti.Vector([places[3 * place], places[3 * place + 1], places[3 * place + 2]])
                    q = order[place]
                    radius, gap = radii[q], x - at
                    if radius > LEAST and gap.norm_sqr() < radius * radius and belongs(x, cell, runs, inverse):
                        if near(gap, radius, load3(sides, q), normal, thickness, least_cosine, kinds):
                            n, eye, g = load3(normals, q), load3(eyes, q), load3(grad, q)
                            p = params_of(params, q, kinds)
                            s, t = frame(n)
                            f = scattered(kinds, kind[q], p, s, t, n, eye, flight)
                            weight, slope = pull(gap, radius, profile, ti.static(3 if kinds == MEDIUM else 2))
                            to_at -= g.dot(f * power) * slope
                            to_power += weight * f * g
                            if ti.static(angles):
                                _p, _n, _eye, more = scattered_adjoint(
                                    kinds, kind[q], p, s, t, n, eye, flight, f, weight * power * g
                                )
                                to_flight += more
            row = photon_order[own]
            for k in ti.static(range(3)):
                grad_positions[row, k] = grad_positions[row, k] + to_at[k]
                grad_powers[row, k] = grad_powers[row, k] + to_power[k]
                if ti.static(angles):
                    grad_directions[row, k] = grad_directions[row, k] + to_flight[k]
