"""Lights of light transport: irradiance and power by their samplers against closed forms and each other."""

import numpy as np
import pytest

import tidr
from tidr.array import Array

from .gradients import tape_gradients
from .light_checks import Rig, everywhere, over_sphere, unit
from .light_scenes import KINDS, UP, disc, even, only, scene_of, sky_light, uniform


def irradiance(rig: Rig, x, normal, n: int = 40_000) -> np.ndarray:
    """[3] at a point, by `sample`."""
    s = rig.sample(np.atleast_2d(x), even(n, 3))
    cosine = np.maximum(s.d @ np.asarray(normal), 0)
    kept = s.pdf > 0
    return (s.value[kept] * (cosine[kept] / s.pdf[kept])[:, None]).sum(0) / n


@pytest.mark.row(143)
@pytest.mark.parametrize(("radius", "height"), [(0.5, 1.0), (1.0, 0.5)])
def test_disc_source_on_its_axis(f32, radius, height):
    rig = Rig(scene_of([disc(radius, height)]))
    expected = np.pi * radius**2 / (radius**2 + height**2)
    np.testing.assert_allclose(irradiance(rig, [0, 0, 0], UP), expected, rtol=2e-3)
    assert not irradiance(rig, [0, 2 * height, 0], -UP).any()  # it shines on its front only


@pytest.mark.row(143)
def test_disc_source_moves_with_its_vertices(f64):
    """dE/dh = -2 pi r^2 h / (r^2 + h^2)^2, outline included, since samples stick to the triangles."""
    scene, n, radius, height = scene_of([disc(0.8, 0.0, 60)]), 20_000, 0.8, 0.7
    scene["lamp0"].translation.set([0, height, 0])
    entry, u = np.arange(n) % 60, even(n, 2)

    def slope(way):
        x, weights = Array.of(np.zeros((n, 3))), np.array([60 / n, 0, 0])
        ways = np.broadcast_to(np.asarray(way, float), (n, 3))

        def lit():
            return Rig(scene).received(x, entry, u, ways, weights)

        return tape_gradients(lit, [scene["lamp0"].translation])[0]

    found = (slope(UP) - slope([0, 0, 0]))[1]
    area = 30 * np.sin(2 * np.pi / 60) / np.pi  # of the polygon, in discs
    expected = -2 * np.pi * radius**2 * height / (radius**2 + height**2) ** 2
    assert found == pytest.approx(expected, rel=2e-3 + (1 - area))


@pytest.mark.row(139)
def test_point_light_on_a_plane(f32):
    flux, distance = 4 * np.pi * 2.0, 1.7
    rig = Rig(scene_of(bulb=tidr.PointLight((0, distance, 0), 2.0)))
    for aside in (0.0, 1.0):
        square = distance**2 + aside**2
        expected = flux * (distance / np.sqrt(square)) / (4 * np.pi * square)
        np.testing.assert_allclose(irradiance(rig, [aside, 0, 0], UP, 100), expected, rtol=1e-5)


@pytest.mark.row(144)
@pytest.mark.parametrize(("cutoff", "falloff"), [(0.6, 0.3), (2.5, 0.5), (0.4, 0.0), (0.5, 9.0 / 4), (0.01, 0.004)])
def test_spot_light_sends_what_its_falloff_says(f32, cutoff, falloff):
    rig = Rig(scene_of(light=tidr.SpotLight((0.2, 0.1, 0), (0.3, -1, 0.2), (2, 1, 0.5), cutoff, falloff)))
    inner = max(cutoff - falloff, 0)
    expected = 2 * np.pi * (1 - 0.5 * (np.cos(inner) + np.cos(cutoff))) * np.array([2, 1, 0.5])
    np.testing.assert_allclose(rig.emit(even(20_000, 5)).weight.mean(0), expected, rtol=5e-3)
    u, axis = even(20_000, 2), unit(np.array([0.3, -1, 0.2]))
    cap = 1.2 * 2 * np.sin(cutoff / 2) ** 2 * u[:, 0]
    side = unit(np.cross(axis, UP))
    turn = 2 * np.pi * u[:, 1:]
    around = np.cos(turn) * side + np.sin(turn) * np.cross(axis, side)
    d = (1 - cap[:, None]) * axis + np.sqrt(np.maximum(cap * (2 - cap), 0))[:, None] * around
    inside = np.where(cap <= 2, 1.0, 0.0)[:, None]
    received = rig.sample((0.2, 0.1, 0) + 3 * d, np.zeros((len(u), 3))).value * 9 * inside
    solid = 2 * np.pi * 1.2 * 2 * np.sin(cutoff / 2) ** 2
    np.testing.assert_allclose(received.mean(0) * solid, expected, rtol=5e-3)


