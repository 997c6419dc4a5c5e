"""The pictures that a scene is fitted to, with their cameras, on the device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidr.files.cameras import Frame, read_split
from tidr.files.guard import DEFAULT, Limits
from tidr.files.image import read_image
from tidr.kernels.image_batch import copy_block
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from ..array import Array
from ..errors import SceneError
from ..parameter import nearest
from .settings import FitSettings
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
        parts = [_split(name, picture) for name, picture in zip(self.names, pictures, strict=True)]
        mask = np.stack([part[1] for part in parts])
        colour = np.stack([part[0] for part in parts]) * mask + (1 - mask) * np.asarray(
            background or (0.0, 0.0, 0.0), np.float32
        )
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


def load_views(scene: Scene, settings: FitSettings, limits: Limits = DEFAULT) -> tuple[Views, Views | None]:
    """(the views to fit to, those kept out) that the settings name, over the film's background.

    Raises:
        FileError: missing or malformed files. SceneError: no such camera, unequal sizes, no view left.
    """
    if settings.views:
        fitted, held = read_split(settings.views, limits, every=settings.hold_out)
        return _of_frames(scene, fitted.frames), _of_frames(scene, held.frames) if len(held) else None
    cameras = []
    for name in settings.targets:
        if name not in scene.cameras:
            raise SceneError(f"fit.targets.{name}", "no such camera", nearest(name, scene.cameras))
        cameras.append(scene.cameras[name])
    pictures = [read_image(path, limits) for path in settings.targets.values()]
    background, names = scene.film.background, list(settings.targets)
    held = [index for index in range(len(names)) if settings.hold_out and index % settings.hold_out == 0]
    chosen = [[index for index in range(len(names)) if (index in held) == out] for out in (False, True)]
    if not chosen[0]:
        raise SceneError("fit.hold_out", f"is {settings.hold_out}: no view is left to fit to", "take 2 or more, or 0")
    fitted, kept = (
        Views([cameras[i] for i in part], [pictures[i] for i in part], background, [names[i] for i in part])
        if part
        else None
        for part in chosen
    )
    assert fitted is not None
    return fitted, kept


def _of_frames(scene: Scene, frames: Sequence[Frame]) -> Views:
    cameras, pictures = [], []
    for frame in frames:
        size = (frame.width, frame.height)
        matrix, focal, centre = frame.camera_to_world, (frame.fx, frame.fy), (frame.cx, frame.cy)
        cameras.append(Camera.from_matrix(matrix, focal, centre, *size))
        colour, alpha = frame.load()
        pictures.append(colour if alpha is None else np.concatenate([colour, alpha], axis=-1))
    return Views(cameras, pictures, scene.film.background, [frame.name for frame in frames])


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
