"""Small well-formed volumes and COLMAP models, and false ones made of them."""

import gzip
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from .builders import npy, npy_header, npz

POSE = (1.0, 0.0, 0.0, 0.0, 0.1, -0.2, 3.0)  # of world to camera: quaternion, w first, and translation
MODEL_NUMBERS = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1, "SIMPLE_RADIAL": 2, "RADIAL": 3, "OPENCV": 4, "OPENCV_FISHEYE": 5}


def vol(
    shape=(2, 3, 4), channels: int = 1, encoding: int = 1, version: int = 3, value: float = 0.5, magic=b"VOL"
) -> bytes:
    """A grid of Mitsuba of `shape` cells along x, y and z."""
    head = struct.pack("<3sB5i6f", magic, version, encoding, *shape, channels, -1, -1, -1, 1, 1, 1)
    return head + struct.pack("<f", value) * (
        2 * 3 * 4 * channels if max(shape) > 99 else int(np.prod(shape)) * channels
    )


def volume_npz(**changes: bytes) -> bytes:
    """An .npz with density, colour and box, some members changed."""
    good = {
        "density": npy(np.full((2, 3, 4), 0.5, np.float32)),
        "color": npy(np.full((2, 3, 4, 3), 0.5, np.float32)),
        "lower": npy(np.zeros(3)),
        "upper": npy(np.ones(3)),
    }
    return npz(**(good | changes))


def nrrd(
    encoding: str = "raw", sizes: str = "4 3 2", extra: str = "", data: bytes | None = None, kind="float"
) -> bytes:
    """An NRRD of 24 values."""
    body = np.full(24, 0.5, np.float32).tobytes() if data is None else data
    body = gzip.compress(body, mtime=0) if encoding == "gzip" and data is None else body
    head = f"NRRD0004\ntype: {kind}\ndimension: {len(sizes.split())}\nsizes: {sizes}\n"
    head += f"endian: little\nencoding: {encoding}\n"
    return (head + extra + "\n").encode() + body


def model_text(
    camera: str = "1 PINHOLE 2 2 3.0 3.0 1.0 1.0", name: str = "a.png", pose=POSE, of: object = 1
) -> dict[str, bytes]:
    """A model of one camera, one image and one point."""
    numbers = " ".join(str(value) for value in pose)
    images = f"# images\n7 {numbers} {of} {name}\n1.0 1.0 3 0.5 0.5 -1\n"
    points = "# points\n3 0.5 -0.5 1.5 255 128 0 0.7 7 0\n"
    return {
        "cameras.txt": f"# cameras\n{camera}\n".encode(),
        "images.txt": images.encode(),
        "points3D.txt": points.encode(),
    }


def model_binary(
    model: int = 1, size=(2, 2), numbers=(3.0, 3.0, 1.0, 1.0), name: bytes = b"a.png", pose=POSE, of: int = 1,
    counts=(1, 1, 1), marks: int = 2, track: int = 1,
) -> dict[str, bytes]:  # fmt: skip
    """The same in binary."""
    cameras = struct.pack("<QiiQQ", counts[0], 1, model, *size) + struct.pack(f"<{len(numbers)}d", *numbers)
    images = struct.pack("<QI7dI", counts[1], 7, *pose, of) + name + b"\0" + struct.pack("<Q", marks)
    images += struct.pack("<ddq", 1, 1, 3) * 2
    points = struct.pack("<QQ3d3Bd", counts[2], 3, 0.5, -0.5, 1.5, 255, 128, 0, 0.7) + struct.pack("<Qii", track, 7, 0)
    return {"cameras.bin": cameras, "images.bin": images, "points3D.bin": points}


def llff(rows: int = 1, dtype=np.float64, at: tuple[int, float] | None = None) -> bytes:
    """A poses_bounds.npy of equal rows for pictures of 2 x 2; `at` is a column and the number to put there."""
    matrix = np.zeros((3, 5))
    matrix[:, 0], matrix[:, 1], matrix[:, 2] = (0, -1, 0), (1, 0, 0), (0, 0, 1)
    matrix[:, 3], matrix[:, 4] = (0.1, -0.2, 3.0), (2, 2, 3)
    table = np.tile(np.append(matrix.reshape(-1), (1.0, 5.0)), (rows, 1)).astype(dtype)
    if at is not None:
        table[-1, at[0]] = at[1]
    return npy(table)


