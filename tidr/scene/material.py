"""Materials: how surfaces scatter light, with a value, a texture or the vertex colours in each slot."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter, nearest

from .texture import Texture


@dataclass(frozen=True)
class Slot:
    """One input of a material: its channels, its default and the range that a fit keeps it in.

    optional: what is not given is no parameter. data: three numbers that are no colour, so never sRGB. texture_only:
    takes nothing but a texture.
    """

    channels: int
    default: float
    clamp: tuple[float, float] = (0.0, 1.0)
    optional: bool = False
    data: bool = False
    texture_only: bool = False


@dataclass(frozen=True)
class VertexColors:
    """Says that a slot takes the colours of the mesh's vertices."""


ALBEDO, TINT, SHARE = Slot(3, 0.5), Slot(3, 1.0), Slot(1, 0.0)
ETA, K = Slot(3, 0.0, (0.0, 20.0), data=True), Slot(3, 1.0, (0.0, 20.0), data=True)
IOR = Slot(1, 1.5, (0.2, 5.0))
SMOOTH = Slot(1, 0.0, optional=True)  # the number 0 stands for a perfectly smooth surface, which is another model
MATERIAL_TYPES: dict[str, dict[str, Slot]] = {
    "lambert": {"albedo": ALBEDO},
    "phong": {"albedo": ALBEDO, "specular": Slot(3, 0.04), "shininess": Slot(1, 32.0, (0.0, 1e4))},
    "blinn_phong": {"albedo": ALBEDO, "specular": Slot(3, 0.04), "shininess": Slot(1, 32.0, (0.0, 1e4))},
    "pytorch3d": {"albedo": ALBEDO, "specular": Slot(3, 1.0), "shininess": Slot(1, 64.0, (0.0, 1e4))},
    "metallic_roughness": {"albedo": ALBEDO, "roughness": Slot(1, 0.5), "metallic": Slot(1, 0.0)},
    "conductor": {"eta": ETA, "k": K, "roughness": SMOOTH, "specular": TINT},
    "dielectric": {"ior": IOR, "roughness": SMOOTH, "specular": TINT, "transmittance": TINT},
    "thin_dielectric": {"ior": IOR, "specular": TINT, "transmittance": TINT},
    "plastic": {"albedo": ALBEDO, "ior": IOR, "roughness": SMOOTH, "specular": TINT},
    "principled": {
        "albedo": ALBEDO, "roughness": Slot(1, 0.5), "metallic": SHARE, "specular_level": Slot(1, 0.5),
        "specular_tint": SHARE, "sheen": SHARE, "sheen_tint": SHARE, "clearcoat": SHARE,
        "clearcoat_roughness": Slot(1, 0.03), "anisotropy": SHARE, "transmission": SHARE, "flatness": SHARE, "ior": IOR,
    },
    "blend": {"weight": Slot(1, 0.5)},
}  # fmt: skip
COMMON: dict[str, Slot] = {  # slots of every type
    "emission": Slot(3, 0.0, (0.0, math.inf), optional=True),
    "opacity": Slot(1, 1.0, optional=True),
    "normal": Slot(3, 0.5, optional=True, data=True, texture_only=True),
}
BLENDED = ("first", "second")  # what names the two materials of a blend

# Metals' complex index of refraction, eta and k, each RGB: measured spectra seen by the sRGB primaries, as Mitsuba 3
# tells them for its materials of the same elements and compounds.
CONDUCTORS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "aluminium": ((1.6575, 0.8804, 0.5212), (9.2238, 6.2695, 4.8370)),
    "beryllium": ((4.1850, 3.1850, 2.7841), (3.8355, 3.0101, 2.8690)),
    "chromium": ((4.3697, 2.9165, 1.6549), (5.2066, 4.2313, 3.7547)),
    "copper": ((0.2010, 0.9238, 1.1022), (3.9133, 2.4531, 2.1421)),
    "gold": ((0.1430, 0.3753, 1.4421), (3.9830, 2.3856, 1.6034)),
    "iridium": ((3.0863, 2.0822, 1.6179), (5.5922, 4.0671, 3.2673)),
    "mercury": ((2.3989, 1.4400, 0.9096), (6.3276, 4.3719, 3.4218)),
    "molybdenum": ((4.4840, 3.5251, 2.7763), (4.1114, 3.4208, 3.1506)),
    "rhodium": ((2.5858, 1.8602, 1.5543), (6.7823, 4.7030, 3.9761)),
    "silver": ((0.1553, 0.1167, 0.1384), (4.8284, 3.1222, 2.1469)),
    "titanium_nitride": ((1.6485, 1.1505, 1.3798), (3.3683, 1.9435, 1.1021)),
    "tungsten": ((4.3708, 3.3003, 2.9984), (3.5006, 2.6049, 2.2732)),
}

Source = Parameter | Texture | VertexColors


