"""Media before a camera, for paths and for photons, and what is measured of their pictures."""

from typing import Any

import numpy as np

import tidr
from tidr.array import Array
from tidr.renderers.path import PathTracer
from tidr.scene.volume import Volume

from .gradients import tape_gradients, weighted

BLACK = (0.0, 0.0, 0.0)
QUAD = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])


def foggy(
    densities, albedo: Any = BLACK, g: Any = 0.0, sky=BLACK, sun=BLACK, lamp=BLACK, lamp_at=(0.5, 1.9, 1.6),
    panel=(1e-3, (0, 0, 90)), glow=BLACK, sun_way=(0, 0, -1), lower=(-1, -1, -0.5), upper=(1, 1, 0.5), **options,
) -> tidr.Scene:  # fmt: skip
    """A medium before the camera; all scenes have the same kinds of things in them, so that kernels compile once.

    panel: half the side of a square that faces +z, and its middle; it shines by `glow`.
    """
    scene = tidr.Scene(tidr.Film(4, 4))
    grid = np.asarray(densities, float)
    grid = grid.reshape((1,) * (3 - grid.ndim) + grid.shape)
    cloud = Volume(grid, albedo=albedo, g=g, lower=lower, upper=upper, **options)
    scene.add_node("cloud", tidr.Node(cloud))
    scene.add_material("grey", tidr.Material("lambert", albedo=(0.4, 0.5, 0.6), emission=glow))
    scene.add_node(
        "panel", tidr.Node(tidr.Mesh(panel[0] * QUAD + panel[1], [[0, 1, 2], [0, 2, 3]]), materials=("grey",))
    )
    scene.add_light("sky", tidr.EnvironmentLight(sky))
    scene.add_light("sun", tidr.DirectionalLight(sun_way, sun))
    scene.add_light("lamp", tidr.PointLight(lamp_at, lamp))
    scene.add_camera("eye", narrow((0, 0, 50), 0.02))
    return scene


def narrow(at, fov_y_degrees: float, target=(0, 0, 0)) -> tidr.Camera:
    return tidr.Camera.look_at(at, target, fov_y_degrees=fov_y_degrees, width=4, height=4)


def density(scene: tidr.Scene, name: str = "cloud") -> Array:
    return scene.parameters(f"{name}.density")[f"{name}.density"]


def drawn(scene: tidr.Scene, settings, size: int = 4) -> Array:
    return settings.render(scene, [scene.cameras["eye"]], size, size).rgb


def mean(scene: tidr.Scene, weights: Any = 1 / 48, **settings) -> float:
    return float((drawn(scene, PathTracer(**settings)).numpy() * weights).sum())


def slopes(scene: tidr.Scene, arrays, weights: Any = 1 / 48, **settings) -> np.ndarray:
    """All gradients of the weighted mean, in one row."""
    found = tape_gradients(lambda: weighted(drawn(scene, PathTracer(**settings)), weights), arrays)
    return np.concatenate([gradient.ravel() for gradient in found])


def repeated(function, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its standard error over independent seeds."""
    found = np.array([function(seed) for seed in range(n)])
    return found.mean(0), found.std(0, ddof=1) / n**0.5


def agree(one, error, other, other_error: Any = 0.0, power: bool = True) -> None:
    """|z| < 3.3; and if the first were a tenth larger, it would not be."""
    total = np.hypot(error, other_error)
    assert abs(one - other) < 3.3 * total, (one, other, total)
    if power:
        assert abs(1.1 * one - other) > 3.3 * total, ("too noisy to tell", one, other, total)
