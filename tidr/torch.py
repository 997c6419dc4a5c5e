"""PyTorch: any renderer as one differentiable function of tensors (extra "torch").

Values cross the border in one copy by a Taichi kernel: Taichi's ndarrays offer no DLPack, and kernels that read a
tensor's own memory would all be compiled a second time. Where tensor and backend share a device nothing goes through
the host.
"""

# Where PyTorch is missing, a type checker takes this very file for it.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

try:
    import torch
except ImportError as error:
    raise ImportError("tidr.torch needs PyTorch: pip install 'tidr[torch]'") from error

from tidr.kernels import accumulate

from . import runtime
from .array import Array
from .errors import GradientError, SceneError
from .fitting.tape import Loss, Operation, Tape, recording, run
from .parameter import Parameter, Parameters
from .renderers.renderer import Image, Renderer
from .renderers.renderer import render as draw
from .scene.camera import Camera
from .scene.graph import Scene

_lent: weakref.WeakKeyDictionary[Parameter, int] = weakref.WeakKeyDictionary()  # versions that came from tensors


def render(
    scene: Scene,
    camera: str | Camera | Sequence[str | Camera] | None,
    tensors: Mapping[str, torch.Tensor],
    renderer: str | Renderer = "auto",
    width: int | None = None,
    height: int | None = None,
    channels: str | Sequence[str] = "rgb",
) -> Any:
    """Draw the scene with some of its parameters taken from tensors; differentiable by these.

    The scene itself stays as it is: while it is drawn the tensors stand in for the parameters. Keep a result with
    `scene.parameters()[path].set(tensor.detach().cpu())`.

    The backward draws once more, with the tensors and on a tape, and pulls the gradient through. (Renderers share
    memory between renders, so the tape of each picture cannot wait for its backward.) So any number of renders, of one
    scene or several, may lie between a render and its backward. A backward costs one picture more than `tidr.Tape`; a
    tensor without requires_grad costs none. Renderers that draw random numbers draw the same ones again; a `PathTracer`
    with independent_gradient takes others for its gradient, as always.

    Args:
        camera, renderer, width, height: as for `tidr.render`.
        tensors: path of a parameter -> tensor of its shape, on any device, all on one; of the running precision
            (torch.float32; torch.float64 after `tidr.init(precision=64)`).
        channels: a name, as "rgb", "alpha", "depth", or several.

    Returns:
        The channel as a tensor [H, W, C], or [B, H, W, C] where several cameras were given, on the device of the
        tensors; a tuple of these where several channels were asked for. "ids" has no gradient.

    Raises:
        SceneError: an unknown path, another shape, type or device, a value that is not finite, a fixed parameter whose
            tensor requires a gradient; whatever `tidr.render` raises. In the backward: a parameter of the scene or
            its cameras that was set since the render.
        GradientError: a `tidr.Tape` is open, which would not see past the tensors.

    What this does not differentiate: what the renderer does not; a second time (no gradients of gradients).
    """
    names = (channels,) if isinstance(channels, str) else tuple(channels)
    if not names or len(set(names)) < len(names):
        raise SceneError("channels", f"are {names}", "name one or more, each once")
    if recording():
        raise GradientError("tidr.torch.render", "a tidr.Tape is open", "leave its block, or call tidr.render in it")
    _check(scene, tensors)
    job = _Job(scene, camera, renderer, (width, height), names, tuple(tensors))
    drawn = _Render.apply(job, *tensors.values())
    return drawn[0] if isinstance(channels, str) else drawn


class _Job:
    """What to draw, with tensors in place of some parameters."""

    def __init__(self, scene: Scene, camera, renderer, size: tuple, channels: tuple[str, ...], paths: tuple) -> None:
        self.scene, self.camera, self.renderer, self.size = scene, camera, renderer, size
        self.channels, self.paths = channels, paths
        self.before: dict[str, tuple[Parameter, int]] = {}

    def parameters(self) -> dict[str, Parameter]:
        """All that the picture may depend on, by path; cameras that are not in the scene by their number."""
        found = dict(self.scene.parameters().items())
        given = [self.camera] if isinstance(self.camera, Camera) or self.camera is None else self.camera
        for number, camera in enumerate(given if not isinstance(given, str) else ()):
            if isinstance(camera, Camera):
                found |= {f"camera {number}.{name}": item for name, item in camera.parameters().items()}
        return found

    def remember(self) -> None:
        """Note how the scene is, so that a backward can tell whether it still is."""
        self.before = {path: (item, _own_version(item)) for path, item in self.parameters().items()}

    def refuse_change(self) -> None:
        now = self.parameters()
        for path in sorted(set(now) | set(self.before)):
            then = self.before.get(path)
            if path not in now or then is None or now[path] is not then[0] or _own_version(then[0]) != then[1]:
                what = "was changed between the render and its backward"
                raise SceneError(path, what, "call backward first, or give its value as a tensor")

    def draw(self) -> Image:
        return draw(self.scene, self.camera, self.renderer, *self.size)

    @contextlib.contextmanager
    def lent(self, tensors: Sequence[torch.Tensor]) -> Iterator[Parameters]:
        """Inside, the tensors are the values of the parameters, which are given."""
        known = self.scene.parameters()
        lent = {path: known[path] for path in self.paths}
        held: list[tuple[Parameter, Array]] = []
        try:
            for parameter, tensor in zip(lent.values(), tensors, strict=True):
                other = Array((parameter.rows, parameter.channels))
                _copy_in(tensor, other.value)
                held.append((parameter, other))
                _trade(parameter, other)
            yield Parameters(lent)
        finally:
            for parameter, other in held:
                _trade(parameter, other)


