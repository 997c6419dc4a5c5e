"""What all splats of a point cloud have in common: its points in the cameras, background, channels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tidr.array import Array
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .background import before_environment, constant_color
from .points_geometry import Points, project
from .views import Views
from .volume_compose import before, expected

if TYPE_CHECKING:
    from .points import PointRenderer

TILES = (4, 8, 16)  # sides in pixels


@dataclass(frozen=True)
class Blended:
    """Sums of weight * feature [pixels, C]; alpha, and how much of what is behind is hidden [pixels, 1]."""

    sums: Array
    alpha: Array
    cover: Array


class PlainSplat(ABC):
    """One render of all point clouds of a scene; what lies over which pixels is found once.

    Rows of spots and features: the points of all nodes one after another, for every view.
    """

    def __init__(
        self, settings: PointRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        self.settings, self.scene, self.width, self.height = settings, scene, width, height
        self.views = Views(cameras, width, height)
        self.points = Points(scene)
        self.spots = project(self.points, self.views)
        self.count, self.items = self.points.count, self.views.count * self.points.count
        self.pixels = self.views.count * height * width
        self._colored: Blended | None = None

    @abstractmethod
    def blend(self, features: Array) -> Blended:
        """Blend features [items, C] of the points."""

    def depths(self) -> Blended:
        """Blend the depths of the points."""
        return self.blend(self.spots.depths)

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        return {"rgb": self.rgb, "alpha": lambda: self._shaped(self._colors().alpha), "depth": self.depth}

    def rgb(self) -> Array:
        found, color = self._colors(), constant_color(self.scene)
        image = found.sums if color is None else before(found.sums, found.cover, color)
        return self._shaped(before_environment(self.scene, image, lambda: found.cover, self.views.rays))

    def depth(self) -> Array:
        found = self.depths()
        return self._shaped(expected(found.sums, found.cover))

    def _colors(self) -> Blended:
        self._colored = self._colored or self.blend(self.points.colors(self.views))
        return self._colored

    def _shaped(self, array: Array) -> Array:
        array.shape = (self.views.count, self.height, self.width, array.channels)
        return array


def tile_for(reach: np.ndarray | float) -> int:
    """Side of the tiles for points of these reaches in pixels: small for small points, whose lists are then short."""
    drawn = np.asarray(reach, np.float64).reshape(-1)
    drawn = drawn[drawn >= 0]
    mean = float(np.sqrt(np.mean(np.minimum(drawn, 1e4) ** 2))) if len(drawn) else 0.0
    return TILES[0] if mean <= 4 else TILES[1] if mean <= 16 else TILES[2]
