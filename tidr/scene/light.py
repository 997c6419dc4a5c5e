"""Lights: ambient, directional, point and environment, radiometric, RGB."""

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


class EnvironmentLight:
    """What stands infinitely far away all around the scene, behind everything, in place of the film's background.

    radiance: W / (m^2 sr), linear, not negative: a number or RGB [3] for the same everywhere, or a latitude-longitude
        (equirectangular) picture [H, W, 3]. Row 0 is straight up (+Y) and rows go down to -Y; the centre column looks
        along -Z and columns grow to the right, towards +X, as seen from inside. Texel centres lie at +0.5; look-ups are
        bilinear, wrap around in longitude and are clamped at the poles.
    rotation: radians about +Y, a number, by the right-hand rule: a positive one moves the picture to the left.

    Programs agree on everything but where the centre column looks: Mitsuba's looks along +Z (rotation pi makes it the
    same), Blender's along its +X, which is +X here once a file is turned to Y-up (rotation -pi / 2).

    It is seen directly only: surfaces and media are lit by the other lights alone, depth and alpha do not know it. A
    scene has at most one.

    What this does not differentiate: the kinks of bilinear look-ups at texel centres; slopes towards the camera and the
    rotation are those between them. A picture finer than the camera's pixels is not averaged over them.

    Raises:
        SceneError: another shape; negative radiance, or radiance or rotation that is not finite.
    """

    def __init__(self, radiance, rotation: float = 0.0) -> None:
        array = np.asarray(radiance, np.float64)
        if array.ndim < 2:
            array = rgb(array, "radiance")
        elif array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            raise SceneError("environment", f"radiance has shape {array.shape}, expected a number, RGB or [H, W, 3]")
        bad = ~(np.isfinite(array) & (array >= 0))
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            what = f"radiance is {array[where]} at index {where}"
            raise SceneError("environment", what, "give finite numbers of 0 or more")
        if np.ndim(rotation) != 0 or not np.isfinite(rotation):
            raise SceneError("environment", f"rotation is {rotation}", "give one finite angle in radians")
        self.radiance = Parameter(array, BRIGHT)
        self.rotation = Parameter(rotation)

    def parameters(self) -> dict[str, Parameter]:
        return {"radiance": self.radiance, "rotation": self.rotation}


LocalLight = AmbientLight | DirectionalLight | PointLight  # those that shine on surfaces and media
Light = LocalLight | EnvironmentLight
