"""Draws the pictures that `tidr fit duck` starts from. Run: python scenes/make_views.py [FOLDER]

24 views to fit and 8 kept out, spread over a sphere around the duck, each drawn at four times its size and averaged
down, stored as PNG with straight alpha beside one transforms.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import write_image

SIZE, OVERSAMPLING = 192, 4
FIT_VIEWS, KEPT_OUT = 24, 8
DISTANCE, FOV_Y_DEGREES = 3.2, 40.0


def averaged(pixels: np.ndarray) -> np.ndarray:
    """[H, W, C] from [H * k, W * k, C], k = OVERSAMPLING."""
    k = OVERSAMPLING
    rows, columns, channels = pixels.shape
    return pixels.reshape(rows // k, k, columns // k, k, channels).mean((1, 3))


def draw(scene: tidr.Scene, camera: tidr.Camera) -> np.ndarray:
    """[SIZE, SIZE, 4] straight linear RGB and alpha."""
    large = SIZE * OVERSAMPLING
    image = tidr.render(scene, camera, tidr.Rasterizer(edges="none"), large, large)
    rgb, alpha = averaged(image.rgb.numpy()), averaged(image.alpha.numpy())
    return np.concatenate([rgb / np.maximum(alpha, 1e-6), alpha], -1)


def main(folder: Path) -> None:
    scene = tidr.load("duck")
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
            write_image(folder / name, draw(scene, camera))
            matrix = np.round(camera.camera_to_world, 9).tolist()
            frames.append({"file_path": name, "split": split, "transform_matrix": matrix})
    table = {"camera_angle_x": float(np.radians(FOV_Y_DEGREES)), "w": SIZE, "h": SIZE, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "duck_views")
