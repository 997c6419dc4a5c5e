"""Environment lights: look-ups by direction, the picture behind every renderer, gradients, and fits in front of one."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.fitting.views import Views, behind
from tidr.renderers.background import before_environment, constant_color, environment_radiance
from tidr.renderers.rays import Rays
from tidr.scene.transform import quaternion_from_euler, rotation_from_quaternion

from .environments import LIT, RENDERERS, SIZE, scene_of, sky
from .gradients import directional_check, tape_gradients, weighted
from .voxel_scenes import against_f64

FRONT, BACK, LEFT, RIGHT, UP, DOWN = (0, 0, -1), (0, 0, 1), (-1, 0, 0), (1, 0, 0), (0, 1, 0), (0, -1, 0)


def radiance(light: tidr.EnvironmentLight, directions) -> np.ndarray:
    """[n, 3] of rays in the directions [n, 3]."""
    directions = np.atleast_2d(np.asarray(directions, float))
    count = len(directions)
    rays = Rays(*(Array.of(a) for a in (0 * directions, directions, np.ones((count, 1)))), (count,))
    return environment_radiance(light, rays).numpy()


def looked_up(texels: np.ndarray, directions: np.ndarray, rotation: float) -> np.ndarray:
    """The look-up as its definition says it, on a padded map: wrapped left and right, repeated above and below."""
    height, width = texels.shape[:2]
    padded = np.pad(np.concatenate([texels[:, -1:], texels, texels[:, :1]], 1), ((1, 1), (0, 0), (0, 0)), "edge")
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    longitude = np.arctan2(unit[:, 0], -unit[:, 2]) + rotation  # 0 ahead, growing to the right
    x = np.mod(longitude / (2 * np.pi) + 0.5, 1) * width + 0.5
    y = np.arccos(unit[:, 1]) / np.pi * height + 0.5
    column, row = x.astype(int), y.astype(int)
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    above = (1 - fx) * padded[row, column] + fx * padded[row, column + 1]
    below = (1 - fx) * padded[row + 1, column] + fx * padded[row + 1, column + 1]
    return (1 - fy) * above + fy * below


def empty(light: tidr.EnvironmentLight, **view) -> tidr.Scene:
    """Nothing but the light and a camera "front" that looks slantwise through the origin."""
    scene = tidr.Scene(tidr.Film(SIZE, SIZE))
    scene.add_light("sky", light)
    camera = tidr.Camera.look_at((0.3, 0.4, 1.0), (0, 0.1, 0), width=SIZE, height=SIZE, **view or {"fov_y_degrees": 80})
    scene.add_camera("front", camera)
    return scene


# Look-ups.


def test_each_axis_sees_its_texel(backend):
    texels = np.zeros((5, 8, 3))
    texels[1:4, 3:5] = (1, 0, 0)
    texels[1:4, 5:7] = (0, 1, 0)
    texels[1:4, [7, 0]] = (0, 0, 1)
    texels[1:4, 1:3] = (1, 1, 1)
    texels[0], texels[4] = (3, 3, 0), (0, 3, 3)
    light = tidr.EnvironmentLight(texels)
    expected = [(1, 0, 0), (0, 0, 1), (1, 1, 1), (0, 1, 0), (3, 3, 0), (0, 3, 3)]
    assert np.allclose(radiance(light, [FRONT, BACK, LEFT, RIGHT, UP, DOWN]), expected, atol=1e-5)


def test_the_centre_of_each_texel_has_its_value(backend):
    light, (height, width) = sky(1, rotation=0.0), (5, 7)
    row, column = np.mgrid[:height, :width]
    longitude, down = ((column + 0.5) / width - 0.5) * 2 * np.pi, (row + 0.5) / height * np.pi
    directions = np.stack(
        [np.sin(down) * np.sin(longitude), np.cos(down), -np.sin(down) * np.cos(longitude)], -1
    ).reshape(-1, 3)
    assert np.allclose(radiance(light, 3.0 * directions), light.radiance.numpy().reshape(-1, 3), atol=2e-5)


def test_a_picture_of_the_map_is_not_mirrored(f64):
    """Seen ahead without rotation, brightness that grows to the right in the map does so in the picture, and down."""
    row, column = np.mgrid[:16, :32]
    texels = np.stack([column, row, 0 * row], -1) / 10
    scene = tidr.Scene(tidr.Film(8, 8))
    scene.add_light("sky", tidr.EnvironmentLight(texels))
    camera = tidr.Camera.look_at((5, 1, 2), (5, 1, 1), fov_y_degrees=60, width=8, height=8)
    image = tidr.render(scene, camera).rgb.numpy()
    assert (np.diff(image[..., 0], axis=1) > 0).all()
    assert (np.diff(image[..., 1], axis=0) > 0).all()
    assert image[:, 3:5, 0].mean() == pytest.approx(1.55)
    assert image[3:5, :, 1].mean() == pytest.approx(0.75)


def test_a_constant_is_the_same_everywhere(backend):
    directions = np.concatenate([np.random.default_rng(0).normal(size=(50, 3)), [UP, DOWN, BACK]])
    assert np.allclose(radiance(tidr.EnvironmentLight((0.2, 3.0, 0.4), 1.0), directions), (0.2, 3.0, 0.4))
    assert np.allclose(radiance(tidr.EnvironmentLight(0.7), directions), 0.7)
    assert np.allclose(radiance(tidr.EnvironmentLight(np.full((3, 4, 3), 0.7), -9.0), directions), 0.7)


def test_the_seam_and_the_poles_are_continuous(f64):
    light, tiny = sky(2, rotation=0.0), 1e-9
    left, right = radiance(light, [(tiny, 0.2, 1), (-tiny, 0.2, 1)])
    assert np.allclose(left, right, atol=1e-7)
    texels = light.radiance.numpy()
    assert np.allclose(radiance(light, (0, 0, 1))[0], (texels[2, 0] + texels[2, -1]) / 2)
    # Within half a row of a pole only the longitude counts.
    assert np.allclose(*radiance(light, [(0.01, 1, -0.02), (0.001, 1, -0.002)]), atol=1e-12)
    assert np.isfinite(radiance(light, [UP, DOWN])).all()


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 1), (1, 6), (4, 1)])
def test_look_ups_agree_with_numpy(backend, height, width):
    rng = np.random.default_rng(height * width)
    light = sky(3, (height, width), rotation=2.5)
    directions = rng.normal(size=(400, 3)) * rng.uniform(0.1, 10, (400, 1))
    expected = looked_up(light.radiance.numpy().astype(float), directions, 2.5)
    assert np.allclose(radiance(light, directions), expected, atol=1e-9 if backend.precision == 64 else 1e-4)


def test_the_rotation_is_a_nodes_about_the_up_axis(f64):
    directions = np.random.default_rng(4).normal(size=(100, 3))
    turn = rotation_from_quaternion(quaternion_from_euler((0, 130, 0)))
    still, turned = sky(5, rotation=0.0), sky(5, rotation=np.radians(130))
    assert np.allclose(radiance(turned, directions @ turn.T), radiance(still, directions))
    assert not np.allclose(radiance(turned, directions), radiance(still, directions), atol=0.1)
    # To the left: what was on the right stands ahead.
    assert np.allclose(radiance(sky(5, rotation=np.pi / 2), FRONT), radiance(still, RIGHT))


# Behind every renderer.


@pytest.mark.parametrize("kind", RENDERERS)
def test_every_renderer_shows_it_where_nothing_is(f64, kind):
    light, renderer = sky(), RENDERERS[kind]
    plain, scene = scene_of(kind, None), scene_of(kind, light)
    before, image = tidr.render(plain, "front", renderer), tidr.render(scene, "front", renderer)
    rays = Rays.of_cameras([scene["front"]], SIZE, SIZE)
    far = looked_up(light.radiance.numpy(), rays.directions.numpy(), 0.4).reshape(SIZE, SIZE, 3)
    alpha = before.alpha.numpy()
    clear = alpha[..., 0] == 0
    assert 0.1 < clear.mean() < 1
    assert np.allclose(image.rgb.numpy()[clear], far[clear], atol=1e-12)
    if kind not in LIT:
        assert np.allclose(image.rgb.numpy(), before.rgb.numpy() + (1 - alpha) * far, atol=1e-12)
    if kind == "field":
        assert np.allclose(image.channel("rgb_coarse").numpy()[clear], far[clear], atol=1e-12)
    for name in ("alpha", "depth", *(["normal"] if kind.startswith("raster") else [])):
        assert np.array_equal(image.channel(name).numpy(), before.channel(name).numpy())


@pytest.mark.parametrize("kind", RENDERERS)
def test_a_constant_environment_is_a_background_of_its_colour(f64, kind):
    colour = (0.3, 0.5, 0.9)
    bare = scene_of(kind, None, background=colour)
    if kind in LIT:  # materials without highlights see it as light from everywhere
        bare.add_light("all around", tidr.AmbientLight(colour))
    flat = tidr.render(bare, "front", RENDERERS[kind]).rgb.numpy()
    light = tidr.EnvironmentLight(colour)
    seen = tidr.render(scene_of(kind, light, background=(1, 0, 0)), "front", RENDERERS[kind]).rgb.numpy()
    assert np.allclose(seen, flat, atol=1e-12)


def test_without_one_nothing_is_computed(f64):
    def refuse():
        raise AssertionError("asked for")

    scene, image = scene_of("volume", None, background=(0.1, 0.2, 0.3)), Array((2, 2, 3))
    assert before_environment(scene, image, refuse, refuse) is image
    assert constant_color(scene) == (0.1, 0.2, 0.3)
    scene.add_light("sky", sky())
    assert constant_color(scene) is None


@pytest.mark.parametrize("kind", ["raster none", "volume", "splat"])
def test_a_batch_of_cameras_sees_it_from_each(f64, kind):
    scene, renderer = scene_of(kind, sky()), RENDERERS[kind]
    scene.add_camera("side", tidr.Camera.look_at((-2, 1, 1), (0, 0, 0), height_world=3, width=SIZE, height=SIZE))
    both = tidr.render(scene, ["front", "side"], renderer).rgb.numpy()
    each = [tidr.render(scene, name, renderer) for name in ("front", "side")]
    assert np.allclose(both, [image.rgb.numpy() for image in each], atol=1e-14)
    parallel = both[1][each[1].alpha.numpy()[..., 0] == 0]  # rays that all see one point of the sky
    assert 0 < len(parallel) < SIZE**2
    assert np.allclose(parallel, parallel[0], atol=1e-12)
    assert not np.allclose(parallel[0], both[0][0, 0], atol=0.1)


@pytest.mark.parametrize("kind", ["medium"])
def test_it_shines_on_no_medium(f64, kind):
    lit, dark = scene_of(kind, sky()), scene_of(kind, sky())
    del dark.lights["lamp"]
    alpha = tidr.render(lit, "front", RENDERERS[kind]).alpha.numpy()
    rays = Rays.of_cameras([lit["front"]], SIZE, SIZE)
    far = environment_radiance(lit["sky"], rays).numpy().reshape(SIZE, SIZE, 3)
    unlit = tidr.render(dark, "front", RENDERERS[kind]).rgb.numpy()
    assert np.allclose(unlit, (1 - alpha) * far, atol=1e-12)
    assert (tidr.render(lit, "front", RENDERERS[kind]).rgb.numpy() - unlit).max() > 1e-2


# Gradients.


@pytest.mark.parametrize("view", [{"fov_y_degrees": 80}, {"height_world": 2.0}], ids=["perspective", "orthographic"])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_to_texels_rotation_and_camera(backend, seed, view):
    def problem():
        scene = empty(sky(seed, rotation=seed - 1.0), **view)
        weights = np.random.default_rng(seed).normal(size=(SIZE, SIZE, 3))
        arrays = list(scene.parameters("sky.*", "front.*").values())
        return lambda: weighted(tidr.render(scene, "front", "volume").rgb, weights), arrays

    against_f64(("environment", seed, *view), problem, backend, seed)


MOVED = {  # what is differentiated besides the sky; nothing where silhouettes jump or a network has kinks
    "raster none": [],
    "raster antialias": [],
    "raster soft": ["thing.vertices", "front.*"],
    "volume": ["thing.density", "thing.translation", "front.*"],
    "field": [],
    "drc": ["thing.occupancy"],
    "emission_absorption": ["thing.occupancy", "thing.translation"],
    "splat": ["thing.occupancy", "front.position"],
    "level_set": ["thing.color"],
    "neus": ["thing.sdf", "front.position"],
}


@pytest.mark.parametrize("kind", MOVED)
def test_gradients_to_what_stands_in_front(f64, kind):
    scene = scene_of(kind, sky(6), seed=6)
    weights = np.random.default_rng(6).normal(size=(SIZE, SIZE, 3))
    arrays = list(scene.parameters("sky.*", *MOVED[kind]).values())
    directional_check(lambda: weighted(tidr.render(scene, "front", RENDERERS[kind]).rgb, weights), arrays, f64, 6)


def gradients(scene: tidr.Scene, renderer, paths) -> list[np.ndarray]:
    weights = np.random.default_rng(7).normal(size=(SIZE, SIZE, 3))
    arrays = list(scene.parameters(*paths).values())
    return tape_gradients(lambda: weighted(tidr.render(scene, "front", renderer).rgb, weights), arrays)


def gradients_of_two() -> list[np.ndarray]:
    found = gradients(scene_of("volume", sky(7), seed=7), RENDERERS["volume"], ("sky.*", "thing.*", "front.*"))
    return found + gradients(empty(sky(8, (64, 128))), "volume", ("sky.radiance",))


@pytest.fixture
def in_64_bits(f64) -> list[np.ndarray]:
    return gradients_of_two()


def test_gradients_on_vulkan_equal_those_in_64_bits(in_64_bits, vulkan):
    """Of a map so small that a GPU sums its gradient in private copies, too, and of one that takes atomics."""
    for exact, single in zip(in_64_bits, gradients_of_two(), strict=True):
        assert np.linalg.norm(exact) > 0
        assert np.linalg.norm(single - exact) <= 2e-2 * np.linalg.norm(exact)


def test_a_ray_at_the_pole_has_a_finite_gradient(f64):
    scene = tidr.Scene(tidr.Film(3, 3))
    scene.add_light("sky", sky(9))
    camera = tidr.Camera.look_at((0, 0, 0), (0, 1, 0), up=(0, 0, 1), fov_y_degrees=50, width=3, height=3)
    found = tape_gradients(lambda: weighted(tidr.render(scene, camera, "volume").rgb, 1.0), [camera.rotation])
    assert np.isfinite(found[0]).all()
    assert np.abs(found[0]).max() < 1e3


def test_adjoints_add_up_bit_for_bit(f32):
    scene = empty(sky(10, (16, 32)))
    arrays = [scene["sky"].radiance, scene["sky"].rotation]
    weights = np.random.default_rng(10).normal(size=(64, 64, 3))

    def function():
        return weighted(tidr.render(scene, "front", "volume", width=64, height=64).rgb, weights)

    first, second = tape_gradients(function, arrays), tape_gradients(function, arrays)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)


def test_nothing_is_allocated_after_the_second_step(f32):
    scene = scene_of("volume", sky())
    params = scene.parameters("sky.*", "thing.density", "front.position")
    counts = []
    for _ in range(4):
        with Tape(params) as tape:
            tape.add(tidr.losses.mse(tidr.render(scene, "front", RENDERERS["volume"]), np.zeros((SIZE, SIZE, 3))))
        counts.append(buffer.allocations)
    assert counts[1] == counts[3]


# Fits.


def around(count: int = 8, size: int = 12) -> list[tidr.Camera]:
    """Cameras at the origin that look everywhere."""
    cameras = tidr.sphere_views(count, 1.0, fov_y_degrees=95, width=size, height=size)
    for camera in cameras:
        camera.position.set((0.0, 0.0, 0.0))
    return cameras


def pictures(scene: tidr.Scene, cameras, renderer="volume") -> list[np.ndarray]:
    return list(tidr.render(scene, cameras, renderer).rgb.numpy())


@pytest.mark.parametrize("rays", [0, 400], ids=["whole views", "random pixels"])
def test_a_fit_finds_the_map(f32, rays):
    truth, cameras = sky(11, (4, 8), rotation=0.0), around()
    shot = pictures(empty(truth), cameras)
    scene = empty(tidr.EnvironmentLight(np.full((4, 8, 3), 1.0)))
    params = scene.parameters("sky.radiance")
    tidr.fit(
        scene, list(zip(cameras, shot, strict=True)), params, optimizer=tidr.Adam(params, lr=5e-2), steps=150,
        renderer="volume", rays_per_step=rays, views_per_step=8,
    )  # fmt: skip
    assert np.abs(scene["sky"].radiance.numpy() - truth.radiance.numpy()).max() < 0.02


def test_a_fit_finds_the_rotation_with_a_mesh_in_front(f32):
    texels = np.random.default_rng(12).uniform(0.1, 1.0, (6, 12, 3))
    truth, scene = (scene_of("raster antialias", tidr.EnvironmentLight(texels, angle)) for angle in (0.5, 0.15))
    cameras = tidr.orbit(4, 3.0, fov_y_degrees=70, width=24, height=24)
    shot = pictures(truth, cameras, "raster")
    params = scene.parameters("sky.rotation")
    result = tidr.fit(
        scene, list(zip(cameras, shot, strict=True)), params, optimizer=tidr.Adam(params, lr=2e-2), steps=80,
    )  # fmt: skip
    assert float(scene["sky"].rotation.numpy()) == pytest.approx(0.5, abs=5e-3)
    assert result.loss < 1e-4


def test_pictures_with_alpha_or_a_background_of_their_own_hide_it(f32):
    """Then the first loss and the report are what they are without the environment."""
    bare, scene = scene_of("volume", None), scene_of("volume", sky())
    cameras, renderer = [scene["front"]], RENDERERS["volume"]
    image = tidr.render(bare, cameras, renderer)
    rgb, alpha = image.rgb.numpy()[0], image.alpha.numpy()[0]
    cut_out = np.concatenate([rgb / np.maximum(alpha, 1e-6), alpha], -1)
    red = rgb + (1 - alpha) * np.float32([1, 0, 0])
    density, lights = bare["thing"].geometry.density.numpy(), dict(scene.lights)
    for views, expected in (
        (Views(cameras, [cut_out]), True),
        (Views(cameras, [cut_out], (0.2, 0.4, 0.1)), True),
        (Views(cameras, [red], (1.0, 0.0, 0.0), hide_environment=True), True),
        (Views(cameras, [rgb]), False),
    ):
        measured = []
        for one in (bare, scene):
            one["thing"].geometry.density.set(1.3 * density)
            result = tidr.fit(one, views, "thing.density", steps=1, renderer=renderer)
            measured.append((result.loss, result.metrics["mean"]["psnr"]))
        assert [a == b for a, b in zip(*measured, strict=True)] == [expected] * 2
        assert (views.hides_environment, list(scene.lights.items())) == (expected, list(lights.items()))


def test_a_scene_is_drawn_without_it_for_a_while(f32):
    scene = scene_of("volume", sky())
    kept = scene.lights
    with behind(scene, (1.0, 0.0, 0.0)):
        assert scene.environment is kept["sky"]
    with behind(scene, (1.0, 0.0, 0.0), hide_environment=True):
        assert scene.environment is None
        assert list(scene.lights) == ["lamp"]
        assert np.allclose(tidr.render(scene, "front").rgb.numpy()[0, 0], (1, 0, 0))
    assert scene.lights is kept


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((np.zeros((4, 8)),), r"shape \(4, 8\)"),
        ((np.zeros((4, 8, 4)),), r"shape \(4, 8, 4\)"),
        ((np.zeros((0, 8, 3)),), r"shape \(0, 8, 3\)"),
        (((1.0, 2.0),), r"shape \(2,\)"),
        ((-1.0,), r"radiance is -1.0"),
        ((np.where(np.arange(96).reshape(4, 8, 3) == 50, np.nan, 1.0),), r"nan at index \(2, 0, 2\)"),
        ((1.0, np.inf), "rotation is inf"),
        ((1.0, (0.0, 1.0)), r"rotation is \(0.0, 1.0\)"),
    ],
)
def test_bad_values_are_named(f32, arguments, expected):
    with pytest.raises(SceneError, match=expected):
        tidr.EnvironmentLight(*arguments)


def test_a_scene_has_one_at_most(f32):
    scene = scene_of("volume", sky())
    with pytest.raises(SceneError, match="second environment light"):
        scene.add_light("other", tidr.EnvironmentLight(1.0))
    assert list(scene.lights) == ["lamp", "sky"]
