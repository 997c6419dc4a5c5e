"""From the valid table of a volume, voxel grid, tetrahedra, field or registered geometry to the geometry itself."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError, SceneError, TidrError
from tidr.parameter import nearest
from tidr.scene.graph import Geometry
from tidr.scene.parametric import GEOMETRIES

from .arrays import read_arrays
from .guard import Limits, at, check_count
from .scene_grids import FieldTable, Grid, GridTable, TetrahedraTable, VolumeTable, VoxelsTable, field_class
from .scene_registered import build_registered
from .volume import VolumeData, read_volume

UNIT_BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
ARRAYS = {
    "volume": ("density", "color", "sh", "albedo", "g", "density_shift"),
    "voxels": ("occupancy", "sdf", "tsdf", "color", "semantics", "warp", "truncation"),
    "tetrahedra": ("sdf", "offsets"),
}
UNNAMED = {"volume": "density", "voxels": "occupancy", "tetrahedra": "sdf"}  # what a file's only grid is


def build_grid(grid: Grid, path: Path | None, limits: Limits, held: VolumeData | None = None) -> Geometry:
    """The geometry; `path` is the file that the table names, `held` what is in it, where somebody has read it.

    Raises:
        FileError, SceneError: what shows only now: a broken file, arrays that do not belong there, values out of range.
    """
    if grid.key in GEOMETRIES:
        return build_registered(grid)
    makers = {"volume": _volume, "voxels": _voxels, "tetrahedra": _tetrahedra}
    try:
        if grid.key == "field":
            return _field(grid.table, path, limits)
        stored, box = _stored(grid, path, limits, held)
        return makers[grid.key](grid.table, stored, box, limits)
    except FileError:
        raise
    except TidrError as error:  # names the argument, not the key
        name = error.where.removeprefix(f"{grid.key}.")
        raise SceneError(grid.key, f"{name} {error.what}" if name != grid.key else error.what, error.mend) from error


def _stored(
    grid: Grid, path: Path | None, limits: Limits, held: VolumeData | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that a file gives (none without one), and the corners that the table, else the file, gives."""
    table: GridTable = grid.table
    box = {} if table.lower is None else {"lower": table.lower, "upper": table.upper}
    if path is None:
        return {}, box
    data = held or read_volume(path, limits, UNNAMED[grid.key])
    for name in data.grids:
        if name not in ARRAYS[grid.key]:
            raise FileError(at(path, name), f"does not belong to {grid.key}", nearest(name, ARRAYS[grid.key]))
    if data.lower is not None and not box:
        box = {"lower": data.lower, "upper": data.upper}
    return {name: float(array) if array.ndim == 0 else array for name, array in data.grids.items()}, box


def _volume(table: VolumeTable, stored: dict[str, Any], box: dict[str, Any], limits: Limits) -> Geometry:
    from tidr.scene.volume import Volume

    values = dict(stored)
    if table.resolution is not None:
        harmonics = 0 if table.sh_degree is None else (table.sh_degree + 1) ** 2
        shape = _shape(table.resolution, 7 + 3 * harmonics, limits)
        values["density"] = np.full(shape, table.density)
        values |= {"sh": np.zeros((*shape, harmonics, 3))} if harmonics else {}
    if "density" not in values:
        raise SceneError("volume.file", f"holds {', '.join(values)} but no density", "add a density [D, H, W]")
    cells = values["density"].shape
    for name in ("color", "albedo", "g", "density_shift"):
        given = getattr(table, name)
        if given is not None and name in stored:
            raise SceneError(f"volume.{name}", "stands beside the file, which gives it already", "give one of them")
        if given is not None:
            everywhere = name not in ("color", "albedo") or name in table.uniform
            values[name] = given if everywhere else np.broadcast_to(given, (*cells, 3)).copy()
    return Volume(**values, **box, density_activation=table.density_activation)


def _voxels(table: VoxelsTable, stored: dict[str, Any], box: dict[str, Any], limits: Limits) -> Geometry:
    from tidr.scene.voxels import VoxelGrid, cell_centers

    values = dict(stored)
    if table.resolution is not None:
        shape = _shape(table.resolution, 4 + (table.classes or 0), limits)
        if table.sphere is not None:
            values["sdf"] = _ball(table.sphere, cell_centers(shape, **box))
        else:
            values["occupancy"] = np.full(shape, table.occupancy)
        if table.color is not None:
            values["color"] = np.broadcast_to(table.color, (*shape, 3)).copy()
        if table.classes is not None:
            values["semantics"] = np.full((*shape, table.classes), 1 / table.classes)
    return VoxelGrid(**values, **box)


def _tetrahedra(table: TetrahedraTable, stored: dict[str, Any], box: dict[str, Any], limits: Limits) -> Geometry:
    from tidr.scene.tetrahedra import Tetrahedra

    values = dict(stored)
    if table.resolution is not None:
        shape = tuple(n + 1 for n in _shape(table.resolution, 30, limits))
        lower, upper = (np.array(box.get(name, side)) for name, side in zip(("lower", "upper"), UNIT_BOX, strict=True))
        axes = [np.linspace(low, high, n) for low, high, n in zip(lower, upper, reversed(shape), strict=True)]
        z, y, x = np.meshgrid(*reversed(axes), indexing="ij")
        values["sdf"] = _ball(table.sphere or 0.0, np.stack([x, y, z], -1))
    if "sdf" not in values:
        raise SceneError("tetrahedra.file", f"holds {', '.join(values)} but no sdf", "add an sdf [D + 1, H + 1, W + 1]")
    return Tetrahedra(**values, **box, shading=table.shading)


def _field(table: FieldTable, path: Path | None, limits: Limits) -> Geometry:
    try:
        made = field_class(table.type)(**table.options)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise SceneError("field", f"cannot be made: {error}", "look at its options") from error
    if path is None:
        return made
    arrays, parameters = read_arrays(path, limits), made.parameters()
    if set(arrays) != set(parameters):
        raise FileError(path, f"holds {', '.join(arrays)}, expected {', '.join(parameters)}", "is it of this field?")
    for name, parameter in parameters.items():
        array = arrays[name]
        if array.shape != parameter.shape or array.dtype.kind != "f":
            what = f"has shape {array.shape} of {array.dtype}, the options ask for {parameter.shape}"
            raise FileError(at(path, name), what, "give the options that it was fitted with")
        if not np.isfinite(array).all():
            raise FileError(at(path, name), "holds numbers that are not finite")
        parameter.set(array)
    return made


def _shape(resolution: Sequence[int], numbers: int, limits: Limits) -> tuple[int, ...]:
    """[D, H, W] of cells counted along x, y, z, once so many numbers a cell are within the limits."""
    check_count("resolution", "numbers", math.prod(resolution) * numbers, min(limits.voxels, limits.bytes // 8))
    return tuple(reversed(resolution))


def _ball(radius: float, points: np.ndarray) -> np.ndarray:
    """Distance of points [..., 3] to a ball around their middle."""
    middle = (points[0, 0, 0] + points[-1, -1, -1]) / 2
    return np.linalg.norm(points - middle, axis=-1) - radius