@pytest.mark.row(145)
def test_constant_environment(f32):
    rig = Rig(only("constant"))
    radiance = np.array([0.7, 0.5, 0.2])
    for normal in (UP, -UP, unit(np.array([1, 2, -3.0]))):
        np.testing.assert_allclose(irradiance(rig, [0.3, 0, 0], normal), np.pi * radiance, rtol=2e-3)
    radius = rig.lights.cdf.ndarray.to_numpy()[-1]
    expected = np.broadcast_to(4 * np.pi**2 * radius**2 * radiance, (50, 3))
    np.testing.assert_allclose(rig.emit(uniform(50, 5, 0)).weight, expected, rtol=1e-4)


@pytest.mark.row(146)
@pytest.mark.parametrize("seed", [0, 1])
def test_environment_map_by_samples_is_its_integral(f32, seed):
    rig, normal = Rig(scene_of(sky=sky_light(seed, (9, 16)))), unit(np.array([0.4, 1, -0.3]))
    d = everywhere()
    expected = over_sphere(rig.far(d)[0] * np.maximum(d @ normal, 0)[:, None]).sum(0)
    np.testing.assert_allclose(irradiance(rig, [0, 0, 0], normal), expected, rtol=5e-3)


@pytest.mark.row(140)
@pytest.mark.parametrize("angle", [0.0, 0.0093, 0.6, np.pi])
def test_irradiance_of_a_sun_is_what_was_asked_for(f32, angle):
    light = tidr.DirectionalLight((0.5, -1, 0.2), (3, 2, 1), angle)
    rig, axis = Rig(scene_of(light=light)), -unit(np.array([0.5, -1, 0.2]))
    np.testing.assert_allclose(irradiance(rig, [0, 0, 0], axis), (3, 2, 1), rtol=2e-3)
    if angle < 1:  # the whole disc is above the horizon
        np.testing.assert_allclose(irradiance(rig, [0, 0, 0], UP), np.array([3, 2, 1]) * axis[1], rtol=2e-3)
    if angle:
        radiance = np.array([3, 2, 1]) / (np.pi * np.sin(angle / 2) ** 2)
        np.testing.assert_allclose(rig.far(axis[None])[0][0], radiance, rtol=1e-4)
        assert not rig.far(axis[None], suns=0)[0].any()
    else:
        assert not rig.far(axis[None])[0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_photons_bring_what_samples_say(f32, kind):
    """Flux through a square, front side, by both."""
    rig, n = Rig(only(kind)), 200_000
    middle, e1, e2 = np.array([-0.5, -0.6, -0.4]), np.array([1.0, 0.2, 0.1]), np.array([0.1, -0.1, 1.0])
    normal = unit(np.cross(e2, e1))
    area = np.linalg.norm(np.cross(e1, e2))
    u = even(40_000, 5)
    s = rig.sample(middle + u[:, :1] * e1 + u[:, 1:2] * e2, np.ascontiguousarray(u[:, 2:]))
    share = np.where(s.pdf > 0, np.maximum(s.d @ normal, 0) / np.maximum(s.pdf, 1e-30), 0)
    sampled = s.value * share[:, None] * area
    photons = rig.emit(even(n, 5))
    down = photons.direction @ normal
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (middle - photons.position) @ normal / down
        at = photons.position + t[:, None] * photons.direction - middle
    local = at @ np.linalg.pinv(np.stack([e1, e2]))
    hit = (down < 0) & (t > 0) & (local >= 0).all(1) & (local <= 1).all(1)
    assert hit.sum() > 300
    arrived = (photons.weight * hit[:, None]).sum(0) / n
    error = photons.weight[hit].mean(0) * np.sqrt(hit.sum()) / n
    assert (np.abs(arrived - sampled.mean(0)) <= 4 * error + 5e-3 * arrived).all()
