"""Gradients that go on beyond a triangle's outline (Genova et al. 2018); the picture stays hard.

The published code leaves pixels of the background out, which makes it the treatment "none". Here those one pixel
outside take part, by barycentrics below 0, with the triangle taken for its plane.
"""

from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import unrecorded
from tidr.kernels.raster import genova as kernels

from .visibility import Found, entries_of

REACH = 1.0  # how far a triangle is continued, in parts of itself: barycentrics are at least -REACH


class Genova:
    """Background pixels beside a triangle feel what its plane would show there, with barycentrics below 0.

    It changes what was found, before anything is made of it, and no picture.
    """

    def __init__(self, found: Found) -> None:
        views, world, screen = found.entries.views, found.entries.world, found.entries.screen
        pixels = views.count * views.height * views.width
        face, pixel_entry = Buffer((pixels,), "int"), Buffer((pixels,), "int")
        with unrecorded():
            kernels.border(
                pixels, views.height, views.width, world.positions.rows, REACH, world.pack.triangles, screen.value,
                found.face.ndarray, face.ndarray,
            )  # fmt: skip
            found.entries, found.felt_entry = entries_of(face, world, views, screen)
            kernels.covered(pixels, found.face.ndarray, found.felt_entry.ndarray, pixel_entry.ndarray)
        found.pixel_entry = pixel_entry

    def apply(self, image: Array) -> Array:
        return image
