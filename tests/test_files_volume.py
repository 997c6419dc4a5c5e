"""Volume files: every format there and back, axes and boxes, limits, damage, and names that lead elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tidr.errors import FileError
from tidr.files.arrays import read_arrays, write_arrays
from tidr.files.colmap import read_colmap
from tidr.files.guard import Limits
from tidr.files.scene_file import load_scene
from tidr.files.volume import HEADER, WRITTEN, VolumeData, read_volume, write_volume

from .malformed.builders import npy, npz, png
from .malformed.data_sets import model_binary, nrrd, vol, volume_npz
from .scene_parts import TRIANGLE, write
from .test_scene_malformed import MISSING, OUTSIDE, opened

LOWER, UPPER = np.array([-1.0, -2.0, -3.0]), np.array([1.0, 0.5, 3.0])


def grid(*last: int, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(0).random((2, 3, 4, *last)).astype(dtype)


def needs(suffix: str) -> None:
    if suffix == ".nrrd":
        pytest.importorskip("nrrd", reason="the extra tidr[volumes] is not installed")


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("name", ["density", "color"])
def test_grids_come_back(suffix, name, tmp_path):
    needs(suffix)
    values = grid(*((3,) if name == "color" else ()))
    write_volume(tmp_path / f"a{suffix}", VolumeData({name: values}, LOWER, UPPER))
    back = read_volume(tmp_path / f"a{suffix}")
    assert list(back.grids) == [name]
    assert back.shape == (2, 3, 4)
    assert np.array_equal(back.grids[name], values)
    assert back.grids[name].dtype == np.float32
    if suffix == ".npy":
        assert back.lower is None
    else:
        np.testing.assert_allclose(back.lower, LOWER, atol=1e-12)
        np.testing.assert_allclose(back.upper, UPPER, atol=1e-12)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_an_npz_holds_everything(tmp_path):
    arrays = {"density": grid(dtype=np.float64), "sh": grid(9, 3), "albedo": np.ones(3, np.float32), "g": np.array(0.5)}
    write_volume(tmp_path / "a.npz", VolumeData(arrays, LOWER, UPPER))
    back = read_volume(tmp_path / "a.npz")
    assert all(np.array_equal(back.grids[name], array) for name, array in arrays.items())
    assert back.grids["density"].dtype == np.float64
    assert np.array_equal(back.lower, LOWER)  # type: ignore[arg-type]
    for suffix in (".npy", ".vol"):
        with pytest.raises(FileError, match=r"cannot hold density, sh, albedo, g: it takes one grid \(write an \.npz"):
            write_volume(tmp_path / f"a{suffix}", back)
    with pytest.raises(FileError, match="1 or 3 channels"):
        write_volume(tmp_path / "a.vol", VolumeData({"semantics": grid(5)}))
    with pytest.raises(FileError, match=r"unknown kind of volume '\.vdb'"):
        write_volume(tmp_path / "a.vdb", back)
    with pytest.raises(FileError, match=r"unknown kind of volume '\.vdb'"):
        read_volume(tmp_path / "a.vdb")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, ">f4", ">f8", bool])
def test_other_numbers_become_floats(dtype, tmp_path):
    values = (grid() * 200).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    back = read_volume(tmp_path / "a.npy", unnamed="occupancy").grids["occupancy"]
    assert back.dtype in (np.float32, np.float64)
    assert back.dtype.isnative
    assert np.array_equal(back, values.astype(np.float64))


def test_arrays_without_a_name(tmp_path):
    np.savez(tmp_path / "a.npz", grid())
    assert list(read_volume(tmp_path / "a.npz", unnamed="sdf").grids) == ["sdf"]
    np.savez(tmp_path / "a.npz", grid(3))
    assert list(read_volume(tmp_path / "a.npz").grids) == ["color"]
    np.save(tmp_path / "a.npy", np.asfortranarray(grid()))
    assert np.array_equal(read_volume(tmp_path / "a.npy").grids["density"], grid())


def test_the_bytes_of_a_vol(tmp_path):
    """Version 3 of Mitsuba's format: x runs fastest, channels faster still."""
    write_volume(tmp_path / "a.vol", VolumeData({"color": grid(3)}, LOWER, UPPER))
    data = (tmp_path / "a.vol").read_bytes()
    assert data[:4] == b"VOL\3"
    assert HEADER.unpack_from(data)[2:7] == (1, 4, 3, 2, 3)
    assert HEADER.unpack_from(data)[7:] == (-1, -2, -3, 1, 0.5, 3)
    values = np.frombuffer(data, "<f4", offset=48)
    z, y, x, c = 1, 2, 3, 1
    assert values[((z * 3 + y) * 4 + x) * 3 + c] == grid(3)[z, y, x, c]


