"""The sensors of a render as light transport's kernels see them: one table, recorded on the open tape."""

from collections.abc import Sequence

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.transport import sensor as kernels
from tidr.parameter import nearest
from tidr.scene.camera import Camera
from tidr.scene.meter import Meter

FILTERS = {"box": kernels.BOX, "tent": kernels.TENT, "gaussian": kernels.GAUSSIAN}
KINDS = {
    "perspective": kernels.PINHOLE,
    "orthographic": kernels.ORTHOGRAPHIC,
    "radiance_meter": kernels.RADIANCE_METER,
    "irradiance_meter": kernels.IRRADIANCE_METER,
}
PLAIN = 1 << kernels.PINHOLE | 1 << kernels.ORTHOGRAPHIC | 1 << kernels.RADIANCE_METER  # rays of one form
COPIES = 512  # of the table's gradient on a GPU, over which threads spread so that few wait for the same number


def film_filter(name: str, where: str) -> int:
    """The number that kernels know a film filter by: "box" (one pixel wide), "tent" (two) or "gaussian" (standard
    deviation half a pixel, cut at two).

    Raises:
        SceneError: another name, blamed on `where`.
    """
    if name not in FILTERS:
        raise SceneError(where, f"no film filter {name!r}", nearest(name, FILTERS))
    return FILTERS[name]


class Sensors:
    """Cameras and meters at one picture size.

    table [B, COLUMNS]: see kernels/transport/sensor.py, differentiable to every parameter of the cameras. mask: the
    kinds that it may hold, 1 << kind, for the kernels' `sensors`: kinds whose rays are made alike are always in it, so
    that another of them compiles nothing anew.

    What this does not differentiate: which film points and points of the lens are drawn (the filter and the disc do
    not depend on parameters), and `near` and `far`, which transport does not look at.
    """

    def __init__(self, cameras: Sequence[Camera], width: int, height: int) -> None:
        self.cameras, self.count, self.width, self.height = cameras, len(cameras), width, height
        kinds = [_kind(camera) for camera in cameras]
        self.mask = PLAIN | sum(1 << kind for kind in set(kinds) & {kernels.LENS, kernels.IRRADIANCE_METER})
        self.mask |= any(camera.distortion is not None for camera in cameras) << kernels.DISTORTED
        self.table = Array((self.count, kernels.COLUMNS))
        inputs = [parameter for camera in cameras for parameter in camera.parameters().values()]

        def forward() -> None:
            rows = [(camera.unprojection(width, height).reshape(18), camera.lens()) for camera in cameras]
            table = np.stack([np.append(np.concatenate(row), k) for row, k in zip(rows, kinds, strict=True)])
            table = np.concatenate([table, [_bent(camera, width, height) for camera in cameras]], 1)
            for camera, row in zip(cameras, table, strict=True):
                if not np.isfinite(row).all():
                    name = camera.position.path.rpartition(".")[0] or "camera"
                    raise SceneError(name, "its parameters are not finite", "give finite numbers")
            self.table.set(table)

        def backward() -> None:
            gradients = self.table.grad_numpy().astype(np.float64)
            for camera, gradient in zip(cameras, gradients, strict=True):
                ways = (
                    camera.unprojection_adjoint(width, height, gradient[:18].reshape(2, 3, 3)),
                    camera.lens_adjoint(gradient[kernels.AXES : kernels.KIND]),
                    {} if isinstance(camera, Meter) else camera.film_adjoint(width, height, gradient[kernels.BENT :]),
                )
                for name, parameter in camera.parameters().items():
                    if needs(parameter):
                        parameter.set_grad(parameter.grad_numpy() + sum(way[name] for way in ways if name in way))

        run(Operation(forward, backward, inputs, [self.table], "sensors"))

    @property
    def copies(self) -> int:
        """Copies of the table's gradient: a thread of a CPU owns one, a thread n of a GPU adds to copy n % copies."""
        return runtime.chunks() if runtime.on_cpu() else COPIES

    def part(self) -> Buffer:
        """Zeros [copies * B * COLUMNS] for `add_row` at slot (copy * B + view) * COLUMNS."""
        part = Buffer((self.copies * self.count * kernels.COLUMNS,))
        part.ndarray.fill(0.0)
        return part

    def collect(self, part: Buffer) -> None:
        """Adds the sum of `part` over its copies to the table's gradient."""
        accumulate.collect(self.copies, self.count, kernels.COLUMNS, part.ndarray, self.table.grad)


def _bent(camera: Camera, width: int, height: int) -> np.ndarray:
    """[12] the lens that bends a camera's film; that of meters bends nothing."""
    return np.eye(12)[:2].sum(0) if isinstance(camera, Meter) else camera.film(width, height)


def _kind(camera: Camera) -> int:
    return KINDS[camera.kind] if camera.aperture_radius is None else kernels.LENS
