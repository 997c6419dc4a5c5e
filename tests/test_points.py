"""Point splats "pixel", "gaussian", "knn" and "sphere": closed forms, numpy twins, degenerate and bad input."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.array import Array
from tidr.errors import GradientError, SceneError
from tidr.renderers.points import PointRenderer
from tidr.scene.points import PointCloud

from .conftest import on_backends
from .gradients import tape_gradients, weighted
from .point_scenes import cloud, placed, row_of_points, view
from .reference import points as twin

# Name: what is drawn how; all splats and ways of blending.
STYLES = {
    "pixel": PointRenderer(splat="pixel"),
    "gaussian": PointRenderer(splat="gaussian", sigma_pixels=1.3),
    "gaussian by radii": PointRenderer(splat="gaussian", sigma_pixels=0),
    "gaussian with alpha": PointRenderer(splat="gaussian", compositing="alpha"),
    "knn": PointRenderer(splat="knn", radius_pixels=2.5, points_per_pixel=3),
    "knn of PyTorch3D": PointRenderer(splat="knn", falloff="pytorch3d", radius_pixels=0),
    "knn, steeper": PointRenderer(splat="knn", radius_pixels=4.2, tau=2.5),
    "knn, weighted sum": PointRenderer(splat="knn", compositing="weighted_sum", radius_pixels=3),
    "knn, normalised": PointRenderer(splat="knn", compositing="normalised", radius_pixels=0, points_per_pixel=4),
    "knn, softmax": PointRenderer(splat="knn", compositing="softmax", radius_pixels=5, gamma=0.3),
    "sphere": PointRenderer(splat="sphere", gamma=0.2, depth_range=(1.5, 5.0)),
    "sphere, sharp": PointRenderer(splat="sphere", gamma=1e-3, depth_range=(1.5, 5.0)),
}
CHANNELS = ("rgb", "alpha", "depth")
GREY = (0.2, 0.1, 0.4)


def drawn_by_hand(scene, camera, style):
    settings, size = STYLES[style], (camera.width, camera.height)
    if settings.splat == "sphere":
        return twin.spheres(scene, camera, *size, settings.gamma, *settings.depth_range)
    return twin.discs(scene, camera, *size, settings.splat, settings)


@pytest.mark.row(65, 67, 68, 69, 75, 120)
@pytest.mark.parametrize(
    ("backend", "style", "kind"),
    on_backends(
        [(style, kind) for style in STYLES for kind in ("perspective", "orthographic")],
        [
            ("pixel", "perspective"),
            ("gaussian by radii", "perspective"),
            ("knn", "orthographic"),
            ("sphere", "perspective"),
        ],
    ),
    indirect=["backend"],
)
def test_equals_the_twin(backend, style, kind):
    """Two turned and stretched nodes, a second image size, opacities, in front of a background."""
    for seed, count in ((0, 40), (1, 9)):
        scene = placed(cloud(seed, count), cloud(seed + 50, 7))
        camera = view(kind, 13 + 4 * seed, 11)
        image, expected = tidr.render(scene, camera, STYLES[style]), drawn_by_hand(scene, camera, style)
        for channel in CHANNELS:
            found = image.channel(channel).numpy()
            apart = np.abs(found - expected[channel]) > (1e-9 if backend.precision == 64 else 1e-4)
            assert apart.any(-1).mean() <= (0 if backend.precision == 64 else 0.01), channel  # a threshold may flip


@pytest.mark.row(66)
@pytest.mark.parametrize("kind", ["perspective", "orthographic"])
def test_the_nearest_point_is_that_of_pseudo_rendering(f64, kind):
    """Lin et al.'s U x U supersampling with max-pooled inverse depth leaves the same depths and holes, for every U."""
    scene, camera = placed(cloud(3, 150, spread=0.5)), view(kind, 16, 14)
    depth = tidr.render(scene, camera, STYLES["pixel"]).depth.numpy()[..., 0]
    positions = twin.points_of(scene, camera, 16, 14)[0]
    for factor in (1, 2, 5):
        np.testing.assert_allclose(depth, twin.pseudo_rendered(positions, camera, 16, 14, factor), atol=1e-12)
    holes = int((depth == 0).sum())
    places, _, shown = twin.on_screen(camera, positions, np.zeros(len(positions)), 16, 14)
    pixels = {(int(c), int(r)) for (c, r), seen in zip(np.floor(places), shown, strict=True) if seen}
    assert holes == 16 * 14 - len({(c, r) for c, r in pixels if 0 <= c < 16 and 0 <= r < 14}) > 0


