"""All meshes of a scene packed into one: indices once per scene, world-space vertices at every render."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.extract import surface_vertices
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.raster import project as kernels
from tidr.parameter import nearest
from tidr.scene.extraction import Extraction
from tidr.scene.graph import Node, Scene
from tidr.scene.mesh import Mesh
from tidr.scene.parametric import ParametricSurface
from tidr.scene.tetrahedra import Tetrahedra

DEFAULT_MATERIAL = ""


@dataclass(frozen=True)
class Instance:
    """A node's mesh in the pack, or the triangles of its surface: where its rows of each packed array start."""

    index: int
    node: Node
    mesh: Mesh | Extraction | ParametricSurface
    vertex: int
    uv: int
    normal: int

    def vertices(self) -> Array:
        """[V, 3] in object space; those of a surface are made anew, on the open tape."""
        if isinstance(self.mesh, Mesh):
            return self.mesh.vertices
        if isinstance(self.mesh, ParametricSurface):
            return self.mesh.vertices()
        tetrahedra = self.node.geometry
        assert isinstance(tetrahedra, Tetrahedra)
        return surface_vertices(tetrahedra, self.mesh)


def mesh_of(node: Node) -> Mesh | Extraction | ParametricSurface | None:
    """What a node gives to a rasterizer: its mesh or parametric surface, or its tetrahedra's surface as it is now."""
    if isinstance(node.geometry, Tetrahedra):
        return node.geometry.extraction()
    return node.geometry if isinstance(node.geometry, Mesh | ParametricSurface) else None


class Pack:
    """Index arrays of all meshes of a scene, offset into shared vertex, uv and normal rows.

    triangles, opposite, uv_corners, normal_corners: int ndarrays [F, 3]; the last two hold -1 where a mesh has none.
    face_material [F] indexes `materials`, face_instance [F] `instances`. Normals have a row per vertex first, then the
    rows read from files.
    """

    def __init__(self, scene: Scene) -> None:
        self.instances: list[Instance] = []
        self.materials: list[str] = [DEFAULT_MATERIAL, *scene.materials]
        vertex = uv = normal = 0
        for node in scene.nodes.values():
            mesh = mesh_of(node)
            if mesh is not None:
                self.instances.append(Instance(len(self.instances), node, mesh, vertex, uv, normal))
                vertex += mesh.topology.vertex_count
                uv += mesh.uvs.rows if mesh.uvs is not None else 0
                normal += mesh.normals.rows if mesh.shading == "file" and mesh.normals is not None else 0
        self.vertices, self.uvs, self.normals = vertex, uv, vertex + normal
        self.faces = sum(len(instance.mesh.faces) for instance in self.instances)
        parts = [self._corners(instance) for instance in self.instances if len(instance.mesh.faces)] or [_nothing()]
        table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self.smooth = any(instance.mesh.shading == "smooth" for instance in self.instances)
        names = ("triangles", "opposite", "uv_corners", "normal_corners", "material", "instance")
        tables = [*(table[name] for name in names), *_incidence(table["triangles"], vertex)]
        self._buffers = [Buffer.of(table) for table in tables]
        self.triangles, self.opposite, self.uv_corners, self.normal_corners = (b.ndarray for b in self._buffers[:4])
        self.face_material, self.face_instance, self.starts, self.corners = (b.ndarray for b in self._buffers[4:])
        self.has_colors = any(instance.mesh.colors is not None for instance in self.instances)

    def _corners(self, instance: Instance) -> dict[str, np.ndarray]:
        mesh = instance.mesh
        none = np.full_like(mesh.faces, -1)
        opposite = mesh.topology.opposite_vertices
        normals = mesh.faces + instance.vertex if mesh.shading == "smooth" else none
        if mesh.shading == "file" and mesh.normal_faces is not None:
            normals = mesh.normal_faces + self.vertices + instance.normal
        return {
            "triangles": mesh.faces + instance.vertex,
            "opposite": np.where(opposite >= 0, opposite + instance.vertex, -1),
            "uv_corners": none if mesh.uv_faces is None else mesh.uv_faces + instance.uv,
            "normal_corners": normals,
            "material": self._material_indices(instance),
            "instance": np.full(len(mesh.faces), instance.index, np.int32),
        }

    def _material_indices(self, instance: Instance) -> np.ndarray:
        names = instance.node.materials or (DEFAULT_MATERIAL,)
        last = int(instance.mesh.face_materials.max())
        if last >= len(names):
            where = f"nodes.{instance.node.name}.material"
            raise SceneError(where, f"the mesh uses material slot {last}", f"name {last + 1} materials")
        for name in names:
            if name not in self.materials:
                where = f"nodes.{instance.node.name}.material"
                raise SceneError(where, f"no material {name!r}", nearest(name, self.materials))
        return np.array([self.materials.index(name) for name in names], np.int32)[instance.mesh.face_materials]


