"""Parameters: the arrays of a scene that a fit may change, under dotted paths."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .array import Array
from .errors import SceneError


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """What a parameter's value is kept to after every optimizer step.

    clamp: (low, high) per entry; unit: rows have length 1 (quaternions, directions); positive: at least 1e-6; simplex:
    rows are non-negative and sum to 1; fixed: never changed; channels: only these entries of every row change (None:
    all).
    """

    clamp: tuple[float, float] | None = None
    unit: bool = False
    positive: bool = False
    simplex: bool = False
    fixed: bool = False
    channels: tuple[int, ...] | None = None

    def held(self, channels: int) -> list[int]:
        """Which of a row's `channels` entries never change."""
        return [] if self.channels is None else [c for c in range(channels) if c not in self.channels]


FREE = Constraint()


class Parameter(Array):
    """A named differentiable array of the scene: `.numpy()`, `.set(array)`, `.grad_numpy()`.

    `path` is the dotted name ("duck.vertices"), known once the owner is part of a scene.
    """

    def __init__(self, array, constraint: Constraint = FREE, path: str = "") -> None:
        array = np.asarray(array, np.float64)
        super().__init__(array.shape)
        self.path = path
        self.constraint = constraint
        self.zero_grad()
        self.set(array)

    @property
    def label(self) -> str:
        return self.path or "parameter"

    def replace(self, array) -> None:
        """Give it a value of another shape; whoever keeps memory per entry has to make it anew."""
        version = self.version
        super().__init__(np.shape(array))
        self.zero_grad()
        self.version = version
        self.set(array)

    def __repr__(self) -> str:
        return f"Parameter({self.label}, shape={self.shape})"


class Parameters(Mapping[str, Parameter]):
    """Parameters by dotted path, in a fixed order."""

    def __init__(self, items: Mapping[str, Parameter]) -> None:
        self._items = dict(items)

    def __getitem__(self, path: str) -> Parameter:
        try:
            return self._items[path]
        except KeyError:
            raise SceneError(path, "no such parameter", nearest(path, self._items)) from None

    def __contains__(self, path: object) -> bool:
        return path in self._items

    def get(self, path: str, default: Any = None, /) -> Any:
        return self._items.get(path, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def select(self, *patterns: str) -> Parameters:
        """The parameters whose path matches one of the glob patterns; each pattern must match something."""
        found: dict[str, Parameter] = {}
        for pattern in patterns:
            matches = [path for path in self._items if fnmatch.fnmatchcase(path, pattern)]
            if not matches:
                raise SceneError(pattern, "matches no parameter of the scene", nearest(pattern, self._items))
            found.update((path, self._items[path]) for path in matches)
        return Parameters(found)


def nearest(name: str, known) -> str:
    """A hint that names the closest of the known names, or lists them."""
    import difflib

    names = [str(item) for item in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(names[:20]) if names else "there are none"
