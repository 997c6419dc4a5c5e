"""Geometries of the user's own: their register, and the base of those that are triangles made of a few parameters."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from tidr.array import Array
from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

from .mesh import SHADINGS, Mesh
from .topology import Topology

GEOMETRIES: dict[str, type] = {}  # by their key in the nodes of scene files
TAKEN = (
    "mesh", "volume", "voxels", "field", "tetrahedra", "points", "gaussians", "rgbd", "instance_of", "material",
    "shading", "parent", "translation", "rotation_degrees", "quaternion", "scale",
)  # fmt: skip


def register_geometry(key: str) -> Callable[[type], type]:
    """Class decorator: `nodes.X.<key> = { argument = value }` of a scene file makes an object of the class.

    The class is a `ParametricSurface`, which every renderer of meshes draws, or any `Geometry`, which needs a renderer
    of its own. Scenes are written with the values of the arguments: each has to be the name of a parameter, or of an
    attribute that holds what was given.

    Raises:
        SceneError: the key means something else already.
    """

    def register(kind: type) -> type:
        if key in TAKEN or not key.isidentifier():
            raise SceneError(f"register_geometry({key!r})", "is taken, or no name", "choose another word")
        GEOMETRIES[key] = kind
        return kind

    return register


def key_of(geometry: object) -> str | None:
    """The key under which the geometry's class was registered."""
    return next((key for key, kind in GEOMETRIES.items() if type(geometry) is kind), None)


def arguments_of(geometry: Any) -> dict[str, Any]:
    """The arguments that make this geometry again, with its parameters as they are now.

    Raises:
        SceneError: an argument without default that is neither a parameter nor an attribute.
    """
    parameters, found = geometry.parameters(), {}
    for name, argument in inspect.signature(type(geometry)).parameters.items():
        if name in parameters:
            found[name] = parameters[name].numpy().tolist()
        elif hasattr(geometry, name):
            value = getattr(geometry, name)
            found[name] = np.asarray(value).tolist() if isinstance(value, tuple | np.ndarray) else value
        elif argument.default is inspect.Parameter.empty:
            what = f"keeps no attribute {name!r}, so that it cannot be written"
            raise SceneError(type(geometry).__name__, what, f"set self.{name}")
    return found


class ParametricSurface(ABC):
    """Triangles whose vertices are functions of a few parameters; renderers read it like a mesh.

    Args:
        faces: [F, 3] indices in [0, vertex_count), counter-clockwise seen from outside; they never change.
        parameters: what the vertices are made of, by name.
        uvs: [vertex_count, 2], fixed. shading: "smooth" or "flat".

    Raises:
        SceneError: wrong shapes or indices, no triangle.
    """

    colors: Parameter | None = None
    normals: Parameter | None = None
    normal_faces: np.ndarray | None = None

    def __init__(
        self, faces, vertex_count: int, parameters: dict[str, Parameter], uvs=None, shading: str = "smooth"
    ) -> None:
        plain = Mesh(np.zeros((vertex_count, 3)), faces, uvs=uvs)  # checks faces and uvs
        if shading not in SHADINGS[:2]:
            raise SceneError("shading", f"is {shading!r}", f"choose one of {', '.join(SHADINGS[:2])}")
        self.faces, self.uv_faces, self.face_materials = plain.faces, plain.uv_faces, plain.face_materials
        self.topology: Topology = plain.topology
        self.uvs = None if uvs is None else Parameter(uvs, Constraint(fixed=True))
        self.attributes: dict[str, Parameter] = {}
        self.shading = shading
        self._parameters = parameters

    @abstractmethod
    def vertices(self) -> Array:
        """[V, 3] in object space, made anew at every call by operations on the open tape."""

    def parameters(self) -> dict[str, Parameter]:
        return self._parameters

    def mesh(self) -> Mesh:
        """The triangles as they are now, as a mesh of its own."""
        uvs = None if self.uvs is None else self.uvs.numpy()
        return Mesh(self.vertices().numpy(), self.faces, uvs=uvs, uv_faces=self.uv_faces, shading=self.shading)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of the object-space bounding box."""
        vertices = self.vertices().numpy()
        return vertices.min(0), vertices.max(0)

    def byte_size(self) -> int:
        """Bytes of all values and indices in 32-bit numbers."""
        return self.faces.nbytes + 12 * self.topology.vertex_count
