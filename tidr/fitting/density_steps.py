"""Which Gaussians a fit adds, moves and takes away: adaptive density control, and relocation as a Markov chain."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidr.scene.gaussians import rotation_matrices

from .settings import DensifySettings

SPLIT_SHRINK = 1.6  # a half of a split Gaussian is so much smaller than the whole
MOST_COPIES = 51  # of one Gaussian at a time, beyond which its scale no longer changes
NEARLY_ONE = 1 - 1e-7

Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """What becomes of N Gaussians.

    values: all parameters [M, ...] by name. source [M]: of which old row an optimizer's memory goes on. fresh [M]:
    where it starts anew.
    """

    values: Rows
    source: np.ndarray
    fresh: np.ndarray


def adapted(
    cloud: Mapping[str, np.ndarray],
    gradients: np.ndarray,
    radii: np.ndarray,
    how: DensifySettings,
    extent: float,
    step: int,
    rng: np.random.Generator,
) -> Change | None:
    """Clone, split and prune by Kerbl, Kopanas, Leimkuehler and Drettakis 2023; None where nothing changes.

    What is kept goes on as it was; what is new starts with empty optimizer memory. A split takes two places drawn from
    the Gaussian itself. Where `max_count` would be passed, the largest gradients come first.

    Args:
        cloud: parameters [N, ...] by name. gradients [N]: mean length of the gradient by the place in the picture.
        radii [N]: largest radius seen, pixels. extent: object units.
    """
    count = len(cloud["means"])
    largest = np.exp(cloud["log_scales"]).max(1)
    high = gradients >= how.gradient_threshold
    room = max(how.max_count - count, 0)
    if high.sum() > room:
        order = np.argsort(-np.where(high, gradients, -np.inf), kind="stable")
        high[order[room:]] = False
    small = largest <= how.clone_share * extent
    clones, splits = np.flatnonzero(high & small), np.flatnonzero(high & ~small)
    kept = np.flatnonzero(~(high & ~small))
    halves = np.repeat(splits, 2)
    source = np.concatenate([kept, clones, halves])
    fresh = np.arange(len(source)) >= len(kept)
    values = {name: np.array(array[source]) for name, array in cloud.items()}
    if len(halves):
        axes = rotation_matrices(cloud["rotations"][halves].astype(np.float64))
        away = np.exp(cloud["log_scales"][halves]) * rng.standard_normal((len(halves), 3))
        values["means"][-len(halves) :] += np.einsum("nij,nj->ni", axes, away)
        values["log_scales"][-len(halves) :] -= math.log(SPLIT_SHRINK)
    lost = sigmoid(values["opacity_logits"][:, 0]) < how.prune_opacity
    if how.reset_every and step > how.reset_every:
        lost |= np.where(fresh, 0, radii[source]) > how.largest_radius
        lost |= np.exp(values["log_scales"]).max(1) > how.largest_share * extent
    if lost.all():  # a cloud keeps one at least
        lost[int(values["opacity_logits"][:, 0].argmax())] = False
    if not (lost.any() or high.any()):
        return None
    return Change({name: array[~lost] for name, array in values.items()}, source[~lost], fresh[~lost])


def relocated(cloud: Mapping[str, np.ndarray], how: DensifySettings, rng: np.random.Generator) -> Change | None:
    """Move Gaussians that are nearly transparent to others, then let the count grow; None where nothing changes.

    Kheradmand, Rebain, Sharma et al. 2024, "3D Gaussian Splatting as Markov Chain Monte Carlo": targets are drawn by
    opacity, and all that come to stand at one place get the opacity and scale with which they look as the one did
    (`shared`). The optimizer's memory of all of them starts anew.
    """
    values = {name: np.array(array) for name, array in cloud.items()}
    count = len(values["means"])
    source, fresh = np.arange(count), np.zeros(count, bool)
    opacity = sigmoid(values["opacity_logits"][:, 0])
    dead, alive = np.flatnonzero(opacity <= how.prune_opacity), np.flatnonzero(opacity > how.prune_opacity)
    if len(dead) and len(alive):
        chosen = rng.choice(alive, len(dead), p=opacity[alive] / opacity[alive].sum())
        _share(values, chosen, how)
        for array in values.values():
            array[dead] = array[chosen]
        source[dead] = chosen
        fresh[dead] = fresh[chosen] = True
    extra = max(min(int((1 + how.growth) * count), how.max_count) - count, 0)
    if extra:
        opacity = sigmoid(values["opacity_logits"][:, 0])
        chosen = rng.choice(count, extra, p=opacity / opacity.sum())
        _share(values, chosen, how)
        values = {name: np.concatenate([array, array[chosen]]) for name, array in values.items()}
        fresh[chosen] = True
        source, fresh = np.concatenate([source, source[chosen]]), np.concatenate([fresh, np.ones(extra, bool)])
    return Change(values, source, fresh) if fresh.any() else None


def shared(opacity: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(opacity of each, factor of its scale) of `copies` equal Gaussians in the place of one with this opacity.

    All in a row they are as opaque at the centre as the one, and along any line through it of equal sum of opacity:
    1 - (1 - a)^n = opacity, factor = opacity / sum_k C(n, k + 1) (-1)^k a^(k + 1) / sqrt(k + 1), k = 0 .. n - 1.
    """
    each = 1 - (1 - opacity) ** (1 / copies)
    total = np.zeros_like(opacity)
    for n in np.unique(copies):
        a = each[copies == n]
        total[copies == n] = sum(math.comb(n, k + 1) * (-1) ** k * a ** (k + 1) / math.sqrt(k + 1) for k in range(n))
    return each, opacity / total


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """In f64, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float64)))


def logit(shares: np.ndarray) -> np.ndarray:
    """The inverse of `sigmoid`."""
    return np.log(shares / (1 - shares))


def _share(values: Rows, chosen: np.ndarray, how: DensifySettings) -> None:
    """Give the Gaussians of `chosen` (with repeats: one for each copy to come) what each copy will have."""
    rows, counts = np.unique(chosen, return_counts=True)
    opacity = np.minimum(sigmoid(values["opacity_logits"][rows, 0]), NEARLY_ONE)
    each, factor = shared(opacity, np.minimum(counts + 1, MOST_COPIES))
    values["opacity_logits"][rows, 0] = logit(np.clip(each, how.prune_opacity, NEARLY_ONE))
    values["log_scales"][rows] += np.log(factor)[:, None]
