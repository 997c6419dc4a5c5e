"""What may stand in a scene file: its tables as pydantic models, and the rules within each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WrapValidator
from pydantic_core import PydanticCustomError

from tidr.parameter import nearest
from tidr.scene.material import BLENDED, CONDUCTORS, MATERIAL_TYPES, Slot, keywords, slots_of
from tidr.scene.texture import FILTERS, WRAPS

from .guard import Limits
from .scene_cameras import read_camera
from .scene_faults import LONGEST_NAME, Faults, brief, read_table
from .scene_grids import KEYS as GRIDS
from .scene_grids import Grid, read_grid
from .scene_points import KEYS as CLOUDS
from .scene_points import read_cloud
from .scene_registered import read_registered, registered_key
from .scene_rgbd import KEY as RGBD
from .scene_rgbd import read_rgbd
from .scene_types import (
    Light3,
    Number,
    Pixels,
    Table,
    Vector3,
    Vector4,
    is_number,
)


def _scale(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if len(values) not in (1, 3) or not all(is_number(item) and item > 0 for item in values):
        raise PydanticCustomError("scale", "expected one positive number or three")
    return value


def _material_names(value: object) -> object:
    names = value if isinstance(value, list) and value else [value]
    if not all(isinstance(name, str) for name in names):
        raise PydanticCustomError("material", "expected the name of a material or a list of names")
    return value


class FilmTable(Table):
    """Picture size in pixels, and what is behind everything (linear RGB)."""

    width: Pixels = 512
    height: Pixels = 512
    background: Light3 = Field(default_factory=lambda: [0.0] * 3)


class AmbientTable(Table):
    """Constant radiance from everywhere."""

    type: Literal["ambient"]
    radiance: Light3


class DirectionalTable(Table):
    """Parallel light, or a sun's disc; direction is the way it travels."""

    type: Literal["directional"]
    direction: Vector3
    irradiance: Light3
    angular_diameter_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0


class PointTable(Table):
    """A point that shines with intensity / distance^2, or without falling."""

    type: Literal["point"]
    position: Vector3
    intensity: Light3
    attenuated: bool = True


class SpotTable(Table):
    """A point that shines into a cone, with less than full intensity in the last falloff_degrees up to its rim."""

    type: Literal["spot"]
    position: Vector3
    direction: Vector3
    intensity: Light3
    cutoff_degrees: Annotated[float, Field(ge=0, le=180)]
    falloff_degrees: Annotated[float, Field(ge=0, le=180)] | None = None


class FlashTable(Table):
    """A point at the lens of whatever camera looks."""

    type: Literal["flash"]
    intensity: Light3


class PictureTable(Table):
    """A picture of radiance."""

    texture: str


def _orders(rows: list[list[float]]) -> list[list[float]]:
    if len(rows) not in (1, 4, 9, 16):
        raise PydanticCustomError("rows", "expected 1, 4, 9 or 16 rows of RGB")
    return rows


def _table_or_numbers(value: Any, read: Callable[[Any], Any]) -> Any:
    return value if isinstance(value, dict) else read(value)


class EnvironmentTable(Table):
    """Radiance from far away, behind everything: the same all around, or a latitude-longitude picture."""

    type: Literal["environment"]
    radiance: Annotated[Light3, WrapValidator(_table_or_numbers)]  # a table becomes a PictureTable in `_light`
    rotation_degrees: Number = 0.0


class SphericalHarmonicTable(Table):
    """Radiance from far away as 1, 4, 9 or 16 rows of RGB."""

    type: Literal["spherical_harmonics"]
    coefficients: Annotated[list[Vector3], AfterValidator(_orders)]


LIGHT_TABLES: dict[str, type[Table]] = {
    "ambient": AmbientTable,
    "directional": DirectionalTable,
    "point": PointTable,
    "spot": SpotTable,
    "flash": FlashTable,
    "environment": EnvironmentTable,
    "spherical_harmonics": SphericalHarmonicTable,
}


class TextureTable(Table):
    """A picture in a material's slot."""

    texture: str
    wrap: Literal[WRAPS] = "repeat"  # type: ignore[valid-type]
    filter: Literal[FILTERS] = "bilinear"  # type: ignore[valid-type]


class NodeTable(Table):
    """A place in the scene, with the mesh, volume, voxel grid, field, tetrahedra, points, Gaussians or RGBD there."""

    mesh: str | None = None
    volume: Any = None
    voxels: Any = None
    field: Any = None
    tetrahedra: Any = None
    points: Any = None
    gaussians: Any = None
    rgbd: Any = None
    instance_of: str | None = None
    material: Annotated[Any, BeforeValidator(_material_names)] = None
    shading: Literal["smooth", "flat", "file"] | None = None
    parent: str | None = None
    translation: Vector3 = Field(default_factory=lambda: [0.0] * 3)
    rotation_degrees: Vector3 | None = None
    quaternion: Vector4 | None = None
    rotation_as: Literal["quaternion", "6d"] | None = None
    scale: Annotated[Any, BeforeValidator(_scale)] = 1.0


