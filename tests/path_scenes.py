"""Small scenes for light transport with closed forms or known behaviour."""

import numpy as np

from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import EnvironmentLight, PointLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.meter import IrradianceMeter


def quad(centre=(0, 0, 0), half=1.0, axis=1, sign=1.0) -> Mesh:
    """A square with its front side along sign * axis."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64) * half
    vertices = np.zeros((4, 3))
    vertices[:, [(axis + 1) % 3, (axis + 2) % 3]] = corners
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices + np.asarray(centre), faces if sign > 0 else faces[:, ::-1], shading="flat")


def disc(centre, radius, sides=256, sign=-1.0) -> Mesh:
    """A regular polygon of the same area as a disc of that radius, its front along sign * y."""
    radius = radius * np.sqrt(2 * np.pi / (sides * np.sin(2 * np.pi / sides)))
    angle = 2 * np.pi * np.arange(sides) / sides
    rim = np.stack([radius * np.cos(angle), np.zeros(sides), radius * np.sin(angle)], 1)
    around = np.arange(sides)
    faces = np.stack([np.full(sides, sides), around, (around + 1) % sides], 1)
    vertices = np.concatenate([rim, np.zeros((1, 3))]) + np.asarray(centre)
    return Mesh(vertices, faces[:, ::-1] if sign > 0 else faces, shading="flat")


def furnace(albedo=0.8, emission=1.0) -> Scene:
    """Inside a closed sphere that shines everywhere: radiance emission / (1 - albedo)."""
    scene = Scene(Film(8, 8))
    vertices, faces = icosphere(2)
    scene.add_node("sphere", Node(Mesh(vertices, faces[:, ::-1], shading="flat"), ("wall",)))
    scene.add_material("wall", Material("lambert", albedo=albedo, emission=emission))
    scene.add_camera("inside", Camera.look_at((0, 0, 0), (0, 0, -1), fov_y_degrees=60, width=8, height=8))
    return scene


def open_box(seed=0) -> Scene:
    """A floor, a wall and a small block under a point light, looked at from the front."""
    rng = np.random.default_rng(seed)
    scene = Scene(Film(12, 12))
    scene.add_material("grey", Material("lambert", albedo=rng.uniform(0.3, 0.8, 3)))
    scene.add_material("red", Material("lambert", albedo=rng.uniform(0.2, 0.9, 3)))
    scene.add_node("floor", Node(quad(half=2.0), ("grey",)))
    scene.add_node("wall", Node(quad((0, 1, -1), 2.0, axis=2), ("red",)))
    scene.add_light("lamp", PointLight((0.3, 1.5, 0.8), (6, 5, 4)))
    scene.add_camera("front", Camera.look_at((0.1, 1.2, 3), (0, 0.4, 0), fov_y_degrees=40, width=12, height=12))
    return scene


def rim() -> Scene:
    """A part of one face of a coarse smooth ball, on whose far side the normal turns from the camera."""
    scene = open_box(2)
    vertices, faces = icosphere(0)
    scene.nodes.clear()
    scene.add_node("ball", Node(Mesh(vertices, faces), ("red",)))
    corners = np.asarray(vertices, np.float64)[faces[0]]
    middle = corners.mean(0)
    up, along = middle / np.linalg.norm(middle), corners[0] - middle
    along /= np.linalg.norm(along)
    beside, target = np.cross(up, along), middle + 0.15 * along
    scene.lights["lamp"].position.set(middle + 2 * (0.07 * up + 0.95 * along + 0.3 * beside))
    eye = target + 3 * (0.25 * up - 0.97 * along)
    scene.cameras["front"] = Camera.look_at(eye, target, up=up, fov_y_degrees=1.1, width=12, height=12)
    near, far = (eye - target) @ (target + np.array([[-0.1], [0.1]]) * along).T
    assert near > 0 > far
    return scene


def metered(*lights_and_nodes, position=(0, 0, 0)) -> Scene:
    """A scene that an irradiance meter at `position`, facing up, looks at; pairs of names and members."""
    scene = Scene(Film(32, 32))
    for name, member in lights_and_nodes:
        if isinstance(member, Node):
            scene.add_node(name, member)
        elif isinstance(member, Material):
            scene.add_material(name, member)
        else:
            scene.add_light(name, member)
    scene.add_camera("meter", IrradianceMeter(position, (0, 1, 0)))
    return scene


def ball_in(radiance, material: Material, level=3) -> Scene:
    """A faceted unit ball in a constant environment."""
    scene = Scene(Film(16, 16))
    vertices, faces = icosphere(level)
    scene.add_node("ball", Node(Mesh(vertices, faces, shading="flat"), ("surface",)))
    scene.add_material("surface", material)
    scene.add_light("sky", EnvironmentLight(radiance))
    scene.add_camera("front", Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=30, width=16, height=16))
    return scene
