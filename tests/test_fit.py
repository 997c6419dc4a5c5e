"""The fit's loop: it converges, repeats itself bit for bit, allocates and compiles nothing once it runs, and says why
it stops."""

import csv
import json
import os
import signal

import numpy as np
import pytest
from taichi.lang.kernel_impl import Kernel

import tidr
from tests.fit_toys import toy_cameras, toy_pictures, toy_scene, toy_settings, toy_views
from tidr import buffer
from tidr.errors import SceneError
from tidr.fitting import losses
from tidr.fitting.fit import fit, fit_from_settings
from tidr.fitting.loop import FitError, Watcher
from tidr.fitting.optimizers import Adam
from tidr.fitting.settings import (
    DEPTH_LOSSES,
    LOSSES,
    MESH_LOSSES,
    FitSettings,
    ParameterSettings,
    StartSettings,
    checked,
)
from tidr.fitting.start import place, sphere_atlas, square, texture_size
from tidr.fitting.views import Views, schedule
from tidr.scene.topology import Topology


class Ear(Watcher):
    """Keeps what is said, and does something after a step."""

    def __init__(self, after=None) -> None:
        self.said: list[str] = []
        self.after = after or (lambda step: None)

    def step(self, step: int, loss: float, psnr: float | None) -> None:
        self.after(step)

    def say(self, text: str) -> None:
        self.said.append(text)


def rows_of(path) -> list[list[str]]:
    with open(path) as file:
        return list(csv.reader(file))


@pytest.mark.row(2)
def test_fit_finds_a_colour(f32):
    scene = toy_scene(colour=(0.2, 0.5, 0.6))
    result = fit(scene, toy_views(), "paint.albedo", steps=150, optimizer=Adam(scene.parameters("paint.albedo"), 5e-2))
    np.testing.assert_allclose(scene.materials["paint"].parameters()["albedo"].numpy(), (0.8, 0.3, 0.2), atol=0.02)
    assert result.loss < 1e-2 * result.losses[0, 1]
    assert result.steps == 150
    assert result.output is None


def test_fit_from_a_sphere_finds_shape_and_colour(f32, tmp_path):
    scene = toy_scene()
    before = scene.parameters()
    result = fit_from_settings(scene, toy_settings(tmp_path), tmp_path / "run")
    assert before["ball.vertices"] is not scene["ball"].vertices
    assert result.metrics["mean"]["iou"] > 0.93
    assert result.metrics["mean"]["psnr"] > 24
    assert result.metrics["views_are"] == "kept out of the fit"
    low, high = scene["ball"].mesh.bounds()
    np.testing.assert_allclose(high - low, (1.4, 1.82, 1.4), rtol=0.12)


@pytest.mark.row(172)
def test_run_folder_is_complete_and_opens_again(f32, tmp_path):
    run = tmp_path / "run"
    result = fit_from_settings(toy_scene(), toy_settings(tmp_path, steps=12), run)
    names = {"loss.csv", "before.png", "after.png", "target.png", "turntable.gif", "command.txt", "versions.json"}
    assert names | {"metrics.json", "scene.toml"} <= {path.name for path in run.iterdir()}
    assert json.loads((run / "metrics.json").read_text())["steps"] == 12
    assert json.loads((run / "versions.json").read_text())["tidr"] == tidr.__version__
    rows = rows_of(run / "loss.csv")
    assert rows[0] == ["step", "loss", "mse", "alpha_mse", "normal_consistency", "seconds"]
    assert [int(row[0]) for row in rows[1:]] == list(range(12))

    from tidr.files.scene_file import load_scene

    again = load_scene(run / "scene.toml")
    np.testing.assert_allclose(again["ball"].vertices.numpy(), result.scene["ball"].vertices.numpy(), atol=1e-6)
    camera = toy_cameras()[0]
    first, second = (tidr.render(scene, camera).rgb.numpy() for scene in (again, result.scene))
    assert np.abs(first - second).max() < 0.02


def test_resume_repeats_an_unbroken_fit_bit_for_bit(f32, tmp_path):
    settings = toy_settings(tmp_path, steps=30)
    whole = fit_from_settings(toy_scene(), settings, tmp_path / "whole")
    fit_from_settings(toy_scene(), settings, tmp_path / "parts", steps=15)
    parts = fit_from_settings(toy_scene(), settings, tmp_path / "parts", resume=True)
    for path, parameter in whole.scene.parameters("ball.vertices", "paint.albedo").items():
        assert np.array_equal(parameter.numpy(), parts.scene.parameters()[path].numpy()), path
    assert np.array_equal(whole.losses[:, :-1], parts.losses[:, :-1])
    rows = rows_of(tmp_path / "parts" / "loss.csv")
    assert [int(row[0]) for row in rows[1:]] == list(range(30))