class TopTable(Table):
    """The keys outside the sections."""

    up: Literal["y", "z"] = "y"
    description: str = ""
    plugins: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class MaterialTable:
    """A material: for each slot given a number, three, a TextureTable or "vertex_colors"; names for other keys."""

    type: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class SceneTable:
    """A scene file whose tables are each valid; `fit` is still as it was read."""

    top: TopTable
    film: FilmTable
    cameras: Mapping[str, Table]
    materials: Mapping[str, MaterialTable]
    lights: Mapping[str, Table]
    nodes: Mapping[str, NodeTable]
    grids: Mapping[str, Grid]  # of the nodes that hold one
    fit: object = None


SECTIONS = ("film", "cameras", "materials", "lights", "nodes", "fit")
KNOWN_KEYS = [*TopTable.model_fields, *SECTIONS]


def read_tables(raw: dict[str, Any], limits: Limits, faults: Faults) -> SceneTable | None:
    """All tables of a scene, each held against its model; None when a fault was noted."""
    before = faults.count
    for key in raw:
        if key not in KNOWN_KEYS:
            faults.unknown([key], KNOWN_KEYS)
    top = read_table(TopTable, {key: raw[key] for key in TopTable.model_fields if key in raw}, [], faults)
    film = read_table(FilmTable, raw.get("film", {}), ["film"], faults)
    if film is not None and film.width * film.height > limits.pixels:
        faults.add(["film"], f"has more than {limits.pixels} pixels (raise Limits.pixels)")
    sections = {name: _section(raw, name, limits, faults) for name in ("cameras", "materials", "lights", "nodes")}
    tables = {
        "cameras": _each(sections["cameras"], "cameras", lambda item, path: read_camera(item, path, faults)),
        "materials": _each(sections["materials"], "materials", lambda item, path: _material(item, path, faults)),
        "lights": _each(sections["lights"], "lights", lambda item, path: _light(item, path, faults)),
        "nodes": _each(sections["nodes"], "nodes", lambda item, path: _node(item, path, faults)),
    }
    grids = _each(sections["nodes"], "nodes", lambda item, path: _grid(item, path, faults))
    owners: dict[str, str] = {}
    for section, members in sections.items():
        for name in members:
            if name in owners:
                faults.add([section, name], f"is also the name of a member of {owners[name]}; names are unique")
            owners[name] = section
    if faults.count > before or top is None or film is None:
        return None
    grids = {name: item for name, item in grids.items() if item is not None}
    return SceneTable(top, film, **tables, grids=grids, fit=raw.get("fit"))  # type: ignore[arg-type]


def _section(raw: dict[str, Any], name: str, limits: Limits, faults: Faults) -> dict[str, Any]:
    members = raw.get(name, {})
    if not isinstance(members, dict):
        faults.add([name], f"is {brief(members)}, expected a table of tables")
        return {}
    if len(members) > limits.nodes:
        faults.add([name], f"has {len(members)} members, the limit is {limits.nodes} (raise Limits.nodes)")
        return {}
    for key in members:
        if not key.strip() or "." in key or len(key) > LONGEST_NAME or not key.isprintable():
            faults.add([name, key], f"is no valid name, expected up to {LONGEST_NAME} characters without dots")
    return members


def _each(members: dict[str, Any], section: str, read) -> dict[str, Any]:
    return {name: read(item, [section, name]) for name, item in members.items()}


def _light(raw: object, path: list[object], faults: Faults) -> Table | None:
    kind = _kind(raw, LIGHT_TABLES, path, faults)
    table = read_table(LIGHT_TABLES[kind], raw, path, faults) if kind else None
    if isinstance(table, DirectionalTable | SpotTable) and not any(table.direction):
        faults.add([*path, "direction"], "has length 0, expected the way the light travels")
    if isinstance(table, EnvironmentTable) and isinstance(table.radiance, dict):
        picture = read_table(PictureTable, table.radiance, [*path, "radiance"], faults)
        return table.model_copy(update={"radiance": picture})
    return table


