"""Pairs of samples of single lobes, for the test of antithetic sampling."""

import taichi as ti

from tidr.kernels import rng
from tidr.kernels.transport import bsdf
from tidr.kernels.transport.slots import ALBEDO, ETA, PARAMS, ROUGHNESS, SHININESS, SPECULAR, TRANSMITTANCE, K

A2 = ti.types.ndarray(ndim=2)


@ti.func
def matter(roughness):
    """Something of everything."""
    p = ti.Vector.zero(float, PARAMS)
    for c in ti.static(range(3)):
        p[ALBEDO + c], p[SPECULAR + c], p[TRANSMITTANCE + c], p[ETA + c], p[K + c] = 0.6, 0.8, 0.7, 1.5, 2.0
    p[ROUGHNESS], p[SHININESS] = roughness, 12.0
    return p


@ti.func
def numbers(kinds: ti.template(), kind, key, side):
    u1, u2, u3 = rng.draw(key, 0), rng.draw(key, 1), rng.draw(key, 2)
    if side == 1:
        u1, u2, u3 = bsdf.opposite(kinds, kind, u1, u2, u3)
    return u1, u2, u3


@ti.kernel
def draw_pairs(kinds: ti.template(), kind: ti.i32, roughness: float, tilt: float, pairs: ti.i32, out: A2):
    """out [pairs, 2 * 4]: what directions drawn as seen from `tilt` radians say of four integrals, on either side."""
    for i, side in ti.ndrange(pairs, 2):
        p, wi = matter(roughness), ti.Vector([ti.sin(tilt), 0.0, ti.cos(tilt)])
        u1, u2, u3 = numbers(kinds, kind, rng.key(1, i, kind), side)
        wo, weight, _pdf, _delta, _eta = bsdf.sample(kinds, kind, p, wi, u1, u2, u3, True)
        for c, term in ti.static(enumerate((1.0, wo.x, wo.y, wo.x * wo.z + wo.y * wo.y))):
            out[i, 4 * side + c] = weight[0] * term


@ti.kernel
def turn_pairs(kinds: ti.template(), kind: ti.i32, roughness: float, pairs: ti.i32, out: A2):
    """out [pairs, 2]: estimates, on either side, of how what a lobe reflects of even light changes as it turns, for a
    lobe that is looked at head on."""
    for i, side in ti.ndrange(pairs, 2):
        p, wi = matter(roughness), ti.Vector([0.0, 0.0, 1.0])
        u1, u2, u3 = numbers(kinds, kind, rng.key(1, i, kind), side)
        wo, _weight, pdf, _delta, _eta = bsdf.sample(kinds, kind, p, wi, u1, u2, u3, True)
        out[i, side] = 0.0
        if pdf > 0.0:
            _p, by_wi, by_wo = bsdf.evaluate_adjoint(kinds, kind, p, wi, wo, ti.Vector([1.0, 1.0, 1.0]) / pdf, True)
            out[i, side] = by_wi.x * wi.z - by_wi.z * wi.x + by_wo.x * wo.z - by_wo.z * wo.x
