"""Optimizers against numpy twins, constraints, refused gradients, exact resume."""

import numpy as np
import pytest

from tidr import buffer
from tidr.errors import GradientError, SceneError
from tidr.fitting.optimizers import SGD, Adam, Optimizers, UniformAdam, VectorAdam, finite_gradients
from tidr.parameter import Constraint, Parameter, Parameters

from .conftest import on_backends


def twin_sgd(x, gradients, lr=0.1, momentum=0.9, nesterov=False):
    velocity = np.zeros_like(x)
    for g in gradients:
        velocity = momentum * velocity + g
        x = x - lr * (g + momentum * velocity if nesterov else velocity)
    return x


def twin_adam(x, gradients, lr=0.1, betas=(0.9, 0.999), eps=1e-8, length=lambda v: v):
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        mean = betas[0] * mean + (1 - betas[0]) * g
        square = betas[1] * square + (1 - betas[1]) * length(g**2)
        divisor = square.max() if length is whole else square
        x = x - lr * mean / (1 - betas[0] ** t) / (np.sqrt(divisor / (1 - betas[1] ** t)) + eps)
    return x


def whole(squares):
    return squares


def per_row(squares):
    return np.broadcast_to(squares.sum(-1, keepdims=True), squares.shape)


KINDS = {
    "sgd": (lambda p: SGD(p, 0.1), twin_sgd),
    "plain_sgd": (lambda p: SGD(p, 0.1, momentum=0.0), lambda x, g: twin_sgd(x, g, momentum=0)),
    "nesterov": (lambda p: SGD(p, 0.1, nesterov=True), lambda x, g: twin_sgd(x, g, nesterov=True)),
    "adam": (lambda p: Adam(p, 0.1), twin_adam),
    "adam_betas": (lambda p: Adam(p, 0.1, betas=(0.5, 0.8)), lambda x, g: twin_adam(x, g, betas=(0.5, 0.8))),
    "uniform": (lambda p: UniformAdam(p, 0.1), lambda x, g: twin_adam(x, g, length=whole)),
    "vector": (lambda p: VectorAdam(p, 0.1), lambda x, g: twin_adam(x, g, length=per_row)),
}
SHAPES = [(), (3,), (40, 3), (1000,), (6, 5, 2)]


@pytest.mark.row(170)
@pytest.mark.parametrize(
    ("backend", "kind", "shape"),
    on_backends([(kind, shape) for kind in KINDS for shape in SHAPES], [(kind, SHAPES[-1]) for kind in KINDS]),
    indirect=["backend"],
)
def test_trajectory_equals_the_twin(kind, shape, backend):
    make, twin = KINDS[kind]
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=shape), rng.normal(size=(12, *shape))
    parameter = Parameter(start)
    optimizer = make(parameter)
    for gradient in gradients:
        parameter.set_grad(gradient)
        optimizer.step()
    rtol = 1e-12 if backend.precision == 64 else 1e-4
    rows = np.atleast_1d(start)  # a scalar is one row of one channel
    expected = twin(rows, gradients.reshape(12, *rows.shape)).reshape(shape)
    np.testing.assert_allclose(parameter.numpy(), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("kind", KINDS)
def test_held_channels_stay_and_have_no_part_in_the_step(kind, f64):
    """The others move as they would alone, also by optimizers that look at whole rows, and within their limits."""
    make, rng = KINDS[kind][0], np.random.default_rng(5)
    start, gradients = rng.normal(size=(30, 4)), rng.normal(scale=(9, 1, 9, 1), size=(6, 30, 4))
    whole = Parameter(start, Constraint(clamp=(-0.5, 0.5), channels=(1, 3)))
    moving = Parameter(start[:, [1, 3]], Constraint(clamp=(-0.5, 0.5)))
    first, second = make(whole), make(moving)
    for gradient in gradients:
        whole.set_grad(gradient)
        moving.set_grad(gradient[:, [1, 3]])
        first.step()
        second.step()
    assert (whole.numpy()[:, [0, 2]] == start[:, [0, 2]].astype(whole.numpy().dtype)).all()
    np.testing.assert_allclose(whole.numpy()[:, [1, 3]], moving.numpy(), rtol=1e-6, atol=1e-7)
    assert np.abs(moving.numpy() - np.clip(start[:, [1, 3]], -0.5, 0.5)).max() > 0.05


@pytest.mark.row(170)
def test_adam_finds_the_bottom_of_a_bowl(f32):
    parameter, goal = Parameter(np.full((5, 3), 3.0)), np.arange(15).reshape(5, 3) / 10
    optimizer = Adam(parameter, lr=0.1)
    for step in range(400):
        optimizer.lr = 0.1 * 0.99**step
        parameter.set_grad(2 * (parameter.numpy() - goal))
        optimizer.step()
    np.testing.assert_allclose(parameter.numpy(), goal, atol=1e-3)


def test_vector_adam_turns_with_the_problem(f64):
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    start, goal = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))

    def path(kind, start, goal):
        parameter = Parameter(start)
        optimizer = kind(parameter, lr=0.05)
        for _ in range(30):
            parameter.set_grad((parameter.numpy() - goal) * np.linspace(0.1, 3, 20)[:, None])
            optimizer.step()
        return parameter.numpy()

    turned = path(VectorAdam, start @ turn.T, goal @ turn.T)
    np.testing.assert_allclose(turned, path(VectorAdam, start, goal) @ turn.T, atol=1e-6)
    assert np.abs(path(Adam, start @ turn.T, goal @ turn.T) - path(Adam, start, goal) @ turn.T).max() > 1e-2


