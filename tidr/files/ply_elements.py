"""The elements of a PLY file, whatever they are: header, then columns of values, ascii and binary."""

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidr.errors import FileError

from .guard import DEFAULT, Limits, at, check_count, check_file

TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
TYPES |= {"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"}
TYPES |= {"int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8"}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
LONGEST_HEADER = 1 << 16


@dataclass
class Property:
    """One property of an element; `count_type` is None for a single value."""

    name: str
    type: str
    count_type: str | None = None


@dataclass
class Element:
    """One element of a PLY header: its name, how many there are, and the properties of each."""

    name: str
    count: int
    properties: list[Property]

    def smallest(self, ascii_text: bool) -> int:
        """The fewest bytes that one of these can take, every list empty."""
        if ascii_text:
            return 2 * max(len(self.properties), 1)
        return sum(np.dtype(item.count_type or item.type).itemsize for item in self.properties)


# A column of single values is an array [n]; a column of lists is its lengths [n] and all its values in a row.
Column = np.ndarray | tuple[np.ndarray, np.ndarray]


def read_elements(path: Path, data: bytes, limits: Limits = DEFAULT) -> dict[str, dict[str, Column]]:
    """The columns of every element of a PLY, by element and property name.

    Raises:
        FileError: a malformed header, a count that the bytes do not bear, a value that is cut off, bytes left over.
    """
    order, elements, start = _header(path, data)
    body = memoryview(data)[start:]
    remaining = len(body) + 1  # the last line of an ascii file may lack its newline
    for element in elements:
        limit = {"vertex": limits.vertices, "face": limits.faces}.get(element.name, limits.vertices)
        check_count(str(path), f"{element.name} elements", element.count, limit)
        smallest = element.smallest(order == "")
        check_count(str(path), f"{element.name} elements", element.count, limit, smallest, remaining)
        remaining -= element.count * smallest
    reader = _Ascii(path, bytes(body)) if order == "" else _Binary(path, body, order)
    columns = {element.name: reader.read(element) for element in elements}
    left = reader.left()
    if left:
        raise FileError(path, f"{left} follow the last element", "the header counts fewer than there are")
    return columns


def contents(path: Path, limits: Limits = DEFAULT) -> str:
    """What a PLY holds, by its header alone: "mesh" (any face), "gaussians" (their properties) or "points".

    Raises:
        FileError: as `read_elements`, for the header.
    """
    path = check_file(path, limits)
    with path.open("rb") as file:
        _, elements, _ = _header(path, file.read(LONGEST_HEADER + 64))
    names = {item.name for element in elements if element.name == "vertex" for item in element.properties}
    if {"f_dc_0", "scale_0", "rot_0"} & names:
        return "gaussians"
    return "mesh" if any(element.name == "face" and element.count for element in elements) else "points"


