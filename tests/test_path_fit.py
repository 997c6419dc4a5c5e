"""Fits by light transport: the values that they start from, and fits that were stopped and go on."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError
from tidr.fitting import checkpoint
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.settings import FitSettings, ParameterSettings
from tidr.scene.light import EnvironmentLight

from .path_scenes import open_box

RENDERERS = {
    "path": {"type": "path", "samples": 2, "max_depth": 3},
}


def settings_of(tmp_path, renderer: str, start, steps=6, **changes) -> FitSettings:
    target = tmp_path / "front.npy"
    if not target.is_file():
        tidr.render(open_box(), renderer="path").save(target)
    fitted = {"red.albedo": ParameterSettings(lr=0.05, start=start)}
    return FitSettings(
        targets={"front": str(target)}, parameters=fitted, losses={"mse": 1.0}, renderer=RENDERERS[renderer],
        steps=steps, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("renderer", RENDERERS)
def test_three_steps_and_three_more_are_six(f32, tmp_path, renderer):
    settings, found = settings_of(tmp_path, renderer, (0.1, 0.2, 0.3)), []
    for name, stops in (("whole", (6,)), ("parts", (3, 6))):
        scene = open_box()
        for turn, stop in enumerate(stops):
            scene = open_box()
            fit_from_settings(scene, settings, tmp_path / name, steps=stop, resume=turn > 0)
        found.append(scene["red"].sources["albedo"].numpy())
    assert (found[0] == found[1]).all()
    assert np.abs(found[0] - [0.1, 0.2, 0.3]).max() > 0.01


CHILD = """
import sys
from pathlib import Path
import tidr
from tests.test_path_fit import open_box, settings_of
from tidr.fitting.fit import fit_from_settings
tidr.init(arch="cpu", precision=32)
folder = Path(sys.argv[1])
fit_from_settings(open_box(), settings_of(folder, sys.argv[2], (0.1, 0.2, 0.3), 10**6, save_every=2), folder / "run")
"""


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_killed_fit_goes_on_from_its_last_checkpoint(f32, tmp_path, renderer):
    settings_of(tmp_path, renderer, (0.1, 0.2, 0.3))  # writes the target
    run, command = tmp_path / "run", [sys.executable, "-c", CHILD, str(tmp_path), renderer]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 300
        while len(checkpoint.saved(run)) < 2 and time.monotonic() < end:
            assert child.poll() is None, child.stderr.read().decode()
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
    saved = checkpoint.load(run)
    assert saved is not None
    assert saved.step >= 2
    settings = settings_of(tmp_path, renderer, (0.1, 0.2, 0.3), 10**6)
    result = fit_from_settings(open_box(), settings, run, resume=True, steps=saved.step + 2)
    assert len(result.losses) == saved.step + 2
    assert np.isfinite(result.losses).all()


@pytest.mark.parametrize(("start", "expected"), [((0.25,), [0.25] * 3), ((0.1, 0.2, 0.3), [0.1, 0.2, 0.3])])
def test_a_fit_starts_from_the_values_given(f32, tmp_path, start, expected):
    scene = open_box()
    fit_from_settings(scene, settings_of(tmp_path, "path", start, 1), tmp_path / "run")
    assert np.abs(scene["red"].sources["albedo"].numpy() - expected).max() <= 0.05 + 1e-6  # one step of Adam


def test_pictures_that_leave_out_the_sky_that_lights_the_scene_are_refused(f32, tmp_path):
    scene = open_box()
    scene.add_light("sky", EnvironmentLight(np.ones((2, 4, 3))))
    settings = settings_of(tmp_path, "path", (0.1, 0.2, 0.3), steps=1)
    fit_from_settings(scene, settings)
    with pytest.raises(SceneError, match="environment light"):
        fit_from_settings(scene, replace(settings, background=(0.0, 0.0, 0.0)))


@pytest.mark.parametrize("start", [(0.1, 0.2), (float("nan"),)])
def test_a_start_of_another_size_or_not_finite_is_refused(f32, tmp_path, start):
    with pytest.raises(SceneError, match=r"fit\.parameters\.red\.albedo\.start"):
        fit_from_settings(open_box(), settings_of(tmp_path, "path", start), tmp_path / "run")
