"""Geometry: T1 a disc's place, T2 a sphere's size, T3 a sphere that becomes three other shapes."""

from functools import partial

import numpy as np

from tidr.fitting.large_steps import LargeSteps
from tidr.fitting.losses import iou, mse, silhouette
from tidr.fitting.optimizers import Adam, Optimizers
from tidr.renderers.raster import Rasterizer
from tidr.renderers.renderer import render
from tidr.scene.camera import Camera, sphere_views
from tidr.scene.mesh import Mesh

from .figures import blob, cube, disc, l_shape, lone, pictures, sphere
from .runner import SIZE, Problem, Softness, Task

BLIND: dict[str, str] = dict.fromkeys(("none", "genova"), "a silhouette's motion has no gradient inside triangles")
PIXELS_PER_UNIT = SIZE / 2
WAY = np.array([0.8, 0.6, 0.0])  # along which a disc is off its place


def flat_view() -> Camera:
    """An orthographic camera that sees [-1, 1]^2."""
    return Camera.look_at((0, 0, 4), (0, 0, 0), height_world=2, width=SIZE, height=SIZE)


def moved_disc(pixels: float, radius: float, lr: float, softness: Softness) -> Task:
    """A disc `pixels` off its place along a slanted direction; only translation is free."""
    away = WAY * pixels / PIXELS_PER_UNIT
    scene, camera = lone(disc(radius)), flat_view()
    place = scene["shape"].translation
    target = -away / 2
    place.set(target)
    targets = pictures(scene, [camera], "alpha")
    place.set(target + away)
    optimizer = Optimizers([Adam(scene.parameters("shape.translation"), lr=lr)])

    def error() -> float:
        return float(np.linalg.norm((place.numpy() - target)[:2])) * PIXELS_PER_UNIT

    return Task(
        scene=scene,
        cameras=[camera],
        targets=targets,
        optimizer=optimizer,
        error=error,
        softness=softness,
        loss=lambda image, found: [(silhouette(image, found["alpha"]), 1.0)],
    )


def grown_sphere() -> Task:
    """A sphere of radius 0.6 that should have 1.0; only the node's scale is free."""
    scene = lone(sphere(1.0, level=2))
    camera = Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=40, width=SIZE, height=SIZE)
    scale = scene["shape"].scale
    targets = pictures(scene, [camera], "alpha")
    scale.set(0.6)
    return Task(
        scene=scene,
        cameras=[camera],
        targets=targets,
        optimizer=Optimizers([Adam(scene.parameters("shape.scale"), lr=0.02)]),
        error=lambda: abs(float(scale.numpy()) - 1.0) * 100,
        softness=Softness(sigma=(1e-3, 1e-5), iterations=60),
    )


def reshaped_sphere(make: partial[Mesh]) -> Task:
    """An icosphere of 642 vertices that should fill the silhouettes of another shape in 12 views."""
    cameras = sphere_views(12, 3.2, fov_y_degrees=40, width=SIZE, height=SIZE)
    targets = pictures(lone(make()), cameras, "alpha")
    scene = lone(sphere(0.6))
    hard = Rasterizer(edges="none", channels=("alpha",))

    def error() -> float:
        if not np.isfinite(scene["shape"].vertices.numpy()).all():
            return float("nan")
        return 1.0 - iou(render(scene, cameras, hard), targets["alpha"])

    return Task(
        scene=scene,
        cameras=cameras,
        targets=targets,
        optimizer=Optimizers([LargeSteps(scene["shape"], lr=4e-2, lam=4.0)]),
        error=error,
        softness=Softness(sigma=(1e-3, 1e-4), iterations=60),
        loss=lambda image, found: [(silhouette(image, found["alpha"]), 1.0), (mse(image.alpha, found["alpha"]), 1.0)],
        views_per_step=4,
    )


PROBLEMS = (
    Problem(
        name="T1",
        title="place of a disc, 8 px off",
        measure="pixels off",
        threshold=0.25,
        build=partial(moved_disc, 8, 0.4, 1e-2, Softness(sigma=(3e-3, 1e-4), iterations=60)),
        known=BLIND,
        shown=("shape.translation", 0),
    ),
    Problem(
        name="T2",
        title="radius of a sphere, 0.6 to 1",
        measure="percent of the radius",
        threshold=1.0,
        build=grown_sphere,
        known=BLIND,
        shown=("shape.scale", 0),
    ),
    *(
        Problem(
            name=f"T3-{name}",
            title=f"sphere to {name} by 12 silhouettes",
            measure="1 - IoU",
            threshold=0.05,
            build=partial(reshaped_sphere, make),
            known=BLIND,
            shown=("shape.translation", 0),
        )
        for name, make in (
            ("blob", partial(blob, 0.8)),
            ("cube", partial(cube, 0.6)),
            ("L", partial(l_shape, 1.6, 0.7)),
        )
    ),
)
