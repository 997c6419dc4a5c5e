"""Scenes of meshes to binary glTF 2.0: nodes, shared meshes, materials, cameras and lights.

Numbers of lights are written as they are, W/sr as candela and so on (see gltf_scene.py).
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tidr.array import Array
from tidr.errors import FileError
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import DirectionalLight, Light, PointLight, SpotLight
from tidr.scene.material import Material, VertexColors
from tidr.scene.mesh import Mesh
from tidr.scene.mesh_data import MaterialData, MeshData
from tidr.scene.texture import Texture
from tidr.scene.transform import quaternion_from_rotation, quaternion_of

from .gltf_scene import LIGHTS
from .gltf_write import Writer, material_entry, primitives
from .guard import check_mesh
from .image import encode_png
from .imported import SceneWarning
from .write import write_bytes

PLAIN = ("lambert", "phong", "blinn_phong", "metallic_roughness")  # types that metallic-roughness can stand for
STRENGTH = "KHR_materials_emissive_strength"
WRAPS = {"repeat": 10497, "clamp": 33071, "mirror": 33648}


def write_gltf_scene(scene: Scene, path: str | Path) -> None:
    """Write a scene of meshes as a .glb, single precision, pictures in 8 bits; it appears whole or not at all.

    Raises:
        FileError: a node that holds something else than a mesh, a value that is not finite, a folder that cannot be
            written.

    Warns:
        SceneWarning: materials, lights and cameras that glTF cannot tell, in one message.
    """
    path, maker = Path(path), _Maker()
    for name, node in scene.nodes.items():
        if node.geometry is not None and not isinstance(node.geometry, Mesh):
            what = f"node {name!r:.80} holds {type(node.geometry).__name__}, glTF takes meshes"
            raise FileError(path, what, "write a .toml")
    write_bytes(path, maker.bytes(scene))
    if maker.notes:
        told = "\n  ".join([f"{path}: left out or written otherwise", *maker.notes])
        warnings.warn(told, SceneWarning, stacklevel=2)


class _Maker:
    """A scene's parts, added to one file."""

    def __init__(self) -> None:
        self.out = Writer()
        self.nodes: list[dict[str, Any]] = []
        self.lights: list[dict[str, Any]] = []
        self.materials: dict[str, int] = {}
        self.meshes: dict[tuple, int] = {}
        self.used: set[str] = set()
        self.notes: list[str] = []

    def bytes(self, scene: Scene) -> bytes:
        places = {}
        for node in scene.ordered_nodes():
            places[node.name] = len(self.nodes)
            self.nodes.append(self.node(scene, node))
            if node.parent is not None:
                self.nodes[places[node.parent]].setdefault("children", []).append(places[node.name])
        roots = [places[name] for name, node in scene.nodes.items() if node.parent is None]
        first = len(self.nodes)
        for name, camera in scene.cameras.items():
            self.camera(name, camera)
        for name, light in scene.lights.items():
            self.light(name, light)
        roots += range(first, len(self.nodes))
        extensions: dict[str, dict] = {LIGHTS: {"lights": self.lights}} if self.lights else {}
        return self.out.finish(self.nodes, roots, extensions, sorted(self.used))

    def node(self, scene: Scene, node: Node) -> dict[str, Any]:
        w, x, y, z = quaternion_of(_finite(node.rotation))
        table = {"name": node.name, "translation": _finite(node.translation).tolist(), "rotation": [x, y, z, w]}
        table["scale"] = np.broadcast_to(_finite(node.scale), 3).tolist()
        if isinstance(node.geometry, Mesh):
            key = (id(node.geometry), node.materials)
            if key not in self.meshes:
                self.meshes[key] = len(self.out.json["meshes"])
                slots = [self.material(name, scene.materials[name]) for name in node.materials]
                data = check_mesh(node.name, _data(node.geometry, bool(slots)))
                self.out.json["meshes"].append(
                    {"name": node.name, "primitives": primitives(self.out, data, slots or [None])}
                )
            table["mesh"] = self.meshes[key]
        return table

    def material(self, name: str, material: Material) -> int:
        if name not in self.materials:
            if material.type not in PLAIN:
                self.notes.append(f"materials.{name}: {material.type} is written as metallic-roughness of its colour")
            values = {slot: _value(source) for slot, source in material.sources.items()}
            opacity, emission, normal = (values.pop(slot, None) for slot in ("opacity", "emission", "normal"))
            if material.type == "conductor" and "eta" in values:
                values = {"albedo": _reflectance(values), "metallic": 1.0, "roughness": values.get("roughness", 0.0)}
            known = ("albedo", "roughness", "metallic", "shininess")
            kept = {slot: value for slot, value in values.items() if slot in known}
            if opacity is not None:
                kept["albedo"] = _with_alpha(kept.get("albedo", 1.0), opacity)
            kind = material.type if material.type in PLAIN else "metallic_roughness"
            self.materials[name] = index = material_entry(self.out, MaterialData(name, kind, _flat(kept)))
            entry = self.out.json["materials"][index]
            if opacity is not None:
                entry["alphaMode"] = "BLEND"
                if np.ndim(kept["albedo"]) < 2:
                    entry["pbrMetallicRoughness"]["baseColorFactor"][3] = float(kept["albedo"][3])
            if normal is not None:
                entry["normalTexture"] = self.out.texture(encode_png(normal, srgb=False), "image/png")
            if emission is not None:
                self.emission(entry, emission)
            self.wrap(name, material, entry)
        return self.materials[name]

    def emission(self, entry: dict[str, Any], emission: np.ndarray) -> None:
        """A factor of at most 1, and how much more it is."""
        strength = max(float(np.max(emission)), 1.0)
        if np.ndim(emission) >= 2:
            entry["emissiveFactor"] = [1.0] * 3
            entry["emissiveTexture"] = self.out.texture(encode_png(emission / strength), "image/png")
        else:
            entry["emissiveFactor"] = (np.broadcast_to(emission, 3) / strength).tolist()
        if strength > 1:
            entry["extensions"] = {STRENGTH: {"emissiveStrength": strength}}
            self.used.add(STRENGTH)

    def wrap(self, name: str, material: Material, entry: dict[str, Any]) -> None:
        """The wrapping of a material's textures, one for all."""
        found = {source.wrap for source in material.sources.values() if isinstance(source, Texture)}
        if len(found) > 1:
            self.notes.append(f"materials.{name}: its textures wrap in several ways, written as repeated")
        if len(found) != 1 or "repeat" in found:
            return
        self.out.json["samplers"].append({key: WRAPS[found.copy().pop()] for key in ("wrapS", "wrapT")})
        pbr = entry["pbrMetallicRoughness"]
        for owner in (*pbr.values(), *entry.values()):
            if isinstance(owner, dict) and "index" in owner:
                self.out.json["textures"][owner["index"]]["sampler"] = len(self.out.json["samplers"]) - 1

    def camera(self, name: str, camera: Camera) -> None:
        if camera.kind not in ("perspective", "orthographic"):
            self.notes.append(f"cameras.{name}: a {camera.kind} is left out")
            return
        focal, centre = _finite(camera.focal), _finite(camera.principal_point)
        size = np.array([camera.width, camera.height])
        half = size / 2 / focal
        bent = camera.distortion is not None or camera.aperture_radius is not None
        if np.abs(centre - size / 2).max() > 1e-3 or bent:
            self.notes.append(f"cameras.{name}: its principal point or lens is left out")
        depth = {"znear": camera.near, "zfar": camera.far}
        if camera.kind == "perspective":
            lens = {"yfov": float(2 * np.arctan(half[1])), "aspectRatio": float(half[0] / half[1]), **depth}
        else:
            lens = {"xmag": float(half[0]), "ymag": float(half[1]), **depth}
        self.out.json["cameras"].append({"name": name, "type": camera.kind, camera.kind: lens})
        pose = camera.camera_to_world
        self.add(name, pose[:3, 3], pose[:3, :3], {"camera": len(self.out.json["cameras"]) - 1})

    def light(self, name: str, light: Light) -> None:
        if not isinstance(light, PointLight | SpotLight | DirectionalLight):
            self.notes.append(f"lights.{name}: glTF has no {type(light).__name__}")
            return
        directional = isinstance(light, DirectionalLight)
        power = _finite(light.irradiance if directional else light.intensity)
        strength = float(power.max())
        entry: dict[str, Any] = {"name": name, "type": "directional" if directional else "point", "intensity": strength}
        entry["color"] = (power / strength).tolist() if strength > 0 else [1.0] * 3
        if isinstance(light, DirectionalLight) and float(_finite(light.angular_diameter)) > 0:
            self.notes.append(f"lights.{name}: its angular diameter is left out")
        if isinstance(light, PointLight) and not light.attenuated:
            self.notes.append(f"lights.{name}: falls with distance in glTF")
        if isinstance(light, SpotLight):
            cutoff, falloff = (float(_finite(angle)) for angle in (light.cutoff, light.falloff))
            if cutoff > np.pi / 2:
                self.notes.append(f"lights.{name}: a cone wider than a half space is written as one")
            cutoff = min(cutoff, np.pi / 2)
            entry |= {"type": "spot", "spot": {"outerConeAngle": cutoff, "innerConeAngle": max(cutoff - falloff, 0.0)}}
        position = np.zeros(3) if isinstance(light, DirectionalLight) else _finite(light.position)
        rotation = np.eye(3) if isinstance(light, PointLight) else _facing(_finite(light.direction))
        self.lights.append(entry)
        self.used.add(LIGHTS)
        self.add(name, position, rotation, {"extensions": {LIGHTS: {"light": len(self.lights) - 1}}})

    def add(self, name: str, position: np.ndarray, rotation: np.ndarray, more: dict[str, Any]) -> None:
        w, x, y, z = quaternion_from_rotation(rotation).tolist()
        self.nodes.append({"name": name, "translation": position.tolist(), "rotation": [x, y, z, w], **more})


