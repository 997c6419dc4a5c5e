"""The soft silhouette of DIB-R (Chen et al. 2019) around hard pixels, as an operation on the tape."""

import math

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels.raster import dibr as kernels

from .entries import collect
from .visibility import Found, bin_triangles

# Of the original: squared NDC, triangles a pixel, and by how much their boxes grow, NDC.
SIGMA, FACES, GROWTH = 1 / 7000, 30, 0.02


class Dibr:
    """Leaves covered pixels and colours as they are; alpha fades over the background with the distance to triangles."""

    def __init__(self, found: Found) -> None:
        self.found, self.settings, views = found, found.settings, found.entries.views
        self.pixels = views.count * views.height * views.width
        self.limit = self.settings.faces_per_pixel or FACES
        self.half = min(views.width, views.height) / 2  # pixels of one unit of NDC

    def apply(self, image: Array) -> Array:
        """The soft silhouette where the channel is alpha [B, H, W, 1]; any other as it is."""
        if image.channels != 1:
            return image
        entries, out = self.found.entries, Array(image.shape)
        views, world, screen = entries.views, entries.world, entries.screen
        covered, triangles, vertices = self.found.face.ndarray, world.pack.triangles, world.positions.rows
        count, near = self._near()
        sharpness = 1 / ((self.settings.sigma or SIGMA) * self.half**2)
        shape = (self.pixels, self.limit, views.height * views.width, views.width, vertices, sharpness)

        def forward() -> None:
            kernels.alpha(*shape, triangles, screen.value, covered, count.ndarray, near.ndarray, out.value)

        def backward() -> None:
            part = entries.scatter_target(screen.rows, 4)
            kernels.alpha_adjoint(
                runtime.chunks(), screen.rows, *shape, triangles, screen.value, count.ndarray, near.ndarray, out.grad,
                part.ndarray, not runtime.on_cpu(),
            )  # fmt: skip
            collect(part, screen)

        run(Operation(forward, backward, [screen], [out], "soft silhouette"))
        return out

    def _near(self) -> tuple[Buffer, Buffer]:
        """How many triangles are near every pixel that none covers, and which [pixels * limit]."""
        entries, settings = self.found.entries, self.settings
        views, world, screen = entries.views, entries.world, entries.screen
        growth = GROWTH if settings.blur_radius is None else math.sqrt(settings.blur_radius)
        count, near = Buffer((self.pixels,), "int"), Buffer((self.pixels * self.limit,), "int")
        key = Buffer((self.pixels * self.limit,))
        with unrecorded():
            tiles = bin_triangles(world, views, screen, settings.cull_back, growth * self.half, whole=True)
            kernels.find(
                views.count, world.positions.rows, world.pack.faces, views.width, views.height, self.limit,
                views.table.value, world.pack.triangles, screen.value, tiles.box.ndarray, tiles.start.ndarray,
                tiles.faces.ndarray, self.found.face.ndarray, count.ndarray, near.ndarray, key.ndarray,
            )  # fmt: skip
        return count, near
