"""The photon mapper: caustics, indirect light and light in media from the density of photons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import GradientError, SceneError
from tidr.fitting.tape import Operation, run
from tidr.kernels.photons import density, radii
from tidr.kernels.photons import eye as kernels
from tidr.kernels.photons.profiles import PROFILES
from tidr.kernels.transport.materials import KINDS
from tidr.kernels.transport.slots import PARAMS
from tidr.parameter import nearest
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene
from tidr.scene.mesh import Mesh
from tidr.scene.parametric import ParametricSurface
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.volume import Volume

from .photon_density import DensitySettings, Queries, radius_of_pass
from .photon_grid import Photons, PointGrid
from .photon_map import PhotonMap
from .photon_media import Drift, Haze, first_radius
from .photon_shot import Paths, Shot, Targets
from .renderer import Image
from .transport_media import Media
from .transport_scene import OTHER_PATHS, TransportScene
from .transport_sensor import Sensors, film_filter

METHODS = ("progressive", "sppm", "ppm", "map")
BLOCK = 1 << 17
"""Pixels that are under way at a time."""
FOOTPRINTS = 4.0  # of a pixel: the first radius, where none is given


@dataclass(frozen=True, kw_only=True)
class PhotonMapper:
    """Draws meshes and media lit by all that shines: direct light by sampling lights, all other light from photons.

    Paths from the camera go by mirrors and clear boundaries to the first surface that scatters. There light that comes
    straight from the lights is sampled, and all other light is the density of the photons within a radius (Jensen 1996,
    "Global Illumination using Photon Maps"), which blurs it: the picture is biased, less with every pass as the radius
    shrinks. Caustics are found that no path from the camera would find, also in mirrors and behind glass.

    A `Volume` with an albedo is a medium: photons are scattered in its box by its g, in any number of events, and kept
    there. A ray from the camera sees all of those within a radius around it, direct light too, by the beam radiance
    estimate (Jarosz, Zwicker and Jensen 2008, "The Beam Radiance Estimate for Volumetric Photon Mapping"); the media
    dim it and what lights surfaces. Radii around rays follow the rule of "progressive" with every method. Boxes may
    overlap, and densities vary: transmittance is estimated without bias (kernels/transport/medium.py).

    method:
        "progressive": every pass has new photons, new paths from the camera and a smaller radius, r_(i+1)^2 =
            r_i^2 (i + alpha) / (i + 1), the same for all pixels (Knaus and Zwicker 2011, "Progressive Photon Mapping: A
            Probabilistic Approach"). The mean of the passes converges to the true picture.
        "sppm": the same with a radius for each pixel that shrinks by what it found (Hachisuka and Jensen 2009,
            "Stochastic Progressive Photon Mapping").
        "ppm": as "sppm", with the same paths from the camera in every pass (Hachisuka, Ogaki and Jensen 2008).
        "map": photons are traced once; caustics are looked up, other indirect light is gathered by one ray for each
            pass, at whose end photons of all kinds are looked up. The radius stays.
    photons: emitted in a pass. passes: also samples per pixel. radius: the first one, in world units; None: four times
        the median distance of what neighbouring pixels see, in media by their size and the photons. alpha: how fast
        radii shrink, in (0, 1).
    aimed: share of the photons that starts towards the nodes whose materials mirror or refract, where there are any.
    profile: "constant", "cone", "epanechnikov", "biweight" or "gaussian", how photons count by their distance.
    max_depth: edges of a path, of photons and of the camera each. roulette_depth: from this vertex on photons end at
        random, by what the surface swallows. film: "box", "tent" or "gaussian". seed: equal seeds give equal
        pictures.
    independent_gradient: the gradient follows other photons and paths than the picture, so that a fit does not learn
        to lower the picture's noise; False gives the exact derivative of this very picture.
    saved: photons to use in place of new ones, with the method "map".

    A pass is repeated for its gradient, so memory does not depend on their number, and photons move with what moves
    their paths: lights, indices of refraction, vertices (Xing, Li, Luan and Xu 2024, "Differentiable Photon Mapping
    using Generalized Path Gradients"). Media have gradients to density, albedo and g, with the places of collisions
    held fixed. Opacities and weights of blends have those of the chances that they are.

    What this does not differentiate: radii; silhouettes, which photons and paths from the camera jump across, and
    shadows' outlines: where a lens stands free in a beam, the light that enters at its rim can be as much as all the
    rest of the gradient to its place (tests/test_photon_boundary.py measures it), so let the beam fill no more than the
    lens; roughness by the directions that it makes photons take (it is differentiated at fixed directions, which has
    the same mean, as has g); where media are, and how much more or less of a medium a ray passes as it moves; light
    that a medium would scatter where its density is 0; anything of the method "map", which draws no media.

    Mesa's software Vulkan ends all loops of a few neighbouring pixels after 65535 turns in all, which many photons
    beside a ray may need: take the CPU there.
    """

    photons: int = 1 << 16
    passes: int = 16
    radius: float | None = None
    alpha: float = 0.7
    method: str = "progressive"
    aimed: float = 0.3
    profile: str = "biweight"
    max_depth: int = 16
    roulette_depth: int = 2
    film: str = "box"
    seed: int = 0
    independent_gradient: bool = True
    saved: PhotonMap | None = None

    def __post_init__(self) -> None:
        whole = (("photons", 1 << 22), ("passes", 1 << 20), ("max_depth", 256), ("roulette_depth", 1 << 20))
        for name, high in whole:
            if not 1 <= getattr(self, name) <= high:
                raise SceneError(f"renderer.{name}", f"is {getattr(self, name)}", f"give 1 to {high}")
        if self.radius is not None and not 0.0 < self.radius < 1e18:
            raise SceneError("renderer.radius", f"is {self.radius}", "give a positive length, or none")
        if not 0.0 < self.alpha < 1.0:
            raise SceneError("renderer.alpha", f"is {self.alpha}", "give a number between 0 and 1")
        if not 0.0 <= self.aimed < 1.0:
            raise SceneError("renderer.aimed", f"is {self.aimed}", "give a share from 0 to below 1")
        for name, given, known in (("method", self.method, METHODS), ("profile", self.profile, PROFILES)):
            if given not in known:
                raise SceneError(f"renderer.{name}", f"no {name} {given!r}", nearest(given, known))
        film_filter(self.film, "renderer.film")
        if self.saved is not None and self.method != "map":
            raise SceneError("renderer.saved", f"the method {self.method!r} makes new photons", "choose 'map'")

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`.

        Raises:
            SceneError: a node that is neither mesh nor medium, a medium that emits light, any medium with method "map".
        """
        return Image(PhotonFrame(self, scene, cameras, width, height).makers())

    def trace(self, scene: Scene) -> PhotonMap:
        """The photons of the first pass that landed on surfaces, to keep or to look at."""
        shot = _shoot(self, scene, _transport(scene), Media(scene), 0)
        return PhotonMap(shot.photons, shot.count, self.photons)


def _transport(scene: Scene) -> TransportScene:
    for name, node in scene.nodes.items():
        known = isinstance(node.geometry, Mesh | Tetrahedra | ParametricSurface | Volume)
        if node.geometry is not None and not known:
            what = f"photons do not meet a {type(node.geometry).__name__}"
            raise SceneError(
                f"nodes.{name}", what, "meshes and media are drawn; take the node out, or another renderer"
            )
    return TransportScene(scene)


def _shoot(
    settings: PhotonMapper, scene: Scene, transport: TransportScene, media: Media, number: int, grads: bool = False
) -> Shot:
    targets = Targets(scene, transport)
    aimed = min(round(settings.photons * settings.aimed), settings.photons - 1) if targets.count else 0
    return Shot(
        transport, media, targets, settings.photons, aimed, number, settings.seed, settings.max_depth,
        settings.roulette_depth, grads,
    )  # fmt: skip


class View:
    """The paths from the camera of one pass for a block of pixels, and what they see of photons."""

    def __init__(self, frame: PhotonFrame, first: int, places: int, number: int, reach: Buffer, grads: bool) -> None:
        self.first, self.places, self.reach = first, places, reach
        self.rows = 2 * places if frame.gathers else places
        self.number, self.turn = 0 if frame.settings.method == "ppm" else number, number
        self.paths = Paths(places, frame.settings.max_depth + 1)
        self.seen = Buffer((self.rows, kernels.COLUMNS))
        points, shading, sides, eyes = (Array((self.rows, 3), needs_grad=grads) for _ in range(4))
        params, kind, radius = (
            Array((self.rows, PARAMS), needs_grad=grads),
            Buffer((self.rows,), "int"),
            Buffer((self.rows,)),
        )
        self.queries = Queries(points, shading, sides, eyes, params, kind, radius)
        self.radiance = Array((self.rows, 3), needs_grad=grads)
        self.found = Buffer((self.rows,), "int")
        self.haze: Haze | None = None
        wholes, reals, counts, origins = self.paths.arguments
        settings = frame.settings
        kernels.look(
            *frame.static, frame.gathers, first, places, self.number, self.turn, frame.width, frame.height,
            settings.seed, settings.max_depth, frame.sensors.table.value, *frame.tables, reach.ndarray, origins,
            counts, wholes, reals, self.seen.ndarray, *self.queries.arguments(),
        )  # fmt: skip

    def gather(self, frame: PhotonFrame, lights: Lit, grads: bool) -> None:
        """Radiance from photons."""
        if lights.drift is not None:
            self.haze = Haze(frame, self, lights.drift, grads)
            self.haze.add(self, kernels.LIGHT_SEEN)
        fixed = (frame.density.kinds, PROFILES[frame.settings.profile], *frame.density.limits)
        for k, (grid, records) in enumerate(lights.grids):
            given = self.queries.arguments()
            if len(lights.grids) > 1:
                kept = Buffer((self.rows,))
                kernels.keep_rows(k * self.places, (k + 1) * self.places, self.queries.radii.ndarray, kept.ndarray)
                given = (*given[:4], kept.ndarray, *given[5:])
            out = self.radiance if k == 0 else Array((self.rows, 3), needs_grad=False)
            density.gather(self.rows, *fixed, *grid.arguments, records.ndarray, *given, out.value, self.found.ndarray)
            if k == 1:
                kernels.add_radiance(self.places, self.rows, out.value, self.radiance.value)


class Lit:
    """The photons of a pass in their grids: all of them, or with final gathering those of caustics and all.

    shot: where they are from; None where they were saved. drift: those in media, if there are media.
    """

    def __init__(
        self, photons: Photons, shot: Shot | None, cell: float, gathers: bool, drift: Drift | None = None
    ) -> None:
        self.shot, self.drift = shot, drift
        self.grids: list[tuple[PointGrid, Buffer]] = []
        for which in ("caustic", "all") if gathers else ("all",):
            grid = PointGrid(cell)
            grid.build(photons.positions, photons.flags, which)
            self.grids.append((grid, grid.records(photons)))


class PhotonFrame:
    """One render by photon mapping."""

    def __init__(
        self, settings: PhotonMapper, scene: Scene, cameras: Sequence[Camera], width: int, height: int
    ) -> None:
        self.settings, self.scene, self.width, self.height = settings, scene, width, height
        self.transport, self.media = _transport(scene), Media(scene)
        self.mask = self.transport.mask | self.media.mask
        self.sensors = Sensors(cameras, width, height)
        self.shape = (len(cameras), height, width)
        self.gathers = settings.method == "map"
        if self.gathers and self.media.mask:
            raise SceneError("renderer.method", "is 'map', which knows no media", "take 'progressive', 'sppm' or 'ppm'")
        self.density = DensitySettings(profile=settings.profile, kinds=self.transport.mask & KINDS)
        film = film_filter(settings.film, "renderer.film")
        self.static = self.mask, self.transport.light_kinds, self.sensors.mask, film
        self._radius = settings.radius
        self._drawn: tuple[Array, Array] | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        return {"rgb": lambda: self._draw()[0], "alpha": lambda: self._draw()[1]}

    def _draw(self) -> tuple[Array, Array]:
        if self._drawn is None:
            rgb, alpha = Array((*self.shape, 3)), Array((*self.shape, 1), needs_grad=False)
            inputs = [*self.transport.arrays.values(), self.media.values, self.sensors.table]
            run(Operation(lambda: self._trace(rgb, alpha), lambda: self._replay(rgb), inputs, [rgb], "photon mapping"))
            self._drawn = rgb, alpha
        return self._drawn

    @property
    def tables(self) -> tuple:
        """The scene's for kernels that follow paths."""
        return *self.transport.tables, *self.media.tables

    @property
    def learning(self) -> int:
        """Inside a backward: the mask for kernels of the gradient."""
        return self.mask | self.media.learns()

    def blocks(self) -> list[tuple[int, int]]:
        """(first pixel, pixels) of every block of the pictures."""
        total = self.shape[0] * self.width * self.height
        return [(first, min(BLOCK, total - first)) for first in range(0, total, BLOCK)]

    def radius(self) -> float:
        """The first radius."""
        if self._radius is None:
            self._radius = self._chosen_radius()
        return self._radius

    def _chosen_radius(self) -> float:
        """A few times the median distance between what neighbouring pixels see; of the scene's size without such."""
        first, places = self.blocks()[0]
        reach = Buffer((2 * places,))
        reach.ndarray.fill(1.0)
        view = View(self, first, places, 0, reach, False)
        points = view.queries.points.numpy()[:places]
        there = view.queries.radii.ndarray.to_numpy()[:places] > 0.0
        whole = places // self.width * self.width
        grid, there = points[:whole].reshape(-1, self.width, 3), there[:whole].reshape(-1, self.width)
        gaps = np.linalg.norm(grid[:, 1:] - grid[:, :-1], axis=-1)[there[:, 1:] & there[:, :-1]]
        gap = float(np.median(gaps)) if gaps.size else 0.0
        if gap <= 0.0:
            vertices = self.transport.world.positions.numpy()
            gap = float(np.ptp(vertices, axis=0).max()) / 100.0
        return FOOTPRINTS * gap if 0.0 < gap < 1e18 else 1.0

    def reaches(self) -> list[Buffer]:
        """Radii of all pixels, block by block, before the first pass."""
        made = []
        for _, places in self.blocks():
            made.append(Buffer((2 * places if self.gathers else places,)))
            made[-1].ndarray.fill(self.radius())
        return made

    def passes(self, reaches: list[Buffer], grads: bool = False):
        """(photons, how each block of pixels looks at them) of every pass."""
        settings, held = self.settings, [Buffer((places,)) for _, places in self.blocks()]
        for each in held:
            each.ndarray.fill(0.0)
        lit = None
        for number in range(settings.passes):
            radius = self.radius()
            if settings.method == "progressive":
                radius = radius_of_pass(radius, number, settings.alpha)
                for reach in reaches:
                    reach.ndarray.fill(radius)
            if lit is None or not self.gathers:
                lit = self._lit(number, 1.0001 * radius, grads)
            yield lit, self._views(number, lit, reaches, held, grads)

    def _lit(self, number: int, cell: float, grads: bool) -> Lit:
        """The photons of a pass, new or saved."""
        if self.settings.saved is not None:
            return Lit(self.settings.saved.photons, None, cell, self.gathers)
        shot = _shoot(self.settings, self.scene, self.transport, self.media, number, grads)
        drift = None
        if self.media.mask:
            drift = Drift(shot, radius_of_pass(self.settings.radius or first_radius(self), number, self.settings.alpha))
        return Lit(shot.photons, shot, cell, self.gathers, drift)

    def _views(self, number: int, lit: Lit, reaches: list[Buffer], held: list[Buffer], grads: bool):
        for (first, places), reach, kept in zip(self.blocks(), reaches, held, strict=True):
            view = View(self, first, places, number, reach, grads)
            view.gather(self, lit, grads)
            yield view
            if self.settings.method in ("sppm", "ppm"):
                radii.shrink(places, self.settings.alpha, view.found.ndarray, kept.ndarray, reach.ndarray)

    def _trace(self, rgb: Array, alpha: Array) -> None:
        rgb.value.fill(0.0)
        alpha.value.fill(0.0)
        for _lit, views in self.passes(self.reaches()):
            for view in views:
                kernels.develop(
                    view.first, view.places, self.gathers, 1.0 / self.settings.passes, view.seen.ndarray,
                    view.radiance.value, rgb.value, alpha.value,
                )  # fmt: skip
        self.transport.show_nan(rgb, self.media.given)

    def _replay(self, rgb: Array) -> None:
        if self.settings.independent_gradient:
            self.settings = replace(self.settings, seed=self.settings.seed ^ OTHER_PATHS)
        if self.gathers:
            raise GradientError(
                "renderer.method", "'map' has no gradient", "take 'progressive', 'sppm' or 'ppm' for fits"
            )
        from .photon_replay import replay

        replay(self, rgb)
