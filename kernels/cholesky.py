"""Sparse factorisation A = U' D U of A = I + lambda L on a mesh, and its solve, in f64 on the CPU.

Up-looking, after T. A. Davis 2005, "Algorithm 849: a concise sparse Cholesky factorization package". Rows are numbered
in elimination order (tidr/fitting/elimination.py); column i of the factor holds the rows below i that it fills.
"""

import taichi as ti

from .accumulate import TASK

I1 = ti.types.ndarray(dtype=ti.i32, ndim=1)
F1 = ti.types.ndarray(dtype=ti.f64, ndim=1)
D2 = ti.types.ndarray(dtype=ti.f64, ndim=2)
A2 = ti.types.ndarray(ndim=2)


@ti.kernel
def walk(offsets: I1, neighbours: I1, count: ti.i32, source: ti.i32, queue: I1, distance: I1):
    """Edges on the shortest way from `source`; the pieces of a mesh follow each other at growing distances."""
    for _ in range(1):
        for i in range(count):
            distance[i] = -1
        head, tail, start, unseen = 0, 0, source, 0
        level = 0
        while head < count:
            if head == tail:
                while distance[start] >= 0:
                    start = unseen
                    unseen += 1
                distance[start] = level
                queue[tail] = start
                tail += 1
            i = queue[head]
            head += 1
            level = distance[i] + 2
            for k in range(offsets[i], offsets[i + 1]):
                if distance[neighbours[k]] < 0:
                    distance[neighbours[k]] = distance[i] + 1
                    queue[tail] = neighbours[k]
                    tail += 1


@ti.kernel
def count_fill(offsets: I1, neighbours: I1, count: ti.i32, parent: I1, flag: I1, filled: I1):
    """Elimination tree, and how many entries each column of the factor holds."""
    for _ in range(1):
        for k in range(count):
            parent[k] = -1
            flag[k] = k
            filled[k] = 0
            for q in range(offsets[k], offsets[k + 1]):
                i = neighbours[q]
                while i < k and flag[i] != k:
                    if parent[i] < 0:
                        parent[i] = k
                    filled[i] += 1
                    flag[i] = k
                    i = parent[i]


@ti.kernel
def factorise(
    offsets: I1,
    neighbours: I1,
    count: ti.i32,
    weight: ti.f64,
    parent: I1,
    flag: I1,
    filled: I1,
    pattern: I1,  # [V] scratch
    row: F1,  # [V] scratch
    column_offsets: I1,
    column_rows: I1,
    column_values: F1,
    diagonal: F1,  # [V]
):
    for _ in range(1):
        for k in range(count):
            flag[k] = -1
            filled[k] = 0
            row[k] = 0.0
        for k in range(count):
            # Which columns row k meets, in elimination order: pattern[top:]
            top = count
            flag[k] = k
            for q in range(offsets[k], offsets[k + 1]):
                i = neighbours[q]
                if i < k:
                    row[i] = row[i] - weight
                length = 0
                while i < k and flag[i] != k:
                    pattern[length] = i
                    length += 1
                    flag[i] = k
                    i = parent[i]
                while length > 0:
                    top -= 1
                    length -= 1
                    pattern[top] = pattern[length]
            # Eliminate
            pivot = 1.0 + weight * ti.cast(offsets[k + 1] - offsets[k], ti.f64)
            for t in range(top, count):
                i = pattern[t]
                value = row[i]
                row[i] = 0.0
                end = column_offsets[i] + filled[i]
                for p in range(column_offsets[i], end):
                    row[column_rows[p]] = row[column_rows[p]] - column_values[p] * value
                factor = value / diagonal[i]
                pivot -= factor * value
                column_rows[end] = k
                column_values[end] = factor
                filled[i] = filled[i] + 1
            diagonal[k] = pivot


@ti.func
def _row(a: ti.template(), i):
    return ti.Vector([a[i, 0], a[i, 1], a[i, 2]])


@ti.func
def _forward(
    k,
    order: ti.template(),
    offsets: ti.template(),
    columns: ti.template(),
    values: ti.template(),
    right: ti.template(),
    y: ti.template(),
):
    rest = ti.cast(_row(right, order[k]), ti.f64)
    for p in range(offsets[k], offsets[k + 1]):
        rest -= values[p] * _row(y, columns[p])
    for c in ti.static(range(3)):
        y[k, c] = rest[c]


@ti.func
def _backward(
    k,
    order: ti.template(),
    offsets: ti.template(),
    rows: ti.template(),
    values: ti.template(),
    diagonal: ti.template(),
    y: ti.template(),
    x: ti.template(),
):
    rest = _row(y, k) / diagonal[k]
    for p in range(offsets[k], offsets[k + 1]):
        rest -= values[p] * _row(y, rows[p])
    for c in ti.static(range(3)):
        y[k, c] = rest[c]
        x[order[k], c] = rest[c]


@ti.kernel
def substitute(
    order: I1,  # [V] vertex of each row
    branches: I1,  # [B + 1] rows of the independent branches; the rows after the last one join them
    branch_count: ti.i32,
    count: ti.i32,
    row_offsets: I1,
    row_columns: I1,
    row_values: F1,
    column_offsets: I1,
    column_rows: I1,
    column_values: F1,
    diagonal: F1,
    right: A2,  # [V, 3] b
    y: D2,  # [V, 3] scratch
    x: A2,  # [V, 3]
):
    """x with A x = b, for three right sides at once; the branches run in parallel."""
    for ticket in range(branch_count * TASK):
        b = ticket // TASK
        if ticket % TASK != 0:
            continue
        for k in range(branches[b], branches[b + 1]):
            _forward(k, order, row_offsets, row_columns, row_values, right, y)
    for _ in range(1):
        for k in range(branches[branch_count], count):
            _forward(k, order, row_offsets, row_columns, row_values, right, y)
        for back in range(count - branches[branch_count]):
            _backward(count - 1 - back, order, column_offsets, column_rows, column_values, diagonal, y, x)
    for ticket in range(branch_count * TASK):
        b = ticket // TASK
        if ticket % TASK != 0:
            continue
        for back in range(branches[b + 1] - branches[b]):
            k = branches[b + 1] - 1 - back
            _backward(k, order, column_offsets, column_rows, column_values, diagonal, y, x)
