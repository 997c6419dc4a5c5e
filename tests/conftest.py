"""Backends as fixtures, and rows of the checklist as markers."""

import functools
from dataclasses import dataclass

import pytest

import tidr
from tidr import runtime

from .rows_plugin import pytest_addoption, pytest_configure  # noqa: F401


@dataclass(frozen=True)
class Backend:
    """A started backend with the tolerance and the difference step that its precision allows."""

    arch: str
    precision: int

    @property
    def rtol(self) -> float:
        return 1e-5 if self.precision == 64 else 2e-2

    @property
    def step(self) -> float:
        return 6e-6 if self.precision == 64 else 5e-3


@functools.cache
def vulkan_is_there() -> bool:
    """Asked once a run, since it takes a child process."""
    return bool(runtime.vulkan_devices())


def start(arch: str, precision: int) -> Backend:
    if arch == "vulkan" and not vulkan_is_there():
        pytest.skip("no Vulkan device on this machine (Debian: mesa-vulkan-drivers libvulkan1)")
    running = runtime.started()
    if running is None or (running.arch, running.precision) != (arch, precision):
        tidr.init(arch=arch, precision=precision)
    return Backend(arch, precision)


@pytest.fixture
def f64() -> Backend:
    return start("cpu", 64)


@pytest.fixture
def f32() -> Backend:
    return start("cpu", 32)


@pytest.fixture
def vulkan() -> Backend:
    return start("vulkan", 32)


@pytest.fixture(params=["cpu-f64", "vulkan-f32"])
def backend(request) -> Backend:
    return start("cpu", 64) if request.param == "cpu-f64" else start("vulkan", 32)


def on_backends(cases, on_vulkan) -> list[tuple]:
    """Parameters ("backend", ...) of a test, for `indirect=["backend"]`: `cases` in 64 bits, `on_vulkan` on Vulkan."""
    return [("cpu-f64", *case) for case in cases] + [("vulkan-f32", *case) for case in on_vulkan]


LONG = ("path", "photon", "light_tracing", "transport", "volume", "implicit", "caustic", "radiance", "level_set")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Files go to xdist's workers in the order below, in place of those of many short tests first."""
    session.config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long fits and studies wait for --long or --rows.

    Files that take long come first, so that no worker begins one at the end. Within a file, tests of one backend run
    together: a change of backend compiles anew. Tests that compare two backends stand between those of each.
    """

    def backends_of(item: pytest.Item) -> tuple[str, ...]:
        chosen = getattr(getattr(item, "callspec", None), "params", {}).get("backend", "")
        known = {"cpu-f32": "f32", "cpu-f64": "f64", "vulkan-f32": "vulkan"}
        names = (*getattr(item, "fixturenames", ()), known.get(chosen))
        return tuple(name for name in ("f32", "f64", "vulkan") if name in names)

    if not config.getoption("--long") and config.getoption("--rows") is None:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    order: dict[str, int] = {}
    for item in sorted(items, key=lambda item: not item.path.stem.startswith(tuple(f"test_{name}" for name in LONG))):
        order.setdefault(str(item.path), len(order))
    items.sort(key=lambda item: (order[str(item.path)], backends_of(item)))
