"""Splat "gaussian3d": closed forms, a numpy twin, another splatter's picture, gradients of every input, statistics."""

from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.files.splats import read_splats
from tidr.files.srgb import linear_to_srgb, srgb_to_linear
from tidr.renderers.points import PointRenderer
from tidr.renderers.points_gaussian3d import Gaussian3d
from tidr.renderers.splat_statistics import SplatStatistics
from tidr.scene.gaussians import Gaussians

from .conftest import on_backends
from .gaussian_scenes import CHANNELS, SETTINGS, SMOOTH, cloud, everything, placed, view
from .gradients import directional_check, tape_gradients, weighted
from .reference.gaussian3d import render as twin
from .voxel_scenes import against_f64

ASSETS = Path(__file__).parents[2] / "shared" / "assets" / "gaussians"


def row_of_gaussians(colors, opacities) -> tidr.Scene:
    """Wide Gaussians behind each other on the axis of an orthographic camera "front" of one pixel."""
    count = len(opacities)
    means = np.stack([np.zeros(count), np.zeros(count), -np.arange(count, dtype=float)], -1)
    scene = tidr.Scene(tidr.Film(1, 1))
    scene.add_node("row", tidr.Node(Gaussians.from_colors(means, colors, 50.0, opacities=opacities)))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=1, width=1, height=1))
    return scene


@pytest.mark.row(74)
def test_a_round_gaussian_has_its_projected_variance(f64):
    """s = 0.1 at z = 2 with f = 100 is (100 * 0.1 / 2)^2 + 0.3 = 25.3 pixels^2."""
    scene = tidr.Scene(tidr.Film(64, 64))
    scene.add_node("one", tidr.Node(Gaussians.from_colors([[0, 0, 0]], [[1, 1, 1]], 0.1, opacities=0.5)))
    camera = tidr.Camera((0, 0, 2), (1, 0, 0, 0), (100, 100), (32.5, 32.5), 65, 65)
    splat = Gaussian3d(PointRenderer(), scene, [camera], 65, 65).splats.numpy()[0]
    np.testing.assert_allclose(splat[:5], [32.5, 32.5, 1 / 25.3, 0, 1 / 25.3], atol=1e-12)
    alpha = tidr.render(scene, camera).alpha.numpy()[..., 0]
    offset = np.arange(65) - 32.0
    expected = 0.5 * np.exp(-0.5 * (offset[:, None] ** 2 + offset**2) / 25.3)
    np.testing.assert_allclose(alpha, np.where(expected >= 1 / 255, expected, 0), atol=1e-12)


@pytest.mark.row(74)
def test_weights_near_to_far(f64):
    """Three half transparent Gaussians weigh 1/2, 1/4 and 1/8, and leave 1/8 of the background."""
    scene = row_of_gaussians(np.eye(3), [0.5] * 3)
    image = tidr.render(scene, "front", SMOOTH)
    np.testing.assert_allclose(image.rgb.numpy()[0, 0], [0.5, 0.25, 0.125], atol=1e-4)
    np.testing.assert_allclose(image.alpha.numpy()[0, 0], 0.875, atol=1e-4)
    np.testing.assert_allclose(image.depth.numpy()[0, 0], (0.5 * 2 + 0.25 * 3 + 0.125 * 4) / 0.875, atol=1e-4)
    np.testing.assert_allclose(np.abs(image.normal.numpy()[0, 0]).max(), 1)


def test_a_pixel_ends_before_the_splat_that_would_leave_too_little(f64):
    scene = row_of_gaussians([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0.9, 0.9, 0.9])
    image = tidr.render(scene, "front", PointRenderer(transmittance_stop=0.005))
    np.testing.assert_allclose(image.rgb.numpy()[0, 0], [0.9, 0.09, 0], atol=1e-4)
    np.testing.assert_allclose(image.alpha.numpy()[0, 0], 0.99, atol=1e-4)


def same_but_for_flips(found, expected, tolerance) -> None:
    """Equal up to `tolerance`, except for one pixel in 300, where a threshold may have gone the other way."""
    off = np.abs(found - expected).max(-1) > tolerance
    assert off.mean() <= 1 / 300, (off.sum(), np.abs(found - expected).max())


@pytest.mark.row(74)
@pytest.mark.parametrize(
    ("backend", "name"), on_backends([(name,) for name in SETTINGS], [("default",), ("rough",)]), indirect=["backend"]
)
def test_equals_the_twin(backend, name):
    """Batches of unequal cameras, several nodes, harmonics of degree 3 and 1; in 64 bits to 1e-8."""
    scene = placed(cloud(1), cloud(2, 9, degree=1, size=0.1))
    cameras = [view("perspective", 37, 35), view("orthographic", 37, 35), view("perspective", 37, 35, distance=2.2)]
    image = tidr.render(scene, cameras, SETTINGS[name])
    found = {channel: image.channel(channel).numpy() for channel in CHANNELS}
    tolerance = 1e-8 if backend.precision == 64 else 5e-4
    for k, camera in enumerate(cameras):
        expected = twin(scene, camera, 37, 35, SETTINGS[name])
        for channel in CHANNELS:
            same_but_for_flips(found[channel][k], expected[channel], tolerance)


