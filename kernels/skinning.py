"""Vertices moved by weighted joints, each a unit dual quaternion [8] (real part first, w first), with the adjoints."""

import taichi as ti

from .accumulate import TASK, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def parts(b):
    """w and axis of both parts of a dual quaternion, divided by the length of the real one, and 1 / that."""
    inverse = 1.0 / ti.sqrt(b[0] * b[0] + b[1] * b[1] + b[2] * b[2] + b[3] * b[3] + 1e-30)
    c = b * inverse
    return c[0], ti.Vector([c[1], c[2], c[3]]), c[4], ti.Vector([c[5], c[6], c[7]]), inverse


@ti.func
def move(b, x):
    """x turned and shifted by a dual quaternion of any length."""
    w, u, dual_w, dual_u, _ = parts(b)
    return x + 2.0 * (u.cross(u.cross(x) + w * x) + w * dual_u - dual_w * u + u.cross(dual_u))


@ti.func
def move_adjoint(b, x, g):
    """Gradients of x and of b."""
    w, u, dual_w, dual_u, inverse = parts(b)
    h = 2.0 * g
    inner, to_inner = u.cross(x) + w * x, h.cross(u)
    to_u = inner.cross(h) + x.cross(to_inner) + dual_u.cross(h) - dual_w * h
    to_w, to_dual_w, to_dual_u = x.dot(to_inner) + h.dot(dual_u), -h.dot(u), w * h + h.cross(u)
    along = w * to_w + u.dot(to_u) + dual_w * to_dual_w + dual_u.dot(to_dual_u)
    to_w -= w * along
    to_u -= u * along
    to_b = ti.Vector(
        [to_w, to_u[0], to_u[1], to_u[2], to_dual_w, to_dual_u[0], to_dual_u[1], to_dual_u[2]]
    )  # fmt: skip
    return g + to_inner.cross(u) + w * to_inner, to_b * inverse


@ti.func
def joint(joints: ti.template(), j):
    return ti.Vector([joints[j, c] for c in ti.static(range(8))])


@ti.func
def blended(v, count, weights: ti.template(), joints: ti.template()):
    """The weighted sum of a vertex's joints, all on the side of its heaviest, and that; the sum of its weights."""
    total, heaviest = 0.0, 0
    for j in range(count):
        total += weights[v, j]
        if weights[v, j] > weights[v, heaviest]:
            heaviest = j
    chief, mixed = joint(joints, heaviest), 0.0 * joint(joints, 0)
    for j in range(count):
        q = joint(joints, j)
        mixed += weights[v, j] * side(q, chief) * q
    return mixed, chief, ti.max(total, 1e-30)


@ti.func
def side(q, chief):
    """-1 where q has to change its sign to turn the short way from chief."""
    sign = 1.0
    if q[0] * chief[0] + q[1] * chief[1] + q[2] * chief[2] + q[3] * chief[3] < 0.0:
        sign = -1.0
    return sign


@ti.kernel
def skin(count: ti.i32, joint_count: ti.i32, dual: ti.i32, vertices: A2, weights: A2, joints: A2, out: A2):
    """out [V, 3]: by the joints' mean (dual), or the mean of what each makes of a vertex."""
    for v in range(count):
        x, moved = load3(vertices, v), ti.Vector.zero(float, 3)
        mixed, _, total = blended(v, joint_count, weights, joints)
        if dual != 0:
            moved = move(mixed, x)
        else:
            for j in range(joint_count):
                moved += weights[v, j] / total * move(joint(joints, j), x)
        for c in ti.static(range(3)):
            out[v, c] = moved[c]


@ti.kernel
def skin_adjoint(
    chunks: ti.i32, count: ti.i32, joint_count: ti.i32, dual: ti.i32, vertices: A2, weights: A2, joints: A2, out: A2,
    grad_out: A2, grad_vertices: A2, grad_weights: A2, part: A1, block: ti.template(),
):  # fmt: skip
    """Adds to the gradients of vertices and weights, and of joints to part [chunks * J * 8]."""
    task = ti.static(TASK if block == 1 else 1)
    ti.loop_config(block_dim=block)
    for ticket in range(chunks * task):
        p = ticket // task
        if ticket % task != 0:
            continue
        for v in range(p * count // chunks, (p + 1) * count // chunks):
            x, g, to_x = load3(vertices, v), load3(grad_out, v), ti.Vector.zero(float, 3)
            mixed, chief, total = blended(v, joint_count, weights, joints)
            to_mixed = 0.0 * mixed
            if dual != 0:
                to_x, to_mixed = move_adjoint(mixed, x, g)
            for j in range(joint_count):
                q, weight = joint(joints, j), weights[v, j] / total
                to_q, to_weight = 0.0 * q, 0.0
                if dual != 0:
                    sign = side(q, chief)
                    to_q, to_weight = weights[v, j] * sign * to_mixed, sign * q.dot(to_mixed)
                else:
                    own, to_q = move_adjoint(q, x, weight * g)
                    to_x += own
                    to_weight = g.dot(move(q, x) - load3(out, v)) / total
                grad_weights[v, j] = grad_weights[v, j] + to_weight
                for c in ti.static(range(8)):
                    slot = (p * joint_count + j) * 8 + c
                    part[slot] = part[slot] + to_q[c]
            for c in ti.static(range(3)):
                grad_vertices[v, c] = grad_vertices[v, c] + to_x[c]