def simplex_twin(x):
    """Nearest point of the simplex, by sorting (Held, Wolfe, Crowder 1974)."""
    ordered = np.sort(x)[::-1]
    totals = (np.cumsum(ordered) - 1) / np.arange(1, len(x) + 1)
    return np.maximum(x - totals[np.flatnonzero(ordered > totals)[-1]], 0)


@pytest.mark.parametrize("kind", [SGD, Adam, UniformAdam, VectorAdam])
def test_constraints_hold_after_each_step(kind, f64):
    rng = np.random.default_rng(2)
    values = {
        "clamp": Parameter(rng.uniform(0, 1, (50, 3)), Constraint(clamp=(0.0, 1.0))),
        "unit": Parameter(rng.normal(size=(50, 4)), Constraint(unit=True)),
        "positive": Parameter(rng.uniform(0, 0.1, (50, 1)), Constraint(positive=True)),
        "simplex": Parameter(rng.dirichlet(np.ones(5), 50), Constraint(simplex=True)),
        "fixed": Parameter(rng.normal(size=(50, 3)), Constraint(fixed=True)),
    }
    before = values["fixed"].numpy()
    optimizer = kind(Parameters(values), lr=0.3)
    for _ in range(5):
        for parameter in values.values():
            parameter.set_grad(rng.normal(size=parameter.shape))
        optimizer.step()
        found = {name: parameter.numpy() for name, parameter in values.items()}
        assert found["clamp"].min() >= 0
        assert found["clamp"].max() <= 1
        np.testing.assert_allclose(np.linalg.norm(found["unit"], axis=1), 1, rtol=1e-5)
        assert found["positive"].min() >= 0.99e-6
        assert found["simplex"].min() >= 0
        np.testing.assert_allclose(found["simplex"].sum(1), 1, rtol=1e-5)
        assert (found["fixed"] == before).all()


def test_simplex_is_the_nearest_point(f64):
    rng = np.random.default_rng(3)
    start, gradient = rng.dirichlet(np.ones(6), 30), rng.normal(size=(30, 6))
    parameter = Parameter(start, Constraint(simplex=True))
    parameter.set_grad(gradient)
    SGD(parameter, lr=0.4).step()
    expected = [simplex_twin(row) for row in start - 0.4 * gradient]
    np.testing.assert_allclose(parameter.numpy(), expected, atol=1e-12)


def test_a_row_of_zeros_becomes_a_unit_vector(f64):
    parameter = Parameter([[1.0, 0, 0, 0]], Constraint(unit=True))
    parameter.set_grad([[1.0, 0, 0, 0]])
    SGD(parameter, lr=1.0).step()
    assert parameter.numpy().tolist() == [[1, 0, 0, 0]]


