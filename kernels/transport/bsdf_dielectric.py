"""Glass: a smooth boundary, a rough one of microfacets, and a thin pane; Fresnel's equations times two tints.

The index of refraction p[ETA] is that of the inside (z < 0) over that of the outside. Sampling reflects with the chance
F of the boundary (of the facet, of the pane), so that weights are plain tints. Rough: Walter et al. 2007, with the same
height-correlated shadowing on both sides. A rough boundary between equal indices would be a delta function that no
pdf can tell: there the index is kept MATCHED away from 1 (slope 0). A pane reflects R + T^2 R / (1 - R^2), which is
2 R / (1 + R), with all bounces inside it, and lets the rest straight through.
See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p`.
"""

import taichi as ti

from .bsdf_conductor import mirrored
from .bsdf_lambert import add_rgb, rgb
from .fresnel import TINY, dielectric, dielectric_slopes, relative_eta
from .microfacet import (
    GRAZING,
    facets,
    facets_adjoint,
    half_adjoint,
    kept_alpha,
    seen_share,
    unit,
    visible_normal,
    visible_pdf,
)
from .slots import ETA, ROUGHNESS, SPECULAR, TRANSMITTANCE

MATCHED = 1e-3  # least |eta - 1| of a rough boundary


@ti.func
def above(w, z):
    """w mirrored to the other side where z < 0."""
    turned = w
    if z < 0.0:
        turned[2] = -w[2]
    return turned


@ti.func
def boundary(p: ti.template(), z, thin: ti.template()):
    """Share reflected at |z|, cosine of the refracted ray (thin: straight on), the relative index (thin: 1)."""
    eta = p[ETA]
    if ti.static(not thin):
        eta, _ = relative_eta(p[ETA], z)
    reflected, refracted = dielectric(ti.abs(z), eta)
    if ti.static(thin):
        reflected, refracted, eta = 2.0 * reflected / (1.0 + reflected), ti.abs(z), 1.0
    return reflected, refracted, eta


@ti.func
def dielectric_sample(p: ti.template(), wi, u1, thin: ti.template(), radiance_mode: ti.template()):
    wo, weight, pdf, ratio = mirrored(wi), ti.Vector([0.0, 0.0, 0.0]), 0.0, 1.0
    if ti.abs(wi[2]) > GRAZING:
        reflected, refracted, eta = boundary(p, wi[2], thin)
        if u1 < reflected:
            weight, pdf = rgb(p, SPECULAR), reflected
        else:
            wo = -wi / eta
            wo[2] = refracted if wi[2] < 0.0 else -refracted
            weight, pdf, ratio = rgb(p, TRANSMITTANCE), 1.0 - reflected, eta
            if ti.static(radiance_mode):
                weight /= eta * eta
    return wo, weight, pdf, ratio


@ti.func
def dielectric_weight_adjoint(
    p: ti.template(), wi, wo, g, grad_p: ti.template(), thin: ti.template(), radiance_mode: ti.template()
):
    grad_wi = ti.Vector([0.0, 0.0, 0.0])
    if ti.abs(wi[2]) > GRAZING:
        reflected, _, eta = boundary(p, wi[2], thin)
        by_share, by_ratio = 0.0, 0.0
        if wi[2] * wo[2] > 0.0:
            add_rgb(grad_p, SPECULAR, g)
            by_share = g.dot(rgb(p, SPECULAR)) / ti.max(reflected, TINY)
        else:
            kept = g
            if ti.static(radiance_mode):
                kept = g / (eta * eta)
                by_ratio = -2.0 * kept.dot(rgb(p, TRANSMITTANCE)) / eta
            add_rgb(grad_p, TRANSMITTANCE, kept)
            by_share = -kept.dot(rgb(p, TRANSMITTANCE)) / ti.max(1.0 - reflected, TINY)
        slope = 1.0
        if ti.static(thin):
            by_ratio = 0.0
            eta = p[ETA]
            reflected = reflected / (2.0 - reflected)  # of one face
            by_share *= 2.0 / ((1.0 + reflected) * (1.0 + reflected))
        else:
            eta, slope = relative_eta(p[ETA], wi[2])
        by_cosine, by_eta = dielectric_slopes(ti.abs(wi[2]), eta)
        grad_p[ETA] += (by_share * by_eta + by_ratio) * slope
        grad_wi[2] = by_share * by_cosine
        if wi[2] < 0.0:
            grad_wi[2] = -grad_wi[2]
    return grad_wi


