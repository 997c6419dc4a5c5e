"""Lights of light transport: adjoints against differences and the f64 tape, and lights that must break nothing."""

import functools

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.array import Array
from tidr.kernels.transport import lights as kernels

from .gradients import directional_check, tape_gradients
from .light_checks import BELOW_ONE, Rig, unit
from .light_scenes import DOWN, everything, scene_of, sky_light, triangles, uniform


def directed(scene: tidr.Scene) -> list[Array]:
    """Every parameter that light depends on but by the environment's map, vertices of lamps too."""
    arrays = [p for name, light in scene.lights.items() if name not in ("sky", "glow_everywhere")
              for p in light.parameters().values()]  # fmt: skip
    return [*arrays, scene["lamp0"].vertices]


def rows_of(rig: Rig, n: int, seed: int, axes: int, environment: bool = False):
    """Entries in turn with random numbers and weights; samples away from where they start or end to be seen."""
    rng = np.random.default_rng(seed)
    entry = np.arange(n) % (rig.lights.count - (not environment))
    return entry, rng.uniform(0.05, 0.95, (n, axes)), rng.uniform(0.2, 1, (n, 3))


def in_falloff(light: tidr.SpotLight, n: int, rng: np.random.Generator) -> np.ndarray:
    """Points [n, 3] at which a spot shines with part of its intensity."""
    axis = unit(light.direction.numpy().astype(np.float64))
    angle = float(light.cutoff.numpy()) - float(light.falloff.numpy()) * rng.uniform(0.1, 0.9, (n, 1))
    side = unit(np.cross(axis, rng.normal(size=(n, 3))))
    way = np.cos(angle) * axis + np.sin(angle) * side
    return light.position.numpy() + rng.uniform(0.5, 2, (n, 1)) * way


def received(scene: tidr.Scene, seed: int, n: int = 66):
    """A loss over samples of every light, at points that they shine on, half of a spot's in its falloff; the points."""
    rig = Rig(scene)
    entry, u, weights = rows_of(rig, n, seed, 2)
    rng = np.random.default_rng(seed + 100)
    points = rng.uniform(-0.3, 0.3, (n, 3))
    rows = np.column_stack([rig.centers(entry), u])
    for turn in range(40):  # behind a triangle or in a spot's dark there is nothing to differentiate
        s = rig.sample(points, rows)
        dark = (s.pdf == 0) | ~s.value.any(1)
        points[dark] = rng.uniform(-0.3 - 0.1 * turn, 0.3 + 0.1 * turn, (dark.sum(), 3))
    for index, light in enumerate(rig.lights.lights):
        if isinstance(light, tidr.SpotLight):
            own = np.flatnonzero(entry == len(rig.lights.emitting) + index)[::2]
            points[own] = in_falloff(light, len(own), rng)
    s = rig.sample(points, rows)
    keep = (s.pdf > 0) & s.value.any(1)
    assert set(entry[keep]) == set(entry)
    x, way = Array.of(points[keep]), rng.normal(size=(keep.sum(), 3)) / 3

    def loss():
        return Rig(scene).received(x, entry[keep], u[keep], way, weights[keep])

    return loss, x


def sent(scene: tidr.Scene, seed: int, n: int = 66):
    rig = Rig(scene)
    entry, u, weights = rows_of(rig, n, seed, 4)
    way = np.random.default_rng(seed).normal(size=(n, 6)) / 3
    return lambda: Rig(scene).sent(entry, u, way, weights)


