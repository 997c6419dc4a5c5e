"""Losses between point clouds: closed forms, brute force, gradients to both, and no allocation in a loop."""

import numpy as np
import pytest

from tidr import buffer, losses
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.optimizers import Adam
from tidr.fitting.point_losses import chamfer, chamfer_normals, directed, f_score, hausdorff
from tidr.fitting.tape import Tape
from tidr.parameter import Parameter, Parameters

from .conftest import on_backends
from .gradients import directional_check, tape_gradients

ONE, TWO = [[0.0, 0, 0]], [[1.0, 0, 0], [0, 2.0, 0]]


def squares(a, b) -> np.ndarray:
    return ((np.asarray(a)[:, None] - np.asarray(b)[None]) ** 2).sum(-1)


def clouds(seed=0, n=23, m=17):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + 0.2


def clear_clouds(seed):
    """Jittered lattice points b, and a around them: two points at some, none at others, at unlike distances."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), -1).reshape(-1, 3) - 1
    shift = rng.normal(size=(27, 3))
    shift /= np.linalg.norm(shift, axis=1)[:, None]
    return np.concatenate([lattice[:20] + 0.1 * shift[:20], lattice[5:15] - 0.3 * shift[5:15]]), lattice


@pytest.mark.row(147)
def test_chamfer_closed_form(backend):
    assert float(losses.chamfer(Array.of(np.array(ONE)), TWO)) == pytest.approx(3.5)
    assert float(losses.chamfer(TWO, ONE)) == pytest.approx(3.5)


@pytest.mark.row(151)
def test_directed_closed_form(f64):
    assert float(losses.directed(ONE, TWO)) == pytest.approx(1)
    assert float(losses.directed(TWO, ONE)) == pytest.approx(2.5)


@pytest.mark.row(147)
def test_chamfer_equals_brute_force(backend):
    a, b = clouds(n=300, m=411)
    expected = squares(a, b).min(1).mean() + squares(a, b).min(0).mean()
    assert float(chamfer(Parameter(a), b)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.row(147)
@pytest.mark.parametrize(("backend", "seed"), on_backends([(0,), (1,), (2,)], [(0,)]), indirect=["backend"])
def test_chamfer_gradients_to_both(seed, backend):
    """Of points whose nearest stays the same within a step of f32."""
    a, b = (Parameter(points) for points in clear_clouds(seed))
    directional_check(lambda: chamfer(a, b), [a, b], backend, seed)
    directional_check(lambda: directed(a, b), [a, b], backend, seed)


@pytest.mark.row(147)
def test_chamfer_gradient_equals_the_formula(f64):
    """Also where many points share one partner, and some are nobody's."""
    rng = np.random.default_rng(4)
    a, b = np.concatenate([rng.normal(size=(60, 3)) * 0.01, rng.normal(size=(5, 3))]), rng.normal(size=(9, 3))
    first, second = Parameter(a), Parameter(b)
    to_a, to_b = tape_gradients(lambda: chamfer(first, second), [first, second])
    expected_a, expected_b = np.zeros_like(a), np.zeros_like(b)
    for i, j in enumerate(squares(a, b).argmin(1)):
        expected_a[i] += 2 * (a[i] - b[j]) / len(a)
        expected_b[j] -= 2 * (a[i] - b[j]) / len(a)
    for j, i in enumerate(squares(a, b).argmin(0)):
        expected_a[i] += 2 * (a[i] - b[j]) / len(b)
        expected_b[j] -= 2 * (a[i] - b[j]) / len(b)
    assert np.allclose(to_a, expected_a, rtol=1e-4, atol=1e-7)
    assert np.allclose(to_b, expected_b, rtol=1e-4, atol=1e-7)


@pytest.mark.row(147)
def test_normals_compare_with_those_of_the_nearest(f64):
    a, b = clouds(5)
    rng = np.random.default_rng(6)
    n, m = rng.normal(size=a.shape), rng.normal(size=b.shape)
    cosine = (n / np.linalg.norm(n, axis=1)[:, None]) @ (m / np.linalg.norm(m, axis=1)[:, None]).T
    near_a, near_b = squares(a, b).argmin(1), squares(a, b).argmin(0)
    expected = (1 - cosine[np.arange(len(a)), near_a]).mean() + (1 - cosine[near_b, np.arange(len(b))]).mean()
    first, second = Parameter(n), Parameter(m)
    assert float(chamfer_normals(a, first, b, second)) == pytest.approx(expected, rel=1e-5)
    directional_check(lambda: chamfer_normals(a, first, b, second), [first, second], f64)


def test_a_normal_without_length_counts_one_and_has_no_gradient(backend):
    zero = Parameter(np.zeros((1, 3)))
    (gradient,) = tape_gradients(lambda: chamfer_normals(ONE, zero, ONE, [[0, 0, 1.0]]), [zero])
    assert float(chamfer_normals(ONE, zero, ONE, [[0, 0, 1.0]])) == 2.0
    assert not gradient.any()


def test_measures(f64):
    a, b = clouds(7)
    distances = np.sqrt(squares(a, b))
    assert hausdorff(a, b) == pytest.approx(max(distances.min(1).max(), distances.min(0).max()))
    near, back = (distances.min(1) < 0.5).mean(), (distances.min(0) < 0.5).mean()
    assert f_score(a, b, 0.5) == pytest.approx(2 * near * back / (near + back))
    assert f_score(a, a, 1e-9) == 1.0
    assert f_score(a, a + 100, 1.0) == 0.0


@pytest.mark.row(147)
def test_scattered_points_become_a_ring(f32):
    """Chamfer distance falls by 95 %, and nothing is allocated after the second step."""
    rng = np.random.default_rng(8)
    turn = np.arange(150) * 2 * np.pi / 150
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    points = Parameter(rng.uniform(-1, 1, (150, 3)), path="points")
    optimizer = Adam(Parameters({"points": points}), lr=0.03)
    target, start, counts = Array.of(ring, needs_grad=False), float(chamfer(points, ring)), []
    for _ in range(120):
        with Tape() as tape:
            tape.add(chamfer(points, target))
        optimizer.step()
        counts.append(buffer.allocations)
    assert float(chamfer(points, ring)) < 0.05 * start
    assert counts[-1] == counts[1]


def test_faults_are_named(f64):
    for where, call in {
        "points_a": lambda: chamfer(Parameter(np.zeros((4, 2))), ONE),
        "points_b: row 0": lambda: chamfer(ONE, [[np.nan, 0, 0]]),
        "points": lambda: chamfer(ONE, np.zeros((0, 3))),
        "normals_a": lambda: chamfer_normals(TWO, ONE, ONE, ONE),
        "f_score.radius": lambda: f_score(ONE, TWO, 0.0),
    }.items():
        with pytest.raises(SceneError, match=where):
            call()
