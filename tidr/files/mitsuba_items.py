"""The objects of a Mitsuba scene, whether it came as XML or as a dictionary, and typed look-ups of their properties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError
from tidr.parameter import nearest

from .guard import LARGEST_COORDINATE, Limits, check_file, number, resolve
from .mitsuba_spectra import spectrum_rgb

SHAPES = ("obj", "ply", "rectangle", "cube", "sphere", "disk", "cylinder", "instance", "shapegroup")
BSDFS = (
    "diffuse", "conductor", "roughconductor", "dielectric", "roughdielectric", "thindielectric", "plastic",
    "roughplastic", "principled", "twosided", "mask", "blendbsdf", "normalmap", "bumpmap", "null",
)  # fmt: skip
EMITTERS = ("area", "point", "spot", "directional", "constant", "envmap")
SENSORS = ("perspective", "thinlens", "orthographic")
TEXTURES = ("bitmap", "checkerboard", "mesh_attribute")
KINDS = {
    **dict.fromkeys(SHAPES, "shape"), **dict.fromkeys(BSDFS, "bsdf"), **dict.fromkeys(EMITTERS, "emitter"),
    **dict.fromkeys(SENSORS, "sensor"), **dict.fromkeys(TEXTURES, "texture"), "homogeneous": "medium",
    "heterogeneous": "medium", "isotropic": "phase", "hg": "phase", "hdrfilm": "film", "specfilm": "film",
    "ldrfilm": "film", "gridvolume": "volume", "constvolume": "volume", "box": "rfilter", "tent": "rfilter",
    "gaussian": "rfilter", "mitchell": "rfilter", "catmullrom": "rfilter", "lanczos": "rfilter",
    "independent": "sampler", "stratified": "sampler", "multijitter": "sampler", "orthogonal": "sampler",
    "ldsampler": "sampler",
}  # fmt: skip
OPAQUE_TO_US = ("integrator", "sampler", "rfilter")  # how a picture is made, which tidr is told elsewhere
UNSEEN = ("id", "sampling_weight", "sample_visible", "shading_samples", "silhouette_sampling_weight")


@dataclass
class Item:
    """One object: `kind` is "shape", "bsdf" and so on ("" where nothing tells), `type` its plugin.

    values: numbers, bools, texts, colours and vectors [3], transforms [4, 4]. children: nested objects, by the names
    that they have here, and references. where: file and line, or path of keys.
    """

    kind: str
    type: str
    name: str
    where: str
    values: dict[str, Any] = field(default_factory=dict)
    children: list[tuple[str, Item | Reference]] = field(default_factory=list)
    folder: Path | None = None  # of the file names in it; None: they are the user's own
    seen: set[str] = field(default_factory=set)  # names that were understood
    visited: bool = False

    @property
    def place(self) -> str:
        return f"{self.where} {self.type or self.kind}"

    def fault(self, what: str, mend: str = "") -> FileError:
        return FileError(self.place, what, mend)

    def get(self, key: str) -> Any:
        """A value, or None; from now on it counts as understood."""
        self.visited = True
        if key in self.values:
            self.seen.add(key)
        return self.values.get(key)

    def number(self, key: str, default: float, low: float = -LARGEST_COORDINATE, high: float = LARGEST_COORDINATE):
        value = self.get(key)
        return default if value is None else number(value, f"{self.place} {key}", low, high)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.number(key, default, low, high)
        if value != int(value):
            raise self.fault(f"{key} is {value}, expected a whole number")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.fault(f"{key} is {value!r:.60}, expected true or false")
        return default if value is None else value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.get(key)
        value = default if value is None else value
        if not isinstance(value, str):
            raise self.fault(f"{key} is {'missing' if value is None else repr(value)[:60]}, expected a text")
        return value

    def vector(self, key: str, default: Any = None) -> np.ndarray:
        """[3]; default None: it is required."""
        value = self.get(key)
        value = default if value is None else value
        array = None if value is None else np.asarray(value)
        if array is None or array.shape != (3,) or array.dtype.kind not in "iuf":
            raise self.fault(f"{key} is {'missing' if value is None else repr(value)[:60]}, expected three numbers")
        return array.astype(np.float64)

    def color(self, key: str, default: float) -> np.ndarray:
        """[3], not negative, of a number or a colour."""
        value = self.get(key)
        if isinstance(value, np.ndarray) and value.shape == (3,):
            found = value
        elif isinstance(value, dict):
            found = spectrum_rgb(value["wavelengths"], self.kind == "emitter")
        else:
            found = np.full(3, default if value is None else number(value, f"{self.place} {key}"))
        if (found < 0).any():
            raise self.fault(f"{key} is {found.tolist()}, expected nothing negative")
        return found

    def transform(self, key: str = "to_world") -> np.ndarray:
        """[4, 4], the identity where there is none."""
        value = self.get(key)
        if value is None:
            return np.eye(4)
        if not isinstance(value, np.ndarray) or value.shape != (4, 4):
            raise self.fault(f"{key} is {value!r:.60}, expected a transform")
        if np.abs(value[3] - [0, 0, 0, 1]).max() > 1e-6 * np.abs(value).max():
            raise self.fault(f"{key} has the bottom row {value[3].tolist()}, expected 0 0 0 1")
        return value

    def file(self, key: str, limits: Limits) -> Path:
        name = self.text(key)
        where = f"{self.place} {key}"
        if self.folder is not None:
            return resolve(self.folder, name, where)
        return check_file(Path(name).expanduser(), limits).resolve()

    def picture(self) -> np.ndarray | None:
        """[H, W, 3] f32 of the array that a dictionary gives as data or bitmap, if it does."""
        given = self.get("data") if "data" in self.values else self.get("bitmap")
        if given is None:
            return None
        array = np.asarray(given)
        array = array[..., None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape or array.dtype.kind not in "iuf":
            raise self.fault(f"has an array of shape {array.shape}, expected numbers [H, W, 1, 3 or 4]")
        return np.broadcast_to(array[..., :3], (*array.shape[:2], 3)).astype(np.float32)

    def nested(self, book: Book, *kinds: str) -> Iterator[tuple[str, Item]]:
        """Objects of these kinds in this one, references followed, with the names that they have here."""
        self.visited = True
        for name, child in self.children:
            item = book.follow(child) if isinstance(child, Reference) else child
            if item.kind in kinds:
                self.seen.add(name)
                yield name, item

    def child(self, book: Book, name: str) -> Item | None:
        """The object of this name, if there is one."""
        self.visited = True
        for given, child in self.children:
            if given == name:
                self.seen.add(name)
                return book.follow(child) if isinstance(child, Reference) else child
        return None

    def unread(self) -> list[str]:
        """Names in an object that was looked at which nobody asked for."""
        names = [
            *self.values,
            *(name for name, child in self.children if getattr(child, "kind", "") not in OPAQUE_TO_US),
        ]
        return [name for name in names if name not in self.seen and name not in UNSEEN] if self.visited else []


@dataclass(frozen=True)
class Reference:
    """The id of another object."""

    id: str
    where: str


@dataclass
class Book:
    """All objects that have an id."""

    items: dict[str, Item] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def enter(self, id: str, item: Item) -> None:
        if id in self.items or id in self.aliases:
            raise FileError(item.where, f"the id {id!r:.80} is given twice", "ids are unique")
        self.items[id] = item

    def follow(self, reference: Reference) -> Item:
        id, steps = reference.id, 0
        while id in self.aliases and steps <= len(self.aliases):
            id, steps = self.aliases[id], steps + 1
        if id not in self.items:
            raise FileError(f"{reference.where} ref", f"no object has the id {id!r:.80}", nearest(id[:80], self.items))
        return self.items[id]
