"""Splat "gaussian3d": 3D Gaussians projected by their first-order covariance and blended near to far.

Kerbl, Kopanas, Leimkuehler and Drettakis 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering". The
Jacobian of the projection is taken at the mean, but no farther outside the image than 15 % of its size.

Three definitions are ours, so that a picture does not depend on its tiles: a splat ends at the ellipse where its
opacity falls below `alpha_skip` (the paper cuts at the edges of tiles that a circle of 3 standard deviations meets);
pixel centres are at +0.5; and the near plane is the camera's. Gaussians whose centre is not between near and far are
left out, as are those whose variance on the screen exceeds 1e36 pixels^2. Gaussians whose colours are sRGB values
(`Gaussians.encoding`) are blended as such, as the paper does, and the picture is decoded.

Gradients are exact for the picture where it is smooth. They reach means, scales, rotations, opacities, harmonics, the
nodes' transforms, pose and intrinsics of the cameras. What this does not differentiate: the order of depth; the ends of
splats and pixels; a colour channel cut at 0; an opacity cut at `alpha_max`; and which axis is the thinnest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.files.srgb import linear_to_srgb
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import accumulate, srgb
from tidr.kernels.points import gaussian_blend as blending
from tidr.kernels.points import gaussian_project as projection
from tidr.kernels.points import gaussian_project_adjoint as adjoint
from tidr.kernels.points import tile_lists
from tidr.kernels.reduce import split
from tidr.scene.camera import Camera
from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Scene

from .background import before_environment, constant_color
from .points_gaussian_looks import Cloud, colors, normals, to_object
from .rays import Rays
from .splat_lists import SplatLists
from .splat_statistics import SplatStatistics
from .volume_compose import before, expected, unit

if TYPE_CHECKING:
    from .points import PointRenderer

FAINTEST = 1e-37  # an opacity that 32 bits still hold
LEAST = 1e-20  # what is left behind a pixel that has no end


@dataclass(frozen=True)
class Blended:
    """Sums of weight * feature [pixels, C], and alpha [pixels, 1]."""

    sums: Array
    alpha: Array


class Gaussian3d:
    """One render of all Gaussians of a scene; what lies over which pixels is found once, a feature blended when asked.

    Rows of splats and features: the Gaussians of all nodes one after another, `per_view` of them, for every view.
    """

    def __init__(
        self, settings: PointRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        self.settings, self.scene, self.cameras = settings, scene, cameras
        self.views, self.width, self.height = len(cameras), width, height
        self.clouds: list[Cloud] = []
        start = 0
        for node in scene.nodes.values():
            if isinstance(node.geometry, Gaussians):
                table = to_object(scene, node, cameras, width, height)
                self.clouds.append(Cloud(node, node.geometry, table, start))
                start += node.geometry.count
        self.per_view, self.items = start, start * self.views
        encodings = {cloud.gaussians.encoding for cloud in self.clouds}
        if len(encodings) > 1:
            where = f"nodes {', '.join(cloud.node.name for cloud in self.clouds)}"
            raise SceneError(where, "hold Gaussians of both encodings", "give linear ones, or only sRGB ones")
        self.encoded = encodings == {"srgb"}
        self.skip_log = float(np.log(max(settings.alpha_skip, FAINTEST)))
        self.splats, self.depths = Array((self.items, 6)), Array((self.items, 1))
        self.box = Buffer((4 * self.items,), "int")
        for cloud in self.clouds:
            self._project(cloud)
        with unrecorded():
            self.lists = SplatLists(self.items, self.views, height, width, self.box, self.depths, blending.TILE)
            by_slot, self.mask = (Buffer((self.lists.capacity,), "int") for _ in range(2))
            seen = (self.items, self.box.ndarray, self.lists.first)
            blending.masks(*seen, self.splats.value, *self.ends(), by_slot.ndarray)
            tile_lists.arrange(self.lists.count, self.lists.slots, by_slot.ndarray, self.mask.ndarray)
        self._colored: Blended | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        return {
            "rgb": self.rgb,
            "alpha": lambda: self._shaped(self._colors().alpha),
            "depth": self.depth,
            "normal": self.normal,
        }

    def rgb(self) -> Array:
        found, color = self._colors(), constant_color(self.scene)
        if color is not None and self.encoded:
            color = tuple(linear_to_srgb(np.asarray(color, float)).tolist())
        image = found.sums if color is None else before(found.sums, found.alpha, color)
        image = decoded(image) if self.encoded else image

        def rays() -> Rays:
            return Rays.of_cameras(self.cameras, self.width, self.height)

        return self._shaped(before_environment(self.scene, image, lambda: found.alpha, rays))

    def depth(self) -> Array:
        found = self._blend(self.depths)
        return self._shaped(expected(found.sums, found.alpha))

    def normal(self) -> Array:
        return self._shaped(unit(self._blend(self.normals()).sums))

    def colors(self) -> Array:
        """[items, 3]: the radiance of every splat towards its camera."""
        found = self._stored_colors()
        return decoded(found) if self.encoded else found

    def normals(self) -> Array:
        """[items, 3]: the normal of every splat, world, turned to its camera."""
        found = Array((self.items, 3))
        for cloud in self.clouds:
            normals(self.scene, cloud, self.views, self.per_view, found)
        return found

    def _colors(self) -> Blended:
        if self._colored is None:
            self._colored = self._blend(self._stored_colors())
        return self._colored

    def _stored_colors(self) -> Array:
        found = Array((self.items, 3))
        for cloud in self.clouds:
            colors(cloud, self.views, self.per_view, found)
        return found

    def _project(self, cloud: Cloud) -> None:
        """Splats, depths and boxes of a node's Gaussians in all views."""
        gaussians, settings = cloud.gaussians, self.settings
        count, table = gaussians.count, cloud.table
        parameters = [gaussians.means, gaussians.log_scales, gaussians.rotations, gaussians.opacity_logits]
        values = (*(one.value for one in parameters), table.value, settings.dilation)
        where = (count, cloud.start, self.per_view, self.views, self.width, self.height)
        limits = constant([(c.kind == "perspective", c.near, c.far) for c in self.cameras])

        def forward() -> None:
            projection.project(
                *where, limits.value, *values, *self.ends(), self.splats.value, self.depths.value,
                self.box.ndarray, settings.antialiased,
            )  # fmt: skip

        def backward() -> None:
            chunks, wanted = split(count, runtime.on_cpu()), needs(table)
            part = Buffer((chunks.chunks * self.views * 20 if wanted else 1,))
            noted: SplatStatistics | None = gaussians.statistics
            sums = (self.depths.value,) * 3 if noted is None else (noted.gradient_sum, noted.seen, noted.radius)
            adjoint.project_adjoint(
                *chunks, *where, *values, self.box.ndarray, self.splats.grad, self.depths.grad,
                *(one.grad for one in parameters), part.ndarray, *sums, settings.antialiased, wanted,
                noted is not None,
            )  # fmt: skip
            if wanted:
                accumulate.collect(chunks.chunks, self.views, 20, part.ndarray, table.grad)

        outputs = [self.splats, self.depths]
        run(Operation(forward, backward, [*parameters, table], outputs, "project Gaussians"))

    def _blend(self, features: Array) -> Blended:
        """Blend features [items, C] of the splats."""
        pixels, channels = self.views * self.height * self.width, features.channels
        sums, alpha = Array((pixels, channels)), Array((pixels, 1))
        settings, lists = self.settings, self.lists
        on_cpu, quick = runtime.on_cpu(), self.quick
        size = (*self._tiles(), self.height, self.width)
        limits = (*self.ends(), settings.alpha_max, self.stop)
        drawn = (self.splats.value, features.value, *limits, sums.value, alpha.value)

        def forward() -> None:
            turns = accumulate.SPREAD if on_cpu else blending.BLOCKS
            seen = (lists.start, lists.entries, self.mask.ndarray)
            blending.blend(*size, *seen, *drawn, channels, quick, turns)

        def backward() -> None:
            records = Buffer((lists.capacity * (blending.MOMENTS + channels),))
            seen = (lists.start, lists.entries, lists.slots, self.mask.ndarray)
            given = (sums.grad, alpha.grad, records.ndarray, channels, quick)
            step = blending.BLOCKS if on_cpu else 1  # on a GPU one block of every tile at a time
            for block in range(0, blending.BLOCKS, step):
                turns = accumulate.SPREAD if on_cpu else 1
                blending.blend_adjoint(block, block + step, *size, *seen, *drawn, *given, turns)
            blending.gather(
                self.items, self.box.ndarray, lists.first, records.ndarray, self.splats.value, self.splats.grad,
                features.grad, channels,
            )  # fmt: skip

        run(Operation(forward, backward, [self.splats, features], [sums, alpha], "blend Gaussians"))
        return Blended(sums, alpha)

    @property
    def quick(self) -> bool:
        """Whether the kernels take the quick exponential."""
        return runtime.on_cpu() and runtime.current().precision == 32

    @property
    def stop(self) -> float:
        """A pixel ends before the splat that would leave less of what is behind."""
        return max(self.settings.transmittance_stop, LEAST)

    def _tiles(self) -> tuple[int, int, int]:
        return self.lists.tiles, self.lists.tiles_x, self.lists.tiles_y

    def ends(self) -> tuple[float, float]:
        """Logarithm of the opacity, and squared number of standard deviations, at which a splat ends."""
        return self.skip_log, self.settings.sigmas**2

    def _shaped(self, array: Array) -> Array:
        array.shape = (self.views, self.height, self.width, array.channels)
        return array


def decoded(encoded: Array) -> Array:
    """Linear values of sRGB ones."""
    linear, size = Array(encoded.shape), (encoded.rows, encoded.channels)

    def forward() -> None:
        srgb.decode(*size, encoded.value, linear.value)

    def backward() -> None:
        srgb.decode_adjoint(*size, encoded.value, linear.grad, encoded.grad)

    run(Operation(forward, backward, [encoded], [linear], "sRGB decoding"))
    return linear
