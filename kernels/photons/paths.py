"""What is written down of a path, so that its gradient can go back along it, and what a vertex of a path is.

Vertex k of path i of `paths` has the slot k * paths + i of

    wholes int [slots * paths, WHOLES]: TRIANGLE (INSIDE - medium where a medium scattered a photon), MARK (an event and
        the bits below), ROW of its photon (0 for an eye point)
    reals [slots * paths, REALS]: U, V, SCALE (what the throughput was multiplied with besides f cos and the correction
        below), THROUGHPUT at the start of the ray that arrives, LEAN (the correction of a photon that landed; the
        share of a camera path's light that media let through on that ray); in a medium U, V and LEAN are the place

and counts [paths] says how many vertices there are. origins [paths, 3] are where paths start. The slot behind the last
vertex has the direction in which a path left the scene at EXIT, its throughput and its LEAN.

Shading normals n are not the faces' normals g, and BSDFs are used with cosines to n. The flux of photons is therefore
multiplied by |wi.n| |wo.g| / (|wi.g| |wo.n|) where they scatter, and by |wi.n| / |wi.g| where they land, so that both
ways of transport are adjoint to each other (Veach 1997, section 5.3).
"""

import taichi as ti

from ..accumulate import load3
from ..transport import hit, materials, surface
from ..transport.slots import (
    CONDUCTOR,
    DIELECTRIC,
    NULL,
    PHASE,
    PLASTIC,
    ROUGH_CONDUCTOR,
    ROUGH_DIELECTRIC,
    THIN_DIELECTRIC,
)

TRIANGLE, MARK, ROW, WHOLES = 0, 1, 2, 3
U, V, SCALE, THROUGHPUT, LEAN, REALS = 0, 1, 2, 3, 6, 7
EXIT, INSIDE = 0, -2
# Events: scattered, mirrored, refracted, straight on through a clear boundary, straight through what is not opaque, and
# the end of the path.
SCATTERED, MIRRORED, REFRACTED, STRAIGHT, PASSED, ENDED, EVENT = 0, 1, 2, 3, 4, 5, 7
LANDED, CAUSTIC, TURNED, LEFT = 3, 4, 5, 6  # bits: a photon; by way of mirrors only; normal turned; left the scene
FLATTEST = 1e-2  # cosines to the faces that corrections divide by are not smaller
CLEAR = (1 << CONDUCTOR) | (1 << DIELECTRIC) | (1 << THIN_DIELECTRIC) | (1 << NULL)  # nothing but delta lobes
DELTA = CLEAR | (1 << PLASTIC)
FOCUSING = (
    (1 << CONDUCTOR) | (1 << DIELECTRIC) | (1 << THIN_DIELECTRIC) | (1 << ROUGH_CONDUCTOR) | (1 << ROUGH_DIELECTRIC)
)


@ti.func
def place(t: ti.template(), triangle, u, v):
    """(x, first edge, second edge) of a point."""
    p0, p1, p2 = surface.corners(t.faces, t.positions, triangle)
    return p0 + u * (p1 - p0) + v * (p2 - p0), p1 - p0, p2 - p0


@ti.func
def vertex(mask: ti.template(), t: ti.template(), wholes: ti.template(), reals: ti.template(), slot):
    """Where a vertex is, on a surface or in a medium."""
    triangle, u, v = wholes[slot, TRIANGLE], reals[slot, U], reals[slot, V]
    x = ti.Vector([u, v, reals[slot, LEAN]])
    if ti.static(mask >> PHASE & 1):
        if triangle >= 0:
            x, _e1, _e2 = place(t, triangle, u, v)
    else:
        x, _e1, _e2 = place(t, triangle, u, v)
    return x


@ti.func
def before(
    mask: ti.template(), t: ti.template(), wholes: ti.template(), reals: ti.template(), origins: ti.template(), level,
    stride, i,
):  # fmt: skip
    """Where the ray started that arrives at a vertex."""
    x = load3(origins, i)
    if level > 0:
        x = vertex(mask, t, wholes, reals, (level - 1) * stride + i)
    return x