def test_resume_refuses_another_scene_unless_forced(f32, tmp_path):
    settings = toy_settings(tmp_path, steps=4)
    fit_from_settings(toy_scene(), settings, tmp_path / "run", steps=2)
    other = toy_scene()
    other.lights["sky"].radiance.set(0.1)
    with pytest.raises(SceneError, match="another scene"):
        fit_from_settings(other, settings, tmp_path / "run", resume=True)
    other = toy_scene()
    other.lights["sky"].radiance.set(0.1)
    assert fit_from_settings(other, settings, tmp_path / "run", resume=True, force=True).steps == 4


def test_resume_without_a_checkpoint_begins_anew_and_says_so(f32, tmp_path):
    ear = Ear()
    settings = toy_settings(tmp_path, steps=2)
    assert fit_from_settings(toy_scene(), settings, tmp_path / "run", resume=True, watcher=ear).steps == 2
    assert any("no checkpoint" in text for text in ear.said)


def test_another_run_of_the_same_name_is_kept(f32, tmp_path):
    ear, settings = Ear(), toy_settings(tmp_path, steps=2)
    for _ in range(3):
        fit_from_settings(toy_scene(), settings, tmp_path / "run", watcher=ear)
    assert ear.said == [f"{tmp_path / 'run'} held another run, which is now run.{number}" for number in (1, 2)]
    files = {path.name for path in (tmp_path / "run.1").iterdir()}
    assert files == {path.name for path in (tmp_path / "run").iterdir()} >= {"scene.toml", "checkpoint-0000002.npz"}


def test_nothing_is_allocated_or_compiled_after_the_second_step(f32, tmp_path, monkeypatch):
    compiled = []
    materialize = Kernel.materialize

    def counted(self, key=None, *arguments, **options):
        if key not in self.compiled_kernels:
            compiled.append(self.func.__name__)
        return materialize(self, key, *arguments, **options)

    monkeypatch.setattr(Kernel, "materialize", counted)
    tidr.init("cpu")  # forget what other tests compiled
    marks: dict[int, tuple[int, int]] = {}

    def mark(step: int) -> None:
        marks[step] = (buffer.allocations, len(compiled))

    fit_from_settings(toy_scene(), toy_settings(tmp_path, steps=25), tmp_path / "run", watcher=Ear(mark))
    assert marks[1][1] > 0
    assert marks[25] == marks[2], compiled[marks[2][1] :]


def test_a_single_gradient_that_is_not_finite_is_skipped(f32):
    scene, calls = toy_scene(colour=(0.2, 0.5, 0.6)), []

    def sometimes(image, target):
        calls.append(1)
        return losses.mse(image, np.full(target.rgb.shape, 1e30 if len(calls) == 4 else 0.5))

    ear = Ear()
    result = fit(scene, toy_views(), "paint.albedo", losses=[sometimes], steps=8, watcher=ear)
    assert result.skipped == 1
    assert np.isnan(result.losses[:, 1]).sum() == 1
    assert any("skipped" in text for text in ear.said)
    assert np.isfinite(scene.parameters("paint.albedo")["paint.albedo"].numpy()).all()


def test_gradients_that_stay_infinite_stop_the_fit_and_name_the_step(f32, tmp_path):
    scene = toy_scene()

    def wild(image, target):
        return losses.mse(image, np.full(target.rgb.shape, 1e30))

    before = scene.parameters("paint.albedo")["paint.albedo"].numpy()
    with pytest.raises(FitError, match="stopped at step 4 after 5 steps"):
        fit(scene, toy_views(), "paint.albedo", losses=[wild], steps=50, output=tmp_path / "run")
    assert np.array_equal(before, scene.parameters("paint.albedo")["paint.albedo"].numpy())
    assert list((tmp_path / "run").glob("checkpoint-*.npz"))


def test_a_parameter_that_no_view_depends_on_is_named(f32):
    scene = toy_scene()
    scene.add_material("unused", tidr.Material("lambert"))
    with pytest.raises(FitError, match=r"unused\.albedo: its gradient is exactly zero"):
        fit(scene, toy_views(), ["paint.albedo", "unused.albedo"], steps=3)


