"""Ray consistency: the closed form, and gradients of every cost."""

import numpy as np
import pytest

import tidr
from tidr.fitting.ray_consistency import ray_consistency

from .conftest import on_backends
from .gradients import tape_gradients
from .voxel_scenes import against_f64, cloud, front, placed, view


def column(occupancy):
    grid, _ = front(occupancy, None)
    scene = tidr.Scene()
    scene.add_node("grid", tidr.Node(grid))
    return grid, scene, tidr.Camera.look_at((0, 0, 4), (0, 0, 0), height_world=1, width=1, height=1)


@pytest.mark.row(56)
def test_closed_form(f64):
    """p = (.2, .4, .32, .08); costs (1, 0, 1, 1) come from depths 3, 4, 5 and 5 behind, where 4 was seen."""
    grid, scene, camera = column((0.2, 0.5, 0.8))

    def loss():
        return ray_consistency(scene, camera, "depth", np.full((1, 1, 1), 4.0), far=5.0)

    assert float(loss()) == pytest.approx(0.6, rel=1e-12)
    (gradient,) = tape_gradients(loss, [grid.occupancy])
    np.testing.assert_allclose(gradient.ravel()[::-1], (0.5, -0.8, 0.0), atol=1e-12)


@pytest.mark.row(56)
def test_mask_costs_the_wrong_end(f64):
    grid, scene, camera = column((0.2, 0.5, 1.0))
    on = float(ray_consistency(scene, camera, "mask", np.ones((1, 1, 1))))
    off = float(ray_consistency(scene, camera, "mask", np.zeros((1, 1, 1))))
    assert on == pytest.approx(0.0)
    assert off == pytest.approx(0.2 * 1.0)
    (gradient,) = tape_gradients(lambda: ray_consistency(scene, camera, "mask", np.ones((1, 1, 1))), [grid.occupancy])
    np.testing.assert_allclose(gradient.ravel()[::-1], (0, 0, -0.4), atol=1e-12)  # opaque, and its gradient exact


@pytest.mark.row(57)
@pytest.mark.parametrize(
    ("backend", "kind", "seed"),
    on_backends(
        [(kind, seed) for kind in ("mask", "depth", "color", "semantics") for seed in (0, 1)],
        [(kind, 0) for kind in ("mask", "depth", "color", "semantics")],
    ),
    indirect=["backend"],
)
def test_gradients(backend, kind, seed):
    rng = np.random.default_rng(seed)
    target = {
        "mask": rng.uniform(size=(2, 5, 5, 1)),
        "depth": rng.uniform(2.5, 4.5, (2, 5, 5, 1)),
        "color": rng.uniform(size=(2, 5, 5, 3)),
        "semantics": rng.integers(-1, 3, (2, 5, 5, 1)),
    }[kind]
    options = {"mask": rng.uniform(size=(2, 5, 5, 1)) > 0.4, "far": 6.0}

    def problem():
        grid = cloud(seed, low=0.1, high=0.5, classes=3, border=0.2)
        scene, cameras = placed(grid), [view(size=5, part=0.5), view("orthographic", 5, part=0.5)]
        arrays = [grid.occupancy, *({"color": [grid.color], "semantics": [grid.semantics]}.get(kind, []))]
        if kind == "depth":
            arrays += [cameras[0].position, cameras[0].rotation, cameras[1].position, scene["grid"].translation]
        return lambda: ray_consistency(scene, cameras, kind, target, **options), arrays

    against_f64(("consistency", kind, seed), problem, backend, seed)


def test_bad_observations_are_refused(f32):
    scene, camera = placed(cloud(0)), view()
    one = np.ones((8, 8, 1))
    for kind, target, options, message in [
        ("masks", one, {}, "choose one of"),
        ("mask", one[..., 0], {}, "shape"),
        ("mask", one * np.nan, {}, "not finite"),
        ("depth", one, {}, "far"),
        ("semantics", one, {}, "none"),
        ("color", one, {}, "shape"),
    ]:
        with pytest.raises(tidr.SceneError, match=message):
            ray_consistency(scene, camera, kind, target, **options)
    scene = placed(cloud(0, classes=2))
    with pytest.raises(tidr.SceneError, match="has class 2"):
        ray_consistency(scene, camera, "semantics", 2 * one)
