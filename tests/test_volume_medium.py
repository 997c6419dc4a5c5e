"""Scattering media: closed forms, the numpy twin, convergence, gradients to every input, memory, degenerate input."""

import numpy as np
import pytest
import taichi as ti

import tidr
from tidr import buffer
from tidr.array import Array
from tidr.fitting.tape import Operation, run
from tidr.kernels.volume import phase
from tidr.renderers.rays import Rays
from tidr.renderers.volume import VolumeRenderer
from tidr.renderers.volume_medium import medium_layer
from tidr.scene.volume import Volume

from .conftest import Backend
from .gradients import directional_check, tape_gradients, weighted
from .reference import medium as twin

A1 = ti.types.ndarray(ndim=1)
LOWER, UPPER = (-1.0, -0.9, -0.8), (1.0, 1.0, 0.9)


def march(steps: int, light_steps: int, light_nodes: int, stop: float = 0.0, **rest) -> VolumeRenderer:
    return VolumeRenderer(steps=steps, light_steps=light_steps, light_nodes=light_nodes, stop=stop, **rest)


def traced(scene: tidr.Scene, settings: VolumeRenderer, rays: Rays | None = None) -> Array:
    """[n, 5]: rgb, alpha and weighted distance of the node "cloud" along world rays, or those of the camera "eye"."""
    if rays is None:
        camera = scene.cameras["eye"]
        rays = Rays.of_cameras([camera], camera.width, camera.height)
    node = scene.nodes["cloud"]
    layer = medium_layer(settings, scene, node, rays, rays.to_object(scene, node))
    parts, out = [layer.rgb, layer.alpha, layer.distance], Array((rays.count, 5))

    def forward() -> None:
        out.set(np.concatenate([part.numpy() for part in parts], 1))

    def backward() -> None:
        for part, gradient in zip(parts, np.split(out.grad_numpy(), [3, 4], 1), strict=True):
            part.set_grad(part.grad_numpy() + gradient)

    run(Operation(forward, backward, parts, [out], "side by side"))
    return out


def world_rays(origins, directions) -> Rays:
    origins, directions = np.atleast_2d(origins).astype(float), np.atleast_2d(directions).astype(float)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    n = len(origins)
    return Rays(Array.of(origins), Array.of(directions), Array.of(np.ones((n, 1))), (n,))


def random_scene(seed: int, grids: bool = True, **options) -> tuple[tidr.Scene, Volume]:
    """A turned, unevenly scaled medium under a sun, a lamp outside, a lamp inside and a sky."""
    rng = np.random.default_rng(seed)
    scene = tidr.Scene(tidr.Film(8, 8))
    shape = (5, 6, 4)
    medium = Volume(
        rng.uniform(0.2, 3, shape), rng.uniform(0, 1, (*shape, 3)) if grids else None,
        albedo=rng.uniform(0.2, 0.9, (*shape, 3) if grids else 3), g=rng.uniform(-0.6, 0.6), lower=LOWER, upper=UPPER,
        **options,
    )  # fmt: skip
    turn, scale = rng.normal(size=4), rng.uniform(0.8, 1.3, 3)
    scene.add_node("cloud", tidr.Node(medium, translation=rng.normal(size=3) / 9, rotation=turn, scale=scale))
    scene.add_light("sun", tidr.DirectionalLight(rng.normal(size=3), rng.uniform(0.5, 2, 3)))
    scene.add_light("lamp", tidr.PointLight(2 * rng.normal(size=3), rng.uniform(2, 4, 3)))
    scene.add_light("spark", tidr.PointLight(rng.uniform(-0.3, 0.3, 3), rng.uniform(0.1, 0.4, 3)))
    scene.add_light("sky", tidr.AmbientLight(rng.uniform(0.1, 0.3, 3)))
    camera = tidr.Camera.look_at((1.2, 0.9, 2.6), (0, 0, 0), fov_y_degrees=40, width=8, height=8)
    scene.add_camera("eye", camera)
    return scene, medium


