"""Scenes of lights for light transport, and random numbers to sample them with."""

import numpy as np

import tidr

from .light_checks import BELOW_ONE, unit

DOWN = (0.0, -1.0, 0.0)
UP = np.array([0.0, 1.0, 0.0])


def even(n: int, axes: int) -> np.ndarray:
    """n points in the unit cube of `axes` dimensions, spread evenly (additive recurrence of Roberts 2018)."""
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (axes + 1))
    return np.minimum((0.5 + np.arange(1, n + 1)[:, None] * root ** -np.arange(1.0, axes + 1)) % 1, BELOW_ONE)


def uniform(n: int, axes: int, seed: int) -> np.ndarray:
    """As kernels/rng.py draws: multiples of 2^-24."""
    return np.random.default_rng(seed).integers(0, 1 << 24, (n, axes)) / (1 << 24)


def scene_of(meshes=(), emission=1.0, **given) -> tidr.Scene:
    """A scene of lights, and two dark triangles with corners at 3.2 on the axes, which give it its bounding sphere."""
    scene = tidr.Scene(tidr.Film(4, 4))
    scene.add_material("glow", tidr.Material("lambert", emission=emission))
    corners = 3.2 * np.vstack([np.eye(3), -np.eye(3)])
    scene.add_node("frame", tidr.Node(tidr.Mesh(corners, np.arange(6).reshape(2, 3))))
    for index, (vertices, faces) in enumerate(meshes):
        scene.add_node(f"lamp{index}", tidr.Node(tidr.Mesh(vertices, faces), materials=("glow",)))
    for name, light in given.items():
        scene.add_light(name, light)
    return scene


def disc(radius: float, height: float, corners: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A disc about the y axis that shines down."""
    turn = 2 * np.pi * np.arange(corners) / corners
    rim = np.stack([radius * np.cos(turn), np.full(corners, height), radius * np.sin(turn)], 1)
    around = np.arange(corners)
    faces = np.stack([np.full(corners, corners), around, (around + 1) % corners], 1)
    return np.vstack([rim, [[0, height, 0]]]), faces


def triangles(seed: int, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Random triangles around the origin, with all sides forward."""
    rng = np.random.default_rng(seed)
    middle = 1.2 * unit(rng.normal(size=(count, 1, 3)))
    return (middle + rng.normal(scale=0.5, size=(count, 3, 3))).reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def sky_light(seed: int, shape=(5, 7), rotation: float = 0.4) -> tidr.EnvironmentLight:
    """A map with black texels and a few bright ones."""
    rng = np.random.default_rng(seed)
    texels = rng.uniform(0, 1, (*shape, 3)) * (rng.uniform(size=(*shape, 1)) < 0.6)
    texels[1, 2], texels[-1, 0] = (30, 20, 10), (5, 5, 9)
    return tidr.EnvironmentLight(texels, rotation)


def spot(seed: int, cutoff=0.7, falloff=0.4) -> tidr.SpotLight:
    rng = np.random.default_rng(seed)
    at = 1.6 * unit(rng.normal(size=3)) + (0, 0.2, 0)
    return tidr.SpotLight(at, 0.2 * rng.normal(size=3) - at, rng.uniform(1, 3, 3), cutoff, falloff)


def sun(seed: int, angle: float) -> tidr.DirectionalLight:
    rng = np.random.default_rng(seed)
    return tidr.DirectionalLight(rng.normal(size=3), rng.uniform(1, 3, 3), angle)


def everything(seed: int = 0) -> tidr.Scene:
    """Every kind of light, and each twice that has variants."""
    return scene_of(
        [triangles(seed)], (1.0, 0.5, 2.0), wide=spot(seed), bulb=tidr.PointLight((0.3, 1.4, -0.8), (2, 3, 1)),
        narrow=spot(seed + 1, 0.3, 0.05), parallel=sun(seed, 0.0), sun=sun(seed + 1, 0.5), wide_sun=sun(seed + 2, 1.2),
        sky=sky_light(seed), glow_everywhere=tidr.AmbientLight(1.0),
    )  # fmt: skip


def only(kind: str) -> tidr.Scene:
    """One light of a kind."""
    if kind == "triangles":
        return scene_of([triangles(3)])
    made = {
        "point": lambda: tidr.PointLight((0.4, 1.3, -0.7), (2, 3, 1)),
        "spot": lambda: tidr.SpotLight((0.4, 1.3, -0.7), (-0.3, -1.2, 0.5), (2, 3, 1), 0.6, 0.35),
        "parallel": lambda: tidr.DirectionalLight((0.3, -1.0, 0.2), (2, 3, 1)),
        "sun": lambda: tidr.DirectionalLight((0.3, -1.0, 0.2), (2, 3, 1), 0.9),
        "sky": lambda: sky_light(1),
        "constant": lambda: tidr.EnvironmentLight((0.7, 0.5, 0.2)),
    }
    return scene_of(light=made[kind]())


KINDS = ["triangles", "point", "spot", "parallel", "sun", "sky", "constant"]