@ti.func
def arrived(mask: ti.template(), camera: ti.template(), reals: ti.template(), slot):
    """The throughput at the end of the ray that arrives."""
    beta = read3(reals, slot, THROUGHPUT)
    if ti.static(camera and mask >> PHASE & 1):
        beta *= reals[slot, LEAN]
    return beta


@ti.func
def material_of(mask: ti.template(), t: ti.template(), triangle, uv, color, chooser):
    """(row of `kinds`, slope of a blend, kind, p) of what a path met, by a random number for blends."""
    row, slope = materials.choose(mask, t.faces[triangle, 9], uv, 0.0, chooser, t)
    return row, slope, t.kinds[row, materials.KIND], materials.gather(mask, row, uv, color, 0.0, t)


@ti.func
def may_scatter(mask: ti.template(), t: ti.template(), material):
    """Whether a material, or one of a blend's two, is more than mirror and clear boundary."""
    kind = t.kinds[material, materials.KIND]
    found = 0
    if kind >= 0:
        found = 1 - (CLEAR >> kind & 1)
    if ti.static(mask >> materials.BLENDS & 1):
        for column in ti.static((materials.FIRST, materials.SECOND)):
            row = t.kinds[material, column]
            if row >= 0:
                found |= 1 - (CLEAR >> t.kinds[row, materials.KIND] & 1)
    return found


@ti.func
def normals_of(mask: ti.template(), t: ti.template(), row, triangle, u, v, uv, e1, e2, d):
    """(shading normal, face normal of any length, 1 or -1): turned towards where the ray d came from, if opaque."""
    cross = e1.cross(e2)
    n = hit.bent(mask, t, row, triangle, uv, e1, e2, hit.smooth_or_flat(t, triangle, u, v, cross))
    turned = hit.turn(t, row, n, cross, d)
    return turned * n, turned * cross, turned


@ti.func
def arriving(d, n, g):
    """|wi.n| / |wi.g| for wi = -d and unit normals."""
    return ti.abs(d.dot(n)) / ti.max(ti.abs(d.dot(g)), FLATTEST)


@ti.func
def leaving(d, n, g):
    """|wo.g| / |wo.n| for wo = d and unit normals."""
    return ti.abs(d.dot(g)) / ti.max(ti.abs(d.dot(n)), FLATTEST)


@ti.func
def arriving_adjoint(d, n, g, weight):
    """Gradients of weight * log(arriving) to (d, n, g)."""
    a, b = d.dot(n), d.dot(g)
    to_d, to_n, to_g = 0.0 * d, 0.0 * d, 0.0 * d
    if a != 0.0:
        to_d += weight / a * n
        to_n = weight / a * d
    if ti.abs(b) > FLATTEST:
        to_d -= weight / b * g
        to_g = -weight / b * d
    return to_d, to_n, to_g


@ti.func
def event_of(kind, delta, wi, wo):
    """Which event a sample of a BSDF is."""
    event = SCATTERED
    if delta == 1:
        event = STRAIGHT
        if wi.z * wo.z > 0.0:
            event = MIRRORED
        elif kind == DIELECTRIC:
            event = REFRACTED
    return event


@ti.func
def write3(array: ti.template(), row, first: ti.template(), value):
    for c in ti.static(range(3)):
        array[row, first + c] = value[c]


@ti.func
def read3(array: ti.template(), row, first: ti.template()):
    return ti.Vector([array[row, first], array[row, first + 1], array[row, first + 2]])


@ti.func
def note(wholes: ti.template(), reals: ti.template(), slot, triangle, mark, u, v, scale, throughput, lean):
    """Fill a slot."""
    wholes[slot, TRIANGLE] = triangle
    wholes[slot, MARK] = mark
    wholes[slot, ROW] = -1
    reals[slot, U] = u
    reals[slot, V] = v
    reals[slot, SCALE] = scale
    reals[slot, LEAN] = lean
    write3(reals, slot, THROUGHPUT, throughput)
