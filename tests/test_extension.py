"""What a user registers from outside: the examples of the documentation run, and their gradients hold."""

import ast
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tests.gradients import directional_check, tape_gradients, weighted
from tidr.cli import app
from tidr.errors import FileError, SceneError
from tidr.fitting.settings import check_loss
from tidr.scene.parametric import GEOMETRIES

EXAMPLES = Path(tidr.__file__).parent / "docs" / "examples"
NAMES = ("material", "loss", "geometry", "edges", "renderer")
SIZE = 24

SCENE = """
plugins = ["geometry.py", "material.py"]
[film]
width = 24
height = 24
[cameras.front]
position = [0.5, 0.4, 3]
target = [0, 0, 0]
fov_y_degrees = 40
[lights.key]
type = "directional"
direction = [-0.3, -0.5, -1]
irradiance = 2
[materials.cloth]
type = "velvet"
roughness = 0.3
[nodes.box]
power_ball = { radii = [0.9, 0.7, 0.8], power = 3, level = 2 }
material = "cloth"
"""


@pytest.fixture(autouse=True, scope="module")
def plugins():
    for name in NAMES:
        tidr.load_plugin(EXAMPLES / f"{name}.py")


def write_scene(folder: Path, text: str = SCENE) -> Path:
    for name in ("geometry", "material"):
        (folder / f"{name}.py").write_bytes((EXAMPLES / f"{name}.py").read_bytes())
    (folder / "scene.toml").write_text(text)
    return folder / "scene.toml"


def draw(scene: tidr.Scene, edges: str = "none", size: int = SIZE, **options) -> tidr.Image:
    return tidr.render(scene, renderer=tidr.Rasterizer(edges=edges, **options), width=size, height=size)


