"""Splat "voxelise": points scattered into a grid of the view frustum, smoothed, and seen as occupancies.

Insafutdinov and Dosovitskiy 2018, "Unsupervised Learning of Shape and Pose with Differentiable Point Clouds". The
frustum of a camera, from depth_range[0] to depth_range[1], is a cube of vox^3 cells: vox across the picture, vox down
it, vox in depth.
Every point in it brings its opacity (1 without), shared out among the eight nearest cell centres; at the border of the
cube the outermost cells take all. The grid is smoothed by a Gaussian of `smoothing` cells along each axis, of
`kernel_taps` weights that sum to 1, clipped at 1, and seen along its own rays as probabilities to stop a ray (DRC,
Tulsiani et al. 2017), a factor 1 - occupancy being kept at 1e-5 or more. A cell's colour is the mean of its points' by
what they bring. Pictures of another size than vox x vox are interpolated between the grid's rays.

Gradients are exact where the picture is smooth: to positions, colours, opacities, transforms and cameras. The authors
let `smoothing` fall from 1 to 0.2 over the fit, which is its `anneal`.

What this does not differentiate: the ends of the cube; a point outside it has no gradient, nor one nearer to its border
than half a cell in that direction. A cell that is full has no gradient. Where a point passes a cell's centre the
picture has a bend. Radii do not count, and normals only where a material lights the points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.points import voxelise as kernels
from tidr.kernels.voxels import termination
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .background import before_environment, constant_color
from .points_geometry import Points, project
from .views import Views
from .volume_compose import before, expected

if TYPE_CHECKING:
    from .points import PointRenderer

LEAST = 1e-5  # of 1 - occupancy, as published
PUBLISHED_SPAN = (1.5, 2.5)  # depths of a cube of side 1 that a camera sees from 2 away


@dataclass(frozen=True)
class Seen:
    """Along the grids' rays: alpha [rays, 1], sums of weight * depth [rays, 1] and of weight * colour [rays, 3]."""

    alpha: Array
    depths: Array
    colors: Array


