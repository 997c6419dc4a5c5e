"""The surface that a rasterizer found: triangles behind pixels."""

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import needs
from tidr.kernels import accumulate
from tidr.kernels.raster import footprint as footprint_kernels
from tidr.kernels.raster import normal_map
from tidr.kernels.raster import surface as kernels
from tidr.scene.material import Material

from .entries import Entries, collect
from .shading import Surface


class MeshSurface(Surface):
    """Entries of packed meshes with their barycentrics; colours are those of the vertices.

    normals: "facing" or "pytorch3d", see `Rasterizer`. faceted: light falls on a triangle's centroid and own normal.
    """

    def __init__(self, entries: Entries, bary: Array, normals: str = "facing", faceted: bool = False) -> None:
        self.entries, self.bary = entries, bary
        self.look = (kernels.TURNED if normals == "facing" else kernels.UNIT) | kernels.FACETED * faceted
        self.count, self.capacity = entries.count, entries.capacity
        world, views = entries.world, entries.views
        self.materials, self.default = world.pack.materials, Material("lambert")
        self.inputs = [bary, world.positions, world.normals, views.eye]
        self.color_inputs = [world.uvs, entries.screen] + ([world.colors] if world.colors is not None else [])

    def fill(self) -> None:
        entries, world, views, buffer = self.entries, self.entries.world, self.entries.views, self.buffer()
        kernels.surface(
            entries.count, entries.place.ndarray, entries.face.ndarray,
            world.pack.triangles, world.positions.value, world.pack.normal_corners, world.normals.value,
            views.eye.value, world.pack.face_material, self.bary.value, self.look, buffer.position, buffer.normal,
            buffer.view, buffer.material,
        )  # fmt: skip
        buffer.filled_by = None

    def scatter(self) -> None:
        """From the columns' gradients to barycentrics, positions, normals and eye."""
        entries, world, views, buffer = self.entries, self.entries.world, self.entries.views, self.buffer()
        if needs(self.bary) or needs(world.positions) or needs(world.normals):
            to_positions = entries.scatter_target(world.positions.rows, 3)
            to_normals = entries.scatter_target(world.normals.rows, 3)
            kernels.surface_adjoint(
                runtime.chunks(), world.positions.rows, world.normals.rows, entries.count,
                entries.place.ndarray, entries.face.ndarray,
                world.pack.triangles, world.positions.value, world.pack.normal_corners, world.normals.value,
                views.eye.value, self.bary.value, self.look, buffer.position, buffer.normal, buffer.view,
                self.bary.grad, to_positions.ndarray, to_normals.ndarray, not runtime.on_cpu(),
            )  # fmt: skip
            collect(to_positions, world.positions)
            collect(to_normals, world.normals)
        if needs(views.eye):
            chunks = runtime.reduction_chunks()
            part = entries.scatter_target(views.count, 4, chunks)
            kernels.eye_adjoint(
                chunks, views.count, entries.count, entries.place.ndarray, buffer.position, buffer.view,
                part.ndarray,
                runtime.chunk_block(),
            )  # fmt: skip
            accumulate.collect(chunks, views.count, 4, part.ndarray, views.eye.grad)

    def fill_uv(self, footprint: bool) -> None:
        self._interpolate(-1, self.entries.world.pack.uv_corners, self.entries.world.uvs, "uv", 2)
        if footprint:
            self._footprints()

    def scatter_uv(self, footprint: bool) -> None:
        self._interpolate_adjoint(-1, self.entries.world.pack.uv_corners, self.entries.world.uvs, "uv", 2)
        if footprint:
            self._footprints_adjoint()

    def fill_colors(self, index: int, slot: str) -> None:
        world = self.entries.world
        if world.colors is None:
            where = f"materials.{world.pack.materials[index]}.{slot}"
            raise SceneError(where, 'is "vertex_colors" but no mesh has colours')
        self._interpolate(index, world.pack.triangles, world.colors, slot, 3)

    def scatter_colors(self, index: int, slot: str) -> None:
        world = self.entries.world
        if world.colors is not None:
            self._interpolate_adjoint(index, world.pack.triangles, world.colors, slot, 3)

    def darken_back(self, column) -> None:
        entries, world = self.entries, self.entries.world
        kernels.darken_back(
            entries.count, entries.place.ndarray, entries.face.ndarray, world.pack.triangles, world.positions.value,
            entries.views.eye.value, column,
        )  # fmt: skip

    def bend(self, mapped) -> None:
        normal_map.bend_normals(self.count, *self._frames(), mapped, self.buffer())

    def bend_adjoint(self, mapped) -> None:
        entries, world = self.entries, self.entries.world
        to_positions = entries.scatter_target(world.positions.rows, 3)
        to_uvs = entries.scatter_target(world.uvs.rows, 2)
        normal_map.bend_normals_adjoint(
            runtime.chunks(), world.positions.rows, world.uvs.rows, self.count, *self._frames(), mapped, self.buffer(),
            to_positions.ndarray, to_uvs.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        collect(to_positions, world.positions)
        collect(to_uvs, world.uvs)

    def _frames(self) -> tuple:
        """What tangent frames are made of."""
        entries, world = self.entries, self.entries.world
        return (
            entries.place.ndarray, entries.face.ndarray, world.pack.triangles, world.positions.value,
            world.pack.uv_corners, world.uvs.value, entries.views.eye.value, self.look,
        )  # fmt: skip

    def _interpolate(self, index: int, corners, attribute: Array, column: str, channels: int) -> None:
        entries, buffer = self.entries, self.buffer()
        kernels.attribute_to_column(
            entries.count, index, entries.face.ndarray, corners, attribute.value, self.bary.value, buffer.material,
            getattr(buffer, column), channels,
        )  # fmt: skip

    def _interpolate_adjoint(self, index: int, corners, attribute: Array, column: str, channels: int) -> None:
        entries, buffer = self.entries, self.buffer()
        part = entries.scatter_target(attribute.rows, channels)
        kernels.attribute_to_column_adjoint(
            runtime.chunks(), attribute.rows, entries.count, index, entries.face.ndarray, corners, attribute.value,
            self.bary.value,
            buffer.material, getattr(buffer, column), channels, self.bary.grad, part.ndarray, not runtime.on_cpu(),
        )  # fmt: skip
        collect(part, attribute)

    def _footprints(self) -> None:
        entries, world, buffer = self.entries, self.entries.world, self.buffer()
        scratch = Buffer((entries.capacity, 4))
        footprint_kernels.footprint(
            entries.count, world.positions.rows, entries.place.ndarray,
            entries.face.ndarray, world.pack.triangles, entries.screen.value, world.pack.uv_corners, world.uvs.value,
            scratch.ndarray,
        )  # fmt: skip
        kernels.footprint_to_columns(entries.count, scratch.ndarray, buffer.uv_dx, buffer.uv_dy)

    def _footprints_adjoint(self) -> None:
        entries, world, buffer = self.entries, self.entries.world, self.buffer()
        scratch = Buffer((entries.capacity, 4))
        kernels.columns_to_footprint(entries.count, buffer.uv_dx, buffer.uv_dy, scratch.ndarray)
        to_screen = entries.scatter_target(entries.screen.rows, 4)
        to_uvs = entries.scatter_target(world.uvs.rows, 2)
        footprint_kernels.footprint_adjoint(
            runtime.chunks(), entries.screen.rows, world.uvs.rows, entries.count, world.positions.rows,
            entries.place.ndarray, entries.face.ndarray, world.pack.triangles, entries.screen.value,
            world.pack.uv_corners, world.uvs.value, scratch.ndarray, to_screen.ndarray, to_uvs.ndarray,
            not runtime.on_cpu(),
        )  # fmt: skip
        collect(to_screen, entries.screen)
        collect(to_uvs, world.uvs)