def test_single_precision_equals_the_twin(f32):
    scene = placed(cloud(10, 120, size=0.06))
    camera = view(width=50, height=41)
    image, expected = tidr.render(scene, camera), twin(scene, camera, 50, 41, PointRenderer())
    for channel in ("rgb", "alpha"):
        same_but_for_flips(image.channel(channel).numpy(), expected[channel], 1e-5)
    same_but_for_flips(image.depth.numpy() * image.alpha.numpy(), expected["depth"] * expected["alpha"], 1e-4)


@pytest.mark.parametrize("degree", [0, 2])
def test_harmonics_above_the_active_degree_do_not_count(f64, degree):
    held = cloud(3)
    held.active_degree = degree
    scene, camera = placed(held), view()
    image = tidr.render(scene, camera, SMOOTH)
    same_but_for_flips(image.rgb.numpy(), twin(scene, camera, 19, 17, SMOOTH)["rgb"], 1e-8)
    gradient = tape_gradients(lambda: weighted(tidr.render(scene, camera, SMOOTH).rgb, 1.0), [held.sh_rest])[0]
    used = (degree + 1) ** 2 - 1
    assert not gradient[:, used:].any()
    assert degree == 0 or gradient[:, :used].all()


@pytest.mark.row(74)
def test_the_order_of_the_gaussians_does_not_matter(f32):
    held = cloud(4, 300, degree=1, size=0.08)
    order = np.random.default_rng(0).permutation(300)
    values = [parameter.numpy()[order] for parameter in held.parameters().values()]
    camera = view(width=64, height=48)
    pictures, gradients = [], []
    for gaussians in (held, Gaussians(*values)):
        scene = placed(gaussians)
        pictures.append(tidr.render(scene, camera).rgb.numpy())
        grey = Array.of(np.full((48, 64, 3), 0.5), needs_grad=False)
        loss = lambda scene=scene, grey=grey: tidr.losses.mse(tidr.render(scene, camera).rgb, grey)  # noqa: E731
        gradients.append(tape_gradients(loss, list(gaussians.parameters().values())))
    np.testing.assert_array_equal(*pictures)
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_array_equal(one[order], other)


def test_gradients_have_the_same_bits_every_time(f32):
    scene, camera = placed(cloud(5, 200, size=0.08)), view(width=64, height=48)
    arrays = list(scene["a"].parameters().values())

    def loss():
        return weighted(tidr.render(scene, camera).rgb, 1.0)

    for one, other in zip(tape_gradients(loss, arrays), tape_gradients(loss, arrays), strict=True):
        np.testing.assert_array_equal(one, other)


CHANNELS_AND_KINDS = [
    (channel, antialiased, kind)
    for channel, antialiased in (("rgb", False), ("rgb", True), ("alpha", False), ("depth", False), ("normal", True))
    for kind in ("perspective", "orthographic")
]


@pytest.mark.row(74, 120)
@pytest.mark.parametrize(
    ("backend", "channel", "antialiased", "kind"),
    on_backends(
        CHANNELS_AND_KINDS,
        [("rgb", True, "perspective"), ("depth", False, "perspective"), ("normal", True, "orthographic")],
    ),
    indirect=["backend"],
)
def test_gradients(backend, kind, channel, antialiased):
    """Of every parameter of two nodes and two cameras; in 64 bits against differences, on Vulkan against those."""
    seed = {"perspective": 20, "orthographic": 30}[kind] + CHANNELS.index(channel)
    key = ("gaussian3d", kind, channel, antialiased)

    def problem():
        scene = placed(cloud(seed, 8), cloud(seed + 1, 5, degree=0))
        cameras = [view(kind), view(kind, distance=2.6)]
        renderer = PointRenderer(
            alpha_skip=0, transmittance_stop=0, alpha_max=0.9999, sigmas=30, antialiased=antialiased
        )  # fmt: skip
        weights = np.random.default_rng(seed).normal(size=(2, 17, 19, {"rgb": 3, "normal": 3}.get(channel, 1)))
        loss = lambda: weighted(tidr.render(scene, cameras, renderer).channel(channel), weights)  # noqa: E731
        return loss, everything(scene, *cameras)

    against_f64(key, problem, backend, seed)


