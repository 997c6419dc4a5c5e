"""Where along a ray the samples of a voxel grid lie; with adjoints.

A chunk is `lanes` rays from `first` on. t [lanes * steps] holds the parameters of a ray's samples, of which the first
counts[lane] are used. box [4, 3] holds the grid's lower and upper corner, its size (W, H, D) and that of its warp.
Every sample of a regular layout lies at t = a + k b, with a and b functions of the ray:

    INTERVAL  a where the ray enters the box, b the length inside it, k = (s + 1/2) / steps
    CENTRE    a where it passes nearest to the box's centre, b = 1 / |d|, k = (s - (steps - 1) / 2) * spacing
    ENTRY     a where it enters, b = 1 / |d|, k = (s + offset) * spacing, offset in [0, 1) (1/2 without jitter)
"""

import taichi as ti

from ..accumulate import load3
from ..rays import box_interval
from ..rng import uniform

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

INTERVAL, CENTRE, ENTRY = 0, 1, 2


@ti.func
def anchor(o, d, lower, upper, times, kind: ti.template()):
    """(a, b) of a ray."""
    out = ti.Vector([times[0], times[1] - times[0]])
    if ti.static(kind != INTERVAL):
        out[1] = 1.0 / d.norm()
    if ti.static(kind == CENTRE):
        out[0] = (0.5 * (lower + upper) - o).dot(d) / d.norm_sqr()
    return out


@ti.kernel
def regular(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, kind: ti.template(),
    spacing: float, jitter: ti.i32, seed: ti.i32, t: A1, counts: A1,
):  # fmt: skip
    """Samples inside the box, in order; none in front of the ray's origin."""
    for lane in range(lanes):
        o, d = load3(origins, first + lane), load3(directions, first + lane)
        lower, upper = load3(box, 0), load3(box, 1)
        times, _ = box_interval(o, d, lower, upper)
        count = 0
        if times[0] < times[1]:
            ab = anchor(o, d, lower, upper, times, kind)
            offset = 0.5
            if jitter != 0:  # see `stratum_share` of volumes
                offset = uniform(seed, first + lane + jitter - 1, 0, 0)
            for s in range(steps):
                k = (s + 0.5) / steps
                if ti.static(kind == CENTRE):
                    k = (s - 0.5 * (steps - 1)) * spacing
                elif ti.static(kind == ENTRY):
                    k = (s + offset) * spacing
                at = ab[0] + k * ab[1]
                if at > times[0] and at < times[1]:
                    t[lane * steps + count] = at
                    count += 1
        counts[lane] = count


@ti.kernel
def regular_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, kind: ti.template(),
    t: A1, counts: A1, grad_t: A1, grad_origins: A2, grad_directions: A2,
):  # fmt: skip
    for lane in range(lanes):
        if counts[lane] > 0:
            o, d = load3(origins, first + lane), load3(directions, first + lane)
            lower, upper = load3(box, 0), load3(box, 1)
            times, axes = box_interval(o, d, lower, upper)
            ab = anchor(o, d, lower, upper, times, kind)
            to_a, to_b = 0.0, 0.0
            for s in range(counts[lane]):
                g = grad_t[lane * steps + s]
                to_a += g
                to_b += g * (t[lane * steps + s] - ab[0]) / ab[1]
            to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
            to_times = ti.Vector([to_a, 0.0])
            if ti.static(kind == INTERVAL):
                to_times = ti.Vector([to_a - to_b, to_b])
            else:
                to_d = -to_b * ab[1] ** 3 * d
            if ti.static(kind == CENTRE):
                to_times[0] = 0.0
                to_o = -to_a * ab[1] ** 2 * d
                to_d += to_a * ab[1] ** 2 * (0.5 * (lower + upper) - o - 2.0 * ab[0] * d)
            for end in ti.static(range(2)):
                for a in ti.static(range(3)):
                    if axes[end] == a:
                        to_o[a] -= to_times[end] / d[a]
                        to_d[a] -= to_times[end] * times[end] / d[a]
            for a in ti.static(range(3)):
                grad_origins[first + lane, a] = grad_origins[first + lane, a] + to_o[a]
                grad_directions[first + lane, a] = grad_directions[first + lane, a] + to_d[a]


