"""Small well-formed files of every format that tidr reads, with knobs to make them false."""

import base64
import io
import json
import struct
import zipfile
import zlib

import numpy as np

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.uint32)


def png(width: int, height: int, rows: bytes | None = None, chunks: bytes = b"") -> bytes:
    """An 8-bit RGBA PNG; `rows` replaces the compressed picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((width * 4 + 1) * height)) if rows is None else rows
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def grey_png(width: int, height: int) -> bytes:
    """A PNG of 16-bit levels, as depth cameras write it."""
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    rows = b"".join(b"\0" + struct.pack(f">{width}H", *range(1000 * y, 1000 * y + width)) for y in range(height))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exr(width: int = 2, height: int = 2, window: tuple | None = None, value: float = 0.5) -> bytes:
    """An uncompressed scanline EXR with float channels B, G, R."""

    def attribute(name: str, kind: str, data: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(data)) + data

    box = struct.pack("<4i", *(window or (0, 0, width - 1, height - 1)))
    channels = b"".join(name + b"\0" + struct.pack("<iiii", 2, 0, 1, 1) for name in (b"B", b"G", b"R")) + b"\0"
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2) + attribute("channels", "chlist", channels)
    head += attribute("compression", "compression", b"\0") + attribute("dataWindow", "box2i", box)
    head += attribute("displayWindow", "box2i", box) + attribute("lineOrder", "lineOrder", b"\0")
    head += attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
    head += attribute("screenWindowCenter", "v2f", struct.pack("<ff", 0, 0))
    head += attribute("screenWindowWidth", "float", struct.pack("<f", 1)) + b"\0"
    size = 3 * width * 4
    offsets = b"".join(struct.pack("<Q", len(head) + height * 8 + y * (size + 8)) for y in range(height))
    lines = b"".join(struct.pack("<ii", y, size) + struct.pack("<f", value) * 3 * width for y in range(height))
    return head + offsets + lines


def pfm(width: object = 2, height: object = 2, scale: object = -1.0, value: float = 0.5) -> bytes:
    """A little-endian PFM of one value."""
    return f"PF\n{width} {height}\n{scale}\n".encode() + struct.pack("<12f", *[value] * 12)


def gltf_json(embed: bool = True) -> dict:
    """A glTF of one tetrahedron; its buffer inside as a data URI, or (embed=False) in the binary chunk."""
    body = gltf_buffer()
    buffer: dict = {"byteLength": len(body)}
    if embed:
        buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(body).decode()
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": [1, 2, 3]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5125, "count": 12, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 48},
        ],
        "buffers": [buffer],
    }


def gltf_buffer() -> bytes:
    return VERTICES.tobytes() + FACES.tobytes()


def glb(body: dict, binary: bytes, claims: int | None = None) -> bytes:
    text = json.dumps(body).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I", len(text)) + b"JSON" + text
    chunks += struct.pack("<I", len(binary) if claims is None else claims) + b"BIN\0" + binary
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def transforms_json() -> dict:
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]
    return {"camera_angle_x": 0.7, "w": 2, "h": 2, "frames": [{"file_path": "./a", "transform_matrix": pose}]}


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=array.dtype.hasobject)
    return buffer.getvalue()


def npy_header(shape: str, dtype: str = "<f4", data: bytes = b"") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust((len(text) + 11) // 64 * 64 + 53) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + data


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def ply(kind: str = "ascii", vertices: object = 4, faces: object = 4, triangle: str = "3 0 2 1", x: str = "0") -> bytes:
    head = f"ply\nformat {kind} 1.0\nelement vertex {vertices}\n"
    head += "property float x\nproperty float y\nproperty float z\n"
    head += f"element face {faces}\nproperty list uchar int vertex_indices\nend_header\n"
    if kind == "ascii":
        rows = [f"{x} 0 0", "1 0 0", "0 1 0", "0 0 1", triangle, "3 0 1 3", "3 0 3 2", "3 1 2 3"]
        return (head + "\n".join(rows) + "\n").encode()
    order = "<" if "little" in kind else ">"
    points = np.array(VERTICES, order + "f4")
    if x != "0":
        points[0, 0] = float(x)
    corners = [struct.pack(f"{order}B3i", 3, *face) for face in FACES.tolist()]
    if triangle != "3 0 2 1":
        count, *indices = (int(word) for word in triangle.split())
        corners[0] = struct.pack("B", count % 256) + struct.pack(f"{order}{len(indices)}i", *indices)
    return head.encode() + points.tobytes() + b"".join(corners)


def stl_binary(count: int = 4, x: float = 0.0) -> bytes:
    corners = VERTICES[FACES].astype("<f4")
    corners[0, 0, 0] = x
    records = b"".join(struct.pack("<3f", 0, 0, 1) + triangle.tobytes() + b"\0\0" for triangle in corners)
    return b"made in code".ljust(80) + struct.pack("<I", count % 2**32) + records


def stl_ascii(x: str = "0.0") -> bytes:
    out = ["solid tetrahedron"]
    for triangle in VERTICES[FACES].tolist():
        out += ["facet normal 0 0 1", "outer loop"]
        out += [f"vertex {a} {b} {c}" for a, b, c in triangle]
        out += ["endloop", "endfacet"]
    return "\n".join([*out, "endsolid", ""]).replace("vertex 0.0", f"vertex {x}", 1).encode()


def obj(x: str = "0", face: str = "1 3 2") -> bytes:
    lines = [f"v {x} 0 0", "v 1 0 0", "v 0 1 0", "v 0 0 1", "vt 0 0", "vt 1 0", "vt 0 1", f"f {face}"]
    return "\n".join([*lines, "f 1/1 2/2 4/3", "f -4 -1 -2", "f 2 3 4", ""]).encode()


SPLAT_NAMES = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{k}" for k in range(9))]
SPLAT_NAMES += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def splats(names: list[str] | None = None, count: object = 3, value: float | None = None, kind: str = "float") -> bytes:
    """Three Gaussians of degree 1, little endian; `value` replaces the last number of the first."""
    names = SPLAT_NAMES if names is None else names
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n"
    head += "".join(f"property {kind} {name}\n" for name in names) + "end_header\n"
    table = np.linspace(-1, 1, 3 * len(names)).reshape(3, -1)
    if value is not None:
        table[0, -1] = value
    return head.encode() + table.astype({"float": "<f4", "double": "<f8"}[kind]).tobytes()


def points(count: object = 4, x: str = "0", red: str = "255", radius: str = "0.5") -> bytes:
    """Four points with colours and radii, ascii."""
    head = f"ply\nformat ascii 1.0\nelement vertex {count}\nproperty float x\nproperty float y\nproperty float z\n"
    head += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue")) + "property float radius\n"
    rows = [f"{x} 0 0 {red} 0 0 {radius}", "1 0 0 0 255 0 0.5", "0 1 0 0 0 255 0.5", "0 0 1 10 20 30 0.5"]
    return (head + "end_header\n" + "\n".join(rows) + "\n").encode()
