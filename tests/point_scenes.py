"""Small scenes of point clouds shared by the tests."""

import numpy as np

import tidr
from tidr.scene.points import PointCloud


def cloud(seed: int, count: int = 12, spread: float = 0.35, radius=(0.1, 0.3), normals: bool = False) -> PointCloud:
    """Points of random colours, radii and opacities."""
    rng = np.random.default_rng(seed)
    return PointCloud(
        rng.normal(size=(count, 3)) * spread, rng.uniform(0.1, 0.9, (count, 3)),
        rng.normal(size=(count, 3)) if normals else None, rng.uniform(*radius, count), rng.uniform(0.3, 0.9, count),
    )  # fmt: skip


def placed(*clouds: PointCloud, background=(0.2, 0.1, 0.4), **node) -> tidr.Scene:
    """A scene of nodes "a", "b", ..., each turned and stretched another way under a parent."""
    scene = tidr.Scene(tidr.Film(8, 8, background))
    scene.add_node("base", tidr.Node(translation=(0.05, -0.03, 0.1), rotation=(0.98, 0.1, 0.12, -0.05)))
    for k, held in enumerate(clouds):
        place = {"translation": (0.2 * k, 0.1 * k, -0.1 * k), "rotation": (0.9, 0.2 - 0.3 * k, 0.1, 0.2)}
        scene.add_node("abc"[k], tidr.Node(held, parent="base", scale=(1.1, 0.9, 1.2), **place, **node))
    return scene


def view(kind: str = "perspective", width: int = 19, height: int = 17, distance: float = 3.2, **options) -> tidr.Camera:
    place = {"fov_y_degrees": 38} if kind == "perspective" else {"height_world": 2.2}
    eye = np.array([0.2, 0.25, 0.95]) * distance
    return tidr.Camera.look_at(eye, (0.02, 0.01, 0.03), width=width, height=height, **(place | options))


def row_of_points(opacities, colors=None, offset: float = 0.0, **cloud) -> tidr.Scene:
    """Points behind each other, `offset` pixels beside the axis of an orthographic camera "front" of one pixel."""
    count = len(opacities)
    positions = np.stack([np.full(count, offset), np.zeros(count), -np.arange(count, dtype=float)], -1)
    scene = tidr.Scene(tidr.Film(1, 1))
    held = PointCloud(positions, np.eye(3)[:count] if colors is None else colors, opacities=opacities, **cloud)
    scene.add_node("row", tidr.Node(held))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=1, width=1, height=1))
    return scene
