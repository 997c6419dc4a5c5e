"""A grid of signed distances with the sharpness at which NeuS sees it."""

import numpy as np

from tidr.errors import SceneError
from tidr.parameter import Parameter

from .voxels import VoxelGrid


class NeusGrid(VoxelGrid):
    """A `VoxelGrid` of signed distances that the `NeusRenderer` draws.

    inverse_std: of the density around the surface, per object unit, s in sigmoid(s f); its logarithm is the parameter
    "log_inverse_std", so that a step changes it in proportion. NeuS begins at 20 and ends near 1000 or more.
    """

    def __init__(self, sdf, color=None, inverse_std: float = 20.0, lower=(-1, -1, -1), upper=(1, 1, 1)) -> None:
        super().__init__(sdf=sdf, color=color, lower=lower, upper=upper)
        if not 0 < inverse_std < np.inf:
            raise SceneError("neus.inverse_std", f"is {inverse_std}", "give a number above 0")
        self.log_inverse_std = Parameter(np.log(float(inverse_std)))

    def parameters(self) -> dict[str, Parameter]:
        return super().parameters() | {"log_inverse_std": self.log_inverse_std}
