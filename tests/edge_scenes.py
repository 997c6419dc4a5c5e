"""Scenes with moving outlines and shadows for the gradient of light transport, all with materials of one kind."""

import numpy as np

from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import EnvironmentLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.meter import RadianceMeter
from tidr.scene.volume import Volume

from .path_scenes import disc, quad

# Two triangles for each side of a cube with corner number 4 x + 2 y + z, seen counter-clockwise from outside.
SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))


def cube(half=1.0) -> Mesh:
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), np.float64).reshape(3, 8).T * half
    faces = np.array([face for a, b, c, d in SIDES for face in ((a, b, c), (a, c, d))])
    return Mesh(corners, faces, shading="flat")


def lit(radiance=0.0, emission=1.0, albedo=0.9) -> Scene:
    """An empty scene under a constant sky, with a lamp's, a white and a black material, which could be see-through."""
    scene = Scene(Film(8, 8))
    scene.add_material("glow", Material("lambert", albedo=0.0, emission=emission))
    scene.add_material("white", Material("lambert", albedo=albedo))
    scene.add_material("black", Material("lambert", albedo=0.0, opacity=1.0))
    scene.add_light("sky", EnvironmentLight(radiance))
    return scene


def blocked_sky(radius=1.0, height=1.0) -> Scene:
    """A meter that looks at a white floor's centre under a dark disc: pi times what it sees is the irradiance there."""
    scene = lit(1.0, albedo=1.0)
    scene.add_node("floor", Node(quad(half=3.0), ("white",)))
    scene.add_node("disc", Node(disc((0, height, 0), radius, 128), ("black",)))
    scene.add_node("lamp", Node(quad((0, -5, 0), 0.1, sign=-1), ("glow",)))
    scene.add_camera("meter", RadianceMeter((0.4, 0.5, 0.0), (0, 0, 0)))
    return scene


def shining_square(half=0.6, **camera) -> Scene:
    """A square that shines towards the camera, four units before it, out of the dark."""
    scene = lit(0.0)
    scene.add_node("square", Node(quad(half=half, axis=2), ("glow",)))
    camera = camera or {"fov_y_degrees": 30}
    scene.add_camera("front", Camera.look_at((0, 0, 4), (0, 0, 0), width=8, height=8, **camera))
    return scene


def wandering_square() -> Scene:
    """A white square with a lamp beside it, both held by the node "all", before an orthographic camera in the dark."""
    scene = lit(0.0, 8.0)
    scene.add_node("all", Node())
    scene.add_node("square", Node(quad(half=0.5, axis=2), ("white",), parent="all"))
    scene.add_node("lamp", Node(quad((-0.9, 0.0, 0.5), 0.3, axis=0), ("glow",), parent="all"))
    scene.add_camera("front", Camera.look_at((0, 0, 4), (0, 0, 0), width=8, height=8, height_world=3.0))
    return scene


def shadow(radiance=0.0, emission=6.0) -> Scene:
    """A block over a floor beside a wall, under a square lamp and a constant sky, looked at from above."""
    scene = lit(radiance, emission)
    scene.add_node("floor", Node(quad(half=2.0), ("white",)))
    scene.add_node("wall", Node(quad((-1.4, 0.0, 0.0), 2.0, axis=0), ("white",)))
    scene.add_node("block", Node(cube(0.35), ("white",), translation=(0.1, 0.6, 0.0)))
    scene.add_node("lamp", Node(quad((0.3, 2.2, 0.2), 0.4, sign=-1), ("glow",)))
    view = {"up": (0, 0, -1), "fov_y_degrees": 50, "width": 8, "height": 8}
    scene.add_camera("above", Camera.look_at((0.5, 2.0, 0.1), (0, 0, 0), **view))
    return scene


def ball_over_floor() -> Scene:
    """A white, coarse, smoothly shaded ball over the floor, under a lamp and the sky."""
    scene = shadow(0.3, 3.0)
    vertices, faces = icosphere(1, 0.45)
    scene.nodes.pop("block")
    scene.add_node("ball", Node(Mesh(vertices, faces), ("white",), translation=(0.1, 0.6, 0.0)))
    return scene


def card_in_fog() -> Scene:
    """A black card over a floor, under a lamp, in fog that goes beyond all of them and the cameras.

    The camera above sees it, that beside only the light of the fog under it.
    """
    scene = shadow(0.0, 6.0)
    scene.materials["black"] = Material("lambert", albedo=0.0)  # kernels without what lets light through
    scene.nodes.pop("wall")
    scene.nodes.pop("block")
    scene.add_node("card", Node(quad(half=0.4), ("black",), translation=(0.1, 0.7, 0.0)))
    fog = Volume(np.full((2, 2, 2), 0.25), albedo=(0.8, 0.7, 0.6), g=0.3, lower=(-6, -6, -6), upper=(6, 6, 6))
    scene.add_node("fog", Node(fog))
    view = {"fov_y_degrees": 20, "width": 8, "height": 8}
    scene.add_camera("beside", Camera.look_at((0.2, 0.3, 2.5), (0.1, 0.25, 0), **view))
    return scene


def hidden_lamp() -> Scene:
    """A lamp that shines at the ceiling past a block; the floor, which the camera sees, has all light from there."""
    scene = lit(0.0, 20.0)
    scene.add_node("floor", Node(quad(half=2.0), ("white",)))
    scene.add_node("ceiling", Node(quad((0.2, 1.4, 0), 0.8, sign=-1), ("white",)))
    scene.add_node("lamp", Node(quad((0.5, 0.6, 0), 0.3), ("glow",)))
    scene.add_node("block", Node(cube(0.15), ("black",), translation=(0.45, 0.95, 0.1)))
    view = {"up": (0, 0, -1), "fov_y_degrees": 50, "width": 8, "height": 8}
    scene.add_camera("above", Camera.look_at((-0.5, 0.9, 0.0), (-0.3, 0, 0), **view))
    return scene