@ti.func
def kept_eta(p: ti.template(), z):
    """The relative index seen from the side of z and its slope to p[ETA]; kept MATCHED away from 1."""
    inside, kept = p[ETA], 1.0
    if ti.abs(inside - 1.0) < MATCHED:
        kept = 0.0
        inside = 1.0 - MATCHED if inside < 1.0 else 1.0 + MATCHED
    eta, slope = relative_eta(inside, z)
    return eta, slope * kept


@ti.func
def facet_between(wi, wo, eta):
    """(e, h, m, whether light goes this way) with e the index on wo's side over that on wi's, m the facet along h."""
    e = 1.0 if wo[2] > 0.0 else eta
    h = wi + e * wo
    m = unit(h)
    if m[2] < 0.0:
        m = -m
    lit = wi[2] > GRAZING and ti.abs(wo[2]) > GRAZING and wi.dot(m) > 0.0 and wo.dot(m) * wo[2] > 0.0
    return e, h, m, lit


@ti.func
def boundary_lobe(wi, wo, e, h, m, alpha, radiance_mode: ti.template()):
    """f cos of facets between two media, with all light taking the side of wo: Fresnel's share is missing."""
    spread = wi.dot(m) * ti.abs(wo.dot(m)) / h.dot(h)
    if ti.static(not radiance_mode):
        spread *= e * e
    return facets(wi, wo, m, alpha) * spread


@ti.func
def boundary_lobe_adjoint(wi, wo, e, h, m, alpha, g, to_cosine, to_m, radiance_mode: ti.template()):
    """(grad_wi, grad_wo, grad_alpha [2], grad_e) of g times the lobe, where the cosine wi.m and m along h have the
    gradients to_cosine and to_m from elsewhere."""
    cosine, across, square = wi.dot(m), wo.dot(m), h.dot(h)
    spread = 1.0 / square
    if ti.static(not radiance_mode):
        spread *= e * e
    density = g * facets(wi, wo, m, alpha) * spread
    lobe = density * cosine * ti.abs(across)
    grad_wi, grad_wo, grad_m, grad_alpha = facets_adjoint(wi, wo, m, alpha, g * cosine * ti.abs(across) * spread)
    by_cosine = to_cosine + density * ti.abs(across)
    by_across = density * cosine
    if across < 0.0:
        by_across = -by_across
    to_h = half_adjoint(h, m, to_m + grad_m + by_cosine * wi + by_across * wo) - h * (2.0 * lobe / square)
    grad_e = to_h.dot(wo)
    if ti.static(not radiance_mode):
        grad_e += 2.0 * lobe / e
    return grad_wi + by_cosine * m + to_h, grad_wo + by_across * m + e * to_h, grad_alpha, grad_e


@ti.func
def rough_dielectric(p: ti.template(), wi_given, wo_given, radiance_mode: ti.template()):
    """One formula for both sides: the change from facets to directions, |wi.m wo.m| e^2 / h^2, is 1 / 4 for e = 1."""
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    wi, wo = above(wi_given, wi_given[2]), above(wo_given, wi_given[2])
    eta, _ = kept_eta(p, wi_given[2])
    e, h, m, lit = facet_between(wi, wo, eta)
    if lit:
        width, _ = kept_alpha(p[ROUGHNESS])
        alpha = ti.Vector([width, width])
        cosine = ti.min(wi.dot(m), 1.0)
        share, _ = dielectric(cosine, eta)
        tint = rgb(p, SPECULAR)
        if wo[2] < 0.0:
            share, tint = 1.0 - share, rgb(p, TRANSMITTANCE)
        pdf = share * visible_pdf(wi, m, alpha) * ti.abs(wo.dot(m)) / h.dot(h) * e * e
        value = tint * (share * boundary_lobe(wi, wo, e, h, m, alpha, radiance_mode))
    return value, pdf


