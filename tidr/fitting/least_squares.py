"""Optimizers of sums of squares with few parameters: Levenberg-Marquardt and Powell's dogleg.

Both want the Jacobian J of the residuals r. tidr has reverse passes only, each of which gives one row, or one
combination of rows. Up to `passes` residuals get a row each, and J is exact. Of more (the pixels of a picture) as many
random combinations S r with signs +-1 / sqrt(passes) are taken, and J'J is replaced by (S J)'(S J), which has the right
mean; the slope J'r takes one more pass and is exact in any case (Pilanci and Wainwright 2017, "Newton Sketch"). So a
step costs one render, passes + 1 reverse passes, and one render for each length that is tried; a fit of n numbers wants
at least 2 n passes.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import GradientError, SceneError
from .searches import Problem, Residual, SearchOptimizer
from .tape import Passes

MOST_TRIES, PASSES_PER_NUMBER, LEAST_PASSES = 12, 8, 64
Residuals = Callable[[], Sequence[Residual]]


class LeastSquares(SearchOptimizer):
    """What both have in common: residuals, their Jacobian, and a number that says how far it is trusted.

    `step(residuals)` takes a function that gives `Residual`s made by tidr's operations. passes: reverse passes a step;
    None is 8 for each number that moves, at least 64. seed: of the random combinations.
    """

    moments: tuple[str, ...] = ()

    def __init__(self, params, lr: float, passes: int | None, seed: int, trust: float) -> None:
        if not (lr > 0 and (passes is None or passes >= 1)):
            raise SceneError(type(self).__name__, f"lr is {lr}, passes {passes}", "take numbers above 0")
        self.passes, self.seed, self._first_trust = passes, int(seed), trust
        super().__init__(params, lr)

    def reset(self) -> None:
        super().reset()
        self.trust = self._first_trust

    def step(self, residuals: Residuals) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step; the sum of squares where it ended.

        Raises:
            GradientError: residuals or their Jacobian are not finite; nothing was written.
        """

        def again() -> float:
            return sum(float((one.numpy() ** 2).sum()) for one in residuals())

        return self.search(Problem(again(), again, residuals))

    def search(self, problem: Problem) -> float:
        self.steps += 1
        start = self.values()
        slope, curvature, cost = self._linearised(problem.residuals)
        if not (np.isfinite(slope).all() and np.isfinite(curvature).all()):
            raise GradientError(type(self).__name__, "the Jacobian is not finite; no parameter was changed")
        moving = np.diagonal(curvature) > 0
        if not (moving.any() and slope.any()):
            return cost
        slope, curvature = slope[moving], curvature[np.ix_(moving, moving)]
        for _ in range(MOST_TRIES):
            move = np.zeros_like(start)
            move[moving] = self.lr * self._proposal(slope, curvature)
            taken = (self.place(start + move) - start)[moving]
            loss = self._cost(problem)
            expected = -float(2 * slope @ taken + taken @ curvature @ taken)
            if self._judged(loss < cost, (cost - loss) / max(expected, 1e-300), taken):
                return loss
        self.place(start)
        return cost

    def _cost(self, problem: Problem) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            cost = sum(float((one.numpy() ** 2).sum()) for one in problem.residuals())
        return cost if np.isfinite(cost) else np.inf

    def _linearised(self, residuals: Residuals) -> tuple[np.ndarray, np.ndarray, float]:
        """J'r, J'J or its estimate, and |r|^2."""
        found: list[Residual] = []

        def work():
            found.extend(residuals())
            return [one.array for one in found]

        passes = Passes(work, {str(number): parameter for number, parameter in enumerate(self.parameters)})
        values = [one.numpy() for one in found]
        sizes = [value.size for value in values]

        def row(combination: np.ndarray) -> np.ndarray:
            parts = np.split(combination, np.cumsum(sizes)[:-1])
            passes.back([one.scale * part.reshape(one.array.shape) for one, part in zip(found, parts, strict=True)])
            return self.slope()

        together = np.concatenate([value.ravel() for value in values])
        slope, total = row(together), sum(sizes)
        wanted = self.passes or max(PASSES_PER_NUMBER * slope.size, LEAST_PASSES)
        if total <= wanted:
            rows = [row(unit) for unit in np.eye(total)]
        else:
            random = np.random.default_rng([self.seed, self.steps])
            rows = [row(random.choice((-1.0, 1.0), total) / np.sqrt(wanted)) for _ in range(wanted)]
        jacobian = np.stack(rows)
        return slope, jacobian.T @ jacobian, float(together @ together)

    def _proposal(self, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
        """The move to try next."""
        raise NotImplementedError

    def _judged(self, lower: bool, gain: float, move: np.ndarray) -> bool:
        """Whether a move is taken; adapts the trust. gain: how much of what was expected of it came true."""
        raise NotImplementedError

    def state(self) -> dict[str, np.ndarray]:
        return super().state() | {"trust": np.array(float(self.trust))}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        super().load_state(state)
        if "trust" not in state:
            raise SceneError("optimizer state", "has no 'trust'", "it belongs to another optimizer")
        self.trust = float(state["trust"])


class LevenbergMarquardt(LeastSquares):
    """Moves by -(J'J + damping D)^-1 J'r, D the diagonal of J'J (Marquardt 1963), or the identity (Levenberg 1944).

    damping: at first; it is multiplied by `rise` after a move that raises the sum of squares, which is not taken, and
    by `fall` after one that lowers it. TensorFlow Graphics' variant is damping=1e-20, rise=10, fall=1,
    scaling="identity". lr scales the moves. See the module about `passes` and what a step costs.
    """

    def __init__(
        self, params, lr: float = 1.0, damping: float = 1e-3, rise: float = 2.0, fall: float = 1 / 3,
        scaling: str = "diagonal", passes: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        if not (damping > 0 and rise > 1 and 0 < fall <= 1):
            what = f"damping is {damping}, rise {rise}, fall {fall}"
            raise SceneError("LevenbergMarquardt", what, "take damping > 0, rise > 1 and fall in (0, 1]")
        if scaling not in ("diagonal", "identity"):
            raise SceneError("LevenbergMarquardt", f"scaling is {scaling!r}", 'choose "diagonal" or "identity"')
        self.rise, self.fall, self.scaling = float(rise), float(fall), scaling
        super().__init__(params, lr, passes, seed, float(damping))

    def _proposal(self, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
        held = np.diagonal(curvature) if self.scaling == "diagonal" else np.ones(len(slope))
        return -np.linalg.lstsq(curvature + self.trust * np.diag(held), slope, rcond=None)[0]

    def _judged(self, lower: bool, gain: float, move: np.ndarray) -> bool:
        self.trust = max(self.trust * (self.fall if lower else self.rise), 1e-30)
        return lower


class Dogleg(LeastSquares):
    """Moves within a radius: to the Gauss-Newton place if that lies inside, else along the slope and towards it.

    Powell 1970, "A hybrid method for nonlinear equations". radius: at first; a move that gains less than a quarter of
    what was expected quarters it, one that gains more than three quarters at its rim doubles it.
    """

    def __init__(
        self, params, lr: float = 1.0, radius: float = 1.0, passes: int | None = None, seed: int = 0
    ) -> None:  # fmt: skip
        if not radius > 0:
            raise SceneError("Dogleg", f"radius is {radius}", "take a number above 0")
        super().__init__(params, lr, passes, seed, float(radius))

    def _proposal(self, slope: np.ndarray, curvature: np.ndarray) -> np.ndarray:
        whole = -np.linalg.lstsq(curvature, slope, rcond=None)[0]
        if np.linalg.norm(whole) <= self.trust:
            return whole
        steepest = -(slope @ slope) / max(float(slope @ curvature @ slope), 1e-300) * slope
        if np.linalg.norm(steepest) >= self.trust:
            return self.trust / np.linalg.norm(steepest) * steepest
        towards = whole - steepest
        a, b, c = towards @ towards, steepest @ towards, steepest @ steepest - self.trust**2
        return steepest + (np.sqrt(b * b - a * c) - b) / a * towards

    def _judged(self, lower: bool, gain: float, move: np.ndarray) -> bool:
        length = float(np.linalg.norm(move))
        if not gain > 0.25:
            self.trust = max(min(self.trust, length / self.lr) / 4, 1e-30)
        elif gain > 0.75 and length >= 0.99 * self.lr * self.trust:
            self.trust *= 2
        return lower
