"""Losses on fields: on what rays saw of them, and on the shape of a grid; with adjoints.

Each writes a term per row; `accumulate.total` adds the terms.
"""

import taichi as ti

from ..accumulate import TASK, add, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

WRONG_OR_EMPTY, WRONG = 0, 1


@ti.func
def softplus(x):
    return ti.max(x, 0.0) + ti.log(1.0 + ti.exp(-ti.abs(x)))


@ti.func
def sigmoid(x):
    e = ti.exp(-ti.abs(x))
    return 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)


@ti.func
def counts(hit, inside, kind):
    """Whether a ray takes part: those that hit nothing or hit the background; or those on the wrong side."""
    out = hit != inside
    if kind == WRONG_OR_EMPTY:
        out = not (hit and inside)
    return out


@ti.kernel
def ray_terms(rows: ti.i32, kind: ti.i32, sharpness: float, values: A2, hits: A2, mask: A2, terms: A1):
    """Cross entropy of sigmoid(-sharpness * value) and the mask, over the sharpness."""
    for ray in range(rows):
        inside = mask[ray, 0] > 0.5
        terms[ray] = 0.0
        if counts(hits[ray, 0] > 0.5, inside, kind):
            z = sharpness * values[ray, 0]
            terms[ray] = softplus(z if inside else -z) / sharpness


@ti.kernel
def ray_terms_adjoint(
    rows: ti.i32, kind: ti.i32, sharpness: float, values: A2, hits: A2, mask: A2, factor: float, grad_loss: A2,
    grad_values: A2,
):  # fmt: skip
    for ray in range(rows):
        inside = mask[ray, 0] > 0.5
        if counts(hits[ray, 0] > 0.5, inside, kind):
            z = sharpness * values[ray, 0]
            slope = sigmoid(z) if inside else -sigmoid(-z)
            grad_values[ray, 0] = grad_values[ray, 0] + factor * grad_loss[0, 0] * slope


@ti.kernel
def eikonal_terms(rows: ti.i32, gradients: A2, terms: A1):
    for row in range(rows):
        away = load3(gradients, row).norm() - 1.0
        terms[row] = away * away


@ti.kernel
def eikonal_terms_adjoint(rows: ti.i32, gradients: A2, factor: float, grad_loss: A2, grad_gradients: A2):
    for row in range(rows):
        g = load3(gradients, row)
        length = g.norm()
        if length > 0.0:
            slope = 2.0 * factor * grad_loss[0, 0] * (length - 1.0) / length
            for a in ti.static(range(3)):
                grad_gradients[row, a] = grad_gradients[row, a] + slope * g[a]


@ti.kernel
def roughness(width: ti.i32, height: ti.i32, depth: ti.i32, values: A2, out: A1):
    """out [cells]: sum of the six neighbours minus six times the value; 0 on the border."""
    for line in range(depth * height):
        k = line // height
        j = line - k * height
        plane = width * height
        for i in range(width):
            row = line * width + i
            out[row] = 0.0
            if 0 < i < width - 1 and 0 < j < height - 1 and 0 < k < depth - 1:
                around = values[row - 1, 0] + values[row + 1, 0] + values[row - width, 0] + values[row + width, 0]
                out[row] = around + values[row - plane, 0] + values[row + plane, 0] - 6.0 * values[row, 0]


@ti.kernel
def squares(rows: ti.i32, values: A1, terms: A1):
    for row in range(rows):
        terms[row] = values[row] * values[row]


@ti.kernel
def roughness_adjoint(
    width: ti.i32, height: ti.i32, depth: ti.i32, rough: A1, factor: float, grad_loss: A2, grad_values: A2
):
    """Of the sum of squares: the same stencil over `rough`, which is 0 on the border."""
    for line in range(depth * height):
        k = line // height
        j = line - k * height
        plane = width * height
        for i in range(width):
            row = line * width + i
            around = -6.0 * rough[row]
            around += rough[row - 1] if i > 0 else 0.0
            around += rough[row + 1] if i < width - 1 else 0.0
            around += rough[row - width] if j > 0 else 0.0
            around += rough[row + width] if j < height - 1 else 0.0
            around += rough[row - plane] if k > 0 else 0.0
            around += rough[row + plane] if k < depth - 1 else 0.0
            grad_values[row, 0] = grad_values[row, 0] + 2.0 * factor * grad_loss[0, 0] * around


@ti.func
def towards(own, other):
    """Cross entropy of sigmoid(-own) and whether the other is inside; and its derivative by `own`."""
    z = own if other < 0.0 else -own
    slope = sigmoid(z) if other < 0.0 else -sigmoid(z)
    return softplus(z), slope


@ti.kernel
def sign_terms(edges: ti.i32, ends: A1, values: A2, terms: A1):
    for edge in range(edges):
        a, b = values[ends[2 * edge], 0], values[ends[2 * edge + 1], 0]
        one, _ = towards(a, b)
        other, _ = towards(b, a)
        terms[edge] = one + other


@ti.func
def sign_entry(edge, start, ends: ti.template(), values: ti.template(), g, part: ti.template(), atomic: ti.template()):
    first, second = ends[2 * edge], ends[2 * edge + 1]
    a, b = values[first, 0], values[second, 0]
    _, to_a = towards(a, b)
    _, to_b = towards(b, a)
    add(part, start + first, g * to_a, atomic)
    add(part, start + second, g * to_b, atomic)


@ti.kernel
def sign_terms_adjoint(
    chunks: ti.i32, rows: ti.i32, edges: ti.i32, ends: A1, values: A2, factor: float, grad_loss: A2, part: A1,
    atomic: ti.template(),
):  # fmt: skip
    """part [chunks * rows] += the gradient of the values."""
    if ti.static(atomic):
        for edge in range(edges):
            sign_entry(edge, 0, ends, values, factor * grad_loss[0, 0], part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for edge in range(p * edges // chunks, (p + 1) * edges // chunks):
                sign_entry(edge, p * rows, ends, values, factor * grad_loss[0, 0], part, False)
