"""Silhouette antialiasing of finished pixels (Laine et al. 2020), as operations on the tape."""

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, run
from tidr.kernels.raster import antialias as kernels

from .entries import collect
from .visibility import Found


class Antialias:
    """The pixel pairs that silhouettes cross, found once per render and applied to each channel."""

    def __init__(self, found: Found) -> None:
        entries = found.entries
        self.views, self.screen, self.world = entries.views, entries.screen, entries.world
        pixels = self.views.count * self.views.height * self.views.width
        self.share, self.code = Array((pixels, 2)), Buffer((pixels, 2), "int")
        pack, vertices = self.world.pack, self.world.positions.rows
        size = (self.views.width, self.views.height)

        def forward() -> None:
            flags = Buffer((self.views.count * max(pack.faces, 1),), "int")
            kernels.silhouettes(
                self.views.count, vertices, pack.faces, pack.triangles, pack.opposite, self.screen.value, flags.ndarray
            )
            kernels.detect(
                self.views.count, vertices, pack.faces, *size, found.face.ndarray, found.nearest.ndarray,
                pack.triangles, self.screen.value, flags.ndarray, self.share.value, self.code.ndarray,
            )  # fmt: skip

        def backward() -> None:
            part = entries.scatter_target(self.screen.rows, 4)
            kernels.share_adjoint(
                runtime.chunks(), self.screen.rows, self.views.count, vertices, *size, self.share.value,
                self.code.ndarray, self.share.grad, pack.triangles, self.screen.value, part.ndarray,
                not runtime.on_cpu(),
            )  # fmt: skip
            collect(part, self.screen)

        run(Operation(forward, backward, [self.screen], [self.share], "silhouettes"))

    def apply(self, image: Array) -> Array:
        """The image [B, H, W, C] with its silhouette pairs blended."""
        return blended(image, self.share)


def blended(image: Array, share: Array) -> Array:
    """The image [B, H, W, C] with each pair of neighbours blended by its share [B * H * W, 2], on the open tape."""
    out, (images, height, width, channels) = Array(image.shape), image.shape

    def forward() -> None:
        kernels.apply(images, width, height, channels, share.value, image.value, out.value)

    def backward() -> None:
        unread = Buffer((image.rows, channels)) if image.grad is None else None
        to_image = image.grad if unread is None else unread.ndarray
        kernels.apply_adjoint(images, width, height, channels, share.value, image.value, out.grad, to_image, share.grad)

    run(Operation(forward, backward, [image, share], [out], "antialias"))
    return out
