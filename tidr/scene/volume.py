"""Volumes: grids of density and of what they emit or scatter."""

from __future__ import annotations

import math

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import FREE, Constraint, Parameter

ACTIVATIONS = ("none", "relu", "softplus")
POSITIVE = Constraint(clamp=(0.0, np.inf))
SHARE = Constraint(clamp=(0.0, 1.0))


class Volume:
    """Density and radiance in a box of object space, on grids of cell-centred values, trilinear in between.

    Grids are indexed [z, y, x]; cell (k, j, i) of a grid [D, H, W] sits at lower + ((i + .5) / W, (j + .5) / H,
    (k + .5) / D) * (upper - lower). Density is per unit of length in the world.

    Parameters: density [D, H, W], and of these what is given:
        color: emitted radiance, [3] everywhere the same or [D, H, W, 3]; white when neither sh nor albedo is given.
        sh: [D, H, W, K, 3], K = 1, 4, 9 or 16 coefficients of the real spherical harmonics of degree 0 to 3, in object
            space; radiance = max(0, 1/2 + sum_k sh_k Y_k(direction of the ray)).
        albedo: share of the light that is scattered, [3] or [D, H, W, 3]; makes the volume a medium lit by the scene's
            lights, with g, the mean cosine of scattering (Henyey and Greenstein 1941), in (-1, 1).

    Args:
        lower, upper: corners [3] of the box.
        density_activation: what turns the interpolated number into a density: "none" (the grid must be >= 0), "relu"
            (Fridovich-Keil, Yu et al. 2022, "Plenoxels") or "softplus", log(1 + exp(number + density_shift)) (Sun, Sun
            and Chen 2022, "Direct Voxel Grid Optimization").
        density_shift: for "softplus"; `softplus_shift` finds it.

    Raises:
        SceneError: wrong shape, empty, not finite, a number out of its range.
    """

    def __init__(
        self,
        density,
        color=None,
        sh=None,
        albedo=None,
        g: float = 0.0,
        *,
        lower=(-1.0, -1.0, -1.0),
        upper=(1.0, 1.0, 1.0),
        density_activation: str = "none",
        density_shift: float = 0.0,
    ) -> None:
        if density_activation not in ACTIVATIONS:
            raise SceneError(
                "density_activation", f"is {density_activation!r}", f"choose one of {', '.join(ACTIVATIONS)}"
            )
        if color is not None and sh is not None:
            raise SceneError("sh", "is given beside color", "give one of them")
        if color is None and sh is None and albedo is None:
            color = (1.0, 1.0, 1.0)
        self.density_activation, self.density_shift = density_activation, float(density_shift)
        if not math.isfinite(self.density_shift):
            raise SceneError("density_shift", f"is {density_shift}", "give a finite number")
        self.lower, self.upper = _box(lower, upper)
        values = grid("density", density, 3)
        plain = density_activation == "none"
        if plain and (values < 0).any():
            where = tuple(int(i) for i in np.argwhere(values < 0)[0])
            raise SceneError("density", f"is negative at index {where}", 'give densities >= 0, or an activation "relu"')
        self.density = Parameter(values, POSITIVE if plain else FREE)
        self.color = None if color is None else Parameter(self._per_cell("color", color, (3,)), POSITIVE)
        self.sh = None if sh is None else Parameter(self._harmonics(sh))
        self.albedo = None if albedo is None else Parameter(self._per_cell("albedo", albedo, (3,)), SHARE)
        if not -1 < g < 1:
            raise SceneError("g", f"is {g}", "give a number between -1 and 1")
        self.g = None if albedo is None else Parameter(np.asarray(g, np.float64), Constraint(clamp=(-0.99, 0.99)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W): cells along z, y and x."""
        depth, height, width = self.density.shape
        return depth, height, width

    def parameters(self) -> dict[str, Parameter]:
        named = {"density": self.density, "color": self.color, "sh": self.sh, "albedo": self.albedo, "g": self.g}
        return {name: value for name, value in named.items() if value is not None}

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner [3] of the box in object space."""
        return self.lower.copy(), self.upper.copy()

    def byte_size(self) -> int:
        """Bytes that the values of all grids take in f32."""
        return 4 * sum(parameter.rows * parameter.channels for parameter in self.parameters().values())

    def densities(self) -> np.ndarray:
        """[D, H, W] densities at the cell centres, behind the activation."""
        values = self.density.numpy().astype(np.float64)
        if self.density_activation == "relu":
            return np.maximum(values, 0.0)
        return np.logaddexp(0.0, values + self.density_shift) if self.density_activation == "softplus" else values

    def resampled(self, shape: tuple[int, int, int]) -> Volume:
        """A new volume in the same box with all its grids resampled to [D, H, W] cells."""
        fields = {}
        for name, parameter in self.parameters().items():
            value = parameter.numpy()
            fields[name] = resample(value, shape) if value.ndim >= 3 else value
        return Volume(
            **fields,
            lower=self.lower,
            upper=self.upper,
            density_activation=self.density_activation,
            density_shift=self.density_shift,
        )

    def _per_cell(self, name: str, value, last: tuple[int, ...]) -> np.ndarray:
        array = np.asarray(value, np.float64)
        if array.shape not in (last, self.shape + last):
            wanted = [*self.shape, *last]
            raise SceneError(name, f"got shape {array.shape}, expected {list(last)} or {wanted}")
        if not np.isfinite(array).all() or (array < 0).any():
            raise SceneError(name, "has numbers that are negative or not finite", "give finite numbers >= 0")
        return array

    def _harmonics(self, value) -> np.ndarray:
        array = np.asarray(value, np.float64)
        good = array.ndim == 5 and array.shape[:3] == self.shape and array.shape[3] in (1, 4, 9, 16)
        if not good or array.shape[4] != 3:
            wanted = ", ".join(map(str, self.shape))
            raise SceneError("sh", f"got shape {array.shape}, expected [{wanted}, K, 3]", "K is 1, 4, 9 or 16")
        if not np.isfinite(array).all():
            raise SceneError("sh", "has numbers that are not finite", "give finite numbers")
        return array


def softplus_shift(alpha: float, step: float) -> float:
    """The density_shift with which a density grid of zeros has opacity `alpha` over a length of `step`.

    From alpha = 1 - exp(-log(1 + exp(shift)) step).
    """
    if not (0 < alpha < 1 and step > 0):
        raise SceneError("softplus_shift", f"alpha is {alpha}, step {step}", "give alpha in (0, 1) and step > 0")
    return math.log(math.expm1(-math.log1p(-alpha) / step))


def grid(name: str, value, axes: int) -> np.ndarray:
    """A finite array of `axes` axes, none of them empty.

    Raises:
        SceneError: it is not such an array; names where it is not finite.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise SceneError(name, "is no array of numbers", "give an array [D, H, W]") from None
    if array.ndim != axes or array.size == 0:
        raise SceneError(name, f"got shape {array.shape}, expected {axes} axes, none empty")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise SceneError(name, f"value at index {where} is not finite", "give finite numbers")
    return array


def resample(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """[D, H, W, ...] at the cell centres of another grid over the same box; trilinear, clamped at the border."""
    if len(shape) != 3 or min(shape) < 1:
        raise SceneError("shape", f"is {shape}", "give three positive numbers of cells")
    for axis, count in enumerate(shape):
        old = values.shape[axis]
        place = np.clip((np.arange(count) + 0.5) * old / count - 0.5, 0, old - 1)
        low = np.minimum(place.astype(int), max(old - 2, 0))
        part = (place - low).reshape([-1] + [1] * (values.ndim - axis - 1))
        below, above = np.take(values, low, axis), np.take(values, np.minimum(low + 1, old - 1), axis)
        values = below + part * (above - below)
    return values


def _box(lower, upper) -> tuple[np.ndarray, np.ndarray]:
    corners = np.asarray([lower, upper], np.float64)
    if corners.shape != (2, 3) or not np.isfinite(corners).all() or not (corners[0] < corners[1]).all():
        raise SceneError("lower, upper", f"are {lower} and {upper}", "give two corners [3] with lower < upper")
    return corners[0], corners[1]
