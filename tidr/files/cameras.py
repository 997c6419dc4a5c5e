"""Views: pictures with their cameras, as transforms.json holds them (NeRF, Blender, instant-ngp, nerfstudio)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.scene.camera import Camera
from tidr.scene.distortion import COEFFICIENTS

from .guard import DEFAULT, LARGEST_COORDINATE, Limits, at, integer, number, numbers, read_bytes, read_json, resolve
from .image import image_size, read_image
from .write import write_bytes

SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".webp", ".exr")  # tried in turn where a picture's name has no suffix
OTHER_DISTORTIONS = ("k4", "k5", "k6", "b1", "b2", "s1", "s2", "s3", "s4", "skew")
LARGEST_COEFFICIENT = 1e6
PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL", "PERSPECTIVE", "FULL_OPENCV")
SCAN = 6  # pictures looked at to tell premultiplied from straight colour


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and its camera.

    camera_to_world: [4, 4] f64, OpenGL axes. fx, fy, cx, cy: pixels, at `width` x `height`. split: "train", "test" or
    what the file says, None where it says nothing. premultiplied: the picture's colour is multiplied by its alpha.
    distortion: as of `Camera`; none for a pinhole.
    """

    name: str
    path: Path | None
    camera_to_world: np.ndarray
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    split: str | None = None
    premultiplied: bool = False
    distortion: tuple[float, ...] = ()

    def camera(self, **options) -> Camera:
        """The camera, at the picture's size; options as `Camera`."""
        focal, centre = (self.fx, self.fy), (self.cx, self.cy)
        options |= {"distortion": self.distortion} if self.distortion else {}
        return Camera.from_matrix(self.camera_to_world, focal, centre, self.width, self.height, **options)

    def load(self, limits: Limits = DEFAULT) -> tuple[np.ndarray, np.ndarray | None]:
        """Linear straight colour [H, W, 3] and alpha [H, W, 1] f32, or None where the picture has no alpha."""
        if self.path is None:
            raise FileError(self.name, "has no picture")
        picture = read_image(self.path, limits)
        if picture.shape[:2] != (self.height, self.width):
            what = f"is {picture.shape[1]} x {picture.shape[0]}, its camera {self.width} x {self.height} pixels"
            raise FileError(self.path, what, "correct w and h, or resize the picture")
        if picture.shape[2] == 3:
            return picture, None
        rgb, alpha = picture[..., :3], picture[..., 3:]
        if self.premultiplied and self.path.suffix.lower() != ".exr":  # EXR was divided when it was read
            rgb = rgb / np.where(alpha > 0, alpha, 1)
        return np.ascontiguousarray(rgb), np.ascontiguousarray(alpha)


@dataclass(frozen=True, eq=False)
class ViewSet:
    """The frames that `path` tells of: of a transforms.json in its order, of others by name."""

    path: Path
    frames: tuple[Frame, ...]

    def __len__(self) -> int:
        return len(self.frames)


