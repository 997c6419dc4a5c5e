"""The walk of a hybrid renderer as an operation on the tape: everything along each ray, in bands of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels.accumulate import SPREAD
from tidr.kernels.hybrid import walk as kernels
from tidr.kernels.hybrid import walk_adjoint as adjoint
from tidr.kernels.points import gaussian_blend as blending
from tidr.scene.camera import Camera
from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Scene
from tidr.scene.volume import Volume

from .geometry import mesh_of
from .hybrid_meshes import MeshLayer, beside
from .hybrid_volumes import samples_of
from .points_gaussian3d import Gaussian3d
from .rays import Rays
from .volume_compose import front_to_back

if TYPE_CHECKING:
    from .hybrid import HybridRenderer

ROOM = 1 << 22  # samples that are held at once, unless one row of tiles takes more


@dataclass(frozen=True)
class Composed:
    """Sums of weight * look [n, 3], alpha [n, 1] and the sum of weight * distance [n, 1]."""

    sums: Array
    alpha: Array
    distance: Array


@dataclass(frozen=True)
class Band:
    """Neighbouring rows of tiles: pixels first .. first + count - 1, tiles first_tile .. first_tile + tiles - 1."""

    first: int
    count: int
    first_tile: int
    tiles: int


class Walk:
    """One render's rays with what they meet; a look is composed when asked."""

    def __init__(
        self, settings: HybridRenderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        self.settings, self.views, self.width, self.height = settings, len(cameras), width, height
        self.rays = Rays.of_cameras(cameras, width, height)
        held = [node.geometry for node in scene.nodes.values()]
        self.meshes: MeshLayer | None = None
        if any(mesh_of(node) is not None for node in scene.nodes.values()):
            self.meshes = MeshLayer(settings.rasterizer(), scene, cameras, width, height)
        self.splats: Gaussian3d | None = None
        if any(isinstance(one, Gaussians) for one in held):
            self.splats = Gaussian3d(settings.splats(), scene, cameras, width, height)
        nodes = [node for node in scene.ordered_nodes() if isinstance(node.geometry, Volume)]
        local = [self.rays.to_object(scene, node) for node in nodes]
        self.order = front_to_back(nodes, local) if nodes else Buffer((1, 1), "int")
        marching = settings.volumes()
        self.volumes = [samples_of(marching, scene, node, rays) for node, rays in zip(nodes, local, strict=True)]

    def composed(self, look: str) -> Composed:
        """The look "color" or "normal" of everything, front to back."""
        return _Composition(self, look).composed

    def bands(self) -> Iterator[Band]:
        """All pixels, so many rows of tiles at once that their samples fit into ROOM."""
        tile, across, down = blending.TILE, -(-self.width // blending.TILE), -(-self.height // blending.TILE)
        per_line = tile * self.width * self.settings.steps * max(len(self.volumes), 1)
        lines, together = self.views * down, max(ROOM // per_line, 1)

        def first_pixel(line: int) -> int:
            return (line // down * self.height + line % down * tile) * self.width

        for line in range(0, lines, together):
            end = min(line + together, lines)
            first = first_pixel(line)
            yield Band(first, first_pixel(end) - first, line * across, (end - line) * across)


class _Composition:
    """The walk for one look, and its adjoint."""

    def __init__(self, walk: Walk, look: str) -> None:
        self.walk, self.look, self.volumes = walk, look, walk.volumes
        count = walk.rays.count
        self.layer, self.splats, self.features = _blank(count, 5), _blank(1, 6), _blank(1, 4)
        if walk.meshes is not None:
            self.layer = walk.meshes.layer(look)
        if walk.splats is not None:
            splats = walk.splats
            self.splats = splats.splats
            self.features = beside(splats.colors() if look == "color" else splats.normals(), splats.depths, False)
        else:
            tiles = walk.views * -(-walk.height // blending.TILE) * -(-walk.width // blending.TILE)
            self.nothing = Buffer((tiles + 1,), "int")
            self.nothing.ndarray.fill(0)
        self.composed = Composed(Array((count, 3)), Array((count, 1)), Array((count, 1)))
        inputs = [self.layer, self.splats, self.features, walk.rays.cosines]
        inputs += [array for volume in self.volumes for array in volume.inputs]
        outputs = [self.composed.sums, self.composed.alpha, self.composed.distance]
        run(Operation(self._forward, self._backward, inputs, outputs, "hybrid walk"))

    def _forward(self) -> None:
        for volume in self.volumes:
            volume.pack()
        for band in self.walk.bands():
            times, samples = self._sampled(band)
            outputs = self._outputs()
            kernels.walk(
                band.first, band.count, *self._where(), *self._lists()[:3], *self._seen(times, samples),
                *(array.value for array in outputs), self._quick(),
            )  # fmt: skip

    def _backward(self) -> None:
        records = Buffer((self._entries() * adjoint.SIZE,))
        outputs, spread = self._outputs(), SPREAD if runtime.on_cpu() else 1
        parts = 1 if runtime.on_cpu() or self.walk.splats is not None else blending.TILE**2
        for volume in self.volumes:
            volume.begin(self.look)
        for band in self.walk.bands():
            times, samples = self._sampled(band)
            to_times, to_samples = Buffer(times.ndarray.shape), Buffer(samples.ndarray.shape, vector=4)
            to_times.ndarray.fill(0.0)
            to_samples.ndarray.fill(0.0)
            adjoint.walk_adjoint(
                band.first, band.count, band.first_tile, band.tiles, parts, spread, *self._where(), *self._lists(),
                *self._seen(times, samples), *(array.value for array in outputs), *(array.grad for array in outputs),
                records.ndarray, self.layer.grad, self.walk.rays.cosines.grad, to_times.ndarray, to_samples.ndarray,
                self._quick(),
            )  # fmt: skip
            for index, volume in enumerate(self.volumes):
                volume.scatter(band, index * band.count, to_times, to_samples)
        for volume in self.volumes:
            volume.end()
        splats = self.walk.splats
        if splats is not None and (needs(self.splats) or needs(self.features)):
            blending.gather(
                splats.items, splats.box.ndarray, splats.lists.first, records.ndarray, self.splats.value,
                self.splats.grad, self.features.grad, 4,
            )  # fmt: skip

    def _sampled(self, band: Band) -> tuple[Buffer, Buffer]:
        """Times and samples of all volumes along a band's rays."""
        rays = max(len(self.volumes), 1) * band.count
        times = Buffer((rays if self.volumes else 1, 2))
        samples = Buffer((rays * self.walk.settings.steps if self.volumes else 1,), vector=4)
        for index, volume in enumerate(self.volumes):
            volume.sample(band, index * band.count, self.look, self.layer, times, samples)
        return times, samples

    def _outputs(self) -> tuple[Array, Array, Array]:
        return self.composed.sums, self.composed.alpha, self.composed.distance

    def _where(self) -> tuple:
        walk, settings = self.walk, self.walk.settings
        tile = blending.TILE
        stop, ends, highest = 0.0, (0.0, 0.0), settings.alpha_max
        if walk.splats is not None:
            stop, ends = walk.splats.stop, walk.splats.ends()
        return (
            walk.height, walk.width, -(-walk.width // tile), -(-walk.height // tile), len(self.volumes),
            settings.steps, int(settings.jitter), settings.seed, settings.stop, stop, *ends, highest,
        )  # fmt: skip

    def _lists(self) -> tuple:
        """start, entries, mask and slots of the splats."""
        splats = self.walk.splats
        if splats is None:
            return (self.nothing.ndarray,) * 4
        return splats.lists.start, splats.lists.entries, splats.mask.ndarray, splats.lists.slots

    def _seen(self, times: Buffer, samples: Buffer) -> tuple:
        return (
            self.splats.value, self.features.value, self.layer.value, self.walk.rays.cosines.value,
            self.walk.order.ndarray, times.ndarray, samples.ndarray,
        )  # fmt: skip

    def _entries(self) -> int:
        return 1 if self.walk.splats is None else self.walk.splats.lists.capacity

    def _quick(self) -> bool:
        return self.walk.splats is not None and self.walk.splats.quick


def _blank(rows: int, columns: int) -> Array:
    made = Array((rows, columns))
    made.value.fill(0.0)
    return made
