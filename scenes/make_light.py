"""Draws the pictures that the fits of light transport should match. Run: python scenes/make_light.py [NAME ...]

Linear radiance as .npy in half precision: a lamp in the picture is far brighter than white.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.renderers.path import PathTracer

ASSETS = Path(__file__).parent / "assets"


def cornell() -> None:
    """The Cornell box as its file has it."""
    scene = tidr.load("cornell")
    picture = tidr.render(scene, "lower", PathTracer(samples=4096, max_depth=8, seed=1), 64, 64)
    np.save(ASSETS / "cornell" / "lower.npy", picture.rgb.numpy().astype(np.float16))


MAKERS = {"cornell": cornell}

if __name__ == "__main__":
    for name in sys.argv[1:] or MAKERS:
        MAKERS[name]()