def read_transforms(path: str | Path, limits: Limits = DEFAULT, pictures: bool = True) -> ViewSet:
    """The views of a transforms.json, or of the folder that holds one.

    Intrinsics are fl_x, fl_y or camera_angle_x, camera_angle_y (radians), cx, cy and w, h, of the file or of a frame;
    w and h may also come from the picture. Lens distortion is k1, k2, p1, p2, k3, and of camera_model FULL_OPENCV
    k4, k5, k6 as well. Names are relative to the file's folder and stay in it; ".png", ".jpg",
    ".webp" or ".exr" is appended where a name lacks it. Whether colour is premultiplied by alpha is told by the key
    "premultiplied", else by the word in "note", else by the pictures themselves (`looks_premultiplied`).
    Poses are taken as they are: nothing is rescaled or recentred.

    Args:
        pictures: False reads cameras alone; pictures then need not exist, and w and h must be given.

    Raises:
        FileError: names the file and key: not finite, no rotation, a fisheye or another lens than
            `Camera.distortion` can tell, missing pictures.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "transforms.json"
    top = read_json(read_bytes(path, limits), path, limits)
    entries = top.get("frames")
    if not isinstance(entries, list) or not entries:
        raise FileError(at(path, "frames"), "is missing or empty", "list at least one frame")
    if len(entries) > limits.nodes:
        raise FileError(at(path, "frames"), f"has {len(entries)} entries, the limit is {limits.nodes}", "raise Limits")
    splits = _split_lists(top, path)
    missing: list[str] = []
    frames = []
    for index, entry in enumerate(entries):
        where = at(path, f"frames[{index}]")
        if not isinstance(entry, dict):
            raise FileError(where, f"is {entry!r:.60}, expected an object")
        frames.append(_frame({**top, **entry}, entry, path, where, splits, missing, pictures, limits))
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise FileError(path, f"pictures are missing: {', '.join(missing[:5])}{more}", f"put them into {path.parent}")
    frames = [frame for frame in frames if frame is not None]
    premultiplied = _stated_premultiplied(top, path)
    if premultiplied is None:
        premultiplied = pictures and looks_premultiplied(frames, limits)
    return ViewSet(path, tuple(replace(frame, premultiplied=premultiplied) for frame in frames))


def write_transforms(path: str | Path, frames: Sequence[Frame]) -> None:
    """Write a transforms.json; the frames' pictures must lie in its folder. It appears whole or not at all.

    Raises:
        FileError: no frame, a picture outside the folder, or frames that disagree about premultiplied.
    """
    path = Path(path)
    if not frames:
        raise FileError(path, "would hold no frame")
    if len({frame.premultiplied for frame in frames}) > 1:
        raise FileError(path, "some frames are premultiplied and some are not", "write two files")
    entries = []
    for frame in frames:
        entry: dict[str, object] = {}
        if frame.path is not None:
            try:
                entry["file_path"] = frame.path.resolve().relative_to(path.parent.resolve()).as_posix()
            except ValueError as error:
                raise FileError(frame.path, f"lies outside of {path.parent}", "write the file above it") from error
        entry |= {"fl_x": frame.fx, "fl_y": frame.fy, "cx": frame.cx, "cy": frame.cy, "w": frame.width}
        entry |= {"h": frame.height} | ({"split": frame.split} if frame.split else {})
        entry |= dict(zip(COEFFICIENTS, frame.distortion, strict=False))
        entry |= {"camera_model": "FULL_OPENCV"} if len(frame.distortion) > 5 else {}
        entries.append(entry)
    # What all frames share stands once, at the top.
    shared = {key: value for key, value in entries[0].items() if all(entry.get(key) == value for entry in entries)}
    shared = {key: value for key, value in shared.items() if key not in ("file_path", "split")}
    listed = [
        {key: value for key, value in entry.items() if key not in shared}
        | {"transform_matrix": np.asarray(frame.camera_to_world, np.float64).tolist()}
        for entry, frame in zip(entries, frames, strict=True)
    ]
    top = {**shared, "premultiplied": frames[0].premultiplied, "frames": listed}
    try:
        text = json.dumps(top, indent=1, allow_nan=False)
    except ValueError as error:
        raise FileError(path, "a camera is not finite") from error
    write_bytes(path, text.encode())


def looks_premultiplied(frames: Sequence[Frame], limits: Limits = DEFAULT) -> bool:
    """Whether pictures hold colour premultiplied by alpha, judged by up to `SCAN` of them.

    Along a silhouette premultiplied colour falls with alpha, straight colour does not depend on it; so the mean of the
    pixels nearly transparent is held against the mean of those nearly opaque. Pictures without both are called
    straight, which for them is the same.
    """
    sums, counts = np.zeros(2), np.zeros(2)
    for frame in list(frames)[:: max(len(frames) // SCAN, 1)][:SCAN]:
        if frame.path is None or frame.path.suffix.lower() == ".exr":
            continue
        picture = read_image(frame.path, limits)
        if picture.shape[2] != 4:
            continue
        alpha = picture[..., 3]
        for side, chosen in enumerate(((alpha > 0.02) & (alpha < 0.4), (alpha > 0.6) & (alpha < 0.98))):
            sums[side] += picture[chosen][:, :3].sum(dtype=np.float64)
            counts[side] += chosen.sum()
    faint, dense = sums / np.maximum(counts, 1)
    return bool(counts.all() and faint < 0.5 * dense)


def _frame(
    keys: dict, entry: dict, path: Path, where: str, splits: dict, missing: list[str], pictures: bool, limits: Limits
) -> Frame | None:
    """One frame from the file's keys overridden by its own; None where its picture is missing, which is noted."""
    name = entry.get("file_path", "")
    picture = None
    if pictures or name:
        picture = _find_picture(path.parent, name, f"{where}.file_path")
        if picture is None and pictures:
            missing.append(str(name))
            return None
    distortion = _distortion(keys, where)
    matrix = _pose(entry.get("transform_matrix"), f"{where}.transform_matrix")
    if "w" in keys and "h" in keys:
        width, height = (integer(keys[key], f"{where}.{key}", 1, limits.pixels) for key in "wh")
    elif picture is not None:
        width, height = image_size(picture, limits)
    else:
        raise FileError(f"{where}.w", "w and h are missing", "give the size of the picture in pixels")
    fx, fy = _focal(keys, where, width, height)
    cx = number(keys.get("cx", width / 2), f"{where}.cx")
    cy = number(keys.get("cy", height / 2), f"{where}.cy")
    split = entry.get("split", splits.get(str(name)))
    if split is not None and not isinstance(split, str):
        raise FileError(f"{where}.split", f"is {split!r:.40}, expected a word", 'use "train" or "test"')
    return Frame(str(name), picture, matrix, fx, fy, cx, cy, width, height, split, distortion=distortion)


