"""Differentiable ray consistency: what rays observed against where a voxel grid says they end (Tulsiani et al. 2017).

Each ray ends in the cells that it crosses with the probabilities of method "drc" of the voxel renderer, and behind the
grid with what is left. Every end has a cost by the observation; the loss is the expected cost, averaged over rays. A
mean over what was rendered would be another loss: here a ray may end at the right depth or not, but not halfway.
"""

from collections.abc import Sequence

import numpy as np

from tidr.kernels.voxels import lookup
from tidr.kernels.voxels import ray_consistency as kernels
from tidr.renderers.rays import Rays
from tidr.renderers.voxels import VoxelRenderer, find
from tidr.renderers.voxels_march import GridGradient, March, Scratch
from tidr.scene.camera import Camera
from tidr.scene.graph import Scene

from ..array import Array, constant
from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, needs, run, unrecorded
from .totals import Total

KINDS = {"mask": kernels.MASK, "depth": kernels.DEPTH, "color": kernels.COLOR, "semantics": kernels.CLASSES}


def ray_consistency(
    scene: Scene,
    cameras: Camera | Sequence[Camera],
    kind: str,
    target,
    *,
    mask=None,
    background=(1.0, 1.0, 1.0),
    far: float | None = None,
    background_weight: float = 0.2,
) -> Loss:
    """Expected cost of where the rays of some cameras end, by what they observed.

    Args:
        kind: "mask": target in [0, 1], 1 on the object; ending on the wrong side costs 1. "depth": target along the
            camera axis; costs the difference. "color": linear RGB; half the squared difference. "semantics": class
            numbers, -1 for none; -log of the class's probability.
        target: [H, W, C], or [B, H, W, C] for several cameras; the image is as large.
        mask: [(B,) H, W, 1], 1 where a ray meets the object; by it (or by a target mask) rays of the background count
            `background_weight`, 0.2 as published, and the others 1.
        background, far: the colour, and the depth, of a ray that ends behind the grid.

    What this does not differentiate: which cells a ray crosses; only "depth" moves with the camera and the nodes.

    Raises:
        SceneError: no such kind, no colours or classes in the grid, shapes that do not fit, or no `far` for depth.
    """
    cameras = [cameras] if isinstance(cameras, Camera) else list(cameras)
    observed = _observations(kind, target, len(cameras))
    count, height, width, _ = observed.shape
    node, grid = find(scene, "ray_consistency")
    attribute = {"color": grid.color, "semantics": grid.semantics}.get(kind)
    if kind in ("color", "semantics") and attribute is None:
        raise SceneError(f"{node.name}.{kind}", "the grid has none", f"give VoxelGrid({kind}=...)")
    if kind == "depth" and far is None:
        raise SceneError("ray_consistency.far", "is not given", "say how deep a ray is that ends behind the grid")
    if kind == "semantics" and attribute is not None and observed.max() >= attribute.channels:
        raise SceneError("ray_consistency.target", f"has class {observed.max():g}", f"there are {attribute.channels}")
    seen = observed > 0.5 if kind == "mask" else np.ones((count, height, width, 1), bool)
    if mask is not None:
        seen = np.broadcast_to(np.asarray(mask).reshape(count, height, width, 1), seen.shape) > 0.5
    shares = np.where(seen, 1.0, background_weight) / seen.size
    rays = Rays.of_cameras(cameras, width, height)
    march = March(VoxelRenderer(method="drc"), grid, rays.to_object(scene, node))
    with unrecorded():
        behind = constant([background if kind == "color" else (float(far or 0.0),)])
        given = Array.of(observed.reshape(-1, observed.shape[-1]), needs_grad=False)
        weights = Array.of(shares.reshape(-1, 1), needs_grad=False)
    return Loss(_mean(_costs(march, rays, KINDS[kind], attribute, given, behind), weights), f"ray_{kind}")


def _observations(kind: str, target, views: int) -> np.ndarray:
    if kind not in KINDS:
        raise SceneError("ray_consistency.kind", f"is {kind!r}", f"choose one of {', '.join(KINDS)}")
    observed = np.asarray(target, np.float64)
    channels = 3 if kind == "color" else 1
    if observed.ndim == 3:
        observed = observed[None]
    if observed.ndim != 4 or observed.shape[0] != views or observed.shape[3] != channels or 0 in observed.shape:
        expected = f"[{views}, H, W, {channels}]"
        raise SceneError("ray_consistency.target", f"has shape {np.shape(target)}, expected {expected}")
    if not np.isfinite(observed).all():
        raise SceneError("ray_consistency.target", "holds numbers that are not finite", "mark missing rays by a mask")
    return observed


def _costs(march: March, rays: Rays, kind: int, attribute: Array | None, target: Array, behind: Array) -> Array:
    """[n, 1] expected cost of every ray."""
    out, alpha = Array((rays.count, 1)), Array((rays.count, 1), needs_grad=False)
    shown = attribute or march.grid.values
    inputs = [march.grid.values, march.rays.origins, march.rays.directions, rays.cosines]
    inputs += [] if attribute is None else [attribute]

    def begin(scratch: Scratch, first: int, lanes: int) -> tuple:
        march.place(scratch, first, lanes)
        march.weigh(scratch, first, lanes, alpha)
        return (first, lanes, march.steps, kind, scratch.t, scratch.rows, scratch.counts, scratch.weights)

    def forward() -> None:
        scratch = Scratch(march, "t", "values", "weights")
        for first, lanes in march.chunks():
            common = begin(scratch, first, lanes)
            ends = (alpha.value, rays.cosines.value, shown.value, target.value, behind.value, out.value)
            kernels.expected(*common, *ends)

    def backward() -> None:
        scratch = Scratch(march, "t", "values", "weights", "grad_weights", "grad_values", "grad_t")
        to_alpha = Array((rays.count, 1), needs_grad=False)
        values = GridGradient(march.grid.values) if needs(march.grid.values) else None
        seen = GridGradient(attribute) if attribute is not None and needs(attribute) else None
        still = (march.warp.value, True, False)
        for first, lanes in march.chunks():
            common = begin(scratch, first, lanes)
            given = (rays.cosines.value, shown.value, target.value, behind.value, out.grad)
            found = (scratch.grad_weights, to_alpha.value, scratch.grad_t, rays.cosines.grad)
            kernels.expected_adjoint(*common, *given, *found)
            march.back_to_values(scratch, first, lanes, to_alpha.value)
            if values is not None:
                grads = (scratch.grad_values, to_alpha.value, *still)
                common_place = march.common(scratch, first, lanes)
                values.add(lookup.scatter_private, lookup.scatter_atomic, lookup.VALUES, *common_place, *grads)
            if kind == kernels.DEPTH and (needs(march.rays.origins) or needs(march.rays.directions)):
                march.back_to_rays(scratch, first, lanes)
            if seen is not None:
                ends = (*common[5:], shown.value, target.value, out.grad)
                seen.add(kernels.scatter_private, kernels.scatter_atomic, *common[:4], *ends)
        for each in (values, seen):
            if each is not None:
                each.collect()

    run(Operation(forward, backward, inputs, [out], "ray consistency"))
    return out


def _mean(costs: Array, weights: Array) -> Array:
    """[1, 1] sum of weights * costs."""
    total, terms = Total(costs.rows, 1.0), Buffer((costs.rows,))

    def forward() -> None:
        kernels.weighted(costs.rows, costs.value, weights.value, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.weighted_adjoint(costs.rows, weights.value, total.loss.grad, costs.grad)

    run(Operation(forward, backward, [costs], [total.loss], "mean cost"))
    return total.loss
