"""Photon maps in files: whatever is wrong with one meets one error that names the file and the place; R1, R4, R5."""

import errno
import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidr.errors import FileError
from tidr.files import write as writing
from tidr.files.guard import Limits
from tidr.renderers.photon_grid import Photons
from tidr.renderers.photon_map import PhotonMap

from .conftest import start
from .malformed.builders import npy_header, npz

COUNT = 7


def arrays(count=COUNT) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    flights, normals = (rng.normal(size=(count, 3)) for _ in range(2))
    flights, normals = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9) for v in (flights, normals))
    return {
        "positions": rng.normal(size=(count, 3)), "directions": flights, "powers": rng.uniform(0, 1, (count, 3)),
        "normals": normals, "caustic": (np.arange(count) % 2).astype(np.uint8), "emitted": np.array(50),
    }  # fmt: skip


def photon_map(count=COUNT) -> PhotonMap:
    held = arrays(count)
    names = ("positions", "directions", "powers", "normals", "caustic")
    return PhotonMap(Photons.of(*(held[name] for name in names)), count, 50)


def written(path: Path, **changes) -> Path:
    held = {name: array for name, array in (arrays() | changes).items() if array is not None}
    np.savez(path, **held)
    return path


def refused(path: Path, place: str = "") -> None:
    """One FileError, that names the file and, where one is given, the array."""
    with pytest.raises(FileError) as caught:
        PhotonMap.load(path)
    assert str(path) in caught.value.where
    assert place in caught.value.where
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [COUNT, 1, 0])
def test_what_is_saved_is_read_again(backend, tmp_path, count):
    kept = photon_map(count)
    kept.save(tmp_path / "photons.npz")
    again = PhotonMap.load(tmp_path / "photons.npz")
    assert (again.count, again.emitted) == (count, 50)
    for name, array in kept.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, err_msg=name)


def test_a_map_of_the_other_precision_is_read(tmp_path):
    start("cpu", 64)
    photon_map().save(tmp_path / "photons.npz")
    start("cpu", 32)
    for name, array in PhotonMap.load(tmp_path / "photons.npz").arrays().items():
        np.testing.assert_allclose(array, arrays()[name], rtol=1e-6, err_msg=name)


NOT_A_NUMBER = np.full((COUNT, 3), np.nan)
WRONG = {
    "positions": (NOT_A_NUMBER, np.full((COUNT, 3), np.inf), np.full((COUNT, 3), 1e19), np.zeros((COUNT, 2)),
                  np.zeros(3), np.zeros(()), np.zeros((COUNT, 3), complex),
                  np.full((COUNT, 3), np.iinfo(np.int64).min)),
    "directions": (NOT_A_NUMBER, np.zeros((COUNT, 3)), np.ones((COUNT, 3)), np.zeros((COUNT + 1, 3)), None),
    "powers": (NOT_A_NUMBER, -np.ones((COUNT, 3)), np.full((COUNT, 3), 1e300), np.ones(COUNT), None),
    "normals": (NOT_A_NUMBER, np.zeros((COUNT, 3)), np.ones((3, COUNT)), None),
    "caustic": (np.full(COUNT, 2), np.full(COUNT, np.nan), np.zeros((COUNT, 1)), np.array(0), None),
    "emitted": (np.array(0), np.array(-3), np.array([5, 5]), np.array(np.nan), np.array(np.inf), np.array(2.5),
                np.array(1e300), None),
    "colour": (np.zeros(3),),
    "../positions": (np.zeros((COUNT, 3)),),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "turn"), [(name, turn) for name, cases in WRONG.items() for turn in range(len(cases))]
)
def test_a_wrong_array_is_named(f64, tmp_path, name, turn):
    refused(written(tmp_path / "photons.npz", **{name: WRONG[name][turn]}), name)


