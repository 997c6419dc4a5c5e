"""From the valid tables of a scene file to a Scene: names followed, files read, z-up turned to y-up."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError
from tidr.parameter import nearest
from tidr.scene.graph import MAX_DEPTH, Film, Geometry, Node, Scene
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
from tidr.scene.material import MATERIAL_TYPES, Material, VertexColors
from tidr.scene.mesh import Mesh
from tidr.scene.mesh_data import MeshData
from tidr.scene.texture import Texture
from tidr.scene.transform import (
    quaternion_from_euler,
    quaternion_from_rotation,
    rotation_from_quaternion,
)

from .colmap import data_set_of, is_model
from .guard import Limits, check_file, resolve
from .image import read_texture
from .mesh import read_mesh
from .scene_cameras import CameraTable, build_camera, camera_options
from .scene_faults import Faults
from .scene_fit import read_fit
from .scene_grid_build import build_grid
from .scene_material_build import build_material, check_blends, read_pictures
from .scene_point_build import build_cloud
from .scene_points import KEYS as CLOUDS
from .scene_rgbd import KEY as RGBD
from .scene_rgbd import build_rgbd
from .scene_schema import (
    AmbientTable,
    DirectionalTable,
    EnvironmentTable,
    FlashTable,
    NodeTable,
    PictureTable,
    PointTable,
    SceneTable,
    SphericalHarmonicTable,
    SpotTable,
    Table,
)
from .view_sets import find_views, read_views
from .volume import VolumeData

TURNS = {"y": np.eye(3), "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])}  # file's world to tidr's
DEFAULT_MATERIAL = "default"  # what a file calls the material of the faces that name none


@dataclass
class Files:
    """Where names in a scene file lead, and the meshes read so far.

    root: folder of the scene file, which they may not leave. given: keys that the user set himself, whose names are
    relative to the working folder and may point anywhere.
    """

    root: Path
    given: frozenset[tuple[str, ...]]
    limits: Limits
    faults: Faults
    meshes: dict[Path, MeshData] = field(default_factory=dict)
    pictures: dict[Path, np.ndarray] = field(default_factory=dict)  # that an importer holds
    volumes: dict[Path, VolumeData] = field(default_factory=dict)  # the same

    def find(self, key: Sequence[object], name: str, later: bool = False) -> Path | None:
        """The file that the value of `key` names; one needed `later` may be missing."""
        if any((held := Path(name)) in kind for kind in (self.meshes, self.pictures, self.volumes)):
            return held
        with self.faults.under(key):
            if not self._is_given(key):
                return resolve(self.root, name, "", must_exist=not later)
            return check_file(Path(name).expanduser(), self.limits).resolve()
        return None

    def find_views(self, key: Sequence[object], name: str, later: bool = False) -> Path | None:
        """The file that tells cameras, or the folder that holds one; needed `later` it may be missing."""
        with self.faults.under(key):
            if self._is_given(key):
                path = Path(name).expanduser()
                path = path.resolve() if path.is_dir() else check_file(path, self.limits).resolve()
            else:
                path = resolve(self.root, name, "", must_exist=not later, folder=True)
            if path.is_dir():
                find_views(path)
            elif not self._is_given(key) and is_model(path) and not _within(data_set_of(path.parent), self.root):
                raise FileError("", "its pictures lie outside of the scene's folder", "name the folder of the data set")
            return path
        return None

    def picture(self, path: Path, channels: int, data: bool = False) -> np.ndarray:
        """[H, W, channels], as `read_texture` gives it."""
        held = self.pictures.get(path)
        return read_texture(path, channels, self.limits, data) if held is None else held

    def _is_given(self, key: Sequence[object]) -> bool:
        return any(tuple(key[: len(mine)]) == mine for mine in self.given)

    def mesh(self, path: Path) -> MeshData:
        if path not in self.meshes:
            self.meshes[path] = read_mesh(path, self.limits)
        return self.meshes[path]


def _within(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def build(table: SceneTable, files: Files) -> Scene:
    """The scene of the tables.

    Raises:
        FileError: every fault that shows only now: unknown names, cycles, missing or broken files.
    """
    faults = files.faults
    scene = Scene(Film(table.film.width, table.film.height, tuple(table.film.background)))  # type: ignore[arg-type]
    _check_graph(table, files.limits, faults)
    _check_materials(table, faults)
    check_blends(table.materials, faults)
    fit = read_fit(table, files)
    paths = {name: files.find(["nodes", name, "mesh"], node.mesh) for name, node in table.nodes.items() if node.mesh}
    for name, grid in table.grids.items():
        if grid.table.file is not None:
            paths[name] = files.find(["nodes", name, *grid.place], grid.table.file)
        elif getattr(grid.table, "points", None) is not None:
            paths[name] = files.find_views(["nodes", name, *grid.place], grid.table.points)
    pictures = {name: read_pictures(name, item, files) for name, item in table.materials.items()}
    skies = {name: _read_sky(name, item, files) for name, item in table.lights.items()}
    faults.check()

    for name, item in table.materials.items():
        with faults.under(["materials", name]):
            scene.add_material(name, build_material(item, pictures[name]))
    turn = TURNS[table.top.up]
    for name, item in table.lights.items():
        with faults.under(["lights", name]):
            scene.add_light(name, _light(item, turn, skies[name]))
    for name, item in table.cameras.items():
        with faults.under(["cameras", name]):
            _add_cameras(scene, name, item, turn, files)
    for name in _meshes_first(table.nodes):
        with faults.under(["nodes", name]):
            _add_node(scene, name, table, paths.get(name), turn, files)
    faults.check()
    scene.nodes = {name: scene.nodes[name] for name in table.nodes}
    started = set(fit.start) if fit else set()
    _check_sources(scene, started, faults)
    if fit is not None:
        for pattern in fit.parameters:
            if pattern.partition(".")[0] not in started:
                with faults.under(["fit", "parameters", pattern]):
                    scene.parameters(pattern)
    faults.check()
    scene.fit = fit
    return scene


def _check_graph(table: SceneTable, limits: Limits, faults: Faults) -> None:
    """Parents and shared meshes that are not there, cycles, and too deep a tree."""
    deepest = min(limits.depth, MAX_DEPTH)
    holders = {name for name, item in table.nodes.items() if item.mesh or name in table.grids}
    finished: dict[str, int] = {}  # depth of nodes whose ancestors are all known
    for name, node in table.nodes.items():
        if node.parent is not None and node.parent not in table.nodes:
            faults.add(["nodes", name, "parent"], f"no node {node.parent!r:.80}, " + nearest(node.parent, table.nodes))
        if node.instance_of is not None and node.instance_of not in holders:
            hint = nearest(node.instance_of, sorted(holders))
            faults.add(["nodes", name, "instance_of"], f"no node with a mesh or grid {node.instance_of!r:.80}, {hint}")
        chain: list[str] = []
        link: str | None = name
        while link is not None and link in table.nodes and not (link in finished or link in chain):
            if len(chain) > deepest:
                break
            chain.append(link)
            link = table.nodes[link].parent
        if link in chain:
            faults.add(["nodes", name, "parent"], "is its own ancestor: " + " > ".join([*chain[-5:], link])[:200])
        depth = finished.get(link or "", 0)
        if depth + len(chain) > deepest and link not in chain:
            faults.add(["nodes", name], f"is more than {deepest} levels deep")
        for step, done in enumerate(reversed(chain), 1):
            finished[done] = min(depth + step, deepest)


def _check_materials(table: SceneTable, faults: Faults) -> None:
    for name, node in table.nodes.items():
        for material in _names(node.material):
            if material not in table.materials:
                where = ["nodes", name, "material"]
                faults.add(where, f"no material {material!r:.80}, " + nearest(material, table.materials))


def _check_sources(scene: Scene, started: set[str], faults: Faults) -> None:
    """Materials that ask for uvs or colours that their mesh has not; nodes that a fit starts anew are let be."""
    for name, node in scene.nodes.items():
        if not isinstance(node.geometry, Mesh) or name in started:
            continue
        names = [part for name in node.materials for part in (name, *scene.materials[name].blended)]
        for material in dict.fromkeys(names):
            for slot, source in scene.materials[material].sources.items():
                if isinstance(source, Texture) and node.mesh.uvs is None:
                    faults.add(["nodes", name, "material"], f"{material}.{slot} is a texture but the mesh has no uvs")
                if isinstance(source, VertexColors) and node.mesh.colors is None:
                    faults.add(["nodes", name, "material"], f"{material}.{slot} is vertex colours, the mesh has none")


def _names(material: str | list[str] | None) -> list[str]:
    return [material] if isinstance(material, str) else list(material or [])


def _meshes_first(nodes: Mapping[str, NodeTable]) -> list[str]:
    """Names of the nodes, those that share another's mesh after the others."""
    return sorted(nodes, key=lambda name: nodes[name].instance_of is not None)


