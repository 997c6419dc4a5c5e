"""Phong, Blinn-Phong, metallic-roughness and plastic: sampling, energy, the rasterizer's values, gradients, NaN."""

import numpy as np
import pytest
import taichi as ti

from tidr.array import Array
from tidr.kernels.shading import brdf
from tidr.kernels.transport import bsdf_plastic, fresnel, slots

from . import bsdf_checks as checks

A2 = ti.types.ndarray(ndim=2)

KINDS = {
    "phong": slots.PHONG,
    "blinn_phong": slots.BLINN_PHONG,
    "metallic": slots.METALLIC_ROUGHNESS,
    "plastic": slots.PLASTIC,
    "rough_plastic": slots.ROUGH_PLASTIC,
}
BSDFS = checks.Bsdfs(KINDS.values())
WHITE = {"albedo": 1, "specular": 1}
HALF = {"albedo": 0.5, "specular": 0.5}
SAMPLED = [
    ("phong", {**HALF, "shininess": 0}),
    ("phong", {**HALF, "shininess": 40}),
    ("blinn_phong", {**HALF, "shininess": 0}),
    ("blinn_phong", {**HALF, "shininess": 40}),
    ("metallic", {"albedo": 0.6, "roughness": 0.4}),
    ("metallic", {"albedo": 0.6, "roughness": 1.0}),
    ("plastic", WHITE),
    ("rough_plastic", {**WHITE, "roughness": 0.4}),
    ("rough_plastic", {**WHITE, "roughness": 1.0}),
]


def seen_at(*cosines: float) -> np.ndarray:
    """Unit vectors [n, 3] at these cosines to the normal."""
    z = np.array(cosines)
    return np.stack([np.sqrt(1 - z * z), 0 * z, z], 1)


def reflectance(name: str, p: np.ndarray, wi: np.ndarray) -> np.ndarray:
    """What comes back of light from each wi, [n, 3], by quadrature; without delta lobes."""
    return np.stack([checks.integrals(BSDFS, KINDS[name], p, w[None], 1)[0].sum(0) for w in wi])


@pytest.mark.row(138)
@pytest.mark.parametrize(("name", "fixed"), SAMPLED)
def test_samples_fall_as_their_pdf_says_and_carry_what_is_reflected(f64, name, fixed):
    for seed in range(2):
        checks.check_sampling(BSDFS, KINDS[name], seed, 2 * len(SAMPLED), **fixed)


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_has_the_pdf_and_the_weight_that_evaluation_gives(f64, name):
    checks.check_weights(BSDFS, KINDS[name])


@ti.kernel
def rasterized(p: A2, wi: A2, wo: A2, out: A2):
    """out [n, 9] = f cos of phong, blinn_phong and metallic_roughness of shading/brdf.py."""
    for i in range(p.shape[0]):
        m, view, light = checks.row(p, i, slots.PARAMS), checks.row(wi, i, 3), checks.row(wo, i, 3)
        normal = ti.Vector([0.0, 0.0, 1.0])
        albedo, specular = m[0:3], m[3:6]
        for k, model in ti.static(enumerate((brdf.phong, brdf.blinn_phong, brdf.metallic_roughness))):
            args = (m[slots.ROUGHNESS], m[slots.METALLIC], m[slots.SHININESS])
            value = model(normal, view, light, albedo, specular, *args) * light.z
            for c in ti.static(range(3)):
                out[i, 3 * k + c] = value[c]


