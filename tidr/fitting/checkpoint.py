"""Checkpoints of a fit: written whole or not at all, the last two kept, checked when read.

A checkpoint is an .npz of plain arrays with a format version and a SHA-256 of all the others. A fit killed at any
moment leaves at least the last complete one; one that is broken is passed over with a message.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidr.files.arrays import read_arrays
from tidr.files.write import replacing

from ..errors import FileError

FORMAT = 1
KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{7,})\.npz")


@dataclass(frozen=True)
class Checkpoint:
    """A fit after `step` steps: what it is about (hash of scene and settings), plain facts, and arrays by name."""

    step: int
    scene_hash: str
    facts: Mapping[str, object]
    arrays: Mapping[str, np.ndarray]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into the run folder, then let go of all but the newest two.

    Raises:
        FileError: the folder is missing or read-only, or the disk is full; older checkpoints are untouched.
    """
    path = folder / f"checkpoint-{checkpoint.step:07d}.npz"
    head = {"step": checkpoint.step, "scene_hash": checkpoint.scene_hash, "facts": checkpoint.facts}
    arrays = {f"array/{name}": np.asarray(array) for name, array in checkpoint.arrays.items()}
    arrays["head"] = _bytes(json.dumps(head))
    arrays["format"] = np.array(FORMAT)
    arrays["checksum"] = _bytes(_digest(arrays))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    for old in saved(folder)[KEPT:]:
        with suppress(OSError):
            old.unlink()
    return path


def saved(folder: Path) -> list[Path]:
    """Checkpoint files of a run folder, newest first."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint-*.npz") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def sweep(folder: Path) -> None:
    """Remove what a killed writer left half done."""
    for path in folder.glob(".checkpoint-*"):
        with suppress(OSError):
            path.unlink()


def load(folder: Path, say: Callable[[str], None] = lambda text: None) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where there is none at all; `say` hears of broken ones.

    Raises:
        FileError: there are checkpoints, and none of them is whole.
    """
    paths = saved(folder)
    for number, path in enumerate(paths):
        try:
            return read(path)
        except FileError as error:
            say(f"{error}; " + ("taking the one before" if number + 1 < len(paths) else "no other is left"))
    if paths:
        raise FileError(folder, "holds no checkpoint that is whole", "start the fit anew without --resume")
    return None


def read(path: Path) -> Checkpoint:
    """One checkpoint, verified.

    Raises:
        FileError: cut off, changed since it was written, or of another format version.
    """
    arrays = read_arrays(path)
    for name in ("format", "head", "checksum"):
        if name not in arrays:
            raise FileError(path, f"is no checkpoint: {name} is missing")
    if int(arrays["format"]) != FORMAT:
        raise FileError(path, f"has format {int(arrays['format'])}, this tidr reads {FORMAT}", "use the tidr it is of")
    checksum = arrays.pop("checksum").tobytes()
    if checksum != _digest(arrays).encode():
        raise FileError(path, "does not match its checksum", "it was damaged")
    head = json.loads(arrays["head"].tobytes())
    values = {name.removeprefix("array/"): array for name, array in arrays.items() if name.startswith("array/")}
    return Checkpoint(head["step"], head["scene_hash"], head["facts"], values)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