def _read_sky(name: str, table: Table, files: Files) -> np.ndarray | None:
    """The picture of an environment light, where it has one."""
    if not isinstance(table, EnvironmentTable) or not isinstance(table.radiance, PictureTable):
        return None
    key = ["lights", name, "radiance", "texture"]
    path = files.find(key, table.radiance.texture)
    with files.faults.under(key):
        return None if path is None else files.picture(path, 3)
    return None


def _light(table: Table, turn: np.ndarray, sky: np.ndarray | None) -> Light:
    if isinstance(table, EnvironmentTable):  # the map's top row is up and its centre ahead, whatever the file's up is
        radiance = table.radiance if sky is None else sky
        return EnvironmentLight(radiance, math.radians(table.rotation_degrees))
    if isinstance(table, AmbientTable):
        return AmbientLight(table.radiance)
    if isinstance(table, DirectionalTable):
        return DirectionalLight(turn @ table.direction, table.irradiance, math.radians(table.angular_diameter_degrees))
    if isinstance(table, SpotTable):
        falloff = None if table.falloff_degrees is None else math.radians(table.falloff_degrees)
        way, cutoff = turn @ table.direction, math.radians(table.cutoff_degrees)
        return SpotLight(turn @ table.position, way, table.intensity, cutoff, falloff)
    if isinstance(table, FlashTable):
        return FlashLight(table.intensity)
    if isinstance(table, SphericalHarmonicTable):  # in world axes, as an environment
        return SphericalHarmonicLight(table.coefficients)
    assert isinstance(table, PointTable)
    return PointLight(turn @ table.position, table.intensity, table.attenuated)