def test_light_transport_shows_the_values_of_the_rasterizer(f64):
    rng, n = np.random.default_rng(0), 4000
    p = checks.materials(slots.PHONG, n, rng)
    p[:, slots.ROUGHNESS] = rng.uniform(0, 1, n)
    p[:, slots.SHININESS] = 10 ** rng.uniform(-1, 3, n)
    wi, wo = (checks.directions(n, rng, False, grazing=0.2) for _ in range(2))
    wo[::2] = checks.unit(wi[::2] * [-1, -1, 1] + 0.05 * rng.normal(size=(n // 2, 3)))
    wo[:, 2] = np.abs(wo[:, 2])
    wi[:200, 2], wo[100:300, 2] = 1e-5, 2e-5  # below the rasterizer's least cosine
    wi, wo = checks.unit(wi), checks.unit(wo)
    out, arrays = Array((n, 9), False), [Array.of(rows, False) for rows in (p, wi, wo)]
    rasterized(*(array.value for array in arrays), out.value)
    for k, name in enumerate(("phong", "blinn_phong", "metallic")):
        value, _ = BSDFS.evaluate(KINDS[name], p, wi, wo)
        np.testing.assert_allclose(value, out.numpy()[:, 3 * k : 3 * k + 3], rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("name", KINDS)
def test_light_goes_both_ways_alike(f64, name):
    p, wi, wo, _ = checks.scenes(BSDFS, KINDS[name], 3000, 5)
    there, back = (BSDFS.evaluate(KINDS[name], p, a, b)[0] / b[:, 2:] for a, b in ((wi, wo), (wo, wi)))
    assert (there > 0).mean() > 0.9
    np.testing.assert_allclose(there, back, rtol=1e-7)


@pytest.mark.row(138)
@pytest.mark.parametrize("name", ["phong", "blinn_phong"])
def test_a_cosine_lobe_reflects_all_light_straight_on_and_no_more_elsewhere(f64, name):
    for shininess in (0, 1, 10, 60):
        p = checks.materials(KINDS[name], 1, np.random.default_rng(0), albedo=0.3, specular=0.7, shininess=shininess)
        back = reflectance(name, p, seen_at(1.0, 0.9, 0.6, 0.3, 0.05))
        np.testing.assert_allclose(back[0], 1, rtol=2e-3)
        assert back.max() <= 1 + 2e-3
        assert back[-1].max() < 0.9 or shininess == 0


@pytest.mark.row(138)
def test_gltf_adds_the_highlight_to_a_whole_diffuse_base(f64):
    """A white dielectric gives back 1.03 to 1.05 times the light up to 60 degrees, a metal at most all of it."""
    rng = np.random.default_rng(0)
    for roughness in (0.3, 0.6, 1.0):
        p = checks.materials(slots.METALLIC_ROUGHNESS, 1, rng, albedo=1, metallic=0, roughness=roughness)
        back = reflectance("metallic", p, seen_at(1.0, 0.7, 0.5))
        assert back.min() > 1.01
        assert back.max() < 1.08
        p = checks.materials(slots.METALLIC_ROUGHNESS, 1, rng, albedo=1, metallic=1, roughness=roughness)
        back = reflectance("metallic", p, seen_at(1.0, 0.7, 0.3, 0.05))
        assert back.max() < 1 + 1e-3
    np.testing.assert_allclose(back[0], 1 - np.log(2), rtol=1e-9)  # what GGX with alpha = 1 keeps in single scattering


@pytest.mark.row(138)
def test_white_plastic_sends_on_everything(f64):
    """Coat and base share the light: F comes back from the one, 1 - F from the other, to 0.2 % for every index."""
    rng = np.random.default_rng(0)
    for eta in (1.0, 1.1, 1.5, 2.5):
        p, wi = checks.materials(slots.PLASTIC, 1, rng, **WHITE, eta=eta), seen_at(1.0, 0.7, 0.3, 0.05)
        mirror = checks.delta_energy(BSDFS, slots.PLASTIC, p, wi)
        np.testing.assert_allclose(mirror + reflectance("plastic", p, wi), 1, rtol=2e-3)
        assert (mirror[-1] > mirror[0]).all() or eta == 1.0


@pytest.mark.row(138)
def test_white_rough_plastic_gains_nothing(f64):
    rng = np.random.default_rng(0)
    for eta in (1.1, 1.5, 2.5):
        for roughness in (0.35, 0.6, 1.0):
            p = checks.materials(slots.ROUGH_PLASTIC, 1, rng, **WHITE, eta=eta, roughness=roughness)
            back = reflectance("rough_plastic", p, seen_at(1.0, 0.7, 0.3))
            assert back.max() < 1 + 5e-3
            assert back[0].min() > 0.85


@ti.kernel
def transmittances(eta: A2, out: A2):
    """out [n, 3] = fit of the mean transmittance and its slope, and 2 int (1 - F) c dc by the midpoint rule."""
    for i in range(eta.shape[0]):
        out[i, 0], out[i, 1] = bsdf_plastic.mean_transmittance(eta[i, 0])
        for k in range(4000):
            cosine = (k + 0.5) / 4000
            reflected, _ = fresnel.dielectric(cosine, eta[i, 0])
            out[i, 2] += 2.0 * (1.0 - reflected) * cosine / 4000


def test_the_coat_lets_in_the_mean_of_fresnels_equations(f64):
    eta = Array.of(np.linspace(1.0, 4.0, 31)[:, None], False)
    out = Array((31, 3), False)
    transmittances(eta.value, out.value)
    fit, slope, measured = out.numpy().T
    np.testing.assert_allclose(fit, measured, rtol=2e-3)
    np.testing.assert_allclose(slope[1:-1], np.gradient(fit, 0.1)[1:-1], rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("name", KINDS)
def test_the_value_has_the_gradient_that_differences_measure(f64, name):
    for seed in range(2):
        checks.check_adjoint(BSDFS, KINDS[name], f64, seed=seed)
    if "phong" in name:
        checks.check_adjoint(BSDFS, KINDS[name], f64, seed=2, shininess=2000)
        checks.check_adjoint(BSDFS, KINDS[name], f64, seed=3, shininess=0.5)
    else:
        checks.check_adjoint(BSDFS, KINDS[name], f64, seed=4, finer=10, roughness=0.05)


def test_the_mirror_of_plastic_has_the_gradient_that_differences_measure(f64):
    for seed in range(2):
        checks.check_weight_adjoint(BSDFS, slots.PLASTIC, f64, 0.0, seed=seed)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_ever_nan_or_infinite(f64, name):
    checks.check_finite(BSDFS, KINDS[name])


def test_software_vulkan_computes_the_same_gradients_in_f32():
    checks.check_f32_adjoint(BSDFS, KINDS.values(), "vulkan")


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_ever_nan_or_infinite_in_f32(vulkan, name):
    checks.check_finite(BSDFS, KINDS[name])
