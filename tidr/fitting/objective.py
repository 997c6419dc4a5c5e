"""What a fit makes small: a weighted sum of named losses, or of the user's own."""

import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Geometry, Node, Scene
from tidr.scene.mesh import Mesh
from tidr.scene.points import PointCloud

from ..array import Array
from ..errors import SceneError
from ..parameter import Parameter, Parameters, nearest
from . import (
    gaussian_losses,
    grid_regularizers,
    implicit_losses,
    losses,
    point_regularizers,
    regularizers,
    volume_losses,
)
from .depth_losses import both_known
from .own_losses import OWN
from .searches import Residual
from .settings import (
    CLOUD_LOSSES,
    DEPTH_LOSSES,
    GRID_LOSSES,
    IMAGE_LOSSES,
    MESH_LOSSES,
    PICTURE_LOSSES,
    POINT_LOSSES,
    RAY_LOSSES,
    VOLUME_LOSSES,
    check_loss,
)
from .tape import Loss, Tape
from .views import Batch

Function = Callable[..., Loss]
Grids = Mapping[str, tuple[Parameter, Geometry]]
UNITS = {
    "laplacian": 1,
    "edge_length": 2,
    "normal_consistency": 0,
    "flatten": 0,
}  # power of length that an energy is measured in
SQUARES = {"mse": "rgb", "alpha_mse": "alpha"}  # losses that are sums of squares, and of which channel
COARSEST = 11  # pixels: levels of a pyramid end before its side is smaller


@dataclass(frozen=True)
class Term:
    """One loss and its weight: `function(image, batch)`, or `function(thing)` for each of `things`.

    things: nodes, grids or geometries whose energy it is, each with a divisor of the weight.
    """

    name: str
    weight: float
    function: Function
    things: tuple[tuple[Any, float], ...] = ()

    @property
    def needs_views(self) -> bool:
        """Whether it compares pixels with neighbours, or depths; of the user's own losses it is assumed that not,
        unless they were registered so."""
        own = OWN.get(self.name)
        whole = self.name.startswith(("multi_scale_", "depth_")) or self.name in ("dssim", *PICTURE_LOSSES)
        return whole or bool(own and own.neighbors)

    @property
    def needs_rgb(self) -> bool:
        """Whether colours are looked at; of the user's own losses it is assumed."""
        return (
            not self.things
            and "alpha_" not in self.name
            and "silhouette" not in self.name
            and not self.name.startswith("depth_")
            and self.name not in (*RAY_LOSSES, *VOLUME_LOSSES)
        )


