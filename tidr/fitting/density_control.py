"""Gaussians that come and go while a fit runs; their optimizers' memory goes with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidr.kernels.points import density as kernels
from tidr.renderers.splat_statistics import SplatStatistics
from tidr.scene.camera import Camera
from tidr.scene.gaussians import Gaussians
from tidr.scene.graph import Scene

from .. import buffer
from ..errors import SceneError
from ..parameter import Parameter, Parameters, nearest
from .density_steps import Change, adapted, logit, relocated
from .optimizers import Optimizer
from .settings import DensifySettings, densify_of

MARGIN = 1.1  # of the cameras' distance from their middle


@dataclass(frozen=True)
class Cloud:
    """The Gaussians of one node, how they change, and the extent of the scene in their own units."""

    name: str
    gaussians: Gaussians
    how: DensifySettings
    extent: float


class DensityControl:
    """Adds, moves and takes away Gaussians of some nodes; every choice follows from the seed and the step.

    Args:
        settings: by node name. cameras: those of the views, whose spread tells the extent. views_per_step: over how
            many views the loss is a mean, while thresholds are about the loss of one.

    Raises:
        SceneError: no such node, or one without Gaussians.
    """

    def __init__(
        self,
        scene: Scene,
        settings: Mapping[str, DensifySettings | str],
        cameras: Sequence[Camera],
        seed: int = 0,
        views_per_step: int = 1,
    ) -> None:
        self.seed, self.views_per_step = seed, min(views_per_step, len(cameras))
        worlds = scene.world_matrices()
        self.clouds: list[Cloud] = []
        for name, value in settings.items():
            if name not in scene.nodes:
                raise SceneError(f"fit.densify.{name}", "no such node", nearest(name, scene.nodes))
            gaussians, how = scene.nodes[name].geometry, densify_of(value)
            if not isinstance(gaussians, Gaussians):
                raise SceneError(f"fit.densify.{name}", "holds no Gaussians", "name a node with gaussians")
            size = float(np.abs(np.linalg.det(worlds[name][:3, :3])) ** (1 / 3))
            extent = (spread(cameras) or _half(gaussians) * size) if how.extent is None else how.extent
            self.clouds.append(Cloud(name, gaussians, how, extent / size))
            if how.method == "adaptive":
                gaussians.statistics = SplatStatistics(gaussians.count)
        self.reach(0)

    def units(self) -> dict[int, float]:
        """What a learning rate of 1 means, by the id of the means."""
        return {id(cloud.gaussians.means): cloud.extent for cloud in self.clouds}

    def counts(self) -> dict[str, int]:
        """How many Gaussians each node holds."""
        return {cloud.name: cloud.gaussians.count for cloud in self.clouds}

    def reach(self, step: int) -> None:
        """Draw the harmonics up to the degree that belongs to this step, counted from 0."""
        for cloud in self.clouds:
            degree, every = cloud.gaussians.sh_degree, cloud.how.sh_every
            cloud.gaussians.active_degree = min(degree, step // every) if every else degree

    def forget(self) -> None:
        """Start to count gradients anew."""
        for cloud in self.clouds:
            if cloud.gaussians.statistics is not None:
                cloud.gaussians.statistics.clear()

    def advance(self, step: int, optimizers: Sequence[Optimizer]) -> bool:
        """What is due after step number `step` (from 1); whether other Gaussians are there now."""
        changed = False
        for number, cloud in enumerate(self.clouds):
            how, gaussians = cloud.how, cloud.gaussians
            if how.method == "mcmc":
                self._jiggle(cloud, number, step, optimizers)
            due = how.from_step < step <= how.until_step and step % how.every == 0
            change = self._change(cloud, step, np.random.default_rng([self.seed, step, number, 2])) if due else None
            if change is not None:
                apply(gaussians, change, optimizers)
                changed = True
            if due and gaussians.statistics is not None:
                gaussians.statistics.reset(gaussians.count)
            resets = how.method == "adaptive" and how.reset_every > 0 and step < how.until_step
            if resets and step % how.reset_every == 0:
                reset_opacities(gaussians, how.reset_opacity, optimizers)
                changed = True
        return changed

    def state(self, fitted: Parameters) -> dict[str, np.ndarray]:
        """What a checkpoint needs beside the fitted parameters, as arrays by name."""
        found, wanted = {}, {id(parameter) for parameter in fitted.values()}
        for cloud in self.clouds:
            parameters = cloud.gaussians.parameters().items()
            found |= {f"{cloud.name}/{key}": item.numpy() for key, item in parameters if id(item) not in wanted}
            if cloud.gaussians.statistics is not None:
                kept = cloud.gaussians.statistics.state()
                found |= {f"{cloud.name}/statistics/{key}": array for key, array in kept.items()}
        return found

    def load_state(self, state: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], step: int) -> None:
        """Take back what `state` gave, with the values of the fitted parameters by path; optimizers begin after it.

        Raises:
            SceneError: arrays that belong to other Gaussians.
        """
        for cloud in self.clouds:
            parameters = cloud.gaussians.parameters()
            found = {key: values.get(item.path, state.get(f"{cloud.name}/{key}")) for key, item in parameters.items()}
            rows = {len(array) for array in found.values() if array is not None}
            alike = all(a is not None and a.shape[1:] == parameters[key].shape[1:] for key, a in found.items())
            if len(rows) != 1 or not alike:
                raise SceneError(cloud.name, "the checkpoint holds other Gaussians", "start anew")
            for key, array in found.items():
                _put(parameters[key], np.asarray(array))
            if cloud.gaussians.statistics is not None:
                prefix = f"{cloud.name}/statistics/"
                kept = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
                cloud.gaussians.statistics.reset(cloud.gaussians.count)
                cloud.gaussians.statistics.load_state(kept)
        self.reach(step)

    def _change(self, cloud: Cloud, step: int, rng: np.random.Generator) -> Change | None:
        values = {name: item.numpy() for name, item in cloud.gaussians.parameters().items()}
        if cloud.how.method == "mcmc":
            return relocated(values, cloud.how, rng)
        statistics = cloud.gaussians.statistics
        gradients = statistics.gradients() * self.views_per_step
        return adapted(values, gradients, statistics.radii(), cloud.how, cloud.extent, step, rng)

    def _jiggle(self, cloud: Cloud, number: int, step: int, optimizers: Sequence[Optimizer]) -> None:
        """The noise of the Markov chain, as long as the means are fitted."""
        g = cloud.gaussians
        lr = next((one.lr for one in optimizers if any(item is g.means for item in one.parameters)), 0.0)
        if lr * cloud.how.noise > 0:
            arrays = (g.means.value, g.log_scales.value, g.rotations.value, g.opacity_logits.value)
            seed = (self.seed + 7919 * number) & 0x7FFFFFFF
            kernels.jiggle(seed, step, g.count, lr * cloud.how.noise, *arrays)
            g.means.touch()


def apply(gaussians: Gaussians, change: Change, optimizers: Sequence[Optimizer]) -> None:
    """Give Gaussians other rows; each optimizer's memory follows them."""
    count = gaussians.count
    for name, parameter in gaussians.parameters().items():
        before = len(parameter.numpy())
        _put(parameter, change.values[name])
        for one in _owners(parameter, optimizers):
            one.rearrange(parameter, before, change.source, change.fresh)
    if gaussians.count != count:
        buffer.release()


