"""Features of pictures for `losses.perceptual`: what a user's function has to be, and a bank that needs no weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import SceneError

Product = Callable[[list[np.ndarray]], np.ndarray]


class Features(Protocol):
    """Features of pictures [B, H, W, C], and their vector-Jacobian product; see `losses.perceptual`."""

    def __call__(self, pictures: np.ndarray, /) -> tuple[list[np.ndarray], Product]: ...


@dataclass(frozen=True, kw_only=True)
class RandomFeatures:
    """Fixed random 3 x 3 convolutions in layers, on the host: each is rectified and halved in size for the next.

    Random filters tell textures and shapes apart nearly as well as trained ones do (Ustyuzhaninov, Brendel, Gatys and
    Bethge 2016, "Texture Synthesis Using Shallow Convolutional Networks with Random Filters"); the halved layers mind a
    shift less than pixels do.

    layers: at most so many, as long as both sides are 2 pixels or more. channels: of each layer. content: give the
    layers. style: give their Gram matrices as well, times this (Gatys, Ecker and Bethge 2015, "A Neural Algorithm of
    Artistic Style"), which know no places; 0 leaves them out. seed: of the filters.
    """

    layers: int = 3
    channels: int = 16
    content: bool = True
    style: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.layers <= 16 and 1 <= self.channels <= 1024):
            what = f"layers is {self.layers}, channels {self.channels}"
            raise SceneError("RandomFeatures", what, "take 1 to 16 layers of 1 to 1024 channels")
        if not self.style >= 0 or not (self.content or self.style):
            raise SceneError("RandomFeatures", f"style is {self.style}, content {self.content}", "take one of them")

    def __call__(self, pictures: np.ndarray, /) -> tuple[list[np.ndarray], Product]:
        random, found, steps, held = np.random.default_rng(self.seed), [], [], pictures
        while len(found) < self.layers and min(held.shape[1:3]) >= 2:
            filters = random.normal(size=(3, 3, held.shape[-1], self.channels)) / np.sqrt(4.5 * held.shape[-1])
            spread = _convolved(held, filters)
            steps.append((held.shape, filters, spread > 0))
            held = _halved(np.maximum(spread, 0))
            found.append(held)
        if not found:
            raise SceneError("RandomFeatures", f"pictures of shape {pictures.shape}", "give 2 pixels or more each way")

        def back(cotangents: list[np.ndarray]) -> np.ndarray:
            given = cotangents[: len(found)] if self.content else [np.zeros_like(layer) for layer in found]
            if self.style:
                parts = _gram_adjoint(found, cotangents[-len(found) :])
                given = [layer + self.style * part for layer, part in zip(given, parts, strict=True)]
            below = np.zeros_like(found[-1])
            for (shape, filters, open_), cotangent in zip(reversed(steps), reversed(given), strict=True):
                spread = _halved_adjoint(below + cotangent, shape[1:3]) * open_
                below = _convolved(spread, filters[::-1, ::-1].transpose(0, 1, 3, 2))
            return below

        grams = [self.style * gram for gram in _gram(found)] if self.style else []
        return [*(found if self.content else []), *grams], back


def _convolved(pictures: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """[B, H, W, N] of [B, H, W, C] and [3, 3, C, N], over zeros at the border."""
    height, width = pictures.shape[1:3]
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = (padded[:, i : i + height, j : j + width] @ filters[i, j] for i in range(3) for j in range(3))
    return np.sum(list(parts), axis=0)


def _halved(layer: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    rows, columns = (size // 2 for size in layer.shape[1:3])
    even = layer[:, : 2 * rows, : 2 * columns]
    return even.reshape(len(layer), rows, 2, columns, 2, -1).mean((2, 4))


def _halved_adjoint(cotangent: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    wide = np.repeat(np.repeat(cotangent, 2, 1), 2, 2) / 4
    missing = [have - want for have, want in zip(size, wide.shape[1:3], strict=True)]
    return np.pad(wide, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))


def _gram(layers: list[np.ndarray]) -> list[np.ndarray]:
    """[B, N, N] means over pixels of products of channels."""
    return [np.einsum("bhwm,bhwn->bmn", layer, layer) / (layer.shape[1] * layer.shape[2]) for layer in layers]


def _gram_adjoint(layers: list[np.ndarray], cotangents: list[np.ndarray]) -> list[np.ndarray]:
    return [
        np.einsum("bhwm,bmn->bhwn", layer, g + g.transpose(0, 2, 1)) / (layer.shape[1] * layer.shape[2])
        for layer, g in zip(layers, cotangents, strict=True)
    ]
