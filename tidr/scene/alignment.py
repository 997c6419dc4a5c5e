"""Aligning points: the best similarity of given pairs, and iterated closest points where pairs are not known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidr.errors import SceneError

from .neighbors import PointTree, cloud_rows
from .points import point_rows


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: np.ndarray  # [3, 3], determinant 1
    translation: np.ndarray  # [3]

    @property
    def matrix(self) -> np.ndarray:
        """[4, 4], for column vectors."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.scale * self.rotation, self.translation
        return matrix

    def apply(self, points) -> np.ndarray:
        """Points [N, 3] moved."""
        return self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def after(self, first: Similarity) -> Similarity:
        """The similarity that does `first`, then this one."""
        moved = self.apply(first.translation[None])[0]
        return Similarity(self.scale * first.scale, self.rotation @ first.rotation, moved)


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class Alignment:
    """What `icp` found.

    rms: root mean square distance of the pairs kept, to the points or, with normals, to their planes. pairs: how many
    were kept. steps: how many were made. converged: whether the last one moved the points by less than the tolerance.
    """

    similarity: Similarity
    rms: float
    pairs: int
    steps: int
    converged: bool


def umeyama(source, target, weights=None, scale: bool = True) -> Similarity:
    """The similarity that takes source [N, 3] to target [N, 3], row by row, with the least (weighted) squared error.

    Closed form of Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns". It
    never mirrors: for mirrored pairs it is the best rotation. Where the source lies on a line, the turn about the line
    is any.

    Args:
        weights: [N], at least 0; pairs of weight 0 count for nothing.
        scale: whether to find the scale; else it is 1.

    Raises:
        SceneError: wrong shapes, not finite, negative weights or none above 0; with `scale`, source points that
            coincide.
    """
    source = cloud_rows("source", source)
    target = point_rows("target", target, 3, len(source))
    share = _shares(weights, len(source))
    middle, goal = share @ source, share @ target
    around, wanted = source - middle, target - goal
    left, stretch, right = np.linalg.svd((wanted * share[:, None]).T @ around)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * sign) @ right
    factor = 1.0
    if scale:
        spread = float(share @ (around**2).sum(1))
        if not spread > 1e-24 * float((source**2).sum(1).max()):
            raise SceneError("umeyama", "the source points coincide, so any scale fits", "give scale=False")
        factor = float((stretch * sign).sum()) / spread
    return Similarity(factor, rotation, goal - factor * rotation @ middle)


def icp(
    source, target, *, normals=None, start: Similarity = IDENTITY, scale: bool = False, keep: float = 1.0,
    max_distance: float = np.inf, steps: int = 100, tolerance: float = 1e-7,
) -> Alignment:  # fmt: skip
    """The similarity that takes source [N, 3] to where target [M, 3] lies, from a start that is about right.

    Each step pairs every source point with the nearest target point and moves all by the best similarity for these
    pairs: to the points (Besl and McKay 1992, "A method for registration of 3-D shapes") or, with normals of the
    target, to the planes there (Chen and Medioni 1991), in which surfaces slide over each other and so need far fewer
    steps. It ends in the nearest minimum; symmetric shapes have many.

    Args:
        normals: [M, 3] of the target, any length but 0; their sign does not matter.
        scale: whether to find the scale too; where little of the target is covered, the source may then shrink.
        keep: share in (0, 1] of pairs kept, the nearest (Chetverikov et al. 2002, trimmed ICP), against outliers and
            parts that have no counterpart. At least 3 are.
        max_distance: pairs farther apart are dropped.
        steps: at most so many.
        tolerance: it has converged when a step moves points by less than this share of the source's size (both root
            mean squares).

    Raises:
        SceneError: wrong shapes, not finite, values out of range; fewer than 3 pairs within `max_distance`.
    """
    source, target = cloud_rows("source", source), cloud_rows("target", target)
    planes = None if normals is None else _unit(point_rows("normals", normals, 3, len(target)))
    if not 0 < keep <= 1:
        raise SceneError("icp.keep", f"is {keep}", "give a share above 0, at most 1")
    if not max_distance > 0 or steps < 1:
        raise SceneError("icp", f"max_distance is {max_distance}, steps {steps}", "give values above 0")
    if start.scale <= 0:
        raise SceneError("icp.start", f"has scale {start.scale}", "give one above 0")
    tree, found, converged, made = PointTree(target), start, False, 0
    while made < steps and not converged:
        moved = found.apply(source)
        of, to = _pairs(tree, moved, target, keep, max_distance)
        if planes is None:
            found = umeyama(moved[of], target[to], scale=scale).after(found)
        else:
            found = _to_planes(moved[of], target[to], planes[to], scale).after(found)
        change, size = found.apply(source) - moved, moved - moved.mean(0)
        converged, made = bool((change**2).sum() <= tolerance**2 * (size**2).sum()), made + 1
    moved = found.apply(source)
    of, to = _pairs(tree, moved, target, keep, max_distance)
    gaps = moved[of] - target[to]
    squares = (gaps**2).sum(1) if planes is None else (gaps * planes[to]).sum(1) ** 2
    return Alignment(found, float(np.sqrt(squares.mean())), len(of), made, converged)


def _pairs(tree: PointTree, moved, target, keep: float, max_distance: float) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the source, rows of the target) of the pairs that count."""
    to = tree.nearest(moved)[0][:, 0]
    squares = ((moved - target[to]) ** 2).sum(1)
    of = np.flatnonzero(squares <= max_distance**2)
    if len(of) < 3:
        raise SceneError("icp", f"{len(of)} points have a target within {max_distance}", "start nearer, or allow more")
    kept = max(3, int(np.ceil(keep * len(of))))
    if kept < len(of):
        of = of[np.argsort(squares[of], kind="stable")[:kept]]
    return of, to[of]


def _to_planes(moved: np.ndarray, target: np.ndarray, normals: np.ndarray, scale: bool) -> Similarity:
    """The small similarity that takes points to planes, from the linear least squares of a turn w, a move and 1 + s.

    What no plane decides, such as sliding along a single plane, stays as it is.
    """
    middle = moved.mean(0)
    around = moved - middle
    size = np.sqrt((around**2).mean()) or 1.0
    columns = [np.cross(around / size, normals), normals]
    if scale:
        columns.append(((around / size) * normals).sum(1, keepdims=True))
    gaps = ((target - moved) * normals).sum(1)
    found = np.linalg.lstsq(np.concatenate(columns, 1), gaps, rcond=1e-10)[0]
    rotation = _turn(found[:3] / size)
    factor = max(1.0 + float(found[6]) / size, 0.5) if scale else 1.0
    return Similarity(factor, rotation, middle + found[3:6] - factor * rotation @ middle)


def _turn(axis: np.ndarray) -> np.ndarray:
    """[3, 3] rotation about an axis [3] by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(axis))
    x, y, z = axis / angle if angle > 0 else axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _unit(normals: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    if (length == 0).any():
        raise SceneError("normals", f"row {int((length == 0).argmax())} has no length", "give directions")
    return normals / length


def _shares(weights, count: int) -> np.ndarray:
    """Weights [N] that sum to 1."""
    if weights is None:
        return np.full(count, 1.0 / count)
    array = np.asarray(weights, np.float64)
    if array.shape != (count,) or not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise SceneError("weights", f"expected {count} numbers of at least 0, not all 0")
    return array / array.sum()