def reset_opacities(gaussians: Gaussians, highest: float, optimizers: Sequence[Optimizer]) -> None:
    """Leave no opacity above `highest`; the optimizers forget about all of them."""
    parameter = gaussians.opacity_logits
    parameter.set(np.minimum(parameter.numpy(), logit(np.array(highest))))
    rows = np.arange(parameter.rows)
    for one in _owners(parameter, optimizers):
        one.rearrange(parameter, len(rows), rows, np.ones(len(rows), bool))


def spread(cameras: Sequence[Camera]) -> float:
    """1.1 times the distance of the farthest camera from the middle of all, world units."""
    places = np.array([camera.position.numpy() for camera in cameras], np.float64)
    return MARGIN * float(np.linalg.norm(places - places.mean(0), axis=1).max())


def _half(gaussians: Gaussians) -> float:
    """Half the diagonal of the means' box, object units."""
    low, high = gaussians.bounds()
    return float(np.linalg.norm(high - low)) / 2 or 1.0


def _owners(parameter: Parameter, optimizers: Sequence[Optimizer]) -> list[Optimizer]:
    return [one for one in optimizers if any(item is parameter for item in one.parameters)]


def _put(parameter: Parameter, array: np.ndarray) -> None:
    """Set a value that may have another number of rows."""
    if parameter.shape == array.shape:
        parameter.set(array)
    else:
        parameter.replace(array)