def place(text: str, sizes: str = "4 3 2", data: np.ndarray | None = None) -> bytes:
    body = np.arange(24, dtype=np.float32) if data is None else data
    return nrrd(sizes=sizes, extra="space dimension: 3\n" + text + "\n", data=body.tobytes())


def test_nrrd_axes_are_turned_to_ours(tmp_path):
    pytest.importorskip("nrrd", reason="the extra tidr[volumes] is not installed")
    path, plain = tmp_path / "a.nrrd", np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path.write_bytes(nrrd(data=plain.tobytes()))
    back = read_volume(path)
    assert np.array_equal(back.grids["density"], plain)
    assert back.lower is None
    path.write_bytes(place("space directions: (0.5,0,0) (0,1,0) (0,0,2)\nspace origin: (1,2,3)"))
    back = read_volume(path)
    assert np.array_equal(back.grids["density"], plain)
    np.testing.assert_allclose(back.lower, (0.75, 1.5, 2))
    np.testing.assert_allclose(back.upper, (2.75, 4.5, 6))
    # The file's fastest axis goes down along z, its second along x, its slowest along y.
    path.write_bytes(place("space directions: (0,0,-1) (2,0,0) (0,1,0)\nspace origin: (0,0,0)"))
    back = read_volume(path)
    assert back.shape == (4, 2, 3)
    for k in range(4):
        for j in range(2):
            for i in range(3):
                assert back.grids["density"][k, j, i] == plain[j, i, 3 - k]
    np.testing.assert_allclose(back.lower, (-1, -0.5, -3.5))
    np.testing.assert_allclose(back.upper, (5, 1.5, 0.5))
    path.write_bytes(nrrd(extra="spacings: 0.5 1 2\n"))
    np.testing.assert_allclose(read_volume(path).upper, (1.75, 2.5, 3))
    colours = np.arange(24, dtype=np.float32)
    path.write_bytes(place("space directions: none (1,0,0) (0,1,0) (0,0,1)", "3 4 2 1", colours))
    assert np.array_equal(read_volume(path).grids["color"], colours.reshape(1, 2, 4, 3))
    path.write_bytes(place("space directions: (1,0,0) (0,1,0) (0,0,1) none", "4 2 1 3", colours))
    assert np.array_equal(read_volume(path).grids["color"], np.moveaxis(colours.reshape(3, 1, 2, 4), 0, -1))
    for text, expected in (
        ("space directions: (1,1,0) (0,1,0) (0,0,1)", "not along the axes of the world"),
        ("data file: a.raw", "keeps its data in another file"),
        ("byte skip: 4", "expected 0"),
    ):
        path.write_bytes(place(text))
        with pytest.raises(FileError, match=expected):
            read_volume(path)


def test_nrrd_without_its_library_names_the_extra(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(nrrd())
    code = "import sys; sys.modules['nrrd'] = None\nfrom tidr.files.volume import read_volume\nread_volume(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "a.nrrd")]
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "NRRD needs pynrrd (pip install 'tidr[volumes]')" in ended.stderr


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (vol(version=2), "a.vol", "version 2 and encoding 1, expected version 3"),
        (vol(encoding=3), "a.vol", "version 3 and encoding 3"),
        (vol(channels=2), "a.vol", "2 channels, expected 1 or 3"),
        (vol()[:-4], "a.vol", "is it cut off?"),
        (vol() + b"1234", "a.vol", "its header asks for 96"),
        (vol()[:30], "a.vol", "its header needs 48"),
        (vol(value=np.nan), "a.vol", r"density\[0, 0, 0\]: is nan"),
        (volume_npz(densty=npy(grid())), "a.npz", "densty: unknown array .did you mean 'density'"),
        (volume_npz(color=npy(grid())), "a.npz", r"color: has shape \(2, 3, 4\), expected \[D, H, W, 3\]"),
        (
            volume_npz(color=npy(np.ones((2, 2, 4, 3)))),
            "a.npz",
            r"color: has \(2, 2, 4\) cells, other grids \(2, 3, 4\)",
        ),
        (volume_npz(upper=npy(-np.ones(3))), "a.npz", "is not below upper"),
        (npz(density=npy(grid()), lower=npy(LOWER)), "a.npz", "has lower alone"),
        (npz(g=npy(np.array(0.5))), "a.npz", "holds no grid, only g"),
        (npy(np.array([{"a": 1}], object)), "a.npy", "holds values of type object"),
        (npy(grid(3, 2, 2)), "a.npy", "expected"),
    ],
)
def test_faults_name_file_and_place(data, name, expected, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FileError, match=expected) as caught:
        read_volume(tmp_path / name)
    assert str(tmp_path / name) in caught.value.where


