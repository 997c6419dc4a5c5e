"""Environment lights in scene files: what the keys mean, round trips, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.files.image import write_image
from tidr.files.scene_file import load_scene
from tidr.files.scene_write import write_scene
from tidr.fitting.settings import FitSettings, ParameterSettings
from tidr.fitting.views import load_views

from .scene_parts import message, write

SCENE = """
[film]
width = 8
height = 6
[cameras.front]
position = [0, 0.5, 2]
target = [0, 0, 0]
fov_y_degrees = 70
[lights.heaven]
type = "environment"
radiance = {}
rotation_degrees = 30
"""


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 4, (5, 9, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("value", "expected"), [("0.5", (0.5, 0.5, 0.5)), ("[1, 2, 3]", (1, 2, 3))], ids=["number", "rgb"]
)
def test_a_constant(tmp_path, f32, value, expected):
    scene = load_scene(write(tmp_path, SCENE.format(value)))
    assert isinstance(scene["heaven"], tidr.EnvironmentLight)
    assert np.array_equal(scene.parameters()["heaven.radiance"].numpy(), expected)
    assert float(scene.parameters()["heaven.rotation"].numpy()) == pytest.approx(np.pi / 6)
    assert np.allclose(tidr.render(scene).rgb.numpy(), expected)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".exr", ".png"])
def test_a_picture_of_any_kind(tmp_path, f32, suffix):
    """PNG is sRGB and ends at 1; the others are linear without bounds."""
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    wanted = picture() / 4 if suffix == ".png" else picture()
    write_image(tmp_path / f"sky{suffix}", wanted)
    scene = load_scene(write(tmp_path, SCENE.format(f'{{ texture = "sky{suffix}" }}')))
    found = scene["heaven"].radiance.numpy()
    assert np.allclose(found, wanted, atol=8e-3 if suffix == ".png" else 0)


def test_the_picture_stands_upright_in_a_z_up_file(tmp_path, f32):
    """Up is up and left is left whatever the file's up axis; ahead (-Z) is the file's +Y then."""
    write_image(tmp_path / "sky.npy", picture())
    text = SCENE.format('{ texture = "sky.npy" }')
    turned = text.replace("[0, 0.5, 2]", "[0, -2, 0.5]").replace("fov_y", "up = [0, 0, 1]\nfov_y")
    expected = tidr.render(load_scene(write(tmp_path, text))).rgb.numpy()
    found = tidr.render(load_scene(write(tmp_path, 'up = "z"\n' + turned))).rgb.numpy()
    assert expected.std() > 0.1
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("radiance", [(0.25, 0.5, 3.0), picture(1)], ids=["constant", "picture"])
def test_a_written_scene_is_the_same_scene(tmp_path, f32, radiance):
    scene = tidr.Scene(tidr.Film(8, 8))
    scene.add_light("heaven", tidr.EnvironmentLight(radiance, 1.25))
    scene.add_light("key", tidr.DirectionalLight((0, -1, 0), 2.0))
    scene.add_camera("front", tidr.Camera.look_at((0, 1, 2), (0, 0, 0), fov_y_degrees=60, width=8, height=8))
    write_scene(scene, tmp_path / "out.toml")
    again = load_scene(tmp_path / "out.toml")
    assert list(again.lights) == ["heaven", "key"]
    assert np.array_equal(again["heaven"].radiance.numpy(), scene["heaven"].radiance.numpy())
    assert np.allclose(again["heaven"].rotation.numpy(), 1.25, rtol=1e-6)
    assert np.allclose(tidr.render(again).rgb.numpy(), tidr.render(scene).rgb.numpy(), atol=1e-5)


@pytest.mark.parametrize(("background", "hidden"), [("film", False), ("random", True), ((0.0, 0.0, 0.0), True)])
def test_a_fit_over_a_colour_of_its_own_hides_it(tmp_path, f32, background, hidden):
    write_image(tmp_path / "photo.png", np.full((6, 8, 3), 0.5))
    settings = FitSettings(
        targets={"front": str(tmp_path / "photo.png")},
        parameters={"heaven.*": ParameterSettings(lr=0.1)},
        background=background,
    )
    views, _ = load_views(load_scene(write(tmp_path, SCENE.format("1"))), settings)
    assert views.hides_environment == hidden


def make_pictures(folder: Path) -> None:
    write_image(folder / "sky.npy", picture())
    np.save(folder / "negative.npy", picture() - 2)
    np.save(folder / "nan.npy", np.where(np.arange(135).reshape(5, 9, 3) == 40, np.nan, picture()))
    np.save(folder / "flat.npy", np.zeros((2, 3, 4, 5), np.float32))
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "sky.hdr").write_bytes(b"#?RADIANCE\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("-1", "lights.heaven.radiance: is -1, expected a number or RGB"),
        ("nan", "lights.heaven.radiance: is nan, expected a number or RGB"),
        ("[1, 2]", "lights.heaven.radiance: is [1, 2], expected a number or RGB"),
        ('"sky.npy"', "lights.heaven.radiance: is 'sky.npy', expected a number or RGB"),
        ("{ texture = 3 }", "lights.heaven.radiance.texture: is 3, expected a valid string"),
        ("{}", "lights.heaven.radiance.texture: is missing"),
        ('{ texture = "sky.npy", wrap = "clamp" }', "lights.heaven.radiance.wrap: unknown key"),
        ('{ texture = "none.npy" }', "lights.heaven.radiance.texture: file 'none.npy' is missing"),
        ('{ texture = "../sky.npy" }', "lights.heaven.radiance.texture: file name climbs out"),
        ('{ texture = "nan.npy" }', "pixel [1, 4]: channel 1 is nan"),
        ('{ texture = "negative.npy" }', "lights.heaven: radiance is -"),
        ('{ texture = "flat.npy" }', "picture has shape (2, 3, 4, 5)"),
        ('{ texture = "cut.png" }', "lights.heaven.radiance.texture: "),
        ('{ texture = "sky.hdr" }', "unknown kind of picture '.hdr'"),
        ("1\nrotation_degrees_ = 3", "did you mean 'rotation_degrees'?"),
    ],
)
def test_faults_name_their_key(tmp_path, f32, value, expected):
    make_pictures(tmp_path)
    assert expected in message(write(tmp_path, SCENE.format(value)))


def test_other_faults(tmp_path, f32):
    text = SCENE.format("1")
    for old, new, expected in (
        ("= 30", "= nan", "lights.heaven.rotation_degrees: is nan"),
        ("= 30", "= [0, 30, 0]", "lights.heaven.rotation_degrees: is [0, 30, 0]"),
        ("radiance = 1", "", "lights.heaven.radiance: is missing"),
        (
            "= 30",
            '= 30\n[lights.second]\ntype = "environment"\nradiance = 1',
            "lights.second: is the second environment",
        ),
    ):
        assert expected in message(write(tmp_path, text.replace(old, new)))


def test_the_picture_may_be_no_larger_than_the_limit(tmp_path, f32):
    write_image(tmp_path / "sky.npy", picture())
    path = write(tmp_path, SCENE.format('{ texture = "sky.npy" }'))
    with pytest.raises(tidr.FileError, match="more than 44 pixels"):
        load_scene(path, limits=tidr.Limits(pixels=44))
