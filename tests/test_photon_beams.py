"""Photons in media: beam and point estimates against brute force and quadrature; gradients; degenerate rays."""

import numpy as np
import pytest

from tidr import buffer
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.parameter import Parameter
from tidr.renderers.photon_beams import EyeRays, beam_radiance
from tidr.renderers.photon_density import MEDIUM, DensitySettings, Queries, density
from tidr.renderers.photon_grid import Photons, PointGrid, integers
from tidr.renderers.volume_compose import unit

from .gradients import directional_check, tape_gradients, weighted
from .photon_scenes import directions, reals
from .reference import photons as twin


def rays_of(origins, ways, lengths, radii, extinctions, g) -> EyeRays:
    q = len(origins)
    return EyeRays(
        Parameter(origins), Parameter(ways), reals(np.broadcast_to(lengths, q)), reals(np.broadcast_to(radii, q)),
        Parameter(np.broadcast_to(extinctions, (q, 3))), Parameter(np.broadcast_to(g, (q, 1))),
    )  # fmt: skip


def photons_of(positions, ways, powers) -> Photons:
    flags = integers(np.zeros(len(positions)))
    return Photons(Parameter(positions), Parameter(ways), Parameter(powers), Array.of(ways), flags)


def estimate(photons: Photons, rays: EyeRays, cell: float, profile="biweight") -> tuple[Array, np.ndarray]:
    grid = PointGrid(cell)
    grid.build(photons.positions, photons.flags)
    radiance, found = beam_radiance(photons, grid, grid.records(photons), rays, profile)
    return radiance, found.ndarray.to_numpy()[: rays.origins.rows]


