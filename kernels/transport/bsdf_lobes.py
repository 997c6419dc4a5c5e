"""PHONG and BLINN_PHONG: a diffuse base plus one cosine-power lobe, specular factor(s) cos^s, by `shading/brdf.py`.

Phong's cosine is that between the mirror direction of wi and wo (Phong 1975, normalised as in Lafortune, Willems 1994);
Blinn's is that of the half vector and the normal (Blinn 1977). What comes back is at most albedo + specular.
See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p`.
"""

import taichi as ti

from .bsdf_conductor import mirrored
from .bsdf_lambert import add_rgb, rgb
from .microfacet import GRAZING, PI, half_adjoint, unit
from .sampling import cosine_hemisphere, share, spherical
from .slots import ALBEDO, BLINN_PHONG, PHONG, SHININESS, SPECULAR
from .surface import frame, to_world

HALF_LOG_2 = 0.34657359027997264
TINY = 1e-6  # cosine at and below which a lobe is 0, as in shading/brdf.py


@ti.func
def lobe(kinds: ti.template(), kind, wi, wo, s):
    """(cosine, factor, d factor / ds, density of wo per density of the sampled direction) of a lobe."""
    cosine, factor, slope, spread = 0.0, 0.0, 0.0, 1.0
    if ti.static(kinds >> PHONG & 1):
        if kind == PHONG:
            cosine = mirrored(wi).dot(wo)
            factor = (s + 2.0) / (2.0 * PI)
            slope = 1.0 / (2.0 * PI)
    if ti.static(kinds >> BLINN_PHONG & 1):
        if kind == BLINN_PHONG:
            m = unit(wi + wo)
            cosine = m[2]
            spread = 0.25 / ti.max(wi.dot(m), TINY)
            decay = ti.exp(-HALF_LOG_2 * s)
            below = 1.0 / (8.0 * PI * (decay + s))
            factor = (s + 2.0) * (s + 4.0) * below
            slope = (2.0 * s + 6.0) * below - factor * (1.0 - HALF_LOG_2 * decay) / (decay + s)
    return cosine, factor, slope, spread


@ti.func
def lobes(kinds: ti.template(), kind, p: ti.template(), wi, wo):
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING and wo[2] > GRAZING:
        albedo, specular, s = rgb(p, ALBEDO), rgb(p, SPECULAR), p[SHININESS]
        chance = share(specular.sum(), albedo.sum())
        value = albedo * (wo[2] / PI)
        pdf = (1.0 - chance) * wo[2] / PI
        cosine, factor, _, spread = lobe(kinds, kind, wi, wo, s)
        if cosine > TINY:
            power = ti.pow(cosine, s)
            value += specular * (factor * power * wo[2])
            pdf += chance * (s + 1.0) / (2.0 * PI) * power * spread
    return value, pdf


@ti.func
def lobes_sample(kinds: ti.template(), kind, p: ti.template(), wi, u1, u2, u3):
    """By the diffuse base, or about the mirror direction (Phong), or by a half vector about the normal (Blinn)."""
    wo, weight = cosine_hemisphere(u2, u3), ti.Vector([0.0, 0.0, 0.0])
    if u1 < share(rgb(p, SPECULAR).sum(), rgb(p, ALBEDO).sum()):
        around = spherical(ti.pow(u2, 1.0 / (p[SHININESS] + 1.0)), u3)
        if ti.static(kinds >> PHONG & 1):
            if kind == PHONG:
                n = mirrored(wi)
                s, t = frame(n)
                wo = unit(to_world(s, t, n, around))
        if ti.static(kinds >> BLINN_PHONG & 1):
            if kind == BLINN_PHONG:
                wo = unit(2.0 * wi.dot(around) * around - wi)
    value, pdf = lobes(kinds, kind, p, wi, wo)
    if pdf > 0.0:
        weight = value / pdf
    return wo, weight, pdf


@ti.func
def lobes_adjoint(kinds: ti.template(), kind, p: ti.template(), wi, wo, g, grad_p: ti.template()):
    grad_wi, grad_wo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if wi[2] > GRAZING and wo[2] > GRAZING:
        s, strength = p[SHININESS], g.dot(rgb(p, SPECULAR))
        add_rgb(grad_p, ALBEDO, g * (wo[2] / PI))
        grad_wo[2] = g.dot(rgb(p, ALBEDO)) / PI
        cosine, factor, slope, _ = lobe(kinds, kind, wi, wo, s)
        if cosine > TINY:
            power = ti.pow(cosine, s)
            add_rgb(grad_p, SPECULAR, g * (factor * power * wo[2]))
            grad_p[SHININESS] += strength * wo[2] * power * (slope + factor * ti.log(cosine))
            grad_wo[2] += strength * factor * power
            by_cosine = strength * factor * wo[2] * s * power / cosine
            if ti.static(kinds >> PHONG & 1):
                if kind == PHONG:
                    grad_wi += by_cosine * mirrored(wo)
                    grad_wo += by_cosine * mirrored(wi)
            if ti.static(kinds >> BLINN_PHONG & 1):
                if kind == BLINN_PHONG:
                    h = wi + wo
                    grad_h = half_adjoint(h, unit(h), ti.Vector([0.0, 0.0, by_cosine]))
                    grad_wi += grad_h
                    grad_wo += grad_h
    return grad_wi, grad_wo
