"""Plots of fits, and what TensorBoard is told."""

import sys

import numpy as np
import pytest

import tidr
from tidr.errors import FileError, SceneError
from tidr.scene.outline import outlines


def scene_of_points() -> tidr.Scene:
    """Ten points, a triangle under a moved group, and Gaussians."""
    scene, rng = tidr.Scene(tidr.Film(16, 16)), np.random.default_rng(0)
    scene.add_node("group", tidr.Node(translation=(0, 0, 1), scale=2.0))
    scene.add_node("dots", tidr.Node(tidr.PointCloud(rng.normal(size=(10, 3)) * 0.3, rng.uniform(0, 1, (10, 3)))))
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    scene.add_node("tile", tidr.Node(tidr.Mesh(corners, [[0, 1, 2]], colors=np.eye(3)), parent="group"))
    scene.add_material("clay", tidr.Material("lambert", albedo=(0.2, 0.4, 0.6)))
    scene.add_node("clay_tile", tidr.Node(tidr.Mesh(corners, [[0, 1, 2]]), ("clay",)))
    zeros = np.zeros((4, 3))
    rotations = np.tile([1.0, 0, 0, 0], (4, 1))
    scene.add_node("beads", tidr.Node(tidr.Gaussians(zeros, zeros - 2, rotations, np.zeros(4), zeros)))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=40, width=16, height=16))
    return scene


def test_outlines_stand_in_world_space(f32):
    found = {outline.name: outline for outline in outlines(scene_of_points())}
    assert list(found) == ["dots", "tile", "clay_tile", "beads"]
    assert np.allclose(found["tile"].positions, [[0, 0, 1], [2, 0, 1], [0, 2, 1]])
    assert np.array_equal(found["tile"].faces, [[0, 1, 2]])
    assert np.allclose(found["tile"].colors, np.eye(3))
    assert np.allclose(found["clay_tile"].colors, (0.2, 0.4, 0.6))
    assert found["dots"].faces.shape == (0, 3)
    assert np.allclose(found["beads"].colors, 0.5)


def fitted(folder=None, watcher=None, steps: int = 6):
    """A few steps of a fit of the points' colours."""
    scene = scene_of_points()
    for name in ("tile", "clay_tile", "beads"):
        del scene.nodes[name]
    params = scene.parameters("dots.colors", "dots.translation")
    views = tidr.Views([scene.cameras["front"]], [np.zeros((16, 16, 3))])
    made = watcher(scene, params) if watcher else None
    renderer = tidr.PointRenderer(splat="gaussian", sigma_pixels=1.5)
    result = tidr.fit(scene, views, params, steps=steps, output=folder, renderer=renderer, watcher=made)
    return result, made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fit's folder, its result, and the history of its parameters."""
    pytest.importorskip("matplotlib")
    from tidr import plots

    tidr.init(arch="cpu")
    folder = tmp_path_factory.mktemp("run")
    result, history = fitted(folder, lambda scene, params: plots.History(params, every=2))
    return plots, folder, result, history


def pixels(plot) -> np.ndarray:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(plot._repr_png_())) as opened:
        return np.asarray(opened.convert("RGB"))


def test_the_loss_curve_is_that_of_the_table(run):
    plots, folder, result, _ = run
    for given in (result, folder, str(folder / "loss.csv")):
        (axes,) = plots.losses(given).axes
        (line,) = axes.lines
        assert np.allclose(line.get_ydata(), result.losses[:, 1], rtol=1e-6)
        assert axes.get_yscale() == "log"
    assert np.ptp(pixels(plots.losses(result))) > 100


def test_a_fit_draws_its_loss(run):
    from PIL import Image

    with Image.open(run[1] / "loss.png") as opened:
        assert opened.size[0] > 300


def test_parameters_are_followed(run):
    plots, _, result, history = run
    assert history.steps == [0, 2, 4, 6]
    assert np.allclose(history.values["dots.colors"][-1], result.scene["dots"].geometry.colors.numpy())
    plot = plots.parameters(history, truth={"dots.translation": (0, 0, 0)})
    colors, place = plot.axes
    assert [axes.get_title() for axes in plot.axes] == ["dots.colors", "dots.translation"]
    assert len(colors.lines) == 1  # thirty entries: the mean, and the range as an area
    assert np.allclose(colors.lines[0].get_ydata(), [value.mean() for value in history.values["dots.colors"]])
    assert len(place.lines) == 3 + 3
    with pytest.raises(SceneError, match="watches nothing"):
        plots.parameters(plots.History({}))


