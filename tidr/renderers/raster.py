"""The rasterizer: meshes into pixels, with a choice of what happens at silhouettes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidr.array import Array, constant
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels.raster import blend as blend_kernels
from tidr.kernels.raster import find as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from . import background, geometry
from .edges_antialias import Antialias
from .edges_soft import SoftFrame
from .entries import barycentrics, depths, interpolated, project_points
from .mesh_surface import MeshSurface
from .renderer import Image
from .shading import Shading, unit_normals
from .views import Views
from .visibility import Found, find

EDGES = ("none", "antialias", "soft")
_TREATMENTS: dict[str, Callable[[Found], Treatment]] = {"antialias": Antialias}


class Treatment(Protocol):
    """What is done to a finished picture at silhouettes."""

    def apply(self, image: Array) -> Array:
        """The channel [B, H, W, C] with its silhouettes treated, by operations on the open tape."""
        ...


def register_edges(name: str) -> Callable[[Callable[[Found], Treatment]], Callable[[Found], Treatment]]:
    """Class decorator: `Rasterizer(edges=name)` makes one object of the class from what each render found.

    `apply` then takes rgb and alpha in turn. found.entries.screen is what the triangles' corners became on the screen:
    its gradient reaches vertices, transforms and cameras.

    Raises:
        SceneError: tidr has a treatment of this name.
    """

    def register(kind: Callable[[Found], Treatment]) -> Callable[[Found], Treatment]:
        if name in EDGES:
            raise SceneError(f"register_edges({name!r})", "is a treatment of tidr", "choose another name")
        _TREATMENTS[name] = kind
        return kind

    return register


@dataclass(frozen=True, kw_only=True)
class Rasterizer:
    """Draws the triangle meshes of a scene.

    edges: "none" is analytic inside triangles and blind at silhouettes; "antialias" (Laine et al. 2020) blends the
    pixel pairs that a silhouette crosses; "soft" (Liu et al. 2019) gives every triangle a fuzzy border; others are
    those of `register_edges`.
    channels: what every render makes at once, of rgb, alpha and names of vertex attributes; ("alpha",) skips shading.
    cull_back: leave out triangles turned away from the camera.

    For edges="soft": sigma, in squared NDC (image height or width 2, the shorter), is the fuzziness; gamma the
    sharpness in depth over depth_range (near, far); distance "euclidean", "barycentric" or "hard"; color_mode "softmax"
    or "hard"; alpha_mode "product", "sum" or "hard"; faces_per_pixel the nearest triangles kept.

    What this does not differentiate: which triangle a pixel sees. With "none" a silhouette's motion changes nothing
    but the pixels' interior values. With "antialias" only silhouette edges longer than about a pixel count, only for
    rgb and alpha, and edges where meshes pass through each other are not smoothed. With "soft" triangles that cross
    the near plane are left out, and so are those beyond faces_per_pixel. Shadows are not drawn.
    """

    edges: str = "antialias"
    channels: tuple[str, ...] = ("rgb", "alpha")
    cull_back: bool = False
    sigma: float = 1e-5
    gamma: float = 1e-4
    distance: str = "euclidean"
    color_mode: str = "softmax"
    alpha_mode: str = "product"
    depth_range: tuple[float, float] = (1.0, 100.0)
    faces_per_pixel: int = 16

    def __post_init__(self) -> None:
        _choice("edges", self.edges, (*EDGES, *(name for name in _TREATMENTS if name not in EDGES)))
        _choice("distance", self.distance, ("euclidean", "barycentric", "hard"))
        _choice("color_mode", self.color_mode, ("softmax", "hard"))
        _choice("alpha_mode", self.alpha_mode, ("product", "sum", "hard"))
        if not (self.sigma > 0 and self.gamma > 0 and 1 <= self.faces_per_pixel <= 1024):
            raise SceneError("renderer", "sigma and gamma must be positive, faces_per_pixel in 1 to 1024")
        if not self.depth_range[0] < self.depth_range[1]:
            raise SceneError("renderer.depth_range", f"is {self.depth_range}", "give (near, far), near < far")

    def render(self, scene: Scene, cameras: Sequence[Camera], width: int, height: int) -> Image:
        """Draw a batch of cameras; see `tidr.render`."""
        frame = frame_of(self, scene, cameras, width, height)
        image = Image(frame.makers())
        for name in self.channels:
            image.channel(name)
        return image


def frame_of(
    settings: Rasterizer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
) -> HardFrame | SoftFrame:
    """What a rasterizer sees of a scene's meshes, by its edge treatment."""
    packed = geometry.pack(scene)
    views = Views(cameras, width, height)
    world = geometry.world(scene, packed)
    kind = SoftFrame if settings.edges == "soft" else HardFrame
    return kind(settings, scene, world, views, project_points(world.positions, views))


