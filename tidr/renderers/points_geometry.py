"""The point clouds of a scene, packed and in world space, and where cameras see them; recorded on the open tape.

    points = Points(scene)                  # positions; radii, normals, opacities and colours when asked for
    views = Views(cameras, width, height)
    spots = project(points, views)          # columns, rows, depths, radii in pixels

Rows over points [N]: the clouds of all nodes one after another (`points.clouds` says where each begins). Rows over
points and cameras [B * N]: those of camera 0 first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.points import point_project as kernels
from tidr.kernels.reduce import split
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.points import PointCloud

from .entries import project_points
from .geometry import copy_rows, object_to_world, place, place_normals
from .point_surface import PointSurface
from .shading import Shading
from .views import Views


@dataclass(frozen=True)
class Placed:
    """A node's point cloud; the row of its matrix, and the first of its points among all."""

    node: Node
    cloud: PointCloud
    index: int
    start: int


@dataclass(frozen=True)
class Spots:
    """Points as cameras see them.

    places [B * N, 2]: column and row in pixels. depths [B * N, 1]: along the camera's axis, world units. reach
    [B * N, 1]: radius in pixels, world radius times the geometric mean of the focal lengths over w. It is -1 (and the
    place 0) for points that are not between near and far: such are not to be drawn.
    """

    places: Array
    depths: Array
    reach: Array


class Points:
    """All point clouds of a scene.

    positions [N, 3], world space; `count` is N. matrices [I, 16]: object to world, one for each of `clouds`.

    Raises:
        SceneError: the scene holds none.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.clouds: list[Placed] = []
        self.count = 0
        for node in scene.nodes.values():
            if isinstance(node.geometry, PointCloud):
                self.clouds.append(Placed(node, node.geometry, len(self.clouds), self.count))
                self.count += node.geometry.count
        if not self.clouds:
            raise SceneError("nodes", "hold no PointCloud to draw", "add a node with points")
        self.matrices = object_to_world(scene, [one.node for one in self.clouds])
        self.positions = Array((self.count, 3))
        for one in self.clouds:
            place(one.cloud.positions, one.index, one.start, self.matrices, self.positions)

    @cached_property
    def radii(self) -> Array:
        """[N, 1] in world units: a cloud's own times the mean scale of its node; 0 where a cloud has none."""
        out = _filled(0.0, self.count, 1)
        for one in self.clouds:
            if one.cloud.radii is not None:
                self._scale(one, one.cloud.radii, out)
        return out

    @cached_property
    def opacities(self) -> Array:
        """[N, 1]; 1 where a cloud has none."""
        out = Array((self.count, 1))
        held = [(one.cloud.opacities or _filled(1.0, one.cloud.count, 1), one.start) for one in self.clouds]
        copy_rows(out, held)
        return out

    @cached_property
    def normals(self) -> Array:
        """[N, 3] world, of any length; 0 where a cloud has none."""
        out = _filled(0.0, self.count, 3)
        for one in self.clouds:
            if one.cloud.normals is not None:
                place_normals(one.cloud.normals, one.index, one.start, self.matrices, out)
        return out

    def colors(self, views: Views) -> Array:
        """[B * N, 3] linear RGB towards every camera.

        The points of a node with a material are lit by the scene's lights, from the camera's side and without shadows;
        its slots that are "vertex_colors" take the cloud's colours. Others have their own colours, white when None.

        Raises:
            SceneError: a node has a material, but its points have no normals.
        """
        out = Array((views.count * self.count, 3))
        for one in self.clouds:
            if one.node.materials:
                lit = self._lit(one, views)
                to_views(lit, views.count, one.cloud.count, out, self.count, one.start, one.cloud.count)
            else:
                own = one.cloud.colors or _filled(1.0, one.cloud.count, 3)
                to_views(own, views.count, one.cloud.count, out, self.count, one.start)
        return out

    def _scale(self, one: Placed, own: Array, out: Array) -> None:
        matrices, where = self.matrices, (one.index, one.start)

        def forward() -> None:
            kernels.scale_radii(own.rows, own.value, matrices.value, *where, out.value)

        def backward() -> None:
            chunks = split(own.rows, runtime.on_cpu())
            part = Buffer((chunks.chunks * matrices.rows * 16,))
            part.ndarray.fill(0.0)
            kernels.scale_radii_adjoint(
                *chunks, own.rows, matrices.rows, own.value, matrices.value, *where, out.grad, own.grad, part.ndarray
            )
            accumulate.collect(chunks.chunks, matrices.rows, 16, part.ndarray, matrices.grad)

        run(Operation(forward, backward, [own, matrices], [out], "radii to world"))

    def _lit(self, one: Placed, views: Views) -> Array:
        """[B * n, 3] of a node's points, lit."""
        name, cloud = one.node.name, one.cloud
        if cloud.normals is None:
            mend = "give the cloud normals, or leave out the node's material"
            raise SceneError(f"nodes.{name}.material", "lights points that have no normals", mend)
        rows = views.count * cloud.count
        seen, facing, to_eye = (Array((rows, 3)) for _ in range(3))
        size = (views.count, cloud.count, one.start)
        given = (self.positions.value, self.normals.value, views.eye.value)

        def forward() -> None:
            kernels.face(*size, *given, seen.value, facing.value, to_eye.value)

        def backward() -> None:
            grads = (seen.grad, facing.grad, to_eye.grad, self.positions.grad, self.normals.grad)
            kernels.face_adjoint(*size, *given, *grads)
            if needs(views.eye):
                chunks = split(cloud.count, runtime.on_cpu())
                part = Buffer((chunks.chunks * views.count * 4,))
                kernels.face_eye_adjoint(*chunks, *size, self.positions.value, to_eye.grad, part.ndarray)
                accumulate.collect(chunks.chunks, views.count, 4, part.ndarray, views.eye.grad)

        inputs = [self.positions, self.normals, views.eye]
        run(Operation(forward, backward, inputs, [seen, facing, to_eye], "points to cameras"))
        colors = None
        if cloud.colors is not None:
            colors = Array((rows, 3))
            to_views(cloud.colors, views.count, cloud.count, colors, cloud.count, 0)
        surface = PointSurface(self.scene, one.node, rows, seen, facing, to_eye, colors)
        return Shading(self.scene, surface).colors()