def _finite(array: Array) -> np.ndarray:
    values = np.asarray(array.numpy(), np.float64)
    if not np.isfinite(values).all():
        raise FileError(array.label, "is not finite, so the scene is not written")
    return values


def _value(source: object) -> Any:
    """A number, [3] or texels [H, W, C]; vertex colours multiply a white."""
    if isinstance(source, VertexColors):
        return np.ones(3)
    return _finite(source.texels if isinstance(source, Texture) else source)  # type: ignore[arg-type]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Constants without an alpha, which stands beside them."""
    return {slot: value[:3] if np.ndim(value) == 1 else value for slot, value in values.items()}


def _with_alpha(color: Any, opacity: Any) -> np.ndarray:
    """[4] or texels [H, W, 4]; the smaller picture is repeated up to the larger one's size."""
    layers = [np.asarray(value, np.float64) for value in (color, opacity)]
    if all(layer.ndim < 2 for layer in layers):
        return np.append(np.broadcast_to(layers[0], 3), layers[1])
    layers = [layer if layer.ndim == 3 else layer.reshape(1, 1, -1) for layer in layers]
    height, width = np.max([layer.shape[:2] for layer in layers], axis=0)
    rows, columns = np.arange(height), np.arange(width)
    grown = [layer[rows * layer.shape[0] // height][:, columns * layer.shape[1] // width] for layer in layers]
    return np.concatenate([np.broadcast_to(grown[0], (height, width, 3)), grown[1]], 2)


def _reflectance(values: dict[str, Any]) -> Any:
    """What a metal reflects at normal incidence."""
    eta, k = values["eta"], values["k"]
    found = ((eta - 1) ** 2 + k**2) / ((eta + 1) ** 2 + k**2) * values.get("specular", 1.0)
    return np.clip(found, 0, 1)


def _facing(way: np.ndarray) -> np.ndarray:
    """A rotation [3, 3] that takes -z to a direction."""
    back = -way / np.linalg.norm(way)
    side = np.cross([0.0, 1.0, 0.0] if abs(back[1]) < 0.9 else [1.0, 0.0, 0.0], back)
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(back, side), back], 1)


def _data(mesh: Mesh, painted: bool) -> MeshData:
    """The mesh; smooth ones with the normals of their vertices, flat ones without."""
    vertices, normals, normal_faces = _finite(mesh.vertices), None, None
    if mesh.shading == "file" and mesh.normals is not None:
        normals, normal_faces = _finite(mesh.normals), mesh.normal_faces
    elif mesh.shading == "smooth":
        a, b, c = (vertices[mesh.faces[:, corner]] for corner in range(3))
        normals = np.zeros_like(vertices)
        for corner in range(3):
            np.add.at(normals, mesh.faces[:, corner], np.cross(b - a, c - a))
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
        normal_faces = mesh.faces
    slots = int(mesh.face_materials.max()) + 1
    return MeshData(
        vertices,
        mesh.faces,
        uvs=None if mesh.uvs is None else _finite(mesh.uvs),
        uv_faces=mesh.uv_faces,
        normals=normals,
        normal_faces=normal_faces,
        colors=None if mesh.colors is None else _finite(mesh.colors),
        face_materials=mesh.face_materials if painted else None,
        materials=tuple(MaterialData(str(slot)) for slot in range(slots)) if painted else (),
    )
