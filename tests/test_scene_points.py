"""Point clouds and Gaussians in scene files and at the command: from files, from numbers, and written again."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.errors import FileError
from tidr.files.points import PointData, read_points, write_points
from tidr.files.scene_file import load_scene
from tidr.files.scene_write import write_scene
from tidr.files.splats import read_splats, write_splats
from tidr.files.srgb import srgb_to_linear
from tidr.scene.spacing import spacing

from .malformed import data_sets
from .scene_parts import message, write
from .test_splat_files import cloud, equal, scatter


def load_node(folder: Path, text: str):
    return load_scene(write(folder, f"[nodes.it]\n{text}\n")).nodes["it"].geometry


def spread(points: np.ndarray) -> np.ndarray:
    """Mean distance to the three nearest others, by looking at all pairs."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.sort(distances, axis=1)[:, 1:4].mean(1)


def test_spacing_is_the_mean_distance_to_three_neighbours(f64):
    points = np.random.default_rng(0).normal(size=(40, 3))
    np.testing.assert_allclose(spacing(points), spread(points), rtol=1e-12)
    assert spacing([[1.0, 2, 3]]).tolist() == [1.0]
    np.testing.assert_allclose(spacing([[0.0, 0, 0], [0, 3, 4]]), [5, 5])
    assert (spacing([[0.0, 0, 0]] * 5) > 0).all()
    assert (spacing([[0.0, 0, 0]] * 5 + [[1.0, 0, 0]]) > 0).all()


def test_gaussians_and_points_from_files(f32, tmp_path):
    data, dots = cloud(degree=2), scatter()
    write_splats(tmp_path / "a.ply", data)
    write_points(tmp_path / "b.ply", dots)
    write_points(tmp_path / "b.npz", dots)
    it = load_node(tmp_path, 'gaussians = "a.ply"')
    assert isinstance(it, tidr.Gaussians)
    assert it.sh_degree == it.active_degree == 2
    for name, parameter in it.parameters().items():
        assert np.array_equal(parameter.numpy(), getattr(data, name)), name
    assert it.encoding == "srgb"
    assert load_node(tmp_path, 'gaussians = { file = "a.ply", encoding = "linear" }').encoding == "linear"
    assert np.array_equal(load_node(tmp_path, 'gaussians = { file = "a.ply" }').means.numpy(), data.means)
    for file in ("b.ply", "b.npz"):
        it = load_node(tmp_path, f'points = "{file}"')
        assert isinstance(it, tidr.PointCloud)
        for name in ("positions", "colors", "radii", "opacities"):
            np.testing.assert_allclose(it.parameters()[name].numpy(), getattr(dots, name), rtol=1e-6)


def test_random_starts_lie_in_their_box(f32, tmp_path):
    box = "lower = [0, 1, 2], upper = [1, 3, 5]"
    it = load_node(tmp_path, f"gaussians = {{ count = 300, sh_degree = 2, {box}, opacity = 0.25, color = 0.75 }}")
    assert isinstance(it, tidr.Gaussians)
    means = it.means.numpy()
    assert (means >= [0, 1, 2]).all()
    assert (means <= [1, 3, 5]).all()
    np.testing.assert_allclose(means.mean(0), [0.5, 2, 3.5], atol=0.15)
    np.testing.assert_allclose(it.scales(), spread(means)[:, None].repeat(3, 1), rtol=1e-4)
    np.testing.assert_allclose(it.opacities(), 0.25, rtol=1e-6)
    np.testing.assert_allclose(it.sh_dc.numpy() * 0.28209479 + 0.5, 0.75, rtol=1e-6)
    assert it.sh_rest is not None
    assert not it.sh_rest.numpy().any()
    again = load_node(tmp_path, f"gaussians = {{ count = 300, {box} }}")
    other = load_node(tmp_path, f"gaussians = {{ count = 300, {box}, seed = 1 }}")
    assert np.array_equal(again.means.numpy(), means)
    assert not np.array_equal(other.means.numpy(), means)
    it = load_node(tmp_path, "points = { count = 20, radius = 0.1, color = [0.1, 0.2, 0.3] }")
    assert it.radii.numpy().shape == (20, 1)
    assert it.opacities is None
    np.testing.assert_allclose(it.colors.numpy(), [[0.1, 0.2, 0.3]] * 20, rtol=1e-6)