class Objective:
    """The terms of a fit.

    Args:
        wanted: {name: weight}, or a list of names, functions and (name or function, weight). A function takes (image,
            target), where target has the channels rgb and alpha.
        nodes: the nodes whose vertices are fitted, with the length that stands for 1 in the energies of their mesh.
        grids: what else is fitted of nodes, by path: the parameter and the geometry that it belongs to.

    Raises:
        SceneError: an unknown name, or an energy of a mesh or grid where none is fitted.
    """

    def __init__(
        self, wanted: Mapping[str, float] | Iterable, nodes: Mapping[Node, float], grids: Grids | None = None
    ) -> None:
        pairs = wanted.items() if isinstance(wanted, Mapping) else [_pair(item) for item in wanted]
        meshes = tuple((node, unit) for node, unit in nodes.items() if isinstance(node.geometry, Mesh))
        self.terms = [_term(loss, float(weight), meshes, grids or {}) for loss, weight in pairs]
        if not self.terms:
            raise SceneError("losses", "is empty", 'give at least one, for example "mse"')

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of an image that the terms look at."""
        return ("rgb", "alpha") if any(term.needs_rgb for term in self.terms) else ("alpha",)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(term.name for term in self.terms))

    def add_to(self, tape: Tape, image, batch: Batch | None, terms: Iterable[Term] | None = None) -> None:
        """Add every term for one batch, or some of them; those of things look at no batch."""
        for term in self.terms if terms is None else terms:
            if not term.things:
                tape.add(replace(term.function(image, batch), name=term.name), term.weight)
            for thing, divisor in term.things:
                tape.add(replace(term.function(thing), name=term.name), term.weight / divisor)

    def residuals(self, image, batch: Batch) -> list[Residual]:
        """The residuals of a batch, whose squares add up to the weighted sum of all terms.

        Raises:
            SceneError: a term that is no sum of squares.
        """
        found = []
        for term in self.terms:
            if term.name not in SQUARES or term.things:
                mend = f"take {' or '.join(SQUARES)}, or another optimizer"
                raise SceneError(f"losses.{term.name}", "is no sum of squares, which least squares want", mend)
            array, target = (getattr(thing, SQUARES[term.name]) for thing in (image, batch))
            scale = math.sqrt(term.weight / (array.rows * array.channels))
            found.append(Residual(array, target.numpy().astype(np.float64), scale))
        return found


def _pair(item) -> tuple:
    return item if isinstance(item, tuple) else (item, 1.0)


def fitted_grids(scene: Scene, params: Parameters) -> Grids:
    """The fitted parameters that belong to a volume, voxel grid, field or tetrahedra, with what they belong to."""
    owners = {
        id(parameter): node.geometry
        for node in scene.nodes.values()
        if node.geometry is not None and not isinstance(node.geometry, Mesh)
        for parameter in node.geometry.parameters().values()
    }
    return {path: (item, owners[id(item)]) for path, item in params.items() if id(item) in owners}


def _term(loss: str | Function, weight: float, meshes: tuple[tuple[Node, float], ...], grids: Grids) -> Term:
    if callable(loss):
        return Term(getattr(loss, "__name__", "loss"), weight, loss)
    check_loss("losses", loss)
    plain = loss.partition(":")[0]
    if loss in OWN:
        return Term(loss, weight, OWN[loss].function)
    if plain in GRID_LOSSES:
        return Term(loss, weight, *_grid_loss(loss, grids))
    if loss in CLOUD_LOSSES:
        clouds = {id(owner): owner for _, owner in grids.values() if isinstance(owner, Gaussians)}
        if not clouds:
            raise SceneError(f"losses.{loss}", "no Gaussians are fitted", "fit some, or leave this loss out")
        return Term(loss, weight, getattr(gaussian_losses, loss), tuple((cloud, 1.0) for cloud in clouds.values()))
    if loss in POINT_LOSSES:
        points = {id(owner): owner for path, (_, owner) in grids.items() if _is_place(path, owner)}
        if not points:
            raise SceneError(f"losses.{loss}", "no points are fitted", "fit the positions of some, or leave it out")
        return Term(loss, weight, getattr(point_regularizers, loss), tuple((cloud, 1.0) for cloud in points.values()))
    if loss in RAY_LOSSES:
        return Term(loss, weight, _ray_loss(loss))
    if loss in VOLUME_LOSSES:
        of_rays = getattr(volume_losses, loss)
        return Term(loss, weight, lambda image, batch: of_rays(image))
    if loss in PICTURE_LOSSES:
        return Term(loss, weight, _picture_loss(loss))
    if loss in MESH_LOSSES:
        if not meshes:
            raise SceneError(f"losses.{loss}", "no mesh is fitted", "fit the vertices of one, or leave this loss out")
        things = tuple((node, unit ** UNITS[loss]) for node, unit in meshes)
        return Term(loss, weight, getattr(regularizers, loss), things)
    return Term(loss, weight, _depth_loss(loss) if loss in DEPTH_LOSSES else _image_loss(loss))


def _is_place(path: str, owner: Geometry) -> bool:
    return isinstance(owner, PointCloud) and path.rpartition(".")[2] == "positions"


def _grid_loss(loss: str, grids: Grids) -> tuple[Function, tuple[tuple[Any, float], ...]]:
    """The function of a loss of grids, and what it is about."""
    plain, _, pattern = loss.partition(":")
    about, whole = GRID_LOSSES[plain], plain not in ("total_variation", "sparsity")  # else of the parameter alone
    cells = {path: one for path, one in grids.items() if not isinstance(one[1], PointCloud | Gaussians)}
    suited = {path for path, (grid, _) in cells.items() if len(grid.shape) >= 3}
    if not pattern and about:
        suited = {path for path in suited if path.rpartition(".")[2] in about}
    if not suited:
        raise SceneError(f"losses.{plain}", "no grid that it suits is fitted", "fit one, or leave this loss out")
    chosen = [path for path in grids if path in suited and fnmatch.fnmatchcase(path, pattern or "*")]
    if not chosen:
        raise SceneError(f"losses.{loss}", "matches no fitted grid", nearest(pattern, suited))
    module = implicit_losses if whole else grid_regularizers
    return getattr(module, plain), tuple((grids[path][1 if whole else 0], 1.0) for path in chosen)


def _ray_loss(name: str) -> Function:
    function = getattr(implicit_losses, name)
    return lambda image, batch: function(image, batch.alpha)


def _depth_loss(name: str) -> Function:
    function = getattr(losses, name.removeprefix("depth_"))

    def compare(image, batch: Batch) -> Loss:
        if batch.depth is None:
            raise SceneError(f"losses.{name}", "the views have no depths", "give fit.depths, or leave this loss out")
        return function(image.depth, batch.depth, mask=both_known(image.depth, batch.depth))

    return compare


def _picture_loss(name: str) -> Function:
    if name == "perceptual":
        return lambda image, batch: losses.perceptual(image, batch.rgb)
    return lambda image, batch: losses.total_variation(image)


def _image_loss(name: str) -> Function:
    plain = name.removeprefix("multi_scale_")
    assert plain in IMAGE_LOSSES
    target = "alpha" if plain.startswith("alpha_") or plain == "silhouette" else "rgb"
    channel = "rgb_coarse" if plain.startswith("coarse_") else target
    function = getattr(losses, {"dssim": "ssim"}.get(plain, plain.removeprefix("alpha_").removeprefix("coarse_")))

    def found(image) -> Array:
        if channel not in image.channels:
            mend = "draw a FrequencyField with the volume renderer, or leave this loss out"
            raise SceneError(f"losses.{name}", f"the image has no channel {channel}", mend)
        return image.channel(channel)

    def single(image, batch: Batch) -> Loss:
        return function(found(image), getattr(batch, target))

    def pyramid(image, batch: Batch) -> Loss:
        array, side = found(image), min(image.alpha.shape[-3:-1])
        levels = max(min(4, 1 + (side // COARSEST).bit_length() - 1), 1)
        return losses.multi_scale(array, getattr(batch, target), function, levels)

    return single if plain == name else pyramid
