"""The loop of a fit: step by step, skipping what is not finite, saving, and going on from what was saved."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tidr.renderers.renderer import Renderer
from tidr.scene.graph import Scene

from ..errors import FileError, GradientError, SceneError, TidrError
from ..parameter import Parameters
from . import checkpoint
from .bounded import Near
from .density_control import DensityControl
from .growth import Growth
from .interrupts import Interrupts
from .objective import Objective
from .optimizers import Optimizer, finite_gradients
from .report import RunFolder
from .schedules import Constant, EarlyStop
from .searches import Problem, SearchOptimizer
from .step import Crew, CrewError, Sum, gradients_of, residuals_of, summed
from .tape import Tape
from .views import Views

IN_A_ROW, SHARE = 5, 0.01  # skipped steps that end a fit: so many together, or this share of all (at least as many)
WINDOW, RAY_WINDOW = 10, 100  # steps whose mean loss is held against the best; more where seeing all views takes more
WORSE = 1.05  # times the best window's loss: a last one above it gives way to the best


class FitError(TidrError):
    """A fit that cannot go on."""


class Watcher:
    """Hears how a fit goes; this one says nothing. One that holds the fit lets go when `interrupts` caught a signal."""

    interrupts: Interrupts | None = None

    def start(self, done: int, total: int) -> None:
        """The loop begins: `done` steps are behind it."""

    def step(self, step: int, loss: float, psnr: float | None) -> None:
        """Step number `step` (from 1) is done."""

    def say(self, text: str) -> None:
        """A remark for the user."""

    def stop(self) -> None:
        """The loop ended, well or not."""

    def linger(self) -> None:
        """All is done and written."""


@dataclass
class Scheduled:
    """An optimizer with its learning rate over the fit."""

    optimizer: Optimizer
    lr: float
    schedule: Callable[[int, int], float] = field(default_factory=Constant)

    def move(self, step: int, horizon: int, problem: Problem) -> None:
        """One step, without another look at the gradients unless the optimizer searches."""
        self.optimizer.lr = self.lr * self.schedule(step, horizon)
        if isinstance(self.optimizer, SearchOptimizer):
            self.optimizer.search(problem)
        else:
            self.optimizer.advance()


@dataclass(kw_only=True)
class Plan:
    """Everything that a loop needs to know.

    steps: where it ends; horizon: the length that schedules are made for. growth: grids that get finer on the way.
    density: Gaussians that come and go. bounds: what keeps parameters near to where they began. anneal: options of the
    renderer and where they end. sharpen: steps at which the resolution of pictures doubles. blind: paths of parameters
    whose gradient may be 0 in every view at first.
    scene_hash: what a checkpoint must be about. crew: who works out each step's shares; this process alone when None.
    """

    scene: Scene
    views: Views
    params: Parameters
    objective: Objective
    optimizers: list[Scheduled]
    renderer: Renderer
    steps: int
    horizon: int
    views_per_step: int = 4
    rays_per_step: int = 0
    random_background: bool = False
    seed: int = 0
    save_every: int = 100
    save_seconds: float = 30.0
    patience: int = 0
    tolerance: float = 1e-3
    growth: Growth | None = None
    density: DensityControl | None = None
    bounds: Sequence[Near] = ()
    anneal: Mapping[str, float] = field(default_factory=dict)
    sharpen: tuple[int, ...] = ()
    blind: frozenset[str] = frozenset()
    scene_hash: str = ""
    crew: Crew | None = None

    def drawer(self, step: int) -> Any:
        """The renderer of a step."""
        if not self.anneal:
            return self.renderer
        held: Any = self.renderer
        share = min(step / max(self.horizon - 1, 1), 1.0)
        moved = {name: (1 - share) * getattr(held, name) + share * end for name, end in self.anneal.items()}
        return replace(held, **moved)


class Loop:
    """One run of a plan; with a `folder` it is recorded there.

    Raises (in `run`):
        FitError: gradients that stay infinite or NaN, a parameter that became so or that nothing depends on, a folder
            that cannot be written.
        KeyboardInterrupt, SystemExit: as the signal asked, after the step was finished and saved.
    """

    def __init__(self, plan: Plan, folder: RunFolder | None = None, watcher: Watcher | None = None) -> None:
        self.plan, self.folder, self.watcher = plan, folder, watcher or Watcher()
        self.step, self.early = 0, False
        self.columns = ["step", "loss", *plan.objective.names, "seconds"]
        self.rows: list[list[float]] = []
        self.skipped = self.skipped_in_row = 0
        self.best = math.inf
        self.best_values: dict[str, np.ndarray] = {}
        per_epoch = math.ceil(len(plan.views) / min(plan.views_per_step, len(plan.views)))
        self.window = RAY_WINDOW if plan.rays_per_step else max(per_epoch, WINDOW)
        self._calm = EarlyStop(tolerance=plan.tolerance, patience=max(plan.patience // self.window, 1))
        self._trouble = ""
        self._started, self._before = time.monotonic(), 0.0
        self._saved_at = time.monotonic()

    def run(self) -> None:
        """Go on to the last step; saves at the end."""
        self._started = self._saved_at = time.monotonic()
        if self.folder is not None:
            self.folder.begin(self.columns, np.array(self.rows).reshape(-1, len(self.columns)))
        self.watcher.start(self.step, self.plan.steps)
        try:
            with Interrupts() as interrupts:
                self.watcher.interrupts = interrupts
                if self.step == 0:
                    self._save()
                while self.step < self.plan.steps and not self.early:
                    self._advance()
                    if interrupts.caught is not None:
                        self._save()
                        interrupts.raise_caught()
                    if self._is_due():
                        self._save()
                self._save()
        finally:
            self.watcher.stop()
            if self.folder is not None:
                self.folder.close()

    def take_best(self) -> None:
        """Give the parameters the values of the best window where the last one was clearly worse.

        Not where the renderer is annealed: losses of what it drew early say nothing about what it draws at last.
        """
        recent = [row[1] for row in self.rows[-self.window :] if math.isfinite(row[1])]
        if self.best_values and recent and np.mean(recent) > WORSE * self.best:
            for path, value in self.best_values.items():
                self.plan.params[path].set(value)

    def restore(self, saved: checkpoint.Checkpoint, force: bool = False) -> None:
        """Go back to where a checkpoint was made.

        Raises:
            SceneError: it is about another scene, other views or other settings (`force` tries all the same), or its
                arrays do not fit.
        """
        if saved.scene_hash != self.plan.scene_hash and not force:
            what = "the checkpoint is about another scene, other views or other settings"
            raise SceneError("resume", what, "start anew without --resume, or insist with --force")
        self._grow(max(saved.step - 1, 0))
        if self.plan.density is not None:
            arrays = _under(saved.arrays, "parameter/")
            self.plan.density.load_state(_under(saved.arrays, "density/"), arrays, saved.step)
            for one in self.plan.optimizers:
                one.optimizer.begin()
        for path, parameter in self.plan.params.items():
            value = saved.arrays.get(f"parameter/{path}")
            if value is None or value.shape != parameter.shape:
                raise SceneError(path, "the checkpoint has no such parameter of this shape", "start anew")
            parameter.set(value)
        for number, one in enumerate(self.plan.optimizers):
            one.optimizer.load_state(_under(saved.arrays, f"optimizer/{number}/"))
        self._calm.load_state(_under(saved.arrays, "calm/"))
        self.best_values = _under(saved.arrays, "best/")
        self.best = float(saved.arrays["best_loss"])
        self.rows = [list(map(float, row)) for row in saved.arrays["losses"]]
        self.step = saved.step
        self.skipped, self.skipped_in_row = (int(n) for n in saved.arrays["skipped"])
        self._before = self.rows[-1][-1] if self.rows else 0.0

    def _advance(self) -> None:
        """One step of the fit, recorded."""
        self._grow(self.step)
        if self.plan.density is not None:
            self.plan.density.reach(self.step)
        if self.step == 0:
            self._refuse_blind()
            if self.plan.density is not None:
                self.plan.density.forget()
        tape = self._gradients(self.step)
        if tape is not None and self._move(tape):
            self._densify()
        else:
            tape = None
        self._record(tape)
        self.step += 1
        self.skipped_in_row = 0 if tape is not None else self.skipped_in_row + 1
        if tape is None:
            self._skip()
        if self.step % self.window == 0:
            self._close_window()

    def _grow(self, step: int) -> None:
        """Make grids finer where it is time; what was learned about coarser ones is forgotten."""
        if self.plan.growth is not None and self.plan.growth.reach(step):
            for one in self.plan.optimizers:
                one.optimizer.begin()
            self.best, self.best_values = math.inf, {}

    def _densify(self) -> None:
        """Let Gaussians come and go; what was learned about others is forgotten."""
        density = self.plan.density
        if density is not None and density.advance(self.step + 1, [one.optimizer for one in self.plan.optimizers]):
            self.best, self.best_values = math.inf, {}

    def _gradients(self, step: int) -> Tape | Sum | None:
        """The tape of one step's batch, its gradients filled; None where the loss or one of them is not finite."""
        plan = self.plan
        try:
            if plan.crew is None:
                tape = gradients_of(plan, step, self.step)
            else:
                tape = summed(plan, plan.crew.parts(plan, step, self.step))
        except GradientError as error:
            self._trouble = str(error)
            return None
        except CrewError as error:
            self._save()
            raise FitError(error.where, f"{error.what}; the state is saved", error.mend) from error
        bad = finite_gradients(plan.params)
        if bad:
            self._trouble = f"the gradient of {', '.join(bad)} is not finite"
            return None
        return tape

    def _move(self, tape: Tape | Sum) -> bool:
        """Let every optimizer take its step; False where one that searches finds no finite Jacobian."""
        problem = Problem(tape.loss, self._again, partial(residuals_of, self.plan, self.step))
        try:
            for one in self.plan.optimizers:
                one.move(self.step, self.plan.horizon, problem)
            for near in self.plan.bounds:
                near.keep()
        except GradientError as error:
            self._trouble = str(error)
            return False
        return True

    def _again(self) -> float:
        """The loss of this step's batch where the parameters are now, with gradients; infinite where it is not so."""
        tape = self._gradients(self.step)
        return math.inf if tape is None else tape.loss

    def _refuse_blind(self) -> None:
        """Before the first step: a parameter whose gradient is exactly zero in every view is a mistake."""
        plan = self.plan
        blind = set(plan.params) - plan.blind
        for step in range(math.ceil(len(plan.views) / min(plan.views_per_step, len(plan.views)))):
            for path in blind:
                plan.params[path].zero_grad()
            if self._gradients(step) is None:
                return
            blind = {path for path in blind if not plan.params[path].grad_numpy().any()}
            if not blind:
                break
        if blind:
            what = "its gradient is exactly zero in every view, so the fit cannot change it"
            raise FitError(", ".join(sorted(blind)), what, "leave it out, or see that the views show it")

    def _record(self, tape: Tape | Sum | None) -> None:
        seconds = self._before + time.monotonic() - self._started
        names = self.columns[2:-1]
        found = [math.nan] * (len(names) + 1) if tape is None else [tape.loss, *(tape.terms[name] for name in names)]
        row = [float(self.step), *found, seconds]
        self.rows.append(row)
        if self.folder is not None:
            self._written(lambda folder: folder.add(row))
        error = tape.terms.get("mse") if tape is not None else None
        self.watcher.step(self.step + 1, row[1], -10 * math.log10(error) if error else None)

    def _skip(self) -> None:
        """Count a step that was left out; too many end the fit."""
        self.skipped += 1
        at = self.step - 1
        self.watcher.say(f"step {at} skipped: {self._trouble}")
        if self.skipped_in_row >= IN_A_ROW or self.skipped >= max(IN_A_ROW, SHARE * self.plan.horizon):
            self._save()
            what = f"stopped at step {at} after {self.skipped} steps that could not be taken; the state is saved"
            raise FitError("fit", f"{what}. Last: {self._trouble}", "lower lr, or look at the targets")

    def _close_window(self) -> None:
        losses = [row[1] for row in self.rows[-self.window :] if math.isfinite(row[1])]
        if not losses:
            return
        mean = float(np.mean(losses))
        if mean < self.best and not self.plan.anneal and self.step >= max(self.plan.sharpen, default=0) + self.window:
            self.best = mean
            self.best_values = {path: parameter.numpy() for path, parameter in self.plan.params.items()}
        if self.plan.patience and self._calm.update(mean):
            self.early = True
            self.watcher.say(f"stopped early at step {self.step}: the loss no longer changes")

    def _is_due(self) -> bool:
        return self.step % self.plan.save_every == 0 or time.monotonic() - self._saved_at >= self.plan.save_seconds

    def _save(self) -> None:
        values = {path: parameter.numpy() for path, parameter in self.plan.params.items()}
        if bad := [path for path, value in values.items() if not np.isfinite(value).all()]:
            mend = "lower lr or clamp it; the last checkpoint is from before"
            raise FitError(", ".join(bad), f"is not finite after step {self.step - 1}; nothing was saved", mend)
        if self.folder is None:
            return
        arrays = {f"parameter/{path}": value for path, value in values.items()}
        for number, one in enumerate(self.plan.optimizers):
            arrays |= {f"optimizer/{number}/{name}": value for name, value in one.optimizer.state().items()}
        if self.plan.density is not None:
            arrays |= {f"density/{name}": value for name, value in self.plan.density.state(self.plan.params).items()}
        arrays |= {f"calm/{name}": value for name, value in self._calm.state().items()}
        arrays |= {f"best/{path}": value for path, value in self.best_values.items()}
        arrays["best_loss"] = np.array(self.best)
        arrays["losses"] = np.array(self.rows).reshape(-1, len(self.columns))
        arrays["skipped"] = np.array([self.skipped, self.skipped_in_row])
        state = checkpoint.Checkpoint(self.step, self.plan.scene_hash, {"columns": self.columns}, arrays)
        self._written(lambda folder: checkpoint.save(folder.path, state))
        self._saved_at = time.monotonic()

    def _written(self, write: Callable[[RunFolder], object]) -> None:
        assert self.folder is not None
        try:
            write(self.folder)
        except FileError as error:
            raise FitError(error.where, error.what, error.mend) from error


def newest(folder: Path, watcher: Watcher) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from; None, said aloud, where there is none."""
    found = checkpoint.load(folder, watcher.say) if folder.is_dir() else None
    if found is None:
        watcher.say(f"{folder} holds no checkpoint; starting from the beginning")
    return found


def _under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
