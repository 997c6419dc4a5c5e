"""Voxel grids: occupancy, signed distance or truncated signed distance, with colours, classes and a warp."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

from .affine_mixture import AffineMixture
from .distance import distance_transform
from .volume import resample

KINDS = ("occupancy", "sdf", "tsdf")
LARGEST = 1 << 28  # cells, so that 32-bit indices of their channels do not overflow


class Cells(Parameter):
    """A Parameter [D, H, W] that has one row for every cell on the device, as grids of vectors have."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array[..., None])
        self.shape = array.shape

    def replace(self, array) -> None:
        array = np.asarray(array)
        super().replace(array[..., None])
        self.shape = array.shape


class VoxelGrid:
    """A grid [D, H, W] (z, y, x) of cells in the object-space box from `lower` to `upper`; values at cell centres.

    Exactly one of these is the shape; all are Parameters:
        occupancy: [D, H, W] in [0, 1]; what it means (probability, density) is up to the renderer's method.
        sdf: [D, H, W] signed distance in object units, negative inside.
        tsdf: [D, H, W] signed distance clamped to [-truncation, truncation].
    And, where given:
        color: [D, H, W, 3] linear RGB in [0, 1]; white when None.
        semantics: [D, H, W, C] probability of each class, rows sum to 1.
        warp: [d, h, w, 3] inverse warp: where in the box (object space) the shape is read for a point of the box; its
            own resolution; an `AffineMixture`; None is the identity.

    truncation: object units; 3 cells when None; only for tsdf.

    Raises:
        SceneError: not exactly one shape, wrong array shapes, a box of no extent, or values that are not finite.
    """

    def __init__(
        self, occupancy=None, sdf=None, tsdf=None, color=None, semantics=None, warp=None, truncation: Any = None,
        lower=(-1, -1, -1), upper=(1, 1, 1),
    ) -> None:  # fmt: skip
        given = {"occupancy": occupancy, "sdf": sdf, "tsdf": tsdf}
        chosen = [kind for kind in KINDS if given[kind] is not None]
        if len(chosen) != 1:
            raise SceneError("voxels", f"got {' and '.join(chosen) or 'no shape'}", f"give one of {', '.join(KINDS)}")
        self.kind = chosen[0]
        self.lower, self.upper = _box(lower, upper)
        cells = _grid(self.kind, given[self.kind], 3)
        self.values = Cells(cells)
        if truncation is not None and self.kind != "tsdf":
            raise SceneError("voxels.truncation", f"was given with {self.kind}", "it belongs to a tsdf")
        self.truncation = 3 * float(self.spacing.max()) if truncation is None else float(truncation)
        if not self.truncation > 0:
            raise SceneError("voxels.truncation", f"is {truncation}", "give a distance > 0 in object units")
        band = (-self.truncation, self.truncation)
        limits = {"occupancy": Constraint(clamp=(0.0, 1.0)), "sdf": Constraint(), "tsdf": Constraint(clamp=band)}
        if self.kind == "occupancy" and ((cells < 0) | (cells > 1)).any():
            raise SceneError("occupancy", f"spans {cells.min():g} to {cells.max():g}", "give values in [0, 1]")
        if self.kind == "tsdf":
            self.values.set(np.clip(cells, *band))
        self.values.constraint = limits[self.kind]
        self.color = self._attribute("color", color, 3, Constraint(clamp=(0.0, 1.0)))
        self.semantics = self._attribute("semantics", semantics, None, Constraint(simplex=True))
        self.warp = warp if warp is None or isinstance(warp, AffineMixture) else Parameter(_vectors("warp", warp, 3))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W): cells along z, y and x."""
        depth, height, width = self.values.shape
        return depth, height, width

    @property
    def spacing(self) -> np.ndarray:
        """[3] lengths of a cell along x, y and z, object units."""
        return (self.upper - self.lower) / self.shape[::-1]

    @property
    def occupancy(self) -> Parameter:
        return self._named("occupancy")

    @property
    def sdf(self) -> Parameter:
        return self._named("sdf")

    @property
    def tsdf(self) -> Parameter:
        return self._named("tsdf")

    def parameters(self) -> dict[str, Parameter]:
        named = {self.kind: self.values, "color": self.color, "semantics": self.semantics}
        warp = self.warp.parameters() if isinstance(self.warp, AffineMixture) else {"warp": self.warp}
        return {name: value for name, value in (named | warp).items() if value is not None}

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of the object-space box."""
        return self.lower.copy(), self.upper.copy()

    def byte_size(self) -> int:
        """Bytes of all values in 32-bit numbers."""
        return 4 * sum(parameter.rows * parameter.channels for parameter in self.parameters().values())

    def centers(self) -> np.ndarray:
        """[D, H, W, 3] centres of the cells (x, y, z), object space."""
        return cell_centers(self.shape, self.lower, self.upper)

    def to_occupancy(self) -> VoxelGrid:
        """The part of each cell that is inside, taken across one cell: clamp(1/2 - distance / cell, 0, 1)."""
        if self.kind == "occupancy":
            return self._with(occupancy=self.values.numpy())
        return self._with(occupancy=np.clip(0.5 - self.values.numpy() / self.spacing.min(), 0, 1))

    def to_sdf(self) -> VoxelGrid:
        """Signed distances to the surface, from exact distances between cell centres.

        The surface of an occupancy is where it crosses 1/2; cells strictly between 0 and 1 are taken to be that far
        across it. Cells beyond the band of a tsdf get the distance to the nearest cell on the other side. A grid all
        empty or all full has its diagonal everywhere.
        """
        if self.kind == "sdf":
            return self._with(sdf=self.values.numpy())
        values, cell = self.values.numpy().astype(np.float64), float(self.spacing.min())
        inside = values >= 0.5 if self.kind == "occupancy" else values < 0
        far = self._distances(inside, cell)
        if self.kind == "occupancy":
            return self._with(sdf=np.where((values > 0) & (values < 1), (0.5 - values) * cell, far))
        beyond = np.where(inside, np.minimum(far, -self.truncation), np.maximum(far, self.truncation))
        return self._with(sdf=np.where(np.abs(values) < self.truncation * (1 - 1e-6), values, beyond))

    def to_tsdf(self, truncation: float | None = None) -> VoxelGrid:
        """The signed distances clamped to +-truncation (object units; 3 cells when None)."""
        width = 3 * float(self.spacing.max()) if truncation is None else float(truncation)
        return self._with(tsdf=np.clip(self.to_sdf().values.numpy(), -width, width), truncation=width)

    def resampled(self, shape: tuple[int, int, int]) -> VoxelGrid:
        """A new grid in the same box with [D, H, W] cells; the warp stays as it is."""
        kept = {self.kind: self.values, "color": self.color, "semantics": self.semantics}
        fields = {name: resample(value.numpy(), shape) for name, value in kept.items() if value is not None}
        fields["warp"] = self._plain_warp()
        truncation = self.truncation if self.kind == "tsdf" else None
        return VoxelGrid(**fields, truncation=truncation, lower=self.lower, upper=self.upper)

    def _distances(self, inside: np.ndarray, cell: float) -> np.ndarray:
        diagonal = float(np.linalg.norm(self.upper - self.lower))
        steps = self.spacing[::-1]
        outward = np.minimum(distance_transform(inside, steps) - cell / 2, diagonal)
        inward = np.minimum(distance_transform(~inside, steps) - cell / 2, diagonal)
        return np.where(inside, -inward, outward)

    def _with(self, **shape) -> VoxelGrid:
        extra = {"color": self.color, "semantics": self.semantics}
        arrays = {name: None if value is None else value.numpy() for name, value in extra.items()}
        return VoxelGrid(**shape, **arrays, warp=self._plain_warp(), lower=self.lower, upper=self.upper)

    def _plain_warp(self) -> Any:
        return self.warp.numpy() if isinstance(self.warp, Parameter) else self.warp

    def _named(self, kind: str) -> Parameter:
        if kind != self.kind:
            raise SceneError(f"voxels.{kind}", f"the grid holds {self.kind}", f"convert it with .to_{kind}()")
        return self.values

    def _attribute(self, name: str, array, channels: int | None, constraint: Constraint) -> Parameter | None:
        if array is None:
            return None
        array = _vectors(name, array, channels)
        if array.shape[:3] != self.shape:
            raise SceneError(name, f"has {array.shape[:3]} cells, expected {self.shape} as the {self.kind}")
        return Parameter(array, constraint)


