"""Which triangles each pixel sees: tiles, then the nearest triangle. No gradient flows here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.kernels.raster import find as kernels
from tidr.kernels.raster import tiles as tiling

from .entries import Entries
from .geometry import World
from .views import Views

if TYPE_CHECKING:
    from .raster import Rasterizer


@dataclass
class Found:
    """The visibility of one render: face and nearness per pixel [B * H * W], and the entries made of them.

    pixel_entry: what every pixel shows, -1 for nothing; felt_entry: what its gradient reaches. settings: whose render.
    """

    entries: Entries
    face: Buffer
    nearest: Buffer
    pixel_entry: Buffer
    felt_entry: Buffer
    settings: Rasterizer = field(init=False)


def find(world: World, views: Views, screen: Array, cull_back: bool) -> Found:
    """Nearest triangle of every pixel."""
    pixels = views.count * views.height * views.width
    face, nearest = Buffer((pixels,), "int"), Buffer((pixels,))
    tiles = bin_triangles(world, views, screen, cull_back)
    cover = kernels.cover if runtime.on_cpu() else kernels.cover_by_pixel
    cover(
        views.count, world.pack.faces, views.width, views.height, views.table.value, tiles.polygon.ndarray,
        tiles.box.ndarray, tiles.start.ndarray, tiles.faces.ndarray, nearest.ndarray, face.ndarray,
    )  # fmt: skip
    entries, pixel_entry = entries_of(face, world, views, screen)
    return Found(entries, face, nearest, pixel_entry, pixel_entry)


def entries_of(face: Buffer, world: World, views: Views, screen: Array) -> tuple[Entries, Buffer]:
    """One entry for each pixel [B * H * W] with a triangle, and every pixel's entry or -1."""
    rows, pixels = views.count * views.height, views.count * views.height * views.width
    row_start = Buffer((rows + 1,), "int")
    kernels.count_entries(rows, views.width, face.ndarray, row_start.ndarray)
    tiling.scan(rows + 1, row_start.ndarray)
    count = int(row_start.ndarray[rows])
    place, entry_face, pixel_entry = (Buffer((size,), "int") for size in (3 * pixels, pixels, pixels))
    kernels.list_entries(
        views.count,
        views.width,
        views.height,
        face.ndarray,
        row_start.ndarray,
        place.ndarray,
        entry_face.ndarray,
        pixel_entry.ndarray,
    )
    return Entries(count, pixels, place, entry_face, views, world, screen), pixel_entry


@dataclass
class Tiles:
    """Screen polygons and boxes of all triangles, and per tile the triangles that may touch it."""

    polygon: Buffer
    box: Buffer
    start: Buffer
    faces: Buffer


_list_capacity: dict[tuple, int] = {}


def bin_triangles(
    world: World,
    views: Views,
    screen: Array,
    cull_back: bool,
    margin: float = 0.0,
    growth: float = 0.0,
    whole: bool = False,
) -> Tiles:
    """Sort triangles into tiles; boxes grow by `margin` pixels and `growth` of their extent.

    `whole` leaves out triangles that cross the near plane.
    """
    triangles = views.count * world.pack.faces
    across, down = -(-views.width // tiling.TILE), -(-views.height // tiling.TILE)
    count = views.count * across * down
    polygon, box = Buffer((triangles * 11,)), Buffer((triangles * 5,), "int")
    start, cursor = Buffer((count + 1,), "int"), Buffer((count + 1,), "int")
    tiling.set_up(
        views.count, world.positions.rows, world.pack.faces, views.width, views.height, margin, growth, int(whole),
        int(cull_back), world.pack.triangles, screen.value, views.table.value, polygon.ndarray, box.ndarray,
        start.ndarray, runtime.on_cpu(),
    )  # fmt: skip
    big, none = Buffer((triangles + 1,), "int"), Buffer((1,), "int")
    shape = (world.pack.faces, views.width, views.height, box.ndarray, start.ndarray, cursor.ndarray)
    many = 0
    if not runtime.on_cpu():
        tiling.bin_small(views.count, *shape, none.ndarray, big.ndarray, False)
        many = int(big.ndarray[0])
        tiling.bin_big(many, *shape, none.ndarray, big.ndarray, False)
    tiling.scan(count + 1, start.ndarray)
    total = int(start.ndarray[count])
    key = (triangles, views.width, views.height, views.count)
    capacity = _list_capacity.setdefault(key, 2 * triangles + 4 * count)
    while capacity < total:
        capacity *= 2
    _list_capacity[key] = capacity
    faces = Buffer((capacity,), "int")
    if runtime.on_cpu():
        tiling.fill_tiles(views.count, *shape, faces.ndarray)
    else:
        tiling.bin_small(views.count, *shape, faces.ndarray, big.ndarray, True)
        tiling.bin_big(many, *shape, faces.ndarray, big.ndarray, True)
    return Tiles(polygon, box, start, faces)
