"""Broken files of every format that tidr reads, made in code: the same ones each time, none kept in the repository.

`cases()` yields small broken files, `bombs()` small files that claim or unpack to huge contents. Both start from the
well-formed files of `valid()`.
"""

import base64
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from . import data_sets, scenes
from .builders import (
    FACES,
    SPLAT_NAMES,
    VERTICES,
    chunk,
    exr,
    glb,
    gltf_buffer,
    gltf_json,
    grey_png,
    npy,
    npy_header,
    npz,
    obj,
    pfm,
    ply,
    png,
    points,
    splats,
    stl_ascii,
    stl_binary,
    transforms_json,
)

TEXT = ("obj", "ply_ascii", "points", "stl_ascii", "gltf", "transforms", "mitsuba", "colmap_text", "colmap_images_text")
DATA_SETS = (
    "vol", "volume", "volume_npy", "nrrd", "llff", "colmap_cameras", "colmap_images", "colmap_points", "colmap_text",
    "colmap_images_text", "colmap_points_text",
)  # fmt: skip
ODD_COUNTS = (3, 5, 4000, 2**31, 2**32, 2**63, 10**30, -1)
ODD_NUMBERS = (
    "nan",
    "NaN",
    "-nan",
    "inf",
    "-inf",
    "Infinity",
    "1e400",
    "-1e400",
    "1e39",
    "",
    "abc",
    "0x10",
    "1,5",
    "--1",
)


@dataclass(frozen=True)
class Case:
    """A broken file `main` with the files beside it, by name."""

    name: str
    main: str
    files: dict[str, bytes] = field(repr=False)


def valid() -> dict[str, Case]:
    """A well-formed file of each format."""
    picture = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3)
    made = {
        "obj": ("a.obj", obj()),
        "ply_ascii": ("a.ply", ply()),
        "ply_little": ("a.ply", ply("binary_little_endian")),
        "ply_big": ("a.ply", ply("binary_big_endian")),
        "splats": ("splats.ply", splats()),
        "points": ("points.ply", points()),
        "stl_ascii": ("a.stl", stl_ascii()),
        "stl_binary": ("a.stl", stl_binary()),
        "gltf": ("a.gltf", json.dumps(gltf_json()).encode()),
        "glb": ("a.glb", glb(gltf_json(embed=False), gltf_buffer())),
        "npy": ("a.npy", npy(picture)),
        "npz": ("a.npz", npz(image=npy(picture))),
        "png": ("a.png", png(2, 2)),
        "exr": ("a.exr", exr()),
        "pfm": ("a.pfm", pfm()),
        "depth_png": ("depth.png", grey_png(3, 2)),
        "depth_npy": ("depth.npy", npy(np.linspace(0, 2, 6, dtype=np.float32).reshape(2, 3))),
        "transforms": ("transforms.json", json.dumps(transforms_json()).encode()),
        "vol": ("a.vol", data_sets.vol()),
        "volume": ("volume.npz", data_sets.volume_npz()),
        "nrrd": ("a.nrrd", data_sets.nrrd()),
        "volume_npy": ("volume.npy", npy(np.full((2, 3, 4), 0.5, np.float32))),
        "llff": ("poses_bounds.npy", data_sets.llff()),
        "mitsuba": ("a.xml", scenes.mitsuba()),
    }
    beside: dict = {"mitsuba": {"a.obj": obj(), "a.png": png(2, 2)}}
    beside |= {"transforms": {"a.png": png(2, 2)}, "llff": {"images/a.png": png(2, 2)}}
    for part in ("cameras", "images", "points3D"):
        model = data_sets.model_binary()
        made[f"colmap_{part.removesuffix('3D')}"] = (f"{part}.bin", model[f"{part}.bin"])
        beside[f"colmap_{part.removesuffix('3D')}"] = {**model, "images/a.png": png(2, 2)}
    model = data_sets.model_text()
    for kind, name in (("", "cameras"), ("images_", "images"), ("points_", "points3D")):
        made[f"colmap_{kind}text"] = (f"{name}.txt", model[f"{name}.txt"])
        beside[f"colmap_{kind}text"] = {**model, "images/a.png": png(2, 2)}
    return {kind: Case(kind, name, {**beside.get(kind, {}), name: data}) for kind, (name, data) in made.items()}


