"""The tape: its traps are closed, and what it restricts, weighs and counts."""

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.fitting import tape as tape_module
from tidr.fitting.tape import Loss, Operation, is_read, needs, recording, run
from tidr.parameter import Constraint, Parameter


def squared(*arrays: Array, seen: list | None = None) -> Loss:
    """The sum of squares; `seen` gets the arrays whose gradient was asked for."""
    out = Array(())

    def forward() -> None:
        out.set(sum((array.numpy().astype(np.float64) ** 2).sum() for array in arrays))

    def backward() -> None:
        for array in arrays:
            if needs(array):
                array.set_grad(array.grad_numpy() + 2 * array.numpy() * float(out.grad_numpy()))
                if seen is not None:
                    seen.append(array)

    run(Operation(forward, backward, list(arrays), [out], "squares"))
    return Loss(out, "squared")


def doubled(array: Array) -> Array:
    """2 x, as an operation whose output is no parameter."""
    out = Array(array.shape)
    run(
        Operation(
            lambda: out.set(2 * array.numpy()),
            lambda: array.set_grad(array.grad_numpy() + 2 * out.grad_numpy()),
            [array],
            [out],
        )
    )
    return out


def test_leaving_the_block_fills_the_gradients(backend):
    x = Parameter([1.0, -2.0, 3.0])
    with tidr.Tape() as tape:
        assert recording()
        tape.add(squared(doubled(x)))
    assert not recording()
    np.testing.assert_allclose(x.grad_numpy(), [8, -16, 24])
    assert tape.loss == pytest.approx(56)
    assert tape.terms == {"squared": pytest.approx(56)}


def test_nothing_piles_up_between_tapes(f64):
    x = Parameter([1.0, 2.0])
    for _ in range(3):
        with tidr.Tape() as tape:
            tape.add(squared(doubled(x)))
            tape.add(squared(x), 0.5)
        np.testing.assert_allclose(x.grad_numpy(), 9 * np.array([1.0, 2.0]))
    tape.add(squared(x))
    np.testing.assert_allclose(x.grad_numpy(), [9, 18])


def test_weights_multiply_gradients_but_not_terms(f64):
    x = Parameter([1.0, 2.0])
    with tidr.Tape() as tape:
        tape.add(squared(x), 3.0)
        tape.add(squared(x), -1.0)
    assert tape.loss == 10
    assert tape.terms == {"squared": 10}
    np.testing.assert_allclose(x.grad_numpy(), [4, 8])


def test_the_same_loss_added_twice_counts_twice(f64):
    x = Parameter([1.0, 2.0])
    with tidr.Tape() as tape:
        loss = squared(x)
        tape.add(loss)
        tape.add(loss, 0.5)
    assert tape.loss == 7.5
    np.testing.assert_allclose(x.grad_numpy(), [3, 6])


def test_nesting_is_refused_and_the_outer_tape_goes_on(f64):
    x = Parameter([1.0])
    with tidr.Tape() as tape:
        with pytest.raises(tidr.GradientError, match="already open"), tidr.Tape():
            pass
        tape.add(squared(x))
    np.testing.assert_allclose(x.grad_numpy(), [2])


def test_adding_nothing_is_refused(f64):
    with pytest.raises(tidr.GradientError, match="nothing was added"), tidr.Tape():
        squared(Parameter([1.0]))
    assert not recording()
    with pytest.raises(tidr.GradientError, match="expected a loss"), tidr.Tape() as tape:
        tape.add(3.0)
    assert not recording()


@pytest.mark.row(174)
def test_a_loss_that_is_not_finite_leaves_gradients_alone(f64):
    x = Parameter([1.0, 2.0])
    with tidr.Tape() as tape:
        tape.add(squared(x))
    before = x.grad_numpy()
    out = Array(())
    for bad in (np.nan, np.inf):

        def poison(bad=bad):
            out._upload(out.value, np.full((), bad))

        with pytest.raises(tidr.GradientError, match=r"bad: the loss is (nan|inf)"), tidr.Tape() as tape:  # noqa: PT012
            run(Operation(poison, lambda: x.set_grad(np.full(2, np.nan)), [x], [out]))
            tape.add(squared(x))
            tape.add(Loss(out, "bad"))
        assert not recording()
        np.testing.assert_array_equal(x.grad_numpy(), before)


