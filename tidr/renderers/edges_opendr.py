"""OpenDR's gradient (Loper and Black 2014): the picture as it is, whose own slope moves what is seen."""

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.raster import antialias
from tidr.kernels.raster import opendr as kernels

from .entries import collect
from .visibility import Found


class OpenDr:
    """Pictures that move with the triangles seen in them; which pixels hide their neighbours is found once a render."""

    moves_picture = True

    def __init__(self, found: Found) -> None:
        self.found, self.entries = found, found.entries
        self._front: Buffer | None = None

    def apply(self, image: Array) -> Array:
        """A copy of [B, H, W, C] whose gradient also reaches the screen, by differences between its pixels."""
        out, screen = Array(image.shape), self.entries.screen

        def forward() -> None:
            accumulate.copy_rows(image.rows, image.channels, image.value, out.value, 0)

        def backward() -> None:
            if needs(image):
                accumulate.add_rows(image.rows, image.channels, out.grad, 0, image.grad, 0)
            if needs(screen):
                self._move(image, out)

        run(Operation(forward, backward, [image, screen], [out], "opendr"))
        return out

    def _move(self, image: Array, out: Array) -> None:
        entries, views, pack = self.entries, self.entries.views, self.entries.world.pack
        part = entries.scatter_target(entries.screen.rows, 4)
        kernels.slope_adjoint(
            runtime.chunks(), entries.screen.rows, entries.count, entries.world.positions.rows, views.width,
            views.height, image.channels, entries.place.ndarray, entries.face.ndarray, self.front.ndarray,
            pack.triangles, entries.screen.value, image.value, out.grad, part.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, entries.screen)

    @property
    def front(self) -> Buffer:
        """[pixels, 2] which pixel of each neighbouring pair hides the other one's object."""
        if self._front is None:
            views, world, screen = self.entries.views, self.entries.world, self.entries.screen.value
            pack, vertices = world.pack, world.positions.rows
            flags = Buffer((views.count * max(pack.faces, 1),), "int")
            self._front = Buffer((views.count * views.height * views.width, 2), "int")
            antialias.silhouettes(
                views.count, vertices, pack.faces, pack.triangles, pack.opposite, screen, flags.ndarray
            )
            kernels.fronts(
                views.count, vertices, pack.faces, views.width, views.height, self.found.face.ndarray,
                self.found.nearest.ndarray, pack.face_instance, pack.triangles, screen, flags.ndarray,
                self._front.ndarray,
            )  # fmt: skip
        return self._front
