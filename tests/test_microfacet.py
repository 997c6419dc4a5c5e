"""Anisotropic microfacets and Fresnel terms by themselves: normalisation, sampling, slopes against differences."""

import numpy as np
import pytest
import taichi as ti

from tidr.array import Array
from tidr.kernels.transport import fresnel, microfacet

from . import bsdf_checks as checks
from .chi_square import cell_counts, chi_square_p, pearson_p, sidak, sphere_nodes

A2 = ti.types.ndarray(ndim=2)
ALPHAS = np.array([[0.15, 0.6], [0.5, 0.5], [0.9, 0.25]])


@ti.kernel
def facet_rows(n: ti.i32, wi: A2, wo: A2, m: A2, alpha: A2, u: A2, out: A2):
    """out [n, 5 + 11 + 3] = D, G1(wi), visible pdf, G2 / G1, facets; its slopes; a visible normal."""
    for i in range(n):
        a, b, h = checks.row(wi, i, 3), checks.row(wo, i, 3), checks.row(m, i, 3)
        width = checks.row(alpha, i, 2)
        out[i, 0], out[i, 1] = microfacet.ggx(h, width), microfacet.smith_g1(a, width)
        out[i, 2], out[i, 3] = microfacet.visible_pdf(a, h, width), microfacet.seen_share(a, b, width)
        out[i, 4] = microfacet.facets(a, b, h, width)
        by_a, by_b, by_h, by_width = microfacet.facets_adjoint(a, b, h, width, 1.0)
        normal = microfacet.visible_normal(a, width, u[i, 0], u[i, 1])
        for c in ti.static(range(3)):
            out[i, 5 + c], out[i, 8 + c], out[i, 11 + c], out[i, 16 + c] = by_a[c], by_b[c], by_h[c], normal[c]
        for c in ti.static(range(2)):
            out[i, 14 + c] = by_width[c]


@ti.kernel
def fresnel_rows(n: ti.i32, cosine: A2, eta: A2, out: A2):
    """out [n, 6] = dielectric F and slopes, Schlick's F and slopes, where F0 = eta - 1."""
    for i in range(n):
        share, _ = fresnel.dielectric(cosine[i, 0], eta[i, 0])
        out[i, 0] = share
        out[i, 1], out[i, 2] = fresnel.dielectric_slopes(cosine[i, 0], eta[i, 0])
        out[i, 3] = fresnel.schlick(eta[i, 0] - 1.0, cosine[i, 0])
        out[i, 5], out[i, 4] = fresnel.schlick_slopes(eta[i, 0] - 1.0, cosine[i, 0])


def facets(wi, wo, m, alpha, u=((0.5, 0.5),)) -> np.ndarray:
    n = max(len(rows) for rows in (wi, wo, m, alpha, u))
    arrays, out = (
        [Array.of(np.broadcast_to(rows, (n, np.shape(rows)[1])), False) for rows in (wi, wo, m, alpha, u)],
        Array((n, 19)),
    )
    facet_rows(n, *(array.value for array in arrays), out.value)
    return out.numpy()


def fresnel_terms(cosine, eta) -> np.ndarray:
    arrays, out = [Array.of(rows[:, None], False) for rows in (cosine, eta)], Array((len(cosine), 6))
    fresnel_rows(len(cosine), *(array.value for array in arrays), out.value)
    return out.numpy()


def upper(n: int, seed: int) -> np.ndarray:
    return checks.directions(n, np.random.default_rng(seed), both_sides=False)


@pytest.mark.row(138)
@pytest.mark.parametrize("which", range(len(ALPHAS)))
def test_normals_and_visible_normals_are_distributions_and_sampling_follows(f64, which):
    """Projected facets cover the surface once, visible ones the view once; chi-square of the samples."""
    alpha, wi = (
        ALPHAS[which : which + 1],
        checks.unit(np.array([[[0.5, -0.3, 0.6]], [[0.9, 0.3, 0.1]], [[0, 0, 1.0]]][which])),
    )
    nodes, weights = sphere_nodes()
    above = nodes.reshape(-1, 3)[:, 2] > 0
    table = facets(wi, wi, nodes.reshape(-1, 3), alpha)
    cosine = nodes.reshape(-1, 3)[:, 2]
    shape = nodes.shape[:2]
    np.testing.assert_allclose((np.where(above, table[:, 0] * cosine, 0).reshape(shape) @ weights).sum(), 1, rtol=1e-3)
    share = np.where(above, table[:, 2], 0).reshape(shape) @ weights
    np.testing.assert_allclose(share.sum(), 1, rtol=1e-3)
    u = np.random.default_rng(which).uniform(0, checks.BELOW_ONE, (checks.DRAWS, 2))
    normals = facets(wi, wi, wi, alpha, u)[:, 16:]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-12)
    counts = cell_counts(normals)
    assert pearson_p(counts, checks.DRAWS * share / share.sum()) > sidak(len(ALPHAS))


