"""Mitsuba scenes as Python dictionaries, as objects; transforms may be Mitsuba's own or arrays [4, 4]."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError

from .guard import DEFAULT, LARGEST_COORDINATE, Limits, check_file
from .mitsuba_items import KINDS, Book, Item, Reference
from .mitsuba_spectra import read_spectrum

PLAIN = ("rgb", "spectrum", "uniform", "srgb")  # types that are colours, not objects


def read_dict(scene: Mapping[str, Any], limits: Limits = DEFAULT) -> tuple[Item, Book]:
    """The scene of a dictionary, and its objects by name and id.

    Raises:
        FileError: names the path of keys.
    """
    if _type(scene) != "scene":
        raise FileError("scene", f"has the type {scene.get('type')!r:.60}, expected 'scene'", "load a whole scene")
    book = Book()
    return _item(scene, "scene", "scene", book, limits, 0), book


def _item(given: Mapping[str, Any], name: str, where: str, book: Book, limits: Limits, depth: int) -> Item:
    kind = given.get("type")
    if not isinstance(kind, str):
        raise FileError(where, f"has the type {kind!r:.60}, expected a text", "name a plugin of Mitsuba")
    if depth > limits.depth:
        raise FileError(where, f"is more than {limits.depth} levels deep")
    made = Item("scene" if depth == 0 else KINDS.get(kind, ""), kind, str(given.get("id", name)), where)
    if depth == 1 or "id" in given:
        book.enter(made.name, made)
    for key, value in given.items():
        here = f"{where}.{key}"[:200]
        if not isinstance(key, str):
            raise FileError(here, f"the key is {key!r:.60}, expected a text")
        if key in ("type", "id"):
            continue
        if isinstance(value, Mapping) and _type(value) == "ref":
            made.children.append((key, Reference(str(value.get("id")), here)))
        elif isinstance(value, Mapping) and _type(value) in PLAIN:
            made.values[key] = _colour(value, here, limits)
        elif isinstance(value, Mapping):
            made.children.append((key, _item(value, key, here, book, limits, depth + 1)))
        else:
            made.values[key] = _value(value, here)
    return made


def _type(given: Mapping[str, Any]) -> str:
    kind = given.get("type")
    return kind if isinstance(kind, str) else ""


def _colour(given: Mapping[str, Any], where: str, limits: Limits) -> Any:
    value = given.get("value")
    if isinstance(given.get("filename"), str):
        return {"wavelengths": read_spectrum(check_file(Path(given["filename"]).expanduser(), limits), limits)}
    if value is None:
        raise FileError(where, "has no value", "give a number or three")
    if isinstance(value, (Sequence, np.ndarray)) and len(value) and np.ndim(value[0]) == 1:
        pairs = _value(value, where)
        if not isinstance(pairs, np.ndarray) or pairs.ndim != 2 or pairs.shape[1] != 2:
            raise FileError(where, f"is {value!r:.60}, expected pairs of a wavelength and a value")
        return {"wavelengths": pairs}
    return _value(value, where)


def _value(value: Any, where: str) -> Any:
    """A number, bool, text, or a finite array."""
    if isinstance(value, (bool, str, int)):
        return value
    matrix = getattr(value, "matrix", value)
    try:
        array = np.asarray(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise FileError(where, f"is {value!r:.60}, expected numbers, a text, a transform or an object") from error
    if not (np.abs(array) <= LARGEST_COORDINATE).all():
        raise FileError(where, f"is {value!r:.60}, expected finite numbers")
    if array.ndim == 0:
        return float(array)
    if array.shape == (3, 3):  # of the plane of a texture
        full = np.eye(4)
        full[np.ix_([0, 1, 3], [0, 1, 3])] = array
        return full
    return array
