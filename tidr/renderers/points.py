"""The point renderer: point clouds and clouds of Gaussians into pixels, by a choice of published splats."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from tidr.array import Array
from tidr.errors import SceneError
from tidr.scene.camera import Camera
from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Scene
from tidr.scene.points import PointCloud

from .renderer import Image

# Module and class of each splat; for what it draws see `_chosen`.
SPLATS = {
    "pixel": ("points_disc", "Pixel"),
    "gaussian": ("points_disc", "Gaussian"),
    "knn": ("points_disc", "Nearest"),
    "surface": ("points_surface", "SurfaceSplats"),
    "voxelise": ("points_voxelise", "Voxelised"),
    "sphere": ("points_sphere", "Sphere"),
    "rhodin": ("points_rhodin", "Rhodin"),
    "gaussian3d": ("points_gaussian3d", "Gaussian3d"),
}
DRAWN = {"gaussian3d": Gaussians}  # every other splat draws a PointCloud
COMPOSITING = ("auto", "alpha", "normalised", "weighted_sum", "softmax")  # the first three suit "gaussian"
FALLOFFS = ("synsin", "pytorch3d")


class Splat(Protocol):
    """One render of a scene's points, made with (settings, scene, cameras, width, height)."""

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel, [B, H, W, C]."""
        ...


@dataclass(frozen=True, kw_only=True)
class PointRenderer:
    """Draws all point clouds (`tidr.PointCloud`), or all clouds of Gaussians (`tidr.Gaussians`), of a scene.

    splat: "auto" is "gaussian3d" for Gaussians, for points "sphere" where all have radii, else "knn".
        "pixel": the nearest point of each pixel, one pixel large (Lin et al. 2018); see `points_disc`, as for the next.
        "gaussian": truncated Gaussians on the screen, without occlusion (Roveri et al. 2018).
        "knn": the nearest points within a radius on the screen (Wiles et al. 2020, SynSin; Li et al. 2020).
        "surface": discs across the points' normals, merged where they lie on one surface (Yifan et al. 2019, DSS); see
            `points_surface`.
        "voxelise": a smoothed grid of the frustum, seen as occupancies (Insafutdinov and Dosovitskiy 2018); see
            `points_voxelise`.
        "sphere": soft spheres (Lassner and Zollhoefer 2021, Pulsar); see `points_sphere`.
        "rhodin": blobs of Gaussian density, whose visibility is smooth (Rhodin et al. 2015); see `points_rhodin`.
        "gaussian3d": anisotropic Gaussians blended near to far (Kerbl et al. 2023); see `points_gaussian3d`.

    compositing: how a pixel's points blend; w are their opacities at the pixel, near to far. Alpha is always
        1 - prod(1 - w), which has a gradient to every point. "auto" is "normalised" for "gaussian", else "alpha".
        "alpha": over each other, near to far; for "gaussian", which has no order, the normalised colour times alpha.
        "normalised": sum(w c) / (sum(w) + 1e-8), before the background wherever a point reaches. Also for "gaussian".
        "weighted_sum": sum(w c), before what alpha leaves of the background.
        "softmax": as "normalised" with w exp(-z / gamma), z the depth (Li et al. 2020).
    sigma_pixels: standard deviation of "gaussian", which ends at three of them; 0 takes the points' projected radii.
    radius_pixels: reach of a point in "knn"; 0 takes the points' projected radii.
    points_per_pixel: how many points a pixel of "knn" takes at most, the nearest in depth.
    falloff: of the opacity in "knn", with t = distance^2 / radius^2: "synsin" is (1 - sqrt(clamp(t, 0.001, 1)))^tau,
        "pytorch3d" 1 - t. A point's own opacity is a factor.
    tau: see falloff; from 1 on, so that the opacity has no infinite slope where it ends.
    gamma: what is nearer by so much outweighs by e: for "softmax" in world units, for "sphere" in parts of depth_range.
    depth_range: depths (nearest, farthest) between which the nearness of "sphere" goes from 1 to 0; None finds them.
        For "voxelise" those that its grid reaches, world units; None is (1.5, 2.5), as published.

    For "surface":
    cutoff: a splat ends where the squared number of its standard deviations reaches this.
    low_pass: variance in pixels^2 that is added to every splat, along columns and rows.
    depth_merge: splats up to so far behind the nearest are of the same surface, world units.
    merged_points: how many of them count in a pixel at most, the nearest.
    backward_radius: alpha's gradient reaches points so many radii of their splats away; see `points_surface`.
    variance_range: lowest and highest variance, world units squared, of a splat without radius.
    cull_back: leaves out points whose normals look away from the camera.

    For "voxelise":
    vox: cells of the grid along each side.
    smoothing: standard deviation in cells of the Gaussian that smooths it.
    kernel_taps: weights of that Gaussian, an odd number.

    For "gaussian3d":
    antialiased: opacities are scaled so that widening a splat to its pixel keeps its brightness (Yu et al. 2024,
        Mip-Splatting).
    dilation: variance in pixels^2 that is added to every splat, along columns and rows.
    alpha_skip: a splat counts where its opacity is at least this; 0 counts all of it.
    alpha_max: highest opacity of a splat at a pixel, below 1; also of a blob of "rhodin".
    transmittance_stop: a pixel ends before the splat that would leave less of what is behind; 0 never ends it.
    sigmas: a splat also ends so many standard deviations from its mean. The default is where one of opacity 1 falls
        below 1/255, so that it takes nothing away.

    Channels: rgb, alpha, depth (along the camera axis, expected over what is hit, 0 where alpha is below 1e-6); of
    Gaussians and "surface" also normal (world, unit).

    What this does not differentiate: the order of depth, which is that of the centres, and what is skipped or ended by
    a threshold: all of these make the picture jump. See the splat's own file for more.
    """

    splat: str = "auto"
    compositing: str = "auto"
    sigma_pixels: float = 1.5
    radius_pixels: float = 1.5
    points_per_pixel: int = 128
    falloff: str = "synsin"
    tau: float = 1.0
    gamma: float = 0.01
    depth_range: tuple[float, float] | None = None
    cutoff: float = 1.0
    low_pass: float = 1.0
    depth_merge: float = 0.05
    merged_points: int = 8
    backward_radius: float = 10.0
    variance_range: tuple[float, float] = (5e-5, 1e-2)
    cull_back: bool = True
    vox: int = 64
    smoothing: float = 1.0
    kernel_taps: int = 11
    antialiased: bool = False
    dilation: float = 0.3
    alpha_skip: float = 1 / 255
    alpha_max: float = 0.99
    transmittance_stop: float = 1e-4
    sigmas: float = 3.33

    def __post_init__(self) -> None:
        if self.splat != "auto" and self.splat not in SPLATS:
            raise SceneError("renderer.splat", f"is {self.splat!r}", f"choose one of auto, {', '.join(SPLATS)}")
        suited = COMPOSITING[:3] if self.splat == "gaussian" else COMPOSITING
        for name, choices in (("compositing", suited), ("falloff", FALLOFFS)):
            if getattr(self, name) not in choices:
                given = getattr(self, name)
                raise SceneError(f"renderer.{name}", f"is {given!r}", f"choose one of {', '.join(choices)}")
        if self.depth_range is not None:
            pair = tuple(self.depth_range)
            if len(pair) != 2 or not -math.inf < pair[0] < pair[1] < math.inf:
                raise SceneError("renderer.depth_range", f"is {pair}", "give the nearest and the farthest depth")
        low, high = self.variance_range
        if not 0 < low <= high < math.inf:
            raise SceneError(
                "renderer.variance_range", f"is {(low, high)}", "give two numbers above 0, the lowest first"
            )
        if self.kernel_taps % 2 == 0:
            raise SceneError("renderer.kernel_taps", f"is {self.kernel_taps}", "give an odd number")
        ranges = {
            "cutoff": (0.01, 50),
            "low_pass": (1e-3, 100),
            "depth_merge": (0, 1e9),
            "merged_points": (1, 4096),
            "backward_radius": (1, 1000),
            "vox": (2, 256),
            "smoothing": (0.01, 100),
            "kernel_taps": (1, 101),
            "sigma_pixels": (0, 1e4),
            "radius_pixels": (0, 1e4),
            "points_per_pixel": (1, 4096),
            "tau": (1, 100),
            "gamma": (1e-5, 1e6),
            "dilation": (0, 100),
            "alpha_skip": (0, 0.5),
            "alpha_max": (0.5, 0.9999),
            "transmittance_stop": (0, 0.5),
            "sigmas": (0.5, 1000),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise SceneError(f"renderer.{name}", f"is {value}", f"give a number from {low} to {high}")

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`."""
        module, name = SPLATS[self._chosen(scene)]
        kind = getattr(import_module(f"tidr.renderers.{module}"), name)
        drawn: Splat = kind(self, scene, cameras, width, height)
        return Image(drawn.makers())

    def _chosen(self, scene: Scene) -> str:
        """The splat to draw the scene with.

        Raises:
            SceneError: the scene holds nothing that it draws, or, where it is to be chosen, points and Gaussians.
        """
        held = [node.geometry for node in scene.nodes.values()]
        points = [one for one in held if isinstance(one, PointCloud)]
        gaussians = any(isinstance(one, Gaussians) for one in held)
        splat = self.splat
        if splat == "auto":
            if points and gaussians:
                mend = f"name the splat: {', '.join(SPLATS)}"
                raise SceneError("nodes", "hold both points and Gaussians, which no one splat draws", mend)
            round_ones = bool(points) and all(one.radii is not None for one in points)
            splat = "gaussian3d" if not points else "sphere" if round_ones else "knn"
        kind = DRAWN.get(splat, PointCloud)
        if not any(isinstance(one, kind) for one in held):
            raise SceneError("nodes", f"hold no {kind.__name__} to draw", f"splat {splat!r} draws nothing else")
        if splat not in SPLATS:
            raise SceneError("renderer.splat", f"{splat!r} is not there", f"choose one of {', '.join(SPLATS)}")
        return splat
