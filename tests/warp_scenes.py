"""Scenes with moving outlines and shadows, all with materials and lights of one kind: kernels are compiled once."""

import numpy as np

from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import DirectionalLight, EnvironmentLight
from tidr.scene.material import Material
from tidr.scene.meter import RadianceMeter

from .path_scenes import disc, quad


def lit(sky=0.0, emission=1.0, sun=0.0, direction=(0.0, -1.0, 0.0), diameter_degrees=4.0, size=8) -> Scene:
    """White, black and shining materials under a constant sky and a sun; a lamp far below, which shines down."""
    scene = Scene(Film(size, size))
    scene.add_material("white", Material("lambert", albedo=1.0))
    scene.add_material("black", Material("lambert", albedo=0.0))
    scene.add_material("glow", Material("lambert", albedo=0.0, emission=emission))
    scene.add_light("sky", EnvironmentLight(sky))
    scene.add_light("sun", DirectionalLight(direction, sun, np.radians(diameter_degrees)))
    scene.add_node("cellar", Node(quad((0, -9, 0), 0.01, sign=-1), ("glow",)))
    return scene


def blocked_sky(radius=1.0, height=1.0) -> Scene:
    """A meter that looks at a white floor's centre under a dark disc: pi times what it sees is the irradiance there."""
    scene = lit(1.0)
    scene.add_node("floor", Node(quad(half=3.0), ("white",)))
    scene.add_node("disc", Node(disc((0, height, 0), radius, 128), ("black",)))
    scene.add_camera("meter", RadianceMeter((0.4, 0.5, 0.0), (0, 0, 0)))
    return scene


def shining_square(half=0.5, **camera) -> Scene:
    """A square that shines towards the camera, four units before it, out of the dark."""
    scene = lit()
    scene.add_node("square", Node(quad(half=half, axis=2), ("glow",)))
    camera = {"fov_y_degrees": 30, **camera} if "height_world" not in camera else camera
    scene.add_camera("front", Camera.look_at((0, 0, 4), (0, 0, 0), width=8, height=8, **camera))
    return scene


def under_plate(size=8, across=2.0, length=1.0, **given) -> Scene:
    """A plate one unit wide, one unit above a white floor, of which the camera sees a square from beneath the plate.

    Columns of pixels go along x, the plate's `length` is along z.
    """
    scene = lit(size=size, **given)
    scene.add_node("floor", Node(quad(half=3.0), ("white",)))
    scene.add_node("plate", Node(quad((0, 1.0, 0), 0.5), ("black",), scale=(1, 1, length)))
    view = {"up": (0, 0, -1), "height_world": across, "width": size, "height": size}
    scene.add_camera("under", Camera.look_at((0, 0.9, 0), (0, 0, 0), **view))
    return scene


def under_lamp(emission=3.0) -> Scene:
    """A long plate under a square lamp."""
    scene = under_plate(emission=emission, length=5.0)
    scene.add_node("lamp", Node(quad((0.3, 3.0, 0.2), 1.2, sign=-1), ("glow",)))
    return scene
