"""Splats "pixel", "gaussian" and "knn": points as discs of the screen. See kernels/points/point_blend.py.

"pixel": the nearest point whose place lies in the pixel, of equal depths the one of the lower number. Lin, Kong and
Lucey 2018, "Learning Efficient Point Cloud Generation for Dense 3D Object Reconstruction", draw at U times the
resolution and keep the largest inverse depth of each U x U block, so that points written in parallel do not collide;
what a pixel ends with is the nearest of its points for every U, which is what is drawn here at once.

"gaussian": truncated Gaussians without occlusion (Roveri et al. 2018, Navaneet et al. 2019 "CAPNet").

"knn": the K nearest in depth of the points within a radius (Wiles et al. 2020 "SynSin", and PyTorch3D); weighed by a
softmax over depth it is that of Li et al. 2020, "End-to-End Learning Local Multi-view Descriptors for 3D Point Clouds".

Gradients are exact for the picture where it is smooth. They reach positions, radii (where they give the reach),
colours, normals (of lit points), opacities, the nodes' transforms, pose and intrinsics of the cameras. What this does
not differentiate: the order of depth; which are the K nearest; the end of a Gaussian at 3 standard deviations; an
opacity cut at 0.9999. With "pixel" the picture changes with a point's position only through its depth and its shading:
which pixel it lies in, and which point is the nearest, are not differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.accumulate import SPREAD
from tidr.kernels.points import point_blend as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .points_plain import Blended, PlainSplat, tile_for
from .splat_lists import SplatLists

if TYPE_CHECKING:
    from .points import PointRenderer

UNLIMITED = 2**31 - 1
FALLOFFS = {"synsin": kernels.SYNSIN, "pytorch3d": kernels.PYTORCH3D}
MODES = {
    "alpha": kernels.ALPHA,
    "weighted_sum": kernels.SUM,
    "normalised": kernels.NORMALISED,
    "softmax": kernels.SOFTMAX,
}


@dataclass(frozen=True)
class Rule:
    """How a point counts: its kind and reach in pixels (constant + factor * projected radius), and how pixels blend."""

    kind: int
    mode: int
    constant: float = 0.0
    factor: float = 0.0
    limit: int = UNLIMITED


def rule_of(settings: PointRenderer, splat: str) -> Rule:
    """The rule of one of the three splats."""
    if splat == "pixel":
        return Rule(kernels.PIXEL, kernels.SUM, limit=1)
    if splat == "gaussian":
        mode = kernels.COVERAGE if settings.compositing == "alpha" else kernels.NORMALISED
        sigma = settings.sigma_pixels
        return Rule(kernels.GAUSSIAN, mode, 3 * sigma, 0.0 if sigma else 3.0)
    mode = MODES["alpha" if settings.compositing == "auto" else settings.compositing]
    radius = settings.radius_pixels
    return Rule(FALLOFFS[settings.falloff], mode, radius, 0.0 if radius else 1.0, settings.points_per_pixel)


class DiscSplat(PlainSplat):
    """One render by a rule."""

    splat = ""

    def __init__(
        self, settings: PointRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        super().__init__(settings, scene, cameras, width, height)
        rule = self.rule = rule_of(settings, self.splat)
        box, reach = Buffer((4 * self.items,), "int"), self.spots.reach
        with unrecorded():
            shapes = (self.spots.places.value, reach.value, rule.constant, rule.factor)
            kernels.boxes(self.items, height, width, *shapes, box.ndarray, rule.kind)
            tile = tile_for(rule.factor * reach.numpy() if rule.factor else rule.constant)
            self.lists = SplatLists(self.items, self.views.count, height, width, box, self.spots.depths, tile)

    def blend(self, features: Array) -> Blended:
        lists, rule, spots, channels = self.lists, self.rule, self.spots, features.channels
        sums, alpha = Array((self.pixels, channels)), Array((self.pixels, 1))
        weighed = rule.mode in (kernels.NORMALISED, kernels.SOFTMAX)
        cover = Array((self.pixels, 1)) if weighed else alpha
        totals, opacities = Buffer((self.pixels, 2)), self.points.opacities
        size = (self.height, self.width, lists.tile, lists.tiles_x, lists.tiles_y)
        values = tuple(one.value for one in (spots.places, spots.depths, spots.reach, opacities, features))
        shape = (rule.constant, rule.factor, self.settings.tau, 1 / self.settings.gamma, rule.limit)

        def forward() -> None:
            outputs = (sums.value, alpha.value, cover.value, totals.ndarray)
            seen = (lists.start, lists.entries)
            kernels.blend(self.pixels, *size, *seen, *values, *shape, *outputs, rule.kind, rule.mode, channels)

        def backward() -> None:
            length = kernels.HEAD + channels
            records = Buffer((lists.capacity * length,))
            seen = (lists.start, lists.entries, lists.slots)
            grads = (sums.grad, alpha.grad, cover.grad, records.ndarray)
            kernels.blend_adjoint(
                lists.tiles, *size, *seen, *values, *shape, sums.value, alpha.value, totals.ndarray, *grads,
                rule.kind, rule.mode, channels, SPREAD if runtime.on_cpu() else 1,
            )  # fmt: skip
            listed = (lists.tile, lists.box.ndarray, lists.first, records.ndarray)
            kernels.gather(
                self.views.count, self.count, *listed, rule.factor, spots.places.grad, spots.depths.grad,
                spots.reach.grad, opacities.grad, length,
            )  # fmt: skip
            if needs(features):
                kernels.gather_features(self.items, *listed, kernels.HEAD, features.grad, channels)

        inputs = [spots.places, spots.depths, spots.reach, opacities, features]
        outputs = [sums, alpha, cover] if weighed else [sums, alpha]
        run(Operation(forward, backward, inputs, outputs, "blend points"))
        return Blended(sums, alpha, cover)


class Pixel(DiscSplat):
    """The nearest point of each pixel."""

    splat = "pixel"


class Gaussian(DiscSplat):
    """Truncated Gaussians."""

    splat = "gaussian"


class Nearest(DiscSplat):
    """The nearest in depth of the points within a radius."""

    splat = "knn"
