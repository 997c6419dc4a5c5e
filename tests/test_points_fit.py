"""Fits of points: a ball that becomes the duck, options of the renderer that change on the way, and bad input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError, TidrError
from tidr.files.scene_file import load_scene
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.point_losses import chamfer
from tidr.fitting.settings import FitSettings, ParameterSettings
from tidr.renderers.points import PointRenderer
from tidr.scene.points import PointCloud

from .fit_toys import write_views
from .scene_parts import write


def on_the_duck(count: int) -> np.ndarray:
    """Points [count, 3] on the truth that the bundled pictures show, world space."""
    duck = tidr.load("duck")
    world = duck.world_matrices()["duck"]
    return tidr.sampling.sample_points(duck["duck"].mesh, count).positions.numpy() @ world[:3, :3].T + world[:3, 3]


@pytest.mark.long
@pytest.mark.row(70)
def test_a_ball_of_points_becomes_the_duck(f32):
    """The bundled fit, cut short: a tenth of longer steps, a fifth of the points, small pictures."""
    scene = tidr.load("surface_points")
    whole = scene["thing"].geometry
    moved = PointCloud(*(held.numpy()[::5] for held in (whole.positions, whole.colors, whole.normals)))
    scene["thing"].geometry, truth = moved, on_the_duck(2000)
    before = float(chamfer(moved.positions, truth))
    normals = moved.normals.numpy().copy()
    faster = {**scene.fit.parameters, "thing.positions": ParameterSettings(lr=2e-2)}
    settings = replace(scene.fit, steps=40, resolution=(64, 64), parameters=faster)
    result = fit_from_settings(scene, settings)
    assert float(chamfer(moved.positions, truth)) < 0.5 * before
    assert np.abs(moved.normals.numpy() - normals).max() > 0.01
    assert np.allclose(np.linalg.norm(moved.normals.numpy(), axis=1), 1, atol=1e-5)
    assert result.skipped == 0


def toy(folder: Path, **changes) -> tuple[tidr.Scene, FitSettings]:
    scene = tidr.Scene(tidr.Film(16, 16))
    rng = np.random.default_rng(0)
    scene.add_node("dots", tidr.Node(PointCloud(rng.uniform(-0.5, 0.5, (50, 3)), np.full((50, 3), 0.5))))
    values: dict = {
        "views": str(write_views(folder)),
        "parameters": {"dots.positions": ParameterSettings(lr=1e-3)},
        "losses": {"mse": 1.0},
        "renderer": {"type": "points", "splat": "voxelise", "vox": 12, "depth_range": (1.0, 5.0), "smoothing": 1.0},
        "steps": 5,
    }
    return scene, FitSettings(**(values | changes))


@pytest.mark.row(71)
def test_options_move_evenly_to_where_they_end(f32, tmp_path, monkeypatch):
    """From the first step to the last, and stay there for the pictures after it; a resumed fit goes on."""
    drawn: list[float] = []
    render = PointRenderer.render

    def seen(self, *arguments):
        drawn.append(self.smoothing)
        return render(self, *arguments)

    scene, settings = toy(tmp_path, anneal={"smoothing": 0.2}, steps=5)
    fit_from_settings(scene, settings, tmp_path / "run", steps=2)
    monkeypatch.setattr(PointRenderer, "render", seen)
    scene, _ = toy(tmp_path)
    fit_from_settings(scene, settings, tmp_path / "run", resume=True)
    assert drawn[:3] == pytest.approx([0.6, 0.4, 0.2])
    assert drawn[3:] == pytest.approx([0.2] * len(drawn[3:]))


@pytest.mark.parametrize(
    ("anneal", "expected"),
    [
        ({"smoothin": 0.2}, r"fit\.anneal\.smoothin.*no number among the options.*smoothing"),
        ({"splat": 0.2}, r"fit\.anneal\.splat.*no number"),
        ({"smoothing": 0.0}, r"fit\.anneal\.smoothing: is 0\.0.*0\.01 to 100"),
    ],
)
def test_what_cannot_be_annealed_is_refused_by_name(f32, tmp_path, anneal, expected):
    with pytest.raises(SceneError, match=expected):
        fit_from_settings(*toy(tmp_path, anneal=anneal))


def test_a_scene_file_says_what_is_annealed(f32, tmp_path):
    text = """
    [nodes.dots]
    points = { count = 30, sphere = 0.5 }
    [fit]
    views = "transforms.json"
    losses = { mse = 1.0, repulsion = 1e-4 }
    renderer = { type = "points", splat = "surface", variance_range = [1e-4, 1e-2] }
    anneal = { backward_radius = 2 }
    parameters = { "dots.positions" = { lr = 1e-3 } }
    """
    write_views(tmp_path)
    fit = load_scene(write(tmp_path, text)).fit
    assert fit.anneal == {"backward_radius": 2.0}
    with pytest.raises(TidrError, match=r"fit\.anneal\.backward_radius"):
        load_scene(write(tmp_path, text.replace("backward_radius = 2", 'backward_radius = "x"')))
