"""PRINCIPLED: the artists' model of Burley 2012, "Physically Based Shading at Disney", and of Burley 2015, "Extending
the Disney BRDF to a BSDF with Integrated Subsurface Scattering".

With m = metallic, t = transmission, C the albedo, T = C / luminance(C) its tint, M(x, a) = 1 + a (x - 1):

    (1 - m)(1 - t) C / pi           diffuse with retro-reflection, turning into flat (fake subsurface) with flatness
    (1 - m)(1 - t) sheen            M(T, sheen_tint) (1 - wi.h)^5
    1 - (1 - m) t                   anisotropic GGX with Schlick's F from 0.08 specular_level M(T, specular_tint) to 1
                                    in the share (1 - m)(1 - t), from C to 1 in the share m
    (1 - m) t                       rough glass of index p[ETA], tinted sqrt(C) where it lets light through
    clearcoat / 4                   GTR1 with F0 = 0.04 and a fixed shadowing, on top

alpha along x and y is roughness^2 over and times sqrt(1 - 0.9 anisotropy); facets shadow each other by Smith's
height-correlated term. Both sides look alike, but for the glass, whose inside is z < 0. Lobes are added, as Burley adds
them, so that white dielectrics gain light: 6 % of uniform light for the plain base, 13 % with every lobe at its most,
up to 70 % near grazing; with albedo 0.85 all lose. Metal and glass never gain.
See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p`.
"""

import taichi as ti

from .bsdf_dielectric import above, boundary_lobe, boundary_lobe_adjoint, facet_between, kept_eta
from .bsdf_lambert import add_rgb, rgb
from .fresnel import dielectric, dielectric_slopes
from .microfacet import GRAZING, PI, SMOOTHEST, unit, visible_normal, visible_pdf
from .principled_lobes import coat, coat_adjoint, coat_normal, diffuse, diffuse_adjoint, fifth, tint, tint_adjoint
from .sampling import cosine_hemisphere
from .slots import (
    ALBEDO,
    ANISOTROPY,
    CLEARCOAT,
    CLEARCOAT_ROUGHNESS,
    ETA,
    FLATNESS,
    METALLIC,
    ROUGHNESS,
    SHEEN,
    SHEEN_TINT,
    SPECULAR_LEVEL,
    SPECULAR_TINT,
    TRANSMISSION,
)

BRIGHTEST_F0 = 0.08
DARKEST = 1e-6  # albedo below which the slope of its root stops growing
LEAST = 0.025  # every lobe is sampled, so that the gradient of a black one arrives


@ti.func
def widths(p: ti.template()):
    """alpha [2]."""
    aspect = ti.sqrt(1.0 - 0.9 * p[ANISOTROPY])
    square = p[ROUGHNESS] * p[ROUGHNESS]
    return ti.Vector([ti.max(square / aspect, SMOOTHEST), ti.max(square * aspect, SMOOTHEST)])


@ti.func
def widths_adjoint(p: ti.template(), alpha, g, grad_p: ti.template()):
    aspect = ti.sqrt(1.0 - 0.9 * p[ANISOTROPY])
    by = ti.Vector([1.0 / aspect, aspect])
    by_aspect = ti.Vector([0.45 / (aspect * aspect * aspect), -0.45 / aspect])
    for c in ti.static(range(2)):
        if alpha[c] > SMOOTHEST:
            grad_p[ROUGHNESS] += g[c] * 2.0 * p[ROUGHNESS] * by[c]
            grad_p[ANISOTROPY] += g[c] * p[ROUGHNESS] * p[ROUGHNESS] * by_aspect[c]


@ti.func
def shares(p: ti.template()):
    """(of the diffuse base, of the glass)."""
    dielectric_share = 1.0 - p[METALLIC]
    return dielectric_share * (1.0 - p[TRANSMISSION]), dielectric_share * p[TRANSMISSION]


@ti.func
def normal_reflectance(p: ti.template(), base):
    """F0 [3] of the opaque highlight times its share."""
    hue = 1.0 + p[SPECULAR_TINT] * (tint(rgb(p, ALBEDO)) - 1.0)
    return hue * (base * BRIGHTEST_F0 * p[SPECULAR_LEVEL]) + rgb(p, ALBEDO) * p[METALLIC]


@ti.func
def chances(p: ti.template(), z):
    """Probabilities: of the diffuse base, of the clear coat, and of glass among the facets, which get the rest."""
    base, glass = shares(p)
    f0 = normal_reflectance(p, base).sum()
    grazing = fifth(1.0 - z)
    by_base, by_glass = base * rgb(p, ALBEDO).sum(), 3.0 * glass
    by_coat = 0.75 * p[CLEARCOAT] * (0.04 + 0.96 * grazing)
    by_highlight = f0 + (3.0 * (1.0 - glass) - f0) * grazing
    scale = (1.0 - 4.0 * LEAST) / ti.max(by_base + by_glass + by_coat + by_highlight, DARKEST)
    chance, chance_coat = LEAST + scale * by_base, LEAST + scale * by_coat
    return chance, chance_coat, (LEAST + scale * by_glass) / (1.0 - chance - chance_coat)


