"""The guard: contained names, typed values, trees, number files, and files that appear whole or not at all."""

import json
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tidr.errors import FileError
from tidr.files.arrays import read_arrays, write_arrays
from tidr.files.cameras import read_transforms
from tidr.files.guard import (
    Limits,
    MeshWarning,
    check_file,
    check_mesh,
    check_tree,
    integer,
    number,
    numbers,
    quaternion,
    read_json,
    read_text,
    resolve,
)
from tidr.files.mesh import read_mesh
from tidr.files.write import replacing, write_bytes, write_files
from tidr.scene.mesh_data import MeshData

from .malformed.builders import gltf_buffer, gltf_json, npy_header, npz, png, transforms_json

# {s} stands for a file that exists outside of the scene's folder; {o} is the absolute folder that it lies in.
ESCAPES = (
    "../{s}",
    "..\\{s}",
    "./../{s}",
    ".//..//{s}",
    "sub/../../{s}",
    "sub\\..\\..\\{s}",
    "sub/./../../{s}",
    " ../{s}",
    "../../{s}",
    "../outside/{s}",
    "../scene/../{s}",
    ".. /{s}",
    "{o}/{s}",
    "/{o}/{s}",
    "/{s}",
    "file://{o}/{s}",
    "FILE:{o}/{s}",
    "http://localhost/{s}",
    "https://localhost/{s}",
    "ftp:{s}",
    "C:\\{s}",
    "c:/{s}",
    "c:{s}",
    "\\\\localhost\\share\\{s}",
    "//localhost/share/{s}",
    "~/{s}",
    "~root/{s}",
    "link/{s}",
    "link_{s}",
    "loop_{s}",
    "fifo_{s}",
    "/dev/zero",
    "/proc/self/environ",
    "sub",
    ".",
    "..",
    "sub/..",
    "%2e%2e/{s}",
    "..%2f{s}",
    "%2e%2e%2f{s}",
    "....//{s}",
    "..\u2215{s}",
    "a\x01{s}",
)


@pytest.fixture
def scene(tmp_path) -> Path:
    """A scene folder with links that lead out of it, beside files that nobody inside may name."""
    folder = tmp_path / "scene"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    secrets = {"secret.mtl": b"newmtl m\nKd 0.125 0.25 0.5\n", "secret.png": png(2, 2), "secret.bin": gltf_buffer()}
    for name, data in secrets.items():
        for home in (tmp_path, tmp_path / "outside"):
            (home / name).write_bytes(data)
        (folder / f"link_{name}").symlink_to(tmp_path / name)
        (folder / f"loop_{name}").symlink_to(folder / f"loop_{name}")
        os.mkfifo(folder / f"fifo_{name}")
    (folder / "link").symlink_to(tmp_path / "outside")
    return folder


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """Every path whose bytes are read."""
    paths: list[Path] = []
    genuine = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (paths.append(path), genuine(path))[1])
    return paths


def mtllib(folder: Path, name: str) -> Path:
    path = folder / "a.obj"
    path.write_text(f"mtllib {name}\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n")
    return path


def map_kd(folder: Path, name: str) -> Path:
    (folder / "a.mtl").write_text(f"newmtl m\nmap_Kd {name}\n")
    return mtllib(folder, "a.mtl")


def buffer_uri(folder: Path, name: str) -> Path:
    body = gltf_json(embed=False)
    body["buffers"][0]["uri"] = name
    (folder / "a.gltf").write_text(json.dumps(body))
    return folder / "a.gltf"


def image_uri(folder: Path, name: str) -> Path:
    body = gltf_json()
    pbr = {"baseColorTexture": {"index": 0}}
    body |= {"images": [{"uri": name}], "textures": [{"source": 0}], "materials": [{"pbrMetallicRoughness": pbr}]}
    body["meshes"][0]["primitives"][0]["material"] = 0
    (folder / "a.gltf").write_text(json.dumps(body))
    return folder / "a.gltf"


def file_path(folder: Path, name: str) -> Path:
    body = transforms_json()
    body["frames"][0]["file_path"] = name
    (folder / "transforms.json").write_text(json.dumps(body))
    return folder / "transforms.json"


REFERRERS = {mtllib: "mtl", map_kd: "png", buffer_uri: "bin", image_uri: "png", file_path: "png"}


