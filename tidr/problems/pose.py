"""Pose: T13 where an asymmetric thing stands and how it is turned, by one picture; T17 its paint and a sun as well."""

from functools import partial

import numpy as np

from tidr.fitting.losses import psnr
from tidr.fitting.optimizers import Adam, Optimizers
from tidr.scene.camera import Camera
from tidr.scene.light import AmbientLight, DirectionalLight
from tidr.scene.material import Material
from tidr.scene.transform import rotation_from_quaternion

from .figures import l_shape, lone, pictures
from .runner import SIZE, Problem, Softness, Task

TURN_DEGREES, SHIFT = 15.0, 0.2
LEAST_DB = 35.0
KNOWN: dict[str, str] = dict.fromkeys(
    ("none", "genova"), "shading alone pulls too little, and a silhouette's motion has no gradient inside triangles"
)


def turned_bracket(joint: bool = False) -> Task:
    """An L turned by 15 degrees about a slanted axis and shifted by 0.2 units; rotation and translation are free.

    joint: its colour and the sun's are unknown too. The other lights are known, or paint and light had no scale.
    """
    turn, shift = np.array([0.5, 0.7, -0.5]), np.array([0.6, -0.5, 0.6])
    scene = lone(l_shape(1.6, 0.5), "bracket", materials=("clay",), rotation=(0.93, 0.15, 0.32, 0.05))
    scene.add_material("clay", Material("lambert", albedo=(0.7, 0.5, 0.4)))
    scene.add_light("sun", DirectionalLight((-0.5, -0.7, -0.8), 2.0))
    scene.add_light("side", DirectionalLight((0.9, -0.1, -0.4), (0.3, 0.6, 1.0)))
    scene.add_light("sky", AmbientLight(0.2))
    camera = Camera.look_at((0, 0.4, 3.4), (0, 0, 0), fov_y_degrees=40, width=SIZE, height=SIZE)
    targets = pictures(scene, [camera], "rgb", "alpha")
    node = scene["bracket"]
    straight, place = node.rotation.numpy().astype(float), node.translation.numpy().astype(float)
    unknown = scene.parameters("clay.albedo", "sun.irradiance") if joint else {}
    right = {path: parameter.numpy().astype(float) for path, parameter in unknown.items()}
    low, high = node.mesh.bounds()
    diagonal = float(np.linalg.norm(high - low))
    node.rotation.set(_product(_quaternion(turn, TURN_DEGREES), straight))
    node.translation.set(place + SHIFT * shift / np.linalg.norm(shift))
    for parameter, start in zip(unknown.values(), (0.4, 1.0), strict=False):
        parameter.set(start)

    def error() -> float:
        between = rotation_from_quaternion(node.rotation.numpy().astype(float)) @ rotation_from_quaternion(straight).T
        degrees = np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)))
        worst = max(float(degrees), 100 * float(np.linalg.norm(node.translation.numpy() - place)) / diagonal)
        for path, true in right.items():
            worst = max(worst, 100 * float(np.linalg.norm(unknown[path].numpy() - true) / np.linalg.norm(true)))
        if joint and psnr(pictures(scene, [camera], "rgb")["rgb"], targets["rgb"]) < LEAST_DB:
            worst += 100
        return worst

    return Task(
        scene=scene,
        cameras=[camera],
        targets=targets,
        optimizer=Optimizers(
            [Adam(scene.parameters("bracket.rotation", "bracket.translation"), lr=8e-3)]
            + [Adam(parameter, lr=rate) for parameter, rate in zip(unknown.values(), (1e-2, 4e-2), strict=False)]
        ),
        error=error,
        softness=Softness(sigma=(3e-4, 3e-6), iterations=80),
    )


def _quaternion(axis: np.ndarray, degrees: float) -> np.ndarray:
    half = np.radians(degrees) / 2
    return np.append(np.cos(half), np.sin(half) * axis / np.linalg.norm(axis))


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quaternion a * b, w first: b's rotation, then a's."""
    return np.append(a[0] * b[0] - a[1:] @ b[1:], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))


PROBLEMS = (
    Problem(
        name="T13",
        title="pose of an L, 15 degrees and 0.2 units off",
        measure="worst of degrees and percent of its size",
        threshold=1.0,
        build=turned_bracket,
        known=KNOWN,
        shown=("bracket.translation", 0),
    ),
    Problem(
        name="T17",
        title="pose and colour of an L and light of a sun, all off",
        measure="worst of degrees and percent; 100 more below 35 dB",
        threshold=5.0,
        build=partial(turned_bracket, True),
        known=KNOWN,
        shown=("bracket.translation", 0),
    ),
)
