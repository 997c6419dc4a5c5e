"""The parts of the principled model that no other surface has: tint, diffuse base, clear coat; with their adjoints."""

import taichi as ti

from .fresnel import schlick, schlick_slopes
from .microfacet import PI
from .sampling import spherical

BLACK = 1e-6  # luminance at and below which a colour has no tint
COAT_F0, COAT_SHADOW = 0.04, 0.0625  # index 1.5; alpha^2 of the shadowing
COAT_SHARPEST, COAT_WIDEST = 0.001, 0.1


@ti.func
def fifth(x):
    square = x * x
    return square * square * x


@ti.func
def luminance(rgb):
    """Rec. 709."""
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


@ti.func
def tint(albedo):
    """albedo of luminance 1; white for black."""
    colour, bright = ti.Vector([1.0, 1.0, 1.0]), luminance(albedo)
    if bright > BLACK:
        colour = albedo / bright
    return colour


@ti.func
def tint_adjoint(albedo, g):
    grad, bright = ti.Vector([0.0, 0.0, 0.0]), luminance(albedo)
    if bright > BLACK:
        grad = (g - ti.Vector([0.2126, 0.7152, 0.0722]) * (g.dot(albedo) / bright)) / bright
    return grad


@ti.func
def diffuse(zi, zo, cosine, roughness, flatness):
    """cos / pi times Burley's diffuse factor, or his Hanrahan-Krueger shape for flatness 1.

    zi, zo are the cosines to the normal, `cosine` that between a direction and the half vector.
    """
    towards_o, towards_i = fifth(1.0 - zo), fifth(1.0 - zi)
    back = roughness * cosine * cosine
    edge = 2.0 * back - 0.5
    round_ = (1.0 + edge * towards_o) * (1.0 + edge * towards_i)
    edge = back - 1.0
    flat = (1.0 + edge * towards_o) * (1.0 + edge * towards_i)
    flat = 1.25 * (flat * (1.0 / (zi + zo) - 0.5) + 0.5)
    return (round_ + flatness * (flat - round_)) * zo / PI


@ti.func
def diffuse_adjoint(zi, zo, cosine, roughness, flatness, g):
    """The value, and g times its slopes to (zi, zo, cosine, roughness, flatness)."""
    towards_o, towards_i = fifth(1.0 - zo), fifth(1.0 - zi)
    back = roughness * cosine * cosine
    scale, inverse = g * zo / PI, 1.0 / (zi + zo)
    edge = 2.0 * back - 0.5
    round_o, round_i = 1.0 + edge * towards_o, 1.0 + edge * towards_i
    to_round = scale * (1.0 - flatness)
    to_towards_o, to_towards_i = to_round * round_i * edge, to_round * round_o * edge
    to_back = 2.0 * to_round * (round_i * towards_o + round_o * towards_i)
    edge = back - 1.0
    flat_o, flat_i = 1.0 + edge * towards_o, 1.0 + edge * towards_i
    flat = 1.25 * (flat_o * flat_i * (inverse - 0.5) + 0.5)
    to_flat = 1.25 * scale * flatness * (inverse - 0.5)
    to_towards_o += to_flat * flat_i * edge
    to_towards_i += to_flat * flat_o * edge
    to_back += to_flat * (flat_i * towards_o + flat_o * towards_i)
    to_both = -1.25 * scale * flatness * flat_o * flat_i * inverse * inverse
    rest_o, rest_i = 1.0 - zo, 1.0 - zi
    round_ = round_o * round_i
    factor = (round_ + flatness * (flat - round_)) / PI
    to_zo = g * factor + to_both - 5.0 * to_towards_o * rest_o * rest_o * rest_o * rest_o
    to_zi = to_both - 5.0 * to_towards_i * rest_i * rest_i * rest_i * rest_i
    to_cosine, to_roughness = 2.0 * roughness * cosine * to_back, cosine * cosine * to_back
    return factor * zo, to_zi, to_zo, to_cosine, to_roughness, scale * (flat - round_)


@ti.func
def coat_alpha(roughness):
    return COAT_SHARPEST + (COAT_WIDEST - COAT_SHARPEST) * roughness


@ti.func
def coat_root(z):
    return ti.sqrt(COAT_SHADOW + (1.0 - COAT_SHADOW) * z * z)


@ti.func
def coat(zi, zo, m, cosine, roughness):
    """(D F G cos / (4 zi zo), D m.z) with D = GTR1, whose tail is longer than GGX's."""
    alpha = coat_alpha(roughness)
    square = alpha * alpha
    sine = m[0] * m[0] + m[1] * m[1]
    density = (square - 1.0) / (PI * ti.log(square) * (sine + square * m[2] * m[2]))
    seen = 1.0 / ((zi + coat_root(zi)) * (zo + coat_root(zo)))
    return density * schlick(COAT_F0, cosine) * seen * zo, density * m[2]


@ti.func
def coat_adjoint(zi, zo, m, cosine, roughness, g):
    """The first of `coat`, and g times its slopes to (zi, zo, m [3], cosine, roughness)."""
    alpha = coat_alpha(roughness)
    square = alpha * alpha
    spread = m[0] * m[0] + m[1] * m[1] + square * m[2] * m[2]
    root_i, root_o = coat_root(zi), coat_root(zo)
    shape = (square - 1.0) / (PI * ti.log(square) * spread * (zi + root_i) * (zo + root_o))
    _, by_cosine = schlick_slopes(COAT_F0, cosine)
    value = shape * schlick(COAT_F0, cosine)
    scaled = g * value
    # d ln 1 / (z + root) / dz = -1 / (z + root) (1 + (1 - s) z / root)
    to_zi = -scaled * zo * (1.0 + (1.0 - COAT_SHADOW) * zi / root_i) / (zi + root_i)
    to_zo = scaled * (1.0 - zo * (1.0 + (1.0 - COAT_SHADOW) * zo / root_o) / (zo + root_o))
    to_m = ti.Vector([m[0], m[1], square * m[2]]) * (-2.0 * scaled * zo / spread)
    by_square = 1.0 / (square - 1.0) - 1.0 / (square * ti.log(square)) - m[2] * m[2] / spread
    to_roughness = scaled * zo * by_square * 2.0 * alpha * (COAT_WIDEST - COAT_SHARPEST)
    return value * zo, to_zi, to_zo, to_m, g * shape * zo * by_cosine, to_roughness


@ti.func
def coat_normal(roughness, u1, u2):
    """A unit half vector with density D m.z."""
    alpha = coat_alpha(roughness)
    square = alpha * alpha
    return spherical(ti.sqrt((1.0 - ti.pow(square, 1.0 - u1)) / (1.0 - square)), u2)
