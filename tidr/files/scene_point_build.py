"""From the valid table of a point cloud or of Gaussians to the geometry itself, and from there to a file again."""

from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError, SceneError, TidrError
from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Geometry
from tidr.scene.points import PointCloud
from tidr.scene.spacing import spacing
from tidr.scene.transform import sphere_directions

from .colmap import is_model
from .colmap import read_points as read_model_points
from .guard import Limits, check_count
from .points import PointData, points_bytes, read_points
from .scene_grids import Grid
from .scene_points import CloudTable, GaussiansTable, PointsTable
from .splats import SplatData, read_splats, splat_bytes
from .srgb import linear_to_srgb, srgb_to_linear
from .view_sets import find_views

GREY = 0.5


def build_cloud(grid: Grid, path: Path | None, limits: Limits) -> Geometry:
    """The geometry; `path` is the file, or folder of a COLMAP model, that the table names.

    Raises:
        FileError, SceneError: what shows only now: a broken file, or values out of range.
    """
    try:
        return _points(grid.table, path, limits) if grid.key == "points" else _gaussians(grid.table, path, limits)
    except FileError:
        raise
    except TidrError as error:  # names the argument, not the key
        raise SceneError(grid.key, f"{error.where} {error.what}", error.mend) from error


def cloud_file(name: str, geometry: Any) -> tuple[str, bytes]:
    """(key, bytes of the .ply) of the points or Gaussians of node `name`.

    Raises:
        FileError: numbers that are not finite.
    """
    arrays = {key: parameter.numpy() for key, parameter in geometry.parameters().items()}
    if isinstance(geometry, PointCloud):
        return "points", points_bytes(PointData(**arrays), name)
    return "gaussians", splat_bytes(SplatData(**arrays, encoding=geometry.encoding), name)


def _points(table: PointsTable, path: Path | None, limits: Limits) -> PointCloud:
    if path is not None:
        return PointCloud(**read_points(path, limits).given())
    normals = None
    positions = _scattered(table, limits)
    if table.sphere is not None:
        normals = sphere_directions(len(positions))
        positions = table.sphere * normals + np.add(table.lower, table.upper) / 2
    colors = np.broadcast_to(table.color, positions.shape)
    return PointCloud(positions, colors, normals, table.radius, table.opacity)


def _gaussians(table: GaussiansTable, path: Path | None, limits: Limits) -> Gaussians:
    if path is not None and table.points is None:
        held = vars(read_splats(path, limits))
        return Gaussians(**held | ({} if table.encoding is None else {"encoding": table.encoding}))
    if path is not None:
        positions, colors = _sparse(path, limits)
    else:
        positions = _scattered(table, limits)
        colors = np.broadcast_to(table.color, positions.shape)
    scales = spacing(positions)
    encoding = table.encoding or "linear"
    return Gaussians.from_colors(
        positions, linear_to_srgb(colors) if encoding == "srgb" else colors, scales,
        opacities=table.opacity, sh_degree=table.sh_degree, encoding=encoding,
    )  # fmt: skip


def _scattered(table: CloudTable, limits: Limits) -> np.ndarray:
    """[count, 3] places in the table's box, the same ones for the same seed."""
    assert table.count is not None
    check_count("count", "points", table.count, limits.vertices)
    return np.random.default_rng(table.seed).uniform(table.lower, table.upper, (table.count, 3))


def _sparse(path: Path, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Positions and linear colours [N, 3] of a point cloud, or of the points of a COLMAP model."""
    path = find_views(path) if path.is_dir() else path
    if is_model(path):
        path = path.with_name(f"points3D{path.suffix}")
        positions, encoded = read_model_points(path, limits)
        if len(positions) == 0:
            raise FileError(path, "holds no point", "give a point cloud, or a count of random places")
        return positions, srgb_to_linear(encoded / 255)
    data = read_points(path, limits)
    return data.positions, np.full_like(data.positions, GREY) if data.colors is None else data.colors
