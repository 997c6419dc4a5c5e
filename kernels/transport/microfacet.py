"""Microfacets after Trowbridge and Reitz (GGX), isotropic and anisotropic, with Smith's height-correlated shadowing.

    kept_alpha(roughness)                    -> (alpha, its slope): roughness^2, at least SMOOTHEST, slope 0 below
    ggx(m, alpha)                            -> D(m), density of microfacet normals
    smith_g1(w, alpha)                       -> share of facets that w sees
    facets(wi, wo, m, alpha)                 -> D(m) G2(wi, wo) / |wi.z|
    facets_adjoint(wi, wo, m, alpha, g)      -> (grad_wi [3], grad_wo [3], grad_m [3], grad_alpha [2]) of g facets
    seen_share(wi, wo, alpha)                -> G2 / G1(wi): the weight of a direction made from a visible normal
    visible_pdf(wi, m, alpha)                -> density per solid angle of the normals that visible_normal(wi) makes
    visible_normal(wi, alpha, u1, u2)        -> m, unit, m.z >= 0
    half_adjoint(h, m, g)                    -> grad_h [3] where m = h / |h| or -h / |h| and g = grad_m

alpha is a 2-vector (along x, along y); isotropic callers pass the same number twice and add up grad_alpha. Directions
are unit vectors in the shading frame with z along the normal; `wi` lies above (wi.z > 0), `wo` above or below (then the
same G2 serves for transmission). Callers keep |z| >= GRAZING and see that m faces both directions. A reflected
direction wo = 2 (wi.m) m - wi has f cos = F facets / 4 and pdf visible_pdf / (4 wi.m).
Gradients to directions are those of the formulas as written; along the unit sphere they are the slopes of the model.

Walter et al. 2007, "Microfacet Models for Refraction through Rough Surfaces"; Heitz 2014, "Understanding the
Masking-Shadowing Function"; Heitz 2018; Dupuy, Benyoub 2023, "Sampling Visible GGX Normals with Spherical Caps".
"""

import taichi as ti

PI = 3.141592653589793
SMOOTHEST = 1e-3  # least alpha
GRAZING = 1e-6  # least |cosine| to the surface of directions that carry light
LOWEST = 1e-9  # keeps a sampled normal from vanishing
TINY = 1e-30


@ti.func
def kept_alpha(roughness):
    alpha, slope = roughness * roughness, 2.0 * roughness
    if alpha < SMOOTHEST:
        alpha, slope = roughness * 0.0 + SMOOTHEST, roughness * 0.0
    return alpha, slope


@ti.func
def unit(v):
    return v / ti.sqrt(ti.max(v.dot(v), TINY))


@ti.func
def half_adjoint(h, m, g):
    return (g - m * m.dot(g)) * (m.dot(h) / ti.max(h.dot(h), TINY))


@ti.func
def stretched(w, alpha):
    """Length of w after the facets are stretched into a hemisphere."""
    x, y = alpha[0] * w[0], alpha[1] * w[1]
    return ti.sqrt(x * x + y * y + w[2] * w[2])


@ti.func
def ggx(m, alpha):
    x, y = m[0] / alpha[0], m[1] / alpha[1]
    e = x * x + y * y + m[2] * m[2]
    return 1.0 / (PI * alpha[0] * alpha[1] * e * e)


@ti.func
def smith_g1(w, alpha):
    z = ti.abs(w[2])
    return 2.0 * z / (z + stretched(w, alpha))


@ti.func
def facets(wi, wo, m, alpha):
    """With r = stretched(w): G2 = 2 zi zo / (zi ro + zo ri), finite at grazing angles once divided by zi."""
    zi, zo = wi[2], ti.abs(wo[2])
    return ggx(m, alpha) * 2.0 * zo / (zi * stretched(wo, alpha) + zo * stretched(wi, alpha))


@ti.func
def seen_share(wi, wo, alpha):
    zi, zo = wi[2], ti.abs(wo[2])
    ri = stretched(wi, alpha)
    return zo * (zi + ri) / (zi * stretched(wo, alpha) + zo * ri)


@ti.func
def facets_adjoint(wi, wo, m, alpha, g):
    zi, zo = wi[2], ti.abs(wo[2])
    ri, ro = stretched(wi, alpha), stretched(wo, alpha)
    inverse = 1.0 / (zi * ro + zo * ri)
    square = ti.Vector([alpha[0] * alpha[0], alpha[1] * alpha[1], 1.0])
    scaled = m / square
    e = scaled.dot(m)
    density = g * 2.0 * inverse / (PI * alpha[0] * alpha[1] * e * e)  # g facets / zo
    value = density * zo
    # D falls with e^-2, and 1 / (zi ro + zo ri) with its denominator; dr / dw = square w / r.
    grad_m = scaled * (-4.0 * value / e)
    grad_ri, grad_ro = -value * inverse * zo / ri, -value * inverse * zi / ro
    grad_wi, grad_wo = wi * square * grad_ri, wo * square * grad_ro
    grad_wi[2] -= value * inverse * ro
    along = density * zi * ro * inverse  # d facets / d zo, simplified
    if wo[2] < 0.0:
        along = -along
    grad_wo[2] += along
    grad_alpha = ti.Vector([0.0, 0.0])
    for c in ti.static(range(2)):
        from_density = value * (4.0 * scaled[c] * m[c] / e - 1.0) / alpha[c]
        grad_alpha[c] = from_density + alpha[c] * (wi[c] * wi[c] * grad_ri + wo[c] * wo[c] * grad_ro)
    return grad_wi, grad_wo, grad_m, grad_alpha


@ti.func
def visible_pdf(wi, m, alpha):
    """G1(wi) D(m) wi.m / wi.z."""
    return ggx(m, alpha) * 2.0 * ti.max(wi.dot(m), 0.0) / (wi[2] + stretched(wi, alpha))


@ti.func
def visible_normal(wi, alpha, u1, u2):
    """A point of the spherical cap that wi sees in the stretched space, halfway to wi, stretched back."""
    view = unit(ti.Vector([alpha[0] * wi[0], alpha[1] * wi[1], wi[2]]))
    height = (1.0 - u2) * (1.0 + view[2])
    z = height - view[2]
    sine = ti.sqrt(ti.max(1.0 - z * z, 0.0))
    turn = 2.0 * PI * u1
    x, y = view[0] + sine * ti.cos(turn), view[1] + sine * ti.sin(turn)
    return unit(ti.Vector([alpha[0] * x, alpha[1] * y, ti.max(height, LOWEST)]))
