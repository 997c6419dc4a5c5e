"""The numbers that describe a material at one point: a vector of PARAMS reals, and the kinds of BSDF that read it."""

ALBEDO, SPECULAR, TRANSMITTANCE, ETA, K = 0, 3, 6, 9, 12  # RGB each; a dielectric's index of refraction is the first
ROUGHNESS, METALLIC, SHININESS = 15, 16, 17
SPECULAR_LEVEL, SPECULAR_TINT, SHEEN, SHEEN_TINT = 18, 19, 20, 21
CLEARCOAT, CLEARCOAT_ROUGHNESS, ANISOTROPY, TRANSMISSION, FLATNESS, OPACITY = 22, 23, 24, 25, 26, 27
PARAMS = 28

OFFSETS = {
    "albedo": ALBEDO,
    "specular": SPECULAR,
    "transmittance": TRANSMITTANCE,
    "eta": ETA,
    "ior": ETA,
    "k": K,
    "roughness": ROUGHNESS,
    "metallic": METALLIC,
    "shininess": SHININESS,
    "specular_level": SPECULAR_LEVEL,
    "specular_tint": SPECULAR_TINT,
    "sheen": SHEEN,
    "sheen_tint": SHEEN_TINT,
    "clearcoat": CLEARCOAT,
    "clearcoat_roughness": CLEARCOAT_ROUGHNESS,
    "anisotropy": ANISOTROPY,
    "transmission": TRANSMISSION,
    "flatness": FLATNESS,
    "opacity": OPACITY,
}

LAMBERT, PHONG, BLINN_PHONG, METALLIC_ROUGHNESS = 0, 1, 2, 3
CONDUCTOR, ROUGH_CONDUCTOR, DIELECTRIC, ROUGH_DIELECTRIC, THIN_DIELECTRIC = 4, 5, 6, 7, 8
PLASTIC, ROUGH_PLASTIC, PRINCIPLED, NULL = 9, 10, 11, 12
PHASE = 13  # no surface: a place where a medium scatters; anisotropy is its mean cosine
TRANSMITTING = (1 << DIELECTRIC) | (1 << ROUGH_DIELECTRIC) | (1 << THIN_DIELECTRIC) | (1 << PRINCIPLED) | (1 << NULL)
