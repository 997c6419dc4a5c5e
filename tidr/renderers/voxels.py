"""The voxel renderer: grids of occupancy or signed distance into pixels, by a choice of published methods."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tidr.array import Array, constant
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, run
from tidr.kernels.voxels import image as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.voxels import VoxelGrid

from .background import before_environment, constant_color
from .level_set import DIFFERENTIATIONS, LevelSetRenderer
from .rays import RayRenderer, Rays
from .renderer import Image
from .voxels_march import METHODS, March, Sums
from .voxels_splat import Splats

CHOICES = ("auto", *METHODS, "sdf", "splat")


@dataclass(frozen=True, kw_only=True)
class VoxelRenderer(RayRenderer):
    """Draws the voxel grid of a scene (`tidr.VoxelGrid`).

    method: "auto" is "drc" for occupancies and "sdf" for distances. For a grid of occupancies v in [0, 1]:
        "drc": v is the probability that the cell stops a ray; the cells are taken in order, and every channel is an
            expectation over where the ray ends (Tulsiani et al. 2017, differentiable ray consistency).
        "ptn": alpha is the largest v along the ray (Yan et al. 2016, perspective transformer nets).
        "visual_hull", "absorption", "emission_absorption": alpha 1 - exp(-sum d), 1 - prod(1 - d) and the latter with
            colours weighed by d and transmission, for d = density_scale * v at samples one cell apart (Henzler et al.
            2019, PlatonicGAN). As published, the transmission counts the sample itself (`inclusive`) and colours are
            averaged by weight.
        "neural_volumes": opacities density_scale * v * step add up until they reach 1, read through the grid's inverse
            warp (Lombardi et al. 2019).
        "splat": every voxel is a Gaussian splat as large as its projection (see `voxels_splat`).
    For a grid of signed distances:
        "sdf": the nearest crossing of zero along the ray, shaded, by `LevelSetRenderer` (Jiang et al. 2020, SDFDiff),
            with its channels. It draws an occupancy's level 1/2 too.

    samples: across the largest side of the box ("ptn": along each ray inside the box); 0 is one a cell, as published,
        and 128 for "neural_volumes". "drc" and "splat" take every cell.
    density_scale: factor of v (not for "ptn"); None is the published one: 1, and 100 / 1024 for "emission_absorption".
        For "neural_volumes" it counts per unit of length in object space.
    inclusive: False takes the usual, exclusive transmission in "emission_absorption".
    jitter: "neural_volumes" only: a random start within one step, and a step length e^(0.01 N(0, 1)); by `seed`.
    differentiation: "sdf" only: of a hit, "exact" or "sdfdiff".
    background_depth: depth that counts where a ray hits nothing, so that depth is an expectation over all of the ray
        (DRC); None makes it an expectation over what is hit, and 0 where nothing is.

    Channels: rgb, alpha, depth, distance (not of splats), and semantics where the grid has it.

    What this does not differentiate: "drc" reads whole cells, so that alpha and colours do not change with the ray but
    by jumps (depth moves with the faces of cells). "ptn" gives all of the gradient to the largest sample. "absorption"
    is clamped at a transmission of 1e-5 a sample. Opacities of "neural_volumes" have no gradient once 1 is reached.
    The box ends abruptly: a grid that is not empty at its border has silhouettes there, which nothing smooths.
    """

    method: str = "auto"
    samples: int = 0
    density_scale: float | None = None
    inclusive: bool = True
    jitter: bool = False
    seed: int = 0
    differentiation: str = "exact"
    background_depth: float | None = None

    def __post_init__(self) -> None:
        if self.method not in CHOICES:
            raise SceneError("renderer.method", f"is {self.method!r}", f"choose one of {', '.join(CHOICES)}")
        if not 0 <= self.samples <= 4096:
            raise SceneError("renderer.samples", f"is {self.samples}", "give 1 to 4096, or 0 for one a cell")
        scale = 1.0 if self.density_scale is None else self.density_scale
        open_ended = self.method in ("visual_hull", "neural_volumes")
        if not 0 < scale < np.inf or (scale > 1 and not open_ended):
            limit = "" if open_ended else " and at most 1: it makes a probability"
            raise SceneError("renderer.density_scale", f"is {scale}", f"give a number above 0{limit}")
        if self.differentiation not in DIFFERENTIATIONS:
            raise SceneError("renderer.differentiation", f"is {self.differentiation!r}", 'choose "exact" or "sdfdiff"')
        if self.background_depth is not None and not np.isfinite(self.background_depth):
            raise SceneError("renderer.background_depth", f"is {self.background_depth}", "give a finite depth or None")

    @property
    def follows_rays(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Splats are projected; all else is found along rays."""
        return self.method != "splat"

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`."""
        if self.method == "splat":
            node, grid = find(scene, self.method)
            splats = Splats(self, scene, node, grid, cameras, width, height)
            rays = partial(Rays.of_cameras, cameras, width, height)
            return Image(Frame(self, scene, splats, splats.shape, rays).makers())
        return super().render(scene, cameras, width, height)

    def trace(self, scene: Scene, rays: Rays) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        if self.method == "splat":
            raise SceneError("renderer.method", "splats are drawn into whole images", "choose another for single rays")
        if self.method == "auto":
            _, grid = held(scene)
            return replace(self, method="drc" if grid.kind == "occupancy" else "sdf").trace(scene, rays)
        if self.method == "sdf":
            return LevelSetRenderer(differentiation=self.differentiation).trace(scene, rays)
        node, grid = find(scene, self.method)
        march = March(self, grid, rays.to_object(scene, node))
        return Frame(self, scene, march, rays.shape, lambda: rays, rays.cosines).makers()


class Frame:
    """One render; a walk along the rays is made when first needed, and shared where it can be.

    rays makes the rays through the pixels, in the world. cosines [n, 1] takes distances to depths; None where the walk
    found depths.
    """

    def __init__(
        self, settings: VoxelRenderer, scene: Scene, march: March | Splats, shape: tuple, rays: Callable[[], Rays],
        cosines: Array | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.scene, self.march, self.shape = settings, scene, march, shape
        self.rays, self.cosines = rays, cosines
        self.grid, self.count = march.grid, int(np.prod(shape))
        self._walk: Sums | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel that this frame can make."""
        made: dict[str, Callable[[], Array]] = {
            "rgb": self.rgb,
            "alpha": self.alpha,
            "depth": lambda: self._depth(self.cosines),
        }
        if self.cosines is not None:
            made["distance"] = lambda: self._depth(None)
        if self.grid.semantics is not None:
            made["semantics"] = self.semantics
        return made

    def rgb(self) -> Array:
        image = self._shown(self.grid.color, constant_color(self.scene) or (0.0, 0.0, 0.0))
        return before_environment(self.scene, image, lambda: self._any_walk().alpha, self.rays)

    def semantics(self) -> Array:
        assert self.grid.semantics is not None
        return self._shown(self.grid.semantics, (0.0,) * self.grid.semantics.channels)

    def alpha(self) -> Array:
        return self._shaped(self._any_walk().alpha)

    def _shown(self, attribute: Array | None, background) -> Array:
        """[..., C] of an attribute (white when None), in front of a background."""
        walk = self.march.trace(attribute) if attribute is not None else self._any_walk()
        self._walk = self._walk or walk
        out, behind = Array((self.count, len(background))), constant([background])
        white, normalise = attribute is None, self.march.normalise
        sums = walk.sums or walk.totals
        common = (out.rows, out.channels, sums.value, walk.totals.value, walk.alpha.value, behind.value)

        def forward() -> None:
            kernels.finish(*common, normalise, white, out.value)

        def backward() -> None:
            grads = (out.grad, sums.grad, walk.totals.grad, walk.alpha.grad)
            kernels.finish_adjoint(*common, normalise, white, *grads)

        run(Operation(forward, backward, [walk.alpha, walk.totals, sums], [out], "voxel colours"))
        return self._shaped(out)

    def _depth(self, cosines: Array | None) -> Array:
        walk, out, far = self._any_walk(), Array((self.count, 1)), self.settings.background_depth
        along = cosines or Array.of(np.ones((self.count, 1)))
        common = (out.rows, walk.totals.value, walk.alpha.value, along.value, far or 0.0, far is not None)

        def forward() -> None:
            kernels.depth(*common, out.value)

        def backward() -> None:
            kernels.depth_adjoint(*common, out.grad, walk.totals.grad, walk.alpha.grad, along.grad)

        run(Operation(forward, backward, [walk.alpha, walk.totals, along], [out], "voxel depth"))
        return self._shaped(out)

    def _any_walk(self) -> Sums:
        self._walk = self._walk or self.march.trace()
        return self._walk

    def _shaped(self, array: Array) -> Array:
        array.shape = (*self.shape, array.channels)
        return array


def find(scene: Scene, method: str) -> tuple[Node, VoxelGrid]:
    """The node that holds the scene's voxel grid of occupancies.

    Raises:
        SceneError: there is none or more than one, or it holds distances.
    """
    node, grid = held(scene)
    if grid.kind != "occupancy":
        mend = 'convert the grid with .to_occupancy(), or choose method "sdf"'
        raise SceneError(f"{node.name}.{grid.kind}", f"method {method!r} needs an occupancy", mend)
    return node, grid


def held(scene: Scene) -> tuple[Node, VoxelGrid]:
    """The node that holds the scene's one voxel grid.

    Raises:
        SceneError: there is none or more than one.
    """
    found = [(node, node.geometry) for node in scene.nodes.values() if isinstance(node.geometry, VoxelGrid)]
    if len(found) != 1:
        raise SceneError("nodes", f"hold {len(found)} voxel grids", "the voxel renderer draws exactly one")
    return found[0]
