"""Pictures of a subject from all around, for the scripts that make the bundled sets of views."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import linear_to_srgb, srgb_to_linear, write_image

DISTANCE, FOV_Y_DEGREES = 3.2, 40.0
LEVELS = 8  # of 255


def write_views(
    folder: Path, draw: Callable[[tidr.Camera], np.ndarray], size: int, fit_views: int, kept_out: int
) -> None:
    """Write a picture for every camera, and one transforms.json of all.

    draw: makes [size, size, 4], straight linear RGB and alpha, of what a camera sees. The views to fit and those kept
    out (split "train" and "test") are each spread over a sphere around the origin.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = {"fov_y_degrees": FOV_Y_DEGREES, "width": size, "height": size}
    groups = (
        ("train", tidr.sphere_views(fit_views, DISTANCE, **options)),
        ("test", tidr.sphere_views(kept_out, DISTANCE, turn_degrees=77.0, **options)),
    )
    frames = []
    for split, cameras in groups:
        for index, camera in enumerate(cameras):
            name = f"{split}_{index:02d}.webp"
            write_image(folder / name, coarse(draw(camera)))
            matrix = np.round(camera.camera_to_world, 9).tolist()
            frames.append({"file_path": name, "split": split, "transform_matrix": matrix})
    write_transforms(folder, {"camera_angle_x": float(np.radians(FOV_Y_DEGREES)), "w": size, "h": size}, frames)


def write_transforms(folder: Path, table: dict, frames: list[dict]) -> None:
    """transforms.json: what all frames share, and a line for each frame."""
    lines = ",\n".join(json.dumps(frame) for frame in frames)
    text = f'{json.dumps(table)[:-1]}, "frames": [\n{lines}\n]}}\n'
    (folder / "transforms.json").write_text(text, encoding="ascii", newline="\n")


def coarse(picture: np.ndarray) -> np.ndarray:
    """A linear picture [H, W, 4] whose sRGB levels are multiples of LEVELS, and 0 where nothing is: smaller files."""
    levels = np.minimum(np.rint(linear_to_srgb(np.clip(picture[..., :3], 0, 1)) * 255 / LEVELS) * LEVELS, 255) / 255
    return np.concatenate([np.where(picture[..., 3:] > 0.5 / 255, srgb_to_linear(levels), 0), picture[..., 3:]], -1)


def averaged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """[H, W, C] in f64 from [H * factor, W * factor, C]."""
    rows, columns, channels = pixels.shape
    return pixels.astype(np.float64).reshape(rows // factor, factor, columns // factor, factor, channels).mean((1, 3))


def straight(image: tidr.Image, factor: int) -> np.ndarray:
    """[H, W, 4] straight linear RGB and alpha, of an image on black that was drawn `factor` times as large."""
    rgb, alpha = averaged(image.rgb.numpy(), factor), averaged(image.alpha.numpy(), factor)
    return np.concatenate([rgb / np.maximum(alpha, 1e-6), alpha], -1)
