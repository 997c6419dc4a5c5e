"""Scene files: what they may hold, how their faults are told, and that nothing malformed or hostile gets through."""

from __future__ import annotations

import os
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tidr
from tidr.errors import FileError, TidrError
from tidr.files.guard import Limits
from tidr.files.scene_file import apply_overrides, bundled, load_scene
from tidr.files.scene_write import write_scene

from .everything import everything

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"
TRANSFORMS = """{"camera_angle_x": 0.7, "w": 8, "h": 6, "frames": [
 {"file_path": "a", "transform_matrix": [[1,0,0,0.5],[0,1,0,0],[0,0,1,4],[0,0,0,1]]},
 {"file_path": "b", "transform_matrix": [[1,0,0,0],[0,1,0,0.25],[0,0,1,4],[0,0,0,1]]}]}"""
FULL = """
up = "y"
description = "all keys"
[film]
width = 16
height = 12
background = [0.1, 0.2, 0.3]
[cameras.front]
type = "perspective"
position = [0, 0, 4]
target = [0, 0, 0]
up = [0, 1, 0]
fov_y_degrees = 40
near = 0.1
far = 100
[cameras.flat]
type = "orthographic"
camera_to_world = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4]]
height = 3.0
resolution = [10, 20]
[cameras.rig]
from = "transforms.json"
[cameras.raw]
position = [0, 0, 4]
target = [0, 0, 0]
focal = [20, 21]
principal_point = [7, 6]
[materials.paint]
type = "lambert"
albedo = { texture = "paint.png", wrap = "clamp", filter = "trilinear" }
[materials.metal]
type = "metallic_roughness"
albedo = [0.5, 0.4, 0.3]
roughness = { texture = "paint.png" }
metallic = 0.5
[lights.key]
type = "directional"
direction = [-0.3, -0.5, -1.0]
irradiance = [2, 2, 2]
[lights.bulb]
type = "point"
position = [1, 1, 1]
intensity = 3.0
[lights.sky]
type = "ambient"
radiance = 0.5
[nodes.table]
translation = [0, 1, 0]
[nodes.duck]
mesh = "duck.obj"
material = "paint"
parent = "table"
translation = [1, 0, 0]
rotation_degrees = [0, 90, 0]
scale = 2.0
shading = "flat"
[nodes.twin]
instance_of = "duck"
material = ["metal"]
quaternion = [2, 0, 0, 0]
scale = [1, 2, 3]
[fit]
views = "transforms.json"
start = { duck = "sphere", twin = { shape = "sphere", resolution = 8, centre = [0, 0, 0] } }
parameters = { "duck.vertices" = { lr = 1e-2, optimizer = "large_steps" }, "paint.albedo" = { lr = 0.02, clamp = [0, 1] } }
losses = { mse = 1.0, silhouette = 0.5 }
renderer = { type = "raster", edges = "antialias" }
steps = 5
views_per_step = 2
seed = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a scene's parts, and something secret beside the folder."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "duck.obj").write_text(TRIANGLE)
    (home / "transforms.json").write_text(TRANSFORMS)
    for name in ("a.png", "b.png", "paint.png"):
        from tidr.files.image import write_image

        write_image(home / name, np.full((6, 8, 3), 0.5))
    return home


def write(folder: Path, text: str | bytes, name: str = "scene.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(path: Path, overrides=()) -> str:
    with pytest.raises(FileError) as caught:
        load_scene(path, overrides)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------- what is read


def test_every_key_is_read(folder, f32):
    scene = load_scene(write(folder, FULL))
    assert (scene.film.width, scene.film.height, scene.film.background) == (16, 12, (0.1, 0.2, 0.3))
    assert list(scene.cameras) == ["front", "flat", "rig_0", "rig_1", "raw"]
    assert list(scene.nodes) == ["table", "duck", "twin"]
    assert scene.nodes["twin"].geometry is scene.nodes["duck"].geometry
    np.testing.assert_allclose(scene["front"].focal.numpy(), 6 / np.tan(np.radians(20)), rtol=1e-6)
    np.testing.assert_allclose(scene["flat"].focal.numpy(), 20 / 3, rtol=1e-6)
    assert (scene["flat"].kind, scene["flat"].width, scene["flat"].height) == ("orthographic", 10, 20)
    np.testing.assert_allclose(scene["rig_1"].position.numpy(), [0, 0.25, 4])
    np.testing.assert_allclose(scene["rig_1"].focal.numpy(), 4 / np.tan(0.35), rtol=1e-6)
    np.testing.assert_allclose(scene["raw"].focal.numpy(), [20, 21])
    np.testing.assert_allclose(scene["duck"].rotation.numpy(), [0.5**0.5, 0, 0.5**0.5, 0], atol=1e-6)
    np.testing.assert_allclose(scene["twin"].rotation.numpy(), [1, 0, 0, 0])
    np.testing.assert_allclose(scene["bulb"].intensity.numpy(), [3, 3, 3])
    assert scene["duck"].mesh.shading == "flat"
    assert scene.fit.steps == 5
    assert scene.fit.views == str(folder / "transforms.json")
    assert scene.fit.parameters["paint.albedo"].clamp == (0, 1)
    assert scene.fit.start["twin"].centre == (0, 0, 0)
    assert scene.source == folder / "scene.toml"
    assert np.isfinite(tidr.render(scene, camera="front").rgb.numpy()).all()


def test_textures_are_decoded_by_their_use(folder, f32):
    scene = load_scene(write(folder, FULL))
    # paint.png holds linear 0.5, which is 188 in sRGB: a colour decodes to 0.5, plain data stays 188 / 255.
    np.testing.assert_allclose(scene.parameters()["paint.albedo"].numpy(), 0.5, atol=4e-3)
    assert scene.parameters()["metal.roughness"].shape == (6, 8, 1)
    np.testing.assert_allclose(scene.parameters()["metal.roughness"].numpy(), 188 / 255, atol=1e-6)


def test_bundled_scenes_load_and_say_what_they_are(f32):
    from tidr.files.scene_file import describe

    assert {"cube", "cornell", "bracket", "duck"} <= set(bundled())
    for name, path in bundled().items():
        assert load_scene(name).nodes
        assert describe(path)


def test_unknown_scene_names_the_nearest(f32):
    with pytest.raises(FileError, match="did you mean 'duck'"):
        load_scene("duk")
    with pytest.raises(FileError, match="does not exist"):
        load_scene("no/such.toml")


def test_mesh_file_becomes_a_lit_and_framed_scene(folder, f32):
    (folder / "two.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\nmap_Kd paint.png\n")
    (folder / "two.obj").write_text(
        "mtllib two.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nvt 0 0\n"
        "usemtl blue\nf 1/1 2/1 3/1\nusemtl red\nf 2/1 4/1 3/1\n"
    )
    scene = load_scene(folder / "two.obj")
    assert scene["two"].materials == ("two_blue", "two_red")
    np.testing.assert_allclose(scene["two_red"].sources["albedo"].numpy(), [1, 0, 0])
    assert scene.parameters()["two_blue.albedo"].shape == (6, 8, 3)
    alpha = tidr.render(scene, renderer=tidr.Rasterizer(channels=("alpha",)), width=64, height=64).alpha.numpy()
    assert 0.05 < alpha.mean() < 0.6
    border = [alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]
    assert max(float(edge.max()) for edge in border) == 0


def test_vertex_colours_without_a_material_are_shown(folder, f32):
    (folder / "painted.obj").write_text("v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nf 1 2 3\n")
    scene = load_scene(folder / "painted.obj")
    assert scene["painted"].materials == ("painted_colors",)


def test_transforms_and_their_folder_give_cameras(folder, f32):
    for path in (folder, folder / "transforms.json"):
        scene = load_scene(path)
        assert list(scene.cameras) == ["view_0", "view_1"]
        assert not scene.nodes


def test_z_up_is_turned_once(folder, f32):
    """The same scene said in Z-up and in Y-up draws the same picture."""
    y_up = """
