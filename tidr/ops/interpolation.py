"""`interpolate`: vertex attributes at the pixels, and how they change from pixel to pixel (Laine et al. 2020)."""

from collections.abc import Sequence

import numpy as np

from tidr import runtime
from tidr.array import Array, constant, integers
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.raster import attributes as kernels

from .inputs import array, check_pixels, check_triangle_ids, image_rows, triangles_of


def interpolate(
    attributes, rast, triangles, slopes=None, diff_attrs: str | Sequence[int] | None = None
) -> tuple[Array, Array | None]:
    """Vertex attributes at the pixels of a `rasterize`.

    Args:
        attributes: [V, C] of the vertices in all images, or [N, V, C].
        rast: [N, H, W, 4] of `rasterize`, and slopes [N, H, W, 4], which `diff_attrs` needs.
        triangles: as given to `rasterize`; or others, of the same number, where attributes have vertices of their own.
        diff_attrs: channels whose slopes are wanted, or "all".

    Returns:
        out [N, H, W, C] = u A0 + v A1 + (1 - u - v) A2, 0 where a pixel is empty; and, with diff_attrs, their slopes
        [N, H, W, 2 K], dA/dX and dA/dY (as `rasterize` has them) of each of the K channels in turn, else None.

    Gradients reach attributes, u, v and the slopes of rast.

    Raises:
        SceneError: wrong shapes, an index out of range, numbers that are not finite, channels that are not there.
    """
    values = array("interpolate.attributes", attributes, "V C", "N V C")
    seen = array("interpolate.rast", rast, "N H W 4")
    topology = triangles_of("interpolate.triangles", triangles, values.shape[-2])
    images, height, width, _ = seen.shape
    stride = image_rows("interpolate.attributes", values, seen)
    if not isinstance(rast, Array):
        check_triangle_ids("interpolate.rast", seen, topology.face_count)
    chosen = _channels(diff_attrs, values.channels)
    moved = _slopes(slopes, seen) if chosen else constant([(0.0,) * 4])
    out = Array((images, height, width, values.channels))
    out_slopes = Array((images, height, width, 2 * len(chosen)) if chosen else (1, 4))
    places = np.full(values.channels, -1, np.int32)
    places[chosen] = np.arange(len(chosen))
    slot = integers(places)
    size = (seen.rows, height * width, topology.face_count, stride, values.channels)

    def forward() -> None:
        kernels.interpolate(
            *size, *topology.device("faces"), slot.ndarray, seen.value, moved.value, values.value, out.value,
            out_slopes.value,
        )  # fmt: skip

    def backward() -> None:
        chunks = runtime.chunks()
        wanted = [needs(seen), bool(chosen) and needs(moved), needs(values)]
        part = Buffer((chunks * values.rows * values.channels if wanted[2] else 1,))
        part.ndarray.fill(0.0)
        kernels.interpolate_adjoint(
            chunks, values.rows, *size, *topology.device("faces"), slot.ndarray, seen.value, moved.value, values.value,
            out.grad, out_slopes.grad, *map(int, wanted), seen.grad if wanted[0] else out.grad,
            moved.grad if wanted[1] else out.grad, part.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        if wanted[2]:
            accumulate.collect(chunks, values.rows, values.channels, part.ndarray, values.grad)

    inputs = [values, seen, moved] if chosen else [values, seen]
    run(Operation(forward, backward, inputs, [out, out_slopes], "interpolate"))
    return out, out_slopes if chosen else None


def _slopes(slopes, rast: Array) -> Array:
    if slopes is None:
        raise SceneError("interpolate.slopes", "are missing", "give what rasterize returned beside rast")
    given = array("interpolate.slopes", slopes, "N H W 4")
    check_pixels("interpolate.slopes", given, rast)
    return given


def _channels(diff_attrs, channels: int) -> list[int]:
    if diff_attrs is None or isinstance(diff_attrs, str):
        if diff_attrs not in (None, "all"):
            raise SceneError("interpolate.diff_attrs", f"is {diff_attrs!r}", 'give "all" or a list of channels')
        return list(range(channels)) if diff_attrs else []
    chosen = [int(channel) for channel in diff_attrs]
    if len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(channels)):
        raise SceneError("interpolate.diff_attrs", f"is {chosen}", f"name channels 0 to {channels - 1} once each")
    return chosen
