"""What each end of a ray costs, and the expected cost (DRC, Tulsiani et al. 2017); with adjoints.

A ray ends in cell s with probability weights[s], at cost psi_s, or behind the grid with 1 - alpha, at cost psi_behind:

    MASK       psi_s = 1 - target (target 1 on the object),              psi_behind = target
    DEPTH      |cosine t_s - target|,                                    |far - target|
    COLOR      half of |c_s - target|^2,                                 half of |background - target|^2
    CLASSES    -log of the target class's probability; class -1 is behind the grid: -log LEAST where that is wrong
"""

import taichi as ti

from ..accumulate import TASK, add

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

MASK, DEPTH, COLOR, CLASSES = 0, 1, 2, 3
LEAST = 1e-5  # the least probability of a class


@ti.func
def cost(
    kind: ti.template(), ray, sample, t: ti.template(), rows: ti.template(), cosines: ti.template(),
    attribute: ti.template(), target: ti.template(),
):  # fmt: skip
    """psi of a cell."""
    out = 0.0
    if ti.static(kind == MASK):
        out = 1.0 - target[ray, 0]
    elif ti.static(kind == DEPTH):
        out = ti.abs(cosines[ray, 0] * t[sample] - target[ray, 0])
    elif ti.static(kind == COLOR):
        for c in ti.static(range(3)):
            off = attribute[rows[sample], c] - target[ray, c]
            out += 0.5 * off * off
    else:
        label = ti.cast(target[ray, 0], ti.i32)
        probability = LEAST
        if label >= 0:
            probability = ti.max(attribute[rows[sample], label], LEAST)
        out = -ti.log(probability)
    return out


@ti.func
def cost_behind(kind: ti.template(), ray, target: ti.template(), behind: ti.template()):
    out = 0.0
    if ti.static(kind == MASK):
        out = target[ray, 0]
    elif ti.static(kind == DEPTH):
        out = ti.abs(behind[0, 0] - target[ray, 0])
    elif ti.static(kind == COLOR):
        for c in ti.static(range(3)):
            off = behind[0, c] - target[ray, c]
            out += 0.5 * off * off
    else:
        if target[ray, 0] >= 0.0:
            out = -ti.log(LEAST)
    return out


@ti.kernel
def expected(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, kind: ti.template(), t: A1, rows: A1, counts: A1, weights: A1,
    alpha: A2, cosines: A2, attribute: A2, target: A2, behind: A2, out: A2,
):  # fmt: skip
    """out [n, 1] = sum of weight * psi, and what ends behind the grid."""
    for lane in range(lanes):
        ray = first + lane
        total = (1.0 - alpha[ray, 0]) * cost_behind(kind, ray, target, behind)
        for s in range(counts[lane]):
            sample = lane * steps + s
            total += weights[sample] * cost(kind, ray, sample, t, rows, cosines, attribute, target)
        out[ray, 0] = total


@ti.kernel
def expected_adjoint(
    first: ti.i32, lanes: ti.i32, steps: ti.i32, kind: ti.template(), t: A1, rows: A1, counts: A1, weights: A1,
    cosines: A2, attribute: A2, target: A2, behind: A2, grad_out: A2,
    grad_weights: A1, grad_alpha: A2, grad_t: A1, grad_cosines: A2,
):  # fmt: skip
    """Gradients of weights, alpha, t and cosines; writes all but the cosines', to which it adds."""
    for lane in range(lanes):
        ray = first + lane
        g = grad_out[ray, 0]
        grad_alpha[ray, 0] = -g * cost_behind(kind, ray, target, behind)
        to_cosine = 0.0
        for s in range(counts[lane]):
            sample = lane * steps + s
            grad_weights[sample] = g * cost(kind, ray, sample, t, rows, cosines, attribute, target)
            if ti.static(kind == DEPTH):
                off = cosines[ray, 0] * t[sample] - target[ray, 0]
                slope = 1.0 if off > 0.0 else (-1.0 if off < 0.0 else 0.0)
                grad_t[sample] = g * weights[sample] * slope * cosines[ray, 0]
                to_cosine += g * weights[sample] * slope * t[sample]
            else:
                grad_t[sample] = 0.0
        grad_cosines[ray, 0] = grad_cosines[ray, 0] + to_cosine


@ti.func
def attribute_adjoint(
    kind: ti.template(), ray, sample, c, rows: ti.template(), weights: ti.template(), attribute: ti.template(),
    target: ti.template(), grad_out: ti.template(), channels, part: ti.template(), start, atomic: ti.template(),
):  # fmt: skip
    """What one sample adds to column c of the gradient of the colours or classes."""
    held, value = attribute[rows[sample], c], 0.0
    if ti.static(kind == COLOR):
        value = held - target[ray, c]
    else:
        if c == ti.cast(target[ray, 0], ti.i32) and held > LEAST:
            value = -1.0 / held
    if value != 0.0:
        add(part, start + rows[sample] * channels + c, value * weights[sample] * grad_out[ray, 0], atomic)


@ti.kernel
def scatter_private(
    chunks: ti.i32, cells: ti.i32, channels: ti.i32, first: ti.i32, lanes: ti.i32, steps: ti.i32, kind: ti.template(),
    rows: A1, counts: A1, weights: A1, attribute: A2, target: A2, grad_out: A2, part: A1,
):  # fmt: skip
    """part [chunks * cells * channels] += gradient of the attribute; every chunk of rays has its own part."""
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        for lane in range(p * lanes // chunks, (p + 1) * lanes // chunks):
            for s in range(counts[lane]):
                for c in range(channels):
                    attribute_adjoint(
                        kind, first + lane, lane * steps + s, c, rows, weights, attribute, target, grad_out, channels,
                        part, p * cells * channels, False,
                    )  # fmt: skip


@ti.kernel
def scatter_atomic(
    channels: ti.i32, first: ti.i32, lanes: ti.i32, steps: ti.i32, kind: ti.template(),
    rows: A1, counts: A1, weights: A1, attribute: A2, target: A2, grad_out: A2, part: A1,
):  # fmt: skip
    """The same with one thread per sample and channel."""
    for item in range(lanes * steps * channels):
        sample = item // channels
        lane = sample // steps
        if sample - lane * steps < counts[lane]:
            attribute_adjoint(
                kind, first + lane, sample, item - sample * channels, rows, weights, attribute, target, grad_out,
                channels, part, 0, True,
            )  # fmt: skip


@ti.kernel
def weighted(n: ti.i32, costs: A2, shares: A2, terms: A1):
    """terms [n] = shares * costs."""
    for row in range(n):
        terms[row] = shares[row, 0] * costs[row, 0]


@ti.kernel
def weighted_adjoint(n: ti.i32, shares: A2, grad_out: A2, grad_costs: A2):
    for row in range(n):
        grad_costs[row, 0] = grad_costs[row, 0] + shares[row, 0] * grad_out[0, 0]
