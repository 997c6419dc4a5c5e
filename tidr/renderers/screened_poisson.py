"""Reconstruction from a picture and its gradients (gradient-domain rendering)."""

import functools
import math

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import poisson as kernels

from .denoise import colors, matching


def screened_poisson(image, across, down, alpha: float = 0.2) -> Array:
    """The picture I that minimises alpha^2 |I - image|^2 + |dI - (across, down)|^2; recorded on the open tape.

    Bhat et al. 2008, "Fourier Analysis of the 2D Screened Poisson Equation for Gradient Domain Problems"; Lehtinen et
    al. 2013, "Gradient-Domain Metropolis Light Transport" (alpha 0.2). Gradients with less noise than the picture make
    one that has less noise. It is solved exactly, by cosine transforms of each axis, in time H W (H + W); linear, and
    differentiable by all three.

    Args:
        image: [H, W, 3] or [B, H, W, 3], linear colours: an `Image` (its rgb), an `Array` or a numpy array.
        across: of the same shape, the next pixel to the right minus this one; the last column is not read.
        down: the next pixel below minus this one; the last row is not read.
        alpha: how much the picture counts beside its gradients; above 0.

    Raises:
        SceneError: sizes that differ, numbers in a numpy array that are not finite, alpha not above 0.
    """
    if not 0 < alpha < math.inf:
        raise SceneError("screened_poisson.alpha", f"is {alpha}", "give a number above 0")
    image = colors("screened_poisson.image", image)
    across = matching("screened_poisson.across", across, image.shape, 3)
    down = matching("screened_poisson.down", down, image.shape, 3)
    views = image.shape[0] if len(image.shape) == 4 else 1
    extent = (views, image.shape[-3], image.shape[-2], 3)
    screen, out = float(alpha) ** 2, Array(image.shape)

    def forward() -> None:
        kernels.right_side(*extent, screen, image.value, across.value, down.value, out.value)
        _solve(extent, screen, out.value)

    def backward() -> None:
        spread = Buffer((image.rows, 3))
        spread.ndarray.copy_from(out.grad)
        _solve(extent, screen, spread.ndarray)
        if image.grad is not None and needs(image):
            kernels.add_screened(image.rows, 3, screen, spread.ndarray, image.grad)
        for is_down, differences in enumerate((across, down)):
            if differences.grad is not None and needs(differences):
                kernels.add_differences(*extent, is_down, spread.ndarray, differences.grad)

    run(Operation(forward, backward, [image, across, down], [out], "screened Poisson"))
    return out


def _solve(extent: tuple[int, int, int, int], screen: float, picture) -> None:
    """Replace a picture by the solution x of (screen + Laplacian) x = picture; the operator is its own transpose."""
    views, height, width, channels = extent
    scratch = Buffer((views * height * width, channels))
    tall, wide = (_cosines(runtime.generation(), size) for size in (height, width))
    columns, rows = (views, height, width, channels), (views * height, width, 1, channels)
    kernels.transform(*columns, tall.value, False, picture, scratch.ndarray)
    kernels.transform(*rows, wide.value, False, scratch.ndarray, picture)
    kernels.divide_eigenvalues(*extent, screen, picture)
    kernels.transform(*rows, wide.value, True, picture, scratch.ndarray)
    kernels.transform(*columns, tall.value, True, scratch.ndarray, picture)


@functools.lru_cache(maxsize=8)
def _cosines(generation: int, size: int) -> Array:
    """The orthonormal DCT-II, [size, size]."""
    frequency, at = np.arange(size)[:, None], np.arange(size)[None, :] + 0.5
    matrix = np.cos(np.pi / size * frequency * at) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return Array.of(matrix, needs_grad=False)
