"""The viewer's camera: orbits a pivot or flies, with the lens of one of the scene's cameras. Host only."""

from typing import Any

import numpy as np

from tidr.scene.camera import Camera
from tidr.scene.graph import Scene
from tidr.scene.transform import quaternion_from_rotation, rotation_from_quaternion

STEEPEST = np.radians(88.0)  # that the camera stands above or below the pivot
NEAREST = 1e-4  # of the distance that the camera began at


class Orbit:
    """Where the viewer looks from: rotation [3, 3] camera to world (OpenGL axes), pivot [3] (world), at a distance
    straight ahead, which every turn goes around; `fly` turns about the camera instead.
    """

    def __init__(self, camera: Camera, centre: np.ndarray, radius: float) -> None:
        """Begin where `camera` stands; the pivot is the place on its line of sight nearest to `centre` (world)."""
        matrix = camera.camera_to_world
        self.lens = camera
        self.fly = False
        self.rotation = matrix[:3, :3].copy()
        ahead = float((centre - matrix[:3, 3]) @ -self.rotation[:, 2])
        self.distance = self.begun = ahead if ahead > 0.05 * radius else max(radius, 1e-3)
        self.pivot = matrix[:3, 3] - self.distance * self.rotation[:, 2]
        # A camera that stands on its head keeps doing so.
        self.up = np.array([0.0, 1.0 if self.rotation[1, 1] >= 0 else -1.0, 0.0])

    @property
    def position(self) -> np.ndarray:
        """[3], world."""
        return self.pivot + self.distance * self.rotation[:, 2]

    def key(self) -> tuple:
        """Differs where the view does."""
        return (self.rotation.tobytes(), self.pivot.tobytes(), self.distance, id(self.lens))

    def turn(self, right: float, up: float) -> None:
        """Turn by angles in radians: around the pivot so that the thing follows the hand, or the head when flying."""
        position, high = self.position, float(np.arcsin(np.clip(self.rotation[:, 2] @ self.up, -1, 1)))
        tilt = np.clip(up, high - max(STEEPEST, high), high - min(-STEEPEST, high))
        chosen = _about(self.up, -right) @ self.rotation @ _about(np.array([1.0, 0.0, 0.0]), tilt)
        self.rotation = rotation_from_quaternion(quaternion_from_rotation(chosen))  # stays a rotation, turn after turn
        if self.fly:
            self.pivot = position - self.distance * self.rotation[:, 2]

    def pan(self, right: float, up: float) -> None:
        """Move sideways by parts of the picture's height, so that what lies at the pivot follows the hand."""
        high = self.distance * self.lens.height / self.lens.focal.host()[1]
        if self.lens.kind == "orthographic":
            high = self.lens.height / self.lens.focal.host()[1] * self.distance / self.begun
        self.pivot = self.pivot - high * (right * self.rotation[:, 0] + up * self.rotation[:, 1])

    def zoom(self, factor: float) -> None:
        """Come nearer to the pivot by this factor, or further away by one below 1."""
        self.distance = float(np.clip(self.distance / factor, NEAREST * self.begun, self.begun / NEAREST))

    def walk(self, right: float, up: float, ahead: float) -> None:
        """Move by parts of the distance along the camera's axes, pivot and all."""
        self.pivot = self.pivot + self.distance * (self.rotation @ np.array([right, up, -ahead]))

    def place(self, camera: Camera, width: int, height: int) -> None:
        """Give `camera` this view of `width` x `height` pixels, which show all that the lens shows, and more beside."""
        lens, scale = self.lens, min(height / self.lens.height, width / self.lens.width)
        focal, centre = lens.focal.host() * scale, lens.principal_point.host() * scale
        if lens.kind == "orthographic":
            focal = focal * self.begun / self.distance
        camera.width, camera.height = width, height
        camera.position.set(self.position)
        camera.rotation.set(quaternion_from_rotation(self.rotation))
        camera.focal.set(focal)
        camera.principal_point.set(
            centre + (np.array([width, height]) - scale * np.array([lens.width, lens.height])) / 2
        )


def camera_like(lens: Camera) -> Camera:
    """A camera of the same kind and optics, for an `Orbit` to place; the original's parameters stay its own."""
    lengths = {"aperture_radius": lens.aperture_radius, "focus_distance": lens.focus_distance}
    options: Any = {name: float(value.host()) for name, value in lengths.items() if value is not None}
    values = (
        lens.position.host(),
        quaternion_from_rotation(lens.camera_to_world[:3, :3]),
        lens.focal.host(),
        lens.principal_point.host(),
    )
    return Camera(*values, lens.width, lens.height, kind=lens.kind, near=lens.near, far=lens.far, **options)


def extent(scene: Scene) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of a ball around all geometry (world); of the unit ball where there is none."""
    worlds, corners = scene.world_matrices(), []
    for name, node in scene.nodes.items():
        if node.geometry is not None:
            low, high = node.geometry.bounds()
            box = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
            corners.append(box @ worlds[name][:3, :3].T + worlds[name][:3, 3])
    if not corners:
        return np.zeros(3), 1.0
    every = np.concatenate(corners)
    low, high = every.min(0), every.max(0)
    return (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-6)


def cameras_of(scene: Scene) -> dict[str, Camera]:
    """The scene's cameras that make pictures, by name; where there are none, "whole" shows all geometry."""
    found = {name: each for name, each in scene.cameras.items() if each.kind in ("perspective", "orthographic")}
    if found:
        return found
    (centre, radius), film = extent(scene), scene.film
    eye = centre + 3.2 * radius * np.array([0.43, 0.3, 0.85])
    return {"whole": Camera.look_at(eye, centre, fov_y_degrees=40, width=film.width, height=film.height)}


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    """[3, 3] rotation about a unit axis by an angle in radians (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
