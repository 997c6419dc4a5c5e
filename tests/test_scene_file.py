"""Scene files: what every key means, overrides, and that a written scene is the same scene."""

from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.errors import FileError
from tidr.files.scene_file import apply_overrides, bundled, describe, load_scene
from tidr.files.scene_write import write_scene

from .everything import everything
from .scene_parts import FULL, TRANSFORMS, make_parts, message, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_parts(tmp_path)


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
    """Names on the command line may point anywhere, those in the file may not."""
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
    scene.parameters()
    with pytest.raises(FileError, match=r"left\.vertices"):
        write_scene(scene, tmp_path / "out.toml")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileError, match="cannot be written"):
        write_scene(everything(), tmp_path / "no" / "out.toml")
    with pytest.raises(FileError, match="unknown kind"):
        write_scene(everything(), tmp_path / "out.obj")
