"""Losses that find depth and camera motion: of warped pictures against the picture itself, and of depth maps.

A `Reprojection` (tidr/renderers/reprojection.py) makes the warped pictures [B, H, W, C], their `valid` mask and the
depths. Every loss is differentiable by what the docstring names; values of pictures lie in [0, 1].
"""

import numpy as np

from tidr.kernels import depth_losses as kernels
from tidr.kernels import ssim as ssim_kernels
from tidr.kernels.reduce import split

from .. import runtime
from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, needs, run, unrecorded
from .totals import Total

__all__ = ["depth_consistency", "photometric", "smoothness"]


def photometric(warped: Array, target, valid, still=None, *, least: bool = True, similarity: float = 0.85) -> Loss:
    """Mean over pixels of similarity (1 - SSIM) / 2 + (1 - similarity) L1 between warped pictures and the target.

    Godard et al. 2017 and, for `least` and `still`, 2019 ("Digging Into Self-Supervised Monocular Depth Estimation"):
    with `least` each pixel counts in the source where its error is least, since what one source does not see another
    may; otherwise in every valid source. SSIM is that of losses.ssim (Gaussian window 11); pixels nearer to the border
    than a window take the nearest one's. Not valid pixels count nowhere, and take the target's colour where windows of
    others cover them. Differentiable by `warped`; which pixels count and in which source is not differentiated.

    Args:
        warped: [B, H, W, C]. target: [H, W, C]. valid: [B, H, W, 1], above 0 where a pixel may count.
        still: [B, H, W, C], the sources' pictures without warp. Pixels that look no more alike warped than so are left
            out: what moves along with the camera, or a camera that stands still.

    Raises:
        SceneError: shapes that do not fit together, pictures below 11 pixels, similarity outside of [0, 1].
    """
    if len(warped.shape) != 4 or min(warped.shape) < 1 or min(warped.shape[1:3]) <= 2 * ssim_kernels.REACH:
        smallest = 2 * ssim_kernels.REACH + 1
        raise SceneError("photometric", f"warped has shape {warped.shape}, expected [B, H, W, C], H, W >= {smallest}")
    if not 0 <= similarity <= 1:
        raise SceneError("photometric", f"similarity is {similarity}", "give a share in [0, 1]")
    target = _given("target", target, (*warped.shape[1:],))
    valid = _given("valid", valid, (*warped.shape[:3], 1))
    views, pixels = warped.shape[0], warped.shape[1] * warped.shape[2]
    errors, weight, mean = _Errors(warped, target, valid, similarity), Buffer((warped.rows, 1)), _Mean(warped.rows)
    fixed = None if still is None else _Errors(_given("still", still, warped.shape), target, None, similarity)

    def forward() -> None:
        errors.find()
        if fixed is not None:
            fixed.find()
        held = errors.error if fixed is None else fixed.error
        common = (errors.error.ndarray, errors.valid.value, held.ndarray, fixed is not None, weight.ndarray)
        kernels.choose(views, pixels, least, *common)
        mean.of(errors.error, weight)

    def backward() -> None:
        gradient = Buffer((warped.rows, 1))
        gradient.ndarray.fill(0.0)
        mean.adjoint(weight, gradient)
        errors.adjoint(gradient)

    run(Operation(forward, backward, [warped], [mean.loss], "photometric"))
    return Loss(mean.loss, "photometric")


