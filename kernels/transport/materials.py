"""Material values at a point, from constants, textures and vertex colours; and their gradients back.

    gather(mask, material, uv, color, footprint, t) -> p [PARAMS]          what the material's BSDF reads; opacity is 1
    scatter(mask, material, uv, color, footprint, t, g [PARAMS], part, first, atomic) -> (to_uv [2], to_color [3])
    emission(mask, material, uv, color, footprint, t) -> [3]               radiance; the caller looks for the front
    emission_scatter(mask, material, uv, color, footprint, t, g [3], part, first, atomic) -> (to_uv, to_color)
    opacity(mask, material, uv, footprint, t) -> number
    opacity_scatter(mask, material, uv, footprint, t, g, part, first, atomic) -> to_uv
    choose(mask, material, uv, footprint, u, t) -> (material, slope)         one of a blend's two; others stay
    weight_scatter(mask, material, uv, footprint, t, g, part, first, atomic) -> to_uv
    normal_map.py: perturbed(...), perturbed_scatter(...), uv_tangent(...), uv_tangent_adjoint(...)

`mask` is a Python int, made by tidr/renderers/transport_materials.py: the kinds of BSDF in bits 0-12, what else occurs
in the scene above them. `t` has kinds, slots and values (tables.py). color: the vertex colour there. footprint: the
width in uv units of what one sample stands for, which picks the mip level of trilinear textures; 0 is the finest.
Gradients to values are added to rows first + row of part [rows * 3]; the gradient to uv is the slope of the bilinear
interpolation, discontinuous at texel centres. The footprint has no gradient.

Emission, opacity and weight are those of the material that was hit; p, kind, flags and normal map those of what
`choose` says. With L the light that comes by the chosen one, `slope` L estimates the derivative by the weight without
bias.
"""

import taichi as ti

from ..accumulate import add, load3
from ..texture import bilinear_weights, corners, mip_level, mix_texels, texel_slope
from .slots import (
    BLINN_PHONG,
    CONDUCTOR,
    DIELECTRIC,
    LAMBERT,
    METALLIC_ROUGHNESS,
    NULL,
    OFFSETS,
    OPACITY,
    PARAMS,
    PHONG,
    PLASTIC,
    PRINCIPLED,
    ROUGH_CONDUCTOR,
    ROUGH_DIELECTRIC,
    ROUGH_PLASTIC,
    THIN_DIELECTRIC,
)

# Columns of `kinds` [M, 8]: kind of BSDF (-1: a blend), flags, a blend's two materials (-1: none).
KIND, FLAGS, FIRST, SECOND = 0, 1, 2, 3
TWO_SIDED, HAS_NORMAL_MAP, HAS_OPACITY, EMITS = 0, 1, 2, 3  # bits of the flags
# Columns of `slots` [M * SLOTS, 6]: where a value is from, its first row of `values`, and a texture's layout.
SOURCE, ROW, WIDTH, HEIGHT, WRAP, LEVELS = 0, 1, 2, 3, 4, 5
CONSTANT, TEXTURE, VERTEX_COLORS = 0, 1, 2

NAMES = (
    "albedo", "specular", "transmittance", "eta", "k", "roughness", "metallic", "shininess", "specular_level",
    "specular_tint", "sheen", "sheen_tint", "clearcoat", "clearcoat_roughness", "anisotropy", "transmission",
    "flatness", "opacity", "emission", "normal", "weight",
)  # fmt: skip
SLOTS = len(NAMES)
OPACITY_SLOT, EMISSION_SLOT, NORMAL_SLOT, WEIGHT_SLOT = (
    NAMES.index(n) for n in ("opacity", "emission", "normal", "weight")
)
CHANNELS = tuple(
    3 if name in ("albedo", "specular", "transmittance", "eta", "k", "emission", "normal") else 1 for name in NAMES
)

# Bits of the mask above the kinds: what occurs at all, and which slots are filled by textures, by textures with mip
# levels, and by vertex colours.
OPACITIES, EMISSIONS, NORMAL_MAPS, BLENDS = 16, 17, 18, 19
TEXTURED, MIPMAPPED, PAINTED = 24, 48, 72
KINDS = (1 << (NULL + 1)) - 1


def _readers(*kinds: int) -> int:
    return sum(1 << kind for kind in kinds)


