"""The lights of a scene as the kernels of light transport take them; see kernels/transport/lights.py."""

import weakref
from dataclasses import dataclass

import numpy as np

from tidr import runtime
from tidr.array import Array, constant, integers
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, run, unrecorded
from tidr.kernels import accumulate, reduce
from tidr.kernels.transport import light_tables, lights, sky
from tidr.parameter import Parameter
from tidr.scene.graph import Scene
from tidr.scene.light import (
    AmbientLight,
    DirectionalLight,
    EnvironmentLight,
    Light,
    PointLight,
    SpotLight,
    refuse_unattenuated,
)
from tidr.scene.texture import Texture
from tidr.scene.volume import Volume

from .geometry import Pack, World

KINDS: dict[type, int] = {
    PointLight: lights.POINT,
    SpotLight: lights.SPOT,
    DirectionalLight: lights.DIRECTIONAL,
    EnvironmentLight: lights.ENVIRONMENT,
}


@dataclass(frozen=True)
class Layout:
    """What changes only with the scene's structure: emitting faces and the table of entries."""

    key: tuple
    emitting: np.ndarray
    entries: Buffer


_layouts: weakref.WeakKeyDictionary[Pack, Layout] = weakref.WeakKeyDictionary()
_skies: weakref.WeakKeyDictionary[EnvironmentLight, tuple[tuple, Buffer]] = weakref.WeakKeyDictionary()


