"""RGBD pictures as geometry: a point for every pixel with a depth, or a mesh that is cut where depth jumps.

Depth is measured along the camera's axis, world units, 0 where it is not known; colour and depth belong to one camera
and are of one size. A height map is the depth of an orthographic camera that looks down on it.

Pitfall: pixels are even in the picture, not on the surface. A surface that faces the camera has focal^2 / depth^2
points a unit of area, and fewer where it is slanted, so whatever counts points (a Chamfer distance, a mean over points)
weighs what is near more. Weigh a point by depth^2 to make up for it.
"""

import numpy as np

from tidr.errors import SceneError

from .camera import Camera
from .mesh import Mesh
from .points import PointCloud

JUMP = 0.05  # of the nearer depth: neighbours further apart than this lie on different surfaces
HALF_DIAGONAL = np.sqrt(0.5)  # of a pixel


def back_project(depth, camera: Camera) -> np.ndarray:
    """[H, W, 3] world points of a depth map [H, W] or [H, W, 1]; the camera's own place where depth is 0.

    Raises:
        SceneError: another shape, or depths that are negative or not finite.
    """
    depth = _map(depth)
    height, width = depth.shape
    origin, direction = camera.unprojection(width, height)
    rows, columns = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([columns, rows], -1)
    if camera.distortion is not None:
        pixels, _ = camera.undistorted(pixels, width, height)
    pixels = np.append(pixels, np.ones_like(rows)[..., None], -1)
    points = pixels @ origin.T + depth[..., None] * (pixels @ direction.T)
    return np.where(depth[..., None] > 0, points, camera.position.host())


def depth_normals(depth, camera: Camera, jump: float = JUMP) -> np.ndarray:
    """[H, W, 3] unit normals that face the camera, from the differences of neighbouring points.

    Differences across a jump (see `depth_mesh`) or to an unknown depth are left out; a pixel that has none left in one
    direction gets the direction to the camera.
    """
    depth = _map(depth)
    points = back_project(depth, camera)
    across = _tangents(points, _joined(depth[:, :-1], depth[:, 1:], jump), 1)
    down = _tangents(points, _joined(depth[:-1], depth[1:], jump), 0)
    normals = np.cross(down, across)
    to_camera = _to_camera(points, camera)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    size = np.linalg.norm(across, axis=-1, keepdims=True) * np.linalg.norm(down, axis=-1, keepdims=True)
    good = length > 1e-12 * size
    normals = np.where(good, normals / np.where(good, length, 1), to_camera)
    return normals * np.where((normals * to_camera).sum(-1, keepdims=True) < 0, -1.0, 1.0)


def depth_points(depth, camera: Camera, color=None, jump: float = JUMP) -> PointCloud:
    """A point for every pixel with a depth, in world space, with normals, and radii depth / focal * sqrt(1/2).

    So large, discs that face the camera just close the gaps between pixels; on slanted surfaces they do not.

    Args:
        depth: [H, W] or [H, W, 1]. color: [H, W, 3] linear RGB in [0, 1].

    Raises:
        SceneError: shapes that do not fit together, or no depth that is known.
    """
    depth = _map(depth)
    known, colors = depth > 0, _colors(color, depth)
    if not known.any():
        raise SceneError("depth", "is 0 everywhere", "give a picture with known depths")
    focal = np.sqrt(np.prod(camera.focal.host() * [depth.shape[1] / camera.width, depth.shape[0] / camera.height]))
    radii = HALF_DIAGONAL / focal * (depth if camera.kind == "perspective" else np.ones_like(depth))
    points, normals = back_project(depth, camera), depth_normals(depth, camera, jump)
    return PointCloud(points[known], None if colors is None else colors[known], normals[known], radii[known])


