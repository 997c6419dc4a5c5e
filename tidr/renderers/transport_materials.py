"""A scene's materials as light transport reads them: tables of integers, and all their values in one array."""

from collections.abc import Sequence

import numpy as np

from tidr.array import Array, integers
from tidr.errors import SceneError
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import texture
from tidr.kernels.transport import materials as kernels
from tidr.kernels.transport import slots as kinds
from tidr.scene.graph import Scene
from tidr.scene.material import Material, Source, VertexColors, blended
from tidr.scene.mesh import Mesh
from tidr.scene.parametric import ParametricSurface
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.texture import WRAPS, Texture

from .geometry import DEFAULT_MATERIAL, copy_rows

KINDS = {
    "lambert": kinds.LAMBERT,
    "phong": kinds.PHONG,
    "blinn_phong": kinds.BLINN_PHONG,
    "metallic_roughness": kinds.METALLIC_ROUGHNESS,
    "conductor": kinds.CONDUCTOR,
    "dielectric": kinds.DIELECTRIC,
    "thin_dielectric": kinds.THIN_DIELECTRIC,
    "plastic": kinds.PLASTIC,
    "principled": kinds.PRINCIPLED,
}
ROUGH = {  # what a roughness makes of them
    "conductor": kinds.ROUGH_CONDUCTOR,
    "dielectric": kinds.ROUGH_DIELECTRIC,
    "plastic": kinds.ROUGH_PLASTIC,
}
FEATURES = {"opacity": kernels.OPACITIES, "emission": kernels.EMISSIONS, "normal": kernels.NORMAL_MAPS}
FLAGS = {"opacity": kernels.HAS_OPACITY, "emission": kernels.EMITS, "normal": kernels.HAS_NORMAL_MAP}