class Lights:
    """All that emits in a scene, during one render.

    emitting: int [n], the faces whose material has an emission, in the order of their entries, so that face emitting[e]
    is entry e; the same object until the scene's structure changes. kinds: the compile-time mask of the kernels.
    values: [L, lights.VALUES], recorded on the open tape from the lights' parameters; `texels`: the environment's
    radiance. Adjoint kernels add to the gradients of these two. Ambient lights are left out.

    Which light is looked at how often goes by about its power and has no gradient. It is found on the device; from the
    luminance of emissions (means of textures and vertex colours), areas, and the bounding sphere of all vertices and
    boxes of media: without any, photons of parallel light, suns and the environment have no power.
    """

    def __init__(self, scene: Scene, world: World) -> None:
        refuse_unattenuated(scene.lights)
        self.world, self.boxes = world, _boxes(scene)
        self.lights: list[Light] = [light for light in scene.lights.values() if not isinstance(light, AmbientLight)]
        self.lights.sort(key=lambda light: KINDS[type(light)])
        self.environment = scene.environment
        sources = {name: material.sources.get("emission") for name, material in scene.materials.items()}
        self.emissions = [sources.get(name) for name in world.pack.materials]
        self.layout = self._layout()
        self.emitting = self.layout.emitting
        self.count = len(self.emitting) + len(self.lights)
        self.kinds = self._kinds()
        self.values = Array((max(len(self.lights), 1), lights.VALUES))
        inputs = [p for light in self.lights for p in _geometry(light).values()]
        run(Operation(self._fill, self._scatter, inputs, [self.values], "lights"))
        self.texels: Array = constant([(0.0, 0.0, 0.0)]) if self.environment is None else self.environment.radiance
        self.alias = Buffer((1,)) if self.environment is None else _sky(self.environment)
        self.cdf = Buffer((self.count + 5,))
        with unrecorded():
            self._choose()

    @property
    def tables(self) -> tuple:
        """The ndarrays entries, light_values, cdf, texels and alias of `kernels.transport.tables.Tables`."""
        alias, cdf, entries = self.alias.ndarray, self.cdf.ndarray, self.layout.entries.ndarray
        return entries, self.values.value, cdf, self.texels.value, alias

    def _layout(self) -> Layout:
        shape = () if self.environment is None else self.environment.radiance.shape
        emits = tuple(source is not None for source in self.emissions)
        key = (runtime.generation(), emits, tuple(KINDS[type(light)] for light in self.lights), shape)
        held = _layouts.get(self.world.pack)
        if held is None or held.key != key:
            held = _layouts[self.world.pack] = Layout(key, *self._entries(emits, shape))
        return held

    def _entries(self, emits: tuple[bool, ...], shape: tuple[int, ...]) -> tuple[np.ndarray, Buffer]:
        pack = self.world.pack
        emitting = np.zeros(0, np.int64)
        if any(emits) and pack.faces:
            emitting = np.flatnonzero(np.array(emits)[pack.face_material.to_numpy()[: pack.faces]])
        kinds = [KINDS[type(light)] for light in self.lights]
        count, faces = len(emitting) + len(kinds), len(emitting)
        rows = np.full((lights.HEADER + max(count, 1), 4), -1, np.int32)
        rows[lights.HEADER : lights.HEADER + faces] = np.array([lights.TRIANGLE, -1, -1, 0])
        rows[lights.HEADER : lights.HEADER + faces, 1] = emitting
        for row, kind in enumerate(kinds):
            rows[lights.HEADER + faces + row] = kind, -1, row, 0
        height, width = shape[:2] if len(shape) == 3 else (1, 1)
        suns = kinds.count(lights.DIRECTIONAL)
        first = faces + kinds.index(lights.DIRECTIONAL) if suns else 0
        rows[0] = count, (-1 if self.environment is None else count - 1), height, width
        rows[1] = first, suns, 0, 0
        return emitting, integers(rows)

    def _kinds(self) -> int:
        mask = 1 << lights.TRIANGLE if len(self.emitting) else 0
        for light in self.lights:
            mask |= 1 << KINDS[type(light)]
            if isinstance(light, DirectionalLight) and light.angular_diameter.host() > 2 * light_tables.PARALLEL:
                mask |= 1 << lights.SUN
        return mask

    def _fill(self) -> None:
        for row, light in enumerate(self.lights):
            position, direction, color, angle, falloff = (array.value for array in _arguments(light))
            kind = KINDS[type(light)]
            light_tables.write_light(kind, row, position, direction, color, angle, falloff, self.values.value)

    def _scatter(self) -> None:
        for row, light in enumerate(self.lights):
            arrays = _arguments(light)
            _, direction, _, angle, falloff = (array.value for array in arrays)
            light_tables.write_light_adjoint(
                KINDS[type(light)], row, direction, angle, falloff, self.values.grad, *(array.grad for array in arrays)
            )

    def _choose(self) -> None:
        """Fill cdf."""
        pack, on_cpu = self.world.pack, runtime.on_cpu()
        cdf, positions = self.cdf.ndarray, self.world.positions.value
        cdf.fill(0.0)
        if self.kinds & (1 << lights.DIRECTIONAL | 1 << lights.ENVIRONMENT):
            self._bound()
        if not self.count:
            return
        brightness = self._brightness()
        light_tables.powers(
            self.count, self.layout.entries.ndarray, self.values.value, pack.triangles, positions, pack.face_material,
            brightness.ndarray, self.alias.ndarray, cdf,
        )  # fmt: skip
        parts = reduce.split(self.count, on_cpu).chunks
        partial = Buffer((parts + 1,))
        light_tables.accumulate(self.count, parts, -(-self.count // parts), partial.ndarray, cdf)

    def _bound(self) -> None:
        """Fill the end of cdf: the sphere around all vertices and boxes of media."""
        vertices, points = self.world.pack.vertices, self.world.positions
        count = vertices + len(self.boxes)
        if len(self.boxes):
            points, boxes = Array((count, 3), needs_grad=False), Array.of(self.boxes, needs_grad=False)
            accumulate.copy_rows(vertices, 3, self.world.positions.value, points.value, 0)
            accumulate.copy_rows(boxes.rows, 3, boxes.value, points.value, vertices)
        if count:
            parts = reduce.split(count, runtime.on_cpu()).chunks
            partial, cdf = Buffer((6 * parts,)), self.cdf.ndarray
            light_tables.bounding_sphere(
                count, points.value, parts, -(-count // parts), partial.ndarray, self.count + 1, cdf
            )

    def _brightness(self) -> Buffer:
        """[M] mean luminance of each material's emission."""
        out = Buffer((len(self.emissions),))
        out.ndarray.fill(0.0)
        for index, source in enumerate(self.emissions if len(self.emitting) else []):
            colors = self.world.colors if source is not None else None
            if isinstance(source, Parameter | Texture):
                colors = source if isinstance(source, Parameter) else source.texels
            if colors is not None:
                parts = reduce.split(colors.rows, runtime.on_cpu()).chunks
                partial = Buffer((parts,))
                light_tables.mean_luminance(
                    colors.rows, colors.channels, colors.value, index, parts, -(-colors.rows // parts),
                    partial.ndarray, out.ndarray,
                )  # fmt: skip
        return out


def _geometry(light: Light) -> dict[str, Parameter]:
    """The parameters that a light's row of values is made of."""
    return {"rotation": light.rotation} if isinstance(light, EnvironmentLight) else light.parameters()


def _arguments(light: Light) -> tuple[Parameter, ...]:
    """Position, direction, colour, angle and falloff; where a light has none, another parameter, which is not read."""
    given = _geometry(light)
    spare = next(iter(given.values()))
    names = (("position",), ("direction",), ("intensity", "irradiance"), ("cutoff", "angular_diameter", "rotation"))
    found = [next((given[name] for name in group if name in given), spare) for group in (*names, ("falloff",))]
    return tuple(found)


def _boxes(scene: Scene) -> np.ndarray:
    """[8 n, 3] corners of the boxes of all volumes, in the world."""
    found = [np.zeros((0, 3))]
    for node in scene.ordered_nodes():
        if isinstance(node.geometry, Volume):
            corners = np.stack(np.meshgrid(*zip(*node.geometry.bounds(), strict=True)), -1).reshape(-1, 3)
            to_world = scene.world_matrices()[node.name]
            found.append(corners @ to_world[:3, :3].T + to_world[:3, 3])
    return np.concatenate(found)


def _sky(light: EnvironmentLight) -> Buffer:
    """The environment's alias table, made anew on the device when its radiance has changed."""
    texels = light.radiance
    height, width = texels.shape[:2] if len(texels.shape) == 3 else (1, 1)
    key = (runtime.generation(), texels.version, texels.shape)
    held = _skies.get(light)
    if held is None or held[0] != key:
        table = Buffer((sky.size(height, width),))
        with unrecorded():
            sky.weigh(height, width, texels.value, table.ndarray)
            sky.tabulate(height, width, table.ndarray)
        held = _skies[light] = (key, table)
    return held[1]
