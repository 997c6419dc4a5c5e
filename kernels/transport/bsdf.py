"""Surfaces for light transport: one dispatch over the kinds of slots.py; one file per family has the formulas.

    evaluate(kinds, kind, p, wi, wo, radiance_mode)          -> (f cos [3], pdf of sampling wo)
    sample(kinds, kind, p, wi, u1, u2, u3, radiance_mode)    -> (wo, weight [3], pdf, delta 0 / 1, eta)
    opposite(kinds, kind, u1, u2, u3)                        -> numbers for `sample` of the opposite direction
    evaluate_adjoint(kinds, kind, p, wi, wo, g, radiance_mode) -> (grad_p [PARAMS], grad_wi [3], grad_wo [3])
    weight_adjoint(kinds, kind, p, wi, wo, g, radiance_mode)   -> (grad_p [PARAMS], grad_wi [3])

`kinds` is a compile-time bit mask of the kinds that a scene has: others are not compiled. `p` [PARAMS] describes the
material (pass a variable: it is taken by reference). Directions are unit vectors away from the surface, in the shading
frame with z along the normal: `wi` to where the path came from, `wo` to where it goes on; opaque kinds scatter for
wi.z > 0 only. f cos is BSDF |wo.z|, pdf per solid angle; both are 0 for mirrors and clear boundaries (delta lobes) and
closer than GRAZING to the surface. PHASE is a place in a medium, where there is no cosine. A sample
has weight f cos / pdf, 0 with pdf 0 if it failed; pdf of a delta lobe is
the chance that it was chosen; eta is the relative index on a refraction, else 1. `radiance_mode` (compile time) is 1
for paths from the camera, whose radiance is divided by eta^2 on refraction, 0 for photons.
`evaluate_adjoint` is the gradient of g . f cos. `weight_adjoint` is that of g . f cos of the delta lobe that leads from
wi to wo, over the chance with which `sample` chose it, held constant. Gradients to directions count along the unit
sphere. Everything is finite for all directions and all parameters of their range.
"""

import taichi as ti

from .bsdf_conductor import (
    conductor_sample,
    conductor_weight_adjoint,
    rough_conductor,
    rough_conductor_adjoint,
    rough_conductor_sample,
)
from .bsdf_dielectric import (
    dielectric_sample,
    dielectric_weight_adjoint,
    rough_dielectric,
    rough_dielectric_adjoint,
    rough_dielectric_sample,
)
from .bsdf_lambert import lambert, lambert_adjoint, lambert_sample
from .bsdf_lobes import lobes, lobes_adjoint, lobes_sample
from .bsdf_metallic import metallic, metallic_adjoint, metallic_sample
from .bsdf_phase import phase, phase_adjoint, phase_sample
from .bsdf_plastic import plastic, plastic_adjoint, plastic_sample, plastic_weight_adjoint
from .bsdf_principled import principled, principled_adjoint, principled_sample
from .slots import (
    BLINN_PHONG,
    CONDUCTOR,
    DIELECTRIC,
    LAMBERT,
    METALLIC_ROUGHNESS,
    NULL,
    PARAMS,
    PHASE,
    PHONG,
    PLASTIC,
    PRINCIPLED,
    ROUGH_CONDUCTOR,
    ROUGH_DIELECTRIC,
    ROUGH_PLASTIC,
    THIN_DIELECTRIC,
)

LOBES = (1 << PHONG) | (1 << BLINN_PHONG)
FACETS = (1 << ROUGH_CONDUCTOR) | (1 << ROUGH_DIELECTRIC)
PLASTICS = (1 << PLASTIC) | (1 << ROUGH_PLASTIC)