def test_limits_hold(tmp_path):
    for suffix in WRITTEN[:3]:
        write_volume(tmp_path / f"a{suffix}", VolumeData({"density": grid()}))
        with pytest.raises(FileError, match=r"claims .* the limit is 23 \(raise Limits"):
            read_volume(tmp_path / f"a{suffix}", Limits(voxels=23))


def test_what_we_write_is_no_zip_bomb_to_us(tmp_path):
    write_arrays(tmp_path / "a.npz", density=np.zeros((300, 300, 200), np.float32))
    assert read_arrays(tmp_path / "a.npz")["density"].shape == (300, 300, 200)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_volume(tmp_path / "a.npz", VolumeData({"density": grid()}))
    before = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(FileError, match="is nan"):
        write_volume(tmp_path / "a.npz", VolumeData({"density": grid() * np.nan}))
    assert (tmp_path / "a.npz").read_bytes() == before
    with pytest.raises(FileError, match="cannot be written"):
        write_volume(tmp_path / "none" / "a.npz", VolumeData({"density": grid()}))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder with links and pipes that lead out of it to files called secret."""
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    os.mkfifo(home / "pipe")
    (home / "linked").symlink_to(tmp_path)
    (home / "loop").symlink_to(home / "loop")
    for suffix in ("", ".npz", ".png"):
        (tmp_path / f"secret{suffix}").write_bytes(
            {".npz": volume_npz(), ".png": png(2, 2)}.get(suffix, TRIANGLE.encode())
        )
        (home / f"link{suffix}").symlink_to(tmp_path / f"secret{suffix}")
    return home


KEYS = {
    "volume": "volume = {}",
    "volume file": "volume = {{ file = {} }}",
    "voxels": "voxels = {}",
    "tetrahedra": "tetrahedra = {{ file = {} }}",
    "field": 'field = {{ type = "hash", file = {} }}',
}


@pytest.mark.parametrize("key", KEYS)
def test_no_name_of_a_grid_leads_outside(trap, tmp_path, key, f32):
    for spelling in OUTSIDE + MISSING:
        for name in (spelling, spelling + ".npz"):
            spelled = name.format(tmp=tmp_path)
            spelled = spelled if "\\u" in spelled or "\\n" in spelled else spelled.replace("\\", "\\\\")
            path = write(trap, "[nodes.it]\n" + KEYS[key].format(f'"{spelled}"'))
            opened.clear()
            with pytest.raises(FileError):
                load_scene(path)
            assert not [item for item in opened if "secret" in item or "pipe" in item or "/dev/zero" in item]


def test_no_picture_of_a_model_leads_outside(trap, tmp_path):
    home = trap / "images"
    home.mkdir()
    for item in ("linked", "loop", "link", "link.png", "pipe", "sub"):
        (trap / item).rename(home / item)
    for spelling in OUTSIDE + MISSING:
        for name in (spelling, spelling + ".png"):
            spelled = name.format(tmp=tmp_path).encode().decode("unicode_escape" if "\\u" in name else "utf-8")
            for file, data in model_binary(name=spelled.encode("utf-8", "replace")).items():
                (trap / file).write_bytes(data)
            opened.clear()
            with pytest.raises(FileError):
                read_colmap(trap / "cameras.bin")
            assert not [item for item in opened if "secret" in item or "pipe" in item or "/dev/zero" in item]
