"""Depth and pose from pictures: maps without labels, a pose with them, both at once, and the bundled scene."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.errors import FileError, SceneError
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.truth import how_far
from tidr.problems.depth import around, bumpy, nudge, paint, painted, seen
from tidr.problems.runner import problems, solve
from tidr.scene.alignment import icp
from tidr.scene.transform import quaternion_from_rotation


def plane_and_sphere(width: int = 64, height: int = 48):
    """A sphere that half sinks into a plane; a middle view, two around it, and their pictures and depths."""
    vertices, faces = tidr.icosphere(5, 0.7)
    flat = bumpy()
    ground = np.column_stack([flat.vertices.numpy()[:, :2], np.zeros(flat.vertices.rows)])
    parts = [tidr.Mesh(v, f, colors=paint(v)) for v, f in ((vertices, faces), (ground, flat.faces))]
    cameras = around(2, 0.25, width, height)
    return cameras, *seen(painted(*parts, width=width, height=height), cameras)


@pytest.mark.long
@pytest.mark.row(73)
def test_depth_without_labels(f32):
    """Two other views whose poses are known: the map of a sphere on a plane, from a constant, to 5 % (absrel)."""
    cameras, pictures, depths = plane_and_sphere()
    start = 2.6
    assert np.mean(np.abs(start - depths[0]) / depths[0]) > 0.1
    found = tidr.fit_depth(pictures[0], cameras[0], pictures[1:], cameras[1:], start, steps=60)
    assert found.shape == (48, 64, 1)
    assert np.mean(np.abs(found - depths[0]) / depths[0]) < 0.02


@pytest.mark.long
@pytest.mark.row(73)
def test_depth_and_pose_together(f32):
    """The pose of one of four views is 2 degrees and 5 cm off: it and the depth map are found together, to 1 %.

    A wide lens, since a narrow one hardly tells a turn from a shift.
    """
    lens = {"fov_y_degrees": 70, "width": 64, "height": 48}
    places = ((0, 0), (0.0, 0.3), (-0.26, -0.15), (0.26, -0.15))
    cameras = [tidr.Camera.look_at((x, y, 1.8), (0.3 * x, 0.3 * y, 0), **lens) for x, y in places]
    pictures, depths = seen(painted(bumpy(), width=64, height=48), cameras)
    truth = nudge(cameras[3])
    scene = tidr.Scene()
    scene.add_camera("moved", cameras[3])
    right = {f"moved.{name}": value for name, value in truth.items()}
    before = how_far(scene, right)
    options = {"smooth": 5e-3, "least": False, "similarity": 0.0}
    first = tidr.fit_depth(pictures[0], cameras[0], pictures[1:3], cameras[1:3], 1.6, steps=40, **options)
    moving = [tidr.Adam(cameras[3].position, lr=1e-2), tidr.Adam(cameras[3].rotation, lr=5e-3)]
    options |= {"levels": 1, "lr": 5e-3, "steps": 150, "moving": moving}
    found = tidr.fit_depth(pictures[0], cameras[0], pictures[1:], cameras[1:], first, **options)
    assert np.mean(np.abs(found - depths[0]) / depths[0]) < 0.01
    for path, one in how_far(scene, right).items():
        assert one["error"] < 0.01 * before[path]["error"], path


@pytest.mark.long
@pytest.mark.row(72, 73, 106)
@pytest.mark.parametrize("problem", problems(["T18-map", "T18-pose"]), ids=lambda problem: problem.name)
def test_problem_is_solved(f32, problem):
    result = solve(problem, "reprojection")
    assert result.solved, result
    assert result.iterations <= 500


@pytest.mark.long
@pytest.mark.row(72)
def test_the_bundled_scene_finds_its_pose_and_says_so(f32, tmp_path):
    run = CliRunner().invoke(app, ["fit", "rgbd_pose", "-o", str(tmp_path / "run")])
    assert run.exit_code == 0, run.output
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["truth"]
    assert found["second.position"]["before"] == pytest.approx(0.05, rel=1e-3)
    assert found["second.rotation"]["before"] == pytest.approx(2, rel=1e-3)
    for path, one in found.items():
        assert one["error"] < 0.01 * one["before"]
        assert f"{path} is {one['error']:.3g}" in run.output


@pytest.mark.row(72)
def test_two_rgbd_pictures_as_points_find_the_pose(f32):
    """The second cloud, put where the first camera stands, is moved onto the planes of the first."""
    scene = tidr.load("rgbd_pose")
    folder, camera = scene.source.parent / "assets" / "rgbd", scene["first"]
    one, other = (
        tidr.depth_points(tidr.read_depth(folder / f"{name}_depth.png"), camera) for name in ("first", "second")
    )
    found = icp(other.positions.numpy(), one.positions.numpy(), normals=one.normals.numpy(), keep=0.9)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = found.similarity.rotation, found.similarity.translation
    pose = pose @ camera.camera_to_world
    scene["second"].position.set(pose[:3, 3])
    scene["second"].rotation.set(quaternion_from_rotation(pose[:3, :3]))
    off = how_far(scene, scene.fit.truth)
    assert off["second.position"]["error"] < 0.01 * 0.05
    assert off["second.rotation"]["error"] < 0.01 * 2


def test_the_truth_is_where_the_pictures_were_taken():
    from tidr.scenes.make_rgbd import cameras

    scene = tidr.load("rgbd_pose")
    first, second = cameras()
    for name, camera in (("first", first), ("second", first)):  # the second begins where the first stands
        for key, parameter in camera.parameters().items():
            assert np.allclose(scene[name].parameters()[key].numpy(), parameter.numpy(), atol=1e-6)
    assert np.allclose(scene.fit.truth["second.position"], second.position.numpy(), atol=1e-6)
    assert np.allclose(scene.fit.truth["second.rotation"], second.rotation.numpy(), atol=1e-6)


def test_small_rotations_are_told_exactly(f64):
    scene = tidr.Scene()
    camera = scene.add_camera("one", tidr.Camera((0, 0, 0), (1, 0, 0, 0), (9, 9), (4, 4), 8, 8))
    half = np.radians(1e-4) / 2
    camera.rotation.set([np.cos(half), 0, np.sin(half), 0])
    found = how_far(scene, {"one.rotation": (1, 0, 0, 0), "one.focal": (6, 5)})
    assert found["one.rotation"]["error"] == pytest.approx(1e-4, rel=1e-6)
    assert found["one.focal"] == {"error": 5.0, "unit": ""}


def test_directions_are_told_in_degrees(f64):
    """The bundled shadow's sun begins 20 degrees off; lengths do not count."""
    scene = tidr.load("shadow_light")
    scene["sun"].direction.set(scene.fit.parameters["sun.direction"].start)
    found = how_far(scene, {"sun.direction": scene.fit.truth["sun.direction"]})
    assert found["sun.direction"]["unit"] == "degrees"
    assert found["sun.direction"]["error"] == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (['fit.truth."second.position"=[1, 2]'], "fit.truth.second.position"),
        (['fit.truth."second.place"=[1, 2, 3]'], "second.place"),
        (["fit.depths={}"], "the views have no depths"),
        (["fit.rays_per_step=16"], "rays"),
    ],
)
def test_what_a_fit_cannot_use_is_refused(change, message, f32):
    scene = tidr.load("rgbd_pose", change)
    with pytest.raises(SceneError, match=message):
        fit_from_settings(scene, steps=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["fit.depths.first='a.png'"], "fit.depths.first"),
        (["fit.resolution=[80, 60]"], "fit.resolution"),
        (["fit.metres_per_level=0"], "fit.metres_per_level"),
        (["fit.losses={depth_l2 = 1}"], "depth_l2"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_load(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(FileError, match=message):
        tidr.load("rgbd_pose", change)


def test_depths_of_another_size_are_refused(f32):
    camera = tidr.Camera((0, 0, 0), (1, 0, 0, 0), (9, 9), (4, 3), 8, 6)
    with pytest.raises(SceneError, match=r"shape \(4, 4\)"):
        tidr.Views([camera], [np.ones((6, 8, 3))], depths=[np.ones((4, 4))])


def test_fit_depth_refuses_what_does_not_fit(f32):
    cameras = around(1, width=16, height=12)
    one, others = np.ones((12, 16, 3)), np.ones((1, 12, 16, 3))
    for arguments, options, message in (
        ((one, cameras[0], one, cameras[1:], 2.0), {}, r"\[B, H, W, 3\]"),
        ((one, cameras[0], others, cameras[1:], 2.0), {"levels": 2}, "11 pixels"),
        ((one, cameras[0], others, cameras[1:], 0.0), {"levels": 1}, "depth > 0"),
        ((one, cameras[0], others, cameras[1:], np.ones((4, 4))), {"levels": 1}, r"\[12, 16\]"),
    ):
        with pytest.raises(SceneError, match=message):
            tidr.fit_depth(*arguments, **options)
