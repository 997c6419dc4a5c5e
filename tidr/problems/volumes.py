"""Media: T15, the density of a blob from eight views, absorbing or scattering; and that of an even block."""

from collections.abc import Mapping, Sequence

import numpy as np

from tidr.array import Array
from tidr.fitting.grid_regularizers import total_variation
from tidr.fitting.losses import mse
from tidr.fitting.optimizers import Adam, Optimizers
from tidr.fitting.tape import Loss
from tidr.renderers.renderer import Image, render
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.camera import sphere_views
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import DirectionalLight
from tidr.scene.volume import Volume

from .runner import SIZE, Problem, Softness, Task

CELLS, VIEWS = 16, 8
SHARP = Softness(sigma=(1e-8, 1e-8))
EXACT, QUICK = VolumeRenderer(steps=96, stop=0.0), VolumeRenderer(steps=32)


def blob(cells: int) -> np.ndarray:
    """[cells, cells, cells]: a dense ball, a thin one that touches it, and nothing around."""
    z, y, x = (np.indices((cells,) * 3) + 0.5) / cells * 2 - 1
    dense = 3 * np.exp(-6 * ((x + 0.2) ** 2 + (y + 0.1) ** 2 + z**2))
    thin = 1.5 * np.exp(-9 * ((x - 0.4) ** 2 + (y - 0.35) ** 2 + (z - 0.2) ** 2))
    total = dense + thin
    return np.where(total > 0.02, total, 0)


def medium(truth: np.ndarray, start: float, lr: float, smoothness: float, **radiance) -> Task:
    """The grid `truth` from eight views, begun at one density everywhere. Error: relative L2 of the grid in percent."""
    scene = Scene(Film(SIZE, SIZE, (0.0, 0.0, 0.0)))
    volume = Volume(truth, **radiance)
    scene.add_node("smoke", Node(volume))
    scene.add_light("sun", DirectionalLight((-0.4, -1.0, -0.3), 3.0))
    cameras = sphere_views(VIEWS, 3.2, fov_y_degrees=40, width=SIZE, height=SIZE)
    target = render(scene, cameras, EXACT).rgb.numpy()
    volume.density.set(np.full(truth.shape, start))

    def loss(image: Image, targets: Mapping[str, Array]) -> Sequence[tuple[Loss, float]]:
        return [(mse(image.rgb, targets["rgb"]), 1.0), (total_variation(volume.density), smoothness)]

    def error() -> float:
        return 100 * float(np.linalg.norm(volume.density.numpy() - truth) / np.linalg.norm(truth))

    return Task(
        scene=scene,
        cameras=cameras,
        targets={"rgb": target},
        optimizer=Optimizers([Adam(scene.parameters("smoke.density"), lr=lr)]),
        error=error,
        softness=SHARP,
        loss=loss,
    )


def absorbing() -> Task:
    """A glowing blob."""
    return medium(blob(CELLS), 0.3, 0.5, 2e-5, color=(0.9, 0.9, 0.9))


def scattering() -> Task:
    """A blob that scatters the light of one lamp."""
    return medium(blob(CELLS), 0.3, 0.5, 1e-6, albedo=(0.8, 0.8, 0.8), g=0.2)


def even() -> Task:
    """One number: the density of a block that scatters."""
    return medium(np.full((1, 1, 1), 1.4), 0.5, 0.05, 0.0, albedo=(0.8, 0.8, 0.8))


def _problem(name: str, title: str, threshold: float, build) -> Problem:
    return Problem(
        name=name,
        title=title,
        measure="percent of the grid, relative L2",
        threshold=threshold,
        build=build,
        renderers={"march": QUICK},
    )


PROBLEMS = (
    _problem("T15-absorption", "density of a glowing blob from 8 views", 15.0, absorbing),
    _problem("T15-scattering", "density of a lit blob from 8 views", 15.0, scattering),
    _problem("T15-even", "density of an even block that scatters", 2.0, even),
)
