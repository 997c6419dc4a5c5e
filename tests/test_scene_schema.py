"""Faults of scene files: all at once, under their key paths, with the nearest key that is known."""

from pathlib import Path

import pytest

from tidr.errors import FileError
from tidr.files.guard import Limits
from tidr.files.scene_file import load_scene

from .scene_parts import FULL, make_parts, message, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_parts(tmp_path)


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
        (('instance_of = "duck"', 'instance_of = "table"'), "no node with a mesh or grid 'table'"),
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
    assert "more than 64 levels deep" in message(write(folder, chain(2000)))
    with pytest.raises(FileError, match="more than 3 levels"):
        load_scene(write(folder, chain(3)), limits=Limits(depth=3))
    with pytest.raises(FileError, match="has 5 members, the limit is 4"):
        load_scene(write(folder, chain(4)), limits=Limits(nodes=4))
    assert "and " in message(write(folder, "\n".join(f"unknown{k} = 1" for k in range(500))))


def test_a_chain_of_the_allowed_depth_loads(folder, f32):
    text = "".join(f'[nodes.n{k}]\nparent = "n{k + 1}"\n' for k in range(63)) + "[nodes.n63]\n"
    assert len(load_scene(write(folder, text)).world_matrices()) == 64