def with_thresholds() -> list[list[np.ndarray]]:
    """Gradients of everything in three scenes with the published thresholds."""

    def gradients(seed):
        scene, camera = placed(cloud(seed, 60, size=0.1)), view(width=40, height=40)
        grey = Array.of(np.full((40, 40, 3), 0.5), needs_grad=False)
        loss = lambda: tidr.losses.mse(tidr.render(scene, camera).rgb, grey)  # noqa: E731
        return tape_gradients(loss, everything(scene, camera))

    return [gradients(seed) for seed in range(40, 43)]


@pytest.fixture
def in_32_bits(f32) -> list[list[np.ndarray]]:
    return with_thresholds()


@pytest.mark.row(74)
def test_gradients_in_single_precision(in_32_bits, f64):
    for single, double in zip(in_32_bits, with_thresholds(), strict=True):
        for one, other in zip(single, double, strict=True):
            assert np.linalg.norm(one - other) <= 2e-3 * np.linalg.norm(other)


def test_the_clamp_of_the_jacobian_is_frozen(f64):
    """A Gaussian far beside the image, but so large that it reaches into it."""
    held = Gaussians.from_colors([[3.0, 0.4, 0.0]], [[0.9, 0.4, 0.2]], [[1.4, 0.9, 0.7]], [[0.9, 0.2, 0.3, -0.1]], 0.8)
    scene, camera = placed(held), view()
    image = tidr.render(scene, camera, SMOOTH)
    assert image.alpha.numpy().max() > 0.01
    same_but_for_flips(image.rgb.numpy(), twin(scene, camera, 19, 17, SMOOTH)["rgb"], 1e-9)
    weights = np.random.default_rng(0).normal(size=(17, 19, 3))
    loss = lambda: weighted(tidr.render(scene, camera, SMOOTH).rgb, weights)  # noqa: E731
    directional_check(loss, everything(scene, camera), f64)


@pytest.mark.row(74)
def test_the_environment_is_behind(f64):
    scene, camera = placed(cloud(6, 6)), view(width=9, height=7)
    light = scene.add_light("sky", tidr.EnvironmentLight(np.random.default_rng(1).uniform(0.2, 1, (4, 8, 3))))
    weights = np.random.default_rng(2).normal(size=(7, 9, 3))
    loss = lambda: weighted(tidr.render(scene, camera, SMOOTH).rgb, weights)  # noqa: E731
    directional_check(loss, [light.radiance, scene["a"].geometry.means, camera.position], f64)
    scene.nodes.pop("a")
    scene.add_node("far", tidr.Node(Gaussians.from_colors([[0, 0, 50]], [[1, 1, 1]], 0.1)))
    behind = tidr.render(scene, camera).rgb.numpy()
    scene.nodes["far"].translation.set((0, 0, 1000))
    np.testing.assert_array_equal(tidr.render(scene, camera).rgb.numpy(), behind)
    assert behind.min() > 0.2 - 1e-9


def test_statistics(backend):
    """Gradients by the projected mean in units of half the image, views in which it is drawn, radii."""
    means = [[0, 0, 0], [0.3, 0.1, 0], [0, 0, 30], [0, 0, 1.5]]
    held = Gaussians.from_colors(means, np.full((4, 3), 0.7), 0.1, opacities=0.6)
    scene = tidr.Scene(tidr.Film(32, 24))
    scene.add_node("dots", tidr.Node(held))
    cameras = [
        tidr.Camera((0, 0, 2), (1, 0, 0, 0), (40, 40), (16, 12), 32, 24),
        tidr.Camera((0, 0, 1), (1, 0, 0, 0), (40, 40), (16, 12), 32, 24),
    ]
    weights = np.random.default_rng(0).normal(size=(2, 24, 32, 3))
    held.statistics = SplatStatistics(4)

    def loss():
        return weighted(tidr.render(scene, cameras, SMOOTH).rgb, weights)

    tape_gradients(loss, [held.means])
    one_pass = held.statistics.state()
    assert one_pass["seen"].tolist() == [2, 2, 0, 1]
    assert one_pass["radius"][[0, 1, 3]].tolist() == [np.ceil(3 * np.hypot(4, 0.3**0.5)), 13, 25]
    frame = Gaussian3d(SMOOTH, scene, cameras, 32, 24)
    with tidr.Tape(dict(enumerate([held.means]))) as tape:  # pyright: ignore[reportArgumentType]
        frame = Gaussian3d(SMOOTH, scene, cameras, 32, 24)
        tape.add(weighted(frame.rgb(), weights))
    by_place = frame.splats.grad_numpy().reshape(2, 4, 6)[..., :2] * (16, 12)
    np.testing.assert_allclose(one_pass["gradient_sum"], np.linalg.norm(by_place, axis=-1).sum(0), rtol=1e-4)
    both = held.statistics.state()
    np.testing.assert_allclose(both["gradient_sum"], 2 * one_pass["gradient_sum"], rtol=1e-4)
    np.testing.assert_allclose(held.statistics.gradients(), one_pass["gradient_sum"] / [2, 2, 1, 1], rtol=1e-4)
    np.testing.assert_array_equal(held.statistics.radii(), one_pass["radius"])
    kept = held.statistics.state()
    held.statistics.clear()
    assert not any(array.any() for array in held.statistics.state().values())
    held.statistics.load_state(kept)
    np.testing.assert_array_equal(held.statistics.state()["seen"], kept["seen"])
    with pytest.raises(SceneError, match="statistics"):
        SplatStatistics(3).load_state(kept)


