"""METALLIC_ROUGHNESS: glTF's model, by the values of `shading/brdf.py` metallic_roughness.

A diffuse base (1 - metallic) albedo and isotropic GGX with alpha = roughness^2 and Schlick's Fresnel term, F0 from 0.04
to albedo with metallic. Single scattering: rough metals lose light. The diffuse base does not make room for the
highlight, so that a white dielectric reflects up to 4 % more than it receives at normal incidence, and more at grazing.
See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p`.
"""

import taichi as ti

from ..shading import brdf
from .bsdf_lambert import add_rgb, rgb
from .fresnel import schlick, schlick_slopes
from .microfacet import GRAZING, PI, facets, facets_adjoint, half_adjoint, unit, visible_normal, visible_pdf
from .sampling import cosine_hemisphere, share
from .slots import ALBEDO, METALLIC, ROUGHNESS

DIELECTRIC_F0 = 0.04


@ti.func
def normal_reflectance(p: ti.template()):
    """F0 [3]."""
    return DIELECTRIC_F0 + (rgb(p, ALBEDO) - DIELECTRIC_F0) * p[METALLIC]


@ti.func
def highlight_share(p: ti.template(), wi):
    """Probability of sampling the highlight."""
    return share(schlick(normal_reflectance(p), wi[2]).sum(), rgb(p, ALBEDO).sum() * (1.0 - p[METALLIC]))


@ti.func
def smooth_alpha(roughness):
    """(alpha [2], its slope), with brdf.smooth_roughness, which never falls below 0.08."""
    kept, slope = brdf.smooth_roughness(roughness), roughness * 0.0 + 1.0
    if roughness < 2.0 * brdf.SHARPEST:
        slope = ti.max(roughness, 0.0) / (2.0 * brdf.SHARPEST)
    return ti.Vector([kept * kept, kept * kept]), 2.0 * kept * slope


@ti.func
def raised(w):
    """w with its cosine at or above brdf.GRAZING."""
    return ti.Vector([w[0], w[1], ti.max(w[2], brdf.GRAZING)])


@ti.func
def metallic(p: ti.template(), wi, wo):
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING and wo[2] > GRAZING:
        chance = highlight_share(p, wi)
        value = rgb(p, ALBEDO) * ((1.0 - p[METALLIC]) / PI * wo[2])
        pdf = (1.0 - chance) * wo[2] / PI
        m = unit(wi + wo)
        slant = wi.dot(m)
        if slant > brdf.TINY:
            alpha, _ = smooth_alpha(p[ROUGHNESS])
            view, light = raised(wi), raised(wo)
            shape = facets(view, light, m, alpha) * (0.25 * wo[2] / light[2])
            value += schlick(normal_reflectance(p), slant) * shape
            pdf += chance * visible_pdf(wi, m, alpha) / (4.0 * slant)
    return value, pdf


@ti.func
def metallic_sample(p: ti.template(), wi, u1, u2, u3):
    wo, weight, pdf = cosine_hemisphere(u2, u3), ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING:
        if u1 < highlight_share(p, wi):
            alpha, _ = smooth_alpha(p[ROUGHNESS])
            m = visible_normal(wi, alpha, u2, u3)
            wo = unit(2.0 * wi.dot(m) * m - wi)
        value, density = metallic(p, wi, wo)
        pdf = density
        if pdf > 0.0:
            weight = value / pdf
    return wo, weight, pdf


@ti.func
def metallic_adjoint(p: ti.template(), wi, wo, g, grad_p: ti.template()):
    grad_wi, grad_wo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if wi[2] > GRAZING and wo[2] > GRAZING:
        albedo, base = rgb(p, ALBEDO), normal_reflectance(p)
        diffuse = (1.0 - p[METALLIC]) / PI
        add_rgb(grad_p, ALBEDO, g * (diffuse * wo[2]))
        grad_p[METALLIC] -= g.dot(albedo) * wo[2] / PI
        grad_wo[2] = g.dot(albedo) * diffuse
        h = wi + wo
        m = unit(h)
        slant = wi.dot(m)
        if slant > brdf.TINY:
            alpha, alpha_slope = smooth_alpha(p[ROUGHNESS])
            view, light = raised(wi), raised(wo)
            scale = 0.25 * wo[2] / light[2]
            shape = facets(view, light, m, alpha)
            by_base, by_slant = schlick_slopes(base, slant)
            to_base = g * (by_base * shape * scale)
            add_rgb(grad_p, ALBEDO, to_base * p[METALLIC])
            grad_p[METALLIC] += to_base.dot(albedo - DIELECTRIC_F0)
            strength = g.dot(schlick(base, slant))
            to_view, to_light, to_m, to_alpha = facets_adjoint(view, light, m, alpha, strength * scale)
            # Below brdf.GRAZING the cosine is held in the lobe and only the outer cosine varies.
            if wi[2] < brdf.GRAZING:
                to_view[2] = 0.0
            if wo[2] < brdf.GRAZING:
                to_light[2] = strength * shape * (0.25 / brdf.GRAZING)
            grad_p[ROUGHNESS] += to_alpha.sum() * alpha_slope
            to_slant = g.dot(by_slant) * shape * scale
            to_h = half_adjoint(h, m, to_m + to_slant * wi)
            grad_wi += to_view + to_slant * m + to_h
            grad_wo += to_light + to_h
    return grad_wi, grad_wo