@pytest.mark.row(123)
@pytest.mark.parametrize("name", NAMES)
def test_an_example_takes_less_than_50_lines(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    told = ast.get_docstring(ast.parse(text), clean=False)
    assert len([line for line in text.splitlines() if line.strip()]) - told.count("\n") - 1 < 50


@pytest.mark.row(123)
def test_a_geometry_has_gradients_to_its_parameters(f64):
    ball = GEOMETRIES["power_ball"](radii=(0.9, 0.7, 0.8), power=3.3, level=2)
    weights = np.random.default_rng(0).normal(size=(ball.topology.vertex_count, 3))
    directional_check(lambda: weighted(ball.vertices(), weights), list(ball.parameters().values()), f64)
    where = np.abs(ball.mesh().vertices.numpy() / ball.radii.numpy()) ** 3.3
    np.testing.assert_allclose(where.sum(1), 1.0, atol=1e-6)


@pytest.mark.row(168)
def test_a_material_and_a_geometry_of_a_scene_file_are_drawn_with_gradients(f64, tmp_path):
    scene = tidr.load(write_scene(tmp_path))
    wanted = scene.parameters("box.power", "box.radii", "cloth.albedo", "cloth.roughness", "key.direction")
    weights = np.random.default_rng(1).uniform(0.2, 1, (SIZE, SIZE, 3)) * (draw(scene).alpha.numpy() > 0)
    inside = np.zeros((SIZE, SIZE, 1))
    inside[8:16, 8:16] = 1  # where no outline passes
    directional_check(lambda: weighted(draw(scene).rgb, weights * inside), list(wanted.values()), f64)


@pytest.mark.row(168)
def test_a_loss_has_its_gradient(f64):
    rng = np.random.default_rng(2)
    seen = tidr.Parameter(rng.uniform(size=(5, 6, 3)))
    image, target = (
        tidr.Image({"rgb": lambda array=array: array}) for array in (seen, tidr.Array.of(np.zeros(seen.shape)))
    )
    check_loss("fit.losses", "lorentzian")
    from tidr.fitting.own_losses import OWN

    loss = OWN["lorentzian"].function
    np.testing.assert_allclose(float(loss(image, target)), np.log(1 + 0.5 * (seen.numpy() / 0.1) ** 2).mean())
    directional_check(lambda: loss(image, target), [seen], f64)


def test_an_edge_treatment_moves_outlines(f64, tmp_path):
    """Against the change of the covered area, weighted by a slope, over a shift of a pixel."""
    scene = tidr.load(write_scene(tmp_path))
    row, column = np.meshgrid(np.linspace(0, 1, 96), np.linspace(-1, 2, 96), indexing="ij")
    box, weights = scene["box"], (row + column)[..., None] + row[..., None] ** 2

    def area(edges: str = "slope"):
        return weighted(draw(scene, edges, 96, channels=("alpha",)).alpha, weights)

    moves = [(box.translation, way) for way in np.eye(3)[:2]] + [(box.scale, 1.0)]
    gradients = tape_gradients(area, [place for place, _ in moves])
    assert not tape_gradients(lambda: area("none"), [box.translation])[0].any()
    for (place, way), gradient in zip(moves, gradients, strict=True):
        start, values = place.numpy(), []
        for step in (-0.15, 0.15):
            place.set(start + way * step)
            values.append(float(area()))
        place.set(start)
        assert (gradient * way).sum() == pytest.approx((values[1] - values[0]) / 0.3, rel=0.03)
    assert draw(scene, "slope").rgb.numpy().sum() == draw(scene, "none").rgb.numpy().sum()


@pytest.mark.row(168)
def test_a_renderer_has_gradients(f64, tmp_path):
    scene = tidr.load(write_scene(tmp_path))
    renderer, weights = tidr.load_plugin(EXAMPLES / "renderer.py").DotRenderer(sigma=0.7), np.random.default_rng(3)
    weights = weights.normal(size=(SIZE, SIZE, 3))
    wanted = scene.parameters("box.radii", "box.translation", "front.position")
    directional_check(lambda: weighted(tidr.render(scene, renderer=renderer).rgb, weights), list(wanted.values()), f64)


@pytest.mark.row(168)
def test_a_fit_by_names_alone_brings_the_shape_back(f64, tmp_path):
    """Renderer, loss, geometry and material are all the user's own; the command finds them by --plugin."""
    scene = tidr.load(write_scene(tmp_path))
    tidr.render(scene, renderer="dots").save(tmp_path / "seen.npy")
    fit = """
[fit]
targets = { front = "seen.npy" }
parameters = { "box.power" = { lr = 0.1, start = [2.5] } }
losses = { lorentzian = 1.0 }
renderer = { type = "dots", sigma = 1.0 }
steps = 25
"""
    write_scene(tmp_path, SCENE + fit)
    command = ["--plugin", str(EXAMPLES / "renderer.py"), "--plugin", str(EXAMPLES / "loss.py"), "fit"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "scene.toml"), "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    fitted = tidr.load(tmp_path / "run" / "scene.toml")
    assert float(fitted["box"].geometry.power.numpy()) == pytest.approx(3, abs=0.05)


def test_a_scene_with_its_plugins_is_written_and_read(f64, tmp_path):
    scene = tidr.load(write_scene(tmp_path))
    scene["box"].geometry.power.set(2.75)
    (tmp_path / "copy").mkdir()
    tidr.write_scene(scene, tmp_path / "copy" / "a.toml")
    again = tidr.load(tmp_path / "copy" / "a.toml")
    assert again["box"].geometry.power.numpy() == 2.75
    assert again["box"].materials == ("cloth",)
    np.testing.assert_allclose(draw(again).rgb.numpy(), draw(scene).rgb.numpy(), atol=1e-12)
    mesh = tidr.extract.mesh_of(again["box"])
    np.testing.assert_array_equal(mesh.vertices.numpy(), again["box"].geometry.vertices().numpy())


def test_no_scene_file_runs_code_of_its_own(tmp_path):
    """A plugin that has not been run, one that has changed since, and one outside of the folder."""
    mark = tmp_path / "ran"
    path = write_scene(tmp_path, 'plugins = ["own.py"]\n')
    (tmp_path / "own.py").write_text(f"import pathlib\n\npathlib.Path({str(mark)!r}).touch()\n")
    with pytest.raises(FileError, match=r"plugins\[0\]: .*not been run .*--plugin .*own.py"):
        tidr.load(path)
    assert not mark.exists()
    tidr.load_plugin(tmp_path / "own.py")
    assert mark.exists()
    tidr.load(path)
    (tmp_path / "own.py").write_text("pass\n")
    with pytest.raises(FileError, match="not been run"):
        tidr.load(path)
    path.write_text('plugins = ["../own.py"]\n')
    with pytest.raises(FileError, match="climbs out"):
        tidr.load(path)


def test_code_that_came_with_tidr_runs_and_nothing_else(tmp_path):
    """Also where a fit has put a copy of it; but none that was changed."""
    (own,) = tidr.load("adversarial").plugins
    (tmp_path / "copy.py").write_bytes(own.read_bytes())
    path = write_scene(tmp_path, 'plugins = ["copy.py"]\n')
    assert tidr.load(path).plugins == [tmp_path / "copy.py"]
    (tmp_path / "copy.py").write_bytes(own.read_bytes() + b"\n")
    with pytest.raises(FileError, match="not been run"):
        tidr.load(path)


def test_faults_of_plugins_are_told(tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\nx = y\n")
    with pytest.raises(FileError, match=r"bad\.py:2: NameError"):
        tidr.load_plugin(tmp_path / "bad.py")
    with pytest.raises(FileError, match=r"expected a list"):
        tidr.load(write_scene(tmp_path, "plugins = 3\n"))
    bad = SCENE.replace("power = 3", "pover = 3")
    with pytest.raises(FileError, match=r"nodes.box.power_ball.pover: unknown key, did you mean 'power'"):
        tidr.load(write_scene(tmp_path, bad))
    with pytest.raises(FileError, match=r"nodes.box.mesh|nodes.box.power_ball: stands beside mesh"):
        tidr.load(write_scene(tmp_path, SCENE + 'mesh = "a.obj"\n'))
    result = CliRunner().invoke(app, ["--plugin", str(tmp_path / "none.py"), "scenes"])
    assert result.exit_code == 2


def test_names_that_tidr_has_are_refused():
    for register, name in (
        (tidr.register_loss, "mse"),
        (tidr.register_edges, "soft"),
        (tidr.register_geometry, "mesh"),
    ):
        with pytest.raises(SceneError, match=name):
            register(name)(object)
