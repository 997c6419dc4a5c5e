"""Draws the silhouettes that `tidr fit voxel_carve` starts from. Run: python scenes/make_carve.py [FOLDER]

24 views to fit and 4 kept out, spread over a sphere around a padlock, each drawn at four times its size and averaged
down, stored as WebP (white, with the mask as alpha) beside one transforms.json.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.renderers.voxels import VoxelRenderer
from tidr.scene.voxels import VoxelGrid, cell_centers

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import averaged, write_views

SIZE, OVERSAMPLING, CELLS = 96, 4, 160
FIT_VIEWS, KEPT_OUT = 24, 4


def padlock(points: np.ndarray) -> np.ndarray:
    """Signed distance [...] of a padlock at points [..., 3]: a rounded body, and a shackle over it."""
    half = np.array([0.5, 0.36, 0.24]) - 0.08
    beyond = np.abs(points - [0, -0.32, 0]) - half
    body = np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(-1), 0) - 0.08
    x, y, z = points[..., 0], points[..., 1] - 0.22, points[..., 2]
    arch = np.hypot(np.hypot(x, y) - 0.32, z)
    legs = np.hypot(np.abs(x) - 0.32, z)
    shackle = np.where(y > 0, arch, np.where(y > -0.4, legs, np.hypot(legs, y + 0.4))) - 0.11
    return np.minimum(body, shackle)


def silhouette(scene: tidr.Scene, camera: tidr.Camera) -> np.ndarray:
    """[SIZE, SIZE, 4] white with the mask as alpha."""
    large = SIZE * OVERSAMPLING
    alpha = tidr.render(scene, camera, VoxelRenderer(method="ptn", samples=2 * CELLS), large, large).alpha.numpy()
    mask = averaged(alpha > 0.5, OVERSAMPLING)
    return np.concatenate([np.ones((SIZE, SIZE, 3)), mask], -1)


def main(folder: Path) -> None:
    scene = tidr.Scene()
    distance = padlock(cell_centers((CELLS,) * 3))
    scene.add_node("lock", tidr.Node(VoxelGrid(occupancy=np.clip(0.5 - distance * CELLS / 2, 0, 1))))
    write_views(folder, lambda camera: silhouette(scene, camera), SIZE, FIT_VIEWS, KEPT_OUT)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "carve_views")
