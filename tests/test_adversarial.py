"""Adversarial examples: changes of a scene too small to see that raise the loss of a classifier of its pictures.

Liu et al. 2019, "Beyond Pixel Norm-Balls: Parametric Adversaries using an Analytically Differentiable Renderer"; steps
by the gradient's sign, kept within a bound (Madry et al. 2018).
"""

from collections.abc import Callable

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.fitting.features import RandomFeatures
from tidr.fitting.tape import Loss, Operation, run
from tidr.problems.figures import lone

from .conftest import start

SIZE, STEPS, GUESSES, TAUGHT, RIDGE, GAIN = 96, 15, 20, 80, 0.03, 3.0
DRAWER = tidr.Rasterizer(channels=("rgb",))
Score = Callable[[np.ndarray], tuple[np.ndarray, Callable]]


def classifier(pictures: np.ndarray, kinds: np.ndarray, seed: int) -> Score:
    """What gives [B] scores of pictures, above 0 for a ball, and their adjoint: ridge regression on random features."""
    features = RandomFeatures(layers=2, channels=12, style=0.0, seed=seed)
    flat = lambda layers: np.concatenate([one.reshape(len(one), -1) for one in layers], 1)  # noqa: E731
    seen = flat(features(pictures)[0])
    middle, near = seen.mean(0), seen - seen.mean(0)
    gram = near @ near.T
    head = near.T @ np.linalg.solve(gram + RIDGE * np.trace(gram) * np.eye(TAUGHT) / TAUGHT, GAIN * (2.0 * kinds - 1))

    def score(pictures: np.ndarray) -> tuple[np.ndarray, Callable]:
        layers, back = features(pictures)
        parts = np.split(head, np.cumsum([one[0].size for one in layers])[:-1])
        heads = [part.reshape(one[0].shape) for part, one in zip(parts, layers, strict=True)]
        return (flat(layers) - middle) @ head, lambda slope: back([slope[:, None, None, None] * one for one in heads])

    return score


def loss_of(scene: tidr.Scene, score: Score, kind: int) -> Loss:
    """-log of the probability that the classifier gives to what the picture does show."""
    rgb, loss, sign, kept = tidr.render(scene, renderer=DRAWER).rgb, Array(()), 2 * kind - 1, []

    def forward() -> None:
        found, back = score(rgb.numpy().astype(np.float64).reshape(1, SIZE, SIZE, 3))
        kept[:] = [back, -sign / (1 + np.exp(sign * found))]
        loss.set(np.logaddexp(0, -sign * found[0]))

    def backward() -> None:
        back, slope = kept
        rgb.set_grad(rgb.grad_numpy() + float(loss.grad_numpy()) * back(slope).reshape(rgb.shape))

    run(Operation(forward, backward, [rgb], [loss], "cross entropy"))
    return Loss(loss, "cross entropy")


def some(rng: np.random.Generator, kind: int) -> tidr.Scene:
    """A ball (1) or a cushion with four-fold symmetry (0), turned and painted at random, under a sky."""
    vertices, faces = tidr.icosphere(3, 0.7)
    if not kind:
        vertices = 0.7 * vertices / np.linalg.norm(vertices, ord=4, axis=1, keepdims=True)
    turn, paint = rng.normal(size=4), np.clip(0.6 + 0.1 * rng.normal(size=3) + np.zeros((len(vertices), 3)), 0, 1)
    scene = lone(tidr.Mesh(vertices, faces, colors=paint), "thing", SIZE, materials=("paint",))
    scene["thing"].rotation.set(turn / np.linalg.norm(turn))
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    scene.add_light("sky", tidr.SphericalHarmonicLight(np.outer((2.5, 0.6, 0.5, 0.4, 0, 0, 0, 0, 0), np.ones(3))))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=35, width=SIZE, height=SIZE))
    return scene


@pytest.fixture(scope="module")
def classifiers() -> list[Score]:
    """Two of different features, taught by pictures of things in any pose."""
    start("cpu", 32)
    rng, kinds = np.random.default_rng(0), np.arange(TAUGHT) % 2
    pictures = [tidr.render(some(rng, int(kind)), renderer=DRAWER).rgb.numpy().astype(np.float64) for kind in kinds]
    return [classifier(np.stack(pictures), kinds, seed) for seed in (0, 1)]


@pytest.mark.long
@pytest.mark.row(188)
@pytest.mark.parametrize(
    ("path", "bound", "times"),
    [("thing.vertices", 0.002, 10), ("thing.colors", 0.03, 10), ("sky.coefficients", 0.05, 4)],
)
def test_the_loss_rises_far_more_than_by_chance(f32, classifiers, path, bound, times):
    """On four things: more than by the luckiest guess, and `times` a guess's mean change; another's loss rises too.

    A light has 27 numbers only, of which chance finds fair ones.
    """
    rng, rises, by_chance = np.random.default_rng(77), [], []
    for kind in (0, 1, 0, 1):
        scene = some(rng, kind)
        value = scene.parameters(path)[path]
        first, guesses = value.numpy().astype(float), []
        ours, other = (float(loss_of(scene, one, kind)) for one in classifiers)
        for _ in range(GUESSES):
            value.set(first + bound * rng.choice((-1.0, 1.0), value.shape))
            guesses.append(float(loss_of(scene, classifiers[0], kind)) - ours)
        value.set(first)
        for _ in range(STEPS):
            with tidr.Tape(scene.parameters(path)) as tape:
                tape.add(loss_of(scene, classifiers[0], kind))
            step = value.numpy() + 0.25 * bound * np.sign(value.grad_numpy()) - first
            value.set(first + np.clip(step, -bound, bound))
        rises.append(float(loss_of(scene, classifiers[0], kind)) - ours)
        assert rises[-1] > max(guesses)
        assert float(loss_of(scene, classifiers[1], kind)) > other
        by_chance.append(np.mean(np.abs(guesses)))
    assert np.mean(rises) > times * np.mean(by_chance)
