"""Edge treatments judged by where they lead (methods F10): a figure off its place by a random way, its gradient there.

The way in which the loss truly falls is that of differences of `STEP` pixels in hard pictures of 64 samples a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tidr.array import Array
from tidr.fitting.losses import mse, silhouette
from tidr.renderers.raster import Rasterizer
from tidr.renderers.renderer import render
from tidr.scene.graph import Scene
from tidr.scene.light import AmbientLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh

from .figures import disc, lone, pictures, quad
from .offsets import treatments
from .runner import problems
from .shapes import PIXELS_PER_UNIT, flat_view

HALF = 0.25  # of a figure, in world units: 8 pixels
FARTHEST, STEP = 12.0, 2.0  # pixels: figures at their starts still overlap what they should be
GAPS = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0)  # pixels between a figure and its place


@dataclass(frozen=True)
class Agreement:
    """Shares of the random starts, 0 to 1, of one treatment and figure.

    agree: where the gradient and the true way down have a cosine above 0, by descent. zero: where there is no gradient.
    cosine: its median where there is one, NaN where there never is. reach: the widest gap in pixels, of `GAPS`, that a
    gradient crosses when a figure stands clear of its place; 0 if it crosses none.
    """

    figure: str
    treatment: str
    agree: float
    zero: float
    cosine: float
    reach: float


def figures() -> dict[str, tuple[str, Scene]]:
    """By name, the channel that is compared and the scene: silhouettes by 1 - IoU, colours by squared differences."""
    corners = quad(HALF)
    ramp = Mesh(corners.vertices.numpy(), corners.faces, colors=[[0.3] * 3, [0.9] * 3, [0.9] * 3, [0.3] * 3])
    painted = lone(ramp, materials=("paint",))
    painted.add_material("paint", Material("lambert", albedo="vertex_colors"))
    painted.add_light("sky", AmbientLight(1.0))
    return {"disc": ("alpha", lone(disc(HALF))), "square": ("alpha", lone(corners)), "ramp": ("rgb", painted)}


def study(starts: int = 40, seed: int = 0, chosen: Iterable[str] | None = None) -> list[Agreement]:
    """How all `treatments`, or those chosen, agree with what is true, from the same random starts."""
    rng = np.random.default_rng(seed)
    angles, pixels = rng.uniform(0, 2 * np.pi, starts), rng.uniform(1, FARTHEST, starts)
    ways = np.stack([np.cos(angles), np.sin(angles)], 1) * pixels[:, None]
    drawers, found = treatments(problems(["T1"])[0].build()), []
    for figure, (channel, scene) in figures().items():
        place, camera = scene["shape"].translation, flat_view()
        wanted = pictures(scene, [camera], channel)[channel]
        target, loss = Array.of(wanted, needs_grad=False), silhouette if channel == "alpha" else mse

        def put(way: Sequence[float], place=place) -> None:
            place.set(np.array([*way, 0.0]) / PIXELS_PER_UNIT)

        def true_loss(way, put=put, scene=scene, camera=camera, channel=channel, wanted=wanted) -> float:
            put(way)
            return _numpy_loss(pictures(scene, [camera], channel, samples=8)[channel], wanted)

        def gradient(way, drawer, put=put, place=place, scene=scene, target=target, loss=loss) -> np.ndarray:
            put(way)
            return _gradient(lambda: loss(render(scene, [flat_view()], drawer), target), place)

        down = [[true_loss(way - step) - true_loss(way + step) for step in STEP * np.eye(2)] for way in ways]
        for name in drawers if chosen is None else chosen:
            drawer = Rasterizer(**(vars(drawers[name]) | {"channels": (channel,)}))
            slopes = np.array([gradient(way, drawer) for way in ways])
            found.append(_agreement(figure, name, -slopes, np.array(down), lambda gap, d=drawer: gradient(
                (2 * HALF * PIXELS_PER_UNIT + gap, 0), d)))  # fmt: skip
    return found