def lit_slab(light, sigma=1.3, albedo=(0.9, 0.6, 0.3), g=0.4) -> tuple[tidr.Scene, Volume]:
    """A homogeneous box of length 2 along z, seen along -z."""
    scene, medium = tidr.Scene(), Volume(np.full((4, 4, 4), sigma), albedo=albedo, g=g)
    scene.add_node("cloud", tidr.Node(medium))
    scene.add_light("light", light)
    return scene, medium


FINE = march(400, 8, 9)
NODES = (7, 7, 6)  # 7 along the longest side of LOWER..UPPER


@ti.kernel
def phase_values(g: float, cosines: A1, out: A1, by_cosine: A1, by_g: A1):
    for i in range(cosines.shape[0]):
        out[i] = phase.henyey_greenstein(cosines[i], g)
        slopes = phase.henyey_greenstein_slopes(cosines[i], g)
        by_cosine[i] = slopes[0]
        by_g[i] = slopes[1]


def phases(g: float, cosines: np.ndarray) -> list[np.ndarray]:
    out = [np.zeros_like(cosines) for _ in range(3)]
    phase_values(g, cosines, *out)
    return out


@pytest.mark.row(44)
@pytest.mark.parametrize("g", [-0.7, 0.0, 0.5, 0.9])
def test_phase_integrates_to_one_with_mean_cosine_g(f64, g):
    nodes, weights = np.polynomial.legendre.leggauss(200)
    value, by_cosine, by_g = phases(g, nodes.copy())
    assert 2 * np.pi * (weights * value).sum() == pytest.approx(1, abs=1e-9)
    assert 2 * np.pi * (weights * value * nodes).sum() == pytest.approx(g, abs=1e-9)
    if g == 0:
        np.testing.assert_allclose(value, 1 / (4 * np.pi))
    if g == 0.5:
        assert phases(g, np.ones(1))[0][0] == pytest.approx(0.477465, abs=1e-6)
    h = 1e-6
    for slope, above, below in (
        (by_cosine, phases(g, nodes + h), phases(g, nodes - h)),
        (by_g, phases(g + h, nodes), phases(g - h, nodes)),
    ):
        np.testing.assert_allclose(slope, (above[0] - below[0]) / (2 * h), rtol=1e-5, atol=1e-5)


@pytest.mark.row(44)
def test_transmittance_is_beer_lambert(f64):
    scene, medium = lit_slab(tidr.AmbientLight(0.0))
    rays = world_rays([[0.1, 0.2, 3.0], [0.1, 0.2, 0.5], [0.1, 5.0, 3.0]], [[0, 0, -1]] * 3)
    settings = march(16, 4, 5)
    out = traced(scene, settings, rays).numpy()
    np.testing.assert_allclose(out[:, 3], 1 - np.exp(-1.3 * np.array([2, 1.5, 0])), rtol=1e-5)
    np.testing.assert_array_equal(out[:, :3], 0)  # no light: black
    gradient = tape_gradients(
        lambda: weighted(traced(scene, settings, world_rays([0.1, 0.2, 3.0], [0, 0, -1])), np.eye(5)[3]),
        [medium.density],
    )[0]
    assert gradient.sum() == pytest.approx(2 * np.exp(-2.6), rel=1e-3)


@pytest.mark.row(44)
@pytest.mark.parametrize("behind", [False, True])
def test_slab_lit_head_on(f64, behind):
    """Lit from the eye's side: albedo p(-1) E (1 - e^(-2 s L)) / 2; from behind: albedo p(1) E s L e^(-s L)."""
    albedo, sigma, g, length = np.array([0.9, 0.6, 0.3]), 1.3, 0.4, 2.0
    scene, medium = lit_slab(tidr.DirectionalLight((0, 0, 1 if behind else -1), (1, 2, 3)), sigma, albedo, g)
    rays = world_rays([0.1, 0.2, 3.0], [0, 0, -1])
    both = albedo * [1, 2, 3] * twin.henyey_greenstein(1 if behind else -1, g)
    through = np.exp(-sigma * length)
    expected = both * (sigma * length * through if behind else (1 - through**2) / 2)
    slope = both * (length * through * (1 - sigma * length) if behind else length * through**2)
    np.testing.assert_allclose(traced(scene, FINE, rays).numpy()[0, :3], expected, rtol=1e-4)
    for channel in range(3):
        gradient = tape_gradients(
            lambda c=channel: weighted(traced(scene, FINE, rays), np.eye(5)[c]), [medium.density]
        )[0]
        assert gradient.sum() == pytest.approx(slope[channel], rel=1e-3)


