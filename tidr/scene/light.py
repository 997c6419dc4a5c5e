"""Lights: ambient, directional and point, radiometric, RGB."""

from __future__ import annotations

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

BRIGHT = Constraint(clamp=(0.0, np.inf))


def rgb(value, where: str) -> np.ndarray:
    """[3] from a number or three."""
    array = np.asarray(value, np.float64)
    if array.shape not in ((), (3,)):
        raise SceneError(where, f"got shape {array.shape}, expected a number or RGB")
    return np.broadcast_to(array, 3)


class AmbientLight:
    """Constant radiance [3] from everywhere, without occlusion."""

    def __init__(self, radiance) -> None:
        self.radiance = Parameter(rgb(radiance, "radiance"), BRIGHT)

    def parameters(self) -> dict[str, Parameter]:
        return {"radiance": self.radiance}


class DirectionalLight:
    """Parallel light travelling along `direction` [3] (world), with `irradiance` [3] on a surface facing it."""

    def __init__(self, direction, irradiance) -> None:
        direction = np.asarray(direction, np.float64).reshape(3)
        if not np.linalg.norm(direction) > 1e-12:
            raise SceneError("direction", "has length 0", "give the way the light travels")
        self.direction = Parameter(direction / np.linalg.norm(direction), Constraint(unit=True))
        self.irradiance = Parameter(rgb(irradiance, "irradiance"), BRIGHT)

    def parameters(self) -> dict[str, Parameter]:
        return {"direction": self.direction, "irradiance": self.irradiance}


class PointLight:
    """A point at `position` [3] (world) with radiant `intensity` [3]; irradiance falls with 1/distance^2."""

    def __init__(self, position, intensity) -> None:
        self.position = Parameter(np.asarray(position, np.float64).reshape(3))
        self.intensity = Parameter(rgb(intensity, "intensity"), BRIGHT)

    def parameters(self) -> dict[str, Parameter]:
        return {"position": self.position, "intensity": self.intensity}


Light = AmbientLight | DirectionalLight | PointLight
