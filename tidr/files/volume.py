"""Grids of voxels: .npz with named arrays, .npy, Mitsuba's .vol and, with an extra, NRRD.

Arrays are [z, y, x], x fastest, with channels behind; values stand at cell centres of the box from lower to upper.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.parameter import nearest

from .arrays import read_arrays, write_arrays
from .guard import DEFAULT, LARGEST_COORDINATE, Limits, at, check_count, read_bytes
from .write import write_bytes

READ = WRITTEN = (".npz", ".npy", ".vol", ".nrrd")
SHAPES = {
    "density": (), "color": (3,), "sh": (None, 3), "albedo": (3,), "occupancy": (), "sdf": (), "tsdf": (),
    "semantics": (None,), "warp": (3,), "offsets": (3,),
}  # fmt: skip
EVERYWHERE = ("color", "albedo")  # also without cells: one value for the whole grid
NUMBERS = ("g", "truncation", "density_shift")
BOX = ("lower", "upper")
UNNAMED = ("", "arr_0")  # what numpy calls an array without a name
HEADER = struct.Struct("<3sB5i6f")  # of a .vol


@dataclass(frozen=True, eq=False)
class VolumeData:
    """Grids [D, H, W, ...] and single values by name, and their box where the file tells it."""

    grids: Mapping[str, np.ndarray]
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    shape: tuple[int, ...] = field(init=False)  # D, H, W

    def __post_init__(self) -> None:
        sizes = [grid.shape[:3] for name, grid in self.grids.items() if grid.ndim >= 3 and name != "warp"]
        object.__setattr__(self, "shape", sizes[0] if sizes else ())


def read_volume(path: str | Path, limits: Limits = DEFAULT, unnamed: str = "density") -> VolumeData:
    """The grids of a file, f32 or f64 as stored (integers and half floats become f32).

    An .npz holds any of density, color, sh, albedo, occupancy, sdf, tsdf, semantics, warp, offsets [D, H, W, ...], the
    numbers g, truncation and density_shift, and the box as lower and upper [3]. An .npy holds one grid and no box. A
    .vol is Mitsuba's grid of version 3 in single precision. NRRD needs the extra tidr[volumes].

    Args:
        unnamed: what a grid of one channel is where the file does not name it; one of three channels is "color".

    Raises:
        FileError: names the file and the array: unknown name, other shape, not finite, cut off, larger than `limits`.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".vol":
        arrays = _read_vol(path, limits, unnamed)
    elif kind == ".nrrd":
        from .nrrd import read_nrrd

        arrays = read_nrrd(path, limits, unnamed)
    elif kind in READ:
        arrays = read_arrays(path, limits)
        if len(arrays) == 1 and (name := next(iter(arrays))) in UNNAMED:
            arrays = {"color" if arrays[name].ndim == 4 else unnamed: arrays[name]}
    else:
        raise FileError(path, f"unknown kind of volume {path.suffix!r}", f"use one of {' '.join(READ)}")
    return _checked(path, arrays, limits)


