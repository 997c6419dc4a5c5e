"""Draws the pictures that the fits of light transport should match. Run: python scenes/make_light.py [NAME ...]

Linear radiance as .npy in half precision: a lamp in the picture is far brighter than white.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.problems.volumes import blob
from tidr.renderers.path import PathTracer
from tidr.renderers.photons import PhotonMapper
from tidr.scene.mesh import icosphere

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .modelling import write_glb
from .picture_sets import write_views

ASSETS = Path(__file__).parent / "assets"


def cornell() -> None:
    """The Cornell box as its file has it."""
    scene = tidr.load("cornell")
    picture = tidr.render(scene, "lower", PathTracer(samples=4096, max_depth=8, seed=1), 64, 64)
    picture.save(ASSETS / "cornell" / "lower.webp")


def glass() -> None:
    """A ball of unit radius with 1,280 triangles, and the floor under it as the file has it."""
    folder = ASSETS / "glass"
    folder.mkdir(parents=True, exist_ok=True)
    write_glb(folder / "ball.glb", *icosphere(3))
    scene = tidr.load("glass_ior")
    mapper = PhotonMapper(photons=1 << 18, passes=96, radius=0.02, aimed=0.6, max_depth=8, seed=1)
    lit = tidr.render(scene, "floor", mapper).rgb.numpy().astype(np.float16)
    np.savez_compressed(folder / "floor.npz", image=lit)


def shadow() -> None:
    """The floor beneath what hangs over it, as the file has it."""
    folder = ASSETS / "shadow"
    folder.mkdir(parents=True, exist_ok=True)
    picture = tidr.render(tidr.load("shadow_light"), "beneath", PathTracer(samples=4096, max_depth=2, seed=1), 48, 48)
    np.savez_compressed(folder / "beneath.npz", image=picture.rgb.numpy().astype(np.float16))


def fog() -> None:
    """A cloud of 16^3 cells, and pictures of it in the haze that the file has: eight to fit, two kept out."""
    folder = ASSETS / "fog"
    folder.mkdir(parents=True, exist_ok=True)
    cloud = {"density": blob(16).astype(np.float16), "albedo": np.array([0.3, 0.45, 0.6], np.float32)}
    np.savez_compressed(folder / "cloud.npz", **cloud)
    scene, tracer = tidr.load("fog"), PathTracer(samples=2048, max_depth=16, seed=1)
    write_views(folder, lambda camera: tidr.render(scene, camera, tracer, 48, 48).rgb.numpy(), 48, 8, 2)


MAKERS = {"cornell": cornell, "glass": glass, "shadow": shadow, "fog": fog}

if __name__ == "__main__":
    for name in sys.argv[1:] or MAKERS:
        MAKERS[name]()