_PLASTICS, _METALS = (PLASTIC, ROUGH_PLASTIC), (CONDUCTOR, ROUGH_CONDUCTOR)
_GLASSES = (DIELECTRIC, ROUGH_DIELECTRIC, THIN_DIELECTRIC)
_SHINY = (PHONG, BLINN_PHONG)
# The kinds that read each of the slots that make p, in the order of NAMES.
READERS = (
    _readers(LAMBERT, *_SHINY, METALLIC_ROUGHNESS, *_PLASTICS, PRINCIPLED),
    _readers(*_SHINY, *_METALS, *_GLASSES, *_PLASTICS),
    _readers(*_GLASSES),
    _readers(*_METALS, *_GLASSES, *_PLASTICS, PRINCIPLED),
    _readers(*_METALS),
    _readers(METALLIC_ROUGHNESS, ROUGH_CONDUCTOR, ROUGH_DIELECTRIC, ROUGH_PLASTIC, PRINCIPLED),
    _readers(METALLIC_ROUGHNESS, PRINCIPLED),
    _readers(*_SHINY),
    *[_readers(PRINCIPLED)] * 9,
)
PLACES = tuple(OFFSETS[name] for name in NAMES[: len(READERS)])


# One slot.


@ti.func
def _level(first, width, height, level):
    """First row, width and height of a level of a mip chain."""
    row, wide, tall = first, width, height
    for _ in range(level):
        row += wide * tall
        wide, tall = ti.max(wide // 2, 1), ti.max(tall // 2, 1)
    return row, wide, tall


@ti.func
def _mip(footprint, width, height, levels):
    """The finer of the two levels to mix, and the share of the coarser."""
    level = 0.0
    if levels > 1:
        zero = 0.0 * footprint
        level = mip_level(ti.Vector([footprint, zero]), ti.Vector([zero, footprint]), width, height, levels)
    fine = ti.cast(level, ti.i32)
    return fine, level - fine


@ti.func
def _texture(mipmaps: ti.template(), slot, uv, footprint, t: ti.template()):
    """[3] of a row of `slots` that is a texture, at uv."""
    first, width, height, wrap = t.slots[slot, ROW], t.slots[slot, WIDTH], t.slots[slot, HEIGHT], t.slots[slot, WRAP]
    value = ti.Vector([0.0, 0.0, 0.0])
    if ti.static(mipmaps):
        fine, part = _mip(footprint, width, height, t.slots[slot, LEVELS])
        for k in range(2):
            share = part if k == 1 else 1.0 - part
            if share > 0.0:
                row, wide, tall = _level(first, width, height, fine + k)
                rows, at = corners(uv, row, wide, tall, wrap)
                value += share * mix_texels(t.values, rows, bilinear_weights(at), 3)
    else:
        rows, at = corners(uv, first, width, height, wrap)
        value = mix_texels(t.values, rows, bilinear_weights(at), 3)
    return value


@ti.func
def _texels_adjoint(
    channels: ti.template(), row, width, height, wrap, uv, g, t: ti.template(), part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient of one level's look-up to its texels; the gradient to uv."""
    rows, at = corners(uv, row, width, height, wrap)
    weights = bilinear_weights(at)
    for k in ti.static(range(4)):
        for c in ti.static(range(channels)):
            add(part, 3 * (first + rows[k]) + c, weights[k] * g[c], atomic)
    return texel_slope(t.values, width, height, rows, at, g, channels)


@ti.func
def _texture_adjoint(
    mipmaps: ti.template(), channels: ti.template(), slot, uv, footprint, t: ti.template(), g, part: ti.template(),
    first, atomic: ti.template(),
):  # fmt: skip
    row, width, height, wrap = t.slots[slot, ROW], t.slots[slot, WIDTH], t.slots[slot, HEIGHT], t.slots[slot, WRAP]
    to_uv = ti.Vector([0.0, 0.0])
    if ti.static(mipmaps):
        fine, part_coarse = _mip(footprint, width, height, t.slots[slot, LEVELS])
        for k in ti.static(range(2)):  # no loop: software Vulkan loses atomics in loops
            share = ti.static(k) * part_coarse + ti.static(1 - k) * (1.0 - part_coarse)
            if share > 0.0:
                start, wide, tall = _level(row, width, height, fine + k)
                to_uv += _texels_adjoint(channels, start, wide, tall, wrap, uv, share * g, t, part, first, atomic)
    else:
        to_uv = _texels_adjoint(channels, row, width, height, wrap, uv, g, t, part, first, atomic)
    return to_uv


@ti.func
def _plain(mask: ti.template(), name: ti.template(), slot, color, t: ti.template()):
    """[3] of a row of `slots` that is no texture, and whether it is none."""
    source = CONSTANT
    if ti.static((mask >> (TEXTURED + name) | mask >> (PAINTED + name)) & 1):
        source = t.slots[slot, SOURCE]
    value = ti.Vector([0.0, 0.0, 0.0])
    if source == CONSTANT:
        value = load3(t.values, t.slots[slot, ROW])
    if ti.static(mask >> (PAINTED + name) & 1):
        if source == VERTEX_COLORS:
            value = color
    return value, source != TEXTURE


@ti.func
def _plain_adjoint(
    mask: ti.template(), name: ti.template(), slot, t: ti.template(), g, part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient g [3] of `_plain` to `values`; the gradient to color, and whether the row is no texture."""
    source = CONSTANT
    if ti.static((mask >> (TEXTURED + name) | mask >> (PAINTED + name)) & 1):
        source = t.slots[slot, SOURCE]
    to_color = ti.Vector([0.0, 0.0, 0.0])
    if source == CONSTANT:
        for c in ti.static(range(CHANNELS[name])):
            add(part, 3 * (first + t.slots[slot, ROW]) + c, g[c], atomic)
    if ti.static(mask >> (PAINTED + name) & 1):
        if source == VERTEX_COLORS:
            to_color = g
    return to_color, source != TEXTURE


@ti.func
def slot_value(mask: ti.template(), name: ti.template(), material, uv, color, footprint, t: ti.template()):
    """[3] of the slot NAMES[name]; a single number stands in the first."""
    slot = material * SLOTS + name
    value, done = _plain(mask, name, slot, color, t)
    if ti.static(mask >> (TEXTURED + name) & 1):
        if not done:
            value = _texture(mask >> (MIPMAPPED + name) & 1, slot, uv, footprint, t)
    return value


@ti.func
def slot_scatter(
    mask: ti.template(), name: ti.template(), material, uv, footprint, t: ti.template(), g, part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient g [3] of `slot_value` to `values`; the gradients to uv and color."""
    slot = material * SLOTS + name
    to_uv = ti.Vector([0.0, 0.0])
    to_color, done = _plain_adjoint(mask, name, slot, t, g, part, first, atomic)
    if ti.static(mask >> (TEXTURED + name) & 1):
        if not done:
            to_uv = _texture_adjoint(
                mask >> (MIPMAPPED + name) & 1, CHANNELS[name], slot, uv, footprint, t, g, part, first, atomic
            )
    return to_uv, to_color


# What a BSDF reads. All textures go through one loop, since the compiler copies the body of a look-up wherever it
# stands: a slot more costs a comparison then.


def _textured(mask: int) -> list[int]:
    return [name for name in range(len(READERS)) if mask >> (TEXTURED + name) & 1]


def _mipmapped(mask: int) -> bool:
    return any(mask >> (MIPMAPPED + name) & 1 for name in _textured(mask))


@ti.func
def gather(mask: ti.template(), material, uv, color, footprint, t: ti.template()):
    """p [PARAMS] of a material that is no blend; only what kinds in the mask read is loaded, the rest is 0."""
    kind = t.kinds[material, KIND]
    p = ti.Vector.zero(float, PARAMS)
    p[OPACITY] = 1.0
    for name in ti.static(range(len(READERS))):
        if ti.static(READERS[name] & mask):
            read = 1
            if ti.static(mask & KINDS & ~READERS[name]):
                read = READERS[name] >> kind & 1
            if read == 1:
                value, _ = _plain(mask, name, material * SLOTS + name, color, t)
                for c in ti.static(range(CHANNELS[name])):
                    p[PLACES[name] + c] = value[c]
    if ti.static(_textured(mask)):
        for k in range(ti.static(len(_textured(mask)))):
            slot = material * SLOTS
            for j, name in ti.static(enumerate(_textured(mask))):
                if k == j:
                    slot += name
            if t.slots[slot, SOURCE] == TEXTURE:
                value = _texture(ti.static(_mipmapped(mask)), slot, uv, footprint, t)
                for j, name in ti.static(enumerate(_textured(mask))):
                    if k == j:
                        for c in ti.static(range(CHANNELS[name])):
                            p[PLACES[name] + c] = value[c]
    return p


@ti.func
def scatter(
    mask: ti.template(), material, uv, color, footprint, t: ti.template(), g, part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient g [PARAMS] of p to `values`; the gradients to uv [2] and to color [3]."""
    kind = t.kinds[material, KIND]
    to_uv, to_color = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    for name in ti.static(range(len(READERS))):
        if ti.static(READERS[name] & mask):
            read = 1
            if ti.static(mask & KINDS & ~READERS[name]):
                read = READERS[name] >> kind & 1
            if read == 1:
                to_value = ti.Vector([0.0, 0.0, 0.0])
                for c in ti.static(range(CHANNELS[name])):
                    to_value[c] = g[PLACES[name] + c]
                by_color, _ = _plain_adjoint(mask, name, material * SLOTS + name, t, to_value, part, first, atomic)
                to_color += by_color
    if ti.static(_textured(mask) and not atomic):
        for k in range(ti.static(len(_textured(mask)))):
            slot, to_value = material * SLOTS, ti.Vector([0.0, 0.0, 0.0])
            for j, name in ti.static(enumerate(_textured(mask))):
                if k == j:
                    slot += name
                    for c in ti.static(range(CHANNELS[name])):
                        to_value[c] = g[PLACES[name] + c]
            if t.slots[slot, SOURCE] == TEXTURE:
                to_uv += _texture_adjoint(
                    ti.static(_mipmapped(mask)), 3, slot, uv, footprint, t, to_value, part, first, False
                )
    if ti.static(_textured(mask) and atomic):  # no loop: software Vulkan loses atomics in loops
        for name in ti.static(_textured(mask)):
            if t.slots[material * SLOTS + name, SOURCE] == TEXTURE:
                to_value = ti.Vector([0.0, 0.0, 0.0])
                for c in ti.static(range(CHANNELS[name])):
                    to_value[c] = g[PLACES[name] + c]
                to_uv += _texture_adjoint(
                    mask >> (MIPMAPPED + name) & 1, CHANNELS[name], material * SLOTS + name, uv, footprint, t,
                    to_value, part, first, True,
                )  # fmt: skip
    return to_uv, to_color


# Light of its own, what lets light straight through, and blends of two materials.


@ti.func
def emission(mask: ti.template(), material, uv, color, footprint, t: ti.template()):
    """Radiance [3] that the material's front sends out by itself; 0 where it emits nothing."""
    value = ti.Vector([0.0, 0.0, 0.0])
    if ti.static(mask >> EMISSIONS & 1):
        if t.kinds[material, FLAGS] >> EMITS & 1:
            value = slot_value(mask, EMISSION_SLOT, material, uv, color, footprint, t)
    return value


@ti.func
def emission_scatter(
    mask: ti.template(), material, uv, color, footprint, t: ti.template(), g, part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient g [3] of `emission` to `values`; the gradients to uv and color."""
    to_uv, to_color = ti.Vector([0.0, 0.0]), ti.Vector([0.0, 0.0, 0.0])
    if ti.static(mask >> EMISSIONS & 1):
        if t.kinds[material, FLAGS] >> EMITS & 1:
            to_uv, to_color = slot_scatter(mask, EMISSION_SLOT, material, uv, footprint, t, g, part, first, atomic)
    return to_uv, to_color


@ti.func
def opacity(mask: ti.template(), material, uv, footprint, t: ti.template()):
    """Share of light that meets the surface, 0 to 1; the rest goes straight on."""
    value = 1.0
    if ti.static(mask >> OPACITIES & 1):
        if t.kinds[material, FLAGS] >> HAS_OPACITY & 1:
            none = ti.Vector([0.0, 0.0, 0.0])
            value = slot_value(mask, OPACITY_SLOT, material, uv, none, footprint, t)[0]
    return value


@ti.func
def opacity_scatter(
    mask: ti.template(), material, uv, footprint, t: ti.template(), g, part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient g of `opacity` to `values`; the gradient to uv."""
    to_uv = ti.Vector([0.0, 0.0])
    if ti.static(mask >> OPACITIES & 1):
        if t.kinds[material, FLAGS] >> HAS_OPACITY & 1:
            to_value = ti.Vector([g, 0.0, 0.0])
            to_uv, _ = slot_scatter(mask, OPACITY_SLOT, material, uv, footprint, t, to_value, part, first, atomic)
    return to_uv


@ti.func
def choose(mask: ti.template(), material, uv, footprint, u, t: ti.template()):
    """(row of `kinds`, d log(probability) / d weight): a blend's second material with probability `weight`, else its
    first, by a random number u in [0, 1); any other material is itself, with slope 0."""
    row, slope = material, 0.0
    if ti.static(mask >> BLENDS & 1):
        if t.kinds[material, FIRST] >= 0:
            none = ti.Vector([0.0, 0.0, 0.0])
            weight = slot_value(mask, WEIGHT_SLOT, material, uv, none, footprint, t)[0]
            if u < weight:
                row, slope = t.kinds[material, SECOND], 1.0 / weight
            else:
                row, slope = t.kinds[material, FIRST], -1.0 / (1.0 - weight)
    return row, slope


@ti.func
def weight_scatter(
    mask: ti.template(), material, uv, footprint, t: ti.template(), g, part: ti.template(), first,
    atomic: ti.template(),
):  # fmt: skip
    """From the gradient g of a blend's weight to `values`; the gradient to uv. Does nothing for other materials."""
    to_uv = ti.Vector([0.0, 0.0])
    if ti.static(mask >> BLENDS & 1):
        if t.kinds[material, FIRST] >= 0:
            to_value = ti.Vector([g, 0.0, 0.0])
            to_uv, _ = slot_scatter(mask, WEIGHT_SLOT, material, uv, footprint, t, to_value, part, first, atomic)
    return to_uv
