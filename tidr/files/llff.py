"""LLFF's poses_bounds.npy: one row per picture of images/, in the order of their names (Mildenhall et al. 2019)."""

from pathlib import Path

import numpy as np

from tidr.errors import FileError

from .arrays import read_arrays
from .cameras import Frame, ViewSet, proper_pose
from .guard import DEFAULT, Limits, at, check_count, check_finite, integer, number, resolve
from .image import image_size

NAME = "poses_bounds.npy"
PICTURES = ("images", "images_4", "images_8")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".exr")


def read_llff(path: str | Path, limits: Limits = DEFAULT, pictures: bool = True) -> ViewSet:
    """The views of a poses_bounds.npy [N, 17].

    A row is a 3 x 5 matrix, row by row, and two depths, which are not used. The matrix holds the camera's axes down,
    right and backwards, its position, and height, width and focal length in pixels, at the size of images/; for
    pictures of another size the intrinsics are scaled. The principal point is the middle.

    Args:
        pictures: False reads cameras alone; pictures then need not exist.

    Raises:
        FileError: another shape, poses that are no rotations, or another number of pictures than rows.
    """
    path = Path(path)
    table = next(iter(read_arrays(path, limits).values()))
    if table.ndim != 2 or table.shape[1] != 17 or not len(table) or table.dtype.kind != "f":
        raise FileError(path, f"has shape {table.shape} of {table.dtype}, expected [N, 17] real numbers")
    check_count(str(path), "views", len(table), limits.nodes)
    table = check_finite(path, "row", table.astype(np.float64))
    names = _pictures(path.parent) if pictures else []
    if pictures and len(names) != len(table):
        mend = f"put one for each row into {path.parent / PICTURES[0]}"
        raise FileError(path, f"has {len(table)} rows for {len(names)} pictures", mend)
    frames = []
    for index, row in enumerate(table):
        where = at(path, f"row {index}")
        axes = row[:15].reshape(3, 5)
        height, width = (integer(float(axes[k, 4]), where, 1, limits.pixels) for k in (0, 1))
        focal = number(float(axes[2, 4]), where, 1e-6)
        matrix = np.eye(4)
        matrix[:3] = np.stack([axes[:, 1], -axes[:, 0], axes[:, 2], axes[:, 3]], 1)
        pose = proper_pose(matrix, where)
        picture = resolve(path.parent, names[index], where) if names else None
        size = image_size(picture, limits) if picture is not None else (width, height)
        fx, fy = focal * size[0] / width, focal * size[1] / height
        name = names[index] if names else f"view_{index:03d}"
        frames.append(Frame(name, picture, pose, fx, fy, size[0] / 2, size[1] / 2, *size))
    return ViewSet(path, tuple(frames))


def _pictures(folder: Path) -> list[str]:
    """Names of the pictures, relative to the folder, in order."""
    for name in PICTURES:
        if (folder / name).is_dir():
            return [
                f"{name}/{item.name}" for item in sorted((folder / name).iterdir()) if item.suffix.lower() in SUFFIXES
            ]
    return []
