"""The layer of a `Volume` with an albedo: a medium that scatters the scene's lights once.

The lights are brought to the medium's object space, the optical depths towards them are found at the nodes of a coarse
grid over the box (`light_nodes` along its longest side, `light_steps` midpoints towards each light) and interpolated
along the camera rays. Directional and point lights are attenuated by this medium alone; ambient light is not. A volume
that also has a colour or harmonics emits it as well. Extinction is per length in the world: a node's scale changes how
much the medium hides. `VolumeRenderer.skip` speeds up only what is emitted.

The result converges in second order in 1 / steps (without jitter), 1 / light_steps and 1 / light_nodes. Its gradient is
exact for every number of them: to density, albedo, g, lights, node and camera. It is found by marching again, so memory
depends on none of the step counts.

What this does not differentiate: where a ray stops, and light that turns from one side of a face of the box to the
other. Nothing is attenuated by other objects, and light is scattered once
only. An environment light is seen through the medium, which does not scatter it; spot lights are refused. Directional
light is parallel, whatever its angular diameter.

Henyey and Greenstein 1941 (phase function); Zhang et al. 2019, "A Differential Theory of Radiative Transfer"; marching
again as in Vicini, Speierer and Jakob 2021, "Path Replay Backpropagation", here for a quadrature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tidr import runtime
from tidr.array import Array, constant
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels.volume import march, march_adjoint, medium, medium_adjoint, medium_light
from tidr.scene.graph import Node, Scene
from tidr.scene.light import (
    AmbientLight,
    DirectionalLight,
    LocalLight,
    PointLight,
    SpotLight,
    refuse_unattenuated,
)
from tidr.scene.volume import ACTIVATIONS, Volume

from .volume_grid import grid_layer, packed_cells
from .volume_layers import Layer

if TYPE_CHECKING:
    from .rays import Rays
    from .volume import VolumeRenderer

SHORTEST = 1e-12  # of a direction
NEAREST = 1e-3
"""Within this share of the box's diagonal of a point light, its irradiance stays what it is at that distance."""


def medium_layer(settings: VolumeRenderer, scene: Scene, node: Node, world: Rays, local: Rays) -> Layer:
    """What a medium scatters, and emits; see `VolumeRenderer`."""
    walk = _March(settings, scene, node, local)
    layer = Layer(walk.rgb, walk.alpha, walk.distance)
    if walk.volume.color is None and walk.volume.sh is None:
        return layer
    emitted = grid_layer(settings, scene, node, world, local)
    return Layer(_sum(layer.rgb, emitted.rgb), layer.alpha, layer.distance)


def _sum(a: Array, b: Array) -> Array:
    total = Array(a.shape)

    def forward() -> None:
        accumulate.copy_rows(a.rows, a.channels, a.value, total.value, 0)
        accumulate.add_rows(a.rows, a.channels, b.value, 0, total.value, 0)

    def backward() -> None:
        for part in (a, b):
            accumulate.add_rows(a.rows, a.channels, total.grad, 0, part.grad, 0)

    run(Operation(forward, backward, [a, b], [total], "sum"))
    return total


