"""PLASTIC and ROUGH_PLASTIC: a diffuse base under a clear coat, smooth or of GGX microfacets.

The coat reflects specular F. What it lets in scatters diffusely and leaves after any number of internal reflections;
these do not saturate the colour (Mitsuba's `plastic` with nonlinear = false, its default): with T = 1 - F and the mean
transmittance of the coat T_mean,

    f cos = albedo T(wi) T(wo) / T_mean cos / pi

of which albedo T(wi) comes back. T_mean is the fit of d'Eon, Irving 2011, "A Quantized-Diffusion Model for Rendering
Translucent Materials" (0.2 % up to index 10). The base of rough plastic sees the smooth coat's F, as an approximation:
white rough plastic gains at most 0.5 %, and loses what facets scatter twice. p[ETA] is the coat's index of refraction;
below 1 the fit stays at 1.
See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p`.
"""

import taichi as ti

from .bsdf_conductor import mirrored
from .bsdf_lambert import add_rgb, rgb
from .fresnel import dielectric, dielectric_slopes
from .microfacet import (
    GRAZING,
    PI,
    facets,
    facets_adjoint,
    half_adjoint,
    kept_alpha,
    unit,
    visible_normal,
    visible_pdf,
)
from .sampling import cosine_hemisphere, share
from .slots import ALBEDO, ETA, PLASTIC, ROUGH_PLASTIC, ROUGHNESS, SPECULAR


@ti.func
def mean_transmittance(eta):
    """(share of diffuse light from outside that enters, its slope)."""
    x = 1.0 / ti.max(eta, 1.0)
    reflected = 0.919317 + x * (-3.4793 + x * (6.75335 + x * (-7.80989 + x * (4.98554 - x * 1.36881))))
    by_x = -3.4793 + x * (13.5067 + x * (-23.42967 + x * (19.94216 - x * 6.84405)))
    return 1.0 - reflected, by_x * x * x


@ti.func
def coat_share(p: ti.template(), reflected):
    """Probability of sampling the coat where it reflects this share."""
    return share(rgb(p, SPECULAR).sum() * reflected, rgb(p, ALBEDO).sum() * (1.0 - reflected))


@ti.func
def plastic(kinds: ti.template(), kind, p: ti.template(), wi, wo):
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING and wo[2] > GRAZING:
        eta = p[ETA]
        reflected_in, _ = dielectric(wi[2], eta)
        reflected_out, _ = dielectric(wo[2], eta)
        mean, _ = mean_transmittance(eta)
        chance = coat_share(p, reflected_in)
        value = rgb(p, ALBEDO) * ((1.0 - reflected_in) * (1.0 - reflected_out) / mean * wo[2] / PI)
        pdf = (1.0 - chance) * wo[2] / PI
        if ti.static(kinds >> ROUGH_PLASTIC & 1):
            if kind == ROUGH_PLASTIC:
                width, _ = kept_alpha(p[ROUGHNESS])
                alpha = ti.Vector([width, width])
                m = unit(wi + wo)
                cosine = ti.min(wi.dot(m), 1.0)
                reflected, _ = dielectric(cosine, eta)
                value += rgb(p, SPECULAR) * (reflected * 0.25 * facets(wi, wo, m, alpha))
                pdf += chance * visible_pdf(wi, m, alpha) / (4.0 * cosine)
    return value, pdf


