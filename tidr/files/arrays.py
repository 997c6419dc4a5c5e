""".npy and .npz: headers held against the bytes before anything is unpacked; no pickles."""

import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tidr.errors import FileError

from .guard import DEFAULT, Limits, at, check_file
from .write import write_bytes

INFLATION_FROM = 64 << 20  # smaller contents may be as uniform as they like


def read_arrays(path: str | Path, limits: Limits = DEFAULT) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, or of an .npy under the name "".

    Raises:
        FileError: missing, cut off, not a plain number array, or larger than `limits` or than its bytes allow.
    """
    path = check_file(path, limits)
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\3\4":
                return _read_zip(file, path, limits)
            return {"": _read_array(file, path.stat().st_size, str(path))}
    except FileError:
        raise
    except Exception as error:  # numpy's header parser and zipfile raise nearly anything on garbage
        raise FileError(path, f"is no valid numpy file: {error or type(error).__name__}") from error


def write_arrays(path: str | Path, **arrays: np.ndarray) -> None:
    """Write an .npz of named arrays, or an .npy of the one array that has no name of its own ("array")."""
    path = Path(path)
    if path.suffix == ".npy":
        (array,) = arrays.values()
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_bytes(path, buffer.getvalue())
    else:
        write_bytes(path, npz_bytes(**arrays))


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """The bytes of an .npz; what a reader might take for a zip bomb is not compressed."""
    buffer = io.BytesIO()
    small = sum(np.asarray(array).nbytes for array in arrays.values()) < INFLATION_FROM // 2
    (np.savez_compressed if small else np.savez)(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _read_zip(file: BinaryIO, path: Path, limits: Limits) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > limits.nodes:
            raise FileError(path, f"has {len(members)} members, the limit is {limits.nodes}", "raise Limits.nodes")
        total = sum(member.file_size for member in members)
        if total > limits.bytes:
            raise FileError(path, f"unpacks to {total} bytes, the limit is {limits.bytes}", "raise Limits.bytes")
        # Against the file's own size, so that members which share their bytes count too.
        if total > max(INFLATION_FROM, limits.inflation * path.stat().st_size):
            raise FileError(path, f"unpacks to {total} bytes, {limits.inflation} times its size", "is it a zip bomb?")
        for member in members:
            if member.is_dir() or not member.filename.endswith(".npy"):
                raise FileError(at(path, repr(member.filename)[1:-1]), "is no .npy member")
            if member.flag_bits & 1:
                raise FileError(at(path, repr(member.filename)[1:-1]), "is encrypted")
            with archive.open(member) as stream:
                name = member.filename[:-4]
                arrays[name] = _read_array(stream, member.file_size, at(path, repr(name)[1:-1]))
    if not arrays:
        raise FileError(path, "holds no array")
    return arrays


def _read_array(stream, size: int, where: str) -> np.ndarray:
    """One array from a stream of `size` bytes, which must be exactly what its header asks for."""
    formats = np.lib.format
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers of Python 2 are read with a warning
        version = formats.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise FileError(where, f"has version {version[0]}.{version[1]}, expected 1.0, 2.0 or 3.0", "save it again")
        lead = stream.read(2 if version == (1, 0) else 4)
        length = int.from_bytes(lead, "little")
        if length > size:  # numpy would make room for it first
            raise FileError(where, f"claims a header of {length} bytes but has {size}", "is it cut off?")
        read_header = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
        shape, fortran, dtype = read_header(io.BytesIO(lead + stream.read(length)))
    if dtype.kind not in "fiub" or dtype.itemsize == 0:
        raise FileError(where, f"holds values of type {dtype}", "save plain numbers, without pickle")
    if any(length < 0 for length in shape):
        raise FileError(where, f"has the shape {shape}")
    header = 8 if version == (1, 0) else 12
    needed = math.prod(shape) * dtype.itemsize
    if needed > size - header:
        raise FileError(where, f"claims {needed} bytes of data but has at most {size - header}", "is it cut off?")
    data = stream.read(needed + 1)
    if len(data) != needed:
        raise FileError(where, f"claims {needed} bytes of data but has {'more' if len(data) > needed else len(data)}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
