"""Denoising of Monte Carlo pictures by their neighbours, guided by features; differentiable by colours and features."""

import math
from dataclasses import dataclass, field

import numpy as np

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels import denoise as kernels
from tidr.kernels import denoise_atrous as atrous_kernels
from tidr.kernels import denoise_nlm as nlm_kernels


@dataclass(frozen=True, kw_only=True)
class FeatureWeights:
    """How far features may differ between pixels that are averaged; both denoisers take these.

    normal_power: of the cosine between two normals.
    sigma_albedo: distance of two albedos at which a weight falls to 1/e.
    sigma_depth: change of depth at which it falls to 1/e, in units of what the slope at the pixel foretells.
    """

    normal_power: float = 128.0
    sigma_albedo: float = 0.1
    sigma_depth: float = 1.0

    def __post_init__(self) -> None:
        for name in ("normal_power", "sigma_albedo", "sigma_depth"):
            if not 0 < getattr(self, name) < math.inf:
                raise SceneError(f"denoise.{name}", f"is {getattr(self, name)}", "give a number above 0")


@dataclass(frozen=True, kw_only=True)
class ATrous(FeatureWeights):
    """Edge-avoiding a-trous wavelets: `levels` filters of 5 x 5 pixels, 1, 2, 4 ... pixels apart.

    Dammertz, Sewtz, Hanika and Lensch 2010, "Edge-Avoiding A-Trous Wavelet Transform for fast Global Illumination
    Filtering", with the weights of normals and depth of SVGF (Schied et al. 2017).

    sigma_color: distance of two colours at which a weight falls to 1/e at the first level; halved from level to level.
    """

    levels: int = 5
    sigma_color: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.levels <= 16:
            raise SceneError("denoise.levels", f"is {self.levels}", "give 1 to 16")
        if not 0 < self.sigma_color < math.inf:
            raise SceneError("denoise.sigma_color", f"is {self.sigma_color}", "give a number above 0")


