"""Mitsuba's transforms: [4, 4] matrices that act on columns, and its cameras' axes (x left, y up, z ahead)."""

from collections.abc import Sequence

import numpy as np

from tidr.errors import FileError, SceneError
from tidr.scene.transform import look_at_rotation, rotation_from_quaternion

CAMERA_AXES = np.diag([-1.0, 1.0, -1.0, 1.0])  # from x right, y up, looking along -z


def translate(offset: Sequence[float] | np.ndarray) -> np.ndarray:
    made = np.eye(4)
    made[:3, 3] = offset
    return made


def scale(factors: Sequence[float]) -> np.ndarray:
    return np.diag([*factors, 1.0])


def rotate(axis: Sequence[float], degrees: float, where: str) -> np.ndarray:
    """By the right-hand rule; without an axis about z, as in the plane of textures."""
    length = np.linalg.norm(axis)
    if not length > 1e-12:
        axis, length = (0.0, 0.0, 1.0), 1.0
    half, made = np.radians(degrees) / 2, np.eye(4)
    made[:3, :3] = rotation_from_quaternion(np.array([np.cos(half), *(np.sin(half) * np.array(axis) / length)]))
    return made


def look_at(origin: Sequence[float], target: Sequence[float], up: Sequence[float], where: str) -> np.ndarray:
    """Takes z to the way from origin to target, and 0 to origin."""
    made = translate(origin)
    try:
        made[:3, :3] = look_at_rotation(origin, target, up, "lookat")
    except SceneError as error:
        raise FileError(where, f"lookat: {error.what}", error.mend) from error
    return made @ CAMERA_AXES