def test_an_exception_in_the_block_passes_and_the_next_tape_works(f64):
    x = Parameter([1.0, 2.0])
    with pytest.raises(ZeroDivisionError), tidr.Tape() as tape:  # noqa: PT012
        tape.add(squared(x))
        1 / 0  # noqa: B018
    assert not recording()
    with tidr.Tape() as tape:
        tape.add(squared(x))
    np.testing.assert_allclose(x.grad_numpy(), [2, 4])


def test_an_exception_on_the_way_back_passes_too(f64):
    x, out = Parameter([1.0]), Array(())

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), tidr.Tape() as tape:  # noqa: PT012
        run(Operation(lambda: out.set(1.0), broken, [x], [out]))
        tape.add(Loss(out))
    assert not recording()
    assert tape_module._backward is None
    with tidr.Tape() as tape:
        tape.add(squared(x))
    np.testing.assert_allclose(x.grad_numpy(), [2])


def test_a_tape_for_some_parameters_computes_only_theirs(f64):
    x, y, fixed = Parameter([1.0]), Parameter([2.0]), Parameter([3.0], Constraint(fixed=True))
    x.path, y.path = "a.x", "a.y"
    seen: list[Array] = []
    with tidr.Tape(tidr.Parameters({"a.x": x})) as tape:
        tape.add(squared(x, y, fixed, seen=seen))
        squared(y, seen=seen)
    assert seen == [x]
    np.testing.assert_allclose(x.grad_numpy(), [2])
    seen.clear()
    with tidr.Tape() as tape:
        tape.add(squared(x, y, fixed, seen=seen))
    assert seen == [x, y]


def test_what_no_wanted_parameter_reaches_is_not_recorded(f64):
    x, y = Parameter([1.0]), Parameter([2.0])
    with tidr.Tape(tidr.Parameters({"x": x})) as tape:
        doubled(y)
        assert tape.operations == []
        doubled(doubled(x))
        assert len(tape.operations) == 2
        tape.add(squared(x))


def test_parameters_without_gradient_are_named(f64):
    x, y, z = Parameter([1.0]), Parameter([0.0]), Parameter([5.0])
    x.path, y.path, z.path = "p.x", "p.y", "p.z"
    with tidr.Tape() as tape:
        tape.add(squared(x, y))
    assert tape.zero_gradients() == ["p.y"]


def test_outside_a_tape_nothing_is_kept(f64):
    x = Parameter([2.0])
    assert float(squared(x)) == 4
    assert not recording()


def test_kernels_of_the_user_are_recorded(f64):
    import taichi as ti

    field, total = ti.field(float, 3, needs_grad=True), ti.field(float, (), needs_grad=True)
    field.from_numpy(np.array([1.0, 2.0, 3.0]))

    @ti.kernel
    def cubes():
        for i in field:
            total[None] += field[i] ** 3

    x, out = Parameter([0.5]), Array(())

    def forward() -> None:
        out.set(float(x.numpy()[0]) * total[None])

    def backward() -> None:
        x.set_grad(np.array([total[None]]) * float(out.grad_numpy()))
        total.grad[None] = float(x.numpy()[0]) * float(out.grad_numpy())

    with tidr.Tape() as tape:
        total[None] = 0.0
        cubes()
        run(Operation(forward, backward, [x], [out]))
        tape.add(Loss(out))
    assert tape.loss == pytest.approx(18)
    np.testing.assert_allclose(x.grad_numpy(), [36])
    np.testing.assert_allclose(field.grad.to_numpy(), 1.5 * np.array([1.0, 4.0, 9.0]))


def test_errors_of_arrays_name_the_parameter(f64):
    x = Parameter(np.zeros((2, 3)))
    x.path = "duck.vertices"
    with pytest.raises(tidr.SceneError, match=r"duck\.vertices: got shape \(3, 2\), expected \(2, 3\)"):
        x.set(np.zeros((3, 2)))
    with pytest.raises(tidr.SceneError, match=r"no gradient"):
        Array((2,), needs_grad=False).grad_numpy()


def test_what_the_loss_was_not_made_from_is_not_read(f64):
    """A view of a picture that no loss looked at, for one, asks its maker for nothing."""
    x, unseen, seen = Parameter([1.0, 2.0]), Array((2,)), Array((2,))
    found = {}

    def made(out, name):
        def backward():
            found[name] = is_read(out)

        run(Operation(lambda: out.set([1.0, 1.0]), backward, [x], [out], name))

    with tidr.Tape() as tape:
        made(seen, "seen")
        made(unseen, "unseen")
        run(Operation(lambda: None, lambda: None, [unseen], [Array((2,))], "view"))
        tape.add(squared(seen))
    assert found == {"seen": True, "unseen": False}
