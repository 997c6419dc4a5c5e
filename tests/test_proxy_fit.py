"""Level of detail: fewer triangles, new texture coordinates, and a proxy that is fitted to pictures of the original."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
import tidr.scenes
from tidr.cli import app
from tidr.errors import SceneError
from tidr.files.view_sets import read_split
from tidr.fitting.losses import psnr
from tidr.problems.proxy import baked
from tidr.scene.neighbors import nearest
from tidr.scenes.make_proxy import TEXTURE, pebble

ASSETS = Path(tidr.scenes.__file__).parent / "assets" / "proxy"


def test_the_proxy_has_a_fortieth_of_the_triangles(f32):
    assert len(pebble().faces) == 20_480
    assert len(tidr.load("proxy")["pebble"].mesh.faces) == 500


@pytest.mark.long
@pytest.mark.row(207)
def test_the_fitted_proxy_looks_3_db_more_like_the_original_than_one_that_was_only_decimated(f32, tmp_path):
    """T19, on pictures that the fit did not see; the other has the original's own colours and roughness."""
    run = CliRunner().invoke(app, ["fit", "proxy", "-o", str(tmp_path / "run")])
    assert run.exit_code == 0, run.output
    fitted = json.loads((tmp_path / "run" / "metrics.json").read_text())["mean"]["psnr"]
    scene = tidr.load("proxy")
    scene.parameters("paint.albedo")["paint.albedo"].set(baked(scene["pebble"].mesh, pebble(), TEXTURE))
    _, kept_out = read_split(ASSETS / "transforms.json")
    found = []
    for frame in kept_out.frames:
        rgb, alpha = frame.load()
        found.append(psnr(tidr.render(scene, frame.camera(), tidr.Rasterizer()), alpha * rgb))
    assert len(found) == 4
    assert fitted > np.mean(found) + 3


def test_what_cannot_be_simplified_is_said(f32, monkeypatch):
    mesh = tidr.Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])
    for name, function in (
        ("fast_simplification", lambda: tidr.simplify(mesh, 4)),
        ("xatlas", lambda: tidr.unwrap(mesh)),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SceneError, match=r"pip install 'tidr\[geometry\]'"):
            function()


def test_simplified_and_unwrapped(f32):
    pytest.importorskip("fast_simplification")
    pytest.importorskip("xatlas")
    whole = pebble()
    low = tidr.unwrap(tidr.simplify(whole, 500), 128)
    assert len(low.faces) == pytest.approx(500, abs=10)
    _, distances = nearest(whole.vertices.numpy(), low.vertices.numpy())
    assert np.sqrt(distances).max() < 0.05
    assert low.topology.closed
    corners = low.uvs.numpy()[low.uv_faces]
    assert corners.min() >= 0
    assert corners.max() <= 1
    with pytest.raises(SceneError, match="the mesh has 500"):
        tidr.simplify(low, 501)
