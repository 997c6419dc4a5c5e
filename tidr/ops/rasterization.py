"""`rasterize` and `peel`: clip-space triangles into pixel tensors (Laine et al. 2020), without a scene."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from tidr import runtime
from tidr.array import Array, constant, integers
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.raster import clip as kernels
from tidr.kernels.raster import find, tiles
from tidr.renderers.visibility import Tiles, bin_triangles

from .inputs import clip_positions, triangles_of

CLIP_SPACE = (2.0, 0.0, 1.0)  # as kernels/raster/tiles.py has it: nearness -depth / w, from near 0 to far 1


def rasterize(positions, triangles, resolution: tuple[int, int], ranges=None) -> tuple[Array, Array]:
    """Which triangle each pixel sees, where in it, and how that changes from pixel to pixel.

    Args:
        positions: [N, V, 4] clip-space positions of N images that share the triangles; or [V, 4], one image, or one
            for each of the ranges. OpenGL's clip space: y up, seen where -w <= z <= w. Triangles are clipped at the
            near plane and drawn from both sides.
        triangles: [F, 3] whole numbers, or a `Topology` of them.
        resolution: (H, W) in pixels.
        ranges: [N, 2] first triangle and number of triangles of each image, with positions [V, 4].

    Returns:
        rast [N, H, W, 4]: u, v (weights of a triangle's first and second vertex, the third has 1 - u - v), z/w, and the
        triangle's index + 1; all 0 where a pixel is empty. slopes [N, H, W, 4]: du/dX, du/dY, dv/dX, dv/dY under one
        pixel's step to the right (X) and down (Y). Row 0 is on top, pixel centres lie at +0.5. Of triangles that are
        equally near the first is seen.

    Gradients reach the x, y and w of positions through u, v and the slopes.

    What this does not differentiate: which triangle a pixel sees (`antialias` does at silhouettes), z/w and the index.

    Raises:
        SceneError: wrong shapes, an index out of range, numbers that are not finite, 2^24 triangles or more in 32 bits,
            or a vertex with w <= 0 that does not lie behind the near plane (z >= -w), as in a reversed depth range.
    """
    drawing = _Drawing("rasterize", positions, triangles, resolution, ranges)
    rast = drawing.empty()
    with unrecorded():
        for group in drawing.groups:
            face, nearest = group.buffers()
            cover = find.cover if runtime.on_cpu() else find.cover_by_pixel
            cover(*group.arguments(), nearest.ndarray, face.ndarray)
            group.store(rast, face, nearest)
    return drawing.weights(rast)


def peel(positions, triangles, resolution: tuple[int, int], ranges=None) -> Iterator[tuple[Array, Array]]:
    """Depth peeling: what `rasterize` returns for the nearest triangles, then for those behind them, and so on.

    Ends after the last layer that covers a pixel. Equally near triangles come in the order of their indices.
    """
    drawing = _Drawing("peel", positions, triangles, resolution, ranges)
    layer = [group.buffers() for group in drawing.groups]
    with unrecorded():
        for group, (face, nearest) in zip(drawing.groups, layer, strict=True):
            kernels.restart(group.pixels, nearest.ndarray, face.ndarray)
    while True:
        rast, covered = drawing.empty(), 0
        with unrecorded():
            for group, (face, nearest) in zip(drawing.groups, layer, strict=True):
                kernels.next_layer(*group.arguments(), nearest.ndarray, face.ndarray)
                group.store(rast, face, nearest)
                covered += group.covered(face)
        if not covered:
            return
        yield drawing.weights(rast)


@dataclass
class _Group:
    """Images drawn together, from number `first` on, with the same triangles."""

    first: int
    views: Any
    world: Any
    first_face: int
    tiles: Tiles

    @property
    def pixels(self) -> int:
        return self.views.count * self.views.height * self.views.width

    def buffers(self) -> tuple[Buffer, Buffer]:
        """Uninitialised triangle and nearness of every pixel."""
        return Buffer((self.pixels,), "int"), Buffer((self.pixels,))

    def arguments(self) -> tuple:
        """What kernels that look for triangles begin with."""
        views, found = self.views, self.tiles
        size = (views.count, self.world.pack.faces, views.width, views.height)
        lists = (found.polygon, found.box, found.start, found.faces)
        return (*size, views.table.value, *(buffer.ndarray for buffer in lists))

    def store(self, rast: Array, face: Buffer, nearest: Buffer) -> None:
        kernels.store(
            self.pixels, self.first * self.views.height * self.views.width, self.first_face, face.ndarray,
            nearest.ndarray, rast.value,
        )  # fmt: skip

    def covered(self, face: Buffer) -> int:
        """Number of pixels that see a triangle."""
        rows = self.views.count * self.views.height
        row_start = Buffer((rows + 1,), "int")
        find.count_entries(rows, self.views.width, face.ndarray, row_start.ndarray)
        tiles.scan(rows + 1, row_start.ndarray)
        return int(row_start.ndarray[rows])


class _Drawing:
    """Checked arguments, the vertices on the screen and the triangles in their tiles."""

    def __init__(self, name: str, positions, triangles, resolution, ranges) -> None:
        self.height, self.width = _resolution(f"{name}.resolution", resolution)
        given, self.vertices = clip_positions(f"{name}.positions", positions)
        self.topology = triangles_of(f"{name}.triangles", triangles, self.vertices)
        if runtime.current().precision == 32 and self.topology.face_count >= 1 << 24:
            raise SceneError(f"{name}.triangles", "2^24 or more do not fit a 32-bit rast", "draw them in parts")
        self.stride = self.vertices if len(given.shape) == 3 else 0
        spans = None if ranges is None else _ranges(f"{name}.ranges", ranges, given, self.topology.face_count)
        self.images = given.shape[0] if self.stride else len(spans or [()])
        self.screen = screen_of(f"{name}.positions", given, self.width, self.height)
        with unrecorded():
            if spans is None:
                self.groups = [self._group(0, self.images, 0, self.topology.faces)]
            else:
                parts = [self.topology.faces[start : start + count] for start, count in spans]
                self.groups = [self._group(k, 1, spans[k][0], part) for k, part in enumerate(parts)]

    def _group(self, first: int, count: int, first_face: int, faces: np.ndarray) -> _Group:
        table, kept = constant([CLIP_SPACE] * count), integers(faces)
        # What the search for triangles reads of `Views` and of a scene's `World`.
        views: Any = SimpleNamespace(count=count, width=self.width, height=self.height, table=table)
        pack = SimpleNamespace(faces=len(faces), triangles=kept.ndarray, kept=kept)
        world: Any = SimpleNamespace(pack=pack, positions=SimpleNamespace(rows=self.stride))
        return _Group(first, views, world, first_face, bin_triangles(world, views, self.screen, cull_back=False))

    def empty(self) -> Array:
        return Array((self.images, self.height, self.width, 4))

    def weights(self, rast: Array) -> tuple[Array, Array]:
        """`rast` with u and v, and their slopes."""
        screen, slopes, topology = self.screen, self.empty(), self.topology
        size = (rast.rows, topology.face_count, self.stride, self.width, self.height)

        def forward() -> None:
            kernels.weights(*size, *topology.device("faces"), screen.value, rast.value, slopes.value)

        def backward() -> None:
            chunks = runtime.chunks()
            part = Buffer((chunks * screen.rows * 4,))
            part.ndarray.fill(0.0)
            kernels.weights_adjoint(
                chunks, screen.rows, *size, *topology.device("faces"), screen.value, rast.value, rast.grad, slopes.grad,
                part.ndarray, not runtime.on_cpu(),
            )  # fmt: skip
            accumulate.collect(chunks, screen.rows, 4, part.ndarray, screen.grad)

        run(Operation(forward, backward, [screen], [rast, slopes], "rasterize"))
        return rast, slopes


def screen_of(where: str, positions: Array, width: int, height: int) -> Array:
    """[rows, 4] column * w, row * w, w and (z + w) / 2 of clip-space positions, on the open tape."""
    screen, bad = Array((positions.rows, 4)), Buffer((1,), "int")

    def forward() -> None:
        kernels.to_screen(positions.rows, width, height, positions.value, screen.value, bad.ndarray)

    def backward() -> None:
        kernels.to_screen_adjoint(positions.rows, width, height, screen.grad, positions.grad)

    run(Operation(forward, backward, [positions], [screen], "clip to screen"))
    row = int(bad.ndarray[0]) - 1
    if row >= 0:
        what = f"row {row} has w <= 0 but does not lie behind the near plane (z >= -w)"
        raise SceneError(where, what, "give OpenGL clip space, where what is behind the eye has z < -w")
    return screen


def _resolution(where: str, resolution) -> tuple[int, int]:
    size = np.asarray(resolution)
    if size.shape != (2,) or size.dtype.kind not in "iu" or (size < 1).any() or size.prod() > 1 << 28:
        raise SceneError(where, f"is {resolution!r}", "give (H, W), whole numbers from 1 on, 2^28 pixels at most")
    return int(size[0]), int(size[1])


def _ranges(where: str, ranges, positions: Array, faces: int) -> list[tuple[int, int]]:
    table = np.asarray(ranges)
    if len(positions.shape) == 3:
        raise SceneError(where, "go with positions [V, 4]", f"positions are {list(positions.shape)}")
    if table.ndim != 2 or table.shape[1] != 2 or not len(table) or table.dtype.kind not in "iu":
        raise SceneError(where, f"got {table.dtype} {list(table.shape)}, expected whole numbers [N, 2]")
    bad = (table < 0).any(axis=1) | (table.sum(axis=1) > faces)
    if bad.any():
        row = int(bad.argmax())
        raise SceneError(
            where, f"row {row} is {table[row].tolist()}, there are {faces} triangles", "give (first, count)"
        )
    return [(int(start), int(count)) for start, count in table]