def random_rays(rng, q: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Every which way, along the axes too, from inside and outside."""
    ways = directions(rng, q)
    ways[:6] = np.concatenate([np.eye(3), -np.eye(3)])
    ways[6:9, 0] = 0
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    middle = rng.uniform(-0.8, 0.8, (q, 3)) * scale
    return middle - ways * rng.uniform(-0.5, 3, (q, 1)) * scale, ways


@pytest.mark.parametrize("cell", [0.05, 0.1, 0.37, 1.0, 50.0])
@pytest.mark.parametrize(
    ("scale", "count"), [((1.0, 1.0, 1.0), 3000), ((1.0, 1e-9, 1.0), 500), ((6.0, 6.0, 0.1), 3000)]
)
def test_equals_going_through_all_photons(cell, scale, count, backend):
    """Whatever the cells: each photon beside a ray counts once."""
    rng = np.random.default_rng(1)
    q = 60
    positions = rng.uniform(-1, 1, (count, 3)) * scale
    origins, ways = random_rays(rng, q, 1.0)
    medium = rng.uniform(0.1, 1.5, (q, 3)), rng.uniform(-0.7, 0.7, q)
    lengths = np.where(np.arange(q) % 4, rng.uniform(0.2, 3, q), 1e30)
    parts = [positions, directions(rng, count), rng.uniform(0, 1, (count, 3)), origins, ways, lengths]
    parts = [part.astype(np.float32).astype(float) for part in parts]
    radii = rng.uniform(0.02, 0.1, q)
    rays = (*parts[3:], radii, *medium)
    expected, counts = twin.beside_rays(parts[:3], rays, "biweight")
    found, held = estimate(photons_of(*parts[:3]), rays_of(*rays[:5], medium[1][:, None]), cell)
    assert counts.sum() > 30
    if backend.precision == 64:
        assert (held == counts).all()
    close = np.abs(found.numpy() - expected).max(1) <= (1e-10 if backend.precision == 64 else 1e-3) * expected.max()
    assert close.all()


def slab(sigma: float, albedo: float, light: float, depth: float, half: float, n: int):
    """Photons where light that shines straight into a slab along z, irradiance `light`, collides first.

    Evenly spread (R3 sequence) over a square of side 2 * half and over the chances to get that deep.
    """
    steps = np.array([0.8191725133961645, 0.6710436067037893, 0.5497004779019703])
    x, y, share = np.outer(steps, np.arange(n) + 0.5) % 1
    z = -np.log(1 - share) / sigma
    inside = z < depth
    positions = np.stack([(2 * x - 1) * half, (2 * y - 1) * half, z], 1)[inside]
    power = np.full((inside.sum(), 3), light * albedo * (2 * half) ** 2 / n)
    ways = np.broadcast_to([0.0, 0.0, 1.0], positions.shape)
    return photons_of(positions, ways, power)


def quadrature(o, d, length, sigma, albedo, light, g, steps=4000) -> float:
    """int T(t) sigma_s phase(d) light exp(-sigma z(t)) dt along the eye ray."""
    t = (np.arange(steps) + 0.5) * length / steps
    z = o[2] + t * d[2]
    scatter = albedo * sigma * twin.henyey_greenstein(-d[2], g) * light
    return float((np.exp(-sigma * t) * scatter * np.exp(-sigma * z)).mean() * length)


VIEWS = [
    ((-0.4, 0.1, 0.5), (1.0, 0.0, 0.0), 0.8),
    ((-0.3, -0.2, 0.9), (0.6, 0.0, -0.8), 0.7),
    ((0.3, 0.2, 0.2), (-0.48, -0.6, 0.64), 0.8),
    ((0.0, 0.0, 0.95), (0.0, 0.0, -1.0), 0.8),
]


@pytest.mark.row(53)
@pytest.mark.parametrize("profile", ["constant", "biweight"])
def test_single_scattering_of_a_slab_equals_quadrature(profile, backend):
    sigma, albedo, light, g, half = 1.3, 0.8, 2.0, 0.4, 0.7
    photons = slab(sigma, albedo, light, 1.0, half, 400_000)
    origins, ways, lengths = (np.array(part) for part in zip(*VIEWS, strict=True))
    found, counts = estimate(photons, rays_of(origins, ways, lengths, 0.08, sigma, g), 0.2, profile)
    expected = [quadrature(*view, sigma, albedo, light, g) for view in VIEWS]
    assert counts.min() > 500
    assert np.allclose(found.numpy(), np.array(expected)[:, None], rtol=0.015)


@pytest.mark.row(53)
def test_points_in_a_slab_scatter_what_the_closed_form_says(backend):
    """sigma_s phase light exp(-sigma z) per length, by 3 / (4 pi r^3) and by the smooth kernel."""
    sigma, albedo, light, half = 1.3, 0.8, 2.0, 0.7
    photons = slab(sigma, albedo, light, 1.0, half, 400_000)
    points = np.array([[0.0, 0.0, 0.5], [0.2, -0.3, 0.3], [-0.1, 0.3, 0.8]])
    eyes = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.6, 0.0, 0.8]])
    g = np.array([0.4, -0.3, 0.0])
    where = Array.of(points)
    queries = Queries(
        where, where, where, Array.of(eyes), Array.of(g[:, None]), integers(np.zeros(3)), reals([0.1] * 3)
    )
    expected = albedo * sigma * light * twin.henyey_greenstein(eyes[:, 2], g) * np.exp(-sigma * points[:, 2])
    held = [part.numpy().astype(float) for part in (photons.positions, photons.directions, photons.powers)]
    for profile in ("constant", "biweight"):
        grid = PointGrid(0.1)
        grid.build(photons.positions)
        settings = DensitySettings(profile=profile, kinds=MEDIUM)
        found = density(photons, grid, grid.records(photons), queries, settings)[0].numpy()
        assert np.allclose(found, twin.in_medium(held, points, eyes, g, [0.1] * 3, profile), rtol=2e-3)
        assert np.allclose(found, expected[:, None], rtol=0.03)


@pytest.mark.row(53)
def test_extinction_of_a_slab_has_the_gradient_of_the_quadrature(f64):
    """dL/dsigma: photons that move with it, z = -log(1 - u) / sigma, and the way to the eye; seen from the side.

    The quadrature is smoothed over the disc around the ray as the estimate is.
    """
    sigma, albedo, light, g = 1.3, 0.8, 2.0, 0.4
    photons, radius = slab(sigma, albedo, light, 1.6, 0.7, 400_000), 0.25
    view = ((-0.4, 0.1, 0.9), (1.0, 0.0, 0.0), 0.8)
    rays = rays_of(np.array([view[0]]), np.array([view[1]]), view[2], radius, sigma, g)
    with Tape() as tape:
        tape.add(weighted(estimate(photons, rays, 0.5)[0], [[1.0, 0.0, 0.0]]))
    z = photons.positions.numpy()[:, 2]
    slope = rays.extinctions.grad_numpy()[0, 0] - (photons.positions.grad_numpy()[:, 2] * z).sum() / sigma

    def truth(sigma: float, g: float = g) -> float:
        u = np.linspace(-1, 1, 2001)
        weights = (1 - u**2) ** 2.5  # the biweight kernel, integrated along the other axis of the disc
        smoothing = (weights * np.exp(-sigma * radius * u)).sum() / weights.sum()
        return smoothing * quadrature(*view, sigma, albedo, light, g)

    assert tape.loss == pytest.approx(truth(sigma), rel=0.003)
    assert slope == pytest.approx((truth(sigma + 1e-4) - truth(sigma - 1e-4)) / 2e-4, rel=0.02)
    by_g = rays.g.grad_numpy()[0, 0]
    expected = (truth(sigma, g + 1e-4) - truth(sigma, g - 1e-4)) / 2e-4
    assert by_g == pytest.approx(expected, rel=0.01)


def random_scene(seed: int):
    rng = np.random.default_rng(seed)
    n, q = 150, 14
    origins, ways = random_rays(rng, q, 1.0)
    raw, flight = Parameter(ways), Parameter(directions(rng, n))
    photons = photons_of(rng.uniform(-1, 1, (n, 3)), directions(rng, n), rng.uniform(0.2, 1, (n, 3)))
    rays = rays_of(
        origins, ways, rng.uniform(1, 4, q), rng.uniform(0.2, 0.5, q), rng.uniform(0.1, 1, (q, 3)),
        rng.uniform(-0.6, 0.6, (q, 1)),
    )  # fmt: skip
    weights = rng.normal(size=(q, 3))

    def loss():
        seen = EyeRays(rays.origins, unit(raw), rays.lengths, rays.radii, rays.extinctions, rays.g)
        cast = Photons(photons.positions, unit(flight), photons.powers, photons.normals, photons.flags)
        found, counts = estimate(cast, seen, 0.4)
        assert counts.sum() > 5 * q
        return weighted(found, weights)

    return [photons.positions, flight, photons.powers, rays.origins, raw, rays.extinctions, rays.g], loss


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_gradients_equal_differences(seed, f64):
    """Photons' positions, directions and powers; rays' origins, directions, extinctions and g."""
    arrays, loss = random_scene(seed)
    directional_check(loss, arrays, f64, seed)


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return tape_gradients(*reversed(random_scene(1)))


def test_gradients_in_f32_equal_those_in_f64(exact, vulkan):
    arrays, loss = random_scene(1)
    for array, found, expected in zip(arrays, tape_gradients(loss, arrays), exact, strict=True):
        assert np.abs(expected).max() > 0
        assert np.linalg.norm(found - expected) <= 1e-3 * np.linalg.norm(expected), array.shape


def test_no_photons_a_photon_on_the_ray_and_rays_without_length(backend):
    origins = np.array([[-1.0, 0, 0], [-1.0, 0, 0], [-1.0, 0, 0], [-1.0, 3, 0]])
    ways = np.broadcast_to([1.0, 0, 0], (4, 3))
    rays = rays_of(origins, ways, [2.0, 0.0, 2.0, 2.0], [0.5, 0.5, 0.0, 0.5], 0.3, 0.2)
    none = photons_of(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))
    for photons, expected in (
        (none, [0, 0, 0, 0]),
        (photons_of([[0.0, 0, 0]], [[0, 1.0, 0]], [[1.0, 2, 3]]), [1, 0, 0, 0]),
    ):
        with Tape() as tape:
            found, counts = estimate(photons, rays, 0.5)
            tape.add(weighted(found, 1.0))
        assert list(counts) == expected
        assert list(found.numpy().any(1)) == [bool(count) for count in expected]
        for part in (photons.positions, photons.directions, photons.powers, rays.origins, rays.extinctions, rays.g):
            assert np.isfinite(part.grad_numpy()).all()
    weight = 3 / (np.pi * 0.25) * np.exp(-0.3) * twin.henyey_greenstein(0, 0.2)
    assert np.allclose(found.numpy()[0], weight * np.array([1, 2, 3]), rtol=1e-5)
    assert np.allclose(photons.powers.grad_numpy(), weight, rtol=1e-5)
    assert not photons.positions.grad_numpy()[:, 1:].any()


def test_order_of_photons_does_not_matter_and_nothing_is_allocated_again(f64):
    rng = np.random.default_rng(4)
    n = 3000
    parts = rng.uniform(-1, 1, (n, 3)), directions(rng, n), rng.uniform(0, 1, (n, 3))
    origins, ways = random_rays(rng, 40, 1.0)
    rays = rays_of(origins, ways, 4.0, 0.1, 0.5, 0.3)
    results, held = [], []
    for order in (np.arange(n), rng.permutation(n), rng.permutation(n)):
        photons = photons_of(*(part[order] for part in parts))
        with Tape() as tape:
            found = estimate(photons, rays, 0.2)[0]
            tape.add(weighted(found, 1.0))
        gradient = np.empty((n, 3))
        gradient[order] = photons.positions.grad_numpy()
        results.append((found.numpy(), gradient, rays.origins.grad_numpy()))
        del photons, found
        held.append(buffer.allocations)
    for other in results[1:]:
        assert all(np.allclose(a, b, rtol=1e-11, atol=1e-12) for a, b in zip(results[0], other, strict=True))
    assert held[1] == held[2]


def test_faults_are_named(f32):
    photons = photons_of([[0.0, 0, 0]], [[0, 1.0, 0]], [[1.0, 2, 3]])
    with pytest.raises(SceneError, match="constant, cone"):
        estimate(photons, rays_of(np.zeros((1, 3)), [[1.0, 0, 0]], 1.0, 0.1, 0.1, 0.0), 0.1, "tophat")
