"""A differentiable device array: value and gradient of equal shape, [rows, channels] on the device."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from . import runtime
from .buffer import Buffer
from .errors import SceneError


class Array:
    """Value and gradient on the device.

    Outside, an array has any `shape`; on the device both are scalar ndarrays [rows, channels], where channels is the
    last axis and rows all the others, so that one kernel serves vertices [V, 3], textures [H, W, C] and images
    [B, H, W, C] alike. A scalar is [1, 1], a vector [1, C]. An empty array is padded to one row. Fresh memory is
    uninitialised.
    """

    def __init__(self, shape: tuple[int, ...], needs_grad: bool = True) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.channels = self.shape[-1] if self.shape else 1
        self.rows = math.prod(self.shape[:-1]) if self.shape else 1
        self.generation = runtime.generation()
        padded = (max(self.rows, 1), max(self.channels, 1))
        self._buffers = [Buffer(padded), Buffer(padded) if needs_grad else None]
        self.value: Any = self._buffers[0].ndarray
        self.grad: Any = self._buffers[1].ndarray if needs_grad else None
        self.version = 0
        self._host: tuple[int, np.ndarray] | None = None
        self.halves: Array | None = None  # [2, *shape] two estimates of independent noise whose mean this is

    @classmethod
    def of(cls, array: np.ndarray, needs_grad: bool = True) -> Array:
        """A device copy of a numpy array."""
        array = np.asarray(array)
        made = cls(array.shape, needs_grad)
        made.set(array)
        return made

    def set(self, array) -> None:
        """Overwrite the value from a numpy array of the same shape (or one that broadcasts to it)."""
        array = np.asarray(array)
        try:
            full = np.broadcast_to(array, self.shape)
        except ValueError:
            raise SceneError(self.label, f"got shape {array.shape}, expected {self.shape}") from None
        if not np.isfinite(full).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(full))[0])
            raise SceneError(self.label, f"value at index {where} is not finite", "give finite numbers")
        self._upload(self.value, full)
        self.version += 1

    def set_grad(self, array) -> None:
        """Overwrite the gradient from a numpy array of the same shape."""
        self._upload(self.grad, np.broadcast_to(np.asarray(array), self.shape))

    def numpy(self) -> np.ndarray:
        """A copy of the value in this array's shape."""
        return self._download(self.value)

    def host(self) -> np.ndarray:
        """The value in f64, read only: fetched once until `set` or `touch`; for what is small and often looked at."""
        if self._host is None or self._host[0] != self.version:
            copy = self.numpy().astype(np.float64)
            copy.flags.writeable = False
            self._host = (self.version, copy)
        return self._host[1]

    def grad_numpy(self) -> np.ndarray:
        """A copy of the gradient in this array's shape."""
        if self.grad is None:
            raise SceneError(self.label, "has no gradient", "it was made with needs_grad=False")
        return self._download(self.grad)

    def zero_grad(self) -> None:
        if self.grad is not None:
            self.grad.fill(0.0)

    def exchange(self, other: Array) -> None:
        """Trade memory, value and gradient, with an array of as many rows and channels; nothing is copied."""
        self._buffers, other._buffers = other._buffers, self._buffers
        self.value, other.value = other.value, self.value
        self.grad, other.grad = other.grad, self.grad
        self.touch()
        other.touch()

    def touch(self) -> None:
        """Say that a kernel wrote the value, so that whatever is cached from it is made again."""
        self.version += 1

    @property
    def label(self) -> str:
        return "array"

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def _upload(self, target, array: np.ndarray) -> None:
        if self.rows * self.channels == 0:
            return
        kind = np.float64 if runtime.current().precision == 64 else np.float32
        target.from_numpy(np.array(array, kind, order="C").reshape(self.rows, self.channels))

    def _download(self, source) -> np.ndarray:
        if self.rows * self.channels == 0:
            return np.zeros(self.shape)
        return source.to_numpy().reshape(self.shape)


def constant(rows) -> Array:
    """[R, C] array of given numbers without gradient; uploaded once and shared, so not to be written."""
    return _constant(runtime.generation(), tuple(tuple(float(number) for number in row) for row in rows))


@functools.lru_cache(maxsize=256)
def _constant(generation: int, rows: tuple[tuple[float, ...], ...]) -> Array:
    return Array.of(np.array(rows), needs_grad=False)


def integers(array) -> Buffer:
    """32-bit integers on the device, shared by all who ask for the same ones, so not to be written."""
    array = np.ascontiguousarray(array, np.int32)
    return _integers(runtime.generation(), array.shape, array.tobytes())


@functools.lru_cache(maxsize=64)
def _integers(generation: int, shape: tuple[int, ...], data: bytes) -> Buffer:
    buffer = Buffer(shape, "int")
    if data:
        buffer.ndarray.from_numpy(np.frombuffer(data, np.int32).reshape(shape))
    return buffer
