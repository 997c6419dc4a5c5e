"""A scene as light transport sees it: packed triangles with a BVH, materials and lights, ready for the kernels."""

import weakref
from collections.abc import Sequence

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import needs, unrecorded
from tidr.kernels import accumulate
from tidr.kernels.transport import faces as kernels
from tidr.kernels.transport import nan
from tidr.scene.graph import Scene
from tidr.scene.volume import Volume

from . import geometry
from .bvh import Bvh
from .transport_lights import Lights
from .transport_materials import TransportMaterials

OTHER_PATHS = 0x2545F491  # what makes of a seed that of the gradient's own paths


class Faces:
    """What changes only with the scene's structure: the table of faces [F, 12] and the BVH over the triangles."""

    def __init__(self, packed: geometry.Pack) -> None:
        self.table = Buffer((max(packed.faces, 1), kernels.COLUMNS), "int")
        kernels.pack_faces(
            packed.faces, packed.triangles, packed.normal_corners, packed.uv_corners, packed.face_material,
            self.table.ndarray,
        )  # fmt: skip
        self.bvh = Bvh(packed.triangles.to_numpy()[: packed.faces])
        self._emitting: np.ndarray | None = None

    def mark(self, emitting: np.ndarray) -> None:
        """Write the light entries of the faces that emit, where they have changed."""
        if self._emitting is not emitting:
            self._emitting = emitting
            table = self.table.ndarray.to_numpy()
            table[:, 11] = -1
            table[emitting, 11] = np.arange(len(emitting))
            self.table.ndarray.from_numpy(table)


_faces: weakref.WeakKeyDictionary[geometry.Pack, tuple[int, Faces]] = weakref.WeakKeyDictionary()


class TransportScene:
    """A scene during one render: `tables` are the ndarrays of `kernels.transport.tables.Tables`, in order.

    arrays: what of them is differentiable, by the name of its accumulator; recorded on the open tape. mask and
    light_kinds tell the compiler what occurs.
    """

    def __init__(self, scene: Scene) -> None:
        _refuse(scene)
        packed = geometry.pack(scene)
        self.world = geometry.world(scene, packed)
        self.materials = TransportMaterials(scene, packed.materials)
        self.lights = Lights(scene, self.world)
        self.mask, self.light_kinds = self.materials.mask, self.lights.kinds
        with unrecorded():
            self._faces = _held_faces(packed)
            self._faces.mark(self.lights.emitting)
            self._faces.bvh.update(self.world.positions.value)
        colors = self.world.colors if self.world.colors is not None else Array((1, 3))
        self.arrays = {
            "values": self.materials.values,
            "light_values": self.lights.values,
            "texels": self.lights.texels,
            "positions": self.world.positions,
            "normals": self.world.normals,
            "uvs": self.world.uvs,
            "colors": colors,
        }

    @property
    def tables(self) -> tuple:
        world, bvh, materials = self.world, self._faces.bvh, self.materials
        return (
            bvh.nodes, bvh.leaves, self._faces.table.ndarray, world.positions.value, world.normals.value,
            world.uvs.value, self.arrays["colors"].value, materials.kinds, materials.slots, materials.values.value,
            *self.lights.tables,
        )  # fmt: skip

    def show_nan(self, rgb: Array, media: Sequence[Array] = ()) -> None:
        """Make the first pixel of a picture NaN where anything that it comes from is; `media` are the values of media.

        No loss goes on from there. Where comparisons decide what is lit, a NaN would be mere darkness.
        """
        packed, lights = self.world.pack, self.lights.lights
        given = [self.materials.values, self.world.uvs, *media]
        given += [self.world.positions] * bool(packed.vertices)
        given += [] if self.world.colors is None else [self.world.colors]
        given += [i.mesh.normals for i in packed.instances if i.mesh.shading == "file" and i.mesh.normals is not None]
        given += [parameter for light in lights for parameter in light.parameters().values()]
        for array in given:
            nan.show(array.rows, array.channels, array.value, rgb.value)

    def parts(self, copies: int) -> dict[str, Buffer]:
        """Zeroed accumulators of the gradients of `arrays`, with so many copies."""
        made = {}
        for name, array in self.arrays.items():
            made[name] = Buffer((copies * array.rows * array.channels,))
            made[name].ndarray.fill(0.0)
        return made

    def collect(self, parts: dict[str, Buffer], copies: int) -> None:
        """Add the sums of accumulators to the gradients."""
        for name, array in self.arrays.items():
            if needs(array):
                accumulate.collect(copies, array.rows, array.channels, parts[name].ndarray, array.grad)


def _held_faces(packed: geometry.Pack) -> Faces:
    held = _faces.get(packed)
    if held is None or held[0] != runtime.generation():
        held = (runtime.generation(), Faces(packed))
        _faces[packed] = held
    return held[1]


def _refuse(scene: Scene) -> None:
    """Raise a SceneError for a node that holds something else than triangles or a medium."""
    for name, node in scene.nodes.items():
        known = node.geometry is None or isinstance(node.geometry, Volume) or geometry.mesh_of(node) is not None
        if not known:
            kind = type(node.geometry).__name__
            raise SceneError(f"nodes.{name}", f"holds {kind}; light transport draws meshes and media", "take it out")