class HardFrame:
    """One render in which each pixel sees its nearest triangle."""

    def __init__(self, settings: Rasterizer, scene: Scene, world: geometry.World, views: Views, screen: Array) -> None:
        self.settings, self.scene, self.views, self.world = settings, scene, views, world
        with unrecorded():
            self.found = find(world, views, screen, settings.cull_back)
        self.entries = self.found.entries
        self._bary: Array | None = None
        treatment = _TREATMENTS.get(settings.edges)
        self.treatment = None if treatment is None else treatment(self.found)

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel that this frame can make."""
        made: dict[str, Callable[[], Array]] = {
            "rgb": self.rgb,
            "alpha": self.alpha,
            "depth": lambda: self.to_pixels(depths(self.entries, self.bary)),
            "normal": lambda: self.to_pixels(unit_normals(MeshSurface(self.entries, self.bary))),
            "uv": lambda: self._interpolated(self.world.uvs, self.world.pack.uv_corners),
            "barycentrics": lambda: self.to_pixels(self.bary),
            "ids": self.ids,
        }
        for name in {key for instance in self.world.pack.instances for key in instance.mesh.attributes}:
            made.setdefault(name, lambda name=name: self._attribute(name))
        return made

    @property
    def bary(self) -> Array:
        if self._bary is None:
            self._bary = barycentrics(self.entries)
        return self._bary

    def rgb(self) -> Array:
        colors = Shading(self.scene, MeshSurface(self.entries, self.bary)).colors()
        image = self.to_pixels(colors, background.constant_color(self.scene))
        return self.smoothed(background.before_environment(self.scene, image, self._coverage, self.views.rays))

    def alpha(self) -> Array:
        return self.smoothed(self._coverage())

    def ids(self) -> Array:
        out = self._empty(1)
        face = self.found.face.ndarray.to_numpy()
        out.set(np.where(face == kernels.NOTHING, -1, face).reshape(out.shape))
        return out

    def to_pixels(self, values: Array, background=None) -> Array:
        """[B, H, W, C] of entry values [n, C]; `background` (zeros when None) where nothing was hit."""
        out = self._empty(values.channels)
        behind = constant([(0.0,) * values.channels if background is None else background])

        def forward() -> None:
            blend_kernels.values_to_pixels(
                out.rows, out.channels, self.found.pixel_entry.ndarray, values.value, behind.value, out.value
            )

        def backward() -> None:
            blend_kernels.values_to_pixels_adjoint(
                out.rows, out.channels, self.found.pixel_entry.ndarray, out.grad, values.grad
            )

        run(Operation(forward, backward, [values], [out], "to pixels"))
        return out

    def _coverage(self) -> Array:
        out = self._empty(1)
        with unrecorded():
            blend_kernels.coverage(out.rows, self.found.pixel_entry.ndarray, out.value)
        return out

    def smoothed(self, image: Array) -> Array:
        """The image with its silhouettes treated as the settings say."""
        return image if self.treatment is None else self.treatment.apply(image)

    def _interpolated(self, attribute: Array, corners) -> Array:
        return self.to_pixels(interpolated(self.entries, self.bary, attribute, corners))

    def _attribute(self, name: str) -> Array:
        return self._interpolated(geometry.attribute(self.world.pack, name), self.world.pack.triangles)

    def _empty(self, channels: int) -> Array:
        return Array((self.views.count, self.views.height, self.views.width, channels))


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SceneError(f"renderer.{name}", f"is {value!r}", f"choose one of {', '.join(choices)}")