def depth_mesh(depth, camera: Camera, color=None, jump: float = JUMP) -> Mesh:
    """A mesh with a vertex for every pixel, in world space, two triangles for every four, facing the camera.

    A triangle is left out where a depth is not known or its depths differ by more than `jump` times the nearest: it
    would be stretched between two surfaces. The diagonal joins the corners more alike in depth. The mesh has the
    picture's uvs, and its colours at the vertices.

    Args:
        depth: [H, W] or [H, W, 1]. color: [H, W, 3] linear RGB in [0, 1].

    Raises:
        SceneError: shapes that do not fit together, jump not above 0, or no triangle left.
    """
    depth = _map(depth)
    colors = _colors(color, depth)
    if not jump > 0:
        raise SceneError("jump", f"is {jump}", "give a number above 0, infinite to cut nothing")
    height, width = depth.shape
    if min(depth.shape) < 2:
        raise SceneError("depth", f"has shape {depth.shape}", "a mesh needs at least 2 x 2 pixels")
    index = np.arange(depth.size).reshape(depth.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    far = np.where(depth > 0, depth, np.inf).ravel()
    rising = _apart(far[b], far[c]) <= _apart(far[a], far[d])
    first = np.where(rising[:, None], np.stack([a, c, b], 1), np.stack([a, c, d], 1))
    second = np.where(rising[:, None], np.stack([b, c, d], 1), np.stack([a, d, b], 1))
    faces = np.stack([first, second], 1).reshape(-1, 3)
    faces = faces[np.isfinite(far[faces]).all(1)]
    near = far[faces].min(1)
    faces = faces[far[faces].max(1) - near <= jump * near]
    if len(faces) == 0:
        raise SceneError("depth", f"leaves no triangle with jump = {jump}", "raise jump, or give more depths")
    used, faces = np.unique(faces, return_inverse=True)
    rows, columns = np.divmod(used, width)
    uvs = np.stack([(columns + 0.5) / width, 1 - (rows + 0.5) / height], 1)
    points = back_project(depth, camera).reshape(-1, 3)[used]
    colors = None if colors is None else colors.reshape(-1, 3)[used]
    return Mesh(points, faces.reshape(-1, 3).astype(np.int32), uvs=uvs, colors=colors)


def _map(depth) -> np.ndarray:
    """[H, W] f64."""
    depth = np.asarray(depth, np.float64)
    depth = depth[..., 0] if depth.ndim == 3 and depth.shape[2] == 1 else depth
    if depth.ndim != 2 or 0 in depth.shape:
        raise SceneError("depth", f"has shape {depth.shape}, expected [H, W] or [H, W, 1]")
    bad = ~(np.isfinite(depth) & (depth >= 0))
    if bad.any():
        row, column = (int(n) for n in np.argwhere(bad)[0])
        raise SceneError("depth", f"pixel [{row}, {column}] is {depth[row, column]}", "give 0 where it is not known")
    return depth


def _colors(color, depth: np.ndarray) -> np.ndarray | None:
    if color is None:
        return None
    color = np.asarray(color, np.float64)
    if color.shape != (*depth.shape, 3):
        raise SceneError("color", f"has shape {color.shape}, the depth {depth.shape}", "give [H, W, 3] of one size")
    return color


def _joined(one: np.ndarray, other: np.ndarray, jump: float) -> np.ndarray:
    """Whether neighbouring depths are known and lie on one surface."""
    near = np.minimum(one, other)
    return (near > 0) & (np.abs(one - other) <= jump * near)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Differences of depths, infinite where one of them is."""
    known = np.isfinite(one) & np.isfinite(other)
    return np.where(known, np.abs(np.where(known, one, 0) - np.where(known, other, 0)), np.inf)


def _tangents(points: np.ndarray, joined: np.ndarray, axis: int) -> np.ndarray:
    """[H, W, 3] sum of the differences to the neighbours before and after that belong to the same surface."""
    steps = np.where(joined[..., None], np.diff(points, axis=axis), 0)
    border = [(0, 0)] * 3
    border[axis] = (0, 1)
    after = np.pad(steps, border)
    border[axis] = (1, 0)
    return after + np.pad(steps, border)


def _to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Unit directions from points to the camera; along its axis where it is orthographic or at the point."""
    back = camera.camera_to_world[:3, 2]
    if camera.kind == "orthographic":
        return np.broadcast_to(back, points.shape)
    away = camera.position.host() - points
    length = np.linalg.norm(away, axis=-1, keepdims=True)
    return np.where(length > 0, away / np.where(length > 0, length, 1), back)
