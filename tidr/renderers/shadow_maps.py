"""Shadow maps of directional, point and spot lights: how much of each the entries of a surface see.

Maps are drawn by the rasterizer's own steps, from cameras in the lights' places that are fitted to the scene's bounds.
Bounds and angles are rounded, so that a fit's small steps neither move the maps' texels nor hide a slope.

Comparing depths: Williams 1978, "Casting curved shadows on curved surfaces", softened by a sigmoid and averaged over a
window of texels (Reeves, Salesin, Cook 1987). Moments: Donnelly, Lauritzen 2006, "Variance shadow maps". Moments with
antialiased silhouettes: Worchel, Alexa 2023, "Differentiable shadow mapping for efficient inverse graphics". Receivers
are lifted along their normals: Holbert 2011, "Saying goodbye to shadow acne".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.raster import shadow as kernels
from tidr.parameter import Parameter
from tidr.scene.graph import Scene
from tidr.scene.light import DirectionalLight, PointLight, SpotLight

from .edges_antialias import Antialias
from .entries import barycentrics, depths, interpolated, project_points
from .geometry import World
from .mesh_surface import MeshSurface
from .shading import unit_normals
from .views import Views
from .visibility import Found, find

if TYPE_CHECKING:
    from .raster import Rasterizer

CastingLight = DirectionalLight | PointLight | SpotLight
SHADOWS = ("none", "soft", "variance", "antialias")
WIDEST = math.radians(60)  # half angle of a single perspective map; a light that needs more gets the six of a cube
CUBE = np.concatenate([np.eye(3), -np.eye(3)])


@dataclass(frozen=True)
class Bounds:
    """A sphere around the scene, of rounded centre and radius: it stays where it is while vertices move a little."""

    center: np.ndarray
    radius: float

    @classmethod
    def of(cls, points: np.ndarray) -> Bounds:
        low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
        radius = max(float(np.linalg.norm(high - low)) / 2, 1e-6)
        step = 2.0 ** math.floor(math.log2(radius)) / 8
        center = _steps((low + high) / 2 / step) * step
        return cls(center, 2 ** (math.ceil(4 * math.log2(radius + step * 1.1)) / 4))


def _steps(value):
    """Whole numbers nearby, which change between the round numbers that people like."""
    return np.floor(value + 0.37)


@dataclass(frozen=True)
class Aim:
    """One map's camera: orthographic where half_angle is 0, looking along a Parameter or a fixed vector [3].

    Where `along` is None it looks from `origin` at the scene's centre.
    """

    bounds: Bounds
    origin: Parameter | None
    along: Parameter | np.ndarray | None
    half_angle: float

    def matrix(self, size: int, border: float) -> np.ndarray:
        """[4, 4] world to homogeneous texels and depth, in diameters of the scene."""
        linear = self._camera(size, border) @ self._axes()[0]
        origin = self.bounds.center if self.origin is None else self.origin.host()
        last = np.zeros(4) if self.half_angle else np.array([size / 2, size / 2, 1.0, 1.0])
        return np.column_stack([linear, last - linear @ origin])

    def adjoint(self, size: int, border: float, gradient: np.ndarray) -> list[tuple[Parameter, np.ndarray]]:
        """From dL/dmatrix [4, 4] to the light's position and direction."""
        (axes, across, length), camera = self._axes(), self._camera(size, border)
        right, _up, ahead = axes
        origin = self.bounds.center if self.origin is None else self.origin.host()
        to_right, to_up, to_ahead = camera.T @ (gradient[:, :3] - np.outer(gradient[:, 3], origin))
        to_right, to_ahead = to_right + np.cross(ahead, to_up), to_ahead + np.cross(to_up, right)
        lean = np.cross(ahead, across)
        to_lean = (to_right - right * right.dot(to_right)) / np.linalg.norm(lean)
        to_ahead = to_ahead + np.cross(across, to_lean)
        to_way = (to_ahead - ahead * ahead.dot(to_ahead)) / length
        found = []
        if isinstance(self.along, Parameter):
            found.append((self.along, to_way))
        if self.origin is not None:
            to_origin = -(camera @ axes).T @ gradient[:, 3]
            found.append((self.origin, to_origin - to_way if self.along is None else to_origin))
        return found

    def range(self) -> tuple[float, float, float, float]:
        """Near and far for the search, then where depths in the map begin and, from there, end."""
        if not self.half_angle:
            return 0.25, 1.75, 0.5, 1.0
        assert self.origin is not None
        away = float(_steps(4 * np.linalg.norm(self.origin.host() - self.bounds.center) / self.bounds.radius)) / 8
        begin = max(away - 0.55, 0.0)
        return max(begin, 1e-3), away + 0.7, begin, away + 0.6 - begin

    def texel(self, size: int, border: float) -> float:
        """A texel's side where the homogeneous w is 1, in world units."""
        if self.half_angle:
            return 2 * self.bounds.radius * math.tan(self.half_angle) / (size / 2 - border)
        return self.bounds.radius / (size / 2 - border)

    def _camera(self, size: int, border: float) -> np.ndarray:
        """[4, 3] from the axes' coordinates to homogeneous texels and depth."""
        scale, middle = 1 / (2 * self.bounds.radius), size / 2
        if self.half_angle:
            focal = (middle - border) / math.tan(self.half_angle)
            return scale * np.array([[focal, 0, middle], [0, -focal, middle], [0, 0, 1], [0, 0, 1]])
        focal = (middle - border) / self.bounds.radius
        return np.array([[focal, 0, 0], [0, -focal, 0], [0, 0, 0], [0, 0, scale]])

    def _axes(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Rows right, up and ahead; the world axis that `right` is perpendicular to; the length of the way ahead."""
        way = self.along.host() if isinstance(self.along, Parameter) else self.along
        if way is None:
            assert self.origin is not None
            way = self.bounds.center - self.origin.host()
        length = float(np.linalg.norm(way))
        ahead, length = (way / length, length) if length > 1e-12 else (np.array([0.0, -1.0, 0.0]), math.inf)
        across = np.eye(3)[np.argmin(np.abs(ahead) + np.array([0.0, 0.2, 0.1]))]
        right = np.cross(ahead, across)
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(right, ahead), ahead]), across, length


def aims(light: CastingLight, bounds: Bounds) -> list[Aim]:
    """The cameras of a light's maps: one, or six in a cube for a point amid the scene and for a very wide spot."""
    if isinstance(light, DirectionalLight):
        return [Aim(bounds, None, light.direction, 0.0)]
    away = float(np.linalg.norm(light.position.host() - bounds.center))
    angle = _rounded(math.asin(bounds.radius / away)) if away > bounds.radius else math.pi
    if isinstance(light, SpotLight) and (cutoff := _rounded(float(light.cutoff.host()))) <= min(WIDEST, angle):
        return [Aim(bounds, light.position, light.direction, cutoff)]
    if angle <= WIDEST:
        return [Aim(bounds, light.position, None, angle)]
    return [Aim(bounds, light.position, face, math.pi / 4) for face in CUBE]


def _rounded(angle: float) -> float:
    """Up to one of eight angles between one and the double of it."""
    return 2.0 ** ((float(_steps(8 * math.log2(max(angle, 1e-6)))) + 1) / 8)


class LightViews(Views):
    """The cameras of all lights' maps, as the rasterizer's search takes them."""

    def __init__(self, aims: Sequence[Aim], size: int, border: float) -> None:
        self.count, self.width, self.height = len(aims), size, size
        self.projection = Array((self.count, 16))
        ranges = [aim.range() for aim in aims]
        self.table = constant([(aim.half_angle > 0, *range[:2]) for aim, range in zip(aims, ranges, strict=True)])
        self.ranges = constant([range[2:] for range in ranges])
        inputs = [p for aim in aims for p in (aim.origin, aim.along) if isinstance(p, Parameter)]

        def forward() -> None:
            self.projection.set(np.stack([aim.matrix(size, border).reshape(16) for aim in aims]))

        def backward() -> None:
            gradients = self.projection.grad_numpy().astype(np.float64).reshape(-1, 4, 4)
            for aim, gradient in zip(aims, gradients, strict=True):
                for parameter, found in aim.adjoint(size, border, gradient):
                    if needs(parameter):
                        parameter.set_grad(parameter.grad_numpy() + found)

        run(Operation(forward, backward, inputs, [self.projection], "light cameras"))


def check_lighting(settings: Rasterizer) -> None:
    """Raise a SceneError where a rasterizer's settings of shadows and ambient occlusion make no sense."""
    size, box, bias = settings.shadow_resolution, settings.shadow_softness, settings.shadow_bias
    if settings.shadows not in SHADOWS:
        raise SceneError("renderer.shadows", f"is {settings.shadows!r}", f"choose one of {', '.join(SHADOWS)}")
    if not (16 <= size <= 8192 and 1 <= box <= size // 8):
        what = f"is {size} with shadow_softness {box}"
        raise SceneError("renderer.shadow_resolution", what, "give 16 to 8192 texels, and a softness of 1 to an eighth")
    if bias is not None and not 0 < bias <= size / 8:
        raise SceneError("renderer.shadow_bias", f"is {bias}", "give texels above 0, to an eighth of shadow_resolution")
    if settings.ambient_occlusion is not None and not 0 < settings.ambient_occlusion < math.inf:
        where, mend = "renderer.ambient_occlusion", "give a positive radius in world units"
        raise SceneError(where, f"is {settings.ambient_occlusion}", mend)
    if settings.ambient_occlusion is not None and settings.shader == "gouraud":
        where, mend = "renderer.ambient_occlusion", 'choose the shader "phong" or "flat"'
        raise SceneError(where, 'looks at pixels, and shader = "gouraud" lights corners', mend)


def shadows(settings: Rasterizer, scene: Scene, surface: MeshSurface) -> dict[str, Array]:
    """Light name -> [n, 1] share that every entry of the surface sees, for lights that cast shadows, if wanted."""
    lights = {name: one for name, one in scene.lights.items() if isinstance(one, CastingLight)}
    world = surface.entries.world
    if settings.shadows == "none" or not lights or not world.pack.faces:
        return {}
    size, box = settings.shadow_resolution, settings.shadow_softness
    bias = settings.shadow_bias
    if bias is None:  # moments know how depth varies within the window, compared depths have to clear it
        bias = box / 2 + 1.0 if settings.shadows == "soft" else 0.5
    border = box / 2 + bias + 1.5
    with unrecorded():
        bounds = Bounds.of(world.positions.numpy())
    looks = {name: aims(light, bounds) for name, light in lights.items()}
    views = LightViews([aim for own in looks.values() for aim in own], size, border)
    image = _maps(settings.shadows, world, views)
    points = interpolated(surface.entries, surface.bary, world.positions, world.pack.triangles)
    normals = unit_normals(surface)
    found, first = {}, 0
    for name, own in looks.items():
        side = own[0].texel(size, border)
        lit = _Lit(views, first, len(own), surface, box, bias * side, bias / 5 * side / (2 * bounds.radius))
        found[name] = lit.share(image, lit.points(points, normals))
        first += len(own)
    return found


def _maps(kind: str, world: World, views: LightViews) -> Array:
    """[views, R, R, C] depth in all views, and its square unless depths are compared."""
    screen = project_points(world.positions, views)
    with unrecorded():
        found = find(world, views, screen, False)
    depth = depths(found.entries, barycentrics(found.entries))
    channels = kernels.COMPARE if kind == "soft" else kernels.VARIANCE
    image = _to_map(found, views, depth, channels)
    return Antialias(found).apply(image) if kind == "antialias" else image


def _to_map(found: Found, views: LightViews, depth: Array, channels: int) -> Array:
    out = Array((views.count, views.height, views.width, channels))
    texel_entry = found.pixel_entry  # a name that keeps it until the backward pass

    def forward() -> None:
        kernels.to_map(out.rows, views.width, channels, texel_entry.ndarray, depth.value, views.ranges.value, out.value)

    def backward() -> None:
        kernels.to_map_adjoint(out.rows, channels, texel_entry.ndarray, out.value, out.grad, depth.grad)

    run(Operation(forward, backward, [depth], [out], "shadow maps"))
    return out


@dataclass
class _Lit:
    """A surface under one light, whose `count` views begin at `first`; `lift` and `soft` are lengths where w is 1."""

    views: LightViews
    first: int
    count: int
    surface: MeshSurface
    box: int
    lift: float
    soft: float

    def __post_init__(self) -> None:
        self.view = Buffer((self.surface.capacity,), "int")

    def points(self, positions: Array, normals: Array) -> Array:
        """[n, 4] the entries in the light's eyes, lifted along their normals."""
        views, entries, view = self.views, self.surface.count, self.view.ndarray
        projection, out = views.projection, Array((self.surface.capacity, 4))
        given = (positions.value, normals.value, projection.value)

        def forward() -> None:
            kernels.to_light(entries, self.first, self.count, self.lift, *given, view, out.value)

        def backward() -> None:
            kernels.to_light_adjoint(entries, self.lift, *given, view, out.grad, positions.grad, normals.grad)
            if needs(projection):
                chunks = runtime.reduction_chunks()
                part = Buffer((chunks * views.count * 16,))
                part.ndarray.fill(0.0)
                kernels.to_light_matrix_adjoint(
                    chunks, views.count, entries, self.lift, *given, view, out.grad, part.ndarray,
                    runtime.chunk_block(),
                )  # fmt: skip
                accumulate.collect(chunks, views.count, 16, part.ndarray, projection.grad)

        run(Operation(forward, backward, [positions, normals, projection], [out], "in the light's eyes"))
        return out

    def share(self, image: Array, points: Array) -> Array:
        """[n, 1] how much of the light comes to the points, by the maps."""
        views, entries, size, mode = self.views, self.surface.count, self.views.width, image.channels
        out = Array((self.surface.capacity, 1))
        given = (views.ranges.value, self.view.ndarray, points.value, image.value)

        def forward() -> None:
            kernels.look_up(mode, entries, size, self.box, self.soft, *given, out.value)

        def backward() -> None:
            slopes = Buffer((self.surface.capacity, mode))
            kernels.look_up_adjoint(
                mode, entries, size, self.box, self.soft, *given, out.grad, points.grad, slopes.ndarray
            )
            chunks, rows = runtime.chunks(), self.count * size * size
            part = Buffer((chunks * rows * mode,))
            part.ndarray.fill(0.0)
            kernels.spread(
                mode, chunks, self.first, rows, entries, size, self.box, self.soft, *given, slopes.ndarray,
                part.ndarray, not runtime.on_cpu(),
            )  # fmt: skip
            kernels.add_to_map(chunks, rows, mode, self.first * size * size, part.ndarray, image.grad)

        run(Operation(forward, backward, [image, points], [out], "shadows"))
        return out
