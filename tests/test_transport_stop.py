"""Fits by paths and photons that cannot or may not go on: R17 (NaN), Ctrl-C."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError, TidrError
from tidr.fitting import checkpoint
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.loop import FitError, Watcher
from tidr.fitting.settings import FitSettings, ParameterSettings
from tidr.renderers.path import PathTracer
from tidr.renderers.photons import PhotonMapper

from .nan_values import is_refused
from .photon_stage import camera, stage

SIZE = 8
RENDERERS = {
    "path": (PathTracer, {"samples": 2, "max_depth": 5}),
    "photons": (PhotonMapper, {"photons": 1000, "passes": 1, "radius": 0.3, "max_depth": 5}),
}
LIT = {"bulb": 3.0, "panel": 2.0}
PLACES = (
    "ball.translation", "ball.rotation", "ball.scale", "front.position", "front.rotation", "front.focal",
    "front.principal_point",
)  # fmt: skip
VALUES = (
    "ball.vertices", "white.albedo", "glass.ior", "silver.eta", "silver.k", "silver.specular", "glass.transmittance",
    "glow.emission", "bulb.position", "bulb.intensity",
)  # fmt: skip


def scene_of() -> tidr.Scene:
    scene = stage(**LIT)
    scene.add_camera("front", camera())
    return scene


def renderer_of(kind: str):
    make, options = RENDERERS[kind]
    return make(**options)


def shown(scene: tidr.Scene, kind: str):
    return tidr.render(scene, renderer=renderer_of(kind), width=SIZE, height=SIZE).rgb


@pytest.mark.parametrize("path", PLACES)
def test_a_place_never_takes_a_nan(f32, path):
    parameter = scene_of().parameters(path)[path]
    before = parameter.numpy()
    broken = np.array(before)
    broken.reshape(-1)[-1] = np.nan
    with pytest.raises(TidrError, match=path):
        parameter.set(broken)
    np.testing.assert_array_equal(parameter.numpy(), before)


def with_nan(path: str) -> tidr.Scene:
    """A scene in which a kernel wrote NaN into a parameter."""
    scene = scene_of()
    parameter = scene.parameters(path)[path]
    parameter.value.from_numpy(np.full_like(parameter.value.to_numpy(), np.nan))
    parameter.touch()
    return scene


@pytest.mark.parametrize("kind", RENDERERS)
def test_nowhere_is_no_place_for_a_node_or_a_camera(f32, kind):
    for path in PLACES:
        with pytest.raises(SceneError, match=f"{path.partition('.')[0]}.*not finite"):
            shown(with_nan(path), kind)


@pytest.mark.parametrize("kind", RENDERERS)
def test_a_nan_is_refused(f32, kind):
    """Those in textures, other lights, media and by light tracing: where the tests have such scenes."""
    scene = scene_of()
    is_refused(scene, scene.cameras["front"], renderer_of(kind), VALUES, SIZE)


def settings_of(folder: Path, kind: str, steps=6, **changes) -> FitSettings:
    target = folder / "front.npy"
    if not target.is_file():
        scene = scene_of()
        tidr.render(scene, renderer=renderer_of(kind), width=SIZE, height=SIZE).save(target)
    fitted = {
        "red.albedo": ParameterSettings(lr=0.05, start=(0.1, 0.2, 0.3)),
        "bulb.position": ParameterSettings(lr=0.02),
    }
    return FitSettings(
        targets={"front": str(target)}, parameters=fitted, losses={"mse": 1.0},
        renderer={"type": kind, **RENDERERS[kind][1]}, steps=steps, **changes,
    )  # fmt: skip


class After(Watcher):
    """Does something after a step."""

    def __init__(self, at: int, act) -> None:
        self.at, self.act = at, act

    def step(self, step: int, loss: float, psnr: float | None) -> None:
        if step == self.at:
            self.act()


@pytest.mark.parametrize("kind", RENDERERS)
@pytest.mark.parametrize("path", ["red.albedo", "bulb.position"])
def test_a_nan_in_a_fit_stops_it_with_the_path(f32, kind, path, tmp_path):
    """No file gets it."""
    scene = scene_of()
    parameter = scene.parameters(path)[path]

    def break_it() -> None:
        broken = parameter.value.to_numpy()
        broken.reshape(-1)[0] = np.nan
        parameter.value.from_numpy(broken)

    settings = settings_of(tmp_path, kind, steps=20, save_every=5)
    with pytest.raises(FitError, match=path):
        fit_from_settings(scene, settings, tmp_path / "run", watcher=After(7, break_it))
    saved = checkpoint.load(tmp_path / "run")
    assert saved is not None
    assert saved.step == 5
    kept = [array for name, array in saved.arrays.items() if name.startswith(("parameter/", "optimizer/"))]
    assert kept
    assert all(np.isfinite(array).all() for array in kept)


@pytest.mark.parametrize("kind", RENDERERS)
def test_ctrl_c_finishes_the_step_and_the_fit_goes_on_from_there(f32, kind, tmp_path):
    found = []
    for name, stops in (("whole", False), ("parts", True)):
        scene, settings = scene_of(), settings_of(tmp_path, kind)
        if stops:
            press = After(3, lambda: os.kill(os.getpid(), signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                fit_from_settings(scene, settings, tmp_path / name, watcher=press)
            assert checkpoint.load(tmp_path / name).step == 3
            scene = scene_of()
        fit_from_settings(scene, settings, tmp_path / name, resume=stops)
        found.append(
            {path: parameter.numpy() for path, parameter in scene.parameters("red.albedo", "bulb.position").items()}
        )
    for path, whole in found[0].items():
        np.testing.assert_array_equal(found[1][path], whole, err_msg=path)
        assert np.isfinite(whole).all()
