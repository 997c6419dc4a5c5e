"""Scattering by a medium: albedo times the phase function of Henyey and Greenstein (../volume/phase.py).

The frame's z axis is where the light goes on to, so that wi is z, and nothing is special about it: there is no cosine.
See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p` and returns (grad_wi, grad_wo).
"""

import taichi as ti

from ..volume.phase import henyey_greenstein, henyey_greenstein_slopes
from .bsdf_lambert import add_rgb, rgb
from .sampling import spherical
from .slots import ALBEDO, ANISOTROPY


@ti.func
def phase(p: ti.template(), wi, wo):
    pdf = henyey_greenstein(-wi.dot(wo), p[ANISOTROPY])
    return pdf * rgb(p, ALBEDO), pdf


@ti.func
def turn(g, u):
    """A cosine to the way that the light had, with the density 2 pi henyey_greenstein; exact for g = 0 as well."""
    even = 1.0 - 2.0 * u
    bend = (even - g) / (1.0 - g * even)
    return ti.max(ti.min(0.5 * g - bend * (1.0 + 0.5 * g * bend), 1.0), -1.0)


@ti.func
def phase_sample(p: ti.template(), u1, u2):
    """For wi = z."""
    cosine = turn(p[ANISOTROPY], u1)
    return spherical(-cosine, u2), rgb(p, ALBEDO), henyey_greenstein(cosine, p[ANISOTROPY])


@ti.func
def phase_adjoint(p: ti.template(), wi, wo, g, grad_p: ti.template()):
    value = henyey_greenstein(-wi.dot(wo), p[ANISOTROPY])
    by_cosine, by_g = henyey_greenstein_slopes(-wi.dot(wo), p[ANISOTROPY])
    seen = g.dot(rgb(p, ALBEDO))
    add_rgb(grad_p, ALBEDO, g * value)
    grad_p[ANISOTROPY] += seen * by_g
    return -seen * by_cosine * wo, -seen * by_cosine * wi
