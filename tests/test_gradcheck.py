"""The gradient checker: it passes what is right, catches what is wrong, and counts what has no derivative."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.array import Array
from tidr.cli import app
from tidr.fitting import gradcheck
from tidr.fitting.gradcheck import check_gradients, smooth_noise, weighted_sum
from tidr.fitting.tape import Operation, Tape, run
from tidr.parameter import Parameter
from tidr.renderers.renderer import Image

SCENE = """
[cameras.front]
position = [0.3, 0.2, 4]
target = [0, 0, 0]
fov_y_degrees = 30
[materials.paint]
type = "lambert"
albedo = [0.2, 0.5, 0.8]
[lights.sky]
type = "ambient"
radiance = 1.0
[nodes.sheet]
mesh = "sheet.obj"
material = "paint"
"""


def sheet_scene(edge: float = 0.8, size: int = 16) -> tidr.Scene:
    """A lit square [-edge, edge]^2 that an orthographic camera over [-1, 1]^2 sees head-on."""
    scene = tidr.Scene(tidr.Film(size, size))
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * edge
    scene.add_material("paint", tidr.Material("lambert", albedo=(0.2, 0.5, 0.8)))
    scene.add_light("lamp", tidr.PointLight((0.3, 0.2, 1.5), 3.0))
    scene.add_node("sheet", tidr.Node(tidr.Mesh(corners, [[0, 1, 2], [0, 2, 3]]), ("paint",)))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 3), (0, 0, 0), height_world=2, width=size, height=size))
    return scene


class Wrong:
    """A rasterizer whose gradient of rgb is too long by `excess`."""

    def __init__(self, excess: float) -> None:
        self.inner, self.excess = tidr.Rasterizer(edges="none", channels=()), excess

    def render(self, scene, cameras, width, height) -> Image:
        drawn = self.inner.render(scene, cameras, width, height)

        def rgb() -> Array:
            source = drawn.rgb
            out = Array(source.shape)
            operation = Operation(
                lambda: out.set(source.numpy()),
                lambda: source.set_grad(source.grad_numpy() + out.grad_numpy() * (1 + self.excess)),
                [source],
                [out],
            )
            run(operation)
            return out

        return Image({"rgb": rgb, "alpha": lambda: drawn.alpha})


def test_all_parameters_pass_and_scalars_are_taken_one_by_one(f64):
    report = check_gradients(sheet_scene(), renderer=tidr.Rasterizer(edges="none"))
    assert report.passed, report.table()
    rows = {row.path: row for row in report.rows}
    assert rows["sheet.vertices"].directions + rows["sheet.vertices"].kinks == 12
    assert rows["paint.albedo"].directions == 3
    assert rows["paint.albedo"].largest > 0
    assert all(row.error <= 1e-5 for row in report.rows)
    assert rows["front.focal"].path in report.table()


@pytest.mark.parametrize("excess", [1e-3, 3e-5, -2.0])
def test_a_wrong_gradient_fails(f64, excess):
    scene = sheet_scene()
    assert check_gradients(scene, renderer=Wrong(0.0), parameters=["paint.*", "lamp.*"]).passed
    report = check_gradients(scene, renderer=Wrong(excess), parameters=["paint.*", "lamp.*"])
    assert not any(row.passed for row in report.rows)
    assert sum(row.kinks for row in report.rows) == 0
    assert report.rows[0].error == pytest.approx(abs(excess) / max(1, abs(1 + excess)), rel=1e-2)


def test_a_wrong_gradient_fails_in_32_bits(f32):
    scene = sheet_scene()
    assert check_gradients(scene, renderer=Wrong(0.0), parameters=["paint.*", "lamp.*"]).passed
    assert not check_gradients(scene, renderer=Wrong(0.1), parameters=["paint.*"]).passed


def test_a_pixel_that_flips_is_a_kink(f64):
    # The square's sides run through pixel centres: 16 pixels over 2 units put centres at +-0.5625.
    scene = sheet_scene(edge=0.5625)
    report = check_gradients(scene, renderer=tidr.Rasterizer(edges="none"), parameters=["sheet.translation"])
    (row,) = report.rows
    assert row.kinks == 2
    assert row.directions == 1
    assert sum(not np.isfinite(slope) for slope in report.differences["sheet.translation"]) == 2
    # When nothing is left to compare, nothing has been shown.
    (row,) = check_gradients(
        scene, renderer=tidr.Rasterizer(edges="none"), parameters=["sheet.scale"], channels=("alpha",)
    ).rows
    assert not row.passed
    assert row.note == "every direction crosses a kink"


def test_many_scalars_become_random_directions(f64):
    scene = sheet_scene()
    scene.materials["paint"] = tidr.Material("lambert", albedo=tidr.Texture(np.full((16, 16, 3), 0.5)))
    scene["sheet"].geometry = tidr.Mesh(
        scene["sheet"].vertices.numpy(), scene["sheet"].faces, uvs=[[0.1, 0.1], [0.8, 0.2], [0.9, 0.9], [0.2, 0.8]]
    )
    plain = tidr.Rasterizer(edges="none")
    (row,) = check_gradients(scene, renderer=plain, parameters=["paint.albedo"]).rows
    assert (row.scalars, row.directions) == (768, gradcheck.RANDOM)
    assert row.passed
    (row,) = check_gradients(scene, renderer=plain, parameters=["paint.albedo"], directions=4).rows
    assert row.directions == 4


def test_the_scene_is_left_as_it_was(f64):
    scene = sheet_scene()
    before = {path: parameter.numpy() for path, parameter in scene.parameters().items()}
    check_gradients(scene, renderer=tidr.Rasterizer(edges="antialias"), directions=1)
    for path, parameter in scene.parameters().items():
        np.testing.assert_array_equal(parameter.numpy(), before[path])


def test_a_report_is_plain_data(f64):
    scene = sheet_scene(edge=0.5625)
    report = check_gradients(scene, renderer=tidr.Rasterizer(edges="none"), parameters=["sheet.scale"])
    told = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert told["rows"][0]["path"] == "sheet.scale"
    assert told["precision"] == 64
    assert told["passed"] is report.passed


def test_an_unknown_parameter_or_camera_is_named(f64):
    with pytest.raises(tidr.SceneError, match=r"sheet\.vertices"):
        check_gradients(sheet_scene(), parameters=["sheet.vertces"])
    with pytest.raises(tidr.SceneError, match="front"):
        check_gradients(sheet_scene(), camera="frnt")


def test_weighted_sum_is_exact_and_linear(backend):
    rng = np.random.default_rng(2)
    parameter = Parameter(rng.normal(size=(4, 5, 2)))
    weights = smooth_noise(rng, (4, 5, 2))
    with Tape() as tape:
        tape.add(weighted_sum([parameter], [weights]), 3.0)
    expected = (parameter.numpy().astype(np.float64) * weights).sum()
    assert tape.loss == pytest.approx(3 * expected, rel=1e-12)
    np.testing.assert_allclose(parameter.grad_numpy(), 3 * weights, rtol=1e-6)


@pytest.fixture
def scene_file(tmp_path):
    (tmp_path / "sheet.obj").write_text("v -1 -1 0\nv 1 -1 0\nv 1 1 0.3\nv -1 1 0\nf 1 2 3\nf 1 3 4\n")
    file = tmp_path / "scene.toml"
    file.write_text(SCENE)
    return str(file)


@pytest.mark.row(174)
def test_command_prints_a_table_and_succeeds(f64, scene_file):
    done = CliRunner().invoke(app, ["check", scene_file, "--size", "24", "--directions", "2"])
    assert done.exit_code == 0, done.output
    for word in ("edges='none'", "edges='soft'", "sheet.vertices", "front.principal_point", "pass"):
        assert word in done.output


def test_command_fails_with_1_when_a_parameter_is_off(f64, scene_file, monkeypatch):
    monkeypatch.setattr(gradcheck, "_slope", lambda *arguments: (1.0, 0.0))
    options = ["--edges", "none", "-p", "paint.*", "--json", "--size", "24"]
    done = CliRunner().invoke(app, ["check", scene_file, *options])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["passed"] is False
    assert [row["path"] for row in told["reports"][0]["rows"]] == ["paint.albedo"]


def test_command_refuses_bad_input_with_2(f64, scene_file):
    for arguments in (["no_such_scene"], [scene_file, "-p", "sheet.nose"], [scene_file, "--edges", "sharp"]):
        done = CliRunner().invoke(app, ["check", *arguments])
        assert done.exit_code == 2
