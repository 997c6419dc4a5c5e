"""Rays through the pixels of cameras, and what every renderer that follows rays has in common."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate, lens
from tidr.kernels import rays as kernels
from tidr.scene.camera import Camera, pinhole_parameters
from tidr.scene.graph import Node, Scene

from .renderer import Image


class Rays:
    """n rays, recorded on the open tape: differentiable to what they were made from.

    origins, directions [n, 3]: world space with unit directions, or a node's object space with directions as long as
    its transform makes them, so that the ray's parameter is the distance in the world. cosines [n, 1]: of ray and
    viewing axis; depth = cosine * distance. shape: (B, H, W), or (n,) for chosen pixels.
    """

    def __init__(self, origins: Array, directions: Array, cosines: Array, shape: tuple[int, ...]) -> None:
        self.origins, self.directions, self.cosines, self.shape = origins, directions, cosines, shape

    @property
    def count(self) -> int:
        return self.origins.rows

    @classmethod
    def of_cameras(cls, cameras: Sequence[Camera], width: int, height: int) -> Rays:
        """Rays through the centres of all pixels of all cameras."""
        views, shape = len(cameras), (len(cameras), height, width)
        if any(camera.distortion is not None for camera in cameras):
            pixels = _all_pixels(runtime.generation(), shape)
            return cls._through_lenses(cameras, [(height, width)] * views, pixels, shape)
        table = _table(cameras, [(height, width)] * views)

        def forward(*outputs) -> None:
            kernels.image_rays(views, height, width, table.value, *outputs)

        def backward(chunks: int, *arrays) -> None:
            kernels.image_rays_adjoint(chunks, views, height, width, *arrays)

        return cls._made(shape, table, forward, backward)

    @classmethod
    def of_pixels(cls, cameras: Sequence[Camera], sizes: Sequence[tuple[int, int]], pixels: Buffer, count: int) -> Rays:
        """Rays through `count` pixel centres: pixels [count * 3], each a camera, a row and a column.

        sizes: (height, width) of each camera's image.
        """
        if any(camera.distortion is not None for camera in cameras):
            return cls._through_lenses(cameras, sizes, pixels, (count,))
        table = _table(cameras, sizes)

        def forward(*outputs) -> None:
            kernels.pixel_rays(count, pixels.ndarray, table.value, *outputs)

        def backward(chunks: int, *arrays) -> None:
            kernels.pixel_rays_adjoint(chunks, len(cameras), count, pixels.ndarray, *arrays)

        return cls._made((count,), table, forward, backward)

    @classmethod
    def _through_lenses(
        cls, cameras: Sequence[Camera], sizes: Sequence[tuple[int, int]], pixels: Buffer, shape: tuple[int, ...]
    ) -> Rays:
        """As `of_pixels`, of cameras of which some have distortion."""
        table, count = _table(cameras, sizes, lenses=True), math.prod(shape)

        def forward(*outputs) -> None:
            lens.lens_rays(count, pixels.ndarray, table.value, *outputs)

        def backward(chunks: int, directions, cosines, *arrays) -> None:
            before = (chunks, len(cameras), count, pixels.ndarray, table.value)
            lens.lens_rays_adjoint(*before, directions, cosines, *arrays)

        return cls._made(shape, table, forward, backward)

    @classmethod
    def _made(
        cls, shape: tuple[int, ...], table: Array, fill: Callable[..., None], scatter: Callable[..., None]
    ) -> Rays:
        """Rays from the cameras' table, by a kernel that fills them and one that sums the table's gradient."""
        n = math.prod(shape)
        origins, directions, cosines = Array((n, 3)), Array((n, 3)), Array((n, 1))

        def forward() -> None:
            fill(origins.value, directions.value, cosines.value)

        def backward() -> None:
            chunks = runtime.reduction_chunks()
            part = Buffer((chunks * table.rows * table.channels,))
            part.ndarray.fill(0.0)
            gradients = (origins.grad, directions.grad, cosines.grad)
            scatter(chunks, directions.value, cosines.value, *gradients, part.ndarray, runtime.chunk_block())
            accumulate.collect(chunks, table.rows, table.channels, part.ndarray, table.grad)

        run(Operation(forward, backward, [table], [origins, directions, cosines], "rays"))
        return cls(origins, directions, cosines, shape)

    def to_object(self, scene: Scene, node: Node) -> Rays:
        """The same rays in a node's object space; their parameter stays the distance in the world."""
        matrix = world_to_object(scene, node)
        origins, directions = Array((self.count, 3)), Array((self.count, 3))

        def forward() -> None:
            kernels.to_object(
                self.count, matrix.value, self.origins.value, self.directions.value, origins.value, directions.value
            )

        def backward() -> None:
            if needs(self.origins) or needs(self.directions):
                kernels.to_object_adjoint(
                    self.count, matrix.value, origins.grad, directions.grad, self.origins.grad, self.directions.grad
                )
            if needs(matrix):
                chunks = runtime.reduction_chunks()
                part = Buffer((chunks * 16,))
                kernels.to_object_matrix_adjoint(
                    chunks, self.count, self.origins.value, self.directions.value, origins.grad, directions.grad,
                    part.ndarray, runtime.chunk_block(),
                )  # fmt: skip
                accumulate.collect(chunks, 1, 16, part.ndarray, matrix.grad)

        inputs = [matrix, self.origins, self.directions]
        run(Operation(forward, backward, inputs, [origins, directions], "rays to object"))
        return Rays(origins, directions, self.cosines, self.shape)


