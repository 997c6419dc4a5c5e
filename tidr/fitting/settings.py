"""What a fit is asked to do: the frozen dataclasses that the scene file's [fit] table, the CLI and the library fill."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ..errors import SceneError
from ..parameter import nearest
from .own_losses import OWN

OPTIMIZERS = ("adam", "sgd", "uniform_adam", "vector_adam", "large_steps", "lbfgs", "levenberg_marquardt", "dogleg")
SEARCHES = OPTIMIZERS[-3:]  # they move all parameters that name them together
SCHEDULES = ("constant", "exponential", "cosine", "warmup")
STARTS = ("sphere", "plane", "box", "even")
BACKGROUNDS = ("film", "random")
DENSITIES = ("adaptive", "mcmc")
LARGEST_RADIANCE, LARGEST_SIDE = 1e6, 65536
PIXEL_LOSSES = ("mse", "l1", "charbonnier", "relative_l2")
MESH_LOSSES = ("laplacian", "edge_length", "normal_consistency", "flatten")
IMAGE_LOSSES = (
    *PIXEL_LOSSES, "dssim", "silhouette", *(f"alpha_{name}" for name in PIXEL_LOSSES),
    *(f"coarse_{name}" for name in PIXEL_LOSSES),
)  # fmt: skip
DEPTH_LOSSES = tuple(f"depth_{name}" for name in PIXEL_LOSSES)  # where both the target and the scene have a depth
PICTURE_LOSSES = ("perceptual", "image_variation")  # of whole pictures; the latter of what is drawn alone
LOSSES = (
    *IMAGE_LOSSES,
    *PICTURE_LOSSES,
    *(f"multi_scale_{name}" for name in IMAGE_LOSSES),
    *DEPTH_LOSSES,
    *MESH_LOSSES,
)
CLOUD_LOSSES = ("gaussian_opacity", "gaussian_scale")
POINT_LOSSES = ("projection", "repulsion")  # of fitted point clouds with normals
RAY_LOSSES = ("ray_mask", "free_space")  # of an implicit surface's rays and the mask
VOLUME_LOSSES = ("spread",)  # of a field's samples along each ray
# Of fitted grids, each with the parameters that it is about (none: all).
GRID_LOSSES = {
    "total_variation": (), "sparsity": ("density", "occupancy"), "eikonal": ("sdf",), "field_laplacian": ("sdf",),
    "sign_changes": ("sdf",),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ParameterSettings:
    """How the parameters under one pattern are fitted.

    lr: step length, at the start of the schedule; for the vertices of a mesh that the fit starts anew, in radii of it.
    optimizer: one of OPTIMIZERS; "large_steps" wants a mesh's vertices. SEARCHES look at several places in a step, move
        all parameters that name them as one vector and keep to one lr, which scales what they try first: 1 is their own
        step. "levenberg_marquardt" and "dogleg" are for few parameters and losses mse and alpha_mse; give all views to
        every step.
    clamp: (low, high) that every entry is kept to.
    channels: numbers of the entries of each row that move, as (1,) for the y of vertices; None: all.
    bound: every entry stays so near to what it begins from; the fit then tells what random steps of this size do to the
        loss, as attacks on classifiers are judged (a loss of negative weight grows). None: no bound.
    start: what the fit begins from in place of the scene's value: one number for all entries, one for each channel, or
        all of them in order.
    smoothness: lambda of "large_steps": the larger, the stiffer the surface.
    schedule: one of SCHEDULES; over the whole fit lr goes to `final_lr` times lr ("constant" ignores it).
    """

    lr: float
    optimizer: str = "adam"
    clamp: tuple[float, float] | None = None
    channels: tuple[int, ...] | None = None
    bound: float | None = None
    start: tuple[float, ...] | None = None
    smoothness: float = 19.0
    schedule: str = "exponential"
    final_lr: float = 0.1


@dataclass(frozen=True, kw_only=True)
class StartSettings:
    """What a node's mesh is replaced by before the fit, or where the box of its grid or field is put.

    shape: one of STARTS. "plane" is a square that faces up, of which a fit may move the heights alone. "box" keeps what
    the node holds and puts its grid or field where the thing is; "even" fills its grid of densities or occupancies with
    `value`. resolution n: the sphere has 20 n^2 triangles, the plane 2 n^2. texture: the grey albedo has about
    texture^2 texels. centre and radius (world units; of the plane half a side): found from the masks of the views when
    None.
    """

    shape: str = "sphere"
    resolution: int = 16
    texture: int = 320
    centre: tuple[float, float, float] | None = None
    radius: float | None = None
    value: float = 0.1


@dataclass(frozen=True, kw_only=True)
class DensifySettings:
    """How the Gaussians of a node come and go; steps are counted from 1, and something happens after steps in
    (from_step, until_step] that `every` divides.

    method: "adaptive" (Kerbl et al. 2023): where the mean gradient by the place in the picture (in halves of its
    sides) reaches `gradient_threshold`, a Gaussian smaller than `clone_share` extents is doubled and a larger one split
    in two; those of opacity below `prune_opacity` go, and after the first reset also those larger than `largest_share`
    extents or `largest_radius` pixels; every `reset_every` steps (0: never) no opacity stays above `reset_opacity`.
    "mcmc" (Kheradmand et al. 2024): those of opacity up to `prune_opacity` move to others, drawn by opacity; the count
    grows by `growth` each time; each step moves the means by `noise` times their lr, most where opacity is low. Weigh
    its regularizers with the losses gaussian_opacity and gaussian_scale (0.01 each there).
    max_count: there are never more Gaussians. sh_every: the degree of the harmonics that are drawn rises by 1 every so
    many steps, from 0 (0: all from the start). extent: world units; 1.1 times the distance of the farthest camera from
    their middle when None.
    """

    method: str = "adaptive"
    from_step: int = 500
    until_step: int = 15_000
    every: int = 100
    gradient_threshold: float = 2e-4
    clone_share: float = 0.01
    prune_opacity: float = 0.005
    largest_share: float = 0.1
    largest_radius: float = 20.0
    reset_every: int = 3000
    reset_opacity: float = 0.01
    growth: float = 0.05
    noise: float = 5e5
    max_count: int = 200_000
    sh_every: int = 1000
    extent: float | None = None


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What is fitted to what, with which losses.

    views: path of a transforms.json with pictures; or targets: {camera name: picture path}. Paths are as resolved by
    the loader. depths: {camera of targets: depth picture of the same size}, for losses that begin with "depth_"; the
    levels of a PNG times metres_per_level are the depths along the camera's axis, 0 is not known.
    hold_out: every k-th view is kept out of the fit for the report (0: none).
    parameters: {glob pattern of dotted paths: how}; the first pattern that matches a path counts.
    losses: {name of LOSSES, RAY_LOSSES, VOLUME_LOSSES, CLOUD_LOSSES, POINT_LOSSES or GRID_LOSSES, or one registered by
    `register_loss`: weight}; "alpha_"
    compares masks in place of colours, "coarse_" what the coarse network of a `FrequencyField` sees (NeRF's loss is mse
    plus coarse_mse), "multi_scale_" a pyramid of pictures. One of GRID_LOSSES is about all fitted grids that it suits,
    or about those whose path matches the pattern behind a colon, as in "total_variation:smoke.density". "dssim" is
    (1 - SSIM) / 2, so that (1 - L) l1 + L (1 - SSIM), the loss of 3D Gaussian splatting (L = 0.2), is
    { l1 = 0.8, dssim = 0.4 }.
    truth: {path of a parameter: what it really is, "scene" where the scene says so}; how far the fit ends from it is
        told with the measures.
    renderer: {"type": registered name, ...its options}. steps, views_per_step, seed: the loop.
    anneal: {number among the renderer's options: what it has become at the last step}, moving evenly over all steps.
    rays_per_step: so many random pixels of all views each step, in place of whole views (0: whole views).
    background: what stands behind pictures with alpha and behind the scene: "film" (the film's), a linear RGB, or
    "random", another colour each step, which tells what is empty from what has the background's colour. An environment
    light is what stands behind with "film", as long as no picture has alpha; otherwise the colour takes its place.
    densify: {node with Gaussians: how they come and go}; the lr of its means is then in extents.
    grow: {node: steps at which the resolution of its grid doubles}; it begins so many times halved.
    sharpen: steps at which the resolution of the pictures doubles, drawn and wanted alike; it begins so many times
        halved, which finds from afar what fine pictures only show close by. Their sides must be whole numbers then.
    resolution: (width, height) that all pictures are resized to by area; as they are when None.
    save_every: steps between checkpoints; save_seconds: also after so many seconds.
    patience: stop early when the smoothed loss has not improved by `tolerance` (relative) for so many steps (0: never).
    """

    views: str | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    depths: Mapping[str, str] = field(default_factory=dict)
    metres_per_level: float = 0.001
    truth: Mapping[str, tuple[float, ...] | str] = field(default_factory=dict)
    start: Mapping[str, StartSettings | str] = field(default_factory=dict)
    parameters: Mapping[str, ParameterSettings] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=lambda: {"mse": 1.0})
    renderer: Mapping[str, object] = field(default_factory=lambda: {"type": "raster", "edges": "antialias"})
    anneal: Mapping[str, float] = field(default_factory=dict)
    steps: int = 500
    views_per_step: int = 4
    rays_per_step: int = 0
    background: str | tuple[float, float, float] = "film"
    resolution: tuple[int, int] | None = None
    sharpen: tuple[int, ...] = ()
    grow: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    densify: Mapping[str, DensifySettings | str] = field(default_factory=dict)
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
    for path, value in settings.truth.items():
        if isinstance(value, str):
            _known(f"fit.truth.{path}", value, ("scene",))
    for pattern, one in settings.parameters.items():
        _check_parameter(f"fit.parameters.{pattern}", one)
    for node, start in settings.start.items():
        _check_start(f"fit.start.{node}", start)
    for node, how in settings.densify.items():
        _check_densify(f"fit.densify.{node}", how)
    return settings