def write_volume(path: str | Path, data: VolumeData) -> None:
    """Write grids; the suffix chooses the format. An .npz takes all, the others one grid (and .npy no box).

    Raises:
        FileError: several grids for a format of one, or a folder that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in WRITTEN:
        raise FileError(path, f"unknown kind of volume {path.suffix!r}", f"use one of {' '.join(WRITTEN)}")
    box = {name: corner for name, corner in zip(BOX, (data.lower, data.upper), strict=True) if corner is not None}
    _checked(path, {**data.grids, **box}, DEFAULT)
    if kind == ".npz":
        write_arrays(path, **data.grids, **box)
        return
    if len(data.grids) != 1 or not data.shape:
        raise FileError(path, f"cannot hold {', '.join(data.grids)}: it takes one grid", "write an .npz")
    (grid,) = data.grids.values()
    if kind == ".npy":
        write_arrays(path, array=grid)
    elif kind == ".vol":
        write_bytes(path, _vol_bytes(path, grid, data))
    else:
        from .nrrd import write_nrrd

        write_nrrd(path, grid, data.lower, data.upper)


def _checked(path: Path, arrays: Mapping[str, np.ndarray], limits: Limits) -> VolumeData:
    """The arrays, once each has its shape and finite numbers and all grids agree."""
    grids: dict[str, np.ndarray] = {}
    corners: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        where = at(path, name)
        if name not in (*SHAPES, *NUMBERS, *BOX):
            raise FileError(where, "unknown array", nearest(name, [*SHAPES, *NUMBERS, *BOX]))
        array = array.astype(np.float32) if array.dtype.kind in "iub" or array.dtype.itemsize == 2 else array
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        last = SHAPES.get(name, ())
        fits = array.ndim == 3 + len(last) and all(w in (n, None) for w, n in zip(last, array.shape[3:], strict=True))
        fits = fits or (name in EVERYWHERE and array.shape == last)
        if name not in SHAPES:
            fits = array.shape == ((3,) if name in BOX else ())
        if not fits or not array.size:
            wanted = "a number" if name in NUMBERS else "[3]" if name in BOX else _spelled(last)
            raise FileError(where, f"has shape {array.shape}, expected {wanted}")
        check_count(where, "voxels", math.prod(array.shape[:3]) if array.ndim >= 3 else 1, limits.voxels)
        if not np.isfinite(array).all() or np.abs(array).max() > LARGEST_COORDINATE:
            index = tuple(int(i) for i in np.argwhere(~(np.abs(array) <= LARGEST_COORDINATE))[0])
            raise FileError(at(path, f"{name}{list(index)}"), f"is {array[index]}, expected a finite number")
        (corners if name in BOX else grids)[name] = array
    if not any(grid.ndim >= 3 for grid in grids.values()):
        raise FileError(path, f"holds no grid, only {', '.join(arrays)}", f"name one {', '.join(SHAPES)}")
    if len(corners) == 1:
        raise FileError(path, f"has {next(iter(corners))} alone", "give lower and upper, or neither")
    if corners and not (corners["lower"] < corners["upper"]).all():
        raise FileError(path, f"lower {corners['lower'].tolist()} is not below upper {corners['upper'].tolist()}")
    data = VolumeData(grids, *(corners[name].astype(np.float64) if corners else None for name in BOX))
    for name, grid in grids.items():
        if grid.ndim >= 3 and name != "warp" and grid.shape[:3] != data.shape:
            raise FileError(at(path, name), f"has {grid.shape[:3]} cells, other grids {data.shape}")
    return data


def _spelled(last: tuple) -> str:
    return "[" + ", ".join(["D", "H", "W", *("K" if n is None else str(n) for n in last)]) + "]"


def _read_vol(path: Path, limits: Limits, unnamed: str) -> dict[str, np.ndarray]:
    data = read_bytes(path, limits)
    if data[:3] != b"VOL":
        raise FileError(path, f"begins with {data[:3]!r}, expected VOL", "is it a volume of Mitsuba?")
    if len(data) < HEADER.size:
        raise FileError(path, f"has {len(data)} bytes, its header needs {HEADER.size}", "is it cut off?")
    _, version, encoding, width, height, depth, channels, *box = HEADER.unpack_from(data)
    if version != 3 or encoding != 1:
        what = f"has version {version} and encoding {encoding}, expected version 3 and encoding 1 (single precision)"
        raise FileError(path, what, "convert it with Mitsuba")
    for name, size in (("x", width), ("y", height), ("z", depth)):
        check_count(str(path), f"cells along {name}", size, limits.voxels)
    if channels not in (1, 3):
        raise FileError(path, f"has {channels} channels, expected 1 or 3")
    cells = check_count(str(path), "voxels", width * height * depth, limits.voxels)
    left = len(data) - HEADER.size
    check_count(str(path), "values", cells * channels, limits.voxels * 3, 4, left)
    if left != cells * channels * 4:
        raise FileError(path, f"has {left} bytes of values, its header asks for {cells * channels * 4}")
    grid = np.frombuffer(data, "<f4", offset=HEADER.size).reshape(depth, height, width, channels)
    values = grid[..., 0] if channels == 1 else grid
    return {unnamed if channels == 1 else "color": values, "lower": np.array(box[:3]), "upper": np.array(box[3:])}


def _vol_bytes(path: Path, grid: np.ndarray, data: VolumeData) -> bytes:
    channels = grid.shape[3] if grid.ndim == 4 else 1
    if grid.ndim > 4 or channels not in (1, 3):
        raise FileError(path, f"takes 1 or 3 channels, the grid has shape {grid.shape}", "write an .npz")
    lower = (-1.0, -1.0, -1.0) if data.lower is None else data.lower
    upper = (1.0, 1.0, 1.0) if data.upper is None else data.upper
    header = HEADER.pack(b"VOL", 3, 1, *reversed(grid.shape[:3]), channels, *lower, *upper)
    return header + grid.astype("<f4").tobytes()