[film]
width = 24
height = 24
[cameras.c]
position = [1, 0.5, 4]
target = [0, 0.2, 0]
fov_y_degrees = 40
[materials.m]
type = "lambert"
[lights.sun]
type = "directional"
direction = [-0.1, -0.4, -1]
irradiance = 2
[lights.bulb]
type = "point"
position = [1, 2, 3]
intensity = 4
[nodes.top]
translation = [0.1, 0.2, 0.3]
rotation_degrees = [90, 0, 0]
[nodes.duck]
mesh = "duck.obj"
material = "m"
parent = "top"
rotation_degrees = [-90, 10, 0]
"""
    # y-up (x, y, z) is z-up (x, -z, y); the root node turns by 90 degrees more about x.
    z_up = y_up.replace("position = [1, 0.5, 4]", "position = [1, -4, 0.5]").replace("[0, 0.2, 0]", "[0, 0, 0.2]")
    z_up = z_up.replace("[-0.1, -0.4, -1]", "[-0.1, 1, -0.4]").replace("[1, 2, 3]", "[1, -3, 2]")
    z_up = z_up.replace("[0.1, 0.2, 0.3]", "[0.1, -0.3, 0.2]").replace("[90, 0, 0]", "[180, 0, 0]")
    z_up = z_up.replace("fov_y", "up = [0, 0, 1]\nfov_y")
    expected = tidr.render(load_scene(write(folder, y_up))).rgb.numpy()
    found = tidr.render(load_scene(write(folder, 'up = "z"\n' + z_up))).rgb.numpy()
    assert expected.max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_byte_order_mark_and_windows_line_ends(folder, f32):
    plain = load_scene(write(folder, FULL))
    other = load_scene(write(folder, b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode()))
    assert list(plain.parameters()) == list(other.parameters())


# ------------------------------------------------------------------------------------------------------- overrides


def test_overrides_are_toml_values_or_bare_text(folder, f32):
    overrides = [
        "film.width=20",
        "lights.key.irradiance=[1, 2, 3]",
        "up=y",
        'fit.parameters."paint.albedo".lr=0.5',
        'nodes.extra={translation=[1,1,1], parent="duck"}',
        "fit.losses.mse=0.25",
    ]
    scene = load_scene(write(folder, FULL), overrides)
    assert scene.film.width == 20
    np.testing.assert_allclose(scene["key"].irradiance.numpy(), [1, 2, 3])
    assert scene.fit.parameters["paint.albedo"].lr == 0.5
    assert scene.fit.losses["mse"] == 0.25
    assert scene["extra"].parent == "duck"


def test_override_paths_are_the_users_own(folder, tmp_path, monkeypatch, f32):
    """Names on the command line are relative to the working folder and may point anywhere; those in the file may not."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "transforms.json").write_text(TRANSFORMS)
    monkeypatch.chdir(elsewhere)
    path = write(folder, FULL)
    assert load_scene(path, ["fit.views=transforms.json"]).fit.views == str(elsewhere / "transforms.json")
    assert load_scene(path, ["fit.views=."]).fit.views == str(elsewhere)
    assert load_scene(path, [f"fit.views={elsewhere}/../elsewhere/transforms.json"]).fit.views.startswith(
        str(elsewhere)
    )
    assert "does not exist" in message(path, ["fit.views=missing.json"])
    assert "climbs out" in message(write(folder, FULL.replace('views = "', 'views = "../elsewhere/'), "bad.toml"))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("film.widht=3", "film.widht: unknown key, did you mean 'width'?"),
        ("film.width", "has no ="),
        ("film.width=wide", "film.width: is 'wide', expected a whole number"),
        ("film.width.deep=3", "'width' is no table"),
        ("=3", "no TOML key"),
        ("a b=3", "no TOML key"),
        ("." * 50 + "=3", "no TOML key"),
        ("a." * 50 + "b=3", "too long"),
        ("fit.renderer.edges=blurry", "fit.renderer"),
        ("fit.losses.mze=1", "did you mean 'mse'?"),
        ("nodes.duck.mesh=/dev/zero", "no regular file"),
        ("film.width=1\nheight=2", "film.width"),
    ],
)
def test_bad_overrides_are_refused(folder, override, expected, f32):
    assert expected in message(write(folder, FULL), [override])


