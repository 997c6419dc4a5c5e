"""The hard rasterizer: against its numpy twin, closed forms, determinism, and gradients of every channel."""

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.fitting.tape import Loss, Operation, run

from .everything import blob, everything
from .gradients import directional_check
from .reference import raster as twin

PLAIN = tidr.Rasterizer(edges="none", channels=("depth",))


def weighted(array: Array, weights) -> Loss:
    """sum(weights * array), a loss without truncation error in a difference along a straight line."""
    weights, out = np.broadcast_to(weights, array.shape), Array(())

    def forward() -> None:
        out.set((array.numpy().astype(np.float64) * weights).sum())

    def backward() -> None:
        array.set_grad(array.grad_numpy() + weights * float(out.grad_numpy()))

    run(Operation(forward, backward, [array], [out], "weighted sum"))
    return Loss(out, "weighted")


def soup(rng, triangles: int, spread: float, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Loose triangles of about `size` within a box of half extent `spread`."""
    centres = rng.uniform(-spread, spread, (triangles, 1, 3))
    return (centres + rng.normal(size=(triangles, 3, 3)) * size).reshape(-1, 3), np.arange(3 * triangles).reshape(-1, 3)


def random_scene(seed: int, near: float) -> tuple[tidr.Scene, list[tidr.Camera], int, int, bool]:
    """Loose triangles around the camera and a closed mesh, under transforms; one to three views; odd sizes."""
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(5, 40, 2))
    scene = tidr.Scene()
    scene.add_node("root", tidr.Node(None, (), None, rng.normal(size=3) * 0.2, rng.normal(size=4), 1.2))
    scene.add_node("soup", tidr.Node(tidr.Mesh(*soup(rng, 30, 2.0, 0.7)), (), "root", (0, 0, 0), rng.normal(size=4)))
    scene.add_node("blob", tidr.Node(tidr.Mesh(*blob(seed)), (), None, rng.normal(size=3), scale=(0.6, 0.9, 0.7)))
    views = []
    for _ in range(1 + seed % 3):
        kind = {"height_world": 3.0} if rng.random() < 0.3 else {"fov_y_degrees": rng.uniform(20, 100)}
        eye = rng.normal(size=3) * (1.5 if seed % 2 else 0.5)
        kind["far"] = 3.0 if seed % 4 == 0 else 1e6
        views.append(tidr.Camera.look_at(eye, rng.normal(size=3), width=width, height=height, near=near, **kind))
    return scene, views, width, height, seed % 5 == 0


def tie_scene(seed: int) -> tuple[tidr.Scene, list[tidr.Camera], int, int, bool]:
    """Dyadic triangles through pixel centres: shared edges, duplicates in any corner order, coplanar overlaps."""
    rng = np.random.default_rng(seed)
    width, height = 24, 17
    grid = rng.integers(-24, 25, (20, 3, 2)) / 16
    slopes = rng.choice([-0.5, -0.25, 0, 0, 0.25, 0.5], (20, 1, 2))
    depth = (grid * slopes).sum(-1) + rng.integers(0, 3, (20, 1)) / 2
    corners = np.concatenate([grid, depth[..., None]], -1)
    corners[5:10] = corners[rng.integers(0, 5, 5)]  # duplicates
    corners[10:13, :, 2] = 0.5  # coplanar overlaps, turned and mirrored
    corners[13:16] = np.roll(corners[10:13], 1, axis=1)
    corners[16:19] = corners[10:13, ::-1]
    corners = corners[rng.permutation(20)]
    vertices, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    scene = tidr.Scene()
    scene.add_node("flat", tidr.Node(tidr.Mesh(vertices, index.reshape(-1, 3))))
    camera = tidr.Camera((0, 0, 8), (1, 0, 0, 0), (8, 8), (width / 2, height / 2), width, height, "orthographic")
    return scene, [camera], width, height, seed % 5 == 0


def drawn(scene, cameras, width, height, cull_back, edges="none") -> tidr.Image:
    renderer = tidr.Rasterizer(edges=edges, channels=("depth",), cull_back=cull_back)
    return tidr.render(scene, cameras, renderer, width, height)


@pytest.mark.row(16)
@pytest.mark.row(118)
@pytest.mark.row(124)
@pytest.mark.parametrize("make", [lambda seed: random_scene(seed, 0.01), tie_scene], ids=["random", "ties"])
def test_hard_raster_equals_brute_force(f64, make):
    covered = 0
    for seed in range(100):
        scene, cameras, width, height, cull_back = make(seed)
        image = drawn(scene, cameras, width, height, cull_back)
        ids, depth, bary = image.ids, image.depth.numpy()[..., 0], image.barycentrics.numpy()
        for view, camera in enumerate(cameras):
            expected = twin.draw(scene, camera, width, height, cull_back=cull_back)
            np.testing.assert_array_equal(ids[view], expected.ids, err_msg=f"seed {seed}, view {view}")
            np.testing.assert_allclose(depth[view], expected.depth, rtol=1e-7, err_msg=f"seed {seed}, view {view}")
            np.testing.assert_allclose(bary[view], expected.barycentrics, rtol=1e-6, atol=1e-6)
            covered += (expected.ids >= 0).sum()
    assert covered > 20_000
