"""Energies of a mesh that keep a fit smooth and even.

Each takes a `Mesh`, or a `Node` that holds one: anything with `vertices` (Parameter [V, 3]) and `topology`. Lengths are
in object space. The integer tables are made and uploaded once per topology.
"""

from tidr.kernels import mesh_energy as kernels
from tidr.kernels import mesh_flatten as flatten_kernels
from tidr.kernels.reduce import split

from .. import runtime
from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, run, unrecorded
from .totals import Total

KINDS = {
    "uniform": kernels.UNIFORM,
    "cotangent": kernels.COTANGENT,
    "cotangent_curvature": kernels.COTANGENT_CURVATURE,
}


def laplacian(mesh, kind: str = "uniform") -> Loss:
    """Mean over vertices of |delta_i|, the distance of a vertex from where its neighbours pull it.

    kind "uniform": delta_i = mean of the neighbours - v_i. "cotangent" (Desbrun et al. 1999): the neighbours weighed by
    the cotangents of the two angles that face the edge; a vertex whose weights do not sum to more than 0 counts 0.
    "cotangent_curvature": the same weights, not normalised but times 1 / (4 area of the faces around), so that a sphere
    of radius r tends to 1 / (3 r).

    What this does not differentiate: the cotangent weights and areas, which each forward computes anew.
    """
    vertices, topology = _mesh(mesh, "laplacian")
    if kind not in KINDS:
        raise SceneError("laplacian", f"kind is {kind!r}", f"choose one of {', '.join(KINDS)}")
    count, edges = vertices.rows, len(topology.edges)
    parts = split(count, runtime.on_cpu())
    weights, slopes, partial, loss = Buffer((edges, 1)), Buffer((count, 4)), Buffer((parts.chunks, 1)), Array(())
    with unrecorded():
        (faces,) = topology.device("faces")
        ring = (*topology.device("neighbours"), topology.device("vertex_edges")[1])
        facing, corners = topology.device("edge_corners"), topology.device("vertex_faces")

    def forward() -> None:
        if kind == "uniform":
            kernels.unit_weights(weights.ndarray, edges)
        else:
            kernels.cotangent_weights(vertices.value, faces, *facing, edges, weights.ndarray)
        before = (KINDS[kind], vertices.value, faces, *ring, *corners, weights.ndarray, count)
        kernels.laplacian(*before, *parts, slopes.ndarray, partial.ndarray, loss.value)

    def backward() -> None:
        kernels.laplacian_adjoint(*ring, weights.ndarray, slopes.ndarray, count, loss.grad, vertices.grad)

    name = "laplacian" if kind == "uniform" else f"laplacian_{kind}"
    run(Operation(forward, backward, [vertices], [loss], name))
    return Loss(loss, name)


def edge_length(mesh, target: float = 0.0) -> Loss:
    """Mean over edges of (length - target)^2."""
    vertices, topology = _mesh(mesh, "edge_length")
    count, edge_count, target = vertices.rows, len(topology.edges), float(target)
    parts = split(edge_count, runtime.on_cpu())
    partial, loss = Buffer((parts.chunks, 1)), Array(())
    with unrecorded():
        (edges,), ring = topology.device("edges"), topology.device("neighbours")

    def forward() -> None:
        before = (vertices.value, edges, edge_count, target)
        kernels.edge_length(*before, *parts, partial.ndarray, loss.value)

    def backward() -> None:
        before = (vertices.value, *ring, count, edge_count, target)
        kernels.edge_length_adjoint(*before, loss.grad, vertices.grad)

    run(Operation(forward, backward, [vertices], [loss], "edge_length"))
    return Loss(loss, "edge_length")


def normal_consistency(mesh) -> Loss:
    """Mean over pairs of faces that share an edge of 1 - cos(angle between their normals): 0 flat, 2 folded back.

    A face without area has no normal: its pairs count 1 and pull at nothing.
    """
    vertices, topology = _mesh(mesh, "normal_consistency")
    count, face_count, pair_count = vertices.rows, topology.face_count, len(topology.face_pairs)
    parts = split(pair_count, runtime.on_cpu())
    normals, slopes = Buffer((face_count, 4)), Buffer((face_count, 3))
    partial, loss = Buffer((parts.chunks, 1)), Array(())
    with unrecorded():
        (faces,), (pairs,) = topology.device("faces"), topology.device("face_pairs")
        slots, corners = topology.device("face_face_pairs"), topology.device("vertex_faces")

    def forward() -> None:
        before = (vertices.value, faces, pairs, face_count, pair_count)
        kernels.normal_consistency(*before, *parts, normals.ndarray, partial.ndarray, loss.value)

    def backward() -> None:
        before = (vertices.value, faces, pairs, *slots, *corners, count, face_count, pair_count)
        kernels.normal_consistency_adjoint(*before, normals.ndarray, slopes.ndarray, loss.grad, vertices.grad)

    run(Operation(forward, backward, [vertices], [loss], "normal_consistency"))
    return Loss(loss, "normal_consistency")


def flatten(mesh) -> Loss:
    """Sum over pairs of faces that share an edge of (1 - cos(angle between their normals))^2: 0 flat, 4 folded back.

    The flattening energy of Liu, Li, Chen and Li 2019, "Soft Rasterizer", where the cosine is that of the dihedral
    angle, -1 where flat. Unlike `normal_consistency` it is a sum and hardly minds small bends. Pairs of a face without
    area count 1 and pull at nothing.
    """
    vertices, topology = _mesh(mesh, "flatten")
    count, face_count, total = vertices.rows, topology.face_count, Total(len(topology.face_pairs), 1.0)
    normals, slopes, terms = Buffer((face_count, 4)), Buffer((face_count, 3)), Buffer((total.rows,))
    with unrecorded():
        (faces,), (pairs,) = topology.device("faces"), topology.device("face_pairs")
        tables = (*topology.device("face_face_pairs"), *topology.device("vertex_faces"))

    def forward() -> None:
        flatten_kernels.face_normals(face_count, faces, vertices.value, normals.ndarray)
        flatten_kernels.flatten(total.rows, pairs, normals.ndarray, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        before = (face_count, count, faces, vertices.value, normals.ndarray, pairs, *tables)
        flatten_kernels.flatten_adjoint(*before, slopes.ndarray, total.loss.grad, vertices.grad)

    run(Operation(forward, backward, [vertices], [total.loss], "flatten"))
    return Loss(total.loss, "flatten")


def _mesh(mesh, name: str):
    """(vertices, topology) of a mesh or of a node that holds one."""
    try:
        return mesh.vertices, mesh.topology
    except AttributeError:
        raise SceneError(name, f"got {type(mesh).__name__}", "pass a mesh, or a node that holds one") from None
