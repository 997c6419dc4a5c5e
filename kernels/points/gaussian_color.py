"""Radiance of 3D Gaussians towards cameras by spherical harmonics; with adjoints.

Rows are splats, v * per_view + start + n for Gaussian n of a node in view v; table [views, 20] as in
`gaussian_project`, whose last four numbers are the eye.
"""

import taichi as ti

from ..accumulate import load3, turns
from ..volume.sh import DEGREE_0

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def to_eye(table: ti.template(), view, p):
    """Vector from a point to the camera, object space."""
    return ti.Vector([table[view, 16 + k] for k in ti.static(range(3))]) - table[view, 19] * p


@ti.kernel
def directions(count: ti.i32, views: ti.i32, means: A2, table: A2, out: A2):
    """out [views * N, 3] from the camera to the means, not normalised; view by view."""
    for n in range(count):
        for view in range(views):
            d = -to_eye(table, view, load3(means, n))
            for k in ti.static(range(3)):
                out[view * count + n, k] = d[k]


@ti.kernel
def directions_adjoint(
    chunks: ti.i32, size: ti.i32, across: ti.i32, along: ti.i32, count: ti.i32, views: ti.i32, means: A2, table: A2,
    grad_out: A2, grad_means: A2, part: A1,
):  # fmt: skip
    """part [chunks * views * 20] = gradient of the table."""
    spread = turns(size)
    for ticket in range(chunks * spread):
        chunk = ticket // spread
        if ticket % spread != 0:
            continue
        for view in range(views):
            total = ti.Vector([0.0, 0.0, 0.0, 0.0])
            for k in range(size):
                n = chunk * across + k * along
                if n < count:
                    g = load3(grad_out, view * count + n)
                    p = load3(means, n)
                    for a in ti.static(range(3)):
                        total[a] -= g[a]
                        grad_means[n, a] = grad_means[n, a] + table[view, 19] * g[a]
                    total[3] += g.dot(p)
            slot = (chunk * views + view) * 20
            for k in ti.static(range(16)):
                part[slot + k] = 0.0
            for k in ti.static(range(4)):
                part[slot + 16 + k] = total[k]


@ti.func
def radiance(sh_dc: ti.template(), sh_rest: ti.template(), basis: ti.template(), n, row, stored, terms):
    """Before it is cut at 0; `stored` is how many harmonics above degree 0 there are, of which terms - 1 count."""
    value = ti.Vector([0.5, 0.5, 0.5])
    for c in ti.static(range(3)):
        value[c] += DEGREE_0 * sh_dc[n, c]
    for k in range(terms - 1):
        value += basis[row, k + 1] * load3(sh_rest, n * stored + k)
    return value


@ti.kernel
def colors(
    count: ti.i32, start: ti.i32, per_view: ti.i32, views: ti.i32, stored: ti.i32, terms: ti.i32, sh_dc: A2,
    sh_rest: A2, basis: A2, out: A2,
):  # fmt: skip
    """out [items, 3] = max(0, 1/2 + sum of coefficient * harmonic); basis [views * N, terms], not read for one."""
    for n in range(count):
        for view in range(views):
            value = radiance(sh_dc, sh_rest, basis, n, view * count + n, stored, terms)
            for c in ti.static(range(3)):
                out[view * per_view + start + n, c] = ti.select(value[c] < 0.0, 0.0, value[c])  # a NaN stays one


@ti.kernel
def colors_adjoint(
    count: ti.i32, start: ti.i32, per_view: ti.i32, views: ti.i32, stored: ti.i32, terms: ti.i32, sh_dc: A2,
    sh_rest: A2, basis: A2, out: A2, grad_out: A2, grad_sh_dc: A2, grad_sh_rest: A2, grad_basis: A2,
):  # fmt: skip
    for n in range(count):
        for view in range(views):
            item, row = view * per_view + start + n, view * count + n
            g = load3(grad_out, item)
            for c in ti.static(range(3)):
                g[c] = ti.select(out[item, c] > 0.0, g[c], 0.0)
                grad_sh_dc[n, c] = grad_sh_dc[n, c] + DEGREE_0 * g[c]
            for k in range(terms - 1):
                grad_basis[row, k + 1] = grad_basis[row, k + 1] + g.dot(load3(sh_rest, n * stored + k))
                for c in ti.static(range(3)):
                    rest = n * stored + k
                    grad_sh_rest[rest, c] = grad_sh_rest[rest, c] + basis[row, k + 1] * g[c]
