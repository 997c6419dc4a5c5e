"""Neighbours among points: the k nearest, those within a radius, farthest-point sampling.

Exact searches in a balanced k-d tree (Friedman, Bentley and Finkel 1977, "An algorithm for finding best matches in
logarithmic expected time"): every half holds as many points as its twin, so clusters, duplicates, planes and lines cost
no more than even points do. The tree is made on the host, the searches run on the device at its precision.

Points and queries are [N, 3] arrays, or an `Array` or `Parameter`. What lies far from the origin is moved near to it
before it is rounded to the device's precision. What is found has no gradient; searches may be made inside a tape.
"""

import numpy as np

from tidr import runtime
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import unrecorded
from tidr.kernels.points import neighbors as kernels
from tidr.kernels.reduce import split

from .points import point_rows

LEAF = 8  # points of a leaf, at most
REACH = 1e18  # of coordinates: their squares are finite in 32 bits
FAR = {32: 3e38, 64: 1e300}  # stands for no distance yet


def nearest(points, queries=None, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points of every query, the nearest first, equals by their number.

    Args:
        points: [N, 3]. queries: [n, 3]; None asks for the neighbours of each point, itself left out.

    Returns:
        numbers [n, k] int32 of points, and squared distances [n, k]. Where there are fewer than k points, the rest is
        -1 and inf.

    Raises:
        SceneError: wrong shape, no point, not finite, k below 1.
    """
    return PointTree(points).nearest(queries, k)


def within(points, queries, radius: float, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `limit` points, by their number, that are nearer to a query than `radius`.

    As `ball_query` of PyTorch3D picks them: not the nearest, and in rising order of numbers.

    Returns:
        numbers [n, limit] int32 of points, and squared distances [n, limit]; -1 and inf where there are fewer.

    Raises:
        SceneError: wrong shape, no point, not finite, a radius not above 0, a limit below 1.
    """
    return PointTree(points).within(queries, radius, limit)


@unrecorded()
def farthest_points(points, count: int, start: int = 0) -> np.ndarray:
    """Numbers [count] int32 of points that spread evenly: each is the farthest from those before it.

    Deterministic: `start` comes first, and of equally far points the lowest number; no point comes twice, even where
    points coincide (Eldar et al. 1997, "The farthest point strategy for progressive image sampling").

    Raises:
        SceneError: wrong shape, not finite, count not in [1, N], start not in [0, N).
    """
    rows = cloud_rows("points", points)
    if not 1 <= count <= len(rows):
        raise SceneError("farthest_points.count", f"is {count}", f"give 1 to {len(rows)}, the number of points")
    if not 0 <= start < len(rows):
        raise SceneError("farthest_points.start", f"is {start}", f"give a point's number, 0 to {len(rows) - 1}")
    places, squares = _reals(rows - _shift(rows)), Buffer((len(rows),))
    squares.ndarray.fill(_far())
    chosen = _integers(np.full(count + 1, start))
    parts = split(len(rows), runtime.on_cpu())
    best, which = Buffer((parts.chunks,)), Buffer((parts.chunks,), "int")
    for step in range(count - 1):
        kernels.farthest(
            len(rows), step, places.ndarray, *parts, squares.ndarray, best.ndarray, which.ndarray, chosen.ndarray
        )
    return chosen.ndarray.to_numpy()[:count]


class PointTree:
    """A k-d tree of points [N, 3], for several searches among the same points; it keeps a copy of them."""

    @unrecorded()
    def __init__(self, points) -> None:
        rows = cloud_rows("points", points)
        self.count = len(rows)
        self._shift = _shift(rows)
        groups, members, positions = _distinct(_rounded(rows - self._shift))
        order, places, low, high = _halve(positions)
        self.leaves, self.size = order.shape
        self._boxes, self._places = _reals(np.concatenate([low, high], 1)), _reals(places)
        sizes = np.where(order < 0, 0, np.diff(groups)[order]).ravel()
        first = np.concatenate([[0], np.cumsum(sizes)])
        turn = np.arange(self.count) + np.repeat(groups[order.ravel()] - first[:-1], sizes)
        self._first, self._items = _integers(first), _integers(members[turn])
        self._own = places[np.repeat(np.arange(len(sizes)), sizes)]

    def nearest(self, queries=None, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest` of this file."""
        return _results(k, *self.search(queries, k))

    @unrecorded()
    def search(self, queries=None, k: int = 1) -> tuple[Buffer, Buffer, int]:
        """Numbers and squared distances [n * k] of the k nearest points on the device, and n; -1 where there are fewer.

        Squared distances are those of the points less a shift that keeps them exact far from the origin.
        """
        if k < 1:
            raise SceneError("nearest.k", f"is {k}", "ask for at least 1 neighbour")
        places, rows, count = self._queries(queries, k)
        found, squares = Buffer((count * k,), "int"), Buffer((count * k,))
        kernels.nearest(
            count, k, int(queries is None), _far(), *self._tree(), places.ndarray, rows.ndarray,
            squares.ndarray, found.ndarray,
        )  # fmt: skip
        return found, squares, count

    @unrecorded()
    def within(self, queries, radius: float, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """As `within` of this file."""
        if limit < 1:
            raise SceneError("within.limit", f"is {limit}", "ask for at least 1 point")
        if not 0 < radius < np.inf:
            raise SceneError("within.radius", f"is {radius}", "give a distance above 0")
        places, rows, count = self._queries(queries, limit)
        found, squares = Buffer((count * limit,), "int"), Buffer((count * limit,))
        kernels.within(
            count, limit, float(radius) ** 2, _far(), *self._tree(), places.ndarray, rows.ndarray,
            squares.ndarray, found.ndarray,
        )  # fmt: skip
        return _results(limit, found, squares, count)

    def _tree(self) -> tuple:
        buffers = (self._boxes, self._places, self._first, self._items)
        return self.leaves, self.size, *(buffer.ndarray for buffer in buffers)

    def _queries(self, queries, each: int) -> tuple[Buffer, Buffer, int]:
        """(positions, row of each, number of rows); neighbours follow each other, since they search the same leaves."""
        if queries is None:
            places, rows, count = _reals(self._own), self._items, self.count
        else:
            given = cloud_rows("queries", queries, empty=True)
            order, ordered, _, _ = _halve(_rounded(given - self._shift))
            held = order.ravel() >= 0
            places, rows, count = _reals(ordered[held]), _integers(order.ravel()[held]), len(given)
        if count * each >= 1 << 31:
            raise SceneError("neighbors", f"{count} queries of {each} answers", "ask for fewer at once")
        return places, rows, count


def _distinct(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points that coincide as one: (starts [m + 1] of groups, their members [N] in rising order, positions [m, 3])."""
    members = np.lexsort(points.T)
    ordered = points[members]
    fresh = np.ones(len(points), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(1)
    starts = np.flatnonzero(fresh)
    return np.append(starts, len(points)), members, ordered[starts]


def _halve(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points halved along the longest side of their box, again and again.

    Returns:
        numbers [leaves, size] of the points, -1 where a place is empty; their positions [leaves * size, 3]; the lowest
        and highest corners [2 * leaves, 3] of every node's box.
    """
    count = len(points)
    leaves = 1
    while leaves * LEAF < count:
        leaves *= 2
    size = max(-(-count // leaves), 1)
    order = np.full(leaves * size, -1)
    order[:count] = np.arange(count)
    # An empty place has the position of some point, so that it widens no box.
    places = points[np.arange(leaves * size) % count] if count else np.zeros((size, 3), points.dtype)
    parts = 1
    while parts < leaves:
        boxes = places.reshape(parts, -1, 3)
        axis = (boxes.max(1) - boxes.min(1)).argmax(1)
        values = np.take_along_axis(boxes, axis[:, None, None], 2)[..., 0]
        half = values.shape[1] // 2
        turn = np.argpartition(values, half, axis=1) + np.arange(parts)[:, None] * (2 * half)
        order, places = order[turn.ravel()], places[turn.ravel()]
        parts *= 2
    low, high = np.zeros((2 * leaves, 3), points.dtype), np.zeros((2 * leaves, 3), points.dtype)
    low[leaves:], high[leaves:] = (pick(places.reshape(leaves, size, 3), axis=1) for pick in (np.min, np.max))
    while parts > 1:
        parts //= 2
        low[parts : 2 * parts] = low[2 * parts : 4 * parts].reshape(parts, 2, 3).min(1)
        high[parts : 2 * parts] = high[2 * parts : 4 * parts].reshape(parts, 2, 3).max(1)
    return order.reshape(leaves, size), places, low, high


def _shift(points: np.ndarray) -> np.ndarray:
    """What to take off each axis: the middle where the points lie farther from 0 than they spread, else nothing.

    Then the difference is exact even for numbers of the device's precision (Sterbenz 1974); around 0 it might not be.
    """
    low, high = points.min(0), points.max(0)
    middle = _rounded((low + high) / 2).astype(np.float64)
    return np.where(np.abs(middle) > high - low, middle, 0.0)


def _rounded(array: np.ndarray) -> np.ndarray:
    """As the device will hold it."""
    return array.astype(np.float64 if runtime.current().precision == 64 else np.float32)


def _far() -> float:
    return FAR[runtime.current().precision]


def cloud_rows(name: str, points, empty: bool = False) -> np.ndarray:
    """Points [N, 3] in f64, checked; none at all only where `empty` allows it."""
    rows = point_rows(name, points, 3)
    if not (len(rows) or empty):
        raise SceneError(name, "holds no point", "give at least one")
    if len(rows) and np.abs(rows).max() > REACH:
        row = int(np.abs(rows).max(1).argmax())
        raise SceneError(name, f"row {row} is {rows[row].tolist()}", f"give coordinates up to {REACH:g}")
    return rows


def _reals(array: np.ndarray) -> Buffer:
    return _uploaded(_rounded(array), "real")


def _integers(array: np.ndarray) -> Buffer:
    return _uploaded(array.astype(np.int32), "int")


def _uploaded(array: np.ndarray, kind: str) -> Buffer:
    buffer = Buffer((array.size,), kind)
    if array.size:
        buffer.ndarray.from_numpy(np.ascontiguousarray(array).ravel())
    return buffer


def _results(each: int, found: Buffer, squares: Buffer, count: int) -> tuple[np.ndarray, np.ndarray]:
    if count == 0:
        return np.zeros((0, each), np.int32), np.zeros((0, each))
    numbers = found.ndarray.to_numpy().reshape(count, each)
    return numbers, np.where(numbers < 0, np.inf, squares.ndarray.to_numpy().reshape(count, each).astype(np.float64))
