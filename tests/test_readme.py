"""The README's examples run, and the scene reference names every key of the schema."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.files.scene_file import find_scene

README = Path(__file__).parents[1] / "README.md"


def block(name: str) -> str:
    """The code between <!-- name --> and <!-- end -->."""
    part = README.read_text().split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
    return re.search(r"```\w*\n(.*?)```", part, re.S).group(1)


@pytest.mark.row(2)
def test_the_scripting_example_brings_the_cube_back(f32):
    space: dict = {}
    exec(compile(block("example"), "README example", "exec"), space)
    assert np.abs(space["cube"].translation.numpy()).max() < 0.02
    assert space["tape"].loss < 1e-3


@pytest.mark.row(101)
def test_the_denoising_example_takes_noise_away(f32):
    space: dict = {}
    exec(compile(block("denoise"), "README example", "exec"), space)
    before, after = (tidr.losses.psnr(space[name], space["image"]) for name in ("noisy", "clean"))
    assert after > before + 3
    assert space["noisy"].grad_numpy().any()


def test_the_scene_example_loads_and_renders(f32, tmp_path):
    assets = find_scene("duck").parent / "assets"
    for name in ("duck.glb", "duck.png"):
        (tmp_path / name).write_bytes((assets / name).read_bytes())
    path = tmp_path / "scene.toml"
    path.write_text(block("scene").replace("assets/", ""))
    assert tidr.render(tidr.load(path), width=32, height=32).alpha.numpy().mean() > 0.1


def test_the_reference_names_every_key():
    from tidr.files import scene_cameras, scene_schema
    from tidr.fitting.settings import FitSettings

    reference = (Path(tidr.__file__).parent / "docs" / "scene_file.md").read_text().split("<!-- make")[0]
    named = set(re.findall(r"`(?:\w+\.)*(?:X\.)?\.?(\w+)`", reference))
    tables = {
        "film": scene_schema.FilmTable,
        **scene_cameras.SENSOR_TABLES,
        "nodes": scene_schema.NodeTable,
        **scene_schema.LIGHT_TABLES,
    }
    keys = {field.alias or name for table in tables.values() for name, field in table.model_fields.items()}
    keys |= {field.name for field in dataclasses.fields(FitSettings)}
    assert keys <= named, sorted(keys - named)


def test_the_readme_names_the_commands_that_continuous_integration_runs():
    assert "pytest" in block("tests")
    assert block("fit").strip().endswith("tidr fit duck")
    assert block("tests").count("\n") == block("fit").count("\n") == 1