@ti.func
def principled(p: ti.template(), wi_given, wo_given, radiance_mode: ti.template()):
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    wi, wo = above(wi_given, wi_given[2]), above(wo_given, wi_given[2])
    eta, _ = kept_eta(p, wi_given[2])
    e, h, m, lit = facet_between(wi, wo, eta)
    if lit:
        alpha = widths(p)
        cosine = ti.min(wi.dot(m), 1.0)
        reflected, _ = dielectric(cosine, eta)
        base, glass = shares(p)
        chance, chance_coat, chance_glass = chances(p, wi[2])
        spread = ti.abs(wo.dot(m)) / h.dot(h)
        visible = (1.0 - chance - chance_coat) * visible_pdf(wi, m, alpha) * spread * e * e
        shape = boundary_lobe(wi, wo, e, h, m, alpha, radiance_mode)
        albedo = rgb(p, ALBEDO)
        if wo[2] > 0.0:
            f0, grazing = normal_reflectance(p, base), fifth(1.0 - cosine)
            value = (f0 + (1.0 - glass - f0) * grazing + glass * reflected) * shape
            soft = 1.0 + p[SHEEN_TINT] * (tint(albedo) - 1.0)
            value += albedo * (base * diffuse(wi[2], wo[2], cosine, p[ROUGHNESS], p[FLATNESS]))
            value += soft * (base * p[SHEEN] * grazing * wo[2])
            glaze, glaze_density = coat(wi[2], wo[2], m, cosine, p[CLEARCOAT_ROUGHNESS])
            value += 0.25 * p[CLEARCOAT] * glaze
            pdf = chance * wo[2] / PI + chance_coat * glaze_density * spread
            pdf += (1.0 - chance_glass * (1.0 - reflected)) * visible
        else:
            value = ti.sqrt(ti.max(albedo, 0.0)) * (glass * (1.0 - reflected) * shape)
            pdf = chance_glass * (1.0 - reflected) * visible
    return value, pdf


@ti.func
def principled_sample(p: ti.template(), wi_given, u1, u2, u3, radiance_mode: ti.template()):
    """(wo, weight, pdf, eta)."""
    wo, weight, pdf, ratio = cosine_hemisphere(u2, u3), ti.Vector([0.0, 0.0, 0.0]), 0.0, 1.0
    wi = above(wi_given, wi_given[2])
    if wi[2] > GRAZING:
        eta, _ = kept_eta(p, wi_given[2])
        chance, chance_coat, chance_glass = chances(p, wi[2])
        height = wo[2]
        if u1 >= chance:
            m = coat_normal(p[CLEARCOAT_ROUGHNESS], u2, u3)
            through = 0.0
            if u1 >= chance + chance_coat:
                m = visible_normal(wi, widths(p), u2, u3)
                through = chance_glass
            cosine = wi.dot(m)
            reflected, refracted = dielectric(ti.min(ti.max(cosine, 0.0), 1.0), eta)
            wo = unit(2.0 * cosine * m - wi)
            height = wo[2]
            if 1.0 - u1 < through * (1.0 - reflected) * (1.0 - chance - chance_coat):
                wo = unit((cosine / eta - refracted) * m - wi / eta)
                height, ratio = -wo[2], eta
        # A mirror direction below the surface is lost, though glass would let light through it.
        if height > GRAZING:
            wo = above(wo, wi_given[2])
            value, density = principled(p, wi_given, wo, radiance_mode)
            pdf = density
            if pdf > 0.0:
                weight = value / pdf
    return wo, weight, pdf, ratio


