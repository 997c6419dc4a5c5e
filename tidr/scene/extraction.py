"""The triangles of a level set: fixed while no sample changes sides, and what their vertices are made of."""

from functools import cached_property

import numpy as np

from tidr.buffer import Buffer
from tidr.parameter import Parameter
from tidr.runtime import generation

from .topology import Topology


class Extraction:
    """Topology of a surface between samples, without positions; a renderer reads it like a mesh.

    faces: [F, 3], counter-clockwise seen from outside. ends: [V, 2] the samples at both ends of the edge that a vertex
    lies on, -1 where it ends outside the grid. place: [V, 2] rows of those ends' positions. It has no uvs, colours or
    attributes. May be empty.
    """

    uvs: Parameter | None = None
    colors: Parameter | None = None
    normals: Parameter | None = None
    uv_faces: np.ndarray | None = None
    normal_faces: np.ndarray | None = None

    def __init__(self, ends: np.ndarray, place: np.ndarray, faces: np.ndarray, shading: str = "smooth") -> None:
        self.ends, self.place, self.faces, self.shading = ends, place, faces, shading
        self.attributes: dict[str, Parameter] = {}
        self.face_materials = np.zeros(len(faces), np.int32)
        self._device: dict[str, Buffer] = {}
        self._generation = -1

    @cached_property
    def topology(self) -> Topology:
        return Topology(self.faces, len(self.ends))

    def device(self, name: str):
        """Flat int ndarray of "ends" or "place", uploaded once."""
        if self._generation != generation():
            self._device, self._generation = {}, generation()
        if name not in self._device:
            array = np.ascontiguousarray(getattr(self, name), np.int32).ravel()
            buffer = Buffer((len(array),), "int")
            if len(array):
                buffer.ndarray.from_numpy(array)
            self._device[name] = buffer
        return self._device[name].ndarray
