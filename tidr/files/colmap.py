"""COLMAP's sparse models, text and binary: cameras with their pictures, and the points.

A model is a folder with cameras, images and points3D, each .bin or .txt (colmap.github.io/format.html). Poses there are
world to camera in OpenCV axes (x right, y down, z ahead); pixel centres are at integers + 0.5, as in tidr.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.scene.transform import rotation_from_quaternion

from .cameras import LARGEST_COEFFICIENT, Frame, ViewSet, looks_premultiplied, plain_distortion
from .guard import (
    DEFAULT,
    LARGEST_COORDINATE,
    Limits,
    at,
    check_count,
    check_finite,
    integer,
    number,
    quaternion,
    read_bytes,
    read_text,
    resolve,
)
from .image import image_size

# Names, in the order of the binary numbers, with how many of the parameters are focal lengths and the whole count.
MODELS = {
    "SIMPLE_PINHOLE": (1, 3), "PINHOLE": (2, 4), "SIMPLE_RADIAL": (1, 4), "RADIAL": (1, 5), "OPENCV": (2, 8),
    "OPENCV_FISHEYE": (2, 8), "FULL_OPENCV": (2, 12), "FOV": (2, 5), "SIMPLE_RADIAL_FISHEYE": (1, 4),
    "RADIAL_FISHEYE": (1, 5), "THIN_PRISM_FISHEYE": (2, 12),
}  # fmt: skip
PERSPECTIVES = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")
PARTS = ("cameras", "images", "points3D")
FOLDERS = ("", "sparse/0", "sparse", "colmap/sparse/0")  # where a model lies in a data set
PICTURES = ("images", "images_2", "images_4", "images_8")
TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Lens:
    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class _Shot:
    name: str
    camera: int
    world_to_camera: np.ndarray


def find_model(folder: Path) -> Path | None:
    """The cameras file of the model in a data set's folder, or None; binary before text."""
    for below in FOLDERS:
        for kind in (".bin", ".txt"):
            if all((folder / below / f"{part}{kind}").is_file() for part in PARTS[:2]):
                return folder / below / f"cameras{kind}"
    return None


def is_model(path: Path) -> bool:
    """Whether this is the name of one of a model's files."""
    return path.stem in PARTS and path.suffix in (".bin", ".txt")


def data_set_of(model: Path) -> Path:
    """The folder whose images belong to the model in folder `model`: above sparse/0, or the model's own."""
    root = model
    if root.parent.name == "sparse":
        root = root.parent
    root = root.parent if root.name == "sparse" else root
    inside = any((root / name).is_dir() for name in PICTURES)
    return root.parent if root.name == "colmap" and root != model and not inside else root


def read_colmap(path: str | Path, limits: Limits = DEFAULT, pictures: bool = True) -> ViewSet:
    """The views of a model, by name; `path` is one of its files.

    Pictures lie in images/ of the data set, or where that is missing in images_2/, images_4/ or images_8/; intrinsics
    are scaled to the size of what is found.

    Args:
        pictures: False reads cameras alone; pictures then need not exist.

    Raises:
        FileError: names the file and the camera or image: cut off, not finite, a fisheye lens, a picture that is
            missing or of another shape.
    """
    path = Path(path)
    model, kind = path.parent, path.suffix
    lenses = _lenses(model / f"cameras{kind}", limits)
    source = model / f"images{kind}"
    shots = sorted(_shots(source, limits), key=lambda shot: shot.name)
    if not shots:
        raise FileError(source, "holds no image")
    folder = _picture_folder(data_set_of(model))
    frames, missing = [], []
    for shot in shots:
        where = at(source, shot.name)
        if shot.camera not in lenses:
            raise FileError(where, f"names camera {shot.camera}, which {model / f'cameras{kind}'} lacks")
        lens = lenses[shot.camera]
        picture = None
        if folder is not None:
            picture = resolve(folder, shot.name, where, must_exist=False)
            picture = picture if picture.is_file() else None
        if picture is None and pictures:
            missing.append(shot.name)
        (fx, fy, cx, cy), distortion = _intrinsics(lens, at(model / f"cameras{kind}", f"camera {shot.camera}"))
        pose = np.linalg.inv(shot.world_to_camera) @ TO_OPENGL
        size = (lens.width, lens.height)
        frame = Frame(shot.name, picture, pose, fx, fy, cx, cy, *size, distortion=distortion)
        frames.append(_scaled(frame, limits) if picture is not None and pictures else frame)
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        where = folder or data_set_of(model) / PICTURES[0]
        raise FileError(source, f"pictures are missing: {', '.join(missing[:5])}{more}", f"put them into {where}")
    premultiplied = pictures and looks_premultiplied(frames, limits)
    return ViewSet(path, tuple(replace(frame, premultiplied=premultiplied) for frame in frames))


