"""Small scenes of 3D Gaussians shared by the tests."""

import numpy as np

import tidr
from tidr.renderers.points import PointRenderer
from tidr.scene.gaussians import Gaussians

CHANNELS = ("rgb", "alpha", "depth", "normal")
SMOOTH = PointRenderer(alpha_skip=0, transmittance_stop=0, alpha_max=0.9999, sigmas=30)  # no threshold jumps

SETTINGS = {
    "default": PointRenderer(),
    "antialiased": PointRenderer(antialiased=True, dilation=0.1),
    "smooth": SMOOTH,
    "rough": PointRenderer(alpha_skip=0.05, transmittance_stop=0.1, alpha_max=0.7, sigmas=2),
}


def cloud(seed: int, count: int = 14, degree: int = 3, size: float = 0.25, spread: float = 0.5) -> Gaussians:
    """Anisotropic Gaussians of random opacity; colours lie inside [0, 1] by most directions."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(size=(count, (degree + 1) ** 2 - 1, 3)) * 0.15 if degree else None
    scales = size * np.exp(rng.normal(size=(count, 3)) * 0.6)
    return Gaussians(
        rng.normal(size=(count, 3)) * spread, np.log(scales), rng.normal(size=(count, 4)) * 2,
        rng.normal(size=count), rng.uniform(-0.5, 1.2, (count, 3)), rest,
    )  # fmt: skip


def placed(*clouds: Gaussians, background=(0.2, 0.1, 0.4)) -> tidr.Scene:
    """A scene of nodes "a", "b", ..., each turned and stretched another way under a parent."""
    scene = tidr.Scene(tidr.Film(8, 8, background))
    scene.add_node("base", tidr.Node(translation=(0.05, -0.03, 0.1), rotation=(0.98, 0.1, 0.12, -0.05)))
    for k, held in enumerate(clouds):
        place = {"translation": (0.2 * k, 0.1 * k, -0.1 * k), "rotation": (0.9, 0.2 - 0.3 * k, 0.1, 0.2)}
        scene.add_node("abc"[k], tidr.Node(held, parent="base", scale=(1.1, 0.9, 1.2), **place))
    return scene


def view(kind: str = "perspective", width: int = 19, height: int = 17, distance: float = 3.2, **options) -> tidr.Camera:
    place = {"fov_y_degrees": 38} if kind == "perspective" else {"height_world": 2.2}
    eye = np.array([0.2, 0.25, 0.95]) * distance
    return tidr.Camera.look_at(eye, (0.02, 0.01, 0.03), width=width, height=height, **(place | options))


def everything(scene: tidr.Scene, *cameras: tidr.Camera) -> list:
    """All parameters of a scene and of cameras."""
    return [*scene.parameters().values(), *(p for camera in cameras for p in camera.parameters().values())]