def start_of(value: StartSettings | str) -> StartSettings:
    """The settings that a short name ("sphere") stands for."""
    return StartSettings(shape=value) if isinstance(value, str) else value


def densify_of(value: DensifySettings | str) -> DensifySettings:
    """The settings that a method's bare name stands for."""
    return DensifySettings(method=value) if isinstance(value, str) else value


def names(kind: type) -> list[str]:
    """The keys of one of the settings, for messages."""
    return [item.name for item in fields(kind)]


def _check_pictures(settings: FitSettings) -> None:
    if any(low >= high for low, high in itertools.pairwise((0, *settings.sharpen))):
        raise SceneError("fit.sharpen", f"is {list(settings.sharpen)}", "give steps above 0 that rise")
    if settings.sharpen and (settings.rays_per_step or settings.depths):
        what = "rays_per_step" if settings.rays_per_step else "depths"
        raise SceneError("fit.sharpen", f"stands beside fit.{what}", "leave one of them out")
    for name in settings.depths:
        if name not in settings.targets:
            raise SceneError(f"fit.depths.{name}", "has no picture in fit.targets", nearest(name, settings.targets))
    if settings.depths and settings.resolution is not None:
        raise SceneError("fit.resolution", "stands beside fit.depths", "give pictures and depths of one size")
    if not 0 < settings.metres_per_level < math.inf:
        raise SceneError("fit.metres_per_level", f"is {settings.metres_per_level}", "give a number above 0")
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
    _known(where, plain, known_losses())
    if colon and plain not in GRID_LOSSES:
        raise SceneError(where, f"{plain} is about no grid, so no pattern can follow: {name!r}", f"write {plain!r}")