@pytest.mark.row(65)
def test_of_equally_near_points_the_first_is_seen(f64):
    scene = tidr.Scene(tidr.Film(1, 1))
    scene.add_node("pair", tidr.Node(PointCloud([[0, 0, 0], [0.1, 0, 0]], [[1, 0, 0], [0, 1, 0]])))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=1, width=1, height=1))
    np.testing.assert_array_equal(tidr.render(scene, "front", STYLES["pixel"]).rgb.numpy()[0, 0], [1, 0, 0])


@pytest.mark.row(68, 69)
@pytest.mark.parametrize(("falloff", "alpha"), [("synsin", 0.5), ("pytorch3d", 0.75)])
def test_opacity_at_half_the_radius(f64, falloff, alpha):
    """A pixel is a world unit wide, so 0.75 units are half of 1.5 pixels."""
    image = tidr.render(row_of_points([1.0], offset=0.75), "front", PointRenderer(splat="knn", falloff=falloff))
    np.testing.assert_allclose(image.alpha.numpy()[0, 0], alpha, atol=1e-12)


@pytest.mark.row(68, 69)
def test_three_half_opaque_points_weigh_a_half_a_quarter_and_an_eighth(f64):
    scene = row_of_points([1.0, 1.0, 1.0], offset=0.75)
    image = tidr.render(scene, "front", PointRenderer(splat="knn"))
    np.testing.assert_allclose(image.rgb.numpy()[0, 0], [0.5, 0.25, 0.125], atol=1e-12)
    np.testing.assert_allclose(1 - image.alpha.numpy()[0, 0], 0.125, atol=1e-12)
    two = tidr.render(scene, "front", PointRenderer(splat="knn", points_per_pixel=2))
    np.testing.assert_allclose(two.rgb.numpy()[0, 0], [0.5, 0.25, 0], atol=1e-12)
    mean = tidr.render(scene, "front", PointRenderer(splat="knn", compositing="normalised"))
    np.testing.assert_allclose(mean.rgb.numpy()[0, 0], [1 / 3] * 3, atol=1e-7)
    soft = tidr.render(scene, "front", PointRenderer(splat="knn", compositing="softmax", gamma=1 / np.log(2)))
    np.testing.assert_allclose(soft.rgb.numpy()[0, 0], np.array([4, 2, 1]) / 7, atol=1e-7)


@pytest.mark.row(68, 69)
@pytest.mark.parametrize("compositing", ["alpha", "weighted_sum", "normalised", "softmax"])
def test_what_stands_behind_others_has_a_gradient(f64, compositing):
    scene = row_of_points([0.9, 0.9, 0.9], offset=0.3)
    renderer = PointRenderer(splat="knn", compositing=compositing, gamma=1.0)
    held = scene["row"].geometry
    (to_colors, to_positions) = tape_gradients(
        lambda: weighted(tidr.render(scene, "front", renderer).rgb, (0.3, 0.9, 0.5)), [held.colors, held.positions]
    )
    assert (np.abs(to_colors).sum(1) > 0).all()
    assert (np.abs(to_positions[:, 0]) > 0).all()


@pytest.mark.row(65)
def test_of_pixels_only_the_winner_has_a_gradient(f64):
    """Its colour and depth; places have none across the screen."""
    scene = row_of_points([1.0, 1.0, 1.0])
    held = scene["row"].geometry
    arrays = [held.positions, held.colors]
    (to_positions, _) = tape_gradients(
        lambda: weighted(tidr.render(scene, "front", STYLES["pixel"]).depth, 2.0), arrays
    )
    np.testing.assert_allclose(to_positions, [[0, 0, -2], [0, 0, 0], [0, 0, 0]], atol=1e-12)
    (_, to_colors) = tape_gradients(lambda: weighted(tidr.render(scene, "front", STYLES["pixel"]).rgb, 3.0), arrays)
    np.testing.assert_allclose(to_colors, [[3, 3, 3], [0, 0, 0], [0, 0, 0]], atol=1e-12)


