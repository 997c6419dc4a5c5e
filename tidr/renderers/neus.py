"""The NeuS renderer: a grid of signed distances seen as a density around its surface."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.implicit import neus as kernels
from tidr.kernels.reduce import split
from tidr.scene.graph import Node, Scene
from tidr.scene.neus import NeusGrid

from .implicit_field import GridField, world_normals, zeroed
from .rays import RayRenderer, Rays, world_to_object
from .volume_compose import channels, unit
from .volume_layers import Layer


@dataclass(frozen=True, kw_only=True)
class NeusRenderer(RayRenderer):
    """Draws the scene's `NeusGrid`, after Wang et al. 2021, "NeuS".

    steps: equal sections of each ray inside the box. Their opacity comes from the signed distances at both ends, as in
    the paper (its code estimates them from the middle and the slope), and their colour from the middle; the grid's
    colour is shown as it is, white when it has none.

    Channels: rgb, alpha, depth, distance, normal (world, outwards: the unit normals at cell centres, from central
    differences, are interpolated at the middle of each section, weighted like colours, and their sum made unit). All
    of it is differentiated: distances, colours, log_inverse_std, the node's transform and the camera. The backward
    pass walks each ray again and stores nothing per section.

    What this does not differentiate: nothing along a ray jumps; where the box cuts the solid is no surface.
    """

    steps: int = 128

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1 << 14:
            raise SceneError("renderer.steps", f"is {self.steps}", "give 1 to 16384")

    def trace(self, scene: Scene, rays: Rays) -> dict[str, Callable[[], Array]]:
        """A function for every channel."""
        nodes = [node for node in scene.nodes.values() if isinstance(node.geometry, NeusGrid)]
        if len(nodes) != 1:
            raise SceneError("nodes", f"{len(nodes)} hold a NeusGrid", "the NeuS renderer draws exactly one")
        grid = nodes[0].geometry
        assert isinstance(grid, NeusGrid)
        if grid.color is not None and grid.color.shape[:3] != grid.shape:
            raise SceneError("neus.color", f"has {grid.color.shape[:3]} cells, expected {grid.shape} as the sdf")
        field, local = GridField(grid), rays.to_object(scene, nodes[0])

        def normal() -> Array:
            return _march(field, _normals(scene, nodes[0], field), grid.log_inverse_std, local, self.steps).rgb

        return channels(
            scene, replace(_march(field, grid.color, grid.log_inverse_std, local, self.steps), normal=normal), rays
        )


def _normals(scene: Scene, node: Node, field: GridField) -> Array:
    """[cells, 3] unit normals in the world."""
    views = Array((field.cells, 3), needs_grad=False)
    views.value.fill(0.0)  # towards no viewer: outwards
    return unit(world_normals(field.node_gradients(), world_to_object(scene, node), views, field.cells, field.sign))


def _march(field: GridField, colors: Array | None, sharpness: Array, rays: Rays, steps: int) -> Layer:
    """Sums over the sections, of a grid of three channels [cells, 3] or of white."""
    colored = colors is not None
    layer = Layer(Array((rays.count, 3)), Array((rays.count, 1)), Array((rays.count, 1)))
    out, values = (layer.rgb, layer.alpha, layer.distance), field.values
    colors = values if colors is None else colors
    seen = (rays.origins.value, rays.directions.value, values.value, colors.value, field.box.value, sharpness.value)

    def forward() -> None:
        kernels.march(rays.count, steps, *seen, colored, *(array.value for array in out))

    def backward() -> None:
        chunks, cells = runtime.chunks(), field.cells
        part, state = zeroed(chunks * cells), Buffer((rays.count * kernels.SLOTS,))
        part_colors = zeroed(chunks * cells * 3 if colored else 1)
        grads = [array.grad for array in out]
        held = (*grads, state.ndarray, part.ndarray, part_colors.ndarray)
        before = [array.value for array in out]
        kernels.begin(rays.count, *seen[:3], field.box.value, *before, *grads, state.ndarray)
        if runtime.on_cpu():
            kernels.walk(chunks, cells, rays.count, steps, *seen, *held, colored)
        else:
            for section in range(steps):
                kernels.walk_section(section, rays.count, steps, *seen, *held, colored)
        parts = split(rays.count, runtime.on_cpu())
        to_sharpness, partial, loss = Buffer((rays.count,)), Buffer((parts.chunks,)), Buffer((1, 1))
        kernels.finish(
            rays.count, *seen[:2], field.box.value, state.ndarray, rays.origins.grad, rays.directions.grad,
            to_sharpness.ndarray,
        )  # fmt: skip
        if needs(values):
            accumulate.collect(chunks, cells, 1, part.ndarray, values.grad)
        if colored and needs(colors):
            accumulate.collect(chunks, cells, 3, part_colors.ndarray, colors.grad)
        if needs(sharpness):
            accumulate.total(rays.count, to_sharpness.ndarray, 1.0, *parts, partial.ndarray, loss.ndarray)
            accumulate.add_rows(1, 1, loss.ndarray, 0, sharpness.grad, 0)

    inputs = [values, colors, sharpness, rays.origins, rays.directions]
    run(Operation(forward, backward, inputs, out, "neus"))
    return layer
