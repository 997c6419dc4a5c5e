"""Stanford PLY meshes, ascii and binary.

Read here rather than through trimesh, which rounds colours to bytes and refuses faces of different sizes.
"""

from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MeshData
from tidr.scene.quads import find_quads, quad_corners

from .guard import DEFAULT, Limits, at, check_count, check_finite, check_indices, read_bytes
from .ply_elements import Column, read_elements
from .polygons import triangulate, weld
from .srgb import linear_to_srgb, srgb_to_linear

FACE_LISTS = ("vertex_indices", "vertex_index")
UV_NAMES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
COLOR_NAMES = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))


def read_ply(path: Path, limits: Limits = DEFAULT) -> MeshData:
    """A PLY mesh, not yet checked. Polygons are cut into triangles; which were quads is kept.

    Whole-number colours are sRGB, real ones linear. A uv per vertex (s t, u v) or per face corner (texcoord) is kept;
    where a vertex has a uv, vertices at equal positions are welded.
    """
    data = read_bytes(path, limits)
    columns = read_elements(path, data, limits)
    vertex, face = columns.get("vertex", {}), columns.get("face", {})
    faces = next((face[name] for name in FACE_LISTS if name in face), None)
    if faces is None:
        mend = "open a point cloud as points or gaussians"
        raise FileError(path, f"holds no faces (elements: {', '.join(columns) or 'none'})", mend)
    if not all(isinstance(vertex.get(axis), np.ndarray) for axis in "xyz"):
        raise FileError(path, "vertices have no x, y, z")
    vertices = _stack(path, vertex, "xyz")
    check_finite(path, "vertex", vertices)
    triangles, owner = _triangles(path, faces, vertices, limits)
    corners = faces[1].astype(np.int64)[triangles]

    names = next((names for names in UV_NAMES if names[0] in vertex and names[1] in vertex), None)
    uvs = uv_faces = None
    if names is not None:
        uvs, uv_faces = _stack(path, vertex, names), corners
    elif isinstance(face.get("texcoord"), tuple):
        uvs, uv_faces = _corner_uvs(path, face["texcoord"], faces[0], triangles)
    normals = _stack(path, vertex, ("nx", "ny", "nz")) if {"nx", "ny", "nz"} <= vertex.keys() else None
    colors = _colors(path, vertex)
    normal_faces = None if normals is None else corners
    if names is not None:
        first, which = weld(vertices if colors is None else np.concatenate([vertices, colors], axis=1))
        vertices, colors, corners = vertices[first], None if colors is None else colors[first], which[corners]
    quads = find_quads(corners, owner)
    return MeshData(vertices, corners, uvs, uv_faces, normals, normal_faces, colors, quads=quads)


def write_ply(data: MeshData) -> bytes:
    """The bytes of a binary PLY: positions (float where that is exact, else double), normals and uvs, sRGB colours.

    Quads are written as such. Normals are written where there is one per vertex. A uv per vertex is s, t; otherwise
    each face has a texcoord list.
    """
    kind = "f4" if (data.vertices.astype(np.float32) == data.vertices).all() else "f8"
    columns: list[tuple[str, str, np.ndarray]] = [(axis, kind, data.vertices[:, k]) for k, axis in enumerate("xyz")]
    count = len(data.vertices)
    normal_faces = data.faces if data.normal_faces is None else data.normal_faces
    if data.normals is not None and len(data.normals) == count and np.array_equal(normal_faces, data.faces):
        columns += [(name, "f4", data.normals[:, k]) for k, name in enumerate(("nx", "ny", "nz"))]
    uvs = np.zeros((0, 2)) if data.uvs is None else data.uvs
    uv_faces = data.faces if data.uv_faces is None else data.uv_faces
    per_vertex_uv = len(uvs) == count and np.array_equal(uv_faces, data.faces)
    if per_vertex_uv:
        columns += [(name, "f4", uvs[:, k]) for k, name in enumerate("st")]
    if data.colors is not None:
        encoded = np.rint(np.clip(linear_to_srgb(data.colors), 0, 1) * 255)
        columns += [(name, "u1", encoded[:, k]) for k, name in enumerate(("red", "green", "blue"))]
    table = np.empty(count, np.dtype([(name, "<" + kind) for name, kind, _ in columns]))
    for name, _, values in columns:
        table[name] = values

    per_face_uv = len(uvs) > 0 and not per_vertex_uv
    rows = _face_rows(data.faces, data.quads, uvs[uv_faces] if per_face_uv else None)
    words = {"u1": "uchar", "f4": "float", "f8": "double"}
    header = ["ply", "format binary_little_endian 1.0", "comment written by tidr", f"element vertex {count}"]
    header += [f"property {words[kind]} {name}" for name, kind, _ in columns]
    header += [f"element face {rows[1]}", "property list uchar int vertex_indices"]
    header += ["property list uchar float texcoord"] if per_face_uv else []
    return "\n".join([*header, "end_header", ""]).encode() + table.tobytes() + rows[0]


