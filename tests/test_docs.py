"""The documentation: links lead somewhere, every public name stands in it, and what it shows works."""

import dataclasses
import json
import math
import re
import shlex
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import trimesh
import typer
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.docs import build, gallery
from tidr.files.image import read_image
from tidr.renderers.renderer import known_renderers, renderer_type
from tidr.scenes import make_gallery


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return build.texts()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.*)", text, re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_leads_somewhere(pages):
    linked = set()
    for name, text in pages.items():
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        for target in re.findall(r"(?<!\\)\]\(([^)]*)\)", prose):
            if target.startswith("https://") or target == build.TUTORIAL:
                continue
            page, _, anchor = target.partition("#")
            assert page.endswith(".md"), (name, target)
            assert page[:-3] in pages, (name, target)
            assert not anchor or anchor in anchors(pages[page[:-3]]), (name, target)
            linked.add(page[:-3])
    assert linked == set(pages)


def test_no_mark_is_left(pages):
    assert not [name for name, text in pages.items() if "<!-- make" in text]


def test_readme_links_lead_to_files():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((tidr/docs/[^)]*)\)", (root / "README.md").read_text()):
        page, _, anchor = target.partition("#")
        assert (root / page).is_file(), target
        assert not anchor or anchor in anchors((root / page).read_text()), target


def test_every_public_name_stands_on_a_page(pages):
    whole = "\n".join(pages.values())
    assert [name for name in tidr.__all__ if not re.search(rf"`tidr\.{name}\b", whole)] == []


@pytest.mark.parametrize("name", known_renderers())
def test_a_renderers_page_says_what_it_does_not_differentiate_and_its_example_is_its_default(pages, name):
    page, kind = pages[f"renderer_{name}"], renderer_type(name)
    assert "does not differentiate" in page
    (text,) = blocks(page, "toml")
    table = tomllib.loads(text)["fit"]["renderer"]
    assert table.pop("type") == name
    assert kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}) == kind()
    for option in dataclasses.fields(kind):
        assert f"| `{option.name}` |" in page


def test_every_command_that_is_shown_is_one(pages):
    group = typer.main.get_command(app)
    seen = 0
    for text in pages.values():
        for line in "".join(blocks(text, "sh")).splitlines():
            words = shlex.split(line)
            if words[0].rpartition("/")[2] != "tidr":
                continue
            verb, rest = words[1], words[2:]
            while verb == "--plugin":
                verb, rest = rest[1], rest[2:]
            command = group.commands[verb]
            command.make_context(verb, rest)  # ends with an error where an option is unknown
            seen += 1
    assert seen > 5


@pytest.mark.row(87)
def test_the_recipes_for_photographs_end_in_files_that_other_programs_open(f32, pages, tmp_path, monkeypatch):
    """The first steps of the mesh's fit, and the splats as theirs begins; trimesh opens the files."""
    monkeypatch.chdir(tmp_path)
    write_views(tmp_path / "photos")
    for name, text in zip(("mesh", "splats"), blocks(pages["photos"], "toml"), strict=True):
        (tmp_path / f"{name}.toml").write_text(text)
    changed = {"fit.steps": 4, "fit.views_per_step": 1, "fit.hold_out": 0, "fit.start.thing.resolution": 4}
    changed |= {"film.width": 24, "film.height": 24}
    small = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, ["fit", "mesh.toml", "-o", "runs/mesh", *small])
    assert done.exit_code == 0, done.output
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = CliRunner().invoke(app, ["convert", "runs/mesh/scene.toml", "thing.glb"])
    assert done.exit_code == 0
    assert re.search("tidr convert: warning: .*glTF has no AmbientLight", done.output)
    (mesh,) = trimesh.load("thing.glb").geometry.values()
    assert len(mesh.faces) == 320
    assert min(mesh.visual.material.baseColorTexture.size) > 16
    assert trimesh.load("runs/mesh/scene_thing.obj", force="mesh").bounds == pytest.approx(mesh.bounds, abs=1e-4)
    assert CliRunner().invoke(app, ["convert", "splats.toml", "out.toml"]).exit_code == 0
    cloud = trimesh.load("out_thing.ply")
    assert len(cloud.vertices) == 3000
    assert set(cloud.metadata["_ply_raw"]["vertex"]["properties"]) >= {"f_dc_0", "opacity", "scale_0", "rot_3"}


def write_views(folder: Path) -> None:
    """Four pictures of the cube with alpha, and where they were taken."""
    scene, frames = tidr.load("cube"), []
    folder.mkdir()
    for index, camera in enumerate(tidr.orbit(4, 4.0, fov_y_degrees=40, width=24, height=24)):
        tidr.render(scene, camera).save(folder / f"{index}.png", alpha=True)
        frames.append({"file_path": f"{index}.png", "transform_matrix": camera.camera_to_world.tolist()})
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": math.radians(40), "frames": frames}))


def test_pages_are_written(monkeypatch, capsys, tmp_path):
    from tidr.docs.__main__ import main

    monkeypatch.setattr("sys.argv", ["docs", "-o", str(tmp_path / "out")])
    main()
    assert "index.md" in capsys.readouterr().out
    names = {f"{name}.md" for name in build.texts()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names, build.TUTORIAL}
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sys.argv", ["docs", "-o", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_the_gallery_shows_a_scene(f32, monkeypatch):
    known = gallery.bundled()
    monkeypatch.setattr(gallery, "bundled", lambda: {"cube": known["cube"]})
    monkeypatch.setattr(gallery, "LONGEST", 24)
    page, pictures = gallery.gallery_page()
    assert "![cube](cube.png)" in page
    assert pictures["cube.png"].startswith(b"\x89PNG")


def test_readmes_gallery_shows_the_scenes_as_they_are(f32):
    sheet = read_image(Path(make_gallery.__file__).parent / "assets" / "gallery.webp")
    for name in ("duck", "cube", "bracket"):
        row, column = (make_gallery.SIZE * k for k in divmod([*make_gallery.SHOWN].index(name), make_gallery.ACROSS))
        tile = sheet[row : row + make_gallery.SIZE, column : column + make_gallery.SIZE]
        drawn = tidr.render(tidr.load(name), None, "auto", make_gallery.SIZE, make_gallery.SIZE).rgb.numpy()
        assert tidr.losses.psnr(np.clip(drawn, 0, 1), tile) > 26, name


def test_the_snippets_run(pages):
    """Last, for they start Taichi as they like."""
    for name in ("install", "conventions", "photos", "troubleshooting"):
        for code in blocks(pages[name], "python"):
            exec(compile(code, f"{name}.md", "exec", dont_inherit=True), {})
    tidr.init(arch="cpu", precision=64)
