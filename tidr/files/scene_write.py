"""Scenes to files: a TOML, and beside it an OBJ with MTL per mesh, an NPZ per grid or sky, a PNG or NPZ per texture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from tidr.array import Array
from tidr.errors import FileError
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import (
    AmbientLight,
    DirectionalLight,
    EnvironmentLight,
    FlashLight,
    Light,
    PointLight,
    SphericalHarmonicLight,
    SpotLight,
)
from tidr.scene.material import BLENDED, Material
from tidr.scene.mesh import Mesh
from tidr.scene.mesh_data import MaterialData, MeshData
from tidr.scene.meter import Meter
from tidr.scene.parametric import ParametricSurface, key_of
from tidr.scene.texture import Texture
from tidr.scene.transform import quaternion_of

from .arrays import npz_bytes
from .guard import check_mesh, read_bytes
from .image import encode_png
from .mtl import KEYWORDS, write_mtl
from .obj import write_obj
from .scene_cameras import PERSPECTIVE_ONLY
from .scene_grid_write import grid_table
from .scene_point_build import cloud_file
from .scene_registered import registered_table
from .write import write_files

FILES_AT_ONCE = 64
CLOUDS = ("PointCloud", "Gaussians")
ANGLES = ("angular_diameter", "cutoff", "falloff")  # of lights, in radians; files have degrees
PAINTED = ("Mesh", "Tetrahedra", "PointCloud")  # geometries that take materials
_NUMBERS = re.compile(r"\[\n((?:\s*[^\s\[\]\"',]+,\n)+)\s*\]")  # a list of numbers over several lines


def write_scene(scene: Scene, path: str | Path) -> None:
    """Write the scene as `path` (.toml), which `load_scene` reads again; other programs open its OBJ files.

    The files beside it are named after nodes and materials, with the stem of `path` in front. Every file appears whole,
    the TOML last. Textures are stored in 8 bits or, where the slot takes more than 1, in single precision, as are skies
    and Gaussians (a .ply that other splatting programs read); grids, fields and points to the last bit. What to fit
    (`scene.fit`) and vertex attributes other than uvs, normals and colours are left out.

    Raises:
        FileError: not a .toml, a value that is not finite, or a folder that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".toml":
        raise FileError(path, f"unknown kind of scene {path.suffix!r}", "write a .toml")
    names = _Names(path.stem)
    files: dict[Path, bytes] = {}
    pictures = _pictures(scene, path, names, files)
    plugins = {names.free(plugin.stem, ".py"): read_bytes(plugin) for plugin in scene.plugins}
    files |= {path.with_name(name): data for name, data in plugins.items()}
    tables: dict[str, Any] = {
        "plugins": list(plugins),
        "film": _film(scene),
        "cameras": {name: _camera(camera) for name, camera in scene.cameras.items()},
        "materials": {name: _material(name, item, pictures) for name, item in scene.materials.items()},
        "lights": {name: _light(name, light, path, names, files) for name, light in scene.lights.items()},
        "nodes": {},
    }
    owners: dict[int, str] = {}
    for name, node in scene.nodes.items():
        tables["nodes"][name] = table = _node(node)
        if node.geometry is None:
            continue
        order = _slot_order(node.geometry) if isinstance(node.geometry, Mesh) and node.materials else []
        if node.materials and (type(node.geometry).__name__ in PAINTED or isinstance(node.geometry, ParametricSurface)):
            table["material"] = [node.materials[slot] for slot in order] or list(node.materials)
        if id(node.geometry) in owners:
            table["instance_of"] = owners[id(node.geometry)]
            continue
        owners[id(node.geometry)] = name
        if isinstance(node.geometry, Mesh):
            table["mesh"], table["shading"] = names.free(name, ".obj"), node.geometry.shading
            files |= _mesh_files(path.with_name(table["mesh"]), scene, node, order, pictures)
        elif (own := key_of(node.geometry)) is not None:
            table[own] = registered_table(name, node.geometry)
        elif type(node.geometry).__name__ in CLOUDS:
            file = names.free(name, ".ply")
            key, files[path.with_name(file)] = cloud_file(name, node.geometry)
            table[key] = file
        else:
            file = names.free(name, ".npz")
            key, entries, arrays = grid_table(name, node.geometry)
            table[key] = {"file": file} | entries
            files[path.with_name(file)] = npz_bytes(**arrays)
    try:
        text = tomli_w.dumps({key: value for key, value in tables.items() if value})
    except (TypeError, ValueError) as error:
        raise FileError(path, f"the scene cannot be written: {error}") from error
    _write_all(files)
    write_files({path: _NUMBERS.sub(_on_one_line, text).encode()})