class TransportMaterials:
    """The materials that a scene's meshes use, for the functions of kernels/transport/materials.py.

    names: as in `Pack.materials`; row i of the tables is the material names[i], and behind them come two rows for each
    blend. Made anew at every render; the tables reach the device once.

    mask: what occurs in the scene, for the compiler. kinds int ndarray [M, 8], slots int ndarray [M * SLOTS, 6]: see
    there. values [R, 3]: every constant, texel and mip level, recorded on the open tape; a single number stands in the
    first channel. emitting: the rows whose material emits light.

    Raises:
        SceneError: a material type that light transport does not know, a blend of what is not there or of a blend,
            vertex colours where no mesh has any.

    What this does not differentiate: mip levels with respect to the footprint.
    """

    def __init__(self, scene: Scene, names: Sequence[str]) -> None:
        self.scene = scene
        self.mask, self.rows = 0, 0
        self._starts: dict[int, int] = {}  # first row of a parameter or texture
        self._sources: list[tuple[Array, int]] = []
        used = _used(scene)
        materials = {name: scene.materials.get(name) or Material("lambert") for name in names if name in used}
        count = len(names) + 2 * sum(material.type == "blend" for material in materials.values())
        self._kinds = np.zeros((max(count, 1), 8), np.int32)
        self._kinds[:, kernels.KIND : kernels.SECOND + 1] = -1, 0, -1, -1
        self._slots = np.zeros((len(self._kinds), kernels.SLOTS, 6), np.int32)
        free = len(names)
        for row, name in enumerate(names):
            if name in materials:
                self._add(row, name, materials[name])
                if materials[name].type == "blend":
                    self._add_blend(row, free, name)
                    free += 2
        self.emitting = np.flatnonzero(self._kinds[: len(names), kernels.FLAGS] >> kernels.EMITS & 1)
        self._tables = integers(self._kinds), integers(self._slots.reshape(-1, 6))
        self.kinds, self.slots = (table.ndarray for table in self._tables)
        self.values = Array((max(self.rows, 1), 3))
        copy_rows(self.values, self._sources)

    def _add(self, row: int, name: str, material: Material) -> None:
        """Fill a row of the tables, except what makes a blend of it."""
        flags = 0
        if material.type != "blend":
            kind = _kind(name, material)
            self.mask |= 1 << kind
            self._kinds[row, kernels.KIND] = kind
            flags |= (not kinds.TRANSMITTING >> kind & 1) << kernels.TWO_SIDED
        for slot, source in material.sources.items():
            self._fill(row, f"materials.{name}.{slot}", "eta" if slot == "ior" else slot, source)
            if slot in FEATURES:
                flags |= 1 << FLAGS[slot]
                self.mask |= 1 << FEATURES[slot]
        self._kinds[row, kernels.FLAGS] = flags

    def _add_blend(self, row: int, free: int, name: str) -> None:
        """Two rows from `free` on for the materials of a blend; its normal map takes the place of theirs."""
        self.mask |= 1 << kernels.BLENDS
        bump = 1 << kernels.HAS_NORMAL_MAP
        for column, other in zip((kernels.FIRST, kernels.SECOND), blended(name, self.scene.materials), strict=True):
            self._add(free, other, self.scene.materials[other])
            self._kinds[row, column] = free
            if self._kinds[row, kernels.FLAGS] & bump:
                self._kinds[free, kernels.FLAGS] |= bump
                self._slots[free, kernels.NORMAL_SLOT] = self._slots[row, kernels.NORMAL_SLOT]
            free += 1

    def _fill(self, row: int, where: str, slot: str, source: Source) -> None:
        index = kernels.NAMES.index(slot)
        entry = self._slots[row, index]
        if isinstance(source, VertexColors):
            geometries = [node.geometry for node in self.scene.nodes.values()]
            if not any(isinstance(item, Mesh) and item.colors is not None for item in geometries):
                raise SceneError(where, 'is "vertex_colors" but no mesh has colours')
            entry[kernels.SOURCE] = kernels.VERTEX_COLORS
            self.mask |= 1 << (kernels.PAINTED + index)
        elif isinstance(source, Texture):
            height, width, _ = source.texels.shape
            layout = texture.mip_layout(height, width, source.filter == "trilinear")
            if id(source) not in self._starts:
                self._append(source, source.texels if len(layout) == 1 else _mipmaps(source, layout))
            entry[:] = kernels.TEXTURE, self._starts[id(source)], width, height, WRAPS.index(source.wrap), len(layout)
            self.mask |= 1 << (kernels.TEXTURED + index) | (len(layout) > 1) << (kernels.MIPMAPPED + index)
        else:
            if id(source) not in self._starts:
                self._append(source, source)
            entry[: kernels.ROW + 1] = kernels.CONSTANT, self._starts[id(source)]

    def _append(self, source: Source, values: Array) -> None:
        self._starts[id(source)] = self.rows
        self._sources.append((values, self.rows))
        self.rows += values.rows


def _used(scene: Scene) -> set[str]:
    """Names of the materials of the scene's meshes."""
    drawn = Mesh | Tetrahedra | ParametricSurface
    nodes = [node for node in scene.nodes.values() if isinstance(node.geometry, drawn)]
    return {name for node in nodes for name in node.materials or (DEFAULT_MATERIAL,)}


def _kind(name: str, material: Material) -> int:
    if material.type not in KINDS:
        mend = "use one of " + ", ".join([*KINDS, "blend"])
        raise SceneError(f"materials.{name}", f"light transport has no model for type {material.type!r}", mend)
    rough = "roughness" in material.sources and material.type in ROUGH
    return ROUGH[material.type] if rough else KINDS[material.type]


def _mipmaps(source: Texture, layout: np.ndarray) -> Array:
    """[T, C] the levels of a texture, one after the other."""
    texels, levels, table = source.texels, len(layout), integers(layout)
    chain = Array((texture.chain_length(layout), texels.channels))

    def forward() -> None:
        texture.build_mips(texels.value, chain.value, table.ndarray, levels)

    def backward() -> None:
        if needs(texels):
            texture.build_mips_adjoint(chain.grad, table.ndarray, levels, texels.grad)

    run(Operation(forward, backward, [texels], [chain], "mipmaps"))
    return chain
