"""Effects on the colours of what the camera sees: light that goes on under surfaces, and reflections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, run
from tidr.kernels.raster import reflection, subsurface
from tidr.kernels.raster import surface as kernels
from tidr.parameter import Parameter, nearest
from tidr.scene.graph import Scene

from .entries import Entries, collect, interpolated
from .geometry import copy_rows
from .mesh_surface import MeshSurface
from .shading import Shading

if TYPE_CHECKING:
    from .raster import Rasterizer

REFLECTING = "metallic_roughness"


def check_effects(settings: Rasterizer) -> None:
    """Raises: SceneError: distances or widths that make no sense, or a renderer that has no use for them."""
    widths = settings.subsurface or {}
    for name, width in widths.items():
        value = np.zeros(width.shape) if isinstance(width, Parameter) else np.asarray(width, np.float64)
        if value.shape != (3,) or not np.isfinite(value).all() or (value < 0).any():
            raise SceneError(f"renderer.subsurface.{name}", f"is {width!r}", "give three widths in world units")
    distance = settings.reflections
    if distance is not None and not 0 < distance < float("inf"):
        raise SceneError("renderer.reflections", f"is {distance}", "give a distance in world units, more than 0")
    if (widths or distance is not None) and (settings.shader != "phong" or settings.edges in ("soft", "splat")):
        what = "go with shader phong, and edges other than soft and splat"
        raise SceneError("renderer.reflections", f"and subsurface {what}", "leave them out, or choose those")


def effects(
    settings: Rasterizer, scene: Scene, entries: Entries, bary: Array, pixel_entry: Buffer, colors: Array
) -> Array:
    """[n, 3] the colours of every entry with the settings' effects, of entries that stand one behind each pixel."""
    if not entries.world.pack.faces:
        return colors
    if settings.subsurface:
        colors = _diffused(settings.subsurface, scene, entries, bary, pixel_entry, colors)
    if settings.reflections is not None:
        mirrors = Mirrors(scene, MeshSurface(entries, bary, settings.normals))
        colors = mirrors.over(colors, settings.reflections, entries, pixel_entry)
    return colors


def _diffused(given, scene: Scene, entries: Entries, bary: Array, pixel_entry: Buffer, colors: Array) -> Array:
    views, world = entries.views, entries.world
    names = world.pack.materials
    for name in given:
        if name not in scene.materials:
            raise SceneError(f"renderer.subsurface.{name}", "no such material", nearest(name, scene.materials))
    widths = Array((len(names), 3))
    rows = {name: width if isinstance(width, Parameter) else constant([width]) for name, width in given.items()}
    copy_rows(widths, [(row, names.index(name)) for name, row in rows.items()])
    positions = interpolated(entries, bary, world.positions, world.pack.triangles)
    out, totals, spiral = Array(colors.shape), Array(colors.shape, False), constant(subsurface.SPIRAL)
    looked_at = (
        entries.count, views.width, views.height, spiral.value, entries.place.ndarray, entries.face.ndarray,
        pixel_entry.ndarray, views.projection.value, world.pack.face_material, widths.value, positions.value,
        colors.value, out.value,
    )  # fmt: skip

    def forward() -> None:
        subsurface.diffuse(*looked_at, totals.value)

    def backward() -> None:
        targets = (colors, positions, widths)
        parts = [entries.scatter_target(target.rows, 3) for target in targets]
        subsurface.diffuse_adjoint(
            runtime.chunks(), colors.rows, len(names), *looked_at, totals.value, out.grad,
            *(part.ndarray for part in parts),
            not runtime.on_cpu(),
        )  # fmt: skip
        for part, target in zip(parts, targets, strict=True):
            collect(part, target)

    run(Operation(forward, backward, [colors, positions, widths], [out], "subsurface"))
    return out


class Mirrors(Shading):
    """What surfaces reflect of what stands in the mirrored direction."""

    def over(self, colors: Array, distance: float, entries: Entries, pixel_entry: Buffer) -> Array:
        """[n, 3] the colours of every entry with those that it reflects."""
        surface, views, out = self.surface, entries.views, Array(colors.shape)
        shape = (surface.capacity, reflection.ENDS)
        ends, weights, shares = Buffer(shape, "int"), Buffer(shape), Array(colors.shape)
        family = [index for index, name in self.families if name == REFLECTING]
        inputs = [*surface.inputs, *surface.color_inputs]
        inputs += [parameter for material in self.materials for parameter in material.parameters().values()]

        def share() -> None:
            buffer = self._fill()
            buffer.clear_color(surface.count)
            for index in family:
                reflection.reflectance(buffer, surface.count, self.family_of_material.ndarray, index)
            kernels.color_to_array(surface.count, buffer.color, shares.value)
            reflection.march(
                buffer, surface.count, distance, views.width, views.height, entries.place.ndarray, pixel_entry.ndarray,
                views.projection.value, shares.value, ends.ndarray, weights.ndarray,
            )  # fmt: skip

        def share_adjoint() -> None:
            buffer = surface.buffer()
            if buffer.filled_by is not self._token:
                self._fill()
            buffer.clear_grads(surface.count)
            kernels.array_to_color_grad(surface.count, shares.grad, buffer.color)
            for index in family:
                reflection.reflectance.grad(buffer, surface.count, self.family_of_material.ndarray, index)
            self._columns_adjoint()

        def forward() -> None:
            reflection.reflect(
                entries.count, ends.ndarray, weights.ndarray, colors.value, shares.value, out.value
            )  # fmt: skip

        def backward() -> None:
            part = entries.scatter_target(colors.rows, 3)
            reflection.reflect_adjoint(
                runtime.chunks(), colors.rows, entries.count, ends.ndarray, weights.ndarray, colors.value,
                shares.value, out.grad, shares.grad, part.ndarray, not runtime.on_cpu(),
            )  # fmt: skip
            collect(part, colors)

        run(Operation(share, share_adjoint, inputs, [shares], "reflectance"))
        run(Operation(forward, backward, [colors, shares], [out], "reflections"))
        return out
