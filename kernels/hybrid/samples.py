"""Samples of a grid at the strata of its box along rays, for `walk`; with adjoint.

A launch takes the rays first .. first + count - 1 and writes those of one volume, the `begin`th of its rays in times
and samples (see `walk`). What lies behind an opaque layer of meshes is not looked up.
"""

import taichi as ti

from ..accumulate import TASK, load3
from ..rays import FAR, box_interval
from ..volume.march import (
    DENSITY,
    HARMONICS,
    density_of,
    density_slope,
    gather,
    grid_ray,
    locate,
    radiance,
    row_steps,
    skip_ahead,
    stratum_share,
)
from ..volume.march_adjoint import RUN, add_ray, ends_gradient, place_gradient, scatter_entry, term_gradient
from ..volume.normals import normal_at
from .walk import mesh_distance

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def last_distance(layer: ti.template(), cosines: ti.template(), ray):
    """Distance behind which nothing of a ray is seen."""
    out = FAR
    if layer[ray, 3] >= 1.0:
        out = mesh_distance(layer, cosines, ray)
    return out


@ti.func
def look_up(
    cells: ti.template(), basis: ti.template(), tint: ti.template(), ray, row, strides, at, terms, kind: ti.template()
):
    """(r, g, b, number whose activation is the density); colours of HARMONICS before the cut at 0."""
    out = ti.Vector([tint[0, 0], tint[0, 1], tint[0, 2], 0.0])
    if ti.static(kind == DENSITY):
        out[3] = gather(cells, row, strides, at, 1, 0)
    elif ti.static(kind == HARMONICS):
        out = radiance(cells, basis, ray, row, strides, at, terms)
    else:
        out = gather(cells, row, strides, at, 1, 0)
    return out


@ti.kernel
def grid_samples(
    first: ti.i32, count: ti.i32, begin: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, box: A2, width: ti.i32,
    height: ti.i32, depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32, basis: A2,
    tint: A2, blocks: A1, threshold: float, layer: A2, cosines: A2, times: A2, samples: A1,
    kind: ti.template(), activation: ti.template(), skipping: ti.template(),
):  # fmt: skip
    for turn in range(count):
        ray, place = first + turn, begin + turn
        o, d = load3(origins, ray), load3(directions, ray)
        size = ti.Vector([width, height, depth])
        ends, _axes = box_interval(o, d, load3(box, 0), load3(box, 1))
        start, slope = grid_ray(box, o, d)
        times[place, 0] = ends[0]
        times[place, 1] = ends[1]
        if ends[1] > ends[0]:
            delta, last = (ends[1] - ends[0]) / steps, last_distance(layer, cosines, ray)
            k = 0
            while k < steps and ends[0] + (k - 1) * delta < last:
                t = ends[0] + (k + stratum_share(jitter, seed, ray, k)) * delta
                q = start + t * slope
                onward = k
                if ti.static(skipping):
                    onward = ti.min(skip_ahead(blocks, threshold, q, slope, size, t, ends[0], delta, k), steps)
                if onward > k:
                    while k < onward:
                        samples[place * steps + k] = ti.Vector([0.0, 0.0, 0.0, 0.0])
                        k += 1
                else:
                    row, at = locate(q, size)
                    value = look_up(cells, basis, tint, ray, row, row_steps(size), at, terms, kind)
                    if ti.static(kind == HARMONICS):
                        for c in ti.static(range(3)):
                            value[c] = ti.max(value[c], 0.0)
                    value[3] = density_of(value[3], shift, activation)
                    samples[place * steps + k] = value
                    k += 1


@ti.kernel
def grid_normals(
    first: ti.i32, count: ti.i32, begin: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, box: A2, width: ti.i32,
    height: ti.i32, depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32, basis: A2,
    tint: A2, to_object: A2, layer: A2, cosines: A2, samples: A1, kind: ti.template(),
):  # fmt: skip
    """Puts normals in the place of the samples' colours; takes what `grid_samples` does."""
    for turn in range(count):
        ray, place = first + turn, begin + turn
        o, d = load3(origins, ray), load3(directions, ray)
        size = ti.Vector([width, height, depth])
        ends, _axes = box_interval(o, d, load3(box, 0), load3(box, 1))
        start, slope = grid_ray(box, o, d)
        if ends[1] > ends[0]:
            delta, last = (ends[1] - ends[0]) / steps, last_distance(layer, cosines, ray)
            for k in range(steps):
                if not ends[0] + (k - 1) * delta < last:
                    break
                q = start + (ends[0] + (k + stratum_share(jitter, seed, ray, k)) * delta) * slope
                row, at = locate(q, size)
                normal, _number = normal_at(
                    cells, row, row_steps(size), at, q, size, load3(box, 2), terms, to_object, kind
                )
                density = samples[place * steps + k][3]
                samples[place * steps + k] = ti.Vector([normal[0], normal[1], normal[2], density])


@ti.kernel
def drop_colors(begin: ti.i32, count: ti.i32, samples_grad: A1):
    """Nothing of a sample's look goes on to the grid: normals are constants."""
    for k in range(begin, begin + count):
        samples_grad[k] = ti.Vector([0.0, 0.0, 0.0, samples_grad[k][3]])


