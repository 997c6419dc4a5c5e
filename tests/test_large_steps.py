"""The mesh solve and the optimizer that stands on it."""

import numpy as np
import pytest

from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.elimination import nested_dissection
from tidr.fitting.large_steps import LargeSteps
from tidr.fitting.mesh_solver import MeshSolver
from tidr.fitting.optimizers import UniformAdam
from tidr.parameter import Constraint, Parameter
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.topology import Topology

from .conftest import on_backends


def matrix(topology, lam):
    """Dense I + lam L."""
    tail, head = topology.edges.T
    dense = np.zeros((topology.vertex_count,) * 2)
    np.add.at(dense, (tail, head), -lam)
    np.add.at(dense, (head, tail), -lam)
    return dense + np.diag(1 - dense.sum(1))


def shapes():
    faces = icosphere(2)[1]
    two = np.concatenate([faces, faces[:50] + 200])  # two pieces, one with a rim, and vertices that no face uses
    return {
        "sphere": Topology(faces, 162),
        "two pieces": Topology(two, 380),
        "triangle": Topology([[0, 1, 2]], 3),
        "lone": Topology([[0, 1, 2]], 5),
    }


@pytest.mark.parametrize(
    ("backend", "shape", "lam"),
    on_backends([(shape, lam) for shape in shapes() for lam in (0.0, 19.0)], [("two pieces", 19.0)]),
    indirect=["backend"],
)
def test_solve_inverts_the_matrix(shape, lam, backend):
    check_solve(shape, lam, 1e-10 if backend.precision == 64 else 1e-5)


@pytest.mark.parametrize("shape", shapes())
def test_solve_at_a_large_lambda(shape, f64):
    check_solve(shape, 1e4, 1e-9)


def check_solve(shape, lam, tolerance):
    topology = shapes()[shape]
    rng = np.random.default_rng(0)
    right = rng.normal(loc=(1, 0, 0), size=(topology.vertex_count, 3))
    x, product = Array.of(0 * right), Array.of(0 * right)
    solver = MeshSolver(topology, lam)
    solver.solve(Array.of(right).value, x.value)
    dense = matrix(topology, lam)
    expected = np.linalg.solve(dense, right)
    assert np.abs(x.numpy() - expected).max() <= tolerance * np.abs(expected).max()
    solver.multiply(x.value, product.value)
    np.testing.assert_allclose(product.numpy(), dense @ x.numpy(), rtol=tolerance, atol=tolerance * (1 + lam))


def test_residual_at_the_default_lambda(backend):
    vertices, faces = icosphere(3)
    topology = Topology(faces, len(vertices))
    right = vertices + 0.3 * np.random.default_rng(1).normal(size=vertices.shape)
    x, given = Array.of(0 * right), Array.of(right)
    MeshSolver(topology, 19.0).solve(given.value, x.value)
    found, (tail, head) = x.numpy().astype(np.float64), topology.edges.T
    residual = given.numpy() - found
    np.add.at(residual, tail, 19.0 * (found[head] - found[tail]))
    np.add.at(residual, head, 19.0 * (found[tail] - found[head]))
    assert np.linalg.norm(residual) < (1e-10 if backend.precision == 64 else 4e-6) * np.linalg.norm(right)


def test_a_right_side_of_zero_gives_zero(f64):
    topology = shapes()["sphere"]
    x = Array.of(np.ones((162, 3)))
    MeshSolver(topology, 19.0).solve(Array.of(np.zeros((162, 3))).value, x.value, guessed=True)
    assert not x.numpy().any()


def test_dissection_is_a_permutation_with_branches_that_do_not_touch():
    vertices, faces = icosphere(3)
    topology = Topology(faces, len(vertices))
    order, branches = nested_dissection(topology.edges, (vertices * 1000).astype(np.int64))
    assert sorted(order.tolist()) == list(range(len(vertices)))
    assert len(branches) == 9
    assert branches[-1] > 0.5 * len(vertices)
    place = np.argsort(order)
    branch = np.searchsorted(branches, place, side="right") - 1
    inside = (branch[topology.edges] < 8).all(1)
    assert (branch[topology.edges[inside, 0]] == branch[topology.edges[inside, 1]]).all()


def walk(optimizer, parameter, gradients):
    for gradient in gradients:
        parameter.set_grad(gradient)
        optimizer.step()
    return parameter.numpy()


def test_lambda_zero_is_uniform_adam(f64):
    vertices, faces = icosphere(2)
    gradients = np.random.default_rng(2).normal(size=(5, *vertices.shape))
    mesh, free = Mesh(vertices, faces), Parameter(vertices)
    moved = walk(LargeSteps(mesh, lr=0.01, lam=0.0), mesh.vertices, gradients)
    np.testing.assert_allclose(moved, walk(UniformAdam(free, lr=0.01), free, gradients), rtol=1e-12, atol=1e-12)


