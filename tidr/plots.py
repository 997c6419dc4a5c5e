"""Plots of a fit and pictures side by side (extra "plots").

Each function gives a `Plot`, a matplotlib figure that a notebook shows by itself and `.save(path)` writes; nothing of
matplotlib's global state is touched, and no window opens.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("tidr.plots needs matplotlib: pip install 'tidr[plots]'") from error

from .errors import FileError, SceneError
from .files.srgb import linear_to_srgb
from .files.write import write_bytes
from .fitting.fit import FitResult
from .fitting.loop import Watcher
from .parameter import Parameter

ENTRIES = 16  # lines of one parameter; of larger ones the mean and the range are drawn


class Plot(Figure):
    """A figure that a notebook shows."""

    def png(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()

    def save(self, path: str | Path) -> None:
        """Write it as PNG.

        Raises:
            FileError: the file cannot be written.
        """
        write_bytes(Path(path), self.png())

    def _repr_png_(self) -> bytes:
        return self.png()


class History(Watcher):
    """Keeps the values of parameters over a fit: `tidr.fit(..., watcher=History(params))`, then `parameters(history)`.

    every: steps between two looks. `steps` and `values` (path -> arrays) are what it saw, from before the first step.
    """

    def __init__(self, parameters: Mapping[str, Parameter], every: int = 1) -> None:
        self.watched, self.every = dict(parameters), max(every, 1)
        self.steps: list[int] = []
        self.values: dict[str, list[np.ndarray]] = {path: [] for path in self.watched}

    def start(self, done: int, total: int) -> None:
        self._look(done)

    def step(self, step: int, loss: float, psnr: float | None) -> None:
        if step % self.every == 0:
            self._look(step)

    def _look(self, step: int) -> None:
        self.steps.append(step)
        for path, parameter in self.watched.items():
            self.values[path].append(parameter.numpy())


def losses(run: str | Path | FitResult) -> Plot:
    """The loss and its terms over the steps, on a logarithmic axis; skipped steps are gaps.

    Args:
        run: a fit's result, or its run folder (or the loss.csv in it).

    Raises:
        FileError: no such file, or one that is no loss.csv.
    """
    columns, table = (run.columns, run.losses) if isinstance(run, FitResult) else _read(Path(run))
    plot, axes = _axes("step", "loss")
    steps = table[:, columns.index("step")]
    names = [name for name in columns if name not in ("step", "seconds")]
    for name in names if len(names) != 2 else names[:1]:  # the loss is its only term
        values = table[:, columns.index(name)]
        axes.plot(steps, np.where(values > 0, values, np.nan), label=name, linewidth=1.6 if name == "loss" else 0.9)
    axes.set_yscale("log")
    axes.legend()
    return plot


def parameters(history: History, truth: Mapping[str, Any] | None = None) -> Plot:
    """Parameters over the steps: a line for each entry, of large ones the mean and the range from least to most.

    Args:
        truth: path -> what the parameter should become, drawn dashed.

    Raises:
        SceneError: nothing was watched.
    """
    if not history.values:
        raise SceneError("plots.parameters", "the history watches nothing", "give History(scene.parameters(...))")
    count = len(history.values)
    plot = Plot(figsize=(6, 1 + 2 * count), layout="constrained")
    for axes, (path, values) in zip(np.ravel(plot.subplots(count, sharex=True)), history.values.items(), strict=True):
        if len({value.shape for value in values}) > 1:
            raise SceneError(path, "changed its shape during the fit", "watch others")
        rows = np.stack([value.ravel() for value in values])
        if rows.shape[1] <= ENTRIES:
            axes.plot(history.steps, rows)
        else:
            axes.fill_between(history.steps, rows.min(1), rows.max(1), alpha=0.3, linewidth=0)
            axes.plot(history.steps, rows.mean(1))
        for value in np.ravel((truth or {}).get(path, ()))[:ENTRIES]:
            axes.axhline(value, color="black", linestyle="--", linewidth=0.7)
        axes.set_title(path, fontsize=9)
        axes.set_xlabel("step" if path == [*history.values][-1] else "")
    return plot


def pictures(images: Mapping[str, Any] | Sequence[Any], across: int = 4, gamma: bool = True) -> Plot:
    """Pictures side by side, with titles where they have names.

    Args:
        images: each an `Image`, a channel or anything that numpy reads, [H, W, 1 or 3]; linear and clipped to [0, 1],
            or shown from least to most where it has one channel.
        gamma: encode colours as sRGB; False where they are so already.

    Raises:
        SceneError: no pictures, or one of another shape.
    """
    named = dict(images.items()) if isinstance(images, Mapping) else dict(enumerate(images))
    if not named:
        raise SceneError("plots.pictures", "there are none", "give some")
    columns = min(across, len(named))
    rows = -(-len(named) // columns)
    plot = Plot(figsize=(2.6 * columns, 2.8 * rows), layout="constrained")
    places = np.ravel(plot.subplots(rows, columns))
    for axes in places:
        axes.set_axis_off()
    for axes, (name, image) in zip(places, named.items(), strict=False):
        array = np.asarray(image)
        if array.ndim == 2:
            array = array[..., None]
        if array.ndim != 3 or array.shape[-1] not in (1, 3):
            raise SceneError(f"plots.pictures[{name!r}]", f"has shape {array.shape}, expected [H, W, 1 or 3]")
        if array.shape[-1] == 3:
            array = np.clip(array, 0, 1)
            axes.imshow(linear_to_srgb(array) if gamma else array)
        else:
            axes.imshow(array[..., 0], cmap="gray")
        axes.set_title(name if isinstance(name, str) else "", fontsize=9)
    return plot


def _axes(across: str, up: str) -> tuple[Plot, Any]:
    plot = Plot(figsize=(6, 3.6), layout="constrained")
    axes = plot.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    return plot, axes


def _read(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Column names and numbers of a loss.csv."""
    file = path / "loss.csv" if path.is_dir() else path
    try:
        lines = list(csv.reader(file.read_text().splitlines()))
        names, numbers = tuple(lines[0]), np.array(lines[1:], np.float64).reshape(-1, len(lines[0]))
    except OSError as error:
        raise FileError(file, f"cannot be read: {error.strerror}", "give the folder of a fit") from error
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise FileError(file, "is no table of losses", "give the folder of a fit") from error
    if not {"step", "loss"} <= set(names):
        raise FileError(file, "has no columns step and loss", "give the folder of a fit")
    return names, numbers