def test_point_light_in_thin_medium(f64):
    """Without extinction to speak of, a lamp beside the ray gives sigma albedo I / (4 pi b) * (angle it sees)."""
    lamp = np.array([0.0, 1.7, 0.2])
    scene, _ = lit_slab(tidr.PointLight(lamp, 5.0), sigma=1e-7, albedo=(0.5, 0.5, 0.5), g=0.0)
    out = traced(scene, FINE, world_rays([0, 0.2, 3.0], [0, 0, -1])).numpy()[0]
    beside, ends = 1.5, np.array([-1 - 0.2, 1 - 0.2])
    angle = np.arctan(ends / beside)
    assert out[0] == pytest.approx(1e-7 * 0.5 * 5 / (4 * np.pi) * (angle[1] - angle[0]) / beside, rel=1e-5)


@pytest.mark.row(44)
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_twin(f64, seed):
    scene, medium = random_scene(seed, grids=seed % 2 == 0)
    settings = march(9, 6, 7)
    out = traced(scene, settings).numpy()
    np.testing.assert_allclose(out, reference(scene, medium, settings, NODES), rtol=1e-9, atol=1e-12)


def reference(scene, medium: Volume, settings: VolumeRenderer, nodes=None) -> np.ndarray:
    density = medium.density.numpy()[..., None]
    color = None if medium.color is None else medium.color.numpy()
    plain = twin.Medium(
        density, medium.albedo.numpy(), color, float(medium.g.numpy()), medium.lower, medium.upper,
        scene.world_matrices()["cloud"], list(scene.lights.values()),
    )  # fmt: skip
    rays = Rays.of_cameras([scene.cameras["eye"]], 8, 8)
    return twin.march(plain, rays.origins.numpy(), rays.directions.numpy(), settings.steps, settings.light_steps, nodes)


def test_converges_in_second_order(f64):
    """Doubling steps, light steps and nodes: about a quarter of the error against depths marched for every sample."""
    scene, medium = random_scene(7, grids=False)
    del scene.lights["spark"]  # inside: its 1 / r^2 needs far more samples
    exact = reference(scene, medium, march(320, 80, 2))
    errors = []
    for n in (10, 20, 40):
        out = traced(scene, march(4 * n, n, n + 1)).numpy()
        errors.append(np.sqrt(np.mean((out - exact) ** 2)))
    assert errors[0] / errors[1] > 2.5, errors
    assert errors[1] / errors[2] > 2.5, errors
    assert errors[2] < 2e-3 * np.abs(exact).max()


def test_jitter_is_unbiased_and_repeats(f64):
    scene, _ = random_scene(3)
    exact = traced(scene, march(256, 8, 9)).numpy()
    coarse = [march(8, 8, 9, jitter=True, seed=s) for s in range(64)]
    pictures = [traced(scene, settings).numpy() for settings in coarse]
    np.testing.assert_array_equal(pictures[0], traced(scene, coarse[0]).numpy())
    assert np.abs(pictures[0] - pictures[1]).max() > 1e-3
    assert np.abs(np.mean(pictures, 0) - exact).mean() < 0.02 * np.abs(exact).mean()


class SmallSteps(Backend):
    """Samples cross borders of cells, where the derivative jumps; a small step meets few of them."""

    @property
    def step(self) -> float:
        return 1e-6


def every_input(scene: tidr.Scene, medium: Volume) -> list[Array]:
    parts = [medium.density, medium.albedo, medium.color, medium.g]
    parts += [p for kind in (scene.lights, scene.nodes) for m in kind.values() for p in m.parameters().values()]
    parts += scene.cameras["eye"].parameters().values()
    return [part for part in parts if part is not None]