def test_points_begin_as_a_sphere(f32, tmp_path):
    """Even, with normals, in the middle of the box."""
    it = load_node(tmp_path, "points = { count = 500, sphere = 0.5, lower = [0, 1, 2], upper = [1, 3, 5] }")
    offsets = it.positions.numpy() - [0.5, 2, 3.5]
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), 0.5, rtol=1e-5)
    np.testing.assert_allclose(it.normals.numpy(), 2 * offsets, atol=1e-5)
    assert spread(offsets).max() < 2 * spread(offsets).min()
    assert it.radii is None


def test_gaussians_begin_at_the_points_of_a_cloud_or_a_colmap_model(f32, tmp_path):
    dots = scatter(count=12)
    write_points(tmp_path / "b.ply", PointData(positions=dots.positions, colors=dots.colors))
    it = load_node(tmp_path, 'gaussians = { points = "b.ply", sh_degree = 1 }')
    np.testing.assert_allclose(it.means.numpy(), dots.positions, rtol=1e-6)
    np.testing.assert_allclose(it.sh_dc.numpy() * 0.28209479 + 0.5, dots.colors, atol=1e-6)
    np.testing.assert_allclose(it.scales()[:, 0], spread(dots.positions), rtol=1e-5)
    for kind, model in (("bin", data_sets.model_binary()), ("txt", data_sets.model_text())):
        folder = tmp_path / kind / "sparse" / "0"
        folder.mkdir(parents=True)
        for name, data in model.items():
            (folder / name).write_bytes(data)
        from tidr.files.colmap import read_points as read_model_points

        positions, colors = read_model_points(folder / f"points3D.{kind}")
        assert len(positions) > 0
        for place in (kind, f"{kind}/sparse/0/points3D.{kind}"):
            if place != kind:
                (tmp_path / kind / "images").mkdir(exist_ok=True)
            it = load_node(tmp_path, f'gaussians = {{ points = "{place}" }}')
            np.testing.assert_allclose(it.means.numpy(), positions, rtol=1e-6)
            expected = srgb_to_linear(colors / 255)
            np.testing.assert_allclose(it.sh_dc.numpy() * 0.28209479 + 0.5, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gaussians = 3", "nodes.it.gaussians: is 3, expected a table"),
        ("gaussians = { }", "nodes.it.gaussians: give exactly one of file, count, points"),
        ("points = { }", "nodes.it.points: give exactly one of file, count"),
        ('gaussians = { file = "a.ply", count = 3 }', "give exactly one of file, count, points"),
        ('gaussians = { file = "a.ply", opacity = 0.5 }', "nodes.it.gaussians.opacity: stands beside file"),
        ('gaussians = { points = "b.ply", seed = 1 }', "nodes.it.gaussians.seed: stands beside points"),
        ("points = { count = 3, sphere = 1, seed = 2 }", "nodes.it.points.seed: stands beside sphere"),
        ("points = { count = 3, sphere = 0 }", "nodes.it.points.sphere: is 0"),
        ("gaussians = { count = 0 }", "nodes.it.gaussians.count: is 0"),
        ("gaussians = { count = 3, opacity = 1.0 }", "nodes.it.gaussians.opacity: is 1.0"),
        ("gaussians = { count = 3, sh_degree = 4 }", "nodes.it.gaussians.sh_degree: is 4"),
        ("gaussians = { count = 3, sh_degre = 1 }", "sh_degre: unknown key, did you mean 'sh_degree'?"),
        ("points = { count = 3, radus = 1 }", "nodes.it.points.radus: unknown key, did you mean 'radius'?"),
        ("points = { count = 3, color = 1.5 }", "nodes.it: colors row 0 is [1.5, 1.5, 1.5]"),
        ("points = { count = 3, lower = [1, 0, 0] }", "nodes.it.points.lower: is [1.0, 0.0, 0.0], expected less than"),
        ('gaussians = "missing.ply"', "nodes.it.gaussians: file 'missing.ply' is missing"),
        ('gaussians = "../a.ply"', "climbs out of its folder"),
        ('gaussians = { points = "/etc" }', "file name is absolute"),
        ('gaussians = "b.ply"', "has no property f_dc_0"),
        ('points = "a.toml"', "unknown kind of point cloud '.toml'"),
        ('points = "b.ply"\ngaussians = "a.ply"', "nodes.it.gaussians: stands beside points, give one of them"),
        ('gaussians = "a.ply"\nmaterial = "paint"', "nodes.it.material: stands beside gaussians"),
        ("gaussian = 3", "nodes.it.gaussian: unknown key, did you mean 'gaussians'?"),
    ],
)
def test_faults_of_points_are_named(f32, tmp_path, text, expected):
    write_splats(tmp_path / "a.ply", cloud())
    write_points(tmp_path / "b.ply", scatter())
    (tmp_path / "a.toml").write_text("")
    assert expected in message(write(tmp_path, f'[materials.paint]\ntype = "lambert"\n[nodes.it]\n{text}\n'))


