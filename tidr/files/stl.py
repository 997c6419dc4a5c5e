"""STL, ascii and binary: loose triangles, welded where positions are equal."""

from pathlib import Path

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MeshData

from .guard import DEFAULT, Limits, at, check_count, check_finite, decode_text, read_bytes
from .polygons import weld

RECORD = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEADER = 84
# One facet in words; None stands for a number.
FACET = ["facet", "normal", None, None, None, "outer", "loop", *["vertex", None, None, None] * 3, "endloop", "endfacet"]


def read_stl(path: Path, limits: Limits = DEFAULT) -> MeshData:
    """An STL, not yet checked. Its normals follow from the triangles and are not kept."""
    data = read_bytes(path, limits)
    count = int.from_bytes(data[80:HEADER], "little") if len(data) >= HEADER else 0
    if len(data) >= HEADER and len(data) == HEADER + count * RECORD.itemsize:
        check_count(str(path), "triangles", count, limits.faces)
        corners = np.frombuffer(data, RECORD, count, HEADER)["corners"].reshape(-1, 3).astype(np.float64)
    elif data[:16].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(b"solid") and b"\0" not in data:
        corners = _ascii(path, decode_text(data, path, limits), limits)
    else:
        what = f"is no STL: {len(data)} bytes, where the header's {count} triangles need {HEADER + count * 50}"
        raise FileError(path, what, "is it cut off?")
    if len(corners) == 0:
        raise FileError(path, "holds no triangle")
    check_finite(path, "face", corners.reshape(-1, 9))
    first, which = weld(corners)
    return MeshData(corners[first], which.reshape(-1, 3))


def _ascii(path: Path, text: str, limits: Limits) -> np.ndarray:
    """[3 F, 3] corners."""
    words: list[str] = []
    closed = True
    for number, line in enumerate(text.split("\n"), 1):
        parts = line.lower().split()
        if parts and parts[0] in ("solid", "endsolid"):
            if closed != (parts[0] == "solid") or len(words) % len(FACET):
                raise FileError(at(path, number), f"{parts[0]} out of place")
            closed = not closed
            continue
        if parts and closed:
            raise FileError(at(path, number), f"{line.strip()!r:.40} stands outside of solid and endsolid")
        words += parts
    if not closed:
        raise FileError(path, "has no endsolid line", "is it cut off?")
    check_count(str(path), "triangles", len(words) // len(FACET), limits.faces)
    for slot, expected in enumerate(FACET):
        if expected is not None:
            for facet, word in enumerate(words[slot :: len(FACET)]):
                if word != expected:
                    raise FileError(at(path, f"face {facet}"), f"{word!r:.40} stands where {expected!r} is expected")
    slots = [slot + 1 + axis for slot, word in enumerate(FACET) if word == "vertex" for axis in range(3)]
    try:
        columns = [[float(word) for word in words[slot :: len(FACET)]] for slot in slots]
    except ValueError as error:
        raise FileError(path, f"a coordinate is no number: {error}") from error
    return np.array(columns, np.float64).T.reshape(-1, 3)
