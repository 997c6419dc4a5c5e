"""The small meshes that the toy problems fit, and pictures of them."""

from collections.abc import Sequence

import numpy as np

from tidr.renderers.raster import Rasterizer
from tidr.renderers.renderer import render
from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Geometry, Node, Scene
from tidr.scene.mesh import Mesh, icosphere


def pictures(
    scene: Scene, cameras: Sequence[Camera], *channels: str, samples: int = 4, drawer: Rasterizer | None = None
) -> dict[str, np.ndarray]:
    """Channels [B, H, W, C] of the scene, hard, box-filtered from `samples`^2 points a pixel: no method's own image."""
    width, height = cameras[0].width, cameras[0].height
    drawer = drawer or Rasterizer(edges="none", channels=channels)
    found: dict[str, list[np.ndarray]] = {name: [] for name in channels}
    for camera in cameras:
        image = render(scene, camera, drawer, width * samples, height * samples)
        for name in channels:
            fine = image.channel(name).numpy().astype(np.float64)
            found[name].append(fine.reshape(height, samples, width, samples, -1).mean((1, 3)))
    return {name: np.stack(each) for name, each in found.items()}


def lone(geometry: Geometry, name: str = "shape", size: int = 64, **place) -> Scene:
    """A scene of one node without lights."""
    scene = Scene(Film(size, size))
    scene.add_node(name, Node(geometry, **place))
    return scene


def disc(radius: float, corners: int = 48) -> Mesh:
    """A flat disc in the xy plane, facing +z."""
    angles = 2 * np.pi * np.arange(corners) / corners
    rim = np.stack([np.cos(angles), np.sin(angles), np.zeros(corners)], 1) * radius
    nexts = 1 + (np.arange(corners) + 1) % corners
    faces = np.stack([np.zeros(corners, np.int64), 1 + np.arange(corners), nexts], 1)
    return Mesh(np.concatenate([np.zeros((1, 3)), rim]), faces)


def quad(half: float, depth: float = 0.0) -> Mesh:
    """A square [-half, half]^2 at z = depth, facing +z, with uvs over the unit square (v up)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    vertices = np.column_stack([corners * half, np.full(4, depth)])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), uvs=(corners + 1) / 2, shading="flat")


def sphere(radius: float, level: int = 3) -> Mesh:
    return Mesh(*icosphere(level, radius))


def blob(radius: float, seed: int = 3) -> Mesh:
    """A genus-0 potato: a sphere swollen by a few smooth waves."""
    vertices, faces = icosphere(3)
    rng = np.random.default_rng(seed)
    waves = [np.sin(vertices @ rng.normal(size=3) * 2.0 + rng.uniform(0, 6)) for _ in range(4)]
    return Mesh(vertices * (radius * (1 + 0.13 * np.sum(waves, axis=0)))[:, None], faces)


def prism(outline: np.ndarray, triangles: np.ndarray, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """A counter-clockwise outline [n, 2] with its triangulation, extruded from z = -depth / 2 to depth / 2."""
    count = len(outline)
    ring = np.arange(count)
    following = (ring + 1) % count
    sides = [np.stack([ring, following, following + count], 1), np.stack([ring, following + count, ring + count], 1)]
    faces = np.concatenate([triangles[:, ::-1], triangles + count, *sides])
    layers = [np.column_stack([outline, np.full(count, z)]) for z in (-depth / 2, depth / 2)]
    return np.concatenate(layers), faces


def cube(half: float) -> Mesh:
    outline = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return Mesh(*prism(outline, np.array([[0, 1, 2], [0, 2, 3]]), 2 * half), shading="flat")


def l_shape(size: float, depth: float) -> Mesh:
    """An L of two bars, the upright one longer; no symmetry but the mirror at z = 0."""
    outline = np.array([[0, 0], [3, 0], [3, 1.2], [1.2, 1.2], [1.2, 4], [0, 4]]) * (size / 4)
    outline = outline - np.array([1.2, 1.6]) * (size / 4)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]])
    return Mesh(*prism(outline, triangles, depth), shading="flat")
