"""How the parameters of a fit move: from their settings to constraints, optimizers and schedules."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from tidr.scene.graph import Node

from ..errors import SceneError
from ..parameter import Parameter, Parameters
from . import schedules
from .large_steps import LargeSteps
from .least_squares import Dogleg, LevenbergMarquardt
from .loop import Scheduled
from .optimizers import SGD, Adam, Optimizer, UniformAdam, VectorAdam
from .searches import LBFGS
from .settings import SEARCHES, ParameterSettings

KINDS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam, "sgd": SGD, "uniform_adam": UniformAdam, "vector_adam": VectorAdam, "lbfgs": LBFGS,
    "levenberg_marquardt": LevenbergMarquardt, "dogleg": Dogleg,
}  # fmt: skip
WARMUP_SHARE = 0.05


def optimizers_of(
    settings: Mapping[str, ParameterSettings],
    params: Parameters,
    moved: Mapping[Node, float],
    units: Mapping[int, float],
) -> list[Scheduled]:
    """One optimizer per pattern and, for vertices and for parameters with a unit of lr (by id), one for each; of each
    kind that searches one for all.

    Args:
        settings: {pattern of paths: how}, the first match counts. moved: the nodes whose vertices are fitted, with the
            length that lr is measured in.

    Raises:
        SceneError: "large_steps" for something else than vertices, or channels that the parameter does not have.
    """
    owners = {id(node.vertices): node for node in moved}
    left = dict(params)
    made: list[Scheduled] = []
    searched: dict[str, tuple[ParameterSettings, list[Parameter]]] = {}
    for pattern, how in settings.items():
        chosen = [path for path in params.select(pattern) if path in left]
        parameters = [left.pop(path) for path in chosen]
        for parameter in parameters:
            _constrain(f"fit.parameters.{pattern}", how, parameter)
        if how.optimizer in SEARCHES:
            first, together = searched.setdefault(how.optimizer, (how, []))
            if how.lr != first.lr:
                what = f"is {how.lr} here and {first.lr} elsewhere, {how.optimizer} moves all of them together"
                raise SceneError(f"fit.parameters.{pattern}.lr", what, "give the same everywhere")
            together += parameters
            continue
        vertices = [parameter for parameter in parameters if id(parameter) in owners]
        scaled = [parameter for parameter in parameters if id(parameter) in units]
        others = [parameter for parameter in parameters if id(parameter) not in (owners.keys() | units.keys())]
        if how.optimizer == "large_steps" and (others or scaled):
            what = f"large_steps moves the vertices of a mesh, not {[*others, *scaled][0].label}"
            raise SceneError(f"fit.parameters.{pattern}.optimizer", what, 'take "adam"')
        for parameter in vertices:
            node = owners[id(parameter)]
            made.append(Scheduled(_optimizer(how, [parameter], node), how.lr * moved[node], _schedule(how)))
        for parameter in scaled:
            lr = how.lr * units[id(parameter)]
            made.append(Scheduled(_optimizer(how, [parameter], None), lr, _schedule(how)))
        if others:
            made.append(Scheduled(_optimizer(how, others, None), how.lr, _schedule(how)))
    return made + [Scheduled(KINDS[name](found, lr=how.lr), how.lr) for name, (how, found) in searched.items()]


def _constrain(where: str, how: ParameterSettings, parameter: Parameter) -> None:
    """Keep a parameter to what its settings say."""
    kept = parameter.constraint
    if how.clamp is not None:
        kept = replace(kept, clamp=tuple(how.clamp))
    if how.channels is not None:
        if kept.unit or kept.simplex:
            what = f"rows of {parameter.label} are kept to one length or sum, so no entry can stay as it is"
            raise SceneError(f"{where}.channels", what, "leave it out")
        if not how.channels or not all(0 <= channel < parameter.channels for channel in how.channels):
            what = f"is {list(how.channels)}, {parameter.label} has {parameter.channels}"
            raise SceneError(f"{where}.channels", what, f"give numbers from 0 to {parameter.channels - 1}")
        kept = replace(kept, channels=tuple(how.channels))
    parameter.constraint = kept


def _optimizer(how: ParameterSettings, parameters: list[Parameter], node: Node | None) -> Optimizer:
    if how.optimizer == "large_steps":
        return LargeSteps(node, lr=how.lr, lam=how.smoothness)
    return KINDS[how.optimizer](parameters, lr=how.lr)


def _schedule(how: ParameterSettings) -> Callable[[int, int], float]:
    """The settings' schedule by name; "warmup" rises over the first twentieth, then falls like "exponential"."""
    falling = schedules.Exponential(end=how.final_lr)
    return {
        "constant": schedules.Constant(),
        "exponential": falling,
        "cosine": schedules.Cosine(end=how.final_lr),
        "warmup": lambda step, total: schedules.Warmup(steps=int(WARMUP_SHARE * total), then=falling)(step, total),
    }[how.schedule]
