"""Surfaces out of fields: marching cubes and marching tetrahedra, with vertices that follow the field's values.

Which triangles there are is found without gradient and stays until the next extraction; the vertices are an Array on
the open tape. `mesh_of` makes a plain mesh of whatever holds a surface.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import runtime
from .array import Array, constant
from .buffer import Buffer
from .errors import SceneError
from .fitting.tape import Operation, needs, run
from .kernels import accumulate
from .kernels.implicit import crossings as kernels
from .kernels.implicit import marching_cubes as cubes
from .scene.extraction import Extraction
from .scene.field import FrequencyField, HashField
from .scene.graph import Node
from .scene.mesh import Mesh
from .scene.parametric import ParametricSurface
from .scene.solids import largest_solid
from .scene.tetrahedra import Tetrahedra
from .scene.topology import Topology
from .scene.volume import Volume
from .scene.voxels import VoxelGrid, cell_centers

THICKNESS = 0.02  # of a box's diagonal: where no level is given, so much of a surface's density stops half the light
LEAST = 1e-7  # of the difference between the values at the ends of a crossed edge
Points = Callable[[np.ndarray], np.ndarray]
CHUNK = 1 << 18  # points that a function is asked for at once


@dataclass(frozen=True)
class ExtractedMesh:
    """A surface on the tape: vertices [V, 3], object space, and the triangles between them."""

    extraction: Extraction
    vertices: Array

    @property
    def faces(self) -> np.ndarray:
        return self.extraction.faces

    @property
    def topology(self) -> Topology:
        return self.extraction.topology

    def mesh(self, shading: str | None = None) -> Mesh:
        """A mesh of its own with the vertices as they are now.

        Raises:
            SceneError: there is no surface.
        """
        if not len(self.faces):
            raise SceneError("extract", "the field has no surface", "look at its values, and at the level")
        return Mesh(self.vertices.numpy()[: len(self.extraction.ends)], self.faces, shading=shading)


def surface_density(lower: np.ndarray, upper: np.ndarray) -> float:
    """The density of which a fiftieth of a box's diagonal lets half the light through."""
    return math.log(2.0) / (THICKNESS * float(np.linalg.norm(upper - lower)))


def _solid_density(values: np.ndarray, least: float) -> float:
    """A quarter of the median of the densities above `least`, and not less than that."""
    dense = values[values > least]
    return max(least, float(np.median(dense)) / 4) if dense.size else least


def marching_cubes(
    values, level: float = 0.0, lower=(-1, -1, -1), upper=(1, 1, 1), inside: str = "below", closed: bool = True
) -> ExtractedMesh:
    """The surface where a grid of values has a level, after Lorensen and Cline 1987.

    Args:
        values: [D, H, W] (z, y, x) at cell centres of the box, an Array (then the vertices have its gradient) or numpy.
        inside: "below" the level (signed distances) or "above" it (densities, occupancies). Faces point outwards.
        closed: where the inside reaches the border, the surface is closed along the sides of the box.

    Every edge of a closed surface has exactly two triangles, whatever the values.

    Raises:
        SceneError: not a grid, values or level not finite.
    """
    array = values if isinstance(values, Array) else Array.of(_grid(values), needs_grad=False)
    host = _grid(array.numpy())
    if not np.isfinite(level):
        raise SceneError("marching_cubes.level", f"is {level}", "give a finite number")
    if inside not in ("below", "above"):
        raise SceneError("marching_cubes.inside", f"is {inside!r}", "choose below or above")
    solid = host < level if inside == "below" else host > level
    pad = int(closed)
    ends, faces = cubes.find(np.pad(solid, pad))
    size = np.array(host.shape[::-1])
    index = np.stack(np.unravel_index(ends, [n + 2 * pad for n in host.shape])[::-1], -1) - pad  # [V, 2, (x, y, z)]
    within = ((index >= 0) & (index < size)).all(-1)
    rows = index @ np.array([1, size[0], size[0] * size[1]])
    corners = [np.asarray(corner, np.float64) for corner in (lower, upper)]
    cell_centers(host.shape, lower, upper)  # checks the box
    points = corners[0] + (index + 0.5) / size * (corners[1] - corners[0])
    place = np.arange(2 * len(ends), dtype=np.int32).reshape(-1, 2)
    extraction = Extraction(np.where(within, rows, -1).astype(np.int32), place, faces)
    on_device = Array.of(points.reshape(-1, 3), needs_grad=False)
    return ExtractedMesh(extraction, crossing_vertices(extraction, array, on_device, level))


def marching_tetrahedra(tetrahedra: Tetrahedra) -> ExtractedMesh:
    """The surface of a tetrahedral grid, with gradients to its distances and offsets."""
    extraction = tetrahedra.extraction()
    return ExtractedMesh(extraction, surface_vertices(tetrahedra, extraction))


def surface_vertices(tetrahedra: Tetrahedra, extraction: Extraction) -> Array:
    """[V, 3] vertices, object space, of the grid's surface."""
    offsets, nodes = tetrahedra.offsets, tetrahedra.nodes()
    reach, moved = constant([tetrahedra.reach]), Array((nodes.rows, 3))

    def forward() -> None:
        kernels.moved(nodes.rows, nodes.value, offsets.value, reach.value, moved.value)

    def backward() -> None:
        kernels.moved_adjoint(nodes.rows, offsets.value, reach.value, moved.grad, offsets.grad)

    run(Operation(forward, backward, [offsets], [moved], "move nodes"))
    return crossing_vertices(extraction, tetrahedra.sdf, moved, 0.0)


