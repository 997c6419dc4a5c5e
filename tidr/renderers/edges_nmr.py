"""Gradients of the neural mesh renderer (Kato et al. 2018) and of its local variant (Kato and Harada 2019)."""

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import image as image_kernels
from tidr.kernels.raster import nmr as kernels

from .entries import collect
from .visibility import Found

CLOSEST = 1e-3  # what is added to the distance, in NDC, that an edge has to move


class Nmr:
    """Means of 2 x 2 samples, whose gradient moves edges towards every sample in line with them that would gain."""

    moves_picture = True
    samples = kernels.SAMPLES

    def __init__(self, found: Found) -> None:
        self.found, self.entries = found, found.entries

    def apply(self, image: Array) -> Array:
        """[B, H / 2, W / 2, C] means of [B, H, W, C]; a gradient also reaches the screen."""
        views, screen = self.entries.views, self.entries.screen
        out = Array((views.count, views.height // 2, views.width // 2, image.channels))
        extent = (views.count, views.height, views.width, image.channels)

        def forward() -> None:
            image_kernels.halve(image.value, *extent, out.value)

        def backward() -> None:
            if needs(image):
                image_kernels.halve_adjoint(out.grad, *extent, image.grad)
            if needs(screen):
                self._move(image, out)

        run(Operation(forward, backward, [image, screen], [out], "nmr"))
        return out

    def _move(self, image: Array, out: Array) -> None:
        views, world, screen = self.entries.views, self.entries.world, self.entries.screen
        pack, vertices, channels = world.pack, world.positions.rows, image.channels
        size = (views.width, views.height)
        lines = Buffer((4 * image.rows * channels,))
        extent = Buffer((2 * views.count * (views.width + views.height),), "int")
        pull = Buffer((6 * views.count * pack.faces, 2))
        kernels.lay_lines(views.count, *size, channels, image.value, out.grad, lines.ndarray, extent.ndarray)
        kernels.sweep(
            views.count, vertices, pack.faces, *size, CLOSEST * min(size) / 2, channels, pack.triangles, screen.value,
            views.table.value, self.found.face.ndarray, lines.ndarray, extent.ndarray, pull.ndarray,
        )  # fmt: skip
        kernels.collect_pulls(
            views.count, vertices, pack.faces, pack.starts, pack.corners, pull.ndarray, screen.value, screen.grad
        )


class NmrLocal(Nmr):
    """The same means, whose gradient moves what each sample shows where that one or its neighbours would gain."""

    def _move(self, image: Array, out: Array) -> None:
        entries, views, screen = self.entries, self.entries.views, self.entries.screen
        part = entries.scatter_target(screen.rows, 4)
        kernels.local_adjoint(
            runtime.chunks(), screen.rows, entries.count, entries.world.positions.rows, views.width, views.height,
            image.channels, entries.place.ndarray, entries.face.ndarray, entries.world.pack.triangles, screen.value,
            image.value, out.grad, part.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, screen)