@ti.func
def next_face(o, d, lower, upper, size, cell):
    """Parameter and axis where a ray leaves the cell (i, j, k)."""
    out, axis = 1e30, -1
    for a in ti.static(range(3)):
        if d[a] != 0.0:
            side = 1 if d[a] > 0.0 else 0
            face = lower[a] + (upper[a] - lower[a]) * (cell[a] + side) / size[a]
            at = (face - o[a]) / d[a]
            if at < out:
                out = at
                axis = a
    return out, axis


@ti.func
def first_cell(o, d, lower, upper, size, times, axes):
    """The cell where a ray enters the box; on the axis of entry the outermost one."""
    cell = ti.Vector([0, 0, 0])
    p = o + times[0] * d
    for a in ti.static(range(3)):
        inside = ti.floor((p[a] - lower[a]) / (upper[a] - lower[a]) * size[a], ti.i32)
        cell[a] = ti.max(ti.min(inside, size[a] - 1), 0)
        if axes[0] == a:
            cell[a] = 0 if d[a] > 0.0 else size[a] - 1
    return cell


@ti.kernel
def cells(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, t: A1, rows: A1, counts: A1
):  # fmt: skip
    """The cells that a ray crosses, in order (Amanatides and Woo 1987): their rows, and t halfway through each."""
    for lane in range(lanes):
        o, d = load3(origins, first + lane), load3(directions, first + lane)
        lower, upper, size = load3(box, 0), load3(box, 1), ti.cast(load3(box, 2), ti.i32)
        times, axes = box_interval(o, d, lower, upper)
        count = 0
        if times[0] < times[1]:
            cell = first_cell(o, d, lower, upper, size, times, axes)
            enter, inside = times[0], 1
            while inside == 1 and count < steps:
                leave, axis = next_face(o, d, lower, upper, size, cell)
                leave = ti.max(leave, enter)
                t[lane * steps + count] = 0.5 * (enter + leave)
                rows[lane * steps + count] = (cell[2] * size[1] + cell[1]) * size[0] + cell[0]
                count += 1
                for a in ti.static(range(3)):
                    if axis == a:
                        cell[a] += 1 if d[a] > 0.0 else -1
                        if cell[a] < 0 or cell[a] >= size[a]:
                            inside = 0
                enter = leave
        counts[lane] = count


@ti.kernel
def cells_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, origins: A2, directions: A2, box: A2, counts: A1, grad_t: A1,
    grad_origins: A2, grad_directions: A2,
):  # fmt: skip
    """Every t is the mean of two crossings of faces."""
    for lane in range(lanes):
        if counts[lane] > 0:
            o, d = load3(origins, first + lane), load3(directions, first + lane)
            lower, upper, size = load3(box, 0), load3(box, 1), ti.cast(load3(box, 2), ti.i32)
            times, axes = box_interval(o, d, lower, upper)
            cell = first_cell(o, d, lower, upper, size, times, axes)
            at, on = times[0], axes[0]
            to_o, to_d = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
            before = 0.0
            for s in range(counts[lane] + 1):
                after = grad_t[lane * steps + s] if s < counts[lane] else 0.0
                share = 0.5 * (before + after)
                leave, axis = next_face(o, d, lower, upper, size, cell)
                for a in ti.static(range(3)):
                    if on == a:
                        to_o[a] -= share / d[a]
                        to_d[a] -= share * at / d[a]
                    if axis == a:
                        cell[a] += 1 if d[a] > 0.0 else -1
                at, on, before = ti.max(leave, at), axis, after
            for a in ti.static(range(3)):
                grad_origins[first + lane, a] = grad_origins[first + lane, a] + to_o[a]
                grad_directions[first + lane, a] = grad_directions[first + lane, a] + to_d[a]
