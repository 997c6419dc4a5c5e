"""Losses between a rendered image and a target, and two measures of a result.

Every loss takes an image (an `Image`, or one of its channels as an `Array`) of shape [H, W, C] or [B, H, W, C] and a
target of the same shape (a numpy array, an `Array` or an `Image`), and gives a scalar `Loss` that is differentiable by
the image only. `mask` is [H, W, 1] or [B, H, W, 1] (or without the last axis): it multiplies each pixel, and the sum is
divided by its sum. Losses that look at no neighbours take chosen pixels [n, C] as well. A target or mask that is an
`Array` is read where it is, with no upload.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tidr.kernels import image as kernels
from tidr.kernels import image_variation as variation
from tidr.kernels import ssim as ssim_kernels
from tidr.kernels.reduce import split

from .. import runtime
from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from .features import Features, RandomFeatures
from .point_losses import chamfer, chamfer_normals, directed, point_to_mesh
from .regularizers import edge_length, flatten, laplacian, normal_consistency
from .tape import Loss, Operation, run, unrecorded
from .totals import Total

__all__ = [
    "chamfer",
    "chamfer_normals",
    "charbonnier",
    "directed",
    "edge_length",
    "flatten",
    "iou",
    "l1",
    "laplacian",
    "mse",
    "multi_scale",
    "normal_consistency",
    "perceptual",
    "point_to_mesh",
    "psnr",
    "relative_l2",
    "silhouette",
    "ssim",
    "total_variation",
]


def mse(image, target, mask=None) -> Loss:
    """Mean of (image - target)^2 over all entries.

    Of a picture by Monte Carlo that offers two estimates of it (`Array.halves`), the value is that of the picture, its
    noise included; the gradient of each estimate comes from the other's difference to the target, whose noise is
    independent, so that it is that of the picture without noise.
    """
    return _pixelwise("mse", kernels.MSE, image, target, mask)


def l1(image, target, mask=None) -> Loss:
    """Mean of |image - target|; the derivative at equality is 0."""
    return _pixelwise("l1", kernels.L1, image, target, mask)


def charbonnier(image, target, mask=None) -> Loss:
    """Mean of sqrt((image - target)^2 + 1e-6): L1 with a round bottom."""
    return _pixelwise("charbonnier", kernels.CHARBONNIER, image, target, mask)


def relative_l2(image, target, mask=None) -> Loss:
    """Mean of (image - target)^2 / (target^2 + 0.01), for images of high dynamic range."""
    return _pixelwise("relative_l2", kernels.RELATIVE_L2, image, target, mask)


def silhouette(image, target, mask=None) -> Loss:
    """1 - IoU of the alphas a, b in [0, 1]: 1 - sum(ab) / sum(a + b - ab) of each view, averaged over views."""
    image = _channel(image, "alpha")
    shape = _pixel_shape(image, "silhouette")
    if shape[3] != 1:
        raise SceneError("silhouette", f"the image has shape {image.shape}, expected one channel (alpha)")
    target = _constant("silhouette", image, target, "alpha", image.shape)
    views, pixels = shape[0], shape[1] * shape[2]
    cover, masked = _mask("silhouette", image, mask)
    parts = split(pixels, runtime.on_cpu(), groups=views)
    loss, partial, totals = Array(()), Buffer((views * parts.chunks, 2)), Buffer((views, 2))

    def forward() -> None:
        common = (image.value, target.value, cover.value, masked, views, pixels)
        kernels.overlap_loss(*common, *parts, partial.ndarray, totals.ndarray, loss.value)

    def backward() -> None:
        common = (target.value, cover.value, masked, views, pixels, totals.ndarray)
        kernels.overlap_loss_adjoint(*common, loss.grad, image.grad)

    run(Operation(forward, backward, [image], [loss], "silhouette"))
    return Loss(loss, "silhouette")


def ssim(image, target, mask=None) -> Loss:
    """(1 - SSIM) / 2 of Wang et al. 2004, for values in [0, 1]; the loss is called "dssim".

    Gaussian window 11, sigma 1.5; the mean goes over the windows inside the image and over channels, a mask weighs
    each window by its value at the window's centre.

    Raises:
        SceneError: an image smaller than 11 pixels.
    """
    image = _channel(image, "rgb")
    views, height, width, channels = _picture_shape(image, "ssim")
    reach = 2 * ssim_kernels.REACH
    if min(height, width) <= reach:
        raise SceneError("ssim", f"the image has shape {image.shape}, expected at least {reach + 1} pixels each way")
    target = _constant("ssim", image, target, "rgb", image.shape)
    cover, masked = _mask("ssim", image, mask)
    count = views * (height - reach) * (width - reach)
    parts = split(count, runtime.on_cpu())
    blurred = Buffer((views * height * (width - reach), channels * 5))
    windows, partial, weight, loss = Buffer((count, channels * 4)), Buffer((parts.chunks, 2)), Buffer((1, 1)), Array(())
    extent = (views, height, width, channels)

    def forward() -> None:
        ssim_kernels.blur_rows(image.value, target.value, views * height, width, channels, blurred.ndarray)
        before = (blurred.ndarray, cover.value, masked, *extent, windows.ndarray)
        ssim_kernels.similarity(*before, *parts, partial.ndarray, weight.ndarray, loss.value)

    def backward() -> None:
        before = (image.value, target.value, windows.ndarray, *extent, weight.ndarray)
        ssim_kernels.similarity_adjoint(*before, loss.grad, blurred.ndarray, image.grad)

    run(Operation(forward, backward, [image], [loss], "ssim"))
    return Loss(loss, "dssim")


def total_variation(image, softness: float = 1e-6) -> Loss:
    """Mean over pixels and channels of sqrt(dx^2 + dy^2 + softness), the steps to the next pixel along row and column.

    Rudin, Osher and Fatemi 1992, "Nonlinear total variation based noise removal algorithms". A step beyond the border
    counts 0. softness > 0 rounds the bottom off.
    """
    image = _channel(image, "rgb")
    views, height, width, channels = _picture_shape(image, "total_variation")
    if not 0 < softness < math.inf:
        raise SceneError("total_variation", f"softness is {softness}", "give a number above 0")
    extent = (views, height, width, channels, float(softness))
    total, sums = Total(image.rows, 1.0 / (image.rows * channels)), Buffer((image.rows,))

    def forward() -> None:
        variation.total_variation(*extent, image.value, sums.ndarray)
        total.of(sums)

    def backward() -> None:
        variation.total_variation_adjoint(*extent, image.value, total.loss.grad, image.grad)

    run(Operation(forward, backward, [image], [total.loss], "total_variation"))
    return Loss(total.loss, "total_variation")


def perceptual(image, target, features: Features | None = None, mask=None) -> Loss:
    """Mean squared difference of features of image and target, each layer's mean counting 1 / layers.

    Johnson, Alahi and Fei-Fei 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", with any
    features: `features(pictures)` gets a numpy array [B, H, W, C] and gives a list of arrays, and a function that turns
    their cotangents (a list of arrays of the same shapes) into that of the pictures [B, H, W, C], its vector-Jacobian
    product. They run on the host. None: `RandomFeatures()`, fixed random convolutions that need no weights.

    Raises:
        SceneError: a mask, which features of neighbourhoods cannot heed, or arrays of other shapes.
    """
    if mask is not None:
        raise SceneError("perceptual", "takes no mask", "mask both pictures, or leave it out")
    image = _channel(image, "rgb")
    shape = _picture_shape(image, "perceptual")
    target = _constant("perceptual", image, target, "rgb", image.shape)
    chosen, loss = features or RandomFeatures(), Array(())
    wanted, _ = chosen(target.numpy().astype(np.float64).reshape(shape))
    kept: list = []

    def forward() -> None:
        found, back = chosen(image.numpy().astype(np.float64).reshape(shape))
        if [np.shape(one) for one in found] != [np.shape(one) for one in wanted] or not found:
            raise SceneError("perceptual", "features of image and target differ in shape", "look at the function")
        gaps = [np.asarray(one) - np.asarray(other) for one, other in zip(found, wanted, strict=True)]
        kept[:] = [back, [2.0 / (gap.size * len(gaps)) * gap for gap in gaps]]
        loss.set(sum(float((gap**2).mean()) for gap in gaps) / len(gaps))

    def backward() -> None:
        back, slopes = kept
        seed = float(loss.grad_numpy())
        gradient = np.asarray(back([seed * slope for slope in slopes]))
        if gradient.size != math.prod(image.shape):
            raise SceneError("perceptual", f"the features' product has shape {gradient.shape}, expected {shape}")
        image.set_grad(image.grad_numpy() + gradient.reshape(image.shape))

    run(Operation(forward, backward, [image], [loss], "perceptual"))
    return Loss(loss, "perceptual")


def multi_scale(image, target, loss: Callable[..., Loss] = mse, levels: int = 4, mask=None) -> Loss:
    """Mean of a loss over `levels` levels of a 2x2 box pyramid, the full image first.

    Coarse levels reach further: a shape that does not yet touch its target there does so higher up.

    Raises:
        SceneError: more levels than the image can be halved.
    """
    name = "alpha" if loss is silhouette else "rgb"
    image = _channel(image, name)
    _, height, width, _ = _picture_shape(image, "multi_scale")
    if levels < 1 or 2 ** (levels - 1) > min(height, width):
        most = int(math.log2(min(height, width))) + 1
        raise SceneError("multi_scale", f"levels is {levels} for shape {image.shape}", f"take 1 to {most}")
    target = _constant("multi_scale", image, target, name, image.shape)
    cover = None if mask is None else _mask("multi_scale", image, mask)[0]
    terms = []
    for level in range(levels):
        if level:
            image = halved(image)
            with unrecorded():
                target = halved(target, recorded=False)
                cover = None if cover is None else halved(cover, recorded=False)
        terms.append(loss(image, target, mask=cover))
    return replace(_mean([term.array for term in terms]), name=f"multi_scale_{terms[0].name}")


def psnr(image, target, peak: float = 1.0) -> float:
    """10 log10(peak^2 / MSE) in dB; infinite for equal images."""
    image, target = _numbers(image, "rgb"), _numbers(target, "rgb")
    if image.shape != target.shape:
        raise SceneError("psnr", f"the target has shape {target.shape}, the image {image.shape}")
    error = float(np.mean((image - target) ** 2))
    return 10.0 * math.log10(peak * peak / error) if error > 0 else math.inf


def iou(mask, target, threshold: float = 0.5) -> float:
    """Intersection over union of the two masks cut at `threshold`, over all views; 1 where both are empty."""
    mask, target = _numbers(mask, "alpha"), _numbers(target, "alpha")
    if mask.size != target.size or mask.shape[:2] != target.shape[:2]:
        raise SceneError("iou", f"the target has shape {target.shape}, the mask {mask.shape}")
    mask, target = mask.reshape(-1) > threshold, target.reshape(-1) > threshold
    either = np.count_nonzero(mask | target)
    return np.count_nonzero(mask & target) / either if either else 1.0


def _pixelwise(name: str, kind: int, image, target, mask) -> Loss:
    image = _channel(image, "rgb")
    _pixel_shape(image, name)
    target = _constant(name, image, target, "rgb", image.shape)
    cover, masked = _mask(name, image, mask)
    parts = split(image.rows, runtime.on_cpu())
    loss, partial, weight = Array(()), Buffer((parts.chunks, 2)), Buffer((1, 1))

    def common() -> tuple:
        return (kind, image.value, target.value, cover.value, masked, image.rows, image.channels)

    def forward() -> None:
        kernels.pixel_loss(*common(), *parts, partial.ndarray, weight.ndarray, loss.value)

    halves = image.halves if kind == kernels.MSE else None

    def backward() -> None:
        if halves is None:
            kernels.pixel_loss_adjoint(*common(), weight.ndarray, loss.grad, image.grad)
        else:
            seen = (halves.value, *common()[2:])
            kernels.halves_adjoint(*seen, weight.ndarray, loss.grad, halves.grad)

    run(Operation(forward, backward, [image if halves is None else halves], [loss], name))
    return Loss(loss, name)


def halved(fine: Array, recorded: bool = True) -> Array:
    """[.., (H + 1) / 2, (W + 1) / 2, C] means of 2 x 2 pixels; without a gradient unless `recorded`."""
    views, height, width, channels = _picture_shape(fine, "multi_scale")
    coarse = Array((*fine.shape[:-3], (height + 1) // 2, (width + 1) // 2, channels), needs_grad=recorded)
    extent = (views, height, width, channels)

    def forward() -> None:
        kernels.halve(fine.value, *extent, coarse.value)

    def backward() -> None:
        kernels.halve_adjoint(coarse.grad, *extent, fine.grad)

    if recorded:
        run(Operation(forward, backward, [fine], [coarse], "halve"))
    else:
        forward()
    return coarse


def _mean(terms: list[Array]) -> Loss:
    mean, share = Array(()), 1.0 / len(terms)

    def forward() -> None:
        mean.value.fill(0.0)
        for term in terms:
            kernels.add_scaled(term.value, share, mean.value)

    def backward() -> None:
        for term in terms:
            kernels.add_scaled(mean.grad, share, term.grad)

    run(Operation(forward, backward, terms, [mean], "mean"))
    return Loss(mean)


def _channel(image, name: str) -> Array:
    """The array of an image, or the named channel of an `Image`."""
    found = image if isinstance(image, Array) else getattr(image, name, None)
    if not isinstance(found, Array):
        raise SceneError("loss", f"got {type(image).__name__} as image", "pass a rendered image or one of its channels")
    return found


def _picture_shape(image: Array, name: str) -> tuple[int, int, int, int]:
    """(views, height, width, channels)."""
    if len(image.shape) not in (3, 4) or 0 in image.shape:
        raise SceneError(name, f"the image has shape {image.shape}, expected [H, W, C] or [B, H, W, C]")
    height, width, channels = image.shape[-3:]
    return (image.shape[0] if len(image.shape) == 4 else 1), height, width, channels


def _pixel_shape(image: Array, name: str) -> tuple[int, int, int, int]:
    """As `_picture_shape`; chosen pixels [n, C] are one view, n high and 1 wide."""
    if len(image.shape) == 2 and 0 not in image.shape:
        return 1, image.shape[0], 1, image.shape[1]
    return _picture_shape(image, name)


def _constant(name: str, image: Array, target, channel: str, shape: tuple[int, ...]) -> Array:
    """The target as a device array of `shape`; in a numpy array a last axis of 1 may be missing."""
    given = target if isinstance(target, Array) else getattr(target, channel, target)
    array = given if isinstance(given, Array) else np.asarray(given)
    flat = not isinstance(array, Array) and shape[-1] == 1
    if tuple(array.shape) not in (shape, shape[:-1] if flat else shape):
        raise SceneError(name, f"the target has shape {tuple(array.shape)}, the image {image.shape}")
    if isinstance(array, Array):
        return array
    if array.dtype.kind not in "fb":
        raise SceneError(name, f"the target has type {array.dtype}", "give linear floats, 1.0 = white")
    with unrecorded():
        return Array.of(array.reshape(shape), needs_grad=False)


def _mask(name: str, image: Array, mask) -> tuple[Array, int]:
    """(mask as [rows, 1] on the device, 1), or (anything, 0) where there is none."""
    if mask is None:
        return image, 0
    return _constant(f"{name} mask", image, mask, "alpha", (*image.shape[:-1], 1)), 1


def _numbers(image, channel: str) -> np.ndarray:
    return np.asarray(getattr(image, channel, image), np.float64)