@dataclass(frozen=True, kw_only=True)
class NonLocalMeans(FeatureWeights):
    """Means over pixels of a window whose patches look alike, as far as noise can tell.

    Rousselle, Knaus and Zwicker 2012, "Adaptive Rendering with Non-Local Means Filtering", and with features 2013; Moon
    et al. 2013. Time grows with the square of `window`, and not with `patch`.

    patch, window: pixels across, odd.
    k: how many deviations of the noise two patches may differ; smaller keeps more detail and more noise.
    sigma: standard deviation of the noise where no variance is given.
    """

    patch: int = 7
    window: int = 21
    k: float = 0.45
    sigma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("patch", "window"):
            size = getattr(self, name)
            if not 1 <= size <= 255 or size % 2 == 0:
                raise SceneError(f"denoise.{name}", f"is {size}", "give an odd number of pixels, 1 to 255")
        for name in ("k", "sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise SceneError(f"denoise.{name}", f"is {getattr(self, name)}", "give a number above 0")


METHODS = {"atrous": ATrous, "nlm": NonLocalMeans}


def denoise(
    image,
    method: str | ATrous | NonLocalMeans = "atrous",
    *,
    normal=None,
    albedo=None,
    depth=None,
    variance=None,
    demodulate: bool = False,
    detach_weights: bool = False,
) -> Array:
    """A picture with less noise, [H, W, 3] or [B, H, W, 3] as the one given; recorded on the open tape.

    Every pixel becomes a weighted mean of pixels that look alike and whose features agree. The weights sum to 1. Each
    picture of a batch is filtered by itself.

    Args:
        image: linear colours: an `Image` (its rgb), an `Array` or a numpy array.
        method: "atrous", "nlm", or `tidr.ATrous(...)`, `tidr.NonLocalMeans(...)` with their options.
        normal: [..., 3], of any length; two zeros (nothing is seen) agree.
        albedo: [..., 3], at least 0. depth: [..., 1], 0 where nothing is. Features are arrays or channels of an image.
        variance: [..., 3] or [..., 1], at least 0, of the noise of each pixel of `image`; "nlm" only, and without
            `demodulate`. An estimate from few samples is itself noise: average it over 5 x 5 pixels before.
        demodulate: divides colours by albedo + 0.01 before, and multiplies by it after, so that texture stays sharp.
        detach_weights: takes the weights as constants in gradients: the picture gets the transposed filter, features
            get none but that of `demodulate`. The gradient is then not that of the function, by intent.

    What this does not differentiate: `variance`. Derivatives jump where a depth equals its neighbour's or a slope of
    depth changes sides, and for "nlm" where patches differ just as much as noise lets them.

    Raises:
        SceneError: unknown method, sizes that differ, or numbers in a numpy array that are not finite.
    """
    chosen = _method(method)
    color = colors("denoise.image", image)
    normal = None if normal is None else matching("denoise.normal", normal, color.shape, 3)
    albedo = None if albedo is None else matching("denoise.albedo", albedo, color.shape, 3)
    depth = None if depth is None else matching("denoise.depth", depth, color.shape, 1)
    factor = albedo if demodulate else None
    if demodulate and factor is None:
        raise SceneError("denoise.demodulate", "there is no albedo to divide by", "give albedo=...")
    if variance is not None and (demodulate or isinstance(chosen, ATrous)):
        raise SceneError("denoise.variance", 'is for method "nlm" without demodulate', "leave it out")
    guide = _Guide(chosen, color, normal, albedo, depth, detach_weights)
    filtered = color if factor is None else _divided(color, factor)
    if isinstance(chosen, ATrous):
        for level in range(chosen.levels):
            filtered = _level(chosen, level, filtered, guide)
    else:
        filtered = _means(chosen, filtered, guide, _variances(chosen, color, variance))
    return filtered if factor is None else _multiplied(filtered, factor)


@dataclass
class _Guide:
    """The features of a picture, as kernels take them."""

    weights: FeatureWeights
    color: Array
    normal: Array | None
    albedo: Array | None
    depth: Array | None
    detached: bool
    slope: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        shape = self.color.shape
        self.extent = (shape[0] if len(shape) == 4 else 1, *shape[-3:-1])
        if self.depth is not None:
            self.slope = _slopes(self.depth, self.extent)
        self._bits = (
            (self.normal, kernels.NORMAL),
            (self.albedo, kernels.ALBEDO),
            (self.depth, kernels.DEPTH),
        )
        rate = 1.0 / self.weights.sigma_albedo**2
        features = sum(bit for array, bit in self._bits if array is not None)
        self.numbers = (features, self.weights.normal_power, rate, self.weights.sigma_depth)

    @property
    def inputs(self) -> list[Array]:
        """What the weights depend on."""
        return [array for array in (self.normal, self.albedo, self.depth, self.slope) if array is not None]

    @property
    def values(self) -> tuple:
        """Of normal, albedo, depth and its slope; any array where there is none."""
        arrays = (self.normal, self.albedo, self.depth, self.slope)
        return tuple((array or self.color).value for array in arrays)

    def gradients(self, color: Array, out: Array) -> tuple:
        """(detached, bits of what wants a gradient, the gradients; any array where there is none)."""
        bits = [(color, kernels.COLOR), *([] if self.detached else self._bits)]
        wanted = sum(bit for array, bit in bits if array is not None and array.grad is not None and needs(array))
        arrays = (color, self.normal, self.albedo, self.depth, self.slope)
        grads = (out.grad if array is None or array.grad is None else array.grad for array in arrays)
        return (int(self.detached), wanted, *grads)


def _level(method: ATrous, level: int, color: Array, guide: _Guide) -> Array:
    """`color` after one level of the a-trous filter."""
    out, total = Array(color.shape), Buffer((color.rows, 1))
    rate = (2.0**level / method.sigma_color) ** 2
    common = (*guide.extent, 2**level, *guide.numbers, rate)

    def forward() -> None:
        atrous_kernels.atrous(*common, color.value, *guide.values, out.value, total.ndarray)

    def backward() -> None:
        before = (*common, color.value, *guide.values, out.value, total.ndarray, out.grad)
        atrous_kernels.atrous_adjoint(*before, *guide.gradients(color, out))

    run(Operation(forward, backward, [color, *guide.inputs], [out], f"a-trous level {level}"))
    return out


def _means(method: NonLocalMeans, color: Array, guide: _Guide, variance: Array) -> Array:
    """The non-local means of `color`."""
    out, total = Array(color.shape), Buffer((color.rows, 1))
    terms, sums = Buffer((color.rows,)), Buffer((color.rows,))
    reach = method.window // 2
    offsets = [(dx, dy) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    offsets = [(dx, dy) for dx, dy in offsets if abs(dx) < guide.extent[2] and abs(dy) < guide.extent[1]]
    common = (method.patch // 2, method.k**2, *guide.numbers)

    def forward() -> None:
        out.value.fill(0.0)
        total.ndarray.fill(0.0)
        arrays = (color.value, variance.value, *guide.values, terms.ndarray, sums.ndarray, out.value, total.ndarray)
        for offset in offsets:
            nlm_kernels.gather_offset(*guide.extent, *offset, *common, *arrays)
        nlm_kernels.divide(color.rows, total.ndarray, out.value)

    def backward() -> None:
        share, change = Buffer((color.rows,)), Buffer((color.rows,))
        arrays = (color.value, variance.value, *guide.values, terms.ndarray, sums.ndarray, out.value, total.ndarray)
        after = (out.grad, share.ndarray, change.ndarray, *guide.gradients(color, out))
        for offset in offsets:
            nlm_kernels.gather_offset_adjoint(*guide.extent, *offset, *common, *arrays, *after)

    run(Operation(forward, backward, [color, *guide.inputs], [out], "non-local means"))
    return out


def _slopes(depth: Array, extent: tuple[int, ...]) -> Array:
    """[rows, 2] change of depth from pixel to pixel, right and down."""
    slope = Array((depth.rows, 2))

    def forward() -> None:
        kernels.depth_slopes(*extent, depth.value, slope.value)

    def backward() -> None:
        if depth.grad is not None and needs(depth):
            kernels.depth_slopes_adjoint(*extent, depth.value, slope.grad, depth.grad)

    run(Operation(forward, backward, [depth], [slope], "slopes of depth"))
    return slope


def _divided(color: Array, albedo: Array) -> Array:
    """color / (albedo + floor)."""
    out, rows = Array(color.shape), color.rows

    def forward() -> None:
        kernels.divide_albedo(rows, color.value, albedo.value, out.value)

    def backward() -> None:
        if color.grad is not None and needs(color):
            kernels.divide_albedo_adjoint(rows, albedo.value, out.grad, color.grad)
        if albedo.grad is not None and needs(albedo):
            kernels.divide_albedo_by_albedo(rows, albedo.value, out.value, out.grad, albedo.grad)

    run(Operation(forward, backward, [color, albedo], [out], "division by albedo"))
    return out


def _multiplied(color: Array, albedo: Array) -> Array:
    """color * (albedo + floor)."""
    out, rows = Array(color.shape), color.rows

    def forward() -> None:
        kernels.multiply_albedo(rows, color.value, albedo.value, out.value)

    def backward() -> None:
        if needs(color):
            kernels.multiply_albedo_adjoint(rows, albedo.value, kernels.ALBEDO_FLOOR, out.grad, color.grad)
        if albedo.grad is not None and needs(albedo):
            kernels.multiply_albedo_adjoint(rows, color.value, 0.0, out.grad, albedo.grad)

    run(Operation(forward, backward, [color, albedo], [out], "multiplication by albedo"))
    return out


def _method(method: str | ATrous | NonLocalMeans) -> ATrous | NonLocalMeans:
    if isinstance(method, ATrous | NonLocalMeans):
        return method
    if method not in METHODS:
        raise SceneError("denoise.method", f"is {method!r}", f"choose one of {', '.join(METHODS)}")
    return METHODS[method]()


def colors(where: str, given) -> Array:
    """A picture or a batch of pictures as an array of three channels.

    Raises:
        SceneError: another shape, or numbers that are not finite.
    """
    given = getattr(given, "rgb", given)
    shape = tuple(given.shape if isinstance(given, Array) else np.shape(given))
    if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape:
        raise SceneError(where, f"has shape {shape}, expected [H, W, 3] or [B, H, W, 3]")
    return matching(where, given, shape, 3)


def matching(where: str, given, shape: tuple[int, ...], channels: int) -> Array:
    """A device array of the size of a picture of `shape`; in a numpy array a last axis of 1 may be missing.

    Raises:
        SceneError: another shape, or numbers that are not finite.
    """
    wanted = (*shape[:-1], channels)
    array = given if isinstance(given, Array) else np.asarray(given)
    if tuple(array.shape) not in (wanted, wanted if isinstance(array, Array) or channels > 1 else wanted[:-1]):
        raise SceneError(where, f"has shape {tuple(array.shape)}, expected {list(wanted)}")
    if isinstance(array, Array):
        return array
    if array.dtype.kind not in "fbiu" or not np.isfinite(array).all():
        raise SceneError(where, f"has NaN, infinities or no numbers ({array.dtype})", "give finite ones")
    with unrecorded():
        return Array.of(array.reshape(wanted), needs_grad=False)


def _variances(method: NonLocalMeans, color: Array, given) -> Array:
    """[..., 3] variance of each pixel; that of `sigma` where none is given."""
    if given is None:
        variance = Array(color.shape, needs_grad=False)
        with unrecorded():
            variance.value.fill(method.sigma**2)
        return variance
    channels = 1 if np.shape(given)[-1:] == (1,) else 3
    variance = matching("denoise.variance", given, color.shape, channels)
    if not isinstance(given, Array) and np.min(given) < 0:
        raise SceneError("denoise.variance", "is negative somewhere", "give squares of standard deviations")
    if channels == 3:
        return variance
    with unrecorded():
        return Array.of(np.broadcast_to(variance.numpy(), color.shape), needs_grad=False)
