"""What a fit is asked to do: the frozen dataclasses that the scene file's [fit] table, the CLI and the library fill."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ..errors import SceneError
from ..parameter import nearest

OPTIMIZERS = ("adam", "sgd", "uniform_adam", "vector_adam", "large_steps")
SCHEDULES = ("constant", "exponential", "cosine", "warmup")
STARTS = ("sphere", "box", "even")
BACKGROUNDS = ("film", "random")
LARGEST_RADIANCE, LARGEST_SIDE = 1e6, 65536
PIXEL_LOSSES = ("mse", "l1", "charbonnier", "relative_l2")
MESH_LOSSES = ("laplacian", "edge_length", "normal_consistency")
IMAGE_LOSSES = (*PIXEL_LOSSES, "dssim", "silhouette", *(f"alpha_{name}" for name in PIXEL_LOSSES))
LOSSES = (*IMAGE_LOSSES, *(f"multi_scale_{name}" for name in IMAGE_LOSSES), *MESH_LOSSES)
RAY_LOSSES = ("ray_mask", "free_space")  # of an implicit surface's rays and the mask
# Of fitted grids, each with the parameters that it is about (none: all).
GRID_LOSSES = {
    "total_variation": (), "sparsity": ("density", "occupancy"), "eikonal": ("sdf",), "field_laplacian": ("sdf",),
    "sign_changes": ("sdf",),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ParameterSettings:
    """How the parameters under one pattern are fitted.

    lr: step length, at the start of the schedule; for the vertices of a mesh that the fit starts anew, in radii of it.
    optimizer: one of OPTIMIZERS; "large_steps" wants a mesh's vertices.
    clamp: (low, high) that every entry is kept to.
    smoothness: lambda of "large_steps": the larger, the stiffer the surface.
    schedule: one of SCHEDULES; over the whole fit lr goes to `final_lr` times lr ("constant" ignores it).
    """

    lr: float
    optimizer: str = "adam"
    clamp: tuple[float, float] | None = None
    smoothness: float = 19.0
    schedule: str = "exponential"
    final_lr: float = 0.1


@dataclass(frozen=True, kw_only=True)
class StartSettings:
    """What a node's mesh is replaced by before the fit, or where the box of its grid or field is put.

    shape: one of STARTS. "box" keeps what the node holds and puts its grid or field where the thing is; "even" fills
    its grid of densities or occupancies with `value`. resolution n: the sphere has 20 n^2 triangles. texture: the grey
    albedo has about texture^2 texels. centre and radius (world units) of sphere and box: found from the masks of the
    views when None.
    """

    shape: str = "sphere"
    resolution: int = 16
    texture: int = 320
    centre: tuple[float, float, float] | None = None
    radius: float | None = None
    value: float = 0.1


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What is fitted to what, with which losses.

    views: path of a transforms.json with pictures; or targets: {camera name: picture path}. Paths are as resolved by
    the loader. hold_out: every k-th view is kept out of the fit for the report (0: none).
    parameters: {glob pattern of dotted paths: how}; the first pattern that matches a path counts.
    losses: {name of LOSSES, RAY_LOSSES or GRID_LOSSES: weight}; "alpha_" compares masks in place of colours,
    "multi_scale_" a pyramid of pictures. One of GRID_LOSSES is about all fitted grids that it suits, or about those
    whose path matches the pattern behind a colon, as in "total_variation:smoke.density".
    renderer: {"type": registered name, ...its options}. steps, views_per_step, seed: the loop.
    rays_per_step: so many random pixels of all views each step, in place of whole views (0: whole views).
    background: what stands behind pictures with alpha and behind the scene: "film" (the film's), a linear RGB, or
    "random", another colour each step, which tells what is empty from what has the background's colour.
    grow: {node: steps at which the resolution of its grid doubles}; it begins so many times halved.
    resolution: (width, height) that all pictures are resized to by area; as they are when None.
    save_every: steps between checkpoints; save_seconds: also after so many seconds.
    patience: stop early when the smoothed loss has not improved by `tolerance` (relative) for so many steps (0: never).
    """

    views: str | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, StartSettings | str] = field(default_factory=dict)
    parameters: Mapping[str, ParameterSettings] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=lambda: {"mse": 1.0})
    renderer: Mapping[str, object] = field(default_factory=lambda: {"type": "raster", "edges": "antialias"})
    steps: int = 500
    views_per_step: int = 4
    rays_per_step: int = 0
    background: str | tuple[float, float, float] = "film"
    resolution: tuple[int, int] | None = None
    grow: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seed: int = 0
    hold_out: int = 0
    save_every: int = 100
    save_seconds: float = 30.0
    patience: int = 0
    tolerance: float = 1e-3


