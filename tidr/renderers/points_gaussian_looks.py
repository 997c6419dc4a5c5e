"""What splats of 3D Gaussians need of a node and its cameras: tables, radiance by harmonics, normals; on the tape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.points import gaussian_color as coloring
from tidr.kernels.points import gaussian_normal as facing
from tidr.kernels.reduce import split
from tidr.kernels.volume import sh
from tidr.scene.camera import Camera, pinhole_parameters
from tidr.scene.gaussians import HARMONICS, Gaussians
from tidr.scene.graph import Node, Scene


@dataclass(frozen=True)
class Cloud:
    """A node's Gaussians: their table (see `to_object`), and the first of their rows among those of a view."""

    node: Node
    gaussians: Gaussians
    table: Array
    start: int


def to_object(scene: Scene, node: Node, cameras: Sequence[Camera], width: int, height: int) -> Array:
    """[B, 20] of every camera: object space to (column w, row w, w, depth), and the eye in object space."""
    table = Array((len(cameras), 20))
    transforms = [p for one in scene.ordered_nodes() for p in one.transform_parameters().values()]

    def forward() -> None:
        world = scene.world_matrices()[node.name]
        rows = []
        for camera in cameras:
            matrix, eye = camera.projection(width, height)
            place = np.linalg.solve(world[:3, :3], eye[:3] - eye[3] * world[:3, 3])
            rows.append(np.concatenate([(matrix @ world).reshape(-1), place, eye[3:]]))
        table.set(np.stack(rows))

    def backward() -> None:
        world = scene.world_matrices()[node.name]
        to_world = np.zeros((4, 4))
        for camera, row in zip(cameras, table.grad_numpy().astype(np.float64), strict=True):
            matrix, eye = camera.projection(width, height)
            to_matrix, to_place = row[:16].reshape(4, 4), row[16:19]
            place = np.linalg.solve(world[:3, :3], eye[:3] - eye[3] * world[:3, 3])
            to_eye = np.linalg.solve(world[:3, :3].T, to_place)
            to_world += matrix.T @ to_matrix
            to_world[:3, :3] -= np.outer(to_eye, place)
            to_world[:3, 3] -= eye[3] * to_eye
            found = camera.projection_adjoint(width, height, to_matrix @ world.T, np.append(to_eye, 0.0))
            for name, parameter in camera.parameters().items():
                if needs(parameter):
                    parameter.set_grad(parameter.grad_numpy() + found[name])
        _to_transforms(scene, node, to_world)

    inputs = [*transforms, *pinhole_parameters(cameras)]
    run(Operation(forward, backward, inputs, [table], "cameras of Gaussians"))
    return table


def colors(cloud: Cloud, views: int, per_view: int, out: Array) -> None:
    """Rows of out [views * per_view, 3]: the radiance of a node's Gaussians towards every camera."""
    gaussians = cloud.gaussians
    count, terms = gaussians.count, HARMONICS[min(gaussians.active_degree, gaussians.sh_degree)]
    dc, rest = gaussians.sh_dc, gaussians.sh_rest
    basis = _basis(cloud, views, terms) if terms > 1 else dc
    above = dc if rest is None else rest
    stored = 0 if rest is None else HARMONICS[gaussians.sh_degree] - 1
    common = (count, cloud.start, per_view, views, stored, terms, dc.value, above.value, basis.value, out.value)

    def forward() -> None:
        coloring.colors(*common)

    def backward() -> None:
        coloring.colors_adjoint(*common, out.grad, dc.grad, above.grad, basis.grad)

    inputs = [dc, *([rest] if rest is not None else []), *([basis] if terms > 1 else [])]
    run(Operation(forward, backward, inputs, [out], "Gaussian colours"))


def normals(scene: Scene, cloud: Cloud, views: int, per_view: int, out: Array) -> None:
    """Rows of out [views * per_view, 3]: the normals of a node's Gaussians, in the world, turned to every camera."""
    gaussians, table, matrix = cloud.gaussians, cloud.table, _normals_to_world(scene, cloud.node)
    count, rotations = gaussians.count, gaussians.rotations
    where = (count, cloud.start, per_view, views)
    seen = (gaussians.means.value, gaussians.log_scales.value, rotations.value, table.value, matrix.value)

    def forward() -> None:
        facing.normals(*where, *seen, out.value)

    def backward() -> None:
        chunks = split(count, runtime.on_cpu())
        part = Buffer((chunks.chunks * 9,))
        facing.normals_adjoint(*chunks, *where, *seen, out.grad, rotations.grad, part.ndarray)
        accumulate.collect(chunks.chunks, 1, 9, part.ndarray, matrix.grad)

    run(Operation(forward, backward, [rotations, matrix], [out], "Gaussian normals"))


def _basis(cloud: Cloud, views: int, terms: int) -> Array:
    """[views * N, terms] harmonics of the directions from the cameras to the means, in object space."""
    means, table, count = cloud.gaussians.means, cloud.table, cloud.gaussians.count
    directions, basis = Array((views * count, 3)), Array((views * count, terms))

    def forward() -> None:
        coloring.directions(count, views, means.value, table.value, directions.value)

    def backward() -> None:
        chunks = split(count, runtime.on_cpu())
        part = Buffer((chunks.chunks * views * 20,))
        common = (count, views, means.value, table.value, directions.grad)
        coloring.directions_adjoint(*chunks, *common, means.grad, part.ndarray)
        accumulate.collect(chunks.chunks, views, 20, part.ndarray, table.grad)

    run(Operation(forward, backward, [means, table], [directions], "directions"))

    def harmonics() -> None:
        sh.harmonics(views * count, terms, directions.value, basis.value)

    def harmonics_adjoint() -> None:
        sh.harmonics_adjoint(views * count, terms, directions.value, basis.grad, directions.grad)

    run(Operation(harmonics, harmonics_adjoint, [directions], [basis], "harmonics"))
    return basis


def _normals_to_world(scene: Scene, node: Node) -> Array:
    """[1, 9] inverse transpose of a node's linear part, row-major."""
    matrix = Array((1, 9))
    transforms = [p for one in scene.ordered_nodes() for p in one.transform_parameters().values()]

    def inverse() -> np.ndarray:
        return np.linalg.inv(scene.world_matrices()[node.name][:3, :3])

    def forward() -> None:
        matrix.set(inverse().T.reshape(1, 9))

    def backward() -> None:
        held, to_world = inverse(), np.zeros((4, 4))
        gradient = matrix.grad_numpy().astype(np.float64).reshape(3, 3)
        to_world[:3, :3] = -held.T @ gradient.T @ held.T
        _to_transforms(scene, node, to_world)

    run(Operation(forward, backward, transforms, [matrix], "normals to world"))
    return matrix


def _to_transforms(scene: Scene, node: Node, to_world: np.ndarray) -> None:
    """Add to the gradients of the transforms from that of a node's object-to-world matrix."""
    for name, parts in scene.world_adjoint({node.name: to_world}).items():
        for parameter, part in zip(scene.nodes[name].transform_parameters().values(), parts, strict=True):
            if needs(parameter):
                parameter.set_grad(parameter.grad_numpy() + part)