@pytest.mark.parametrize("spelling", ESCAPES)
@pytest.mark.parametrize("refer", REFERRERS, ids=lambda refer: refer.__name__)
def test_names_in_files_never_lead_outside(refer, spelling, scene, opened):
    name = spelling.format(s=f"secret.{REFERRERS[refer]}", o=scene.parent / "outside")
    path = refer(scene, name)
    if refer is mtllib:
        # An .mtl that is not there, under a strange but contained name, is only warned about.
        with suppress(FileError), warnings.catch_warnings():
            warnings.simplefilter("ignore", MeshWarning)
            assert read_mesh(path).materials[0].values == {}
    else:
        with pytest.raises(FileError) as caught:
            read_transforms(path) if path.suffix == ".json" else read_mesh(path)
        assert str(path.parent) in caught.value.where
    assert all(path.resolve().is_relative_to(scene.resolve()) for path in opened)


def test_names_inside_the_folder_are_found(scene):
    (scene / "sub" / "a b.png").write_bytes(png(2, 2))
    for name in ("sub/a b.png", "./sub/a b.png", "sub\\a b.png", "sub//a b.png"):
        assert resolve(scene, name, "here") == (scene / "sub" / "a b.png").resolve()
    with pytest.raises(FileError, match="missing"):
        resolve(scene, "b.png", "here")
    assert resolve(scene, "b.png", "here", must_exist=False) == (scene / "b.png").resolve()


