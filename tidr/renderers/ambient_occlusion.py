"""Screen-space ambient occlusion: how much of the ambient light the entries of a surface see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array, constant
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels.raster import occlusion as kernels
from tidr.scene.graph import Scene
from tidr.scene.light import AmbientLight

from .entries import barycentrics, collect, interpolated
from .mesh_surface import MeshSurface
from .shading import unit_normals
from .visibility import find

if TYPE_CHECKING:
    from .raster import Rasterizer


def ambient_occlusion(settings: Rasterizer, scene: Scene, surface: MeshSurface) -> dict[str, Array]:
    """Light name -> [n, 1] share that every entry of the surface sees, for ambient lights, if the settings want it.

    What hides is what the camera sees: the nearest triangle of every pixel, whatever becomes of silhouettes.
    """
    entries, radius = surface.entries, settings.ambient_occlusion
    names = [name for name, light in scene.lights.items() if isinstance(light, AmbientLight)]
    if radius is None or not names or not entries.world.pack.faces:
        return {}
    views, world = entries.views, entries.world
    with unrecorded():
        found = find(world, views, entries.screen, settings.cull_back)
    corners = world.pack.triangles
    positions = interpolated(entries, surface.bary, world.positions, corners)
    points = interpolated(found.entries, barycentrics(found.entries), world.positions, corners)
    normals, out = unit_normals(surface), Array((surface.capacity, 1))
    spiral = constant(kernels.SPIRAL)
    given = (
        entries.count, radius, views.width, views.height, spiral.value, entries.place.ndarray,
        found.pixel_entry.ndarray, views.projection.value, positions.value, normals.value, points.value, out.value,
    )  # fmt: skip

    def forward() -> None:
        kernels.occlusion(*given)

    def backward() -> None:
        part = found.entries.scatter_target(points.rows, 3)
        kernels.occlusion_adjoint(
            runtime.chunks(), points.rows, *given, out.grad, positions.grad, normals.grad, part.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, points)

    run(Operation(forward, backward, [positions, normals, points], [out], "ambient occlusion"))
    return dict.fromkeys(names, out)