@pytest.mark.row(67)
def test_a_gaussian_is_its_formula_and_ends_at_three_deviations(f64):
    scene = tidr.Scene(tidr.Film(21, 21))
    scene.add_node("one", tidr.Node(PointCloud([[0, 0, 0]], [[0.2, 0.4, 0.8]])))
    camera = tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=21, width=21, height=21)
    renderer = PointRenderer(splat="gaussian", sigma_pixels=2, compositing="alpha")
    offset = np.arange(21) - 10.0
    squared = offset[:, None] ** 2 + offset**2
    expected = np.where(squared < 36, np.minimum(np.exp(-squared / 8), 0.9999), 0)
    image = tidr.render(scene, camera, renderer)
    np.testing.assert_allclose(image.alpha.numpy()[..., 0], expected, atol=1e-12)
    np.testing.assert_allclose(image.rgb.numpy(), expected[..., None] * [0.2, 0.4, 0.8], atol=1e-5)


@pytest.mark.row(75)
def test_the_weight_of_one_sphere_at_its_centre(f64):
    """d = 1 and the surface at depth 2 - 0.4: w = o e^(o n / gamma) / (e^(0.001 / gamma) + o e^(o n / gamma))."""
    scene = row_of_points([0.7], [[1, 1, 1]], radii=0.4)
    gamma, own = 0.5, 0.7
    image = tidr.render(scene, "front", PointRenderer(splat="sphere", gamma=gamma, depth_range=(1, 4)))
    weight = own * np.exp(own * (4 - 1.6) / 3 / gamma)
    weight /= weight + np.exp(1e-3 / gamma)
    np.testing.assert_allclose(image.alpha.numpy()[0, 0], weight, atol=1e-12)
    np.testing.assert_allclose(image.depth.numpy()[0, 0], 1.6, atol=1e-12)


@pytest.mark.row(75)
def test_a_sharp_sphere_picks_the_nearest_and_a_soft_one_mixes(f64):
    scene = row_of_points([1.0, 1.0, 1.0], radii=0.6)
    sharp, soft = (
        tidr.render(scene, "front", PointRenderer(splat="sphere", gamma=gamma)).rgb.numpy()[0, 0]
        for gamma in (1e-5, 1.0)
    )
    np.testing.assert_allclose(sharp, [1, 0, 0], atol=1e-4)
    assert soft[0] > soft[1] > soft[2] > 0.1


@pytest.mark.row(75)
def test_a_sphere_smaller_than_a_pixel_is_drawn_in_one(f64):
    scene = tidr.Scene(tidr.Film(5, 5))
    scene.add_node("one", tidr.Node(PointCloud([[0.3, -0.2, 0]], radii=0.1)))
    camera = tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=5, width=5, height=5)
    alpha = tidr.render(scene, camera, PointRenderer(splat="sphere")).alpha.numpy()[..., 0]
    assert np.argwhere(alpha > 0.99).tolist() == [[2, 2]]
    assert (alpha > 0).sum() == 1


@pytest.mark.row(120)
@pytest.mark.parametrize("style", STYLES)
def test_the_order_of_the_points_does_not_count(f32, style):
    held, order = cloud(7, 60), np.random.default_rng(1).permutation(60)
    arrays = {name: parameter.numpy() for name, parameter in held.parameters().items()}
    shuffled = PointCloud(**{name: array[order] for name, array in arrays.items()})
    first, second = (tidr.render(placed(one), view(), STYLES[style]) for one in (held, shuffled))
    for channel in CHANNELS:
        np.testing.assert_allclose(first.channel(channel).numpy(), second.channel(channel).numpy(), atol=2e-6)


@pytest.mark.row(120)
@pytest.mark.parametrize("style", STYLES)
def test_a_batch_of_cameras_is_its_pictures(f64, style):
    scene, cameras = placed(cloud(2), cloud(3)), [view(), view(distance=2.5), view("orthographic")]
    together = tidr.render(scene, cameras, STYLES[style])
    for k, camera in enumerate(cameras):
        alone = tidr.render(scene, camera, STYLES[style])
        for channel in CHANNELS:
            np.testing.assert_allclose(together.channel(channel).numpy()[k], alone.channel(channel).numpy(), atol=1e-9)


