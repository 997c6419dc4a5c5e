"""Scenes from files: TOML, those of other programs, a mesh, a volume, the cameras of a data set; all faults at once."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tidr.errors import FileError
from tidr.parameter import nearest
from tidr.scene.graph import Scene
from tidr.scene.mesh_data import MeshData

from .guard import DEFAULT, Limits, at, check_file, read_text
from .imported import Imported
from .mesh import READ as MESHES
from .mesh import read_mesh
from .plugins import check_plugins
from .ply_elements import contents
from .points import read_points
from .scene_build import Files, build
from .scene_faults import Faults
from .scene_schema import read_tables
from .splats import read_splats
from .view_sets import find_views, is_views
from .volume import READ as VOLUMES
from .volume import VolumeData, read_volume

LARGEST_SCENE = 2 << 20  # bytes of TOML: some 10,000 nodes
LONGEST_KEY = 16  # parts of a dotted key; the parser's time grows with their square
VIEW_DIRECTION = np.array([0.4, 0.35, 1.0])  # from a lone mesh to its camera
VIEW_ANGLE_DEGREES = 40.0
OUTLIERS = 0.02  # share of the points at each end of an axis that need not be seen
SMALLEST_VIEW = 1e-3  # radius of what is seen of points all at one place

_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}[ \t]*\.[ \t]*){{{LONGEST_KEY}}}")


@dataclass(frozen=True)
class Source:
    """What was read, before validation: the tables, the folder of the names in them, and the keys the user gave."""

    path: Path
    raw: dict[str, Any]
    given: frozenset[tuple[str, ...]] = frozenset()
    meshes: tuple[tuple[Path, MeshData], ...] = ()
    pictures: tuple[tuple[Path, np.ndarray], ...] = ()
    volumes: tuple[tuple[Path, VolumeData], ...] = ()


def load_scene(
    name_or_path: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), limits: Limits = DEFAULT
) -> Scene:
    """A scene by the name of a bundled one, or from a .toml, a mesh, volume or points, or what tells cameras; also one
    of Mitsuba (an .xml, or its dictionary; see files/mitsuba.py) or glTF (.gltf, .glb; see files/gltf_scene.py).

    A mesh, volume, point cloud or cloud of Gaussians (a .ply without faces, told by its properties) becomes one node
    with a camera that frames it, a key light and an ambient light; a glTF without cameras or lights gets these as well.
    A transforms.json, a COLMAP model, a
    poses_bounds.npy or a folder that holds one of them gives cameras only. `scene.fit` is what the [fit] table asks
    for, `scene.source` the file.

    Args:
        overrides: "a.b.c=value" each, the value in TOML or else taken as text; they are set before anything is
            checked. File names in them are the user's own: relative to the working folder, and anywhere.
        limits: how much the files may ask for.

    Raises:
        FileError: missing or malformed; one error lists every fault with its key path.

    Warns:
        SceneWarning: what a scene of another program has and tidr has not, all in one.
    """
    if isinstance(name_or_path, Mapping):
        from .mitsuba import read_mitsuba

        path, source = Path("dictionary"), _imported(read_mitsuba(name_or_path, limits))
    else:
        path = find_scene(name_or_path)
        source = _read(path, limits)
    given = apply_overrides(source.raw, overrides)
    faults = Faults(str(path))
    plugins = check_plugins(source.raw, path.parent, limits, faults)
    faults.check()
    table = read_tables(source.raw, limits, faults)
    faults.check()
    assert table is not None
    held = dict(source.meshes), dict(source.pictures), dict(source.volumes)
    files = Files(path.parent, source.given | given, limits, faults, *held)
    scene = build(table, files)
    scene.plugins = plugins
    scene.source = None if isinstance(name_or_path, Mapping) else path.resolve()
    return scene


def bundled() -> dict[str, Path]:
    """The scenes that come with tidr: name and file."""
    folder = Path(str(resources.files("tidr.scenes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def describe(path: Path) -> str:
    """The `description` of a scene file, "" where it has none."""
    value = read_toml(path).get("description", "")
    return value if isinstance(value, str) else ""


def find_scene(name_or_path: str | Path) -> Path:
    """The file that a name or path means; a bare word is a bundled scene first, then a folder."""
    text = str(name_or_path)
    bare = isinstance(name_or_path, str) and re.fullmatch(r"[\w-]+", text) is not None
    if bare and text in (known := bundled()):
        return known[text]
    try:
        path = Path(name_or_path).expanduser()
        if path.is_dir():
            return find_views(path)
        missing = not path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise FileError(repr(text[:200])[1:-1], f"cannot be opened: {error}", "check the path") from error
    if missing and bare:
        raise FileError(text, "no bundled scene of this name, and no such file", nearest(text, bundled()))
    return check_file(path)


def read_toml(path: Path, limits: Limits = DEFAULT) -> dict[str, Any]:
    """The tables of a TOML file, not yet validated.

    Raises:
        FileError: with the line of a syntax error.
    """
    text = read_text(path, replace(limits, bytes=min(limits.bytes, LARGEST_SCENE)))
    long = _LONG_KEY.search(text)
    if long:
        line = text.count("\n", 0, long.start()) + 1
        raise FileError(at(path, line), f"a key has {LONGEST_KEY} dots or more", "no scene key is that deep")
    return _parse(text, str(path))


def apply_overrides(
    raw: dict[str, Any], overrides: Sequence[str], flag: str = "--set", such_as: str = "film.width=256"
) -> frozenset[tuple[str, ...]]:
    """Set the keys of "a.b.c=value" texts in the tables; returns their paths. Faults are those of the flag."""
    given = set()
    for text in overrides:
        where = f"{flag} {text[:200]}"
        key, equals, value = text.partition("=")
        if not equals:
            raise FileError(where, "has no =", f"write key=value, for example {such_as}")
        path = _key_parts(key.strip(), where)
        table = raw
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise FileError(where, f"{part!r} is no table", "give the path of a key")
        table[path[-1]] = _value(value.strip())
        given.add(tuple(path))
    return frozenset(given)


def _read(path: Path, limits: Limits) -> Source:
    kind = path.suffix.lower()
    if kind == ".toml":
        return Source(path, read_toml(path, limits))
    if kind == ".xml":
        from .mitsuba import read_mitsuba

        return _imported(read_mitsuba(path, limits))
    if kind in (".glb", ".gltf"):
        from .gltf_scene import read_gltf_scene

        found = read_gltf_scene(path, limits)
        return _lit_and_framed(_imported(found.scene), found.vertices)
    if is_views(path):
        raw = {"cameras": {"view": {"from": str(path.resolve())}}}
        return Source(path, raw, frozenset({("cameras", "view", "from")}))
    if kind == ".ply" and (held := contents(path, limits)) != "mesh":
        places = read_splats(path, limits).means if held == "gaussians" else read_points(path, limits).positions
        low, high = (np.quantile(places.astype(np.float64), side, axis=0) for side in (OUTLIERS, 1 - OUTLIERS))
        return _lone(path, held, (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, SMALLEST_VIEW))
    if kind in MESHES:
        data = read_mesh(path, limits)
        key, low, high = "mesh", data.vertices.min(0), data.vertices.max(0)
        radius = float(np.linalg.norm(data.vertices - (low + high) / 2, axis=1).max())
        return _lone(path, key, (low + high) / 2, radius, ((path.resolve(), data),))
    if kind in VOLUMES:
        volume = read_volume(path, limits)
        key = "voxels" if {"occupancy", "sdf", "tsdf"} & set(volume.grids) else "volume"
        low, high = (np.full(3, -1.0), np.ones(3)) if volume.lower is None else (volume.lower, volume.upper)
        return _lone(path, key, (low + high) / 2, float(np.linalg.norm(high - low)) / 2)
    kinds = f".toml, .xml, {' '.join(MESHES)} {' '.join(VOLUMES)}, transforms.json or the folder of a data set"
    raise FileError(path, f"unknown kind of scene {path.suffix!r}", f"use {kinds}")


def _imported(scene: Imported) -> Source:
    """What an importer read."""
    raw = {section: members for section, members in scene.tables.items() if members}
    held = tuple(scene.meshes.items()), tuple(scene.pictures.items()), tuple(scene.volumes.items())
    return Source(scene.path, raw, frozenset(), *held)


def _lit_and_framed(source: Source, vertices: list[np.ndarray]) -> Source:
    """With the camera and lights of a lone mesh, where the file has none of its own, nor a surface that shines."""
    low, high = (np.array([side(points, axis=0) for points in vertices]) for side in (np.min, np.max))
    centre = (low.min(0) + high.max(0)) / 2
    radius = max(float(np.linalg.norm(points - centre, axis=1).max()) for points in vertices)
    taken = [name for members in source.raw.values() for name in members]
    shines = any("emission" in table for table in source.raw.get("materials", {}).values())
    for section, members in _surroundings(centre, radius).items():
        if not source.raw.get(section) and not (section == "lights" and shines):
            for name, table in members.items():
                free = next(one for one in (name, *(f"{name}_{k}" for k in range(2, 99999))) if one not in taken)
                source.raw.setdefault(section, {})[free] = table
    return source


def _surroundings(centre: np.ndarray, radius: float) -> dict[str, dict[str, Any]]:
    """A camera that frames a ball, a key light and an ambient light."""
    distance = 1.05 * radius / np.sin(np.radians(VIEW_ANGLE_DEGREES / 2))
    position = centre + VIEW_DIRECTION * (distance / np.linalg.norm(VIEW_DIRECTION))
    camera = {"position": position.tolist(), "target": centre.tolist(), "fov_y_degrees": VIEW_ANGLE_DEGREES}
    return {
        "cameras": {"front": camera | {"near": distance / 100, "far": distance * 100}},
        "lights": {
            "key": {"type": "directional", "direction": [-0.5, -0.7, -1.0], "irradiance": 2.0},
            "sky": {"type": "ambient", "radiance": 0.4},
        },
    }


def _lone(path: Path, key: str, centre: np.ndarray, radius: float, meshes: tuple = ()) -> Source:
    """The tables of a scene with this alone, lit and framed."""
    name = re.sub(r"[^\w-]+", "_", path.stem)[:60] or key
    while name in ("front", "key", "sky"):
        name += f"_{key}"
    raw = _surroundings(centre, radius) | {"nodes": {name: {key: str(path.resolve())}}}
    return Source(path, raw, frozenset({("nodes", name, key)}), meshes)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        place = at(where, f"{found[1]}:{found[2]}") if found else where
        raise FileError(place, f"is no valid TOML: {str(error).partition(' (at ')[0]}") from error
    except RecursionError as error:
        raise FileError(where, "is nested too deeply") from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise FileError(where, f"is no valid TOML: {error}") from error


def _key_parts(key: str, where: str) -> list[str]:
    """The parts of a dotted key, quoted ones included: fit.parameters."duck.vertices".lr."""
    mend = 'write names and dots; quote a name that holds dots: fit.parameters."duck.vertices".lr'
    if len(key) > 1000 or _LONG_KEY.search(key):
        raise FileError(where, "the key is too long", mend)
    try:
        table = tomllib.loads(f"{key} = 0")
    except ValueError as error:
        raise FileError(where, "the key is no TOML key", mend) from error
    parts: list[str] = []
    while isinstance(table, dict):
        if len(table) != 1:
            raise FileError(where, "the key is no TOML key", mend)
        ((part, table),) = table.items()
        parts.append(part)
    return parts


def _value(text: str) -> object:
    """A TOML value, or the text itself where it is none."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError, OverflowError):
        return text
    return table["value"] if len(table) == 1 else text
