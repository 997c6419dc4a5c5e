"""How far fitted parameters are from what they really are, where the settings say it."""

from collections.abc import Mapping, Sequence

import numpy as np

from tidr.scene.graph import Scene
from tidr.scene.transform import rotation_of

from ..errors import SceneError


def known(scene: Scene, truth: Mapping[str, Sequence[float] | str]) -> dict[str, Sequence[float]]:
    """The same with what the scene holds now in place of "scene"."""
    held = {path: value for path, value in truth.items() if not isinstance(value, str)}
    return held | {path: scene.parameters(path)[path].numpy().ravel().tolist() for path in truth if path not in held}


def how_far(scene: Scene, truth: Mapping[str, Sequence[float]]) -> dict[str, dict]:
    """{path: {"error": number, "unit": name}} for every parameter named.

    Rotations and directions are the angle between the two in degrees; everything else is the Euclidean
    distance, in the parameter's own unit, "". Of parameters with several rows "share" is that over the truth's length.

    Raises:
        SceneError: no such parameter, or a value of another size.
    """
    found = {}
    for path, wanted in truth.items():
        parameter = scene.parameters(path)[path]
        value, right = parameter.numpy().astype(np.float64).ravel(), np.asarray(wanted, np.float64)
        if value.shape != right.shape or not np.isfinite(right).all():
            what = f"has {right.size} numbers, the parameter {value.size}"
            raise SceneError(f"fit.truth.{path}", what, "give a list of as many finite numbers")
        if path.endswith(".rotation") and value.size in (4, 6):
            found[path] = {"error": _degrees(value, right), "unit": "degrees"}
        elif parameter.constraint.unit and value.size == 3:
            angle = np.arctan2(np.linalg.norm(np.cross(value, right)), value @ right)
            found[path] = {"error": float(np.degrees(angle)), "unit": "degrees"}
        else:
            found[path] = {"error": float(np.linalg.norm(value - right)), "unit": ""}
            if parameter.rows > 1 and right.any():
                found[path]["share"] = found[path]["error"] / float(np.linalg.norm(right))
    return found


def _degrees(one: np.ndarray, other: np.ndarray) -> float:
    between = rotation_of(one) @ rotation_of(other).T
    # The skew part tells small angles, of which the trace knows nothing in rounded numbers.
    sine = np.linalg.norm([between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]])
    return float(np.degrees(np.arctan2(sine / 2, (np.trace(between) - 1) / 2)))