def project(points: Points, views: Views) -> Spots:
    """Where the cameras see the points; differentiable to positions, radii, transforms and cameras."""
    screen, focal, radii = project_points(points.positions, views), mean_focal(views), points.radii
    count, items = points.count, views.count * points.count
    spots = Spots(Array((items, 2)), Array((items, 1)), Array((items, 1)))
    values = (screen.value, focal.value, radii.value)

    def forward() -> None:
        outputs = (spots.places.value, spots.depths.value, spots.reach.value)
        kernels.place(views.count, count, *values, views.table.value, *outputs)

    def backward() -> None:
        reach = spots.reach
        grads = (spots.places.grad, spots.depths.grad, reach.grad, screen.grad)
        kernels.place_adjoint(views.count, count, screen.value, spots.places.value, reach.value, *grads)
        if needs(radii) or needs(focal):
            chunks = split(count, runtime.on_cpu())
            part = Buffer((chunks.chunks * views.count,))
            kernels.reach_adjoint(
                *chunks, views.count, count, *values, reach.value, reach.grad, radii.grad, part.ndarray
            )  # fmt: skip
            accumulate.collect(chunks.chunks, views.count, 1, part.ndarray, focal.grad)

    outputs = [spots.places, spots.depths, spots.reach]
    run(Operation(forward, backward, [screen, focal, radii], outputs, "points to pixels"))
    return spots


def mean_focal(views: Views) -> Array:
    """[B, 1] geometric mean of each camera's two focal lengths in pixels (orthographic: pixels per world unit)."""
    focal, cameras = Array((views.count, 1)), views.cameras

    def mean(camera: Camera) -> float:
        share = views.width / camera.width * views.height / camera.height
        return float(np.sqrt(camera.focal.host().prod() * share))

    def forward() -> None:
        focal.set([[mean(camera)] for camera in cameras])

    def backward() -> None:
        for camera, (gradient,) in zip(cameras, focal.grad_numpy().astype(np.float64), strict=True):
            if needs(camera.focal):
                to_focal = gradient * 0.5 * mean(camera) / camera.focal.host()
                camera.focal.set_grad(camera.focal.grad_numpy() + to_focal)

    inputs: Sequence[Array] = [camera.focal for camera in cameras]
    run(Operation(forward, backward, inputs, [focal], "focal lengths"))
    return focal


def _filled(value: float, rows: int, channels: int) -> Array:
    out = Array((rows, channels))
    with unrecorded():
        out.value.fill(value)
    return out


def to_views(source: Array, views: int, count: int, out: Array, per_view: int, start: int, stride: int = 0) -> None:
    """Rows view * per_view + start + n of out from rows view * stride + n of source."""
    where = (views, count, per_view, start, stride, out.channels)

    def forward() -> None:
        kernels.to_views(*where, source.value, out.value)

    def backward() -> None:
        if needs(source):
            kernels.to_views_adjoint(*where, out.grad, source.grad)

    run(Operation(forward, backward, [source], [out], "to views"))
