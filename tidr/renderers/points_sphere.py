"""Splat "sphere": spheres with soft edges, blended by how near they are.

Lassner and Zollhoefer 2021, "Pulsar: Efficient Sphere-based Neural Rendering"; kernels/points/sphere_blend.py has the
formula. The opacity stands outside and inside the exponent, as in the authors' code. Ours are two definitions: the
depth of a hit is that of the sphere's surface along the camera's axis, and without a given `depth_range` the nearness
runs over that of the view's spheres, and as far again behind them; its ends lie on a grid of a quarter of the
range's power of two, so that they stay as they are while the spheres move a little. Spheres that reach before the near
plane, or whose centre lies behind the far one, are left out.

Gradients are exact for the picture where it is smooth. They reach positions, radii, colours, normals (of lit points),
opacities, the nodes' transforms, pose and intrinsics of the cameras. What this does not differentiate: the range of
depths where it is found from the spheres, and of a sphere less than a pixel wide the pixel that it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.accumulate import SPREAD
from tidr.kernels.points import sphere_blend as kernels
from tidr.kernels.points.point_blend import gather_features
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .points_plain import Blended, PlainSplat, tile_for
from .splat_lists import SplatLists

if TYPE_CHECKING:
    from .points import PointRenderer


class Sphere(PlainSplat):
    """One render of all points as spheres.

    Raises:
        SceneError: a cloud has no radii.
    """

    def __init__(
        self, settings: PointRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        super().__init__(settings, scene, cameras, width, height)
        for one in self.points.clouds:
            if one.cloud.radii is None:
                mend = 'give radii in object units, or draw with splat "knn"'
                raise SceneError(f"nodes.{one.node.name}.points", "has no radii, which spheres need", mend)
        self.rays = self.views.rays()
        box, fronts, spots = Buffer((4 * self.items,), "int"), Array((self.items, 1)), self.spots
        with unrecorded():
            kernels.boxes(
                self.views.count, self.count, height, width, self.points.positions.value, self.points.radii.value,
                spots.places.value, spots.reach.value, self.views.projection.value, self.views.table.value,
                fronts.value, box.ndarray,
            )  # fmt: skip
            reach = spots.reach.numpy()
            self.lists = SplatLists(self.items, self.views.count, height, width, box, fronts, tile_for(reach))
        self.fronts = fronts
        self.ranges = Array((self.views.count, 2), needs_grad=False)
        self.ranges.set(self._ranges(reach))

    def depths(self) -> Blended:
        return self._blend(self.spots.depths, True)

    def blend(self, features: Array) -> Blended:
        return self._blend(features, False)

    def _ranges(self, reach: np.ndarray) -> np.ndarray:
        """[B, 2] nearest and farthest depth of each view, between which nearness goes from 1 to 0."""
        if self.settings.depth_range is not None:
            return np.tile(np.array(self.settings.depth_range, np.float64), (self.views.count, 1))
        fronts, depths = self.fronts.numpy().astype(np.float64), self.spots.depths.numpy().astype(np.float64)
        found = []
        for view, (near, far) in enumerate(self.views.table.host()[:, 1:]):
            rows = slice(view * self.count, (view + 1) * self.count)
            drawn = (reach[rows] >= 0) & (fronts[rows] > near)
            low = fronts[rows][drawn].min() if drawn.any() else near
            high = depths[rows][drawn].max() if drawn.any() else min(far, 2 * near)
            grid = 2.0 ** (np.floor(np.log2(max(high - low, 1e-6 * high))) - 2)
            low, high = np.floor(low / grid) * grid, np.ceil(high / grid) * grid
            found.append((low, 2 * high - low))
        return np.array(found)

    def _blend(self, features: Array, deep: bool) -> Blended:
        """Blend features [items, C]; the depths of the hits with `deep`."""
        lists, points, rays, channels = self.lists, self.points, self.rays, features.channels
        sums, alpha, level = Array((self.pixels, channels)), Array((self.pixels, 1)), Buffer((self.pixels, 1))
        ends, sharpness = Buffer((self.pixels,), "int"), 1 / self.settings.gamma
        size = (self.height, self.width, lists.tile, lists.tiles_x, lists.tiles_y)
        inputs = [points.positions, points.radii, points.opacities, rays.origins, rays.directions, rays.cosines]
        values = (*(one.value for one in inputs), features.value, sharpness)
        where = (self.spots.reach.value, self.ranges.value)

        def found() -> tuple:
            return sums.value, alpha.value, level.ndarray, ends.ndarray

        def forward() -> None:
            seen = (lists.start, lists.entries, lists.box.ndarray, self.fronts.value)
            kernels.blend(self.pixels, *size, *seen, *where, *values, *found(), deep, channels)

        def backward() -> None:
            length, box = kernels.HEAD + channels, lists.box.ndarray
            records = Buffer((lists.capacity * length,))
            to_rays = needs(rays.directions)
            kernels.blend_adjoint(
                lists.tiles, *size, lists.start, lists.entries, lists.slots, box, *where, *values, *found(), sums.grad,
                alpha.grad, records.ndarray, rays.origins.grad, rays.directions.grad, rays.cosines.grad, deep, to_rays,
                channels, SPREAD if runtime.on_cpu() else 1,
            )  # fmt: skip
            listed = (lists.tile, box, lists.first, records.ndarray)
            grads = (points.positions.grad, points.radii.grad, points.opacities.grad)
            kernels.gather(self.views.count, self.count, *listed, length, *grads)
            if not deep and needs(features):
                gather_features(self.items, *listed, kernels.HEAD, features.grad, channels)

        followed = inputs if deep else [*inputs, features]
        run(Operation(forward, backward, followed, [sums, alpha], "blend spheres"))
        return Blended(sums, alpha, alpha)
