"""Makes the smoke that `tidr fit smoke` should find, and the pictures of it. Run: python scenes/make_smoke.py [FOLDER]

smoke.npz holds the density [32, 32, 32] and its colour. 8 views to fit and 4 kept out, spread over a sphere, are drawn
at twice their size and averaged down, stored as PNG with straight alpha beside one transforms.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import write_image
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.volume import Volume

CELLS, SIZE, OVERSAMPLING = 32, 96, 2
FIT_VIEWS, KEPT_OUT = 8, 4
DISTANCE, FOV_Y_DEGREES = 3.2, 40.0
COLOR = (0.85, 0.88, 0.95)
PUFFS, FAINT = 14, 0.05


def plume(cells: int) -> np.ndarray:
    """[cells, cells, cells]: puffs that rise, turn, widen and thin out."""
    rng = np.random.default_rng(4)
    z, y, x = (np.indices((cells,) * 3) + 0.5) / cells * 2 - 1
    total = np.zeros((cells,) * 3)
    for part in np.linspace(0, 1, PUFFS):
        sway = 0.05 * rng.normal(size=2)
        middle = (
            0.28 * np.sin(3.2 * part) * part + sway[0],
            1.4 * part - 0.75,
            0.22 * np.sin(4.5 * part + 1) * part + sway[1],
        )
        square = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2
        total += (3.2 - 1.8 * part) * np.exp(-0.8 * square / (0.12 + 0.16 * part) ** 2)
    return np.where(total > FAINT, total, 0)


def draw(scene: tidr.Scene, camera: tidr.Camera) -> np.ndarray:
    """[SIZE, SIZE, 4] straight linear RGB and alpha."""
    k = OVERSAMPLING
    image = tidr.render(scene, camera, VolumeRenderer(steps=256, stop=0.0), SIZE * k, SIZE * k)
    both = np.concatenate([image.rgb.numpy(), image.alpha.numpy()], -1)
    both = both.reshape(SIZE, k, SIZE, k, 4).mean((1, 3))
    return np.concatenate([both[..., :3] / np.maximum(both[..., 3:], 1e-6), both[..., 3:]], -1)


def main(folder: Path) -> None:
    density = plume(CELLS).astype(np.float16)
    views = folder / "smoke_views"
    views.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "smoke.npz", density=density, color=np.array(COLOR, np.float32))
    scene = tidr.Scene(tidr.Film(SIZE, SIZE, (0.0, 0.0, 0.0)))
    scene.add_node("smoke", tidr.Node(Volume(density.astype(np.float64), COLOR)))
    options = {"fov_y_degrees": FOV_Y_DEGREES, "width": SIZE, "height": SIZE}
    groups = (
        ("train", tidr.sphere_views(FIT_VIEWS, DISTANCE, **options)),
        ("test", tidr.sphere_views(KEPT_OUT, DISTANCE, turn_degrees=77.0, **options)),
    )
    frames = []
    for split, cameras in groups:
        for index, camera in enumerate(cameras):
            name = f"{split}_{index:02d}.png"
            write_image(views / name, draw(scene, camera))
            matrix = np.round(camera.camera_to_world, 9).tolist()
            frames.append({"file_path": name, "split": split, "transform_matrix": matrix})
    table = {"camera_angle_x": float(np.radians(FOV_Y_DEGREES)), "w": SIZE, "h": SIZE, "frames": frames}
    (views / "transforms.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets")
