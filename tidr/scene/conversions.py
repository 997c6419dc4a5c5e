"""Meshes and points into signed distances, occupancies, tetrahedra; points off surfaces.

Distances are exact (to the nearest point of the nearest triangle). Inside is where the winding number of the surface is
not zero, so meshes may overlap themselves, but must be closed.
"""

from typing import Any

import numpy as np

from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.kernels.implicit import distance as kernels

from .graph import Node
from .tetrahedra import Tetrahedra
from .voxels import VoxelGrid, cell_centers

BLOCK = 4  # cells of a block's edge: triangles that may be nearest are listed per block
PAIRS = 1 << 24  # blocks times triangles that are compared at once


def voxelize(mesh, resolution=64, lower=None, upper=None, kind: str = "sdf", margin: float = 0.1) -> VoxelGrid:
    """A closed mesh as a voxel grid of signed distances ("sdf"), truncated ones ("tsdf") or "occupancy".

    Args:
        mesh: a `Mesh`, a node that holds one, or an `ExtractedMesh`; object space.
        resolution: cells (D, H, W), or one number.
        lower, upper: the box; by default a cube around the mesh, larger by `margin` of its size on each side.

    Raises:
        SceneError: an edge without exactly two triangles, or an unknown kind.
    """
    vertices, faces = closed_surface(mesh)
    if kind not in ("sdf", "tsdf", "occupancy"):
        raise SceneError("voxelize.kind", f"is {kind!r}", "choose sdf, tsdf or occupancy")
    shape = _shape(resolution)
    lower, upper = _around(vertices, margin, lower, upper)
    grid = VoxelGrid(sdf=signed_distance(vertices, faces, shape, lower, upper), lower=lower, upper=upper)
    if kind == "sdf":
        return grid
    return grid.to_tsdf() if kind == "tsdf" else grid.to_occupancy()


def tetrahedralize(source, resolution=32, lower=None, upper=None, margin: float = 0.1) -> Tetrahedra:
    """A closed mesh, or a voxel grid's zero, as a deformable tetrahedral grid; `resolution` counts cubes."""
    shape = _shape(resolution)
    geometry = source.geometry if isinstance(source, Node) else source
    if isinstance(geometry, VoxelGrid):
        lower, upper = geometry.lower, geometry.upper
        return Tetrahedra(_at_corners(geometry.to_sdf(), shape), lower=lower, upper=upper)
    vertices, faces = closed_surface(source)
    lower, upper = _around(vertices, margin, lower, upper)
    half = (upper - lower) / np.array(shape[::-1]) / 2
    corners = (shape[0] + 1, shape[1] + 1, shape[2] + 1)
    return Tetrahedra(
        signed_distance(vertices, faces, corners, lower - half, upper + half), lower=lower, upper=upper
    )  # fmt: skip


