"""One render with soft edges (Liu et al. 2019), as operations on the tape."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.raster import gather
from tidr.kernels.raster import soft as kernels
from tidr.kernels.raster import soft_blend as blend_kernels
from tidr.kernels.raster import tiles as tiling
from tidr.scene.graph import Scene

from . import background, geometry, mesh_colors
from .entries import Entries, barycentrics, collect, depths, interpolated
from .mesh_surface import MeshSurface
from .shading import unit_normals
from .views import Views
from .visibility import bin_triangles

if TYPE_CHECKING:
    from .raster import Rasterizer

DISTANCES = ("euclidean", "barycentric", "hard")
ALPHA_MODES = ("product", "sum", "hard")
SIGMA, FACES = 1e-5, 16  # squared NDC, and triangles a pixel, unless given
CUTOFF = math.log(1 / 1e-4 - 1)  # D falls below 1e-4 where the squared distance passes CUTOFF * sigma
BACKGROUND = {"softmax": (1e-3, 0.0), "pytorch3d": (1e-10, 1e-10)}  # nearness, and least weight beside the nearest


class SoftFrame:
    """The entries of one render with their probabilities; channels are weighted sums over each pixel's entries."""

    def __init__(self, settings: Rasterizer, scene: Scene, world: geometry.World, views: Views, screen: Array) -> None:
        self.settings, self.scene, self.world, self.views = settings, scene, world, views
        self.mode = DISTANCES.index(settings.distance)
        self.pixels = views.count * views.height * views.width
        # sigma counts in NDC, whose two units span the image's shorter side.
        to_pixels = (min(views.width, views.height) / 2) ** 2 if self.mode == kernels.EUCLIDEAN else 1.0
        sigma, self.limit = settings.sigma or SIGMA, settings.faces_per_pixel or FACES
        self.sharpness = 1.0 / (sigma * to_pixels)
        radius = CUTOFF * sigma if settings.blur_radius is None else settings.blur_radius
        self.reach = radius * to_pixels
        self.clip = gather.RAISE if settings.color_mode == "pytorch3d" else gather.CLAMP
        with unrecorded():
            self._find(screen)
        self._weights: tuple[Array, Array] | None = None

    def makers(self) -> dict[str, Callable[[], Array]]:
        """A function for every channel that this frame can make."""
        made: dict[str, Callable[[], Array]] = {
            "rgb": self.rgb,
            "alpha": self.alpha,
            "depth": lambda: self.to_pixels(self.depths),
            "normal": lambda: self.to_pixels(unit_normals(MeshSurface(self.entries, self.bary))),
            "uv": lambda: self._interpolated(self.world.uvs, self.world.pack.uv_corners),
            "barycentrics": lambda: self.to_pixels(self.bary),
            "ids": self.ids,
        }
        for name in {key for instance in self.world.pack.instances for key in instance.mesh.attributes}:
            made.setdefault(
                name,
                lambda name=name: self._interpolated(
                    geometry.attribute(self.world.pack, name), self.world.pack.triangles
                ),
            )
        return made

    def rgb(self) -> Array:
        colors = mesh_colors.colors(self.settings, self.scene, self.entries, self.bary)
        image = self.to_pixels(colors, background.constant_color(self.scene))
        through = self.weights()[1]
        return background.before_environment(self.scene, image, lambda: through, self.views.rays, clear=True)

    @cached_property
    def bary(self) -> Array:
        return barycentrics(self.entries)

    @cached_property
    def depths(self) -> Array:
        return depths(self.entries, self.bary)

    def alpha(self) -> Array:
        out = self._empty(1)
        start, probability = self.near_start.ndarray, self.probability
        mode, faces = ALPHA_MODES.index(self.settings.alpha_mode), max(self.world.pack.faces, 1)

        def forward() -> None:
            blend_kernels.silhouette(self.pixels, mode, faces, start, probability.value, out.value)

        def backward() -> None:
            blend_kernels.silhouette_adjoint(
                self.pixels, mode, faces, start, probability.value, out.grad, probability.grad
            )

        run(Operation(forward, backward, [probability], [out], "silhouette"))
        return out

    def ids(self) -> Array:
        """The nearest triangle within reach of each pixel, -1 where none is."""
        out = self._empty(1)
        start = self.near_start.ndarray.to_numpy()[: self.pixels + 1]
        face = self.near.face.ndarray.to_numpy()
        nearest = np.where(start[1:] > start[:-1], face[np.minimum(start[:-1], len(face) - 1)], -1)
        out.set(nearest.reshape(out.shape))
        return out

    def to_pixels(self, values: Array, background=None) -> Array:
        """[B, H, W, C] of entry values [n, C] under the depth softmax; `background` (zeros when None) behind."""
        out = self._empty(values.channels)
        weight, rest = self.weights()
        behind = constant([(0.0,) * values.channels if background is None else background])
        start = self.pixel_start.ndarray

        def forward() -> None:
            blend_kernels.aggregate(
                self.pixels, out.channels, start, weight.value, rest.value, values.value, behind.value, out.value
            )

        def backward() -> None:
            blend_kernels.aggregate_adjoint(
                self.pixels, out.channels, start, weight.value, values.value, behind.value, out.grad, weight.grad,
                rest.grad, values.grad,
            )  # fmt: skip

        run(Operation(forward, backward, [values, weight, rest], [out], "aggregate"))
        return out

    def weights(self) -> tuple[Array, Array]:
        """[n, 1] weight of every entry and [pixels, 1] of the background."""
        if self._weights is None:
            self._weights = self._blend()
        return self._weights

    def _blend(self) -> tuple[Array, Array]:
        weight, rest = Array((self.entries.capacity, 1)), Array((self.pixels, 1))
        start = self.pixel_start.ndarray
        if self.settings.color_mode == "hard":
            with unrecorded():
                blend_kernels.hard_weights(self.pixels, start, weight.value, rest.value)
            return weight, rest
        probability, depth = self.probability, self.depths
        near, far = self.settings.depth_range
        background = BACKGROUND[self.settings.color_mode]
        constants = (self.pixels, self.settings.gamma, near, far, *background, start, self._shown[2].ndarray)

        def forward() -> None:
            blend_kernels.weights(*constants, probability.value, depth.value, weight.value, rest.value)

        def backward() -> None:
            blend_kernels.weights_adjoint(
                *constants, probability.value, depth.value, weight.value, rest.value, weight.grad, rest.grad,
                probability.grad, depth.grad,
            )  # fmt: skip

        run(Operation(forward, backward, [probability, depth], [weight, rest], "softmax"))
        return weight, rest

    @property
    def entries(self) -> Entries:
        """What is seen of all that is near: what has a weight in a pixel's colour."""
        return self._shown[0]

    @property
    def pixel_start(self) -> Buffer:
        """[pixels + 1] the first entry of every pixel."""
        return self._shown[1]

    @cached_property
    def _shown(self) -> tuple[Entries, Buffer, Buffer]:
        """The entries, the first of every pixel, and which of those near they are."""
        near, probability, settings = self.near, self.probability, self.settings
        epsilon = BACKGROUND.get(settings.color_mode, (0.0, 0.0))[0]
        kept, count, start = (Buffer((size,), "int") for size in (near.capacity, self.pixels, self.pixels + 1))
        with unrecorded():
            blend_kernels.keep(
                self.pixels, int(settings.color_mode == "hard"), settings.gamma, *settings.depth_range, epsilon,
                self.near_start.ndarray, probability.value, self.near_depth.ndarray, kept.ndarray, count.ndarray,
            )  # fmt: skip
            rows, row_start, total = self._rows(count)
            capacity = self._capacity(total, self.pixels)
            place, face, source = (Buffer((size * capacity,), "int") for size in (3, 1, 1))
            blend_kernels.list_kept(
                rows, self.views.width, self.near_start.ndarray, kept.ndarray, row_start.ndarray, near.place.ndarray,
                near.face.ndarray, start.ndarray, place.ndarray, face.ndarray, source.ndarray,
            )  # fmt: skip
        return replace(near, count=total, capacity=capacity, place=place, face=face), start, source

    @cached_property
    def probability(self) -> Array:
        entries, screen = self.near, self.near.screen
        out = Array((entries.capacity, 1))
        shape = (self.world.positions.rows, self.mode, self.sharpness)
        found = (entries.place.ndarray, entries.face.ndarray, self.side.ndarray, self.world.pack.triangles)

        def forward() -> None:
            kernels.probability(entries.count, *shape, *found, screen.value, out.value)

        def backward() -> None:
            if not needs(screen) or self.mode == kernels.HARD:
                return
            part = entries.scatter_target(screen.rows, 4)
            kernels.probability_adjoint(
                runtime.chunks(), screen.rows, entries.count, *shape, *found, screen.value, out.value, out.grad,
                part.ndarray, not runtime.on_cpu(),
            )  # fmt: skip
            collect(part, screen)

        run(Operation(forward, backward, [screen], [out], "probability"))
        return out

    def _find(self, screen: Array) -> None:
        """Lists what is near every pixel, nearest first, with its depth and the side of an edge that it is on."""
        views, world, limit = self.views, self.world, self.limit
        margin, growth = math.sqrt(self.reach), 0.0
        if self.mode == kernels.BARYCENTRIC:
            # min(b) > -t is the triangle scaled about its centroid by 1 + 3 t.
            margin, growth = 0.0, 2 * math.sqrt(self.reach)
        elif self.mode == kernels.HARD:
            margin = 0.0
        tiles = bin_triangles(world, views, screen, self.settings.cull_back, margin, growth, whole=True)
        count = Buffer((self.pixels,), "int")
        face, key = Buffer((self.pixels * limit,), "int"), Buffer((self.pixels * limit,))
        kernels.find(
            views.count, world.positions.rows, world.pack.faces, views.width, views.height, limit, self.mode,
            self.clip, self.reach, views.table.value, world.pack.triangles, screen.value, tiles.polygon.ndarray,
            tiles.box.ndarray, tiles.start.ndarray, tiles.faces.ndarray, count.ndarray, face.ndarray, key.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        _, row_start, total = self._rows(count)
        capacity = self._capacity(total, 2 * self.pixels)
        place, near_face, self.side = (Buffer((size * capacity,), "int") for size in (3, 1, 1))
        self.near_depth, self.near_start = Buffer((capacity,)), Buffer((self.pixels + 1,), "int")
        kernels.list_entries(
            views.count, views.width, views.height, limit, count.ndarray, face.ndarray, key.ndarray,
            row_start.ndarray, place.ndarray, near_face.ndarray, self.side.ndarray, self.near_depth.ndarray,
            self.near_start.ndarray,
        )  # fmt: skip
        self.near = Entries(total, capacity, place, near_face, views, world, screen, self.clip)

    def _rows(self, count: Buffer) -> tuple[int, Buffer, int]:
        """Rows of pixels, the first entry of each [rows + 1] where pixels have `count` [pixels], and all entries."""
        rows = self.views.count * self.views.height
        row_start = Buffer((rows + 1,), "int")
        kernels.count_rows(rows, self.views.width, count.ndarray, row_start.ndarray)
        tiling.scan(rows + 1, row_start.ndarray)
        return rows, row_start, int(row_start.ndarray[rows])

    def _capacity(self, total: int, least: int) -> int:
        """Room for the entries: `least`, doubled when outgrown and kept, so that a fit stops growing."""
        key = (self.pixels, self.limit, least, runtime.generation())
        capacity = _capacities.setdefault(key, least)
        while capacity < total:
            capacity *= 2
        _capacities[key] = capacity
        return capacity

    def _interpolated(self, attribute: Array, corners) -> Array:
        return self.to_pixels(interpolated(self.entries, self.bary, attribute, corners))

    def _empty(self, channels: int) -> Array:
        return Array((self.views.count, self.views.height, self.views.width, channels))


_capacities: dict[tuple, int] = {}