def test_the_best_values_come_back_when_the_end_is_worse(f32):
    scene = toy_scene(colour=(0.2, 0.5, 0.6))
    optimizer = Adam(scene.parameters("paint.albedo"), lr=5e-2)

    def ruin(step: int) -> None:
        if step == 101:
            scene.parameters("paint.albedo")["paint.albedo"].set((0.0, 1.0, 1.0))
            optimizer.lr = 0.0

    watcher = Ear(ruin)
    fit(scene, toy_views(), "paint.albedo", optimizer=optimizer, steps=106, watcher=watcher)
    found = scene.parameters("paint.albedo")["paint.albedo"].numpy()
    np.testing.assert_allclose(found, (0.8, 0.3, 0.2), atol=0.05)


@pytest.mark.parametrize("anneal", [{}, {"sigma": 1e-4}], ids=["steady", "annealed"])
def test_an_annealed_fit_ends_where_it_ends(f32, tmp_path, anneal):
    """Losses of other pictures than the last are no reason to go back to the values of early steps."""
    scene = toy_scene(colour=(0.2, 0.5, 0.6))
    albedo = scene.parameters("paint.albedo")["paint.albedo"]

    def ruin(step: int) -> None:
        if step == 31:
            albedo.set((0.0, 1.0, 1.0))

    moves, soft = (
        {"paint.albedo": ParameterSettings(lr=0.1, final_lr=0.01)},
        {"type": "raster", "edges": "soft", "sigma": 1e-5},
    )
    settings = toy_settings(
        tmp_path, start={}, losses={"mse": 1.0}, parameters=moves, renderer=soft, anneal=anneal, steps=36
    )
    fit_from_settings(scene, settings, watcher=Ear(ruin))
    assert (np.abs(albedo.numpy() - (0.8, 0.3, 0.2)).max() < 0.15) == (not anneal)


def test_early_stop(f32, tmp_path):
    settings = toy_settings(tmp_path, steps=400, patience=30, tolerance=0.5)
    ear = Ear()
    result = fit_from_settings(toy_scene(), settings, watcher=ear)
    assert result.stopped_early
    assert result.steps < 400
    assert any("early" in text for text in ear.said)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_finishes_the_step_and_saves(f32, tmp_path, number, raised):
    def press(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)  # ignored where the tests run in the background of a shell
    with pytest.raises(raised) as caught:
        fit_from_settings(toy_scene(), toy_settings(tmp_path), tmp_path / "run", watcher=Ear(press))
    assert getattr(caught.value, "code", 143) == 143
    assert (tmp_path / "run" / "checkpoint-0000003.npz").exists()
    assert signal.getsignal(number) is before


def test_views_come_in_seeded_permutations_that_need_no_memory():
    order = [index for step in range(10) for index in schedule(10, 4, 7, step)]
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert order[:10] != order[10:20]
    assert order == [index for step in range(10) for index in schedule(10, 4, 7, step)]
    assert order != [index for step in range(10) for index in schedule(10, 4, 8, step)]


def test_views_refuse_what_does_not_fit_together(f32):
    cameras, pictures = toy_cameras(), toy_pictures()
    with pytest.raises(SceneError, match="unequal sizes"):
        Views(cameras[:2], [pictures[0], pictures[1][:16]]).batch([0, 1])
    with pytest.raises(SceneError, match="one picture each"):
        Views(cameras[:2], pictures)
    with pytest.raises(SceneError, match="not finite"):
        Views(cameras[:1], [np.full((4, 4, 3), np.nan)])


def test_batch_holds_the_chosen_views_over_the_background(f32):
    pictures = toy_pictures()
    views = Views(toy_cameras(), pictures, (0.1, 0.2, 0.3))
    batch = views.batch([4, 1])
    want = np.stack([pictures[4], pictures[1]])
    over = want[..., :3] * want[..., 3:] + (1 - want[..., 3:]) * [0.1, 0.2, 0.3]
    np.testing.assert_allclose(batch.rgb.numpy(), over, atol=1e-6)
    np.testing.assert_allclose(batch.alpha.numpy(), want[..., 3:], atol=1e-6)
    assert views.batch([0, 2]).rgb is batch.rgb