def test_overrides_cannot_smuggle_in_keys():
    raw: dict = {}
    apply_overrides(raw, ["a=1\nb=2"])
    assert raw == {"a": "1\nb=2"}


# ---------------------------------------------------------------------------------------------------------- faults


def test_all_faults_at_once_each_with_its_key_and_the_nearest(folder):
    text = (
        FULL.replace("irradiance", "irradance")
        .replace("width = 16", "widht = 16")
        .replace("metallic = 0.5", "metalic = 1")
    )
    text = text.replace('optimizer = "large_steps"', 'optimiser = "adam"').replace("scale = 2.0", 'scale = "big"')
    text = text.replace('material = "paint"', 'material = "pain"').replace('type = "point"', 'type = "pont"')
    first = message(write(folder, text))
    for line in (
        "lights.key.irradance: unknown key, did you mean 'irradiance'?",
        "lights.key.irradiance: is missing",
        "film.widht: unknown key, did you mean 'width'?",
        "materials.metal.metalic: unknown key, did you mean 'metallic'?",
        "nodes.duck.scale: is 'big', expected one positive number or three",
        "lights.bulb.type: is 'pont', did you mean 'point'?",
    ):
        assert line in first
    # What hangs together is looked at once every table is valid.
    text = FULL.replace('material = "paint"', 'material = "pain"').replace('parent = "table"', 'parent = "tabel"')
    text = text.replace('optimizer = "large_steps"', 'optimiser = "adam"').replace(
        '"paint.png", wrap', '"pant.png", wrap'
    )
    text = text.replace("mse = 1.0", "mze = 1.0").replace("steps = 5", "steps = 0").replace("lr = 0.02", "lr = -1")
    second = message(write(folder, text))
    for line in (
        "nodes.duck.material: no material 'pain', did you mean 'paint'?",
        "nodes.duck.parent: no node 'tabel', did you mean 'table'?",
        "fit.parameters.\"duck.vertices\".optimiser: unknown key, did you mean 'optimizer'?",
        "materials.paint.albedo.texture: file 'pant.png' is missing",
    ):
        assert line in second
    text = FULL.replace("mse = 1.0", "mze = 1.0").replace("steps = 5", "steps = 0").replace("lr = 0.02", "lr = -1")
    third = message(write(folder, text))
    assert "unknown name 'mze' (did you mean 'mse'?)" in third
    assert "fit.steps: is 0" in third
    assert "fit.parameters.paint.albedo.lr: is -1" in third