def _header(path: Path, data: bytes) -> tuple[str, list[Element], int]:
    """Byte order ("" for ascii), elements, and where the body starts."""
    if not data[:8].lstrip(b"\xef\xbb\xbf").startswith((b"ply\n", b"ply\r")):
        raise FileError(path, "does not start with the line 'ply'")
    end = data.find(b"end_header", 0, LONGEST_HEADER)
    newline = data.find(b"\n", end)
    if data[end + 10 : end + 12].startswith(b"\r") and data[end + 11 : end + 12] != b"\n":
        newline = end + 10
    if end < 0 or newline < 0 or data[end + 10 : newline].strip():
        raise FileError(path, f"has no end_header line within {LONGEST_HEADER} bytes")
    text = data[:end].decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    order, elements = None, []
    for number, line in enumerate(text.split("\n"), 1):
        words, where = line.split(), at(path, number)
        if not words or words[0] in ("ply", "comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) == 3 and words[1] in ORDERS:
            order = ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3:
            if not (words[2].isascii() and words[2].isdigit() and len(words[2]) < 19):
                raise FileError(where, f"element count {words[2]!r:.40} is no whole number from 0 up")
            if any(words[1] == element.name for element in elements):
                raise FileError(where, f"element {words[1]!r:.40} stands twice")
            elements.append(Element(words[1], int(words[2]), []))
        elif words[0] == "property" and elements:
            elements[-1].properties.append(_property(words, elements[-1], where))
        else:
            raise FileError(where, f"unknown header line {line!r:.80}")
    if order is None:
        raise FileError(path, "has no valid format line", "formats are " + ", ".join(ORDERS))
    return order, elements, newline + 1


def _property(words: list[str], element: Element, where: str) -> Property:
    known = {item.name for item in element.properties}
    if len(words) == 3 and words[1] in TYPES and words[2] not in known:
        return Property(words[2], TYPES[words[1]])
    if len(words) == 5 and words[1] == "list" and words[3] in TYPES and words[4] not in known:
        count_type = TYPES.get(words[2], "")
        if count_type[:1] in ("i", "u"):
            return Property(words[4], TYPES[words[3]], count_type)
    raise FileError(where, f"unknown or repeated property {' '.join(words)!r:.80}")


class _Binary:
    """Reads elements from the body of a binary PLY."""

    def __init__(self, path: Path, body: memoryview, order: str) -> None:
        self.path, self.body, self.order, self.offset = path, body, order, 0

    def left(self) -> str:
        rest = bytes(self.body[self.offset :])
        return f"{len(rest)} bytes" if rest.strip(b"\r\n \0") else ""

    def read(self, element: Element) -> dict[str, Column]:
        if element.count == 0 or not element.properties:
            return {item.name: _nothing(item) for item in element.properties}
        lengths = self._first_lengths(element)
        table = self._uniform(element, lengths)
        if table is None:
            return self._ragged(element)
        columns: dict[str, Column] = {}
        for item in element.properties:
            values = table[item.name]
            if item.count_type is None:
                columns[item.name] = values
            else:
                columns[item.name] = (table[f"{item.name} count"].astype(np.int64), values.reshape(-1))
        return columns

    def _first_lengths(self, element: Element) -> list[int]:
        """The lengths of the lists of the element's first row."""
        lengths, offset = [], self.offset
        for item in element.properties:
            if item.count_type is None:
                offset += np.dtype(item.type).itemsize
                continue
            length = int(self._values(item.count_type, 1, offset, element, 0)[0])
            lengths.append(max(length, 0))
            offset += np.dtype(item.count_type).itemsize + max(length, 0) * np.dtype(item.type).itemsize
        return lengths

    def _uniform(self, element: Element, lengths: list[int]) -> np.ndarray | None:
        """All rows at once where every list is as long as that of the first row, else None."""
        remaining, fields = iter(lengths), []
        for item in element.properties:
            if item.count_type is not None:
                length = next(remaining)
                fields += [(f"{item.name} count", self.order + item.count_type)]
                fields += [(item.name, self.order + item.type, (length,))]
            else:
                fields.append((item.name, self.order + item.type))
        # A list too long for the bytes is left to the careful reader, which names its row.
        size = sum(np.dtype(kind[1]).itemsize * (kind[2][0] if len(kind) > 2 else 1) for kind in fields)
        if size * element.count > len(self.body) - self.offset:
            if not lengths:
                raise FileError(self.path, f"ends within the {element.name} elements", "is it cut off?")
            return None
        table = np.frombuffer(self.body, np.dtype(fields), element.count, self.offset)
        remaining = iter(lengths)
        lists = [item for item in element.properties if item.count_type is not None]
        if any((table[f"{item.name} count"] != next(remaining)).any() for item in lists):
            return None
        self.offset += table.nbytes
        return table

    def _ragged(self, element: Element) -> dict[str, Column]:
        """Row by row, for lists of different lengths."""
        parts = {item.name: bytearray() for item in element.properties}
        lengths = {item.name: array("q") for item in element.properties}
        for row in range(element.count):
            for item in element.properties:
                count = 1
                if item.count_type is not None:
                    count = int(self._values(item.count_type, 1, self.offset, element, row)[0])
                    self.offset += np.dtype(item.count_type).itemsize
                    if count < 0:
                        raise FileError(at(self.path, f"{element.name} {row}"), f"list of {count} values")
                values = self._values(item.type, count, self.offset, element, row)
                self.offset += values.nbytes
                parts[item.name] += values.tobytes()
                lengths[item.name].append(count)
        columns: dict[str, Column] = {}
        for item in element.properties:
            values = np.frombuffer(parts[item.name], np.dtype(self.order + item.type))
            counts = np.array(lengths[item.name], np.int64)
            columns[item.name] = values if item.count_type is None else (counts, values)
        return columns

    def _values(self, kind: str, count: int, offset: int, element: Element, row: int) -> np.ndarray:
        if np.dtype(kind).itemsize * count > len(self.body) - offset:
            where = at(self.path, f"{element.name} {row}")
            raise FileError(where, f"needs {count} values beyond the end of the file", "is it cut off?")
        return np.frombuffer(self.body, np.dtype(self.order + kind), count, offset)


class _Ascii:
    """Reads elements from the words of an ascii PLY."""

    def __init__(self, path: Path, body: bytes) -> None:
        self.path, self.words, self.offset = path, body.split(), 0

    def left(self) -> str:
        left = len(self.words) - self.offset
        return f"{left} words" if left else ""

    def read(self, element: Element) -> dict[str, Column]:
        if element.count == 0 or not element.properties:
            return {item.name: _nothing(item) for item in element.properties}
        if all(item.count_type is None for item in element.properties):
            width = len(element.properties)
            words = self._slice(width * element.count, element, element.count - 1)
            table = self._floats(words, element).reshape(-1, width)
            where = at(self.path, element.name)
            return {item.name: _cast(item, table[:, k], where) for k, item in enumerate(element.properties)}
        parts: dict[str, list[bytes]] = {item.name: [] for item in element.properties}
        lengths: dict[str, list[int]] = {item.name: [] for item in element.properties}
        for row in range(element.count):
            for item in element.properties:
                count = 1
                if item.count_type is not None:
                    count = self._length(element, row)
                parts[item.name] += self._slice(count, element, row)
                lengths[item.name].append(count)
        columns: dict[str, Column] = {}
        for item in element.properties:
            values = _cast(item, self._floats(parts[item.name], element), at(self.path, element.name))
            columns[item.name] = values if item.count_type is None else (np.array(lengths[item.name]), values)
        return columns

    def _length(self, element: Element, row: int) -> int:
        (word,) = self._slice(1, element, row)
        if not word.isdigit() or len(word) > 12:
            raise FileError(at(self.path, f"{element.name} {row}"), f"list length {word!r:.40} is no whole number")
        return int(word)

    def _slice(self, count: int, element: Element, row: int) -> list[bytes]:
        if count > len(self.words) - self.offset:
            where = at(self.path, f"{element.name} {row}")
            raise FileError(where, f"needs {count} values beyond the end of the file", "is it cut off?")
        self.offset += count
        return self.words[self.offset - count : self.offset]

    def _floats(self, words: list[bytes], element: Element) -> np.ndarray:
        try:
            return np.array([float(word) for word in words], np.float64)
        except ValueError as error:
            raise FileError(at(self.path, element.name), f"a value is no number: {error}") from error


def _nothing(item: Property) -> Column:
    empty = np.zeros(0)
    return empty if item.count_type is None else (np.zeros(0, np.int64), empty)


def _cast(item: Property, values: np.ndarray, where: str) -> np.ndarray:
    """The numbers of an ascii file in the type that its header promises."""
    if item.type[0] == "f":
        return values
    bounds = np.iinfo(item.type)
    good = (values >= bounds.min) & (values <= bounds.max) & (values == np.rint(values)) & (np.abs(values) < 2**53)
    if not good.all():
        bad = values[int(good.argmin())]
        raise FileError(where, f"{item.name} is {bad:g}, expected a whole number in [{bounds.min}, {bounds.max}]")
    return values.astype(item.type)
