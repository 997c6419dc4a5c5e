"""Makes the smoke that `tidr fit smoke` should find, and the pictures of it. Run: python scenes/make_smoke.py [FOLDER]

smoke.npz holds the density [32, 32, 32] and its colour. 8 views to fit and 4 kept out, spread over a sphere, are drawn
at twice their size and averaged down, stored as WebP with straight alpha beside one transforms.json.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.volume import Volume

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import straight, write_views

CELLS, SIZE, OVERSAMPLING = 32, 96, 2
FIT_VIEWS, KEPT_OUT = 8, 4
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
    large = SIZE * OVERSAMPLING
    return straight(tidr.render(scene, camera, VolumeRenderer(steps=256, stop=0.0), large, large), OVERSAMPLING)


def main(folder: Path) -> None:
    density = plume(CELLS).astype(np.float16)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "smoke.npz", density=density, color=np.array(COLOR, np.float32))
    scene = tidr.Scene(tidr.Film(SIZE, SIZE, (0.0, 0.0, 0.0)))
    scene.add_node("smoke", tidr.Node(Volume(density.astype(np.float64), COLOR)))
    write_views(folder / "smoke_views", lambda camera: draw(scene, camera), SIZE, FIT_VIEWS, KEPT_OUT)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets")
