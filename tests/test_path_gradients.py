"""Gradients of the path tracer: exact where paths stay, unbiased where they move, the same on every backend."""

import numpy as np
import pytest

import tidr
from tests.gradients import directional_check, tape_gradients, weighted
from tests.path_scenes import disc, furnace, metered, open_box, quad, rim
from tidr.fitting.tape import Tape
from tidr.renderers.path import PathTracer
from tidr.scene.camera import Camera
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import DirectionalLight, EnvironmentLight, SpotLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.texture import Texture


def loss_of(scene, settings, size=None, seed=0):
    camera = next(iter(scene.cameras.values()))
    height, width = size or camera.height, size or camera.width
    weights = np.random.default_rng(seed).normal(size=(height, width, 3))
    return lambda: weighted(tidr.render(scene, renderer=settings, width=width, height=height).rgb, weights)


def check(scene, patterns, settings, backend, seed=0, directions=1, size=None) -> None:
    parameters = scene.parameters(*patterns)
    directional_check(loss_of(scene, settings, size, seed), list(parameters.values()), backend, seed, directions)


NO_ROULETTE = {"samples": 4, "max_depth": 5, "roulette_depth": 99, "independent_gradient": False}


@pytest.mark.row(35)
def test_a_furnace_grows_with_its_albedo_as_the_series_does(f32):
    """dL/drho = sum k rho^(k - 1): 25 at rho = .8, 8.616 for six terms."""
    for depth, expected in ((1 << 16, 25.0), (6, 8.616)):
        scene = furnace()
        found = []
        for seed in range(16):
            settings = PathTracer(samples=64, max_depth=depth, roulette_depth=8, seed=seed)
            with Tape(scene.parameters("wall.albedo")) as tape:
                picture = tidr.render(scene, renderer=settings)
                tape.add(weighted(picture.rgb, np.full(picture.rgb.shape, 1 / 64)))
            found.append(scene["wall"].sources["albedo"].grad_numpy())
        error = np.std(found, axis=0, ddof=1) / 4
        assert (np.abs(np.mean(found, axis=0) - expected) < 3.5 * error).all(), (np.mean(found, 0), expected, error)
        assert (error < 0.02 * expected).all()


LIGHTS = {"panel": "glow.emission", "spot": "spot.intensity", "sun": "sun.irradiance", "sky": "sky.radiance"}


def lit_textured(rng, lit=tuple(LIGHTS)) -> Scene:
    """Floor with a texture, ball with vertex colours, a panel, a spot, a sun and a sky; what is not lit is dark."""

    def light(name, low, high):
        return rng.uniform(low, high, 3) * (name in lit)

    scene = Scene(Film(10, 10))
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    floor = quad(half=1.5)
    floor = Mesh(floor.vertices.numpy(), floor.faces, uvs=uvs, shading="flat")
    scene.add_material("tiles", Material("lambert", albedo=Texture(rng.uniform(0.2, 0.8, (5, 4, 3)))))
    vertices, faces = icosphere(1)
    ball = Mesh(vertices * 0.5 + (0, 0.6, 0), faces, colors=rng.uniform(0.2, 0.8, (len(vertices), 3)))
    scene.add_material("skin", Material("lambert", albedo="vertex_colors"))
    scene.add_material("glow", Material("lambert", albedo=0.2, emission=light("panel", 2, 5)))
    scene.add_node("floor", Node(floor, ("tiles",)))
    scene.add_node("ball", Node(ball, ("skin",)))
    scene.add_node("panel", Node(quad((0, 2, 0), 0.6, sign=-1), ("glow",)))
    scene.add_light("spot", SpotLight((1, 2, 1), (-0.5, -1, -0.5), light("spot", 2, 4), 0.6, 0.2))
    scene.add_light("sun", DirectionalLight((0.3, -1, -0.4), light("sun", 1, 2)))
    scene.add_light("sky", EnvironmentLight(light("sky", 0.2, 1)))
    scene.add_camera("front", Camera.look_at((0.2, 1.3, 3), (0, 0.4, 0), fov_y_degrees=45, width=10, height=10))
    return scene


