"""Energies of a point cloud that keep its points on a surface and apart from each other.

The two regularizers of Yifan et al. 2019, "Differentiable Surface Splatting for Point-based Geometry Processing". Each
point looks at its nearest neighbours, weighed by their distance and by how far their normals turn away from its own, as
in a bilateral filter. Lengths are in object space; the repulsion's published softening is for things about 1 in size.

What these do not differentiate: who the neighbours are, their weights and the planes, which each forward computes anew;
so normals have no gradient.
"""

import math

import numpy as np

from tidr.kernels.points import neighborhoods as kernels
from tidr.scene.graph import Node
from tidr.scene.neighbors import PointTree
from tidr.scene.points import PointCloud

from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, run, unrecorded
from .totals import Total

TURN = 1 - math.cos(math.pi / 3)  # of normals, as 1 - cos, where a neighbour's weight has fallen to 1 / e
SOFTENING = 1e-4  # added to squared distances, as published
NEIGHBOURS = 8


class Neighborhoods:
    """The k nearest neighbours of every point of a cloud with normals, their weights, and the plane through them.

    Weight of neighbour j of point i: exp(-|p_i - p_j|^2 / s_i^2) exp(-((1 - n_i . n_j) / (1 - cos 60 deg))^2), where
    s_i^2 is the mean square over the neighbours; then scaled so that those of a point sum to 1. The plane's normal is
    the mean of n_i and of the n_j by weight.

    Raises:
        SceneError: no normals, or k below 1.
    """

    def __init__(self, cloud: PointCloud, k: int = NEIGHBOURS) -> None:
        if cloud.normals is None:
            mend = "give the cloud normals, as tidr.point_normals.estimate finds them"
            raise SceneError("points.normals", "are missing: neighbours are weighed by them", mend)
        self.count, self.k = cloud.count, k
        with unrecorded():
            self.found, squares, _ = PointTree(cloud.positions).search(k=k)
            self.weights, self.planes = Buffer((self.count * k,)), Buffer((3 * self.count,))
            kernels.weigh(
                self.count, k, self.found.ndarray, squares.ndarray, cloud.normals.value, TURN, self.weights.ndarray,
                self.planes.ndarray,
            )  # fmt: skip
        self._lists: tuple[Buffer, Buffer] | None = None

    def pairs(self) -> tuple[Buffer, Buffer]:
        """Of every point the pairs in which it is the neighbour: (start [N + 1], listed [N * k])."""
        if self._lists is None:
            found = self.found.ndarray.to_numpy()[: self.count * self.k]
            order = np.argsort(found, kind="stable")
            start, listed = Buffer((self.count + 1,), "int"), Buffer((self.count * self.k,), "int")
            start.ndarray.from_numpy(np.searchsorted(found[order], np.arange(self.count + 1)).astype(np.int32))
            listed.ndarray.from_numpy(order.astype(np.int32))
            self._lists = start, listed
        return self._lists


def projection(cloud: PointCloud | Node, around: Neighborhoods | None = None) -> Loss:
    """Mean over points of the weighed squared distances of their neighbours across their planes: 0 where all is flat.

    around: found anew when None; neighbours may be kept for several steps.
    """
    return _energy(cloud, around, kernels.PROJECTION, "projection")


def repulsion(cloud: PointCloud | Node, around: Neighborhoods | None = None) -> Loss:
    """Mean over points of the weighed sum of 1 / (d^2 + 1e-4), with d the distance to a neighbour along the plane.

    around: found anew when None; neighbours may be kept for several steps.
    """
    return _energy(cloud, around, kernels.REPULSION, "repulsion")


def _energy(cloud: PointCloud | Node, around: Neighborhoods | None, kind: int, name: str) -> Loss:
    held = cloud.geometry if isinstance(cloud, Node) else cloud
    if not isinstance(held, PointCloud):
        raise SceneError(name, f"got {type(held).__name__}", "pass a point cloud, or a node that holds one")
    near = around or Neighborhoods(held)
    positions, count, k = held.positions, near.count, near.k
    if positions.rows != count:
        raise SceneError(name, f"{positions.rows} points, neighbours of {count}", "find the neighbours anew")
    total, terms = Total(count), Buffer((count,))
    known = (near.weights.ndarray, near.planes.ndarray, SOFTENING, kind)

    def forward() -> None:
        kernels.energies(count, k, near.found.ndarray, positions.value, *known, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        start, listed = near.pairs()
        lists = (near.found.ndarray, start.ndarray, listed.ndarray)
        kernels.energies_adjoint(
            count, k, *lists, positions.value, *known, 1.0 / count, total.loss.grad, positions.grad
        )  # fmt: skip

    run(Operation(forward, backward, [positions], [total.loss], name))
    return Loss(total.loss, name)
