"""A surface given by points with normals, as rays find it: one material, and colours of its own."""

from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import needs
from tidr.kernels.implicit import columns as kernels
from tidr.parameter import nearest
from tidr.scene.graph import Node, Scene
from tidr.scene.material import Material

from .shading import Surface


class PointSurface(Surface):
    """The first `count` rows of world-space arrays [n, 3]: points, normals on the viewer's side, vectors to the viewer.

    colors: [n, 3] linear RGB or None; slots that are "vertex_colors" take them, and so does the albedo of a node
    without material.
    """

    def __init__(
        self, scene: Scene, node: Node, count: int, points: Array, normals: Array, views: Array, colors: Array | None
    ) -> None:
        self.count, self.capacity = count, points.rows
        self.points, self.normals, self.views, self.colors = points, normals, views, colors
        name = node.materials[0] if node.materials else ""
        if name and name not in scene.materials:
            where = f"nodes.{node.name}.material"
            raise SceneError(where, f"no material {name!r}", nearest(name, scene.materials))
        self.materials = [name]
        self.default = Material("lambert") if colors is None else Material("lambert", albedo="vertex_colors")
        self.inputs = [points, normals, views]
        self.color_inputs = [] if colors is None else [colors]

    def fill(self) -> None:
        buffer = self.buffer()
        kernels.fill(
            self.count, self.points.value, self.normals.value, self.views.value, 0, buffer.position,
            buffer.normal, buffer.view, buffer.material,
        )  # fmt: skip
        buffer.filled_by = None

    def scatter(self) -> None:
        buffer = self.buffer()
        pairs = ((buffer.position, self.points), (buffer.normal, self.normals), (buffer.view, self.views))
        for column, array in pairs:
            if needs(array):
                kernels.add_gradient(self.count, column, array.grad)

    def fill_uv(self, footprint: bool) -> None:
        raise SceneError("materials", "a texture is on a surface without uvs", "give its slot a value or vertex_colors")

    def scatter_uv(self, footprint: bool) -> None:
        """Nothing: `fill_uv` has refused."""

    def fill_colors(self, index: int, slot: str) -> None:
        if self.colors is None:
            where = f"materials.{self.materials[index]}.{slot}"
            raise SceneError(where, 'is "vertex_colors" but the surface has no colours', "give the grid a color")
        kernels.fill_values(self.count, self.colors.value, getattr(self.buffer(), slot))

    def darken_back(self, column) -> None:
        """Nothing: a point is seen from the side that its normal is turned to."""

    def scatter_colors(self, index: int, slot: str) -> None:
        if self.colors is not None and needs(self.colors):
            kernels.add_gradient(self.count, getattr(self.buffer(), slot), self.colors.grad)
