"""The meshes of a hybrid picture: one layer with its alpha and its depth, by the rasterizer and its edge treatment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidr.array import Array
from tidr.fitting.tape import Operation, run
from tidr.kernels.hybrid import layers as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .edges_soft import SoftFrame
from .entries import depths
from .mesh_surface import MeshSurface
from .raster import HardFrame, frame_of
from .shading import Shading, unit_normals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .raster import Rasterizer


class MeshLayer:
    """What the rasterizer finds, and layers [n, 5] made of it: a look and a depth times alpha, (x, y, z, alpha, depth).

    alpha is the share of the pixel that the meshes cover: of a hard frame 0 or 1 before its silhouettes are smoothed,
    of a soft one all but the background's weight.
    """

    def __init__(self, settings: Rasterizer, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> None:
        self.scene = scene
        self.frame: HardFrame | SoftFrame = frame_of(settings, scene, cameras, width, height)

    def layer(self, look: str) -> Array:
        """The layer of "color", shaded, or of "normal"."""
        frame = self.frame
        surface = MeshSurface(*((frame.entries, frame.bary) if isinstance(frame, SoftFrame) else frame.shaded))
        values = Shading(self.scene, surface).colors() if look == "color" else unit_normals(surface)
        found = beside(values, depths(frame.entries, surface.bary), covering=True)
        image = frame.to_pixels(found)
        return image if isinstance(frame, SoftFrame) else frame.smoothed(image)


def beside(color: Array, depth: Array, covering: bool) -> Array:
    """[n, 4]: three columns and the depth; with `covering` [n, 5], a 1 before the depth."""
    rows, out = color.rows, Array((color.rows, 5 if covering else 4))

    def forward() -> None:
        kernels.columns(rows, color.value, depth.value, out.value, covering)

    def backward() -> None:
        kernels.columns_adjoint(rows, out.grad, color.grad, depth.grad, covering)

    run(Operation(forward, backward, [color, depth], [out], "columns"))
    return out
