"""Meters: sensors without a picture plane, which measure radiance along one ray or irradiance at one point."""

from typing import Any, NoReturn

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

from .camera import Camera


class Meter(Camera):
    """What both meters share with cameras: a place in `scene.cameras`, a size, parameters and a table of rays.

    The picture is one pixel; drawn larger, every pixel is an estimate of the same value. Only light transport draws it.
    There is no pose, focal length or principal point.
    """

    def __init__(self, kind: str, position) -> None:
        self.kind, self.width, self.height, self.near, self.far = kind, 1, 1, 1e-2, 1e6
        self.position = Parameter(np.asarray(position, np.float64).reshape(3))
        self.aperture_radius = self.focus_distance = None

    def __getattr__(self, name: str) -> Any:
        if name in ("rotation", "focal", "principal_point"):
            self._refuse(name)
        raise AttributeError(name)

    def projection(self, width: int, height: int) -> NoReturn:
        """Meters project nothing: raises SceneError."""
        self._refuse("picture plane")

    def unprojection(self, width: int, height: int) -> np.ndarray:
        """[2, 3, 3]: as of a camera whose pixels all have one origin and one direction, here of unit length."""
        found = np.zeros((2, 3, 3))
        found[:, :, 2] = self.position.host(), _unit(self._axis())
        return found

    def _axis(self) -> np.ndarray:
        """[3] direction of the ray, or normal, of any length."""
        raise NotImplementedError

    def _to_axis(self, gradient: np.ndarray) -> np.ndarray:
        """Gradient of `_axis` from that of the unprojection."""
        axis = self._axis()
        unit = _unit(axis)
        return (gradient[1, :, 2] - unit * (unit @ gradient[1, :, 2])) / np.linalg.norm(axis)

    def _refuse(self, what: str) -> NoReturn:
        name = self.position.path.rpartition(".")[0] or "camera"
        raise SceneError(name, f"is a {self.kind} and has no {what}", "take a perspective or orthographic camera")


class RadianceMeter(Meter):
    """Measures the radiance that arrives at `position` from the direction of `target` (both [3], world): one ray."""

    def __init__(self, position, target) -> None:
        super().__init__("radiance_meter", position)
        self.target = Parameter(np.asarray(target, np.float64).reshape(3))
        if not np.linalg.norm(self._axis()) > 1e-12:
            raise SceneError("camera", "the target equals the position", "move one of them")

    def parameters(self) -> dict[str, Parameter]:
        return {"position": self.position, "target": self.target}

    def unprojection_adjoint(self, width: int, height: int, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of the parameters from dL/dunprojection [2, 3, 3]."""
        to_axis = self._to_axis(gradient)
        return {"position": gradient[0, :, 2] - to_axis, "target": to_axis}

    def _axis(self) -> np.ndarray:
        return self.target.host() - self.position.host()


class IrradianceMeter(Meter):
    """Measures the irradiance at `position` [3] (world) on a small surface whose `normal` [3] points to the light.

    Radiance is weighted with the cosine over the hemisphere around the normal, so that a constant environment of
    radiance L gives pi L.
    """

    def __init__(self, position, normal) -> None:
        super().__init__("irradiance_meter", position)
        normal = np.asarray(normal, np.float64).reshape(3)
        if not np.linalg.norm(normal) > 1e-12:
            raise SceneError("camera", "the normal has length 0", "give the way the meter faces")
        self.normal = Parameter(_unit(normal), Constraint(unit=True))

    def parameters(self) -> dict[str, Parameter]:
        return {"position": self.position, "normal": self.normal}

    def unprojection_adjoint(self, width: int, height: int, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of the parameters from dL/dunprojection [2, 3, 3]."""
        return {"position": gradient[0, :, 2], "normal": self._to_axis(gradient)}

    def _axis(self) -> np.ndarray:
        return self.normal.host()


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
