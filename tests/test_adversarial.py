"""Adversarial examples: small changes of a scene that raise the loss of a classifier of its pictures, or of a tracker.

Liu et al. 2019, "Beyond Pixel Norm-Balls: Parametric Adversaries using an Analytically Differentiable Renderer"; poses:
Alcorn et al. 2019, "Strike (with) a Pose"; trackers: Wiyatno and Xu 2019, "Physical Adversarial Textures That Fool
Visual Object Tracking". Steps by the gradient's sign, kept within a bound (Madry et al. 2018).
"""

import json
from collections.abc import Callable

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.array import Array
from tidr.cli import app
from tidr.fitting.features import RandomFeatures
from tidr.fitting.losses import halved
from tidr.fitting.tape import Loss
from tidr.problems.figures import quad
from tidr.scene.transform import quaternion_from_rotation
from tidr.scenes.adversarial import DRAWER, SIZE, bracket, classifier, mean_of, turned

STEPS, GUESSES = 15, 20


def seen(scene: tidr.Scene) -> Array:
    """What the classifier is shown, of 16 samples a pixel: with one, triangles smaller than pixels hide slopes."""
    return halved(halved(tidr.render(scene, "front", DRAWER, 4 * SIZE, 4 * SIZE).rgb))


def attacked(scene: tidr.Scene, bounds: dict, loss: Callable[[], Loss], rng: np.random.Generator) -> tuple:
    """What the loss rises by, and what by each of some random steps of the same size, of which every second is the
    one before it backwards, so that their mean is without the slope's noise; the scene keeps the attack."""
    values, before = scene.parameters(*bounds), float(loss())
    first, guesses = {path: value.numpy().astype(float) for path, value in values.items()}, []
    for _ in range(GUESSES // 2):
        step = {path: bounds[path] * rng.choice((-1.0, 1.0), value.shape) for path, value in values.items()}
        for way in (1, -1):
            for path, value in values.items():
                value.set(first[path] + way * step[path])
            guesses.append(float(loss()) - before)
    for path, value in values.items():
        value.set(first[path])
    for done in range(STEPS):
        with tidr.Tape(values) as tape:
            tape.add(loss())
        for path, value in values.items():
            step = value.numpy() + 0.5 * (1 - done / STEPS) * bounds[path] * np.sign(value.grad_numpy()) - first[path]
            value.set(first[path] + np.clip(step, -bounds[path], bounds[path]))
    return float(loss()) - before, guesses


@pytest.mark.long
def test_the_classifier_knows_poses_that_it_was_not_taught(f32):
    rng, things = np.random.default_rng(5), (bracket(), tidr.load("adversarial"))
    right = [(classifier()(turned(things[k % 2], rng)[None])[0][0] < np.log(2)) == k % 2 for k in range(30)]
    assert np.mean(right) >= 0.9


@pytest.mark.long
@pytest.mark.row(188)
@pytest.mark.parametrize(
    ("bounds", "times"),
    [
        ({"duck.vertices": 0.004}, 10),
        ({"paint.albedo": 0.03}, 10),
        ({"sky.coefficients": 0.05}, 3),
        ({"duck.rotation": 0.01, "duck.translation": 0.005}, 2),
        ({"front.focal": 0.25, "front.principal_point": 0.25, "front.distortion": 0.01}, 2),
    ],
    ids=["vertices", "texture", "light", "pose", "intrinsics"],
)
def test_the_loss_rises_far_more_than_by_chance(f32, bounds, times):
    """In four poses: ten times what guesses raise it by on average, more than the luckiest of them does, and `times`
    their mean change up or down; another's loss rises too.

    Lights, poses and lenses have few numbers, n: one guess alone already goes 1 / (1.25 sqrt(n)) as far, up or down.
    """
    rng, rises, of_another, all_guesses = np.random.default_rng(77), [], [], []
    for _ in range(4):
        scene = tidr.load("adversarial", ["cameras.front.distortion=[0, 0, 0, 0]"])
        turned(scene, rng)
        ours, other = (lambda scene=scene, seed=seed: mean_of(seen(scene), classifier(seed)) for seed in (0, 1))
        before = float(other())
        rise, guesses = attacked(scene, bounds, ours, rng)
        rises.append(rise)
        of_another.append(float(other()) - before)
        all_guesses.append(guesses)
    assert np.mean(of_another) > 0
    assert np.mean(rises) > 10 * np.mean(all_guesses)
    assert np.mean(rises) > np.mean(np.max(all_guesses, 1))
    assert np.mean(rises) > times * np.mean(np.abs(all_guesses))


@pytest.mark.long
@pytest.mark.row(188)
def test_the_bundled_attack_runs_by_name_and_says_how_far_it_came(f32, tmp_path):
    """The duck is taken for a bracket in the end, and what was written shows the same without asking for its plugin."""
    run = CliRunner().invoke(app, ["fit", "adversarial", "-o", str(tmp_path / "run")])
    assert run.exit_code == 0, run.output
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["bounds"]
    assert found["times"] > 10
    assert f"{found['times']:.1f} times as far as random steps" in run.output
    fitted, first = tidr.load(tmp_path / "run" / "scene.toml"), tidr.load("adversarial")["duck"].vertices.numpy()
    assert 0.9 * 1e-2 < np.abs(fitted["duck"].vertices.numpy() - first).max() < 1.001 * 1e-2
    loss = float(mean_of(tidr.render(fitted, "front", DRAWER).rgb, classifier()))
    assert loss == pytest.approx(-found["now"], rel=0.02)
    assert loss > np.log(2)


WINDOW, SHARP = 18, 12.0  # features a side of what is tracked; how strongly the best place counts


class Tracker:
    """Where what the middle of a first picture shows is in others: the soft maximum of a correlation of features."""

    def __init__(self, first: np.ndarray) -> None:
        self.features = RandomFeatures(layers=1, channels=12, style=0.0)
        (seen,), corner = self.features(first[None])[0], (SIZE // 2 - WINDOW) // 2
        template = seen[0, corner : corner + WINDOW, corner : corner + WINDOW]
        self.template = template - template.mean((0, 1))
        self.scale = SHARP / (self.template**2).sum()

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, Callable]:
        """Columns [B], in pixels, and their adjoint."""
        (seen,), back = self.features(pictures)
        windows = np.lib.stride_tricks.sliding_window_view(seen, (WINDOW, WINDOW), (1, 2))
        scores = self.scale * np.einsum("brkcij,ijc->brk", windows, self.template, optimize=True)
        share = np.exp(scores - scores.max((1, 2), keepdims=True))
        share /= share.sum((1, 2), keepdims=True)
        columns = 2.0 * np.arange(share.shape[2]) + WINDOW
        found = (share * columns).sum((1, 2))

        def adjoint(slope: np.ndarray) -> np.ndarray:
            moved = self.scale * slope[:, None, None] * share * (columns - found[:, None, None])
            cotangent = np.zeros_like(seen)
            for i, j in np.ndindex(WINDOW, WINDOW):
                rows, across = moved.shape[1:]
                cotangent[:, i : i + rows, j : j + across] += moved[..., None] * self.template[i, j]
            return back([cotangent])

        return found, adjoint


@pytest.mark.long
@pytest.mark.row(188)
def test_a_poster_draws_a_tracker_away(f32):
    """By 20 pixels and more from the duck before it, for three cameras at once; random colours do nothing."""
    scene = tidr.load("adversarial")
    poster = tidr.Texture(np.full((64, 64, 3), 0.35), wrap="clamp", filter="bilinear")
    scene.add_material("poster", tidr.Material("lambert", albedo=poster))
    view = scene["front"].camera_to_world
    turn = quaternion_from_rotation(view[:3, :3])
    scene.add_node("wall", tidr.Node(quad(2.2), ("poster",), None, tuple(-1.2 * view[:3, 2]), tuple(turn)))
    lens = {"fov_y_degrees": 40, "width": SIZE, "height": SIZE}
    cameras = [tidr.Camera.look_at(view[:3, 3] + 0.05 * k * view[:3, 0], (0, 0, 0), **lens) for k in range(3)]
    draw = lambda: tidr.render(scene, cameras, DRAWER).rgb  # noqa: E731
    pictures = draw().numpy().astype(np.float64)
    tracker = Tracker(pictures[0])
    assert np.abs(tracker(pictures)[0] - SIZE / 2).max() < 2
    rise, guesses = attacked(scene, {"poster.albedo": 0.35}, lambda: mean_of(draw(), tracker), np.random.default_rng(3))
    assert rise > 20
    assert max(np.abs(guesses)) < 0.5