def cases(seed: int = 0) -> Iterator[Case]:
    """Some sixteen hundred broken files."""
    rng = random.Random(seed)
    for kind, good in valid().items():
        data = good.files[good.main]
        for name, broken in [*_generic(kind, data, rng), *_specific(kind, data)]:
            yield Case(f"{kind}: {name}", good.main, {**good.files, good.main: broken})


def _generic(kind: str, data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    for cut in range(10):
        yield f"cut at {cut * 10} %", data[: max(1, len(data) * cut // 10)]
    yield "last byte missing", data[:-1]
    yield "trailing bytes", data + b"trailing"
    yield "twice", data + data
    middle = len(data) // 2
    yield "NUL inside", data[:middle] + b"\0" + data[middle:]
    yield "byte order mark", b"\xef\xbb\xbf" + data
    yield "UTF-16", data.decode("latin-1").encode("utf-16")
    yield "CRLF", data.replace(b"\n", b"\r\n")
    for size in (1, 100, 5000):
        yield f"{size} random bytes", rng.randbytes(size)
        yield f"head and {size} random bytes", data[:16] + rng.randbytes(size)
    for number in range(10):
        changed = bytearray(data)
        for _ in range(1 + number % 3):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield f"bits flipped {number}", bytes(changed)
    if kind in TEXT:
        yield "one long line", data + b"x" * 100_000 + b"\n"
        yield "a million spaces", data + b" " * 1_000_000


def _specific(kind: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if kind in DATA_SETS:
        yield from data_sets.cases(kind)
        return
    if kind == "obj":
        yield from ((f"x is {text!r}", obj(x=text)) for text in ODD_NUMBERS)
        faces = ("1 2 5", "1 2 0", "1 2 -9", "1 2", "1", "", "1/9 2/1 3/1", "1//1 2//1 3//1", "1/ 2/ 3/", "a b c")
        faces += ("1.5 2 3", "1/1/1/1 2 3", "// // //", "1 2 99999999999999999999", "1 1 1", "1 2 3 4 5")
        yield from ((f"face {face!r}", obj(face=face)) for face in faces)
        yield "no faces", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"
        yield "no vertices", b"f 1 2 3\n"
        yield "ragged", b"v 0 0\nv 1 0 0 0\nv 0 1 0\nf 1 2 3\n"
    elif kind.startswith("ply"):
        form = {"ply_ascii": "ascii", "ply_little": "binary_little_endian", "ply_big": "binary_big_endian"}[kind]
        yield from ((f"{count} vertices", ply(form, vertices=count)) for count in ODD_COUNTS)
        yield from ((f"{count} faces", ply(form, faces=count)) for count in ODD_COUNTS)
        numbers = ODD_NUMBERS if kind == "ply_ascii" else ("nan", "inf", "-inf")
        yield from ((f"x is {text!r}", ply(form, x=text)) for text in numbers)
        faces = (
            "3 0 1 4",
            "3 0 1 -1",
            "3 0 1 77",
            "3 0 1 2147483647",
            "2 0 1",
            "0",
            "200 0 1 2",
            "4 0 1 2 3",
            "3 0 0 0",
        )
        yield from ((f"face {face!r}", ply(form, triangle=face)) for face in faces)
        yield "unknown format", data.replace(form.encode(), b"binary_middle_endian")
        yield "no format", data.replace(b"format " + form.encode() + b" 1.0\n", b"")
        yield "list of lists", data.replace(b"list uchar int", b"list list int")
        yield "real list length", data.replace(b"list uchar int", b"list float int")
        yield "x twice", data.replace(b"float y", b"float x")
        yield "no z", data.replace(b"float z", b"float w")
        yield "vertex twice", data.replace(b"element face", b"element vertex")
        yield "real indices", data.replace(b"uchar int", b"uchar float")
        yield "no faces", data.replace(b"element face 4", b"element face 0")
        yield "element without properties", data.replace(b"end_header", b"element ghost 19999999\nend_header")
    elif kind == "splats":
        yield from ((f"{count} Gaussians", splats(count=count)) for count in (0, *ODD_COUNTS))
        yield from ((f"a number is {value}", splats(value=value)) for value in (np.nan, np.inf, -np.inf, 1e30))
        yield from ((f"no {name}", splats([one for one in SPLAT_NAMES if one != name])) for name in SPLAT_NAMES)
        yield "two f_rest", splats([name for name in SPLAT_NAMES if not name.startswith("f_rest") or name[-1] in "01"])
        yield "f_rest of degree 4", splats([*SPLAT_NAMES, *(f"f_rest_{k}" for k in range(9, 72))])
        yield "quaternion of length 0", splats(["x", "y", "z"]) + b"\0"
        yield "opacity is a list", data.replace(b"property float opacity", b"property list uchar float opacity")
        yield "opacity twice", data.replace(b"property float scale_0", b"property float opacity")
    elif kind == "points":
        yield from ((f"{count} points", points(count=count)) for count in (0, *ODD_COUNTS))
        yield from ((f"x is {text!r}", points(x=text)) for text in ODD_NUMBERS)
        yield from ((f"red is {text!r}", points(red=text)) for text in ("256", "-1", "0.5", "nan"))
        yield from ((f"radius is {text!r}", points(radius=text)) for text in ("0", "-1", "nan", "inf"))
        yield "real colour above 1", data.replace(b"uchar", b"float")
        yield "no z", data.replace(b"float z", b"float w")
        yield "x is a list", data.replace(b"property float x", b"property list uchar float x")
    elif kind == "stl_binary":
        yield from ((f"{count} triangles", stl_binary(count=count)) for count in (0, 3, 5, 4000, 2**32 - 1, -1))
        yield from ((f"x is {value}", stl_binary(x=value)) for value in (np.nan, np.inf, -np.inf))
        yield "header alone", stl_binary(0)[:84]
    elif kind == "stl_ascii":
        yield from ((f"x is {text!r}", stl_ascii(x=text)) for text in ODD_NUMBERS)
        yield "no facet", b"solid a\nendsolid a\n"
        yield "unfinished facet", data.replace(b"endfacet", b"", 1)
        yield "two corners", data.replace(b"vertex 0.0 0.0 0.0\n", b"", 1)
        yield "endsolid first", b"endsolid\nsolid\n"
    elif kind in ("gltf", "glb"):
        yield from _gltf_cases(kind)
    elif kind in ("npy", "npz", "png", "exr", "pfm"):
        yield from _picture_cases(kind)
    elif kind == "transforms":
        yield from _transforms_cases()
    elif kind == "mitsuba":
        yield from scenes.cases(ODD_NUMBERS)


def _gltf_cases(kind: str) -> Iterator[tuple[str, bytes]]:
    def build(body: dict, text: str | None = None) -> bytes:
        if kind == "gltf":
            return (text or json.dumps(body)).encode()
        return glb(body, gltf_buffer())

    def changed(path: tuple, value: object) -> bytes:
        body = gltf_json(embed=kind == "gltf")
        owner = body
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = value
        return build(body)

    def dotted(path: tuple) -> str:
        return ".".join(str(key) for key in path)

    primitive = ("meshes", 0, "primitives", 0)
    odd = (*ODD_COUNTS, 1.5, "4", None, [], True)
    places = [("accessors", 0, "count"), ("accessors", 0, "bufferView"), ("accessors", 1, "byteOffset")]
    places += [("bufferViews", 0, "byteLength"), ("bufferViews", 0, "byteStride"), ("buffers", 0, "byteLength")]
    places += [
        ("scene",),
        ("nodes", 0, "mesh"),
        (*primitive, "indices"),
        (*primitive, "mode"),
        (*primitive, "material"),
    ]
    for path in places:
        for value in odd:
            yield f"{dotted(path)} is {value!r}", changed(path, value)
    for path in [(key,) for key in gltf_json() if key != "scene"] + [
        primitive,
        (*primitive, "attributes"),
        ("nodes", 0, "children"),
    ]:
        for value in ({}, [], "a", 0, None, [None], [[]]):
            yield f"{dotted(path)} is {value!r}", changed(path, value)
    yield "node is its own child", changed(("nodes", 0, "children"), [0])
    yield "nodes in a circle", changed(("nodes",), [{"children": [1]}, {"children": [0], "mesh": 0}])
    chain = [{"children": [index + 1]} for index in range(999)] + [{"mesh": 0}]
    yield "a thousand nested nodes", changed(("nodes",), chain)
    yield "zero rotation", changed(("nodes", 0, "rotation"), [0, 0, 0, 0])
    yield "zero scale", changed(("nodes", 0, "scale"), [0, 0, 0])
    yield "huge scale", changed(("nodes", 0, "scale"), [1e18, 1e18, 1e18])
    yield "matrix of 15", changed(("nodes", 0, "matrix"), [1] * 15)
    yield "Draco", changed(("extensionsRequired",), ["KHR_draco_mesh_compression"])
    for number in ("NaN", "Infinity", "1e400", "9" * 5000):
        text = json.dumps(gltf_json()).replace("[1, 2, 3]", f"[{number}, 2, 3]")
        if kind == "gltf":
            yield f"translation {number[:20]}", build({}, text)
    if kind == "gltf":
        yield "deep nesting", b'{"a":' + b"[" * 200_000
        yield "broken base64", json.dumps(gltf_json()).replace("base64,A", "base64,!").encode()
    else:
        body = gltf_json(embed=False)
        for claim in (0, 95, 97, 2**31, 2**32 - 1):
            yield f"chunk claims {claim}", glb(body, gltf_buffer(), claim)
        yield "no chunks", b"glTF" + struct.pack("<II", 2, 12)
        yield "22 bytes", b"glTF" + struct.pack("<II", 2, 22) + struct.pack("<I", 2**32 - 1) + b"JSON{}"
    for bad in (np.nan, np.inf, 1e30):
        points = VERTICES.copy()
        points[1, 1] = bad
        yield f"vertex is {bad}", _with_buffer(kind, points.tobytes() + FACES.tobytes())
    for index in (4, 2**31, 2**32 - 1):
        corners = FACES.copy()
        corners[2, 1] = index
        yield f"index is {index}", _with_buffer(kind, VERTICES.tobytes() + corners.tobytes())


def _with_buffer(kind: str, data: bytes) -> bytes:
    body = gltf_json(embed=kind == "gltf")
    if kind == "glb":
        return glb(body, data)
    body["buffers"][0]["uri"] = "data:;base64," + base64.b64encode(data).decode()
    return json.dumps(body).encode()


def _picture_cases(kind: str) -> Iterator[tuple[str, bytes]]:
    if kind == "png":
        for width, height in ((0, 2), (2, 0), (2**31, 2), (2**31 - 1, 2**31 - 1), (3, 2), (2, 4000)):
            yield f"claims {width} x {height}", png(width, height, zlib.compress(b"\0" * 18))
        yield "no picture data", png(2, 2, b"")
        yield "broken deflate", png(2, 2, b"\xff" * 40)
    elif kind == "pfm":
        for key in ("width", "height", "scale"):
            yield from ((f"{key} is {text!r}", pfm(**{key: text})) for text in ("", "0", "2**9", "99999999999", "nan"))
        yield from ((f"value {value}", pfm(value=value)) for value in (np.nan, np.inf))
    elif kind == "exr":
        for window in ((0, 0, 2**31 - 1, 2**31 - 1), (5, 5, 0, 0), (-(2**31), 0, 2**31 - 1, 1), (0, 0, 3999, 1)):
            yield f"window {window}", exr(window=window)
        yield from ((f"value {value}", exr(value=value)) for value in (np.nan, np.inf))
    else:
        wrap = (lambda data: npz(image=data)) if kind == "npz" else (lambda data: data)
        shapes = ("(2, 2, 3)", "(-1, 2, 3)", "(2**99,)", "(99999999999, 99999999999)", "()", "(0, 2, 3)", "'a'", "(((")
        yield from ((f"shape {shape}", wrap(npy_header(shape, data=b"\0" * 44))) for shape in shapes)
        for dtype in ("|O", "|S5", "<U9", "|V8", "<M8[s]", "<c16", "nonsense", "<i4"):
            yield f"type {dtype}", wrap(npy_header("(2, 2, 3)", dtype, b"\0" * 192))
        for value in (np.nan, np.inf, -np.inf):
            yield f"value {value}", wrap(npy(np.full((2, 2, 3), value, np.float32)))
        yield "pickle", wrap(npy(np.array([{"a": 1}], object)))
        yield "five channels", wrap(npy(np.zeros((2, 2, 5), np.float32)))
        if kind == "npz":
            yield "no member", npz()
            yield "no picture among them", npz(a=npy(np.zeros(3)), b=npy(np.zeros(3)))


def _transforms_cases() -> Iterator[tuple[str, bytes]]:
    def changed(key: str, value: object, frame: bool = False) -> bytes:
        body = transforms_json()
        (body["frames"][0] if frame else body)[key] = value
        return json.dumps(body).encode()

    for key in ("w", "h", "camera_angle_x", "cx", "fl_x", "k1", "frames", "note", "premultiplied", "camera_model"):
        for value in (0, -1, 2**32, 1e300, "a", None, [], {}, True):
            yield f"{key} is {value!r}", changed(key, value)
    good = transforms_json()["frames"][0]["transform_matrix"]
    matrices = {"missing": None, "flat": [0.0] * 16, "two rows": good[:2], "zero": [[0] * 4] * 4}
    matrices |= {"mirrored": [[-1, 0, 0, 0], *good[1:]], "scaled": [[2, 0, 0, 0], *good[1:]], "texts": [["a"] * 4] * 4}
    matrices |= {"bottom row": [*good[:3], [0, 0, 0, 2]], "far away": [[1, 0, 0, 1e300], *good[1:]]}
    yield from ((f"matrix {name}", changed("transform_matrix", value, frame=True)) for name, value in matrices.items())
    for number in ("NaN", "Infinity", "1e400"):
        yield f"matrix holds {number}", json.dumps(transforms_json()).replace("3]", f"{number}]").encode()
    yield "picture missing", changed("file_path", "./b", frame=True)
    for key in ("w", "h", "fl_x", "cx", "camera_angle_x", "k1", "split"):  # of one frame, beside those of the file
        yield from (
            (f"frame's {key} is {value!r}", changed(key, value, True)) for value in (0, -1, 2**32, 1e300, "a", [])
        )
    yield "deep nesting", b'{"frames":' + b"[" * 200_000


def bombs() -> Iterator[Case]:
    """Small files with huge claims or contents."""
    zeros = b"\0" * (80 << 20)

    def one(name: str, main: str, data: bytes) -> Case:
        return Case(name, main, {main: data})

    yield one("npz that inflates to 80 MB", "a.npz", npz(image=npy_header("(5120, 4096)", "<f4", zeros)))
    yield one("npz of ten such members", "a.npz", npz(**{f"m{index}": zeros[: 8 << 20] for index in range(10)}))
    yield one("npz whose member claims 32 GB", "a.npz", npz(image=npy_header("(8589934592,)")))
    yield one("npy that claims 32 GB", "a.npy", npy_header("(8589934592,)"))
    yield one("npy that claims 2 ** 99 entries", "a.npy", npy_header(f"({2**33}, {2**33}, {2**33})"))
    yield one("png of 900 megapixels", "a.png", png(30_000, 30_000, zlib.compress(b"\0")))
    yield one("png of 108 megapixels", "a.png", png(12_000, 9_000, zlib.compress(b"\0")))
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(zeros))
    yield one("png with 80 MB of text", "a.png", png(2, 2, chunks=text * 2))
    yield one("exr of 2 ** 62 pixels", "a.exr", exr(window=(0, 0, 2**31 - 2, 2**31 - 2)))
    yield one("ply of 4 billion vertices", "a.ply", ply("binary_little_endian", vertices=2**32))
    yield one("ascii ply of 10 million vertices", "a.ply", ply(vertices=10**7))
    yield one("4 billion Gaussians", "splats.ply", splats(count=2**32))
    yield one("10 million points", "points.ply", points(count=10**7))
    yield one("stl of 4 billion triangles", "a.stl", stl_binary(count=2**32 - 1))
    yield one("glb with a chunk of 4 GB", "a.glb", glb(gltf_json(embed=False), gltf_buffer(), 2**32 - 1))
    many = gltf_json()
    many["accessors"][0]["count"] = 2**36
    yield one("gltf accessor of 2 ** 36 elements", "a.gltf", json.dumps(many).encode())
    crowd = gltf_json()
    crowd["accessors"][1] |= {"count": 30_000}
    crowd["bufferViews"][1] |= {"byteLength": 120_000}
    body = VERTICES.tobytes() + FACES.tobytes() * 2500
    crowd["buffers"][0] |= {"byteLength": len(body), "uri": "data:;base64," + base64.b64encode(body).decode()}
    crowd["nodes"] = [{"mesh": 0} for _ in range(9_000)]
    crowd["scenes"] = [{"nodes": list(range(9_000))}]
    yield one("gltf with 9,000 instances", "a.gltf", json.dumps(crowd).encode())
    star = " ".join(str(1 + index * 7 % 9000) for index in range(9000))
    corners = "\n".join(f"v {index % 97} {index % 89} {index % 83}" for index in range(9000))
    for name, main, data in (*data_sets.bombs(), *scenes.bombs()):
        yield one(name, main, data)
    yield one("obj face of 9,000 corners", "a.obj", f"{corners}\nf {star}\n".encode())
