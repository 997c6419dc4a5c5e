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
from tidr.scene.neighbors import nearest
from tidr.scenes.make_proxy import TEXTURE, pebble

ASSETS = Path(tidr.scenes.__file__).parent / "assets" / "proxy"


def test_the_proxy_has_a_fortieth_of_the_triangles(f32):
    assert len(pebble().faces) == 20_480
    assert len(tidr.load("proxy")["pebble"].mesh.faces) == 500


def texel_places(mesh: tidr.Mesh, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(texels int [N, 2] row and column, points [N, 3]): what of a texture lies on the mesh, and where."""
    texels, points = [], []
    for corners, places in zip(mesh.uvs.numpy()[mesh.uv_faces], mesh.vertices.numpy()[mesh.faces], strict=True):
        pixels = corners * (size, -size) + (0, size)
        low, high = np.floor(pixels.min(0)).astype(int) - 1, np.ceil(pixels.max(0)).astype(int) + 1
        column, row = (part.ravel() for part in np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True))))
        edges = np.linalg.solve((pixels[1:] - pixels[0]).T, np.stack([column, row]) + 0.5 - pixels[:1].T)
        weights = np.clip(np.stack([1 - edges.sum(0), *edges]), 0, None)
        near = np.stack([1 - edges.sum(0), *edges]).min(0) > -0.5  # and a rim, for look-ups between texels
        texels.append(np.stack([row, column], 1)[near])
        points.append((weights / weights.sum(0)).T[near] @ places)
    return np.clip(np.concatenate(texels), 0, size - 1), np.concatenate(points)


def baked(mesh: tidr.Mesh, original: tidr.Mesh, size: int) -> np.ndarray:
    """The original's colours, as they are nearest to the mesh, as a texture [size, size, 3]."""
    texels, points = texel_places(mesh, size)
    numbers, _ = nearest(original.vertices.numpy(), points)
    picture = np.full((size, size, 3), 0.25)
    picture[tuple(texels.T)] = original.colors.numpy()[numbers[:, 0]]
    return picture


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
