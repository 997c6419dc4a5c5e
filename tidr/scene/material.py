"""Materials: a family of BRDFs with a value, a texture or the vertex colours in each slot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter, nearest

from .texture import Texture


@dataclass(frozen=True)
class Slot:
    """One input of a material: its channels, its default and the range that a fit keeps it in."""

    channels: int
    default: float
    clamp: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class VertexColors:
    """Says that a slot takes the colours of the mesh's vertices."""


ALBEDO = Slot(3, 0.5)
MATERIAL_TYPES: dict[str, dict[str, Slot]] = {
    "lambert": {"albedo": ALBEDO},
    "phong": {"albedo": ALBEDO, "specular": Slot(3, 0.04), "shininess": Slot(1, 32.0, (0.0, 1e4))},
    "blinn_phong": {"albedo": ALBEDO, "specular": Slot(3, 0.04), "shininess": Slot(1, 32.0, (0.0, 1e4))},
    "metallic_roughness": {"albedo": ALBEDO, "roughness": Slot(1, 0.5), "metallic": Slot(1, 0.0)},
}

Source = Parameter | Texture | VertexColors


class Material:
    """A material of one type ("lambert", "phong", "blinn_phong", "metallic_roughness" or a registered one).

    Each slot is a number, an RGB triple, a `Texture`, or "vertex_colors"; what is not given takes its default. A slot
    is the parameter `<material>.<slot>`: [3] or scalar, or the texels [H, W, C].
    """

    def __init__(self, type: str = "lambert", **values) -> None:
        if type not in MATERIAL_TYPES:
            raise SceneError("material", f"unknown type {type!r}", nearest(type, MATERIAL_TYPES))
        self.type = type
        self.slots = MATERIAL_TYPES[type]
        for name in values:
            if name not in self.slots:
                raise SceneError(f"material.{name}", f"{type} has no such value", nearest(name, self.slots))
        self.sources: dict[str, Source] = {
            name: _source(name, slot, values.get(name, slot.default)) for name, slot in self.slots.items()
        }

    def parameters(self) -> dict[str, Parameter]:
        found = {}
        for name, source in self.sources.items():
            if isinstance(source, Texture):
                found[name] = source.texels
            elif isinstance(source, Parameter):
                found[name] = source
        return found


def _source(name: str, slot: Slot, value) -> Source:
    if isinstance(value, Texture):
        if value.texels.channels != slot.channels:
            raise SceneError(name, f"texture has {value.texels.channels} channels, expected {slot.channels}")
        value.texels.constraint = Constraint(clamp=slot.clamp)
        return value
    if isinstance(value, VertexColors) or (isinstance(value, str) and value == "vertex_colors"):
        if slot.channels != 3:
            raise SceneError(name, "vertex colours have 3 channels, expected 1")
        return VertexColors()
    array = np.asarray(value, np.float64)
    shape = () if slot.channels == 1 else (3,)
    if array.shape not in ((), shape):
        raise SceneError(name, f"got shape {array.shape}, expected {shape or 'a number'}")
    return Parameter(np.broadcast_to(array, shape), Constraint(clamp=slot.clamp))
