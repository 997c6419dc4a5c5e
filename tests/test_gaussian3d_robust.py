"""Splat "gaussian3d": input that is odd, broken or refused."""

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import GradientError, SceneError, TidrError
from tidr.renderers.points import PointRenderer
from tidr.scene.gaussians import Gaussians

from .gaussian_scenes import CHANNELS, SETTINGS, cloud, everything, placed, view
from .gradients import tape_gradients, weighted


def odd_clouds() -> dict[str, Gaussians]:
    """Clouds that a renderer may stumble over."""
    rng = np.random.default_rng(0)
    means, colors = rng.normal(size=(20, 3)) * 0.4, rng.uniform(size=(20, 3))

    def changed(**options):
        made = Gaussians.from_colors(means, colors, 0.2, rng.normal(size=(20, 4)), 0.5, sh_degree=1)
        for name, value in options.items():
            parameter = getattr(made, name)
            parameter.set(np.broadcast_to(value, parameter.shape))
        return made

    return {
        "one": Gaussians.from_colors([[0, 0, 0]], [[1, 0, 0]], 0.3, opacities=0.9),
        "behind": changed(means=[[0, 0, 20]]),
        "at the eye": changed(means=[[0.64, 0.8, 3.04]]),
        "on one point": changed(means=[[0.1, 0, 0]]),
        "no size": changed(log_scales=-20.0),
        "no size at all": changed(log_scales=-80.0),
        "huge": changed(log_scales=20.0),
        "beyond numbers": changed(log_scales=90.0),
        "needles": changed(log_scales=[[8.0, -20.0, -20.0]]),
        "discs": changed(log_scales=[[0.0, 0.0, -60.0]]),
        "opaque": changed(opacity_logits=40.0),
        "clear": changed(opacity_logits=-40.0),
        "clearer": changed(opacity_logits=-400.0),
        "around the camera": Gaussians.from_colors(rng.normal(size=(200, 3)) * 4, rng.uniform(size=(200, 3)), 0.5),
        "long quaternions": changed(rotations=rng.normal(size=(20, 4)) * 1e4),
    }


@pytest.mark.row(74)
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("size", [(1, 1), (1, 33), (33, 1), (24, 20)], ids=str)
def test_odd_input_makes_a_picture(f32, size, name):
    """R22: the picture is defined and every gradient finite."""
    renderer = SETTINGS[name]
    for name, held in odd_clouds().items():
        scene = placed(held)
        for kind in ("perspective", "orthographic"):
            camera = view(kind, *size)
            arrays = everything(scene, camera)
            image = tidr.render(scene, camera, renderer)
            for channel in CHANNELS:
                found = image.channel(channel).numpy()
                assert np.isfinite(found).all(), (name, channel)
            assert image.alpha.numpy().min() >= -1e-6, name
            assert image.alpha.numpy().max() <= 1, name

            def loss(scene=scene, camera=camera):
                return weighted(tidr.render(scene, camera, renderer).rgb, 1.0)

            for array, gradient in zip(arrays, tape_gradients(loss, arrays), strict=True):
                assert np.isfinite(gradient).all(), (name, array.label)


def test_what_is_not_seen_leaves_the_background(f32):
    for name in ("behind", "clear", "clearer", "beyond numbers"):
        scene = placed(odd_clouds()[name])
        image = tidr.render(scene, view())
        np.testing.assert_allclose(image.rgb.numpy(), np.broadcast_to((0.2, 0.1, 0.4), (17, 19, 3)), rtol=1e-6)
        assert not image.alpha.numpy().any()
        assert not image.depth.numpy().any()


def test_an_opaque_wall_hides_all_behind(f32):
    scene = tidr.Scene(tidr.Film(8, 8, (1, 0, 0)))
    wall = Gaussians.from_colors([[0, 0, 0], [0, 0, -1]], [[0, 1, 0], [0, 0, 1]], np.exp(8), opacities=0.5)
    wall.opacity_logits.set(np.full((2, 1), 40.0))
    scene.add_node("wall", tidr.Node(wall))
    scene.add_camera("eye", tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=40, width=8, height=8))
    picture = tidr.render(scene, renderer=PointRenderer(transmittance_stop=0)).rgb.numpy()
    np.testing.assert_allclose(picture, np.broadcast_to((0.0001, 0.99, 0.0099), (8, 8, 3)), atol=1e-4)
    picture = tidr.render(scene, renderer=PointRenderer(transmittance_stop=0.001)).rgb.numpy()
    np.testing.assert_allclose(picture, np.broadcast_to((0.01, 0.99, 0), (8, 8, 3)), atol=1e-4)


def test_nan_is_seen(f32):
    """R17: a NaN that a kernel wrote makes the loss not finite; no gradient is computed."""
    for name in ("means", "log_scales", "rotations", "opacity_logits", "sh_dc", "sh_rest"):
        held = cloud(8, 20)
        scene, camera = placed(held), view()
        parameter = getattr(held, name)
        broken = parameter.value.to_numpy()
        broken[3] = np.nan
        parameter.value.from_numpy(broken)
        parameter.touch()
        black = Array.of(np.zeros((17, 19, 3)), needs_grad=False)
        with pytest.raises(GradientError, match="mse"):
            tape_gradients(lambda s=scene, c=camera, b=black: tidr.losses.mse(tidr.render(s, c).rgb, b), [parameter])


def test_setting_nan_is_refused_with_the_path(f32):
    scene = placed(cloud(9))
    for path in ("a.means", "a.log_scales", "a.rotations", "a.opacity_logits", "a.sh_dc", "a.sh_rest"):
        parameter = scene.parameters()[path]
        broken = parameter.numpy()
        broken.reshape(-1)[0] = np.nan
        with pytest.raises(TidrError, match=path):
            parameter.set(broken)


BAD = [
    {"splat": "guassian3d"}, {"alpha_skip": -0.1}, {"alpha_skip": np.nan}, {"alpha_max": 1.0},
    {"transmittance_stop": 0.9}, {"sigmas": 0}, {"dilation": -1.0}, {"dilation": np.inf},
]  # fmt: skip


@pytest.mark.parametrize("settings", BAD, ids=str)
def test_bad_settings(settings):
    with pytest.raises(SceneError, match=next(iter(settings))):
        PointRenderer(**settings)
