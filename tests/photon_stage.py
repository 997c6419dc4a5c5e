"""The stage of the photon mapper's tests."""

import numpy as np

import tidr
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import PointLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere


def quad(center, one, other) -> Mesh:
    """A parallelogram with the sides 2 one and 2 other, its front towards one x other."""
    center, one, other = (np.asarray(v, np.float64) for v in (center, one, other))
    corners = [center - one - other, center + one - other, center + one + other, center - one + other]
    return Mesh(np.stack(corners), [[0, 1, 2], [0, 2, 3]], shading="flat")


def stage(bulb=0.0, panel=0.0, ior=1.5, ball=(0.0, 0.7, 0.0), radius=0.45) -> Scene:
    """A slightly tilted floor, a red wall behind, a mirror on the left, a glass ball, a panel and a bulb above.

    All scenes hold the same kinds of things, so that kernels are compiled once.
    """
    scene = Scene()
    scene.add_material("white", Material("lambert", albedo=[0.7, 0.6, 0.5]))
    scene.add_material("red", Material("lambert", albedo=[0.6, 0.2, 0.1]))
    scene.add_material("silver", Material("conductor", eta=[0.2, 0.9, 1.1], k=[3.9, 2.4, 2.2]))
    scene.add_material("glass", Material("dielectric", ior=ior))
    scene.add_material("glow", Material("lambert", albedo=0.3, emission=[panel] * 3))
    scene.add_node("floor", Node(quad([0, 0, 0], [0.1, 0.05, 2], [2, 0.07, 0]), ("white",)))
    scene.add_node("wall", Node(quad([0, 1, -1.6], [2, 0.1, 0.1], [0.1, 1.2, -0.1]), ("red",)))
    scene.add_node("mirror", Node(quad([-1.6, 1, 0], [0.1, 0.1, 1.2], [0, -1, 0.1]), ("silver",)))
    scene.add_node("ball", Node(Mesh(*icosphere(2)), ("glass",), translation=ball, scale=radius))
    scene.add_node("panel", Node(quad([0.4, 2.6, 0.3], [0.6, 0, 0.05], [0, 0.02, 0.6]), ("glow",)))
    scene.add_light("bulb", PointLight([0.35, 2.3, 0.25], [bulb, 1.1 * bulb, 1.2 * bulb]))
    return scene


def camera() -> Camera:
    return Camera.look_at([0.3, 2.2, 3.6], [-0.1, 0.5, 0], fov_y_degrees=50)


def picture(scene, renderer, size=16, view=None) -> np.ndarray:
    return tidr.render(scene, camera=view or camera(), renderer=renderer, width=size, height=size).rgb.numpy()


def blocks(image, size=4) -> np.ndarray:
    n = image.shape[0] // size
    return image.reshape(n, size, n, size, 3).mean((1, 3))


def behind_a_pane(height) -> Scene:
    """A bulb over a floor, and between them a clear pane of index 1: all its light arrives as photons."""
    scene = stage(bulb=3.0, ior=1.0)
    for name in ("wall", "mirror", "panel"):
        scene.nodes[name].translation.set([0.0, -80.0, 0.0])
    scene.nodes["floor"].geometry.vertices.set([[-6, 0, -6], [-6, 0, 6], [6, 0, 6], [6, 0, -6]])
    shield = quad([0, 0.5 * height, 0], [0, 0, 6], [6, 0, 0])
    scene.nodes["ball"].geometry = shield
    scene.nodes["ball"].translation.set(np.zeros(3))
    scene.nodes["ball"].scale.set(1.0)
    scene.lights["bulb"].position.set([0.0, height, 0.0])
    return scene


def straight_down() -> Camera:
    return Camera.look_at([0, 4, 0], [0, 0, 0], up=(0, 0, -1), fov_y_degrees=0.05)
