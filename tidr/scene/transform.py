"""Rigid transforms and their adjoints, in f64 on the host: a scene has few nodes and cameras, and all are 4x4."""

from typing import Any

import numpy as np

from tidr.errors import SceneError


def rotation_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """[3, 3] rotation of a quaternion [4] (w first), which is normalised first."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_from_columns(columns: np.ndarray) -> np.ndarray:
    """[3, 3] rotation whose first two columns are those given [6], one after the other, made orthonormal in turn.

    Zhou, Barnes, Lu, Yang and Li 2019, "On the Continuity of Rotation Representations in Neural Networks": unlike
    quaternions, these six numbers have no second set that means the same far away.
    """
    x = columns[:3] / np.linalg.norm(columns[:3])
    y = columns[3:] - x * (x @ columns[3:])
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def rotation_of(numbers: np.ndarray) -> np.ndarray:
    """[3, 3] rotation of a quaternion [4] or of two columns [6]."""
    return rotation_from_columns(numbers) if len(numbers) == 6 else rotation_from_quaternion(numbers)


def quaternion_of(numbers: np.ndarray) -> np.ndarray:
    """The same rotation as a quaternion [4]; one is left as it is."""
    return quaternion_from_rotation(rotation_of(numbers)) if len(numbers) == 6 else numbers


def rotation_numbers(rotation: Any, rotation_as: str | None, where: str) -> tuple[np.ndarray, bool]:
    """What a rotation parameter holds, and whether it is kept to length 1.

    Args:
        rotation: a quaternion [4], or two columns [6]. rotation_as: "quaternion", "6d", or None for the one given.

    Raises:
        SceneError: numbers that make no rotation, or an unknown name.
    """
    numbers = np.asarray(rotation, np.float64).reshape(-1)
    if rotation_as not in (None, "quaternion", "6d"):
        raise SceneError(f"{where}.rotation_as", f"is {rotation_as!r}", 'choose "quaternion" or "6d"')
    if numbers.size == 6:
        if not np.linalg.norm(np.cross(numbers[:3], numbers[3:])) > 1e-12:
            raise SceneError(where, "rotation columns are parallel, or have length 0", "give two columns of a rotation")
        return (
            (quaternion_from_rotation(rotation_of(numbers)), True) if rotation_as == "quaternion" else (numbers, False)
        )
    if numbers.size != 4 or not np.linalg.norm(numbers) > 1e-12:
        raise SceneError(where, f"rotation is {numbers.tolist()}, of length 0 or no quaternion", "give one, w first")
    if rotation_as == "6d":
        return rotation_from_quaternion(numbers)[:, :2].T.reshape(6), False
    return numbers, True


def rotation_adjoint(numbers: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """dL/dnumbers from dL/drotation [3, 3], through the normalisation: of a quaternion [4] or two columns [6]."""
    return _columns_adjoint(numbers, gradient) if len(numbers) == 6 else _quaternion_adjoint(numbers, gradient)


def _columns_adjoint(columns: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    (x, y, _), b = rotation_from_columns(columns).T, columns[3:]
    across = np.linalg.norm(b - x * (x @ b))
    to_x, to_y = gradient[:, 0] + np.cross(y, gradient[:, 2]), gradient[:, 1] + np.cross(gradient[:, 2], x)
    to_y = (to_y - y * (y @ to_y)) / across
    to_x = to_x - (x @ to_y) * b - (x @ b) * to_y
    return np.append((to_x - x * (x @ to_x)) / np.linalg.norm(columns[:3]), to_y - x * (x @ to_y))


def _quaternion_adjoint(quaternion: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(quaternion)
    w, x, y, z = unit = quaternion / length
    g = gradient
    raw = 2 * np.array(
        [
            x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]),
            w * (g[2, 1] - g[1, 2]) + y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) - 2 * x * (g[1, 1] + g[2, 2]),
            w * (g[0, 2] - g[2, 0]) + x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) - 2 * y * (g[0, 0] + g[2, 2]),
            w * (g[1, 0] - g[0, 1]) + x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) - 2 * z * (g[0, 0] + g[1, 1]),
        ]
    )
    return (raw - unit * (unit @ raw)) / length


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion [4] (w first, w >= 0) of a rotation matrix [3, 3] (Shepperd 1978)."""
    trace = np.trace(rotation)
    choices = np.array([trace, *np.diag(rotation)])
    k = int(choices.argmax())
    if k == 0:
        raw = [
            1 + trace,
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    else:
        i, j, l = k - 1, k % 3, (k + 1) % 3  # noqa: E741
        raw = np.zeros(4)
        raw[0] = rotation[l, j] - rotation[j, l]
        raw[1 + i] = 1 + 2 * rotation[i, i] - trace
        raw[1 + j] = rotation[j, i] + rotation[i, j]
        raw[1 + l] = rotation[l, i] + rotation[i, l]
    unit = np.asarray(raw) / np.linalg.norm(raw)
    return unit if unit[0] >= 0 else -unit


def quaternion_from_euler(degrees) -> np.ndarray:
    """Unit quaternion of rotations about x, then y, then z, by angles in degrees."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(np.asarray(degrees, np.float64))):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        rotation = turn @ rotation
    return quaternion_from_rotation(rotation)


def compose(translation, rotation, scale) -> np.ndarray:
    """[4, 4] local-to-parent matrix: scale, then rotate (a quaternion or two columns), then translate."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_of(rotation) * np.broadcast_to(scale, 3)
    matrix[:3, 3] = translation
    return matrix


def compose_adjoint(numbers, scale, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dL/d(translation, rotation, scale) from dL/dmatrix [4, 4]; scale keeps its own shape, () or (3,)."""
    rotation = rotation_of(numbers)
    linear = gradient[:3, :3]
    per_axis = (linear * rotation).sum(0)
    scale = np.asarray(scale)
    to_scale = per_axis.sum() if scale.ndim == 0 else per_axis
    return gradient[:3, 3], rotation_adjoint(numbers, linear * np.broadcast_to(scale, 3)), np.asarray(to_scale)


def look_at_rotation(position, target, up, where: str) -> np.ndarray:
    """[3, 3] camera-to-world rotation (OpenGL axes: x right, y up, looking along -z).

    Raises:
        SceneError: the target is the position, or `up` is parallel to the view.
    """
    back = np.asarray(position, np.float64) - np.asarray(target, np.float64)
    if np.linalg.norm(back) < 1e-12:
        raise SceneError(where, "the target equals the position", "move one of them")
    back /= np.linalg.norm(back)
    right = np.cross(np.asarray(up, np.float64), back)
    if np.linalg.norm(right) < 1e-9:
        raise SceneError(where, f"up {tuple(up)} is parallel to the viewing direction", "choose another up")
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], axis=1)


def sphere_directions(count: int, turn: float = 0.0) -> np.ndarray:
    """[count, 3] unit vectors spread evenly (a Fibonacci lattice), from +y to -y, all turned about y by an angle."""
    k = np.arange(count)
    y = 1 - 2 * (k + 0.5) / count
    azimuth, ring = np.pi * (1 + 5**0.5) * k + turn, np.sqrt(1 - y * y)
    return np.stack([ring * np.sin(azimuth), y, ring * np.cos(azimuth)], 1)
