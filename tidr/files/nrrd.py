"""NRRD: one grid with its place in the world, through the extra tidr[volumes] (pynrrd)."""

import bz2
import io
import math
import warnings
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError

from .guard import DEFAULT, Limits, at, check_count, read_bytes
from .write import replacing

TYPES = {
    "float": "f4", "double": "f8", "signed char": "i1", "int8": "i1", "int8_t": "i1", "unsigned char": "u1",
    "uchar": "u1", "uint8": "u1", "uint8_t": "u1", "short": "i2", "int16": "i2", "int16_t": "i2",
    "unsigned short": "u2", "ushort": "u2", "uint16": "u2", "uint16_t": "u2", "int": "i4", "signed int": "i4",
    "int32": "i4", "int32_t": "i4", "unsigned int": "u4", "uint": "u4", "uint32": "u4", "uint32_t": "u4",
}  # fmt: skip
OBLIQUE = 1e-4  # share of an axis that may point along another axis of the world


def read_nrrd(path: Path, limits: Limits = DEFAULT, unnamed: str = "density") -> dict[str, np.ndarray]:
    """The grid of an NRRD, axes turned and flipped to [z, y, x], with its box where the header tells it.

    Samples are taken as cell centres: the box reaches half a cell beyond the outermost. World axes are taken as they
    are, whatever anatomical directions `space` names.

    Raises:
        FileError: data in another file, an encoding other than raw, gzip or bzip2, oblique axes, other than 3 axes of
            space and 1 or 3 channels, cut off, or pynrrd is not installed.
    """
    nrrd = _library(path)
    data = read_bytes(path, limits)
    stream = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = dict(nrrd.read_header(stream))
    except Exception as error:  # the parser raises nearly anything on garbage
        raise FileError(path, f"is no valid NRRD: {error or type(error).__name__}") from error
    for key in ("data file", "datafile"):
        if key in header:
            raise FileError(at(path, key), "keeps its data in another file", "join header and data in one .nrrd")
    for key in ("line skip", "lineskip", "byte skip", "byteskip"):
        if header.get(key):
            raise FileError(at(path, key), f"is {header[key]}, expected 0")
    grid = _values(path, header, data[stream.tell() :], limits)
    return _placed(path, header, grid, unnamed)


def write_nrrd(path: Path, grid: np.ndarray, lower: np.ndarray | None, upper: np.ndarray | None) -> None:
    """Write one grid [D, H, W] or [D, H, W, C] with its box, gzip inside."""
    nrrd = _library(path)
    spatial = ["domain"] * 3
    header: dict[str, Any] = {"encoding": "gzip", "kinds": ["vector"] * (grid.ndim - 3) + spatial}
    if lower is not None and upper is not None:
        step = (upper - lower) / np.array(grid.shape[2::-1])
        none = np.full((grid.ndim - 3, 3), np.nan)
        header |= {"space dimension": 3, "space directions": np.concatenate([none, np.diag(step)])}
        header |= {"space origin": lower + step / 2}
    with replacing(path) as temporary:
        nrrd.write(str(temporary), np.ascontiguousarray(grid), header, index_order="C")


def _library(path: Path) -> Any:
    try:
        return import_module("nrrd")
    except ImportError as error:
        raise FileError(path, "NRRD needs pynrrd", "pip install 'tidr[volumes]'") from error


def _values(path: Path, header: dict, packed: bytes, limits: Limits) -> np.ndarray:
    """The array, slowest axis first."""
    sizes = [int(size) for size in np.atleast_1d(header.get("sizes", []))]
    if len(sizes) not in (3, 4) or min(sizes) < 1:
        raise FileError(at(path, "sizes"), f"is {sizes}, expected 3 axes, or 4 with channels")
    if header.get("type") not in TYPES:
        raise FileError(at(path, "type"), f"is {header.get('type')!r:.40}, expected one of {', '.join(TYPES)}")
    kind = np.dtype(TYPES[header["type"]]).newbyteorder(">" if header.get("endian") == "big" else "<")
    check_count(at(path, "sizes"), "values", math.prod(sizes), limits.voxels)
    needed, encoding = math.prod(sizes) * kind.itemsize, str(header.get("encoding")).lower()
    if needed > limits.bytes:
        raise FileError(path, f"unpacks to {needed} bytes, the limit is {limits.bytes}", "raise Limits.bytes")
    if encoding != "raw" and needed > max(64 << 20, limits.inflation * len(packed)):
        raise FileError(path, f"unpacks to {needed} bytes, {limits.inflation} times its size", "is it a zip bomb?")
    try:
        if encoding in ("gzip", "gz"):
            values = zlib.decompressobj(31).decompress(packed, needed + 1)
        elif encoding in ("bzip2", "bz2"):
            values = bz2.BZ2Decompressor().decompress(packed, needed + 1)
        elif encoding == "raw":
            values = packed
        else:
            raise FileError(at(path, "encoding"), f"is {encoding!r:.40}, expected raw, gzip or bzip2")
    except (zlib.error, OSError, EOFError, ValueError, MemoryError) as error:
        raise FileError(path, f"cannot be unpacked: {error or type(error).__name__}", "is it cut off?") from error
    if len(values) != needed:
        found = "more" if len(values) > needed else f"{len(values)}"
        raise FileError(path, f"needs {needed} bytes of values but has {found}", "is it cut off?")
    return np.frombuffer(values, kind).reshape(sizes[::-1])


