"""Takes the flash photos that `tidr fit svbrdf` starts from. Run: python scenes/make_svbrdf.py [FOLDER]

A square sheet, enamel with inlays of brass, is seen from above by a camera with its flash: 9 photos to fit and 3 kept
out, each drawn at four times its size and averaged down. The maps that the fit begins from are even.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import srgb_to_linear, write_image

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import averaged, write_groups, write_photo

SIZE, OVERSAMPLING, QUALITY = 64, 4, 80
DISTANCE, FOV_Y_DEGREES, SLANT_DEGREES = 2.6, 48.0, 30.0
FIT_VIEWS, KEPT_OUT = 9, 3
TEXELS = 64
ENAMEL, PALE, BRASS = (0.05, 0.25, 0.5), (0.75, 0.7, 0.6), (0.9, 0.65, 0.3)
RELIEF = 0.02  # how far the inlays stand out


def ramp(value: np.ndarray, width: float = 0.05) -> np.ndarray:
    """From 0 to 1 where the value goes from below 0 to above."""
    return 0.5 + 0.5 * np.tanh(value / width)


def maps(size: int = TEXELS) -> dict[str, np.ndarray]:
    """What the sheet is made of, by slot: [size, size, 3], or 1 for roughness and metallic."""
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    down, right = np.meshgrid(steps, steps, indexing="ij")
    radius, angle = np.hypot(right, down), np.arctan2(down, right)
    metallic = np.maximum(ramp(0.42 + 0.13 * np.cos(6 * angle) - radius), ramp(0.07 - np.abs(radius - 0.8)))
    tiles = ramp(np.sin(4.5 * right + 0.4) * np.sin(4.5 * down + 0.4), 0.3)[..., None]
    paint = np.multiply(tiles, PALE) + np.multiply(1 - tiles, ENAMEL)
    height = RELIEF * metallic + 0.012 * np.sin(9 * right + 2 * np.sin(4 * down)) * np.sin(8 * down)
    by_row, by_column = np.gradient(height, 2 / size)
    normal = np.stack([-by_column, by_row, np.ones_like(height)], -1)
    return {
        "albedo": metallic[..., None] * BRASS + (1 - metallic[..., None]) * paint,
        "roughness": (0.7 - 0.2 * tiles[..., 0] * (1 - metallic) - 0.2 * metallic)[..., None],
        "metallic": metallic[..., None],
        "normal": (normal / np.linalg.norm(normal, axis=2, keepdims=True) + 1) / 2,
    }


def original() -> tidr.Scene:
    """The scene of svbrdf.toml with the sheet as it really is."""
    scene = tidr.load("svbrdf")
    slots = {slot: tidr.Texture(texels, wrap="clamp") for slot, texels in maps().items()}
    scene.materials["finish"] = tidr.Material("metallic_roughness", **slots)
    return scene


def cameras(count: int, turn_degrees: float) -> list[tidr.Camera]:
    """Above the sheet, the first the steepest, the others up to SLANT_DEGREES aside, all around."""
    slant = np.radians(SLANT_DEGREES) * np.sqrt((np.arange(count) + 0.5) / count)
    turn = np.radians(turn_degrees) + np.pi * (3 - np.sqrt(5)) * np.arange(count)
    ways = np.stack([np.sin(slant) * np.cos(turn), np.cos(slant), np.sin(slant) * np.sin(turn)], 1)
    view = {"up": (0, 0, -1), "fov_y_degrees": FOV_Y_DEGREES, "width": SIZE, "height": SIZE}
    return [tidr.Camera.look_at(DISTANCE * way, (0, 0, 0), **view) for way in ways]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("even", 0.5), ("flat", (0.5, 0.5, 1.0))):
        write_image(folder / f"{name}.webp", srgb_to_linear(np.full((TEXELS, TEXELS, 3), value)))
    scene, large = original(), SIZE * OVERSAMPLING

    def shoot(file: Path, camera: tidr.Camera) -> None:
        image = tidr.render(scene, camera, tidr.Rasterizer(edges="none"), large, large)
        write_photo(file, averaged(image.rgb.numpy(), OVERSAMPLING), QUALITY)

    groups = {"train": cameras(FIT_VIEWS, 0.0), "test": cameras(KEPT_OUT, 77.0)}
    write_groups(folder, groups, FOV_Y_DEGREES, shoot)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "svbrdf")
