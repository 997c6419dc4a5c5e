"""The network of network.py with a thread for every sample and row, layer after layer: for GPUs.

Layouts are the same, but the gradients [blocks * rows * BLOCK] of all blocks are kept.
"""

import taichi as ti

from . import BLOCK
from .network import LARGE, RELU, SIGMOID

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)


@ti.func
def slot_of(n, rows, row):
    block = n // BLOCK
    return (block * rows + row) * BLOCK + n - block * BLOCK


@ti.kernel
def forward_layer(
    count: ti.i32, rows: ti.i32, source: ti.i32, inputs: ti.i32, target: ti.i32, outputs: ti.i32, place: ti.i32,
    bias: ti.i32, kind: ti.i32, weights: A2, values: A1,
):  # fmt: skip
    """Rows target .. target + outputs - 1 of `count` samples."""
    for j, n in ti.ndrange(outputs, count):
        total = 0.0
        if bias >= 0:
            total = weights[0, bias + j]
        for i in range(inputs):
            total += weights[0, place + j * inputs + i] * values[slot_of(n, rows, source + i)]
        if kind == SIGMOID:
            total = 1.0 / (1.0 + ti.exp(-total))
        values[slot_of(n, rows, target + j)] = ti.max(total, 0.0 if kind == RELU else -LARGE)


@ti.kernel
def seed_outputs(count: ti.i32, rows: ti.i32, density: ti.i32, to_outputs: A1, grads: A1):
    """Gradient of the row `density` and of the last three rows, as `composite_adjoint` left them; 0 of all others."""
    for row, n in ti.ndrange(rows, count):
        g = 0.0
        if row == density:
            g = to_outputs[slot_of(n, 4, 0)]
        if row >= rows - 3:
            g = to_outputs[slot_of(n, 4, row - rows + 4)]
        grads[slot_of(n, rows, row)] = g


@ti.kernel
def activation_adjoint(
    count: ti.i32, rows: ti.i32, target: ti.i32, outputs: ti.i32, kind: ti.i32, values: A1, grads: A1
):
    """Gradient of a layer's output before its activation, in place."""
    for j, n in ti.ndrange(outputs, count):
        slot = slot_of(n, rows, target + j)
        y, g = values[slot], grads[slot]
        if kind == RELU and y <= 0.0:
            g = 0.0
        if kind == SIGMOID:
            g *= y * (1.0 - y)
        grads[slot] = g


@ti.kernel
def weights_adjoint(
    chunks: ti.i32, count: ti.i32, rows: ti.i32, source: ti.i32, inputs: ti.i32, target: ti.i32, outputs: ti.i32,
    place: ti.i32, bias: ti.i32, size: ti.i32, values: A1, grads: A1, part: A1,
):  # fmt: skip
    """part [chunks * size] += gradient of a layer's weights and biases; column `inputs` stands for the bias."""
    for p, j, i in ti.ndrange(chunks, outputs, inputs + 1):
        total = 0.0
        for n in range(p * count // chunks, (p + 1) * count // chunks):
            g = grads[slot_of(n, rows, target + j)]
            if i < inputs:
                g *= values[slot_of(n, rows, source + i)]
            total += g
        slot = place + j * inputs + i
        if i == inputs:
            slot = bias + j
        if i < inputs or bias >= 0:
            part[p * size + slot] = part[p * size + slot] + total


@ti.kernel
def inputs_adjoint(
    count: ti.i32, rows: ti.i32, source: ti.i32, inputs: ti.i32, target: ti.i32, outputs: ti.i32, place: ti.i32,
    weights: A2, grads: A1,
):  # fmt: skip
    """Add to the gradient of a layer's input rows."""
    for i, n in ti.ndrange(inputs, count):
        slot = slot_of(n, rows, source + i)
        total = grads[slot]
        for j in range(outputs):
            total += weights[0, place + j * inputs + i] * grads[slot_of(n, rows, target + j)]
        grads[slot] = total


@ti.kernel
def keep_rows(count: ti.i32, rows: ti.i32, first: ti.i32, kept: ti.i32, grads: A1, to_inputs: A1):
    """to_inputs [blocks * kept * BLOCK] = gradient of `kept` rows from `first` on."""
    for row, n in ti.ndrange(kept, count):
        to_inputs[slot_of(n, kept, row)] = grads[slot_of(n, rows, first + row)]
