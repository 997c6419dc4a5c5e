"""Mitsuba's emitters and sensors as tables of lights and cameras.

Units are the same: radiance, radiant intensity, irradiance. What differs is told in one warning: a spot's rim, a second
environment, mirrored cameras.
"""

import math
from typing import Any

import numpy as np

from .guard import Limits
from .image import read_image
from .imported import SHEARED, Imported
from .mitsuba_items import Book, Item
from .mitsuba_transforms import CAMERA_AXES

FILM = (768, 576)
FULL_FRAME = math.hypot(36.0, 24.0)  # mm, the diagonal that focal lengths refer to
LARGEST_FILM = 65536
HALF_TURN = np.diag([-1.0, 1.0, -1.0])  # from where tidr's environments look to where Mitsuba's do


def add_light(scene: Imported, item: Item, limits: Limits) -> None:
    """A light of its own; area lights belong to their shapes."""
    makers = {
        "point": _point, "spot": _spot, "directional": _directional, "constant": _constant, "envmap": _envmap,
    }  # fmt: skip
    if item.type not in makers:
        scene.note(item.place, f"no light {item.type!r:.60}")
        item.seen.update(item.values)
        return
    environments = [name for name, table in scene.tables["lights"].items() if table["type"] == "environment"]
    if item.type in ("constant", "envmap") and environments:
        scene.note(item.place, f"a second environment beside {environments[0]!r}")
        item.seen.update(item.values)
        return
    scene.add("lights", item.name, makers[item.type](scene, item, limits))


def _point(scene: Imported, item: Item, limits: Limits) -> dict[str, Any]:
    place = item.vector("position") if "position" in item.values else item.transform()[:3, 3]
    return {"type": "point", "position": place.tolist(), "intensity": item.color("intensity", 1.0).tolist()}


def _spot(scene: Imported, item: Item, limits: Limits) -> dict[str, Any]:
    matrix, cutoff = item.transform(), item.number("cutoff_angle", 20.0, 0.0, 180.0)
    beam = item.number("beam_width", cutoff * 3 / 4, 0.0, 180.0)
    if beam < cutoff:
        what = "its rim fades by tidr's curve, not linearly in the angle"
        scene.note(item.place, what)
    return {
        "type": "spot",
        "position": matrix[:3, 3].tolist(),
        "direction": _along(item, matrix[:3, 2]),
        "intensity": item.color("intensity", 1.0).tolist(),
        "cutoff_degrees": cutoff,
        "falloff_degrees": max(cutoff - beam, 0.0),
    }


def _directional(scene: Imported, item: Item, limits: Limits) -> dict[str, Any]:
    way = item.vector("direction") if "direction" in item.values else item.transform()[:3, 2]
    irradiance = item.color("irradiance", 1.0).tolist()
    return {"type": "directional", "direction": _along(item, way), "irradiance": irradiance}


def _constant(scene: Imported, item: Item, limits: Limits) -> dict[str, Any]:
    return {"type": "environment", "radiance": item.color("radiance", 1.0).tolist()}


