"""The largest of some anchors' values near each ray (Liu et al. 2019); with adjoint.

Anchors lie in buckets, a grid of cells over the box: starts [cells + 1] and listed say which anchors' balls of the
support radius reach into a bucket. A ray visits its buckets in order (Amanatides and Woo 1987).
"""

import taichi as ti

from ..accumulate import TASK, add, load3
from ..rays import box_interval

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def largest(
    count: ti.i32, origins: A2, directions: A2, box: A2, starts: A1, listed: A1, points: A2, values: A2,
    radius: float, chosen: A1, alpha: A2,
):  # fmt: skip
    """alpha [n, 1]: the largest of values [N, 1] among the anchors nearer to a ray than radius, 0 without any.

    chosen [n] is that anchor, -1 without any. box [3, 3]: lower and upper corner, and the numbers of buckets.
    """
    for ray in range(count):
        o, d = load3(origins, ray), load3(directions, ray)
        low, high, size = load3(box, 0), load3(box, 1), ti.cast(load3(box, 2), ti.i32)
        times, _ = box_interval(o, d, low, high)
        chosen[ray] = -1
        alpha[ray, 0] = 0.0
        if times[0] < times[1]:
            unit = (high - low) / load3(box, 2)
            p = o + times[0] * d
            at, step = ti.Vector([0, 0, 0]), ti.Vector([0, 0, 0])
            until, across = ti.Vector([1e30, 1e30, 1e30]), ti.Vector([1e30, 1e30, 1e30])
            for a in ti.static(range(3)):
                at[a] = ti.max(0, ti.min(size[a] - 1, ti.cast(ti.floor((p[a] - low[a]) / unit[a]), ti.i32)))
                if d[a] > 0.0:
                    step[a] = 1
                    until[a] = (low[a] + (at[a] + 1) * unit[a] - o[a]) / d[a]
                    across[a] = unit[a] / d[a]
                elif d[a] < 0.0:
                    step[a] = -1
                    until[a] = (low[a] + at[a] * unit[a] - o[a]) / d[a]
                    across[a] = -unit[a] / d[a]
            best, which, going = 0.0, -1, 1
            square, limit = d.norm_sqr(), radius * radius
            while going == 1:
                bucket = (at[2] * size[1] + at[1]) * size[0] + at[0]
                for n in range(starts[bucket], starts[bucket + 1]):
                    anchor = listed[n]
                    if which < 0 or values[anchor, 0] > best:
                        away = load3(points, anchor) - o
                        t = away.dot(d) / square
                        if t > times[0] and t < times[1] and (away - t * d).norm_sqr() < limit:
                            best = values[anchor, 0]
                            which = anchor
                a = 0
                if until[1] < until[0]:
                    a = 1
                if until[2] < until[a]:
                    a = 2
                for b in ti.static(range(3)):
                    if a == b:
                        at[b] += step[b]
                        until[b] += across[b]
                        if at[b] < 0 or at[b] >= size[b] or step[b] == 0:
                            going = 0
            chosen[ray] = which
            alpha[ray, 0] = best


@ti.kernel
def largest_adjoint(
    chunks: ti.i32, anchors: ti.i32, count: ti.i32, chosen: A1, grad_alpha: A2, part: A1, atomic: ti.template()
):
    """part [chunks * anchors] += the gradients of the rays that chose an anchor."""
    if ti.static(atomic):
        for ray in range(count):
            if chosen[ray] >= 0:
                add(part, chosen[ray], grad_alpha[ray, 0], True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for ray in range(p * count // chunks, (p + 1) * count // chunks):
                if chosen[ray] >= 0:
                    add(part, p * anchors + chosen[ray], grad_alpha[ray, 0], False)
