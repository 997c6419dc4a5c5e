"""Wavefront OBJ.

Read here rather than through trimesh, which cuts the surface at uv seams: an OBJ has one index for the position and
another for the uv of a corner, and a fit wants the surface whole.
"""

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MaterialData, MeshData
from tidr.scene.quads import find_quads, quad_corners

from .guard import DEFAULT, Limits, MeshWarning, at, check_count, check_finite, parse_numbers, read_text, resolve
from .mtl import read_mtl, safe_names
from .polygons import triangulate
from .srgb import srgb_to_linear

KINDS = ("vertex", "uv", "normal")
KEYWORDS = {"v": "vertex", "vt": "uv", "vn": "normal"}
INDEX = r"[-+]?[0-9]{1,18}"
CORNERS = {
    f"(?:{INDEX} )+": (0,),
    f"(?:{INDEX}/{INDEX} )+": (0, 1),
    f"(?:{INDEX}//{INDEX} )+": (0, 2),
    f"(?:{INDEX}/{INDEX}/{INDEX} )+": (0, 1, 2),
}
PADDING = {0: "/0/0", 1: "/0", 2: ""}


@dataclass
class _Lines:
    """The lines of an OBJ sorted by keyword, each with its line number."""

    rows: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    row_lines: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    faces: list[str] = field(default_factory=list)
    face_lines: list[int] = field(default_factory=list)
    seen: list[tuple[int, int, int]] = field(default_factory=list)  # vertices, uvs, normals before each face
    face_materials: list[int] = field(default_factory=list)  # index into material_names, -1 before the first usemtl
    material_names: dict[str, int] = field(default_factory=dict)
    libraries: list[tuple[int, str]] = field(default_factory=list)


def read_obj(path: Path, limits: Limits = DEFAULT) -> MeshData:
    """An OBJ with its MTL files, not yet checked. Polygons are cut into triangles, and which were quads is kept;
    points, lines, curves are passed by.

    Colours after the position ("v x y z r g b") are linear, or sRGB bytes when one is above 1. Corners without a uv, in
    a file whose other corners have one, get (0, 0); normals count only when every corner has one.
    """
    lines = _sort_lines(path, read_text(path, limits))
    for kind in KINDS:
        check_count(str(path), f"{kind} lines", len(lines.rows[kind]), limits.vertices)
    check_count(str(path), "faces", len(lines.faces), limits.faces)
    if not lines.faces:
        raise FileError(path, f"holds no face ({len(lines.rows['vertex'])} vertices)", "give a triangle mesh")
    vertices, colors = _vertices(path, lines)
    uvs = _rows(path, lines, "uv", 2, (1, 2, 3))
    normals = _rows(path, lines, "normal", 3, (3,))
    corners, counts = _corners(path, lines, (len(vertices), len(uvs), len(normals)))
    if int(counts.sum()) - 2 * len(counts) > limits.faces:
        raise FileError(path, f"has more than {limits.faces} triangles", "raise Limits.faces")

    triangles, owner = triangulate(path, vertices[corners[:, 0]], counts)
    indices = corners[triangles]  # [F, 3 corners, 3 kinds]
    has_uv, has_normal = bool((indices[..., 1] >= 0).any()), bool((indices[..., 2] >= 0).all())
    if has_uv and (indices[..., 1] < 0).any():
        indices[..., 1][indices[..., 1] < 0] = len(uvs)
        uvs = np.concatenate([uvs, np.zeros((1, 2))])
    face_materials, materials = _materials(path, lines, owner, limits)
    return MeshData(
        vertices,
        indices[..., 0],
        uvs=uvs if has_uv else None,
        uv_faces=indices[..., 1] if has_uv else None,
        normals=normals if has_normal else None,
        normal_faces=indices[..., 2] if has_normal else None,
        colors=colors,
        face_materials=face_materials,
        materials=materials,
        quads=find_quads(indices[..., 0], owner),
    )


def write_obj(data: MeshData, name: str) -> str:
    """The text of an OBJ, exact to the last bit, quads as such.

    Its materials are named as `write_mtl` names them in `name`.mtl.
    """
    out = [f"mtllib {name}.mtl"] if data.materials else []
    rows = data.vertices if data.colors is None else np.concatenate([data.vertices, data.colors], axis=1)
    out += _format("v", rows)
    out += [] if data.uvs is None else _format("vt", data.uvs)
    out += [] if data.normals is None else _format("vn", data.normals)
    tables = [data.faces]
    pattern = "%d"
    if data.uvs is not None:
        tables, pattern = [*tables, data.uv_faces], pattern + "/%d"
    if data.normals is not None:
        tables, pattern = [*tables, data.normal_faces], pattern + ("/%d" if data.uvs is not None else "//%d")
    corners = np.stack(tables, axis=2).reshape(3 * len(data.faces), -1) + 1
    which = np.zeros(len(data.faces), int) if data.face_materials is None else data.face_materials
    quads = np.zeros(0, int) if data.quads is None else data.quads[which[data.quads] == which[data.quads + 1]]
    faces = _face_lines(pattern, corners[np.arange(len(corners)).reshape(-1, 3)])
    for face, line in zip(quads.tolist(), _face_lines(pattern, corners[quad_corners(data.faces, quads)]), strict=True):
        faces[face], faces[face + 1] = line, ""
    if not data.materials:
        return "\n".join([*out, *filter(None, faces), ""])
    names, current = safe_names(data.materials), -1
    for face, material in zip(faces, which.tolist(), strict=True):
        if not face:
            continue
        if material != current:
            out.append(f"usemtl {names[material]}")
            current = material
        out.append(face)
    return "\n".join([*out, ""])


