"""Draws the picture that `tidr fit ring` starts from: the mask of a ring. Run: python scenes/make_ring.py [PNG]"""

import sys
from pathlib import Path

import numpy as np

from tidr.files.image import write_image
from tidr.problems.points import ring_mask

SIZE = 96


def main(path: Path) -> None:
    write_image(path, np.concatenate([np.ones((SIZE, SIZE, 3)), ring_mask(SIZE)[..., None]], -1))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "ring.png")
