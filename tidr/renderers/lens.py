"""Cameras with distortion, for renderers that project: a pinhole's picture with a margin, resampled by the lens.

Projecting the corners of triangles through a lens would bend no edge, and splats have a footprint of their own; so the
picture is drawn without distortion, large enough for what the lens shows, and each pixel looks up its place in it: rgb,
alpha and the pictures' two halves between four pixels, all else at the nearest, since depths, normals and numbers of
triangles do not mix across silhouettes.

What this does not differentiate: by the lens, channels other than rgb and alpha; whatever lies further out than
`MOST` pictures beyond the border, where the last pixels are repeated.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels import lens as kernels
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .renderer import Image, Renderer

MOST, GRAIN = 1.0, 16  # margins: at most so many pictures wide, and a multiple of pixels, so that few sizes occur
SMOOTH = ("rgb", "alpha")


def render_distorted(
    renderer: Renderer, scene: Scene, cameras: Sequence[Camera], width: int, height: int
) -> Image:  # fmt: skip
    """What a renderer that knows pinholes only draws, as lenses with distortion show it."""
    margin = margins(cameras, width, height)
    pinholes = [pinhole(camera, margin) for camera in cameras]
    image = renderer.render(scene, pinholes, width + 2 * margin[0], height + 2 * margin[1])
    lenses = _lenses(cameras, width, height)

    def maker(name: str) -> Callable[[], Array]:
        return lambda: _resampled(image.channel(name), lenses, (height, width), margin, name in SMOOTH)

    found = Image({name: maker(name) for name in image.channels})
    for name in image._made:
        found.channel(name)
    return found


def pinhole(camera: Camera, margin: tuple[int, int]) -> Camera:
    """The same camera without distortion: it shares the parameters, and its pictures are larger by the margin."""
    made = copy.copy(camera)
    made.distortion, made.margin = None, margin
    return made


def margins(cameras: Sequence[Camera], width: int, height: int) -> tuple[int, int]:
    """Pixels at each side, x and y, that hold all that the lenses show in pictures of this size."""
    columns, rows = np.arange(width + 1.0), np.arange(height + 1.0)
    sides = [(columns, 0 * columns), (columns, 0 * columns + height), (0 * rows, rows), (0 * rows + width, rows)]
    border, size = np.concatenate([np.stack(side, -1) for side in sides]), np.array([width, height])
    beyond = np.zeros(2)
    for camera in cameras:
        places, _ = camera.undistorted(border, width, height)
        beyond = np.maximum(beyond, np.maximum(-places, places - size).max(0))
    x, y = np.ceil(np.minimum(beyond + 1, MOST * size) / GRAIN).astype(int) * GRAIN * (beyond > 0)
    return int(x), int(y)


def _lenses(cameras: Sequence[Camera], width: int, height: int) -> Array:
    """[B, 12] of every camera, recorded."""
    table = Array((len(cameras), kernels.COLUMNS))

    def forward() -> None:
        table.set(np.stack([camera.film(width, height) for camera in cameras]))

    def backward() -> None:
        for camera, gradient in zip(cameras, table.grad_numpy().astype(np.float64), strict=True):
            for name, part in camera.film_adjoint(width, height, gradient).items():
                parameter = camera.parameters()[name]
                if needs(parameter):
                    parameter.set_grad(parameter.grad_numpy() + part)

    inputs = [parameter for camera in cameras for parameter in camera.parameters().values()]
    run(Operation(forward, backward, inputs, [table], "lenses"))
    return table


def _resampled(picture: Array, lenses: Array, size: tuple[int, int], margin: tuple[int, int], smooth: bool) -> Array:
    """[B, H, W, C] of a picture [B, H + 2 margin, W + 2 margin, C]; and its halves [2, B, ..]."""
    out = Array((*picture.shape[:-3], *size, picture.channels), needs_grad=picture.grad is not None)
    turns = picture.shape[0] if len(picture.shape) == 5 else 1
    extent = (lenses.rows, *size, picture.channels, *margin)
    source, rows = picture.rows // turns, out.rows // turns

    def forward() -> None:
        for turn in range(turns):
            kernels.resample(*extent, lenses.value, picture.value, turn * source, int(smooth), out.value, turn * rows)

    def backward() -> None:
        chunks = runtime.reduction_chunks()
        part = Buffer((chunks * lenses.rows * kernels.COLUMNS,))
        part.ndarray.fill(0.0)
        for turn in range(turns):
            places = (turn * source, out.grad, turn * rows)
            if picture.grad is not None and needs(picture):
                kernels.resample_adjoint(*extent, lenses.value, picture.grad, *places, int(smooth))
            if smooth and needs(lenses):
                after = (part.ndarray, runtime.chunk_block())
                kernels.resample_lens_adjoint(chunks, *extent, lenses.value, picture.value, *places, *after)
        accumulate.collect(chunks, lenses.rows, kernels.COLUMNS, part.ndarray, lenses.grad)

    run(Operation(forward, backward, [picture, lenses], [out], "lens"))
    if picture.halves is not None:
        out.halves = _resampled(picture.halves, lenses, size, margin, smooth)
    return out
