"""Draws the pictures that `tidr fit sdf_torus` starts from. Run: python scenes/make_torus.py [FOLDER]

12 views to fit and 4 kept out, spread over a sphere around a ring under the lights and the material of the scene, each
drawn at four times its size and averaged down, stored as PNG with the mask as alpha beside one transforms.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import write_image
from tidr.problems.topology import torus
from tidr.renderers.raster import Rasterizer

SIZE, OVERSAMPLING = 96, 4
DISTANCE, FOV_Y_DEGREES = 3.2, 40.0
FIT_VIEWS, KEPT_OUT = 12, 4


def picture(scene: tidr.Scene, camera: tidr.Camera) -> np.ndarray:
    """[SIZE, SIZE, 4] linear colour, and the part of each pixel that is covered."""
    k, large = OVERSAMPLING, SIZE * OVERSAMPLING
    image = tidr.render(scene, camera, Rasterizer(edges="none"), large, large)
    fine = np.concatenate([image.rgb.numpy(), image.alpha.numpy()], -1).astype(np.float64)
    mean = fine.reshape(SIZE, k, SIZE, k, 4).mean((1, 3))
    mean[..., :3] /= np.maximum(mean[..., 3:], 1e-6)
    return mean


def main(folder: Path) -> None:
    scene = tidr.load(str(Path(__file__).with_name("sdf_torus.toml")))
    scene["ring"].geometry = torus()
    folder.mkdir(parents=True, exist_ok=True)
    options = {"fov_y_degrees": FOV_Y_DEGREES, "width": SIZE, "height": SIZE}
    groups = (
        ("train", tidr.sphere_views(FIT_VIEWS, DISTANCE, **options)),
        ("test", tidr.sphere_views(KEPT_OUT, DISTANCE, turn_degrees=77.0, **options)),
    )
    frames = []
    for split, cameras in groups:
        for index, camera in enumerate(cameras):
            name = f"{split}_{index:02d}.png"
            write_image(folder / name, picture(scene, camera))
            matrix = np.round(camera.camera_to_world, 9).tolist()
            frames.append({"file_path": name, "split": split, "transform_matrix": matrix})
    table = {"camera_angle_x": float(np.radians(FOV_Y_DEGREES)), "w": SIZE, "h": SIZE, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "torus_views")
