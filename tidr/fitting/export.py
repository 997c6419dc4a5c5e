"""A scene into a folder that tidr and other tools open: scene.toml, an OBJ per mesh, a PNG per texture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tomli_w

from tidr.files.image import encode_png
from tidr.files.mesh import write_mesh
from tidr.files.mtl import safe_names
from tidr.files.write import write_bytes, write_files
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import AmbientLight, DirectionalLight, Light, PointLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh
from tidr.scene.mesh_data import COLOR_SLOTS, MaterialData, MeshData
from tidr.scene.texture import Texture

from ..errors import SceneError
from ..parameter import Parameter


def export(scene: Scene, folder: Path, cameras: Mapping[str, Camera] | None = None) -> Path:
    """Write the scene, with its own cameras or the given ones; returns the path of scene.toml, which is written last.

    Textures become 8 bits per channel. What a scene file cannot hold is left out: vertex attributes that are no colour.

    Raises:
        FileError: the folder cannot be written. SceneError: a light or camera of a kind that files do not know.
    """
    owners = _owners(scene)
    stems = _stems(owners.values())
    pictures = _picture_names(scene, owners, stems)
    for name in dict.fromkeys(owners.values()):
        node = scene.nodes[name]
        write_mesh(folder / f"{stems[name]}.obj", _mesh_data(scene, node))
    worn = {material for name in owners for material in scene.nodes[name].materials}
    loose = {folder / name: key for key, name in pictures.items() if key[0] not in worn}
    write_files({path: _encoded(scene.materials[material], slot) for path, (material, slot) in loose.items()})
    background = scene.film.background if scene.film.background is not None else (0.0, 0.0, 0.0)
    film = {"width": scene.film.width, "height": scene.film.height, "background": _floats(background)}
    table: dict[str, object] = {"film": film}
    table["cameras"] = {name: _camera(camera) for name, camera in (cameras or scene.cameras).items()}
    table["materials"] = {name: _material(name, item, pictures) for name, item in scene.materials.items()}
    table["lights"] = {name: _light(name, light) for name, light in scene.lights.items()}
    table["nodes"] = {name: _node(node, owners.get(name), stems) for name, node in scene.nodes.items()}
    path = folder / "scene.toml"
    write_bytes(path, tomli_w.dumps({key: value for key, value in table.items() if value}).encode())
    return path


def _owners(scene: Scene) -> dict[str, str]:
    """For every node with a mesh the first node that has the same one."""
    first: dict[int, str] = {}
    meshes = {name: node.geometry for name, node in scene.nodes.items() if isinstance(node.geometry, Mesh)}
    return {name: first.setdefault(id(mesh), name) for name, mesh in meshes.items()}


def _stems(names) -> dict[str, str]:
    """File names without suffix for nodes, each its own."""
    stems: dict[str, str] = {}
    for name in names:
        if name not in stems:
            plain = re.sub(r"[^\w-]+", "_", name) or "mesh"
            while plain.lower() in {other.lower() for other in stems.values()}:
                plain += "_"
            stems[name] = plain
    return stems


def _picture_names(scene: Scene, owners: dict[str, str], stems: dict[str, str]) -> dict[tuple[str, str], str]:
    """The file of each (material, slot) that is a texture: that of the first mesh which wears it."""
    names: dict[tuple[str, str], str] = {}
    for owner in dict.fromkeys(owners.values()):
        worn = scene.nodes[owner].materials
        plain = safe_names([_material_data(name, scene.materials[name]) for name in worn])
        for name, spelled in zip(worn, plain, strict=True):
            for slot in _textures(scene.materials[name]):
                names.setdefault((name, slot), f"{stems[owner]}_{spelled}_{slot}.png")
    for number, (name, material) in enumerate(scene.materials.items()):
        for slot in _textures(material):
            names.setdefault((name, slot), f"material_{number}_{slot}.png")
    return names


def _mesh_data(scene: Scene, node: Node) -> MeshData:
    mesh = node.mesh
    filed = mesh.shading == "file" and mesh.normals is not None
    return MeshData(
        _array(mesh.vertices),
        mesh.faces,
        uvs=None if mesh.uvs is None else _array(mesh.uvs),
        uv_faces=mesh.uv_faces,
        normals=_array(mesh.normals) if filed and mesh.normals is not None else None,
        normal_faces=mesh.normal_faces if filed else None,
        colors=None if mesh.colors is None else _array(mesh.colors),
        face_materials=mesh.face_materials if node.materials else None,
        materials=tuple(_material_data(name, scene.materials[name]) for name in node.materials),
    )


def _material_data(name: str, material: Material) -> MaterialData:
    known = ("lambert", "phong", "blinn_phong", "metallic_roughness")
    values: dict[str, object] = {}
    for slot, source in material.sources.items():
        if isinstance(source, Texture):
            values[slot] = _array(source.texels)
        elif isinstance(source, Parameter):
            value = _array(source)
            values[slot] = tuple(_floats(value)) if value.ndim else float(value)
    return MaterialData(name, material.type if material.type in known else "lambert", values)


def _textures(material: Material) -> list[str]:
    return [slot for slot, source in material.sources.items() if isinstance(source, Texture)]


def _encoded(material: Material, slot: str) -> bytes:
    source = material.sources[slot]
    assert isinstance(source, Texture)
    return encode_png(_array(source.texels), srgb=slot in COLOR_SLOTS)


def _material(name: str, material: Material, pictures: dict[tuple[str, str], str]) -> dict[str, object]:
    table: dict[str, object] = {"type": material.type}
    for slot, source in material.sources.items():
        if isinstance(source, Texture):
            table[slot] = {"texture": pictures[name, slot], "wrap": source.wrap, "filter": source.filter}
        elif isinstance(source, Parameter):
            table[slot] = _plain(source)
        else:
            table[slot] = "vertex_colors"
    return table


def _camera(camera: Camera) -> dict[str, object]:
    return {
        "type": camera.kind,
        "camera_to_world": [_floats(row) for row in camera.camera_to_world],
        "focal": _plain(camera.focal),
        "principal_point": _plain(camera.principal_point),
        "resolution": [camera.width, camera.height],
        "near": camera.near,
        "far": camera.far,
    }


def _light(name: str, light: Light) -> dict[str, object]:
    kinds = {AmbientLight: "ambient", DirectionalLight: "directional", PointLight: "point"}
    if type(light) not in kinds:
        raise SceneError(f"lights.{name}", f"a {type(light).__name__} cannot be written to a scene file")
    return {"type": kinds[type(light)]} | {key: _plain(value) for key, value in light.parameters().items()}


def _node(node: Node, owner: str | None, stems: dict[str, str]) -> dict[str, object]:
    table: dict[str, object] = {}
    if owner == node.name:
        table |= {"mesh": f"{stems[owner]}.obj", "shading": node.mesh.shading}
    elif owner is not None:
        table["instance_of"] = owner
    if node.materials:
        table["material"] = list(node.materials)
    if node.parent is not None:
        table["parent"] = node.parent
    table["translation"] = _plain(node.translation)
    table["quaternion"] = _plain(node.rotation)
    table["scale"] = _plain(node.scale)
    return table


def _array(parameter: Parameter) -> np.ndarray:
    return parameter.numpy().astype(np.float64)


def _plain(parameter: Parameter):
    value = parameter.numpy().astype(np.float64)
    return _floats(value) if value.ndim else float(value)


def _floats(values) -> list[float]:
    return [float(value) for value in np.asarray(values).ravel()]
