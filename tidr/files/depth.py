"""Depth pictures and height maps: 16-bit PNG with a scale, EXR, .npy and .npz. In memory [H, W] f32, 0 not known."""

import io
from pathlib import Path

import numpy as np

from tidr.errors import FileError

from .arrays import read_arrays, write_arrays
from .exr import read_exr_depth, write_exr
from .guard import DEFAULT, Limits, at, check_file, read_bytes
from .image import decode_image
from .write import write_bytes

SUFFIXES = (".png", ".exr", ".npy", ".npz")
NAMES = ("depth", "height", "image")  # which array of an .npz is the map
MILLIMETRE = 0.001  # a level of most depth cameras and data sets; TUM's are 1 / 5000
HIGHEST = 65535
GREY = {b"\x08\x00": 255, b"\x10\x00": HIGHEST}  # bit depth and colour type of a PNG: highest level


def read_depth(path: str | Path, metres_per_level: float = MILLIMETRE, limits: Limits = DEFAULT) -> np.ndarray:
    """A map [H, W] f32 of distances >= 0, 0 where they are not known.

    A PNG must be grey, of 8 or 16 bits; its levels are multiplied by `metres_per_level`. EXR (channel Z, Y, or the only
    one) and arrays [H, W] or [H, W, 1] (in an .npz the only one, or the one named depth, height or image) hold the
    distances themselves; there NaN and infinity count as not known.

    Raises:
        FileError: missing, cut off, more than `limits.pixels`, negative, a colour picture, or of an unknown kind.
    """
    path = Path(path)
    _check_scale(path, metres_per_level)
    kind = path.suffix.lower()
    if kind == ".png":
        data = read_bytes(path, limits)
        picture = decode_image(data, str(path), limits, srgb=False)
        highest = GREY.get(data[24:26])
        if highest is None:
            raise FileError(path, "is a colour picture", "depth is a grey PNG of 8 or 16 bits, one channel")
        return np.rint(picture[..., 0].astype(np.float64) * highest).astype(np.float32) * np.float32(metres_per_level)
    if kind == ".exr":
        return _checked(path, read_exr_depth(check_file(path, limits), limits))
    if kind in (".npy", ".npz"):
        return _checked(path, _array(path, limits))
    raise FileError(path, f"unknown kind of depth picture {path.suffix!r}", "use one of " + " ".join(SUFFIXES))


def write_depth(path: str | Path, depth, metres_per_level: float = MILLIMETRE) -> None:
    """Write a map [H, W] or [H, W, 1] of distances; the ending chooses the format, as for `read_depth`.

    A PNG has 16 bits, each value rounded to whole levels; the others store single precision.

    Raises:
        FileError: negative or not finite values, an unknown ending, or (PNG) values above 65535 levels.
    """
    path = Path(path)
    _check_scale(path, metres_per_level)
    depth = np.asarray(depth)
    depth = depth[..., 0] if depth.ndim == 3 and depth.shape[2] == 1 else depth
    if not np.isfinite(depth.astype(np.float64)).all():
        raise FileError(path, "the depths are not finite", "write 0 where depth is not known")
    depth = _checked(path, depth)
    kind = path.suffix.lower()
    if kind == ".png":
        levels = np.rint(depth.astype(np.float64) / metres_per_level)
        if levels.max() > HIGHEST:
            least = float(depth.max()) / HIGHEST
            raise FileError(path, f"{depth.max():g} is more than {HIGHEST} levels", f"metres_per_level >= {least:.3g}")
        write_bytes(path, _png(levels.astype(np.uint16)))
    elif kind == ".exr":
        write_exr(path, depth[..., None])
    elif kind in (".npy", ".npz"):
        write_arrays(path, depth=depth)
    else:
        raise FileError(path, f"unknown kind of depth picture {path.suffix!r}", "use one of " + " ".join(SUFFIXES))


def _png(levels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _array(path: Path, limits: Limits) -> np.ndarray:
    arrays = read_arrays(path, limits)
    names = list(arrays) if len(arrays) == 1 else [name for name in NAMES if name in arrays]
    if not names:
        raise FileError(path, f"holds {', '.join(arrays)}", "name the map depth, height or image")
    array = arrays[names[0]]
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim == 2 and array.size > limits.pixels:
        raise FileError(at(path, names[0]), f"has more than {limits.pixels} pixels", "raise Limits.pixels")
    return array


def _checked(path: Path, depth: np.ndarray) -> np.ndarray:
    """[H, W] f32 without anything negative; what is not finite becomes 0."""
    if depth.ndim != 2 or depth.size == 0 or depth.dtype.kind not in "fiu":
        raise FileError(path, f"depth has shape {depth.shape} of {depth.dtype}, expected [H, W] numbers")
    with np.errstate(over="ignore"):
        depth = depth.astype(np.float32)
    depth = np.where(np.isfinite(depth), depth, np.float32(0))
    if (depth < 0).any():
        row, column = (int(n) for n in np.argwhere(depth < 0)[0])
        raise FileError(at(path, f"pixel [{row}, {column}]"), f"is {depth[row, column]:g}", "depth is 0 or more")
    return depth


def _check_scale(path: Path, metres_per_level: float) -> None:
    if not 0 < metres_per_level < np.inf:
        raise FileError(path, f"metres_per_level is {metres_per_level}", "give a number above 0")
