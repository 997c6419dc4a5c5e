"""The pictures that a scene is fitted to, with their cameras, on the device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tidr.kernels.image_batch import copy_block
from tidr.scene.camera import Camera

from ..array import Array
from ..errors import SceneError
from .tape import unrecorded


@dataclass(frozen=True)
class Batch:
    """Some views at once: cameras, rgb [B, H, W, 3] over the background, alpha [B, H, W, 1]."""

    cameras: list[Camera]
    rgb: Array
    alpha: Array


class Views:
    """N views of one size: cameras, pictures and names; the pictures are uploaded once.

    Args:
        cameras: N cameras. pictures: [N, H, W, 3 or 4], linear RGB and straight alpha (1 where there is none).
        background: linear RGB behind the pictures.
        names: for the report; numbers when None.

    Raises:
        SceneError: counts or sizes that do not fit together.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        pictures: Sequence[np.ndarray],
        background: Sequence[float] | None = (0.0, 0.0, 0.0),
        names: Sequence[str] | None = None,
    ) -> None:
        if not len(cameras) or len(cameras) != len(pictures):
            raise SceneError("views", f"{len(cameras)} cameras and {len(pictures)} pictures", "give one picture each")
        self.names = list(names) if names is not None else [f"view_{n:03d}" for n in range(len(cameras))]
        shapes = {np.shape(picture)[:2] for picture in pictures}
        if len(shapes) > 1:
            raise SceneError("views", f"pictures of unequal sizes {sorted(shapes)}", "resize them to one size")
        colours, masks = zip(*(_split(name, picture) for name, picture in zip(self.names, pictures, strict=True)))
        mask = np.stack(masks)
        colour = np.stack(colours) * mask + (1 - mask) * np.asarray(background or (0.0, 0.0, 0.0), np.float32)
        self.cameras = list(cameras)
        self.has_alpha = bool((mask < 1).any())
        self.digest = hashlib.sha256(colour.tobytes() + mask.tobytes()).hexdigest()
        self.rgb, self.alpha = Array.of(colour, needs_grad=False), Array.of(mask, needs_grad=False)
        self._batches: dict[int, tuple[Array, Array]] = {}

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[1], self.rgb.shape[2]

    def batch(self, indices: Sequence[int]) -> Batch:
        """The chosen views; two batches of one length share their memory."""
        count, (height, width) = len(indices), self.size
        if count not in self._batches:
            shape = (count, height, width)
            self._batches[count] = (Array((*shape, 3), needs_grad=False), Array((*shape, 1), needs_grad=False))
        rgb, alpha = self._batches[count]
        pixels = height * width
        with unrecorded():
            for place, index in enumerate(indices):
                copy_block(pixels, 3, self.rgb.value, int(index) * pixels, rgb.value, place * pixels)
                copy_block(pixels, 1, self.alpha.value, int(index) * pixels, alpha.value, place * pixels)
        rgb.touch()
        alpha.touch()
        return Batch([self.cameras[index] for index in indices], rgb, alpha)

    def masks(self, indices: Sequence[int]) -> np.ndarray:
        """[n, H, W] alphas of the chosen views."""
        return self.alpha.numpy()[list(indices), ..., 0]

    def pictures(self, indices: Sequence[int]) -> np.ndarray:
        """[n, H, W, 3] linear RGB over the background of the chosen views."""
        return self.rgb.numpy()[list(indices)]


def schedule(count: int, per_step: int, seed: int, step: int) -> list[int]:
    """Which of `count` views step number `step` sees: seeded permutations, one after the other, cut into batches.

    It depends on nothing but its arguments, so a resumed fit goes on as if it had not stopped.
    """
    per_step = min(per_step, count)
    first = step * per_step
    return [int(_permutation(count, seed, k // count)[k % count]) for k in range(first, first + per_step)]


def kept_out(count: int, every: int) -> tuple[list[int], list[int]]:
    """(indices to fit to, indices kept out): of each `every` views the last is kept out; 0 keeps out none.

    Raises:
        SceneError: nothing is left to fit to.
    """
    held = [index for index in range(count) if every and index % every == every - 1]
    fitted = [index for index in range(count) if index not in held]
    if not fitted:
        raise SceneError("fit.hold_out", f"is {every}: no view is left to fit to", "take 2 or more, or 0")
    return fitted, held


def straight(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The pictures [H, W, 3 or 4] with straight alpha, whichever of the two ways their files hold colour.

    Some tools write PNG colour multiplied by alpha. The border pixels of all pictures together tell: there, straight
    colour is that of the opaque neighbour, premultiplied colour is alpha times as dark.
    """
    as_is, darker = 0.0, 0.0
    for picture in pictures:
        if picture.shape[2] == 4:
            for colour, alpha, neighbour in _borders(picture):
                as_is += float(np.abs(colour - neighbour).sum())
                darker += float(np.abs(colour - alpha * neighbour).sum())
    if darker >= as_is:
        return list(pictures)
    return [_unmultiplied(picture) if picture.shape[2] == 4 else picture for picture in pictures]


def _borders(picture: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(colour, alpha, colour of an opaque neighbour) of half covered pixels, for each of the four directions."""
    colour, alpha = picture[..., :3], picture[..., 3:]
    partial, opaque = (alpha[..., 0] > 0.1) & (alpha[..., 0] < 0.9), alpha[..., 0] > 0.99
    for axis in (0, 1):
        for shift in (1, -1):
            found = partial & np.roll(opaque, shift, axis)
            yield colour[found], alpha[found], np.roll(colour, shift, axis)[found]


def _unmultiplied(picture: np.ndarray) -> np.ndarray:
    alpha = picture[..., 3:]
    return np.concatenate([picture[..., :3] / np.maximum(alpha, 1e-3), alpha], -1)


def _split(name: str, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(colour [H, W, 3], alpha [H, W, 1])."""
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4) or picture.dtype.kind != "f":
        what = f"picture has shape {picture.shape} of {picture.dtype}"
        raise SceneError(name, what, "give linear floats [H, W, 3], or [H, W, 4] with straight alpha")
    if not np.isfinite(picture).all():
        raise SceneError(name, "the picture holds numbers that are not finite")
    picture = picture.astype(np.float32)
    alpha = picture[..., 3:] if picture.shape[2] == 4 else np.ones_like(picture[..., :1])
    return picture[..., :3], alpha


def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)