@pytest.mark.row(44)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_to_everything(f64, seed):
    """Fields, phase, lights, node and camera; with jitter, and without."""
    scene, medium = random_scene(seed, grids=seed != 1)
    settings = march(8, 5, 6, jitter=seed == 2, seed=seed)
    weights = np.random.default_rng(seed).normal(size=(64, 5))
    inputs = every_input(scene, medium)
    directional_check(lambda: weighted(traced(scene, settings), weights), inputs, SmallSteps("cpu", 64), seed)


def test_gradients_with_a_stop(f64):
    scene, medium = random_scene(5)
    medium.density.set(medium.density.numpy() * 8)
    settings = march(16, 5, 6, stop=0.05)
    whole = traced(scene, march(16, 5, 6)).numpy()
    assert 0 < np.abs(traced(scene, settings).numpy() - whole).max() < 0.5
    weights = np.random.default_rng(5).normal(size=(64, 5))
    directional_check(lambda: weighted(traced(scene, settings), weights), [medium.density, medium.g], f64, 5)


def image_and_gradients() -> list[np.ndarray]:
    scene, medium = random_scene(0)
    settings = march(12, 5, 7, jitter=True, seed=1)
    weights = np.random.default_rng(0).normal(size=(64, 5))
    gradients = tape_gradients(lambda: weighted(traced(scene, settings), weights), every_input(scene, medium))
    return [traced(scene, settings).numpy(), *gradients]


@pytest.fixture
def in_64_bits(f64) -> list[np.ndarray]:
    return image_and_gradients()


def test_vulkan_agrees_with_f64(in_64_bits, vulkan):
    """Image and all gradients, also where a difference quotient in 32 bits says little."""
    for on_gpu, exact in zip(image_and_gradients(), in_64_bits, strict=True):
        assert np.linalg.norm(on_gpu - exact) <= 1e-3 * np.linalg.norm(exact)


