"""Volumes, voxel grids, tetrahedra and fields of a scene file: what may stand in their tables."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import Field

from .scene_faults import Faults, brief, read_table
from .scene_types import Light3, Number, Positive, Table, Vector3, is_number, vector

KEYS = ("volume", "voxels", "tetrahedra", "field")
LARGEST_SIDE = 2048  # cells
LONGEST_TEXT = 100
FIELDS = {"hash": "HashField", "frequency": "FrequencyField"}

Resolution = vector(Annotated[int, Field(ge=1, le=LARGEST_SIDE)], 3)


class GridTable(Table):
    """A grid from a file, or with the same in all its cells; `resolution` counts cells along x, y and z."""

    file: str | None = None
    resolution: Resolution | None = None
    lower: Vector3 | None = None
    upper: Vector3 | None = None


class VolumeTable(GridTable):
    """Density with colour, harmonics or albedo; `uniform` names what is one value and not one for each cell."""

    density: Number | None = None
    color: Light3 | None = None
    albedo: Light3 | None = None
    g: Annotated[float, Field(gt=-1, lt=1)] | None = None
    sh_degree: Annotated[int, Field(ge=0, le=3)] | None = None
    uniform: list[Literal["color", "albedo"]] = Field(default_factory=list)
    density_activation: Literal["none", "relu", "softplus"] = "none"
    density_shift: Number | None = None


class VoxelsTable(GridTable):
    """An occupancy, or with `sphere` (a radius) the signed distance of a ball in the middle of the box."""

    occupancy: Annotated[float, Field(ge=0, le=1)] | None = None
    sphere: Positive | None = None
    color: Light3 | None = None
    classes: Annotated[int, Field(ge=2, le=1024)] | None = None


class TetrahedraTable(GridTable):
    """The signed distance of a ball in the middle of the box, of radius `sphere`, at the corners of the cells."""

    sphere: Positive | None = None
    shading: Literal["smooth", "flat"] = "smooth"


class FieldTable(Table):
    """A field: `options` are arguments of its class, `file` the values of its parameters."""

    type: Literal["hash", "frequency"]
    file: str | None = None
    options: dict[str, Any]


TABLES: dict[str, type[GridTable]] = {"volume": VolumeTable, "voxels": VoxelsTable, "tetrahedra": TetrahedraTable}
VALUES = {"volume": ("density",), "voxels": ("occupancy", "sphere"), "tetrahedra": ("sphere",)}  # one of them is needed
# What else belongs to a grid without a file.
FILLED = {"volume": ("sh_degree",), "voxels": ("color", "classes"), "tetrahedra": ()}


@dataclass(frozen=True)
class Grid:
    """What stands under one of KEYS, valid in itself; `place` is the key, after that of the node, of its file."""

    key: str
    table: Any
    place: tuple[str, ...]


def read_grid(key: str, raw: object, path: Sequence[object], faults: Faults) -> Grid | None:
    """The value of one of KEYS, the name of a file or a table; None with faults noted."""
    if key == "field":
        return _read_field(raw, path, faults)
    if isinstance(raw, str):
        return Grid(key, TABLES[key](file=raw), (key,))
    table = read_table(TABLES[key], raw, path, faults)
    if table is None:
        return None
    before, given = faults.count, table.model_fields_set
    values = [name for name in VALUES[key] if name in given]
    if ("file" in given) == ("resolution" in given):
        faults.add(path, "give exactly one of file and resolution (cells along x, y, z)")
    elif "file" in given:
        for name in (*values, *(name for name in FILLED[key] if name in given)):
            faults.add([*path, name], "stands beside file, which gives it already")
    elif len(values) != 1:
        faults.add([*path, VALUES[key][0]], f"give exactly one of {', '.join(VALUES[key])}")
    if {"color", "sh_degree"} <= given:
        faults.add([*path, "sh_degree"], "stands beside color, give one of them")
    corners = {"lower", "upper"} & given
    if len(corners) == 1:
        faults.add([*path, *corners], "needs the other corner too, lower and upper")
    return Grid(key, table, (key, "file")) if faults.count == before else None


def _read_field(raw: object, path: Sequence[object], faults: Faults) -> Grid | None:
    kind = raw.get("type") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(kind, str) or kind not in FIELDS:
        faults.add(path, f"is {brief(raw)}, expected a table with a type, {' or '.join(FIELDS)}")
        return None
    before, known = faults.count, arguments(field_class(kind))
    options = {name: value for name, value in raw.items() if name not in ("type", "file")}
    for name, value in options.items():
        if name not in known:
            faults.unknown([*path, name], [*known, "file", "type"])
        elif not _is_option(value):
            faults.add([*path, name], f"is {brief(value)}, expected a number, a word or a list of numbers")
    file = raw.get("file")
    if file is not None and not isinstance(file, str):
        faults.add([*path, "file"], f"is {brief(file)}, expected the name of an .npz")
    if faults.count > before:
        return None
    return Grid("field", FieldTable.model_validate({"type": kind, "file": file, "options": options}), ("field", "file"))


def field_class(kind: str) -> Callable[..., Any]:
    """The class of a field by its short name."""
    return getattr(import_module("tidr.scene.field"), FIELDS[kind])


def arguments(kind: Callable[..., Any]) -> list[str]:
    """The names of a constructor's arguments."""
    return list(inspect.signature(kind).parameters)


def _is_option(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    return isinstance(value, bool) or all(is_number(one) for one in (value if isinstance(value, list) else [value]))