def _envmap(scene: Imported, item: Item, limits: Limits) -> dict[str, Any]:
    picture = item.picture()
    if picture is None:
        picture = read_image(item.file("filename", limits), limits)[..., :3]
    picture = np.maximum(picture, 0) * np.float32(item.number("scale", 1.0, 0.0))
    matrix = item.transform()[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    if not (lengths > 1e-12).all():
        raise item.fault("to_world squeezes the sky flat", "give a rotation")
    rotation, degrees = matrix / lengths, 180.0
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > SHEARED or np.linalg.det(rotation) < 0:
        scene.note(item.place, "a sky that is sheared or mirrored is drawn without its to_world")
    elif abs(rotation[1, 1] - 1) < SHEARED:
        degrees += math.degrees(math.atan2(rotation[0, 2], rotation[0, 0]))
    else:
        picture, degrees = _turned_sky(picture, rotation @ HALF_TURN), 0.0
    name = scene.hold_picture(picture)
    return {"type": "environment", "radiance": {"texture": name}, "rotation_degrees": degrees}


def _turned_sky(picture: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """A sky after a rotation [3, 3], by bilinear look-ups; centre column along -z, +x to its right."""
    height, width, _ = picture.shape
    low = np.pi * (np.arange(height) + 0.5) / height
    around = 2 * np.pi * ((np.arange(width) + 0.5) / width - 0.5)
    x, y = np.outer(np.sin(low), np.sin(around)), np.outer(np.cos(low), np.ones(width))
    z = np.outer(-np.sin(low), np.cos(around))
    old = np.stack([x, y, z], -1) @ rotation  # rows times R are R^T times columns
    column = (np.arctan2(old[..., 0], -old[..., 2]) / (2 * np.pi) + 0.5) * width - 0.5
    row = np.clip(np.arccos(np.clip(old[..., 1], -1, 1)) / np.pi * height - 0.5, 0, height - 1)
    left, top = np.floor(column).astype(int), np.minimum(np.floor(row).astype(int), max(height - 2, 0))
    right, down = (column - left)[..., None], (row - top)[..., None]
    below = np.minimum(top + 1, height - 1)
    upper = picture[top, left % width] * (1 - right) + picture[top, (left + 1) % width] * right
    lower = picture[below, left % width] * (1 - right) + picture[below, (left + 1) % width] * right
    return (upper * (1 - down) + lower * down).astype(np.float32)


def _along(item: Item, way: np.ndarray) -> list[float]:
    length = np.linalg.norm(way)
    if not length > 1e-12:
        raise item.fault("its direction has length 0", "give the way the light travels")
    return (way / length).tolist()


# ------------------------------------------------------------------------------------------------------------ sensors


def add_camera(scene: Imported, item: Item, book: Book) -> None:
    """A perspective, thinlens or orthographic sensor; the first one's film is the scene's."""
    if item.type not in ("perspective", "thinlens", "orthographic"):
        scene.note(item.place, f"no camera {item.type!r:.60}")
        item.seen.update(item.values)
        return
    width, height, crop = _film(item, book)
    matrix = item.transform()
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (scale > 1e-12).all():
        raise item.fault("to_world squeezes the camera flat", "give a rotation and a translation")
    pose = matrix.copy()
    pose[:3, :3] /= scale
    if np.linalg.det(pose[:3, :3]) < 0:
        scene.note(item.place, "mirrors the picture left to right, which is drawn as it is")
        pose[:3, 0] *= -1
    if np.abs(pose[:3, :3].T @ pose[:3, :3] - np.eye(3)).max() > 1e-3:
        raise item.fault("to_world shears the camera", "give a rotation and a translation")
    pixels = width / 2 / _half_width(item, width, height) if item.type != "orthographic" else width / (2 * scale[0])
    stretch = 1.0 if item.type != "orthographic" else scale[0] / scale[1]
    offsets = [item.number(f"principal_point_offset_{axis}", 0.0) for axis in "xy"]
    centre = [width * (0.5 - offsets[0]) - crop[0], height * (0.5 - offsets[1]) - crop[1]]
    near, far = item.number("near_clip", 1e-2, 0.0), item.number("far_clip", 1e4, 0.0)
    if not 0 < near < far:
        raise item.fault(f"near_clip is {near:g} and far_clip {far:g}", "0 < near_clip < far_clip is needed")
    table: dict[str, Any] = {
        "type": "orthographic" if item.type == "orthographic" else "perspective",
        "camera_to_world": (pose @ CAMERA_AXES).tolist(),
        "focal": [pixels, pixels * stretch],
        "principal_point": centre,
        "resolution": [crop[2], crop[3]],
        "near": near,
        "far": far,
    }
    if item.type == "thinlens":
        table["aperture_radius"] = item.number("aperture_radius", 0.0, 0.0)
        table["focus_distance"] = item.number("focus_distance", 1.0, 1e-9)
    item.seen.update(("shutter_open", "shutter_close", "srf", "focus_distance"))
    if not scene.tables["cameras"]:
        scene.tables["film"] = {"width": crop[2], "height": crop[3]}
    scene.add("cameras", item.name, table)


def _film(item: Item, book: Book) -> tuple[int, int, list[int]]:
    """Width and height of the whole film, and the window of it that is drawn: x, y, width, height."""
    films = [film for _, film in item.nested(book, "film")]
    if not films:
        return *FILM, [0, 0, *FILM]
    film = films[0]
    width, height = (
        film.integer(key, size, 1, LARGEST_FILM) for key, size in zip(("width", "height"), FILM, strict=True)
    )
    left = film.integer("crop_offset_x", 0, 0, width - 1)
    top = film.integer("crop_offset_y", 0, 0, height - 1)
    right = film.integer("crop_width", width - left, 1, width - left)
    down = film.integer("crop_height", height - top, 1, height - top)
    return width, height, [left, top, right, down]


def _half_width(item: Item, width: int, height: int) -> float:
    """The tangent of half the horizontal angle of view."""
    if "focal_length" in item.values:
        text = item.text("focal_length").strip().removesuffix("mm")
        try:
            length = float(text)
        except ValueError:
            length = 0.0
        if not 1e-6 < length < 1e9:
            raise item.fault(f"focal_length is {text!r:.40}", 'give millimetres, "50mm"')
        half, axis = FULL_FRAME / 2 / length, "diagonal"
    else:
        if "fov" not in item.values:
            raise item.fault("has neither fov nor focal_length", "give fov in degrees")
        half = math.tan(math.radians(item.number("fov", 0.0, 1e-6, 179.999)) / 2)
        axis = item.text("fov_axis", "x")
    sides = {
        "x": width,
        "y": height,
        "diagonal": math.hypot(width, height),
        "smaller": min(width, height),
        "larger": max(width, height),
    }
    if axis not in sides:
        raise item.fault(f"fov_axis is {axis!r:.40}", f"choose one of {', '.join(sides)}")
    return half * width / sides[axis]
