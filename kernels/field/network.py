"""A multilayer perceptron on blocks of samples, all layers of a block one after another; and its adjoint.

The plan [layers * 7] lists for every layer: first input row, inputs, first output row, outputs, place of its weights
[outputs, inputs], place of its biases or -1, activation. Rows are numbered within a block's activations, so that
a layer may read what several others wrote, and more than one may read the same row (skip connections). Fused as in
Müller et al. 2021, "Real-time Neural Radiance Caching for Path Tracing": a block's activations stay in the cache.

Sums run in a local vector: the compiler can prove that it overlaps with no array, and so uses vector instructions.
"""

import taichi as ti

from ..accumulate import SPREAD, TASK
from . import BLOCK

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)

FIELDS = 7
LINEAR, RELU, SIGMOID = 0, 1, 2
LARGE = 1e30


@ti.func
def add_products(
    one: ti.template(), two: ti.template(), outs: ti.template(), ins: ti.template(), values: ti.template(), row,
    weights: ti.template(), first, out_stride, in_stride,
):  # fmt: skip
    """Add w[j, i] * (entry s of row `row` + i of values) to one[s] for j = 0 and, if outs = 2, two[s]."""
    w = ti.Matrix.zero(float, outs, ins)
    for j, i in ti.static(ti.ndrange(outs, ins)):
        w[j, i] = weights[0, first + j * out_stride + i * in_stride]
    for s in range(BLOCK):
        total = one[s]
        for i in ti.static(range(ins)):
            total += w[0, i] * values[(row + i) * BLOCK + s]
        one[s] = total
        if ti.static(outs == 2):
            other = two[s]
            for i in ti.static(range(ins)):
                other += w[1, i] * values[(row + i) * BLOCK + s]
            two[s] = other


