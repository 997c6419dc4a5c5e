"""BSDFs of the core: Lambert, metals, glass, nothing. Sampling, energy, reciprocity, closed forms, gradients, NaN."""

import numpy as np
import pytest

from tidr.kernels.transport import slots

from . import bsdf_checks as checks

KINDS = {
    "lambert": slots.LAMBERT,
    "conductor": slots.CONDUCTOR,
    "rough_conductor": slots.ROUGH_CONDUCTOR,
    "dielectric": slots.DIELECTRIC,
    "rough_dielectric": slots.ROUGH_DIELECTRIC,
    "thin_dielectric": slots.THIN_DIELECTRIC,
    "null": slots.NULL,
}
SPREAD = ["lambert", "rough_conductor", "rough_dielectric"]
DELTA = ["conductor", "dielectric", "thin_dielectric", "null"]
SAMPLED = [("lambert", {}, 0)] + [
    (name, {**options, "roughness": roughness}, seed)
    for name, options in (
        ("rough_conductor", {}),
        ("rough_dielectric", {"eta": 1.5}),
        ("rough_dielectric", {"eta": 0.7}),
    )
    for roughness, seed in ((0.35, 1), (0.6, 2), (1.0, 3))
]
BSDFS = checks.Bsdfs(KINDS.values())


@pytest.mark.row(138)
@pytest.mark.parametrize(("name", "options", "seed"), SAMPLED)
def test_samples_fall_as_their_pdf_says_and_carry_what_is_reflected(f64, name, options, seed):
    for way in range(2):
        checks.check_sampling(BSDFS, KINDS[name], seed + 10 * way, 2 * len(SAMPLED), **options)


@pytest.mark.row(138)
@pytest.mark.parametrize("name", ["lambert", "dielectric", "thin_dielectric", "null", "conductor"])
def test_what_absorbs_nothing_sends_on_everything(f64, name):
    """A furnace: white tints, and the extinction that makes a metal a perfect mirror."""
    rng = np.random.default_rng(0)
    p = checks.materials(
        KINDS[name], 500, rng, albedo=1, specular=1, transmittance=1, k=1e9 if name == "conductor" else 0
    )
    wi = checks.directions(500, rng, checks.transmits(KINDS[name]), grazing=0.2)
    if name == "lambert":
        drawn = BSDFS.sample(KINDS[name], p, wi, rng.uniform(size=(500, 3)), 0)
        np.testing.assert_array_equal(drawn.weight, 1)
        value, pdf = checks.integrals(BSDFS, KINDS[name], p[:1], wi[:1], 0)
        np.testing.assert_allclose(np.append(value.sum(0), pdf.sum()), 1, rtol=1e-9)
    else:
        np.testing.assert_allclose(checks.delta_energy(BSDFS, KINDS[name], p, wi), 1, rtol=1e-6)


@pytest.mark.row(138)
@pytest.mark.parametrize("name", DELTA)
def test_tinted_delta_lobes_never_send_on_more_than_they_receive(f64, name):
    rng = np.random.default_rng(1)
    p = checks.materials(KINDS[name], 2000, rng, **({"specular": 1, "transmittance": 1} if name == "conductor" else {}))
    energy = checks.delta_energy(BSDFS, KINDS[name], p, checks.directions(2000, rng, checks.transmits(KINDS[name])))
    assert energy.max() <= 1 + 1e-12
    assert name == "null" or energy.min() < 0.9


@pytest.mark.row(138)
def test_white_rough_glass_loses_only_what_bounces_twice_between_facets(f64):
    rng = np.random.default_rng(2)
    for roughness, least in ((0.2, 0.99), (0.5, 0.95), (1.0, 0.6)):
        p = checks.materials(slots.ROUGH_DIELECTRIC, 1, rng, specular=1, transmittance=1, roughness=roughness)
        u = rng.uniform(size=(20000, 3))
        drawn = BSDFS.sample(slots.ROUGH_DIELECTRIC, p, checks.unit(np.array([[0.3, 0.2, 0.9]])), u, 0)
        assert least < drawn.weight.mean() <= 1


@pytest.mark.parametrize("name", SPREAD)
def test_a_sample_has_the_pdf_and_the_weight_that_evaluation_gives(f64, name):
    for mode in (1, 0):
        checks.check_weights(BSDFS, KINDS[name], mode=mode)
    checks.check_weights(BSDFS, KINDS[name], roughness=0.1, rtol=1e-5)


@pytest.mark.parametrize("name", SPREAD)
def test_light_goes_both_ways_alike(f64, name):
    """f(wi, wo) / eta_o^2 = f(wo, wi) / eta_i^2 for photons; radiance sees the photons' value with both exchanged."""
    p, wi, wo, _ = checks.scenes(BSDFS, KINDS[name], 3000, 5)
    there, back = (BSDFS.evaluate(KINDS[name], p, a, b, 0)[0] / np.abs(b[:, 2:]) for a, b in ((wi, wo), (wo, wi)))
    index_i, index_o = (np.where(w[:, 2:] < 0, p[:, slots.ETA :][:, :1], 1.0) for w in (wi, wo))
    scale = there.max(1, keepdims=True)
    assert (there > 0).mean() > 0.3
    np.testing.assert_allclose(there / index_o**2, back / index_i**2, rtol=1e-7, atol=1e-12 * scale.max())
    radiance = BSDFS.evaluate(KINDS[name], p, wo, wi, 1)[0] / np.abs(wi[:, 2:])
    np.testing.assert_allclose(radiance, there, rtol=1e-7, atol=1e-12 * scale.max())
    if name == "rough_dielectric":
        assert ((there[:, 0] > 0) & (wi[:, 2] * wo[:, 2] < 0)).mean() > 0.1