def smoothness(depth: Array, picture) -> Loss:
    """Mean of |dx d*| e^-|dx I|, and the same down the picture, where d* is inverse depth over its mean.

    Godard et al. 2019: depth may jump where the picture I (mean over channels of its differences) does, and dividing
    by the mean keeps it from shrinking. Differentiable by `depth` [H, W, 1]; pairs with a depth of 0 count as even.

    Args:
        picture: [H, W, C] that belongs to the depths.

    Raises:
        SceneError: other shapes.
    """
    if len(depth.shape) != 3 or depth.shape[2] != 1 or min(depth.shape[:2]) < 2:
        raise SceneError("smoothness", f"depth has shape {depth.shape}, expected [H, W, 1] of at least 2 x 2")
    channels = (np.shape(picture) if not isinstance(picture, Array) else picture.shape)[-1]
    picture = _given("picture", picture, (*depth.shape[:2], channels))
    rows, extent = depth.rows, (depth.shape[0], depth.shape[1], channels)
    inverse, known, terms = Buffer((rows,)), Buffer((rows,)), Buffer((rows,))
    total, whole, count, mean, loss = Total(rows, 1.0), Total(rows, 1.0), Total(rows, 1.0), Array(()), Array(())

    def forward() -> None:
        kernels.invert(rows, depth.value, inverse.ndarray, known.ndarray)
        kernels.smoothness(*extent, picture.value, inverse.ndarray, known.ndarray, terms.ndarray)
        for sums, numbers in ((total, terms), (whole, inverse), (count, known)):
            sums.of(numbers)
        kernels.divide(whole.loss.value, count.loss.value, mean.value)
        kernels.divide(total.loss.value, mean.value, loss.value)

    def backward() -> None:
        common = (*extent, picture.value, inverse.ndarray, known.ndarray, total.loss.value, mean.value)
        kernels.smoothness_adjoint(*common, count.loss.value, loss.grad, depth.grad)

    run(Operation(forward, backward, [depth], [loss], "smoothness"))
    return Loss(loss, "smoothness")


def depth_consistency(depth: Array, other: Array, valid) -> Loss:
    """Mean of |a - b| / (a + b) over valid pixels where both depths are above 0; differentiable by both.

    Bian et al. 2019, "Unsupervised Scale-consistent Depth and Ego-motion Learning from Monocular Video": `depth` is
    what a view's points have in its sources (`Reprojection.depth`), `other` what the sources' own depth maps say there
    (`Reprojection.sample(depths)`), both [B, H, W, 1].

    Raises:
        SceneError: shapes that do not fit together.
    """
    if not isinstance(other, Array) or depth.shape != other.shape or depth.channels != 1:
        raise SceneError(
            "depth_consistency", f"got {depth.shape} and {np.shape(other)}", "give two arrays of one shape"
        )
    valid = _given("valid", valid, depth.shape)
    rows = depth.rows
    value, weight, mean = Buffer((rows, 1)), Buffer((rows, 1)), _Mean(rows)

    def forward() -> None:
        both = (depth.value, other.value, valid.value)
        kernels.inconsistency(rows, *both, value.ndarray, weight.ndarray)
        mean.of(value, weight)

    def backward() -> None:
        gradient = Buffer((rows, 1))
        gradient.ndarray.fill(0.0)
        mean.adjoint(weight, gradient)
        for one, two in ((depth, other), (other, depth)):
            if one.grad is not None and needs(one):
                common = (rows, one.value, two.value, weight.ndarray, gradient.ndarray)
                kernels.inconsistency_adjoint(*common, one.grad)

    run(Operation(forward, backward, [depth, other], [mean.loss], "depth_consistency"))
    return Loss(mean.loss, "depth_consistency")


def both_known(depth: Array, target: Array) -> Array:
    """A mask of depth's shape: 1 where both maps have a depth above 0."""
    mask = Array(depth.shape, needs_grad=False)
    with unrecorded():
        kernels.both_known(depth.rows, depth.value, target.value, mask.value)
    return mask