@ti.func
def add_all_products(
    one: ti.template(), two: ti.template(), outs: ti.template(), count, values: ti.template(), row,
    weights: ti.template(), first, out_stride, in_stride,
):  # fmt: skip
    """As `add_products` for `count` input rows, four at a time."""
    for quad in range(count // 4):
        place = first + 4 * quad * in_stride
        add_products(one, two, outs, 4, values, row + 4 * quad, weights, place, out_stride, in_stride)
    for i in range(count // 4 * 4, count):
        add_products(one, two, outs, 1, values, row + i, weights, first + i * in_stride, out_stride, in_stride)


@ti.func
def forward_rows(
    outs: ti.template(), j, base, plan: ti.template(), layer, weights: ti.template(), values: ti.template()
):
    """Output rows j .. j + outs - 1 of a layer, for the block whose activations start at row `base`."""
    inputs, kind = plan[layer * FIELDS + 1], plan[layer * FIELDS + 6]
    target = base + plan[layer * FIELDS + 2] + j
    bias = plan[layer * FIELDS + 5]
    lowest = 0.0 if kind == RELU else -LARGE
    one, two = ti.Vector.zero(float, BLOCK), ti.Vector.zero(float, BLOCK)
    add_all_products(
        one, two, outs, inputs, values, base + plan[layer * FIELDS], weights, plan[layer * FIELDS + 4] + j * inputs,
        inputs, 1,
    )  # fmt: skip
    for k in ti.static(range(outs)):
        shift = 0.0
        if bias >= 0:
            shift = weights[0, bias + j + k]
        for s in range(BLOCK):
            total = two[s] if ti.static(k == 1) else one[s]
            values[(target + k) * BLOCK + s] = ti.max(total + shift, lowest)


@ti.kernel
def forward(blocks: ti.i32, layers: ti.i32, rows: ti.i32, plan: I1, weights: A2, values: A1):
    """Fill the layers' rows of values [blocks * rows * BLOCK]. For CPUs."""
    for ticket in range(blocks * SPREAD):
        block = ticket // SPREAD
        if ticket % SPREAD != 0:
            continue
        for layer in range(layers):
            outputs = plan[layer * FIELDS + 3]
            for pair in range(outputs // 2):
                forward_rows(2, 2 * pair, block * rows, plan, layer, weights, values)
            if outputs % 2 == 1:
                forward_rows(1, outputs - 1, block * rows, plan, layer, weights, values)
            if plan[layer * FIELDS + 6] == SIGMOID:
                first = block * rows + plan[layer * FIELDS + 2]
                for s in range(outputs * BLOCK):
                    values[first * BLOCK + s] = 1.0 / (1.0 + ti.exp(-values[first * BLOCK + s]))


@ti.func
def backward_rows(
    ins: ti.template(), i, start, plan: ti.template(), layer, weights: ti.template(), grads: ti.template()
):
    """Add to the gradient of input rows i .. i + ins - 1 of a layer; a block's gradients start at row `start`."""
    inputs, outputs = plan[layer * FIELDS + 1], plan[layer * FIELDS + 3]
    target = start + plan[layer * FIELDS] + i
    one, two = ti.Vector.zero(float, BLOCK), ti.Vector.zero(float, BLOCK)
    first, place = start + plan[layer * FIELDS + 2], plan[layer * FIELDS + 4] + i
    add_all_products(one, two, ins, outputs, grads, first, weights, place, 1, inputs)
    for k in ti.static(range(ins)):
        for s in range(BLOCK):
            slot = (target + k) * BLOCK + s
            grads[slot] = grads[slot] + (two[s] if ti.static(k == 1) else one[s])


@ti.func
def add_outer(
    outs: ti.template(), ins: ti.template(), source, values: ti.template(), target, grads: ti.template(), slot, stride,
    part: ti.template(),
):  # fmt: skip
    """part[slot + j * stride + i] += the sum over a block's samples of grads row j times values row i."""
    sums = ti.Matrix.zero(float, outs, ins)
    for s in range(BLOCK):
        for j, i in ti.static(ti.ndrange(outs, ins)):
            sums[j, i] += grads[(target + j) * BLOCK + s] * values[(source + i) * BLOCK + s]
    for j, i in ti.static(ti.ndrange(outs, ins)):
        part[slot + j * stride + i] = part[slot + j * stride + i] + sums[j, i]


@ti.func
def weight_rows(
    outs: ti.template(), j, base, start, plan: ti.template(), layer, values: ti.template(), grads: ti.template(), slot,
    part: ti.template(),
):  # fmt: skip
    """Add to the gradient of the weights of output rows j .. j + outs - 1, and of their biases."""
    inputs, bias = plan[layer * FIELDS + 1], plan[layer * FIELDS + 5]
    source, target = base + plan[layer * FIELDS], start + plan[layer * FIELDS + 2] + j
    place = slot + plan[layer * FIELDS + 4] + j * inputs
    for quad in range(inputs // 4):
        add_outer(outs, 4, source + 4 * quad, values, target, grads, place + 4 * quad, inputs, part)
    for i in range(inputs // 4 * 4, inputs):
        add_outer(outs, 1, source + i, values, target, grads, place + i, inputs, part)
    if bias >= 0:
        for k in ti.static(range(outs)):
            total = 0.0
            for s in range(BLOCK):
                total += grads[(target + k) * BLOCK + s]
            part[slot + bias + j + k] = part[slot + bias + j + k] + total


@ti.func
def backward_layer(
    base, start, plan: ti.template(), layer, weights: ti.template(), values: ti.template(), grads: ti.template(), slot,
    part: ti.template(),
):  # fmt: skip
    inputs, outputs = plan[layer * FIELDS + 1], plan[layer * FIELDS + 3]
    kind, first = plan[layer * FIELDS + 6], plan[layer * FIELDS + 2]
    if kind == RELU:  # select: a branch would be mispredicted every other time
        for s in range(outputs * BLOCK):
            old = grads[(start + first) * BLOCK + s]
            grads[(start + first) * BLOCK + s] = ti.select(values[(base + first) * BLOCK + s] > 0.0, old, 0.0)
    elif kind == SIGMOID:
        for s in range(outputs * BLOCK):
            old, y = grads[(start + first) * BLOCK + s], values[(base + first) * BLOCK + s]
            grads[(start + first) * BLOCK + s] = old * y * (1.0 - y)
    for pair in range(outputs // 2):
        weight_rows(2, 2 * pair, base, start, plan, layer, values, grads, slot, part)
    if outputs % 2 == 1:
        weight_rows(1, outputs - 1, base, start, plan, layer, values, grads, slot, part)
    for pair in range(inputs // 2):
        backward_rows(2, 2 * pair, start, plan, layer, weights, grads)
    if inputs % 2 == 1:
        backward_rows(1, inputs - 1, start, plan, layer, weights, grads)


@ti.kernel
def backward(
    chunks: ti.i32, blocks: ti.i32, layers: ti.i32, rows: ti.i32, size: ti.i32, plan: I1, weights: A2, values: A1,
    kept_first: ti.i32, kept: ti.i32, density: ti.i32, to_outputs: A1, to_inputs: A1, grads: A1, part: A1,
):  # fmt: skip
    """part [chunks * size] += gradient of the weights.

    to_inputs [blocks * kept * BLOCK] = that of the `kept` rows from kept_first on. to_outputs [blocks * 4 * BLOCK]:
    gradient of the row `density`, and of the last three rows. grads [chunks * rows * BLOCK] is scratch. For CPUs.
    """
    for ticket in range(chunks * TASK):
        p = ticket // TASK
        if ticket % TASK != 0:
            continue
        start = p * rows
        for block in range(p * blocks // chunks, (p + 1) * blocks // chunks):
            for s in range((rows - 3) * BLOCK):
                grads[start * BLOCK + s] = 0.0
            for s in range(BLOCK):
                grads[(start + density) * BLOCK + s] = to_outputs[4 * block * BLOCK + s]
            for s in range(3 * BLOCK):
                grads[(start + rows - 3) * BLOCK + s] = to_outputs[(4 * block + 1) * BLOCK + s]
            for back in range(layers):
                layer = layers - 1 - back
                backward_layer(block * rows, start, plan, layer, weights, values, grads, p * size, part)
            for s in range(kept * BLOCK):
                to_inputs[block * kept * BLOCK + s] = grads[(start + kept_first) * BLOCK + s]


@ti.kernel
def collect(chunks: ti.i32, size: ti.i32, part: A1, to_weights: A2):
    """to_weights [1, size] += the sum of part [chunks * size] over chunks."""
    for k in range(size):
        total = 0.0
        for p in range(chunks):
            total += part[p * size + k]
        to_weights[0, k] = to_weights[0, k] + total
