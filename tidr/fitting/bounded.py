"""Fits that keep near to where they begin, as attacks on classifiers do; and what chance does within the same bounds.

Projected steps: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SceneError
from ..parameter import Parameter, Parameters
from .settings import ParameterSettings
from .step import gradients_of

if TYPE_CHECKING:
    from .loop import Plan

GUESSES = 20


class Near:
    """Keeps every entry of a parameter within `bound` of where it is now."""

    def __init__(self, parameter: Parameter, bound: float) -> None:
        self.parameter, self.bound, self.first = parameter, bound, parameter.numpy()

    def keep(self) -> None:
        """Bring back what has gone farther.

        Raises:
            SceneError: the parameter has got another shape.
        """
        value = self.parameter.numpy()
        if value.shape != self.first.shape:
            mend = "fit it without growth and without Gaussians that come and go"
            raise SceneError(f"{self.parameter.label}.bound", "is about entries that have changed", mend)
        self._set(value)

    def guess(self, rng: np.random.Generator) -> None:
        """Go as far as may be in a random direction, of those entries that a fit can change."""
        one = self.parameter
        away = rng.choice((-self.bound, self.bound), (one.rows, one.channels))
        away[:, one.constraint.held(one.channels)] = 0
        self._set(np.clip(self.first + away.reshape(one.shape), *(one.constraint.clamp or (-math.inf, math.inf))))

    def _set(self, value: np.ndarray) -> None:
        self.parameter.set(np.clip(value, self.first - self.bound, self.first + self.bound))


def bounds_of(settings: Mapping[str, ParameterSettings], params: Parameters) -> list[Near]:
    """What keeps parameters where the settings give a bound; the first pattern that matches counts.

    Raises:
        SceneError: a bound for rows that are kept to one length or sum.
    """
    left, found = dict(params), []
    for pattern, how in settings.items():
        for path in [path for path in params.select(pattern) if path in left]:
            parameter = left.pop(path)
            if how.bound is None:
                continue
            if parameter.constraint.unit or parameter.constraint.simplex:
                what = f"rows of {parameter.label} are kept to one length or sum, which a bound would break"
                raise SceneError(f"fit.parameters.{pattern}.bound", what, "leave it out")
            found.append(Near(parameter, how.bound))
    return found


def by_chance(plan: Plan, at: int) -> dict[str, float]:
    """The loss of all views where bounded parameters began and now; the mean change by random steps as large as may be,
    and how many times that the fit has come to."""
    rng, reached = np.random.default_rng(plan.seed), [near.parameter.numpy() for near in plan.bounds]

    def loss() -> float:
        batches = math.ceil(len(plan.views) / plan.views_per_step)
        return float(np.mean([gradients_of(plan, step, at).loss for step in range(batches)]))

    now, guesses = loss(), []
    for _ in range(GUESSES):
        for near in plan.bounds:
            near.guess(rng)
        guesses.append(loss())
    for near in plan.bounds:
        near.parameter.set(near.first)
    before = loss()
    for near, value in zip(plan.bounds, reached, strict=True):
        near.parameter.set(value)
    chance = float(np.mean(np.abs(np.array(guesses) - before)))
    times = abs(now - before) / chance if chance else math.inf
    return {"before": before, "now": now, "by_chance": chance, "times": times}
