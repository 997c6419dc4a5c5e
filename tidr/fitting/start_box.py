"""What a fit of a grid, field or cloud begins from: an even grid, a box around what masks, or cameras, look at."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tidr.scene.camera import Camera
from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Node, Scene
from tidr.scene.points import PointCloud

from ..errors import SceneError
from ..parameter import nearest
from .settings import StartSettings
from .start import mask_extent, masks_centre, nearest_point

CELLS = 48  # a side of the lattice that the masks carve
SHARE = 0.5  # of the distance to the nearest camera: half the box where there are no masks


def begin_box(
    scene: Scene, name: str, start: StartSettings, cameras: Sequence[Camera], masks: Sequence[np.ndarray] | None
) -> None:
    """Move the box of a node's grid or field, or its points or Gaussians, to where the thing is; the rest stays.

    The box is the cube that `start` says, or lies around the masks' visual hull, or, without masks, where the cameras
    look. The node keeps its transform.

    Raises:
        SceneError: no such node, a node without a box, or a place that cannot be found.
    """
    geometry: Any = _named(scene, name).geometry
    cloud = isinstance(geometry, PointCloud | Gaussians)
    if not cloud and not (hasattr(geometry, "lower") and hasattr(geometry, "upper")):
        mend = 'give a volume, voxels, a field, points or gaussians, or "sphere"'
        raise SceneError(f"fit.start.{name}", "the node has no box", mend)
    if start.centre is not None and start.radius is not None:
        corners = [np.asarray(start.centre) + side * start.radius for side in (-1, 1)]
    else:
        corners = hull_box(cameras, masks) if masks is not None else focus_box(cameras)
    to_object = np.linalg.inv(scene.world_matrices()[name])
    points = np.array(list(itertools.product(*np.transpose(corners)))) @ to_object[:3, :3].T + to_object[:3, 3]
    if cloud:
        _stretch(geometry, points.min(0), points.max(0))
    else:
        geometry.lower, geometry.upper = points.min(0), points.max(0)


def _stretch(cloud: PointCloud | Gaussians, lower: np.ndarray, upper: np.ndarray) -> None:
    """Stretch the box of all points to these corners [3]; sizes grow by the cube root of its volume."""
    low, high = (corner.astype(np.float64) for corner in cloud.bounds())
    wide = high > low
    factors = np.where(wide, (upper - lower) / np.where(wide, high - low, 1.0), 1.0)
    size = float(np.exp(np.log(factors[wide]).mean())) if wide.any() else 1.0
    places = cloud.means if isinstance(cloud, Gaussians) else cloud.positions
    places.set((places.numpy() - (low + high) / 2) * factors + (lower + upper) / 2)
    if isinstance(cloud, Gaussians):
        cloud.log_scales.set(cloud.log_scales.numpy() + np.log(size))
    elif cloud.radii is not None:
        cloud.radii.set(cloud.radii.numpy() * size)


def begin_even(scene: Scene, name: str, start: StartSettings) -> None:
    """Fill a node's grid of densities or occupancies with the value that `start` says.

    Raises:
        SceneError: no such node, or one that holds neither.
    """
    geometry: Any = _named(scene, name).geometry
    grid = getattr(geometry, "density", None)
    grid = getattr(geometry, "occupancy", None) if grid is None else grid
    if grid is None:
        raise SceneError(f"fit.start.{name}", "the node has no densities or occupancies", "give a volume or voxels")
    grid.set(np.full(grid.shape, start.value))


def _named(scene: Scene, name: str) -> Node:
    if name not in scene.nodes:
        raise SceneError(f"fit.start.{name}", "no such node", nearest(name, scene.nodes))
    return scene.nodes[name]


def hull_box(cameras: Sequence[Camera], masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (lower [3], upper [3], world) of a box around the visual hull of the masks, with a cell to spare.

    Args:
        masks: N of [H, W] in 0..1. A point that a camera does not see is not carved by it.

    Raises:
        SceneError: fewer than two views show anything, or all look along one line.
    """
    seen, centre = masks_centre(cameras, masks)
    reach = max(mask_extent(camera, mask, centre)[1] for camera, mask in seen) * 1.1
    cell = 2 * reach / CELLS
    axis = (np.arange(CELLS) + 0.5) * cell - reach
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3) + centre
    for camera, mask in seen:
        points = points[_kept(camera, mask, points, cell)]
    if not len(points):
        return centre - reach, centre + reach
    return points.min(0) - 1.5 * cell, points.max(0) + 1.5 * cell


def focus_box(cameras: Sequence[Camera]) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a cube around the point nearest to all viewing axes, half as large as the nearest camera is far.

    Raises:
        SceneError: all cameras look along one line.
    """
    axes = [(camera.camera_to_world[:3, 3], -camera.camera_to_world[:3, 2]) for camera in cameras]
    centre = nearest_point(axes)
    if centre is None:
        raise SceneError("fit.start", "the cameras do not tell where the thing is", "give start a centre and a radius")
    half = SHARE * min(float(np.linalg.norm(origin - centre)) for origin, _ in axes)
    return centre - half, centre + half


def _kept(camera: Camera, mask: np.ndarray, points: np.ndarray, cell: float) -> np.ndarray:
    """Which points [n, 3] the mask does not carve away: those within a cell of it, or out of the camera's sight."""
    height, width = mask.shape
    projected = np.concatenate([points, np.ones((len(points), 1))], 1) @ camera.projection(width, height)[0].T
    w = projected[:, 2]
    ahead = w > 1e-9
    column, row = (projected[:, k] / np.where(ahead, w, 1.0) for k in (0, 1))
    if camera.distortion is not None:
        straight = np.stack([column, row], -1)
        column, row = camera.distorted(straight, width, height).T
        back, shown = camera.undistorted(np.stack([column, row], -1), width, height)
        ahead = ahead & shown & (np.abs(back - straight).max(-1) < 1e-3)  # else the map has folded before it
    inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixels = float(camera.focal.host().mean()) * width / camera.width * cell / np.where(ahead, w, 1.0)
    full = np.cumsum(np.cumsum(np.pad(mask > 0.5, ((1, 0), (1, 0))), 0), 1)
    r0, r1 = (np.clip(np.floor(row + side * pixels), 0, height).astype(int) for side in (-0.5, 0.5))
    c0, c1 = (np.clip(np.floor(column + side * pixels), 0, width).astype(int) for side in (-0.5, 0.5))
    r1, c1 = np.minimum(r1 + 1, height), np.minimum(c1 + 1, width)
    return ~inside | (full[r1, c1] - full[r0, c1] - full[r1, c0] + full[r0, c0] > 0)
