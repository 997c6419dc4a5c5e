"""Surfaces lit by an environment: diffuse light by its blurred map, highlights by the split sum; hand-written adjoints.

A chain [T, 3] holds maps, the rows of `levels` [L, 3] say where: (first row, height, width). Level 0 is the light that
a diffuse surface receives, over pi; levels 1 to L - 1 are what a mirrored view sees at roughness `rough` [L], growing.
In between all is linear in roughness, below the first and above the last constant. Level 1 is the environment itself
(kernels/environment.py); of all others the first and last row are the poles, so that nothing jumps there.

Highlights: light along the mirrored view times F0 scale + bias, both from a table (brdf_table.py) over roughness and
cosine (Karis 2013, "Real Shading in Unreal Engine 4"; Munkberg et al. 2022, nvdiffrec).
"""

import taichi as ti

from .. import environment
from ..accumulate import TASK, add, add3
from .brdf import GRAZING, SHARPEST, smooth_roughness, unit
from .brdf_table import COSINES, ROUGHNESSES
from .harmonics import unit_adjoint

A1 = ti.types.ndarray(ndim=1)
A1I = ti.types.ndarray(dtype=ti.i32, ndim=1)
A2 = ti.types.ndarray(ndim=2)
A2I = ti.types.ndarray(dtype=ti.i32, ndim=2)

F0 = 0.04


@ti.func
def _place(d, angle, level, levels: ti.template()):
    """Rows of the chain around a direction, where it is between, and rows of the map from pole to pole."""
    height, width = levels[level, 1], levels[level, 2]
    rows, at = environment.corners(d, angle, height, width)
    if level != 1:
        height -= 1
        y = ti.atan2(ti.sqrt(d[0] * d[0] + d[2] * d[2]), d[1]) / environment.PI * height
        top = ti.min(ti.max(ti.cast(ti.floor(y), ti.i32), 0), height - 1)
        left, right = rows[0] % width + top * width, rows[1] % width + top * width
        rows = ti.Vector([left, right, left + width, right + width])
        at[1] = ti.min(ti.max(y - top, 0.0), 1.0)
    return rows + levels[level, 0], at, height


@ti.func
def _level(d, angle, level, levels: ti.template(), chain: ti.template()):
    rows, at, _height = _place(d, angle, level, levels)
    return environment.mix(rows, at, chain)


@ti.func
def _level_adjoint(
    d, angle, level, levels: ti.template(), chain: ti.template(), g, part: ti.template(), start, atomic: ti.template()
):
    """From the gradient g of `_level`: adds to part [.. * 3] from row `start` on; gradients of d and angle."""
    rows, at, height = _place(d, angle, level, levels)
    share = environment.weights(at)
    for k in ti.static(range(4)):
        add3(part, start + rows[k], share[k] * g, atomic)
    to_d, to_angle = environment.slopes(d, rows, at, height, levels[level, 2], chain, g)
    return to_d, to_angle


@ti.func
def _between(kept, rough: ti.template()):
    """The level below a roughness, the share of the next one, and the slope of that share."""
    low, part, slope = 1, 0.0 * kept, 0.0 * kept
    for k in range(2, rough.shape[0]):
        if kept >= rough[k]:
            low = k
    if kept > rough[low] and low + 1 < rough.shape[0]:
        slope = 1.0 / (rough[low + 1] - rough[low])
        part = (kept - rough[low]) * slope
    return low, part, slope