class _Errors:
    """The photometric error [B * H * W, 1] of pictures against one target, and its adjoint."""

    def __init__(self, pictures: Array, target: Array, valid: Array | None, similarity: float) -> None:
        self.pictures, self.target, self.similarity = pictures, target, float(similarity)
        views, height, width, channels = self.extent = pictures.shape
        reach, rows = 2 * ssim_kernels.REACH, pictures.rows
        self.lines, self.count = views * height, views * (height - reach) * (width - reach)
        self.parts = split(self.count, runtime.on_cpu())
        self.filled, self.wanted = Buffer((rows, channels)), Buffer((rows, channels))
        self.error, self.windows = Buffer((rows, 1)), Buffer((self.count, channels * 4))
        self.valid = valid or Array((rows, 1), needs_grad=False)
        if valid is None:
            with unrecorded():
                self.valid.value.fill(1.0)

    def find(self) -> None:
        """Write `error`, and keep what the adjoint needs."""
        views, height, width, channels = self.extent
        blurred = Buffer((self.lines * (width - 2 * ssim_kernels.REACH), channels * 5))
        partial, scratch, loss = Buffer((self.parts.chunks, 2)), Buffer((1, 1)), Buffer((1, 1))
        filled, wanted, windows = self.filled.ndarray, self.wanted.ndarray, self.windows.ndarray
        given = (self.pictures.value, self.target.value, self.valid.value)
        kernels.fill_invalid(views, height * width, channels, *given, filled, wanted)
        ssim_kernels.blur_rows(filled, wanted, self.lines, width, channels, blurred.ndarray)
        before = (blurred.ndarray, filled, 0, *self.extent, windows)
        ssim_kernels.similarity(*before, *self.parts, partial.ndarray, scratch.ndarray, loss.ndarray)
        kernels.photometric_error(*self.extent, self.similarity, filled, wanted, windows, self.error.ndarray)

    def adjoint(self, gradient: Buffer) -> None:
        """Add to the pictures' gradient from dL/derror; once after `find`, which it spends."""
        _, _, width, channels = self.extent
        blurred = Buffer((self.lines * (width - 2 * ssim_kernels.REACH), channels * 5))
        one, back = Buffer((1, 1)), Buffer((self.pictures.rows, channels))
        one.ndarray.fill(1.0)
        back.ndarray.fill(0.0)
        filled, wanted, windows = self.filled.ndarray, self.wanted.ndarray, self.windows.ndarray
        kernels.weigh_windows(*self.extent, self.similarity, gradient.ndarray, windows)
        before = (filled, wanted, windows, *self.extent, one.ndarray, one.ndarray)
        ssim_kernels.similarity_adjoint(*before, blurred.ndarray, back.ndarray)
        common = (self.pictures.rows, channels, self.similarity, filled, wanted, self.valid.value, gradient.ndarray)
        kernels.photometric_adjoint(*common, back.ndarray, self.pictures.grad)


class _Mean:
    """A weighted mean of `rows` values: `of` writes it to `loss`, a scalar; 0 where all weights are."""

    def __init__(self, rows: int) -> None:
        self.rows, self.loss = rows, Array(())
        self.terms, self.weights = Buffer((rows,)), Buffer((rows,))
        self.total, self.weight = Total(rows, 1.0), Total(rows, 1.0)

    def of(self, value: Buffer, weight: Buffer) -> None:
        kernels.weigh(self.rows, value.ndarray, weight.ndarray, self.terms.ndarray, self.weights.ndarray)
        self.total.of(self.terms)
        self.weight.of(self.weights)
        kernels.divide(self.total.loss.value, self.weight.loss.value, self.loss.value)

    def adjoint(self, weight: Buffer, gradient: Buffer) -> None:
        """gradient += dL/dvalue."""
        seed = self.loss.grad
        kernels.mean_adjoint(self.rows, weight.ndarray, self.weight.loss.value, seed, gradient.ndarray)


def _given(name: str, value, shape: tuple[int, ...]) -> Array:
    """A device array of this shape; in a numpy array a last axis of 1 may be missing."""
    array = value if isinstance(value, Array) else np.asarray(value)
    if tuple(array.shape) not in (shape, shape[:-1] if shape[-1] == 1 and not isinstance(array, Array) else shape):
        raise SceneError(name, f"has shape {tuple(array.shape)}, expected {list(shape)}")
    if isinstance(array, Array):
        return array
    with unrecorded():
        return Array.of(array.reshape(shape), needs_grad=False)
