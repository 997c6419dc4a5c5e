"""L-BFGS, Levenberg-Marquardt and dogleg: closed forms, numpy twins, constraints, fits and their checkpoints."""

from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.least_squares import Dogleg, LevenbergMarquardt
from tidr.fitting.searches import LBFGS, Residual
from tidr.fitting.settings import FitSettings, ParameterSettings
from tidr.fitting.tape import Loss, Operation, Passes, Tape, run
from tidr.parameter import FREE, Constraint, Parameter


def mapped(parameter, function, jacobian, size) -> Array:
    """[size] of a parameter [n], by a function and its Jacobian on the host."""
    out = Array((size,))

    def forward():
        out.set(function(parameter.numpy()))

    def backward():
        parameter.set_grad(parameter.grad_numpy() + jacobian(parameter.numpy()).T @ out.grad_numpy())

    run(Operation(forward, backward, [parameter], [out], "mapped"))
    return out


def rosenbrock(parameter) -> Array:
    """Residuals (10 (y - x^2), 1 - x), 0 at (1, 1)."""
    return mapped(
        parameter,
        lambda p: np.array([10 * (p[1] - p[0] ** 2), 1 - p[0]]),
        lambda p: np.array([[-20 * p[0], 10], [-1, 0]]),
        2,
    )


def squares(make, parameter):
    """A closure of the sum of squares of residuals, with its gradient."""

    def closure() -> float:
        with Tape({"p": parameter}) as tape:
            array, out = make(parameter), Array(())

            def backward():
                array.set_grad(2 * array.numpy() * float(out.grad_numpy()))

            run(Operation(lambda: out.set((array.numpy() ** 2).sum()), backward, [array], [out], "squares"))
            tape.add(Loss(out))
        return tape.loss

    return closure


@pytest.mark.row(23, 169)
def test_one_step_solves_linear_least_squares(f64):
    """Exactly without damping; by one share of it with the usual one; a held channel stays."""
    rng = np.random.default_rng(0)
    matrix, right = rng.normal(size=(9, 4)), rng.normal(size=9)
    solution = np.linalg.lstsq(matrix, right, rcond=None)[0]

    def after(make, **held):
        parameter = Parameter(rng.normal(size=4), Constraint(**held))
        make(parameter).step(lambda: [Residual(mapped(parameter, lambda p: matrix @ p, lambda p: matrix, 9), right)])
        return parameter.numpy()

    tensorflow = {"damping": 1e-20, "rise": 10.0, "fall": 1.0, "scaling": "identity"}
    for make in (lambda p: LevenbergMarquardt(p, **tensorflow), lambda p: Dogleg(p, radius=100.0)):
        np.testing.assert_allclose(after(make), solution, rtol=1e-10)
    assert 1e-8 < np.linalg.norm(after(LevenbergMarquardt) - solution) < 1e-2
    kept = after(lambda p: LevenbergMarquardt(p, **tensorflow), channels=(0, 2))
    rest = np.linalg.lstsq(matrix[:, [0, 2]], right - matrix[:, [1, 3]] @ kept[[1, 3]], rcond=None)[0]
    np.testing.assert_allclose(kept[[0, 2]], rest, rtol=1e-9)
    low = after(lambda p: LevenbergMarquardt(p, **tensorflow), clamp=(10.0, 11.0))
    assert low.min() == 10


@pytest.mark.row(23, 169)
@pytest.mark.parametrize("make", [LevenbergMarquardt, Dogleg, LBFGS])
def test_rosenbrock(f64, make):
    """From (-1.2, 1) to (1, 1) in less than 100 steps, never upwards."""
    parameter = Parameter(np.array([-1.2, 1.0]))
    optimizer, last, steps = make(parameter), np.inf, 0
    while steps < 100 and np.abs(parameter.numpy() - 1).max() > 1e-6:
        if make is LBFGS:
            cost = optimizer.step(squares(rosenbrock, parameter))
        else:
            cost = optimizer.step(lambda: [Residual(rosenbrock(parameter))])
        assert cost <= last
        last, steps = cost, steps + 1
    assert steps < 100
    np.testing.assert_allclose(parameter.numpy(), 1.0, atol=1e-6)


@pytest.mark.row(23, 169)
def test_levenberg_marquardt_follows_its_twin(f64):
    parameter, x, damping = Parameter(np.array([-1.2, 1.0])), np.array([-1.2, 1.0]), 1e-3
    optimizer = LevenbergMarquardt(parameter)

    def residual(p):
        return np.array([10 * (p[1] - p[0] ** 2), 1 - p[0]])

    for _ in range(12):
        optimizer.step(lambda: [Residual(rosenbrock(parameter))])
        jacobian, r = np.array([[-20 * x[0], 10], [-1, 0]]), residual(x)
        while True:
            curved = jacobian.T @ jacobian
            trial = x - np.linalg.solve(curved + damping * np.diag(np.diagonal(curved)), jacobian.T @ r)
            better = (residual(trial) ** 2).sum() < (r**2).sum()
            damping *= 1 / 3 if better else 2
            if better:
                break
        x = trial
        np.testing.assert_allclose(parameter.numpy(), x, rtol=1e-9)


