"""Device functions that tests put in place of others."""

import taichi as ti

from tidr.kernels.transport.bsdf_conductor import conductor_weight_adjoint
from tidr.kernels.transport.slots import CONDUCTOR, PARAMS


@ti.func
def without_weights(kinds: ti.template(), kind, p: ti.template(), wi, wo, g, radiance_mode: ti.template()):
    """In place of `bsdf.weight_adjoint`: no gradient of what clear boundaries reflect; mirrors as they are."""
    grad_p, grad_wi = ti.Vector([0.0] * PARAMS), 0.0 * wi
    if kind == CONDUCTOR:
        grad_wi = conductor_weight_adjoint(p, wi, g, grad_p)
    return grad_p, grad_wi