def _add_cameras(scene: Scene, name: str, table: Table, turn: np.ndarray, files: Files) -> None:
    if not isinstance(table, CameraTable) or table.source is None:
        scene.add_camera(name, build_camera(table, turn, scene.film, files.faults, ["cameras", name]))
        return
    path = files.find_views(["cameras", name, "from"], table.source)
    if path is None:
        return
    frames = read_views(path, files.limits, pictures=False).frames
    if table.frame is not None and table.frame >= len(frames):
        files.faults.add(["cameras", name, "frame"], f"is {table.frame}, the file has {len(frames)} frames from 0")
        return
    chosen = range(len(frames)) if table.frame is None else [table.frame]
    for index in chosen:
        matrix = np.eye(4)
        matrix[:3] = turn @ frames[index].camera_to_world[:3]
        camera = replace(frames[index], camera_to_world=matrix).camera(**camera_options(table))
        scene.add_camera(name if len(chosen) == 1 else f"{name}_{index}", camera)


def _add_node(scene: Scene, name: str, tables: SceneTable, path: Path | None, turn: np.ndarray, files: Files) -> None:
    table = tables.nodes[name]
    quaternion = np.array(table.quaternion or quaternion_from_euler(table.rotation_degrees or (0, 0, 0)))
    translation = np.array(table.translation)
    if table.parent is None:
        translation = turn @ translation
        if turn is not TURNS["y"]:
            quaternion = quaternion_from_rotation(turn @ rotation_from_quaternion(quaternion))
    geometry, materials = None, tuple(_names(table.material))
    if table.instance_of is not None:
        shared = scene.nodes.get(table.instance_of)
        if shared is None:  # what it holds could not be read, which is noted there
            return
        geometry, materials = shared.geometry, materials or shared.materials
    elif name in tables.grids and tables.grids[name].key == RGBD:
        geometry = _rgbd(name, tables.grids[name].table, path, files)
        if isinstance(geometry, Mesh) and geometry.colors is not None and not materials:
            materials = (_add_colors(scene, name),)
    elif name in tables.grids:
        cloud, held = tables.grids[name].key in CLOUDS, files.volumes.get(path) if path else None
        make = build_cloud if cloud else partial(build_grid, held=held)
        geometry = make(tables.grids[name], path, files.limits)
    elif path is not None:
        geometry, materials = _mesh(scene, name, table, path, files)
    needed = int(geometry.face_materials.max()) + 1 if isinstance(geometry, Mesh) else 0
    if materials and needed > len(materials):
        files.faults.add(["nodes", name, "material"], f"names {len(materials)} materials, the mesh has {needed}")
        return
    place = (table.parent, translation, quaternion, table.scale, table.rotation_as)
    scene.add_node(name, Node(geometry, materials, *place))


