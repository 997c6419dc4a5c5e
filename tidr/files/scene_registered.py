"""Geometries that plugins registered: their tables in scene files, read and written."""

from collections.abc import Sequence
from typing import Any

from tidr.errors import FileError, TidrError
from tidr.scene.graph import Geometry
from tidr.scene.parametric import GEOMETRIES, arguments_of

from .scene_faults import Faults, brief
from .scene_grids import Grid, arguments
from .scene_types import Table, is_number

LONGEST = 10_000  # numbers in one list


class RegisteredTable(Table):
    """The arguments of a registered geometry's class."""

    file: None = None
    options: dict[str, Any]


def registered_key(raw: object) -> str | None:
    """The key of a node's table that names a registered geometry."""
    return next((key for key in raw if key in GEOMETRIES), None) if isinstance(raw, dict) else None


def read_registered(key: str, raw: object, path: Sequence[object], faults: Faults) -> Grid | None:
    """The table under the key, held against the arguments of the class; None with faults noted."""
    if not isinstance(raw, dict):
        faults.add(path, f"is {brief(raw)}, expected a table")
        return None
    before, known = faults.count, arguments(GEOMETRIES[key])
    for name, value in raw.items():
        if name not in known:
            faults.unknown([*path, name], known)
        elif not _is_option(value):
            faults.add([*path, name], f"is {brief(value)}, expected a number, a word or a list of numbers")
    return Grid(key, RegisteredTable(options=raw), (key,)) if faults.count == before else None


def build_registered(grid: Grid) -> Geometry:
    """The geometry of a valid table.

    Raises:
        FileError: what its class says against the arguments.
    """
    try:
        return GEOMETRIES[grid.key](**grid.table.options)
    except TidrError:
        raise
    except (TypeError, ValueError) as error:
        raise FileError("", str(error), "see the arguments of the class") from error


def registered_table(name: str, geometry: Any) -> dict[str, Any]:
    """What stands under the key of the geometry of node `name`.

    Raises:
        FileError: an argument that no scene file can hold.
    """
    found = arguments_of(geometry)
    for key, value in found.items():
        if not _is_option(value):
            raise FileError(f"{name}.{key}", f"is {brief(value)}, which has no place in a scene file")
    return found


def _is_option(value: object, depth: int = 2) -> bool:
    if isinstance(value, list):
        return depth > 0 and len(value) <= LONGEST and all(_is_option(one, depth - 1) for one in value)
    return isinstance(value, bool | str) or is_number(value)
