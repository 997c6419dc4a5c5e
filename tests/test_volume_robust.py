"""Volumes that nobody would draw: numbers that are not finite, tiny grids, solid densities, rays along faces."""

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import GradientError, SceneError, TidrError
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.volume import Volume

from .gradients import tape_gradients, weighted

FAST = VolumeRenderer(steps=12, light_steps=4, light_nodes=4)


def scene_of(volume: Volume, eye=(0.3, 0.2, 3.0), size=5, **node) -> tidr.Scene:
    scene = tidr.Scene(tidr.Film(size, size, background=(0.1, 0.2, 0.3)))
    scene.add_node("fog", tidr.Node(volume, **node))
    scene.add_light("sun", tidr.DirectionalLight((0.2, -1, -0.4), 2.0))
    scene.add_light("lamp", tidr.PointLight((0.5, 0.5, 0.5), 0.5))
    target = (0, 0, 0) if np.linalg.norm(eye) > 0 else (0, 0, -1)
    scene.add_camera("eye", tidr.Camera.look_at(eye, target, fov_y_degrees=50, width=size, height=size))
    return scene


def kinds(density, **options):
    """A glowing and a scattering volume of the same density, and one with an activation."""
    shape = np.shape(density)
    yield "colour", Volume(density, np.full((*shape, 3), 0.5), **options)
    yield "one colour", Volume(density, (0.9, 0.5, 0.1), **options)
    yield "harmonics", Volume(density, sh=np.full((*shape, 4, 3), 0.1), **options)
    yield "medium", Volume(density, albedo=np.full((*shape, 3), 0.5), g=0.5, **options)
    yield "medium of one albedo", Volume(density, albedo=(0.9, 0.5, 0.1), g=-0.5, **options)
    yield "softplus", Volume(density, (0.9, 0.5, 0.1), density_activation="softplus", **options)


def defined(scene: tidr.Scene, name: str) -> np.ndarray:
    """Every channel and every gradient of the scene is finite; alpha is in [0, 1]. Returns rgb."""
    parameters = list(scene.parameters().values())

    def function():
        return weighted(tidr.render(scene, renderer=FAST).rgb, 1.0)

    for parameter, gradient in zip(parameters, tape_gradients(function, parameters), strict=True):
        assert np.isfinite(gradient).all(), (name, parameter.label)
    image = tidr.render(scene, renderer=FAST)
    for channel in ("rgb", "alpha", "depth", "distance"):
        assert np.isfinite(image.channel(channel).numpy()).all(), (name, channel)
    alpha = image.alpha.numpy()
    assert alpha.min() >= -1e-6, name
    assert alpha.max() <= 1 + 1e-6, name
    return image.rgb.numpy()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 1), (2, 1, 3)], ids=str)
def test_grids_of_one_cell(f64, shape):
    for name, volume in kinds(np.full(shape, 0.7)):
        defined(scene_of(volume), name)


def test_empty_and_solid(f64):
    for density in (0.0, 1e-30, 1e6, 1e30):
        for name, volume in kinds(np.full((3, 3, 3), density)):
            rgb = defined(scene_of(volume), f"{name} {density}")
            if density < 1 and name != "softplus":
                np.testing.assert_allclose(rgb, np.broadcast_to([0.1, 0.2, 0.3], rgb.shape), atol=1e-12)


def test_solid_in_32_bits(f32):
    for name, volume in kinds(np.full((3, 3, 3), 1e6)):
        if name in ("colour", "medium"):
            defined(scene_of(volume), name)


@pytest.mark.parametrize("eye", [(0, 0, 0), (0, 0, 1), (1, 0, 3), (0, 0, 0.999999)], ids=str)
def test_eye_inside_on_a_face_and_rays_along_faces(f64, eye):
    """An odd image has a column of rays in the plane x = eye's x, parallel to the box's faces."""
    for name, volume in kinds(np.random.default_rng(0).uniform(0, 2, (3, 4, 2))):
        scene = scene_of(volume, eye)
        if eye[0] == 1:  # look along the face itself
            scene.cameras["eye"] = tidr.Camera.look_at(eye, (1, 0, 0), fov_y_degrees=50, width=5, height=5)
        defined(scene, name)


def test_one_pixel_and_thin_images(f64):
    for name, volume in kinds(np.full((2, 2, 2), 1.0)):
        scene = scene_of(volume)
        for width, height in ((1, 1), (1, 4), (4, 1)):
            image = tidr.render(scene, renderer=FAST, width=width, height=height)
            assert image.rgb.shape == (height, width, 3), name
            assert np.isfinite(image.rgb.numpy()).all(), name


