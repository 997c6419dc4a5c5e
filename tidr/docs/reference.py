"""The parts of the documentation that are made: options, scene tables, losses, the command, and all public names."""

import inspect
import re
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

import tidr
from tidr.files import scene_cameras, scene_grids, scene_points, scene_rgbd, scene_schema
from tidr.fitting import settings
from tidr.renderers.renderer import renderer_type

from .text import escaped, first_sentence, markdown

MODULES_OF_LOSSES = (
    "losses", "regularizers", "grid_regularizers", "implicit_losses", "voxel_losses", "volume_losses", "depth_losses",
    "point_losses", "point_regularizers", "ray_consistency",
)  # fmt: skip


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)


def options_table(kind: type) -> str:
    """The fields of a settings dataclass, each with what its docstring says of it under its name."""
    told = meanings(kind)
    rows = [
        (f"`{one.name}`", f"`{one.type}`".replace("|", "or"), _default(one), told.get(one.name, ""))
        for one in fields(kind)
    ]
    return table(("option", "type", "default", "meaning"), rows) if rows else "None."


def meanings(kind: type) -> dict[str, str]:
    """{field: text} of the lines "name: text" of a class's docstring; several names may share one text."""
    found: dict[str, str] = {}
    for names, line in _by_option(kind):
        for name in names:
            found[name] = f"{found[name]} {escaped(line)}" if name in found else escaped(line)
    return found


def without_options(kind: type) -> str:
    """A class's docstring without what `meanings` takes."""
    lines = [line for names, line in _by_option(kind) if not names]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _by_option(kind: type) -> list[tuple[list[str], str]]:
    """Every line of a class's docstring with the fields that it is about."""
    names, found, current = {one.name for one in fields(kind)} if is_dataclass(kind) else set(), [], []
    for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
        head = re.match(r"^(\w+(?:(?:, | and )\w+)*): (.*)", line)
        given = re.split(r", | and ", head[1]) if head else []
        if head and set(given) <= names:
            current, line = given, head[2]
        elif not line:
            current = []
        found.append((current, line.strip() if current else line))
    return found


def renderer_table(name: str) -> str:
    """The [fit] table's renderer with the defaults of all options."""
    kind = renderer_type(name)
    values = {one.name: one.default for one in fields(kind)} if is_dataclass(kind) else {}
    options = [f"{key} = {_toml(value)}" for key, value in values.items() if _is_plain(value)]
    return "\n".join(["[fit.renderer]", f'type = "{name}"', *options])


def schema() -> str:
    """Every table of a scene file, as its reader checks it."""
    tables: dict[str, type] = {"": scene_schema.TopTable, "film": scene_schema.FilmTable}
    tables |= {
        f"cameras.X ({name})": kind for name, kind in scene_cameras.SENSOR_TABLES.items() if name != "orthographic"
    }
    tables |= {f"lights.X ({name})": kind for name, kind in scene_schema.LIGHT_TABLES.items()}
    tables |= {"a texture": scene_schema.TextureTable, "nodes.X": scene_schema.NodeTable}
    tables |= {f"nodes.X.{name}": kind for name, kind in (scene_grids.TABLES | scene_points.TABLES).items()}
    tables |= {"nodes.X.rgbd": scene_rgbd.RgbdTable}
    parts = []
    for name, kind in tables.items():
        rows = []
        for key, one in kind.model_fields.items():
            default = "required" if one.is_required() else _shown(one.get_default(call_default_factory=True))
            rows.append((f"`{one.alias or key}`", _kind_of(one.annotation), default))
        heading = f"### `[{name}]`" if name and " " not in name else f"### {name or 'Outside of all tables'}"
        parts.append(
            "\n\n".join([heading, escaped(inspect.getdoc(kind) or ""), table(("key", "type", "default"), rows)])
        )
    for name, kind in (("fit", settings.FitSettings), ("fit.parameters.X", settings.ParameterSettings)):
        parts.append(f"### `[{name}]`\n\n{options_table(kind)}")
    for name, kind in (("fit.start.X", settings.StartSettings), ("fit.densify.X", settings.DensifySettings)):
        parts.append(f"### `[{name}]`\n\n{options_table(kind)}")
    return "\n\n".join(parts)


def losses() -> str:
    """All losses and regularizers by module, and the names that a fit knows."""
    names = ", ".join(f"`{name}`" for name in settings.known_losses())
    parts = [f"Names in `[fit] losses`: {names}."]
    for module_name in MODULES_OF_LOSSES:
        module = getattr(tidr, module_name)
        parts.append(f"## `tidr.{module_name}`\n\n{markdown(module.__doc__ or '')}")
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if own and not name.startswith("_"):
                signature = str(inspect.signature(function)).partition(" -> ")[0]
                parts.append(f"### `{name}{signature}`\n\n{markdown(function.__doc__ or '')}")
    return "\n\n".join(parts)


def command() -> str:
    """Every verb of the command with its options."""
    import typer

    from tidr.cli import app

    parts = []
    group: Any = typer.main.get_command(app)
    for name, verb in group.commands.items():
        rows = [
            (
                f"`{' '.join(one.opts) if one.param_type_name == 'option' else one.name.upper()}`",
                escaped(one.help or ""),
            )
            for one in verb.params
        ]
        parts.append(f"## `tidr {name}`\n\n{escaped(verb.help or '')}\n\n{table(('option', 'meaning'), rows)}")
    return "\n\n".join(parts)


def api() -> str:
    """Every public name with the first sentence of its docstring."""
    rows = []
    for name in sorted(tidr.__all__, key=str.lower):
        thing = getattr(tidr, name)
        told = escaped(first_sentence(thing.__doc__ or "")) if not isinstance(thing, str) else f"the version, {thing}"
        rows.append((f"`tidr.{name}`", told))
    return table(("name", "what it is"), rows)


def _default(one: Any) -> str:
    if one.default is not MISSING:
        return _shown(one.default)
    return "required" if one.default_factory is MISSING else _shown(one.default_factory())


def _shown(value: object) -> str:
    return "" if value is None else f"`{value!r}`"


def _kind_of(annotation: Any) -> str:
    """A type as a reader of a scene file calls it."""
    names = {str: "text", float: "number", int: "integer", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    literal = get_args(annotation)
    if literal and all(isinstance(one, str) for one in literal):
        return ", ".join(f'"{one}"' for one in literal)
    if getattr(annotation, "__origin__", None) is list:
        return "list of " + (_kind_of(literal[0]) if literal else "anything")
    found = [_kind_of(one) for one in literal if one is not type(None) and not _is_bound(one)]
    return " or ".join(dict.fromkeys(found)) if found else "see above"


def _is_bound(one: Any) -> bool:
    """Whether it is the annotation of a type, not a type."""
    return not isinstance(one, type) and not get_args(one)


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str | tuple) and value == value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