@ti.func
def evaluate(kinds: ti.template(), kind, p: ti.template(), wi, wo, radiance_mode: ti.template()):
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if ti.static(kinds >> LAMBERT & 1):
        if kind == LAMBERT:
            value, pdf = lambert(p, wi, wo)
    if ti.static(kinds & LOBES):
        if LOBES >> kind & 1:
            value, pdf = lobes(kinds, kind, p, wi, wo)
    if ti.static(kinds >> METALLIC_ROUGHNESS & 1):
        if kind == METALLIC_ROUGHNESS:
            value, pdf = metallic(p, wi, wo)
    if ti.static(kinds >> ROUGH_CONDUCTOR & 1):
        if kind == ROUGH_CONDUCTOR:
            value, pdf = rough_conductor(p, wi, wo)
    if ti.static(kinds >> ROUGH_DIELECTRIC & 1):
        if kind == ROUGH_DIELECTRIC:
            value, pdf = rough_dielectric(p, wi, wo, radiance_mode)
    if ti.static(kinds & PLASTICS):
        if PLASTICS >> kind & 1:
            value, pdf = plastic(kinds, kind, p, wi, wo)
    if ti.static(kinds >> PRINCIPLED & 1):
        if kind == PRINCIPLED:
            value, pdf = principled(p, wi, wo, radiance_mode)
    if ti.static(kinds >> PHASE & 1):
        if kind == PHASE:
            value, pdf = phase(p, wi, wo)
    return value, pdf


@ti.func
def sample(kinds: ti.template(), kind, p: ti.template(), wi, u1, u2, u3, radiance_mode: ti.template()):
    wo, weight, pdf, delta, eta = -wi, ti.Vector([0.0, 0.0, 0.0]), 0.0, 0, 1.0
    if ti.static(kinds >> LAMBERT & 1):
        if kind == LAMBERT:
            wo, weight, pdf = lambert_sample(p, wi, u1, u2)
    if ti.static(kinds & LOBES):
        if LOBES >> kind & 1:
            wo, weight, pdf = lobes_sample(kinds, kind, p, wi, u1, u2, u3)
    if ti.static(kinds >> METALLIC_ROUGHNESS & 1):
        if kind == METALLIC_ROUGHNESS:
            wo, weight, pdf = metallic_sample(p, wi, u1, u2, u3)
    if ti.static(kinds >> CONDUCTOR & 1):
        if kind == CONDUCTOR:
            wo, weight, pdf = conductor_sample(p, wi)
            delta = 1
    if ti.static(kinds >> ROUGH_CONDUCTOR & 1):
        if kind == ROUGH_CONDUCTOR:
            wo, weight, pdf = rough_conductor_sample(p, wi, u1, u2)
    if ti.static(kinds >> DIELECTRIC & 1):
        if kind == DIELECTRIC:
            wo, weight, pdf, eta = dielectric_sample(p, wi, u1, False, radiance_mode)
            delta = 1
    if ti.static(kinds >> THIN_DIELECTRIC & 1):
        if kind == THIN_DIELECTRIC:
            wo, weight, pdf, eta = dielectric_sample(p, wi, u1, True, radiance_mode)
            delta = 1
    if ti.static(kinds >> ROUGH_DIELECTRIC & 1):
        if kind == ROUGH_DIELECTRIC:
            wo, weight, pdf, eta = rough_dielectric_sample(p, wi, u1, u2, u3, radiance_mode)
    if ti.static(kinds & PLASTICS):
        if PLASTICS >> kind & 1:
            wo, weight, pdf, delta = plastic_sample(kinds, kind, p, wi, u1, u2, u3)
    if ti.static(kinds >> PRINCIPLED & 1):
        if kind == PRINCIPLED:
            wo, weight, pdf, eta = principled_sample(p, wi, u1, u2, u3, radiance_mode)
    if ti.static(kinds >> NULL & 1):
        if kind == NULL:
            weight, pdf, delta = ti.Vector([1.0, 1.0, 1.0]), 1.0, 1
    if ti.static(kinds >> PHASE & 1):
        if kind == PHASE:
            wo, weight, pdf = phase_sample(p, u1, u2)
    return wo, weight, pdf, delta, eta