@pytest.mark.row(44)
def test_memory_does_not_grow_with_steps(f64):
    """After a forward and backward pass with 64 steps, one with 1024 allocates nothing."""
    scene, medium = random_scene(0)

    def turn(steps: int) -> None:
        settings = march(steps, steps // 4, 6)
        tape_gradients(lambda: weighted(traced(scene, settings), 1.0), every_input(scene, medium))

    turn(64)
    turn(64)
    before = buffer.allocations
    turn(1024)
    assert buffer.allocations == before


def degenerate_scenes():
    straight = world_rays([0, 0, 3.0], [0, 0, -1])
    odd = world_rays([[0, 1.0, 3.0], [2, 0, 0], [0, 0, 0]], [[0, 0, -1], [-1, 1, 0], [1, 0, 0]])
    bright = tidr.DirectionalLight((0, 0, -1), 1.0)
    yield "lamp at a sample and at a node", tidr.PointLight((0, 0, 0), 1.0), 1.0, 0.0, straight
    yield "nothing in it", bright, 0.0, 0.0, straight
    yield "as good as solid", bright, 1e6, 0.0, straight
    yield "along a face, past an edge, from inside along an axis", bright, 1.0, 0.0, odd
    yield "all light goes straight on", bright, 1.0, 0.999, straight
    yield "no rays", bright, 1.0, 0.0, world_rays(np.zeros((0, 3)), np.zeros((0, 3)))


@pytest.mark.row(44)
def test_degenerate_input(backend):
    settings = march(9, 4, 5)
    for name, light, sigma, g, rays in degenerate_scenes():
        scene, medium = lit_slab(light, sigma, g=g)
        inputs = [medium.density, medium.albedo, medium.g, rays.origins, rays.directions, *light.parameters().values()]
        with tidr.Tape() as tape:
            out = traced(scene, settings, rays)
            tape.add(weighted(out, 1.0))
        gradients = [array.grad_numpy() for array in inputs]
        assert np.isfinite(out.numpy()).all(), name
        for array, gradient in zip(inputs, gradients, strict=True):
            assert np.isfinite(gradient).all(), (name, array.label)
        if name == "nothing in it":
            assert np.abs(gradients[0]).max() > 0  # an empty cell still learns
    scene, _ = lit_slab(tidr.AmbientLight(1.0))
    del scene.lights["light"]
    dark = traced(scene, settings, world_rays([0, 0, 3.0], [0, 0, -1])).numpy()
    assert (dark[:, :3] == 0).all()
    assert dark[0, 3] > 0.9


def test_black_albedo_still_hides(f64):
    scene, _ = lit_slab(tidr.DirectionalLight((0, 0, -1), 1.0), albedo=(0.0, 0.0, 0.0))
    out = traced(scene, FINE, world_rays([0, 0, 3.0], [0, 0, -1])).numpy()
    assert (out[0, :3] == 0).all()
    assert out[0, 3] == pytest.approx(1 - np.exp(-2.6))


def test_gradients_through_an_activation(f64):
    scene, medium = random_scene(6, grids=False, density_activation="softplus", density_shift=-0.5)
    medium.density.set(medium.density.numpy() - 1.0)
    settings, weights = march(8, 5, 6), np.random.default_rng(6).normal(size=(64, 5))
    inputs = [medium.density, medium.albedo, scene["lamp"].position, scene["cloud"].translation]
    directional_check(lambda: weighted(traced(scene, settings), weights), inputs, SmallSteps("cpu", 64), 6)


def test_renders_through_the_public_call(f64):
    """Background through the medium, depth, and a light in front of the box as bright as the closed form says."""
    scene, _ = lit_slab(tidr.DirectionalLight((0, 0, -1), 2.0), g=0.0)
    scene.film.background = (0.2, 0.4, 0.6)
    scene.add_camera("eye", tidr.Camera.look_at((0, 0, 50), (0, 0, 0), fov_y_degrees=1, width=3, height=3))
    image = tidr.render(scene, renderer=VolumeRenderer(steps=200, stop=0.0))
    lit = np.array([0.9, 0.6, 0.3]) * 2 / (4 * np.pi) * (1 - np.exp(-5.2)) / 2
    np.testing.assert_allclose(image.rgb.numpy()[1, 1], lit + np.exp(-2.6) * np.array([0.2, 0.4, 0.6]), rtol=2e-4)
    assert 49 < image.depth.numpy()[1, 1, 0] < 50


def fitted(scene: tidr.Scene, free, settings: VolumeRenderer, targets: Array, rates: list[float], steps: int) -> None:
    cameras = list(scene.cameras.values())
    optimizers = [tidr.Adam(scene.parameters(path), rate) for path, rate in zip(free, rates, strict=True)]
    for step in range(steps):
        with tidr.Tape(scene.parameters(*free)) as tape:
            image = settings.render(scene, cameras, targets.shape[2], targets.shape[1])
            tape.add(tidr.losses.mse(image.rgb, targets))
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.lr = rate * (1 - step / steps)
            optimizer.step()


@pytest.mark.row(44)
def test_finds_extinction_and_albedo_of_a_homogeneous_medium(f64):
    """T15: extinction and albedo within 2 % from four views."""
    scene, _ = lit_slab(tidr.DirectionalLight((0.3, -1, -0.5), 4.0), sigma=1.3, albedo=(0.9, 0.6, 0.3), g=0.3)
    scene.add_light("lamp", tidr.PointLight((1.5, 1.5, 2.0), (6.0, 6.0, 6.0)))
    for k in range(4):
        eye = (3.5 * np.sin(1.6 * k), 1.0 - 0.5 * k, 3.5 * np.cos(1.6 * k))
        scene.add_camera(f"view{k}", tidr.Camera.look_at(eye, (0, 0, 0), fov_y_degrees=45, width=12, height=12))
    cloud = scene["cloud"].geometry = Volume(np.full((1, 1, 1), 1.3), albedo=(0.9, 0.6, 0.3), g=0.3)
    settings = VolumeRenderer(steps=24, light_steps=12, light_nodes=9)
    truth = settings.render(scene, list(scene.cameras.values()), 12, 12).rgb.numpy()
    cloud.density.set([[[0.4]]])
    cloud.albedo.set([0.5, 0.5, 0.5])
    fitted(scene, ["cloud.density", "cloud.albedo"], settings, Array.of(truth, needs_grad=False), [0.05, 0.03], 120)
    assert cloud.density.numpy().item() == pytest.approx(1.3, rel=0.02)
    np.testing.assert_allclose(cloud.albedo.numpy(), [0.9, 0.6, 0.3], rtol=0.02)
