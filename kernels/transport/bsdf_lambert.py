"""Ideal diffuse reflection, albedo / pi.

See bsdf.py for the meaning of the arguments; an adjoint adds to `grad_p` and returns (grad_wi, grad_wo).
"""

import taichi as ti

from .microfacet import GRAZING, PI
from .sampling import cosine_hemisphere
from .slots import ALBEDO


@ti.func
def rgb(p: ti.template(), offset: ti.template()):
    return ti.Vector([p[offset], p[offset + 1], p[offset + 2]])


@ti.func
def add_rgb(grad_p: ti.template(), offset: ti.template(), value):
    for c in ti.static(range(3)):
        grad_p[offset + c] += value[c]


@ti.func
def lambert(p: ti.template(), wi, wo):
    value, pdf = ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING and wo[2] > GRAZING:
        pdf = wo[2] / PI
        value = rgb(p, ALBEDO) * pdf
    return value, pdf


@ti.func
def lambert_sample(p: ti.template(), wi, u1, u2):
    wo, weight, pdf = cosine_hemisphere(u1, u2), ti.Vector([0.0, 0.0, 0.0]), 0.0
    if wi[2] > GRAZING and wo[2] > GRAZING:
        weight, pdf = rgb(p, ALBEDO), wo[2] / PI
    return wo, weight, pdf


@ti.func
def lambert_adjoint(p: ti.template(), wi, wo, g, grad_p: ti.template()):
    grad_wi, grad_wo = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if wi[2] > GRAZING and wo[2] > GRAZING:
        add_rgb(grad_p, ALBEDO, g * (wo[2] / PI))
        grad_wo[2] = g.dot(rgb(p, ALBEDO)) / PI
    return grad_wi, grad_wo
