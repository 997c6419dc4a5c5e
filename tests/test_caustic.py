"""The bundled fits by photons through glass, cut short: a lens that draws a picture, and the glass of a ball."""

from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr.files.image import read_image
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.truth import how_far
from tidr.renderers.photons import PhotonMapper


def load(name: str) -> tidr.Scene:
    """The bundled scene with what only the other one has, all of it dark, so that kernels are compiled once."""
    scene = tidr.load(name)
    scene.add_material("dark", tidr.Material("lambert", albedo=0.0, emission=0.0))
    speck = tidr.Mesh(1e-4 * np.eye(3) - (0, 9, 0), [[0, 1, 2]])
    scene.add_node("speck", tidr.Node(speck, ("dark",)))
    if "sun" not in scene.lights:
        scene.add_light("sun", tidr.DirectionalLight((0, -1, 0), 0.0))
    return scene


def seen(scene, camera: str, target: np.ndarray, **settings) -> np.ndarray:
    mapper = PhotonMapper(**settings)
    return tidr.render(scene, camera, mapper, *target.shape[1::-1]).rgb.numpy().reshape(target.shape)


@pytest.mark.long
@pytest.mark.row(54, 195)
def test_a_flat_lens_bends_until_its_light_gathers_in_the_picture(f32):
    """Forty steps with a tenth of the photons; only heights move."""
    scene = load("caustic")
    assert scene.fit is not None
    target = read_image(scene.fit.targets["below"])
    flat = scene["lens"].vertices.numpy()
    sharp = {"photons": 1 << 16, "passes": 2, "radius": 0.03, "aimed": 0.95, "max_depth": 4, "seed": 5}
    before = seen(scene, "below", target, **sharp)
    assert np.isclose(before.mean(), target.mean(), rtol=0.01)  # the picture asks for the light that there is
    fewer = {**scene.fit.renderer, "photons": 6000}
    fit_from_settings(scene, replace(scene.fit, steps=40, renderer=fewer, anneal={"radius": 0.04}))
    after = seen(scene, "below", target, **sharp)
    assert np.square(after - target).mean() < 0.6**2 * np.square(before - target).mean()
    bent = scene["lens"].vertices.numpy()
    assert (bent[:, [0, 2]] == flat[:, [0, 2]]).all()
    assert 0.02 < np.ptp(bent[:, 1]) < 0.2


@pytest.mark.long
@pytest.mark.row(54)
def test_the_light_behind_a_ball_tells_its_index_of_refraction(f32):
    """A quarter of the steps come near; and around the truth the gradient, over a few seeds, points towards it."""
    scene = load("glass_ior")
    assert scene.fit is not None
    fit_from_settings(scene, replace(scene.fit, steps=40, renderer={**scene.fit.renderer, "photons": 15000}))
    assert how_far(scene, scene.fit.truth)["glass.ior"]["error"] < 0.03
    target = read_image(scene.fit.targets["floor"])
    ior, slopes = scene.parameters("glass.ior"), {}
    for index in (1.47, 1.53):
        ior["glass.ior"].set(index)
        found = []
        for seed in range(4):
            mapper = PhotonMapper(photons=15000, passes=1, radius=0.03, aimed=0.6, max_depth=8, seed=seed)
            with tidr.Tape(ior) as tape:
                tape.add(tidr.losses.mse(tidr.render(scene, "floor", mapper, 64, 64), target))
            found.append(float(ior["glass.ior"].grad_numpy().ravel()[0]))
        slopes[index] = np.mean(found), np.std(found, ddof=1) / 2
    assert slopes[1.47][0] < -2 * slopes[1.47][1]
    assert slopes[1.53][0] > 2 * slopes[1.53][1]
