"""The light tracer: particles from the lights, connected to the sensors wherever they scatter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import GradientError, SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.light_tracing import connect as kernels
from tidr.kernels.light_tracing import sweep
from tidr.kernels.photons import ends
from tidr.kernels.photons import trace as photon_kernels
from tidr.kernels.transport import lights, materials
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene
from tidr.scene.volume import Volume

from .background import constant_color
from .path import PathFrame, PathTracer
from .photon_shot import Paths, Targets
from .renderer import Image
from .transport_scene import OTHER_PATHS, TransportScene
from .transport_sensor import Sensors, film_filter

BLOCK = 1 << 20
"""Vertices that are held at a time, at 60 bytes each."""
SEEN_BY_RAYS = 1 << lights.ENVIRONMENT | 1 << lights.SUN
UNSEEN = 1 << materials.EMISSIONS | 1 << materials.NORMAL_MAPS | 1 << materials.BLENDS | materials.KINDS


@dataclass(frozen=True, kw_only=True)
class LightTracer:
    """Draws meshes lit by everything that shines, by particles from the lights: caustics come out clear where other
    unbiased renderers find only noise.

    Particles start at the lights in proportion to their power and bounce until they leave or end at random. Wherever
    one scatters, and on the lights themselves, it is connected with every sensor, and counts at the film point where
    the sensor sees it (Arvo 1986, "Backward Ray Tracing"; Dutre, Lafortune and Willems 1993, "Monte Carlo Light Tracing
    with Direct Computation of Pixel Intensities"; Veach 1997). The picture is unbiased but for what is listed below.
    One set of particles serves all cameras of a batch.

    particles: how many start, rounded up to whole passes of about 2^20 / max_depth. aimed: share of them that starts
    towards the nodes whose materials mirror or refract, where there are any. max_depth: edges of a path, that to the
    sensor included: 1 shows only what emits, 2 direct light as well; a see-through surface on the way counts as one.
    roulette_depth: from this vertex on particles end at random, by what the surface swallows. film: "box", "tent" or
    "gaussian". samples: rays per pixel that find alpha, the background, the environment and suns' discs where nothing
    stands before them. seed: equal seeds give equal pictures. independent_gradient: the gradient follows other
    particles than the picture, so that a fit does not learn to lower the picture's noise; False gives the exact
    derivative of this very picture.

    Gradients trace every pass again and go back along its paths with what the pixels want of each connection, so memory
    does not depend on the number of particles. Paths move with lights, indices of refraction, vertices and normals, and
    their connections move on the film with them and with the cameras (Xing, Li, Luan and Xu 2024, "Differentiable
    Photon Mapping using Generalized Path Gradients"). Where a lit surface ends, its outline moves with it. The film has
    to be smooth: "box" has no gradient.

    Interpolated normals have Veach's correction and no fading at the horizon: there the path tracer draws a little
    less light.

    What this does not draw: what is seen in a perfect mirror or through smooth glass. From there no connection leads to
    a sensor, so mirrors are black, and so is glass, whatever is behind it; rough metal and the lobes of rough glass are
    drawn, noisier the smoother they are. A radiance meter, whose one ray no particle meets, is refused, and so are
    media.

    What this does not differentiate: what covers what (which surface a particle or a connection meets first, hence
    silhouettes before other surfaces, and shadows); roughness by the directions that it makes particles take (it is
    differentiated at fixed directions, which has the same mean); with which chance lights are chosen and paths end;
    alpha; edges of what is seen by rays.
    """

    particles: int = 1 << 20
    aimed: float = 0.3
    max_depth: int = 16
    roulette_depth: int = 5
    film: str = "tent"
    samples: int = 16
    seed: int = 0
    independent_gradient: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (
            ("particles", 1, 1 << 30), ("max_depth", 1, 256), ("roulette_depth", 1, 1 << 20), ("samples", 1, 1 << 16),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise SceneError(f"renderer.{name}", f"is {getattr(self, name)}", f"give {low} to {high}")
        if not 0.0 <= self.aimed < 1.0:
            raise SceneError("renderer.aimed", f"is {self.aimed}", "give a share from 0 to below 1")
        film_filter(self.film, "renderer.film")

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`.

        Raises:
            SceneError: a node that is no mesh, or a radiance meter.
        """
        return Image(LightFrame(self, scene, cameras, width, height).makers())


class Backdrop(PathFrame):
    """What rays from the cameras see of the background, the environment and suns, with alpha; all else is black."""

    def _static(self) -> tuple:
        mask, light_kinds, *rest = super()._static()
        return mask & ~UNSEEN, light_kinds & SEEN_BY_RAYS, *rest


class LightFrame:
    """One render by light tracing."""

    def __init__(self, settings: LightTracer, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> None:
        _refuse(scene, cameras)
        self.settings, self.scene, self.width, self.height = settings, scene, width, height
        self.transport, self.sensors = TransportScene(scene), Sensors(cameras, width, height)
        self.shape = (len(cameras), height, width)
        by_rays = PathTracer(
            samples=settings.samples, max_depth=1, film=settings.film, seed=settings.seed,
            independent_gradient=settings.independent_gradient,
        )  # fmt: skip
        backdrop = Backdrop(by_rays, scene, cameras, width, height)
        self._behind = backdrop.makers()
        self._is_bare = constant_color(scene) is None and not self.transport.light_kinds & SEEN_BY_RAYS
        self._rgb: Array | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        return {"rgb": self._draw, "alpha": self._behind["alpha"]}

    def _draw(self) -> Array:
        if self._rgb is None:
            rgb = Array((*self.shape, 3))
            behind = None if self._is_bare else self._behind["rgb"]()
            inputs = [*self.transport.arrays.values(), self.sensors.table, *([behind] if behind else [])]
            run(
                Operation(
                    lambda: self._trace(rgb, behind), lambda: self._sweep(rgb, behind), inputs, [rgb], "light tracing"
                )
            )
            self._rgb = rgb
        return self._rgb

    def passes(self, seed: int):
        """The particles of every pass."""
        chosen, targets = self.settings, Targets(self.scene, self.transport)
        most = max(BLOCK // chosen.max_depth, 1)
        count = -(-chosen.particles // most)
        each = -(-chosen.particles // count)
        for number in range(count):
            yield Pass(self, targets, each, number, count, seed)

    def static(self) -> tuple:
        film = film_filter(self.settings.film, "renderer.film")
        return self.transport.mask, self.transport.light_kinds, self.sensors.mask, film

    def _trace(self, rgb: Array, behind: Array | None) -> None:
        copies = runtime.chunks()
        part = Buffer((copies * rgb.rows * 3,))
        part.ndarray.fill(0.0)
        for particles in self.passes(self.settings.seed):
            particles.connect(part)
        rgb.value.fill(0.0)
        if behind is not None:
            accumulate.copy_rows(rgb.rows, 3, behind.value, rgb.value, 0)
        accumulate.collect(copies, rgb.rows, 3, part.ndarray, rgb.value)
        self.transport.show_nan(rgb)

    def _sweep(self, rgb: Array, behind: Array | None) -> None:
        if self.settings.film == "box":
            what = "'box' has no gradient, since particles jump across its edges"
            raise GradientError("renderer.film", what, "take 'tent' or 'gaussian' for fits")
        if behind is not None:
            accumulate.add_rows(rgb.rows, 3, rgb.grad, 0, behind.grad, 0)
        copies, seed = runtime.chunks(), self.settings.seed
        if self.settings.independent_gradient:
            seed ^= OTHER_PATHS
        parts, to_table = self.transport.parts(copies), self.sensors.part()
        for particles in self.passes(seed):
            particles.sweep(rgb, tuple(part.ndarray for part in parts.values()), to_table)
        self.transport.collect(parts, copies)
        if needs(self.sensors.table):
            self.sensors.collect(to_table)


class Pass:
    """So many particles from a scene's lights, the pass `number` of `count`, on their paths."""

    def __init__(self, frame: LightFrame, targets: Targets, particles: int, number: int, count: int, seed: int) -> None:
        self.frame, self.targets, self.particles, self.number, self.seed = frame, targets, particles, number, seed
        self.factor = 1.0 / count
        chosen, transport = frame.settings, frame.transport
        self.aimed = min(round(particles * chosen.aimed), particles - 1) if targets.count else 0
        self.depth = chosen.max_depth - 1
        self.paths = Paths(particles, max(self.depth, 1))
        self.seen = Buffer((particles, kernels.SEEN)), Buffer((particles, kernels.CROSSED), "int")
        wholes, reals, counts, origins = self.paths.arguments
        landed, adrift = (Buffer((particles + 1,), "int") for _ in range(2))
        photon_kernels.shoot(
            *frame.static()[:2], int(self.aimed > 0), particles, self.aimed, number, seed, chosen.max_depth,
            chosen.roulette_depth, targets.spheres.ndarray, *transport.tables, *[transport.tables[3]] * 3, origins,
            counts, landed.ndarray, adrift.ndarray, wholes, reals,
        )  # fmt: skip

    def _loop(self) -> tuple:
        """atomic, block, chunks of a kernel over the particles."""
        on_cpu = runtime.on_cpu()
        return not on_cpu, runtime.chunk_block(), runtime.chunks() if on_cpu else self.particles

    def _levels(self) -> range:
        """Of connections: level -1 are the lights themselves."""
        return range(-1 if self.frame.transport.light_kinds >> lights.TRIANGLE & 1 else 0, self.depth)

    def connect(self, part: Buffer) -> None:
        """Add what the particles bring to part [copies * pixels * 3]."""
        for level in self._levels():
            for view in range(self.frame.shape[0]):
                self._connect(level, view, part)

    def _connect(self, level: int, view: int, part: Buffer) -> None:
        frame = self.frame
        kernels.connect(
            *frame.static(), *self._loop(), level, view, frame.width, frame.height, self.particles, self.number,
            self.seed, self.factor, frame.sensors.table.value, *frame.transport.tables, *self.paths.arguments,
            part.ndarray, *self._seen,
        )  # fmt: skip

    @property
    def _seen(self) -> tuple:
        return tuple(buffer.ndarray for buffer in self.seen)

    def sweep(self, rgb: Array, parts: tuple, to_table: Buffer) -> None:
        """Add what the picture's gradient says of everything that the particles met."""
        frame, particles = self.frame, self.particles
        states = [Buffer((particles, sweep.STATE)) for _ in range(2)]
        unwanted = Buffer((runtime.chunks() * rgb.rows * 3,))
        seeds = (particles, self.number, self.seed)
        shared = (
            frame.width, frame.height, *seeds, self.factor, frame.sensors.copies, frame.sensors.table.value,
            *frame.transport.tables[2:],
        )  # fmt: skip
        for level in reversed(range(self.depth)):
            leaving, arriving = states
            for view in range(-1, frame.shape[0]):
                if view >= 0:
                    self._connect(level, view, unwanted)
                sweep.sweep(
                    *frame.static(), *self._loop(), level, view, *shared, *self.paths.arguments, rgb.grad,
                    leaving.ndarray, arriving.ndarray, *self._seen, *parts[:1], *parts[3:], to_table.ndarray,
                )  # fmt: skip
            states.reverse()
        aims = int(self.aimed > 0)
        ends.starts(
            *frame.static()[:2], aims, *self._loop(), particles, self.aimed, self.number, self.seed,
            self.targets.spheres.ndarray, *frame.transport.tables[2:], self.paths.counts.ndarray, states[0].ndarray,
            *parts,
        )  # fmt: skip
        if -1 in self._levels():
            for view in range(frame.shape[0]):
                self._connect(-1, view, unwanted)
                sweep.seen_lights(
                    *frame.static(), *self._loop(), view, *shared, rgb.grad, *self._seen, *parts[:1], parts[3],
                    *parts[5:], to_table.ndarray,
                )  # fmt: skip


def _refuse(scene: Scene, cameras: Sequence[Camera]) -> None:
    for name, node in scene.nodes.items():
        if isinstance(node.geometry, Volume):
            raise SceneError(f"nodes.{name}", "holds a medium, which particles pass", 'take it out, or renderer "path"')
    for camera in cameras:
        if camera.kind == "radiance_meter":
            what = "no particle from the lights meets a radiance meter's one ray"
            raise SceneError("camera", what, 'take the renderer "path", or a camera')
