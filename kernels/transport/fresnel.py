"""The share of unpolarised light that a smooth boundary reflects: dielectrics, conductors, Schlick's approximation.

    dielectric(cosine, eta)            -> (F, cosine of the refracted ray)
    dielectric_slopes(cosine, eta)     -> (dF/dcosine, dF/deta)
    conductor(cosine, eta, k)          -> F [3]
    conductor_slopes(cosine, eta, k)   -> (dF/dcosine, dF/deta, dF/dk), [3] each
    schlick(f0, cosine)                -> F, number or vector like f0
    schlick_slopes(f0, cosine)         -> (dF/df0, dF/dcosine)
    relative_eta(eta, z)               -> (eta seen from the side of z, its slope to eta)

`cosine` in [0, 1] is between the incoming ray and the normal on its side; eta is that of the far side over that of the
near side (a metal's eta + i k is per channel). All are finite for every input of their range: slopes grow without bound
at the critical angle and are cut off there.
"""

import taichi as ti

TINY = 1e-30
CRITICAL = 1e-6  # sine of the refracted ray's height below which slopes stop growing


@ti.func
def relative_eta(eta, z):
    """eta for a ray above a surface (z > 0), 1 / eta below it, and the derivative of that with respect to eta."""
    ratio, slope = eta, eta * 0.0 + 1.0
    if z < 0.0:
        ratio = 1.0 / eta
        slope = -ratio * ratio
    return ratio, slope


@ti.func
def dielectric(cosine, eta):
    """Fresnel's equations; (1, 0) under total internal reflection.

    With s = eta times the refracted cosine, s^2 = eta^2 - 1 + cosine^2, which f32 resolves for eta near 1 as well.
    """
    square = (eta - 1.0) * (eta + 1.0) + cosine * cosine
    reflected, refracted = cosine * 0.0 + 1.0, cosine * 0.0
    if square >= 0.0:
        s = ti.sqrt(square)
        a = eta * eta * cosine
        across = (cosine - s) / ti.max(cosine + s, TINY)
        along = (a - s) / ti.max(a + s, TINY)
        reflected = 0.5 * (across * across + along * along)
        refracted = ti.min(s / eta, 1.0)
    return reflected, refracted


@ti.func
def dielectric_slopes(cosine, eta):
    """Derivatives of the reflected share with respect to cosine and eta; 0 under total internal reflection."""
    square = (eta - 1.0) * (eta + 1.0) + cosine * cosine
    by_cosine, by_eta = cosine * 0.0, cosine * 0.0
    if square >= 0.0:
        s = ti.max(ti.sqrt(square), CRITICAL)
        a = eta * eta * cosine
        sum_across, sum_along = cosine + s, a + s
        across = 2.0 * (cosine - s) / (sum_across * sum_across * sum_across * s)
        along = 2.0 * eta * (a - s) / (sum_along * sum_along * sum_along * s)
        by_cosine = (eta * eta - 1.0) * (across + eta * along)
        by_eta = cosine * (along * (2.0 * s * s - eta * eta) - across * eta)
    return by_cosine, by_eta


@ti.func
def conductor_root(cosine, eta, k):
    """sqrt((eta + i k)^2 - 1 + cosine^2): the index times the refracted cosine, both parts >= 0."""
    real, imaginary = eta * eta - k * k - 1.0 + cosine * cosine, 2.0 * eta * k
    large = ti.sqrt(0.5 * (ti.sqrt(real * real + imaginary * imaginary) + ti.abs(real)))
    small = 0.5 * imaginary / ti.max(large, TINY)
    a, b = large, small
    if real < 0.0:
        a, b = small, large
    return a, b


@ti.func
def conductor_parts(cosine, eta, k):
    """(S, A, T, B, a, b): the shares across and in the plane of incidence are (S - A) / (S + A) and (T - B) / (T + B).

    With a + i b the root: S = a^2 + b^2 + cosine^2 and A = 2 cosine a; T = |n|^4 cosine^2 + a^2 + b^2 and
    B = 2 cosine (Re n^2 a + Im n^2 b).
    """
    a, b = conductor_root(cosine, eta, k)
    square, length = a * a + b * b, (eta * eta + k * k) * cosine
    along = 2.0 * cosine * ((eta * eta - k * k) * a + 2.0 * eta * k * b)
    return square + cosine * cosine, 2.0 * cosine * a, length * length + square, along, a, b


@ti.func
def conductor(cosine, eta, k):
    """Fresnel's equations for the complex indices n = eta + i k."""
    reflected = ti.Vector([0.0, 0.0, 0.0])
    for c in ti.static(range(3)):
        s, p, t, q, a, b = conductor_parts(cosine, eta[c], k[c])
        # S - A and T - B as sums of squares, so that nothing falls below 0 where an index is matched.
        x, y = cosine - a, (eta[c] * eta[c] - k[c] * k[c]) * cosine - a
        z = 2.0 * eta[c] * k[c] * cosine - b
        across = (x * x + b * b) / ti.max(s + p, TINY)
        reflected[c] = 0.5 * (across + (y * y + z * z) / ti.max(t + q, TINY))
    return reflected


@ti.func
def conductor_channel_slopes(cosine, eta, k):
    """dF / d(cosine, eta, k) of one channel, backwards through `conductor_parts` and the root."""
    s, p, t, q, a, b = conductor_parts(cosine, eta, k)
    across, along = 1.0 / ti.max(s + p, CRITICAL * CRITICAL), 1.0 / ti.max(t + q, CRITICAL * CRITICAL)
    by_s, by_p = p * across * across, -s * across * across
    by_t, by_q = q * along * along, -t * along * along
    real, imaginary, length = eta * eta - k * k, 2.0 * eta * k, eta * eta + k * k
    by_a = 2.0 * (a * (by_s + by_t) + cosine * (by_p + real * by_q))
    by_b = 2.0 * (b * (by_s + by_t) + cosine * imaginary * by_q)
    # The root squared is real - 1 + cosine^2 + i imaginary.
    inverse = 0.5 / ti.max(a * a + b * b, CRITICAL * CRITICAL)
    by_root = (by_a * a - by_b * b) * inverse
    by_real = 2.0 * cosine * a * by_q + by_root
    by_imaginary = 2.0 * cosine * b * by_q + (by_a * b + by_b * a) * inverse
    by_length = 2.0 * length * cosine * cosine * by_t
    turn = real * a + imaginary * b
    by_cosine = 2.0 * (cosine * (by_s + length * length * by_t + by_root) + a * by_p + turn * by_q)
    by_eta = 2.0 * (eta * (by_real + by_length) + k * by_imaginary)
    by_k = 2.0 * (k * (by_length - by_real) + eta * by_imaginary)
    return by_cosine, by_eta, by_k


@ti.func
def conductor_slopes(cosine, eta, k):
    by_cosine, by_eta, by_k = ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    for c in ti.static(range(3)):
        by_cosine[c], by_eta[c], by_k[c] = conductor_channel_slopes(cosine, eta[c], k[c])
    return by_cosine, by_eta, by_k


@ti.func
def schlick(f0, cosine):
    """f0 + (1 - f0) (1 - cosine)^5, Schlick 1994."""
    rest = ti.max(1.0 - cosine, 0.0)
    square = rest * rest
    return f0 + (1.0 - f0) * (square * square * rest)


@ti.func
def schlick_slopes(f0, cosine):
    rest = ti.max(1.0 - cosine, 0.0)
    fourth = rest * rest * rest * rest
    return 1.0 - fourth * rest, (f0 - 1.0) * (5.0 * fourth)
