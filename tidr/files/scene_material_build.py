"""From the valid table of a material in a scene file to a Material: names followed, pictures read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tidr.parameter import nearest
from tidr.scene.material import BLENDED, Material, Slot, slots_of
from tidr.scene.texture import Texture

from .scene_faults import Faults
from .scene_schema import MaterialTable, TextureTable

if TYPE_CHECKING:
    from .scene_build import Files


def check_blends(materials: Mapping[str, MaterialTable], faults: Faults) -> None:
    """Blends of materials that are not there, and of other blends."""
    for name, item in materials.items():
        for key in BLENDED if item.type == "blend" else ():
            where, other = ["materials", name, key], str(item.values[key])
            if other not in materials:
                faults.add(where, f"no material {other!r:.80}, " + nearest(other, materials))
            elif materials[other].type == "blend":
                faults.add(where, f"is {other!r:.80}, which is a blend itself, name a material of another type")


def read_pictures(name: str, table: MaterialTable, files: Files) -> dict[str, np.ndarray]:
    """The pictures of a material's textures, by slot."""
    found = {}
    for slot, value in table.values.items():
        if isinstance(value, TextureTable):
            key = ["materials", name, slot, "texture"]
            path = files.find(key, value.texture)
            with files.faults.under(key):
                if path is not None:
                    kind = slots_of(table.type)[slot]
                    found[slot] = files.picture(path, kind.channels, kind.data)
                    _check_range(found[slot], kind, key, files.faults)
    return found


def _check_range(texels: np.ndarray, slot: Slot, key: Sequence[object], faults: Faults) -> None:
    """Colours may be brighter than 1; everything else stays within what the slot takes."""
    low, high = slot.clamp
    if slot.channels == 3 and not slot.data:
        high = math.inf
    if texels.size and not low <= texels.min() <= texels.max() <= high:
        faults.add(key, f"has values from {texels.min():g} to {texels.max():g}, expected {low:g} to {high:g}")


def build_material(table: MaterialTable, pictures: Mapping[str, np.ndarray]) -> Material:
    """The material of a table; pictures: those of its textures, by slot."""
    sources = dict(table.values)
    for slot, value in table.values.items():
        if isinstance(value, TextureTable):
            sources[slot] = Texture(pictures[slot], wrap=value.wrap, filter=value.filter)
    return Material(table.type, **sources)
