"""Point clouds: .ply with vertices and no faces, and .npz of plain arrays."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.parameter import nearest

from .arrays import npz_bytes, read_arrays
from .guard import DEFAULT, Limits, at, check_count, check_finite, read_bytes
from .ply_elements import Column, read_elements
from .srgb import linear_to_srgb, srgb_to_linear
from .write import write_bytes

KINDS = (".ply", ".npz")
AXES, NORMAL = ("x", "y", "z"), ("nx", "ny", "nz")
COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
OPACITIES = ("opacity", "alpha")
CHANNELS = {"positions": 3, "colors": 3, "normals": 3, "radii": 1, "opacities": 1}


@dataclass(frozen=True, kw_only=True)
class PointData:
    """N points: positions [N, 3], and where known colors [N, 3] (linear RGB in [0, 1]), normals [N, 3] (not zero, of
    any length), radii [N, 1] (> 0, object units) and opacities [N, 1] in [0, 1]."""

    positions: np.ndarray
    colors: np.ndarray | None = None
    normals: np.ndarray | None = None
    radii: np.ndarray | None = None
    opacities: np.ndarray | None = None

    def given(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name) is not None}


def read_points(path: str | Path, limits: Limits = DEFAULT) -> PointData:
    """The points of a .ply, ascii or binary, or of an .npz with arrays named as those of `PointData`.

    In a .ply whole-number colours are sRGB, real ones linear; radius (or radii) and opacity (or alpha; whole numbers
    count to the largest of their type) are read where they stand. Other elements and properties are passed.

    Raises:
        FileError: names the file, the element and the property or row: cut off, no point, not finite, out of range,
            more than `limits.vertices`.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise FileError(path, f"unknown kind of point cloud {path.suffix!r}", "use one of " + " ".join(KINDS))
    found = _of_ply(path, limits) if kind == ".ply" else _of_npz(path, limits)
    return _checked(path, PointData(**found), limits)