def test_a_fit_allocates_nothing_after_its_second_step(f32):
    held = cloud(7, 400, size=0.05)
    scene, camera = placed(held), view(width=64, height=64)
    target = np.random.default_rng(0).uniform(size=(64, 64, 3))
    parameters = scene.parameters("a.means", "a.log_scales", "a.rotations", "a.opacity_logits", "a.sh_*")
    optimizer, counts = tidr.Adam(parameters, lr=1e-3), []
    for _ in range(6):
        with tidr.Tape(parameters) as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, camera).rgb, target))
        optimizer.step()
        counts.append(buffer.allocations)
    assert len(set(counts[1:])) == 1


@pytest.mark.row(74)
def test_colours_of_a_screen_are_blended_as_they_are(backend):
    """And the picture decoded; in 64 bits against differences, on Vulkan against those."""
    weights = np.random.default_rng(7).normal(size=(17, 19, 3))

    def problem():
        scene, camera = placed(cloud(40, 6, degree=1), background=(0.2, 0.5, 0.9)), view()
        encoded = scene.nodes["a"].geometry
        flat = [tidr.render(scene, camera, SMOOTH).channel(name).numpy() for name in ("rgb", "alpha")]
        stored = Gaussian3d(SMOOTH, scene, [camera], 19, 17).colors().numpy()
        encoded.encoding = "srgb"
        one_by_one = Gaussian3d(SMOOTH, scene, [camera], 19, 17).colors().numpy()  # beside meshes and volumes
        np.testing.assert_allclose(one_by_one, srgb_to_linear(stored), atol=2e-6)
        behind = (1 - flat[1]) * np.array(scene.film.background)
        drawn = srgb_to_linear(flat[0] - behind + (1 - flat[1]) * linear_to_srgb(np.array(scene.film.background)))
        np.testing.assert_allclose(tidr.render(scene, camera, SMOOTH).rgb.numpy(), drawn, atol=2e-6)
        return lambda: weighted(tidr.render(scene, camera, SMOOTH).rgb, weights), everything(scene, camera)

    against_f64(("srgb",), problem, backend, 40)


def test_gaussians_of_both_encodings_are_refused(f64):
    scene = placed(cloud(40, 6), cloud(41, 6))
    scene.nodes["a"].geometry.encoding = "srgb"
    with pytest.raises(SceneError, match="nodes a, b: hold Gaussians of both encodings"):
        tidr.render(scene, view()).rgb  # noqa: B018


@pytest.mark.row(74)
@pytest.mark.skipif(not ASSETS.is_dir(), reason="../shared/assets is not here")
def test_equals_the_picture_of_another_splatter(f32):
    data = read_splats(ASSETS / "points.ply")
    scene = tidr.Scene(tidr.Film(256, 256))
    held = Gaussians(data.means, data.log_scales, data.rotations, data.opacity_logits, data.sh_dc, data.sh_rest)
    scene.add_node("cloud", tidr.Node(held))
    with np.load(ASSETS / "reference.npz") as reference:
        place = {"fov_y_degrees": float(reference["fov_deg"]), "width": 256, "height": 256}
        image = tidr.render(scene, tidr.Camera.look_at(reference["eye"], (0, 0, 0), **place))
        error = image.rgb.numpy() - reference["image"]
        assert -10 * np.log10((error**2).mean()) > 80
        assert np.abs(image.alpha.numpy()[..., 0] - reference["alpha"]).max() < 1 / 255


def test_auto_takes_what_the_scene_holds(f32):
    scene = placed(cloud(1))
    np.testing.assert_array_equal(
        tidr.render(scene, view()).rgb.numpy(),
        tidr.render(scene, view(), PointRenderer(splat="gaussian3d")).rgb.numpy(),
    )
    scene.add_node("dots", tidr.Node(tidr.PointCloud([[0, 0, 0]])))
    with pytest.raises(SceneError, match="both points and Gaussians"):
        tidr.render(scene, view(), "points")
    empty = tidr.Scene(tidr.Film(8, 8))
    empty.add_node("dots", tidr.Node(tidr.PointCloud([[0, 0, 0]])))
    with pytest.raises(SceneError, match="hold no Gaussians"):
        tidr.render(empty, view(), PointRenderer(splat="gaussian3d"))