@pytest.mark.row(36, 104)
@pytest.mark.parametrize("light", LIGHTS)
def test_what_does_not_move_paths_has_exact_gradients(f64, light):
    """Albedos, textures, vertex colours, and the light of the only lamp that is on, against differences."""
    scene = lit_textured(np.random.default_rng(list(LIGHTS).index(light)), (light,))
    check(scene, ["tiles.albedo", "ball.colors", LIGHTS[light]], PathTracer(**NO_ROULETTE), f64)


def test_each_half_of_the_samples_has_its_residual_from_the_other(f64):
    """The gradient of mse is that of the mean of (A - t)(B - t), for the halves' means A and B: no noise is squared."""
    scene = lit_textured(np.random.default_rng(0), ("panel",))
    target = np.random.default_rng(1).uniform(size=(10, 10, 3))
    arrays = list(scene.parameters("tiles.albedo", "ball.colors").values())

    def drawn(samples, **options):
        return tidr.render(scene, renderer=PathTracer(**(NO_ROULETTE | {"samples": samples} | options))).rgb

    whole, first = drawn(8).numpy(), drawn(4).numpy()
    second = 2 * whole - first
    weights = (second - first) / target.size, 2 * (first - target) / target.size
    by_first = tape_gradients(lambda: weighted(drawn(4), weights[0]), arrays)
    by_whole = tape_gradients(lambda: weighted(drawn(8), weights[1]), arrays)
    found = tape_gradients(lambda: tidr.losses.mse(drawn(8, independent_gradient=True), target), arrays)
    for one, a, b in zip(found, by_first, by_whole, strict=True):
        np.testing.assert_allclose(one, a + b, rtol=1e-9, atol=1e-12 * np.abs(one).max())


def test_losses_that_look_at_the_picture_follow_other_paths(f64):
    """With mse beside it, too: their gradients add up."""
    scene, target = lit_textured(np.random.default_rng(0), ("panel",)), np.full((10, 10, 3), 0.3)
    arrays = list(scene.parameters("tiles.albedo").values())

    def gradient(*losses):
        with Tape() as tape:
            rgb = tidr.render(scene, renderer=PathTracer(samples=4, max_depth=3)).rgb
            for loss in losses:
                tape.add(loss(rgb, target))
        return arrays[0].grad_numpy()

    mse, l1 = gradient(tidr.losses.mse), gradient(tidr.losses.l1)
    np.testing.assert_allclose(gradient(tidr.losses.mse, tidr.losses.l1), mse + l1, rtol=1e-9)


MATTER = {  # each costs a compilation; bsdf tests hold the others against differences
    "metallic_roughness": {"albedo": [0.3, 0.5, 0.7], "roughness": 0.5, "metallic": 0.3},
    "conductor": {"eta": [0.2, 0.9, 1.2], "k": [3.0, 2.4, 2.0], "specular": 0.9},
}


@pytest.mark.parametrize("name", MATTER)
def test_materials_have_exact_gradients(f64, name):
    """Where directions and choices do not depend on the parameters: under a point light, and off mirrors."""
    scene = open_box(1)
    values = MATTER[name]
    scene.materials["grey"] = Material(name, **values)
    depth = {"max_depth": 3 if name == "conductor" else 2}
    check(scene, [f"grey.{key}" for key in values], PathTracer(**(NO_ROULETTE | depth)), f64)


@pytest.mark.row(154)
@pytest.mark.parametrize("shading", ["flat", "smooth", "rim"])
def test_geometry_and_camera_under_a_point_light_have_exact_gradients(f64, shading):
    """No path but the camera's ray and the light's matters: no silhouettes and shadows move within the picture."""
    scene = rim() if shading == "rim" else open_box(2)
    for node in scene.nodes.values():
        node.mesh.shading = "flat" if shading == "flat" else "smooth"
    patterns = ["*.vertices", "*.rotation", "lamp.position", "front.*"]
    check(scene, patterns, PathTracer(**(NO_ROULETTE | {"max_depth": 2})), f64)


