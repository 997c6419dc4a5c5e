"""The path tracer: global illumination without bias, the witness of every other renderer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels.path import replay, replay_kernels
from tidr.kernels.path import trace as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .renderer import Image
from .transport_scene import TransportScene
from .transport_sensor import Sensors, film_filter

BLOCK = 1 << 20
"""Samples that are under way at a time: what a render keeps of them takes 16 bytes each."""


@dataclass(frozen=True, kw_only=True)
class PathTracer:
    """Draws meshes lit by everything that shines, in any number of bounces, by unbiased Monte Carlo integration.

    samples: paths per pixel. max_depth: edges of a path, the camera's included: 1 shows only what emits, 2 direct light
    as well. roulette_depth: from this vertex on paths end at random, by their throughput. film: "box", "tent" or
    "gaussian", the reconstruction filter, which samples are drawn from. seed: all random numbers are a hash of it, of
    pixel, sample and dimension, so that equal seeds give equal pictures.

    Light is sampled at every vertex and weighed with what the surface's own sampling finds by the power heuristic
    (Veach 1997). Gradients replay every path with the same random numbers (Vicini, Speierer and Jakob 2021, "Path
    Replay Backpropagation"): memory depends on neither depth nor number of samples.

    What this does not differentiate: ...
    """

    samples: int = 16
    max_depth: int = 16
    roulette_depth: int = 5
    film: str = "box"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("samples", 1, 1 << 24), ("max_depth", 1, 1 << 20), ("roulette_depth", 1, 1 << 20)):
            if not low <= getattr(self, name) <= high:
                raise SceneError(f"renderer.{name}", f"is {getattr(self, name)}", f"give {low} to {high}")
        film_filter(self.film, "renderer.film")

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`."""
        return Image(PathFrame(self, scene, cameras, width, height).makers())


class PathFrame:
    """One render by path tracing."""

    def __init__(self, settings: PathTracer, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> None:
        self.settings, self.scene, self.width, self.height = settings, scene, width, height
        self.transport = TransportScene(scene)
        self.sensors = Sensors(cameras, width, height)
        self.shape = (len(cameras), height, width)
        self._drawn: tuple[Array, Array] | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        return {"rgb": lambda: self._draw()[0], "alpha": lambda: self._draw()[1]}

    def _draw(self) -> tuple[Array, Array]:
        if self._drawn is None:
            rgb, alpha = Array((*self.shape, 3)), Array((*self.shape, 1), needs_grad=False)
            inputs = [*self.transport.arrays.values(), self.sensors.table]
            run(Operation(lambda: self._trace(rgb, alpha), lambda: self._replay(rgb), inputs, [rgb], "path tracing"))
            self._drawn = rgb, alpha
        return self._drawn

    def _static(self) -> tuple:
        film = film_filter(self.settings.film, "renderer.film")
        return self.transport.mask, self.transport.light_kinds, self.sensors.mask, film

    def _blocks(self):
        """(first pixel, pixels) of every block of the picture."""
        total, size = self.shape[0] * self.width * self.height, max(BLOCK // self.settings.samples, 1)
        return [(first, min(size, total - first)) for first in range(0, total, size)]

    def _shared(self, first: int, places: int) -> tuple:
        chosen = self.settings
        return (
            first, places, chosen.samples, self.width, self.height, chosen.seed, chosen.max_depth,
            chosen.roulette_depth, self.sensors.table.value, *self.transport.tables,
        )  # fmt: skip

    def _paths(self, first: int, places: int) -> Buffer:
        """[places * samples, 4] what the paths of a block of pixels bring."""
        paths = Buffer((places * self.settings.samples, 4))
        kernels.trace(*self._static(), *self._shared(first, places), paths.ndarray)
        return paths

    def _trace(self, rgb: Array, alpha: Array) -> None:
        for first, places in self._blocks():
            paths = self._paths(first, places)
            kernels.develop(first, places, self.settings.samples, paths.ndarray, rgb.value, alpha.value)

    def _replay(self, rgb: Array) -> None:
        world, copies = self.transport.world, runtime.chunks()
        wants = 0
        if needs(world.positions) or needs(world.normals) or needs(world.uvs):
            wants |= replay.GEOMETRY
        if needs(self.sensors.table):
            wants |= replay.SENSOR
        parts, to_table = self.transport.parts(copies), self.sensors.part()
        gradients = (rgb.grad, *(part.ndarray for part in parts.values()), to_table.ndarray)
        for first, places in self._blocks():
            paths = self._paths(first, places)
            if runtime.on_cpu():
                shared = self._shared(first, places)
                replay_kernels.replay(
                    *self._static(), wants, runtime.chunk_block(), copies, *shared, paths.ndarray, *gradients
                )
            else:
                self._replay_by_steps(first, places, wants, paths.ndarray, *gradients)
        self.transport.collect(parts, copies)
        if wants & replay.SENSOR:
            self.sensors.collect(to_table)

    def _replay_by_steps(self, first: int, places: int, wants: int, paths, grad, *parts) -> None:
        """As the kernel `replay`, one launch a step."""
        rows, static, arguments = places * self.settings.samples, self._static(), self._shared(first, places)
        where, tables = (first, rows, *arguments[2:6]), arguments[8:]
        reals, wholes = Buffer((rows, replay.REALS)), Buffer((rows, replay.WHOLES), "int")
        state = (reals.ndarray, wholes.ndarray)
        replay_kernels.begin(*static[2:], *where, tables[0], paths, *state)
        while replay_kernels.advance(*static, wants, *where, *arguments[6:8], *tables, *state, grad, *parts[:-1]):
            pass
        if wants:
            replay_kernels.end(
                *static[2:], wants, self.sensors.copies, *where, *tables, paths, *state, grad, parts[3], parts[-1]
            )
