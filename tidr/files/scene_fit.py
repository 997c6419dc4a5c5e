"""The [fit] table of a scene file, read into the settings that `tidr.fit` takes."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import Field as Limit
from pydantic import create_model

from tidr.errors import TidrError
from tidr.fitting.settings import DensifySettings, FitSettings, ParameterSettings, StartSettings, checked
from tidr.parameter import Parameter

from .scene_faults import Faults, brief, read_table
from .scene_schema import SceneTable
from .scene_types import Number, Table

if TYPE_CHECKING:
    from tidr.renderers.renderer import Renderer
    from tidr.scene.graph import Scene

    from .scene_build import Files

FIT: list[object] = ["fit"]
ANY = ParameterSettings(lr=1.0)  # a valid filler
TABLES = ("views", "targets", "depths", "parameters", "losses", "start", "renderer", "densify")
SINGLE = [item.name for item in fields(FitSettings) if item.name not in TABLES]


def read_fit(table: SceneTable, files: Files) -> FitSettings | None:
    """The settings, their file names resolved; None without a [fit] table, or with faults, which are then noted.

    Pictures need not exist yet: a scene without its photographs can still be drawn.
    """
    faults, raw = files.faults, table.fit
    if raw is None:
        return None
    before = faults.count
    model = read_table(_table_of(FitSettings), raw, FIT, faults)
    if model is None:
        return None
    values: dict[str, Any] = {name: _tuples(getattr(model, name)) for name in model.model_fields_set}
    values["parameters"] = _each(values.get("parameters", {}), ParameterSettings, "parameters", faults)
    values["start"] = _each(values.get("start", {}), StartSettings, "start", faults)
    values["densify"] = _each(values.get("densify", {}), DensifySettings, "densify", faults)
    _check_renderer(values.get("renderer"), faults)
    for section in ("grow", "truth"):
        values[section] = {name: _tuples(items) for name, items in values.get(section, {}).items()}
    of_nodes = [(section, table.nodes) for section in ("start", "grow", "densify")]
    for section, known in (*of_nodes, ("targets", table.cameras)):
        for name in values.get(section, {}):
            if name not in known:
                faults.unknown([*FIT, section, name], list(known))
    if values.get("views"):
        path = files.find_views([*FIT, "views"], values["views"], later=True)
        values["views"] = str(path) if path else "missing"
        if table.top.up != "y":
            faults.add(["up"], 'must be "y" beside fit.views, whose cameras are taken as they are')
    for section in ("targets", "depths"):
        items = values.get(section, {}).items()
        values[section] = {name: str(files.find([*FIT, section, name], item, later=True)) for name, item in items}
    settings = FitSettings(**values)
    if faults.count == before:
        _check_values(settings, faults)
    return settings if faults.count == before else None


def read_settings(kind: type, raw: object, path: list[object], faults: Faults) -> Any:
    """One settings dataclass from its table; None with faults noted."""
    model = read_table(_table_of(kind), raw, path, faults)
    if model is None:
        return None
    return kind(**{name: _tuples(getattr(model, name)) for name in model.model_fields_set})


def read_renderer(name: str, options: Sequence[str], scene: Scene) -> Renderer:
    """The renderer of a short name ("auto": what suits the scene) with the fields that "key=value" texts give it.

    Raises:
        FileError: an option that it has not, or of another type.
        SceneError: no such renderer, or a value that it refuses.
    """
    from tidr.renderers.renderer import renderer_type

    from .scene_file import apply_overrides

    raw: dict[str, Any] = {}
    apply_overrides(raw, options, "--option", "samples=64")
    kind, faults = renderer_type(name, scene), Faults("--option")
    if not is_dataclass(kind):
        faults.add([name], "a renderer that is no dataclass takes no options") if raw else None
        faults.check()
        return kind()
    made = read_settings(kind, raw, [], faults)
    faults.check()
    return made


def _each(members: Mapping[str, object], kind: type, section: str, faults: Faults) -> dict[str, Any]:
    """The settings of every member; a start or a way to densify may also be a bare word."""
    found = {}
    for name, raw in members.items():
        word = section in ("start", "densify") and isinstance(raw, str)
        found[name] = raw if word else read_settings(kind, raw, [*FIT, section, name], faults)
    return found


def _check_renderer(raw: object, faults: Faults) -> None:
    if raw is None:
        return
    from tidr.renderers.renderer import renderer_type

    path = [*FIT, "renderer"]
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        faults.add(path, f'is {brief(raw)}, expected a table with a type, as {{ type = "raster" }}')
        return
    options = {name: value for name, value in raw.items() if name != "type"}
    with faults.under([*path, "type"]):
        kind = renderer_type(raw["type"])
        with faults.under(path):
            if is_dataclass(kind):
                read_settings(kind, options, path, faults)


def _check_values(settings: FitSettings, faults: Faults) -> None:
    """The rules of `checked`, one part of the settings at a time, so that every fault shows."""
    plain = FitSettings(views="x", parameters={"x": ANY})
    pictures = {
        name: getattr(settings, name) for name in ("targets", "depths", "resolution", "rays_per_step", "sharpen")
    }
    parts = [replace(plain, views=settings.views, **pictures)]
    parts += [replace(plain, **{name: getattr(settings, name)}) for name in SINGLE]
    parts += [] if settings.parameters else [replace(plain, parameters={})]
    parts += [] if settings.losses else [replace(plain, losses={})]
    parts += [replace(plain, losses={name: weight}) for name, weight in settings.losses.items()]
    parts += [replace(plain, parameters={name: one}) for name, one in settings.parameters.items()]
    parts += [replace(plain, start={name: one}) for name, one in settings.start.items()]
    parts += [replace(plain, densify={name: one}) for name, one in settings.densify.items()]
    seen: set[str] = set()
    for part in parts:
        try:
            checked(part)
        except TidrError as error:
            if str(error) not in seen:
                seen.add(str(error))
                faults.add(error.where.split("."), error.what + (f" ({error.mend})" if error.mend else ""))


@functools.cache
def _table_of(kind: type) -> type[Table]:
    """The strict model of a settings dataclass: the same keys and types; a default reads as None."""
    hints = get_type_hints(kind)
    entries: dict[str, Any] = {}
    for item in fields(kind):
        required = item.default is MISSING and item.default_factory is MISSING
        entries[item.name] = (_strict(hints[item.name]), ... if required else None)
    return create_model(f"{kind.__name__}Table", __base__=Table, **entries)


def _strict(hint: Any) -> Any:
    """A type hint as the file has it: lists for tuples, bounded numbers, tables for settings."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is float:
        return Number
    if hint is int:
        return Annotated[int, Limit(ge=-(2**53), le=2**53)]
    if origin is tuple and arguments[-1] is ...:
        return list[_strict(arguments[0])]
    if origin is tuple:
        return Annotated[list[_strict(arguments[0])], Limit(min_length=len(arguments), max_length=len(arguments))]
    if origin in (types.UnionType, Union):
        tables = any(is_dataclass(one) for one in arguments)
        in_files = [one for one in arguments if one is not Parameter]  # an object that scripts may give
        return object if tables else functools.reduce(operator.or_, map(_strict, in_files))
    if origin is not None and issubclass(origin, Mapping):
        return dict[str, _strict(arguments[1])]
    return object if is_dataclass(hint) else hint


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
