"""What a fit begins from: a sphere with a uv atlas, or a plane, where the masks of the views say that the thing is."""

from collections.abc import Sequence

import numpy as np

from tidr.scene.camera import Camera
from tidr.scene.graph import Scene
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh
from tidr.scene.texture import Texture

from ..errors import SceneError
from .settings import StartSettings

ACROSS, DOWN = 5, 2  # charts of the atlas: ten pairs of triangles of an icosahedron
GUTTER = 2.0  # texels left free around a chart
GREY = 0.5


def sphere_atlas(resolution: int, texels: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """An icosahedron cut into ten rhombi, each a square chart, blown up to the unit sphere.

    Args:
        resolution: edges along the side of a rhombus. texels: (height, width) of the texture that it is meant for.

    Returns:
        vertices [10 n^2 + 2, 3], faces [20 n^2, 3], uvs [10 (n + 1)^2, 2], uv_faces [20 n^2, 3]; positions are welded,
        uvs are not.
    """
    n = resolution
    corners = _rhombi()
    steps = np.arange(n + 1) / n
    u, v = np.meshgrid(steps, steps, indexing="ij")
    lower = (u + v <= 1 + 1e-9)[..., None]
    u, v = u[..., None], v[..., None]
    grids, uvs, quads = [], [], []
    height, width = texels
    margin = np.array([GUTTER * ACROSS / width, GUTTER * DOWN / height])
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    for number, (a, b, c, d) in enumerate(corners):
        point = np.where(lower, a + (b - a) * u + (d - a) * v, c + (d - c) * (1 - u) + (b - c) * (1 - v))
        grids.append((point / np.linalg.norm(point, axis=-1, keepdims=True)).reshape(-1, 3))
        cell = np.array([number % ACROSS, number // ACROSS])
        inside = margin + (1 - 2 * margin) * np.concatenate([u, v], -1)
        uvs.append(((cell + inside) / [ACROSS, DOWN]).reshape(-1, 2))
        p, q, r, s = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
        quads.append(np.concatenate([np.stack([p, q, s], 1), np.stack([q, r, s], 1)]) + number * (n + 1) ** 2)
    points, uv_faces = np.concatenate(grids), np.concatenate(quads).astype(np.int32)
    _, first, welded = np.unique(
        np.round(points * 1e6).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    faces = welded.ravel()[uv_faces].astype(np.int32)
    return points[first], faces, np.concatenate(uvs), uv_faces


def square(resolution: int) -> tuple[np.ndarray, ...]:
    """The square [-1, 1] of x and z, facing +y; u goes along x and v along -z.

    Returns:
        vertices [(n + 1)^2, 3], faces [2 n^2, 3], uvs [(n + 1)^2, 2] and the faces again, which uvs share.
    """
    steps = np.arange(resolution + 1) / resolution
    v, u = (part.ravel() for part in np.meshgrid(steps, steps, indexing="ij"))
    index = np.arange(len(u), dtype=np.int32).reshape(resolution + 1, -1)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([2 * u - 1, 0 * u, 1 - 2 * v], 1), faces, np.stack([u, v], 1), faces


def place(cameras: Sequence[Camera], masks: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Centre [3] (world) and radius of the ball that the masks suggest.

    The centre is nearest (least squares) to the rays through the masks' centroids. The radius is the geometric mean of
    two: that of a disc of the masks' mean area, from which a fit has to grow every limb, and that of the ball around
    all masks, from which it has to carve every gap.

    Args:
        masks: N of [H, W] in 0..1.

    Raises:
        SceneError: fewer than two views show anything, or all look along one line.
    """
    seen, centre = masks_centre(cameras, masks)
    full, reach = zip(*(mask_extent(camera, mask, centre) for camera, mask in seen), strict=True)
    radius = float(np.sqrt(np.mean(full) * np.max(reach)))
    if not (min(full) > 0 and np.isfinite(radius)):
        raise SceneError("fit.start", "the cameras look away from the thing", "check the poses, or give a centre")
    return centre, radius


def mask_extent(camera: Camera, mask: np.ndarray, centre: np.ndarray) -> tuple[float, float]:
    """At the centre's distance, in world units: radius of a disc of the mask's area; farthest mask pixel from it."""
    height, width = mask.shape
    column, row, w, depth = camera.projection(width, height)[0] @ np.append(centre, 1.0)
    pixels = float(camera.focal.numpy().mean()) * width / camera.width / (depth if camera.kind == "perspective" else 1)
    rows, columns = np.nonzero(mask > 0.5)
    places = np.stack([columns, rows], -1) + 0.5
    if camera.distortion is not None:
        places, _ = camera.undistorted(places, width, height)
    distances = np.linalg.norm(places - (column / w, row / w), axis=-1)
    return float(np.sqrt(mask.sum() / np.pi) / pixels), float(distances.max(initial=0.0) / pixels)


def masks_centre(
    cameras: Sequence[Camera], masks: Sequence[np.ndarray]
) -> tuple[list[tuple[Camera, np.ndarray]], np.ndarray]:
    """The views that show anything, and the point [3] (world) nearest to the rays through their masks' centroids.

    Raises:
        SceneError: fewer than two such views, or all look along one line.
    """
    seen = [(camera, mask) for camera, mask in zip(cameras, masks, strict=True) if mask.sum() >= 1]
    centre = nearest_point([pixel_ray(camera, centroid(mask), mask.shape) for camera, mask in seen])
    if centre is None:
        raise SceneError("fit.start", "the masks do not tell where the thing is", "give start a centre and a radius")
    return seen, centre


def nearest_point(rays: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray | None:
    """The point [3] nearest (least squares) to rays of (origin, unit direction); None where they do not fix one."""
    system, right = np.zeros((3, 3)), np.zeros(3)
    for origin, direction in rays:
        away = np.eye(3) - np.outer(direction, direction)
        system += away
        right += away @ origin
    return np.linalg.solve(system, right) if len(rays) > 1 and np.linalg.cond(system) < 1e6 else None


def centroid(mask: np.ndarray) -> tuple[float, float]:
    """(column, row) in pixels of the centre of gravity of a mask [H, W]."""
    rows, columns = np.indices(mask.shape) + 0.5
    total = mask.sum()
    return float((columns * mask).sum() / total), float((rows * mask).sum() / total)


def pixel_ray(camera: Camera, pixel: tuple[float, float], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Origin [3] and unit direction [3] (world) of the ray through a pixel (column, row) of an image [H, W]."""
    scale = np.array([camera.width / shape[1], camera.height / shape[0]])
    x, y = (np.asarray(pixel) * scale - camera.principal_point.numpy()) / camera.focal.numpy()
    matrix = camera.camera_to_world
    if camera.kind == "perspective":
        direction = matrix[:3, :3] @ np.array([x, -y, -1.0])
        return matrix[:3, 3], direction / np.linalg.norm(direction)
    return matrix[:3, 3] + matrix[:3, :3] @ np.array([x, -y, 0.0]), -matrix[:3, 2]


def texture_size(side: int) -> tuple[int, int]:
    """(height, width) of a texture with about side^2 texels whose charts are square."""
    chart = max(round(side / np.sqrt(ACROSS * DOWN)), 8)
    return chart * DOWN, chart * ACROSS


def begin(
    scene: Scene, name: str, start: StartSettings, cameras: Sequence[Camera], masks: Sequence[np.ndarray]
) -> None:
    """Replace the mesh of node `name` by a sphere or plane and the albedo of its first material by grey texels.

    The node keeps its transform: the new mesh is placed in its object space.

    Raises:
        SceneError: no such node, or a place that cannot be found.
    """
    if name not in scene.nodes:
        from ..parameter import nearest

        raise SceneError(f"fit.start.{name}", "no such node", nearest(name, scene.nodes))
    if start.centre is None or start.radius is None:
        centre, radius = place(cameras, masks)
        centre = centre if start.centre is None else np.asarray(start.centre)
        radius = radius if start.radius is None else start.radius
    else:
        centre, radius = np.asarray(start.centre), start.radius
    flat = start.shape == "plane"
    size = (start.texture, start.texture) if flat else texture_size(start.texture)
    vertices, faces, uvs, uv_faces = square(start.resolution) if flat else sphere_atlas(start.resolution, size)
    world = vertices * radius + centre
    to_object = np.linalg.inv(scene.world_matrices()[name])
    node = scene.nodes[name]
    points = world @ to_object[:3, :3].T + to_object[:3, 3]
    node.geometry = Mesh(points, faces, uvs=uvs, uv_faces=uv_faces)
    if not node.materials:
        node.materials = (_free_name(scene, f"{name}_paint"),)
        scene.add_material(node.materials[0], Material("lambert"))
    node.materials = node.materials[:1]
    material = scene.materials[node.materials[0]]
    values = np.full((*size, 3), GREY)
    if "albedo" in material.slots:
        _set_texture(material, Texture(values, wrap="clamp", filter="trilinear"))


def _set_texture(material: Material, texture: Texture) -> None:
    made = Material(material.type, albedo=texture)
    material.sources["albedo"] = made.sources["albedo"]


def _free_name(scene: Scene, name: str) -> str:
    while name in scene:
        name += "_"
    return name


def _rhombi() -> list[tuple[np.ndarray, ...]]:
    """Corners (a, b, c, d) of the icosahedron's ten rhombi, counter-clockwise from outside; b-d is the diagonal."""
    north, south = np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0])
    height = 1 / np.sqrt(5)
    ring = np.sqrt(1 - height * height)

    def around(turns: float, y: float) -> np.ndarray:
        return np.array([ring * np.sin(2 * np.pi * turns), y, ring * np.cos(2 * np.pi * turns)])

    upper = [around(k / 5, height) for k in range(6)]
    lower = [around((k + 0.5) / 5, -height) for k in range(6)]
    top = [(north, upper[k], lower[k], upper[k + 1]) for k in range(5)]
    bottom = [(upper[k + 1], lower[k], south, lower[k + 1]) for k in range(5)]
    return top + bottom