def cell_centers(shape, lower=(-1, -1, -1), upper=(1, 1, 1)) -> np.ndarray:
    """[D, H, W, 3] centres (x, y, z) of the cells of a grid [D, H, W] in a box."""
    lower, upper = _box(lower, upper)
    axes = [
        low + (np.arange(n) + 0.5) / n * (high - low)
        for n, low, high in zip(reversed(shape), lower, upper, strict=True)
    ]
    z, y, x = np.meshgrid(*reversed(axes), indexing="ij")
    return np.stack([x, y, z], -1)


def _box(lower, upper) -> tuple[np.ndarray, np.ndarray]:
    corners = []
    for name, corner in (("lower", lower), ("upper", upper)):
        corner = np.asarray(corner, np.float64)
        if corner.shape != (3,) or not np.isfinite(corner).all():
            raise SceneError(f"voxels.{name}", f"is {corner.tolist()}", "give three finite numbers (x, y, z)")
        corners.append(corner)
    if not (corners[0] < corners[1]).all():
        raise SceneError("voxels", f"lower {lower} is not below upper {upper}", "give a box with an inside")
    return corners[0], corners[1]


def _grid(name: str, array, axes: int) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "biuf" or array.ndim != axes or 0 in array.shape:
        expected = "[D, H, W]" if axes == 3 else "[D, H, W, C]"
        raise SceneError(name, f"got shape {array.shape} of {array.dtype}, expected numbers {expected}, none empty")
    array = array.astype(np.float64)
    if array.size > LARGEST:
        raise SceneError(name, f"has {array.size} entries", f"at most {LARGEST} are possible")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise SceneError(name, f"value at index {where} is not finite", "give finite numbers")
    return array


def _vectors(name: str, array, channels: int | None) -> np.ndarray:
    array = _grid(name, array, 4)
    if channels is not None and array.shape[3] != channels:
        raise SceneError(name, f"got shape {array.shape}, expected {channels} channels")
    return array