def crossing_vertices(extraction: Extraction, values: Array, points: Array, level: float) -> Array:
    """[V, 3] where values have a level between the ends of an extraction's edges; at least one row."""
    count, size = len(extraction.ends), values.rows * values.channels
    out = Array((max(count, 1), 3))
    ends, place = extraction.device("ends"), extraction.device("place")

    def forward() -> None:
        if not count:
            out.value.fill(0.0)
        kernels.vertices(
            count, values.channels, ends, place, values.value, points.value, level, LEAST, out.value
        )  # fmt: skip

    def backward() -> None:
        chunks, atomic = runtime.chunks(), not runtime.on_cpu()
        common = (ends, place, values.value)
        if needs(values):
            part = _zeroed(chunks * size)
            kernels.values_adjoint(
                chunks, size, count, values.channels, *common, points.value, level, LEAST, out.grad, part.ndarray,
                atomic,
            )  # fmt: skip
            accumulate.collect(chunks, values.rows, values.channels, part.ndarray, values.grad)
        if points.grad is not None and needs(points):
            part = _zeroed(chunks * points.rows * 3)
            kernels.points_adjoint(
                chunks, points.rows, count, values.channels, *common, level, LEAST, out.grad, part.ndarray, atomic
            )
            accumulate.collect(chunks, points.rows, 3, part.ndarray, points.grad)

    run(Operation(forward, backward, [values, points], [out], "surface vertices"))
    return out


def mesh_of(
    source: Node | VoxelGrid | Tetrahedra | Volume | HashField | FrequencyField | Mesh | ParametricSurface | Points,
    resolution: int | tuple[int, int, int] = 64,
    level: float | None = None,
    lower=(-1, -1, -1),
    upper=(1, 1, 1),
    inside: str = "above",
) -> Mesh:
    """A mesh of anything that holds a surface, in its object space.

    Args:
        source: a voxel grid (its zero, or the level 1/2 of occupancies, unless `level` says otherwise), tetrahedra, a
            volume or field, a mesh (as it is), a node that holds one of them, or a function from points [n, 3] to
            values [n]. Fields and functions are asked at the centres of `resolution` cells (D, H, W, or one number).
        level: of a volume or field, the density of its surface; None is a quarter of the median of what is dense: cells
            of which a fiftieth of the box's diagonal would stop half the light; at least this limit. Only the largest
            solid is taken, with its hollows filled.
        lower, upper, inside: for a function; see `marching_cubes`.

    Raises:
        SceneError: nothing to make a mesh of, a function without `level` or with wrong results, no surface.
    """
    geometry = source.geometry if isinstance(source, Node) else source
    if isinstance(geometry, Mesh):
        return geometry
    if isinstance(geometry, ParametricSurface):
        return geometry.mesh()
    if isinstance(geometry, Tetrahedra):
        return marching_tetrahedra(geometry).mesh()
    if isinstance(geometry, VoxelGrid):
        occupied = geometry.kind == "occupancy"
        at = (0.5 if occupied else 0.0) if level is None else level
        side = "above" if occupied else "below"
        return marching_cubes(geometry.values.numpy(), at, geometry.lower, geometry.upper, side).mesh()
    if isinstance(geometry, Volume | HashField | FrequencyField):
        values = _densities(geometry, resolution)
        at = _solid_density(values, surface_density(geometry.lower, geometry.upper)) if level is None else level
        solid = largest_solid(values > at)
        values = np.where(solid, np.where(values > at, values, 2 * at), np.minimum(values, at / 2))
        return marching_cubes(values, at, geometry.lower, geometry.upper, "above").mesh()
    if not callable(geometry):
        raise SceneError("mesh_of", f"got {type(geometry).__name__}", "give a grid, tetrahedra, a mesh or a function")
    if level is None:
        raise SceneError("mesh_of.level", "is missing", "say at which value of the function the surface is")
    return marching_cubes(evaluated(geometry, resolution, lower, upper), level, lower, upper, inside).mesh()


def _densities(geometry: Volume | HashField | FrequencyField, resolution) -> np.ndarray:
    """Densities [D, H, W] at cell centres: a volume's own cells, a field at `resolution`."""
    if isinstance(geometry, Volume):
        return geometry.densities()
    from .renderers.field_density import field_densities

    return evaluated(lambda points: field_densities(geometry, points), resolution, geometry.lower, geometry.upper)


def evaluated(function: Callable[[np.ndarray], np.ndarray], resolution, lower, upper) -> np.ndarray:
    """[D, H, W] values of a function of points [n, 3] at the cell centres of a box."""
    shape = (resolution,) * 3 if isinstance(resolution, int) else tuple(resolution)
    if len(shape) != 3 or min(shape) < 2:
        raise SceneError("resolution", f"is {resolution}", "give a number of cells >= 2, or three (D, H, W)")
    points = cell_centers(shape, lower, upper).reshape(-1, 3)
    parts = []
    for first in range(0, len(points), CHUNK):
        chunk = points[first : first + CHUNK]
        values = np.asarray(function(chunk), np.float64)
        if values.size != len(chunk):
            raise SceneError("function", f"gave shape {values.shape} for {len(chunk)} points", "give one value a point")
        parts.append(values.reshape(-1))
    return np.concatenate(parts).reshape(shape)


def _grid(values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 3 or 0 in values.shape:
        raise SceneError("marching_cubes.values", f"got shape {values.shape}, expected [D, H, W]")
    if not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise SceneError("marching_cubes.values", f"value at index {where} is not finite", "give finite numbers")
    return values


def _zeroed(size: int) -> Buffer:
    part = Buffer((size,))
    part.ndarray.fill(0.0)
    return part