def test_what_is_no_map_is_refused(f64, tmp_path):
    path = tmp_path / "photons.npz"
    refused(path)
    refused(tmp_path)
    for data in (b"", b"\0", b"PK\3\4", b"positions", os.urandom(1000), npz(), npz(positions=b"1 2 3")):
        path.write_bytes(data)
        refused(path)
    np.save(tmp_path / "photons.npy", np.zeros((3, 3)))
    refused(tmp_path / "photons.npy")
    np.savez(path, **(arrays() | {"positions": np.array([[object()] * 3])}))
    refused(path, "positions")
    os.mkfifo(tmp_path / "pipe.npz")
    refused(tmp_path / "pipe.npz")


def test_claims_beyond_the_bytes_are_refused_before_anything_is_allocated(f64, tmp_path):
    path = tmp_path / "photons.npz"
    for shape in ("(1000000000, 3)", "(4611686018427387904, 3)", "(-1, 3)"):
        path.write_bytes(npz(positions=npy_header(shape, data=b"\0" * 96)))
        refused(path, "positions")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("positions.npy", npy_header("(25000000, 3)", data=b"\0" * (300 << 20)))
    path.write_bytes(archive.getvalue())
    with pytest.raises(FileError, match=re.escape(str(path))):
        PhotonMap.load(path)
    photon_map().save(path)
    with pytest.raises(FileError, match="limit"):
        PhotonMap.load(path, Limits(bytes=64))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    start("cpu", 64)
    path = tmp_path_factory.mktemp("whole") / "photons.npz"
    photon_map().save(path)
    return path.read_bytes()


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_a_map_or_an_error(f64, tmp_path, whole, data):
    """Cut off, bytes changed, a part twice or left out: no other exception, and no map with numbers out of range."""
    damaged, size = bytearray(whole), len(whole)
    place = data.draw(st.integers(0, size - 1))
    match data.draw(st.sampled_from(["cut", "change", "leave out", "twice"])):
        case "cut":
            del damaged[place:]
        case "change":
            for _ in range(data.draw(st.integers(1, 8))):
                damaged[data.draw(st.integers(0, size - 1))] = data.draw(st.integers(0, 255))
        case "leave out":
            del damaged[place : place + data.draw(st.integers(1, 40))]
        case "twice":
            damaged[place:place] = damaged[place : place + data.draw(st.integers(1, 40))]
    path = tmp_path / "damaged.npz"
    path.write_bytes(damaged)
    try:
        loaded = PhotonMap.load(path)
    except FileError:
        refused(path)
        return
    for name, array in loaded.arrays().items():
        assert np.isfinite(array).all(), name
        assert len(array) == loaded.count
    assert loaded.emitted >= 1


def test_a_changed_number_does_not_go_unseen(f64, tmp_path, whole):
    """The zip's checksums know it."""
    for place in range(60, len(whole) - 200, 97):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path = tmp_path / "damaged.npz"
        path.write_bytes(damaged)
        try:
            again = PhotonMap.load(path)
        except FileError:
            continue
        found = again.arrays() | {"emitted": again.emitted}
        for name, array in arrays().items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_name_that_cannot_be_written_leaves_everything_as_it_was(f64, tmp_path, monkeypatch):
    path = tmp_path / "photons.npz"
    photon_map().save(path)
    before = path.read_bytes()
    with pytest.raises(FileError, match=r"photons\.txt.*\.npz"):
        photon_map().save(tmp_path / "photons.txt")
    with pytest.raises(FileError, match=re.escape(str(tmp_path / "none" / "photons.npz"))):
        photon_map().save(tmp_path / "none" / "photons.npz")
    for step, number in (("mkstemp", errno.EROFS), ("replace", errno.EACCES), ("fsync", errno.ENOSPC)):

        def fails(*arguments, number=number, **options):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(writing.tempfile if step == "mkstemp" else writing.os, step, fails)
            with pytest.raises(FileError, match=os.strerror(number)) as caught:
                photon_map(3).save(path)
        assert str(path) in caught.value.where
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["photons.npz"]
