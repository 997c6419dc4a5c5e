"""`antialias`: pixels that a silhouette crosses share their colours (Laine et al. 2020)."""

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, run
from tidr.kernels import accumulate
from tidr.kernels.raster import antialias as kernels
from tidr.kernels.raster import clip
from tidr.renderers.edges_antialias import blended

from .inputs import array, check_pixels, check_triangle_ids, clip_positions, image_rows, triangles_of
from .rasterization import screen_of


def antialias(color, rast, positions, triangles) -> Array:
    """A picture with its silhouettes blended, so that it changes as they move.

    Args:
        color: [N, H, W, C] finished picture, the background included.
        rast, positions, triangles: of `rasterize`. Which triangles meet at an edge is found by vertex index and kept
            for the last 16 lists of triangles; a `Topology` keeps it itself.

    Returns:
        [N, H, W, C]. A pixel and its right or lower neighbour that see different triangles on either side of a
        silhouette share their colours by where it crosses the line between their centres.

    Gradients reach color, and the x, y and w of positions.

    What this does not differentiate: silhouettes shorter than about a pixel, and lines where triangles pass through
    each other. rast gets no gradient from here.

    Raises:
        SceneError: as `rasterize` and `interpolate` do.
    """
    image = array("antialias.color", color, "N H W C")
    seen = array("antialias.rast", rast, "N H W 4")
    check_pixels("antialias.color", image, seen)
    given, vertices = clip_positions("antialias.positions", positions)
    topology = triangles_of("antialias.triangles", triangles, vertices)
    images, height, width, _ = seen.shape
    stride = image_rows("antialias.positions", given, seen)
    if not isinstance(rast, Array):
        check_triangle_ids("antialias.rast", seen, topology.face_count)
    screen = screen_of("antialias.positions", given, width, height)
    share, code = Array((seen.rows, 2)), Buffer((seen.rows, 2), "int")

    def find() -> None:
        face, nearest = Buffer((seen.rows,), "int"), Buffer((seen.rows,))
        flags = Buffer((images * topology.face_count,), "int")
        clip.load(seen.rows, seen.value, face.ndarray, nearest.ndarray)
        size, (triangle,) = (images, stride, topology.face_count), topology.device("faces")
        kernels.silhouettes(*size, triangle, *topology.device("opposite_vertices"), screen.value, flags.ndarray)
        kernels.detect(
            *size, width, height, face.ndarray, nearest.ndarray, triangle, screen.value, flags.ndarray, share.value,
            code.ndarray,
        )  # fmt: skip

    def find_adjoint() -> None:
        chunks = runtime.chunks()
        part = Buffer((chunks * screen.rows * 4,))
        part.ndarray.fill(0.0)
        kernels.share_adjoint(
            chunks, screen.rows, images, stride, width, height, share.value, code.ndarray, share.grad,
            *topology.device("faces"), screen.value, part.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        accumulate.collect(chunks, screen.rows, 4, part.ndarray, screen.grad)

    run(Operation(find, find_adjoint, [screen], [share], "silhouettes"))
    return blended(image, share)