@ti.func
def opposite(kinds: ti.template(), kind, u1, u2, u3):
    """Other numbers, as even, with which `sample` draws the facet normal half a turn on: about the normal of the
    surface where it is looked at head on or smooth, else about what facets lean towards. Directions about a mirrored
    one, and in media, are turned about that; of a principled material the clear coat is not."""
    v1, v2, v3 = u1, u2, u3
    if ti.static(kinds & (LOBES | FACETS)):
        if (FACETS >> kind & 1) == 1:
            v1 = half_a_turn(u1)
        elif (LOBES >> kind & 1) == 1:
            v3 = half_a_turn(u3)
        else:
            v2 = half_a_turn(u2)
    else:
        v2 = half_a_turn(u2)
    return v1, v2, v3


@ti.func
def half_a_turn(u):
    """u + 1/2 modulo 1."""
    return u + 0.5 if u < 0.5 else u - 0.5


@ti.func
def evaluate_adjoint(kinds: ti.template(), kind, p: ti.template(), wi, wo, g, radiance_mode: ti.template()):
    grad_p, grad_wi, grad_wo = ti.Vector([0.0] * PARAMS), ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(kinds >> LAMBERT & 1):
        if kind == LAMBERT:
            grad_wi, grad_wo = lambert_adjoint(p, wi, wo, g, grad_p)
    if ti.static(kinds & LOBES):
        if LOBES >> kind & 1:
            grad_wi, grad_wo = lobes_adjoint(kinds, kind, p, wi, wo, g, grad_p)
    if ti.static(kinds >> METALLIC_ROUGHNESS & 1):
        if kind == METALLIC_ROUGHNESS:
            grad_wi, grad_wo = metallic_adjoint(p, wi, wo, g, grad_p)
    if ti.static(kinds >> ROUGH_CONDUCTOR & 1):
        if kind == ROUGH_CONDUCTOR:
            grad_wi, grad_wo = rough_conductor_adjoint(p, wi, wo, g, grad_p)
    if ti.static(kinds >> ROUGH_DIELECTRIC & 1):
        if kind == ROUGH_DIELECTRIC:
            grad_wi, grad_wo = rough_dielectric_adjoint(p, wi, wo, g, grad_p, radiance_mode)
    if ti.static(kinds & PLASTICS):
        if PLASTICS >> kind & 1:
            grad_wi, grad_wo = plastic_adjoint(kinds, kind, p, wi, wo, g, grad_p)
    if ti.static(kinds >> PRINCIPLED & 1):
        if kind == PRINCIPLED:
            grad_wi, grad_wo = principled_adjoint(p, wi, wo, g, grad_p, radiance_mode)
    if ti.static(kinds >> PHASE & 1):
        if kind == PHASE:
            grad_wi, grad_wo = phase_adjoint(p, wi, wo, g, grad_p)
    return grad_p, grad_wi, grad_wo


@ti.func
def weight_adjoint(kinds: ti.template(), kind, p: ti.template(), wi, wo, g, radiance_mode: ti.template()):
    grad_p, grad_wi = ti.Vector([0.0] * PARAMS), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(kinds >> CONDUCTOR & 1):
        if kind == CONDUCTOR:
            grad_wi = conductor_weight_adjoint(p, wi, g, grad_p)
    if ti.static(kinds >> DIELECTRIC & 1):
        if kind == DIELECTRIC:
            grad_wi = dielectric_weight_adjoint(p, wi, wo, g, grad_p, False, radiance_mode)
    if ti.static(kinds >> THIN_DIELECTRIC & 1):
        if kind == THIN_DIELECTRIC:
            grad_wi = dielectric_weight_adjoint(p, wi, wo, g, grad_p, True, radiance_mode)
    if ti.static(kinds >> PLASTIC & 1):
        if kind == PLASTIC:
            grad_wi = plastic_weight_adjoint(p, wi, g, grad_p)
    return grad_p, grad_wi
