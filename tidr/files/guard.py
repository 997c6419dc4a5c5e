"""The guard at the door: every reader passes its paths, sizes and values here before it trusts a file.

A path that the user gives is trusted as a path. A name that stands *inside* a file goes through `resolve`, which keeps
it in that file's folder. Every count in a header is held against the bytes present before anything is allocated, and
what was read is held against `Limits`, which only the user can raise.
"""

import json
import re
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MeshData

LARGEST_COORDINATE = 1e18  # its square still fits single precision
LARGEST_INTEGER = 2**62


class MeshWarning(UserWarning):
    """Something in a mesh file was left out or repaired; the message counts it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a file may ask for. Raised by the user, never by a file."""

    bytes: int = 4 << 30  # of a file, and of everything inside an .npz
    vertices: int = 20_000_000
    faces: int = 40_000_000
    voxels: int = 1 << 30
    pixels: int = 100_000_000
    nodes: int = 10_000  # of a scene graph; also members of an .npz and frames of transforms.json
    depth: int = 64  # of a scene graph
    text_line: int = 65_536  # characters
    inflation: int = 1000  # of a compressed file larger than 64 MiB when unpacked

    def __post_init__(self) -> None:
        for entry in fields(self):
            if getattr(self, entry.name) < 1:
                raise FileError(f"limits.{entry.name}", "must be at least 1")


DEFAULT = Limits()


def at(path: object, place: object = "") -> str:
    """The `where` of an error: a file, and the line, key or face in it."""
    return f"{path}:{place}" if place != "" else str(path)


# ---------------------------------------------------------------------------------------------------------- paths


def resolve(root: Path, name: object, where: str, must_exist: bool = True, folder: bool = False) -> Path:
    """The path of a name that stands inside a file, kept inside the folder `root` after symlinks are followed.

    Raises:
        FileError: the name is empty, absolute, a URL, climbs out by "..", holds control characters, leads out of `root`
            through a symlink, is no regular file (nor, with `folder`, a folder), or (must_exist) is missing.
    """
    mend = f"give a relative name inside {root}"
    if not isinstance(name, str) or not name.strip():
        raise FileError(where, f"file name is empty or no text: {name!r:.80}", mend)
    text = name.strip().replace("\\", "/")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise FileError(where, f"file name holds control characters: {name!r:.200}", mend)
    if text.startswith(("/", "~")):
        raise FileError(where, f"file name is absolute: {name!r:.200}", mend)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text):
        raise FileError(where, f"file name is a URL or has a drive letter: {name!r:.200}", mend)
    if ".." in (part.strip() for part in PurePosixPath(text).parts):
        raise FileError(where, f"file name climbs out of its folder: {name!r:.200}", mend)
    try:
        home = Path(root).resolve()
        path = (home / text).resolve()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(where, f"file name cannot be followed: {name!r:.200}: {error}", mend) from error
    if not path.is_relative_to(home) or path == home:
        raise FileError(where, f"file name leads out of its folder: {name!r:.200}", mend)
    if exists and not path.is_file() and not (folder and path.is_dir()):
        raise FileError(where, f"{name!r:.200} is no regular file", mend)
    if must_exist and not exists:
        raise FileError(where, f"file {name!r:.200} is missing", f"put it into {root}")
    return path


