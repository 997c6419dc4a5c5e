"""Alignment of points: exact for given pairs, and by iterated closest points from 15 degrees off."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.scene.alignment import IDENTITY, Similarity, icp, umeyama
from tidr.scene.transform import quaternion_from_euler, rotation_from_quaternion


def turn(*degrees) -> np.ndarray:
    return rotation_from_quaternion(quaternion_from_euler(degrees))


def blob(n=2500, seed=0):
    """(points, outward normals) of an egg with bumps that no turn maps onto itself: the level set of a function."""
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(n, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)

    def radius(d):
        return 1 + 0.3 * d[:, 0] + 0.2 * d[:, 1] * d[:, 2] + 0.15 * np.sin(3 * d[:, 1]) + 0.2 * d[:, 0] ** 2 * d[:, 2]

    def level(p):
        length = np.linalg.norm(p, axis=1)
        return length - radius(p / length[:, None])

    points = d * radius(d)[:, None]
    slope = [(level(points + e) - level(points - e)) for e in 1e-5 * np.eye(3)]
    normals = np.stack(slope, 1)
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def gap(found: Similarity, exact: Similarity, points) -> float:
    return float(np.linalg.norm(found.apply(points) - exact.apply(points), axis=1).max())


TRUE = Similarity(1.0, turn(6, -9, 10), np.array([0.05, -0.04, 0.06]))  # a turn by 15 degrees
FIFTEEN = np.degrees(np.arccos((np.trace(TRUE.rotation) - 1) / 2))


@pytest.mark.row(128)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_pairs_give_the_similarity_back(offset):
    rng = np.random.default_rng(1)
    for seed in range(20):
        points = rng.normal(size=(3 + seed, 3)) + offset
        exact = Similarity(10 ** rng.uniform(-2, 2), turn(*rng.uniform(-180, 180, 3)), rng.normal(size=3))
        found = umeyama(points, exact.apply(points))
        assert found.scale == pytest.approx(exact.scale, rel=1e-8)
        assert np.allclose(found.rotation, exact.rotation, atol=1e-8)
        assert gap(found, exact, points) < 1e-8 * exact.scale * (1 + offset)
        assert np.allclose(found.matrix[:3, :3] @ points[0] + found.matrix[:3, 3], found.apply(points)[0])


@pytest.mark.row(128)
def test_without_scale_the_move_is_rigid_and_best():
    """No small turn or move of the result fits pairs of different size better."""
    rng = np.random.default_rng(2)
    points = rng.normal(size=(12, 3))
    target = 2.0 * points @ turn(20, 30, 40).T + rng.normal(size=(12, 3)) * 0.1
    weights = rng.uniform(0, 1, 12)
    for free in (False, True):
        found = umeyama(points, target, weights, scale=free)
        error = weights @ ((found.apply(points) - target) ** 2).sum(1)
        assert (found.scale == 1.0) != free
        for _ in range(200):
            factor = 1 + 1e-3 * rng.normal() * free
            near = Similarity(factor, turn(*rng.normal(size=3) * 0.1), 1e-3 * rng.normal(size=3)).after(found)
            assert weights @ ((near.apply(points) - target) ** 2).sum(1) > error


@pytest.mark.row(128)
def test_weights_leave_out_wrong_pairs():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(10, 3))
    target = TRUE.apply(points)
    target[:4] += rng.normal(size=(4, 3))
    found = umeyama(points, target, weights=[0, 0, 0, 0, 1, 2, 3, 1, 1, 5])
    assert gap(found, TRUE, points) < 1e-12


@pytest.mark.row(128)
def test_mirrored_and_flat_pairs_give_rotations():
    box = np.array([[x, y, z] for x in (-3, 3) for y in (-2, 2) for z in (-1, 1)], float)
    found = umeyama(box, box * [1, 1, -1])  # the shortest axis is given up
    assert np.allclose(found.rotation, np.eye(3))
    assert found.scale == pytest.approx((9 + 4 - 1) / 14)
    points = np.random.default_rng(4).normal(size=(30, 3))
    flat = points * [1, 1, 0]
    found = umeyama(flat, TRUE.apply(flat))
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    assert gap(found, TRUE, points) < 1e-12  # three points that span a plane decide all


@pytest.mark.row(129)
@pytest.mark.parametrize("planes", [False, True])
def test_icp_converges_from_fifteen_degrees(backend, planes):
    """The same points, turned by 15 degrees, moved, and shuffled."""
    points, normals = blob()
    assert pytest.approx(15, abs=0.5) == FIFTEEN
    order = np.random.default_rng(5).permutation(len(points))
    target = TRUE.apply(points)[order]
    result = icp(points, target, normals=normals[order] @ TRUE.rotation.T if planes else None)
    assert result.converged
    assert gap(result.similarity, TRUE, points) < 1e-4
    assert result.rms < 1e-4
    assert result.steps < (12 if planes else 100)


@pytest.mark.row(129)
def test_planes_align_samples_that_do_not_coincide(f64):
    """Other points of the same surface: planes leave an error of second order in their spacing."""
    points, _ = blob(seed=0)
    others, normals = blob(n=6000, seed=1)
    result = icp(points, TRUE.apply(others), normals=normals @ TRUE.rotation.T)
    to_points = icp(points, TRUE.apply(others))
    assert gap(result.similarity, TRUE, points) < 2e-3
    assert gap(to_points.similarity, TRUE, points) > 10 * gap(result.similarity, TRUE, points)
    assert result.steps < to_points.steps


@pytest.mark.row(129)
@pytest.mark.parametrize("planes", [False, True])
def test_scale_is_found_too(f64, planes):
    points, normals = blob()
    exact = Similarity(1.1, TRUE.rotation, TRUE.translation)
    result = icp(
        points, exact.apply(points), normals=normals @ exact.rotation.T if planes else None, scale=True, steps=200
    )  # fmt: skip
    assert result.similarity.scale == pytest.approx(1.1, abs=1e-4)
    assert gap(result.similarity, exact, points) < 1e-4


@pytest.mark.row(129)
@pytest.mark.parametrize("planes", [False, True])
def test_trimming_ignores_what_has_no_counterpart(f64, planes):
    points, normals = blob()
    part = points[:, 0] > -0.4  # the target lacks a fifth
    extra = np.random.default_rng(6).uniform(1.5, 3, (150, 3))
    target, to = TRUE.apply(points[part]), normals[part] @ TRUE.rotation.T
    source = np.concatenate([points, extra])
    share = part.sum() / len(source)
    plain = icp(source, target, normals=to if planes else None)
    result = icp(source, target, normals=to if planes else None, keep=0.9 * share, steps=300)
    limited = icp(source, target, normals=to if planes else None, start=result.similarity, max_distance=0.01)
    assert gap(plain.similarity, TRUE, points) > 0.01
    assert gap(result.similarity, TRUE, points) < 1e-4
    assert limited.pairs == part.sum()
    assert gap(limited.similarity, TRUE, points) < 1e-4


def test_a_start_from_far_off_is_used(f64):
    points, _ = blob(800)
    exact = Similarity(1.0, turn(0, 150, 0), np.array([4.0, 0, 0]))
    start = Similarity(1.0, turn(5, 145, 0), np.array([3.9, 0, 0]))
    result = icp(points, exact.apply(points), start=start)
    assert gap(result.similarity, exact, points) < 1e-6
    assert gap(icp(points, exact.apply(points)).similarity, exact, points) > 0.1


def test_a_single_plane_leaves_sliding_alone(f64):
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 15), np.linspace(-1, 1, 15), [0.0]), -1).reshape(-1, 3)
    tilted = Similarity(1.0, turn(5, 0, 0), np.array([0, 0, 0.1]))
    result = icp(tilted.apply(grid), grid, normals=np.tile([0, 0, 2.0], (len(grid), 1)))
    moved = result.similarity.apply(tilted.apply(grid))
    assert np.abs(moved[:, 2]).max() < 1e-9
    assert np.abs(moved - grid).max() < 0.02


def test_faults_are_named(f64):
    points = np.random.default_rng(7).normal(size=(5, 3))
    for where, call in {
        "target": lambda: umeyama(points, points[:4]),
        "weights": lambda: umeyama(points, points, weights=[1, 1, 1, 1, -1]),
        "coincide": lambda: umeyama(np.ones((4, 3)), points[:4]),
        "icp.keep": lambda: icp(points, points, keep=0.0),
        "max_distance": lambda: icp(points, points, max_distance=0.0),
        "0 points have a target": lambda: icp(points, points + 100, max_distance=1.0),
        "normals: row 0": lambda: icp(points, points, normals=np.zeros((5, 3))),
        "icp.start": lambda: icp(points, points, start=Similarity(-1.0, np.eye(3), np.zeros(3))),
    }.items():
        with pytest.raises(SceneError, match=where):
            call()
    assert umeyama(np.ones((4, 3)), np.ones((4, 3)), scale=False).apply(points) == pytest.approx(points)
    assert IDENTITY.apply(points) == pytest.approx(points)
