"""`Tape`: records what a loss was made from and fills every gradient on leaving the block.

It stands on `ti.ad.Tape`. Each operation of tidr is one entry on it, a forward and a hand-written (or Taichi-made)
adjoint joined by `ti.ad.grad_replaced`; plain Taichi kernels over fields that the user calls inside are recorded too.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .. import runtime
from ..array import Array
from ..errors import GradientError
from ..parameter import Parameter

_active: Tape | None = None
_backward: Tape | None = None


@dataclass
class Operation:
    """One differentiable step: `forward` writes the values of `outputs`, `backward` adds to the grads of `inputs`.

    `backward` may read the grads of `outputs`; the tape has zeroed all grads named here before the first backward.
    """

    forward: Callable[[], None]
    backward: Callable[[], None]
    inputs: Sequence[Array] = ()
    outputs: Sequence[Array] = ()
    name: str = ""


@dataclass
class Loss:
    """A scalar on the device: what a loss function returns and `Tape.add` takes."""

    array: Array
    name: str = "loss"

    def __float__(self) -> float:
        return float(self.array.numpy())


@dataclass
class _Term:
    loss: Loss
    weight: float


def run(operation: Operation) -> None:
    """Run an operation's forward; inside a `Tape` also record its backward, if a wanted parameter flows through."""
    if _active is None or not _active.follow(operation):
        with unrecorded():
            operation.forward()
        return
    _active.operations.append(operation)
    _door()(operation)


def needs(array: Array) -> bool:
    """Inside a backward: whether a wanted parameter is this array or lies behind it."""
    return _backward is None or _backward.wants(array)