def _face_lines(pattern: str, corners: np.ndarray) -> list[str]:
    """Lines of faces [F, corners, indices of a corner]."""
    line = "f" + f" {pattern}" * corners.shape[1]
    rows = corners.reshape(len(corners), corners.shape[1] * corners.shape[2])
    return [line % tuple(row) for row in rows.tolist()]


def _format(keyword: str, rows: np.ndarray) -> list[str]:
    line = keyword + " %r" * rows.shape[1]
    return [line % tuple(row) for row in rows.tolist()]


def _sort_lines(path: Path, text: str) -> _Lines:
    lines, material, counts, begun = _Lines(), -1, {"vertex": 0, "uv": 0, "normal": 0}, ""
    for number, line in enumerate(text.replace("\t", " ").split("\n"), 1):
        if begun or line.endswith("\\"):  # a line that goes on in the next one
            line, begun = begun + line, ""
            if line.endswith("\\") and "#" not in line:
                begun = line[:-1] + " "
                continue
        key, _, rest = line.partition("#")[0].strip().partition(" ")
        if key in KEYWORDS:
            kind = KEYWORDS[key]
            lines.rows[kind].append(rest)
            lines.row_lines[kind].append(number)
            counts[kind] += 1
        elif key == "f":
            lines.faces.append(rest)
            lines.face_lines.append(number)
            lines.seen.append((counts["vertex"], counts["uv"], counts["normal"]))
            lines.face_materials.append(material)
        elif key == "usemtl":
            material = lines.material_names.setdefault(rest.strip(), len(lines.material_names))
        elif key == "mtllib":
            lines.libraries.append((number, line.strip().partition(" ")[2].strip()))
        elif not key.isprintable() or "\ufffd" in key:
            raise FileError(at(path, number), f"unknown keyword {key!r:.40}", "is this an OBJ?")
    return lines


