"""One step of a fit, whole or in shares: some of its views or pixels at a time, whose sum is the whole step.

A loss that is a mean over views, windows, pixels or rays is the mean of the shares' losses, each weighed by how much
it was taken over, and so is its gradient. Energies of meshes, grids and points are added once, where shares are summed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tidr.kernels.image_batch import copy_block
from tidr.renderers.rays import RayRenderer
from tidr.renderers.renderer import Image, render, renderer_type

from ..array import Array
from ..errors import GradientError, SceneError, TidrError
from ..parameter import Parameter
from .depth_losses import both_known
from .losses import halved
from .own_losses import OWN
from .searches import Residual
from .tape import Operation, Tape, run, unrecorded
from .views import Batch, behind, random_background, schedule

if TYPE_CHECKING:
    from .loop import Plan


@dataclass(frozen=True)
class Share:
    """Part `number` of `count` nearly equal, neighbouring parts of a step's views or pixels."""

    number: int = 0
    count: int = 1

    def of(self, total: int) -> tuple[int, int]:
        """(first, how many) of `total`."""
        first, end = (total * n // self.count for n in (self.number, self.number + 1))
        return first, end - first


WHOLE = Share()


@dataclass(frozen=True)
class Group:
    """Terms that are means over the same things, `size` of them in a share: their weighted sum, each, and gradients."""

    size: float
    loss: float
    terms: Mapping[str, float]
    gradients: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Part:
    """What became of a share: a group for each of `groups_of`, or else why there is no gradient.

    statistics: what density control counts of each of its nodes, for thresholds on the lengths of gradients.
    """

    groups: tuple[Group, ...] = ()
    statistics: tuple[Mapping[str, np.ndarray], ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Sum:
    """The loss and the terms of a step whose shares were summed; as of a tape."""

    loss: float
    terms: Mapping[str, float]


class Crew(Protocol):
    """Those who work out the shares of a step."""

    def parts(self, plan: Plan, step: int, at: int) -> list[Part]:
        """The parts of the whole batch of `step`, drawn as the fit does at step number `at`.

        Raises:
            CrewError: nobody is left to do it.
        """
        ...


class CrewError(TidrError):
    """Shares of a step that nobody can work out."""


def split_count(plan: Plan, wanted: int) -> int:
    """Into how many shares a step is split: no share is empty."""
    return max(min(wanted, plan.rays_per_step or min(plan.views_per_step, len(plan.views))), 1)


def batch_of(plan: Plan, step: int, share: Share = WHOLE) -> Batch:
    """What a step, or a share of it, is held against."""
    background = random_background(plan.seed, step) if plan.random_background else None
    if plan.rays_per_step:
        first, count = share.of(plan.rays_per_step)
        return plan.views.pixels(plan.seed, step, count, background, first)
    chosen = schedule(len(plan.views), plan.views_per_step, plan.seed, step)
    first, count = share.of(len(chosen))
    batch = plan.views.batch(chosen[first : first + count], background)
    for _ in range(sum(step < at for at in plan.sharpen)):
        with unrecorded():
            rgb, alpha = halved(batch.rgb, recorded=False), halved(batch.alpha, recorded=False)
        batch = replace(batch, rgb=rgb, alpha=alpha, sizes=[(height // 2, width // 2) for height, width in batch.sizes])
    return batch


def drawn(plan: Plan, batch: Batch, step: int, at: int, share: Share = WHOLE) -> Image:
    """What a batch is compared with: random numbers are those that the share has in the whole."""
    renderer = jittered(plan.drawer(at), plan.seed + at)
    if batch.pixels is not None:
        assert isinstance(renderer, RayRenderer)
        renderer = _counted(renderer, share.of(plan.rays_per_step)[0])
        return renderer.render_pixels(plan.scene, batch.cameras, batch.sizes, batch.pixels, batch.rgb.rows)
    height, width = batch.sizes[0]
    if share == WHOLE:
        return render(plan.scene, batch.cameras, renderer, width, height)
    chosen = schedule(len(plan.views), plan.views_per_step, plan.seed, step)
    first, count = share.of(len(chosen))
    if not hasattr(renderer, "render_part"):
        return render(plan.scene, batch.cameras, _counted(renderer, first * height * width), width, height)
    image = renderer.render_part(plan.scene, [plan.views.cameras[n] for n in chosen], width, height, first, count)
    return Image({name: lambda name=name: _views_of(image.channel(name), first, count) for name in image.channels})


def gradients_of(plan: Plan, step: int, at: int) -> Tape:
    """The tape of a whole step; gradients are those of the plan's parameters."""
    batch, tape = batch_of(plan, step), Tape(plan.params)
    with behind(plan.scene, batch.background, plan.views.hides_environment), tape:
        plan.objective.add_to(tape, drawn(plan, batch, step, at), batch)
    return tape


def residuals_of(plan: Plan, step: int) -> list[Residual]:
    """What a step's loss is the sum of squares of.

    Raises:
        SceneError: a loss that is no such sum, or a fit in several processes.
    """
    if plan.crew is not None:
        raise SceneError("fit", "least squares in several processes", "fit in one, or take another optimizer")
    batch = batch_of(plan, step)
    with behind(plan.scene, batch.background, plan.views.hides_environment):
        return plan.objective.residuals(drawn(plan, batch, step, step), batch)


def part_of(plan: Plan, step: int, at: int, share: Share) -> Part:
    """What becomes of a share of a step."""
    groups = []
    clouds = [cloud.gaussians.statistics for cloud in plan.density.clouds] if plan.density is not None else []
    for statistics in clouds:
        if statistics is not None:
            statistics.clear()
    for terms in groups_of(plan):
        batch, tape = batch_of(plan, step, share), Tape(plan.params)
        for parameter in plan.params.values():
            parameter.zero_grad()
        try:
            with behind(plan.scene, batch.background, plan.views.hides_environment), tape:
                image = drawn(plan, batch, step, at, share)
                plan.objective.add_to(tape, image, batch, terms)
        except GradientError as error:
            return Part(trouble=str(error))
        size = float(batch.rgb.rows)
        if terms[0].name.startswith("depth_"):
            assert batch.depth is not None
            size = float(both_known(image.depth, batch.depth).numpy().sum())
        gradients = {path: parameter.grad_numpy() for path, parameter in plan.params.items()}
        groups.append(Group(size, tape.loss, dict(tape.terms), gradients))
    return Part(tuple(groups), tuple({} if one is None else one.state() for one in clouds))


def groups_of(plan: Plan) -> list[list]:
    """The terms that look at pictures: means over all that is drawn, and means over pixels of known depth."""
    found: tuple[list, list] = ([], [])
    for term in plan.objective.terms:
        if not term.things:
            found[term.name.startswith("depth_")].append(term)
    return [terms for terms in found if terms]


def summed(plan: Plan, parts: Sequence[Part]) -> Sum:
    """The whole step: the plan's parameters get their gradients.

    Raises:
        GradientError: a loss that is not finite.
    """
    if trouble := next((part.trouble for part in parts if part.trouble), ""):
        where, _, what = trouble.partition(": ")
        raise GradientError(where, what)
    for parameter in plan.params.values():
        parameter.zero_grad()
    loss, terms = 0.0, {}
    energies = [term for term in plan.objective.terms if term.things]
    if energies:
        with Tape(plan.params) as tape:
            plan.objective.add_to(tape, None, None, energies)
        loss, terms = tape.loss, dict(tape.terms)
    totals = {path: parameter.grad_numpy().astype(np.float64) for path, parameter in plan.params.items()}
    for groups in zip(*(part.groups for part in parts), strict=True):
        whole = math.fsum(group.size for group in groups)
        for group in groups:
            weight = group.size / whole if whole else 0.0
            loss += weight * group.loss
            for name, value in group.terms.items():
                terms[name] = terms.get(name, 0.0) + weight * value
            for path, gradient in group.gradients.items():
                totals[path] += weight * gradient
    for path, total in totals.items():
        plan.params[path].set_grad(total)
    _add_statistics(plan, parts)
    return Sum(loss, terms)


def moving(plan: Plan) -> dict[str, Parameter]:
    """By path, what a crew must know of each step: all that is fitted, and what grows or comes and goes with it."""
    held = [grid for grid, _ in plan.growth.grids] if plan.growth is not None else []
    held += [cloud.gaussians for cloud in plan.density.clouds] if plan.density is not None else []
    along = {id(parameter) for owner in held for parameter in owner.parameters().values()}
    return {path: item for path, item in plan.scene.parameters().items() if path in plan.params or id(item) in along}


def take(plan: Plan, values: Mapping[str, np.ndarray], at: int) -> None:
    """Bring a plan to step number `at` of a fit that another process leads: `values` are of `moving`."""
    for path, parameter in moving(plan).items():
        value = values[path]
        if parameter.shape == value.shape:
            parameter.set(value)
        else:
            parameter.replace(value)
    if plan.density is not None:
        plan.density.reach(at)
        for cloud in plan.density.clouds:
            if cloud.gaussians.statistics is not None and cloud.gaussians.statistics.count != cloud.gaussians.count:
                cloud.gaussians.statistics.reset(cloud.gaussians.count)


def refuse_shares(plan: Plan) -> None:
    """Say what cannot be split.

    Raises:
        SceneError: a renderer whose pictures belong together, or a loss that is no mean over views or pixels.
    """
    renderer, mend = plan.renderer, "fit in one process, without --workers and --scheduler"
    seeded = hasattr(renderer, "seed") and not isinstance(renderer, renderer_type("level_set"))
    if seeded and not (hasattr(renderer, "jitter") or hasattr(renderer, "render_part")):
        what = f"is {type(renderer).__name__}, whose random numbers belong to all views of a step at once"
        raise SceneError("fit.renderer", what, mend)
    for term in plan.objective.terms:
        if term.name in OWN and not OWN[term.name].mean:
            what = "is your own, and may be no mean over views or pixels"
            raise SceneError(f"fit.losses.{term.name}", what, f"register it with mean=True, or {mend}")
        if term.name == "free_space":
            raise SceneError("fit.losses.free_space", "looks at random places that belong to all rays at once", mend)
        if plan.rays_per_step and term.name == "silhouette":
            raise SceneError("fit.losses.silhouette", "of single pixels is one ratio of all of them", mend)
    if plan.density is not None and len(groups_of(plan)) > 1:
        raise SceneError("fit.densify", "stands beside losses of depths and of colours, which are split apart", mend)


def jittered(renderer: Any, seed: int | None) -> Any:
    """A renderer whose random places are those of `seed`, none where it is None; others stay as they are.

    One that has a seed but no choice of jitter always looks at random places.
    """
    optional = hasattr(renderer, "jitter")
    if not (renderer.jitter if optional else hasattr(renderer, "seed")):
        return renderer
    if seed is None:
        return replace(renderer, jitter=False) if optional else renderer
    return replace(renderer, seed=seed & 0x7FFFFFFF)


def _counted(renderer: Any, first: int) -> Any:
    """A renderer whose rays count from `first` for its random places; kernels take jitter as 1 more than that."""
    return replace(renderer, jitter=1 + first) if getattr(renderer, "jitter", False) else renderer


def _views_of(images: Array, first: int, count: int) -> Array:
    """Some views of a batch [.., B, H, W, C], and of its halves."""
    *before, batch, height, width, channels = images.shape
    views, several = Array((*before, count, height, width, channels)), math.prod(before)
    rows = count * height * width
    places = [((n * batch + first) * height * width, n * rows) for n in range(several)]

    def forward() -> None:
        for there, here in places:
            copy_block(rows, channels, images.value, there, views.value, here)

    def backward() -> None:  # nobody else looks at the pictures, so their gradient is all zeros before
        for there, here in places:
            copy_block(rows, channels, views.grad, here, images.grad, there)

    run(Operation(forward, backward, [images], [views], "views"))
    if images.halves is not None:
        views.halves = _views_of(images.halves, first, count)
    return views


def _add_statistics(plan: Plan, parts: Sequence[Part]) -> None:
    """Let density control count what the shares have counted; lengths of gradients as of the whole step's loss."""
    clouds = plan.density.clouds if plan.density is not None else []
    for number, cloud in enumerate(clouds):
        if cloud.gaussians.statistics is None:
            continue
        state, whole = cloud.gaussians.statistics.state(), sum(part.groups[0].size for part in parts)
        for part in parts:
            found, weight = part.statistics[number], part.groups[0].size / whole
            state["gradient_sum"] = state["gradient_sum"] + weight * found["gradient_sum"]
            state["seen"] = state["seen"] + found["seen"]
            state["radius"] = np.maximum(state["radius"], found["radius"])
        cloud.gaussians.statistics.load_state(state)