def _pictures(scene: Scene, path: Path, names: _Names, files: dict[Path, bytes]) -> dict[tuple[str, str], str]:
    """{(material, slot): file name} of every texture, whose contents join `files`."""
    pictures: dict[tuple[str, str], str] = {}
    for name, material in scene.materials.items():
        for slot, source in material.sources.items():
            if isinstance(source, Texture):
                values, kind = _values(source.texels), material.slots[slot]
                pictures[name, slot] = names.free(f"{name}_{slot}", ".png" if kind.clamp[1] <= 1 else ".npz")
                files[path.with_name(pictures[name, slot])] = (
                    encode_png(values, srgb=kind.channels == 3 and not kind.data)
                    if kind.clamp[1] <= 1
                    else npz_bytes(image=values.astype(np.float32))
                )
    return pictures


def _write_all(files: dict[Path, bytes]) -> None:
    listed = list(files.items())
    for start in range(0, len(listed), FILES_AT_ONCE):
        write_files(dict(listed[start : start + FILES_AT_ONCE]))


def _on_one_line(match: re.Match) -> str:
    return "[" + ", ".join(item.strip() for item in match[1].split(",") if item.strip()) + "]"


class _Names:
    """File names made of scene names, each once, whatever the case."""

    def __init__(self, stem: str) -> None:
        self.stem, self.taken = stem, set()

    def free(self, name: str, suffix: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{self.stem[:60]}_{name[:60]}")
        found, number = base, 2
        while found.lower() in self.taken:
            found, number = f"{base}_{number}", number + 1
        self.taken.add(found.lower())
        return found + suffix


def _values(array: Array) -> np.ndarray:
    """The array in f64: single precision numbers by their shortest spelling, 0.1 instead of 0.10000000149."""
    values = np.asarray(array.numpy())
    if not np.isfinite(values).all():
        raise FileError(array.label, "is not finite, so the scene is not written")
    return values.astype(str).astype(np.float64) if values.dtype == np.float32 else values.astype(np.float64)


def _listed(array: Array) -> Any:
    return _values(array).tolist()


def _film(scene: Scene) -> dict[str, Any]:
    film = scene.film
    table: dict[str, Any] = {"width": film.width, "height": film.height}
    if film.background is not None:
        table["background"] = [float(value) for value in film.background]
    return table


def _camera(camera: Camera) -> dict[str, Any]:
    if isinstance(camera, Meter):
        return {"type": camera.kind} | {key: _listed(parameter) for key, parameter in camera.parameters().items()}
    return {
        "type": camera.kind,
        "camera_to_world": [[float(value) for value in row] for row in camera.camera_to_world],
        "focal": _listed(camera.focal),
        "principal_point": _listed(camera.principal_point),
        "resolution": [camera.width, camera.height],
        **{key: _listed(parameter) for key, parameter in camera.parameters().items() if key in PERSPECTIVE_ONLY},
        **_held_as(camera),
        "near": camera.near,
        "far": camera.far,
    }


def _light(name: str, light: Light, path: Path, names: _Names, files: dict[Path, bytes]) -> dict[str, Any]:
    """A light's table; the picture of an environment goes to `files`."""
    if isinstance(light, EnvironmentLight):
        degrees = math.degrees(float(_values(light.rotation)))
        return {"type": "environment", "radiance": _sky(name, light, path, names, files), "rotation_degrees": degrees}
    kinds: dict[type, str] = {AmbientLight: "ambient", DirectionalLight: "directional", SpotLight: "spot"}
    kinds |= {FlashLight: "flash", SphericalHarmonicLight: "spherical_harmonics"}
    table: dict[str, Any] = {"type": kinds.get(type(light), "point")}
    for key, parameter in light.parameters().items():
        if key in ANGLES:
            table[f"{key}_degrees"] = min(math.degrees(float(_values(parameter))), 180.0)  # single precision has more
        else:
            table[key] = _listed(parameter)
    if isinstance(light, PointLight) and not light.attenuated:
        table["attenuated"] = False
    return table


def _sky(name: str, light: EnvironmentLight, path: Path, names: _Names, files: dict[Path, bytes]) -> Any:
    if len(light.radiance.shape) == 1:
        return _listed(light.radiance)
    picture = light.radiance.numpy().astype(np.float32)
    if not np.isfinite(picture).all():
        raise FileError(light.radiance.label, "is not finite, so the scene is not written")
    file = names.free(name, ".npz")
    files[path.with_name(file)] = npz_bytes(image=picture)
    return {"texture": file}


def _material(name: str, material: Material, pictures: dict[tuple[str, str], str]) -> dict[str, Any]:
    table: dict[str, Any] = {"type": material.type} | dict(zip(BLENDED, material.blended, strict=False))
    for slot, source in material.sources.items():
        if isinstance(source, Texture):
            table[slot] = {"texture": pictures[name, slot], "wrap": source.wrap, "filter": source.filter}
        else:
            table[slot] = _listed(source) if isinstance(source, Array) else "vertex_colors"
    return table


def _node(node: Node) -> dict[str, Any]:
    table: dict[str, Any] = {"parent": node.parent} if node.parent is not None else {}
    quaternion = [float(number) for number in quaternion_of(node.rotation.numpy())]
    table |= {"translation": _listed(node.translation), "quaternion": quaternion}
    return table | {"scale": _listed(node.scale)} | _held_as(node)


def _held_as(thing: Node | Camera) -> dict[str, Any]:
    """How the rotation is held, where that is not by a quaternion."""
    return {"rotation_as": "6d"} if thing.rotation.shape == (6,) else {}


def _slot_order(mesh: Mesh) -> list[int]:
    """The material slots that faces use, in the order in which an OBJ of the mesh names them."""
    slots, first = np.unique(mesh.face_materials, return_index=True)
    return slots[np.argsort(first)].tolist()


def _mesh_files(
    path: Path, scene: Scene, node: Node, order: list[int], pictures: dict[tuple[str, str], str]
) -> dict[Path, bytes]:
    """The OBJ of a node's mesh and, where it has materials, the MTL beside it."""
    mesh, rank = node.mesh, np.zeros(int(node.mesh.face_materials.max()) + 1, np.int32)
    rank[order] = np.arange(len(order))
    used = [node.materials[slot] for slot in order]
    materials = tuple(MaterialData(name, scene.materials[name].type, _plain(scene.materials[name])) for name in used)
    data = MeshData(
        _values(mesh.vertices),
        mesh.faces,
        uvs=None if mesh.uvs is None else _values(mesh.uvs),
        uv_faces=mesh.uv_faces,
        normals=None if mesh.normals is None else _values(mesh.normals),
        normal_faces=mesh.normal_faces,
        colors=None if mesh.colors is None else _values(mesh.colors),
        face_materials=rank[mesh.face_materials] if materials else None,
        materials=materials,
        quads=mesh.quads,
    )
    data = check_mesh(node.name, data)
    files: dict[Path, bytes] = {}
    if materials:
        beside = {(index, slot): file for index, slot, file in _beside(used, pictures)}
        files[path.with_suffix(".mtl")] = write_mtl(materials, beside).encode()
    return files | {path: write_obj(data, path.stem).encode()}


def _beside(used: list[str], pictures: dict[tuple[str, str], str]) -> Iterable[tuple[int, str, str]]:
    for index, name in enumerate(used):
        for (owner, slot), file in pictures.items():
            if owner == name and slot in KEYWORDS and file.endswith(".png"):
                yield index, slot, file


def _plain(material: Material) -> dict[str, object]:
    """The slots that an MTL knows; a picture's own value is white."""
    values: dict[str, object] = {}
    for slot, source in material.sources.items():
        if slot in KEYWORDS and isinstance(source, Texture):
            values[slot] = 1.0
        elif slot in KEYWORDS and isinstance(source, Array):
            values[slot] = _values(source)
    return values