def _table(path: Path, lines: _Lines, kind: str, widths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of all lines of one kind, one after the other, and how many each line has: one of the `widths`."""
    rows = lines.rows[kind]
    counts = np.array([len(row.split()) for row in rows], np.int64)
    bad = ~np.isin(counts, widths)
    if bad.any():
        row = int(bad.argmax())
        what = f"{kind} has {counts[row]} numbers, expected {' or '.join(map(str, widths))}"
        raise FileError(at(path, lines.row_lines[kind][row]), what)
    values = parse_numbers(" ".join(rows), np.float64)
    if values is None or len(values) != counts.sum():
        for row, number in zip(rows, lines.row_lines[kind], strict=True):
            _floats(row, at(path, number))
        raise FileError(path, f"{kind} lines hold something that is no number")
    return values, counts


def _columns(values: np.ndarray, counts: np.ndarray, width: int) -> np.ndarray:
    """[rows, width] of the first numbers of each row, 0 where it has fewer."""
    starts = np.cumsum(counts) - counts
    slots = np.arange(width)
    given = slots < counts[:, None]
    return np.where(given, values[np.where(given, starts[:, None] + slots, 0)], 0.0)


def _floats(row: str, where: str) -> None:
    for word in row.split():
        try:
            float(word)
        except ValueError as error:
            raise FileError(where, f"{word!r:.40} is no number") from error


def _rows(path: Path, lines: _Lines, kind: str, channels: int, widths: tuple[int, ...]) -> np.ndarray:
    values, counts = _table(path, lines, kind, widths)
    rows = _columns(values, counts, channels) if len(counts) else np.zeros((0, channels))
    _finite(path, lines, kind, rows)
    return rows


def _vertices(path: Path, lines: _Lines) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions [V, 3] and, where a vertex has them, colours [V, 3]; vertices without one are white."""
    values, counts = _table(path, lines, "vertex", (3, 4, 6, 7))
    if len(counts) == 0:
        return np.zeros((0, 3)), None
    rows = _columns(values, counts, 6)
    _finite(path, lines, "vertex", rows[:, :3])
    colored = counts > 4
    if not colored.any():
        return rows[:, :3], None
    colors = np.where(colored[:, None], rows[:, 3:], 0.0)
    _finite(path, lines, "vertex", colors)
    colors = srgb_to_linear(colors / 255) if (colors > 1).any() else colors
    return rows[:, :3], np.where(colored[:, None], colors, 1.0)


def _finite(path: Path, lines: _Lines, kind: str, rows: np.ndarray) -> None:
    try:
        check_finite(path, kind, rows)
    except FileError as error:
        row = int(error.where.rpartition(" ")[2])
        raise FileError(at(path, lines.row_lines[kind][row]), f"{kind} {error.what}") from error


def _corners(path: Path, lines: _Lines, sizes: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """All corners of all faces as 0-based (vertex, uv, normal) [C, 3], -1 where not given, and corners per face [P]."""
    counts = np.array([len(face.split()) for face in lines.faces])
    if (counts < 3).any():
        face = int((counts < 3).argmax())
        raise FileError(at(path, lines.face_lines[face]), f"face has {counts[face]} corners, expected 3 or more")
    corners = _parse_corners(lines.faces, int(counts.sum()))
    if corners is None:
        raise _bad_corner(path, lines)

    # Negative indices count back from what was defined above the face.
    seen = np.repeat(np.array(lines.seen, np.int64).reshape(-1, 3), counts, axis=0)
    resolved = np.where(corners > 0, corners - 1, np.where(corners < 0, seen + corners, -1))
    bad = ((corners < 0) & (resolved < 0)) | (resolved >= np.array(sizes))
    if bad.any():
        corner = int(bad.any(1).argmax())
        kind = int(bad[corner].argmax())
        face = int(np.searchsorted(np.cumsum(counts), corner, side="right"))
        raise FileError(
            at(path, lines.face_lines[face]),
            f"face {face} has {KINDS[kind]} index {corners[corner, kind]}, the file has {sizes[kind]}",
            "indices run from 1, negative ones back from -1",
        )
    return resolved, counts


def _parse_corners(faces: list[str], count: int) -> np.ndarray | None:
    """(vertex, uv, normal) [C, 3] as written, 0 where not given; None where a corner is malformed or has an index 0."""
    words = " ".join(" ".join(faces).split()) + " "
    if re.search(r"(?:^|[ /])[-+]?0+[ /]", words):
        return None
    columns = next((columns for pattern, columns in CORNERS.items() if re.fullmatch(pattern, words)), None)
    if columns is None:
        # Corners of several kinds, or an empty place at the end of one: write out what is not given as 0.
        try:
            words = " ".join([word + PADDING[word.count("/")] for word in words.split()]) + " "
        except KeyError:
            return None
        words, columns = words.replace("//", "/0/").replace("/ ", "/0 "), (0, 1, 2)
    values = parse_numbers(words.replace("/", " "), np.int64)
    if values is None or len(values) != count * len(columns):
        return None
    corners = np.zeros((count, 3), np.int64)
    corners[:, columns] = values.reshape(count, len(columns))
    return corners if (corners[:, 0] != 0).all() else None


def _bad_corner(path: Path, lines: _Lines) -> FileError:
    """The first corner that is not "v", "v/vt", "v//vn" or "v/vt/vn" with whole numbers other than 0."""
    for face, number in zip(lines.faces, lines.face_lines, strict=True):
        for word in face.split():
            parts = word.split("/")
            try:
                values = [int(part) for part in parts if part]
                good = parts[0] != "" and len(parts) <= 3 and all(0 < abs(value) < 2**62 for value in values)
            except ValueError:
                good = False
            if not good:
                mend = "corners are v, v/vt, v//vn or v/vt/vn, from 1"
                return FileError(at(path, number), f"corner {word!r:.40} is malformed", mend)
    return FileError(path, "faces could not be read")


def _materials(path: Path, lines: _Lines, owner: np.ndarray, limits: Limits):
    """[F] material of each triangle and the materials, or (None, ()) where the file uses none."""
    found: dict[str, MaterialData] = {}
    for number, name in lines.libraries:
        where = at(path, number)
        libraries = [resolve(path.parent, name, where, must_exist=False)]
        if not libraries[0].exists() and " " in name:  # several names, then, rather than one with a space
            libraries = [resolve(path.parent, word, where, must_exist=False) for word in name.split()]
        for library in libraries:
            if not library.exists():
                warnings.warn(f"{where}: material file {library.name!r} is missing", MeshWarning, stacklevel=4)
                continue
            for material in read_mtl(library, limits):
                found.setdefault(material.name, material)
    if not lines.material_names:
        return None, ()
    materials = [found.get(name) or MaterialData(name) for name in lines.material_names]
    which = np.array(lines.face_materials, np.int64)[owner]
    if (which < 0).any():
        which = np.where(which < 0, len(materials), which)
        materials.append(MaterialData("default"))
    return which.astype(np.int32), tuple(materials)