def cases(kind: str) -> Iterator[tuple[str, bytes]]:
    """(name, the broken main file) for a kind of `valid` in the corpus."""
    if kind == "vol":
        for shape in ((0, 3, 4), (-1, 3, 4), (3, 3, 4), (2**31 - 1, 2**31 - 1, 2**31 - 1), (4000, 3, 4)):
            yield f"shape {shape}", vol(shape)[: 48 + 96]
        yield from ((f"channels {number}", vol(channels=number)) for number in (2, 4, 6))
        yield from (
            (f"claims {number} channels", vol()[:20] + struct.pack("<i", number) + vol()[24:]) for number in (0, -1, 3)
        )
        yield from ((f"encoding {number}", vol(encoding=number)) for number in (0, 2, 3, 4, -1, 2**31 - 1))
        yield from ((f"version {number}", vol(version=number)) for number in (0, 2, 4, 255))
        yield from ((f"value {value}", vol(value=value)) for value in (np.nan, np.inf, -np.inf, 1e30))
        yield "another magic", vol(magic=b"VOX")
        yield "box upside down", vol()[:24] + struct.pack("<6f", 1, 1, 1, -1, -1, -1) + vol()[48:]
        yield "box nan", vol()[:24] + struct.pack("<6f", np.nan, 1, 1, 2, 2, 2) + vol()[48:]
    elif kind == "volume":
        for value in (np.nan, np.inf, 1e300):
            yield f"value {value}", volume_npz(density=npy(np.full((2, 3, 4), value)))
            yield f"box {value}", volume_npz(upper=npy(np.full(3, value)))
        for shape in ((2, 3), (2, 3, 5), (0, 3, 4), (), (2, 3, 4, 2)):
            yield f"density {shape}", volume_npz(density=npy(np.ones(shape, np.float32)))
            yield f"colour {shape}", volume_npz(color=npy(np.ones((*shape, 3), np.float32)))
        for name in ("densty", "sh", "semantics", "g", "truncation", "x" * 500):
            yield f"member {name[:20]}", volume_npz(**{name: npy(np.ones((2, 3, 4), np.float32))})
        for dtype in ("|O", "|S5", "<U9", "|V8", "<c16", "nonsense"):
            yield f"type {dtype}", volume_npz(density=npy_header("(2, 3, 4)", dtype, b"\0" * 384))
        yield "pickle", volume_npz(density=npy(np.array([{"a": 1}], object)))
        yield "lower alone", npz(density=npy(np.ones((2, 2, 2))), lower=npy(np.zeros(3)))
        yield "no extent", volume_npz(upper=npy(np.array([1.0, 0.0, 1.0])))
        yield "no grid", npz(lower=npy(np.zeros(3)), upper=npy(np.ones(3)))
        yield "shape of 2 ** 99", volume_npz(density=npy_header(f"({2**33}, {2**33}, {2**33})"))
    elif kind == "nrrd":
        for sizes in (
            "0 3 2",
            "-1 3 2",
            "4 3",
            "4 3 3",
            "2147483647 2147483647 2147483647",
            "a b c",
            "24",
            "4 3 2 1 1",
        ):
            yield f"sizes {sizes}", nrrd(sizes=sizes)
        for encoding in ("gzip", "bzip2", "ascii", "hex", "zrl", "../secret"):
            yield f"encoding {encoding} of nothing", nrrd(encoding, data=b"\1" * 96)
        for kind_ in ("block", "int64", "half", "float32", ""):
            yield f"type {kind_}", nrrd(kind=kind_)
        for line in (
            "data file: ../secret", "data file: LIST", "datafile: /etc/passwd", "line skip: 3", "byte skip: -1",
            "space directions: (1,1,0) (0,1,0) (0,0,1)\nspace dimension: 3", "space directions: (1,0) (0,1) (1,1)",
            "space dimension: 3\nspace directions: (nan,0,0) (0,1,0) (0,0,1)", "spacings: nan 1 inf",
            "space dimension: 3\nspace directions: (1,0,0) (1,0,0) (0,0,1)\nspace origin: (0,0)", "endian: middle",
            "space dimension: 3\nspace directions: (1e300,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,1e308)", "garbage",
            "space directions: none none none", "kinds: list list list",
        ):  # fmt: skip
            yield f"line {line[:60]!r}", nrrd(extra=line + "\n")
        for value in (np.nan, np.inf):
            yield f"value {value}", nrrd(data=np.full(24, value, np.float32).tobytes())
    elif kind == "volume_npy":
        for shape in ((2, 3), (), (0, 3, 4), (2, 3, 4, 2), (1,) * 9):
            yield f"shape {shape}", npy(np.ones(shape, np.float32))
        for value in (np.nan, np.inf, 1e300):
            yield f"value {value}", npy(np.full((2, 3, 4), value))
        for dtype in ("|O", "|S5", "<U9", "|V8", "<c16", "<M8[s]", "nonsense"):
            yield f"type {dtype}", npy_header("(2, 3, 4)", dtype, b"\0" * 384)
        for shape in ("(2, 3, 5)", f"({2**33}, 3, 4)", "(-2, 3, 4)", "(2, 3.0, 4)", "'a'", "(2, 3, 4", "None"):
            yield f"claims {shape}", npy_header(shape, "<f4", b"\0" * 96)
    elif kind == "llff":
        yield from ((f"{rows} rows", llff(rows)) for rows in (0, 2, 100))
        yield from ((f"type {dtype.__name__}", llff(dtype=dtype)) for dtype in (np.int64, np.complex64, bool))
        for column, what in (
            (0, "axis"),
            (3, "position"),
            (4, "height"),
            (9, "width"),
            (14, "focal length"),
            (16, "far"),
        ):
            for value in (np.nan, np.inf, -1.0, 0.0, 0.5, 1e300):
                yield f"{what} is {value}", llff(at=(column, value))
        for shape in ("(1, 16)", "(17,)", "(1, 17, 1)", f"({2**33}, 17)", "(-1, 17)"):
            yield f"claims {shape}", npy_header(shape, "<f8", b"\0" * 136)
        yield "pickle", npy(np.array([{"a": 1}], object))
    elif kind.startswith("colmap"):
        yield from _model_cases(kind)


