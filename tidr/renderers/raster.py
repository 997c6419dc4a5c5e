"""The rasterizer: meshes into pixels, with a choice of what happens at silhouettes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tidr.array import Array, constant
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.raster import blend as blend_kernels
from tidr.kernels.raster import find as kernels
from tidr.parameter import Parameter
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from . import background, geometry, mesh_colors
from .edges_antialias import Antialias
from .edges_dibr import Dibr
from .edges_genova import Genova
from .edges_nmr import Nmr, NmrLocal
from .edges_opendr import OpenDr
from .edges_soft import SoftFrame
from .edges_splat import SplatFrame
from .entries import Entries, barycentrics, depths, interpolated, project_points
from .mesh_surface import MeshSurface
from .renderer import Image
from .screen_space import check_effects, effects
from .shading import unit_normals
from .shadow_maps import check_lighting
from .views import Views
from .visibility import Found, find

EDGES = ("none", "antialias", "soft", "opendr", "nmr", "nmr_local", "genova", "dibr", "splat")
_TREATMENTS: dict[str, Callable[[Found], Treatment]] = {
    "antialias": Antialias, "opendr": OpenDr, "nmr": Nmr, "nmr_local": NmrLocal, "genova": Genova, "dibr": Dibr,
}  # fmt: skip
_SOFT = {"soft": SoftFrame, "splat": SplatFrame}  # these find more than the nearest triangle of a pixel


class Treatment(Protocol):
    """What is done to a finished picture at silhouettes."""

    def apply(self, image: Array) -> Array:
        """The channel [B, H, W, C] with its silhouettes treated, by operations on the open tape."""
        ...


def register_edges(name: str) -> Callable[[Callable[[Found], Treatment]], Callable[[Found], Treatment]]:
    """Class decorator: `Rasterizer(edges=name)` makes one object of the class from what each render found.

    `apply` then takes rgb and alpha in turn. found.entries.screen is what the triangles' corners became on the screen:
    its gradient reaches vertices, transforms and cameras. A class may say `moves_picture = True`: what shading sends to
    the screen, as the slope of a colour inside a triangle, is then left out, for `apply` has it; and `samples = n`: its
    pictures have n x n samples in each pixel, which `apply` makes pixels of.

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
    pixel pairs that a silhouette crosses; "soft" (Liu et al. 2019) gives every triangle a fuzzy border; "opendr"
    (Loper and Black 2014) leaves the picture hard, and moves it by differences of its pixels, whole steps at outlines;
    "nmr" (Kato et al. 2018) draws 2 x 2 samples a pixel, and lets each, however far in line with an edge, pull at it
    where the loss would fall by the edge's coming or going; "nmr_local" (Kato and Harada 2019) asks that of a sample's
    own neighbours; "genova" (Genova et al. 2018) leaves it hard too, and lets background pixels beside a triangle feel
    what its plane would show there, with barycentrics below 0; "dibr" (Chen et al. 2019) keeps covered pixels hard and
    lets alpha fade over the background, from 1 at a triangle on; "splat" (Cole et al. 2021) spreads every shaded sample
    over the 3 x 3 pixels around it, and moves it with its triangle; others are those of `register_edges`.
    channels: what every render makes at once, of rgb, alpha and names of vertex attributes; ("alpha",) skips shading.
    cull_back: leave out triangles turned away from the camera.
    shader: where light falls. "phong" on every pixel, with the normal there; "gouraud" on triangles' corners, whose
    colours are interpolated; "flat" on each triangle's centroid, on its own normal (albedo and such still per pixel).
    normals: "facing" turns them to the camera's side; "pytorch3d" leaves them as triangles are wound, and gives those
    at vertices length 1 before they are interpolated.
    shadows: of directional, point and spot lights, by maps of depth as the light sees it. "none"; "soft" compares
    depths by a sigmoid; "variance" (Donnelly and Lauritzen 2006) bounds what is lit by depth's mean and variance;
    "antialias" (Worchel and Alexa 2023) smooths silhouettes in those maps, so that shadows move with their casters.
    shadow_resolution: texels a side; shadow_softness: how many are averaged a side. shadow_bias: texels by which what
    receives shadows is lifted along its normal, against shadows of itself (None: half of shadow_softness, plus 1, for
    "soft", else 0.5); a fifth of it is the sigmoid's width in depth. A point light amid the scene has six maps, a
    cube's, every other light one.
    ambient_occlusion: radius in world units within which what the camera sees hides ambient light (McGuire et al.
    2012, "Scalable Ambient Obscurance").
    reflections: distance in world units within which metallic-roughness surfaces mirror what the camera sees (McGuire
    and Mara 2014; Stachowiak 2015), by Schlick's Fresnel term times (1 - roughness)^2, blurred as GGX strews light;
    fainter with distance and near the picture's rim, and besides what an environment light sends there.
    subsurface: {material's name: widths [3], RGB, in world units, numbers or a `Parameter`}: how far light goes on
    under such surfaces, by a blur of the colours that the camera sees, highlights too (d'Eon and Luebke 2007; Jimenez
    et al. 2009). It comes before reflections; both need shader="phong" and hard edges, neither "soft" nor "splat".

    For edges="soft": sigma, in squared NDC (image height or width 2, the shorter), is the fuzziness; gamma the
    sharpness in depth over depth_range (near, far); distance "euclidean", "barycentric" or "hard"; color_mode
    "softmax", "pytorch3d" (its background is farther, and seen at 1e-10 of the nearest triangle's weight at least) or
    "hard"; alpha_mode "product", "sum" or "hard"; faces_per_pixel the nearest triangles kept; blur_radius, squared NDC
    too (or squared barycentrics), how far outside itself a triangle counts, 9.21 sigma unless given. sigma is 1e-5 and
    faces_per_pixel 16 unless given. See `tidr.shaders`.

    For edges="dibr": sigma, 1 / 7000, the width of the fade exp(-distance^2 / sigma); faces_per_pixel, 30, triangles
    that count in a pixel, those of the lowest numbers; blur_radius, 4e-4, the square of how far a triangle's box grows
    to hold the pixel. For edges="splat": faces_per_pixel, 1, layers of depth; with more, closed meshes need cull_back.

    What this does not differentiate: which triangle a pixel sees. With "none" a silhouette's motion changes nothing
    but the pixels' interior values. With "antialias" only silhouette edges longer than about a pixel count, only for
    rgb and alpha, and edges where meshes pass through each other are not smoothed. With "soft" triangles that cross
    the near plane are left out, and so are those beyond faces_per_pixel. With "opendr" rgb and alpha follow corners by
    the picture's own steps of a pixel, in place of the slopes inside triangles, and a mesh that hides itself by
    triangles below a pixel is taken for one surface there. "nmr" and "nmr_local" do so by what lowers the loss: they
    are no derivatives of the picture, are zero where nothing would, and take rgb and alpha apart; "nmr" leaves out
    triangles that cross the near plane. In all three colours, lights and normals have their exact gradients, and
    other channels are those of "none". With "genova" alpha has no gradient, nor a silhouette of one even colour that
    moves; triangles go on by a pixel, and by their own size at most. With "dibr" outside triangles only alpha has one,
    and jumps where boxes end; what crosses the near plane has no fade. With "splat" barycentrics have none (a sample is
    a point of the surface), nor has the layer that it falls in; every channel is splatted, what crosses the near plane
    is left out, and an edge has 0.9 of its true slope. Shadows: which texels a triangle covers, so that only those of
    shadows="antialias" move with their casters' silhouettes, and how maps are fitted to the scene. Ambient occlusion:
    which pixels are looked at; what the camera does not see hides nothing. Reflections: where mirrored rays end, how
    that moves with geometry, cameras and roughness; colours there, the Fresnel term and its fading are differentiated.
    Subsurface: which pixels are mixed; their colours, distances and the widths are.
    """

    edges: str = "antialias"
    channels: tuple[str, ...] = ("rgb", "alpha")
    cull_back: bool = False
    sigma: float | None = None
    gamma: float = 1e-4
    distance: str = "euclidean"
    color_mode: str = "softmax"
    alpha_mode: str = "product"
    depth_range: tuple[float, float] = (1.0, 100.0)
    faces_per_pixel: int | None = None
    blur_radius: float | None = None
    shader: str = "phong"
    normals: str = "facing"
    shadows: str = "none"
    shadow_resolution: int = 512
    shadow_softness: int = 5
    shadow_bias: float | None = None
    ambient_occlusion: float | None = None
    reflections: float | None = None
    subsurface: Mapping[str, Parameter | tuple[float, float, float]] | None = None

    def __post_init__(self) -> None:
        _choice("edges", self.edges, (*EDGES, *(name for name in _TREATMENTS if name not in EDGES)))
        _choice("distance", self.distance, ("euclidean", "barycentric", "hard"))
        _choice("color_mode", self.color_mode, ("softmax", "pytorch3d", "hard"))
        _choice("shader", self.shader, mesh_colors.SHADERS)
        _choice("normals", self.normals, ("facing", "pytorch3d"))
        check_lighting(self)
        check_effects(self)
        _choice("alpha_mode", self.alpha_mode, ("product", "sum", "hard"))
        positive = self.gamma > 0 and (self.sigma is None or self.sigma > 0)
        if not (positive and (self.faces_per_pixel is None or 1 <= self.faces_per_pixel <= 1024)):
            raise SceneError("renderer", "sigma and gamma must be positive, faces_per_pixel in 1 to 1024")
        if self.blur_radius is not None and not 0 <= self.blur_radius < float("inf"):
            raise SceneError("renderer.blur_radius", f"is {self.blur_radius}", "give squared NDC, 0 or more")
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
    world = geometry.world(scene, geometry.pack(scene))

    def seen(samples: int) -> tuple[geometry.World, Views, Array]:
        views = Views(cameras, samples * width, samples * height)
        return world, views, project_points(world.positions, views)

    if settings.edges in _SOFT:
        return _SOFT[settings.edges](settings, scene, *seen(1))
    samples = getattr(_TREATMENTS.get(settings.edges), "samples", 1)
    if samples == 1:
        return HardFrame(settings, scene, *seen(1))
    return FineFrame(
        lambda: HardFrame(replace(settings, edges="none"), scene, *seen(1)), settings, scene, *seen(samples)
    )


class HardFrame:
    """One render in which each pixel sees its nearest triangle."""

    def __init__(self, settings: Rasterizer, scene: Scene, world: geometry.World, views: Views, screen: Array) -> None:
        self.settings, self.scene, self.views, self.world = settings, scene, views, world
        with unrecorded():
            self.found = find(world, views, screen, settings.cull_back)
        self.found.settings = settings
        self._bary: Array | None = None
        treatment = _TREATMENTS.get(settings.edges)
        self.treatment = None if treatment is None else treatment(self.found)
        self.entries = self.found.entries

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

    @property
    def shaded(self) -> tuple[Entries, Array]:
        """The entries and barycentrics to shade, on no way to the screen where the treatment has one of its own."""
        if not getattr(self.treatment, "moves_picture", False):
            return self.entries, self.bary
        screen = Array(self.entries.screen.shape)
        with unrecorded():
            accumulate.copy_rows(screen.rows, 4, self.entries.screen.value, screen.value, 0)
        still = replace(self.entries, screen=screen)
        return still, barycentrics(still)

    def rgb(self) -> Array:
        entries, bary = self.shaded
        colors = mesh_colors.colors(self.settings, self.scene, entries, bary)
        colors = effects(self.settings, self.scene, entries, bary, self.found.pixel_entry, colors)
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
                out.rows, out.channels, self.found.felt_entry.ndarray, out.grad, values.grad
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


class FineFrame(HardFrame):
    """A frame of several samples a pixel for rgb and alpha; other channels show the pixels' centres."""

    def __init__(self, centres: Callable[[], HardFrame], settings: Rasterizer, scene: Scene, *seen) -> None:
        super().__init__(settings, scene, *seen)
        self.centres = functools.cache(centres)

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel that this frame can make."""
        fine = {"rgb": self.rgb, "alpha": self.alpha}
        return {name: fine.get(name, lambda name=name: self.centres().makers()[name]()) for name in super().makers()}

    def ids(self) -> Array:
        return self.centres().ids()


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SceneError(f"renderer.{name}", f"is {value!r}", f"choose one of {', '.join(choices)}")
