"""The path tracer: global illumination without bias, the witness of every other renderer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, is_read, needs, recording, run
from tidr.kernels.path import hits, media_kernels, replay_kernels, state
from tidr.kernels.path import trace as kernels
from tidr.kernels.path.replay_kernels import SLOPES
from tidr.kernels.transport.sensor import DISTORTED, PAIRED
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from . import path_warp
from .background import constant_color
from .path_edges import EdgeSampling
from .path_warp import WarpedArea
from .raster import Rasterizer
from .renderer import Image, render
from .transport_media import Media
from .transport_scene import OTHER_PATHS, TransportScene
from .transport_sensor import Sensors, film_filter

BLOCK, CPU_BLOCK = 1 << 20, 1 << 18
"""Samples that are under way at a time: what a render keeps of them takes 16 bytes each, 64 for a medium's gradient; on
a CPU 200 for any."""
MOST_FACES = 1 << 24  # whose numbers are whole in f32


@dataclass(frozen=True, kw_only=True)
class PathTracer:
    """Draws meshes lit by everything that shines, in any number of bounces, by unbiased Monte Carlo integration.

    samples: paths per pixel. max_depth: edges of a path, the camera's included: 1 shows only what emits, 2 direct light
    as well. roulette_depth: from this vertex on paths end at random, by their throughput. film: "box", "tent" or
    "gaussian", the reconstruction filter, which samples are drawn from. seed: all random numbers are a hash of it, of
    pixel, sample and dimension, so that equal seeds give equal pictures. independent_gradient: the gradient of
    a loss of the noisy picture is unbiased, since it follows other paths than the picture did; of `mse`, for an even
    number of samples and no `edges`, it follows the same, each half of them with the residual of the other half, which
    takes half the time. False gives the exact derivative of this very picture, whose noise a fit would learn to lower.

    Light is sampled at every vertex and weighed with what the surface's own sampling finds by the power heuristic
    (Veach 1997). Gradients replay every path with the same random numbers (Vicini, Speierer and Jakob 2021, "Path
    Replay Backpropagation"): memory depends on neither depth nor number of samples.

    A normal that is interpolated or from a map leans back to the viewer's side where it turns away from there; light
    from below a face counts nowhere, and fades out just above it (kernels/transport/shading_normal.py).

    antithetic: samples come in pairs with the same random numbers, but that the second mirrors the first's place in its
    pixel, and its facet normal or direction at the first surface that is no perfect mirror or clear boundary (Zhang,
    Dong and Zhao 2021, "Antithetic Sampling for Monte Carlo Differentiable Rendering"). What in gradients changes sign
    across a glossy lobe cancels, which is nearly all of the noise of those that move highlights; other gradients and
    the picture get up to twice the variance.

    Materials with `emission` shine; ambient lights are left out, since they stand for the bounces that are computed
    here. Point lights are not seen directly. rgb and alpha are means over samples; depth, normal, uv and ids are those
    through pixel centres, as the rasterizer gives them.

    A `Volume` with an albedo is a medium: it scatters by its g in its box, in any number of events, which count as
    vertices, and dims all that is seen or lit through it; boxes may overlap. Its gradients (to density, also where that
    is 0, albedo and g) are unbiased; they take one more walk for each path (kernels/transport/medium.py). Scenes with
    media have no gradients with warped areas.

    edges: "edge_sampling" adds what moving outlines change (Li, Aittala, Durand and Lehtinen 2018, "Differentiable
    Monte Carlo Ray Tracing through Edge Sampling"): edge_samples edges a pixel on the film, and for as many paths a
    pixel one edge at each of their first edge_depth vertices.

    "warped_area" finds the same as an integral over areas (Bangaru, Li and Durand 2020, "Unbiased Warped-Area Sampling
    for Differentiable Rendering"), on the film and for the direct light at the first vertex; deeper bounces have no
    outlines. warp_rays (2 to 64) are shot around every ray, within about warp_kappa ** -0.5 radians, or so much of the
    picture's height: narrower is noisier, wider mixes outlines. 16 rays fall short by 3 to 9 %, 64 by 0 to 3 %.

    What this does not differentiate: what covers what (silhouettes, shadows and their motion), unless `edges` says so;
    the direction of light behind perfect mirrors and clear boundaries; the chance with which paths are chosen and
    ended; alpha; where media are, where in them a path is scattered, how much of a ray between moving ends they let
    through, and how much of them there is before a surface that moves along the ray. A material that is exactly black
    is found through light sampling only, and a black medium's albedo not at all.
    Edge sampling leaves out: where meshes cut through each other; hard shadows of point, spot and parallel lights;
    outlines in perfect mirrors, behind clear boundaries and before irradiance meters; a sun's direction where an
    outline cuts its disc. Warped areas leave out as much but a sun's direction, and besides that the outlines which
    only light of deeper bounces shows, those of what lies behind see-through surfaces, and the small steps of light
    from face to face of a coarse smooth mesh.
    """

    samples: int = 16
    max_depth: int = 16
    roulette_depth: int = 5
    film: str = "box"
    seed: int = 0
    independent_gradient: bool = True
    antithetic: bool = False
    edges: str = "none"
    edge_samples: int = 4
    edge_depth: int = 3
    warp_rays: int = 16
    warp_kappa: float = 1e5

    def __post_init__(self) -> None:
        for name, low, high in (
            ("samples", 1, 1 << 24), ("max_depth", 1, 1 << 20), ("roulette_depth", 1, 1 << 20),
            ("edge_samples", 1, 1 << 16), ("edge_depth", 0, 1 << 10), ("warp_rays", 2, 64), ("warp_kappa", 100, 1e9),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise SceneError(f"renderer.{name}", f"is {getattr(self, name)}", f"give {low} to {high}")
        if self.edges not in ("none", "edge_sampling", "warped_area"):
            raise SceneError("renderer.edges", f"is {self.edges!r}", "choose none, edge_sampling or warped_area")
        if self.antithetic and self.samples % 2:
            raise SceneError("renderer.samples", f"is {self.samples}, which makes no pairs", "give an even number")
        if self.antithetic and self.edges == "warped_area":
            raise SceneError("renderer.antithetic", "is not for warped areas", "take other edges, or leave it out")
        film_filter(self.film, "renderer.film")

    @property
    def follows_rays(self) -> bool:
        """Whether cameras with distortion are drawn as they are; outlines are found on the film of pinholes."""
        return self.edges == "none"

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`."""
        return Image(PathFrame(self, scene, cameras, width, height).makers())

    def render_part(
        self, scene: Scene, cameras: Sequence[Camera], width: int, height: int, first: int, count: int
    ) -> Image:
        """As `render`, but of rgb and alpha only `count` cameras from `first` are drawn; the other pictures are 0."""
        return Image(PathFrame(self, scene, cameras, width, height, (first, count)).makers())


class PathFrame:
    """One render by path tracing; of a part of the cameras, (first, count), where it is given."""

    def __init__(
        self, settings: PathTracer, scene: Scene, cameras: Sequence[Camera], width: int, height: int,
        part: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.scene, self.cameras = settings, scene, cameras
        self.width, self.height = width, height
        self.transport, self.media = TransportScene(scene), Media(scene)
        if self.media.mask and settings.edges == "warped_area":
            raise SceneError("renderer.edges", "is 'warped_area', which knows no media", "use edge_sampling")
        if self.media.mask and settings.antithetic:
            raise SceneError("renderer.antithetic", "knows no media, which the scene has", "leave it out")
        self.sensors = Sensors(cameras, width, height)
        if settings.edges != "none" and self.sensors.mask >> DISTORTED & 1:
            raise SceneError("renderer.edges", "beside distortion, drawn in parts", "fit in one process")
        self.shape = (len(cameras), height, width)
        self._begin, drawn = (0, len(cameras)) if part is None else part
        self._end = self._begin + drawn
        self._drawn: tuple[Array, Array] | None = None
        self._background = constant_color(scene) or (0.0, 0.0, 0.0)
        self._seed = settings.seed
        self._kept: Buffer | None = None  # the paths of a picture of one block, which its gradient needs again

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel; what is geometry alone is the rasterizer's, through pixel centres."""
        made: dict[str, Callable[[], Array]] = {"rgb": lambda: self._draw()[0], "alpha": lambda: self._draw()[1]}
        for name in ("depth", "normal", "uv", "ids"):
            made[name] = lambda name=name: self._seen(name)
        return made

    def _seen(self, name: str) -> Array:
        drawer = Rasterizer(edges="none", channels=())
        return render(self.scene, self.cameras, drawer, self.width, self.height).channel(name)

    def _draw(self) -> tuple[Array, Array]:
        if self._drawn is None:
            rgb, alpha = Array((*self.shape, 3)), Array((*self.shape, 1), needs_grad=False)
            inputs = [*self.transport.arrays.values(), self.media.values, self.sensors.table]
            outputs = [rgb]
            if self._has_halves():
                rgb.halves = Array((2, *rgb.shape))
                outputs.append(rgb.halves)
            run(Operation(lambda: self._trace(rgb, alpha), lambda: self._replay(rgb), inputs, outputs, "path tracing"))
            self._drawn = rgb, alpha
        return self._drawn

    def _has_halves(self) -> bool:
        """Whether a gradient may take two estimates from the samples of a pixel; samples that are pairs stay so."""
        chosen = self.settings
        even = chosen.samples % (4 if chosen.antithetic else 2) == 0
        return recording() and chosen.independent_gradient and chosen.edges == "none" and even

    def _static(self) -> tuple:
        film = film_filter(self.settings.film, "renderer.film")
        sensors = self.sensors.mask | self.settings.antithetic << PAIRED
        return self.transport.mask | self.media.mask, self.transport.light_kinds, sensors, film

    def _blocks(self):
        """(first pixel, pixels) of every block of the picture."""
        most = CPU_BLOCK if runtime.on_cpu() else path_warp.BLOCK if self.settings.edges == "warped_area" else BLOCK
        begin, end = (view * self.width * self.height for view in (self._begin, self._end))
        size = max(most // self.settings.samples, 1)
        return [(first, min(size, end - first)) for first in range(begin, end, size)]

    def _shared(self, first: int, places: int) -> tuple:
        chosen = self.settings
        return (
            first, places, chosen.samples, self.width, self.height, self._seed, chosen.max_depth,
            chosen.roulette_depth, self.sensors.table.value, *self.transport.tables, *self.media.tables,
        )  # fmt: skip

    def _paths(self, first: int, places: int, replayed: bool) -> Buffer:
        """[places * samples, 4] what the paths of a block of pixels bring, with warped areas [.., 10]: see there.

        replayed: with room for what their rays meet, for a gradient on a CPU."""
        columns = path_warp.COLUMNS if self.settings.edges == "warped_area" else 4
        if replayed and runtime.on_cpu() and self.transport.world.pack.faces < MOST_FACES:
            columns = hits.COLUMNS
        paths = Buffer((places * self.settings.samples, columns))
        kernels.trace(*self._static(), *self._shared(first, places), paths.ndarray)
        return paths

    def _trace(self, rgb: Array, alpha: Array) -> None:
        self._seed = self.settings.seed
        if self._end - self._begin < len(self.cameras):
            for array in (rgb, alpha, *([] if rgb.halves is None else [rgb.halves])):
                array.value.fill(0.0)
        other = self.settings.independent_gradient and rgb.halves is None
        reused = recording() and len(self._blocks()) == 1 and not other
        for first, places in self._blocks():
            paths = self._paths(first, places, reused)
            self._kept = paths if reused else None
            developed = (first, places, self.settings.samples, *self._background, paths.ndarray)
            kernels.develop(*developed, rgb.value, alpha.value)
            if rgb.halves is not None:
                kernels.develop_halves(*developed, rgb.halves.value)
        self.transport.show_nan(rgb, self.media.given)

    def _replay(self, rgb: Array) -> None:
        world, copies = self.transport.world, runtime.chunks()
        wants = 0
        if needs(world.positions) or needs(world.normals) or needs(world.uvs):
            wants |= state.GEOMETRY
        if needs(self.sensors.table):
            wants |= state.SENSOR
        warp = self._warp()
        if warp is not None:
            wants |= warp.wants & SLOPES
        parts, to_table, to_media = self.transport.parts(copies), self.sensors.part(), self.media.part(copies)
        to = (*(part.ndarray for part in parts.values()), to_media.ndarray, to_table.ndarray)
        for estimates, grad, seed in self._asked(rgb):
            self._seed, self._kept = seed, self._kept if seed == self._seed else None
            for first, places in self._blocks():
                paths = self._kept or self._paths(first, places, True)
                self._replay_block(first, places, wants, paths.ndarray, estimates, grad, *to)
                if warp is not None:
                    warp.add(self._shared(first, places), paths, rgb)
        if warp is not None:
            warp.close()
        self.transport.collect(parts, copies)
        self.media.collect(to_media, copies)
        if wants & state.SENSOR:
            self.sensors.collect(to_table)
        if wants and self.settings.edges == "edge_sampling":
            edges = EdgeSampling(
                self.settings, self.transport, self.sensors, self.media, self._static(), wants, self._background
            )
            edges.add(rgb)

    def _asked(self, rgb: Array) -> list[tuple[int, Any, int]]:
        """(how many estimates of the picture, their gradients, seed of their paths) of what losses looked at."""
        chosen, made = self.settings, []
        if rgb.halves is not None and is_read(rgb.halves):
            made.append((2, rgb.halves.grad, chosen.seed))
        if is_read(rgb):
            made.append((1, rgb.grad, chosen.seed ^ OTHER_PATHS if chosen.independent_gradient else chosen.seed))
        return made

    def _replay_block(self, first: int, places: int, wants: int, paths, estimates: int, grad, *to) -> None:
        """The gradients of one block of paths, from those of so many estimates of the picture."""
        if runtime.on_cpu():
            shared, picks = self._shared(first, places), self.media.picks(places * self.settings.samples)
            replay_kernels.replay(
                *self._learning(), wants, runtime.chunk_block(), runtime.chunks(), *shared, paths, estimates, grad,
                *to, picks.ndarray,
            )  # fmt: skip
            self._settle(first, places, picks, 0, to[-2])
        else:
            self._replay_by_steps(first, places, wants, paths, estimates, grad, *to)

    def _warp(self) -> WarpedArea | None:
        if self.settings.edges != "warped_area":
            return None
        return WarpedArea(self.settings, self.transport, self.sensors, self._static(), self._background)

    def _learning(self) -> tuple:
        """`_static` for the kernels of the gradient."""
        mask, *rest = self._static()
        return mask | self.media.learns(), *rest

    def _settle(self, first: int, places: int, picks: Buffer, column: int, part) -> None:
        """Gradients from where the media of a block of paths might have scattered."""
        if self.media.learns():
            mask, light_kinds, *_ = self._learning()
            rows, arguments = places * self.settings.samples, self._shared(first, places)
            media_kernels.scatter_again(
                mask, light_kinds, first, rows, self.settings.samples, *arguments[5:8], *arguments[9:], column,
                picks.ndarray,
            )  # fmt: skip
            tables = (*self.media.tables, column, picks.ndarray, part)
            if runtime.on_cpu():
                media_kernels.settle_chunks(mask, runtime.chunk_block(), runtime.chunks(), rows, *tables)
            else:
                media_kernels.settle_each(mask, rows, *tables)

    def _replay_by_steps(self, first: int, places: int, wants: int, paths, estimates: int, grad, *parts) -> None:
        """As the kernel `replay`, one launch a step."""
        rows, static, arguments = places * self.settings.samples, self._learning(), self._shared(first, places)
        where, tables = (first, rows, *arguments[2:6]), arguments[8:]
        reals, wholes = Buffer((rows, state.reals_of(static[0]))), Buffer((rows, state.WHOLES), "int")
        kept = (reals.ndarray, wholes.ndarray)
        replay_kernels.begin(*static[2:], *where, tables[0], paths, *kept)
        asked = (*kept, estimates, grad)
        while replay_kernels.advance(*static, wants, *where, *arguments[6:8], *tables, *asked, *parts[:-1]):
            pass
        self._settle(first, places, reals, state.REALS, parts[-2])
        if wants:
            replay_kernels.end(
                *static[2:], wants, self.sensors.copies, *where, *tables[:-3], paths, *asked, parts[3], parts[-1]
            )