def test_sphere_atlas_is_closed_round_and_unfolded():
    vertices, faces, uvs, uv_faces = sphere_atlas(6, texture_size(64))
    topology = Topology(faces, len(vertices))
    assert topology.closed
    assert topology.oriented
    assert topology.euler_characteristic == 2
    assert len(vertices) == 10 * 36 + 2
    assert len(faces) == 20 * 36
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1)
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    assert ((normals * vertices[faces].mean(1)).sum(1) > 0).all()
    (ax, ay), (bx, by) = (uvs[uv_faces[:, k]].T - uvs[uv_faces[:, 0]].T for k in (1, 2))
    assert (ax * by - ay * bx > 0).all()
    assert uvs.min() > 0
    assert uvs.max() < 1


def test_a_square_faces_up_and_is_charted_as_seen_from_above():
    vertices, faces, uvs, uv_faces = square(3)
    assert (uv_faces == faces).all()
    assert len(faces) == 18
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    np.testing.assert_allclose(normals, np.tile((0, (2 / 3) ** 2, 0), (18, 1)))
    np.testing.assert_allclose(vertices[:, [0, 2]], (uvs * 2 - 1) * (1, -1), atol=1e-12)


def test_masks_tell_where_the_thing_is(f32):
    scene = toy_scene()
    scene.nodes["ball"].translation.set((0.2, -0.1, 0.15))
    masks = tidr.render(scene, toy_cameras()).alpha.numpy()[..., 0]
    centre, radius = place(toy_cameras(), masks)
    np.testing.assert_allclose(centre, (0.2, -0.1, 0.15), atol=0.02)
    assert 0.7 < radius < 0.9
    with pytest.raises(SceneError, match="do not tell"):
        place(toy_cameras()[:1], masks[:1])


@pytest.mark.parametrize("name", [name for name in LOSSES if "coarse_" not in name and name not in DEPTH_LOSSES])
def test_every_loss_moves_what_it_is_about(f32, name):
    scene = toy_scene(radius=0.6, colour=(0.2, 0.5, 0.6))
    chosen = scene.parameters("ball.vertices", "paint.albedo")
    colours = "alpha" not in name and "silhouette" not in name and name not in MESH_LOSSES
    params = chosen if colours else chosen.select("ball.vertices")
    result = fit(scene, toy_views(), params, losses=[name], optimizer=Adam(params, 1e-3), steps=3)
    assert result.columns[2] == name
    assert np.isfinite(result.losses).all()
    assert all(parameter.grad_numpy().any() for parameter in params.values())


def test_losses_of_a_mesh_need_a_mesh_that_is_fitted(f32):
    with pytest.raises(SceneError, match="no mesh is fitted"):
        fit(toy_scene(), toy_views(), "paint.albedo", losses={"mse": 1.0, "laplacian": 0.1}, steps=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "fit.steps"),
        ({"targets": {"front": "a.png"}}, "one of them"),
        ({"losses": {"mce": 1.0}}, "did you mean 'mse'"),
        ({"parameters": {"a": ParameterSettings(lr=-1)}}, "fit.parameters.a.lr"),
        ({"parameters": {"a": ParameterSettings(lr=1, optimizer="adom")}}, "did you mean 'adam'"),
        ({"start": {"a": StartSettings(resolution=1)}}, "fit.start.a.resolution"),
        ({"start": {"a": "cube"}}, "unknown name 'cube'"),
    ],
)
def test_settings_are_checked(changes, words):
    values = {"views": "v.json", "parameters": {"a": ParameterSettings(lr=1)}} | changes
    with pytest.raises(SceneError, match=words.replace(".", r"\.")):
        checked(FitSettings(**values))


@pytest.mark.parametrize(
    ("path", "channels", "words"),
    [
        ("ball.vertices", (3,), r"ball\.vertices\.channels: is \[3\].* has 3.*0 to 2"),
        ("ball.vertices", (), r"ball\.vertices\.channels: is \[\]"),
        ("ball.rotation", (1,), r"ball\.rotation\.channels.*one length"),
    ],
)
def test_channels_that_a_parameter_has_not_are_refused(f32, tmp_path, path, channels, words):
    moves = {path: ParameterSettings(lr=0.1, channels=channels)}
    with pytest.raises(SceneError, match=words):
        fit_from_settings(toy_scene(), toy_settings(tmp_path, start={}, losses={"mse": 1.0}, parameters=moves))
