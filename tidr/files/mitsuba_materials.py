"""Mitsuba's BSDFs and textures as tables of materials."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .guard import Limits
from .image import read_texture
from .imported import Imported
from .mitsuba_items import BSDFS, Book, Item

INDICES = {
    "vacuum": 1.0, "helium": 1.000036, "hydrogen": 1.000132, "air": 1.000277, "carbon dioxide": 1.00045,
    "water": 1.3330, "acetone": 1.36, "ethanol": 1.361, "carbon tetrachloride": 1.461, "glycerol": 1.4729,
    "benzene": 1.501, "silicone oil": 1.52045, "bromine": 1.661, "water ice": 1.31, "fused quartz": 1.458,
    "pyrex": 1.470, "acrylic glass": 1.49, "polypropylene": 1.49, "bk7": 1.5046, "sodium chloride": 1.544,
    "amber": 1.55, "pet": 1.5750, "diamond": 2.419,
}  # fmt: skip
METALS = {
    "Al": "aluminium", "Be": "beryllium", "Cr": "chromium", "Cu": "copper", "Au": "gold", "Ir": "iridium",
    "Hg": "mercury", "Mo": "molybdenum", "Rh": "rhodium", "Ag": "silver", "TiN": "titanium_nitride", "W": "tungsten",
}  # fmt: skip
DEEPEST = 8  # BSDFs inside of each other
CHECKS = 256  # texels of a checkerboard's side
LUMINANCE = np.array([0.212671, 0.715160, 0.072169])
WRAPS = ("repeat", "clamp", "mirror")


@dataclass(frozen=True)
class Surface:
    """A material's table, and what its textures do to uvs, [3, 3]; None where it has none.

    invisible: it is the boundary of a medium, and nothing else.
    """

    table: dict[str, Any]
    uv: np.ndarray | None = None
    invisible: bool = False


class Materials:
    """Turns BSDFs into tables, each once."""

    def __init__(self, scene: Imported, book: Book, limits: Limits) -> None:
        self.scene, self.book, self.limits = scene, book, limits
        self.found: dict[int, Surface] = {}
        self.names: dict[int, str] = {}
        self.left = limits.pixels

    def named(self, item: Item | None) -> tuple[str, Surface]:
        """The name of the material of a BSDF (None: Mitsuba's grey), and the material."""
        key = id(item)
        surface = self.surface(item)
        if key not in self.names:
            wanted = "grey" if item is None else item.name
            self.names[key] = self.scene.add("materials", wanted, surface.table)
        return self.names[key], surface

    def surface(self, item: Item | None, depth: int = 0) -> Surface:
        if item is None:
            return Surface({"type": "lambert", "albedo": 0.5})
        if depth > DEEPEST:
            raise item.fault(f"holds BSDFs more than {DEEPEST} levels deep", "does it refer to itself?")
        if id(item) not in self.found:
            make: Callable[..., Surface] = self.unknown
            if item.type in BSDFS:
                make = getattr(self, item.type)
            self.found[id(item)] = make(item, depth)
        return self.found[id(item)]

    def unknown(self, item: Item, depth: int) -> Surface:
        self.scene.note(item.place, f"no BSDF {item.type!r:.60}, drawn in diffuse grey")
        item.seen.update(item.values)
        return Surface({"type": "lambert", "albedo": 0.5})

    def diffuse(self, item: Item, depth: int) -> Surface:
        return self.made(item, "lambert", albedo=("reflectance", 0.5))

    def conductor(self, item: Item, depth: int) -> Surface:
        return self.metal(item, {})

    def roughconductor(self, item: Item, depth: int) -> Surface:
        return self.metal(item, {"roughness": self.roughness(item)})

    def metal(self, item: Item, more: dict[str, Any]) -> Surface:
        given = "eta" in item.values or "k" in item.values
        preset = item.text("material", "none")
        if preset in METALS and not given:
            indices: dict[str, Any] = {"preset": METALS[preset]}
        else:
            if preset != "none" and not given:
                self.scene.note(item.place, f"no metal {preset!r:.40}, drawn as a perfect mirror")
            indices = {"eta": self.limited(item, "eta", 0.0, 20.0), "k": self.limited(item, "k", 1.0, 20.0)}
        return self.made(item, "conductor", {**indices, **more}, specular=("specular_reflectance", 1.0))

    def dielectric(self, item: Item, depth: int) -> Surface:
        return self.glass(item, "dielectric", {})

    def thindielectric(self, item: Item, depth: int) -> Surface:
        return self.glass(item, "thin_dielectric", {})

    def roughdielectric(self, item: Item, depth: int) -> Surface:
        return self.glass(item, "dielectric", {"roughness": self.roughness(item)})

    def glass(self, item: Item, kind: str, more: dict[str, Any]) -> Surface:
        return self.made(
            item, kind, {"ior": self.index(item, "bk7"), **more}, specular=("specular_reflectance", 1.0),
            transmittance=("specular_transmittance", 1.0),
        )  # fmt: skip

    def plastic(self, item: Item, depth: int) -> Surface:
        return self.coated(item, {})

    def roughplastic(self, item: Item, depth: int) -> Surface:
        self.scene.note(item.place, "its base stays as bright as a smooth one's, Mitsuba's darkens with alpha")
        return self.coated(item, {"roughness": self.roughness(item)})

    def coated(self, item: Item, more: dict[str, Any]) -> Surface:
        if item.flag("nonlinear", False):
            self.scene.note(item.place, "nonlinear is left out")
        values = {"ior": self.index(item, "polypropylene"), **more}
        return self.made(
            item, "plastic", values, albedo=("diffuse_reflectance", 0.5), specular=("specular_reflectance", 1.0)
        )

    def principled(self, item: Item, depth: int) -> Surface:
        values: dict[str, Any] = {}
        if "eta" in item.values:
            values["ior"] = item.number("eta", 1.5, 1.0, 5.0)
            values["specular_level"] = min(((values["ior"] - 1) / (values["ior"] + 1)) ** 2 / 0.08, 1.0)
        else:
            values["specular_level"] = level = item.number("specular", 0.5, 0.0, 1.0)
            root = np.sqrt(0.08 * level)
            values["ior"] = (1 + root) / (1 - root)
        item.seen.update(key for key in item.values if key.endswith("_sampling_rate"))
        numbers = {
            "roughness": ("roughness", 0.5), "metallic": ("metallic", 0.0), "specular_tint": ("spec_tint", 0.0),
            "sheen": ("sheen", 0.0), "sheen_tint": ("sheen_tint", 0.0), "clearcoat": ("clearcoat", 0.0),
            "anisotropy": ("anisotropic", 0.0), "transmission": ("spec_trans", 0.0), "flatness": ("flatness", 0.0),
        }  # fmt: skip
        values |= {slot: self.scalar(item, key, default) for slot, (key, default) in numbers.items()}
        if values["transmission"] != 0:
            self.scene.note(item.place, "what spec_trans lets through is tidr's model, some percent brighter")
        values["clearcoat_roughness"] = self.scalar(item, "clearcoat_gloss", 0.0, lambda gloss: 1 - gloss)
        return self.made(item, "principled", values, albedo=("base_color", 0.5))

    def twosided(self, item: Item, depth: int) -> Surface:
        inner = list(self.inner(item))
        if len(inner) > 1:
            self.scene.note(item.place, "its back is drawn like its front")
        return self.surface(inner[0], depth + 1)

    def mask(self, item: Item, depth: int) -> Surface:
        inner = self.surface(self.inner(item)[0], depth + 1)
        return self.with_slot(item, inner, "opacity", self.scalar(item, "opacity", 0.5))

    def blendbsdf(self, item: Item, depth: int) -> Surface:
        inner = self.inner(item, 2)
        parts = [self.surface(one, depth + 1) for one in inner]
        if parts[0].invisible != parts[1].invisible:
            shown = 1 if parts[0].invisible else 0
            share = self.scalar(item, "weight", 0.5, lambda weight: weight if shown else 1 - weight)
            return self.with_slot(item, parts[shown], "opacity", share)
        if any(part.table["type"] == "blend" for part in parts):
            self.scene.note(item.place, "a blend of a blend, drawn as its first BSDF")
            return parts[0]
        first, second = (self.named(one)[0] for one in inner[:2])
        weight = self.scalar(item, "weight", 0.5)
        table = {"type": "blend", "first": first, "second": second, "weight": weight}
        return Surface(table, self.common_uv(item, [self.uv_of(item), *(part.uv for part in parts)]))

    def normalmap(self, item: Item, depth: int) -> Surface:
        inner = self.surface(self.inner(item)[0], depth + 1)
        texture = item.child(self.book, "normalmap")
        if texture is None or texture.type != "bitmap":
            self.scene.note(item.place, "has no bitmap of normals, which are left as they are")
            return inner
        return self.with_slot(item, inner, "normal", self.texture(texture, item.name, 3))

    def bumpmap(self, item: Item, depth: int) -> Surface:
        self.scene.note(item.place, "bumps are left out")
        item.seen.update([*item.values, *(name for name, _ in item.children)])
        return self.surface(self.inner(item)[0], depth + 1)

    def null(self, item: Item, depth: int) -> Surface:
        return Surface({"type": "lambert", "opacity": 0.0}, invisible=True)

    def inner(self, item: Item, count: int = 1) -> list[Item]:
        found = [child for _, child in item.nested(self.book, "bsdf")]
        found += [child for _, child in item.nested(self.book, "") if child.type not in BSDFS]
        if len(found) < count:
            raise item.fault(f"holds {len(found)} BSDFs, expected {count}", "nest them in it")
        return found

    def made(self, item: Item, kind: str, values: dict[str, Any] | None = None, **colors: tuple[str, float]) -> Surface:
        """A material with these values, and with slots from (property, default)."""
        table = {"type": kind, **(values or {})}
        table |= {slot: self.color(item, key, default) for slot, (key, default) in colors.items()}
        return Surface(table, self.uv_of(item))

    def with_slot(self, item: Item, inner: Surface, slot: str, value: Any) -> Surface:
        return replace(inner, table=inner.table | {slot: value}, uv=self.common_uv(item, [self.uv_of(item), inner.uv]))

    def color(self, item: Item, key: str, default: float, high: float = 1.0) -> Any:
        """A colour slot's value."""
        texture = item.child(self.book, key)
        if texture is not None:
            return self.texture(texture, f"{item.name}_{key}", 3)
        return self.limited(item, key, default, high)

    def limited(self, item: Item, key: str, default: float, high: float) -> list[float]:
        values = item.color(key, default)
        if (values > high).any():
            self.scene.note(item.place, f"{key} is {values.tolist()}, taken as {high:g} where it is more")
        return np.minimum(values, high).tolist()

    def scalar(self, item: Item, key: str, default: float, change: Callable[..., Any] = lambda value: value) -> Any:
        """A slot of one number, after `change`."""
        texture = item.child(self.book, key)
        if texture is not None:
            return self.texture(texture, f"{item.name}_{key}", 1, change)
        value = item.get(key)
        if isinstance(value, np.ndarray) and value.shape == (3,):
            value = float(value @ LUMINANCE)
            item.values[key] = value
        return float(np.clip(change(item.number(key, default, 0.0, 1.0)), 0.0, 1.0))

    def roughness(self, item: Item) -> Any:
        """tidr's roughness is the root of alpha; all its facets are GGX."""
        if item.text("distribution", "beckmann") != "ggx":
            self.scene.note(item.place, "beckmann facets are drawn as ggx of the same alpha")
        if "alpha_u" in item.values or "alpha_v" in item.values:
            sides = [item.number(key, 0.1, 0.0, 1.0) for key in ("alpha_u", "alpha_v")]
            if sides[0] != sides[1]:
                self.scene.note(item.place, f"alpha_u {sides[0]:g} and alpha_v {sides[1]:g} are drawn as their mean")
            return max(float(np.prod(sides) ** 0.25), 1e-3)
        found = self.scalar(item, "alpha", 0.1, np.sqrt)
        return found if isinstance(found, dict) else max(found, 1e-3)

    def index(self, item: Item, inside: str) -> float:
        """The index of refraction inside over that outside."""
        found = []
        for key, default in (("int_ior", inside), ("ext_ior", "air")):
            value = item.get(key)
            if isinstance(value, str) and value not in INDICES:
                raise item.fault(f"{key} is {value!r:.60}", f"give a number, or one of {', '.join(INDICES)}")
            if value is None or isinstance(value, str):
                found.append(INDICES[value or default])
            else:
                found.append(item.number(key, 1.0, 0.1, 10.0))
        ratio = found[0] / found[1]
        if not 0.2 <= ratio <= 5.0:
            raise item.fault(f"int_ior / ext_ior is {ratio:g}, expected 0.2 to 5")
        return ratio

    # ---------------------------------------------------------------------------------------------------- textures

    def texture(self, item: Item, name: str, channels: int, change: Callable[..., Any] = lambda value: value) -> Any:
        """A texture as the value of a slot with so many channels."""
        if item.type == "mesh_attribute" and item.text("name") == "vertex_color" and channels == 3:
            return "vertex_colors"
        item.transform("to_uv")
        if item.type == "bitmap":
            texels = self.bitmap(item)
        elif item.type == "checkerboard":
            texels = self.checkerboard(item)
        else:
            self.scene.note(item.place, f"no texture {item.type!r:.60}, taken as 0.5")
            item.seen.update(item.values)
            return float(change(0.5)) if channels == 1 else [0.5] * 3
        if channels == 1:
            texels = change(np.clip(texels @ LUMINANCE.astype(np.float32), 0, 1)[..., None])
        wrap = item.text("wrap_mode", "repeat")
        if wrap not in WRAPS:
            raise item.fault(f"wrap_mode is {wrap!r:.60}", f"choose one of {', '.join(WRAPS)}")
        if item.text("filter_type", "bilinear") != "bilinear" and item.type == "bitmap":
            self.scene.note(item.place, "filter_type nearest is drawn as bilinear")
        item.seen.update(("accel", "format"))
        return {"texture": self.scene.hold_picture(texels), "wrap": wrap, "filter": "bilinear"}

    def bitmap(self, item: Item) -> np.ndarray:
        """[H, W, 3] linear."""
        raw = item.flag("raw", False)
        texels = item.picture()
        if texels is None:
            path = item.file("filename", self.limits)
            texels = read_texture(path, 3, replace(self.limits, pixels=max(self.left, 1)), data=raw)
        self.left -= texels.shape[0] * texels.shape[1]
        if (texels < 0).any():
            self.scene.note(item.place, "negative texels are taken as 0")
        return np.maximum(texels, 0)

    def checkerboard(self, item: Item) -> np.ndarray:
        dark, light = (np.array(self.limited(item, f"color{k}", default, 1.0)) for k, default in ((0, 0.4), (1, 0.2)))
        half = np.arange(CHECKS) < CHECKS // 2
        return np.where((half[:, None] == half)[..., None], dark, light).astype(np.float32)

    def uv_of(self, item: Item) -> np.ndarray | None:
        """What the textures right under a BSDF do to uvs, [3, 3]."""
        found = [child.transform("to_uv") for _, child in item.nested(self.book, "texture")]
        return self.common_uv(item, [matrix[np.ix_([0, 1, 3], [0, 1, 3])] for matrix in found])

    def common_uv(self, item: Item, found: list[np.ndarray | None]) -> np.ndarray | None:
        """The one transform of all of them; without any, None."""
        given = [matrix for matrix in found if matrix is not None]
        if any(np.abs(matrix - given[0]).max() > 1e-9 for matrix in given):
            self.scene.note(item.place, "its textures have several to_uv, all are drawn with the first")
        return given[0] if given else None