def _model_cases(kind: str) -> Iterator[tuple[str, bytes]]:
    part = {"colmap_cameras": "cameras.bin", "colmap_images": "images.bin", "colmap_points": "points3D.bin"}.get(kind)
    place = ("cameras.bin", "images.bin", "points3D.bin").index(part) if part else 0
    if part:
        for count in (0, 2, 2**31, 2**32, 2**63):
            counts = [1, 1, 1]
            counts[place] = count
            yield f"{count} entries", model_binary(counts=counts)[part]
    if kind == "colmap_cameras":
        for model in (-1, 2, 5, 11, 2**31 - 1):
            yield f"model {model}", model_binary(model=model)[part]
        for size in ((0, 2), (2**63, 2), (2, 2**31), (2**40, 2**40)):
            yield f"size {size}", model_binary(size=size)[part]
        for numbers in ((np.nan, 3, 1, 1), (0, 3, 1, 1), (-3, 3, 1, 1), (3, 3, np.inf, 1), (1e300, 3, 1, 1)):
            yield f"numbers {numbers}", model_binary(numbers=numbers)[part]
    elif kind == "colmap_images":
        for name in (b"", b"../a.png", b"/etc/passwd", b"b.png", b"a\xff.png", b"a\nb", b"x" * 5000, b"~/a.png"):
            yield f"name {name[:12]!r}", model_binary(name=name)[part]
        for pose in (
            (0,) * 7,
            (np.nan, *POSE[1:]),
            (*POSE[:6], np.inf),
            (*POSE[:6], 1e300),
            (1e-200, 0, 0, 0, 0, 0, 0),
        ):
            yield f"pose {pose}", model_binary(pose=pose)[part]
        yield "unknown camera", model_binary(of=9)[part]
        yield from ((f"{count} marks", model_binary(marks=count)[part]) for count in (1, 3, 2**32, 2**63, 2**64 - 1))
    elif kind == "colmap_points":
        yield from ((f"track of {count}", model_binary(track=count)[part]) for count in (0, 2, 2**32, 2**64 - 1))
    elif kind == "colmap_text":
        for line in (
            "1 PINHOLE 2 2 3 3 1", "1 PINHOLE 2 2 3 3 1 1 1", "1 PINHOL 2 2 3 3 1 1", "a PINHOLE 2 2 3 3 1 1", "1", "",
            "1 PINHOLE -2 2 3 3 1 1", "1 PINHOLE 2 2 nan 3 1 1", "1 PINHOLE 2 2 3 1e400 1 1", "1 PINHOLE 2.5 2 3 3 1 1",
            "1 RADIAL 2 2 3 1 1 0.1 0", "1 OPENCV_FISHEYE 2 2 3 3 1 1 0 0 0 0", "1 PINHOLE 2 2 0 3 1 1",
            "99999999999999999999 PINHOLE 2 2 3 3 1 1", "1 PINHOLE 4 2 3 3 1 1",
        ):  # fmt: skip
            yield f"camera {line!r}", model_text(camera=line)["cameras.txt"]
    elif kind == "colmap_images_text":
        for name in ("../a.png", "/etc/passwd", "b.png", "", "x" * 5000, "~/a.png", "a.png extra", "C:\\a.png"):
            yield f"name {name[:12]!r}", model_text(name=name)["images.txt"]
        for pose in (
            (0,) * 7,
            ("nan", *POSE[1:]),
            (*POSE[:6], "inf"),
            (*POSE[:6], "1e400"),
            POSE[:6],
            ("a", *POSE[1:]),
        ):
            yield f"pose {pose}", model_text(pose=pose)["images.txt"]
        yield from ((f"camera {of}", model_text(of=of)["images.txt"]) for of in (9, -1, "a", 1.5, 2**70))
    elif kind == "colmap_points_text":
        good = "3 0.5 -0.5 1.5 255 128 0 0.7 7 0"
        for line in (
            good[:-4], "3 0.5 -0.5", good.replace("0.5 -", "nan -"), good.replace("1.5", "1e400"), "a" + good,
            good.replace("255", "256"), good.replace("128", "-1"), good.replace("255", "2.5"), good + " 7",
        ):  # fmt: skip
            yield f"point {line!r}", f"# points\n{line}\n".encode()


