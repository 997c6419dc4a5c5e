"""A voxel grid as a function of the position, and the differentiable steps that level sets are made of."""

from __future__ import annotations

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.implicit import field as kernels
from tidr.kernels.implicit import level_set, lowest, normals
from tidr.scene.voxels import VoxelGrid

from .rays import Rays


class GridField:
    """f = sign * (value - level) of a grid, negative inside; `box` [3, 3] is lower, upper, size (W, H, D)."""

    def __init__(self, grid: VoxelGrid) -> None:
        self.grid, self.values = grid, grid.values
        self.sign, self.level = (-1.0, 0.5) if grid.kind == "occupancy" else (1.0, 0.0)
        depth, height, width = grid.shape
        self.box = constant([grid.lower, grid.upper, (width, height, depth)])
        self.diagonal = float(np.linalg.norm(grid.upper - grid.lower))

    @property
    def cells(self) -> int:
        return self.values.rows

    @property
    def shape(self) -> tuple:
        """What kernels take to read the field."""
        return (self.values.value, self.box.value, self.sign, self.level)

    def node_gradients(self) -> Array:
        """[cells, 3] derivative of the values by the position, from central differences at cell centres."""
        depth, height, width = self.grid.shape
        out, values, box = Array((self.cells, 3)), self.values, self.box
        plane = width * height
        lines = (
            (depth * height, 1, width, 1, width),
            (depth * width, width, height, width, plane),
            (plane, plane, depth, plane, 0),
        )

        def forward() -> None:
            kernels.node_gradients(width, height, depth, values.value, box.value, out.value)

        def backward() -> None:
            for axis, line in enumerate(lines):
                kernels.node_gradients_adjoint(*line, axis, box.value, out.grad, values.grad)

        run(Operation(forward, backward, [values], [out], "field gradients"))
        return out

    def find_hits(self, rays: Rays, search: str | None, steps: int) -> Hits:
        """First change from outside to inside along object-space rays; call it inside `unrecorded`."""
        found, hit = Buffer((rays.count,)), Buffer((rays.count,), "int")
        smallest = 0.1 * float(self.grid.spacing.min())
        uniform = (search or ("uniform" if self.grid.kind == "occupancy" else "sphere")) == "uniform"
        level_set.find(
            rays.count, rays.origins.value, rays.directions.value, *self.shape, smallest, steps, uniform, found.ndarray,
            hit.ndarray,
        )  # fmt: skip
        return Hits(rays, found, hit)

    def hit_distances(self, rays: Rays, hits: Hits, mode: int, least: float) -> Array:
        """[n, 1] ray parameter of every hit, differentiable to the grid and to the rays."""
        out, values, box = Array((rays.count, 1)), self.values, self.box

        def forward() -> None:
            level_set.gather_hits(hits.count, hits.ray_of.ndarray, hits.found.ndarray, out.value)

        def backward() -> None:
            place = (hits.ray_of.ndarray, rays.origins.value, rays.directions.value, values.value, box.value, self.sign)
            if needs(rays.origins) or needs(rays.directions):
                level_set.hit_rays_adjoint(
                    hits.count, *place, mode, least, out.value, out.grad, rays.origins.grad, rays.directions.grad
                )
            if needs(values):
                chunks = runtime.chunks()
                part = zeroed(chunks * self.cells)
                level_set.hit_values_adjoint(
                    chunks, self.cells, hits.count, *place, mode, least, out.value, out.grad, part.ndarray,
                    not runtime.on_cpu(),
                )  # fmt: skip
                accumulate.collect(chunks, self.cells, 1, part.ndarray, values.grad)

        run(Operation(forward, backward, [values, rays.origins, rays.directions], [out], "hits"))
        return out

    def gradients(self, points: Array, count: int) -> Array:
        """[n, 3] derivative of the values at the first `count` of points [n, 3]: `node_gradients`, interpolated."""
        return sampled(self.node_gradients(), points, count, self.box)

    def colors(self, points: Array, rays: Rays, hits: Hits) -> Array | None:
        """[n, 3] the grid's colour at points [n, 3] of the hits."""
        color = self.grid.color
        if color is None:
            return None
        return sampled(color, points, hits.count, constant([self.grid.lower, self.grid.upper, color.shape[2::-1]]))

    def lowest_on_rays(self, rays: Rays, steps: int) -> Array:
        """[n, 1] smallest f along each ray inside the box; the box's diagonal, without gradient, where it misses."""
        places = RayPlaces(rays.count)
        flat = 1e-6 if runtime.current().precision == 64 else 1e-3

        def forward(out: Array) -> None:
            lowest.find(
                rays.count, steps, rays.origins.value, rays.directions.value, *self.shape, self.diagonal, flat,
                places.t.ndarray, places.axis.ndarray, places.inside.ndarray, out.value,
            )  # fmt: skip

        return self._on_rays(rays, places, forward, "lowest")

    def probed_on_rays(self, rays: Rays, hits: Hits, seed: int) -> Array:
        """[n, 1] f at each ray's hit, and where it has none at a random place in the box; t itself is held fixed."""
        places = RayPlaces(rays.count)

        def forward(out: Array) -> None:
            lowest.probe_places(
                rays.count, seed, rays.origins.value, rays.directions.value, self.box.value, hits.found.ndarray,
                hits.hit.ndarray, places.t.ndarray, places.axis.ndarray, places.inside.ndarray,
            )  # fmt: skip
            lowest.field_on_rays(
                rays.count, rays.origins.value, rays.directions.value, *self.shape, self.diagonal, places.t.ndarray,
                places.inside.ndarray, out.value,
            )  # fmt: skip

        return self._on_rays(rays, places, forward, "probe")

    def _on_rays(self, rays: Rays, places: RayPlaces, forward, name: str) -> Array:
        out, values, box = Array((rays.count, 1)), self.values, self.box
        t, axis, inside = places.t.ndarray, places.axis.ndarray, places.inside.ndarray

        def backward() -> None:
            if needs(rays.origins) or needs(rays.directions):
                lowest.rays_adjoint(
                    rays.count, rays.origins.value, rays.directions.value, values.value, box.value, self.sign, t, axis,
                    inside, out.grad, rays.origins.grad, rays.directions.grad,
                )  # fmt: skip
            if needs(values):
                chunks = runtime.chunks()
                part = zeroed(chunks * self.cells)
                lowest.values_adjoint(
                    chunks, self.cells, rays.count, rays.origins.value, rays.directions.value, box.value, self.sign, t,
                    inside, out.grad, part.ndarray, not runtime.on_cpu(),
                )  # fmt: skip
                accumulate.collect(chunks, self.cells, 1, part.ndarray, values.grad)

        inputs = [values, rays.origins, rays.directions]
        run(Operation(lambda: forward(out), backward, inputs, [out], name))
        return out


