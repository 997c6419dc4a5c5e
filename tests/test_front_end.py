"""Shortcuts in Taichi's front end: what kernels compute, and what errors say, is as without them."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import taichi as ti

A1 = ti.types.ndarray(ndim=1)


@ti.func
def chosen(which: ti.template(), x):
    """Of another shape at every place where it is inlined."""
    out = x
    if ti.static(which == 0):
        out = x + 1.0
    else:
        for _ in ti.static(range(which)):
            out = 2.0 * chosen(which - 1, out)
    return out


@ti.kernel
def everywhere(out: A1):
    for i in range(1):
        out[i] = chosen(0, chosen(1, chosen(0, 1.0))) + 100.0 * chosen(2, 1.0)


@ti.kernel
def wrong(out: A1):
    for i in range(1):
        out[i] = no_such_name  # noqa: F821


@ti.data_oriented
class Held:
    def __init__(self, number: float) -> None:
        self.number = number

    @ti.kernel
    def write(self, out: A1):
        for i in range(1):
            out[i] = self.number


def test_a_function_serves_every_place_where_it_is_inlined(f64):
    out = np.zeros(1)
    everywhere(out)

    def by_hand(which, x):
        if which == 0:
            return x + 1
        for _ in range(which):
            x = 2 * by_hand(which - 1, x)
        return x

    assert out[0] == by_hand(0, by_hand(1, by_hand(0, 1))) + 100 * by_hand(2, 1)
    assert gc.isenabled()


def test_errors_name_the_line(f64):
    lines = Path(__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "= no_such_name" in text)
    with pytest.raises(ti.TaichiCompilationError, match=rf'(?s)test_front_end\.py", line {line}, .*no_such_name'):
        wrong(np.zeros(1))
    assert gc.isenabled()


@pytest.mark.parametrize("values", [np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(4, dtype=np.int32)])
def test_numbers_are_copied_without_a_kernel(f32, monkeypatch, values):
    array = ti.ndarray(ti.f32 if values.dtype == np.float32 else ti.i32, values.shape)
    copied = np.broadcast_to(values[..., None], (*values.shape, 2))[..., 0]  # not contiguous: Taichi's own way
    array.from_numpy(copied)
    np.testing.assert_array_equal(array.to_numpy(), values)
    for name in ("ext_arr_to_ndarray", "ndarray_to_ext_arr"):
        monkeypatch.setattr(f"taichi._kernels.{name}", None)
    array.from_numpy(values + 1)
    found = array.to_numpy()
    np.testing.assert_array_equal(found, values + 1)
    assert found.dtype == values.dtype
    with pytest.raises(ValueError, match="Mismatch shape"):
        array.from_numpy(values[:1])


def test_a_kernel_may_be_a_method(f64):
    out = np.zeros(1)
    Held(3.0).write(out)
    assert out[0] == 3.0


def test_a_script_may_have_a_kernel_at_its_top(tmp_path):
    script = tmp_path / "script.py"
    kernel = "@ti.kernel\ndef two() -> int:\n    return 2\n\nprint(two())\n"
    script.write_text("import tidr\nimport taichi as ti\ntidr.init(arch='cpu')\n\n" + kernel)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout.split()[-1:] == ["2"], done.stderr
