"""Optimizers over parameters: one kernel launch per parameter and step, the constraint included.

`params` is a `Parameters` mapping, a `Parameter`, or an iterable of either; fixed parameters are left alone. A step
whose gradient holds an entry that is not finite raises and writes nothing. `state()` and `load_state()` continue a run
bit for bit; set the parameters' own values before loading.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from tidr.kernels import optimize as kernels
from tidr.kernels.reduce import Split, each, split

from .. import runtime
from ..buffer import Buffer
from ..errors import GradientError, SceneError
from ..parameter import Constraint, Parameter

SMALLEST_POSITIVE = 1e-6


class Optimizer:
    """What all optimizers share: the list of parameters, moments kept per parameter, the count of steps.

    A kind of optimizer names its moments in `moments` and moves one parameter in `_move`. `lr` may be set at any time.
    """

    moments: tuple[str, ...] = ()

    def __init__(self, params, lr: float) -> None:
        self.lr = lr
        self.parameters = [p for p in listed(params) if not p.constraint.fixed]
        self.begin()

    def begin(self) -> None:
        """Start anew, with room for the parameters' present shapes."""
        self._kept = [{name: Buffer(self._moment_shape(name, p)) for name in self.moments} for p in self.parameters]
        self.reset()

    def step(self) -> None:
        """Move every parameter against its gradient; that of channels that are held becomes 0.

        Raises:
            GradientError: a gradient is not finite; nothing was written.
        """
        refuse_non_finite(self.parameters)
        self.advance()

    def advance(self) -> None:
        """`step` without the look at the gradients."""
        self.steps += 1
        for parameter, kept in zip(self.parameters, self._kept, strict=True):
            held = parameter.constraint.held(parameter.channels)
            if held:
                self._move_but(held, parameter, kept)
            else:
                self._move(parameter, kept)
            parameter.touch()

    def reset(self) -> None:
        """Forget all moments and start counting steps anew."""
        self.steps = 0
        for kept in self._kept:
            for buffer in kept.values():
                buffer.ndarray.fill(0.0)

    def rearrange(self, parameter: Parameter, before: int, source: np.ndarray, fresh: np.ndarray) -> None:
        """After a parameter got other rows: the moments of row i are now those of row source[i] of the `before` rows
        that there were along its first axis, or 0 where fresh[i]."""
        index = next(number for number, item in enumerate(self.parameters) if item is parameter)
        kept = self._kept[index]
        for name, buffer in kept.items():
            moments = buffer.ndarray.to_numpy().reshape(before, -1)[source]
            moments[fresh] = 0
            shape = self._moment_shape(name, parameter)
            kept[name] = Buffer(shape)
            kept[name].ndarray.from_numpy(np.ascontiguousarray(moments.reshape(shape)))

    def state(self) -> dict[str, np.ndarray]:
        """Everything but the parameters' values, as numpy arrays by name."""
        state = {"steps": np.array(self.steps), "lr": np.array(float(self.lr))}
        for name, buffer in self._named_buffers():
            state[name] = buffer.ndarray.to_numpy()
        return state

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state()` gave.

        Raises:
            SceneError: a name is missing, or an array has another shape (the state of other parameters).
        """
        buffers = dict(self._named_buffers())
        wanted = {"steps": (), "lr": ()} | {name: tuple(buffer.ndarray.shape) for name, buffer in buffers.items()}
        for name, shape in wanted.items():
            if name not in state:
                raise SceneError("optimizer state", f"has no {name!r}", "it belongs to other parameters")
            if np.shape(state[name]) != shape:
                raise SceneError("optimizer state", f"{name} has shape {np.shape(state[name])}, expected {shape}")
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        real = np.float64 if runtime.current().precision == 64 else np.float32
        for name, buffer in buffers.items():
            buffer.ndarray.from_numpy(np.ascontiguousarray(state[name], real))

    def _named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        for number, (parameter, kept) in enumerate(zip(self.parameters, self._kept, strict=True)):
            for name, buffer in kept.items():
                yield f"{parameter.path or number}.{name}", buffer

    def _moment_shape(self, name: str, parameter: Parameter) -> tuple[int, int]:
        return parameter.rows, parameter.channels

    def _move_but(self, held: list[int], parameter: Parameter, kept: dict[str, Buffer]) -> None:
        """Move all channels of a parameter but these."""
        rows, before = parameter.rows, Buffer((parameter.rows, parameter.channels))
        for channel in held:
            kernels.hold(rows, channel, parameter.value, parameter.grad, before.ndarray)
        self._move(parameter, kept)
        for channel in held:
            kernels.put_back(rows, channel, before.ndarray, parameter.value)

    def _move(self, parameter: Parameter, kept: dict[str, Buffer]) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Velocity u = momentum u + g, x -= lr u; with `nesterov` x -= lr (g + momentum u)."""

    moments = ("velocity",)

    def __init__(self, params, lr: float, momentum: float = 0.9, nesterov: bool = False) -> None:
        self.momentum, self.nesterov = float(momentum), bool(nesterov)
        super().__init__(params, lr)

    def _move(self, parameter: Parameter, kept: dict[str, Buffer]) -> None:
        p = parameter
        parts = each(p.rows * p.channels, runtime.on_cpu())
        data = (p.value, p.grad, kept["velocity"].ndarray, p.rows, p.channels)
        kernels.sgd(*data, float(self.lr), self.momentum, int(self.nesterov), *parts, *limits(p.constraint))


class Adam(Optimizer):
    """Kingma, Ba 2015, "Adam: a method for stochastic optimization"."""

    moments = ("mean", "square")

    def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self.betas, self.eps = (float(betas[0]), float(betas[1])), float(eps)
        super().__init__(params, lr)

    def _move(self, parameter: Parameter, kept: dict[str, Buffer]) -> None:
        parts = each(parameter.rows * parameter.channels, runtime.on_cpu())
        kernels.adam(*self._arguments(parameter, kept, parts))

    def _arguments(self, parameter: Parameter, kept: dict[str, Buffer], parts: Split) -> tuple:
        p = parameter
        data = (p.value, p.grad, kept["mean"].ndarray, kept["square"].ndarray, p.rows, p.channels)
        return (*data, *adam_factors(self.lr, self.betas, self.eps, self.steps), *parts, *limits(p.constraint))


class UniformAdam(Adam):
    """Adam whose step is divided by one number per parameter, the largest of all entries' sqrt(square).

    Nicolet, Jacobson, Jakob 2021, "Large steps in inverse rendering of geometry": keeps the gradient's direction.
    """

    def begin(self) -> None:
        super().begin()
        self._peaks = [Buffer((self._parts(p).chunks + 1, 1)) for p in self.parameters]

    def rearrange(self, parameter: Parameter, before: int, source: np.ndarray, fresh: np.ndarray) -> None:
        super().rearrange(parameter, before, source, fresh)
        self._peaks = [Buffer((self._parts(p).chunks + 1, 1)) for p in self.parameters]

    def _move(self, parameter: Parameter, kept: dict[str, Buffer]) -> None:
        peaks = self._peaks[self.parameters.index(parameter)]
        kernels.uniform_adam(*self._arguments(parameter, kept, self._parts(parameter)), peaks.ndarray)

    def _parts(self, parameter: Parameter) -> Split:
        return split(parameter.rows * parameter.channels, runtime.on_cpu())


class VectorAdam(Adam):
    """Adam with one square per row, |g_row|^2, so that turning the problem turns the path.

    Ling, Sharp, Jacobson 2022, "VectorAdam for rotation equivariant geometry optimization".
    """

    def _moment_shape(self, name: str, parameter: Parameter) -> tuple[int, int]:
        return (parameter.rows, 1) if name == "square" else (parameter.rows, parameter.channels)

    def _move(self, parameter: Parameter, kept: dict[str, Buffer]) -> None:
        kernels.vector_adam(*self._arguments(parameter, kept, each(parameter.rows, runtime.on_cpu())))


class Optimizers:
    """Several optimizers that step together; no one writes when a gradient of any is not finite."""

    def __init__(self, members: Sequence) -> None:
        self.members = list(members)

    @property
    def parameters(self) -> list[Parameter]:
        return [parameter for member in self.members for parameter in member.parameters]

    def step(self) -> None:
        refuse_non_finite(self.parameters)
        self.advance()

    def advance(self) -> None:
        for member in self.members:
            member.advance()

    def reset(self) -> None:
        for member in self.members:
            member.reset()

    def state(self) -> dict[str, np.ndarray]:
        return {f"{n}/{key}": array for n, member in enumerate(self.members) for key, array in member.state().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        for n, member in enumerate(self.members):
            prefix = f"{n}/"
            member.load_state({key[len(prefix) :]: state[key] for key in state if key.startswith(prefix)})


def finite_gradients(params) -> list[str]:
    """Labels of the parameters whose gradient holds an entry that is not finite; empty when all is well."""
    parameters = listed(params)
    if not parameters:
        return []
    marks = Buffer((len(parameters),), "int")
    marks.ndarray.fill(0)
    for slot, p in enumerate(parameters):
        parts = each(p.rows * p.channels, runtime.on_cpu())
        kernels.mark_non_finite(p.grad, p.rows * p.channels, p.channels, *parts, slot, marks.ndarray)
    found = marks.ndarray.to_numpy()
    return [p.label for p, mark in zip(parameters, found, strict=True) if mark]


def refuse_non_finite(params) -> None:
    """Raise a GradientError that names the parameters whose gradient is not finite."""
    if bad := finite_gradients(params):
        raise GradientError(", ".join(bad), "the gradient is not finite; no parameter was changed", "lower lr")


def listed(params) -> list[Parameter]:
    """The parameters of a mapping, of a single one, or of an iterable of either."""
    if isinstance(params, Parameter):
        return [params]
    if isinstance(params, Mapping):
        return listed(params.values())
    if not isinstance(params, Iterable):
        raise SceneError("optimizer", f"got {type(params).__name__}", "pass scene.parameters(...)")
    return [parameter for item in params for parameter in listed(item)]


def limits(constraint: Constraint) -> tuple[int, float, float, int]:
    """(bounded, low, high, kind of row) as the kernels take them."""
    low, high = constraint.clamp or (-math.inf, math.inf)
    if constraint.positive:
        low = max(low, SMALLEST_POSITIVE)
    rows = kernels.UNIT_ROWS if constraint.unit else kernels.SIMPLEX_ROWS if constraint.simplex else kernels.FREE_ROWS
    bounded = math.isfinite(low) or math.isfinite(high)
    return int(bounded), max(low, -1e30), min(high, 1e30), rows


def adam_factors(lr: float, betas: tuple[float, float], eps: float, steps: int) -> tuple[float, ...]:
    """(lr, beta1, beta2, 1 / (1 - beta1^t), 1 / (1 - beta2^t), eps)."""
    beta1, beta2 = betas
    return float(lr), beta1, beta2, 1.0 / (1.0 - beta1**steps), 1.0 / (1.0 - beta2**steps), eps