@dataclass
class World:
    """Packed geometry in world space at one render: positions [V, 3], normals [N, 3], uvs [T, 2], colors [V, 3]."""

    pack: Pack
    positions: Array
    normals: Array
    uvs: Array
    colors: Array | None


_packs: weakref.WeakKeyDictionary[Scene, tuple[tuple, Pack]] = weakref.WeakKeyDictionary()


def pack(scene: Scene) -> Pack:
    """The scene's index arrays, made again only when a node, triangle or material name changed."""
    nodes = tuple((name, id(mesh_of(node)), node.materials) for name, node in scene.nodes.items())
    key = (runtime.generation(), nodes, tuple(scene.materials))
    held = _packs.get(scene)
    if held is None or held[0] != key:
        held = (key, Pack(scene))
        _packs[scene] = held
    return held[1]


def world(scene: Scene, packed: Pack) -> World:
    """World-space positions, normals, uvs and colours, recorded on the open tape."""
    matrices = object_to_world(scene, [instance.node for instance in packed.instances])
    positions = Array((max(packed.vertices, 1), 3))
    for instance in packed.instances:
        place(instance.vertices(), instance.index, instance.vertex, matrices, positions)
    normals = Array((max(packed.normals, 1), 3))
    if packed.smooth:
        _smooth_normals(packed, positions, normals)
    for instance in packed.instances:
        own = instance.mesh.normals
        if instance.mesh.shading == "file" and own is not None:
            place_normals(own, instance.index, packed.vertices + instance.normal, matrices, normals)
    uvs = Array((max(packed.uvs, 1), 2))
    copy_rows(uvs, [(i.mesh.uvs, i.uv) for i in packed.instances if i.mesh.uvs is not None])
    colors = None
    if packed.has_colors:
        colors = Array((packed.vertices, 3))
        copy_rows(colors, [(i.mesh.colors, i.vertex) for i in packed.instances if i.mesh.colors is not None])
    return World(packed, positions, normals, uvs, colors)


def attribute(packed: Pack, name: str) -> Array:
    """A vertex attribute of all meshes, packed [V, C]; zero where a mesh has none of that name."""
    owners = [i for i in packed.instances if name in i.mesh.attributes]
    if not owners:
        known = {key for i in packed.instances for key in i.mesh.attributes}
        raise SceneError(name, "is no vertex attribute of any mesh", nearest(name, known))
    packed_values = Array((packed.vertices, owners[0].mesh.attributes[name].channels))
    copy_rows(packed_values, [(i.mesh.attributes[name], i.vertex) for i in owners])
    return packed_values


def object_to_world(scene: Scene, nodes: Sequence[Node]) -> Array:
    """[I, 16] row-major object-to-world matrices of nodes; the hierarchy is composed on the host in f64."""
    matrices = Array((max(len(nodes), 1), 16))
    inputs = [p for node in scene.ordered_nodes() for p in node.transform_parameters().values()]

    def forward() -> None:
        worlds = scene.world_matrices()
        if nodes:
            matrices.set(np.stack([worlds[node.name].reshape(16) for node in nodes]))

    def backward() -> None:
        gradients = matrices.grad_numpy().astype(np.float64).reshape(-1, 4, 4)
        found = scene.world_adjoint({node.name: gradients[index] for index, node in enumerate(nodes)})
        for name, parts in found.items():
            parameters = scene.nodes[name].transform_parameters().values()
            for parameter, part in zip(parameters, parts, strict=True):
                if needs(parameter):
                    parameter.set_grad(parameter.grad_numpy() + part)

    run(Operation(forward, backward, inputs, [matrices], "object to world"))
    return matrices


