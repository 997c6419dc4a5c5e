"""Scenes with moving outlines and shadows, all with materials and lights of one kind: kernels are compiled once."""

from __future__ import annotations

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


def blocked_lamp(emission=6.0, sky=0.0) -> Scene:
    """A square plate between a floor and a square lamp, looked at from the side, from above the plate."""
    scene = lit(sky, emission)
    scene.add_node("floor", Node(quad(half=2.0), ("white",)))
    scene.add_node("plate", Node(quad((0.1, 0.6, 0.0), 0.35), ("white",)))
    scene.add_node("lamp", Node(quad((0.3, 2.2, 0.2), 0.4, sign=-1), ("glow",)))
    view = {"up": (0, 0, -1), "fov_y_degrees": 50, "width": 8, "height": 8}
    scene.add_camera("above", Camera.look_at((0.9, 2.0, 0.1), (0, 0.1, 0), **view))
    return scene


def sundial(direction, diameter_degrees=4.0, size=12) -> Scene:
    """A plate over a white floor under the sun alone; the camera sees the floor beneath the plate, not the plate."""
    scene = lit(0.0, 1.0, 3.0, direction, diameter_degrees, size)
    scene.add_node("floor", Node(quad(half=3.0), ("white",)))
    scene.add_node("plate", Node(quad((0, 1.0, 0), 0.5), ("black",)))
    view = {"up": (0, 0, -1), "fov_y_degrees": 130, "width": size, "height": size}
    scene.add_camera("under", Camera.look_at((0, 0.95, 0), (0, 0, 0), **view))
    return scene
