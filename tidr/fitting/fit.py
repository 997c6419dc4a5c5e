"""`fit`: from pictures to the scene that made them."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from tidr.files.guard import DEFAULT
from tidr.files.image import read_image
from tidr.renderers.rays import RayRenderer
from tidr.renderers.renderer import FOLLOW_LIGHT, Renderer, renderer_type
from tidr.scene.camera import Camera
from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Node, Scene
from tidr.scene.mesh import Mesh

from ..errors import SceneError
from ..parameter import Parameters, nearest
from . import checkpoint
from .bounded import bounds_of, by_chance
from .density_control import DensityControl
from .growth import Growth
from .loop import Loop, Plan, Scheduled, Watcher, newest
from .moves import optimizers_of
from .objective import Objective, fitted_grids
from .optimizers import Adam, Optimizer
from .report import SHOWN, RunFolder, measure, set_aside
from .settings import FitSettings, ParameterSettings, checked, start_of
from .start import begin
from .start_box import begin_box, begin_even
from .step import Crew, jittered
from .truth import how_far, known
from .views import Views, load_views


@dataclass(frozen=True)
class FitResult:
    """What a fit came to.

    losses [steps, columns]: what loss.csv holds; columns: their names. metrics: PSNR and mask IoU of the views kept out
    of the fit, or of those fitted where none was. output: the run folder. skipped: steps whose gradient was not finite.
    """

    scene: Scene
    steps: int
    losses: np.ndarray
    columns: tuple[str, ...]
    metrics: dict
    output: Path | None
    stopped_early: bool
    skipped: int
    seconds: float

    @property
    def loss(self) -> float:
        """Loss of the last step."""
        return float(self.losses[-1, 1]) if len(self.losses) else float("nan")


def fit(
    scene: Scene,
    views: Views | str | Path | Sequence[tuple[str | Camera, object]],
    params: Parameters | str | Iterable[str],
    losses: Mapping[str, float] | Iterable = ("mse",),
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    steps: int = 500,
    output: str | Path | None = None,
    *,
    views_per_step: int = 4,
    rays_per_step: int = 0,
    renderer: str | Renderer = "auto",
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
    save_every: int = 100,
    watcher: Watcher | None = None,
) -> FitResult:
    """Change parameters of a scene until it looks like the views. The scene is changed in place.

    Args:
        views: `Views`, a transforms.json, or pairs of (camera or its name, picture); a picture is linear RGB
            [H, W, 3 or 4] with straight alpha, or a file.
        params: of `scene.parameters(...)`, or patterns of their paths.
        losses: names, functions of (image, target), or (either, weight); or {name: weight}. See `settings.LOSSES`.
        optimizer: one, or several that step together; Adam with lr 1e-2 when None. Its learning rate stays as it is.
        rays_per_step: random pixels of all views that each step takes in place of whole views (0: whole views).
        output: folder for loss.csv, checkpoints, pictures and the fitted scene; nothing is written when None.
        resume: go on from the newest checkpoint in `output`; `force` even if it is about another scene.

    Raises:
        SceneError, FileError: views, parameters, losses or checkpoint that do not fit the scene.
        FitError: gradients that stay infinite or NaN, or a parameter that no view depends on.
    """
    views = views if isinstance(views, Views) else _views(scene, views)
    if not isinstance(params, Parameters):
        params = scene.parameters(*([params] if isinstance(params, str) else params))
    objective = Objective(losses, dict.fromkeys(_moved(scene, params), 1.0), fitted_grids(scene, params))
    chosen = [Adam(params, lr=1e-2)] if optimizer is None else optimizer
    chosen = [chosen] if not isinstance(chosen, Sequence) else chosen
    plan = Plan(
        scene=scene,
        views=views,
        params=params,
        objective=objective,
        optimizers=[Scheduled(one, one.lr) for one in chosen],
        renderer=_renderer(scene, {"type": renderer}, objective) if isinstance(renderer, str) else renderer,
        steps=steps,
        horizon=steps,
        views_per_step=views_per_step,
        rays_per_step=rays_per_step,
        blind=_blind(scene),
        seed=seed,
        save_every=save_every,
    )
    about = {"losses": objective.names, "optimizers": [type(one).__name__ for one in chosen], "seed": seed}
    plan.scene_hash = _scene_hash(plan, about | {"views_per_step": views_per_step, "rays_per_step": rays_per_step})
    return _run(plan, None, output, resume=resume, force=force, watcher=watcher)


def fit_from_settings(
    scene: Scene,
    settings: FitSettings | None = None,
    output: str | Path | None = None,
    *,
    steps: int | None = None,
    resume: bool = False,
    force: bool = False,
    watcher: Watcher | None = None,
    crew: Crew | None = None,
) -> FitResult:
    """Fit a scene as its [fit] table (or `settings`) says; see `fit`.

    Args:
        steps: where to stop; the settings' steps when None. Schedules keep to the settings' steps, so that 50 steps and
            50 more after a resume are the first 100 of the same fit.
        crew: who works out each step's views (`workers.Workers`); this process alone when None.

    Raises:
        SceneError: the scene has no [fit] table, or one that does not fit it.
    """
    truth = known(scene, (settings or scene.fit or FitSettings()).truth)  # before the fit begins elsewhere
    plan, held = planned(scene, settings, steps)
    plan.crew = crew
    return _run(plan, held, output, resume=resume, force=force, watcher=watcher, truth=truth)


def planned(scene: Scene, settings: FitSettings | None = None, steps: int | None = None) -> tuple[Plan, Views | None]:
    """What `fit_from_settings` does, before it does it, and the views kept out of it; the scene is made ready."""
    settings = settings or scene.fit
    if settings is None:
        raise SceneError("fit", "the scene has no [fit] table", "add one, or call tidr.fit(scene, views, ...)")
    checked(settings)
    if steps is not None and steps < 1:
        raise SceneError("steps", f"is {steps}", "take 1 or more")
    views, held = load_views(scene, settings)
    units = _begin(scene, settings, views)
    growth = Growth(scene, settings.grow) if settings.grow else None
    params = scene.parameters(*settings.parameters)
    moved = {node: units.get(node, 1.0) for node in _moved(scene, params)}
    objective = Objective(settings.losses, moved, fitted_grids(scene, params))
    chosen = (settings.densify, views.cameras, settings.seed, settings.views_per_step)
    density = DensityControl(scene, *chosen) if settings.densify else None
    renderer = _renderer(scene, settings.renderer, objective)
    plan = Plan(
        scene=scene,
        views=views,
        params=params,
        objective=objective,
        optimizers=optimizers_of(settings.parameters, params, moved, density.units() if density else {}),
        renderer=renderer,
        steps=steps or settings.steps,
        horizon=settings.steps,
        views_per_step=settings.views_per_step,
        rays_per_step=settings.rays_per_step,
        random_background=settings.background == "random",
        growth=growth,
        density=density,
        bounds=bounds_of(settings.parameters, params),
        anneal=_annealed(renderer, settings.anneal),
        sharpen=settings.sharpen,
        blind=_blind(scene),
        seed=settings.seed,
        save_every=settings.save_every,
        save_seconds=settings.save_seconds,
        patience=settings.patience,
        tolerance=settings.tolerance,
    )
    ignored = ("views", "targets", "depths", "truth", "steps", "save_every", "save_seconds", "patience", "tolerance")
    about = {key: value for key, value in asdict(settings).items() if key not in ignored}
    plan.scene_hash = _scene_hash(plan, about)
    return plan, held


def _run(
    plan: Plan, held: Views | None, output: str | Path | None, *, resume: bool, force: bool, watcher: Watcher | None,
    truth: Mapping[str, Sequence[float]] | None = None,
) -> FitResult:  # fmt: skip
    """Pictures of before, the loop, and the report."""
    before = how_far(plan.scene, truth or {})
    if plan.steps < 1 or plan.views_per_step < 1:
        raise SceneError("fit", f"{plan.steps} steps of {plan.views_per_step} views", "take 1 or more of each")
    if plan.rays_per_step:
        _refuse_whole_views(plan)
    if plan.sharpen and any(side % 2 ** len(plan.sharpen) for side in plan.views.size):
        height, width = plan.views.size
        what = f"halves pictures of {width} x {height} pixels {len(plan.sharpen)} times"
        raise SceneError("fit.sharpen", what, "give fewer steps, or another fit.resolution")
    if plan.scene.environment is not None and plan.views.hides_environment:
        _refuse_darkness(plan)
    begun, watcher = time.monotonic(), watcher or Watcher()
    if resume and output is None:
        raise SceneError("resume", "there is no run folder", "give output")
    saved = newest(Path(output), watcher) if resume and output is not None else None
    if output is not None and saved is None and (other := set_aside(Path(output))):
        watcher.say(f"{output} held another run, which is now {other.name}")
    folder = RunFolder(output) if output is not None else None
    loop = Loop(plan, folder, watcher)
    if saved is not None:
        loop.restore(saved, force)
    looked = held or plan.views
    if folder is not None:
        checkpoint.sweep(folder.path)
        if saved is None:
            shown = jittered(plan.drawer(0), None)
            folder.pictures("before", measure(plan.scene, shown, looked, plan.views_per_step)[1][:SHOWN])
            folder.pictures("target", looked.pictures(range(min(SHOWN, len(looked)))))
    loop.run()
    loop.take_best()
    shown = jittered(plan.drawer(loop.step), None)
    metrics, drawn = measure(plan.scene, shown, looked, plan.views_per_step)
    metrics |= {"views_are": "kept out of the fit" if held else "those fitted", "steps": loop.step}
    metrics |= {"seconds": loop.rows[-1][-1], "skipped_steps": loop.skipped}
    metrics |= {"gaussians": plan.density.counts()} if plan.density is not None else {}
    if plan.bounds:
        metrics["bounds"] = by_chance(plan, loop.step)
    if truth:
        after = how_far(plan.scene, truth)
        metrics["truth"] = {path: one | {"before": before[path]["error"]} for path, one in after.items()}
    if folder is not None:
        folder.pictures("after", drawn[:SHOWN])
        folder.finish(plan.scene, shown, looked, metrics)
    columns, losses = tuple(loop.columns), np.array(loop.rows).reshape(-1, len(loop.columns))
    path = folder.path if folder is not None else None
    seconds = time.monotonic() - begun
    return FitResult(plan.scene, loop.step, losses, columns, metrics, path, loop.early, loop.skipped, seconds)


def _refuse_whole_views(plan: Plan) -> None:
    """Say what cannot be done with single pixels."""
    if not isinstance(plan.renderer, RayRenderer):
        kind, mend = type(plan.renderer).__name__, "set it to 0, or take a renderer that follows rays"
        raise SceneError("fit.rays_per_step", f"{kind} draws whole views only", mend)
    for term in plan.objective.terms:
        if term.needs_views:
            raise SceneError(f"fit.losses.{term.name}", "looks at neighbouring pixels", "set fit.rays_per_step = 0")


def _refuse_darkness(plan: Plan) -> None:
    """An environment that does not stand behind the pictures is left out; what it lights would go dark with it."""
    if isinstance(plan.renderer, tuple(renderer_type(name) for name in FOLLOW_LIGHT)):
        what = "pictures with alpha, or another background, leave out the environment light, by which the scene is lit"
        raise SceneError("fit.background", what, 'take pictures without alpha and "film" here, or other lights')


def _views(scene: Scene, views: str | Path | Sequence[tuple[str | Camera, object]]) -> Views:
    if isinstance(views, str | Path):
        return load_views(scene, FitSettings(views=str(views)))[0]
    cameras, pictures, names = [], [], []
    for camera, picture in views:
        cameras.append(camera if isinstance(camera, Camera) else scene.cameras[camera])
        pictures.append(read_image(picture, DEFAULT) if isinstance(picture, str | Path) else np.asarray(picture, float))
        names.append(camera if isinstance(camera, str) else f"view_{len(names):03d}")
    return Views(cameras, pictures, scene.film.background, names)


def _begin(scene: Scene, settings: FitSettings, views: Views) -> dict[Node, float]:
    """Replace what the fit starts anew; the radius (object space) of each such node."""
    units = {}
    for name, value in settings.start.items():
        start = start_of(value)
        if start.shape == "box":
            masks = views.masks(range(len(views))) if views.has_alpha else None
            begin_box(scene, name, start, views.cameras, masks)
            continue
        if start.shape == "even":
            begin_even(scene, name, start)
            continue
        if not views.has_alpha and (start.centre is None or start.radius is None):
            where = f"fit.start.{name}"
            mend = "give PNG pictures with alpha 0 beside it; centre and radius where a loss needs no masks"
            raise SceneError(where, "the pictures have no alpha to tell where the thing is", mend)
        begin(scene, name, start, views.cameras, views.masks(range(len(views))))
        low, high = scene.nodes[name].mesh.bounds()
        units[scene.nodes[name]] = float((high - low).max()) / 2
    _set_starts(scene, settings.parameters)
    return units


def _set_starts(scene: Scene, settings: Mapping[str, ParameterSettings]) -> None:
    """Give parameters the values that the fit begins from."""
    for pattern, how in settings.items():
        for path, parameter in scene.parameters(pattern).items() if how.start is not None else ():
            values, size = np.asarray(how.start, np.float64), parameter.rows * parameter.channels
            if values.size not in (1, parameter.channels, size) or not np.isfinite(values).all():
                what = f"has {values.size} numbers, {path} has {size} in {parameter.channels} channels"
                raise SceneError(f"fit.parameters.{pattern}.start", what, "give 1 number, one per channel, or all")
            parameter.set(np.resize(values, (parameter.rows, parameter.channels)).reshape(parameter.shape))


def _moved(scene: Scene, params: Parameters) -> list[Node]:
    """The nodes whose mesh the parameters move; a shared mesh counts once."""
    wanted, seen = {id(p) for p in params.values()}, set()
    nodes = []
    for node in scene.nodes.values():
        if isinstance(node.geometry, Mesh) and id(node.vertices) in wanted - seen:
            seen.add(id(node.vertices))
            nodes.append(node)
    return nodes


def _blind(scene: Scene) -> frozenset[str]:
    """Paths of what may be without gradient at first: round Gaussians can turn, and harmonics come into play later."""
    clouds = [node.geometry for node in scene.nodes.values() if isinstance(node.geometry, Gaussians)]
    quiet = {id(item) for cloud in clouds for item in (cloud.rotations, cloud.sh_rest) if item is not None}
    return frozenset(path for path, item in scene.parameters().items() if id(item) in quiet)


def _renderer(scene: Scene, options: Mapping[str, object], objective: Objective) -> Renderer:
    """A renderer from its table; it draws no colours where no loss looks at them."""
    rest = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items() if key != "type"}
    kind = renderer_type(str(options["type"]), scene)
    if "channels" in getattr(kind, "__dataclass_fields__", {}):
        rest.setdefault("channels", objective.channels)
    return kind(**rest)


def _annealed(renderer: Renderer, anneal: Mapping[str, float]) -> Mapping[str, float]:
    """The same, after each was looked at as an option of the renderer."""
    numbers = {name for name, held in vars(renderer).items() if isinstance(held, float)}
    hints = {item.name: str(item.type) for item in fields(cast(Any, renderer))} if is_dataclass(renderer) else {}
    blank = {name for name, held in vars(renderer).items() if held is None and "float" in hints.get(name, "")}
    for name, end in anneal.items():
        where = f"fit.anneal.{name}"
        if name in blank:
            mend = f"write {name} into fit.renderer as well"
            raise SceneError(where, "has nothing to begin from, since its default is the method's own", mend)
        if name not in numbers:
            kind = type(renderer).__name__
            raise SceneError(where, f"is no number among the options of {kind}", nearest(name, numbers))
        try:
            replace(cast(Any, renderer), **{name: end})
        except SceneError as error:
            raise SceneError(where, error.what, error.mend) from error
    return anneal


def _scene_hash(plan: Plan, about: Mapping[str, object]) -> str:
    """A digest of the scene as the fit begins, of its views, and of what is asked for."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    digest.update(plan.views.digest.encode())
    for camera in plan.views.cameras:
        for parameter in camera.parameters().values():
            digest.update(parameter.numpy().tobytes())
    digest.update(" ".join(plan.params).encode())
    for path, parameter in plan.scene.parameters().items():
        digest.update(f"{path} {parameter.shape}".encode() + parameter.numpy().tobytes())
    for node in plan.scene.nodes.values():
        if isinstance(node.geometry, Mesh):
            digest.update(node.faces.tobytes())
    return digest.hexdigest()
