"""Normal maps in light transport: the shading normal that a texture bends, and its gradients.

A map holds (n + 1) / 2 of a unit vector in the tangent frame: red along growing u, green along growing v, blue outward.
The frame is the surface's shading normal, the direction of growing u made orthogonal to it, and their cross product,
which a mirrored texture turns round.
"""

import taichi as ti

from .materials import FLAGS, HAS_NORMAL_MAP, NORMAL_MAPS, NORMAL_SLOT, slot_scatter, slot_value

FLATTEST = 1e-12  # squared sine between tangent and normal below which there is no frame, and the map is left out


@ti.func
def uv_tangent(e1, e2, d1, d2):
    """(tangent [3], side): the way in which u grows on a triangle, of any length; +1, or -1 where the map is mirrored.

    e1, e2: edges from corner 0 to corners 1 and 2 in the world; d1, d2: the same in uv. A triangle without area in uv
    has tangent 0.
    """
    area = d1.x * d2.y - d2.x * d1.y
    side = 1.0
    if area < 0.0:
        side = -1.0
    if area == 0.0:
        side = 0.0
    return side * (d2.y * e1 - d1.y * e2), side


@ti.func
def uv_tangent_adjoint(e1, e2, d1, d2, g):
    """Gradients to (e1, e2, d1, d2) from the gradient g of the tangent."""
    _, side = uv_tangent(e1, e2, d1, d2)
    zero = 0.0 * d1.x
    to_d1, to_d2 = ti.Vector([zero, -side * e2.dot(g)]), ti.Vector([zero, side * e1.dot(g)])
    return side * d2.y * g, -side * d1.y * g, to_d1, to_d2


@ti.func
def _frame(n, tangent):
    """(1 / length of the tangent's part across n, that part as a unit vector); 0 where there is none."""
    across = tangent - n * n.dot(tangent)
    square = across.dot(across)
    inverse = 0.0
    if square > FLATTEST * tangent.dot(tangent):
        inverse = 1.0 / ti.sqrt(square)
    return inverse, across * inverse


@ti.func
def _bent(m, s, b, n):
    """(1 / length, unit vector) of m in the frame (s, b, n), kept from pointing inward; (0, n) where it has none."""
    bent = m.x * s + m.y * b + ti.max(m.z, 0.0) * n
    square = bent.dot(bent)
    inverse, out = 0.0, n
    if square > FLATTEST:
        inverse = 1.0 / ti.sqrt(square)
        out = bent * inverse
    return inverse, out


@ti.func
def bend(m, n, tangent, side):
    """The unit normal that m, a vector in the tangent frame, makes of the unit normal n; n itself without a frame."""
    out = n
    scale, s = _frame(n, tangent)
    if scale > 0.0:
        _, out = _bent(m, s, side * n.cross(s), n)
    return out


@ti.func
def bend_adjoint(m, n, tangent, side, g):
    """Gradients to (m, n, tangent) from the gradient g of `bend`."""
    zero = 0.0 * n
    to_m, to_n, to_tangent = zero, g, zero
    scale, s = _frame(n, tangent)
    if scale > 0.0:
        b = side * n.cross(s)
        inverse, out = _bent(m, s, b, n)
        if inverse > 0.0:
            to_bent = inverse * (g - out * out.dot(g))
            up = 1.0 if m.z > 0.0 else 0.0
            to_m = ti.Vector([to_bent.dot(s), to_bent.dot(b), up * to_bent.dot(n)])
            to_b = side * m.y * to_bent
            to_s = m.x * to_bent + to_b.cross(n)
            to_across = scale * (to_s - s * s.dot(to_s))
            to_n = up * m.z * to_bent + s.cross(to_b)
            to_n -= n.dot(tangent) * to_across + n.dot(to_across) * tangent
            to_tangent = to_across - n * n.dot(to_across)
    return to_m, to_n, to_tangent


@ti.func
def perturbed(mask: ti.template(), material, uv, footprint, n, tangent, side, t: ti.template()):
    """The unit shading normal that the material's normal map makes of n; n itself where it has none.

    n: unit shading normal on the winding's side (before it is turned to the viewer's). tangent, side: `uv_tangent`.
    """
    out = n
    if ti.static(mask >> NORMAL_MAPS & 1):
        if t.kinds[material, FLAGS] >> HAS_NORMAL_MAP & 1:
            out = bend(2.0 * slot_value(mask, NORMAL_SLOT, material, uv, n, footprint, t) - 1.0, n, tangent, side)
    return out


@ti.func
def perturbed_scatter(
    mask: ti.template(), material, uv, footprint, n, tangent, side, t: ti.template(), g, part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient g of `perturbed` to the map's texels; the gradients to (uv, n, tangent)."""
    to_uv, to_n, to_tangent = ti.Vector([0.0, 0.0]), g, ti.Vector([0.0, 0.0, 0.0])
    if ti.static(mask >> NORMAL_MAPS & 1):
        if t.kinds[material, FLAGS] >> HAS_NORMAL_MAP & 1:
            m = 2.0 * slot_value(mask, NORMAL_SLOT, material, uv, n, footprint, t) - 1.0
            to_m, own, along = bend_adjoint(m, n, tangent, side, g)
            to_n, to_tangent = own, along
            to_uv, _ = slot_scatter(mask, NORMAL_SLOT, material, uv, footprint, t, 2.0 * to_m, part, first, atomic)
    return to_uv, to_n, to_tangent