def _rgbd(name: str, table: Any, path: Path | None, files: Files) -> Geometry | None:
    """The points or mesh of a node's RGBD picture; None with faults noted."""
    color = None if table.color is None else files.find(["nodes", name, RGBD, "color"], table.color)
    if path is None or (table.color is not None and color is None):
        return None
    return build_rgbd(table, path, color, files.limits)


def _add_colors(scene: Scene, name: str) -> str:
    """The name of a new material that shows the vertex colours of a node's mesh."""
    added = _free_name(scene, f"{name}_colors")
    scene.add_material(added, Material("lambert", albedo="vertex_colors"))
    return added


def _mesh(scene: Scene, name: str, table: NodeTable, path: Path, files: Files) -> tuple[Mesh, tuple[str, ...]]:
    """The node's mesh and the names of its materials: the node's own, else those that came with the mesh."""
    data = files.mesh(path)
    if isinstance(table.material, str):
        data = replace(data, face_materials=None)  # one for all faces
    mesh, materials = Mesh.from_data(data, table.shading), tuple(_names(table.material))
    if materials:
        return mesh, materials
    if not data.materials and data.colors is not None:
        return mesh, (_add_colors(scene, name),)
    named = []
    for item in data.materials:
        sources = {}
        for slot_name, value in item.values.items():
            slot = MATERIAL_TYPES[item.type][slot_name]
            if isinstance(value, Path):
                sources[slot_name] = Texture(read_texture(value, slot.channels, files.limits))
            elif np.ndim(value) >= 2:
                sources[slot_name] = Texture(value)
            else:
                sources[slot_name] = np.clip(value, *slot.clamp)  # type: ignore[arg-type]
        clean = re.sub(r"[^\w-]+", "_", item.name)[:40] or DEFAULT_MATERIAL
        named.append(_free_name(scene, f"{name}_{clean}"))
        scene.add_material(named[-1], Material(item.type, **sources))
    return mesh, tuple(named)


def _free_name(scene: Scene, wanted: str) -> str:
    """The name, or with a number behind it when it is taken."""
    name, number = wanted, 2
    while name in scene:
        name, number = f"{wanted}_{number}", number + 1
    return name