@pytest.mark.row(160)
def test_written_scenes_come_back(f32, tmp_path):
    scene = tidr.Scene(tidr.Film(8, 8))
    scene.add_material("paint", tidr.Material("lambert", albedo=0.5))
    data = scatter()
    scene.add_node("dots", tidr.Node(tidr.PointCloud(**data.given()), ("paint",), translation=(0.1, 0.2, 0.3)))
    scene.add_node("plain", tidr.Node(tidr.PointCloud(data.positions)))
    scene.add_node("fog", tidr.Node(tidr.Gaussians(**vars(cloud(degree=3)))))
    scene.add_node("flat", tidr.Node(tidr.Gaussians(**vars(cloud(degree=0)))))
    scene.add_node("twin", tidr.Node(scene.nodes["fog"].geometry, scale=2.0))
    write_scene(scene, tmp_path / "a.toml")
    equal(read_splats(tmp_path / "a_fog.ply"), cloud(degree=3))  # what other programs open
    back = load_scene(tmp_path / "a.toml")
    assert back.nodes["twin"].geometry is back.nodes["fog"].geometry
    assert back.nodes["dots"].materials == ("paint",)
    before, after = scene.parameters(), back.parameters()
    assert list(before) == list(after)
    for path, parameter in before.items():
        assert after[path].constraint == parameter.constraint
        if path == "dots.normals":  # made of length 1 once more
            np.testing.assert_allclose(parameter.numpy(), after[path].numpy(), rtol=1e-6)
        else:
            assert np.array_equal(parameter.numpy(), after[path].numpy()), path
    scene["fog"].geometry.means.value.fill(np.nan)
    with pytest.raises(FileError, match=r"fog:vertex 0\.x: is not finite"):
        write_scene(scene, tmp_path / "b.toml")


def test_a_lone_file_is_a_scene(f32, tmp_path):
    data = cloud(count=200)
    data.means[7] = 1e6  # one far away does not hide the others
    write_splats(tmp_path / "a.ply", data)
    write_points(tmp_path / "b.ply", scatter())
    scene = load_scene(tmp_path / "a.ply")
    assert isinstance(scene.nodes["a"].geometry, tidr.Gaussians)
    camera = next(iter(scene.cameras.values()))
    seen = np.concatenate([data.means, np.ones((200, 1))], 1) @ camera.projection(64, 64)[0].T
    inside = ((seen[:, :2] / seen[:, 2:3] >= 0) & (seen[:, :2] / seen[:, 2:3] <= 64)).all(1)
    assert inside.mean() > 0.95
    assert isinstance(load_scene(tmp_path / "b.ply").nodes["b"].geometry, tidr.PointCloud)


def test_the_command_converts_and_tells(f32, tmp_path):
    run = CliRunner().invoke
    write_splats(tmp_path / "a.ply", cloud(degree=1))
    text = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "big.ply").write_bytes(text.replace(b"end_header", b"comment more\nend_header"))
    done = run(app, ["convert", str(tmp_path / "big.ply"), str(tmp_path / "c.ply")])
    assert done.exit_code == 0, done.output
    assert "5 Gaussians" in done.output
    assert (tmp_path / "c.ply").read_bytes() == text
    write_points(tmp_path / "b.ply", scatter())
    done = run(app, ["convert", str(tmp_path / "b.ply"), str(tmp_path / "d.ply")])
    assert "6 points" in done.output
    equal(read_points(tmp_path / "d.ply"), read_points(tmp_path / "b.ply"))
    done = run(app, ["convert", str(tmp_path / "a.ply"), str(tmp_path / "e.toml")])
    assert done.exit_code == 0, done.output
    assert np.array_equal(load_scene(tmp_path / "e.toml").parameters()["a.means"].numpy(), cloud(degree=1).means)
    facts = json.loads(run(app, ["info", "--json", str(tmp_path / "a.ply")]).output)
    assert facts["nodes"]["a"]["type"] == "Gaussians"
    assert facts["parameters"]["a.sh_rest"] == [5, 3, 3]
    told = run(app, ["info", str(tmp_path / "a.ply")]).output
    assert re.search(r"node a: Gaussians \(means 5 x 3, .*\), 0\.00 MB", told)