class RayRenderer(ABC):
    """A renderer that makes every channel from rays, so that it can draw chosen pixels as well as whole images."""

    follows_rays = True  # so that cameras with distortion are drawn as they are; see `render`

    @abstractmethod
    def trace(self, scene: Scene, rays: Rays) -> dict[str, Callable[[], Array]]:
        """A function for every channel, [*rays.shape, C], that this renderer can make of world-space rays."""

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`."""
        return Image(self.trace(scene, Rays.of_cameras(cameras, width, height)))

    def render_pixels(
        self, scene: Scene, cameras: Sequence[Camera], sizes: Sequence[tuple[int, int]], pixels: Buffer, count: int
    ) -> Image:
        """Channels [count, C] of chosen pixels; see `Rays.of_pixels`."""
        return Image(self.trace(scene, Rays.of_pixels(cameras, sizes, pixels, count)))


@functools.lru_cache(maxsize=4)
def _all_pixels(_generation: int, shape: tuple[int, ...]) -> Buffer:
    """[B * H * W * 3] view, row and column of all pixels in scan order."""
    return Buffer.of(np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), -1).ravel())


def _table(cameras: Sequence[Camera], sizes: Sequence[tuple[int, int]], lenses: bool = False) -> Array:
    """[B, 18] matrices that take pixels of images (height, width) to rays; [B, 30] with `lenses`, which come last."""
    table = Array((len(cameras), 18 + lens.COLUMNS * lenses))
    inputs = pinhole_parameters(cameras, distorted=lenses)

    def row(camera: Camera, size: tuple[int, int]) -> np.ndarray:
        height, width = size
        rays = camera.unprojection(width, height).reshape(18)
        return np.append(rays, camera.film(width, height)) if lenses else rays

    def forward() -> None:
        table.set(np.stack([row(camera, size) for camera, size in zip(cameras, sizes, strict=True)]))

    def backward() -> None:
        gradients = table.grad_numpy().astype(np.float64)
        for camera, (height, width), gradient in zip(cameras, sizes, gradients, strict=True):
            if not any(needs(parameter) for parameter in camera.parameters().values()):
                continue
            ways = [camera.unprojection_adjoint(width, height, gradient[:18].reshape(2, 3, 3))]
            ways += [camera.film_adjoint(width, height, gradient[18:])] if lenses else []
            for name, parameter in camera.parameters().items():
                parameter.set_grad(parameter.grad_numpy() + sum(way[name] for way in ways if name in way))

    run(Operation(forward, backward, inputs, [table], "cameras"))
    return table


def world_to_object(scene: Scene, node: Node) -> Array:
    """[1, 16] row-major world-to-object matrix of a node."""
    matrix = Array((1, 16))
    inputs = [p for one in scene.ordered_nodes() for p in one.transform_parameters().values()]

    def forward() -> None:
        matrix.set(np.linalg.inv(scene.world_matrices()[node.name]).reshape(1, 16))

    def backward() -> None:
        inverse = np.linalg.inv(scene.world_matrices()[node.name])
        gradient = matrix.grad_numpy().astype(np.float64).reshape(4, 4)
        found = scene.world_adjoint({node.name: -inverse.T @ gradient @ inverse.T})
        for name, parts in found.items():
            for parameter, part in zip(scene.nodes[name].transform_parameters().values(), parts, strict=True):
                if needs(parameter):
                    parameter.set_grad(parameter.grad_numpy() + part)

    run(Operation(forward, backward, inputs, [matrix], "world to object"))
    return matrix
