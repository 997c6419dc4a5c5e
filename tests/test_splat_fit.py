"""Fits of Gaussians: from random places to the pictures, stopped and gone on with, and what they leave behind."""

import json
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.files.scene_file import load_scene
from tidr.files.splats import read_splats
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import Watcher
from tidr.fitting.settings import DensifySettings, FitSettings, ParameterSettings

from .fit_toys import SIDE, toy_cameras, write_views

RATES = {"means": 2e-3, "log_scales": 2e-2, "rotations": 5e-3, "opacity_logits": 5e-2, "sh_dc": 2e-2, "sh_rest": 1e-3}
ADAPTIVE = DensifySettings(
    from_step=5, until_step=24, every=5, gradient_threshold=1e-5, reset_every=20, sh_every=8, max_count=150
)
MCMC = DensifySettings(method="mcmc", from_step=5, until_step=24, every=5, sh_every=8, max_count=75, noise=5e3)


def cloud_scene(count: int = 60, sh_degree: int = 1) -> tidr.Scene:
    rng = np.random.default_rng(0)
    scene = tidr.Scene(tidr.Film(SIDE, SIDE))
    grey = np.full((count, 3), 0.5)
    fog = tidr.Gaussians.from_colors(rng.uniform(-1, 1, (count, 3)), grey, 0.15, sh_degree=sh_degree)
    scene.add_node("fog", tidr.Node(fog))
    return scene


def cloud_settings(folder: Path, how: DensifySettings | None, **changes) -> FitSettings:
    names = [name for name in RATES if name not in changes.pop("fixed", ())]
    values: dict = {
        "views": str(write_views(folder)),
        "start": {"fog": "box"},
        "parameters": {f"fog.{name}": ParameterSettings(lr=RATES[name]) for name in names},
        "losses": {"l1": 0.8, "dssim": 0.4},
        "renderer": {"type": "points"},
        "background": "random",
        "densify": {"fog": how} if how else {},
        "steps": 30,
        "views_per_step": 2,
        "hold_out": 3,
    }
    return FitSettings(**(values | changes))


@pytest.mark.parametrize(
    ("how", "fixed"), [(ADAPTIVE, ()), (MCMC, ()), (ADAPTIVE, ("rotations",))], ids=["adaptive", "mcmc", "fixed"]
)
def test_resume_repeats_an_unbroken_fit_bit_for_bit(f32, tmp_path, how, fixed):
    settings = cloud_settings(tmp_path, how, fixed=fixed)
    whole = fit_from_settings(cloud_scene(), settings, tmp_path / "whole")
    assert whole.scene["fog"].geometry.count != 60
    fit_from_settings(cloud_scene(), settings, tmp_path / "parts", steps=13)  # cut off between two changes
    fit_from_settings(cloud_scene(), settings, tmp_path / "parts", resume=True, steps=20)  # and right at one
    parts = fit_from_settings(cloud_scene(), settings, tmp_path / "parts", resume=True)
    assert parts.metrics["gaussians"] == whole.metrics["gaussians"] == {"fog": whole.scene["fog"].geometry.count}
    for path, parameter in whole.scene.parameters("fog.*").items():
        assert np.array_equal(parameter.numpy(), parts.scene.parameters()[path].numpy()), path
    assert np.array_equal(whole.losses[:, :-1], parts.losses[:, :-1])


def test_another_seed_is_another_fit(f32, tmp_path):
    settings = cloud_settings(tmp_path, MCMC)
    one = fit_from_settings(cloud_scene(), settings)
    same = fit_from_settings(cloud_scene(), settings)
    assert np.array_equal(one.losses[:, 1], same.losses[:, 1])
    other = fit_from_settings(cloud_scene(), cloud_settings(tmp_path, MCMC, seed=1))
    assert not np.array_equal(one.losses[:, 1], other.losses[:, 1])


@pytest.mark.long
@pytest.mark.row(74, 192)
@pytest.mark.parametrize("method", ["adaptive", "mcmc"])
def test_a_fit_from_random_places_finds_the_thing(f32, tmp_path, method):
    how = DensifySettings(
        method=method, from_step=20, until_step=150, every=20, gradient_threshold=1e-3, reset_every=0, sh_every=50,
        max_count=250, growth=0.1, noise=2e4,
    )  # fmt: skip
    losses = {"l1": 0.8, "dssim": 0.4}
    losses |= {"gaussian_opacity": 0.01, "gaussian_scale": 0.01} if method == "mcmc" else {}
    settings = cloud_settings(tmp_path, how, steps=300, losses=losses)
    result = fit_from_settings(cloud_scene(), settings, tmp_path / "run")
    assert result.metrics["views_are"] == "kept out of the fit"
    assert result.metrics["mean"]["psnr"] > 28
    assert 60 < result.metrics["gaussians"]["fog"] <= 250
    # What is left behind is drawn as it was, by other programs too.
    back = load_scene(tmp_path / "run" / "scene.toml")
    fog = result.scene["fog"].geometry
    assert np.array_equal(read_splats(tmp_path / "run" / "scene_fog.ply").means, fog.means.numpy())
    drawn = [tidr.render(scene, toy_cameras()[0], "points").rgb.numpy() for scene in (result.scene, back)]
    np.testing.assert_allclose(*drawn, atol=1e-6)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["gaussians"] == result.metrics["gaussians"]


def test_nothing_is_allocated_between_two_changes(f32, tmp_path):
    marks: dict[int, int] = {}

    class Marks(Watcher):
        def step(self, step: int, loss: float, psnr: float | None) -> None:
            marks[step] = buffer.allocations

    still = DensifySettings(from_step=8, until_step=8, every=8, sh_every=0, reset_every=0)
    fit_from_settings(cloud_scene(), cloud_settings(tmp_path, still, steps=40), tmp_path / "run", watcher=Marks())
    assert marks[40] == marks[6]


SMALL = ["fit.resolution=[48, 48]", "fit.steps=300", "nodes.thing.gaussians.count=1000", "fit.densify.thing.every=40"]
SMALL += [f"fit.densify.thing.{key}={value}" for key, value in {"from_step": 60, "until_step": 200}.items()]
SMALL += ["fit.densify.thing.sh_every=100", "fit.densify.thing.max_count=3000"]
RAISED = {"means": 2e-3, "log_scales": 3e-2, "sh_dc": 2e-2}  # a short fit takes longer steps
SMALL += [f'fit.parameters."thing.{name}".lr={lr}' for name, lr in RAISED.items()]


@pytest.mark.long
@pytest.mark.row(74, 192)
def test_the_bundled_scene_foresees_views_that_were_kept_out(f32, record_property):
    scene = load_scene("splats", SMALL)
    result = fit_from_settings(scene, scene.fit)
    record_property("psnr_db", result.metrics["mean"]["psnr"])
    assert result.metrics["views_are"] == "kept out of the fit"
    assert result.metrics["gaussians"]["thing"] > 1000
    assert result.metrics["mean"]["psnr"] > 30
