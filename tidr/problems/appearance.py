"""Material and light: T8 a GGX sphere, T9 a texture of four views, T10 a lamp, T11 a sun by its shadow, T12 a sky."""

from typing import Any

import numpy as np

from tidr.fitting.optimizers import Adam, Optimizers
from tidr.renderers.raster import Rasterizer
from tidr.scene.camera import Camera
from tidr.scene.graph import Node
from tidr.scene.light import AmbientLight, DirectionalLight, EnvironmentLight, PointLight, SphericalHarmonicLight
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


def glossy_ball() -> Task:
    """A sphere under three suns and a sky; its roughness, metallic and albedo (the metal's F0) begin at 0.6."""
    scene = lone(sphere(0.9, level=4), "ball", materials=("skin",))
    skin = Material("metallic_roughness", albedo=(0.2, 0.2, 0.2), roughness=0.2, metallic=0.2)
    scene.add_material("skin", skin)
    for number, way in enumerate(((-0.5, -0.7, -0.8), (0.8, -0.2, -0.6), (0.1, 0.6, -1.0))):
        scene.add_light(f"sun_{number}", DirectionalLight(way, 2.0))
    scene.add_light("sky", AmbientLight(0.5))
    camera = Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=30, width=SIZE, height=SIZE)
    targets = pictures(scene, [camera], "rgb")
    free = scene.parameters("skin.*")
    for parameter in free.values():
        parameter.set(0.6)

    def error() -> float:
        return max(float(np.abs(parameter.numpy() - 0.2).max()) for parameter in free.values())

    return Task(
        scene=scene,
        cameras=[camera],
        targets=targets,
        optimizer=Optimizers([Adam(free, lr=1e-2)]),
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


def moved_sun() -> Task:
    """A sun 20 degrees off its way, that a square above a floor casts a shadow of."""
    flat = (0.5**0.5, -(0.5**0.5), 0, 0)
    scene = lone(quad(2.0), "floor", materials=("chalk",), rotation=flat)
    scene.add_node("square", Node(quad(0.5), ("chalk",), None, (0.1, 0.8, -0.1), flat))
    scene.add_material("chalk", Material("lambert", albedo=0.8))
    sun = DirectionalLight((0.35, -1.0, 0.2), 3.0)
    scene.add_light("sun", sun)
    camera = Camera.look_at((0.4, 3.0, 2.6), (0.2, 0, 0.1), fov_y_degrees=45, width=SIZE, height=SIZE)
    hard = Rasterizer(edges="none", channels=("rgb",), shadows="variance", shadow_resolution=2048, shadow_softness=1)
    targets = pictures(scene, [camera], "rgb", drawer=hard)
    true, tilt = sun.direction.numpy().astype(float), np.radians(20)
    across = np.cross(true, (0.3, 0.2, 1.0))
    sun.direction.set(np.cos(tilt) * true + np.sin(tilt) * across / np.linalg.norm(across))

    def error() -> float:
        now = sun.direction.numpy().astype(float)
        return float(np.degrees(np.arccos(np.clip(now @ true / np.linalg.norm(now), -1, 1))))

    return Task(
        scene=scene,
        cameras=[camera],
        targets=targets,
        optimizer=Optimizers([Adam(scene.parameters("sun.direction"), lr=1e-2)]),
        error=error,
        softness=SHARP,
        options={"shadows": "variance"} | SHADOW,
    )


SHADOW: dict[str, Any] = {"shadow_resolution": 512, "shadow_softness": 7}
SHADOWED = {kind: Rasterizer(channels=("rgb",), shadows=kind, **SHADOW) for kind in ("soft", "variance", "antialias")}


def unknown_sky(light: EnvironmentLight | SphericalHarmonicLight, **skin) -> Task:
    """A sphere under grey light that should become `light`; pictures from four sides, in which it fills the middle."""
    scene = lone(sphere(1.0, level=4), "ball", materials=("skin",))
    scene.add_material("skin", Material(**skin))
    scene.add_light("sky", light)
    options = {"fov_y_degrees": 30, "width": SIZE, "height": SIZE}
    places = [(0, 1.2, 4), (4, -1.2, 0), (0, 1.2, -4), (-4, -1.2, 0)]
    cameras = [Camera.look_at(place, (0, 0, 0), **options) for place in places]
    targets = pictures(scene, cameras, "rgb", samples=1)
    value = next(iter(light.parameters().values()))
    known = value.numpy().astype(float)
    value.set(0.5 if isinstance(light, EnvironmentLight) else 0.0)

    def error() -> float:
        return 100 * float(np.linalg.norm(value.numpy() - known) / np.linalg.norm(known))

    return Task(
        scene=scene,
        cameras=cameras,
        targets=targets,
        optimizer=Optimizers([Adam(scene.parameters(value.path), lr=3e-2)]),
        error=error,
        softness=SHARP,
    )


def harmonics() -> Task:
    """Nine coefficients, seen on chalk."""
    coefficients = np.random.default_rng(12).normal(size=(9, 3)) * 0.4
    coefficients[0] = (2.6, 2.2, 1.8)
    return unknown_sky(SphericalHarmonicLight(coefficients), type="lambert", albedo=0.8)


def sky() -> Task:
    """A map of 16 x 8 texels, mirrored in polished metal."""
    texels = np.random.default_rng(12).uniform(0.0, 1.0, (8, 16, 3))
    metal = {"type": "metallic_roughness", "albedo": 0.9, "metallic": 1.0, "roughness": 0.2}
    return unknown_sky(EnvironmentLight(texels), **metal)


PROBLEMS = (
    Problem(
        name="T8",
        title="roughness, metallic and F0 of a GGX sphere, 0.6 to 0.2",
        measure="worst of the three",
        threshold=0.02,
        build=glossy_ball,
        shown=("skin.roughness", 0),
    ),
    Problem(
        name="T9",
        title="texture of 64 x 64 texels from 4 views",
        measure="RMSE (30 dB is 0.0316)",
        threshold=10 ** (-30 / 20),
        build=checkered_quad,
        known=dict.fromkeys(("nmr", "nmr_local", "splat"), "pixels are means, by which the target's sharp texels blur"),
        shown=("paint.albedo", 3 * (TEXELS * TEXELS // 2 + TEXELS // 2)),
    ),
    Problem(
        name="T10",
        title="point light, 1 unit off and too dim",
        measure="percent, worst of place and intensity",
        threshold=2.0,
        build=moved_bulb,
        shown=("bulb.position", 0),
    ),
    *(
        Problem(
            name=name,
            title=f"sun, 20 degrees off, from a shadow{title}",
            measure="degrees",
            threshold=1.0,
            build=moved_sun,
            renderers=renderers,
            shown=("sun.direction", 0),
        )
        for name, title, renderers in (("T11", "", {}), ("T11-maps", ", by kind of map", SHADOWED))
    ),
    Problem(
        name="T12-harmonics",
        title="light as 9 spherical harmonics on a sphere",
        measure="percent, relative L2 of coefficients",
        threshold=5.0,
        build=harmonics,
        shown=("sky.coefficients", 3),
    ),
    Problem(
        name="T12-map",
        title="environment of 16 x 8 texels in a metal sphere",
        measure="percent, relative L2 of texels",
        threshold=15.0,
        build=sky,
        shown=("sky.radiance", 3 * (3 * 16 + 8)),
    ),
)
