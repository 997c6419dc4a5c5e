"""The hierarchy that rays are shot into: built on the host, refitted on the device."""

from typing import Any

import numpy as np

from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.kernels import bvh as layout
from tidr.kernels import bvh_refit as kernels

from .bvh_build import Tree, build

CHECK_EVERY = 16  # refits between two looks at what they made of the tree
WORST = 1.5  # a tree that became this much dearer is built anew
CHUNKS = 64


class Bvh:
    """A bounding volume hierarchy over triangles, for the device functions of kernels/bvh.py.

    `update` must run before `nodes` and `leaves` are passed to a kernel; both are device arrays, and new ones after a
    rebuild. The tree holds the triangles by index, so it serves any positions of the same vertices; triangles with a
    corner that is not finite are never hit, and count again once they are finite.

    Args:
        triangles: [F, 3] int, vertex indices; F may be 0.

    Raises:
        SceneError: too many triangles (over 16 million leaves and nodes together), or not [F, 3].
    """

    def __init__(self, triangles: np.ndarray) -> None:
        triangles = np.asarray(triangles)
        if triangles.ndim != 2 or triangles.shape[1] != 3:
            raise SceneError("BVH", f"triangles are {triangles.shape}, expected [F, 3]")
        if triangles.size and triangles.min() < 0:
            raise SceneError("BVH", f"vertex index {triangles.min()} of a triangle is negative", "count from 0")
        self._triangles = triangles.astype(np.int32)
        self._vertices = int(triangles.max()) + 1 if triangles.size else 0
        self._faces = Buffer.of(self._triangles)
        self._tree: Tree | None = None
        self._refits, self._built_cost = 0, 0.0
        self.nodes: Any = None
        self.leaves: Any = None

    def update(self, positions) -> None:
        """Fit the tree to vertex positions (ndarray [V, 3] on the device); call it whenever they moved.

        The first call builds the tree on the host. Later calls refit its boxes on the device, which needs no copy to
        the host, and now and then look whether that made the tree so much worse that it is better built again.

        Raises:
            SceneError: a triangle names a vertex that positions does not have.
        """
        if positions.shape[0] < self._vertices:
            what = f"a triangle names vertex {self._vertices - 1}, but there are {positions.shape[0]} vertices"
            raise SceneError("BVH", what)
        if self._tree is None:
            self._rebuild(positions)
            return
        self._refit(positions)
        self._refits += 1
        if self._refits % CHECK_EVERY == 0 and self._cost() > WORST * self._built_cost:
            self._rebuild(positions)

    def _rebuild(self, positions) -> None:
        self._tree = tree = build(positions.to_numpy()[self._triangles])
        count = len(tree.children)
        units = count * layout.NODE_UNITS + tree.leaves.size // layout.WIDTH * layout.LEAF_UNITS
        if units >= layout.NONE:
            raise SceneError("BVH", f"{len(self._triangles)} triangles are too many", "split the scene or simplify it")
        self._node_buffer = Buffer((units * layout.UNIT,), vector=layout.WIDTH)
        self._leaf_buffer = Buffer((units * layout.UNIT,), "int")
        self.nodes, self.leaves = self._node_buffer.ndarray, self._leaf_buffer.ndarray
        children, triangles = Buffer.of(tree.children), Buffer.of(tree.leaves)
        kernels.write_references(count, units, children.ndarray, triangles.ndarray, self.nodes, self.leaves)
        kernels.write_start(0 if tree.leaves.size else layout.NONE, self.nodes)
        self._refit(positions)
        self._refits, self._built_cost = 0, self._cost()

    def _refit(self, positions) -> None:
        tree = self._tree
        assert tree is not None
        first = len(tree.children) * layout.NODE_UNITS
        leaves = tree.leaves.size // layout.WIDTH
        kernels.fill_leaves(first, leaves, positions, self._faces.ndarray, self.leaves, self.nodes)
        for start, end in reversed(tree.levels):
            kernels.fill_boxes(start, end - start, self.nodes)

    def _cost(self) -> float:
        """Expected boxes and leaves that a ray through the whole box meets (Goldsmith and Salmon 1987)."""
        tree = self._tree
        assert tree is not None
        partial = Buffer((CHUNKS,))
        kernels.add_areas(len(tree.children), CHUNKS, self.nodes, partial.ndarray)
        return float(partial.ndarray.to_numpy().sum())
