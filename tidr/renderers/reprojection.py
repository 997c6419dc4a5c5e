"""Inverse warping: a view's pixels with their depths, looked up in the pictures of other views."""

from collections.abc import Sequence

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.points import reproject as kernels
from tidr.scene.camera import Camera

from .entries import project_points
from .rays import Rays
from .views import Views


class Reprojection:
    """Where the pixels u of one view land in B others: u' = K_s (R (D(u) K^-1 u) + t), recorded on the open tape.

    Zhou et al. 2017, "Unsupervised Learning of Depth and Ego-Motion from Video"; Godard et al. 2017, 2019. A pixel
    that does not move between two pictures of a still scene has its depth and the cameras right, so that a loss of
    depth_losses between `sample(pictures)` and the view's own picture finds depth, pose or both.

    Args:
        depth: [H, W, 1] of the view, along its camera's axis, in world units; 0 where it is not known. A `Parameter`,
            or a channel of a rendered image.
        camera: of the view. sources: B cameras, perspective or orthographic, whose poses and intrinsics scale to the
            size of their pictures.
        size: (height, width) of the sources' pictures; that of depth when None.

    valid [B, H, W, 1] is 1 where a pixel has a depth and lands beyond the near plane and between the outermost pixel
    centres of the source.

    What this does not differentiate: `valid` and `visible`, which jump. The slope of a bilinear picture jumps at pixel
    centres. What one source sees in front of another thing is not looked for: a pixel that is hidden there samples
    what hides it, unless `visible` or the least error over several sources leaves it out.

    Raises:
        SceneError: depth or pictures of another shape, or no source.
    """

    def __init__(
        self, depth: Array, camera: Camera, sources: Sequence[Camera], size: tuple[int, int] | None = None
    ) -> None:
        if len(depth.shape) != 3 or depth.shape[2] != 1 or min(depth.shape) < 1:
            raise SceneError("reprojection", f"depth has shape {depth.shape}, expected [H, W, 1]")
        if not sources:
            raise SceneError("reprojection", "there is no source", "give at least one camera")
        height, width = depth.shape[:2]
        self.size = (height, width) if size is None else (int(size[0]), int(size[1]))
        if min(self.size) < 2:
            raise SceneError("reprojection", f"pictures of size {self.size}", "give at least 2 pixels each way")
        self.shape, self._pixels = (len(sources), height, width), height * width
        views = Views(sources, self.size[1], self.size[0])
        self._screen = project_points(_lifted(depth, Rays.of_cameras([camera], width, height)), views)
        self.valid = Array((*self.shape, 1), needs_grad=False)
        with unrecorded():
            extent = (views.count, self._pixels, *self.size)
            kernels.land(*extent, depth.value, views.table.value, self._screen.value, self.valid.value)

    def coordinates(self) -> np.ndarray:
        """[B, H, W, 2] columns and rows in the sources' pictures, a copy; without meaning where w <= 0."""
        screen = self._screen.numpy().astype(np.float64)
        w = np.where(screen[:, 2] == 0, np.nan, screen[:, 2])
        return (screen[:, :2] / w[:, None]).reshape(*self.shape, 2)

    @property
    def depth(self) -> Array:
        """[B, H, W, 1] depth of each pixel's point along the axis of each source, differentiable."""
        found, screen = Array((*self.shape, 1)), self._screen

        def forward() -> None:
            kernels.depth_of(found.rows, screen.value, found.value)

        def backward() -> None:
            kernels.depth_of_adjoint(found.rows, found.grad, screen.grad)

        run(Operation(forward, backward, [screen], [found], "reprojected depth"))
        return found

    def sample(self, pictures) -> Array:
        """[B, H, W, C] the sources' pictures, bilinear, at the landings; 0 where not valid.

        pictures: [B, *size, C], or [*size, C] of a lone source; a numpy array, or an `Array`, which may want a
        gradient.
        """
        pictures = self._sources(pictures)
        out, screen = Array((*self.shape, pictures.channels)), self._screen
        extent = (self.shape[0], self._pixels, *self.size, pictures.channels)

        def forward() -> None:
            kernels.sample(*extent, screen.value, self.valid.value, pictures.value, out.value)

        def backward() -> None:
            if needs(screen):
                common = (*extent, screen.value, self.valid.value, pictures.value)
                kernels.sample_screen_adjoint(*common, out.grad, screen.grad)
            if pictures.grad is not None and needs(pictures):
                chunks, channels = runtime.chunks(), pictures.channels
                part = Buffer((chunks * pictures.rows * channels,))
                part.ndarray.fill(0.0)
                common = (chunks, *extent, screen.value, self.valid.value, out.grad, part.ndarray)
                kernels.sample_picture_adjoint(*common, not runtime.on_cpu())
                accumulate.collect(chunks, pictures.rows, channels, part.ndarray, pictures.grad)

        run(Operation(forward, backward, [screen, pictures], [out], "reprojected picture"))
        return out

    def visible(self, depths, tolerance: float = 0.02) -> Array:
        """[B, H, W, 1]: 1 where a valid pixel is not behind what its source sees, by the sources' own depth maps.

        depths: [B, *size, 1] as `sample` takes pictures. A pixel counts as hidden where it is deeper than (1 +
        tolerance) times the bilinear depth there, or where one of the four depths around is missing (0). With
        `tolerance` infinite only missing depths are left out.

        Raises:
            SceneError: other shapes, or tolerance < 0.
        """
        depths = self._sources(depths)
        if depths.channels != 1 or not tolerance >= 0:
            raise SceneError("visible", f"depths of shape {depths.shape}, tolerance {tolerance}", "one channel, >= 0")
        mask = Array((*self.shape, 1), needs_grad=False)
        limit = min(1.0 + tolerance, 1e30)
        with unrecorded():
            extent = (self.shape[0], self._pixels, *self.size, limit)
            kernels.visible(*extent, self._screen.value, self.valid.value, depths.value, mask.value)
        return mask

    def _sources(self, pictures) -> Array:
        """Pictures of the sources as a device array."""
        given = pictures if isinstance(pictures, Array) else np.asarray(pictures)
        shape = (self.shape[0], *self.size)
        if tuple(given.shape[:-1]) not in (shape, shape[1:] if shape[0] == 1 else shape) or given.shape[-1] < 1:
            wanted = ", ".join(str(size) for size in shape)
            raise SceneError("reprojection", f"pictures of shape {tuple(given.shape)}", f"give [{wanted}, C]")
        if isinstance(given, Array):
            return given
        with unrecorded():
            return Array.of(given, needs_grad=False)


def _lifted(depth: Array, rays: Rays) -> Array:
    """[H * W, 3] world points of pixels at a depth."""
    count, points = depth.rows, Array((depth.rows, 3))

    def forward() -> None:
        lines = (rays.origins.value, rays.directions.value, rays.cosines.value)
        kernels.lift(count, *lines, depth.value, points.value)

    def backward() -> None:
        lines = (rays.directions.value, rays.cosines.value)
        if needs(rays.origins):
            gradients = (rays.origins.grad, rays.directions.grad, rays.cosines.grad)
            kernels.lift_adjoint(count, *lines, depth.value, points.grad, *gradients)
        if depth.grad is not None and needs(depth):
            kernels.lift_depth_adjoint(count, *lines, points.grad, depth.grad)

    inputs = [depth, rays.origins, rays.directions, rays.cosines]
    run(Operation(forward, backward, inputs, [points], "lift"))
    return points
