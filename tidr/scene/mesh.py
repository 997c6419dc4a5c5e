"""Triangle meshes: vertices, faces, uvs, normals, colours and free vertex attributes."""

from __future__ import annotations

import numpy as np

from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter
from tidr.runtime import generation

from .quads import cut_quads
from .topology import Topology

SHADINGS = ("smooth", "flat", "file")


class Mesh:
    """A triangle mesh in object space.

    Parameters: vertices [V, 3]; uvs [T, 2], normals [N, 3] and colors [V, 3] (linear RGB) where given; every entry of
    `attributes`, [V, C]. Positions are welded: uvs and normals have their own index arrays, so a seam does not cut the
    surface.

    Args:
        vertices: [V, 3]. faces: [F, 3] indices into vertices, counter-clockwise seen from outside; or quads [Q, 4],
            each cut into two triangles (uv_faces and normal_faces then may be [Q, 4] too, face_materials [Q]).
        uvs, uv_faces: [T, 2] and [F, 3]; uv_faces defaults to faces.
        normals, normal_faces: [N, 3] and [F, 3]; used when shading is "file".
        face_materials: [F] index of the material slot of each face.
        shading: "smooth" takes normals from the vertices as they are (area-weighted), "flat" from the faces, "file" the
            given ones; by default "file" where normals are given, else "smooth".
        quads: [Q] the triangles that make a quad with the next one; they are written as quads.

    Raises:
        SceneError: wrong shape, index out of range (names the face), not finite, empty.
    """

    def __init__(
        self,
        vertices,
        faces,
        *,
        uvs=None,
        uv_faces=None,
        normals=None,
        normal_faces=None,
        colors=None,
        face_materials=None,
        attributes: dict | None = None,
        shading: str | None = None,
        quads=None,
    ) -> None:
        self.vertices = Parameter(_rows("vertices", vertices, 3))
        count = self.vertices.rows
        if np.ndim(faces) == 2 and np.shape(faces)[1] == 4:
            faces, uv_faces, normal_faces, face_materials = self._cut(faces, uv_faces, normal_faces, face_materials)
            quads = np.arange(0, len(faces), 2)
        self.quads = None if quads is None else np.ascontiguousarray(quads, np.int32)
        self.faces = _indices("faces", faces, count)
        if count == 0 or len(self.faces) == 0:
            raise SceneError("mesh", f"{count} vertices and {len(self.faces)} faces", "give at least one triangle")
        self.uvs = None if uvs is None else Parameter(_rows("uvs", uvs, 2))
        self.normals = None if normals is None else Parameter(_rows("normals", normals, 3), Constraint(unit=True))
        self.colors = None if colors is None else Parameter(_rows("colors", colors, 3, count), Constraint(clamp=(0, 1)))
        self.uv_faces = self._corners("uv_faces", self.uvs, uv_faces)
        self.normal_faces = self._corners("normal_faces", self.normals, normal_faces)
        self.attributes = {
            name: Parameter(_rows(name, value, None, count)) for name, value in (attributes or {}).items()
        }
        self.face_materials = np.zeros(len(self.faces), np.int32)
        if face_materials is not None:
            self.face_materials = np.ascontiguousarray(face_materials, np.int32)
            if self.face_materials.shape != (len(self.faces),) or (self.face_materials < 0).any():
                raise SceneError("face_materials", f"expected [{len(self.faces)}] indices >= 0")
        self.shading = shading or ("file" if self.normals is not None else "smooth")
        if self.shading not in SHADINGS:
            raise SceneError("shading", f"is {self.shading!r}", f"choose one of {', '.join(SHADINGS)}")
        if self.shading == "file" and self.normals is None:
            raise SceneError("shading", 'is "file" but the mesh has no normals', 'choose "smooth" or "flat"')
        self.topology = Topology(self.faces, count)
        self._device: dict[str, Buffer] = {}
        self._generation = -1

    @classmethod
    def from_data(cls, data, shading: str | None = None) -> Mesh:
        """A mesh from what a file held (`MeshData`)."""
        return cls(
            data.vertices,
            data.faces,
            uvs=data.uvs,
            uv_faces=data.uv_faces,
            normals=data.normals,
            normal_faces=data.normal_faces,
            colors=data.colors,
            face_materials=data.face_materials,
            shading=shading,
            quads=data.quads,
        )

    def parameters(self) -> dict[str, Parameter]:
        named = {"vertices": self.vertices, "uvs": self.uvs, "colors": self.colors, "normals": self.normals}
        return {name: value for name, value in named.items() if value is not None} | self.attributes

    def indices(self, name: str):
        """Device copy of "faces", "uv_faces" or "normal_faces": int ndarray [F, 3], uploaded once."""
        if self._generation != generation():
            self._device, self._generation = {}, generation()
        if name not in self._device:
            array = getattr(self, name)
            buffer = Buffer(array.shape, "int")
            buffer.ndarray.from_numpy(np.ascontiguousarray(array, np.int32))
            self._device[name] = buffer
        return self._device[name].ndarray

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of the object-space bounding box."""
        vertices = self.vertices.numpy()
        return vertices.min(0), vertices.max(0)

    def byte_size(self) -> int:
        """Bytes of all values and indices in 32-bit numbers."""
        corners = [self.faces, self.uv_faces, self.normal_faces]
        values = 4 * sum(parameter.rows * parameter.channels for parameter in self.parameters().values())
        return values + sum(array.nbytes for array in corners if array is not None)

    def _cut(self, quads, uv_faces, normal_faces, materials) -> tuple:
        """Triangles of quads, and of the index arrays that go with them."""
        quads = _indices("faces", quads, self.vertices.rows, 4)
        twice = (np.diff(np.sort(quads, axis=1), axis=1) == 0).any(1)
        if twice.any():
            face = int(twice.argmax())
            what = f"face {face} is {quads[face].tolist()}, a vertex twice"
            raise SceneError("faces", what, "triangulate polygons first")
        cut = cut_quads(self.vertices.numpy(), quads).reshape(len(quads), 6)
        tables = [quads, *(None if table is None else np.asarray(table) for table in (uv_faces, normal_faces))]
        tables = [
            np.take_along_axis(table, cut, axis=1).reshape(-1, 3)
            if table is not None and table.shape == quads.shape
            else table
            for table in tables
        ]
        if materials is not None and np.shape(materials) == (len(quads),):
            materials = np.repeat(materials, 2)
        return *tables, materials

    def _corners(self, name: str, of: Parameter | None, given) -> np.ndarray | None:
        if of is None:
            return None
        corners = _indices(name, self.faces if given is None else given, of.rows)
        if corners.shape != self.faces.shape:
            raise SceneError(name, f"has {len(corners)} faces, expected {len(self.faces)}")
        return corners


def icosphere(level: int, radius: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3] of an icosahedron subdivided `level` times onto a sphere."""
    t = (1 + 5**0.5) / 2
    ring = np.array([[-1, t], [1, t], [-1, -t], [1, -t]], np.float64)
    vertices = np.zeros((12, 3))
    for axis in range(3):
        vertices[4 * axis : 4 * axis + 4, [axis, (axis + 1) % 3]] = ring
    corners = "0B5 051 017 07A 0AB 159 5B4 BA2 A76 718 394 342 326 368 389 495 24B 62A 867 981"
    faces = np.array([[int(corner, 16) for corner in face] for face in corners.split()], np.int32)
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    for _ in range(level):
        ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        edges, which = np.unique(ends, axis=0, return_inverse=True)
        middle = vertices[edges].mean(1)
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        ab, bc, ca = len(vertices) + which.reshape(3, -1)
        vertices = np.concatenate([vertices, middle])
        a, b, c = faces.T
        quarters = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = np.concatenate([np.stack(quarter, 1) for quarter in quarters]).astype(np.int32)
    return vertices * radius, faces


def _rows(name: str, array, channels: int | None, count: int | None = None) -> np.ndarray:
    array = np.asarray(array, np.float64)
    if array.ndim != 2 or (channels is not None and array.shape[1] != channels):
        raise SceneError(name, f"got shape {array.shape}, expected [n, {channels or 'C'}]")
    if count is not None and len(array) != count:
        raise SceneError(name, f"has {len(array)} rows, expected one per vertex ({count})")
    return array


def _indices(name: str, array, count: int, corners: int = 3) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or array.shape[1] != corners:
        raise SceneError(name, f"got shape {array.shape}, expected [F, 3]", "triangulate polygons first")
    if array.dtype.kind not in "iu" and array.size:
        raise SceneError(name, f"has type {array.dtype}, expected integers")
    bad = ((array < 0) | (array >= count)).any(1)
    if bad.any():
        face = int(bad.argmax())
        raise SceneError(name, f"face {face} is {array[face].tolist()}, expected indices in [0, {count})")
    return np.ascontiguousarray(array, np.int32)
