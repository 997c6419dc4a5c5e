"""Projection and repulsion of point clouds: brute force, gradients, what they are for, and bad input."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.errors import SceneError
from tidr.fitting.objective import Objective, fitted_grids
from tidr.fitting.optimizers import Adam
from tidr.fitting.point_regularizers import Neighborhoods, projection, repulsion
from tidr.fitting.tape import Tape
from tidr.parameter import Parameters
from tidr.scene import point_normals
from tidr.scene.points import PointCloud

from .conftest import on_backends
from .gradients import directional_check


def bumpy(seed=0, count=40, noise=0.1) -> PointCloud:
    rng = np.random.default_rng(seed)
    places = np.column_stack([rng.uniform(-1, 1, (count, 2)), rng.normal(size=count) * noise])
    return PointCloud(places, normals=np.array([0, 0, 1]) + rng.normal(size=(count, 3)) * 0.3)


def twin(points, normals, k=8):
    """(projection, repulsion) by the formulas of the docstrings."""
    totals = np.zeros(2)
    for i, p in enumerate(points):
        squares = ((points - p) ** 2).sum(1)
        near = np.argsort(np.where(np.arange(len(points)) == i, np.inf, squares), kind="stable")[:k]
        cosines = normals[near] @ normals[i]
        weights = np.exp(-squares[near] / squares[near].mean()) * np.exp(-(((1 - cosines) / 0.5) ** 2))
        plane = normals[i] + weights @ normals[near]
        plane /= np.linalg.norm(plane)
        weights /= weights.sum()
        gaps = p - points[near]
        off = gaps @ plane
        along = (gaps**2).sum(1) - off**2
        totals += [weights @ off**2, weights @ (1 / (along + 1e-4))]
    return totals / len(points)


@pytest.mark.row(70)
def test_both_equal_brute_force(backend):
    cloud = bumpy(3, 70)
    points, normals = (p.numpy().astype(float) for p in (cloud.positions, cloud.normals))
    flat, apart = twin(points, normals)
    assert float(projection(cloud)) == pytest.approx(flat, rel=1e-4)
    assert float(repulsion(cloud)) == pytest.approx(apart, rel=1e-4)


@pytest.mark.row(70)
@pytest.mark.parametrize(
    ("backend", "loss", "seed"),
    on_backends(
        [(loss, seed) for loss in (projection, repulsion) for seed in (0, 1, 2)], [(projection, 0), (repulsion, 0)]
    ),
    indirect=["backend"],
)
def test_gradients_equal_differences(loss, seed, backend):
    """With the neighbours, weights and planes held, as documented; points some distance apart suit steps of 32 bits."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), -1).reshape(-1, 2)
    places = np.column_stack([lattice + rng.uniform(-0.2, 0.2, lattice.shape), rng.normal(size=36) * 0.3])
    cloud = PointCloud(places, normals=np.array([0, 0, 1]) + rng.normal(size=(36, 3)) * 0.3)
    around = Neighborhoods(cloud)
    directional_check(lambda: loss(cloud, around), [cloud.positions], backend, seed)


@pytest.mark.row(70)
def test_projection_flattens_a_noisy_plane(f32):
    """With normals found in the noisy points themselves, it falls by 80 %; nothing is allocated in the loop."""
    rng = np.random.default_rng(5)
    lattice = np.stack(np.meshgrid(*[np.linspace(-1, 1, 20)] * 2), -1).reshape(-1, 2)
    noisy = np.column_stack([lattice + rng.uniform(-0.03, 0.03, lattice.shape), rng.normal(size=400) * 0.03])
    cloud = PointCloud(noisy, normals=point_normals.estimate(noisy, k=16)[0])
    optimizer = Adam(Parameters({"positions": cloud.positions}), lr=2e-3)
    before, made = cloud.positions.numpy()[:, 2].std(), 0
    for step in range(120):
        if step == 2:
            made = buffer.allocations
        with Tape() as tape:
            tape.add(projection(cloud))
        optimizer.step()
        if step % 10 == 9:
            cloud.normals.set(point_normals.estimate(cloud.positions.numpy(), k=16)[0])
    assert cloud.positions.numpy()[:, 2].std() < 0.2 * before
    assert np.abs(cloud.positions.numpy() - noisy)[:, :2].max() < 0.15
    assert buffer.allocations - made <= 2  # the searches of the normals above have buffers of their own


@pytest.mark.row(70)
def test_repulsion_spreads_points_in_their_plane(f32):
    rng = np.random.default_rng(6)
    places = np.column_stack([rng.uniform(-1, 1, (200, 2)), np.zeros(200)])
    cloud = PointCloud(places, normals=np.tile([0.0, 0, 1], (200, 1)))

    def closest() -> np.ndarray:
        return np.sqrt(tidr.neighbors.nearest(cloud.positions)[1][:, 0])

    before = closest()
    optimizer = Adam(Parameters({"positions": cloud.positions}), lr=2e-3)
    for _ in range(60):
        with Tape() as tape:
            tape.add(repulsion(cloud))
        optimizer.step()
    assert np.percentile(closest(), 5) > 2 * np.percentile(before, 5)
    assert not cloud.positions.numpy()[:, 2].any()


def test_a_sharp_edge_keeps_its_neighbours_apart(f64):
    """A neighbour whose normal is at right angles hardly weighs."""
    places = [[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [-0.1, 0, 0.0], [0, 0, -0.1]]
    cloud = PointCloud(places, normals=[[0, 0, 1.0]] * 4 + [[1.0, 0, 0]])
    weights = Neighborhoods(cloud, k=4).weights.ndarray.to_numpy()[:4]
    assert sorted(weights)[0] < 0.01
    assert weights.sum() == pytest.approx(1)


def test_points_without_neighbours_or_in_one_place(backend):
    lone = PointCloud([[1.0, 2, 3]], normals=[[0, 0, 1.0]])
    heap = PointCloud(np.ones((12, 3)), normals=np.tile([0, 0, 1.0], (12, 1)))
    for cloud, energy in ((lone, 0.0), (heap, 1e4)):
        with Tape() as tape:
            tape.add(projection(cloud))
            tape.add(repulsion(cloud))
        assert tape.terms["projection"] == 0
        assert tape.terms["repulsion"] == pytest.approx(energy, rel=1e-5)
        assert not cloud.positions.grad_numpy().any()


def test_bad_input_is_refused_by_name(f64):
    plain = PointCloud(np.eye(3))
    with pytest.raises(SceneError, match=r"points\.normals.*missing"):
        projection(plain)
    with pytest.raises(SceneError, match="pass a point cloud"):
        repulsion(tidr.Node())
    with pytest.raises(SceneError, match="neighbours of 40"):
        projection(bumpy(count=30), Neighborhoods(bumpy()))


def test_a_fit_knows_them_by_name(f64):
    scene = tidr.Scene()
    scene.add_node("cloud", tidr.Node(bumpy()))
    moved = fitted_grids(scene, scene.parameters("cloud.positions", "cloud.normals"))
    assert Objective({"projection": 0.1, "repulsion": 0.1}, {}, moved).names == ["projection", "repulsion"]
    with pytest.raises(SceneError, match="no points are fitted"):
        Objective({"projection": 1.0}, {}, fitted_grids(scene, scene.parameters("cloud.normals")))
