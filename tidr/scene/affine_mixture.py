"""A warp made of a few affine parts."""

from typing import Any

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Constraint, Parameter


class AffineMixture:
    """An inverse warp mixed from P affine parts (Lombardi et al. 2019, "Neural Volumes"); for `VoxelGrid(warp=...)`.

    In [-1, 1]^3, the grid's box, part p takes u to scale_p * (R_p (u - translation_p)); the warp is their mean, weighed
    by exp(logs_p) at the place where the part takes the point. It begins as the identity.

    Parameters: translation [P, 3]; rotation [P, 4], quaternions, w first; scale [P, 3]; logs [P, d, h, w], the
    logarithms of the weights. Published are 16 parts at 32^3.

    Raises:
        SceneError: no part, or a resolution below 2 cells.
    """

    def __init__(self, parts: int = 16, shape: tuple[int, int, int] = (32, 32, 32), logs: Any = None) -> None:
        self.count, self.shape = int(parts), tuple(int(n) for n in shape)
        if not 1 <= self.count <= 256 or len(self.shape) != 3 or min(self.shape) < 2:
            raise SceneError(
                "warp", f"has {parts} parts of {shape} cells", "give 1 to 256 parts, 2 cells a side or more"
            )
        values = np.zeros((self.count, *self.shape)) if logs is None else np.asarray(logs, np.float64)
        if values.shape != (self.count, *self.shape):
            raise SceneError("warp.logs", f"has shape {values.shape}, expected {[self.count, *self.shape]}")
        self.translation = Parameter(np.zeros((self.count, 3)))
        self.rotation = Parameter(np.tile([1.0, 0, 0, 0], (self.count, 1)), Constraint(unit=True))
        self.scale = Parameter(np.ones((self.count, 3)), Constraint(positive=True))
        self.logs = Parameter(values[..., None])
        self.logs.shape = values.shape  # on the device one row a cell

    def parameters(self) -> dict[str, Parameter]:
        named = {"translation": self.translation, "rotation": self.rotation, "scale": self.scale, "logs": self.logs}
        return {f"warp_{name}": value for name, value in named.items()}
