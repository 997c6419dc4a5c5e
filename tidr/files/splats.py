"""Clouds of 3D Gaussians as .ply files in the layout of Kerbl et al. 2023, which other splatting programs share.

One element "vertex" with float properties x y z, nx ny nz (zeros), f_dc_0..2, f_rest_0.. (all coefficients of red, then
green, then blue), opacity (logit), scale_0..2 (natural logarithms), rot_0..3 (quaternion, w first). The colours are
those of a screen (sRGB), unless a comment in the header, which is ours, says that they are linear.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.parameter import nearest
from tidr.scene.gaussians import ENCODINGS, HARMONICS

from .guard import DEFAULT, LARGEST_COORDINATE, Limits, at, read_bytes
from .ply_elements import Column, read_elements
from .write import write_bytes

MEANS, NORMALS, COLOR = ("x", "y", "z"), ("nx", "ny", "nz"), ("f_dc_0", "f_dc_1", "f_dc_2")
SCALES, ROTATION = ("scale_0", "scale_1", "scale_2"), ("rot_0", "rot_1", "rot_2", "rot_3")
NEEDED = (*MEANS, *COLOR, "opacity", *SCALES, *ROTATION)
LINEAR, SRGB = ENCODINGS
COMMENT = "comment colors are linear"
MEND = "export it as an uncompressed 3D Gaussian splatting .ply"


@dataclass(frozen=True, kw_only=True)
class SplatData:
    """N Gaussians as a file has them; the numbers mean what those of `tidr.Gaussians` do.

    means [N, 3], log_scales [N, 3], rotations [N, 4] (w first, any length but 0), opacity_logits [N, 1], sh_dc [N, 3],
    sh_rest [N, K - 1, 3] or None (degree 0). Single precision where the file is. encoding: "linear" or "srgb".
    """

    means: np.ndarray
    log_scales: np.ndarray
    rotations: np.ndarray
    opacity_logits: np.ndarray
    sh_dc: np.ndarray
    sh_rest: np.ndarray | None = None
    encoding: str = LINEAR


def read_splats(path: str | Path, limits: Limits = DEFAULT) -> SplatData:
    """The Gaussians of a .ply, ascii or binary; properties may stand in any order, those that are not known are passed.

    Normals may be missing; without f_rest the degree is 0. Every number comes back to the last bit.

    Raises:
        FileError: names the file, the element and the property: no PLY or cut off, no vertex, a property that is
            missing or a list, a number of f_rest that belongs to no degree up to 3, not finite, a quaternion of
            length 0, more than `limits.vertices`.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise FileError(path, f"unknown kind of Gaussians {path.suffix!r}", "use a .ply")
    data = read_bytes(path, limits)
    columns = read_elements(path, data, limits)
    header = data[: data.find(b"end_header")].decode("latin-1").splitlines()
    vertex = columns.get("vertex")
    if vertex is None:
        raise FileError(path, f"has no element vertex (elements: {', '.join(columns) or 'none'})", MEND)
    missing = [name for name in NEEDED if name not in vertex]
    if missing:
        where, hint = at(path, "vertex"), nearest(missing[0], vertex)
        raise FileError(where, f"has no property {', '.join(missing[:4])}, so these are no Gaussians ({hint})", MEND)
    if len(vertex["x"]) == 0:
        raise FileError(at(path, "vertex"), "holds no Gaussian", "give at least one")
    rest = _rest_names(path, vertex)
    rotations = _stack(path, vertex, ROTATION)
    none = ~(np.linalg.norm(rotations.astype(np.float64), axis=1) > 0)
    if none.any():
        what = "is a quaternion of length 0, expected a rotation, w first"
        raise FileError(at(path, f"vertex {int(none.argmax())}.rot"), what)
    coefficients = _stack(path, vertex, rest).reshape(len(rotations), 3, -1).transpose(0, 2, 1) if rest else None
    return SplatData(
        means=_stack(path, vertex, MEANS),
        log_scales=_stack(path, vertex, SCALES),
        rotations=rotations,
        opacity_logits=_stack(path, vertex, ("opacity",)),
        sh_dc=_stack(path, vertex, COLOR),
        sh_rest=coefficients,
        encoding=LINEAR if COMMENT in map(str.strip, header) else SRGB,
    )


def write_splats(path: str | Path, data: SplatData) -> None:
    """Write Gaussians as a binary .ply, as `splat_bytes`.

    Raises:
        FileError: another suffix, numbers that are not finite in single precision, a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise FileError(path, f"unknown kind of Gaussians {path.suffix!r}", "write a .ply")
    write_bytes(path, splat_bytes(data, str(path)))


def splat_bytes(data: SplatData, where: str) -> bytes:
    """The bytes of the .ply: little endian floats in the published order, normals 0; single precision is kept exactly.

    Raises:
        FileError: numbers that are not finite in single precision, under `where`.
    """
    count = len(data.means)
    harmonics = 0 if data.sh_rest is None else data.sh_rest.shape[1]
    parts = [data.means, np.zeros((count, 3)), data.sh_dc]
    if data.sh_rest is not None:
        parts.append(np.asarray(data.sh_rest).transpose(0, 2, 1).reshape(count, -1))
    parts += [data.opacity_logits, data.log_scales, data.rotations]
    names = [*MEANS, *NORMALS, *COLOR, *(f"f_rest_{k}" for k in range(3 * harmonics)), "opacity", *SCALES, *ROTATION]
    with np.errstate(over="ignore"):
        table = np.concatenate([np.asarray(part).astype("<f4") for part in parts], axis=1)
    if not np.isfinite(table).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(table))[0])
        raise FileError(at(where, f"vertex {row}.{names[column]}"), "is not finite in single precision")
    header = ["ply", "format binary_little_endian 1.0", *([COMMENT] if data.encoding == LINEAR else [])]
    header.append(f"element vertex {count}")
    header += [f"property float {name}" for name in names]
    return "\n".join([*header, "end_header", ""]).encode() + table.tobytes()


def _rest_names(path: Path, vertex: dict[str, Column]) -> list[str]:
    """f_rest_0 to the last, in order, once their number is that of a degree."""
    found = [name for name in vertex if name.startswith("f_rest_")]
    names = [f"f_rest_{k}" for k in range(len(found))]
    if set(found) != set(names) or len(names) not in [3 * (count - 1) for count in HARMONICS]:
        what = f"has {len(found)} properties f_rest, expected f_rest_0 to f_rest_8, f_rest_23, f_rest_44, or none"
        raise FileError(at(path, "vertex"), what, "harmonics go up to degree 3")
    return names


def _stack(path: Path, vertex: dict[str, Column], names) -> np.ndarray:
    """[N, len(names)] of finite numbers, in f32 where the file has no wider ones."""
    columns = []
    for name in names:
        values = vertex[name]
        if isinstance(values, tuple):
            raise FileError(at(path, f"vertex.{name}"), "is a list, expected single values", MEND)
        columns.append(values)
        good = np.abs(values) <= LARGEST_COORDINATE
        if not good.all():
            row = int(good.argmin())
            raise FileError(at(path, f"vertex {row}.{name}"), f"is {values[row]}, expected a finite number")
    kind = np.float64 if any(values.dtype.itemsize > 4 for values in columns) else np.float32
    return np.stack([values.astype(kind) for values in columns], axis=1)
