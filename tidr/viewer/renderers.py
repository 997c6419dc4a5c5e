"""The renderers that the viewer offers, each with the treatments that it has a choice of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any

from tidr.errors import SceneError
from tidr.renderers.renderer import Renderer, known_renderers, renderer_type, suited
from tidr.scene.graph import Scene

# How jumps at edges are treated, or points splatted, or cells composed: the option, and where its values are listed.
TREATMENTS: dict[str, tuple[str, str | tuple[str, ...]]] = {
    "raster": ("edges", "raster.EDGES"),
    "hybrid": ("edges", "raster.EDGES"),
    "path": ("edges", ("none", "edge_sampling", "warped_area")),
    "points": ("splat", "points.SPLATS"),
    "voxels": ("method", "voxels.CHOICES"),
}


@dataclass(frozen=True)
class Choice:
    """A renderer by its short name, with options; `option` is what its treatments are the values of."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def option(self) -> str:
        return TREATMENTS.get(self.name, ("", ()))[0]

    @property
    def treatments(self) -> tuple[str, ...]:
        listed = TREATMENTS.get(self.name, ("", ()))[1]
        if isinstance(listed, str):
            module, name = listed.split(".")
            listed = getattr(import_module(f"tidr.renderers.{module}"), name)
        return tuple(listed)

    @property
    def begun(self) -> int:
        """The treatment that is the renderer's own."""
        own = self.options.get(self.option) or self._defaults().get(self.option)
        return self.treatments.index(own) if own in self.treatments else 0

    def made(self, treatment: int, channel: str) -> Renderer:
        """The renderer, which draws `channel` and nothing that it does not need.

        Raises:
            SceneError: options that do not suit each other.
        """
        options: dict[str, Any] = dict(self.options)
        if self.treatments:
            options[self.option] = self.treatments[treatment]
        if "channels" in self._defaults():
            options["channels"] = (channel,) if channel in ("rgb", "alpha") else ()
        return renderer_type(self.name)(**options)

    def _defaults(self) -> dict[str, Any]:
        kind = renderer_type(self.name)
        return {each.name: each.default for each in fields(kind)} if hasattr(kind, "__dataclass_fields__") else {}


def choices(scene: Scene, first: str = "", options: Mapping[str, object] | None = None) -> list[Choice]:
    """Every renderer; first the one named, or the one that `options` (a renderer's table) tells, or what suits.

    Raises:
        SceneError: no such renderer.
    """
    table = {key: tuple(value) if isinstance(value, list) else value for key, value in (options or {}).items()}
    kind = str(table.pop("type", "auto"))
    kind = kind if kind != "auto" else _suited(scene)
    begin = kind if first in ("", "auto") else first
    renderer_type(begin)
    made = [Choice(name, table if name == kind else {}) for name in known_renderers()]
    return sorted(made, key=lambda each: each.name != begin)


def _suited(scene: Scene) -> str:
    try:
        return suited(scene)
    except SceneError:  # several kinds that no one renderer draws: begin with any of them
        return "raster"
