"""Whole scenes of glTF 2.0 (.gltf, .glb): nodes, shared meshes, materials, cameras and lights, as tidr's tables.

glTF's lights are photometric, tidr's radiometric. Their numbers are taken as they are, 1 candela as 1 W/sr, 1 lux as
1 W/m^2 and 1 nit of emission as 1 W/(m^2 sr), so that a picture is that of glTF over 683 lm/W, all lights alike. A
spot's rim fades by tidr's curve. Cameras have no size in pixels: pictures are 512 high and as wide as the aspect asks.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError
from tidr.scene.mesh_data import MaterialData, MeshData

from .gltf import Part, joined, mesh_parts, mesh_size, meshes_of, node_matrix, shown_nodes
from .gltf_container import Gltf
from .gltf_materials import GltfMaterials
from .guard import DEFAULT, Limits, check_count, check_finite, check_mesh, integer, number
from .imported import Imported, baked, decomposed

HEIGHT, WIDEST = 512, 8192  # pixels of a picture
LIGHTS = "KHR_lights_punctual"
BEYOND = ("skins", "animations")  # top-level lists that a still scene has no use for


@dataclass
class GltfScene:
    """What `read_gltf_scene` found: the tables, and each shown mesh's vertices [V, 3] in the world."""

    scene: Imported
    vertices: list[np.ndarray] = field(default_factory=list)


def read_gltf_scene(path: Path, limits: Limits = DEFAULT) -> GltfScene:
    """The default scene of a glTF.

    Nodes keep their transforms and share meshes, but where a matrix shears, mirrors or flattens: such a node, and what
    hangs on it, gets a mesh of its own in the world.

    Raises:
        FileError: names the file and the key.

    Warns:
        SceneWarning: what is left out, in one message.
    """
    reader = _Reader(Gltf(path, limits))
    reader.read()
    reader.found.scene.warn(stacklevel=4)
    return reader.found


