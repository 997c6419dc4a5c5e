"""Material and light: T9 a texture from four views, T10 a point light from its shading."""

from __future__ import annotations

import numpy as np

from tidr.fitting.optimizers import Adam, Optimizers
from tidr.scene.camera import Camera
from tidr.scene.graph import Node
from tidr.scene.light import AmbientLight, PointLight
from tidr.scene.material import Material
from tidr.scene.texture import Texture

from .figures import lone, pictures, quad, sphere
from .runner import SIZE, Problem, Softness, Task

SHARP = Softness(sigma=(1e-8, 1e-8))
TEXELS = 64


def checkered_quad() -> Task:
    """A grey texture that should become a coloured checker; pictures from four slanted directions."""
    rows, columns = np.indices((TEXELS, TEXELS)) // 8
    checker = np.where(((rows + columns) % 2)[..., None], (0.85, 0.7, 0.2), (0.1, 0.25, 0.5))
    scene = lone(quad(1.0), materials=("paint",))
    texture = Texture(checker, wrap="clamp", filter="bilinear")
    scene.add_material("paint", Material("lambert", albedo=texture))
    scene.add_light("sky", AmbientLight(1.0))
    options = {"fov_y_degrees": 40, "width": SIZE, "height": SIZE}
    places = [(0.5, 0.4), (-0.5, 0.4), (-0.4, -0.5), (0.4, -0.5)]
    cameras = [Camera.look_at((x, y, 2.9), (0, 0, 0), **options) for x, y in places]
    targets = pictures(scene, cameras, "rgb", samples=1)
    texture.texels.set(0.5)

    def error() -> float:
        return float(np.sqrt(((texture.texels.numpy() - checker) ** 2).mean()))

    return Task(
        scene=scene,
        cameras=cameras,
        targets=targets,
        optimizer=Optimizers([Adam(scene.parameters("paint.albedo"), lr=3e-2)]),
        error=error,
        softness=SHARP,
    )


def moved_bulb() -> Task:
    """A point light 1 unit off its place and at 0.7 of its intensity, above a sphere on a floor."""
    scene = lone(sphere(0.6, level=4), "ball", materials=("chalk",))
    scene.add_node("floor", Node(quad(2.0), ("chalk",), None, (0, -0.6, 0), (0.5**0.5, -(0.5**0.5), 0, 0)))
    scene.add_material("chalk", Material("lambert", albedo=0.8))
    bulb = PointLight((0.8, 1.4, 0.9), (9.0, 8.0, 7.0))
    scene.add_light("bulb", bulb)
    camera = Camera.look_at((0, 1.5, 4), (0, 0, 0), fov_y_degrees=40, width=SIZE, height=SIZE)
    targets = pictures(scene, [camera], "rgb", samples=1)
    place, power = bulb.position.numpy().astype(float), bulb.intensity.numpy().astype(float)
    bulb.position.set(place + np.array([-0.6, 0.64, -0.48]))
    bulb.intensity.set(0.7 * power)

    def error() -> float:
        far = float(np.linalg.norm(bulb.position.numpy() - place) / np.linalg.norm(place))
        return 100 * max(far, float(np.abs(bulb.intensity.numpy() / power - 1).max()))

    return Task(
        scene=scene,
        cameras=[camera],
        targets=targets,
        optimizer=Optimizers(
            [Adam(scene.parameters("bulb.position"), lr=3e-2), Adam(scene.parameters("bulb.intensity"), lr=0.15)]
        ),
        error=error,
        softness=SHARP,
    )


PROBLEMS = (
    Problem(
        name="T9",
        title="texture of 64 x 64 texels from 4 views",
        measure="RMSE (30 dB is 0.0316)",
        threshold=10 ** (-30 / 20),
        build=checkered_quad,
    ),
    Problem(
        name="T10",
        title="point light, 1 unit off and too dim",
        measure="percent, worst of place and intensity",
        threshold=2.0,
        build=moved_bulb,
    ),
)
