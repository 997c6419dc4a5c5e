"""transforms.json: cameras, pictures, splits, and the two conventions of alpha."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tidr.errors import FileError
from tidr.files.cameras import Frame, looks_premultiplied, read_transforms, write_transforms
from tidr.files.image import linear_to_srgb, write_image
from tidr.files.view_sets import read_split

ASSETS = Path(__file__).parents[2] / "shared" / "assets"
POSE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]


def disc(width: int = 24, height: int = 16, color=(0.9, 0.5, 0.2)) -> np.ndarray:
    """A straight picture [H, W, 4] of a disc with a soft rim."""
    y, x = np.mgrid[:height, :width] + 0.5
    alpha = np.clip(6 - np.hypot(x - width / 2.1, y - height / 2.2), 0, 1)
    return np.concatenate([np.broadcast_to(color, (height, width, 3)) * (alpha > 0)[..., None], alpha[..., None]], 2)


def write(folder: Path, top: dict | None = None, frames: list[dict] | None = None, pictures=("a.png",)) -> Path:
    for name in pictures:
        write_image(folder / name, disc())
    listed = [{"file_path": "a", "transform_matrix": POSE, **extra} for extra in (frames or [{}])]
    path = folder / "transforms.json"
    path.write_text(json.dumps({"camera_angle_x": 0.8, **(top or {}), "frames": listed}))
    return path


def test_size_and_intrinsics_have_their_defaults(tmp_path):
    frame = read_transforms(write(tmp_path)).frames[0]
    assert (frame.width, frame.height) == (24, 16)
    assert (frame.cx, frame.cy) == (12, 8)
    assert np.isclose(frame.fx, 12 / np.tan(0.4))
    assert frame.fy == frame.fx
    assert frame.path == (tmp_path / "a.png").resolve()
    assert np.array_equal(frame.camera_to_world, POSE)
    assert read_transforms(tmp_path).frames[0].name == "a"


def test_frames_override_the_file(tmp_path):
    top = {"fl_x": 30, "fl_y": 40.0, "cx": 1, "cy": 2, "w": 24, "h": 16, "k1": 0.0, "camera_model": "OPENCV"}
    first, second = read_transforms(write(tmp_path, top, [{}, {"fl_x": 50, "cy": 3, "split": "test"}])).frames
    assert (first.fx, first.fy, first.cx, first.cy, first.split) == (30, 40, 1, 2, None)
    assert (second.fx, second.fy, second.cx, second.cy, second.split) == (50, 40, 1, 3, "test")
    assert np.isclose(read_transforms(write(tmp_path, {"camera_angle_y": 0.5})).frames[0].fy, 8 / np.tan(0.25))


def test_names_lack_or_have_their_suffix(tmp_path):
    for name, stored in (("./b", "b.jpg"), ("./c.png", "c.png"), ("sub/d", "sub/d.png"), ("e.f", "e.f.png")):
        (tmp_path / "sub").mkdir(exist_ok=True)
        write_image(tmp_path / stored, disc()[..., :3])
        assert read_transforms(write(tmp_path, {}, [{"file_path": name}])).frames[0].path.name == Path(stored).name


def test_missing_pictures_are_all_named(tmp_path):
    path = write(tmp_path, {}, [{"file_path": f"./r_{index}"} for index in range(8)])
    with pytest.raises(FileError, match=r"r_0, \./r_1, \./r_2, \./r_3, \./r_4 and 3 more"):
        read_transforms(path)
    with pytest.raises(FileError, match=r"frames\[0\]\.w: w and h are missing"):
        read_transforms(path, pictures=False)
    path = write(tmp_path, {"w": 24, "h": 16}, [{"file_path": "./none"}])
    frame = read_transforms(path, pictures=False).frames[0]
    assert frame.path is None
    with pytest.raises(FileError, match="no picture"):
        frame.load()


@pytest.mark.parametrize("premultiplied", [False, True])
@pytest.mark.parametrize("say", ["key", "note", "nothing"])
def test_colour_is_straight_after_loading(tmp_path, premultiplied, say):
    straight = disc()
    stored = straight.copy()
    if premultiplied:
        stored[..., :3] *= stored[..., 3:]
    top = {"key": {"premultiplied": premultiplied}, "nothing": {}, "note": {}}[say]
    top |= {"note": "colour premultiplied by alpha"} if say == "note" and premultiplied else {}
    path = write(tmp_path, top)
    write_image(tmp_path / "a.png", stored)
    rgb, alpha = read_transforms(path).frames[0].load()
    assert rgb.shape == (16, 24, 3)
    assert alpha.shape == (16, 24, 1)
    assert np.abs(alpha - straight[..., 3:]).max() <= 0.5 / 255 + 1e-6
    solid = alpha[..., 0] > 0.2
    assert np.abs(rgb - straight[..., :3])[solid].max() < 0.03
    assert np.isfinite(rgb).all()


def test_premultiplied_colour_is_recognised_by_its_rim(tmp_path):
    pose = np.array(POSE, float)
    for color in ((0.9, 0.5, 0.2), (0.05, 0.05, 0.05), (1, 1, 1)):
        for premultiplied in (False, True):
            picture = disc(color=color)
            picture[..., :3] *= picture[..., 3:] if premultiplied else 1
            write_image(tmp_path / "a.npy", picture)
            frame = Frame("a", tmp_path / "a.npy", pose, 9, 9, 12, 8, 24, 16)
            assert looks_premultiplied([frame]) == premultiplied
    write_image(tmp_path / "a.npy", np.ones((16, 24, 4)))
    assert not looks_premultiplied([frame])
    write_image(tmp_path / "a.npy", np.ones((16, 24, 3)))
    assert not looks_premultiplied([frame])


def test_pictures_without_alpha_and_of_another_size(tmp_path):
    path = write(tmp_path, {"w": 24, "h": 16})
    write_image(tmp_path / "a.png", disc()[..., :3])
    rgb, alpha = read_transforms(path).frames[0].load()
    assert alpha is None
    assert rgb.shape == (16, 24, 3)
    write_image(tmp_path / "a.png", disc(12, 8))
    with pytest.raises(FileError, match="is 12 x 8, its camera 24 x 16"):
        read_transforms(path).frames[0].load()


def test_other_lenses_are_refused(tmp_path):
    for extra, message in (
        ({"k4": 0.1}, r"frames\[0\]\.k4: lens distortion 0\.1"),
        ({"camera_model": "FULL_OPENCV", "s1": 1e-9}, "lens distortion"),
        ({"k1": 1e9}, r"frames\[0\]\.k1"),
        ({"camera_model": "OPENCV_FISHEYE"}, "expected a pinhole"),
        ({"is_fisheye": True}, "expected a pinhole"),
    ):
        with pytest.raises(FileError, match=message):
            read_transforms(write(tmp_path, extra))


def test_poses_are_rotations(tmp_path):
    slightly_off = (np.array(POSE) + np.eye(4) * [1e-4, 1e-4, 1e-4, 0]).tolist()
    assert read_transforms(write(tmp_path, {}, [{"transform_matrix": slightly_off}]))
    assert read_transforms(write(tmp_path, {}, [{"transform_matrix": POSE[:3]}])).frames[0].camera_to_world[3, 3] == 1
    for broken, message in (
        ([[2, 0, 0, 0], *POSE[1:]], "no rotation"),
        ([[-1, 0, 0, 0], *POSE[1:]], "mirrors"),
        ([*POSE[:3], [0, 0, 0, 2]], "bottom row"),
        (POSE[:2], "expected 4 rows"),
        ([["1", 0, 0, 0], *POSE[1:]], r"transform_matrix\[0\]\[0\]"),
    ):
        with pytest.raises(FileError, match=message):
            read_transforms(write(tmp_path, {}, [{"transform_matrix": broken}]))


def test_splits(tmp_path):
    frames = [{"split": "train"}, {"split": "test"}, {}, {"split": "val"}]
    train, test = read_split(write(tmp_path, {}, frames))
    assert (len(train), len(test)) == (2, 2)
    train, test = read_split(write(tmp_path, {}, [{}] * 9), every=4)
    assert (len(train), len(test)) == (6, 3)
    train, test = read_split(tmp_path)
    assert (len(train), len(test)) == (9, 0)
    write_image(tmp_path / "b.png", disc())
    listed = write(tmp_path, {"train_filenames": ["a"], "test_filenames": ["b.png"]}, [{}, {"file_path": "b.png"}])
    train, test = read_split(listed)
    assert [frame.name for frame in (*train.frames, *test.frames)] == ["a", "b.png"]
    with pytest.raises(FileError, match="every view out"):
        read_split(write(tmp_path, {}, [{"split": "test"}]))
    for name, count in (("train", 3), ("test", 2)):
        write(tmp_path, {}, [{}] * count).rename(tmp_path / f"transforms_{name}.json")
    for path in (tmp_path, tmp_path / "transforms_train.json"):
        train, test = read_split(path)
        assert (len(train), len(test)) == (3, 2)


def test_round_trip(tmp_path):
    frames = list(read_transforms(write(tmp_path, {}, [{"split": "train"}, {"fl_x": 50, "split": "test"}])).frames)
    angle = 0.3
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    frames[1] = replace(frames[1], camera_to_world=turned)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileError, match="outside"):
        write_transforms(tmp_path / "out" / "transforms.json", frames)
    write_transforms(tmp_path / "transforms.json", frames)
    back = read_transforms(tmp_path).frames
    for one, other in zip(frames, back, strict=True):
        assert np.array_equal(one.camera_to_world, other.camera_to_world)
        names = ("path", "fx", "fy", "cx", "cy", "width", "height", "split", "premultiplied")
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    mixed = [frames[0], replace(frames[1], premultiplied=True)]
    with pytest.raises(FileError, match="some frames are premultiplied"):
        write_transforms(tmp_path / "transforms.json", mixed)
    write_transforms(tmp_path / "transforms.json", [replace(frame, premultiplied=True) for frame in frames])
    assert read_transforms(tmp_path).frames[0].premultiplied


@pytest.mark.skipif(not ASSETS.is_dir(), reason="../shared/assets is not here")
@pytest.mark.parametrize(("name", "count"), [("views_spot", 24), ("views_fish", 12)])
def test_trial_views_are_premultiplied(name, count):
    views = read_transforms(ASSETS / name)
    assert len(views) == count
    assert all(frame.premultiplied for frame in views.frames)
    assert looks_premultiplied([replace(frame, premultiplied=False) for frame in views.frames])
    with np.load(ASSETS / name / "linear_rgba_f16.npz") as stored:
        truth = stored["rgba"].astype(np.float64)
    for frame, linear in zip(views.frames, truth, strict=True):
        rgb, alpha = frame.load()
        assert np.abs(alpha[..., 0] - np.clip(linear[..., 3], 0, 1)).max() < 0.6 / 255
        encoded = linear_to_srgb(np.clip(rgb * alpha, 0, 1)) - linear_to_srgb(np.clip(linear[..., :3], 0, 1))
        assert np.abs(encoded).max() < 0.6 / 255