@pytest.mark.row(143)
@pytest.mark.row(144)
@pytest.mark.parametrize("seed", [0, 1])
def test_samples_have_exact_gradients(f64, seed):
    scene = everything(seed)
    loss, x = received(scene, seed)
    directional_check(loss, [*directed(scene), x], f64, seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_photons_have_exact_gradients(f64, seed):
    scene = everything(seed)
    directional_check(sent(scene, seed), directed(scene), f64, seed)


@pytest.mark.row(145)
@pytest.mark.row(146)
@pytest.mark.parametrize("seed", [0, 1])
def test_radiance_from_far_away_has_exact_gradients(f64, seed):
    scene, rng = everything(seed), np.random.default_rng(seed)
    ways = [light.direction.numpy() for name, light in scene.lights.items() if "sun" in name]
    d = Array.of(unit(np.vstack([rng.normal(size=(60, 3)), *(rng.normal(size=(20, 3)) / 9 - way for way in ways)])))
    weights = rng.uniform(0.2, 1, (100, 3))

    def loss():
        return Rig(scene).shining(d, 1, weights)

    suns = [scene.lights[name] for name in ("sun", "wide_sun")]
    light = scene.environment
    arrays = [light.radiance, light.rotation, d] + [p for s in suns for p in (s.irradiance, s.angular_diameter)]
    directional_check(loss, arrays, f64, seed)


@pytest.mark.row(146)
def test_samples_of_the_environment_have_the_gradient_of_its_radiance(f64):
    """Their directions stay: sample_adjoint and emit_adjoint are environment_radiance_adjoint there."""
    scene = scene_of(sky=sky_light(3))
    rig, n = Rig(scene), 50
    u, weights = uniform(n, 4, 1), np.random.default_rng(0).uniform(size=(n, 3))
    s = rig.sample(np.zeros((1, 3)), np.column_stack([rig.centers(np.zeros(n, int)), u[:, :2]]))
    arrays, zero = [scene.environment.radiance, scene.environment.rotation], np.zeros(n, int)
    x, d = Array.of(np.zeros((n, 3))), Array.of(s.d)
    radius = rig.lights.cdf.ndarray.to_numpy()[-1]
    factor = (2 * s.chance / s.pdf)[:, None]
    expected = tape_gradients(lambda: Rig(scene).shining(d, 0, weights * factor), arrays)
    by_samples = tape_gradients(lambda: Rig(scene).received(x, zero, u[:, :2], np.zeros((n, 3)), weights), arrays)
    by_photons = tape_gradients(lambda: Rig(scene).sent(zero, u, np.zeros((n, 6)), weights), arrays)
    for found, photons, wanted in zip(by_samples, by_photons, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
        np.testing.assert_allclose(photons, wanted * 1.5 * np.pi * radius**2, rtol=1e-9)


def gradients() -> list[np.ndarray]:
    scene = everything(1)
    loss, x = received(scene, 1)
    found = tape_gradients(loss, [*directed(scene), x]) + tape_gradients(sent(scene, 1), directed(scene))
    rng = np.random.default_rng(0)
    d, weights = Array.of(unit(rng.normal(size=(60, 3)))), rng.uniform(size=(60, 3))
    return found + tape_gradients(
        lambda: Rig(scene).shining(d, 1, weights), [*scene.environment.parameters().values(), d]
    )


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return gradients()


def test_gradients_on_vulkan_are_those_of_f64(exact, vulkan):
    for index, (found, wanted) in enumerate(zip(gradients(), exact, strict=True)):
        assert np.abs(found - wanted).max() <= 2e-2 * np.abs(wanted).max(), index


# What must not break.


def flat_triangle():
    return [
        (np.array([[0, 1, 0], [1, 1, 0], [2, 1, 0], [0, 1, 0], [0, 1, 1], [1, 1, 0.0]]), np.arange(6).reshape(2, 3))
    ]


DEGENERATE = {
    "no lights": scene_of,
    "zero area": lambda: scene_of(flat_triangle()),
    "zero area alone": lambda: scene_of([(flat_triangle()[0][0][:3], np.arange(3)[None])]),
    "black": lambda: scene_of(
        [triangles(0)], 0.0, bulb=tidr.PointLight((0, 1, 0), 0.0), spot=tidr.SpotLight((0, 1, 0), DOWN, 0.0, 0.3),
        parallel=tidr.DirectionalLight(DOWN, 0.0), sun=tidr.DirectionalLight(DOWN, 0.0, 0.2),
        sky=tidr.EnvironmentLight(np.zeros((3, 4, 3))),
    ),
    "at the light": lambda: scene_of(bulb=tidr.PointLight((0, 0, 0), 1.0), spot=tidr.SpotLight((0, 0, 0), DOWN, 1, 1)),
    "hard spots": lambda: scene_of(
        all=tidr.SpotLight((0, 1, 0), DOWN, 1.0, np.pi, 0.0), none=tidr.SpotLight((0, 1, 0), DOWN, 1.0, 0.0, 0.0)
    ),
    "half a sky": lambda: scene_of(sun=tidr.DirectionalLight(DOWN, 1.0, np.pi)),
    "tiny sun": lambda: scene_of(sun=tidr.DirectionalLight(DOWN, 1.0, 3e-5)),
    "one texel": lambda: scene_of(sky=tidr.EnvironmentLight(np.ones((1, 1, 3)))),
    "one bright texel": lambda: scene_of(sky=tidr.EnvironmentLight(1e6 * np.eye(64)[:, :, None].repeat(3, 2)[:, ::-1])),
    "empty scene": lambda: tidr.Scene(tidr.Film(4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_lights_give_numbers(backend, name):
    rig, n = Rig(DEGENERATE[name]()), 500
    x = np.vstack([np.zeros((n // 2, 3)), np.random.default_rng(0).uniform(-1, 1, (n // 2, 3))])
    u = uniform(n, 5, 0)
    u[:4], u[4:8] = 0, BELOW_ONE
    s, photons = rig.sample(x, np.ascontiguousarray(u[:, :3])), rig.emit(u)
    radiance, pdf = rig.far(np.vstack([np.eye(3), -np.eye(3), unit(x[n // 2 :] + 1e-9)]))
    for result in (s.rows, photons.rows, radiance, pdf):
        assert np.isfinite(result).all()
    assert s.pdf.min() >= 0
    assert (s.value[s.pdf > 0] >= 0).all()
    if name in ("no lights", "empty scene", "zero area alone", "black"):
        assert not (s.value * (s.pdf > 0)[:, None]).any() or name == "black"
        assert not photons.weight[photons.kind != kernels.TRIANGLE].any()
    if name in ("no lights", "empty scene", "zero area alone"):
        assert not s.pdf.any()
    if name == "black":
        assert (s.pdf[s.kind != kernels.TRIANGLE] > 0).all()


def test_dark_lights_have_gradients(f64):
    """What is black now can be made bright by a fit."""
    scene = scene_of([triangles(0)], 0.0, bulb=tidr.PointLight((0, 1, 0), 0.0), sky=tidr.EnvironmentLight(0.0))
    rig, n = Rig(scene), 60
    entry = np.arange(n) % rig.lights.count
    x, u = Array.of(np.full((n, 3), 0.1)), uniform(n, 2, 0)
    s = rig.sample(np.full((1, 3), 0.1), np.column_stack([rig.centers(entry), u]))
    seen = s.pdf > 0
    x = Array.of(np.full((seen.sum(), 3), 0.1))
    arrays = [scene.lights["bulb"].intensity, scene.environment.radiance]
    found = tape_gradients(
        lambda: Rig(scene).received(x, entry[seen], u[seen], np.zeros((seen.sum(), 3)), np.ones(3)), arrays
    )
    assert all((gradient > 0).all() for gradient in found)


def test_same_lights_again_allocate_nothing_and_follow_changes(f64):
    scene = everything()
    light = scene.environment
    u = uniform(2000, 3, 0)

    @functools.cache
    def first():
        return Rig(scene).sample(np.zeros((1, 3)), u).rows

    before = first()
    assert (Rig(scene).sample(np.zeros((1, 3)), u).rows == before).all()
    held = buffer.allocations
    tables = Rig(scene).lights
    assert tables.alias is Rig(scene).lights.alias
    assert tables.layout is Rig(scene).lights.layout
    for _ in range(3):
        Rig(scene).sample(np.zeros((1, 3)), u)
    assert buffer.allocations - held <= 4  # two sets of tables were alive at once
    light.radiance.set(3 * light.radiance.numpy()[::-1])
    assert Rig(scene).lights.alias is not tables.alias
    assert (Rig(scene).sample(np.zeros((1, 3)), u).rows != before).any()