@pytest.mark.row(120)
def test_auto_takes_spheres_where_all_have_radii(f64):
    assert "normal" not in tidr.render(placed(cloud(0)), view()).channels
    with_radii, without = PointCloud([[0, 0, 0]], radii=0.5), PointCloud([[0, 0, 0]])
    for held, splat in ((with_radii, "sphere"), (without, "knn")):
        chosen = tidr.render(placed(held), view()).rgb.numpy()
        np.testing.assert_array_equal(chosen, tidr.render(placed(held), view(), PointRenderer(splat=splat)).rgb.numpy())


@pytest.mark.row(120)
def test_points_without_anything_are_white_and_opaque(f64):
    scene = tidr.Scene(tidr.Film(1, 1, background=(0.1, 0.1, 0.1)))
    scene.add_node("one", tidr.Node(PointCloud([[0, 0, 0]])))
    camera = tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=1, width=1, height=1)
    image = tidr.render(scene, camera, STYLES["pixel"])
    np.testing.assert_allclose(image.rgb.numpy()[0, 0], [1, 1, 1])


@pytest.mark.row(120)
def test_a_material_is_lit_on_the_side_of_the_camera(f64):
    """Lambert by a directional light: albedo / pi * irradiance * cosine; a normal that looks away is turned."""
    scene = tidr.Scene(tidr.Film(1, 1))
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    scene.add_light("sun", tidr.DirectionalLight((0, -0.6, -0.8), np.pi))
    held = PointCloud([[0, 0, 0]], [[0.5, 0.25, 1.0]], normals=[[0, 0, -1]])
    scene.add_node("one", tidr.Node(held, materials=("paint",), scale=(1, 2, 3)))
    camera = tidr.Camera.look_at((0, 0, 2), (0, 0, 0), height_world=1, width=1, height=1)
    image = tidr.render(scene, camera, STYLES["pixel"])
    np.testing.assert_allclose(image.rgb.numpy()[0, 0], 0.8 * np.array([0.5, 0.25, 1.0]), atol=1e-12)
    held.normals = None
    with pytest.raises(SceneError, match=r"nodes\.one\.material"):
        _ = tidr.render(scene, camera, STYLES["pixel"]).rgb


def test_an_environment_stands_behind_the_points(f64):
    scene = placed(cloud(1), background=None)
    image = tidr.render(scene, view(), STYLES["knn"])
    without, alpha = image.rgb.numpy(), image.alpha.numpy()
    scene.add_light("sky", tidr.EnvironmentLight((0.3, 0.5, 0.7)))
    found = tidr.render(scene, view(), STYLES["knn"])
    expected = without + (1 - alpha) * (0.3, 0.5, 0.7)
    np.testing.assert_allclose(found.rgb.numpy(), expected, atol=1e-12)


def degenerate() -> dict[str, tuple[PointCloud, tidr.Camera]]:
    """R22: what nobody would draw."""
    small = {"radii": 0.2}

    def front(width=9, height=7):
        return tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=40, width=width, height=height)

    return {
        "empty view": (PointCloud([[0, 50, 0]], **small), front()),
        "behind": (PointCloud([[0, 0, 9]], **small), front()),
        "on the camera": (PointCloud([[0, 0, 3]], **small), front()),
        "beyond far": (PointCloud([[0, 0, -1e7]], **small), front()),
        "at the near plane": (PointCloud([[0, 0, 2.99]], **small), front()),
        "almost no radius": (PointCloud([[0, 0, 0]], radii=1e-20), front()),
        "huge radius": (PointCloud([[0, 0, 0]], radii=1e20), front()),
        "camera inside": (PointCloud([[0, 0, 2.5]], radii=1.0), front()),
        "far to the side": (PointCloud([[1e18, 0, 0]], **small), front()),
        "one place": (PointCloud(np.zeros((30, 3)), **small), front()),
        "transparent": (PointCloud([[0, 0, 0]], opacities=0.0, **small), front()),
        "one pixel": (PointCloud([[0, 0, 0]], **small), front(1, 1)),
        "a strip": (PointCloud([[0, 0, 0]], **small), front(30, 1)),
    }


