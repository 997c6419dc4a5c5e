"""The loss of `tidr fit adversarial`: how wrong a classifier of pictures is that tells ducks from brackets. A plugin.

Run: python scenes/adversarial.py, which draws the picture that the fit is held against.
"""

import functools
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.features import RandomFeatures
from tidr.fitting.tape import Loss, Operation, run, unrecorded

SIZE, TAUGHT, RIDGE, GAIN = 96, 80, 0.03, 3.0
ASSETS = Path(str(resources.files("tidr.scenes"))) / "assets"
DRAWER = tidr.Rasterizer(edges="splat", channels=("rgb",))
Function = Callable[[np.ndarray], tuple[np.ndarray, Callable]]  # of [B, H, W, 3]: [B] numbers and their adjoint


def bracket() -> tidr.Scene:
    """The scene of the attack with a bracket of the duck's colour in the duck's place."""
    changes = (f"mesh={ASSETS / 'bracket.obj'}", "material=plain", "scale=1.2")
    return tidr.load("adversarial", [f"nodes.duck.{change}" for change in changes])


def turned(scene: tidr.Scene, rng: np.random.Generator) -> np.ndarray:
    """[SIZE, SIZE, 3] what is seen of a thing in some pose, which it keeps."""
    turn = rng.normal(size=4)
    scene["duck"].rotation.set(turn / np.linalg.norm(turn))
    return tidr.render(scene, "front", DRAWER).rgb.numpy().astype(np.float64)


@functools.cache
def classifier(seed: int = 0) -> Function:
    """What gives -log of the probability that pictures [B, SIZE, SIZE, 3] show a duck; it is a ridge regression on
    random features, taught by pictures of ducks and brackets in any pose."""
    rng, kinds, things = np.random.default_rng(0), np.arange(TAUGHT) % 2, (bracket(), tidr.load("adversarial"))
    with unrecorded():
        pictures = [turned(things[kind], rng) for kind in kinds]
    features = RandomFeatures(layers=2, channels=12, style=0.0, seed=seed)
    flat = lambda layers: np.concatenate([one.reshape(len(one), -1) for one in layers], 1)  # noqa: E731
    seen = flat(features(np.stack(pictures))[0])
    middle, near = seen.mean(0), seen - seen.mean(0)
    gram = near @ near.T
    head = near.T @ np.linalg.solve(gram + RIDGE * np.trace(gram) * np.eye(TAUGHT) / TAUGHT, GAIN * (2.0 * kinds - 1))

    def judge(pictures: np.ndarray) -> tuple[np.ndarray, Callable]:
        if pictures.shape[1:] != (SIZE, SIZE, 3):
            raise SceneError("no_duck", f"pictures have shape {pictures.shape[1:]}", f"draw {SIZE} x {SIZE} pixels")
        layers, back = features(pictures)
        parts = np.split(head, np.cumsum([one[0].size for one in layers])[:-1])
        heads = [part.reshape(one[0].shape) for part, one in zip(parts, layers, strict=True)]
        score = (flat(layers) - middle) @ head
        slopes = -1 / (1 + np.exp(score))
        return np.logaddexp(0, -score), lambda given: back([(given * slopes)[:, None, None, None] * h for h in heads])

    return judge


def mean_of(rgb: Array, function: Function) -> Loss:
    """The mean of what a function makes of pictures [..., H, W, 3]."""
    loss, kept = Array(()), []

    def forward() -> None:
        kept[:] = function(rgb.numpy().astype(np.float64).reshape(-1, *rgb.shape[-3:]))
        loss.set(kept[0].mean())

    def backward() -> None:
        found, back = kept
        slope = np.full(len(found), float(loss.grad_numpy()) / len(found))
        rgb.set_grad(rgb.grad_numpy() + back(slope).reshape(rgb.shape))

    run(Operation(forward, backward, [rgb], [loss], "mean of pictures"))
    return Loss(loss)


@tidr.register_loss("no_duck", neighbors=True)
def no_duck(image, target) -> Loss:
    return mean_of(image.rgb, classifier())


if __name__ == "__main__":
    from tidr.scenes.picture_sets import write_photo

    shown = tidr.render(tidr.load("adversarial"), "front", DRAWER).rgb.numpy()
    write_photo(ASSETS / "adversarial.webp", shown, quality=80)
