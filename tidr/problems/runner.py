"""Toy problems: small fits with a known answer, run with every edge treatment (methods F11).

A problem is data: it builds a `Task` for a treatment, and is solved when the task's error is at most its threshold
within its iterations.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError, TidrError
from tidr.fitting.losses import mse
from tidr.fitting.optimizers import Optimizers
from tidr.fitting.tape import Loss, Tape
from tidr.parameter import Parameters, nearest
from tidr.renderers.raster import EDGES, Rasterizer
from tidr.renderers.renderer import Image, Renderer, render
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

FAMILIES = (
    "shapes", "appearance", "pose", "far", "points", "voxels", "volumes", "topology", "depth", "lens", "proxy",
)  # fmt: skip
SIZE = 64
HOLD, STUCK = 3, 10  # looks at the error: solved when it stays below the threshold, given up when it never moves


@dataclass(frozen=True, kw_only=True)
class Softness:
    """Coarse to fine for the treatments that blur: sigma and gamma go from first to last value, geometrically.

    iterations: after so many they stay. faces_per_pixel: triangles that "soft" keeps in each pixel.
    """

    sigma: tuple[float, float]
    gamma: tuple[float, float] = (1e-4, 1e-4)
    iterations: int = 100
    faces_per_pixel: int = 16

    def at(self, iteration: int, treatment: str = "soft") -> dict[str, Any]:
        """The renderer's options in an iteration."""
        part = min(iteration / self.iterations, 1.0)
        sigma, gamma = (first * (last / first) ** part for first, last in (self.sigma, self.gamma))
        if treatment == "dibr":
            return {"sigma": sigma, "blur_radius": 9 * sigma}
        soft = {"sigma": sigma, "gamma": gamma, "faces_per_pixel": self.faces_per_pixel}
        return soft if treatment == "soft" else {}


@dataclass(kw_only=True)
class Task:
    """One problem, built: what is drawn, what it should look like, and how far off the parameters are.

    targets: channel name -> [B, H, W, C], one picture a camera. loss: of (image, targets), when the mean squared
    difference of every target's channel will not do. error: of the scene's present state. views_per_step: cameras drawn
    in one iteration, in turn. options: of the rasterizer, whatever the treatment.
    """

    scene: Scene
    cameras: Sequence[Camera]
    targets: Mapping[str, np.ndarray]
    optimizer: Optimizers
    error: Callable[[], float]
    softness: Softness = Softness(sigma=(1e-4, 1e-4))
    loss: Callable[[Image, Mapping[str, Array]], Sequence[tuple[Loss, float]]] | None = None
    views_per_step: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is asked: `build()` makes the task; it is solved when `error()` (`measure` says in what) is <= threshold.

    known: treatment -> why this method is bound to fail here; such a failure is reported as known, not hidden.
    renderers: treatment -> renderer, where the treatments are not those of edges. shown: path and entry of the number
    by which gradient pictures are.
    """

    name: str
    title: str
    measure: str
    threshold: float
    build: Callable[[], Task]
    known: Mapping[str, str] = field(default_factory=dict)
    max_iterations: int = 500
    check_every: int = 5
    renderers: Mapping[str, Renderer] = field(default_factory=dict)
    shown: tuple[str, int] | None = None

    @property
    def treatments(self) -> tuple[str, ...]:
        """The names of what this problem can be solved with."""
        return tuple(self.renderers) or EDGES


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one problem went with one treatment; verdict is "solved", "known" (failed as the method must) or "failed".

    seconds: all of it, compilation too. device_mib: the most device memory that it held at a time. picture: the file
    of its gradient picture.
    """

    problem: str
    title: str
    treatment: str
    verdict: str
    iterations: int
    error: float
    threshold: float
    measure: str
    seconds: float
    device_mib: float
    note: str
    picture: str = ""

    @property
    def solved(self) -> bool:
        return self.verdict == "solved"

    def as_dict(self) -> dict:
        """Plain data for JSON; an error that is not finite becomes None."""
        return asdict(self) | {"solved": self.solved, "error": self.error if math.isfinite(self.error) else None}