def test_smooth_glass_follows_snell_and_compresses_radiance_only_for_the_camera(f64):
    p = checks.materials(slots.DIELECTRIC, 1, np.random.default_rng(0), eta=1.5, specular=0.8, transmittance=0.6)
    wi = checks.unit(np.array([[0.3, -0.4, 0.7], [0.3, -0.4, -0.7], [0.6, 0.5, -0.3]]))
    ratio = np.array([1.5, 1 / 1.5, 1 / 1.5])
    through = [BSDFS.sample(slots.DIELECTRIC, p, wi, np.full((3, 3), checks.BELOW_ONE), mode) for mode in (0, 1)]
    np.testing.assert_allclose(through[0].wo[:2, :2], -wi[:2, :2] / ratio[:2, None], rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(through[0].wo, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(through[0].wo[2], wi[2] * [-1, -1, 1], rtol=1e-12)  # total internal reflection
    np.testing.assert_allclose(through[0].eta, [*ratio[:2], 1])
    np.testing.assert_allclose(through[0].weight[:, 0], [0.6, 0.6, 0.8])
    np.testing.assert_allclose(through[1].weight[:, 0], [0.6 / 1.5**2, 0.6 * 1.5**2, 0.8])
    np.testing.assert_array_equal((through[0].wo[:, 2] * wi[:, 2] < 0), [True, True, False])


def test_reflectance_has_its_known_values(f64):
    """((n - 1) / (n + 1))^2 straight on; none of one polarisation at Brewster's angle; a pane's geometric series."""
    n, rng = 1.5, np.random.default_rng(0)
    brewster = np.arctan(n)
    wi = np.array([[0, 0, 1], [np.sin(brewster), 0, np.cos(brewster)]])
    p = checks.materials(slots.DIELECTRIC, 1, rng, eta=n)
    expected = np.array([0.04, 0.5 * ((1 - n * n) / (1 + n * n)) ** 2])
    first = np.zeros((2, 3))
    np.testing.assert_allclose(BSDFS.sample(slots.DIELECTRIC, p, wi, first).pdf, expected, rtol=1e-12)
    series = sum(expected * (1 - expected) ** 2 * expected ** (2 * k) for k in range(0, 40)) + expected
    pane = expected + (1 - expected) ** 2 * expected / (1 - expected**2)
    np.testing.assert_allclose(series, pane, rtol=1e-12)
    np.testing.assert_allclose(BSDFS.sample(slots.THIN_DIELECTRIC, p, wi, first).pdf, pane, rtol=1e-12)
    eta, k, c = np.array([0.2, 0.9, 1.5]), np.array([3.9, 2.4, 1.9]), 0.4
    index = eta + 1j * k
    root = np.sqrt(index**2 - 1 + c * c)
    metal = (abs((c - root) / (c + root)) ** 2 + abs((index**2 * c - root) / (index**2 * c + root)) ** 2) / 2
    p = checks.materials(slots.CONDUCTOR, 1, rng, eta=eta, k=k, specular=1)
    wi = np.array([[np.sqrt(1 - c * c), 0, c]])
    np.testing.assert_allclose(BSDFS.sample(slots.CONDUCTOR, p, wi, first[:1]).weight[0], metal, rtol=1e-12)


def test_a_rough_surface_seen_straight_on_reflects_f0_over_4_pi_alpha_squared(f64):
    normal = np.array([[0.0, 0, 1]])
    fixed = {"eta": 1.5, "k": 0, "roughness": 0.5, "specular": 1}
    for kind in (slots.ROUGH_CONDUCTOR, slots.ROUGH_DIELECTRIC):
        p = checks.materials(kind, 1, np.random.default_rng(0), **fixed)
        np.testing.assert_allclose(BSDFS.evaluate(kind, p, normal, normal)[0], 0.0509295817894, rtol=1e-10)


@pytest.mark.parametrize("mode", [1, 0])
@pytest.mark.parametrize("name", SPREAD)
def test_the_value_has_the_gradient_that_differences_measure(f64, name, mode):
    for seed in range(2):
        checks.check_adjoint(BSDFS, KINDS[name], f64, seed=seed, mode=mode)
    if name != "lambert":
        # Kept at the least alpha, where roughness has no slope.
        checks.check_adjoint(BSDFS, KINDS[name], f64, seed=3, mode=mode, finer=60, roughness=0.02)
    if name == "rough_dielectric":
        checks.check_adjoint(BSDFS, KINDS[name], f64, seed=4, mode=mode, eta=0.75)


@pytest.mark.parametrize("mode", [1, 0])
@pytest.mark.parametrize("name", ["conductor", "dielectric", "thin_dielectric"])
def test_delta_lobes_have_the_gradient_that_differences_measure(f64, name, mode):
    for u1 in (0.0, checks.BELOW_ONE):
        checks.check_weight_adjoint(BSDFS, KINDS[name], f64, u1, mode=mode)
        if name != "conductor":
            checks.check_weight_adjoint(BSDFS, KINDS[name], f64, u1, seed=1, mode=mode, eta=0.75)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_ever_nan_or_infinite(f64, name):
    checks.check_finite(BSDFS, KINDS[name], (0, 1))


def test_software_vulkan_computes_the_same_gradients_in_f32():
    checks.check_f32_adjoint(BSDFS, KINDS.values(), "vulkan")


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_ever_nan_or_infinite_in_f32(vulkan, name):
    checks.check_finite(BSDFS, KINDS[name])
