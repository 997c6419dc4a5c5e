"""Loss and slope over an offset, by edge treatment: the discs of T1 and T20 on their way to where they belong.

The loss is 1 - IoU of the masks; its slope is what a fit would follow, by the tape. Beside them stands "true": the loss
of hard pictures of 64 samples a pixel, and its slope by central differences of half a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.losses import silhouette
from tidr.fitting.tape import Tape
from tidr.renderers.raster import EDGES, Rasterizer
from tidr.renderers.renderer import render

from .figures import pictures
from .report import aligned
from .runner import Task, problems
from .shapes import PIXELS_PER_UNIT, WAY

if TYPE_CHECKING:
    from tidr.plots import Plot

OFFSETS = (1.0, 4.0, 8.0, 16.0, 30.0)  # pixels
TRUE = "true"


@dataclass(frozen=True)
class Point:
    """The loss `offset` pixels away and its slope, the change for a pixel farther away."""

    problem: str
    treatment: str
    offset: float
    loss: float
    slope: float


def treatments(task: Task) -> dict[str, Rasterizer]:
    """Every edge treatment with its own defaults; "soft" and "dibr" also as wide as the problem begins with."""
    wide = task.softness.at(0)
    options: dict[str, dict[str, Any]] = {
        "soft, sharp": {"edges": "soft"},
        "soft, wide": {"edges": "soft"} | wide,
        "dibr, wide": {"edges": "dibr"} | task.softness.at(0, "dibr"),
    }
    options = {name: {"edges": name} for name in EDGES if name != "soft"} | options
    return {name: Rasterizer(channels=("alpha",), **each) for name, each in options.items()}


def sweep(
    names: Iterable[str] = ("T1", "T20"), offsets: Sequence[float] = OFFSETS, chosen: Iterable[str] | None = None
) -> list[Point]:
    """Losses and slopes of those problems' discs, of all `treatments` or those chosen, then what is true.

    Raises:
        SceneError: a problem that is not T1 or T20.
    """
    found = []
    for problem in problems(names):
        if problem.name not in ("T1", "T20"):
            raise SceneError(f"problem {problem.name}", "moves no disc", "choose T1 or T20")
        task = problem.build()
        place, target = task.scene["shape"].translation, Array.of(task.targets["alpha"], needs_grad=False)
        home = place.numpy() - WAY * task.error() / PIXELS_PER_UNIT
        drawers = treatments(task)
        for name in drawers if chosen is None else chosen:
            for offset in offsets:
                place.set(home + WAY * offset / PIXELS_PER_UNIT)
                with Tape({"place": place}) as tape:
                    tape.add(silhouette(render(task.scene, task.cameras, drawers[name]), target))
                slope = float(place.grad_numpy() @ WAY) / PIXELS_PER_UNIT
                found.append(Point(problem.name, name, offset, tape.loss, slope))

        def true_loss(offset: float, task=task, place=place, home=home) -> float:
            place.set(home + WAY * offset / PIXELS_PER_UNIT)
            mask = pictures(task.scene, task.cameras, "alpha", samples=8)["alpha"]
            both = mask * task.targets["alpha"]
            return 1 - float(both.sum() / (mask + task.targets["alpha"] - both).sum())

        for offset in offsets:
            slope = true_loss(offset + 0.5) - true_loss(offset - 0.5)
            found.append(Point(problem.name, TRUE, offset, true_loss(offset), slope))
    return found


def table(points: Sequence[Point]) -> list[list[str]]:
    """Rows of cells, the head first: one row a problem and treatment, one column an offset, with loss and slope."""
    offsets = sorted({point.offset for point in points})
    cells = {(point.problem, point.treatment, point.offset): f"{point.loss:.4f} {point.slope:+.1e}" for point in points}
    rows = dict.fromkeys((point.problem, point.treatment) for point in points)
    body = [[*row, *(cells.get((*row, offset), "") for offset in offsets)] for row in rows]
    return [["problem", "edges", *(f"{offset:g} px: loss, slope" for offset in offsets)], *body]


def text(points: Sequence[Point]) -> str:
    """The table in columns."""
    return "\n".join(aligned(table(points)))


def chart(points: Sequence[Point]) -> Plot:
    """Losses on the left and slopes on the right over the offset, a row a problem, a line a treatment.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from tidr.plots import Plot

    names = list(dict.fromkeys(point.problem for point in points))
    plot = Plot(figsize=(10, 1 + 3 * len(names)), layout="constrained")
    for name, row in zip(names, np.atleast_2d(plot.subplots(len(names), 2)), strict=True):
        treated = dict.fromkeys(point.treatment for point in points)
        lines = {each: [p for p in points if (p.problem, p.treatment) == (name, each)] for each in treated}
        for axes, value in zip(row, ("loss", "slope"), strict=True):
            for treatment, held in lines.items():
                style = "k--" if treatment == TRUE else "-"
                axes.plot([p.offset for p in held], [getattr(p, value) for p in held], style, label=treatment)
            axes.set(xlabel="pixels off", ylabel=f"{name}: {value}")
        row[0].legend(fontsize="small")
    return plot