def _placed(path: Path, header: dict, grid: np.ndarray, unnamed: str) -> dict[str, np.ndarray]:
    """The grid by name, [z, y, x, channels], and its box."""
    directions = _directions(path, header, grid.ndim)
    plain = [axis for axis, row in enumerate(directions) if row is None]
    if len(plain) != grid.ndim - 3:
        raise FileError(at(path, "kinds"), f"has {grid.ndim - len(plain)} axes of space, expected 3")
    channels = 1
    if plain:
        grid = np.moveaxis(grid, grid.ndim - 1 - plain[0], -1)
        channels = grid.shape[3]
        if channels not in (1, 3):
            raise FileError(at(path, "sizes"), f"has {channels} channels, expected 1 or 3")
        grid = grid[..., 0] if channels == 1 else grid
    name = unnamed if channels == 1 else "color"
    rows = [row for row in directions if row is not None]
    steps = np.array(rows, np.float64)
    if not steps.any():
        return {name: np.ascontiguousarray(grid)}
    along = np.abs(steps).argmax(1)  # which axis of the world each axis of the file, fastest first, goes along
    sizes = np.abs(steps[range(3), along])
    if sorted(along) != [0, 1, 2] or (np.abs(steps).sum(1) - sizes > OBLIQUE * sizes).any():
        what = f"are {steps.tolist()}: not along the axes of the world"
        raise FileError(at(path, "space directions"), what, "resample the grid, or write it without and turn the node")
    origin = np.asarray(header.get("space origin", np.zeros(3)), np.float64)
    if origin.shape != (3,) or not np.isfinite(origin).all() or not np.isfinite(sizes).all():
        raise FileError(at(path, "space origin"), f"is {origin.tolist()}, expected 3 finite numbers")
    order = [2 - int(np.flatnonzero(along == world)[0]) for world in (2, 1, 0)]
    grid = np.transpose(grid, order + [3] * (channels == 3))
    low, step = np.empty(3), np.empty(3)
    for world in range(3):
        of_file = int(np.flatnonzero(along == world)[0])
        signed, count = steps[of_file, world], grid.shape[2 - world]
        if signed < 0:
            grid = np.flip(grid, 2 - world)
        step[world] = abs(signed)
        low[world] = origin[world] + min(signed, 0) * (count - 1) - abs(signed) / 2
    upper = low + step * np.array(grid.shape[2::-1])
    return {name: np.ascontiguousarray(grid), "lower": low, "upper": upper}


def _directions(path: Path, header: dict, axes: int) -> list[np.ndarray | None]:
    """For each axis, fastest first, its step in the world (zeros where nothing is told), None for channels."""
    kinds = header.get("kinds", [])
    told = header.get("space directions")
    if told is not None:
        rows = [None if row is None or not np.isfinite(row).all() else np.asarray(row, np.float64) for row in told]
        if len(rows) != axes or any(row is not None and row.shape != (3,) for row in rows):
            raise FileError(at(path, "space directions"), f"does not give 3 numbers for each of {axes} axes")
        return rows
    spaces = [kind in ("domain", "space") for kind in kinds] if len(kinds) == axes else []
    if sum(spaces) != 3:
        spaces = [axis >= axes - 3 for axis in range(axes)]
    spacings = np.asarray(header.get("spacings", np.full(axes, np.nan)), np.float64)
    if spacings.shape != (axes,):
        raise FileError(at(path, "spacings"), f"does not give a number for each of {axes} axes")
    found: list[np.ndarray | None] = [None] * axes
    known = all(np.isfinite(size) for size, space in zip(spacings, spaces, strict=True) if space)
    world = iter(np.eye(3))
    for axis, space in enumerate(spaces):
        if space:
            found[axis] = next(world) * (spacings[axis] if known else 0.0)
    return found
