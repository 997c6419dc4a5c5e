"""Small voxel scenes shared by the tests."""

import numpy as np

import tidr
from tidr.scene.voxels import VoxelGrid, cell_centers

from .conftest import start
from .gradients import directional_check, tape_gradients

known: dict[tuple, list[np.ndarray]] = {}


def ball(side: int, radius: float = 0.7, **options) -> VoxelGrid:
    """A solid ball; the cells at its surface are part full."""
    cell = 2 / side
    distance = np.linalg.norm(cell_centers((side, side, side)), axis=-1) - radius
    return VoxelGrid(occupancy=np.clip(0.5 - distance / cell, 0, 1), **options)


def cloud(
    seed: int, shape=(5, 6, 7), low: float = 0.05, high: float = 0.6, classes: int = 0, warp=None, border=0.0
) -> VoxelGrid:
    """Random occupancy and colours in a box that is no cube; `border` is the most in the outermost cells."""
    rng = np.random.default_rng(seed)
    occupancy = rng.uniform(0.5, 1.0, shape) * border
    inner = tuple(n - 2 for n in shape)
    occupancy[1:-1, 1:-1, 1:-1] = rng.uniform(low, high, inner)
    semantics = rng.dirichlet(np.ones(classes), shape) if classes else None
    return VoxelGrid(
        occupancy=occupancy, color=rng.uniform(0.1, 0.9, (*shape, 3)), semantics=semantics, warp=warp,
        lower=(-1, -0.9, -0.8), upper=(0.9, 1.1, 0.7),
    )  # fmt: skip


def bent(seed: int, shape=(3, 4, 3), size: float = 0.08) -> np.ndarray:
    """A warp [d, h, w, 3] a little off the identity in the box of `cloud`."""
    rng = np.random.default_rng(seed)
    return cell_centers(shape, (-1, -0.9, -0.8), (0.9, 1.1, 0.7)) + rng.uniform(-size, size, (*shape, 3))


def placed(grid: VoxelGrid, background=(0.2, 0.1, 0.4)) -> tidr.Scene:
    """A scene of one node "grid", turned and stretched under a parent, on a coloured background."""
    scene = tidr.Scene(tidr.Film(8, 8, background))
    scene.add_node("base", tidr.Node(translation=(0.05, -0.03, 0.1), rotation=(0.98, 0.1, 0.12, -0.05)))
    scene.add_node("grid", tidr.Node(grid, parent="base", rotation=(0.95, -0.1, 0.2, 0.1), scale=(1.1, 0.9, 1.2)))
    return scene


def view(kind: str = "perspective", size: int = 8, part: float = 1.0) -> tidr.Camera:
    """A camera that sees `part` of the width of `placed`."""
    place = {"fov_y_degrees": 38 * part} if kind == "perspective" else {"height_world": 2.6 * part}
    return tidr.Camera.look_at((0.7, 0.9, 3.6), (0.02, 0.01, 0.03), width=size, height=size, **place)


def front(voxels, renderer, color=None, **options):
    """The one-pixel image of a column of voxels, the first nearest to the camera."""
    values = np.asarray(voxels, float)[::-1].reshape(-1, 1, 1)
    half = len(values) / 2
    shown = None if color is None else np.asarray(color, float)[::-1].reshape(-1, 1, 1, 3)
    grid = VoxelGrid(occupancy=values, color=shown, lower=(-0.5, -0.5, -half), upper=(0.5, 0.5, half), **options)
    scene = tidr.Scene(tidr.Film(1, 1))
    scene.add_node("grid", tidr.Node(grid))
    camera = tidr.Camera.look_at((0, 0, 4), (0, 0, 0), height_world=1, width=1, height=1)
    return grid, lambda: tidr.render(scene, camera, renderer)


def against_f64(key: tuple, problem, backend, seed: int) -> None:
    """Check the gradients of problem(), a function that makes a loss and the arrays to differentiate it by.

    In f64 against finite differences. The image has a kink wherever a sample crosses a plane of cell centres, and a
    step fit for 32 bits crosses many; so on Vulkan whole gradients are compared with those of `key` in f64.
    """
    if backend.precision == 64:
        function, arrays = problem()
        known[key] = directional_check(function, arrays, backend, seed)
        return
    if key not in known:
        start("cpu", 64)
        known[key] = tape_gradients(*problem())
        start(backend.arch, backend.precision)
    for exact, found in zip(known[key], tape_gradients(*problem()), strict=True):
        assert np.linalg.norm(found - exact) <= backend.rtol * np.linalg.norm(exact)
