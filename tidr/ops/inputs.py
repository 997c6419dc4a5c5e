"""What the operations take: arrays and triangles, checked."""

import functools

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import unrecorded
from tidr.scene.topology import Topology


def array(where: str, value, *shapes: str) -> Array:
    """A differentiable array as it is, anything else as a constant; of one of the shapes ("N H W 4", letters are free).

    Raises:
        SceneError: no numbers, another shape, a number that is not finite, or an array from before the last `init`.
    """
    made = value
    if not isinstance(made, Array):
        try:
            made = np.asarray(made, np.float64)
        except (TypeError, ValueError):
            raise SceneError(where, f"got {type(value).__name__}, expected an array of numbers") from None
    if not any(_fits(made.shape, shape.split()) for shape in shapes):
        wanted = " or ".join(f"[{', '.join(shape.split())}]" for shape in shapes)
        raise SceneError(where, f"got shape {list(made.shape)}, expected {wanted}")
    if isinstance(made, Array):
        if made.generation != runtime.generation():
            raise SceneError(where, "was made before the last tidr.init", "make it anew")
        return made
    if not np.isfinite(made).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(made))[0])
        raise SceneError(where, f"value at index {index} is not finite", "give finite numbers")
    with unrecorded():
        return Array.of(made, needs_grad=False)


def _fits(shape: tuple[int, ...], pattern: list[str]) -> bool:
    return len(shape) == len(pattern) and all(
        size == int(name) if name.isdigit() else size > 0 for size, name in zip(shape, pattern, strict=True)
    )


def triangles_of(where: str, value, vertices: int) -> Topology:
    """The triangles [F, 3] over some of `vertices` rows, or a `Topology` made of them before.

    Raises:
        SceneError: no whole numbers, another shape, or an index out of range.
    """
    if isinstance(value, Topology):
        if value.vertex_count > vertices:
            raise SceneError(where, f"were made for {value.vertex_count} vertices, there are {vertices}")
        return value
    table = np.asarray(value)
    if table.ndim != 2 or table.shape[1] != 3 or table.dtype.kind not in "iu":
        raise SceneError(where, f"got {table.dtype} {list(table.shape)}, expected whole numbers [F, 3]")
    bad = (table < 0) | (table >= vertices)
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        raise SceneError(where, f"row {row} is {table[row].tolist()}, the vertices are 0 to {vertices - 1}")
    table = np.ascontiguousarray(table, np.int32)
    return _topology(table.tobytes(), vertices)


@functools.lru_cache(maxsize=16)
def _topology(data: bytes, vertices: int) -> Topology:
    """Of equal triangles the same, so that neighbours across edges are looked for once."""
    return Topology(np.frombuffer(data, np.int32).reshape(-1, 3), vertices)


def clip_positions(where: str, value) -> tuple[Array, int]:
    """Clip-space positions [V, 4] or [N, V, 4], and their number of vertices V."""
    positions = array(where, value, "V 4", "N V 4")
    return positions, positions.shape[-2]


def image_rows(where: str, value: Array, rast: Array) -> int:
    """Rows of `value` for each image of `rast`, 0 where all images share them."""
    if len(value.shape) == 2:
        return 0
    if value.shape[0] != rast.shape[0]:
        raise SceneError(where, f"are of {value.shape[0]} images, rast is of {rast.shape[0]}")
    return value.shape[1]


def check_pixels(where: str, value: Array, rast: Array) -> None:
    """`value` has the pixels of `rast`."""
    if value.shape[:3] != rast.shape[:3]:
        raise SceneError(where, f"has pixels {list(value.shape[:3])}, rast has {list(rast.shape[:3])}")


def check_triangle_ids(where: str, rast: Array, faces: int) -> None:
    """The last channel of a `rast` that no operation made: 0, or a triangle's index + 1."""
    numbers = rast.numpy()[..., 3]
    bad = (numbers != np.rint(numbers)) | (numbers < 0) | (numbers > faces)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise SceneError(where, f"pixel {index} names triangle {numbers[index]:g} - 1, there are {faces}")