def slots_of(type: str) -> dict[str, Slot]:
    """All slots of a type of material, those of every type last."""
    return MATERIAL_TYPES[type] | COMMON


class Material:
    """A material of one type: a key of `MATERIAL_TYPES`, also a registered one.

    Each slot is a number, an RGB triple, a `Texture`, or "vertex_colors"; what is not given takes its default. A slot
    is the parameter `<material>.<slot>`: [3] or scalar, or the texels [H, W, C]. Slots of every type, parameters only
    where they are given: `emission`, radiance [3] that the front of the surface sends out; `opacity`, the share of
    light that does not go straight through; `normal`, a texture of normals in the tangent frame, (n + 1) / 2, green up.

    "pytorch3d" is no physical model but a lookalike, see `tidr.shaders.add_look`.

    A conductor's index of refraction is `eta` + i `k`, or that of the metal `preset` (a key of `CONDUCTORS`); without
    either it is a perfect mirror. The number 0 as the roughness of a conductor, dielectric or plastic makes it smooth
    for good and is no parameter. A blend scatters like its material `first`, with the share `weight` like `second`
    (names of two others of the scene, themselves no blends); its own emission and opacity count, not theirs, and its
    normal map, where it has one, in place of theirs.
    """

    def __init__(self, type: str = "lambert", **values) -> None:
        if type not in MATERIAL_TYPES:
            raise SceneError("material", f"unknown type {type!r}", nearest(type, MATERIAL_TYPES))
        self.type = type
        self.slots = slots_of(type)
        self.blended: tuple[str, ...] = ()
        if type == "blend":
            self.blended = tuple(_name(key, values.pop(key, None)) for key in BLENDED)
        if type == "conductor" and "preset" in values:
            values |= preset(values.pop("preset"), values)
        for name in values:
            if name not in self.slots:
                known = [*self.slots, *keywords(type)]
                raise SceneError(f"material.{name}", f"{type} has no such value", nearest(name, known))
        self.sources: dict[str, Source] = {
            name: _source(name, slot, values.get(name, slot.default))
            for name, slot in self.slots.items()
            if not (slot.optional and (name not in values or _is_smooth(slot, values[name])))
        }

    def parameters(self) -> dict[str, Parameter]:
        found = {}
        for name, source in self.sources.items():
            if isinstance(source, Texture):
                found[name] = source.texels
            elif isinstance(source, Parameter):
                found[name] = source
        return found


def keywords(type: str) -> tuple[str, ...]:
    """What a type of material takes beside its slots."""
    return {"blend": BLENDED, "conductor": ("preset",)}.get(type, ())


def preset(name: object, values: Mapping[str, object]) -> dict[str, tuple[float, float, float]]:
    """eta and k of a metal by its name; `values` are those given beside it."""
    if not isinstance(name, str) or name not in CONDUCTORS:
        raise SceneError("material.preset", f"unknown metal {name!r:.80}", nearest(str(name)[:80], CONDUCTORS))
    for key in ("eta", "k"):
        if key in values:
            raise SceneError(f"material.{key}", "stands beside preset, which gives it already")
    return dict(zip(("eta", "k"), CONDUCTORS[name], strict=True))


def blended(name: str, materials: Mapping[str, Material]) -> tuple[str, ...]:
    """The names of the two materials of the blend `name`; none where it is no blend.

    Raises:
        SceneError: a name that is not in `materials`, or that of another blend.
    """
    for key, other in zip(BLENDED, materials[name].blended, strict=False):
        where = f"materials.{name}.{key}"
        if other not in materials:
            raise SceneError(where, f"no material {other!r:.80}", nearest(other[:80], materials))
        if materials[other].type == "blend":
            raise SceneError(where, f"{other!r:.80} is a blend itself", "name two materials of other types")
    return materials[name].blended


def _name(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise SceneError(f"material.{key}", f"is {value!r:.80}", "give the name of a material of the scene")
    return value


def _is_smooth(slot: Slot, value: object) -> bool:
    return slot is SMOOTH and isinstance(value, int | float) and value == 0


def _source(name: str, slot: Slot, value) -> Source:
    if isinstance(value, Texture):
        if value.texels.channels != slot.channels:
            raise SceneError(name, f"texture has {value.texels.channels} channels, expected {slot.channels}")
        value.texels.constraint = Constraint(clamp=slot.clamp)
        return value
    if slot.texture_only:
        raise SceneError(name, f"is {value!r:.80}, expected a texture")
    if isinstance(value, VertexColors) or (isinstance(value, str) and value == "vertex_colors"):
        if slot.channels != 3:
            raise SceneError(name, "vertex colours have 3 channels, expected 1")
        return VertexColors()
    array = np.asarray(value, np.float64)
    shape = () if slot.channels == 1 else (3,)
    if array.shape not in ((), shape):
        raise SceneError(name, f"got shape {array.shape}, expected {shape or 'a number'}")
    return Parameter(np.broadcast_to(array, shape), Constraint(clamp=slot.clamp))
