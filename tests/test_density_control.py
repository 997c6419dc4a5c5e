"""Gaussians that come and go in a fit: optimizers follow, noise is that of the paper, a resumed fit is the same fit."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.errors import SceneError
from tidr.fitting.density_control import DensityControl, apply, reset_opacities
from tidr.fitting.density_steps import Change
from tidr.fitting.gaussian_losses import gaussian_opacity, gaussian_scale
from tidr.fitting.optimizers import SGD, Adam, UniformAdam, VectorAdam
from tidr.fitting.settings import DensifySettings
from tidr.kernels.points import density as kernels

from .gradients import directional_check
from .scene_parts import message, write


def gaussians(count: int = 6, degree: int = 1, seed: int = 0) -> tidr.Gaussians:
    rng = np.random.default_rng(seed)
    rest = rng.normal(size=(count, (degree + 1) ** 2 - 1, 3)) if degree else None
    logs = np.log(rng.uniform(0.02, 0.3, (count, 3)))
    return tidr.Gaussians(
        rng.normal(size=(count, 3)), logs, rng.normal(size=(count, 4)), rng.normal(size=count), logs + 2, rest
    )


@pytest.mark.parametrize("kind", [Adam, SGD, UniformAdam, VectorAdam])
def test_the_memory_of_an_optimizer_follows_its_rows(f64, kind):
    g = gaussians()
    parameters, rng = g.parameters(), np.random.default_rng(1)
    optimizer = kind(parameters.values(), lr=1e-2)
    for _ in range(3):
        for parameter in parameters.values():
            parameter.set_grad(rng.normal(size=parameter.shape))
        optimizer.step()
    before = {name: parameter.numpy() for name, parameter in parameters.items()}
    moments = optimizer.state()
    source, fresh = np.array([4, 0, 0, 2, 5, 1, 1, 3]), np.array([0, 0, 1, 0, 0, 1, 0, 1], bool)
    apply(g, Change({name: array[source] for name, array in before.items()}, source, fresh), [optimizer])
    assert g.count == 8
    after = optimizer.state()
    assert after["steps"] == 3
    for number, (name, parameter) in enumerate(parameters.items()):
        assert np.array_equal(parameter.numpy(), before[name][source])
        for moment in kind.moments:
            key = f"{parameter.path or number}.{moment}"
            old, new = moments[key].reshape(6, -1), after[key].reshape(8, -1)
            assert np.array_equal(new[~fresh], old[source[~fresh]]), key
            assert not new[fresh].any()
            assert new[~fresh].any()
    for parameter in parameters.values():
        parameter.set_grad(np.ones(parameter.shape))
    optimizer.step()
    assert all(np.isfinite(parameter.numpy()).all() for parameter in parameters.values())


def test_resetting_opacities_leaves_the_rest_alone(f64):
    g = gaussians()
    g.opacity_logits.set(np.log([[0.9], [0.002], [0.5], [0.01], [0.3], [0.004]]))
    optimizer = Adam(g.parameters().values(), lr=1e-2)
    for parameter in g.parameters().values():
        parameter.set_grad(np.ones(parameter.shape))
    optimizer.step()
    before, state = {name: item.numpy() for name, item in g.parameters().items()}, optimizer.state()
    reset_opacities(g, 0.01, [optimizer])
    np.testing.assert_allclose(g.opacities(), np.minimum(1 / (1 + np.exp(-before["opacity_logits"])), 0.01))
    for number, name in enumerate(g.parameters()):
        if name != "opacity_logits":
            assert np.array_equal(g.parameters()[name].numpy(), before[name])
        for moment in ("mean", "square"):
            found = optimizer.state()[f"{number}.{moment}"]
            assert found.any() == (name != "opacity_logits")
            assert name == "opacity_logits" or np.array_equal(found, state[f"{number}.{moment}"])


def test_the_regularizers_are_means_with_exact_gradients(backend):
    g = gaussians(count=70)
    assert float(gaussian_opacity(g)) == pytest.approx(g.opacities().mean(), rel=1e-5)
    assert float(gaussian_scale(g)) == pytest.approx(g.scales().mean(), rel=1e-5)
    for loss, parameter in ((gaussian_opacity, g.opacity_logits), (gaussian_scale, g.log_scales)):
        directional_check(lambda loss=loss: loss(g), [parameter], backend)


def noise(g: tidr.Gaussians, size: float, step: int = 1, seed: int = 3) -> np.ndarray:
    before = g.means.numpy()
    arrays = (g.means.value, g.log_scales.value, g.rotations.value, g.opacity_logits.value)
    kernels.jiggle(seed, step, g.count, size, *arrays)
    return g.means.numpy() - before


def test_noise_has_the_covariance_of_the_paper(backend):
    count, scales = 20_000, np.array([0.3, 0.1, 0.02])
    rotation = np.array([0.8, 0.1, -0.4, 0.5])
    for opacity in (0.001, 0.02):
        logits = np.full(count, np.log(opacity / (1 - opacity)))
        turned = np.tile(2.5 * rotation, (count, 1))
        g = tidr.Gaussians(
            np.zeros((count, 3)), np.log(np.tile(scales, (count, 1))), turned, logits, np.zeros((count, 3))
        )
        moved = noise(g, size=7.0)
        gate = 1 / (1 + np.exp(100 * (opacity - 0.005)))
        spread = 7.0 * gate * g.covariances()[0]
        np.testing.assert_allclose(moved.mean(0), 0, atol=5 * np.abs(spread).max() / np.sqrt(count))
        expected = spread @ spread.T
        np.testing.assert_allclose(np.cov(moved.T), expected, atol=0.05 * np.abs(expected).max())


def test_noise_is_the_same_for_the_same_step_only(f64):
    one, other, third = gaussians(), gaussians(), gaussians()
    for g in (one, other, third):
        g.opacity_logits.set(np.full((6, 1), -6.0))
    a, b, c = noise(one, 1.0), noise(other, 1.0), noise(third, 1.0, step=2)
    assert np.array_equal(a, b)
    assert not np.isclose(a, c).any()


def cameras() -> list[tidr.Camera]:
    return tidr.sphere_views(5, 4.0, (0, 0, 0), fov_y_degrees=40, width=8, height=8)


def scene_of(g: tidr.Gaussians, **place) -> tidr.Scene:
    scene = tidr.Scene(tidr.Film(8, 8))
    scene.add_node("fog", tidr.Node(g, **place))
    scene.add_node("dot", tidr.Node(tidr.PointCloud([[0.0, 0, 0]])))
    return scene


def test_the_extent_is_that_of_the_cameras_in_units_of_the_node(f64):
    places = np.array([camera.position.numpy() for camera in cameras()])
    radius = 1.1 * np.linalg.norm(places - places.mean(0), axis=1).max()
    control = DensityControl(scene_of(gaussians(), scale=2.0), {"fog": "adaptive"}, cameras())
    assert control.clouds[0].extent == pytest.approx(radius / 2)
    control = DensityControl(scene_of(gaussians()), {"fog": DensifySettings(extent=3.0)}, cameras())
    assert list(control.units().values()) == [3.0]
    g = gaussians()
    control = DensityControl(scene_of(g), {"fog": "mcmc"}, cameras()[:1])  # no spread: the Gaussians' own
    assert control.clouds[0].extent == pytest.approx(np.linalg.norm(np.ptp(g.means.numpy(), axis=0)) / 2)


def test_harmonics_come_in_degree_by_degree(f64):
    g = gaussians(degree=2)
    control = DensityControl(scene_of(g), {"fog": DensifySettings(sh_every=10)}, cameras())
    found = []
    for step in (0, 9, 10, 19, 20, 500):
        control.reach(step)
        found.append(g.active_degree)
    assert found == [0, 0, 1, 1, 2, 2]
    DensityControl(scene_of(g), {"fog": DensifySettings(sh_every=0)}, cameras())
    assert g.active_degree == 2


def test_only_due_steps_change_anything(f64):
    g = gaussians(count=8)
    how = DensifySettings(from_step=10, until_step=40, every=10, reset_every=30, prune_opacity=0.3, reset_opacity=0.4)
    control = DensityControl(scene_of(g), {"fog": how}, cameras())
    g.opacity_logits.set(np.where(np.arange(8)[:, None] < 3, -3.0, 3.0))
    optimizer = Adam(g.parameters().values(), lr=1e-2)
    changed = [step for step in range(1, 61) if control.advance(step, [optimizer])]
    assert changed == [20, 30]  # pruned, then opacities reset
    assert g.count == 5
    np.testing.assert_allclose(g.opacities(), 0.4)


@pytest.mark.parametrize("views", [1, 2])
def test_thresholds_are_about_the_loss_of_one_view(f64, views):
    g = gaussians(count=4)
    g.opacity_logits.set(np.full((4, 1), 2.0))
    how = DensifySettings(from_step=0, every=10, gradient_threshold=2e-4, clone_share=1.0)
    control = DensityControl(scene_of(g), {"fog": how}, cameras(), views_per_step=views)
    sums = np.array([0.9, 1.1, 2.5, 0.0]) * 2e-4 * 3 / views  # over three views each
    g.statistics.load_state({"gradient_sum": sums, "seen": np.full(4, 3.0), "radius": np.ones(4)})
    before = g.means.numpy()
    assert control.advance(10, [])
    assert np.array_equal(g.means.numpy(), before[[0, 1, 2, 3, 1, 2]])
    assert not g.statistics.gradients().any()
    assert g.statistics.count == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('densify = { fog = "adaptiv" }', "fit.densify.fog.method: unknown name 'adaptiv' (did you mean 'adaptive'?)"),
        ('densify = { fag = "mcmc" }', "fit.densify.fag: unknown key, did you mean 'fog'?"),
        ("densify = { fog = { evry = 5 } }", "fit.densify.fog.evry: unknown key, did you mean 'every'?"),
        ("densify = { fog = { every = 0 } }", "fit.densify.fog.every: is 0 (take 1 or more)"),
        ("densify = { fog = { prune_opacity = 1.5 } }", "fit.densify.fog.prune_opacity: is 1.5"),
        (
            "densify = { fog = { reset_opacity = 0.004 } }",
            "fit.densify.fog.reset_opacity: is 0.004, prune_opacity 0.005",
        ),
        ("densify = { fog = { extent = 0 } }", "fit.densify.fog.extent: is 0"),
        ("densify = { fog = { growth = -0.1 } }", "fit.densify.fog.growth: is -0.1"),
        ("losses = { gaussian_opacty = 0.1 }", "unknown name 'gaussian_opacty' (did you mean 'gaussian_opacity'?)"),
    ],
)
def test_faults_of_the_settings_are_named(f32, tmp_path, text, expected):
    fit = '[fit]\nviews = "transforms.json"\nparameters = { "fog.*" = { lr = 1e-2 } }\n'
    found = message(write(tmp_path, f"[nodes.fog]\ngaussians = {{ count = 5 }}\n{fit}{text}\n"))
    assert expected in found


def test_nodes_without_gaussians_are_refused(f64):
    for name, expected in (("dot", "holds no Gaussians"), ("fag", "no such node")):
        with pytest.raises(SceneError, match=expected):
            DensityControl(scene_of(gaussians()), {name: "mcmc"}, cameras())


def test_memory_of_an_older_size_is_given_back(f32):
    g = gaussians(count=100)
    optimizer = Adam(g.parameters().values(), lr=1e-2)
    for count in (150, 80):
        source = np.arange(count) % g.count
        values = {name: parameter.numpy()[source] for name, parameter in g.parameters().items()}
        apply(g, Change(values, source, np.zeros(count, bool)), [optimizer])
        held = [ndarray.shape for waiting in buffer._spare.values() for ndarray, _ in waiting]
        assert not held
    allocated = buffer.allocations
    one = buffer.Buffer((123, 1))  # and what is let go of after it is used again
    del one
    buffer.Buffer((123, 1))
    assert buffer.allocations == allocated + 1
