"""Neighbours by the tree equal those by brute force, whatever the points' spacing; farthest points spread evenly."""

import numpy as np
import pytest

from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.parameter import Parameter
from tidr.scene.neighbors import PointTree, farthest_points, nearest, within

from .gradients import weighted


def clusters(rng, n):
    """Groups whose sizes differ by a factor of a million, some far away."""
    return rng.normal(size=(n, 3)) * 10.0 ** rng.uniform(-4, 2, (n, 1)) + rng.choice([0.0, 50.0], (n, 1))


POINTS = {
    "even": lambda rng, n: rng.uniform(-1, 1, (n, 3)),
    "clusters": clusters,
    "duplicates": lambda rng, n: rng.integers(0, 3, (n, 3)).astype(float),
    "plane": lambda rng, n: rng.uniform(-1, 1, (n, 3)) * [1, 0, 2] + [0, 3, 0],
    "line": lambda rng, n: rng.uniform(-1, 1, (n, 1)) * [1, 1, 2],
    "same": lambda rng, n: np.full((n, 3), 0.25),
    "one": lambda rng, n: rng.normal(size=(1, 3)),
}


def brute(points, queries, itself: bool) -> np.ndarray:
    """Squared distances [n, N] in f64; inf from a point to itself."""
    squares = sum((queries[:, None, a] - points[None, :, a]) ** 2 for a in range(3))
    if itself:
        np.fill_diagonal(squares, np.inf)
    return squares


def clear_radius(squares, share: float) -> float:
    """About that share of the distances is below it, and none so near that rounding could decide."""
    levels = np.append(np.sort(squares, axis=None), squares.max() * 4)
    start = int(share * (len(levels) - 2))
    gaps = np.diff(np.log(levels[max(start - 200, 0) : start + 201]))
    at = max(start - 200, 0) + int(gaps.argmax())
    return float((levels[at] * levels[at + 1]) ** 0.25)


def check_nearest(points, queries, k, backend):
    """The same points as by brute force: in f64 exactly, in f32 up to such whose distances differ by rounding."""
    numbers, squares = nearest(points, queries, k)
    all_squares = brute(points, points if queries is None else queries, queries is None)
    order = np.argsort(all_squares, axis=1, kind="stable")[:, :k]
    expected = np.take_along_axis(all_squares, order, 1)
    order = np.where(np.isinf(expected), -1, order)
    short = ((0, 0), (0, k - order.shape[1]))
    order, expected = np.pad(order, short, constant_values=-1), np.pad(expected, short, constant_values=np.inf)
    assert numbers.shape == squares.shape == order.shape
    if backend.precision == 64:
        assert (numbers == order).all()
    else:
        assert ((numbers < 0) == (order < 0)).all()
        found = np.take_along_axis(all_squares, np.maximum(numbers, 0), 1)
        scale = np.abs(points - points.mean(0)).max() ** 2 + 1e-30
        close = np.isclose(found, expected, rtol=1e-5, atol=1e-12 * scale)
        assert (close | (numbers < 0)).all()
        assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in numbers)
    assert np.allclose(squares, expected, rtol=1e-12 if backend.precision == 64 else 1e-5, atol=1e-9)


@pytest.mark.row(130)
@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("k", [1, 7])
def test_nearest_equal_brute_force(name, k, backend):
    rng = np.random.default_rng(1)
    points = POINTS[name](rng, 300).astype(np.float32).astype(float)
    check_nearest(points, None, k, backend)
    queries = np.concatenate([points[:40] + 0.01, points[:20], rng.normal(size=(37, 3)) * 100])
    check_nearest(points, queries.astype(np.float32).astype(float), k, backend)


@pytest.mark.row(130)
def test_more_neighbors_than_points_leave_minus_one(backend):
    numbers, squares = nearest([[0, 0, 0], [1, 0, 0], [0, 3, 0]], k=4)
    assert numbers.tolist() == [[1, 2, -1, -1], [0, 2, -1, -1], [0, 1, -1, -1]]
    assert squares[:, 0].tolist() == [1, 1, 9]
    assert np.isinf(squares[:, 2:]).all()


