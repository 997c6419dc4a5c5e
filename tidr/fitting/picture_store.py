"""Where the pictures of a fit lie: on the device while they are few, else in a file that is read piece by piece."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tidr.files.srgb import linear_to_srgb, srgb_to_linear
from tidr.kernels import image_batch as kernels

from .. import runtime
from ..array import Array
from ..buffer import Buffer
from ..errors import FileError
from .tape import unrecorded

MEMORY = 2 << 30  # bytes of pictures that are kept on the device
UNIT = 16  # bytes that every picture in the file is padded to: a pixel of four floats
LEVELS = np.arange(256, dtype=np.float32) / 255
LINEAR = srgb_to_linear(LEVELS).astype(np.float32)

Parts = tuple[np.ndarray, np.ndarray]  # colour [H, W, 3] over the background and alpha [H, W, 1], f32


def keep(pictures: Iterable[Parts], memory: int | None = None, folder: Path | None = None) -> DeviceStore | FileStore:
    """A store of the pictures, taken one by one: on the device if all fit into `memory` bytes, else in a file.

    Args:
        memory: MEMORY when None.
        folder: where the file lies; the system's folder for temporary files when None. It has no name, so nothing is
            left behind however the program ends.

    Raises:
        FileError: the folder cannot be written or is full.
    """
    waiting: list[Parts] = []
    room, file = MEMORY if memory is None else memory, None
    try:
        for parts in pictures:
            room -= (parts[0].size + parts[1].size) * (runtime.current().precision // 8)
            waiting.append(parts)
            if room < 0:
                file = file or FileStore(folder)
                while waiting:
                    file.add(*waiting.pop(0))
    except BaseException:
        if file is not None:
            file.close()
        raise
    if file is None:
        return DeviceStore(waiting)
    file.open()
    return file


class DeviceStore:
    """All pictures in two arrays on the device: rgb [pixels, 3] and alpha [pixels, 1]."""

    def __init__(self, pictures: list[Parts]) -> None:
        """Upload the pictures, emptying the list on the way: they never take their memory three times over."""
        self.sizes = [(colour.shape[0], colour.shape[1]) for colour, _ in pictures]
        starts = np.cumsum([0, *(height * width for height, width in self.sizes)])
        self.rgb, self.alpha = Array((int(starts[-1]), 3), needs_grad=False), Array((int(starts[-1]), 1), False)
        self._starts = starts[:-1].tolist()
        self._device_starts = Buffer((len(pictures),), "int")
        with unrecorded():
            self._device_starts.ndarray.from_numpy(starts[:-1].astype(np.int32))
            for start in self._starts:
                for array, part in zip((self.rgb, self.alpha), pictures.pop(0), strict=True):
                    whole = Array.of(part, needs_grad=False)
                    kernels.copy_block(whole.rows, whole.channels, whole.value, 0, array.value, start)

    def picture(self, index: int) -> Parts:
        """One picture, as it was given."""
        (height, width), start = self.sizes[index], self._starts[index]
        parts = []
        for array, channels in ((self.rgb, 3), (self.alpha, 1)):
            whole = Array((height, width, channels), needs_grad=False)
            with unrecorded():
                kernels.copy_block(height * width, channels, array.value, start, whole.value, 0)
            parts.append(whole.numpy().astype(np.float32, copy=False))
        return parts[0], parts[1]

    def copy_views(self, indices: Sequence[int], rgb: Array, alpha: Array) -> None:
        """Whole pictures of one size, one after the other."""
        place = 0
        for index in indices:
            (height, width), start = self.sizes[index], self._starts[index]
            kernels.copy_block(height * width, 3, self.rgb.value, start, rgb.value, place)
            kernels.copy_block(height * width, 1, self.alpha.value, start, alpha.value, place)
            place += height * width

    def copy_pixels(self, count: int, pixels: Buffer, extents: Buffer, rgb: Array, alpha: Array) -> None:
        """Chosen pixels [count * 3]: view, row, column."""
        chosen = (count, pixels.ndarray, self._device_starts.ndarray, extents.ndarray)
        kernels.gather_pixels(*chosen, self.rgb.value, self.alpha.value, rgb.value, alpha.value)


class FileStore:
    """All pictures in one file without a name: four bytes per pixel where 8 bits of sRGB say it all, else four floats.

    What comes out is what went in, to the last bit.
    """

    def __init__(self, folder: Path | None) -> None:
        self.sizes: list[tuple[int, int]] = []
        self._exact: list[bool] = []  # stored in 8 bits
        self._starts: list[int] = []  # bytes
        self._where = folder or tempfile.gettempdir()
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open until all pictures are in)
        except OSError as error:
            raise self._refused(error) from error
        self._bytes = np.zeros(0, np.uint8)

    def add(self, colour: np.ndarray, mask: np.ndarray) -> None:
        """Append one picture."""
        picture = np.concatenate([colour, mask], -1).astype(np.float32, copy=False)
        stored = _in_bytes(picture)
        data = (picture if stored is None else stored).tobytes()
        try:
            self._starts.append(self._file.tell())
            self._file.write(data + b"\0" * (-len(data) % UNIT))
        except OSError as error:
            raise self._refused(error) from error
        self.sizes.append((picture.shape[0], picture.shape[1]))
        self._exact.append(stored is not None)

    def close(self) -> None:
        """Let go of what was written; only for a store that is not opened."""
        self._file.close()

    def open(self) -> None:
        """No picture follows: map the file for reading."""
        try:
            with self._file as file:
                file.flush()
                self._bytes = np.memmap(file, np.uint8, "r")
        except OSError as error:
            raise self._refused(error) from error
        # First pixel of each picture, in units of its own kind, for reading at random.
        self._first = np.array([s // (4 if e else 16) for s, e in zip(self._starts, self._exact, strict=True)])
        self._in_bytes, self._widths = np.array(self._exact), np.array([width for _, width in self.sizes])

    def picture(self, index: int) -> Parts:
        """One picture, as it was given."""
        height, width = self.sizes[index]
        first = int(self._first[index])
        rows = self._tables()[0 if self._exact[index] else 1][first : first + height * width]
        picture = (_decode(rows) if self._exact[index] else rows).reshape(height, width, 4)
        return np.ascontiguousarray(picture[..., :3]), np.ascontiguousarray(picture[..., 3:])

    def copy_views(self, indices: Sequence[int], rgb: Array, alpha: Array) -> None:
        """Whole pictures of one size, one after the other."""
        parts = [self.picture(index) for index in indices]
        rgb.set(np.stack([colour for colour, _ in parts]))
        alpha.set(np.stack([mask for _, mask in parts]))

    def copy_pixels(self, count: int, pixels: Buffer, extents: Buffer, rgb: Array, alpha: Array) -> None:
        """Chosen pixels [count * 3]: view, row, column."""
        view, row, column = pixels.ndarray.to_numpy().reshape(count, 3).T
        where = self._first[view] + row.astype(np.int64) * self._widths[view] + column
        in_bytes, found = self._in_bytes[view], np.empty((count, 4), np.float32)
        small, large = self._tables()
        found[in_bytes] = _decode(small[where[in_bytes]])
        found[~in_bytes] = large[where[~in_bytes]]
        rgb.set(found[:, :3])
        alpha.set(found[:, 3:])

    def _tables(self) -> Parts:
        """The file as pixels of four bytes and as pixels of four floats."""
        return self._bytes.reshape(-1, 4), self._bytes.view(np.float32).reshape(-1, 4)

    def _refused(self, error: OSError) -> FileError:
        what = f"cannot hold the pictures that do not fit into memory: {error.strerror or error}"
        return FileError(self._where, what, "free some space, or set TMPDIR to a larger disk")


def _in_bytes(picture: np.ndarray) -> np.ndarray | None:
    """[H, W, 4] u8 of sRGB and alpha, or None where that would lose anything."""
    clipped = np.clip(picture, 0, 1)
    stored = np.rint(np.concatenate([linear_to_srgb(clipped[..., :3]), clipped[..., 3:]], -1) * 255).astype(np.uint8)
    return stored if np.array_equal(_decode(stored), picture) else None


def _decode(stored: np.ndarray) -> np.ndarray:
    """[..., 4] f32 from sRGB and alpha in 8 bits."""
    found = np.empty(stored.shape, np.float32)
    found[..., :3] = LINEAR[stored[..., :3]]
    found[..., 3] = LEVELS[stored[..., 3]]
    return found