def _find_picture(folder: Path, name: object, where: str) -> Path | None:
    for suffix in SUFFIXES:
        path = resolve(folder, f"{name}{suffix}" if isinstance(name, str) and name else name, where, must_exist=False)
        if path.is_file():
            return path
    return None


def _distortion(keys: dict, where: str) -> tuple[float, ...]:
    """Coefficients as of `Camera`, none where all are 0."""
    model = keys.get("camera_model", "PINHOLE")
    if model not in PINHOLES or keys.get("is_fisheye"):
        raise FileError(
            f"{where}.camera_model", f"is {model!r:.40}, expected a pinhole camera", "undistort the pictures"
        )
    rational = model == "FULL_OPENCV"  # others mean something else by k4
    for key in OTHER_DISTORTIONS[3 if rational else 0 :]:
        if number(keys.get(key, 0), f"{where}.{key}") != 0:
            raise FileError(f"{where}.{key}", f"lens distortion {keys[key]}", "undistort the pictures first")
    names = COEFFICIENTS if rational else COEFFICIENTS[:5]
    most = LARGEST_COEFFICIENT
    return plain_distortion(tuple(number(keys.get(key, 0), f"{where}.{key}", -most, most) for key in names))


def plain_distortion(coefficients: Sequence[float]) -> tuple[float, ...]:
    """Without the zeros at the end."""
    last = max((index for index, value in enumerate(coefficients, 1) if value != 0), default=0)
    return tuple(float(value) for value in coefficients[:last])


def _focal(keys: dict, where: str, width: int, height: int) -> tuple[float, float]:
    """fx, fy in pixels; one stands in for the other where only one is given."""
    found: list[float | None] = []
    for key, angle, size in (("fl_x", "camera_angle_x", width), ("fl_y", "camera_angle_y", height)):
        if key in keys:
            found.append(number(keys[key], f"{where}.{key}", 1e-6))
        elif angle in keys:
            found.append(size / 2 / math.tan(number(keys[angle], f"{where}.{angle}", 1e-6, math.pi - 1e-6) / 2))
        else:
            found.append(None)
    given = [focal for focal in found if focal is not None]
    if not given:
        raise FileError(where, "has no focal length", "give fl_x and fl_y in pixels, or camera_angle_x in radians")
    return given[0], given[-1]


def _pose(value: object, where: str) -> np.ndarray:
    """[4, 4] camera_to_world with a proper rotation, from 3 or 4 rows of 4 numbers."""
    if not isinstance(value, list) or len(value) not in (3, 4):
        raise FileError(where, f"is {value!r:.60}, expected 4 rows of 4 numbers")
    rows = [numbers(row, f"{where}[{index}]", 4) for index, row in enumerate(value)]
    return proper_pose(np.array(rows if len(rows) == 4 else [*rows, [0, 0, 0, 1]]), where)


def proper_pose(matrix: np.ndarray, where: str) -> np.ndarray:
    """The camera_to_world matrix [4, 4], once it is a rotation and a finite position."""
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise FileError(where, f"has the bottom row {matrix[3].tolist()}, expected 0 0 0 1")
    rotation = matrix[:3, :3]
    if np.abs(rotation).max() > 2 or np.abs(rotation.T @ rotation - np.eye(3)).max() > 1e-3:
        raise FileError(where, "upper left 3 x 3 is no rotation", "columns must be orthogonal and of length 1")
    if np.linalg.det(rotation) < 0:
        raise FileError(where, "upper left 3 x 3 mirrors", "a camera is right-handed")
    if np.abs(matrix[:3, 3]).max() > LARGEST_COORDINATE:
        raise FileError(where, "camera position is not finite")
    return matrix


def _split_lists(top: dict, path: Path) -> dict[str, str]:
    """The split of each picture that nerfstudio's lists name."""
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        names = top.get(f"{split}_filenames", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise FileError(at(path, f"{split}_filenames"), "is no list of names")
        splits |= dict.fromkeys(names, split)
    return splits


def _stated_premultiplied(top: dict, path: Path) -> bool | None:
    stated = top.get("premultiplied")
    if stated is not None and not isinstance(stated, bool):
        raise FileError(at(path, "premultiplied"), f"is {stated!r:.40}, expected true or false")
    if stated is None and isinstance(top.get("note"), str) and "premultiplied" in top["note"].lower():
        return True
    return stated
