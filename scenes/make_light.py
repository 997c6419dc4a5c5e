"""Draws the pictures that the fits of light transport should match. Run: python scenes/make_light.py [NAME ...]

Linear radiance as .npy in half precision: a lamp in the picture is far brighter than white.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.renderers.path import PathTracer
from tidr.renderers.photons import PhotonMapper
from tidr.scene.mesh import icosphere

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .modelling import write_obj

ASSETS = Path(__file__).parent / "assets"


def cornell() -> None:
    """The Cornell box as its file has it."""
    scene = tidr.load("cornell")
    picture = tidr.render(scene, "lower", PathTracer(samples=4096, max_depth=8, seed=1), 64, 64)
    np.save(ASSETS / "cornell" / "lower.npy", picture.rgb.numpy().astype(np.float16))


def glass() -> None:
    """A ball of unit radius with 1,280 triangles, and the floor under it as the file has it."""
    folder = ASSETS / "glass"
    folder.mkdir(parents=True, exist_ok=True)
    write_obj(folder / "ball.obj", *icosphere(3))
    scene = tidr.load("glass_ior")
    mapper = PhotonMapper(photons=1 << 18, passes=96, radius=0.03, max_depth=8, seed=1)
    np.save(folder / "floor.npy", tidr.render(scene, "floor", mapper).rgb.numpy().astype(np.float16))


MAKERS = {"cornell": cornell, "glass": glass}

if __name__ == "__main__":
    for name in sys.argv[1:] or MAKERS:
        MAKERS[name]()
