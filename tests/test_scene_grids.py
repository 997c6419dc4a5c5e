"""Volumes, voxel grids, tetrahedra and fields in scene files: from files, from numbers, and written again."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.errors import FileError
from tidr.files.scene_file import load_scene
from tidr.files.scene_write import write_scene
from tidr.files.volume import VolumeData, write_volume
from tidr.scene.field import FrequencyField, HashField
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.volume import Volume
from tidr.scene.voxels import VoxelGrid

from .scene_parts import message, write

BOX = (np.array([-1.0, -2.0, -3.0]), np.array([1.0, 0.1, 3.0]))


def geometries(seed: int = 0) -> dict[str, object]:
    """One of each kind, with every parameter that it can have."""
    rng = np.random.default_rng(seed)
    grid, box = rng.random((3, 4, 5)), {"lower": BOX[0], "upper": BOX[1]}
    classes = rng.random((3, 4, 5, 2))
    classes /= classes.sum(-1, keepdims=True)
    field = {"levels": 2, "log2_entries": 6, "width": 8, "finest_resolution": 32, "seed": seed}
    return {
        "smoke": Volume(grid, albedo=rng.random((3, 4, 5, 3)), color=rng.random(3), g=0.3, **box),
        "radiance": Volume(
            grid - 0.5, sh=rng.normal(size=(3, 4, 5, 4, 3)), density_activation="softplus", density_shift=-0.1, **box
        ),
        "carved": VoxelGrid(occupancy=grid, color=rng.random((3, 4, 5, 3)), semantics=classes, **box),
        "distances": VoxelGrid(sdf=grid - 0.5, warp=rng.random((2, 2, 2, 3)), **box),
        "truncated": VoxelGrid(tsdf=grid - 0.5, truncation=0.37, **box),
        "shell": Tetrahedra(grid - 0.5, rng.normal(size=(3, 4, 5, 3)), *BOX, shading="flat"),
        "hash": HashField(**field, lower=BOX[0], upper=BOX[1]),
        "nerf": FrequencyField(width=8, depth=3, octaves=2, direction_octaves=1, fine_samples=7, seed=seed),
    }


@pytest.mark.parametrize("start", ["f32", "f64"])
def test_written_grids_come_back_to_the_last_bit(start, request, tmp_path):
    request.getfixturevalue(start)
    scene = tidr.Scene(tidr.Film(8, 8))
    scene.add_material("paint", tidr.Material("lambert", albedo=0.5))
    for name, geometry in geometries().items():
        scene.add_node(name, tidr.Node(geometry, ("paint",), translation=(0.1, 0.2, 0.3)))  # type: ignore[arg-type]
    scene.add_node("twin", tidr.Node(scene.nodes["smoke"].geometry, scale=2.0))
    write_scene(scene, tmp_path / "a.toml")
    back = load_scene(tmp_path / "a.toml")
    assert list(back.nodes) == list(scene.nodes)
    assert back.nodes["twin"].geometry is back.nodes["smoke"].geometry
    assert back.nodes["shell"].materials == ("paint",)
    for name, node in scene.nodes.items():
        one, other = node.geometry, back.nodes[name].geometry
        assert one is not None
        assert type(one) is type(other)
        assert all(np.array_equal(a, b) for a, b in zip(one.bounds(), other.bounds(), strict=True))
        for attribute in ("density_activation", "density_shift", "truncation", "kind", "shading", "fine_samples"):
            assert getattr(one, attribute, None) == getattr(other, attribute, None)
    before, after = scene.parameters(), back.parameters()
    assert list(before) == list(after)
    for path, parameter in before.items():
        assert parameter.shape == after[path].shape
        assert np.array_equal(parameter.numpy(), after[path].numpy()), path
        assert parameter.constraint == after[path].constraint


def node(text: str) -> str:
    return f"[nodes.it]\n{text}\n"


def load_node(folder: Path, text: str):
    return load_scene(write(folder, node(text))).nodes["it"].geometry


def test_volumes_from_numbers(f32, tmp_path):
    it = load_node(tmp_path, "volume = { resolution = [2, 3, 4], density = 0.5 }")
    assert isinstance(it, Volume)
    assert it.shape == (4, 3, 2)
    assert (it.density.numpy() == 0.5).all()
    assert it.color is not None
    assert it.color.shape == (3,)
    text = "resolution = [2, 3, 4], density = 0.5, lower = [0, 0, 0], upper = [1, 2, 3]"
    it = load_node(tmp_path, f"volume = {{ {text}, color = [0.1, 0.2, 0.3] }}")
    assert it.color.shape == (4, 3, 2, 3)
    assert [corner.tolist() for corner in it.bounds()] == [[0, 0, 0], [1, 2, 3]]
    it = load_node(tmp_path, f'volume = {{ {text}, albedo = 0.8, uniform = ["albedo"], g = 0.5 }}')
    assert it.albedo.shape == (3,)
    assert it.g.numpy() == 0.5
    activation = 'density_activation = "softplus", density_shift = -3'
    it = load_node(tmp_path, f"volume = {{ {text}, sh_degree = 2, {activation} }}")
    assert it.sh.shape == (4, 3, 2, 9, 3)
    assert (it.density_activation, it.density_shift) == ("softplus", -3.0)


def test_voxels_and_tetrahedra_from_numbers(f32, tmp_path):
    it = load_node(tmp_path, "voxels = { resolution = [2, 3, 4], occupancy = 0.5, color = 0.2, classes = 4 }")
    assert isinstance(it, VoxelGrid)
    assert it.occupancy.shape == (4, 3, 2)
    assert it.semantics is not None
    np.testing.assert_allclose(it.semantics.numpy(), 0.25)
    box = "lower = [-2, -1, -1], upper = [0, 1, 1]"
    it = load_node(tmp_path, f"voxels = {{ resolution = [8, 8, 8], sphere = 0.5, {box} }}")
    np.testing.assert_allclose(it.sdf.numpy(), np.linalg.norm(it.centers() - [-1, 0, 0], axis=-1) - 0.5, atol=1e-6)
    it = load_node(tmp_path, f'tetrahedra = {{ resolution = [4, 6, 8], sphere = 0.5, shading = "flat", {box} }}')
    assert isinstance(it, Tetrahedra)
    assert it.resolution == (8, 6, 4)
    away = np.linalg.norm(it.points - [-1, 0, 0], axis=-1) - 0.5
    np.testing.assert_allclose(it.sdf.numpy().ravel(), away, atol=1e-6)
    it = load_node(tmp_path, 'field = { type = "hash", levels = 2, log2_entries = 6, width = 8 }')
    assert isinstance(it, HashField)
    assert len(it.levels) == 2


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".vol"])
def test_volumes_from_files(f32, tmp_path, suffix):
    grid = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    write_volume(tmp_path / f"a{suffix}", VolumeData({"density": grid}, *BOX))
    it = load_node(tmp_path, f'volume = "a{suffix}"')
    assert np.array_equal(it.density.numpy(), grid)
    if suffix != ".npy":
        np.testing.assert_allclose(it.bounds(), BOX, atol=1e-6)
    box = "lower = [0, 0, 0], upper = [1, 2, 3]"
    it = load_node(
        tmp_path, f'volume = {{ file = "a{suffix}", albedo = [0.1, 0.2, 0.3], uniform = ["albedo"], {box} }}'
    )
    assert it.albedo.shape == (3,)
    assert it.bounds()[1].tolist() == [1, 2, 3]
    if suffix == ".npy":
        assert np.array_equal(load_node(tmp_path, 'voxels = "a.npy"').occupancy.numpy(), grid)
        assert np.array_equal(load_node(tmp_path, 'tetrahedra = "a.npy"').sdf.numpy(), grid)
    lone = load_scene(tmp_path / f"a{suffix}")
    assert np.array_equal(lone.parameters()["a.density"].numpy(), grid)
    assert "front" in lone.cameras


RESOLUTION = "resolution = [2, 2, 2]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("volume = {}", "nodes.it.volume: give exactly one of file and resolution"),
        (f"volume = {{ {RESOLUTION} }}", "nodes.it.volume.density: give exactly one of density"),
        (f"volume = {{ {RESOLUTION}, density = -1 }}", "nodes.it: density is negative"),
        (f"volume = {{ {RESOLUTION}, densty = 1 }}", "did you mean 'density'"),
        (f'volume = {{ {RESOLUTION}, file = "a.npz", density = 1 }}', "exactly one of file and resolution"),
        ('volume = { file = "a.npz", density = 1 }', "nodes.it.volume.density: stands beside file"),
        (f"volume = {{ {RESOLUTION}, density = 1, lower = [0, 0, 0] }}", "needs the other corner"),
        (f"volume = {{ {RESOLUTION}, density = 1, lower = [0, 0, 0], upper = [1, 0, 1] }}", "nodes.it: "),
        (f"volume = {{ {RESOLUTION}, density = 1, color = 1, sh_degree = 1 }}", "stands beside color"),
        ("volume = { resolution = [2048, 2048, 2048], density = 1 }", "the limit is"),
        ("volume = { resolution = [2, 2], density = 1 }", "nodes.it.volume.resolution"),
        ("volume = 3", "nodes.it.volume: is 3, expected a table"),
        ('volume = "none.npz"', "nodes.it.volume: file 'none.npz' is missing"),
        ('volume = "../a.npz"', "climbs out"),
        ('volume = { file = "../a.npz" }', "nodes.it.volume.file: file name climbs out"),
        (f"voxels = {{ {RESOLUTION} }}", "exactly one of occupancy, sphere"),
        (f"voxels = {{ {RESOLUTION}, sphere = 1, occupancy = 0.5 }}", "exactly one of occupancy, sphere"),
        (f"tetrahedra = {{ {RESOLUTION} }}", "exactly one of sphere"),
        ('field = { type = "has" }', "expected a table with a type, hash or frequency"),
        ("field = { type = [] }", "expected a table with a type, hash or frequency"),
        ('field = { type = "hash", level = 2 }', "did you mean 'levels'"),
        ('field = { type = "hash", levels = 0 }', "nodes.it: levels is 0"),
        ('field = { type = "hash", levels = {} }', "nodes.it.field.levels"),
        ('field = { type = "hash", levels = "many" }', "nodes.it: "),
        ('field = { type = "hash", lower = [0, 0] }', "nodes.it: "),
        ('volume = "a.npz"\nvoxels = "a.npz"', "nodes.it.voxels: stands beside volume"),
        ('volume = "a.npz"\nmesh = "a.obj"', "nodes.it.volume: stands beside mesh"),
        ('volume = "a.npz"\nmaterial = "a"', "colours of its own"),
        ('instance_of = "its"', "no node with a mesh or grid"),
    ],
)
def test_faults_name_their_key(f32, tmp_path, text, expected):
    assert expected in message(write(tmp_path, node(text)))


def test_files_that_do_not_fit_are_told(f32, tmp_path):
    grid = np.ones((2, 2, 2), np.float32)
    np.savez(tmp_path / "a.npz", density=grid, sdf=grid)
    assert "a.npz:sdf: does not belong to volume" in message(write(tmp_path, node('volume = "a.npz"')))
    np.savez(tmp_path / "a.npz", albedo=np.ones((2, 2, 2, 3), np.float32))
    assert "no density" in message(write(tmp_path, node('volume = "a.npz"')))
    np.savez(tmp_path / "a.npz", density=grid, albedo=np.ones(3, np.float32))
    assert "stands beside the file" in message(write(tmp_path, node('volume = { file = "a.npz", albedo = 1 }')))
    np.savez(tmp_path / "a.npz", density=-grid)
    assert "density is negative" in message(write(tmp_path, node('volume = "a.npz"')))
    field = 'field = { type = "hash", levels = 2, log2_entries = 6, width = 8, file = "a.npz" }'
    assert "expected table, weights" in message(write(tmp_path, node(field)))
    np.savez(tmp_path / "a.npz", table=grid, weights=grid)
    assert "the options ask for" in message(write(tmp_path, node(field)))


def test_a_value_that_is_not_finite_is_not_written(f32, tmp_path):
    scene, volume = tidr.Scene(), Volume(np.ones((2, 2, 2)))
    scene.add_node("smoke", tidr.Node(volume))
    volume.density.value.fill(float("nan"))
    with pytest.raises(FileError, match=r"smoke\.density: is not finite"):
        write_scene(scene, tmp_path / "a.toml")
    assert not list(tmp_path.iterdir())


def test_info_and_convert_know_volumes(f32, tmp_path):
    grid = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    write_volume(tmp_path / "smoke.npz", VolumeData({"density": grid}, *BOX))
    runner = CliRunner()
    shown = runner.invoke(app, ["info", str(tmp_path / "smoke.npz")])
    assert shown.exit_code == 0, shown.output
    assert "node smoke: Volume (density 3 x 4 x 5, color 3), 0.00 MB" in shown.output
    assert "bounds (-1, -2, -3) to (1, 0.1, 3)" in shown.output
    facts = json.loads(runner.invoke(app, ["info", "--json", str(tmp_path / "smoke.npz")]).output)
    assert facts["nodes"]["smoke"]["type"] == "Volume"
    assert facts["nodes"]["smoke"]["bytes"] == 4 * 63
    before = "smoke.npz"
    for suffix in (".vol", ".npy", ".npz"):
        done = runner.invoke(app, ["convert", str(tmp_path / before), str(tmp_path / f"b{suffix}")])
        assert done.exit_code == 0, done.output
        before = f"b{suffix}"
    with np.load(tmp_path / "b.npz") as stored:
        assert np.array_equal(stored["density"], grid)
    done = runner.invoke(app, ["convert", str(tmp_path / "smoke.npz"), str(tmp_path / "scene.toml")])
    assert done.exit_code == 0, done.output
    assert np.array_equal(load_scene(tmp_path / "scene.toml").parameters()["smoke.density"].numpy(), grid)
    np.savez(tmp_path / "two.npz", density=grid, albedo=np.ones((3, 4, 5, 3), np.float32))
    refused = runner.invoke(app, ["convert", str(tmp_path / "two.npz"), str(tmp_path / "c.vol")])
    assert refused.exit_code == 2
