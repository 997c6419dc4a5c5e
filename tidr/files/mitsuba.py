"""Scenes of Mitsuba 3 as XML files or Python dictionaries, read into tidr's tables.

Read are the shapes obj, ply, rectangle, cube, sphere, disk, cylinder, and shapegroup with instance; the BSDFs diffuse,
(rough)conductor, (rough)dielectric, thindielectric, (rough)plastic, principled, twosided, mask, blendbsdf, normalmap
and null with textures bitmap, checkerboard and vertex colours; the emitters area, point, spot, directional, constant
and envmap; the sensors perspective, thinlens and orthographic with their films; homogeneous media and grids from files
in a cube. Round shapes become fine triangles. Integrators, samplers and filters are passed by: a renderer is chosen
when a picture is drawn. Numbers are RGB and mean the same in both (radiance, alpha as the square of roughness), but
that surfaces scatter light on both sides, where Mitsuba's are black behind unless they are twosided.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MeshData

from .guard import DEFAULT, Limits, check_mesh
from .imported import Imported, baked, decomposed
from .mitsuba_dict import read_dict
from .mitsuba_items import OPAQUE_TO_US, SHAPES, Book, Item
from .mitsuba_lights import add_camera, add_light
from .mitsuba_materials import Materials, Surface
from .mitsuba_media import add_medium
from .mitsuba_shapes import shape_mesh
from .mitsuba_xml import read_xml

BLACK = {"type": "lambert", "albedo": 0.0}  # what a lamp without a BSDF is made of
SHARED = ("sphere", "disk", "cylinder")  # shapes of many faces, of which a scene holds one


def read_mitsuba(source: str | Path | Mapping[str, Any], limits: Limits = DEFAULT) -> Imported:
    """The tables of a scene from an .xml file or a dictionary, with one warning for all that tidr has not.

    Raises:
        FileError: names the file, line and element, or the path of keys: malformed, missing, unknown references.

    Warns:
        SceneWarning: what is left out or drawn otherwise, with its places.
    """
    if isinstance(source, Mapping):
        path = Path("dictionary")
        root, book = read_dict(source, limits)
    else:
        path = Path(source)
        root, book = read_xml(path, limits)
    reader = _Reader(Imported(path), book, limits)
    for name, child in root.nested(book, "shape", "emitter", "sensor", ""):
        reader.add(name, child)
    reader.unread(root)
    reader.scene.warn(stacklevel=4)
    return reader.scene


class _Reader:
    """Shapes, and what they are made of, one after the other."""

    def __init__(self, scene: Imported, book: Book, limits: Limits) -> None:
        self.scene, self.book, self.limits = scene, book, limits
        self.materials = Materials(scene, book, limits)
        self.read: dict[int, tuple] = {}  # of each shape its mesh and surface
        self.shared: dict[tuple, str] = {}  # the node that holds a mesh which others show as well

    def add(self, name: str, item: Item) -> None:
        if item.kind == "sensor":
            add_camera(self.scene, item, self.book)
        elif item.kind == "emitter":
            add_light(self.scene, item, self.limits)
        elif item.kind == "shape":
            self.shape(item, np.eye(4))
        elif item.type not in ("scene", "path", "direct", "prb", "volpath", "volpathmis", "aov", "ptracer"):
            self.scene.note(item.place, "unknown, left out")

    def shape(self, item: Item, above: np.ndarray) -> None:
        """A shape under `above` [4, 4]."""
        if len(self.scene.tables["nodes"]) >= self.limits.nodes:
            raise FileError(item.where, f"is one node more than {self.limits.nodes}", "raise Limits.nodes")
        if item.type == "instance":
            self.instance(item, above)
            return
        if item.type == "shapegroup":
            return  # shown by its instances alone
        if item.type not in SHAPES:
            self.scene.note(item.place, f"no shape {item.type!r:.60}")
            item.seen.update([*item.values, *(name for name, _ in item.children)])
            return
        if id(item) not in self.read:
            self.read[id(item)] = *shape_mesh(item, self.limits), *self.surface(item)
        data, own, shading, keeps, name, surface, uv = self.read[id(item)]
        matrix = above @ own
        self.media(item, matrix)
        if surface.invisible and "emission" not in surface.table:
            return
        data = self.with_uvs(item, data, surface, uv)
        kind = item.type if item.type in SHARED else id(item)
        key = (kind, item.flag("flip_normals", False), None if uv is None else uv.tobytes(), data.colors is None)
        self.node(item, key, data, matrix, {"material": name}, shading, keeps)

    def instance(self, item: Item, above: np.ndarray) -> None:
        groups = [group for _, group in item.nested(self.book, "shape") if group.type == "shapegroup"]
        if len(groups) != 1:
            raise item.fault(f"holds {len(groups)} shapegroups, expected one", "refer to one by its id")
        matrix = above @ item.transform()
        for _, part in groups[0].nested(self.book, "shape"):
            if part.type in ("instance", "shapegroup"):
                raise part.fault("stands in a shapegroup", "shapegroups take shapes alone")
            self.shape(part, matrix)

    def surface(self, item: Item) -> tuple[str, Surface, np.ndarray | None]:
        """The material's name, the material, and what is done to uvs, of a shape."""
        bsdfs = [child for _, child in item.nested(self.book, "bsdf")]
        bsdfs += [child for _, child in item.nested(self.book, "") if child.type not in ("null", *SHAPES)]
        bsdf = bsdfs[0] if bsdfs else None
        lamps = [lamp for _, lamp in item.nested(self.book, "emitter") if lamp.type == "area"]
        if not lamps:
            surface = self.materials.surface(bsdf)
            if surface.invisible:
                return "", surface, None
            return *self.materials.named(bsdf), surface.uv
        surface = Surface(BLACK) if bsdf is None else self.materials.surface(bsdf)
        emission = self.materials.color(lamps[0], "radiance", 1.0, np.inf)
        made = self.materials.with_slot(lamps[0], surface, "emission", emission)
        return self.scene.add("materials", f"{item.name}_lamp", made.table), made, made.uv

    def with_uvs(self, item: Item, data: MeshData, surface: Surface, uv: np.ndarray | None) -> MeshData:
        """The mesh with tidr's uvs: turned by the textures' to_uv, v up; made where textures need them."""
        names = [surface.table, *(self.scene.tables["materials"][surface.table[key]] for key in ("first", "second")
                 if surface.table["type"] == "blend")]  # fmt: skip
        textured = any(isinstance(value, dict) for table in names for value in table.values())
        painted = any(value == "vertex_colors" for table in names for value in table.values())
        if painted and data.colors is None:
            self.scene.note(item.place, "has no vertex colours, which its material asks for; they are white")
            data = replace(data, colors=np.ones_like(data.vertices))
        uvs, uv_faces = data.uvs, data.uv_faces
        if uvs is None:
            if not textured:
                return data
            uvs = np.array([[0, 0], [1, 0], [0, 1]], np.float64)  # Mitsuba gives each face its own
            uv_faces = np.tile(np.arange(3, dtype=np.int32), (len(data.faces), 1))
        if uv is not None:
            uvs = uvs @ uv[:2, :2].T + uv[:2, 2]
        return replace(data, uvs=uvs * [1, -1] + [0, 1], uv_faces=uv_faces)

    def node(self, item: Item, key: tuple, data: MeshData, matrix: np.ndarray, table: dict, shading: str, keeps: bool):
        """A node with the mesh under a matrix, which it shares with others of the same key where it can."""
        placed = decomposed(matrix)
        if placed is not None and key in self.shared:
            self.scene.add("nodes", item.name, {"instance_of": self.shared[key], **table, **placed})
            return
        if placed is None:
            try:
                data = check_mesh(item.place, baked(data, matrix, keeps), self.limits)
            except FileError as error:
                self.scene.note(item.place, f"nothing to see: {error.what}")
                return
        held = {"mesh": self.scene.hold_mesh(data), "shading": shading}
        name = self.scene.add("nodes", item.name, {**held, **table, **(placed or {})})
        if placed is not None:
            self.shared[key] = name

    def media(self, item: Item, matrix: np.ndarray) -> None:
        for name, medium in item.nested(self.book, "medium"):
            if name == "exterior":
                self.scene.note(medium.place, "media outside of a shape are left out")
                medium.seen.update(medium.values)
            else:
                add_medium(self.scene, self.book, item, medium, matrix, self.limits)

    def unread(self, root: Item) -> None:
        """Notes of everything that was not looked at."""
        waiting, done = [root], set()
        while waiting:
            item = waiting.pop()
            if id(item) in done or item.kind in OPAQUE_TO_US:
                continue
            done.add(id(item))
            for key in item.unread() if item.kind not in ("film", "scene") else ():
                self.scene.note(item.place, f"{key!r:.60} is left out")
            waiting += [child for _, child in item.children if isinstance(child, Item)]