def problems(names: Iterable[str] | None = None) -> list[Problem]:
    """The problems of these names ("T3" means all that begin "T3-"), or all.

    Raises:
        SceneError: no such problem.
    """
    every = [problem for family in FAMILIES for problem in import_module(f"{__package__}.{family}").PROBLEMS]
    every.sort(key=lambda problem: (int(problem.name[1:].split("-")[0]), problem.name))
    if names is None:
        return every
    chosen = []
    for name in names:
        found = [p for p in every if p.name.lower() == name.lower() or p.name.lower().startswith(name.lower() + "-")]
        if not found:
            raise SceneError(f"problem {name}", "is unknown", nearest(name, [p.name for p in every]))
        chosen += [problem for problem in found if problem not in chosen]
    return chosen


def solve(problem: Problem, treatment: str) -> Result:
    """Run one problem with one of its treatments."""
    began = time.perf_counter()
    buffer.most_bytes(restart=True)
    task = problem.build()
    wanted = Parameters({str(number): parameter for number, parameter in enumerate(task.optimizer.parameters)})
    batches = list(_batches(task))
    errors, iteration, note = [task.error()], 0, ""
    try:
        while iteration < problem.max_iterations and not _settled(errors, problem.threshold):
            cameras, targets = batches[iteration % len(batches)]
            with Tape(wanted) as tape:
                image = render(task.scene, cameras, drawer(problem, task, treatment, iteration))
                for loss, weight in _losses(task, image, targets):
                    tape.add(loss, weight)
            task.optimizer.step()
            iteration += 1
            if iteration % problem.check_every == 0:
                errors.append(task.error())
    except TidrError as fault:
        errors, note = [math.nan], str(fault)
    solved = len(errors) >= HOLD and max(errors[-HOLD:]) <= problem.threshold
    verdict = "solved" if solved else "known" if treatment in problem.known else "failed"
    return Result(
        problem=problem.name,
        title=problem.title,
        treatment=treatment,
        verdict=verdict,
        iterations=iteration,
        error=float(errors[-1]),
        threshold=problem.threshold,
        measure=problem.measure,
        seconds=time.perf_counter() - began,
        device_mib=buffer.most_bytes() / 2**20,
        note=note or ("" if solved else problem.known.get(treatment, "")),
    )


def _settled(errors: Sequence[float], threshold: float) -> bool:
    """Whether the error stays below the threshold, or never moves at all."""
    still = len(errors) > STUCK and len(set(errors[-STUCK:])) == 1
    return still or (len(errors) >= HOLD and max(errors[-HOLD:]) <= threshold)


def drawer(problem: Problem, task: Task, treatment: str, iteration: int = 0) -> Renderer:
    """What draws in an iteration."""
    if problem.renderers:
        return problem.renderers[treatment]
    options = {**task.options, **task.softness.at(iteration, treatment)}
    return Rasterizer(edges=treatment, channels=tuple(task.targets), **options)


def _losses(task: Task, image: Image, targets: Mapping[str, Array]) -> Sequence[tuple[Loss, float]]:
    if task.loss is not None:
        return task.loss(image, targets)
    return [(mse(image.channel(name), target), 1.0) for name, target in targets.items()]


def _batches(task: Task) -> Iterable[tuple[list[Camera], dict[str, Array]]]:
    """Cameras and their targets on the device, `views_per_step` at a time; strided: a batch looks from all around."""
    count = len(task.cameras)
    groups = max(count // (task.views_per_step or count), 1)
    for first in range(groups):
        targets = {name: Array.of(target[first::groups], needs_grad=False) for name, target in task.targets.items()}
        yield list(task.cameras[first::groups]), targets
