"""Draws the pictures that `tidr fit duck` starts from. Run: python scenes/make_views.py [FOLDER]

24 views to fit and 8 kept out, spread over a sphere around the duck, each drawn at four times its size and averaged
down, stored as WebP with straight alpha beside one transforms.json.
"""

import sys
from pathlib import Path

import numpy as np

import tidr

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import straight, write_views

SIZE, OVERSAMPLING = 160, 4
FIT_VIEWS, KEPT_OUT = 24, 8


def draw(scene: tidr.Scene, camera: tidr.Camera) -> np.ndarray:
    """[SIZE, SIZE, 4] straight linear RGB and alpha."""
    large = SIZE * OVERSAMPLING
    return straight(tidr.render(scene, camera, tidr.Rasterizer(edges="none"), large, large), OVERSAMPLING)


def main(folder: Path) -> None:
    scene = tidr.load("duck")
    write_views(folder, lambda camera: draw(scene, camera), SIZE, FIT_VIEWS, KEPT_OUT)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "duck_views")