@ti.func
def reflection_adjoint(p: ti.template(), wi, wo, m, cosine, reflected, base, glass, lobe, g, grad_p: ti.template()):
    """Gradient of g . f cos on wi's side with the facets' `lobe` held: adds to the parameters, returns g . the colour
    of the facets and the gradients to (F of the glass, base, glass, cosine at the facet, wi.z, wo.z, m [3])."""
    albedo, sheen, white = rgb(p, ALBEDO), p[SHEEN], g.sum()
    hue, rest = tint(albedo) - 1.0, 1.0 - cosine
    fourth = rest * rest * rest * rest
    grazing = fourth * rest
    # The facets.
    plain, bright = 1.0 + p[SPECULAR_TINT] * hue, BRIGHTEST_F0 * p[SPECULAR_LEVEL]
    f0 = plain * (base * bright) + albedo * p[METALLIC]
    by_lobe = g.dot(f0 + (1.0 - glass - f0) * grazing) + white * glass * reflected
    to_f0 = g * (lobe * (1.0 - grazing))
    to_base, to_glass = bright * to_f0.dot(plain), white * lobe * (reflected - grazing)
    grad_p[SPECULAR_LEVEL] += BRIGHTEST_F0 * base * to_f0.dot(plain)
    grad_p[SPECULAR_TINT] += bright * base * to_f0.dot(hue)
    grad_p[METALLIC] += to_f0.dot(albedo)
    # The sheen.
    along, velvet = g.dot(1.0 + p[SHEEN_TINT] * hue), base * grazing * wo[2]
    grad_p[SHEEN] += along * velvet
    grad_p[SHEEN_TINT] += g.dot(hue) * sheen * velvet
    to_base += along * sheen * grazing * wo[2]
    to_grazing = lobe * g.dot(1.0 - glass - f0) + along * sheen * base * wo[2]
    # The diffuse base, and every way to the albedo.
    shape, to_zi, to_zo, to_cosine, to_roughness, to_flatness = diffuse_adjoint(
        wi[2], wo[2], cosine, p[ROUGHNESS], p[FLATNESS], base * g.dot(albedo)
    )
    to_base += g.dot(albedo) * shape
    grad_p[ROUGHNESS] += to_roughness
    grad_p[FLATNESS] += to_flatness
    to_tint = to_f0 * (base * bright * p[SPECULAR_TINT]) + g * (p[SHEEN_TINT] * sheen * velvet)
    add_rgb(grad_p, ALBEDO, to_f0 * p[METALLIC] + g * (base * shape) + tint_adjoint(albedo, to_tint))
    # The clear coat.
    glaze, coat_zi, coat_zo, to_m, coat_cosine, coat_roughness = coat_adjoint(
        wi[2], wo[2], m, cosine, p[CLEARCOAT_ROUGHNESS], 0.25 * white * p[CLEARCOAT]
    )
    grad_p[CLEARCOAT] += 0.25 * white * glaze
    grad_p[CLEARCOAT_ROUGHNESS] += coat_roughness
    to_cosine += coat_cosine - 5.0 * fourth * to_grazing
    to_zo += coat_zo + along * sheen * base * grazing
    return by_lobe, white * lobe * glass, to_base, to_glass, to_cosine, to_zi + coat_zi, to_zo, to_m


@ti.func
def principled_adjoint(p: ti.template(), wi_given, wo_given, g, grad_p: ti.template(), radiance_mode: ti.template()):
    grad_wi, grad_wo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    wi, wo = above(wi_given, wi_given[2]), above(wo_given, wi_given[2])
    eta, eta_slope = kept_eta(p, wi_given[2])
    e, h, m, lit = facet_between(wi, wo, eta)
    if lit:
        alpha, cosine = widths(p), ti.min(wi.dot(m), 1.0)
        reflected, _ = dielectric(cosine, eta)
        base, glass = shares(p)
        lobe = boundary_lobe(wi, wo, e, h, m, alpha, radiance_mode)
        by_lobe, to_reflected, to_base, to_glass, to_cosine = 0.0, 0.0, 0.0, 0.0, 0.0
        to_m = ti.Vector([0.0, 0.0, 0.0])
        if wo[2] > 0.0:
            by_lobe, to_reflected, to_base, to_glass, to_cosine, grad_wi[2], grad_wo[2], to_m = reflection_adjoint(
                p, wi, wo, m, cosine, reflected, base, glass, lobe, g, grad_p
            )
        else:
            root = ti.sqrt(ti.max(rgb(p, ALBEDO), 0.0))
            by_lobe = g.dot(root) * glass * (1.0 - reflected)
            add_rgb(grad_p, ALBEDO, g * (0.5 * glass * (1.0 - reflected) * lobe) / ti.max(root, ti.sqrt(DARKEST)))
            to_glass = g.dot(root) * (1.0 - reflected) * lobe
            to_reflected = -g.dot(root) * glass * lobe
        grad_p[METALLIC] -= (1.0 - p[TRANSMISSION]) * to_base + p[TRANSMISSION] * to_glass
        grad_p[TRANSMISSION] += (1.0 - p[METALLIC]) * (to_glass - to_base)
        by_cosine, by_eta = dielectric_slopes(cosine, eta)
        to_wi, to_wo, to_alpha, to_e = boundary_lobe_adjoint(
            wi, wo, e, h, m, alpha, by_lobe, to_cosine + to_reflected * by_cosine, to_m, radiance_mode
        )
        grad_wi += to_wi
        grad_wo += to_wo
        widths_adjoint(p, alpha, to_alpha, grad_p)
        to_eta = to_reflected * by_eta
        if wo[2] < 0.0:
            to_eta += to_e
        grad_p[ETA] += to_eta * eta_slope
    return above(grad_wi, wi_given[2]), above(grad_wo, wi_given[2])
