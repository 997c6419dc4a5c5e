"""Light found from pictures of what it shines on: the bundled scenes, and how their errors are told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.cli import app
from tidr.errors import SceneError
from tidr.fitting.bounded import bounds_of
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.settings import FitSettings, ParameterSettings, checked
from tidr.fitting.truth import how_far, known


@pytest.mark.long
@pytest.mark.row(187)
@pytest.mark.parametrize(
    ("name", "path", "key", "most"),
    [
        pytest.param("sky", "sky.coefficients", "share", 0.05),
        pytest.param("sky_map", "sky.radiance", "share", 0.15, marks=pytest.mark.row(100)),
        pytest.param("sun_shadow", "sun.direction", "error", 1.0, marks=[pytest.mark.row(99), pytest.mark.row(200)]),
    ],
)
def test_the_bundled_scene_finds_its_light(f32, tmp_path, name, path, key, most):
    """T12 with a duck of plaster and one of metal; T11 from what a path tracer drew."""
    run = CliRunner().invoke(app, ["fit", name, "-o", str(tmp_path / "run")])
    assert run.exit_code == 0, run.output
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["truth"][path]
    assert found[key] < most
    told = f"({found['share']:.1%}) from the truth" if key == "share" else "degrees from the truth, 20 before"
    assert told in run.output


def test_the_truth_may_be_what_the_scene_says(f64):
    scene = tidr.load("sky")
    rows = scene["sky"].coefficients.numpy()
    truth = known(scene, scene.fit.truth | {"duck.translation": (0, 0, 3)})
    scene["sky"].coefficients.set(1.1 * rows)
    found = how_far(scene, truth)
    assert found["sky.coefficients"]["share"] == pytest.approx(0.1, rel=1e-6)
    assert found["sky.coefficients"]["error"] == pytest.approx(0.1 * np.linalg.norm(rows), rel=1e-6)
    assert found["duck.translation"] == {"error": 3.0, "unit": ""}
    with pytest.raises(SceneError, match=r"fit.truth.sky.coefficients: unknown name 'scenes' \(did you mean 'scene'"):
        checked(FitSettings(views="x", parameters={"x": ParameterSettings(lr=1)}, truth={"sky.coefficients": "scenes"}))


def test_bounds_keep_a_fit_near_and_tell_what_chance_does(f32, tmp_path):
    """A picture wants more light than there may be: all entries end at their bounds, at random most steps cancel."""
    np.save(tmp_path / "white.npy", np.ones((16, 16, 3)))
    scene = tidr.load("cube", ["film.width=16", "film.height=16"])
    bounds = {"key.irradiance": 0.1, "sky.radiance": 0.02}
    parameters = {path: ParameterSettings(lr=0.03, bound=bound) for path, bound in bounds.items()}
    parameters["sky.radiance"] = replace(parameters["sky.radiance"], channels=(1, 2))
    options = {"targets": {"front": str(tmp_path / "white.npy")}, "renderer": {"type": "raster", "edges": "none"}}
    settings = FitSettings(**options, parameters=parameters, steps=12)
    found = fit_from_settings(scene, settings).metrics["bounds"]
    np.testing.assert_allclose(scene["key"].irradiance.numpy(), 2.6, rtol=1e-6)
    np.testing.assert_allclose(scene["sky"].radiance.numpy(), (0.3, 0.32, 0.32), rtol=1e-6)
    assert found["before"] - found["now"] == pytest.approx(found["times"] * found["by_chance"])
    assert 1.5 < found["times"] < 3  # the mean |sum of 3 signs| is half of 3; those of the sky matter less
    near = bounds_of(settings.parameters, scene.parameters("sky.radiance", "key.irradiance"))
    for one in near:
        one.guess(np.random.default_rng(0))
    away = np.abs(scene["sky"].radiance.numpy() - (0.3, 0.32, 0.32))
    np.testing.assert_allclose(away, (0, 0.02, 0.02), atol=1e-6)


@pytest.mark.parametrize(
    ("path", "how", "message"),
    [
        ("cube.vertices", {"bound": 0.0}, r"cube.vertices.bound: is 0.0"),
        ("cube.vertices", {"bound": 0.1, "optimizer": "large_steps"}, "stands beside large_steps"),
        ("cube.rotation", {"bound": 0.1}, "kept to one length or sum"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(f32, path, how, message):
    settings = FitSettings(views="x", parameters={path: ParameterSettings(lr=1.0, **how)})
    with pytest.raises(SceneError, match=message):
        bounds_of(checked(settings).parameters, tidr.load("cube").parameters(path))
