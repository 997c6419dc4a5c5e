"""From visible triangles to surface values: barycentrics, interpolated attributes; with adjoints.

An entry is one (pixel, triangle) pair. With corners c_k = (column * w, row * w, w) taken relative to the pixel centre,
a_i = (c_j x c_k).z and b_i = a_i / sum(a) are the perspective-correct barycentrics (methods: analytic derivatives of de
La Gorce et al. 2011, Laine et al. 2020).

With `clip` = CLAMP (soft edges) a pixel outside its triangle takes the screen-space barycentrics clamped to [0, 1] and
renormalised (Liu et al. 2019), made perspective-correct afterwards; RAISE clamps below only (Ravi et al. 2020).
"""

import taichi as ti

from ..accumulate import TASK, add, load3

A1 = ti.types.ndarray(ndim=1)
A2 = ti.types.ndarray(ndim=2)

NO_CLIP, CLAMP, RAISE = 0, 1, 2


@ti.func
def corner_rows(triangles: ti.template(), f, base):
    return ti.Vector([triangles[f, 0] + base, triangles[f, 1] + base, triangles[f, 2] + base])


@ti.func
def corner(screen: ti.template(), row, x, y):
    """(column * w, row * w, w) of a vertex relative to pixel centre (x, y)."""
    w = screen[row, 2]
    return ti.Vector([screen[row, 0] - x * w, screen[row, 1] - y * w, w])


@ti.func
def planes(c0, c1, c2):
    """Rows A_i = c_j x c_k; a_i = A_i.z, and (A_i.x, A_i.y) is its derivative along the pixel axes."""
    return c1.cross(c2), c2.cross(c0), c0.cross(c1)


@ti.func
def safe_sum(total):
    result = total
    if result == 0.0:
        result = 1e-30
    return result


@ti.func
def clamped(t, clip):
    """Screen-space barycentrics t from 0 up, and up to 1 unless clip = RAISE; not renormalised."""
    most = 1.0
    if clip == RAISE:
        most = 1e30
    return ti.Vector([ti.min(ti.max(t[k], 0.0), most) for k in ti.static(range(3))])


@ti.func
def clipped(a, w, s, clip):
    """Perspective-correct barycentrics of the clamped screen-space ones; s = sum(a * w)."""
    q = clamped(a * w / s, clip) / w
    return q / q.sum()


@ti.func
def clipped_adjoint(a, w, s, clip, g):
    """Gradients of a and w from the gradient g of `clipped`; the sum after clamping cancels out of q / sum(q)."""
    inverse, inverse_w = 1.0 / s, 1.0 / w
    t = a * w * inverse
    q = clamped(t, clip) * inverse_w
    scale = 1.0 / q.sum()
    gu = (g - g.dot(q) * scale) * scale * inverse_w
    # Without branches: on which side of an edge a pixel lies is hard to predict.
    free = [(t[k] > 0.0) & ((t[k] < 1.0) | (clip == RAISE)) for k in ti.static(range(3))]
    gt = ti.Vector([ti.select(free[k], gu[k], 0.0) for k in ti.static(range(3))])
    raw = (gt - gt.dot(t)) * inverse
    return raw * w, raw * a - gu * q


@ti.func
def pixel_place(place: ti.template(), e):
    """View of an entry, and its pixel's centre (column, row); place [n * 3] is view, row, column."""
    return place[3 * e], place[3 * e + 2] + 0.5, place[3 * e + 1] + 0.5


@ti.kernel
def barycentrics(
    entries: ti.i32,
    vertices: ti.i32,
    clip: ti.i32,
    place: A1,
    face: A1,
    triangles: A2,
    screen: A2,
    bary: A2,
):
    """bary [n, 3]: perspective-correct barycentrics of each entry's pixel centre."""
    for e in range(entries):
        view, x, y = pixel_place(place, e)
        ids = corner_rows(triangles, face[e], view * vertices)
        c0, c1, c2 = corner(screen, ids[0], x, y), corner(screen, ids[1], x, y), corner(screen, ids[2], x, y)
        a0, a1, a2 = planes(c0, c1, c2)
        a = ti.Vector([a0[2], a1[2], a2[2]])
        b = a / safe_sum(a.sum())
        if clip != NO_CLIP:
            w = ti.Vector([c0[2], c1[2], c2[2]])
            b = clipped(a, w, safe_sum(a.dot(w)), clip)
        for k in ti.static(range(3)):
            bary[e, k] = b[k]