def test_syntax_errors_name_the_line(folder):
    assert "scene.toml:3:" in message(write(folder, "[film]\nwidth = 3\nheight = \n"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("target = [0, 0, 0]\nup", "up"), "cameras.front.target: is missing"),
        (("fov_y_degrees = 40", ""), "give exactly one of fov_y_degrees and focal"),
        (("fov_y_degrees = 40", "height = 2"), "does not belong to a camera of type 'perspective'"),
        (("near = 0.1", "near = 200"), "cameras.front.near: is 200"),
        (("up = [0, 1, 0]", "up = [0, 0, 1]"), "parallel to the viewing direction"),
        (("[[1, 0, 0, 0]", "[[2, 0, 0, 0]"), "cameras.flat.camera_to_world: its upper left 3 x 3 is no rotation"),
        (('from = "transforms.json"', 'from = "transforms.json"\nframe = 2'), "cameras.rig.frame: is 2"),
        (('from = "transforms.json"', 'from = "transforms.json"\nfocal = 2'), "cameras.rig.focal: stands beside from"),
        (('instance_of = "duck"', 'instance_of = "table"'), "no node with a mesh 'table'"),
        (("[nodes.twin]", "[nodes.key]"), "nodes.key: is also the name of a member of lights"),
        (("[nodes.twin]", '[nodes."a.b"]'), 'nodes."a.b": is no valid name'),
        (("quaternion = [2, 0, 0, 0]", "quaternion = [0, 0, 0, 0]"), "has length 0"),
        (("direction = [-0.3, -0.5, -1.0]", "direction = [0, 0, 0]"), "lights.key.direction: has length 0"),
        (("intensity = 3.0", "intensity = -1"), "lights.bulb.intensity: is -1, expected a number or RGB"),
        (("metallic = 0.5", "metallic = 1.5"), "materials.metal.metallic: is 1.5"),
        (("seed = 3", 'seed = 3\nup = "z"'), "fit.up: unknown key"),
        (('up = "y"', 'up = "z"'), 'up: must be "y" beside fit.views'),
        (("start = { duck", "start = { dukc"), "fit.start.dukc: unknown key, did you mean 'duck'?"),
        (('edges = "antialias"', 'edges = "antialias", sigmma = 1'), "fit.renderer.sigmma: unknown key"),
        (('type = "raster"', 'type = "rastr"'), "did you mean 'raster'?"),
        (('"paint.albedo" = {', '"paint.albdo" = {'), "did you mean 'paint.albedo'?"),
        (('shading = "flat"', 'shading = "file"'), "the mesh has no normals"),
    ],
)
def test_contradictions_are_told(folder, change, expected, f32):
    assert change[0] in FULL
    assert expected in message(write(folder, FULL.replace(*change)))


