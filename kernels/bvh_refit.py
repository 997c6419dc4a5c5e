"""Fills the boxes and triangles of a hierarchy (bvh.py) whose references the host has written, and prices it."""

import taichi as ti

from .accumulate import load3
from .bvh import CHILDREN, LEAF_UNITS, LENGTH, NODE_UNITS, OUTSIDE, SPARE, UNIT, WIDTH, epsilon

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)
VN = ti.types.ndarray(ndim=1)  # of vectors


@ti.func
def _usable(v):
    """1 if every coordinate is a number and near enough; a triangle with another corner is left out."""
    spoilt = ti.math.isnan(v[0]) | ti.math.isnan(v[1]) | ti.math.isnan(v[2])
    return (spoilt == 0) & (ti.abs(v[0]) < OUTSIDE) & (ti.abs(v[1]) < OUTSIDE) & (ti.abs(v[2]) < OUTSIDE)


@ti.kernel
def write_references(nodes_count: ti.i32, units: ti.i32, children: A2, triangles: A1, nodes: VN, leaves: A1):
    """Children [nodes_count, WIDTH] of every node and triangles [WIDTH * leaves] of every leaf, -1 for none."""
    for k in range(nodes_count):
        r = k * NODE_UNITS * UNIT
        for j in range(WIDTH):
            nodes[r + CHILDREN][j] = ti.cast(children[k, j], float)
    for k in range((units - nodes_count * NODE_UNITS) // LEAF_UNITS):
        r = (nodes_count * NODE_UNITS + k * LEAF_UNITS) * UNIT
        for j in range(WIDTH):
            leaves[r + j] = triangles[k * WIDTH + j]


@ti.kernel
def write_start(reference: ti.i32, nodes: VN):
    """Where rays start."""
    for _ in range(1):
        nodes[SPARE] = ti.Vector([ti.cast(reference, float)] * WIDTH)


@ti.kernel
def fill_leaves(first: ti.i32, count: ti.i32, positions: A2, faces: A2, leaves: A1, nodes: VN):
    """Corner 0, edges and the longer edge's length of the triangles of `count` leaves from unit `first` on.

    A lane without a triangle, and one with a corner that is no number, gets edges of length zero: nothing hits it.
    """
    for k in range(count):
        r = (first + k * LEAF_UNITS) * UNIT
        for j in range(WIDTH):
            triangle = leaves[r + j]
            v, a, b = ti.Vector([OUTSIDE] * 3), ti.Vector([0.0] * 3), ti.Vector([0.0] * 3)
            if triangle >= 0:
                v0 = load3(positions, faces[triangle, 0])
                v1 = load3(positions, faces[triangle, 1])
                v2 = load3(positions, faces[triangle, 2])
                if _usable(v0) & _usable(v1) & _usable(v2):
                    v, a, b = v0, v1 - v0, v2 - v0
            for i in ti.static(range(3)):
                nodes[r + i][j], nodes[r + 3 + i][j], nodes[r + 6 + i][j] = v[i], a[i], b[i]
            nodes[r + LENGTH][j] = ti.max(a.norm(), b.norm())


@ti.kernel
def fill_boxes(first: ti.i32, count: ti.i32, nodes: VN):
    """Boxes of the children of `count` nodes from node `first` on; those of the level below are there already.

    The box of a leaf is a little larger than its triangles, so that a flat one has some depth. A box round nothing is
    inside out.
    """
    for k in range(count):
        r = (first + k) * NODE_UNITS * UNIT
        for j in range(WIDTH):
            low, high = ti.Vector([OUTSIDE] * 3), ti.Vector([-OUTSIDE] * 3)
            child = ti.cast(nodes[r + CHILDREN][j], ti.i32)
            c = ti.abs(child) * UNIT
            for m in range(WIDTH):
                for i in ti.static(range(3)):
                    least, most = OUTSIDE, -OUTSIDE
                    if child > 0:
                        least, most = nodes[c + 2 * i][m], nodes[c + 2 * i + 1][m]
                    elif child < 0:
                        v, a, b = nodes[c + i][m], nodes[c + 3 + i][m], nodes[c + 6 + i][m]
                        if v < OUTSIDE:
                            least, most = v + ti.min(ti.min(a, b), 0.0), v + ti.max(ti.max(a, b), 0.0)
                            pad = ti.static(4 * epsilon()) * ti.max(ti.abs(least), ti.abs(most))
                            least, most = least - pad, most + pad
                    low[i], high[i] = ti.min(low[i], least), ti.max(high[i], most)
            for i in ti.static(range(3)):
                nodes[r + 2 * i][j], nodes[r + 2 * i + 1][j] = low[i], high[i]


@ti.func
def half_area(extent):
    return extent[0] * extent[1] + extent[1] * extent[2] + extent[2] * extent[0]


@ti.kernel
def add_areas(count: ti.i32, chunks: ti.i32, nodes: VN, partial: A1):
    """partial [chunks]: areas of the children's boxes of `count` nodes, in units of the area of the whole."""
    for p in range(chunks):
        low = ti.Vector([nodes[2 * i].min() for i in range(3)])
        high = ti.Vector([nodes[2 * i + 1].max() for i in range(3)])
        whole = half_area(ti.max(high - low, 0.0))
        total, k = 0.0, p
        while k < count:
            r = k * NODE_UNITS * UNIT
            for j in range(WIDTH):
                extent = ti.Vector([nodes[r + 2 * i + 1][j] - nodes[r + 2 * i][j] for i in range(3)])
                if extent.min() > 0.0:
                    total += half_area(extent)
            k += chunks
        partial[p] = total / ti.max(whole, 1e-30)
