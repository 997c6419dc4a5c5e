"""Small scenes with volumes, shared by the volume tests."""

import numpy as np

import tidr
from tidr.scene.volume import Volume

LOWER, UPPER = (-1.0, -0.8, -1.1), (1.0, 0.9, 1.0)


def noise(kind: str, seed: int = 0, activation: str = "none", shape=(5, 6, 7)) -> Volume:
    """A volume of random numbers: kind "constant", "color" or "sh1", "sh4", "sh9", "sh16"."""
    rng = np.random.default_rng(seed)
    density = rng.uniform(0.1, 2.0, shape) if activation == "none" else rng.normal(0.5, 1.0, shape)
    options = {"lower": LOWER, "upper": UPPER, "density_activation": activation, "density_shift": 0.3}
    if kind == "constant":
        return Volume(density, rng.uniform(0.2, 1.0, 3), **options)
    if kind == "color":
        return Volume(density, rng.uniform(0.0, 1.0, (*shape, 3)), **options)
    terms = int(kind[2:])
    return Volume(density, sh=rng.normal(0.4, 0.6, (*shape, terms, 3)), **options)


def alone(volume: Volume, size: tuple[int, int] = (6, 5), background=(0.2, 0.3, 0.4), **transform) -> tidr.Scene:
    """The volume as node "cloud" under a camera "front"."""
    scene = tidr.Scene(tidr.Film(*size, background))
    scene.add_node("cloud", tidr.Node(volume, **transform))
    camera = tidr.Camera.look_at((1.2, 0.9, 2.6), (0.05, 0, 0), fov_y_degrees=36, width=size[0], height=size[1])
    scene.add_camera("front", camera)
    return scene