@ti.func
def plastic_sample(kinds: ti.template(), kind, p: ti.template(), wi, u1, u2, u3):
    """(wo, weight, pdf, delta)."""
    wo, weight, pdf, delta = cosine_hemisphere(u2, u3), ti.Vector([0.0, 0.0, 0.0]), 0.0, 0
    if wi[2] > GRAZING:
        reflected, _ = dielectric(wi[2], p[ETA])
        chance = coat_share(p, reflected)
        if u1 < chance:
            if ti.static(kinds >> PLASTIC & 1):
                if kind == PLASTIC:
                    wo, weight, pdf, delta = mirrored(wi), rgb(p, SPECULAR) * (reflected / chance), chance, 1
            if ti.static(kinds >> ROUGH_PLASTIC & 1):
                if kind == ROUGH_PLASTIC:
                    width, _ = kept_alpha(p[ROUGHNESS])
                    m = visible_normal(wi, ti.Vector([width, width]), u2, u3)
                    wo = unit(2.0 * wi.dot(m) * m - wi)
        if delta == 0:
            value, density = plastic(kinds, kind, p, wi, wo)
            pdf = density
            if pdf > 0.0:
                weight = value / pdf
    return wo, weight, pdf, delta


@ti.func
def plastic_adjoint(kinds: ti.template(), kind, p: ti.template(), wi, wo, g, grad_p: ti.template()):
    grad_wi, grad_wo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if wi[2] > GRAZING and wo[2] > GRAZING:
        eta = p[ETA]
        reflected_in, _ = dielectric(wi[2], eta)
        reflected_out, _ = dielectric(wo[2], eta)
        in_by_cosine, in_by_eta = dielectric_slopes(wi[2], eta)
        out_by_cosine, out_by_eta = dielectric_slopes(wo[2], eta)
        mean, mean_by_eta = mean_transmittance(eta)
        enters, leaves, scale = 1.0 - reflected_in, 1.0 - reflected_out, wo[2] / (PI * mean)
        add_rgb(grad_p, ALBEDO, g * (enters * leaves * scale))
        strength = g.dot(rgb(p, ALBEDO))
        by_eta = in_by_eta * leaves + out_by_eta * enters + enters * leaves * mean_by_eta / mean
        grad_p[ETA] -= strength * scale * by_eta
        grad_wi[2] = -strength * scale * leaves * in_by_cosine
        grad_wo[2] = strength * enters * (leaves / (PI * mean) - scale * out_by_cosine)
        if ti.static(kinds >> ROUGH_PLASTIC & 1):
            if kind == ROUGH_PLASTIC:
                width, slope = kept_alpha(p[ROUGHNESS])
                alpha = ti.Vector([width, width])
                h = wi + wo
                m = unit(h)
                cosine = ti.min(wi.dot(m), 1.0)
                reflected, _ = dielectric(cosine, eta)
                by_cosine, by_index = dielectric_slopes(cosine, eta)
                lobe, strength_coat = 0.25 * facets(wi, wo, m, alpha), g.dot(rgb(p, SPECULAR))
                add_rgb(grad_p, SPECULAR, g * (reflected * lobe))
                grad_p[ETA] += strength_coat * lobe * by_index
                to_wi, to_wo, to_m, to_alpha = facets_adjoint(wi, wo, m, alpha, 0.25 * strength_coat * reflected)
                grad_p[ROUGHNESS] += to_alpha.sum() * slope
                to_cosine = strength_coat * lobe * by_cosine
                to_h = half_adjoint(h, m, to_m + to_cosine * wi)
                grad_wi += to_wi + to_cosine * m + to_h
                grad_wo += to_wo + to_h
    return grad_wi, grad_wo


@ti.func
def plastic_weight_adjoint(p: ti.template(), wi, g, grad_p: ti.template()):
    """Of the mirror of PLASTIC: g . (specular F) over its chance, which is a constant."""
    grad_wi = ti.Vector([0.0, 0.0, 0.0])
    if wi[2] > GRAZING:
        reflected, _ = dielectric(wi[2], p[ETA])
        by_cosine, by_eta = dielectric_slopes(wi[2], p[ETA])
        over = g / coat_share(p, reflected)
        add_rgb(grad_p, SPECULAR, over * reflected)
        strength = over.dot(rgb(p, SPECULAR))
        grad_p[ETA] += strength * by_eta
        grad_wi[2] = strength * by_cosine
    return grad_wi
