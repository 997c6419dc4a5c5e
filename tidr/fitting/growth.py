"""From coarse to fine: grids that begin small and double their resolution at given steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np

from tidr.scene.graph import Scene

from ..errors import SceneError
from ..parameter import Parameter, nearest

SMALLEST = 4  # cells a side that a fit may begin with


class Grid(Protocol):
    """A geometry of cells: shape [D, H, W], and the same at another resolution."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def resampled(self, shape: tuple[int, ...]) -> Grid: ...

    def parameters(self) -> dict[str, Parameter]: ...


class Growth:
    """Grids that are halved at once and doubled again at the steps given, to the resolution that they came with.

    Args:
        steps: {node name: increasing numbers of steps}.

    Raises:
        SceneError: no such node, a node without a grid, or one too small to be halved so often.
    """

    def __init__(self, scene: Scene, steps: Mapping[str, Sequence[int]]) -> None:
        self.grids = [(_grid(scene, name), tuple(when)) for name, when in steps.items()]
        self.final = [tuple(grid.shape) for grid, _ in self.grids]
        for name, (_, when), shape in zip(steps, self.grids, self.final, strict=True):
            where = f"fit.grow.{name}"
            if any(a >= b for a, b in itertools.pairwise(when)) or min(when, default=1) < 1:
                raise SceneError(where, f"is {list(when)}", "give increasing numbers of steps")
            if min(shape) < SMALLEST << len(when):
                raise SceneError(where, f"the grid {shape} cannot be halved {len(when)} times", "give fewer steps")
        self.reach(0)

    def reach(self, step: int) -> bool:
        """Give every grid the resolution that it has at `step`; whether any changed."""
        changed = False
        for (grid, when), final in zip(self.grids, self.final, strict=True):
            halvings = sum(step < turn for turn in when)
            shape = tuple(max(n >> halvings, 1) for n in final)
            if tuple(grid.shape) != shape:
                resample(grid, shape)
                changed = True
        return changed


def resample(grid: Grid, shape: tuple[int, ...]) -> None:
    """Give a grid another resolution; its parameters stay the same objects."""
    made = grid.resampled(shape).parameters()
    for name, parameter in grid.parameters().items():
        if parameter.shape != made[name].shape:
            parameter.replace(made[name].numpy().astype(np.float64))


def _grid(scene: Scene, name: str) -> Grid:
    if name not in scene.nodes:
        raise SceneError(f"fit.grow.{name}", "no such node", nearest(name, scene.nodes))
    geometry = scene.nodes[name].geometry
    if not hasattr(geometry, "resampled"):
        raise SceneError(f"fit.grow.{name}", "holds no grid that could be made finer", "name a node with a volume")
    return cast(Grid, geometry)
