"""What a fit makes small: a weighted sum of named losses, or of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from tidr.scene.graph import Node
from tidr.scene.mesh import Mesh

from ..errors import SceneError
from ..parameter import nearest
from . import losses, regularizers
from .settings import IMAGE_LOSSES, LOSSES, MESH_LOSSES
from .tape import Loss, Tape
from .views import Batch

Function = Callable[..., Loss]
UNITS = {"laplacian": 1, "edge_length": 2, "normal_consistency": 0}  # power of length that an energy is measured in
COARSEST = 11  # pixels: levels of a pyramid end before its side is smaller


@dataclass(frozen=True)
class Term:
    """One loss and its weight; `function(image, batch)`, or `function(mesh)` for an energy of `nodes`."""

    name: str
    weight: float
    function: Function
    nodes: tuple[tuple[Node, float], ...] = ()

    @property
    def needs_rgb(self) -> bool:
        """Whether colours are looked at; of the user's own losses it is assumed."""
        return not self.nodes and "alpha_" not in self.name and "silhouette" not in self.name


class Objective:
    """The terms of a fit.

    Args:
        wanted: {name: weight}, or a list of names, functions and (name or function, weight). A function takes (image,
            target), where target has the channels rgb and alpha.
        nodes: the nodes whose vertices are fitted, with the length that stands for 1 in the energies of their mesh.

    Raises:
        SceneError: an unknown name, or an energy of a mesh where none is fitted.
    """

    def __init__(self, wanted: Mapping[str, float] | Iterable, nodes: Mapping[Node, float]) -> None:
        pairs = wanted.items() if isinstance(wanted, Mapping) else [_pair(item) for item in wanted]
        meshes = tuple((node, unit) for node, unit in nodes.items() if isinstance(node.geometry, Mesh))
        self.terms = [_term(loss, float(weight), meshes) for loss, weight in pairs]
        if not self.terms:
            raise SceneError("losses", "is empty", 'give at least one, for example "mse"')

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of an image that the terms look at."""
        return ("rgb", "alpha") if any(term.needs_rgb for term in self.terms) else ("alpha",)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(term.name for term in self.terms))

    def add_to(self, tape: Tape, image, batch: Batch) -> None:
        """Add every term for one batch."""
        for term in self.terms:
            if not term.nodes:
                tape.add(replace(term.function(image, batch), name=term.name), term.weight)
            for node, unit in term.nodes:
                weight = term.weight / unit ** UNITS[term.name]
                tape.add(replace(term.function(node), name=term.name), weight)


def _pair(item) -> tuple:
    return item if isinstance(item, tuple) else (item, 1.0)


def _term(loss: str | Function, weight: float, meshes: tuple[tuple[Node, float], ...]) -> Term:
    if callable(loss):
        return Term(getattr(loss, "__name__", "loss"), weight, loss)
    if loss not in LOSSES:
        raise SceneError("losses", f"unknown name {loss!r}", nearest(loss, LOSSES))
    if loss in MESH_LOSSES:
        if not meshes:
            raise SceneError(f"losses.{loss}", "no mesh is fitted", "fit the vertices of one, or leave this loss out")
        return Term(loss, weight, getattr(regularizers, loss), meshes)
    return Term(loss, weight, _image_loss(loss))


def _image_loss(name: str) -> Function:
    plain = name.removeprefix("multi_scale_")
    assert plain in IMAGE_LOSSES
    channel = "alpha" if plain.startswith("alpha_") or plain == "silhouette" else "rgb"
    function = getattr(losses, {"dssim": "ssim"}.get(plain, plain.removeprefix("alpha_")))

    def single(image, batch: Batch) -> Loss:
        return function(getattr(image, channel), getattr(batch, channel))

    def pyramid(image, batch: Batch) -> Loss:
        array, side = getattr(image, channel), min(image.alpha.shape[-3:-1])
        levels = max(min(4, 1 + (side // COARSEST).bit_length() - 1), 1)
        return losses.multi_scale(array, getattr(batch, channel), function, levels)

    return single if plain == name else pyramid