def read_points(path: str | Path, limits: Limits = DEFAULT) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 3] f64 (world) and sRGB bytes [N, 3] u8 of the points of a model's points3D file.

    Raises:
        FileError: names the file and the line or point at fault.
    """
    path = Path(path)
    points: list[tuple[float, ...]] = []
    colours: list[tuple[int, ...]] = []
    if path.suffix == ".bin":
        data = _Bytes(path, limits)
        for _ in range(data.count("points", limits.vertices, 51)):
            _, *rest = data.take("<Q3d3BdQ")
            points.append(tuple(rest[:3]))
            colours.append(tuple(rest[3:6]))
            data.skip("track entries", rest[7], 8)
        data.end()
    else:
        for place, words in _lines(path, limits):
            if len(words) < 8:
                raise FileError(place, f"has {len(words)} words, expected id, x, y, z, r, g, b, error and a track")
            points.append(tuple(_number(word, place) for word in words[1:4]))
            colours.append(tuple(integer(_whole(word, place), place, 0, 255) for word in words[4:7]))
    positions = np.array(points, np.float64).reshape(-1, 3)
    return check_finite(path, "point", positions), np.array(colours, np.uint8).reshape(-1, 3)


def _lenses(path: Path, limits: Limits) -> dict[int, _Lens]:
    lenses: dict[int, _Lens] = {}
    if path.suffix == ".bin":
        data, names = _Bytes(path, limits), list(MODELS)
        for _ in range(data.count("cameras", limits.nodes, 48)):
            name, model, width, height = data.take("<iiQQ")
            if not 0 <= model < len(names):
                raise FileError(at(path, f"camera {name}"), f"has the unknown model {model}", "undistort the pictures")
            numbers = data.take(f"<{MODELS[names[model]][1]}d")
            lenses[name] = _Lens(names[model], width, height, numbers)
        data.end()
    else:
        for place, words in _lines(path, limits):
            if len(words) < 5 or words[1] not in MODELS or len(words) != 4 + MODELS[words[1]][1]:
                raise FileError(place, f"is {' '.join(words)!r:.80}, expected id, model, width, height and parameters")
            numbers = tuple(_number(word, place) for word in words[4:])
            lenses[_whole(words[0], place)] = _Lens(words[1], _whole(words[2], place), _whole(words[3], place), numbers)
    for name, lens in lenses.items():
        for key, size in (("width", lens.width), ("height", lens.height)):
            integer(size, at(path, f"camera {name} {key}"), 1, limits.pixels)
        integer(lens.width * lens.height, at(path, f"camera {name} pixels"), 1, limits.pixels)
    return lenses


def _shots(path: Path, limits: Limits) -> Iterator[_Shot]:
    if path.suffix == ".bin":
        data = _Bytes(path, limits)
        for _ in range(data.count("images", limits.nodes, 73)):
            name, *rest = data.take("<I7dI")
            text = data.text()
            data.skip("points of an image", data.take("<Q")[0], 24)
            yield _shot(text, rest[7], rest[:7], at(path, f"image {name}"))
        data.end()
        return
    # A line with the pose and the name, then one with the points, which may be empty.
    pending = True
    for place, words in _lines(path, limits, keep_empty=True):
        if pending and not words:
            continue
        if pending:
            if len(words) < 10:
                raise FileError(place, f"has {len(words)} words, expected id, quaternion, translation, camera, name")
            numbers = [_number(word, place) for word in words[1:8]]
            yield _shot(" ".join(words[9:]), _whole(words[8], place), numbers, place)
        pending = not pending


def _shot(name: str, camera: int, numbers, where: str) -> _Shot:
    values = np.array([number(float(value), where) for value in numbers])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_from_quaternion(quaternion(values[:4], where))
    matrix[:3, 3] = values[4:]
    return _Shot(name, camera, matrix)


def _intrinsics(lens: _Lens, where: str) -> tuple[tuple[float, float, float, float], tuple[float, ...]]:
    """fx, fy, cx, cy in pixels, and the distortion as of `Camera`; fisheye lenses are refused."""
    if lens.model not in PERSPECTIVES:
        raise FileError(where, f"has the model {lens.model}", "undistort the pictures first (colmap image_undistorter)")
    focals = MODELS[lens.model][0]
    *focal, cx, cy = (number(float(value), where) for value in lens.parameters[: focals + 2])
    most = LARGEST_COEFFICIENT
    distortion = plain_distortion([number(float(value), where, -most, most) for value in lens.parameters[focals + 2 :]])
    for value in focal:
        number(value, f"{where} focal length", 1e-6)
    return (focal[0], focal[-1], cx, cy), distortion


def _picture_folder(root: Path) -> Path | None:
    for name in PICTURES:
        folder = root / name
        if folder.is_dir():
            if not folder.resolve().is_relative_to(root.resolve()):
                raise FileError(folder, "leads out of its folder", "put the pictures themselves there, or a copy")
            return folder
    return None


def _scaled(frame: Frame, limits: Limits) -> Frame:
    """The frame at its picture's size, which may be that of its camera divided by some number and rounded."""
    assert frame.path is not None
    width, height = image_size(frame.path, limits)
    if (width, height) == (frame.width, frame.height):
        return frame
    if abs(width * frame.height - height * frame.width) > max(frame.width, frame.height):
        what = f"is {width} x {height}, its camera {frame.width} x {frame.height} pixels"
        raise FileError(frame.path, what, "take pictures of the camera's shape")
    x, y = width / frame.width, height / frame.height
    scaled = {"fx": frame.fx * x, "fy": frame.fy * y, "cx": frame.cx * x, "cy": frame.cy * y}
    return replace(frame, **scaled, width=width, height=height)


