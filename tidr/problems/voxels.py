"""Voxels: T4, scattered occupancy that should gather into a ring."""

import numpy as np

from tidr.fitting.optimizers import Adam, Optimizers
from tidr.renderers.renderer import render
from tidr.renderers.voxels import VoxelRenderer
from tidr.scene.camera import sphere_views
from tidr.scene.distance import distance_transform
from tidr.scene.graph import Node, Scene
from tidr.scene.voxels import VoxelGrid, cell_centers

from .runner import SIZE, Problem, Task

CELLS, VIEWS = 32, 12  # fine enough for "drc", which empties every cell that a ray beside the ring crosses
RENDERERS = {method: VoxelRenderer(method=method) for method in ("ptn", "drc", "visual_hull", "absorption", "splat")}
RENDERERS["neural_volumes"] = VoxelRenderer(method="neural_volumes", samples=48, density_scale=12.0)


def ring(cells: int) -> np.ndarray:
    """[cells, cells, cells] signed distance of a ring around the z axis, in [-1, 1]^3."""
    x, y, z = np.moveaxis(cell_centers((cells,) * 3), -1, 0)
    return np.hypot(np.hypot(x, y) - 0.55, z) - 0.22


def gathered_ring() -> Task:
    """Noise in every cell; silhouettes of a ring from all around. Chamfer distance between the cells above 1/2."""
    cameras = sphere_views(VIEWS, 3.2, fov_y_degrees=40, width=SIZE, height=SIZE)
    fine = 96
    target = Scene()
    target.add_node("ring", Node(VoxelGrid(occupancy=np.clip(0.5 - ring(fine) * fine / 2, 0, 1))))
    drawer = VoxelRenderer(method="ptn", samples=2 * fine)
    mask = (render(target, cameras, drawer).alpha.numpy() > 0.5).astype(float)

    noise = np.random.default_rng(4).uniform(0.3, 0.7, (CELLS,) * 3)
    scene = Scene()
    scene.add_node("cloud", Node(VoxelGrid(occupancy=noise)))
    wanted, start = ring(CELLS) < 0, _chamfer(noise > 0.5, ring(CELLS) < 0)

    def error() -> float:
        found = scene["cloud"].geometry.occupancy.numpy() > 0.5
        return 100 * _chamfer(found, wanted) / start

    return Task(
        scene=scene,
        cameras=cameras,
        targets={"alpha": mask},
        optimizer=Optimizers([Adam(scene.parameters("cloud.occupancy"), lr=5e-2)]),
        error=error,
        views_per_step=4,
    )


def _chamfer(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean distance from cells of one set to the other, both ways, in cells; inf where one is empty."""
    if not found.any() or not wanted.any():
        return float("inf")
    there, back = (distance_transform(mask, (1, 1, 1)) for mask in (wanted, found))
    return float(there[found].mean() + back[wanted].mean())


PROBLEMS = (
    Problem(
        name="T4-voxels",
        title="scattered occupancy into a ring",
        measure="percent of the first Chamfer distance",
        threshold=5.0,
        build=gathered_ring,
        renderers=RENDERERS,
        known={"neural_volumes": "nearly all rays begin opaque, and those have no gradient: the clamp at 1"},
    ),
)
