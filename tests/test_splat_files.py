"""Gaussians and point clouds in files: what was written comes back, and what other programs write is understood."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tidr.errors import FileError
from tidr.files.guard import Limits
from tidr.files.points import PointData, read_points, write_points
from tidr.files.splats import SplatData, read_splats, write_splats
from tidr.files.srgb import srgb_to_linear

from .malformed.builders import SPLAT_NAMES, points, splats

ASSETS = Path(__file__).parents[2] / "shared" / "assets"
CHANNELS = {"means": (3,), "log_scales": (3,), "rotations": (4,), "opacity_logits": (1,), "sh_dc": (3,)}
numbers = st.floats(-(2.0**59), 2.0**59, width=32)


def cloud(count: int = 5, degree: int = 2, seed: int = 0, dtype=np.float32, encoding: str = "srgb") -> SplatData:
    rng = np.random.default_rng(seed)
    rest = rng.normal(size=(count, (degree + 1) ** 2 - 1, 3)).astype(dtype) if degree else None
    values = {name: rng.normal(size=(count, *shape)).astype(dtype) for name, shape in CHANNELS.items()}
    return SplatData(**values, sh_rest=rest, encoding=encoding)


def equal(one: SplatData | PointData, other: SplatData | PointData) -> None:
    """Assert the same bits of the same type."""
    left, right = vars(one), vars(other)
    assert left.keys() == right.keys()
    for name, array in left.items():
        if isinstance(array, str):
            assert array == right[name], name
            continue
        assert (array is None) == (right[name] is None), name
        if array is not None:
            assert array.dtype == right[name].dtype, name
            assert np.array_equal(array, right[name]), name


@pytest.mark.row(160)
@pytest.mark.parametrize("degree", range(4))
def test_written_gaussians_come_back_to_the_last_bit(tmp_path, degree):
    data = cloud(degree=degree)
    write_splats(tmp_path / "a.ply", data)
    equal(read_splats(tmp_path / "a.ply"), data)


@pytest.mark.row(160)
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), count=st.integers(1, 4), degree=st.integers(0, 3))
def test_any_finite_numbers_come_back(tmp_path, data, count, degree):
    def drawn(*shape: int) -> np.ndarray:
        return data.draw(arrays(np.float32, (count, *shape), elements=numbers))

    values = {name: drawn(*shape) for name, shape in CHANNELS.items()}
    values["rotations"][:, 0] = 1
    rest = drawn((degree + 1) ** 2 - 1, 3) if degree else None
    wanted = SplatData(**values, sh_rest=rest, encoding=data.draw(st.sampled_from(["linear", "srgb"])))
    write_splats(tmp_path / "a.ply", wanted)
    equal(read_splats(tmp_path / "a.ply"), wanted)


@pytest.mark.row(160)
def test_the_layout_is_the_published_one(tmp_path):
    data = cloud(count=2, degree=1)
    assert data.sh_rest is not None
    write_splats(tmp_path / "a.ply", data)
    head, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    lines = head.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 2"]
    assert lines[3:] == [f"property float {name}" for name in SPLAT_NAMES]
    row = dict(zip(SPLAT_NAMES, np.frombuffer(body, "<f4").reshape(2, -1)[1], strict=True))
    assert [row["x"], row["y"], row["z"]] == data.means[1].tolist()
    assert [row["nx"], row["ny"], row["nz"]] == [0, 0, 0]
    assert [row[f"f_dc_{k}"] for k in range(3)] == data.sh_dc[1].tolist()
    # All coefficients of red, then of green, then of blue.
    assert [row[f"f_rest_{k}"] for k in range(9)] == data.sh_rest[1].T.ravel().tolist()
    assert row["opacity"] == data.opacity_logits[1, 0]
    assert [row[f"scale_{k}"] for k in range(3)] == data.log_scales[1].tolist()
    assert [row[f"rot_{k}"] for k in range(4)] == data.rotations[1].tolist()


def test_a_comment_says_that_colours_are_linear(tmp_path):
    write_splats(tmp_path / "a.ply", cloud(encoding="linear"))
    assert b"\ncomment colors are linear\n" in (tmp_path / "a.ply").read_bytes()
    assert read_splats(tmp_path / "a.ply").encoding == "linear"
    assert len(trimesh.load(tmp_path / "a.ply").vertices) == 5  # type: ignore[attr-defined]


@pytest.mark.row(160)
def test_another_reader_finds_the_numbers_under_their_names(tmp_path):
    data = cloud(degree=3)
    write_splats(tmp_path / "a.ply", data)
    table = trimesh.load(tmp_path / "a.ply").metadata["_ply_raw"]["vertex"]["data"]  # type: ignore[attr-defined]

    def named(start: str, count: int) -> np.ndarray:
        return np.stack([table[f"{start}_{k}"].ravel() for k in range(count)], 1)

    assert data.sh_rest is not None
    assert np.array_equal(named("f_rest", 45), data.sh_rest.transpose(0, 2, 1).reshape(-1, 45))
    for start, values in {"f_dc": data.sh_dc, "scale": data.log_scales, "rot": data.rotations}.items():
        assert np.array_equal(named(start, values.shape[1]), values), start


@pytest.mark.row(160)
def test_a_file_that_was_read_is_written_with_the_same_bytes(tmp_path):
    for number, degree in enumerate((0, 3)):
        write_splats(tmp_path / "a.ply", cloud(degree=degree, seed=number))
        write_splats(tmp_path / "b.ply", read_splats(tmp_path / "a.ply"))
        assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_a_file_of_another_program_is_written_with_the_same_bytes(tmp_path):
    path = ASSETS / "gaussians" / "points.ply"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    data = read_splats(path)
    assert data.means.shape == (5000, 3)
    write_splats(tmp_path / "a.ply", data)
    assert (tmp_path / "a.ply").read_bytes() == path.read_bytes()


@pytest.mark.row(160)
@pytest.mark.parametrize("form", ["ascii", "binary_big_endian", "double", "shuffled", "extra", "no normals", "crlf"])
def test_variants_of_other_programs_are_read(tmp_path, form):
    data = cloud(count=4, degree=1)
    write_splats(tmp_path / "a.ply", data)
    table = np.frombuffer((tmp_path / "a.ply").read_bytes().split(b"end_header\n")[1], "<f4").reshape(4, -1)
    names, word, order = list(SPLAT_NAMES), "float", "binary_little_endian"
    if form == "shuffled":
        turn = np.random.default_rng(0).permutation(len(names))
        names, table = [names[k] for k in turn], table[:, turn]
    elif form == "extra":
        names, table = ["quality", *names, "red"], np.pad(table, ((0, 0), (1, 1)))
    elif form == "no normals":
        names, table = names[:3] + names[6:], np.delete(table, [3, 4, 5], axis=1)
    elif form == "double":
        word, table = "double", table.astype("<f8") + 1e-12
    elif form in ("ascii", "binary_big_endian"):
        order = form
    head = ["ply", f"format {order} 1.0", "comment by another program", "element vertex 4"]
    head += [f"property {word} {name}" for name in names] + ["end_header", ""]
    text = ("\r\n" if form == "crlf" else "\n").join(head).encode()
    if form == "ascii":
        body = "\n".join(" ".join(repr(float(value)) for value in row) for row in table).encode()
    else:
        body = table.astype(">f4").tobytes() if "big" in form else table.tobytes()
    (tmp_path / "b.ply").write_bytes(text + body)
    back = read_splats(tmp_path / "b.ply")
    if form == "double":
        assert back.means.dtype == np.float64
        assert np.array_equal(back.means, data.means.astype(np.float64) + 1e-12)
    else:
        equal(replace(back, **{name: getattr(back, name).astype(np.float32) for name in (*CHANNELS, "sh_rest")}), data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (splats([name for name in SPLAT_NAMES if name != "rot_2"]), "a.ply:vertex: has no property rot_2"),
        (splats([name for name in SPLAT_NAMES if name != "f_rest_3"]), "a.ply:vertex: has 8 properties f_rest"),
        (splats([*SPLAT_NAMES, *(f"f_rest_{k}" for k in range(9, 72))]), "a.ply:vertex: has 72 properties f_rest"),
        (splats(value=np.nan), "a.ply:vertex 0.rot_3: is nan, expected a finite number"),
        (splats(count=0)[:-312], "a.ply:vertex: holds no Gaussian"),
        (splats(count=4), "claims 4 vertex elements"),
        (splats()[:-1], "a.ply: ends within the vertex elements (is it cut off?)"),
        (splats(count=2**40), "claims 1099511627776 vertex elements, the limit is"),
        (splats().replace(b"element vertex", b"element chunk"), "a.ply: has no element vertex (elements: chunk)"),
        (splats().replace(b"float opacity", b"list uchar float opacity"), "a.ply"),
        (points(), "a.ply:vertex: has no property f_dc_0, f_dc_1, f_dc_2, opacity, so these are no Gaussians"),
    ],
)
def test_what_is_no_splat_file_is_refused_by_name(tmp_path, data, expected):
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(FileError) as caught:
        read_splats(tmp_path / "a.ply")
    assert expected in str(caught.value)


def test_gaussians_that_no_file_holds_are_refused(tmp_path):
    data = cloud()
    bad = data.log_scales.astype(np.float64)
    bad[2, 1] = 1e300
    with pytest.raises(FileError, match=r"vertex 2\.scale_1: is not finite in single precision"):
        write_splats(tmp_path / "a.ply", replace(data, log_scales=bad))
    zero = data.rotations.copy()
    zero[3] = 0
    write_splats(tmp_path / "a.ply", replace(data, rotations=zero))
    with pytest.raises(FileError, match=r"vertex 3\.rot: is a quaternion of length 0"):
        read_splats(tmp_path / "a.ply")
    for function in (lambda: write_splats(tmp_path / "a.splat", data), lambda: read_splats(tmp_path / "a.splat")):
        with pytest.raises(FileError, match=r"unknown kind of Gaussians '\.splat'"):
            function()
    write_splats(tmp_path / "a.ply", data)
    with pytest.raises(FileError, match="the limit is 4"):
        read_splats(tmp_path / "a.ply", Limits(vertices=4))


def scatter(count: int = 6, seed: int = 0, **parts) -> PointData:
    rng = np.random.default_rng(seed)
    every = {
        "positions": rng.normal(size=(count, 3)),
        "colors": rng.random((count, 3)),
        "normals": rng.normal(size=(count, 3)),
        "radii": rng.random((count, 1)) + 0.1,
        "opacities": rng.random((count, 1)),
    }
    return PointData(**(every | parts))


@pytest.mark.row(160)
@pytest.mark.parametrize("suffix", [".ply", ".npz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_written_points_come_back_to_the_last_bit(tmp_path, suffix, dtype):
    data = scatter()
    data = PointData(**{name: array.astype(dtype) for name, array in data.given().items()})
    write_points(tmp_path / f"a{suffix}", data)
    back = read_points(tmp_path / f"a{suffix}")
    for name, array in data.given().items():
        assert np.array_equal(getattr(back, name), array), name
    write_points(tmp_path / f"b{suffix}", PointData(positions=data.positions))
    assert list(read_points(tmp_path / f"b{suffix}").given()) == ["positions"]


@pytest.mark.row(160)
def test_colours_of_bytes_are_srgb_and_stay_bytes(tmp_path):
    (tmp_path / "a.ply").write_bytes(points())
    data = read_points(tmp_path / "a.ply")
    assert data.colors is not None
    assert data.radii is not None
    assert data.colors[0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(data.colors[3], srgb_to_linear(np.array([10, 20, 30]) / 255))
    assert data.radii.ravel().tolist() == [0.5] * 4
    write_points(tmp_path / "b.ply", data)
    assert b"property uchar red" in (tmp_path / "b.ply").read_bytes()
    equal(read_points(tmp_path / "b.ply"), data)
    real = scatter(colors=np.full((6, 3), 0.123))
    write_points(tmp_path / "c.ply", real)
    assert b"property double red" in (tmp_path / "c.ply").read_bytes()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (points(x="nan"), "a.ply:positions of vertex 0: is [nan, 0.0, 0.0]"),
        (points(radius="0"), "a.ply:radii of vertex 0: is [0.0], expected a length above 0"),
        (points().replace(b"uchar", b"float"), "a.ply:colors of vertex 0: is [255.0, 0.0, 0.0], expected numbers in"),
        (points(count=0).split(b"end_header\n")[0] + b"end_header\n", "a.ply: holds no point"),
        (points(count=5), "a.ply"),
        (points().replace(b"float z", b"float w"), "a.ply:vertex: has no property z"),
    ],
)
def test_broken_point_clouds_are_refused_by_name(tmp_path, data, expected):
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(FileError) as caught:
        read_points(tmp_path / "a.ply")
    assert expected in str(caught.value)


def test_points_that_no_file_holds_are_refused(tmp_path):
    with pytest.raises(FileError, match=r"normals of vertex 0: is \[0\.0, 0\.0, 0\.0\], expected a direction"):
        write_points(tmp_path / "a.ply", scatter(normals=np.zeros((6, 3))))
    with pytest.raises(FileError, match=r"radii: has shape \(5, 1\), expected \[6, 1\]"):
        write_points(tmp_path / "a.npz", scatter(radii=np.ones((5, 1))))
    with pytest.raises(FileError, match=r"unknown kind of point cloud '\.xyz'"):
        write_points(tmp_path / "a.xyz", scatter())
    np.savez(tmp_path / "a.npz", positions=np.zeros((2, 3)), color=np.zeros((2, 3)))
    with pytest.raises(FileError, match=r"color: does not belong to a point cloud .*'colors'"):
        read_points(tmp_path / "a.npz")