def test_texture_on_a_mesh_without_uvs_is_told(folder, f32):
    (folder / "duck.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    text = FULL[: FULL.index("[fit]")]
    assert "nodes.duck.material: paint.albedo is a texture but the mesh has no uvs" in message(write(folder, text))


def test_cycles_depth_and_counts_are_bounded(folder):
    def chain(count: int) -> str:
        return "".join(f'[nodes.n{k}]\nparent = "n{k + 1}"\n' for k in range(count)) + f"[nodes.n{count}]\n"

    assert "is its own ancestor" in message(write(folder, '[nodes.a]\nparent = "b"\n[nodes.b]\nparent = "a"\n'))
    assert "is its own ancestor" in message(write(folder, '[nodes.a]\nparent = "a"\n'))
    assert "more than 64 levels deep" in message(write(folder, chain(64)))
    assert "more than 64 levels deep" in message(write(folder, chain(9000)))
    with pytest.raises(FileError, match="more than 3 levels"):
        load_scene(write(folder, chain(3)), limits=Limits(depth=3))
    with pytest.raises(FileError, match="has 5 members, the limit is 4"):
        load_scene(write(folder, chain(4)), limits=Limits(nodes=4))
    assert "and " in message(write(folder, "\n".join(f"unknown{k} = 1" for k in range(500))))


def test_a_chain_of_the_allowed_depth_loads(folder, f32):
    text = "".join(f'[nodes.n{k}]\nparent = "n{k + 1}"\n' for k in range(63)) + "[nodes.n63]\n"
    assert len(load_scene(write(folder, text)).world_matrices()) == 64


# ------------------------------------------------------------------------------------------------ hostile and broken

WRONG = ["text", -1, float("nan"), float("inf"), 10**400 // 7, 1e300, [], {}, True, [[]], [1, 2], "", {"a": {"b": 1}}]


def leaves(table: dict, path: tuple = ()) -> list[tuple]:
    found = []
    for key, value in table.items():
        found.append((*path, key))
        if isinstance(value, dict):
            found += leaves(value, (*path, key))
    return found


def attempt(path: Path) -> None:
    """Load; a TidrError is as good as a scene, anything else is a failure."""
    started = time.perf_counter()
    try:
        load_scene(path)
    except TidrError as error:
        assert str(error)
    assert time.perf_counter() - started < 2


def test_wrong_types_everywhere(folder, f32):
    tree = tomllib.loads(FULL)
    for keys in leaves(tree):
        for value in WRONG:
            changed = tomllib.loads(FULL)
            table = changed
            for key in keys[:-1]:
                table = table[key]
            table[keys[-1]] = value
            attempt(write(folder, tomli_w.dumps(changed)))


def test_broken_files(folder, f32):
    rng = np.random.default_rng(5)
    whole = FULL.encode()
    broken = [b"", b"\xef\xbb\xbf", b"\n" * 70_000, b"\0", whole + b"\0", whole.replace(b"\n", b"\r")]
    broken += [whole[: len(whole) * k // 11] for k in range(1, 11)]
    broken += [
        whole.replace(b"= 40", b"= " + number)
        for number in (b"nan", b"-inf", b"1e400", b"9" * 5000, b"0x" + b"f" * 999)
    ]
    broken += [rng.integers(0, 256, 2000, np.uint8).tobytes() for _ in range(10)]
    broken += [bytes(rng.choice(np.frombuffer(b"[]{}=.,\"'\n a1", np.uint8), 500)) for _ in range(40)]
    broken += [b"a = " + b"[" * 50_000, b"a = " + b"{a=" * 20_000, b"a = " + b"[" * 300 + b"]" * 300]
    broken += [b"a." * 30_000 + b"b = 1", b"[" + b"a." * 30_000 + b"b]", b'"a".' * 15_000 + b"b = 1", b"a" * 60_000]
    broken += [b"x = '" + b"y" * 100_000 + b"'", b"[film]\n[film]\n", b"[[film]]\n", b"[film]\nwidth = 1979-05-27\n"]
    for position in rng.integers(0, len(whole), 60):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(0, 8))
        broken.append(bytes(flipped))
    for data in broken:
        attempt(write(folder, data))


def test_huge_files_are_refused_before_they_are_read(folder):
    path = folder / "huge.toml"
    with open(path, "wb") as file:
        file.truncate(3 << 30)
    started = time.perf_counter()
    assert "more than the limit" in message(path)
    assert time.perf_counter() - started < 0.5


opened: list[str] = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)

OUTSIDE = [
    "../secret", "..\\secret", "./../secret", "sub/../../secret", "sub//..//..//secret", "../home/../secret",
    " ../secret", "../secret ", ".. /secret", "../../home/../secret", "{tmp}/secret", "//{tmp}/secret", "~/secret",
    "~root/secret", "file://{tmp}/secret", "file:secret", "http://example.com/secret", "C:\\secret", "c:/secret",
    "\\\\host\\share\\secret", "\\\\?\\secret", "link", "linked/secret", "loop", "", " ", ".", "..", "./", "sub",
    "pipe", "/dev/zero", "/proc/self/environ", "a\\u0000b", "a\\nb", "../secret\\u0000.obj",
]  # fmt: skip
MISSING = ["%2e%2e/secret", "\u2025/secret", "\uff0e\uff0e/secret", "..;/secret", "...", "..../secret", "a" * 300]
REFERRING = {
    "mesh": ('mesh = "duck.obj"', 'mesh = "{}"', ".obj"),
    "texture": ('texture = "paint.png", wrap', 'texture = "{}", wrap', ".png"),
    "from": ('from = "transforms.json"', 'from = "{}"', ".json"),
    "views": ('views = "transforms.json"', 'views = "{}"', ".json"),
    "targets": ('views = "transforms.json"', 'targets = {{ front = "{}" }}', ".png"),
}


@pytest.mark.parametrize("referring", REFERRING)
def test_no_name_leads_outside_the_folder(folder, tmp_path, referring, f32):
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    old, new, suffix = REFERRING[referring]
    (folder / "link").symlink_to(tmp_path / "secret")
    for name in ("secret", "secret" + suffix):
        (tmp_path / name).write_text(TRIANGLE if suffix == ".obj" else TRANSFORMS)
    (folder / f"link{suffix}").symlink_to(tmp_path / f"secret{suffix}")
    text = FULL if referring in ("views", "targets") else FULL[: FULL.index("[fit]")]
    for spelling in OUTSIDE + MISSING:
        for name in (spelling, spelling + suffix):
            spelled = name.format(tmp=tmp_path)
            spelled = spelled if "\\u" in spelled or "\\n" in spelled else spelled.replace("\\", "\\\\")
            path = write(folder, text.replace(old, new.format(spelled)))
            opened.clear()
            # A name that is merely missing will do for what only a fit reads.
            if referring not in ("views", "targets") or (spelling in OUTSIDE and name == spelling):
                with pytest.raises(FileError):
                    load_scene(path)
            else:
                attempt(path)
            assert not [item for item in opened if "secret" in item or "pipe" in item or "/dev/zero" in item]


def keys_of(values) -> st.SearchStrategy:
    names = st.sampled_from(
        ["a", "duck", "paint", "type", "mesh", "parent", "front", "position", "target", "albedo", "x.y"]
    )
    return st.dictionaries(names, values, max_size=4)


SCALARS = st.one_of(
    st.integers(-5, 5),
    st.floats(),
    st.booleans(),
    st.sampled_from(["lambert", "duck.obj", "paint.png", "point", "ambient", "a", "duck", "../x", "z"]),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.lists(st.floats(-9, 9), max_size=4),
)
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(keys_of(inner), st.lists(inner, max_size=3)), max_leaves=6)
SECTIONS = st.sampled_from(["up", "film", "cameras", "materials", "lights", "nodes", "fit", "nods"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(SECTIONS, VALUES, max_size=5))
def test_any_toml_loads_or_is_refused(folder, f32, tree):
    try:
        text = tomli_w.dumps(tree)
    except (ValueError, TypeError, UnicodeEncodeError):
        return
    attempt(write(folder, text))


# --------------------------------------------------------------------------------------------------------- writing


def assert_same(first: tidr.Scene, second: tidr.Scene) -> None:
    """Equal parameters (8 bits for textures) and equal pictures."""
    found = dict(second.parameters())
    for path, parameter in first.parameters().items():
        if path.endswith(".heat"):
            continue
        texture = len(parameter.shape) == 3
        np.testing.assert_allclose(
            found[path].numpy(), parameter.numpy(), atol=4.5e-3 if texture else 1e-6, err_msg=path
        )
    a, b = (tidr.render(scene).rgb.numpy() for scene in (first, second))
    assert np.abs(a - b).max() < 1 / 255


@pytest.mark.parametrize("orthographic", [False, True])
def test_a_written_scene_is_the_same_scene(tmp_path, f32, orthographic):
    scene = everything(orthographic=orthographic)
    normals = scene["right"].mesh.normals
    normals.set(normals.numpy() / np.linalg.norm(normals.numpy(), axis=1, keepdims=True))
    scene.add_node("twin", tidr.Node(scene["left"].mesh, ("shiny", "matte"), None, (0, 1, 0)))
    write_scene(scene, tmp_path / "out.toml")
    again = load_scene(tmp_path / "out.toml")
    assert list(again.nodes) == list(scene.nodes)
    assert again["twin"].mesh is again["left"].mesh
    assert_same(scene, again)
    # And once more: nothing drifts.
    write_scene(again, tmp_path / "again.toml")
    for path, parameter in load_scene(tmp_path / "again.toml").parameters().items():
        np.testing.assert_allclose(parameter.numpy(), again.parameters()[path].numpy(), atol=1e-6, err_msg=path)


def test_written_meshes_open_by_themselves(tmp_path, f32):
    write_scene(everything(), tmp_path / "out.toml")
    scene = load_scene(tmp_path / "out_left.obj")
    assert scene["out_left"].materials == ("out_left_matte", "out_left_waxed")
    assert scene.parameters()["out_left_matte.albedo"].shape == (9, 7, 3)


def test_odd_names_are_written_and_read(tmp_path, f32):
    scene = tidr.Scene(tidr.Film(8, 8))
    for name in ("a/b", "A/B", "~up", "ü \U0001f986", "key"):
        scene.add_node(name, tidr.Node(tidr.Mesh(*tidr.icosphere(0))))
    write_scene(scene, tmp_path / "~x [1].toml")
    assert list(load_scene(tmp_path / "~x [1].toml").nodes) == list(scene.nodes)
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*"))


def test_nothing_is_written_of_a_scene_that_is_not_finite(tmp_path, f32):
    scene = everything()
    scene["left"].vertices.value.fill(float("nan"))
    with pytest.raises(FileError, match=r"left\.vertices"):
        scene.parameters()
        write_scene(scene, tmp_path / "out.toml")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileError, match="cannot be written"):
        write_scene(everything(), tmp_path / "no" / "out.toml")
    with pytest.raises(FileError, match="unknown kind"):
        write_scene(everything(), tmp_path / "out.obj")
