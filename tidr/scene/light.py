"""Lights: ambient, directional, point, spot and environment, radiometric, RGB."""

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


def _unit(direction) -> np.ndarray:
    """[3] of length 1."""
    array = np.asarray(direction, np.float64).reshape(3)
    if not np.linalg.norm(array) > 1e-12:
        raise SceneError("direction", "has length 0", "give the way the light travels")
    return array / np.linalg.norm(array)


def _angle(value, where: str, least: float = 0.0) -> Parameter:
    """One angle in radians, 0 to pi, that a fit keeps from falling below `least`."""
    if np.ndim(value) != 0 or not 0.0 <= value <= np.pi:
        raise SceneError(where, f"is {value}, expected one angle in radians, 0 to pi")
    return Parameter(value, Constraint(clamp=(least, np.pi)))


class AmbientLight:
    """Constant radiance [3] from everywhere, without occlusion."""

    def __init__(self, radiance) -> None:
        self.radiance = Parameter(rgb(radiance, "radiance"), BRIGHT)

    def parameters(self) -> dict[str, Parameter]:
        return {"radiance": self.radiance}


class DirectionalLight:
    """Light that travels along `direction` [3] (world), with `irradiance` [3] on a surface facing it.

    angular_diameter: radians, 0 to pi. 0 means parallel light; above 0 light transport sees a disc of even radiance,
    irradiance / (pi sin^2(angular_diameter / 2)), infinitely far away (the sun's is 0.0093): shadows get soft edges.
    Half angles up to 1e-5 count as 0. The other renderers draw parallel light and ignore the angle.

    Raises:
        SceneError: a direction of length 0, or an angle outside that range.
    """

    def __init__(self, direction, irradiance, angular_diameter: float = 0.0) -> None:
        self.direction = Parameter(_unit(direction), Constraint(unit=True))
        self.irradiance = Parameter(rgb(irradiance, "irradiance"), BRIGHT)
        self.angular_diameter = _angle(angular_diameter, "angular_diameter")

    def parameters(self) -> dict[str, Parameter]:
        return {
            "direction": self.direction,
            "irradiance": self.irradiance,
            "angular_diameter": self.angular_diameter,
        }


class PointLight:
    """A point at `position` [3] (world) with radiant `intensity` [3]; irradiance falls with 1/distance^2."""

    def __init__(self, position, intensity) -> None:
        self.position = Parameter(np.asarray(position, np.float64).reshape(3))
        self.intensity = Parameter(rgb(intensity, "intensity"), BRIGHT)

    def parameters(self) -> dict[str, Parameter]:
        return {"position": self.position, "intensity": self.intensity}


class SpotLight:
    """A point at `position` [3] (world) that shines into a cone around `direction` [3] (world), its axis.

    intensity: radiant intensity [3] on the axis; irradiance falls with 1/distance^2. It is full up to cutoff - falloff
    off the axis (on the axis alone, where falloff is the larger one) and 0 from `cutoff` on; in between it is times
    3 x^2 - 2 x^3, x falling linearly in the cosine of the angle from 1 to 0, so that pictures have no kink.
    cutoff, falloff: radians, 0 to pi; falloff is a quarter of the cutoff unless given. A fit keeps the cutoff at 0.001
    or more.

    What this does not differentiate: with falloff 0 the rim, where intensity jumps.

    Raises:
        SceneError: a direction of length 0, or an angle outside its range.
    """

    def __init__(self, position, direction, intensity, cutoff: float, falloff: float | None = None) -> None:
        self.position = Parameter(np.asarray(position, np.float64).reshape(3))
        self.direction = Parameter(_unit(direction), Constraint(unit=True))
        self.intensity = Parameter(rgb(intensity, "intensity"), BRIGHT)
        self.cutoff = _angle(cutoff, "cutoff", 1e-3)
        self.falloff = _angle(cutoff / 4 if falloff is None else falloff, "falloff")

    def parameters(self) -> dict[str, Parameter]:
        return {
            "position": self.position,
            "direction": self.direction,
            "intensity": self.intensity,
            "cutoff": self.cutoff,
            "falloff": self.falloff,
        }


class EnvironmentLight:
    """What stands infinitely far away all around the scene, behind everything, in place of the film's background.

    radiance: W / (m^2 sr), linear, not negative: a number or RGB [3] for the same everywhere, or a latitude-longitude
        (equirectangular) picture [H, W, 3]. Row 0 is straight up (+Y) and rows go down to -Y; the centre column looks
        along -Z and columns grow to the right, towards +X, as seen from inside. Texel centres lie at +0.5; look-ups are
        bilinear, wrap around in longitude and are clamped at the poles.
    rotation: radians about +Y, a number, by the right-hand rule: a positive one moves the picture to the left.

    Programs agree on everything but where the centre column looks: Mitsuba's looks along +Z (rotation pi makes it the
    same), Blender's along its +X, which is +X here once a file is turned to Y-up (rotation -pi / 2).

    Light transport (paths and photons) lights the scene by it. The other renderers show it directly only: surfaces and
    media are lit by the other lights alone, depth and alpha do not know it. A scene has at most one.

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


LocalLight = AmbientLight | DirectionalLight | PointLight | SpotLight  # those that shine on surfaces and media
Light = LocalLight | EnvironmentLight
