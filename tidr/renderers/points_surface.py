"""Splat "surface": discs in the tangent planes of points, blended where they lie on one surface (EWA, DSS).

Yifan, Serena, Wu, Oeztireli and Sorkine-Hornung 2019, "Differentiable Surface Splatting for Point-based Geometry
Processing", after Zwicker, Pfister, van Baar and Gross 2001, "EWA splatting". A point's disc is a Gaussian across its
normal n, of variance h = radius^2, or without radii half the largest square of the distances to its 6 nearest
neighbours, in world units and kept to `variance_range`. With J the Jacobian of the projection, V = h J (1 - n n^T) J^T
+ low_pass is its variance on the screen and |det M| / (2 pi sqrt(det V)) exp(-Q / 2) its weight at a pixel that lies
x pixels from it, with Q = x^T V^-1 x below `cutoff` and |det M| = |n . (j0 x j1)| by the rows of J. Points that turn
their back are left out, as published (`cull_back`).

A pixel inside any splat is occupied: alpha is 1, else 0. Of the splats around it the nearest `merged_points` count,
those up to `depth_merge` (world units) behind the first; its colour, depth and normal are their means by weight.

Gradients. Colour, depth and normal are exact where the picture is smooth: to colours, normals (through the shading and
through V), radii, positions, transforms and cameras. Alpha is 0 or 1, and its gradient is the published one: a pixel x
with dL/dalpha = g gives a point at p on the screen g (x - p) / (|x - p|^2 + 1e-10): where g > 0 (it had better be
empty) if its splat covers x, where g < 0 if x is within `backward_radius` times the splat's radius. The sum over
pixels, in halves of the picture's smaller side, is cut at a length of 0.05, and goes on to positions, transforms and
cameras. The decay that the authors give `backward_radius` is the work of `anneal` in a fit.

What this does not differentiate: the size of splats by the distances to neighbours; which splats count, which is by the
depth of their points; the ends of splats but by the rule above, which also tells colours nothing of what is behind.
Opacities do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.points import surface as kernels
from tidr.kernels.reduce import split
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene
from tidr.scene.neighbors import PointTree

from .background import before_environment, constant_color
from .points_geometry import Points, to_views
from .splat_lists import SplatLists
from .views import Views
from .volume_compose import before, unit

if TYPE_CHECKING:
    from .points import PointRenderer

TILE = 8
NEIGHBOURS = 6  # that the size of a disc without radius is found from
SOFTENING, LARGEST_PULL = 1e-10, 0.05  # of the published gradient of occupancy


class SurfaceSplats:
    """One render of all points of a scene; what lies over which pixels is found once, a feature blended when asked."""

    def __init__(
        self, settings: PointRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        self.settings, self.scene = settings, scene
        self.points, self.views = Points(scene), Views(cameras, width, height)
        for one in self.points.clouds:
            if one.cloud.normals is None:
                mend = "give it normals, as tidr.point_normals.estimate finds them, or choose another splat"
                raise SceneError(f"nodes.{one.node.name}", "holds points without normals", mend)
        self.items, self.pixels = self.views.count * self.points.count, self.views.count * height * width
        self.splats, self.depths = Array((self.items, 6)), Array((self.items, 1))
        self.box = Buffer((4 * self.items,), "int")
        self._project(self._spread())
        with unrecorded():
            self._find()
        self._alpha: Array | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        return {
            "rgb": self.rgb,
            "alpha": lambda: self._shaped(self.alpha()),
            "depth": lambda: self._shaped(self._blend(self.depths)),
            "normal": self.normal,
        }

    def rgb(self) -> Array:
        image, color = self._blend(self.points.colors(self.views)), constant_color(self.scene)
        image = image if color is None else before(image, self.alpha(), color)
        return self._shaped(before_environment(self.scene, image, self.alpha, self.views.rays))

    def normal(self) -> Array:
        count, found = self.points.count, Array((self.items, 3))
        to_views(unit(self.points.normals), self.views.count, count, found, count, 0)
        return self._shaped(unit(self._blend(found)))

    def alpha(self) -> Array:
        """[pixels, 1]: 1 where a splat is, with the published gradient."""
        if self._alpha is None:
            self._alpha = self._occupancy()
        return self._alpha

    def _spread(self) -> Array:
        """[N, 1] variances of the discs."""
        count, radii, out = self.points.count, self.points.radii, Array((self.points.count, 1))
        low, high = self.settings.variance_range
        found, squares = Buffer((1,), "int"), Buffer((1,))
        if any(one.cloud.radii is None for one in self.points.clouds):
            with unrecorded():
                found, squares, _ = PointTree(self.points.positions).search(k=NEIGHBOURS)

        def forward() -> None:
            kernels.spread(count, NEIGHBOURS, found.ndarray, squares.ndarray, radii.value, low, high, out.value)

        def backward() -> None:
            kernels.spread_adjoint(count, radii.value, out.grad, radii.grad)

        run(Operation(forward, backward, [radii], [out], "sizes of discs"))
        return out

    def _project(self, spreads: Array) -> None:
        """Splats, depths and boxes."""
        points, views, settings = self.points, self.views, self.settings
        count, positions, normals, projection = points.count, points.positions, points.normals, views.projection
        size = (count, views.count, views.width, views.height)

        def forward() -> None:
            kernels.project(
                *size, views.table.value, projection.value, views.eye.value, positions.value, normals.value,
                spreads.value, settings.low_pass, settings.cutoff, int(settings.cull_back), self.splats.value,
                self.depths.value, self.box.ndarray,
            )  # fmt: skip

        def backward() -> None:
            chunks = split(count, runtime.on_cpu())
            part = Buffer((chunks.chunks * views.count * 16,))
            given = (projection.value, positions.value, normals.value, spreads.value)
            grads = (self.splats.grad, self.depths.grad, positions.grad, normals.grad, spreads.grad)
            wanted = [needs(array) for array in (positions, normals, spreads)]
            kernels.project_adjoint(
                *chunks, count, views.count, *given, settings.low_pass, self.splats.value, *grads, part.ndarray, *wanted
            )
            if needs(projection):
                accumulate.collect(chunks.chunks, views.count, 16, part.ndarray, projection.grad)

        inputs = [positions, normals, spreads, projection]
        run(Operation(forward, backward, inputs, [self.splats, self.depths], "project discs"))

    def _find(self) -> None:
        """Which splats lie over which pixels, and what they weigh."""
        views, settings = self.views, self.settings
        lists = SplatLists(self.items, views.count, views.height, views.width, self.box, self.depths, TILE)
        self.last = Buffer((self.pixels,), "int")
        self.totals, self.occupied = (Array((self.pixels, 1), needs_grad=False) for _ in range(2))
        grid = (views.width, views.height, TILE, lists.tiles_x, lists.tiles_y)
        self.seen = (self.pixels, *grid, lists.start, lists.entries)
        self._lists = lists
        kernels.find(
            *self.seen, self.splats.value, self.depths.value, settings.cutoff, settings.depth_merge,
            settings.merged_points, self.last.ndarray, self.totals.value, self.occupied.value,
        )  # fmt: skip

    def _blend(self, features: Array) -> Array:
        """[pixels, C]: means of features [items, C]."""
        out, channels, cutoff = Array((self.pixels, features.channels)), features.channels, self.settings.cutoff
        splats, found = self.splats, (self.last.ndarray, self.totals.value)

        def forward() -> None:
            kernels.blend(*self.seen, splats.value, cutoff, *found, features.value, channels, out.value)

        def backward() -> None:
            size = (self.items, self.points.count, self.views.width, self.views.height)
            known = (self.box.ndarray, splats.value, self.depths.value, cutoff, *found, features.value, channels)
            grads = (out.value, out.grad, splats.grad, features.grad)
            kernels.blend_adjoint(*size, *known, *grads, needs(splats), needs(features))

        run(Operation(forward, backward, [splats, features], [out], "blend discs"))
        return out

    def _occupancy(self) -> Array:
        out, splats, settings, views = Array((self.pixels, 1)), self.splats, self.settings, self.views

        def forward() -> None:
            accumulate.copy_rows(self.pixels, 1, self.occupied.value, out.value, 0)

        def backward() -> None:
            if needs(splats):
                size = (self.items, self.points.count, views.width, views.height)
                rule = (settings.backward_radius, 2.0 / min(views.width, views.height), SOFTENING, LARGEST_PULL)
                kernels.occupancy_adjoint(*size, splats.value, settings.cutoff, *rule, out.grad, splats.grad)

        run(Operation(forward, backward, [splats], [out], "occupancy"))
        return out

    def _shaped(self, array: Array) -> Array:
        array.shape = (self.views.count, self.views.height, self.views.width, array.channels)
        return array
