"""From layers to channels: several volumes in front of each other, background, expected depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run, unrecorded
from tidr.kernels.volume import compose as kernels
from tidr.scene.graph import Node, Scene

from . import background
from .volume_layers import Layer

if TYPE_CHECKING:
    from .rays import Rays


def joined(nodes: Sequence[Node], layers: Sequence[Layer], rays: Sequence[Rays]) -> Layer:
    """Layers in front of each other as one; `rays` are those in each node's object space.

    Raises:
        SceneError: the boxes of two nodes overlap along a ray.
    """
    if len(layers) == 1:
        return layers[0]
    count = rays[0].count
    order = front_to_back(nodes, rays)
    colors = [(layer.rgb, layer.distance) for layer in layers]
    alphas = [layer.alpha for layer in layers]
    rgb, distance, alpha = _over(count, order, colors, alphas)
    coarse = None
    if any(layer.coarse is not None for layer in layers):
        coarse = joined(nodes, [layer.coarse or layer for layer in layers], rays)
    makers = [layer.normal for layer in layers]
    if any(maker is None for maker in makers):
        return Layer(rgb, alpha, distance, coarse=coarse)

    def normal() -> Array:
        blank = [Array((count, 1)) for _ in layers]
        for array in blank:
            array.value.fill(0.0)
        vectors = [(maker(), zero) for maker, zero in zip(makers, blank, strict=True) if maker is not None]
        return _over(count, order, vectors, alphas)[0]

    return Layer(rgb, alpha, distance, normal=normal, coarse=coarse)


def front_to_back(nodes: Sequence[Node], rays: Sequence[Rays]) -> Buffer:
    """[n, m] indices of the nodes' boxes along each ray, front to back; `rays` are those in each node's object space.

    Raises:
        SceneError: two boxes overlap along a ray.
    """
    count, layers = rays[0].count, len(nodes)
    order, near, far = Buffer((count, layers), "int"), Buffer((count, layers)), Buffer((count, layers))
    with unrecorded():
        for column, (node, local) in enumerate(zip(nodes, rays, strict=True)):
            assert node.geometry is not None
            box = constant(node.geometry.bounds()).value
            kernels.box_times(
                count, column, box, local.origins.value, local.directions.value, near.ndarray, far.ndarray
            )
        overlaps = kernels.front_to_back(count, layers, near.ndarray, far.ndarray, order.ndarray)
    if overlaps:
        names = ", ".join(node.name for node in nodes)
        raise SceneError(
            f"nodes {names}", f"their boxes overlap along {overlaps} rays",
            "move them apart, or put both into one volume",
        )  # fmt: skip
    return order


def _over(
    count: int, order: Buffer, parts: Sequence[tuple[Array, Array]], alphas: Sequence[Array]
) -> tuple[Array, Array, Array]:
    """Three-vectors and scalars of the layers, composited; and their alpha."""
    layers = len(parts)
    values, stacked = Array((layers * count, 4)), Array((layers * count, 1))
    for index, ((vector, scalar), alpha) in enumerate(zip(parts, alphas, strict=True)):
        _stack(count, index * count, vector, scalar, alpha, values, stacked)
    out, alpha = Array((count, 4)), Array((count, 1))

    def forward() -> None:
        kernels.over(count, layers, order.ndarray, values.value, stacked.value, out.value, alpha.value, 4)

    def backward() -> None:
        kernels.over_adjoint(
            count, layers, order.ndarray, values.value, stacked.value, out.grad, alpha.grad, values.grad, stacked.grad,
            4,
        )  # fmt: skip

    run(Operation(forward, backward, [values, stacked], [out, alpha], "over"))
    vector, scalar = Array((count, 3)), Array((count, 1))

    def split() -> None:
        kernels.unstack(count, out.value, vector.value, scalar.value)

    def split_adjoint() -> None:
        kernels.unstack_adjoint(count, vector.grad, scalar.grad, out.grad)

    run(Operation(split, split_adjoint, [out], [vector, scalar], "unstack"))
    return vector, scalar, alpha


def _stack(count: int, start: int, rgb: Array, distance: Array, alpha: Array, values: Array, stacked: Array) -> None:
    def forward() -> None:
        kernels.stack(count, start, rgb.value, alpha.value, distance.value, values.value, stacked.value)

    def backward() -> None:
        kernels.stack_adjoint(count, start, values.grad, stacked.grad, rgb.grad, alpha.grad, distance.grad)

    run(Operation(forward, backward, [rgb, alpha, distance], [values, stacked], "stack"))


def channels(scene: Scene, layer: Layer, rays: Rays) -> dict[str, Callable[[], Array]]:
    """Makers of rgb, alpha, depth, distance and, where the layer has them, spread and normal; [*rays.shape, C]."""

    def seen(layer: Layer) -> Array:
        color = background.constant_color(scene)
        image = layer.rgb if color is None else before(layer.rgb, layer.alpha, color)
        return background.before_environment(scene, image, lambda: layer.alpha, lambda: rays)

    def shaped(array: Array) -> Array:
        array.shape = (*rays.shape, array.channels)
        return array

    makers = {
        "rgb": lambda: shaped(seen(layer)),
        "alpha": lambda: shaped(layer.alpha),
        "depth": lambda: shaped(expected(layer.distance, layer.alpha, rays.cosines)),
        "distance": lambda: shaped(expected(layer.distance, layer.alpha)),
    }
    if layer.spread is not None:
        spread = layer.spread
        makers["spread"] = lambda: shaped(spread)
    if layer.coarse is not None:
        coarse = layer.coarse
        makers["rgb_coarse"] = lambda: shaped(seen(coarse))
    if layer.normal is not None:
        make = layer.normal
        makers["normal"] = lambda: shaped(unit(make()))
    return makers


def before(rgb: Array, alpha: Array, behind: tuple[float, float, float]) -> Array:
    """[n, 3] colour in front of a constant: rgb + (1 - alpha) behind."""
    count, color, out = rgb.rows, constant([behind]), Array((rgb.rows, 3))

    def forward() -> None:
        kernels.behind(count, rgb.value, alpha.value, color.value, out.value)

    def backward() -> None:
        kernels.behind_adjoint(count, color.value, out.grad, rgb.grad, alpha.grad)

    run(Operation(forward, backward, [rgb, alpha], [out], "background"))
    return out


def expected(total: Array, alpha: Array, cosines: Array | None = None) -> Array:
    """[n, 1] total / alpha, 0 where alpha is below 1e-6; times the cosines where given."""
    count, out, along_axis = alpha.rows, Array((alpha.rows, 1)), cosines is not None
    along = cosines if cosines is not None else alpha

    def forward() -> None:
        kernels.expected(count, total.value, alpha.value, along.value, out.value, along_axis)

    def backward() -> None:
        kernels.expected_adjoint(
            count, total.value, alpha.value, along.value, out.grad, total.grad, alpha.grad, along.grad, along_axis
        )  # fmt: skip

    inputs = [total, alpha, *([] if cosines is None else [cosines])]
    run(Operation(forward, backward, inputs, [out], "expected distance"))
    return out


def unit(vectors: Array) -> Array:
    """Rows divided by their length; 0 where that is 0."""
    count, out = vectors.rows, Array((vectors.rows, 3))

    def forward() -> None:
        kernels.unit(count, vectors.value, out.value)

    def backward() -> None:
        if needs(vectors):
            kernels.unit_adjoint(count, vectors.value, out.value, out.grad, vectors.grad)

    run(Operation(forward, backward, [vectors], [out], "unit"))
    return out