class LightTable:
    """The lights but an environment as the kernels take them (`kernels.volume.medium_light`): kinds, table, metric."""

    def __init__(self, scene: Scene, node: Node) -> None:
        refuse_unattenuated(scene.lights)
        self.lights = [light for light in scene.lights.values() if isinstance(light, LocalLight)]
        self.count = len(self.lights)
        for name, light in scene.lights.items():
            if isinstance(light, SpotLight):
                raise SceneError(f"lights.{name}", "is a spot light, which no medium scatters", "use a point light")
        self.table, self.metric = Array((max(self.count, 1), 6)), Array((1, 9))
        self.kinds = Buffer((max(self.count, 1),), "int")
        self._scene, self._node = scene, node
        inputs = [p for light in self.lights for p in light.parameters().values()]
        inputs += [p for one in scene.ordered_nodes() for p in one.transform_parameters().values()]
        run(Operation(self._fill, self._scatter, inputs, [self.table, self.metric], "lights of a medium"))

    def _fill(self) -> None:
        to_world = self._scene.world_matrices()[self._node.name]
        rows = np.zeros((max(self.count, 1), 6))
        kinds = np.zeros(max(self.count, 1), np.int32)
        for row, light in enumerate(self.lights):
            kinds[row] = _kind(light)
            rows[row, :3] = (np.linalg.inv(to_world) @ _geometry(light))[:3]
            rows[row, 3:] = _value(light).host()
        self.table.set(rows)
        self.kinds.ndarray.from_numpy(kinds)
        self.metric.set((to_world[:3, :3].T @ to_world[:3, :3]).reshape(1, 9))

    def _scatter(self) -> None:
        to_world = self._scene.world_matrices()[self._node.name]
        to_object = np.linalg.inv(to_world)
        gradients = self.table.grad_numpy().astype(np.float64)
        to_metric = self.metric.grad_numpy().astype(np.float64).reshape(3, 3)
        to_inverse = np.zeros((4, 4))
        for light, gradient in zip(self.lights, gradients, strict=False):
            _add(_value(light), gradient[3:])
            to_inverse[:3] += np.outer(gradient[:3], _geometry(light))
            back = to_object[:3, :3].T @ gradient[:3]
            if isinstance(light, PointLight):
                _add(light.position, back)
            if isinstance(light, DirectionalLight):
                length = max(float(np.linalg.norm(light.direction.host())), SHORTEST)
                unit = light.direction.host() / length
                _add(light.direction, -(back - unit * unit.dot(back)) / length)
        to_matrix = -to_object.T @ to_inverse @ to_object.T
        to_matrix[:3, :3] += to_world[:3, :3] @ (to_metric + to_metric.T)
        for name, parts in self._scene.world_adjoint({self._node.name: to_matrix}).items():
            for parameter, part in zip(self._scene.nodes[name].transform_parameters().values(), parts, strict=True):
                _add(parameter, part)


def _kind(light: LocalLight) -> int:
    if isinstance(light, AmbientLight):
        return medium_light.AMBIENT
    return medium_light.POINT if isinstance(light, PointLight) else medium_light.DIRECTIONAL


def _geometry(light: LocalLight) -> np.ndarray:
    """[4] homogeneous: a point light's position, the unit vector towards a directional one; world."""
    if isinstance(light, PointLight):
        return np.append(light.position.host(), 1.0)
    if isinstance(light, DirectionalLight):
        direction = light.direction.host()
        return np.append(-direction / max(float(np.linalg.norm(direction)), SHORTEST), 0.0)
    return np.zeros(4)


def _value(light: LocalLight):
    if isinstance(light, AmbientLight):
        return light.radiance
    return light.irradiance if isinstance(light, DirectionalLight) else light.intensity


def _add(parameter, gradient: np.ndarray) -> None:
    if needs(parameter):
        parameter.set_grad(parameter.grad_numpy() + gradient)


