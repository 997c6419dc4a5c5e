"""Gradient checker: what the tape says against central differences, parameter by parameter.

Protocol: random smooth weights turn the image into one number; each scalar, or random directions where there are many,
is moved by +-h and +-h/2; Richardson extrapolation takes off the h^2 term. A point where the differences contradict
themselves (a pixel flips, a texel centre is crossed) is a kink: smaller steps are tried, then it is left out and
counted.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tidr import runtime
from tidr.array import Array
from tidr.errors import GradientError
from tidr.parameter import Parameter, Parameters
from tidr.renderers.renderer import render, renderer_type
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from .tape import Loss, Operation, Tape, run

MANY, RANDOM = 200, 32  # above MANY scalars, RANDOM directions stand for all
STEPS = {64: (6e-6, 4e-7, 4e-8), 32: (5e-3,)}
TOLERANCE = {64: 1e-5, 32: 2e-2}
GRAIN = {64: 1e-15, 32: 2e-7}  # rounding in a gradient, as a share of the largest effect of any parameter


@dataclass(frozen=True, kw_only=True)
class GradientRow:
    """One parameter's verdict.

    directions: used; kinks: left out. largest: max |gradient|. error: the worst |tape - differences|, relative to the
    larger of the two and to a thousandth of the gradient's scale.
    """

    path: str
    scalars: int
    directions: int
    kinks: int
    largest: float
    error: float
    passed: bool

    @property
    def note(self) -> str:
        """Why the row failed, or what is special about it."""
        if not math.isfinite(self.largest):
            return "gradient is not finite"
        if self.directions == 0:
            return "every direction crosses a kink" if self.kinks else "empty"
        return "no influence" if self.largest == 0 and self.passed else ""


@dataclass(frozen=True, kw_only=True)
class GradientReport:
    """What `check_gradients` found; `differences` maps each path to the slopes that were measured (NaN: a kink)."""

    renderer: str
    arch: str
    precision: int
    tolerance: float
    rows: tuple[GradientRow, ...]
    differences: Mapping[str, tuple[float, ...]] = field(repr=False)

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    def table(self) -> str:
        """The rows as plain text."""
        width = max([len(row.path) for row in self.rows] + [9])
        lines = [f"{'parameter':{width}}  directions  kinks  max |grad|    error  verdict"]
        for row in self.rows:
            verdict = ("pass" if row.passed else "FAIL") + (f" ({row.note})" if row.note else "")
            numbers = f"{row.directions:10d}  {row.kinks:5d}  {row.largest:10.2e}  {row.error:7.1e}"
            lines.append(f"{row.path:{width}}  {numbers}  {verdict}")
        return "\n".join(lines)

    def as_dict(self) -> dict:
        """Plain data for JSON; numbers that are not finite become None."""

        def plain(value):
            return None if isinstance(value, float) and not math.isfinite(value) else value

        rows = [{key: plain(value) for key, value in vars(row).items()} | {"note": row.note} for row in self.rows]
        head = {"renderer": self.renderer, "arch": self.arch, "precision": self.precision, "tolerance": self.tolerance}
        return head | {"passed": self.passed, "rows": rows}


def check_gradients(
    scene: Scene,
    camera: str | Camera | Sequence[str | Camera] | None = None,
    renderer="auto",
    parameters: Sequence[str] | None = None,
    *,
    channels: Sequence[str] = ("rgb", "alpha"),
    directions: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    differences: Mapping[str, Sequence[float]] | None = None,
) -> GradientReport:
    """Compare the tape's gradients of a rendered image with central differences.

    Args:
        scene, camera, renderer: as `tidr.render`.
        parameters: glob patterns of paths; all that are not fixed when None.
        channels: image channels that the test loss weighs.
        directions: at most so many per parameter; None takes every scalar up to 200 and 32 random directions above.
        size: (width, height) of the test render; the camera's own when None.
        seed: of the weights and directions.
        differences: slopes from the `differences` of an earlier report on the same scene and seed, for instance one
            measured in 64 bits, where steps are small enough for hard visibility; measured here when None.

    Raises:
        GradientError: the render is not finite; SceneError: no such camera, parameter or renderer.
    """
    drawer = renderer_type(renderer, scene)() if isinstance(renderer, str) else renderer
    if getattr(drawer, "independent_gradient", False):
        drawer = replace(drawer, independent_gradient=False)  # the same random numbers as the differences
    probe = _Probe(scene, camera, drawer, tuple(channels), size, seed)
    wanted = scene.parameters(*parameters) if parameters else scene.parameters()
    wanted = Parameters({path: p for path, p in wanted.items() if not p.constraint.fixed and p.rows * p.channels})
    with Tape(wanted) as tape:
        tape.add(probe.loss())
    gradients = {path: p.grad_numpy().astype(np.float64) for path, p in wanted.items()}
    sizes = {path: max(1.0, float(np.abs(p.numpy()).max())) for path, p in wanted.items()}
    effect = max((float(np.abs(gradients[path]).max()) * sizes[path] for path in wanted), default=0.0)
    rows, measured = [], {}
    for path, parameter in wanted.items():
        given = None if differences is None else differences[path]
        grain = GRAIN[runtime.current().precision] * effect / sizes[path]
        row, measured[path] = _check(probe, path, parameter, gradients[path], directions, given, grain)
        rows.append(row)
    running, edges = runtime.current(), getattr(drawer, "edges", "")
    name = type(drawer).__name__ + (f"(edges={edges!r})" if edges else "")
    return GradientReport(
        renderer=name,
        arch=running.arch,
        precision=running.precision,
        tolerance=TOLERANCE[running.precision],
        rows=tuple(rows),
        differences=measured,
    )


class _Probe:
    """The test loss: the mean of smooth random weights times each channel, summed on the host in f64."""

    def __init__(self, scene, camera, drawer, channels: tuple[str, ...], size, seed: int) -> None:
        self.scene, self.camera, self.drawer, self.channels, self.seed = scene, camera, drawer, channels, seed
        self.width, self.height = size or (None, None)
        self.weights: dict[str, np.ndarray] = {}
        self.magnitude = 0.0

    def loss(self) -> Loss:
        image = render(self.scene, self.camera, self.drawer, self.width, self.height)
        arrays = [image.channel(name) for name in self.channels]
        for name, array in zip(self.channels, arrays, strict=True):
            if name not in self.weights:
                rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
                self.weights[name] = smooth_noise(rng, array.shape) / max(array.rows * array.channels, 1)
        return weighted_sum(arrays, [self.weights[name] for name in self.channels])

    def value(self) -> float:
        value = float(self.loss())
        if not math.isfinite(value):
            raise GradientError("check_gradients", f"the image's weighted sum is {value}", "look for NaN parameters")
        self.magnitude = max(self.magnitude, abs(value))
        return value


def weighted_sum(arrays: Sequence[Array], weights: Sequence[np.ndarray]) -> Loss:
    """Sum of weights times arrays, added up on the host in f64: exact enough to difference."""
    total = _HostScalar()

    def forward() -> None:
        total.number = sum(float((w * a.numpy()).sum(dtype=np.float64)) for a, w in zip(arrays, weights, strict=True))
        total.set(total.number)

    def backward() -> None:
        upstream = float(total.grad_numpy())
        for array, weight in zip(arrays, weights, strict=True):
            array.set_grad(array.grad_numpy() + upstream * weight)

    run(Operation(forward, backward, list(arrays), [total], "weighted sum"))
    return _HostLoss(total, "weighted_sum")


class _HostScalar(Array):
    """A scalar whose value is also kept in f64, whatever the device's precision."""

    def __init__(self) -> None:
        super().__init__(())
        self.number = 0.0


