"""Point clouds: positions with colours, normals, radii and opacities."""

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter

SHARE = Constraint(clamp=(0.0, 1.0))


class PointCloud:
    """Points in object space; a point's radius makes it a disc or a sphere.

    Parameters: positions [N, 3]; and where given
        colors: [N, 3] linear RGB in [0, 1]; white when None.
        normals: [N, 3] of length 1.
        radii: [N, 1] object units, > 0; renderers that need none ignore them, and one that does says so.
        opacities: [N, 1] in [0, 1]; 1 when None.

    Args:
        radii, opacities: [N], [N, 1], or one number for all.

    Raises:
        SceneError: wrong shape (names the argument), no point, not finite, a number out of its range.
    """

    def __init__(self, positions, colors=None, normals=None, radii=None, opacities=None) -> None:
        array = point_rows("positions", positions, 3)
        count = len(array)
        if count == 0:
            raise SceneError("positions", "holds no point", "give at least one")
        self.positions = Parameter(array)
        self.colors = None if colors is None else Parameter(point_rows("colors", colors, 3, count), SHARE)
        self.normals = None if normals is None else Parameter(_directions(normals, count), Constraint(unit=True))
        self.radii = None if radii is None else Parameter(_column("radii", radii, count), Constraint(positive=True))
        self.opacities = None if opacities is None else Parameter(_column("opacities", opacities, count), SHARE)
        if self.radii is not None:
            _check(self.radii, "radii", lambda values: values > 0, "give radii above 0, in object units")
        for name in ("colors", "opacities"):
            if getattr(self, name) is not None:
                _check(getattr(self, name), name, lambda values: (values >= 0) & (values <= 1), "give values in [0, 1]")

    @property
    def count(self) -> int:
        return self.positions.rows

    def parameters(self) -> dict[str, Parameter]:
        names = ("positions", "colors", "normals", "radii", "opacities")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of the box of the positions, object space."""
        positions = self.positions.numpy()
        return positions.min(0), positions.max(0)

    def byte_size(self) -> int:
        """Bytes of all values in 32-bit numbers."""
        return sum(4 * parameter.rows * parameter.channels for parameter in self.parameters().values())


def point_rows(name: str, array, channels: int, count: int | None = None) -> np.ndarray:
    """[N, channels] finite numbers; with `count`, so many rows.

    Raises:
        SceneError: anything else, naming the first bad row.
    """
    array = np.asarray(array, np.float64)
    if array.ndim != 2 or array.shape[1] != channels:
        raise SceneError(name, f"got shape {array.shape}, expected [N, {channels}]")
    if count is not None and len(array) != count:
        raise SceneError(name, f"has {len(array)} rows, expected one per point ({count})")
    bad = ~np.isfinite(array).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise SceneError(name, f"row {row} is {array[row].tolist()}", "give finite numbers")
    return array


def _column(name: str, value, count: int) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if array.ndim == 0:
        array = np.full((count, 1), float(array))
    return point_rows(name, array[:, None] if array.ndim == 1 else array, 1, count)


def _directions(normals, count: int) -> np.ndarray:
    array = point_rows("normals", normals, 3, count)
    length = np.linalg.norm(array, axis=1, keepdims=True)
    if (length == 0).any():
        raise SceneError("normals", f"row {int((length == 0).argmax())} has no length", "give directions")
    return array / length


def _check(parameter: Parameter, name: str, valid, mend: str) -> None:
    values = parameter.numpy()
    bad = ~valid(values).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise SceneError(name, f"row {row} is {values[row].tolist()}", mend)