def test_boxes_and_nodes_that_are_thin_or_far(f64):
    for lower, upper, node in (
        ((-1, -1, -1e-9), (1, 1, 1e-9), {}),
        ((-1e4, -1e4, -1e4), (1e4, 1e4, 1e4), {}),
        ((-1, -1, -1), (1, 1, 1), {"scale": 1e-6}),
        ((-1, -1, -1), (1, 1, 1), {"translation": (1e6, 0, 0)}),
    ):
        for name, volume in kinds(np.full((2, 3, 2), 0.5), lower=lower, upper=upper):
            defined(scene_of(volume, **node), name)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ((0, 0, 0), (0, 1, 1)), ((1, 1, 1), (-1, -1, -1)), ((0, 0, np.nan), (1, 1, 1)), ((0, 0), (1, 1)),
        ((0, 0, 0), (1, 1, np.inf)),
    ],
)  # fmt: skip
def test_boxes_without_extent_are_refused(f64, lower, upper):
    with pytest.raises(SceneError, match="lower"):
        Volume(np.ones((2, 2, 2)), lower=lower, upper=upper)


BAD_VOLUMES = {
    "density": [np.full((2, 2, 2), np.nan), np.full((2, 2), 1.0), np.zeros((0, 2, 2)), -np.ones((2, 2, 2)), "fog"],
    "color": [np.full((2, 2, 2, 3), np.inf), np.ones((2, 2, 3, 3)), np.ones(4), -np.ones(3)],
    "albedo": [np.full(3, np.nan), np.ones((3, 2, 2, 3)), 0.5 * np.ones(2)],
    "sh": [np.full((2, 2, 2, 4, 3), np.nan), np.ones((2, 2, 2, 5, 3)), np.ones((2, 2, 2, 3))],
}


@pytest.mark.parametrize("key", BAD_VOLUMES)
def test_bad_arrays_are_refused_by_name(f64, key):
    for bad in BAD_VOLUMES[key]:
        given = {"density": np.ones((2, 2, 2))} | {key: bad}
        with pytest.raises(SceneError) as caught:
            Volume(**given)
        assert key in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"stop": 1.0}, {"skip": -1.0}, {"light_steps": 0}, {"light_nodes": 1}]
)
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(SceneError, match=next(iter(settings))):
        VolumeRenderer(**settings)


@pytest.mark.parametrize(
    "where", ["fog.density", "fog.color", "fog.albedo", "eye.position", "sun.direction", "lamp.position"]
)
def test_setting_nan_is_refused_with_the_path(f64, where):
    """R17: a parameter never takes a NaN; the message names it and the entry."""
    colored = where != "fog.albedo"
    volume = Volume(np.ones((2, 2, 2)), (1, 1, 1) if colored else None, albedo=None if colored else (0.5, 0.5, 0.5))
    scene = scene_of(volume)
    parameter = scene.parameters()[where]
    before = parameter.numpy()
    broken = before.copy()
    broken.reshape(-1)[0] = np.nan
    with pytest.raises(TidrError, match=where):
        parameter.set(broken)
    np.testing.assert_array_equal(parameter.numpy(), before)


@pytest.mark.parametrize("medium", [False, True])
def test_nan_on_the_device_stops_the_fit(f64, medium):
    """R17: a NaN that a kernel wrote makes the loss not finite; no gradient is computed and nothing is written."""
    options = {"albedo": (0.5, 0.5, 0.5)} if medium else {"color": (0.5, 0.5, 0.5)}
    scene = scene_of(Volume(np.ones((2, 2, 2)), **options))
    density = scene.parameters()["fog.density"]
    broken = density.value.to_numpy()
    broken.reshape(-1)[3] = np.nan
    density.value.from_numpy(broken)
    density.touch()
    black = Array.of(np.zeros((5, 5, 3)), needs_grad=False)
    with pytest.raises(GradientError, match="mse"):
        tape_gradients(lambda: tidr.losses.mse(tidr.render(scene, renderer=FAST).rgb, black), [density])


def test_nan_in_a_gradient_names_the_parameter(f64):
    scene = scene_of(Volume(np.ones((2, 2, 2)), albedo=(0.5, 0.5, 0.5)))
    parameters = scene.parameters("fog.*")
    optimizer = tidr.Adam(parameters, 0.1)
    before = {path: parameter.numpy() for path, parameter in parameters.items()}
    parameters["fog.density"].set_grad(np.full((2, 2, 2), np.nan))
    with pytest.raises(GradientError, match=r"fog\.density"):
        optimizer.step()
    for path, parameter in parameters.items():
        np.testing.assert_array_equal(parameter.numpy(), before[path])