@ti.func
def rough_dielectric_sample(p: ti.template(), wi_given, u1, u2, u3, radiance_mode: ti.template()):
    wo, weight, pdf, ratio = mirrored(wi_given), ti.Vector([0.0, 0.0, 0.0]), 0.0, 1.0
    wi = above(wi_given, wi_given[2])
    if wi[2] > GRAZING:
        eta, _ = kept_eta(p, wi_given[2])
        width, _ = kept_alpha(p[ROUGHNESS])
        alpha = ti.Vector([width, width])
        m = visible_normal(wi, alpha, u1, u2)
        cosine = ti.min(wi.dot(m), 1.0)
        share, refracted = dielectric(ti.max(cosine, 0.0), eta)
        out = unit(2.0 * cosine * m - wi)
        tint, height, across = rgb(p, SPECULAR), out[2], cosine
        if u3 >= share:
            out = unit((cosine / eta - refracted) * m - wi / eta)
            share, tint, ratio = 1.0 - share, rgb(p, TRANSMITTANCE), eta
            height, across = -out[2], -refracted
            if ti.static(radiance_mode):
                tint /= eta * eta
        wo = above(out, wi_given[2])
        if cosine > 0.0 and height > GRAZING:
            weight = tint * seen_share(wi, out, alpha)
            slant = cosine + ratio * across
            pdf = share * visible_pdf(wi, m, alpha) * ti.abs(across) * ratio * ratio / ti.max(slant * slant, TINY)
    return wo, weight, pdf, ratio


@ti.func
def rough_dielectric_adjoint(
    p: ti.template(), wi_given, wo_given, g, grad_p: ti.template(), radiance_mode: ti.template()
):
    grad_wi, grad_wo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    wi, wo = above(wi_given, wi_given[2]), above(wo_given, wi_given[2])
    eta, eta_slope = kept_eta(p, wi_given[2])
    e, h, m, lit = facet_between(wi, wo, eta)
    if lit:
        width, alpha_slope = kept_alpha(p[ROUGHNESS])
        alpha = ti.Vector([width, width])
        cosine = ti.min(wi.dot(m), 1.0)
        share, _ = dielectric(cosine, eta)
        by_cosine, by_eta = dielectric_slopes(cosine, eta)
        lobe = boundary_lobe(wi, wo, e, h, m, alpha, radiance_mode)
        # To the tint and, through Fresnel's share, to the index and the angle at the facet.
        tinted, by_lobe = 0.0, 0.0
        if wo[2] > 0.0:
            add_rgb(grad_p, SPECULAR, g * (share * lobe))
            tinted = g.dot(rgb(p, SPECULAR))
            by_lobe = tinted * share
        else:
            add_rgb(grad_p, TRANSMITTANCE, g * ((1.0 - share) * lobe))
            tinted = -g.dot(rgb(p, TRANSMITTANCE))
            by_lobe = -tinted * (1.0 - share)
        by_cosine, by_eta = by_cosine * tinted * lobe, by_eta * tinted * lobe
        grad_wi, grad_wo, grad_alpha, by_e = boundary_lobe_adjoint(
            wi, wo, e, h, m, alpha, by_lobe, by_cosine, ti.Vector([0.0, 0.0, 0.0]), radiance_mode
        )
        grad_p[ROUGHNESS] += (grad_alpha[0] + grad_alpha[1]) * alpha_slope
        if wo[2] < 0.0:
            by_eta += by_e
        grad_p[ETA] += by_eta * eta_slope
    return above(grad_wi, wi_given[2]), above(grad_wo, wi_given[2])