class _Reader:
    """Nodes, parents first."""

    def __init__(self, gltf: Gltf) -> None:
        self.gltf = gltf
        self.found = GltfScene(Imported(gltf.path))
        self.scene = self.found.scene
        self.materials = GltfMaterials(gltf, self.scene)
        self.worlds: dict[int, np.ndarray] = {}
        self.names: dict[int, str] = {}  # of glTF nodes that are nodes here, with all above them
        self.held: dict[int, tuple[MeshData | None, list[str]]] = {}  # of glTF meshes: (mesh, material names)
        self.owners: dict[int, str] = {}  # the node that holds a glTF mesh

    def read(self) -> None:
        gltf, scene = self.gltf, self.scene
        shown, parents = shown_nodes(gltf)
        meshes = meshes_of(gltf, shown)
        total = sum(mesh_size(gltf, mesh) for mesh in meshes.values())
        most = gltf.limits.vertices + gltf.limits.faces
        check_count(str(gltf.path), "vertices and corners, instances included,", total, most)
        needed = set(meshes)  # nodes that hold a mesh, or a parent of such
        for node in reversed(shown):
            if node in needed and parents[node] is not None:
                needed.add(parents[node])  # type: ignore[arg-type]
        for node in shown:
            self.node(node, parents[node], meshes.get(node), node in needed)
        for node in sorted(shown):
            self.beside(node)
        for key in BEYOND:
            if gltf.get(gltf.json, key, list, "", []):
                scene.note(key, "left out; the scene stands as its nodes say")
        if not self.owners and not self.found.vertices:
            raise FileError(gltf.path, "holds no triangle mesh in its scene")

    def node(self, index: int, parent: int | None, mesh: int | None, needed: bool) -> None:
        entry, here = self.gltf.item("nodes", index, "nodes")
        local = node_matrix(self.gltf, index)
        world = local if parent is None else self.worlds[parent] @ local
        self.worlds[index] = check_finite(self.gltf.at(here), "transform row", world)
        if needed:
            self.place(index, parent, mesh, local, _name(entry) or self.mesh_name(mesh))

    def beside(self, index: int) -> None:
        """The camera and the light of a node."""
        entry, here = self.gltf.item("nodes", index, "nodes")
        world, wanted = self.worlds[index], _name(entry)
        if "camera" in entry:
            self.camera(entry["camera"], f"{here}.camera", world, wanted)
        extensions = self.gltf.get(entry, "extensions", dict, here, {})
        if LIGHTS in extensions:
            owner = self.gltf.get(extensions, LIGHTS, dict, f"{here}.extensions")
            self.light(owner.get("light"), f"{here}.extensions.{LIGHTS}.light", world, wanted)
        for key in ("skin", "weights"):
            if key in entry:
                self.scene.note(here, f"{key} is left out")

    def mesh_name(self, mesh: int | None) -> str:
        if mesh is None:
            return "group"
        return _name(self.gltf.item("meshes", mesh, f"meshes[{mesh}]")[0]) or self.gltf.path.stem

    def place(self, index: int, parent: int | None, mesh: int | None, local: np.ndarray, wanted: str) -> None:
        """A node of the scene for a glTF node; where its transforms are no node's, a mesh in the world."""
        placed = decomposed(local) if parent is None or parent in self.names else None
        table: dict[str, Any] = {}
        data = None
        if mesh is not None:
            data, materials = self.mesh(mesh)
            if materials:
                table["material"] = materials
        if placed is None:
            if data is not None:
                self.alone(index, data, table, wanted)
            return
        table |= placed
        if parent is not None:
            table["parent"] = self.names[parent]
        if data is not None:
            matrix = self.worlds[index]
            self.found.vertices.append(data.vertices @ matrix[:3, :3].T + matrix[:3, 3])
            if mesh in self.owners:
                table["instance_of"] = self.owners[mesh]
            else:
                table |= self.held_mesh(data)
        self.names[index] = name = self.scene.add("nodes", wanted, table)
        if data is not None and mesh is not None:
            self.owners.setdefault(mesh, name)

    def alone(self, index: int, data: MeshData, table: dict[str, Any], wanted: str) -> None:
        try:
            made = check_mesh(self.gltf.at(f"nodes[{index}]"), baked(data, self.worlds[index]), self.gltf.limits)
        except FileError as error:
            self.scene.note(f"nodes[{index}]", f"nothing to see: {error.what}")
            return
        self.found.vertices.append(made.vertices)
        self.scene.add("nodes", wanted, {**self.held_mesh(made), **table})

    def held_mesh(self, data: MeshData) -> dict[str, Any]:
        """Without normals faces are flat, as glTF asks."""
        return {"mesh": self.scene.hold_mesh(data), "shading": "flat" if data.normals is None else "file"}

    def mesh(self, index: int) -> tuple[MeshData | None, list[str]]:
        """A mesh in its own space and the names of its materials, each read once; None without triangles."""
        if index not in self.held:
            parts, others = mesh_parts(self.gltf, index, np.eye(4))
            if others:
                self.scene.note(f"meshes[{index}]", f"{others} primitives of points or lines")
            data, materials = None, []
            if parts:
                if any(part.colors is not None for part in parts):
                    parts = [self.dyed(part) for part in parts]
                data, slots = joined(parts)
                if data.face_materials is not None:
                    materials = [self.materials.named(slot, data.colors is not None) for slot in slots]
                    data = replace(data, materials=tuple(map(MaterialData, materials)))
                data = check_mesh(self.gltf.at(f"meshes[{index}]"), data, self.gltf.limits)
            self.held[index] = data, materials
        return self.held[index]

    def dyed(self, part: Part) -> Part:
        """A primitive with its vertex colours, white where it has none, times the colour of its material."""
        colors = np.ones_like(part.vertices) if part.colors is None else part.colors
        return replace(part, colors=colors * self.materials.dye(part.material))

    def camera(self, index: object, place: str, world: np.ndarray, wanted: str) -> None:
        entry, here = self.gltf.item("cameras", index, place)
        kind = self.gltf.get(entry, "type", str, here)
        if kind not in ("perspective", "orthographic"):
            raise FileError(self.gltf.at(f"{here}.type"), f"is {kind!r:.40}, expected perspective or orthographic")
        lens, at_lens = self.gltf.get(entry, kind, dict, here), f"{here}.{kind}"

        def read(key: str, low: float, high: float, default: float | None = None) -> float:
            return number(lens.get(key, default), self.gltf.at(f"{at_lens}.{key}"), low, high)

        if kind == "perspective":
            high = 2 * math.tan(read("yfov", 1e-6, math.pi - 1e-6) / 2)
            wide = high * read("aspectRatio", 1e-3, 1e3, 1.0)
        else:
            wide, high = (2 * read(key, 1e-12, 1e18) for key in ("xmag", "ymag"))
        width = min(max(round(HEIGHT * wide / high), 1), WIDEST)
        focal = [width / wide, HEIGHT / high]
        near = max(read("znear", 0.0, 1e18, 1e-2), 1e-9)
        table = {
            "type": kind, "camera_to_world": self.pose(world, place).tolist(), "focal": focal,
            "principal_point": [width / 2, HEIGHT / 2], "resolution": [width, HEIGHT], "near": near,
            "far": max(read("zfar", 0.0, 1e18, 1e6), 2 * near),
        }  # fmt: skip
        if not self.scene.tables["cameras"]:
            self.scene.tables["film"] = {"width": width, "height": HEIGHT}
        self.scene.add("cameras", wanted or _name(entry) or "camera", table)

    def light(self, index: object, place: str, world: np.ndarray, wanted: str) -> None:
        extensions = self.gltf.get(self.gltf.json, "extensions", dict, "", {})
        owner = self.gltf.get(extensions, LIGHTS, dict, "extensions")
        listed = self.gltf.get(owner, "lights", list, f"extensions.{LIGHTS}")
        slot = integer(index, self.gltf.at(place), 0, max(len(listed) - 1, 0))
        here = f"extensions.{LIGHTS}.lights[{slot}]"
        if not listed or not isinstance(listed[slot], dict):
            raise FileError(self.gltf.at(place), f"refers to {here}, which is no object")
        entry = listed[slot]
        kind = self.gltf.get(entry, "type", str, here)
        if kind not in ("point", "spot", "directional"):
            raise FileError(self.gltf.at(f"{here}.type"), f"is {kind!r:.40}, expected point, spot or directional")
        strength = number(entry.get("intensity", 1.0), self.gltf.at(f"{here}.intensity"), 0)
        color = entry.get("color", [1.0, 1.0, 1.0])
        if not isinstance(color, list) or len(color) != 3:
            raise FileError(self.gltf.at(f"{here}.color"), f"is {color!r:.60}, expected three numbers")
        color = [strength * number(part, self.gltf.at(f"{here}.color"), 0) for part in color]
        way = (-self.pose(world, place)[:3, 2]).tolist() if kind != "point" else None
        table: dict[str, Any] = {"type": kind}
        if kind == "directional":
            table |= {"direction": way, "irradiance": color}
        else:
            table |= {"position": world[:3, 3].tolist(), "intensity": color}
        if kind == "spot":
            cone, at_cone = self.gltf.get(entry, "spot", dict, here), f"{here}.spot"
            outer = number(
                cone.get("outerConeAngle", math.pi / 4), self.gltf.at(f"{at_cone}.outerConeAngle"), 0, 1.5708
            )
            inner = number(cone.get("innerConeAngle", 0.0), self.gltf.at(f"{at_cone}.innerConeAngle"), 0, outer)
            table |= {"direction": way, "cutoff_degrees": math.degrees(outer)}
            table["falloff_degrees"] = math.degrees(outer - inner)
        if "range" in entry:
            self.scene.note(here, "range is left out, light falls with 1 / distance^2 everywhere")
        self.scene.add("lights", wanted or _name(entry) or "light", table)

    def pose(self, world: np.ndarray, place: str) -> np.ndarray:
        """A matrix without its scale; a mirrored one with its x axis turned."""
        made, lengths = world.copy(), np.linalg.norm(world[:3, :3], axis=0)
        if not (lengths > 1e-12).all():
            raise FileError(self.gltf.at(place), "stands under a scale of 0", "give every scale a size")
        made[:3, :3] /= lengths
        if np.linalg.det(made[:3, :3]) < 0:
            made[:3, 0] *= -1
        back = made[:3, 2]
        up = made[:3, 1] - back * (back @ made[:3, 1])
        if not np.linalg.norm(up) > 1e-6:
            raise FileError(self.gltf.at(place), "stands under a transform that is flat", "give a rotation")
        up /= np.linalg.norm(up)
        made[:3, :3] = np.stack([np.cross(up, back), up, back], 1)
        return made


def _name(entry: dict) -> str:
    name = entry.get("name")
    return name if isinstance(name, str) else ""