def check_file(path: str | Path, limits: Limits = DEFAULT) -> Path:
    """The path, once it is a regular, non-empty file of at most `limits.bytes`."""
    try:
        path = Path(path).expanduser()
        status = path.stat()
    except (OSError, ValueError, RuntimeError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be opened: {error}"
        raise FileError(repr(str(path))[1:-1], reason, "check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise FileError(path, "is no regular file", "give a file, not a folder or a device")
    if status.st_size == 0:
        raise FileError(path, "is empty")
    if status.st_size > limits.bytes:
        raise FileError(path, f"has {status.st_size} bytes, more than the limit {limits.bytes}", "raise Limits.bytes")
    return path


def read_bytes(path: str | Path, limits: Limits = DEFAULT) -> bytes:
    """The bytes of a checked file."""
    path = check_file(path, limits)
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise FileError(path, f"cannot be read: {error or 'not enough memory'}") from error


def read_text(path: str | Path, limits: Limits = DEFAULT) -> str:
    """The text of a checked file: UTF-8 with or without a byte order mark, every line end as one newline.

    Bytes that are no UTF-8 become U+FFFD (old files have Latin-1 comments); NUL and overlong lines are refused.
    """
    return decode_text(read_bytes(path, limits), path, limits)


def decode_text(data: bytes, path: object, limits: Limits = DEFAULT) -> str:
    """Text of bytes, by the rules of `read_text`."""
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise FileError(at(path, line), "holds a NUL byte, so it is no text file")
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    lengths = [len(line) for line in text.split("\n")]
    if max(lengths) > limits.text_line:
        place = at(path, lengths.index(max(lengths)) + 1)
        raise FileError(place, f"line has {max(lengths)} characters, more than {limits.text_line}")
    return text


def parse_numbers(text: str | bytes, dtype: type) -> np.ndarray | None:
    """The numbers of a text separated by white space, or None where a word is none of that type."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns, and stops, at a word that is no number
        try:
            return np.fromstring(text, dtype, sep=" ") if text.strip() else np.zeros(0, dtype)
        except (ValueError, DeprecationWarning):
            return None


# ---------------------------------------------------------------------------------------------------------- values


def read_json(data: bytes, path: object, limits: Limits = DEFAULT) -> dict:
    """The object at the top of a JSON file. NaN, Infinity and numbers beyond double precision are refused."""

    def refuse(text: str):
        raise ValueError(f"{text} is no finite number")

    def finite(text: str) -> float:
        value = float(text)
        return value if np.isfinite(value) else refuse(text[:40])

    if len(data) > limits.bytes:
        raise FileError(path, f"has {len(data)} bytes, more than the limit {limits.bytes}", "raise Limits.bytes")
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=refuse, parse_float=finite)
    except json.JSONDecodeError as error:
        raise FileError(at(path, error.lineno), f"is no valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise FileError(path, "is nested too deeply") from error
    except (ValueError, MemoryError) as error:
        raise FileError(path, f"is no valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise FileError(path, f"holds a {type(value).__name__} at the top, expected an object")
    return value


def number(value: object, where: str, low: float = -LARGEST_COORDINATE, high: float = LARGEST_COORDINATE) -> float:
    """A finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        wanted = "a finite number" if high == -low == LARGEST_COORDINATE else f"a number in [{low:g}, {high:g}]"
        raise FileError(where, f"is {value!r:.80}, expected {wanted}")
    return float(value)


def integer(value: object, where: str, low: int = 0, high: int = LARGEST_INTEGER) -> int:
    """A whole number in [low, high]; 3.0 counts as 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        wanted = f"in [{low}, {high}]" if high < LARGEST_INTEGER else f"of at least {low}"
        raise FileError(where, f"is {value!r:.80}, expected a whole number {wanted}")
    return value


def numbers(value: object, where: str, count: int) -> np.ndarray:
    """[count] f64 from a list of finite numbers."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) != count:
        raise FileError(where, f"is {value!r:.80}, expected a list of {count} numbers")
    return np.array([number(item, f"{where}[{index}]") for index, item in enumerate(value)], np.float64)


def quaternion(value: np.ndarray, where: str) -> np.ndarray:
    """The unit quaternion [4] along `value`; a zero one is refused."""
    length = float(np.linalg.norm(value))
    if not np.isfinite(length) or length < 1e-12:
        raise FileError(where, f"quaternion {value.tolist()} has length {length:g}", "give a rotation of length 1")
    return value / length


def check_count(where: str, what: str, count: int, limit: int, stride: float = 0, remaining: int = 0) -> int:
    """A count from a header, once it is in [0, limit] and count * stride bytes are really there."""
    if not 0 <= count <= limit:
        raise FileError(where, f"claims {count} {what}, the limit is {limit}", "raise Limits if you trust the file")
    if count * stride > remaining:
        needed = int(count * stride)
        raise FileError(where, f"claims {count} {what} ({needed} bytes) but {remaining} bytes follow", "is it cut off?")
    return count


def check_tree(where: str, parents: Mapping[Any, Any], limits: Limits = DEFAULT) -> list:
    """The nodes of a forest, parents first.

    Args:
        parents: for each node its parent, or None at a root.

    Raises:
        FileError: too many nodes, too deep, an unknown parent, or a cycle.
    """
    if len(parents) > limits.nodes:
        raise FileError(where, f"{len(parents)} nodes, the limit is {limits.nodes}", "raise Limits.nodes")
    children: dict[object, list] = {}
    for node, parent in parents.items():
        if parent is not None and parent not in parents:
            raise FileError(where, f"node {node!r} has the unknown parent {parent!r}")
        children.setdefault(parent, []).append(node)
    order: list = []
    level, depth = children.get(None, []), 0
    while level:
        depth += 1
        if depth > limits.depth:
            raise FileError(where, f"nodes are nested deeper than {limits.depth}", "raise Limits.depth")
        order += level
        level = [child for node in level for child in children.get(node, [])]
    if len(order) < len(parents):
        reached = set(order)
        left = next(node for node in parents if node not in reached)
        raise FileError(where, f"node {left!r} is its own ancestor", "break the cycle")
    return order


def check_finite(where: object, what: str, array: np.ndarray, largest: float = LARGEST_COORDINATE) -> np.ndarray:
    """The array [n, ...], once every entry is finite and at most `largest` in size; names the first row that is not."""
    if array.size == 0:
        return array
    flat = array.reshape(len(array), -1)
    good = (np.abs(flat) <= largest).all(1)
    if not good.all():
        row = int(good.argmin())
        raise FileError(at(where, f"{what} {row}"), f"is {flat[row][:8].tolist()}, expected finite numbers")
    return array


def check_indices(where: object, what: str, array: np.ndarray, count: int) -> np.ndarray:
    """[F, 3] int32, once every index lies in [0, count); names the first row with one that does not."""
    array = np.asarray(array)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu":
        raise FileError(where, f"{what} indices have shape {array.shape} and type {array.dtype}, expected [F, 3] ints")
    bad = ((array < 0) | (array >= count)).any(1)
    if bad.any():
        row = int(bad.argmax())
        raise FileError(
            at(where, f"face {row}"), f"{what} indices are {array[row].tolist()}, expected them in [0, {count})"
        )
    return np.ascontiguousarray(array, np.int32)


# --------------------------------------------------------------------------------------------------------- meshes


def check_mesh(where: object, data: MeshData, limits: Limits = DEFAULT, allow_empty: bool = False) -> MeshData:
    """The mesh, validated: finite, in range, not empty, its normals of length 1, degenerate faces dropped.

    Raises:
        FileError: names the vertex or face at fault; also when no face is left and not `allow_empty`.

    Warns:
        MeshWarning: faces with a corner twice or without area were dropped, or normals of length 0 left out.
    """
    vertices = _rows(where, "vertex", data.vertices, 3)
    check_count(str(where), "vertices", len(vertices), limits.vertices)
    check_count(str(where), "faces", len(data.faces), limits.faces)
    faces = check_indices(where, "vertex", data.faces, len(vertices))
    uvs = None if data.uvs is None else _rows(where, "uv", data.uvs, 2)
    uv_faces = None if uvs is None else _corners(where, "uv", data.uv_faces, faces, len(uvs))
    normals = None if data.normals is None else _rows(where, "normal", data.normals, 3)
    normal_faces = None if normals is None else _corners(where, "normal", data.normal_faces, faces, len(normals))
    colors = None if data.colors is None else _rows(where, "colour of vertex", data.colors, 3)
    if colors is not None and len(colors) != len(vertices):
        raise FileError(where, f"has {len(colors)} colours for {len(vertices)} vertices")
    face_materials = data.face_materials
    if face_materials is not None:
        face_materials = np.ascontiguousarray(face_materials, np.int32)
        good = (face_materials >= 0) & (face_materials < len(data.materials))
        if face_materials.shape != (len(faces),) or not good.all():
            raise FileError(where, f"material indices must be [{len(faces)}] in [0, {len(data.materials)})")

    # Faces without area have no normal, and nothing to shade or to differentiate.
    kept = ~_degenerate(vertices, faces)
    dropped = len(faces) - int(kept.sum())
    if not kept.any() and not allow_empty:
        reason = f"all {len(faces)} faces are degenerate" if len(faces) else "holds no triangle"
        raise FileError(where, reason, "give a mesh with at least one triangle that has an area")
    if dropped:
        warnings.warn(f"{where}: {dropped} degenerate faces dropped of {len(faces)}", MeshWarning, stacklevel=3)
        faces = faces[kept]
        uv_faces = None if uv_faces is None else uv_faces[kept]
        normal_faces = None if normal_faces is None else normal_faces[kept]
        face_materials = None if face_materials is None else face_materials[kept]
    if normals is not None:
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        zero = int((length[normal_faces] < 1e-12).any(1).sum()) if len(faces) else 0
        if zero:
            warnings.warn(f"{where}: normals left out, {zero} faces have one of length 0", MeshWarning, stacklevel=3)
            normals = normal_faces = None
        else:
            normals = normals / np.maximum(length, 1e-12)
    return replace(
        data,
        vertices=vertices,
        faces=faces,
        uvs=uvs,
        uv_faces=uv_faces,
        normals=normals,
        normal_faces=normal_faces,
        colors=colors,
        face_materials=face_materials,
        quads=None if data.quads is None else _quads(where, data.quads, kept),
    )


def _rows(where: object, what: str, array, channels: int) -> np.ndarray:
    array = np.ascontiguousarray(array, np.float64)
    if array.ndim != 2 or array.shape[1] != channels:
        raise FileError(where, f"{what} array has shape {array.shape}, expected [n, {channels}]")
    return check_finite(where, what, array)


def _quads(where: object, quads, kept: np.ndarray) -> np.ndarray:
    """Those of which both triangles are kept, as indices into the faces that are left."""
    quads = np.ascontiguousarray(quads, np.int32)
    if quads.ndim != 1 or not ((quads >= 0) & (quads < len(kept) - 1)).all():
        raise FileError(where, f"quads must be [Q] in [0, {len(kept) - 1}), each two triangles")
    return (np.cumsum(kept) - 1)[quads[kept[quads] & kept[quads + 1]]].astype(np.int32)


def _corners(where: object, what: str, given, faces: np.ndarray, count: int) -> np.ndarray:
    corners = check_indices(where, what, faces if given is None else given, count)
    if corners.shape != faces.shape:
        raise FileError(where, f"has {len(corners)} {what} faces for {len(faces)} faces")
    return corners


def _degenerate(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] whether a face has a corner twice, or an area that is rounding noise."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    double_area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    edges = np.stack([b - a, c - b, a - c])
    return double_area <= 1e-14 * (edges * edges).sum(-1).max(0, initial=0.0)
