"""Optimizers that look before they move: what they ask of a step, and L-BFGS.

An ordinary optimizer moves once for each gradient. These try several places in one step, so `step` takes a function
that works out the loss anew, and in a fit they are told the step's `Problem`. Everything but the loss is on the host,
in f64: they suit up to about a million numbers. Constraints hold at every place that is tried.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from tidr.kernels import optimize as kernels

from ..array import Array
from ..errors import GradientError, SceneError
from ..parameter import FREE
from .optimizers import Optimizer, limits, refuse_non_finite

TRIES = 24  # places that a line search looks at


@dataclass(frozen=True)
class Residual:
    """scale * (array - target), whose squares are summed: array on the device, target a number or of its shape."""

    array: Array
    target: np.ndarray | float = 0.0
    scale: float = 1.0

    def numpy(self) -> np.ndarray:
        return self.scale * (self.array.numpy().astype(np.float64) - self.target)


@dataclass
class Problem:
    """The step that an optimizer is in: views, pixels and random numbers stay the same while it looks around.

    loss: where the parameters are now, with their gradients filled. again: the loss at the place where they have been
    moved, gradients filled; infinite where it or they are not finite. residuals: what the loss is the sum of squares
    of.
    """

    loss: float
    again: Callable[[], float]
    residuals: Callable[[], Sequence[Residual]] = field(default=lambda: _no_squares())


def _no_squares() -> NoReturn:
    raise SceneError("optimizer", "needs residuals, and was given a loss", "call step(residuals), or take LBFGS")


class SearchOptimizer(Optimizer):
    """An optimizer of one vector, all its parameters one after the other. lr scales what a step tries first."""

    def step(self, closure: Callable[[], float]) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; `closure` fills the gradients and gives the loss, and is called several times.

        Returns the loss where the step ended.

        Raises:
            GradientError: the loss or its gradient is not finite where the parameters are; nothing was written.
        """

        def again() -> float:
            try:
                loss = closure()
                refuse_non_finite(self.parameters)
            except GradientError:
                return math.inf
            return loss

        loss = closure()
        refuse_non_finite(self.parameters)
        return self.search(Problem(loss, again))

    def search(self, problem: Problem) -> float:
        """One step of a problem; the loss where it ended."""
        raise NotImplementedError

    def advance(self) -> NoReturn:
        raise SceneError(
            type(self).__name__, "looks at the loss more than once a step", "call step(closure) of it alone"
        )

    def rearrange(self, parameter, before: int, source: np.ndarray, fresh: np.ndarray) -> None:
        """Rows came or went: what was learned about the others is forgotten too."""
        self.reset()

    def values(self) -> np.ndarray:
        """All numbers, f64."""
        return _flat([parameter.numpy() for parameter in self.parameters])

    def slope(self) -> np.ndarray:
        """The gradient by all numbers; 0 for channels that are held."""
        parts = [np.array(parameter.grad_numpy(), np.float64) for parameter in self.parameters]
        for parameter, part in zip(self.parameters, parts, strict=True):
            if held := parameter.constraint.held(parameter.channels):
                part.reshape(-1, parameter.channels)[:, held] = 0.0
        return _flat(parts)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Write all numbers, held to their constraints; what they have become."""
        first = 0
        for p in self.parameters:
            count = p.rows * p.channels
            part = values[first : first + count].reshape(-1, p.channels)
            p.set(part.reshape(p.shape))
            first += count
            if p.constraint == FREE:
                continue
            kernels.settle(p.value, p.rows, p.channels, *limits(p.constraint))
            p.touch()
            if held := p.constraint.held(p.channels):
                settled = p.numpy().reshape(-1, p.channels)
                settled[:, held] = part[:, held]
                p.set(settled.reshape(p.shape))
        return self.values()


class LBFGS(SearchOptimizer):
    """Quasi-Newton steps from the last `history` changes of place and gradient, by the two-loop recursion.

    Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization". Each step ends where the
    weak Wolfe conditions hold, found by doubling and bisection (Lewis and Overton 2013, "Nonsmooth optimization via
    quasi-Newton methods"): it costs a gradient for each place that is tried, mostly one, and two to ten in curved
    valleys. Of a step at which no place is better nothing is kept but a fresh start.

    lr: length of the step that is tried first, 1 the whole quasi-Newton step; the very first goes lr in all.
    """

    def __init__(self, params, lr: float = 1.0, history: int = 10) -> None:
        if not (lr > 0 and history >= 1):
            raise SceneError("LBFGS", f"lr is {lr} and history {history}", "take numbers above 0")
        self.history = int(history)
        super().__init__(params, lr)

    def reset(self) -> None:
        super().reset()
        self._moves: list[np.ndarray] = []
        self._turns: list[np.ndarray] = []

    def search(self, problem: Problem) -> float:
        self.steps += 1
        start, slope = self.values(), self.slope()
        direction = self._direction(slope)
        if not slope @ direction < 0:
            return problem.loss
        length = self.lr if self._moves else self.lr / max(float(np.linalg.norm(slope)), 1e-300)
        best, lowest = start, problem.loss
        low, high = 0.0, math.inf
        for _ in range(TRIES):
            here = self.place(start + length * direction)
            loss, move = problem.again(), here - start
            there = self.slope() if math.isfinite(loss) else slope
            if loss < lowest:
                best, lowest = here, loss
            if not loss <= problem.loss + 1e-4 * float(slope @ move):
                high = length
            elif float(there @ move) < 0.9 * float(slope @ move):
                low = length
            else:
                self._learn(move, there - slope)
                return loss
            length = (low + high) / 2 if high < math.inf else 2 * low
        self._moves, self._turns = [], []
        self.place(best)
        return lowest

    def _direction(self, slope: np.ndarray) -> np.ndarray:
        """Minus the inverse Hessian times the slope; what lies outside of the moves is scaled as in the last one."""
        found, shares = -slope, []
        pairs = list(zip(self._moves, self._turns, strict=True))
        for move, turn in reversed(pairs):
            shares.append(float(move @ found) / float(move @ turn))
            found = found - shares[-1] * turn
        if pairs:
            move, turn = pairs[-1]
            found = found * (float(move @ turn) / float(turn @ turn))
        for (move, turn), share in zip(pairs, reversed(shares), strict=True):
            found = found + (share - float(turn @ found) / float(move @ turn)) * move
        return found

    def _learn(self, move: np.ndarray, turn: np.ndarray) -> None:
        """Keep a change of place and gradient, where the loss curves upwards along it."""
        if float(move @ turn) > 1e-10 * float(np.linalg.norm(move) * np.linalg.norm(turn)):
            self._moves = [*self._moves, move][-self.history :]
            self._turns = [*self._turns, turn][-self.history :]

    def state(self) -> dict[str, np.ndarray]:
        size = len(self.values())
        kept = {"moves": self._moves, "turns": self._turns}
        return super().state() | {name: np.array(rows).reshape(-1, size) for name, rows in kept.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        super().load_state(state)
        size = len(self.values())
        for name in ("moves", "turns"):
            rows = np.asarray(state.get(name, np.zeros((0, 0))), np.float64)
            if rows.ndim != 2 or rows.shape[1] != size or len(rows) > self.history:
                raise SceneError("optimizer state", f"{name} has shape {rows.shape}, expected [n, {size}]")
            setattr(self, f"_{name}", list(rows))


def _flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(np.asarray(part, np.float64).ravel() for part in parts)])
