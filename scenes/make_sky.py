"""Makes the sky of `tidr fit sky` and `sky_map`, and pictures of the duck under it. Run: python scenes/make_sky.py

A map of 16 x 8 texels: evening light from one side, blue above, earth below. sky.toml has the coefficients nearest to
it. Pictures are drawn at four times their size.
"""

import sys
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import write_image
from tidr.scene.harmonics import texel_directions

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .picture_sets import straight, write_views

ASSETS = Path(__file__).parent / "assets"
SIZE, OVERSAMPLING, FIT_VIEWS, KEPT_OUT = 64, 4, 4, 1
SUN = ((0.8, 0.45, 0.4), 8, (0.85, 0.55, 0.2))  # where it is, how sharp, and its colour
WINDOW = ((-0.7, 0.1, -0.7), 12, (0.1, 0.4, 0.35))


def sky() -> np.ndarray:
    """[8, 16, 3] linear radiance up to 1."""
    towards = texel_directions(8, 16)[0]
    height = towards[:, 1:2]
    radiance = np.where(height > 0, (0.14, 0.24, 0.42) + height * (0.0, 0.06, 0.2), (0.16, 0.11, 0.07))
    for way, sharp, colour in (SUN, WINDOW):
        radiance = radiance + np.exp(sharp * (towards @ way / np.linalg.norm(way) - 1))[:, None] * np.array(colour)
    return np.minimum(radiance, 1.0).reshape(8, 16, 3)


def pictures(name: str) -> None:
    """What the cameras see of a scene as its file has it."""
    scene, large, hard = tidr.load(name), SIZE * OVERSAMPLING, tidr.Rasterizer(edges="none")
    draw = lambda camera: straight(tidr.render(scene, camera, hard, large, large), OVERSAMPLING)  # noqa: E731
    write_views(ASSETS / name, draw, SIZE, FIT_VIEWS, KEPT_OUT)


if __name__ == "__main__":
    (ASSETS / "sky_map").mkdir(parents=True, exist_ok=True)
    write_image(ASSETS / "sky_map" / "sky.png", sky())
    near = tidr.SphericalHarmonicLight.of_environment(tidr.EnvironmentLight(sky())).coefficients.numpy()
    print("coefficients =", near.astype(float).round(2).tolist())
    for name in ("sky", "sky_map"):
        pictures(name)
