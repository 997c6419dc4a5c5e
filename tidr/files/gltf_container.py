"""The container of glTF 2.0: JSON, chunks, buffers and accessors, each held against the bytes that are there."""

import base64
import binascii
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from tidr.errors import FileError

from .guard import DEFAULT, Limits, at, check_count, integer, read_bytes, read_json, resolve

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
UNDERSTOOD = {
    "KHR_mesh_quantization", "KHR_materials_unlit", "KHR_lights_punctual", "KHR_materials_emissive_strength",
}  # fmt: skip
KINDS = {dict: "an object", list: "a list", int: "a whole number", str: "a text"}
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942


class Gltf:
    """An opened glTF: its JSON with typed look-ups, and its binary data.

    Raises:
        FileError: everything that is missing, out of range, of the wrong type or larger than its bytes, by its key.
    """

    def __init__(self, path: Path, limits: Limits = DEFAULT) -> None:
        self.path, self.limits = path, limits
        data, self.binary = read_bytes(path, limits), None
        if data[:4] == b"glTF":
            data, self.binary = self._chunks(data)
        self.json = read_json(data, path, limits)
        version = self.get(self.json, "asset", dict, "")
        if not str(version.get("version", "")).startswith("2."):
            raise FileError(self.at("asset.version"), f"is {version.get('version')!r:.40}, expected 2.x")
        required = self.get(self.json, "extensionsRequired", list, "", [])
        unknown = [str(name)[:60] for name in required if name not in UNDERSTOOD]
        if unknown:
            mend = "export again without compression or extensions"
            raise FileError(self.at("extensionsRequired"), f"needs {', '.join(unknown)}", mend)
        self._buffers: dict[int, bytes] = {}

    def at(self, key: str) -> str:
        return at(self.path, key)

    def get(self, owner: dict, key: str, kind: type, place: str, default=None) -> Any:
        """owner[key], which must be of the kind; `default` (None: it is required) where it is absent."""
        value = owner.get(key, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            where = self.at(f"{place}.{key}" if place else key)
            raise FileError(where, f"is {value!r:.60}, expected {KINDS[kind]}")
        return value

    def item(self, table: str, index: object, place: str) -> tuple[dict, str]:
        """Entry `index` of a top-level list and its place, "accessors[3]"."""
        entries = self.get(self.json, table, list, "", [])
        number = integer(index, self.at(place), 0, max(len(entries) - 1, 0))
        if not entries or not isinstance(entries[number], dict):
            raise FileError(self.at(place), f"refers to {table}[{number}], which is no object")
        return entries[number], f"{table}[{number}]"

    def view(self, index: object, place: str) -> tuple[memoryview, int]:
        """The bytes of a buffer view and its stride (0: tightly packed)."""
        entry, here = self.item("bufferViews", index, place)
        data = self._buffer(entry.get("buffer"), f"{here}.buffer")
        start = integer(entry.get("byteOffset", 0), self.at(f"{here}.byteOffset"))
        length = integer(entry.get("byteLength"), self.at(f"{here}.byteLength"))
        stride = integer(entry.get("byteStride", 0), self.at(f"{here}.byteStride"), 0, 252)
        if start + length > len(data):
            what = f"ends at byte {start + length} of a buffer of {len(data)}"
            raise FileError(self.at(here), what, "is it cut off?")
        return memoryview(data)[start : start + length], stride

    def accessor(self, index: object, place: str, widths: tuple[int, ...], limit: int) -> np.ndarray:
        """The values [n, width] of an accessor; normalised whole numbers come as f64 in [0, 1] or [-1, 1]."""
        entry, here = self.item("accessors", index, place)
        if "sparse" in entry or "bufferView" not in entry:
            raise FileError(self.at(here), "is sparse or has no data", "export again with plain accessors")
        kind = COMPONENTS.get(self.get(entry, "componentType", int, here))
        width = WIDTHS.get(self.get(entry, "type", str, here))
        if kind is None or width not in widths:
            what = f"has component type {entry['componentType']} and type {entry['type']!r:.20}"
            raise FileError(self.at(here), what, f"{place} takes {' or '.join(map(str, widths))} components")
        dtype = np.dtype(kind)
        data, stride = self.view(entry["bufferView"], f"{here}.bufferView")
        offset = integer(entry.get("byteOffset", 0), self.at(f"{here}.byteOffset"))
        size = dtype.itemsize * width
        stride = stride or size
        count = integer(entry.get("count"), self.at(f"{here}.count"), 0, 2**40)
        check_count(self.at(f"{here}.count"), "elements", count, limit)
        if stride < size or (count and offset + stride * (count - 1) + size > len(data)):
            what = f"claims {count} elements of {stride} bytes from byte {offset} of a view of {len(data)}"
            raise FileError(self.at(here), what, "is it cut off?")
        if count == 0:
            return np.zeros((0, width), dtype)
        values = np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))
        if entry.get("normalized") is True and dtype.kind in "iu":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values.copy()

    def image(self, index: object, place: str) -> tuple[bytes, str]:
        """The encoded bytes of an image and its place."""
        entry, here = self.item("images", index, place)
        if "bufferView" in entry:
            return bytes(self.view(entry["bufferView"], f"{here}.bufferView")[0]), here
        return self._uri(entry.get("uri"), f"{here}.uri"), here

    def _buffer(self, index: object, place: str) -> bytes:
        entry, here = self.item("buffers", index, place)
        number = int(here[8:-1])
        if number not in self._buffers:
            length = integer(entry.get("byteLength"), self.at(f"{here}.byteLength"))
            if "uri" in entry:
                data = self._uri(entry["uri"], f"{here}.uri")
            elif number == 0 and self.binary is not None:
                data = self.binary
            else:
                raise FileError(self.at(here), "has no uri and there is no binary chunk")
            if length > len(data):
                raise FileError(self.at(here), f"claims {length} bytes but has {len(data)}", "is it cut off?")
            self._buffers[number] = data[:length]
        return self._buffers[number]

    def _uri(self, uri: object, place: str) -> bytes:
        """The bytes behind a uri: a data URI, or a file in this file's folder."""
        if isinstance(uri, str) and uri.startswith("data:"):
            head, _, text = uri.partition(",")
            if not head.endswith(";base64"):
                raise FileError(self.at(place), "data URI is not base64")
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise FileError(self.at(place), f"data URI is no valid base64: {error}") from error
        name = unquote(uri) if isinstance(uri, str) else uri
        return read_bytes(resolve(self.path.parent, name, self.at(place)), self.limits)

    def _chunks(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The JSON and the binary chunk of a GLB."""
        version, length = (int.from_bytes(data[start : start + 4], "little") for start in (4, 8))
        if version != 2 or length != len(data):
            what = f"GLB header says version {version} and {length} bytes, the file has {len(data)}"
            raise FileError(self.path, what, "version 2 is read; is the file cut off?")
        chunks: list[tuple[int, bytes]] = []
        offset = 12
        while offset < len(data):
            size, kind = (int.from_bytes(data[offset + k : offset + k + 4], "little") for k in (0, 4))
            if offset + 8 + size > len(data):
                what = f"chunk claims {size} bytes but {max(len(data) - offset - 8, 0)} follow"
                raise FileError(self.at(f"chunk {len(chunks)}"), what, "is it cut off?")
            chunks.append((kind, data[offset + 8 : offset + 8 + size]))
            offset += 8 + size
        if not chunks or chunks[0][0] != JSON_CHUNK:
            raise FileError(self.path, "first chunk of the GLB is no JSON")
        binary = chunks[1][1] if len(chunks) > 1 and chunks[1][0] == BINARY_CHUNK else None
        return chunks[0][1], binary
