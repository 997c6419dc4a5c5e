"""The pose of a known, textured thing from one photo: the bundled scene."""

import dataclasses

import numpy as np
import pytest

import tidr
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.truth import how_far
from tidr.scene.transform import quaternion_from_rotation, rotation_from_quaternion

TURN_DEGREES, SHIFT = 15.0, 0.2
STARTS, FOUND = 20, 18


def turned(quaternion, axis, degrees: float) -> np.ndarray:
    """A quaternion, w first, turned about an axis [3] of length 1."""
    x, y, z = axis * np.sin(np.radians(degrees) / 2)
    by = rotation_from_quaternion(np.array([np.cos(np.radians(degrees) / 2), x, y, z]))
    return quaternion_from_rotation(by @ rotation_from_quaternion(np.asarray(quaternion)))


def test_the_bundled_start_is_as_far_off_as_it_says(f32):
    scene = tidr.load("pose")
    for path, settings in scene.fit.parameters.items():
        scene.parameters(path)[path].set(settings.start)
    off = how_far(scene, scene.fit.truth)
    assert off["duck.rotation"]["error"] == pytest.approx(TURN_DEGREES, rel=1e-4)
    assert off["duck.translation"]["error"] == pytest.approx(SHIFT, rel=1e-4)


@pytest.mark.long
@pytest.mark.row(184)
def test_nine_of_ten_starts_find_it(f32, tmp_path):
    """To a degree, and to a hundredth of the duck's diagonal."""
    random, found = np.random.default_rng(7), 0
    for number in range(STARTS):
        scene = tidr.load("pose")
        axis, way = (vector / np.linalg.norm(vector) for vector in random.normal(size=(2, 3)))
        starts = {
            "duck.rotation": turned(scene.fit.truth["duck.rotation"], axis, TURN_DEGREES),
            "duck.translation": np.array(scene.fit.truth["duck.translation"]) + SHIFT * way,
        }
        parameters = {
            path: dataclasses.replace(scene.fit.parameters[path], start=tuple(value)) for path, value in starts.items()
        }
        settings = dataclasses.replace(scene.fit, parameters=parameters)
        fit_from_settings(scene, settings, tmp_path / f"run {number}")
        off = how_far(scene, settings.truth)
        size = np.linalg.norm(np.subtract(*scene["duck"].mesh.bounds()))
        found += off["duck.rotation"]["error"] < 1 and off["duck.translation"]["error"] < 0.01 * size
    assert found >= FOUND