class _Render(torch.autograd.Function):
    """One node of torch's graph."""

    @staticmethod
    def forward(ctx, job: _Job, *tensors: torch.Tensor):
        ctx.job = job
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        device = tensors[0].device if tensors else torch.device("cpu")
        if any(ctx.needs_input_grad):
            job.remember()
        with job.lent(tensors):
            image = job.draw()
            arrays = [image.channel(name) for name in job.channels]
            drawn = tuple(_to_tensor(array.value, array, device) for array in arrays)
        ctx.mark_non_differentiable(*(out for out, name in zip(drawn, job.channels, strict=True) if name == "ids"))
        return drawn

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: torch.Tensor | None):
        job, wanted = ctx.job, ctx.needs_input_grad[1:]
        given = {name: one for name, one in zip(job.channels, gradients, strict=True) if one is not None}
        if not given:
            return (None,) * (1 + len(wanted))
        job.refuse_change()
        with job.lent(ctx.saved_tensors) as parameters:
            chosen = {path: item for (path, item), one in zip(parameters.items(), wanted, strict=True) if one}
            for item in chosen.values():  # one that the picture does not depend on is never touched
                item.zero_grad()
            with Tape(Parameters(chosen)) as tape:
                image = job.draw()
                for name, gradient in given.items():
                    tape.add(_pull(image.channel(name), gradient))
            found = [
                _to_tensor(chosen[path].grad, chosen[path], tensor.device) if path in chosen else None
                for path, tensor in zip(job.paths, ctx.saved_tensors, strict=True)
            ]
        return (None, *found)


def _pull(array: Array, gradient: torch.Tensor) -> Loss:
    """A loss of value 0 whose gradient by the array is the one given."""
    total = Array(())

    def forward() -> None:
        total.value.fill(0.0)

    def backward() -> None:
        _add_in(gradient, array.grad)

    run(Operation(forward, backward, [array], [total], "torch"))
    return Loss(total, "torch")


def _check(scene: Scene, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise where a tensor cannot stand for its parameter."""
    known, first = scene.parameters(), next(iter(tensors.values()), None)
    for path, tensor in tensors.items():
        parameter, kind = known[path], _dtype()
        if not isinstance(tensor, torch.Tensor):
            raise SceneError(path, f"got {type(tensor).__name__}, expected a torch.Tensor")
        if tuple(tensor.shape) != parameter.shape:
            raise SceneError(path, f"the tensor has shape {tuple(tensor.shape)}, expected {parameter.shape}")
        if tensor.dtype != kind:
            mend = f"pass tensor.to({kind}), or call tidr.init with another precision first"
            raise SceneError(path, f"the tensor is {tensor.dtype}, tidr computes in {kind}", mend)
        assert first is not None
        if tensor.device != first.device:
            what = f"the tensor is on {tensor.device}, others on {first.device}"
            raise SceneError(path, what, "move them to one device")
        if parameter.constraint.fixed and tensor.requires_grad:
            raise SceneError(path, "is fixed, so it has no gradient", "pass tensor.detach(), or free the parameter")
        if not bool(torch.isfinite(tensor).all()):
            raise SceneError(path, "the tensor holds a value that is not finite", "give finite numbers")


def _dtype() -> torch.dtype:
    return torch.float64 if runtime.current().precision == 64 else torch.float32


def _own_version(parameter: Parameter) -> int:
    """Grows when the scene's own value is written, not when a tensor stands in for it."""
    return parameter.version - _lent.get(parameter, 0)


def _trade(parameter: Parameter, other: Array) -> None:
    before = parameter.version
    parameter.exchange(other)
    _lent[parameter] = _lent.get(parameter, 0) + parameter.version - before


def _copy_in(tensor: torch.Tensor, target) -> None:
    """Copy a tensor to an ndarray [rows, channels]."""
    if tensor.numel():
        accumulate.copy_rows(*target.shape, _flat(tensor, target), target, 0)


def _add_in(tensor: torch.Tensor, target) -> None:
    """Add a tensor to an ndarray [rows, channels]."""
    if tensor.numel():
        accumulate.add_rows(*target.shape, _flat(tensor, target), 0, target, 0)


def _flat(tensor: torch.Tensor, like) -> torch.Tensor:
    """The same numbers in the shape of an ndarray, ready to be read."""
    flat = tensor.detach().contiguous().reshape(like.shape)
    _settle(flat)
    return flat


def _to_tensor(source, array: Array, device: torch.device) -> torch.Tensor:
    """A tensor on `device` of an ndarray in the array's shape."""
    made = torch.empty(array.shape, dtype=_dtype(), device=device)
    if made.numel():
        _settle(made)
        accumulate.copy_rows(*source.shape, source, made.view(source.shape), 0)
        runtime.taichi().sync()
    return made


def _settle(tensor: torch.Tensor) -> None:
    """Wait for what torch still writes to it; Taichi has a stream of its own."""
    if tensor.is_cuda:
        torch.cuda.current_stream(tensor.device).synchronize()
