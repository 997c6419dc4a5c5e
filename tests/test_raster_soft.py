"""Soft edges: closed forms, every mode against its numpy twin, limits, truncation, and gradients of every mode."""

import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest

import tidr
from tidr.buffer import Buffer
from tidr.kernels.raster import soft, soft_blend

from .everything import everything
from .gradients import directional_check, tape_gradients
from .reference import raster as hard_twin
from .reference import soft as twin
from .test_raster import CHANNELS, channel_losses, steady_pixels, weighted
from .test_raster_antialias import SIDE, flat_scene, rectangle

# D jumps by 1e-4 where a triangle's reach ends: short steps cross that seldom.
SHORT_STEPS = SimpleNamespace(precision=64, rtol=1e-5, step=1e-7)
MODES = list(itertools.product(["euclidean", "barycentric", "hard"], ["product", "sum", "hard"], ["softmax", "hard"]))
SOME_MODES = [("euclidean", "product", "softmax"), ("barycentric", "sum", "hard"), ("hard", "hard", "softmax")]


def uploaded(array, kind: str = "real") -> Buffer:
    array = np.asarray(array, np.int32 if kind == "int" else np.float64 if kind == "real" else None)
    buffer = Buffer(array.shape, kind)
    real = buffer.ndarray.to_numpy().dtype
    buffer.ndarray.from_numpy(array.astype(real))
    return buffer


@pytest.mark.row(13)
def test_weights_of_two_faces_in_closed_form(backend):
    # Nearness .9 and .8 over the depth range (0, 1), D .9 and .6, gamma .1, epsilon 1e-3.
    start, source = uploaded([0, 2], "int"), uploaded([0, 1], "int")
    probability, depth = uploaded([[0.9], [0.6]]), uploaded([[0.1], [0.2]])
    weight, rest = Buffer((2, 1)), Buffer((1, 1))
    soft_blend.weights(
        1, 0.1, 0.0, 1.0, 1e-3, 0.0, start.ndarray, source.ndarray, probability.ndarray, depth.ndarray, weight.ndarray,
        rest.ndarray,
    )  # fmt: skip
    np.testing.assert_allclose(weight.ndarray.to_numpy()[:, 0], [0.80296, 0.19693], atol=5e-6)
    np.testing.assert_allclose(rest.ndarray.to_numpy(), [[1.112e-4]], atol=5e-8)


@pytest.mark.row(12)
def test_two_half_probabilities_make_three_quarters(backend):
    start, probability = uploaded([0, 2], "int"), uploaded([[0.5], [0.5]])
    alpha = Buffer((1, 1))
    for mode, expected in ((soft.PRODUCT, 0.75), (soft.SUM, 0.5), (soft.ANY, 1.0)):
        soft_blend.silhouette(1, mode, 2, start.ndarray, probability.ndarray, alpha.ndarray)
        np.testing.assert_allclose(alpha.ndarray.to_numpy(), [[expected]], rtol=1e-6)


def test_a_certain_face_does_not_break_the_silhouettes_gradient(backend):
    for probabilities, expected in (([0.3, 1.0], [0.0, 0.7]), ([1.0, 1.0], [0, 0]), ([0.3, 0.4], [0.6, 0.7])):
        start, probability = uploaded([0, 2], "int"), uploaded(np.array(probabilities)[:, None])
        upstream, gradient = uploaded([[1.0]]), uploaded([[0.0], [0.0]])
        soft_blend.silhouette_adjoint(
            1, soft.PRODUCT, 2, start.ndarray, probability.ndarray, upstream.ndarray, gradient.ndarray
        )
        np.testing.assert_allclose(gradient.ndarray.to_numpy()[:, 0], expected, rtol=1e-6, atol=1e-7)


def soft_alpha(scene, sigma: float, **options) -> np.ndarray:
    renderer = tidr.Rasterizer(edges="soft", channels=("alpha",), sigma=sigma, **options)
    return tidr.render(scene, renderer=renderer).alpha.numpy()[..., 0]


@pytest.mark.row(12)
def test_closed_forms_of_the_distance(f64):
    # The right edge stands at x = 6.5, through the centres of column 6; column 8 lies two pixels outside.
    vertices, faces = rectangle(-90, 6.5, -90, 90)
    sigma = (2 * 2 / SIDE) ** 2
    alpha = soft_alpha(flat_scene(vertices, faces), sigma)
    np.testing.assert_allclose(alpha[:, 6], 0.5, rtol=1e-6)
    np.testing.assert_allclose(alpha[:, 8], 0.268941, atol=1e-6)
    np.testing.assert_allclose(alpha[:, 4], 1 - 0.268941, atol=1e-6)
    twice = soft_alpha(flat_scene(vertices, [*faces, *faces]), sigma)
    np.testing.assert_allclose(twice[:, 6], 0.75, rtol=1e-6)
    np.testing.assert_allclose(soft_alpha(flat_scene(vertices, faces), sigma, alpha_mode="sum")[:, 6], 0.25, rtol=1e-6)


