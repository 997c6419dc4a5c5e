"""Makes what stands in the scene `mixed`, and the pictures that its fit should match.

Run: python scenes/make_mixed.py

ball.obj is a sphere of large triangles with ball.png on it; smoke.npz a puff, density and box; garland.ply Gaussians
along a coil around the ball. The pictures are linear radiance as .npy in half precision.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import write_image
from tidr.files.splats import SplatData, write_splats
from tidr.files.volume import VolumeData, write_volume
from tidr.renderers.hybrid import HybridRenderer
from tidr.scene.gaussians import SH_0

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .modelling import OctahedralGrid, write_obj

FOLDER = Path(__file__).parent / "assets" / "mixed"
CELLS, LOWER, UPPER = (14, 12, 16), (-1.0, -0.5, -0.95), (1.0, 0.6, 0.95)  # of the smoke: z, y, x; its box
PUFFS = 9
BEADS, TURNS, RADIUS = 80, 2.25, 0.9  # of the garland
SIZE, STEPS = 48, 64
RINGS, BALL, TEXELS, SECTORS = 5, 0.6, 64, 6  # of the ball: lattice, radius, texels a side, painted sectors
PAINTS = np.array([(0.85, 0.15, 0.1), (0.9, 0.85, 0.75), (0.1, 0.3, 0.75), (0.95, 0.7, 0.1)])


def paint() -> np.ndarray:
    """[TEXELS, TEXELS, 3]: sectors of two colours above and of two others below, a pale ring between."""
    steps = (np.arange(TEXELS) + 0.5) / TEXELS * 2 - 1
    b, a = np.meshgrid(-steps, steps, indexing="ij")  # row 0 is on top, where b is 1
    height = 1 - np.abs(a) - np.abs(b)
    x = np.where(height < 0, np.sign(a) * (1 - np.abs(b)), a)
    z = -np.where(height < 0, np.sign(b) * (1 - np.abs(a)), b)
    odd = np.floor(np.arctan2(z, x) / (2 * np.pi) * SECTORS).astype(int) % 2
    colors = PAINTS[odd * 2 + (height < 0) * (1 - odd)]
    return np.where(np.abs(height)[..., None] < 0.12, PAINTS[1], colors)


def puff() -> np.ndarray:
    """Densities: overlapping balls, thicker below, that leave the border of the box free."""
    rng = np.random.default_rng(11)
    z, y, x = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in CELLS), indexing="ij"))
    total = np.zeros(CELLS)
    for _ in range(PUFFS):
        middle, width = rng.uniform(-0.45, 0.45, 3), rng.uniform(0.2, 0.4)
        square = (x - middle[0]) ** 2 + (y - middle[1] + 0.2) ** 2 + (z - middle[2]) ** 2
        total += 9.0 * np.exp(-square / width**2)
    return total * np.clip(4 * (1 - np.max(np.abs([x, y, z]), axis=0)), 0, 1)


def garland() -> SplatData:
    """Beads of changing colour, size and opacity along a rising coil."""
    rng = np.random.default_rng(12)
    part = (np.arange(BEADS) + 0.5) / BEADS
    angle = 2 * np.pi * TURNS * part
    means = np.stack([RADIUS * np.cos(angle), 0.9 * part - 0.4, RADIUS * np.sin(angle)], 1)
    colors = 0.5 + 0.45 * np.cos(2 * np.pi * (3 * part[:, None] + np.array([0, 1, 2]) / 3))
    return SplatData(
        means=means + 0.02 * rng.normal(size=means.shape),
        log_scales=np.log(0.04 * np.exp(0.3 * rng.normal(size=(BEADS, 3)))),
        rotations=rng.normal(size=(BEADS, 4)),
        opacity_logits=rng.normal(4.0, 0.5, (BEADS, 1)),
        sh_dc=(colors - 0.5) / SH_0,
    )


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    ball = OctahedralGrid(RINGS)
    uvs = ball.texture_coordinates(0.5 / TEXELS)
    write_obj(FOLDER / "ball.obj", BALL * ball.directions, ball.faces, uvs, ball.corners)
    write_image(FOLDER / "ball.png", paint())
    grid = puff().astype(np.float16).astype(np.float32)
    write_volume(FOLDER / "smoke.npz", VolumeData({"density": grid}, np.array(LOWER), np.array(UPPER)))
    write_splats(FOLDER / "garland.ply", garland())
    scene = tidr.load("mixed")
    for name in ("front", "side"):
        picture = tidr.render(scene, name, HybridRenderer(steps=STEPS), SIZE, SIZE).rgb.numpy()
        write_image(FOLDER / f"{name}.webp", picture)


if __name__ == "__main__":
    main()
