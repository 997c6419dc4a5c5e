"""Shading of found surfaces: fills the interaction buffer, lights it, and carries the gradient back.

The buffer is one per process and is filled again in the backward pass if another render has used it in between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.raster import footprint as footprint_kernels
from tidr.kernels.raster import surface as kernels
from tidr.kernels.shading import brdf, lights, shade
from tidr.kernels.shading.buffer import fill_constant, fill_constant_adjoint, interaction_buffer
from tidr.parameter import Parameter
from tidr.scene.graph import Scene
from tidr.scene.light import AmbientLight, DirectionalLight, Light, PointLight
from tidr.scene.material import MATERIAL_TYPES, Material, Slot
from tidr.scene.texture import Texture

from .entries import Entries, collect
from .texturing import TextureLookup

FAMILIES: dict[str, tuple[Callable, Callable]] = {
    "lambert": (brdf.lambert, brdf.ambient_diffuse),
    "phong": (brdf.phong, brdf.ambient_diffuse),
    "blinn_phong": (brdf.blinn_phong, brdf.ambient_diffuse),
    "metallic_roughness": (brdf.metallic_roughness, brdf.ambient_metallic_roughness),
}


def register_material(name: str, slots: dict[str, Slot], ambient: Callable = brdf.ambient_diffuse):
    """Decorator for a `ti.func` brdf(normal, view, light, albedo, specular, roughness, metallic, shininess) -> [3].

    Makes it a material type; its gradient is Taichi's. `slots` names which of the five inputs it uses, with defaults.
    The body must be straight-line code (no loops that carry a value).
    """

    def register(function):
        unknown = set(slots) - {"albedo", "specular", "roughness", "metallic", "shininess"}
        if unknown:
            raise SceneError(f"material {name!r}", f"unknown slots {sorted(unknown)}")
        MATERIAL_TYPES[name], FAMILIES[name] = slots, (function, ambient)
        return function

    return register


@dataclass(frozen=True)
class LightSource:
    """A light as the kernels take it: its kind, geometry (direction or position; None) and value."""

    kind: int
    geometry: Parameter | None
    value: Parameter

    @classmethod
    def of(cls, light: Light) -> LightSource:
        if isinstance(light, AmbientLight):
            return cls(shade.AMBIENT, None, light.radiance)
        if isinstance(light, DirectionalLight):
            return cls(shade.DIRECTIONAL, light.direction, light.irradiance)
        assert isinstance(light, PointLight)
        return cls(shade.POINT, light.position, light.intensity)


@functools.lru_cache(maxsize=64)
def _uploaded(generation: int, numbers: tuple[int, ...]) -> Buffer:
    """Integers on the device, shared by all renders that use the same ones."""
    buffer = Buffer((len(numbers),), "int")
    buffer.ndarray.from_numpy(np.array(numbers, np.int32))
    return buffer


class Surface:
    """Geometry columns of the interaction buffer for some entries: position, normal, view, material."""

    def __init__(self, entries: Entries, bary: Array) -> None:
        self.entries, self.bary = entries, bary
        world, views = entries.world, entries.views
        self.inputs = [bary, world.positions, world.normals, views.eye]

    def buffer(self):
        return interaction_buffer(runtime.real(), max(self.entries.count, 1), runtime.generation())

    def fill(self) -> None:
        entries, world, views, buffer = self.entries, self.entries.world, self.entries.views, self.buffer()
        kernels.surface(
            entries.count, entries.place.ndarray, entries.face.ndarray,
            world.pack.triangles, world.positions.value, world.pack.normal_corners, world.normals.value,
            views.eye.value, world.pack.face_material, self.bary.value, buffer.position, buffer.normal, buffer.view,
            buffer.material,
        )  # fmt: skip
        buffer.filled_by = None

    def scatter(self) -> None:
        """From the columns' gradients to barycentrics, positions, normals and eye."""
        entries, world, views, buffer = self.entries, self.entries.world, self.entries.views, self.buffer()
        if needs(self.bary) or needs(world.positions) or needs(world.normals):
            to_positions = entries.scatter_target(world.positions.rows, 3)
            to_normals = entries.scatter_target(world.normals.rows, 3)
            kernels.surface_adjoint(
                runtime.chunks(), world.positions.rows, world.normals.rows, entries.count,
                entries.place.ndarray, entries.face.ndarray,
                world.pack.triangles, world.positions.value, world.pack.normal_corners, world.normals.value,
                views.eye.value, self.bary.value, buffer.position, buffer.normal, buffer.view, self.bary.grad,
                to_positions.ndarray, to_normals.ndarray, not runtime.on_cpu(),
            )  # fmt: skip
            collect(to_positions, world.positions)
            collect(to_normals, world.normals)
        if needs(views.eye):
            chunks = runtime.reduction_chunks()
            part = entries.scatter_target(views.count, 4, chunks)
            kernels.eye_adjoint(
                chunks, views.count, entries.count, entries.place.ndarray, buffer.position, buffer.view,
                part.ndarray,
                runtime.chunk_block(),
            )  # fmt: skip
            accumulate.collect(chunks, views.count, 4, part.ndarray, views.eye.grad)


