"""The verbs that look at files: info, convert, scenes, doctor; and how fast and quiet the command is."""

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.cli import guarded
from tidr.cli.render import render as tidr_render
from tidr.errors import TidrError
from tidr.files.mesh import read_mesh
from tidr.files.scene_file import bundled, load_scene

ROOT = Path(tidr.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def tidr_command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tidr.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=300)


def test_help_imports_nothing_heavy_and_is_fast():
    code = (
        "import sys; from tidr.cli import app\n"
        "try: app(['--help'], prog_name='tidr')\n"
        "except SystemExit: pass\n"
        "heavy = {'taichi', 'numpy', 'trimesh', 'pydantic', 'PIL', 'tidr.scene'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in ("info", "convert", "scenes", "doctor"))
    # 0.25 s on a quiet machine; the tests may share theirs.
    assert statistics.median(seconds) < 1.0


def test_info_prints_json_and_nothing_else():
    done = tidr_command("info", "cube", "--json", "--set", "film.width=20")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["film"] == {"width": 20, "height": 512}
    assert facts["counts"] | {"nodes": 1, "vertices": 8, "faces": 12, "cameras": 1} == facts["counts"]
    assert facts["bounds"] == [[-0.5] * 3, [0.5] * 3]
    assert facts["parameters"]["cube.vertices"] == [8, 3]
    assert facts["nodes"]["cube"]["closed"]
    assert facts["memory_bytes"]["parameters"] == 8 * facts["counts"]["scalars"]


def test_render_takes_the_fields_of_a_renderer(f32, tmp_path):
    tidr_render("cube", tmp_path / "a.npy", renderer="raster", option=["edges=none", "cull_back = true"], width=24)
    wanted = tidr.render(
        load_scene("cube"), renderer=tidr.Rasterizer(edges="none", cull_back=True), width=24, height=24
    )
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy")[..., :3], wanted.rgb.numpy())
    for option, what in {
        "samples=4": "--option: samples: unknown key",
        "edgse=none": "--option: edgse: unknown key, did you mean 'edges'",
        "cull_back=7": "--option: cull_back: is 7, expected a valid boolean",
        "edges": "--option edges: has no =.*samples=64",
        "edges=soft_": "renderer.edges: ",
    }.items():
        with pytest.raises(TidrError, match=what):
            tidr_render("cube", tmp_path / "b.npy", renderer="raster", option=[option])
    assert not (tmp_path / "b.npy").exists()


def test_warnings_are_one_plain_line(capfd):
    def verb():
        warnings.warn("a.glb: left out\n  lights.sky: too bright", UserWarning, stacklevel=1)
        return 3

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert guarded(verb)() == 3
    assert capfd.readouterr() == ("", "tidr verb: warning: a.glb: left out; lights.sky: too bright\n")


@pytest.mark.parametrize("name", ["duck", "cornell"])
def test_info_tells_every_name(name, f32):
    from tidr.cli.info import _lines, scene_facts

    scene = load_scene(name)
    text = "\n".join(_lines(scene_facts(scene)))
    for kind in (scene.nodes, scene.cameras, scene.lights, scene.materials, scene.parameters()):
        assert all(key in text for key in kind)
    assert ("fit: duck.vertices" in text) == (name == "duck")


def test_bad_input_is_told_on_stderr_with_code_2(tmp_path):
    (tmp_path / "bad.toml").write_text("[film]\nwidht = 3\nheight = 'x'\n")
    done = tidr_command("info", tmp_path / "bad.toml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "film.widht: unknown key, did you mean 'width'?" in done.stderr
    assert "film.height: is 'x'" in done.stderr
    assert "Traceback" not in done.stderr
    done = tidr_command("convert", tmp_path / "missing.obj", tmp_path / "out.ply")
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


def test_convert_meshes_there_and_back(tmp_path):
    cube = bundled()["cube"].parent / "assets" / "cube.obj"
    assert tidr_command("convert", cube, "a.ply", cwd=tmp_path).returncode == 0
    first = read_mesh(cube)
    again = read_mesh(tmp_path / "a.ply")
    np.testing.assert_allclose(np.sort(again.vertices, 0), np.sort(first.vertices, 0), atol=1e-6)
    assert len(again.faces) == 12


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_convert_keeps_shape_and_uvs(tmp_path, suffix, capsys):
    from tidr.cli.convert import convert

    source = bundled()["duck"].parent / "assets" / "duck.glb"
    convert(str(source), tmp_path / f"a{suffix}")
    convert(str(tmp_path / f"a{suffix}"), tmp_path / "back.obj")
    first, again = read_mesh(source), read_mesh(tmp_path / "back.obj")
    assert len(again.faces) == len(first.faces)
    corners, back = (data.vertices[data.faces].mean(1) for data in (first, again))
    np.testing.assert_allclose(np.sort(back, 0), np.sort(corners, 0), atol=1e-5)
    assert again.uvs is not None
    assert "vertices" in capsys.readouterr().out


def test_convert_writes_scenes(tmp_path, f32, capsys):
    from tidr.cli.convert import convert

    convert("cornell", tmp_path / "room.toml", ["film.width=32", "film.height=32"])
    first, again = load_scene("cornell", ["film.width=32", "film.height=32"]), load_scene(tmp_path / "room.toml")
    difference = tidr.render(first).rgb.numpy() - tidr.render(again).rgb.numpy()
    assert np.abs(difference).max() < 1e-3
    convert(str(bundled()["duck"].parent / "assets" / "duck.glb"), tmp_path / "lone.toml")
    assert load_scene(tmp_path / "lone.toml").parameters()["paint.albedo"].shape == (512, 512, 3)


def test_convert_refuses_what_it_cannot_do(tmp_path):
    from tidr.cli.convert import convert

    cube = bundled()["cube"].parent / "assets" / "cube.obj"
    (tmp_path / "copy.obj").write_bytes(cube.read_bytes())
    before = (tmp_path / "copy.obj").read_bytes()
    for source, target, match in (
        (cube, tmp_path / "a.stl", "unknown kind of file"),
        ("cube", tmp_path / "a.obj", "is no mesh file"),
        (tmp_path / "copy.obj", tmp_path / "copy.obj", "is the input itself"),
        (cube, tmp_path / "no" / "a.obj", "cannot be written"),
    ):
        with pytest.raises(tidr.FileError, match=match):
            convert(str(source), target)
    assert (tmp_path / "copy.obj").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy.obj"]


def test_the_surface_of_a_scenes_only_node_becomes_a_mesh(tmp_path, f32):
    from tidr.cli.convert import convert

    ball = "[nodes.it]\nvoxels = { resolution = [16, 16, 16], sphere = 0.6 }\nscale = 2\ntranslation = [0, 5, 0]\n"
    (tmp_path / "ball.toml").write_text(ball)
    convert(str(tmp_path / "ball.toml"), tmp_path / "ball.obj")
    radii = np.linalg.norm(read_mesh(tmp_path / "ball.obj").vertices - (0, 5, 0), axis=1)
    np.testing.assert_allclose(radii, 1.2, atol=0.05)
    (tmp_path / "two.toml").write_text(ball + ball.replace("it", "too"))
    with pytest.raises(tidr.FileError, match=r"holds 2 nodes .*it, too.*write a \.glb"):
        convert(str(tmp_path / "two.toml"), tmp_path / "two.obj")


def test_scenes_lists_each_with_a_line():
    done = tidr_command("scenes")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines.keys() == bundled().keys()
    assert "duck" in lines["duck"]


def test_doctor_tries_each_backend(monkeypatch, capsys):
    from tidr.cli import doctor

    monkeypatch.setattr(doctor, "BACKENDS", (("cpu", 64), ("metal", 32)))
    doctor.doctor()
    text = capsys.readouterr().out
    assert f"tidr {tidr.__version__}, python " in text
    assert "taichi 1.7" in text
    assert "cpu-f64: ok, gradient error" in text
    assert "metal-f32: " in text
    assert "extra torch: " in text


def test_doctor_survives_a_backend_that_crashes(monkeypatch):
    from tidr.cli import doctor

    monkeypatch.setattr(doctor.sys, "executable", "/bin/false")
    assert doctor.run_probe("cpu", 32) == {"state": "failed", "note": "the process ended with code 1: no message"}
    monkeypatch.setattr(doctor, "run_probe", lambda arch, precision: {"state": "failed", "note": "broken"})
    with pytest.raises(tidr.BackendError, match="no backend works"):
        doctor.doctor()
