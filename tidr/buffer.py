"""Device memory that is used again: a buffer that Python lets go of serves the next one of its size."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from . import runtime

SPARE_LIMIT_BYTES = 512 << 20

# Every ndarray is held here too: the garbage collector would otherwise free one whose buffer lies in a cycle, before
# the buffer could hand it on. So nothing else makes ndarrays that may outlive a start of Taichi: freeing one then takes
# away whatever stands at its old address now.
_owned: dict[int, Any] = {}
_spare: OrderedDict[tuple, list] = OrderedDict()
_spare_bytes = 0
_spare_generation = 0
_owned_bytes = _most_bytes = 0
allocations = 0


class Buffer:
    """An uninitialised Taichi ndarray of reals (`kind="real"`), f64 ("double"), f16 ("half") or 32-bit ints ("int").

    When the last reference goes, the memory is kept for the next buffer of the same kind and shape, so a loop that
    renders and drops images allocates nothing after its second turn. `allocations` counts what was really allocated.
    """

    def __init__(self, shape: tuple[int, ...], kind: str = "real", vector: int = 0) -> None:
        global allocations
        ti = runtime.taichi()
        self._generation = runtime.generation()
        self._key = (kind, vector, tuple(max(int(n), 1) for n in shape))
        self.ndarray: Any = _take(self._key)
        if self.ndarray is None:
            dtype = {"real": runtime.real(), "double": ti.f64, "half": ti.f16, "int": ti.i32}[kind]
            make = ti.Vector.ndarray if vector else None
            shape = self._key[2]
            self.ndarray = make(vector, dtype, shape) if make else ti.ndarray(dtype, shape)
            _own(self)
            allocations += 1

    @classmethod
    def of(cls, integers: np.ndarray) -> Buffer:
        """A device copy of whole numbers; of one row at least, whatever it holds, where there are none."""
        made = cls(integers.shape, "int")
        if integers.size:
            made.ndarray.from_numpy(np.ascontiguousarray(integers, np.int32))
        return made

    @property
    def bytes(self) -> int:
        kind, vector, shape = self._key
        size = {"real": runtime.current().precision // 8, "double": 8, "half": 2, "int": 4}[kind]
        for n in shape:
            size *= n
        return size * max(vector, 1)

    def __del__(self) -> None:
        current = runtime.started() if runtime else None
        if current is not None and getattr(self, "ndarray", None) is not None:
            _give(self)


def release() -> None:
    """Free what waits to be used again: after sizes changed for good, none of it fits any more."""
    global _spare_bytes
    _forget_stale()
    for waiting in _spare.values():
        for ndarray, size in waiting:
            _disown(ndarray, size)
    _spare.clear()
    _spare_bytes = 0


def most_bytes(restart: bool = False) -> int:
    """The most device memory that buffers held at a time since the last restart, what waited to be used again included.

    With `restart` what waits is freed first, and the count begins anew.
    """
    global _most_bytes
    _forget_stale()
    if restart:
        release()
        _most_bytes = _owned_bytes
    return _most_bytes


def _own(buffer: Buffer) -> None:
    global _owned_bytes, _most_bytes
    _owned[id(buffer.ndarray)] = buffer.ndarray
    _owned_bytes += buffer.bytes
    _most_bytes = max(_most_bytes, _owned_bytes)


def _disown(ndarray, size: int) -> None:
    global _owned_bytes
    _owned.pop(id(ndarray), None)
    _owned_bytes -= size


def _take(key: tuple):
    global _spare_bytes
    _forget_stale()
    waiting = _spare.get(key)
    if not waiting:
        return None
    ndarray, size = waiting.pop()
    _spare_bytes -= size
    if not waiting:
        del _spare[key]
    return ndarray


def _give(buffer: Buffer) -> None:
    global _spare_bytes
    _forget_stale()
    if buffer._generation != _spare_generation:
        return
    size = buffer.bytes
    _spare.setdefault(buffer._key, []).append((buffer.ndarray, size))
    _spare.move_to_end(buffer._key)
    _spare_bytes += size
    while _spare_bytes > SPARE_LIMIT_BYTES:
        oldest, waiting = next(iter(_spare.items()))
        ndarray, size = waiting.pop(0)
        _disown(ndarray, size)
        _spare_bytes -= size
        if not waiting:
            del _spare[oldest]


def _forget_stale() -> None:
    global _spare_bytes, _spare_generation, _owned_bytes, _most_bytes
    if _spare_generation != runtime.generation():
        for ndarray in _owned.values():
            ndarray.arr = None  # its memory went with the earlier start of Taichi; freeing it would hit the new one
        _owned.clear()
        _spare.clear()
        _spare_bytes = _owned_bytes = _most_bytes = 0
        _spare_generation = runtime.generation()
