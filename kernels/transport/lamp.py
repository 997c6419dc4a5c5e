"""A place on a lamp that was chosen to be looked at, or to send light: what it shines with, and the adjoint.

Where a lamp's opacity is below 1 it is met by that chance only, so that this share of its emission counts.
"""

import taichi as ti

from . import hit, materials
from .mesh_adjoint import paint


@ti.func
def shining(mask: ti.template(), t: ti.template(), triangle, b1, b2):
    """What a sampled light triangle shines with at a place [3]; 1 where the light is none."""
    radiance = ti.Vector([1.0, 1.0, 1.0])
    if ti.static(mask >> materials.EMISSIONS & 1):
        if triangle >= 0:
            uv, color = hit.textured(mask, t, triangle, b1, b2)
            material = t.faces[triangle, 9]
            radiance = materials.emission(mask, material, uv, color, 0.0, t)
            radiance *= materials.opacity(mask, material, uv, 0.0, t)
    return radiance


@ti.func
def shining_adjoint(
    mask: ti.template(), atomic: ti.template(), t: ti.template(), parts: ti.template(), copy, triangle, b1, b2, g
):
    """To material, uv and vertex colours of a sampled light triangle, for the gradient g [3] of `shining`."""
    if ti.static(mask >> materials.EMISSIONS & 1):
        if triangle >= 0:
            uv, color = hit.textured(mask, t, triangle, b1, b2)
            material, first = t.faces[triangle, 9], copy * t.values.shape[0]
            whole = g.dot(materials.emission(mask, material, uv, color, 0.0, t))
            solid = materials.opacity(mask, material, uv, 0.0, t)
            to_uv = materials.opacity_scatter(mask, material, uv, 0.0, t, whole, parts.values, first, atomic)
            by_uv, to_color = materials.emission_scatter(
                mask, material, uv, color, 0.0, t, solid * g, parts.values, first, atomic
            )
            paint(mask, t, parts, copy, triangle, b1, b2, to_uv + by_uv, to_color, atomic)