@pytest.mark.row(12)
def test_beyond_the_reach_nothing_counts(f64):
    # Reach sqrt(9.21 sigma) = 3.4 pixels: three pixels outside counts, four do not, in value and in gradient.
    scene = flat_scene(*rectangle(-90, 6.5, -90, 90))
    sigma = (3.4 * 2 / SIDE) ** 2 / np.log(1 / 1e-4 - 1)
    renderer = tidr.Rasterizer(edges="soft", channels=("alpha",), sigma=sigma)
    for column, counts in ((9, True), (10, False)):
        weights = np.zeros((SIDE, SIDE, 1))
        weights[5, column] = 1.0
        (gradient,) = tape_gradients(
            lambda weights=weights: weighted(tidr.render(scene, renderer=renderer).alpha, weights),
            [scene["shape"].vertices],
        )
        alpha = tidr.render(scene, renderer=renderer).alpha.numpy()[5, column, 0]
        assert (alpha > 0) == counts
        assert gradient.any() == counts
        assert alpha < 1e-3


def small_scene(seed: int, orthographic: bool = False) -> tidr.Scene:
    """Ten loose triangles of random colours, one of them across the near plane, on a coloured background."""
    rng = np.random.default_rng(seed)
    vertices = (rng.uniform(-0.8, 0.8, (10, 1, 3)) + rng.normal(size=(10, 3, 3)) * 0.5).reshape(-1, 3)
    vertices[-1] = (0.3, 0.2, 9.0)
    paint = rng.uniform(0.1, 0.9, (30, 3))
    scene = tidr.Scene(tidr.Film(20, 26, (0.2, 0.5, 0.9)))
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    mesh = tidr.Mesh(vertices, np.arange(30).reshape(10, 3), colors=paint, attributes={"paint": paint})
    scene.add_node("soup", tidr.Node(mesh, ("paint",)))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    kind = {"height_world": 3.0} if orthographic else {"fov_y_degrees": 50}
    scene.add_camera("front", tidr.Camera.look_at((0.3, 0.2, 3.2), (0, 0, 0), width=20, height=26, **kind))
    return scene


@pytest.mark.row(13)
@pytest.mark.row(14)
def test_every_mode_equals_brute_force(backend):
    atol, modes = (1e-10, MODES) if backend.precision == 64 else (2e-4, SOME_MODES)
    for seed, orthographic in ((0, False), (1, True)):
        scene = small_scene(seed, orthographic)
        camera, mesh = scene["front"], scene["soup"].mesh
        screen = hard_twin.project(camera, mesh.vertices.numpy().astype(float), 20, 26)
        colors = mesh.colors.numpy().astype(float)
        for distance, alpha_mode, color_mode in modes:
            options = {"sigma": 4e-3, "gamma": 0.03, "depth_range": (1.0, 6.0), "distance": distance}
            options |= {"alpha_mode": alpha_mode, "color_mode": color_mode}
            image = tidr.render(scene, renderer=tidr.Rasterizer(edges="soft", **options))
            expected, rgb = twin.draw(
                screen, mesh.faces, colors, 20, 26, perspective=not orthographic, background=(0.2, 0.5, 0.9), **options
            )
            wrong = np.abs(image.alpha.numpy()[..., 0] - expected) > atol
            wrong |= (np.abs(image.rgb.numpy() - rgb) > 10 * atol).any(-1)
            # In single precision a pixel on an outline may fall to either side.
            assert wrong.sum() <= (0 if backend.precision == 64 else 2), (seed, distance, alpha_mode, color_mode)


@pytest.mark.row(12)
@pytest.mark.row(13)
@pytest.mark.row(14)
def test_gradients_of_every_mode(f64):
    scene = small_scene(4)
    camera, mesh = scene["front"], scene["soup"].mesh
    rng = np.random.default_rng(0)
    on_alpha, on_rgb = rng.normal(size=(26, 20, 1)), rng.normal(size=(26, 20, 3))
    for distance, alpha_mode, color_mode in MODES:
        renderer = tidr.Rasterizer(
            edges="soft", sigma=4e-3, gamma=0.03, depth_range=(1.0, 6.0), distance=distance, alpha_mode=alpha_mode,
            color_mode=color_mode,
        )  # fmt: skip
        if distance != "hard" and alpha_mode != "hard":
            directional_check(
                lambda r=renderer: weighted(tidr.render(scene, renderer=r).alpha, on_alpha),
                [mesh.vertices, camera.focal],
                SHORT_STEPS,
            )
        directional_check(
            lambda r=renderer: weighted(tidr.render(scene, renderer=r).rgb, on_rgb),
            [mesh.vertices, camera.position, mesh.colors],
            SHORT_STEPS,
        )


