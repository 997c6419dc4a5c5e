"""Photon density estimates: brute force, closed forms, gradients, progressive radii, degenerate input."""

import numpy as np
import pytest

from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.kernels.photons.profiles import PROFILES
from tidr.kernels.transport.slots import LAMBERT, PARAMS, ROUGH_CONDUCTOR
from tidr.parameter import Parameter
from tidr.renderers.photon_density import (
    MEDIUM,
    DensitySettings,
    Queries,
    radius_of_pass,
    shrink_radii,
    surrounding_radii,
)
from tidr.renderers.photon_grid import Photons, PointGrid, integers
from tidr.renderers.volume_compose import unit

from .gradients import directional_check, tape_gradients, weighted
from .photon_scenes import UP, directions, estimate, fill, on_plane, queries_of, reals
from .reference import photons as twin

LAYOUTS = {
    "even": lambda rng, n: (rng.uniform(-1, 1, (n, 3)), 0.4),
    "one cell": lambda rng, n: (rng.uniform(-1, 1, (n, 3)), 64.0),
    "tiny cells": lambda rng, n: (rng.uniform(-1, 1, (n, 3)), 1e-3),
    "clusters": lambda rng, n: (rng.normal(size=(n, 3)) * 0.2 + rng.choice([-900.0, 0.0, 3.0], (n, 1)), 0.4),
    "huge": lambda rng, n: (rng.uniform(-1, 1, (n, 3)) * [1e7, 1e7, 0.5], 0.01),
    "same": lambda rng, n: (np.full((n, 3), 0.25), 0.4),
    "plane": lambda rng, n: (rng.uniform(-1, 1, (n, 3)) * [1, 0, 1], 0.4),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_equals_going_through_all_photons(name, backend):
    rng = np.random.default_rng(1)
    positions, cell = LAYOUTS[name](rng, 700)
    positions = positions.astype(np.float32).astype(float)
    rough = [directions(rng, 700), rng.uniform(0, 1, (700, 3)), directions(rng, 700)]
    photons = [positions, *(part.astype(np.float32).astype(float) for part in rough)]
    points = (positions[:90] + rng.normal(size=(90, 3)) * 0.05).astype(np.float32).astype(float)
    normals, eyes, albedo = directions(rng, 90), directions(rng, 90), rng.uniform(0, 1, (90, 3))
    radii = rng.uniform(0.0, 0.5, 90) * (np.arange(90) % 9 > 0)
    expected, counts = twin.on_surfaces(photons, (points, normals, normals, eyes, albedo, radii), "biweight", 0.4, -0.2)
    held = Photons.of(*photons)
    queries = queries_of(points, normals, eyes, radii, albedo)
    found, held_counts = estimate(held, queries, cell, thickness=0.4, least_cosine=-0.2)
    if backend.precision == 64:
        assert (held_counts == counts).all()
    assert counts.sum() > 20
    scale = np.abs(expected).max()
    close = np.abs(found.numpy() - expected).max(1) <= (1e-12 if backend.precision == 64 else 1e-3) * scale
    assert close.mean() >= (1.0 if backend.precision == 64 else 0.97)


@pytest.mark.row(50)
@pytest.mark.parametrize("name", PROFILES)
def test_kernels_hold_their_formulas_and_integrate_to_one(name, f64):
    """One photon is asked from many distances: K_r(d), whose integral over the disc, and over the sphere, is 1."""
    radius, steps = 0.7, 4000
    distances = (np.arange(steps) + 0.5) / steps * radius
    photon = on_plane([[0.0, 0.0, 0.0]], 1.0)
    points = distances[:, None] * [0.6, 0.8, 0.0]
    found, _ = estimate(photon, queries_of(points, UP, UP, radius), radius, profile=name)
    values = np.pi * found.numpy()[:, 0].astype(float)
    expected = twin.PROFILES[name]((distances / radius) ** 2) / (np.pi * radius**2)
    assert np.allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert (values * 2 * np.pi * distances).mean() * radius == pytest.approx(1.0, abs=2e-6)
    medium = queries_of(points, UP, UP, radius, params=Array.of(np.zeros((steps, 1))))
    found, _ = estimate(photon, medium, radius, profile=name, kinds=MEDIUM)
    shells = 4 * np.pi * found.numpy()[:, 0].astype(float) * 4 * np.pi * distances**2
    assert shells.mean() * radius == pytest.approx(1.0, abs=2e-6)


@pytest.mark.row(50)
@pytest.mark.parametrize(
    ("name", "measured", "leading"), [("constant", -0.029, -0.75), ("epanechnikov", -0.0195, -0.5)]
)
def test_point_light_over_a_plane_has_the_known_bias(name, measured, leading, f64):
    """E = Phi / 4 pi h^2, less 3/4 (r/h)^2 or 1/2 (r/h)^2 of it; photons evenly over the cone that the disc needs."""
    height, power, rings, spokes = 2.0, 5.0, 2000, 8

    def error(radius: float) -> float:
        low = height / np.hypot(height, 1.5 * radius)
        cosine = low + (1 - low) * (np.arange(rings) + 0.5) / rings
        across = height * np.sqrt(1 - cosine**2) / cosine
        turn = 2 * np.pi * (np.arange(spokes) + 0.5) / spokes
        ways = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
        each = power * (1 - low) / 2 / (rings * spokes)
        photons = on_plane((across[:, None, None] * ways).reshape(-1, 3), each)
        found, _ = estimate(photons, queries_of(np.zeros((1, 3)), UP, UP, radius), radius, profile=name)
        return np.pi * float(found.numpy()[0, 0]) / (power / (4 * np.pi * height**2)) - 1

    assert error(0.2 * height) == pytest.approx(measured, abs=1e-3)
    ratio = 0.05
    assert error(ratio * height) / ratio**2 == pytest.approx(leading, abs=0.02)


def glossy_scene(seed: int, medium: bool):
    """Arrays and the loss of a random scene: photons and queries everywhere, of two materials, or in a medium."""
    rng = np.random.default_rng(seed)
    n, q = 60, 12
    raw = [directions(rng, n), directions(rng, q), directions(rng, q)]
    raw[0] = np.where(raw[0] @ UP < 0, 1, -1)[:, None] * raw[0] - 0.5 * UP
    raw[1], raw[2] = raw[1] * 0.3 + UP, raw[2] * 0.5 + UP
    flight, normal, eye = (Parameter(part) for part in raw)
    positions, points = Parameter(rng.normal(size=(n, 3)) * 0.3), Parameter(rng.normal(size=(q, 3)) * 0.2)
    powers = Parameter(rng.uniform(0.2, 1, (n, 3)))
    faces = directions(rng, n)
    params = rng.uniform(0.3, 0.7, (q, PARAMS))
    params[:, 9:15] += 1.0
    params = Parameter(rng.uniform(-0.6, 0.6, (q, 1)) if medium else params)
    kind = integers(np.where(np.arange(q) % 3, LAMBERT, ROUGH_CONDUCTOR))
    kinds = MEDIUM if medium else 1 << LAMBERT | 1 << ROUGH_CONDUCTOR
    radii, sides = reals(rng.uniform(0.3, 0.9, q)), Array.of(np.broadcast_to(UP, (q, 3)))
    weights = rng.normal(size=(q, 3))
    flags = integers(np.where(np.arange(n) % 7, 0, -1))

    def loss(profile="biweight"):
        photons = Photons(positions, unit(flight), powers, Array.of(faces), flags)
        queries = Queries(points, unit(normal), sides, unit(eye), params, kind, radii)
        found, counts = estimate(photons, queries, 0.9, profile=profile, kinds=kinds, thickness=0.6, least_cosine=-0.7)
        assert counts.sum() > 2 * q
        return weighted(found, weights)

    return [positions, flight, powers, points, eye, params, *([] if medium else [normal])], loss


@pytest.mark.parametrize("medium", [False, True])
@pytest.mark.parametrize("seed", [3, 4])
def test_gradients_equal_differences(seed, medium, f64):
    """Lambert and rough conductor, or a medium: photons' positions, directions and powers, and all of a query."""
    arrays, loss = glossy_scene(seed, medium)
    directional_check(loss, arrays, f64, seed)


@pytest.fixture
def exact(f64) -> list[list[np.ndarray]]:
    return [tape_gradients(*reversed(glossy_scene(3, medium))) for medium in (False, True)]


def test_gradients_in_f32_equal_those_in_f64(exact, vulkan):
    for medium in (False, True):
        arrays, loss = glossy_scene(3, medium)
        for array, found, expected in zip(arrays, tape_gradients(loss, arrays), exact[medium], strict=True):
            assert np.abs(expected).max() > 0
            assert np.linalg.norm(found - expected) <= 1e-3 * np.linalg.norm(expected), array.shape


@pytest.mark.parametrize("profile", ["cone", "gaussian", "epanechnikov", "constant"])
def test_gradients_of_the_other_kernels_inside_the_disc(profile, f64):
    """By what does not move a photon across r: small steps of photons that are all well inside, or well outside."""
    rng = np.random.default_rng(5)
    spots = np.concatenate([rng.uniform(-0.5, 0.5, (20, 3)), rng.uniform(2, 3, (20, 3))]) * [1, 1, 0]
    photons = on_plane(spots, 0.3)
    queries = queries_of(rng.uniform(-0.1, 0.1, (4, 3)) * [1, 1, 0], UP, UP, 1.0)
    weights = rng.normal(size=(4, 3))

    def loss():
        return weighted(estimate(photons, queries, 1.0, profile=profile)[0], weights)

    directional_check(loss, [photons.positions, photons.powers, queries.points], f64)
    assert (np.abs(photons.positions.grad_numpy()).max() > 0) == (profile != "constant")


def test_height_of_a_point_light_has_the_closed_form_gradient(f64):
    """dE/dh = -2 Phi / 4 pi h^3 on the axis, from the photons' ways x_p = h tan(theta) alone, but for the bias."""
    rng = np.random.default_rng(6)
    height, power, n, radius = 2.0, 5.0, 200_000, 0.2
    low = 0.97
    cosine = 1 - (1 - low) * (np.arange(n) + rng.uniform(size=n)) / n
    turn = 2 * np.pi * ((np.arange(n) * 0.6180339887498949) % 1)
    across = np.sqrt(1 - cosine**2) / cosine
    ways = np.stack([across * np.cos(turn), across * np.sin(turn), 0 * across], 1)
    photons = on_plane(height * ways, power * (1 - low) / 2 / n)
    with Tape() as tape:
        radiance, _ = estimate(photons, queries_of(np.zeros((1, 3)), UP, UP, radius), radius)
        tape.add(weighted(radiance, [[np.pi, 0.0, 0.0]]))
    slope = (photons.positions.grad_numpy() * ways).sum()
    assert slope == pytest.approx(-2 * power / (4 * np.pi * height**3), rel=0.015)
    # Irradiance is linear in the power, so its gradient is E / Phi exactly.
    share = photons.powers.grad_numpy()[:, 0].sum() * photons.powers.numpy()[0, 0]
    assert share == pytest.approx(tape.loss, rel=1e-12)


@pytest.mark.row(51)
def test_radii_shrink_as_published(f64):
    """Knaus and Zwicker: r^2 is .275335 of the first after 100 passes. PPM: N' = N + alpha M, and the mean of passes is
    tau / (passes pi r^2) of the published recursion."""
    assert radius_of_pass(1.0, 0) == 1.0
    assert radius_of_pass(2.0, 100, 0.7) ** 2 / 4 == pytest.approx(0.275335, abs=5e-7)
    assert radius_of_pass(1.0, 50, 2 / 3) < radius_of_pass(1.0, 50, 0.7)
    rng = np.random.default_rng(7)
    queries = queries_of(rng.uniform(-0.3, 0.3, (5, 3)) * [1, 1, 0], UP, UP, [0.5, 0.4, 0.3, 0.2, 0.0])
    held, total = reals(np.zeros(5)), np.zeros(5)
    count, radius, tau = np.zeros(5), np.array([0.5, 0.4, 0.3, 0.2, 0.0]), np.zeros(5)
    for _ in range(6):
        spots = rng.uniform(-1, 1, (200, 3)) * [1, 1, 0]
        radiance, found = estimate(on_plane(spots, 0.01), queries, 0.5, profile="constant")
        shrink_radii(queries, integers(found), held, 0.7)
        total += radiance.numpy()[:, 0]
        distance = np.linalg.norm(spots[None] - queries.points.numpy()[:, None], axis=2)
        fresh = (distance < radius[:, None]).sum(1)
        after = np.where(fresh > 0, radius * np.sqrt((count + 0.7 * fresh) / np.maximum(count + fresh, 1)), radius)
        tau = (tau + 0.01 / np.pi * fresh) * np.divide(after, radius, where=radius > 0, out=np.ones(5)) ** 2
        count, radius = count + 0.7 * fresh, after
        assert np.allclose(queries.radii.ndarray.to_numpy(), radius, rtol=1e-12)
        assert np.allclose(held.ndarray.to_numpy(), count, rtol=1e-12)
    assert (fresh[:4] > 0).all()
    assert np.allclose(total[:4], tau[:4] / (np.pi * radius[:4] ** 2), rtol=1e-12)
    assert total[4] == 0.0


@pytest.mark.row(51)
def test_the_error_of_progressive_estimates_falls_as_it_should(f32):
    """Mean square error against passes: a power between -.6 (bias^2) and -.7 (variance) for alpha = .7.

    Every pass asks 3600 plates below a lamp each, far from one another, that are hit by 8 photons each. With fewer
    passes than 24 or less spread light the powers are not yet reached.
    """
    rng = np.random.default_rng(8)
    side, height, radius, passes, within, each = 60, 1.0, 0.42, 192, 1.5, 8
    plates = np.stack([*np.meshgrid(np.arange(side), np.arange(side)), np.zeros((side, side))], -1).reshape(-1, 3) * 4.0
    low, centers = height / np.hypot(height, within), np.repeat(plates, each, 0)
    queries, photons = queries_of(plates, UP, UP, radius), on_plane(centers, (1 - low) / 2 / each)
    total, errors = np.zeros(len(plates)), []
    truth = 1 / (4 * np.pi * height**2)
    for step in range(passes):
        cosine, turn = rng.uniform(low, 1, len(centers)), rng.uniform(0, 2 * np.pi, len(centers))
        across = height * np.sqrt(1 - cosine**2) / cosine
        photons.positions.set(centers + np.stack([across * np.cos(turn), across * np.sin(turn), 0 * turn], 1))
        now = radius_of_pass(radius, step, 0.7)
        fill(queries.radii, np.full(len(plates), now))
        radiance, _ = estimate(photons, queries, now, profile="constant")
        total += np.pi * radiance.numpy()[:, 0]
        errors.append(((total / (step + 1) - truth) ** 2).mean())
    asked = np.unique(np.geomspace(24, passes, 12).astype(int))
    slope = np.polyfit(np.log(asked), np.log(np.array(errors)[asked - 1]), 1)[0]
    bias = (total.mean() / passes / truth - 1) ** 2
    assert 0.1 < bias / (errors[-1] / truth**2) < 0.5  # neither part alone
    assert -0.7 < slope < -0.6


def test_order_of_photons_does_not_matter_and_caustics_can_be_kept_apart(f64):
    rng = np.random.default_rng(9)
    n = 4000
    spots, powers = rng.uniform(-1, 1, (n, 3)) * [1, 1, 0], rng.uniform(0, 1, (n, 3))
    flags = rng.choice([-1, 0, 1, 2, 3], n)
    points = rng.uniform(-1, 1, (50, 3)) * [1, 1, 0]
    results = {}
    for which in ("all", "caustic", "global"):
        asked = queries_of(points, UP, UP, 0.3)
        results[which] = estimate(on_plane(spots, powers, flags), asked, 0.3, which)[0].numpy()
    assert np.allclose(results["all"], results["caustic"] + results["global"], rtol=1e-12)
    odd = flags % 2 == 1
    only = estimate(on_plane(spots[(flags > 0) & odd], powers[(flags > 0) & odd]), asked, 0.3)[0].numpy()
    assert np.allclose(results["caustic"], only, rtol=1e-12)
    order = rng.permutation(n)
    moved = estimate(on_plane(spots[order], powers[order], flags[order]), asked, 0.3)[0].numpy()
    assert np.allclose(moved, results["all"], rtol=1e-12)
    again = estimate(on_plane(spots, powers, flags), asked, 0.3)[0].numpy()
    assert np.array_equal(again, results["all"])


def test_light_does_not_leak_through_walls_and_around_corners(f64):
    """Photons on the back of a thin wall, on the other wall of a corner, and above the disc do not count."""
    behind = [[0.01, 0, -0.001]], -UP
    corner = [[0.05, 0, 0.05]], np.array([1.0, 0, 0])
    above = [[0, 0, 0.06]], UP
    same = [[0.05, 0, 0.01]], UP
    for (spot, normal), counted in [(behind, 0), (corner, 0), (above, 0), (same, 1)]:
        photons = Photons.of(spot, [-UP], [[1.0, 1, 1]], [normal])
        found, counts = estimate(photons, queries_of(np.zeros((1, 3)), UP, UP, 0.2), 0.2)
        assert counts[0] == counted
        assert (found.numpy() > 0).all() == bool(counted)


def test_first_radii_hold_about_as_many_photons_as_asked(backend):
    rng = np.random.default_rng(10)
    dense, thin = rng.uniform(-1, 0, (4000, 3)), rng.uniform(0, 1, (300, 3))
    photons = on_plane(np.concatenate([dense, thin, [[50.0, 0, 0]]]) * [1, 1, 0], 1.0)
    points = np.concatenate([rng.uniform(-0.8, 0.8, (40, 3)) * [1, 1, 0], [[50.0, 0, 0], [500.0, 0, 0]]])
    queries = queries_of(points, UP, UP, 0.1)
    grid = PointGrid(0.1)
    grid.build(photons.positions, photons.flags)
    surrounding_radii(grid, grid.records(photons), queries, DensitySettings(), 30.0, 1e-4, 0.6)
    radii = queries.radii.ndarray.to_numpy()
    _, counts = estimate(photons, queries, 0.1)
    enough = radii < 0.6
    assert enough.sum() > 25
    assert (np.abs(counts[enough] - 30) <= 4).all()
    assert (counts[~enough] <= 33).all()
    assert radii[-2:] == pytest.approx(0.6)
    assert radii.min() < 0.5 * radii.max()


def test_no_photons_one_at_the_query_and_radius_zero(backend):
    at = queries_of(np.zeros((3, 3)), UP, UP, [0.5, 0.0, 1e-20])
    for photons in (on_plane(np.zeros((0, 3)), 1.0), on_plane(np.zeros((4, 3)), 1.0, [-1] * 4)):
        found, counts = estimate(photons, at, 0.5)
        assert not found.numpy().any()
        assert not counts.any()
    photons = on_plane(np.zeros((1, 3)), 2.0)
    with Tape() as tape:
        found, counts = estimate(photons, at, 0.5, profile="cone")  # whose tip is there
        tape.add(weighted(found, 1.0))
    assert list(counts) == [1, 0, 0]
    assert np.isfinite(found.numpy()).all()
    assert not photons.positions.grad_numpy().any()
    assert not at.points.grad_numpy().any()
    assert photons.powers.grad_numpy()[0] == pytest.approx(found.numpy()[0] / 2, rel=1e-5)


def test_what_is_not_a_number_stays_where_it_is(backend):
    """A NaN power reaches the queries around it only; a photon without a place is left out."""
    spots = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])
    photons = on_plane(spots, 1.0)
    kind = photons.powers.value.to_numpy().dtype
    photons.powers.value.from_numpy(np.array([[1, 1, 1], [np.nan] * 3, [1, 1, 1]], kind))
    queries = queries_of(np.array([[0.1, 0, 0], [0.9, 0, 0], [2.0, 0.1, 0], [1.0, 0.5, 0]]), UP, UP, 0.3)
    for cell in (0.3, 64.0):
        found, counts = estimate(photons, queries, cell)
        assert list(np.isfinite(found.numpy()).all(1)) == [True, False, True, True]
        assert list(counts) == [1, 1, 1, 0]
    photons = on_plane(spots, 1.0)
    photons.positions.value.from_numpy(np.array([[0, 0, 0], [np.nan, 0, 0], [2, np.inf, 0]], kind))
    found, counts = estimate(photons, queries, 0.3)
    assert list(counts) == [1, 0, 0, 0]
    assert np.isfinite(found.numpy()).all()


def test_nothing_is_allocated_after_the_second_use(f32):
    """The number of photons may change a little from pass to pass."""
    rng = np.random.default_rng(11)
    queries = queries_of(rng.uniform(-1, 1, (300, 3)) * [1, 1, 0], UP, UP, 0.3)
    held = []
    for n in (9000, 9100, 9050, 9099):
        photons = on_plane(rng.uniform(-1, 1, (9100, 3)) * [1, 1, 0], 0.1, np.where(np.arange(9100) < n, 0, -1))
        with Tape() as tape:
            tape.add(weighted(estimate(photons, queries, 0.3)[0], 1.0))
        del photons
        held.append(buffer.allocations)
    assert held[1] == held[-1]


def test_faults_are_named(f32):
    for radius in (0.0, -1.0, float("nan"), float("inf"), 1e-320):
        with pytest.raises(SceneError, match="radius"):
            PointGrid(radius)
    with pytest.raises(SceneError, match="constant, cone"):
        DensitySettings(profile="tophat")
