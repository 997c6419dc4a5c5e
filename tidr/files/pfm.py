"""Portable float maps (PFM): linear 32-bit pictures that need no extra package."""

import math
import re
from pathlib import Path

import numpy as np

from tidr.errors import FileError

from .guard import DEFAULT, Limits, read_bytes
from .write import write_bytes

HEAD = re.compile(rb"(PF|Pf)\s+(\d{1,10})\s+(\d{1,10})\s+([-+.0-9eE]{1,32})[ \t\r]*\n")
"""Kind, width, height and scale, whose sign is the byte order; rows follow, the lowest first."""


def read_pfm(path: Path, limits: Limits = DEFAULT) -> np.ndarray:
    """A picture [H, W, 3] f32, linear; grey is repeated. The scale's size is a unit that programs do not agree on, so
    values are taken as they are."""
    data = read_bytes(path, limits)
    head = HEAD.match(data)
    if head is None:
        raise FileError(path, "has no PFM header", "expected PF or Pf, width, height and scale")
    kind, width, height = head[1], int(head[2]), int(head[3])
    channels = 3 if kind == b"PF" else 1
    if width * height > limits.pixels:
        raise FileError(path, f"has more than {limits.pixels} pixels", "raise Limits.pixels")
    try:
        scale = float(head[4])
    except ValueError:
        scale = 0.0
    if scale == 0 or not math.isfinite(scale):
        raise FileError(path, f"scale is {head[4].decode()}", "a number is expected, negative for little-endian")
    wanted, left = width * height * channels * 4, len(data) - head.end()
    if left != wanted:
        raise FileError(path, f"has {left} bytes of pixels, {wanted} expected", "is it cut off?")
    rows = np.frombuffer(data, "<f4" if scale < 0 else ">f4", offset=head.end()).reshape(height, width, channels)
    return np.repeat(rows[::-1].astype(np.float32), 3 if channels == 1 else 1, axis=2)


def write_pfm(path: Path, picture: np.ndarray) -> None:
    """Write a linear picture [H, W, 1 or 3]."""
    if picture.shape[2] == 4:
        raise FileError(path, "PFM has no alpha channel", "write .exr or .npy, or only the first three channels")
    height, width, channels = picture.shape
    head = f"{'PF' if channels == 3 else 'Pf'}\n{width} {height}\n-1.0\n".encode()
    write_bytes(path, head + np.ascontiguousarray(picture[::-1], "<f4").tobytes())