@ti.func
def before_activation(
    given, cells: ti.template(), basis: ti.template(), tint: ti.template(), ray, row, strides, at, terms, shift,
    kind: ti.template(), activation: ti.template(),
):  # fmt: skip
    """The gradient of a sample taken back to what `look_up` returns."""
    value = look_up(cells, basis, tint, ray, row, strides, at, terms, kind)
    out = given
    if ti.static(kind == HARMONICS):
        for c in ti.static(range(3)):
            out[c] = ti.select(value[c] > 0.0, given[c], 0.0)
    out[3] = given[3] * density_slope(value[3], shift, activation)
    return out


@ti.kernel
def grid_samples_adjoint(
    chunks: ti.i32, first: ti.i32, count: ti.i32, begin: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, box: A2,
    width: ti.i32, height: ti.i32, depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32,
    basis: A2, tint: A2, times_grad: A2, samples_grad: A1, part: A1, part_tint: A1, basis_grad: A2, grad_origins: A2,
    grad_directions: A2,
    kind: ti.template(), activation: ti.template(), to_cells: ti.template(), to_rays: ti.template(),
    block: ti.template(),
):  # fmt: skip
    """part_tint [chunks * 3] and the rays' gradients +=; with `to_cells`, for a CPU, part [chunks * cells] too."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        runs, size = (count + RUN - 1) // RUN, ti.Vector([width, height, depth])
        strides, entries = row_steps(size), width * height * depth * terms
        for turn in range((runs - p + chunks - 1) // chunks):
            for inside in range((p + turn * chunks) * RUN, ti.min((p + turn * chunks + 1) * RUN, count)):
                ray, place = first + inside, begin + inside
                o, d = load3(origins, ray), load3(directions, ray)
                ends, axes = box_interval(o, d, load3(box, 0), load3(box, 1))
                start, slope = grid_ray(box, o, d)
                if ends[1] > ends[0]:
                    delta = (ends[1] - ends[0]) / steps
                    to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
                    to_ends = ti.Vector([times_grad[place, 0], times_grad[place, 1]])
                    to_tint = ti.Vector([0.0, 0.0, 0.0])
                    for k in range(steps):
                        given = samples_grad[place * steps + k]
                        if given.norm_sqr() > 0.0:
                            share = (k + stratum_share(jitter, seed, ray, k)) / steps
                            t = ends[0] + share * steps * delta
                            q = start + t * slope
                            row, at = locate(q, size)
                            given = before_activation(
                                given, cells, basis, tint, ray, row, strides, at, terms, shift, kind, activation
                            )  # fmt: skip
                            if ti.static(to_cells):
                                for term in range(terms):
                                    entry = given
                                    if ti.static(kind == HARMONICS):
                                        entry = term_gradient(given, basis, ray, term)
                                    scatter_entry(
                                        part, p * entries, row, strides, at, terms, term, entry, kind, False
                                    )  # fmt: skip
                            if ti.static(to_rays):
                                to_place = place_gradient(
                                    cells, basis, basis_grad, ray, q, size, row, strides, at, load3(box, 2), terms,
                                    given, kind,
                                )  # fmt: skip
                                to_o += to_place
                                to_d += t * to_place
                                to_ends += to_place.dot(d) * ti.Vector([1.0 - share, share])
                            to_tint += ti.Vector([given[0], given[1], given[2]])
                    if ti.static(to_rays):
                        to_o, to_d = ends_gradient(o, d, ends, axes, to_ends, to_o, to_d)
                        add_ray(grad_origins, grad_directions, ray, to_o, to_d)
                    for c in ti.static(range(3)):
                        part_tint[3 * p + c] = part_tint[3 * p + c] + to_tint[c]


@ti.kernel
def grid_samples_scatter(
    first: ti.i32, count: ti.i32, begin: ti.i32, steps: ti.i32, jitter: ti.i32, seed: ti.i32, box: A2, width: ti.i32,
    height: ti.i32, depth: ti.i32, shift: float, origins: A2, directions: A2, cells: A1, terms: ti.i32, basis: A2,
    tint: A2, samples_grad: A1, part: A1, kind: ti.template(), activation: ti.template(),
):  # fmt: skip
    """For a GPU: part [cells] +=, one thread per sample and harmonic."""
    for item in range(count * steps * terms):
        sample = item // terms
        inside, term = sample // steps, item - sample * terms
        k = sample - inside * steps
        given = samples_grad[begin * steps + sample]
        if given.norm_sqr() > 0.0:
            ray, size = first + inside, ti.Vector([width, height, depth])
            strides = row_steps(size)
            o, d = load3(origins, ray), load3(directions, ray)
            ends, _axes = box_interval(o, d, load3(box, 0), load3(box, 1))
            start, slope = grid_ray(box, o, d)
            t = ends[0] + (k + stratum_share(jitter, seed, ray, k)) * (ends[1] - ends[0]) / steps
            row, at = locate(start + t * slope, size)
            given = before_activation(
                given, cells, basis, tint, ray, row, strides, at, terms, shift, kind, activation
            )  # fmt: skip
            if ti.static(kind == HARMONICS):
                given = term_gradient(given, basis, ray, term)
            scatter_entry(part, 0, row, strides, at, terms, term, given, kind, True)
