"""A light path's geometry between diffuse surfaces, with adjoints: hit, normal, reflection and refraction.

For paths whose vertices move with what the scene is made of (attached paths): photons through lenses and by mirrors.
Every function has an `_adjoint` partner, which takes the function's arguments and the gradients of what it returns and
gives the gradients of the arguments, in their order. All are straight lines, for kernels to inline.

    intersect(o, d, v0, v1, v2) -> (x, t, b1, b2)
    intersect_adjoint(o, d, v0, v1, v2, grad_x, grad_t, grad_b1, grad_b2) -> (o, d, v0, v1, v2)
    face_normal(v0, v1, v2) -> n                       face_normal_adjoint(v0, v1, v2, grad) -> (v0, v1, v2)
    shading_normal(b1, b2, n0, n1, n2) -> n            shading_normal_adjoint(..., grad) -> (b1, b2, n0, n1, n2)
    reflect(d, n) -> direction                         reflect_adjoint(d, n, grad) -> (d, n)
    interface(d, n, ior) -> (facing n, eta, side)      interface_adjoint(ior, side, grad_n, grad_eta) -> (n, ior)
    refract(d, n, eta) -> (direction, passes)          refract_adjoint(d, n, eta, grad) -> (d, n, eta)

Directions d are those of flight and lead to the surface; n are unit normals but where said. eta is the index of
refraction on the side that the light comes from by that on the other side.

What this does not differentiate: which triangle is hit, and whether light is refracted or reflected totally. Just below
the critical angle the derivatives of a refracted direction grow without bound.

Igehy 1999, "Tracing Ray Differentials"; Xing, Li, Luan and Xu 2024, "Differentiable Photon Mapping using Generalized
Path Gradients".
"""

import taichi as ti


@ti.func
def intersect(o, d, v0, v1, v2):
    """(x, t, b1, b2): where o + t d meets a triangle's plane, also as v0 + b1 (v1 - v0) + b2 (v2 - v0).

    All 0, and x = o, where the ray runs along the plane or the triangle has no area.
    """
    edge1, edge2, from_v0 = v1 - v0, v2 - v0, o - v0
    normal = edge1.cross(edge2)
    det = -d.dot(normal)
    t, b1, b2 = 0.0, 0.0, 0.0
    if det != 0.0:
        moment = from_v0.cross(d)
        t = from_v0.dot(normal) / det
        b1 = edge2.dot(moment) / det
        b2 = -edge1.dot(moment) / det
    return o + t * d, t, b1, b2


@ti.func
def intersect_adjoint(o, d, v0, v1, v2, grad_x, grad_t, grad_b1, grad_b2):
    """To (o, d, v0, v1, v2). The hit solves A (t, b1, b2) = o - v0, A = [-d, v1 - v0, v2 - v0]: with A^T m = the
    gradient of (t, b1, b2), m goes to o, t m to d and -b_i m to v_i.
    """
    edge1, edge2 = v1 - v0, v2 - v0
    normal = edge1.cross(edge2)
    det = -d.dot(normal)
    m, t, b1, b2 = grad_x * 0.0, 0.0, 0.0, 0.0
    if det != 0.0:
        _, t, b1, b2 = intersect(o, d, v0, v1, v2)
        m = ((grad_t + grad_x.dot(d)) * normal + grad_b1 * d.cross(edge2) + grad_b2 * edge1.cross(d)) / det
    return m + grad_x, t * (m + grad_x), (b1 + b2 - 1.0) * m, -b1 * m, -b2 * m


@ti.func
def unit(v):
    """(v / |v|, 1 / |v|); zeros for v = 0."""
    square, inverse = v.norm_sqr(), 0.0
    if square > 0.0:
        inverse = 1.0 / ti.sqrt(square)
    return v * inverse, inverse


@ti.func
def unit_adjoint(v, grad):
    u, inverse = unit(v)
    return (grad - u * u.dot(grad)) * inverse


@ti.func
def face_normal(v0, v1, v2):
    """Unit normal of a triangle, towards who sees its corners counter-clockwise; 0 where it has no area."""
    n, _ = unit((v1 - v0).cross(v2 - v0))
    return n


@ti.func
def face_normal_adjoint(v0, v1, v2, grad):
    """To (v0, v1, v2)."""
    edge1, edge2 = v1 - v0, v2 - v0
    to_cross = unit_adjoint(edge1.cross(edge2), grad)
    to_v1, to_v2 = edge2.cross(to_cross), to_cross.cross(edge1)
    return -to_v1 - to_v2, to_v1, to_v2


@ti.func
def shading_normal(b1, b2, n0, n1, n2):
    """Unit normal between those of a triangle's corners, which may have any length; 0 where they cancel."""
    n, _ = unit((1.0 - b1 - b2) * n0 + b1 * n1 + b2 * n2)
    return n


@ti.func
def shading_normal_adjoint(b1, b2, n0, n1, n2, grad):
    """To (b1, b2, n0, n1, n2)."""
    b0 = 1.0 - b1 - b2
    to_sum = unit_adjoint(b0 * n0 + b1 * n1 + b2 * n2, grad)
    return to_sum.dot(n1 - n0), to_sum.dot(n2 - n0), b0 * to_sum, b1 * to_sum, b2 * to_sum


@ti.func
def reflect(d, n):
    """d mirrored at a surface; the sign of n does not matter."""
    return d - 2.0 * d.dot(n) * n


@ti.func
def reflect_adjoint(d, n, grad):
    """To (d, n)."""
    along = grad.dot(n)
    return grad - 2.0 * along * n, -2.0 * (d.dot(n) * grad + along * d)


@ti.func
def interface(d, n, ior):
    """(the normal turned against d, eta, side) at the surface of a body of index `ior` with outward normal n.

    side is 1 where d enters the body, -1 where it leaves.
    """
    side, eta = 1.0, 1.0 / ior
    if d.dot(n) > 0.0:
        side = -1.0
        eta = ior
    return side * n, eta, side


@ti.func
def interface_adjoint(ior, side, grad_n, grad_eta):
    """To (n, ior), by the `side` that `interface` gave."""
    to_ior = grad_eta
    if side > 0.0:
        to_ior = -grad_eta / (ior * ior)
    return side * grad_n, to_ior


@ti.func
def refract(d, n, eta):
    """(direction, 1) on the other side, for n turned against d; (0, 0) where all light is reflected."""
    cosine = -d.dot(n)
    square = 1.0 - eta * eta * (1.0 - cosine * cosine)
    out, passes = d * 0.0, 0
    if square > 0.0:
        out = eta * d + (eta * cosine - ti.sqrt(square)) * n
        passes = 1
    return out, passes


@ti.func
def refract_adjoint(d, n, eta, grad):
    """To (d, n, eta); zeros where all light is reflected."""
    cosine = -d.dot(n)
    square = 1.0 - eta * eta * (1.0 - cosine * cosine)
    to_d, to_n, to_eta = d * 0.0, n * 0.0, eta * 0.0
    if square > 0.0:
        through, to_share = ti.sqrt(square), grad.dot(n)
        share = eta * cosine - through
        to_eta = grad.dot(d) + to_share * (cosine + eta * (1.0 - cosine * cosine) / through)
        to_cosine = to_share * eta * (1.0 - eta * cosine / through)
        to_d = eta * grad - to_cosine * n
        to_n = share * grad - to_cosine * d
    return to_d, to_n, to_eta
