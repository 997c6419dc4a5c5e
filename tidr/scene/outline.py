"""What stands in a scene as plain arrays in world space, for programs that only show it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .gaussians import SH_0, Gaussians
from .graph import Node, Scene
from .mesh import Mesh
from .points import PointCloud


@dataclass(frozen=True)
class Outline:
    """A mesh or a cloud of points.

    positions: [V, 3], world. faces: [F, 3], none for points. colors: [V, 3] linear RGB in [0, 1], or None.
    """

    name: str
    positions: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None


def outlines(scene: Scene) -> Iterator[Outline]:
    """Meshes with their vertex colours or the mean albedo of their first material, points, and the centres of
    Gaussians; nodes with anything else are left out."""
    worlds = scene.world_matrices()
    for name, node in scene.nodes.items():
        geometry, faces = node.geometry, np.zeros((0, 3), np.int32)
        if isinstance(geometry, Mesh):
            positions, faces, colors = geometry.vertices.numpy(), geometry.faces, _mesh_colors(scene, node)
        elif isinstance(geometry, PointCloud):
            positions = geometry.positions.numpy()
            colors = None if geometry.colors is None else geometry.colors.numpy()
        elif isinstance(geometry, Gaussians):
            positions, colors = geometry.means.numpy(), 0.5 + SH_0 * geometry.sh_dc.numpy()
        else:
            continue
        world = worlds[name]
        placed = positions @ world[:3, :3].T + world[:3, 3]
        yield Outline(name, placed, faces, None if colors is None else np.clip(colors, 0, 1))


def _mesh_colors(scene: Scene, node: Node) -> np.ndarray | None:
    mesh = node.mesh
    if mesh.colors is not None:
        return mesh.colors.numpy()
    material = scene.materials.get(node.materials[0]) if node.materials else None
    albedo = material.parameters().get("albedo") if material is not None else None
    if albedo is None:
        return None
    mean = albedo.numpy().reshape(-1, albedo.channels).mean(0)
    return np.broadcast_to(mean, (mesh.vertices.rows, 3))