def test_a_large_lambda_only_translates(f64):
    vertices, faces = icosphere(2)
    mesh = Mesh(vertices, faces)
    gradients = np.random.default_rng(3).normal(loc=(0, 1, 0), size=(5, *vertices.shape))
    shift = walk(LargeSteps(mesh, lr=0.01, lam=1e8), mesh.vertices, gradients) - vertices
    assert np.linalg.norm(shift.mean(0)) > 0.01
    assert np.abs(shift - shift.mean(0)).max() < 1e-5 * np.linalg.norm(shift.mean(0))


def test_one_pulled_vertex_takes_its_surroundings_along(backend):
    vertices, faces = icosphere(2)
    mesh, free = Mesh(vertices, faces), Parameter(vertices)
    gradient = np.zeros((1, *vertices.shape))
    gradient[0, 0] = -vertices[0]

    def spread(moved):
        length = np.linalg.norm(moved - vertices, axis=1)
        ring = mesh.topology.neighbours[1][slice(*mesh.topology.neighbours[0][:2])]
        return length[ring].mean() / length[0]

    assert spread(walk(UniformAdam(free, lr=0.1), free, gradient)) < 1e-6
    assert spread(walk(LargeSteps(mesh, lr=0.1), mesh.vertices, gradient)) > 0.5


def test_held_channels_stay_where_they_are(f64):
    """To the last bit, however stiff the surface; the others move as if nothing had pulled at these."""
    vertices, faces = icosphere(1)
    pulls = np.random.default_rng(6).normal(size=(2, *vertices.shape))
    free, held = Mesh(vertices, faces), Mesh(vertices, faces)
    held.vertices.constraint = Constraint(channels=(1,))
    start = held.vertices.numpy()
    moved = walk(LargeSteps(held, lr=0.01, lam=1000.0), held.vertices, pulls)
    expected = walk(LargeSteps(free, lr=0.01, lam=1000.0), free.vertices, pulls * [0, 1, 0])
    assert (moved[:, [0, 2]] == start[:, [0, 2]]).all()
    assert np.abs(moved[:, 1] - start[:, 1]).max() > 1e-5
    np.testing.assert_allclose(moved[:, 1], expected[:, 1], rtol=1e-5, atol=1e-6)


def test_resume_is_exact(f64):
    vertices, faces = icosphere(1)
    gradients = np.random.default_rng(4).normal(size=(2, *vertices.shape))
    whole, first = Mesh(vertices, faces), Mesh(vertices, faces)
    walk(LargeSteps(whole, lr=0.01, lam=1.0), whole.vertices, gradients)
    optimizer = LargeSteps(first, lr=0.01, lam=1.0)
    walk(optimizer, first.vertices, gradients[:1])
    second = Mesh(first.vertices.numpy(), faces)
    resumed = LargeSteps(second, lr=0.01, lam=1.0)
    resumed.load_state(optimizer.state())
    walk(resumed, second.vertices, gradients[1:])
    assert (second.vertices.numpy() == whole.vertices.numpy()).all()


def test_vertices_written_from_outside_are_taken_up(f64):
    vertices, faces = icosphere(1)
    mesh = Mesh(vertices, faces)
    optimizer = LargeSteps(mesh, lr=0.01)
    walk(optimizer, mesh.vertices, np.ones((2, *vertices.shape)))
    mesh.vertices.set(3 * vertices)
    moved = walk(optimizer, mesh.vertices, np.zeros((1, *vertices.shape)))
    assert np.abs(moved - 3 * vertices).max() < 0.03


def test_constraint_and_fixed(f64):
    vertices, faces = icosphere(1)
    low = Parameter(vertices, Constraint(clamp=(-0.5, 0.5)))
    moved = walk(LargeSteps(low, lr=0.01, faces=faces), low, np.ones((1, *vertices.shape)))
    assert np.abs(moved).max() <= 0.5
    fixed = Parameter(vertices, Constraint(fixed=True))
    assert (walk(LargeSteps(fixed, lr=0.01, faces=faces), fixed, np.ones((1, *vertices.shape))) == vertices).all()


def test_several_meshes_and_no_allocation(f32):
    meshes = [Mesh(*icosphere(level)) for level in (1, 2)]
    optimizer = LargeSteps(meshes, lr=0.01)
    for mesh in meshes:
        mesh.vertices.set_grad(np.ones(mesh.vertices.shape))
    for _ in range(2):
        optimizer.step()
    before = buffer.allocations
    optimizer.step()
    assert buffer.allocations == before
    assert {"steps", "lr", "0.latent", "1.mean"} <= set(optimizer.state())


def test_refused_input(f32):
    vertices, faces = icosphere(0)
    with pytest.raises(SceneError, match="without faces"):
        LargeSteps(Parameter(vertices), lr=0.1)
    with pytest.raises(SceneError, match=r"\[V, 3\]"):
        LargeSteps(Parameter(vertices[:, :2]), lr=0.1, faces=faces)
    with pytest.raises(SceneError, match="got int"):
        LargeSteps(3, lr=0.1)
    with pytest.raises(SceneError, match="lam is -1"):
        LargeSteps(Mesh(vertices, faces), lr=0.1, lam=-1)
