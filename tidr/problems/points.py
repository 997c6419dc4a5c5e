"""Points: T4, scattered points that should gather into a ring."""

from collections.abc import Mapping, Sequence

import numpy as np

from tidr.array import Array
from tidr.fitting.losses import multi_scale
from tidr.fitting.optimizers import Adam, Optimizers
from tidr.fitting.point_losses import chamfer
from tidr.fitting.tape import Loss
from tidr.renderers.points import PointRenderer
from tidr.renderers.renderer import Image
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.points import PointCloud

from .runner import SIZE, Problem, Task

POINTS, SPREAD = 200, 0.7
RADIUS, THICKNESS, HEIGHT = 0.6, 0.16, 2.6  # world units, of the ring and of the picture
REACH, OPACITY = 0.16, 0.009  # so wide that every point touches the ring; all together they cover half as much as it
RENDERERS = {
    "gaussian": PointRenderer(splat="gaussian", compositing="alpha", sigma_pixels=0),
    "knn": PointRenderer(splat="knn", radius_pixels=10.0, points_per_pixel=POINTS),
    "pixel": PointRenderer(splat="pixel"),
}


def ring_mask(size: int) -> np.ndarray:
    """[size, size] how much of each pixel a ring covers, in a picture HEIGHT world units wide."""
    x = (np.arange(size) + 0.5) / size * HEIGHT - HEIGHT / 2
    beyond = np.abs(np.hypot(x[:, None], x) - RADIUS) - THICKNESS / 2
    return np.clip(0.5 - beyond * size / HEIGHT, 0, 1)


def ring_points(count: int) -> np.ndarray:
    """[count, 3] points evenly along the middle of the ring."""
    angle = 2 * np.pi * np.arange(count) / count
    return RADIUS * np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], -1)


def gathered_points() -> Task:
    """Points all over the picture's plane, one parallel view, and the mask of a ring at several scales.

    They begin wide and faint. Where they covered more than the ring does, some would flee instead of finding it.
    """
    camera = Camera.look_at((0, 0, 3), (0, 0, 0), height_world=HEIGHT, width=SIZE, height=SIZE)
    places = np.random.default_rng(4).uniform(-SPREAD, SPREAD, (POINTS, 3)) * (1, 1, 0)
    cloud = PointCloud(places, radii=REACH, opacities=OPACITY)
    scene = Scene()
    scene.add_node("cloud", Node(cloud))
    wanted = ring_points(4 * POINTS)
    start = float(chamfer(places, wanted))
    rates = {"positions": 1e-2, "radii": 5e-4, "opacities": 1e-4}

    def error() -> float:
        return 100 * float(chamfer(cloud.positions.numpy(), wanted)) / start

    def loss(image: Image, targets: Mapping[str, Array]) -> Sequence[tuple[Loss, float]]:
        return [(multi_scale(image.alpha, targets["alpha"]), 1.0)]

    return Task(
        scene=scene,
        cameras=[camera],
        targets={"alpha": ring_mask(SIZE)[None, ..., None]},
        optimizer=Optimizers([Adam(scene.parameters(f"cloud.{name}"), lr=lr) for name, lr in rates.items()]),
        error=error,
        loss=loss,
    )


PROBLEMS = (
    Problem(
        name="T4-points",
        title="scattered points into a ring",
        measure="percent of the first Chamfer distance",
        threshold=5.0,
        build=gathered_points,
        renderers=RENDERERS,
        known={"pixel": "which pixel a point lies in is not differentiated, so that no point moves"},
    ),
)