def test_random_combinations_stand_for_many_residuals(f64):
    """More residuals than passes: the step is not exact, but its end is."""
    rng = np.random.default_rng(1)
    matrix, right = rng.normal(size=(400, 3)), rng.normal(size=400)
    parameter = Parameter(np.zeros(3))
    calls = []
    optimizer = LevenbergMarquardt(parameter, passes=24)

    def residuals():
        return [Residual(mapped(parameter, lambda p: matrix @ p, lambda p: (calls.append(1), matrix)[1], 400), right)]

    optimizer.step(residuals)
    assert len(calls) == 25
    for _ in range(25):
        optimizer.step(residuals)
    np.testing.assert_allclose(parameter.numpy(), np.linalg.lstsq(matrix, right, rcond=None)[0], rtol=1e-6)


def test_lbfgs_finds_the_bottom_of_a_bowl_and_goes_on_bit_for_bit(f64):
    """A quadratic of 8 numbers in 40 steps; some the steps and the rest from the state are all of them."""
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(12, 8)) * np.logspace(0, 0.7, 8)

    def made(start, constraint=FREE):
        parameter = Parameter(start, constraint)
        return parameter, squares(lambda p: mapped(p, lambda v: matrix @ (v - 1), lambda v: matrix, 12), parameter)

    start = rng.normal(size=8)
    parameter, closure = made(start)
    optimizer = LBFGS(parameter, history=8)
    for step in range(40):
        if step == 6:
            state, there = optimizer.state(), parameter.numpy()
        optimizer.step(closure)
    np.testing.assert_allclose(parameter.numpy(), 1.0, atol=1e-6)
    other, closure = made(there)
    resumed = LBFGS(other, history=8)
    resumed.load_state(state)
    for _ in range(34):
        resumed.step(closure)
    np.testing.assert_array_equal(other.numpy(), parameter.numpy())
    bounded, closure = made(np.full(8, 3.0), Constraint(clamp=(1.5, 4.0)))
    optimizer = LBFGS(bounded)
    for _ in range(20):
        optimizer.step(closure)
    assert 1.5 <= bounded.numpy().min() < 3
    with pytest.raises(SceneError, match="looks at the loss more than once"):
        tidr.Optimizers([optimizer]).step()


def test_passes_are_the_rows_of_the_jacobian(f64):
    parameter = Parameter(np.array([0.3, -0.7]))
    passes = Passes(lambda: [rosenbrock(parameter)], {"p": parameter})
    for row, expected in ((0, [-6, 10]), (1, [-1, 0]), (0, [-6, 10])):
        passes.back([np.eye(2)[row]])
        np.testing.assert_allclose(parameter.grad_numpy(), expected)


DOTS = {"type": "points", "splat": "gaussian", "sigma_pixels": 1.5}


def dots(tmp_path) -> tidr.Scene:
    """Two views of three dots that lie wrong; the targets are files."""
    scene, right = tidr.Scene(tidr.Film(10, 8)), np.array([[-0.6, -0.2, 0.1], [0.5, -0.4, 0], [0.1, 0.6, -0.2]])
    scene.add_node("dots", tidr.Node(tidr.PointCloud(right)))
    for number, x in enumerate((-0.4, 0.5)):
        lens = {"fov_y_degrees": 50, "width": 10, "height": 8}
        scene.add_camera(f"view{number}", tidr.Camera.look_at((x, 0.2, 3), (0.02, 0.01, 0), **lens))
        mask = tidr.render(scene, f"view{number}", tidr.PointRenderer(splat="gaussian", sigma_pixels=1.5)).alpha.numpy()
        np.save(tmp_path / f"{number}.npy", np.repeat(mask, 4, -1).astype(np.float32))
    scene["dots"].geometry.positions.set(right + np.array([[0.1, 0.05, 0], [-0.1, 0.1, 0], [0.05, -0.1, 0]]))
    return scene


@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt", pytest.param("dogleg", marks=pytest.mark.long)])
def test_fits_of_settings_and_their_checkpoints(f32, tmp_path, optimizer):
    """The dots are found in a few steps; 3 steps and 5 after a resume are 8 at once, to the last bit."""
    how = {"dots.positions": ParameterSettings(lr=1.0, optimizer=optimizer, channels=(0, 1))}
    settings = FitSettings(
        targets={f"view{n}": str(tmp_path / f"{n}.npy") for n in (0, 1)}, steps=8, losses={"alpha_mse": 1.0},
        renderer=DOTS, parameters=how,
    )  # fmt: skip
    whole = dots(tmp_path)
    result = fit_from_settings(whole, settings, tmp_path / "whole")
    assert result.loss < 0.05 * result.losses[0, 1]
    fit_from_settings(dots(tmp_path), settings, tmp_path / "parts", steps=3)
    resumed = dots(tmp_path)
    fit_from_settings(resumed, settings, tmp_path / "parts", resume=True)
    np.testing.assert_array_equal(*(scene["dots"].geometry.positions.numpy() for scene in (resumed, whole)))
    if optimizer == "levenberg_marquardt":
        with pytest.raises(SceneError, match="alpha_l1: is no sum of squares"):
            fit_from_settings(whole, replace(settings, losses={"alpha_l1": 1.0}))
        other = {"dots.translation": ParameterSettings(lr=2.0, optimizer=optimizer)}
        with pytest.raises(SceneError, match=r"lr: is 2\.0 here and 1.0 elsewhere"):
            fit_from_settings(whole, replace(settings, parameters=how | other))