@ti.func
def barycentrics_adjoint_entry(
    e,
    offset,
    vertices,
    clip,
    place: ti.template(),
    face: ti.template(),
    triangles: ti.template(),
    screen: ti.template(),
    grad_bary: ti.template(),
    part: ti.template(),
    atomic: ti.template(),
):
    view, x, y = pixel_place(place, e)
    ids = corner_rows(triangles, face[e], view * vertices)
    c0, c1, c2 = corner(screen, ids[0], x, y), corner(screen, ids[1], x, y), corner(screen, ids[2], x, y)
    a0, a1, a2 = planes(c0, c1, c2)
    a = ti.Vector([a0[2], a1[2], a2[2]])
    g = load3(grad_bary, e)
    ga = ti.Vector.zero(float, 3)
    gw = ti.Vector.zero(float, 3)
    if clip != NO_CLIP:
        w = ti.Vector([c0[2], c1[2], c2[2]])
        ga, gw = clipped_adjoint(a, w, safe_sum(a.dot(w)), clip, g)
    else:
        total = safe_sum(a.sum())
        ga = (g - g.dot(a / total)) / total
    # a_i = (c_j x c_k).z, so its gradient reaches only x and y of the corners.
    gx = ti.Vector([ga[2] * c1[1] - ga[1] * c2[1], ga[0] * c2[1] - ga[2] * c0[1], ga[1] * c0[1] - ga[0] * c1[1]])
    gy = ti.Vector([ga[1] * c2[0] - ga[2] * c1[0], ga[2] * c0[0] - ga[0] * c2[0], ga[0] * c1[0] - ga[1] * c0[0]])
    for k in ti.static(range(3)):
        slot = (offset + ids[k]) * 4
        add(part, slot, gx[k], atomic)
        add(part, slot + 1, gy[k], atomic)
        add(part, slot + 2, gw[k] - x * gx[k] - y * gy[k], atomic)


@ti.kernel
def barycentrics_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    entries: ti.i32,
    vertices: ti.i32,
    clip: ti.i32,
    place: A1,
    face: A1,
    triangles: A2,
    screen: A2,
    grad_bary: A2,
    part: A1,
    atomic: ti.template(),
):
    """Scatters into part [chunks * rows * 4], rows = views * V."""
    if ti.static(atomic):
        for e in range(entries):
            barycentrics_adjoint_entry(e, 0, vertices, clip, place, face, triangles, screen, grad_bary, part, True)
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                barycentrics_adjoint_entry(
                    e, p * rows, vertices, clip, place, face, triangles, screen, grad_bary, part, False
                )


@ti.kernel
def interpolate(
    entries: ti.i32,
    channels: ti.i32,
    first: ti.i32,
    by_view: ti.i32,
    place: A1,
    face: A1,
    corners: A2,
    attribute: A2,
    bary: A2,
    out: A2,
):
    """out[e, c] = sum_k bary[e, k] * attribute[corners[face[e], k], first + c]; zero where a corner is -1.

    by_view: rows of the attribute for each view, 0 where all views share them.
    """
    for e in range(entries):
        f, base = face[e], place[3 * e] * by_view
        for c in range(channels):
            value = bary[e, 0] * 0.0
            if corners[f, 0] >= 0:
                for k in ti.static(range(3)):
                    value += bary[e, k] * attribute[base + corners[f, k], first + c]
            out[e, c] = value


@ti.func
def interpolate_adjoint_channel(
    e, c, offset, stride, base, first, face: ti.template(), corners: ti.template(), attribute: ti.template(),
    bary: ti.template(), grad_out: ti.template(), grad_bary: ti.template(), part: ti.template(), scatter,
    atomic: ti.template(),
):  # fmt: skip
    f, g = face[e], grad_out[e, c]
    if corners[f, 0] >= 0 and g != 0.0:
        for k in ti.static(range(3)):
            row = base + corners[f, k]
            to_bary = g * attribute[row, first + c]
            if ti.static(atomic):
                ti.atomic_add(grad_bary[e, k], to_bary)
            else:
                grad_bary[e, k] = grad_bary[e, k] + to_bary
            if scatter == 1:
                add(part, (offset + row) * stride + first + c, g * bary[e, k], atomic)


@ti.kernel
def interpolate_adjoint(
    chunks: ti.i32,
    rows: ti.i32,
    stride: ti.i32,
    entries: ti.i32,
    channels: ti.i32,
    first: ti.i32,
    vertices: ti.i32,
    scatter: ti.i32,
    place: A1,
    face: A1,
    corners: A2,
    attribute: A2,
    bary: A2,
    grad_out: A2,
    grad_bary: A2,
    part: A1,
    atomic: ti.template(),
):
    """Adds to grad_bary [n, 3] and, where scatter = 1, into part [chunks * rows * stride].

    vertices = 0: one table for all views. Channels [first, first + channels) of the attribute take part.
    """
    if ti.static(atomic):
        for e, c in ti.ndrange(entries, channels):
            base = place[3 * e] * vertices
            interpolate_adjoint_channel(
                e, c, 0, stride, base, first, face, corners, attribute, bary, grad_out, grad_bary, part, scatter, True
            )
    else:
        for ticket in range(chunks * TASK):
            p = ticket // TASK
            if ticket % TASK != 0:
                continue
            for e in range(p * entries // chunks, (p + 1) * entries // chunks):
                base = place[3 * e] * vertices
                for c in range(channels):
                    interpolate_adjoint_channel(
                        e, c, p * rows, stride, base, first, face, corners, attribute, bary, grad_out, grad_bary, part,
                        scatter, False,
                    )  # fmt: skip