def place(vertices: Array, index: int, start: int, matrices: Array, positions: Array) -> None:
    """Rows of positions from `start` on: vertices [V, 3] taken to the world by the matrix `index`."""
    count, chunks = vertices.rows, runtime.reduction_chunks()

    def forward() -> None:
        kernels.to_world(count, vertices.value, matrices.value, index, start, positions.value)

    def backward() -> None:
        if needs(vertices):
            kernels.to_world_adjoint(count, matrices.value, index, start, positions.grad, vertices.grad)
        if needs(matrices):
            part = Buffer((chunks * matrices.rows * 16,))
            part.ndarray.fill(0.0)
            kernels.to_world_matrix_adjoint(
                chunks, matrices.rows, count, vertices.value, start, positions.grad, part.ndarray, index,
                runtime.chunk_block(),
            )  # fmt: skip
            accumulate.collect(chunks, matrices.rows, 16, part.ndarray, matrices.grad)

    run(Operation(forward, backward, [vertices, matrices], [positions], "vertices to world"))


def place_normals(own: Array, index: int, start: int, matrices: Array, normals: Array) -> None:
    """Rows of normals from `start` on: own [N, 3] in the world, by the matrix `index`; not of length 1."""
    chunks = runtime.reduction_chunks()

    def forward() -> None:
        kernels.normals_to_world(own.rows, own.value, matrices.value, index, start, normals.value)

    def backward() -> None:
        if needs(own):
            kernels.normals_to_world_adjoint(own.rows, matrices.value, index, start, normals.grad, own.grad)
        if needs(matrices):
            part = Buffer((chunks * matrices.rows * 16,))
            part.ndarray.fill(0.0)
            kernels.normals_to_world_matrix_adjoint(
                chunks, matrices.rows, own.rows, own.value, matrices.value, index, start, normals.grad, part.ndarray,
                runtime.chunk_block(),
            )  # fmt: skip
            accumulate.collect(chunks, matrices.rows, 16, part.ndarray, matrices.grad)

    run(Operation(forward, backward, [own, matrices], [normals], "normals to world"))


def _smooth_normals(packed: Pack, positions: Array, normals: Array) -> None:
    face_normals = Array((packed.faces, 3))

    def forward() -> None:
        kernels.face_normals(packed.faces, packed.triangles, positions.value, face_normals.value)
        kernels.vertex_normals(packed.vertices, packed.starts, packed.corners, face_normals.value, normals.value)

    def backward() -> None:
        kernels.vertex_normals_adjoint(packed.faces, packed.triangles, normals.grad, face_normals.grad)
        kernels.face_normals_adjoint(
            packed.vertices,
            packed.starts,
            packed.corners,
            packed.triangles,
            positions.value,
            face_normals.grad,
            positions.grad,
        )

    run(Operation(forward, backward, [positions], [normals], "vertex normals"))


def copy_rows(target: Array, sources: list) -> None:
    """Rows of each source to its place in target."""

    def forward() -> None:
        target.value.fill(0.0)
        for source, start in sources:
            accumulate.copy_rows(source.rows, source.channels, source.value, target.value, start)

    def backward() -> None:
        for source, start in sources:
            if needs(source):
                accumulate.add_rows(source.rows, source.channels, target.grad, start, source.grad, 0)

    run(Operation(forward, backward, [source for source, _ in sources], [target], "pack"))


def _incidence(triangles: np.ndarray, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR of the corners (3 * face + corner) at each vertex: starts [V + 1], corners [3 F]."""
    flat = triangles.reshape(-1)
    counts = np.bincount(flat[flat >= 0], minlength=max(vertices, 1))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return starts.astype(np.int32), np.argsort(flat, kind="stable").astype(np.int32)


def _nothing() -> dict[str, np.ndarray]:
    none = np.full((1, 3), -1, np.int32)
    names = ("triangles", "opposite", "uv_corners", "normal_corners")
    one = np.zeros(1, np.int32)
    return dict.fromkeys(names, none) | {"material": one, "instance": one}
