"""RGBD pictures of a scene file: what may stand in their tables, and the points or mesh that they become."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tidr.errors import FileError, SceneError, TidrError
from tidr.scene.camera import Camera
from tidr.scene.mesh import Mesh
from tidr.scene.points import PointCloud
from tidr.scene.rgbd import JUMP, depth_mesh, depth_points

from .depth import MILLIMETRE, read_depth
from .guard import Limits
from .image import read_image, resize
from .scene_faults import Faults, read_table
from .scene_grids import Grid
from .scene_types import Positive, Table, Vector2, one_or_many

KEY = "rgbd"


class RgbdTable(Table):
    """A depth picture and, where given, a colour picture of one pinhole camera at the node's origin, looking along -z.

    The colour is resized to the depth; focal and principal_point are in pixels of the depth picture.
    """

    file: str = Field(alias="depth")
    color: str | None = None
    shape: Literal["mesh", "points"] = "mesh"
    fov_y_degrees: Annotated[float, Field(gt=0, lt=180)] | None = None
    focal: one_or_many(2, 1e-12, "a positive number or [fx, fy], in pixels") | None = None  # type: ignore[valid-type]
    principal_point: Vector2 | None = None
    metres_per_level: Positive = MILLIMETRE
    jump: Positive = JUMP


def read_rgbd(raw: object, path: Sequence[object], faults: Faults) -> Grid | None:
    """The table under the key `rgbd`; None with faults noted."""
    table = read_table(RgbdTable, raw, path, faults)
    if table is None:
        return None
    if (table.fov_y_degrees is None) == (table.focal is None):
        faults.add([*path, "fov_y_degrees"], "give exactly one of fov_y_degrees and focal")
        return None
    return Grid(KEY, table, (KEY, "depth"))


def build_rgbd(table: RgbdTable, depth: Path, color: Path | None, limits: Limits) -> Mesh | PointCloud:
    """The geometry, in the camera's space.

    Raises:
        FileError, SceneError: broken files, or pictures that leave nothing.
    """
    levels = read_depth(depth, table.metres_per_level, limits)
    height, width = levels.shape
    colors = None
    if color is not None:
        picture = read_image(color, limits)[..., :3]
        same = picture.shape[:2] == levels.shape
        if not same and abs(picture.shape[1] * height - picture.shape[0] * width) > 0.01 * picture.shape[1] * height:
            what = f"is {picture.shape[1]} x {picture.shape[0]}, the depth {width} x {height}"
            raise FileError(color, what, "colour and depth must show the same, pixel for pixel")
        colors = np.clip(picture if same else resize(picture, width, height), 0, 1)
    focal = table.focal
    if focal is None:
        assert table.fov_y_degrees is not None
        focal = [height / 2 / math.tan(math.radians(table.fov_y_degrees) / 2)] * 2
    centre = table.principal_point or (width / 2, height / 2)
    camera = Camera((0, 0, 0), (1, 0, 0, 0), focal, centre, width, height)
    make = depth_mesh if table.shape == "mesh" else depth_points
    try:
        return make(levels, camera, colors, table.jump)
    except TidrError as error:  # names the argument, not the key
        raise SceneError(KEY, f"{error.where} {error.what}", error.mend) from error