def test_a_step_touches_its_parameter(f32):
    parameter = Parameter(np.zeros((3, 3)))
    parameter.zero_grad()
    before = parameter.version
    Adam(parameter, lr=0.1).step()
    assert parameter.version > before
    assert not parameter.numpy().any()


@pytest.mark.parametrize(
    ("backend", "bad"), on_backends([(np.nan,), (np.inf,), (-np.inf,)], [(np.nan,)]), indirect=["backend"]
)
def test_a_gradient_that_is_not_finite_writes_nothing(bad, backend):
    good, poor = Parameter(np.ones((500, 3)), path="good"), Parameter(np.ones((500, 3)), path="poor")
    both = Parameters({"good": good, "poor": poor})
    optimizer = Adam(both, lr=0.1)
    gradient = np.ones((500, 3))
    for parameter in both.values():
        parameter.set_grad(gradient)
    optimizer.step()
    before = [p.numpy() for p in both.values()], optimizer.state()
    gradient[321, 1] = bad
    poor.set_grad(gradient)
    assert finite_gradients(both) == ["poor"]
    for stepping in (optimizer, Optimizers([SGD(good, lr=0.1), Adam(poor, lr=0.1)])):
        with pytest.raises(GradientError, match="poor"):
            stepping.step()
    after = [p.numpy() for p in both.values()], optimizer.state()
    assert all((a == b).all() for a, b in zip(before[0], after[0], strict=True))
    assert all((before[1][key] == after[1][key]).all() for key in before[1])


@pytest.mark.parametrize("kind", KINDS)
def test_resume_is_exact(kind, f32):
    rng = np.random.default_rng(4)
    start, gradients = rng.normal(size=(300, 3)), rng.normal(size=(10, 300, 3))

    def run(parameter, optimizer, gradients):
        for gradient in gradients:
            parameter.set_grad(gradient)
            optimizer.step()

    whole_run = Parameter(start, path="a")
    run(whole_run, KINDS[kind][0](whole_run), gradients)
    first = Parameter(start, path="a")
    optimizer = KINDS[kind][0](first)
    run(first, optimizer, gradients[:5])
    second = Parameter(first.numpy(), path="a")
    resumed = KINDS[kind][0](second)
    resumed.load_state({key: array.copy() for key, array in optimizer.state().items()})
    run(second, resumed, gradients[5:])
    assert (second.numpy() == whole_run.numpy()).all()


def test_composite_state_and_reset(f32):
    a, b = Parameter(np.ones((4, 3)), path="a"), Parameter(np.ones((2, 2)), path="b")
    for parameter in (a, b):
        parameter.set_grad(np.ones(parameter.shape))
    both = Optimizers([SGD(a, lr=0.1), Adam([b], lr=0.2)])
    both.step()
    state = both.state()
    assert {"0/a.velocity", "1/b.mean", "1/b.square", "0/steps", "1/lr"} <= set(state)
    both.reset()
    assert not both.state()["0/a.velocity"].any()
    assert both.members[1].steps == 0
    both.load_state(state)
    assert (both.state()["1/b.mean"] == state["1/b.mean"]).all()
    with pytest.raises(SceneError, match="other parameters"):
        Adam(a, lr=0.1).load_state(state)
    with pytest.raises(SceneError, match=r"a\.velocity"):
        SGD(Parameter(np.ones((5, 3)), path="a"), lr=0.1).load_state(SGD(a, lr=0.1).state())


def test_a_loop_allocates_nothing(f32):
    parameters = [Parameter(np.ones((64, 3))) for _ in range(4)]
    kinds = (SGD, Adam, UniformAdam, VectorAdam)
    optimizer = Optimizers([kind(p, lr=0.1) for kind, p in zip(kinds, parameters, strict=True)])
    for _ in range(2):
        optimizer.step()
    before = buffer.allocations
    for _ in range(3):
        optimizer.step()
    assert buffer.allocations == before


def test_refused_params(f32):
    with pytest.raises(SceneError, match="got int"):
        Adam(3, lr=0.1)
