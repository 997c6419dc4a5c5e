"""Shading of found surfaces: fills the interaction buffer, lights it, and carries the gradient back.

What was found is a `Surface`: triangles behind pixels (mesh_surface.py) or points with normals (point_surface.py).
The buffer is one per process and is filled again in the backward pass if another render has used it in between.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from tidr import runtime
from tidr.array import Array, integers
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels.raster import surface as kernels
from tidr.kernels.shading import brdf, lights, shade, visibility
from tidr.kernels.shading.buffer import fill_constant, fill_constant_adjoint, interaction_buffer
from tidr.parameter import Parameter
from tidr.scene.graph import Scene
from tidr.scene.light import (
    AmbientLight,
    DirectionalLight,
    EnvironmentLight,
    FlashLight,
    LocalLight,
    SphericalHarmonicLight,
    SpotLight,
)
from tidr.scene.material import MATERIAL_TYPES, Material, Slot, Source
from tidr.scene.texture import Texture

from .environment_light import EnvironmentSource, HarmonicsSource
from .texturing import TextureLookup

FAMILIES: dict[str, tuple[Callable, Callable]] = {
    "lambert": (brdf.lambert, brdf.ambient_diffuse),
    "phong": (brdf.phong, brdf.ambient_diffuse),
    "blinn_phong": (brdf.blinn_phong, brdf.ambient_diffuse),
    "pytorch3d": (brdf.pytorch3d, brdf.ambient_diffuse),
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
    """A light as the kernels take it: its kind, geometry (direction or position; else None), value, and a spot's cone.

    seen: [n, 1] share of it that every entry sees; None is all.
    """

    kind: int
    geometry: Parameter | None
    value: Parameter
    spot: SpotLight | None = None
    seen: Array | None = None

    @classmethod
    def of(cls, light: LocalLight | FlashLight) -> LightSource:
        if isinstance(light, AmbientLight):
            return cls(shade.AMBIENT, None, light.radiance)
        if isinstance(light, FlashLight):
            return cls(shade.POINT, None, light.intensity)
        if isinstance(light, DirectionalLight):
            return cls(shade.DIRECTIONAL, light.direction, light.irradiance)
        if isinstance(light, SpotLight):
            return cls(shade.POINT, light.position, light.intensity, light)
        return cls(shade.POINT if light.attenuated else shade.UNATTENUATED, light.position, light.intensity)

    def parameters(self) -> list[Array]:
        """All that the light's effect depends on."""
        cone = [] if self.spot is None else [self.spot.direction, self.spot.cutoff, self.spot.falloff]
        return [self.value, *(array for array in (self.geometry, self.seen) if array is not None), *cone]

    def kernel(self, name: str) -> Any:
        """The kernel of a family of materials under this light, its adjoint as `.grad`."""
        return _kernel(name)

    def gather(self, buffer, count: int) -> None:
        """Fill the columns light_vector and light_value."""
        self._gather_all(buffer, count)
        if self.seen is not None:
            visibility.dim(buffer, count, self.seen.value)

    def _gather_all(self, buffer, count: int) -> None:
        geometry = None if self.geometry is None else self.geometry.value
        lights.gather_light(buffer, count, self.kind, geometry, self.value.value)
        if self.spot is not None:
            spot = self.spot
            lights.narrow(buffer, count, spot.direction.value, spot.cutoff.value, spot.falloff.value)

    def gather_adjoint(self, buffer, count: int, part) -> None:
        """From the gradient of both columns to the light's and to the buffer's positions."""
        if self.seen is not None:
            self._gather_all(buffer, count)
            visibility.dim_adjoint(buffer, count, self.seen.value, self.seen.grad)
        if self.spot is not None:
            spot = self.spot
            values = (self.value.value, spot.direction.value, spot.cutoff.value, spot.falloff.value)
            grads = (spot.direction.grad, spot.cutoff.grad, spot.falloff.grad)
            lights.narrow_adjoint(buffer, count, *values, *grads, part)
        geometry, geometry_grad = None, None
        if self.geometry is not None:
            geometry, geometry_grad = self.geometry.value, self.geometry.grad
        lights.gather_light_adjoint(buffer, count, self.kind, geometry, geometry_grad, self.value.grad, part)


COLUMNS = {"emission": "color", "normal": "light_value"}  # where a slot's values stand; others have their own
AnySource = LightSource | EnvironmentSource | HarmonicsSource


def _kernel(name: str) -> Any:
    return shade.shade_kernel(*FAMILIES[name])


def _sources(scene: Scene, families: list[str], seen: Mapping[str, Array]) -> list[AnySource]:
    """The scene's lights as the kernels take them, with the shares of them that every entry sees."""
    found: list[AnySource] = [] if scene.unseen is None else [EnvironmentSource(scene.unseen, families, _kernel)]
    for name, light in scene.lights.items():
        if isinstance(light, EnvironmentLight):
            found.append(EnvironmentSource(light, families, _kernel))
        elif isinstance(light, SphericalHarmonicLight):
            found.append(HarmonicsSource(light, _kernel))
        else:
            found.append(replace(LightSource.of(light), seen=seen.get(name)))
    return found


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

    def bend(self, mapped) -> None:
        """Bend the column normal where the material is `mapped`, int [M], by the normal map's value in light_value.

        Where a surface has no uvs `fill_uv` has refused.
        """
        raise NotImplementedError

    def bend_adjoint(self, mapped) -> None:
        """With the columns as before `bend`: its gradients in those of normal, light_value and of the inputs."""
        raise NotImplementedError

    @abstractmethod
    def darken_back(self, column) -> None:
        """Zero a field of colours where the surface is seen from behind."""