@pytest.mark.row(143)
def test_a_disc_that_rises_dims_without_a_boundary_term(f32):
    """E = pi r^2 / (r^2 + h^2): dE/dh = -pi/2 at r = h = 1; surface measure moves with the lamp."""
    glow = Material("lambert", albedo=0.0, emission=1.0)
    floor = Material("lambert", albedo=1.0)
    scene = metered(
        ("glow", glow), ("white", floor), ("lamp", Node(disc((0, 1, 0), 1.0, 64), ("glow",))),
        ("floor", Node(quad(half=2.0), ("white",))),
    )  # fmt: skip
    scene.cameras.clear()
    scene.add_camera("down", tidr.RadianceMeter((0, 0.5, 0), (0, 0, 0)))
    found = []
    for seed in range(16):
        settings = PathTracer(samples=64, max_depth=2, seed=seed)
        with Tape(scene.parameters("lamp.translation")) as tape:
            rgb = tidr.render(scene, renderer=settings, width=8, height=8).rgb
            tape.add(weighted(rgb, np.full(rgb.shape, np.pi / 64 / 3)))
        found.append(scene["lamp"].translation.grad_numpy()[1])
    error = np.std(found, ddof=1) / 4
    assert abs(np.mean(found) + np.pi / 2) < 3.5 * error
    assert error < 0.05


def few_samples() -> dict[str, np.ndarray]:
    """Gradients of mse, from halves of the samples, by their parameters' paths."""
    scene, target = lit_textured(np.random.default_rng(3)), np.random.default_rng(4).uniform(size=(10, 10, 3))
    patterns = ["tiles.albedo", "glow.*", "ball.*", "spot.*", "sky.*", "front.position", "panel.vertices"]
    parameters = scene.parameters(*patterns)
    settings = PathTracer(samples=2, max_depth=4, roulette_depth=2)
    found = tape_gradients(
        lambda: tidr.losses.mse(tidr.render(scene, renderer=settings), target), list(parameters.values())
    )
    return dict(zip(parameters, found, strict=True))


@pytest.fixture
def exact(f64) -> dict[str, np.ndarray]:
    return few_samples()


@pytest.mark.row(36)
def test_software_vulkan_agrees_with_the_cpu(exact, vulkan):
    for path, found in few_samples().items():
        assert np.abs(found - exact[path]).max() <= 2e-2 * max(np.abs(exact[path]).max(), 1e-6), path


@pytest.mark.row(25, 39)
def test_the_colour_of_a_wall_is_found(f32):
    """One wall of a box from its pictures, four samples a pixel: the public tutorial's problem, within 50 steps."""
    scene = open_box(4)
    scene.add_node("block", Node(quad((0.6, 0.5, 0), 0.5, axis=0, sign=-1), ("grey",)))
    wall = scene["red"].sources["albedo"]
    wall.set([0.57, 0.043, 0.044])
    target = tidr.render(scene, renderer=PathTracer(samples=512, max_depth=6, seed=99), width=96, height=96).rgb.numpy()
    wall.set([0.01, 0.2, 0.9])
    parameters = scene.parameters("red.albedo")
    optimizer = tidr.Adam(parameters, lr=0.1, betas=(0.3, 0.9))
    for step in range(50):
        optimizer.lr = 0.1 * 0.82 ** max(step - 22, 0)
        with Tape(parameters) as tape:
            settings = PathTracer(samples=4, max_depth=6, seed=step)
            tape.add(tidr.losses.mse(tidr.render(scene, renderer=settings, width=96, height=96), target))
        optimizer.step()
        if step == 1:
            held = tidr.buffer.allocations
    assert tidr.buffer.allocations == held
    assert np.abs(wall.numpy() - [0.57, 0.043, 0.044]).max() < 1e-3


@pytest.mark.row(36, 39)
def test_deeper_paths_take_no_more_memory_for_a_gradient(f32):
    """Room that is made anew is counted; a path of 4000 vertices needs none that one of four did not."""
    scene = furnace(0.99)
    albedo, made = [scene["wall"].sources["albedo"]], []
    for depth in (4, 4, 4000):
        settings = PathTracer(samples=4, max_depth=depth, roulette_depth=depth)
        gradient = tape_gradients(loss_of(scene, settings, 4), albedo)[0]
        made.append((tidr.buffer.allocations, np.abs(gradient).max()))
    assert made[2][0] == made[1][0]
    assert made[2][1] > 10 * made[1][1]  # so deep did they go