class _HostLoss(Loss):
    def __float__(self) -> float:
        return self.array.number if isinstance(self.array, _HostScalar) else super().__float__()


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights [..., H, W, C] around 1 made of a few long waves, so that neighbouring pixels weigh alike."""
    *views, height, width, channels = shape
    rows, columns = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    noise = np.ones((*views, height, width, channels))
    for index in np.ndindex(*views, channels):
        for _ in range(4):
            a, b = rng.uniform(-9, 9, 2)
            noise[(*index[:-1], slice(None), slice(None), index[-1])] += 0.5 * np.sin(
                a * rows + b * columns + rng.uniform(0, 2 * np.pi)
            )
    return noise


def _check(probe, path: str, parameter: Parameter, gradient: np.ndarray, limit: int | None, given, grain: float):
    """Row of one parameter, and the slopes measured along its directions."""
    tolerance = TOLERANCE[runtime.current().precision]
    floor = 1e-3 * float(np.sqrt((gradient**2).mean()))
    slopes, errors = [], []
    for k, direction in enumerate(_directions(path, parameter.shape, limit, probe.seed)):
        exact = float((gradient * direction).sum())
        scale = max(abs(exact), floor * float(np.linalg.norm(direction)))
        slope, noise = (given[k], 0.0) if given is not None else _slope(probe, parameter, direction, tolerance * scale)
        slopes.append(slope)
        if math.isfinite(slope):
            errors.append(abs(exact - slope) / max(scale, abs(slope), (noise + grain) / tolerance, 1e-300))
    error = max(errors, default=math.nan)
    largest = float(np.abs(gradient).max())
    row = GradientRow(
        path=path,
        scalars=gradient.size,
        directions=len(errors),
        kinks=len(slopes) - len(errors),
        largest=largest,
        error=error,
        passed=error <= tolerance and math.isfinite(largest),
    )
    return row, tuple(slopes)


def _directions(path: str, shape: tuple[int, ...], limit: int | None, seed: int) -> Iterator[np.ndarray]:
    """Every scalar's axis where there are few, else random directions; the same for every backend."""
    size = math.prod(shape)
    most = limit if limit is not None else size if size <= MANY else RANDOM
    if size <= most:
        for k in range(size):
            axis = np.zeros(size)
            axis[k] = 1.0
            yield axis.reshape(shape)
        return
    rng = np.random.default_rng([seed, zlib.crc32(path.encode())])
    for _ in range(most):
        direction = rng.normal(size=shape)
        yield direction / np.linalg.norm(direction) * size**0.25


