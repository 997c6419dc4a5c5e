"""Losses between two clouds of points, or points and a mesh, by nearest neighbours; and two measures.

Points are an `Array` or `Parameter` [N, 3] (`cloud.positions`), or a numpy array, which has no gradient. Squared
distances are means over points, as in PyTorch3D and Kaolin.

What these do not differentiate: which point is nearest. Where two are equally near, the one of the lower number counts.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from tidr.kernels.points import chamfer as kernels
from tidr.kernels.points import mesh_distance as surface
from tidr.renderers.bvh import Bvh
from tidr.scene.neighbors import PointTree, nearest
from tidr.scene.points import point_rows
from tidr.scene.topology import Topology, rows_of

from .. import runtime
from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from .regularizers import _mesh
from .tape import Loss, Operation, needs, run, unrecorded
from .totals import Total


@dataclass
class _Side:
    """Points whose nearest are among others, by their values: positions or normals; `share` weighs each term."""

    values: Array
    others: Array
    partner: Buffer
    share: float

    def lists(self) -> tuple[Buffer, Buffer]:
        """(start [N + 1], listed [n]): whose partner each of the others is."""
        start, listed = Buffer((self.others.rows + 1,), "int"), Buffer((self.values.rows,), "int")
        for buffer, rows in zip(
            (start, listed), rows_of(self.partner.ndarray.to_numpy(), self.others.rows), strict=True
        ):
            buffer.ndarray.from_numpy(rows)
        return start, listed


def chamfer(points_a, points_b) -> Loss:
    """Mean over a of the squared distance to the nearest of b, plus the mean over b to the nearest of a.

    The Chamfer distance of Fan et al. 2017, "A point set generation network for 3D object reconstruction from a single
    image", with means in place of sums. Differentiable by both.

    Raises:
        SceneError: wrong shape, no point, not finite.
    """
    a, b = _points("points_a", points_a), _points("points_b", points_b)
    sides = [_side(a, b), _side(b, a)]
    return _loss("chamfer", sides, kernels.squares, kernels.squares_adjoint, kernels.squares_adjoint_partners)


def directed(points_a, points_b) -> Loss:
    """Mean over a of the squared distance to the nearest of b: one half of `chamfer`. Differentiable by both."""
    a, b = _points("points_a", points_a), _points("points_b", points_b)
    sides = [_side(a, b)]
    return _loss("directed", sides, kernels.squares, kernels.squares_adjoint, kernels.squares_adjoint_partners)


def chamfer_normals(points_a, normals_a, points_b, normals_b) -> Loss:
    """Mean over a of 1 - cos of the angle between its normal and that of the nearest of b, plus the same from b to a.

    Differentiable by both clouds' normals [N, 3], which may have any length; one of length 0 counts 1. What this does
    not differentiate: the positions, which only say who is nearest.

    Raises:
        SceneError: wrong shape, no point, not finite.
    """
    a, b = _points("points_a", points_a), _points("points_b", points_b)
    of_a, of_b = _points("normals_a", normals_a, a.rows), _points("normals_b", normals_b, b.rows)
    sides = [_side(a, b, of_a, of_b), _side(b, a, of_b, of_a)]
    return _loss("chamfer_normals", sides, kernels.angles, kernels.angles_adjoint, kernels.angles_adjoint_partners)


def point_to_mesh(points, mesh) -> Loss:
    """Mean over points of the squared distance to the nearest place on a mesh's triangles. Differentiable by both.

    mesh: a `Mesh`, or a `Node` that holds one; points [N, 3] are in the mesh's object space. The nearest places are
    found by a hierarchy of the triangles, refitted at each call. For distances the other way take `directed` from
    points sampled on the mesh.

    Raises:
        SceneError: wrong shape, no point, no triangle, not finite.
    """
    given = _points("points", points)
    vertices, topology = _mesh(mesh, "point_to_mesh")
    if not topology.face_count:
        raise SceneError("point_to_mesh", "the mesh has no triangle", "give one that has")
    count, total = given.rows, Total(given.rows)
    corners, weights, terms = Buffer((count * 3,), "int"), Buffer((count, 3)), Buffer((count,))
    with unrecorded():
        tree, (faces,) = _tree(topology), topology.device("faces")
        tree.update(vertices.value)
        places = (count, given.value, vertices.value)
        surface.search(*places, faces, tree.nodes, tree.leaves, corners.ndarray, weights.ndarray)

    def forward() -> None:
        surface.squares(*places, corners.ndarray, weights.ndarray, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        before, after = (given.value, vertices.value, corners.ndarray, weights.ndarray), (1.0 / count, total.loss.grad)
        if given.grad is not None and needs(given):
            surface.squares_adjoint(count, *before, *after, given.grad)
        if needs(vertices):
            start, listed = (Buffer.of(rows) for rows in rows_of(corners.ndarray.to_numpy(), vertices.rows))
            lists = (start.ndarray, listed.ndarray)
            surface.squares_adjoint_vertices(vertices.rows, *before, *lists, *after, vertices.grad)

    inputs = [array for array in (given, vertices) if array.grad is not None]
    run(Operation(forward, backward, inputs, [total.loss], "point_to_mesh"))
    return Loss(total.loss, "point_to_mesh")


_trees: WeakKeyDictionary[Topology, tuple[int, Bvh]] = WeakKeyDictionary()


def _tree(topology: Topology) -> Bvh:
    """The hierarchy of a mesh, made once for each start of Taichi."""
    generation, found = runtime.generation(), _trees.get(topology)
    if found is None or found[0] != generation:
        found = _trees[topology] = (generation, Bvh(topology.faces))
    return found[1]


def hausdorff(points_a, points_b) -> float:
    """The largest distance from a point of either cloud to the nearest of the other."""
    squares = [nearest(points_b, points_a)[1].max(), nearest(points_a, points_b)[1].max()]
    return float(np.sqrt(max(squares)))


def f_score(points_a, points_b, radius: float) -> float:
    """Harmonic mean of the shares of a within `radius` of b and of b within `radius` of a (Knapitsch et al. 2017)."""
    if not radius > 0:
        raise SceneError("f_score.radius", f"is {radius}", "give a distance above 0")
    shares = [np.mean(nearest(q, p)[1] < radius**2) for p, q in ((points_a, points_b), (points_b, points_a))]
    return float(2 * shares[0] * shares[1] / sum(shares)) if sum(shares) > 0 else 0.0


def _side(points: Array, among: Array, values: Array | None = None, others: Array | None = None) -> _Side:
    partner, _, count = PointTree(among).search(points)
    return _Side(points if values is None else values, among if others is None else others, partner, 1.0 / count)


def _loss(name: str, sides: list[_Side], value, adjoint, adjoint_partners) -> Loss:
    """The sum of all sides' terms."""
    rows = sum(side.values.rows for side in sides)
    total, terms = Total(rows, 1.0), Buffer((rows,))

    def forward() -> None:
        first = 0
        for side in sides:
            size = side.values.rows
            value(size, side.values.value, side.others.value, side.partner.ndarray, side.share, first, terms.ndarray)
            first += size
        total.of(terms)

    def backward() -> None:
        for side in sides:
            given, seed = (side.values.value, side.others.value), total.loss.grad
            if side.values.grad is not None and needs(side.values):
                adjoint(side.values.rows, *given, side.partner.ndarray, side.share, seed, side.values.grad)
            if side.others.grad is not None and needs(side.others):
                start, listed = side.lists()
                lists = (start.ndarray, listed.ndarray)
                adjoint_partners(side.others.rows, *given, *lists, side.share, seed, side.others.grad)

    inputs = {id(array): array for side in sides for array in (side.values, side.others) if array.grad is not None}
    run(Operation(forward, backward, list(inputs.values()), [total.loss], name))
    return Loss(total.loss, name)


def _points(name: str, points, count: int | None = None) -> Array:
    """As they are, or a copy on the device."""
    if isinstance(points, Array):
        if points.shape != (points.rows if count is None else count, 3):
            raise SceneError(name, f"got shape {points.shape}, expected [{'N' if count is None else count}, 3]")
        return points
    with unrecorded():
        return Array.of(point_rows(name, points, 3, count), needs_grad=False)