def sample_surface(mesh, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points [count, 3] spread evenly over a mesh's area, and the unit normals [count, 3] of their triangles."""
    vertices, faces = _triangles(mesh)
    chosen, weights = surface_places(mesh, count, seed)
    a, b, c = (vertices[faces[chosen, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    points = weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c
    return points, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


def surface_places(mesh, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random places spread evenly over a mesh's area: triangles [count], and weights [count, 3] of their corners."""
    vertices, faces = _triangles(mesh)
    if count < 1:
        raise SceneError("sample_surface.count", f"is {count}", "give at least 1")
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not area.sum() > 0:
        raise SceneError("sample_surface", "the mesh has no area")
    rng = np.random.default_rng(seed)
    chosen = np.searchsorted(np.cumsum(area), rng.random(count) * area.sum(), side="right").clip(0, len(faces) - 1)
    u, v = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return chosen, np.concatenate([1 - u, u * (1 - v), u * v], 1)


def points_to_grid(points, normals, resolution=64, lower=None, upper=None, margin: float = 0.1) -> VoxelGrid:
    """Signed distances from points [n, 3] of a closed surface and their outward normals [n, 3], after Hoppe 1992.

    The nearest point's tangent plane says on which side a cell lies and, nearer than two cells, how far; at sharp edges
    it may be wrong.
    """
    points, normals = (np.asarray(array, np.float64) for array in (points, normals))
    if points.ndim != 2 or points.shape[1] != 3 or normals.shape != points.shape or not len(points):
        raise SceneError("points", f"got shapes {points.shape} and {normals.shape}, expected [n, 3] twice, n > 0")
    if not (np.isfinite(points).all() and np.isfinite(normals).all()):
        raise SceneError("points", "hold a value that is not finite", "give finite numbers")
    shape = _shape(resolution)
    lower, upper = _around(points, margin, lower, upper)
    faces = np.repeat(np.arange(len(points), dtype=np.int32)[:, None], 3, 1)
    distance, nearest = _unsigned(points, faces, shape, lower, upper)
    height = ((cell_centers(shape, lower, upper) - points[nearest]) * normals[nearest]).sum(-1)
    close = distance < 2 * ((upper - lower) / np.array(shape[::-1])).max()
    return VoxelGrid(sdf=np.where(close, height, np.copysign(distance, height)), lower=lower, upper=upper)


def signed_distance(vertices, faces, resolution: tuple[int, int, int], lower, upper) -> np.ndarray:
    """[D, H, W] exact distance to the triangles at the cell centres of a box, negative inside.

    What lies on the surface, to a hundred-thousandth of a cell, counts as outside, so that rounding scatters no signs.
    """
    lower, upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    distance, _ = _unsigned(vertices, faces, resolution, lower, upper)
    clear = distance > 1e-5 * ((upper - lower) / np.array(resolution[::-1])).min()
    return np.where(clear & (winding(vertices, faces, resolution, lower, upper) != 0), -distance, distance)


def winding(vertices, faces, resolution: tuple[int, int, int], lower, upper) -> np.ndarray:
    """[D, H, W] how often a closed surface goes around each cell's centre, by rays along x.

    A ray is moved off the centres by a tiny uneven part of a cell, and the sides of triangles are compared in one order
    of their ends, so that a ray never slips between two triangles nor counts a shared edge twice.
    """
    lower, upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    depth, height, width = resolution
    spacing = (upper - lower) / np.array([width, height, depth])
    scaled = (vertices - lower) / spacing - 0.5 - np.array([0.0, 1.7e-5, 2.9e-5])
    corners = scaled[faces]  # [F, 3, 3], cell units
    low = np.ceil(corners[..., 1:].min(1)).astype(int).clip(0)
    high = np.floor(corners[..., 1:].max(1)).astype(int)
    high = np.minimum(high, [height - 1, depth - 1])
    spans = np.maximum(high - low + 1, 0)
    counts = spans.prod(1)
    owner = np.repeat(np.arange(len(faces)), counts)
    inner = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    j = low[owner, 0] + inner % np.maximum(spans[owner, 0], 1)
    k = low[owner, 1] + inner // np.maximum(spans[owner, 0], 1)
    sides = np.stack([_side(scaled, faces[owner, s], faces[owner, (s + 1) % 3], j, k) for s in range(3)], 1)
    covered = (sides > 0).all(1) | (sides < 0).all(1)
    owner, j, k, sides = owner[covered], j[covered], k[covered], sides[covered]
    weight = sides[:, [1, 2, 0]] / sides.sum(1, keepdims=True)
    x = (weight * corners[owner][..., 0]).sum(1)
    first = np.clip(np.ceil(x), 0, width).astype(int)
    change = np.zeros((depth, height, width + 1), np.int32)
    np.add.at(change, (k, j, first), -np.sign(sides[:, 0]).astype(np.int32))
    return np.cumsum(change[..., :width], -1)


def closed_surface(mesh) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3] of a mesh whose every edge has two triangles, or an even number."""
    vertices, faces = _triangles(mesh)
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    _, counts = np.unique(ends, axis=0, return_counts=True)
    odd = int((counts % 2).sum())
    if odd:
        raise SceneError("mesh", f"is not closed: {odd} edges have an odd number of triangles", "close its holes")
    return vertices, faces


def _triangles(mesh) -> tuple[np.ndarray, np.ndarray]:
    geometry: Any = mesh.geometry if isinstance(mesh, Node) else mesh
    if not (hasattr(geometry, "vertices") and hasattr(geometry, "faces")):
        raise SceneError("mesh", f"got {type(geometry).__name__}", "give a mesh; tidr.extract.mesh_of makes one")
    vertices = np.asarray(geometry.vertices, np.float64)
    if not len(geometry.faces):
        raise SceneError("mesh", "has no triangles")
    if not np.isfinite(vertices).all():
        raise SceneError("mesh.vertices", "hold a value that is not finite", "give finite numbers")
    return vertices, np.asarray(geometry.faces)


def _side(points: np.ndarray, a: np.ndarray, b: np.ndarray, j: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Twice the area of (point, a, b) in the plane of y and z, with bits that only change sign when a and b swap."""
    first, second = np.minimum(a, b), np.maximum(a, b)
    p, q = points[first], points[second]
    area = (p[:, 1] - j) * (q[:, 2] - k) - (p[:, 2] - k) * (q[:, 1] - j)
    return np.where(a < b, area, -area)


def _unsigned(vertices, faces, resolution, lower, upper) -> tuple[np.ndarray, np.ndarray]:
    """Distance [D, H, W] to the nearest triangle, and its number."""
    depth, height, width = resolution
    corners = vertices[faces]
    middles = corners.mean(1)
    spheres = np.column_stack([middles, np.linalg.norm(corners - middles[:, None], axis=-1).max(1)])
    starts, listed = _candidates(spheres, resolution, lower, upper)
    device = {}
    for name, array in (("starts", starts), ("listed", listed), ("faces", faces.ravel())):
        device[name] = Buffer((len(array),), "int")
        device[name].ndarray.from_numpy(np.ascontiguousarray(array, np.int32))
    points, around = Array.of(vertices, needs_grad=False), Array.of(spheres * (1, 1, 1, 1 + 1e-5), needs_grad=False)
    distance, nearest = Buffer((depth * height * width,)), Buffer((depth * height * width,), "int")
    box = constant([lower, upper, (width, height, depth)])
    kernels.nearest(
        width, height, depth, BLOCK, box.value, points.value, device["faces"].ndarray, around.value,
        device["starts"].ndarray, device["listed"].ndarray, distance.ndarray, nearest.ndarray,
    )  # fmt: skip
    shape = (depth, height, width)
    return distance.ndarray.to_numpy().astype(np.float64).reshape(shape), nearest.ndarray.to_numpy().reshape(shape)


def _candidates(spheres, resolution, lower, upper) -> tuple[np.ndarray, np.ndarray]:
    """CSR of the triangles that may be nearest to a cell of each block of BLOCK^3 cells, by spheres [F, 4] around them.

    Some triangle is as near to the block's middle as its own middle; what is farther by twice the block's radius is
    nearest to none of its cells.
    """
    spacing = (upper - lower) / np.array(resolution[::-1])
    blocks = [-(-n // BLOCK) for n in resolution]
    axes = [lower[a] + (np.arange(blocks[2 - a]) + 0.5) * BLOCK * spacing[a] for a in range(3)]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    middles = np.stack([x, y, z], -1).reshape(-1, 3)
    reach = float(np.linalg.norm(spacing)) * BLOCK / 2
    centers, radii = spheres[:, :3], spheres[:, 3]
    counts, listed = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    step = max(PAIRS // len(spheres), 1)
    for first in range(0, len(middles), step):
        chunk = middles[first : first + step]
        squares = (chunk**2).sum(1)[:, None] + (centers**2).sum(1) - 2 * chunk @ centers.T
        away = np.sqrt(np.maximum(squares, 0), out=squares)
        enough = away.min(1) + 2 * reach
        block, triangle = np.nonzero(away - radii <= enough[:, None] * (1 + 1e-6))
        counts.append(np.bincount(block, minlength=len(chunk)))
        listed.append(triangle)
    return np.cumsum(np.concatenate(counts)), np.concatenate(listed)


def _at_corners(grid: VoxelGrid, cubes: tuple[int, int, int]) -> np.ndarray:
    """[D + 1, H + 1, W + 1] the grid's values at the corners of cubes in its box, trilinear."""
    values = grid.values.numpy().astype(np.float64)
    for axis, count in enumerate(cubes):
        size = values.shape[axis]
        q = np.clip(np.arange(count + 1) / count * size - 0.5, 0, size - 1)
        low = np.clip(q.astype(int), 0, max(size - 2, 0))
        at = (q - low).reshape([-1 if k == axis else 1 for k in range(3)])
        upper = np.minimum(low + 1, size - 1)
        values = np.take(values, low, axis) * (1 - at) + np.take(values, upper, axis) * at
    return values


def _shape(resolution) -> tuple[int, int, int]:
    shape = (resolution,) * 3 if isinstance(resolution, int) else tuple(int(n) for n in resolution)
    if len(shape) != 3 or min(shape) < 1:
        raise SceneError("resolution", f"is {resolution}", "give a number of cells, or three (D, H, W)")
    return shape


def _around(points: np.ndarray, margin: float, lower, upper) -> tuple[np.ndarray, np.ndarray]:
    """A box as given, or a cube around points."""
    middle = (points.min(0) + points.max(0)) / 2
    half = float((points.max(0) - points.min(0)).max()) * (0.5 + margin)
    low = middle - half if lower is None else np.asarray(lower, np.float64)
    high = middle + half if upper is None else np.asarray(upper, np.float64)
    return low, high
