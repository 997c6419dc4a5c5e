"""What a rasterizer found: one entry per (pixel, triangle) pair, with its barycentrics."""

from dataclasses import dataclass

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.raster import gather as kernels
from tidr.kernels.raster import project

from .geometry import World
from .views import Views


@dataclass
class Entries:
    """`count` entries in scan order; place [n * 3] is view, row and column, face [n] the packed triangle.

    clip: how kernels/raster/gather.py treats entries whose pixel lies outside their triangle (soft edges). `screen`
    [B * V, 4] is what the projection made of the packed vertices.
    """

    count: int
    capacity: int
    place: Buffer
    face: Buffer
    views: Views
    world: World
    screen: Array
    clip: int = 0

    def scatter_target(self, rows: int, channels: int, chunks: int | None = None) -> Buffer:
        """Zeroed private accumulators [chunks * rows * channels] for an adjoint that scatters."""
        part = Buffer(((chunks or runtime.chunks()) * rows * channels,))
        part.ndarray.fill(0.0)
        return part


def collect(part: Buffer, target: Array) -> None:
    """target.grad += the sum of private accumulators."""
    accumulate.collect(runtime.chunks(), target.rows, target.channels, part.ndarray, target.grad)


def project_points(positions: Array, views: Views) -> Array:
    """[B * N, 4] homogeneous pixels (column * w, row * w, w) and depth of positions [N, 3], world, in all views."""
    count, projection = positions.rows, views.projection
    screen = Array((views.count * count, 4))

    def forward() -> None:
        project.project(views.count, count, positions.value, projection.value, screen.value)

    def backward() -> None:
        if needs(positions):
            project.project_adjoint(views.count, count, projection.value, screen.grad, positions.grad)
        if needs(projection):
            chunks = runtime.reduction_chunks()
            part = Buffer((chunks * views.count * 16,))
            project.project_camera_adjoint(
                chunks, views.count, count, positions.value, screen.grad, part.ndarray, runtime.chunk_block()
            )
            accumulate.collect(chunks, views.count, 16, part.ndarray, projection.grad)

    run(Operation(forward, backward, [positions, projection], [screen], "project"))
    return screen


def barycentrics(entries: Entries) -> Array:
    """[n, 3] perspective-correct barycentrics of every entry."""
    bary = Array((entries.capacity, 3))
    screen, triangles = entries.screen, entries.world.pack.triangles
    vertices = entries.world.positions.rows

    def forward() -> None:
        kernels.barycentrics(
            entries.count, vertices, entries.clip, entries.place.ndarray,
            entries.face.ndarray, triangles, screen.value, bary.value,
        )  # fmt: skip

    def backward() -> None:
        part = entries.scatter_target(screen.rows, 4)
        kernels.barycentrics_adjoint(
            runtime.chunks(), screen.rows, entries.count, vertices, entries.clip,
            entries.place.ndarray, entries.face.ndarray, triangles, screen.value, bary.grad, part.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, screen)

    run(Operation(forward, backward, [screen], [bary], "barycentrics"))
    return bary


def interpolated(entries: Entries, bary: Array, attribute: Array, corners, by_view: int = 0) -> Array:
    """[n, C] attribute (rows indexed by corners [F, 3], after by_view times the view) at every entry."""
    out = Array((entries.capacity, attribute.channels))

    def forward() -> None:
        kernels.interpolate(
            entries.count, attribute.channels, 0, by_view, entries.place.ndarray, entries.face.ndarray, corners,
            attribute.value, bary.value, out.value,
        )  # fmt: skip

    def backward() -> None:
        part = entries.scatter_target(attribute.rows, attribute.channels)
        kernels.interpolate_adjoint(
            runtime.chunks(), attribute.rows, attribute.channels, entries.count, attribute.channels, 0, by_view, 1,
            entries.place.ndarray,
            entries.face.ndarray, corners, attribute.value, bary.value, out.grad, bary.grad, part.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, attribute)

    run(Operation(forward, backward, [bary, attribute], [out], "interpolate"))
    return out


def depths(entries: Entries, bary: Array) -> Array:
    """[n, 1] distance along the camera axis at every entry."""
    out, screen, pack = Array((entries.capacity, 1)), entries.screen, entries.world.pack
    vertices = entries.world.positions.rows
    place, face = entries.place.ndarray, entries.face.ndarray

    def forward() -> None:
        kernels.interpolate(
            entries.count, 1, 3, vertices, place, face, pack.triangles, screen.value, bary.value, out.value
        )

    def backward() -> None:
        part = entries.scatter_target(screen.rows, 4)
        kernels.interpolate_adjoint(
            runtime.chunks(), screen.rows, 4, entries.count, 1, 3, vertices, 1, place, face, pack.triangles,
            screen.value, bary.value, out.grad, bary.grad, part.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, screen)

    run(Operation(forward, backward, [bary, screen], [out], "depth"))
    return out