def bombs() -> Iterator[tuple[str, str, bytes]]:
    """(name, file, contents) of small files with huge claims or contents."""
    zeros = b"\0" * (80 << 20)
    yield "npz volume that inflates to 80 MB", "volume.npz", npz(density=npy_header("(256, 256, 320)", "<f4", zeros))
    yield "vol of 2 ** 93 cells", "a.vol", vol((2**31 - 1, 2**31 - 1, 2**31 - 1))
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    stream = packed.compress(zeros) + packed.flush()
    yield "nrrd that inflates to 80 MB", "a.nrrd", nrrd("gzip", "256 256 320", data=stream)
    yield "nrrd that inflates beyond its claim", "a.nrrd", nrrd("gzip", data=stream)
    yield "nrrd that claims 2 ** 60 values", "a.nrrd", nrrd(sizes="1048576 1048576 1048576")
    yield "npy volume of 2 ** 99 cells", "volume.npy", npy_header(f"({2**33}, {2**33}, {2**33})", "<f4")
    yield (
        "npy whose header claims 3 GB",
        "volume.npy",
        b"\x93NUMPY\2\0" + struct.pack("<I", 3 << 30) + npy_header("(2,)")[10:],
    )
    yield "poses_bounds of 2 ** 40 rows", "poses_bounds.npy", npy_header(f"({2**40}, 17)", "<f8")
    yield "points of 2 ** 63 entries", "points3D.bin", model_binary(counts=(1, 1, 2**63))["points3D.bin"]
