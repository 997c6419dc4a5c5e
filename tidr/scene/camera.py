"""Cameras: pose and intrinsics as parameters, perspective (with or without a lens) and orthographic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

from .distortion import COEFFICIENTS, distort, undistort
from .transform import (
    look_at_rotation,
    quaternion_from_rotation,
    rotation_adjoint,
    rotation_numbers,
    rotation_of,
    sphere_directions,
)


class Camera:
    """A pinhole, thin-lens or orthographic camera.

    Parameters (world space, pixels at `width` x `height`; rendering at another size scales them):
        position: [3] centre of projection, world.
        rotation: [4] camera-to-world quaternion, w first; OpenGL axes (x right, y up, looking along -z). With
            rotation_as="6d" [6], two columns of its matrix, as of `Node`.
        focal: [2] fx, fy in pixels; for an orthographic camera pixels per world unit.
        principal_point: [2] cx, cy in pixels from the top left corner.
        aperture_radius, focus_distance: in world units, the second along the viewing axis; only of a perspective camera
            that was given them. What lies at another depth z is blurred to a disc of 2 aperture_radius focal
            |z - focus_distance| / (z focus_distance) pixels across (Potmesil and Chakravarty 1981, "A Lens and Aperture
            Camera Model for Synthetic Image Generation"). Only light transport draws such a camera.
        distortion: [8] k1, k2, p1, p2, k3, k4, k5, k6 of scene/distortion.py, only of a perspective camera that was
            given at least the first of them. Renderers that follow rays draw it exactly; of others the pinhole's
            picture is drawn, with a margin, and resampled (renderers/lens.py).

    near and far bound `depth`, the distance along the viewing axis.
    """

    distortion: Parameter | None = None
    margin: tuple[int, int] = (
        0,
        0,
    )  # pixels that pictures of `renderers/lens.py` have more, left and right, above and below

    def __init__(
        self,
        position,
        rotation,
        focal,
        principal_point,
        width: int,
        height: int,
        kind: str = "perspective",
        near: float = 1e-2,
        far: float = 1e6,
        aperture_radius: float | None = None,
        focus_distance: float | None = None,
        distortion: Sequence[float] | None = None,
        rotation_as: str | None = None,
    ) -> None:
        if kind not in ("perspective", "orthographic"):
            raise SceneError("camera", f"type is {kind!r}", "choose perspective or orthographic")
        if width < 1 or height < 1:
            raise SceneError("camera", f"size {width} x {height}", "give at least one pixel each way")
        if not 0 < near < far:
            raise SceneError("camera", f"near {near} and far {far}", "0 < near < far is needed")
        if not (np.asarray(focal) > 0).all():
            raise SceneError("camera", f"focal {tuple(focal)} is not positive", "give fx, fy > 0 in pixels")
        self.kind, self.width, self.height, self.near, self.far = kind, int(width), int(height), float(near), float(far)
        self.position = Parameter(np.asarray(position, np.float64).reshape(3))
        numbers, unit = rotation_numbers(rotation, rotation_as, "camera")
        self.rotation = Parameter(numbers, Constraint(unit=unit))
        self.focal = Parameter(np.asarray(focal, np.float64).reshape(2), Constraint(positive=True))
        self.principal_point = Parameter(np.asarray(principal_point, np.float64).reshape(2))
        self.aperture_radius = self.focus_distance = None
        if aperture_radius is not None or focus_distance is not None:
            radius, distance = _lens(kind, aperture_radius, focus_distance)
            self.aperture_radius = Parameter(radius, Constraint(clamp=(0.0, np.inf)))
            self.focus_distance = Parameter(distance, Constraint(positive=True))
        if distortion is not None:
            self.distortion = Parameter(_coefficients(kind, distortion))

    @classmethod
    def look_at(
        cls,
        position,
        target,
        up=(0, 1, 0),
        *,
        fov_y_degrees: Any = None,
        height_world: Any = None,
        width=512,
        height=512,
        **options,
    ) -> Camera:
        """A camera at `position` looking at `target` (world).

        Give `fov_y_degrees` (full vertical angle) for a perspective camera, or `height_world` (world units that the
        image is high) for an orthographic one.
        """
        if (fov_y_degrees is None) == (height_world is None):
            raise SceneError("camera", "needs exactly one of fov_y_degrees and height_world")
        if height_world is None:
            if not 0 < fov_y_degrees < 180:
                raise SceneError("camera", f"fov_y_degrees is {fov_y_degrees}", "give an angle between 0 and 180")
            focal = height / 2 / np.tan(np.radians(fov_y_degrees) / 2)
        else:
            focal = height / height_world
            options["kind"] = "orthographic"
        rotation = quaternion_from_rotation(look_at_rotation(position, target, up, "camera"))
        return cls(position, rotation, (focal, focal), (width / 2, height / 2), width, height, **options)

    @classmethod
    def from_matrix(cls, camera_to_world, focal, principal_point, width: int, height: int, **options) -> Camera:
        """A camera from its camera_to_world matrix [4, 4] in OpenGL axes (transforms.json, Blender)."""
        matrix = np.asarray(camera_to_world, np.float64)
        rotation = quaternion_from_rotation(matrix[:3, :3])
        return cls(matrix[:3, 3], rotation, focal, principal_point, width, height, **options)

    @classmethod
    def from_opencv(cls, K, world_to_camera, width: int, height: int, **options) -> Camera:
        """A camera from an OpenCV intrinsic matrix K [3, 3] and world_to_camera [3 or 4, 4] (x right, y down, z ahead).

        K's pixel centres are at integers + 0.5, as everywhere in tidr. Skew must be 0.
        """
        K, matrix = np.asarray(K, np.float64), np.eye(4)
        matrix[:3] = np.asarray(world_to_camera, np.float64)[:3]
        if abs(K[0, 1]) > 1e-9 * abs(K[0, 0]):
            raise SceneError("camera", f"K has skew {K[0, 1]}", "undistort the pictures first")
        camera_to_world = np.linalg.inv(matrix) @ np.diag([1.0, -1.0, -1.0, 1.0])
        return cls.from_matrix(camera_to_world, (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2]), width, height, **options)

    @property
    def camera_to_world(self) -> np.ndarray:
        """[4, 4] pose in OpenGL axes."""
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_of(self.rotation.host())
        matrix[:3, 3] = self.position.host()
        return matrix

    def parameters(self) -> dict[str, Parameter]:
        lens = {
            "aperture_radius": self.aperture_radius,
            "focus_distance": self.focus_distance,
            "distortion": self.distortion,
        }
        return {
            "position": self.position,
            "rotation": self.rotation,
            "focal": self.focal,
            "principal_point": self.principal_point,
        } | {name: parameter for name, parameter in lens.items() if parameter is not None}

    def versions(self) -> tuple[int, ...]:
        return tuple(parameter.version for parameter in self.parameters().values())

    def projection(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """World to homogeneous pixels, and the eye.

        Returns:
            [4, 4] matrix that takes (x, y, z, 1) in world space to (column * w, row * w, w, depth), and the eye [4]:
            the vector from a point p to the camera is eye[:3] - eye[3] * p.
        """
        rotation = rotation_of(self.rotation.host())
        position = self.position.host()
        axes = self._screen_axes(width, height)
        matrix = np.zeros((4, 4))
        matrix[:, :3] = axes[:, :3] @ rotation.T
        matrix[:, 3] = axes[:, 3] - matrix[:, :3] @ position
        eye = np.append(position, 1.0) if self.kind == "perspective" else np.append(rotation[:, 2], 0.0)
        return matrix, eye

    def projection_adjoint(
        self, width: int, height: int, gradient: np.ndarray, to_eye: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Gradients of this camera's parameters from dL/dmatrix [4, 4] and dL/deye [4]."""
        numbers = self.rotation.host()
        rotation = rotation_of(numbers)
        position = self.position.host()
        axes = self._screen_axes(width, height)
        to_linear = gradient[:, :3] - np.outer(gradient[:, 3], position)
        to_position = -(axes[:, :3] @ rotation.T).T @ gradient[:, 3]
        to_axes = np.zeros((4, 4))
        to_axes[:, :3] = to_linear @ rotation
        to_axes[:, 3] = gradient[:, 3]
        to_rotation = to_linear.T @ axes[:, :3]
        if self.kind == "perspective":
            to_position = to_position + to_eye[:3]
        else:
            to_rotation[:, 2] += to_eye[:3]
        (sx, sy), _, _ = self._intrinsics(width, height)
        column, sign = (2, -1.0) if self.kind == "perspective" else (3, 1.0)
        return {
            "position": to_position,
            "rotation": rotation_adjoint(numbers, to_rotation),
            "focal": np.array([to_axes[0, 0] * sx, -to_axes[1, 1] * sy]),
            "principal_point": sign * np.array([to_axes[0, column] * sx, to_axes[1, column] * sy]),
        }

    def unprojection(self, width: int, height: int) -> np.ndarray:
        """[2, 3, 3]: what takes (column, row, 1) in pixels to a ray's origin and to its direction, world.

        The direction has length 1 / cosine of its angle to the viewing axis.
        """
        rotation = rotation_of(self.rotation.host())
        found = np.zeros((2, 3, 3))
        found[self._spread()] = rotation @ self._pixel_axes(width, height)
        if self.kind == "orthographic":
            found[1, :, 2] = -rotation[:, 2]
        found[0, :, 2] += self.position.host()
        return found

    def unprojection_adjoint(self, width: int, height: int, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of this camera's parameters from dL/dunprojection [2, 3, 3]."""
        numbers = self.rotation.host()
        rotation, axes = rotation_of(numbers), self._pixel_axes(width, height)
        spread = gradient[self._spread()]
        to_axes, to_rotation = rotation.T @ spread, spread @ axes.T
        if self.kind == "orthographic":
            to_rotation[:, 2] -= gradient[1, :, 2]
        size, (fx, fy), (cx, cy) = self._intrinsics(width, height)
        to_fx = (cx * to_axes[0, 2] - to_axes[0, 0]) / fx**2
        to_fy = (to_axes[1, 1] - cy * to_axes[1, 2]) / fy**2
        return {
            "position": gradient[0, :, 2],
            "rotation": rotation_adjoint(numbers, to_rotation),
            "focal": np.array([to_fx, to_fy]) * size,
            "principal_point": np.array([-to_axes[0, 2] / fx, to_axes[1, 2] / fy]) * size,
        }

    def lens(self) -> np.ndarray:
        """[7]: aperture radius times the camera's right and up (world), focus distance; without a lens 0 and 1."""
        if self.aperture_radius is None or self.focus_distance is None:
            return np.array([0.0] * 6 + [1.0])
        axes = self.aperture_radius.host() * rotation_of(self.rotation.host())[:, :2]
        return np.append(axes.T, self.focus_distance.host())

    def lens_adjoint(self, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of this camera's parameters from dL/dlens [7]."""
        if self.aperture_radius is None:
            return {}
        numbers, to_axes = self.rotation.host(), gradient[:6].reshape(2, 3).T
        to_rotation = np.zeros((3, 3))
        to_rotation[:, :2] = self.aperture_radius.host() * to_axes
        return {
            "rotation": rotation_adjoint(numbers, to_rotation),
            "aperture_radius": (to_axes * rotation_of(numbers)[:, :2]).sum(),
            "focus_distance": gradient[6],
        }

    def film(self, width: int, height: int) -> np.ndarray:
        """[12]: fx, fy, cx, cy in pixels of a picture of this size, and the coefficients of distortion."""
        _, focal, centre = self._intrinsics(width, height)
        coefficients = np.zeros(len(COEFFICIENTS)) if self.distortion is None else self.distortion.host()
        return np.concatenate([focal, centre, coefficients])

    def film_adjoint(self, width: int, height: int, gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of this camera's parameters from dL/dfilm [12]."""
        size, _, _ = self._intrinsics(width, height)
        found = {"focal": gradient[:2] * size, "principal_point": gradient[2:4] * size}
        return found if self.distortion is None else found | {"distortion": gradient[4:]}

    def distorted(self, pixels, width: int, height: int) -> np.ndarray:
        """Where the lens shows what a pinhole of the same focal length sees at pixels [..., 2] (column, row)."""
        _, focal, centre = self._intrinsics(width, height)
        return distort((np.asarray(pixels) - centre) / focal, self.film(width, height)[4:])[0] * focal + centre

    def undistorted(self, pixels, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `distorted` [..., 2]; and [...] whether the lens shows anything there, or folds before."""
        _, focal, centre = self._intrinsics(width, height)
        points, inside = undistort((np.asarray(pixels) - centre) / focal, self.film(width, height)[4:])
        return points * focal + centre, inside

    def overflow(self, width: int, height: int) -> np.ndarray:
        """[H, W] bool: pixels that the lens leaves without a ray, since its distortion folds before it gets there.

        They are drawn as the last ray before them and have no gradient; `1 - overflow` is a mask for losses.
        """
        rows, columns = np.mgrid[:height, :width] + 0.5
        return ~self.undistorted(np.stack([columns, rows], -1), width, height)[1]

    def _intrinsics(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of a picture of this size, margin included, for one of the camera's [2]; fx, fy and cx, cy there."""
        margin = np.array(self.margin)
        size = (np.array([width, height]) - 2 * margin) / (self.width, self.height)
        return size, self.focal.host() * size, self.principal_point.host() * size + margin

    def _spread(self) -> int:
        """Which of origin (0) and direction (1) differs from pixel to pixel."""
        return 1 if self.kind == "perspective" else 0

    def _pixel_axes(self, width: int, height: int) -> np.ndarray:
        """[3, 3] (column, row, 1) to camera space (OpenGL axes): the direction, or the offset where parallel."""
        _, (fx, fy), (cx, cy) = self._intrinsics(width, height)
        ahead = -1.0 if self.kind == "perspective" else 0.0
        return np.array([[1 / fx, 0, -cx / fx], [0, -1 / fy, cy / fy], [0, 0, ahead]])

    def _screen_axes(self, width: int, height: int) -> np.ndarray:
        """[4, 4] camera space (OpenGL axes) to (column * w, row * w, w, depth)."""
        _, (fx, fy), (cx, cy) = self._intrinsics(width, height)
        if self.kind == "perspective":
            return np.array([[fx, 0, -cx, 0], [0, -fy, -cy, 0], [0, 0, -1, 0], [0, 0, -1, 0]], np.float64)
        return np.array([[fx, 0, 0, cx], [0, -fy, 0, cy], [0, 0, 0, 1], [0, 0, -1, 0]], np.float64)


def _lens(kind: str, radius: float | None, distance: float | None) -> tuple[float, float]:
    """The two numbers of a thin lens, checked."""
    if kind != "perspective":
        raise SceneError("camera", f"aperture_radius of a camera of type {kind!r}", "only perspective cameras have it")
    if radius is None or distance is None:
        raise SceneError("camera", "a lens needs both aperture_radius and focus_distance", "give both or neither")
    if not 0 <= radius < np.inf:
        raise SceneError("camera", f"aperture_radius is {radius}", "give a length in world units, 0 or more")
    if not 0 < distance < np.inf:
        raise SceneError("camera", f"focus_distance is {distance}", "give a positive length in world units")
    return radius, distance


def _coefficients(kind: str, given: Sequence[float]) -> np.ndarray:
    """All coefficients of distortion [8], those not given 0."""
    values = np.asarray(given, np.float64).reshape(-1)
    if kind != "perspective":
        raise SceneError("camera", f"distortion of a camera of type {kind!r}", "only perspective cameras have it")
    if not 1 <= values.size <= len(COEFFICIENTS) or not np.isfinite(values).all():
        names = ", ".join(COEFFICIENTS)
        raise SceneError("camera", f"distortion is {list(given)}", f"give 1 to 8 finite numbers: {names}")
    return np.append(values, np.zeros(len(COEFFICIENTS) - values.size))


def pinhole_parameters(cameras: Sequence[Camera], distorted: bool = False) -> list[Parameter]:
    """The parameters of all cameras, one after the other, for renderers in which every pixel is one ray of a camera.

    Raises:
        SceneError: a camera with a thin lens, a meter, or unless `distorted` one with distortion.
    """
    for camera in cameras:
        if camera.distortion is not None and not distorted:
            name = camera.position.path.rpartition(".")[0] or "camera"
            raise SceneError(name, "has distortion, which is not drawn here", "use tidr.render, or undistort pictures")
        if camera.kind not in ("perspective", "orthographic") or camera.aperture_radius is not None:
            name = camera.position.path.rpartition(".")[0] or "camera"
            what = "has a lens (aperture_radius)" if camera.kind == "perspective" else f"is a {camera.kind}"
            raise SceneError(name, f"{what}, which this renderer does not draw", 'use renderer "path"')
    return [parameter for camera in cameras for parameter in camera.parameters().values()]


def orbit(count: int, radius: float, target=(0, 0, 0), *, elevation_degrees=20.0, start_degrees=0.0, **options):
    """`count` cameras on a circle around `target` (world), looking at it; options as `Camera.look_at`."""
    elevation = np.radians(elevation_degrees)
    cameras = []
    for azimuth in np.radians(start_degrees) + 2 * np.pi * np.arange(count) / count:
        offset = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
        cameras.append(Camera.look_at(np.asarray(target) + radius * np.array(offset), target, **options))
    return cameras


def sphere_views(count: int, radius: float, target=(0, 0, 0), *, turn_degrees=0.0, **options) -> list[Camera]:
    """`count` cameras spread evenly over a sphere around `target`, looking at it (a Fibonacci lattice)."""
    places = np.asarray(target) + radius * sphere_directions(count, np.radians(turn_degrees))
    return [Camera.look_at(place, target, **options) for place in places]