def checked(settings: FitSettings) -> FitSettings:
    """The same settings, after every value was looked at.

    Raises:
        SceneError: a value out of range or an unknown name, under its key ("fit.steps").
    """
    if bool(settings.views) == bool(settings.targets):
        raise SceneError("fit", "needs views or targets, one of them", 'write views = "transforms.json"')
    for name in ("steps", "views_per_step", "save_every"):
        if getattr(settings, name) < 1:
            raise SceneError(f"fit.{name}", f"is {getattr(settings, name)}", "take 1 or more")
    for name in ("seed", "hold_out", "rays_per_step", "patience", "tolerance", "save_seconds"):
        if getattr(settings, name) < 0:
            raise SceneError(f"fit.{name}", f"is {getattr(settings, name)}", "take 0 or more")
    _check_pictures(settings)
    if not settings.parameters:
        raise SceneError("fit.parameters", "is empty", 'write parameters = { "duck.vertices" = { lr = 1e-2 } }')
    if not settings.losses:
        raise SceneError("fit.losses", "is empty", "write losses = { mse = 1.0 }")
    for name in settings.losses:
        check_loss("fit.losses", name)
    for pattern, one in settings.parameters.items():
        _check_parameter(f"fit.parameters.{pattern}", one)
    for node, start in settings.start.items():
        _check_start(f"fit.start.{node}", start)
    return settings


def start_of(value: StartSettings | str) -> StartSettings:
    """The settings that a short name ("sphere") stands for."""
    return StartSettings(shape=value) if isinstance(value, str) else value


def names(kind: type) -> list[str]:
    """The keys of one of the settings, for messages."""
    return [item.name for item in fields(kind)]


def _check_pictures(settings: FitSettings) -> None:
    background, resolution = settings.background, settings.resolution
    if isinstance(background, str):
        _known("fit.background", background, BACKGROUNDS)
    elif not all(0 <= value <= LARGEST_RADIANCE for value in background):
        raise SceneError("fit.background", f"is {list(background)}", "give linear RGB of 0 or more")
    if resolution is not None and not all(1 <= size <= LARGEST_SIDE for size in resolution):
        raise SceneError("fit.resolution", f"is {list(resolution)}", f"give width and height of 1 to {LARGEST_SIDE}")


def check_loss(where: str, name: str) -> None:
    """Raise SceneError where this is no name of a loss, or a pattern follows one that is about no grid."""
    plain, colon, _ = name.partition(":")
    _known(where, plain, (*LOSSES, *RAY_LOSSES, *GRID_LOSSES))
    if colon and plain not in GRID_LOSSES:
        raise SceneError(where, f"{plain} is about no grid, so no pattern can follow: {name!r}", f"write {plain!r}")


def _known(where: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise SceneError(where, f"unknown name {name!r}", nearest(name, known))


def _check_parameter(where: str, one: ParameterSettings) -> None:
    _known(f"{where}.optimizer", one.optimizer, OPTIMIZERS)
    _known(f"{where}.schedule", one.schedule, SCHEDULES)
    if not one.lr > 0:
        raise SceneError(f"{where}.lr", f"is {one.lr}", "take a number above 0")
    if one.clamp is not None and not one.clamp[0] < one.clamp[1]:
        raise SceneError(f"{where}.clamp", f"is {list(one.clamp)}", "give [low, high] with low < high")
    if not one.smoothness >= 0:
        raise SceneError(f"{where}.smoothness", f"is {one.smoothness}", "take 0 or more")
    if not 0 < one.final_lr <= 1:
        raise SceneError(f"{where}.final_lr", f"is {one.final_lr}", "take a share of lr in (0, 1]")


def _check_start(where: str, value: StartSettings | str) -> None:
    start = start_of(value)
    _known(where, start.shape, STARTS)
    if not 2 <= start.resolution <= 256:
        raise SceneError(f"{where}.resolution", f"is {start.resolution}", "take 2 to 256")
    if not 1 <= start.texture <= 8192:
        raise SceneError(f"{where}.texture", f"is {start.texture}", "take 1 to 8192")
    if start.radius is not None and not start.radius > 0:
        raise SceneError(f"{where}.radius", f"is {start.radius}", "take a length above 0")
    if not 0 <= start.value < math.inf:
        raise SceneError(f"{where}.value", f"is {start.value}", "take 0 or more")
