"""Small scenes that mix meshes, Gaussians and a volume, shared by the tests of the hybrid renderer."""

import numpy as np

import tidr
from tidr.scene.mesh import Mesh
from tidr.scene.volume import Volume

from .gaussian_scenes import cloud
from .volume_scenes import LOWER, UPPER, noise

MEMBERS = ("sheet", "cloud", "beads")
BACKGROUND = (0.2, 0.3, 0.4)
GRID = (5, 6, 7)


def medium(seed: int, glowing: bool, grid: bool) -> Volume:
    """Random density and albedo, [3] or a grid; with a colour of its own where it glows."""
    rng = np.random.default_rng(seed)
    density, albedo = rng.uniform(0.1, 2.0, GRID), rng.uniform(0.2, 0.9, (*GRID, 3) if grid else 3)
    color = rng.uniform(0, 1, (*GRID, 3)) if glowing else None
    return Volume(density, color, albedo=albedo, g=0.3, lower=LOWER, upper=UPPER)


def mixed(seed: int = 0, volume: Volume | None = None, size: tuple[int, int] = (7, 6)) -> tidr.Scene:
    """A triangle that cuts through a volume among Gaussians: nodes "sheet", "cloud" and "beads", lit."""
    rng, (width, height) = np.random.default_rng(seed), size
    scene = tidr.Scene(tidr.Film(width, height, BACKGROUND))
    corners = rng.normal(size=(3, 3)) * 0.2 + np.array([[-1.0, -0.8, 0], [1.1, -0.6, 0.1], [0.1, 0.9, -0.2]])
    scene.add_material("paint", tidr.Material("lambert", albedo=(0.7, 0.5, 0.3)))
    place = {"translation": (0.1, -0.05, 0.1), "rotation": (0.9, 0.1, 0.2, -0.1), "scale": (0.9, 1.1, 1.0)}
    scene.add_node("sheet", tidr.Node(Mesh(corners, [[0, 1, 2]]), materials=("paint",), translation=(0.05, 0, -0.1)))
    scene.add_node("cloud", tidr.Node(noise("color", seed) if volume is None else volume, **place))
    scene.add_node("beads", tidr.Node(cloud(seed, count=8, degree=1, size=0.2), scale=(1.1, 0.9, 1.0)))
    scene.add_light("sun", tidr.DirectionalLight((-0.2, -0.3, -1), 2.0))
    scene.add_light("lamp", tidr.PointLight((0.8, 1.2, 1.4), 4.0))
    view = {"fov_y_degrees": 45, "width": width, "height": height}
    scene.add_camera("front", tidr.Camera.look_at((1.2, 0.9, 2.6), (0.05, 0, 0), **view))
    return scene


def only(scene: tidr.Scene, *members: str) -> tidr.Scene:
    """The scene without its other members."""
    for name in set(MEMBERS) - set(members):
        del scene.nodes[name]
    return scene