def test_a_user_may_open_any_regular_file(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        check_file(tmp_path / "none")
    with pytest.raises(FileError, match="no regular file"):
        check_file(tmp_path)
    with pytest.raises(FileError, match="no regular file"):
        check_file("/dev/zero")
    (tmp_path / "empty").touch()
    with pytest.raises(FileError, match="is empty"):
        check_file(tmp_path / "empty")
    (tmp_path / "full").write_bytes(b"12345")
    with pytest.raises(FileError, match="more than the limit"):
        check_file(tmp_path / "full", Limits(bytes=4))
    with pytest.raises(FileError, match=r"does not exist|cannot be opened"):
        check_file("a\0b")


def test_text_is_read_with_any_line_end_and_refused_with_nul(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\xff")
    assert read_text(path) == "a\nb\nc\ufffd"
    path.write_bytes(b"a\nb\0")
    with pytest.raises(FileError, match=r"a\.txt:2: holds a NUL"):
        read_text(path)
    path.write_bytes(b"a\n" + b"b" * 100)
    with pytest.raises(FileError, match=r"a\.txt:2: line has 100"):
        read_text(path, Limits(text_line=50))


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e400", "[" * 100_000, "{", "[1]", "9" * 5000, '"\ud800"'])
def test_json_is_finite_and_an_object(text):
    with pytest.raises(FileError):
        read_json(f'{{"a": {text}}}'.encode("utf-8", "surrogatepass") if text != "[1]" else b"[1]", "a.json")


def test_values_are_typed_and_bounded():
    assert number(3, "x") == 3.0
    assert integer(3.0, "x") == 3
    assert numbers([1, 2], "x", 2).tolist() == [1, 2]
    for value in (True, "1", None, float("nan"), float("inf"), 1e300, 10**400):
        with pytest.raises(FileError):
            number(value, "x")
    for value in (True, 1.5, -1, "1", None, 2**70):
        with pytest.raises(FileError):
            integer(value, "x")
    for value in ([1], "12", {"a": 1}, [1, "2"], None):
        with pytest.raises(FileError):
            numbers(value, "x", 2)
    assert np.allclose(quaternion(np.array([2.0, 0, 0, 0]), "x"), [1, 0, 0, 0])
    with pytest.raises(FileError, match="length 0"):
        quaternion(np.zeros(4), "x")


def test_trees_are_ordered_and_cycles_refused():
    assert check_tree("s", {"c": "b", "b": "a", "a": None}) == ["a", "b", "c"]
    with pytest.raises(FileError, match="own ancestor"):
        check_tree("s", {"a": "b", "b": "a", "c": None})
    with pytest.raises(FileError, match="unknown parent"):
        check_tree("s", {"a": "z"})
    with pytest.raises(FileError, match="deeper than 64"):
        check_tree("s", {k: k - 1 if k else None for k in range(100)})
    with pytest.raises(FileError, match="limit is 10"):
        check_tree("s", dict.fromkeys(range(11)), Limits(nodes=10))


def test_check_mesh_drops_degenerate_faces_with_one_warning():
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0]]
    faces = np.array([[0, 1, 2], [0, 1, 1], [0, 1, 3]])
    uv_faces = np.array([[0, 1, 2], [2, 1, 0], [1, 1, 1]])
    data = MeshData(vertices, faces, uvs=[[0, 0], [1, 0], [0, 1]], uv_faces=uv_faces)
    with pytest.warns(MeshWarning, match="2 degenerate faces dropped of 3") as caught:
        checked = check_mesh("a.obj", data)
    assert len(caught) == 1
    assert checked.faces.tolist() == [[0, 1, 2]]
    assert checked.uv_faces.tolist() == [[0, 1, 2]]
    with pytest.raises(FileError, match="all 1 faces are degenerate"):
        check_mesh("a.obj", MeshData(vertices, faces[1:2]))


def test_check_mesh_names_what_is_wrong():
    vertices = np.eye(3)
    good = np.array([[0, 1, 2]])
    with pytest.raises(FileError, match="face 1: vertex indices"):
        check_mesh("a.obj", MeshData(vertices, np.array([[0, 1, 2], [0, 1, 3]])))
    with pytest.raises(FileError, match="vertex 2"):
        check_mesh("a.obj", MeshData(np.array([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]]), good))
    with pytest.raises(FileError, match="uv indices"):
        check_mesh("a.obj", MeshData(vertices, good, uvs=np.zeros((2, 2)), uv_faces=good))
    with pytest.raises(FileError, match="holds no triangle"):
        check_mesh("a.obj", MeshData(vertices, np.zeros((0, 3), int)))
    assert len(check_mesh("a", MeshData(vertices, np.zeros((0, 3), int)), allow_empty=True).faces) == 0
    with pytest.raises(FileError, match="limit is 2"):
        check_mesh("a.obj", MeshData(vertices, good), Limits(vertices=2))
    with pytest.warns(MeshWarning, match="normals left out"):
        assert check_mesh("a", MeshData(vertices, good, normals=np.zeros((3, 3)))).normals is None
    with pytest.raises(FileError, match="material indices"):
        check_mesh("a", MeshData(vertices, good, face_materials=np.array([1])))


def test_number_files_round_trip(tmp_path):
    image, mask = np.arange(6.0).reshape(2, 3), np.array([True, False])
    write_arrays(tmp_path / "a.npz", image=image, mask=mask)
    found = read_arrays(tmp_path / "a.npz")
    assert sorted(found) == ["image", "mask"]
    assert (found["image"] == image).all()
    assert found["mask"].dtype == bool
    np.save(tmp_path / "a.npy", np.asfortranarray(image))
    assert (read_arrays(tmp_path / "a.npy")[""] == image).all()


def test_number_files_are_held_against_their_bytes(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(npy_header("(4, 4)", data=b"\0" * 65))
    with pytest.raises(FileError, match="more"):
        read_arrays(path)
    path.write_bytes(npz(a=npy_header("(800,)", data=b"\0" * 3200)))
    assert read_arrays(path)["a"].shape == (800,)
    with pytest.raises(FileError, match="unpacks to"):
        read_arrays(path, Limits(bytes=path.stat().st_size))


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def interrupted(error: BaseException) -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(FileError, match="No space"):
        interrupted(OSError(28, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        interrupted(KeyboardInterrupt())
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    with pytest.raises(FileError, match="Read-only"):
        write_files({tmp_path / "b.txt": b"new", path: b"new"})
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(FileError, match="cannot be written"):
        write_bytes(tmp_path / "none" / "a.txt", b"")


def test_written_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_bytes(tmp_path / "ours", b"1")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_importing_the_readers_is_cheap():
    code = (
        "import sys, tidr.files.mesh, tidr.files.image, tidr.files.cameras, tidr.files.guard\n"
        "print([name for name in ('taichi', 'trimesh', 'PIL', 'OpenEXR') if name in sys.modules])"
    )
    paths = os.pathsep.join([str(Path(sys.modules["tidr"].__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
