"""Losses of the user's own under names, for the `losses` of fits and scene files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import SceneError

OWN: dict[str, OwnLoss] = {}


@dataclass(frozen=True)
class OwnLoss:
    """`function(image, target)`; neighbors: it compares pixels with those beside them; mean: over views or pixels."""

    function: Callable
    neighbors: bool
    mean: bool


def register_loss(name: str, neighbors: bool = False, mean: bool = False) -> Callable[[Callable], Callable]:
    """Decorator: makes `function(image, target) -> Loss` a loss that fits know by name.

    image is an `Image`, target has the device arrays rgb and alpha of the same shapes. With `neighbors` it gets whole
    views only; otherwise also random pixels [n, C], in fits that draw these. `mean` says that it is a mean
    over the views, or over the pixels of views of one size: several processes may then share a step (see `Workers`).

    Raises:
        SceneError: a loss of tidr has this name.
    """

    def register(function: Callable) -> Callable:
        from .settings import known_losses

        if name not in OWN and (name in known_losses() or ":" in name):
            raise SceneError(f"register_loss({name!r})", "is a loss of tidr, or has a colon", "choose another name")
        OWN[name] = OwnLoss(function, neighbors, mean)
        return function

    return register
