"""What changes over a fit: schedules give a factor (of a learning rate, of a softness) at a step; `EarlyStop` ends it.

A schedule is called as `schedule(step, total)` with 0 <= step < total.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import SceneError


@dataclass(frozen=True, kw_only=True)
class Constant:
    """`value` throughout."""

    value: float = 1.0

    def __call__(self, step: int, total: int) -> float:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Exponential:
    """From `start` to `end` (both > 0) by equal ratios over `steps` steps (the whole fit when None), then `end`."""

    start: float = 1.0
    end: float = 0.1
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.start <= 0 or self.end <= 0:
            raise SceneError("Exponential", f"goes from {self.start} to {self.end}", "take numbers above 0")

    def __call__(self, step: int, total: int) -> float:
        return self.start * (self.end / self.start) ** _progress(step, total, self.steps)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """From `start` to `end` along half a cosine over `steps` steps (the whole fit when None), then `end`."""

    start: float = 1.0
    end: float = 0.0
    steps: int | None = None

    def __call__(self, step: int, total: int) -> float:
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * _progress(step, total, self.steps)))


@dataclass(frozen=True, kw_only=True)
class Step:
    """`start`, times `factor` after every `every` steps."""

    start: float = 1.0
    factor: float = 0.5
    every: int = 100

    def __call__(self, step: int, total: int) -> float:
        return self.start * self.factor ** (step // self.every)


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """Rises in equal parts over the first `steps` steps to what `then` gives."""

    steps: int = 100
    then: Constant | Exponential | Cosine | Step = field(default_factory=Constant)

    def __call__(self, step: int, total: int) -> float:
        return min(1.0, (step + 1) / max(self.steps, 1)) * self.then(step, total)


@dataclass(kw_only=True)
class EarlyStop:
    """`update(loss)` is True once the relative change was below `tolerance` for `patience` steps in a row."""

    tolerance: float = 1e-5
    patience: int = 50
    calm: int = field(default=0, init=False)
    previous: float = field(default=math.inf, init=False)

    def update(self, loss: float) -> bool:
        still = abs(loss - self.previous) < self.tolerance * max(abs(loss), 1e-30)
        self.calm = self.calm + 1 if still else 0
        self.previous = float(loss)
        return self.calm >= self.patience

    def state(self) -> dict[str, np.ndarray]:
        return {"calm": np.array(self.calm), "previous": np.array(self.previous)}

    def load_state(self, state) -> None:
        self.calm, self.previous = int(state["calm"]), float(state["previous"])


def _progress(step: int, total: int, steps: int | None) -> float:
    """0 at the first step, 1 at the last and after."""
    last = (total if steps is None else steps) - 1
    return min(max(step / last, 0.0), 1.0) if last > 0 else 1.0