class Voxelised:
    """One render of all points of a scene; the grid of the points' mass, or of mass and colours, is made when asked."""

    def __init__(
        self, settings: PointRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        self.settings, self.scene = settings, scene
        self.points, self.views = Points(scene), Views(cameras, width, height)
        self.spots = project(self.points, self.views)
        self.side, self.span = settings.vox, settings.depth_range or PUBLISHED_SPAN
        self.rays = self.views.count * self.side**2
        self.cells = self.rays * self.side
        self._seen: Seen | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        return {
            "rgb": self.rgb,
            "alpha": self.alpha,
            "depth": self.depth,
        }

    def rgb(self) -> Array:
        self._seen = self._look(self.points.colors(self.views))
        image, behind = self._image(self._seen.colors), constant_color(self.scene)
        alpha = self._image(self._seen.alpha)
        image = image if behind is None else before(image, alpha, behind)
        return self._shaped(before_environment(self.scene, image, lambda: alpha, self.views.rays))

    def alpha(self) -> Array:
        return self._shaped(self._image(self._any_look().alpha))

    def depth(self) -> Array:
        seen = self._any_look()
        return self._shaped(expected(self._image(seen.depths), self._image(seen.alpha)))

    def _any_look(self) -> Seen:
        self._seen = self._seen or self._look(None)
        return self._seen

    def _look(self, colors: Array | None) -> Seen:
        """Along the grid's rays; `colors` [items, 3] of the points are summed where given."""
        side, cells, rays, span = self.side, self.cells, self.rays, self.span
        channels = 0 if colors is None else 3
        grid = self._smooth(self._scatter(colors, channels + 1), channels + 1)
        seen = Seen(Array((rays, 1)), Array((rays, 1)), Array((rays, max(channels, 1))))
        counts = Buffer((rays,), "int")
        ends = (0, rays, side, counts.ndarray)

        def weigh(values: Buffer, weights: Buffer, alpha: Array) -> None:
            counts.ndarray.fill(side)
            kernels.clip(cells, grid.value, values.ndarray)
            termination.weights(*ends, values.ndarray, 1.0, LEAST, False, weights.ndarray, alpha.value)

        def forward() -> None:
            values, weights = Buffer((cells,)), Buffer((cells,))
            weigh(values, weights, seen.alpha)
            outputs = (seen.depths.value, seen.colors.value)
            kernels.look(rays, side, cells, *span, weights.ndarray, grid.value, channels, *outputs)

        def backward() -> None:
            values, weights, to_weights, to_values = (Buffer((cells,)) for _ in range(4))
            weigh(values, weights, Array((rays, 1), needs_grad=False))
            grads = (seen.depths.grad, seen.colors.grad, to_weights.ndarray, grid.grad)
            kernels.look_adjoint(side, cells, *span, weights.ndarray, grid.value, channels, *grads)
            termination.weights_adjoint(
                *ends, values.ndarray, 1.0, LEAST, False, to_weights.ndarray, seen.alpha.grad, to_values.ndarray
            )
            kernels.clip_adjoint(cells, grid.value, to_values.ndarray, grid.grad)

        run(Operation(forward, backward, [grid], [seen.alpha, seen.depths, seen.colors], "look at occupancies"))
        return seen

    def _scatter(self, colors: Array | None, channels: int) -> Array:
        """[channels * cells, 1] mass, and mass times colours where given."""
        points, spots, masses = self.points, self.spots, self.points.opacities
        rows, items = channels * self.cells, self.views.count * points.count
        grid, shown = Array((rows, 1)), masses if colors is None else colors
        inside = (spots.places.value, spots.depths.value, spots.reach.value, masses.value, shown.value)
        cube = (self.views.width, self.views.height, *self.span, self.side, channels, self.cells)

        def forward() -> None:
            chunks = runtime.chunks()
            part = Buffer((chunks * rows,))
            part.ndarray.fill(0.0)
            if runtime.on_cpu():
                kernels.scatter_private(chunks, items, points.count, *cube, *inside, part.ndarray)
            else:
                kernels.scatter_atomic(items, points.count, *cube, *inside, part.ndarray)
            grid.value.fill(0.0)
            accumulate.collect(chunks, rows, 1, part.ndarray, grid.value)

        def backward() -> None:
            size = (points.count, self.views.count)
            grads = (grid.grad, spots.places.grad, spots.depths.grad, masses.grad, shown.grad)
            wanted = (needs(masses), colors is not None and needs(colors))
            kernels.scatter_adjoint(*size, *cube, *inside, *grads, *wanted)

        inputs = [spots.places, spots.depths, masses, *([] if colors is None else [colors])]
        run(Operation(forward, backward, inputs, [grid], "scatter points"))
        return grid

    def _smooth(self, grid: Array, channels: int) -> Array:
        """Along all three axes; the adjoint is the same convolution."""
        out, rows, side = Array((channels * self.cells, 1)), channels * self.cells, self.side
        rule = (self.settings.kernel_taps, self.settings.smoothing)

        def along_all(source, target) -> None:
            first, second = (Array((rows, 1), needs_grad=False) for _ in range(2))
            kernels.smooth(rows, side, 1, *rule, source, first.value)
            kernels.smooth(rows, side, side, *rule, first.value, second.value)
            kernels.smooth(rows, side, side * side, *rule, second.value, target)

        def forward() -> None:
            along_all(grid.value, out.value)

        def backward() -> None:
            back = Array((rows, 1), needs_grad=False)
            along_all(out.grad, back.value)
            accumulate.add_rows(rows, 1, back.value, 0, grid.grad, 0)

        run(Operation(forward, backward, [grid], [out], "smooth"))
        return out

    def _image(self, source: Array) -> Array:
        """[pixels, C] from rays of the grid [rays, C]."""
        views, channels = self.views, source.channels
        out = Array((views.count * views.height * views.width, channels))
        size = (views.width, views.height, self.side, channels)

        def forward() -> None:
            kernels.resample(out.rows, *size, source.value, out.value)

        def backward() -> None:
            kernels.resample_adjoint(source.rows, *size, out.grad, source.grad)

        run(Operation(forward, backward, [source], [out], "grid to picture"))
        return out

    def _shaped(self, array: Array) -> Array:
        array.shape = (self.views.count, self.views.height, self.views.width, array.channels)
        return array
