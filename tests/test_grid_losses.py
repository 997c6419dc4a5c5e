"""Losses of grids in the [fit] table: by name, by pattern, on what is fitted."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.files.scene_file import load_scene
from tidr.fitting.objective import Objective, fitted_grids
from tidr.fitting.settings import GRID_LOSSES, FitSettings, ParameterSettings, checked
from tidr.scene.tetrahedra import Tetrahedra
from tidr.scene.volume import Volume
from tidr.scene.voxels import VoxelGrid

from .scene_parts import message, write


def grid_scene() -> tidr.Scene:
    """A volume, a signed distance, tetrahedra, and a mesh with a texture, which is no grid of cells."""
    rng, scene = np.random.default_rng(0), tidr.Scene()
    values = rng.random((4, 5, 6))
    scene.add_node("smoke", tidr.Node(Volume(values, color=rng.random((4, 5, 6, 3)))))
    scene.add_node("ball", tidr.Node(VoxelGrid(sdf=values - 0.5, color=rng.random((4, 5, 6, 3)))))
    scene.add_node("shell", tidr.Node(Tetrahedra(values - 0.5)))
    scene.add_material("paint", tidr.Material("lambert", albedo=tidr.Texture(rng.random((4, 4, 3)))))
    scene.add_node("mesh", tidr.Node(tidr.Mesh(*tidr.icosphere(0)), ("paint",)))
    return scene


def moved_by(scene: tidr.Scene, name: str, *fitted: str) -> set[str]:
    """Which of the fitted parameters a loss pulls at."""
    params = scene.parameters(*fitted)
    objective = Objective({name: 0.5}, {}, fitted_grids(scene, params))
    assert objective.names == [name]
    assert not any(term.needs_rgb or term.needs_views for term in objective.terms)
    with tidr.Tape(params) as tape:
        objective.add_to(tape, None, None)  # type: ignore[arg-type]
    assert tape.loss == pytest.approx(0.5 * tape.terms[name])
    return {path for path, parameter in params.items() if parameter.grad_numpy().any()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("total_variation", {"smoke.density", "smoke.color", "ball.sdf", "ball.color"}),
        ("total_variation:smoke.density", {"smoke.density"}),
        ("total_variation:*.color", {"smoke.color", "ball.color"}),
        ("sparsity", {"smoke.density"}),
        ("sparsity:*.color", {"smoke.color", "ball.color"}),
        ("eikonal", {"ball.sdf"}),
        ("field_laplacian:ball.*", {"ball.sdf"}),
    ],
)
def test_losses_pull_at_the_fitted_grids_they_suit(f64, name, expected):
    scene = grid_scene()
    assert moved_by(scene, name, "smoke.*", "ball.*", "paint.albedo") == expected


def test_tetrahedra_have_a_loss_of_their_own(f64):
    assert moved_by(grid_scene(), "sign_changes", "shell.*") == {"shell.sdf"}


@pytest.mark.parametrize(
    ("name", "fitted", "words"),
    [
        ("total_variation", "paint.albedo", "no grid that it suits is fitted"),
        ("eikonal", "smoke.*", "no grid that it suits is fitted"),
        ("total_variation:smok.density", "smoke.*", "matches no fitted grid .did you mean 'smoke.density'"),
        ("total_variaton", "smoke.*", "did you mean 'total_variation'"),
        ("mse:smoke.density", "smoke.*", "no pattern can follow"),
    ],
)
def test_what_does_not_fit_is_told(f64, name, fitted, words):
    scene = grid_scene()
    with pytest.raises(SceneError, match=words):
        Objective({name: 1.0}, {}, fitted_grids(scene, scene.parameters(fitted)))


def test_scene_files_name_them(f32, tmp_path):
    text = """
[nodes.smoke]
volume = { resolution = [4, 4, 4], density = 0.1 }
[cameras.front]
position = [0, 0, 3]
target = [0, 0, 0]
fov_y_degrees = 40
[fit]
targets = { front = "a.png" }
losses = { mse = 1.0, "total_variation:smoke.density" = 1e-3, sparsity = 1e-4 }
rays_per_step = 64
background = "random"
resolution = [8, 6]
grow = { smoke = [10, 20] }
start = { smoke = "box" }
parameters = { "smoke.density" = { lr = 0.1 } }
"""
    fit = load_scene(write(tmp_path, text)).fit
    assert fit is not None
    assert fit.losses == {"mse": 1.0, "total_variation:smoke.density": 1e-3, "sparsity": 1e-4}
    assert (fit.rays_per_step, fit.background, fit.resolution) == (64, "random", (8, 6))
    assert fit.grow == {"smoke": (10, 20)}
    fit = load_scene(write(tmp_path, text.replace('"random"', "[0.5, 0.5, 1]"))).fit
    assert fit is not None
    assert fit.background == (0.5, 0.5, 1.0)
    for old, new, expected in (
        ("total_variation:", "total_variatio:", "did you mean 'total_variation'"),
        ("sparsity", '"mse:smoke.density"', "no pattern can follow"),
        ('"random"', '"rondom"', "fit.background: unknown name 'rondom'"),
        ('"random"', "[1, 1]", "fit.background"),
        ("[8, 6]", "[8, 6.5]", "fit.resolution"),
        ("grow = { smoke", "grow = { smok", "did you mean 'smoke'"),
        ("= 64", "= -64", "fit.rays_per_step"),
    ):
        assert expected in message(write(tmp_path, text.replace(old, new)))


@pytest.mark.parametrize("name", GRID_LOSSES)
def test_settings_know_every_loss(name):
    checked(FitSettings(views="a", parameters={"a": ParameterSettings(lr=1)}, losses={name: 1.0, f"{name}:a.*": 1.0}))