def known_losses() -> tuple[str, ...]:
    """The names of all losses, registered ones included."""
    return (*LOSSES, *RAY_LOSSES, *VOLUME_LOSSES, *CLOUD_LOSSES, *POINT_LOSSES, *GRID_LOSSES, *OWN)


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
    if one.bound is not None and not 0 < one.bound < math.inf:
        raise SceneError(f"{where}.bound", f"is {one.bound}", "take a number above 0")
    if one.bound is not None and one.optimizer in ("large_steps", *SEARCHES):
        raise SceneError(f"{where}.bound", f"stands beside {one.optimizer}, which knows none", 'take "adam"')
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


def _check_densify(where: str, value: DensifySettings | str) -> None:
    how = densify_of(value)
    _known(f"{where}.method", how.method, DENSITIES)
    lowest = {"every": 1, "max_count": 1, "from_step": 0, "until_step": 0, "reset_every": 0, "sh_every": 0}
    for name, least in lowest.items():
        if getattr(how, name) < least:
            raise SceneError(f"{where}.{name}", f"is {getattr(how, name)}", f"take {least} or more")
    for name in ("gradient_threshold", "clone_share", "largest_share", "largest_radius", "extent"):
        number = getattr(how, name)
        if number is not None and not number > 0:
            raise SceneError(f"{where}.{name}", f"is {number}", "take a number above 0")
    for name in ("prune_opacity", "reset_opacity"):
        if not 0 < getattr(how, name) < 1:
            raise SceneError(f"{where}.{name}", f"is {getattr(how, name)}", "take a number between 0 and 1")
    if how.reset_every and not how.reset_opacity > how.prune_opacity:
        what = f"is {how.reset_opacity}, prune_opacity {how.prune_opacity}"
        raise SceneError(f"{where}.reset_opacity", what, "take more than prune_opacity, or all would go")
    for name in ("growth", "noise"):
        if not 0 <= getattr(how, name) < math.inf:
            raise SceneError(f"{where}.{name}", f"is {getattr(how, name)}", "take 0 or more")
