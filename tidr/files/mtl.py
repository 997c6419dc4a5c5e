"""Wavefront MTL: the materials of an OBJ."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidr.errors import FileError
from tidr.scene.mesh_data import COLOR_SLOTS, MaterialData

from .guard import DEFAULT, Limits, at, number, read_text, resolve

# What MTL calls a slot: the keyword of its value and of its picture.
VALUES = {"Kd": "albedo", "Ks": "specular", "Ns": "shininess", "Pr": "roughness", "Pm": "metallic"}
KEYWORDS = {slot: keyword for keyword, slot in VALUES.items()}
OPTION_VALUES = {"-blendu": 1, "-blendv": 1, "-bm": 1, "-boost": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-mm": 2}
OPTION_VALUES |= {"-texres": 1, "-type": 1}
VECTOR_OPTIONS = ("-o", "-s", "-t")  # one to three numbers


def read_mtl(path: Path, limits: Limits = DEFAULT) -> list[MaterialData]:
    """The materials of an MTL file, values taken as linear.

    Pr or Pm makes it "metallic_roughness", a specular part other than black (with illum 2 or above, or none) makes it
    "blinn_phong", everything else is "lambert". A picture replaces the value beside it. Pictures must exist in the
    file's folder.
    """
    found: list[tuple[str, dict[str, Any], dict[str, int]]] = []
    for line_number, raw in enumerate(read_text(path, limits).split("\n"), 1):
        line, where = raw.strip().replace("\t", " "), at(path, line_number)
        key, _, rest = line.partition(" ")
        if key == "newmtl":
            found.append((rest.strip(), {}, {}))
            continue
        slot = VALUES.get(key.removeprefix("map_"), "")
        if not slot and key != "illum":
            continue
        if not found:
            raise FileError(where, f"{key} stands before the first newmtl")
        _, values, hints = found[-1]
        if key == "illum":
            hints["illum"] = int(_number(rest.partition("#")[0].strip(), where))
        elif key.startswith("map_"):
            values[slot] = resolve(path.parent, _picture_name(rest, where), where)
        elif not isinstance(values.get(slot), Path):
            values[slot] = _value(rest.partition("#")[0].split(), slot, where)
    return [_material(name, values, hints) for name, values, hints in found]


def write_mtl(materials: Sequence[MaterialData], pictures: dict[tuple[int, str], str]) -> str:
    """The text of an MTL; `pictures` names the file of each (material, slot) that is a picture.

    MTL knows one kind of highlight: "phong" and "blinn_phong" are written alike and read back as "blinn_phong".
    """
    out = []
    for index, (name, material) in enumerate(zip(safe_names(materials), materials, strict=True)):
        out.append(f"newmtl {name}")
        out.append(f"illum {2 if 'phong' in material.type else 1}")
        for slot, value in material.values.items():
            keyword = KEYWORDS[slot]
            if (index, slot) in pictures:
                out += [f"{keyword} 1.0 1.0 1.0"] if slot in COLOR_SLOTS else []
                out.append(f"map_{keyword} {pictures[index, slot]}")
                continue
            rgb = tuple(value) if isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) else (value,)
            rgb = rgb * 3 if slot in COLOR_SLOTS and len(rgb) == 1 else rgb
            out.append(" ".join([keyword, *(repr(float(channel)) for channel in rgb)]))
        out.append("")
    return "\n".join(out)


def safe_names(materials: Sequence[MaterialData]) -> list[str]:
    """The materials' names as they stand in OBJ and MTL files: letters, digits, ``_.-``, each once."""
    names: list[str] = []
    for index, material in enumerate(materials):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", material.name)[:100] or "material"
        names.append(name if name not in names else f"{name}_{index}")
        while names.count(names[-1]) > 1:
            names[-1] += "_"
    return names


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise FileError(where, f"{text!r:.40} is no number") from error
    return number(value, where)


def _value(words: list[str], slot: str, where: str) -> object:
    if words and words[0] in ("spectral", "xyz"):
        raise FileError(where, f"{words[0]} colours are not supported", "write RGB")
    values = [_number(word, where) for word in words]
    if slot in COLOR_SLOTS:
        if len(values) not in (1, 3):
            raise FileError(where, f"has {len(values)} numbers, expected 3")
        return tuple(values * 3) if len(values) == 1 else tuple(values)
    if len(values) != 1:
        raise FileError(where, f"has {len(values)} numbers, expected 1")
    return values[0]


def _picture_name(rest: str, where: str) -> str:
    """The file name after the options of a map line; it may hold spaces."""
    words = rest.strip().split(" ")
    while len(words) > 1 and words[0] in (*OPTION_VALUES, *VECTOR_OPTIONS):
        option = words.pop(0)
        if option in OPTION_VALUES:
            del words[: OPTION_VALUES[option]]
            continue
        taken = 0
        while taken < 3 and len(words) > 1 and re.fullmatch(r"[-+0-9.eE]+", words[0]):
            words.pop(0)
            taken += 1
    name = " ".join(words).strip()
    if not name:
        raise FileError(where, "names no picture")
    return name


def _material(name: str, values: dict[str, Any], hints: dict[str, int]) -> MaterialData:
    def pick(*slots: str) -> dict[str, Any]:
        return {slot: values[slot] for slot in slots if slot in values}

    if "roughness" in values or "metallic" in values:
        return MaterialData(name, "metallic_roughness", pick("albedo", "roughness", "metallic"))
    specular = values.get("specular", (0.0, 0.0, 0.0))
    shiny = isinstance(specular, Path) or max(specular) > 0
    if shiny and hints.get("illum", 2) >= 2:
        return MaterialData(name, "blinn_phong", pick("albedo", "specular", "shininess"))
    return MaterialData(name, "lambert", pick("albedo"))
