"""Writing binary glTF 2.0: one mesh, one primitive per material, pictures inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidr.scene.mesh_data import MaterialData, MeshData

from .guard import DEFAULT, Limits, read_bytes
from .image import encode_png, read_texture
from .polygons import weld

FLOAT, UINT = 5126, 5125
ARRAY_BUFFER, INDEX_BUFFER = 34962, 34963


def write_glb(data: MeshData, limits: Limits = DEFAULT) -> bytes:
    """The bytes of a GLB, single precision.

    glTF has one index per corner, so vertices are repeated at uv seams and hard edges; `read_gltf` welds them again.
    Its one material model is metallic-roughness: "lambert" becomes rough, "phong" and "blinn_phong" become dielectrics
    of the roughness whose highlight is as wide.
    """
    out = Writer()
    slots = [material_entry(out, material, limits) for material in data.materials] or [None]
    out.json["meshes"].append({"primitives": primitives(out, data, slots)})
    return out.finish([{"mesh": 0}], [0])


def primitives(out: Writer, data: MeshData, slots: Sequence[int | None]) -> list[dict]:
    """A mesh's primitives, one for each of its materials; slots: the material in the file of each of its own."""
    columns = {"POSITION": (data.vertices, data.faces)}
    if data.normals is not None and data.normal_faces is not None:
        columns["NORMAL"] = (data.normals, data.normal_faces)
    if data.uvs is not None and data.uv_faces is not None:
        columns["TEXCOORD_0"] = (data.uvs * [1, -1] + [0, 1], data.uv_faces)
    if data.colors is not None:
        columns["COLOR_0"] = (data.colors, data.faces)
    which = np.zeros(len(data.faces), np.int32) if data.face_materials is None else data.face_materials
    made = []
    for material in np.unique(which).tolist():
        chosen = which == material
        corners = np.stack([faces[chosen].ravel() for _, faces in columns.values()], axis=1)
        first, order = weld(corners)
        attributes = {
            name: out.accessor(values[corners[first, slot]].astype("<f4"), name)
            for slot, (name, (values, _)) in enumerate(columns.items())
        }
        primitive = {"attributes": attributes, "indices": out.accessor(order.astype("<u4"), "indices")}
        if slots[material] is not None:
            primitive["material"] = slots[material]
        made.append(primitive)
    return made


class Writer:
    """Collects buffer views and accessors of one binary chunk."""

    def __init__(self) -> None:
        self.data = bytearray()
        tables = ("accessors", "bufferViews", "materials", "images", "textures", "samplers", "meshes", "cameras")
        self.json: dict[str, list] = {name: [] for name in tables}

    def view(self, data: bytes, **more) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data += data
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values: np.ndarray, name: str) -> int:
        scalar = values.ndim == 1
        entry = {
            "bufferView": self.view(values.tobytes(), target=INDEX_BUFFER if scalar else ARRAY_BUFFER),
            "componentType": UINT if scalar else FLOAT,
            "count": len(values),
            "type": "SCALAR" if scalar else f"VEC{values.shape[1]}",
        }
        if name == "POSITION":
            entry |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.json["accessors"].append(entry)
        return len(self.json["accessors"]) - 1

    def texture(self, data: bytes, mime: str) -> dict:
        self.json["images"].append({"bufferView": self.view(data), "mimeType": mime})
        self.json["textures"].append({"source": len(self.json["images"]) - 1})
        return {"index": len(self.json["textures"]) - 1}

    def finish(self, nodes: list[dict], roots: list[int], extensions: Any = None, used: Sequence[str] = ()) -> bytes:
        """The GLB of a scene with these nodes, of which `roots` have no parent; `used` names the extensions."""
        body: dict[str, object] = {"asset": {"version": "2.0", "generator": "tidr"}, "scene": 0}
        body |= {"scenes": [{"nodes": roots}], "nodes": nodes, "buffers": [{"byteLength": len(self.data)}]}
        body |= {"extensions": extensions} if extensions else {}
        body |= {"extensionsUsed": list(used)} if used else {}
        body |= {name: entries for name, entries in self.json.items() if entries}
        text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.data) + b"\0" * (-len(self.data) % 4)
        kinds = ((b"JSON", text), (b"BIN\0", binary))
        chunks = b"".join(len(data).to_bytes(4, "little") + kind + data for kind, data in kinds)
        return b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks


def material_entry(out: Writer, material: MaterialData, limits: Limits = DEFAULT) -> int:
    """Adds a material; returns its index."""
    values = dict(material.values)
    roughness, metallic = values.get("roughness", 0.5), values.get("metallic", 0.0)
    if material.type == "lambert":
        roughness = 1.0
    elif "phong" in material.type:
        shininess = values.get("shininess", 32.0)
        shininess = 32.0 if isinstance(shininess, (Path, np.ndarray)) else float(shininess)
        # A Phong lobe is as wide as a Blinn-Phong lobe of four times its exponent (Walter et al. 2007 for the rest).
        roughness = (2 / (2 + shininess * (4 if material.type == "phong" else 1))) ** 0.25
    pbr: dict[str, object] = {}
    albedo = values.get("albedo", 0.5)
    if _is_picture(albedo):
        pbr["baseColorTexture"] = out.texture(*_encoded(albedo, limits))
    else:
        pbr["baseColorFactor"] = [*np.broadcast_to(np.asarray(albedo, np.float64), 3).tolist(), 1.0]
    if _is_picture(roughness) or _is_picture(metallic):
        picture = encode_png(_packed(roughness, metallic, limits), srgb=False)
        pbr |= {"metallicRoughnessTexture": out.texture(picture, "image/png")}
    else:
        pbr |= {"roughnessFactor": float(roughness), "metallicFactor": float(metallic)}
    out.json["materials"].append({"name": material.name, "pbrMetallicRoughness": pbr})
    return len(out.json["materials"]) - 1


def _is_picture(value: object) -> bool:
    return isinstance(value, Path) or (isinstance(value, np.ndarray) and value.ndim >= 2)


def _encoded(value, limits: Limits) -> tuple[bytes, str]:
    """A colour picture as PNG or JPEG bytes; files of these kinds go in as they are."""
    if isinstance(value, Path):
        if value.suffix.lower() in (".jpg", ".jpeg"):
            return read_bytes(value, limits), "image/jpeg"
        if value.suffix.lower() == ".png":
            return read_bytes(value, limits), "image/png"
        value = read_texture(value, 3, limits)
    return encode_png(value), "image/png"


def _packed(roughness, metallic, limits: Limits) -> np.ndarray:
    """[H, W, 3] with roughness in G and metallic in B; the smaller picture is repeated up to the larger one's size."""
    layers = []
    for value in (roughness, metallic):
        if isinstance(value, Path):
            value = read_texture(value, 1, limits)
        layers.append(np.asarray(value, np.float64).reshape(*(np.shape(value)[:2] or (1, 1))))
    height, width = np.max([layer.shape for layer in layers], axis=0)
    grown = [
        layer[np.arange(height) * layer.shape[0] // height][:, np.arange(width) * layer.shape[1] // width]
        for layer in layers
    ]
    return np.stack([np.ones((height, width)), *grown], axis=2)
