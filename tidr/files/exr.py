"""OpenEXR pictures, through the extra package OpenEXR; headers are read here first and held against the limits."""

import struct
from importlib import import_module
from pathlib import Path

import numpy as np

from tidr.errors import FileError

from .guard import DEFAULT, Limits, read_bytes
from .write import replacing

MAGIC = b"\x76\x2f\x31\x01"
MULTIPART, DEEP = 0x1000, 0x800


def read_exr(path: Path, limits: Limits = DEFAULT) -> np.ndarray:
    """A picture [H, W, 3 or 4] f32, linear, colour divided by alpha where that is above 0.

    The first part's channels R G B and A, or Y, are read; other channels and parts are passed by.
    """
    channels = _channels(path, limits)
    names = ["R", "G", "B"] if {"R", "G", "B"} <= channels.keys() else ["Y", "Y", "Y"]
    if not set(names) <= channels.keys():
        raise FileError(path, f"has channels {', '.join(sorted(channels))[:200]}", "R, G, B or Y are read")
    names += ["A"] if "A" in channels else []
    if len({channels[name].shape for name in names}) > 1 or channels[names[0]].ndim != 2:
        raise FileError(path, "channels differ in size", "write it without subsampling")
    picture = np.stack([channels[name].astype(np.float32) for name in names], axis=2)
    if len(names) == 4:
        alpha = picture[..., 3:]
        picture[..., :3] /= np.where(alpha > 0, alpha, 1)
    return picture


def read_exr_depth(path: Path, limits: Limits = DEFAULT) -> np.ndarray:
    """[H, W] f32, the first part's channel Z, Y or the only one it has."""
    channels = _channels(path, limits)
    names = [name for name in ("Z", "Y") if name in channels] or (list(channels) if len(channels) == 1 else [])
    if not names:
        raise FileError(path, f"has channels {', '.join(sorted(channels))[:200]}", "name the depth Z")
    return channels[names[0]].astype(np.float32)


def write_exr(path: Path, picture: np.ndarray) -> None:
    """Write a linear picture [H, W, 1, 3 or 4] with straight alpha as f32 EXR, colour premultiplied."""
    openexr = _library(path)
    picture = np.asarray(picture, np.float32)
    if picture.shape[2] == 4:
        picture = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], axis=2)
    name = {1: "Y", 3: "RGB", 4: "RGBA"}[picture.shape[2]]
    pixels = np.ascontiguousarray(picture[..., 0] if name == "Y" else picture)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with replacing(path) as temporary:
        try:
            openexr.File(header, {name: pixels}).write(str(temporary))
        except (RuntimeError, ValueError, TypeError) as error:
            raise FileError(path, f"cannot be written: {error}") from error


def _channels(path: Path, limits: Limits) -> dict[str, np.ndarray]:
    """The first part's channels as they are stored."""
    openexr = _library(path)
    _check_header(path, read_bytes(path, limits), limits)
    try:
        with openexr.File(str(path), separate_channels=True) as file:
            return {name: np.array(channel.pixels) for name, channel in file.parts[0].channels.items()}
    except Exception as error:  # the binding raises RuntimeError, TypeError, ValueError and its own
        raise FileError(path, f"cannot be decoded: {error}", "is it cut off?") from error


def _library(path: Path):
    try:
        return import_module("OpenEXR")
    except ImportError as error:
        raise FileError(path, "EXR needs the package OpenEXR", "pip install tidr[exr]") from error


def _check_header(path: Path, data: bytes, limits: Limits) -> None:
    """Refuse what the library would allocate for on the header's word alone."""
    if data[:4] != MAGIC or len(data) < 8:
        raise FileError(path, "is no EXR: it does not start with the EXR magic number")
    (version,) = struct.unpack_from("<I", data, 4)
    if version & DEEP:
        raise FileError(path, "is a deep image", "flatten it first")
    offset, values = 8, 0
    while True:
        attributes, offset = _attributes(path, data, offset)
        values += _values(path, attributes)
        if values > 4 * limits.pixels:
            what = f"claims {values} values, more than {limits.pixels} pixels of 4 channels"
            raise FileError(path, what, "raise Limits.pixels")
        if not version & MULTIPART or data[offset : offset + 1] in (b"\0", b""):
            return


def _attributes(path: Path, data: bytes, offset: int) -> tuple[dict[bytes, bytes], int]:
    """The attributes of one header and the offset behind it."""
    found: dict[bytes, bytes] = {}
    while True:
        name, offset = _name(path, data, offset)
        if not name:
            return found, offset
        _, offset = _name(path, data, offset)
        if offset + 4 > len(data):
            raise FileError(path, "ends within its header", "is it cut off?")
        (size,) = struct.unpack_from("<i", data, offset)
        offset += 4
        if not 0 <= size <= len(data) - offset:
            raise FileError(path, f"header attribute {name!r:.60} claims {size} bytes", "is it cut off?")
        found[name] = data[offset : offset + size]
        offset += size


def _name(path: Path, data: bytes, offset: int) -> tuple[bytes, int]:
    end = data.find(b"\0", offset, offset + 256)
    if end < 0:
        raise FileError(path, "header holds an unfinished name", "is it cut off?")
    return data[offset:end], end + 1


def _values(path: Path, attributes: dict[bytes, bytes]) -> int:
    """Pixels times channels that a header claims."""
    window, channels = attributes.get(b"dataWindow", b""), attributes.get(b"channels", b"")
    if len(window) != 16 or not channels:
        raise FileError(path, "header has no data window or no channels")
    left, top, right, bottom = struct.unpack("<4i", window)
    if right < left or bottom < top:
        raise FileError(path, f"data window is empty: {left}, {top} to {right}, {bottom}")
    count, offset = 0, 0
    while offset < len(channels) and channels[offset] != 0:
        end = channels.find(b"\0", offset)
        if end < 0:
            raise FileError(path, "channel list is cut off")
        count, offset = count + 1, end + 17
    return (right - left + 1) * (bottom - top + 1) * max(count, 1)