def unit_normals(entries: Entries, bary: Array) -> Array:
    """[n, 3] unit shading normal (world, on the viewer's side) of every entry."""
    surface, out = Surface(entries, bary), Array((entries.capacity, 3))

    def forward() -> None:
        surface.fill()
        kernels.unit_normals(entries.count, surface.buffer().normal, out.value)

    def backward() -> None:
        surface.fill()
        surface.buffer().clear_grads(entries.count)
        kernels.unit_normals_adjoint(entries.count, surface.buffer().normal, out.grad)
        surface.scatter()

    run(Operation(forward, backward, surface.inputs, [out], "normals"))
    return out


class Shading:
    """Colours of entries under the scene's lights and materials."""

    def __init__(self, scene: Scene, entries: Entries, bary: Array) -> None:
        self.entries, self.bary, self.surface = entries, bary, Surface(entries, bary)
        names = entries.world.pack.materials
        default = Material("lambert")
        self.materials: list[Material] = [scene.materials.get(name, default) for name in names]
        types = sorted({material.type for material in self.materials})
        self.families = list(enumerate(types))
        self.family_of_material = _uploaded(
            runtime.generation(), tuple(types.index(material.type) for material in self.materials)
        )
        self.lights = [LightSource.of(light) for light in scene.lights.values()]
        self.textures: dict[int, TextureLookup] = {}
        for material in self.materials:
            for source in material.sources.values():
                if isinstance(source, Texture) and id(source) not in self.textures:
                    self.textures[id(source)] = TextureLookup(source)
        self.trilinear = any(lookup.trilinear for lookup in self.textures.values())
        self.scratch = Buffer((runtime.reduction_chunks(), 8))
        self._token = object()

    def colors(self) -> Array:
        """[n, 3] radiance of every entry towards the camera."""
        out = Array((self.entries.capacity, 3))
        world = self.entries.world
        inputs: list[Array] = [*self.surface.inputs, world.uvs, self.entries.screen]
        inputs += [world.colors] if world.colors is not None else []
        inputs += [parameter for material in self.materials for parameter in material.parameters().values()]
        for light in self.lights:
            inputs += [light.value] if light.geometry is None else [light.geometry, light.value]

        def forward() -> None:
            buffer = self._fill()
            buffer.clear_color(self.entries.count)
            for light in self.lights:
                self._shine(light)
            kernels.color_to_array(self.entries.count, buffer.color, out.value)

        def backward() -> None:
            buffer = self.surface.buffer()
            if buffer.filled_by is not self._token:
                self._fill()
            buffer.clear_grads(self.entries.count)
            kernels.array_to_color_grad(self.entries.count, out.grad, buffer.color)
            for light in reversed(self.lights):
                self._shine_adjoint(light)
            self._slots_adjoint()
            self.surface.scatter()

        run(Operation(forward, backward, inputs, [out], "shade"))
        return out

    def _fill(self):
        entries, world, buffer = self.entries, self.entries.world, self.surface.buffer()
        self.surface.fill()
        if self.textures:
            kernels.attribute_to_column(
                entries.count, -1, entries.face.ndarray, world.pack.uv_corners, world.uvs.value, self.bary.value,
                buffer.material, buffer.uv, 2,
            )  # fmt: skip
        if self.trilinear:
            self._footprints()
        for lookup in self.textures.values():
            lookup.build()
        for index, material in enumerate(self.materials):
            for slot, source in material.sources.items():
                self._fill_slot(index, slot, source)
        buffer.filled_by = self._token
        return buffer

    def _fill_slot(self, index: int, slot: str, source) -> None:
        entries, world, buffer = self.entries, self.entries.world, self.surface.buffer()
        if isinstance(source, Texture):
            self.textures[id(source)].sample(buffer, slot, entries.count, index)
        elif isinstance(source, Parameter):
            fill_constant(buffer, slot, entries.count, index, source.value)
        else:
            if world.colors is None:
                name = world.pack.materials[index]
                raise SceneError(f"materials.{name}.{slot}", 'is "vertex_colors" but no mesh has colours')
            kernels.attribute_to_column(
                entries.count, index, entries.face.ndarray, world.pack.triangles, world.colors.value, self.bary.value,
                buffer.material, getattr(buffer, slot), 3,
            )  # fmt: skip

    def _shine(self, light: LightSource) -> None:
        count, buffer = self.entries.count, self.surface.buffer()
        geometry = None if light.geometry is None else light.geometry.value
        lights.gather_light(buffer, count, light.kind, geometry, light.value.value)
        for family, name in self.families:
            shade.shade_kernel(*FAMILIES[name])(buffer, count, self.family_of_material.ndarray, family, light.kind)

    def _shine_adjoint(self, light: LightSource) -> None:
        count, buffer = self.entries.count, self.surface.buffer()
        geometry = light.geometry
        lights.gather_light(buffer, count, light.kind, None if geometry is None else geometry.value, light.value.value)
        for family, name in self.families:
            kernel = shade.shade_kernel(*FAMILIES[name])
            kernel.grad(buffer, count, self.family_of_material.ndarray, family, light.kind)
        lights.gather_light_adjoint(
            buffer, count, light.kind, None if geometry is None else geometry.value,
            None if geometry is None else geometry.grad, light.value.grad, self.scratch.ndarray,
        )  # fmt: skip

    def _slots_adjoint(self) -> None:
        entries, world, buffer = self.entries, self.entries.world, self.surface.buffer()
        for lookup in self.textures.values():
            lookup.clear()
        for index, material in enumerate(self.materials):
            for slot, source in material.sources.items():
                if isinstance(source, Texture):
                    self.textures[id(source)].sample_adjoint(buffer, slot, entries.count, index)
                elif isinstance(source, Parameter):
                    if needs(source):
                        fill_constant_adjoint(buffer, slot, entries.count, index, source.grad, self.scratch.ndarray)
                elif world.colors is not None:
                    self._interpolated_adjoint(index, world.pack.triangles, world.colors, slot, 3)
        for lookup in self.textures.values():
            lookup.collect()
        if self.textures:
            self._interpolated_adjoint(-1, world.pack.uv_corners, world.uvs, "uv", 2)
        if self.trilinear:
            self._footprints_adjoint()

    def _interpolated_adjoint(self, index: int, corners, attribute: Array, column: str, channels: int) -> None:
        entries, buffer = self.entries, self.surface.buffer()
        part = entries.scatter_target(attribute.rows, channels)
        kernels.attribute_to_column_adjoint(
            runtime.chunks(), attribute.rows, entries.count, index, entries.face.ndarray, corners, attribute.value,
            self.bary.value,
            buffer.material, getattr(buffer, column), channels, self.bary.grad, part.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, attribute)

    def _footprints(self) -> None:
        entries, world, buffer = self.entries, self.entries.world, self.surface.buffer()
        scratch = Buffer((entries.capacity, 4))
        footprint_kernels.footprint(
            entries.count, world.positions.rows, entries.place.ndarray,
            entries.face.ndarray, world.pack.triangles, entries.screen.value, world.pack.uv_corners, world.uvs.value,
            scratch.ndarray,
        )  # fmt: skip
        kernels.footprint_to_columns(entries.count, scratch.ndarray, buffer.uv_dx, buffer.uv_dy)

    def _footprints_adjoint(self) -> None:
        entries, world, buffer = self.entries, self.entries.world, self.surface.buffer()
        scratch = Buffer((entries.capacity, 4))
        kernels.columns_to_footprint(entries.count, buffer.uv_dx, buffer.uv_dy, scratch.ndarray)
        to_screen = entries.scatter_target(entries.screen.rows, 4)
        to_uvs = entries.scatter_target(world.uvs.rows, 2)
        footprint_kernels.footprint_adjoint(
            runtime.chunks(), entries.screen.rows, world.uvs.rows, entries.count, world.positions.rows,
            entries.place.ndarray, entries.face.ndarray, world.pack.triangles, entries.screen.value,
            world.pack.uv_corners, world.uvs.value, scratch.ndarray, to_screen.ndarray, to_uvs.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        collect(to_screen, entries.screen)
        collect(to_uvs, world.uvs)