def _face_rows(faces: np.ndarray, quads: np.ndarray | None, uvs: np.ndarray | None) -> tuple[bytes, int]:
    """The bytes of the face element and its length; uvs [F, 3, 2] of the corners where each face has its own."""
    quads = np.zeros(0, np.int64) if quads is None else quads.astype(np.int64)
    single = np.delete(np.arange(len(faces)), np.concatenate([quads, quads + 1]))
    order, parts = np.argsort(np.concatenate([single, quads]), kind="stable"), []
    for corners in (3 * single[:, None] + np.arange(3), quad_corners(faces, quads)):
        size = corners.shape[1]
        fields = [("count", "u1"), ("vertices", "<i4", (size,))]
        fields += [] if uvs is None else [("uv_count", "u1"), ("uvs", "<f4", (2 * size,))]
        rows = np.empty(len(corners), np.dtype(fields))
        rows["count"], rows["vertices"] = size, faces.ravel()[corners]
        if uvs is not None:
            rows["uv_count"], rows["uvs"] = 2 * size, uvs.reshape(-1, 2)[corners].reshape(-1, 2 * size)
        parts.append(rows)
    if not len(quads) or not len(single):
        return (parts[1] if len(quads) else parts[0]).tobytes(), len(order)
    written = [row.tobytes() for rows in parts for row in rows]
    return b"".join(written[k] for k in order), len(order)


def _stack(path: Path, columns: dict[str, Column], names) -> np.ndarray:
    """[n, len(names)] f64 of columns of single values."""
    if any(isinstance(columns[name], tuple) for name in names):
        raise FileError(path, f"property {'/'.join(names)} is a list, expected single values")
    return np.stack([np.asarray(columns[name], np.float64) for name in names], axis=1)


def _triangles(path: Path, faces, vertices: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """[F, 3] corners of the triangles of a face list, and [F] the face of each."""
    if not isinstance(faces, tuple):
        raise FileError(path, "face indices are no list")
    counts, corners = faces
    if len(counts) == 0:
        raise FileError(path, f"holds no face ({len(vertices)} vertices)", "open a point cloud as points or gaussians")
    if (counts < 3).any():
        face = int((counts < 3).argmax())
        raise FileError(at(path, f"face {face}"), f"has {counts[face]} corners, expected 3 or more")
    check_count(str(path), "triangles", int(counts.sum()) - 2 * len(counts), limits.faces)
    if corners.dtype.kind not in "iu":
        raise FileError(path, "face indices are no whole numbers")
    bad = (corners < 0) | (corners >= len(vertices))
    if bad.any():
        corner = int(bad.argmax())
        face = int(np.searchsorted(np.cumsum(counts), corner, side="right"))
        what = f"has vertex index {corners[corner]}, the file has {len(vertices)} vertices"
        raise FileError(at(path, f"face {face}"), what)
    return triangulate(path, vertices[corners.astype(np.int64)], counts)


def _corner_uvs(path: Path, texcoord, counts: np.ndarray, triangles: np.ndarray):
    """uvs [T, 2] and uv_faces [F, 3] from two numbers per corner of each face; (0, 0) where a face has none."""
    lengths, values = texcoord
    given = lengths == 2 * counts
    if not (given | (lengths == 0)).all():
        face = int((given | (lengths == 0)).argmin())
        raise FileError(at(path, f"face {face}"), f"{lengths[face]} uv numbers for {counts[face]} corners")
    table = np.zeros((int(counts.sum()), 2))
    table[np.repeat(given, counts)] = np.asarray(values, np.float64).reshape(-1, 2)
    first, which = weld(check_finite(path, "uv", table))
    return table[first], check_indices(path, "uv", which[triangles], len(first))


def _colors(path: Path, vertex: dict[str, Column]) -> np.ndarray | None:
    """[V, 3] linear colours."""
    names = next((names for names in COLOR_NAMES if set(names) <= vertex.keys()), None)
    if names is None:
        return None
    colors = _stack(path, vertex, names)
    kind = np.asarray(vertex[names[0]]).dtype
    return srgb_to_linear(colors / np.iinfo(kind).max) if kind.kind in "iu" else colors
