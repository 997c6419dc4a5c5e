"""Metals: a mirror, and microfacets that are mirrors; Fresnel's equations with complex indices, times a tint.

Walter et al. 2007. Light that bounces between facets more than once is lost, as in every single-scattering model.
See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p`.
"""

import taichi as ti

from .bsdf_lambert import add_rgb, rgb
from .fresnel import conductor, conductor_slopes
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
from .slots import ETA, ROUGHNESS, SPECULAR, K


@ti.func
def mirrored(wi):
    return ti.Vector([-wi[0], -wi[1], wi[2]])


@ti.func
def conductor_sample(p: ti.template(), wi):
    weight, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING:
        weight, pdf = rgb(p, SPECULAR) * conductor(wi[2], rgb(p, ETA), rgb(p, K)), 1.0
    return mirrored(wi), weight, pdf


@ti.func
def tinted_fresnel_adjoint(p: ti.template(), cosine, g, scale, grad_p: ti.template()):
    """Adds the gradient of scale g . (tint F) to tint and indices; returns those to the cosine and to scale."""
    eta, k, tinted = rgb(p, ETA), rgb(p, K), g * rgb(p, SPECULAR)
    reflected = conductor(cosine, eta, k)
    by_cosine, by_eta, by_k = conductor_slopes(cosine, eta, k)
    add_rgb(grad_p, SPECULAR, g * reflected * scale)
    add_rgb(grad_p, ETA, tinted * by_eta * scale)
    add_rgb(grad_p, K, tinted * by_k * scale)
    return tinted.dot(by_cosine) * scale, tinted.dot(reflected)


@ti.func
def conductor_weight_adjoint(p: ti.template(), wi, g, grad_p: ti.template()):
    grad_wi = ti.Vector([0.0, 0.0, 0.0])
    if wi[2] > GRAZING:
        grad_wi[2], _ = tinted_fresnel_adjoint(p, wi[2], g, 1.0, grad_p)
    return grad_wi


@ti.func
def rough_conductor(p: ti.template(), wi, wo):
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING and wo[2] > GRAZING:
        width, _ = kept_alpha(p[ROUGHNESS])
        alpha = ti.Vector([width, width])
        m = unit(wi + wo)
        cosine = ti.min(wi.dot(m), 1.0)
        reflected = conductor(cosine, rgb(p, ETA), rgb(p, K))
        value = rgb(p, SPECULAR) * reflected * (0.25 * facets(wi, wo, m, alpha))
        pdf = visible_pdf(wi, m, alpha) / (4.0 * cosine)
    return value, pdf


@ti.func
def rough_conductor_sample(p: ti.template(), wi, u1, u2):
    wo, weight, pdf = mirrored(wi), ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING:
        width, _ = kept_alpha(p[ROUGHNESS])
        alpha = ti.Vector([width, width])
        m = visible_normal(wi, alpha, u1, u2)
        cosine = ti.min(wi.dot(m), 1.0)
        wo = unit(2.0 * cosine * m - wi)
        if cosine > 0.0 and wo[2] > GRAZING:
            reflected = conductor(cosine, rgb(p, ETA), rgb(p, K))
            weight = rgb(p, SPECULAR) * reflected * seen_share(wi, wo, alpha)
            pdf = visible_pdf(wi, m, alpha) / (4.0 * cosine)
    return wo, weight, pdf


@ti.func
def rough_conductor_adjoint(p: ti.template(), wi, wo, g, grad_p: ti.template()):
    grad_wi, grad_wo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if wi[2] > GRAZING and wo[2] > GRAZING:
        width, slope = kept_alpha(p[ROUGHNESS])
        alpha = ti.Vector([width, width])
        h = wi + wo
        m = unit(h)
        cosine = ti.min(wi.dot(m), 1.0)
        lobe = 0.25 * facets(wi, wo, m, alpha)
        by_cosine, by_lobe = tinted_fresnel_adjoint(p, cosine, g, lobe, grad_p)
        grad_wi, grad_wo, grad_m, grad_alpha = facets_adjoint(wi, wo, m, alpha, 0.25 * by_lobe)
        grad_p[ROUGHNESS] += (grad_alpha[0] + grad_alpha[1]) * slope
        grad_h = half_adjoint(h, m, grad_m + by_cosine * wi)
        grad_wi += grad_h + by_cosine * m
        grad_wo += grad_h
    return grad_wi, grad_wo
