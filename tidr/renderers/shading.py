"""Shading of found surfaces: fills the interaction buffer, lights it, and carries the gradient back.

What was found is a `Surface`: triangles behind pixels (mesh_surface.py) or points with normals (point_surface.py).
The buffer is one per process and is filled again in the backward pass if another render has used it in between.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels.raster import surface as kernels
from tidr.kernels.shading import brdf, lights, shade
from tidr.kernels.shading.buffer import fill_constant, fill_constant_adjoint, interaction_buffer
from tidr.parameter import Parameter
from tidr.scene.graph import Scene
from tidr.scene.light import AmbientLight, DirectionalLight, EnvironmentLight, LocalLight, PointLight
from tidr.scene.material import MATERIAL_TYPES, Material, Slot
from tidr.scene.texture import Texture

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
    def of(cls, light: LocalLight) -> LightSource:
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


class Surface(ABC):
    """Found points that fill the buffer's first `count` entries; arrays over them have `capacity` rows.

    materials: names, indexed by the column `material`; an unknown name means `default`. inputs: arrays that position,
    normal and view are made of; color_inputs: those that only colours depend on.
    """

    count: int
    capacity: int
    materials: Sequence[str]
    default: Material
    inputs: list[Array]
    color_inputs: list[Array]

    def buffer(self):
        return interaction_buffer(runtime.real(), max(self.count, 1), runtime.generation())

    @abstractmethod
    def fill(self) -> None:
        """Write the columns position, normal, view and material, and set `filled_by` to None."""

    @abstractmethod
    def scatter(self) -> None:
        """From the columns' gradients to the inputs'."""

    @abstractmethod
    def fill_uv(self, footprint: bool) -> None:
        """Write the column uv, with `footprint` also uv_dx and uv_dy."""

    @abstractmethod
    def scatter_uv(self, footprint: bool) -> None:
        """From the gradients of the columns that `fill_uv` wrote."""

    @abstractmethod
    def fill_colors(self, index: int, slot: str) -> None:
        """Write the surface's own colours into a column, for the entries of one material."""

    @abstractmethod
    def scatter_colors(self, index: int, slot: str) -> None:
        """From the gradient of the column that `fill_colors` wrote."""


def unit_normals(surface: Surface) -> Array:
    """[n, 3] unit shading normal (world, on the viewer's side) of every entry."""
    out = Array((surface.capacity, 3))

    def forward() -> None:
        surface.fill()
        kernels.unit_normals(surface.count, surface.buffer().normal, out.value)

    def backward() -> None:
        surface.fill()
        surface.buffer().clear_grads(surface.count)
        kernels.unit_normals_adjoint(surface.count, surface.buffer().normal, out.grad)
        surface.scatter()

    run(Operation(forward, backward, surface.inputs, [out], "normals"))
    return out


class Shading:
    """Colours of a surface under the scene's lights and materials; an environment light does not shine on it."""

    def __init__(self, scene: Scene, surface: Surface) -> None:
        self.surface = surface
        self.materials: list[Material] = [scene.materials.get(name, surface.default) for name in surface.materials]
        types = sorted({material.type for material in self.materials})
        self.families = list(enumerate(types))
        self.family_of_material = _uploaded(
            runtime.generation(), tuple(types.index(material.type) for material in self.materials)
        )
        shining = [light for light in scene.lights.values() if not isinstance(light, EnvironmentLight)]
        self.lights = [LightSource.of(light) for light in shining]
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
        surface = self.surface
        out = Array((surface.capacity, 3))
        inputs: list[Array] = [*surface.inputs, *surface.color_inputs]
        inputs += [parameter for material in self.materials for parameter in material.parameters().values()]
        for light in self.lights:
            inputs += [light.value] if light.geometry is None else [light.geometry, light.value]

        def forward() -> None:
            buffer = self._fill()
            buffer.clear_color(surface.count)
            for light in self.lights:
                self._shine(light)
            kernels.color_to_array(surface.count, buffer.color, out.value)

        def backward() -> None:
            buffer = surface.buffer()
            if buffer.filled_by is not self._token:
                self._fill()
            buffer.clear_grads(surface.count)
            kernels.array_to_color_grad(surface.count, out.grad, buffer.color)
            for light in reversed(self.lights):
                self._shine_adjoint(light)
            self._slots_adjoint()
            surface.scatter()

        run(Operation(forward, backward, inputs, [out], "shade"))
        return out

    def _fill(self):
        buffer = self.surface.buffer()
        self.surface.fill()
        if self.textures:
            self.surface.fill_uv(self.trilinear)
        for lookup in self.textures.values():
            lookup.build()
        for index, material in enumerate(self.materials):
            for slot, source in material.sources.items():
                self._fill_slot(index, slot, source)
        buffer.filled_by = self._token
        return buffer

    def _fill_slot(self, index: int, slot: str, source) -> None:
        buffer, count = self.surface.buffer(), self.surface.count
        if isinstance(source, Texture):
            self.textures[id(source)].sample(buffer, slot, count, index)
        elif isinstance(source, Parameter):
            fill_constant(buffer, slot, count, index, source.value)
        else:
            self.surface.fill_colors(index, slot)

    def _shine(self, light: LightSource) -> None:
        count, buffer = self.surface.count, self.surface.buffer()
        geometry = None if light.geometry is None else light.geometry.value
        lights.gather_light(buffer, count, light.kind, geometry, light.value.value)
        for family, name in self.families:
            shade.shade_kernel(*FAMILIES[name])(buffer, count, self.family_of_material.ndarray, family, light.kind)

    def _shine_adjoint(self, light: LightSource) -> None:
        count, buffer = self.surface.count, self.surface.buffer()
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
        buffer, count = self.surface.buffer(), self.surface.count
        for lookup in self.textures.values():
            lookup.clear()
        for index, material in enumerate(self.materials):
            for slot, source in material.sources.items():
                if isinstance(source, Texture):
                    self.textures[id(source)].sample_adjoint(buffer, slot, count, index)
                elif isinstance(source, Parameter):
                    if needs(source):
                        fill_constant_adjoint(buffer, slot, count, index, source.grad, self.scratch.ndarray)
                else:
                    self.surface.scatter_colors(index, slot)
        for lookup in self.textures.values():
            lookup.collect()
        if self.textures:
            self.surface.scatter_uv(self.trilinear)
