"""Cameras as the kernels see them: projection matrices and eyes, recorded on the tape."""

from collections.abc import Sequence

import numpy as np

from tidr.array import Array, constant
from tidr.fitting.tape import Operation, needs, run
from tidr.scene.camera import Camera, pinhole_parameters

from .rays import Rays


class Views:
    """A batch of cameras at one image size.

    projection [B, 16]: world to (column * w, row * w, w, depth), row-major. eye [B, 4]: the vector from p to the camera
    is eye[:3] - eye[3] * p. table [B, 3]: 1 for perspective, near, far.
    """

    def __init__(self, cameras: Sequence[Camera], width: int, height: int) -> None:
        self.cameras, self.count, self.width, self.height = cameras, len(cameras), width, height
        self.projection, self.eye = Array((self.count, 16)), Array((self.count, 4))
        self.table = constant([(c.kind == "perspective", c.near, c.far) for c in cameras])
        inputs = pinhole_parameters(cameras)

        def forward() -> None:
            matrices, eyes = zip(*(camera.projection(width, height) for camera in cameras), strict=True)
            self.projection.set(np.stack(matrices).reshape(-1, 16))
            self.eye.set(np.stack(eyes))

        def backward() -> None:
            matrices = self.projection.grad_numpy().astype(np.float64).reshape(-1, 4, 4)
            eyes = self.eye.grad_numpy().astype(np.float64)
            for camera, matrix, eye in zip(cameras, matrices, eyes, strict=True):
                found = camera.projection_adjoint(width, height, matrix, eye)
                for name, parameter in camera.parameters().items():
                    if needs(parameter):
                        parameter.set_grad(parameter.grad_numpy() + found[name])

        run(Operation(forward, backward, inputs, [self.projection, self.eye], "cameras"))

    def rays(self) -> Rays:
        """Rays through the centres of all pixels."""
        return Rays.of_cameras(self.cameras, self.width, self.height)