def _local(material: Material) -> list[tuple[str, Source]]:
    """The slots that local shading reads; none of a material that it cannot draw, which nothing seen is made of."""
    if material.type not in FAMILIES:
        return []
    return [(slot, source) for slot, source in material.sources.items() if slot != "opacity"]


def _check_local(name: str, material: Material) -> None:
    where, mend = f"materials.{name}", "choose a renderer that follows light, as path or photons"
    if material.type not in FAMILIES:
        raise SceneError(where, f"{material.type!r} is no material of local shading", mend)
    opacity = material.sources.get("opacity")
    if opacity is not None and not (isinstance(opacity, Parameter) and opacity.host() == 1):
        raise SceneError(f"{where}.opacity", "is not 1, and local shading draws opaque surfaces only", mend)


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
    """Colours of a surface under the scene's lights and materials; environments throw no shadow.

    Emission is added on the front. Nothing else sees it: it lights no other surface. Directional light is parallel,
    whatever its angular diameter. seen: light name -> [n, 1] share of it that every entry sees, all unless named.

    Raises:
        SceneError: a material of the scene's nodes that only light transport draws: another type than those of
            `FAMILIES`, or an opacity other than the number 1.
    """

    def __init__(self, scene: Scene, surface: Surface, seen: Mapping[str, Array] = MappingProxyType({})) -> None:
        self.surface = surface
        self.materials: list[Material] = [scene.materials.get(name, surface.default) for name in surface.materials]
        used = {name for node in scene.nodes.values() for name in node.materials}
        for name, material in zip(surface.materials, self.materials, strict=True):
            if name in used:
                _check_local(name, material)
        types = sorted({material.type for material in self.materials} & FAMILIES.keys())
        self.families = list(enumerate(types))
        self.family_of_material = integers(
            [types.index(material.type) if material.type in types else -1 for material in self.materials]
        )
        self.emits = any("emission" in material.sources for material in self.materials)
        self.lights = _sources(scene, types, seen)
        self.mapped = integers(["normal" in dict(_local(material)) for material in self.materials])
        self.bends = any("normal" in dict(_local(material)) for material in self.materials)
        self.textures: dict[int, TextureLookup] = {}
        for material in self.materials:
            for _, source in _local(material):
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
            inputs += light.parameters()

        def forward() -> None:
            buffer = self._fill()
            buffer.clear_color(surface.count)
            self._emit()
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
            if self.emits:
                surface.darken_back(buffer.color.grad)
            self._columns_adjoint()

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
            for slot, source in _local(material):
                if slot not in ("emission", "normal"):
                    self._fill_column(index, slot, source)
        if self.bends:
            self._read_normals()
            self.surface.bend(self.mapped.ndarray)
        buffer.filled_by = self._token
        return buffer

    def _columns_adjoint(self) -> None:
        """From the gradients of the columns that `_fill` wrote to all that they were made from."""
        if self.bends:
            self.surface.fill()
            self._read_normals()
            self.surface.bend_adjoint(self.mapped.ndarray)
        self._slots_adjoint()
        self.surface.scatter()

    def _read_normals(self) -> None:
        """Write what normal maps say into the column light_value."""
        for index, material in enumerate(self.materials):
            if "normal" in dict(_local(material)):
                self._fill_column(index, "light_value", material.sources["normal"])

    def _emit(self) -> None:
        """Write what materials emit into the cleared colours."""
        if self.emits:
            for index, material in enumerate(self.materials):
                if "emission" in material.sources:
                    self._fill_column(index, "color", material.sources["emission"])
            self.surface.darken_back(self.surface.buffer().color)

    def _fill_column(self, index: int, column: str, source: Source) -> None:
        buffer, count = self.surface.buffer(), self.surface.count
        if isinstance(source, Texture):
            self.textures[id(source)].sample(buffer, column, count, index)
        elif isinstance(source, Parameter):
            fill_constant(buffer, column, count, index, source.value)
        else:
            self.surface.fill_colors(index, column)

    def _shine(self, light: AnySource) -> None:
        count, buffer = self.surface.count, self.surface.buffer()
        light.gather(buffer, count)
        for family, name in self.families:
            light.kernel(name)(buffer, count, self.family_of_material.ndarray, family, light.kind)

    def _shine_adjoint(self, light: AnySource) -> None:
        count, buffer = self.surface.count, self.surface.buffer()
        light.gather(buffer, count)
        for family, name in self.families:
            light.kernel(name).grad(buffer, count, self.family_of_material.ndarray, family, light.kind)
        light.gather_adjoint(buffer, count, self.scratch.ndarray)

    def _slots_adjoint(self) -> None:
        buffer, count = self.surface.buffer(), self.surface.count
        for lookup in self.textures.values():
            lookup.clear()
        for index, material in enumerate(self.materials):
            for slot, source in _local(material):
                column = COLUMNS.get(slot, slot)
                if isinstance(source, Texture):
                    self.textures[id(source)].sample_adjoint(buffer, column, count, index)
                elif isinstance(source, Parameter):
                    if needs(source):
                        fill_constant_adjoint(buffer, column, count, index, source.grad, self.scratch.ndarray)
                else:
                    self.surface.scatter_colors(index, column)
        for lookup in self.textures.values():
            lookup.collect()
        if self.textures:
            self.surface.scatter_uv(self.trilinear)
