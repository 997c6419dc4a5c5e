"""BRDFs: the share of light that a surface sends from one direction into another.

All have one signature, `f(normal, view, light, albedo, specular, roughness, metallic, shininess)`: unit vectors away
from the surface, linear RGB, and the value of the BRDF per steradian, without the cosine; the caller handles light from
behind. They are straight lines with `if`, so that Taichi differentiates them on every backend, and finite everywhere.
`ambient_*(albedo, specular, roughness, metallic, shininess)` is the share of a constant radiance that comes back.
"""

import taichi as ti

PI = 3.141592653589793
SHARPEST = 0.08  # roughness below which GGX highlights are narrower than f32 and a pixel can follow (nvdiffrec)
TINY = 1e-6
GRAZING = 1e-4


@ti.func
def unit(v):
    """v / |v|; 0 for v = 0, with a finite gradient."""
    return v / ti.sqrt(v.dot(v) + 1e-30)


@ti.func
def lambert(normal, view, light, albedo, specular, roughness, metallic, shininess):
    """Ideal diffuse: albedo / pi."""
    return albedo / PI


@ti.func
def phong(normal, view, light, albedo, specular, roughness, metallic, shininess):
    """Diffuse plus the normalised Phong lobe, specular (s + 2) / 2 pi (r.v)^s: reflects at most albedo + specular.

    Phong 1975, normalised as in Lafortune, Willems 1994.
    """
    mirrored = 2.0 * normal.dot(light) * normal - light
    cosine = mirrored.dot(view)
    value = albedo / PI
    if cosine > TINY:
        value += specular * ((shininess + 2.0) / (2.0 * PI) * ti.pow(cosine, shininess))
    return value


@ti.func
def blinn_phong(normal, view, light, albedo, specular, roughness, metallic, shininess):
    """Diffuse plus the normalised Blinn-Phong lobe, specular (s + 2)(s + 4) / (8 pi (2^(-s/2) + s)) (n.h)^s.

    Blinn 1977. The usual factor (s + 8) / 8 pi approximates this one and reflects up to 7.5 % more than it receives;
    with this one exactly albedo + specular comes back at normal incidence, and less elsewhere.
    """
    cosine = normal.dot(unit(light + view))
    value = albedo / PI
    if cosine > TINY:
        whole = 8.0 * PI * (ti.exp(-0.34657359027997264 * shininess) + shininess)
        factor = (shininess + 2.0) * (shininess + 4.0) / whole
        value += specular * (factor * ti.pow(cosine, shininess))
    return value


@ti.func
def pytorch3d(normal, view, light, albedo, specular, roughness, metallic, shininess):
    """What times the cosine is albedo n.l + specular (r.v)^s: the lookalike of Ravi et al. 2020, no physical BRDF."""
    toward = normal.dot(light)
    cosine = (2.0 * toward * normal - light).dot(view)
    value = albedo + 0.0
    if cosine > TINY and toward > TINY:
        value += specular * (ti.pow(cosine, shininess) / toward)
    return value


@ti.func
def smooth_roughness(roughness):
    """Roughness kept at or above 0.08: unchanged from 0.16 up, below it a parabola with continuous slope down to 0."""
    kept = roughness
    if roughness < 2.0 * SHARPEST:
        kept = SHARPEST + roughness * roughness / (4.0 * SHARPEST)
    if roughness < 0.0:
        kept = roughness * 0.0 + SHARPEST
    return kept


@ti.func
def ggx(normal, half, alpha):
    """Trowbridge-Reitz density of microfacet normals; sin^2 by a cross product, exact for narrow highlights in f32."""
    cosine = normal.dot(half)
    sine = normal.cross(half)
    spread = alpha * alpha * cosine * cosine + sine.dot(sine)
    return alpha * alpha / (PI * spread * spread)


@ti.func
def metallic_roughness(normal, view, light, albedo, specular, roughness, metallic, shininess):
    """glTF's model: GGX with alpha = roughness^2, height-correlated Smith shadowing, Schlick's Fresnel term.

    F0 runs from 0.04 to albedo with metallic; diffuse is (1 - metallic) albedo / pi. Walter et al. 2007; Heitz 2014;
    Schlick 1994. See `smooth_roughness` for values near 0; cosines are kept at or above 1e-4.
    """
    half = unit(light + view)
    slant = view.dot(half)
    value = albedo * ((1.0 - metallic) / PI)
    if slant > TINY:
        kept = smooth_roughness(roughness)
        alpha = kept * kept
        square = alpha * alpha
        to_light = ti.max(normal.dot(light), GRAZING)
        to_view = ti.max(normal.dot(view), GRAZING)
        shadow_view = to_light * ti.sqrt(to_view * to_view * (1.0 - square) + square)
        shadow_light = to_view * ti.sqrt(to_light * to_light * (1.0 - square) + square)
        rest = 1.0 - slant
        rest2 = rest * rest
        base = 0.04 + (albedo - 0.04) * metallic
        fresnel = base + (1.0 - base) * (rest2 * rest2 * rest)
        value += fresnel * (ggx(normal, half, alpha) * 0.5 / (shadow_view + shadow_light))
    return value


@ti.func
def ambient_diffuse(albedo, specular, roughness, metallic, shininess):
    """The diffuse part only, as in the classic models: albedo."""
    return albedo + 0.0


@ti.func
def ambient_metallic_roughness(albedo, specular, roughness, metallic, shininess):
    """Diffuse plus the mirror reflectance at normal incidence, (1 - metallic) albedo + F0, whatever the view."""
    return albedo * (1.0 - metallic) + (0.04 + (albedo - 0.04) * metallic)