class _Bytes:
    """A binary file read from front to back, every count held against the bytes that are left."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.data, self.place = path, read_bytes(path, limits), 0

    def take(self, layout: str) -> tuple:
        size = struct.calcsize(layout)
        if self.place + size > len(self.data):
            raise FileError(at(self.path, f"byte {self.place}"), "ends in the middle of an entry", "is it cut off?")
        values = struct.unpack_from(layout, self.data, self.place)
        self.place += size
        return values

    def count(self, what: str, limit: int, stride: int) -> int:
        (count,) = self.take("<Q")
        return check_count(str(self.path), what, count, limit, stride, len(self.data) - self.place)

    def skip(self, what: str, count: int, stride: int) -> None:
        left = len(self.data) - self.place
        self.place += stride * check_count(at(self.path, f"byte {self.place}"), what, count, left, stride, left)

    def text(self) -> str:
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise FileError(at(self.path, f"byte {self.place}"), "has a name without an end", "is it cut off?")
        text = self.data[self.place : end].decode("utf-8", errors="replace")
        self.place = end + 1
        return text

    def end(self) -> None:
        if self.place != len(self.data):
            left = len(self.data) - self.place
            raise FileError(at(self.path, f"byte {self.place}"), f"has {left} bytes after its last entry")


def _lines(path: Path, limits: Limits, keep_empty: bool = False) -> Iterator[tuple[str, list[str]]]:
    """(place, words) of every line that is no comment."""
    for line, text in enumerate(read_text(path, replace(limits, text_line=limits.bytes)).split("\n"), 1):
        if not text.lstrip().startswith("#") and (keep_empty or text.strip()):
            yield at(path, line), text.split()


def _number(word: str, where: str) -> float:
    try:
        return number(float(word), where, -LARGEST_COORDINATE, LARGEST_COORDINATE)
    except ValueError:
        raise FileError(where, f"is {word!r:.40}, expected a number") from None


def _whole(word: str, where: str) -> int:
    try:
        return integer(int(word), where)
    except ValueError:
        raise FileError(where, f"is {word!r:.40}, expected a whole number") from None
