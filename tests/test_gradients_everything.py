"""Every parameter of a scene with everything in it, against central differences made in 64 bits.

A step that 32 bits can resolve moves silhouettes over pixels, so the Vulkan runs are held against the same differences.
"""

import pytest

import tidr
from tidr.fitting.gradcheck import GradientReport, check_gradients

from .conftest import start
from .everything import everything

COLOURS = ("rgb", "alpha")
SURFACE = ("rgb", "alpha", "depth", "normal", "uv", "heat")
UNUSED = {"right.colors", "sun.angular_diameter"}  # only light transport gives a sun a disc
UNSEEN = UNUSED | {"left.heat", "right.heat"}

# edges, texture filter, orthographic, channels of the loss, parameters that it does not feel
CASES = {
    "none": ("none", "trilinear", False, COLOURS, UNSEEN),
    "none-surface": ("none", "bilinear", True, SURFACE, UNUSED),
    "antialias": ("antialias", "trilinear", True, COLOURS, UNSEEN),
    "soft": ("soft", "trilinear", False, COLOURS, UNSEEN),
    "soft-surface": ("soft", "bilinear", True, SURFACE, UNUSED),
}
_measured: dict[str, GradientReport] = {}


def report(case: str, differences=None) -> GradientReport:
    edges, texture_filter, orthographic, channels, _ = CASES[case]
    scene = everything(seed=1, filter=texture_filter, size=32, orthographic=orthographic)
    drawer = tidr.Rasterizer(edges=edges, channels=(), sigma=3e-4, gamma=1e-2)
    return check_gradients(scene, renderer=drawer, channels=channels, directions=1, seed=5, differences=differences)


def assert_all_match(found: GradientReport, case: str) -> None:
    assert found.passed, "\n" + found.table()
    assert {row.path for row in found.rows if row.largest == 0} == CASES[case][-1]
    assert sum(row.kinks for row in found.rows) <= sum(row.directions for row in found.rows) // 10


@pytest.mark.row(1)
@pytest.mark.parametrize("case", CASES)
def test_every_parameter_matches_differences(f64, case):
    _measured[case] = report(case)
    assert _measured[case].tolerance == 1e-5
    assert_all_match(_measured[case], case)


@pytest.mark.parametrize("case", ["antialias", "soft-surface"])
def test_every_parameter_matches_differences_on_vulkan(vulkan, case):
    if case not in _measured:
        start("cpu", 64)
        _measured[case] = report(case)
        start("vulkan", 32)
    found = report(case, _measured[case].differences)
    assert (found.arch, found.tolerance) == ("vulkan", 2e-2)
    assert_all_match(found, case)