def sampled(values: Array, points: Array, count: int, box: Array) -> Array:
    """[n, C] values [cells, C], trilinear, at the first `count` of points [n, 3], object space."""
    channels = values.channels
    out = Array((points.rows, channels))

    def forward() -> None:
        kernels.sample(count, points.value, values.value, box.value, channels, out.value)

    def backward() -> None:
        if needs(points):
            kernels.sample_points_adjoint(
                count, points.value, values.value, box.value, channels, out.grad, points.grad
            )  # fmt: skip
        if needs(values):
            chunks = runtime.chunks()
            part = zeroed(chunks * values.rows * channels)
            kernels.sample_values_adjoint(
                chunks, values.rows, count, points.value, box.value, channels, out.grad, part.ndarray,
                not runtime.on_cpu(),
            )  # fmt: skip
            accumulate.collect(chunks, values.rows, channels, part.ndarray, values.grad)

    run(Operation(forward, backward, [values, points], [out], "sample"))
    return out


class Hits:
    """Which rays meet the surface: `count` of them, ray_of [n] in ray order, and the t of each ray before any gradient.

    entry_of_ray [n] is the place of a ray in that list, -1 where it hits nothing.
    """

    def __init__(self, rays: Rays, found: Buffer, hit: Buffer) -> None:
        self.found, self.hit = found, hit
        flags = hit.ndarray.to_numpy()[: rays.count]
        hits = np.flatnonzero(flags == 1).astype(np.int32)
        self.count = len(hits)
        order, entries = np.zeros(rays.count, np.int32), np.full(rays.count, -1, np.int32)
        order[: self.count] = hits
        entries[hits] = np.arange(self.count)
        self.ray_of, self.entry_of_ray = Buffer((rays.count,), "int"), Buffer((rays.count,), "int")
        self.ray_of.ndarray.from_numpy(order)
        self.entry_of_ray.ndarray.from_numpy(entries)


