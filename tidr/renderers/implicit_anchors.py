"""Silhouettes of an occupancy field by anchors that are sampled once in space and serve all views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, run
from tidr.kernels import accumulate
from tidr.kernels.implicit import anchors as kernels
from tidr.scene.graph import Node, Scene
from tidr.scene.voxels import VoxelGrid

from .implicit_field import grid_of, sampled, zeroed
from .rays import RayRenderer, Rays


class Anchors:
    """Points [N, 3] in the box of a grid, object space, each standing for the ball of `radius` around it."""

    def __init__(self, points, radius: float, lower, upper) -> None:
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
            raise SceneError("anchors.points", f"got shape {points.shape}", "give finite points [n, 3], n > 0")
        if not 0 < radius < np.inf:
            raise SceneError("anchors.radius", f"is {radius}", "give a number above 0")
        self.radius, self.count = float(radius), len(points)
        self.lower, self.upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
        extent = self.upper - self.lower
        self.buckets = np.clip(np.floor(extent / (2 * radius)), 1, 128).astype(int)  # x, y, z
        starts, listed = self._sorted(points)
        self.starts, self.listed = Buffer((len(starts),), "int"), Buffer((len(listed),), "int")
        self.starts.ndarray.from_numpy(starts.astype(np.int32))
        self.listed.ndarray.from_numpy(listed.astype(np.int32))
        self.points = Array.of(points, needs_grad=False)

    @classmethod
    def of(
        cls, grid: VoxelGrid | Node, count: int = 16384, radius: float | None = None, boundary: float = 0.5, seed=0
    ) -> Anchors:
        """Anchors for a grid of occupancies v as it is now.

        A part `boundary` of them lies where the surface may be, in cells drawn with weight v (1 - v) plus the change
        to their neighbours; the others lie evenly. radius: 3/4 of the largest cell when None.
        """
        if isinstance(grid, Node):
            grid = grid_of(grid, ("occupancy",))
        if count < 1 or not 0 <= boundary <= 1:
            raise SceneError("anchors", f"count {count}, boundary {boundary}", "give a count >= 1, boundary in 0 to 1")
        rng, values = np.random.default_rng(seed), grid.occupancy.numpy().astype(np.float64)
        change = sum(np.abs(np.gradient(values, axis=a)) if values.shape[a] > 1 else 0 * values for a in range(3))
        weights = np.cumsum((values * (1 - values) + change + 1e-6).ravel())
        near = round(boundary * count)
        cells = np.searchsorted(weights, rng.random(near) * weights[-1]).clip(0, values.size - 1)
        z, y, x = np.unravel_index(cells, values.shape)
        placed = (np.stack([x, y, z], 1) + rng.random((near, 3))) / np.array(values.shape[::-1])
        unit = np.concatenate([placed, rng.random((count - near, 3))])
        reach = 0.75 * float(grid.spacing.max()) if radius is None else radius
        return cls(grid.lower + unit * (grid.upper - grid.lower), reach, grid.lower, grid.upper)

    def _sorted(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """CSR of the anchors whose ball's box reaches into each bucket."""
        unit = (self.upper - self.lower) / self.buckets
        low, high = (
            np.clip(np.floor((points + side * self.radius - self.lower) / unit), 0, self.buckets - 1).astype(int)
            for side in (-1, 1)
        )
        owners, buckets = [], []
        for corner in np.ndindex(*(high - low + 1).max(0)):
            at = low + corner
            fits = (at <= high).all(1)
            owners.append(np.flatnonzero(fits))
            buckets.append(at[fits] @ np.array([1, self.buckets[0], self.buckets[0] * self.buckets[1]]))
        bucket = np.concatenate(buckets)
        order = np.argsort(bucket, kind="stable")
        counts = np.bincount(bucket, minlength=int(self.buckets.prod()))
        return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(owners)[order]


@dataclass(frozen=True, kw_only=True)
class AnchorRenderer(RayRenderer):
    """Draws the silhouette of one grid of occupancies, after Liu, Saito, Chen, Li 2019, "Learning to Infer Implicit
    Surfaces without 3D Supervision": alpha is the largest occupancy among the anchors nearer to a ray than their
    radius, and that anchor takes all of the gradient.

    anchors: `Anchors.of(node, ...)`, one set for all views; made anew now and then as a fit goes on.

    Channels: alpha.

    What this does not differentiate: which anchors a ray meets, so neither camera nor transform has a gradient.
    """

    anchors: Anchors

    def trace(self, scene: Scene, rays: Rays) -> dict[str, Callable[[], Array]]:
        """A function for the channel "alpha"."""
        nodes = [node for node in scene.nodes.values() if isinstance(node.geometry, VoxelGrid)]
        if len(nodes) != 1:
            raise SceneError("nodes", f"{len(nodes)} hold a voxel grid", "the anchor renderer draws exactly one")
        grid = grid_of(nodes[0], ("occupancy",))
        return {"alpha": lambda: self._alpha(grid, rays.to_object(scene, nodes[0]), rays.shape)}

    def _alpha(self, grid: VoxelGrid, rays: Rays, shape: tuple[int, ...]) -> Array:
        anchors, out, chosen = self.anchors, Array((rays.count, 1)), Buffer((rays.count,), "int")
        box = constant([grid.lower, grid.upper, grid.shape[::-1]])
        values = sampled(grid.values, anchors.points, anchors.count, box)
        buckets = constant([anchors.lower, anchors.upper, anchors.buckets])

        def forward() -> None:
            kernels.largest(
                rays.count, rays.origins.value, rays.directions.value, buckets.value, anchors.starts.ndarray,
                anchors.listed.ndarray, anchors.points.value, values.value, anchors.radius, chosen.ndarray, out.value,
            )  # fmt: skip

        def backward() -> None:
            chunks = runtime.chunks()
            part = zeroed(chunks * anchors.count)
            kernels.largest_adjoint(
                chunks, anchors.count, rays.count, chosen.ndarray, out.grad, part.ndarray, not runtime.on_cpu()
            )
            accumulate.collect(chunks, anchors.count, 1, part.ndarray, values.grad)

        run(Operation(forward, backward, [values], [out], "anchors"))
        out.shape = (*shape, 1)
        return out
