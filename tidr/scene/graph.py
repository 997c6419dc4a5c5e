"""The scene graph: named nodes under a hierarchy of transforms, cameras, lights, materials, film."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter, Parameters, nearest

from .camera import Camera
from .light import EnvironmentLight, Light
from .material import Material
from .mesh import Mesh
from .transform import compose, compose_adjoint, rotation_numbers

MAX_DEPTH = 64


@dataclass
class Film:
    """Default image size in pixels and the linear RGB behind everything (None: transparent black).

    An environment light stands there in its place.
    """

    width: int = 512
    height: int = 512
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Geometry(Protocol):
    """What stands at a node: a mesh, a volume, a voxel grid, a field."""

    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, without the node's."""
        ...

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of the object-space bounding box."""
        ...

    def byte_size(self) -> int:
        """Bytes of all values in 32-bit numbers."""
        ...


class Node:
    """A place in the scene: transform, parent, and a geometry that other nodes may share (instancing).

    Parameters: translation [3]; rotation [4], quaternion, w first; scale, a number or [3]; all local to parent. Points
    are scaled, then rotated, then translated. With rotation_as="6d", or six numbers for `rotation`, the rotation is
    [6], two columns of its matrix (Zhou et al. 2019, scene/transform.py), which a fit may move by any amount.
    """

    def __init__(
        self,
        geometry: Geometry | None = None,
        materials: tuple[str, ...] = (),
        parent: str | None = None,
        translation=(0, 0, 0),
        rotation=(1, 0, 0, 0),
        scale: Any = 1.0,
        rotation_as: str | None = None,
    ) -> None:
        self.name = ""
        self.geometry, self.materials, self.parent = geometry, tuple(materials), parent
        numbers, unit = rotation_numbers(rotation, rotation_as, "node")
        if not (np.asarray(scale) > 0).all() or np.shape(scale) not in ((), (3,)):
            raise SceneError("scale", f"is {scale}", "give one positive number or three")
        self.translation = Parameter(np.asarray(translation, np.float64).reshape(3))
        self.rotation = Parameter(numbers / np.linalg.norm(numbers) if unit else numbers, Constraint(unit=unit))
        self.scale = Parameter(np.asarray(scale, np.float64), Constraint(positive=True))

    @property
    def mesh(self) -> Mesh:
        if not isinstance(self.geometry, Mesh):
            raise SceneError(self.name or "node", "holds no mesh")
        return self.geometry

    @property
    def vertices(self) -> Parameter:
        return self.mesh.vertices

    @property
    def faces(self) -> np.ndarray:
        return self.mesh.faces

    @property
    def topology(self):
        return self.mesh.topology

    def transform_parameters(self) -> dict[str, Parameter]:
        return {"translation": self.translation, "rotation": self.rotation, "scale": self.scale}

    def parameters(self) -> dict[str, Parameter]:
        geometry = self.geometry.parameters() if self.geometry is not None else {}
        return geometry | self.transform_parameters()

    def local_matrix(self) -> np.ndarray:
        """[4, 4] local-to-parent."""
        return compose(*(p.host() for p in self.transform_parameters().values()))


class Scene:
    """Everything that there is: nodes, cameras, lights and materials by name, and the film.

    `scene["duck"]` finds any of them; names are unique over all kinds, so that "duck.vertices" is one parameter.
    """

    def __init__(self, film: Film | None = None) -> None:
        self.film = film or Film()
        self.nodes: dict[str, Node] = {}
        self.cameras: dict[str, Camera] = {}
        self.lights: dict[str, Light] = {}
        self.unseen: EnvironmentLight | None = None  # lights surfaces and is not shown; see fitting/views.py
        self.materials: dict[str, Material] = {}
        self.source: Any = None
        self.plugins: list[Path] = []
        self.fit: Any = None

    def add_node(self, name: str, node: Node) -> Node:
        node.name = name
        return self._add(self.nodes, name, node)

    def add_camera(self, name: str, camera: Camera) -> Camera:
        return self._add(self.cameras, name, camera)

    def add_light(self, name: str, light: Light) -> Light:
        if isinstance(light, EnvironmentLight) and self.environment is not None:
            raise SceneError(name, "is the second environment light", "a scene has at most one")
        return self._add(self.lights, name, light)

    def add_material(self, name: str, material: Material) -> Material:
        return self._add(self.materials, name, material)

    @property
    def environment(self) -> EnvironmentLight | None:
        """The light that stands behind everything, if there is one."""
        return next((light for light in self.lights.values() if isinstance(light, EnvironmentLight)), None)

    def __getitem__(self, name: str) -> Any:
        for kind in self._kinds():
            if name in kind:
                return kind[name]
        known = [key for kind in self._kinds() for key in kind]
        raise SceneError(name, "is not in the scene", nearest(name, known))

    def __contains__(self, name: object) -> bool:
        return any(name in kind for kind in self._kinds())

    def parameters(self, *patterns: str) -> Parameters:
        """All parameters under dotted paths, or those that match the glob patterns ("duck.*", "*.albedo").

        A geometry that several nodes share counts once, under its first node.
        """
        found: dict[str, Parameter] = {}
        seen: set[int] = set()
        for kind in self._kinds():
            for name, member in kind.items():
                for key, parameter in member.parameters().items():
                    if id(parameter) not in seen:
                        seen.add(id(parameter))
                        parameter.path = f"{name}.{key}"
                        found[parameter.path] = parameter
        everything = Parameters(found)
        return everything.select(*patterns) if patterns else everything

    def ordered_nodes(self) -> list[Node]:
        """Nodes with every parent before its children.

        Raises:
            SceneError: unknown parent, a cycle, or more than 64 levels.
        """
        order: list[Node] = []
        done: set[str] = set()
        for name in self.nodes:
            chain: list[str] = []
            while name is not None and name not in done:
                if name not in self.nodes:
                    raise SceneError(f"nodes.{chain[-1]}.parent", f"no node {name!r}", nearest(name, self.nodes))
                if name in chain:
                    raise SceneError(f"nodes.{name}.parent", "is its own ancestor: " + " > ".join([*chain, name]))
                chain.append(name)
                if len(chain) > MAX_DEPTH:
                    raise SceneError(f"nodes.{chain[0]}", f"is more than {MAX_DEPTH} levels deep")
                name = self.nodes[name].parent
            for link in reversed(chain):
                done.add(link)
                order.append(self.nodes[link])
        return order

    def world_matrices(self) -> dict[str, np.ndarray]:
        """[4, 4] object-to-world matrix of every node.

        Raises:
            SceneError: names a node whose translation, rotation or scale a kernel has made something else than finite.
        """
        worlds: dict[str, np.ndarray] = {}
        for node in self.ordered_nodes():
            local = node.local_matrix()
            if not np.isfinite(local).all():
                what = "its translation, rotation or scale is not finite"
                raise SceneError(f"nodes.{node.name}", what, "give finite numbers")
            worlds[node.name] = local if node.parent is None else worlds[node.parent] @ local
        return worlds

    def world_adjoint(self, gradients: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Gradients (translation, rotation, scale) of nodes from dL/dworld [4, 4] of the nodes named.

        Nodes that no gradient reaches are left out.
        """
        worlds = self.world_matrices()
        waiting = {name: gradient.copy() for name, gradient in gradients.items()}
        found = {}
        for node in reversed(self.ordered_nodes()):
            gradient = waiting.get(node.name)
            if gradient is None:
                continue
            if node.parent is not None:
                upward = gradient @ node.local_matrix().T
                waiting[node.parent] = waiting.get(node.parent, 0) + upward
                gradient = worlds[node.parent].T @ gradient
            rotation, scale = node.rotation.host(), node.scale.host()
            found[node.name] = compose_adjoint(rotation, scale, gradient)
        return found

    def _kinds(self) -> tuple[dict[str, Any], ...]:
        return (self.nodes, self.materials, self.lights, self.cameras)

    def _add(self, kind: dict[str, Any], name: str, member):
        if not name or "." in name:
            raise SceneError(repr(name), "is no valid name", "use a non-empty name without dots")
        if name in self:
            raise SceneError(name, "is in the scene twice", "names are unique over nodes, materials, lights, cameras")
        kind[name] = member
        for key, parameter in member.parameters().items():
            parameter.path = parameter.path or f"{name}.{key}"
        return member
