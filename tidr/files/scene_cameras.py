"""Cameras and meters of a scene file: what may stand in their tables, and the cameras that they become."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from tidr.parameter import nearest
from tidr.scene.camera import Camera
from tidr.scene.graph import Film
from tidr.scene.meter import IrradianceMeter, RadianceMeter
from tidr.scene.transform import look_at_rotation, quaternion_from_rotation

from .guard import LARGEST_COORDINATE
from .scene_faults import Faults, brief, read_table
from .scene_types import Pixels, Positive, Table, Vector2, Vector3, Vector4, one_or_many, vector

Focal = one_or_many(2, 1e-12, "a positive number or [fx, fy], in pixels")
LENS = ("aperture_radius", "focus_distance")
PERSPECTIVE_ONLY = (*LENS, "distortion")


Coefficient = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class CameraTable(Table):
    """One camera, or with `from` all cameras of a transforms.json, a COLMAP model or a poses_bounds.npy."""

    type: Literal["perspective", "orthographic"] = "perspective"
    position: Vector3 | None = None
    target: Vector3 | None = None
    up: Vector3 | None = None
    camera_to_world: Annotated[list[Vector4], Field(min_length=3, max_length=4)] | None = None
    fov_y_degrees: Annotated[float, Field(gt=0, lt=180)] | None = None
    height: Positive | None = None
    focal: Focal | None = None
    principal_point: Vector2 | None = None
    resolution: vector(Pixels, 2) | None = None  # type: ignore[valid-type]
    aperture_radius: Annotated[float, Field(ge=0, le=LARGEST_COORDINATE, allow_inf_nan=False)] | None = None
    focus_distance: Positive | None = None
    rotation_as: Literal["quaternion", "6d"] | None = None
    distortion: Annotated[list[Coefficient], Field(min_length=1, max_length=8)] | None = None
    near: Positive = 1e-2
    far: Positive = 1e6
    source: str | None = Field(None, alias="from")
    frame: Annotated[int, Field(ge=0)] | None = None


class RadianceMeterTable(Table):
    """One ray whose radiance is measured."""

    type: Literal["radiance_meter"]
    position: Vector3
    target: Vector3


class IrradianceMeterTable(Table):
    """A small surface whose irradiance is measured."""

    type: Literal["irradiance_meter"]
    position: Vector3
    normal: Vector3


SENSOR_TABLES: dict[str, type[Table]] = {
    "perspective": CameraTable,
    "orthographic": CameraTable,
    "radiance_meter": RadianceMeterTable,
    "irradiance_meter": IrradianceMeterTable,
}


def read_camera(raw: object, path: Sequence[object], faults: Faults) -> Table | None:
    """A camera's table, once it gives one pose and one lens, or a meter's."""
    kind = raw.get("type", "perspective") if isinstance(raw, dict) else "perspective"
    if not isinstance(kind, str) or kind not in SENSOR_TABLES:
        faults.add([*path, "type"], f"is {brief(kind)}, {nearest(str(kind)[:99], SENSOR_TABLES)}")
        return None
    before, table = faults.count, read_table(SENSOR_TABLES[kind], raw, path, faults)
    if not isinstance(table, CameraTable):
        return table
    given = {_key(name) for name in table.model_fields_set}
    lens, other = ("fov_y_degrees", "height") if kind == "perspective" else ("height", "fov_y_degrees")
    foreign = [other, *(() if kind == "perspective" else PERSPECTIVE_ONLY)]
    for key in sorted(given.intersection(foreign) if "from" not in given else ()):
        faults.add([*path, key], f"does not belong to a camera of type {kind!r}, give {lens}")
    if len(given.intersection(LENS)) == 1:
        (missing,) = set(LENS) - given
        faults.add([*path, missing], "is missing, a lens needs aperture_radius and focus_distance")
    if not table.near < table.far:
        faults.add([*path, "near"], f"is {table.near:g}, expected less than far = {table.far:g}")
    _check_pose(table, given, lens, path, faults)
    return table if faults.count == before else None


def _check_pose(table: CameraTable, given: set[str], lens: str, path: Sequence[object], faults: Faults) -> None:
    """One pose and one focal length, or `from` with neither."""
    if "from" in given:
        for key in sorted(given - {"from", "frame", "near", "far", "type", "rotation_as", *LENS}):
            faults.add([*path, key], "stands beside from, which gives it already")
        if table.type != "perspective":
            faults.add([*path, "type"], "from gives perspective cameras only")
        return
    if "frame" in given:
        faults.add([*path, "frame"], "needs from")
    if "camera_to_world" in given:
        for key in sorted(given & {"position", "target", "up"}):
            faults.add([*path, key], "stands beside camera_to_world, give one pose")
    else:
        for key in sorted({"position", "target"} - given):
            faults.add([*path, key], "is missing (or give camera_to_world, or from)")
    if len(given & {lens, "focal"}) != 1:
        faults.add([*path, lens], "give exactly one of " + lens + " and focal")


def _key(name: str) -> str:
    return CameraTable.model_fields[name].alias or name


def build_camera(table: Table, turn: np.ndarray, film: Film, faults: Faults, path: Sequence[object]) -> Camera:
    """The camera or meter of a table without `from`; `turn` [3, 3] takes the file's world to tidr's."""
    if isinstance(table, RadianceMeterTable):
        return RadianceMeter(turn @ table.position, turn @ table.target)
    if isinstance(table, IrradianceMeterTable):
        return IrradianceMeter(turn @ table.position, turn @ table.normal)
    assert isinstance(table, CameraTable)
    width, height = table.resolution or (film.width, film.height)
    if table.camera_to_world is not None:
        matrix, key = np.array(table.camera_to_world, np.float64), [*path, "camera_to_world"]
        if np.abs(matrix[:3, :3].T @ matrix[:3, :3] - np.eye(3)).max() > 1e-3 or np.linalg.det(matrix[:3, :3]) < 0:
            faults.add(key, "its upper left 3 x 3 is no rotation")
        if len(matrix) == 4 and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
            faults.add(key, f"has the bottom row {matrix[3].tolist()}, expected 0 0 0 1")
        rotation, position = turn @ matrix[:3, :3], turn @ matrix[:3, 3]
    else:
        position, target = turn @ table.position, turn @ table.target  # type: ignore[operator]
        up = [0, 1, 0] if table.up is None else turn @ table.up
        rotation = look_at_rotation(position, target, up, "")
    if table.focal is not None:
        focal = table.focal
    elif table.fov_y_degrees is not None:
        focal = [height / 2 / math.tan(math.radians(table.fov_y_degrees) / 2)] * 2
    else:
        assert table.height is not None
        focal = [height / table.height] * 2
    centre = table.principal_point or (width / 2, height / 2)
    quaternion = quaternion_from_rotation(rotation)
    return Camera(position, quaternion, focal, centre, width, height, kind=table.type, **camera_options(table))


def camera_options(table: CameraTable) -> dict[str, Any]:
    """Depth range, lens and distortion, as `Camera` takes them."""
    lens = {name: getattr(table, name) for name in PERSPECTIVE_ONLY}
    return {"near": table.near, "far": table.far, "rotation_as": table.rotation_as, **lens}
