"""Rasterize, then splat (Cole et al. 2021), as operations on the tape.

Barycentrics of the samples have no gradient: a sample stands for a point of the surface, which moves on the screen as
its triangle does and takes its colour along.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.raster import splat as kernels
from tidr.scene.graph import Scene

from . import background, geometry, mesh_colors
from .edges_soft import SoftFrame
from .entries import Entries, barycentrics, collect
from .views import Views

if TYPE_CHECKING:
    from .raster import Rasterizer


class SplatFrame(SoftFrame):
    """The nearest triangles of every pixel, as many as there are layers, and what their splats make of them."""

    def __init__(self, settings: Rasterizer, scene: Scene, world: geometry.World, views: Views, screen: Array) -> None:
        layers = settings.faces_per_pixel or 1
        super().__init__(replace(settings, distance="hard", faces_per_pixel=layers), scene, world, views, screen)

    @cached_property
    def _shown(self) -> tuple[Entries, Buffer, Buffer]:
        return self.near, self.near_start, self.side

    @cached_property
    def bary(self) -> Array:
        """[n, 3], on no way to the screen."""
        screen = Array(self.entries.screen.shape)
        with unrecorded():
            accumulate.copy_rows(screen.rows, 4, self.entries.screen.value, screen.value, 0)
        return barycentrics(replace(self.entries, screen=screen))

    @cached_property
    def places(self) -> Array:
        """[n, 2] column and row of every sample."""
        return places(self.entries, self.bary)

    def rgb(self) -> Array:
        colors = mesh_colors.colors(self.settings, self.scene, self.entries, self.bary)
        image = self.to_pixels(colors, background.constant_color(self.scene))
        return background.before_environment(self.scene, image, self.alpha, self.views.rays)

    def alpha(self) -> Array:
        ones = Array((self.entries.capacity, 1))
        with unrecorded():
            ones.value.fill(1.0)
        return self.to_pixels(ones)

    def to_pixels(self, values: Array, background=None) -> Array:
        """[B, H, W, C] of the splats of values [n, C]; `background` (zeros when None) behind."""
        return splatted(self, values, self.places, background)


def places(entries: Entries, bary: Array) -> Array:
    """[n, 2] where the surface's points of fixed barycentrics [n, 3] are seen, in pixels."""
    out, screen, vertices = Array((entries.capacity, 2)), entries.screen, entries.world.positions.rows
    where = (entries.place.ndarray, entries.face.ndarray, entries.world.pack.triangles, screen.value, bary.value)

    def forward() -> None:
        kernels.places(entries.count, vertices, *where, out.value)

    def backward() -> None:
        part = entries.scatter_target(screen.rows, 4)
        kernels.places_adjoint(
            runtime.chunks(), screen.rows, entries.count, vertices, *where, out.grad, part.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, screen)

    run(Operation(forward, backward, [screen], [out], "splat places"))
    return out


def splatted(frame: SplatFrame, values: Array, places: Array, background=None) -> Array:
    """[B, H, W, C] of the splats of values [n, C] at `places` [n, 2]."""
    views, depth = frame.views, frame.depths
    out = Array((views.count, views.height, views.width, values.channels))
    behind = constant([(0.0,) * values.channels if background is None else background])
    totals = Buffer((frame.pixels, 3))
    shape = (frame.pixels, views.height, views.width, frame.limit, values.channels, views.table.value)
    samples = (frame.pixel_start.ndarray, depth.value, places.value, values.value)

    def forward() -> None:
        kernels.splat(*shape, *samples, behind.value, totals.ndarray, out.value)

    def backward() -> None:
        grad_totals = Buffer((frame.pixels, 3))
        kernels.totals_adjoint(*shape, *samples, behind.value, totals.ndarray, out.grad, grad_totals.ndarray)
        kernels.splat_adjoint(
            *shape, *samples, totals.ndarray, out.grad, grad_totals.ndarray, places.grad, values.grad
        )  # fmt: skip

    run(Operation(forward, backward, [values, places], [out], "splat"))
    return out
