"""Everything that is wrong with a file, collected under key paths, and tables read by their models."""

import json
import re
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tidr.errors import FileError, TidrError
from tidr.parameter import nearest

FAULTS_KEPT = 100
LONGEST_NAME = 100


@dataclass
class Faults:
    """Everything that is wrong with one file, collected, then raised as one error."""

    source: str
    found: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, path: Sequence[object], what: str) -> None:
        self.count += 1
        if self.count <= FAULTS_KEPT:
            self.found.append(f"{key_path(path)}: {what}")

    def unknown(self, path: Sequence[object], known: Sequence[str]) -> None:
        if self.count < FAULTS_KEPT:
            self.add(path, "unknown key, " + nearest(str(path[-1])[:LONGEST_NAME], known))
        else:
            self.count += 1

    @contextmanager
    def under(self, path: Sequence[object]) -> Iterator[None]:
        """Turns an error inside the block into a fault of this key."""
        try:
            yield
        except TidrError as error:
            place = f"{error.where}: " if isinstance(error, FileError) and error.where else ""
            self.add(path, place + error.what + (f" ({error.mend})" if error.mend else ""))

    def check(self) -> None:
        """Raise FileError when there is any fault."""
        if not self.count:
            return
        if self.count == 1:
            raise FileError(self.source, self.found[0])
        lines = self.found + ([f"and {self.count - FAULTS_KEPT} more"] if self.count > FAULTS_KEPT else [])
        raise FileError(self.source, "\n  ".join([f"{self.count} faults", *lines]))


def key_path(path: Sequence[object]) -> str:
    """The dotted spelling of a key: lights.key.direction[2], fit.parameters."duck.vertices".lr."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = str(part)[:LONGEST_NAME]
        text += ("." if text else "") + (name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name))
    return text


AnyTable = TypeVar("AnyTable", bound=BaseModel)


def read_table(kind: type[AnyTable], raw: object, path: Sequence[object], faults: Faults) -> AnyTable | None:
    """The table, or None with its faults noted."""
    if not isinstance(raw, dict):
        faults.add(path, f"is {brief(raw)}, expected a table")
        return None
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        known = [item.alias or name for name, item in kind.model_fields.items()]
        for one in error.errors(include_url=False, include_context=False):
            _note(one, [*path, *_plain(one["loc"], raw)], known, faults)
    except RecursionError:
        faults.add(path, "is nested too deeply")
    return None


def brief(value: object) -> str:
    """A short spelling of a value for messages."""
    return reprlib.repr(value)[:80]


def _plain(location: tuple, raw: object) -> list[object]:
    """A pydantic location without the marks of union members that stand in it."""
    plain: list[object] = []
    for part in location:
        if isinstance(raw, dict) and part in raw:
            raw = raw[part]
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part] if part < len(raw) else None
        elif plain:
            continue
        plain.append(part)
    return plain


def _note(error: Any, path: list[object], known: list[str], faults: Faults) -> None:
    """One pydantic error as a fault."""
    if error["type"] == "extra_forbidden":
        faults.unknown(path, known)
    elif error["type"] == "missing":
        faults.add(path, "is missing")
    else:
        message = error["msg"].replace("Input should be", "expected", 1)
        message = message.replace("List should have", "expected", 1).replace("a valid integer", "a whole number")
        faults.add(path, f"is {brief(error['input'])}, {message}")