@pytest.mark.parametrize("style", ["pixel", "gaussian by radii", "knn", "knn, softmax", "sphere", "sphere, sharp"])
def test_degenerate_scenes_are_defined(f32, style):
    for name, (held, camera) in degenerate().items():
        scene = tidr.Scene(tidr.Film(9, 7, background=GREY))
        scene.add_node("thing", tidr.Node(held))
        arrays = [*held.parameters().values(), *camera.parameters().values()]
        image = tidr.render(scene, camera, STYLES[style])
        for channel in CHANNELS:
            assert np.isfinite(image.channel(channel).numpy()).all(), (name, channel)

            def loss(channel=channel, scene=scene, camera=camera):
                return weighted(tidr.render(scene, camera, STYLES[style]).channel(channel), 1.0)

            assert all(np.isfinite(found).all() for found in tape_gradients(loss, arrays)), (name, channel)
        if name in ("empty view", "behind", "on the camera", "beyond far"):
            np.testing.assert_allclose(image.rgb.numpy(), np.broadcast_to(GREY, (7, 9, 3)), atol=1e-6)
            assert image.depth.numpy().max() == 0


@pytest.mark.parametrize("style", ["knn", "gaussian by radii", "sphere"])
def test_nan_is_refused_or_drawn_as_nothing(f32, style):
    """R17: set by the user it is refused; one that a kernel wrote stops the tape, or its point is not drawn."""
    refused = set()
    for name, parameter in cloud(0).parameters().items():
        scene = placed(cloud(0))
        parameter = scene.parameters()[f"a.{name}"]
        broken = parameter.numpy()
        broken[3] = np.nan
        with pytest.raises(SceneError, match=name):
            parameter.set(broken)
        parameter.value.from_numpy(broken)
        parameter.touch()
        black = Array.of(np.zeros((17, 19, 3)), needs_grad=False)

        def loss(scene=scene, black=black):
            return tidr.losses.mse(tidr.render(scene, view(), STYLES[style]).rgb, black)

        if np.isfinite(float(loss())):
            assert np.isfinite(tape_gradients(loss, [scene.parameters()["a.colors"]])[0]).all()
        else:
            refused.add(name)
            with pytest.raises(GradientError, match="mse"):
                tape_gradients(loss, [parameter])
    assert "colors" in refused


def test_a_fit_allocates_nothing_after_its_second_step(f32):
    for style in ("gaussian", "knn", "sphere"):
        scene, camera = placed(cloud(4, 200)), view(width=40, height=40)
        optimizer = tidr.Adam(scene.parameters("a.positions", "a.colors"), lr=1e-3)
        target, counts = Array.of(np.zeros((40, 40, 3)), needs_grad=False), []
        for _ in range(5):
            with tidr.Tape() as tape:
                tape.add(tidr.losses.mse(tidr.render(scene, camera, STYLES[style]).rgb, target))
            optimizer.step()
            counts.append(buffer.allocations)
        assert counts[1] == counts[-1], style


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"splat": "blob"}, "splat"),
        ({"compositing": "sum"}, "compositing"),
        ({"splat": "gaussian", "compositing": "softmax"}, "compositing"),
        ({"falloff": "linear"}, "falloff"),
        ({"tau": 0.5}, "tau"),
        ({"gamma": 0}, "gamma"),
        ({"points_per_pixel": 0}, "points_per_pixel"),
        ({"radius_pixels": -1}, "radius_pixels"),
        ({"depth_range": (2, 1)}, "depth_range"),
        ({"depth_range": (1, 2, 3)}, "depth_range"),
    ],
)
def test_bad_options_are_named(options, match):
    with pytest.raises(SceneError, match=rf"renderer\.{match}"):
        PointRenderer(**options)


def test_spheres_need_radii(f32):
    with pytest.raises(SceneError, match="radii"):
        tidr.render(placed(PointCloud([[0, 0, 0]])), view(), PointRenderer(splat="sphere"))
    with pytest.raises(SceneError, match="no PointCloud"):
        tidr.render(tidr.Scene(), view(), PointRenderer(splat="knn"))
