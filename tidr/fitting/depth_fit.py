"""Depth without labels: a view's depth map from what other cameras see, coarse to fine."""

from collections.abc import Sequence

import numpy as np

from tidr.files.image import resize
from tidr.renderers.reprojection import Reprojection
from tidr.scene.camera import Camera

from ..array import Array
from ..errors import SceneError
from ..parameter import Constraint, Parameter, Parameters
from .depth_losses import photometric, smoothness
from .optimizers import Adam, Optimizer
from .schedules import Cosine
from .tape import Tape

SMALLEST = 11  # pixels: similarity needs a window


def fit_depth(
    picture: np.ndarray,
    camera: Camera,
    others: np.ndarray,
    cameras: Sequence[Camera],
    start: float | np.ndarray,
    *,
    levels: int = 3,
    steps: int = 120,
    lr: float = 0.02,
    smooth: float = 1e-3,
    least: bool = True,
    similarity: float = 0.85,
    moving: Sequence[Optimizer] = (),
) -> np.ndarray:
    """The depth map [H, W, 1] of a view, with which the other pictures warped to it look like it.

    The photometric loss and edge-aware smoothness of Godard et al. 2019, with the map itself in place of a network;
    the first level has pictures 2^(levels - 1) times as small, each later one twice the size.

    Args:
        picture: [H, W, 3] of `camera`. others: [B, H, W, 3] of B `cameras`. Linear RGB or any other values in [0, 1].
        start: depth, a number or [H, W] or [H, W, 1], world units, above 0.
        steps: of Adam at each level. lr: at its start, in parts of the median depth; it falls to a tenth.
        smooth: weight of the smoothness.
        least, similarity: as `depth_losses.photometric` takes them. Least errors are for things that hide each other;
            where little is hidden, the mean of plain differences (False, 0) finds poses most precisely.
        moving: optimizers of what else is free, such as poses in `cameras`; they step along with the depth, their lr
            falling in the same way over all levels. Depth and the distance between cameras have one common scale,
            which pictures do not tell: keep one distance, or the scale drifts.

    Raises:
        SceneError: shapes that do not fit together, a start that is not above 0, pictures too small for the levels.
    """
    picture, others = np.asarray(picture, np.float64), np.asarray(others, np.float64)
    depth = _checked(picture, others, cameras, start, levels)
    height, width = depth.shape
    scale, falling, rates = float(np.median(depth)), Cosine(end=0.1), [one.lr for one in moving]
    for level in reversed(range(levels)):
        size = (_halved(width, level), _halved(height, level))
        target = Array.of(resize(picture, *size), needs_grad=False)
        sources = Array.of(np.stack([resize(one, *size) for one in others]), needs_grad=False)
        found = Parameter(_resized(depth, *size)[..., None], Constraint(positive=True))
        optimizer = Adam(Parameters({"depth": found}), lr=lr * scale)
        wanted = Parameters({str(n): p for n, p in enumerate([found, *(p for one in moving for p in one.parameters)])})
        for step in range(steps):
            with Tape(wanted) as tape:
                warp = Reprojection(found, camera, cameras)
                tape.add(photometric(warp.sample(sources), target, warp.valid, least=least, similarity=similarity))
                tape.add(smoothness(found, target), smooth)
            optimizer.lr = lr * scale * falling(step, steps)
            optimizer.step()
            for one, rate in zip(moving, rates, strict=True):
                one.lr = rate * falling((levels - 1 - level) * steps + step, levels * steps)
                one.step()
        depth = found.numpy().astype(np.float64)[..., 0]
    return depth[..., None]


def _checked(
    picture: np.ndarray, others: np.ndarray, cameras: Sequence[Camera], start: float | np.ndarray, levels: int
) -> np.ndarray:
    """The start [H, W], once everything fits together."""
    if picture.ndim != 3 or others.shape != (len(cameras), *picture.shape) or not len(cameras):
        what = f"pictures of shape {picture.shape} and {others.shape} for {len(cameras)} cameras"
        raise SceneError("fit_depth", what, "give [H, W, 3] and [B, H, W, 3]")
    height, width = picture.shape[:2]
    if levels < 1 or min(_halved(height, levels - 1), _halved(width, levels - 1)) < SMALLEST:
        raise SceneError("fit_depth", f"{levels} levels of {width} x {height}", f"the first needs {SMALLEST} pixels")
    given = np.asarray(start, np.float64)
    given = given[..., 0] if given.ndim == 3 and given.shape[2] == 1 else given
    if given.shape not in ((), (height, width)) or not (np.isfinite(given) & (given > 0)).all():
        mend = f"give a depth > 0, or [{height}, {width}] of them"
        raise SceneError("fit_depth", f"start has shape {given.shape} or values that are no depths", mend)
    return np.broadcast_to(given, (height, width))


def _halved(pixels: int, times: int) -> int:
    return -(-pixels // 2**times)


def _resized(depth: np.ndarray, width: int, height: int) -> np.ndarray:
    """[height, width], linear between pixel centres where it grows, means where it shrinks."""
    if height <= depth.shape[0] and width <= depth.shape[1]:
        return resize(np.repeat(depth[..., None], 3, -1), width, height)[..., 0].astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        old = depth.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.minimum(at.astype(int), max(old - 2, 0))
        part = np.expand_dims(at - low, 1 - axis)
        depth = (1 - part) * depth.take(low, axis) + part * depth.take(np.minimum(low + 1, old - 1), axis)
    return depth