def _slope(probe: _Probe, parameter: Parameter, direction: np.ndarray, tolerance: float) -> tuple[float, float]:
    """Central difference along a direction and the rounding noise in it; (NaN, 0) at a kink.

    Where the function is smooth both central differences agree, and the one-sided slopes differ by h times its
    curvature, so that twice their difference at h/2 is that at h. These tests never see the gradient under test, thus a
    wrong gradient cannot pass for a kink.
    """
    resolution = 1e-16 if runtime.current().precision == 64 else 1e-8
    start = parameter.numpy().astype(np.float64)

    def value(step: float) -> float:
        parameter.set(start + step * direction)
        return probe.value()

    slope, noise = math.nan, 0.0
    for relative in STEPS[runtime.current().precision]:
        h = relative * max(1.0, float(np.abs(start).max()))
        here, ahead, behind, near, back = (value(step) for step in (0.0, h, -h, h / 2, -h / 2))
        rounding = 16 * resolution * probe.magnitude / h
        coarse, fine = (ahead - behind) / (2 * h), (near - back) / h
        right, left = 2 * (near - here) / h, 2 * (here - back) / h
        bend = 2 * (right - left) - (ahead + behind - 2 * here) / h
        apart = abs(right - left) > 0.1 * max(abs(right), abs(left)) + 10 * max(tolerance, rounding)
        if not apart and max(abs(coarse - fine), abs(bend)) <= max(0.3 * tolerance, 2 * rounding):
            slope, noise = (4 * fine - coarse) / 3, rounding
            break
    parameter.set(start)
    return (0.0 if abs(slope) <= noise else slope), noise
