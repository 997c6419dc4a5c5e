"""(I + lambda L) x = b on a mesh, L its combinatorial Laplacian, by conjugate gradients on a GPU.

x, y and z are three systems with one matrix; each has its own step lengths. Preconditioned by the diagonal, in the form
that needs one sum per iteration (Chronopoulos and Gear 1989, "s-step iterative methods"): an iteration is two parallel
loops, and one launch runs BLOCK iterations. Sums are added in a fixed order.
"""

import taichi as ti

from .accumulate import turns

I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)

BLOCK = 2  # iterations of one launch; even
# Rows of `scalars` [3, 9]: 0 and 1 take turns to hold z.r, step length and r.r of each axis; row 2 is the bound on r.r.


@ti.func
def _row(a: ti.template(), i):
    return ti.Vector([a[i, 0], a[i, 1], a[i, 2]])


@ti.func
def _store(a: ti.template(), i, v):
    for k in ti.static(range(3)):
        a[i, k] = v[k]


@ti.func
def _apply(offsets: ti.template(), neighbours: ti.template(), weight, x: ti.template(), i):
    """Row i of (I + weight L) x."""
    here = _row(x, i)
    apart = 0.0 * here
    for k in range(offsets[i], offsets[i + 1]):
        apart += here - _row(x, neighbours[k])  # differences first: they lose less to rounding
    return here + weight * apart


@ti.kernel
def multiply(offsets: I1, neighbours: I1, count: ti.i32, weight: float, x: A2, product: A2):
    """product = (I + weight L) x."""
    for i in range(count):
        _store(product, i, _apply(offsets, neighbours, weight, x, i))


@ti.kernel
def begin(
    offsets: I1,
    neighbours: I1,  # CSR rows of the vertices around each vertex
    count: ti.i32,
    weight: float,
    tolerance: float,  # on |b - A x| / |b|
    right: A2,  # [V, 3] b
    x: A2,  # [V, 3] the solution so far
    change: A2,  # [V, 3] what the iterations will add to it
    z: A2,  # [V, 3] residual over the diagonal
    p: A2,  # [V, 3] direction
    s: A2,  # [V, 3] A p
    scalars: A2,
    partial: A2,  # [chunks, 9]
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
):
    spread = turns(size)
    for ticket in range(chunks * spread):
        q = ticket // spread
        if ticket % spread != 0:
            continue
        total = 0.0 * weight
        for k in range(size):
            i = q * across + k * along
            if i < count:
                b = _row(right, i)
                total += b.norm_sqr()
                residual = b - _apply(offsets, neighbours, weight, x, i)
                _store(z, i, residual / (1.0 + weight * (offsets[i + 1] - offsets[i])))
                _store(change, i, 0.0 * b)
                _store(p, i, 0.0 * b)
                _store(s, i, 0.0 * b)
        partial[q, 0] = total
    for _ in range(1):
        total = 0.0 * weight
        for q in range(chunks):
            total += partial[q, 0]
        for k in range(9):
            scalars[0, k] = 0.0
            scalars[1, k] = 0.0
            scalars[2, k] = tolerance * tolerance * total / 3.0
    # A right side of zero has the solution zero, whatever the guess
    for i in range(count):
        if scalars[2, 0] == 0.0:
            _store(x, i, 0.0 * _row(x, i))
            _store(z, i, 0.0 * _row(x, i))


@ti.kernel
def finish(count: ti.i32, change: A2, x: A2):
    for i in range(count):
        _store(x, i, _row(x, i) + _row(change, i))


@ti.kernel
def iterate(
    offsets: I1,
    neighbours: I1,
    count: ti.i32,
    weight: float,
    change: A2,
    z: A2,
    w: A2,  # [V, 3] A z
    p: A2,
    s: A2,
    scalars: A2,
    partial: A2,
    chunks: ti.i32,
    size: ti.i32,
    across: ti.i32,
    along: ti.i32,
):
    """BLOCK iterations; an axis whose residual is within the bound stands still."""
    for turn in ti.static(range(BLOCK)):
        # Multiply, and sum z.r, z.Az and r.r
        for q in range(chunks):
            zr, zaz, rr = 0.0 * _row(scalars, 0), 0.0 * _row(scalars, 0), 0.0 * _row(scalars, 0)
            for k in range(size):
                i = q * across + k * along
                if i < count:
                    here = _row(z, i)
                    product = _apply(offsets, neighbours, weight, z, i)
                    _store(w, i, product)
                    residual = here * (1.0 + weight * (offsets[i + 1] - offsets[i]))
                    zr += here * residual
                    zaz += here * product
                    rr += residual * residual
            for k in ti.static(range(3)):
                partial[q, k] = zr[k]
                partial[q, k + 3] = zaz[k]
                partial[q, k + 6] = rr[k]
        # Every chunk adds the sums for itself, then moves its rows
        for q in range(chunks):
            zr, zaz, rr = 0.0 * _row(scalars, 0), 0.0 * _row(scalars, 0), 0.0 * _row(scalars, 0)
            for other in range(chunks):
                for k in ti.static(range(3)):
                    zr[k] += partial[other, k]
                    zaz[k] += partial[other, k + 3]
                    rr[k] += partial[other, k + 6]
            alpha, beta = 0.0 * zr, 0.0 * zr
            for k in ti.static(range(3)):
                if rr[k] > scalars[2, 0]:
                    curve = zaz[k]
                    if scalars[turn % 2, k] > 0.0:
                        beta[k] = zr[k] / scalars[turn % 2, k]
                        curve -= beta[k] * zr[k] / scalars[turn % 2, k + 3]
                    if curve > 0.0:
                        alpha[k] = zr[k] / curve
            if q == 0:
                for k in ti.static(range(3)):
                    scalars[1 - turn % 2, k] = zr[k] if alpha[k] > 0.0 else 0.0
                    scalars[1 - turn % 2, k + 3] = alpha[k]
                    scalars[1 - turn % 2, k + 6] = rr[k]
            for k in range(size):
                i = q * across + k * along
                if i < count:
                    direction = _row(z, i) + beta * _row(p, i)
                    image = _row(w, i) + beta * _row(s, i)
                    _store(p, i, direction)
                    _store(s, i, image)
                    _store(change, i, _row(change, i) + alpha * direction)
                    step = alpha * image / (1.0 + weight * (offsets[i + 1] - offsets[i]))
                    _store(z, i, _row(z, i) - step)