def _node(raw: object, path: list[object], faults: Faults) -> NodeTable | None:
    own = registered_key(raw)
    plain = {key: value for key, value in raw.items() if key != own} if isinstance(raw, dict) and own else raw
    table = read_table(NodeTable, plain, path, faults)
    if table is None:
        return None
    given = table.model_fields_set | ({own} if own else set())
    if {"rotation_degrees", "quaternion"} <= given:
        faults.add([*path, "quaternion"], "stands beside rotation_degrees, give one of them")
    if table.quaternion is not None and not sum(item * item for item in table.quaternion) > 1e-24:
        faults.add([*path, "quaternion"], "has length 0, expected a unit quaternion, w first")
    if {"mesh", "instance_of"} <= given:
        faults.add([*path, "instance_of"], "stands beside mesh, give one of them")
    if "shading" in given and table.mesh is None:
        faults.add([*path, "shading"], "needs mesh")
    shapes = [key for key in ("mesh", "instance_of", *GRIDS, *CLOUDS, RGBD, own) if key in given]
    if len(shapes) > 1 and shapes != ["mesh", "instance_of"]:
        faults.add([*path, shapes[1]], f"stands beside {shapes[0]}, give one of them")
    for key in ("volume", "voxels", "field", "gaussians"):
        if key in given and "material" in given:
            faults.add([*path, "material"], f"stands beside {key}, which has colours of its own")
    return table


def _grid(raw: object, path: list[object], faults: Faults) -> Grid | None:
    """What a node holds other than a mesh; None where it holds nothing of the kind."""
    own = registered_key(raw)
    if own and isinstance(raw, dict):
        return read_registered(own, raw[own], [*path, own], faults)
    found = [key for key in (*GRIDS, *CLOUDS, RGBD) if key in raw] if isinstance(raw, dict) else []
    if not found or not isinstance(raw, dict):
        return None
    if found[0] == RGBD:
        return read_rgbd(raw[RGBD], [*path, RGBD], faults)
    read = read_grid if found[0] in GRIDS else read_cloud
    return read(found[0], raw[found[0]], [*path, found[0]], faults)


def _material(raw: object, path: list[object], faults: Faults) -> MaterialTable | None:
    kind = _kind(raw, MATERIAL_TYPES, path, faults)
    if not kind or not isinstance(raw, dict):
        return None
    slots, values = slots_of(kind), {}
    for name, value in raw.items():
        if name in slots:
            values[name] = _slot(slots[name], value, [*path, name], faults)
        elif name in keywords(kind):
            values[name] = _keyword(name, value, raw, [*path, name], faults)
        elif name != "type":
            faults.unknown([*path, name], [*slots, *keywords(kind), "type"])
    for name in BLENDED if kind == "blend" else ():
        if name not in raw:
            faults.add([*path, name], "is missing, expected the name of a material")
    return MaterialTable(kind, values)


def _keyword(name: str, value: Any, raw: Mapping[str, Any], path: list[object], faults: Faults) -> object:
    """A material's value that is the name of another material or of a metal."""
    if not isinstance(value, str):
        faults.add(path, f"is {brief(value)}, expected a name")
    elif name == "preset" and value not in CONDUCTORS:
        faults.add(path, f"no metal {brief(value)}, " + nearest(value[:LONGEST_NAME], CONDUCTORS))
    elif name == "preset" and not raw.keys().isdisjoint(("eta", "k")):
        faults.add(path, "stands beside eta or k, give one of them")
    return value


def _slot(slot: Slot, value: Any, path: list[object], faults: Faults) -> object:
    if isinstance(value, dict):
        return read_table(TextureTable, value, path, faults)
    if slot.texture_only:
        faults.add(path, f"is {brief(value)}, expected a texture table")
        return None
    low, high = slot.clamp
    numbers: list[Any] = value if isinstance(value, list) and slot.channels == 3 and len(value) == 3 else [value]
    if all(is_number(item) and low <= item <= high for item in numbers):
        return value
    if value == "vertex_colors" and slot.channels == 3:
        return value
    forms = "a number, [r, g, b], a texture table or 'vertex_colors'" if slot.channels == 3 else "a number or a texture"
    faults.add(path, f"is {brief(value)}, expected {forms}, each number in {low:g} to {high:g}")
    return None


def _kind(raw: object, kinds: Mapping[str, object], path: list[object], faults: Faults) -> str | None:
    """The `type` of a table, one of `kinds`."""
    if not isinstance(raw, dict):
        faults.add(path, f"is {brief(raw)}, expected a table")
    elif "type" not in raw:
        faults.add([*path, "type"], f"is missing, expected one of {', '.join(kinds)}")
    elif not isinstance(raw["type"], str) or raw["type"] not in kinds:
        faults.add([*path, "type"], f"is {brief(raw['type'])}, {nearest(str(raw['type'])[:LONGEST_NAME], kinds)}")
    else:
        return raw["type"]
    return None