@ti.func
def _table(table: ti.template(), column, cosine, kept):
    """(value, slope by cosine, slope by roughness) of a column of the table: 0 the scale of F0, 1 the bias."""
    x, y = cosine * (COSINES - 1.0), (kept - SHARPEST) / (1.0 - SHARPEST) * (ROUGHNESSES - 1.0)
    i = ti.min(ti.max(ti.cast(ti.floor(x), ti.i32), 0), COSINES - 2)
    j = ti.min(ti.max(ti.cast(ti.floor(y), ti.i32), 0), ROUGHNESSES - 2)
    u, v = ti.min(ti.max(x - i, 0.0), 1.0), ti.min(ti.max(y - j, 0.0), 1.0)
    t00, t10 = table[j * COSINES + i, column], table[j * COSINES + i + 1, column]
    t01, t11 = table[(j + 1) * COSINES + i, column], table[(j + 1) * COSINES + i + 1, column]
    low, high = t00 + u * (t10 - t00), t01 + u * (t11 - t01)
    by_cosine = ((1.0 - v) * (t10 - t00) + v * (t11 - t01)) * (COSINES - 1.0)
    return low + v * (high - low), by_cosine, (high - low) * ((ROUGHNESSES - 1.0) / (1.0 - SHARPEST))


@ti.kernel
def gather(buffer: ti.template(), n: ti.i32, angle: A2, levels: A2I, chain: A2):
    """light_value of the first n entries = what they receive, over pi."""
    for i in range(n):
        buffer.light_value[i] = _level(unit(buffer.normal[i]), angle[0, 0], 0, levels, chain)


@ti.kernel
def reflect(
    buffer: ti.template(), n: ti.i32, family_of_material: A1I, family: ti.i32, angle: A2, levels: A2I, rough: A1,
    chain: A2, table: A2,
):  # fmt: skip
    """color += (1 - metallic) albedo light_value + mirrored light (F0 scale + bias), of entries of the family."""
    for i in range(n):
        if family_of_material[buffer.material[i]] == family:
            normal, view = unit(buffer.normal[i]), unit(buffer.view[i])
            albedo, metallic, kept = buffer.albedo[i], buffer.metallic[i], smooth_roughness(buffer.roughness[i])
            mirrored = 2.0 * normal.dot(view) * normal - view
            low, part, _slope = _between(kept, rough)
            seen = _level(mirrored, angle[0, 0], low, levels, chain)
            if part > 0.0:
                seen += part * (_level(mirrored, angle[0, 0], low + 1, levels, chain) - seen)
            cosine = ti.max(normal.dot(view), GRAZING)
            scale, _c, _r = _table(table, 0, cosine, kept)
            bias, _c, _r = _table(table, 1, cosine, kept)
            base = F0 + (albedo - F0) * metallic
            buffer.color[i] += (1.0 - metallic) * albedo * buffer.light_value[i] + seen * (base * scale + bias)


@ti.func
def _gather_entry(
    buffer: ti.template(), i, angle, levels: ti.template(), chain: ti.template(), part: ti.template(), start,
    atomic: ti.template(),
):  # fmt: skip
    """The adjoint of `gather` at one entry, whose light_value.grad becomes 0; the gradient of the angle."""
    normal, g = unit(buffer.normal[i]), buffer.light_value.grad[i]
    to_normal, to_angle = _level_adjoint(normal, angle, 0, levels, chain, g, part, start, atomic)
    buffer.normal.grad[i] = buffer.normal.grad[i] + unit_adjoint(buffer.normal[i], to_normal)
    buffer.light_value.grad[i] = ti.Vector([0.0, 0.0, 0.0])
    return to_angle