def test_the_weight_of_a_visible_normal_is_g2_over_g1(f64):
    wi, wo, m = (upper(200, seed) for seed in range(3))
    for alpha in ALPHAS:
        table = facets(wi, wo, m, alpha[None])
        g2 = table[:, 4] * wi[:, 2] / table[:, 0]
        np.testing.assert_allclose(table[:, 3] * table[:, 1], g2, rtol=1e-10)
        tangent = (
            np.sqrt((alpha**2 * wi[:, :2] ** 2).sum(1)) / wi[:, 2],
            np.sqrt((alpha**2 * wo[:, :2] ** 2).sum(1)) / wo[:, 2],
        )
        lambdas = [(np.sqrt(1 + t * t) - 1) / 2 for t in tangent]
        np.testing.assert_allclose(g2, 1 / (1 + lambdas[0] + lambdas[1]), rtol=1e-10)
        below = wo * [1, 1, -1]
        np.testing.assert_allclose(facets(wi, below, m, alpha[None])[:, 4], table[:, 4], rtol=1e-12)


@pytest.mark.parametrize("side", [1, -1])
def test_facets_have_the_slopes_that_differences_measure(f64, side):
    wi, wo, m = (upper(300, seed) for seed in range(3, 6))
    wo[:, 2] *= side
    alpha = np.random.default_rng(6).uniform(0.05, 1, (300, 2))
    exact, column = facets(wi, wo, m, alpha)[:, 5:16], 0
    for which, size in enumerate((3, 3, 3, 2)):
        for c in range(size):
            slopes = []
            for h in (f64.step, f64.step / 2):
                moved = [[rows.copy() for rows in (wi, wo, m, alpha)] for _ in range(2)]
                moved[0][which][:, c] += h
                moved[1][which][:, c] -= h
                slopes.append((facets(*moved[0])[:, 4] - facets(*moved[1])[:, 4]) / (2 * h))
            measured = (4 * slopes[1] - slopes[0]) / 3
            scale = np.maximum(np.abs(measured), 1e-3 * np.abs(exact).max(1))
            assert (np.abs(exact[:, column] - measured) <= f64.rtol * scale).all()
            column += 1


def test_fresnel_terms_have_the_slopes_that_differences_measure(f64):
    rng, h = np.random.default_rng(7), 1e-6
    cosine, eta = rng.uniform(0.05, 0.99, 500), rng.uniform(1.01, 1.9, 500)
    eta[::2] = 1 / eta[::2]
    # Away from the critical angle, where slopes have no bound.
    kept = np.abs(eta**2 - 1 + cosine**2) > 1e-2
    cosine, eta = cosine[kept], eta[kept]
    exact = fresnel_terms(cosine, eta)
    by_cosine = (fresnel_terms(cosine + h, eta) - fresnel_terms(cosine - h, eta)) / (2 * h)
    by_eta = (fresnel_terms(cosine, eta + h) - fresnel_terms(cosine, eta - h)) / (2 * h)
    np.testing.assert_allclose(exact[:, 1], by_cosine[:, 0], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(exact[:, 2], by_eta[:, 0], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(exact[:, 4], by_cosine[:, 3], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(exact[:, 5], by_eta[:, 3], rtol=1e-5, atol=1e-8)
    total = exact[:, 0] == 1
    assert 0.05 < total.mean() < 0.5  # total internal reflection is met, and flat
    assert (exact[total, 1:3] == 0).all()


@pytest.mark.row(54)
@pytest.mark.parametrize("eta", [1.5, 1 / 1.5])
def test_reflectance_straight_on_and_its_slope(f64, eta):
    """((eta - 1) / (eta + 1))^2 = .04 and 4 (eta - 1) / (eta + 1)^3, which is .128 for glass."""
    found = fresnel_terms(np.ones(1), np.array([eta]))[0]
    assert found[0] == pytest.approx(0.04, rel=1e-12)
    assert found[2] == pytest.approx(4 * (eta - 1) / (eta + 1) ** 3, rel=1e-9)
    assert found[2] == pytest.approx(0.128 if eta > 1 else -0.288, rel=1e-9)


def test_fresnel_terms_are_bounded_and_finite_to_the_last_bit(f32):
    cosine, eta = np.meshgrid([0, 1e-20, 1e-7, 1e-3, 0.5, 1 - 1e-7, 1], [0.25, 0.999, 1 - 1e-7, 1, 1 + 1e-7, 1.5, 4])
    table = fresnel_terms(cosine.ravel(), eta.ravel())
    assert np.isfinite(table).all()
    assert table[:, 0].min() >= 0
    assert table[:, 0].max() <= 1
    matched = np.abs(eta.ravel() - 1) < 1e-6
    assert table[matched & (cosine.ravel() > 1e-2), 0].max() < 1e-8


def test_the_tail_of_chi_square_has_the_values_of_the_tables():
    for freedom, quantile, chance in (
        (1, 3.841459, 0.05),
        (10, 18.307038, 0.05),
        (10, 3.940299, 0.95),
        (1000, 1106.969, 0.01),
    ):
        assert chi_square_p(quantile, freedom) == pytest.approx(chance, rel=1e-5)
