"""Splat "rhodin": blobs of Gaussian density with a smooth visibility.

Rhodin et al. 2015, "A Versatile Scene Model with Differentiable Visibility Applied to Generative Pose Estimation";
kernels/points/rhodin.py has the formula. A point's radius is the standard deviation of its density, and its opacity
the share that it takes of a ray through its centre: 1 - exp(-c sigma sqrt(2 pi)) for a density of c at the centre.
Opacities above `alpha_max` count as that, since 1 would be a density without end.

What a ray sees of a blob is added up from five samples up to its centre, as published: the shares of all blobs sum to
less than alpha, by a few hundredths where blobs are dense and by 0.3 of it where they are thin, so that a picture is a
little dark. Depth is the mean of the centres under these shares. A blob whose centre is not between the near and the
far plane is left out; one around the camera hides from the camera on, but its samples may lie behind the camera, so
that it looks too bright from within four standard deviations.

Gradients are exact: picture, alpha and depth are smooth functions, whatever lies before what, of positions, radii,
opacities, colours, normals (of lit points), the nodes' transforms, pose and intrinsics of the cameras. What this does
not differentiate: that a blob ends six standard deviations from its centre, where it has at most 1e-7 left, the clamp
of opacities, and blobs that pass the near or the far plane. Time grows with the square of the blobs over a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.accumulate import SPREAD
from tidr.kernels.points import rhodin as kernels
from tidr.kernels.points.point_blend import gather_features
from tidr.kernels.points.sphere_blend import HEAD, gather
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .points_plain import Blended, PlainSplat, tile_for
from .splat_lists import SplatLists

if TYPE_CHECKING:
    from .points import PointRenderer


class Rhodin(PlainSplat):
    """One render of all points as blobs of density.

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
                raise SceneError(f"nodes.{one.node.name}.points", "has no radii, which blobs need", mend)
        self.rays = self.views.rays()
        box, fronts, spots = Buffer((4 * self.items,), "int"), Array((self.items, 1)), self.spots
        with unrecorded():
            kernels.boxes(
                self.views.count, self.count, height, width, self.points.positions.value, self.points.radii.value,
                spots.places.value, spots.reach.value, self.views.projection.value, self.views.table.value,
                fronts.value, box.ndarray,
            )  # fmt: skip
            tile = tile_for(kernels.REACH * spots.reach.numpy())
            self.lists = SplatLists(self.items, self.views.count, height, width, box, fronts, tile)

    def depths(self) -> Blended:
        found, seen = self._blend(self.spots.depths)
        return Blended(found.sums, found.alpha, seen)

    def blend(self, features: Array) -> Blended:
        return self._blend(features)[0]

    def _blend(self, features: Array) -> tuple[Blended, Array]:
        """The blended features [items, C], and the sum of all shares [pixels, 1]."""
        lists, points, rays, channels = self.lists, self.points, self.rays, features.channels
        sums, alpha, seen = Array((self.pixels, channels)), Array((self.pixels, 1)), Array((self.pixels, 1))
        size = (self.height, self.width, lists.tile, lists.tiles_x, lists.tiles_y)
        inputs = [points.positions, points.radii, points.opacities, rays.origins, rays.directions, features]
        values = (*(one.value for one in inputs), self.settings.alpha_max, channels)
        box = lists.box.ndarray

        def forward() -> None:
            outputs = (sums.value, alpha.value, seen.value)
            kernels.blend(self.pixels, *size, lists.start, lists.entries, box, *values, *outputs)

        def backward() -> None:
            length = HEAD + channels
            records = Buffer((lists.capacity * length,))
            kernels.blend_adjoint(
                lists.tiles, *size, lists.start, lists.entries, lists.slots, box, *values, alpha.value, sums.grad,
                alpha.grad, seen.grad, records.ndarray, rays.origins.grad, rays.directions.grad,
                SPREAD if runtime.on_cpu() else 1,
            )  # fmt: skip
            listed = (lists.tile, box, lists.first, records.ndarray)
            grads = (points.positions.grad, points.radii.grad, points.opacities.grad)
            gather(self.views.count, self.count, *listed, length, *grads)
            if needs(features):
                gather_features(self.items, *listed, HEAD, features.grad, channels)

        run(Operation(forward, backward, inputs, [sums, alpha, seen], "blend blobs"))
        return Blended(sums, alpha, alpha), seen
