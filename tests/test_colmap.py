"""COLMAP's models and LLFF's poses: the same cameras as transforms.json, splits, sizes, points, lens distortion."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.errors import FileError
from tidr.files.cameras import read_transforms
from tidr.files.colmap import MODELS, read_colmap, read_points
from tidr.files.image import write_image
from tidr.files.scene_file import load_scene
from tidr.files.view_sets import find_views, read_split, read_views
from tidr.fitting.settings import FitSettings, ParameterSettings
from tidr.fitting.views import load_views
from tidr.scene.transform import quaternion_from_rotation

from .malformed.data_sets import MODEL_NUMBERS, model_binary, model_text
from .scene_parts import message, write

WIDTH, HEIGHT, FOCAL = 24, 16, 30.0
NAMES = [f"photo {number}.png" for number in range(6)]


def cameras() -> list[tidr.Camera]:
    """Six cameras that look from all sides, their up directions leaning."""
    rng = np.random.default_rng(3)
    made = []
    for position in rng.normal(size=(6, 3)):
        position = 4 * position / np.linalg.norm(position)
        lens = {"width": WIDTH, "height": HEIGHT, "fov_y_degrees": 2 * np.degrees(np.arctan(HEIGHT / 2 / FOCAL))}
        made.append(tidr.Camera.look_at(position, rng.normal(size=3) / 4, rng.normal(size=3), **lens))
    return made


def marker() -> tidr.Scene:
    """Three small triangles of three colours that no mirror image resembles."""
    scene = tidr.Scene(tidr.Film(WIDTH, HEIGHT))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    for name, place, colour in (
        ("x", (0.8, 0, 0), (1, 0, 0)),
        ("y", (0, 0.6, 0), (0, 1, 0)),
        ("z", (0, 0, 0.4), (0, 0, 1)),
    ):
        scene.add_material(f"paint_{name}", tidr.Material("lambert", albedo=colour))
        points, faces = tidr.icosphere(0)
        scene.add_node(name, tidr.Node(tidr.Mesh(points * 0.3, faces), (f"paint_{name}",), translation=place))
    return scene


def make_pictures(folder: Path, scale: int = 1) -> None:
    folder.mkdir(parents=True)
    drawn = tidr.render(marker(), cameras(), width=WIDTH // scale, height=HEIGHT // scale).rgb.numpy()
    for name, picture in zip(NAMES, drawn, strict=True):
        write_image(folder / name, picture)


def world_to_camera(camera: tidr.Camera) -> np.ndarray:
    """[4, 4] in OpenCV axes, worked out from where the camera stands and looks."""
    right, up, back = camera.camera_to_world[:3, :3].T
    rows = np.stack([right, -up, -back])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rows, -rows @ camera.position.numpy()
    return matrix


def write_nerf(folder: Path) -> None:
    make_pictures(folder / "images")
    frames = [
        {"file_path": f"./images/{Path(name).stem}", "transform_matrix": camera.camera_to_world.tolist()}
        for name, camera in zip(NAMES, cameras(), strict=True)
    ]
    angle = 2 * np.arctan(WIDTH / 2 / FOCAL)
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))


def write_llff(folder: Path, scale: int = 1) -> None:
    make_pictures(folder / ("images" if scale == 1 else f"images_{scale}"), scale)
    rows = []
    for camera in cameras():
        right, up, back = camera.camera_to_world[:3, :3].T
        columns = np.stack([-up, right, back, camera.position.numpy(), [HEIGHT, WIDTH, FOCAL]], 1)
        rows.append([*columns.ravel(), 1.0, 9.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))


def write_colmap(folder: Path, binary: bool, below: str = "sparse/0", scale: int = 1) -> Path:
    make_pictures(folder / ("images" if scale == 1 else f"images_{scale}"), scale)
    model = folder / below
    model.mkdir(parents=True, exist_ok=True)
    order = [4, 1, 0, 5, 3, 2]
    poses = [world_to_camera(camera) for camera in cameras()]
    numbers = [[*quaternion_from_rotation(pose[:3, :3]), *pose[:3, 3]] for pose in poses]
    if binary:
        lens = struct.pack("<QiiQQ4d", 1, 9, 1, WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
        shots = struct.pack("<Q", len(order))
        for index in order:
            shots += struct.pack("<I7dI", index + 3, *numbers[index], 9) + NAMES[index].encode() + b"\0"
            shots += struct.pack("<Q", index) + struct.pack("<ddq", 1, 2, -1) * index
        (model / "cameras.bin").write_bytes(lens)
        (model / "images.bin").write_bytes(shots)
        (model / "points3D.bin").write_bytes(model_binary()["points3D.bin"])
        return model / "cameras.bin"
    (model / "cameras.txt").write_text(
        f"# a comment\n9 PINHOLE {WIDTH} {HEIGHT} {FOCAL} {FOCAL} {WIDTH / 2} {HEIGHT / 2}\n"
    )
    lines = ["# two lines per image"]
    for index in order:
        text = " ".join(repr(float(number)) for number in numbers[index])
        lines += [f"{index + 3} {text} 9 {NAMES[index]}", "1.5 2.5 -1 " * index]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    (model / "points3D.txt").write_bytes(model_text()["points3D.txt"])
    return model / "cameras.txt"


WRITERS = {
    "nerf": write_nerf,
    "llff": write_llff,
    "colmap text": lambda folder: write_colmap(folder, False),
    "colmap binary": lambda folder: write_colmap(folder, True),
}


@pytest.mark.row(162)
@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_camera_in_every_format(kind, f64, tmp_path):
    WRITERS[kind](tmp_path)
    frames = read_views(tmp_path).frames
    assert [Path(frame.name).stem for frame in frames] == [Path(name).stem for name in NAMES]
    for frame, camera in zip(frames, cameras(), strict=True):
        found = frame.camera()
        np.testing.assert_allclose(found.camera_to_world, camera.camera_to_world, atol=1e-12)
        np.testing.assert_allclose(found.focal.numpy(), camera.focal.numpy(), rtol=1e-12)
        np.testing.assert_allclose(found.principal_point.numpy(), (WIDTH / 2, HEIGHT / 2))
        assert (found.width, found.height) == (WIDTH, HEIGHT)
        drawn = tidr.render(marker(), found).rgb.numpy()
        np.testing.assert_allclose(np.clip(drawn, 0, 1), frame.load()[0], atol=0.01)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_stands_where_transforms_may(kind, f32, tmp_path):
    home = tmp_path / "home"
    WRITERS[kind](home / "set")
    scene = load_scene(home / "set")
    assert len(scene.cameras) == 6
    path = write(home, '[cameras.rig]\nfrom = "set"\n[nodes.it]\nvolume = { resolution = [2, 2, 2], density = 1 }\n'
                 '[fit]\nviews = "set"\nhold_out = 3\nparameters = { "it.density" = { lr = 1 } }\n')  # fmt: skip
    scene = load_scene(path)
    assert len(scene.cameras) == 6
    assert scene.fit is not None
    fitted, held = load_views(scene, scene.fit)
    assert held is not None
    assert (len(fitted), len(held)) == (4, 2)
    assert fitted.size == (HEIGHT, WIDTH)
    settings = FitSettings(views=str(find_views(home / "set")), parameters={"a": ParameterSettings(lr=1)})
    assert len(load_views(scene, settings)[0]) == 6


@pytest.mark.parametrize("below", ["", "sparse", "sparse/0", "colmap/sparse/0"])
@pytest.mark.parametrize("binary", [False, True])
def test_models_are_found_where_programs_put_them(f32, tmp_path, below, binary):
    path = write_colmap(tmp_path, binary, below)
    assert find_views(tmp_path) == path
    assert len(read_colmap(path)) == 6


def test_smaller_pictures_scale_the_camera(f64, tmp_path):
    for kind, writer in (
        ("colmap", lambda folder: write_colmap(folder, True, scale=4)),
        ("llff", lambda f: write_llff(f, 4)),
    ):
        writer(tmp_path / kind)
        frame = read_views(tmp_path / kind).frames[2]
        assert (frame.width, frame.height) == (WIDTH // 4, HEIGHT // 4)
        np.testing.assert_allclose((frame.fx, frame.fy, frame.cx, frame.cy), (FOCAL / 4, FOCAL / 4, 3, 2), rtol=1e-12)
    write_image(tmp_path / "colmap" / "images_4" / NAMES[0], np.zeros((9, 3, 3)))
    with pytest.raises(FileError, match=r"photo 0\.png: is 3 x 9, its camera 24 x 16"):
        read_views(tmp_path / "colmap")


def test_points(tmp_path):
    for files in (model_text(), model_binary()):
        name = next(name for name in files if name.startswith("points"))
        (tmp_path / name).write_bytes(files[name])
        points, colours = read_points(tmp_path / name)
        assert points.tolist() == [[0.5, -0.5, 1.5]]
        assert colours.dtype == np.uint8
        assert colours.tolist() == [[255, 128, 0]]
    (tmp_path / "points3D.txt").write_text("# none\n")
    assert read_points(tmp_path / "points3D.txt")[0].shape == (0, 3)


def lens_of(folder: Path, model: str, parameters, binary: bool, what: str = ""):
    """What a model with this lens reads as."""
    if binary:
        files = model_binary(MODEL_NUMBERS[model], numbers=parameters)
    else:
        files = model_text(f"1 {model} 2 2 {' '.join(map(str, parameters))}")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    frame = read_colmap(folder / next(iter(files)), pictures=False).frames[0]
    return frame.distortion if what else (frame.fx, frame.fy, frame.cx, frame.cy)


@pytest.mark.parametrize("binary", [False, True])
def test_lenses(tmp_path, binary):
    assert lens_of(tmp_path, "SIMPLE_PINHOLE", (3.0, 1.0, 0.5), binary) == (3, 3, 1, 0.5)
    assert lens_of(tmp_path, "PINHOLE", (3.0, 4.0, 1.0, 0.5), binary) == (3, 4, 1, 0.5)
    assert lens_of(tmp_path, "SIMPLE_RADIAL", (3.0, 1.0, 0.5, 0.0), binary) == (3, 3, 1, 0.5)
    assert lens_of(tmp_path, "RADIAL", (3.0, 1.0, 0.5, 0.0, 0.0), binary) == (3, 3, 1, 0.5)
    assert lens_of(tmp_path, "OPENCV", (3.0, 4.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0), binary) == (3, 4, 1, 0.5)
    for model, parameters, distortion in (
        ("SIMPLE_RADIAL", (3.0, 1.0, 0.5, 0.1), (0.1,)),
        ("RADIAL", (3.0, 1.0, 0.5, 0.0, 1e-9), (0, 1e-9)),
        ("OPENCV", (3.0, 4.0, 1.0, 0.5, 0.0, 0.0, 0.0, -0.2), (0, 0, 0, -0.2)),
    ):
        assert lens_of(tmp_path, model, parameters, binary, "distortion") == distortion
    with pytest.raises(FileError, match=r"camera 1: has the model OPENCV_FISHEYE \(undistort"):
        lens_of(tmp_path, "OPENCV_FISHEYE", (3.0, 4.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0), binary)
    assert list(MODELS)[:6] == list(MODEL_NUMBERS)


def test_missing_pictures_are_all_named(f32, tmp_path):
    path = write_colmap(tmp_path, True)
    for name in NAMES[1:]:
        (tmp_path / "images" / name).unlink()
    with pytest.raises(FileError, match=r"missing: photo 1\.png, photo 2\.png.*put them into .*images"):
        read_colmap(path)
    assert len(read_colmap(path, pictures=False)) == 6
    write_llff(tmp_path / "llff")
    (tmp_path / "llff" / "images" / NAMES[0]).unlink()
    with pytest.raises(FileError, match="6 rows for 5 pictures"):
        read_views(tmp_path / "llff")
    assert len(read_views(tmp_path / "llff", pictures=False)) == 6


def test_llff_rows_are_checked(f32, tmp_path):
    for table, expected in (
        (np.zeros((3, 16)), r"shape \(3, 16\)"),
        (np.zeros((0, 17)), r"shape \(0, 17\)"),
        (np.full((2, 17), np.nan), "row 0"),
        (np.zeros((2, 17)), "row 0"),
        (np.zeros((2, 17), np.int64), "expected"),
    ):
        np.save(tmp_path / "poses_bounds.npy", table)
        with pytest.raises(FileError, match=expected):
            read_views(tmp_path, pictures=False)


def test_nothing_outside_the_scene_is_named(f32, tmp_path):
    outer, scene = tmp_path / "outer", tmp_path / "outer" / "sparse" / "0"
    write_colmap(outer, False)
    assert "lie outside of the scene's folder" in message(write(scene, '[cameras.rig]\nfrom = "cameras.txt"\n'))
    assert load_scene(write(outer, '[cameras.rig]\nfrom = "sparse/0/cameras.txt"\n')).cameras
    (outer / "images").rename(tmp_path / "elsewhere")
    (outer / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="leads out of its folder"):
        read_views(outer)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"give a folder with transforms\.json, a COLMAP model"):
        load_scene(tmp_path / "empty")


def test_colmap_views_split_by_count(f32, tmp_path):
    write_colmap(tmp_path, True)
    train, test = read_split(tmp_path, every=2)
    assert [frame.name for frame in test.frames] == NAMES[::2]
    assert [frame.name for frame in train.frames] == NAMES[1::2]


def test_a_transforms_file_wins(f32, tmp_path):
    write_nerf(tmp_path)
    (tmp_path / "images").rename(tmp_path / "kept")
    write_colmap(tmp_path, True)
    assert find_views(tmp_path) == tmp_path / "transforms.json"
    assert len(read_transforms(tmp_path)) == 6