def write_points(path: str | Path, data: PointData) -> None:
    """Write points as .ply (binary, as `points_bytes`) or .npz (every bit kept).

    Raises:
        FileError: unknown suffix, points that `read_points` would refuse, a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        write_bytes(path, npz_bytes(**_checked(path, data, DEFAULT).given()))
    elif path.suffix.lower() == ".ply":
        write_bytes(path, points_bytes(data, str(path)))
    else:
        raise FileError(path, f"unknown kind of point cloud {path.suffix!r}", "write one of " + " ".join(KINDS))


def points_bytes(data: PointData, where: str) -> bytes:
    """The bytes of a binary .ply: float where that is exact, else double.

    Colours are uchar sRGB where those are exactly the colours, as they are when read from such a file; else linear
    float, which fewer programs understand but which keeps every bit.
    """
    arrays = _checked(where, data, DEFAULT).given()
    columns: list[tuple[str, str, np.ndarray]] = []
    names = {"positions": AXES, "normals": NORMAL, "radii": ("radius",), "opacities": ("opacity",)}
    for key, labels in names.items():
        if key in arrays:
            kind = "f4" if (arrays[key].astype(np.float32) == arrays[key]).all() else "f8"
            columns += [(label, kind, arrays[key][:, k]) for k, label in enumerate(labels)]
    if "colors" in arrays:
        colors = arrays["colors"]
        encoded = np.rint(linear_to_srgb(colors) * 255)
        kind = "f4" if (colors.astype(np.float32) == colors).all() else "f8"
        if (srgb_to_linear(encoded / 255).astype(colors.dtype) == colors).all():
            kind, colors = "u1", encoded
        columns += [(label, kind, colors[:, k]) for k, label in enumerate(COLORS[0])]
    table = np.empty(len(arrays["positions"]), np.dtype([(name, "<" + kind) for name, kind, _ in columns]))
    for name, _, values in columns:
        table[name] = values
    words = {"u1": "uchar", "f4": "float", "f8": "double"}
    header = ["ply", "format binary_little_endian 1.0", "comment written by tidr", f"element vertex {len(table)}"]
    header += [f"property {words[kind]} {name}" for name, kind, _ in columns]
    return "\n".join([*header, "end_header", ""]).encode() + table.tobytes()


def _of_ply(path: Path, limits: Limits) -> dict[str, np.ndarray]:
    columns = read_elements(path, read_bytes(path, limits), limits)
    vertex = columns.get("vertex")
    if vertex is None:
        raise FileError(path, f"has no element vertex (elements: {', '.join(columns) or 'none'})", "give a point cloud")
    missing = [name for name in AXES if name not in vertex]
    if missing:
        raise FileError(at(path, "vertex"), f"has no property {', '.join(missing)}", nearest(missing[0], vertex))
    found = {"positions": _stack(path, vertex, AXES)}
    if set(NORMAL) <= vertex.keys():
        normals = _stack(path, vertex, NORMAL)
        if normals.any():  # many programs write zeros for none
            found["normals"] = normals
    colors = next((names for names in COLORS if set(names) <= vertex.keys()), None)
    if colors is not None:
        values = _stack(path, vertex, colors)
        most = [_most(vertex[name]) for name in colors]
        found["colors"] = srgb_to_linear(values / most) if max(most) > 1 else values
    for key, names in (("radii", ("radius", "radii")), ("opacities", OPACITIES)):
        name = next((name for name in names if name in vertex), None)
        if name is not None:
            found[key] = _stack(path, vertex, (name,)) / _most(vertex[name])
    return found


def _of_npz(path: Path, limits: Limits) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, limits)
    for name in arrays:
        if name not in CHANNELS:
            raise FileError(at(path, name), "does not belong to a point cloud", nearest(name, CHANNELS))
    if "positions" not in arrays:
        raise FileError(path, f"holds {', '.join(arrays)} but no positions", "add positions [N, 3]")
    return arrays


def _checked(where: object, data: PointData, limits: Limits) -> PointData:
    """The same points as floats, once every array has its shape and every number its range."""
    found, count = {}, len(np.atleast_1d(data.positions))
    check_count(str(where), "points", count, limits.vertices)
    if count == 0:
        raise FileError(where, "holds no point", "give at least one")
    for name, array in data.given().items():
        array = np.asarray(array)
        array = array if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8) else array.astype(np.float64)
        array = array[:, None] if array.ndim == 1 and CHANNELS[name] == 1 else array
        if array.shape != (count, CHANNELS[name]):
            raise FileError(at(where, name), f"has shape {array.shape}, expected [{count}, {CHANNELS[name]}]")
        check_finite(where, f"{name} of vertex", array)
        good = {"normals": lambda rows: rows.any(1, keepdims=True), "radii": lambda rows: rows > 0}
        good |= dict.fromkeys(("colors", "opacities"), lambda rows: (rows >= 0) & (rows <= 1))
        bad = ~good[name](array).all(1) if name in good else np.zeros(count, bool)
        if bad.any():
            row = int(bad.argmax())
            wanted = {"normals": "a direction", "radii": "a length above 0"}.get(name, "numbers in [0, 1]")
            raise FileError(at(where, f"{name} of vertex {row}"), f"is {array[row].tolist()}, expected {wanted}")
        found[name] = array
    return PointData(**found)


def _stack(path: Path, vertex: dict[str, Column], names) -> np.ndarray:
    """[N, len(names)] in f64."""
    for name in names:
        if isinstance(vertex[name], tuple):
            raise FileError(at(path, f"vertex.{name}"), "is a list, expected single values")
    return np.stack([np.asarray(vertex[name], np.float64) for name in names], axis=1)


def _most(column: Column) -> float:
    """The number that stands for 1."""
    kind = np.asarray(column).dtype
    return float(np.iinfo(kind).max) if kind.kind in "iu" else 1.0
