"""Takes the photos that `tidr fit height_map` starts from. Run: python scenes/make_height_map.py [FOLDER]

An island under a low sun, seen by eight cameras on a circle above it; each photo is drawn at four times its size and
averaged down. The island itself is made anew wherever it is needed (`island`).
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.fitting.start import square

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import averaged, write_groups, write_photo

SIZE, OVERSAMPLING, QUALITY = 64, 4, 76
CELLS, HALF = 192, 1.2  # of the island: a side's triangles, half the side
VIEWS, DISTANCE, SLANT_DEGREES, FOV_Y_DEGREES = 8, 3.0, 32.0, 47.0
PEAKS = ((-0.35, -0.3, 0.6, 0.33), (0.4, 0.1, 0.35, 0.25), (-0.1, 0.5, 0.3, 0.3), (0.5, -0.6, 0.25, 0.24))
CRATER = (-0.35, -0.3, 0.25, 0.16)
SEA = (0.05, 0.2, 0.4)
PAINTS = {0.05: (0.75, 0.65, 0.4), 0.11: (0.15, 0.4, 0.1), 0.26: (0.4, 0.33, 0.28), 0.36: (0.9, 0.9, 0.95)}  # above


def heights(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """World units above the plane."""
    hills = sum(top * np.exp(-((x - a) ** 2 + (z - b) ** 2) / (2 * width**2)) for a, b, top, width in PEAKS)
    a, b, depth, width = CRATER
    return hills - depth * np.exp(-((x - a) ** 2 + (z - b) ** 2) / (2 * width**2))


def island() -> tidr.Mesh:
    """[-HALF, HALF] of x and z, coloured by height, in blotches."""
    flat, faces, *_ = square(CELLS)
    x, _, z = (HALF * flat).T
    y = heights(x, z)
    random, blotches = np.random.default_rng(3), np.zeros_like(y)
    for waves in np.geomspace(6, 24, 12):  # radians a unit of length
        turn, phase = random.uniform(0, 2 * np.pi, 2)
        blotches += np.sin(waves * (np.cos(turn) * x + np.sin(turn) * z) + phase) / 3
    level = y + 0.03 * blotches
    colors = np.broadcast_to(SEA, (len(y), 3))
    for above, paint in PAINTS.items():
        share = 0.5 + 0.5 * np.tanh((level - above) / 0.015)[:, None]
        colors = colors * (1 - share) + share * np.array(paint)
    colors = colors * (1 + 0.4 * np.sin(4 * blotches))[:, None]
    return tidr.Mesh(np.stack([x, y, z], 1), faces, colors=np.clip(colors, 0, 1))


def original() -> tidr.Scene:
    """The scene of height_map.toml with the island in place of the plane."""
    scene = tidr.load("height_map")
    scene.materials["ground"] = tidr.Material("lambert", albedo="vertex_colors")
    scene.nodes["land"] = tidr.Node(island(), ("ground",))
    return scene


def cameras() -> list[tidr.Camera]:
    """On a circle, all looking at the middle of the island."""
    turn, slant = 2 * np.pi * np.arange(VIEWS) / VIEWS, np.radians(SLANT_DEGREES)
    view = {"up": (0, 0, -1), "fov_y_degrees": FOV_Y_DEGREES, "width": SIZE, "height": SIZE}
    ways = np.stack([np.sin(slant) * np.cos(turn), np.full(VIEWS, np.cos(slant)), np.sin(slant) * np.sin(turn)], 1)
    return [tidr.Camera.look_at(DISTANCE * way, (0, 0, 0), **view) for way in ways]


def main(folder: Path) -> None:
    scene, large = original(), SIZE * OVERSAMPLING

    def shoot(file: Path, camera: tidr.Camera) -> None:
        image = tidr.render(scene, camera, tidr.Rasterizer(edges="none"), large, large)
        write_photo(file, averaged(image.rgb.numpy(), OVERSAMPLING), QUALITY)

    write_groups(folder, {"train": cameras()}, FOV_Y_DEGREES, shoot)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "height_map")