@pytest.mark.row(12)
def test_every_channel_is_differentiable_with_soft_edges(f64):
    scene = everything()
    camera, left, right = scene["front"], scene["left"].mesh, scene["right"].mesh
    own = {"rgb": left.colors, "uv": right.uvs, "heat": left.attributes["heat"], "normal": right.normals}
    common = [left.vertices, scene["right"].rotation, scene["table"].translation, camera.position]
    # A small gamma would magnify the jump at the end of the reach, by exp(nearness / gamma).
    options = {"sigma": 1e-3, "gamma": 0.3, "depth_range": (1.0, 6.0), "faces_per_pixel": 64}
    everywhere = np.ones((32, 32), bool)
    losses = channel_losses(scene, everywhere, (*CHANNELS, "alpha"), edges="soft", **options)
    for channel, loss in losses.items():
        arrays = [*common, own[channel]] if channel in own else common
        directional_check(loss, arrays, SHORT_STEPS, seed=3)


@pytest.mark.row(12)
@pytest.mark.row(13)
def test_no_softness_is_the_hard_raster_off_edges(f64):
    scene = everything()
    steady = steady_pixels(scene)
    hard = tidr.render(scene, renderer=tidr.Rasterizer(edges="none"))
    sharp = tidr.render(scene, renderer=tidr.Rasterizer(edges="soft", sigma=1e-10, gamma=1e-6))
    for name in ("rgb", "alpha", "depth", "normal", "uv", "heat"):
        np.testing.assert_allclose(sharp.channel(name).numpy()[steady], hard.channel(name).numpy()[steady], rtol=1e-6)
    np.testing.assert_array_equal(sharp.ids[steady], hard.ids[steady])


@pytest.mark.row(12)
def test_more_faces_per_pixel_than_there_are_change_nothing(f64):
    scene = small_scene(4)
    options = {"sigma": 4e-3, "gamma": 0.03, "depth_range": (1.0, 6.0)}
    pictures, gradients = [], []
    for limit in (10, 16, 200, 2):
        renderer = tidr.Rasterizer(edges="soft", faces_per_pixel=limit, **options)
        with tidr.Tape() as tape:
            image = tidr.render(scene, renderer=renderer)
            tape.add(tidr.losses.mse(image, np.full((26, 20, 3), 0.4)))
        pictures.append(image.rgb.numpy())
        gradients.append(scene["soup"].vertices.grad_numpy())
    for k in (1, 2):
        np.testing.assert_array_equal(pictures[k], pictures[0])
        np.testing.assert_array_equal(gradients[k], gradients[0])
    assert np.abs(pictures[3] - pictures[0]).max() > 1e-3


@pytest.mark.long
@pytest.mark.row(26)
def test_soft_and_nmr_fill_silhouettes_and_step_faster_than_numpy_draws(f32):
    """Ours are steps with gradients, in seconds of all cores; numpy draws, each triangle into a whole picture."""
    from tidr.problems.runner import problems, solve

    problem = problems(["T3-cube"])[0]
    task = problem.build()
    scene, camera, mesh = task.scene, task.cameras[0], task.scene["shape"].mesh
    points, target = hard_twin.world_positions(scene)[0], np.full((64, 64, 1), 0.5)
    screen = hard_twin.project(camera, points, 64, 64)
    naive = {
        "soft": lambda: twin.draw(screen, mesh.faces, points, 64, 64, sigma=1e-4, gamma=1e-4, depth_range=(1, 100)),
        "nmr": lambda: hard_twin.draw(scene, camera, 128, 128),
    }

    def seconds(turn) -> float:
        spent = []
        for _ in range(4):
            start = time.process_time()
            turn()
            spent.append(time.process_time() - start)
        return min(spent)

    for edges, draw in naive.items():
        renderer = tidr.Rasterizer(edges=edges)

        def step(renderer=renderer) -> None:
            with tidr.Tape(scene.parameters("shape.vertices")) as tape:
                tape.add(tidr.losses.mse(tidr.render(scene, camera, renderer).alpha, target))

        times = {"numpy": seconds(draw), "ours": seconds(step)}
        assert times["numpy"] >= 2 * times["ours"], (edges, times)
        assert solve(problem, edges).error <= 0.05, edges