@ti.func
def _reflect_entry(
    buffer: ti.template(), i, angle, levels: ti.template(), rough: ti.template(), chain: ti.template(),
    table: ti.template(), part: ti.template(), start, atomic: ti.template(),
):  # fmt: skip
    """The adjoint of `reflect` at one entry; the gradient of the angle."""
    normal, view, g = unit(buffer.normal[i]), unit(buffer.view[i]), buffer.color.grad[i]
    albedo, metallic, given = buffer.albedo[i], buffer.metallic[i], buffer.roughness[i]
    kept, across = smooth_roughness(given), normal.dot(view)
    mirrored = 2.0 * across * normal - view
    scale, scale_by_cosine, scale_by_kept = _table(table, 0, ti.max(across, GRAZING), kept)
    bias, bias_by_cosine, bias_by_kept = _table(table, 1, ti.max(across, GRAZING), kept)
    base = F0 + (albedo - F0) * metallic
    to_seen = g * (base * scale + bias)
    low, share, slope = _between(kept, rough)
    seen = _level(mirrored, angle, low, levels, chain)
    to_mirrored, to_angle = _level_adjoint(
        mirrored, angle, low, levels, chain, (1.0 - share) * to_seen, part, start, atomic
    )
    to_kept = 0.0 * kept
    if share > 0.0:
        rougher = _level(mirrored, angle, low + 1, levels, chain)
        more_mirrored, more_angle = _level_adjoint(
            mirrored, angle, low + 1, levels, chain, share * to_seen, part, start, atomic
        )
        to_mirrored += more_mirrored
        to_angle += more_angle
        to_kept = slope * to_seen.dot(rougher - seen)
        seen += share * (rougher - seen)
    to_share = g * seen
    to_scale, to_bias = to_share.dot(base), to_share.sum()
    to_kept += to_scale * scale_by_kept + to_bias * bias_by_kept
    to_normal = 2.0 * (across * to_mirrored + normal.dot(to_mirrored) * view)
    to_view = 2.0 * normal.dot(to_mirrored) * normal - to_mirrored
    if across > GRAZING:
        to_cosine = to_scale * scale_by_cosine + to_bias * bias_by_cosine
        to_normal += to_cosine * view
        to_view += to_cosine * normal
    by_given = 0.0 * kept + 1.0
    if given < 2.0 * SHARPEST:
        by_given = ti.max(given, 0.0) / (2.0 * SHARPEST)
    diffuse = g * buffer.light_value[i]
    buffer.normal.grad[i] = buffer.normal.grad[i] + unit_adjoint(buffer.normal[i], to_normal)
    buffer.view.grad[i] = buffer.view.grad[i] + unit_adjoint(buffer.view[i], to_view)
    buffer.roughness.grad[i] = buffer.roughness.grad[i] + to_kept * by_given
    buffer.albedo.grad[i] = buffer.albedo.grad[i] + (1.0 - metallic) * diffuse + metallic * scale * to_share
    buffer.metallic.grad[i] = buffer.metallic.grad[i] + scale * to_share.dot(albedo - F0) - diffuse.dot(albedo)
    buffer.light_value.grad[i] = buffer.light_value.grad[i] + (1.0 - metallic) * (g * albedo)
    return to_angle


@ti.kernel
def adjoint(
    chunks: ti.i32, texels: ti.i32, buffer: ti.template(), n: ti.i32, family_of_material: A1I, family: ti.i32,
    angle: A2, levels: A2I, rough: A1, chain: A2, table: A2, part: A1, part_angle: A1, block: ti.template(),
    reflects: ti.template(), atomic: ti.template(),
):  # fmt: skip
    """The adjoint of `reflect`, or else of `gather`, for what the chain's first `texels` rows gave.

    Adds to the columns' gradients; to part [texels * 3], with `atomic`, else to each chunk's own copy; to part_angle
    [chunks].
    """
    if ti.static(atomic):
        for i in range(n):
            to_angle = 0.0 * angle[0, 0]
            if ti.static(not reflects):
                to_angle = _gather_entry(buffer, i, angle[0, 0], levels, chain, part, 0, True)
            elif family_of_material[buffer.material[i]] == family:
                to_angle = _reflect_entry(buffer, i, angle[0, 0], levels, rough, chain, table, part, 0, True)
            ti.atomic_add(part_angle[i % chunks], to_angle)
    else:
        task = ti.static(TASK if block == 1 else 1)
        ti.loop_config(block_dim=block)
        for ticket in range(chunks * task):
            p = ticket // task
            if ticket % task != 0:
                continue
            total = 0.0 * angle[0, 0]
            for i in range(p * n // chunks, (p + 1) * n // chunks):
                if ti.static(not reflects):
                    total += _gather_entry(buffer, i, angle[0, 0], levels, chain, part, p * texels, False)
                elif family_of_material[buffer.material[i]] == family:
                    total += _reflect_entry(
                        buffer, i, angle[0, 0], levels, rough, chain, table, part, p * texels, False
                    )
            add(part_angle, p, total, False)
