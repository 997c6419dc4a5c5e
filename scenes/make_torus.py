"""Draws the pictures that `tidr fit sdf_torus` starts from. Run: python scenes/make_torus.py [FOLDER]

12 views to fit and 4 kept out, spread over a sphere around a ring under the lights and the material of the scene, each
drawn at four times its size and averaged down, stored as WebP with the mask as alpha beside one transforms.json.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.problems.topology import torus
from tidr.renderers.raster import Rasterizer

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import straight, write_views

SIZE, OVERSAMPLING = 96, 4
FIT_VIEWS, KEPT_OUT = 12, 4


def picture(scene: tidr.Scene, camera: tidr.Camera) -> np.ndarray:
    """[SIZE, SIZE, 4] straight linear RGB and alpha."""
    large = SIZE * OVERSAMPLING
    return straight(tidr.render(scene, camera, Rasterizer(edges="none"), large, large), OVERSAMPLING)


def main(folder: Path) -> None:
    scene = tidr.load(str(Path(__file__).with_name("sdf_torus.toml")))
    scene["ring"].geometry = torus()
    write_views(folder, lambda camera: picture(scene, camera), SIZE, FIT_VIEWS, KEPT_OUT, colors=32)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "torus_views")
