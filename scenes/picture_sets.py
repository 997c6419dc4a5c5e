"""Pictures of a subject from all around, for the scripts that make the bundled sets of views."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import tidr
from tidr.files.image import linear_to_srgb, srgb_to_linear, write_image

DISTANCE, FOV_Y_DEGREES = 3.2, 40.0


def write_views(
    folder: Path, draw: Callable[[tidr.Camera], np.ndarray], size: int, fit_views: int, kept_out: int, colors: int = 128
) -> None:
    """Write a picture for every camera, and one transforms.json of all.

    draw: makes [size, size, 3 or 4], straight linear RGB and alpha, of what a camera sees; so many colors of it are
    kept. The views to fit and those kept out (split "train" and "test") are each spread over a sphere around the
    origin.
    """
    options = {"fov_y_degrees": FOV_Y_DEGREES, "width": size, "height": size}
    groups = {
        "train": tidr.sphere_views(fit_views, DISTANCE, **options),
        "test": tidr.sphere_views(kept_out, DISTANCE, turn_degrees=77.0, **options),
    }
    write_groups(
        folder, groups, FOV_Y_DEGREES, lambda file, camera: write_image(file, few_colors(draw(camera), colors))
    )


def write_groups(
    folder: Path,
    groups: Mapping[str, Sequence[tidr.Camera]],
    fov_y_degrees: float,
    write: Callable[[Path, tidr.Camera], None],
) -> None:
    """A picture that `write` makes for every camera of each split, and one transforms.json of all."""
    folder.mkdir(parents=True, exist_ok=True)
    frames, first = [], next(iter(groups.values()))[0]
    for split, cameras in groups.items():
        for index, camera in enumerate(cameras):
            name = f"{split}_{index:02d}.webp"
            write(folder / name, camera)
            matrix = np.round(camera.camera_to_world, 6).tolist()
            frames.append({"file_path": name, "split": split, "transform_matrix": matrix})
    size = {"w": first.width, "h": first.height}
    write_transforms(folder, {"camera_angle_x": float(np.radians(fov_y_degrees)), **size}, frames)


def write_photo(file: Path, picture: np.ndarray, quality: int) -> None:
    """A linear picture [H, W, 3] as WebP with losses, as cameras store them."""
    levels = np.rint(255 * linear_to_srgb(np.clip(picture, 0, 1))).astype(np.uint8)
    Image.fromarray(levels).save(file, quality=quality, method=6)


def write_transforms(folder: Path, table: dict, frames: list[dict]) -> None:
    """transforms.json: what all frames share, and a line for each frame."""
    lines = ",\n".join(json.dumps(frame) for frame in frames)
    text = f'{json.dumps(table)[:-1]}, "frames": [\n{lines}\n]}}\n'
    (folder / "transforms.json").write_text(text, encoding="ascii", newline="\n")


def few_colors(picture: np.ndarray, count: int) -> np.ndarray:
    """A linear picture [H, W, 3 or 4] of at most so many colours, and 0 where nothing is: smaller files."""
    there = picture[..., 3:] > 0.5 / 255 if picture.shape[-1] == 4 else np.ones_like(picture[..., :1], bool)
    seen = linear_to_srgb(np.clip(picture[..., :3], 0, 1)) * there
    drawn = Image.fromarray(np.rint(255 * seen).astype(np.uint8))
    drawn = drawn.quantize(count, Image.Quantize.MAXCOVERAGE, count, dither=Image.Dither.NONE).convert("RGB")
    linear = np.where(there, srgb_to_linear(np.asarray(drawn) / 255), 0)
    return np.concatenate([linear, picture[..., 3:]], -1)


def averaged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """[H, W, C] in f64 from [H * factor, W * factor, C]."""
    rows, columns, channels = pixels.shape
    return pixels.astype(np.float64).reshape(rows // factor, factor, columns // factor, factor, channels).mean((1, 3))


def straight(image: tidr.Image, factor: int) -> np.ndarray:
    """[H, W, 4] straight linear RGB and alpha, of an image on black that was drawn `factor` times as large."""
    rgb, alpha = averaged(image.rgb.numpy(), factor), averaged(image.alpha.numpy(), factor)
    return np.concatenate([rgb / np.maximum(alpha, 1e-6), alpha], -1)
