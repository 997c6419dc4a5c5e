"""Schedules at their ends and between, and the early stop."""

import pytest

from tidr.errors import SceneError
from tidr.fitting.schedules import Constant, Cosine, EarlyStop, Exponential, Step, Warmup


def test_constant():
    assert Constant(value=0.3)(7, 10) == 0.3


def test_exponential_goes_by_equal_ratios_and_stays():
    schedule = Exponential(start=1.0, end=0.01)
    values = [schedule(step, 101) for step in range(101)]
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.1)
    assert values[100] == pytest.approx(0.01)
    assert Exponential(start=1.0, end=0.01, steps=11)(5, 101) == pytest.approx(0.1)
    assert Exponential(start=1.0, end=0.01, steps=11)(60, 101) == pytest.approx(0.01)
    with pytest.raises(SceneError, match="above 0"):
        Exponential(end=0.0)


def test_cosine():
    schedule = Cosine(start=1.0, end=0.2)
    assert schedule(0, 101) == 1.0
    assert schedule(50, 101) == pytest.approx(0.6)
    assert schedule(100, 101) == pytest.approx(0.2)


def test_step():
    schedule = Step(factor=0.5, every=10)
    assert [schedule(step, 100) for step in (0, 9, 10, 25)] == [1.0, 1.0, 0.5, 0.25]


def test_warmup():
    schedule = Warmup(steps=4, then=Constant(value=2.0))
    assert [schedule(step, 100) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_a_fit_of_one_step_ends_where_the_schedule_ends():
    assert Exponential()(0, 1) == pytest.approx(0.1)
    assert Cosine()(0, 1) == pytest.approx(0.0)


@pytest.mark.row(204)
def test_early_stop_wants_calm_in_a_row():
    stop = EarlyStop(tolerance=1e-5, patience=3)
    assert [stop.update(loss) for loss in (2.0, 1.0, 1.0, 1.0, 0.9, 0.9, 0.9)] == [False] * 7
    assert stop.update(0.9 * (1 + 5e-6))
    assert not stop.update(0.8)


@pytest.mark.row(204)
def test_early_stop_never_stops_a_steady_descent():
    stop = EarlyStop()
    assert not any(stop.update(0.999**step) for step in range(1000))


@pytest.mark.row(204)
def test_early_stop_resumes():
    first, second = EarlyStop(patience=4), EarlyStop(patience=4)
    for _ in range(3):
        first.update(1.0)
    second.load_state(first.state())
    assert first.update(1.0) == second.update(1.0) is False
    assert first.update(1.0)
    assert second.update(1.0)
