"""Plateaus: T6 something wholly hidden, T20 something far from where it belongs. Most methods cannot feel either."""

from functools import partial

import numpy as np

from tidr.fitting.optimizers import Adam, Optimizers
from tidr.renderers.raster import EDGES
from tidr.scene.graph import Node
from tidr.scene.light import AmbientLight
from tidr.scene.material import Material

from .figures import lone, pictures, quad
from .runner import Problem, Softness, Task
from .shapes import BLIND, PIXELS_PER_UNIT, flat_view, moved_disc

HIDDEN = "a z-buffer sees only the nearest surface: what is hidden has no gradient"
APART = "the gradient lives near the silhouette, or in line with it, and start and target do not touch"


def hidden_quad() -> Task:
    """A small red square wholly behind a grey one, that should stand beside it; its translation is free."""
    scene = lone(quad(0.4), "curtain", materials=("grey",))
    scene.add_node("hidden", Node(quad(0.25, -0.5), ("red",)))
    scene.add_material("grey", Material("lambert", albedo=0.4))
    scene.add_material("red", Material("lambert", albedo=(0.9, 0.1, 0.1)))
    scene.add_light("sky", AmbientLight(1.0))
    camera = flat_view()
    place, target = scene["hidden"].translation, np.array([0.5, 0.3, 0.0])
    place.set(target)
    targets = pictures(scene, [camera], "rgb", "alpha")
    place.set(0.0)

    def error() -> float:
        return float(np.linalg.norm((place.numpy() - target)[:2])) * PIXELS_PER_UNIT

    return Task(
        scene=scene,
        cameras=[camera],
        targets=targets,
        optimizer=Optimizers([Adam(scene.parameters("hidden.translation"), lr=1e-2)]),
        error=error,
        softness=Softness(sigma=(0.3, 1e-5), gamma=(3e-2, 1e-4), iterations=150),
    )


PROBLEMS = (
    Problem(
        name="T6",
        title="a square behind another should step out",
        measure="pixels off",
        threshold=0.25,
        build=hidden_quad,
        shown=("hidden.translation", 0),
        known=dict.fromkeys((edges for edges in EDGES if edges != "soft"), HIDDEN)
        | {
            "dibr": "its alpha leads out what is hidden, but has no slope inside triangles: the last half pixel is left"
        },
    ),
    Problem(
        name="T20",
        title="place of a disc, 30 px off, no overlap",
        measure="pixels off",
        threshold=0.25,
        build=partial(moved_disc, 30, 0.25, 2e-2, Softness(sigma=(0.3, 1e-4), iterations=150)),
        known=dict.fromkeys(("antialias", "opendr", "nmr", "nmr_local", "splat"), APART) | BLIND,
        shown=("shape.translation", 0),
    ),
)