def test_pictures_stand_side_by_side(run, tmp_path):
    plots = run[0]
    red = np.zeros((4, 5, 3))
    red[..., 0] = 0.5
    plot = plots.pictures({"one": red, "two": np.arange(20.0).reshape(4, 5, 1)})
    one, two = plot.axes
    assert one.get_title() == "one"
    assert np.allclose(one.images[0].get_array()[0, 0], [0.7354, 0, 0], atol=1e-3)  # 0.5 as sRGB
    assert two.images[0].get_array().shape == (4, 5)
    assert len(plots.pictures([red] * 5).axes) == 8
    plot.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SceneError, match=r"has shape \(2, 4, 5, 3\)"):
        plots.pictures([np.zeros((2, 4, 5, 3))])


def test_what_is_no_fit_is_named(run, tmp_path):
    plots = run[0]
    (tmp_path / "loss.csv").write_text("step,loss\n1,two\n")
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileError, match="give the folder of a fit"):
            plots.losses(wrong)


@pytest.mark.row(166)
def test_tensorboard_is_told_of_scalars_pictures_and_meshes(f32, tmp_path):
    """Read back by TensorBoard's own reader and plugin."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.mesh.metadata import parse_plugin_metadata
    from tensorboard.util.tensor_util import make_ndarray

    from tidr import tensorboard as board

    heard = []

    class Inner(board.Watcher):
        def step(self, step, loss, psnr) -> None:
            heard.append(loss)

    def watcher(scene, params):
        return board.TensorBoard(tmp_path, scene, every=4, size=(8, 6), renderer="points", inner=Inner())

    result, _ = fitted(watcher=watcher)
    told = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0, "images": 0})
    told.Reload()
    assert [event.step for event in told.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert np.allclose([event.value for event in told.Scalars("loss")], result.losses[:, 1], rtol=1e-6)
    assert heard == [*result.losses[:, 1]]
    assert [(event.step, event.width, event.height) for event in told.Images("camera/front")] == [
        (0, 8, 6), (4, 8, 6), (6, 8, 6)
    ]  # fmt: skip
    last = told.Tensors("node/dots_VERTEX")[-1]
    assert last.step == 6
    place = result.scene["dots"].translation.numpy()
    positions = make_ndarray(last.tensor_proto)
    assert np.allclose(positions[0], result.scene["dots"].geometry.positions.numpy() + place, atol=1e-6)
    about = parse_plugin_metadata(told.SummaryMetadata("node/dots_VERTEX").plugin_data.content)
    assert (about.name, list(about.shape)) == ("node/dots", [1, 10, 3])
    assert make_ndarray(told.Tensors("node/dots_COLOR")[-1].tensor_proto).dtype == np.uint8


@pytest.mark.row(166)
def test_tensorboard_shows_faces(f32, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    from tidr import tensorboard as board

    writer = board.TensorBoard(tmp_path, scene_of_points(), cameras=())
    writer.start(0, 1)
    writer.stop()
    told = EventAccumulator(str(tmp_path))
    told.Reload()
    assert np.array_equal(make_ndarray(told.Tensors("node/tile_FACE")[0].tensor_proto), [[[0, 1, 2]]])
    colors = make_ndarray(told.Tensors("node/tile_COLOR")[0].tensor_proto)
    assert np.array_equal(colors, 255 * np.eye(3)[None])


def test_a_tensorboard_that_is_missing_is_named(f32, monkeypatch):
    from typer.testing import CliRunner

    from tidr.cli import app

    monkeypatch.setitem(sys.modules, "tidr.tensorboard", None)
    done = CliRunner().invoke(app, ["fit", "cube", "--tensorboard", "logs"])
    assert done.exit_code == 2
    assert "pip install 'tidr[tensorboard]'" in done.output
