"""Steps of a fit in shares: their sum is the whole step, with the same random numbers, whatever is drawn."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.fitting.density_control import DensityControl
from tidr.fitting.loop import Plan
from tidr.fitting.objective import Objective, fitted_grids
from tidr.fitting.settings import DensifySettings
from tidr.fitting.step import Share, gradients_of, part_of, refuse_shares, split_count, summed
from tidr.fitting.views import Views

from .gaussian_scenes import cloud, placed
from .path_scenes import open_box
from .volume_scenes import alone, noise

SIDE, VIEWS = 12, 4
EVERY_MEAN = {"mse": 1.0, "dssim": 0.3, "silhouette": 0.2, "depth_l1": 0.4}  # over pixels, windows, views, some pixels


def sheet() -> tidr.Scene:
    """A coarse ball of one colour before nothing."""
    scene = tidr.Scene(tidr.Film(SIDE, SIDE))
    scene.add_material("paint", tidr.Material("lambert", albedo=(0.8, 0.3, 0.2)))
    scene.add_node("ball", tidr.Node(tidr.Mesh(*tidr.icosphere(1)), ("paint",)))
    scene.add_light("sky", tidr.AmbientLight(0.6))
    return scene


def plan_of(scene: tidr.Scene, renderer, losses: dict[str, float], *patterns: str, **changes) -> Plan:
    """A step of three of four views, held against noise with holes in its depths."""
    rng, cameras = np.random.default_rng(0), tidr.sphere_views(VIEWS, 4.0, fov_y_degrees=40, width=SIDE, height=SIDE)
    depths = list(np.where(rng.random((VIEWS, SIDE, SIDE)) < 0.7, rng.uniform(2, 5, (VIEWS, SIDE, SIDE)), 0.0))
    views = Views(cameras, list(rng.random((VIEWS, SIDE, SIDE, 4))), depths=depths)
    params = scene.parameters(*patterns)
    nodes = {node: 1.0 for node in scene.nodes.values() if isinstance(node.geometry, tidr.Mesh)}
    objective = Objective(losses, nodes, fitted_grids(scene, params))
    return Plan(
        scene=scene, views=views, params=params, objective=objective, optimizers=[], renderer=renderer, steps=9,
        horizon=9, views_per_step=3, random_background=True, seed=5, **changes,
    )  # fmt: skip


def found(plan: Plan, step) -> list[np.ndarray]:
    """Loss, terms and gradients of one way to take a step."""
    result = step()
    numbers = [np.array([result.loss, *(result.terms[name] for name in plan.objective.names)])]
    return numbers + [parameter.grad_numpy() for parameter in plan.params.values()]


def assert_shares_are_the_whole(plan: Plan, count: int) -> None:
    refuse_shares(plan)
    assert split_count(plan, count) == count
    whole = found(plan, lambda: gradients_of(plan, 2, 4))
    assert all(np.abs(array).max() > 0 for array in whole)
    parts = [part_of(plan, 2, 4, Share(number, count)) for number in range(count)]
    for one, other in zip(whole, found(plan, lambda: summed(plan, parts)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())


@pytest.mark.parametrize("count", [2, 3])
def test_views_of_meshes_with_every_kind_of_mean(f64, count):
    plan = plan_of(
        sheet(), tidr.Rasterizer(edges="none"), EVERY_MEAN | {"laplacian": 0.1}, "ball.vertices", "paint.albedo"
    )
    assert_shares_are_the_whole(plan, count)


def test_a_share_knows_its_place():
    for count in range(1, 6):
        ranges = [Share(number, count).of(7) for number in range(count)]
        assert [first for first, _ in ranges] == list(np.cumsum([0, *(many for _, many in ranges)])[:-1])
        assert sum(many for _, many in ranges) == 7


@pytest.mark.parametrize("rays", [0, 97])
def test_jittered_volumes_by_views_and_by_pixels(f64, rays):
    drawer = tidr.VolumeRenderer(steps=6, jitter=True)
    assert_shares_are_the_whole(
        plan_of(alone(noise("color")), drawer, {"mse": 1.0}, "*.density", rays_per_step=rays), 2
    )


def test_paths(f64):
    drawer = tidr.PathTracer(samples=2, max_depth=2)
    assert_shares_are_the_whole(plan_of(open_box(), drawer, {"mse": 1.0}, "red.albedo"), 2)


def test_gaussians_and_what_density_control_counts(f64):
    scene, states = placed(cloud(0, degree=0)), []
    name = next(key for key, node in scene.nodes.items() if node.geometry is not None)
    plan = plan_of(scene, tidr.PointRenderer(), {"l1": 1.0}, "*.means", "*.sh_dc")
    plan.density = DensityControl(scene, {name: DensifySettings()}, plan.views.cameras)
    statistics = scene.nodes[name].geometry.statistics
    parts = [part_of(plan, 2, 4, Share(number, 2)) for number in range(2)]
    for step in (lambda: gradients_of(plan, 2, 4), lambda: summed(plan, parts)):
        statistics.clear()
        step()
        states.append(statistics.state())
    assert states[0]["seen"].max() == 3
    for key, value in states[0].items():
        np.testing.assert_allclose(states[1][key], value, rtol=1e-9, err_msg=key)
    assert_shares_are_the_whole(plan, 3)


@pytest.mark.parametrize(
    ("drawer", "losses", "rays", "words"),
    [
        (tidr.PhotonMapper(), {"mse": 1.0}, 0, "PhotonMapper"),
        (tidr.VolumeRenderer(), {"free_space": 1.0}, 0, "free_space"),
        (tidr.VolumeRenderer(), {"silhouette": 1.0}, 50, "silhouette"),
    ],
)
def test_what_belongs_together_is_refused_by_name(f64, drawer, losses, rays, words):
    with pytest.raises(SceneError, match=words):
        refuse_shares(plan_of(sheet(), drawer, losses, "paint.albedo", rays_per_step=rays))