class Medium:
    """A scattering volume as its kernels take it: packed grids, lights, and optical depths towards these."""

    def __init__(self, settings: VolumeRenderer, scene: Scene, node: Node) -> None:
        volume = node.geometry
        assert isinstance(volume, Volume)
        assert volume.albedo is not None
        assert volume.g is not None
        self.settings, self.volume = settings, volume
        self.albedo, self.g = volume.albedo, volume.g
        self.activation = ACTIVATIONS.index(volume.density_activation)
        self.kind = march.DENSITY if volume.albedo.shape == (3,) else march.COLOR
        self.lights = LightTable(scene, node)
        to_world = scene.world_matrices()[node.name][:3, :3]
        sides = volume.upper - volume.lower
        self.nearest = NEAREST * float(np.linalg.norm(to_world @ sides))
        nodes = np.maximum(np.round(sides / sides.max() * (settings.light_nodes - 1)), 1).astype(int) + 1
        self.nodes = tuple(int(count) for count in nodes)  # x, y, z
        self.size = tuple(reversed(volume.shape))
        self.rows = int(np.prod(self.size))
        self.lines = (self.rows // self.size[0], self.size[0])
        self.depth_count = int(np.prod(nodes)) * self.lights.count
        self.box = constant((volume.lower, volume.upper, np.array(self.size) / sides, (nodes - 1) / sides))
        self.channels = medium_adjoint.LIGHTS + 6 * self.lights.count  # of a slot of sums
        self.inputs = [volume.density, self.albedo, self.g, self.lights.table, self.lights.metric]

    def pack(self) -> None:
        """Bring the grids to where a march takes samples, and find the depths."""
        volume = self.volume
        self.numbers = self.cells = packed_cells(volume, None, 1, self.settings.half)
        if self.kind == march.COLOR:
            self.cells = packed_cells(volume, self.albedo, 1, self.settings.half)
        self.depths = Buffer((self.depth_count,))
        medium_light.light_depths(*self._to_lights(), self.depths.ndarray, self.activation)

    def _to_lights(self) -> tuple:
        lights = self.lights
        return (
            lights.count, self.settings.light_steps, *self.size, *self.nodes, self.volume.density_shift,
            self.numbers.ndarray, self.box.value, lights.kinds.ndarray, lights.table.value, lights.metric.value,
        )  # fmt: skip

    def wanted(self, rays: Rays) -> int:
        """Bits of what somebody needs the gradient of."""
        density, lights, grid = self.volume.density, self.lights, self.kind == march.COLOR
        groups = {
            medium_adjoint.TO_CELLS: [density, self.albedo] if grid else [density],
            medium_adjoint.TO_DEPTHS: [density, lights.table, lights.metric] if lights.count else [],
            medium_adjoint.TO_SHARED: [self.g, lights.table, lights.metric] + ([] if grid else [self.albedo]),
            medium_adjoint.TO_RAYS: [rays.origins, rays.directions],
        }
        return sum(bit for bit, arrays in groups.items() if any(needs(array) for array in arrays))

    def accumulators(self, wanted: int, slots: int) -> tuple[Buffer, Buffer, Buffer]:
        """Zeros for the sums, and for copies of the gradients of the packed cells and of the depths."""
        chunks = runtime.chunks()
        sums = _zeros(slots * self.channels if wanted & medium_adjoint.TO_SHARED else 1)
        vector = 4 if self.kind == march.COLOR else 0
        to_cells = _zeros(chunks * self.rows if wanted & medium_adjoint.TO_CELLS else 1, vector)
        to_depths = _zeros(chunks * self.depth_count if wanted & medium_adjoint.TO_DEPTHS else 1)
        return sums, to_cells, to_depths

    def gather(self, wanted: int, slots: int, sums: Buffer, to_cells: Buffer, to_depths: Buffer) -> None:
        """From accumulators to the gradients of density, albedo, g and lights."""
        chunks, density, albedo = runtime.chunks(), self.volume.density, self.albedo
        if wanted & medium_adjoint.TO_SHARED:
            self._collect(sums, slots)
        grid = self.kind == march.COLOR
        to_numbers = to_cells if wanted & medium_adjoint.TO_CELLS and not grid else None
        if wanted & medium_adjoint.TO_DEPTHS:
            medium_light.sum_copies(chunks, self.depth_count, to_depths.ndarray)
            to_numbers = self._depths_backward(to_depths, to_numbers)
        if grid and wanted & medium_adjoint.TO_CELLS:
            march_adjoint.unpack_color(
                chunks, *self.lines, 1, to_cells.ndarray, density.grad, albedo.grad, needs(density), needs(albedo)
            )  # fmt: skip
        if needs(density) and to_numbers is not None:
            march_adjoint.unpack_density(chunks, *self.lines, to_numbers.ndarray, density.grad)

    def _depths_backward(self, to_depths: Buffer, to_cells: Buffer | None) -> Buffer | None:
        """From depths to density, added to copies given or made, and to lights."""
        lights = self.lights
        if needs(self.volume.density):
            to_cells = to_cells or _zeros(runtime.chunks() * self.rows)
            end = (to_depths.ndarray, to_cells.ndarray, self.activation)
            if runtime.on_cpu():
                medium_light.light_depths_adjoint(runtime.chunks(), *self._to_lights(), *end)
            else:
                for light in range(lights.count):
                    medium_light.light_depths_adjoint_samples(light, *self._to_lights(), *end)
        if needs(lights.table) or needs(lights.metric):
            chunks, channels = runtime.reduction_chunks(), 9 + 6 * lights.count
            part = Buffer((chunks * channels,))
            medium_light.light_depths_geometry_adjoint(
                chunks, *self._to_lights(), to_depths.ndarray, part.ndarray, self.activation, runtime.chunk_block()
            )  # fmt: skip
            _add_shared(chunks, channels, part, {0: lights.metric, 9: lights.table})
        return to_cells

    def _collect(self, sums: Buffer, slots: int) -> None:
        chunks, channels = min(runtime.reduction_chunks(), slots), self.channels
        part = Buffer((chunks * channels,))
        medium_adjoint.collect_slots(chunks, slots, channels, sums.ndarray, part.ndarray)
        shared = {0: self.g, medium_adjoint.METRIC: self.lights.metric}
        if self.lights.count:
            shared[medium_adjoint.LIGHTS] = self.lights.table
        if self.kind == march.DENSITY:
            shared[medium_adjoint.ALBEDO] = self.albedo
        _add_shared(chunks, channels, part, shared)


class _March(Medium):
    """One march through a medium and its adjoint, as an operation on the tape."""

    def __init__(self, settings: VolumeRenderer, scene: Scene, node: Node, rays: Rays) -> None:
        super().__init__(settings, scene, node)
        self.rays = rays
        self.rgb, self.alpha, self.distance = Array((rays.count, 3)), Array((rays.count, 1)), Array((rays.count, 1))
        outputs = [self.rgb, self.alpha, self.distance]
        run(Operation(self._forward, self._backward, [*self.inputs, rays.origins, rays.directions], outputs, "medium"))

    def _forward(self) -> None:
        self.pack()
        medium.march_medium(*self._along_rays(), self.rgb.value, self.alpha.value, self.distance.value)

    def _along_rays(self) -> tuple:
        settings, rays, lights = self.settings, self.rays, self.lights
        return (
            rays.count, settings.steps, int(settings.jitter), settings.seed, settings.stop, self.nearest, lights.count,
            *self.size, *self.nodes, self.volume.density_shift, rays.origins.value, rays.directions.value,
            self.box.value, self.cells.ndarray, self.albedo.value, self.g.value, lights.kinds.ndarray,
            lights.table.value, lights.metric.value, self.depths.ndarray, self.kind, self.activation,
        )  # fmt: skip

    def _backward(self) -> None:
        wanted, slots = self.wanted(self.rays), runtime.chunks() if runtime.on_cpu() else self.rays.count
        sums, to_cells, to_depths = self.accumulators(wanted, slots)
        self._walk(wanted, sums, to_cells, to_depths)
        self.gather(wanted, slots, sums, to_cells, to_depths)

    def _walk(self, wanted: int, sums: Buffer, to_cells: Buffer, to_depths: Buffer) -> None:
        """March again: adds to the sums, to the copies of the grids' gradients and to the rays."""
        rays, outputs = self.rays, (self.rgb, self.alpha, self.distance)
        values, grads = [array.value for array in outputs], [array.grad for array in outputs]
        targets = (rays.origins.grad, rays.directions.grad, sums.ndarray, to_cells.ndarray, to_depths.ndarray)
        if runtime.on_cpu():
            medium_adjoint.march_medium_adjoint(
                runtime.chunks(), wanted, *self._along_rays(), *values, *grads, *targets
            )  # fmt: skip
            return
        state = Buffer((rays.count, 2))
        medium_adjoint.begin_medium_steps(
            rays.count, values[0], values[2], grads[0], grads[2], state.ndarray
        )  # fmt: skip
        for k in range(self.settings.steps):
            medium_adjoint.step_medium_adjoint(
                k, wanted, *self._along_rays(), state.ndarray, values[1], *grads, *targets
            )  # fmt: skip


def _add_shared(chunks: int, channels: int, part: Buffer, targets: dict[int, Array]) -> None:
    """Add columns of the summed part [chunks * channels] to small arrays, each from its first column on."""
    total = Array((1, channels), needs_grad=False)
    total.value.fill(0.0)
    accumulate.collect(chunks, 1, channels, part.ndarray, total.value)
    numbers = total.numpy()[0]
    for first, array in targets.items():
        if needs(array):
            share = numbers[first : first + array.rows * array.channels]
            array.set_grad(array.grad_numpy() + share.reshape(array.shape))


def _zeros(count: int, vector: int = 0) -> Buffer:
    made = Buffer((count,), vector=vector)
    made.ndarray.fill(0.0)
    return made