@pytest.mark.row(130)
def test_equally_near_points_come_by_their_number(backend):
    """Lattice points have many neighbours at one distance, all exact in f32 even at an offset of a million."""
    lattice = np.stack(np.meshgrid(*[np.arange(6.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    lattice = np.random.default_rng(2).permutation(np.concatenate([lattice, lattice[:50]]))
    squares = brute(lattice, lattice, True)
    expected = np.argsort(squares, axis=1, kind="stable")[:, :20]
    for offset in ([0, 0, 0], [1e6, -2e6, 3e6]):
        numbers, _ = nearest(lattice / 16 + offset, k=20)
        assert (numbers == expected).all()


@pytest.mark.row(130)
def test_points_far_from_the_origin_keep_their_spacing(backend):
    rng = np.random.default_rng(3)
    points = rng.uniform(-1, 1, (200, 3))
    numbers, squares = nearest(points + np.array([1e7, -1e7, 0]), k=3)
    near, near_squares = nearest(points, k=3)
    assert (numbers == near).all()
    assert np.allclose(squares, near_squares, rtol=1e-4)


@pytest.mark.row(130)
@pytest.mark.parametrize("name", POINTS)
def test_ball_query_takes_the_first_by_number(name, backend):
    rng = np.random.default_rng(4)
    points = POINTS[name](rng, 300).astype(np.float32).astype(float)
    queries = (points[::3] + 0.001).astype(np.float32).astype(float)
    squares = brute(points, queries, False)
    for share, limit in ((0.01, 5), (0.3, 12), (1.0, 40)):
        radius = clear_radius(squares, share)
        numbers, found = within(points, queries, radius, limit)
        inside = squares < radius**2
        for row in range(len(queries)):
            expected = np.flatnonzero(inside[row])[:limit]
            assert (numbers[row] == np.pad(expected, (0, limit - len(expected)), constant_values=-1)).all()
            assert np.allclose(found[row, : len(expected)], squares[row, expected], rtol=1e-4, atol=1e-8)
            assert np.isinf(found[row, len(expected) :]).all()


@pytest.mark.row(130)
def test_a_point_at_the_radius_is_outside(backend):
    numbers, _ = within([[0.5, 0, 0], [0.25, 0, 0]], [[0, 0, 0]], 0.5, 2)
    assert numbers.tolist() == [[1, -1]]


@pytest.mark.row(130)
@pytest.mark.parametrize("name", POINTS)
def test_farthest_points_equal_brute_force(name, backend):
    """In f32 on coordinates whose squares it holds exactly, so that ties are ties."""
    rng = np.random.default_rng(5)
    points = np.clip(np.round(POINTS[name](rng, 200) * 64), -2000, 2000) / 64
    count, start = min(len(points), 40), min(len(points) - 1, 7)
    left, chosen = np.full(len(points), np.inf), [start]
    for _ in range(count - 1):
        left = np.minimum(left, ((points - points[chosen[-1]]) ** 2).sum(1))
        left[chosen] = -1
        chosen.append(int(left.argmax()))
    assert farthest_points(points, count, start).tolist() == chosen


@pytest.mark.row(130)
def test_every_point_is_chosen_once(backend):
    points = POINTS["duplicates"](np.random.default_rng(6), 90)
    assert sorted(farthest_points(points, 90)) == list(range(90))
    spread = farthest_points(points, len(np.unique(points, axis=0)))
    assert len(np.unique(points[spread], axis=0)) == len(spread)  # coincident ones come last


@pytest.mark.row(130)
def test_a_tree_serves_several_searches_and_device_arrays(backend):
    rng = np.random.default_rng(7)
    points, queries = rng.normal(size=(150, 3)), rng.normal(size=(20, 3))
    tree = PointTree(Array.of(points, needs_grad=False))
    assert (tree.nearest(queries, 3)[0] == nearest(points, queries, 3)[0]).all()
    assert (tree.nearest(k=2)[0] == nearest(points, k=2)[0]).all()
    assert (tree.within(queries, 0.5, 4)[0] == within(points, queries, 0.5, 4)[0]).all()
    assert tree.nearest(np.zeros((0, 3)), 3)[0].shape == (0, 3)


@pytest.mark.row(130)
def test_searches_inside_a_tape_stay_off_it(backend):
    points = Parameter(np.random.default_rng(8).normal(size=(60, 3)))
    with Tape() as tape:
        found = nearest(points, k=2)[0], within(points, points, 0.5, 3)[0], farthest_points(points, 6)
        tape.add(weighted(points, 2.0))
    assert (points.grad_numpy() == 2).all()
    outside = nearest(points, k=2)[0], within(points, points, 0.5, 3)[0], farthest_points(points, 6)
    assert all((a == b).all() for a, b in zip(found, outside, strict=True))


def test_faults_are_named(f64):
    points = np.zeros((4, 3))
    for where, call in {
        "points": lambda: nearest(np.zeros((0, 3))),
        "points: got shape": lambda: nearest(np.zeros((4, 2))),
        "queries: row 1": lambda: nearest(points, [[0, 0, 0], [np.nan, 0, 0]]),
        "queries: row 0": lambda: nearest(points, [[0, 1e30, 0]]),
        "nearest.k": lambda: nearest(points, k=0),
        "within.radius": lambda: within(points, points, 0.0, 3),
        "within.limit": lambda: within(points, points, 1.0, 0),
        "farthest_points.count": lambda: farthest_points(points, 5),
        "farthest_points.start": lambda: farthest_points(points, 2, start=4),
    }.items():
        with pytest.raises(SceneError, match=where):
            call()