def is_read(array: Array) -> bool:
    """Inside a backward: whether the loss was made from this array, as it was recorded."""
    return _backward is None or _backward.comes_from(array)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Kernels launched inside (searches, fills, uploads) stay off the tape."""
    kernels = runtime.taichi().lang.impl.get_runtime()
    held, kernels.target_tape = kernels.target_tape, None
    try:
        yield
    finally:
        kernels.target_tape = held


def recording() -> bool:
    """Whether a `Tape` is open."""
    return _active is not None


@dataclass
class Tape:
    """`with tidr.Tape() as tape: ...; tape.add(loss)`; leaving the block fills every gradient.

    With `parameters` only theirs are computed; otherwise those of every parameter that is not fixed.
    `tape.loss` is the weighted sum of what was added, `tape.terms` maps each loss's name to its unweighted value, and
    `tape.zero_gradients()` names the parameters that the recorded work reads and whose gradient is exactly zero.

    Raises:
        GradientError: nested tapes, nothing added, or a loss that is not finite (no gradient is then computed).
    """

    parameters: Mapping[str, Parameter] | None = None
    operations: list[Operation] = field(default_factory=list, init=False)
    loss: float = field(default=math.nan, init=False)
    terms: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._wanted = None if self.parameters is None else {id(p) for p in self.parameters.values()}
        self._followed: set[int] = set()
        self._added: list[_Term] = []
        self._read: list[Array] = []

    def add(self, loss: Loss, weight: float = 1.0) -> None:
        """Add `weight` times a loss to the total."""
        if not isinstance(loss, Loss):
            raise GradientError("Tape.add", f"got {type(loss).__name__}, expected a loss", "pass tidr.losses.mse(...)")
        self._added.append(_Term(loss, float(weight)))

    def wants(self, array: Array) -> bool:
        """Whether a wanted parameter is this array or lies behind it."""
        if isinstance(array, Parameter):
            return not array.constraint.fixed and (self._wanted is None or id(array) in self._wanted)
        return id(array) in self._followed

    def follow(self, operation: Operation) -> bool:
        """Whether a wanted parameter lies behind the operation; remembers so for what it makes."""
        if not any(self.wants(array) for array in operation.inputs):
            return False
        self._followed.update(id(array) for array in operation.outputs)
        return True

    def comes_from(self, array: Array) -> bool:
        """Whether what was added was made from an array."""
        behind = {id(term.loss.array) for term in self._added}
        for operation in reversed(self.operations):
            if any(id(one) in behind for one in operation.outputs):
                behind.update(id(one) for one in operation.inputs)
        return id(array) in behind

    def zero_gradients(self) -> list[str]:
        """Paths of parameters that were read and whose gradient stayed exactly zero."""
        read = {id(a): a for a in self._read if isinstance(a, Parameter) and self.wants(a)}
        return [a.label for a in read.values() if not a.grad_numpy().any()]

    def __enter__(self) -> Tape:
        global _active
        if _active is not None:
            raise GradientError("Tape", "a tape is already open", "leave the outer `with tidr.Tape()` first")
        ti = runtime.taichi()
        runtime.current()
        seed = ti.ndarray(runtime.real(), 1, needs_grad=True)
        self._inner = ti.ad.Tape(loss=seed)
        self._inner.__enter__()
        _active = self
        return self

    def __exit__(self, kind, value, trace) -> None:
        global _active, _backward
        _active = None
        self._inner.runtime.target_tape = None
        self._inner.eval_on_exit = False
        try:
            if kind is None:
                self._total()
                self._seed()
                _backward = self
                self._inner.grad()
        finally:
            _backward = None
            self._inner.__exit__(kind, value, trace)
            del self._inner  # and its ndarray, which is no buffer's, while this start of Taichi lasts
            self._read = [array for operation in self.operations for array in operation.inputs]
            self.operations = []

    def _total(self) -> None:
        if not self._added:
            raise GradientError("Tape", "nothing was added", "call tape.add(loss) inside the block")
        self.terms = {}
        self.loss = 0.0
        for term in self._added:
            value = float(term.loss)
            if not math.isfinite(value):
                raise GradientError(term.loss.name, f"the loss is {value}", "look for NaN in the target or parameters")
            self.terms[term.loss.name] = self.terms.get(term.loss.name, 0.0) + value
            self.loss += term.weight * value

    def _seed(self) -> None:
        touched = {id(a): a for op in self.operations for a in (*op.inputs, *op.outputs)}
        for array in touched.values():
            array.zero_grad()
        totals: dict[int, tuple[Array, float]] = {}
        for term in self._added:
            array, weight = term.loss.array, term.weight
            totals[id(array)] = (array, totals.get(id(array), (array, 0.0))[1] + weight)
        for array, weight in totals.values():
            array.grad.fill(weight)


class Passes:
    """Work that is recorded once and gone back over any number of times, each with other seeds: rows of a Jacobian.

    Args:
        work: what gives the arrays that are looked at, by tidr's operations. Taichi kernels that `work` launches itself
            are not gone back over.
        parameters: by path; only theirs are computed.

    Raises:
        GradientError: a tape is open.
    """

    def __init__(self, work: Callable[[], Sequence[Array]], parameters: Mapping[str, Parameter]) -> None:
        global _active
        if _active is not None:
            raise GradientError("Passes", "a tape is already open", "leave `with tidr.Tape()` first")
        self._tape = Tape(parameters)
        _active = self._tape
        try:
            self.outputs = list(work())
        finally:
            _active = None
        self._tape._added = [_Term(Loss(array), 1.0) for array in self.outputs]
        operations = self._tape.operations
        self._touched = {id(a): a for op in operations for a in (*op.inputs, *op.outputs)}
        self._touched |= {id(a): a for a in (*self.outputs, *parameters.values())}

    def back(self, seeds: Sequence[np.ndarray]) -> None:
        """Fill the parameters' gradients with those of sum(seed * output) over all outputs, seeds of their shapes."""
        global _backward
        for array in self._touched.values():
            array.zero_grad()
        for array, seed in zip(self.outputs, seeds, strict=True):
            array.set_grad(seed)
        _backward = self._tape
        try:
            with unrecorded():
                for operation in reversed(self._tape.operations):
                    operation.backward()
        finally:
            _backward = None


_doors: dict[int, Callable[[Operation], None]] = {}


def _door() -> Callable[[Operation], None]:
    """The one function through which operations enter Taichi's tape."""
    if 0 not in _doors:
        ti = runtime.taichi()

        @ti.ad.grad_replaced
        def apply(operation: Operation) -> None:
            operation.forward()

        @ti.ad.grad_for(apply)
        def apply_backward(operation: Operation) -> None:
            operation.backward()

        _doors[0] = apply
    return _doors[0]