def hit_points(rays: Rays, hits: Hits, t: Array) -> Array:
    """[n, 3] points o + t d of the hits, in the space of the rays."""
    out = Array((rays.count, 3))
    count, order = hits.count, hits.ray_of.ndarray

    def forward() -> None:
        level_set.points(count, order, rays.origins.value, rays.directions.value, t.value, out.value)

    def backward() -> None:
        grads = (rays.origins.grad, rays.directions.grad, t.grad)
        level_set.points_adjoint(count, order, rays.directions.value, t.value, out.grad, *grads)

    run(Operation(forward, backward, [rays.origins, rays.directions, t], [out], "hit points"))
    return out


def hit_views(rays: Rays, hits: Hits) -> Array:
    """[n, 3] from every hit towards its ray's origin, unit for unit directions."""
    out = Array((rays.count, 3))

    def forward() -> None:
        level_set.views(hits.count, hits.ray_of.ndarray, rays.directions.value, out.value)

    def backward() -> None:
        level_set.views_adjoint(hits.count, hits.ray_of.ndarray, out.grad, rays.directions.grad)

    run(Operation(forward, backward, [rays.directions], [out], "hit views"))
    return out


def hit_depths(rays: Rays, hits: Hits, t: Array) -> Array:
    """[n, 1] distance of the hits along the camera axis."""
    out = Array((rays.count, 1))
    common = (hits.count, hits.ray_of.ndarray, rays.cosines.value, t.value)

    def forward() -> None:
        level_set.depths(*common, out.value)

    def backward() -> None:
        level_set.depths_adjoint(*common, out.grad, rays.cosines.grad, t.grad)

    run(Operation(forward, backward, [rays.cosines, t], [out], "hit depths"))
    return out


def world_normals(gradients: Array, matrix: Array, views: Array, count: int, sign: float) -> Array:
    """[n, 3] normals in the world, of any length, on the viewer's side, from gradients [n, 3] in object space."""
    out = Array((gradients.rows, 3))
    common = (count, matrix.value, gradients.value, views.value, sign)

    def forward() -> None:
        normals.normals(*common, out.value)

    def backward() -> None:
        if needs(gradients):
            normals.normals_adjoint(*common, out.grad, gradients.grad)
        if needs(matrix):
            chunks = runtime.reduction_chunks()
            part = Buffer((chunks * 16,))
            normals.normals_matrix_adjoint(chunks, *common, out.grad, part.ndarray, runtime.chunk_block())
            accumulate.collect(chunks, 1, 16, part.ndarray, matrix.grad)

    run(Operation(forward, backward, [gradients, matrix], [out], "world normals"))
    return out


class RayPlaces:
    """One place t [n] on every ray; axis [n] of the cell face that it follows (-1: none); inside [n] the box or not."""

    def __init__(self, count: int) -> None:
        self.t, self.axis, self.inside = Buffer((count,)), Buffer((count,), "int"), Buffer((count,), "int")


def zeroed(size: int) -> Buffer:
    """A flat accumulator of zeros."""
    part = Buffer((size,))
    part.ndarray.fill(0.0)
    return part


def grid_of(node, kinds: tuple[str, ...]) -> VoxelGrid:
    """The node's voxel grid, if it is of one of these kinds."""
    grid = node.geometry
    if not isinstance(grid, VoxelGrid):
        raise SceneError(node.name or "node", "holds no voxel grid", "give it tidr.VoxelGrid(sdf=...)")
    if grid.kind not in kinds:
        mend = " or ".join(f".to_{kind}()" for kind in kinds)
        raise SceneError(f"{node.name}.{grid.kind}", f"expected {' or '.join(kinds)}", f"convert it with {mend}")
    return grid
